"""What the page shows across experiments: what protocols and leaks are worth, and how models transfer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from histobench.evaluation.across import QUESTIONS
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.text import count, signed
from histobench.report.embed import Downloads
from histobench.report.experiment_tables import mark_methods
from histobench.report.tables import Column, Loaded, View, declared_columns, load, r3, view
from histobench.report.verdict import COMPETITORS
from histobench.results.catalogue import catalogue


def _change(value: Any) -> str:
    return ("+" if float(f"{value:.3f}") > 0 else "") + r3(value)


CONTRASTS = declared_columns(catalogue()["contrasts"], choose=["base", "other"], show={"change": _change})
TRANSFER = declared_columns(catalogue()["transfer"], choose=["method", "trained_on", "tested_on", "arm"])
_FIGURES = {
    "folds": "leakage_inflation", "transform": "transform_ablation", "stain": "stain_ablation",
    "window": "window_ablation", "weights": "weights_ablation", "start": "start_ablation",
    "transfer": "transfer_matrix",
}  # fmt: skip
_UNASKED = {
    "folds": "no experiment of this run repeats another with section-wise folds",
    "transform": "no experiment of this run repeats another with another target transform",
    "stain": "no experiment of this run repeats another with another stain treatment",
    "window": "no experiment of this run repeats another with another patch size or scale",
    "weights": "no experiment of this run repeats another with other initial weights",
    "start": "no experiment of this run repeats another with networks that start from a third one's models",
    "transfer": "no experiment of this run is tested on another cohort, or goes on from models of one",
}


@dataclass
class Section:
    """One question: what it asks, its answer in words, and the table behind; or why no experiment asks it."""

    title: str
    answers: list[str]
    table: View
    figures: list[tuple[str, str]] = field(default_factory=list)
    unasked: str = ""


def across_view(
    entry: Mapping[str, Any], experiments: Mapping[str, Mapping[str, Any]], downloads: Downloads
) -> list[Section]:
    """Return the questions that can be asked across experiments, each with its answer or why there is none.

    Parameters
    ----------
    entry
        Paths ``contrasts`` and ``transfer``.
    experiments
        The manifest's experiments: names of their methods, and which figures they have.
    """
    titles: dict[str, str] = {}
    families: dict[str, str] = {}
    places: dict[str, int] = {}
    for each in experiments.values():
        settings = each.get("settings") or {}
        titles.update(settings.get("titles") or {})
        families.update(settings.get("families") or {})
        places.update(settings.get("places") or {})
    looks = Settings(families=families, titles=titles, places=places)
    contrasts = load(entry.get("contrasts"), "comparisons across experiments")
    offered = downloads.add(entry["contrasts"], "across experiments") if entry.get("contrasts") else None
    sections = []
    for key, question in QUESTIONS.items():
        own = contrasts
        if contrasts.table is not None:
            rows = contrasts.table[contrasts.table["question"] == key]
            own = Loaded(rows) if len(rows) else Loaded(None, _UNASKED[key])
        unasked = own.reason if contrasts.table is not None else ""
        shown = _informative(CONTRASTS, own.table)
        table = view(f"across-{key}", question.title, own, shown, download=offered, note=question.text)
        mark_methods(table, looks)
        answers = [] if own.table is None else _answers(own.table)
        sections.append(Section(question.title, answers, table, _links(key, experiments), unasked))
    transfer = load(entry.get("transfer"), "transfer to other cohorts")
    offered = downloads.add(entry["transfer"], "across experiments") if entry.get("transfer") else None
    unasked = ""
    if transfer.table is not None and transfer.table.empty:
        unasked = _UNASKED["transfer"]
        transfer = Loaded(None, unasked)
    table = view("across-transfer", catalogue()["transfer"].title, transfer, TRANSFER, download=offered,
                 note=catalogue()["transfer"].caption, search=True)  # fmt: skip
    mark_methods(table, looks)
    best = [] if transfer.table is None else _best(transfer.table, looks)
    sections.append(Section(table.title, best, table, _links("transfer", experiments), unasked))
    return sections


def _informative(columns: tuple[Column, ...], table: pd.DataFrame | None) -> list[Column]:
    """Leave out notes where there are none."""
    return [c for c in columns if c.key != "note" or (table is not None and table["note"].notna().any())]


def _answers(table: pd.DataFrame) -> list[str]:
    """Say for each pair of experiments how trained methods change."""
    lines = []
    for (base, other), rows in table.groupby(["base", "other"], sort=False):
        trained = rows[rows["family"].isin(COMPETITORS) & rows["change"].notna()]
        values = f"{other} ({rows['other_value'].iloc[0]}) against {base} ({rows['base_value'].iloc[0]})"
        if trained.empty:
            lines.append(f"{values}: no trained method has a score in both.")
            continue
        change, higher = trained["change"], int((trained["change"] > 0).sum())
        clear = int((trained["change_low"] > 0).sum()), int((trained["change_high"] < 0).sum())
        patients = int(trained["n_patients"].max())
        differs = trained["also_differs"].dropna().astype(str)
        also = sorted({part for text in differs for part in text.split(", ") if part})
        rest = f" The experiments also differ in {', '.join(also)}." if also else ""
        lines.append(
            f"{values}: r is higher in {higher} of {count(len(trained), 'trained method')}; mean change "
            f"{_change(change.mean())}, from {signed(float(change.min()), 3)} to "
            f"{signed(float(change.max()), 3)} (n = {count(patients, 'patient')}; the interval lies "
            f"above zero for {clear[0]}, below for {clear[1]}).{rest}"
        )
    return lines


def _best(table: pd.DataFrame, looks: Settings) -> list[str]:
    """Say which trained method is best on each cohort, by what it was trained on."""
    lines = []
    for (tested, trained, arm), rows in table.groupby(["tested_on", "trained_on", "arm"], sort=False):
        known = rows[rows["family"].isin(COMPETITORS)]
        if len(known):
            row = known.nlargest(1, "pearson").iloc[0]
            lines.append(
                f"{tested}, trained on {trained} ({arm}): best is {looks.title(row['method'])} with "
                f"r = {r3(row['pearson'])} ({r3(row['pearson_low'])} to {r3(row['pearson_high'])})."
            )
    return lines


def _links(key: str, experiments: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return title and anchor of the figures of a question."""
    name = _FIGURES[key]
    return [
        (str((entry.get("settings") or {}).get("title") or experiment), f"{experiment}-figure-{name}")
        for experiment, entry in experiments.items()
        if name in (entry.get("figures") or {})
    ]

"""What the page shows of one experiment: verdict, leader board, power, audit, genes, figures, failures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import NOT_DRAWN
from histobench.figures.drawing.text import count, scores_note, transform_text
from histobench.report.charts import Chart, leaderboard_charts, method_looks
from histobench.report.embed import Downloads, figure_uri
from histobench.report.experiment_tables import (
    any_view,
    audit_view,
    failures_view,
    genes_view,
    leaderboard_view,
    planted_view,
)
from histobench.report.maps import MapsView, maps_view, script_json
from histobench.report.tables import Loaded, View, known, load
from histobench.report.trainings import trainings_view
from histobench.report.verdict import Verdict, null_lines, verdict
from histobench.results.catalogue import SLIDES, names, place


@dataclass
class FigureView:
    """One figure: image, alternative text, caption, or the reason why it is missing."""

    anchor: str
    title: str
    uri: str | None
    caption: str
    alt: str
    table: Any = None
    missing: str = ""


@dataclass
class ExperimentView:
    """Everything that the template prints of one experiment."""

    name: str
    anchor: str
    title: str
    description: str
    facts: list[tuple[str, str]]
    badges: list[tuple[str, str]]
    warnings: list[str]
    verdict: Verdict
    tables: dict[str, View]
    others: list[View]
    charts: list[Chart]
    figures: dict[str, list[FigureView]]
    left_out: list[tuple[str, str]]
    maps: MapsView
    looks: str
    lost: list[tuple[str, str]]
    power: list[str]
    null: list[str]


def experiment_view(
    name: str, entry: Mapping[str, Any], downloads: Downloads, figure_px: int
) -> ExperimentView:
    """Read the result files of one experiment and prepare them for the page."""
    settings = dict(entry.get("settings") or {})
    facts = Settings.of(settings)
    folder = Path(entry["tables"]) if entry.get("tables") else None
    loaded = _load_tables(folder)
    offered = {key: downloads.add(path, f"{name}: tables") for key, path in _table_files(folder).items()}
    for key, what in (("audit", "leakage audit"), ("folds", "folds")):
        loaded[key] = load(entry.get(key), what)
        offered[key] = downloads.add(entry[key], f"{name}: {what}") if entry.get(key) else None
    tables = {
        "leaderboard": leaderboard_view(name, loaded["leaderboard"], facts, offered.get("leaderboard")),
        "genes": genes_view(name, loaded["genes"], loaded["leaderboard"], facts, offered.get("genes")),
        "audit": audit_view(name, loaded["audit"], offered.get("audit")),
        "failures": failures_view(name, loaded["failures"], offered.get("failures"), facts),
        "power": any_view(name, "power", loaded["power"], offered.get("power"), facts),
        "planted": planted_view(name, loaded["planted"], offered.get("planted"), facts),
        "trainings": trainings_view(name, entry.get("runs"), facts, downloads),
    }
    shown = {*tables, "folds"}
    others = [
        any_view(name, key, table, offered.get(key), facts)
        for key, table in sorted(loaded.items(), key=lambda item: place(item[0]))
        if key not in shown and table
    ]
    others += _slide_views(name, entry.get("slides") or {}, facts, downloads)
    lost = _lost_methods(entry, settings, loaded)
    title = str(settings.get("title") or name)
    answer = verdict(loaded, facts)
    maps = maps_view(name, title, entry.get("maps"))
    return ExperimentView(
        name=name,
        anchor=f"experiment-{name}",
        title=title,
        description=str(settings.get("description") or ""),
        facts=_facts(settings, loaded),
        badges=_badges(settings, loaded, lost),
        warnings=[
            *(text.strip() for text in (scores_note(facts), _few_spots(loaded.get("sections"))) if text),
            *_hardly_varying(loaded.get("metrics"), facts),
            *settings.get("warnings", []),
        ],
        verdict=answer,
        tables=tables,
        others=others,
        charts=leaderboard_charts(name, loaded["leaderboard"].table, facts),
        figures=_figures(name, entry.get("figures") or {}, downloads, figure_px),
        left_out=sorted((entry.get("figures_left_out") or {}).items()),
        maps=maps,
        looks=script_json(
            {
                "best": answer.best,
                "genes": maps.genes,
                "methods": method_looks({m: facts.family(m) for m in _expected(entry)}, facts),
                "scale": transform_text(facts),
                "title": title,
            }
        ),
        lost=lost,
        power=_statements(loaded["power"]),
        null=null_lines(loaded, facts),
    )


# -- reading ----------------------------------------------------------------------------------------

# So many sections are named in a warning.
_NAMED = 8
# Predictions whose spread is a smaller part of the measured one are nearly constant: a ridge under a high
# penalty, which shrinks most of what learns, keeps a hundredth.
_FLAT = 1e-3
_PLACED = ("leaderboard", "genes", "power", "planted", "failures")


def _table_files(folder: Path | None) -> dict[str, Path]:
    """Return every table of an experiment by name, those of figures excepted."""
    return {path.stem: path for path in sorted(folder.glob("*.tsv"))} if folder and folder.is_dir() else {}


def _load_tables(folder: Path | None) -> dict[str, Loaded]:
    wanted = dict.fromkeys([*_PLACED, *_table_files(folder)])
    return {name: load(folder / f"{name}.tsv" if folder else None, f"table {name}") for name in wanted}


def _statements(power: Loaded) -> list[str]:
    """Return what the table of power says in words."""
    if power.table is None or "statement" not in power.table:
        return []
    return [str(text) for text in power.table["statement"].dropna()]


def _slide_views(name: str, slides: Mapping[str, str], facts: Settings, downloads: Downloads) -> list[View]:
    """Return the tables of cohorts of slides that the experiment's models predict."""
    views = []
    for cohort, folder in slides.items():
        for key in names(SLIDES):
            path = Path(folder) / f"{key}.tsv"
            loaded = load(path, f"table {key} of {cohort}")
            if loaded.table is not None and loaded.table.empty:
                continue
            offered = downloads.add(path, f"{name}: {cohort}")
            shown = any_view(f"{name}-{cohort}", key, loaded, offered, facts)
            shown.title = f"{shown.title} ({cohort})"
            views.append(shown)
    return views


# -- the rest ---------------------------------------------------------------------------------------


def _few_spots(sections: Loaded | None) -> str:
    """Name the sections that have no correlation because they have too few spots, or return nothing."""
    table = sections.table if sections is not None else None
    if table is None or "n_too_few_spots" not in table:
        return ""
    few = table[table["n_too_few_spots"] > 0].drop_duplicates("section").sort_values("section")
    if few.empty:
        return ""
    pairs = zip(few["section"].head(_NAMED), few["n_spots"].astype(int).tolist(), strict=False)
    named = [f"{section} ({count(n_spots, 'spot')})" for section, n_spots in pairs]
    named += [f"{len(few) - _NAMED} more"] if len(few) > _NAMED else []
    return (
        f"Too few spots for a correlation, so that they enter no mean of one: {', '.join(named)}. They count "
        "as undefined, and where sections of a patient are pooled."
    )


def _hardly_varying(metrics: Loaded | None, facts: Settings) -> list[str]:
    """Name methods whose predictions are nearly constant, which a correlation does not show.

    What is constant by design, such as the mean of the training patients, varies by nothing at all.
    """
    table = metrics.table if metrics is not None else None
    if table is None or table.empty:
        return []
    ratios = table[table["metric"] == "sd_ratio"].set_index("method")["value"]
    flat = ratios[(ratios > 0) & (ratios < _FLAT)]
    if flat.empty:
        return []
    named = ", ".join(f"{facts.title(str(method))} ({ratio:.1g})" for method, ratio in flat.items())
    return [
        f"Predictions that hardly vary over spots, in brackets their standard deviation over that of the "
        f"measurement: {named}. Such a network has learned next to nothing: a correlation does not see how "
        "small differences are, so read it as that of a network close to its start."
    ]


def _facts(settings: Mapping[str, Any], loaded: Mapping[str, Loaded]) -> list[tuple[str, str]]:
    """Return what the experiment is, as pairs for a definition list."""
    folds, panel = settings.get("folds"), settings.get("panel")
    scheme = folds.get("scheme") if isinstance(folds, Mapping) else folds
    genes = ""
    if isinstance(panel, Mapping):
        chosen = "all patients" if panel.get("scope") == "all" else "training patients"
        rule = str(panel.get("rule", "")).replace("_", " ")
        genes = f"{panel.get('size') or ''} by {rule}, chosen on {chosen}".strip()
        board = loaded["leaderboard"].table
        scored = int(board["n_genes"].max()) if board is not None and len(board) else 0
        if panel.get("size") and scored > panel["size"]:
            genes += f" of each fold; {scored} in any"
    facts = {
        "Cohort": settings.get("cohort"),
        "Patients": settings.get("n_patients"),
        "Sections": settings.get("n_sections"),
        "Mode": settings.get("mode"),
        "Folds": str(scheme).replace("_", " ") if scheme else None,
        "Genes": genes,
        "Target": transform_text(Settings.of(settings)),
        "QC profile": settings.get("qc"),
        "Seeds": _seeds(settings),
        "Networks start": _start(settings.get("weights")),
    }
    return [(key, str(value)) for key, value in facts.items() if known(value)]


def _seeds(settings: Mapping[str, Any]) -> str:
    """Say which seeds methods are trained with, and with which further ones those that a seed changes."""
    every, further = (", ".join(map(str, settings.get(key) or [])) for key in ("seeds", "further_seeds"))
    return f"{every}; also {further} for methods that a seed changes" if further else every


def _start(weights: Any) -> str | None:
    """Say what networks start from; frozen encoders have weights of their own."""
    return "at random" if weights == "none" else f"from {weights} weights" if known(weights) else None


def _badges(
    settings: Mapping[str, Any], loaded: Mapping[str, Loaded], lost: list[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Return (kind, text) of the marks beside the title: good, warn, bad or plain."""
    badges = [("plain", f"{settings['mode']} mode")] if settings.get("mode") else []
    if scores_note(Settings.of(settings)):
        badges.append(("bad", "leaks the patient"))
    audit = loaded["audit"].table
    if audit is None or "status" not in audit:
        badges.append(("bad", "no leakage audit"))
    else:
        declared = int((audit["status"] == "declared").sum())
        failed = int((~audit["status"].isin(["ok", "declared"])).sum())
        if declared:
            badges.append(("warn", f"{count(declared, 'declared leak')}"))
        if failed:
            badges.append(("bad", f"audit: {count(failed, 'finding')}"))
        elif not declared:
            badges.append(("good", "audit passed"))
    if lost:
        badges.append(("bad", f"{count(len(lost), 'method')} missing"))
    return badges


def _expected(entry: Mapping[str, Any]) -> list[str]:
    """Return every configured method."""
    settings = entry.get("settings") or {}
    return list(dict.fromkeys([*(settings.get("families") or {}), *(entry.get("methods") or {})]))


def _lost_methods(
    entry: Mapping[str, Any], settings: Mapping[str, Any], loaded: Mapping[str, Loaded]
) -> list[tuple[str, str]]:
    """Return configured methods without a score, each with the reason.

    A method that predicts no gene has a score where there are labels; elsewhere it lacks what failed.
    """
    board, failures = loaded["leaderboard"].table, loaded["failures"].table
    scored = set() if board is None else set(board.loc[board["pearson"].notna(), "method"])
    tumour = loaded["tumour"].table if "tumour" in loaded else None
    scored |= set() if tumour is None else set(tumour["method"])
    lost = []
    for method in _expected(entry):
        if method in scored:
            continue
        reason = ""
        if failures is not None and {"method", "reason"} <= set(failures.columns):
            reasons = failures.loc[failures["method"] == method, "reason"].dropna().astype(str)
            reason = "; ".join(dict.fromkeys(reasons))
        declared = (entry.get("methods") or {}).get(method) or {}
        if board is not None and not reason and not declared.get("gives", {}).get("expression", True):
            continue
        reason = reason or "no results were found"
        lost.append((Settings.of(settings).title(method), reason))
    return lost


def _figures(
    name: str, figures: Mapping[str, Mapping[str, Any]], downloads: Downloads, width: int
) -> dict[str, list[FigureView]]:
    """Return the figures by group, in the order in which groups arrive."""
    groups: dict[str, list[FigureView]] = {}
    for key, figure in figures.items():
        groups.setdefault(str(figure.get("group") or "figures").capitalize(), []).append(
            _figure(name, key, figure, downloads, width)
        )
    return groups


def _figure(name: str, key: str, figure: Mapping[str, Any], downloads: Downloads, width: int) -> FigureView:
    """Embed one figure; its caption is text or the path of a text file."""
    caption = str(figure.get("caption") or "")
    if caption.endswith(".txt"):
        caption = Path(caption).read_text(encoding="utf-8").strip() if Path(caption).is_file() else ""
    uri = figure_uri(figure.get("svg"), figure.get("png"), width)
    table = downloads.add(figure["table"], f"{name}: figures", f"{key}.tsv") if figure.get("table") else None
    title = str(figure.get("title") or key.replace("_", " ").capitalize())
    alt = f"{title}. {caption.split('. ')[0]}".strip()
    if caption.startswith(NOT_DRAWN):
        return FigureView(
            f"{name}-figure-{key}", title, None, "", "", None, caption.removeprefix(NOT_DRAWN).strip(" .")
        )
    missing = "" if uri else f"figure {key}: {figure.get('svg') or 'not part of this run'} does not exist"
    return FigureView(
        f"{name}-figure-{key}", title, uri, caption or "No caption was written.", alt, table, missing
    )

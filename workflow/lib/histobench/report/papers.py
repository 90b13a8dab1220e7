"""What the page shows of the papers: every item, where it is in this run, published numbers beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from histobench.errors import UserError
from histobench.evaluation.papers import FULL, PARTIAL, read_papers
from histobench.evaluation.papers import MISSING as NOT_MADE
from histobench.evaluation.published import COMPARABLE, MISSING, NOT_COMPARABLE
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.text import count
from histobench.report.embed import slug
from histobench.report.experiment import ExperimentView
from histobench.report.tables import known, load, plain

# Badge and mark of each status; its word stands beside them.
_LOOKS = {FULL: ("good", "●"), PARTIAL: ("warn", "◐"), NOT_MADE: ("plain", "○")}
_RANK = (COMPARABLE, MISSING, NOT_COMPARABLE)
_NUMBER = ("source", "method", "quantity", "gene", "section", "published")
NO_PAPER = "No experiment of this run repeats a paper's protocol, so there is no page of the papers."


@dataclass
class Item:
    """One table, figure or analysis of a paper: links are titles and anchors of what makes it in this run."""

    title: str
    status: str
    badge: str
    mark: str
    reason: str
    links: list[tuple[str, str]] = field(default_factory=list)
    absent: str = ""
    numbers: list[str] = field(default_factory=list)
    verdict: str = ""


@dataclass
class Paper:
    """One paper; ``lines`` is empty where no experiment of this run repeats its protocol."""

    anchor: str
    title: str
    summary: str
    lines: list[Item]


@dataclass
class PapersView:
    """All papers; or ``note``, why there is nothing to show; or ``missing``, why the table cannot be read."""

    papers: list[Paper] = field(default_factory=list)
    note: str = ""
    missing: str = ""


def papers_view(
    path: Any, experiments: Sequence[ExperimentView], entries: Mapping[str, Mapping[str, Any]]
) -> PapersView:
    """Return the items of the papers as far as a run holds them.

    Parameters
    ----------
    path
        The table of items (:func:`histobench.evaluation.papers.read_papers`).
    experiments
        What the page shows of each experiment: only what is on it is linked.
    entries
        The manifest's experiments: their methods, titles, and ``published.tsv`` among their tables.
    """
    if not path:
        return PapersView(missing="the table of the papers' items is not part of this run")
    if not Path(path).is_file():
        return PapersView(missing=f"{path} does not exist")
    try:
        rows = read_papers(path).to_dict("records")
    except UserError as error:
        return PapersView(missing=str(error).rstrip("."))
    if not {row["experiment"] for row in rows} & set(entries):
        return PapersView(note=NO_PAPER)
    pages = {experiment.name: _anchors(experiment) for experiment in experiments}
    published = _published(entries)
    papers = []
    for title in dict.fromkeys(row["paper"] for row in rows):
        own = [row for row in rows if row["paper"] == title]
        statuses = [row["status"] for row in own]
        covered = ", ".join(
            f"{statuses.count(status)} {status}" for status in (FULL, PARTIAL, NOT_MADE) if status in statuses
        )
        summary = f"{count(len(own), 'item')} in the full benchmark: {covered}."
        if not {row["experiment"] for row in own} & set(entries):
            summary += " No experiment of this run repeats this paper's protocol."
            papers.append(Paper(f"papers-{slug(title)}", title, summary, []))
            continue
        lines = [_item(row, pages, entries, published) for row in own]
        made = sum(bool(item.links) for item in lines)
        wanted = sum(bool(row["artefact"]) for row in own)
        summary += f" This run shows {made} of the {wanted} that something makes."
        papers.append(Paper(f"papers-{slug(title)}", title, summary, lines))
    return PapersView(papers)


def _anchors(experiment: ExperimentView) -> dict[str, tuple[str, str]]:
    """Return title and anchor by artefact: figures by name, tables as ``NAME.tsv``."""
    found = {}
    for group in experiment.figures.values():
        for figure in group:
            name = figure.anchor.removeprefix(f"{experiment.name}-figure-")
            # a figure that was not drawn has a place that says why
            title = figure.title if figure.uri else f"{figure.title} (not drawn)"
            found[name] = (title, figure.anchor)
    for view in [*experiment.tables.values(), *experiment.others]:
        if not view.missing:
            name = view.anchor.removeprefix(f"{experiment.name}-")
            found[f"{name}.tsv"] = (f"{view.title} (table)", view.anchor)
    return found


def _published(entries: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return published numbers beside ours, each with its experiment and the title of its method."""
    found: list[dict[str, Any]] = []
    for name, entry in entries.items():
        if not entry.get("tables"):
            continue
        table = load(Path(entry["tables"]) / "published.tsv", "published numbers").table
        if table is None or "item" not in table:
            continue
        settings = entry.get("settings") or {}
        facts = Settings.of(settings)
        for row in table.astype(object).where(table.notna(), "").to_dict("records"):
            own = {str(key): value for key, value in row.items()}
            shown = "" if own["method"] == "*" else facts.title(str(own["method"]))
            found.append({**own, "experiment": name, "shown": shown})
    return found


def _item(
    row: Mapping[Any, str],
    pages: Mapping[str, Mapping[str, tuple[str, str]]],
    entries: Mapping[str, Mapping[str, Any]],
    published: Sequence[Mapping[str, Any]],
) -> Item:
    badge, mark = _LOOKS[row["status"]]
    item = Item(row["item"], row["status"], badge, mark, row["reason"])
    experiment = row["experiment"]
    if experiment and experiment not in entries:
        item.absent = f"{experiment}: not in this run"
        return item
    if experiment:
        artefacts = row["artefact"].split()
        item.links = [pages[experiment][name] for name in artefacts if name in pages[experiment]]
        lacking = [name for name in artefacts if name not in pages[experiment]]
        entry = entries[experiment]
        settings = entry.get("settings") or {}
        facts = Settings.of(settings)
        methods = {*(settings.get("families") or {}), *(entry.get("methods") or {})}
        if methods:
            lacking += [facts.title(m) for m in row["methods"].split() if m not in methods]
        item.absent = f"not in this run: {', '.join(lacking)}" if lacking else ""
    numbers = _nearest(row, published)
    item.numbers = [_line(number) for number in numbers]
    verdicts = [number["comparison"] for number in numbers]
    counted = ", ".join(f"{verdicts.count(kind)} {kind}" for kind in _RANK if kind in verdicts)
    item.verdict = f"{count(len(numbers), 'number')}: {counted}"
    return item


def _nearest(row: Mapping[Any, str], published: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return each number of an item once: of its experiment or a branch, the nearest to comparable."""
    experiment = row["experiment"]

    def distance(number: Mapping[str, Any]) -> tuple[bool, int]:
        own = number["experiment"] == experiment or number["experiment"].startswith(f"{experiment}/")
        return not own, _RANK.index(number["comparison"])

    best: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for number in published:
        if (number["paper"], number["item"]) != (row["paper"], row["item"]):
            continue
        key = tuple(number[column] for column in _NUMBER)
        if key not in best or distance(number) < distance(best[key]):
            best[key] = number
    return list(best.values())


def _line(number: Mapping[str, Any]) -> str:
    """Say one number: what it is, published, ours, and whether the two can be compared."""
    parts = [number["shown"], number["gene"], number["section"]]
    what = ", ".join([str(number["quantity"]), *(str(part) for part in parts if part)])
    ours = plain(float(number["ours"])) if known(number["ours"]) else "none"
    verdict = str(number["comparison"])
    if known(number["difference"]):
        difference = float(number["difference"])
        verdict = f"difference {'+' if difference > 0 else ''}{plain(difference)}"
    text = (
        f"{what}: published {plain(float(number['published']))}, ours {ours} ({number['unit']}); {verdict}."
    )
    reason = str(number["reason"])
    return text if number["comparison"] == COMPARABLE or not reason else f"{text} {reason}"

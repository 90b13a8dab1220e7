"""What the page shows of one experiment: verdict, leader board, power, audit, genes, figures, failures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histobench.figures.style import (
    FAMILY_TITLES,
    base_name,
    method_style,
    method_title,
)
from histobench.figures.text import scores_note, transform_text
from histobench.report.embed import Downloads, figure_uri
from histobench.report.tables import (
    LARGEST_TABLE,
    Cell,
    Column,
    Loaded,
    View,
    known,
    load,
    megabytes,
    number,
    percent,
    plain,
    probability,
    r3,
    seconds,
    view,
    whole,
)
from histobench.report.verdict import Verdict, verdict

if TYPE_CHECKING:
    import pandas as pd

LEADERBOARD = (
    Column("method", "Method", numeric=False),
    Column("family", "Family", lambda value: FAMILY_TITLES.get(value, value), choose=True, numeric=False),
    Column("pearson", "r", r3, "Pearson r per gene and section, averaged over sections, patients, genes"),
    Column("pearson_low", "95 % low", r3, "lower end of the percentile bootstrap interval over patients"),
    Column("pearson_high", "95 % high", r3, "upper end of the percentile bootstrap interval over patients"),
    Column("ceiling_fraction", "of ceiling", percent, "score as a fraction of the noise ceiling"),
    Column("spearman", "Spearman", r3),
    Column("rmse", "RMSE", r3, "root mean squared error on the scale of the targets"),
    Column("mae", "MAE", r3, "mean absolute error on the scale of the targets"),
    Column(
        "pearson_pooled",
        "r pooled",
        r3,
        "pooled over sections: rewards recognising the section; for comparison only",
    ),
    Column("n_genes", "Genes", whole),
    Column("n_positive", "Genes r > 0", whole, "genes with positive mean correlation"),
    Column(
        "n_consistent_holm",
        "Consistent (Holm)",
        whole,
        "genes consistent across patients, family-wise error 5 %",
    ),
    Column(
        "n_consistent_bh",
        "Consistent (BH)",
        whole,
        "genes consistent across patients, false discovery rate 5 %",
    ),
    Column(
        "n_undefined", "Undefined", whole, "gene-section pairs without a defined truth or prediction variance"
    ),
    Column("train_seconds", "Training", seconds, "wall time of one training, mean over folds"),
    Column("peak_memory_mb", "Memory", megabytes, "largest peak memory of a training"),
    Column("parameters", "Parameters", whole),
    Column("n_folds", "Folds", whole),
    Column("seeds", "Seeds"),
)
GENES = (
    Column("gene", "Gene", numeric=False),
    Column("method", "Method", choose=True, numeric=False),
    Column("median_pearson", "Median r", r3, "median over patients of r, sections of a patient pooled"),
    Column("mean_pearson", "Mean r", r3, "mean over patients of r per section"),
    Column("ceiling", "Ceiling", r3, "noise ceiling of the gene"),
    Column("n_positive", "Positive", whole, "patients with r > 0"),
    Column("n_patients", "of", whole, "patients in which r is defined"),
    Column("p_binomial", "p binomial", probability, "one-sided, probability 1/2"),
    Column("p_holm", "p Holm", probability, "Holm step-down over genes: family-wise error"),
    Column("q_bh", "q BH", probability, "Benjamini-Hochberg over genes: false discovery rate"),
)
AUDIT = (
    Column("status", "Status", choose=True, numeric=False),
    Column("check", "Check", lambda value: str(value).replace("_", " "), numeric=False),
    Column("scope", "Scope", numeric=False),
    Column("detail", "Detail", numeric=False),
)
_P_COLUMNS = ("p_binomial", "p_holm", "q_bh", "p", "p_wilcoxon", "smallest_p")


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
    figures: list[FigureView]
    lost: list[tuple[str, str]]
    power: list[str]


def experiment_view(name: str, entry: Mapping[str, Any], downloads: Downloads) -> ExperimentView:
    """Read the result files of one experiment and prepare them for the page."""
    settings = dict(entry.get("settings") or {})
    folder = Path(entry["tables"]) if entry.get("tables") else None
    loaded = _load_tables(folder)
    offered = {key: downloads.add(path, f"{name}: tables") for key, path in _table_files(folder).items()}
    for key, what in (("audit", "leakage audit"), ("folds", "folds")):
        loaded[key] = load(entry.get(key), what)
        offered[key] = downloads.add(entry[key], f"{name}: {what}") if entry.get(key) else None
    tables = {
        "leaderboard": _leaderboard_view(name, loaded["leaderboard"], settings, offered.get("leaderboard")),
        "genes": _genes_view(name, loaded["genes"], loaded["leaderboard"], settings, offered.get("genes")),
        "audit": _audit_view(name, loaded["audit"], offered.get("audit")),
        "failures": _failures_view(name, loaded["failures"], offered.get("failures")),
        "power": _any_view(
            name, "power", "What the tests can show", loaded["power"], offered.get("power"), settings
        ),
        "planted": _planted_view(name, loaded["planted"], offered.get("planted"), settings),
    }
    shown = {*tables, "folds"}
    others = [
        _any_view(name, key, _title(key), table, offered.get(key), settings)
        for key, table in loaded.items()
        if key not in shown and table
    ]
    lost = _lost_methods(entry, settings, loaded)
    return ExperimentView(
        name=name,
        anchor=f"experiment-{name}",
        title=str(settings.get("title") or name),
        description=str(settings.get("description") or ""),
        facts=_facts(settings, loaded),
        badges=_badges(settings, loaded, lost),
        warnings=[text.strip() for text in [scores_note(settings)] if text]
        + list(settings.get("warnings", [])),
        verdict=verdict(loaded, settings),
        tables=tables,
        others=others,
        figures=[
            _figure(name, key, figure, downloads) for key, figure in (entry.get("figures") or {}).items()
        ],
        lost=lost,
        power=_statements(loaded["power"]),
    )


# -- reading ----------------------------------------------------------------------------------------

# Tables without a place of their own are for the download; the page shows their start.
_LARGEST_OTHER = 1500
_EXPECTED = ("leaderboard", "genes", "power", "planted", "failures")


def _table_files(folder: Path | None) -> dict[str, Path]:
    """Return every table of an experiment by name, those of figures excepted."""
    return {path.stem: path for path in sorted(folder.glob("*.tsv"))} if folder and folder.is_dir() else {}


def _load_tables(folder: Path | None) -> dict[str, Loaded]:
    names = dict.fromkeys([*_EXPECTED, *_table_files(folder)])
    return {name: load(folder / f"{name}.tsv" if folder else None, f"table {name}") for name in names}


def _title(key: str) -> str:
    titles = {
        "patients": "Scores per patient",
        "sections": "Scores per section",
        "comparisons": "Comparisons of methods, paired over patients",
        "consistency_curve": "Genes by number of positive patients",
        "envelope": "Permutation envelope",
    }
    return titles.get(key, key.replace("_", " ").capitalize())


# -- tables -----------------------------------------------------------------------------------------


def method_cell(method: str, settings: Mapping[str, Any]) -> Cell:
    """Return a method's name beside the swatch that it has in the figures."""
    look = method_style(method, settings)
    seed = method.removeprefix(base_name(method)).replace(".seed", " seed ")
    return Cell(method_title(method, settings) + seed, method_title(method, settings), colour=look.colour,
                hollow=look.hollow)  # fmt: skip


def _mark_methods(table: View, settings: Mapping[str, Any]) -> None:
    """Replace the method names of a table by cells with swatches."""
    for place, column in enumerate(table.columns):
        if column.key in ("method", "method_a", "method_b"):
            for row in table.rows:
                row[place] = method_cell(row[place].sort, settings)


def _leaderboard_view(name: str, loaded: Loaded, settings: Mapping[str, Any], download: Any) -> View:
    ordered = loaded
    if loaded.table is not None:
        ordered = Loaded(
            loaded.table.sort_values("pearson", ascending=False, kind="stable", na_position="last")
        )
    board = view(
        f"{name}-leaderboard", "Leader board", ordered, LEADERBOARD, download=download, search=True,
        note="Click a heading to sort. Controls and oracles are marked by hollow swatches: an oracle uses "
        "measurements of the test section and does not compete.",
    )  # fmt: skip
    if ordered.table is None:
        return board
    board.row_classes = [f"family-{family}" for family in ordered.table["family"]]
    _mark_methods(board, settings)
    ceiling = _ceiling(ordered.table)
    if known(ceiling):
        texts = {
            "method": "Noise ceiling",
            "family": "ceiling",
            "pearson": r3(ceiling),
            "ceiling_fraction": "100 %",
        }
        sorts = {
            "method": "Noise ceiling",
            "family": "ceiling",
            "pearson": f"{ceiling:.6g}",
            "ceiling_fraction": "1",
        }
        row = [
            Cell(texts.get(column.key, "–"), sorts.get(column.key, ""), column.numeric)
            for column in board.columns
        ]
        board.rows.insert(0, row)
        board.row_classes.insert(0, "ceiling")
    return board


def _ceiling(board: pd.DataFrame) -> float | None:
    """Return the ceiling that the fractions of the leader board refer to."""
    if "ceiling" in board and board["ceiling"].notna().any():
        return float(board["ceiling"].dropna().iloc[0])
    if "ceiling_fraction" not in board:
        return None
    usable = board[(board["ceiling_fraction"] > 0) & board["pearson"].notna()].nlargest(1, "pearson")
    return float((usable["pearson"] / usable["ceiling_fraction"]).iloc[0]) if len(usable) else None


def _genes_view(name: str, loaded: Loaded, board: Loaded, settings: Mapping[str, Any], download: Any) -> View:
    note = "One row per gene and method. Choose a method, search a gene, click a heading to sort."
    if loaded.table is not None and len(loaded.table) > LARGEST_TABLE:
        each = max(1, LARGEST_TABLE // loaded.table["method"].nunique())
        table = loaded.table.sort_values("median_pearson", ascending=False, kind="stable")
        note += (
            f" The {each:,} genes with the highest median r of each method are shown; the download has all."
        )
        loaded = Loaded(table.groupby("method", sort=False).head(each))
    if loaded.table is not None:
        loaded = Loaded(
            loaded.table.sort_values(["method", "median_pearson"], ascending=[True, False], kind="stable")
        )
    genes = view(f"{name}-genes", "Genes", loaded, GENES, note=note, download=download, search=True)
    _mark_methods(genes, settings)
    leader = verdict({"leaderboard": board}, settings).best if board else ""
    if leader:
        genes.default_choice = {"method": method_title(leader, settings)}
    return genes


def _audit_view(name: str, loaded: Loaded, download: Any) -> View:
    note = "What training could have seen of the tested patients, checked before training."
    audit = view(f"{name}-audit", "Leakage audit", loaded, AUDIT, download=download, rest=True, note=note)
    if loaded.table is not None and "status" in loaded.table:
        audit.row_classes = [f"status-{status}" for status in loaded.table["status"]]
    return audit


def _failures_view(name: str, loaded: Loaded, download: Any) -> View:
    title, note = "Failures and exclusions", "What failed or could not be measured, counted and not hidden."
    failures = view(f"{name}-failures", title, loaded, (), download=download, rest=True, note=note)
    if loaded.table is not None and loaded.table.empty:
        failures.empty = "nothing failed and nothing was excluded in this run"
    return failures


def _planted_view(name: str, loaded: Loaded, download: Any, settings: Mapping[str, Any]) -> View:
    planted = _any_view(name, "planted", "Planted and null genes", loaded, download, settings)
    planted.note = (
        "Known truth: the rate of planted genes is the true positive rate, that of null genes the false "
        "positive "
        "rate, at the level of the criterion; intervals are 95 % Wilson intervals."
    )
    if loaded.table is not None and loaded.table.empty:
        planted.empty = "only a simulated cohort has a known truth"
    return planted


def _statements(power: Loaded) -> list[str]:
    """Return what the table of power says in words."""
    if power.table is None or "statement" not in power.table:
        return []
    return [str(text) for text in power.table["statement"].dropna()]


def _any_view(
    name: str, key: str, title: str, loaded: Loaded, download: Any, settings: Mapping[str, Any]
) -> View:
    """Show a table as it is, with formats by column name."""
    columns: list[Column] = []
    if loaded.table is not None:
        for column in map(str, loaded.table.columns):
            numeric = loaded.table[column].dtype.kind in "biuf"
            real = loaded.table[column].dtype.kind == "f"
            show = probability if numeric and column in _P_COLUMNS else number(3) if real else plain
            if real and (loaded.table[column].dropna() % 1 == 0).all():
                show = plain
            values = loaded.table[column].nunique()
            choose = not numeric and 1 < values <= 40 and values < len(loaded.table)
            columns.append(Column(column, column.replace("_", " "), show, choose=choose, numeric=numeric))
    table = view(f"{name}-{key}", title, loaded, columns, download=download, largest=_LARGEST_OTHER)
    _mark_methods(table, settings)
    return table


# -- the rest ---------------------------------------------------------------------------------------


def _facts(settings: Mapping[str, Any], loaded: Mapping[str, Loaded]) -> list[tuple[str, str]]:
    """Return what the experiment is, as pairs for a definition list."""
    folds, panel = settings.get("folds"), settings.get("panel")
    scheme = folds.get("scheme") if isinstance(folds, Mapping) else folds
    genes = ""
    if isinstance(panel, Mapping):
        chosen = "all patients" if panel.get("scope") == "all" else "training patients"
        rule = str(panel.get("rule", "")).replace("_", " ")
        genes = f"{panel.get('size') or ''} by {rule}, chosen on {chosen}".strip()
    facts = {
        "Cohort": settings.get("cohort"),
        "Patients": settings.get("n_patients"),
        "Sections": settings.get("n_sections"),
        "Mode": settings.get("mode"),
        "Folds": str(scheme).replace("_", " ") if scheme else None,
        "Genes": genes,
        "Target": transform_text(settings),
        "QC profile": settings.get("qc"),
        "Seeds": ", ".join(map(str, settings.get("seeds") or [])),
        "Weights": settings.get("weights"),
    }
    return [(key, str(value)) for key, value in facts.items() if known(value)]


def _badges(
    settings: Mapping[str, Any], loaded: Mapping[str, Loaded], lost: list[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Return (kind, text) of the marks beside the title: good, bad or plain."""
    badges = [("plain", f"{settings['mode']} mode")] if settings.get("mode") else []
    if scores_note(settings):
        badges.append(("bad", "leaks the patient"))
    audit = loaded["audit"].table
    if audit is None or "status" not in audit:
        badges.append(("bad", "no leakage audit"))
    else:
        failed = int((audit["status"] != "ok").sum())
        badges.append(("bad", f"audit: {failed} findings") if failed else ("good", "audit passed"))
    if lost:
        badges.append(("bad", f"{len(lost)} method{'s' if len(lost) > 1 else ''} missing"))
    return badges


def _lost_methods(
    entry: Mapping[str, Any], settings: Mapping[str, Any], loaded: Mapping[str, Loaded]
) -> list[tuple[str, str]]:
    """Return configured methods without a score, each with the reason."""
    expected = dict.fromkeys([*(settings.get("families") or {}), *(entry.get("methods") or {})])
    board, failures = loaded["leaderboard"].table, loaded["failures"].table
    scored = set() if board is None else set(board.loc[board["pearson"].notna(), "method"])
    lost = []
    for method in expected:
        if method in scored:
            continue
        reason = "no results were found"
        if failures is not None and {"method", "reason"} <= set(failures.columns):
            reasons = failures.loc[failures["method"] == method, "reason"].dropna().astype(str)
            reason = "; ".join(dict.fromkeys(reasons)) or reason
        lost.append((method_title(method, settings), reason))
    return lost


def _figure(name: str, key: str, figure: Mapping[str, Any], downloads: Downloads) -> FigureView:
    """Embed one figure; its caption is text or the path of a text file."""
    caption = str(figure.get("caption") or "")
    if caption.endswith(".txt"):
        caption = Path(caption).read_text(encoding="utf-8").strip() if Path(caption).is_file() else ""
    uri = figure_uri(figure.get("svg"), figure.get("png"))
    table = downloads.add(figure["table"], f"{name}: figures", f"{key}.tsv") if figure.get("table") else None
    title = key.replace("_", " ").capitalize()
    alt = f"{title}. {caption.split('. ')[0]}".strip()
    missing = "" if uri else f"figure {key}: {figure.get('svg') or 'not part of this run'} does not exist"
    return FigureView(
        f"{name}-figure-{key}", title, uri, caption or "No caption was written.", alt, table, missing
    )

"""Published numbers beside ours: difference, and why it need not be zero.

``resources/published.tsv`` holds the headline numbers of the papers, one row each, with the item of
``resources/papers.tsv`` that it belongs to, the protocol that it was measured under and the statistic of our
tables that is nearest. A number is set against ours only where cohort, target and unit of evaluation agree;
everything else is printed and flagged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.errors import UserError
from histobench.evaluation.results import split_seed
from histobench.files import read_table
from histobench.results.catalogue import catalogue, columns_of
from histobench.results.tables import write

if TYPE_CHECKING:
    import pandas as pd

LEDGER_COLUMNS = (
    "paper", "source", "item", "method", "quantity", "statistic", "gene", "section", "argument", "value",
    "unit", "cohort", "folds", "transform", "n_patients", "averaging", "comparable", "reason", "citation",
)  # fmt: skip
PUBLISHED_COLUMNS = columns_of("published")
# Tables of an experiment that statistics are read from.
TABLES = (
    "leaderboard", "metrics", "genes", "patients", "sections", "consistency", "consistency_curve",
    "consistency_summary", "domains", "confusion", "auxiliary",
)  # fmt: skip
# What statistics are read from beside them: scores of genes in single sections, and learning histories.
SECTION_GENES, HISTORIES = "section_genes", "histories"
_BESIDE = {
    "gene_section_pearson": SECTION_GENES,
    "gene_best_section_pearson": SECTION_GENES,
    "history_best": HISTORIES,
}
COMPARABLE, NOT_COMPARABLE, MISSING = "comparable", "not comparable", "missing"
# A row with this method is about the cohort and read from whichever method comes first.
ANY_METHOD = "*"
LEAKING = "leave_one_section_out"
# Ways to divide patients that are no scheme of an experiment.
EXTERNAL, HELD_OUT = "external", "held_out"
OTHER_SCHEME = "Other folds: published for"
# Statistics that do not depend on folds, target or spots in training.
_OF_COHORT = ("n_spots", "n_genes")

Tables = Mapping[str, "pd.DataFrame"]
Row = Mapping[str, Any]


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _of(table: pd.DataFrame, **conditions: object) -> pd.DataFrame:
    for column, value in conditions.items():
        table = table[table[column] == value]
    return table


def _cell(table: pd.DataFrame, column: str, **conditions: object) -> float:
    """Return the only value of a column under some conditions; NaN without one."""
    found = _of(table, **conditions)[column]
    return float(found.iloc[0]) if len(found) == 1 and found.notna().all() else np.nan


def _summary(column: str, spots: str) -> Callable[[Tables, Row], float]:
    return lambda t, r: _cell(t["consistency_summary"], column, method=r["method"], spots=spots)


def _gene(column: str) -> Callable[[Tables, Row], float]:
    return lambda t, r: _cell(t["genes"], column, method=r["method"], gene=r["gene"])


def _board(column: str) -> Callable[[Tables, Row], float]:
    return lambda t, r: _cell(t["leaderboard"], column, method=r["method"])


def _kind(column: str) -> Callable[[Tables, Row], float]:
    """Read a score of a kind of genes, target or auxiliary."""
    return lambda t, r: _cell(t["auxiliary"], column, method=r["method"], kind=r["argument"])


def _medians(tables: Tables, row: Row) -> pd.Series:
    return _of(tables["genes"], method=row["method"]).set_index("gene")["median_pearson"].dropna()


def _between(tables: Tables, row: Row) -> float:
    """Genes whose mean r lies above the first limit and not above the second."""
    low, high = map(float, row["argument"].split(":"))
    means = _of(tables["genes"], method=row["method"])["mean_pearson"].dropna()
    return float(((means > low) & (means <= high)).sum()) if len(means) else np.nan


def _better(tables: Tables, row: Row) -> float:
    """Genes with a higher median r than under another method, of those that both predict."""
    pair = [_medians(tables, {"method": name}) for name in (row["method"], row["argument"])]
    both = pair[0].index.intersection(pair[1].index)
    return float((pair[0][both] > pair[1][both]).sum()) if len(both) else np.nan


def _two_cluster_matches(tables: Tables, row: Row) -> float:
    """Spots of a section on the right side of two clusters, whichever cluster is called tumour."""
    own = _of(
        tables["confusion"],
        method=row["method"],
        section=row["section"],
        kind="two_clusters",
        values="predicted",
    )
    if own.empty:
        return np.nan
    counts = own.pivot_table(index="cluster", columns="label", values="n_spots", fill_value=0, aggfunc="sum")
    square = counts.reindex(index=[0, 1], columns=["tumour", "normal"], fill_value=0).to_numpy()
    return float(max(np.trace(square), np.trace(square[::-1])))


def _in_at_least(spots: str) -> Callable[[Tables, Row], float]:
    """Count genes with r > 0 in at least so many patients, on tumour or normal spots."""

    def count(tables: Tables, row: Row) -> float:
        own = _of(tables["consistency"], method=row["method"], spots=spots)
        return float((own["n_positive"] >= int(row["argument"])).sum()) if len(own) else np.nan

    return count


def _of_sections(tables: Tables, row: Row) -> pd.DataFrame:
    """One gene of one method: r and number of spots per section, averaged over seeds."""
    own = _of(tables[SECTION_GENES], method=row["method"], gene=row["gene"])
    return own[own["value"].notna()].groupby("section")[["value", "n_spots"]].mean()


def _gene_section(tables: Tables, row: Row) -> float:
    own = _of_sections(tables, row)["value"]
    return float(own.get(row["section"], np.nan))


def _gene_best_section(tables: Tables, row: Row) -> float:
    """Return r in the section where a gene's p is smallest, with spots taken as independent, as published."""
    own = _of_sections(tables, row)
    own = own[own["n_spots"] > 2]
    if own.empty:
        return np.nan
    r = own["value"].clip(-0.999999, 0.999999)
    # p of tables with many spots underflows; its order is that of its logarithm
    from scipy import stats

    degrees = own["n_spots"] - 2
    log_p = stats.t.logsf(np.abs(r) * np.sqrt(degrees / (1 - r**2)), degrees)
    return float(own["value"].iloc[int(np.argmin(log_p))])


def _history_best(tables: Tables, row: Row) -> float:
    """Return the least value of a column of the learning histories, mean over trainings."""
    own = _of(tables[HISTORIES], method=row["method"])
    if row["argument"] not in own:
        return np.nan
    return float(own.groupby("training")[row["argument"]].min().mean())


def _sum_spots(tables: Tables, row: Row) -> float:
    own = _of(tables["sections"], method=row["method"])
    return float(own["n_spots"].sum()) if len(own) else np.nan


STATISTICS: Mapping[str, Callable[[Tables, Row], float]] = {
    "n_consistent_holm": _summary("n_consistent_holm", "all"),
    "n_positive_median": _summary("n_positive_median", "all"),
    "genes_in_at_least": lambda t, r: _cell(
        t["consistency_curve"], "n_genes", method=r["method"], k=int(r["argument"])
    ),
    "genes_in_at_least_tumour": _in_at_least("tumour"),
    "genes_in_at_least_normal": _in_at_least("normal"),
    "mean_of_medians": lambda t, r: float(_medians(t, r).mean()),
    "median_of_medians": lambda t, r: float(_medians(t, r).median()),
    "genes_median_above": lambda t, r: float((_medians(t, r) > float(r["argument"])).sum()),
    "genes_mean_between": _between,
    "genes_better": _better,
    "gene_median_pearson": _gene("median_pearson"),
    "gene_mean_pearson": _gene("mean_pearson"),
    "gene_section_pearson": _gene_section,
    "gene_best_section_pearson": _gene_best_section,
    "history_best": _history_best,
    "gene_smoothed": _gene("pearson_smoothed"),
    "gene_n_positive": _gene("n_positive"),
    "metric": lambda t, r: _cell(t["metrics"], "value", method=r["method"], metric=r["argument"]),
    "pearson_pooled_patients": lambda t, r: float(
        _of(t["patients"], method=r["method"])["pearson_pooled"].mean()
    ),
    "pearson_difference": lambda t, r: (
        _cell(t["leaderboard"], "pearson", method=r["method"])
        - _cell(t["leaderboard"], "pearson", method=r["argument"])
    ),
    "kind_pearson": _kind("pearson_pooled"),
    "kind_mse": _kind("mse"),
    "section_pearson": lambda t, r: _cell(t["sections"], "pearson", method=r["method"], section=r["section"]),
    "n_positive": _board("n_positive"),
    "n_genes": _board("n_genes"),
    "train_seconds": _board("train_seconds"),
    "ari": lambda t, r: _cell(
        t["domains"], "ari", method=r["method"], section=r["section"], values="predicted"
    ),
    "two_cluster_matches": _two_cluster_matches,
    "n_spots": _sum_spots,
}


def read_ledger(path: str | Path) -> pd.DataFrame:
    """Read published numbers.

    Raises
    ------
    UserError
        A column is missing, a statistic is unknown, or a value is no number; names the line.
    """
    table = read_table(path, dtype=str).fillna("")
    if lacking := [column for column in LEDGER_COLUMNS if column not in table]:
        raise UserError(f"{path}: column `{lacking[0]}` is missing in the header; add it (tab-separated).")
    for number, row in enumerate(_rows(table), start=2):
        if row["statistic"] and row["statistic"] not in STATISTICS:
            raise UserError(
                f"{path}: line {number}: statistic `{row['statistic']}` is unknown; leave it empty or use "
                f"one of {', '.join(STATISTICS)}."
            )
        if row["comparable"] not in ("yes", "no") or (row["comparable"] == "yes" and not row["statistic"]):
            raise UserError(
                f"{path}: line {number}: `comparable` must be yes or no, and yes needs a statistic; mend it."
            )
        try:
            float(row["value"])
        except ValueError:
            raise UserError(
                f"{path}: line {number}: value {row['value']!r} is no number; write one."
            ) from None
    return table


def differences_in_protocol(row: Row, facts: Row) -> list[str]:
    """Say in what the published protocol and an experiment's differ so that numbers cannot be compared.

    Parameters
    ----------
    row
        Ledger row.
    facts
        ``cohorts`` (names under which the experiment's data are known), ``folds``, ``transform``,
        ``n_patients`` (those that are tested); ``photos``, the cohort of photographs of methods that
        learn from one; ``changed`` and ``changed_methods``, what the configuration changes of the protocol
        that the experiment repeats.
    """
    found = []
    known = [*facts["cohorts"], facts.get("photos", {}).get(row["method"])]
    if row["cohort"] not in known:
        found.append(f"Other cohort: published on {row['cohort']}.")
    # a number of one section is that section's, whoever else was tested; genes are chosen once for all
    whole = row["n_patients"] and not row["section"] and row["statistic"] != "n_genes"
    if whole and int(row["n_patients"]) != facts["n_patients"]:
        found.append(f"Other patients: published for {row['n_patients']}, here {facts['n_patients']}.")
    if row["statistic"] in _OF_COHORT:
        return found
    if row["transform"] and row["transform"] != facts["transform"]:
        found.append(f"Other target: published for {row['transform']}, here {facts['transform']}.")
    if row["folds"] and (row["folds"] == LEAKING) != (facts["folds"] == LEAKING):
        leaking, fair = ("published", "here") if row["folds"] == LEAKING else ("here", "published")
        found.append(
            f"Other folds: {leaking} with other sections of the tested patient in training, {fair} without."
        )
    elif row["folds"] and row["folds"] != facts["folds"]:
        found.append(f"{OTHER_SCHEME} {_in_words(row['folds'])}, here {_in_words(facts['folds'])}.")
    if facts.get("changed"):
        found.append(f"Other settings: this configuration changes {', '.join(facts['changed'])}.")
    if {row["method"], row["argument"]} & set(facts.get("changed_methods", ())):
        found.append("Other settings: this configuration changes those of the method.")
    return found


def _in_words(folds: str) -> str:
    return folds.replace("_", " ")


def asked(ledger: pd.DataFrame, methods: Sequence[str]) -> dict[str, list[str]]:
    """Return the methods whose :data:`SECTION_GENES` and :data:`HISTORIES` the ledger asks for."""
    found: dict[str, list[str]] = {SECTION_GENES: [], HISTORIES: []}
    for row in _rows(ledger):
        kind = _BESIDE.get(row["statistic"])
        if kind and row["method"] in methods and row["method"] not in found[kind]:
            found[kind].append(row["method"])
    return found


def section_genes(ledger: pd.DataFrame, metrics: Sequence[str | Path]) -> pd.DataFrame:
    """Return method, section, gene, value (Pearson r), n_spots of the ledger's genes.

    Parameters
    ----------
    metrics
        Folders ``results/EXPERIMENT/metrics/METHOD``, also of further seeds, with a metric file per fold.
    """
    import pandas as pd

    genes = [gene for gene in ledger["gene"].unique() if gene]
    blocks = []
    for folder in map(Path, metrics):
        for path in sorted(folder.glob("*.parquet")):
            table = read_table(path, filters=[("metric", "==", "pearson"), ("gene", "in", genes)])
            table = table[table["section"] != "*"]
            blocks.append(table.assign(method=split_seed(folder.name)[0]))
    columns = ["method", "section", "gene", "value", "n_spots"]
    return pd.concat(blocks, ignore_index=True)[columns] if blocks else pd.DataFrame(columns=columns)


def learning_histories(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Stack files ``.../models/METHOD/FOLD/history.tsv`` with the columns method and training."""
    import pandas as pd

    blocks = [
        read_table(path).assign(method=split_seed(path.parts[-3])[0], training=number)
        for number, path in enumerate(map(Path, paths))
    ]
    return pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame(columns=["method", "training"])


def compare(ledger: pd.DataFrame, tables: Tables, facts: Row) -> pd.DataFrame:
    """Set the published numbers of an experiment's methods beside its own.

    Parameters
    ----------
    ledger
        Published numbers, see :func:`read_ledger`.
    tables
        Result tables of the experiment, by name (:data:`TABLES`), and :data:`SECTION_GENES` and
        :data:`HISTORIES`.
    facts
        See :func:`differences_in_protocol`; ``methods`` names the configured methods.

    Returns
    -------
    pandas.DataFrame
        :data:`PUBLISHED_COLUMNS`. ``comparison`` is ``comparable``; ``not comparable``, with the reason and
        without a difference; or ``missing`` where we have no such number, also with the reason. Rows of
        methods that the experiment does not configure are left out.
    """
    import pandas as pd

    scored = list(tables["leaderboard"]["method"])
    rows = []
    for row in _rows(ledger):
        about_cohort = row["method"] == ANY_METHOD
        if about_cohort and row["cohort"] not in facts["cohorts"]:
            continue
        if not about_cohort and row["method"] not in facts["methods"]:
            continue
        asked = {**row, "method": scored[0] if about_cohort and scored else row["method"]}
        ours = STATISTICS[row["statistic"]](tables, asked) if row["statistic"] else np.nan
        obstacles = differences_in_protocol(row, facts)
        if row["comparable"] == "no" or obstacles:
            comparison = NOT_COMPARABLE
        elif np.isfinite(ours):
            comparison = COMPARABLE
        else:
            comparison = MISSING
            obstacles = [_why_missing(row, asked["method"] in scored)]
        published = float(row["value"])
        protocol = [row["cohort"], row["folds"], row["transform"]]
        if row["n_patients"]:
            protocol.append(f"{row['n_patients']} patient{'s' if row['n_patients'] != '1' else ''}")
        rows.append(
            {
                **{name: row[name] for name in PUBLISHED_COLUMNS if name in row},
                "published": published,
                "ours": ours,
                "difference": ours - published if comparison == COMPARABLE else np.nan,
                "comparison": comparison,
                "reason": " ".join(filter(None, [*obstacles, row["reason"]])),
                "published_protocol": ", ".join(filter(None, protocol)),
            }
        )
    return pd.DataFrame(rows, columns=list(PUBLISHED_COLUMNS))


def _why_missing(row: Row, is_scored: bool) -> str:
    if not is_scored:
        return "The method has no result in this experiment."
    if row["gene"]:
        return f"{row['gene']} is not in the panel or was not scored."
    return "This experiment has no such number: labels, sections or another method are missing."


def write_published(
    *,
    ledger_tsv: str | Path,
    tables: Sequence[str | Path],
    output: str | Path,
    facts: Mapping[str, Any],
    metrics: Sequence[str | Path] = (),
    histories: Sequence[str | Path] = (),
) -> None:
    """Write ``published.tsv`` of an experiment.

    Parameters
    ----------
    ledger_tsv
        ``resources/published.tsv``.
    tables
        Files of the experiment's tables; :data:`TABLES` are needed.
    output
        The table to write.
    facts
        See :func:`compare`.
    metrics, histories
        Metric folders and learning histories of the methods that :func:`asked` names.
    """
    ledger = read_ledger(ledger_tsv)
    loaded = {Path(path).stem: read_table(path) for path in tables}
    loaded[SECTION_GENES] = section_genes(ledger, metrics)
    loaded[HISTORIES] = learning_histories(histories)
    write(compare(ledger, loaded, facts), output, catalogue()["published"])

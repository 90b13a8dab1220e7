"""Sets of genes among those that are predicted (He et al. 2020, ST-Net, pathways of predicted genes).

Inputs: ``consistency`` (consistency.tsv: genes consistent over patients), ``sets`` (resources/gene_sets.tsv:
gene_set, gene, source). Settings: ``leader``.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import DARK, LIGHT, beside, beside_head, require_rows, row_bands
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, new_figure
from histobench.figures.drawing.text import count, prose, scores_note
from histobench.files import read_table

LEAST_IN_PANEL = 3
LEVEL = 0.05
# Without consistent genes, so large a share of the panel counts as predicted: 102 of 250, as in the paper.
SHARE = 102 / 250
COLUMNS = [
    "method", "gene_set", "n_panel", "n_set", "n_predicted", "n_predicted_in_set", "expected", "p_predicted",
    "q_predicted", "p_others", "q_others", "genes", "by_test",
]  # fmt: skip


def predicted_genes(consistency: pd.DataFrame) -> tuple[list[str], bool]:
    """Return the genes that count as predicted, and whether a test says so.

    Those consistent over patients after Holm's correction at 5 %; where there are none, the two fifths of the
    panel with the highest median r.
    """
    found = consistency[consistency["p_holm"] <= LEVEL]
    if len(found):
        return list(found["gene"]), True
    ranked = consistency.sort_values(["median_pearson", "gene"], ascending=[False, True], kind="stable")
    return list(ranked["gene"].head(max(1, round(SHARE * len(ranked))))), False


def tidy_gene_sets(consistency: pd.DataFrame, sets: Mapping[str, set[str]], method: str) -> pd.DataFrame:
    """Return :data:`COLUMNS`, a row per set with three genes of the panel at least, smallest p first.

    ``p_predicted`` is that of a one-sided hypergeometric test that the set is more frequent among predicted
    genes than in the panel, ``p_others`` among all others; ``q_*`` after Benjamini-Hochberg over the sets.
    """
    own = consistency[(consistency["method"] == method) & (consistency["spots"] == "all")]
    panel = set(own["gene"])
    predicted, by_test = predicted_genes(own)
    rows = []
    for name, members in sets.items():
        known = members & panel
        if len(known) < LEAST_IN_PANEL:
            continue
        inside = sorted(known & set(predicted))
        sizes = (len(panel), len(known), len(predicted))
        others = (len(panel), len(known), len(panel) - len(predicted))
        rows.append({
            "method": method, "gene_set": name, "n_panel": len(panel), "n_set": len(known),
            "n_predicted": len(predicted), "n_predicted_in_set": len(inside),
            "expected": len(known) * len(predicted) / len(panel),
            "p_predicted": float(stats.hypergeom.sf(len(inside) - 1, *sizes)),
            "p_others": float(stats.hypergeom.sf(len(known) - len(inside) - 1, *others)),
            "genes": " ".join(inside), "by_test": by_test,
        })  # fmt: skip
    if not rows:
        return pd.DataFrame(columns=COLUMNS)
    table = pd.DataFrame(rows)
    for side in ("predicted", "others"):
        table[f"q_{side}"] = stats.false_discovery_control(table[f"p_{side}"])
    return table.sort_values(["p_predicted", "gene_set"], kind="stable")[COLUMNS].reset_index(drop=True)


def plot_gene_sets(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw the genes of each set that are predicted within all of it, with what chance would give."""
    figure = new_figure(DOUBLE, 0.9 + 0.2 * len(table))
    axes = figure.subplots()
    axes.barh(range(len(table)), table["n_set"], color=LIGHT, height=0.7, label="in the panel")
    axes.barh(range(len(table)), table["n_predicted_in_set"], color=DARK, height=0.4, label="predicted")
    axes.plot(table["expected"], range(len(table)), "|", ms=9, mew=1.4, color="#CC3311", label="expected")
    for row, (p, q) in enumerate(zip(table["q_predicted"], table["q_others"], strict=True)):
        for place, value in ((22, p), (66, q)):
            beside(axes, row, f"{value:.2g}", place, 6.5, ha="center",
                   weight="bold" if value <= LEVEL else "normal")  # fmt: skip
    beside_head(axes, "q predicted", 22, 6.5, ha="center")
    beside_head(axes, "q others", 66, 6.5, ha="center")
    axes.set_yticks(range(len(table)), table["gene_set"], fontsize=6.5)
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("genes")
    axes.grid(axis="x")
    row_bands(axes, len(table))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say which genes count as predicted, which sets are tested, and how."""
    first = table.iloc[0]
    which = (
        "consistent over patients (one-sided binomial test, Holm's correction, 5 %)"
        if first["by_test"]
        else "with the highest median r, as none is consistent over patients"
    )
    found = [name for name, q in zip(table["gene_set"], table["q_predicted"], strict=True) if q <= LEVEL]
    return prose(f"""
        Sets of genes among the {int(first["n_predicted"])} of {count(int(first["n_panel"]), "gene")} of the
        panel that {settings.title(str(first["method"]))} predicts, {which}: a one-sided hypergeometric test
        of each of n = {count(len(table), "set")} with three genes of the panel at least, against the panel,
        for predicted genes and for all others, Benjamini-Hochberg over sets. More frequent than expected
        among predicted genes: {", ".join(found) or "none"}. The sets are this benchmark's, after public gene
        groups; the paper asked DAVID, whose sets of 2020 cannot be had. A panel of highly expressed genes
        has few pathways to find.{scores_note(settings)}
    """)


@figure(
    "Gene sets of predicted genes",
    "genes",
    tables=["consistency"],
    inputs={"sets": "{gene_sets}"},
    when=["leader", "paper"],
    settings=["leader"],
)
def gene_sets(inputs: Inputs, settings: Settings) -> Drawing:
    """Read consistency and the sets and draw the tests."""
    listed = read_table(inputs["sets"], dtype=str)
    sets = {str(name): set(own["gene"]) for name, own in listed.groupby("gene_set", sort=False)}
    table = tidy_gene_sets(read_table(inputs["consistency"]), sets, settings.leader)
    table = require_rows(table, "no set has three genes of the panel.")
    return plot_gene_sets(table, settings), table, caption(table, settings)

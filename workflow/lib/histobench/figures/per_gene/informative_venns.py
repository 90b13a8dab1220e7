"""The first 30 and 100 genes that tell tumour from normal (Chen et al. 2024, HE2Gene, Venn diagrams).

Inputs: ``genes`` (informative_genes.tsv: ranks of genes by their importance to a random forest); of the panel
and the genes beside it, every_gene.parquet.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, new_figure
from histobench.figures.drawing.text import count, prose, scores_note
from histobench.figures.drawing.venn import TRUTH, venn
from histobench.files import read_table

FIRST = (30, 100)
METHODS = 2
COLUMNS = ["first", "source", "rank", "gene", "expected_shared", "n_genes"]


def tidy_venns(genes: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return :data:`COLUMNS`: the first genes of the measurement and of two methods, for each number.

    Methods are the leading one, then the one whose first hundred share most genes with the measurement's.
    ``expected_shared`` is what two random draws of so many genes of the panel share. A number that is not
    below the size of the panel is left out, as everything is shared there.
    """
    if genes.empty:
        return pd.DataFrame(columns=COLUMNS)
    trained = settings.competitors(map(str, genes["method"]))
    panel = int(genes.groupby("method")["gene"].nunique().max())
    blocks = []
    for number in FIRST:
        if number >= panel:
            continue
        sets = _first(genes, trained, number)
        others = sorted(trained, key=lambda m: (m != settings.leader, -len(set(sets[m]) & set(sets[TRUTH]))))
        for source in (TRUTH, *others[:METHODS]):
            blocks.append(pd.DataFrame({
                "first": number, "source": source, "rank": range(1, len(sets[source]) + 1),
                "gene": sets[source], "expected_shared": number**2 / panel, "n_genes": panel,
            }))  # fmt: skip
    return pd.concat(blocks, ignore_index=True)[COLUMNS] if blocks else pd.DataFrame(columns=COLUMNS)


def _first(genes: pd.DataFrame, methods: list[str], number: int) -> Mapping[str, list[str]]:
    """Return the first genes by rank of the measurement and of every method."""
    found = {}
    for source, method, side in ((TRUTH, methods[0], "truth"), *((m, m, "prediction") for m in methods)):
        own = genes[(genes["method"] == method) & genes[f"rank_{side}"].notna()]
        found[source] = list(own.sort_values([f"rank_{side}", "gene"], kind="stable")["gene"].head(number))
    return found


def plot_venns(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw a diagram per number."""
    numbers = list(dict.fromkeys(table["first"]))
    figure = new_figure(DOUBLE * len(numbers) / 2, 3.1)
    for axes, number in zip(figure.subplots(1, len(numbers), squeeze=False)[0], numbers, strict=True):
        own = table[table["first"] == number]
        sets = [(str(source), set(part["gene"])) for source, part in own.groupby("source", sort=False)]
        venn(axes, sets, settings)
        text = f"first {number} genes; {own['expected_shared'].iloc[0]:.0f} shared by chance"
        axes.set_title(text, fontsize=7.5)
    return figure


def caption(table: pd.DataFrame, settings: Settings, among: str = " of the panel") -> str:
    """Say what makes a gene informative, and what chance would give."""
    sources = [source for source in dict.fromkeys(table["source"]) if source != TRUTH]
    shares = []
    for number, own in table.groupby("first", sort=True):
        truth = set(own.loc[own["source"] == TRUTH, "gene"])
        for source in sources:
            common = len(truth & set(own.loc[own["source"] == source, "gene"]))
            shares.append(f"{settings.title(source)} shares {common} of the first {number}")
    return prose(f"""
        Genes that a random forest uses most to tell tumour from normal spots, on the measurement and on the
        predictions of {settings.listed(sources)} (mean decrease of impurity, averaged over sections and
        patients), of {count(int(table["n_genes"].iloc[0]), "gene")}{among}: {"; ".join(shares)}. Above
        each diagram what two random sets of this size share. Correlated genes stand in for each other in a
        forest. Descriptive; no test.{scores_note(settings)}
    """)


@figure(
    "First 30 and 100 genes that tell tumour from normal",
    "tumour",
    inputs={"genes": "{experiment}/tables/informative_genes.tsv"},
    when=["tumour_labels", "paper"],
    settings=["leader"],
)
def informative_venns(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the ranks and draw the sets."""
    table = tidy_venns(read_table(inputs["genes"]), settings)
    table = require_rows(table, "no section has tumour and normal spots, or the panel has 30 genes at most.")
    return plot_venns(table, settings), table, caption(table, settings)


@figure(
    "First 30 and 100 of all genes that tell tumour from normal",
    "tumour",
    inputs={"genes": "{experiment}/tables/every_gene.parquet"},
    when=["tumour_labels", "auxiliary", "paper"],
    settings=["leader"],
)
def every_gene_venns(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the ranks among all genes, targets and auxiliary ones, and draw the sets."""
    genes = read_table(inputs["genes"])
    # a gene that is a target in some folds only has two rows of one rank
    ranked = genes[genes["importance_truth"].notna()].drop_duplicates(["method", "gene"])
    table = tidy_venns(ranked, settings)
    table = require_rows(table, "no section has tumour and normal spots, or 30 genes at most are predicted.")
    targets = genes.loc[genes["kind"] == "target", "gene"].nunique()
    among = f", of which {targets:,} are targets and the others auxiliary genes"
    return plot_venns(table, settings), table, caption(table, settings, among)

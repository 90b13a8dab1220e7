"""Known truth: how many planted genes are found, and how many null genes.

A gene counts as found when the mean of its correlation over patients is above zero by a one-sided t-test
that allows for the training patients that folds share (see :func:`dependence.gene_test`). Rates are given
at the nominal level of each single test, where null genes must be found at that rate, and after
Benjamini-Hochberg over all genes. The same is done with depth partialled out, which tells genes that follow
the tissue from genes that follow sequencing depth. Kinds of genes stay apart: two are planted, colour genes,
which moments of colour predict, and morphology genes, which only the arrangement of nuclei tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from histobench.evaluation.dependence import gene_test
from histobench.evaluation.gather import ScoredMethod
from histobench.evaluation.statistics import ALPHA, adjust, gene_means, wilson_interval
from histobench.results.catalogue import columns_of

if TYPE_CHECKING:
    import pandas as pd

PLANTED_COLUMNS = columns_of("planted")
PLANTED_GENE_COLUMNS = columns_of("planted_genes")
SCORES = ("pearson", "pearson_partial_depth")
CRITERIA = {"found_p": f"p <= {ALPHA:g}", "found_q": f"q <= {ALPHA:g}"}


def planted_tables(
    methods: Sequence[ScoredMethod], truth: pd.DataFrame | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return detection rates by kind of gene, and the genes.

    Parameters
    ----------
    methods
        Scored methods.
    truth
        gene, kind (colour, morphology, null, ...), programme, strength; None for a cohort without known
        truth.

    Returns
    -------
    rates : pandas.DataFrame
        Columns :data:`PLANTED_COLUMNS`. The rate of colour and morphology genes is the true positive rate,
        that of null genes the false positive rate; intervals are Wilson's.
    genes : pandas.DataFrame
        Columns :data:`PLANTED_GENE_COLUMNS`.
    """
    import pandas as pd

    if truth is None or not methods:
        return pd.DataFrame(columns=list(PLANTED_COLUMNS)), pd.DataFrame(columns=list(PLANTED_GENE_COLUMNS))
    genes = pd.concat(
        [gene_detection(method, truth, metric) for method in methods for metric in SCORES], ignore_index=True
    )
    shared = {method.name: method.shared for method in methods}
    rows = []
    for (method, metric, kind), group in genes.groupby(["method", "metric", "kind"], sort=False):
        tested = group[group["p"].notna()]
        for column, criterion in CRITERIA.items():
            found, n = int(tested[column].sum()), len(tested)
            low, high = wilson_interval(found, n)
            rows.append(
                {
                    "method": method,
                    "metric": metric,
                    "kind": kind,
                    "criterion": criterion,
                    "n_genes": n,
                    "n_found": found,
                    "rate": found / n if n else np.nan,
                    "rate_low": low,
                    "rate_high": high,
                    "mean_score": tested["mean_score"].mean(),
                    "shared_training": shared[str(method)],
                }
            )
    return pd.DataFrame(rows, columns=list(PLANTED_COLUMNS)), genes[list(PLANTED_GENE_COLUMNS)]


def gene_detection(method: ScoredMethod, truth: pd.DataFrame, metric: str = "pearson") -> pd.DataFrame:
    """Test every gene of the truth that the method predicted."""
    import pandas as pd

    scores = method.scores
    r = scores.per_patient(scores[metric])
    p = gene_test(r, shared=method.shared)
    table = pd.DataFrame(
        {
            "method": method.name,
            "metric": metric,
            "gene": list(method.genes),
            "mean_score": gene_means(r),
            "n_patients": np.isfinite(r).sum(axis=0),
            "p": p,
            "q_bh": adjust(p, "fdr_bh"),
        }
    )
    table["found_p"] = (table["p"] <= ALPHA).astype(int)
    table["found_q"] = (table["q_bh"] <= ALPHA).astype(int)
    return table.merge(truth[["gene", "kind", "programme", "strength"]], on="gene", how="inner")

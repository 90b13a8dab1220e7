"""Tables of tests: comparisons of methods, consistent genes against chance, power, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.evaluation.gather import Gathered, ScoredMethod
from histobench.evaluation.results import aligned
from histobench.evaluation.statistics import (
    compare_methods,
    gene_means,
    genes_needed_bh,
    patients_needed,
    positive_gene_curve,
    power_statement,
    smallest_p,
)

if TYPE_CHECKING:
    import pandas as pd

CURVE_COLUMNS = (
    "method", "k", "n_genes", "n_expected", "envelope_low", "envelope_high", "p_sign_flip", "n_patients",
)  # fmt: skip
POWER_COLUMNS = (
    "test", "n_patients", "n_tests", "smallest_p", "smallest_p_holm", "patients_needed_holm",
    "can_reject_holm", "genes_needed_bh", "statement",
)  # fmt: skip
FAILURE_COLUMNS = ("method", "seed", "fold", "reason")


def comparison_table(methods: Sequence[ScoredMethod], n_bootstrap: int, seed: int) -> pd.DataFrame:
    """Compare every pair of methods on the patients and genes that both have."""
    patients = sorted({patient for method in methods for patient in method.patients})
    genes = sorted({gene for method in methods for gene in method.genes})
    scores = {
        method.name: aligned(method.by_patient, method.patients, method.genes, patients, genes)
        for method in methods
    }
    return compare_methods(scores, n=n_bootstrap, seed=seed)


def curve_table(method: ScoredMethod, n_bootstrap: int, seed: int) -> pd.DataFrame:
    """Genes with r > 0 in at least k patients, pooled sections of each patient."""
    import pandas as pd

    curve = positive_gene_curve(method.pooled_by_patient, n=n_bootstrap, seed=seed)
    return pd.DataFrame(
        {
            "method": method.name,
            "k": curve.k,
            "n_genes": curve.observed,
            "n_expected": curve.expected,
            "envelope_low": curve.low,
            "envelope_high": curve.high,
            "p_sign_flip": curve.p,
            "n_patients": len(method.patients),
        }
    )


def power_table(methods: Sequence[ScoredMethod]) -> pd.DataFrame:
    """Say what the consistency test and the paired comparison can show at most."""
    import pandas as pd

    if not methods:
        return pd.DataFrame(columns=list(POWER_COLUMNS))
    n_patients = max(len(method.patients) for method in methods)
    n_genes = max(int(np.isfinite(gene_means(method.by_patient)).sum()) for method in methods)
    rows = [
        {
            "test": "consistency of a gene over patients (one-sided binomial)",
            "n_patients": n_patients,
            "n_tests": n_genes,
            "smallest_p": smallest_p(n_patients),
            "smallest_p_holm": min(1.0, n_genes * smallest_p(n_patients)),
            "patients_needed_holm": patients_needed(max(n_genes, 1)),
            "can_reject_holm": n_patients >= patients_needed(max(n_genes, 1)),
            "genes_needed_bh": genes_needed_bh(n_patients, n_genes),
            "statement": power_statement(n_patients, n_genes),
        }
    ]
    n_pairs = len(methods) * (len(methods) - 1) // 2
    if n_pairs:
        rows.append(_comparison_power(n_patients, n_pairs))
    return pd.DataFrame(rows, columns=list(POWER_COLUMNS)).astype({"genes_needed_bh": "Int64"})


def _comparison_power(n_patients: int, n_pairs: int) -> dict[str, Any]:
    least = min(1.0, 2.0 * smallest_p(n_patients))
    # A two-sided test needs one patient more than a one-sided one.
    needed = patients_needed(n_pairs) + 1
    verb = "can reject" if n_patients >= needed else f"can never reject (it needs {needed} patients)"
    return {
        "test": "comparison of two methods over patients (two-sided Wilcoxon)",
        "n_patients": n_patients,
        "n_tests": n_pairs,
        "smallest_p": least,
        "smallest_p_holm": min(1.0, n_pairs * least),
        "patients_needed_holm": needed,
        "can_reject_holm": n_patients >= needed,
        "genes_needed_bh": None,
        "statement": f"With {n_patients} patients the smallest two-sided p is {least:.2g}: "
        f"Holm over {n_pairs} pairs {verb}.",
    }


def failure_table(gathered: Gathered) -> pd.DataFrame:
    """Methods and folds without results."""
    import pandas as pd

    return pd.DataFrame(gathered.failures, columns=list(FAILURE_COLUMNS))

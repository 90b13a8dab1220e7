"""Tables of tests: comparisons of methods, consistent genes against chance, power, and what is missing.

Wherever a test takes patients as independent, its table also holds what is left when the correlation of their
scores by shared training patients is allowed for (columns ``*shared*``), and a note says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.evaluation.dependence import (
    dependence_note,
    patients_needed_shared,
    shared_binomial_p,
    smallest_p_shared,
)
from histobench.evaluation.gather import Gathered, ScoredMethod
from histobench.evaluation.results import aligned
from histobench.evaluation.score import SUBSETS
from histobench.evaluation.statistics import (
    ALPHA,
    adjust,
    compare_methods,
    consistency,
    gene_means,
    gene_medians,
    genes_needed_bh,
    patients_needed,
    positive_gene_curve,
    power_statement,
    smallest_p,
)
from histobench.results.catalogue import columns_of

if TYPE_CHECKING:
    import pandas as pd

CURVE_COLUMNS = columns_of("consistency_curve")
CONSISTENCY_COLUMNS = columns_of("consistency")
SUMMARY_COLUMNS = columns_of("consistency_summary")
POWER_COLUMNS = columns_of("power")
FAILURE_COLUMNS = columns_of("failures")


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
            "n_expected_shared": _expected_shared(method, curve.k),
            "shared_training": method.shared,
        }
    )


def _expected_shared(method: ScoredMethod, steps: np.ndarray) -> np.ndarray:
    """Genes without signal in at least k patients, given what patients share in training."""
    trials = method.consistency.n_patients
    tails = [shared_binomial_p(np.full(len(trials), k), trials, method.shared) for k in steps]
    expected = np.nansum(tails, axis=1)
    expected[steps == 0] = len(trials)  # genes without any trial too
    return expected


def consistency_tables(methods: Sequence[ScoredMethod]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Test every gene's number of positive patients over all, tumour and normal spots.

    Sections of a patient are pooled (He et al. 2020); a patient without such spots, or in whom r is
    undefined, leaves the trials. Methods without any labelled section have the rows of all spots only.

    Returns
    -------
    genes : pandas.DataFrame
        Columns :data:`CONSISTENCY_COLUMNS`: Holm's family-wise and Benjamini-Hochberg's correction of the
        binomial p, and of p_shared.
    summary : pandas.DataFrame
        Columns :data:`SUMMARY_COLUMNS`: genes at 5 %; ``largest_p_holm`` is the largest adjusted p among
        them, which He et al. print as false discovery rate.
    """
    import pandas as pd

    tables, rows = [], []
    for method in methods:
        for spots in ("all", *SUBSETS):
            if spots != "all" and not any(len(run.sections) for run in method.subsets.get(spots, ())):
                continue
            table = _consistency_of(method, spots)
            tables.append(table)
            rows.append(_consistency_summary(method, spots, table))
    genes = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    return genes.reindex(columns=list(CONSISTENCY_COLUMNS)), pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS))


def _consistency_of(method: ScoredMethod, spots: str) -> pd.DataFrame:
    import pandas as pd

    r = method.pooled_on(spots)
    test = consistency(r)
    shared = shared_binomial_p(test.n_positive, test.n_patients, method.shared)
    return pd.DataFrame(
        {
            "method": method.name,
            "spots": spots,
            "gene": list(method.genes),
            "n_patients": test.n_patients,
            "n_positive": test.n_positive,
            "median_pearson": gene_medians(r),
            "p_binomial": test.p,
            "p_holm": test.p_holm,
            "q_bh": test.q_bh,
            "p_shared": shared,
            "p_shared_holm": adjust(shared, "holm"),
            "q_shared_bh": adjust(shared, "fdr_bh"),
        }
    )


def _consistency_summary(method: ScoredMethod, spots: str, table: pd.DataFrame) -> dict[str, Any]:
    tested = table[table["n_patients"] > 0]
    n_patients = int(tested["n_patients"].max()) if len(tested) else 0
    found = tested["p_holm"] <= ALPHA
    return {
        "method": method.name,
        "spots": spots,
        "n_genes": len(tested),
        "n_patients": n_patients,
        "n_positive_median": int((tested["median_pearson"] > 0).sum()),
        "n_consistent_holm": int(found.sum()),
        "largest_p_holm": tested.loc[found, "p_holm"].max(),
        "n_consistent_bh": int((tested["q_bh"] <= ALPHA).sum()),
        "n_shared_holm": int((tested["p_shared_holm"] <= ALPHA).sum()),
        "n_shared_bh": int((tested["q_shared_bh"] <= ALPHA).sum()),
        "smallest_p": smallest_p(n_patients),
        "smallest_p_shared": smallest_p_shared(n_patients, method.shared),
        "can_reject_holm": n_patients >= patients_needed(max(len(tested), 1)),
        "shared_training": method.shared,
        "note": dependence_note(method.shared),
    }


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
    shared = max(method.shared for method in methods)
    if shared > 0:
        rows.append(_shared_power(n_patients, n_genes, shared))
    n_pairs = len(methods) * (len(methods) - 1) // 2
    if n_pairs:
        rows.append(_comparison_power(n_patients, n_pairs))
    return pd.DataFrame(rows, columns=list(POWER_COLUMNS)).astype({"genes_needed_bh": "Int64"})


def _shared_power(n_patients: int, n_genes: int, shared: float) -> dict[str, Any]:
    """Say what is left of the consistency test when patients' scores correlate by ``shared``."""
    least = smallest_p_shared(n_patients, shared)
    needed = patients_needed_shared(max(n_genes, 1))
    can = n_genes * least <= ALPHA
    verb = "can reject" if can else f"can never reject (leave-one-patient-out needs {needed} patients)"
    genes = max(1, math.ceil(n_genes * least / ALPHA - 1e-12))
    return {
        "test": "consistency of a gene over patients, allowing for shared training patients",
        "n_patients": n_patients,
        "n_tests": n_genes,
        "smallest_p": least,
        "smallest_p_holm": min(1.0, n_genes * least),
        "patients_needed_holm": needed,
        "can_reject_holm": can,
        "genes_needed_bh": genes if genes <= n_genes else None,
        "statement": f"With {n_patients} patients whose scores correlate by {shared:.2g} without signal, "
        f"because their models share training patients, the smallest p is {least:.2g}: Holm over {n_genes} "
        f"genes {verb}.",
    }


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

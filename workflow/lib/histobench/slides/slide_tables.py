"""Tables over all methods of a cohort of slides: bulk expression, subtypes, tumour and immune genes apart.

pseudobulk
    One row per method, best first: how many genes follow the bulk over patients.
subtypes
    Every method's rows of :func:`histobench.slides.pseudobulk.classify_subtypes`.
slide_colocation
    One row per method: whether tumour and immune genes keep apart, tested over patients.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from histobench.evaluation.statistics import ALPHA, N_BOOTSTRAP, adjust, paired_test
from histobench.files import read_table
from histobench.results.catalogue import catalogue, columns_of
from histobench.results.tables import write
from histobench.seeds import seed_for

if TYPE_CHECKING:
    import pandas as pd

PSEUDOBULK_COLUMNS = columns_of("pseudobulk")
COLOCATION_COLUMNS = columns_of("slide_colocation")


def pseudobulk_table(genes: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Summarise genes over methods.

    Parameters
    ----------
    genes
        Method -> table of :func:`histobench.slides.pseudobulk.compare_genes`.

    Returns
    -------
    pandas.DataFrame
        Columns :data:`PSEUDOBULK_COLUMNS`, by median r. Genes that the bulk does not list are counted, and
        so are those that are constant there; a constant prediction scores 0.
    """
    import pandas as pd

    rows = []
    for method, table in genes.items():
        reason = table["reason"].fillna("")
        own = table[~reason.isin(["not_measured", "constant_bulk"])]
        positive = own["pearson"] > 0
        rows.append(
            {
                "method": method,
                "n_patients": int(table["n_patients"].max()) if len(table) else 0,
                "n_genes": len(own),
                "n_not_measured": int((reason == "not_measured").sum()),
                "n_constant": int((reason == "constant_bulk").sum()),
                "pearson_median": own["pearson"].median(),
                "spearman_median": own["spearman"].median(),
                "n_positive": int(positive.sum()),
                "n_significant_holm": int((positive & (own["p_holm"] < ALPHA)).sum()),
                "n_significant_bh": int((positive & (own["q_bh"] < ALPHA)).sum()),
            }
        )
    made = pd.DataFrame(rows, columns=list(PSEUDOBULK_COLUMNS))
    return made.sort_values("pearson_median", ascending=False, kind="stable", ignore_index=True)


def slide_colocation_table(
    slides: Mapping[str, pd.DataFrame], *, n_bootstrap: int = N_BOOTSTRAP, seed: int = 0
) -> pd.DataFrame:
    """Test over patients whether tumour and immune genes keep apart on slides (He et al. 2020).

    Parameters
    ----------
    slides
        Method -> table of :func:`histobench.slides.pseudobulk.colocation_table`.
    n_bootstrap, seed
        Of the interval.

    Returns
    -------
    pandas.DataFrame
        Columns :data:`COLOCATION_COLUMNS`: correlations of gene pairs within and between the groups, averaged
        over a patient's slides, then patients; two-sided paired t-test, Holm over methods.
    """
    import pandas as pd

    rows = []
    for method, table in slides.items():
        own = table.dropna(subset=["within", "between"])
        if own.empty:
            continue
        pairs = own.groupby("patient")[["within", "between"]].mean().to_numpy(np.float64)
        tested = paired_test(pairs, n=n_bootstrap, seed=seed)
        tested |= {"within": tested.pop("first"), "between": tested.pop("second")}
        rows.append({"method": method, "n_slides": len(own), **tested})
    made = pd.DataFrame(rows, columns=list(COLOCATION_COLUMNS))
    made["p_holm"] = adjust(made["p"].to_numpy(dtype=np.float64), "holm")
    return made


def write_slide_tables(
    *,
    genes: Mapping[str, str | Path],
    subtypes: Mapping[str, str | Path],
    colocation: Mapping[str, str | Path],
    output_pseudobulk: str | Path,
    output_subtypes: str | Path,
    output_colocation: str | Path,
    name: str = "",
) -> None:
    """Write the tables of a cohort of slides.

    Parameters
    ----------
    genes, subtypes, colocation
        Method -> file of :func:`histobench.slides.pseudobulk.write_pseudobulk`.
    output_pseudobulk, output_subtypes, output_colocation
        See the module.
    name
        Of the branch; the bootstrap follows from it.
    """
    import pandas as pd

    seed = seed_for(name, "colocation") % 2**32
    told = [read_table(path).assign(method=method) for method, path in subtypes.items()]
    told = [table for table in told if len(table)]
    columns = list(columns_of("subtypes"))
    for entry, table, path in (
        (
            "pseudobulk",
            pseudobulk_table({method: read_table(file) for method, file in genes.items()}),
            output_pseudobulk,
        ),
        ("subtypes", pd.concat(told)[columns] if told else pd.DataFrame(columns=columns), output_subtypes),
        (
            "slide_colocation",
            slide_colocation_table(
                {method: read_table(file) for method, file in colocation.items()},
                seed=seed,
            ),
            output_colocation,
        ),
    ):
        write(table, path, catalogue()[entry])

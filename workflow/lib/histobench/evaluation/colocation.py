"""Whether tumour genes and immune genes keep to themselves (He et al. 2020).

Within a section, genes of one group rise and fall together; between the groups less so where tumour and
immune cells are apart. Correlations over spots of pairs within a group are set against those of pairs
between the groups, in the observation and in the prediction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from histobench.errors import UserError

# Tumour and immune genes of He et al. 2020.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "tumour": ("AEBP1", "BGN", "P4HB"),
    "immune": ("PABPC1", "TAGLN2", "HLA-B"),
}
# Genes of the simulated cohort that rise with their tissue, so that the test can be seen at work there.
SIMULATED: Mapping[str, tuple[str, ...]] = {
    "tumour": ("TUMOUR-01", "TUMOUR-03", "TUMOUR-11"),
    "immune": ("IMMUNE-01", "IMMUNE-03", "IMMUNE-11"),
}
EITHER: Mapping[str, tuple[str, ...]] = {name: (*genes, *SIMULATED[name]) for name, genes in GROUPS.items()}


def colocation(
    values: np.ndarray, genes: Sequence[str], groups: Mapping[str, Sequence[str]] = EITHER
) -> dict[str, float]:
    """Mean correlation over spots of gene pairs within and between two groups.

    Parameters
    ----------
    values
        (spots, genes) of one section.
    genes
        Names of the columns; genes of the groups that are not among them are left out.
    groups
        Two groups of genes.

    Returns
    -------
    dict
        ``within`` (pairs of either group) and ``between``, NaN where no pair varies; empty unless both
        groups have a gene in the panel and one has two.
    """
    place = {gene: column for column, gene in enumerate(genes)}
    first, second = ([place[gene] for gene in group if gene in place] for group in groups.values())
    if not first or not second or len(first) + len(second) < 3 or len(values) < 3:
        return {}
    chosen = np.asarray(values, dtype=np.float64)[:, [*first, *second]]
    centred = chosen - chosen.mean(axis=0)
    length = np.sqrt((centred**2).sum(axis=0))
    varying = length > 1e-6 * np.abs(chosen).max(axis=0) * np.sqrt(len(chosen))
    unit = np.where(varying, centred / np.where(varying, length, 1.0), np.nan)
    r = unit.T @ unit
    of_first = np.arange(len(r)) < len(first)
    same = of_first[:, None] == of_first[None, :]
    upper = np.triu(np.ones(r.shape, dtype=bool), 1) & np.isfinite(r)
    return {
        name: float(r[upper & mask].mean()) if (upper & mask).any() else np.nan
        for name, mask in (("within", same), ("between", ~same))
    }


def group_scores(
    values: np.ndarray, genes: Sequence[str], groups: Mapping[str, Sequence[str]] = GROUPS
) -> dict[str, np.ndarray]:
    """Score spots or tiles by each group of genes: the mean of its genes' z-scores over the rows.

    Parameters
    ----------
    values
        (rows, genes) of one section or slide.
    genes
        Names of the columns.
    groups
        Groups of genes.

    Returns
    -------
    dict
        Name of the group -> score of every row, (rows,) in standard deviations of a gene; groups without a
        gene that is there and varies are left out.
    """
    place = {gene: column for column, gene in enumerate(genes)}
    found = {}
    for name, members in groups.items():
        chosen = np.asarray(values[:, [place[gene] for gene in members if gene in place]], dtype=np.float64)
        if not chosen.size:
            continue
        spread = chosen.std(axis=0)
        varying = spread > 1e-6 * np.abs(chosen).max(axis=0)
        if varying.any():
            own = chosen[:, varying]
            found[name] = ((own - own.mean(axis=0)) / spread[varying]).mean(axis=1)
    return found


def check_groups(groups: Any, where: str) -> None:
    """Refuse groups of genes that are not those of :data:`GROUPS`, each a list of names.

    Raises
    ------
    UserError
        Says what was expected at ``where``.
    """
    if (
        not isinstance(groups, Mapping)
        or set(groups) != set(GROUPS)
        or not all(isinstance(genes, list) and genes for genes in groups.values())
        or not all(isinstance(gene, str) for genes in groups.values() for gene in genes)
    ):
        raise UserError(
            f"{where} must name genes of two groups, as {{tumour: [A, B], immune: [C, D]}}; correct it."
        )

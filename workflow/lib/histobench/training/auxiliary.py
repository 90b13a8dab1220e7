"""Further genes as auxiliary targets: everything that is measured and not in the panel.

A cohort of 30,000 spots and 20,000 genes would take 2.4 GB as a dense table. Counts are sparse, and under
every transform a value is that of a zero count in the same spot plus something that is zero where the count
is; so only the difference is kept, and a batch is made dense when it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from histobench.expression.transforms import transform_counts
from histobench.training.store import require

if TYPE_CHECKING:
    import torch
    from scipy import sparse

    from histobench.expression.transforms import Transform
    from histobench.networks.multihead import MultiHead
    from histobench.training.contract import Context, SectionData


@dataclass(frozen=True)
class AuxiliaryTargets:
    """Transformed expression of further genes, spots numbered through the sections.

    Attributes
    ----------
    genes
        Their names, in the order of the columns.
    base
        Value of a zero count in each spot, float32 (spots,).
    above
        Difference from that value, float32 CSR (spots, genes).
    """

    genes: tuple[str, ...]
    base: np.ndarray
    above: sparse.csr_matrix

    def batch(self, rows: np.ndarray) -> np.ndarray:
        """Return dense targets of some spots, float32 (batch, genes)."""
        dense = self.above[rows].toarray()
        dense += self.base[rows, None]
        return dense

    def error(
        self, network: MultiHead, features: torch.Tensor, rows: np.ndarray, device: torch.device
    ) -> torch.Tensor:
        """Return the mean squared error of the auxiliary head on some spots; 0 without any such gene."""
        from torch.nn import functional

        from histobench.training.device import on_device

        if network.auxiliary is None:
            return features.new_zeros(())
        predicted = network.auxiliary(features).float()
        return functional.mse_loss(predicted, on_device(self.batch(rows), device))


def auxiliary_targets(
    sections: Sequence[SectionData],
    context: Context,
    learn: np.ndarray,
    *,
    min_share: float = 0.0,
    min_spots: int = 1,
) -> AuxiliaryTargets:
    """Choose and transform the genes beside the panel.

    Parameters
    ----------
    sections
        Sections with counts, in the order that numbers the spots.
    context
        Panel, all measured genes and transform.
    learn
        Numbers of the spots to learn from; only they decide which genes are kept.
    min_share, min_spots
        A gene is kept when it is detected in at least this share, and this number, of those spots.

    Returns
    -------
    AuxiliaryTargets
        With no column where no gene is left.
    """
    panel = set(context.genes)
    counts = _counts(sections)
    detected = np.asarray((counts[learn] > 0).sum(axis=0)).ravel()
    needed = max(min_spots, min_share * len(learn))
    keep = np.flatnonzero(
        [gene not in panel and detected[i] >= needed for i, gene in enumerate(context.all_genes)]
    )
    return transformed_genes(
        sections, keep, genes=context.genes, all_genes=context.all_genes, transform=context.transform
    )


def _counts(sections: Sequence[SectionData]) -> sparse.csr_matrix:
    from scipy import sparse

    return sparse.vstack([require(section, "counts") for section in sections], format="csr")


def transformed_genes(
    sections: Sequence[SectionData],
    columns: np.ndarray,
    *,
    genes: Sequence[str],
    all_genes: Sequence[str],
    transform: Transform,
) -> AuxiliaryTargets:
    """Transform genes beside the panel just as the panel is.

    Parameters
    ----------
    sections
        Sections with counts, in the order that numbers the spots.
    columns
        Which of ``all_genes``.
    genes, all_genes, transform
        Panel, all measured genes and transform.
    """
    from scipy import sparse

    counts = _counts(sections)
    place = {gene: i for i, gene in enumerate(all_genes)}
    panel_total = np.asarray(counts[:, [place[gene] for gene in genes]].sum(axis=1), float).ravel()
    total = np.concatenate([require(section, "total_counts") for section in sections])
    chosen = counts[:, columns].tocsr()
    chosen.eliminate_zeros()

    def transformed(values: np.ndarray, spots: np.ndarray) -> np.ndarray:
        # every value as a spot of its own that measures one gene
        column = transform_counts(
            transform, values[:, None], total[spots], panel_total[spots], len(all_genes)
        )
        return column[:, 0]

    everyone = np.arange(chosen.shape[0])
    base = transformed(np.zeros(len(everyone)), everyone)
    spots = np.repeat(everyone, np.diff(chosen.indptr))
    above = transformed(chosen.data, spots) - base[spots]
    return AuxiliaryTargets(
        tuple(all_genes[i] for i in columns),
        base.astype(np.float32),
        sparse.csr_matrix((above.astype(np.float32), chosen.indices, chosen.indptr), shape=chosen.shape),
    )

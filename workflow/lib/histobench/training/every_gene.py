"""Scores of every gene that a method predicts, also of those beside the panel, computed where it predicts.

The predictions of 20,000 genes are not kept: a cohort of 30,000 spots would take 2.4 GB per method. What is
kept is a row per section and gene, with what pools exactly: n, means, standard deviations and r.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from histobench.expression.gene_scores import AUXILIARY, NUMBERS, TARGET, moments
from histobench.expression.importance import importances
from histobench.seeds import seed_for
from histobench.training.auxiliary import transformed_genes
from histobench.training.store import require

if TYPE_CHECKING:
    import pandas as pd

    from histobench.expression.transforms import Transform
    from histobench.training.contract import Prediction
    from histobench.training.load import LoadedSection


def score_every_gene(
    loaded: LoadedSection,
    prediction: Prediction,
    *,
    panel: tuple[str, ...],
    all_genes: tuple[str, ...],
    transform: Transform,
) -> pd.DataFrame:
    """Score the panel and all genes beside it that were predicted for a section.

    Parameters
    ----------
    loaded
        The section with its truth.
    prediction
        Of the panel, and ``further`` genes.
    panel, all_genes, transform
        Genes of the panel, all measured genes, and the target transform, as in training.

    Returns
    -------
    pandas.DataFrame
        The columns of the catalogue (:data:`histobench.expression.gene_scores.COLUMNS`). Genes that the
        section does not measure are NaN; r is given for any number of spots, who reads it says how few are
        too few. Importances are those of a forest that sees all these genes together.

    Raises
    ------
    ValueError
        What is predicted of further genes has not the right shape, is not finite, or names a gene twice.
    """
    import pandas as pd

    data, further = loaded.data, prediction.further
    assert further is not None
    predicted = _checked(prediction, len(data), panel, all_genes, data.section)
    place = {gene: column for column, gene in enumerate(all_genes)}
    columns = np.array([place[gene] for gene in further.genes], dtype=np.intp)
    targets = transformed_genes([data], columns, genes=panel, all_genes=all_genes, transform=transform)
    beside = targets.batch(np.arange(len(data)))
    beside[:, loaded.unmeasured[columns]] = np.nan
    truth = np.concatenate([require(data, "targets"), beside], axis=1)
    tumour, seed = require(data, "labels").astype(np.float64), seed_for("evaluation", data.section)
    informs = {
        f"importance_{side}": importances(np.where(np.isfinite(truth), values, np.nan), tumour, seed)
        for side, values in (("truth", truth), ("prediction", predicted))
    }
    table = pd.DataFrame({
        "patient": data.patient,
        "section": data.section,
        "gene": [*panel, *further.genes],
        "kind": np.repeat([TARGET, AUXILIARY], [len(panel), len(further.genes)]),
        "n_spots": len(data),
        "n_labelled": int(np.isfinite(tumour).sum()),
    })  # fmt: skip
    numbers = {**moments(truth, predicted), **informs}
    return table.assign(**{name: numbers[name].astype(np.float32) for name in NUMBERS})


def _checked(
    prediction: Prediction, n_spots: int, panel: tuple[str, ...], all_genes: tuple[str, ...], name: str
) -> np.ndarray:
    """Return what was predicted of the panel, then of the further genes, float32 (spots, genes)."""
    assert prediction.further is not None
    genes = prediction.further.genes
    if len({*genes, *panel}) != len(genes) + len(panel) or not set(genes) <= set(all_genes):
        raise ValueError(f"section {name}: further genes must be measured, each once, and not of the panel")
    values = np.asarray(prediction.further.expression(), np.float32)
    if values.shape != (n_spots, len(genes)) or not np.isfinite(values).all():
        raise ValueError(
            f"section {name}: predicted {values.shape} of further genes, expected {(n_spots, len(genes))} "
            "finite numbers (spots, genes)"
        )
    return np.concatenate([np.asarray(prediction.expression, np.float32), values], axis=1)

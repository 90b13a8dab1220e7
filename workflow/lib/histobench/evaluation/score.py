"""From prediction files to the long metric table of one method and fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.errors import UserError
from histobench.evaluation.metrics import gene_metrics
from histobench.expression.smoothing import neighbour_average
from histobench.expression.transforms import transform_counts
from histobench.files import write_table

if TYPE_CHECKING:
    import pandas as pd

# Section name of the rows in which the sections of a patient are pooled.
POOLED = "*"
COLUMNS = ("patient", "section", "gene", "metric", "value", "n_spots")


@dataclass(frozen=True)
class ScoredSection:
    """What scoring needs of one predicted section; rows are spots, columns the panel.

    ``tumour`` holds 1, 0 or NaN (unknown) and ``tumour_probability`` the prediction, where there is one.
    """

    patient: str
    section: str
    genes: tuple[str, ...]
    truth: np.ndarray
    prediction: np.ndarray
    smoothed: np.ndarray
    total_counts: np.ndarray
    tumour: np.ndarray | None = None
    tumour_probability: np.ndarray | None = None


def read_scored_section(path: str | Path) -> ScoredSection:
    """Read one prediction file and smooth its truth over neighbouring spots.

    Raises
    ------
    UserError
        The file lacks a part that scoring needs.
    """
    import anndata

    data = anndata.read_h5ad(path)
    for place, names, needed in (
        ("layers", data.layers, ("truth", "counts")),
        ("obs", data.obs, ("array_x", "array_y", "patient", "section", "total_counts")),
        ("uns", data.uns, ("transform", "n_genes_measured")),
    ):
        if lacking := [name for name in needed if name not in names]:
            raise UserError(
                f"{path}: {place} lacks {', '.join(lacking)}, which scoring needs; run the prediction again."
            )
    obs = data.obs
    # anndata stubs type X as a union of array kinds; predictions are stored dense.
    prediction: Any = data.X
    with_tumour = "tumour_probability" in obs and "tumour" in obs
    total = obs["total_counts"].to_numpy(dtype=np.float64)
    return ScoredSection(
        patient=str(obs["patient"].iloc[0]),
        section=str(obs["section"].iloc[0]),
        genes=tuple(str(gene) for gene in data.var_names),
        truth=np.asarray(data.layers["truth"], dtype=np.float32),
        prediction=np.asarray(prediction, dtype=np.float32),
        smoothed=smoothed_truth(
            data.layers["counts"],
            total,
            obs["array_x"].to_numpy(),
            obs["array_y"].to_numpy(),
            transform=str(data.uns["transform"]),
            n_genes=int(data.uns["n_genes_measured"]),
        ),
        total_counts=total,
        tumour=obs["tumour"].to_numpy(dtype=np.float64) if with_tumour else None,
        tumour_probability=obs["tumour_probability"].to_numpy(dtype=np.float64) if with_tumour else None,
    )


def smoothed_truth(
    counts: Any,
    total: np.ndarray,
    array_x: np.ndarray,
    array_y: np.ndarray,
    *,
    transform: str,
    n_genes: int,
) -> np.ndarray:
    """Average raw counts over the 3 x 3 block of each spot, then transform.

    ``counts`` (spots, genes) may be dense or sparse; totals are averaged the same way, so that the size
    factor is the mean depth of the block. Returns float32, (spots, genes).
    """
    average = neighbour_average(array_x, array_y)
    mean_counts = average @ counts
    return transform_counts(transform, mean_counts, average @ np.asarray(total), n_genes=n_genes)


def section_table(
    sections: Sequence[ScoredSection], *, name: str | None = None, threads: int = 1
) -> pd.DataFrame:
    """Score sections pooled into one (a single section is the ordinary case).

    Parameters
    ----------
    sections
        Sections of one patient with the same genes.
    name
        What to call them in the section column; the section's own name by default.

    Returns
    -------
    pandas.DataFrame
        Columns :data:`COLUMNS`.
    """
    import pandas as pd

    def stacked(attribute: str) -> np.ndarray:
        parts = [getattr(section, attribute) for section in sections]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    values = gene_metrics(
        stacked("truth"),
        stacked("prediction"),
        total_counts=stacked("total_counts"),
        smoothed_truth=stacked("smoothed"),
        threads=threads,
    )
    genes = np.array(sections[0].genes, dtype=object)
    tumour: Mapping[str, float] = {}
    if all(section.tumour_probability is not None for section in sections):
        tumour = tumour_metrics(stacked("tumour"), stacked("tumour_probability"))
    table = pd.DataFrame(
        {
            "gene": np.concatenate([np.tile(genes, len(values)), [""] * len(tumour)]),
            "metric": np.concatenate([np.repeat(list(values), len(genes)), list(tumour)]),
            "value": np.concatenate([*values.values(), list(tumour.values())]),
        }
    )
    table.insert(0, "section", sections[0].section if name is None else name)
    table.insert(0, "patient", sections[0].patient)
    table["n_spots"] = sum(len(section.truth) for section in sections)
    return table


def tumour_metrics(tumour: np.ndarray, probability: np.ndarray) -> Mapping[str, float]:
    """Score tumour probabilities on the spots with a label.

    Returns accuracy at 0.5, AUROC, AUPRC, the Brier score and the number of labelled spots; AUROC and
    AUPRC are NaN where only one class is present. Without any label nothing is returned.
    """
    known = np.isfinite(tumour)
    if not known.any():
        return {}
    from sklearn.metrics import average_precision_score, roc_auc_score

    label, score = tumour[known].astype(int), probability[known]
    both = 0 < label.sum() < len(label)
    return {
        "tumour_accuracy": float(np.mean((score >= 0.5) == (label == 1))),
        "tumour_auroc": float(roc_auc_score(label, score)) if both else np.nan,
        "tumour_auprc": float(average_precision_score(label, score)) if both else np.nan,
        "tumour_brier": float(np.mean((score - label) ** 2)),
        "tumour_n_labelled": float(len(label)),
    }


def score_sections(sections: Sequence[ScoredSection], *, threads: int = 1) -> pd.DataFrame:
    """Score every section, and the pooled sections of every patient (section "*")."""
    import pandas as pd

    tables = [section_table([section], threads=threads) for section in sections]
    for patient in dict.fromkeys(section.patient for section in sections):
        own = [section for section in sections if section.patient == patient]
        if len({section.genes for section in own}) > 1:
            raise ValueError(f"sections of patient {patient} were predicted for different genes")
        tables.append(section_table(own, name=POOLED, threads=threads))
    return pd.concat(tables, ignore_index=True)


def write_metrics(predictions_folder: str | Path, output_parquet: str | Path, *, threads: int = 1) -> None:
    """Score all predictions of one method and fold and write the long metric table.

    Columns: patient, section ("*" where a patient's sections are pooled), gene ("" where a metric is not
    about a gene), metric, value, n_spots.

    Raises
    ------
    UserError
        The folder holds no prediction.
    """
    paths = sorted(Path(predictions_folder).glob("*.h5ad"))
    if not paths:
        raise UserError(
            f"{predictions_folder}: there is no prediction (*.h5ad) to score; run the prediction again."
        )
    sections = [read_scored_section(path) for path in paths]
    write_table(score_sections(sections, threads=threads), output_parquet)

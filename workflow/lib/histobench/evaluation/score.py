"""From prediction files to the long metric table and the spot table of one method and fold.

Rows of the metric table without a gene ("") are about a whole section, those of section "*" about the pooled
sections of a patient. A metric that ends in "@tumour" or "@normal" was computed on these spots only, whose
number is n_spots. Those that end in "@permuted", pearson_1 and so on, are of a null control's permutations.

Where a section, the pooled sections of a patient or the spots of a subset are fewer than a least number
(:data:`histobench.evaluation.metrics.LEAST_SPOTS`), what compares patterns over them is NaN: correlations,
ranks, maps, clusters. A section's rows then have the metric "covariance" besides, by which its spots still
count when sections are pooled.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.errors import UserError
from histobench.evaluation.colocation import colocation
from histobench.evaluation.domains import determined, latent_neighbours, section_domains, two_clusters
from histobench.evaluation.metrics import (
    COVARIANCE,
    LEAST_SPOTS,
    covariance,
    gene_metrics,
    gene_moments,
    without_patterns,
)
from histobench.evaluation.spatial import spatial_metrics
from histobench.evaluation.tumour import tumour_metrics
from histobench.expression.correlation import PERMUTED
from histobench.expression.importance import importances
from histobench.expression.smoothing import neighbour_average
from histobench.expression.transforms import DEFINITION, NAME, Transform, transform_counts
from histobench.files import atomic_folder, read_results, write_table
from histobench.imaging.grid import stored_grid
from histobench.seeds import seed_for

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

# Section name of the rows in which the sections of a patient are pooled.
POOLED = "*"
COLUMNS = ("patient", "section", "gene", "metric", "value", "n_spots")
# Values of obs["tumour"] behind the subsets of spots.
SUBSETS: Mapping[str, float] = {"tumour": 1.0, "normal": 0.0}
# What metrics of permutations end in.
PERMUTATIONS = "permuted"
SPOT_COLUMNS = (
    "patient", "section", "spot", "array_x", "array_y", "grid", "label", "tumour", "tumour_probability",
    "domain_truth", "domain_prediction", "cluster_truth", "cluster_prediction", "cluster_embedding",
)  # fmt: skip


@dataclass(frozen=True)
class ScoredSection:
    """What scoring needs of one predicted section; rows are spots, columns the panel.

    ``tumour`` holds 1, 0 or NaN (unknown), ``tumour_probability`` and ``embedding`` (spots, dimensions) what
    the method gave, ``label`` the pathologist's words, ``grid`` the kind of grid that ``array_x`` and
    ``array_y`` are positions of, ``permuted`` r of a null control's permutations, (genes, permutations). What
    is None is not scored.
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
    spots: np.ndarray | None = None
    array_x: np.ndarray | None = None
    array_y: np.ndarray | None = None
    label: np.ndarray | None = None
    embedding: np.ndarray | None = None
    grid: str = "square"
    permuted: np.ndarray | None = None


def read_scored_section(path: str | Path) -> ScoredSection:
    """Read one prediction file and smooth its truth over neighbouring spots.

    Raises
    ------
    UserError
        The file lacks a part that scoring needs.
    """
    data = read_results(path)
    for place, names, needed in (
        ("layers", data.layers, ("truth", "counts")),
        ("obs", data.obs, ("array_x", "array_y", "patient", "section", "total_counts")),
        ("uns", data.uns, (NAME, DEFINITION, "n_genes_measured")),
    ):
        if lacking := [name for name in needed if name not in names]:
            raise UserError(
                f"{path}: {place} lacks {', '.join(lacking)}, which scoring needs; run the prediction again."
            )
    obs = data.obs
    # a section of which quality control left no spot still has its names in uns
    about = obs.iloc[0] if len(obs) else data.uns
    # anndata stubs type X as a union of array kinds; predictions are stored dense.
    prediction: Any = data.X

    def column(name: str) -> np.ndarray | None:
        return obs[name].to_numpy(dtype=np.float64) if name in obs else None

    total = obs["total_counts"].to_numpy(dtype=np.float64)
    x, y = (obs[name].to_numpy(dtype=np.float64) for name in ("array_x", "array_y"))
    grid = stored_grid(data.uns, x, y, str(path))
    return ScoredSection(
        patient=str(about["patient"]),
        section=str(about["section"]),
        genes=tuple(str(gene) for gene in data.var_names),
        truth=np.asarray(data.layers["truth"], dtype=np.float32),
        prediction=np.asarray(prediction, dtype=np.float32),
        smoothed=smoothed_truth(
            data.layers["counts"],
            total,
            x,
            y,
            transform=Transform.stored(data.uns),
            n_genes=int(data.uns["n_genes_measured"]),
            grid=grid,
        ),
        total_counts=total,
        tumour=column("tumour"),
        tumour_probability=column("tumour_probability"),
        spots=np.asarray(data.obs_names, dtype=object),
        array_x=x,
        array_y=y,
        label=obs["label"].astype(str).to_numpy(dtype=object) if "label" in obs else None,
        embedding=np.asarray(data.obsm["embedding"]) if "embedding" in data.obsm else None,
        grid=grid,
        permuted=np.asarray(data.varm[PERMUTED], np.float64) if PERMUTED in data.varm else None,
    )


def smoothed_truth(
    counts: Any,
    total: np.ndarray,
    array_x: np.ndarray,
    array_y: np.ndarray,
    *,
    transform: Transform,
    n_genes: int,
    grid: str = "square",
) -> np.ndarray:
    """Average raw counts over each spot and its neighbours (the 3 x 3 block), then transform.

    ``counts`` (spots, genes) may be dense or sparse; totals are averaged the same way, so that the size
    factor is the mean depth of the block. Returns float32, (spots, genes).
    """
    average = neighbour_average(array_x, array_y, grid=grid)
    mean_counts = average @ counts
    return transform_counts(transform, mean_counts, average @ np.asarray(total), n_genes=n_genes)


def section_table(
    section: ScoredSection, *, threads: int = 1, least_spots: int = LEAST_SPOTS
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Score one section.

    Parameters
    ----------
    section
        What was observed and predicted.
    threads
        Threads that work on blocks of genes.
    least_spots
        Fewer spots leave what compares patterns over them undefined.

    Returns
    -------
    metrics : pandas.DataFrame
        Columns :data:`COLUMNS`.
    spots : dict
        Columns of the spot table that scoring finds.
    """
    import pandas as pd

    truth, prediction = section.truth, section.prediction
    seed = seed_for("evaluation", section.section)
    enough = len(truth) >= least_spots
    values = _poolable(_gene_values([section], threads, least_spots=0), len(truth), least_spots)
    if section.array_x is not None and section.array_y is not None:
        place = section.array_x, section.array_y
        values |= spatial_metrics(
            truth, prediction, *place, grid=section.grid, least_spots=least_spots, threads=threads
        )
        if section.embedding is not None:
            values |= latent_neighbours(
                truth, section.embedding, *place, grid=section.grid, least_spots=least_spots
            )
    scalars = {"pearson_per_spot": _per_spot(truth, prediction), **_tumour_scalars([section], least_spots)}
    for side, array in (("truth", truth), ("prediction", prediction)):
        found = colocation(array, section.genes) if enough else {}
        scalars |= {f"colocation_{name}_{side}": value for name, value in found.items()}
    spots: dict[str, np.ndarray] = {}
    if section.label is not None:
        domains, spots = section_domains(truth, prediction, section.label, seed)
        scalars |= domains if determined(section.label).sum() >= least_spots else {}
    tables = []
    if section.tumour is not None:
        both = {"truth": truth, "prediction": prediction}
        purities, clusters = two_clusters(both, section.tumour, seed)
        purities = purities if np.isfinite(section.tumour).sum() >= least_spots else {}
        scalars, spots = {**scalars, **purities}, {**spots, **clusters}
        if purities:  # both classes are there
            values |= {
                f"importance_{side}": importances(array, section.tumour, seed) for side, array in both.items()
            }
        for subset, code in SUBSETS.items():
            chosen = section.tumour == code
            if chosen.any():
                part = gene_moments(truth[chosen], prediction[chosen], least_spots=0)
                part = _poolable(part, int(chosen.sum()), least_spots)
                part = {f"{name}@{subset}": value for name, value in part.items()}
                tables.append(_long(section, section.section, part, {}, int(chosen.sum())))
    if section.permuted is not None and enough:
        part = {f"pearson_{number}@{PERMUTATIONS}": r for number, r in enumerate(section.permuted.T, start=1)}
        tables.append(_long(section, section.section, part, {}, len(truth)))
    tables.insert(0, _long(section, section.section, values, scalars, len(truth)))
    return pd.concat(tables, ignore_index=True), spots


def patient_table(
    sections: Sequence[ScoredSection], *, threads: int = 1, least_spots: int = LEAST_SPOTS
) -> tuple[pd.DataFrame, list[dict[str, np.ndarray]]]:
    """Score the pooled sections of one patient, which have the same genes (section "*").

    Parameters are those of :func:`section_table`.

    Returns
    -------
    metrics : pandas.DataFrame
        Columns :data:`COLUMNS`.
    spots : list of dict
        For each section, columns of the spot table.
    """
    values = _gene_values(sections, threads, least_spots)
    scalars = _tumour_scalars(sections, least_spots)
    spots: list[dict[str, np.ndarray]] = [{} for _ in sections]
    if all(s.tumour is not None and s.embedding is not None for s in sections):
        seed = seed_for("evaluation", sections[0].patient)
        embedding = {"embedding": _stacked(sections, "embedding")}
        tumour = _stacked(sections, "tumour")
        purities, found = two_clusters(embedding, tumour, seed)
        # of the patient, whose sections share a latent space; the sections' own are of their expression
        scalars |= purities if np.isfinite(tumour).sum() >= least_spots else {}
        bounds = np.cumsum([len(section.truth) for section in sections])[:-1]
        for name, column in found.items():
            for place, part in zip(spots, np.split(column, bounds), strict=True):
                place[name] = part
    n_spots = sum(len(section.truth) for section in sections)
    return _long(sections[0], POOLED, values, scalars, n_spots), spots


def _stacked(sections: Sequence[ScoredSection], attribute: str) -> np.ndarray:
    parts = [getattr(section, attribute) for section in sections]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _poolable(values: dict[str, np.ndarray], n_spots: int, least_spots: int) -> dict[str, np.ndarray]:
    """Take out what too few spots do not tell, and keep what pooling needs of it."""
    if n_spots >= least_spots:
        return values
    return {**without_patterns(values), COVARIANCE: covariance(values)}


def _gene_values(sections: Sequence[ScoredSection], threads: int, least_spots: int) -> dict[str, np.ndarray]:
    return gene_metrics(
        _stacked(sections, "truth"),
        _stacked(sections, "prediction"),
        total_counts=_stacked(sections, "total_counts"),
        smoothed_truth=_stacked(sections, "smoothed"),
        least_spots=least_spots,
        threads=threads,
    )


def _tumour_scalars(sections: Sequence[ScoredSection], least_spots: int) -> dict[str, float]:
    if any(s.tumour is None or s.tumour_probability is None for s in sections):
        return {}
    tumour = _stacked(sections, "tumour")
    if np.isfinite(tumour).sum() < least_spots:
        return {}
    return tumour_metrics(tumour, _stacked(sections, "tumour_probability"))


def _per_spot(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Correlation over the genes of a spot, averaged over spots (Kumar & Chatterjee 2024).

    Genes differ so much in their means that a constant profile scores high: read it beside train_mean.
    """
    measured = np.isfinite(truth).all(axis=0)
    if not len(truth) or not measured.any():
        return np.nan
    r = gene_moments(truth[:, measured].T, prediction[:, measured].T, least_spots=0)["pearson"]
    return float(np.nanmean(r)) if np.isfinite(r).any() else np.nan


def _long(
    about: ScoredSection,
    name: str,
    values: Mapping[str, np.ndarray],
    scalars: Mapping[str, float],
    n_spots: int,
) -> pd.DataFrame:
    import pandas as pd

    genes = np.array(about.genes, dtype=object)
    table = pd.DataFrame(
        {
            "gene": np.concatenate([np.tile(genes, len(values)), [""] * len(scalars)]),
            "metric": np.concatenate([np.repeat(list(values), len(genes)), list(scalars)]),
            "value": np.concatenate([*values.values(), list(scalars.values())]),
        }
    )
    table.insert(0, "section", name)
    table.insert(0, "patient", about.patient)
    table["n_spots"] = n_spots
    return table


def score_sections(
    sections: Sequence[ScoredSection], *, threads: int = 1, least_spots: int = LEAST_SPOTS
) -> pd.DataFrame:
    """Score every section, and the pooled sections of every patient (section "*")."""
    return score_and_describe(sections, threads=threads, least_spots=least_spots)[0]


def score_and_describe(
    sections: Sequence[ScoredSection], *, threads: int = 1, least_spots: int = LEAST_SPOTS
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the metric table (:data:`COLUMNS`) and the spot table (:data:`SPOT_COLUMNS`) of sections."""
    import pandas as pd

    how = {"threads": threads, "least_spots": least_spots}
    found = [section_table(section, **how) for section in sections]
    tables, columns = [table for table, _ in found], [spots for _, spots in found]
    for patient in dict.fromkeys(section.patient for section in sections):
        own = [i for i, section in enumerate(sections) if section.patient == patient]
        if len({sections[i].genes for i in own}) > 1:
            raise ValueError(f"sections of patient {patient} were predicted for different genes")
        table, spots = patient_table([sections[i] for i in own], **how)
        tables.append(table)
        for i, part in zip(own, spots, strict=True):
            columns[i] |= part
    spots_of = [_spot_table(section, part) for section, part in zip(sections, columns, strict=True)]
    return pd.concat(tables, ignore_index=True), pd.concat(spots_of, ignore_index=True)


def _spot_table(section: ScoredSection, columns: Mapping[str, np.ndarray]) -> pd.DataFrame:
    import pandas as pd

    n = len(section.truth)
    given = {
        "patient": section.patient,
        "section": section.section,
        "spot": np.arange(n).astype(str) if section.spots is None else section.spots,
        "grid": section.grid,
        "label": np.full(n, "") if section.label is None else section.label,
    }
    numbers = {
        name: getattr(section, name, None) if name not in columns else columns[name]
        for name in SPOT_COLUMNS
        if name not in given
    }
    filled = {name: np.full(n, np.nan) if value is None else value for name, value in numbers.items()}
    return pd.DataFrame({**given, **filled}, index=range(n))[list(SPOT_COLUMNS)]


def write_metrics(
    predictions_folder: str | Path,
    output_metrics: str | Path,
    output_spots: str | Path,
    *,
    threads: int = 1,
    least_spots: int = LEAST_SPOTS,
) -> None:
    """Score all predictions of one method and fold.

    Parameters
    ----------
    predictions_folder
        Holds one ``{section}.h5ad`` per tested section.
    output_metrics
        Long table: patient, section ("*" where a patient's sections are pooled), gene ("" where a metric is
        not about a gene), metric, value, n_spots.
    output_spots
        One row per spot: position, label, tumour probability and clusters (:data:`SPOT_COLUMNS`).
    threads
        Threads that work on blocks of genes.
    least_spots
        Fewer spots leave what compares patterns over them undefined.

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
    for section in sections:
        if len(section.truth) < least_spots:
            log.warning(
                "section %s has %d spots, fewer than %d: it has no correlations",
                section.section, len(section.truth), least_spots,
            )  # fmt: skip
    metrics, spots = score_and_describe(sections, threads=threads, least_spots=least_spots)
    write_table(spots, output_spots)
    write_table(metrics, output_metrics)


def score_method(
    prediction_folders: Sequence[str | Path],
    metrics_folder: str | Path,
    spots_folder: str | Path,
    *,
    least_spots: int = LEAST_SPOTS,
) -> None:
    """Score all folds of one method: a metric and a spot table per folder of predictions, named after it.

    The folders of tables appear when all are written; see :func:`write_metrics` for what is in them.
    """
    with atomic_folder(metrics_folder) as metrics, atomic_folder(spots_folder) as spots:
        for predictions in prediction_folders:
            name = f"{Path(predictions).name}.parquet"
            write_metrics(predictions, metrics / name, spots / name, least_spots=least_spots)

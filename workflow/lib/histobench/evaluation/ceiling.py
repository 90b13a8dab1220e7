"""The noise ceiling: the best correlation that any prediction can reach on data of this depth.

Each spot's molecules are split into two halves. The correlation h of the transformed halves is the
reliability of half the data; Spearman and Brown's formula 2h / (1 + h) extrapolates it to all of it. A
prediction that knew the true expression would correlate with the measured one by the square root of that
reliability, which is the ceiling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.cohorts.table import load_section, not_measured
from histobench.errors import UserError
from histobench.evaluation.metrics import LEAST_SPOTS, gene_metrics
from histobench.evaluation.score import COLUMNS, POOLED
from histobench.expression.thinning import split_counts
from histobench.expression.transforms import Transform, transform_counts
from histobench.filelists import files_of, read_lists
from histobench.files import read_table, write_table
from histobench.seeds import seed_for

if TYPE_CHECKING:
    import pandas as pd

N_THINNINGS = 5


@dataclass(frozen=True)
class PanelCounts:
    """Raw counts of the panel in one section: counts (spots, genes), total (spots,) over all genes.

    ``unmeasured`` (genes,) marks those that the section does not measure; None for none.
    """

    patient: str
    section: str
    counts: np.ndarray
    total: np.ndarray
    unmeasured: np.ndarray | None = None


def ceiling_from_halves(half_pearson: np.ndarray) -> np.ndarray:
    """Return the ceiling of each gene from the correlation between halves.

    A gene whose halves do not agree (h <= 0) has ceiling 0; NaN stays NaN (not measured).
    """
    h = np.clip(np.asarray(half_pearson, dtype=np.float64), 0.0, 1.0)
    return np.sqrt(2.0 * h / (1.0 + h))


def noise_ceiling(
    sections: Sequence[PanelCounts],
    genes: Sequence[str],
    *,
    transform: Transform | Mapping[str, Any] | str,
    n_genes: int,
    seed: int = 0,
    n_thinnings: int = N_THINNINGS,
    least_spots: int = LEAST_SPOTS,
) -> pd.DataFrame:
    """Estimate the ceiling of every gene in every section and in each patient's pooled sections.

    Parameters
    ----------
    sections
        Sections that are tested.
    genes
        Names of the columns of their counts.
    transform, n_genes
        Target transform (:meth:`histobench.expression.transforms.Transform.of`) and number of measured genes.
    seed
        Seed; a section's halves depend on it and on the section's name only.
    n_thinnings
        Splits over which the correlation between halves is averaged.
    least_spots
        With fewer spots there is no ceiling, as there is no score.

    Returns
    -------
    pandas.DataFrame
        patient, section ("*": pooled), gene, metric (half_pearson, ceiling), value, n_spots.
    """
    import pandas as pd

    patients = {section.patient for section in sections}
    groups = {(s.patient, s.section): [i] for i, s in enumerate(sections)}
    groups |= {(p, POOLED): [i for i, s in enumerate(sections) if s.patient == p] for p in sorted(patients)}
    found: dict[tuple[str, str], list[np.ndarray]] = {group: [] for group in groups}
    generators = [np.random.default_rng(seed_for("thinning", seed, s.section)) for s in sections]
    for _ in range(n_thinnings):
        halves = [
            [
                transform_counts(transform, half.counts, half.total, n_genes=n_genes)
                for half in split_counts(section.counts, section.total, rng)
            ]
            for section, rng in zip(sections, generators, strict=True)
        ]
        for group, members in groups.items():
            first, second = (np.concatenate([halves[i][side] for i in members]) for side in (0, 1))
            r = _correlation(first, second, least_spots)
            for unmeasured in (sections[i].unmeasured for i in members):
                if unmeasured is not None:
                    r[unmeasured] = np.nan
            found[group].append(r)
    tables = []
    for (patient, section), values in found.items():
        half = _mean_of_defined(np.array(values))
        table = pd.DataFrame(
            {
                "patient": patient,
                "section": section,
                "gene": np.tile(np.array(genes, dtype=object), 2),
                "metric": np.repeat(["half_pearson", "ceiling"], len(genes)),
                "value": np.concatenate([half, ceiling_from_halves(half)]),
                "n_spots": sum(len(sections[i].counts) for i in groups[patient, section]),
            }
        )
        tables.append(table)
    return pd.concat(tables, ignore_index=True)[list(COLUMNS)]


def _correlation(first: np.ndarray, second: np.ndarray, least_spots: int) -> np.ndarray:
    """Correlation per gene; NaN where either half is constant."""
    r = gene_metrics(first, second, least_spots=least_spots)
    return np.where(r["sd_prediction"] == 0, np.nan, r["pearson"])


def _mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Mean over rows of what is defined; NaN where nothing is."""
    known = np.isfinite(values)
    number = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.divide(total, number, out=np.full(len(number), np.nan), where=number > 0)


def read_panel_counts(
    h5ad: str | Path, genes: Sequence[str], kept: Mapping[str, frozenset[str]] | None = None
) -> PanelCounts:
    """Read the panel's raw counts of one section; genes that it does not measure are marked.

    ``kept`` gives the spots of each section that QC keeps; None keeps all.
    """
    data = load_section(h5ad)
    section = str(data.uns["section"])
    if kept is not None:
        if section not in kept:
            raise UserError(f"{h5ad}: the QC table has no row for section {section}; run the QC stage again.")
        data = data[data.obs_names.isin(list(kept[section]))]
    counts = data.X.tocsr()
    place = {gene: column for column, gene in enumerate(data.var_names)}
    panel = np.zeros((data.n_obs, len(genes)), dtype=np.int64)
    listed = [i for i, gene in enumerate(genes) if gene in place]
    panel[:, listed] = counts[:, [place[genes[i]] for i in listed]].toarray()
    total = np.asarray(counts.sum(axis=1), dtype=np.int64).ravel()
    return PanelCounts(str(data.uns["patient"]), section, panel, total, not_measured(data, genes))


def write_ceiling(
    *,
    h5ads: Sequence[str | Path],
    panel_tsv: str | Path,
    genes_tsv: str | Path,
    output: str | Path,
    transform: Transform | Mapping[str, Any] | str,
    qc_tables: Sequence[str | Path] | None = None,
    seed: int = 0,
    n_thinnings: int = N_THINNINGS,
    least_spots: int = LEAST_SPOTS,
) -> None:
    """Estimate the noise ceiling of the tested sections of one fold and write it.

    Parameters
    ----------
    h5ads
        Stored sections that the fold tests.
    panel_tsv, genes_tsv
        The fold's panel, and the list of all measured genes (only its length is used).
    qc_tables
        Spot tables of the QC profile; None keeps all spots.
    output
        Long Parquet table, see :func:`noise_ceiling`.
    transform, seed, n_thinnings, least_spots
        See :func:`noise_ceiling`.
    """
    from histobench.expression.qc import kept_spots

    genes = list(read_table(panel_tsv, usecols=["gene"], dtype=str)["gene"])
    n_genes = len(read_table(genes_tsv, usecols=["gene"], dtype=str))
    kept = None if qc_tables is None else kept_spots(qc_tables)
    sections = [read_panel_counts(path, genes, kept) for path in h5ads]
    table = noise_ceiling(
        sections,
        genes,
        transform=transform,
        n_genes=n_genes,
        seed=seed,
        n_thinnings=n_thinnings,
        least_spots=least_spots,
    )
    write_table(table, output)


def write_ceilings(
    *,
    folds: Mapping[str, Sequence[str]],
    lists: Sequence[str | Path],
    panels: Sequence[str | Path],
    gene_lists: Sequence[str | Path],
    outputs: Sequence[str | Path],
    **settings: Any,
) -> None:
    """Estimate the noise ceiling of every fold, one after the other.

    Parameters
    ----------
    folds
        Sections that a fold tests, by fold.
    lists
        Lists of their counts and kept spots, ``h5ad`` and ``qc`` (:mod:`histobench.filelists`).
    panels, gene_lists, outputs
        Of each fold, as :func:`write_ceiling` takes them.
    settings
        What that function is told besides.
    """
    listed = read_lists(lists)
    for tested, panel, genes, output in zip(folds.values(), panels, gene_lists, outputs, strict=True):
        files = files_of(listed, tested).values()
        write_ceiling(
            h5ads=[own["h5ad"] for own in files],
            qc_tables=[own["qc"] for own in files],
            panel_tsv=panel,
            genes_tsv=genes,
            output=output,
            **settings,
        )

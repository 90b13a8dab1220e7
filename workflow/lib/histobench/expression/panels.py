"""Gene panels: which genes are predicted.

A panel is chosen on the training sections of a fold. Choosing it on all sections, as the published lists
were, lets the test patients decide which genes count: that scope exists for paper mode and LEAKS.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.cohorts.table import has_any_names, load_section, not_measured, refuse_ambiguous_genes
from histobench.encoding import read_utf8
from histobench.errors import UserError
from histobench.expression.qc import QcLimits, detected_genes, keep_genes, kept_spots
from histobench.files import write_table

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

RULES = ("top_mean", "hvg", "file", "all")
MostVariable = Callable[[Sequence[str], int], Mapping[str, float]]
"""Given candidates and a number: the most variable of them in order, each with what it was ordered by."""
AMBIGUOUS_PREFIX = "__ambiguous"


@dataclass(frozen=True)
class GeneStatistics:
    """Raw counts per gene over the kept spots of some sections.

    Attributes
    ----------
    genes
        Union of the genes that the sections list, sorted.
    total
        (genes,) counts; a gene that a section looked for and never found is zero there.
    n_detected
        (genes,) spots with at least one count.
    n_spots
        Number of spots.
    unmeasured
        Genes that at least one of the sections does not measure; they cannot be learnt from all of them.
    """

    genes: tuple[str, ...]
    total: np.ndarray
    n_detected: np.ndarray
    n_spots: int
    unmeasured: frozenset[str] = frozenset()

    @property
    def mean(self) -> np.ndarray:
        """Mean raw count per spot."""
        return self.total / max(self.n_spots, 1)


def gene_statistics(
    h5ads: Sequence[str | Path], kept: Mapping[str, frozenset[str]] | None = None
) -> GeneStatistics:
    """Sum counts over sections, one section in memory at a time.

    Parameters
    ----------
    h5ads
        Stored sections.
    kept
        Section -> kept spots; None keeps all. A section that is not in it is an error.

    Raises
    ------
    UserError
        A section has no QC table, or one gene has two names (:func:`refuse_ambiguous_genes`).
    """
    import pandas as pd

    listed: list[pd.DataFrame] = []
    complete: list[frozenset[str]] = []
    place: dict[str, int] = {}
    total, detected = np.zeros(0), np.zeros(0)
    n_spots = 0
    for path in h5ads:
        section = load_section(path)
        name = str(section.uns["section"])
        if kept is not None and name not in kept:
            raise UserError(f"{path}: the QC table has no row for section {name}; run the QC stage again.")
        keep = None if kept is None else section.obs_names.isin(list(kept[name]))
        names = section.var_names.astype(str)
        ids = section.var["gene_id"].astype(str).to_numpy() if "gene_id" in section.var else ""
        listed.append(
            pd.DataFrame(
                {"gene": names, "gene_id": ids, "path": str(path), "any_names": has_any_names(section)}
            )
        )
        if not_measured(section, [""])[0]:
            complete.append(frozenset(names))
        n_spots += section.n_obs if keep is None else int(keep.sum())
        columns = np.array([place.setdefault(gene, len(place)) for gene in section.var_names], dtype=np.intp)
        total, detected = (np.pad(old, (0, len(place) - len(old))) for old in (total, detected))
        for sums, new in zip((detected, total), detected_genes(section, keep), strict=True):
            np.add.at(sums, columns, new)
    if listed:
        refuse_ambiguous_genes(pd.concat(listed, ignore_index=True))
    order = sorted(place)
    unmeasured = frozenset(order) - frozenset.intersection(*complete) if complete else frozenset()
    rows = np.array([place[gene] for gene in order], dtype=np.intp)
    return GeneStatistics(tuple(order), total[rows], detected[rows].astype(np.int64), n_spots, unmeasured)


def read_gene_file(path: str | Path) -> list[str]:
    """Read a published list: one gene per line, in order; empty lines and lines with # are comments."""
    if not Path(path).is_file():
        raise UserError(f"{path}: the gene list does not exist; correct panel.file.")
    lines = read_utf8(path).split("\n")
    genes = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if repeated := {gene for gene in genes if genes.count(gene) > 1}:
        raise UserError(f"{path}: gene {min(repeated)} is listed twice; keep one of the lines.")
    if not genes:
        raise UserError(f"{path}: the gene list is empty; give one gene per line.")
    return genes


def select_panel(
    statistics: GeneStatistics,
    *,
    rule: str = "top_mean",
    size: int = 250,
    genes: Sequence[str] | None = None,
    limits: QcLimits | None = None,
    drop_ambiguous: bool = False,
    most_variable: MostVariable | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Choose the predicted genes.

    Parameters
    ----------
    statistics
        Counts over the sections that may decide.
    rule
        ``top_mean``: the ``size`` genes with the highest mean raw count, ties by name (He et al. 2020 and
        its successors); ``hvg``: the ``size`` most variable genes (``most_variable``); ``file``: the
        published list ``genes``, in its order; ``all``: every gene that passes the gene filter, sorted by
        name.
    limits
        Limits of a QC profile, whose gene filter applies to every rule but a published list.
    drop_ambiguous
        Leave out composite features written ``__ambiguous[...]``.
    most_variable
        What the rule ``hvg`` orders genes by (:func:`histobench.expression.variable.variable_genes`).

    Returns
    -------
    panel : pandas.DataFrame
        gene, rank (from 1), statistic (mean raw count; under ``hvg`` the normalised dispersion).
    dropped : pandas.DataFrame
        gene, reason: what of the candidates is not in the panel although the rule names it
        (``not_measured`` by at least one section, ``few_spots``, ``ambiguous``).

    Raises
    ------
    UserError
        Unknown rule, no gene left, or fewer genes than ``size``.
    """
    import pandas as pd

    if rule not in RULES:
        raise UserError(f"panel.rule: {rule!r} is unknown; choose one of {', '.join(RULES)}.")
    mean = dict(zip(statistics.genes, statistics.mean.tolist(), strict=True))
    if rule == "file":
        if not genes:
            raise UserError("panel.file: the rule `file` needs a list of genes; name a file.")
        dropped = {
            gene: "not_measured" for gene in genes if gene not in mean or gene in statistics.unmeasured
        }
        chosen = [gene for gene in genes if gene not in dropped]
    else:
        filtered = keep_genes(
            limits or QcLimits(), statistics.genes, statistics.n_detected, statistics.n_spots
        )
        rejected = filtered[filtered["keep"] == 0]
        dropped = dict(zip(rejected["gene"], rejected["reason"], strict=True))
        dropped.update(dict.fromkeys(sorted(statistics.unmeasured), "not_measured"))
        chosen = [gene for gene in statistics.genes if gene not in dropped]
    if drop_ambiguous:
        composite = [gene for gene in chosen if gene.startswith(AMBIGUOUS_PREFIX)]
        dropped.update(dict.fromkeys(composite, "ambiguous"))
        chosen = [gene for gene in chosen if gene not in dropped]
    ordered_by: Mapping[str, float] = mean
    if rule in ("top_mean", "hvg"):
        if len(chosen) < size:
            raise UserError(
                f"panel.size: {size} genes are asked for but only {len(chosen)} pass the filter; "
                "lower the size."
            )
        if rule == "top_mean":
            # The candidates are in name order and the sort is stable: ties fall to the first name.
            chosen = sorted(chosen, key=lambda gene: -mean[gene])[:size]
        elif most_variable is None:
            raise ValueError("the rule hvg needs what orders genes by their variability")
        else:
            ordered_by = most_variable(chosen, size)
            chosen = list(ordered_by)
    if not chosen:
        raise UserError("panel: no gene is left; check panel.file, the QC profile and the gene names.")
    panel = pd.DataFrame(
        {
            "gene": chosen,
            "rank": np.arange(1, len(chosen) + 1),
            "statistic": [ordered_by[gene] for gene in chosen],
        }
    )
    return panel, pd.DataFrame({"gene": list(dropped), "reason": list(dropped.values())})


def write_panel(
    *,
    h5ads: Sequence[str | Path],
    output_panel: str | Path,
    qc_tables: Sequence[str | Path] | None = None,
    rule: str = "top_mean",
    size: int = 250,
    scope: str = "train",
    file: str | Path | None = None,
    drop_ambiguous: bool = False,
    limits: Mapping[str, Any] | None = None,
    output_universe: str | Path | None = None,
    output_dropped: str | Path | None = None,
    output_sections: str | Path | None = None,
) -> None:
    """Choose the panel of a fold and write it.

    Parameters
    ----------
    h5ads
        Sections that decide: those of training, or all where ``scope`` is "all".
    qc_tables
        Spot tables of the profile that cover these sections; None keeps all spots.
    rule, size, drop_ambiguous
        See :func:`select_panel`.
    limits
        What the QC profile asks of genes, by name of the limit.
    scope
        "train", or "all" for paper mode; it only decides what the log says.
    file
        Published list of the rule ``file``.
    output_panel
        gene, rank, statistic.
    output_universe
        Where to write all genes that all of these sections measure: gene, n_spots, total_counts, keep,
        reason.
    output_dropped
        Where to write the genes that the rule names and the panel lacks: gene, reason.
    output_sections
        Where to write which sections decided, as the files themselves say: section, patient, cohort.

    Raises
    ------
    UserError
        See :func:`select_panel`; or there is no section.
    """
    if not h5ads:
        raise UserError("panel: there is no training section to choose genes on; check the folds.")
    if scope not in ("train", "all"):
        raise UserError(f"panel.scope: {scope!r} is unknown; choose train or all.")
    asked = QcLimits(**limits or {})
    kept = None if qc_tables is None else kept_spots(qc_tables)
    statistics = gene_statistics(h5ads, kept)
    if statistics.n_spots == 0:
        raise UserError(
            "panel: quality control leaves no spot of the training sections; use another profile."
        )
    panel, dropped = select_panel(
        statistics,
        rule=rule,
        size=size,
        genes=read_gene_file(file) if rule == "file" and file else None,
        limits=asked,
        drop_ambiguous=drop_ambiguous,
        most_variable=_most_variable(h5ads, kept) if rule == "hvg" else None,
    )
    leak = "; scope all: test sections had a say" if scope == "all" else ""
    log.info("panel of %d genes on %d spots (%s)%s", len(panel), statistics.n_spots, rule, leak)
    if missing := list(dropped.loc[dropped["reason"] == "not_measured", "gene"]):
        shown = ", ".join(missing[:20]) + (", ..." if len(missing) > 20 else "")
        of = f"of {file} " if rule == "file" else ""
        log.warning("%d genes %sare not measured by every section: %s", len(missing), of, shown)
    write_table(panel, output_panel)
    if output_dropped is not None:
        write_table(dropped, output_dropped)
    if output_universe is not None:
        write_table(_universe(statistics, asked), output_universe)
    if output_sections is not None:
        write_table(_deciding_sections(h5ads), output_sections)


def _most_variable(h5ads: Sequence[str | Path], kept: Mapping[str, frozenset[str]] | None) -> MostVariable:
    """Return what orders genes by their variability over the kept spots of some sections."""
    # scanpy takes three seconds of CPU to import, which the other rules need not pay
    from histobench.expression.variable import variable_genes

    return functools.partial(variable_genes, h5ads, kept)


def _deciding_sections(h5ads: Sequence[str | Path]) -> pd.DataFrame:
    """Name the sections that were read, for the leakage audit."""
    import h5py
    import pandas as pd
    from anndata.io import read_elem

    rows = []
    for path in h5ads:
        with h5py.File(path, "r") as stored:
            rows.append({key: str(read_elem(stored["uns"][key])) for key in ("section", "patient", "cohort")})
    return pd.DataFrame(rows)


def _universe(statistics: GeneStatistics, limits: QcLimits) -> pd.DataFrame:
    """All genes that every section measures, and which of them the profile's gene filter keeps."""
    table = keep_genes(limits, statistics.genes, statistics.n_detected, statistics.n_spots)
    table.insert(1, "n_spots", statistics.n_detected)
    table.insert(2, "total_counts", statistics.total.astype(np.int64))
    return table[~table["gene"].isin(statistics.unmeasured)]

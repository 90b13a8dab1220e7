"""Quality control: the spot and gene filters of the published methods, with what each one dropped and why.

A profile is a file in config/qc_profiles, named after the paper whose rules it follows. Spot filters look at
one section at a time; gene filters count spots over several sections (the training sections, where a panel is
chosen).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.cohorts.table import load_section
from histobench.filelists import files_of, read_lists, write_list
from histobench.files import read_table, write_table

if TYPE_CHECKING:
    import anndata
    import pandas as pd
    from scipy import sparse

SPOT_COLUMNS = ("section", "spot", "keep", "keep_train", "reason")
log = logging.getLogger(__name__)

# MT-CO1, or as R writes it into a header, MT.CO1
MITOCHONDRIAL = r"(?i)MT[-._]"


# What a profile asks of genes; all else it asks of spots.
GENE_LIMITS = ("min_gene_spots", "min_gene_share")


@dataclass(frozen=True, kw_only=True)
class QcLimits:
    """The limits of a profile, as its file in config/qc_profiles sets them; None for no such rule.

    Attributes
    ----------
    window_px
        A square of this side around the rounded spot centre must lie inside the image. Not applied to
        sections without an image.
    labelled
        A spot needs an annotation. Applied only to sections in which any spot has one.
    min_umi, max_umi
        UMIs of a spot over all measured genes, both limits allowed.
    min_genes
        Detected genes of a spot.
    max_mitochondrial
        Largest share of counts in genes called MT-*. Without such genes in the data it drops nothing.
    max_white
        Training only: largest share of white pixels in the patch (the limit itself is dropped).
    min_gene_spots
        A gene must be detected in this many spots.
    min_gene_share
        A gene must be detected in this share of the spots.
    """

    window_px: int | None = None
    labelled: bool = False
    min_umi: int | None = None
    max_umi: int | None = None
    min_genes: int | None = None
    max_mitochondrial: float | None = None
    max_white: float | None = None
    min_gene_spots: int | None = None
    min_gene_share: float | None = None


def check_spots(
    rules: QcLimits, section: anndata.AnnData, patch_index: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Apply a profile's spot filters to one section.

    Parameters
    ----------
    rules
        The limits of the profile.
    section
        A stored section: raw counts in ``X``, pixel positions and labels in ``obs``, image size in ``uns``.
    patch_index
        Spot index of the patches with ``white_fraction``, rows in ``obs`` order; without it the filter of
        white patches is not applied.

    Returns
    -------
    pandas.DataFrame
        section, spot, keep (0/1), keep_train (0/1: kept for training too), reason (the first rule that
        drops the spot, "" for none), rows in ``obs`` order.
    """
    import pandas as pd

    reason = np.full(section.n_obs, "", dtype=object)
    train_only = np.zeros(section.n_obs, dtype=bool)
    for name, failed in _failures(rules, section):
        reason[(reason == "") & failed] = name
    keep = reason == ""
    if rules.max_white is not None and patch_index is not None:
        if len(patch_index) != section.n_obs:
            raise ValueError(f"{len(patch_index)} patches for {section.n_obs} spots")
        train_only = keep & (patch_index["white_fraction"].to_numpy() >= rules.max_white)
        reason[train_only] = "white_patch"
    return pd.DataFrame(
        {
            "section": str(section.uns["section"]),
            "spot": section.obs_names.astype(str),
            "keep": keep.astype(np.int64),
            "keep_train": (keep & ~train_only).astype(np.int64),
            "reason": reason,
        }
    )


def _failures(rules: QcLimits, section: anndata.AnnData) -> list[tuple[str, np.ndarray]]:
    """Spots that break each rule of the profile, in the order in which reasons are given."""
    # The sums are those of scanpy's calculate_qc_metrics, as a test holds. It takes 9 s of processor time in
    # a job for one section (3 s are its import), these lines 0.13 s, for 3,000 spots of 15,000 genes.
    counts: Any = section.X
    total = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    found: list[tuple[str, np.ndarray]] = []
    width, height = int(section.uns.get("image_width", 0)), int(section.uns.get("image_height", 0))
    if rules.window_px and width and height:
        found.append(("border", ~_inside(section.obs, rules.window_px, width, height)))
    labels = section.obs["label"].astype(str).to_numpy() if "label" in section.obs else np.array([])
    if rules.labelled and (labels != "").any():
        found.append(("unlabelled", labels == ""))
    if rules.min_umi is not None:
        found.append(("low_umi", total < rules.min_umi))
    if rules.max_umi is not None:
        found.append(("high_umi", total > rules.max_umi))
    if rules.min_genes is not None:
        found.append(("few_genes", np.asarray((counts > 0).sum(axis=1)).ravel() < rules.min_genes))
    if rules.max_mitochondrial is not None:
        of_mitochondria = section.var_names.str.match(MITOCHONDRIAL)
        mitochondrial = np.asarray(counts[:, of_mitochondria].sum(axis=1), dtype=np.float64).ravel()
        found.append(("mitochondrial", mitochondrial > rules.max_mitochondrial * total))
    return found


def _inside(obs: pd.DataFrame, window_px: int, width: int, height: int) -> np.ndarray:
    """Whether the whole window around each rounded spot centre lies in the image."""
    left = np.rint(obs["pixel_x"].to_numpy(dtype=np.float64)) - window_px // 2
    top = np.rint(obs["pixel_y"].to_numpy(dtype=np.float64)) - window_px // 2
    return (left >= 0) & (top >= 0) & (left + window_px <= width) & (top + window_px <= height)


def keep_genes(
    rules: QcLimits, genes: Sequence[str], n_spots_detected: np.ndarray, n_spots: int
) -> pd.DataFrame:
    """Apply a profile's gene filter.

    Parameters
    ----------
    rules
        The limits of the profile.
    genes, n_spots_detected
        Names, and for each the number of spots in which it was detected.
    n_spots
        Number of spots looked at.

    Returns
    -------
    pandas.DataFrame
        gene, keep (0/1), reason.
    """
    import pandas as pd

    detected = np.asarray(n_spots_detected)
    reason = np.full(len(genes), "", dtype=object)
    if rules.min_gene_spots is not None:
        reason[detected < rules.min_gene_spots] = "few_spots"
    if rules.min_gene_share is not None:
        reason[(reason == "") & (detected < rules.min_gene_share * n_spots)] = "few_spots"
    return pd.DataFrame({"gene": list(genes), "keep": (reason == "").astype(np.int64), "reason": reason})


def summarise_spots(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Count what was dropped: one row per section.

    Parameters
    ----------
    tables
        Results of :func:`check_spots`.

    Returns
    -------
    pandas.DataFrame
        section, n_spots_raw, n_spots_kept, n_spots_train, and one column dropped_<reason> for every reason
        that occurs. dropped_white_patch counts spots that are dropped from training only.
    """
    import pandas as pd

    rows = []
    for table in tables:
        row: dict[str, Any] = {
            "section": table["section"].iloc[0] if len(table) else "",
            "n_spots_raw": len(table),
            "n_spots_kept": int(table["keep"].sum()),
            "n_spots_train": int(table["keep_train"].sum()),
        }
        reasons = table.loc[table["reason"].fillna("") != "", "reason"]
        rows.append({**row, **{f"dropped_{why}": int(n) for why, n in reasons.value_counts().items()}})
    columns = ["section", "n_spots_raw", "n_spots_kept", "n_spots_train"]
    dropped = sorted({name for row in rows for name in row} - set(columns))
    summary = pd.DataFrame(rows, columns=[*columns, *dropped])
    return summary.fillna(dict.fromkeys(dropped, 0)).astype(dict.fromkeys(dropped, np.int64))


def detected_genes(section: anndata.AnnData, keep: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return, per gene of a section, the spots that detect it and its total count over the kept spots."""
    counts: sparse.csr_matrix = section.X if keep is None else section.X[np.flatnonzero(keep)]
    return (
        np.bincount(counts.indices, weights=counts.data > 0, minlength=section.n_vars),
        np.asarray(counts.sum(axis=0), dtype=np.float64).ravel(),
    )


def write_section_qc(
    profile: str,
    limits: Mapping[str, Any],
    h5ad: str | Path,
    output: str | Path,
    patch_index: str | Path | None = None,
) -> None:
    """Write the spot table of one section under a profile; a new section concerns no other."""
    index = None if patch_index is None else read_table(patch_index, dtype={"spot": str})
    table = check_spots(QcLimits(**limits), load_section(h5ad), index)
    # the limits of a profile are the experiment's choice, and a section that fails them is a result
    for reason, number in table.loc[table["reason"] != "", "reason"].value_counts().items():
        if number > len(table) / 2:
            text = "%s: profile %s drops %d of %d spots (%s); see that the profile fits this section"
            log.warning(text, h5ad, profile, number, len(table), reason)
    write_table(table, output)


def write_spot_tables(
    profile: str,
    limits: Mapping[str, Any],
    h5ads: Sequence[str | Path],
    outputs: Sequence[str | Path],
    *,
    sections: Sequence[str],
    output_list: str | Path,
    patch_lists: Sequence[str | Path] = (),
) -> None:
    """Write the spot tables of several sections under a profile, and a list of sections with their tables.

    Parameters
    ----------
    profile, limits
        See :func:`write_section_qc`.
    h5ads, outputs, sections
        Stored sections, their tables and their names, in the same order.
    output_list
        A list of ``h5ad`` and ``qc`` (:mod:`histobench.filelists`).
    patch_lists
        Lists with the ``index`` of patches, for a profile that judges them.
    """
    indexes = {name: files["index"] for name, files in read_lists(patch_lists).items()}
    for name, h5ad, output in zip(sections, h5ads, outputs, strict=True):
        write_section_qc(profile, limits, h5ad, output, patch_index=indexes.get(name))
    files = zip(h5ads, outputs, strict=True)
    rows = {name: {"h5ad": h5ad, "qc": qc} for name, (h5ad, qc) in zip(sections, files, strict=True)}
    write_list(rows, output_list)


def write_summary(lists: Sequence[str | Path], sections: Sequence[str], output: str | Path) -> None:
    """Collect the spot tables of sections, from lists that name them, into ``summary.tsv``."""
    tables = [files["qc"] for files in files_of(read_lists(lists), sections).values()]
    write_table(summarise_spots([read_spots(path) for path in tables]), output)


def read_spots(path: str | Path) -> pd.DataFrame:
    """Read a spot table; reasons are "" where nothing was wrong."""
    table = read_table(path, dtype={"section": str, "spot": str, "reason": str})
    table["reason"] = table["reason"].fillna("")
    return table


def kept_spots(qc_tables: Sequence[str | Path]) -> dict[str, frozenset[str]]:
    """Return section -> kept spots from one or several spot tables."""
    kept: dict[str, frozenset[str]] = {}
    for path in qc_tables:
        for name, rows in read_spots(path).groupby("section"):
            kept[str(name)] = frozenset(rows.loc[rows["keep"] == 1, "spot"])
    return kept

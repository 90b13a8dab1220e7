"""Tables of a cohort (sections, genes), and stored sections read back and brought to one set of genes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.cohorts.types import ANY_NAMES, UNMEASURED
from histobench.errors import UserError
from histobench.files import read_json, read_results, write_table

if TYPE_CHECKING:
    import anndata
    import numpy.typing as npt
    import pandas as pd
    from scipy import sparse

_FIRST = ("section", "patient", "patient_alias", "n_spots_raw", "n_spots_kept")
_LAST = (
    "dropped_spots",
    "median_umi",
    "grid",
    "um_per_px",
    "um_per_px_x",
    "um_per_px_y",
    "scale_residual_px",
    "rotation_deg",
    "frame_offset_px",
    "flag",
    "image_width",
    "image_height",
    "sha256_image",
    "sha256_counts",
    "n_genes",
    "n_genes_renamed",
    "n_labelled",
    "n_tumour",
    "n_normal",
    "label_source",
)


def write_cohort_table(json_paths: Sequence[str | Path], output_tsv: str | Path) -> None:
    """Collect the sections' rows into ``sections.tsv``, in the order given.

    Every reason for which any section lost spots is a column ``dropped_<reason>``; ``dropped_spots`` names
    the spots that the common checks left out, as ``18x20 (zero_umi); ...``.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = [read_json(path) for path in json_paths]
    _refuse_repeated([row["section"] for row in rows])
    reasons = sorted({key for row in rows for key in row if key.startswith("dropped_")} - {"dropped_spots"})
    for row in rows:
        row["dropped_spots"] = "; ".join(f"{spot} ({why})" for spot, why in row["dropped_spots"].items())
    known = [*_FIRST, *reasons, *_LAST]
    extra = sorted({key for row in rows for key in row} - set(known))
    table = pd.DataFrame(rows, columns=[*known, *extra])
    table[reasons] = table[reasons].fillna(0).astype(np.int64)
    write_table(table, output_tsv)


def _refuse_repeated(sections: Sequence[str]) -> None:
    repeated = sorted({name for name in sections if sections.count(name) > 1})
    if repeated:
        raise UserError(f"Section {repeated[0]} occurs twice in the cohort; give every section its own name.")


def write_gene_table(h5ad_paths: Sequence[str | Path], output_tsv: str | Path) -> None:
    """Write the union of genes over sections, sorted by name.

    Columns: ``gene``, ``gene_id``, ``n_sections`` (sections whose counts list the gene), ``n_spots`` (spots
    with at least one count) and ``total_counts``. Whether a gene that a section does not list counts as zero
    there or is not measured, the section says (:func:`not_measured`).

    Raises
    ------
    UserError
        A gene has two names, or a name stands for two genes: see :func:`refuse_ambiguous_genes`.
    """
    import pandas as pd
    from scipy import sparse

    sections = []
    for path in h5ad_paths:
        section = load_section(path)
        counts = sparse.csr_matrix(section.X)
        sections.append(
            pd.DataFrame(
                {
                    "gene": section.var_names.astype(str),
                    "gene_id": section.var["gene_id"].astype(str).to_numpy(),
                    "n_sections": 1,
                    "n_spots": np.bincount(counts.indices, minlength=section.n_vars),
                    "total_counts": np.asarray(counts.sum(axis=0, dtype=np.int64)).ravel(),
                    "path": str(path),
                    "any_names": has_any_names(section),
                }
            )
        )
    listed = pd.concat(sections, ignore_index=True)
    table = listed.groupby("gene", sort=True)[["n_sections", "n_spots", "total_counts"]].sum()
    refuse_ambiguous_genes(listed)
    identified = listed[listed["gene_id"] != ""].drop_duplicates("gene")
    ids = identified.set_index("gene")["gene_id"].reindex(table.index).fillna("")
    table.insert(0, "gene_id", ids)
    write_table(table.reset_index(), output_tsv)


def refuse_ambiguous_genes(listed: pd.DataFrame) -> None:
    """Stop if a name stands for two genes, or a gene has two names, anywhere in a cohort.

    Sections are joined by name, so the name must depend on the gene alone. Which gene is meant, its
    identifier says (without the version); a name without one is the gene that the name means elsewhere.

    Parameters
    ----------
    listed
        ``gene``, ``gene_id`` ("" for none) and ``path`` of the section, for messages; optionally
        ``any_names`` (:func:`has_any_names`).

    Raises
    ------
    UserError
        Names both sections.
    """
    from histobench.cohorts.gene_names import gene_key

    pairs = listed.drop_duplicates(["gene", "gene_id"])
    keys = [gene_key(name, given) for name, given in zip(pairs["gene"], pairs["gene_id"], strict=True)]
    pairs = pairs.assign(key=keys)
    identified = pairs[pairs["gene_id"] != ""].drop_duplicates(["gene", "key"])
    again = identified["gene"].duplicated()
    if again.any():
        clash = identified[identified["gene"] == identified.loc[again, "gene"].iloc[0]]
        (first, second), where = clash["gene_id"].iloc[:2], clash["path"].iloc[1]
        raise UserError(
            f"{where}: gene {clash['gene'].iloc[0]} has the identifier {second}, but {first} in another "
            f"section; {_REMEDY}."
        )
    known = identified.set_index("gene")["key"]
    pairs["key"] = pairs["gene"].map(known).fillna(pairs["key"])
    names = pairs.drop_duplicates(["key", "gene"])
    again = names["key"].duplicated()
    if again.any():
        clash = names[names["key"] == names.loc[again, "key"].iloc[0]]
        (one, other), (first, second) = clash["gene"].iloc[:2], clash["path"].iloc[:2]
        raise UserError(
            f"{second}: gene {clash['key'].iloc[0]} is called {other}, but {one} in {first}, so that each "
            f"would be another gene; {_REMEDY}."
        )
    clash = written_apart(listed[~listed["any_names"].astype(bool)] if "any_names" in listed else listed)
    if clash:
        raise UserError(f"{clash}, so that each would be another gene; write it alike in all sections.")


def written_apart(listed: pd.DataFrame) -> str:
    """Say which gene one section writes otherwise than another (C1orf112, C1ORF112, or HLA-A, HLA.A), or "".

    Where a section lists both, they are two genes, as of human cells in a mouse. Where names are taken as
    they are they may be, too, as dl and Dl of the fly, which a table without zeros need not both list.

    Parameters
    ----------
    listed
        ``gene`` and ``path`` of the section.
    """
    names = listed.drop_duplicates("gene")
    # HLA-A is HLA.A where R has written the header
    lower = names["gene"].str.lower().str.replace(r"[-._ ]", "-", regex=True)
    for _, alike in names[lower.duplicated(keep=False)].groupby(lower):
        paths = [set(listed.loc[listed["gene"] == name, "path"]) for name in alike["gene"]]
        if sum(map(len, paths)) == len(set.union(*paths)):
            (one, other), (first, second) = alike["gene"].iloc[:2], alike["path"].iloc[:2]
            return f"{second}: a gene is written {other}, but {one} in {first}"
    return ""


_REMEDY = (
    "use one annotation for the whole cohort, or, for files of your own, set `options: {names: approved}`, "
    "which calls every gene by the approved symbol of its identifier"
)


def has_any_names(section: anndata.AnnData) -> bool:
    """Tell whether a stored section's names of genes are taken as they are, case included."""
    return str(section.uns.get("gene_names", "")) == ANY_NAMES


def not_measured(section: anndata.AnnData, genes: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Tell which genes a stored section does not measure, as opposed to those that it never found.

    Parameters
    ----------
    section
        Its ``uns["genes_absent"]`` says what it means that a gene is not listed; without it, zero.
    genes
        Names.

    Returns
    -------
    numpy.ndarray
        (genes,) bool.
    """
    if str(section.uns.get("genes_absent", "zero")) != UNMEASURED:
        return np.zeros(len(genes), dtype=bool)
    listed = set(section.var_names)
    return np.array([gene not in listed for gene in genes], dtype=bool)


def load_section(path: str | Path) -> anndata.AnnData:
    """Read a stored section: raw counts (CSR int32) in ``X``, positions and labels in ``obs``.

    Raises
    ------
    UserError
        The file is missing, or its index arrays are damaged: compiled code would trust them.
    """
    from scipy import sparse

    from histobench.cohorts.counts import row_matrix

    if not Path(path).is_file():
        raise UserError(f"{path}: no such section; run the pipeline up to it, or correct the path.")
    section = read_results(path)
    if sparse.issparse(section.X):
        row_matrix(section.X, str(path))
    return section


def align_counts(adata: anndata.AnnData, genes: Sequence[str]) -> sparse.csr_matrix:
    """Bring a section's counts to a common list of genes: absent genes are zero, others are left out.

    Parameters
    ----------
    adata
        A stored section; ``X`` is CSR.
    genes
        Names in output order, each once.

    Returns
    -------
    scipy.sparse.csr_matrix
        (spots, len(genes)), the type of ``X``, with sorted indices.
    """
    from scipy import sparse

    place = {gene: column for column, gene in enumerate(genes)}
    if len(place) != len(genes):
        raise ValueError("genes must be unique")
    target = np.array([place.get(gene, -1) for gene in adata.var_names], dtype=np.int32)
    matrix = sparse.csr_matrix(adata.X)
    columns = target[matrix.indices]
    kept = columns >= 0
    # Entries before each row's end that stay give the new row ends.
    ends = np.concatenate(([0], np.cumsum(kept)))[matrix.indptr]
    aligned = sparse.csr_matrix(
        (matrix.data[kept], columns[kept], ends.astype(matrix.indptr.dtype)),
        shape=(matrix.shape[0], len(genes)),
    )
    aligned.sort_indices()
    return aligned

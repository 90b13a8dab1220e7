"""What a matrix of counts must be, whatever file it came from: one gate for readers, sections and checks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from histobench.errors import UserError

if TYPE_CHECKING:
    from scipy import sparse

MAX_COUNT = np.iinfo(np.int32).max
"""Largest count that is stored: no spot of any assay comes near it."""

_SOME_SPOTS = 10
_DEEP = 500  # counts of a usual spot, below which equal totals may be chance
_LEVEL = 0.5
_LEVEL_SHARE = 0.02  # of the mean: rounding makes totals of scaled counts differ by half as much

_GENE_KINDS = frozenset({"gene expression", "gene", "genes", "mrna", "rna", "gex", ""})


def row_matrix(matrix: Any, where: str) -> sparse.csr_matrix:
    """Bring counts in memory (dense, or sparse of any kind) to CSR, after a look at their index arrays.

    Parameters
    ----------
    matrix
        (spots, genes).
    where
        File or section, for messages.

    Raises
    ------
    UserError
        The values are no numbers, or the index arrays of a sparse matrix contradict its shape or each other:
        compiled code that trusts them would read memory that is not theirs.
    """
    from scipy import sparse

    kind = np.dtype(getattr(matrix, "dtype", object)).kind
    if kind == "b":
        raise UserError(f"{where}: the counts say only true or false; give whole numbers, spots by genes.")
    if kind not in "iuf" or getattr(matrix, "ndim", 2) != 2:
        raise UserError(f"{where}: the counts are no table of numbers; give whole numbers, spots by genes.")
    if sparse.issparse(matrix) and matrix.format in ("csr", "csc"):
        _check_indices(matrix, where)
    if np.dtype(matrix.dtype).str[1:] in ("f2", "f16"):  # half and extended precision, which scipy lacks
        matrix = matrix.astype(np.float64)
    rows = sparse.csr_matrix(matrix)
    if sparse.issparse(matrix):
        _refuse_repeated_entries(rows, matrix.nnz, where)
    return rows


def matrix_from_parts(
    data: npt.NDArray[Any],
    indices: npt.NDArray[Any],
    indptr: npt.NDArray[Any],
    shape: tuple[int, int],
    where: str,
) -> sparse.csr_matrix:
    """Build CSR (spots, genes) from the arrays of a file, after a look at them; see :func:`row_matrix`."""
    from scipy import sparse

    arrays = (data, indices, indptr)
    if any(array.ndim != 1 for array in arrays) or any(array.dtype.kind not in "iu" for array in arrays[1:]):
        raise UserError(f"{where}: {_DAMAGED}")
    try:
        matrix = sparse.csr_matrix(arrays, shape=shape)
    except (ValueError, OverflowError) as error:
        raise UserError(f"{where}: {_DAMAGED} ({error})") from None
    return row_matrix(matrix, where)


_DAMAGED = (
    "the index arrays of the sparse counts do not fit the matrix, so the file is damaged or was written by "
    "a faulty program; get or write it again."
)


def _check_indices(matrix: Any, where: str) -> None:
    try:
        # some contradictions make the check itself fail
        matrix.check_format(full_check=True)
    except (ValueError, IndexError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{where}: {_DAMAGED.removesuffix('.')} ({reason}).") from None


def _refuse_repeated_entries(rows: sparse.csr_matrix, n_stored: int, where: str) -> None:
    """Stop if one spot states the count of one gene twice: adding them up would be a guess."""
    ordered = rows if rows.has_sorted_indices else rows.sorted_indices()
    same = np.flatnonzero(np.diff(ordered.indices) == 0)
    same = same[~np.isin(same + 1, ordered.indptr)]  # neighbours in the array may belong to two rows
    number = max(int(same.size), n_stored - rows.nnz)  # conversion from triplets has added them up already
    if number:
        remedy = "write the matrix again (scipy's sum_duplicates() adds them up, if that is what they mean)."
        example = ""
        if same.size:
            row, gene = (
                int(np.searchsorted(ordered.indptr, same[0], side="right")),
                int(ordered.indices[same[0]]),
            )
            example = f", such as row {row} that of gene number {gene + 1}"
        raise UserError(f"{where}: {number} entries of the sparse counts are stored twice{example}; {remedy}")


def wrong_entries(matrix: sparse.csr_matrix) -> npt.NDArray[np.intp]:
    """Find the places in ``matrix.data`` of values that are no counts: see :func:`no_count`."""
    data = matrix.data
    # as a single-precision number the limit would be rounded up
    wrong = data >= MAX_COUNT + 1.0 if data.dtype.kind == "f" else data > MAX_COUNT
    if data.dtype.kind != "u":
        wrong |= data < 0
    if data.dtype.kind == "f":
        wrong |= ~np.isfinite(data) | (data != np.rint(data))
    return np.flatnonzero(wrong)


def number_in(text: str) -> float:
    """Read a number as tables write it; unlike Python, without marks between its digits (``1_000``).

    Raises
    ------
    ValueError
        It is none.
    """
    if "_" in text:
        raise ValueError(text)
    return float(text.strip().strip('"'))


def no_count(value: float) -> str:
    """Say why a number cannot be a count, with what to do; "" if it can."""
    if not np.isfinite(value):
        return "which is no number; correct it, or write 0 where nothing was counted"
    if value < 0:
        return "which is negative; give raw counts"
    if value != np.rint(value):
        return "which is not a whole number; give raw counts, not scaled ones"
    if value > MAX_COUNT:
        return f"which is larger than any count can be ({MAX_COUNT}); correct it"
    return ""


def entry_text(
    matrix: sparse.csr_matrix, at: int, spots: Sequence[str], genes: Sequence[str]
) -> tuple[int, str]:
    """Return row (from 0) and sentence of a wrong entry."""
    row = int(np.searchsorted(matrix.indptr, at, side="right")) - 1
    value = matrix.data[at]
    shown = f"{value:g}" if matrix.data.dtype.kind == "f" else str(value)
    gene, spot = genes[int(matrix.indices[at])], spots[row]
    return row, f"the count of gene {gene} at spot {spot} is {shown}, {no_count(float(value))}"


def require_counts(
    matrix: sparse.csr_matrix, spots: Sequence[str], genes: Sequence[str], where: str, hint: str = ""
) -> None:
    """Stop unless every value is a whole number from 0 to :data:`MAX_COUNT`.

    Parameters
    ----------
    spots, genes
        Names of rows and columns.
    where
        File or section, for messages.
    hint
        What else to say, such as where raw counts were found.

    Raises
    ------
    UserError
        Names gene, spot and value of the first that is not, and how many there are.
    """
    wrong = wrong_entries(matrix)
    if not wrong.size:
        return
    _, text = entry_text(matrix, int(wrong[0]), spots, genes)
    more = f" ({wrong.size - 1} more counts like this)" if wrong.size > 1 else ""
    raise UserError(f"{where}: {text}{more}{hint}.")


def refuse_levelled(matrix: sparse.csr_matrix, where: str) -> None:
    """Stop for counts that were scaled to one depth and rounded: raw totals of spots never agree so well.

    Raises
    ------
    UserError
        All spots have nearly the same total.
    """
    totals = np.asarray(matrix.sum(axis=1, dtype=np.float64)).ravel()
    totals = totals[totals > 0]
    if len(totals) < _SOME_SPOTS or np.median(totals) < _DEEP:
        return
    # drawing molecules at random makes totals differ by their square root, and no tissue has one depth
    if totals.std() < max(_LEVEL * np.sqrt(totals.mean()), _LEVEL_SHARE * totals.mean()):
        raise UserError(
            f"{where}: all {len(totals)} spots have about {np.median(totals):.0f} counts (from "
            f"{totals.min():.0f} to {totals.max():.0f}), so they were scaled to one depth; give raw counts."
        )


def gene_features(kinds: Sequence[object]) -> npt.NDArray[np.bool_]:
    """Tell genes from antibodies, guides, controls and other features by what a file calls their kind.

    Features without a word are genes.
    """
    words = [
        "" if _blank(kind) else " ".join(re.split(r"[\s_]+", str(kind).strip().lower())) for kind in kinds
    ]
    return np.array([word in _GENE_KINDS for word in words], dtype=bool)


def _blank(value: object) -> bool:
    return value is None or value != value or str(value).strip().lower() in ("nan", "<na>", "none", "na")

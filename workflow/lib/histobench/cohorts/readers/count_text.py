"""A table of counts, as text, to the non-zero numbers in it: one pass over the bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

_TAB, _NEWLINE, _ZERO, _NINE = np.uint8(9), np.uint8(10), np.uint8(48), np.uint8(9)
_MAX_DIGITS = 9  # every number of nine digits fits an int32

# Places have no sign: those with one may count from the end, and to look whether takes most of the time.
_NONE, _ONE, _TWO = np.uint64(0), np.uint64(1), np.uint64(2)

#: Most fields that are not plain digits that one parse lists; a table with more has another problem.
MAX_ODD = 1 << 20


def room(size: int, n_genes: int) -> tuple[npt.NDArray[Any], ...]:
    """Return what :func:`parse_counts` writes to, as large as the lines of so many bytes can need.

    They are ``names``, ``starts``, ``values``, ``genes`` and ``odd``. What is not written to takes no memory.
    """
    lines = size // n_genes + 1  # each has a byte for every count; one that has not is the last
    n_odd = min(MAX_ODD, size)
    values, genes = np.empty((2, size // 2 + n_odd + 1), np.int32)
    return (
        np.empty((lines, 2), np.int64),
        np.empty(lines + 1, np.int64),
        values,
        genes,
        np.empty((n_odd, 3), np.int64),
    )


@njit(cache=True, nogil=True)
def parse_counts(
    text: npt.NDArray[np.uint8],
    begin: int,
    end: int,
    n_genes: int,
    names: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
    values: npt.NDArray[np.int32],
    genes: npt.NDArray[np.int32],
    odd: npt.NDArray[np.int64],
) -> tuple[int, int, np.int64]:
    """Parse the lines of ``text[begin:end]``, each a spot id and ``n_genes`` counts with tabs between.

    Parameters
    ----------
    text
        Bytes.
    names
        (lines, 2): gets begin and end of each spot id.
    starts
        (lines + 1,): gets where the numbers of each line begin in ``values``, as in a CSR matrix.
    values, genes
        Get the counts that are not zero, of which each has two bytes, and the fields in ``odd``, and their
        columns; there is room for one more.
    odd
        (:data:`MAX_ODD`, 3): gets place in ``values``, begin and end of fields that are not plain digits or
        empty; as many as have room are stored, as 0.

    Returns
    -------
    int, int, int
        Lines parsed, odd fields, and the number of counts of the first line that has not ``n_genes`` of them
        (-1 where all have).
    """
    line, n_odd = 0, 0
    n_values, at, stop, all_genes = _NONE, np.uint64(begin), np.uint64(end), np.uint64(n_genes)
    while at < stop:
        names[line, 0] = at
        while at < stop and text[at] != _TAB and text[at] != _NEWLINE:
            at += _ONE
        names[line, 1] = at
        starts[line] = n_values
        gene = _NONE
        while at < stop and text[at] == _TAB:
            # Nearly all counts have one digit, and nine of ten are zero. Whether one is decides no branch,
            # which processors foresee badly: a zero is written, too, and what comes next is written over it.
            while gene < all_genes and at + _TWO < stop and text[at + _TWO] == _TAB:
                digit = np.uint8(text[at + _ONE] - _ZERO)  # what is below the digits is above nine
                if digit > _NINE:
                    break
                values[n_values], genes[n_values] = digit, gene
                n_values += np.uint64(digit != 0)
                gene += _ONE
                at += _TWO
            at += _ONE
            first, value, plain = at, np.int64(0), True
            while at < stop and text[at] != _TAB and text[at] != _NEWLINE:
                digit = np.uint8(text[at] - _ZERO)
                if digit > _NINE or at - first >= _MAX_DIGITS:
                    plain = False
                else:
                    value = 10 * value + digit
                at += _ONE
            if gene < all_genes:
                if at == first or not plain:
                    if n_odd < len(odd):
                        odd[n_odd, 0], odd[n_odd, 1], odd[n_odd, 2] = n_values, first, at
                        values[n_values], genes[n_values] = 0, gene
                        n_values += _ONE
                    n_odd += 1
                elif value != 0:
                    values[n_values], genes[n_values] = value, gene
                    n_values += _ONE
            gene += _ONE
        if gene != all_genes:
            return line, n_odd, np.int64(gene)
        line += 1
        starts[line] = n_values
        at += _ONE  # the end of the line
    return line, n_odd, np.int64(-1)

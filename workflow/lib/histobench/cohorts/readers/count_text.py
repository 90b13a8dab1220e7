"""A table of counts, as text, to the non-zero numbers in it: one pass over the bytes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

_TAB, _NEWLINE, _ZERO = 9, 10, 48
_MAX_DIGITS = 9  # every number of nine digits fits an int32

#: Most fields that are not plain digits that one parse lists; a table with more has another problem.
MAX_ODD = 1 << 20


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
) -> tuple[int, int, int]:
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
        Get the counts that are not zero and their columns; there is room for one more.
    odd
        (:data:`MAX_ODD`, 3): gets place in ``values``, begin and end of fields that are not plain digits;
        they are stored as 0.

    Returns
    -------
    int, int, int
        Lines parsed, odd fields, and the number of counts of the first line that has not ``n_genes`` of them
        (-1 where all have).
    """
    line, n_values, n_odd, at = 0, 0, 0, begin
    while at < end:
        names[line, 0] = at
        while at < end and text[at] != _TAB and text[at] != _NEWLINE:
            at += 1
        names[line, 1] = at
        starts[line] = n_values
        gene = 0
        while at < end and text[at] == _TAB:
            # Nearly all counts have one digit, and nine of ten are zero. Whether one is decides no branch,
            # which processors foresee badly: a zero is written, too, and what comes next is written over it.
            while gene < n_genes and at + 2 < end and text[at + 2] == _TAB:
                digit = int(text[at + 1]) - _ZERO
                if digit < 0 or digit > 9:
                    break
                values[n_values], genes[n_values] = digit, gene
                n_values += digit != 0
                gene += 1
                at += 2
            at += 1
            first, value, plain = at, 0, True
            while at < end and text[at] != _TAB and text[at] != _NEWLINE:
                digit = int(text[at]) - _ZERO
                if digit < 0 or digit > 9 or at - first >= _MAX_DIGITS:
                    plain = False
                else:
                    value = 10 * value + digit
                at += 1
            if gene < n_genes:
                if at == first or not plain:
                    if n_odd < len(odd):
                        odd[n_odd, 0], odd[n_odd, 1], odd[n_odd, 2] = n_values, first, at
                    n_odd += 1
                    values[n_values], genes[n_values] = 0, gene
                    n_values += 1
                elif value != 0:
                    values[n_values], genes[n_values] = value, gene
                    n_values += 1
            gene += 1
        if gene != n_genes:
            return line, n_odd, gene
        line += 1
        starts[line] = n_values
        at += 1  # the end of the line
    return line, n_odd, -1

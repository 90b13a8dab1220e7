"""Labels of spots: whose they are, and which of them mean tumour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.cohorts.losses import alike_names, renamed
from histobench.cohorts.text import plain_word
from histobench.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


def tumour_values(label: pd.Series, settings: Mapping[str, Any], path: str | Path) -> pd.Series:
    """Say which labels mean tumour (1), and which do not (0); NaN for those that say neither.

    Parameters
    ----------
    label
        Words by spot, "" for none.
    settings
        ``tumour`` and ``normal``: the labels that count as such.
    path
        File of the labels, for messages.

    Raises
    ------
    UserError
        A label is one of these words but for its case, its blanks, or the way a number is written: as it
        stands, it would count as neither.
    """
    values = {
        plain_word(word): value
        for key, value in (("normal", 0.0), ("tumour", 1.0))
        for word in settings.get(key, ())
    }
    close = {_gist(word): word for word in values}
    for word in dict.fromkeys(label):
        if word and word not in values and (meant := close.get(_gist(word))) is not None:
            raise UserError(
                f'{path}: the label "{word}" is not quite "{meant}", which the options name, and would count '
                "as neither tumour nor normal; write both alike."
            )
    return label.map(values).astype(np.float64)


def _gist(word: str) -> str:
    """Return what is left of a word without case, blanks and signs between its parts; numbers as numbers."""
    try:
        return f"{float(word):g}"
    except ValueError:
        return "".join(sign for sign in word.casefold() if sign.isalnum()) or word


def refuse_strangers(labelled: pd.Index, spots: pd.Index, path: str | Path) -> None:
    """Stop if labels are not of these spots: none is, or more would be if spots had the same names.

    Parameters
    ----------
    labelled, spots
        Names of spots that have a label, and of those of the section.

    Raises
    ------
    UserError
        Names a label without a spot.
    """
    lost = labelled[~labelled.isin(spots)]
    n_known = len(labelled) - len(lost)
    if not len(lost) or (n_known and alike_names(labelled, spots) <= n_known):
        if way := renamed(labelled, spots):
            raise UserError(f"{path}: spots {way}, so labels would lie on wrong spots; name spots alike.")
        return
    raise UserError(
        f"{path}: {len(lost)} of {len(labelled)} labels are of no spot of this section, such as that of "
        f"{lost[0]} (spots are called {', '.join(spots[:2])}, ...); name spots alike, or give the labels of "
        "this section."
    )

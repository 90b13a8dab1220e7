"""The one exception for mistakes that a user can mend, and the name that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# So many names are told in full where none is near.
_MOST_NAMES = 15


class UserError(Exception):
    """Something in the input, the configuration or the machine that the user can put right.

    The message is one sentence: which file, which row or key, what was expected, what to do.
    It is printed without a traceback.
    """


def near(word: object, known: Iterable[object]) -> str:
    """Return the remedy for an unknown name: the nearest known one, or all, or of many the five nearest."""
    word, known = str(word), sorted(map(str, known))  # a table or YAML of others may name numbers
    match = difflib.get_close_matches(word, known, n=1)
    if match:
        return f"did you mean `{match[0]}`?"
    if len(known) > _MOST_NAMES:
        nearest = difflib.get_close_matches(word, known, n=5, cutoff=0.0)
        return f"the nearest of {len(known)} are: {', '.join(nearest)}."
    return f"known are: {', '.join(known) or 'none'}."

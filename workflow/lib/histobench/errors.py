"""The one exception for mistakes that a user can mend."""

from __future__ import annotations


class UserError(Exception):
    """Something in the input, the configuration or the machine that the user can put right.

    The message is one sentence: which file, which row or key, what was expected, what to do.
    It is printed without a traceback.
    """

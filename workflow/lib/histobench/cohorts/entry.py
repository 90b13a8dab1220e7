"""Functions that a cohort's configuration names as ``package.module:function``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from histobench.errors import UserError


def load_entry(entry: str, what: str) -> Callable[..., Any]:
    """Find a function by its entry string.

    Parameters
    ----------
    entry
        ``package.module:function``.
    what
        Role of the function in messages, such as "reader".

    Raises
    ------
    UserError
        There is no such module or function.
    """
    module, _, name = entry.partition(":")
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ModuleNotFoundError, AttributeError, ValueError) as error:
        raise UserError(
            f'The {what} "{entry}" cannot be found ({error}); name a function as package.module:function.'
        ) from error
    return function

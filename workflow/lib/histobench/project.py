"""Where the project's declarations lie: configuration, schemas and small resources."""

from __future__ import annotations

from pathlib import Path

from histobench.errors import UserError

# The library of a checkout lies in workflow/lib/histobench; a wheel has a copy of what is declared (setup.py)
_CHECKOUT = Path(__file__).resolve().parents[3]
_PACKAGED = Path(__file__).resolve().parent / "declared"


def project_folder() -> Path:
    """Return the folder of ``config/``, ``resources/`` and ``workflow/schemas/``; a checkout's own count."""
    return _CHECKOUT if (_CHECKOUT / "workflow" / "schemas").is_dir() else _PACKAGED


def checkout(command: str) -> Path:
    """Return the checkout, for a command that writes into it or runs its workflow.

    Raises
    ------
    UserError
        The library is installed without one.
    """
    if project_folder() != _CHECKOUT:
        raise UserError(
            f"`histobench {command}` needs a checkout of HistoBench, and this library is installed without "
            f"one ({_PACKAGED.parent}); run .venv/bin/histobench in a checkout."
        )
    return _CHECKOUT

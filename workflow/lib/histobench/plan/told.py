"""How a run tells people what it does: titles in messages, and why a job runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from textwrap import shorten

# Most letters of a part of a reason: changed parameters are told whole, at times a whole configuration.
_MOST = 400


class Titled:
    """Gives messages the title of what wildcards name: {method_title:EXPERIMENT METHOD } in a message.

    With a space at the end, because a `q` there would mean quotes to Snakemake.
    """

    def __init__(self, title: Callable[..., str]) -> None:
        self.title = title

    def __format__(self, names: str) -> str:
        return self.title(*names.split())


def shorter(reason: str) -> str:
    """Name one file of each kind in Snakemake's reason, and count the others: together they fill pages.

    Where files are missing, those that other jobs will have changed say nothing more.
    """
    parts = [re.split(r"(?<= files): |(?<=job): ", part, maxsplit=1) for part in reason.split("; ")]
    if len(parts) > 1 and parts[0][0] == "Missing output files":
        parts = [part for part in parts if part[0] != "Input files updated by another job"]
    for part in parts:
        if len(part) == 2:
            first, *others = sorted(part[1].split(", "))
            part[1] = f"{first} and {len(others)} more" if others else first
    return "; ".join(shorten(": ".join(part), _MOST, placeholder=" ...") for part in parts)

"""Tens of thousands of paths with wildcards: which of them a file matches, and what is said of few alone."""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any, Generic, TypeVar

Maker = TypeVar("Maker")

_ONE_MEANING = re.compile(r"\{(\w+),([\w/-]+)\}")


class Ends(Generic[Maker]):
    """Makers of files, sorted by ends of paths, which tell more than beginnings: ``results/`` for all.

    Parameters
    ----------
    made
        Path with wildcards, and its maker. A wildcard that can mean one thing alone is that thing; a path
        without others is found as a whole.
    expression
        Turns a part of a path that has all of its wildcards into a regular expression that is matched whole.
    """

    def __init__(self, made: Iterable[tuple[str, Maker]], expression: Callable[[str], str]) -> None:
        self._whole: defaultdict[str, list[Maker]] = defaultdict(list)
        self._ends: defaultdict[str, list[tuple[str, str, Maker]]] = defaultdict(list)
        for path, maker in made:
            path = _told(path)
            if "{" not in path:
                self._whole[path].append(maker)
                continue
            start, end = path[: path.index("{")], path[path.rindex("}") + 1 :]
            # thousands of paths differ in their ends alone: between is the same expression, compiled once
            self._ends[end].append((start, path[len(start) : len(path) - len(end)], maker))
        self._lengths = sorted({len(end) for end in self._ends})
        self._compiled = functools.cache(lambda part: re.compile(expression(part)))
        # the same for every job that asks for a file, and twenty ask on average
        self.makers = functools.cache(self._search)

    def _search(self, file: str) -> frozenset[Maker]:
        """Return who makes a file."""
        return frozenset(self._whole.get(file, ())) | {
            maker
            for length in self._lengths
            if length <= len(file)
            for start, between, maker in self._ends.get(file[len(file) - length :], ())
            if file.startswith(start)
            and len(start) + length <= len(file)
            and self._compiled(between).match(file[len(start) : len(file) - length])
        }


def _told(path: str) -> str:
    """Replace the wildcards whose constraint is a word or a path by what they mean, wherever they stand."""
    while only := _ONE_MEANING.search(path):
        path = path.replace(only[0], only[2]).replace(f"{{{only[1]}}}", only[2])
    return path


class Flags(dict[str, Any]):
    """The flags of a path that has none, which it keeps as soon as it gets one.

    Parameters
    ----------
    path
        Anything with an attribute ``_flags``.
    """

    def __init__(self, path: Any) -> None:
        self.path = path

    def __setitem__(self, flag: str, value: Any) -> None:
        super().__setitem__(flag, value)
        self.path._flags = self

    update = MutableMapping.update  # by the way of adding one

"""The same work on many files, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

T = TypeVar("T")


def in_turn(work: Callable[[T], None], items: Sequence[T], processes: int = 1) -> None:
    """Do some work on every item, in a few processes where there are several.

    Parameters
    ----------
    work
        A function of a module; what it raises is raised here, and nothing further is begun.
    processes
        At most so many at a time; one works in this process, which saves the start of others.
    """
    processes = min(processes, len(items))
    if processes < 2:
        for item in items:
            work(item)
        return
    # started afresh: a copy of a process with threads may wait for ever
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(work, item) for item in items]
        try:
            for done in waiting:
                done.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise

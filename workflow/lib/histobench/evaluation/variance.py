"""How much of a method's score is the patient, the fold, and the seed of its training.

Scores of (patient, fold, seed) are split by the analysis of variance of a nested design (expected mean
squares, unbalanced; Searle, Casella & McCulloch 1992, chapter 3): seeds within the inner level, the inner
level within the outer one. Folds that each test one patient cannot be told apart from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Component:
    """One source of variance: its name, its variance (cut off at zero) and the number of its levels."""

    name: str
    variance: float
    n_levels: int


def nested_components(
    values: np.ndarray, outer: Sequence[object], inner: Sequence[object], names: tuple[str, str, str]
) -> list[Component]:
    """Split the variance of scores into outer level, inner level and seeds.

    Parameters
    ----------
    values
        (scores,) one per (outer, inner, seed); NaN are left out.
    outer, inner
        Levels of each score; equal inner names in different outer levels are different.
    names
        Names of the three components. When every outer level has one inner level, both are one component,
        named "outer and inner".

    Returns
    -------
    list of Component
        What cannot be estimated (a single level, no repeated seed) is NaN.
    """
    known = np.isfinite(values)
    y = np.asarray(values, dtype=np.float64)[known]
    pairs = [(o, i) for o, i, use in zip(outer, inner, known, strict=True) if use]
    outer_of = _codes([o for o, _ in pairs])
    inner_of = _codes(pairs)
    n, a, b = len(y), int(outer_of.max(initial=-1)) + 1, int(inner_of.max(initial=-1)) + 1
    if n == 0:
        return []
    count = np.bincount(inner_of)
    mean_inner = np.bincount(inner_of, weights=y) / count
    within = float(((y - mean_inner[inner_of]) ** 2).sum())
    seed = within / (n - b) if n > b else np.nan
    if a == b:
        top = _between(mean_inner, count)
        return [
            Component(f"{names[0]} and {names[1]}", _positive(top[0], seed, top[1]), a),
            Component(names[2], seed, _repeats(count)),
        ]
    parent = np.empty(b, dtype=np.int64)
    parent[inner_of] = outer_of
    size = np.bincount(parent, weights=count)
    mean_outer = np.bincount(parent, weights=count * mean_inner) / size
    squares = np.bincount(parent, weights=count.astype(np.float64) ** 2)
    ms_inner = float((count * (mean_inner - mean_outer[parent]) ** 2).sum()) / (b - a)
    k1 = (n - (squares / size).sum()) / (b - a)
    inner_variance = _positive(ms_inner, seed, k1)
    outer_variance = np.nan
    if a > 1:
        ms_outer = _between(mean_outer, size)[0]
        k2 = ((squares / size).sum() - squares.sum() / n) / (a - 1)
        k3 = (n - (size**2).sum() / n) / (a - 1)
        below = np.nan_to_num(seed) + k2 * np.nan_to_num(inner_variance)
        outer_variance = max(0.0, (ms_outer - below) / k3)
    return [
        Component(names[0], outer_variance, a),
        Component(names[1], inner_variance, b),
        Component(names[2], seed, _repeats(count)),
    ]


def _codes(keys: Sequence[object]) -> np.ndarray:
    place = {key: code for code, key in enumerate(dict.fromkeys(keys))}
    return np.array([place[key] for key in keys], dtype=np.int64)


def _repeats(count: np.ndarray) -> int:
    return int(count.max())


def _between(means: np.ndarray, size: np.ndarray) -> tuple[float, float]:
    """Mean square between groups, and the coefficient of their variance in its expectation."""
    n, groups = float(size.sum()), len(means)
    if groups < 2:
        return np.nan, np.nan
    grand = float((size * means).sum()) / n
    square = float((size * (means - grand) ** 2).sum()) / (groups - 1)
    return square, (n - float((size.astype(np.float64) ** 2).sum()) / n) / (groups - 1)


def _positive(mean_square: float, below: float, coefficient: float) -> float:
    """Variance of a level, at least 0; without repeats below it, what is below is part of it."""
    if not np.isfinite(mean_square) or not coefficient > 0:
        return np.nan
    return max(0.0, (mean_square - np.nan_to_num(below)) / coefficient)

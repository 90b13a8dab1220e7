"""Binomial thinning: two independent halves of the same sequencing experiment."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Half(NamedTuple):
    """One half: counts (spots, genes) of the panel and total (spots,) over all measured genes."""

    counts: np.ndarray
    total: np.ndarray


def split_counts(counts: np.ndarray, total: np.ndarray, rng: np.random.Generator) -> tuple[Half, Half]:
    """Give every molecule to one of two halves with equal probability.

    Given a spot's expression, counts are close to Poisson, and the halves of a Poisson count are
    independent: what two halves share is expression, not noise.

    Parameters
    ----------
    counts
        (spots, genes) whole raw counts of the panel.
    total
        (spots,) UMIs over all measured genes. The UMIs outside the panel are split as one more gene, which
        has the same distribution as splitting each of them.
    rng
        Source of randomness.
    """
    whole = np.asarray(counts).astype(np.int64)
    outside = np.asarray(total).astype(np.int64) - whole.sum(axis=1)
    if (whole < 0).any() or (outside < 0).any():
        raise ValueError("counts must not be negative, nor exceed the total of their spot")
    first = rng.binomial(whole, 0.5)
    first_total = first.sum(axis=1) + rng.binomial(outside, 0.5)
    return Half(first, first_total), Half(whole - first, np.asarray(total).astype(np.int64) - first_total)

"""Affine regression that weighs what varies within sections above what varies between them (CGL-Linear).

The squared error of a prediction splits exactly into a part within sections and one of their means. With the
second weighed by rho, the solution stays closed: rho = 1 is ridge regression, rho = 0 centres every section.
Nguyen et al. 2026 (arXiv 2609.32857) name the idea; weight and penalty are chosen here, because the abstract
gives neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from histobench.training.ridge import Moments, Ridge, product

#: Taken where there is nothing to choose the weight on.
RHO = 0.1


@dataclass(frozen=True)
class Parts:
    """Sums of squares and products of some sections, within them and between their means.

    ``within_x`` and ``between_x`` (features, features), ``within_y`` and ``between_y`` (features, genes),
    ``mean_x`` (features,), ``mean_y`` (genes,), ``weight`` (total weight of the spots).
    """

    within_x: np.ndarray
    within_y: np.ndarray
    between_x: np.ndarray
    between_y: np.ndarray
    mean_x: np.ndarray
    mean_y: np.ndarray
    weight: float

    @classmethod
    def of(cls, sections: Sequence[Moments], *, equal: bool = False) -> Parts:
        """Split the sums of sections; ``equal`` lets each section count once, however many spots it has."""
        weights = np.array([1.0 if equal else section.n for section in sections])
        x = np.stack([section.x / section.n for section in sections])
        y = np.stack([section.y / section.n for section in sections])
        total = float(weights.sum())
        mean_x, mean_y = weights @ x / total, weights @ y / total
        within_x = np.zeros_like(sections[0].xx)
        within_y = np.zeros_like(sections[0].xy)
        for section, weight in zip(sections, weights, strict=True):
            each = weight / section.n
            within_x += each * (section.xx - np.outer(section.x, section.x / section.n))
            within_y += each * (section.xy - np.outer(section.x, section.y / section.n))
        apart_x, apart_y = x - mean_x, y - mean_y
        weighed = apart_x.T * weights
        return cls(
            within_x, within_y, product(weighed, apart_x), product(weighed, apart_y), mean_x, mean_y, total
        )

    def scale(self) -> np.ndarray:
        """Return the standard deviation of each feature within sections; 1 where nothing varies."""
        variance = np.maximum(np.diag(self.within_x), 0.0) / self.weight
        floor = 1e-10 * (variance + np.diag(self.between_x) / self.weight + self.mean_x**2) + 1e-300
        return np.sqrt(np.where(variance <= floor, 1.0, variance))

    def solve(
        self, rho: float, alphas: Sequence[float], scale: np.ndarray | None = None
    ) -> list[tuple[float, Ridge]]:
        """Fit one regression per penalty on features divided by ``scale`` (None: within sections)."""
        from scipy.linalg import cho_factor, cho_solve

        scale = self.scale() if scale is None else scale
        gram = (self.within_x + rho * self.between_x) / scale[:, None] / scale[None, :]
        cross = (self.within_y + rho * self.between_y) / scale[:, None]
        fits = []
        for alpha in alphas:
            penalised = gram.copy()
            np.fill_diagonal(penalised, gram.diagonal() + alpha)
            factor = cho_factor(penalised, lower=True, overwrite_a=True, check_finite=False)
            weight = cho_solve(factor, cross, check_finite=False) / scale[:, None]
            bias = self.mean_y - product(self.mean_x[None], weight)[0]
            fits.append((alpha, Ridge(weight, bias, float(alpha))))
        return fits


def within_correlation(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the mean over genes of Pearson's r over the spots of one section; NaN where there is none."""
    x, y = truth - truth.mean(axis=0), predicted - predicted.mean(axis=0)
    length = np.sqrt((x * x).sum(axis=0) * (y * y).sum(axis=0))
    shown = (x * x).sum(axis=0) > 0
    if len(truth) < 3 or not shown.any():
        return float("nan")
    r = np.divide((x * y).sum(axis=0), length, out=np.zeros_like(length), where=length > 0)
    return float(r[shown].mean())


@dataclass(frozen=True)
class Chosen:
    """What :func:`fit_component_guided` chose: weight, score of each pair, and whether rho was free."""

    rho: float
    scores: dict[tuple[float, float], float]
    free: bool


def fit_component_guided(
    features: np.ndarray,
    targets: np.ndarray,
    sections: np.ndarray,
    groups: np.ndarray,
    alphas: Sequence[float],
    rhos: Sequence[float],
    *,
    equal: bool = False,
) -> tuple[Ridge, Chosen]:
    """Fit, weight and penalty chosen by leaving out each group in turn.

    Parameters
    ----------
    features, targets
        (spots, features) and (spots, genes).
    sections
        Section of each spot, (spots,): within them the error counts fully.
    groups
        Group of each spot that is left out together, (spots,); see :mod:`histobench.training.groups`.
    alphas, rhos
        Penalties on features standardised within sections, and weights of the part between sections in
        [0, 1], to choose from by the mean correlation within left-out sections: squared error would by
        construction prefer rho = 1. With fewer than two sections left to learn from, rho is
        :data:`RHO` and only the penalty is chosen; with one group the largest penalty is taken.
    equal
        Each section counts once, instead of each spot.
    """
    alphas = sorted((float(alpha) for alpha in alphas), reverse=True)
    rhos = sorted((float(rho) for rho in rhos), reverse=True)
    pieces = sorted({(str(g), str(s)) for g, s in zip(groups, sections, strict=True)})
    rows = {piece: np.flatnonzero((groups == piece[0]) & (sections == piece[1])) for piece in pieces}
    sums = {piece: Moments.of(features[found], targets[found]) for piece, found in rows.items()}
    whole = Parts.of(list(sums.values()), equal=equal)
    names = sorted({group for group, _ in pieces})
    if len(names) == 1:
        return whole.solve(RHO, alphas[:1])[0][1], Chosen(RHO, {}, False)
    free = all(len({s for g, s in pieces if g != name}) > 1 for name in names)
    tried = rhos if free else [RHO]
    found: dict[tuple[float, float], list[float]] = {(rho, alpha): [] for rho in tried for alpha in alphas}
    if len(found) > 1:
        for name in names:
            learnt = Parts.of([value for piece, value in sums.items() if piece[0] != name], equal=equal)
            held = [rows[piece] for piece in pieces if piece[0] == name]
            for rho in tried:
                for alpha, fit in learnt.solve(rho, alphas):
                    r = [within_correlation(targets[each], fit.predict(features[each])) for each in held]
                    found[rho, alpha].append(float(np.nanmean(r)) if np.isfinite(r).any() else np.nan)
    scores = {pair: float(np.nanmean(r)) if np.isfinite(r).any() else 0.0 for pair, r in found.items()}
    rho, alpha = max(scores, key=lambda pair: scores[pair])
    return whole.solve(rho, [alpha])[0][1], Chosen(rho, scores if len(found) > 1 else {}, free)

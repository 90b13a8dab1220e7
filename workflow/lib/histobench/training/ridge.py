"""Ridge regression in closed form, with the penalty chosen by leaving out patients.

The cross-products of each group (patient) are formed once; every training set that leaves groups out is
a difference of sums. That replaces one fit per fold and penalty by one Cholesky factorisation, and gives
the same numbers as refitting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass
class Moments:
    """Sums over spots that ridge regression needs; they add and subtract.

    ``n`` spots, ``x`` (features,), ``y`` (genes,), ``xx`` (features, features), ``xy`` (features, genes)
    and ``yy`` (genes,), all float64.
    """

    n: int
    x: np.ndarray
    y: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, targets: np.ndarray, block: int = 4096) -> Moments:
        """Form the sums of (spots, features) and (spots, genes), in float64 by blocks of rows."""
        d, g = features.shape[1], targets.shape[1]
        total = cls(0, np.zeros(d), np.zeros(g), np.zeros((d, d)), np.zeros((d, g)), np.zeros(g))
        for start in range(0, len(features), block):
            x = features[start : start + block].astype(np.float64)
            y = targets[start : start + block].astype(np.float64)
            part = cls(len(x), x.sum(0), y.sum(0), x.T @ x, x.T @ y, np.einsum("ng,ng->g", y, y))
            if start:
                total += part
            else:
                total = part
        return total

    def of_other_targets(self, features: np.ndarray, targets: np.ndarray, block: int = 4096) -> Moments:
        """Form the sums of the same features with other targets; those of features alone are kept."""
        g = targets.shape[1]
        y, xy, yy = np.zeros(g), np.zeros((len(self.x), g)), np.zeros(g)
        for start in range(0, len(features), block):
            rows = slice(start, start + block)
            part = targets[rows].astype(np.float64)
            y += part.sum(0)
            xy += features[rows].astype(np.float64).T @ part
            yy += np.einsum("ng,ng->g", part, part)
        return replace(self, y=y, xy=xy, yy=yy)

    def __iadd__(self, other: Moments) -> Moments:
        """Add in place: for many features, new memory costs more than the sum."""
        self.n += other.n
        for name in ("x", "y", "xx", "xy", "yy"):
            values = getattr(self, name)
            values += getattr(other, name)
        return self

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.n + other.n,
            self.x + other.x,
            self.y + other.y,
            self.xx + other.xx,
            self.xy + other.xy,
            self.yy + other.yy,
        )

    def __sub__(self, other: Moments) -> Moments:
        return Moments(
            self.n - other.n,
            self.x - other.x,
            self.y - other.y,
            self.xx - other.xx,
            self.xy - other.xy,
            self.yy - other.yy,
        )


@dataclass
class Ridge:
    """A fitted ridge: predictions are ``features @ weight + bias``."""

    weight: np.ndarray
    bias: np.ndarray
    alpha: float

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return float32, (spots, genes)."""
        values = product(np.asarray(features, np.float64), self.weight)
        values += self.bias
        return values.astype(np.float32)


def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Multiply float64 matrices with SciPy's BLAS.

    NumPy has its own, whose threads spin for a while after each product; the factorisations, which are
    SciPy's, then take nearly twice the time.
    """
    from scipy.linalg.blas import dgemm

    product: np.ndarray = dgemm(1.0, right.T, left.T).T
    return product


def _centred(sums: Moments) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gram matrix and cross-products of standardised features, and the scale of each feature."""
    mean = sums.x / sums.n
    variance = np.maximum((np.diag(sums.xx) - mean * sums.x) / sums.n, 0.0)
    # A feature that never changes carries nothing: scale 1 leaves its zero column harmless.
    floor = 1e-10 * (np.diag(sums.xx) / sums.n + 1e-300)
    flat = variance <= floor
    scale = np.sqrt(np.where(flat, 1.0, variance))
    # in one piece of memory, which is as large as the square of the number of features
    gram = np.multiply.outer(-mean, sums.x)
    gram += sums.xx
    gram /= scale[:, None]
    gram /= scale[None, :]
    cross = (sums.xy - np.outer(mean, sums.y)) / scale[:, None]
    gram[flat], gram[:, flat], cross[flat] = 0.0, 0.0, 0.0
    return gram, cross, scale


def solve(sums: Moments, alphas: Sequence[float]) -> list[Ridge]:
    """Fit one ridge per penalty.

    Features are standardised with the mean and sd of these spots, the intercept is not penalised; the
    objective is the sum of squared errors plus alpha times the squared weights of standardised features.
    """
    from scipy.linalg import cho_factor, cho_solve

    gram, cross, scale = _centred(sums)
    x_mean, y_mean = sums.x / sums.n, sums.y / sums.n
    fits, alphas = [], list(alphas)
    for place, alpha in enumerate(alphas):
        last = place + 1 == len(alphas)
        # the transpose of a symmetric matrix is itself, in the order that LAPACK works in
        penalised = (gram if last else gram.copy()).T
        np.fill_diagonal(penalised, gram.diagonal() + alpha)
        factor = cho_factor(penalised, lower=True, overwrite_a=True, check_finite=False)
        weight = cho_solve(factor, cross, check_finite=False) / scale[:, None]
        bias = y_mean - product(x_mean[None], weight)[0]
        fits.append(Ridge(weight, bias, float(alpha)))
    return fits


def solve_components(
    sums: Moments, alphas: Sequence[float], *, components: int, intercept: bool = True
) -> list[Ridge]:
    """Fit one ridge per penalty on the leading principal components of standardised features.

    Parameters
    ----------
    sums
        Of the training spots, which alone decide scaling and components.
    alphas
        Penalties on the weights of components, which are not whitened.
    components
        At most so many, and no more than the spots and features allow.
    intercept
        Without it predictions have the mean zero over training spots, as in HEST-bench: targets are then not
        centred, components are.

    Returns
    -------
    list
        The three steps (scale, project, weigh) as one product each.
    """
    from scipy.linalg import eigh

    gram, cross, scale = _centred(sums)
    size = len(gram)
    kept = max(1, min(components, sums.n - 1, size))
    values, vectors = eigh(gram, subset_by_index=[size - kept, size - 1], check_finite=False)
    # what rounding leaves of directions in which nothing varies
    real = values > 1e-10 * max(float(values[-1]), 1e-300)
    values, vectors = values[real], vectors[:, real]
    projected = product(vectors.T, cross)
    x_mean, y_mean = sums.x / sums.n, sums.y / sums.n
    fits = []
    for alpha in alphas:
        weight = product(vectors, projected / (values + alpha)[:, None]) / scale[:, None]
        bias = (y_mean if intercept else 0.0) - product(x_mean[None], weight)[0]
        fits.append(Ridge(weight, bias, float(alpha)))
    return fits


def squared_error(fit: Ridge, sums: Moments) -> float:
    """Sum of squared errors of a fit on spots known by their sums only."""
    w, b = fit.weight, fit.bias
    quadratic = np.einsum("dg,dg->g", w, product(sums.xx, w))
    error = sums.yy - 2 * (np.einsum("dg,dg->g", w, sums.xy) + b * sums.y)
    error += quadratic + 2 * b * product(sums.x[None], w)[0] + sums.n * b * b
    return float(error.sum())


Solver = Callable[[Moments, Sequence[float]], list[Ridge]]
"""Fits one ridge per penalty to sums over spots."""


def refit(
    features: np.ndarray, targets: Iterable[np.ndarray], alpha: float, solver: Solver = solve
) -> Iterator[Ridge]:
    """Fit the same features to one set of targets after the other, at one penalty.

    The cross-products of features, which cost the most, are formed once.

    Parameters
    ----------
    features
        (spots, features).
    targets
        Each (spots, genes).
    alpha
        The penalty.
    solver
        As for :func:`fit_ridge`.
    """
    sums: Moments | None = None
    for each in targets:
        sums = Moments.of(features, each) if sums is None else sums.of_other_targets(features, each)
        yield solver(sums, [alpha])[0]


def fit_ridge(
    features: np.ndarray,
    targets: np.ndarray,
    groups: np.ndarray,
    alphas: Sequence[float],
    solver: Solver = solve,
) -> tuple[Ridge, dict[float, float]]:
    """Fit ridge regression, the penalty chosen by leaving out each group in turn.

    Parameters
    ----------
    features
        (spots, features).
    targets
        (spots, genes).
    groups
        Group of each spot, (spots,); the patient, see :mod:`histobench.training.groups`.
    alphas
        Penalties to choose from. With one penalty or one group nothing is chosen: the largest penalty,
        the most cautious one, is taken.
    solver
        Fits one ridge per penalty to sums over spots; scaling and components are part of it, so that those
        that are left out decide neither.

    Returns
    -------
    Ridge
        Fitted on all spots with the chosen penalty.
    dict
        Mean squared error of the left-out groups for each penalty; empty when nothing was chosen.
    """
    alphas = sorted(float(alpha) for alpha in alphas)
    if not alphas or alphas[0] <= 0:
        raise ValueError("penalties must be positive")
    names = sorted(set(groups))
    parts = [Moments.of(features[groups == name], targets[groups == name]) for name in names]
    total = parts[0] - parts[0]
    for part in parts:
        total += part
    if len(parts) == 1 or len(alphas) == 1:
        return solver(total, alphas[-1:])[0], {}
    errors = np.zeros(len(alphas))
    for part in parts:
        errors += [squared_error(fit, part) for fit in solver(total - part, alphas)]
    scores = dict(zip(alphas, errors / targets.size, strict=True))
    best = alphas[int(np.argmin(errors))]
    return solver(total, [best])[0], scores

"""Two stain vectors from optical densities: sparse non-negative dictionary learning, solved to convergence.

The objective is that of Vahadane et al. 2016 (IEEE Trans. Med. Imaging 35, 1962-1971) as StainTools poses it:
the mean over tissue pixels of 1/2 |x - a1 d1 - a2 d2|^2 + 0.1 (a1 + a2), with a >= 0, d >= 0, |d| <= 1.
StainTools gives its solver one second of wall clock; here the same objective is followed to its optimum, so
the result does not depend on the machine or its load.

With two atoms the inner problem has a closed form, and at the optimum both atoms have length 1 (a longer
atom lowers the penalty), so the outer problem has four angles, solved by L-BFGS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit
from threadpoolctl import threadpool_limits

Floats = npt.NDArray[np.float64]

REGULARISER = 0.1  # sparsity weight of the dictionary fit in StainTools

#: Optima whose atoms lie closer than this are the same one.
SAME_OPTIMUM_DEGREES = 0.5

_HALF_PI = np.pi / 2
# Largest slope of the objective at which a fit counts as converged, and at which optima can be told apart.
_CONVERGED, _ROUGH = 1e-10, 1e-7


@njit(cache=True, nogil=True, inline="always")
def _lasso(x0, x1, x2, d, g, penalty):  # noqa: ANN001, ANN202
    # Non-negative lasso with two unit atoms at cosine g: stationary point, else the better edge.
    b0 = d[0, 0] * x0 + d[0, 1] * x1 + d[0, 2] * x2 - penalty
    b1 = d[1, 0] * x0 + d[1, 1] * x1 + d[1, 2] * x2 - penalty
    scale = 1.0 - g * g
    if scale > 1e-14:
        a0 = (b0 - g * b1) / scale
        a1 = (b1 - g * b0) / scale
        if a0 < 0.0:
            a0 = 0.0
            a1 = max(b1, 0.0)
        elif a1 < 0.0:
            a1 = 0.0
            a0 = max(b0, 0.0)
    else:  # one and the same atom: the split is arbitrary
        a0 = max(b0, 0.0)
        a1 = 0.0
    return a0, a1


@njit(cache=True, nogil=True)
def _encode(od: Floats, atoms: Floats, penalty: float, out: Floats) -> None:
    g = atoms[0, 0] * atoms[1, 0] + atoms[0, 1] * atoms[1, 1] + atoms[0, 2] * atoms[1, 2]
    for i in range(od.shape[0]):
        out[i, 0], out[i, 1] = _lasso(od[i, 0], od[i, 1], od[i, 2], atoms, g, penalty)


@njit(cache=True, nogil=True)
def _value_and_gradient(
    od: Floats, weights: Floats, atoms: Floats, penalty: float, gradient: Floats
) -> float:
    # By the envelope theorem the gradient in the atoms is that at fixed, optimal concentrations.
    g = atoms[0, 0] * atoms[1, 0] + atoms[0, 1] * atoms[1, 1] + atoms[0, 2] * atoms[1, 2]
    value = 0.0
    for i in range(od.shape[0]):
        a0, a1 = _lasso(od[i, 0], od[i, 1], od[i, 2], atoms, g, penalty)
        square = 0.0
        for c in range(3):
            rest = a0 * atoms[0, c] + a1 * atoms[1, c] - od[i, c]
            square += rest * rest
            gradient[0, c] += weights[i] * a0 * rest
            gradient[1, c] += weights[i] * a1 * rest
        value += weights[i] * (0.5 * square + penalty * (a0 + a1))
    return value


def concentrations(od: Floats, atoms: Floats, penalty: float = 0.01) -> Floats:
    """Non-negative lasso of optical densities on two unit atoms, in closed form.

    Parameters
    ----------
    od
        Optical densities, n x 3.
    atoms
        Stain vectors as unit rows, 2 x 3.
    penalty
        Weight of the sum of concentrations (0.01 in StainTools).

    Returns
    -------
    array
        Concentrations, n x 2.
    """
    out = np.empty((len(od), 2))
    _encode(np.ascontiguousarray(od), np.ascontiguousarray(atoms), penalty, out)
    return out


def degrees_between(a: Floats, b: Floats) -> float:
    """Angle of two vectors in degrees, accurate for small angles too."""
    cross = np.linalg.norm(np.cross(a, b))
    return float(np.degrees(np.arctan2(cross, np.dot(a, b))))


@dataclass(frozen=True)
class DictionaryFit:
    """Converged fit: unit rows with haematoxylin (more red absorbed) first, 2 x 3.

    ``objective`` is the mean over pixels; ``n_optima`` counts the distinct optima that the starts reached.
    """

    atoms: Floats
    objective: float
    n_optima: int
    n_evaluations: int


def _atoms(angles: Floats) -> Floats:
    polar, azimuth = angles[0::2], angles[1::2]
    return np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], axis=1)


def _angles(atoms: Floats) -> Floats:
    atoms = np.maximum(atoms, 0.0)
    atoms = atoms / np.linalg.norm(atoms, axis=1, keepdims=True)
    polar = np.arccos(np.clip(atoms[:, 2], -1.0, 1.0))
    return np.stack([polar, np.arctan2(atoms[:, 1], atoms[:, 0])], axis=1).reshape(-1)


def haematoxylin_first(atoms: Floats) -> Floats:
    """Order two stain vectors so that the one that absorbs more red comes first, as StainTools does."""
    return atoms[::-1].copy() if atoms[0, 0] < atoms[1, 0] else atoms


def _descend(od: Floats, weights: Floats, start: Floats, gradient: float) -> tuple[Floats, float, int]:
    """Follow the objective until no component of its gradient exceeds ``gradient``."""
    from scipy.optimize import minimize

    def objective(angles: Floats) -> tuple[float, Floats]:
        atoms = _atoms(angles)
        in_space = np.zeros((2, 3))
        value = _value_and_gradient(od, weights, atoms, REGULARISER, in_space)
        polar, azimuth = angles[0::2], angles[1::2]
        by_polar = np.stack(
            [np.cos(polar) * np.cos(azimuth), np.cos(polar) * np.sin(azimuth), -np.sin(polar)], axis=1
        )
        by_azimuth = np.stack([-atoms[:, 1], atoms[:, 0], np.zeros(2)], axis=1)
        slope = np.stack([(in_space * by_polar).sum(1), (in_space * by_azimuth).sum(1)], axis=1)
        return value, slope.reshape(-1)

    found = minimize(
        objective,
        _angles(start),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, _HALF_PI)] * 4,
        options={"ftol": 0.0, "gtol": gradient, "maxiter": 500, "maxls": 50, "maxcor": 10},
    )
    return haematoxylin_first(_atoms(found.x)), float(found.fun), int(found.nfev)


def _coarse(od: Floats, weights: Floats, step: float = 0.05) -> tuple[Floats, Floats]:
    """Merge optical densities that fall into one cell of a grid: weighted means, with their weights."""
    cells = np.floor(od / step).astype(np.int64)
    _, cell = np.unique(cells @ np.array([1 << 20, 1 << 10, 1]), return_inverse=True)
    total = np.bincount(cell, weights).astype(np.float64)
    means = np.stack([np.bincount(cell, weights * od[:, c]) / total for c in range(3)], axis=1)
    return means, total


def _distinct(fits: list[tuple[Floats, float]]) -> list[tuple[Floats, float]]:
    """Keep one fit of each optimum, best objective first."""
    kept: list[tuple[Floats, float]] = []
    for atoms, value in sorted(fits, key=lambda fit: fit[1]):
        if all(
            max(degrees_between(atoms[j], other[j]) for j in (0, 1)) > SAME_OPTIMUM_DEGREES
            for other, _ in kept
        ):
            kept.append((atoms, value))
    return kept


# Pairs of directions spread over the non-negative octant: every start finds the same optimum on a normal
# H&E section, so different answers reveal an ill-posed one.
_CORNERS = np.array([[1.0, 0.2, 0.2], [0.2, 1.0, 0.2], [0.2, 0.2, 1.0], [1.0, 1.0, 0.1], [0.1, 1.0, 1.0]])


def fit_dictionary(od: Floats, weights: npt.NDArray[np.int64], start: Floats) -> DictionaryFit:
    """Fit two stain vectors to weighted optical densities.

    Several starts descend on a coarsened copy (a few thousand cells); each distinct optimum is then
    followed to convergence on all the data, and the best one is returned.

    Parameters
    ----------
    od
        Optical densities of the distinct tissue colours, n x 3.
    weights
        Number of pixels of each colour.
    start
        First start, 2 x 3 (the Macenko vectors).
    """
    share = weights / weights.sum()
    coarse_od, coarse_share = _coarse(od, share)
    starts = [start, *(_CORNERS[[i, j]] for i in range(5) for j in range(i))]
    # the solver's algebra is of a few numbers, on which several threads only wait for each other
    with threadpool_limits(1):
        rough = [_descend(coarse_od, coarse_share, s, _ROUGH) for s in starts]
        candidates = _distinct([fit[:2] for fit in rough])
        fine = [_descend(od, share, atoms, _CONVERGED) for atoms, _ in candidates]
    optima = _distinct([fit[:2] for fit in fine])
    return DictionaryFit(*optima[0], n_optima=len(optima), n_evaluations=sum(fit[2] for fit in fine))

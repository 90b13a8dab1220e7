"""Expression and statistics: count tables, correlations, bootstrap, ridge regression."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
from bench.harness import Comparison


def counts(folder: Path, mirror: Path | None, quick: bool) -> Comparison:
    """A published table of counts, or one like it, to numbers, genes and spots."""
    from histobench.cohorts.readers.legacy_st import read_counts

    files = sorted(mirror.glob("her2st/data/ST-cnts/*.tsv.gz")) if mirror else []
    if files:
        file, note = files[0], f"{files[0].name} of the HER2+ cohort"
    else:
        rng = np.random.default_rng(0)
        shape = (60, 4000) if quick else (346, 15000)
        numbers = rng.poisson(0.12, shape)
        file, note = folder / "counts.tsv.gz", "simulated, as sparse as the HER2+ cohort"
        names = [f"{i % 30 + 1}x{i // 30 + 1}" for i in range(shape[0])]
        table = pd.DataFrame(numbers, index=names, columns=[f"G{i}" for i in range(shape[1])])
        with gzip.open(file, "wt") as stream:
            table.to_csv(stream, sep="\t")

    def same(ours: object, theirs: object) -> str:
        matrix, spots, genes = ours  # type: ignore[misc]
        assert list(spots) == list(theirs.index) and list(genes) == list(theirs.columns)  # type: ignore[attr-defined]
        np.testing.assert_array_equal(matrix.toarray(), theirs.to_numpy())  # type: ignore[attr-defined]
        return "identical"

    return Comparison(
        "count table", "pandas.read_csv", lambda: read_counts(file),
        lambda: pd.read_csv(file, sep="\t", index_col=0), same, target=30, unit="table", note=note,
    )  # fmt: skip


def pearson(quick: bool) -> Comparison:
    """Correlation of every gene of one patient."""
    from scipy import stats

    from histobench.evaluation.metrics import gene_moments

    rng = np.random.default_rng(1)
    n_spots, n_genes, looped = (200, 4000, 200) if quick else (1200, 20_000, 1000)
    truth = rng.gamma(1.0, 1.0, (n_spots, n_genes)).astype(np.float32)
    prediction = (0.2 * truth + rng.normal(0, 1, truth.shape)).astype(np.float32)

    def sums() -> np.ndarray:
        x, y = truth - truth.mean(axis=0), prediction - prediction.mean(axis=0)
        return np.einsum("ng,ng->g", x, y) / np.sqrt(
            np.einsum("ng,ng->g", x, x) * np.einsum("ng,ng->g", y, y)
        )

    def same(ours: object, theirs: object) -> str:
        np.testing.assert_allclose(sums(), ours["pearson"], atol=1e-4)  # type: ignore[index]
        difference = float(np.abs(ours["pearson"][:looped] - theirs).max())  # type: ignore[index]
        assert difference < 1e-5
        return f"largest difference {difference:.1g}"

    return Comparison(
        f"Pearson r of {n_genes:,} genes", "a loop over scipy.stats.pearsonr",
        lambda: gene_moments(truth, prediction),
        lambda: np.array([stats.pearsonr(truth[:, g], prediction[:, g])[0] for g in range(looped)]), same,
        target=150, peer="NumPy's einsum on centred columns", best=sums, peer_target=2, units=n_genes, unit="gene", factor=n_genes / looped,
        note=f"{n_spots} spots; the loop over {looped} genes, times {n_genes // looped}",
    )  # fmt: skip


def spot_resamples(quick: bool) -> Comparison:
    """Bootstrap over the spots of one patient."""
    from scipy import stats

    from histobench.evaluation.spotbootstrap import spot_bootstrap

    rng = np.random.default_rng(2)
    n_spots, n_genes, n = (200, 60, 200) if quick else (1200, 250, 1000)
    looped = 1 if quick else 3
    truth = rng.gamma(1.0, 1.0, (n_spots, n_genes))
    prediction = 0.2 * truth + rng.normal(0, 1, truth.shape)

    def loop() -> np.ndarray:
        draws = np.random.default_rng(0)
        found = []
        for _ in range(looped):
            spots = draws.integers(0, n_spots, n_spots)
            found.append([stats.pearsonr(truth[spots, g], prediction[spots, g])[0] for g in range(n_genes)])
        return np.array(found)

    def same(ours: object, theirs: object) -> str:
        # the same generator draws the same resamples, one by one or all at once
        difference = float(np.abs(ours[:looped] - theirs).max())  # type: ignore[index]
        assert difference < 1e-5
        return f"largest difference {difference:.1g}"

    return Comparison(
        f"bootstrap over spots, {n} resamples", "a loop over scipy.stats.pearsonr",
        lambda: spot_bootstrap(truth, prediction, n=n, seed=0), loop, same,
        target=1000, units=n, unit="resample", factor=n / looped,
        note=f"{n_spots} spots, {n_genes} genes; the loop over {looped} resamples, times {n // looped}",
    )  # fmt: skip


def ridge(quick: bool, n_penalties: int) -> Comparison:
    """Leave each of 23 patients out in turn, for one penalty or several."""
    from sklearn.linear_model import Ridge as SkRidge
    from sklearn.linear_model import RidgeCV

    from histobench.training.ridge import Moments, solve

    # the patients, spots and ResNet-50 features of HBCIS
    n, d, g, n_patients = (1500, 96, 30, 23) if quick else (27_600, 2048, 250, 23)
    looped = 2 if n_penalties == 1 else 1  # over penalties one fold takes scikit-learn half a minute
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, d)).astype(np.float32)
    y = (x[:, :g] + rng.normal(size=(n, g))).astype(np.float32)
    patient = np.arange(n) % n_patients
    alphas = [float(10.0**k) for k in range(1, 1 + n_penalties)]

    def ours() -> list[list[np.ndarray]]:
        parts = [Moments.of(x[patient == p], y[patient == p]) for p in range(n_patients)]
        total = parts[0] - parts[0]
        for part in parts:
            total += part
        return [
            [fit.predict(x[patient == p]) for fit in solve(total - parts[p], alphas)]
            for p in range(n_patients)
        ]

    chosen: list[int] = []  # by scikit-learn, of several penalties

    def theirs() -> list[np.ndarray]:
        found = []
        chosen.clear()
        for p in range(looped):
            learn, test = x[patient != p], x[patient == p]
            mean, sd = learn.mean(axis=0), learn.std(axis=0)
            model = SkRidge(alphas[0]) if n_penalties == 1 else RidgeCV(alphas)
            found.append(model.fit((learn - mean) / sd, y[patient != p]).predict((test - mean) / sd))
            chosen.append(0 if n_penalties == 1 else alphas.index(float(model.alpha_)))
        return found

    def same(first: object, second: object) -> str:
        pairs = zip(first[:looped], second, chosen, strict=True)  # type: ignore[index]
        difference = max(float(np.abs(ours[k] - theirs).max()) for ours, theirs, k in pairs)
        assert difference < 2e-3
        return f"largest difference {difference:.1g}"

    what = "one penalty" if n_penalties == 1 else f"{n_penalties} penalties"
    return Comparison(
        f"ridge, 23 patients left out, {what}", "scikit-learn's Ridge per fold" if n_penalties == 1 else "scikit-learn's RidgeCV per fold", ours, theirs, same,
        target=8 if n_penalties == 1 else 30, units=n_patients * n_penalties, unit="fit",
        factor=n_patients / looped, repeats=3,
        note=f"{n} spots, {d} features, {g} genes; refitted folds: {looped}, times {n_patients / looped:g}",
    )  # fmt: skip

"""Spatial metrics against scikit-image, scanpy and brute force, on grids with holes and on awkward genes."""

from __future__ import annotations

import numpy as np
import pytest

from histobench.evaluation.spatial import SPATIAL_METRICS, spatial_metrics


def maps(height=13, width=11, n_genes=4, seed=0):
    """Smooth truth and a noisier prediction on a full grid, spots in row order."""
    rng = np.random.default_rng(seed)
    y, x = (axis.ravel() for axis in np.mgrid[:height, :width])
    wave = np.stack([np.sin(x / (2 + g)) + np.cos(y / (3 + g)) for g in range(n_genes)], axis=1)
    truth = (2 + wave + rng.normal(0, 0.4, wave.shape)).astype(np.float32)
    prediction = (2 + 0.4 * wave + rng.normal(0, 0.1, wave.shape)).astype(np.float32)
    return truth, prediction, x + 5.0, y - 3.0


def brute_force_ssim(truth, prediction, x, y):
    span = np.ptp(truth)
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    values = []
    for a, b in zip(x, y, strict=True):
        near = (np.abs(x - a) <= 3) & (np.abs(y - b) <= 3)
        t, p = truth[near].astype(float), prediction[near].astype(float)
        top = (2 * t.mean() * p.mean() + c1) * (2 * np.mean((t - t.mean()) * (p - p.mean())) + c2)
        values.append(top / ((t.mean() ** 2 + p.mean() ** 2 + c1) * (t.var() + p.var() + c2)))
    return np.array(values)


def test_ssim_equals_scikit_image_inside_a_full_grid():
    structural_similarity = pytest.importorskip("skimage.metrics").structural_similarity
    truth, prediction, x, y = maps()
    for g in range(4):
        t, p = (values[:, g].reshape(13, 11).astype(float) for values in (truth, prediction))
        _, index = structural_similarity(
            t, p, win_size=7, data_range=np.ptp(t), full=True, use_sample_covariance=False
        )
        ours = brute_force_ssim(truth[:, g], prediction[:, g], x, y).reshape(13, 11)
        # scikit-image mirrors the border; inside, where blocks are whole, both agree
        np.testing.assert_allclose(ours[3:-3, 3:-3], index[3:-3, 3:-3], atol=1e-9)


def test_ssim_equals_brute_force_on_a_grid_with_holes_and_doubled_spots():
    truth, prediction, x, y = maps(seed=1)
    kept = np.random.default_rng(2).uniform(size=len(x)) < 0.7
    truth, prediction, x, y = truth[kept], prediction[kept], x[kept] + 0.3, y[kept] - 0.2
    x[3], y[3] = x[4], y[4]  # two spots that round to one position
    found = spatial_metrics(truth, prediction, x, y)["ssim"]
    for g in range(4):
        expected = brute_force_ssim(truth[:, g], prediction[:, g], np.rint(x), np.rint(y)).mean()
        assert found[g] == pytest.approx(expected, abs=2e-5)


def test_ssim_survives_a_large_mean_and_is_one_for_the_truth():
    truth, prediction, x, y = maps()
    far = truth - 10.3  # what ln((1 + c) / (n + Z)) looks like
    found = spatial_metrics(far, far, x, y)["ssim"]
    np.testing.assert_allclose(found, 1.0, atol=1e-6)
    shifted = spatial_metrics(far, prediction - 10.3, x, y)["ssim"]
    for g in range(4):
        assert shifted[g] == pytest.approx(
            brute_force_ssim(far[:, g], prediction[:, g] - np.float32(10.3), x, y).mean(), abs=2e-4
        )


@pytest.mark.slow
def test_morans_i_equals_scanpy():
    from histobench.expression.smoothing import neighbour_average

    metrics = pytest.importorskip("scanpy").metrics
    truth, prediction, x, y = maps(seed=3)
    kept = np.random.default_rng(0).uniform(size=len(x)) < 0.8
    truth, prediction, x, y = truth[kept], prediction[kept], x[kept], y[kept]
    found = spatial_metrics(truth, prediction, x, y)
    graph = neighbour_average(x, y, centre=False)
    np.testing.assert_allclose(
        found["moran_truth"], metrics.morans_i(graph, truth.T.astype(float)), atol=1e-5
    )
    expected = metrics.morans_i(graph, prediction.T.astype(float))
    np.testing.assert_allclose(found["moran_prediction"], expected, atol=1e-5)
    noise = np.random.default_rng(1).normal(size=truth.shape).astype(np.float32)
    assert np.abs(spatial_metrics(noise, noise, x, y)["moran_truth"]).max() < 0.2 < found["moran_truth"].min()


def test_awkward_genes_and_sections():
    truth, prediction, x, y = maps()
    truth[:, 0] = 3.0  # constant
    truth[2, 1] = np.nan  # not measured
    prediction[:, 2] = 1.5  # constant prediction
    found = spatial_metrics(truth, prediction, x, y)
    for name in SPATIAL_METRICS:
        assert np.isnan(found[name][[0, 1]]).all() and np.isfinite(found[name][[2, 3]]).all(), name
    assert found["moran_prediction"][2] == 0
    one = spatial_metrics(truth[:1], prediction[:1], x[:1], y[:1])
    none = spatial_metrics(truth[:0], prediction[:0], x[:0], y[:0])
    for result in (one, none):
        assert all(np.isnan(values).all() and len(values) == 4 for values in result.values())
    lonely = spatial_metrics(truth[:5], prediction[:5], np.arange(5) * 3.0, np.zeros(5))
    assert np.isnan(lonely["moran_truth"]).all() and np.isfinite(lonely["ssim"][3])
    scattered = spatial_metrics(truth, prediction, 1000 * x, 1000 * y)
    assert np.isnan(scattered["ssim"]).all(), "positions that are no grid have no map"


def test_threads_and_blocks_do_not_change_the_numbers():
    truth, prediction, x, y = maps(height=40, width=40, n_genes=400)
    one, two = (spatial_metrics(truth, prediction, x, y, threads=n) for n in (1, 2))
    some = spatial_metrics(truth[:, 200:210], prediction[:, 200:210], x, y)
    for name in SPATIAL_METRICS:
        np.testing.assert_array_equal(one[name], two[name])
        np.testing.assert_allclose(some[name], one[name][200:210], rtol=1e-5)

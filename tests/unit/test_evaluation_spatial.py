"""Spatial metrics against scikit-image, scanpy and brute force, on grids with holes and on awkward genes."""

from __future__ import annotations

import numpy as np
import pytest

from histobench.evaluation.spatial import SPATIAL_METRICS, spatial_metrics
from histobench.imaging.grid import places


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
    lonely = spatial_metrics(truth[:5], prediction[:5], np.arange(5) * 3.0, np.zeros(5), least_spots=0)
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


def brute_force_moran(values, near):
    """Moran's I from a matrix of who is near whom, rows of the weights summing to one."""
    weights = near / np.maximum(near.sum(axis=1, keepdims=True), 1)
    centred = values - values.mean()
    return len(values) / weights.sum() * (centred @ weights @ centred) / (centred @ centred)


def staggered(rows, columns):
    """Index positions of an array whose columns are counted in half steps."""
    row, column = (axis.ravel() for axis in np.mgrid[:rows, :columns])
    return 2 * column + row % 2, row


def test_moran_of_a_visium_array_counts_the_six_at_one_pitch():
    x, y = staggered(20, 20)
    values = np.stack([y % 2, x // 2 % 2, np.sin(y / 4) + np.cos(x / 6)], axis=1).astype(np.float32)
    found = spatial_metrics(values, values, x, y, grid="hexagonal")["moran_truth"]
    # rows that alternate have two like and four unlike neighbours; so have columns, but for every other row
    np.testing.assert_allclose(found, [-0.3137, -0.3107, 0.9760], atol=1e-4)
    at = places("hexagonal", x, y)
    nearest = np.argsort(np.hypot(*(at[:, None] - at).transpose(2, 0, 1)), axis=1, kind="stable")[:, 1:7]
    inner = np.flatnonzero((x > 1) & (x < x.max() - 1) & (y > 0) & (y < 19))
    near = np.hypot(*(at[:, None] - at).transpose(2, 0, 1)) < 1.1
    np.fill_diagonal(near, False)
    for spot in inner:
        assert set(np.flatnonzero(near[spot])) == set(nearest[spot])
    for gene in range(3):
        assert found[gene] == pytest.approx(brute_force_moran(values[:, gene], near), abs=1e-5)


@pytest.mark.parametrize(("grid", "ring"), [("hexagonal", 1.1), ("diamond", 1.49)])
def test_moran_and_ssim_of_staggered_arrays_equal_brute_force_with_holes(grid, ring):
    x, y = staggered(16, 14)
    rng = np.random.default_rng(8)
    kept = rng.uniform(size=len(x)) < 0.8
    x, y = x[kept], y[kept]
    truth = (np.sin(x / 5) + rng.normal(0, 0.3, len(x))).astype(np.float32)
    prediction = (0.5 * truth + rng.normal(0, 0.2, len(x))).astype(np.float32)
    found = spatial_metrics(truth[:, None], prediction[:, None], x, y, grid=grid)
    at = places(grid, x, y)
    apart = np.abs(at[:, None] - at)
    near = np.hypot(*apart.transpose(2, 0, 1)) < ring
    np.fill_diagonal(near, False)
    assert found["moran_truth"][0] == pytest.approx(brute_force_moran(truth, near), abs=1e-5)
    window = apart.max(axis=2) < 3.5 - 1e-9
    assert 40 < window.sum(axis=1).max() <= 59
    assert found["ssim"][0] == pytest.approx(ssim_in(window, truth, prediction), abs=2e-5)


def ssim_in(window, truth, prediction):
    """Mean over spots of the index over the spots of each row of ``window``."""
    span = float(np.ptp(truth))
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    values = []
    for near in window:
        t, p = truth[near].astype(float), prediction[near].astype(float)
        top = (2 * t.mean() * p.mean() + c1) * (2 * np.mean((t - t.mean()) * (p - p.mean())) + c2)
        values.append(top / ((t.mean() ** 2 + p.mean() ** 2 + c1) * (t.var() + p.var() + c2)))
    return np.mean(values)


@pytest.mark.parametrize("unit", [1.0, 41.7])
def test_an_irregular_section_is_scored_from_positions_whatever_their_unit(unit):
    rng = np.random.default_rng(9)
    at = rng.uniform(0, 20, (400, 2))
    truth = (np.sin(at[:, 0] / 3) + rng.normal(0, 0.2, 400)).astype(np.float32)
    prediction = (0.5 * truth + rng.normal(0, 0.2, 400)).astype(np.float32)
    found = spatial_metrics(truth[:, None], prediction[:, None], *(unit * at).T, grid="irregular")
    apart = np.abs(at[:, None] - at)
    distance = np.hypot(*apart.transpose(2, 0, 1))
    spacing = np.median(np.sort(distance, axis=1)[:, 3])
    near = distance <= 1.5 * spacing
    np.fill_diagonal(near, False)
    assert found["moran_truth"][0] == pytest.approx(brute_force_moran(truth, near), abs=1e-5)
    assert found["ssim"][0] == pytest.approx(
        ssim_in(apart.max(axis=2) <= 3.5 * spacing, truth, prediction), abs=2e-5
    )


def test_bins_without_array_columns_score_as_the_square_grid_that_they_are():
    truth, prediction, x, y = maps()
    square = spatial_metrics(truth, prediction, x, y)
    # in micrometres, with the rounding of a real table
    bins = np.round(np.stack([x, y]) * 8.0 + 100, 3)
    loose = spatial_metrics(truth, prediction, *bins, grid="irregular")
    for name in SPATIAL_METRICS:
        np.testing.assert_allclose(loose[name], square[name], atol=1e-5)


@pytest.mark.parametrize("grid", ["hexagonal", "diamond", "irregular"])
def test_few_spots_and_spots_at_one_place_are_no_error_on_any_grid(grid):
    values = np.array([[1.0, 2.0], [3.0, 1.0], [2.0, 2.0]], np.float32)
    for x, y in (([4, 4, 4], [4, 4, 4]), ([4, 6, 5], [4, 4, 5]), ([0, 50, 500], [0, 50, 100])):
        for n in (1, 2, 3):
            found = spatial_metrics(
                values[:n], values[:n], np.array(x[:n]), np.array(y[:n]), grid=grid, least_spots=0
            )
            assert all(len(each) == 2 for each in found.values())


@pytest.mark.slow
@pytest.mark.parametrize("grid", ["square", "hexagonal", "diamond", "irregular"])
def test_a_hundred_thousand_spots_fit_two_gigabytes(grid):
    """Measured in a process of its own: graphs, smoothing, Moran, SSIM and latent neighbours together."""
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", LARGE, grid], capture_output=True, text=True, check=True)
    peak, pairs = (float(word) for word in done.stdout.split())
    assert pairs > 3.8e5
    assert peak < 2000, f"{peak:.0f} MB"


LARGE = """
import sys
from pathlib import Path
import numpy as np
from histobench.evaluation.domains import latent_neighbours
from histobench.evaluation.spatial import spatial_metrics
from histobench.expression.smoothing import neighbour_average
from histobench.imaging.grid import nearest_pairs, neighbour_pairs
grid, n = sys.argv[1], 100_000
rng = np.random.default_rng(0)
row, column = np.arange(n) // 320, np.arange(n) % 320
if grid in ("hexagonal", "diamond"):
    column = 2 * column + row % 2
if grid == "irregular":
    row, column = rng.uniform(0, 316, (2, n))
values = rng.normal(size=(n, 4)).astype(np.float32)
pairs = len(neighbour_pairs(grid, column, row)[0])
nearest_pairs(grid, column, row, 6, reach=2.0)
neighbour_average(column, row, grid=grid) @ values
spatial_metrics(values, values[:, ::-1], column, row, grid=grid)
latent_neighbours(values, rng.normal(size=(n, 8)), column, row, grid=grid)
# the peak of this program alone: that of getrusage begins with that of the process that started it
print(int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024, pairs)
"""

"""Target transforms: formulas, published check values, empty spots."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from histobench.errors import UserError
from histobench.expression.transforms import TRANSFORMS, transform_counts

COUNTS = np.array([[0, 3, 10], [2, 0, 1], [0, 0, 0]])
TOTAL = np.array([500.0, 20.0, 0.0])


def test_formulas():
    def ours(name):
        return transform_counts(name, COUNTS, TOTAL, n_genes=26949)[:2]

    z, panel = TOTAL[:2, None], COUNTS[:2].sum(axis=1, keepdims=True)
    c = COUNTS[:2]
    np.testing.assert_allclose(ours("log1p_cp10k"), np.log(1 + 1e4 * c / z), rtol=1e-6)
    np.testing.assert_allclose(ours("stnet"), np.log((1 + c) / (26949 + z)), rtol=1e-6)
    np.testing.assert_allclose(ours("log1p"), np.log(1 + c), rtol=1e-6)
    np.testing.assert_allclose(ours("log10_cp10k"), np.log10(1 + 1e4 * c / z), rtol=1e-6)
    np.testing.assert_allclose(ours("log10_cp10k_panel"), np.log10(1 + 1e4 * c / panel), rtol=1e-6)


def test_stnet_target_of_the_median_spot():
    """26,949 genes and a median library of 3,426: -10.32 for a zero count, -7.92 for a count of ten."""
    target = transform_counts("stnet", np.array([[0, 10]]), np.array([3426]), n_genes=26949)
    np.testing.assert_allclose(target, [[-10.32, -7.92]], atol=0.005)


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.int64, st.tuples(st.integers(0, 6), st.integers(1, 5)), elements=st.integers(0, 10**6)),
    st.sampled_from(sorted(TRANSFORMS)),
)
def test_always_finite_single_precision_and_the_same_for_sparse_input(counts, name):
    total = counts.sum(axis=1)
    target = transform_counts(name, counts, total, n_genes=100)
    assert target.dtype == np.float32 and target.shape == counts.shape and np.isfinite(target).all()
    same = transform_counts(name, sparse.csr_matrix(counts), total, n_genes=100)
    np.testing.assert_array_equal(target, same)


def test_given_panel_total_replaces_the_row_sums():
    target = transform_counts("log10_cp10k_panel", COUNTS[:2], TOTAL[:2], panel_total=[100.0, 200.0])
    np.testing.assert_allclose(target[0, 1], np.log10(1 + 1e4 * 3 / 100), rtol=1e-6)


def test_input_is_left_alone():
    counts = COUNTS.astype(float)
    transform_counts("log1p", counts, TOTAL)
    np.testing.assert_array_equal(counts, COUNTS)


def test_wrong_requests():
    with pytest.raises(UserError, match="log1p_cp10k"):
        transform_counts("logcp10k", COUNTS, TOTAL)
    with pytest.raises(ValueError, match="number of measured genes"):
        transform_counts("stnet", COUNTS, TOTAL)
    with pytest.raises(ValueError, match="same spots"):
        transform_counts("log1p", COUNTS, TOTAL[:2])

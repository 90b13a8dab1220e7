"""The count likelihood against scipy, and the bounds of its parameters."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from histobench.networks.zinb import ZINB, ZINBHead, zinb_loss


def scipy_log_probability(x, mean, theta, pi):
    """Log-probability of a zero-inflated negative binomial from scipy's plain one."""
    plain = stats.nbinom(n=theta, p=theta / (theta + mean))
    return np.where(x == 0, np.log(pi + (1 - pi) * plain.pmf(0)), np.log1p(-pi) + plain.logpmf(x))


def test_loss_is_scipys_negative_log_probability():
    rng = np.random.default_rng(0)
    shape = (40, 25)
    mean = np.exp(rng.uniform(np.log(0.01), np.log(500), shape)).astype(np.float32)
    theta = np.exp(rng.uniform(np.log(0.01), np.log(1000), shape)).astype(np.float32)
    pi = rng.uniform(0.01, 0.95, shape).astype(np.float32)
    size = rng.uniform(0.2, 4, shape[0]).astype(np.float32)
    x = rng.poisson(mean * rng.integers(0, 2, shape))
    assert (x == 0).any() and (x > 100).any()
    loss = zinb_loss(
        torch.from_numpy(x), torch.from_numpy(size), ZINB(*map(torch.from_numpy, (mean, theta, pi)))
    )
    wide = [values.astype(np.float64) for values in (mean, theta, pi)]
    expected = -scipy_log_probability(x, wide[0] * size[:, None].astype(np.float64), *wide[1:])
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-6, atol=1e-6)


def test_probabilities_sum_to_one():
    x = torch.arange(4000).reshape(-1, 1)
    params = ZINB(*(torch.full((4000, 1), value) for value in (7.0, 0.8, 0.3)))
    assert torch.exp(-zinb_loss(x, torch.ones(4000), params)).sum().item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("raw", [-1e4, -50.0, 0.0, 50.0, 1e4])
def test_extreme_layers_stay_in_bounds_with_finite_gradients(raw):
    head = ZINBHead(2, 3)
    features = torch.full((4, 2), raw, requires_grad=True)
    with torch.no_grad():
        for layer in (head.mean, head.dispersion, head.dropout):
            layer.weight.fill_(1.0)
    params = head(features)
    assert (params.mean >= 0.99e-5).all() and (params.mean <= 1.01e6).all()
    assert (params.dispersion >= 1e-4).all() and (params.dispersion <= 1e4).all()
    counts = torch.tensor([[0, 1, 2000]]).repeat(4, 1)
    # a spot without any panel count has a size factor of zero
    loss = zinb_loss(counts, torch.tensor([0.0, 1.0, 2.0, 0.5]), params)
    loss.mean().backward()
    assert torch.isfinite(loss).all() and torch.isfinite(features.grad).all()


def test_mean_is_the_exponential_inside_the_bounds():
    head = ZINBHead(2, 3)
    features = torch.randn(5, 2)
    params = head(features)
    torch.testing.assert_close(params.mean, head.mean(features).exp())
    torch.testing.assert_close(params.dropout, torch.sigmoid(head.dropout(features)))


def test_a_factor_for_each_gene_multiplies_the_mean():
    params = ZINBHead(2, 3)(torch.randn(4, 2))
    counts = torch.poisson(torch.full((4, 3), 5.0))
    depth, gene = torch.tensor([0.5, 1.0, 2.0, 1.5]), torch.tensor([1.0, 10.0, 0.1])
    scaled = params._replace(mean=params.mean * gene)
    torch.testing.assert_close(
        zinb_loss(counts, depth[:, None] * gene, params),
        zinb_loss(counts, depth, scaled),
        rtol=1e-5,
        atol=1e-6,
    )

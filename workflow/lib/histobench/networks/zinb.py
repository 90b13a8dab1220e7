"""Zero-inflated negative binomial counts: likelihood and the layers that predict its parameters."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

_TINY = 1e-10


class ZINB(NamedTuple):
    """Parameters of a zero-inflated negative binomial, each (spots, genes).

    Attributes
    ----------
    mean
        Mean of the negative binomial, per unit of size factor.
    dispersion
        theta: the variance is mean + mean^2 / theta.
    dropout
        Probability of a zero that the negative binomial did not make.
    """

    mean: torch.Tensor
    dispersion: torch.Tensor
    dropout: torch.Tensor


class ZINBHead(nn.Module):
    """Three linear layers from features to the parameters of counts, with Hist2ST's bounds."""

    MEAN = (1e-5, 1e6)
    DISPERSION = (1e-4, 1e4)

    def __init__(self, width: int, genes: int) -> None:
        super().__init__()
        self.mean = nn.Linear(width, genes)
        self.dispersion = nn.Linear(width, genes)
        self.dropout = nn.Linear(width, genes)

    def forward(self, features: torch.Tensor) -> ZINB:
        """Return parameters of (spots, width) features, each (spots, genes)."""
        # bounds before exp: after it, an overflow would turn its zero gradient into NaN
        low, high = map(math.log, self.MEAN)
        return ZINB(
            self.mean(features).float().clamp(low, high).exp(),
            functional.softplus(self.dispersion(features).float()).clamp(*self.DISPERSION),
            self.dropout(features).float().sigmoid(),
        )


def zinb_loss(counts: torch.Tensor, size_factor: torch.Tensor, params: ZINB) -> torch.Tensor:
    """Return the negative log-likelihood of raw counts, (spots, genes).

    Computed in float64: differences of log-gamma of large counts would lose all digits in float32.

    Parameters
    ----------
    counts
        Raw counts, (spots, genes).
    size_factor
        Multiplies the mean: depth of each spot relative to its section, (spots,), or (spots, genes).
    params
        Parameters, each (spots, genes).
    """
    x, theta, pi = counts.double(), params.dispersion.double(), params.dropout.double()
    mean = params.mean.double() * size_factor.double().reshape(len(x), -1)
    log_total = torch.log(theta + mean + _TINY)
    log_fail = torch.log(theta + _TINY) - log_total
    zero = torch.log(pi + (1 - pi) * torch.exp(theta * log_fail) + _TINY)
    positive = (
        torch.lgamma(x + theta)
        - torch.lgamma(theta)
        - torch.lgamma(x + 1)
        + theta * log_fail
        + x * (torch.log(mean + _TINY) - log_total)
        + torch.log(1 - pi + _TINY)
    )
    return -torch.where(x > 0, positive, zero)

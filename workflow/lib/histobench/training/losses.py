"""Losses that several methods share, or that deserve a test of their own."""

from __future__ import annotations

import torch
from torch.nn import functional


def labelled_bce(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean binary cross-entropy over the spots that have a label; 0 where none has.

    Parameters
    ----------
    logits
        (batch,).
    labels
        (batch,): 1, 0, or NaN for unknown.
    """
    known = torch.isfinite(labels)
    wanted = torch.where(known, labels, torch.zeros_like(labels))
    each = functional.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none")
    return torch.where(known, each, torch.zeros_like(each)).sum() / known.sum().clamp_min(1)


def spatial_loss(
    centre: torch.Tensor, neighbours: torch.Tensor, valid: torch.Tensor, form: str = "mean"
) -> torch.Tensor:
    """Penalty on predictions that differ from those of like neighbours (Chen et al. 2024, HE2Gene).

    Parameters
    ----------
    centre
        Predictions of the spots, (batch, genes).
    neighbours
        Predictions of their neighbours, (batch, places, genes); places without a neighbour hold anything
        finite.
    valid
        (batch, places): there is a neighbour, and it has the label of the centre.
    form
        "mean", the released form: squared distance to the mean of the valid neighbours, averaged over
        genes and over the spots that have one. "pairwise", equations 4 and 5 of the paper: squared
        distance to each of them, averaged over genes and pairs. The two differ by the variance among the
        neighbours.

    Returns
    -------
    torch.Tensor
        Scalar; 0 where no spot has a valid neighbour. The gradient flows to both sides.
    """
    centre, neighbours = centre.float(), neighbours.float()
    weight = valid.float()
    if form == "pairwise":
        each = ((centre[:, None] - neighbours) ** 2).mean(dim=2)
        return (each * weight).sum() / weight.sum().clamp_min(1.0)
    if form != "mean":
        raise ValueError(f"spatial loss {form!r}: choose mean or pairwise")
    number = weight.sum(dim=1)
    mean = (neighbours * weight[..., None]).sum(dim=1) / number.clamp_min(1.0)[:, None]
    each = ((centre - mean) ** 2).mean(dim=1)
    some = (number > 0).float()
    return (each * some).sum() / some.sum().clamp_min(1.0)


def log_cosh(predicted: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Mean of ln cosh of the errors, in a form that does not overflow."""
    error = (predicted - wanted).abs()
    return (error + functional.softplus(-2.0 * error) - torch.log(torch.tensor(2.0))).mean()


def pairwise_distance(predicted: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Mean over spots of the distance of order 3 between the predicted and the observed profile."""
    return functional.pairwise_distance(predicted, wanted, p=3.0).mean()


def root_mse(predicted: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Root of the mean squared error; finite gradient also where the error is zero."""
    return torch.sqrt(functional.mse_loss(predicted, wanted) + 1e-12)

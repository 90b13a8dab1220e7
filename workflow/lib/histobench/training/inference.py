"""Run a trained network over numbered patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from histobench.networks.multihead import MultiHead
from histobench.training.augment import apply_symmetry
from histobench.training.data import PatchSource, resize


@torch.inference_mode()
def predict_patches(
    network: nn.Module, source: PatchSource, rows: np.ndarray, *, views: int = 1, batch_size: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean prediction over views, and the features of the unchanged patches.

    Parameters
    ----------
    network
        Maps uint8 patches to (expression, features); put into evaluation mode here.
    source, rows
        Which patches.
    views
        1, or 8 for test-time averaging over the symmetries of the square.

    Returns
    -------
    numpy.ndarray, numpy.ndarray
        float32 (rows, genes) and float32 (rows, dimension).
    """
    if not 1 <= views <= 8:
        raise ValueError("a patch has 1 to 8 views")
    network.eval()
    expression, features = [], []
    for first in range(0, len(rows), batch_size):
        batch = source.batch(rows[first : first + batch_size])
        plain, vectors = network(batch)
        # float64: the mean of eight equal numbers must be that number
        total = plain.double()
        for code in range(1, views):
            total += network(apply_symmetry(batch, code))[0].double()
        expression.append((total / views).float().cpu().numpy())
        features.append(vectors.float().cpu().numpy())
    return np.concatenate(expression), np.concatenate(features)


def central_window(pixels: torch.Tensor, share: float, width: int) -> torch.Tensor:
    """Return the middle ``share`` of uint8 patches (batch, 3, px, px), resized to ``width`` pixels."""
    full = pixels.shape[-1]
    size = min(full, max(1, round(share * full)))
    first = (full - size) // 2
    return resize(pixels[..., first : first + size, first : first + size], width)


class Heads(NamedTuple):
    """What the heads of a network say of patches; None for a head that there is not.

    Attributes
    ----------
    expression, tumour
        float32 (rows, genes), and probabilities (rows,), averaged over views.
    embedding
        float32 (rows, dimension) of the first view.
    mean_features
        The same averaged over all views, where there is an auxiliary head. That head is linear, so that what
        it makes of them is its prediction averaged over views.
    """

    expression: np.ndarray | None
    tumour: np.ndarray | None
    embedding: np.ndarray
    mean_features: np.ndarray | None


@torch.inference_mode()
def predict_heads(
    network: MultiHead,
    source: PatchSource,
    rows: np.ndarray,
    *,
    width: int,
    shares: Sequence[float] = (1.0,),
    views: int = 1,
    batch_size: int = 64,
) -> Heads:
    """Run the heads over patches, averaged over windows and symmetries.

    Parameters
    ----------
    network
        Put into evaluation mode here.
    source, rows
        Which patches.
    width
        Width that the network takes.
    shares
        Central windows as shares of the patch; the first one gives the embedding.
    views
        How many of the eight symmetries, 1 to 8.
    """
    network.eval()
    expression, tumour, embedding, mean_features = [], [], [], []
    for first in range(0, len(rows), batch_size):
        pixels = source.batch(rows[first : first + batch_size])
        # float64: the mean of equal numbers must be that number
        totals: list[Any] = [0.0, 0.0, 0.0]
        for number, share in enumerate(shares):
            window = central_window(pixels, share, width)
            for code in range(views):
                features = network.features(apply_symmetry(window, code))
                if number == code == 0:
                    embedding.append(features.float().cpu().numpy())
                if network.primary is not None:
                    totals[0] = totals[0] + network.expression(features).double()
                if network.tumour is not None:
                    totals[1] = totals[1] + torch.sigmoid(network.tumour_logit(features).double())
                if network.auxiliary is not None:
                    totals[2] = totals[2] + features.double()
        n = len(shares) * views
        if network.primary is not None:
            expression.append((totals[0] / n).float().cpu().numpy())
        if network.tumour is not None:
            tumour.append((totals[1] / n).float().cpu().numpy())
        if network.auxiliary is not None:
            mean_features.append((totals[2] / n).float().cpu().numpy())
    return Heads(
        np.concatenate(expression) if expression else None,
        np.concatenate(tumour) if tumour else None,
        np.concatenate(embedding),
        np.concatenate(mean_features) if mean_features else None,
    )

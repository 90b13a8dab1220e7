"""Run a trained network over numbered patches."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from histobench.training.augment import apply_symmetry
from histobench.training.data import PatchSource


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

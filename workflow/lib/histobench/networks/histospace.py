"""Networks of HistoSPACE: three autoencoders, and the predictor on top of an encoder.

Kumar S, Chatterjee S. HistoSPACE: histology-inspired spatial transcriptome prediction and characterization
engine. 2024, sect. 4.
"""

from __future__ import annotations

import itertools

import torch
from torch import nn

WIDTHS = (3, 32, 64, 128)
REDUCTION = 16
"""Pixels per side of the input that become one in front of the predictor's linear layers."""


def _between(variant: int, channels: int) -> list[nn.Module]:
    """Return what stands after a convolution: nothing (1), ReLU (2), batch normalisation and ReLU (3)."""
    if variant == 3:
        return [nn.BatchNorm2d(channels), nn.ReLU()]
    return [nn.ReLU()] if variant == 2 else []


class Encoder(nn.Sequential):
    """Three times convolution and max-pooling: (3, px, px) to (128, px / 8, px / 8).

    Parameters
    ----------
    variant
        1: convolutions only; 2: with ReLU; 3: with batch normalisation and ReLU.
    """

    def __init__(self, variant: int = 3) -> None:
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(WIDTHS):
            convolution = nn.Conv2d(before, after, 3, padding=1)
            layers += [convolution, *_between(variant, after), nn.MaxPool2d(2)]
        super().__init__(*layers)


class Autoencoder(nn.Module):
    """Encoder, and a decoder of transposed convolutions that ends in a sigmoid."""

    def __init__(self, variant: int = 3) -> None:
        super().__init__()
        if variant not in (1, 2, 3):
            raise ValueError("there are three autoencoders: 1, 2 and 3")
        self.encoder = Encoder(variant)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(WIDTHS[::-1]):
            layers.append(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1))
            layers += _between(variant, after) if after != WIDTHS[0] else [nn.Sigmoid()]
        self.decoder = nn.Sequential(*layers)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return reconstructed pixels in [0, 1], shaped as the input."""
        reconstructed: torch.Tensor = self.decoder(self.encoder(pixels))
        return reconstructed


def _further() -> list[nn.Module]:
    """Return a convolution of the predictor that keeps width and size."""
    return [nn.Conv2d(WIDTHS[-1], WIDTHS[-1], 3, padding=1), nn.BatchNorm2d(WIDTHS[-1]), nn.ReLU()]


class Predictor(nn.Module):
    """Frozen encoder, one more convolution or several, and two linear layers without anything between them.

    Parameters
    ----------
    encoder
        Its weights are never trained.
    genes
        Number of outputs.
    input_px
        Width of the input, a multiple of 16.
    hidden
        Width between the two linear layers.
    blocks
        Convolutions on top of the encoder; those after the first keep the size of the picture.
    drift
        Leave the encoder's batch normalisation in training mode while training, so that it uses and updates
        batch statistics although its weights are frozen: what the released code does.
    """

    def __init__(
        self,
        encoder: Encoder,
        genes: int,
        input_px: int = 128,
        *,
        drift: bool = False,
        hidden: int = 256,
        blocks: int = 1,
    ) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        self.drift = drift
        self.block = nn.Sequential(
            nn.Conv2d(WIDTHS[-1], WIDTHS[-1], 3, padding=1),
            nn.BatchNorm2d(WIDTHS[-1]),
            nn.ReLU(),
            nn.MaxPool2d(2),
            *(layer for _ in range(blocks - 1) for layer in _further()),
            nn.Flatten(),
        )
        self.hidden = nn.Linear(WIDTHS[-1] * (input_px // REDUCTION) ** 2, hidden)
        self.head = nn.Linear(hidden, genes)

    def train(self, mode: bool = True) -> Predictor:
        """Set training mode, of the encoder only where it drifts."""
        super().train(mode)
        if not self.drift:
            self.encoder.eval()
        return self

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return expression (batch, genes) and the hidden layer (batch, hidden)."""
        hidden = self.hidden(self.block(self.encoder(pixels)))
        return self.head(hidden), hidden

"""One backbone, several linear heads: expression of the panel, of further genes, and tumour."""

from __future__ import annotations

import torch
from torch import nn

from histobench.networks.backbones import Backbone, PixelNorm, seeded


class MultiHead(nn.Module):
    """Pixels -> features -> heads, each a single linear layer without activation.

    BrST-Net's AuxNet (Rahaman et al. 2023) and HE2Gene's heads (Chen et al. 2024) are such layers side by
    side on one pooled feature, so the loss of one head cannot move the weights of another.

    Parameters
    ----------
    norm
        Pixel normalisation, uint8 to float32.
    backbone
        Network from pixels to features.
    genes
        Outputs of the primary head, the panel; 0 for none.
    auxiliary
        Outputs of the auxiliary head; 0 for none.
    tumour
        Whether there is a tumour head (one logit).
    seed
        Seed of the heads' start, PyTorch's default initialisation.
    """

    target_mean: torch.Tensor
    target_sd: torch.Tensor

    def __init__(
        self,
        norm: PixelNorm,
        backbone: Backbone,
        *,
        genes: int,
        auxiliary: int = 0,
        tumour: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.norm = norm
        self.backbone = backbone.module
        with seeded(seed):
            self.primary = nn.Linear(backbone.dimension, genes) if genes else None
            self.auxiliary = nn.Linear(backbone.dimension, auxiliary) if auxiliary else None
            self.tumour = nn.Linear(backbone.dimension, 1) if tumour else None
        # what the primary head's outputs are multiplied with and added to, for standardised targets
        self.register_buffer("target_mean", torch.zeros(genes))
        self.register_buffer("target_sd", torch.ones(genes))

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return features (batch, dimension) of uint8 patches."""
        features: torch.Tensor = self.backbone(self.norm(pixels))
        return features

    def expression(self, features: torch.Tensor) -> torch.Tensor:
        """Return the panel on the scale of the targets, float32 (batch, genes)."""
        if self.primary is None:
            raise ValueError("this network has no expression head")
        scaled: torch.Tensor = self.primary(features).float() * self.target_sd + self.target_mean
        return scaled

    def tumour_logit(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logit of tumour, float32 (batch,)."""
        if self.tumour is None:
            raise ValueError("this network has no tumour head")
        logit: torch.Tensor = self.tumour(features).float().squeeze(1)
        return logit

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return expression (batch, genes) and features (batch, dimension) of uint8 patches."""
        features = self.features(pixels)
        return self.expression(features), features

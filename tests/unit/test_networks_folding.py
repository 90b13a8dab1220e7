"""Folded networks compute what the unfolded ones do, with fewer layers."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from histobench.networks.backbones import make_backbone, seeded
from histobench.networks.folding import fold_batch_norms

# Normalisations that stay: those of DenseNet that read a concatenation and not a convolution.
LEFT = {"resnet50": 0, "efficientnet_b0": 0, "densenet121": 62, "vit_b_32": 0, "small_cnn": 0}


def norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def with_statistics(network: nn.Module) -> nn.Module:
    """Give every normalisation statistics and weights of its own, as training would."""
    with seeded(1):
        for norm in norms(network):
            norm.running_mean.uniform_(-0.2, 0.2)
            norm.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.2, 0.2)
    return network.eval()


@pytest.mark.parametrize("architecture", LEFT)
def test_outputs_are_the_same_and_no_foldable_layer_is_left(architecture):
    plain = with_statistics(make_backbone(architecture, weights="none", seed=0, input_px=64).module)
    folded = fold_batch_norms(copy.deepcopy(plain))
    with seeded(2):
        pixels = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        wanted, found = plain(pixels), folded(pixels)
    assert wanted.std() > 0
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))
    assert len(norms(folded)) == LEFT[architecture]


def test_a_convolution_with_two_readers_keeps_its_norm():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            raw = self.convolution(pixels)
            return raw + self.norm(raw)

    plain = with_statistics(Twice())
    folded = fold_batch_norms(copy.deepcopy(plain))
    pixels = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(folded(pixels), plain(pixels))
    assert len(norms(folded)) == 1


def test_a_network_in_training_is_refused():
    with pytest.raises(ValueError, match="evaluation mode"):
        fold_batch_norms(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))

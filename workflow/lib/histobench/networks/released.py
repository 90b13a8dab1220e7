"""Image networks as the libraries of BrST-Net's authors build them, from torchvision's.

efficientnet_pytorch 0.7.1 and pytorch_pretrained_vit 0.0.7 have torchvision's layers, but pad, normalise,
drop and start otherwise. No parameter is added or taken away.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

# Width that each size was designed for. The authors' library pads for it, whatever the width of the image.
NATIVE_PX = {
    "efficientnet_b0": 224,
    "efficientnet_b1": 240,
    "efficientnet_b2": 260,
    "efficientnet_b3": 300,
    "efficientnet_b4": 380,
    "efficientnet_b5": 456,
}
DROPOUT = 0.1
IMPLEMENTATIONS = ("released", "torchvision")


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the zeros before and after an axis of ``size``, so that ceil(size / stride) outputs remain.

    An odd zero goes after the axis, as in TensorFlow.
    """
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class PaddedConv2d(nn.Conv2d):
    """Convolution whose zeros before and after each axis differ.

    Parameters
    ----------
    convolution
        Its layers' shape and parameters are taken over, its padding is not.
    margin
        Zeros before and after both axes.
    """

    def __init__(self, convolution: nn.Conv2d, margin: tuple[int, int]) -> None:
        super().__init__(
            convolution.in_channels,
            convolution.out_channels,
            convolution.kernel_size,  # type: ignore[arg-type]
            convolution.stride,  # type: ignore[arg-type]
            groups=convolution.groups,
            bias=convolution.bias is not None,
            device="meta",
        )
        self.weight, self.bias = convolution.weight, convolution.bias
        self.margin = margin

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, channels, height, width) to (batch, filters, height', width')."""
        return super().forward(functional.pad(x, 2 * self.margin))


def pad_as_released(network: nn.Module, native_px: int) -> None:
    """Give every convolution of an EfficientNet, in order, the padding that suits images of ``native_px``.

    Only convolutions of stride two over an axis of even length change: theirs lack one zero in front.
    """
    size = native_px
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if not isinstance(layer, nn.Conv2d) or layer.stride[0] == 1:
                continue
            margin = same_padding(size, layer.kernel_size[0], layer.stride[0])
            size = -(-size // layer.stride[0])
            if margin[0] == margin[1]:
                layer.padding = (margin[0], margin[0])
            else:
                setattr(parent, name, PaddedConv2d(layer, margin))


def _start_as_pytorch(network: nn.Module) -> None:
    """Draw all convolutions and linear layers as PyTorch does by itself."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.reset_parameters()


def _start_linear(weight: torch.Tensor, bias: torch.Tensor) -> None:
    nn.init.xavier_uniform_(weight)
    nn.init.normal_(bias, std=1e-6)


def _start_vit(network: Any) -> None:
    """Draw a vision transformer: Xavier-uniform linear layers; queries, keys and values have one each."""
    network.conv_proj.reset_parameters()
    nn.init.normal_(network.encoder.pos_embedding, std=0.02)
    nn.init.zeros_(network.class_token)
    for block in network.encoder.layers:
        attention = block.self_attention
        for weight, bias in zip(
            attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3), strict=True
        ):
            _start_linear(weight, bias)
        _start_linear(attention.out_proj.weight, attention.out_proj.bias)
        for layer in block.mlp:
            if isinstance(layer, nn.Linear):
                _start_linear(layer.weight, layer.bias)


def _drop_vit(network: Any) -> None:
    """Drop attention weights and what both halves of a block add; not after positions or inside the MLP."""
    network.encoder.dropout.p = 0.0
    for block in network.encoder.layers:
        block.self_attention.dropout = DROPOUT
        block.dropout.p = DROPOUT
        *inside, last = (layer for layer in block.mlp if isinstance(layer, nn.Dropout))
        last.p = DROPOUT
        for layer in inside:
            layer.p = 0.0


def as_released(
    network: nn.Module, architecture: str, *, implementation: str = "released", start: bool = True
) -> nn.Module:
    """Turn a network of torchvision into that of BrST-Net's authors, in place.

    Parameters
    ----------
    network, architecture
        As :func:`histobench.networks.backbones.make_backbone` builds them; other architectures than
        EfficientNets and vision transformers, which the authors took from torchvision too, stay as they are.
    implementation
        "released", or "torchvision" for its padding and start. Batch normalisation and dropout are the
        authors' either way.
    start
        Whether weights are drawn anew, from PyTorch's generator; not for weights that are there already,
        such as those of ImageNet, which belong to torchvision's padding and normalisation too.

    Returns
    -------
    torch.nn.Module
        The same network.
    """
    released = implementation == "released" and start
    if architecture.startswith("efficientnet"):
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d) and start:
                layer.eps, layer.momentum = 1e-3, 0.01
        if released:
            pad_as_released(network, NATIVE_PX[architecture])
            _start_as_pytorch(network)
    elif architecture.startswith("vit"):
        _drop_vit(network)
        if released:
            _start_vit(network)
    return network

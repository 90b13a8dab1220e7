"""Omni-dimensional dynamic convolution: a kernel of its own for every image."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from histobench.networks.norms import BatchNorm2d


class DynamicConv2d(nn.Module):
    """Convolution whose kernel is gated along all four of its dimensions by the image itself.

    Li C, Zhou A, Yao A. Omni-dimensional dynamic convolution. ICLR 2022. Gates over input channels, output
    filters and kernel positions are sigmoids; the candidate kernels are mixed by a softmax at temperature
    one. No padding and no bias.

    Parameters
    ----------
    channels, filters
        Channels in and out.
    kernel, stride
        Width of the square kernels, and step.
    candidates
        Number of kernels to mix.
    reduction, least_hidden
        The gates see ``max(int(channels * reduction), least_hidden)`` hidden numbers.
    """

    def __init__(
        self,
        channels: int,
        filters: int,
        *,
        kernel: int,
        stride: int,
        candidates: int = 4,
        reduction: float = 0.0625,
        least_hidden: int = 16,
    ) -> None:
        super().__init__()
        hidden = max(int(channels * reduction), least_hidden)
        self.kernel, self.stride = kernel, stride
        self.weight = nn.Parameter(torch.empty(candidates, filters, channels, kernel, kernel))
        self.squeeze = nn.Conv2d(channels, hidden, 1, bias=False)
        self.norm = BatchNorm2d(hidden)
        self.channel_gate = nn.Conv2d(hidden, channels, 1)
        self.filter_gate = nn.Conv2d(hidden, filters, 1)
        self.position_gate = nn.Conv2d(hidden, kernel * kernel, 1)
        self.kernel_gate = nn.Conv2d(hidden, candidates, 1)
        for candidate in self.weight:
            nn.init.kaiming_normal_(candidate, mode="fan_out", nonlinearity="relu")
        for layer in (
            self.squeeze,
            self.channel_gate,
            self.filter_gate,
            self.position_gate,
            self.kernel_gate,
        ):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def gates(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the gates of channels, filters, positions and kernels: each (batch, its number)."""
        seen = functional.relu(self.norm(self.squeeze(x.mean(dim=(2, 3), keepdim=True))))
        channels, filters, positions, kernels = (
            gate(seen).flatten(1)
            for gate in (self.channel_gate, self.filter_gate, self.position_gate, self.kernel_gate)
        )
        return channels.sigmoid(), filters.sigmoid(), positions.sigmoid(), kernels.softmax(dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, channels, height, width) to (batch, filters, height', width')."""
        channels, filters, positions, kernels = self.gates(x)
        n, height, width = len(x), *((size - self.kernel) // self.stride + 1 for size in x.shape[2:])
        own = torch.einsum("nk,kfcp,np->nfcp", kernels, self.weight.flatten(3), positions)
        # the input gate may as well weigh the kernel: that is smaller than the image
        own = own * channels[:, None, :, None] * filters[:, :, None, None]
        columns = functional.unfold(x, self.kernel, stride=self.stride)
        # one matrix product per image: grouped convolution with a group per image is slower
        return torch.bmm(own.flatten(2), columns.to(own.dtype)).reshape(n, -1, height, width)

"""Fold batch normalisation into convolutions, for networks that are applied and not trained."""

from __future__ import annotations

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Multiply every batch normalisation that reads one convolution, and nothing else does, into it.

    In evaluation mode a batch normalisation is a fixed scale and shift of each channel, which the weights
    and the bias of the convolution can carry: the outputs are the same up to rounding, with one pass over
    the activations less for each. Normalisations before a convolution (DenseNet's) stay as they are.

    Parameters
    ----------
    network
        In evaluation mode; changed in place.

    Returns
    -------
    torch.nn.Module
        The same network.

    Raises
    ------
    ValueError
        The network is in training mode, where the statistics are those of the batch.
    """
    if network.training:
        raise ValueError("only a network in evaluation mode can be folded; call eval() first.")
    modules = dict(network.named_modules())
    if not any(isinstance(module, nn.BatchNorm2d) for module in modules.values()):
        return network
    # The graph only says what follows what. The network itself is kept: a traced one adds out of place.
    for node in fx.symbolic_trace(network).graph.nodes:
        before = node.args[0] if node.args else None
        if not (isinstance(before, fx.Node) and node.op == before.op == "call_module"):
            continue
        convolution, norm = modules[str(before.target)], modules[str(node.target)]
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and len(before.users) == 1:
            _replace(network, str(before.target), fuse_conv_bn_eval(convolution, norm))
            _replace(network, str(node.target), nn.Identity())
    return network


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, module)

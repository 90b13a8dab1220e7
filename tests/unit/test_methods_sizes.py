"""The size that each YAML file states is that of the network which its settings build."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from unit import described

from histobench.networks.backbones import PixelNorm, make_backbone
from histobench.networks.he2rna import he2rna_head
from histobench.networks.heads import Regressor, mean_head
from histobench.networks.histospace import Encoder, Predictor
from histobench.networks.multihead import MultiHead
from histobench.training.entry import build_method
from histobench.training.network_method import Shape, Start


def total(*modules):
    """All numbers of networks, also frozen ones."""
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def image_network(method, genes, auxiliary):
    tumour = getattr(method, "tumour", genes == 0)
    backbone = make_backbone(method.backbone, input_px=method.input_px)
    return total(MultiHead(PixelNorm(), backbone, genes=genes, auxiliary=auxiliary, tumour=tumour))


def stnet(architecture, outputs):
    backbone = make_backbone(architecture)
    return total(Regressor(PixelNorm(), backbone, mean_head(backbone.dimension, np.zeros(outputs))))


def brstnet(method, genes, auxiliary):
    backbone = make_backbone(method.backbone, input_px=method.input_px)
    return total(MultiHead(PixelNorm(), backbone, genes=genes, auxiliary=auxiliary))


def he2rna(method, genes, _):
    head = he2rna_head(method.head, 2048, np.zeros(genes), method.hidden)
    if method.encoder is None:
        return total(head)
    return total(Regressor(PixelNorm(), make_backbone(method.encoder), head))


def whole_section(method, genes, _):
    return total(method.network(Shape(genes, method.input_px), Start()))


SIZES = {
    "brstnet": brstnet,
    "he2gene": image_network,
    "tumour_network": image_network,
    "he2rna": he2rna,
    "hist2st": whole_section,
    "histogene": whole_section,
    "thitogene": whole_section,
    "histospace": lambda method, genes, _: total(
        Predictor(Encoder(method.variant), genes, hidden=method.hidden, blocks=method.blocks)
    ),
    "linear_probe": lambda method, genes, _: (2048 + 1) * genes,
    "nmf_composition": lambda method, genes, _: (
        stnet(method.network["architecture"], method.factors) + method.factors * genes
    ),
    "stnet_apart": lambda method, genes, _: sum(
        stnet(method.network["architecture"], outputs)
        for outputs in [*[1] * len(method.genes), genes - len(method.genes)]
    ),
    "stnet": lambda method, genes, _: stnet(method.architecture, genes),
}
STATED = [
    (name, arm)
    for name, arm in [
        *((file.stem, None) for file in sorted(described.METHODS.glob("*.yaml"))),
        *described.arms(),
    ]
    if described.method(name, arm).get("parameters")
]


@pytest.mark.parametrize("pair", [pytest.param(pair, id="_".join(filter(None, pair))) for pair in STATED])
def test_the_stated_number_of_parameters_is_that_of_the_network(pair) -> None:
    settings = described.method(*pair)
    stated = settings["parameters"]
    auxiliary = stated.get("auxiliary") or 0
    assert bool(auxiliary) == bool(settings["params"].get("auxiliary"))
    method = build_method(settings["entry"], settings["params"])
    with torch.device("meta"):  # counts need no memory
        assert SIZES[pair[0]](method, stated.get("genes", 0), auxiliary) == stated["count"]


def test_every_deep_method_states_its_size() -> None:
    deep = {
        file.stem
        for file in described.METHODS.glob("*.yaml")
        if described.method(file.stem)["family"] == "deep"
    }
    assert deep <= {name for name, _ in STATED}

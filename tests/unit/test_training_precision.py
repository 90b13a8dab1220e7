"""The numbers that a network computes with are what its file says, from the first step to the last prediction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from histobench.methods.he2gene import HE2Gene
from histobench.methods.histogene import HisToGene
from histobench.methods.stnet import STNet
from histobench.training.conformance import ALL_GENES, GENES, make_study
from histobench.training.contract import Context

TRAIN, TEST = make_study()
CONTEXT = Context(genes=GENES, all_genes=ALL_GENES, seed=3, device="cpu", weights="none")
METHODS = [
    (STNet, {"architecture": "small_cnn", "input_px": 32, "epochs": 1, "inner_folds": 2}),
    (HE2Gene, {"backbone": "small_cnn", "input_px": 32, "epochs": 1}),
    (
        HisToGene,
        {"input_px": 16, "width": 16, "depth": 1, "heads": 2, "head_width": 8, "hidden": 32, "epochs": 1},
    ),
]


@contextmanager
def watched() -> Iterator[set[tuple[str, str, bool]]]:
    """Collect how torch multiplies in convolutions and linear layers, and whether it reduces a forward pass."""
    seen: set[tuple[str, str, bool]] = set()

    def look(module: torch.nn.Module, inputs: object) -> None:
        if next(module.children(), None) is None:
            conv, linear = torch.backends.cudnn.conv, torch.backends.cuda.matmul
            reduced = torch.is_autocast_enabled("cpu")
            seen.add((conv.fp32_precision, linear.fp32_precision, module.training and reduced))

    handle = register_module_forward_pre_hook(look)
    try:
        yield seen
    finally:
        handle.remove()


@pytest.mark.parametrize(("precision", "told"), [("float32", "ieee"), ("tf32", "tf32"), ("bf16", "tf32")])
@pytest.mark.parametrize(("method", "params"), METHODS, ids=lambda value: getattr(value, "__name__", ""))
def test_every_layer_computes_as_declared(method: type, params: dict, precision: str, told: str) -> None:
    tried = method(**params, precision=precision)
    with watched() as training:
        facts = tried.fit(TRAIN, [], CONTEXT).facts
    with watched() as predicting:
        tried.predict(TEST.without_truth())
    assert facts["precision"] == precision
    assert {seen[:2] for seen in training} == {seen[:2] for seen in predicting} == {(told, told)}
    assert any(reduced for *_, reduced in training) == (precision == "bf16")
    assert not any(reduced for *_, reduced in predicting)


@pytest.mark.parametrize(("method", "params"), METHODS, ids=lambda value: getattr(value, "__name__", ""))
def test_tf32_is_float32_on_a_cpu(method: type, params: dict) -> None:
    made = [method(**params, precision=precision) for precision in ("float32", "tf32")]
    for each in made:
        each.fit(TRAIN, [], CONTEXT)
    one, other = (each.predict(TEST.without_truth()).expression for each in made)
    assert (one == other).all()

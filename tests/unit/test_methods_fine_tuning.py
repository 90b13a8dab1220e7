"""Networks that go on from another training: the same genes by name, whatever their order."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from unit import described, simulated_study

from histobench.errors import UserError
from histobench.expression.transforms import DEFINITION, Transform
from histobench.files import write_json
from histobench.training.entry import build_method
from histobench.training.run import _checked_start

SMALL = {
    "stnet": {"architecture": "small_cnn", "input_px": None, "selection": "fixed", "epochs": 1},
    "he2gene": {
        "backbone": "small_cnn",
        "input_px": 32,
        "epochs": 1,
        "test_views": "tta",
        "augmentation": False,
    },
}
# A step so small that what is predicted afterwards is what was started from.
STILL = {"learning_rate": 1e-12}


@pytest.mark.parametrize("name", [pytest.param("stnet", marks=pytest.mark.slow), "he2gene"])
def test_a_network_starts_where_another_training_ended(tmp_path, name):
    train, (test,), context, _ = simulated_study.study()
    settings = described.method(name)
    first = build_method(settings["entry"], {**settings["params"], **SMALL[name], "learning_rate": 1e-3})
    first.fit(list(train[:2]), [], context)
    first.save(tmp_path)
    write_json(
        {
            "genes": list(context.genes),
            "transform": context.transform.name,
            DEFINITION: context.transform.definition,
        },
        tmp_path / "run.json",
    )

    # another panel: the first gene is new and the rest in reverse order
    new = next(gene for gene in context.all_genes if gene not in context.genes)
    order = np.arange(len(context.genes))[::-1][:-1]
    genes = (new, *(context.genes[i] for i in order))
    others = [
        replace(s, targets=np.column_stack([np.zeros(len(s)), s.targets[:, order]]).astype(np.float32))
        for s in train[:2]
    ]
    second = build_method(settings["entry"], {**settings["params"], **SMALL[name], **STILL})
    second.fit(others, [], replace(context, genes=genes, start=tmp_path / "weights.pt"))

    assert second.predict(test.without_truth()).expression.shape == (len(test), len(genes))
    before, after = (dict(method.fitted.named_parameters()) for method in (first, second))
    rows = {"stnet": "head", "he2gene": "primary"}[name]
    for key, value in after.items():
        layer = key.split(".")[0]
        if layer == rows:
            np.testing.assert_allclose(value[1:].detach(), before[key][order.copy()].detach(), atol=1e-6)
        elif layer != "auxiliary":
            np.testing.assert_allclose(value.detach(), before[key].detach(), atol=1e-6)
    alone = build_method(settings["entry"], {**settings["params"], **SMALL[name], **STILL})
    alone.fit(others, [], replace(context, genes=genes))
    weight = f"{rows}.weight"
    own = dict(alone.fitted.named_parameters())[weight]
    assert abs(own[1:].detach() - before[weight][order.copy()].detach()).max() > 1e-3


def test_what_cannot_be_gone_on_from_is_refused(tmp_path):
    (tmp_path / "run.json").write_text(
        json.dumps({"genes": ["A"], "transform": "stnet", DEFINITION: Transform.of("stnet").definition})
    )
    network = build_method("histobench.methods.stnet:STNet", {})
    with pytest.raises(UserError, match="trained on the target stnet, not log1p_cp10k"):
        _checked_start(tmp_path / "weights.pt", network, Transform.of("log1p_cp10k"))
    mean = build_method("histobench.methods.train_mean:TrainMean", {})
    with pytest.raises(UserError, match="TrainMean cannot start from the weights"):
        _checked_start(tmp_path / "weights.pt", mean, Transform.of("stnet"))

"""ST-Net with one network per gene: what each is trained on, and that nothing of the others reaches it."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from histobench.errors import UserError
from histobench.methods.stnet import STNet
from histobench.methods.stnet_apart import STNetApart
from histobench.seeds import seed_for
from histobench.training.conformance import make_study
from histobench.training.contract import Context

GENES = ("A", "B", "C", "D", "E")
CONTEXT = Context(GENES, seed=4, device="cpu", weights="none")
TINY = {
    "architecture": "small_cnn",
    "input_px": 32,
    "epochs": 2,
    "inner_folds": 2,
    "learning_rate": 1e-3,
    "views": 1,
}


def only(section, columns):
    return replace(section, targets=section.targets[:, columns])


def test_every_named_gene_has_the_network_that_st_net_trains_on_it_alone():
    train, test = make_study()
    method = STNetApart(["D", "B"], TINY)
    told = method.fit(train, [], CONTEXT)
    predicted = method.predict(test)
    assert predicted.expression.shape == (len(test), 5) and predicted.embedding is None
    for group, columns in ((("D",), [3]), (("B",), [1]), (("A", "C", "E"), [0, 2, 4])):
        alone = STNet(**TINY)
        own = replace(CONTEXT, genes=group, seed=seed_for(CONTEXT.seed, "apart", *group))
        alone.fit([only(section, columns) for section in train], [], own)
        np.testing.assert_array_equal(predicted.expression[:, columns], alone.predict(test).expression)
    assert told.facts["genes_apart"] == "B, D" and told.facts["genes_absent"] == ""
    stages = {row["stage"] for row in told.history}
    assert {"inner0 B", "inner1 B", "final B", "final D", "final others"} <= stages and len(stages) == 9
    sizes = [sum(p.numel() for p in network.fitted.parameters()) for network in method.learnt.values()]
    assert told.facts["parameters"] == sum(sizes) and len(sizes) == 3


def test_what_other_genes_look_like_changes_nothing_for_a_gene_that_stands_alone():
    train, test = make_study()
    method = STNetApart(["B"], TINY)
    method.fit(train, [], CONTEXT)
    before = method.predict(test).expression
    rng = np.random.default_rng(0)
    for section in train:
        section.targets[:, [0, 2, 3, 4]] += rng.normal(size=(len(section), 4)).astype(np.float32)
    method.fit(train, [], CONTEXT)
    after = method.predict(test).expression
    np.testing.assert_array_equal(before[:, 1], after[:, 1])
    assert (before[:, [0, 2, 3, 4]] != after[:, [0, 2, 3, 4]]).any(axis=0).all()


def test_without_names_every_gene_stands_alone_and_is_stored(tmp_path):
    train, test = make_study()
    method = STNetApart(None, {**TINY, "epochs": 1, "inner_folds": 0})
    method.fit(train, [], CONTEXT)
    assert list(method.learnt) == [(gene,) for gene in GENES]
    method.save(tmp_path)
    again = STNetApart(None, {**TINY, "epochs": 1, "inner_folds": 0})
    again.load(tmp_path)
    np.testing.assert_array_equal(again.predict(test).expression, method.predict(test).expression)


def test_genes_that_the_panel_lacks_are_recorded_and_none_at_all_is_refused(caplog):
    train, test = make_study()
    method = STNetApart(["B", "X"], {**TINY, "epochs": 1, "inner_folds": 0})
    with caplog.at_level(logging.WARNING):
        told = method.fit(train, [], CONTEXT)
    assert told.facts["genes_absent"] == "X" and "without a network: X" in caplog.text
    assert np.isfinite(method.predict(test).expression).all()
    with pytest.raises(UserError, match="none of X, Y is in the panel"):
        STNetApart(["X", "Y"], TINY).fit(train, [], CONTEXT)


def test_a_stopped_training_goes_on_where_it_was(tmp_path, monkeypatch):
    """The second network is stopped in its last epoch: afterwards neither it nor the first begins anew."""
    train, test = make_study()
    through = STNetApart(["B", "D"], {**TINY, "checkpoint_seconds": 0.0})
    through.fit(train, [], CONTEXT)
    steps = []
    counted = STNet.batch_loss

    def stopping(self, network, training, batch, rng):
        steps.append(training.context.genes)
        if stopping.after is not None and len(steps) > stopping.after:
            raise KeyboardInterrupt
        return counted(self, network, training, batch, rng)

    monkeypatch.setattr(STNet, "batch_loss", stopping)
    method = STNetApart(["B", "D"], {**TINY, "checkpoint_seconds": 0.0})
    context = replace(CONTEXT, checkpoints=tmp_path)
    stopping.after = None
    method.fit(train, [], replace(CONTEXT, checkpoints=None))
    each = steps.count(("B",))
    stopping.after = each + steps.count(("D",)) - 1
    steps.clear()
    with pytest.raises(KeyboardInterrupt):
        method.fit(train, [], context)
    stopping.after = None
    steps.clear()
    method.fit(train, [], context)
    assert ("B",) not in steps and steps.count(("D",)) == 1 and steps.count(("A", "C", "E")) > 1
    np.testing.assert_array_equal(method.predict(test).expression, through.predict(test).expression)

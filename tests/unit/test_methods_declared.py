"""Methods are declarations: frozen fields, nothing stored twice, one trainer and one identity."""

from __future__ import annotations

import ast
import dataclasses
from dataclasses import replace

import pytest
from unit import described

from histobench.methods.stnet import STNet
from histobench.training.conformance import GENES, make_study
from histobench.training.contract import Context
from histobench.training.entry import build_method, method_class
from histobench.training.study import everything, identity

NAMES = sorted(file.stem for file in described.METHODS.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_a_method_is_a_frozen_dataclass_of_its_parameters(name) -> None:
    cls = method_class(described.method(name)["entry"])
    assert dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen
    method = build_method(*described.tiny(name))
    for field in dataclasses.fields(cls):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(method, field.name, None)
    assert method == build_method(*described.tiny(name))


def test_no_constructor_stores_what_it_is_given(project) -> None:
    found = []
    for file in sorted((project / "workflow/lib/histobench/methods").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
                target = ast.unparse(node.targets[0])
                if target == f"self.{node.value.id}":
                    # a network may keep one number; a run of them is a constructor written by hand
                    found.append(f"{file.name}:{node.lineno}: {target}")
    names = [place.split(":")[0] for place in found]
    assert not {name for name in names if names.count(name) > 1}, found


def test_the_identity_of_a_training_follows_from_its_fields() -> None:
    train, _ = make_study()
    context = Context(genes=GENES, seed=7, device="cpu", weights="none")
    study, method = everything(train, []), STNet(architecture="small_cnn", input_px=32)
    first = identity(method, study, context)
    assert first == identity(replace(method), everything(train[::-1], []), context)
    for field in dataclasses.fields(method):
        value = getattr(method, field.name)
        other = "other" if isinstance(value, str) else not value if isinstance(value, bool) else value + 1
        assert identity(replace(method, **{field.name: other}), study, context) != first, field.name
    assert identity(method, study, replace(context, seed=8)) != first
    assert identity(method, everything(train[:3], train[3:]), context) != first

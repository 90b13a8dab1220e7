"""Arms that a method's YAML file lists are parameters that its class knows."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from histobench.methods.entry import build_method

METHODS = Path(__file__).parents[2] / "config" / "methods"


def arms():
    for file in sorted(METHODS.glob("*.yaml")):
        described = yaml.safe_load(file.read_text())
        for name, arm in described.get("published", {}).get("arms", {}).items():
            params = arm[0] if isinstance(arm, list) else arm  # with parameter counts behind
            yield pytest.param(described, params, id=f"{file.stem}-{name}")


@pytest.mark.parametrize(("described", "params"), list(arms()))
def test_an_arm_changes_known_parameters_only(described, params) -> None:
    assert set(params) <= set(described["params"])
    method = build_method(described["entry"], {**described["params"], **params})
    for name, value in params.items():
        assert getattr(method, name) == value


def test_brstnet_has_twenty_arms_and_he2gene_six() -> None:
    listed = [param.values[0]["title"] for param in arms()]
    assert 2 * listed.count("BrST-Net") == 20  # each with and without AuxNet
    assert listed.count("HE2Gene") == 6

"""Arms that a method's YAML file lists are parameters that its class knows, under names that mean one thing."""

from __future__ import annotations

import pytest
from unit import described

from histobench.training.entry import build_method

ARMS = described.arms()
IDS = [f"{name}_{arm}" for name, arm in ARMS]


@pytest.mark.parametrize(("name", "arm"), ARMS, ids=IDS)
def test_an_arm_changes_known_parameters_only(name, arm) -> None:
    params = described.method(name)["arms"][arm].get("params", {})
    settings = described.method(name, arm)
    assert set(params) <= set(described.method(name)["params"])
    method = build_method(settings["entry"], settings["params"])
    for key, value in params.items():
        assert getattr(method, key) == value
    build_method(*described.tiny(name, arm))


def test_a_name_means_one_method_or_one_arm() -> None:
    files = {file.stem for file in described.METHODS.glob("*.yaml")}
    assert len(set(IDS)) == len(IDS)
    assert not files & set(IDS)
    titles = [described.method(name, arm)["title"] for name, arm in ARMS]
    assert len(set(titles)) == len(titles)


@pytest.mark.slow
def test_the_arms_of_the_papers_are_all_there() -> None:
    backbones = {described.method(*pair)["params"]["backbone"] for pair in described.arms("brstnet")}
    assert len(backbones) == 10
    for name in backbones:
        found = {
            described.method(*pair)["params"]["auxiliary"]
            for pair in described.arms("brstnet")
            if described.method(*pair)["params"]["backbone"] == name
        }
        assert found == {True, False}
    assert {"prim", "aux", "tmr", "spat_only", "base", "spat"} <= set(described.method("he2gene")["arms"])
    assert {"ae1", "ae2", "photos_ae1", "photos_ae2", "huber", "as_released"} <= set(
        described.method("histospace")["arms"]
    )


@pytest.mark.parametrize("name", sorted({name for name, _ in ARMS}))
def test_an_arm_differs_from_its_method_so_that_one_method_has_one_name(name) -> None:
    keys = ("params", "needs", "window")
    plain = {key: described.method(name).get(key) for key in keys}
    same = [
        arm
        for each, arm in described.arms(name)
        if {k: described.method(each, arm).get(k) for k in keys} == plain
    ]
    # two papers give every variant a name: the defaults are one of them, and experiments of these papers call it so
    assert same == {"he2gene": ["base"], "brstnet": ["b0_aux"]}.get(name, [])


def test_one_method_has_one_name_on_axes_which_fits_there_and_tells_it_from_every_other() -> None:
    titles = described.titles()
    assert len(titles) > 90 and len(set(titles.values())) == len(titles)
    assert {name: title for name, title in titles.items() if len(title) > 26} == {}

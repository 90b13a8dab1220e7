"""Methods by name: what ``histobench.methods()`` lists, ``histobench.create`` builds as declared."""

from __future__ import annotations

import subprocess
import sys

import pytest
from unit import described

import histobench
from histobench.errors import UserError
from histobench.training.contract import Method


def test_methods_are_the_files_and_arms_those_that_they_declare() -> None:
    files = sorted(file.stem for file in described.METHODS.glob("*.yaml"))
    assert histobench.methods() == files
    arms = [f"{method}_{arm}" for method, arm in described.arms()]
    assert histobench.methods(arms=True) == sorted([*files, *arms])
    assert histobench.methods("nothing*") == []
    probes = histobench.methods("*_probe")
    assert "linear_probe" in probes and all(name.endswith("_probe") for name in probes)


def test_families_part_the_methods() -> None:
    parts = {
        family: histobench.methods(family=family) for family in ("control", "oracle", "classical", "deep")
    }
    assert sorted(name for names in parts.values() for name in names) == histobench.methods()
    assert "stnet" in parts["deep"] and "train_mean" in parts["control"]


@pytest.mark.parametrize("name", ["stnet", "knn", "train_mean", "he2rna"])
def test_a_method_is_built_as_its_file_declares(name) -> None:
    method = histobench.create(name)
    assert isinstance(method, Method)
    for key, value in described.method(name)["params"].items():
        given = getattr(method, key)
        assert (list(given) if isinstance(given, tuple) else given) == value, key


def test_arms_and_single_parameters_are_laid_over_it() -> None:
    plain, arm = histobench.create("stnet"), histobench.create("stnet", arm="resnet50")
    assert (plain.architecture, arm.architecture) == ("densenet121", "resnet50")
    assert histobench.create("stnet_resnet50") == arm
    changed = histobench.create("stnet", arm="resnet50", epochs=3)
    assert (changed.epochs, changed.architecture) == (3, "resnet50")
    assert changed != arm and plain.epochs == 50


def test_a_configuration_of_ones_own_counts(tmp_path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "run: [demo]\nmethods:\n  stnet: {params: {epochs: 7}}\n"
        "  mine: {title: M, entry: 'histobench.methods.knn:KNN', family: classical, params: {k: 3}}\n"
    )
    assert histobench.create("stnet", configfile=file).epochs == 7
    assert histobench.create("mine", configfile=file).k == 3
    assert "mine" in histobench.methods(configfile=file) and "mine" not in histobench.methods()


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda: histobench.create("stnt"), "names the method `stnt`, which does not exist; did you mean `stnet`?"),
        (lambda: histobench.create("stnet", arm="resnet5O"), "`stnet` has no arm 'resnet5O'; did you mean `resnet50`?"),
        (lambda: histobench.create("train_mean", arm="x"), "`train_mean` has no arm 'x'; known are: none."),
        (lambda: histobench.create("stnet_resnet50", arm="x"), "is an arm already; leave `arm` out."),
        (lambda: histobench.create("stnet", epoch=3), "`params.epoch` of stnet is not a parameter of STNet; did you"),
        (lambda: histobench.create("stnet", epochs=0), "`params.epochs` of stnet must be at least 1, found 0."),
        (lambda: histobench.create("stnet", selection="best"), "`params.selection` of stnet must be one of"),
        (lambda: histobench.methods(family="deeep"), "no family 'deeep'; did you mean `deep`?"),
        (lambda: histobench.create("stnet", configfile="no.yaml"), "no.yaml: there is no such configuration file"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_with_the_nearest_name(ask, says) -> None:
    with pytest.raises(UserError) as told:
        ask()
    assert says in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize("first", ["", "import histobench.methods.knn; ", "from histobench import methods; "])
def test_the_room_of_methods_stays_one_and_listing_loads_no_network(first) -> None:
    code = (
        f"import sys; {first}import histobench; assert 'stnet' in histobench.methods(); "
        "from histobench.methods.knn import KNN; assert histobench.methods.knn.KNN is KNN; "
        "assert not {'torch', 'anndata', 'matplotlib'} & set(sys.modules), 'loaded too much'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

"""``histobench check-method`` tells each mistake once, in a sentence that says what to do."""

from __future__ import annotations

import re
import sys

import pytest

from histobench.cli.command import main
from histobench.cli.methodcheck import method_problems
from histobench.errors import UserError

HEAD = """
from __future__ import annotations
import numpy as np
from histobench.bounds import Count
from histobench.training.contract import Prediction, TrainingLog
from histobench.training.store import column_means, in_order, load_arrays, save_arrays, training_targets

class Mean:
    def __init__(self, epochs: Count = 3) -> None:
        self.epochs = epochs
    def fit(self, train, valid, context):
        self._mean = column_means(training_targets(in_order(train)))
        return TrainingLog(facts={"parameters": len(self._mean)})
    def predict(self, section):
        return Prediction(np.tile(self._mean, (len(section), 1)).astype(np.float32))
    def save(self, folder):
        save_arrays(folder, mean=self._mean)
    def load(self, folder):
        self._mean = load_arrays(folder)["mean"]
"""
BARE = "class Broken(Mean):\n    def predict(self, section):\n        return super().predict(section).expression\n"
NAN = "class Broken(Mean):\n    def predict(self, section):\n        return Prediction(np.full((len(section), 5), np.nan))\n"
TRUTH = (
    "class Broken(Mean):\n    def predict(self, section):\n        return Prediction(section.targets * 1.0)\n"
)
MISSING = (
    "class Broken(Mean):\n    def fit(self, train, valid, context):\n        import nothing_of_that_name\n"
)
LAZY = (
    "class Broken(Mean):\n    def fit(self, train, valid, context):\n        told = super().fit(train, valid, context)\n"
    "        self._mean = self._mean[::-1].copy()\n        return told\n"
)

HASHED = (
    "class Broken(Mean):\n    def fit(self, train, valid, context):\n        told = super().fit(train, valid, context)\n"
    "        self._mean = self._mean + hash('a name') % 1000\n        return told\n"
)


@pytest.fixture
def check(project, tmp_path, monkeypatch):
    """Check a method of a module outside of the checkout; returns the problems."""
    monkeypatch.syspath_prepend(str(tmp_path))
    number = [0]

    def run(code, cls="Broken", **more):
        number[0] += 1
        module = f"checked_{abs(hash(str(tmp_path)))}_{number[0]}"
        (tmp_path / f"{module}.py").write_text(HEAD + code)
        settings = {"title": "T", "entry": f"{module}:{cls}", "family": "classical", **more}
        file = tmp_path / "mine.yaml"
        file.write_text(f"run: [demo]\nmethods: {{mine: {settings}}}\n".replace("None", "null"))
        try:
            return method_problems("mine", project, file)
        finally:
            sys.modules.pop(module, None)

    return run


def test_a_method_that_keeps_the_contract_has_no_problems(check):
    assert check("", "Mean") == []


def test_what_depends_on_the_order_of_a_set_shows_in_another_process(check):
    (problem,) = check(HASHED)
    assert problem.startswith("Another process with the same seed gives other numbers")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (BARE, "predict returned a ndarray, expected a Prediction .*; return Prediction"),
        (NAN, "not finite"),
        (TRUTH, "declare needs.oracle"),
        (MISSING, "nothing_of_that_name"),
        (LAZY, "columns are not in panel order, or the method learns too little"),
    ],
    ids=["a bare array", "not a number", "the truth", "a missing package", "columns or too little"],
)
def test_one_mistake_is_told_once(check, code, says):
    found = check(code)
    assert len(found) == 1, found
    assert re.search(says, found[0]), found
    assert "\n" not in found[0]


def test_parameters_are_told_before_anything_is_built(check):
    with pytest.raises(
        UserError,
        match=r"mine\.yaml: `methods\.mine\.params\.epoch` is not a parameter of Mean; did you mean",
    ):
        check("", "Mean", params={"epoch": 3})
    with pytest.raises(
        UserError, match=r"`methods\.mine\.params\.epochs` must be a whole number, found '1e1'"
    ):
        check("", "Mean", params={"epochs": "1e1"})
    assert check("", "Mean", conformance={"epochs": 0}) == [
        "`conformance` of mine: `epochs` must be at least 1, found 0."
    ]
    with pytest.raises(UserError, match="names the encoder `uni3`"):
        check("", "Mean", needs={"features": "uni3"})
    with pytest.raises(UserError, match=r"methods\.mine needs features that cannot be had: .*uni"):
        check("", "Mean", needs={"features": "uni"})  # known, but its weights are not here


def test_a_module_that_cannot_be_read_or_imported_is_one_sentence(check):
    with pytest.raises(UserError, match=r"checked_\w+\.py: line \d+: is no Python"):
        check("class Broken(Mean:\n    pass\n")
    assert [
        text
        for text in check("raise RuntimeError('no licence\\nfound')\nclass Broken(Mean): pass\n")
        if "no licence found" in text
    ]


def test_an_unknown_method_is_told_the_nearest_names(capsys):
    assert main(["check-method", "thitogen"]) == 1
    assert "did you mean `thitogene`?" in capsys.readouterr().err
    main(["check-method", "qqqq"])
    said = capsys.readouterr().err
    assert len(said) < 300 and "the nearest of" in said

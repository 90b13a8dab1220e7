"""Parameters of methods are judged when the run is planned, by the annotations of the constructor, without loading it."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest

import histobench
from histobench.config.benchmark import Benchmark
from histobench.config.files import read_configuration
from histobench.errors import UserError
from histobench.networks import backbones
from histobench.networks.architectures import TORCHVISION, known_encoders
from histobench.training.parameters import constructor, parameter_troubles
from histobench.yamlfiles import read_yaml


def plan(project, tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text("run: [demo]\n" + text)
    files = [project / "config/config.yaml", path]
    return Benchmark(read_configuration(files, project), project, files)


def of_demo(method, params):
    return f"experiments: {{demo: {{methods: {{{method}: {{params: {{{params}}}}}}}}}}}\n"


WRONG = {
    "a number that YAML reads as text": (
        of_demo("stnet", "learning_rate: 1e-3"),
        r"mine\.yaml: `experiments\.demo\.methods\.stnet\.params\.learning_rate` must be a number, found '1e-3' \(YAML reads",
    ),
    "no epoch": (of_demo("stnet", "epochs: 0"), r"params\.epochs` must be at least 1, found 0"),
    "half an epoch": (of_demo("stnet", "epochs: 2.5"), r"params\.epochs` must be a whole number, found 2\.5"),
    "no batch": (of_demo("stnet", "batch_size: 0"), r"params\.batch_size` must be at least 1"),
    "no pixel": (of_demo("stnet", "input_px: 0"), r"params\.input_px` must be at least 1"),
    "no tree": (of_demo("random_forest", "trees: 0"), r"params\.trees` must be at least 1"),
    "a negative rate": (of_demo("stnet", "learning_rate: -0.1"), r"must be above 0, found -0\.1"),
    "an infinite rate": (of_demo("stnet", "learning_rate: .inf"), "must be a finite number, found inf"),
    "true for a number": (of_demo("stnet", "epochs: true"), "must be a whole number, found True"),
    "1 for true": (of_demo("stnet", "augmentation: 1"), "must be `true` or `false`, found 1"),
    "yes for true": (of_demo("stnet", "augmentation: yes"), "must be `true` or `false`, found 'yes'"),
    "nothing": (of_demo("knn", "k: null"), "must be a whole number, found None"),
    "text for a list": (of_demo("ridge_probe", "alphas: many"), "must be a list, found 'many'"),
    "a number for a list": (of_demo("ridge_probe", "alphas: 1.0"), r"must be a list, found 1\.0"),
    "text in a list": (of_demo("ridge_probe", "alphas: [1.0, 1e3]"), r"`\S*params\.alphas\.1` must be a number, found '1e3'"),
    "an empty list": (of_demo("ridge_probe", "alphas: []"), r"must be a list of at least 1, found \[\]"),
    "two colours": (
        "methods: {tumour_network: {params: {pixel_mean: [0.5, 0.5]}}}\n" + of_demo("tumour_network", ""),
        r"mine\.yaml: `methods\.tumour_network\.params\.pixel_mean` must be a list of at least 3",
    ),
    "an unknown choice": (
        of_demo("stnet", "selection: inner_fold"), r"must be one of inner_folds, valid, fixed; did you mean `inner_folds`\?, found"
    ),
    "an unknown name": (
        of_demo("stnet", "learning_rat: 1.0"), r"params\.learning_rat` is not a parameter of STNet; did you mean `learning_rate`\?"
    ),
    "a name for a method that has none": (of_demo("train_mean", "k: 1"), r"is not a parameter of TrainMean; this method has none"),
    "an unknown backbone": (of_demo("stnet", "architecture: resnet5"), r"did you mean `resnet50`\?, found 'resnet5'"),
    "an unknown backbone by another name": (
        "methods: {he2gene: {params: {backbone: uni}}}\n" + of_demo("he2gene", ""), "must be one of .*found 'uni'"
    ),
    "an unknown encoder": (
        "methods: {knn: {needs: {features: zzz}}}\n", r"`methods\.knn\.needs\.features` names the encoder `zzz`, which does not exist; the nearest of"
    ),
    "an encoder whose weights are not here": (
        "methods: {knn: {needs: {features: uni}}}\n", r"`methods\.knn` needs features that cannot be had: .*uni"
    ),
    "a misspelt encoder": ("methods: {knn: {needs: {features: resnet5}}}\n", r"did you mean `resnet50`\?"),
    "an arm of the file, changed": (
        "methods: {stnet: {arms: {wide: {title: W, params: {epochs: 0}}}}}\n", r"mine\.yaml: `methods\.stnet\.arms\.wide\.params\.epochs` must be"
    ),
    "an arm that asks for an unknown encoder": (
        "methods: {knn: {arms: {uni: {title: U, needs: {features: uni2}}}}}\n", r"`methods\.knn\.arms\.uni\.needs\.features` names"
    ),
    "an arm in an experiment": (of_demo("thitogene_as_released", "epochs: 0"), r"methods\.thitogene_as_released\.params\.epochs` must be at least 1"),
    "a method of another name": (
        "experiments: {demo: {methods: {mine: {method: stnet, params: {views: 9}}}}}\n",
        r"`experiments\.demo\.methods\.mine\.params\.views` must be at most 8, found 9",
    ),
    "inside of a wrapped method": (
        of_demo("shuffled_image", "params: {alphas: [0.0]}"), r"params\.params\.alphas\.0` must be above 0, found 0\.0"
    ),
    "an unknown name of a wrapped method": (of_demo("shuffled_image", "params: {alpha: [1.0]}"), r"params\.params\.alpha` is not a parameter"),
    "the network of a composition": (
        "methods: {nmf_composition: {params: {network: {epochs: 0}}}}\n" + of_demo("nmf_composition", ""),
        r"params\.network\.epochs` must be at least 1",
    ),
    "a class that is not there": (
        "methods: {knn: {entry: 'histobench.methods.knn:KN'}}\n", r"module histobench\.methods\.knn has no class KN; did you mean `KNN`\?"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_parameter_is_one_sentence_when_the_run_is_planned(project, tmp_path, case):
    text, says = WRONG[case]
    with pytest.raises(UserError, match=says) as refused:
        plan(project, tmp_path, text)
    assert "\n" not in str(refused.value)


def test_right_parameters_are_taken_as_they_are(project, tmp_path):
    text = of_demo(
        "stnet", "epochs: 3, learning_rate: 1, input_px: null, selection: fixed, architecture: resnet18"
    )
    assert (
        plan(project, tmp_path, text).experiments["demo"]["methods"]["stnet"]["params"]["learning_rate"] == 1
    )


def test_every_parameter_of_every_method_is_annotated_and_its_own_values_fit(project):
    bench = Benchmark({"run": ["demo"]}, project)
    for file in sorted((project / "config/methods").glob("*.yaml")):
        for name in [file.stem, *(f"{file.stem}_{arm}" for arm in read_yaml(file).get("arms", {}))]:
            method = bench.method(name, "test")
            made_of = constructor(method["entry"])
            assert not made_of.open, name
            assert all(annotation is not None for annotation, _ in made_of.names.values()), name
            bare = [key for key, (kind, _) in made_of.names.items() if kind in (int, float)]
            assert not bare, f"{name}: say the bounds of {bare} (histobench.bounds)"
            assert not parameter_troubles(method["entry"], {**method["params"], **method["conformance"]}), (
                name
            )


def test_the_source_says_what_the_class_says(project):
    """The names read from the source are those that the built class takes, with the same defaults needed."""
    import inspect

    from histobench.training.entry import method_class

    for file in (project / "config/methods").glob("*.yaml"):
        entry = read_yaml(file)["entry"]
        real = inspect.signature(method_class(entry)).parameters
        read = constructor(entry).names
        assert list(read) == list(real), entry
        assert {k for k, (_, needed) in read.items() if needed} == {
            k for k, p in real.items() if p.default is inspect.Parameter.empty
        }


def test_planning_loads_neither_torch_nor_a_method(project):
    code = (
        "import sys; from pathlib import Path; from histobench.config.benchmark import Benchmark;"
        f"b = Benchmark({{'run': ['demo', 'her2st_lopo']}}, Path({str(project)!r}));"
        "bad = {'torch', 'sklearn', 'histobench.methods.stnet', 'anndata'} & set(sys.modules); assert not bad, bad"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=project)
    assert done.returncode == 0, done.stderr


def test_the_names_of_encoders_are_those_of_the_networks():
    assert tuple(backbones._STRIP) == tuple(TORCHVISION) and known_encoders() == (
        *backbones._STRIP,
        "small_cnn",
    )


OWN = """
from __future__ import annotations
import typing as t
from dataclasses import dataclass, field
from typing import Annotated, Literal, Optional, ClassVar
from annotated_types import Ge
from histobench.bounds import Count, Positive, one_of
import somewhere_else
from .base import Base, LOSSES

STEPS = Annotated[int, Ge(2)]

class Plain:
    def __init__(self, epochs: int = 5, rate: float = 0.1, kind: Literal["a", "b"] = "a", deep: Optional[bool] = None,
                 widths: tuple[int, ...] = (), steps: STEPS = 2, pair: "tuple[int, float]" = (1, 2.0), free=3,
                 other: somewhere_else.Thing = None, loss: Annotated[str, one_of(LOSSES)] = "l1",
                 any: t.Any = None, table: dict[str, int] = {}) -> None: ...

class Child(Plain):
    pass

@dataclass(frozen=True)
class Data(Base):
    epochs: Count = 5
    rate: Positive = field(default=0.1)
    must: str
    fixed: ClassVar[int] = 3
    made: int = field(init=False, default=1)

class Open:
    def __init__(self, epochs: int = 5, **rest) -> None: ...

class Foreign(somewhere_else.Thing):
    pass

class Nothing:
    pass

Alias = Plain
made = somewhere_else.make()
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    package = folder / "lab_of_parameters"
    package.mkdir()
    (package / "__init__.py").write_text("from .methods import Plain as Reexported\n")
    (package / "methods.py").write_text(OWN)
    (package / "base.py").write_text(textwrap.dedent("""
        from dataclasses import dataclass
        LOSSES = {"l1": abs, "l2": lambda x: x * x}
        @dataclass
        class Base:
            seed: int = 0
    """))  # fmt: skip
    (package / "broken.py").write_text("class X:\n    def __init__(self:\n")
    sys.path.insert(0, str(folder))
    yield "lab_of_parameters.methods"
    sys.path.remove(str(folder))


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"epochs": "5"}, "must be a whole number, found '5'"),
        ({"epochs": 5.0}, "must be a whole number, found 5.0"),
        ({"epochs": True}, "must be a whole number"),
        ({"rate": 1}, ""),
        ({"rate": "1e-3"}, "write 1.0e-3"),
        ({"kind": "c"}, "must be 'a' or 'b', found 'c'"),
        ({"deep": None}, ""),
        ({"deep": "yes"}, "must be `true` or `false`"),
        ({"widths": [1, 2]}, ""),
        ({"widths": [1, "b"]}, "widths.1 must be a whole number, found 'b'"),
        ({"widths": 3}, "must be a list, found 3"),
        ({"steps": 1}, "must be at least 2"),
        ({"pair": [1, 2.5]}, ""),
        ({"pair": [1.5, 2.5]}, "pair.0 must be a whole number"),
        ({"free": "anything", "other": [1], "any": {"a": 1}}, ""),
        ({"loss": "l3"}, "must be one of l1, l2"),
        ({"table": {"a": 1}}, ""),
        ({"table": {"a": "b"}}, "table.a must be a whole number"),
        ({"table": [1]}, "must be keys with values"),
        ({"epoch": 1}, "did you mean `epochs`?"),
    ],
)
@pytest.mark.parametrize("name", ["Plain", "Child", "Alias"])
def test_methods_of_a_user_are_judged_by_their_own_annotations(own, name, params, says):
    told = [f"{trouble.name} {trouble.text}" for trouble in parameter_troubles(f"{own}:{name}", params)]
    assert len(told) == bool(says) and says in "".join(told), told


def test_dataclasses_open_and_foreign_classes(own):
    assert list(constructor(f"{own}:Data").names) == ["seed", "epochs", "rate", "must"]
    (missing,) = parameter_troubles(f"{own}:Data", {"epochs": 1})
    assert missing.name == "must" and "must be given" in missing.text
    told = [
        each.name
        for each in parameter_troubles(f"{own}:Data", {"must": "a", "made": 1, "fixed": 1, "rate": 0})
    ]
    assert told == ["made", "fixed", "rate"]
    assert not parameter_troubles(f"{own}:Open", {"epochs": 1, "more": 2}) and parameter_troubles(
        f"{own}:Open", {"epochs": ""}
    )
    for name in ("Foreign", "made"):
        assert not parameter_troubles(f"{own}:{name}", {"more": 2})
    assert parameter_troubles(f"{own}:Nothing", {"more": 2})
    assert parameter_troubles("lab_of_parameters:Reexported", {"epochs": ""})


def test_a_module_that_is_no_python_is_named_with_its_line(own):
    with pytest.raises(UserError, match=r"broken\.py: line 2: is no Python"):
        parameter_troubles("lab_of_parameters.broken:X", {})
    with pytest.raises(UserError, match="no such module"):
        parameter_troubles("lab_of_parameters.brokn:X", {})


@pytest.mark.parametrize(
    ("name", "value"),
    [("learning_rate", np.float32(-1)), ("epochs", np.int64(-1)), ("learning_rate", np.array(-1.0))],
)
def test_numbers_of_numpy_are_judged_as_others_are(name, value):
    with pytest.raises(UserError, match=f"`params.{name}` of stnet must be"):
        histobench.create("stnet", **{name: value})

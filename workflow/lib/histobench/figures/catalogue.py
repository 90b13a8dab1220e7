"""What each figure is and what it is drawn from, as its function declares.

A figure is a function of this package under :func:`histobench.figures.drawing.declare.figure`; its name is
the figure's. What the decorator says are literals, read without importing the module, so that planning a run
loads no plotting library.
"""

from __future__ import annotations

import ast
import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GROUPS = (
    "cohort", "scores", "encoders", "comparisons", "genes", "maps", "tumour", "latent space", "training",
    "cost", "protocols",
)  # fmt: skip

# Placeholder -> why a figure that needs it is left out of an experiment that has nothing of the kind.
PLACEHOLDERS = {
    "experiment": "there is no experiment",
    "cohort": "there is no cohort",
    "fold": "there is no fold",
    "method": "no method is configured",
    "run": "no method is configured",
    "pair": "it compares methods, and only one is configured",
    "patients": "it needs several patients",
    "leader": "no trained method is configured that could be shown",
    "compared": "no trained method is configured that could be shown",
    "trained": "no trained method predicts expression",
    "labels": "no spot of the cohort is labelled",
    "tumour_labels": "no label of the cohort tells tumour from normal tissue",
    "deep": "no deep network is configured",
    "deep_expression": "no deep network that predicts expression is configured",
    "apart": "no configured method trains a network of its own for a gene",
    "auxiliary": "no configured method predicts genes beside the panel",
    "latent": "no configured method has a latent space",
    "baseline": "no configured method is a baseline that networks are set against",
    "tumour_method": "no configured method predicts tumour",
    "tumour_leader": "the leading method does not predict expression and tumour from a latent space",
    "ablation": "no two configured methods are variants of one class",
    "attributed": "no configured method has a network that can be traced to pixels",
    "autoencoder": "no configured method has an autoencoder",
    "map_method": "no method is configured for maps",
    "map_section": "no section is configured for maps",
    "map_fold": "no fold tests the section of the maps",
    "map_image": "the section of the maps has no image, or no patches are cut",
    "section": "there is no section",
    "stained": "no section with an image takes part",
    "patches": "no patches are cut",
    "compared_encoders": "no encoders are compared",
    "gene_sets": "no sets of genes are shipped",
    "factors": "no configured method factorises expression",
    "nuclei": "no nuclei are described: that takes a paper's protocol with a method that finds them",
    "truth": "the cohort is not simulated: nothing is known to be planted",
    "paper": "the experiment repeats no paper's protocol",
    "external": "no external cohort with spots is configured",
    "slide_cohort": "no external cohort of slides is configured",
    "slide_method": "no configured method predicts tiles of slides",
    "slide": "no slide is configured",
    "slide_image": "no slide is configured",
    "section_wise": "no experiment of this run repeats it with section-wise folds",
    "other_transform": "no experiment of this run repeats it with another target transform",
    "other_stain": "no experiment of this run repeats it with another stain treatment",
    "other_window": "no experiment of this run repeats it with another patch size or scale",
    "other_start": "no experiment of this run repeats it with networks that start from another one's models",
    "other_weights": "no experiment of this run repeats it with other initial weights",
}
# Where the tables of an experiment lie.
TABLE = "{{experiment}}/tables/{name}.tsv"
# Inputs that many figures have; each says of which methods or sections, by a placeholder.
FILES = {
    "metrics": "{experiment}/metrics/{of}",
    "nuclei": "{experiment}/nuclei/{of}.parquet",
    "patches": "data/{cohort}/patches/{patches}/{of}.npy",
    "predictions": "{experiment}/predictions/{of}/{fold}",
    "spots": "{experiment}/spots/{of}",
}
_BRACES = re.compile(r"\{(\w+)\}")
_HERE = Path(__file__).parent
Values = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True)
class FigureEntry:
    """A figure as declared: what the decorator is given, see there, and the module that holds it."""

    name: str
    module: str
    title: str
    group: str
    inputs: Mapping[str, str]
    optional: Mapping[str, str] = field(default_factory=dict)
    when: Sequence[str] = ()
    settings: Sequence[str] = ()

    @property
    def placeholders(self) -> tuple[str, ...]:
        """Everything that an experiment must have for this figure, each once."""
        return tuple(dict.fromkeys([*self.when, *_names(self.inputs.values())]))

    @property
    def reads_weights(self) -> bool:
        """Whether it is drawn from a trained model itself."""
        return any("/models/" in path and path.endswith("/weights.pt") for path in self.inputs.values())

    def left_out(self, values: Values) -> str:
        """Return why an experiment cannot have this figure, or nothing."""
        return next((PLACEHOLDERS[name] for name in self.placeholders if not values.get(name)), "")

    def files(self, values: Values, root: str) -> dict[str, str | list[str]]:
        """Return the input files; a list wherever a placeholder stands for a list.

        Parameters
        ----------
        values
            What the experiment has for each placeholder.
        root
            The folder of results. A placeholder alone stands for files wherever they lie.
        """
        had = {
            name: path for name, path in self.optional.items() if all(values.get(n) for n in _names([path]))
        }
        return {
            name: _expand(path if _BRACES.fullmatch(path) else f"{root}/{path}", values)
            for name, path in {**self.inputs, **had}.items()
        }

    def methods(self, values: Values, known: Iterable[str]) -> list[str]:
        """Return the methods that the figure can show: those it needs, all where it reads a table.

        What a caption is told of other methods would draw the figure again when they change.
        """
        paths = [*self.inputs.values(), *self.optional.values()]
        names = [*self.when, *_names(paths)]
        if {"method", "run"} & {*names} or any("/tables/" in path for path in paths):
            return list(known)
        named: set[str] = set()
        for name in names:
            value = values.get(name) or []
            named |= {value} if isinstance(value, str) else {*value}
        return [method for method in known if method in named]


def _names(paths: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for path in paths for name in _BRACES.findall(path)))


def _expand(path: str, values: Values) -> str | list[str]:
    names = _names([path])
    choices = [[value] if isinstance(value := values[name], str) else list(value) for name in names]
    files = [path.format(**dict(zip(names, chosen, strict=True))) for chosen in itertools.product(*choices)]
    return files[0] if all(isinstance(values[name], str) for name in names) else files


@functools.cache
def catalogue(root: Path = _HERE) -> dict[str, FigureEntry]:
    """Return every figure below a folder by name, in the order of groups, then as named.

    Raises
    ------
    ValueError
        Two functions declare a figure of one name.
    """
    found: dict[str, FigureEntry] = {}
    for file in sorted(root.glob("*/*.py")):
        for function, declared in _declarations(file):
            if function in found:
                raise ValueError(f"{file}: figure {function} is declared in {found[function].module}, too")
            module = f"histobench.figures.{file.parent.name}.{file.stem}"
            found[function] = FigureEntry(name=function, module=module, **declared)
    return {
        entry.name: entry for entry in sorted(found.values(), key=lambda e: (GROUPS.index(e.group), e.name))
    }


def _declarations(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the functions of a module that are figures, with the literals of their decorator."""
    text = file.read_text(encoding="utf-8")
    if "\n@figure(" not in text:
        return
    for node in [each for each in ast.parse(text).body if isinstance(each, ast.FunctionDef)]:
        for call in node.decorator_list:
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "figure":
                title, group = map(ast.literal_eval, call.args)
                given = {str(key.arg): ast.literal_eval(key.value) for key in call.keywords}
                yield node.name, {"title": title, "group": group, **_declared(given)}


def _declared(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a decorator is given with all inputs as paths, in its order."""
    inputs: dict[str, str] = {}
    declared: dict[str, Any] = {"inputs": inputs}
    for key, value in given.items():
        if key == "inputs":
            inputs |= value
        elif key == "tables":
            inputs |= {name: TABLE.format(name=name) for name in value}
        elif key == "against":
            board = TABLE.format(name="leaderboard")
            inputs |= {"own": board, "others": board.replace("experiment", value)}
            declared["settings"] = ["also_differs"]
        elif key in FILES:
            inputs[key] = FILES[key].replace("{of}", f"{{{value}}}")
        else:
            declared[key] = value
    return declared

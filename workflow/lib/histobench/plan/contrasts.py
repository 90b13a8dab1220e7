"""Pairs of experiments of a run that differ in one respect, and in what else they differ.

Whatever an experiment's settings say counts, but for what is asked and for words, maps and the list of
methods (:data:`NO_PROTOCOL`); a key that a later version of the schema adds counts too, under its own name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from histobench.config.benchmark import Benchmark

SECTION_WISE = "leave_one_section_out"
# Keys of an experiment that change no number of a method (more seeds of it are averaged), or are compared by
# themselves (methods).
NO_PROTOCOL = frozenset(
    {
        "title",
        "description",
        "mode",
        "cohort",
        "external",
        "methods",
        "maps",
        "about",
        "scatter",
        "trained_by",
        "further_seeds",
    }
)
# Parts of `folds` that are derived from the others.
_DERIVED = frozenset({"made", "full"})
_FIELD = ("um_per_px", "width_px")
WORDS = {
    "panel": "panel of genes",
    "qc": "quality control",
    "start": "start of the networks",
    "transform": "target transform",
    "weights": "initial weights",
    "window": "window and scale",
}

Settings = Mapping[str, Any]


def protocol(experiment: Settings) -> dict[str, Any]:
    """Return the respects in which two experiments on one cohort can differ, with their values."""
    rest = {key: value for key, value in experiment.items() if key not in NO_PROTOCOL}
    patches = rest.pop("patches") or {}
    folds = rest.pop("folds")
    return {
        "start": rest.pop("start_from", None),
        **rest,
        "folds": {key: value for key, value in folds.items() if key not in _DERIVED},
        "sections": sorted(rest["sections"]),
        "stain": {key: value for key, value in patches.items() if key not in _FIELD},
        "window": tuple(patches.get(key) for key in _FIELD),
    }


def differences(first: Settings, second: Settings) -> list[str]:
    """Return the respects in which two experiments differ."""
    mine, theirs = protocol(first), protocol(second)
    return [key for key in sorted(mine.keys() | theirs.keys()) if mine.get(key) != theirs.get(key)]


def in_words(keys: list[str]) -> list[str]:
    """Return the names of respects as a reader knows them."""
    return [WORDS.get(key, key.replace("_", " ")) for key in keys]


def field(method: Settings, experiment: Settings) -> tuple[Any, ...]:
    """Return what a method sees of a patch: side and scale; nothing where it looks at no image."""
    patches, needs = experiment["patches"], method["needs"]
    if not patches or not (needs["patches"] or needs["features"]):
        return ()
    window = method["window"] or {"px": patches["width_px"]}
    return (*window.items(), patches["um_per_px"])


def changed(arm: str, first: Settings, second: Settings, question: str = "") -> bool:
    """Whether a method's own settings differ between two experiments, beside what is asked."""
    one, other = first["methods"][arm], second["methods"][arm]
    if any(one[key] != other[key] for key in ("entry", "params", "needs")):
        return True
    # a field that differs with the patches of the experiment is told with these
    asked = question == "window" or (first["patches"] or {}).get("width_px") != (second["patches"] or {}).get(
        "width_px"
    )
    return not asked and field(one, first) != field(other, second)


def shared(first: Settings, second: Settings, question: str) -> list[str]:
    """Return the methods of both experiments that a question can be asked of."""
    both = [arm for arm in first["methods"] if arm in second["methods"]]
    if question != "window":
        return both
    return [
        arm for arm in both if field(first["methods"][arm], first) != field(second["methods"][arm], second)
    ]


def others(bench: Benchmark, name: str, question: str) -> list[str]:
    """Return the experiments of a run that answer a question beside another one.

    They are of the same cohort, share methods, and differ in nothing else; of ``folds`` only, for which
    protocols of papers have to serve, other things may differ (:func:`contrast` says which). A branch has
    none.
    """
    if name in bench.branches:
        return []
    own = bench.experiments[name]
    found = []
    for other, settings in bench.experiments.items():
        if other == name or settings["cohort"] != own["cohort"] or not shared(own, settings, question):
            continue
        differ = differences(own, settings)
        leaks = own["folds"]["scheme"] != SECTION_WISE == settings["folds"]["scheme"]
        if leaks if question == "folds" else differ == [question]:
            found.append(other)
    return found


def contrast(bench: Benchmark, base: str, other: str, question: str) -> dict[str, Any]:
    """Put one question to a pair of experiments.

    Returns
    -------
    dict
        base, other, base_value, other_value, question, and methods: by name the family and ``also_differs``,
        everything else that is not the same, as a list in words.
    """
    first, second = bench.experiments[base], bench.experiments[other]
    also = in_words([key for key in differences(first, second) if key != question])

    def of(arm: str) -> dict[str, str]:
        own = ["settings of the method"] if changed(arm, first, second, question) else []
        return {"also_differs": ", ".join([*also, *own]), "family": first["methods"][arm]["family"]}

    return {
        "base": base,
        "base_value": value_in_words(first, question),
        "methods": {arm: of(arm) for arm in shared(first, second, question)},
        "other": other,
        "other_value": value_in_words(second, question),
        "question": question,
    }


def value_in_words(experiment: Settings, question: str) -> str:
    """Return what an experiment has of the respect that is asked for."""
    value = protocol(experiment)[question]
    if question == "window":
        scale, width = value
        return f"{width} px, {scale:g} um/px" if isinstance(scale, (int, float)) else f"{width} px, {scale}"
    if question == "folds":
        value = value["scheme"]
    if question == "stain":
        value = ", ".join(str(item) for item in value.values() if item)
    if question == "start":
        value = value or f"weights: {experiment['weights']}"
    return str(value).replace("_", " ")


def also_differs(bench: Benchmark, name: str, question: str) -> dict[str, dict[str, list[str]]]:
    """Return, for captions, what else differs in each experiment beside another one.

    Returns
    -------
    dict
        Experiment -> ``protocol``, respects in words; ``methods``, those whose own settings differ.
    """
    first = bench.described(name)
    found = {}
    for other in others(bench, name, question):
        second = bench.experiments[other]
        found[other] = {
            "protocol": in_words([key for key in differences(first, second) if key != question]),
            "methods": [
                arm for arm in shared(first, second, question) if changed(arm, first, second, question)
            ],
        }
    return found

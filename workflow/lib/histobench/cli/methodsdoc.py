"""The reference page of the methods, made from their YAML files so that it cannot drift from them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from histobench.config.files import with_arm
from histobench.config.schemas import fill_defaults, schema
from histobench.yamlfiles import read_yaml

_INTRODUCTION = """\
<!-- Made by `make docs` from config/methods; edit the YAML files there. -->

# Methods

Every method and arm, as configured: what it is, its size, its settings with the source of each value, where it departs from its
paper, and whom to cite. An experiment names a method (`stnet`) or one of its arms (`brstnet_vit_b_16_aux`), and runs it in one
of two modes:

* The **harmonised** protocol fixes cohort, folds by patient, panel, target transform, stain and the field in micrometres for all
  methods alike; network, loss, optimiser and stopping remain those of the paper.
* A **paper** experiment repeats the *published protocol*: panel, transform, window, stain, quality control and folds, with
  their leaks.

"Released code" is the code that the authors published, at the commit under *Sources*; where it differs from the text of the paper,
the deviations say which one is followed. Resources are those of one training at full size.
"""

# What an experiment decides for all of its methods.
_PROTOCOL = ("panel", "transform", "stain", "qc", "window", "folds", "seed")
_FAMILIES = {
    "deep": "Networks",
    "classical": "Classical methods",
    "control": "Controls",
    "oracle": "Oracles",
}


def parameter_sources(path: Path) -> dict[str, str]:
    """Return the comments on ``params`` of a method's file, by parameter: where each value comes from.

    A comment stands behind the value, or in a line of its own above it; one on a nested mapping holds for all of it.
    """
    found: dict[str, str] = {}
    inside, above = False, ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line[0].isspace():
            inside = line.startswith("params:")
            continue
        name = re.match(r"  (\w+):", line)
        comment = re.search(r"(?:^|\s)#\s*(.*)$", line)
        if inside and name:
            found[name[1]] = comment[1].strip() if comment else above
        above = comment[1].strip() if comment and not name else ""
    return {name: text for name, text in found.items() if text}


def _value(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False, allow_unicode=True)
    return f"`{text.strip().removesuffix('...').strip()}`"


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


def _window(window: Mapping[str, Any] | None) -> str:
    if not window:
        return "whole patch"
    return " = ".join(
        f"{window[unit]:g} {name}" for unit, name in (("px", "px"), ("um", "µm")) if unit in window
    )


def _size(settings: Mapping[str, Any]) -> str:
    size = settings.get("parameters") or {}
    if "count" not in size:
        return "depends on the data"
    if "genes" not in size:
        return f"{size['count']:,}"
    text = f"{size['count']:,} ({size['genes']:,} genes"
    return text + (f" + {size['auxiliary']:,} auxiliary)" if size.get("auxiliary") else ")")


def _measured(measured: Mapping[str, Any]) -> str:
    """Return what one step took; an arm is measured on the section of its method."""
    if not measured:
        return ""
    on = (
        f", on {measured['spots']} spots and {measured['genes']} genes, float32 on a CPU"
        if "spots" in measured
        else ""
    )
    return f"peak memory {measured['peak_mb'] / 1000:g} GB, {measured['seconds']} s a step{on}"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    return f"{value:,}" if isinstance(value, int) and value > 9999 else str(value)


def _published(published: Mapping[str, Any]) -> Iterator[str]:
    for key, value in published.items():
        text = _window(value) if key == "window" else _plain(value)
        yield f"{key.replace('_', ' ')}: {_cell(text)}"


def _settings(settings: Mapping[str, Any], sources: Mapping[str, str]) -> Iterator[str]:
    yield "\n| setting | value | source |\n|---|---|---|\n"
    for name, value in settings["params"].items():
        nested = isinstance(value, Mapping) and value
        for key, item in value.items() if nested else [("", value)]:
            label = f"{name}.{key}" if key else name
            yield f"| `{label}` | {_value(item)} | {_cell(sources.get(name, ''))} |\n"


def _arms(name: str, settings: Mapping[str, Any]) -> Iterator[str]:
    yield "\n| arm | what | changes | parameters |\n|---|---|---|---|\n"
    for arm, change in settings["arms"].items():
        whole = with_arm(settings, arm)
        changed = dict(change.get("params", {}))
        if "window" in change:
            changed["window"] = _window(change["window"])
        what = ". ".join(
            text.rstrip(". ") for text in [whole["title"], change.get("description", "")] if text
        )
        what += "." + "".join(f" {text}" for text in change.get("deviations", []))
        if change.get("measured"):
            what += f" Measured: {_measured(change['measured'])}."
        if change.get("published"):
            what += f" Published: {'; '.join(_published(change['published']))}."
        changes = ", ".join(f"{key} {_value(item)}" for key, item in changed.items())
        yield f"| `{name}_{arm}` | {_cell(what)} | {_cell(changes)} | {_size(whole)} |\n"


def _needs(needs: Mapping[str, Any]) -> str:
    parts = ["patches"] if needs["patches"] else []
    parts += [f"frozen features of {needs['features']}"] if needs["features"] else []
    parts += ["tumour labels for training"] if needs["labels"] else []
    parts += ["the truth of the tested spot"] if needs["oracle"] else []
    return ", ".join(parts) or "counts alone"


def _method(name: str, settings: Mapping[str, Any], sources: Mapping[str, str]) -> Iterator[str]:
    about, published = settings["resources"], settings["published"]
    protocol = {key: value for key, value in published.items() if key in _PROTOCOL}
    others = {key: value for key, value in published.items() if key not in _PROTOCOL}
    yield f"\n### {settings['title']}\n\n{' '.join(settings['description'].split())}\n\n"
    facts = {
        "Name": f"`{name}` ([file](../config/methods/{name}.yaml), `{settings['entry']}`)",
        "Parameters": _size(settings),
        "Looks at": f"{_needs(settings['needs'])}; window {_window(settings['window'])}",
        "Published protocol, which the harmonised one replaces": "; ".join(_published(protocol)),
        "Published besides": "; ".join(_published(others)),
        "Resources": f"{about['threads']} thread{'s' * (about['threads'] > 1)}, {about['mem_mb'] / 1000:g} GB, {about['runtime']} minutes"
        + (", gains from a GPU" if settings["needs"]["gpu"] else ""),
        "Measured": _measured(settings.get("measured", {})),
        "Sources": "; ".join(settings["sources"]),
        "Citation": settings["citation"],
        "Licence of the original": settings["licence"],
    }
    yield "\n".join(f"* **{key}:** {_cell(text)}" for key, text in facts.items() if text) + "\n"
    if settings["params"]:
        yield from _settings(settings, sources)
    if settings["arms"]:
        yield from _arms(name, settings)
    if settings["deviations"]:
        yield "\nDeviations:\n\n" + "".join(
            f"* {' '.join(text.split())}\n" for text in settings["deviations"]
        )


def document(project: Path) -> str:
    """Return the text of ``docs/methods.md``.

    Parameters
    ----------
    project
        Root of the checkout.
    """
    rules = schema(project, "method")
    files = sorted((project / "config" / "methods").glob("*.yaml"))
    methods = {file.stem: fill_defaults(read_yaml(file, rules), rules) for file in files}
    parts = [_INTRODUCTION]
    for family, title in _FAMILIES.items():
        chosen = {name: value for name, value in methods.items() if value["family"] == family}
        parts.append(
            f"\n## {title}\n\n| method | parameters | window | published transform | arms | licence |\n"
        )
        parts.append("|---|---|---|---|---|---|\n")
        for value in chosen.values():
            transform = value["published"].get("transform")
            row = [
                f"[{value['title']}](#{_anchor(value['title'])})",
                _size(value),
                _window(value["window"]),
                f"`{transform}`" if transform else "",
                str(len(value["arms"]) or ""),
                value["licence"],
            ]
            parts.append("| " + " | ".join(map(_cell, row)) + " |\n")
        for name, value in chosen.items():
            parts += _method(name, value, parameter_sources(project / "config/methods" / f"{name}.yaml"))
    return "".join(parts)


def _anchor(title: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")

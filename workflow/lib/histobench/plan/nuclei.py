"""Nuclei of spots: which experiments have a table of them, and by whose recipe."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from histobench.imaging.nuclei import Recipe
from histobench.plan.model import Experiment, Plan


def nuclei_sections(described: Experiment) -> list[str]:
    """Return the sections whose nuclei are described: those of a paper's protocol with a method of nuclei."""
    home = described.trained_by == described.name
    if not (home and described.mode == "paper" and described.patches and _method(described)):
        return []
    return [section.name for section in described.here(described.sections) if section.has_image]


def _method(described: Experiment) -> str:
    return next(
        (arm for arm, method in described.settings["methods"].items() if method["gives"]["nuclei"]), ""
    )


def nuclei_settings(plan: Plan, experiment: str) -> dict[str, Any]:
    """Return the recipe of the experiment's method of nuclei, and the scale of its patches."""
    described = plan.described(experiment)
    params = described.settings["methods"][_method(described)]["params"]
    known = {each.name for each in fields(Recipe)}
    patches = described.patches
    assert patches is not None
    scale = described.settings["patches"]["um_per_px"]
    return {
        "recipe": {name: value for name, value in sorted(params.items()) if name in known},
        "um_per_px": float(scale) if isinstance(scale, (int, float)) else str(scale),
    }

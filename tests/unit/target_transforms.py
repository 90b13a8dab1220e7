"""Target transforms as their YAML files declare them."""

from __future__ import annotations

from pathlib import Path

from histobench.expression.transforms import Transform
from histobench.yamlfiles import read_yaml

FOLDER = Path(__file__).parents[2] / "config" / "transforms"
NAMES = sorted(file.stem for file in FOLDER.glob("*.yaml"))


def declared(name):
    """What a file says, with its name."""
    return {"name": name, **read_yaml(FOLDER / f"{name}.yaml")}


def marks(name):
    """What a prediction file says of its transform."""
    return Transform.of(name).marks

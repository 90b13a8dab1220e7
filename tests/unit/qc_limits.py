"""QC profiles as their YAML files declare them."""

from __future__ import annotations

from pathlib import Path

from histobench.expression.qc import QcLimits
from histobench.yamlfiles import read_yaml

FOLDER = Path(__file__).parents[2] / "config" / "qc_profiles"


def set_limits(profile):
    """What a file says of spots and genes."""
    declared = read_yaml(FOLDER / f"{profile}.yaml")
    return {key: value for key, value in declared.items() if key not in ("title", "source")}


def limits(profile):
    """The limits that the library applies."""
    return QcLimits(**set_limits(profile))

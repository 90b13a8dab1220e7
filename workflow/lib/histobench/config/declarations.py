"""What a run was configured with: its files, merged and complete, and the names that they define."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from histobench.cohorts.fetch.lock import LockedFile, load_lock
from histobench.config.files import holds
from histobench.networks.architectures import known_encoders
from histobench.yamlfiles import read_yaml


@dataclass(frozen=True, eq=False)
class Declarations:
    """The configuration of a run, from which every definition follows.

    Attributes
    ----------
    config
        The merged configuration, with defaults.
    project
        Root of the checkout.
    files
        The configuration files that were merged, in order.
    in_job
        Read by a job of a run.
    defined, cohorts
        What was read and checked already: (kind, name) -> value, and complete cohorts by name.
    left_out
        What the run will not have although the configuration names it, and how to get it: a sentence each.
    """

    config: Mapping[str, Any]
    project: Path
    files: tuple[Path, ...] = ()
    in_job: bool = False
    defined: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    cohorts: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @property
    def origin(self) -> str:
        """What errors call the configuration: its last file."""
        return str(self.files[-1]) if self.files else "the configuration"

    def names(self, kind: str) -> set[str]:
        """Return the names that there are of a kind: of its files and of the configuration."""
        files = (self.project / "config" / f"{kind}s").glob("*.yaml")
        return {file.stem for file in files} | set(self.config[f"{kind}s"])

    def changed_by(self, key: str, name: str) -> str:
        """Return the last configuration file that says something about a name."""
        return next(
            (str(path) for path in reversed(self.files) if holds(read_yaml(path), [key, name])), self.origin
        )

    @property
    def method_names(self) -> list[str]:
        """Methods that have a file or are defined from scratch in the configuration, sorted."""
        files = (self.project / "config/methods").glob("*.yaml")
        own = {each for each, change in self.config["methods"].items() if "entry" in (change or {})}
        return sorted({file.stem for file in files} | own)

    def is_method(self, name: str) -> bool:
        """Whether a name has a file, or is defined from scratch in the configuration."""
        file = self.project / "config/methods" / f"{name}.yaml"
        return file.exists() or "entry" in (self.config["methods"].get(name) or {})

    @functools.cached_property
    def encoders(self) -> frozenset[str]:
        """Names of all encoders: of config/encoders, of the configuration, and those that need no file."""
        return frozenset(self.names("encoder") | set(known_encoders()))

    @functools.cached_property
    def lock(self) -> dict[tuple[str, str], LockedFile]:
        """The data lock of this checkout."""
        return load_lock(self.project / "resources/data_lock.tsv")

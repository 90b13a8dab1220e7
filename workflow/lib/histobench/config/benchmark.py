"""The whole run: experiments, cohorts, methods and encoders, complete and checked together.

A configuration file says which experiments run; experiments, cohorts and methods are files of their own,
each of whose keys a configuration file may change. What is checked of each is in the module of its name; here
they are put together. Errors name the file, the key and the remedy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from histobench.cohorts.fetch.lock import LockedFile
from histobench.config.cohorts import check_aliases, check_mirrors, find_cohort, table_path
from histobench.config.declarations import Declarations
from histobench.config.definitions import arms_of, check_changes, qc_profile, transform
from histobench.config.encoders import (
    asked_encoders,
    check_encoder,
    encoder_file,
    encoder_recipe,
    features_pretrained,
    find_encoder,
)
from histobench.config.experiments import arm_folders, check_slide, complete, experiment
from histobench.config.files import check_config_file, merge
from histobench.config.methods import find_method
from histobench.config.places import section_files
from histobench.config.schemas import check, fill_defaults, schema
from histobench.errors import UserError
from histobench.plan.branches import plain_name
from histobench.yamlfiles import duplicate


class Benchmark:
    """The whole run, complete and checked.

    Parameters
    ----------
    config
        The merged configuration.
    project
        Root of the checkout, where ``config/`` and ``workflow/schemas/`` are.
    files
        The configuration files that were merged, in order; named in errors.
    in_job
        Read by a job of a run, which does not ask again whether the run can fetch what it lacks.

    Attributes
    ----------
    experiments, cohorts
        Complete settings by name; ``experiments[...]["methods"]`` holds each arm with its method's
        settings merged in.
    branches
        External predictions, described like experiments (:mod:`histobench.plan.branches`); by name.
    left_out
        What the run will not have although the configuration names it, and how to get it: a sentence each.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        project: Path,
        files: Iterable[Path] = (),
        *,
        in_job: bool = False,
    ) -> None:
        files = tuple(files)
        for path in files:
            check_config_file(path, project)
        _check_keys(config, str(files[-1]) if files else "the configuration")
        check(config, schema(project, "config"), str(files[-1]) if files else "the configuration")
        self.project = project
        self.in_job = in_job
        self.config = fill_defaults(merge({}, config), schema(project, "config"))
        self.declarations = said = Declarations(self.config, project, files, in_job)
        self.cohorts, self.left_out = said.cohorts, said.left_out
        check_changes(said)
        self.experiments: dict[str, dict[str, Any]] = {}
        for name in self.config["run"]:
            self.experiments[name] = experiment(said, name)
        for name in self.config["prepare"]:
            find_cohort(said, name, f"{said.origin}: `prepare`")
        check_aliases(said)
        self.branches: dict[str, dict[str, Any]] = {}
        for name in self.experiments:
            self.branches |= complete(said, self.experiments, name)
        for name, slide in self.config["slides"].items():
            check_slide(said, self.experiments, name, slide)
        for name in self.config["encoder_files"]:
            find_encoder(said, name, f"{said.origin}: `encoder_files`")
        check_mirrors(said)
        _check_apart("cohorts", self.cohorts)
        _check_apart("experiments", [*self.experiments, *self.branches])

    def described(self, name: str) -> dict[str, Any]:
        """Return an experiment, or a branch of one."""
        return self.experiments[name] if name in self.experiments else self.branches[name]

    def arms(self, experiment: str) -> dict[str, tuple[str, int]]:
        """Return the method folders of an experiment: name -> (arm, seed)."""
        return arm_folders(self.described(experiment))

    def method(self, name: str, asked_by: str) -> dict[str, Any]:
        """Return a method's complete settings; a name METHOD_ARM is one of the ``arms`` of its file."""
        return find_method(self.declarations, name, asked_by)

    @property
    def method_names(self) -> list[str]:
        """Methods that have a file or are defined from scratch in the configuration, sorted."""
        return self.declarations.method_names

    def arms_of(self, method: str) -> list[str]:
        """Return the names of the arms of a method."""
        return arms_of(self.declarations, method)

    def qc_profile(self, name: str) -> dict[str, Any]:
        """Return what a QC profile keeps, complete."""
        return qc_profile(self.declarations, name)

    def transform(self, name: str) -> dict[str, Any]:
        """Return what a target transform does, complete."""
        return transform(self.declarations, name)

    @property
    def transforms(self) -> list[str]:
        """Names of all target transforms, sorted."""
        return sorted(self.declarations.names("transform"))

    @property
    def encoders(self) -> frozenset[str]:
        """Names of all encoders: of config/encoders, of the configuration, and those that need no file."""
        return self.declarations.encoders

    def encoder(self, name: str, asked_by: str = "") -> dict[str, Any]:
        """Return what an encoder is declared to be, complete."""
        return find_encoder(self.declarations, name, asked_by)

    def recipe(self, name: str, pretrained: bool) -> dict[str, Any]:
        """Return everything that the features of an encoder depend on."""
        return encoder_recipe(self.declarations, name, pretrained)

    def encoder_file(self, name: str) -> str | None:
        """Return where the weights of an encoder lie; None where a package brings them."""
        return encoder_file(self.declarations, name)

    def check_encoder(self, where: str, name: str, *, pretrained: bool = True) -> None:
        """Refuse an encoder that could not be built or loaded here, before anything runs."""
        check_encoder(self.declarations, where, name, pretrained=pretrained)

    def asked_encoders(self, experiment: str) -> list[dict[str, Any]]:
        """Return what is declared of each encoder that an experiment compares, also of those missing here."""
        return asked_encoders(self.declarations, self.experiments[experiment])

    @staticmethod
    def features_pretrained(experiment: Mapping[str, Any]) -> bool:
        """Whether an experiment's frozen features are those of pretrained weights."""
        return features_pretrained(experiment)

    @property
    def lock(self) -> dict[tuple[str, str], LockedFile]:
        """The data lock of this checkout."""
        return self.declarations.lock

    def cohort(self, name: str, asked_by: str = "") -> dict[str, Any]:
        """Return a cohort's complete settings."""
        return find_cohort(self.declarations, name, asked_by)

    def table(self, name: str) -> Path:
        """Return where the table of a cohort's sections lies."""
        return table_path(self.declarations, name)

    def section_files(self, cohort: str, section: str) -> dict[str, str]:
        """Return a section's raw files by kind, as paths inside its source."""
        return section_files(self.declarations, cohort, section)

    def plain(self) -> dict[str, Any]:
        """Return the complete settings as plain values, for provenance and for the report."""
        experiments = duplicate(self.experiments)
        for value in experiments.values():
            full = value["folds"].pop("full")
            made = [*value["folds"]["made"].values(), *([full] if full else [])]
            value["folds"]["made"] = {
                fold.name: {"train": list(fold.train), "valid": list(fold.valid), "test": list(fold.test)}
                for fold in made
            }
        return {"config": self.config, "cohorts": duplicate(self.cohorts), "experiments": experiments}


def _check_keys(config: Mapping[Any, Any], where: str, inside: str = "") -> None:
    """Refuse names that YAML read as something else, which a workflow that uses this one can bring."""
    for key, value in config.items():
        if not isinstance(key, str):
            place = f" in `{inside}`" if inside else ""
            raise UserError(f"{where}: the name {key!r}{place} is no text; put it in quotes.")
        if isinstance(value, Mapping):
            _check_keys(value, where, f"{inside}.{key}".lstrip("."))


def _check_apart(what: str, names: Iterable[str]) -> None:
    """Refuse names that are one in the names of rules."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(plain_name(name), name)
        if other != name:
            raise UserError(
                f"the {what} `{other}` and `{name}` are one name where only letters and digits count; "
                "rename one of them."
            )

"""The whole run: experiments, cohorts, methods and encoders, complete and checked together.

A configuration file says which experiments run; experiments, cohorts and methods are files of their own,
each of whose keys a configuration file may change. Errors name the file, the key and the remedy.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from histobench.cohorts.fetch.lock import WEIGHTS, LockedFile, load_lock, weights_path
from histobench.cohorts.templates import check_path, check_templates
from histobench.config.files import check_config_file, check_entry, check_parameters, holds, merge, with_arm
from histobench.config.schemas import KINDS, check, fill_defaults, schema
from histobench.config.tables import TABLE_READER, complete_local, read_sections, slide_manifest
from histobench.encoders.registry import builder_trouble, built_in, published_weights, recipe, weights_trouble
from histobench.errors import UserError, near
from histobench.expression.transforms import check_transform
from histobench.networks.architectures import TORCHVISION, known_encoders
from histobench.plan.branches import branch_name, make_branch, make_full_fold
from histobench.plan.encoders import Choice, encoder_arms, encoder_choices
from histobench.plan.weights import start_network
from histobench.splits.folds import FULL_FOLD, Fold, make_folds
from histobench.yamlfiles import read_yaml

# Origins of cohorts that no experiment can be about.
WITHOUT_SPOTS = ("photos", "slides")
# First folders below results/ that are not experiments.
RESERVED = ("data", "logs", "benchmarks", "report", "bench", "slides")


def check_oracle(method: Mapping[str, Any], where: str) -> None:
    """Refuse a competitor that is given the truth, and an oracle that is not."""
    given, oracle = bool(method["needs"]["oracle"]), method["family"] == "oracle"
    if given and not oracle:
        raise UserError(
            f"{where}: `needs.oracle` gives it the truth of the section that it predicts, but its family is "
            f"{method['family']}; set `family: oracle`, which does not compete, or take `needs.oracle` out."
        )
    if oracle and not given:
        raise UserError(
            f"{where}: its family is oracle but it is not given the truth; set `needs: {{oracle: true}}`, or "
            "the family under which it competes: control, classical or deep."
        )


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
        self.project = project
        self.in_job = in_job
        self.files = files = list(files)
        for path in files:
            check_config_file(path, project)
        self.origin = str(files[-1]) if files else "the configuration"
        check(config, schema(project, "config"), self.origin)
        self.config = fill_defaults(merge({}, config), schema(project, "config"))
        self._defined: dict[tuple[str, str], dict[str, Any]] = {}
        self.left_out: list[str] = []
        self.experiments: dict[str, dict[str, Any]] = {}
        self.cohorts: dict[str, dict[str, Any]] = {}
        self._check_changes()
        for name in self.config["run"]:
            self.experiments[name] = self._experiment(name)
        for name in self.config["prepare"]:
            self.cohort(name, f"{self.origin}: `prepare`")
        self.branches: dict[str, dict[str, Any]] = {}
        for name, value in self.experiments.items():
            self._complete(name, value)
        for name, slide in self.config["slides"].items():
            self._check_slide(name, slide)
        for name in self.config["encoder_files"]:
            self.encoder(name, f"{self.origin}: `encoder_files`")

    # -- composing -------------------------------------------------------------------------------

    def _names(self, kind: str) -> set[str]:
        """Return the names that there are of a kind: of its files and of the configuration."""
        files = (self.project / "config" / f"{kind}s").glob("*.yaml")
        return {file.stem for file in files} | set(self.config[f"{kind}s"])

    def _check_changes(self) -> None:
        """Refuse changes to what does not exist; a misspelt name would change nothing without a word."""
        for kind in KINDS:
            key, needed = f"{kind}s", schema(self.project, kind)["required"]
            shipped = {file.stem for file in (self.project / "config" / key).glob("*.yaml")}
            for name, change in self.config[key].items():
                lacking = [each for each in needed if each not in change]
                if not lacking or name in shipped or name in (*self.config["run"], *self.config["prepare"]):
                    continue  # what is run is read in full
                if (kind == "method" and self._split(name)) or (kind == "cohort" and "table" in change):
                    continue
                raise UserError(
                    f"{self._changed_by(key, name)}: `{key}.{name}` changes the "
                    f"{kind.replace('qc_', 'QC ')} `{name}`, which has no file in config/{key}; "
                    f"{near(name, shipped)} A new one needs {', '.join(f'`{each}`' for each in lacking)}."
                )

    def _changed_by(self, key: str, name: str) -> str:
        """Return the last configuration file that says something about a name."""
        return next(
            (str(path) for path in reversed(self.files) if holds(read_yaml(path), [key, name])), self.origin
        )

    def _definition(self, kind: str, name: str, asked_by: str) -> dict[str, Any]:
        """Return what a name means: its file, changed by the configuration, complete; read once."""
        if (kind, name) not in self._defined:
            self._defined[kind, name] = self._define(kind, name, asked_by)
        return copy.deepcopy(self._defined[kind, name])

    def _define(self, kind: str, name: str, asked_by: str) -> dict[str, Any]:
        """Read and check what a name means."""
        folder = self.project / "config" / f"{kind}s"
        path = folder / f"{name}.yaml"
        changes = self.config[f"{kind}s"].get(name)
        if not path.exists() and changes is None:
            raise UserError(
                f"{asked_by} names the {kind.replace('qc_', 'QC ')} `{name}`, which does not exist; "
                f"{near(name, self._names(kind))}"
            )
        rules = schema(self.project, kind)
        base = read_yaml(path, rules) if path.exists() else {}
        where = f"{path.relative_to(self.project)}" if path.exists() else f"{self.origin}: {kind}s.{name}"
        check(base, rules, where, partial=changes is not None or "table" in base)
        value = merge(base, changes or {})
        if kind == "cohort" and value.get("table") and value.get("origin") != "local":
            value["sections"] = self._with_table(name, value)
        check(value, rules, f"{self.origin}: {kind}s.{name}" if changes else where)
        for key in ("entry", "reader"):
            if key in value:
                check_entry(value[key], key, where)
        for entry in value.get("uses", []):
            check_entry(entry, "uses", where)
        locate = value.get("archives", {}).get("locate")
        if locate:
            check_entry(locate, "archives.locate", where)
        value = fill_defaults(value, rules)
        if kind == "method":
            self._check_method(name, value)
        return value

    def _check_method(self, name: str, value: Mapping[str, Any]) -> None:
        """Check a method and each of its arms, also those that nobody compares."""
        check_parameters(value, functools.partial(self._source, name, ""), self.encoders)
        for arm in value["arms"]:
            changed = with_arm(value, arm)
            check(changed, schema(self.project, "method"), f"{self.origin}: methods.{name}.arms.{arm}")
            check_parameters(changed, functools.partial(self._source, name, arm), self.encoders)

    def _source(self, method: str, arm: str, key: str) -> str:
        """Say which file gives a key of a method or of its arm, and where in it."""
        under = [["arms", arm], []] if arm else [[]]
        file = self.project / "config/methods" / f"{method}.yaml"
        for inside in under:
            for path, parts in (
                *((path, ["methods", method]) for path in reversed(self.files)),
                (file, []),
            ):
                if path.exists() and holds(read_yaml(path), [*parts, *inside, *key.split(".")[:2]]):
                    return f"{path}: `{'.'.join([*parts, *inside, key])}`"
        return f"{self.origin}: `methods.{method}.{key}`"

    def _arm_source(self, experiment: str, arm: str, method: str, key: str) -> str:
        """Say which file gives a key of a compared method."""
        parts = [["experiments", experiment, "methods", arm], ["methods", method]]
        file = self.project / "config/experiments" / f"{experiment}.yaml"
        for path, inside in (
            *((path, parts[0]) for path in reversed(self.files)),
            (file, ["methods", arm]),
            *((path, parts[1]) for path in reversed(self.files)),
        ):
            if path.exists() and holds(read_yaml(path), [*inside, *key.split(".")[:2]]):
                return f"{path}: `{'.'.join([*inside, key])}`"
        return self._source(*(self._split(method) or (method, "")), key)

    def qc_profile(self, name: str, asked_by: str = "") -> dict[str, Any]:
        """Return what a QC profile keeps, complete."""
        value = self._definition("qc_profile", name, asked_by)
        low, high = value["min_umi"], value["max_umi"]
        if low is not None and high is not None and low > high:
            raise UserError(
                f"qc_profiles.{name}: `min_umi` is {low} but `max_umi` {high}, which no spot can meet; "
                "correct one of them."
            )
        return value

    def transform(self, name: str, asked_by: str = "") -> dict[str, Any]:
        """Return what a target transform does, complete."""
        value = self._definition("transform", name, asked_by)
        check_transform(value, f"transforms.{name}")
        return value

    @property
    def transforms(self) -> list[str]:
        """Names of all target transforms, sorted."""
        return sorted(self._names("transform"))

    def _split(self, name: str) -> tuple[str, str] | None:
        """Divide a name METHOD_ARM into method and arm ("" for a plain method); None if there is none."""
        if self._is_method(name):
            return name, ""
        for stem in (name[:place] for place, letter in enumerate(name) if letter == "_"):
            arm = name[len(stem) + 1 :]
            if self._is_method(stem) and arm in self._definition("method", stem, name)["arms"]:
                return stem, arm
        return None

    def method(self, name: str, asked_by: str) -> dict[str, Any]:
        """Return a method's complete settings; a name METHOD_ARM is one of the ``arms`` of its file."""
        found = self._split(name)
        if found:
            stem, arm = found
            value = self._definition("method", stem, asked_by)
            if arm:
                value = merge(with_arm(value, arm), self.config["methods"].get(name) or {})
            value.pop("arms", None)
            if arm:
                check(value, schema(self.project, "method"), f"{self.origin}: methods.{name}")
                check_parameters(value, lambda key: f"{self.origin}: `methods.{name}.{key}`", self.encoders)
            check_oracle(value, f"methods.{name}")
            return value
        known = {*self.method_names}
        for each in self.method_names:
            known |= {f"{each}_{arm}" for arm in self.arms_of(each)}
        raise UserError(f"{asked_by} names the method `{name}`, which does not exist; {near(name, known)}")

    @property
    def method_names(self) -> list[str]:
        """Methods that have a file or are defined from scratch in the configuration, sorted."""
        files = (self.project / "config/methods").glob("*.yaml")
        own = {each for each, change in self.config["methods"].items() if "entry" in (change or {})}
        return sorted({file.stem for file in files} | own)

    def arms_of(self, method: str) -> list[str]:
        """Return the names of the arms of a method."""
        return sorted(self._definition("method", method, "the configuration")["arms"])

    def _is_method(self, name: str) -> bool:
        """Whether a name has a file, or is defined from scratch in the configuration."""
        file = self.project / "config/methods" / f"{name}.yaml"
        return file.exists() or "entry" in (self.config["methods"].get(name) or {})

    @functools.cached_property
    def encoders(self) -> frozenset[str]:
        """Names of all encoders: of config/encoders, of the configuration, and those that need no file."""
        return frozenset(self._names("encoder") | set(known_encoders()))

    def encoder(self, name: str, asked_by: str = "") -> dict[str, Any]:
        """Return what an encoder is declared to be, complete.

        Raises
        ------
        UserError
            There is none of this name, or its file breaks the schema.
        """
        declared = (self.project / "config/encoders" / f"{name}.yaml").exists() or name in self.config[
            "encoders"
        ]
        plain = None if declared else built_in(name)
        if plain is not None:
            return plain
        if name not in self.encoders:
            raise UserError(
                f"{asked_by} names the encoder `{name}`, which does not exist; {near(name, self.encoders)}"
            )
        return self._definition("encoder", name, asked_by)

    def recipe(self, name: str, pretrained: bool) -> dict[str, Any]:
        """Return everything that the features of an encoder depend on."""
        return recipe(name, self.encoder(name), pretrained, self.encoder_file(name) if pretrained else None)

    @functools.cached_property
    def lock(self) -> dict[tuple[str, str], LockedFile]:
        """The data lock of this checkout."""
        return load_lock(self.project / "resources/data_lock.tsv")

    def encoder_file(self, name: str) -> str | None:
        """Return where the weights of an encoder lie: the user's own file, or the published one in a run.

        None where a package brings them.
        """
        row = published_weights(self.encoder(name), self.lock)
        return self.config["encoder_files"].get(name) or (weights_path(row.file) if row else None)

    @staticmethod
    def features_pretrained(experiment: Mapping[str, Any]) -> bool:
        """Whether an experiment's frozen features are those of pretrained weights."""
        given = experiment["encoder_weights"]
        return bool(given == "pretrained" if given else experiment["weights"] == "imagenet")

    def encoder_trouble(self, name: str, *, pretrained: bool = True) -> str | None:
        """Say why an encoder could not be built or loaded here, and what to do; None if it can."""
        declared = self.encoder(name)
        trouble = builder_trouble(name, declared)
        row = published_weights(declared, self.lock)
        if trouble is None and pretrained and not (self.in_job and row):
            trouble = weights_trouble(
                name,
                declared,
                self.config["encoder_files"].get(name),
                row=row,
                mirrors=self.config["mirrors"].get(WEIGHTS, ()),
            )
        return trouble

    def check_encoder(self, where: str, name: str, *, pretrained: bool = True) -> None:
        """Refuse an encoder that could not be built or loaded here, before anything runs."""
        self.encoder(name, where)
        trouble = self.encoder_trouble(name, pretrained=pretrained)
        if trouble:
            raise UserError(f"{where} needs features that cannot be had: {trouble}.")

    def cohort(self, name: str, asked_by: str = "") -> dict[str, Any]:
        """Return a cohort's complete settings; a simulated cohort's sections are named here."""
        if name not in self.cohorts:
            value = self._definition("cohort", name, asked_by)
            value.setdefault("source", name)
            if value["origin"] == "simulation":
                from histobench.cohorts.simulation.simulate import section_names, settings_from_options

                if taken := [key for key in ("sections", "table") if value[key]]:
                    raise UserError(
                        f"cohorts.{name}: `{taken[0]}` has no effect on a simulated cohort, which makes its "
                        "own sections from `options`; remove it."
                    )
                settings = settings_from_options(value["options"])
                value["sections"] = {
                    section: {"patient": patient} for section, patient in section_names(settings).items()
                }
            where = self._cohort_place(name)
            if value["origin"] == "local":
                complete_local(value, self._table_folder(name), where, self.config["mirrors"])
                if value["reader"] == TABLE_READER:
                    from histobench.cohorts.readers.table_cohort import check_options

                    try:
                        check_options(value["options"])
                    except UserError as error:
                        raise UserError(f"{where}: {error}") from None
            elif value["origin"] == "download" and not value["files"]:
                raise UserError(
                    f"{where}: `files` is missing; say what a section consists of, or set `origin: local` if "
                    "`table` names files of your own."
                )
            if value["origin"] != "local":
                declared = schema(self.project, "cohort")["properties"]["sections"]["additionalProperties"]
                check_templates(value, where, declared["properties"])
                if value["origin"] == "photos":
                    for kind, file in value["files"].items():
                        check_path(file, f"files.{kind}", where, inside=True)
            for kind, file in value["resources"].items():
                check_path(file, f"resources.{kind}", where)
            self._check_options(value, self._cohort_says(name, "options"))
            if value["geometry"]:
                from histobench.cohorts.geometry import limits_from

                limits_from(value["geometry"], self._cohort_says(name, "geometry"))
            if value["origin"] == "slides" and "groups" in value["options"]:
                from histobench.evaluation.colocation import check_groups

                check_groups(value["options"]["groups"], f"cohorts.{name}: `options.groups`")
            if not value["sections"] and value["origin"] not in WITHOUT_SPOTS:
                raise UserError(f"{where}: `sections` is empty; name at least one section.")
            self._check_persons(name, value)
            self.cohorts[name] = value
            if value["origin"] not in ("local", "simulation"):
                for section in value["sections"]:
                    for kind, file in self.section_files(name, section).items():
                        check_path(file, f"files.{kind}", f"{where}: section `{section}`", inside=True)
        return self.cohorts[name]

    def _check_options(self, cohort: Mapping[str, Any], where: str) -> None:
        """Refuse options that a reader of this project does not have, before anything is fetched."""
        subject = cohort["origin"] if cohort["origin"] in WITHOUT_SPOTS else cohort.get("reader", "")
        rules = schema(self.project, "options")["properties"].get(subject)
        if rules:
            check({"options": cohort["options"]}, {"properties": {"options": rules}}, where)

    def _check_persons(self, name: str, cohort: Mapping[str, Any]) -> None:
        """Refuse statements on patients, on which the search for leaks relies, that speak of nobody."""
        same = cohort["same_patients_as"]
        others = self._names("cohort") - {name}
        if same is not None and same not in others:
            where = self._cohort_says(name, "same_patients_as")
            raise UserError(
                f"{where}: `same_patients_as` names the cohort `{same}`, which does not exist; "
                f"{near(same, others)}"
            )
        patients = {section["patient"] for section in cohort["sections"].values()}
        for patient in cohort["aliases"]:
            if patient not in patients:
                where = self._cohort_says(name, "aliases")
                raise UserError(
                    f"{where}: `aliases` names the patient `{patient}`, whom the cohort does not have; "
                    f"{near(patient, patients)}"
                )

    def _cohort_place(self, name: str) -> str:
        """Say where a cohort stands: in its own file, or in a configuration that defines it from scratch."""
        own = self.project / "config/cohorts" / f"{name}.yaml"
        if own.exists():
            return f"config/cohorts/{name}.yaml"
        for path in reversed(self.files):
            if (read_yaml(path).get("cohorts") or {}).get(name):
                return f"{path}: cohorts.{name}"
        return f"{self.origin}: cohorts.{name}"

    def _cohort_says(self, name: str, key: str) -> str:
        """Say which file gives a key of a cohort."""
        for path in reversed(self.files):
            if holds(read_yaml(path), ["cohorts", name, key]):
                return f"{path}: cohorts.{name}"
        return self._cohort_place(name)

    def _table_folder(self, name: str) -> Path:
        """Return the folder of the file that names a cohort's table, from which its path starts."""
        for path in reversed(self.files):
            if "table" in (read_yaml(path).get("cohorts", {}).get(name) or {}):
                return path.parent
        return self.project / "config" / "cohorts"

    def table(self, name: str) -> Path:
        """Return where the table of a cohort's sections lies."""
        return self._table_folder(name) / self.cohorts[name]["table"]

    def _with_table(self, name: str, cohort: Mapping[str, Any]) -> dict[str, Any]:
        """Return the sections of a cohort's table, changed by those of its configuration."""
        path = self._table_folder(name) / cohort["table"]
        listed = (slide_manifest if cohort.get("origin") == "slides" else read_sections)(path)
        check({"sections": listed}, schema(self.project, "cohort"), str(path), partial=True)
        return merge(listed, cohort.get("sections", {}))

    def _experiment(self, name: str) -> dict[str, Any]:
        where = f"experiments.{name}"
        if name in RESERVED:
            raise UserError(f"{self.origin}: an experiment cannot be called `{name}`; choose another name.")
        value = self._definition("experiment", name, f"{self.origin}: `run`")
        cohort = self.cohort(value["cohort"], f"{where}: `cohort`")
        if cohort["origin"] in WITHOUT_SPOTS:
            raise UserError(
                f"{where}: cohort `{value['cohort']}` holds {cohort['origin']} without spots; name a cohort "
                "with counts, and list this one under `prepare`."
            )
        known = cohort["sections"]
        if value["sections"] == "all":
            value["sections"] = list(known)
        for section in value["sections"]:
            if section not in known:
                raise UserError(
                    f"{where}: `sections` names `{section}`, which cohort `{value['cohort']}` does not have; "
                    f"{near(section, known)}"
                )
        self.qc_profile(value["qc"], f"{where}: `qc`")
        self.transform(value["transform"], f"{where}: `transform`")
        value["external"] = [other for other in value["external"] if self._takes_part(name, other)]
        for other in value["external"]:
            self._external(where, other, value)
        # a method that is switched off is no longer what the experiment is about
        on = {arm for arm, change in value["methods"].items() if (change or {}).get("enabled", True)}
        for place, key in ((value, "about"), (value["maps"], "methods")):
            kept = [arm for arm in place.pop(key, []) if arm in on or arm not in value["methods"]]
            place.update({key: kept} if kept else {})
        if value["encoder"]:
            self.encoder(value["encoder"], f"{where}: `encoder`")
        value["methods"] = {
            arm: self._arm(where, arm, change, value)
            for arm, change in self._encoder_arms(where, value).items()
        }
        # a method that was expanded is shown on its first encoder
        first = {method["head"]: arm for arm, method in reversed(value["methods"].items())}
        for place, key in ((value, "about"), (value["maps"], "methods"), (value, "scatter")):
            if key in place:
                place[key] = [first.get(arm, arm) for arm in place[key]]
        self._check_combination(where, value)
        value["folds"]["made"] = self._folds(where, value)
        return value

    def _encoder_arms(self, where: str, value: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Return what an experiment says of each arm that takes part, expanded by its encoders.

        ``missing_encoders`` of the experiment says what keeps the others from being had here, and what to do.
        """
        choices = self._choices(value)
        if value["fields"] and not choices:
            raise UserError(f"{where}: `fields` is said of `encoders`, which are missing; name some.")
        missing: dict[str, str] = {}
        for choice in choices:
            self.encoder(choice.encoder, f"{where}: `encoders`")
            trouble = self.encoder_trouble(choice.encoder, pretrained=choice.pretrained)
            if trouble:
                missing[choice.label] = trouble
        had = [choice for choice in choices if choice.label not in missing]
        if choices and not had:
            raise UserError(f"{where}: none of its `encoders` can be had: {next(iter(missing.values()))}.")
        value["missing_encoders"] = missing
        said = {
            arm: dict(change or {})
            for arm, change in value["methods"].items()
            if (change or {}).get("enabled", True)
        }
        return encoder_arms(
            said,
            had,
            value["fields"],
            lambda name: bool(self.method(name, f"{where}: `methods`")["needs"]["features"]),
            lambda name: str(self.encoder(name)["title"]),
        )

    def _check_slide(self, name: str, slide: Mapping[str, Any]) -> None:
        """Refuse the prediction of a slide by a model that the run does not have."""
        where = f"{self.origin}: `slides.{name}`"
        check_path(slide["image"], "image", where)
        experiment = slide["experiment"]
        if experiment not in self.experiments:
            raise UserError(f"{where} names experiment `{experiment}`; {near(experiment, self.experiments)}")
        folds = [*self.experiments[experiment]["folds"]["made"], FULL_FOLD]
        for key, known in (("method", list(self.arms(experiment))), ("fold", folds)):
            if slide[key] not in known:
                raise UserError(f"{where} names {key} `{slide[key]}`; {near(slide[key], known)}")

    def _complete(self, name: str, value: dict[str, Any]) -> None:
        """Add the training on everybody where it is needed, and the branches to other cohorts."""
        where = f"experiments.{name}"
        value["folds"]["full"] = None
        asked = any(
            s["experiment"] == name and s["fold"] == FULL_FOLD for s in self.config["slides"].values()
        )
        asked |= any(other["start_from"] == name for other in self.experiments.values())
        if value["external"] or asked:
            value["folds"]["full"] = make_full_fold(where, value, self.cohorts[value["cohort"]])
        if value["start_from"] is not None:
            self._check_start(where, value)
        if not value["external"] and not value["folds"]["made"]:
            raise UserError(
                f"{where}: `folds.scheme: train_all` tests nobody, and `external` names no cohort to "
                "test on; name one, or choose another scheme."
            )
        for other in value["external"]:
            branch = make_branch(name, value, other, self.cohorts[other["cohort"]])
            self.branches[branch_name(name, other["cohort"])] = branch

    def _check_start(self, where: str, value: Mapping[str, Any]) -> None:
        """Refuse to fine-tune models that the run does not have."""
        start = value["start_from"]
        others = {name: other for name, other in self.experiments.items() if other is not value}
        if start not in others:
            raise UserError(f"{where}: `start_from` names `{start}`; {near(start, others)}")
        other = others[start]
        for arm, method in value["methods"].items():
            if method["family"] == "deep" and arm not in other["methods"]:
                raise UserError(
                    f"{where}: `start_from` is `{start}`, which does not train `{arm}`; add it there or "
                    "leave it out here."
                )
        if other["seeds"] != value["seeds"]:
            raise UserError(f"{where}: `start_from` is `{start}`, with other seeds; give both the same.")

    def described(self, name: str) -> dict[str, Any]:
        """Return an experiment, or a branch of one."""
        return self.experiments[name] if name in self.experiments else self.branches[name]

    def _takes_part(self, experiment: str, other: Mapping[str, Any]) -> bool:
        """Whether an external cohort is there; one that need not be, and lists no slide, is left out."""
        from histobench.cohorts.fetch.gdc import fill_command

        if other.get("required", True):
            return True
        name, others = other["cohort"], set(self.cohorts)
        if self.cohort(name, f"experiments.{experiment}: `external`")["sections"]:
            return True
        path = self.table(name).resolve()
        if name not in others:  # nothing of it takes part
            del self.cohorts[name]
        self.left_out.append(
            f"{experiment} leaves out cohort {name}, as its manifest {path} lists no slide; "
            f"{fill_command(path)} makes the list."
        )
        return False

    def _external(self, where: str, other: dict[str, Any], experiment: Mapping[str, Any]) -> None:
        """Complete an external cohort of an experiment."""
        name = other["cohort"]
        cohort = self.cohort(name, f"{where}: `external`")
        if cohort["origin"] == "photos":
            raise UserError(
                f"{where}: `external` names cohort `{name}`, which holds photos without expression; "
                "name a cohort with counts."
            )
        if other.setdefault("sections", "all") == "all":
            other["sections"] = list(cohort["sections"])
        for section in other["sections"]:
            if section not in cohort["sections"]:
                raise UserError(
                    f"{where}: `external` names section `{section}`, which cohort `{name}` does not have; "
                    f"{near(section, cohort['sections'])}"
                )
            if name == experiment["cohort"] and section in experiment["sections"]:
                raise UserError(
                    f"{where}: `external` names section `{section}`, which takes part in the folds; "
                    "leave it out of one of the two."
                )
            seen = experiment["patches"] and cohort["origin"] not in ("simulation", *WITHOUT_SPOTS)
            if seen and "image" not in self.section_files(name, section):
                raise UserError(
                    f"{where}: `external` names section `{section}` of cohort `{name}`, which has no image; "
                    "leave it out."
                )
        if cohort["origin"] == "slides":
            self._check_manifest(f"{where}: `external`", name, other["sections"])
        if [o["cohort"] for o in experiment["external"]].count(name) > 1:
            raise UserError(
                f"{where}: `external` names cohort `{name}` twice; keep one entry with all sections."
            )

    def _check_manifest(self, where: str, name: str, sections: Sequence[str]) -> None:
        """Refuse a cohort of slides that lists none, or of which nothing can be compared with expression."""
        from histobench.cohorts.fetch.gdc import fill_command

        listed, path = self.cohorts[name]["sections"], self.table(name).resolve()
        if not listed:
            raise UserError(
                f"{where} names cohort `{name}`, but its manifest {path} lists no slide; fill it: "
                f"{fill_command(path)}."
            )
        if not any("counts" in listed[section] for section in sections):
            raise UserError(
                f"{where} names cohort `{name}`, but its manifest {path} lists no expression to compare "
                f"the slides with ({len(sections)} of them); list both: {fill_command(path)}, or for a "
                "selection of your own `histobench gdc-manifest --portal-manifest MANIFEST --sample-sheet "
                f"SHEET --output {path}`."
            )

    def _arm(
        self, where: str, arm: str, change: Mapping[str, Any], experiment: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return one compared method with the experiment's changes merged in."""
        name = change.get("method", arm)
        method = self.method(name, f"{where}: `methods`")
        laid_over = {key: change[key] for key in ("title", "params", "resources") if key in change}
        method = merge(method, laid_over)
        method["short"] = change.get("short", change.get("title", method.get("short", method["title"])))
        head_title = method["short"]
        if "described_by" in change:
            for key in ("title", "short"):
                method[key] = f"{method[key]}, {change['described_by']}"
        if "window" in change:
            method["window"] = change["window"]
        check(method, schema(self.project, "method"), f"{where}: methods.{arm}")
        experiment_name = where.removeprefix("experiments.")
        check_parameters(
            method, functools.partial(self._arm_source, experiment_name, arm, name), self.encoders
        )
        method["method"] = name
        method["place"] = method.get("place") if arm == name else None  # else two arms would look alike
        needs = method["needs"]
        start = start_network(method, experiment["weights"])
        if start and start not in TORCHVISION:
            raise UserError(
                f"{where}: `methods.{arm}` starts from ImageNet weights, but `{start}` has none; set "
                "`weights: none` for a seeded random start, or name another network."
            )
        if needs["features"]:
            # what a configuration says of one method has the last word
            said = ((self.config["methods"].get(name) or {}).get("needs") or {}).get("features")
            needs["features"] = change.get("encoder") or said or experiment["encoder"] or needs["features"]
            start = change.get("encoder_weights")
            pretrained = start == "pretrained" if start else self.features_pretrained(experiment)
            self.check_encoder(f"{where}: `methods.{arm}`", needs["features"], pretrained=pretrained)
            if self.encoder(needs["features"])["pooling"] == "tokens" and not method["takes_tokens"]:
                raise UserError(
                    f"{where}: `methods.{arm}` takes one vector per spot, but the encoder "
                    f"`{needs['features']}` gives one per token; choose `pooling: mean` or `cls_mean`, or a "
                    "method with `takes_tokens`."
                )
            method["pretrained"] = pretrained
        elif {"encoder", "encoder_weights"} & change.keys():
            raise UserError(
                f"{where}: `methods.{arm}` uses no frozen features, so that an encoder has no effect; take "
                "`encoder` and `encoder_weights` out."
            )
        if needs["invertible"] and not self.transform(experiment["transform"])["invertible"]:
            raise UserError(
                f"{where}: `methods.{arm}` takes targets back to counts, which `transform: "
                f"{experiment['transform']}` does not allow; choose one that can be undone or set `enabled: "
                "false` for the method."
            )
        patches = experiment["patches"]
        method["head"], method["head_title"] = change.get("head"), head_title
        method["field_um"] = change.get("field_um")
        if method["field_um"]:
            if patches is None or patches["um_per_px"] == "native":
                raise UserError(
                    f"{where}: `methods.{arm}` has a field of {method['field_um']:g} µm, which needs patches "
                    "of one scale; set `patches.um_per_px` to a number."
                )
            method["window"] = None  # all of that field
        if patches is None and (needs["patches"] or needs["features"]):
            raise UserError(
                f"{where}: `methods.{arm}` looks at images but `patches` is null; "
                "describe the patches or set `enabled: false` for the method."
            )
        if needs["photos"]:
            self._check_photos(f"{where}: `methods.{arm}`", needs["photos"], patches)
        window = method["window"]
        if window and patches:
            if "px" in window and window["px"] > patches["width_px"]:
                raise UserError(
                    f"{where}: `methods.{arm}` looks at {window['px']} px but `patches.width_px` is "
                    f"{patches['width_px']}; make the patch at least as wide."
                )
            if "um" in window and patches["um_per_px"] != "native":
                field = patches["width_px"] * patches["um_per_px"]
                if window["um"] > field + patches["um_per_px"]:
                    raise UserError(
                        f"{where}: `methods.{arm}` looks at {window['um']:g} µm but the patch spans "
                        f"{field:g} µm; raise `patches.width_px`."
                    )
        return method

    def _check_photos(self, where: str, name: str, patches: Mapping[str, Any] | None) -> None:
        """Refuse a cohort that holds no photographs, or photographs without patches to cut them like."""
        if self.cohort(name, f"{where}: `needs.photos`")["origin"] != "photos":
            raise UserError(
                f"{where}: `needs.photos` names the cohort `{name}`, which is none of photographs; name one "
                "with `origin: photos`."
            )
        if patches is None:
            raise UserError(
                f"{where} learns from photographs cut like patches but `patches` is null; describe the "
                "patches or set `enabled: false` for the method."
            )

    def _check_combination(self, where: str, value: Mapping[str, Any]) -> None:
        """Refuse settings that are each fine but mean nothing together."""
        paper = value["mode"] == "paper"
        if not value["methods"]:
            raise UserError(f"{where}: every method is switched off; enable at least one.")
        if value["folds"]["scheme"] == "leave_one_section_out" and not paper:
            raise UserError(
                f"{where}: `folds.scheme: leave_one_section_out` trains on other sections of the test "
                "patient; use `leave_one_patient_out`, or set `mode: paper` to repeat a paper with its leak."
            )
        if value["panel"]["scope"] == "all" and not paper:
            raise UserError(
                f"{where}: `panel.scope: all` chooses genes on test sections; use `train`, or set "
                "`mode: paper` to repeat a paper with its leak."
            )
        if value["panel"]["rule"] == "file" and not value["panel"]["file"]:
            raise UserError(
                f"{where}: `panel.rule: file` needs `panel.file`; name a text file with the genes."
            )
        if value["panel"]["file"]:
            self._check_list(where, value["panel"])
        folds = value["folds"]
        if folds["scheme"] == "k_fold_patients" and not (folds["k"] or folds["held_out"]):
            raise UserError(
                f"{where}: `folds.scheme: k_fold_patients` needs `folds.k`; give the number of folds."
            )
        for arm in value.get("scatter", []):
            if arm not in value["methods"]:
                raise UserError(f"{where}: `scatter` names `{arm}`; {near(arm, value['methods'])}")
        for arm in value.get("about", []):
            if arm not in value["methods"]:
                raise UserError(f"{where}: `about` names `{arm}`; {near(arm, value['methods'])}")
        for arm in value["maps"].get("methods", []):
            if arm not in value["methods"]:
                raise UserError(f"{where}: `maps.methods` names `{arm}`; {near(arm, value['methods'])}")
        section = value["maps"].get("section")
        if section is not None and section not in value["sections"]:
            raise UserError(f"{where}: `maps.section` names `{section}`; {near(section, value['sections'])}")
        self._check_fit(where, value["patches"] or {})
        self._check_reference(where, value)
        cohort = self.cohorts[value["cohort"]]
        if value["patches"] is not None and cohort["origin"] != "simulation":
            for section in value["sections"]:
                if "image" not in self.section_files(value["cohort"], section):
                    raise UserError(
                        f"{where}: section `{section}` of cohort `{value['cohort']}` has no image; "
                        "leave it out of `sections` or set `patches: null`."
                    )

    def _check_list(self, where: str, panel: Mapping[str, Any]) -> None:
        """Refuse a list of genes that is not there, or that the rule does not look at."""
        check_path(panel["file"], "panel.file", where)
        if panel["rule"] != "file":
            raise UserError(
                f"{where}: `panel.file` has no effect with `panel.rule: {panel['rule']}`; set `rule: file`, "
                "or `file: null`."
            )
        path = self.project / panel["file"]
        if not path.is_file():
            raise UserError(f"{where}: `panel.file` names {path}, which is no file; correct the path.")

    def _check_fit(self, where: str, patches: Mapping[str, Any]) -> None:
        """Refuse a fit by StainTools where there is nothing to fit, or no StainTools."""
        if patches.get("fit", "own") == "own":
            return
        if patches["stain"] == "raw":
            raise UserError(
                f"{where}: `patches.fit: {patches['fit']}` needs stains to be normalised; set "
                "`patches.stain: vahadane` or `macenko`, or remove it."
            )
        from histobench.imaging.staintools_fit import require_staintools

        require_staintools(f"{where}: `patches.fit: {patches['fit']}`")

    def _check_reference(self, where: str, value: Mapping[str, Any]) -> None:
        """Refuse a stain reference that does not exist or is not used; the audit judges whose it is."""
        reference = (value["patches"] or {}).get("stain_reference")
        if reference is None:
            return
        if value["patches"]["stain"] == "raw":
            raise UserError(
                f"{where}: `patches.stain_reference` needs stains to be normalised; set `patches.stain: "
                "vahadane` or `macenko`, or remove it."
            )
        known = self.cohorts[value["cohort"]]["sections"]
        if reference not in known:
            raise UserError(
                f"{where}: `patches.stain_reference` names `{reference}`, which cohort `{value['cohort']}` "
                f"does not have; {near(reference, known)}"
            )
        if "image" not in self.section_files(value["cohort"], reference):
            raise UserError(
                f"{where}: `patches.stain_reference` names `{reference}`, which has no image; name another."
            )

    def _folds(self, where: str, value: Mapping[str, Any]) -> dict[str, Fold]:
        cohort = self.cohorts[value["cohort"]]
        patients = {section: cohort["sections"][section]["patient"] for section in value["sections"]}
        scheme = {key: value["folds"][key] for key in ("scheme", "k", "valid_patients", "held_out")}
        try:
            folds = make_folds(patients, seed=min(value["seeds"]), **scheme)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        return {fold.name: fold for fold in folds}

    # -- asking ----------------------------------------------------------------------------------

    def section_files(self, cohort: str, section: str) -> dict[str, str]:
        """Return a section's raw files by kind, as paths inside its source.

        A template whose key the section lacks is left out.
        """
        settings = self.cohorts[cohort]
        keys = {"section": section, **settings["sections"][section]}
        files = {}
        for kind, template in settings["files"].items():
            try:
                files[kind] = template.format_map(keys)
            except KeyError:
                continue
        return files

    def asked_encoders(self, experiment: str) -> list[dict[str, Any]]:
        """Return what is declared of each encoder that an experiment compares, also of those missing here.

        Each with its label as ``encoder``, whether it is ``pretrained``, and ``missing``: what keeps it from
        being had and what brings it, or None.
        """
        value = self.experiments[experiment]
        described = ("title", "parameters", "dimension", "terms", "pretraining", "citation")
        found = []
        for choice in self._choices(value):
            declared = self.encoder(choice.encoder)
            found.append(
                {
                    "encoder": choice.label,
                    "pretrained": choice.pretrained,
                    "missing": value["missing_encoders"].get(choice.label),
                    **{key: declared[key] for key in described if declared.get(key) is not None},
                }
            )
        return found

    def _choices(self, experiment: Mapping[str, Any]) -> list[Choice]:
        declared = [file.stem for file in (self.project / "config/encoders").glob("*.yaml")]
        return encoder_choices(experiment["encoders"], {*declared, *self.config["encoders"]})

    def arms(self, experiment: str) -> dict[str, tuple[str, int]]:
        """Return the method folders of an experiment: name -> (arm, seed).

        The first seed's folder bears the arm's own name, further ones add ``.seedN``.
        """
        value = self.described(experiment)
        first = value["seeds"][0]
        return {
            arm if seed == first else f"{arm}.seed{seed}": (arm, seed)
            for arm in value["methods"]
            for seed in value["seeds"]
        }

    def plain(self) -> dict[str, Any]:
        """Return the complete settings as plain values, for provenance and for the report."""
        experiments = copy.deepcopy(self.experiments)
        for value in experiments.values():
            full = value["folds"].pop("full")
            made = [*value["folds"]["made"].values(), *([full] if full else [])]
            value["folds"]["made"] = {
                fold.name: {"train": list(fold.train), "valid": list(fold.valid), "test": list(fold.test)}
                for fold in made
            }
        return {"config": self.config, "cohorts": copy.deepcopy(self.cohorts), "experiments": experiments}

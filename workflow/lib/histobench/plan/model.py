"""What a run is made of: cohorts, sections, experiments with their folds, methods and models, and branches.

Frozen objects, made once from the checked configuration (:class:`histobench.config.benchmark.Benchmark`,
which has said everything that is wrong with it), that know their files. The functions of the other modules of
this room are asked about them by the rules.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from histobench import paths
from histobench.cohorts.fetch.archives import split_member
from histobench.cohorts.fetch.gdc import lock_rows, read_manifest
from histobench.cohorts.fetch.lock import LockedFile
from histobench.config.benchmark import Benchmark
from histobench.imaging.stains import DEFAULT, NORMALISED, stain_name
from histobench.plan.branches import AS, plain_name
from histobench.plan.weights import published_rows
from histobench.splits.folds import FULL_FOLD, Fold

Settings = Mapping[str, Any]
# What a rule is given as input: paths by name.
Files = dict[str, str | list[str]]

# Stain and whose is the target; scale, or whose training sections set it; width.
VARIANT = rf"(raw|({'|'.join(NORMALISED)})(@[^/]+)?)-(native|[0-9.]+um|{re.escape(AS)}[A-Za-z0-9_.-]+)-\d+px"

#: Weights of folds stay by themselves in runs of at most so many trainings: tens of gigabytes.
MANY_TRAININGS = 1000


@dataclass(frozen=True)
class Section:
    """A section of a cohort; ``raw`` are its raw files by kind, where they lie or will lie."""

    name: str
    patient: str
    cohort: str
    raw: Mapping[str, str]

    @property
    def has_image(self) -> bool:
        """Whether there is an image to cut patches from."""
        return "image" in self.raw

    @property
    def counts(self) -> str:
        """The validated section."""
        return paths.at(paths.SECTION, cohort=self.cohort, section=self.name)

    @property
    def row(self) -> str:
        """Its line in the table of the cohort."""
        return paths.at(paths.SECTION_ROW, cohort=self.cohort, section=self.name)

    def stain(self, name: str = DEFAULT) -> str:
        """Return the fit of its stains by one treatment."""
        pattern = paths.STAIN if name == DEFAULT else paths.OTHER_STAIN
        return paths.at(pattern, cohort=self.cohort, section=self.name, stain=name)


@dataclass(frozen=True)
class Cohort:
    """A cohort with all its sections; ``settings`` is everything that its YAML file says."""

    name: str
    origin: str
    source: str
    settings: Settings
    sections: Mapping[str, Section]

    @property
    def options(self) -> Settings:
        """What its reader is told."""
        options: Settings = self.settings["options"]
        return options

    @property
    def simulated(self) -> bool:
        """Whether this project draws it."""
        return self.origin == "simulation"

    @property
    def of_slides(self) -> bool:
        """Whether it holds slides without spots."""
        return self.origin == "slides"

    @property
    def downloaded(self) -> bool:
        """Whether its raw files come from a publisher."""
        return self.origin not in ("local", "simulation")

    @property
    def table(self) -> str:
        """The table of its sections."""
        return paths.at(paths.SECTIONS, cohort=self.name)

    @property
    def genes(self) -> str:
        """The table of its genes."""
        return paths.at(paths.GENES, cohort=self.name)

    def patients(self, sections: Iterable[str]) -> dict[str, str]:
        """Return section -> patient."""
        return {section: self.sections[section].patient for section in sections}


@dataclass(frozen=True)
class Patches:
    """The image field around every spot; ``um_per_px`` is a number, "native" or as.EXPERIMENT."""

    stain: str
    stain_reference: str | None
    um_per_px: float | str
    width_px: int

    @property
    def scale(self) -> str:
        """The scale as variants name it."""
        return self.um_per_px if isinstance(self.um_per_px, str) else f"{self.um_per_px:g}um"

    @property
    def variant(self) -> str:
        """Name of the array of patches: stain (and whose is the target), scale and width."""
        stain = f"{self.stain}@{self.stain_reference}" if self.stain_reference else self.stain
        return f"{stain}-{self.scale}-{self.width_px}px"

    @property
    def known_scale(self) -> float | str | None:
        """The scale where the configuration says it; None where a file will."""
        return None if str(self.um_per_px).startswith(AS) else self.um_per_px


@dataclass(frozen=True)
class Variant:
    """A name of patches taken apart: stain, target ("" for the published one), scale, width in pixels."""

    stain: str
    target: str
    scale: str
    width_px: int

    @classmethod
    def named(cls, name: str) -> Variant:
        """Take a name apart; the name of an experiment in it may hold hyphens."""
        match = re.fullmatch(rf"(.*?)-(native|[0-9.]+um|{re.escape(AS)}.+)-(\d+)px", name)
        if match is None:
            raise ValueError(f"{name!r} names no patches")
        stain, _, target = match[1].partition("@")
        return cls(stain, target, match[2], int(match[3]))


@dataclass(frozen=True)
class Arm:
    """A compared method; ``settings`` is everything that its YAML file and the experiment say."""

    name: str
    settings: Settings

    @property
    def title(self) -> str:
        """Its name."""
        return str(self.settings["title"])

    @property
    def short(self) -> str:
        """Its name on axes and in tables."""
        return str(self.settings["short"])

    @property
    def family(self) -> str:
        """Control, oracle, classical or deep."""
        return str(self.settings["family"])

    @property
    def place(self) -> int | None:
        """Its declared place among the methods of its family."""
        place: int | None = self.settings["place"]
        return place

    @property
    def needs(self) -> Settings:
        """What it must be given."""
        needs: Settings = self.settings["needs"]
        return needs

    @property
    def field_um(self) -> float | None:
        """Side of a field of its own in micrometres, where the experiment gives it one."""
        side: float | None = self.settings["field_um"]
        return side

    @property
    def modules(self) -> list[str]:
        """The modules behind it."""
        return [entry.split(":")[0] for entry in (self.settings["entry"], *self.settings["uses"])]

    @property
    def threads(self) -> int:
        """Those of its file, however many cores there are: results differ between numbers of threads."""
        return int(self.settings["resources"].get("threads", 1))

    @property
    def memory(self) -> int:
        """Memory of a first attempt in MB."""
        return int(self.settings["resources"].get("mem_mb", 4000))

    @property
    def minutes(self) -> int:
        """Time of a first attempt."""
        return int(self.settings["resources"].get("runtime", 60))


@dataclass(frozen=True)
class Run:
    """What trains under one name: an arm with a seed. The first seed bears the name of the arm."""

    name: str
    arm: Arm
    seed: int

    @property
    def title(self) -> str:
        """The name of the method, with the seed where it is not the first."""
        return self.arm.short if self.name == self.arm.name else f"{self.arm.short} (seed {self.seed})"


@dataclass(frozen=True)
class Model:
    """A trained method and its files."""

    experiment: str
    run: str
    fold: str

    def _at(self, pattern: str) -> str:
        return paths.at(pattern, experiment=self.experiment, method=self.run, fold=self.fold)

    @property
    def folder(self) -> str:
        """Where everything of it lies."""
        return self._at(paths.MODEL)

    @property
    def weights(self) -> str:
        """Its weights."""
        return self._at(paths.WEIGHTS)

    @property
    def history(self) -> str:
        """Losses by epoch."""
        return self._at(paths.HISTORY)

    @property
    def record(self) -> str:
        """What its training was and took."""
        return self._at(paths.RUN_RECORD)


@dataclass(frozen=True)
class Experiment:
    """A protocol on one cohort, with the methods that are compared under it.

    ``settings`` is everything that is configured; ``external`` names other cohorts with their sections.
    """

    name: str
    cohort: Cohort
    sections: tuple[str, ...]
    folds: Mapping[str, Fold]
    full: Fold | None
    arms: Mapping[str, Arm]
    runs: Mapping[str, Run]
    patches: Patches | None
    external: Mapping[str, tuple[str, ...]]
    settings: Settings

    @property
    def rule_name(self) -> str:
        """How names of rules name it."""
        return plain_name(self.name)

    @property
    def title(self) -> str:
        """Its title."""
        return str(self.settings["title"])

    @property
    def mode(self) -> str:
        """Harmonised, or a paper's protocol."""
        return str(self.settings["mode"])

    @property
    def qc(self) -> str:
        """The filter of spots and genes."""
        return str(self.settings["qc"])

    @property
    def transform(self) -> str:
        """The target transform."""
        return str(self.settings["transform"])

    @property
    def seed(self) -> int:
        """The seed of everything that is no training."""
        return int(min(self.settings["seeds"]))

    @property
    def trained_by(self) -> str:
        """The experiment that trains its models."""
        return self.name

    @property
    def every_fold(self) -> list[Fold]:
        """Every fold that trains, also the one on everybody."""
        return [*self.folds.values(), *([self.full] if self.full else [])]

    @property
    def takes_scale(self) -> bool:
        """Whether patches are cut at a scale that the training sections set."""
        return self.patches is not None and self.patches.known_scale is None

    @property
    def own_and_external(self) -> list[tuple[str, tuple[str, ...]]]:
        """The cohort and the external ones, each with the sections that take part."""
        return [(self.cohort.name, self.sections), *self.external.items()]

    @property
    def audit(self) -> str:
        """The audit of what its models were trained on."""
        return paths.at(paths.AUDIT, experiment=self.trained_by)

    @property
    def tables(self) -> str:
        """The folder of its tables."""
        return paths.at(paths.TABLES, experiment=self.name)

    def fold(self, name: str) -> Fold:
        """Return a fold by name, also the training on everybody."""
        if name == FULL_FOLD and self.full:
            return self.full
        return self.folds[name]

    def own(self, pattern: str, **wildcards: str) -> str:
        """Return a file of this experiment."""
        return paths.at(pattern, experiment=self.name, **wildcards)

    def trained(self, pattern: str, **wildcards: str) -> str:
        """Return a file of the experiment that trains the models."""
        return paths.at(pattern, experiment=self.trained_by, **wildcards)

    def model(self, run: str, fold: str) -> Model:
        """Return a trained method."""
        return Model(self.trained_by, run, fold)

    def patches_of(self, arm: Arm) -> Patches | None:
        """Return the patches that a method sees: the experiment's, or as many pixels of its own field."""
        if self.patches and arm.field_um:
            return replace(self.patches, um_per_px=arm.field_um / self.patches.width_px)
        return self.patches

    def features_of(self, arm: Arm) -> str:
        """Return the name of the frozen features that a method is given, ENCODER.START.VARIANT."""
        start = "pretrained" if arm.settings["pretrained"] else "none"
        patches = self.patches_of(arm)
        return f"{arm.needs['features']}.{start}.{patches.variant if patches else ''}"

    def patients(self) -> dict[str, str]:
        """Return section -> patient of every section that takes part."""
        return self.cohort.patients(self.sections)

    def here(self, sections: Iterable[str]) -> list[Section]:
        """Return sections of the cohort by name."""
        return [self.cohort.sections[section] for section in sections]

    def able(self, ability: str) -> list[str]:
        """Return the methods with an ability of ``gives``."""
        return [name for name, arm in self.arms.items() if arm.settings["gives"][ability]]

    def of_family(self, family: str) -> list[str]:
        """Return the methods of a family."""
        return [name for name, arm in self.arms.items() if arm.family == family]


@dataclass(frozen=True)
class Branch(Experiment):
    """The models of an experiment, trained on everybody, on another cohort: described like an experiment."""

    home: str

    @property
    def trained_by(self) -> str:
        """The experiment that it branches from."""
        return self.home


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that a run will make.

    Attributes
    ----------
    bench
        The checked configuration.
    cohorts, experiments, branches
        By name; a branch is named EXPERIMENT/external/COHORT.
    tested
        Experiments and branches with results of their own: those that test somebody.
    lock
        What the data lock says of every published file, by source and file.
    project
        The checkout, as seen from the working folder, so that both can be moved together.
    """

    bench: Benchmark
    cohorts: Mapping[str, Cohort]
    experiments: Mapping[str, Experiment]
    branches: Mapping[str, Branch]
    tested: Mapping[str, Experiment]
    lock: Mapping[tuple[str, str], LockedFile]
    project: str

    def described(self, name: str) -> Experiment:
        """Return an experiment or a branch."""
        return self.experiments[name] if name in self.experiments else self.branches[name]

    def shipped(self, file: str) -> str:
        """Return a file of this repository as seen from the working folder."""
        return os.path.normpath(f"{self.project}/{file}")

    @functools.cached_property
    def used(self) -> Mapping[str, list[Section]]:
        """Sections by cohort that some experiment uses, in the cohort's own order."""
        asked: dict[str, set[str]] = {name: set() for name in self.cohorts}
        for experiment in self.experiments.values():
            asked[experiment.cohort.name] |= set(experiment.sections)
            for name, sections in experiment.external.items():
                asked[name] |= set(sections)
        return {
            name: [section for key, section in cohort.sections.items() if key in asked[name]]
            for name, cohort in self.cohorts.items()
        }

    @property
    def read(self) -> list[str]:
        """Cohorts with sections that some experiment uses; others are only prepared, or have no spots."""
        return [name for name, cohort in self.cohorts.items() if not cohort.of_slides and self.used[name]]

    @functools.cached_property
    def keep(self) -> str:
        """Which weights stay after the run: ``all``, ``full`` or ``none`` (:mod:`histobench.plan.keep`)."""
        asked = str(self.bench.config["keep"])
        if asked != "auto":
            return asked
        trained = sum(len(each.runs) * len(each.every_fold) for each in self.experiments.values())
        return "all" if trained <= MANY_TRAININGS else "full"

    @property
    def uses_gpu(self) -> bool:
        """Whether networks may run on a GPU."""
        return bool(self.bench.config["device"] != "cpu")


def make_plan(bench: Benchmark) -> Plan:
    """Make the plan of a checked configuration."""
    cohorts = {name: _cohort(bench, name) for name in bench.cohorts}
    experiments = {name: Experiment(**_parts(bench, name, cohorts)) for name in bench.experiments}
    branches = {
        name: Branch(**_parts(bench, name, cohorts), home=settings["trained_by"])
        for name, settings in bench.branches.items()
    }
    lock = bench.lock | published_rows(bench)
    for cohort in cohorts.values():
        if cohort.of_slides:  # their manifests say what a lock says
            lock |= lock_rows(read_manifest(bench.table(cohort.name)), cohort.source)
    every: dict[str, Experiment] = {**experiments, **branches}
    return Plan(
        bench=bench,
        cohorts=cohorts,
        experiments=experiments,
        branches=branches,
        tested={name: each for name, each in every.items() if each.folds},
        lock=lock,
        project=os.path.relpath(bench.project),
    )


def _cohort(bench: Benchmark, name: str) -> Cohort:
    settings = bench.cohorts[name]
    return Cohort(
        name=name,
        origin=settings["origin"],
        source=settings["source"],
        settings=settings,
        sections={
            section: Section(section, record["patient"], name, _raw_files(bench, name, section))
            for section, record in settings["sections"].items()
        },
    )


def _raw_files(bench: Benchmark, name: str, section: str) -> dict[str, str]:
    """Raw files of a section by kind: below results/, or a user's own where they lie."""
    files, origin = bench.section_files(name, section), bench.cohorts[name]["origin"]
    if origin == "local":
        return files
    source = name if origin == "simulation" else bench.cohorts[name]["source"]
    return {kind: raw_path(source, file) for kind, file in files.items()}


def raw_path(source: str, file: str) -> str:
    """Return where a published file lies, also one that has to be unpacked from an archive first."""
    archive, member = split_member(file)
    if member:
        return paths.at(paths.UNPACKED_FILE, source=source, archive=archive, member=member)
    return paths.at(paths.RAW_FILE, source=source, file=archive)


def _parts(bench: Benchmark, name: str, cohorts: Mapping[str, Cohort]) -> dict[str, Any]:
    """Return the fields of an experiment or branch."""
    settings = bench.described(name)
    arms = {arm: Arm(arm, method) for arm, method in settings["methods"].items()}
    patches = settings["patches"]
    return {
        "name": name,
        "cohort": cohorts[settings["cohort"]],
        "sections": tuple(settings["sections"]),
        "folds": settings["folds"]["made"],
        "full": settings["folds"]["full"],
        "arms": arms,
        "runs": {run: Run(run, arms[arm], seed) for run, (arm, seed) in bench.arms(name).items()},
        "patches": patches
        and Patches(
            stain=stain_name(patches["stain"], patches["fit"]),
            stain_reference=patches["stain_reference"],
            um_per_px=patches["um_per_px"],
            width_px=patches["width_px"],
        ),
        "external": {other["cohort"]: tuple(other["sections"]) for other in settings["external"]},
        "settings": settings,
    }


def constraints(plan: Plan) -> dict[str, str]:
    """Return what a wildcard of a rule may be."""
    every = [*plan.experiments.values(), *plan.branches.values()]
    sections = {re.escape(section) for cohort in plan.cohorts.values() for section in cohort.sections}
    folds = {re.escape(fold) for experiment in every for fold in [*experiment.folds, FULL_FOLD]}
    return {
        "experiment": "|".join(experiment.name for experiment in every),
        "cohort": "|".join(plan.cohorts),
        "section": "|".join(sorted(sections)),
        "fold": "|".join(sorted(folds)),
        "method": r"[A-Za-z][A-Za-z0-9_]*(\.seed\d+)?",
        "profile": r"[a-z][a-z0-9_]*",
        "stain": "|".join(name for name in NORMALISED if name != DEFAULT),
        "variant": VARIANT,
        "backbone": rf"[a-z0-9_]+\.(pretrained|none)\.{VARIANT}",
    }


def among(names: Iterable[str]) -> str:
    """Return the constraint of a wildcard that is one of some names, or nothing at all."""
    return "|".join(map(re.escape, names)) or "none"

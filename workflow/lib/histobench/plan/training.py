"""Folds, panels, the audit, and what training and prediction of a method are given.

Functions take the plan and, by name, the wildcards of the rule that asks.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from histobench import paths
from histobench.imaging.stains import stain_name
from histobench.plan.batches import FEATURES, PATCHES
from histobench.plan.data import gene_limits, kept_counts, lists, recipe, target
from histobench.plan.encoders import SEPARATOR
from histobench.plan.model import Arm, Experiment, Files, Patches, Plan, among
from histobench.plan.weights import feature_file, start_file
from histobench.splits.folds import Fold

# A method whose YAML file states at most so many minutes and no GPU trains all its folds in one job.
QUICK_MINUTES = 60
# A head whose file states at most so many minutes trains with the other heads on the same features.
HEAD_MINUTES = 120


# -- folds and panels ----------------------------------------------------------------------------
def fold_settings(plan: Plan, experiment: str) -> dict[str, Any]:
    """Return what decides who trains and who is tested."""
    described = plan.experiments[experiment]
    folds = described.settings["folds"]
    return {
        "cohort": described.cohort.name,
        "folds": {key: folds[key] for key in ("held_out", "k", "scheme", "valid_patients")},
        "full": bool(described.full),
        "patients": described.patients(),
        "seed": described.seed,
    }


def training_sections(plan: Plan, experiment: str, fold: str) -> list[str]:
    """Return the sections that a fold trains and validates on."""
    asked = plan.described(experiment).fold(fold)
    return [*asked.train, *asked.valid]


def tested_sections(described: Experiment) -> list[str]:
    """Return every section that some fold tests, in the order in which the folds name them first."""
    return list(dict.fromkeys(section for fold in described.folds.values() for section in fold.test))


def panel_sections(plan: Plan, experiment: str, fold: str) -> list[str]:
    """Return where genes are chosen: on the sections of training, unless a paper's leak is repeated."""
    described = plan.described(experiment)
    if described.settings["panel"]["scope"] == "all":
        return list(described.sections)
    return training_sections(plan, experiment, fold)


def panel_input(plan: Plan, experiment: str, fold: str) -> Files:
    """Return lists of what the panel of a fold is chosen on, and the published list where there is one."""
    described = plan.described(experiment)
    listed = described.settings["panel"]["file"]
    files: Files = {"lists": kept_counts(plan, described, panel_sections(plan, experiment, fold))}
    return {**files, "listed": plan.shipped(listed)} if listed else files


def panel_settings(plan: Plan, experiment: str) -> dict[str, Any]:
    """Return how a panel is chosen."""
    described = plan.described(experiment)
    chosen = {key: value for key, value in sorted(described.settings["panel"].items()) if key != "file"}
    return {**chosen, "limits": gene_limits(plan, described.qc)}


def training_roles(fold: Fold) -> dict[str, str]:
    """Return what training is given of a fold, and for what."""
    return {
        **dict.fromkeys(fold.train, "train"),
        **dict.fromkeys(fold.valid, "valid"),
    }


# -- the audit -----------------------------------------------------------------------------------
def other_cohorts(plan: Plan, experiment: str) -> list[str]:
    """Return the external cohorts with spots of an experiment, without its own."""
    described = plan.described(experiment)
    return [
        name
        for name in described.external
        if name != described.cohort.name and not plan.cohorts[name].of_slides
    ]


def compared_cohorts(plan: Plan, experiment: str) -> list[str]:
    """Return the cohorts whose sections are compared with those of the training, its own first."""
    return [plan.described(experiment).cohort.name, *other_cohorts(plan, experiment)]


def audited_folds(plan: Plan, experiment: str) -> list[str]:
    """Return every fold that trains."""
    return [fold.name for fold in plan.described(experiment).every_fold]


def _begun(plan: Plan, experiment: str) -> list[Experiment]:
    """Return the experiments whose training goes before an experiment's own, the last of them first."""
    found: list[Experiment] = []
    while (name := (found[-1] if found else plan.experiments[experiment]).settings["start_from"]) is not None:
        found.append(plan.experiments[name])
    return found


def audit_settings(plan: Plan, experiment: str) -> dict[str, Any]:
    """Return what the configuration says that may leak."""
    described = plan.experiments[experiment]
    settings, own = described.settings, described.cohort
    cohorts = [own.name, *described.external]
    begun = _begun(plan, experiment)
    cohorts = list(dict.fromkeys([*cohorts, *(before.cohort.name for before in begun)]))
    cohorts = list(cohorts)
    patches = settings["patches"] or {"stain": "raw", "stain_reference": None}

    def told(cohort: str, section: str) -> dict[str, str]:
        patient = plan.cohorts[cohort].sections[section].patient
        return {"cohort": cohort, "section": section, "patient": patient}

    reference = patches["stain_reference"]
    start = [
        (before.cohort.name, section)
        for before in begun
        if before.full
        for section in training_roles(before.full)
    ]
    return {
        "aliases": {name: dict(sorted(plan.cohorts[name].settings["aliases"].items())) for name in cohorts},
        "external": [
            told(cohort, section) for cohort, sections in described.external.items() for section in sections
        ],
        "methods": {
            arm.name: {"family": arm.family, "oracle": arm.needs["oracle"]}
            for _, arm in sorted(described.arms.items())
        },
        "mode": described.mode,
        # of an experiment without external cohorts the folds name all patients
        "patients": {
            name: sorted({section.patient for section in plan.used[name]})
            for name in (cohorts if other_cohorts(plan, experiment) else [])
        },
        "panel_rule": settings["panel"]["rule"],
        "panel_scope": settings["panel"]["scope"],
        "same_patients": {
            name: plan.cohorts[name].settings["same_patients_as"]
            for name in cohorts
            if plan.cohorts[name].settings["same_patients_as"]
        },
        "scheme": settings["folds"]["scheme"],
        "start": [told(cohort, section) for cohort, section in dict.fromkeys(start)],
        "stain": patches["stain"],
        "stain_reference": told(own.name, reference) if reference else None,
        "training": {fold.name: training_roles(fold) for fold in described.every_fold},
    }


def audit_input(plan: Plan, experiment: str) -> Files:
    """Return what shows whether something leaked: on whom genes were chosen, what images look like."""
    described = plan.experiments[experiment]
    hashes = [
        paths.at(paths.IMAGE_HASH, cohort=cohort, section=section)
        for cohort, sections in described.own_and_external
        for section in sections
        if described.patches and plan.cohorts[cohort].sections[section].has_image
    ]
    twins = [
        paths.at(paths.SAME_SECTIONS, cohort=described.cohort.name, other=other)
        for other in compared_cohorts(plan, experiment)
    ]
    panels = [described.own(paths.PANEL_SECTIONS, fold=fold.name) for fold in described.every_fold]
    return {"images": hashes, "panels": panels, "twins": twins}


# -- training and prediction ---------------------------------------------------------------------
def images(plan: Plan, described: Experiment, arm: Arm, sections: Iterable[str]) -> list[str]:
    """Return lists of what a method sees of the images of some sections: patches, features, or nothing."""
    names, patches = list(sections), described.patches_of(arm)
    files = []
    if arm.needs["patches"] and patches:
        files += lists(plan, PATCHES, described.cohort.name, patches.variant, names)
    if arm.needs["features"]:
        files += lists(plan, FEATURES, described.cohort.name, described.features_of(arm), names)
    return files


def photo_tiles(plan: Plan, patches: Patches, arm: Arm) -> list[str]:
    """Return photographs cut like what the method sees of a patch: as wide, at the same scale."""
    name = arm.needs["photos"]
    window = arm.settings["window"] or {"px": patches.width_px}
    own_scale = plan.cohorts[name].options["um_per_px"]
    scale = own_scale if isinstance(patches.um_per_px, str) else patches.um_per_px
    width = window.get("px") or round(window["um"] / scale)
    variant = Patches(patches.stain, None, patches.um_per_px, width).variant
    both = (paths.PHOTO_TILES, paths.PHOTO_INDEX)
    return [paths.at(pattern, cohort=name, variant=variant) for pattern in both]


def training_input(plan: Plan, experiment: str, method: str, fold: str) -> Files:
    """Return what one training sees and starts from: never images of the tested patients."""
    return _training_files(plan, experiment, method, training_sections(plan, experiment, fold))


def quick_training_input(plan: Plan, experiment: str, method: str) -> Files:
    """Return what the trainings of all folds see together; each is handed the sections of its own fold."""
    return _training_files(plan, experiment, method, trained_sections(plan.experiments[experiment]))


def trained_sections(described: Experiment) -> list[str]:
    """Return every section that some fold trains or validates on, in the order of the experiment."""
    trained = {section for fold in described.every_fold for section in training_roles(fold)}
    return [section for section in described.sections if section in trained]


def _training_files(plan: Plan, experiment: str, method: str, sections: Iterable[str]) -> Files:
    described = plan.experiments[experiment]
    arm = described.runs[method].arm
    files: Files = {"images": images(plan, described, arm, sections)}
    start = described.settings["start_from"]
    if start and arm.family == "deep":
        files["start_weights"] = plan.experiments[start].model(method, "all").weights
    published = {
        "weights_file": start_file(arm.settings, described.settings["weights"]),
        "encoder_file": feature_file(plan.bench, described.settings, arm.settings),
    }
    files |= {kind: file for kind, file in published.items() if file}
    if arm.needs["photos"] and described.patches:
        files["photos"] = photo_tiles(plan, described.patches, arm)
    return files


def prediction_input(plan: Plan, experiment: str, method: str) -> Files:
    """Return what models of all folds predict from; a branch takes genes and weights from its experiment."""
    return _prediction_files(plan, experiment, [method])


def _prediction_files(plan: Plan, experiment: str, methods: list[str]) -> Files:
    described = plan.described(experiment)
    models = [described.model(method, fold) for method in methods for fold in described.folds]
    sections = tested_sections(described)
    seen = images(plan, described, described.runs[methods[0]].arm, sections)
    files: Files = {
        "lists": [*kept_counts(plan, described, sections), *seen],
        "panel": [described.trained(paths.PANEL, fold=fold) for fold in described.folds],
        "weights": [model.weights for model in models],
    }
    if described.trained_by == described.name:
        return files
    files["measured"] = [described.own(paths.PANEL, fold=fold) for fold in described.folds]
    if described.takes_scale:
        files["scale"] = described.trained(paths.SCALE)
    return files


def method_settings(plan: Plan, experiment: str, method: str, fold: str) -> dict[str, Any]:
    """Return everything of the configuration that a trained model depends on."""
    roles = training_roles(plan.described(experiment).fold(fold))
    return {**_every_fold(plan, experiment, method), "fold": fold, "roles": roles}


def quick_training_settings(plan: Plan, experiment: str, method: str) -> dict[str, Any]:
    """Return everything of the configuration that the models of all folds depend on."""
    described = plan.experiments[experiment]
    return {**_every_fold(plan, experiment, method), "folds": _trained(described)}


def _trained(described: Experiment) -> dict[str, dict[str, str]]:
    """Return who trains and validates by fold."""
    return {fold.name: training_roles(fold) for fold in described.every_fold}


def _every_fold(plan: Plan, experiment: str, method: str) -> dict[str, Any]:
    """Return what the models of a method have in common."""
    described = plan.described(experiment)
    run = described.runs[method]
    settings, patches = run.arm.settings, described.patches_of(run.arm)
    return {
        **encoder_settings(plan, run.arm),
        "entry": settings["entry"],
        "experiment": experiment,
        "image": image_settings(described),
        "method": method,
        "needs": dict(sorted(run.arm.needs.items())),
        "params": dict(sorted(settings["params"].items())),
        "patch_um_per_px": patches.known_scale if patches else None,
        "seed": run.seed,
        "threads": run.arm.threads,
        "transform": target(plan, described.transform),
        "weights": described.settings["weights"],
        "window": settings["window"],
    }


def encoder_settings(plan: Plan, arm: Arm) -> dict[str, Any]:
    """Return the recipe of the features that a method is given, for those who use its models later."""
    name = arm.needs["features"]
    return {"encoder": recipe(plan, name, arm.settings["pretrained"])} if name else {}


def image_settings(described: Experiment) -> dict[str, Any] | None:
    """Return how a model sees images, for those who use it later."""
    patches = described.settings["patches"]
    if not patches:
        return None
    reference = patches["stain_reference"]
    return {
        "stain": stain_name(patches["stain"], patches["fit"]),
        "stain_reference": reference and f"{described.cohort.name}/{reference}",
        "width_px": patches["width_px"],
    }


def prediction_settings(plan: Plan, experiment: str, method: str) -> dict[str, Any]:
    """Return everything of the configuration that predictions depend on, beside the models."""
    settings = _every_fold(plan, experiment, method)
    kept = {key: value for key, value in settings.items() if key not in ("encoder", "image")}
    return {**kept, "folds": _tested(plan.described(experiment))}


def _tested(described: Experiment) -> dict[str, list[str]]:
    """Return the tested sections by fold."""
    return {name: list(fold.test) for name, fold in described.folds.items()}


# -- what a job of a method asks of a machine ------------------------------------------------------
def method_modules(plan: Plan, experiment: str, method: str) -> list[str]:
    """Return the modules of a method."""
    return plan.described(experiment).runs[method].arm.modules


def method_threads(plan: Plan, experiment: str, method: str) -> int:
    """Return the threads that a method computes with."""
    return plan.described(experiment).runs[method].arm.threads


def method_memory(plan: Plan, experiment: str, method: str) -> int:
    """Return the memory of a first attempt in MB."""
    return plan.described(experiment).runs[method].arm.memory


def method_minutes(plan: Plan, experiment: str, method: str) -> int:
    """Return the minutes of a first attempt."""
    return plan.described(experiment).runs[method].arm.minutes


def has_network(plan: Plan, rule: str, wildcards: Any) -> bool:
    """Whether a job computes with a network, by the name of its rule and its wildcards."""
    experiment, method = (str(getattr(wildcards, name, "")) for name in ("experiment", "method"))
    if rule.startswith(("train_method", "train_quick", "predict_folds")) and experiment in plan.tested:
        runs = plan.described(experiment).runs
        arm = runs[method].arm if method in runs else None
        return arm is not None and bool(arm.family == "deep" or arm.needs["pretrained"])
    return rule.startswith("extract_features")


def method_gpu(plan: Plan, experiment: str, method: str) -> int:
    """Return how many GPUs a job of a method asks for; none on a run for the CPU."""
    return int(bool(plan.described(experiment).runs[method].arm.needs["gpu"]) and plan.uses_gpu)


def quick_minutes(plan: Plan, experiment: str, method: str) -> int:
    """Return the minutes of all folds together; what a method states is for one of them at most."""
    folds = len(plan.experiments[experiment].every_fold)
    return method_minutes(plan, experiment, method) * (3 + folds) // 4


#: Of predictions, before every training: weights that are not kept go after them.
AT_ONCE = 1_000_000


@functools.cache
def _turns(plan: Plan) -> dict[tuple[str, str], int]:
    runs = [(name, run) for name, described in plan.experiments.items() for run in described.runs]
    return {run: len(runs) - place for place, run in enumerate(runs)}


def turn(plan: Plan, experiment: str, method: str) -> int:
    """Return the priority of trainings: the folds of a method follow each other, so that few wait on disk."""
    return _turns(plan)[experiment, method]


@functools.cache
def quick_runs(plan: Plan) -> frozenset[str]:
    """Return what trains all its folds in one job: what takes minutes and no GPU, wherever it occurs."""
    runs = [(name, run) for name, described in plan.experiments.items() for run in described.runs]
    slow = {
        run
        for name, run in runs
        if method_minutes(plan, name, run) > QUICK_MINUTES or method_gpu(plan, name, run)
    }
    return frozenset(run for _, run in runs) - slow - head_runs(plan)


def slow_runs(plan: Plan) -> list[str]:
    """Return what has a job for every fold."""
    every = {run: None for described in plan.experiments.values() for run in described.runs}
    return [run for run in every if run not in quick_runs(plan) | head_runs(plan)]


def is_quick(plan: Plan, method: str) -> bool:
    """Whether all folds train in one job; on a cluster it shares a submission with predictions and scores."""
    return method in quick_runs(plan)


def of_every_fold(described: Experiment, pattern: str) -> list[str]:
    """Return a file of every fold that trains, with the other wildcards left for a rule to match."""
    return [paths.fixed(pattern, fold=fold.name) for fold in described.every_fold]


def of_tested_folds(described: Experiment, pattern: str) -> list[str]:
    """Return a file of every fold that tests somebody, with the other wildcards left for a rule to match."""
    return [paths.fixed(pattern, fold=fold) for fold in described.folds]


def experiments_with_quick_runs(plan: Plan) -> list[Experiment]:
    """Return the experiments with a method that trains all its folds in one job."""
    return [each for each in plan.experiments.values() if quick_runs(plan) & set(each.runs)]


# -- heads that compare encoders -------------------------------------------------------------------
@dataclass(frozen=True)
class Heads:
    """Heads that are all crossed with the same encoders: those on the features of one are one job.

    ``encoders`` are what follows the head in the name of a run: ENCODER, or ENCODER__FIELD, also with a seed.
    ``number`` tells those of one experiment apart, should a head train alone on some of its encoders.
    """

    heads: tuple[str, ...]
    encoders: tuple[str, ...]
    number: int

    @property
    def label(self) -> str:
        """What follows the experiment in the name of its rules."""
        return "" if self.number == 1 else f"_{self.number}"

    @property
    def named(self) -> dict[str, str]:
        """The wildcard in the names of its runs, by head."""
        return {head: f"{head}{SEPARATOR}{{encoder}}" for head in self.heads}

    def runs(self, encoder: str) -> list[str]:
        """Return the runs of one job, head by head."""
        return [name.format(encoder=encoder) for name in self.named.values()]

    def of_each(self, files: Iterable[str]) -> list[str]:
        """Return files of every head, head by head, with the encoder left for a rule to match."""
        each = list(files)
        return [paths.fixed(file, method=name) for name in self.named.values() for file in each]


def _is_head(plan: Plan, experiment: str, run: str) -> bool:
    """Whether a run takes minutes and sees features alone, in an experiment that compares encoders."""
    arm = plan.experiments[experiment].runs[run].arm
    sees_more = arm.needs["patches"] or arm.needs["photos"] or arm.needs["gpu"] or arm.family == "deep"
    return bool(arm.settings["head"]) and not sees_more and arm.minutes <= HEAD_MINUTES


@functools.cache
def head_runs(plan: Plan) -> frozenset[str]:
    """Return what trains with the other heads on the same features, wherever it occurs."""
    runs = [(name, run) for name, described in plan.experiments.items() for run in described.runs]
    others = {run for name, run in runs if not _is_head(plan, name, run)}
    return frozenset(run for _, run in runs) - others


@functools.cache
def heads_together(plan: Plan, experiment: str) -> list[Heads]:
    """Return the heads of an experiment or branch that share jobs."""
    described = plan.described(experiment)
    crossed: dict[str, list[str]] = {}
    for name, run in described.runs.items():
        if name in head_runs(plan):
            head = str(run.arm.settings["head"])
            crossed.setdefault(name.removeprefix(head + SEPARATOR), []).append(head)
    alike: dict[tuple[str, ...], list[str]] = {}
    for encoder, heads in crossed.items():
        alike.setdefault(tuple(heads), []).append(encoder)
    return [
        Heads(heads, tuple(encoders), number)
        for number, (heads, encoders) in enumerate(alike.items(), start=1)
    ]


def runs_alone(plan: Plan, described: Experiment) -> list[str]:
    """Return what is predicted in a job of its own."""
    return [run for run in described.runs if run not in head_runs(plan)]


def only_alone(plan: Plan, described: Experiment) -> dict[str, str]:
    """Return the constraint of the wildcard of predictions that leaves those of heads to another rule."""
    shares = heads_together(plan, described.name)
    return {"method": among(runs_alone(plan, described))} if shares else {}


def runs_on(plan: Plan, experiment: str, encoder: str) -> list[str]:
    """Return the runs that share a job, head by head."""
    return next(each.runs(encoder) for each in heads_together(plan, experiment) if encoder in each.encoders)


def head_training_input(plan: Plan, experiment: str, encoder: str) -> Files:
    """Return what the trainings of all heads and folds see together."""
    return quick_training_input(plan, experiment, runs_on(plan, experiment, encoder)[0])


def head_training_settings(plan: Plan, experiment: str, encoder: str) -> dict[str, Any]:
    """Return everything of the configuration that the models of all heads and folds depend on."""
    methods = [_every_fold(plan, experiment, run) for run in runs_on(plan, experiment, encoder)]
    return {"methods": methods, "folds": _trained(plan.experiments[experiment])}


def head_prediction_input(plan: Plan, experiment: str, encoder: str) -> Files:
    """Return what models of all heads and folds predict from."""
    return _prediction_files(plan, experiment, runs_on(plan, experiment, encoder))


def head_prediction_settings(plan: Plan, experiment: str, encoder: str) -> dict[str, Any]:
    """Return everything of the configuration that predictions of all heads depend on, beside the models."""
    each = [prediction_settings(plan, experiment, run) for run in runs_on(plan, experiment, encoder)]
    methods = [{key: value for key, value in settings.items() if key != "folds"} for settings in each]
    return {"methods": methods, "folds": _tested(plan.described(experiment))}


def head_modules(plan: Plan, experiment: str, encoder: str) -> list[str]:
    """Return the modules of all heads."""
    runs = runs_on(plan, experiment, encoder)
    return list(dict.fromkeys(module for run in runs for module in method_modules(plan, experiment, run)))


def head_threads(plan: Plan, experiment: str, encoder: str) -> int:
    """Return the threads of the head that computes with most."""
    return max(method_threads(plan, experiment, run) for run in runs_on(plan, experiment, encoder))


def head_memory(plan: Plan, experiment: str, encoder: str) -> int:
    """Return the memory of the head that needs most, in MB."""
    return max(method_memory(plan, experiment, run) for run in runs_on(plan, experiment, encoder))


def head_turn(plan: Plan, experiment: str, encoder: str) -> int:
    """Return the priority of heads, see :func:`turn`."""
    return turn(plan, experiment, runs_on(plan, experiment, encoder)[0])


def head_minutes(plan: Plan, experiment: str, encoder: str) -> int:
    """Return the minutes of all heads, one after the other."""
    trained_by = plan.described(experiment).trained_by
    return sum(quick_minutes(plan, trained_by, run) for run in runs_on(plan, experiment, encoder))

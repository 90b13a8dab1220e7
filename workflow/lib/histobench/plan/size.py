"""How much a run is, before anything runs: its jobs, GPU-hours, longest job and files to fetch.

Follows the plan from the report to the raw files, as Snakemake does, in a second and without looking at what
is there already.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from histobench import paths
from histobench.plan import across, cost, data, external, figures, manifest, tables, training
from histobench.plan.batches import FEATURES, Batch
from histobench.plan.disk import Disk, disk, spots
from histobench.plan.model import Experiment, Plan, among, constraints

Ask = Callable[..., Any]
Folds = Callable[[Experiment, str], list[str]]


@dataclass(frozen=True)
class Rule:
    """A rule as far as files are concerned: paths that it makes, what it asks the plan, further inputs.

    ``of`` names what its experiment must be: "experiments" or "branches"; "" where it does not matter.
    A rule that is ``joined`` makes the files of all those folds in one job. ``label`` tells several of one
    name apart, each of which makes the files of all its sections in one job.
    """

    name: str
    makes: tuple[str, ...]
    asks: Ask | None = None
    takes: tuple[str, ...] = ()
    of: str = ""
    joined: Folds | None = None
    values: Mapping[str, Iterable[str]] = field(default_factory=dict)
    label: str = ""


def _table(*names: str) -> dict[str, Iterable[str]]:
    return {"table": names}


def rules(plan: Plan) -> list[Rule]:
    """Return every rule that makes a file of a run."""
    own_rows = (paths.SECTION, paths.SECTION_ROW)
    simulated = (
        paths.SIMULATED_IMAGE,
        paths.SIMULATED_COUNTS,
        paths.SIMULATED_SPOTS,
        paths.SIMULATED_LABELS,
    )
    panel = (paths.PANEL, paths.PANEL_DROPPED)
    of_training = (paths.PANEL_UNIVERSE, paths.PANEL_SECTIONS, paths.TRAINING)
    model = (paths.WEIGHTS, paths.HISTORY, paths.RUN_RECORD)
    trained_on = (paths.TRAINING, paths.AUDIT, paths.PANEL)
    return [
        Rule("simulate_section", simulated),
        Rule("simulate_truth", (paths.PLANTED_TRUTH,)),
        Rule("unpack_file", (paths.UNPACKED_FILE,), takes=(paths.ARCHIVE,)),
        Rule("download_file", (paths.RAW_FILE,)),
        Rule("cut_photos", (paths.PHOTO_TILES, paths.PHOTO_INDEX), data.photo_input),
        Rule("read_section", own_rows, data.raw_input),
        Rule("tabulate_cohort", (paths.SECTIONS, paths.GENES), data.cohort_input),
        Rule("compare_cohorts", (paths.SAME_SECTIONS,), data.twin_input),
        *map(_together, data.batches(plan)),
        Rule("measure_nuclei", (paths.NUCLEI,), data.nuclei_input),
        Rule("summarise_qc", (paths.QC_SUMMARY,), data.qc_input),
        Rule("make_folds", (paths.FOLDS,)),
        Rule("audit_plan", (paths.AUDIT_PLAN,), takes=(paths.FOLDS,)),
        Rule("audit_leakage", (paths.AUDIT,), training.audit_input, (paths.FOLDS, paths.AUDIT_PLAN)),
        Rule("select_panel", (*panel, *of_training), training.panel_input, of="experiments"),
        Rule("match_panel", panel, _match, of="branches"),
        Rule("training_scale", (paths.SCALE,), external.scale_input),
        Rule(
            "train_method",
            model,
            training.training_input,
            trained_on,
            values={"method": training.slow_runs(plan)},
        ),
        Rule(
            "train_quick",
            model,
            training.quick_training_input,
            trained_on,
            joined=training.of_every_fold,
            values={"method": training.quick_runs(plan)},
        ),
        Rule(
            "predict_folds",
            (paths.PREDICTIONS,),
            training.prediction_input,
            joined=training.of_tested_folds,
            values={
                "method": {run for each in plan.tested.values() for run in training.runs_alone(plan, each)}
            },
        ),
        *_heads(plan, trained_on),
        Rule("score_method", (paths.METRICS, paths.SPOTS), tables.predicted_folds),
        Rule(
            "estimate_ceilings",
            (paths.CEILING,),
            tables.ceiling_input,
            (paths.PANEL,),
            joined=training.of_tested_folds,
        ),
        Rule(
            "tabulate_results",
            (paths.RECORDS, paths.TABLE),
            tables.table_input,
            values=_table(*tables.TABLES),
        ),
        Rule(
            "tabulate_encoders",
            (paths.TABLE,),
            tables.encoder_table_input,
            values=_table("encoders", "encoder_scores"),
        ),
        Rule("compare_published", (paths.TABLE,), _published, values=_table("published")),
        Rule("describe_external", (paths.TABLE,), external.external_summary_input, values=_table("external")),
        Rule(
            "tabulate_slides", (paths.TABLE,), external.slide_table_input, values=_table(*tables.SLIDE_TABLES)
        ),
        Rule(
            "predict_tiles",
            (paths.SLIDE_TILES,),
            external.slide_image,
            (paths.WEIGHTS, paths.RUN_RECORD, paths.AUDIT),
        ),
        Rule("compare_pseudobulk", (paths.BRANCH_PSEUDOBULK,), external.pseudobulk_input, of="experiments"),
        *_families(plan),
        Rule("collect_maps", (paths.MAPS,), manifest.maps_input),
        Rule("list_results", (paths.MANIFEST,), manifest.experiment_files),
        Rule("compare_experiments", (paths.CONTRASTS, paths.TRANSFER), _compared),
        Rule("write_provenance", (paths.PROVENANCE,), manifest.provenance_input),
        Rule("write_report", (paths.REPORT,), manifest.report_input),
    ]


def _together(batch: Batch) -> Rule:
    """Return the rule that makes something for many sections."""
    kind = batch.kind
    makes = [paths.fixed(path, cohort=batch.cohort) for path in kind.makes]
    lists = [batch.list_pattern()] if kind.listed else []
    lists += [batch.cost_pattern()] if kind is FEATURES else []
    asked: dict[str, tuple[str, Ask]] = {
        "kept": ("check_spots", lambda plan, profile: data.spot_filter_input(plan, profile, batch)),
        "images": ("images", lambda plan: data.image_input(plan, batch)),
        "other_stains": ("fit_stains", lambda plan, stain: data.image_input(plan, batch)),
        "patches": ("cut_patches", lambda plan, variant: data.patch_input(plan, variant, batch)),
        "features": ("extract_features", lambda plan, backbone: data.features_input(plan, backbone, batch)),
    }
    name, asks = asked[kind.name]
    values = {"section": batch.sections, **({kind.what: batch.whats} if kind.what else {})}
    return Rule(name, (*makes, *lists), asks, values=values, label=batch.label)


def _heads(plan: Plan, trained_on: tuple[str, ...]) -> Iterator[Rule]:
    """Yield the rules that train and predict by all heads on the features of an encoder."""
    for name in {**plan.experiments, **plan.tested}:
        for heads in training.heads_together(plan, name):
            values = {"experiment": [name], "encoder": heads.encoders}
            if name in plan.tested:
                makes = tuple(heads.of_each([paths.PREDICTIONS]))
                yield Rule(
                    "predict_heads",
                    makes,
                    training.head_prediction_input,
                    joined=training.of_tested_folds,
                    values=values,
                )
            if name in plan.experiments:
                makes = tuple(heads.of_each([paths.WEIGHTS, paths.RUN_RECORD]))
                yield Rule(
                    "train_heads",
                    makes,
                    training.head_training_input,
                    trained_on,
                    joined=training.of_every_fold,
                    values=values,
                )


def _families(plan: Plan) -> list[Rule]:
    """Return the rules that draw figures, one for each family."""
    drawn = (paths.FIGURE_SVG, paths.FIGURE_PNG, paths.FIGURE_CAPTION, paths.FIGURE_TABLE)
    members: dict[str, set[str]] = {}
    for _, family, names in figures.every_family(plan):
        members.setdefault(family, set()).update(names)

    def asked(family: str) -> Ask:
        return lambda plan, experiment: figures.family_input(plan, experiment, family)

    return [
        Rule(f"draw_{family}", drawn, asked(family), values={"figure": names})
        for family, names in members.items()
    ]


def _match(plan: Plan, experiment: str, fold: str) -> list[str]:
    files = external.panel_match_input(plan, experiment, fold)
    return [*_listed(files), external.home_audit(plan, experiment)]


def _published(plan: Plan, experiment: str) -> list[str]:
    described = plan.described(experiment)
    return [
        *_listed(tables.published_input(plan, experiment)),
        described.own(paths.TABLE, table=tables.TABLES[0]),
    ]


def _compared(plan: Plan) -> list[str]:
    return [*across.contrast_metrics(plan), *across.transfer_boards(plan).values()]


def _listed(files: Any) -> list[str]:
    """Return paths, however they are named or nested."""
    if isinstance(files, str):
        return [files]
    values = files.values() if isinstance(files, dict) else files
    return [path for value in values for path in _listed(value)]


@dataclass(frozen=True)
class Job:
    """A rule with its wildcards; ``label`` tells rules of one name apart."""

    rule: str
    wildcards: tuple[tuple[str, str], ...]
    label: str = ""


def jobs(plan: Plan, target: str = paths.REPORT) -> list[Job]:
    """Return every job behind a file, the report by default, also those whose results are there already."""
    makers = list(_patterns(plan))
    todo, known = [target], {target}
    found: dict[Job, None] = {}
    while todo:
        made = _maker(plan, makers, todo.pop())
        if made is None:
            continue
        rule, wildcards = made
        job = Job(rule.name, tuple(sorted(wildcards.items())), rule.label)
        if job in found:
            continue
        found[job] = None
        for file in _inputs(plan, rule, wildcards):
            if file not in known:
                known.add(file)
                todo.append(file)
    return list(found)


def _patterns(plan: Plan) -> Iterator[tuple[Rule, re.Pattern[str]]]:
    """Every path of a rule as an expression with the constraints of its wildcards."""
    allowed = constraints(plan) | {"file": ".+", "member": ".+", "figure": "[a-z_]+"}
    allowed |= {"source": "|".join(map(re.escape, data.sources(plan))), "other": allowed["cohort"]}
    allowed["archive"] = "|".join(map(re.escape, data.archives(plan))) or "none"
    for rule in rules(plan):
        own = dict(allowed)
        if rule.of:
            own["experiment"] = "|".join(map(re.escape, getattr(plan, rule.of))) or "none"
        if rule.name.startswith("simulate"):
            own["cohort"] = "|".join(data.cohorts_of(plan, "simulation")) or "none"
        own |= {name: among(values) for name, values in rule.values.items()}
        for path in rule.makes:
            parts = re.split(r"\{(\w+)\}", path)
            words = [
                f"(?P<{part}>{own.get(part, '[^/]+')})" if place % 2 else re.escape(part)
                for place, part in enumerate(parts)
            ]
            yield rule, re.compile("".join(words))


def _maker(
    plan: Plan, makers: Iterable[tuple[Rule, re.Pattern[str]]], file: str
) -> tuple[Rule, dict[str, str]] | None:
    """Return who makes a file; None of what lies there already, as files of a user's own do."""
    if not file.startswith(f"{paths.ROOT}/"):
        return None
    for rule, pattern in makers:
        match = pattern.fullmatch(file)
        if match:
            left_out = {
                "table",
                "figure",
                *(["fold"] if rule.joined else []),
                *(["section"] if rule.label else []),
            }
            names = re.findall(r"\{(\w+)\}", rule.makes[0])
            return rule, {name: match[name] for name in names if name not in left_out}
    return None


def _inputs(plan: Plan, rule: Rule, wildcards: Mapping[str, str]) -> list[str]:
    """Return what a job takes."""
    taken = rule.takes
    if rule.joined:
        described = plan.described(wildcards["experiment"])
        taken = tuple(file for path in rule.takes for file in rule.joined(described, path))
    files = [paths.at(path, **{"fold": "all", **wildcards}) for path in dict.fromkeys(taken)]
    if rule.asks:
        names = list(inspect.signature(rule.asks).parameters)[1:]
        files += _listed(rule.asks(plan, **{name: wildcards[name] for name in names}))
    return files


@dataclass(frozen=True)
class Size:
    """How much a run is.

    Attributes
    ----------
    jobs
        Number by rule.
    trainings
        Models that are trained, some of them many in one job.
    gpu_jobs, gpu_hours
        Jobs of methods that ask for a GPU, and the hours that they may take at most, as their files state.
    h200_hours
        About how many hours one H200 would train networks on patches, every epoch of them.
    longest
        The most hours that one job may take, and which.
    n_files, n_bytes, n_unknown
        Raw files to fetch, their size, and how many have none in the data lock.
    disk
        About how many bytes it takes, by what they are.
    """

    jobs: Mapping[str, int]
    trainings: int
    gpu_jobs: int
    gpu_hours: float
    h200_hours: float
    longest: tuple[float, str]
    n_files: int
    n_bytes: int
    n_unknown: int
    disk: Disk


def size(plan: Plan) -> Size:
    """Return how much a run is."""
    every, rows = jobs(plan), data.downloads(plan)
    gpu_jobs, gpu_minutes, trainings = 0, 0, 0
    longest: tuple[int, str] = (0, "")
    for job in every:
        asked = dict(job.wildcards)
        if job.rule == "train_heads":
            folds = len(plan.experiments[asked["experiment"]].every_fold)
            trainings += folds * len(training.runs_on(plan, **asked))
        if job.rule not in ("train_method", "train_quick", "predict_folds"):
            continue
        described = plan.described(asked["experiment"])
        run = described.runs[asked["method"]]
        if training.method_gpu(plan, asked["experiment"], asked["method"]):
            gpu_jobs += 1
            gpu_minutes += run.arm.minutes
        trainings += {"train_method": 1, "train_quick": len(described.every_fold)}.get(job.rule, 0)
        if job.rule == "train_method" and run.arm.minutes > longest[0]:
            longest = (run.arm.minutes, f"{run.title} on fold {asked['fold']} of {asked['experiment']}")
    known = sum(row.size or 0 for row in rows)
    return Size(
        jobs=Counter(job.rule for job in every),
        trainings=trainings,
        gpu_jobs=gpu_jobs,
        gpu_hours=gpu_minutes / 60,
        h200_hours=cost.hours(plan, {name: spots(plan, name) for name in plan.read}),
        longest=(longest[0] / 60, longest[1]),
        n_files=len(rows),
        n_bytes=known,
        n_unknown=sum(row.size is None for row in rows),
        disk=disk(plan, [(job.rule, job.label, dict(job.wildcards)) for job in every]),
    )


def sentences(plan: Plan) -> list[str]:
    """Return how much a run is, in ten lines for a person."""
    found = size(plan)
    told = found.jobs
    experiments = _number(len(plan.experiments), "experiment")
    cohorts, branches = _number(len(plan.read), "cohort"), _number(len(plan.branches), "branch", "branches")
    arms = {arm for described in plan.experiments.values() for arm in described.arms}
    most = ", ".join(f"{number} {rule}" for rule, number in Counter(told).most_common(4))
    gpu = (
        f"{found.gpu_jobs} jobs, at most {found.gpu_hours:,.0f} hours by what methods state; training on "
        f"patches takes about {found.h200_hours:,.0f} hours of one H200 (an estimate)"
    )
    unknown = f", and {found.n_unknown} of them of unknown size" if found.n_unknown else ""
    left_out = [f"Left out:    {sentence}" for sentence in plan.bench.left_out]
    return [
        f"Run:         {experiments} on {cohorts}, {branches} to other cohorts",
        f"Sections:    {sum(map(len, plan.used.values()))}",
        f"Methods:     {len(arms)}, with their arms",
        f"Trainings:   {found.trainings}",
        f"Jobs:        {sum(told.values())}: {most}, ...",
        f"GPU:         {gpu if found.gpu_jobs else 'no job asks for one'}",
        f"Longest job: {found.longest[1]}, at most {found.longest[0]:g} hours",
        f"Downloads:   {_number(found.n_files, 'file')}, {found.n_bytes / 1e9:.1f} GB{unknown}",
        f"Disk:        {_parts(found.disk)}",
        *left_out,
        "Results that are there already are not made again; `snakemake --dry-run` lists what is left.",
    ]


def _parts(taken: Disk) -> str:
    """Say what takes how much, in GB; what goes again stands apart."""
    parts = {
        "downloads": taken.downloads,
        "patches": taken.patches,
        "features": taken.features,
        "predictions": taken.predictions,
        "weights that stay": taken.weights,
    }
    told = ", ".join(f"{name} {size / 1e9:.1f}" for name, size in parts.items())
    left, temporary = taken.left / 1e9, taken.temporary / 1e9
    return f"about {left:.1f} GB are left ({told}), and for a while {temporary:.1f} GB of weights"


def _number(n: int, one: str, several: str = "") -> str:
    return f"{n} {one}" if n == 1 else f"{n} {several or one + 's'}"

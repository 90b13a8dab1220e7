"""Other cohorts that models predict without training on them, and slides: with bulk expression, or one's own.

Functions take the plan and, by name, the wildcards of the rule that asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from histobench import paths
from histobench.plan import shown
from histobench.plan.model import Experiment, Files, Model, Plan, Section
from histobench.plan.tables import SLIDE_TABLES, TABLES
from histobench.plan.weights import feature_file
from histobench.splits.folds import FULL_FOLD

# However many cores there are: the last digits of predictions depend on it.
SLIDE_THREADS = 2
# Slides on a figure of maps: more would be too small to see.
MAPPED_SLIDES = 4


# -- branches ------------------------------------------------------------------------------------
def panel_match_input(plan: Plan, experiment: str, fold: str) -> Files:
    """Return the panel of the models, and the genes of the cohort that they meet."""
    branch = plan.branches[experiment]
    return {"panel": branch.trained(paths.PANEL, fold=fold), "genes": branch.cohort.genes}


def external_summary_input(plan: Plan, experiment: str) -> Files:
    """Return what tells how another cohort is predicted."""
    branch = plan.branches[experiment]
    files: Files = {
        "dropped": branch.own(paths.PANEL_DROPPED, fold=FULL_FOLD),
        "panel": branch.own(paths.PANEL, fold=FULL_FOLD),
        "sections": branch.cohort.table,
    }
    if branch.takes_scale:
        files["scale"] = branch.trained(paths.SCALE)
    return files


def external_summary_settings(plan: Plan, experiment: str) -> dict[str, Any]:
    """Return what the configuration says of how another cohort is predicted."""
    branch = plan.branches[experiment]
    patches = branch.patches
    return {
        "cohort": branch.cohort.name,
        "sections": list(branch.sections),
        "stain": patches.variant.partition("-")[0] if patches else branch.settings["patches"],
        "trained_by": branch.trained_by,
        "um_per_px": patches.known_scale if patches else None,
    }


def branch_files(plan: Plan, name: str) -> list[str]:
    """Return the tables that a branch to another cohort has."""
    branch = plan.branches[name]
    if branch.folds:
        return [branch.own(paths.TABLE, table=table) for table in (*TABLES, "external")]
    if not of_slides(plan, name):
        return []
    bulk = {"method": image_methods(branch), "table": ["genes", "patients", "subtypes", "colocation"]}
    return [
        *paths.each(paths.PSEUDOBULK, bulk, experiment=name),
        *(branch.own(paths.TABLE, table=table) for table in SLIDE_TABLES),
    ]


def home_audit(plan: Plan, experiment: str) -> str:
    """Return the audit of the experiment that a branch is of."""
    return plan.branches[experiment].audit


def branch_cohort(plan: Plan, experiment: str) -> str:
    """Return the cohort that a branch meets."""
    return plan.branches[experiment].cohort.name


def every_branch_file(plan: Plan) -> list[str]:
    """Return the tables of every branch."""
    return [file for name in plan.branches for file in branch_files(plan, name)]


def scale_input(plan: Plan, experiment: str) -> str:
    """Return the table that states the scale of the training sections."""
    return plan.experiments[experiment].cohort.table


def scale_sections(plan: Plan, experiment: str) -> list[str]:
    """Return the sections whose scale models of native pixels are used to."""
    return list(plan.experiments[experiment].sections)


# -- slides with bulk expression -------------------------------------------------------------------
def image_methods(described: Experiment) -> list[str]:
    """Return the runs of an experiment that predict from an image alone, spot by spot."""
    alone = shown.by_spot(described.settings)
    return [name for name, run in described.runs.items() if run.arm.name in alone]


def of_slides(plan: Plan, name: str) -> bool:
    """Whether a branch is to slides with bulk expression, which nobody scores spot by spot."""
    branch = plan.branches[name]
    return branch.cohort.of_slides and bool(image_methods(branch))


def scored_slides(plan: Plan) -> list[str]:
    """Return the branches to slides with bulk expression."""
    return [name for name in plan.branches if of_slides(plan, name)]


def slide_cohorts(plan: Plan, described: Experiment) -> Mapping[str, tuple[str, ...]]:
    """Return the cohorts of slides that an experiment's models predict, each with its slides."""
    external = described.external.items()
    return {cohort: slides for cohort, slides in external if plan.cohorts[cohort].of_slides}


def slide_branches(plan: Plan, described: Experiment) -> list[str]:
    """Return the branches of an experiment to cohorts of slides."""
    branches = [f"{described.name}/external/{cohort}" for cohort in slide_cohorts(plan, described)]
    return [name for name in branches if of_slides(plan, name)]


def slide_image(plan: Plan, cohort: str, section: str) -> str:
    """Return the whole-slide image behind a slide's name."""
    return plan.cohorts[cohort].sections[section].raw["slide"]


def tile_settings(plan: Plan, cohort: str) -> dict[str, Any]:
    """Return how a cohort of slides is cut into tiles."""
    options = plan.cohorts[cohort].options
    named = {key: options[key] for key in ("max_white", "um_per_px", "width_px")}
    return {**named, "threads": SLIDE_THREADS}


def slides_of(plan: Plan, experiment: str, cohort: str) -> list[Section]:
    """Return the slides of a cohort that an experiment's models predict."""
    slides = plan.experiments[experiment].external[cohort]
    return [plan.cohorts[cohort].sections[name] for name in slides]


def counted_patients(plan: Plan, experiment: str, cohort: str) -> dict[str, Section]:
    """Return the patients with bulk expression, each with one slide that names its file."""
    slides = sorted(slides_of(plan, experiment, cohort), key=lambda slide: slide.name, reverse=True)
    records = plan.cohorts[cohort].settings["sections"]
    return {slide.patient: slide for slide in slides if "counts" in records[slide.name]}


def pseudobulk_input(plan: Plan, experiment: str, cohort: str, method: str) -> Files:
    """Return predicted tiles of every slide, and the bulk expression of the same patients."""
    asked = {"experiment": experiment, "cohort": cohort, "method": method}
    files: Files = {
        "tiles": [
            paths.at(paths.SLIDE_TILES, **asked, section=slide.name)
            for slide in slides_of(plan, experiment, cohort)
        ],
        "counts": [slide.raw["counts"] for slide in counted_patients(plan, experiment, cohort).values()],
    }
    subtypes = plan.cohorts[cohort].options.get("subtypes")
    return {**files, **({"subtypes": subtypes} if subtypes else {})}


def pseudobulk_settings(plan: Plan, experiment: str, cohort: str, method: str) -> dict[str, Any]:
    """Return who is compared with whose bulk expression."""
    return {
        "counted": list(counted_patients(plan, experiment, cohort)),
        "groups": plan.cohorts[cohort].options.get("groups"),
        "name": f"{experiment} {method}",
        "patients": {slide.name: slide.patient for slide in slides_of(plan, experiment, cohort)},
    }


def slide_table_input(plan: Plan, experiment: str) -> Files:
    """Return what is set beside each other of every method."""
    methods = image_methods(plan.branches[experiment])
    return {
        table: paths.each(paths.PSEUDOBULK, {"method": methods}, experiment=experiment, table=table)
        for table in ("genes", "subtypes", "colocation")
    }


def shown_slides(plan: Plan, described: Experiment) -> list[str]:
    """Return the slides on maps: the first of each of the first patients of the first cohort of slides."""
    for cohort, slides in slide_cohorts(plan, described).items():
        first: dict[str, str] = {}
        for slide in slides:
            first.setdefault(plan.cohorts[cohort].sections[slide].patient, slide)
        return list(first.values())[:MAPPED_SLIDES]
    return []


# -- a slide of the user's own ---------------------------------------------------------------------
def own_slide_model(plan: Plan, slide: str) -> Model:
    """Return the model that predicts a slide of the user's own."""
    asked = plan.bench.config["slides"][slide]
    return plan.experiments[asked["experiment"]].model(asked["method"], asked["fold"])


def own_slide_input(plan: Plan, slide: str) -> Files:
    """Return what a slide of the user's own is predicted from."""
    model = own_slide_model(plan, slide)
    return {
        "image": plan.bench.config["slides"][slide]["image"],
        "weights": model.weights,
        "run": model.record,
        **_encoder(plan, model.experiment, model.run),
    }


def tile_encoder(plan: Plan, experiment: str, method: str) -> list[str]:
    """Return the weights behind the features through which a model sees tiles, if it sees them so."""
    return list(_encoder(plan, experiment, method).values())


def _encoder(plan: Plan, experiment: str, method: str) -> dict[str, str]:
    described = plan.experiments[experiment]
    file = feature_file(plan.bench, described.settings, described.runs[method].arm.settings)
    return {"encoder": file} if file else {}


def own_slide_settings(plan: Plan, slide: str) -> dict[str, Any]:
    """Return at which scale, and how densely, a slide of the user's own is predicted."""
    asked = plan.bench.config["slides"][slide]
    return {"threads": SLIDE_THREADS, "pitch_um": asked["pitch_um"], "um_per_px": asked["um_per_px"]}


def own_slide_modules(plan: Plan, slide: str) -> list[str]:
    """Return the modules of the method that predicts a slide of the user's own."""
    asked = plan.bench.config["slides"][slide]
    return plan.experiments[asked["experiment"]].runs[asked["method"]].arm.modules

"""Figures of an experiment: which can be drawn, from what, and with which settings.

Functions take the plan and, by name, the wildcards of the rule that asks.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from histobench import paths
from histobench.figures.catalogue import catalogue
from histobench.plan import shown
from histobench.plan.contrasts import also_differs, others
from histobench.plan.data import target
from histobench.plan.external import image_methods, shown_slides, slide_cohorts
from histobench.plan.model import Arm, Experiment, Files, Plan
from histobench.plan.nuclei import nuclei_sections
from histobench.plan.tables import compares_encoders

# Question to a pair of experiments -> the placeholder of figures for those that answer it.
CONTRASTS = {
    "folds": "section_wise",
    "start": "other_start",
    "stain": "other_stain",
    "transform": "other_transform",
    "weights": "other_weights",
    "window": "other_window",
}


def experiment_figures(plan: Plan, name: str) -> list[str]:
    """Return the figures that an experiment can have, as they declare it."""
    values = figure_values(plan, name)
    return [figure for figure, entry in catalogue().items() if not entry.left_out(values)]


def figures_left_out(plan: Plan, name: str) -> dict[str, str]:
    """Return why an experiment has no such figure, by the figure's title."""
    values = figure_values(plan, name)
    reasons = {entry.title: entry.left_out(values) for entry in catalogue().values()}
    return {title: reason for title, reason in reasons.items() if reason}


def figure_files(plan: Plan, name: str) -> dict[str, dict[str, str]]:
    """Return the files of every figure of an experiment."""
    described = plan.described(name)
    kinds = {
        "caption": paths.FIGURE_CAPTION,
        "png": paths.FIGURE_PNG,
        "svg": paths.FIGURE_SVG,
        "table": paths.FIGURE_TABLE,
    }
    return {
        figure: {kind: described.own(pattern, figure=figure) for kind, pattern in kinds.items()}
        for figure in experiment_figures(plan, name)
    }


def map_section(described: Experiment) -> str:
    """Return the section that maps show."""
    return str(described.settings["maps"].get("section", described.sections[0]))


@functools.cache
def figure_values(plan: Plan, name: str) -> Mapping[str, Any]:
    """Return what an experiment has for each placeholder of figures: a name, or a list of names."""
    described = plan.described(name)
    settings, cohort = described.settings, described.cohort
    section = cohort.sections[map_section(described)]
    patients = sorted(set(described.patients().values()))
    slides = slide_cohorts(plan, described)
    slide_cohort = next(iter(slides), "")
    on_slides, leader = image_methods(described), shown.leading(settings)
    labels = label_origin(plan, name)
    arms, patches = list(described.arms), described.patches
    mapped = [fold.name for fold in described.folds.values() if section.name in fold.test]
    slide_names = shown_slides(plan, described)
    return {
        "experiment": name,
        "cohort": cohort.name,
        "fold": list(described.folds),
        "method": arms,
        "run": list(described.runs),
        "pair": arms[:2] if len(arms) > 1 else [],
        "patients": patients if len(patients) > 1 else [],
        "leader": leader,
        "compared": shown.compared(settings),
        "trained": shown.trained(settings),
        "deep": described.of_family("deep"),
        "deep_expression": shown.predicting(settings, ("deep",)),
        "apart": described.able("apart"),
        "auxiliary": described.able("auxiliary"),
        "latent": shown.able(settings, "latent"),
        "baseline": shown.baselines(settings),
        "tumour_method": described.able("tumour"),
        "tumour_leader": leader if _tells_all(described.arms[leader]) else "",
        "ablation": shown.variants(settings),
        "attributed": next(iter(shown.able(settings, "attributions")), ""),
        "autoencoder": shown.able(settings, "autoencoder"),
        "map_method": shown.mapped(settings),
        "labels": labels,
        "tumour_labels": labels if tumour_labelled(described) else "",
        "map_section": section.name,
        "map_fold": next(iter(mapped), ""),
        "map_image": section.raw["image"] if patches and section.has_image else "",
        "section": list(described.sections),
        "stained": [s.name for s in described.here(described.sections) if s.has_image] if patches else [],
        "patches": patches.variant if patches else "",
        "gene_sets": plan.shipped("resources/gene_sets.tsv"),
        "factors": shown.able(settings, "factors", few=False),
        "nuclei": nuclei_sections(described),
        "truth": "planted" if cohort.simulated else "",
        "external": [other for other in described.external if other not in slides],
        "slide_cohort": slide_cohort,
        "slide_method": leader if leader in on_slides else next(reversed(on_slides), ""),
        "slide": slide_names,
        "slide_image": [plan.cohorts[slide_cohort].sections[slide].raw["slide"] for slide in slide_names],
        "compared_encoders": name if compares_encoders(described) else "",
        "paper": name if described.mode == "paper" else "",
        **{placeholder: others(plan.bench, name, question) for question, placeholder in CONTRASTS.items()},
    }


def _tells_all(arm: Arm) -> bool:
    """Whether a method predicts expression and tumour from a latent space."""
    gives = arm.settings["gives"]
    return bool(gives["expression"] and gives["tumour"] and gives["latent"])


def figure_input(plan: Plan, experiment: str, figure: str) -> Files:
    """Return what a figure is drawn from."""
    described = plan.described(experiment)
    files: Files = catalogue()[figure].files(figure_values(plan, experiment), paths.ROOT)
    if described.trained_by == described.name:
        return files
    # the models of a branch are those of its experiment
    own, home = described.own(paths.MODELS), described.trained(paths.MODELS)

    def moved(path: str) -> str:
        return path.replace(f"{own}/", f"{home}/")

    return {
        kind: [moved(path) for path in value] if isinstance(value, list) else moved(value)
        for kind, value in files.items()
    }


def tumour_labelled(described: Experiment) -> bool:
    """Whether labels tell tumour from normal tissue, as far as the cohort says; layers of a cortex do not."""
    options = described.cohort.options
    return "labels" not in options or "tumour" in options["labels"]


@functools.cache
def label_origin(plan: Plan, name: str) -> str:
    """Return whose labels the spots have, as captions say it; nothing where that is not declared."""
    described = plan.described(name)
    if described.cohort.simulated:
        return "simulated"
    options = described.cohort.options
    giver = options.get("label_source") or options.get("labels", {}).get("source")
    files = [section.raw for section in described.here(described.sections)]
    words = []
    if giver or any("labels" in kinds for kinds in files):
        words.append(f"{giver or 'pathologist'}'s")
    if any("reference_labels" in kinds and "labels" not in kinds for kinds in files):
        words.append("transferred")
    return " or ".join(words)


def experiment_facts(plan: Plan, name: str) -> dict[str, Any]:
    """Return what captions say of an experiment."""
    described = plan.described(name)
    settings, patients = described.settings, described.patients()
    return {
        "cohort": described.cohort.name,
        "experiment": name,
        "families": {arm.name: arm.family for _, arm in sorted(described.arms.items())},
        "folds": settings["folds"]["scheme"],
        "labels": label_origin(plan, name),
        "mode": described.mode,
        "n_patients": len(set(patients.values())),
        "n_sections": len(patients),
        "panel": dict(sorted(settings["panel"].items())),
        "pitch_um": described.cohort.settings.get("pitch_um"),
        "qc": described.qc,
        "places": {arm.name: arm.place for _, arm in sorted(described.arms.items()) if arm.place is not None},
        "seeds": settings["seeds"],
        "titles": {arm.name: arm.short for _, arm in sorted(described.arms.items())},
        "transform": described.transform,
        "unit": plan.bench.transform(described.transform)["unit"],
    }


def slide_facts(plan: Plan, name: str) -> dict[str, Any]:
    """Return what maps of slides show, beside the files: whose slides, by which model, which genes."""
    values = figure_values(plan, name)
    if not values["slide_cohort"]:
        return {}
    options = plan.cohorts[values["slide_cohort"]].options
    return {
        "cohort": values["slide_cohort"],
        "groups": options.get("groups"),
        "method": values["slide_method"],
        "tile_um": options["um_per_px"] * options["width_px"],
    }


def figure_settings(plan: Plan, experiment: str, figure: str) -> dict[str, Any]:
    """Return what captions say of the experiment, and what the figure declares besides."""
    described, values = plan.described(experiment), figure_values(plan, experiment)
    entry = catalogue()[figure]
    told = entry.methods(values, described.arms)
    further = {
        "apart": {
            arm: described.arms[arm].settings["params"].get("genes") or []
            for arm in (values["apart"] if "apart" in entry.settings else ())
        },
        "baselines": values["baseline"],
        "entries": {arm: described.arms[arm].settings["entry"] for arm in told},
        "also_differs": {
            question: also_differs(plan.bench, experiment, question)
            for question in (CONTRASTS if "also_differs" in entry.settings else ())
        },
        "genes": described.settings["maps"].get("genes", []),
        "heads": {
            arm.settings["head"]: arm.settings["head_title"]
            for arm in described.arms.values()
            if arm.settings["head"]
        },
        "leader": values["leader"],
        "pair": described.settings.get("scatter", []),
        "section": map_section(described),
        "slides": slide_facts(plan, experiment),
        "transforms": {
            name: {**target(plan, name), "unit": plan.bench.transform(name)["unit"]}
            for name in (plan.bench.transforms if "transforms" in entry.settings else ())
        },
    }
    facts = experiment_facts(plan, experiment)
    of_methods = {
        key: {arm: value for arm, value in facts[key].items() if arm in told}
        for key in ("families", "places", "titles")
    }
    return {**facts, **of_methods, **{key: further[key] for key in entry.settings}}


@functools.cache
def families(plan: Plan, experiment: str) -> dict[str, list[str]]:
    """Return the figures of an experiment by family: the folder of their modules.

    What waits for other experiments or for slides is apart, so that the others need not wait; and what is
    drawn from weights where not all are kept, so that the others can be drawn again without them.
    """
    found: dict[str, list[str]] = {}
    for name in experiment_figures(plan, experiment):
        entry = catalogue()[name]
        needed = set(entry.placeholders)
        family = entry.module.split(".")[-2]
        if "slide" in needed:
            family = "slides"
        elif needed & {*CONTRASTS.values(), "external"}:
            family = "across"
        elif plan.keep != "all" and entry.reads_weights:
            family = "networks"
        found.setdefault(family, []).append(name)
    return found


def every_family(plan: Plan) -> list[tuple[Experiment, str, list[str]]]:
    """Return every family of figures of every experiment: (experiment, family, figures).

    Also of an experiment that tests nobody, as one that is trained for slides of others.
    """
    return [
        (described, family, drawn)
        for name, described in {**plan.experiments, **plan.tested}.items()
        for family, drawn in families(plan, name).items()
    ]


def family_input(plan: Plan, experiment: str, family: str) -> Files:
    """Return what the figures of a family are drawn from, by FIGURE.KIND."""
    return {
        f"{figure}.{kind}": files
        for figure in families(plan, experiment)[family]
        for kind, files in figure_input(plan, experiment, figure).items()
    }


def family_settings(plan: Plan, experiment: str, family: str) -> dict[str, dict[str, Any]]:
    """Return what captions say, and what figures declare besides, by figure."""
    drawn = families(plan, experiment)[family]
    return {figure: figure_settings(plan, experiment, figure) for figure in drawn}


def family_modules(plan: Plan, experiment: str, family: str) -> list[str]:
    """Return the modules that draw a family."""
    return sorted({catalogue()[figure].module for figure in families(plan, experiment)[family]})


def every_figure(plan: Plan) -> list[str]:
    """Return the figures of every experiment."""
    return [files["svg"] for name in plan.tested for files in figure_files(plan, name).values()]


def slide_figures(plan: Plan) -> list[str]:
    """Return the figures that are drawn from predicted slides."""
    drawn = {name for name, entry in catalogue().items() if "slide" in entry.placeholders}
    return [
        described.own(paths.FIGURE_SVG, figure=figure)
        for name, described in plan.experiments.items()
        for figure in experiment_figures(plan, name)
        if figure in drawn
    ]

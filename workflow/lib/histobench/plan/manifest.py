"""The report: its maps, its provenance and the manifest of all that it shows."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from histobench import paths
from histobench.figures.catalogue import catalogue
from histobench.plan.data import stained_sections
from histobench.plan.external import branch_files, slide_branches
from histobench.plan.figures import experiment_facts, figure_files, figures_left_out
from histobench.plan.model import Cohort, Experiment, Files, Plan
from histobench.plan.tables import table_files
from histobench.plan.weights import used_files, used_weights, weights_licences
from histobench.report.embed import LARGEST_MAPS

# How and where a run computes and fetches, and what it leaves, which is no part of its results.
WAYS = ("device", "keep", "mirrors")


# -- maps ----------------------------------------------------------------------------------------
def shown_sections(described: Experiment) -> dict[str, dict[str, Any]]:
    """Return what the map explorer shows of each tested section: predictions by method, and its image.

    Maps are of genes, so that methods that predict none are left out, unless there are no others: the
    measured values stand beside predictions.
    """
    shown: dict[str, dict[str, Any]] = {}
    for fold in described.folds.values():
        for section in described.here(fold.test):
            predictions = {
                arm: described.own(paths.PREDICTION, method=arm, fold=fold.name, section=section.name)
                for arm in described.able("expression") or described.arms
            }
            image = {"image": section.raw["image"]} if described.patches and section.has_image else {}
            shown[section.name] = {"predictions": predictions, **image}
    return dict(sorted(shown.items()))


def maps_input(plan: Plan, experiment: str) -> Files:
    """Return the predictions of all methods, and images."""
    shown = shown_sections(plan.described(experiment)).values()
    folders = {str(PurePosixPath(path).parent) for entry in shown for path in entry["predictions"].values()}
    images = {entry["image"] for entry in shown if "image" in entry}
    return {"predictions": sorted(folders), "images": sorted(images)}


def maps_settings(plan: Plan, experiment: str) -> dict[str, Any]:
    """Return what maps show; each experiment gets its share of what a page can hold."""
    described = plan.described(experiment)
    return {
        "genes": described.settings["maps"].get("genes", []),
        "largest": LARGEST_MAPS // len(plan.tested),
        "sections": shown_sections(described),
    }


# -- provenance ----------------------------------------------------------------------------------
def provenance_input(plan: Plan) -> Files:
    """Return what provenance reads: tables of cohorts, and the records of all trainings."""
    return {
        "sections": [plan.cohorts[name].table for name in plan.read],
        "runs": [described.own(paths.RECORDS) for described in plan.tested.values()],
        "weights": used_files(plan.bench),
    }


def provenance_settings(plan: Plan) -> dict[str, Any]:
    """Return the configuration behind results, without what only says where they are computed."""
    plain = plan.bench.plain()
    kept = {key: value for key, value in plain["config"].items() if key not in WAYS}
    return {
        "cohorts": plan.read,
        "configuration": {**plain, "config": kept},
        "weights": used_weights(plan.bench),
    }


# -- the report ----------------------------------------------------------------------------------
def report_settings(plan: Plan) -> dict[str, Any]:
    """Return what the report shows beside experiments: settings as they are, everything else as paths."""
    return {
        "across": {"contrasts": paths.CONTRASTS, "transfer": paths.TRANSFER},
        "cohorts": {name: _cohort_entry(plan, plan.cohorts[name]) for name in plan.read},
        "experiments": list(plan.tested),
        # extrapolated hours of training, if somebody has measured them (`make bench`)
        **({"hours": paths.HOURS} if Path(paths.HOURS).exists() else {}),
        "papers": plan.shipped("resources/papers.tsv"),
        "provenance": paths.PROVENANCE,
        "title": plan.bench.config["title"],
    }


def experiment_entry(plan: Plan, experiment: str) -> dict[str, Any]:
    """Return what the report shows of an experiment or branch."""
    described, figures = plan.tested[experiment], catalogue()
    licences = weights_licences(plan.bench, experiment)
    return {
        "audit": described.audit,
        "figures": {
            figure: {**files, "title": figures[figure].title, "group": figures[figure].group}
            for figure, files in figure_files(plan, experiment).items()
        },
        "figures_left_out": figures_left_out(plan, experiment),
        "folds": described.trained(paths.FOLDS),
        "maps": described.own(paths.MAPS),
        "methods": {
            name: {**dict(sorted(arm.settings.items())), "weights_licence": licences[name]}
            for name, arm in described.arms.items()
        },
        "runs": described.own(paths.RECORDS),
        "settings": {
            **experiment_facts(plan, experiment),
            "description": described.settings["description"],
            "further_seeds": described.settings["further_seeds"],
            "title": described.title,
            "weights": described.settings["weights"],
        },
        "slides": {
            plan.branches[branch].cohort.name: plan.branches[branch].tables
            for branch in slide_branches(plan, described)
        },
        "tables": described.tables,
    }


def _cohort_entry(plan: Plan, cohort: Cohort) -> dict[str, Any]:
    """Return what the report shows of a cohort."""
    kinds = {"json": paths.STAIN, "png": paths.STAIN_PREVIEW}
    return {
        "qc": {
            f"{name}, profile {described.qc}": described.own(paths.QC_SUMMARY)
            for name, described in plan.tested.items()
            if described.cohort.name == cohort.name
        },
        "sections": cohort.table,
        "settings": {key: cohort.settings[key] for key in ("citation", "description", "licence", "title")},
        "stain": {
            section: {
                kind: paths.at(pattern, cohort=cohort.name, section=section)
                for kind, pattern in kinds.items()
            }
            for section in stained_sections(plan, cohort.name)
        },
    }


def experiment_files(plan: Plan, experiment: str) -> list[str]:
    """Return every file of an experiment or branch that the report shows."""
    described = plan.tested[experiment]
    files = [described.audit, described.trained(paths.FOLDS)]
    files += [described.own(paths.MAPS), described.own(paths.RECORDS)]
    files += [file for figure in figure_files(plan, experiment).values() for file in figure.values()]
    files += table_files(plan, experiment)
    if experiment in plan.branches:
        files += branch_files(plan, experiment)
    files += [file for branch in slide_branches(plan, described) for file in branch_files(plan, branch)]
    return files


def report_input(plan: Plan) -> Files:
    """Return what the report is written from: a manifest per experiment, and the files of cohorts."""
    files: list[str] = []
    for name in plan.read:
        cohort = _cohort_entry(plan, plan.cohorts[name])
        files += [cohort["sections"], *cohort["qc"].values()]
        files += [file for stain in cohort["stain"].values() for file in stain.values()]
    return {
        "manifests": [described.own(paths.MANIFEST) for described in plan.tested.values()],
        "across": [paths.CONTRASTS, paths.TRANSFER],
        "cohorts": files,
        "papers": plan.shipped("resources/papers.tsv"),
        "provenance": paths.PROVENANCE,
    }

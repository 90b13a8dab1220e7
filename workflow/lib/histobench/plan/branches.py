"""Branches of experiments: its models, trained on everybody, predict another cohort.

A branch is described like an experiment, with one fold that tests every section of the other cohort, so that
the same rules score, average and draw it. What it does not have of its own is a training: panel, scale and
weights are those of the experiment it branches from. Imported while the workflow graph is built, so this
module imports nothing heavy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from histobench.errors import UserError
from histobench.splits.folds import FULL_FOLD, Fold, full_fold
from histobench.yamlfiles import duplicate

# Scale of the patches of a branch whose experiment keeps native pixels: that of the training sections.
AS = "as."


def plain_name(name: str) -> str:
    """Return how names of rules name a cohort, an experiment or a branch."""
    return re.sub(r"[^A-Za-z0-9]", "_", name)


def branch_name(experiment: str, cohort: str) -> str:
    """Return the name of a branch, which is also its folder below results/."""
    return f"{experiment}/external/{cohort}"


def make_full_fold(where: str, experiment: Mapping[str, Any], cohort: Mapping[str, Any]) -> Fold:
    """Return the training of an experiment on everybody.

    Raises
    ------
    UserError
        A fold of the experiment has the name of this training.
    """
    folds = experiment["folds"]
    if FULL_FOLD in folds["made"]:
        raise UserError(
            f"{where}: a fold is called `{FULL_FOLD}`, the name of the training on all patients; rename that "
            "patient or section."
        )
    patients = {section: cohort["sections"][section]["patient"] for section in experiment["sections"]}
    try:
        return full_fold(
            patients,
            valid_patients=folds["valid_patients"],
            held_out=folds["held_out"],
            seed=min(experiment["seeds"]),
        )
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def make_branch(
    name: str, experiment: Mapping[str, Any], other: Mapping[str, Any], cohort: Mapping[str, Any]
) -> dict[str, Any]:
    """Describe the prediction of another cohort like an experiment.

    Parameters
    ----------
    name, experiment
        The experiment whose models predict, complete.
    other
        One entry of its ``external``: cohort and sections.
    cohort
        Settings of that cohort.

    Returns
    -------
    dict
        The experiment's settings with the other cohort's sections in the one fold ``all``. ``trained_by`` is
        the experiment; ``patches.um_per_px`` is "as.EXPERIMENT" where the experiment keeps native pixels,
        ``patches.stain_reference`` is "SECTION@COHORT".
    """
    branch = duplicate({key: value for key, value in experiment.items() if key != "folds"})
    patches = branch["patches"]
    if patches:
        if patches["um_per_px"] == "native":
            patches["um_per_px"] = f"{AS}{name}"
        if patches["stain_reference"]:
            patches["stain_reference"] += f"@{experiment['cohort']}"
    maps = {key: value for key, value in branch["maps"].items() if key != "section"}
    tested = Fold(FULL_FOLD, (), (), tuple(other["sections"]))
    made = {} if cohort["origin"] == "slides" else {FULL_FOLD: tested}
    return {
        **branch,
        "cohort": other["cohort"],
        "description": (
            f"Models of `{name}`, trained on every patient of `{experiment['cohort']}`, predict a cohort "
            "that took no part in training. " + experiment["description"]
        ),
        "external": [],
        "folds": {**experiment["folds"], "made": made, "full": None},
        "maps": maps,
        "sections": list(other["sections"]),
        "title": f"{experiment['title']}: tested on {cohort['title']}",
        "trained_by": name,
    }

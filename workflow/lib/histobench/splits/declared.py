"""What the configuration declares of an experiment, and the rows in which the leakage audit answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from histobench.splits.persons import Aliases, Persons

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("check", "scope", "status", "detail")
PAPER_MODE = "paper"


@dataclass(frozen=True)
class Declared:
    """What the configuration says about an experiment.

    Attributes
    ----------
    scheme
        Fold scheme.
    mode
        "harmonised", or "paper", in which a published protocol's leaks are declared.
    panel_rule, panel_scope
        How the genes are chosen, and on which sections: "train" or "all".
    stain, stain_reference
        "raw" or the stain normalisation, and the section whose stain is its target, {"cohort", "section",
        "patient"}; None is the built-in reference.
    training
        What training is given: fold -> section -> role (train or valid). None: not known.
    external
        Sections on which the trained models are tested besides: {"cohort", "section", "patient"} each.
    start
        Sections that the networks have seen before this training, where it goes on from another one:
        {"cohort", "section", "patient"} each.
    aliases
        Patients that other cohorts know by another name: cohort -> patient -> name there; or patient ->
        name for a single cohort.
    same_patients
        Cohorts whose patients bear the names of another cohort's: cohort -> that cohort.
    patients
        All patients of these cohorts whose sections the run reads, also for other experiments.
    methods
        Compared methods: name -> {"family": ..., "oracle": whether it is given the truth}.
    """

    scheme: str
    mode: str = "harmonised"
    panel_rule: str = "top_mean"
    panel_scope: str = "train"
    stain: str = "raw"
    stain_reference: Mapping[str, str] | None = None
    training: Mapping[str, Mapping[str, str]] | None = None
    external: Sequence[Mapping[str, str]] = ()
    start: Sequence[Mapping[str, str]] = ()
    aliases: Aliases = field(default_factory=dict)
    same_patients: Mapping[str, str] = field(default_factory=dict)
    patients: Mapping[str, Sequence[str]] = field(default_factory=dict)
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def leak(self) -> str:
        """Status of a leak that a published protocol may contain."""
        return "declared" if self.mode == PAPER_MODE else "fail"


def row(check: str, scope: str, status: str, detail: str) -> dict[str, str]:
    """Return one row of the audit."""
    return {"check": check, "scope": scope, "status": status, "detail": detail}


def members(fold: pd.DataFrame, persons: Persons, *roles: str) -> dict[str, tuple[str, str]]:
    """Return the persons with a section in one of the roles, each with a (patient, section) to name."""
    chosen = fold[fold["role"].isin(roles)]
    return {
        persons.who(cohort, patient): (patient, section)
        for cohort, patient, section in zip(
            chosen["cohort"], chosen["patient"], chosen["section"], strict=True
        )
    }

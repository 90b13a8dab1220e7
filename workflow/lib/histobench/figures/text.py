"""Small pieces of caption text that several figures share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from histobench.expression.transforms import TRANSFORMS


def count(number: int, noun: str) -> str:
    """Return "1 gene", "250 genes", "4,000 spots"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def transform_text(settings: Mapping[str, Any] | None) -> str:
    """Return the label of the experiment's target transform, or its name if it is not a known one."""
    name = str((settings or {}).get("transform", "") or "")
    return TRANSFORMS[name].label if name in TRANSFORMS else name


def label_words(settings: Mapping[str, Any] | None) -> str:
    """Return whose the labels of spots are, before the word "label": "pathologist's", "simulated" ..."""
    return str((settings or {}).get("labels") or "pathologist's")


def scores_note(settings: Mapping[str, Any] | None) -> str:
    """Return the warning that belongs under every score of an experiment that leaks, or nothing."""
    settings = settings or {}
    folds, panel = settings.get("folds"), settings.get("panel")
    scheme = folds.get("scheme") if isinstance(folds, Mapping) else folds
    scope = panel.get("scope") if isinstance(panel, Mapping) else ""
    notes = ""
    if scheme == "leave_one_section_out":
        notes += (
            " Section-wise folds: other sections of the test patient were in the training set, so these "
            "scores leak "
            "the patient and are not comparable with patient-wise ones."
        )
    if scope == "all":
        notes += " The genes were chosen on all patients, the test patient included."
    return notes


def signed(value: float, digits: int = 2) -> str:
    """Return a number with a true minus sign."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")

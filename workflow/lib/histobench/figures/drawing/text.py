"""Small pieces of caption text that several figures share."""

from __future__ import annotations

from collections.abc import Mapping

from histobench.figures.drawing.settings import Settings


def count(number: int, noun: str) -> str:
    """Return "1 gene", "250 genes", "4,000 spots"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def prose(text: str) -> str:
    """Return a text that was written over several lines as one."""
    return " ".join(text.split())


def transform_text(settings: Settings) -> str:
    """Return the unit of the experiment's target transform, or its name where none is declared."""
    return settings.unit or settings.transform


def scores_note(settings: Settings) -> str:
    """Return the warning that belongs under every score of an experiment that leaks, or nothing."""
    folds, panel = settings.folds, settings.panel
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

"""Fold schemes: which sections train, validate and test.

Pure Python without heavy imports, because the workflow calls it while it builds its graph.

Four schemes:

``leave_one_patient_out``
    One fold per patient, named after the patient.
``k_fold_patients``
    k folds; fold f tests every k-th patient of the sorted list, as the published splits do. Patients in
    ``held_out`` take no part in these folds, in no role; one more fold, ``heldout``, trains on everybody
    else and tests on them. With ``held_out`` and no k there is only that fold.
``leave_one_section_out``
    One fold per section, named after the section. The other sections of the test patient, serial cuts of
    the same tissue, are trained on: the scheme LEAKS THE PATIENT and exists to reproduce published numbers.
``train_all``
    No fold: nobody is tested. For models that are tested on other cohorts only.

Models for other cohorts come from one more training, ``all``, on every patient but those held out.

Validation is always by patient: ``valid_patients`` patients are drawn, with a seed, from the training
patients of each fold, so that early stopping cannot profit from sister sections of what it trains on.
"""

from __future__ import annotations

import csv
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from histobench.errors import UserError
from histobench.files import atomic_path, look_alike
from histobench.seeds import seed_for

SCHEMES = ("leave_one_patient_out", "k_fold_patients", "leave_one_section_out", "train_all")

# Schemes under which tissue of a test patient is trained on, and what to say about it.
LEAKING_SCHEMES: Mapping[str, str] = {
    "leave_one_section_out": "leaks the patient: serial sections of the test patient are trained on",
}

HELD_OUT_FOLD = "heldout"
# The training whose models predict other cohorts.
FULL_FOLD = "all"
FOLD_COLUMNS = ("fold", "patient", "section", "role", "cohort")
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+:-]*")


@dataclass(frozen=True)
class Fold:
    """Sections of one fold by role; a section that takes no part in the fold is in none of them."""

    name: str
    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]

    def roles(self) -> dict[str, str]:
        """Return the role of each section that takes part."""
        parts = (("train", self.train), ("valid", self.valid), ("test", self.test))
        return {section: role for role, sections in parts for section in sections}


def make_folds(
    sections: Mapping[str, str],
    *,
    scheme: str,
    k: int | None = None,
    valid_patients: int = 0,
    held_out: Iterable[str] | None = None,
    seed: int = 0,
) -> list[Fold]:
    """Split sections into folds.

    Parameters
    ----------
    sections
        Patient of each section.
    scheme
        One of :data:`SCHEMES`; see the module docstring.
    k
        Number of folds of ``k_fold_patients``.
    valid_patients
        Training patients set aside for validation in every fold.
    held_out
        Patients of the extra test-only fold of ``k_fold_patients``.
    seed
        Seed of the draw of validation patients.

    Returns
    -------
    list of Fold
        In the order of patients or sections; sections within a role are sorted.

    Raises
    ------
    UserError
        The request cannot be met, for example one patient under leave_one_patient_out.
    """
    _check_names(sections)
    held = _check_request(sections, scheme, k, valid_patients, held_out)
    patients = sorted(set(sections.values()) - held)
    if scheme == "leave_one_section_out":
        tests = [(section, {section}) for section in sorted(sections)]
    elif scheme == "leave_one_patient_out":
        tests = [(patient, _sections_of(sections, {patient})) for patient in patients]
    elif scheme == "train_all":
        tests = []
    else:
        tests = [(f"fold{f + 1}", _sections_of(sections, set(patients[f :: k or 1]))) for f in range(k or 0)]
    pool = _sections_of(sections, set(patients))
    folds = [_fold(name, pool, test, sections, valid_patients, seed) for name, test in tests]
    if held:
        test = _sections_of(sections, held)
        folds.append(_fold(HELD_OUT_FOLD, pool, test, sections, valid_patients, seed))
    return folds


def full_fold(
    sections: Mapping[str, str],
    *,
    valid_patients: int = 0,
    held_out: Iterable[str] | None = None,
    seed: int = 0,
) -> Fold:
    """Return the training on everybody, which tests nobody; arguments as in :func:`make_folds`.

    Patients that are held out for a test stay out.
    """
    _check_names(sections)
    pool = _sections_of(sections, set(sections.values()) - set(held_out or ()))
    return _fold(FULL_FOLD, pool, set(), sections, valid_patients, seed)


def _sections_of(sections: Mapping[str, str], patients: set[str]) -> set[str]:
    return {section for section, patient in sections.items() if patient in patients}


def _fold(
    name: str, pool: set[str], test: set[str], sections: Mapping[str, str], valid_patients: int, seed: int
) -> Fold:
    rest = pool - test
    tested = {sections[section] for section in test}
    # A patient with tested sections is never a validation patient, not even under the leaking scheme.
    candidates = sorted({sections[section] for section in rest} - tested)
    n_drawn = min(valid_patients, len(candidates))
    draw = set(random.Random(seed_for("validation patients", seed, name)).sample(candidates, n_drawn))
    valid = {section for section in rest if sections[section] in draw}
    if n_drawn < valid_patients or not rest - valid:
        raise UserError(
            f"folds.valid_patients: fold {name} has {len(candidates)} patients besides the tested ones and "
            f"{valid_patients} are asked for validation, which leaves none to train on; lower valid_patients."
        )
    return Fold(name, tuple(sorted(rest - valid)), tuple(sorted(valid)), tuple(sorted(test)))


def _check_names(sections: Mapping[str, str]) -> None:
    if not sections:
        raise UserError("folds: there is no section to split; check the cohort's sections and filters.")
    for name in [*sections, *sections.values()]:
        if not _SAFE_NAME.fullmatch(name):
            raise UserError(
                f"folds: {name!r} names a section or patient but is used as a file name; use letters, "
                "digits, underscore, dot, plus and hyphen only."
            )
    for what, names in (("sections", list(sections)), ("patients", list(sections.values()))):
        for name in sorted(set(names)):
            if other := look_alike(name, names, zeros=what == "sections"):
                raise UserError(
                    f"folds: the {what} {name} and {other} look like one; if they are, write them alike, or "
                    "else give them other names, so that nobody is trained and tested on."
                )


def _check_request(
    sections: Mapping[str, str],
    scheme: str,
    k: int | None,
    valid_patients: int,
    held_out: Iterable[str] | None,
) -> set[str]:
    """Refuse what cannot be done; return the held-out patients."""
    if scheme not in SCHEMES:
        raise UserError(f"folds.scheme: {scheme!r} is unknown; choose one of {', '.join(SCHEMES)}.")
    if isinstance(held_out, str):
        held_out = [held_out]
    held = set(held_out or ())
    everybody = set(sections.values())
    if unknown := sorted(held - everybody):
        raise UserError(f"folds.held_out: {', '.join(unknown)} is not a patient of the selected sections.")
    if scheme != "k_fold_patients" and (k is not None or held):
        key = "k" if k is not None else "held_out"
        raise UserError(f"folds.{key}: only the scheme k_fold_patients uses it; remove it from {scheme}.")
    if valid_patients < 0:
        raise UserError(f"folds.valid_patients: {valid_patients} is negative; use 0 or more.")
    n_patients = len(everybody - held)
    if scheme == "leave_one_section_out" and len(sections) < 2:
        raise UserError("folds.scheme: leave_one_section_out needs at least 2 sections and there is 1.")
    if scheme == "leave_one_patient_out" and n_patients < 2:
        raise UserError(
            "folds.scheme: leave_one_patient_out needs at least 2 patients and there is 1; add sections of "
            "another patient."
        )
    if scheme == "k_fold_patients":
        _check_k(k, n_patients, bool(held))
    return held


def _check_k(k: int | None, n_patients: int, has_held_out: bool) -> None:
    if k is None and not has_held_out:
        raise UserError("folds.k: k_fold_patients needs the number of folds; set k to 2 or more.")
    if k is not None and not 2 <= k <= n_patients:
        raise UserError(
            f"folds.k: {k} folds cannot be made of {n_patients} patients; use a k from 2 to {n_patients}."
        )
    if n_patients == 0:
        raise UserError("folds.held_out: every patient is held out, which leaves none to train on.")


def roles(folds: Sequence[Fold], sections: Mapping[str, str], cohort: str) -> list[dict[str, str]]:
    """Return the rows of ``folds.tsv``: one per fold and section that takes part in it."""
    return [
        {"fold": fold.name, "patient": sections[section], "section": section, "role": role, "cohort": cohort}
        for fold in folds
        for section, role in fold.roles().items()
    ]


def write_folds(folds: Sequence[Fold], sections: Mapping[str, str], cohort: str, path: str | Path) -> None:
    """Write ``folds.tsv``: fold, patient, section, role (train, valid, test), cohort."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, FOLD_COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(roles(folds, sections, cohort))

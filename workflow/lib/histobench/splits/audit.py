"""Leakage audit: nothing of a tested patient may reach training, under any name.

Each check gives rows of check, scope, status and detail. ``ok`` passed; ``declared`` is a leak that a paper's
protocol contains and the experiment declares by its mode; ``fail`` is a leak that nobody declared and stops
the run. What is no protocol but a mistake (folds that are not those declared, one image under two names)
fails in every mode.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histobench.errors import UserError
from histobench.files import read_json, read_table, write_table
from histobench.splits.declared import COLUMNS, Declared, members, row
from histobench.splits.folds import LEAKING_SCHEMES
from histobench.splits.overlap import aliases_row, external_rows, images_row, repeated_row
from histobench.splits.persons import Persons

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


def audit(
    folds: pd.DataFrame,
    declared: Declared,
    *,
    panels: Mapping[str, pd.DataFrame] | None = None,
    images: Sequence[Mapping[str, Any]] | None = None,
    twins: Mapping[str, pd.DataFrame] | None = None,
) -> pd.DataFrame:
    """Run all checks.

    Parameters
    ----------
    folds
        Rows of folds.tsv: fold, patient, section, role, cohort.
    declared
        What the configuration says.
    panels
        Fold -> the sections on which its genes were in fact chosen: section, patient, cohort. None: not yet
        known.
    images
        What the images that the experiment looks at are recognised by: cohort, section, phash, landmarks.
        None: not yet known.
    twins
        Cohort -> its sections that are one measurement with a section of the experiment's cohort, or have its
        spots (:func:`histobench.cohorts.identity.find_twins`); the experiment's own cohort among them. None:
        not yet known.

    Returns
    -------
    pandas.DataFrame
        check, scope (fold or "experiment"), status (ok, declared, fail), detail.
    """
    import pandas as pd

    persons = Persons(declared.aliases, declared.same_patients)
    persons.learn(zip(folds["cohort"], folds["patient"], strict=True))
    others = [*declared.external, *declared.start]
    persons.learn((section["cohort"], section["patient"]) for section in others)
    persons.learn((cohort, patient) for cohort, known in declared.patients.items() for patient in known)
    rows = [
        _scheme_row(declared),
        _panel_row(declared),
        _tested_once_row(folds),
        _stain_row(folds, persons, declared),
        _truth_row(declared),
        *external_rows(folds, persons, declared),
        *_start_rows(folds, persons, declared),
    ]
    if images is not None:
        rows.append(images_row(folds, images, declared))
    home = str(folds["cohort"].iloc[0])
    for cohort, table in (twins or {}).items():
        if cohort == home:
            rows.append(repeated_row(folds, table))
        else:
            rows.append(aliases_row(home, cohort, table, persons, declared))
    for name, fold in folds.groupby("fold", sort=False):
        scope = str(name)
        rows += [
            _roles_row(scope, fold),
            _patients_row(scope, fold, persons, declared),
            _selection_row(scope, fold, persons, declared),
        ]
        if declared.training is not None:
            rows.append(_training_row(scope, fold, declared.training.get(scope, {})))
        if panels is not None:
            rows.append(_panel_sections_row(scope, fold, panels.get(scope), persons, declared))
    return pd.DataFrame(rows, columns=list(COLUMNS))


# -- of the experiment ------------------------------------------------------------------------------


def _scheme_row(declared: Declared) -> dict[str, str]:
    leak = LEAKING_SCHEMES.get(declared.scheme)
    if leak is None:
        return row("fold scheme", "experiment", "ok", f"{declared.scheme} keeps patients together")
    return row("fold scheme", "experiment", declared.leak, f"{declared.scheme} {leak}")


def _panel_row(declared: Declared) -> dict[str, str]:
    if declared.panel_scope != "train":
        detail = "genes are chosen on all sections, the tested ones included"
        return row("panel scope", "experiment", declared.leak, detail)
    detail = "genes are chosen on the training sections of each fold"
    if declared.panel_rule == "file":
        detail = "genes come from a list made elsewhere; on which patients it was made is not known here"
    return row("panel scope", "experiment", "ok", detail)


def _tested_once_row(folds: pd.DataFrame) -> dict[str, str]:
    tested = folds[folds["role"] == "test"]
    twice = sorted(tested.loc[tested.duplicated(["cohort", "section"]), "section"])
    if twice:
        detail = f"section {twice[0]} is tested in more than one fold"
        return row("tested once", "experiment", "fail", detail)
    return row("tested once", "experiment", "ok", f"{len(tested)} sections, each tested in one fold")


def _start_rows(folds: pd.DataFrame, persons: Persons, declared: Declared) -> list[dict[str, str]]:
    """Refuse to fine-tune networks that have seen a tested patient, under any name."""
    if not declared.start:
        return []
    seen = {persons.who(s["cohort"], s["patient"]): s for s in declared.start}
    tested = members(folds, persons, "test")
    tested |= {
        persons.who(s["cohort"], s["patient"]): (s["patient"], s["section"]) for s in declared.external
    }
    shared = sorted(set(seen) & set(tested))
    if not shared:
        detail = f"networks start from {len(seen)} patients, none of whom is tested"
        return [row("starting weights", "experiment", "ok", detail)]
    (patient, section), before = tested[shared[0]], seen[shared[0]]
    detail = (
        f"networks start from weights that have seen patient {before['patient']} of {before['cohort']}, who "
        f"is tested as {patient} (section {section}); leave that patient out"
    )
    return [row("starting weights", "experiment", declared.leak, detail)]


def _truth_row(declared: Declared) -> dict[str, str]:
    """Refuse a competitor that is given the truth of the section it predicts."""
    given = sorted(name for name, method in declared.methods.items() if method["oracle"])
    cheats = [name for name in given if declared.methods[name]["family"] != "oracle"]
    if cheats:
        family = declared.methods[cheats[0]]["family"]
        detail = f"{cheats[0]} is given the truth of the section it predicts, but competes as {family}"
        return row("truth", "experiment", "fail", detail)
    detail = f"none of {len(declared.methods) - len(given)} competing methods is given the truth"
    if given:
        detail += f"; oracles, which do not compete: {', '.join(given)}"
    return row("truth", "experiment", "ok", detail)


def _stain_row(folds: pd.DataFrame, persons: Persons, declared: Declared) -> dict[str, str]:
    """Refuse a target of stain normalisation that was fitted on a tested patient."""
    reference = declared.stain_reference
    if declared.stain == "raw":
        return row("stain reference", "experiment", "ok", "stains are left as they are")
    if reference is None:
        detail = "stains are normalised to the built-in reference, each section by its own pixels"
        return row("stain reference", "experiment", "ok", detail)
    person = persons.who(reference["cohort"], reference["patient"])
    tested = members(folds, persons, "test")
    tested |= {
        persons.who(s["cohort"], s["patient"]): (s["patient"], s["section"]) for s in declared.external
    }
    name = f"section {reference['section']} of patient {reference['patient']}"
    if person not in tested:
        detail = f"stains are normalised to {name}, whom no fold tests"
        return row("stain reference", "experiment", "ok", detail)
    patient, section = tested[person]
    same = "" if patient == reference["patient"] else f" as {patient}"
    detail = (
        f"stains are normalised to {name}, who is tested{same} (section {section}); "
        "use the built-in reference or a patient outside the experiment"
    )
    return row("stain reference", "experiment", declared.leak, detail)


# -- of a fold --------------------------------------------------------------------------------------


def _roles_row(name: str, fold: pd.DataFrame) -> dict[str, str]:
    twice = sorted(fold.loc[fold.duplicated(["cohort", "section"]), "section"])
    if twice:
        return row("sections", name, "fail", f"section {twice[0]} has more than one role")
    numbers = fold["role"].value_counts()
    parts = ", ".join(f"{numbers.get(role, 0)} {role}" for role in ("train", "valid", "test"))
    return row("sections", name, "ok", parts)


def _fold_leak(declared: Declared) -> str:
    """Status of a tested patient in training: part of a leaking scheme, or a mistake in any other."""
    return declared.leak if declared.scheme in LEAKING_SCHEMES else "fail"


def _patients_row(name: str, fold: pd.DataFrame, persons: Persons, declared: Declared) -> dict[str, str]:
    trained, tested = members(fold, persons, "train"), members(fold, persons, "test")
    shared = sorted(set(trained) & set(tested))
    if not shared:
        detail = f"{len(tested)} tested and {len(trained)} trained patients have nobody in common"
        return row("patients", name, "ok", detail)
    (test_patient, test_section), (patient, section) = tested[shared[0]], trained[shared[0]]
    same = "" if patient == test_patient else f", who is patient {patient} of the training data"
    detail = f"section {section} of tested patient {test_patient}{same} is trained on (test {test_section})"
    if declared.scheme not in LEAKING_SCHEMES:
        detail += f", although the folds are declared as {declared.scheme}"
    return row("patients", name, _fold_leak(declared), detail)


def _selection_row(name: str, fold: pd.DataFrame, persons: Persons, declared: Declared) -> dict[str, str]:
    """Checkpoints are chosen on validation patients, who must be neither trained on nor tested."""
    trained, valid, tested = (members(fold, persons, role) for role in ("train", "valid", "test"))
    if shared := sorted(set(valid) & set(tested)):
        patient, section = valid[shared[0]]
        detail = f"checkpoints are chosen on section {section} of patient {patient}, who is tested"
        return row("checkpoint selection", name, _fold_leak(declared), detail)
    if shared := sorted(set(trained) & set(valid)):
        patient, section = valid[shared[0]]
        detail = f"validation patient {patient} ({section}) is trained on too"
        return row("checkpoint selection", name, "fail", detail)
    detail = f"on {len(valid)} patients set aside" if valid else "within the training sections"
    return row("checkpoint selection", name, "ok", detail)


def _training_row(name: str, fold: pd.DataFrame, given: Mapping[str, str]) -> dict[str, str]:
    """Compare what training is given with what folds.tsv says."""
    roles = dict(zip(fold["section"], fold["role"], strict=True))
    for section, role in sorted(given.items()):
        if roles.get(section) != role:
            now = f"has the role {roles[section]}" if section in roles else "takes no part"
            detail = f"training gets section {section} for {role}, but in folds.tsv it {now}"
            return row("training input", name, "fail", detail)
    missing = sorted(set(fold.loc[fold["role"].isin(["train", "valid"]), "section"]) - set(given))
    if missing:
        detail = f"training does not get section {missing[0]}, which folds.tsv gives to it"
        return row("training input", name, "fail", detail)
    return row("training input", name, "ok", f"{len(given)} sections, those of folds.tsv")


def _panel_sections_row(
    name: str, fold: pd.DataFrame, chosen_on: pd.DataFrame | None, persons: Persons, declared: Declared
) -> dict[str, str]:
    """Check on whom the genes of a fold were in fact chosen: not on its tested patients."""
    if chosen_on is None:
        detail = "nothing says on which sections the genes were chosen; select the panel again"
        return row("panel sections", name, "fail", detail)
    if declared.panel_rule == "file":
        return row("panel sections", name, "ok", "no section decides: the genes come from a list")
    tested = members(fold, persons, "test")
    seen = members(chosen_on.assign(role="panel"), persons, "panel")
    shared = sorted(set(tested) & set(seen))
    if not shared:
        detail = (
            f"genes were chosen on {len(chosen_on)} sections of {len(seen)} patients, none of them tested"
        )
        return row("panel sections", name, "ok", detail)
    patient, section = seen[shared[0]]
    who = "" if patient == tested[shared[0]][0] else f" as {tested[shared[0]][0]}"
    detail = f"genes were chosen on section {section} of patient {patient}, who is tested{who}"
    allowed = declared.panel_scope == "all" or declared.scheme in LEAKING_SCHEMES
    return row("panel sections", name, declared.leak if allowed else "fail", detail)


# -- the stage --------------------------------------------------------------------------------------


def write_audit(
    *,
    folds_tsv: str | Path,
    output: str | Path,
    panels: Mapping[str, str | Path] | None = None,
    images: Sequence[str | Path] | None = None,
    twins: Mapping[str, str | Path] | None = None,
    **declared: object,
) -> None:
    """Audit an experiment, write the table, and fail on an undeclared leak.

    Parameters
    ----------
    folds_tsv, output
        folds.tsv, and where the audit goes. The table is written also if a check fails, before the error.
    panels
        Fold -> table of the sections on which its genes were chosen; None before that is known.
    images
        Files with the perceptual hashes of the images (:func:`histobench.imaging.phash.write_hash`); None
        before these are known.
    declared
        See :class:`Declared`.

    Raises
    ------
    UserError
        A check failed; the table says which, the message names the first.
    """
    table = audit(
        read_table(folds_tsv, dtype=str),
        Declared(**declared),  # type: ignore[arg-type]
        panels=None if panels is None else {n: read_table(p, dtype=str) for n, p in panels.items()},
        images=None if images is None else [read_json(path) for path in images],
        twins=None if twins is None else {n: read_table(p, dtype=str) for n, p in twins.items()},
    )
    write_table(table, output)
    failed = table[table["status"] == "fail"]
    for found in failed.to_dict("records"):  # the engine removes the table of a job that fails
        log.error("%s (%s): %s", found["check"], found["scope"], found["detail"])
    if len(failed):
        first = failed.iloc[0]
        more = f" (and {len(failed) - 1} more checks fail)" if len(failed) > 1 else ""
        raise UserError(
            f"{folds_tsv}: leakage audit, {first['check']} ({first['scope']}): {first['detail']}{more}; "
            "nothing is trained before this is mended."
        )

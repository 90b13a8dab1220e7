"""Leakage audit: nothing of a tested patient may reach training, under any name.

Each check gives rows of check, scope, status and detail. ``ok`` passed; ``declared`` is a leak that a paper's
protocol contains and the experiment declares by its mode; ``fail`` is a leak that nobody declared and stops
the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from histobench.errors import UserError
from histobench.files import read_table, write_table
from histobench.splits.folds import LEAKING_SCHEMES

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("check", "scope", "status", "detail")
PAPER_MODE = "paper"

Aliases = Mapping[str, str] | Mapping[str, Mapping[str, str]]


def audit(
    folds: pd.DataFrame,
    *,
    scheme: str,
    mode: str = "harmonised",
    panel_scope: str = "train",
    aliases: Aliases | None = None,
) -> pd.DataFrame:
    """Run all checks.

    Parameters
    ----------
    folds
        Rows of folds.tsv: fold, patient, section, role, cohort.
    scheme
        Declared fold scheme.
    mode
        "harmonised", or "paper", in which a published protocol's leaks are declared.
    panel_scope
        "train" or "all".
    aliases
        Patients that other cohorts know by another name: cohort -> patient -> name there; or patient ->
        name for a single cohort.

    Returns
    -------
    pandas.DataFrame
        check, scope (fold or "experiment"), status (ok, declared, fail), detail.
    """
    import pandas as pd

    persons = _persons(folds, aliases or {})
    rows = [
        _scheme_row(scheme, mode),
        _panel_row(panel_scope, mode),
        _tested_once_row(folds),
    ]
    for name, fold in folds.groupby("fold", sort=False):
        rows += [
            _roles_row(str(name), fold),
            _patients_row(str(name), fold, persons, scheme, mode),
            _validation_row(str(name), fold, persons),
        ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _persons(folds: pd.DataFrame, aliases: Aliases) -> dict[tuple[str, str], str]:
    """Return who each (cohort, patient) is: the same name for all names of one person.

    A patient with an alias is the person of that name in any other cohort; patients of different cohorts
    that merely share a letter are different persons.
    """
    pairs = sorted(set(zip(folds["cohort"], folds["patient"], strict=True)))
    known = {pair: _alias(aliases, *pair) for pair in pairs}
    meant = {alias for alias in known.values() if alias}
    return {
        (cohort, patient): alias or (patient if patient in meant else f"{cohort}:{patient}")
        for (cohort, patient), alias in known.items()
    }


def _alias(aliases: Aliases, cohort: str, patient: str) -> str:
    own = aliases.get(cohort, {})
    if isinstance(own, Mapping) and patient in own:
        return own[patient]
    flat = aliases.get(patient, "")
    return flat if isinstance(flat, str) else ""


def _row(check: str, scope: str, status: str, detail: str) -> dict[str, str]:
    return {"check": check, "scope": scope, "status": status, "detail": detail}


def _scheme_row(scheme: str, mode: str) -> dict[str, str]:
    leak = LEAKING_SCHEMES.get(scheme)
    if leak is None:
        return _row("fold scheme", "experiment", "ok", f"{scheme} keeps patients together")
    status = "declared" if mode == PAPER_MODE else "fail"
    return _row("fold scheme", "experiment", status, f"{scheme} {leak}")


def _panel_row(scope: str, mode: str) -> dict[str, str]:
    if scope == "train":
        return _row(
            "panel scope", "experiment", "ok", "genes are chosen on the training sections of each fold"
        )
    status = "declared" if mode == PAPER_MODE else "fail"
    return _row(
        "panel scope", "experiment", status, "genes are chosen on all sections, the tested ones included"
    )


def _tested_once_row(folds: pd.DataFrame) -> dict[str, str]:
    tested = folds[folds["role"] == "test"]
    twice = sorted(tested.loc[tested.duplicated(["cohort", "section"]), "section"])
    if twice:
        return _row(
            "tested once", "experiment", "fail", f"section {twice[0]} is tested in more than one fold"
        )
    return _row("tested once", "experiment", "ok", f"{len(tested)} sections, each tested in one fold")


def _roles_row(name: str, fold: pd.DataFrame) -> dict[str, str]:
    twice = sorted(fold.loc[fold.duplicated(["cohort", "section"]), "section"])
    if twice:
        return _row("sections", name, "fail", f"section {twice[0]} has more than one role")
    numbers = fold["role"].value_counts()
    parts = ", ".join(f"{numbers.get(role, 0)} {role}" for role in ("train", "valid", "test"))
    return _row("sections", name, "ok", parts)


def _members(
    fold: pd.DataFrame, persons: Mapping[tuple[str, str], str], *roles: str
) -> dict[str, tuple[str, str]]:
    """Persons that have a section in one of the roles, each with one (patient, section) to name."""
    chosen = fold[fold["role"].isin(roles)]
    return {
        persons[cohort, patient]: (patient, section)
        for cohort, patient, section in zip(
            chosen["cohort"], chosen["patient"], chosen["section"], strict=True
        )
    }


def _patients_row(
    name: str, fold: pd.DataFrame, persons: Mapping[tuple[str, str], str], scheme: str, mode: str
) -> dict[str, str]:
    trained, tested = _members(fold, persons, "train", "valid"), _members(fold, persons, "test")
    shared = sorted(set(trained) & set(tested))
    if not shared:
        detail = f"{len(tested)} tested and {len(trained)} trained patients have nobody in common"
        return _row("patients", name, "ok", detail)
    (test_patient, test_section), (patient, section) = tested[shared[0]], trained[shared[0]]
    same = "" if patient == test_patient else f", who is patient {patient} of the training data"
    detail = f"section {section} of tested patient {test_patient}{same} is trained on (test {test_section})"
    declared = scheme in LEAKING_SCHEMES and mode == PAPER_MODE
    return _row("patients", name, "declared" if declared else "fail", detail)


def _validation_row(name: str, fold: pd.DataFrame, persons: Mapping[tuple[str, str], str]) -> dict[str, str]:
    trained, valid = _members(fold, persons, "train"), _members(fold, persons, "valid")
    shared = sorted(set(trained) & set(valid))
    if shared:
        patient, section = valid[shared[0]]
        return _row("validation", name, "fail", f"validation patient {patient} ({section}) is trained on too")
    detail = f"{len(valid)} patients set aside" if valid else "no validation patients"
    return _row("validation", name, "ok", detail)


def write_audit(
    *,
    folds_tsv: str | Path,
    output: str | Path,
    scheme: str,
    mode: str = "harmonised",
    panel_scope: str = "train",
    aliases: Aliases | None = None,
) -> None:
    """Audit the folds of an experiment, write the table, and fail on an undeclared leak.

    Parameters
    ----------
    folds_tsv, output
        folds.tsv, and where the audit goes.
    scheme, mode, panel_scope, aliases
        See :func:`audit`.

    Raises
    ------
    UserError
        A check failed; the table says which, the message names the first.
    """
    table = audit(
        read_table(folds_tsv, dtype=str), scheme=scheme, mode=mode, panel_scope=panel_scope, aliases=aliases
    )
    write_table(table, output)
    failed = table[table["status"] == "fail"]
    if len(failed):
        first = failed.iloc[0]
        more = f" and {len(failed) - 1} more checks fail" if len(failed) > 1 else ""
        raise UserError(
            f"{folds_tsv}: leakage audit, {first['check']} ({first['scope']}): {first['detail']}{more}; "
            "change the experiment's folds or panel, or set `mode: paper` to repeat a published leak."
        )

"""Checks of the leakage audit on what several cohorts, or several names, have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from histobench.splits.declared import Declared, members, row
from histobench.splits.persons import Persons

if TYPE_CHECKING:
    import pandas as pd


def external_rows(folds: pd.DataFrame, persons: Persons, declared: Declared) -> list[dict[str, str]]:
    """Refuse tested patients of other cohorts who are trained on, under any name."""
    rows = []
    trained = members(folds, persons, "train", "valid")
    for cohort in dict.fromkeys(section["cohort"] for section in declared.external):
        sections = [section for section in declared.external if section["cohort"] == cohort]
        patients = list(dict.fromkeys(section["patient"] for section in sections))
        shared = [patient for patient in patients if persons.who(cohort, patient) in trained]
        if not shared:
            detail = f"none of {len(patients)} patients of {cohort} is trained on"
            rows.append(row("external patients", cohort, "ok", detail))
            continue
        pairs = [f"{patient} is {trained[persons.who(cohort, patient)][0]}" for patient in shared]
        lost = [section["section"] for section in sections if section["patient"] in shared]
        home = ", ".join(sorted(set(folds["cohort"])))
        detail = (
            f"{cohort} shares {len(shared)} of its {len(patients)} patients with the training data of {home} "
            f"({'; '.join(pairs)}); leave sections {', '.join(lost)} out of the external test"
        )
        rows.append(row("external patients", cohort, declared.leak, detail))
    return rows


def images_row(
    folds: pd.DataFrame, images: Sequence[Mapping[str, Any]], declared: Declared
) -> dict[str, str]:
    """Refuse one image under two names; which patient it belongs to would be anybody's guess."""
    from histobench.imaging.phash import same_images

    patients = dict(
        zip(zip(folds["cohort"], folds["section"], strict=True), folds["patient"], strict=True)
    ) | {(s["cohort"], s["section"]): s["patient"] for s in declared.external}
    names: dict[str, tuple[str, str]] = {
        f"{image['cohort']}/{image['section']}": (image["cohort"], image["section"]) for image in images
    }
    pairs = same_images(dict(zip(names, images, strict=True)))
    if not pairs:
        detail = f"{len(images)} images, no two of them alike" if images else "no image is looked at"
        return row("images", "experiment", "ok", detail)
    first, second, why = pairs[0]
    described = [
        f"section {names[name][1]} of patient {patients.get(names[name], '?')} ({names[name][0]})"
        for name in (first, second)
    ]
    more = f", and {len(pairs) - 1} more pairs" if len(pairs) > 1 else ""
    detail = f"{described[0]} and {described[1]} have the same image ({why}){more}; keep one of them"
    return row("images", "experiment", "fail", detail)


def repeated_row(folds: pd.DataFrame, twins: pd.DataFrame) -> dict[str, str]:
    """Refuse one measurement under two names: with one of them in training, the other one is no test."""
    used = set(folds["section"])
    twice = twins[twins["section"].isin(used) & twins["other"].isin(used)]
    if not len(twice):
        detail = f"{len(used)} sections, no two of them one measurement"
        return row("counts", "experiment", "ok", detail)
    first = twice.iloc[0]
    more = f", and {len(twice) - 1} more pairs" if len(twice) > 1 else ""
    detail = (
        f"section {first['section']} of patient {first['patient']} and section {first['other']} of patient "
        f"{first['other_patient']} have the same counts (their depth correlates to "
        f"{float(first['depth_correlation']):.3f}){more}; keep one of them"
    )
    return row("counts", "experiment", "fail", detail)


def aliases_row(
    home: str, other: str, twins: pd.DataFrame, persons: Persons, declared: Declared
) -> dict[str, str]:
    """Compare who is declared to be one person with whose spots and counts are the same."""
    check = "patient aliases"
    same = twins[twins["same"].astype(str) == "True"]
    for twin in same.to_dict("records"):
        patient, alias = twin["patient"], twin["other_patient"]
        if persons.who(home, patient) != persons.who(other, alias):
            detail = (
                f"section {twin['other']} of patient {alias} ({other}) has the spots and counts of section "
                f"{twin['section']} of patient {patient} ({home}), but is not declared to be that person; "
                f"add `{alias}: {patient}` to the aliases of {other}"
            )
            return row(check, other, "fail", detail)
    # Serial sections have much the same outline: spots alone confirm a person, though not a section.
    seen = set(zip(twins["patient"], twins["other_patient"], strict=True))
    pairs = {
        (patient, alias)
        for patient in declared.patients.get(home, ())
        for alias in declared.patients.get(other, ())
        if persons.who(home, patient) == persons.who(other, alias)
    }
    if unconfirmed := sorted(pairs - seen):
        patient, alias = unconfirmed[0]
        detail = (
            f"patient {alias} of {other} is declared to be {patient} of {home}, but no section of theirs has "
            f"the same spots; correct the aliases of {other}"
        )
        return row(check, other, "fail", detail)
    if not pairs:
        return row(check, other, "ok", f"no section of {other} has the spots and counts of one of {home}")
    named = "; ".join(f"{alias} is {patient}" for patient, alias in sorted(pairs))
    detail = f"confirmed by spots ({named}), {len(same)} sections also by counts"
    return row(check, other, "ok", detail)

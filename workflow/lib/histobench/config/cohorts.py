"""Cohorts: complete, with their sections, and what is refused of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from histobench.cohorts.fetch.lock import WEIGHTS
from histobench.cohorts.templates import check_path, check_templates
from histobench.config.declarations import Declarations
from histobench.config.definitions import definition
from histobench.config.places import cohort_place, cohort_says, section_files, table_folder
from histobench.config.schemas import check, schema
from histobench.config.tables import TABLE_READER, complete_local
from histobench.errors import UserError, near

# Origins of cohorts that no experiment can be about.
WITHOUT_SPOTS = ("photos", "slides")


def find_cohort(declarations: Declarations, name: str, asked_by: str = "") -> dict[str, Any]:
    """Return a cohort's complete settings; a simulated cohort's sections are named here."""
    if name not in declarations.cohorts:
        value = definition(declarations, "cohort", name, asked_by)
        value.setdefault("source", name)
        if value["origin"] == "simulation":
            from histobench.cohorts.simulation.simulate import section_names, settings_from_options

            if taken := [key for key in ("sections", "table") if value[key]]:
                raise UserError(
                    f"cohorts.{name}: `{taken[0]}` has no effect on a simulated cohort, which makes its "
                    "own sections from `options`; remove it."
                )
            settings = settings_from_options(value["options"])
            value["sections"] = {
                section: {"patient": patient} for section, patient in section_names(settings).items()
            }
        where = cohort_place(declarations, name)
        if value["origin"] == "local":
            complete_local(value, table_folder(declarations, name), where, declarations.config["mirrors"])
            if value["reader"] == TABLE_READER:
                from histobench.cohorts.readers.table_cohort import check_options

                try:
                    check_options(value["options"])
                except UserError as error:
                    raise UserError(f"{where}: {error}") from None
        elif value["origin"] == "simulation" and "image" not in value["files"]:
            raise UserError(
                f"{where}: `files` is missing; a simulated cohort needs names for what it makes, as those of "
                "config/cohorts/simulated.yaml."
            )
        elif value["origin"] == "download" and not value["files"]:
            raise UserError(
                f"{where}: `files` is missing; say what a section consists of, or set `origin: local` if "
                "`table` names files of your own."
            )
        if value["origin"] != "local":
            own = schema(declarations.project, "cohort")["properties"]["sections"]["additionalProperties"]
            check_templates(value, where, own["properties"])
            if value["origin"] == "photos":
                for kind, file in value["files"].items():
                    check_path(file, f"files.{kind}", where, inside=True)
        for kind, file in value["resources"].items():
            check_path(file, f"resources.{kind}", where)
        _check_options(declarations, value, cohort_says(declarations, name, "options"))
        if value["geometry"]:
            from histobench.cohorts.geometry import limits_from

            limits_from(value["geometry"], cohort_says(declarations, name, "geometry"))
        if value["origin"] == "slides" and "groups" in value["options"]:
            from histobench.evaluation.colocation import check_groups

            check_groups(value["options"]["groups"], f"cohorts.{name}: `options.groups`")
        if not value["sections"] and value["origin"] not in WITHOUT_SPOTS:
            raise UserError(f"{where}: `sections` is empty; name at least one section.")
        _check_persons(declarations, name, value)
        declarations.cohorts[name] = value
        if value["origin"] not in ("local", "simulation"):
            for section in value["sections"]:
                for kind, file in section_files(declarations, name, section).items():
                    check_path(file, f"files.{kind}", f"{where}: section `{section}`", inside=True)
    return declarations.cohorts[name]


def _check_options(declarations: Declarations, cohort: Mapping[str, Any], where: str) -> None:
    """Refuse options that a reader of this project does not have, before anything is fetched."""
    subject = cohort["origin"] if cohort["origin"] in WITHOUT_SPOTS else cohort.get("reader", "")
    rules = schema(declarations.project, "options")["properties"].get(subject)
    if rules:
        check({"options": cohort["options"]}, {"properties": {"options": rules}}, where)


def _check_persons(declarations: Declarations, name: str, cohort: Mapping[str, Any]) -> None:
    """Refuse statements on patients, on which the search for leaks relies, that speak of nobody."""
    same = cohort["same_patients_as"]
    others = declarations.names("cohort") - {name}
    if same is not None and same not in others:
        where = cohort_says(declarations, name, "same_patients_as")
        raise UserError(
            f"{where}: `same_patients_as` names the cohort `{same}`, which does not exist; "
            f"{near(same, others)}"
        )
    if same is not None:
        further = definition(declarations, "cohort", same, name)["same_patients_as"]
        if further is not None:
            where = cohort_says(declarations, name, "same_patients_as")
            remedy = f"name `{further}` here" if further != name else "leave it out of one of the two"
            raise UserError(
                f"{where}: `same_patients_as` names the cohort `{same}`, which itself bears the names of "
                f"`{further}`; {remedy}."
            )
    patients = _patients(cohort)
    for patient in cohort["aliases"]:
        if patient not in patients:
            where = cohort_says(declarations, name, "aliases")
            raise UserError(
                f"{where}: `aliases` names the patient `{patient}`, whom the cohort does not have; "
                f"{near(patient, patients)}"
            )


def check_aliases(declarations: Declarations) -> None:
    """Refuse an alias that no cohort bears, or that is only a further alias: nobody would be found by it."""
    known = dict(declarations.cohorts)
    unread = sorted(declarations.names("cohort") - set(known))
    for name, cohort in declarations.cohorts.items():
        for patient, alias in cohort["aliases"].items():
            while unread and not _bearers(known, name, alias):
                apart = dataclasses.replace(declarations, cohorts={}, left_out=[])
                try:
                    known[unread[0]] = find_cohort(apart, unread[0])
                except UserError:
                    return  # whom a cohort has that cannot be read, and is not used, is not known
                del unread[0]
            where = (
                f"{cohort_says(declarations, name, 'aliases')}: `aliases` says that patient `{patient}` is"
            )
            bearers = _bearers(known, name, alias)
            if not bearers:
                others = {each for other in known.values() for each in _patients(other)} - _patients(cohort)
                raise UserError(f"{where} `{alias}`, whom no other cohort has; {near(alias, others)}")
            for other in bearers:
                further = known[other]["aliases"].get(alias, patient)
                if further not in (patient, alias):
                    raise UserError(f"{where} `{alias}`, whom `{other}` calls `{further}`; name that one.")


def check_mirrors(declarations: Declarations) -> None:
    """Refuse mirrors of a source that there is not: nothing would be looked for in them."""
    known = {source for source, _ in declarations.lock} | {WEIGHTS}
    for name in sorted(declarations.names("cohort")):
        if set(declarations.config["mirrors"]) <= known:
            return
        known.add(definition(declarations, "cohort", name, "`mirrors`").get("source", name))
    for source in sorted(set(declarations.config["mirrors"]) - known):
        where = declarations.changed_by("mirrors", source)
        raise UserError(f"{where}: `mirrors` names the source `{source}`; {near(source, known)}")


def _patients(cohort: Mapping[str, Any]) -> set[str]:
    return {section["patient"] for section in cohort["sections"].values()}


def _bearers(cohorts: Mapping[str, Mapping[str, Any]], name: str, patient: str) -> list[str]:
    """Return the other cohorts that have a patient of a name."""
    return [other for other, cohort in cohorts.items() if other != name and patient in _patients(cohort)]


def table_path(declarations: Declarations, name: str) -> Path:
    """Return where the table of a cohort's sections lies."""
    return table_folder(declarations, name) / declarations.cohorts[name]["table"]


def check_manifest(declarations: Declarations, where: str, name: str, sections: Sequence[str]) -> None:
    """Refuse a cohort of slides that lists none, or of which nothing can be compared with expression."""
    from histobench.cohorts.fetch.gdc import fill_command

    listed, path = declarations.cohorts[name]["sections"], table_path(declarations, name).resolve()
    if not listed:
        raise UserError(
            f"{where} names cohort `{name}`, but its manifest {path} lists no slide; fill it: "
            f"{fill_command(path)}."
        )
    if not any("counts" in listed[section] for section in sections):
        raise UserError(
            f"{where} names cohort `{name}`, but its manifest {path} lists no expression to compare "
            f"the slides with ({len(sections)} of them); list both: {fill_command(path)}, or for a "
            "selection of your own `histobench gdc-manifest --portal-manifest MANIFEST --sample-sheet "
            f"SHEET --output {path}`."
        )

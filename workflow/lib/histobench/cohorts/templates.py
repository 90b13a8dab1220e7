"""Paths of a cohort's files: what a template may ask for, and where a path may lead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from string import Formatter
from typing import Any

from histobench.errors import UserError, near
from histobench.files import path_trouble


def check_path(value: str, key: str, where: str, *, inside: bool = False) -> None:
    """Refuse a path that the workflow could not use, or that leaves the folder where it belongs.

    Parameters
    ----------
    value, key, where
        The path, its key, and the file that says so.
    inside
        It must stay below the folder from which it starts; ``archive!/member`` starts twice.
    """
    if trouble := path_trouble(value):
        raise UserError(f"{where}: `{key}` names {value!r}, which {trouble}.")
    parts = [PurePosixPath(part) for part in value.split("!/")]
    if inside and any(part.is_absolute() or ".." in part.parts for part in parts):
        raise UserError(
            f"{where}: `{key}` names {value}, which leaves the folder of the cohort's source; write a path "
            "inside it, or set `origin: local` for files of your own."
        )


def check_templates(cohort: Mapping[str, Any], where: str, declared: Iterable[str]) -> None:
    """Refuse templates that ask for more than keys of a section, and keys of sections that nothing reads.

    Parameters
    ----------
    cohort
        Settings of a cohort with ``files``.
    where
        Its file, for messages.
    declared
        Keys of a section that have a meaning of their own.
    """
    given = {key for section in cohort["sections"].values() for key in section} | {"section", "patient"}
    if cohort.get("origin") == "slides":  # a manifest may list slides alone
        given |= {"slide", "counts"}
    asked = set()
    for kind, template in cohort["files"].items():
        try:
            fields = [
                (name, spec, change)
                for _, name, spec, change in Formatter().parse(template)
                if name is not None
            ]
        except ValueError as error:
            raise UserError(
                f"{where}: `files.{kind}` is no valid template ({error}); write keys as {{section}}."
            ) from error
        for name, spec, change in fields:
            if not name.isidentifier() or spec or change:
                raise UserError(
                    f"{where}: `files.{kind}` asks for {{{name}}}; a template takes keys of a section as "
                    "they are, such as {section} or {patient}."
                )
            if cohort["sections"] and name not in given:
                raise UserError(
                    f"{where}: `files.{kind}` asks for {{{name}}}, which no section has; {near(name, given)}"
                )
            asked.add(name)
    if cohort.get("table"):
        return  # a table may hold columns for people
    for section, record in cohort["sections"].items():
        for key in set(record) - asked - set(declared):
            raise UserError(
                f"{where}: nothing reads the key `{key}` of section `{section}`; "
                f"{near(key, asked | set(declared))}"
            )

"""What a name means: its file, changed by the configuration, checked and complete."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

from histobench.config.declarations import Declarations
from histobench.config.files import check_entry, check_parameters, merge, with_arm
from histobench.config.places import method_source, table_folder
from histobench.config.schemas import KINDS, check, fill_defaults, schema
from histobench.config.tables import read_sections, slide_manifest
from histobench.errors import UserError, near
from histobench.expression.transforms import check_transform
from histobench.yamlfiles import duplicate, read_yaml


def check_changes(declarations: Declarations) -> None:
    """Refuse changes to what does not exist; a misspelt name would change nothing without a word."""
    for kind in KINDS:
        key, needed = f"{kind}s", schema(declarations.project, kind)["required"]
        shipped = {file.stem for file in (declarations.project / "config" / key).glob("*.yaml")}
        for name, change in declarations.config[key].items():
            asked = needed if "like" not in change else ["title"]
            lacking = [each for each in asked if each not in change]
            if (
                not lacking
                or name in shipped
                or name in (*declarations.config["run"], *declarations.config["prepare"])
            ):
                continue  # what is run is read in full
            if (kind == "method" and split(declarations, name)) or (kind == "cohort" and "table" in change):
                continue
            raise UserError(
                f"{declarations.changed_by(key, name)}: `{key}.{name}` changes the "
                f"{kind.replace('qc_', 'QC ')} `{name}`, which has no file in config/{key}; "
                f"{near(name, shipped)} A new one needs {', '.join(f'`{each}`' for each in lacking)}."
            )


def definition(declarations: Declarations, kind: str, name: str, asked_by: str) -> dict[str, Any]:
    """Return what a name means: its file, changed by the configuration, complete; read once."""
    if (kind, name) not in declarations.defined:
        declarations.defined[kind, name] = _define(declarations, kind, name, asked_by)
    return duplicate(declarations.defined[kind, name])


def _define(declarations: Declarations, kind: str, name: str, asked_by: str) -> dict[str, Any]:
    """Read and check what a name means."""
    folder = declarations.project / "config" / f"{kind}s"
    path = folder / f"{name}.yaml"
    changes = declarations.config[f"{kind}s"].get(name)
    if not path.exists() and changes is None:
        raise UserError(
            f"{asked_by} names the {kind.replace('qc_', 'QC ')} `{name}`, which does not exist; "
            f"{near(name, declarations.names(kind))}"
        )
    rules = schema(declarations.project, kind)
    base = read_yaml(path, rules) if path.exists() else {}
    where = (
        f"{path.relative_to(declarations.project)}"
        if path.exists()
        else f"{declarations.origin}: {kind}s.{name}"
    )
    check(base, rules, where, partial=changes is not None or "table" in base or "like" in base)
    value = merge(base, changes or {})
    if kind == "experiment" and "like" in value:
        value = _like(declarations, name, value)
    if kind == "cohort" and value.get("table") and value.get("origin") != "local":
        value["sections"] = _with_table(declarations, name, value)
    check(value, rules, f"{declarations.origin}: {kind}s.{name}" if changes else where)
    for key in ("entry", "reader"):
        if key in value:
            check_entry(value[key], key, where)
    for entry in value.get("uses", []):
        check_entry(entry, "uses", where)
    locate = value.get("archives", {}).get("locate")
    if locate:
        check_entry(locate, "archives.locate", where)
    value = fill_defaults(value, rules)
    if kind == "method":
        _check_method(declarations, name, value)
    return value


def _model(declarations: Declarations, name: str) -> str | None:
    """Return which experiment another one is like, if any."""
    path = declarations.project / "config/experiments" / f"{name}.yaml"
    said = merge(read_yaml(path) if path.exists() else {}, declarations.config["experiments"].get(name) or {})
    return said.get("like")


def _like(declarations: Declarations, name: str, value: dict[str, Any]) -> dict[str, Any]:
    """Return what an experiment says, laid over the one that it is like; its own methods replace others."""
    other, chain = value.pop("like"), [name]
    while (last := _model(declarations, chain[-1])) is not None:
        if last in chain:
            raise UserError(
                f"experiments.{name}: `like` leads back to `{last}`; name one that stands by itself."
            )
        chain.append(last)
    model = definition(declarations, "experiment", other, f"experiments.{name}: `like`")
    own = merge({key: item for key, item in model.items() if key != "methods" or key not in value}, value)
    # of the other's methods, those that do not take part here cannot be shown either
    if "methods" in value:
        for place, key in ((own, "about"), (own, "scatter"), (own["maps"], "methods")):
            kept = [arm for arm in place.pop(key, []) if arm in own["methods"]]
            if len(kept) > (key == "scatter"):
                place[key] = kept
    return own


def _check_method(declarations: Declarations, name: str, value: Mapping[str, Any]) -> None:
    """Check a method and each of its arms, also those that nobody compares."""
    check_parameters(value, functools.partial(method_source, declarations, name, ""), declarations.encoders)
    for arm in value["arms"]:
        changed = with_arm(value, arm)
        check(
            changed,
            schema(declarations.project, "method"),
            f"{declarations.origin}: methods.{name}.arms.{arm}",
        )
        check_parameters(
            changed, functools.partial(method_source, declarations, name, arm), declarations.encoders
        )


def _with_table(declarations: Declarations, name: str, cohort: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections of a cohort's table, changed by those of its configuration."""
    path = table_folder(declarations, name) / cohort["table"]
    listed = (slide_manifest if cohort.get("origin") == "slides" else read_sections)(path)
    rules = schema(declarations.project, "cohort")
    declared = rules["properties"]["sections"]["additionalProperties"]["properties"]
    for column in sorted({column for record in listed.values() for column in record} - set(declared)):
        meant = re.sub(r"\W", "_", column.strip().casefold())
        if meant in declared:
            raise UserError(f"{path}: the column `{column}` would not be read as `{meant}`; write it so.")
    check({"sections": listed}, rules, str(path), partial=True)
    return merge(listed, cohort.get("sections", {}))


def split(declarations: Declarations, name: str) -> tuple[str, str] | None:
    """Divide a name METHOD_ARM into method and arm ("" for a plain method); None if there is none."""
    if declarations.is_method(name):
        return name, ""
    for stem in (name[:place] for place, letter in enumerate(name) if letter == "_"):
        arm = name[len(stem) + 1 :]
        if declarations.is_method(stem) and arm in definition(declarations, "method", stem, name)["arms"]:
            return stem, arm
    return None


def arms_of(declarations: Declarations, method: str) -> list[str]:
    """Return the names of the arms of a method."""
    return sorted(definition(declarations, "method", method, "the configuration")["arms"])


def qc_profile(declarations: Declarations, name: str, asked_by: str = "") -> dict[str, Any]:
    """Return what a QC profile keeps, complete."""
    value = definition(declarations, "qc_profile", name, asked_by)
    low, high = value["min_umi"], value["max_umi"]
    if low is not None and high is not None and low > high:
        raise UserError(
            f"qc_profiles.{name}: `min_umi` is {low} but `max_umi` {high}, which no spot can meet; "
            "correct one of them."
        )
    return value


def transform(declarations: Declarations, name: str, asked_by: str = "") -> dict[str, Any]:
    """Return what a target transform does, complete."""
    value = definition(declarations, "transform", name, asked_by)
    check_transform(value, f"transforms.{name}")
    return value

"""Values against closed schemas: what is wrong in one sentence each, and the defaults."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema

from histobench.encoding import decimal
from histobench.errors import UserError, near
from histobench.yamlfiles import duplicate, read_yaml

KINDS = ("experiment", "cohort", "method", "encoder", "qc_profile", "transform")


@functools.cache
def schema(project: Path, kind: str) -> dict[str, Any]:
    """Return the schema ``config``, ``cohort``, ``method``, ``encoder`` or ``experiment`` of a checkout."""
    return read_yaml(project / "workflow/schemas" / f"{kind}.schema.yaml")


def file_rules(project: Path) -> dict[str, Any]:
    """Return the schema of a configuration file, with those of the things it may change in place."""
    rules = duplicate(schema(project, "config"))
    for kind in KINDS:
        rules["properties"][f"{kind}s"]["additionalProperties"] = schema(project, kind)
    return rules


def _describe(expected: Mapping[str, Any]) -> str:
    """Put a sub-schema into words: what would have been right."""
    if "enum" in expected:
        return "one of " + ", ".join(f"`{item}`" for item in expected["enum"])
    if "const" in expected:
        return f"`{expected['const']}`"
    if "oneOf" in expected:
        return " or ".join(_describe(choice) for choice in expected["oneOf"])
    names = {
        "object": "keys with values",
        "array": "a list",
        "string": "text",
        "integer": "a whole number",
        "number": "a number",
        "boolean": "`true` or `false`",
        "null": "null",
    }
    types = expected.get("type", [])
    words = " or ".join(names[item] for item in ([types] if isinstance(types, str) else types))
    if "minimum" in expected:
        words += f" of at least {expected['minimum']}"
    if "exclusiveMinimum" in expected:
        words += f" above {expected['exclusiveMinimum']}"
    return words or "something else"


def _is_number(_: object, value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_integer(_: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# What has been found right: most experiments say the same of a method.
_RIGHT: dict[int, tuple[Mapping[str, Any], set[str]]] = {}

# Infinity is no number that a key can mean, and 8.0 is not the 8 that becomes part of a file name.
_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"number": _is_number, "integer": _is_integer}
    ),
)


def check(value: Mapping[str, Any], rules: Mapping[str, Any], where: str, *, partial: bool = False) -> None:
    """Check a mapping against a schema.

    Parameters
    ----------
    value, rules
        What the user wrote, and the schema.
    where
        The file, as the error should name it.
    partial
        Missing keys are fine, because another file supplies them.

    Raises
    ------
    UserError
        One sentence about the first problem: place, expectation, remedy.
    """
    # by the schema, which is kept so that no other takes its place in memory
    right = _RIGHT.setdefault(id(rules), (rules, set()))[1]
    said = f"{partial} {value!r}"
    if said not in right:
        if found := problems(value, rules, where, partial=partial):
            raise UserError(found[0])
        right.add(said)


def problems(
    value: Mapping[str, Any], rules: Mapping[str, Any], where: str, *, partial: bool = False
) -> list[str]:
    """Return everything that :func:`check` could complain about, one sentence each, outermost keys first."""
    validator = _Validator(rules)
    errors = [e for e in validator.iter_errors(value) if not (partial and e.validator == "required")]
    errors.sort(key=lambda e: (len(e.absolute_path), str(list(e.absolute_path))))
    return [sentence for error in errors for sentence in _sentences(error, where)]


def _sentences(error: Any, where: str) -> list[str]:
    """Say what is wrong, where, what is expected and what to do; a sentence for each unknown key."""
    if error.validator != "additionalProperties":
        return [_sentence(error, where)]
    inside = f" in `{'.'.join(map(str, error.absolute_path))}`" if error.absolute_path else ""
    known = set(error.schema.get("properties", {}))
    unknown = sorted(set(error.instance) - known)
    return [f"{where}: unknown key `{key}`{inside}; {near(str(key), known)}" for key in unknown]


def _sentence(error: Any, where: str) -> str:
    key = ".".join(str(part) for part in error.absolute_path)
    inside = f" in `{key}`" if key else ""
    found = f"found {error.instance!r}"
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        return f"{where}: the key `{missing[0]}` is missing{inside}; add it."
    if error.validator == "pattern":
        return (
            f"{where}: `{key}` must match {error.validator_value}, {found}; "
            "write it as config/README.md shows."
        )
    if error.validator == "maxLength":
        return (
            f"{where}: the name `{error.instance[:20]}...`{inside} has {len(error.instance)} letters, but "
            f"becomes that of a folder; use at most {error.validator_value}."
        )
    if error.validator in {"minItems", "minProperties"}:
        return f"{where}: `{key}` needs at least {error.validator_value} entries; add some."
    if error.validator in {"maxItems", "maxProperties"}:
        return f"{where}: `{key}` takes at most {error.validator_value} entries; remove some."
    if error.validator == "uniqueItems":
        return f"{where}: `{key}` names something twice; remove the repetition."
    if error.validator == "maximum":
        return f"{where}: `{key}` must be at most {error.validator_value}, {found}; correct it."
    return f"{where}: `{key or 'the file'}` must be {_describe(error.schema)}, {found}{_hint(error)}."


def _hint(error: Any) -> str:
    """Say what YAML made of a word that was meant otherwise, or nothing."""
    if decimal(error.instance) is not None:
        return " (YAML reads 1e-3 as text: write 1.0e-3)"
    if (error.instance is None or isinstance(error.instance, bool)) and "text" in _describe(error.schema):
        return " (put it in quotes if it is a name)"
    return ""


def fill_defaults(value: dict[str, Any], rules: Mapping[str, Any]) -> dict[str, Any]:
    """Add the schema's defaults to a mapping, at any depth; returns ``value``."""
    for key, rule in rules.get("properties", {}).items():
        if key not in value and "default" in rule:
            value[key] = duplicate(rule["default"])
        if isinstance(value.get(key), dict):
            fill_defaults(value[key], rule)
    extra = rules.get("additionalProperties")
    if isinstance(extra, dict):
        for key, item in value.items():
            if key not in rules.get("properties", {}) and isinstance(item, dict):
                fill_defaults(item, extra)
    return value

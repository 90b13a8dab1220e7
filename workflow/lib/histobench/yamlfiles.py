"""YAML as people mean it: names are text as they are written, and nothing that stands twice is lost.

YAML 1.1, which PyYAML follows, reads the names ``NO``, ``007``, ``1_1``, ``12:30`` as false, 7, 11 and 750,
and of a key that stands twice it keeps the last without a word. Here the keys of a mapping are always text; a
value is a number only if it is written like one (``7``, ``0.5``, ``1.0e-3``), and true, false or null only in
these words. ``1e-3`` stays text, as in every reader of YAML 1.1; where a number is due, the error says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from histobench.encoding import read_utf8
from histobench.errors import UserError

_TAG = "tag:yaml.org,2002:"
# Of a whole document; a configuration of all methods holds some thousands.
_MOST_VALUES = 1_000_000
# What opens a level on a line that may have opened others; and how many are surely no danger.
_OPENINGS = re.compile(r"[\[{]|[-?]\s")
_DEEP = 5_000


def duplicate(value: Any) -> Any:
    """Copy mappings and lists at any depth, all of what YAML says that can be changed.

    A plan copies thousands, and ``copy.deepcopy`` takes ten times as long, as it looks for what occurs twice.
    """
    if isinstance(value, dict):
        return {key: duplicate(item) for key, item in value.items()}
    if isinstance(value, list):
        return [duplicate(item) for item in value]
    return value


class _WrittenInt(int):
    """A whole number that knows how it was written."""

    text: str


class _WrittenFloat(float):
    """A number that knows how it was written."""

    text: str


_NAMES = {list: "a list", bool: "true or false", _WrittenInt: "a number", _WrittenFloat: "a number"}


class _Rules:
    """What differs from PyYAML's safe loader: plain words mean what they say, and keys are unique."""

    def construct_document(self, node: yaml.Node) -> Any:
        """Make the whole document, in which every key of a mapping is text and stands once.

        Looked at before anything is made: making a mapping with ``<<`` changes its nodes.
        """
        todo, seen = [node], set()
        while todo:
            each = todo.pop(0)
            if id(each) in seen:
                continue
            seen.add(id(each))
            if isinstance(each, yaml.MappingNode):
                _check_keys(each)
                todo += [value for _, value in each.value]
            elif isinstance(each, yaml.SequenceNode):
                todo += each.value
        _size(node, {})
        return super().construct_document(node)  # type: ignore[misc]


def _check_keys(node: yaml.MappingNode) -> None:
    """Refuse keys that are no words or stand twice; the others become text."""
    seen: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(
                None, None, "a key must be a word, not a list or a mapping", key.start_mark
            )
        if key.value in seen:
            raise yaml.constructor.ConstructorError(
                None,
                None,
                f"the key `{key.value}` stands twice, in line {seen[key.value]} and in line {line}; "
                "only one of them would count",
                key.start_mark,
            )
        seen[key.value] = line
        if key.tag != f"{_TAG}merge":
            key.tag = f"{_TAG}str"


def _size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Count what a document holds once every alias is written out; refuse what has no end, or none in sight.

    Parameters
    ----------
    node
        A value of the document.
    sizes
        Those of the nodes that were counted, by identity, 0 as long as a node is being counted; filled.
    """
    known = sizes.get(id(node))
    if known is None:
        sizes[id(node)] = 0
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        parts = node.value if isinstance(node, yaml.SequenceNode) else [value for _, value in pairs]
        known = sizes[id(node)] = 1 + sum(_size(part, sizes) for part in parts)
    if known == 0 or known > _MOST_VALUES:
        problem = "holds itself" if known == 0 else f"means more than {_MOST_VALUES} values"
        raise yaml.constructor.ConstructorError(
            None, None, f"what an alias stands for {problem}", node.start_mark
        )
    return known


class _Loader(_Rules, yaml.SafeLoader):
    """The loader whose errors name the right line."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own way of declaring them)


class _FastLoader(_Rules, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Five times as fast where PyYAML was built with the C library; planning reads some hundred files."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


def _written(loader: Any, node: yaml.ScalarNode) -> _WrittenInt | _WrittenFloat:
    """Make a number that remembers its text."""
    number: _WrittenInt | _WrittenFloat
    if node.tag.endswith(":int"):
        number = _WrittenInt(loader.construct_yaml_int(node))
    else:
        number = _WrittenFloat(loader.construct_yaml_float(node))
    number.text = node.value
    return number


for _kind, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?((0|[1-9][0-9]*)?\.[0-9]+|(0|[1-9][0-9]*)\.)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):
    for _each in (_Loader, _FastLoader):
        _each.add_implicit_resolver(f"{_TAG}{_kind}", re.compile(rf"^(?:{_pattern})$"), list(_first))
for _each in (_Loader, _FastLoader):
    for _kind in ("int", "float"):
        _each.add_constructor(f"{_TAG}{_kind}", _written)


def read_yaml(path: Path, rules: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read a YAML mapping.

    Parameters
    ----------
    path
        UTF-8, or UTF-16 with a mark.
    rules
        Schema of the file. Where it wants text, a number is text as it was written: ``007``, ``1.10``.

    Raises
    ------
    UserError
        The file is missing, no YAML, holds a key twice, or is no mapping.
    """
    try:
        value = _load(read_utf8(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; correct the path.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); correct the path.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: {_reason(error)}") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(
            f"{path}: expected keys with values (`key: value`), found {_NAMES.get(type(value), 'text')}."
        )
    plain: dict[str, Any] = _plain(value, rules or {}, rules or {})
    return plain


def _load(text: str) -> Any:
    """Parse a document; what is wrong with it is said by the loader that knows the line.

    One that may nest without end is left to that loader, too: the C library would break the stack.
    """
    if len(_OPENINGS.findall(text)) < _DEEP:
        with suppress(yaml.YAMLError, ValueError, RecursionError):
            return yaml.load(text, _FastLoader)
    return yaml.load(text, _Loader)


def _reason(error: Exception) -> str:
    """Put an error of PyYAML into one sentence."""
    mark = getattr(error, "problem_mark", None)
    place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    problem = " ".join(str(getattr(error, "problem", None) or error).split()) or type(error).__name__
    if "stands twice" in problem:
        return f"{problem}; merge them into one."
    if "'\\t'" in problem:
        return f"no valid YAML{place} (a tab); indent with blanks, never with tabs."
    return f"no valid YAML{place} ({problem}); mend the file."


def _plain(value: Any, rules: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """Return plain numbers, or their text where the schema wants text."""
    reference = rules.get("$ref", "")
    if reference.startswith("#/"):
        rules = root
        for part in reference[2:].split("/"):
            rules = rules[part]
    choices = [rules, *rules.get("oneOf", ())]
    if isinstance(value, dict):
        fields = {key: rule for choice in choices for key, rule in choice.get("properties", {}).items()}
        extra: Any = next(
            (each["additionalProperties"] for each in choices if "additionalProperties" in each), {}
        )
        extra = extra if isinstance(extra, dict) else {}
        return {key: _plain(item, fields.get(key, extra), root) for key, item in value.items()}
    if isinstance(value, list):
        items: Any = next((choice["items"] for choice in choices if "items" in choice), {})
        return [_plain(item, items, root) for item in value]
    if isinstance(value, _WrittenInt | _WrittenFloat):
        kinds = {kind for choice in choices for kind in _kinds(choice)}
        if "string" in kinds and not kinds & {"number", "integer"}:
            return value.text
        return int(value) if isinstance(value, int) else float(value)
    return value


def _kinds(rules: Mapping[str, Any]) -> list[str]:
    """Return the types that a schema allows."""
    kinds = rules.get("type", [])
    return [kinds] if isinstance(kinds, str) else list(kinds)

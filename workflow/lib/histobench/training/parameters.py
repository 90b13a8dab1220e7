"""Check the parameters of a method against its constructor's annotations, before the method is ever loaded.

The annotations are read from the source: planning a run imports neither torch nor a method. What the source
does not tell (a base class of another package, ``**kwargs``, a parameter without annotation) is not judged.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pydantic

from histobench.bounds import parameters_of
from histobench.codehash import module_file
from histobench.encoding import decimal
from histobench.errors import UserError, near

# Modules that are cheap to import, and that define what annotations are made of.
_LIGHT = ("typing", "typing_extensions", "collections", "numbers", "pathlib", "annotated_types", "pydantic")
_OWN = ("histobench.bounds", "histobench.networks.architectures")
# Base classes of the standard library without a constructor of their own.
_BARE = ("Protocol", "Generic", "ABC", "object", "NamedTuple")


class _UnknownError(Exception):
    """The source does not tell."""


@dataclass(frozen=True)
class Constructor:
    """What a class is built with.

    Attributes
    ----------
    names
        Parameter -> (annotation or None, whether it must be given).
    open
        It takes other names as well, or its source does not tell which.
    """

    names: Mapping[str, tuple[Any, bool]] = field(default_factory=dict)
    open: bool = False


@dataclass(frozen=True)
class Trouble:
    """A parameter that cannot be: its name (``alphas.2`` for a part of it) and the rest of the sentence."""

    name: str
    text: str


def parameter_troubles(entry: str, params: Mapping[str, Any]) -> list[Trouble]:
    """Return what is wrong with the parameters of a method.

    Parameters
    ----------
    entry
        ``package.module:Class``.
    params
        Keyword arguments of the class, as YAML gives them.

    Raises
    ------
    UserError
        The module is no Python, or has no such class.
    """
    made_of = constructor(entry)
    found = []
    for name, value in params.items():
        if name in made_of.names:
            annotation = made_of.names[name][0]
            found += value_troubles(name, value, annotation)
            inner = parameters_of(annotation)
            if inner and isinstance(value, Mapping):
                other = inner.entry if ":" in inner.entry else str(params.get(inner.entry, ""))
                found += [
                    Trouble(f"{name}.{each.name}", each.text) for each in parameter_troubles(other, value)
                ]
        elif not made_of.open:
            known = made_of.names
            remedy = near(name, known) if known else "this method has none; remove it."
            found.append(Trouble(name, f"is not a parameter of {entry.partition(':')[2]}; {remedy}"))
    for name, (_, needed) in made_of.names.items():
        if needed and name not in params:
            found.append(Trouble(name, f"must be given, as {entry.partition(':')[2]} has no default for it."))
    return found


# -- values ----------------------------------------------------------------------------------------

_WORDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "`true` or `false`",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "sequence_type": "a list",
    "is_instance_of": "a list",
    "dict_type": "keys with values",
    "mapping_type": "keys with values",
    "none_required": "null",
    "finite_number": "a finite number",
    "greater_than": "above {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "below {lt:g}",
    "less_than_equal": "at most {le:g}",
    "literal_error": "{expected}",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "value_error": "{error}",
}


def value_troubles(name: str, value: Any, annotation: Any) -> list[Trouble]:
    """Judge one value; strictly, as JSON is: ``true`` is no number, and text is none either."""
    adapter = _adapter(annotation)
    if adapter is None:
        return []
    try:
        # from Python come arrays and numbers of NumPy too
        written = json.dumps(value, default=lambda item: item.tolist())
    except (AttributeError, TypeError, ValueError):  # and what YAML cannot say
        return []
    try:
        adapter.validate_json(written, strict=True)
    except pydantic.ValidationError as error:
        problems = error.errors(include_url=False)
    else:
        return []
    # Of a choice of types all say what they want; it is one trouble.
    where = max((_place(problem["loc"], value) for problem in problems), key=len)
    same = [problem for problem in problems if _place(problem["loc"], value) == where]
    wanted = dict.fromkeys(_words(problem) for problem in same)
    for part in where:
        value = value[part]
    hint = " (YAML reads 1e-3 as text: write 1.0e-3)" if decimal(value) is not None else ""
    text = f"must be {' or '.join(wanted)}".rstrip(".")
    return [Trouble(".".join([name, *map(str, where)]), f"{text}, found {value!r}{hint}.")]


def _adapter(annotation: Any) -> pydantic.TypeAdapter[Any] | None:
    """Return what judges values of an annotation; None where pydantic does not know its types."""
    if annotation is None:
        return None
    try:
        return _cached_adapter(annotation)
    except TypeError:  # an annotation that cannot be hashed
        return _new_adapter(annotation)


def _new_adapter(annotation: Any) -> pydantic.TypeAdapter[Any] | None:
    try:
        return pydantic.TypeAdapter(annotation)
    except (pydantic.PydanticUserError, TypeError, NameError):
        return None


_cached_adapter = functools.cache(_new_adapter)


def _place(parts: tuple[int | str, ...], value: Any) -> tuple[int | str, ...]:
    """Return where in a value a problem is, without the names of types that pydantic puts between."""
    place: list[int | str] = []
    for part in parts:
        inside = part in value if isinstance(value, Mapping) else False
        if isinstance(part, int) and isinstance(value, list | tuple):
            inside = part < len(value)
        if inside:
            value = value[part]
            place.append(part)
    return tuple(place)


def _words(problem: Any) -> str:
    """Say what would have been right."""
    words = _WORDS.get(problem["type"])
    if words is None:
        message: str = problem["msg"]
        return message.removeprefix("Input should be ")
    return words.format(**problem.get("ctx", {}))


# -- sources ---------------------------------------------------------------------------------------


@functools.cache
def constructor(entry: str) -> Constructor:
    """Read from the source what a class is built with.

    Raises
    ------
    UserError
        The module is missing or no Python, or has no such class.
    """
    module, _, name = entry.partition(":")
    try:
        module_file(module)
    except ValueError:
        raise UserError(
            f"entry {entry!r}: there is no such module in workflow/lib or on PYTHONPATH; correct the entry."
        ) from None
    try:
        return _constructor(*_find_class(module, name))
    except _UnknownError:
        return Constructor(open=True)


# what was read of a class is kept, and the trees of 60 modules would take room
@functools.lru_cache(maxsize=12)
def _tree(module: str) -> ast.Module:
    path = module_file(module)
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except SyntaxError as error:
        raise UserError(
            f"{path}: line {error.lineno}: is no Python ({error.msg}); mend the module."
        ) from None
    except ValueError as error:
        raise UserError(f"{path}: is no Python ({error}); mend the module.") from None


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield what stands at the top level, also below ``if TYPE_CHECKING`` and ``try``."""
    for statement in body:
        yield statement
        for part in ("body", "orelse", "finalbody"):
            if isinstance(statement, ast.If | ast.Try):
                yield from _statements(getattr(statement, part, []))


def _source(node: ast.ImportFrom, module: str) -> str:
    """Return the module that an import names, relative or not."""
    if not node.level:
        return node.module or ""
    package = module if module_file(module).name == "__init__.py" else module.rpartition(".")[0]
    parents = package.split(".")
    return ".".join([*parents[: len(parents) - node.level + 1], *([node.module] if node.module else [])])


def _find_class(module: str, name: str, depth: int = 0) -> tuple[str, ast.ClassDef]:
    """Find a class by its name, also one that the module imports or calls by another name."""
    classes, known = [], False
    for statement in _statements(_tree(module).body):
        if isinstance(statement, ast.ClassDef):
            classes.append(statement.name)
            if statement.name == name:
                return module, statement
        elif isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                if alias.name == "*":
                    known = True
                elif name == (alias.asname or alias.name):
                    source = _source(statement, module)
                    if depth > 9 or not _exists(source):
                        raise _UnknownError
                    return _find_class(source, alias.name, depth + 1)
        elif isinstance(statement, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == name for target in statement.targets
        ):
            if isinstance(statement.value, ast.Name) and depth <= 9:
                return _find_class(module, statement.value.id, depth + 1)
            known = True
        elif isinstance(statement, ast.FunctionDef) and statement.name == "__getattr__":
            known = True
    if known or depth or not classes:
        raise _UnknownError
    raise UserError(f"entry '{module}:{name}': module {module} has no class {name}; {near(name, classes)}")


def _exists(module: str) -> bool:
    try:
        module_file(module)
    except ValueError:
        return False
    return True


def _constructor(module: str, cls: ast.ClassDef) -> Constructor:
    """Read the parameters of ``__init__``, or the fields of a dataclass, or those of the base classes."""
    for statement in cls.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            return _of_function(module, statement)
    bases = [_of_base(module, base) for base in cls.bases]
    if _is_dataclass(cls):
        names = {name: each for base in reversed(bases) for name, each in base.names.items()}
        names |= _fields(module, cls)
        return Constructor(names, any(base.open for base in bases))
    return next((base for base in bases if base.open or base.names), Constructor())


def _of_base(module: str, base: ast.expr) -> Constructor:
    if isinstance(base, ast.Subscript):
        base = base.value
    name = base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
    if name in _BARE:
        return Constructor()
    if not isinstance(base, ast.Name):
        raise _UnknownError
    return _constructor(*_find_class(module, name, depth=1))


def _is_dataclass(cls: ast.ClassDef) -> bool:
    decorators = [node.func if isinstance(node, ast.Call) else node for node in cls.decorator_list]
    return any(ast.unparse(node) in ("dataclass", "dataclasses.dataclass") for node in decorators)


def _of_function(module: str, function: ast.FunctionDef) -> Constructor:
    given = function.args
    ordered = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(ordered) - len(given.defaults)) + list(given.defaults)
    pairs = [*zip(ordered, defaults, strict=True)][1:]  # without self
    pairs += [*zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    names = {each.arg: (_annotation(each.annotation, module), default is None) for each, default in pairs}
    return Constructor(names, open=given.kwarg is not None)


def _fields(module: str, cls: ast.ClassDef) -> dict[str, tuple[Any, bool]]:
    """Return the fields of a dataclass that its constructor takes."""
    names = {}
    for statement in cls.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if "ClassVar" in ast.unparse(statement.annotation):
            continue
        value = statement.value
        needed = value is None
        if isinstance(value, ast.Call) and ast.unparse(value.func) in ("field", "dataclasses.field"):
            said = {keyword.arg: keyword.value for keyword in value.keywords}
            if isinstance(init := said.get("init"), ast.Constant) and init.value is False:
                continue
            needed = not {"default", "default_factory"} & set(said)
        names[statement.target.id] = (_annotation(statement.annotation, module), needed)
    return names


def _annotation(node: ast.expr | None, module: str) -> Any:
    """Return the type that an annotation means; None where there is none or the source does not tell."""
    if node is None:
        return None
    try:
        return _evaluate(node, module, 0)
    except _UnknownError:
        return None


def _evaluate(node: ast.expr, module: str, depth: int) -> Any:
    """Evaluate an annotation with the names that its module gives to types."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):  # an annotation in quotes
        try:
            node = ast.parse(node.value, mode="eval").body
        except SyntaxError:
            raise _UnknownError from None
    names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    space: dict[str, Any] = {name: _lookup(module, name, depth + 1) for name in names}
    expression = ast.fix_missing_locations(ast.Expression(node))
    try:
        return eval(compile(expression, module, "eval"), {"__builtins__": {}}, space)
    except Exception:  # noqa: BLE001
        # whatever an annotation cannot be evaluated for, the method's own tests will tell
        raise _UnknownError from None


def _lookup(module: str, name: str, depth: int) -> Any:
    """Return what a name in an annotation means: a type, a bound, or a constant of the module."""
    if depth > 9:
        raise _UnknownError
    for statement in _statements(_tree(module).body):
        if isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                if name == (alias.asname or alias.name):
                    return _imported(_source(statement, module), alias.name, depth)
        elif isinstance(statement, ast.Import):
            for alias in statement.names:
                if (
                    name == (alias.asname or alias.name.partition(".")[0])
                    and alias.name.split(".")[0] in _LIGHT
                ):
                    return importlib.import_module(alias.name if alias.asname else name)
        elif isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                return _constant(statement.value, module, depth)
    found = getattr(builtins, name, None)
    if isinstance(found, type) or name in ("range", "tuple"):
        return found
    raise _UnknownError


def _constant(value: ast.expr, module: str, depth: int) -> Any:
    """Return what a module calls by a name; of a dictionary of functions only its keys."""
    if isinstance(value, ast.Dict) and all(isinstance(key, ast.Constant) for key in value.keys):
        return dict.fromkeys(key.value for key in value.keys if isinstance(key, ast.Constant))
    return _evaluate(value, module, depth)


def _imported(source: str, name: str, depth: int) -> Any:
    if source in _OWN or source.split(".")[0] in _LIGHT:
        found = getattr(importlib.import_module(source), name, None)
        if found is None:
            raise _UnknownError
        return found
    if not _exists(source):
        raise _UnknownError
    return _lookup(source, name, depth + 1)

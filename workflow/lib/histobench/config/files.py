"""Configuration files, laid over each other, and what is checked of each by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from histobench.codehash import module_file
from histobench.config.schemas import KINDS, check, file_rules, schema
from histobench.errors import UserError, near
from histobench.training.parameters import parameter_troubles
from histobench.yamlfiles import duplicate, read_yaml


def merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``change`` laid over it: mappings merge, everything else is replaced."""
    result = {key: duplicate(item) for key, item in base.items()}
    for key, item in change.items():
        if isinstance(item, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merge(result[key], item)
        else:
            result[key] = duplicate(item)
    return result


def with_arm(method: Mapping[str, Any], arm: str) -> dict[str, Any]:
    """Return a method's settings as one of its ``arms``.

    Keys with values merge, the window is replaced, deviations are added to those of the method, whose place
    in legends is its own. Its
    parameters also count at the tiny size of the conformance tests, unless its own ``conformance`` differs.
    """
    change = method["arms"][arm]
    value = merge({key: item for key, item in method.items() if key not in ("arms", "place")}, change)
    value["title"] = change.get("title", f"{method['title']} ({arm.replace('_', ' ')})")
    value["short"] = change.get("short", value["title"])
    value["window"] = change.get("window", method.get("window"))
    value["deviations"] = [*method.get("deviations", []), *change.get("deviations", [])]
    value["conformance"] = {
        **method.get("conformance", {}),
        **change.get("params", {}),
        **change.get("conformance", {}),
    }
    return value


def holds(value: Any, keys: Iterable[str]) -> bool:
    """Whether a file says something about a key."""
    for key in keys:
        if not isinstance(value, Mapping) or key not in value:
            return False
        value = value[key]
    return True


def check_entry(entry: str, key: str, where: str) -> None:
    """Refuse an entry whose module does not exist; its code could be neither hashed nor run."""
    module = entry.partition(":")[0]
    try:
        module_file(module)
    except ValueError as error:
        raise UserError(
            f"{where}: `{key}` names the module `{module}`, which is neither in workflow/lib nor on "
            "PYTHONPATH; correct the name or add the module."
        ) from error


def read_configuration(
    files: Iterable[Path],
    project: Path,
    overrides: Mapping[str, Any] | None = None,
    arguments: Iterable[str] = (),
) -> dict[str, Any]:
    """Read and merge configuration files as this module reads YAML, the later over the earlier.

    Parameters
    ----------
    files
        Configuration files, in the order in which they count.
    project
        Root of the checkout.
    overrides
        What the command line says besides (``--config``); it counts most.
    arguments
        The command line that names them.

    Raises
    ------
    UserError
        A file is missing, no YAML, or breaks its schema; a flag is given twice.
    """
    given = [argument.partition("=")[0] for argument in arguments]
    for flags in (("--configfile", "--configfiles"), ("--config", "-C")):
        if sum(argument in flags for argument in given) > 1:
            raise UserError(
                f"the command line: `{flags[0]}` is given more than once, and Snakemake reads the last "
                "alone; give it once, with everything behind it."
            )
    if overrides:
        # Snakemake hands over as text whatever stands inside of a value
        where = "the command line: `--config` (whose numbers inside of { } or [ ] belong in a `--configfile`)"
        check(overrides, file_rules(project), where, partial=True)
    merged: dict[str, Any] = {}
    for path in files:
        check_config_file(path, project)
        merged = merge(merged, read_yaml(path, file_rules(project)))
    return merge(merged, overrides or {})


def check_parameters(
    method: Mapping[str, Any], source: Callable[[str], str], encoders: Iterable[str]
) -> None:
    """Refuse parameters that the constructor of a method does not take, and encoders that nobody knows.

    Parameters
    ----------
    method
        Complete settings of a method or arm.
    source
        Says of a key (``params.epochs``, ``needs.features``) which file gives it and where, for messages.
    encoders
        Names of the encoders there are.

    Raises
    ------
    UserError
        One sentence about the first problem.
    """
    features = method["needs"].get("features")
    if features is not None and features not in (known := set(encoders)):
        raise UserError(
            f"{source('needs.features')} names the encoder `{features}`, which does not exist; "
            f"{near(features, known)}"
        )
    for trouble in parameter_troubles(method["entry"], method["params"]):
        raise UserError(f"{source(f'params.{trouble.name}')} {trouble.text}")


def check_config_file(path: Path, project: Path) -> None:
    """Check one configuration file by itself, so that an error can name it."""
    value = read_yaml(path, file_rules(project))
    check(value, schema(project, "config"), str(path), partial=True)
    for kind in KINDS:
        for name, change in value.get(f"{kind}s", {}).items():
            check(change, schema(project, kind), f"{path}: {kind}s.{name}", partial=True)

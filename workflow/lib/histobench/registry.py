"""Methods by name, for people: ``histobench.methods()`` lists them, ``histobench.create`` builds one.

Everything comes from the YAML files that a run reads, so a method built here is the one that the benchmark
trains, with the parameters of the same file.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from histobench.config.benchmark import Benchmark
from histobench.config.files import check_parameters
from histobench.config.schemas import file_rules
from histobench.errors import UserError, near
from histobench.project import project_folder
from histobench.training.contract import Method
from histobench.training.entry import build_method
from histobench.yamlfiles import read_yaml

FAMILIES = ("control", "oracle", "classical", "deep")


def methods(
    pattern: str = "*",
    *,
    family: str | None = None,
    arms: bool = False,
    configfile: str | Path | None = None,
) -> list[str]:
    """Return the names of methods, sorted.

    Parameters
    ----------
    pattern
        Which names, with ``*`` and ``?`` as in names of files: ``"*probe*"``.
    family
        Only those of this family: ``control``, ``oracle``, ``classical`` or ``deep``.
    arms
        Also the arms of methods, as METHOD_ARM, the name under which experiments compare them.
    configfile
        Configuration file that changes or defines methods.

    Returns
    -------
    list of str
        Each is a name that :func:`create` takes; empty where nothing fits the pattern.

    Raises
    ------
    UserError
        There is no such family, or a file of a method is wrong.
    """
    if family is not None and family not in FAMILIES:
        raise UserError(f"histobench.methods: there is no family {family!r}; {near(family, FAMILIES)}")
    bench = _benchmark(configfile)
    return sorted(
        name
        for name, settings in _declared(bench, arms=arms)
        if fnmatchcase(name, pattern) and family in (None, settings["family"])
    )


def create(name: str, arm: str = "", *, configfile: str | Path | None = None, **params: Any) -> Method:
    """Build a method as its YAML file describes it, untrained.

    Parameters
    ----------
    name
        A method, or METHOD_ARM as experiments name an arm.
    arm
        An arm of the method.
    configfile
        Configuration file that changes or defines the method.
    params
        Parameters in place of those of the file: ``create("stnet", epochs=5)``.

    Returns
    -------
    histobench.training.contract.Method
        Its ``fit``, ``predict``, ``save`` and ``load`` are the contract of all methods; a frozen dataclass
        whose fields are the parameters.

    Raises
    ------
    UserError
        There is no such method, arm or parameter, or a value that cannot be: one sentence with the nearest
        name.
    """
    bench = _benchmark(configfile)
    settings = bench.method(name, "histobench.create")
    if arm:
        if name not in bench.method_names:
            raise UserError(f"histobench.create: `{name}` is an arm already; leave `arm` out.")
        known = bench.arms_of(name)
        if arm not in known:
            raise UserError(f"histobench.create: method `{name}` has no arm {arm!r}; {near(arm, known)}")
        settings = bench.method(f"{name}_{arm}", "histobench.create")
    settings = {**settings, "params": {**settings["params"], **params}}
    check_parameters(settings, lambda key: f"histobench.create: `{key}` of {name}", bench.encoders)
    return build_method(settings["entry"], settings["params"])


def _declared(bench: Benchmark, *, arms: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and settings of all methods, and of all arms."""
    for name in bench.method_names:
        yield name, bench.method(name, "histobench.methods")
        for arm in bench.arms_of(name) if arms else ():
            yield f"{name}_{arm}", bench.method(f"{name}_{arm}", "histobench.methods")


def _benchmark(configfile: str | Path | None) -> Benchmark:
    """Return the configuration in which names are looked up; read once, as its files are."""
    if configfile is None:
        return _read(None)
    path = Path(configfile)
    if not path.is_file():
        raise UserError(f"{path}: there is no such configuration file; correct the path.")
    return _read(path.resolve())


@functools.cache
def _read(path: Path | None) -> Benchmark:
    project = project_folder()
    changes = read_yaml(path, file_rules(project)).get("methods") or {} if path else {}
    return Benchmark({"run": ["demo"], "methods": changes}, project, [path] if path else [])

"""What ``histobench check-method`` does: the checks of the contract for one configured method."""

from __future__ import annotations

import re
from pathlib import Path

from histobench.config.benchmark import Benchmark
from histobench.config.schemas import file_rules
from histobench.errors import UserError
from histobench.training.conformance import CHECKS, Case, ConformanceError, check_another_process
from histobench.training.parameters import parameter_troubles
from histobench.yamlfiles import read_yaml


def method_problems(name: str, project: Path, configfile: Path | None = None) -> list[str]:
    """Return in what a method breaks the contract, one sentence each.

    Parameters
    ----------
    name
        A method or METHOD_ARM, as an experiment names it.
    project
        Root of the checkout.
    configfile
        Configuration file that changes or defines the method.

    Raises
    ------
    UserError
        There is no such method, or its settings are wrong.
    """
    files = [configfile] if configfile else []
    changes = [read_yaml(path, file_rules(project)).get("methods") or {} for path in files]
    bench = Benchmark({"run": ["demo"], "methods": changes[0] if changes else {}}, project, files)
    settings = bench.method(name, "check-method")
    if settings["needs"]["features"]:
        bench.check_encoder(f"methods.{name}", settings["needs"]["features"])
    params = {**settings["params"], **settings["conformance"]}
    troubles = parameter_troubles(settings["entry"], params)
    if troubles:  # the settings without those of `conformance` have been checked
        return [f"`conformance` of {name}: `{trouble.name}` {trouble.text}" for trouble in troubles]
    case = Case(
        settings["entry"],
        params,
        settings["needs"],
        settings["gives"],
        settings["sees"],
        settings["deterministic"],
    )
    found: dict[str, str] = {}  # in order; a mistake that shows in several checks is told once
    for check in CHECKS:
        try:
            check(case)
        except (ConformanceError, UserError) as error:
            found.setdefault(_mistake(error), str(error))
    if not found:  # what is wrong in one process would only be told twice
        try:
            check_another_process(case)
        except ConformanceError as error:
            return [str(error)]
    return list(found.values())


def _mistake(error: Exception) -> str:
    """Return what is wrong, without the section, the numbers and the stage at which it showed."""
    text = error.mistake if isinstance(error, ConformanceError) else str(error)
    return re.sub(r"\bs?\d+\b", "#", text).rstrip(".")

"""What ``histobench check-method`` does: the checks of the contract for one configured method."""

from __future__ import annotations

from pathlib import Path

from histobench.config import Benchmark, file_rules
from histobench.errors import UserError
from histobench.methods.conformance import CHECKS, Case, ConformanceError
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
    case = Case(settings["entry"], {**settings["params"], **settings["conformance"]}, settings["needs"])
    found: dict[str, None] = {}  # in order, each once
    for check in CHECKS:
        try:
            check(case)
        except (ConformanceError, UserError) as error:
            found[str(error)] = None
    return list(found)

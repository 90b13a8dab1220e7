"""Prints what the default run draws from what, as JSON: asked of the Snakefile's own functions, without a job graph."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from snakemake import api
from snakemake.settings import types


def plan(project: Path, folder: Path) -> dict[str, Any]:
    """Return figures (experiment -> figure -> input files) and tables (experiment -> files)."""
    with api.SnakemakeApi(types.OutputSettings(quiet={types.Quietness.ALL})) as engine:
        workflow = engine.workflow(
            resource_settings=types.ResourceSettings(cores=1),
            snakefile=project / "Snakefile",
            workdir=folder,
        )
        known = workflow._workflow.globals
        figures: dict[str, Any] = {}
        for name in known["TESTED"]:
            figures[name] = {}
            for figure in known["experiment_figures"](name):
                asked = SimpleNamespace(experiment=name, figure=figure)
                files = known["figure_input"](asked)
                figures[name][figure] = {
                    "inputs": {
                        kind: [path] if isinstance(path, str) else path for kind, path in files.items()
                    },
                    "settings": known["figure_settings"](asked),
                }
        tables = {name: known["table_files"](name) for name in known["TESTED"]}
        for name in known["BENCH"].branches:
            tables[name] = [*tables.get(name, []), *known["branch_files"](name)]
    return {"figures": figures, "tables": tables}


if __name__ == "__main__":
    print(json.dumps(plan(Path(sys.argv[1]).resolve(), Path(sys.argv[2])), default=str))

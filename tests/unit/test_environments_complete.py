"""Every environment of envs/ holds what the scripts that name it import: in it, and nothing else, all of it imports.

That every rule also runs in its environment is shown by tests/workflow/test_conda.py.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys

import environments
import pytest
import yaml

from histobench import codehash
from histobench.figures.catalogue import catalogue

pytestmark = pytest.mark.slow

# What rules find at run time, by the names in YAML files and not by an import.
BY_NAME = {
    "read_section": ("cohorts", "reader"),
    "train_method": ("methods", "entry"),
    "predict_folds": ("methods", "entry"),
    "train_quick": ("methods", "entry"),
    "train_heads": ("methods", "entry"),
    "predict_heads": ("methods", "entry"),
}


def rules(project):
    """(rule, environment, script) of every rule that has a script."""
    for file in sorted((project / "workflow/rules").rglob("*.smk")):
        # rules of each experiment are named NAME_of_EXPERIMENT
        for block in re.split(r"\n(?= *rule\b)", file.read_text()):
            name = re.match(r"\s*rule (\w+):", block) or re.search(r'f"([\w{}]+)_of_', block)
            script = re.search(r"scripts/(\w+)\.py", block)
            if name and script:
                environment = re.search(r"envs/(\w+)\.yaml", block)
                assert environment, f"rule {name[1]} names no environment"
                yield name[1], environment[1], script[1]


def modules_of(project, rule, script):
    """Modules of the library that a rule's script may run."""
    tree = ast.parse((project / f"workflow/scripts/{script}.py").read_text())
    found = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    if rule in BY_NAME:
        folder, key = BY_NAME[rule]
        for file in (project / "config" / folder).glob("*.yaml"):
            settings = yaml.safe_load(file.read_text())
            entries = [settings.get(key), *settings.get("uses", [])]
            found |= {entry.split(":")[0] for entry in entries if entry}
    if script == "draw_figures":
        found |= {entry.module for entry in catalogue().values()}
    return {module for module in found if module.startswith("histobench")}


# Extras that one setting asks for, whose absence is said when a run is planned: `patches.fit: staintools`.
OPTIONAL = {"staintools"}


def foreign_imports(module):
    """Packages that a module imports anywhere, but not only for type checking."""
    tree = ast.parse(codehash.module_file(module).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return {
        name
        for name in found
        if name.split(".")[0] not in sys.stdlib_module_names and not name.startswith("histobench")
    }


@pytest.mark.parametrize("name", ["data", "images", "torch", "report"])
def test_an_environment_holds_everything_that_its_scripts_import(project, tmp_path, name):
    own, foreign = set(), {}
    for rule, environment, script in rules(project):
        if environment == name:
            for module in set().union(*map(codehash.closure, modules_of(project, rule, script))):
                own.add(module)
                for package in foreign_imports(module):
                    foreign.setdefault(package, module)
    assert own and foreign
    python = environments.build(project / f"envs/{name}.yaml", tmp_path / name)
    # everything in one go; what fails is told together
    code = (
        "import importlib, json, sys\n"
        "failed = {}\n"
        "for name in json.loads(sys.argv[1]):\n"
        "    try: importlib.import_module(name)\n"
        "    except ImportError as error: failed[name] = str(error)\n"
        "print(json.dumps(failed))\n"
    )
    wanted = [*sorted(own), *sorted(name for name in foreign if name.split(".")[0] not in OPTIONAL)]
    done = subprocess.run(
        [python, "-I", "-c", f"import sys; sys.path.insert(0, {str(project / 'workflow/lib')!r})\n{code}",
         json.dumps(wanted)],
        capture_output=True, text=True, cwd=tmp_path, env={"MPLBACKEND": "Agg", "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    failed = json.loads(done.stdout.splitlines()[-1])
    told = [f"{what}, which {foreign.get(what, 'a rule')} imports: {why}" for what, why in failed.items()]
    assert not failed, f"envs/{name}.yaml lacks\n" + "\n".join(told)


def test_an_environment_with_a_package_missing_is_found_out(project, tmp_path):
    """The environments above are as closed as they look: what is not named and not needed is not there."""
    file = tmp_path / "poor.yaml"
    file.write_text("dependencies:\n  - pip:\n      - pyyaml==" + environments.distribution("pyyaml").version)
    python = environments.build(file, tmp_path / "poor")
    done = subprocess.run([python, "-I", "-c", "import yaml, pandas"], capture_output=True, text=True)
    assert done.returncode == 1 and "No module named 'pandas'" in done.stderr

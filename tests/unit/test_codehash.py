"""A hash changes with exactly the modules that a job runs."""

from __future__ import annotations

import ast
import re
import shutil

import pytest

from histobench import codehash


@pytest.fixture
def library(tmp_path, project, monkeypatch):
    """A copy of the library whose files a test may edit."""
    shutil.copytree(
        project / "workflow/lib/histobench",
        tmp_path / "histobench",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    monkeypatch.setattr(codehash, "_ROOT", tmp_path)
    for cached in (codehash._direct_imports, codehash.closure, codehash.code_hash):
        cached.cache_clear()
    yield tmp_path / "histobench"
    for cached in (codehash._direct_imports, codehash.closure, codehash.code_hash):
        cached.cache_clear()


def hashes(*modules):
    for cached in (codehash._direct_imports, codehash.closure, codehash.code_hash):
        cached.cache_clear()
    return {module: codehash.code_hash(module) for module in modules}


def test_an_edit_changes_exactly_the_hashes_that_import_the_module(library):
    watched = (
        "histobench.methods.train_mean",
        "histobench.methods.colour_ridge",
        "histobench.methods.run",
        "histobench.evaluation.score",
        "histobench.files",
    )
    before = hashes(*watched)
    with (library / "methods/colour_ridge.py").open("a") as stream:
        stream.write("# edited\n")
    after = hashes(*watched)
    assert {module for module in watched if before[module] != after[module]} == {
        "histobench.methods.colour_ridge"
    }
    with (library / "files.py").open("a") as stream:
        stream.write("# edited\n")
    last = hashes(*watched)
    assert all(after[module] != last[module] for module in watched)


def test_no_module_of_the_chain_imports_a_method(project):
    """Otherwise an edit of one method would retrain all."""
    methods = {"histobench.methods.train_mean", "histobench.methods.stnet", "histobench.methods.knn"}
    for module in ("histobench.methods.run", "histobench.evaluation.tables", "histobench.evaluation.score"):
        assert not codehash.closure(module) & methods


def test_an_unknown_module_is_an_error():
    with pytest.raises(ValueError, match="no module"):
        codehash.code_hash("histobench.methods.does_not_exist")


def test_relative_and_lazy_imports_count(library):
    (library / "one.py").write_text("def f():\n    from .two import g\n    return g\n")
    (library / "two.py").write_text("import histobench.seeds\n")
    assert {"histobench.one", "histobench.two", "histobench.seeds", "histobench"} <= codehash.closure(
        "histobench.one"
    )


def test_a_users_own_module_counts_with_what_it_imports_of_its_package(tmp_path, monkeypatch):
    lab = tmp_path / "my_lab"
    lab.mkdir()
    (lab / "probe.py").write_text("import numpy\nfrom my_lab.head import Head\nimport histobench.seeds\n")
    (lab / "head.py").write_text("class Head: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = hashes("my_lab.probe")
    assert codehash.closure("my_lab.probe") >= {"my_lab.probe", "my_lab.head", "histobench.seeds"}
    assert "numpy" not in codehash.closure("my_lab.probe")
    (lab / "head.py").write_text("class Head: pass\n")
    assert hashes("my_lab.probe") != before


def test_every_rule_hashes_what_its_script_imports(project):
    """A rule whose hash misses a module would not notice that module's edits."""
    rules = "\n".join(file.read_text() for file in sorted((project / "workflow/rules").rglob("*.smk")))
    blocks = re.split(r"\nrule ", rules)
    seen = 0
    for script in sorted((project / "workflow/scripts").glob("*.py")):
        imported = {
            node.module
            for node in ast.walk(ast.parse(script.read_text()))
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("histobench")
        } - {"histobench.runtime", "histobench.files", "histobench.errors"}
        users = [block for block in blocks if f"scripts/{script.name}" in block]
        assert users, f"no rule runs {script.name}"
        for block in users:
            found = re.search(r"code=(.*?)\n    script:", block, re.S)
            assert found, f"{script.name}: its rule has no code hash"
            named = set(re.findall(r'"(histobench[a-z0-9_.]+)"', found.group(1)))
            if not named:  # a function of the wildcards, in the folder common
                function = re.search(
                    rf"def {found.group(1).strip().rstrip(',')}\(.*?(?=\ndef |\Z)", rules, re.S
                )
                named = set(re.findall(r'"(histobench[a-z0-9_.]+)"', function.group(0)))
            covered = set().union(*(codehash.closure(module) for module in named))
            assert imported <= covered, f"{script.name} imports {imported - covered} behind its rule's back"
            seen += 1
    assert seen >= 10


def test_a_template_counts_as_code_of_its_package(library):
    before = hashes("histobench.report.page", "histobench.evaluation.score")
    with (library / "report/templates/report.css").open("a") as stream:
        stream.write("/* edited */\n")
    after = hashes("histobench.report.page", "histobench.evaluation.score")
    assert before["histobench.report.page"] != after["histobench.report.page"]
    assert before["histobench.evaluation.score"] == after["histobench.evaluation.score"]

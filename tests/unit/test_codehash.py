"""A hash changes with exactly the modules that a job runs."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil

import pytest

from histobench import codehash, software


def forget():
    for cached in vars(codehash).values():
        if hasattr(cached, "cache_clear") and cached.__module__ == codehash.__name__:
            cached.cache_clear()


@pytest.fixture
def library(tmp_path, project, monkeypatch):
    """A copy of the library whose files a test may edit."""
    shutil.copytree(
        project / "workflow/lib/histobench",
        tmp_path / "histobench",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    monkeypatch.setattr(codehash, "_ROOT", tmp_path)
    forget()
    yield tmp_path / "histobench"
    forget()


def hashes(*modules):
    forget()
    return {module: codehash.code_hash(module) for module in modules}


def test_an_edit_changes_exactly_the_hashes_that_import_the_module(library):
    watched = (
        "histobench.methods.train_mean",
        "histobench.methods.colour_ridge",
        "histobench.training.run",
        "histobench.evaluation.score",
        "histobench.files",
    )
    before = hashes(*watched)
    with (library / "methods/colour_ridge.py").open("a") as stream:
        stream.write("EDITED = 1\n")
    after = hashes(*watched)
    assert {module for module in watched if before[module] != after[module]} == {
        "histobench.methods.colour_ridge"
    }
    with (library / "files.py").open("a") as stream:
        stream.write("EDITED = 1\n")
    last = hashes(*watched)
    assert all(after[module] != last[module] for module in watched)


def test_no_module_of_the_chain_imports_a_method(project):
    """Otherwise an edit of one method would retrain all."""
    methods = {"histobench.methods.train_mean", "histobench.methods.stnet", "histobench.methods.knn"}
    for module in ("histobench.training.run", "histobench.evaluation.tables", "histobench.evaluation.score"):
        assert not codehash.closure(module) & methods


def test_an_unknown_module_is_an_error():
    with pytest.raises(ValueError, match="no module"):
        codehash.code_hash("histobench.methods.does_not_exist")


def test_relative_and_lazy_imports_count(library):
    (library / "one.py").write_text("def f():\n    from .two import g\n    return g\n")
    (library / "two.py").write_text("import histobench.seeds\n")
    found = codehash.closure("histobench.one")
    assert {"histobench.one", "histobench.two", "histobench.seeds"} <= found
    assert "histobench.methods" in codehash.closure("histobench.methods.stnet")  # importing runs it
    assert "histobench" not in found  # what people may call by name decides no result


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


def test_every_rule_hashes_the_script_that_it_runs(project):
    """A rule whose hash misses its script would not notice edits of the modules behind it."""
    rules = "\n".join(file.read_text() for file in sorted((project / "workflow/rules").rglob("*.smk")))
    blocks = re.split(r"\n *rule[ :]", rules)
    seen = 0
    for script in sorted((project / "workflow/scripts").glob("*.py")):
        users = [block for block in blocks if f"scripts/{script.name}" in block.partition("script:")[2]]
        assert users, f"no rule runs {script.name}"
        for block in users:
            found = re.search(r"code=(.*?)\n *script:", block, re.S)
            assert found, f"{script.name}: its rule has no code hash"
            assert re.match(rf'code_of\("{script.stem}"[,)]', found.group(1)), script.name
            seen += 1
    assert seen >= 10
    assert all(
        "histobench.runtime" not in codehash.closure(f"scripts/{name}.py") for name in ("train_method",)
    )


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: "# A comment.\n" + text,
        lambda text: text.replace('"""', '"""Other words. ', 1),
        lambda text: re.sub(r"(?m)^( +)return ", r"\1# why\n\1return ", text),
        lambda text: text + '\n\n"""Words at the end."""\n',
        lambda text: ast.unparse(ast.parse(text)),
    ],
    ids=["comment", "docstring", "comment inside", "loose string", "all formatted anew"],
)
def test_what_means_nothing_changes_nothing(library, edit):
    watched = ("histobench.methods.colour_ridge", "histobench.figures.per_method.per_patient")
    before = hashes(*watched)
    for file in ("files.py", "methods/colour_ridge.py"):
        path = library / file
        path.write_text(edit(path.read_text()))
    assert hashes(*watched) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1.0", "1.5"),
        ("self.alphas", "self.alphas_"),
        ("True", "False"),
        ("import numpy as np\n", "import numpy\n"),
    ],
)
def test_what_means_something_changes_the_hash(library, old, new):
    path = library / "networks_probe.py"
    path.write_text("import numpy as np\n\nWIDE = True\n\n\ndef f(self):\n    return 1.0 * self.alphas\n")
    before = hashes("histobench.networks_probe")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert hashes("histobench.networks_probe") != before


def test_versions_count_for_code_that_computes_with_the_package(library):
    (library / "one.py").write_text("def f():\n    import torch.nn as nn\n    return nn\n")
    (library / "two.py").write_text("from histobench import one\n")
    (library / "three.py").write_text("import json\n")
    old, new = frozenset({("torch", "2.12.1")}), frozenset({("torch", "2.13.0")})
    for module, counts in (("one", True), ("two", True), ("three", False)):
        name = f"histobench.{module}"
        changed = codehash.code_hash(name, versions=old) != codehash.code_hash(name, versions=new)
        assert changed == counts, module


def test_the_environments_pin_every_package_that_their_rules_compute_with(project):
    """Otherwise two environments could compute different numbers, and the plan would not know."""
    pinned = software.pinned_versions(sorted((project / "envs").glob("*.yaml")))
    for script in sorted((project / "workflow/scripts").glob("*.py")):
        for package in codehash.computes_with(f"scripts/{script.name}"):
            assert pinned[package] not in ("", "not installed"), f"{script.name}: {package}"
            assert " or " not in pinned[package], package
    assert software.installed_versions()["numpy"] == pinned["numpy"]


def test_a_template_counts_as_code_of_its_package(library):
    before = hashes("histobench.report.page", "histobench.evaluation.score")
    with (library / "report/templates/report.css").open("a") as stream:
        stream.write("/* edited */\n")
    after = hashes("histobench.report.page", "histobench.evaluation.score")
    assert before["histobench.report.page"] != after["histobench.report.page"]
    assert before["histobench.evaluation.score"] == after["histobench.evaluation.score"]


WATCHED = ("histobench.methods.train_mean", "histobench.report.page", "histobench.training.run")
DAMAGED = {
    "no JSON": lambda told: "{",
    "a list": lambda told: "[1]",
    "of another reader": lambda told: json.dumps({**told, "reader": "another"}),
    "no modules": lambda told: json.dumps({"reader": told["reader"]}),
    "no entries": lambda told: json.dumps({**told, "modules": 3}),
    "short entries": lambda told: json.dumps({**told, "modules": {name: entry[:1] for name, entry in told["modules"].items()}}),
    "no names": lambda told: json.dumps({**told, "modules": {name: [entry[0], 3, entry[2]] for name, entry in told["modules"].items()}}),
    "no hashes": lambda told: json.dumps({**told, "modules": {name: [*entry[:2], "xyz"] for name, entry in told["modules"].items()}}),
}  # fmt: skip


@pytest.fixture
def remembered(library, monkeypatch):
    """A copy of the library of which a process before has read all that is watched; and what ends this one."""
    ends = []
    monkeypatch.setattr(codehash.atexit, "register", ends.append)
    monkeypatch.setattr(codehash.sys, "dont_write_bytecode", False)
    before = hashes(*WATCHED)

    def end():
        while ends:
            ends.pop()()

    end()
    (store,) = (library / "__pycache__").glob("meanings.*.json")
    return before, store, end


def counted(monkeypatch):
    parsed = []
    parse = ast.parse
    monkeypatch.setattr(
        codehash.ast, "parse", lambda source, filename: parsed.append(filename) or parse(source, filename)
    )
    return parsed


def test_what_has_not_changed_is_not_read_again(remembered, monkeypatch):
    before, store, end = remembered
    parsed = counted(monkeypatch)
    assert hashes(*WATCHED) == before
    # packages with files that are no code: what those say is not remembered
    assert all(file.endswith("__init__.py") for file in parsed) and len(parsed) < 8
    told = store.stat().st_mtime_ns
    end()
    assert store.stat().st_mtime_ns == told, "nothing new, nothing written"


def test_an_edit_counts_also_at_the_same_time_and_size(remembered, library):
    before, _, end = remembered
    file = library / "methods/train_mean.py"
    text, times = file.read_text(), file.stat()
    assert '"mean"' in text
    file.write_text(text.replace('"mean"', '"meam"'))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = hashes(*WATCHED)
    assert {name for name in WATCHED if before[name] != after[name]} == {"histobench.methods.train_mean"}
    end()
    assert hashes(*WATCHED) == after
    file.write_text(text)
    assert hashes(*WATCHED) == before


def test_a_template_counts_also_where_its_package_is_remembered(remembered, library):
    before, _, _ = remembered
    template = next((library / "report").rglob("*.html*"))
    template.write_text(template.read_text() + "<!-- more -->")
    after = hashes(*WATCHED)
    assert {name for name in WATCHED if before[name] != after[name]} == {"histobench.report.page"}


def test_a_package_that_has_lost_its_templates_is_not_what_it_was(remembered, library):
    before, store, _ = remembered
    shutil.rmtree(library / "report/templates")
    after = hashes(*WATCHED)
    assert after["histobench.report.page"] != before["histobench.report.page"]
    store.unlink()
    assert hashes(*WATCHED) == after


def test_a_module_that_becomes_a_package_imports_otherwise(remembered, library):
    (library / "relative.py").write_text("from . import errors\n")
    _, store, end = remembered
    hashes("histobench.relative")
    end()
    (library / "relative").mkdir()
    (library / "relative.py").rename(library / "relative/__init__.py")
    after = hashes("histobench.relative")
    store.unlink()
    assert hashes("histobench.relative") == after


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_memory_is_none(remembered, damage):
    before, store, end = remembered
    store.write_text(DAMAGED[damage](json.loads(store.read_text())))
    assert hashes(*WATCHED) == before
    end()
    assert json.loads(store.read_text())["modules"], "and is written anew"


def test_where_nothing_can_be_written_nothing_is_remembered(remembered, monkeypatch):
    before, store, end = remembered
    folder = store.parent
    shutil.rmtree(folder)
    folder.write_text("a file in its place")
    assert hashes(*WATCHED) == before
    end()
    assert folder.read_text() == "a file in its place"

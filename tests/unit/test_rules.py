"""The rules themselves: thin, without names of methods, and asking for more with every retry."""

from __future__ import annotations

import inspect
import re
import types

import pytest
import yaml
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, OutputSettings, ResourceSettings

SETTINGS = {
    "run": ["seams"],
    "device": "cpu",
    "experiments": {"seams": {"title": "Seams", "cohort": "simulated", "weights": "none",
                              "methods": {"train_mean": None, "stnet": None}}},
}  # fmt: skip


@pytest.fixture(scope="module")
def workflow(project, tmp_path_factory):
    """The Snakefile as Snakemake reads it, with the settings above."""
    folder = tmp_path_factory.mktemp("seams")
    (folder / "seams.yaml").write_text(yaml.safe_dump(SETTINGS))
    with SnakemakeApi(OutputSettings(verbose=False)) as api:
        yield api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(configfiles=[folder / "seams.yaml"]),
            snakefile=project / "Snakefile",
            workdir=folder,
        )._workflow


def files(project):
    yield project / "workflow/Snakefile"
    yield from sorted((project / "workflow/rules").rglob("*.smk"))


def test_a_retry_gets_more_memory_and_time(workflow):
    asked = types.SimpleNamespace(experiment="seams", fold="P1", method="stnet", stain="macenko")
    grown = 0
    for rule in workflow.rules:
        for name in ("mem_mb", "runtime"):
            resource = rule.resources.get(name)
            if resource is not None and resource.is_evaluable():
                amount = resource._value
                given = {"threads": 2} if "threads" in inspect.signature(amount).parameters else {}
                first, second, third = (amount(asked, attempt=attempt, **given) for attempt in (1, 2, 3))
                assert (second, third) == (2 * first, 3 * first) and first >= 10, rule.name
                grown += 1
    assert grown > 40


def test_every_rule_says_what_a_job_does(workflow):
    """In a sentence that tells its jobs apart: with every wildcard, unless their title stands for one."""
    told = {rule.name: rule.message for rule in workflow.rules}
    assert len(told) > 40 and all(told.values()), [name for name in told if not told[name]]
    written = {name.partition("_of_")[0]: text for name, text in told.items()}
    assert len(set(written.values())) == len(written)
    for rule in workflow.rules:
        unsaid = {name for name in rule.wildcard_names if f"{{wildcards.{name}" not in told[rule.name]}
        assert unsaid <= ({"fold"} if rule.name == "match_panel" else set()), (rule.name, unsaid)


def test_results_are_spelled_in_one_module_of_the_library(project):
    """How it was counted: grep -rn '"results/\\|results/{' workflow."""
    found = [
        f"{file.name}: {line.strip()}"
        for file in [*files(project), *(project / "workflow").rglob("*.py")]
        for line in file.read_text().splitlines()
        if re.search(r'"results/|(?<!\w)results/\{', line)
    ]
    assert len(found) <= 1, found


def test_little_python_stands_outside_rules(project):
    """Comments, docstrings and empty lines do not count."""
    outside, inside, depth = 0, False, 0
    for file in files(project):
        text = re.sub(r'""".*?"""', "", file.read_text(), flags=re.S)
        for line in text.splitlines():
            # also those that a loop writes for each experiment
            if match := re.match(r"( *)(use )?rule[ :]", line):
                inside, depth = True, len(match[1])
            elif line.strip() and len(line) - len(line.lstrip()) <= depth and not line.startswith("#"):
                inside = False
            outside += bool(line.strip()) and not inside and not line.strip().startswith("#")
    assert 50 < outside <= 300


def test_no_method_is_named_by_the_planner_the_rules_or_the_scripts(project):
    methods = {file.stem for file in (project / "config/methods").glob("*.yaml")}
    assert len(methods) > 20
    names = re.compile(rf"\b(?:{'|'.join(sorted(methods))})\b")
    library = project / "workflow/lib/histobench"
    searched = [
        *files(project),
        *(project / "workflow/scripts").glob("*.py"),
        *(library / "plan").glob("*.py"),
        *(library / "config").glob("*.py"),
        library / "plan/branches.py",
        library / "paths.py",
    ]
    named = {}
    for file in searched:
        code = re.sub(r"#.*", "", re.sub(r'""".*?"""', "", file.read_text(), flags=re.S))
        # in quotes and without a space: words of code and of sentences are no names of methods
        quoted = {word for text in re.findall(r'"([^"\s]*)"', code) for word in names.findall(text)}
        if quoted:
            named[file.name] = quoted
    assert not named


def test_a_named_output_is_a_path_and_not_a_list_of_one(project) -> None:
    """Scripts go by the names of outputs; `expand` over one value would hand them a list."""
    for file in (project / "workflow/rules").glob("*.smk"):
        assert not re.findall(r'\w+=expand\([^()]*?\w+="[^()]*\)', file.read_text()), file.name

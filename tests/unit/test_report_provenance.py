"""Provenance: equal circumstances give equal bytes, and what changes is seen."""

from __future__ import annotations

import runpy
import subprocess
from types import SimpleNamespace

import pytest
from unit import result_tables

from histobench.files import read_json, sha256, write_json
from histobench.report import provenance


@pytest.fixture
def arguments(tmp_path):
    result_tables.write_cohort(tmp_path / "her2st", {"A": 2, "B": 1})
    (tmp_path / "lock.txt").write_text("numpy==2.0 --hash=sha256:0\n")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "histobench"\nversion = "9.8.7"\n')
    for number, machine in enumerate(("CPU, 2 cores", "CPU, 2 cores; GPU")):
        trained = [
            {"experiment": "demo", "method": "knn", "fold": fold, "hardware": machine} for fold in ("A", "B")
        ]
        # a branch tells of the trainings of its experiment, too: each counts once
        write_json(trained[number:] * 2, tmp_path / f"trainings{number}.json")
    return {
        "project": tmp_path,
        "configuration": {"seed": 1, "methods": {"knn": {"k": 5}}},
        "sections": {"her2st": tmp_path / "her2st" / "sections.tsv"},
        "runs": [tmp_path / f"trainings{name}.json" for name in (0, 1, "_absent")],
        "environment_lock": tmp_path / "lock.txt",
    }


def test_the_record_names_code_configuration_data_environment_and_hardware(arguments, tmp_path):
    provenance.write_provenance(tmp_path / "p.json", **arguments)
    record = read_json(tmp_path / "p.json")
    assert list(record) == sorted(record)
    assert record["code"]["histobench"] == "9.8.7" and record["code"]["git"] == "not a git checkout"
    assert record["configuration"]["content"]["methods"]["knn"]["k"] == 5
    assert set(record["data"]["cohorts"]["her2st"]["sections"]) == {"A1", "A2", "B1"}
    assert record["environment"]["lock_sha256"] == sha256(tmp_path / "lock.txt")
    assert record["environment"]["packages"]["numpy"][0].isdigit()
    assert record["hardware"]["training"] == {"CPU, 2 cores": 1, "CPU, 2 cores; GPU": 1}
    assert "core" in record["hardware"]["report"]["hardware"]
    assert "date" not in record


def test_the_record_is_repeatable(arguments, tmp_path):
    provenance.write_provenance(tmp_path / "a.json", **arguments)
    provenance.write_provenance(tmp_path / "b.json", **arguments)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_hashes_follow_content_and_not_the_order_of_keys(arguments, tmp_path):
    assert provenance.hash_of({"a": 1, "b": 2}) == provenance.hash_of({"b": 2, "a": 1})
    assert provenance.hash_of({"a": 1}) != provenance.hash_of({"a": 2})
    before = provenance.data_hashes(arguments["sections"], None)["cohorts"]["her2st"]["sha256"]
    table = arguments["sections"]["her2st"]
    table.write_text(table.read_text().replace("0" * 63 + "1", "0" * 63 + "7"))
    assert provenance.data_hashes(arguments["sections"], None)["cohorts"]["her2st"]["sha256"] != before


def test_what_is_missing_is_said(arguments, tmp_path):
    arguments.update(sections={"gone": tmp_path / "gone.tsv"}, environment_lock=tmp_path / "gone.lock")
    provenance.write_provenance(tmp_path / "p.json", data_lock=tmp_path / "gone.lock", **arguments)
    record = read_json(tmp_path / "p.json")
    assert "does not exist" in record["data"]["cohorts"]["gone"]["missing"]
    assert "does not exist" in record["data"]["lock_sha256"]
    assert record["environment"]["lock_sha256"] == "no lock file"


def test_a_git_checkout_is_described(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-q", "-m", "one")
    clean = provenance.code_version(tmp_path)
    assert len(clean["commit"]) == 40 and clean["git"] == clean["commit"][:12]
    (tmp_path / "file").write_text("2")
    assert provenance.code_version(tmp_path)["git"].endswith("-dirty")


def test_the_script_finds_both_locks_of_the_project(arguments, project, tmp_path):
    """Snakemake names the folder of scripts as the rule does: from the folder of the rule, by dots."""
    settings = {"configuration": {"seed": 1}, "weights": {}, "cohorts": ["her2st"]}
    job = SimpleNamespace(
        scriptdir=str(project / "workflow" / "rules" / ".." / "scripts"),
        log=[tmp_path / "job.log"],
        input=SimpleNamespace(sections=[arguments["sections"]["her2st"]], runs=arguments["runs"]),
        output=[tmp_path / "p.json"],
        params=SimpleNamespace(settings=settings),
    )
    runpy.run_path(project / "workflow/scripts/write_provenance.py", {"snakemake": job})
    record = read_json(tmp_path / "p.json")
    assert record["data"]["lock_sha256"] == sha256(project / "resources" / "data_lock.tsv")
    assert record["environment"]["lock_sha256"] == sha256(project / "requirements.lock")

"""The catalogue of artefacts: what is declared is what is written, and everything else follows from it."""

from __future__ import annotations

import os
import re
import string
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from project_copy import copy_project
from unit.result_tables import write_tables

from histobench.errors import UserError
from histobench.evaluation.score import COLUMNS as SCORE_COLUMNS
from histobench.files import write_table
from histobench.results import tables
from histobench.results.catalogue import (
    EXPERIMENT,
    FILES,
    SLIDES,
    catalogue,
    columns_of,
    names,
)
from histobench.results.columns import TYPES
from histobench.results.document import document, readme

POWER = catalogue()["power"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_tables(folder)
    return folder / "tables"


def test_every_entry_says_what_it_is():
    entries = catalogue().values()
    paths = [entry.path for entry in entries]
    assert len(set(paths)) == len(paths) >= 38
    for entry in entries:
        assert len(entry.title) >= 5 and entry.caption.endswith("."), entry.name
        fields = {field for _, field, _, _ in string.Formatter().parse(entry.path) if field}
        known = {"experiment", "cohort", "method", "fold", "section", "figure", "backbone", "batch"}
        assert fields <= known, entry.name
        assert len(set(entry.column_names)) == len(entry.column_names), entry.name
        assert set(entry.shown) <= set(entry.column_names), entry.name
        for column in entry.columns:
            assert column.type in TYPES and len(column.meaning) >= 8, (entry.name, column.name)
    tested = [entry.caption for entry in (*EXPERIMENT, *SLIDES) if "p_holm" in entry.column_names]
    assert len(tested) >= 5
    for caption in tested:  # what a p is of stands above it
        assert re.search("test|Holm|Benjamini|Click|Choose", caption)


def test_catalogue_knows_no_method(project):
    known = {path.stem for path in (project / "config/methods").glob("*.yaml")}
    text = "".join(
        (project / f"workflow/lib/histobench/{file}").read_text()
        for file in ("results/catalogue.py", "results/columns.py", "results/run.py", "evaluation/tables.py")
    )
    words = set(re.findall(r"[a-z_0-9]+", text))
    assert len(known) > 20 and "depth" in words
    assert known & words == {"depth", "random"}  # of sequencing, and a random forest


def test_tables_of_an_experiment_are_written_with_exactly_the_declared_columns(written):
    found = {path.stem: path.read_text().split("\n", 1)[0].split("\t") for path in written.glob("*.tsv")}
    assert list(found) and set(found) == set(names(EXPERIMENT))
    for name, header in found.items():
        assert header == list(columns_of(name)), name
        frame = tables.read(written / f"{name}.tsv", catalogue()[name])
        assert list(frame) == header


def test_scores_are_declared_as_they_are_written():
    assert columns_of("scores") == columns_of("ceiling") == SCORE_COLUMNS


def power(**changes):
    row = {
        "test": "t", "n_patients": 8, "n_tests": 60, "smallest_p": 0.01, "smallest_p_holm": 0.2,
        "patients_needed_holm": 11, "can_reject_holm": False, "genes_needed_bh": None, "statement": "s",
    }  # fmt: skip
    return pd.DataFrame([{**row, **changes}])


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (
            power().drop(columns=["n_tests", "test"]),
            "no column test .and 1 more., which is declared for power",
        ),
        (power(extra=1), "column extra is not declared for power"),
        (power()[[*POWER.column_names][::-1]], "the columns stand in the order statement, "),
        (power(n_patients=7.5), "column n_patients holds 7.5, expected whole number"),
        (power(n_patients="many"), "column n_patients holds 'many', expected whole number"),
        (power(smallest_p="small"), "column smallest_p holds 'small', expected number"),
        (power(can_reject_holm="maybe"), "column can_reject_holm holds 'maybe', expected True or False"),
    ],
)
def test_what_does_not_fit_is_one_sentence_for_writer_and_reader(frame, message, tmp_path):
    path = tmp_path / "power.tsv"
    with pytest.raises(UserError, match=message) as error:
        tables.write(frame, path, POWER)
    assert not path.exists() and str(path) in str(error.value) and "\n" not in str(error.value)
    write_table(frame, path)
    with pytest.raises(UserError, match=message):
        tables.read(path, POWER)


def test_reading_gives_the_declared_types(tmp_path):
    entry = catalogue()["failures"]
    rows = pd.DataFrame(
        {"method": ["a", "b"], "seed": [3, ""], "fold": ["007", "1e5"], "reason": ["NA", "nan"]}
    )
    tables.write(rows, tmp_path / "failures.tsv", entry)
    read = tables.read(tmp_path / "failures.tsv", entry)
    assert list(read["fold"]) == ["007", "1e5"] and list(read["reason"]) == ["NA", "nan"]
    assert read["seed"].dtype == "Int64" and read["seed"][0] == 3 and read["seed"].isna()[1]
    tables.write(power(), tmp_path / "power.tsv", POWER)
    read = tables.read(tmp_path / "power.tsv", POWER)
    assert read["n_patients"].dtype == np.int64 and read["genes_needed_bh"].isna().all()
    with pytest.raises(UserError, match="there is no such table"):
        tables.read(tmp_path / "none.tsv", POWER)
    (tmp_path / "empty.tsv").write_text("")
    with pytest.raises(UserError, match="damaged or cut off"):
        tables.read(tmp_path / "empty.tsv", POWER)


def test_pages_are_made_from_the_catalogue(project):
    page = document(project)
    assert (project / "docs/results.md").read_text(encoding="utf-8") == page, "run `make docs`"
    assert (project / "README.md").read_text(encoding="utf-8") == readme(project), "run `make docs`"
    for entry in catalogue().values():
        assert f"`{entry.path}`" in page and all(f"| `{name}` |" in page for name in entry.column_names)


NEW = """    table(
        "pairs_again",
        "The same pairs once more",
        "One row per pair, for a test of the catalogue.",
        "method_a method_b n_patients",
        _DIFFERENCE,
        "p_wilcoxon p_holm smallest_p",
        make="inference_tables:comparison_table",
    ),
"""
USE = """
import sys
from pathlib import Path
from unit.result_tables import write_tables_of
import histobench
from histobench.figures.drawing.settings import Settings
from histobench.report.experiment_tables import any_view
from histobench.report.tables import load
from histobench.results.catalogue import EXPERIMENT, names
from histobench.results.document import document
folder = Path(sys.argv[1])
write_tables_of(folder)
again = folder / "tables" / "pairs_again.tsv"
assert again.read_bytes() == (folder / "tables" / "comparisons.tsv").read_bytes()
assert "pairs_again" in names(EXPERIMENT)
assert "### The same pairs once more" in document(Path.cwd())
view = any_view("tiny", "pairs_again", load(again, "pairs"), None, Settings())
assert (view.title, view.note) == ("The same pairs once more", "One row per pair, for a test of the catalogue.")
assert [column.hint for column in view.columns][0] == "first method of the pair"
print("followed")
"""


def test_a_new_table_is_one_entry(project, written, tmp_path):
    copy_project(project, tmp_path / "checkout")
    declared = tmp_path / "checkout/workflow/lib/histobench/results/catalogue.py"
    text = declared.read_text()
    place = '    table(\n        "consistency",\n'
    assert text.count(place) == 1
    declared.write_text(text.replace(place, NEW + place))  # the only place that is touched
    paths = [tmp_path / "checkout/workflow/lib", tmp_path / "checkout/tests"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}

    def run(*command):
        done = subprocess.run(
            command, cwd=tmp_path / "checkout", env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    assert run(sys.executable, "-c", USE, str(written.parent)) == "followed\n"
    snakemake = str(Path(sys.executable).with_name("snakemake"))
    target = "results/demo/tables/pairs_again.tsv"
    run(snakemake, target, "-n", "--cores", "1", "--configfile", "config/demo.yaml")  # a rule makes it
    written.joinpath("pairs_again.tsv").unlink()


def test_the_catalogue_loads_nothing_heavy():
    code = "import sys, histobench.results.catalogue; print({'numpy', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_open_tables_say_which_columns_they_may_have():
    assert {entry.name for entry in FILES if entry.more} == {"spots", "cohort_sections"}

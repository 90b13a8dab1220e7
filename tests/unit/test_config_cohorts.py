"""Cohorts of the configuration: tables of sections, files in archives, cohorts without spots."""

from __future__ import annotations

import pytest

from histobench.cohorts.fetch.archives import split_member
from histobench.cohorts.fetch.lock import load_lock
from histobench.config.benchmark import Benchmark
from histobench.config.tables import read_sections
from histobench.errors import UserError

COHORTS = ("cscc", "dlpfc", "hbcis", "her2st", "her2st_zenodo", "visium_breast")


def bench(project, **config):
    return Benchmark({"run": ["demo"], **config}, project)


def test_table_of_sections(tmp_path):
    path = tmp_path / "m.tsv"
    path.write_text("# comment\nsection\tpatient\tum_per_px\timage\nS1\tP1\t0.5\tone.tif\nS2\tP1\t\t\n")
    assert read_sections(path) == {
        "S1": {"patient": "P1", "um_per_px": 0.5, "image": "one.tif"},
        "S2": {"patient": "P1"},
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "column `section` is missing"),
        ("section\tname\nS1\tP1\n", "column `patient` is missing"),
        ("section\tpatient\nS1\tP1\nS1\tP2\n", "line 3: section S1 occurs twice"),
        ("section\tpatient\tpatient\nS1\tP1\tP2\n", "names the column `patient` twice"),
        ("section\tpatient\nS1\t\n", "line 2: section and patient must be given"),
        ("section\tpatient\nS1\tP1\tx\n", "line 2 has 3 fields, but the header names 2"),
    ],
)
def test_errors_of_a_table_of_sections(tmp_path, text, says):
    path = tmp_path / "m.tsv"
    path.write_text(text)
    with pytest.raises(UserError, match=says) as caught:
        read_sections(path)
    assert str(caught.value).startswith(f"{path}:")


def test_sections_of_a_table_can_be_changed_and_are_checked(project, tmp_path):
    change = {"hbcis": {"sections": {"BC23287_C1": {"um_per_px": 0.7}, "new": {"patient": "P1"}}}}
    sections = bench(project, cohorts=change, prepare=["hbcis"]).cohorts["hbcis"]["sections"]
    assert len(sections) == 69 and sections["BC23287_C1"]["um_per_px"] == 0.7
    assert sections["BC23287_C1"]["patient"] == "BC23287"
    path = tmp_path / "m.tsv"
    path.write_text("section\tpatient\nS1\tP 1\n")
    with pytest.raises(UserError, match=r"m\.tsv: `sections\.S1\.patient` must match"):
        bench(project, cohorts={"hbcis": {"table": str(path)}}, prepare=["hbcis"])
    with pytest.raises(UserError, match="no such table"):
        bench(project, cohorts={"hbcis": {"table": "../../resources/none.tsv"}}, prepare=["hbcis"])


def test_a_table_alone_does_not_say_where_files_come_from(project, tmp_path):
    (tmp_path / "m.tsv").write_text("section\tpatient\timage\nS1\tP1\ta.jpg\n")
    mine = {
        "title": "M",
        "reader": "histobench.cohorts.readers.table_cohort:read_section",
        "pitch_um": 1,
        "spot_um": 1,
    }
    with pytest.raises(UserError, match="set `origin: local` if `table` names files of your own"):
        bench(project, cohorts={"mine": {**mine, "table": str(tmp_path / "m.tsv")}}, prepare=["mine"])


@pytest.mark.parametrize("name", COHORTS)
def test_every_file_of_a_cohort_is_in_the_data_lock(project, name):
    configured = bench(project, prepare=[name])
    cohort = configured.cohorts[name]
    lock = load_lock(project / "resources/data_lock.tsv")
    kinds = set()
    for section in cohort["sections"]:
        files = configured.section_files(name, section)
        kinds |= set(files)
        for file in files.values():
            assert (cohort["source"], split_member(file)[0]) in lock
    assert kinds == set(cohort["files"])  # no template that no section fills in
    for file in cohort["resources"].values():
        assert (project / file).is_file()


def test_sizes_of_the_cohorts(project):
    configured = bench(project, prepare=list(COHORTS))
    found = {
        name: (len(cohort["sections"]), len({record["patient"] for record in cohort["sections"].values()}))
        for name, cohort in configured.cohorts.items()
        if name in COHORTS
    }
    assert found == {
        "cscc": (12, 4),
        "dlpfc": (12, 3),
        "hbcis": (68, 23),
        "her2st": (36, 8),
        "her2st_zenodo": (36, 8),
        "visium_breast": (2, 1),
    }


def test_aliases_name_patients_of_hbcis(project):
    cohorts = bench(project, prepare=["her2st", "her2st_zenodo", "hbcis"]).cohorts
    known = {record["patient"] for record in cohorts["hbcis"]["sections"].values()}
    for name in ("her2st", "her2st_zenodo"):
        assert cohorts[name]["aliases"] == {"E": "BC23567", "F": "BC23810", "G": "BC23903", "H": "BC24044"}
        assert set(cohorts[name]["aliases"].values()) <= known


def test_cohorts_without_spots(project):
    configured = bench(project, prepare=["bach"])
    assert configured.cohorts["bach"]["origin"] == "photos"
    with pytest.raises(UserError, match=r"`prepare` names the cohort `bahc`, .* did you mean `bach`"):
        bench(project, prepare=["bahc"])
    experiment = {"title": "X", "cohort": "bach", "methods": {"train_mean": None}}
    with pytest.raises(UserError, match="cohort `bach` holds photos without spots"):
        bench(project, run=["x"], experiments={"x": experiment})
    with pytest.raises(UserError, match="the key `reader` is missing"):
        bench(project, cohorts={"mine": {"title": "M", "pitch_um": 1, "spot_um": 1}}, prepare=["mine"])


def test_functions_that_locate_files_must_exist(project):
    change = {"hbcis": {"archives": {"locate": "histobench.cohorts.hbics:locate_member"}}}
    with pytest.raises(UserError, match=r"`archives\.locate` names the module `histobench\.cohorts\.hbics`"):
        bench(project, cohorts=change, prepare=["hbcis"])


@pytest.mark.parametrize(
    ("header", "scale", "says"),
    [
        ("Um_per_px", "0.5", "the column `Um_per_px` would not be read as `um_per_px`"),
        ("um_per_px ", "0.5", "the column `um_per_px ` would not be read"),
        ("um-per-px", "0.5", "the column `um-per-px` would not be read"),
        ("um_per_px", "0_69", "must be a number of at least 0.01, found '0_69'"),
        ("um_per_px", "0,69", "must be a number of at least 0.01, found '0,69'"),
    ],
)
def test_a_scale_that_would_not_be_read_as_one_is_refused(project, tmp_path, header, scale, says):
    path = tmp_path / "m.tsv"
    path.write_text(f"section\tpatient\t{header}\nS1\tP1\t{scale}\n")
    with pytest.raises(UserError, match=says):
        bench(project, cohorts={"hbcis": {"table": str(path)}}, prepare=["hbcis"])


@pytest.mark.parametrize("names", [("01", "1"), ("P7", "p007"), ("A_1", "a-01")])
def test_patients_whose_zeros_a_spreadsheet_took_are_one(project, tmp_path, names):
    lines = "".join(f"S{number}\t{name}\n" for number, name in enumerate([*names, "P2"]))
    (tmp_path / "m.tsv").write_text(f"section\tpatient\n{lines}")
    cohort = {"table": str(tmp_path / "m.tsv")}
    with pytest.raises(UserError, match=r"patients .* look like one"):
        bench(project, cohorts={"hbcis": cohort}, run=["hbcis_lopo"])

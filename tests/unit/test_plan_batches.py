"""Which sections one job prepares or describes."""

from __future__ import annotations

from pathlib import Path

import pytest

from histobench.plan.batches import (
    FEATURES,
    KEPT,
    PATCHES,
    Batch,
    divide,
    numbered,
    read_record,
    write_record,
)

KNOWN = {"c": ["s1", "s2", "s3", "s4"], "d": ["t1"]}


def wanted(*sections: str, what: str = "a.none.v", cohort: str = "c") -> dict:
    return {("features", cohort, what): list(sections)}


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch) -> Path:
    """A folder in which runs lie; their paths are relative to it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(*sections: str, what: str = "a.none.v") -> None:
    for section in sections:
        (path,) = (Path(file) for file in FEATURES.files("c", what, section))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_what_is_made_of_the_same_sections_shares_a_batch() -> None:
    asked = {
        **wanted("s2", "s1"),
        **wanted("s1", "s2", what="b.none.v"),
        **wanted("t1", cohort="d"),
        ("kept", "c", "stnet"): ["s1", "s2"],
    }
    assert divide(asked, {}, KNOWN) == [
        Batch(FEATURES, "c", ("s1", "s2"), ("a.none.v", "b.none.v")),
        Batch(FEATURES, "d", ("t1",), ("a.none.v",)),
        Batch(KEPT, "c", ("s1", "s2"), ("stnet",)),
    ]


def test_a_section_that_comes_later_gets_a_job_of_its_own() -> None:
    record = Path("batches.json")
    first = divide(wanted("s1", "s2"), read_record(record), KNOWN)
    write_record(record, first, {})
    made("s1", "s2")
    more = wanted("s1", "s2", "s3")
    second = divide(more, read_record(record), KNOWN)
    assert [batch.sections for batch in second] == [("s1", "s2"), ("s3",)]
    write_record(record, second, read_record(record))
    # jobs see the batches of their run, although their files are not there yet
    assert divide(more, read_record(record, complete=True), KNOWN) == second
    made("s3")
    assert divide(more, read_record(record), KNOWN) == second
    # fewer sections: what was described together stays together
    assert [batch.sections for batch in divide(wanted("s1"), read_record(record), KNOWN)] == [("s1", "s2")]


def test_what_is_gone_is_planned_anew() -> None:
    record = Path("batches.json")
    batches = [Batch(FEATURES, "c", (section,), ("a.none.v",)) for section in ("s1", "s2")]
    write_record(record, batches, {})
    made("s2")
    assert read_record(record) == {"features/c/a.none.v": [["s2"]]}
    Path(*FEATURES.files("c", "a.none.v", "s2")).unlink()
    assert read_record(record) == {}
    assert read_record(record, complete=True) == {"features/c/a.none.v": [["s1"], ["s2"]]}


@pytest.mark.parametrize("text", ["", "{", "[1, 2", '{"strange/c/a": [["s1"]]}'])
def test_a_damaged_record_is_none(text) -> None:
    Path("batches.json").write_text(text)
    assert read_record(Path("batches.json"), complete=True) == {}


def test_sections_that_a_cohort_no_longer_has_are_left_out() -> None:
    recorded = {"features/c/a.none.v": [["s1", "gone"]]}
    (batch,) = divide(wanted("s1"), recorded, KNOWN)
    assert batch.sections == ("s1",)


def test_labels_and_lists_tell_batches_apart() -> None:
    one, other = (Batch(PATCHES, "c", sections, ("v",)) for sections in (("s1",), ("s1", "s2")))
    one, other = numbered([one, other])
    assert (one.label, other.label) == ("c", "c_2")
    assert (one.place("cut"), other.place("cut")) == ("cut/c/{variant}", "cut/c_2/{variant}")
    assert one.listed("v") != other.listed("v")
    assert one.list_pattern().format(variant="v") == one.listed("v")
    assert (one.told, other.told) == ("section s1 of c", "2 sections (s1 to s2) of c")

"""Which sections one job describes."""

from __future__ import annotations

from pathlib import Path

import pytest

from histobench.plan.features import Batch, feature_batches, read_record, write_record

KNOWN = {"c": ["s1", "s2", "s3", "s4"], "d": ["t1"]}


PATTERN = "data/{cohort}/features/{backbone}/{section}.npy"


def made(results: Path, key: str, *sections: str) -> None:
    cohort, features = key.split("/")
    for section in sections:
        path = results / "data" / cohort / "features" / features / f"{section}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_features_of_the_same_sections_share_a_batch() -> None:
    wanted = {("c", "a.none.v"): ["s2", "s1"], ("c", "b.none.v"): ["s1", "s2"], ("d", "a.none.v"): ["t1"]}
    assert feature_batches(wanted, {}, KNOWN) == [
        Batch("c", ("s1", "s2"), ("a.none.v", "b.none.v")),
        Batch("d", ("t1",), ("a.none.v",)),
    ]


def test_a_section_that_comes_later_gets_a_job_of_its_own(tmp_path) -> None:
    record, key, where = tmp_path / "features.json", "c/a.none.v", f"{tmp_path}/{PATTERN}"
    first = feature_batches({("c", "a.none.v"): ["s1", "s2"]}, read_record(record, where), KNOWN)
    write_record(record, first, {})
    made(tmp_path, key, "s1", "s2")
    wanted = {("c", "a.none.v"): ["s1", "s2", "s3"]}
    second = feature_batches(wanted, read_record(record, where), KNOWN)
    assert [batch.sections for batch in second] == [("s1", "s2"), ("s3",)]
    write_record(record, second, read_record(record, where))
    # jobs see the batches of their run, although their files are not there yet
    assert feature_batches(wanted, read_record(record), KNOWN) == second
    made(tmp_path, key, "s3")
    assert feature_batches(wanted, read_record(record, where), KNOWN) == second
    # fewer sections: what was described together stays together
    fewer = feature_batches({("c", "a.none.v"): ["s1"]}, read_record(record, where), KNOWN)
    assert [batch.sections for batch in fewer] == [("s1", "s2")]


def test_what_is_gone_is_planned_anew(tmp_path) -> None:
    record, where = tmp_path / "features.json", f"{tmp_path}/{PATTERN}"
    write_record(record, [Batch("c", ("s1",), ("a.none.v",)), Batch("c", ("s2",), ("a.none.v",))], {})
    made(tmp_path, "c/a.none.v", "s2")
    assert read_record(record, where) == {"c/a.none.v": [["s2"]]}
    (tmp_path / "data/c/features/a.none.v/s2.npy").unlink()
    assert read_record(record, where) == {}
    assert read_record(record) == {"c/a.none.v": [["s1"], ["s2"]]}


@pytest.mark.parametrize("text", ["", "{", "[1, 2"])
def test_a_damaged_record_is_none(tmp_path, text) -> None:
    (tmp_path / "features.json").write_text(text)
    assert read_record(tmp_path / "features.json") == {}


def test_sections_that_a_cohort_no_longer_has_are_left_out() -> None:
    recorded = {"c/a.none.v": [["s1", "gone"]]}
    (batch,) = feature_batches({("c", "a.none.v"): ["s1"]}, recorded, KNOWN)
    assert batch.sections == ("s1",)


def test_labels_tell_batches_apart() -> None:
    one, other = (Batch("c", sections, ("a",)) for sections in (("s1",), ("s1", "s2")))
    assert one.label != other.label and one.label.startswith("c_")
    assert (one.told, other.told) == ("section s1 of c", "2 sections (s1 to s2) of c")

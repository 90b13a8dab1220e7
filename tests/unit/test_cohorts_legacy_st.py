"""Counts and spot files of legacy ST arrays: what is read, and what every bad row says."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from histobench.cohorts.readers.count_text import parse_counts, room
from histobench.cohorts.readers.legacy_st import join_spots, read_counts, read_spots
from histobench.cohorts.readers.table_cohort import read_section as read_own
from histobench.cohorts.scan import scan_counts
from histobench.errors import UserError

COUNTS = "\tACTB\tHLA-A\tFO538757.1\n10x14\t0\t12\t3\n9x13\t1\t0\t0\n"
SPOTS = (
    "x\ty\tnew_x\tnew_y\tpixel_x\tpixel_y\tselected\n"
    "9\t13\t8.965\t12.994\t2307.86\t3500.48\t1\n"
    "10\t14\t9.991\t14.013\t2600.1\t3797.2\t1\n"
)


def write(folder: Path, text: str, name: str = "C.tsv") -> Path:
    path = folder / name
    data = text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("name", ["counts.tsv", "counts.tsv.gz"])
@pytest.mark.parametrize(
    "text",
    [
        COUNTS,
        COUNTS.replace("\tACTB", "ACTB", 1),  # as R writes it, without a corner field
        COUNTS.replace("\n", "\r\n"),
        COUNTS.replace("\n", "\r"),
        COUNTS.rstrip("\n"),
        COUNTS + "\n\n",
        "\ufeff" + COUNTS,
        COUNTS.replace("ACTB", '"ACTB"').replace("10x14", '"10x14"'),
        COUNTS.replace("12", "12.0").replace("\t3\n", "\t3e0\n"),
    ],
)
def test_counts_in_every_dialect(tmp_path: Path, name: str, text: str) -> None:
    counts, spots, genes = read_counts(write(tmp_path, text, name))
    assert counts.dtype == np.int32 and counts.toarray().tolist() == [[0, 12, 3], [1, 0, 0]]
    assert list(spots) == ["10x14", "9x13"] and list(genes) == ["ACTB", "HLA-A", "FO538757.1"]
    assert counts.nnz == 3  # no stored zeros


FIELDS = st.sampled_from(["", "", "0", "0", "7", "12", "1.0", "x", "123456789", "1234567890"])


@settings(max_examples=200)
@given(data=st.data(), genes=st.integers(1, 6))
def test_no_text_is_written_beyond_its_room(data: st.DataObject, genes: int) -> None:
    """Lines may be short, long, blank or have nothing between their tabs; around the room stands -7."""
    lines = data.draw(
        st.lists(st.lists(FIELDS, min_size=genes - 1, max_size=genes + 1), min_size=1, max_size=9)
    )
    text = "\n".join("".join("\t" + field for field in fields) for fields in lines).strip("\n").encode()
    arrays, guards = [], []
    for needed in room(len(text), genes):
        around = np.full((len(needed) + 64, *needed.shape[1:]), -7, needed.dtype)
        arrays.append(around[: len(needed)])
        guards.append(around[len(needed) :])
    parsed, n_odd, found = parse_counts(np.frombuffer(text, np.uint8), 0, len(text), genes, *arrays)
    assert all((guard == -7).all() for guard in guards)
    fields = [line.split(b"\t")[1:] for line in text.split(b"\n")] if text else []
    assert found == next((len(each) for each in fields if len(each) != genes), -1)
    read = [field for each in fields[:parsed] for field in each]
    assert n_odd >= sum(not field.isdigit() or len(field) > 9 for field in read)
    assert parsed == 0 or arrays[1][parsed] == sum(field.strip(b"0") != b"" for field in read) + read.count(
        b""
    )


def test_a_table_of_empty_counts_is_one_sentence(tmp_path: Path) -> None:
    """Each takes one byte of the text, where a count takes two: written where there was no room, it ended Python."""
    header = "".join(f"\tG{gene}" for gene in range(20_000))
    rows = "".join(f"\n{spot}x1" + "\t" * 20_000 for spot in range(5))
    with pytest.raises(UserError, match="the count of gene G0 at spot 0x1 is empty"):
        read_counts(write(tmp_path, header + rows))


count = st.one_of(st.just(0), st.integers(0, 9), st.integers(0, 2**31 - 1))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), genes=st.integers(1, 9), spots=st.integers(1, 150))
def test_counts_equal_those_of_pandas(tmp_path: Path, data: st.DataObject, genes: int, spots: int) -> None:
    """150 rows cross the reader's internal blocks of 64."""
    seed = data.draw(st.integers(0, 2**32 - 1))
    some = data.draw(st.lists(count, min_size=1, max_size=8))
    values = np.random.default_rng(seed).choice(some, size=(spots, genes))
    index = [f"{1 + i % 33}x{1 + i // 33}" for i in range(spots)]
    table = pd.DataFrame(values, index=index, columns=[f"G{i}" for i in range(genes)])
    text = table.to_csv(sep="\t")
    counts, names, columns = read_counts(write(tmp_path, text))
    expected = pd.read_csv(io.StringIO(text), sep="\t", index_col=0)
    np.testing.assert_array_equal(counts.toarray(), expected.to_numpy())
    assert list(names) == list(expected.index) and list(columns) == list(expected.columns)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("\t12\t", "\t-12\t", "gene HLA-A at spot 10x14 is -12, which is negative"),
        ("\t12\t", "\t1.5\t", "gene HLA-A at spot 10x14 is 1.5, which is not a whole number"),
        ("\t12\t", "\t\t", "gene HLA-A at spot 10x14 is empty"),
        ("\t12\t", "\ttwelve\t", 'gene HLA-A at spot 10x14 is "twelve"'),
        ("\t12\t", "\tNA\t", 'gene HLA-A at spot 10x14 is "NA"'),
        ("\t12\t", "\tinf\t", "gene HLA-A at spot 10x14 is inf"),
        ("\t12\t", "\tnan\t", "gene HLA-A at spot 10x14 is nan"),
        ("\t12\t", "\t3000000000\t", "larger than any count"),
        ("9x13", "10x14", "spot 10x14 stands in lines 2 and 3"),
        ("HLA-A", "ACTB", "gene ACTB stands in columns 2 and 3"),
        ("HLA-A", "", "column 3 of the header has no gene name"),
        ("9x13", "9_13", 'line 3 starts with "9_13"'),
        ("9x13", "9.1x13", "expected a spot id"),
        ("\t0\t0\n", "\t0\n", "line 3 has 2 counts, but the header names 3 genes"),
        ("\t0\t0\n", "\t0\t0\t0\n", "line 3 has 4 counts"),
    ],
)
def test_bad_counts_name_file_and_place(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = write(tmp_path, COUNTS.replace(old, new, 1))
    with pytest.raises(UserError, match=says) as caught:
        read_counts(path)
    assert str(caught.value).startswith(f"{path}:") and "\n" not in str(caught.value)


@pytest.mark.parametrize("reader", [read_counts, read_spots])
def test_missing_empty_and_damaged_files(tmp_path: Path, reader) -> None:
    with pytest.raises(UserError, match="no such file"):
        reader(tmp_path / "absent.tsv")
    for text in ("", "\n \n"):
        with pytest.raises(UserError, match="is empty"):
            reader(write(tmp_path, text))
    whole = gzip.compress((COUNTS * 50).encode())
    for damaged in (whole[:-20], whole[:20] + b"\0\0\0\0" + whole[24:]):
        (tmp_path / "C.tsv.gz").write_bytes(damaged)
        with pytest.raises(UserError, match="damaged or truncated"):
            reader(tmp_path / "C.tsv.gz")
    with pytest.raises(UserError, match="cannot be read"):
        reader(tmp_path)


def test_other_separator(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tab-separated"):
        read_counts(write(tmp_path, COUNTS.replace("\t", ",")))
    with pytest.raises(UserError, match="column x is missing"):
        read_spots(write(tmp_path, SPOTS.replace("\t", ",")))


def test_header_without_rows(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="one line per spot"):
        read_counts(write(tmp_path, COUNTS.split("\n")[0] + "\n"))
    with pytest.raises(UserError, match="no rows"):
        read_spots(write(tmp_path, SPOTS.split("\n")[0] + "\n"))


def test_spots(tmp_path: Path) -> None:
    spots = read_spots(write(tmp_path, SPOTS))
    assert list(spots.index) == ["9x13", "10x14"]  # column x row
    assert spots.loc["9x13"].to_dict() == {
        "array_x": 8.965,
        "array_y": 12.994,
        "pixel_x": 2307.86,
        "pixel_y": 3500.48,
        "selected": True,
        "unsaid": False,
    }


def test_spot_order_is_x_then_y(tmp_path: Path) -> None:
    exchanged = SPOTS.replace("9\t13\t8", "13\t9\t8")
    with pytest.raises(UserError, match=r"line 2: new_x, new_y .* is not near x, y .*exchanged"):
        read_spots(write(tmp_path, exchanged))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("pixel_y", "pixelY", "column pixel_y is missing"),
        ("2307.86", "", "line 2, column pixel_x: expected a number, found nothing"),
        ("2307.86", "NaN", 'line 2, column pixel_x: expected a number, found "NaN"'),
        ("2307.86", "left", 'found "left"'),
        ("2307.86", "inf", 'found "inf"'),
        ("10\t14\t9.991\t14.013", "9\t13\t8.97\t13.0", "spot 9x13 stands in lines 2 and 3"),
        ("9\t13\t8", "9.4\t13\t8", "line 2: x and y name a spot and must be whole numbers"),
        ("9\t13\t8", "-9\t13\t8", "whole numbers"),
    ],
)
def test_bad_spots_name_file_line_and_column(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = write(tmp_path, SPOTS.replace(old, new, 1))
    with pytest.raises(UserError, match=says) as caught:
        read_spots(path)
    assert str(caught.value).startswith(f"{path}:") and "\n" not in str(caught.value)


def test_selected_is_optional(tmp_path: Path) -> None:
    spots = read_spots(write(tmp_path, SPOTS.replace("\tselected", "").replace("\t1\n", "\n")))
    assert spots["selected"].all()


def test_join_keeps_the_order_of_the_counts_and_counts_the_rest(tmp_path: Path) -> None:
    text = COUNTS + "11x14\t5\t5\t5\n12x2\t7\t7\t7\n"  # 11x14 has no position
    spots = SPOTS + "12\t2\t12.0\t2.0\t3000\t300\t0\n20\t20\t20.0\t20.0\t5000\t5500\t1\n"
    counts, ids, _ = read_counts(write(tmp_path, text, "c.tsv"))
    joined, positions, dropped = join_spots(counts, ids, read_spots(write(tmp_path, spots, "s.tsv")))
    assert list(positions.index) == ["10x14", "9x13"]
    assert joined.toarray().tolist() == [[0, 12, 3], [1, 0, 0]]
    assert positions.loc["10x14", "pixel_x"] == 2600.1
    assert dropped == {"no_position": 1, "no_counts": 1, "not_selected": 1}


def test_a_gzip_file_of_several_members_is_read_whole(tmp_path):
    """Block-compressed tables are several gzip files in one; two alike must not be taken for one."""
    table = tmp_path / "counts.tsv.gz"
    parts = ["\tG1\tG2\n1x1\t1\t0\n", "2x1\t0\t3\n", "3x1\t0\t3\n"]
    table.write_bytes(b"".join(gzip.compress(part.encode()) for part in parts))
    counts, spots, _ = read_counts(table)
    assert list(spots) == ["1x1", "2x1", "3x1"]
    assert counts.toarray().tolist() == [[1, 0], [0, 3], [0, 3]]


@pytest.mark.parametrize("after", [b"hello", b"\x00\x00hello", b"<html>"])
def test_bytes_after_the_end_of_a_gzip_file_are_damage_and_padding_is_none(tmp_path, after):
    text = b"\tACTB\tGNAS\n1x1\t1\t2\n1x2\t3\t4\n"
    path = tmp_path / "S1.tsv.gz"
    path.write_bytes(gzip.compress(text) + after)
    with pytest.raises(UserError, match=r"S1\.tsv\.gz: the gzip file is damaged or truncated"):
        read_counts(path)
    path.write_bytes(gzip.compress(text) + bytes(512))
    assert read_counts(path)[0].toarray().tolist() == [[1, 2], [3, 4]]


def test_spots_of_which_the_selection_says_nothing_are_counted_as_such(tmp_path: Path) -> None:
    spots = read_spots(write(tmp_path, SPOTS.replace("3500.48\t1", "3500.48\tNA"), "s.tsv"))
    counts, ids, _ = read_counts(write(tmp_path, COUNTS, "c.tsv"))
    _, joined, dropped = join_spots(counts, ids, spots)
    assert list(joined.index) == ["10x14"]
    assert dropped == {"no_position": 0, "no_counts": 0, "not_selected": 0, "no_tissue_value": 1}


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("1_000", "expected a whole number"),
        ("1,000", "expected a whole number"),
        ("NaN", "no number"),
        ("inf", "no number"),
        ("-2", "negative"),
        ("2.5", "not a whole number"),
        ("3000000000", "larger than any count"),
    ],
)
def test_a_run_and_the_scan_say_the_same_of_a_count(tmp_path: Path, written: str, says: str) -> None:
    path = write(tmp_path, COUNTS.replace("\t12\t", f"\t{written}\t"))
    with pytest.raises(UserError, match=f"gene HLA-A at spot 10x14 is .*{says}"):
        read_counts(path)
    (found,) = scan_counts(path, {})
    assert says in found[1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace("\n", "\t\n"), "every line ends with a tab"),
        (
            lambda text: f"# made by hand\n{text}",
            "the header names 1 genes, but lines such as line 2 have 3 counts",
        ),
        (lambda text: text.replace("\t", ","), "line 2 has no tab and looks separated by commas"),
        (lambda text: text.replace("\t", " "), "line 2 has no tab and looks separated by blanks"),
    ],
)
def test_one_mistake_in_every_line_of_the_counts_is_told_once(tmp_path: Path, change, says: str) -> None:
    path = write(tmp_path, change(COUNTS))
    with pytest.raises(UserError):
        read_counts(path)
    (found,) = scan_counts(path, {})
    assert says in found[1]


@pytest.mark.parametrize(("end", "n_notes"), [("", 1), ("\n", 0), ("\r\n", 0)])
def test_a_last_number_that_may_be_cut_short_is_noted(tmp_path: Path, end: str, n_notes: int) -> None:
    files = {
        "counts": str(write(tmp_path, COUNTS.rstrip("\n") + end)),
        "positions": str(write(tmp_path, SPOTS, "spots.tsv")),
    }
    assert len(read_own("S1", files, {"genes": "any"}).notes) == n_notes

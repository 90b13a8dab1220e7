"""Text of any program is read as what it says, or refused in one sentence with file, line, column and remedy."""

from __future__ import annotations

import codecs
import gzip

import pytest
from unit.own_cohort import OwnCohort

from histobench.cli.cohortcheck import check_cohort
from histobench.cohorts.fetch.gdc import read_manifest
from histobench.cohorts.readers.legacy_st import read_counts, read_spots
from histobench.cohorts.readers.table_cohort import read_labels
from histobench.cohorts.readers.visium import read_positions
from histobench.cohorts.sheet import read_sheet
from histobench.cohorts.text import text_table
from histobench.encoding import as_utf8
from histobench.errors import UserError
from histobench.expression.panels import read_gene_file

TABLE = "spot\tlabel\n2x3\tMükös\n4x5\tbrain µ\n"
UTF16 = {
    "utf-16-le with a mark": codecs.BOM_UTF16_LE + TABLE.encode("utf-16-le"),
    "utf-16-be with a mark": codecs.BOM_UTF16_BE + TABLE.encode("utf-16-be"),
    "utf-16-le without": TABLE.encode("utf-16-le"),
    "utf-16-be without": TABLE.encode("utf-16-be"),
    "utf-32": codecs.BOM_UTF32_LE + TABLE.encode("utf-32-le"),
    "utf-8 with a mark": codecs.BOM_UTF8 + TABLE.encode(),
    "utf-16, Windows line ends": TABLE.replace("\n", "\r\n").encode("utf-16"),
}


@pytest.mark.parametrize("name", UTF16)
@pytest.mark.parametrize("packed", [False, True])
def test_a_table_says_the_same_in_every_encoding_that_can_be_told(tmp_path, name, packed):
    path = tmp_path / "t.tsv"
    path.write_bytes(gzip.compress(UTF16[name]) if packed else UTF16[name])
    assert text_table(path)["label"].tolist() == ["Mükös", "brain µ"]
    assert read_labels(path).to_dict() == {"2x3": "Mükös", "4x5": "brain µ"}


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "mac-roman", "cp850"])
def test_a_single_byte_encoding_is_refused_with_line_column_and_word(tmp_path, encoding):
    path = tmp_path / "labels.tsv"
    path.write_bytes(TABLE.encode(encoding))
    with pytest.raises(UserError) as refused:
        text_table(path)
    said = str(refused.value)
    assert said.startswith(f"{path}: line 2, column 2: ")
    assert "UTF-8" in said and "iconv" in said and "one separator" not in said


def test_the_column_is_counted_by_the_separator_of_the_line(tmp_path):
    for text, place in [
        ("a,b\n1,2\n3,é", "line 3, column 2"),
        ("a\r\nb;c;é", "line 2, column 3"),
        ("né", "character 2"),
    ]:
        with pytest.raises(UserError, match=place):
            as_utf8(text.encode("latin-1"), "f.csv")


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"PK\x03\x04rest", "Excel"),
        (b"PAR1....", "Parquet"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"spot\tlabel\n2x3\t\0\n", "zero bytes"),
        (codecs.BOM_UTF16_LE + b"a\0b", "damaged"),
    ],
)
def test_what_is_no_text_is_named(data, word):
    with pytest.raises(UserError, match=word) as refused:
        as_utf8(data, "t.tsv")
    assert "\n" not in str(refused.value) and str(refused.value).startswith("t.tsv: ")


def test_counts_and_positions_in_utf16_are_read(tmp_path):
    counts, spots = tmp_path / "c.tsv.gz", tmp_path / "s.tsv"
    counts.write_bytes(gzip.compress("\tFASN\tÄ1\n2x3\t4\t0\n2x4\t1\t7\n".encode("utf-16")))
    spots.write_bytes("x\ty\tnew_x\tnew_y\tpixel_x\tpixel_y\n2\t3\t2\t3\t10.5\t20\n".encode("utf-16-be"))
    matrix, names, genes = read_counts(counts)
    assert list(genes) == ["FASN", "Ä1"] and list(names) == ["2x3", "2x4"]
    assert matrix.toarray().tolist() == [[4, 0], [1, 7]]
    assert read_spots(spots).loc["2x3", "pixel_x"] == 10.5


def test_counts_in_latin_1_name_the_gene(tmp_path):
    path = tmp_path / "c.tsv.gz"
    path.write_bytes(gzip.compress("\tACTB\tFASé\n2x3\t4\t0\n".encode("latin-1")))
    with pytest.raises(UserError, match='line 1, column 3: "FASé" is not written in UTF-8'):
        read_counts(path)


def test_sheets_manifests_and_gene_lists_follow_the_same_rule(tmp_path):
    sheet = tmp_path / "mine.tsv"
    sheet.write_bytes(
        "section\tpatient\timage\tcounts\tpositions\nS1\tP1\tgänse.jpg\tc.tsv\tp.tsv\n".encode("latin-1")
    )
    (problem,) = read_sheet(sheet).problems
    assert "line 2, column 3" in str(problem) and "UTF-8" in str(problem)
    sheet.write_bytes("section\tpatient\n".encode("utf-16"))
    assert any("`image` is missing" in str(found) for found in read_sheet(sheet).problems)
    genes = tmp_path / "genes.txt"
    genes.write_bytes("ACTB\nFASN\n".encode("utf-16"))
    assert read_gene_file(genes) == ["ACTB", "FASN"]
    genes.write_bytes(b"ACTB\nFAS\xe9\n")
    with pytest.raises(UserError, match="line 2"):
        read_gene_file(genes)
    with pytest.raises(UserError, match="line 1"):
        read_manifest(genes.rename(tmp_path / "m.tsv")) if genes.write_bytes(b"\xe9\n") else None


def test_a_table_with_another_separator_says_which(tmp_path):
    path = tmp_path / "s.tsv"
    for sign, name in [(",", "commas"), (";", "semicolons"), (" ", "blanks")]:
        path.write_text(f"x{sign}y{sign}pixel_x{sign}pixel_y\n1{sign}2{sign}3{sign}4\n")
        with pytest.raises(UserError, match=f"separated by {name}; separate .* by tabs"):
            read_spots(path, measured=False)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["counts", "positions", "labels", "sheet"])
def test_check_cohort_says_the_same_sentence_as_a_run(tmp_path, project, kind):
    own = OwnCohort(tmp_path / "mine", sections=("S1",))
    files = {
        "counts": "S1.tsv.gz",
        "positions": "S1_spots.tsv",
        "sheet": "mine.tsv",
        "labels": "S1_labels.tsv",
    }
    (own.folder / files["labels"]).write_text("spot\tlabel\n2x3\tgut\n")
    own.rows[0]["labels"] = files["labels"]
    own.write_table()
    path = own.folder / files[kind]
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()

    def problems(data):
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
        return check_cohort(own.folder / "mine.yaml", project, own.folder / "drawings").problems

    assert not problems(text.decode().encode("utf-16"))
    found = problems(text.replace(b"\n", b"\n\xe9", 1))
    assert found and all("UTF-8" in problem and str(path) in problem for problem in found), found


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<!DOCTYPE html>\n<html>\t<head><title>Log in</title></head></html>", "it is a web page"),
        (b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>', "it is a web page"),
        (b'{"error":\t"not found"}\n', "it is a JSON message"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1f\nsize 9\n", "Git LFS pointer"),
    ],
)
@pytest.mark.parametrize("name", ["S1.tsv", "S1.tsv.gz", "tissue_positions.csv"])
def test_what_a_server_sends_in_place_of_a_table_is_named(tmp_path, content, says, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    for read in (read_counts, read_spots, read_positions, text_table):
        with pytest.raises(UserError, match=says) as refused:
            read(path)
        assert str(refused.value).startswith(f"{path}: ")

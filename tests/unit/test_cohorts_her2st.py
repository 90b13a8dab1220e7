"""HER2+ annotations: rounding, binarisation and transfer, on small files in the published layout."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import pytest

from histobench.cohorts.fetch.archives import split_member, unpack_member
from histobench.cohorts.readers.her2st import read_labels, read_section, read_warp, transfer_labels, tumour_of
from histobench.errors import UserError
from histobench.yamlfiles import read_yaml

HEADER = "Row.names\tx\ty\tpixel_x\tpixel_y\tlabel\n"


def labels(folder: Path, *rows: tuple[object, object, str]) -> Path:
    path = folder / "A1_labeled_coordinates.tsv"
    path.write_text(HEADER + "".join(f"1x2\t{x}\t{y}\t1\t2\t{word}\n" for x, y, word in rows))
    return path


def spots(folder: Path, name: str, *places: tuple[int, int], pitch: float = 290.0) -> Path:
    path = folder / f"{name}_selection.tsv"
    rows = [f"{x}\t{y}\t{x}.01\t{y}.02\t{pitch * x}\t{pitch * y}\t1\n" for x, y in places]
    path.write_text("x\ty\tnew_x\tnew_y\tpixel_x\tpixel_y\tselected\n" + "".join(rows))
    return path


def counts(folder: Path, name: str, *places: tuple[int, int]) -> Path:
    path = folder / f"{name}.tsv.gz"
    rows = "".join(f"{x}x{y}\t{x}\t0\n" for x, y in places)
    path.write_bytes(gzip.compress(f"\tERBB2\tGNAS\n{rows}".encode()))
    return path


def warp(folder: Path, *rows: tuple[int, int, float, float]) -> Path:
    path = folder / "A2-cluster-annotation.tsv.gz"
    header = "\tpatient_id\tids\tlabel\tx\ty\tpixel_x\tpixel_y\twarped_x\twarped_y\n"
    text = "".join(f"1.5x2.5\tA\tA2\t0\t{x}\t{y}\t1.5\t2.5\t{wx}\t{wy}\n" for x, y, wx, wy in rows)
    path.write_bytes(gzip.compress((header + text).encode()))
    return path


def test_positions_are_rounded_never_floored(tmp_path: Path) -> None:
    found = read_labels(labels(tmp_path, (9.994, 20.506, "invasive cancer"), (9.02, 20.994, "breast glands")))
    assert found.by_spot.to_dict() == {"10x21": "invasive cancer", "9x21": "breast glands"}


def test_rows_without_coordinates_are_counted(tmp_path: Path) -> None:
    found = read_labels(
        labels(tmp_path, ("NA", "NA", "undetermined"), ("", 3.1, "undetermined"), (2, 3, "adipose tissue"))
    )
    assert list(found.by_spot.index) == ["2x3"] and found.no_coordinates == 2


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([(1, 2, "invasive cancer"), (3, 4, "tumor")], 'line 3: label "tumor" is unknown'),
        ([(1.1, 2, "undetermined"), (0.9, 2.2, "undetermined")], "spot 1x2 is labelled in lines 2 and 3"),
        ([("left", 2, "undetermined")], 'line 2, column x: expected a number, found "left"'),
    ],
)
def test_bad_labels(tmp_path: Path, rows: list, says: str) -> None:
    path = labels(tmp_path, *rows)
    with pytest.raises(UserError, match=says) as caught:
        read_labels(path)
    assert str(caught.value).startswith(f"{path}:")


def test_binarisation() -> None:
    assert [tumour_of(word) for word in ("invasive cancer", "cancer in situ")] == [1.0, 1.0]
    normal = ("breast glands", "connective tissue", "adipose tissue", "immune infiltrate")
    assert [tumour_of(word) for word in normal] == [0.0] * 4
    assert math.isnan(tumour_of("undetermined")) and math.isnan(tumour_of(""))


def test_transfer_takes_the_nearest_reference_spot_within_one_pitch(tmp_path: Path) -> None:
    reference = spots(tmp_path, "A1", (10, 10), (11, 10), (12, 10))  # 290 px apart
    table = labels(tmp_path, (10, 10, "invasive cancer"), (11, 10, "adipose tissue"))  # 12x10 unlabelled
    moved = warp(
        tmp_path,
        (5, 5, 2900 + 140, 2900.0),  # nearer to 10x10
        (6, 5, 2900 + 150, 2900.0),  # nearer to 11x10
        (7, 5, 2900 - 289.0, 2900.0),  # just within a pitch of 10x10
        (8, 5, 2900 - 291.0, 2900.0),  # just outside
        (9, 5, 12 * 290.0, 2900.0),  # the nearest spot has no label
    )
    assert transfer_labels(moved, reference, table).to_dict() == {
        "5x5": "invasive cancer",
        "6x5": "adipose tissue",
        "7x5": "invasive cancer",
    }


def test_warp_refuses_a_repeated_spot(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="spot 5x5 occurs twice"):
        read_warp(warp(tmp_path, (5, 5, 1.0, 1.0), (5, 5, 2.0, 2.0)))


def test_annotated_section(tmp_path: Path) -> None:
    files = {
        "counts": str(counts(tmp_path, "A1", (2, 3), (3, 3), (4, 3))),
        "spots": str(spots(tmp_path, "A1", (2, 3), (3, 3), (4, 3), (5, 3))),
        "labels": str(
            labels(tmp_path, (1.6, 3.2, "cancer in situ"), (3.4, 2.9, "undetermined"), (5, 3, "undetermined"))
        ),
    }
    section = read_section("A1", files, {})
    assert section.counts.toarray().tolist() == [[2, 0], [3, 0], [4, 0]]
    assert list(section.spots["label"]) == ["cancer in situ", "undetermined", ""]
    assert section.spots["tumour"].iloc[0] == 1.0 and section.spots["tumour"].iloc[1:].isna().all()
    assert list(section.spots["label_source"]) == ["pathologist", "pathologist", "none"]
    assert section.dropped == {
        "no_position": 0,
        "no_counts": 1,
        "not_selected": 0,
        "label_no_coordinates": 0,
        "label_no_spot": 1,
    }
    assert list(section.genes.index) == ["ERBB2", "GNAS"] and list(section.genes["gene_id"]) == ["", ""]


def test_transferred_section(tmp_path: Path) -> None:
    files = {
        "counts": str(counts(tmp_path, "A2", (2, 3), (3, 3))),
        "spots": str(spots(tmp_path, "A2", (2, 3), (3, 3))),
        "reference_spots": str(spots(tmp_path, "A1", (2, 3), (3, 3))),
        "reference_labels": str(labels(tmp_path, (2, 3, "invasive cancer"), (3, 3, "immune infiltrate"))),
        "warp": str(warp(tmp_path, (3, 3, 3 * 290.0, 3 * 290.0))),
    }
    section = read_section("A2", files, {})
    assert list(section.spots["label"]) == ["", "immune infiltrate"]
    assert section.spots["tumour"].tolist()[1] == 0.0
    assert list(section.spots["label_source"]) == ["none", "transferred"]


def test_section_without_annotation_files(tmp_path: Path) -> None:
    files = {"counts": str(counts(tmp_path, "A2", (2, 3))), "spots": str(spots(tmp_path, "A2", (2, 3)))}
    section = read_section("A2", files, {})
    assert list(section.spots["label"]) == [""] and list(section.spots["label_source"]) == ["none"]


def test_unknown_option_and_missing_kind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='no option "swap"'):
        read_section("A1", {}, {"swap": True})
    with pytest.raises(UserError, match='files lack "counts"'):
        read_section("A1", {}, {})


def test_section_from_the_encrypted_archives(tmp_path: Path, project: Path) -> None:
    """The Zenodo layout, read with the files, folders and passwords of the shipped configuration."""
    pyzipper = pytest.importorskip("pyzipper")
    first, second = "zNLXkYk3Q9znUseS", "yUx44SzG6NdB32gY"  # published in the authors' README
    places = [(10, 10), (11, 10), (12, 11)]
    inside = {
        ("count-matrices.zip", first, "count-matrices/A1.tsv.gz"): counts(
            tmp_path, "A1", *places
        ).read_bytes(),
        ("images.zip", first, "images/HE/A1.jpg"): b"\xff\xd8\xff",
        ("images.zip", first, "images/annotation/A1.jpg"): b"another image of the same name",
        ("spot-selections.zip", second, "A1_selection.tsv.gz"): gzip.compress(
            spots(tmp_path, "A1", *places).read_bytes()
        ),
        ("meta.zip", second, "A1_labeled_coordinates.tsv"): labels(
            tmp_path, (10.01, 9.99, "invasive cancer"), ("NA", "NA", "undetermined")
        ).read_bytes(),
    }
    for (archive, password, name), content in inside.items():
        with pyzipper.AESZipFile(
            tmp_path / archive,
            "a",
            compression=pyzipper.ZIP_DEFLATED,
            encryption=pyzipper.WZ_AES,
        ) as packed:
            packed.setpassword(password.encode())
            packed.writestr(name, content)
    cohort = read_yaml(project / "config/cohorts/her2st_zenodo.yaml")
    files = {}
    for kind, template in cohort["files"].items():
        archive, member = split_member(template.format(section="A1", **cohort["sections"]["A1"]))
        files[kind] = str(tmp_path / "unpacked" / member)
        unpack_member(tmp_path / archive, member, files[kind], cohort["archives"]["passwords"])
    raw = read_section("A1", files, cohort.get("options", {}))
    assert list(raw.spots.index) == ["10x10", "11x10", "12x11"]
    assert raw.spots["label"].tolist() == ["invasive cancer", "", ""]
    assert Path(files["image"]).read_bytes() == b"\xff\xd8\xff"
    assert set(cohort["sections"]) == set(read_yaml(project / "config/cohorts/her2st.yaml")["sections"])

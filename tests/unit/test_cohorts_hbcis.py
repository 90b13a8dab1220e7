"""HBCIS files to the letter of their published format, with every trap that readers of it have met."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest

from histobench.cohorts.fetch.archives import unpack_member
from histobench.cohorts.readers.hbcis import locate_member, read_annotation, read_section, read_spots
from histobench.cohorts.section import SectionInfo, assemble
from histobench.config.tables import read_sections
from histobench.errors import UserError

# The published header names the second to fifth column of the data.
HEADER = "xcoord\tycoord\tlab\ttumor\t"
ERBB2, GNAS, UNMAPPED = "ENSG00000141736", "ENSG00000087460", "ENSG00000999999"
PAIR = f"__ambiguous[{ERBB2}+{GNAS}]"


def annotation(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "BC23287_C1_Coords.tsv.gz"
    path.write_bytes(gzip.compress("\r".join([header, *rows]).encode() + b"\r"))
    return path


def counts(folder: Path, *spots: str) -> Path:
    path = folder / "BC23287_C1_stdata.tsv.gz"
    rows = "".join(f"{spot}\t{n}\t0\t1\t2\n" for n, spot in enumerate(spots, start=1))
    path.write_bytes(gzip.compress(f"\t{ERBB2}\t{GNAS}\t{UNMAPPED}\t{PAIR}\n{rows}".encode()))
    return path


def spots(folder: Path, *names: str) -> Path:
    path = folder / "spots_BT23287_C1.csv.gz"
    place = {name: tuple(map(int, name.split("x"))) for name in names}
    rows = "".join(f"{n},{(x - 1) * 291.25 + 0.5},{(y - 1) * 290.5 + 0.25}\n" for n, (x, y) in place.items())
    path.write_bytes(gzip.compress(f",X,Y\n{rows}".encode()))
    return path


def symbols(folder: Path) -> Path:
    path = folder / "symbols.tsv.gz"
    table = f"ensembl_id\tsymbol\n{ERBB2}\tERBB2\n{GNAS}\tGNAS\n"
    path.write_bytes(gzip.compress(table.encode()))
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    return {
        "counts": str(counts(tmp_path, "1x1", "10x14", "11x14", "12x15", "33x35")),
        "spots": str(spots(tmp_path, "10x14", "11x14", "12x15", "20x20")),
        "labels": str(
            annotation(
                tmp_path,
                "C1_9.994_14.02\t9.994\t14.02\tL1\ttumor",
                "C1_11.2_13.6\t11.2\t13.6\tL2\tnon",
                "C1_12_15\t12.0\t15.4\tL3\t",
                "C1_30_30\t30.1\t29.9\tL4\ttumor",
                "C1_NA_NA\tNA\tNA\tL5\ttumor",
            )
        ),
        "symbols": str(symbols(tmp_path)),
    }


def test_section(files: dict[str, str]) -> None:
    raw = read_section("BC23287_C1", files, {})
    assert list(raw.spots.index) == ["10x14", "11x14", "12x15"]
    np.testing.assert_array_equal(raw.counts.toarray(), [[2, 0, 1, 2], [3, 0, 1, 2], [4, 0, 1, 2]])
    assert list(raw.genes.index) == ["ERBB2", "GNAS", UNMAPPED, PAIR]
    assert list(raw.genes["gene_id"]) == [ERBB2, GNAS, UNMAPPED, PAIR]
    assert raw.spots["label"].tolist() == ["tumor", "non", ""]
    np.testing.assert_array_equal(raw.spots["tumour"], [1.0, 0.0, np.nan])
    assert raw.spots["label_source"].tolist() == ["pathologist", "pathologist", "none"]
    # pixel columns are X to the right, Y downwards
    assert raw.spots.loc["10x14", ["pixel_x", "pixel_y"]].tolist() == [9 * 291.25 + 0.5, 13 * 290.5 + 0.25]
    assert raw.dropped == {
        "no_counts": 1,  # 20x20 lies under tissue but was not sequenced
        "not_under_tissue": 2,  # 1x1 and 33x35
        "label_no_coordinates": 1,
        "label_blank": 1,
        "label_other_word": 0,
        "label_conflicting": 0,
        "label_no_spot": 1,
    }


def test_counts_of_spots_and_the_frame_reach_the_cohort_table(files: dict[str, str]) -> None:
    info = SectionInfo("hbcis", "BC23287_C1", "BC23287", pitch_um=200, spot_um=100, um_per_px=0.687)
    adata, row = assemble(read_section("BC23287_C1", files, {}), info, files)
    assert (row["n_spots_raw"], row["n_spots_kept"]) == (5, 3)
    assert row["um_per_px"] == pytest.approx(200 / np.sqrt(291.25 * 290.5))
    assert row["frame_offset_px"] == pytest.approx(np.hypot(0.5, 0.25)) and row["flag"] == ""
    assert adata.var.loc["ERBB2", "gene_id"] == ERBB2


def test_composites_can_be_left_out(files: dict[str, str]) -> None:
    raw = read_section("BC23287_C1", files, {"composites": "drop"})
    assert list(raw.genes.index) == ["ERBB2", "GNAS", UNMAPPED]
    assert raw.counts.shape == (3, 3) and raw.dropped["feature_composite"] == 1
    with pytest.raises(UserError, match='composites is "remove", expected keep or drop'):
        read_section("BC23287_C1", files, {"composites": "remove"})
    with pytest.raises(UserError, match='no option "composite"'):
        read_section("BC23287_C1", files, {"composite": "keep"})


def test_without_labels_and_symbols(files: dict[str, str]) -> None:
    raw = read_section("BC23287_C1", {kind: files[kind] for kind in ("counts", "spots")}, {})
    assert set(raw.spots["label_source"]) == {"none"} and raw.spots["tumour"].isna().all()
    assert list(raw.genes.index) == [ERBB2, GNAS, UNMAPPED, PAIR]


def test_labels_of_one_spot(tmp_path: Path) -> None:
    path = annotation(
        tmp_path,
        "C1_1_1\t1.4\t1\tL1\ttumor",
        "C1_1_1\t0.6\t1\tL2\tnon",  # rounds to the same spot
        "C1_2_2\t2\t2\tL3\ttumor",
        "C1_2_2\t2.1\t2\tL4\ttumor",
        "C1_3_3\t3\t3\tL5\tstroma",
        "C1_4_4\t4\t4",  # trailing fields are missing
    )
    found = read_annotation(path)
    assert found.by_spot.to_dict() == {"2x2": "tumor", "3x3": "stroma"}
    assert found.dropped == {
        "label_no_coordinates": 0,
        "label_blank": 1,
        "label_other_word": 1,
        "label_conflicting": 1,
    }


@pytest.mark.parametrize("header", [HEADER, HEADER.rstrip("\t"), "\t" + HEADER.rstrip("\t")])
def test_shifted_and_mended_headers_mean_the_same(tmp_path: Path, header: str) -> None:
    path = annotation(tmp_path, "C1_1_1\t1\t2\tL1\ttumor", header=header)
    assert read_annotation(path).by_spot.to_dict() == {"1x2": "tumor"}


def test_annotation_errors_name_the_line(tmp_path: Path) -> None:
    path = annotation(tmp_path, "C1_1_1\t1\t2\tL1\ttumor", "C1_x\tleft\t2\tL1\ttumor")
    with pytest.raises(
        UserError, match="line 3: expected the position of a spot in columns 2 and 3, found left"
    ):
        read_annotation(path)
    path = annotation(tmp_path, "1x2\t4", header="\tENSG00000141736")
    with pytest.raises(UserError, match="line 1 must name xcoord, ycoord and tumor"):
        read_annotation(path)


def test_spot_file_errors_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "spots.csv"
    path.write_text(",X,Y\n10x14,1.5,2.5\n10-15,1,2\n")
    with pytest.raises(UserError, match='line 3: "10-15" is no spot id'):
        read_spots(path)
    path.write_text(",X,Y\n10x14,1.5,2.5\n10x14,1,2\n")
    with pytest.raises(UserError, match="spot 10x14 stands in lines 2 and 3"):
        read_spots(path)
    path.write_text("10x14,1.5,2.5\n11x14,2,3\n")
    with pytest.raises(UserError, match="column X is missing"):
        read_spots(path)


METADATA = (
    "type,patient,replicate,count_matrix,histology_image,spot_coordinates,tumor_annotation\r"
    "HER2_luminal,BC23287,C1,BC23287_C1_stdata.tsv.gz,HE_BT23287_C1.jpg,spots_BT23287_C1.csv.gz,BC23287_C1_Coords.tsv.gz\r"
    "TNBC,BC23209,C1,BC23209_C1_stdata.tsv.gz,HE_BC23209_C1.jpg,spots_BC23209_C1.csv.gz,BC23209_C1_Coords.tsv.gz\r"
)


@pytest.mark.parametrize("wrap", ["", "Human breast cancer in situ capturing transcriptomics/"])
def test_published_names_come_from_the_index_of_the_archive(tmp_path: Path, wrap: str) -> None:
    archive = tmp_path / "29ntw7sh4r-5.zip"
    inside = {
        "metadata.csv": METADATA.encode(),
        "HE_BT23287_C1.jpg": b"\xff\xd8\xff BT",
        "HE_BC23209_C1.jpg": b"\xff\xd8\xff BC",
        "BC23287_C1_stdata.tsv.gz": gzip.compress(b"\tENSG00000141736\n1x1\t3\n"),
    }
    with zipfile.ZipFile(archive, "w") as packed:
        for name, content in inside.items():
            packed.writestr(wrap + name, content)
    for section, expected in {"BC23287_C1": b"\xff\xd8\xff BT", "BC23209_C1": b"\xff\xd8\xff BC"}.items():
        unpack_member(archive, f"{section}/histology_image.jpg", tmp_path / section, locate=locate_member)
        assert (tmp_path / section).read_bytes() == expected
    unpack_member(archive, "BC23287_C1/count_matrix.tsv.gz", tmp_path / "c.gz", locate=locate_member)
    assert (tmp_path / "c.gz").read_bytes() == inside["BC23287_C1_stdata.tsv.gz"]
    with pytest.raises(UserError, match="names 0 files of histology_image for section BC23287_D9"):
        unpack_member(archive, "BC23287_D9/histology_image.jpg", tmp_path / "x", locate=locate_member)
    with pytest.raises(UserError, match=r"holds no spots_BT23287_C1\.csv\.gz"):
        unpack_member(archive, "BC23287_C1/spot_coordinates.csv.gz", tmp_path / "x", locate=locate_member)
    assert not (tmp_path / "x").exists()


def test_manifest(project: Path) -> None:
    sections = read_sections(project / "resources/hbcis_sections.tsv")
    subtypes = {record["patient"]: record["subtype"] for record in sections.values()}
    assert (len(sections), len(subtypes)) == (68, 23)
    tally = {name: list(subtypes.values()).count(name) for name in set(subtypes.values())}
    assert tally == {"HER2_luminal": 5, "HER2_non_luminal": 5, "Luminal_A": 4, "Luminal_B": 5, "TNBC": 4}
    # spots that have both a position under tissue and counts, as HEST counted them
    assert sum(int(record["n_spots"]) for record in sections.values()) == 30_655
    assert sum("her2st_section" in record for record in sections.values()) == 12

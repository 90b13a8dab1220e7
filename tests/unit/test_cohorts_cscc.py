"""cSCC files as in GEO's archive: accessions in the names, everything gzipped, counts of the whole array."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from unit import coordinates

from histobench.cohorts.fetch.archives import unpack_member
from histobench.cohorts.readers.cscc import locate_member, read_section
from histobench.cohorts.section import write_section
from histobench.cohorts.table import load_section
from histobench.errors import UserError
from histobench.files import read_json
from histobench.yamlfiles import read_yaml

OFF_TISSUE = ["9x25", "30x30"]


def counts(section: str) -> bytes:
    names = [*coordinates.cscc(section).index, *OFF_TISSUE]
    rows = "".join(f"{name}\t{name.split('x')[0]}\t0\t{name.split('x')[1]}\n" for name in names)
    return gzip.compress(f"\tKRT14\tMT-CO1\tHLA-B\n{rows}".encode())


def spots(section: str, *, selected: bool = True) -> bytes:
    name = "\tselected" if selected else ""
    value = "\t1" if selected else ""
    rows = "".join(
        f"{s.array_x:.0f}\t{s.array_y:.0f}\t{s.array_x}\t{s.array_y}\t{s.pixel_x}\t{s.pixel_y}{value}\n"
        for s in coordinates.cscc(section).itertuples()
    )
    return gzip.compress(f"x\ty\tnew_x\tnew_y\tpixel_x\tpixel_y{name}\n{rows}".encode())


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "GSE144240_RAW.tar"
    members = {"GSM4284300_P2_Tumor.tsv.gz": b"of another experiment"}
    for number, section in (("16", "P2_rep1"), ("19", "P5_rep1"), ("22", "P9_rep1"), ("25", "P10_rep1")):
        name = f"GSM42843{number}_{section.replace('_', '_ST_')}"
        members[f"{name}.jpg.gz"] = gzip.compress(f"\xff {section}".encode("latin-1"))
        members[f"{name}_stdata.tsv.gz"] = counts(section)
        selection = f"GSM42843{number}_spot_data-selection-{section.replace('_', '_ST_')}.tsv.gz"
        members[selection] = spots(section)
    del members["GSM4284325_spot_data-selection-P10_ST_rep1.tsv.gz"]
    with tarfile.open(path, "w") as packed:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
    return path


def unpack(archive: Path, section: str, kind: str, folder: Path) -> str:
    target = folder / section / kind
    unpack_member(archive, f"{section}/{kind}", target, locate=locate_member)
    return str(target)


def test_members_are_found_by_section_and_images_unpacked(archive: Path, tmp_path: Path) -> None:
    for section in ("P2_rep1", "P10_rep1"):
        path = Path(unpack(archive, section, "image.jpg", tmp_path))
        assert path.read_bytes() == f"\xff {section}".encode("latin-1")
    with pytest.raises(
        UserError, match="0 files of spots for section P10_rep1, expected one like GSM0000000_spot"
    ):
        unpack(archive, "P10_rep1", "spots.tsv.gz", tmp_path)


@pytest.mark.parametrize("section", ["P2_rep1", "P5_rep1", "P9_rep1"])
def test_real_positions_in_the_layout_of_the_archive_become_a_section(
    archive: Path, tmp_path: Path, project: Path, section: str
) -> None:
    """From the archive to the stored section, through the entry that the rule calls."""
    files = {
        "counts": unpack(archive, section, "counts.tsv.gz", tmp_path),
        "spots": unpack(archive, section, "spots.tsv.gz", tmp_path),
    }
    raw = read_section(section, files, {})
    tissue = list(coordinates.cscc(section).index)
    assert list(raw.spots.index) == tissue
    assert raw.dropped == {"no_counts": 0, "not_selected": 0, "not_under_tissue": 2}
    np.testing.assert_array_equal(raw.counts.toarray()[:, 0], [int(name.split("x")[0]) for name in tissue])
    assert set(raw.spots["label_source"]) == {"none"} and raw.frame is None
    cohort = read_yaml(project / "config/cohorts/cscc.yaml")
    write_section(
        reader=cohort["reader"],
        cohort="cscc",
        section=section,
        record=cohort["sections"][section],
        files=files,
        options={},
        pitch_um=cohort["pitch_um"],
        spot_um=cohort["spot_um"],
        output_h5ad=tmp_path / "s.h5ad",
        output_json=tmp_path / "s.json",
    )
    stored, row = load_section(tmp_path / "s.h5ad"), read_json(tmp_path / "s.json")
    assert stored.uns["grid"] == row["grid"] == "diamond"
    assert stored.uns["um_per_px"] == pytest.approx(0.55, rel=0.02) and row["flag"] == ""
    assert row["scale_residual_px"] < 10
    assert row["um_per_px_x"] == pytest.approx(row["um_per_px_y"], rel=0.03)
    assert row["frame_offset_px"] is None and row["n_spots_raw"] == len(tissue) + 2


def test_selection_without_its_last_column(tmp_path: Path) -> None:
    (tmp_path / "counts").write_bytes(counts("P9_rep1"))
    (tmp_path / "spots").write_bytes(spots("P9_rep1", selected=False))
    files = {kind: str(tmp_path / kind) for kind in ("counts", "spots")}
    assert len(read_section("P9_rep1", files, {}).spots) == len(coordinates.cscc("P9_rep1"))


def test_lock_and_cohort_say_the_same_of_the_licence(project: Path) -> None:
    licence = read_yaml(project / "config/cohorts/cscc.yaml")["licence"]
    rows = [
        line
        for line in (project / "resources/data_lock.tsv").read_text().splitlines()
        if line[:5] == "cscc\t"
    ]
    assert rows and all(licence in row.split("\t") for row in rows)

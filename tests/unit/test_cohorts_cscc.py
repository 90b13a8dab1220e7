"""cSCC files as in GEO's archive: accessions in the names, everything gzipped, counts of the whole array."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from histobench.cohorts.archives import unpack_member
from histobench.cohorts.cscc import grid_of, locate_member, read_section
from histobench.cohorts.section import SectionInfo, assemble
from histobench.config import read_yaml
from histobench.errors import UserError

GRID = [(x, y) for x in range(10, 14) for y in range(20, 24)]
TISSUE = GRID[:14]


def counts() -> bytes:
    rows = "".join(f"{x}x{y}\t{x}\t0\t{y}\n" for x, y in GRID)
    return gzip.compress(f"\tKRT14\tMT-CO1\tHLA-B\n{rows}".encode())


def spots(*, selected: bool = True) -> bytes:
    name = "\tselected" if selected else ""
    value = "\t1" if selected else ""
    rows = "".join(f"{x}\t{y}\t{x}.02\t{y}.01\t{200 * x + 4}\t{200 * y + 2}{value}\n" for x, y in TISSUE)
    return gzip.compress(f"x\ty\tnew_x\tnew_y\tpixel_x\tpixel_y{name}\n{rows}".encode())


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "GSE144240_RAW.tar"
    members = {
        "GSM4284316_P2_ST_rep1.jpg.gz": gzip.compress(b"\xff\xd8\xff rep1"),
        "GSM4284316_P2_ST_rep1_stdata.tsv.gz": counts(),
        "GSM4284316_spot_data-selection-P2_ST_rep1.tsv.gz": spots(),
        "GSM4284317_P2_ST_rep2.jpg.gz": gzip.compress(b"\xff\xd8\xff rep2"),
        "GSM4284325_P10_ST_rep1.jpg.gz": gzip.compress(b"\xff\xd8\xff P10"),
        "GSM4284300_P2_Tumor.tsv.gz": b"of another experiment",
    }
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
    for section, content in {"P2_rep1": b"rep1", "P2_rep2": b"rep2", "P10_rep1": b"P10"}.items():
        path = Path(unpack(archive, section, "image.jpg", tmp_path))
        assert path.read_bytes() == b"\xff\xd8\xff " + content
    with pytest.raises(
        UserError, match="0 files of spots for section P10_rep1, expected one like GSM0000000_spot"
    ):
        unpack(archive, "P10_rep1", "spots.tsv.gz", tmp_path)


def test_section_keeps_the_spots_under_tissue(archive: Path, tmp_path: Path, project: Path) -> None:
    files = {
        "counts": unpack(archive, "P2_rep1", "counts.tsv.gz", tmp_path),
        "spots": unpack(archive, "P2_rep1", "spots.tsv.gz", tmp_path),
    }
    raw = read_section("P2_rep1", files, {})
    assert list(raw.spots.index) == [f"{x}x{y}" for x, y in TISSUE]
    assert raw.dropped == {"no_counts": 0, "not_selected": 0, "not_under_tissue": 2}
    np.testing.assert_array_equal(raw.counts.toarray()[:, 0], [x for x, _ in TISSUE])
    assert set(raw.spots["label_source"]) == {"none"} and raw.frame is None
    cohort = read_yaml(project / "config/cohorts/cscc.yaml")
    info = SectionInfo(
        "cscc",
        "P2_rep1",
        "P2",
        cohort["pitch_um"],
        cohort["spot_um"],
        um_per_px=cohort["sections"]["P2_rep1"]["um_per_px"],
    )
    _, row = assemble(raw, info, files)
    assert row["um_per_px"] == pytest.approx(0.75)  # 200 px per pitch
    assert row["frame_offset_px"] is None and row["n_spots_raw"] == 16


def test_selection_without_its_last_column(tmp_path: Path) -> None:
    (tmp_path / "counts").write_bytes(counts())
    (tmp_path / "spots").write_bytes(spots(selected=False))
    files = {kind: str(tmp_path / kind) for kind in ("counts", "spots")}
    assert len(read_section("P2_rep1", files, {}).spots) == len(TISSUE)


def test_staggered_arrays_are_recognised() -> None:
    square = [f"{x}x{y}" for x in range(4) for y in range(4)]
    staggered = [f"{x}x{y}" for x in range(8) for y in range(4) if (x + y) % 2]
    assert grid_of(square) == "square"
    assert grid_of(staggered) == "hexagonal"
    assert grid_of(["1x1", "2x2"]) == "square"  # too few to tell

"""Raw files of the simulated cohort: layout, determinism, and what the reader makes of them."""

from __future__ import annotations

import gzip
from pathlib import Path

import imagecodecs
import numpy as np
import pandas as pd
import pytest

from histobench.cohorts.simulation.reader import read_section
from histobench.cohorts.simulation.simulate import (
    SimulationSettings,
    latent_at_spots,
    simulate_counts_table,
    simulate_section,
)
from histobench.errors import UserError
from histobench.files import sha256

SMALL = SimulationSettings(n_patients=2, grid_columns=9, grid_rows=8, um_per_px=2.0, seed=3)
NAMES = {"image": "image.jpg", "counts": "counts.tsv.gz", "spots": "spots.tsv", "labels": "labels.tsv"}


def simulate(folder: Path, settings: SimulationSettings = SMALL, section: str = "P1_1") -> dict[str, Path]:
    files = {kind: folder / name for kind, name in NAMES.items()}
    simulate_section(settings, section, files["image"], files["counts"], files["spots"], files["labels"])
    return files


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    return simulate(tmp_path_factory.mktemp("raw"))


def test_equal_settings_give_equal_bytes(files, tmp_path):
    again = simulate(tmp_path / "again")
    assert {kind: sha256(path) for kind, path in again.items()} == {
        kind: sha256(path) for kind, path in files.items()
    }
    other = simulate(tmp_path / "other", section="P1_2")
    assert all(sha256(other[kind]) != sha256(files[kind]) for kind in NAMES)


def test_image_can_be_left_out_and_leaves_the_counts_alone(files, tmp_path):
    simulate_section(SMALL, "P1_1", None, tmp_path / "c.tsv.gz", tmp_path / "s.tsv", tmp_path / "l.tsv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.tsv.gz", "l.tsv", "s.tsv"]
    assert sha256(tmp_path / "c.tsv.gz") == sha256(files["counts"])


def test_image_is_the_frame_of_the_array(files):
    image = imagecodecs.imread(files["image"])
    assert image.dtype == np.uint8
    assert image.shape == (7 * 100, 8 * 100, 3)


def test_spots_follow_the_frame_rule(files):
    spots = pd.read_csv(files["spots"], sep="\t")
    assert list(spots.columns) == ["x", "y", "new_x", "new_y", "pixel_x", "pixel_y", "selected"]
    assert (spots["x"] == spots["new_x"].round()).all()
    assert (spots["y"] == spots["new_y"].round()).all()
    assert (spots["new_x"] != spots["x"]).any()  # jitter
    np.testing.assert_allclose(spots["pixel_x"], (spots["new_x"] - 1) * 800 / 8, atol=0.006)
    np.testing.assert_allclose(spots["pixel_y"], (spots["new_y"] - 1) * 700 / 7, atol=0.006)


def test_archive_carries_no_time(files):
    assert files["counts"].read_bytes()[4:8] == b"\0\0\0\0"
    header = gzip.decompress(files["counts"].read_bytes()).decode().split("\n")[0].split("\t")
    assert header[0] == ""
    assert header[1:] == list(simulate_counts_table(SMALL, "P1_1").columns)


def test_reader_returns_what_was_simulated(files):
    raw = read_section("P1_1", files, {"n_patients": 2})
    counts, latent = simulate_counts_table(SMALL, "P1_1"), latent_at_spots(SMALL, "P1_1")
    assert list(raw.spots.index) == list(counts.index)
    assert list(raw.genes.index) == list(counts.columns)
    np.testing.assert_array_equal(raw.counts.toarray(), counts.to_numpy())
    np.testing.assert_array_equal(raw.spots["array_x"], latent["new_x"])
    assert list(raw.spots["label"]) == list(latent["label"])
    np.testing.assert_array_equal(raw.spots["tumour"], latent["tumour_label"])
    assert set(raw.spots["label_source"]) == {"simulated"}
    spare = len(pd.read_csv(files["spots"], sep="\t")) - len(counts)
    assert raw.dropped["no_counts"] == spare
    assert raw.dropped["no_position"] == raw.dropped["label_no_spot"] == 0


def test_reader_refuses_bad_labels_and_options(files, tmp_path):
    bad = tmp_path / "labels.tsv"
    lines = files["labels"].read_text().splitlines()
    bad.write_text("\n".join([*lines, lines[-1]]) + "\n")
    with pytest.raises(UserError, match="occurs twice"):
        read_section("P1_1", {**files, "labels": bad}, {})
    bad.write_text("\n".join([*lines[:-1], "3x3\tinvasive cancer\t2"]) + "\n")
    with pytest.raises(UserError, match=r"line \d+: tumour is 2, expected 1, 0 or nothing"):
        read_section("P1_1", {**files, "labels": bad}, {})
    with pytest.raises(UserError, match="unknown key 'seeds'"):
        read_section("P1_1", files, {"seeds": 1})
    with pytest.raises(UserError, match='lack "labels"'):
        read_section("P1_1", {kind: files[kind] for kind in ("counts", "spots")}, {})


def test_unwritable_place_is_one_sentence_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        simulate_section(
            SMALL, "P1_1", None, tmp_path / "file" / "c.tsv.gz", tmp_path / "s.tsv", tmp_path / "l.tsv"
        )
    assert [path.name for path in tmp_path.iterdir()] == ["file"]

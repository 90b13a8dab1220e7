"""A user's mistakes and a machine's limits: one clear sentence or a counted exclusion, and nothing half-written."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import re
import subprocess

import imagecodecs
import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.slow

GENES = ["ACTB", "GNAS", "FASN", "XBP1", "NULL1"]
CONFIG = """\
run: [small]
device: cpu
mirrors: {small: [mirror]}
cohorts:
  small:
    title: Small
    reader: histobench.cohorts.readers.her2st:read_section
    pitch_um: 200
    spot_um: 100
    files:
      counts: data/{section}.tsv.gz
      spots: data/{section}_selection.tsv
      image: data/{section}.jpg
    sections:
      S1: {patient: A, um_per_px: 2.0}
      S2: {patient: B, um_per_px: 2.0}
      S3: {patient: C, um_per_px: 2.0}
experiments:
  small:
    title: Small
    cohort: small
    panel: {size: 4}
    patches: {um_per_px: 4.8, width_px: 32}
    weights: none
    methods: {train_mean: , colour_ridge: }
"""


class Small:
    """A cohort of three sections in the published legacy ST layout, in a mirror folder, with its lock."""

    def __init__(self, checkout) -> None:
        self.checkout = checkout
        self.mirror = checkout.folder / "mirror" / "data"
        self.mirror.mkdir(parents=True)
        (checkout.folder / "small.yaml").write_text(CONFIG)
        rng = np.random.default_rng(7)
        for section in ("S1", "S2", "S3"):
            grid = [(x, y) for x in range(2, 8) for y in range(2, 8)]
            counts = pd.DataFrame(
                rng.poisson(6, (len(grid), len(GENES))), index=[f"{x}x{y}" for x, y in grid], columns=GENES
            )
            self.write_counts(section, counts)
            spots = pd.DataFrame(grid, columns=["x", "y"])
            spots = spots.assign(new_x=spots.x + 0.01, new_y=spots.y - 0.02)
            spots = spots.assign(pixel_x=(spots.new_x - 1) * 100, pixel_y=(spots.new_y - 1) * 100, selected=1)
            spots.to_csv(self.mirror / f"{section}_selection.tsv", sep="\t", index=False)
            image = rng.integers(90, 250, (900, 900, 3)).astype(np.uint8)
            (self.mirror / f"{section}.jpg").write_bytes(imagecodecs.jpeg_encode(image, level=90))
        self.lock()

    def write_counts(self, section: str, counts: pd.DataFrame) -> None:
        with gzip.open(self.mirror / f"{section}.tsv.gz", "wt") as stream:
            counts.to_csv(stream, sep="\t")

    def counts(self, section: str) -> pd.DataFrame:
        return pd.read_csv(self.mirror / f"{section}.tsv.gz", sep="\t", index_col=0)

    def lock(self) -> None:
        """Lock the files as they are now; the only address is one where nothing listens."""
        lock = self.checkout.folder / "resources/data_lock.tsv"
        rows = [lock.read_text().splitlines()[0]]
        for file in sorted(self.mirror.iterdir()):
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            url = f"http://127.0.0.1:9/{file.name}"
            rows.append(f"small\tdata/{file.name}\t{url}\t{file.stat().st_size}\t{digest}\tnone\tnone")
        lock.write_text("\n".join(rows) + "\n")

    def run(self, *targets: str, ok: bool = True) -> str:
        """Run to some targets; returns what the user sees."""
        done = self.checkout.snakemake(*targets, configfile="small.yaml")
        assert (done.returncode == 0) == ok, done.stdout[-4000:]
        return done.stdout

    def sentence(self, text: str) -> str:
        """The one sentence meant for the user; a traceback is a failure."""
        assert "Traceback" not in text, text[-4000:]
        found = re.findall(r"^Error: (.*)$", text, re.M)
        assert len(found) == 1, text[-4000:]
        return found[0]

    def leftovers(self, folder: str) -> list[str]:
        path = self.checkout.folder / "results" / folder
        return sorted(p.name for p in path.rglob("*") if p.is_file()) if path.exists() else []


@pytest.fixture
def small(fresh):
    return Small(fresh("small"))


SECTION = "results/data/small/sections/S1.h5ad"


def test_a_corrupted_mirror_file_is_refused(small):
    file = small.mirror / "S1.tsv.gz"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    text = small.sentence(small.run(SECTION, ok=False))
    assert "S1.tsv.gz" in text
    assert not (small.checkout.folder / "results/data/small/raw/data/S1.tsv.gz").exists()
    assert small.leftovers("data/small/sections") == []


def test_a_missing_image_is_named(small):
    (small.mirror / "S1.jpg").unlink()
    text = small.sentence(small.run(SECTION, ok=False))
    assert "S1.jpg" in text and "mirror" in text


def test_a_truncated_image_makes_no_patches(small):
    file = small.mirror / "S1.jpg"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    small.lock()
    text = small.sentence(small.run("results/data/small/patches/raw-native-32px/S1.npy", ok=False))
    assert "S1.jpg" in text and "truncated" in text
    assert small.leftovers("data/small/patches") == []


def test_a_counts_row_without_a_position_is_counted(small):
    spots = small.mirror / "S1_selection.tsv"
    lines = spots.read_text().splitlines()
    spots.write_text("\n".join(lines[:5] + lines[6:]) + "\n")
    small.lock()
    small.run("results/data/small/sections.tsv")
    row = json.loads((small.checkout.folder / SECTION).with_suffix(".json").read_text())
    assert row["dropped_no_position"] == 1
    assert row["n_spots_kept"] == 35
    table = pd.read_csv(
        small.checkout.folder / "results/data/small/sections.tsv", sep="\t", index_col="section"
    )
    assert table["dropped_no_position"].to_dict() == {"S1": 1, "S2": 0, "S3": 0}
    assert table["n_spots_kept"].to_dict() == {"S1": 35, "S2": 36, "S3": 36}


def damaged_duplicate(counts):
    return pd.concat([counts, counts.iloc[[3]]])


def damaged_negative(counts):
    counts = counts.copy()
    counts.iloc[4, 2] = -1
    return counts


def damaged_fractional(counts):
    counts = counts.astype(float)
    counts.iloc[5, 1] = 2.5
    return counts


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damaged_duplicate, ["2x5", "S1.tsv.gz"]),
        (damaged_negative, ["FASN", "2x6", "-1"]),
        (damaged_fractional, ["GNAS", "2x7", "2.5"]),
    ],
)
def test_bad_counts_are_named_to_the_cell(small, damage, words):
    small.write_counts("S1", damage(small.counts("S1")))
    small.lock()
    text = small.sentence(small.run(SECTION, ok=False))
    for word in words:
        assert word in text, text
    assert small.leftovers("data/small/sections") == []


def test_one_spot_and_a_constant_gene_reach_the_tables(small):
    """Scores that cannot be computed are counted; nothing fails and nothing is silently dropped."""
    path = small.checkout.folder / "small.yaml"
    config = CONFIG.replace("panel: {size: 4}", "panel: {size: 5}")
    # without the key a section that loses 35 of 36 spots stops the run
    path.write_text(config.replace("    spot_um: 100\n", "    spot_um: 100\n    allow_losses: [no_counts]\n"))
    small.write_counts(
        "S2", small.counts("S2").assign(GNAS=0)
    )  # not counted once, so constant under any transform
    small.write_counts("S1", small.counts("S1").iloc[:1].assign(GNAS=9))
    small.lock()
    small.run("results/small/tables/leaderboard.tsv")
    board = pd.read_csv(small.checkout.folder / "results/small/tables/leaderboard.tsv", sep="\t")
    undefined = board.set_index("method")["n_undefined"].to_dict()
    # All five genes of the section of one spot, and the constant gene; a constant prediction correlates with nothing.
    assert undefined == {"colour_ridge": 5 + 1, "train_mean": 3 * 5}
    assert np.isfinite(board.set_index("method").loc["colour_ridge", "pearson"])


def test_a_typo_in_the_configuration_stops_before_the_first_job(small):
    path = small.checkout.folder / "small.yaml"
    path.write_text(CONFIG.replace("panel: {size: 4}", "panel: {sise: 4}"))
    done = small.checkout.snakemake("-n", configfile="small.yaml")
    assert done.returncode != 0
    assert "small.yaml: experiments.small: unknown key `sise` in `panel`; did you mean `size`?" in done.stdout
    assert "Traceback" not in done.stdout


@contextlib.contextmanager
def small_disk(folder, options):
    """A disk of its own in a folder; skips where a test may not mount one."""
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]).returncode
    ):
        pytest.skip("mounting a small disk needs root, and a machine that lets a test do so")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_nothing(small):
    small.run(SECTION)
    patches = small.checkout.folder / "results/data/small/patches"
    patches.mkdir()
    with small_disk(patches, "size=64k"):
        text = small.sentence(small.run("results/data/small/patches/raw-native-32px/S1.npy", ok=False))
        assert "disk is full" in text and "S1.npy" in text
        assert small.leftovers("data/small/patches") == []


def stopped(small):
    """The sentence with which a run ends before its first job."""
    text = small.run("results/data/small/patches/raw-native-32px/S1.npy", ok=False)
    assert "Traceback" not in text and "Cut patches" not in text, text[-4000:]
    (sentence,) = re.findall(r"^(\S+: cannot be written because .*\.)$", text, re.M)
    return sentence


def test_an_unwritable_folder_stops_before_the_first_job(small):
    small.run(SECTION)
    patches = small.checkout.folder / "results/data/small/patches/raw-native-32px"
    patches.mkdir(parents=True)
    patches.chmod(0o555)  # which does not stop root
    with small_disk(patches, "ro") if os.geteuid() == 0 else contextlib.nullcontext():
        assert stopped(small).startswith("results/data/small/patches/raw-native-32px: ")
        assert small.leftovers("data/small/patches") == []


def test_a_working_folder_that_cannot_be_written_is_one_sentence(small, tmp_path):
    snakefile = small.checkout.folder / "Snakefile"
    with small_disk(tmp_path, "ro"):
        done = small.checkout.snakemake(
            "results/small/folds.tsv", "-s", str(snakefile), "-d", str(tmp_path), configfile=None
        )
    assert done.returncode != 0 and "Traceback" not in done.stdout
    assert "cannot be written because the folder is not writable" in done.stdout


def test_a_file_where_a_folder_should_be_stops_before_the_first_job(small):
    small.run(SECTION)
    (small.checkout.folder / "results/data/small/patches").write_text("")
    assert "results/data/small/patches: cannot be written because a file stands" in stopped(small)
    assert (small.checkout.folder / "results/data/small/patches").read_text() == ""

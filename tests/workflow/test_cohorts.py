"""From published archives to sections through the rules: mirror, unpack, names looked up, passwords, symbols."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import json
import re
import tarfile
import zipfile
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import sparse
from unit import coordinates
from unit.own_cohort import OwnCohort

OWN = """\
run: [mine]
device: cpu
cohorts:
  mine:
    title: Mine
    origin: local
    reader: histobench.cohorts.readers.table_cohort:read_section
    table: own/mine.tsv
    pitch_um: 200
    spot_um: 100
experiments:
  mine:
    title: Mine
    cohort: mine
    panel: {size: 4}
    patches: {um_per_px: 6.0, width_px: 24}
    weights: none
    methods: {colour_ridge: {window: null}}
"""
CONFIG = """\
run: [zenodo, hbcis, cscc]
prepare: [tcga_brca]
mirrors:
  her2st_zenodo: [mirror]
  hbcis: [mirror]
  cscc: [mirror]
experiments:
  zenodo: &counts
    title: From archives
    cohort: her2st_zenodo
    sections: [B1, C1]
    patches: null
    methods: {train_mean: }
  hbcis: {<<: *counts, cohort: hbcis, sections: [BC23287_C1, BC23450_D2]}
  cscc: {<<: *counts, cohort: cscc, sections: [P2_rep1, P5_rep1]}
"""
PLACES = [(2, 2), (3, 2), (4, 3), (2, 4)]
SKIN = coordinates.cscc("P2_rep1")  # its places on the array and in the image are real
PIXELS = {"her2st_zenodo": (1500, 1500), "hbcis": (1500, 1500), "cscc": (4300, 10500)}
SECTIONS = {"her2st_zenodo": "B1", "hbcis": "BC23287_C1", "cscc": "P2_rep1"}


def jpeg(width: int = 1500, height: int = 1500) -> bytes:
    stream = io.BytesIO()
    picture = Image.new("RGB", (width, height), (240, 236, 240))
    # tissue: an image on which there is nothing to see stops the run
    picture.paste((190, 130, 175), (width // 8, height // 8, width - width // 8, height - height // 8))
    picture.save(stream, "JPEG")
    return stream.getvalue()


def counts(gene: str, places=PLACES) -> bytes:
    rows = "".join(f"{x}x{y}\t{x + y}\t1\n" for x, y in [*places, (30, 30)])
    return gzip.compress(f"\t{gene}\tOTHER\n{rows}".encode())


def selection(pitch: float) -> bytes:
    rows = "".join(f"{x}\t{y}\t{x}\t{y}\t{pitch * x}\t{pitch * y}\t1\n" for x, y in PLACES)
    return gzip.compress(f"x\ty\tnew_x\tnew_y\tpixel_x\tpixel_y\tselected\n{rows}".encode())


def her2st(folder: Path) -> None:
    pyzipper = pytest.importorskip("pyzipper")
    first, second = b"zNLXkYk3Q9znUseS", b"yUx44SzG6NdB32gY"
    files = {
        "count-matrices.zip": (first, "count-matrices/B1.tsv.gz", counts("ERBB2")),
        "images.zip": (first, "images/HE/B1.jpg", jpeg()),
        "spot-selections.zip": (second, "spot-selections/B1_selection.tsv.gz", selection(290.7)),
        "meta.zip": (
            second,
            "meta/B1_labeled_coordinates.tsv",
            b"Row.names\tx\ty\tpixel_x\tpixel_y\tlabel\n1x1\t2.01\t1.98\t1\t1\tinvasive cancer\n",
        ),
    }
    for archive, (password, name, content) in files.items():
        with pyzipper.AESZipFile(folder / archive, "w", encryption=pyzipper.WZ_AES) as packed:
            packed.setpassword(password)
            packed.writestr(name, content)


def hbcis(folder: Path) -> None:
    spots = "".join(f"{x}x{y},{291 * (x - 1)},{291 * (y - 1)}\n" for x, y in PLACES)
    files = {
        "metadata.csv": b"type,patient,replicate,count_matrix,histology_image,spot_coordinates,tumor_annotation\n"
        b"HER2_luminal,BC23287,C1,BC23287_C1_stdata.tsv.gz,HE_BT23287_C1.jpg,spots_BT23287_C1.csv.gz,"
        b"BC23287_C1_Coords.tsv.gz\n",
        "BC23287_C1_stdata.tsv.gz": counts("ENSG00000141736"),
        "HE_BT23287_C1.jpg": jpeg(),
        "spots_BT23287_C1.csv.gz": gzip.compress(f",X,Y\n{spots}".encode()),
        "BC23287_C1_Coords.tsv.gz": gzip.compress(
            b"xcoord\tycoord\tlab\ttumor\t\rC1_2_2\t2.0\t2.0\tL1\ttumor\r"
        ),
    }
    with zipfile.ZipFile(folder / "29ntw7sh4r-5.zip", "w") as packed:
        for name, content in files.items():
            packed.writestr(f"Human breast cancer in situ capturing transcriptomics/{name}", content)


def cscc(folder: Path) -> None:
    places = [(int(s.array_x), int(s.array_y)) for s in SKIN.itertuples()]
    rows = "".join(
        f"{x}\t{y}\t{x}\t{y}\t{s.pixel_x}\t{s.pixel_y}\t1\n"
        for (x, y), s in zip(places, SKIN.itertuples(), strict=True)
    )
    selected = f"x\ty\tnew_x\tnew_y\tpixel_x\tpixel_y\tselected\n{rows}"
    files = {
        "GSM4284316_P2_ST_rep1_stdata.tsv.gz": counts("KRT14", places),
        "GSM4284316_spot_data-selection-P2_ST_rep1.tsv.gz": gzip.compress(selected.encode()),
        "GSM4284316_P2_ST_rep1.jpg.gz": gzip.compress(jpeg(*PIXELS["cscc"])),
    }
    with tarfile.open(folder / "GSE144240_RAW.tar", "w") as packed:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))


@pytest.mark.slow
def test_archives_of_a_mirror_become_sections(fresh) -> None:
    checkout = fresh("archives")
    (checkout.folder / "archives.yaml").write_text(CONFIG)
    mirror = checkout.folder / "mirror"
    mirror.mkdir()
    for make in (her2st, hbcis, cscc):
        make(mirror)

    before = checkout.snakemake("--dry-run", "data", configfile="archives.yaml", check=True).stdout
    assert "Raw data: 6 files are missing: 0.0 MB, and 6 of them of unknown size." in before
    targets = [f"results/data/{cohort}/sections/{section}.h5ad" for cohort, section in SECTIONS.items()]
    checkout.snakemake(*targets, configfile="archives.yaml", check=True)

    genes = {"her2st_zenodo": "ERBB2", "hbcis": "ERBB2", "cscc": "KRT14"}
    for (cohort, section), target in zip(SECTIONS.items(), targets, strict=True):
        adata = anndata.read_h5ad(checkout.folder / target)
        names = list(SKIN.index) if cohort == "cscc" else [f"{x}x{y}" for x, y in PLACES]
        assert list(adata.obs_names) == names and genes[cohort] in adata.var_names
        assert (adata.uns["image_width"], adata.uns["image_height"]) == PIXELS[cohort]
        assert adata.uns["grid"] == ("diamond" if cohort == "cscc" else "square")
        row = json.loads((checkout.folder / target).with_suffix(".json").read_text())
        assert (row["section"], row["n_spots_raw"], row["n_spots_kept"]) == (
            section,
            len(names) + 1,
            len(names),
        )
    labelled = anndata.read_h5ad(checkout.folder / targets[1])
    assert (
        labelled.obs.loc["2x2", "label"] == "tumor"
        and labelled.var.loc["ERBB2", "gene_id"] == "ENSG00000141736"
    )

    after = checkout.snakemake("--dry-run", "data", configfile="archives.yaml", check=True).stdout
    assert "Raw data: nothing is missing." in after
    raw = checkout.folder / "results/data"
    assert not list(raw.rglob("*.part"))
    assert (raw / "hbcis/unpacked/29ntw7sh4r-5.zip/BC23287_C1/histology_image.jpg").read_bytes() == jpeg()


@pytest.mark.slow
def test_a_wrong_archive_ends_in_one_sentence(fresh) -> None:
    checkout = fresh("wrong_archive")
    (checkout.folder / "archives.yaml").write_text(CONFIG)
    (checkout.folder / "mirror").mkdir()
    with zipfile.ZipFile(checkout.folder / "mirror/29ntw7sh4r-5.zip", "w") as packed:
        packed.writestr("metadata.csv", "patient,replicate,count_matrix\nBC1,C1,x\n")
    done = checkout.snakemake(
        "results/data/hbcis/unpacked/29ntw7sh4r-5.zip/BC23287_C1/count_matrix.tsv.gz",
        configfile="archives.yaml",
    )
    assert done.returncode
    assert "metadata.csv of the archive names 0 files of count_matrix for section BC23287_C1" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.slow
def test_a_cohort_of_ones_own_goes_through_the_workflow(fresh) -> None:
    """A table of sections in two layouts ends in predictions; nothing is copied, and a changed file counts."""
    checkout = fresh("own")
    own = OwnCohort(checkout.folder / "own")
    own.use_anndata("S2", functools.partial(recounted, seed=2))
    (checkout.folder / "own.yaml").write_text(OWN)
    predictions = "results/mine/predictions/colour_ridge/P2"
    checkout.snakemake(predictions, configfile="own.yaml", check=True)

    predicted = anndata.read_h5ad(checkout.folder / predictions / "S2.h5ad")
    assert predicted.shape == (len(own.grid()), 4) and predicted.uns["patient"] == "P2"
    row = json.loads((checkout.folder / "results/data/mine/sections/S2.json").read_text())
    assert row["sha256_counts"] == hashlib.sha256((own.folder / "S2.h5ad").read_bytes()).hexdigest()
    assert not (checkout.folder / "results/data/mine/raw").exists()
    assert checkout.jobs(predictions, configfile="own.yaml") == set()

    own.write_counts("S1", own.counts(7))
    again = checkout.jobs(predictions, configfile="own.yaml")
    assert ("read_section", "cohort=mine, section=S1") in again
    assert ("train_quick", "experiment=mine, method=colour_ridge") in again
    assert ("read_section", "cohort=mine, section=S2") not in again


def recounted(adata: anndata.AnnData, seed: int) -> None:
    """Counts of its own: one measurement under two names would stop the run."""
    adata.X = sparse.csr_matrix(np.random.default_rng(seed).poisson(5, adata.shape).astype(np.float32))


@pytest.mark.slow
def test_the_same_counts_under_two_patients_stop_the_run(fresh) -> None:
    """With other names for spots and genes' order, and another image: before anything is trained."""
    checkout = fresh("twins")
    own = OwnCohort(checkout.folder / "own")

    def renamed(adata: anndata.AnnData) -> anndata.AnnData:
        adata.obs_names = [f"AAAC{number:04d}-1" for number in range(adata.n_obs)]
        return adata[:, ::-1].copy()

    own.use_anndata("S2", renamed)
    (checkout.folder / "own.yaml").write_text(OWN)
    done = checkout.snakemake("results/mine/models/colour_ridge/P2/weights.pt", configfile="own.yaml")
    assert done.returncode != 0 and "Traceback" not in done.stdout
    assert re.search(
        r"leakage audit, counts .*section S1 of patient P1 and section S2 of patient P2", done.stdout
    )
    assert not (checkout.folder / "results/mine/models").exists()


def strewn(adata: anndata.AnnData, seed: int) -> None:
    """Spots without an array: positions are only in obsm, as of beads or of cells put together."""
    rng = np.random.default_rng(seed)
    adata.X = sparse.csr_matrix(rng.poisson(5, adata.shape).astype(np.float32))
    adata.obs = adata.obs[["region"]]
    adata.obsm["spatial"] = rng.uniform([130, 140], [510, 520], (len(adata), 2))


@pytest.mark.slow
def test_spots_without_an_array_go_through_the_workflow(fresh) -> None:
    """Only pixels and a declared scale: sections, patches, predictions, and scores that need neighbours."""
    checkout = fresh("irregular")
    own = OwnCohort(checkout.folder / "own")
    for seed, section in enumerate(("S1", "S2")):
        own.use_anndata(section, functools.partial(strewn, seed=seed))
        own.row(section)["um_per_px"] = "3.0"
    own.write_table()
    (checkout.folder / "own.yaml").write_text(
        OWN.replace("    pitch_um: 200\n", "").replace(
            "methods: {colour_ridge: {window: null}}",
            "methods: {colour_ridge: {window: null}, neighbour_mean: }",
        )
    )
    targets = [f"results/mine/metrics/{method}" for method in ("colour_ridge", "neighbour_mean")]
    checkout.snakemake(*targets, configfile="own.yaml", check=True)
    for method in ("colour_ridge", "neighbour_mean"):
        predicted = anndata.read_h5ad(checkout.folder / f"results/mine/predictions/{method}/P2/S2.h5ad")
        assert predicted.shape == (len(own.grid()), 4) and np.isfinite(predicted.X).all()
    section = anndata.read_h5ad(checkout.folder / "results/data/mine/sections/S2.h5ad")
    assert section.uns["grid"] == "irregular" and section.uns["um_per_px"] == 3.0
    scores = pd.concat(map(pd.read_parquet, (checkout.folder / targets[0]).glob("*.parquet")))
    smoothed = scores.loc[scores["metric"] == "pearson_smoothed", "value"]
    assert len(smoothed) and np.isfinite(smoothed).all()

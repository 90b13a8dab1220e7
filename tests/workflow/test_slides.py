"""Slides that a test writes are predicted, compared with bulk expression, mapped and shown in the report."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from pathlib import Path

import anndata
import cv2
import numpy as np
import openslide
import pandas as pd
import pytest
import tifffile
from scipy.spatial import cKDTree
from scipy.stats import spearmanr
from unit import simulated_study
from unit.visium_files import write_matrix, write_positions

from histobench.cohorts.simulation import image as simulate_image
from histobench.cohorts.simulation import tissue as simulate_tissue
from histobench.cohorts.simulation.simulate import SimulationSettings, latent_at_spots, patient_of

pytestmark = pytest.mark.slow

PX, UM = simulated_study.PX, simulated_study.SETTINGS.um_per_px
ACROSS = 6  # tiles of a slide in each direction
SHARES = (0.25, 0.75, 0.5, 1.0, 0.0)  # of tumour, by patient
STUDY = replace(simulated_study.SETTINGS, n_patients=5)
OTHER = "P5_1"  # its tissue is on the slides; no model is trained on it
CONFIG = """\
run: [slides_only]
device: cpu
mirrors: {{tcga_brca: [mirror]}}
cohorts:
  simulated: {{options: {options}}}
  tcga_brca:
    table: manifest.tsv
    options:
      um_per_px: {um}
      width_px: {px}
      groups: {{tumour: {tumour}, immune: {immune}}}
  block:
    title: A Visium block
    origin: local
    reader: histobench.cohorts.readers.table_cohort:read_section
    table: block.tsv
    options: {{genes: any, grid: square}}
    pitch_um: 200
    spot_um: 100
experiments:
  slides_only:
    title: Trained on simulated tissue
    cohort: simulated
    sections: [P1_1, P2_1, P3_1]
    folds: {{scheme: train_all}}
    panel: {{size: 40}}
    patches: {{um_per_px: {um}, width_px: {px}}}
    weights: none
    methods: {{colour_ridge: }}
    external: [{{cohort: tcga_brca}}, {{cohort: block}}]
slides:
  biopsy: {{image: block.tif, experiment: slides_only, method: colour_ridge, um_per_px: {twice}}}
"""


def write_pyramid(path: Path, pixels: np.ndarray, um_per_px: float | None = None) -> None:
    """A tiled pyramid of JPEG tiles; with a scale, as an Aperio scanner states it."""
    with tifffile.TiffWriter(path) as writer:
        for number, level in enumerate((pixels, pixels[::4, ::4])):
            said = f"Aperio Image Library v11.2.1\n{level.shape[1]}x{level.shape[0]} |MPP = {um_per_px}"
            writer.write(
                np.ascontiguousarray(level),
                tile=(128, 128),
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": 95},
                subfiletype=0 if um_per_px else int(number > 0),
                description=said if um_per_px else None,
                metadata=None,
            )
    slide = openslide.OpenSlide(path)
    assert slide.dimensions == pixels.shape[1::-1] and slide.level_count == 2
    assert slide.properties["openslide.vendor"] == ("aperio" if um_per_px else "generic-tiff")


def write_counts(path: Path, genes, counts) -> None:
    lines = ["# gene-model: GENCODE v36", "gene_id\tgene_name\tgene_type\tunstranded"]
    lines += [f"N_{what}\t\t\t7" for what in ("unmapped", "multimapping", "noFeature", "ambiguous")]
    lines += [f"ENSG{n:011d}.1\t{g}\tcoding\t{c}" for n, (g, c) in enumerate(zip(genes, counts, strict=True))]
    path.write_text("\n".join(lines) + "\n")


def write_cohort(folder: Path, tissue, genes) -> None:
    """Frozen slides of patients with more and more tumour, scanned at twice the scale, with bulk expression.

    Tumour fills the tiles from the left and stroma the rest, so that a map shows where one ends. A mirror has the
    files of the first patient; those of the others lie where a download would have put them.
    """
    rng = np.random.default_rng(5)
    latent = latent_at_spots(STUDY, OTHER)
    pure = {kind: np.argsort(latent[kind].to_numpy())[-20:] for kind in ("tumour", "stroma")}
    places = [folder / "mirror", folder / "results/data/tcga_brca/raw"]
    for place in places:
        place.mkdir(parents=True)
    rows = ["id\tfilename\tmd5\tsize\tstate\tpatient\tsample_type"]
    for n, share in enumerate(SHARES):
        number = round(share * ACROSS**2)
        spots = np.concatenate(
            [rng.choice(pure["tumour"], number), rng.choice(pure["stroma"], ACROSS**2 - number)]
        )
        place = places[n > 0]
        tiles = np.asarray(tissue.patches[spots]).reshape(ACROSS, ACROSS, PX, PX, 3)
        # the first spots make the first columns
        picture = tiles.transpose(1, 2, 0, 3, 4).reshape(ACROSS * PX, ACROSS * PX, 3)
        twice = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
        twice = np.pad(twice, ((2 * PX, 2 * PX), (2 * PX, 2 * PX), (0, 0)), constant_values=245)
        patient = f"TCGA-A{n}-A{n}00"
        names = (f"{patient}-01A-01-TS1.aa.svs", f"{patient}.tsv")
        write_pyramid(place / names[0], twice, UM / 2)
        total = np.asarray(tissue.counts[spots].sum(axis=0)).ravel()
        write_counts(place / names[1], genes, rng.poisson(50 * total))
        for kind, name in enumerate(names):
            content = (place / name).read_bytes()
            fixed = f"{hashlib.md5(content).hexdigest()}\t{len(content)}\treleased"
            rows.append(f"i{n}{kind}\t{name}\t{fixed}\t{patient}\tPrimary Tumor")
    (folder / "manifest.tsv").write_text("\n".join(rows) + "\n")


def write_block(folder: Path, tissue, genes, pixels: np.ndarray) -> None:
    """A section as Space Ranger writes it, over a pyramid at half the pixels of the training's images."""
    small = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    write_pyramid(folder / "block.tif", small)
    outs = folder / "outs"
    (outs / "spatial").mkdir(parents=True)
    spots = tissue.spots
    codes = [f"BC{n:03d}-1" for n in range(len(spots))]
    places = [
        (code, 1, round(s.array_y), round(s.array_x), s.pixel_y / 2, s.pixel_x / 2)
        for code, s in zip(codes, spots.itertuples(), strict=True)
    ]
    write_positions(outs / "spatial" / "tissue_positions.csv", places, header=True)
    ids = [f"ENSG{n:011d}" for n in range(len(genes))]
    write_matrix(outs / "filtered_feature_bc_matrix.h5", tissue.counts.toarray(), codes, genes, ids)
    row = {"section": "S1", "patient": "Block", "image": "block.tif", "counts": "outs", "positions": ""}
    pd.DataFrame([row]).to_csv(folder / "block.tsv", sep="\t", index=False)


@pytest.fixture(scope="module")
def done(fresh):
    """A finished run over slides and a Visium block; and the tissue on them."""
    checkout = fresh("slides")
    _, (tissue,), context, _ = simulated_study.study()
    assert tissue.section == OTHER
    patient = patient_of(STUDY, OTHER)
    pixels = simulate_image.draw_image(
        STUDY, patient, OTHER, simulate_tissue.grow_tissue(STUDY, patient, OTHER)
    )
    write_cohort(checkout.folder, tissue, context.all_genes)
    write_block(checkout.folder, tissue, context.all_genes, pixels)
    standard = asdict(SimulationSettings())
    options = {key: value for key, value in asdict(STUDY).items() if value != standard[key]}
    groups = {"tumour": ["TUMOUR-01", "TUMOUR-03"], "immune": ["STROMA-01", "STROMA-03"]}
    (checkout.folder / "slides.yaml").write_text(
        CONFIG.format(options=options, um=UM, px=PX, twice=2 * UM, **groups)
    )
    run = checkout.snakemake(
        "slides",
        "results/slides_only/figures/slide_maps.svg",
        "results/slides_only/external/block/metrics/colour_ridge",
        configfile="slides.yaml",
        check=True,
    )
    return checkout, run.stdout, tissue, groups


def test_pseudobulk_of_slides_recovers_the_order_of_patients(done):
    checkout, _, _, groups = done
    assert {"download_file", "predict_tiles", "compare_pseudobulk", "tabulate_slides", "predict_slide"} <= {
        folder.name for folder in (checkout.folder / "results/logs").iterdir()
    }
    branch = checkout.folder / "results/slides_only/external/tcga_brca"
    genes = pd.read_csv(branch / "pseudobulk/colour_ridge/genes.tsv", sep="\t").set_index("gene")
    long = pd.read_csv(branch / "pseudobulk/colour_ridge/patients.tsv", sep="\t")
    order = {f"TCGA-A{n}-A{n}00": share for n, share in enumerate(SHARES)}
    for side in ("predicted", "bulk"):
        means = long[long["gene"].isin(groups["tumour"])].groupby("patient")[side].mean()
        r = spearmanr(means, [order[patient] for patient in means.index]).statistic
        # bulk has noise of its own
        assert r > (0.99 if side == "predicted" else 0.85), side
    seen = genes[genes.index.str.startswith(("TUMOUR", "STROMA"))]
    null = genes[genes.index.str.startswith("NULL")]
    print(seen["spearman"].median(), seen["pearson"].median(), null["spearman"].median())
    assert len(seen) == 8 and seen["spearman"].median() >= 0.9 and seen["pearson"].median() > 0.9
    assert null["spearman"].median() < 0.7
    (row,) = pd.read_csv(branch / "tables/pseudobulk.tsv", sep="\t").to_dict("records")
    assert row["method"] == "colour_ridge" and row["n_patients"] == 5
    assert row["n_genes"] == len(genes) and row["n_not_measured"] == 0


def test_maps_show_where_the_tumour_lies(done):
    checkout, _, _, _ = done
    home = checkout.folder / "results/slides_only"
    table = pd.read_csv(home / "tables/figures/slide_maps.tsv", sep="\t")
    assert table["slide"].nunique() == 4 and (table["width"] == 2 * PX).all()
    # half of the third patient's six columns are tumour
    own = table[table["slide"] == "TCGA-A2-A200-01A-01-TS1"]
    column = (own["left"] - 2 * PX) // (2 * PX)
    tumour = own.assign(column=column).groupby("column")["tumour"].mean()
    assert tumour[tumour.index < 3].min() > tumour[tumour.index > 2].max() + 1
    (tested,) = pd.read_csv(home / "external/tcga_brca/tables/slide_colocation.tsv", sep="\t").to_dict(
        "records"
    )
    assert tested["n_patients"] == 5 and tested["difference"] < -0.5
    assert "no p" in (home / "figures/slide_maps.txt").read_text()


def test_a_visium_block_on_a_pyramid_is_predicted(done):
    checkout, _, tissue, _ = done
    branch = checkout.folder / "results/slides_only/external/block"
    predicted = anndata.read_h5ad(branch / "predictions/colour_ridge/all/S1.h5ad")
    assert predicted.n_obs == len(tissue.spots)
    scores = pd.read_parquet(branch / "metrics/colour_ridge/all.parquet")
    r = scores[scores["metric"] == "pearson"]
    r = r[r["section"] == "S1"].set_index("gene")["value"]
    seen, null = (r[r.index.str.startswith(kind)].mean() for kind in ("STROMA", "NULL"))
    print(seen, null)
    assert seen > 0.25 and abs(null) < 0.1


def test_a_slide_of_ones_own_is_predicted_by_the_rule(done):
    checkout, _, tissue, _ = done
    table = anndata.read_h5ad(checkout.folder / "results/slides/biopsy.h5ad")
    assert cv2.imread(str(checkout.folder / "results/slides/biopsy.png")).std() > 5
    spots = tissue.spots[["pixel_x", "pixel_y"]].to_numpy() / 2
    distance, nearest = cKDTree(table.obsm["spatial"]).query(spots)
    near = distance < 100 / (2 * UM)
    assert near.mean() > 0.9
    genes = [gene for gene in table.var_names if gene.startswith("STROMA")]
    truth = tissue.counts.toarray()[near]
    shares = truth / truth.sum(axis=1, keepdims=True)
    _, _, context, _ = simulated_study.study()
    r = [
        np.corrcoef(shares[:, context.all_genes.index(g)], table[nearest[near], g].X.ravel())[0, 1]
        for g in genes
    ]
    print(np.mean(r))
    assert np.mean(r) > 0.2

"""Slides with a planted share of tumour: pseudo-bulk recovers the order of patients, null genes do not."""

from __future__ import annotations

import cv2
import numpy as np
import openslide
import pandas as pd
import pytest
import tifffile
from unit import simulated_study

from histobench.errors import UserError
from histobench.files import read_table, write_json, write_table
from histobench.slides.pseudobulk import (
    bulk_expression,
    classify_subtypes,
    colocation_table,
    compare_genes,
    patient_means,
    read_subtypes,
    write_pseudobulk,
)
from histobench.slides.tiles import centre_field, predict_tiles

PX, UM = simulated_study.PX, simulated_study.SETTINGS.um_per_px
pytestmark = pytest.mark.slow

N = 24  # patients
ACROSS = 8  # tiles of a slide in each direction


def write_slide(path, tiles):
    """A true pyramid, as a scanner of twice the scale writes it: tissue in the middle, glass around it."""
    rows = [np.hstack(tiles[r * ACROSS : (r + 1) * ACROSS]) for r in range(ACROSS)]
    tissue = cv2.resize(np.vstack(rows), None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    margin = 2 * PX
    whole = np.pad(tissue, ((margin, margin), (margin, margin), (0, 0)), constant_values=245)
    with tifffile.TiffWriter(path) as writer:
        for level in (whole, whole[::4, ::4]):
            writer.write(
                np.ascontiguousarray(level),
                tile=(128, 128),
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": 95},
                description=f"Aperio Image Library v11.2.1\n{level.shape[1]}x{level.shape[0]} |MPP = {UM / 2}",
                metadata=None,
            )


def write_counts(path, genes, counts):
    """A file of the GDC."""
    lines = ["# gene-model: GENCODE v36", "gene_id\tgene_name\tgene_type\tunstranded"]
    lines += [f"N_{what}\t\t\t7" for what in ("unmapped", "multimapping", "noFeature", "ambiguous")]
    lines += [
        f"ENSG{n:011d}.1\t{g}\tprotein_coding\t{c}"
        for n, (g, c) in enumerate(zip(genes, counts, strict=True))
    ]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A model of four simulated patients, and slides of others' tissue with more and more tumour."""
    folder = tmp_path_factory.mktemp("slides")
    entry = "histobench.methods.colour_ridge:ColourRidge"
    method, _ = simulated_study.fit(entry, {})
    _, (test,), context, planted = simulated_study.study()
    model = folder / "model"
    model.mkdir()
    method.save(model)
    write_json(
        {
            "entry": entry,
            "params": {},
            "needs": {"patches": True},
            "genes": list(context.genes),
            "window": None,
            "weights": "none",
            "image": {"stain": "raw", "stain_reference": None, "width_px": PX, "um_per_px": UM},
        },
        model / "run.json",
    )
    rng = np.random.default_rng(5)
    tumour, other = (np.flatnonzero(test.labels == label) for label in (1, 0))
    share = rng.permutation(np.linspace(0, 1, N))
    tiles, counts = {}, {}
    for n in range(N):
        number = round(share[n] * ACROSS**2)
        spots = np.concatenate([rng.choice(tumour, number), rng.choice(other, ACROSS**2 - number)])
        rng.shuffle(spots)
        write_slide(folder / f"s{n}.svs", [np.asarray(test.patches[s]) for s in spots])
        predict_tiles(
            model, folder / f"s{n}.svs", folder / f"s{n}.parquet", um_per_px=UM, width_px=PX, device="cpu"
        )
        total = np.asarray(test.counts[spots].sum(axis=0)).ravel()
        write_counts(folder / f"p{n}.tsv", context.all_genes, rng.poisson(50 * total))
        tiles[f"s{n}"] = folder / f"s{n}.parquet"
        counts[f"p{n}"] = folder / f"p{n}.tsv"
    return folder, tiles, counts, {f"s{n}": f"p{n}" for n in range(N)}, share, context, planted


def test_the_slides_are_true_pyramids_and_only_tissue_is_predicted(study):
    folder, tiles, *_ = study
    slide = openslide.OpenSlide(folder / "s0.svs")
    assert slide.level_count == 2 and slide.properties["openslide.vendor"] == "aperio"
    table = read_table(tiles["s0"])
    # tiles and tissue lie on one grid: no tile is glass, and what is left out of the tissue is mostly white fat
    assert 0.7 * ACROSS**2 < len(table) <= ACROSS**2
    places = table[["left", "top"]].to_numpy()
    assert places.min() == 2 * PX and places.max() == 2 * PX * ACROSS


def test_pseudobulk_recovers_the_order_of_patients(study, tmp_path):
    _, tiles, counts, patients, share, context, _ = study
    names = ("genes", "patients", "subtypes", "colocation")
    out = {f"output_{name}": tmp_path / f"{name}.tsv" for name in names}
    write_table(
        pd.DataFrame({"patient": list(counts), "subtype": np.where(share > 0.5, "dense", "loose")}),
        tmp_path / "kinds.tsv",
    )
    write_pseudobulk(
        tiles=tiles, counts=counts, patients=patients, subtypes_tsv=tmp_path / "kinds.tsv", name="x", **out
    )
    genes = read_table(out["output_genes"]).set_index("gene")
    assert set(genes.index) == set(context.genes)
    # genes of compartments whose share is planted and whose colour is their own; nine colour moments do not tell
    # lymphocytes from tumour
    seen = genes[genes.index.str.startswith(("FAT", "STROMA", "TUMOUR-03"))]
    null = genes[genes.index.str.startswith("NULL")]
    print(seen["spearman"], null["spearman"].abs().median())
    assert seen["spearman"].median() > 0.6 and (seen["q_bh"] < 0.05).sum() >= 4
    assert null["spearman"].abs().median() < 0.35
    long = read_table(out["output_patients"])
    assert len(long) == N * len(genes)
    told = read_table(out["output_subtypes"]).set_index("features")
    assert set(told.index) == {"predicted", "bulk", "features"} and (told["n_test"] == 8).all()
    assert (told["auroc"] > 0.8).all(), told
    assert read_table(out["output_colocation"]).empty  # simulated genes bear no names of real ones


def test_genes_that_cannot_be_compared_are_listed(study):
    _, tiles, counts, patients, *_ = study
    predicted = patient_means(tiles, patients)
    predicted.columns = [column.removeprefix("gene.") for column in predicted]
    bulk = bulk_expression(counts)
    first, second, third = predicted.columns[:3]
    bulk[second] = 1.0
    predicted[third] = 2.0
    table = compare_genes(predicted, bulk.drop(columns=first)).set_index("gene")
    assert table.loc[first, "reason"] == "not_measured" and np.isnan(table.loc[first, "pearson"])
    assert table.loc[second, "reason"] == "constant_bulk"
    assert table.loc[third, "reason"] == "constant_prediction" and table.loc[third, "pearson"] == 0
    with pytest.raises(UserError, match="2 patients have both slides and expression"):
        compare_genes(predicted, bulk.iloc[:2])


def test_few_patients_of_a_kind_are_said_not_guessed():
    table = pd.DataFrame({"a": range(10)}, index=[f"p{n}" for n in range(10)])
    told = classify_subtypes({"x": table}, {f"p{n}": "ab"[n < 5] for n in range(10)})
    assert list(told["reason"]) == ["fewer than 8 patients of a kind"] and told["auroc"].isna().all()


def test_tumour_and_immune_genes_apart(tmp_path):
    rng = np.random.default_rng(0)
    tumour, immune = rng.normal(size=(2, 200))
    table = pd.DataFrame({"left": 0, "gene.AEBP1": tumour, "gene.BGN": 2 * tumour, "gene.PABPC1": immune})
    write_table(table, tmp_path / "s.parquet")
    (row,) = colocation_table({"s": tmp_path / "s.parquet"}, {"s": "p"}).to_dict("records")
    assert row["within"] == pytest.approx(1) and abs(row["between"]) < 0.3 and row["n_tiles"] == 200


def test_a_tile_shows_its_middle_at_the_scale_of_the_training():
    tile = np.zeros((1, 512, 512, 3), np.uint8)
    tile[:, 128:384, 128:384] = 200
    look = {"um_per_px": 1.0, "width_px": 128}
    assert (centre_field(tile, 0.5, look) == 200).all()
    with pytest.raises(UserError, match="tiles of 256 µm are smaller than the 300 µm"):
        centre_field(tile, 0.5, {"um_per_px": 1.0, "width_px": 300})


BAD_SUBTYPES = {
    "other columns": ("Patient\tPAM50\nP1\tx\n", "column `patient` is missing, found Patient, PAM50"),
    "commas": ("patient,subtype\nP1,x\n", "column `patient` is missing"),
    "a patient of two kinds": ("patient\tsubtype\nP1\tx\nP1\ty\n", "patient P1 is both x and y"),
    "samples": ("patient\tsubtype\nP1-01A\tx\n", "none of its 1 patients is one of the cohort's \\(P1, P2"),
}


@pytest.mark.parametrize("kind", list(BAD_SUBTYPES))
def test_a_table_of_subtypes_that_means_nothing_is_refused(tmp_path, kind):
    text, says = BAD_SUBTYPES[kind]
    (tmp_path / "kinds.tsv").write_text(text)
    with pytest.raises(UserError, match=says):
        read_subtypes(tmp_path / "kinds.tsv", ["P1", "P2"])


def test_blanks_make_no_second_subtype(tmp_path):
    (tmp_path / "kinds.tsv").write_text("patient\tsubtype\nP1\tx \nP2\tx\n P3\tx\nP4\t\nP1\tx\n")
    assert read_subtypes(tmp_path / "kinds.tsv", ["P1", "P2"]) == {"P1": "x", "P2": "x", "P3": "x"}

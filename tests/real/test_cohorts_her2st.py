"""The HER2+ cohort as published: joins, labels, scale and tables on all 36 sections.

Expected numbers were counted independently from the published files (rows of the tables, unions of gene
names, spots that round to one another) and from the sizes of the images.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import sparse

from histobench.cohorts.depth_map import depth_map, likeness
from histobench.cohorts.fetch.lock import checksum_of, load_lock, split_checksum
from histobench.cohorts.identity import compare_sections
from histobench.cohorts.readers.her2st import read_labels, read_warp
from histobench.cohorts.readers.legacy_st import read_counts
from histobench.cohorts.section import write_section
from histobench.cohorts.table import align_counts, load_section, write_cohort_table, write_gene_table

# section: spots, rows of the spot file, genes, genes without any count, median UMI
SECTIONS = {
    "A1": (346, 348, 15045, 513, 4291.0),
    "A2": (325, 325, 15526, 479, 7982.0),
    "A3": (359, 360, 15517, 574, 6836.0),
    "A4": (343, 344, 15583, 590, 6591.0),
    "A5": (332, 333, 15638, 795, 6958.0),
    "A6": (360, 361, 15645, 658, 5990.5),
    "B1": (295, 295, 15109, 457, 1367.0),
    "B2": (270, 270, 15290, 447, 961.5),
    "B3": (298, 299, 15215, 587, 869.5),
    "B4": (283, 284, 15289, 668, 648.0),
    "B5": (289, 290, 15273, 641, 1477.0),
    "B6": (277, 278, 15387, 639, 1173.0),
    "C1": (176, 177, 15557, 400, 7675.0),
    "C2": (187, 187, 15706, 512, 8508.0),
    "C3": (180, 182, 15821, 555, 9549.0),
    "C4": (184, 187, 15842, 575, 10190.5),
    "C5": (181, 183, 15721, 562, 10015.0),
    "C6": (178, 179, 15772, 577, 12427.5),
    "D1": (306, 309, 15661, 360, 6797.5),
    "D2": (303, 305, 15396, 404, 4527.0),
    "D3": (301, 303, 15529, 441, 4869.0),
    "D4": (302, 303, 15503, 516, 4310.0),
    "D5": (306, 309, 15666, 501, 4923.0),
    "D6": (315, 318, 15409, 465, 4741.0),
    "E1": (587, 587, 15701, 816, 1962.0),
    "E2": (572, 572, 15167, 512, 3201.5),
    "E3": (570, 570, 15097, 458, 3171.5),
    "F1": (691, 691, 14861, 317, 3391.0),
    "F2": (695, 695, 15041, 299, 3543.0),
    "F3": (712, 712, 15067, 395, 3663.5),
    "G1": (441, 441, 14992, 311, 1587.0),
    "G2": (467, 467, 15258, 360, 1827.0),
    "G3": (463, 463, 15035, 423, 1468.0),
    "H1": (613, 613, 15029, 427, 1299.0),
    "H2": (603, 603, 14907, 244, 1559.0),
    "H3": (510, 510, 14873, 636, 1055.5),
}
PATIENTS = {"A": 2065, "B": 1712, "C": 1086, "D": 1833, "E": 1729, "F": 2098, "G": 1371, "H": 1726}

# Annotated sections: rows of the table, rows without coordinates, and labels over all its rows with them.
WORDS = (
    "invasive cancer",
    "cancer in situ",
    "breast glands",
    "connective tissue",
    "adipose tissue",
    "immune infiltrate",
    "undetermined",
)
ANNOTATED = {
    "A1": (348, 0, (284, 21, 0, 24, 12, 2, 5)),
    "B1": (295, 0, (63, 0, 41, 95, 70, 0, 26)),
    "C1": (177, 0, (128, 0, 0, 37, 3, 0, 9)),
    "D1": (309, 0, (140, 0, 0, 111, 0, 7, 51)),
    "E1": (587, 0, (340, 0, 0, 17, 0, 177, 53)),
    "F1": (692, 1, (577, 0, 0, 56, 0, 26, 32)),
    "G2": (475, 8, (140, 20, 17, 110, 98, 17, 65)),
    "H1": (613, 0, (90, 97, 39, 169, 112, 23, 83)),
}
LABELLED = {"A1": 346, "B1": 295, "C1": 176, "D1": 306, "E1": 587, "F1": 691, "G2": 467, "H1": 613}

# Transferred: registered spots, those within a pitch, tumour, not tumour, undetermined.
TRANSFERRED = {
    "A2": (323, 323, 288, 31, 4),
    "B4": (222, 220, 51, 149, 20),
    "C2": (185, 184, 137, 39, 8),
    "C3": (179, 175, 127, 38, 10),
    "C4": (184, 181, 128, 45, 8),
    "C5": (179, 177, 126, 41, 10),
    "C6": (176, 173, 126, 38, 9),
}
IMAGES = {
    "B4": (9272, 9923),
    "C2": (9274, 9911),
    "C3": (9270, 9936),
    "C4": (9278, 9916),
    "C5": (9272, 9901),
    "C6": (9288, 9907),
}


def configuration(project: Path, cohort: str) -> dict[str, Any]:
    return yaml.safe_load((project / "config" / "cohorts" / f"{cohort}.yaml").read_text())


def section_files(config: dict[str, Any], section: str, root: Path) -> dict[str, str]:
    files = {}
    for kind, template in config["files"].items():
        try:
            files[kind] = str(root / template.format(section=section, **config["sections"][section]))
        except KeyError:
            continue
    return files


def store(config: dict[str, Any], section: str, root: Path, folder: Path) -> None:
    record = config["sections"][section]
    write_section(
        reader=config["reader"],
        cohort="her2st",
        section=section,
        record=record,
        files=section_files(config, section, root),
        options=config.get("options", {}),
        output_h5ad=folder / f"{section}.h5ad",
        output_json=folder / f"{section}.json",
        pitch_um=config["pitch_um"],
        spot_um=config["spot_um"],
        alias=config["aliases"].get(record["patient"], ""),
    )


@pytest.fixture(scope="module")
def stored(shared_data: Path, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 36 sections without images, and their tables."""
    folder = tmp_path_factory.mktemp("her2st")
    config = configuration(project, "her2st_counts")
    for section in config["sections"]:
        store(config, section, shared_data / "her2st", folder)
    write_cohort_table([folder / f"{s}.json" for s in config["sections"]], folder / "sections.tsv")
    write_gene_table([folder / f"{s}.h5ad" for s in config["sections"]], folder / "genes.tsv")
    return folder


@pytest.fixture(scope="module")
def table(stored: Path) -> pd.DataFrame:
    return pd.read_csv(stored / "sections.tsv", sep="\t", keep_default_na=False, na_values=[""]).set_index(
        "section"
    )


@pytest.mark.slow
def test_joins_of_all_sections(table: pd.DataFrame, stored: Path) -> None:
    assert list(table.index) == list(SECTIONS)
    for section, (spots, rows, genes, silent, median) in SECTIONS.items():
        row = table.loc[section]
        assert row["n_spots_raw"] == spots
        assert row["n_spots_raw"] + row["dropped_no_counts"] == rows
        assert row["n_genes"] == genes
        counts = load_section(stored / f"{section}.h5ad").X
        assert int((np.asarray(counts.sum(axis=0)) == 0).sum()) == silent
        if section != "D5":  # the published median includes its spot without transcripts
            assert row["median_umi"] == median
    assert table["n_spots_raw"].sum() == 13_620
    assert table.groupby("patient")["n_spots_raw"].sum().to_dict() == PATIENTS
    assert table["dropped_no_counts"].sum() == 33
    for reason in ("no_position", "not_selected", "outside_image"):
        assert table[f"dropped_{reason}"].sum() == 0


@pytest.mark.slow
def test_the_one_spot_without_transcripts_is_listed(table: pd.DataFrame, stored: Path) -> None:
    assert table["dropped_zero_umi"].sum() == 1
    assert table.loc["D5", "dropped_spots"] == "18x20 (zero_umi)"
    assert table.loc["D5", "n_spots_kept"] == 305 and table["n_spots_kept"].sum() == 13_619
    assert "18x20" not in load_section(stored / "D5.h5ad").obs_names


@pytest.mark.slow
def test_depth_of_all_spots(stored: Path) -> None:
    umi = np.concatenate(
        [np.asarray(load_section(stored / f"{s}.h5ad").X.sum(axis=1)).ravel() for s in SECTIONS]
    )
    # 33, 63 and 1,954 of 13,620 spots, of which the one without transcripts is not stored
    assert [int((umi < limit).sum()) + 1 for limit in (10, 200, 1000)] == [33, 63, 1954]


@pytest.mark.slow
def test_genes(stored: Path, project: Path) -> None:
    genes = pd.read_csv(stored / "genes.tsv", sep="\t", keep_default_na=False).set_index("gene")
    assert len(genes) == 18_758 and genes.index.is_monotonic_increasing and genes.index.is_unique
    assert (genes["n_sections"] == 36).sum() == 11_871
    in_spots = pd.Series(0, index=genes.index)
    for section in SECTIONS:
        if section not in ("A1", "H1", "H2", "H3"):  # the 32 sections of which 7,877 was counted
            adata = load_section(stored / f"{section}.h5ad")
            in_spots[adata.var_names] += np.bincount(adata.X.indices, minlength=adata.n_vars)
    assert (in_spots >= 1000).sum() == 7_877
    panel = (project / "resources" / "panels" / "histogene_her2_785.txt").read_text().split()
    assert len(panel) == 785 and (genes.loc[panel, "n_sections"] == 36).all()
    section = load_section(stored / "B4.h5ad")
    aligned = align_counts(section, list(genes.index))
    assert aligned.shape == (283, 18_758) and aligned.sum() == section.X.sum()


@pytest.mark.slow
def test_pathologist_labels(table: pd.DataFrame, shared_data: Path, stored: Path) -> None:
    folder = shared_data / "her2st" / "data" / "ST-pat" / "lbl"
    for section, (rows, without, words) in ANNOTATED.items():
        labels = read_labels(folder / f"{section}_labeled_coordinates.tsv")
        assert len(labels.by_spot) + labels.no_coordinates == rows and labels.no_coordinates == without
        assert tuple((labels.by_spot == word).sum() for word in WORDS) == words
        row = table.loc[section]
        assert row["label_source"] == "pathologist" and row["n_labelled"] == LABELLED[section]
        assert row["n_labelled"] == row["n_spots_kept"]  # every spot with counts is labelled
        assert row["dropped_label_no_coordinates"] == without
        obs = load_section(stored / f"{section}.h5ad").obs
        assert row["n_tumour"] == obs["label"].isin(["invasive cancer", "cancer in situ"]).sum()
        assert row["n_labelled"] == row["n_tumour"] + row["n_normal"] + (obs["label"] == "undetermined").sum()
    assert table.loc[list(ANNOTATED), "n_labelled"].sum() == 3_481


@pytest.mark.slow
def test_flooring_positions_would_lose_labels(shared_data: Path, stored: Path) -> None:
    """The published positions are fractional: A1 keeps 236 of 346 labels when they are cut."""
    path = shared_data / "her2st" / "data" / "ST-pat" / "lbl" / "A1_labeled_coordinates.tsv"
    position = pd.read_csv(path, sep="\t")[["x", "y"]]
    floored = [f"{int(x)}x{int(y)}" for x, y in position.to_numpy()]
    spots = load_section(stored / "A1.h5ad").obs_names
    assert spots.isin(floored).sum() == 236
    assert spots.isin(read_labels(path).by_spot.index).sum() == 346


@pytest.mark.slow
def test_transferred_labels(table: pd.DataFrame, shared_data: Path, stored: Path) -> None:
    clusters = shared_data / "her2st" / "res" / "ST-cluster" / "lbl"
    for section, (warped, near, tumour, normal, undetermined) in TRANSFERRED.items():
        row = table.loc[section]
        assert len(read_warp(clusters / f"{section}-cluster-annotation.tsv.gz")) == warped
        assert (row["n_labelled"], row["n_tumour"], row["n_normal"]) == (near, tumour, normal)
        obs = load_section(stored / f"{section}.h5ad").obs
        assert (obs["label"] == "undetermined").sum() == undetermined
        assert set(obs.loc[obs["label"] != "", "label_source"]) == {"transferred"}
    others = table.drop(index=list(ANNOTATED))
    assert (others["label_source"] == "transferred").all()
    assert (others["n_labelled"] / others["n_spots_kept"] > 0.75).all()


@pytest.mark.slow
def test_patients_known_elsewhere_carry_their_alias(table: pd.DataFrame) -> None:
    alias = table.groupby("patient")["patient_alias"].first().fillna("").to_dict()
    assert alias == {
        **dict.fromkeys("ABCD", ""),
        "E": "BC23567",
        "F": "BC23810",
        "G": "BC23903",
        "H": "BC24044",
    }


@pytest.mark.slow
def test_scale_of_all_sections(table: pd.DataFrame) -> None:
    of_a = table["patient"] == "A"
    assert table.loc[of_a, "um_per_px"].between(0.914, 0.922).all()
    assert table.loc[~of_a, "um_per_px"].between(0.684, 0.691).all()
    # Positions of the spot files are the grid, up to rounding; A6 is shifted as a whole, which a fit absorbs.
    assert (table["scale_residual_px"] < 1.0).all()
    flagged = table[table["flag"].notna()]
    assert list(flagged.index) == ["A6"] and flagged["flag"].str.startswith("off the array frame").all()
    # about one pitch (217 px) along each axis
    assert flagged["frame_offset_px"].tolist() == pytest.approx([np.hypot(220, 232)], rel=0.05)
    assert (table["frame_offset_px"].drop("A6") < 10).all()


@pytest.mark.parametrize("section", IMAGES)
def test_sections_with_images(section: str, shared_data: Path, project: Path, tmp_path: Path) -> None:
    root = shared_data / "her2st"
    config = configuration(project, "her2st")
    store(config, section, root, tmp_path)
    write_cohort_table([tmp_path / f"{section}.json"], tmp_path / "sections.tsv")
    row = pd.read_csv(tmp_path / "sections.tsv", sep="\t").iloc[0]
    assert row["um_per_px"] == pytest.approx(0.688, rel=0.01)
    assert (row["image_width"], row["image_height"]) == IMAGES[section]
    assert row["dropped_outside_image"] == 0
    lock = load_lock(project / "resources" / "data_lock.tsv")
    files = {
        kind: str(Path(path).relative_to(root)) for kind, path in section_files(config, section, root).items()
    }
    assert row["sha256_image"] == lock[("her2st", files["image"])].checksum
    assert row["sha256_counts"] == lock[("her2st", files["counts"])].checksum
    # The image is cropped to the frame of the 33 x 35 array, so the pixel follows from the grid position.
    obs = load_section(tmp_path / f"{section}.h5ad").obs
    width, height = IMAGES[section]
    assert np.abs(obs["pixel_x"] - (obs["array_x"] - 1) * width / 32).max() < 1
    assert np.abs(obs["pixel_y"] - (obs["array_y"] - 1) * height / 34).max() < 1


def test_lock_agrees_with_the_files_at_hand(shared_data: Path, project: Path) -> None:
    checked = 0
    for entry in load_lock(project / "resources" / "data_lock.tsv").values():
        path = shared_data / entry.source / entry.file
        if not path.is_file():
            continue
        kind, _ = split_checksum(entry.checksum)
        assert checksum_of(path, kind) == entry.checksum and path.stat().st_size == entry.size
        checked += 1
    assert checked >= 36 * 3 + 8 + 6  # counts, spots, registered positions; annotations; images


def test_parser_agrees_with_pandas_on_a_real_file(shared_data: Path) -> None:
    path = shared_data / "her2st" / "data" / "ST-cnts" / "D5.tsv.gz"
    expected = pd.read_csv(path, sep="\t", index_col=0)
    counts, spots, genes = read_counts(path)
    np.testing.assert_array_equal(counts.toarray(), expected.to_numpy())
    assert list(spots) == list(expected.index) and list(genes) == list(expected.columns)


def test_neighbouring_sections_are_not_taken_for_one(
    shared_data: Path, project: Path, tmp_path: Path
) -> None:
    """F1 and F2 share most spots, and are still told apart by their counts."""
    config = configuration(project, "her2st_counts")
    paths = [tmp_path / f"{section}.h5ad" for section in ("F1", "F2")]
    for path in paths:
        store(config, path.stem, shared_data / "her2st", tmp_path)
    first, second = map(load_section, paths)
    neighbours = compare_sections(first, second)
    assert neighbours.shared_spots > 0.85 and neighbours.correlation < 0.85 and not neighbours.same
    assert compare_sections(first, first[:, 1000:]).same


@pytest.mark.slow
def test_depth_tells_every_pair_of_real_sections_apart_and_finds_a_copy(shared_data: Path) -> None:
    """630 pairs, serial sections of one block among them; the copy lost names, spots, genes and reads."""
    rng = np.random.default_rng(0)
    maps, copies = {}, {}
    for section in SECTIONS:
        counts, spots, _ = read_counts(shared_data / "her2st" / "data" / "ST-cnts" / f"{section}.tsv.gz")
        x, y = np.array([[int(place) for place in spot.split("x")] for spot in spots]).T
        maps[section] = depth_map(x, y, counts)
        thinned = sparse.csr_matrix(
            (rng.binomial(counts.data, 0.5), counts.indices, counts.indptr), counts.shape
        )
        kept = np.flatnonzero(rng.random(len(x)) < 0.7)
        copies[section] = depth_map(y[kept] + 3, 40 - x[kept], thinned[kept][:, ::2])
    pairs = [likeness(maps[a], maps[b])[0] for a, b in itertools.combinations(SECTIONS, 2)]
    assert len(pairs) == 630 and max(pairs) < 0.9
    assert min(likeness(maps[name], copies[name])[0] for name in SECTIONS) > 0.98

"""A user's own cohort: three layouts are read, and every mistake is named with file, row and remedy."""

from __future__ import annotations

import re

import h5py
import imagecodecs
import numpy as np
import pandas as pd
import pytest
from unit.own_cohort import GENES, PITCH, OwnCohort, tissue

from histobench.cli.cohortcheck import check_cohort
from histobench.cli.command import main
from histobench.cohorts.gene_names import check_genes
from histobench.cohorts.readers.table_cohort import read_section
from histobench.cohorts.section import write_section
from histobench.cohorts.sheet import read_sheet
from histobench.cohorts.table import load_section
from histobench.config.benchmark import Benchmark
from histobench.config.tables import SYMBOLS
from histobench.errors import UserError
from histobench.files import read_json

pytestmark = pytest.mark.slow


@pytest.fixture
def own(tmp_path):
    return OwnCohort(tmp_path / "mine")


@pytest.fixture
def check(project, own):
    """Check the cohort as it is now; returns the problems."""

    def run():
        found = check_cohort(own.folder / "mine.yaml", project, own.folder / "drawings")
        assert not any("\n" in text for text in [*found.problems, *found.notes])
        return found

    return run


def only(found):
    assert len(found.problems) == 1, found.problems
    return found.problems[0]


def record_of(own, section):
    return read_sheet(own.folder / "mine.tsv").sections[section]


# -- reading ----------------------------------------------------------------------------------------


def stored(own, section, project, tmp_path, options=None, pitch=200.0):
    record = record_of(own, section)
    files = {kind: record[kind] for kind in ("counts", "positions", "image", "labels") if kind in record}
    write_section(
        reader="histobench.cohorts.readers.table_cohort:read_section", cohort="mine", section=section, record=record,
        files={**files, "symbols": str(project / SYMBOLS)}, options=options or {}, pitch_um=pitch, spot_um=100.0,
        output_h5ad=tmp_path / "s.h5ad", output_json=tmp_path / "s.json",
    )  # fmt: skip
    return load_section(tmp_path / "s.h5ad"), read_json(tmp_path / "s.json")


def test_a_legacy_section(own, project, tmp_path):
    (own.folder / "labels.tsv").write_text("spot\tlabel\n2x3\tcancer\n2x4\tstroma\n9x9\tcancer\n3x3\t\n")
    own.row("S1")["labels"] = "labels.tsv"
    own.write_table(pd.DataFrame(own.rows).fillna(""))
    adata, row = stored(own, "S1", project, tmp_path, {"tumour": ["cancer"], "normal": ["stroma"]})
    expected = own.counts(0)
    assert (adata.X.toarray() == expected.to_numpy()).all() and list(adata.obs_names) == list(expected.index)
    assert adata.var["gene_id"].to_dict() == {"TP53": "ENSG00000141510", **dict.fromkeys(GENES[:5], "")}
    assert adata.obs.loc["2x3", "tumour"] == 1 and adata.obs.loc["2x4", "tumour"] == 0
    assert adata.obs["tumour"].isna().sum() == len(adata) - 2
    assert set(adata.obs["label_source"]) == {"pathologist", "none"}
    assert row["um_per_px"] == pytest.approx(200 / PITCH) and row["dropped_label_no_spot"] == 1
    assert len(row["sha256_counts"]) == len(row["sha256_image"]) == 64


def test_positions_without_measured_ones(own, project, tmp_path):
    own.write_spots("S1", own.spots().drop(columns=["new_x", "new_y", "selected"]))
    adata, _ = stored(own, "S1", project, tmp_path)
    assert list(adata.obs["array_x"][:3]) == [2, 2, 2] and list(adata.obs["array_y"][:3]) == [3, 4, 5]


@pytest.mark.parametrize("header", [True, False])
def test_a_visium_folder(own, project, tmp_path, header):
    own.use_visium("S1", header=header)
    adata, row = stored(own, "S1", project, tmp_path, pitch=100.0)
    assert adata.shape == (64, 4) and row["um_per_px"] == pytest.approx(100 / PITCH)
    assert adata.obs["pixel_x"].iloc[1] == 80 + PITCH and adata.obs["pixel_y"].iloc[1] == 60


def test_an_anndata_file(own, project, tmp_path):
    def layered(adata):
        adata.layers["counts"] = adata.X.copy()
        adata.X = adata.X * 0.37
        adata.obs["in_tissue"] = [1] * (len(adata) - 1) + [0]

    own.use_anndata("S2", layered)
    options = {"layer": "counts", "label": "region", "tumour": ["tumour"]}
    adata, row = stored(own, "S2", project, tmp_path, options)
    assert (adata.X.toarray() == own.counts(0).to_numpy()[:-1]).all() and row["dropped_not_in_tissue"] == 1
    assert (adata.obs["tumour"] == 1).all() and row["um_per_px"] == pytest.approx(200 / PITCH, rel=1e-3)


def test_anndata_with_visium_columns_is_hexagonal(own):
    def renamed(adata):
        adata.obs = adata.obs.rename(columns={"array_x": "array_col", "array_y": "array_row"})

    own.use_anndata("S1", renamed)
    files = {"counts": record_of(own, "S1")["counts"]}
    assert read_section("S1", files, {}).grid == "hexagonal"
    assert read_section("S1", files, {"grid": "square"}).grid == "square"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tumor": ["a"]}, "options: tumor is unknown"),
        ({"genes": "mouse"}, "options.genes is 'mouse', expected one of human, any"),
        ({"tumour": "invasive"}, "options.tumour is 'invasive', expected a list"),
    ],
)
def test_options_are_closed(own, options, words):
    with pytest.raises(UserError, match=re.escape(words)):
        read_section("S1", {"counts": record_of(own, "S1")["counts"]}, options)


# -- in the configuration ---------------------------------------------------------------------------


def bench(project, own, extra="", cohort="table: mine.tsv"):
    path = own.folder / "run.yaml"
    path.write_text(
        f"run: [mine]\n{extra}cohorts:\n  mine:\n    title: Mine\n    origin: local\n    {cohort}\n"
        "    reader: histobench.cohorts.readers.table_cohort:read_section\n    pitch_um: 200\n    spot_um: 100\n"
        "experiments:\n  mine: {title: Mine, cohort: mine, methods: {train_mean: }}\n"
    )
    import yaml

    return Benchmark(yaml.safe_load(path.read_text()), project, [path])


def test_the_table_gives_sections_and_files(project, own):
    made = bench(project, own)
    assert made.experiments["mine"]["sections"] == ["S1", "S2"]
    files = made.section_files("mine", "S2")
    assert files == {
        "counts": str(own.folder / "S2.tsv.gz"),
        "positions": str(own.folder / "S2_spots.tsv"),
        "image": str(own.folder / "S2.jpg"),
    }
    assert made.cohorts["mine"]["resources"] == {"symbols": SYMBOLS}


def test_files_may_lie_in_a_mirror(project, own, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (own.folder / "S2.jpg").rename(tmp_path / "elsewhere/S2.jpg")
    with pytest.raises(UserError, match=r"mine\.tsv: line 3: image names S2\.jpg, which does not exist in "):
        bench(project, own)
    made = bench(project, own, extra=f"mirrors: {{mine: [{tmp_path}/elsewhere]}}\n")
    assert made.section_files("mine", "S2")["image"] == str(tmp_path / "elsewhere/S2.jpg")


@pytest.mark.parametrize(
    ("cohort", "words"),
    [
        ("licence: none", "`origin: local` needs `table`"),
        ("table: mine.tsv\n    files: {counts: a}", "`files` is not used with `table`"),
        ("table: other.tsv", r"other\.tsv: no such table"),
    ],
)
def test_contradictions_in_the_yaml(project, own, cohort, words):
    with pytest.raises(UserError, match=words):
        bench(project, own, cohort=cohort)


# -- checking ---------------------------------------------------------------------------------------


def test_a_clean_cohort_has_no_problem_and_is_drawn(own, check, capsys):
    found = check()
    assert found.problems == [] and found.n_sections == 2
    for section in ("S1", "S2"):
        drawing = imagecodecs.png_decode((own.folder / f"drawings/{section}.png").read_bytes())[..., :3]
        assert drawing.shape[0] > 500 and drawing.shape[1] > 500
        colours = {"column": (0xD5, 0x5E, 0x00), "row": (0x00, 0x72, 0xB2)}
        for colour in colours.values():
            assert (np.abs(drawing.astype(int) - colour).max(axis=2) < 40).sum() > 100
    arguments = ["check-cohort", str(own.folder / "mine.yaml"), "--drawings", str(own.folder / "d")]
    assert main(arguments) == 0
    assert "2 sections checked, no problems." in capsys.readouterr().out


@pytest.mark.slow
def test_every_problem_is_told_not_only_the_first(own, check, capsys):
    counts = own.counts().astype(object)
    counts.iloc[3, 1], counts.iloc[7, 4] = 2.5, -1
    own.write_counts("S1", counts)
    spots = own.spots()
    spots.loc[4, "pixel_x"] = 5000
    own.write_spots("S2", spots)
    own.rows[1]["um_per_px"] = "0.1"
    own.rows.append(own.rows[0] | {"image": "nowhere.jpg"})
    own.write_table(pd.DataFrame(own.rows).fillna(""))
    found = check()
    text = "\n".join(found.problems)
    for words in (
        r"mine\.tsv: line 4: section S1 stands already in line 2",
        r"mine\.tsv: line 4: counts S1\.tsv\.gz are those of line 2",
        r"mine\.tsv: line 4: image names nowhere\.jpg, which does not exist",
        r"S1\.tsv\.gz: line 5, column 3: the count of gene GNAS at spot 2x6 is 2\.5, which is not a whole",
        r"S1\.tsv\.gz: line 9, column 6: the count of gene ERBB2 at spot 3x4 is -1, which is negative",
        r"S2_spots\.tsv: line 6: spot 2x7 lies \d+\.\d pitches from where the array says; correct its position",
        r"mine\.tsv: line 3: .*um_per_px is declared as 0\.1, but the spot grid shows 3\.3",
    ):
        assert re.search(words, text), (words, text)
    outside = (
        r"1 of 42 spots lie outside the image of 700 x 640 pixels .*: 2x7 at pixel \(5000, .*\) in line 6"
    )
    assert any(re.search(outside, note) for note in found.notes)
    assert main(["check-cohort", str(own.folder / "mine.yaml"), "--drawings", str(own.folder / "d")]) == 1
    assert re.search(r"3 sections checked, \d+ problems\.", capsys.readouterr().out)


def test_a_missing_column_of_the_table(own, check):
    own.write_table(pd.DataFrame(own.rows).drop(columns=["image", "positions"]).assign(postions="a"))
    text = "\n".join(check().problems)
    assert "mine.tsv: line 1: column `image` is missing" in text
    assert "mine.tsv: line 1: column `positions` is missing" in text
    assert "mine.tsv: line 1: unknown column `postions`; did you mean `positions`?" in text


def test_a_table_with_commas(own, check):
    pd.DataFrame(own.rows).to_csv(own.folder / "mine.tsv", index=False)
    assert "line 1: the header names one column" in only(check())


@pytest.mark.parametrize("column", ["pixel_x", "x"])
def test_a_missing_column_of_the_positions(own, check, column):
    own.write_spots("S1", own.spots().drop(columns=[column]))
    assert f"S1_spots.tsv: line 1: column {column} is missing" in only(check())


def test_swapped_pixels(own, check):
    spots = own.spots()
    own.write_spots("S1", spots.assign(pixel_x=spots.pixel_y, pixel_y=spots.pixel_x))
    text = only(check())
    assert "S1_spots.tsv: line 2 to 43: pixel_x follows array_y" in text and "swapped; exchange" in text


def test_swapped_x_and_y_in_one_line(own, check):
    spots = own.spots()
    spots.loc[5, ["pixel_x", "pixel_y"]] = spots.loc[5, ["pixel_y", "pixel_x"]].to_numpy()
    own.write_spots("S1", spots)
    text = only(check())
    assert "S1_spots.tsv: line 7: spot 2x8 lies" in text and "swapped" in text


def test_swapped_x_and_y_of_the_array(own, check):
    spots = own.spots()
    own.write_spots("S1", spots.assign(x=spots.y, y=spots.x))
    problems = check().problems
    assert any(
        re.search(r"S1_spots\.tsv: line \d+: .* x and y are swapped; exchange them", p) for p in problems
    )


def test_spot_ids_with_the_row_first(own, check):
    counts = own.counts()
    counts = counts[[name[0] == "2" for name in counts.index]]
    own.write_counts("S1", counts.set_axis(["x".join(reversed(name.split("x"))) for name in counts.index]))
    own.write_spots("S1", own.spots()[lambda table: table.x == 2])
    assert any("x and y are swapped in one of the two files" in problem for problem in check().problems)


def test_a_flipped_axis_and_a_flipped_image(own, check):
    spots = own.spots()
    own.write_spots("S1", spots.assign(pixel_x=700 - spots.pixel_x))
    picture = np.full_like(tissue(9), 245)
    picture[60:330, 60:330] = tissue(9)[60:330, 60:330]  # tissue in the upper left quarter only
    quarter = own.spots()[lambda table: (table.pixel_x < 330) & (table.pixel_y < 330)]
    own.write_spots("S2", quarter)
    own.write_counts("S2", own.counts().loc[[f"{s.x}x{s.y}" for s in quarter.itertuples()]])
    mirrored = np.ascontiguousarray(picture[:, ::-1])
    (own.folder / "S2.jpg").write_bytes(imagecodecs.jpeg_encode(mirrored, level=90))
    found = check()
    assert "x axis is flipped" in only(found)
    notes = [note for note in found.notes if "mirrored left to right" in note]
    assert len(notes) == 1 and "S2.jpg" in notes[0]


def test_positions_of_another_resolution(own, check):
    spots = own.spots()
    own.write_spots("S1", spots.assign(pixel_x=spots.pixel_x * 10, pixel_y=spots.pixel_y * 10))
    text = only(check())
    assert "of 42 spots lie outside the image" in text and "give the full-resolution image" in text


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["ACTB", "1-Mar", *GENES[2:]], r'line 1, gene number 2: "1-Mar": a spreadsheet has turned'),
        (
            ["ACTB", "ENSG0141510", *GENES[2:]],
            r'line 1, gene number 2: "ENSG0141510": an Ensembl gene id has eleven',
        ),
        (["1", "2", *GENES[2:]], r'line 1, gene number 1: "1": a number is no gene'),
        (
            ["Actb", "Gnas", "Fasn", *GENES[3:]],
            r"line 1: 3 of 6 gene ids are unknown, such as Actb \(number 1\)",
        ),
    ],
)
def test_unknown_gene_ids(own, check, project, names, words):
    own.write_counts("S1", own.counts().set_axis(names, axis=1))
    problems = check().problems
    assert any(re.search(r"S1\.tsv\.gz: " + words, problem) for problem in problems), problems
    with pytest.raises(UserError, match="gene"):
        files = {"counts": str(own.folder / "S1.tsv.gz"), "positions": str(own.folder / "S1_spots.tsv")}
        read_section("S1", {**files, "symbols": str(project / SYMBOLS)}, {})
    yaml = own.folder / "mine.yaml"
    yaml.write_text(yaml.read_text() + "options: {genes: any}\n")
    found = check()
    assert found.problems == []
    twins = [note for note in found.notes if "a gene is written ACTB, but Actb in" in note]
    assert len(twins) == ("Actb" in names)


def test_gene_names_of_the_past_are_fine():
    symbols = {"ENSG00000141510": "TP53", "ENSG00000075624": "ACTB"}
    found = check_genes(["TP53", "ENSG00000141510.12", "SEPT2", "__ambiguous[ENSG1+ENSG2]", ""], symbols)
    assert found.unknown == [2] and found.impossible == [(4, "the name is empty")]


def test_damaged_counts_and_repeated_spots(own, check):
    counts = own.counts()
    own.write_counts("S1", pd.concat([counts, counts.iloc[[2]]]))
    (own.folder / "S2.tsv.gz").write_bytes((own.folder / "S2.tsv.gz").read_bytes()[:100])
    text = "\n".join(check().problems)
    assert "S1.tsv.gz: line 44: spot 2x5 stands already in line 4" in text
    assert "S2.tsv.gz: the gzip file is damaged or truncated" in text


def test_many_mistakes_of_one_kind_are_counted(own, check):
    own.write_counts("S1", own.counts() + 0.5)
    assert "S1.tsv.gz: line 2, column 2: 252 of 252 values are no raw counts: " in only(check())
    counts = own.counts().astype(object)
    counts.iloc[:3, 0] = "few"
    own.write_counts("S1", counts)
    assert len(check().problems) == 3


def test_missing_files_and_unknown_layouts(own, check):
    own.rows[0]["counts"] = "S1.csv"
    (own.folder / "S1.csv").write_text("a")
    (own.folder / "S2_spots.tsv").unlink()
    own.write_table()
    text = "\n".join(check().problems)
    assert "mine.tsv: line 2: counts names S1.csv, whose layout cannot be told" in text
    assert "mine.tsv: line 3: positions names S2_spots.tsv, which does not exist" in text


def test_a_truncated_image_and_one_image_under_two_names(own, check):
    data = (own.folder / "S1.jpg").read_bytes()
    (own.folder / "S2.jpg").write_bytes(data)
    assert "mine.tsv: line 3: the image is the same as in line 2" in only(check())
    (own.folder / "S2.jpg").write_bytes(data[: len(data) // 2])
    assert "S2.jpg: the JPEG is truncated" in only(check())


def test_visium_mistakes(own, check):
    outs = own.use_visium("S1")
    own.rows.pop()
    own.write_table()
    assert check().problems == []
    with h5py.File(outs / "filtered_feature_bc_matrix.h5", "r+") as stored:
        data = stored["matrix/data"][:].astype(np.float32)
        data[3] = 0.25
        del stored["matrix/data"]
        stored["matrix/data"] = data
    positions = outs / "spatial/tissue_positions.csv"
    lines = positions.read_text().splitlines()
    lines[6] = lines[6].replace(lines[6].split(",")[4], "far")
    positions.write_text("\n".join([*lines, lines[2]]) + "\n")
    text = "\n".join(check().problems)
    assert re.search(
        r"matrix\.h5: row 1: the count of gene XBP1 at spot BC000-1 is 0\.25, which is not", text
    )
    assert 'tissue_positions.csv: line 7, column pxl_row_in_fullres: expected a number, found "far"' in text
    assert "tissue_positions.csv: line 66: spot BC001-1 stands already in line 3" in text


def test_visium_with_rows_and_columns_of_pixels_exchanged(own, check):
    outs = own.use_visium("S1")
    own.rows.pop()
    own.write_table()
    positions = outs / "spatial/tissue_positions.csv"
    table = pd.read_csv(positions)
    rows, columns = table["pxl_row_in_fullres"].copy(), table["pxl_col_in_fullres"].copy()
    table.assign(pxl_row_in_fullres=columns, pxl_col_in_fullres=rows).to_csv(positions, index=False)
    assert "axes are swapped" in only(check())
    positions.unlink()
    assert "holds none of tissue_positions.csv" in only(check())


def test_anndata_mistakes(own, check):
    def damage(adata):
        matrix = adata.X.tolil()
        matrix[4, 2] = 1.5
        adata.X = matrix.tocsr()
        adata.obsm["spatial"][6] = np.nan

    own.use_anndata("S1", damage)
    text = "\n".join(check().problems)
    assert "S1.h5ad: row 5: the count of gene FASN at spot 2x7 is 1.5, which is not a whole number" in text
    assert "S1.h5ad: row 7: the position of spot 3x3 is missing" in text

    def strip(adata):
        del adata.obsm["spatial"], adata.obs["array_x"]

    own.use_anndata("S1", strip)
    text = only(check())
    assert "neither array_x, array_y" in text and "no obsm['spatial']" in text


def test_mistakes_in_the_yaml(own, check):
    yaml = own.folder / "mine.yaml"
    yaml.write_text(yaml.read_text().replace("pitch_um: 200", "pitch: 200\nspot: 3\nlicense: x"))
    text = "\n".join(check().problems)
    for words in (
        "unknown key `license`; did you mean `licence`",
        "unknown key `pitch`",
        "`pitch_um` is missing",
    ):
        assert words in text, text
    with pytest.raises(UserError, match="no such file"):
        check_cohort(own.folder / "other.yaml", own.folder, own.folder)

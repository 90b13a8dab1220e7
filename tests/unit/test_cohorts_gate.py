"""What a section's counts and spots must be, in every layout: a run and check-cohort say the same."""

from __future__ import annotations

import gzip
import re
import shutil
import warnings

import anndata
import cv2
import h5py
import imagecodecs
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.io import mmwrite
from unit.own_cohort import GENES, OwnCohort, tissue
from unit.visium_files import write_matrix

from histobench.cli.cohortcheck import check_cohort
from histobench.cohorts.check import check_section
from histobench.cohorts.counts import MAX_COUNT
from histobench.cohorts.readers.anndata_file import open_anndata
from histobench.cohorts.readers.table_cohort import read_section
from histobench.cohorts.section import write_section
from histobench.cohorts.sheet import read_sheet, section_options
from histobench.cohorts.table import load_section
from histobench.config.tables import SYMBOLS
from histobench.errors import UserError
from histobench.files import read_json

pytestmark = pytest.mark.slow


class Outcome:
    """What a run and the check say of one section."""

    def __init__(self, own: OwnCohort, section: str, **settings) -> None:
        sheet = read_sheet(own.folder / "mine.tsv")
        self.sheet = [str(problem) for problem in sheet.problems]
        self.error, self.adata, self.row, self.check = "", None, {}, None
        if section not in sheet.sections:
            return
        record = sheet.sections[section]
        options, more = settings.pop("options", {}), settings.pop("files", {})
        files = {
            kind: path for kind, path in record.items() if kind not in ("patient", "um_per_px", "library")
        }
        files |= more
        pitch = 200 if files["counts"].endswith((".h5ad", "tsv.gz")) else 100
        try:
            write_section(
                reader="histobench.cohorts.readers.table_cohort:read_section", cohort="mine", section=section,
                record=record, files=files, options=section_options(options, record), pitch_um=pitch, spot_um=50,
                output_h5ad=own.folder / "out.h5ad", output_json=own.folder / "out.json", **settings,
            )  # fmt: skip
        except UserError as error:
            self.error = str(error)
            assert "\n" not in self.error and "Traceback" not in self.error
        else:
            self.adata, self.row = load_section(own.folder / "out.h5ad"), read_json(own.folder / "out.json")
        self.check = check_section(
            section,
            record,
            files,
            options,
            pitch_um=pitch,
            spot_um=50,
            declared_at=("mine.tsv", "line 2"),
            **settings,
        )
        self.problems = [str(problem) for problem in dict.fromkeys(self.check.problems)]
        self.notes = "\n".join(str(note) for note in self.check.notes)
        assert bool(self.problems) == bool(self.error), (self.error, self.problems)

    def refused(self, pattern: str, *, times: int = 1) -> str:
        assert re.search(pattern, self.error), self.error
        assert len(self.problems) == times, self.problems
        assert any(re.search(pattern, problem) for problem in self.problems), self.problems
        return self.error


@pytest.fixture
def own(tmp_path):
    return OwnCohort(tmp_path / "mine", sections=("S1",))


# -- range ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (np.float64, 3e9),
        (np.uint32, 4_000_000_000),
        (np.int64, 2**40),
        (np.float32, 2.0**31),
        (np.uint64, 2**63),
    ],
)
@pytest.mark.parametrize("dense", [False, True])
def test_a_count_that_no_spot_can_have_is_refused_in_anndata(own, dtype, value, dense):
    def change(adata):
        counts = adata.X.toarray().astype(dtype)
        counts[4, 2] = value
        adata.X = counts if dense else sparse.csr_matrix(counts)

    own.use_anndata("S1", change)
    Outcome(own, "S1").refused(rf"gene FASN at spot 2x7 is {str(int(value))[0]}.*larger than any count")


def test_the_largest_count_is_kept_as_it_is(own):
    def change(adata):
        counts = adata.X.toarray().astype(np.int64)
        counts[4, 2] = MAX_COUNT
        adata.X = sparse.csr_matrix(counts)

    own.use_anndata("S1", change)
    outcome = Outcome(own, "S1")
    assert outcome.adata.X[4, 2] == MAX_COUNT and outcome.adata.X.dtype == np.int32


@pytest.mark.parametrize(
    ("value", "says"), [(3e9, "larger"), (-1, "negative"), (0.5, "whole"), (np.nan, "no number")]
)
def test_values_that_are_no_counts_are_named_in_space_rangers_file_too(own, value, says):
    outs = own.use_visium("S1")
    with h5py.File(outs / "filtered_feature_bc_matrix.h5", "a") as stored:
        data = stored["matrix/data"][:].astype(float)
        data[3] = value
        del stored["matrix/data"]
        stored["matrix/data"] = data
    Outcome(own, "S1").refused(rf"the count of gene \w+ at spot BC000-1 is .*{says}")


def test_one_large_count_in_a_text_table_is_refused(own):
    counts = own.counts().astype(object)
    counts.iloc[3, 1] = "2147483648"
    own.write_counts("S1", counts)
    Outcome(own, "S1").refused("GNAS at spot 2x6 is 2147483648.*larger than any count")


# -- index arrays -----------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["visium", "csr", "csc"])
@pytest.mark.parametrize(
    ("name", "place", "value"), [("indices", 0, 10**6), ("indices", 1, -7), ("indptr", 1, 10**6)]
)
def test_damaged_index_arrays_are_one_sentence_in_every_file(own, layout, name, place, value):
    if layout == "visium":
        file, group = own.use_visium("S1") / "filtered_feature_bc_matrix.h5", "matrix"
    else:
        file = own.use_anndata("S1", lambda adata: setattr(adata, "X", adata.X.asformat(layout)))
        group = "X"
    with h5py.File(file, "a") as stored:
        stored[group][name][place] = value
    Outcome(own, "S1").refused("index arrays|cannot be read as AnnData")


def test_entries_that_are_stored_twice_are_refused(own):
    def change(adata):
        counts = adata.X
        counts.indices[:2] = counts.indices[0]

    own.use_anndata("S1", change)
    Outcome(own, "S1").refused("1 entries of the sparse counts are stored twice")


# -- layers -----------------------------------------------------------------------------------------


def normalised(adata):
    adata.layers["counts"] = adata.X.copy()
    adata.X = sparse.csr_matrix(np.log1p(adata.X.toarray() / 7))


def test_raw_counts_in_a_layer_are_named_with_the_option(own):
    own.use_anndata("S1", normalised)
    Outcome(own, "S1").refused(r"layers\['counts'\] holds raw counts, so set `options: \{layer: counts\}`")
    assert (
        Outcome(own, "S1", options={"layer": "counts"}).adata.X.toarray() == own.counts().to_numpy()
    ).all()


def test_raw_counts_in_raw_are_named_and_read_with_their_own_genes(own):
    def change(adata):
        adata.raw = adata.copy()
        normalised(adata)
        del adata.layers["counts"]
        return adata[:, :3].copy()

    own.use_anndata("S1", change)
    Outcome(own, "S1").refused(r"adata\.raw holds raw counts, so set `options: \{layer: raw\}`")
    outcome = Outcome(own, "S1", options={"layer": "raw"})
    assert outcome.adata.shape == (42, 6) and (outcome.adata.X.toarray() == own.counts().to_numpy()).all()


def test_no_layer_is_named_where_none_holds_counts(own):
    def change(adata):
        normalised(adata)
        adata.layers["counts"] = adata.X * 2

    own.use_anndata("S1", change)
    assert "layers" not in Outcome(own, "S1").refused("not a whole number; give raw counts, not scaled ones")


def test_an_object_without_x_says_where_its_counts_are(own):
    def change(adata):
        adata.layers["raw_counts"] = adata.X.copy()
        adata.X = None

    own.use_anndata("S1", change)
    Outcome(own, "S1").refused(r"holds no counts in X; layers\['raw_counts'\] holds raw counts")


def test_a_layer_that_is_not_there_names_those_that_are(own):
    own.use_anndata("S1", normalised)
    Outcome(own, "S1", options={"layer": "count"}).refused(r"no count \(known: counts\)")


# -- kinds of features ------------------------------------------------------------------------------


KINDS = ["Gene Expression"] * 5 + ["Antibody Capture"]


def test_antibodies_are_left_out_of_anndata_and_counted(own):
    own.use_anndata("S1", lambda adata: adata.var.insert(0, "feature_types", KINDS))
    outcome = Outcome(own, "S1")
    assert list(outcome.adata.var_names) == GENES[:5] and outcome.row["dropped_feature_other_type"] == 1
    assert "1 left out: feature other type" in outcome.notes


def test_a_column_of_biotypes_keeps_every_gene(own):
    own.use_anndata(
        "S1", lambda adata: adata.var.insert(0, "feature_type", ["protein_coding"] * 5 + ["lncRNA"])
    )
    assert Outcome(own, "S1").adata.n_vars == 6


def test_a_file_of_antibodies_only_is_refused(own):
    own.use_anndata("S1", lambda adata: adata.var.insert(0, "feature_types", "Antibody Capture"))
    Outcome(own, "S1").refused("no feature is a gene")


# -- libraries --------------------------------------------------------------------------------------


def two_libraries(key="library_id", shift=0.0, pictured=True):
    def change(adata):
        parts = {name: adata.copy() for name in ("L1", "L2")}
        parts["L2"].X = adata.X * 2
        parts["L2"].obsm["spatial"] = adata.obsm["spatial"] + shift
        both = anndata.concat(parts, label=key, index_unique="_")
        if pictured:
            both.uns["spatial"] = {name: {"scalefactors": {"tissue_hires_scalef": 0.5}} for name in parts}
        return both

    return change


@pytest.mark.parametrize("key", ["library_id", "sample", "batch", "my own"])
@pytest.mark.parametrize("shift", [0.0, 37.0])
def test_two_libraries_in_one_file_are_told_apart_by_their_column(own, key, shift):
    own.use_anndata("S1", two_libraries(key, shift))
    text = Outcome(own, "S1").refused(rf"holds several sections: obs\['{key}'\] says L1, L2")
    assert "2x3_L1 and 2x3_L2 share a grid position" in text and "`options: {library: L1}`" in text
    outcome = Outcome(own, "S1", options={"library": "L2"})
    assert outcome.adata.n_obs == 42 and (outcome.adata.X.toarray() == 2 * own.counts().to_numpy()).all()
    assert outcome.adata.obs["pixel_x"].iloc[0] == pytest.approx(own.spots().pixel_x[0] + shift)


def test_the_table_names_the_library_of_each_section(own):
    path = own.use_anndata("S1", two_libraries())
    own.rows = [
        {**own.rows[0], "section": name, "image": "", "library": library, "counts": path.name}
        for name, library in (("S1", "L1"), ("S2", "L2"))
    ]
    own.write_table()
    first, second = Outcome(own, "S1"), Outcome(own, "S2")
    assert (second.adata.X != 2 * first.adata.X).nnz == 0 and first.sheet == []
    own.rows[1]["library"] = "L1"
    own.write_table()
    assert "are those of line 2" in Outcome(own, "S1").sheet[0]


def test_the_pictures_of_the_chosen_library_are_kept(own):
    path = own.use_anndata("S1", two_libraries())
    assert list(open_anndata(path, {"library": "L2"}).uns["spatial"]) == ["L2"]


def test_libraries_on_different_places_of_the_grid_are_several_sections_too(own):
    def change(adata):
        adata.obs["library_id"] = ["A"] * 20 + ["B"] * 22

    own.use_anndata("S1", change)
    Outcome(own, "S1").refused(r"obs\['library_id'\] says A, B; choose one")
    assert Outcome(own, "S1", options={"library": "B"}).adata.n_obs == 22


def test_an_unknown_library_names_the_known_ones(own):
    own.use_anndata("S1", two_libraries())
    Outcome(own, "S1", options={"library": "L3"}).refused(r"no library L3.*obs\['library_id'\] says L1, L2")
    Outcome(own, "S1", options={"library_key": "slid"}).refused(
        "no column slid, which options.library_key names"
    )
    assert Outcome(own, "S1", options={"library_key": "library_id", "library": "L1"}).adata.n_obs == 42


def test_one_library_needs_no_choice(own):
    def change(adata):
        adata.obs["library_id"] = "only"
        adata.uns["spatial"] = {"only": {}}

    own.use_anndata("S1", change)
    assert Outcome(own, "S1").adata.n_obs == 42
    assert Outcome(own, "S1", options={"library": "only"}).adata.n_obs == 42


def test_shared_places_without_a_column_name_two_spots(own):
    def change(adata):
        both = anndata.concat({"a": adata, "b": adata}, index_unique="-")
        del both.obs["region"]
        return both

    own.use_anndata("S1", change)
    Outcome(own, "S1").refused(
        "spots 2x3-a and 2x3-b lie at one grid position .* 84 of 84 spots share theirs"
    )


def test_shared_places_are_refused_in_space_rangers_table(own):
    outs = own.use_visium("S1")
    lines = (outs / "spatial/tissue_positions.csv").read_text().split("\n")
    fields = lines[1].split(",")
    lines[5] = ",".join([lines[5].split(",")[0], *fields[1:]])
    (outs / "spatial/tissue_positions.csv").write_text("\n".join(lines))
    outcome = Outcome(own, "S1")
    assert re.search(r"spots BC000-1 and BC004-1 lie at one grid position \(0, 0\)", outcome.error)


# -- spots under tissue, positions, labels ----------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        [True, False], [1, 0], [1.0, 0.0], ["True", "False"], ["TRUE", "FALSE"], ["yes", "no"], ["1", "0"],
        ["1.0", "0.0"], ["t", "F"], pd.Categorical(["yes", "no"]),
    ],
)  # fmt: skip
def test_in_tissue_is_understood_as_people_write_it(own, words):
    yes, no = words[0], words[1]
    own.use_anndata("S1", lambda adata: adata.obs.insert(0, "in_tissue", [no, *[yes] * 41]))
    outcome = Outcome(own, "S1")
    assert outcome.adata.n_obs == 41 and outcome.row["dropped_not_in_tissue"] == 1


@pytest.mark.parametrize("nothing", [pd.NA, np.nan, None, "NA", ""])
def test_a_spot_of_which_nothing_is_said_is_not_inside_and_counted(own, nothing):
    answers = [nothing, *[True] * 40, False]
    if nothing is pd.NA:
        values = pd.array(answers, dtype="boolean")
    elif isinstance(nothing, float):
        values = np.array(answers, dtype=float)
    else:
        values = pd.Categorical([None if answer is None else str(answer) for answer in answers])
    own.use_anndata("S1", lambda adata: adata.obs.insert(0, "in_tissue", values))
    outcome = Outcome(own, "S1")
    assert outcome.adata.n_obs == 40 and outcome.adata.obs_names[0] == "2x4"
    assert (outcome.row["dropped_no_tissue_value"], outcome.row["dropped_not_in_tissue"]) == (1, 1)
    assert outcome.row["n_spots_raw"] == 42 and "1 left out: no tissue value" in outcome.notes


@pytest.mark.parametrize("word", ["maybe", "2", "0.5"])
def test_another_word_is_named_with_its_row(own, word):
    own.use_anndata("S1", lambda adata: adata.obs.insert(0, "in_tissue", ["1"] * 6 + [word] + ["0"] * 35))
    Outcome(own, "S1").refused(
        rf'S1\.h5ad: obs row 7, column in_tissue: expected 1 or 0, found "{re.escape(word)}"'
    )


def test_in_tissue_without_most_values_stops(own):
    own.use_anndata("S1", lambda adata: adata.obs.insert(0, "in_tissue", [1.0] * 20 + [np.nan] * 22))
    Outcome(own, "S1").refused("22 of 42 spots do not say whether they lie under tissue.*allow_losses")
    assert Outcome(own, "S1", allow_losses=["no_tissue_value"]).adata.n_obs == 20


@pytest.mark.parametrize(
    "words", [("True", "False"), ("yes", "NO"), ("1.0", "0.0"), ("1", "NA"), ("TRUE", "")]
)
@pytest.mark.parametrize("header", [True, False])
def test_in_tissue_is_understood_in_space_rangers_table(own, words, header):
    outs = own.use_visium("S1", header=header)
    table = next((outs / "spatial").iterdir())
    lines = [line.split(",") for line in table.read_text().strip().split("\n")]
    for number, line in enumerate(lines[header:]):
        line[1] = words[0] if number else words[1]
    table.write_text("\n".join(",".join(line) for line in lines) + "\n")
    outcome = Outcome(own, "S1")
    assert outcome.adata.n_obs == 63 and "BC000-1" not in outcome.adata.obs_names


def test_a_wrong_word_in_space_rangers_table_is_named_with_its_line(own):
    outs = own.use_visium("S1")
    table = outs / "spatial/tissue_positions.csv"
    table.write_text(table.read_text().replace("BC004-1,1,", "BC004-1,maybe,"))
    Outcome(own, "S1").refused('line 6, column in_tissue: expected 1 or 0, found "maybe"')


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda xy: xy[:, :1], "has 1 column; expected the two columns x and y"),
        (lambda xy: pd.DataFrame({"row": xy[:, 1], "col": xy[:, 0]}), "has the columns row, col; expected"),
        (lambda xy: pd.DataFrame({"x": xy[:, 0]}), "has the columns x; expected"),
        (
            lambda xy: np.where(np.arange(42)[:, None] == 3, "nowhere", xy.astype(str)),
            'row 4, .* says "nowhere"',
        ),
    ],
)
def test_obsm_spatial_that_is_no_pair_of_numbers_is_one_sentence(own, change, says):
    def put(adata):
        xy = change(np.asarray(adata.obsm["spatial"]))
        adata.obsm["spatial"] = xy.set_index(adata.obs_names) if isinstance(xy, pd.DataFrame) else xy

    own.use_anndata("S1", put)
    Outcome(own, "S1").refused(says)


@pytest.mark.parametrize(
    "change",
    [
        lambda xy: pd.DataFrame({"y": xy[:, 1], "x": xy[:, 0]}),
        lambda xy: pd.DataFrame({"pxl_row_in_fullres": xy[:, 1], "pxl_col_in_fullres": xy[:, 0]}),
        lambda xy: pd.DataFrame({"spatial1": xy[:, 0], "spatial2": xy[:, 1]}),
        lambda xy: np.column_stack([xy, xy[:, 0]]),
        lambda xy: xy.astype(str),
        lambda xy: xy.astype(np.float32),
    ],
)
def test_obsm_spatial_is_read_by_name_where_it_has_names(own, change):
    def put(adata):
        xy = change(np.asarray(adata.obsm["spatial"]))
        adata.obsm["spatial"] = xy.set_index(adata.obs_names) if isinstance(xy, pd.DataFrame) else xy

    own.use_anndata("S1", put)
    found = Outcome(own, "S1").adata.obs
    np.testing.assert_allclose(found[["pixel_x", "pixel_y"]], own.spots()[["pixel_x", "pixel_y"]], rtol=1e-6)


def test_array_positions_that_are_no_numbers_are_named(own):
    def change(adata):
        adata.obs["array_x"] = ["A1", *map(str, adata.obs["array_x"].tolist()[1:])]

    own.use_anndata("S1", change)
    Outcome(own, "S1").refused('row 1, obs column array_x says "A1"')


NOTHING = ["NA", "None", "nan", "", " n/a ", "NULL"]


def labelled(own, layout):
    """Six spots without a label and one with one, in a layout; returns the options and its seven spots."""
    if layout == "anndata":
        path = own.use_anndata(
            "S1", lambda adata: adata.obs.__setitem__("region", [*NOTHING, *["cancer"] * 36])
        )
        assert path.is_file()
        return {"label": "region"}, own.counts().index[:7]
    if layout == "visium":
        own.use_visium("S1")
        spots = [f"BC{n:03d}-1" for n in range(7)]
    else:
        spots = list(own.counts().index[:7])
    lines = [f"{spot}\t{word}\n" for spot, word in zip(spots, [*NOTHING, "cancer"], strict=True)]
    (own.folder / "labels.tsv").write_text("spot\tlabel\n" + "".join(lines))
    own.rows[0]["labels"] = "labels.tsv"
    own.write_table()
    return {}, spots


@pytest.mark.parametrize("layout", ["anndata", "visium", "legacy_st"])
def test_words_that_mean_nothing_are_no_label_in_any_layout(own, layout):
    options, spots = labelled(own, layout)
    obs = Outcome(own, "S1", options={**options, "tumour": ["cancer"]}).adata.obs.loc[spots]
    assert obs["label"].tolist() == [*[""] * 6, "cancer"]
    assert obs["label_source"].tolist() == [*["none"] * 6, "pathologist"]


def test_a_word_that_means_nothing_is_no_class_either(own):
    with pytest.raises(
        UserError, match=r'options\.normal names "None", which means that a spot has no label'
    ):
        read_section("S1", {}, {"normal": ["None"]})


# -- losses -----------------------------------------------------------------------------------------


def with_image(own, shrink=1.0):
    """Space Ranger's 64 spots and their image, made smaller."""
    outs = own.use_visium("S1")
    picture = tissue(0)
    side = (int(picture.shape[1] / shrink), int(picture.shape[0] / shrink))
    (own.folder / "S1.jpg").write_bytes(imagecodecs.jpeg_encode(cv2.resize(picture, side), level=90))
    return outs


@pytest.mark.parametrize(("shrink", "reach"), [(2, "1.5"), (3, "2.3"), (4, "3.0")])
def test_a_reduced_image_with_full_resolution_positions_stops(own, shrink, reach):
    with_image(own, shrink)
    text = Outcome(own, "S1").refused(
        rf"positions reach {reach} times as far as the image of .* reduced copy"
    )
    assert "`allow_losses: [outside_image]`" in text and "of 64 spots lie outside the image" in text


def test_spots_outside_the_image_may_be_allowed(own):
    with_image(own, 2)
    outcome = Outcome(own, "S1", allow_losses=["outside_image"])
    assert 0 < outcome.row["n_spots_kept"] < 32 and "lie outside the image" in outcome.notes
    assert outcome.row["n_spots_kept"] + outcome.row["dropped_outside_image"] == 64


def rename(outs, change):
    path = outs / "filtered_feature_bc_matrix.h5"
    with h5py.File(path, "a") as stored:
        names = [change(n, name.decode()) for n, name in enumerate(stored["matrix/barcodes"][:])]
        del stored["matrix/barcodes"]
        stored["matrix/barcodes"] = np.array(names, dtype="S18")


@pytest.mark.parametrize("n_matched", [24, 40, 56])
def test_barcodes_that_match_only_in_part_stop(own, n_matched):
    rename(of_64(own), lambda n, name: name if n < n_matched else f"XY{n:03d}-1")
    text = Outcome(own, "S1").refused(
        rf"barcodes match only in part: {64 - n_matched} of 64 spots have counts but no position"
    )
    assert f"XY{n_matched:03d}-1 in the counts" in text and "allow_losses: [no_position]" in text
    outcome = Outcome(own, "S1", allow_losses=["no_position", "no_counts"])
    assert outcome.row["n_spots_kept"] == n_matched


def of_64(own):
    own.rows[0]["image"] = ""
    return own.use_visium("S1")


def test_one_barcode_without_a_position_is_counted(own):
    rename(of_64(own), lambda n, name: name if n else "XY000-1")
    outcome = Outcome(own, "S1")
    assert (outcome.row["dropped_no_position"], outcome.row["n_spots_kept"]) == (1, 63)


def test_barcodes_that_differ_in_their_ending_say_so(own):
    rename(of_64(own), lambda n, name: name if n < 20 else name.replace("-1", "-2"))
    Outcome(own, "S1").refused(r"differ in their endings \(BC020-2 in the counts, BC020-1 in the positions\)")
    rename(own.folder / "S1_outs", lambda n, name: f"BC{n:03d}")
    Outcome(own, "S1").refused(r"no spot is left|endings")


def test_counts_that_are_cut_short_stop(own):
    outs = of_64(own)
    names = [f"BC{n:03d}-1" for n in range(20)]
    write_matrix(
        outs / "filtered_feature_bc_matrix.h5", np.ones((20, 4)), names, GENES[:4], ["E1", "E2", "E3", "E4"]
    )
    Outcome(own, "S1").refused("44 of 64 spots have a position under tissue but no counts")
    assert Outcome(own, "S1", allow_losses=["no_counts"]).adata.n_obs == 20


def test_positions_off_the_tissue_are_no_loss(own):
    outs = of_64(own)
    table = outs / "spatial/tissue_positions.csv"
    lines = table.read_text().split("\n")
    table.write_text(
        "\n".join(line.replace("-1,1,", "-1,0,") if n > 24 else line for n, line in enumerate(lines))
    )
    outcome = Outcome(own, "S1")
    assert (outcome.row["n_spots_kept"], outcome.row["dropped_not_in_tissue"]) == (24, 40)


def test_mostly_empty_spots_stop(own):
    counts = own.counts()
    counts.iloc[5:] = 0
    own.write_counts("S1", counts)
    Outcome(own, "S1").refused("37 of 42 spots have no count of any gene")
    assert Outcome(own, "S1", allow_losses=["zero_umi"]).adata.n_obs == 5


def test_a_share_of_a_handful_of_spots_says_nothing(own):
    keep = own.counts().index[:4]
    own.write_counts("S1", own.counts().loc[keep])
    spots = own.spots()
    own.write_spots("S1", spots[(spots.x == 2) & (spots.y < 5)])
    assert Outcome(own, "S1").row["dropped_no_position"] == 2


# -- what people have -------------------------------------------------------------------------------


def reference(own):
    own.use_visium("S1")
    return Outcome(own, "S1").adata


def same(found, expected):
    assert found is not None and (found.X != expected.X).nnz == 0
    assert list(found.obs_names) == list(expected.obs_names) and list(found.var_names) == list(
        expected.var_names
    )
    np.testing.assert_array_equal(found.obsm["spatial"], expected.obsm["spatial"])


def test_positions_in_parquet_are_read(own):
    expected = reference(own)
    spatial = own.folder / "S1_outs/spatial"
    table = pd.read_csv(spatial / "tissue_positions.csv")
    (spatial / "tissue_positions.csv").unlink()
    table.to_parquet(spatial / "tissue_positions.parquet")
    same(Outcome(own, "S1").adata, expected)
    table.set_index("barcode").to_parquet(spatial / "tissue_positions.parquet")
    same(Outcome(own, "S1").adata, expected)
    (spatial / "tissue_positions.parquet").write_bytes(b"PAR1 not really")
    Outcome(own, "S1").refused("cannot be read as Parquet")


def test_gzipped_positions_are_found(own):
    expected = reference(own)
    table = own.folder / "S1_outs/spatial/tissue_positions.csv"
    (table.parent / "tissue_positions_list.csv.gz").write_bytes(gzip.compress(table.read_bytes()))
    table.unlink()
    same(Outcome(own, "S1").adata, expected)


def to_market(outs, *, packed=True):
    with h5py.File(outs / "filtered_feature_bc_matrix.h5") as stored:
        matrix = sparse.csc_matrix(tuple(stored["matrix"][n][:] for n in ("data", "indices", "indptr")))
        barcodes = [name.decode() for name in stored["matrix/barcodes"][:]]
        features = zip(
            *(stored["matrix/features"][n][:] for n in ("id", "name", "feature_type")), strict=True
        )
        features = ["\t".join(value.decode() for value in row) for row in features]
    (outs / "filtered_feature_bc_matrix.h5").unlink()
    folder = outs / "filtered_feature_bc_matrix"
    folder.mkdir()
    mmwrite(folder / "matrix.mtx", matrix)
    (folder / "barcodes.tsv").write_text("\n".join(barcodes) + "\n")
    (folder / "features.tsv").write_text("\n".join(features) + "\n")
    if packed:
        for file in list(folder.iterdir()):
            file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
            file.unlink()
    return folder


@pytest.mark.parametrize("packed", [True, False])
def test_a_matrix_market_folder_is_read(own, packed):
    expected = reference(own)
    folder = to_market(own.folder / "S1_outs", packed=packed)
    same(Outcome(own, "S1").adata, expected)
    own.rows[0]["counts"] = f"S1_outs/{folder.name}"
    own.write_table()
    same(Outcome(own, "S1").adata, expected)
    end = ".gz" if packed else ""
    own.rows[0]["counts"] = f"S1_outs/{folder.name}/matrix.mtx{end}"
    own.write_table()
    same(Outcome(own, "S1").adata, expected)
    record = read_sheet(own.folder / "mine.tsv").sections["S1"]
    assert record["barcodes"].endswith(f"barcodes.tsv{end}") and record["features"].endswith(
        f"features.tsv{end}"
    )
    (folder / f"barcodes.tsv{end}").unlink()
    Outcome(own, "S1").refused("holds matrix.mtx.* but no barcodes.tsv")


def test_a_prefixed_matrix_and_the_folder_above_outs_are_found(own):
    expected = reference(own)
    outs = own.folder / "S1_outs"
    (outs / "filtered_feature_bc_matrix.h5").rename(outs / "GSM1_filtered_feature_bc_matrix.h5")
    same(Outcome(own, "S1").adata, expected)
    (own.folder / "sample").mkdir()
    shutil.move(outs, own.folder / "sample/outs")
    own.rows[0]["counts"] = "sample"
    own.write_table()
    same(Outcome(own, "S1").adata, expected)
    shutil.copy(
        own.folder / "sample/outs/GSM1_filtered_feature_bc_matrix.h5",
        own.folder / "sample/outs/GSM2_filtered_feature_bc_matrix.h5",
    )
    assert "holds GSM1_filtered_feature_bc_matrix.h5 and GSM2_" in Outcome(own, "S1").sheet[0]


def test_folders_that_are_not_read_say_what_to_do(own):
    store = own.folder / "S1.zarr"
    (store / "tables/table").mkdir(parents=True)
    own.rows[0].update(counts="S1.zarr", positions="")
    own.write_table()
    assert "spatialdata.read_zarr(...).tables['table'].write_h5ad('S1.h5ad')" in "".join(
        Outcome(own, "S1").sheet
    )
    shutil.rmtree(store / "tables")
    assert "anndata.read_zarr(...).write_h5ad('S1.h5ad')" in "".join(Outcome(own, "S1").sheet)
    shutil.rmtree(store)
    (own.folder / "hd/binned_outputs/square_008um").mkdir(parents=True)
    own.rows[0]["counts"] = "hd"
    own.write_table()
    (text,) = Outcome(own, "S1").sheet
    assert "bins of several sizes; name one of them" in text and "square_008um" in text


def test_a_transposed_table_is_told_once(own):
    own.write_counts("S1", own.counts().T)
    Outcome(own, "S1").refused("the table is transposed, so turn it")


@pytest.mark.parametrize(("sign", "name"), [(",", "commas"), (";", "semicolons"), (" ", "blanks")])
def test_another_separator_is_told_once(own, sign, name):
    path = own.folder / "S1_spots.tsv"
    path.write_text(path.read_text().replace("\t", sign))
    Outcome(own, "S1").refused(rf"separated by {name}; separate .*by tabs")
    own.write_spots("S1", own.spots())
    counts = own.folder / "S1.tsv.gz"
    counts.write_bytes(gzip.compress(gzip.decompress(counts.read_bytes()).replace(b"\t", sign.encode())))
    Outcome(own, "S1").refused("tab-separated table")


def test_normalised_counts_are_told_once(own):
    own.use_anndata("S1", lambda adata: setattr(adata, "X", adata.X * 0.3))
    assert Outcome(own, "S1").problems[0].count("raw counts") <= 2


def test_a_section_without_an_image_is_noted(own):
    own.rows[0]["image"] = ""
    own.write_table()
    assert "no image is named; the section serves what needs counts only" in Outcome(own, "S1").notes


def test_repeated_names_are_noted_without_warnings_of_other_libraries(own):
    def change(adata):
        adata.var["gene_ids"] = [f"ENSG0000000000{n}" for n in range(6)]
        adata.var_names = ["ACTB", "ACTB", *GENES[2:]]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own.use_anndata("S1", change)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcome = Outcome(own, "S1")
    assert list(outcome.adata.var_names[:2]) == ["ACTB.ENSG00000000000", "ACTB.ENSG00000000001"]
    assert "2 columns share their gene's name with others" in outcome.notes


# -- one gene, one name -----------------------------------------------------------------------------


def of_genes(own, section, names, ids=None, **options):
    """Write a section of an own cohort with these genes; returns its outcome."""

    def change(adata):
        found = anndata.AnnData(
            X=sparse.csr_matrix(np.random.default_rng(len(names)).poisson(5, (42, len(names))).astype(float)),
            obs=adata.obs, obsm={"spatial": np.asarray(adata.obsm["spatial"])},
            var=pd.DataFrame({"gene_ids": ids} if ids else {}, index=[f"g{n}" for n in range(len(names))]),
        )  # fmt: skip
        found.var_names = names
        return found

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own.use_anndata(section, change)
    return Outcome(own, section, **options)


@pytest.mark.parametrize(
    ("names", "ids", "says"),
    [
        (
            ["ACTB", "GNAS", "ACTB"],
            None,
            r"gene ACTB occurs twice, as ACTB in column 1 and as ACTB in column 3",
        ),
        (["ACTB", "ENSG00000075624"], None, r"ACTB in column 1 and as ACTB \(ENSG00000075624\) in column 2"),
        (["ENSG00000075624.1", "ENSG00000075624.2"], None, r"gene ACTB occurs twice.*ENSG00000075624\.2\)"),
        (
            ["ACTB", "XBP1"],
            ["ENSG00000075624", "ENSG00000075624.7"],
            r"XBP1 \(ENSG00000075624\.7\) in column 2",
        ),
        (
            ["ACTB", "ACTB"],
            ["ENSG00000075624", ""],
            r"ACTB \(ENSG00000075624\) in column 1 and as ACTB in column 2",
        ),
    ],
)
def test_a_gene_with_two_columns_is_refused(own, project, names, ids, says):
    files = {"symbols": str(project / SYMBOLS)}
    outcome = of_genes(own, "S1", names, ids, files=files)
    assert re.search(says, outcome.error), outcome.error


def test_one_gene_with_two_names_over_the_cohort_is_refused(tmp_path, project):
    own = OwnCohort(tmp_path / "mine")
    ids = ["ENSG00000284770", "ENSG00000285053"]
    of_genes(own, "S1", ["TBCE", "TBCE", "ACTB"], [*ids, "ENSG00000075624"])
    of_genes(own, "S2", ["TBCE", "ACTB"], [ids[0], "ENSG00000075624"])
    found = check_cohort(own.folder / "mine.yaml", project, own.folder / "drawings")
    (problem,) = found.problems
    assert "gene ENSG00000284770 is called TBCE, but TBCE.ENSG00000284770 in" in problem
    assert "`options: {names: approved}`" in problem
    (own.folder / "mine.yaml").write_text(
        (own.folder / "mine.yaml").read_text() + "options: {names: approved}\n"
    )
    found = check_cohort(own.folder / "mine.yaml", project, own.folder / "drawings")
    assert found.problems == []
    assert any("1 genes are listed by some sections only (ENSG00000285053)" in note for note in found.notes)


def test_approved_names_follow_from_the_identifier(own, project):
    files = {"symbols": str(project / SYMBOLS)}
    ids = ["ENSG00000284770.5", "ENSG00000285053", "ENSG00000075624"]
    outcome = of_genes(own, "S1", ["TBCE", "TBCE", "BETA"], ids, files=files, options={"names": "approved"})
    assert list(outcome.adata.var_names) == ["TBCE", "ENSG00000285053", "ACTB"]
    assert outcome.adata.var["gene_id"].tolist() == ids

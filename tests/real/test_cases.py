"""Inputs of public reports, as files: each is read right or refused in one sentence, in a run and in check-cohort."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from unit.own_cohort import OwnCohort

from histobench.cli.cohortcheck import check_cohort
from histobench.cohorts.section import write_section
from histobench.cohorts.sheet import read_sheet
from histobench.cohorts.table import load_section
from histobench.config.benchmark import Benchmark
from histobench.config.files import read_configuration
from histobench.errors import UserError
from histobench.evaluation.metrics import gene_metrics
from histobench.evaluation.spatial import spatial_metrics
from histobench.expression.panels import gene_statistics
from histobench.files import read_json
from histobench.imaging.slides import read_image
from histobench.imaging.thumbnail import thumbnail


@pytest.fixture
def files(shared_data):
    folder = shared_data.parent / "review" / "cases"
    if not folder.is_dir():
        pytest.skip("the mirror has no review/cases")

    def of(number: str) -> Path:
        (found,) = folder.glob(f"{number}-*")
        return found

    return of


def copy(source: Path, target: Path) -> None:
    """Copy a file or folder that may be read-only, by content."""
    for path in [source] if source.is_file() else [p for p in source.rglob("*") if p.is_file()]:
        to = target if source.is_file() else target / path.relative_to(source)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(path.read_bytes())


def anndata_cohort(folder: Path, case: Path, sections=("S1",)) -> OwnCohort:
    own = OwnCohort(folder, sections=sections)
    for section in sections:
        copy(case / f"{section}.h5ad", folder / f"{section}.h5ad")
        own.row(section).update(counts=f"{section}.h5ad", positions="")
    own.write_table()
    return own


def run(own: OwnCohort, section="S1", *, pitch=200):
    """Read a section as the rule does; returns the stored table and row, or the sentence."""
    record = read_sheet(own.folder / "mine.tsv").sections[section]
    given = {k: v for k, v in record.items() if k not in ("patient", "um_per_px", "library")}
    path = own.folder / f"{section}.out.h5ad"
    try:
        write_section(
            reader="histobench.cohorts.readers.table_cohort:read_section", cohort="mine", section=section, record=record,
            files=given, options={}, pitch_um=pitch, spot_um=50, output_h5ad=path,
            output_json=own.folder / f"{section}.json",
        )  # fmt: skip
    except UserError as error:
        return str(error)
    return load_section(path), read_json(own.folder / f"{section}.json")


def both_refuse(own, project, says, **settings):
    told = run(own, **settings)
    assert isinstance(told, str) and re.search(says, told) and "\n" not in told, told
    checked = check_cohort(own.folder / "mine.yaml", project, own.folder / "drawings")
    assert any(re.search(says, problem) for problem in checked.problems), checked.problems


@pytest.mark.parametrize("name", ["tissue_positions.csv", "tissue_positions_45deg.csv"])
def test_01_visium_at_an_angle(files, tmp_path, name):
    own = OwnCohort(tmp_path / "mine", sections=("S1",))
    outs = own.use_visium("S1")
    copy(files("01") / name, outs / "spatial/tissue_positions.csv")
    own.row("S1")["image"] = ""
    own.write_table()
    table, row = run(own, pitch=100)
    assert table.n_obs == 64 and row["um_per_px"] == pytest.approx(100 / 60, rel=1e-3)


def test_03_square_bins(files, tmp_path):
    table, row = run(anndata_cohort(tmp_path / "mine", files("03")))
    assert row["um_per_px"] == pytest.approx(200 / 60, rel=1e-3) and table.uns["grid"] == "square"


def test_04_six_neighbours():
    rows, half = np.mgrid[0:20, 0:20]
    x, y = (2 * half + rows % 2).ravel().astype(float), rows.ravel().astype(float)
    for values, right in ((y % 2, -0.314), (half.ravel() % 2, -0.311)):
        column = values[:, None].astype(float)
        found = spatial_metrics(column, column, x, y, grid="hexagonal")["moran_truth"]
        assert found[0] == pytest.approx(right, abs=1e-3)


@pytest.mark.parametrize(
    ("number", "name", "says"),
    [
        ("06", "pal.tif", None), ("06", "rgb0.tif", None), ("06", "cmyk.tif", "CMYK"),
        ("08", "cyx.ome.tif", None), ("08", "ij.tif", None), ("08", "cyx.tif", "3 grey pages"),
        ("10", "u12.tif", "values have 16 bits"), ("10", "u8in16.tif", "values have 16 bits"),
        ("33", "j2k.tif", None), ("33", "webp.tif", None),
    ],
)  # fmt: skip
def test_06_08_10_33_tiffs(files, number, name, says):
    path = files(number) / name
    if says is None:
        image = read_image(path)
        assert image.shape == (96, 128, 3)
        right = [211.8, 180.2, 206.9]  # the picture that all these files hold; a palette has fewer colours
        assert np.abs(image.mean(axis=(0, 1)) - right).max() < (15 if name == "pal.tif" else 1)
        small = np.asarray(thumbnail(path, 64))
        assert np.abs(small.mean(axis=(0, 1)) - image.mean(axis=(0, 1))).max() < 1
        return
    for read in (read_image, lambda path: thumbnail(path, 64)):
        with pytest.raises(UserError, match=says):
            read(path)


def test_11_words_for_in_tissue(files, tmp_path):
    table, row = run(anndata_cohort(tmp_path / "mine", files("11")))
    assert (table.n_obs, row["dropped_not_in_tissue"]) == (36, 6)


def test_13_a_count_beyond_the_range(files, tmp_path, project):
    both_refuse(
        anndata_cohort(tmp_path / "mine", files("13")), project, "gene ACTB at spot 2x3 is 3e.*larger"
    )


def test_15_two_sections_in_one_file(files, tmp_path, project):
    both_refuse(
        anndata_cohort(tmp_path / "mine", files("15")), project, r"several sections.*library_id.* A, B"
    )


@pytest.mark.parametrize(
    ("number", "says"), [("16", "60 of 64 spots lie outside.*reduced"), ("18", r"8\.3\d* µm per pixel")]
)
def test_16_18_image_and_positions_of_two_sizes(files, tmp_path, project, number, says):
    own = OwnCohort(tmp_path / "mine", sections=("S1",))
    shutil.rmtree(own.use_visium("S1"))
    copy(files(number) / "S1_outs", own.folder / "S1_outs")
    copy(files(number) / "S1.jpg", own.folder / "S1.jpg")
    both_refuse(own, project, says, pitch=100)


def test_19_latin_1(files, tmp_path, project):
    own = OwnCohort(tmp_path / "mine", sections=("S1",))
    copy(files("19") / "S1.tsv.gz", own.folder / "S1.tsv.gz")
    both_refuse(own, project, "line 1, column 4.*not written in UTF-8")


def test_21_a_key_that_stands_twice(files, project):
    path = files("21") / "c_dupkeys.yaml"
    with pytest.raises(UserError, match="`experiments` stands twice, in line 2 and in line 4"):
        read_configuration([project / "config/config.yaml", path], project)


@pytest.mark.parametrize(
    "given", ["learning_rate: 1e-3", "epochs: 0", "epochs: 2.5", "batch_size: 0", "input_px: 0"]
)
def test_23_parameters_of_methods(tmp_path, project, given):
    path = tmp_path / "mine.yaml"
    path.write_text(f"run: [demo]\nexperiments: {{demo: {{methods: {{stnet: {{params: {{{given}}}}}}}}}}}\n")
    both = [project / "config/config.yaml", path]
    with pytest.raises(UserError, match=rf"params\.{given.split(':')[0]}` must be"):
        Benchmark(read_configuration(both, project), project, both)


def test_25_braces_in_a_file_name(tmp_path):
    own = OwnCohort(tmp_path / "mine", sections=("S1",))
    own.row("S1")["image"] = "img 0 {x}.jpg"
    own.write_table()
    (problem,) = read_sheet(own.folder / "mine.tsv").problems
    assert "braces" in str(problem) and "line 2" in str(problem)


def test_26_one_gene_with_two_names(files, tmp_path, project):
    own = anndata_cohort(tmp_path / "mine", files("26"), ("S1", "S2"))
    for section in ("S1", "S2"):
        assert not isinstance(run(own, section), str)
    with pytest.raises(UserError, match="ENSG00000284770 is called TBCE"):
        gene_statistics([own.folder / "S1.out.h5ad", own.folder / "S2.out.h5ad"])


def test_27_a_gene_that_one_section_does_not_measure(files, tmp_path):
    own = anndata_cohort(tmp_path / "mine", files("27"), ("S1", "S2"))
    for section in ("S1", "S2"):
        assert not isinstance(run(own, section), str)
    statistics = gene_statistics([own.folder / "S1.out.h5ad", own.folder / "S2.out.h5ad"])
    assert statistics.unmeasured == {"ERBB2"}


def test_32_two_spots_have_no_correlation():
    values = np.array([[1.0, 2.0], [3.0, 1.0]])
    assert np.isnan(gene_metrics(values, values)["pearson"]).all()


# 30, predictions in scanpy, is tests/unit/test_opens_in_scverse.py

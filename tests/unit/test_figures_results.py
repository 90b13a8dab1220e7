"""Figures of results: the tidy table says what the tables say, and the figure shows what the tidy table says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from unit import result_tables

from histobench.errors import UserError
from histobench.figures.curves import consistency_curve, learning_curves
from histobench.figures.draw import draw
from histobench.figures.drawing import tissue
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.text import signed
from histobench.figures.on_tissue import expression_maps
from histobench.figures.per_gene import method_scatter
from histobench.figures.per_method import leaderboard, per_patient
from histobench.files import read_table

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return result_tables.shared_run(tmp_path_factory)


@pytest.fixture(scope="module")
def tables(run):
    return run / "harmonised" / "tables"


SETTINGS = result_tables.SETTINGS
KNOWN = Settings.of(SETTINGS)


def texts(figure) -> str:
    """All text of a figure."""
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))


@pytest.mark.parametrize("name", [*result_tables.figure_jobs(result_tables.Path("."))])
def test_drawing_twice_gives_the_same_files_and_a_full_caption(run, tmp_path, name):
    inputs = result_tables.figure_jobs(run)[name]
    paths = [tmp_path / f"{name}.{kind}" for kind in ("svg", "png", "tsv", "txt")]
    draw(name, inputs, SETTINGS, *paths)
    home = run / "harmonised"
    first = [home / "figures" / f"{name}.{kind}" for kind in ("svg", "png", "txt")]
    first.insert(2, home / "tables" / "figures" / f"{name}.tsv")
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in first]
    assert len(read_table(paths[2])) > 0
    caption = paths[3].read_text()
    # What is plotted, n, the test and its correction, or that there is none.
    assert (
        any(
            f"{number} {noun}" in caption
            for number in (1, 2, 3, 8, 30, 36, 234)
            for noun in ("patient", "gene", "spot", "fold", "method", "section")
        )
        or "spots" in caption
    )
    assert any(word in caption.lower() for word in ("no test", "interval", "envelope", "correction"))
    assert "nan" not in caption.lower().split()


def test_leaderboard_shows_every_method_with_its_interval_and_the_ceiling(tables):
    board = read_table(tables / "leaderboard.tsv")
    table = leaderboard.tidy_leaderboard(board, KNOWN)
    assert list(table["pearson"]) == sorted(board["pearson"], reverse=True)
    files = (tables.parent / "ceiling").glob("*.parquet")
    ceiling = pd.concat([read_table(path) for path in files])["value"].mean()
    assert table["ceiling"].iloc[0] == pytest.approx(ceiling)
    figure = leaderboard.plot_leaderboard(table, KNOWN)
    axes = figure.axes[0]
    dots = [line for line in axes.lines if line.get_marker() not in ("None", "", None)]
    bars = [
        line
        for line in axes.lines
        if len(line.get_xdata()) == 2 and line.get_ydata()[0] == line.get_ydata()[1]
    ]
    assert [float(dot.get_xdata()[0]) for dot in dots] == pytest.approx(list(table["pearson"]))
    assert [tuple(bar.get_xdata()) for bar in bars] == [
        pytest.approx(pair) for pair in zip(table["pearson_low"], table["pearson_high"], strict=True)
    ]
    assert any(list(line.get_xdata()) == pytest.approx([ceiling, ceiling]) for line in axes.lines)
    hollow = [dot.get_markerfacecolor() == "white" for dot in dots]
    assert hollow == [family in ("control", "oracle") for family in table["family"]]
    assert "Pearson r" in axes.get_xlabel() and f"noise ceiling {ceiling:.2f}" in texts(figure)


def test_leaderboard_shades_the_envelope_of_the_null_and_names_who_is_within(tables):
    board = read_table(tables / "leaderboard.tsv")
    draws = read_table(tables / "permutations.tsv")["pearson"]
    table = leaderboard.tidy_leaderboard(board, KNOWN)
    figure = leaderboard.plot_leaderboard(table, KNOWN)
    (band,) = [patch for patch in figure.axes[0].patches if patch.get_width()]
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((draws.min(), draws.max()))
    assert "null: 20 permutations" in texts(figure)
    words = leaderboard.caption(table, KNOWN)
    assert f"all 20 permutations lie between {signed(draws.min(), 3)} and {signed(draws.max(), 3)}" in words
    assert draws.max() < board.set_index("method").loc["knn", "pearson"]
    assert "All 3 deep or classical methods lie above." in words
    table.loc[table["method"] == "knn", "pearson"] = draws.max() / 2
    assert "Of 3 deep or classical methods 2 lie above; not k-NN." in leaderboard.caption(table, KNOWN)
    # without a null control there is neither band nor word of it
    bare = table.assign(null_low=np.nan, null_high=np.nan, n_permutations=pd.NA)
    assert not list(leaderboard.plot_leaderboard(bare, KNOWN).axes[0].patches)
    assert "permutation" not in leaderboard.caption(bare, KNOWN)


def test_many_permutations_are_told_as_quantiles(tables):
    board = read_table(tables / "leaderboard.tsv")
    board.loc[board["method"] == "shuffled_image", "n_permutations"] = 100
    assert "95 % of 100 permutations lie between" in leaderboard.caption(board.assign(ceiling=0.5), KNOWN)


def test_a_ceiling_far_beyond_all_scores_is_named_and_does_not_set_the_scale(tables):
    board = read_table(tables / "leaderboard.tsv")
    table = leaderboard.tidy_leaderboard(board, KNOWN).assign(ceiling=0.9)
    scores = ["pearson", "pearson_low", "pearson_high"]
    table[scores] = table[scores] / (20 * table["pearson_high"].max())
    figure = leaderboard.plot_leaderboard(table, KNOWN)
    assert figure.axes[0].get_xlim()[1] < 0.1 and "noise ceiling 0.90 →" in texts(figure)
    assert "Far beyond the axis, at 0.900" in leaderboard.caption(table, KNOWN)


def test_leaderboard_says_missing_where_a_method_has_no_score(tables):
    board = read_table(tables / "leaderboard.tsv")
    score = ["pearson", "pearson_low", "pearson_high", "ceiling_fraction"]
    board.loc[board["method"] == "stnet", score] = np.nan
    table = leaderboard.tidy_leaderboard(board, KNOWN)
    assert table["method"].iloc[-1] == "stnet"
    assert "missing" in texts(leaderboard.plot_leaderboard(table, KNOWN))


def test_leaderboard_of_nothing_and_without_ceiling_can_be_drawn(tables):
    board = read_table(tables / "leaderboard.tsv")
    bare = leaderboard.tidy_leaderboard(board.drop(columns=["ceiling_fraction", "family"]), KNOWN)
    assert (
        bare["ceiling"].isna().all()
        and dict(zip(bare["method"], bare["family"], strict=True))["depth"] == "oracle"
    )
    assert "not available" in leaderboard.caption(bare, KNOWN)
    empty = leaderboard.tidy_leaderboard(board.head(0), KNOWN)
    assert "No method" in texts(leaderboard.plot_leaderboard(empty, KNOWN)) and leaderboard.caption(
        empty, KNOWN
    )


def test_leaking_experiments_carry_their_warning(tables):
    table = leaderboard.tidy_leaderboard(read_table(tables / "leaderboard.tsv"), KNOWN)
    clean = leaderboard.caption(table, KNOWN)
    sections = leaderboard.caption(table, replace(KNOWN, folds="leave_one_section_out"))
    panel = leaderboard.caption(table, replace(KNOWN, panel={"scope": "all"}))
    assert "leak" not in clean and "leak the patient" in sections and "test patient included" in panel


def test_consistency_has_one_panel_per_method_with_the_counts_of_the_genes_table(tables):
    curve = consistency_curve.tidy_consistency(read_table(tables / "consistency_curve.tsv"), KNOWN)
    genes = read_table(tables / "genes.tsv")
    figure = consistency_curve.plot_consistency(curve, KNOWN)
    panels = {axes.get_title(): axes for axes in figure.axes if axes.get_title()}
    assert len(panels) == genes["method"].nunique()
    observed = panels["ST-Net"].lines[-1].get_ydata()
    positive = genes.loc[genes["method"] == "stnet", "n_positive"]
    assert list(observed) == [(positive >= k).sum() for k in range(9)]
    assert "at least k patients" in texts(figure) and "binomial expectation" in texts(figure)


def test_consistency_without_envelope_says_so(tables):
    curve = read_table(tables / "consistency_curve.tsv").drop(columns=["envelope_low", "envelope_high"])
    table = consistency_curve.tidy_consistency(curve, KNOWN)
    consistency_curve.plot_consistency(table, KNOWN)
    assert "No permutation" in consistency_curve.caption(
        table, KNOWN
    ) or "No envelope" in consistency_curve.caption(table, KNOWN)


def test_scatter_pairs_genes_and_counts_both_sides(tables):
    genes = read_table(tables / "genes.tsv")
    table = method_scatter.tidy_scatter(genes, KNOWN)
    wide = genes.pivot(index="gene", columns="method", values="mean_pearson")
    assert list(table["method_y"].unique()) == ["stnet"] and len(table) == len(wide)
    other = table["method_x"].iloc[0]
    assert SETTINGS["families"][other] in ("classical", "control")
    above, below = int((wide["stnet"] > wide[other]).sum()), int((wide["stnet"] < wide[other]).sum())
    figure = method_scatter.plot_scatter(table, KNOWN)
    assert f"ST-Net higher: {above}" in texts(figure) and f"higher: {below}" in texts(figure)
    points = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert len(points[0].get_xdata()) == len(wide)
    assert figure.axes[0].get_xlim() == figure.axes[0].get_ylim()
    assert f"Higher with ST-Net: {above}; with " in method_scatter.caption(table, KNOWN)


def test_scatter_labels_do_not_touch(tables):
    table = method_scatter.tidy_scatter(read_table(tables / "genes.tsv"), KNOWN)
    figure = method_scatter.plot_scatter(table, KNOWN)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    from matplotlib.text import Annotation, Text

    boxes = [
        Text.get_window_extent(text)
        for text in axes.texts
        if isinstance(text, Annotation) and text.get_text()
    ]
    assert len(boxes) >= 4
    for place, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[place + 1 :])


def test_scatter_refuses_a_pair_that_was_not_scored(tables):
    genes = read_table(tables / "genes.tsv")
    with pytest.raises(UserError, match="'pair' is"):
        method_scatter.tidy_scatter(genes, Settings(pair=["stnet", "nothing"]))
    chosen = method_scatter.tidy_scatter(genes, Settings(pair=["depth", "knn"]))
    assert set(chosen["method_x"]) == {"depth"} and set(chosen["method_y"]) == {"knn"}


def test_scatter_of_a_single_method_or_of_nothing_is_no_crash(tables):
    genes = read_table(tables / "genes.tsv")
    one = method_scatter.tidy_scatter(genes[genes["method"] == "knn"], KNOWN)
    method_scatter.plot_scatter(one, KNOWN)
    none = method_scatter.tidy_scatter(genes.head(0), KNOWN)
    assert "No two methods" in texts(method_scatter.plot_scatter(none, KNOWN)) and method_scatter.caption(
        none, KNOWN
    )


def test_per_patient_prints_every_value(tables):
    patients = read_table(tables / "patients.tsv")
    table = per_patient.tidy_per_patient(patients)
    figure = per_patient.plot_per_patient(table, KNOWN)
    axes = figure.axes[0]
    image = axes.collections[0].get_array()
    means = patients.groupby("method")["pearson"].mean().sort_values(ascending=False, kind="stable")
    wide = patients.pivot(index="method", columns="patient", values="pearson").loc[means.index]
    assert np.allclose(image.reshape(wide.shape), wide.to_numpy())
    assert [label.get_text() for label in axes.get_xticklabels()] == sorted(patients["patient"].unique())
    assert len([text for text in axes.texts if text.get_text()]) == image.size
    low, high = axes.collections[0].get_clim()
    assert low == -high  # white is zero


def test_per_patient_shows_a_hole_where_a_patient_was_not_scored(tables):
    patients = read_table(tables / "patients.tsv")
    patients = patients[~((patients["method"] == "stnet") & (patients["patient"] == "B"))]
    figure = per_patient.plot_per_patient(per_patient.tidy_per_patient(patients), KNOWN)
    assert "n/a" in texts(figure)


def test_maps_share_one_scale_per_gene_and_keep_the_orientation_of_the_image(run, monkeypatch):
    monkeypatch.setattr(expression_maps, "MOST_GENES", 2)
    paths = result_tables.figure_jobs(run)["expression_maps"]["predictions"]
    table = expression_maps.tidy_maps(paths, Settings(genes=["ERBB2", "not_in_panel"]))
    assert list(dict.fromkeys(table["gene"])) == ["ERBB2", table["gene"].iloc[-1]]
    assert set(table["source"]) == {
        expression_maps.TRUTH,
        "stnet",
        "ridge_probe",
        "colour_ridge",
        "neighbour_mean",
    }
    figure = expression_maps.plot_maps(table, KNOWN)
    maps = [
        axes
        for axes in figure.axes
        if axes.collections and axes.get_title() is not None and axes.get_aspect() == 1
    ]
    assert len(maps) == 10
    first_row = maps[:5]
    assert len({axes.collections[0].get_clim() for axes in first_row}) == 1
    spots = table[(table["gene"] == "ERBB2") & (table["source"] == expression_maps.TRUTH)]
    drawn = first_row[0].collections[0]
    assert np.allclose(drawn.get_offsets(), spots[["pixel_x", "pixel_y"]])
    assert np.allclose(drawn.get_array(), spots["value"])
    top, bottom = first_row[0].get_ylim()[1], first_row[0].get_ylim()[0]
    assert bottom > top  # y runs downwards
    assert "ln(1 + CP10k)" in texts(figure) and "1 mm" in texts(figure)


def test_discs_of_a_map_have_the_size_of_the_pitch(run, monkeypatch):
    monkeypatch.setattr(expression_maps, "MOST_GENES", 1)
    paths = result_tables.figure_jobs(run)["expression_maps"]["predictions"]
    table = expression_maps.tidy_maps(paths[:1], Settings())
    figure = expression_maps.plot_maps(table, KNOWN)
    figure.draw_without_rendering()
    discs = figure.axes[0].collections[0]
    diameter = np.sqrt(discs.get_sizes()[0]) * figure.dpi / 72
    to_screen = figure.axes[0].transData.transform
    pitch = to_screen((290.7, 0))[0] - to_screen((0, 0))[0]
    assert diameter == pytest.approx(0.92 * pitch, rel=0.02)
    assert tissue.spot_pitch(np.array([[5.0, 5.0]])) == 1.0


def test_maps_lie_on_the_right_part_of_the_tissue(run, tmp_path):
    from PIL import Image

    # A black square at x 2000..3000, y 1000..2000 of a white slide.
    slide = np.full((7000, 8000, 3), 255, np.uint8)
    slide[1000:2000, 2000:3000] = 0
    Image.fromarray(slide).save(tmp_path / "slide.jpg", quality=95)
    small, width, height = tissue.thumbnail(tmp_path / "slide.jpg")
    assert (width, height) == (8000, 7000) and max(small.shape) <= 900
    box = (1000.0, 5000.0, 500.0, 4500.0)
    pixels, (left, right, bottom, top) = tissue.faint((small, width, height), box)
    rows, columns = np.nonzero(pixels.mean(axis=2) < 240)
    x = left + (columns + 0.5) / pixels.shape[1] * (right - left)
    y = top + (rows + 0.5) / pixels.shape[0] * (bottom - top)
    assert x.min() == pytest.approx(2000, abs=40) and x.max() == pytest.approx(3000, abs=40)
    assert y.min() == pytest.approx(1000, abs=40) and y.max() == pytest.approx(2000, abs=40)
    table = expression_maps.tidy_maps(
        result_tables.figure_jobs(run)["expression_maps"]["predictions"][:1], KNOWN
    )
    figure = expression_maps.plot_maps(table, KNOWN, (small, width, height))
    assert figure.axes[0].images


def test_maps_of_a_folder_and_of_mixed_sections(run, tmp_path):
    folders = [path.parent for path in result_tables.figure_jobs(run)["expression_maps"]["predictions"][:2]]
    _, table, _ = expression_maps.expression_maps({"predictions": folders}, replace(KNOWN, section="B1"))
    assert table["source"].nunique() == 3 and "section B1" in expression_maps.caption(table, KNOWN)
    import anndata

    data = anndata.read_h5ad(folders[0] / "B1.h5ad")
    data[1:].write_h5ad(tmp_path / "other.h5ad")
    with pytest.raises(UserError, match=r"other\.h5ad: spots or genes differ from"):
        expression_maps.tidy_maps([folders[0] / "B1.h5ad", tmp_path / "other.h5ad"], KNOWN)


def test_a_section_of_one_spot_with_a_constant_gene_can_be_mapped(run, tmp_path):
    import anndata

    path = result_tables.figure_jobs(run)["expression_maps"]["predictions"][0]
    anndata.read_h5ad(path)[:1].write_h5ad(tmp_path / "one.h5ad")
    figure = expression_maps.plot_maps(expression_maps.tidy_maps([tmp_path / "one.h5ad"], KNOWN), KNOWN)
    figure.draw_without_rendering()


def test_learning_curves_split_training_and_validation_and_stages():
    history = pd.DataFrame(
        {
            "stage": ["inner0", "inner0", "final", "final"],
            "epoch": [1, 2, 1, 2],
            "loss": [4.0, 3.0, 5.0, 2.0],
            "valid_mse": [1.0, 0.9, np.nan, np.nan],
            "seconds": 1.0,
        }
    )
    table = learning_curves.tidy_history({("stnet", "A"): history, ("knn", "A"): pd.DataFrame()})
    assert set(zip(table["quantity"], table["split"], strict=True)) == {("loss", "train"), ("mse", "valid")}
    assert "seconds" not in set(table["quantity"]) and set(table["method"]) == {"stnet"}
    figure = learning_curves.plot_learning(table, KNOWN)
    lines = [line for axes in figure.axes for line in axes.lines]
    assert [len(lines[0].get_xdata()), len(lines[1].get_xdata())] == [2, 2]  # stages are not joined up
    assert "epoch" in texts(figure) and "loss" in texts(figure)


def test_learning_curves_draw_one_line_per_quantity_and_leave_the_autoencoder_to_its_own_figure():
    history = pd.DataFrame(
        {
            "stage": ["autoencoder", "autoencoder", "final", "final"],
            "epoch": [1, 2, 1, 2],
            "loss": [0.04, 0.03, 5.0, 2.0],
            "valid_reconstruction": [0.05, 0.04, np.nan, np.nan],
            "valid_pearson": [np.nan, np.nan, 0.001, 0.2],
            "valid_pearson_spot": [np.nan, np.nan, 0.5, 0.6],
            "valid_pearson_spot_null": [np.nan, np.nan, 0.55, 0.55],
        }
    )
    table = learning_curves.tidy_history({("histospace", "A"): history})
    assert table.groupby("quantity")["value"].apply(list).to_dict() == {
        "loss": [5.0, 2.0],
        "pearson": [0.001, 0.2],
    }
    figure = learning_curves.plot_learning(table, KNOWN)
    assert [axes.get_yscale() for axes in figure.axes] == ["linear", "linear"]  # r is never logarithmic


def test_learning_curves_without_epochs_say_so(tmp_path):
    path = tmp_path / "models" / "knn" / "A" / "history.tsv"
    path.parent.mkdir(parents=True)
    path.write_text("\n")
    figure, table, _ = learning_curves.learning_curves({"histories": [path]}, Settings())
    assert table.empty and "No method" in texts(figure)
    assert "No method" in learning_curves.caption(table, KNOWN)

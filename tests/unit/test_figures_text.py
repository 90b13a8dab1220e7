"""Names in figures are text: nothing that a gene, a label or a title holds is a formula, a command or a secret."""

from __future__ import annotations

import ast
from dataclasses import replace

import anndata
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from unit import result_tables
from unit.test_figures_tissue import SETTINGS, predicted

from histobench.figures.curves import power_curve, tumour_curves
from histobench.figures.draw import draw
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import RC, empty_figure, save_figure
from histobench.figures.on_tissue import label_maps
from histobench.figures.per_gene import consistent_genes, label_genes
from histobench.figures.per_method import top_ten

HOSTILE = [
    r"$\frac{1}{2}$",
    r"$\input{/etc/passwd}$",
    "{x}",
    r"C:\new",
    "_hidden",
    "100 %",
    "a^b_c",
    "$",
    "two\nlines",
    "<b>&amp;",
    "$$x_{1}$$ and $",
    "x" * 120,
]


@pytest.fixture(autouse=True)
def _style():
    """As figures are drawn: under the common style."""
    with mpl.rc_context(RC):
        yield


def texts(figure) -> list[str]:
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text)]


def drawn(figure, folder) -> list[str]:
    """All text of a figure that could be saved as it is."""
    table = pd.DataFrame({"a": [1.0]})
    save_figure(figure, folder / "f.svg", folder / "f.png", table, folder / "f.tsv", title=HOSTILE[1])
    assert (folder / "f.png").stat().st_size > 1000
    return texts(figure)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_title_is_drawn_as_it_is_written(tmp_path, name):
    assert name in {
        text.replace("\n", "") if len(name) > 100 else text for text in drawn(empty_figure(name), tmp_path)
    }


@pytest.mark.parametrize("name", HOSTILE[:6])
def test_a_label_and_a_gene_reach_the_map_as_text(tmp_path, name):
    section = predicted("mine", genes=(name, "Y"))
    section.spots["label"] = [name, name, "other", ""]
    tidy = label_maps.tidy_labels(section, Settings())
    said = drawn(label_maps.plot_labels(tidy, replace(SETTINGS, titles={"mine": name})), tmp_path)
    assert name in said and f"{name}\nmeasured" in said and f"{name}\n{name}" in said


def test_a_title_that_starts_with_an_underscore_stands_in_the_legend(tmp_path):
    settings = Settings(
        titles={"mine": "_mine", "other": "$k$"}, families={"mine": "deep", "other": "classical"}
    )
    rows = [(m, rank, 8 - rank) for m in ("mine", "other", consistent_genes.CHANCE) for rank in range(1, 6)]
    table = pd.DataFrame(rows, columns=["method", "rank", "n_positive"])
    assert {"_mine", "$k$", "chance"} <= set(
        drawn(consistent_genes.plot_consistent(table, settings), tmp_path)
    )
    curves = pd.DataFrame(
        [(m, c, x, x, 0.4) for m in ("mine", "other") for c in tumour_curves.AXES for x in (0.0, 0.5, 1.0)],
        columns=["method", "curve", "x", "y", "share_tumour"],
    )
    assert {"_mine", "$k$"} <= set(drawn(tumour_curves.plot_curves(curves, settings), tmp_path))


def test_the_ten_genes_are_in_italics_only_where_that_is_no_formula(tmp_path):
    genes = ["FASN", *HOSTILE[:5]]
    table = pd.DataFrame(
        {"method": "stnet", "rank": range(1, 7), "gene": genes, "median_pearson": np.linspace(0.6, 0.1, 6)}
    )
    said = drawn(top_ten.plot_ten(table, Settings()), tmp_path)
    assert any(text.startswith(r"$\it{FASN}$") for text in said)
    assert all(any(text.startswith(f"{gene} ") for text in said) for gene in genes[1:])


def test_no_text_of_a_logarithmic_axis_is_a_formula(project):
    """Matplotlib writes powers of ten as formulas, which would now stand there as they are."""
    assert RC["text.parse_math"] is False
    for file in (project / "workflow/lib/histobench/figures").rglob("*.py"):
        text = file.read_text()
        called = {ast.unparse(node.func) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)}
        if any(name.endswith(("set_xscale", "set_yscale", "loglog")) for name in called):
            assert "log_axis" in called, f"{file.name}: call log_axis after setting a logarithmic scale"


def test_smallest_p_values_are_plain_numbers(tmp_path):
    power = pd.DataFrame(
        {"test": ["sign-flip"], "n_patients": [8], "smallest_p": [2 * 2.0**-8], "n_tests": [9]}
    )
    said = drawn(power_curve.plot_power(power_curve.tidy_power(power), SETTINGS), tmp_path)
    assert not any("$" in text for text in said) and {"0.01", "1"} <= set(said)


@pytest.mark.slow
def test_every_figure_of_a_run_can_be_drawn_with_such_names(tmp_path, monkeypatch):
    monkeypatch.setattr(result_tables, "MARKERS", HOSTILE[:6])
    result_tables.write_run(tmp_path, n_genes=30)
    for path in tmp_path.glob("harmonised/predictions/*/*/*.h5ad"):
        data = anndata.read_h5ad(path)
        data.obs["label"] = np.resize(HOSTILE[:4], data.n_obs)
        data.write_h5ad(path)
    titles = dict(zip(result_tables.FAMILIES, HOSTILE, strict=False))
    settings = {
        **result_tables.SETTINGS,
        "titles": titles,
        "title": HOSTILE[0],
        "maps": {"genes": HOSTILE[:3]},
    }
    for name, inputs in result_tables.figure_jobs(tmp_path).items():
        svg, png, tsv, caption = (tmp_path / f"{name}.{kind}" for kind in ("svg", "png", "tsv", "txt"))
        draw(name, inputs, settings, svg, png, tsv, caption)
        assert png.stat().st_size > 1000 and not caption.read_text().startswith("Not drawn")


def test_labels_and_their_marker_genes_keep_their_names(tmp_path):
    rows = [
        (g, label, k - place) for k, g in enumerate(HOSTILE[:2]) for place, label in enumerate(HOSTILE[1:3])
    ]
    table = pd.DataFrame(rows, columns=["gene", "label", "measured"]).assign(
        method="stnet", marker_of=HOSTILE[1], predicted=0.5, n_spots=9, n_sections=2
    )
    said = drawn(label_genes.plot_regions(table[label_genes.COLUMNS], Settings()), tmp_path)
    assert all(any(name in text for text in said) for name in HOSTILE[:3])

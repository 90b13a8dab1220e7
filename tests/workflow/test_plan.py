"""What the figures of the default run are drawn from, asked of its typed plan."""

from __future__ import annotations

import re

import pytest

from histobench.config.benchmark import Benchmark
from histobench.plan import external, figures, shown, tables
from histobench.plan.model import make_plan
from histobench.yamlfiles import read_yaml


@pytest.fixture(scope="module")
def bench(project):
    return Benchmark(read_yaml(project / "config/config.yaml"), project)


@pytest.fixture(scope="module")
def plan(bench):
    """Figures (experiment -> figure -> input files and settings) and tables (experiment -> files)."""
    made = make_plan(bench)
    drawn = {}
    for name in made.tested:
        drawn[name] = {}
        for figure in figures.experiment_figures(made, name):
            files = figures.figure_input(made, name, figure)
            drawn[name][figure] = {
                "inputs": {kind: [path] if isinstance(path, str) else path for kind, path in files.items()},
                "settings": figures.figure_settings(made, name, figure),
            }
    listed = {name: tables.table_files(made, name) for name in made.tested}
    for name in made.branches:
        listed[name] = [*listed.get(name, []), *external.branch_files(made, name)]
    return {"figures": drawn, "tables": listed}


def methods(plan, experiment, figure, kind):
    found = [re.search(r"/(?:metrics|predictions|models|spots)/([^/]+)", path)[1]
             for path in plan["figures"][experiment][figure]["inputs"][kind]]  # fmt: skip
    return list(dict.fromkeys(found))


def test_no_figure_takes_a_method_that_the_experiment_is_not_about(plan, bench):
    """Every figure of some methods, in every experiment and branch of the default run."""
    some = {"latent_umap": "predictions", "latent_tests": "metrics", "pvalue_genes": "metrics", "label_genes": "predictions",
            "expression_distributions": "predictions", "gene_overlay": "predictions", "label_maps": "predictions"}  # fmt: skip
    asked = 0
    for name, drawn in plan["figures"].items():
        about = shown.subjects(bench.described(name))
        for figure, kind in some.items():
            if figure in drawn:
                assert set(methods(plan, name, figure, kind)) <= set(about), (name, figure)
                asked += 1
        if "section_boxes" in drawn:
            assert methods(plan, name, "section_boxes", "metrics") == shown.trained(bench.described(name))
        maps = methods(plan, name, "expression_maps", "predictions")
        assert maps == shown.mapped(bench.described(name)) and len(maps) <= 9, name
    assert asked > 100


@pytest.mark.parametrize(
    ("experiment", "figure", "kind", "expected"),
    [
        ("hbcis_stnet", "latent_umap", "predictions", ["stnet"]),
        ("hbcis_stnet", "latent_tests", "metrics", ["stnet"]),
        ("hbcis_stnet", "attributions", "run", ["stnet"]),
        ("her2st_histogene", "pvalue_genes", "metrics", ["thitogene", "histogene", "hist2st", "thitogene_as_released"]),
        ("dlpfc_lopo", "label_genes", "predictions", ["thitogene", "histogene", "hist2st", "stnet"]),
        ("hbcis_he2gene", "latent_umap", "predictions", ["he2gene_base", "he2gene_spat"]),
        ("hbcis_histospace", "autoencoder_curves", "histories", ["histospace_photos", "histospace_photos_ae1", "histospace_photos_ae2"]),
        ("hbcis_histospace/external/her2st", "expression_maps", "predictions", ["histospace_photos", "histospace", "stnet", "hist2st"]),
    ],
)  # fmt: skip
def test_the_papers_figures_show_the_papers_methods(plan, experiment, figure, kind, expected):
    assert methods(plan, experiment, figure, kind) == expected


def test_figures_of_labels_are_planned_where_there_are_labels(plan):
    tumour = {
        "compartments",
        "tumour_difference",
        "informative_genes",
        "cluster_confusion",
        "expression_distributions",
        "tumour_scores",
    }
    labels = {"label_maps", "label_genes", "domain_maps"}
    for name in ("cscc_lopo", "cscc_loso"):
        assert not (tumour | labels) & set(plan["figures"][name])
    assert labels <= set(plan["figures"]["dlpfc_lopo"]) and not tumour & set(plan["figures"]["dlpfc_lopo"])
    assert labels | tumour <= set(plan["figures"]["hbcis_lopo"])
    assert labels <= set(plan["figures"]["hbcis_lopo/external/visium_breast"])


def test_what_the_papers_show_is_planned_with_their_methods(plan, project):
    """Every artefact of resources/papers.tsv is made by the default run, and of the methods that it names."""
    from histobench.evaluation.papers import read_papers

    by_method = 0
    for row in read_papers(project / "resources/papers.tsv").to_dict("records"):
        for artefact in row["artefact"].split():
            if artefact.endswith(".tsv"):
                assert (
                    f"results/{row['experiment']}/tables/{artefact}" in plan["tables"][row["experiment"]]
                ), row["item"]
                continue
            assert artefact in plan["figures"][row["experiment"]], (row["item"], artefact)
            files = [
                file
                for paths in plan["figures"][row["experiment"]][artefact]["inputs"].values()
                for file in paths
            ]
            drawn = {
                found[1]
                for file in files
                if (found := re.search(r"/(?:metrics|predictions|models|spots)/([^/]+)", file))
            }
            if drawn and row["methods"]:
                assert set(row["methods"].split()) <= drawn, (row["item"], drawn)
                by_method += 1
            genes = plan["figures"][row["experiment"]][artefact]["settings"].get("genes")
            if genes and row["genes"]:
                assert row["genes"].split()[0] in genes, row["item"]
    assert by_method > 15

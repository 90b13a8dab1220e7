"""Figures show the methods that an experiment is about: asked of the settings, for any name a method may have."""

from __future__ import annotations

import pytest
from unit.described import planned

from histobench.config.benchmark import Benchmark
from histobench.config.files import merge
from histobench.errors import UserError
from histobench.plan import manifest, shown, tables
from histobench.yamlfiles import read_yaml


@pytest.fixture(scope="module")
def bench(project):
    return Benchmark(read_yaml(project / "config/config.yaml"), project)


def experiment(methods, **settings):
    """Settings of an experiment: arms with their family and abilities."""
    default = {"patches": True, "features": None, "oracle": False}
    return {
        "maps": {},
        "methods": {
            arm: {
                "family": family,
                "entry": f"mine:{arm}",
                "gives": {"expression": True, "latent": False, "tumour": False, **gives},
                "sees": "spot",
                "needs": default,
                "baseline": False,
            }
            for arm, (family, gives) in methods.items()
        },
        **settings,
    }


LATENT, TUMOUR = {"latent": True}, {"expression": False, "tumour": True}
MIXED = {
    "mean": ("control", {}), "a": ("deep", LATENT), "detector": ("deep", TUMOUR), "linear": ("classical", {}),
    "b": ("deep", {}), "c": ("deep", LATENT), "d": ("deep", LATENT), "e": ("deep", LATENT), "f": ("deep", LATENT),
}  # fmt: skip


@pytest.mark.parametrize(
    ("methods", "settings", "about"),
    [
        (MIXED, {}, ["a", "b", "c", "d", "e", "f"]),  # a detector predicts no expression
        (MIXED, {"scatter": ["a", "c"]}, ["c", "a", "b", "d", "e", "f"]),
        (MIXED, {"scatter": ["a", "mean"]}, ["a", "b", "c", "d", "e", "f"]),  # a control leads nothing
        (MIXED, {"about": ["linear", "f"]}, ["linear", "f"]),
        ({"mean": ("control", {}), "linear": ("classical", {})}, {}, ["linear"]),
        ({"mean": ("control", {}), "depth": ("oracle", {})}, {}, ["mean", "depth"]),
        ({"detector": ("deep", TUMOUR)}, {}, ["detector"]),
    ],
)
def test_the_methods_that_an_experiment_is_about(methods, settings, about):
    made = experiment(methods, **settings)
    assert shown.subjects(made) == about and shown.leading(made) == about[0]
    assert shown.compared(made) == about[: shown.MOST_COMPARED]


@pytest.mark.parametrize(
    ("settings", "mapped"),
    [
        ({}, ["linear", "a", "b", "c", "d", "e", "f"]),
        ({"scatter": ["mean", "c"]}, ["mean", "c", "a", "b", "d", "e", "f"]),
        ({"scatter": ["detector", "c"]}, ["linear", "c", "a", "b", "d", "e", "f"]),
        ({"scatter": ["a", "c"], "about": ["c", "a"]}, ["c", "a"]),
        ({"about": ["c"]}, ["linear", "c"]),
        ({"maps": {"methods": ["mean"]}}, ["mean"]),
    ],
)
def test_maps_show_them_beside_a_yardstick(settings, mapped):
    assert shown.mapped(experiment(MIXED, **settings)) == mapped


def test_an_ability_is_shown_by_those_that_the_experiment_is_about_never_by_the_first_that_has_it():
    assert shown.able(experiment(MIXED), "latent") == ["a", "c", "d", "e"]
    assert shown.able(experiment(MIXED, about=["f", "b"]), "latent") == ["f"]
    assert shown.able(experiment(MIXED, about=["b"]), "latent") == ["a"], "one of them, if no subject has it"
    assert shown.able(experiment(MIXED), "latent", few=False) == ["a", "c", "d", "e", "f"]
    assert shown.able(experiment({**MIXED, "mean": ("control", LATENT)}, about=["b"]), "latent") == ["a"]


def test_what_a_method_sees_is_declared_not_known(project):
    """A method of another name that sees whole sections predicts no tiles of slides."""
    mine = {
        "title": "Mine", "entry": "histobench.methods.histogene:HisToGene", "family": "deep",
        "needs": {"patches": True}, "sees": "section", "gives": {"latent": True},
    }  # fmt: skip
    config = {
        "run": ["demo"],
        "methods": {"mine": mine, "alone": {**mine, "sees": "spot"}},
        "experiments": {"demo": {"methods": {"mine": None, "alone": None}}},
    }
    made = Benchmark(merge(config, {}), project).experiments["demo"]
    alone = shown.by_spot(made)
    assert "alone" in alone and "mine" not in alone and "stnet" in alone
    assert not {"histogene", "tumour_label", "depth", "train_mean"} & set(alone)


def test_about_names_methods_of_the_experiment(project):
    with pytest.raises(UserError, match=r"`about` names `stnett`; did you mean `stnet`\?"):
        Benchmark({"run": ["demo"], "experiments": {"demo": {"about": ["stnett"]}}}, project)


def test_a_method_that_is_switched_off_is_no_longer_what_the_experiment_is_about(project):
    off = {"stnet": {"enabled": False}}
    changes = {"about": ["stnet", "he2gene"], "maps": {"methods": ["stnet"]}, "scatter": ["knn", "he2gene"]}
    made = Benchmark({"run": ["demo"], "experiments": {"demo": {**changes, "methods": off}}}, project)
    assert shown.subjects(made.experiments["demo"]) == ["he2gene"]
    assert shown.mapped(made.experiments["demo"]) == ["knn", "he2gene"]


def test_every_paper_experiment_says_what_it_is_about(bench):
    papers = {name: value for name, value in bench.experiments.items() if value["mode"] == "paper"}
    assert {name for name, value in papers.items() if not value.get("about")} <= {"her2st_loso"}
    for name in ("hbcis_stnet", "hbcis_stnet/external/visium_breast"):
        assert shown.able(bench.described(name), "latent") == ["stnet"], (
            "the latent space of the paper's Fig. 4"
        )
    assert shown.able(bench.experiments["her2st_histogene"], "latent")[0] == "thitogene"
    assert shown.able(bench.experiments["her2st_tumour"], "latent") == ["he2gene"]


@pytest.mark.parametrize("name", ["her2st_lopo", "hbcis_lopo", "cscc_lopo", "dlpfc_lopo"])
def test_fair_experiments_map_every_published_network(bench, name):
    families = {value["entry"].partition(":")[2] for value in (bench.experiments[name]["methods"][arm] for arm in shown.mapped(bench.experiments[name]))}  # fmt: skip
    assert {"STNet", "BrSTNet", "HE2Gene", "HisToGene", "Hist2ST", "THItoGene", "HistoSPACE"} <= families


def test_genes_of_maps_are_in_the_papers_fixed_panels(bench, project):
    for name, value in bench.experiments.items():
        if value["panel"]["rule"] == "file":
            panel = set((project / value["panel"]["file"]).read_text().split())
            assert set(value["maps"].get("genes", ())) <= panel, name


def test_what_predicts_tissue_is_on_no_map_of_genes_and_told_to_the_tables(project, tmp_path):
    tissue = ["tumour_logistic", "tumour_prevalence"]
    text = f"experiments: {{demo: {{methods: {{{', '.join(f'{name}: null' for name in tissue)}}}}}}}\n"
    plan = planned(project, tmp_path, text)
    assert sorted(tables.table_settings(plan, "demo")["classifiers"]) == tissue
    others = set(plan.described("demo").arms) - set(tissue)
    for section in manifest.maps_settings(plan, "demo")["sections"].values():
        assert set(section["predictions"]) == others
    mapped = {folder.split("/")[-2] for folder in manifest.maps_input(plan, "demo")["predictions"]}
    assert mapped == others


def test_variants_are_of_methods_that_predict_expression():
    """Their bars are differences of r, which a method that predicts tissue has none of."""
    made = experiment({"a": ("deep", {}), "b": ("deep", {}), "c": ("deep", TUMOUR), "d": ("deep", TUMOUR)})
    for arm, settings in made["methods"].items():
        settings["entry"] = "mine:tissue" if arm in "cd" else "mine:network"
    assert shown.variants(made) == ["a", "b"]
    made["methods"]["b"]["entry"] = "mine:other"
    assert shown.variants(made) == []

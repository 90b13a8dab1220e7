"""Methods on real HER2+ tissue: two sections of two patients, from files to predictions."""

from __future__ import annotations

import json
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import yaml

from histobench.cohorts.section import write_section
from histobench.config.benchmark import Benchmark
from histobench.config.files import merge
from histobench.encoders.features import extract_features
from histobench.encoders.registry import torchvision_recipe
from histobench.imaging.patches import write_patches
from histobench.training import run
from histobench.yamlfiles import read_yaml

SECTIONS = {"B4": ("B", "BT10737_D2_HE.jpg"), "C2": ("C", "5714_HE_BT_C2.jpg")}
N_GENES = 30


@pytest.fixture(scope="module")
def tissue(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sections, patches of 154 um at 64 px, and tables, as the pipeline would write them."""
    folder = tmp_path_factory.mktemp("tissue")
    mirror = shared_data / "her2st" / "data"
    genes: set[str] = set()
    means = []
    for name, (patient, image) in SECTIONS.items():
        picture = mirror / "ST-imgs" / patient / name / image
        if not picture.is_file():
            pytest.skip(f"needs {picture}")
        write_section(
            reader="histobench.cohorts.readers.her2st:read_section",
            cohort="her2st",
            section=name,
            record={"patient": patient, "um_per_px": 0.688},
            files={
                "counts": str(mirror / "ST-cnts" / f"{name}.tsv.gz"),
                "spots": str(mirror / "ST-spotfiles" / f"{name}_selection.tsv"),
                "image": str(picture),
            },
            options={},
            output_h5ad=folder / f"{name}.h5ad",
            output_json=folder / f"{name}.json",
            pitch_um=200,
            spot_um=100,
        )
        write_patches(
            picture,
            folder / f"{name}.h5ad",
            folder / f"{name}.npy",
            folder / f"{name}.tsv",
            stain="raw",
            scale=2.4,
            width_px=64,
        )
        table = anndata.read_h5ad(folder / f"{name}.h5ad")
        genes |= set(table.var_names)
        means.append(pd.Series(np.asarray(table.X.mean(axis=0)).ravel(), index=table.var_names))
    pd.DataFrame({"gene": sorted(genes)}).to_csv(folder / "genes.tsv", sep="\t", index=False)
    panel = means[0].sort_values(ascending=False).index[:N_GENES]  # of B4, the training section
    pd.DataFrame({"gene": panel}).to_csv(folder / "panel.tsv", sep="\t", index=False)
    return folder


def run_method(
    tissue: Path, project: Path, method: str, features: str | None = None, **params: object
) -> tuple[anndata.AnnData, dict]:
    """Train on B4 and predict C2 with the settings of a method's file."""
    described = yaml.safe_load((project / "config" / "methods" / f"{method}.yaml").read_text())
    settings = {**described, "params": {**described["params"], **params}, "window": {"px": 64}}
    return run_settings(tissue, method, settings, features)


def run_settings(
    tissue: Path, method: str, settings: dict, features: str | None = None
) -> tuple[anndata.AnnData, dict]:
    """Train on B4 and predict C2."""
    common: dict = {
        "entry": settings["entry"],
        "params": settings["params"],
        "needs": settings["needs"],
        "fold": "C",
        "panel_tsv": tissue / "panel.tsv",
        "genes_tsv": tissue / "genes.tsv",
        "transform": "log1p_cp10k",
        "experiment": "real",
        "method": method,
        "weights": "none",
        "device": "cpu",
        "patch_um_per_px": 2.4,
        "window": settings["window"],
    }
    files = {n: {"h5ad": str(tissue / f"{n}.h5ad"), "patches": str(tissue / f"{n}.npy")} for n in SECTIONS}
    if features:
        for name in SECTIONS:
            files[name]["features"] = str(tissue / f"{name}.{features}.npy")
    model = tissue / method
    run.train(
        **common,
        sections={"B4": files["B4"]},
        roles={"B4": "train"},
        output_weights=model / "weights.pt",
        output_history=model / "history.tsv",
        output_run=model / "run.json",
    )
    out = tissue / f"{method}_predictions"
    run.predict(**common, sections={"C2": files["C2"]}, model_folder=model, output_folder=out)
    return anndata.read_h5ad(out / "C2.h5ad"), json.loads((model / "run.json").read_text())


# Passes over one section: enough for the loss to fall with the settings of config/her2st_methods.yaml.
PASSES: dict[str, dict[str, object]] = {
    "stnet": {"epochs": 2},
    "stnet_apart": {"epochs": 2},
    "nmf_composition": {"epochs": 2},
    "brstnet_b0_aux": {"epochs": 2},
    "he2gene_base": {"epochs": 2},
    "histospace": {"autoencoder_epochs": 2, "epochs": 3},
    "he2rna": {"epochs": 3},
    "histogene": {"epochs": 15},
    "hist2st_standardised": {"epochs": 10},
    "thitogene_standardised": {"epochs": 15},
    "thitogene_as_released": {"epochs": 15},
}


@pytest.fixture(scope="module")
def all_methods(project: Path) -> dict[str, dict]:
    """Methods with the settings of the configuration that runs them all on real tissue."""
    files = [project / "config/config.yaml", project / "config/her2st_methods.yaml"]
    config = merge(*(read_yaml(path) for path in files))
    return Benchmark(config, project, files).experiments["her2st_lopo"]["methods"]


@pytest.mark.slow
@pytest.mark.parametrize("method", PASSES)
def test_the_loss_falls_on_real_tissue(tissue: Path, all_methods: dict[str, dict], method: str) -> None:
    settings = dict(all_methods[method])
    changes = {"network": PASSES[method]} if "network" in settings["params"] else PASSES[method]
    settings["params"] = merge(settings["params"], changes)
    features = None
    if settings["needs"]["features"]:
        features = "resnet18"  # a tenth of the time of the configured network
        for name in SECTIONS:
            patches = np.load(tissue / f"{name}.npy")
            np.save(
                tissue / f"{name}.{features}.npy",
                extract_features(patches, encoder=torchvision_recipe(features, pretrained=False)),
            )
    table, _ = run_settings(tissue, method, settings, features)
    history = pd.read_csv(tissue / method / "history.tsv", sep="\t")
    assert np.isfinite(history["loss"]).all()
    for _, stage in history.groupby("stage"):
        assert stage["loss"].iloc[-1] < stage["loss"].iloc[0]
    assert np.isfinite(table.X).all()


def test_every_deep_method_is_tested(all_methods: dict[str, dict]) -> None:
    deep = {arm for arm, method in all_methods.items() if method["family"] == "deep"}
    assert deep - set(PASSES) == {"tumour_network"}  # B4 has no tumour labels


def test_prediction_holds_the_published_counts_of_every_spot(
    tissue: Path, project: Path, shared_data: Path
) -> None:
    table, facts = run_method(tissue, project, "colour_ridge")
    published = pd.read_csv(shared_data / "her2st/data/ST-cnts/C2.tsv.gz", sep="\t", index_col=0).loc[
        table.obs_names
    ]
    raw = published.reindex(columns=table.var_names, fill_value=0).to_numpy(float)
    total = published.sum(axis=1).to_numpy(float)
    np.testing.assert_array_equal(table.layers["counts"], raw)
    np.testing.assert_array_equal(table.obs["total_counts"], total)
    expected = np.log1p(1e4 * raw / np.where(total > 0, total, 1)[:, None])
    np.testing.assert_allclose(table.layers["truth"], expected, rtol=1e-5, atol=1e-6)
    assert facts["selection_unit"] == "strip"  # one training section: nothing else can be left out
    assert facts["train_patients"] == ["B"]


@pytest.mark.slow
def test_st_net_trains_from_scratch_on_real_patches(tissue: Path, project: Path) -> None:
    table, facts = run_method(
        tissue,
        project,
        "stnet",
        input_px=None,
        selection="fixed",
        epochs=2,
        learning_rate=1e-4,
        views=2,
    )
    history = pd.read_csv(tissue / "stnet" / "history.tsv", sep="\t")
    assert history["loss"].iloc[1] < history["loss"].iloc[0]
    assert facts["parameters"] == 6_953_856 + 1025 * N_GENES
    assert facts["images_per_second"] > 0
    assert table.obsm["embedding"].shape == (table.n_obs, 1024)
    assert table.X.std(axis=0).min() > 0


@pytest.mark.slow
def test_bfloat16_features_of_tissue_agree_with_float32(tissue: Path) -> None:
    patches = np.load(tissue / "B4.npy")[::12]
    encoder = torchvision_recipe("resnet50", pretrained=False)
    exact = extract_features(patches, encoder=encoder, precision="float32")
    fast = extract_features(patches, encoder=encoder, precision="bfloat16")
    cosine = (exact * fast).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(fast, axis=1)
    assert cosine.min() > 0.999

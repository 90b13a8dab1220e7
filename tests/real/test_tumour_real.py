"""Tumour detection and domains become tables with their controls, on simulated tissue and on real sections."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import yaml
from unit.simulated_study import simple_features

from histobench.cohorts.section import write_section
from histobench.cohorts.simulation.simulate import settings_from_options, simulate_section
from histobench.config.benchmark import Benchmark
from histobench.evaluation.score import score_method
from histobench.evaluation.tables import write_tables
from histobench.files import read_json, read_table, write_table
from histobench.imaging.patches import write_patches
from histobench.training import run

pytestmark = pytest.mark.slow

CONTROLS = ("tumour_prevalence", "tumour_colour", "tumour_shuffled")
SIMULATED = {
    "n_patients": 2,
    "sections_per_patient": 1,
    "grid_columns": 14,
    "grid_rows": 14,
    "um_per_px": 2.4,
}


def bench(project: Path, name: str) -> Benchmark:
    config = {"run": [name], "cohorts": {"simulated": {"options": SIMULATED}}}
    return Benchmark(config, project)


def raw_files(made: Benchmark, cohort: str, section: str, folder: Path, mirror: Path) -> dict[str, str]:
    """What the reader gets: drawn for simulated tissue, those of a mirror for real."""
    files = made.section_files(cohort, section)
    if cohort == "her2st":
        return {kind: str(mirror / file) for kind, file in files.items()}
    files = {kind: str(folder / file) for kind, file in files.items()}
    places = {f"{kind}_path": file for kind, file in files.items()}
    simulate_section(settings_from_options(SIMULATED), section, **places)
    return files


def prepare(made: Benchmark, cohort: str, section: str, folder: Path, mirror: Path) -> dict[str, str]:
    """Section, patches and features as the pipeline makes them; colours of nine fields stand for a network's."""
    settings = made.cohorts[cohort]
    files = raw_files(made, cohort, section, folder, mirror)
    h5ad, patches = folder / f"{section}.h5ad", folder / f"{section}.npy"
    write_section(
        reader=settings["reader"],
        cohort=cohort,
        section=section,
        record=settings["sections"][section],
        files=files,
        options={},
        output_h5ad=h5ad,
        output_json=folder / f"{section}.json",
        pitch_um=settings["pitch_um"],
        spot_um=settings["spot_um"],
    )
    write_patches(files["image"], h5ad, patches, folder / "index.tsv", stain="raw", scale=2.4, width_px=64)
    np.save(folder / f"{section}.features.npy", simple_features(np.load(patches)))
    return {"h5ad": str(h5ad), "patches": str(patches), "features": str(folder / f"{section}.features.npy")}


@pytest.mark.parametrize(
    ("experiment", "cohort", "sections", "source"),
    [
        ("demo_tumour", "simulated", ("P1_1", "P2_1"), "simulated"),
        ("her2st_tumour", "her2st", ("B4", "C2"), "transferred"),
    ],
)
def test_tumour_and_domain_tables_with_controls(
    project: Path,
    shared_data: Path,
    tmp_path: Path,
    experiment: str,
    cohort: str,
    sections: tuple[str, str],
    source: str,
) -> None:
    made = bench(project, experiment)
    assert set(CONTROLS) < set(made.experiments[experiment]["methods"])
    mirror = shared_data / "her2st"
    files = {section: prepare(made, cohort, section, tmp_path, mirror) for section in sections}
    for section in sections:
        assert read_json(tmp_path / f"{section}.json")["label_source"] == source
        assert set(anndata.read_h5ad(files[section]["h5ad"]).obs["label_source"]) <= {source, "none"}
    first = anndata.read_h5ad(files[sections[0]]["h5ad"])
    second = anndata.read_h5ad(files[sections[1]]["h5ad"])
    genes = sorted(set(first.var_names) & set(second.var_names))
    write_table(pd.DataFrame({"gene": genes}), tmp_path / "genes.tsv")
    means = pd.Series(np.asarray(first[:, genes].X.mean(axis=0)).ravel(), index=genes)
    panel = means.sort_values(ascending=False).index[:30]
    write_table(pd.DataFrame({"gene": panel}), tmp_path / "panel.tsv")

    methods = [*CONTROLS, "tumour_logistic", "colour_ridge"]
    families, folds, kinds = {}, [], {"metrics": {}, "runs": {}, "spots": {}}
    for method in methods:
        described = yaml.safe_load((project / "config/methods" / f"{method}.yaml").read_text())
        families[method] = described["family"]
        for tested, trained in (sections, sections[::-1]):
            fold = made.cohorts[cohort]["sections"][tested]["patient"]
            folds.append(fold)
            common = {
                **{key: described[key] for key in ("entry", "params", "needs")},
                "fold": fold,
                "panel_tsv": tmp_path / "panel.tsv",
                "genes_tsv": tmp_path / "genes.tsv",
                "transform": "log1p_cp10k",
                "experiment": experiment,
                "method": method,
                "weights": "none",
                "device": "cpu",
                "patch_um_per_px": 2.4,
            }
            model = tmp_path / "models" / method / fold
            run.train(
                **common,
                sections={trained: files[trained]},
                roles={trained: "train"},
                output_weights=model / "weights.pt",
                output_history=model / "history.tsv",
                output_run=model / "run.json",
            )
            predictions = tmp_path / "predictions" / method / fold
            run.predict(
                **common, sections={tested: files[tested]}, model_folder=model, output_folder=predictions
            )
            kinds["runs"].setdefault(method, []).append(model / "run.json")
        own = sorted((tmp_path / "predictions" / method).iterdir())
        score_method(own, tmp_path / "metrics" / method, tmp_path / "spots" / method)
        for kind in ("metrics", "spots"):
            kinds[kind][method] = sorted((tmp_path / kind / method).glob("*.parquet"))
    write_tables(
        **kinds,
        experiment=experiment,
        ceilings=[],
        families=families,
        folds=sorted(set(folds)),
        output_folder=tmp_path / "tables",
        n_bootstrap=50,
    )

    tumour = read_table(tmp_path / "tables/tumour.tsv")
    assert set(tumour["method"]) == {*CONTROLS, "tumour_logistic"}
    assert set(tumour["patient"]) == {*folds, "*"}
    auroc = tumour[tumour["patient"] == "*"].set_index("method")["auroc"]
    print(auroc.round(3).to_dict())
    assert auroc["tumour_prevalence"] == 0.5
    assert abs(auroc["tumour_shuffled"] - 0.5) < 0.2
    assert auroc["tumour_colour"] > 0.6 and auroc["tumour_logistic"] > 0.6
    assert {"accuracy", "auprc", "brier", "auroc_low", "auroc_high"} <= set(tumour)
    domains = read_table(tmp_path / "tables/domains.tsv")
    assert {"observed", "colour_ridge"} <= set(domains["method"])
    seen = domains[(domains["values"] != "latent") & domains["method"].isin(["observed", "colour_ridge"])]
    assert set(seen["section"]) >= set(sections) and seen["ari"].notna().any()
    # purity is read beside that of a single cluster
    assert {"ari", "nmi", "purity", "purity_majority"} <= set(domains)
    print(seen[["method", "section", "ari", "nmi", "purity", "purity_majority"]].round(3))

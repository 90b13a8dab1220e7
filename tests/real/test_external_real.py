"""The same tissue scanned at another scale is predicted alike, because patches are cut in micrometres."""

from __future__ import annotations

from pathlib import Path

import anndata
import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from histobench.cohorts.section import write_section
from histobench.imaging.patches import write_patches
from histobench.imaging.slides import read_image
from histobench.training import run
from histobench.training.external import write_training_scale

pytestmark = pytest.mark.slow

IMAGES = {"B4": ("B", "BT10737_D2_HE.jpg"), "C2": ("C", "5714_HE_BT_C2.jpg")}
FACTORS = (0.5, 1.37)
WIDTH = 64
N_GENES = 30


@pytest.fixture(scope="module")
def scans(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """C2 to train on, B4 as scanned and as two other scanners would have scanned it."""
    folder = tmp_path_factory.mktemp("scans")
    mirror = shared_data / "her2st" / "data"
    for name, (patient, image) in IMAGES.items():
        write_section(
            reader="histobench.cohorts.readers.her2st:read_section",
            cohort="her2st",
            section=name,
            record={"patient": patient, "um_per_px": 0.688},
            files={
                "counts": str(mirror / "ST-cnts" / f"{name}.tsv.gz"),
                "spots": str(mirror / "ST-spotfiles" / f"{name}_selection.tsv"),
                "image": str(mirror / "ST-imgs" / patient / name / image),
            },
            options={},
            output_h5ad=folder / f"{name}.h5ad",
            output_json=folder / f"{name}.json",
            pitch_um=200,
            spot_um=100,
        )
        (folder / f"{name}.jpg").symlink_to(mirror / "ST-imgs" / patient / name / image)
    original = read_image(folder / "B4.jpg")
    for factor in FACTORS:
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        scan = cv2.resize(original, None, fx=factor, fy=factor, interpolation=how)
        cv2.imwrite(str(folder / f"B4_{factor}.jpg"), scan[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        table = anndata.read_h5ad(folder / "B4.h5ad")
        table.obs["pixel_x"] *= scan.shape[1] / original.shape[1]
        table.obs["pixel_y"] *= scan.shape[0] / original.shape[0]
        table.uns |= {
            "um_per_px": table.uns["um_per_px"] / factor,
            "image_width": scan.shape[1],
            "image_height": scan.shape[0],
        }
        table.write_h5ad(folder / f"B4_{factor}.h5ad")
    counts = anndata.read_h5ad(folder / "C2.h5ad")
    means = pd.Series(np.asarray(counts.X.mean(axis=0)).ravel(), index=counts.var_names)
    pd.DataFrame({"gene": counts.var_names}).to_csv(folder / "genes.tsv", sep="\t", index=False)
    panel = means.sort_values(ascending=False).index[:N_GENES]
    pd.DataFrame({"gene": panel}).to_csv(folder / "panel.tsv", sep="\t", index=False)
    sections = pd.DataFrame({"section": ["C2"], "um_per_px": [counts.uns["um_per_px"]]})
    sections.to_csv(folder / "sections.tsv", sep="\t", index=False)
    write_training_scale(folder / "sections.tsv", ["C2"], folder / "scale.json")
    return folder


def predictions(scans: Path, method: dict, scale: float | str, as_trained: bool) -> dict[str, np.ndarray]:
    """Train on C2 and predict every scan of B4; (spots, genes) by name."""
    common = {
        **method,
        "fold": "all",
        "panel_tsv": scans / "panel.tsv",
        "genes_tsv": scans / "genes.tsv",
        "transform": "log1p_cp10k",
        "experiment": "real",
        "weights": "none",
        "device": "cpu",
        "patch_um_per_px": scale,
    }
    names = ["B4", *(f"B4_{factor}" for factor in FACTORS)]
    files = {}
    for name in ["C2", *names]:
        file = scans / f"{name}.npy"
        trained = {"scale_json": scans / "scale.json"} if as_trained and name != "C2" else {}
        write_patches(
            scans / f"{name}.jpg", scans / f"{name}.h5ad", file, scans / "index.tsv",
            stain="raw", scale=scale, width_px=WIDTH, **trained,
        )  # fmt: skip
        files[name] = {"h5ad": str(scans / f"{name}.h5ad"), "patches": str(file)}
    model = scans / "model"
    run.train(
        **common,
        sections={"C2": files["C2"]},
        roles={"C2": "train"},
        output_weights=model / "weights.pt",
        output_history=model / "history.tsv",
        output_run=model / "run.json",
    )
    scale_json = scans / "scale.json" if as_trained else None
    found = {}
    for name in names:
        out = scans / "predicted"
        run.predict(
            **common,
            sections={name: files[name]},
            model_folder=model,
            output_folder=out,
            scale_json=scale_json,
        )
        found[name] = anndata.read_h5ad(out / f"{name}.h5ad").X
    return found


def agreement(found: dict[str, np.ndarray], factor: float) -> np.ndarray:
    """Correlation of each gene's predictions for the original and for another scan."""
    one, other = found["B4"], found[f"B4_{factor}"]
    return np.array([np.corrcoef(one[:, gene], other[:, gene])[0, 1] for gene in range(N_GENES)])


@pytest.mark.parametrize("name", ["colour_ridge", "stnet"])
def test_another_scale_gives_the_same_predictions(scans: Path, project: Path, name: str) -> None:
    described = yaml.safe_load((project / "config/methods" / f"{name}.yaml").read_text())
    small = {
        "architecture": "small_cnn", "input_px": None, "selection": "fixed", "epochs": 8, "learning_rate": 1e-3,
        "views": 8,
    }  # fmt: skip
    method = {
        "entry": described["entry"],
        "params": {**described["params"], **(small if name == "stnet" else {})},
        "needs": described["needs"],
        "method": name,
    }
    common = predictions(scans, method, 2.4, as_trained=False)
    trained = predictions(scans, method, "native", as_trained=True)
    pixels = predictions(scans, method, "native", as_trained=False)
    for factor in FACTORS:
        r = {n: agreement(f, factor) for n, f in (("2.4", common), ("trained", trained), ("pixels", pixels))}
        print(
            name,
            factor,
            {n: (round(values.min(), 3), round(np.median(values), 3)) for n, values in r.items()},
        )
        assert r["2.4"].min() > 0.95
        # finer patches lose detail that a coarser scan does not have; a network notices in single genes
        assert np.median(r["trained"]) > 0.95
        assert r["pixels"].min() < 0.95
        assert np.median(r["pixels"]) < np.median(r["trained"])
    assert np.median(agreement(pixels, 0.5)) < 0.95

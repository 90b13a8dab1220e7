"""A small, realistic set of result files in the formats of the pipeline, for tests of figures and report."""

from __future__ import annotations

from pathlib import Path

import anndata
import cv2
import numpy as np
import pandas as pd
from unit import described

from histobench.evaluation import tables as evaluation_tables
from histobench.figures.draw import draw
from histobench.files import write_json, write_table
from histobench.report.maps import collect_maps
from histobench.training.record import collect_records

FAMILIES = {
    "stnet": "deep",
    "ridge_probe": "classical",
    "knn": "classical",
    "colour_ridge": "control",
    "shuffled_image": "control",
    "train_mean": "control",
    "neighbour_mean": "oracle",
    "depth": "oracle",
}
LEVELS = {
    "stnet": 0.26,
    "ridge_probe": 0.17,
    "linear_probe": 0.15,
    "random_forest": 0.14,
    "knn": 0.12,
    "colour_ridge": 0.13,
    "shuffled_image": 0.0,
    "train_mean": 0.0,
    "random": 0.0,
    "section_mean": 0.0,
    "neighbour_mean": 0.33,
    "depth": 0.22,
    "tumour_label": 0.11,
}
CONSTANT = {"train_mean", "section_mean"}
MARKERS = ["GNAS", "ACTG1", "FASN", "DDX5", "XBP1", "ERBB2"]


def gene_truth(n_genes: int = 60) -> pd.DataFrame:
    """Truth of a simulated cohort: planted genes of four strengths, null genes, depth genes."""
    genes = [*MARKERS, *(f"GENE{number}" for number in range(n_genes - len(MARKERS)))]
    kinds = np.resize(["colour", "colour", "colour", "null", "depth"], n_genes)
    strengths = np.where(kinds == "colour", np.resize([0.1, 0.2, 0.35, 0.55, -0.2], n_genes), 0.0)
    return pd.DataFrame(
        {"gene": genes, "kind": kinds, "programme": "tumour", "strength": strengths, "mean_count": 1.0}
    )


def write_metrics(folder: Path, n_patients: int = 8, n_genes: int = 60) -> None:
    """Write metric files, run records and ceilings of every method and fold, two sections per patient.

    r of a planted gene grows with its strength and the method's level; patients differ, and genes of a
    patient go up and down together.
    """
    rng = np.random.default_rng(1)
    truth = gene_truth(n_genes)
    follows = np.abs(truth["strength"].to_numpy()) / 0.25
    depth_only = (truth["kind"] == "depth").to_numpy()
    patients = [chr(ord("A") + number) for number in range(n_patients)]
    patient_effect = rng.normal(0, 0.04, n_patients)
    for number, patient in enumerate(patients):
        sections = [f"{patient}1", f"{patient}2"]
        for method in FAMILIES:
            level = LEVELS[method]
            blocks = []
            for section in sections:
                noise = rng.normal(0, 0.05, n_genes) + rng.normal(0, 0.02)
                r = (level + patient_effect[number] * (level > 0)) * follows + noise
                r = r + (0.4 if method == "depth" else 0.1) * depth_only * (level > 0)
                r = np.zeros(n_genes) if method in CONSTANT else np.tanh(r)
                partial = r - np.where(depth_only, r, 0) + rng.normal(0, 0.01, n_genes) * depth_only
                values = {
                    "pearson": r,
                    "spearman": 0.93 * r,
                    "pearson_smoothed": 1.3 * r,
                    "pearson_partial_depth": partial,
                    "rmse": 0.9 - r / 2,
                    "mae": 0.7 - r / 2,
                    "auroc_quartiles": 0.5 + r / 2,
                    "mean_truth": np.ones(n_genes),
                    "mean_prediction": np.ones(n_genes),
                    "sd_truth": np.full(n_genes, 0.8),
                    "sd_prediction": np.full(n_genes, 0.0 if method in CONSTANT else 0.2),
                }
                if method == "shuffled_image":
                    values |= permuted(r, section)
                blocks += [
                    _long(patient, section, truth["gene"], metric, value) for metric, value in values.items()
                ]
            write_table(
                pd.concat(blocks, ignore_index=True), folder / "metrics" / method / f"{patient}.parquet"
            )
            deep = FAMILIES[method] == "deep"
            write_json(
                {
                    "experiment": "harmonised",
                    "method": method,
                    "fold": patient,
                    "seed": 0,
                    "train_seconds": 840.0 if deep else float(rng.uniform(0.1, 30)),
                    "peak_memory_mb": float(rng.uniform(300, 2500)),
                    "parameters": 7_210_106 if method == "stnet" else int(rng.integers(0, 500_000)),
                    "train_patients": [other for other in patients if other != patient],
                    "test_patients": [patient],
                    "hardware": "a processor, 2 cores",
                    **({"selection_unit": "patient"} if method in ("stnet", "ridge_probe") else {}),
                },
                folder / "models" / method / patient / "run.json",
            )
        ceilings = [
            _long(
                patient, section, truth["gene"], "ceiling", np.clip(rng.normal(0.54, 0.1, n_genes), 0.1, 0.9)
            )
            for section in sections
        ]
        write_table(pd.concat(ceilings, ignore_index=True), folder / "ceiling" / f"{patient}.parquet")


def permuted(r: np.ndarray, section: str, n: int = 20) -> dict[str, np.ndarray]:
    """r of permutations of the null control: genes share most of what one is off by, sections something."""
    shared = np.random.default_rng(2).normal(0, 0.03, n)
    own = np.random.default_rng([3, *section.encode()])
    further = [own.normal(shift + own.normal(0, 0.02), 0.05, len(r)) for shift in shared[1:]]
    return {f"pearson_{number}@permuted": each for number, each in enumerate([r, *further], start=1)}


def _long(patient: str, section: str, genes: pd.Series, metric: str, value: np.ndarray) -> pd.DataFrame:
    names = {"patient": patient, "section": section, "gene": genes, "metric": metric}
    return pd.DataFrame({**names, "value": value, "n_spots": 300})


def write_tables(folder: Path, n_patients: int = 8, n_genes: int = 60) -> None:
    """Write all tables of an experiment through the code that writes them in a run."""
    write_metrics(folder, n_patients, n_genes)
    write_table(gene_truth(n_genes), folder / "truth.tsv")
    write_tables_of(folder)


def write_tables_of(folder: Path) -> None:
    """Write the tables of whatever metric files and run records are there."""
    evaluation_tables.write_tables(
        experiment="harmonised",
        metrics={method: sorted((folder / "metrics" / method).glob("*.parquet")) for method in FAMILIES},
        runs={method: sorted((folder / "models" / method).glob("*/run.json")) for method in FAMILIES},
        ceilings=sorted((folder / "ceiling").glob("*.parquet")),
        families=FAMILIES,
        mean="train_mean",
        output_folder=folder / "tables",
        truth=folder / "truth.tsv",
        folds=sorted(path.stem for path in (folder / "ceiling").glob("*.parquet")),
        n_bootstrap=50,
    )


def write_predictions(folder: Path, section: str = "B1", methods: list[str] | None = None) -> list[Path]:
    """Write prediction files of one section for several methods, with a smooth truth on a 17 x 18 grid."""
    rng = np.random.default_rng(3)
    genes = [*MARKERS, "GENE0", "GENE1"]
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(3, 20), np.arange(4, 22)))
    inside = (x - 11) ** 2 / 70 + (y - 12.5) ** 2 / 75 < 1
    x, y = x[inside], y[inside]
    obs = pd.DataFrame(
        {
            "array_x": x.astype(float),
            "array_y": y.astype(float),
            "pixel_x": 500 + 290.7 * x,
            "pixel_y": 400 + 290.7 * y,
            "patient": section[0],
            "section": section,
            "label": "",
            "tumour": np.float32("nan"),
            "label_source": "none",
            "total_counts": rng.gamma(4, 500, len(x)),
        },
        index=[f"{a}x{b}" for a, b in zip(x, y, strict=True)],
    )
    signal = np.stack([np.sin(x / (2 + g)) + np.cos(y / (3 + g % 3)) for g in range(len(genes))], axis=1)
    truth = np.clip(1.5 + signal + rng.normal(0, 0.7, signal.shape), 0, None).astype(np.float32)
    paths = []
    for method in methods or ["stnet", "ridge_probe", "colour_ridge", "neighbour_mean"]:
        level = {"stnet": 0.35, "ridge_probe": 0.25, "colour_ridge": 0.15}.get(method, 0.5)
        predicted = (1.5 + level * signal + rng.normal(0, 0.08, signal.shape)).astype(np.float32)
        data = anndata.AnnData(predicted, obs=obs.copy(), var=pd.DataFrame(index=genes))
        data.layers["truth"] = truth
        data.obsm["spatial"] = obs[["pixel_x", "pixel_y"]].to_numpy()
        data.uns.update(
            {"experiment": "harmonised", "method": method, "fold": section[0], "seed": 0, "transform": "log1p_cp10k",
             "n_genes_measured": 15000, "um_per_px": 0.688, "cohort": "her2st"}
        )  # fmt: skip
        path = folder / method / section[0] / f"{section}.h5ad"
        path.parent.mkdir(parents=True, exist_ok=True)
        data.write_h5ad(path)
        paths.append(path)
    return paths


def write_maps(home: Path, section: str = "B1") -> None:
    """Write the maps of one section: of the methods that :func:`write_predictions` writes, the rest missing."""
    rng = np.random.default_rng(6)
    grain = rng.integers(150, 230, (170, 160, 3)).astype(np.uint8)
    tissue = home / "predictions" / f"{section}.jpg"
    cv2.imwrite(str(tissue), cv2.resize(grain, (6400, 6800), interpolation=cv2.INTER_NEAREST))
    predictions = {
        method: home / "predictions" / method / section[0] / f"{section}.h5ad" for method in FAMILIES
    }
    collect_maps({section: {"predictions": predictions, "image": tissue}}, home / "maps.json")


def write_histories(
    folder: Path, methods: tuple[str, ...] = ("stnet", "linear_probe"), folds: str = "ABC"
) -> list[Path]:
    """Write learning histories as ``models/{method}/{fold}/history.tsv``."""
    rng = np.random.default_rng(4)
    paths = []
    for method in methods:
        for fold in folds:
            epoch = np.arange(1, 31)
            start = 3000 if method == "stnet" else 900
            history = pd.DataFrame(
                {
                    "stage": "final",
                    "epoch": epoch,
                    "loss": start * np.exp(-epoch / 9) + 120 + rng.normal(0, 8, 30),
                    "valid_loss": start * np.exp(-epoch / 7) + 260 + 2 * epoch + rng.normal(0, 15, 30),
                    "valid_pearson": 0.18 * (1 - np.exp(-epoch / 8)) + rng.normal(0, 0.008, 30),
                    "seconds": 12.0,
                }
            )
            path = folder / method / fold / "history.tsv"
            write_table(history, path)
            paths.append(path)
    return paths


def write_cohort(folder: Path, sections_of: dict[str, int] | None = None) -> None:
    """Write sections.tsv, two QC profiles and stain records of a cohort."""
    rng = np.random.default_rng(5)
    sections_of = sections_of or {**dict.fromkeys("ABCD", 6), **dict.fromkeys("EFGH", 3)}
    rows = []
    for patient, number in sections_of.items():
        depth = rng.uniform(600, 12000)
        for place in range(number):
            raw = int(rng.integers(170, 710))
            rows.append(
                {
                    "section": f"{patient}{place + 1}",
                    "patient": patient,
                    "patient_alias": f"BC{patient}" if patient in "EFGH" else "",
                    "n_spots_raw": raw,
                    "n_spots_kept": raw - int(place == 4),
                    "dropped_zero_counts": int(place == 4),
                    "dropped_no_position": 0,
                    "dropped_spots": "18x20 (zero_counts)" if place == 4 else "",
                    "median_umi": round(depth * rng.uniform(0.8, 1.2)),
                    "um_per_px": 0.688 + rng.normal(0, 0.001),
                    "image_width": 9600,
                    "image_height": 9300,
                    "sha256_image": f"{place:064x}",
                    "sha256_counts": f"{raw:064x}",
                    "n_genes": int(rng.integers(14000, 16500)),
                    "n_labelled": raw if place == 0 else 0,
                    "label_source": "pathologist" if place == 0 else "transferred",
                }
            )
    sections = pd.DataFrame(rows)
    write_table(sections, folder / "sections.tsv")
    for profile, share in (("stnet", 0.0), ("brstnet", 0.06)):
        low = rng.binomial(sections["n_spots_raw"], share)
        white = rng.binomial(sections["n_spots_raw"], share / 3)
        summary = sections[["section", "n_spots_raw"]].assign(
            n_spots_kept=sections["n_spots_raw"] - low - white, dropped_low_umi=low, dropped_white_patch=white
        )
        write_table(summary, folder / "qc" / profile / "summary.tsv")
    for section in sections["section"][:3]:
        write_json({"tissue_share": 0.62, "flags": ["grey_atom"] if section.endswith("2") else []},
                   folder / "stain" / f"{section}.json")  # fmt: skip
    (folder / "stain").mkdir(exist_ok=True)


def figure_jobs(folder: Path) -> dict[str, dict]:
    """Inputs of every figure that these files allow, by figure; ``folder`` is where the tables were written."""
    tables = folder / "harmonised" / "tables"
    cohort = folder / "data" / "her2st"
    return {
        "leaderboard": {"leaderboard": tables / "leaderboard.tsv"},
        "consistency_curve": {"curve": tables / "consistency_curve.tsv"},
        "method_scatter": {"genes": tables / "genes.tsv"},
        "per_patient": {"patients": tables / "patients.tsv"},
        "detection": {"planted": tables / "planted.tsv", "planted_genes": tables / "planted_genes.tsv"},
        "expression_maps": {
            "predictions": sorted((folder / "harmonised" / "predictions").glob("*/B/B1.h5ad"))
        },
        "learning_curves": {"histories": sorted((folder / "harmonised" / "models").glob("*/*/history.tsv"))},
        "cohort_overview": {"sections": cohort / "sections.tsv"},
        "qc_dropped": {"summaries": sorted((cohort / "qc").glob("*/summary.tsv"))},
    }


SETTINGS = {
    "titles": described.titles(),
    "title": "Leave one patient out, HER2+",
    "description": "Every method under one protocol.",
    "experiment": "harmonised",
    "mode": "harmonised",
    "cohort": "her2st",
    "families": FAMILIES,
    "n_patients": 8,
    "n_sections": 36,
    "folds": "leave_one_patient_out",
    "panel": {"rule": "top_mean", "size": 60, "scope": "train"},
    "transform": "log1p_cp10k",
    "unit": "ln(1 + CP10k)",
    "seeds": [0],
}


def write_run(folder: Path, n_genes: int = 60) -> None:
    """Write everything that figures and report read of one experiment and one cohort."""
    write_tables(folder / "harmonised", 8, n_genes)
    write_predictions(folder / "harmonised" / "predictions")
    write_maps(folder / "harmonised")
    write_histories(folder / "harmonised" / "models")
    models = folder / "harmonised" / "models"
    runs = [run for method in FAMILIES for run in sorted((models / method).glob("*/run.json"))]
    collect_records(runs, folder / "harmonised" / "trainings.json")
    write_cohort(folder / "data" / "her2st")


def manifest(folder: Path) -> dict:
    """Manifest of a report over what :func:`write_run` wrote and the figures drawn from it."""
    home, cohort = folder / "harmonised", folder / "data" / "her2st"
    audit = pd.DataFrame(
        {
            "check": ["patients_disjoint", "aliases_disjoint", "panel_scope"],
            "scope": ["fold A", "fold A", "all folds"],
            "status": ["ok", "ok", "ok"],
            "detail": [
                "1 test patient, 7 training patients",
                "no alias is shared",
                "panels see training patients only",
            ],
        }
    )
    write_table(audit, home / "audit" / "leakage.tsv")
    figures = {
        name: {
            "svg": home / "figures" / f"{name}.svg",
            "png": home / "figures" / f"{name}.png",
            "caption": str(home / "figures" / f"{name}.txt"),
            "table": home / "tables" / "figures" / f"{name}.tsv",
        }
        for name in figure_jobs(folder)
    }
    methods = {
        "stnet": {
            "title": "ST-Net",
            "family": "deep",
            "entry": "histobench.methods.stnet:STNet",
            "params": {"epochs": 30, "lr": 1e-6, "augmentation": True},
            "published": {"median_pearson": 0.13},
            "deviations": ["bfloat16 on accelerators"],
            "sources": ["He et al. 2020, Nature Biomedical Engineering 4, 827-834"],
            "citation": "He et al. 2020",
            "licence": "MIT",
        },
        "knn": {"title": "k nearest neighbours", "family": "classical", "params": {"k": 50}},
    }
    return {
        "title": "HistoBench",
        "experiments": {
            "harmonised": {
                "settings": SETTINGS,
                "tables": home / "tables",
                "figures": figures,
                "audit": home / "audit" / "leakage.tsv",
                "folds": home / "folds.tsv",
                "maps": home / "maps.json",
                "runs": home / "trainings.json",
                "methods": methods,
            }
        },
        "cohorts": {
            "her2st": {
                "settings": {"title": "HER2+ breast cancer", "pitch_um": 200, "spot_um": 100, "licence": "MIT"},
                "sections": cohort / "sections.tsv",
                "qc": {profile: cohort / "qc" / profile / "summary.tsv" for profile in ("stnet", "brstnet")},
                "stain": {s: {"json": cohort / "stain" / f"{s}.json", "png": cohort / "stain" / f"{s}.png"}
                          for s in ("A1", "A2", "A3")},
            }
        },
        "provenance": folder / "report" / "provenance.json",
    }  # fmt: skip


_MADE: list[Path] = []


def shared_run(factory) -> Path:
    """Folder of one small run with all its figures, made once for all tests that only read it."""
    if _MADE:
        return _MADE[0]
    folder = factory.mktemp("run")
    write_run(folder, n_genes=30)
    home = folder / "harmonised"
    for name, inputs in figure_jobs(folder).items():
        svg, png, caption = (home / "figures" / f"{name}.{kind}" for kind in ("svg", "png", "txt"))
        draw(name, inputs, SETTINGS, svg, png, home / "tables" / "figures" / f"{name}.tsv", caption)
    manifest(folder)  # writes the audit
    _MADE.append(folder)
    return folder

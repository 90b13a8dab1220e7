"""Training and predicting from files: what reaches a method, and what it leaves behind."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import sparse

from histobench.errors import UserError
from histobench.evaluation.results import holds, read_scores
from histobench.evaluation.score import read_scored_section, write_metrics
from histobench.expression.transforms import transform_counts
from histobench.filelists import write_list
from histobench.methods.stnet import STNet
from histobench.results import tables
from histobench.results.catalogue import catalogue
from histobench.slides.grid import read_run
from histobench.training import run
from histobench.training.contract import FurtherGenes, Prediction, TrainingLog
from histobench.training.entry import load_method
from histobench.training.every_gene import score_every_gene
from histobench.training.folds import predict_folds, predict_heads, train_folds, train_heads, training_files
from histobench.training.load import load_section, read_genes, read_kept_spots, read_photos
from histobench.training.store import save_arrays

GENES = [f"G{i}" for i in range(12)]
PANEL = ["G7", "G2", "G10"]  # neither sorted nor the first columns


class Study:
    """Two patients, three sections, result files as the pipeline writes them."""

    def __init__(self, folder: Path, n: int = 9) -> None:
        self.folder = folder
        self.counts: dict[str, np.ndarray] = {}
        self.sections: dict[str, dict[str, str]] = {}
        rng = np.random.default_rng(5)
        measured = {"A1": GENES, "A2": GENES[::-1], "B1": GENES[:10]}  # other orders, other subsets
        for name, genes in measured.items():
            counts = rng.poisson(4.0, (n, len(genes))).astype(np.int32)
            table = anndata.AnnData(
                X=sparse.csr_matrix(counts),
                obs=pd.DataFrame(
                    {
                        "array_x": np.arange(n) % 3,
                        "array_y": np.arange(n) // 3,
                        "pixel_x": np.arange(n) % 3 * 100.0,
                        "pixel_y": np.arange(n) // 3 * 100.0,
                        "patient": name[0],
                        "section": name,
                        "label": "",
                        "tumour": np.float32([1, 0, np.nan] * (n // 3)),
                        "label_source": "simulated",
                    },
                    index=[f"{i % 3}x{i // 3}" for i in range(n)],
                ),
                var=pd.DataFrame(index=genes),
                uns={"um_per_px": 2.0, "cohort": "tiny", "section": name, "patient": name[0]},
            )
            table.write_h5ad(folder / f"{name}.h5ad")
            patches = rng.integers(0, 256, (n, 20, 20, 3), dtype=np.uint8)
            np.save(folder / f"{name}.npy", patches)
            self.sections[name] = {
                "h5ad": str(folder / f"{name}.h5ad"),
                "patches": str(folder / f"{name}.npy"),
                "qc": str(folder / f"{name}.tsv"),
            }
            by_gene = pd.DataFrame(counts, columns=genes).reindex(columns=GENES, fill_value=0)
            self.counts[name] = by_gene.to_numpy()
            qc = pd.DataFrame({"section": name, "spot": table.obs_names, "keep": 1, "keep_train": 1})
            qc.loc[(qc["section"] == "A1") & (qc["spot"] == "1x1"), ["keep", "keep_train"]] = 0
            qc.to_csv(folder / f"{name}.tsv", sep="\t", index=False)
        pd.DataFrame({"gene": GENES}).to_csv(folder / "genes.tsv", sep="\t", index=False)
        pd.DataFrame({"gene": PANEL, "rank": 1}).to_csv(folder / "panel.tsv", sep="\t", index=False)

    def common(self, **changes: object) -> dict:
        return {
            "entry": "histobench.methods.train_mean:TrainMean",
            "params": {},
            "needs": {},
            "fold": "1",
            "panel_tsv": self.folder / "panel.tsv",
            "genes_tsv": self.folder / "genes.tsv",
            "transform": "log1p_cp10k",
            "weights": "none",
            "device": "cpu",
            "seed": 0,
            "threads": 1,
            "experiment": "tiny",
            "method": "train_mean",
            **changes,
        }

    def train(self, **changes: object) -> Path:
        model = self.folder / "model"
        names = {"1": ["A1", "A2"], "2": ["B1"]}[str(changes.get("fold", "1"))]
        run.train(
            **self.common(**changes),
            sections={name: self.sections[name] for name in names},
            roles=dict.fromkeys(names, "train"),
            output_weights=model / "weights.pt",
            output_history=model / "history.tsv",
            output_run=model / "run.json",
        )
        return model

    def predict(self, **changes: object) -> Path:
        names = {"1": ["B1"], "2": ["A1", "A2"]}[str(changes.get("fold", "1"))]
        run.predict(
            **self.common(**changes),
            sections={name: self.sections[name] for name in names},
            model_folder=self.folder / "model",
            output_folder=self.folder / "predictions",
        )
        return self.folder / "predictions"

    def targets(self, name: str, keep: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Targets from the definition ln(1 + 10000 c / Z), Z over all genes before subsetting."""
        counts = self.counts[name][keep].astype(float)
        panel = counts[:, [GENES.index(g) for g in PANEL]]
        return np.log1p(1e4 * panel / counts.sum(axis=1, keepdims=True))


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


def test_photographs_are_read_with_their_roles(tmp_path):
    """Tiles and their index in, a role for each tile out."""
    tiles = np.arange(3 * 4 * 4 * 3, dtype=np.uint8).reshape(3, 4, 4, 3)
    np.save(tmp_path / "tiles.npy", tiles)
    index = tmp_path / "tiles.tsv"
    pd.DataFrame({"photo": ["a", "a", "b"], "role": ["train", "train", "valid"]}).to_csv(
        index, sep="\t", index=False
    )
    photos = read_photos(tmp_path / "tiles.npy", index)
    assert (photos.tiles == tiles).all() and photos.valid.tolist() == [False, False, True]
    index.write_text(index.read_text().replace("b\tvalid\n", ""))
    with pytest.raises(UserError, match="3 tiles, but 2 in"):
        read_photos(tmp_path / "tiles.npy", index)


def test_training_mean_is_that_of_the_kept_training_spots_in_panel_order(study: Study) -> None:
    study.train()
    table = anndata.read_h5ad(study.predict() / "B1.h5ad")
    kept = np.arange(9) != 4  # spot 1x1 of A1 fails quality control
    expected = np.concatenate([study.targets("A1", kept), study.targets("A2")]).mean(axis=0)
    assert list(table.var_names) == PANEL
    assert table.shape == (9, 3)
    np.testing.assert_allclose(table.X, np.tile(expected, (9, 1)), rtol=1e-6)
    np.testing.assert_allclose(table.layers["truth"], study.targets("B1"), rtol=1e-6)
    assert (table.layers["counts"][:, 2] == 0).all()  # G10 is not measured in B1: zero, not missing
    np.testing.assert_array_equal(table.obs["total_counts"], study.counts["B1"].sum(axis=1))
    assert table.uns["n_genes_measured"] == 12
    assert table.uns["transform"] == "log1p_cp10k"
    assert table.uns["um_per_px"] == 2.0


def test_spots_that_fail_quality_control_are_not_predicted(study: Study) -> None:
    study.train(fold="2")
    folder = study.predict(fold="2")
    assert sorted(p.name for p in folder.glob("*.h5ad")) == ["A1.h5ad", "A2.h5ad"]
    assert "1x1" not in anndata.read_h5ad(folder / "A1.h5ad").obs_names
    assert anndata.read_h5ad(folder / "A2.h5ad").n_obs == 9
    assert json.loads((folder / "predict.json").read_text())["n_spots"] == 17


def test_run_json_says_what_was_run(study: Study) -> None:
    facts = json.loads((study.train() / "run.json").read_text())
    assert facts["n_train_spots"] == 17
    assert facts["train_patients"] == ["A"]
    assert facts["train_sections"] == ["A1", "A2"]
    assert facts["parameters"] == 3
    assert facts["peak_memory_mb"] > 10
    assert facts["hardware"]
    assert facts["versions"]["numpy"] == np.__version__
    history = pd.read_csv(study.folder / "model" / "history.tsv", sep="\t")
    assert history.empty
    assert not (study.folder / "model" / run.CHECKPOINTS).exists()


@pytest.mark.parametrize("transform", ["stnet", "log1p", "log10_cp10k_panel"])
def test_the_loader_uses_the_transforms_of_the_expression_room(study: Study, transform: str) -> None:
    loaded = load_section(study.sections["A2"]["h5ad"], panel=PANEL, all_genes=GENES, transform=transform)
    counts = study.counts["A2"]
    panel = counts[:, [GENES.index(g) for g in PANEL]]
    expected = transform_counts(transform, panel, counts.sum(1), panel.sum(1), len(GENES))
    np.testing.assert_allclose(loaded.data.targets, expected, rtol=1e-6)


def test_a_window_is_the_centre_of_the_patch(study: Study) -> None:
    stored = np.load(study.sections["A1"]["patches"])
    options = {"panel": PANEL, "all_genes": GENES, "patches": study.sections["A1"]["patches"]}
    kept = read_kept_spots(study.folder / "A1.tsv")
    for window in ({"px": 8}, {"um": 16}):  # 2 um per pixel
        section = load_section(study.sections["A1"]["h5ad"], window=window, keep=kept, **options).data
        assert section.patches is not None
        assert section.patches.shape == (8, 8, 8, 3)
        expected = np.delete(stored, 4, axis=0)[:, 6:14, 6:14]
        np.testing.assert_array_equal(np.asarray(section.patches), expected)
        np.testing.assert_array_equal(section.patches[[3, 1]], expected[[3, 1]])
        np.testing.assert_array_equal(section.patches.take(np.array([2, 0]))[:], expected[[2, 0]])
    section = load_section(
        study.sections["A1"]["h5ad"], window={"um": 16}, patch_um_per_px=4.0, **options
    ).data
    assert section.patches is not None
    assert section.patches.shape[1] == 4
    assert section.um_per_px == 4.0


def test_a_section_shown_for_prediction_holds_no_truth(study: Study) -> None:
    loaded = load_section(study.sections["A1"]["h5ad"], panel=PANEL, all_genes=GENES)
    shown = loaded.data.without_truth()
    assert shown.targets is None and shown.counts is None
    assert shown.labels is None and shown.total_counts is None
    assert set(shown.spots.columns) == {"array_x", "array_y", "pixel_x", "pixel_y"}


def test_the_kind_of_grid_goes_from_the_section_to_method_prediction_and_scores(study: Study) -> None:
    smoothed = {}
    for grid in ("square", "hexagonal"):
        for files in study.sections.values():
            table = anndata.read_h5ad(files["h5ad"])
            row = np.arange(9) // 3
            table.obs["array_x"], table.obs["array_y"] = 2 * (np.arange(9) % 3) + row % 2, row
            table.uns["grid"] = grid
            table.write_h5ad(files["h5ad"])
        loaded = load_section(study.sections["A1"]["h5ad"], panel=PANEL, all_genes=GENES)
        assert loaded.data.grid == loaded.data.without_truth().grid == grid
        study.train()
        path = study.predict() / "B1.h5ad"
        assert anndata.read_h5ad(path).uns["grid"] == grid
        scored = read_scored_section(path)
        assert scored.grid == grid
        smoothed[grid] = scored.smoothed[4]
    # the middle one of three rows of three: six of the eight others lie at one pitch
    table = anndata.read_h5ad(path)
    near = [1, 2, 3, 4, 5, 7, 8]
    counts, total = table.layers["counts"][near].mean(axis=0), table.obs["total_counts"].iloc[near].mean()
    np.testing.assert_allclose(smoothed["hexagonal"], np.log1p(1e4 * counts / total), rtol=1e-5)
    assert not np.allclose(smoothed["square"], smoothed["hexagonal"])


def test_a_section_of_an_earlier_version_is_square_or_refused(study: Study) -> None:
    path = study.sections["A1"]["h5ad"]
    assert load_section(path, panel=PANEL, all_genes=GENES).data.grid == "square"
    table = anndata.read_h5ad(path)
    table.obs["array_x"] = 2 * table.obs["array_x"] + table.obs["array_y"] % 2
    table.write_h5ad(path)
    with pytest.raises(UserError, match=r"kind of grid.*make it again") as problem:
        load_section(path, panel=PANEL, all_genes=GENES)
    assert _message(problem).startswith(str(path))
    table.uns["grid"] = "honeycomb"
    table.write_h5ad(path)
    with pytest.raises(UserError, match=r"the grid is 'honeycomb', expected one of square") as problem:
        load_section(path, panel=PANEL, all_genes=GENES)
    assert _message(problem).startswith(str(path))


def test_a_control_on_patches_runs_from_its_yaml(study: Study, project: Path) -> None:
    method = yaml.safe_load((project / "config/methods/colour_ridge.yaml").read_text())
    changes = {"entry": method["entry"], "params": method["params"], "needs": method["needs"]}
    study.train(**changes)
    table = anndata.read_h5ad(study.predict(**changes) / "B1.h5ad")
    assert np.isfinite(table.X).all()
    assert table.obsm["embedding"].shape == (9, 9)


def test_r_of_every_permutation_is_stored_beside_a_prediction_and_scored(tmp_path: Path) -> None:
    study = Study(tmp_path, n=12)
    params = {
        "entry": "histobench.methods.colour_ridge:ColourRidge",
        "params": {"alphas": [10.0]},
        "draws": 5,
    }
    changes = {"entry": "histobench.methods.shuffled_image:ShuffledImage", "params": params,
               "needs": {"patches": True}, "method": "shuffled_image"}  # fmt: skip
    model = study.train(**changes)
    table = anndata.read_h5ad(study.predict(**changes) / "B1.h5ad")
    shown = load_section(
        study.sections["B1"]["h5ad"], panel=PANEL, all_genes=GENES, patches=study.sections["B1"]["patches"]
    ).data
    found = load_method(changes["entry"], params, model).predict(shown.without_truth())
    varies = shown.targets.std(axis=0) > 0  # a gene that the section does not measure has no r
    assert list(varies) == [True, True, False]
    for column, predicted in enumerate([found.expression, *found.permuted]):
        r = [np.corrcoef(predicted[:, g], shown.targets[:, g])[0, 1] for g in (0, 1)]
        stored = table.varm["pearson_permuted"][:, column]
        np.testing.assert_allclose(stored[varies], r, atol=1e-5)
        assert np.isnan(stored[~varies]).all()
    assert table.varm["pearson_permuted"].shape == (3, 5) and column == 4
    np.testing.assert_allclose(table.varm["pearson_permuted"][:, 0], table.var["pearson"], atol=1e-7)
    # r goes with its gene where some genes are left out, and into the metric table
    shutil.rmtree(study.folder / "predictions")
    measured = ["G2", "G7"]
    pd.DataFrame({"gene": measured, "rank": 1}).to_csv(study.folder / "measured.tsv", sep="\t", index=False)
    folder = study.predict(measured_tsv=study.folder / "measured.tsv", **changes)
    part = anndata.read_h5ad(folder / "B1.h5ad")
    np.testing.assert_array_equal(part.varm["pearson_permuted"], table[:, measured].varm["pearson_permuted"])
    write_metrics(folder, study.folder / "metrics.parquet", study.folder / "spots.parquet")
    scores = read_scores([study.folder / "metrics.parquet"], "permuted")
    assert (scores.genes, scores.sections) == (("G2", "G7"), ("B1",))
    for number in range(5):
        np.testing.assert_array_equal(
            scores[f"pearson_{number + 1}"][0], part.varm["pearson_permuted"][:, number]
        )
    assert "pearson_1" not in read_scores([study.folder / "metrics.parquet"]).values
    write_metrics(folder, study.folder / "few.parquet", study.folder / "spots.parquet", least_spots=13)
    assert not holds(study.folder / "few.parquet", "permuted")  # too few spots for any r


def _message(problem: pytest.ExceptionInfo) -> str:
    text = str(problem.value)
    assert text.endswith(".") and "\n" not in text
    return text


def test_mistakes_are_named_in_one_sentence(study: Study) -> None:
    with pytest.raises(UserError) as problem:
        study.train(params={"depht": 3})
    assert "'depht'" in _message(problem)

    with pytest.raises(UserError) as problem:
        study.train(entry="histobench.methods.nothing:Here")
    assert "histobench.methods.nothing" in _message(problem)

    with pytest.raises(UserError) as problem:
        study.train(needs={"features": "resnet50"})
    assert "features" in _message(problem)

    with pytest.raises(UserError) as problem:
        study.train(needs={"patches": True}, window={"px": 21})
    assert "21 px" in _message(problem) and "width_px" in str(problem.value)

    np.save(study.sections["A1"]["patches"], np.zeros((8, 20, 20, 3), np.uint8))
    with pytest.raises(UserError) as problem:
        study.train(needs={"patches": True})
    assert "8 rows" in _message(problem) and "9 spots" in str(problem.value)


def test_a_section_without_a_role_is_refused(study: Study) -> None:
    options = study.common()
    with pytest.raises(ValueError, match="role"):
        run.train(
            **options,
            sections=study.sections,
            roles={"A1": "train", "A2": "train", "B1": "test"},
            output_weights=study.folder / "weights.pt",
            output_history=study.folder / "history.tsv",
            output_run=study.folder / "run.json",
        )


def test_a_gene_that_no_training_section_measures_counts_in_the_size_factor_only(study: Study) -> None:
    known = [gene for gene in GENES if gene != "G0"]
    loaded = load_section(study.sections["A1"]["h5ad"], panel=PANEL, all_genes=known)
    assert loaded.data.counts is not None and loaded.data.counts.shape == (9, 11)
    np.testing.assert_array_equal(loaded.data.total_counts, study.counts["A1"].sum(axis=1))


def test_a_section_without_a_kept_spot_trains_nothing_and_is_predicted_empty(study: Study) -> None:
    for name in ("A2", "B1"):
        table = pd.read_csv(study.folder / f"{name}.tsv", sep="\t").assign(keep=0, keep_train=0)
        table.to_csv(study.folder / f"{name}.tsv", sep="\t", index=False)
    facts = json.loads((study.train() / "run.json").read_text())
    assert facts["n_sections_empty"] == 1
    assert facts["train_sections"] == ["A1"]
    assert anndata.read_h5ad(study.predict() / "B1.h5ad").shape == (0, 3)
    with pytest.raises(UserError, match="no spot to train on"):
        study.train(fold="2")


def test_a_failed_prediction_leaves_nothing_behind(study: Study) -> None:
    study.train()
    Path(study.sections["B1"]["h5ad"]).unlink()
    with pytest.raises(UserError, match=r"B1\.h5ad"):
        study.predict()
    assert not (study.folder / "predictions").exists()
    assert not list(study.folder.glob(".predictions*"))


def test_genes_are_read_in_file_order(study: Study) -> None:
    assert read_genes(study.folder / "panel.tsv") == tuple(PANEL)


@pytest.mark.slow
def test_the_lines_of_the_readme_fit_and_predict(project: Path, study: Study, monkeypatch) -> None:
    """The README's own code, run where the files of a demo would lie; its network takes some seconds."""
    blocks = re.findall(
        r"^```python\n(.*?)^```", (project / "README.md").read_text(encoding="utf-8"), re.M | re.S
    )
    (code,) = [block for block in blocks if "histobench.create(" in block]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    data = study.folder / "results/data/simulated"
    panels = study.folder / "results/demo/panels"
    for folder in (data / "sections", data / "patches/raw-2.4um-64px", panels):
        folder.mkdir(parents=True)
    for name, demo in zip(("B1", "A1", "A2"), ("P1_1", "P2_1", "P3_1"), strict=True):
        shutil.copy(study.folder / f"{name}.h5ad", data / f"sections/{demo}.h5ad")
        np.save(
            data / f"patches/raw-2.4um-64px/{demo}.npy",
            np.load(study.folder / f"{name}.npy").repeat(2, 1).repeat(2, 2),
        )
    shutil.copy(study.folder / "panel.tsv", panels / "P1.tsv")
    shutil.copy(study.folder / "genes.tsv", panels / "P1.universe.tsv")
    monkeypatch.chdir(study.folder)
    names: dict = {}
    exec(code, names)
    predicted = names["predicted"]
    assert predicted.shape == (9, 3) and np.isfinite(predicted).all()
    assert isinstance(names["method"], STNet)


def _train_stnet(study: Study) -> None:
    params = {
        "architecture": "small_cnn", "input_px": None, "inner_folds": 2, "epochs": 25, "batch_size": 4,
        "learning_rate": 1e-3, "views": 1, "selection_views": 1, "checkpoint_seconds": 0.0,
    }  # fmt: skip
    needs = {"patches": True}
    study.train(entry="histobench.methods.stnet:STNet", params=params, needs=needs, method="stnet")


@pytest.mark.slow
def test_a_method_killed_five_times_ends_with_the_model_of_an_undisturbed_one(tmp_path: Path) -> None:
    """SIGKILL at random moments of a whole job: inner folds, final training, files; each is a loop to resume."""
    import multiprocessing
    import os
    import signal
    import time

    import torch

    torch.set_num_threads(1)
    forked = multiprocessing.get_context("fork")  # a fresh interpreter would import torch seven times
    rng = np.random.default_rng(3)
    folders = [tmp_path / "whole", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
    studies = [Study(folder) for folder in folders]
    _train_stnet(studies[0])

    stages = []
    for _ in range(5):
        process = forked.Process(target=_train_stnet, args=(studies[1],))
        process.start()
        assert process.pid is not None
        saved, wanted = set(), rng.integers(20, 45)
        while len(saved) < wanted and process.is_alive():  # every step saves a checkpoint
            for file in folders[1].glob("model/.checkpoints/[a-z]*.pt"):
                saved.add((file.name, file.stat().st_mtime_ns))
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL, "the training ended before it could be killed"
        stages.append(len(list(folders[1].glob("model/.checkpoints/[a-z]*.pt"))))
    assert stages == sorted(stages) and stages[-1] > 1, (
        "the kills should reach more than the first inner fold"
    )
    process = forked.Process(target=_train_stnet, args=(studies[1],))
    process.start()
    process.join()
    assert process.exitcode == 0

    whole, killed = (torch.load(folder / "model/weights.pt", weights_only=True) for folder in folders)
    assert whole["network"].keys() == killed["network"].keys()
    for name, value in whole["network"].items():
        assert torch.equal(value, killed["network"][name]), name
    history, again = (pd.read_csv(folder / "model/history.tsv", sep="\t") for folder in folders)
    times = ["seconds", "images_per_second"]
    pd.testing.assert_frame_equal(history.drop(columns=times), again.drop(columns=times))
    assert not (folders[1] / "model/.checkpoints").exists()


def test_genes_that_a_section_does_not_measure_leave_prediction_truth_and_counts_alike(study: Study) -> None:
    study.train()
    whole = anndata.read_h5ad(study.predict() / "B1.h5ad")
    shutil.rmtree(study.folder / "predictions")
    measured = ["G10", "G7"]  # two of three, in another order than the panel's
    pd.DataFrame({"gene": measured, "rank": 1}).to_csv(study.folder / "measured.tsv", sep="\t", index=False)
    part = anndata.read_h5ad(study.predict(measured_tsv=study.folder / "measured.tsv") / "B1.h5ad")
    assert list(part.var_names) == measured
    np.testing.assert_array_equal(part.X, whole[:, measured].X)
    for layer in ("truth", "counts"):
        values, expected = part.layers[layer], whole[:, measured].layers[layer]
        values, expected = (v.toarray() if sparse.issparse(v) else v for v in (values, expected))
        np.testing.assert_array_equal(values, expected)
    wanted = study.counts["B1"][:, [GENES.index(gene) for gene in measured]]
    counts = part.layers["counts"]
    np.testing.assert_array_equal(counts.toarray() if sparse.issparse(counts) else counts, wanted)


def test_the_configured_seed_reaches_the_training(study: Study) -> None:
    """Also the first one: a run with `seeds: [7]` is not one with `seeds: [0]`."""
    changes = {"entry": "histobench.methods.random_network:RandomNetwork", "needs": {"patches": True},
               "params": {"architecture": "small_cnn", "input_px": None}}  # fmt: skip
    found = {}
    for seed in (0, 7, 0):
        model = study.train(**changes, seed=seed)
        facts = json.loads((model / "run.json").read_text())
        found.setdefault(seed, []).append((facts["seed_derived"], anndata.read_h5ad(
            study.predict(**changes, seed=seed) / "B1.h5ad").X))  # fmt: skip
        shutil.rmtree(study.folder / "predictions")
        shutil.rmtree(study.folder / "model")
    (first, again), (other,) = found[0], found[7]
    assert first[0] == again[0] != other[0]
    np.testing.assert_array_equal(first[1], again[1])
    assert np.abs(first[1] - other[1]).max() > 1e-4


NETWORK = {
    "entry": "histobench.methods.stnet:STNet",
    "params": {"architecture": "small_cnn", "input_px": 20, "epochs": 1},
    "needs": {"patches": True},
    "method": "stnet",
}


@pytest.mark.parametrize("method", [{}, NETWORK], ids=["train_mean", "stnet"])
def test_two_trainings_end_in_the_same_bytes(study: Study, method: dict) -> None:
    first = (study.train(**method) / "weights.pt").read_bytes()
    shutil.rmtree(study.folder / "model")
    assert (study.train(**method) / "weights.pt").read_bytes() == first


@pytest.mark.parametrize("method", [{}, NETWORK], ids=["train_mean", "stnet"])
def test_a_model_that_was_damaged_predicts_nothing(study: Study, method: dict) -> None:
    weights = study.train(**method) / "weights.pt"
    content = weights.read_bytes()
    for place in range(0, len(content), len(content) // 20):
        changed = bytearray(content)
        changed[place] ^= 4
        weights.write_bytes(changed)
        with pytest.raises(UserError, match=r"weights\.pt: is damaged.* rule train_method"):
            study.predict(**method)
    weights.write_bytes(content)
    weights.with_name("weights.pt.sha256").unlink()
    with pytest.raises(
        UserError, match=r"cannot be verified, as its checksum weights\.pt\.sha256 is missing"
    ):
        study.predict(**method)
    assert not (study.folder / "predictions").exists()


class OwnFormat:
    """A method of somebody else, who writes ``weights.pt`` in a way of his own."""

    def fit(self, train, valid, context) -> TrainingLog:
        self.genes = len(context.genes)
        return TrainingLog(history=[])

    def predict(self, section) -> Prediction:
        return Prediction(np.zeros((len(section), self.genes), np.float32))

    def save(self, folder: Path) -> None:
        (folder / "weights.pt").write_text(str(self.genes))

    def load(self, folder: Path) -> None:
        self.genes = int((folder / "weights.pt").read_text())


def test_a_method_that_writes_its_own_format_is_protected_too(study: Study) -> None:
    method = {"entry": f"{__name__}:OwnFormat", "method": "own"}
    weights = study.train(**method) / "weights.pt"
    study.predict(**method)
    weights.write_text("7")
    with pytest.raises(UserError, match="is damaged"):
        study.predict(**method)


def test_the_record_of_a_model_is_protected_too(study: Study) -> None:
    """Its genes and its scale are what a prediction elsewhere goes by."""
    image = {"stain": "raw", "width_px": 20}
    model = study.train(**NETWORK, image=image, patch_um_per_px=2.0)
    assert read_run(model).genes == tuple(PANEL)
    record = model / "run.json"
    for change in (("G7", "G8"), ("{", "\xff"), ('"width_px": 20', '"width_px": 24')):
        whole = record.read_bytes()
        record.write_bytes(whole.replace(*(text.encode("latin-1") for text in change), 1))
        with pytest.raises(UserError, match=r"run\.json: is damaged"):
            read_run(model)
        record.write_bytes(whole)
    record.with_name("run.json.sha256").unlink()
    record.write_bytes(b"\xff")
    with pytest.raises(UserError, match="no valid JSON"):
        read_run(model)


@pytest.mark.parametrize("oracle", [False, True])
def test_only_an_oracle_is_shown_the_truth_of_a_tested_section(study: Study, oracle: bool) -> None:
    changes = {"entry": "unit.witness_method:Witness", "needs": {"oracle": oracle}}
    study.train(**changes)
    table = anndata.read_h5ad(study.predict(**changes) / "B1.h5ad")
    assert (float(oracle) == table.X).all()


def test_spots_that_training_leaves_out_are_predicted_all_the_same(study: Study) -> None:
    """Patches too white to learn from: `keep_train` is 0 where `keep` is 1."""
    for name in ("A1", "B1"):
        qc = pd.read_csv(study.folder / f"{name}.tsv", sep="\t")
        qc.loc[qc["spot"] == "2x0", "keep_train"] = 0
        qc.to_csv(study.folder / f"{name}.tsv", sep="\t", index=False)
    study.train()
    table = anndata.read_h5ad(study.predict() / "B1.h5ad")
    learnt = ~np.isin(np.arange(9), [2, 4])  # 2x0, and 1x1 which fails for all
    expected = np.concatenate([study.targets("A1", learnt), study.targets("A2")]).mean(axis=0)
    assert "2x0" in table.obs_names and len(table) == 9
    np.testing.assert_allclose(table.X, np.tile(expected, (9, 1)), rtol=1e-6)


class SaysOtherThings:
    """A method whose answer is of a kind that no file of results can hold."""

    def __init__(self, kind: str = "") -> None:
        self.kind = kind

    def fit(self, train, valid, context):
        return None if self.kind == "no log" else TrainingLog(facts={"parameters": 0})

    def predict(self, section):
        plain = np.ones((len(section), len(PANEL)))
        return {
            "complex": Prediction(plain * 1j),
            "objects": Prediction(plain.astype(object)),
            "text": Prediction(plain.astype(str)),
            "masked": Prediction(np.ma.masked_less(plain, 2)),
            "ragged": Prediction([[1.0], [1.0, 2.0]]),
            "beyond 32 bits": Prediction(plain * 1e300),
            "not finite": Prediction(plain * np.nan),
            "one gene": Prediction(plain[:, 0]),
            "a bare array": plain,
            "a strange probability": Prediction(plain, tumour_probability=plain[:, 0] * 1j),
            "an endless embedding": Prediction(plain, embedding=plain * np.inf),
        }[self.kind]

    def save(self, folder):
        (folder / "weights.pt").write_text("none")

    def load(self, folder):
        pass


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("no log", "fit returned a NoneType, expected a TrainingLog"),
        ("complex", "of type complex128; return float32"),
        ("objects", "of type object; return float32"),
        ("text", "of type <U32; return float32"),
        ("masked", "masked"),
        ("ragged", "is a list that is no array"),
        ("beyond 32 bits", "not finite"),
        ("not finite", "not finite"),
        ("one gene", r"predicted \(9,\), expected \(9, 3\)"),
        ("a bare array", "returned a ndarray, expected a Prediction"),
        ("a strange probability", "the tumour probability is of type complex128"),
        ("an endless embedding", "values of the embedding are not finite"),
    ],
)
def test_a_run_refuses_what_a_method_may_not_say(study: Study, kind: str, says: str) -> None:
    method = {"entry": f"{__name__}:SaysOtherThings", "params": {"kind": kind}}
    with pytest.raises(UserError, match=f"SaysOtherThings breaks the contract of methods .*{says}"):
        study.train(**method)
        study.predict(**method)
    assert not list(study.folder.glob("predictions/*.h5ad"))


def test_all_folds_in_one_process_end_as_each_of_them_alone(study, tmp_path):
    """Weights and predictions are the same files; the job sees every section, and each fold its own ones only."""
    folds = {"1": {"A1": "train", "A2": "train"}, "2": {"B1": "train"}}
    tested = {"1": ["B1"], "2": ["A1", "A2"]}
    names = ["A1", "A2", "B1"]
    needs = {"patches": True}
    colours = {
        "entry": "histobench.methods.colour_ridge:ColourRidge",
        "params": {"alphas": [1.0]},
        "needs": needs,
    }
    alone = {}
    for fold in folds:
        model = study.train(**colours, fold=fold, method="colour_ridge")
        predictions = study.predict(**colours, fold=fold, method="colour_ridge")
        alone[fold] = (
            (model / "weights.pt").read_bytes(),
            {file.name: anndata.read_h5ad(file).X for file in predictions.glob("*.h5ad")},
        )
    for fold, roles in folds.items():
        counts = {name: {kind: study.sections[name][kind] for kind in ("h5ad", "qc")} for name in roles}
        write_list(counts, tmp_path / f"{fold}.training.tsv")
    write_list(
        {name: {"patches": study.sections[name]["patches"]} for name in names}, tmp_path / "patches.tsv"
    )
    write_list(study.sections, tmp_path / "everything.tsv")
    columns = {
        "training": [str(tmp_path / f"{fold}.training.tsv") for fold in folds],
        "images": [str(tmp_path / "patches.tsv")],
        "panel": [study.folder / "panel.tsv"] * 2,
    }
    (study.folder / "panel.universe.tsv").write_bytes((study.folder / "genes.tsv").read_bytes())
    for fold, handed in zip(folds, training_files(columns, folds), strict=True):
        assert set(handed) == set(folds[fold]) and not set(handed) & set(tested[fold])
        assert handed == {name: study.sections[name] for name in folds[fold]}
    settings = study.common(**colours, method="colour_ridge")
    settings = {key: settings[key] for key in settings if key not in ("fold", "panel_tsv", "genes_tsv")}
    made = {"weights": "weights.pt", "history": "history.tsv", "run": "run.json"}
    train_folds(
        columns=columns,
        outputs={
            kind: [str(tmp_path / "models" / fold / name) for fold in folds] for kind, name in made.items()
        },
        folds=folds,
        **settings,
    )
    predict_folds(
        columns={
            "lists": [str(tmp_path / "everything.tsv")],
            "panel": columns["panel"],
            "weights": [str(tmp_path / "models" / fold / "weights.pt") for fold in folds],
        },
        folders=[str(tmp_path / "predicted" / fold) for fold in folds],
        folds=tested,
        **settings,
    )
    for fold, (weights, predictions) in alone.items():
        assert (tmp_path / "models" / fold / "weights.pt").read_bytes() == weights
        assert set(predictions) == {f"{name}.h5ad" for name in tested[fold]}
        for name, values in predictions.items():
            np.testing.assert_array_equal(anndata.read_h5ad(tmp_path / "predicted" / fold / name).X, values)
    # several methods in one process, which is what heads on the same features are
    own = {key: settings.pop(key) for key in ("entry", "params", "method")}
    others = [{**own, "params": {"alphas": [1.0e5]}, "method": "shrunk"}, own]
    both = [tmp_path / "heads" / method["method"] / fold for method in others for fold in folds]
    train_heads(
        columns=columns,
        outputs={kind: [str(folder / made[kind]) for folder in both] for kind in ("weights", "run")},
        methods=others,
        folds=folds,
        **settings,
    )
    listed = {
        "lists": [str(tmp_path / "everything.tsv")],
        "panel": columns["panel"],
    }
    into = [str(folder / "predicted") for folder in both]
    weights_files = [str(folder / "weights.pt") for folder in both]
    asked = {"columns": {**listed, "weights": weights_files}, "folders": into, "folds": tested, **settings}
    predict_heads(methods=others, **asked)
    for fold, (weights, predictions) in alone.items():
        shrunk, mine = (tmp_path / "heads" / name / fold for name in ("shrunk", "colour_ridge"))
        assert (mine / "weights.pt").read_bytes() == weights != (shrunk / "weights.pt").read_bytes()
        assert {file.name for file in mine.iterdir()} == {
            *("weights.pt", "weights.pt.sha256", "history.tsv", "run.json", "run.json.sha256", "card.md"),
            "predicted",
        }
        for name, values in predictions.items():
            np.testing.assert_array_equal(anndata.read_h5ad(mine / "predicted" / name).X, values)
    # one that fails says whose it is
    Path(weights_files[-1]).write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"^colour_ridge on fold 2: .*weights.pt: is damaged"):
        predict_heads(methods=others, **asked)
    with pytest.raises(TypeError) as caught:
        train_heads(
            columns=columns,
            outputs={kind: [str(folder / made[kind]) for folder in both] for kind in ("weights", "run")},
            methods=[others[0], {**own, "params": {"alphas": None}}],
            folds=folds,
            **settings,
        )
    assert caught.value.__notes__ == ["colour_ridge on fold 1"]


class Everything:
    """Predicts a constant for the panel, and the column of a spot for one gene beside it."""

    def fit(self, train, valid, context):
        return TrainingLog()

    def predict(self, section):
        column = section.spots["array_x"].to_numpy(np.float32)[:, None]
        beside = next(gene for gene in GENES if gene not in PANEL)
        return Prediction(
            np.ones((len(section), len(PANEL)), np.float32), further=FurtherGenes((beside,), lambda: column)
        )

    def save(self, folder):
        save_arrays(folder, nothing=np.zeros(1))

    def load(self, folder):
        pass


def test_scores_of_genes_beside_the_panel_lie_beside_the_predictions(study: Study) -> None:
    entry = {"entry": f"{__name__}:Everything"}
    study.train(**entry)
    folder = study.predict(**entry, score_further=score_every_gene)
    table = tables.read(folder / run.EVERY_GENE, catalogue()["every_gene_scores"]).set_index("gene")
    (gene,) = table.index[table["kind"] == "auxiliary"]
    counts = study.counts["B1"]
    truth = np.log1p(1e4 * counts[:, GENES.index(gene)] / counts.sum(axis=1))
    r = np.corrcoef(truth, np.arange(9) % 3)[0, 1]
    assert table.loc[gene, "pearson"] == pytest.approx(r, abs=1e-6)
    assert set(table.index) == {*PANEL, gene} and sorted(p.name for p in folder.glob("*.h5ad")) == ["B1.h5ad"]
    assert not (study.predict(**entry) / run.EVERY_GENE).exists()

"""What a network that was trained on photographs is worth on real tissue: six HER2+ sections, one left out at a time.

Beside an independent script of the same design (penalty from 10 to 1e5 by leaving out a training section, 152 genes of the
list of HE2Gene that vary in all six sections, log1p CP10k), which found 0.148 for ImageNet weights.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from real import six_sections
from real.six_sections import SECTIONS
from scipy import stats

from histobench.cohorts.table import load_section
from histobench.encoders.features import write_features
from histobench.evaluation.metrics import gene_moments
from histobench.methods.colour_ridge import ColourRidge
from histobench.training.contract import Context
from histobench.training.load import load_sections
from histobench.training.ridge import fit_ridge

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

# ST-Net's field of 154 um, as the harmonised experiments see it.
SCALE, WIDTH = 0.6875, 224
PENALTIES = (10.0, 1e2, 1e3, 1e4, 1e5)
SEEDS = (0, 1)


@pytest.fixture(scope="module")
def scores(shared_data: Path, project: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Pearson r, mean over genes, of every section (rows) and arm (columns), predicted from the other five."""
    folder = tmp_path_factory.mktemp("encoders")
    bench, files = six_sections.cut(project, shared_data, folder, SCALE, WIDTH)
    patches = [files[name]["patches"] for name in SECTIONS]
    described = {}
    for arm, seed in {"ImageNet": 0, **{f"random {seed}": seed for seed in SEEDS}}.items():
        outputs = [folder / f"{arm} {name}.npy" for name in SECTIONS]
        recipe = bench.recipe("efficientnet_lite0", arm == "ImageNet")
        write_features(patches, outputs, encoder=recipe, seed=seed, device="cpu")
        described[arm] = [np.load(path) for path in outputs]
    listed = (project / "resources/panels/he2gene_target_250.txt").read_text().split()
    tables = [load_section(files[name]["h5ad"]) for name in SECTIONS]
    varying = [set(t.var_names[np.asarray((t.X > 0).sum(axis=0)).ravel() > 0]) for t in tables]
    panel = tuple(gene for gene in listed if all(gene in genes for genes in varying))
    assert len(panel) == 152
    universe = sorted(set().union(*(t.var_names for t in tables)))
    loaded = load_sections(
        files, panel=panel, all_genes=universe, transform="log1p_cp10k", patch_um_per_px=SCALE
    )
    by_name = {each.data.section: each.data for each in loaded}
    targets = [by_name[name].targets for name in SECTIONS]
    names = np.repeat(SECTIONS, [len(each) for each in targets])
    found: dict[str, dict[str, float]] = {}
    for arm, vectors in described.items():
        x, y = np.concatenate(vectors), np.concatenate(targets)
        for tested in SECTIONS:
            own = names != tested
            fit, _ = fit_ridge(x[own], y[own], names[own], PENALTIES)
            r = gene_moments(y[~own], fit.predict(x[~own]))["pearson"]
            found.setdefault(arm, {})[tested] = float(np.nanmean(r))
    # colours as the benchmark's own control, with the penalties that suit nine numbers
    context = Context(genes=panel, all_genes=tuple(universe), device="cpu", weights="none")
    for tested in SECTIONS:
        control = ColourRidge()
        control.fit([by_name[name] for name in SECTIONS if name != tested], [], context)
        predicted = control.predict(by_name[tested].without_truth()).expression
        r = gene_moments(by_name[tested].targets, predicted)["pearson"]
        found.setdefault("colours", {})[tested] = float(np.nanmean(r))
    return pd.DataFrame(found)


def paired(difference: pd.Series) -> tuple[float, float]:
    """95 % interval of a mean difference over sections, Student's t."""
    half = stats.t.ppf(0.975, len(difference) - 1) * difference.std(ddof=1) / np.sqrt(len(difference))
    return difference.mean() - half, difference.mean() + half


@pytest.mark.parametrize("other", ["random weights", "colours"])
def test_trained_weights_are_worth_more_than(scores: pd.DataFrame, other: str) -> None:
    """Random weights: the mean of two starts, because one start may be twice as good as another."""
    random = scores[[f"random {seed}" for seed in SEEDS]].mean(axis=1)
    low, high = paired(scores["ImageNet"] - (random if other == "random weights" else scores[other]))
    assert 0 < low < high < 0.2, scores.to_string()


def test_the_score_is_that_of_an_independent_script(scores: pd.DataFrame) -> None:
    means = scores.mean()
    assert means["ImageNet"] == pytest.approx(0.148, abs=0.015), scores.to_string()
    # by section: its 0.071, 0.165, 0.181, 0.172, 0.154, 0.143
    theirs = pd.Series([0.071, 0.165, 0.181, 0.172, 0.154, 0.143], index=list(SECTIONS))
    assert (scores["ImageNet"] - theirs).abs().max() < 0.03, scores.to_string()


def test_a_random_start_is_no_single_number(scores: pd.DataFrame) -> None:
    """Its 0.074 was one start; these two differ by more than either differs from that."""
    means = scores.mean()
    assert means["random 0"] - means["random 1"] > 0.03, scores.to_string()
    assert means["random 1"] < 0.074 < means["random 0"], scores.to_string()

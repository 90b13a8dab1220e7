"""The null distribution on real tissue: six HER2+ sections of two patients, each predicted from the other patient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from real import six_sections
from real.six_sections import SECTIONS

from histobench.cohorts.table import load_section
from histobench.encoders.features import write_features
from histobench.evaluation.permutation_tables import envelope
from histobench.evaluation.statistics import bootstrap_interval
from histobench.expression.correlation import gene_correlations
from histobench.methods.ridge_probe import RidgeProbe
from histobench.methods.shuffled_image import ShuffledImage
from histobench.seeds import seed_for
from histobench.training.contract import Context
from histobench.training.load import load_sections

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

# As config/her2st_mini.yaml sees them.
SCALE, WIDTH = 2.4, 64
DRAWS = 20


@pytest.fixture(scope="module")
def scores(
    shared_data: Path, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[np.ndarray, np.ndarray]:
    """r of every permutation, (permutations, patients, genes), and of the same regression on true images."""
    folder = tmp_path_factory.mktemp("null")
    bench, files = six_sections.cut(project, shared_data, folder, SCALE, WIDTH)
    outputs = [folder / f"{name}.features.npy" for name in SECTIONS]
    recipe = bench.recipe("efficientnet_lite0", True)
    write_features(
        [files[name]["patches"] for name in SECTIONS], outputs, encoder=recipe, seed=0, device="cpu"
    )
    shown = {
        name: {"h5ad": files[name]["h5ad"], "features": str(path), "patches": None, "qc": None}
        for name, path in zip(SECTIONS, outputs, strict=True)
    }
    tables = [load_section(files[name]["h5ad"]) for name in SECTIONS]
    universe = tuple(sorted(set().union(*(table.var_names for table in tables))))
    listed = (project / "resources/panels/he2gene_target_250.txt").read_text().split()
    panel = tuple(gene for gene in listed if all(gene in table.var_names for table in tables))
    loaded = load_sections(shown, panel=panel, all_genes=universe, transform="log1p_cp10k")
    data = {each.data.section: each.data for each in loaded}
    null, real = [], []
    for patient in ("B", "C"):
        train = [section for name, section in data.items() if name[0] != patient]
        context = Context(genes=panel, all_genes=universe, seed=seed_for("null", patient), device="cpu")
        entry = "histobench.methods.ridge_probe:RidgeProbe"
        control, honest = ShuffledImage(entry, {}, draws=DRAWS), RidgeProbe()
        for method in (control, honest):
            method.fit(train, [], context)
        of_control, of_honest = [], []
        for section in (section for name, section in data.items() if name[0] == patient):
            said = control.predict(section.without_truth())
            r = [gene_correlations(section.targets, each) for each in (said.expression, *said.permuted)]
            of_control.append(r)
            of_honest.append(gene_correlations(section.targets, honest.predict(section).expression))
        null.append(np.nanmean(of_control, axis=0))
        real.append(np.nanmean(of_honest, axis=0))
    return np.stack(null, axis=1), np.stack(real)


def test_the_envelope_holds_zero_where_one_permutation_may_not(scores: tuple[np.ndarray, np.ndarray]) -> None:
    null, real = scores
    means = np.nanmean(null, axis=(1, 2))
    low, high = envelope(means)
    ends = np.array([bootstrap_interval(each) for each in null])
    away = int(((ends[:, 0] > 0) | (ends[:, 1] < 0)).sum())
    print(f"{DRAWS} permutations: mean r {means.mean():.3f}, sd {means.std(ddof=1):.3f}, envelope {low:.3f} to "
          f"{high:.3f}; {away} have an interval over patients that excludes zero; on true images "
          f"{np.nanmean(real):.3f}")  # fmt: skip
    assert len(means) == DRAWS
    assert low < 0 < high
    assert abs(means.mean()) < 3 * means.std(ddof=1) / np.sqrt(DRAWS)
    assert away > 2, "what one permutation says of itself is no test"
    assert np.nanmean(real) > high


def test_genes_share_a_permutation(scores: tuple[np.ndarray, np.ndarray]) -> None:
    """Were genes independent, the mean of so many would spread by one over the root of their number."""
    null, _ = scores
    by_gene = np.nanmean(null, axis=1)
    known = np.isfinite(by_gene).all(axis=0)
    together, alone = by_gene[:, known].mean(axis=1).std(), by_gene[:, known].std(axis=0).mean()
    print(f"{known.sum()} genes: sd of one {alone:.3f}, of their mean {together:.3f}")
    assert together > 1.5 * alone / np.sqrt(known.sum())

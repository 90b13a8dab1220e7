"""Ranks, variance components and tests over patients: reference libraries, and nominal levels on null data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from histobench.cohorts.simulation.counts import truth_table
from histobench.cohorts.simulation.settings import SimulationSettings
from histobench.evaluation.colocation import GROUPS, SIMULATED, colocation
from histobench.evaluation.metric_tables import agreement_over_genes
from histobench.evaluation.ranks import critical_difference, friedman, rank_methods
from histobench.evaluation.score_tables import neg_log10_p
from histobench.evaluation.statistics import paired_test
from histobench.evaluation.tumour_tables import mean_p
from histobench.evaluation.variance import nested_components


def within(rate, n, level=0.05):
    """Whether a rate over n null runs is the level, within three standard errors."""
    return abs(rate - level) <= 3 * np.sqrt(level * (1 - level) / n)


def test_friedman_equals_scipy_with_and_without_ties():
    rng = np.random.default_rng(0)
    for scores in (rng.normal(size=(8, 5)), rng.integers(0, 3, (9, 4)).astype(float)):
        ranking = rank_methods(scores)
        assert ranking.chi2 == pytest.approx(stats.friedmanchisquare(*scores.T).statistic)
        np.testing.assert_allclose(ranking.mean_ranks, stats.rankdata(-scores, axis=1).mean(axis=0))
    assert friedman(np.full((4, 3), 2.0)) == 0


def test_permutation_p_of_friedman_is_that_of_all_orders():
    """Three patients, three methods: 216 orders, and the largest statistic comes from 6 of them."""
    scores = np.array([[3.0, 2, 1], [9, 5, 4], [0.3, 0.2, 0.1]])
    assert rank_methods(scores).p == pytest.approx(6 / 216, abs=0.006)
    assert rank_methods(scores).p == rank_methods(scores).p, "seeded"


@pytest.mark.parametrize(
    ("k", "q"),
    [
        (2, 1.960),
        (3, 2.343),
        (4, 2.569),
        (5, 2.728),
        (6, 2.850),
        (7, 2.949),
        (8, 3.031),
        (9, 3.102),
        (10, 3.164),
    ],
)
def test_critical_difference_has_the_published_quantiles(k, q):
    """Table 5a of Demsar 2006."""
    assert critical_difference(k, 10) == pytest.approx(q * np.sqrt(k * (k + 1) / 60), abs=6e-4 * k)
    assert np.isnan(critical_difference(1, 10))


def test_groups_are_the_longest_runs_that_do_not_differ():
    rng = np.random.default_rng(1)
    levels = np.array([0.0, 3.0, 2.9, 6.0])
    ranking = rank_methods(levels + 0.3 * rng.normal(size=(20, 4)))
    gaps = np.abs(np.subtract.outer(ranking.mean_ranks, ranking.mean_ranks)) <= ranking.critical_difference
    for group in ranking.groups:
        assert gaps[np.ix_(group, group)].all()
    together = {frozenset((a, b)) for group in ranking.groups for a in group for b in group if a != b}
    assert together == {frozenset((a, b)) for a in range(4) for b in range(4) if a != b and gaps[a, b]}
    assert frozenset((1, 2)) in together and frozenset((0, 3)) not in together


def test_ranking_leaves_out_incomplete_patients_and_survives_one():
    scores = np.array([[1.0, 2.0], [np.nan, 1.0], [3.0, 4.0]])
    ranking = rank_methods(scores)
    assert ranking.n_patients == 2 and ranking.mean_ranks.tolist() == [2, 1]
    one = rank_methods(scores[:1])
    assert one.mean_ranks.tolist() == [2, 1] and np.isnan(one.p) and one.groups == ()
    assert np.isnan(rank_methods(scores[1:2]).mean_ranks).all()
    assert rank_methods(np.zeros((5, 3))).p == 1


@pytest.mark.slow
def test_friedman_and_nemenyi_keep_their_level():
    rng = np.random.default_rng(3)
    n = 400
    rejected = different = 0
    for run in range(n):
        scores = rng.normal(size=(8, 1)) + rng.normal(size=(8, 4))
        ranking = rank_methods(scores, seed=run)
        rejected += ranking.p <= 0.05
        different += np.ptp(ranking.mean_ranks) > ranking.critical_difference
    print(f"Friedman {rejected / n:.3f}, Nemenyi {different / n:.3f}")
    assert within(rejected / n, n)
    # an asymptotic bound on the largest of all differences: never above its level
    assert 0.01 < different / n <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / n)


def test_tests_over_patients_equal_scipy_and_keep_their_level():
    rng = np.random.default_rng(4)
    differences = rng.normal(0, 0.3, (8, 4000))
    differences[0, :5] = np.nan
    p = mean_p(differences)
    assert p[0] == pytest.approx(stats.ttest_1samp(differences[1:, 0], 0).pvalue)
    assert p[9] == pytest.approx(stats.ttest_1samp(differences[:, 9], 0).pvalue)
    assert within((p <= 0.05).mean(), 4000)
    awkward = np.array([[0.0, 1.0, np.nan, 2.0], [0.0, 1.0, np.nan, np.nan]])
    assert mean_p(awkward)[:2].tolist() == [1.0, 0.0] and np.isnan(mean_p(awkward)[2:]).all()


def test_colocation_test_keeps_its_level_and_finds_tissue_that_keeps_apart():
    rng = np.random.default_rng(5)
    genes = [gene for group in GROUPS.values() for gene in group]

    def pairs(apart):
        rows = []
        for _ in range(8):
            side = rng.normal(size=(60, 1)) * np.array([1, 1, 1, -1, -1, -1]) * apart
            found = colocation(side + rng.normal(size=(60, 1)) + rng.normal(size=(60, 6)), genes)
            rows.append((found["within"], found["between"]))
        return np.array(rows)

    null = [paired_test(pairs(0.0), n=10) for _ in range(400)]
    assert within(np.mean([row["p"] <= 0.05 for row in null]), 400)
    found, values = paired_test(pairs(0.7), n=200), pairs(0.7)
    assert found["p"] < 0.01 and found["difference_high"] < 0
    assert paired_test(values, n=10)["t"] == pytest.approx(
        stats.ttest_rel(values[:, 1], values[:, 0]).statistic
    )


def test_genes_of_the_simulated_groups_rise_with_their_tissue():
    truth = truth_table(SimulationSettings()).set_index("gene")
    for programme, genes in SIMULATED.items():
        own = truth.loc[list(genes)]
        assert (own["strength"] > 0).all() and set(own["programme"]) == {programme}
    genes = [gene for group in SIMULATED.values() for gene in group]
    side = np.random.default_rng(0).normal(size=(60, 1)) * np.array([1, 1, 1, -1, -1, -1])
    assert colocation(side, genes) == pytest.approx({"within": 1.0, "between": -1.0})


def nested(rng, n_outer=200, n_inner=4, n_seeds=3, sd=(0.3, 0.2, 0.1)):
    outer = np.repeat(np.arange(n_outer), n_inner * n_seeds)
    inner = np.repeat(np.arange(n_outer * n_inner), n_seeds)
    effects = rng.normal(0, sd[0], n_outer)[outer], rng.normal(0, sd[1], n_outer * n_inner)[inner]
    return effects[0] + effects[1] + rng.normal(0, sd[2], len(outer)), outer, inner


def test_variance_components_are_recovered_also_from_unbalanced_scores():
    rng = np.random.default_rng(6)
    y, outer, inner = nested(rng)
    for lost in (0.0, 0.3):
        values = np.where(rng.uniform(size=len(y)) < lost, np.nan, y)
        found = nested_components(values, list(outer), list(inner), ("fold", "patient", "seed"))
        assert [component.name for component in found] == ["fold", "patient", "seed"]
        sds = [np.sqrt(component.variance) for component in found]
        np.testing.assert_allclose(sds, [0.3, 0.2, 0.1], rtol=0.15)


def test_variance_components_equal_restricted_likelihood_for_balanced_scores():
    import statsmodels.formula.api as formula

    y, outer, inner = nested(np.random.default_rng(7), n_outer=12)
    found = nested_components(y, list(outer), list(inner), ("fold", "patient", "seed"))
    table = pd.DataFrame({"y": y, "fold": outer, "patient": inner})
    fit = formula.mixedlm(
        "y ~ 1", table, groups="fold", re_formula="1", vc_formula={"patient": "0 + C(patient)"}
    ).fit(reml=True)
    expected = [float(fit.cov_re.iloc[0, 0]), float(fit.vcomp[0]), float(fit.scale)]
    np.testing.assert_allclose([component.variance for component in found], expected, rtol=0.02, atol=1e-4)


def test_what_cannot_be_told_apart_is_one_component():
    rng = np.random.default_rng(8)
    patient = np.repeat(np.arange(300), 3)
    y = rng.normal(0, 0.2, 300)[patient] + rng.normal(0, 0.1, 900)
    both, seed = nested_components(y, list(patient), list(patient), ("fold", "patient", "seed"))
    assert both.name == "fold and patient" and np.sqrt(both.variance) == pytest.approx(0.2, rel=0.1)
    assert np.sqrt(seed.variance) == pytest.approx(0.1, rel=0.1) and (both.n_levels, seed.n_levels) == (
        300,
        3,
    )
    one_seed = nested_components(y[::3], list(patient[::3]), list(patient[::3]), ("fold", "patient", "seed"))
    assert np.isnan(one_seed[1].variance)
    assert one_seed[0].variance == pytest.approx(np.var(y[::3], ddof=1))
    single = nested_components(np.array([0.1]), ["a"], ["a"], ("fold", "patient", "seed"))
    assert all(np.isnan(component.variance) for component in single)
    assert nested_components(np.array([np.nan]), ["a"], ["a"], ("fold", "patient", "seed")) == []


def test_pearson_p_on_a_log_scale_equals_scipy_and_is_cut_off_not_infinite():
    rng = np.random.default_rng(9)
    for n in (3, 20, 400):
        x, y = rng.normal(size=(2, n))
        test = stats.pearsonr(x, y + x)
        ours = neg_log10_p(np.array([[test.statistic]]), np.array([n]))[0, 0]
        assert ours == pytest.approx(-np.log10(test.pvalue), rel=1e-6)
    r = np.array([[1.0, np.nan, 0.999], [0.5, 0.5, 0.5]])
    values = neg_log10_p(r, np.array([5000, 2]))
    assert values[0, 0] == pytest.approx(307.65, abs=0.01) and np.isfinite(values[0, 2])
    assert np.isnan(values[0, 1]) and np.isnan(values[1]).all()


def test_agreement_over_genes():
    truth = np.array([[1.0, 2, 3, np.nan], [1, 1, 1, 1], [1, 2, np.nan, np.nan], [1, 2, 3, 4]])
    prediction = np.array([[2.0, 4, 6, 0], [1, 2, 3, 4], [1, 2, 3, 4], [5, 5, 5, 5]])
    np.testing.assert_allclose(agreement_over_genes(truth, prediction), [1, np.nan, np.nan, 0])

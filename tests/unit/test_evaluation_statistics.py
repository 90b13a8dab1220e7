"""Tests, intervals and power: published numbers, reference libraries, and nominal levels on null data."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from histobench.evaluation.dependence import (
    dependence_note,
    gene_test,
    shared_binomial_p,
    shared_training,
)
from histobench.evaluation.statistics import (
    adjust,
    all_equal,
    binomial_p,
    bootstrap_interval,
    bootstrap_scores,
    compare_methods,
    consistency,
    consistency_from_counts,
    genes_needed_bh,
    mean_score,
    paired_test,
    patients_needed,
    positive_gene_curve,
    power_statement,
    sign_flips,
    smallest_p,
    wilson_interval,
)

# Genes with at least k positive patients, k = 23 ... 16, in the released per-gene list of He et al. 2020,
# and the p-values that follow for 23 patients and 250 genes.
AT_LEAST = {23: 17, 22: 37, 21: 65, 20: 102, 19: 137, 18: 176, 17: 205, 16: 223}
P = {23: 1.19e-7, 22: 2.86e-6, 21: 3.30e-5, 20: 2.44e-4, 19: 1.30e-3, 18: 5.31e-3, 17: 1.73e-2, 16: 4.66e-2}
HOLM = {23: 3.0e-5, 22: 6.7e-4, 21: 7.0e-3, 20: 0.0452, 19: 0.192, 18: 0.60, 17: 1.0, 16: 1.0}
HOLM_DIGITS = {20: 3, 19: 3}
BH = {23: 1.8e-6, 22: 1.9e-5, 21: 1.3e-4, 20: 6.0e-4, 19: 2.4e-3, 18: 7.5e-3, 17: 2.1e-2, 16: 5.2e-2}


def published_counts():
    """The vector of positive patients: the 27 genes below 16 do not matter for the others."""
    sizes = {k: AT_LEAST[k] - AT_LEAST.get(k + 1, 0) for k in AT_LEAST}
    counts = [k for k, size in sizes.items() for _ in range(size)]
    return np.array(counts + [12] * (250 - len(counts)))


@pytest.mark.parametrize("k", sorted(AT_LEAST))
def test_published_table_comes_out(k):
    counts = published_counts()
    result = consistency_from_counts(counts, 23)
    row = np.flatnonzero(counts == k)[0]

    # every number to the digits that are printed
    assert (counts >= k).sum() == AT_LEAST[k]
    assert f"{result.p[row]:.2e}" == f"{P[k]:.2e}"
    assert f"{result.q_bh[row]:.1e}" == f"{BH[k]:.1e}"
    assert float(f"{result.p_holm[row]:.{HOLM_DIGITS.get(k, 2)}g}") == HOLM[k]


def test_holm_at_twenty_patients_is_0_0452_and_bh_accepts_205_genes():
    counts = published_counts()
    result = consistency_from_counts(counts, 23)
    assert round(float(result.p_holm[counts == 20][0]), 4) == 0.0452
    assert (result.p_holm < 0.05).sum() == 102
    assert (result.q_bh < 0.05).sum() == 205


def test_binomial_equals_scipy_binomtest():
    for n, k in itertools.product((1, 4, 8, 23), range(5)):
        if k <= n:
            expected = stats.binomtest(k, n, 0.5, alternative="greater").pvalue
            assert binomial_p(np.array([k]), n)[0] == pytest.approx(expected)


def test_missing_patients_leave_the_trials_and_untested_genes_leave_the_correction():
    r = np.array([[0.1, np.nan, np.nan], [0.2, 0.3, np.nan], [-0.1, 0.2, np.nan], [0.0, 0.1, np.nan]])
    result = consistency(r)
    assert list(result.n_patients) == [4, 3, 0]
    assert list(result.n_positive) == [2, 3, 0], "zero is not positive"
    assert result.p[1] == pytest.approx(1 / 8) and np.isnan(result.p[2])
    assert result.p_holm[1] == pytest.approx(2 / 8), "corrected for two tests, not three"
    np.testing.assert_allclose(
        adjust(result.p, "fdr_bh")[:2], multipletests(result.p[:2], method="fdr_bh")[1]
    )


# Subnormal numbers have fewer digits than the tolerance asks for, in whatever order one multiplies.
@given(
    p=st.lists(
        st.sampled_from([0.0, 1e-300, 0.01, 0.5, 1.0, np.nan]) | st.floats(0, 1, allow_subnormal=False),
        max_size=40,
    ),
    method=st.sampled_from(["holm", "fdr_bh"]),
)
def test_corrections_equal_statsmodels_with_ties_bounds_and_missing_tests(p, method):
    p = np.array(p, dtype=float)
    known = np.isfinite(p)
    adjusted = adjust(p, method)
    assert np.isnan(adjusted[~known]).all()
    if known.any():
        np.testing.assert_allclose(adjusted[known], multipletests(p[known], method=method)[1], rtol=1e-12)


@pytest.mark.parametrize(
    ("patients", "holm", "bh_genes"), [(4, False, None), (8, False, 20), (13, True, 1), (23, True, 1)]
)
def test_power_of_4_8_13_and_23_patients(patients, holm, bh_genes):
    """With 250 genes Holm needs 13 patients; 4 and 8 can never reject."""
    assert patients_needed(250) == 13
    assert smallest_p(patients) == 2.0**-patients
    best = consistency_from_counts(np.full(250, patients), patients)
    assert (best.p_holm < 0.05).all() == holm
    assert genes_needed_bh(patients, 250) == bh_genes
    if bh_genes:
        for n_best in {bh_genes, max(bh_genes - 1, 0)}:
            counts = np.array([patients] * n_best + [0] * (250 - n_best))
            assert (consistency_from_counts(counts, patients).q_bh <= 0.05).sum() == (
                n_best if n_best >= bh_genes else 0
            )
    assert ("can never reject (it needs 13 patients)" in power_statement(patients, 250)) != holm


def test_without_a_scored_gene_nothing_can_be_tested():
    assert power_statement(8, 0) == "No gene has a score, so that nothing can be tested."


@pytest.mark.parametrize("first", [[0.1, 0.2, 0.3, 0.7], [0.125, 0.25, 0.5, 0.625]])
def test_differences_that_are_one_number_but_for_rounding_have_no_test(first):
    """0.2 - 0.1 and 0.8 - 0.7 differ in their last digits, of which a t-test makes p = 3e-47."""
    found = paired_test(np.column_stack([first, np.add(first, 0.1)]), n=20)
    assert np.isnan(found["t"]) and np.isnan(found["p"]) and found["difference"] == pytest.approx(0.1)
    values = np.subtract(np.add(first, 0.1), first)[:, None]
    assert gene_test(values)[0] == 0.0 or not all_equal(values)[0]
    assert list(all_equal(np.array([[0.1, 1e-9, np.nan, np.nan], [0.1, 2e-9, 3.0, np.nan]]))) == [
        True, False, True, True
    ]  # fmt: skip


def test_wilson_interval_equals_statsmodels_and_the_textbook():
    assert np.isnan(wilson_interval(0, 0)).all()
    low, high = wilson_interval(9, 10)
    assert (low, high) == pytest.approx(proportion_confint(9, 10, method="wilson"))
    assert (low, high) == pytest.approx((0.5958, 0.9821), abs=1e-4)


def some_scores(n_patients=8, n_genes=40, seed=0, missing=0.1):
    rng = np.random.default_rng(seed)
    r = 0.1 + 0.1 * rng.normal(size=(n_patients, 1)) + 0.1 * rng.normal(size=(n_patients, n_genes))
    r[rng.uniform(size=r.shape) < missing] = np.nan
    return r


def test_score_averages_patients_then_genes():
    r = np.array([[1.0, 0.0, np.nan], [np.nan, 1.0, np.nan]])
    assert mean_score(r) == pytest.approx((1.0 + 0.5) / 2)
    assert np.isnan(mean_score(np.full((2, 3), np.nan)))


def test_vectorised_bootstrap_equals_a_loop_over_resamples():
    r = some_scores()
    weights = np.random.default_rng(5).multinomial(8, np.full(8, 1 / 8), size=50)
    looped = [mean_score(np.repeat(r, w, axis=0)) for w in weights]
    np.testing.assert_allclose(bootstrap_scores(r, n=50, seed=5), looped)


def test_bootstrap_interval_covers_and_is_of_patients_not_genes():
    """A common patient effect makes the interval wide however many genes there are."""
    narrow = bootstrap_interval(some_scores(n_genes=40, missing=0))
    wide = bootstrap_interval(some_scores(n_genes=4000, missing=0))
    ratio = (wide[1] - wide[0]) / (narrow[1] - narrow[0])
    assert 0.6 < ratio < 1.6
    hits = 0
    for seed in range(200):
        low, high = bootstrap_interval(some_scores(n_patients=20, seed=seed), n=400, seed=seed)
        hits += low <= 0.1 <= high
    assert 0.86 <= hits / 200 <= 0.99
    assert all(np.isnan(bootstrap_interval(some_scores(n_patients=1))))


def test_paired_comparison_equals_scipy_and_holm_runs_over_the_pairs():
    a = some_scores(seed=1, missing=0)
    noise = np.random.default_rng(2).normal(0, 0.02, a.shape)
    scores = {"a": a, "b": a - 0.05 + noise, "c": a.copy()}
    table = compare_methods(scores).set_index(["method_a", "method_b"])
    ab = table.loc[("a", "b")]
    assert ab["difference"] == pytest.approx(float(np.mean(scores["a"] - scores["b"])))
    assert ab["p_wilcoxon"] == stats.wilcoxon((scores["a"] - scores["b"]).mean(axis=1)).pvalue
    assert ab["p_wilcoxon"] == ab["smallest_p"] == pytest.approx(0.0078125), "8 patients: 0.0078 two-sided"
    assert ab["difference_low"] < ab["difference"] < ab["difference_high"]
    assert table.loc[("a", "c"), "difference"] == 0 and table.loc[("a", "c"), "p_wilcoxon"] == 1
    np.testing.assert_allclose(table["p_holm"], multipletests(table["p_wilcoxon"], method="holm")[1])
    assert compare_methods({"a": a}).empty


def test_curve_counts_genes_and_expects_the_binomial():
    r = some_scores()
    curve = positive_gene_curve(r)
    positive = (r > 0).sum(axis=0)
    assert list(curve.observed) == [(positive >= k).sum() for k in range(9)]
    full = positive_gene_curve(some_scores(missing=0))
    np.testing.assert_allclose(full.expected, 40 * stats.binom.sf(np.arange(9) - 1, 8, 0.5))
    assert (curve.low <= curve.high).all() and curve.p[0] == 1
    assert len(sign_flips(8)) == 256 and (sign_flips(8)[0] == 1).all()
    assert len(np.unique(sign_flips(8), axis=0)) == 256


def dependent_null(rng, n_patients=12, n_genes=100):
    """No signal, but the genes of a patient share most of their noise."""
    return 0.1 * rng.normal(size=(n_patients, 1)) + 0.05 * rng.normal(size=(n_patients, n_genes))


@pytest.mark.slow
def test_envelope_covers_dependent_genes_where_the_binomial_does_not():
    rng = np.random.default_rng(0)
    n_runs, k = 300, 9
    above_envelope = above_binomial = 0
    limit = stats.binom.ppf(0.975, 100, stats.binom.sf(k - 1, 12, 0.5))
    for _ in range(n_runs):
        curve = positive_gene_curve(dependent_null(rng), n=400)
        above_envelope += curve.observed[k] > curve.high[k]
        above_binomial += curve.observed[k] > limit
    # 2.5 % is nominal; three standard errors of 300 runs are 2.7 %.
    assert above_envelope / n_runs <= 0.025 + 0.027
    assert above_binomial / n_runs > 0.08


@pytest.fixture
def quick_collector(monkeypatch):
    """statsmodels collects garbage, 60 ms, in every Holm correction; hundreds of them need none."""
    monkeypatch.setattr("gc.collect", lambda *_: 0)


@pytest.mark.slow
def test_tests_keep_their_level_on_independent_null_scores(quick_collector):
    rng = np.random.default_rng(1)
    n_genes = 20_000
    r = rng.normal(0, 0.1, (8, n_genes))
    error = 3 * np.sqrt(0.05 * 0.95 / n_genes)
    assert abs((gene_test(r) <= 0.05).mean() - 0.05) < error
    # The binomial is discrete: 7 of 8 has p = 0.035, so that is its level at 5 %.
    level = stats.binom.sf(6, 8, 0.5)
    assert abs((consistency(r).p <= 0.05).mean() - level) < error
    # Family-wise and false-discovery procedures on families of 50 null genes.
    families = rng.normal(0, 0.1, (400, 8, 50))
    tested = [gene_test(family) for family in families]
    for method in ("holm", "fdr_bh"):
        wrong = np.mean([(adjust(p, method) <= 0.05).any() for p in tested])
        assert abs(wrong - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 400), method


@pytest.mark.slow
def test_paired_comparison_keeps_its_level(quick_collector):
    rng = np.random.default_rng(2)
    wrong = 0
    for _ in range(400):
        common = rng.normal(0.1, 0.05, (10, 1))
        scores = {name: common + rng.normal(0, 0.02, (10, 5)) for name in "ab"}
        wrong += compare_methods(scores, n=50)["p_wilcoxon"].iloc[0] <= 0.05
    assert abs(wrong / 400 - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 400)


def cross_validated_null(rng, n_patients, n_genes, n_spots=60, n_features=12):
    """Scores of leave-one-patient-out ridge regression on genes unrelated to the features."""
    x = [rng.normal(size=(n_spots, n_features)) for _ in range(n_patients)]
    y = [rng.normal(size=(n_spots, n_genes)) for _ in range(n_patients)]
    x = [part - part.mean(axis=0) for part in x]
    y = [part - part.mean(axis=0) for part in y]
    gram, cross = [part.T @ part for part in x], [a.T @ b for a, b in zip(x, y, strict=True)]
    r = np.empty((n_patients, n_genes))
    for p in range(n_patients):
        others = [q for q in range(n_patients) if q != p]
        left = sum(gram[q] for q in others) + 10.0 * np.eye(n_features)
        predicted = x[p] @ np.linalg.solve(left, sum(cross[q] for q in others))
        top = (predicted * y[p]).sum(axis=0)
        r[p] = top / np.sqrt((predicted**2).sum(axis=0) * (y[p] ** 2).sum(axis=0))
    return r


@pytest.mark.slow
@pytest.mark.parametrize("n_patients", [4, 6, 8])
def test_cross_validated_null_genes_are_found_at_the_nominal_rate_only_with_the_shared_training(n_patients):
    """Models of different folds share training patients: the plain t-test finds too many null genes."""
    rng = np.random.default_rng(n_patients)
    r = cross_validated_null(rng, n_patients, 6000)
    everybody = set(map(str, range(n_patients)))
    shared = shared_training([({p}, everybody - {p}) for p in everybody])
    assert shared == pytest.approx(1 / (n_patients - 1))
    observed = np.corrcoef(r)[np.triu_indices(n_patients, 1)].mean()
    assert observed == pytest.approx(shared, abs=0.03)
    plain, corrected = ((gene_test(r, shared=value) <= 0.05).mean() for value in (0.0, shared))
    assert plain > 0.08
    # Sums of products are not quite normal, which makes the corrected test a little conservative.
    assert 0.025 < corrected <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 6000)


@pytest.mark.slow
@pytest.mark.parametrize("n_patients", [8, 12])
def test_cross_validated_null_counts_follow_the_shared_binomial_and_not_the_plain_one(n_patients):
    """The level of the consistency test, at every threshold between 20 % and 0.5 %."""
    rng = np.random.default_rng(100 + n_patients)
    r = cross_validated_null(rng, n_patients, 12_000)
    positive = (r > 0).sum(axis=0)
    k = np.arange(n_patients + 1)
    seen = np.array([(positive >= step).mean() for step in k])
    plain, shared = binomial_p(k, n_patients), shared_binomial_p(k, n_patients, 1 / (n_patients - 1))
    tested = (shared < 0.2) & (shared > 0.005)
    print(
        n_patients,
        "patients: k, seen, binomial, shared",
        *zip(k[tested], seen[tested], plain[tested], shared[tested], strict=True),
    )
    assert tested.sum() >= 2
    assert (seen[tested] > plain[tested] + 3 * np.sqrt(plain[tested] / 12_000)).all()
    # As for the t-test: sums of products are not quite normal, so a little conservative.
    assert (seen[tested] <= shared[tested] + 3 * np.sqrt(shared[tested] / 12_000)).all()
    assert (seen[tested] > 0.6 * shared[tested]).all()


def test_shared_training_of_fold_schemes():
    assert shared_training([({"a"}, {"b"})]) == 0
    assert shared_training([({"a", "b"}, {"c", "d"})]) == 0, "one fold: models are the same but share no test"
    folds = [({"a", "b"}, {"c", "d"}), ({"c", "d"}, {"a", "b"})]
    assert shared_training(folds) == pytest.approx((4 * 0.5 + 2 * 0) / 6)


def test_gene_test_equals_scipy_and_survives_awkward_scores():
    r = some_scores(missing=0.2)
    ours = gene_test(r)
    for g in range(r.shape[1]):
        known = r[np.isfinite(r[:, g]), g]
        assert ours[g] == pytest.approx(stats.ttest_1samp(known, 0, alternative="greater").pvalue)
    awkward = np.array([[0.0, 0.2, np.nan, 0.1], [0.0, 0.2, np.nan, np.nan]])
    p = gene_test(awkward)
    assert p[0] == 1 and p[1] == 0 and np.isnan(p[2]) and np.isnan(p[3])


def test_shared_training_widens_the_binomial_test():
    """With correlation 0 the binomial; with 1 a single coin; between them the exact orthant probabilities."""
    k = np.arange(24)
    np.testing.assert_allclose(shared_binomial_p(k, 23, 0.0), binomial_p(k, 23))
    assert shared_binomial_p(np.array([0, 1, 5]), 5, 1.0).tolist() == [1.0, 0.5, 0.5]
    assert np.isnan(shared_binomial_p(np.array([0]), 0, 0.3)).all()
    # Both of two positive: 1/4 + asin(rho) / (2 pi); all three: 1/8 + 3 asin(rho) / (4 pi).
    for rho in (0.05, 0.2, 0.5):
        two = shared_binomial_p(np.array([2]), 2, rho)[0]
        assert two == pytest.approx(0.25 + np.arcsin(rho) / (2 * np.pi), abs=1e-9)
        three = shared_binomial_p(np.array([3]), np.array([3]), rho)[0]
        assert three == pytest.approx(0.125 + 3 * np.arcsin(rho) / (4 * np.pi), abs=1e-9)
    rng = np.random.default_rng(0)
    rho, draws = 1 / 22, 400_000
    scores = np.sqrt(rho) * rng.normal(size=(draws, 1)) + np.sqrt(1 - rho) * rng.normal(size=(draws, 23))
    seen = ((scores > 0).sum(axis=1) >= 18).mean()
    assert seen > 2 * binomial_p(np.array([18]), 23)[0]
    assert shared_binomial_p(np.array([18]), 23, rho)[0] == pytest.approx(seen, abs=4 * np.sqrt(seen / draws))
    assert "0.045" in dependence_note(rho) and "agree" in dependence_note(0.0)


def test_the_interval_is_that_of_95_percent():
    """Against scipy's percentile bootstrap over patients, whose level is given to it."""
    rng = np.random.default_rng(0)
    r = rng.normal(0.2, 0.1, (12, 30)) + rng.normal(0, 0.1, (12, 1))
    low, high = bootstrap_interval(r, n=20_000, seed=1)
    expected = stats.bootstrap(
        (r.mean(axis=1),), np.mean, n_resamples=20_000, confidence_level=0.95, method="percentile", rng=2
    ).confidence_interval
    assert low == pytest.approx(expected.low, abs=0.002)
    assert high == pytest.approx(expected.high, abs=0.002)
    narrow = bootstrap_interval(r, n=20_000, seed=1, alpha=0.10)
    assert narrow[0] - low > 0.004 and high - narrow[1] > 0.004  # another level would be seen


def test_what_is_no_probability_or_no_gene_is_refused_alike():
    for method in ("holm", "fdr_bh"):
        for wrong in (2.0, -0.1):
            with pytest.raises(ValueError, match="between 0 and 1"):
                adjust(np.array([0.1, wrong]), method)
    with pytest.raises(ValueError, match="at least one gene"):
        patients_needed(0)


def test_patients_without_a_difference_do_not_make_a_smaller_p_attainable():
    difference = np.array([0.0, 0.1, 0.2, 0.3])[:, None]
    (row,) = compare_methods({"a": difference, "b": np.zeros_like(difference)}).to_dict("records")
    assert row["n_patients"] == 4
    assert row["smallest_p"] == row["p_wilcoxon"] == pytest.approx(stats.wilcoxon([0.1, 0.2, 0.3]).pvalue)

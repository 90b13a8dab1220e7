"""Result tables against plain averages of the same numbers, with changing panels, seeds and missing files."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from histobench.errors import UserError
from histobench.evaluation.ceiling import PanelCounts, noise_ceiling
from histobench.evaluation.gather import ScoredMethod, gather
from histobench.evaluation.metric_tables import metric_table, patient_scores
from histobench.evaluation.permutation_tables import against
from histobench.evaluation.results import SectionScores, average_seeds, read_scores, split_seed
from histobench.evaluation.score import ScoredSection, score_and_describe
from histobench.evaluation.score_tables import LEADERBOARD_COLUMNS, ceiling_fractions, neg_log10_p
from histobench.evaluation.statistics import mean_score
from histobench.evaluation.tables import write_tables
from histobench.expression.correlation import gene_correlations
from histobench.figures.drawing.settings import Settings
from histobench.files import read_table, write_json, write_table
from histobench.report.experiment import _few_spots, _hardly_varying
from histobench.report.tables import Loaded

PATIENTS = {"A": ["A1", "A2"], "B": ["B1"], "C": ["C1", "C2", "C3"], "D": ["D1"], "E": ["E1"], "F": ["F1"]}
GENES = [f"PLANT{i}" for i in range(6)] + [f"NULL{i}" for i in range(12)]
STRENGTH = {"good": 1.0, "poor": 0.15, "blind": 0.0, "constant": None}


def tissue(section):
    rng = np.random.default_rng(int.from_bytes(section.encode(), "big"))
    n = 50 + len(section) * 5
    signal = rng.normal(size=(n, len(GENES)))
    truth = np.where(np.arange(len(GENES)) < 6, signal, 0) + rng.normal(0, 0.7, signal.shape)
    truth[:, 3] += 3 * (section[0] in "AB")  # a shift between patients, for the pooled score
    if section == "A2":
        truth[:, 5] = 2.0  # constant in one section
    return signal, truth.astype(np.float32), rng.integers(500, 5000, n)


def predicted(method, section, seed):
    signal, truth, _ = tissue(section)
    rng = np.random.default_rng([seed, *section.encode(), *method.encode()])
    if STRENGTH[method] is None:
        return np.tile(truth.mean(axis=0, dtype=np.float32), (len(truth), 1))
    return (STRENGTH[method] * signal + rng.normal(0, 0.5, signal.shape)).astype(np.float32)


def panel_of(patient):
    """Each fold leaves one null gene out of its panel."""
    left_out = 6 + "ABCDEF".index(patient)
    return [g for g in range(len(GENES)) if g != left_out]


def tumour_of(section):
    """E has no labels, F no normal spots; elsewhere tumour is where PLANT0 is high."""
    signal, _, _ = tissue(section)
    if section[0] == "E":
        return np.full(len(signal), np.nan)
    tumour = (signal[:, 0] > 0).astype(float)
    tumour[::9] = np.nan
    return np.where(np.isnan(tumour), np.nan, 1.0) if section[0] == "F" else tumour


PERMUTATIONS = 25


def permuted_r(section, seed):
    """r of further predictions that know nothing, after that of the method itself, (genes, permutations)."""
    draws = [seed, *range(100, 99 + PERMUTATIONS)]
    truth = tissue(section)[1]
    return np.column_stack([gene_correlations(truth, predicted("blind", section, draw)) for draw in draws])


def scored(method, section, patient, seed):
    signal, truth, total = tissue(section)
    genes = panel_of(patient)
    prediction = predicted(method, section, seed)[:, genes]
    names = tuple(GENES[g] for g in genes)
    tumour, place = tumour_of(section), np.arange(len(truth))
    words = np.select([tumour == 1, tumour == 0], ["invasive cancer", "connective tissue"], "")
    deep = method == "good"
    permuted = {"permuted": permuted_r(section, seed)[genes]} if method == "blind" else {}
    return ScoredSection(
        patient, section, names, truth[:, genes], prediction, truth[:, genes], total, tumour=tumour,
        tumour_probability=np.clip(0.5 + 0.2 * signal[:, 0], 0, 1) if deep else None,
        spots=np.array([f"{i}x0" for i in place], dtype=object), array_x=place % 8, array_y=place // 8,
        label=words, embedding=signal[:, :4] if deep else None, **permuted,
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Small forests; and no collection of garbage, 60 ms, by statsmodels in every Holm correction."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("histobench.expression.importance.N_TREES", 10)
        patch.setattr("histobench.evaluation.domains.N_STARTS", 2)
        patch.setattr("gc.collect", lambda *_: 0)
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Metric tables, run records, ceilings and truth of four methods; "good" has two seeds."""
    root = tmp_path_factory.mktemp("results")
    metrics, runs, spots, ceilings = {}, {}, {}, []
    for folder, method, seed in [
        ("good", "good", 0), ("good.seed1", "good", 1), ("poor", "poor", 0), ("blind", "blind", 0),
        ("constant", "constant", 0),
    ]:  # fmt: skip
        for patient, sections in PATIENTS.items():
            path = root / "metrics" / folder / f"{patient}.parquet"
            found, of_spots = score_and_describe([scored(method, s, patient, seed) for s in sections])
            write_table(found, path)
            metrics.setdefault(folder, []).append(path)
            spots.setdefault(folder, []).append(root / "spots" / folder / path.name)
            write_table(of_spots, spots[folder][-1])
            run = root / "models" / folder / patient / "run.json"
            published = {"w.pth": {"sha256": "0" * 64, "licence": "CC-BY-NC-4.0", "commercial": False}}
            write_json({"fold": patient, "seed": seed, "seconds": 2.0 + seed, "peak_memory_mb": 100.0 + seed,
                        "published_weights": published if method == "good" else {}, "parameters": 7, "train_patients": sorted(set(PATIENTS) - {patient})}, run)  # fmt: skip
            runs.setdefault(folder, []).append(run)
    for patient, sections in PATIENTS.items():
        rng = np.random.default_rng(ord(patient))
        counts = {s: rng.poisson(rng.gamma(2, 2, (60, 17))) for s in sections}
        parts = [PanelCounts(patient, s, c, c.sum(axis=1) + 500) for s, c in counts.items()]
        names = [GENES[g] for g in panel_of(patient)]
        path = root / "ceiling" / f"{patient}.parquet"
        write_table(noise_ceiling(parts, names, transform="log1p_cp10k", n_genes=100), path)
        ceilings.append(path)
    truth = pd.DataFrame({"gene": GENES, "kind": [g.rstrip("0123456789").lower() for g in GENES],
                          "programme": "p", "strength": [1.0] * 6 + [0.0] * 12})  # fmt: skip
    truth["kind"] = truth["kind"].replace({"plant": "colour"})
    write_table(truth, root / "truth.tsv")
    return {"root": root, "metrics": metrics, "runs": runs, "ceilings": ceilings, "truth": root / "truth.tsv",
            "spots": spots}  # fmt: skip


FAMILIES = {"good": "deep", "poor": "classical", "blind": "control", "constant": "control"}


@pytest.fixture(scope="module")
def tables(files):
    output = files["root"] / "tables"
    write_tables(
        experiment="test", metrics=files["metrics"], runs=files["runs"], ceilings=files["ceilings"],
        families=FAMILIES, truth=files["truth"], output_folder=output, folds=list(PATIENTS), n_bootstrap=200,
        spots=files["spots"], transform="log1p_cp10k",
    )  # fmt: skip
    return {path.stem: read_table(path) for path in output.glob("*.tsv")}


def plain_pearson(method, seed):
    """r per (patient, section, gene) by scipy."""
    rows = []
    for patient, sections in PATIENTS.items():
        for section in sections:
            _, truth, _ = tissue(section)
            prediction = predicted(method, section, seed)
            for g in panel_of(patient):
                y, f = truth[:, g].astype(float), prediction[:, g].astype(float)
                r = np.nan if np.ptp(y) == 0 else 0.0 if np.ptp(f) == 0 else stats.pearsonr(y, f).statistic
                rows.append((patient, section, GENES[g], r))
    return pd.DataFrame(rows, columns=["patient", "section", "gene", "r"])


def plain_score(table):
    by_patient = table.groupby(["gene", "patient"])["r"].mean()
    return by_patient.groupby("gene").mean().mean()


def test_score_is_the_plain_average_over_sections_patients_genes_and_seeds(tables):
    board = tables["leaderboard"].set_index("method")
    for method, seeds in {"good": (0, 1), "poor": (0,), "blind": (0,), "constant": (0,)}.items():
        expected = np.mean([plain_score(plain_pearson(method, seed)) for seed in seeds])
        assert board.loc[method, "pearson"] == pytest.approx(expected, abs=1e-6), method


def of_patients(scores, values):
    """Mean over the sections of each patient, then over patients, then genes."""
    owners = np.array(scores.patients)
    rows = np.array([np.nanmean(values[owners == patient], axis=0) for patient in PATIENTS])
    return np.nanmean(np.nanmean(rows, axis=0))


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_what_is_no_mean_is_found_for_each_seed_by_itself(files, tables):
    """The square of an averaged error is smaller than the averaged square, and a mean of two Moran's I nearer to the truth."""
    seeds = [read_scores(files["metrics"][folder]) for folder in ("good", "good.seed1")]
    yardstick = read_scores(files["metrics"]["constant"])["rmse"]
    known = tables["metrics"].set_index(["method", "metric"])["value"]

    def moran(scores):
        r = [
            stats.pearsonr(*(side[np.isfinite(y) & np.isfinite(f)] for side in (y, f))).statistic
            for y, f in zip(scores["moran_truth"], scores["moran_prediction"], strict=True)
        ]
        return of_patients(scores, np.array(r)[:, None])

    expected = {
        "mse": [of_patients(s, s["rmse"] ** 2) for s in seeds],
        "moran_difference": [of_patients(s, np.abs(s["moran_prediction"] - s["moran_truth"])) for s in seeds],
        "moran_agreement": [moran(s) for s in seeds],
    }
    for name, values in expected.items():
        assert known["good", name] == pytest.approx(np.mean(values), rel=1e-5), name
    method = gather(
        {name: files["metrics"][name] for name in ("good", "good.seed1")}, {}, {"good": "deep"}
    ).methods[0]
    relative = patient_scores(method, method.scores, ScoredMethod("m", "control", [read_scores(files["metrics"]["constant"])], [], 6))  # fmt: skip
    usable = [(yardstick > 0) & np.isfinite(s["pearson"]) for s in seeds]
    both = [
        np.where(use, s["rmse"] / np.where(use, yardstick, 1), np.nan) ** 2
        for s, use in zip(seeds, usable, strict=True)
    ]
    assert np.nanmean(np.nanmean(relative["mse_to_train_mean"], axis=0)) == pytest.approx(
        np.mean([of_patients(s, values) for s, values in zip(seeds, both, strict=True)]), rel=1e-5
    )
    logs = [neg_log10_p(s["pearson"], s.n_spots)[:, s.genes.index("PLANT1")].mean() for s in seeds]
    gene = tables["genes"].query("method == 'good'").set_index("gene")["neg_log10_p"]
    assert gene["PLANT1"] == pytest.approx(np.mean(logs), rel=1e-5)


def test_the_difference_between_tissues_is_compared_for_each_seed_by_itself(files, tables):
    known = tables["metrics"].set_index(["method", "metric"])["value"]
    found = []
    for folder in ("good", "good.seed1"):
        own = gather({folder.partition(".")[0]: files["metrics"][folder]}, {}, {"good": "deep"}).methods[0]
        found.append(np.nanmean(patient_scores(own, own.scores, None)["tumour_difference_agreement"]))
    assert found[0] != found[1]
    assert known["good", "tumour_difference_agreement"] == pytest.approx(np.mean(found), rel=1e-6)


def test_r_without_a_known_ceiling_is_no_part_of_the_fraction():
    def scores(name, values):
        values = np.array(values)
        return SectionScores(
            ("A", "B"), ("A1", "B1"), ("g", "h"), np.array([50, 50]), np.isfinite(values), {name: values}
        )

    r, ceiling = (
        scores("pearson", [[0.3, -0.5], [0.5, -0.7]]),
        scores("ceiling", [[0.6, np.nan], [1.0, np.nan]]),
    )
    fractions = ceiling_fractions(ceiling, r)
    assert mean_score(fractions) == pytest.approx(0.4 / 0.8)
    assert np.isnan(fractions[:, 1]).all()


def test_leader_board_is_complete_sorted_and_has_its_columns(tables):
    board = tables["leaderboard"]
    assert tuple(board.columns) == LEADERBOARD_COLUMNS
    assert list(board["method"][:2]) == ["good", "poor"]
    assert board["pearson"].is_monotonic_decreasing
    board = board.set_index("method")
    good = board.loc["good"]
    assert good["pearson_low"] < good["pearson"] < good["pearson_high"]
    assert (good["family"], good["n_folds"], good["seeds"]) == ("deep", 6, 2)
    assert good["train_seconds"] == 2.5 and good["peak_memory_mb"] == 101 and good["parameters"] == 7
    assert good["n_genes"] == 18
    # the licence of weights stands in the row, marked where it forbids commercial use
    assert good["weights_terms"] == "CC-BY-NC-4.0; no commercial use"
    assert pd.isna(board.loc["poor", "weights_terms"])
    assert good["ceiling_fraction"] > 0
    assert board.loc["constant", ["pearson", "n_positive", "n_consistent_bh"]].tolist() == [0, 0, 0]
    # One constant gene in one section for everybody; the constant prediction on top.
    assert good["n_undefined"] == 1 and board.loc["constant", "n_undefined"] == 9 * 17


def test_what_predicts_no_gene_stands_in_no_table_of_genes_and_in_no_test(files, tables, tmp_path):
    """Its stored expression is the training mean: r = 0, which it never predicted, and pairs for Holm."""
    write_tables(
        experiment="test", metrics=files["metrics"], runs=files["runs"], ceilings=files["ceilings"],
        families=FAMILIES, truth=files["truth"], output_folder=tmp_path, folds=list(PATIENTS), n_bootstrap=200,
        spots=files["spots"], transform="log1p_cp10k", classifiers=["constant"],
    )  # fmt: skip
    found = {path.stem: read_table(path) for path in tmp_path.glob("*.tsv")}
    of_tissue = {"tumour", "tumour_curves", "failures"}
    assert set(found) == set(tables)
    for name, table in found.items():
        methods = {value for column in table if column.startswith("method") for value in table[column]}
        assert "constant" not in methods or name in of_tissue, name
    # what stays says of the others what it said before; only what is over all pairs or methods may differ
    kept = tables["leaderboard"].query("method != 'constant'").reset_index(drop=True)
    pd.testing.assert_frame_equal(found["leaderboard"], kept)
    for name in ("genes", "patients", "sections", "tumour", "tumour_curves"):
        everything = tables[name] if name in of_tissue else tables[name].query("method != 'constant'")
        pd.testing.assert_frame_equal(found[name], everything.reset_index(drop=True))
    assert (len(tables["comparisons"]), len(found["comparisons"])) == (6, 3)
    p = found["comparisons"][["p_wilcoxon", "p_holm"]]
    assert p["p_holm"].to_numpy() == pytest.approx(multipletests(p["p_wilcoxon"], method="holm")[1])
    spots = [pd.read_parquet(folder / "spots.parquet") for folder in (files["root"] / "tables", tmp_path)]
    pd.testing.assert_frame_equal(*spots)


def test_the_null_distribution_is_the_plain_average_of_every_permutation(tables):
    draws, board = tables["permutations"], tables["leaderboard"].set_index("method")
    expected = [plain_score(plain_pearson("blind", seed)) for seed in [0, *range(100, 99 + PERMUTATIONS)]]
    assert draws["pearson"].to_numpy() == pytest.approx(expected, abs=1e-6)
    assert list(draws["permutation"]) == list(range(1, PERMUTATIONS + 1)) and set(draws["method"]) == {
        "blind"
    }
    blind = board.loc["blind"]
    assert blind["pearson"] == pytest.approx(draws["pearson"].iloc[0], abs=1e-12)
    assert (blind["null_low"], blind["null_high"]) == pytest.approx((min(expected), max(expected)), abs=1e-6)
    assert blind["n_permutations"] == PERMUTATIONS
    others = board.drop("blind")
    assert others[["null_low", "null_high", "n_permutations"]].isna().all(axis=None)
    places = {name: "above" if r > max(expected) else "within" for name, r in board["pearson"].items()}
    assert dict(board["against_null"]) == places
    assert (places["good"], places["poor"], places["blind"]) == ("above", "above", "within")
    # they are no metrics of the method: means over metrics, ranks and tests do not know them
    assert not tables["metrics"]["metric"].str.contains("permuted|pearson_1").any()


def test_permutations_of_all_seeds_are_one_distribution(files, tables, tmp_path):
    twice = dict.fromkeys(("blind", "blind.seed1"), files["metrics"]["blind"])
    write_tables(experiment="test", metrics=twice, runs={}, ceilings=[], families={"blind": "control"},
                 output_folder=tmp_path, n_bootstrap=50)  # fmt: skip
    draws = read_table(tmp_path / "permutations.tsv")
    assert list(draws["permutation"]) == list(range(1, 2 * PERMUTATIONS + 1))
    np.testing.assert_array_equal(draws["pearson"], np.tile(tables["permutations"]["pearson"], 2))
    (row,) = read_table(tmp_path / "leaderboard.tsv").to_dict("records")
    assert row["n_permutations"] == 2 * PERMUTATIONS  # enough for quantiles, which lie within the range
    low, high = np.quantile(draws["pearson"], [0.025, 0.975], method="weibull")
    assert (row["null_low"], row["null_high"]) == pytest.approx((low, high))


def test_a_score_lies_above_within_or_below_the_envelope():
    ends = (-0.1, 0.2)
    assert [against(r, ends) for r in (0.21, 0.2, -0.1, -0.11)] == ["above", "within", "within", "below"]
    assert against(0.3, (np.nan, np.nan)) == against(np.nan, ends) == ""


def test_pooled_scores_equal_scipy_on_concatenated_spots(tables):
    genes = tables["genes"].query("method == 'poor'").set_index("gene")
    patients = tables["patients"].query("method == 'poor'").set_index("patient")
    everything, of_patient = [], []
    for patient, sections in PATIENTS.items():
        pair = [np.concatenate([tissue(s)[1] for s in sections]),
                np.concatenate([predicted("poor", s, 0) for s in sections])]  # fmt: skip
        everything.append((patient, pair))
        of_patient = [stats.pearsonr(pair[0][:, g], pair[1][:, g]).statistic for g in panel_of(patient)]
        assert patients.loc[patient, "pearson_pooled"] == pytest.approx(np.mean(of_patient), abs=1e-6)
    for g, gene in enumerate(GENES):
        parts = [pair for patient, pair in everything if g in panel_of(patient)]
        y, f = (np.concatenate([pair[side][:, g] for pair in parts]) for side in (0, 1))
        expected = stats.pearsonr(y, f).statistic
        assert genes.loc[gene, "pearson_pooled"] == pytest.approx(expected, abs=1e-6)


def test_section_means_score_in_the_pooled_correlation_and_nowhere_else(tables):
    """The reason why the pooled score is always labelled."""
    board = tables["leaderboard"].set_index("method")
    assert board.loc["constant", "pearson"] == 0
    assert board.loc["constant", "pearson_pooled"] > 0.05
    assert board.loc["constant", "pearson_centred"] == 0


def test_the_centred_score_is_that_of_scipy_on_spots_of_centred_sections(tables):
    def centred(values):
        return values - values.mean(axis=0)

    found = []
    for g in range(len(GENES)):
        sections = [s for patient in PATIENTS if g in panel_of(patient) for s in PATIENTS[patient]]
        y = np.concatenate([centred(tissue(s)[1][:, g]) for s in sections])
        f = np.concatenate([centred(predicted("poor", s, 0)[:, g]) for s in sections])
        found.append(stats.pearsonr(y, f).statistic)
    board = tables["leaderboard"].set_index("method")
    assert board.loc["poor", "pearson_centred"] == pytest.approx(np.mean(found), abs=1e-6)


def test_gene_table_has_the_consistency_test_on_pooled_patients(tables):
    genes = tables["genes"]
    assert len(genes) == 4 * 18
    row = genes.query("method == 'good' and gene == 'PLANT0'").iloc[0]
    assert (row["n_patients"], row["n_positive"]) == (6, 6)
    assert row["p_binomial"] == pytest.approx(1 / 64)
    null = genes.query("method == 'blind' and gene == 'NULL0'").iloc[0]
    assert null["n_patients"] == 5, "the fold whose panel lacks the gene is no trial"
    # Only patients A and C have several sections, whose means a pooled correlation can tell apart.
    assert genes.query("method == 'constant'")["n_positive"].max() <= 2
    assert genes.query("gene == 'PLANT5' and method == 'good'")["n_undefined"].iloc[0] == 1


def test_patients_and_sections_count_what_was_left_out(tables):
    sections = tables["sections"].query("method == 'good'").set_index("section")
    assert len(sections) == 9
    assert sections.loc["A2", ["n_genes", "n_constant_truth", "n_constant_prediction"]].tolist() == [16, 1, 0]
    constant = tables["sections"].query("method == 'constant'")
    assert (constant["n_constant_prediction"] + constant["n_constant_truth"] == 17).all()
    patients = tables["patients"].query("method == 'good'").set_index("patient")
    assert patients.loc["C", "n_sections"] == 3
    assert patients.loc["C", "pearson"] == pytest.approx(
        sections.loc[["C1", "C2", "C3"], "pearson"].mean(), abs=1e-9
    )


def test_comparisons_are_paired_over_patients(tables):
    comparisons = tables["comparisons"].set_index(["method_a", "method_b"])
    assert len(comparisons) == 6
    row = comparisons.loc[("good", "poor")]
    assert row["n_patients"] == 6 and row["difference"] > 0.1 and row["difference_low"] > 0
    assert row["p_wilcoxon"] == pytest.approx(2 / 64) and row["p_holm"] >= row["p_wilcoxon"]
    board = tables["leaderboard"].set_index("method")["pearson"]
    assert row["difference"] == pytest.approx(board["good"] - board["poor"], abs=1e-9)


def test_curve_and_power(tables):
    curve = tables["consistency_curve"].query("method == 'good'").set_index("k")
    assert list(curve.index) == list(range(7))
    assert curve.loc[0, "n_genes"] == 18 and curve["n_genes"].is_monotonic_decreasing
    assert (curve["envelope_low"] <= curve["envelope_high"]).all()
    genes, shared, pairs = (row for _, row in tables["power"].iterrows())
    assert (genes["n_tests"], genes["smallest_p"]) == (18, 2.0**-6)
    assert not genes["can_reject_holm"] and genes["patients_needed_holm"] == 9
    assert "can never reject (it needs 9 patients)" in genes["statement"]
    assert shared["smallest_p"] > 2 * genes["smallest_p"] and shared["patients_needed_holm"] > 9
    assert "correlate by 0.2 without signal" in shared["statement"]
    assert (pairs["n_tests"], pairs["smallest_p"]) == (6, 2.0**-5)


def test_planted_genes_are_found_and_null_genes_are_not(tables):
    rates = tables["planted"].set_index(["method", "metric", "criterion", "kind"]).sort_index()
    for metric in ("pearson", "pearson_partial_depth"):
        found = rates.loc[("good", metric, "q <= 0.05")]
        assert found.loc["colour", "rate"] == 1 and found.loc["colour", "n_genes"] == 6
        assert found.loc["null", "rate"] <= 0.1
        assert found.loc["colour", "rate_low"] < 1 <= found.loc["colour", "rate_high"]
        assert rates.loc[("constant", metric, "p <= 0.05", "colour"), "rate"] == 0
    np.testing.assert_allclose(tables["planted"]["shared_training"], 1 / 5)
    genes = tables["planted_genes"]
    assert set(genes.query("method == 'good' and found_q == 1 and metric == 'pearson'")["gene"]) >= set(
        GENES[:6]
    )


def test_a_diverged_network_is_off_by_an_infinite_factor():
    method = ScoredMethod("diverged", "deep", runs=[], facts=[], n_folds=3)
    scores = {"diverged": {"rmse": np.full((3, 2), 1e6)}}
    table = metric_table([method], scores, np.e, n_bootstrap=10, seed=0).set_index("metric")
    assert table.loc["rmse", "value"] == 1e6
    assert np.isposinf(table.loc["rmse_factor", ["value", "value_low", "value_high"]].astype(float)).all()


def test_metrics_have_intervals_and_equal_the_leader_board(tables):
    metrics = tables["metrics"].set_index(["method", "metric"])
    board = tables["leaderboard"].set_index("method")
    for method in ("good", "poor"):
        for name in ("pearson", "spearman", "rmse", "mae", "ceiling_fraction"):
            assert metrics.loc[(method, name), "value"] == pytest.approx(board.loc[method, name], abs=1e-6)
    good = metrics.loc["good"]
    assert ((good["value_low"] <= good["value"] + 1e-9) & (good["value"] <= good["value_high"] + 1e-9)).all()
    assert good.loc["rmse_factor", "value"] == pytest.approx(np.exp(good.loc["rmse", "value"]))
    assert good.loc["tumour_auroc", "n_patients"] == 4 and good.loc["tumour_auroc", "value"] > 0.95
    assert good.loc["purity_embedding", "n_patients"] == 4
    assert ("poor", "tumour_auroc") not in metrics.index, "nothing is said of what a method does not do"
    # the null of the correlation over genes: a constant profile per section
    assert (
        metrics.loc[("constant", "pearson_per_spot"), "better"]
        != metrics.loc[("constant", "pearson"), "better"]
    )
    assert metrics.loc[("constant", "sd_ratio"), "value"] == 0


def test_ranks_and_variance_components(tables):
    ranks = tables["ranks"].query("metric == 'pearson'").set_index("method")
    assert ranks.index[0] == "good" and ranks["mean_rank"].sum() == pytest.approx(10)
    assert (ranks["n_patients"] == 6).all() and ranks["p_friedman"].iloc[0] < 0.01
    assert set(tables["ranks"]["metric"]) >= {"spearman", "rmse", "ssim", "js_divergence"}
    variance = tables["variance"].set_index(["method", "component"])
    assert variance.loc[("good", "seed"), "variance"] > 0
    assert "cannot be told apart" in variance.loc[("good", "fold and patient"), "note"]
    assert "One seed" in variance.loc[("poor", "seed"), "note"] and np.isnan(
        variance.loc[("poor", "seed"), "variance"]
    )
    assert variance.loc["good"]["share"].sum() == pytest.approx(1)


def test_consistency_leaves_out_patients_without_such_spots(tables):
    summary = tables["consistency_summary"].set_index(["method", "spots"])
    trials = summary.loc["good"]["n_patients"].to_dict()
    assert trials == {"all": 6, "tumour": 5, "normal": 4}, "E has no label, F no normal spot"
    assert summary.loc[("good", "all"), "shared_training"] == pytest.approx(0.2)
    assert "correlate by 0.2" in summary.loc[("good", "all"), "note"]
    rows = tables["consistency"].set_index(["method", "spots", "gene"])
    # Expected from scipy: patient A pools two sections, tumour spots only.
    values = []
    for sections in PATIENTS.values():
        y, f = [], []
        for section in sections:
            chosen = tumour_of(section) == 1
            y.append(tissue(section)[1][chosen, 1])
            f.append(predicted("poor", section, 0)[chosen, 1])
        y, f = np.concatenate(y).astype(float), np.concatenate(f).astype(float)
        if len(y):
            values.append(stats.pearsonr(y, f).statistic)
    row = rows.loc[("poor", "tumour", "PLANT1")]
    assert (row["n_patients"], row["n_positive"]) == (5, sum(v > 0 for v in values))
    assert row["median_pearson"] == pytest.approx(np.median(values), abs=1e-6)
    assert (rows["p_shared"] >= rows["p_binomial"] - 1e-12)[rows["p_binomial"] < 0.4].all()


def test_tumour_tables(tables):
    tumour = tables["tumour"].set_index("patient")
    assert set(tumour["method"]) == {"good"} and set(tumour.index) == {"A", "B", "C", "D", "F", "*"}
    assert np.isnan(tumour.loc["F", "auroc"]) and tumour.loc["F", "prevalence"] == 1
    assert tumour.loc["*", "auroc"] == pytest.approx(tumour.loc[list("ABCD"), "auroc"].mean())
    assert tumour.loc["*", "n_labelled"] == tumour.loc[list("ABCDF"), "n_labelled"].sum()
    curves = tables["tumour_curves"]
    assert set(curves["curve"]) == {"roc", "precision_recall", "calibration"}
    assert curves.loc[curves["curve"] == "calibration", "n_spots"].sum() == tumour.loc["*", "n_labelled"]


def test_genes_that_differ_and_inform(tables):
    genes = tables["tumour_genes"].set_index(["method", "gene"])
    truth = []
    for patient, sections in PATIENTS.items():
        if patient in "ABCD":
            y = np.concatenate([tissue(s)[1][:, 0] for s in sections])
            label = np.concatenate([tumour_of(s) for s in sections])
            truth.append(y[label == 1].mean() - y[label == 0].mean())
    row = genes.loc[("good", "PLANT0")]
    assert row["n_patients"] == 4
    assert row["difference_truth"] == pytest.approx(np.mean(truth), abs=1e-5)
    assert row["p_truth"] == pytest.approx(stats.ttest_1samp(truth, 0).pvalue, rel=1e-3)
    assert row["q_prediction"] < 0.05 and genes.loc[("blind", "PLANT0"), "q_prediction"] > 0.05
    informative = tables["informative_genes"].set_index(["method", "gene"])
    assert informative.loc[("good", "PLANT0"), ["rank_truth", "in_truth", "in_prediction"]].tolist() == [
        1,
        1,
        1,
    ]
    assert informative.loc["good"]["in_truth"].sum() == 2, "a tenth of 18 genes"
    assert informative.loc["constant"]["in_prediction"].sum() == 0
    # what no forest used has no rank: in the order of names it would seem to be shared
    assert informative.loc["constant"]["rank_prediction"].isna().all()


def test_domains_confusion_and_latent_neighbours(files, tables):
    domains = tables["domains"]
    observed = domains.query("method == 'observed'")
    assert len(observed) == 7 and (observed["n_domains"] == 2).all(), "sections with both labels"
    latent = domains.query("values == 'latent'")
    assert set(latent["section"]) == {"*"} and set(latent["patient"]) == set("ABCD")
    assert (domains["purity"].dropna() >= domains["purity_majority"][domains["purity"].notna()] - 1e-9).all()
    confusion = tables["confusion"].query("method == 'poor' and section == 'B1'")
    assert set(confusion["kind"]) == {"domains", "two_clusters"}
    labelled = np.isfinite(tumour_of("B1")).sum()
    assert (confusion.groupby("kind")["n_spots"].sum() == labelled).all()
    neighbours = tables["latent_neighbours"].set_index("method")
    assert list(neighbours.index) == ["good"] and neighbours.loc["good", "nearest"] > 0
    assert neighbours.loc["good", "difference_low"] > 0
    spots = read_table(files["root"] / "tables" / "spots.parquet")
    assert len(spots) == sum(len(tissue(s)[1]) for own in PATIENTS.values() for s in own)
    assert {"observed.domain", "good.domain", "good.latent_cluster", "good.tumour_probability"} <= set(spots)
    assert not {"poor.latent_cluster", "poor.tumour_probability"} & set(spots)
    one = spots.query("section == 'B1'")
    cell = confusion.query("kind == 'two_clusters' and cluster == 0 and label == 'tumour'")["n_spots"].iloc[0]
    assert ((one["poor.cluster"] == 0) & (one["tumour"] == 1)).sum() == cell


def test_pearson_p_of_genes_is_that_of_scipy(tables):
    genes = tables["genes"].set_index(["method", "gene"])
    logs = []
    for patient, sections in PATIENTS.items():
        for section in sections:
            if 7 in panel_of(patient):
                pair = (
                    tissue(section)[1][:, 7].astype(float),
                    predicted("poor", section, 0)[:, 7].astype(float),
                )
                logs.append(-np.log10(stats.pearsonr(*pair).pvalue))
    assert genes.loc[("poor", "NULL1"), "neg_log10_p"] == pytest.approx(np.mean(logs), rel=1e-4)


def test_nothing_failed_and_everything_is_there(tables):
    assert tables["failures"].empty
    assert set(tables) == {
        "leaderboard", "metrics", "ranks", "variance", "genes", "patients", "sections", "comparisons",
        "consistency", "consistency_summary", "consistency_curve", "power", "tumour", "tumour_curves",
        "tumour_genes", "informative_genes", "colocation", "domains", "confusion", "latent_neighbours",
        "planted", "planted_genes", "failures", "permutations", "auxiliary",
    }  # fmt: skip


def test_missing_results_are_listed_and_the_rest_is_still_tabulated(files, tmp_path):
    metrics = {name: list(paths) for name, paths in files["metrics"].items() if name != "poor"}
    metrics["blind"] = [tmp_path / "gone" / f"{patient}.parquet" for patient in PATIENTS]
    metrics["good.seed1"] = metrics["good.seed1"][1:]
    write_tables(
        experiment="test", metrics=metrics, runs=files["runs"], ceilings=[], families=FAMILIES,
        output_folder=tmp_path, folds=list(PATIENTS), n_bootstrap=50,
    )  # fmt: skip
    failures = pd.read_csv(tmp_path / "failures.tsv", sep="\t", dtype=str)
    assert set(failures["method"]) == {"good", "poor", "blind"}
    lost = failures.query("method == 'good'").iloc[0]
    assert (lost["seed"], lost["fold"]) == ("1", "A")
    assert len(failures.query("method == 'blind'")) == 6
    assert failures.query("method == 'poor'")["reason"].iloc[0] == "no result is there"
    board = pd.read_csv(tmp_path / "leaderboard.tsv", sep="\t")
    assert set(board["method"]) == {"good", "constant"} and board["ceiling_fraction"].isna().all()
    assert pd.read_csv(tmp_path / "planted.tsv", sep="\t").empty


def test_a_section_that_one_method_was_not_scored_on_is_listed(tmp_path):
    """An .h5ad that is lost from a folder: methods would be ranked on different sections."""
    metrics = {}
    for name, lost in (("good", ""), ("poor", "C2")):
        for patient, sections in {"B": ["B1"], "C": ["C1", "C2"]}.items():
            found = [scored(name, section, patient, 0) for section in sections if section != lost]
            path = tmp_path / name / f"{patient}.parquet"
            write_table(score_and_describe(found)[0], path)
            metrics.setdefault(name, []).append(path)
    write_tables(experiment="test", metrics=metrics, runs={}, ceilings=[], families={"good": "deep", "poor": "deep"},
                 output_folder=tmp_path, n_bootstrap=20)  # fmt: skip
    (failure,) = read_table(tmp_path / "failures.tsv").to_dict("records")
    assert (failure["method"], failure["fold"]) == ("poor", "C")
    assert failure["reason"] == "section C2 of patient C is not scored, as it is for other methods"


@pytest.mark.parametrize("n", [0, 6])
def test_sections_too_small_to_score_give_tables_that_say_so(tmp_path, n):
    """After all trainings: what is known is written, and what is not is said."""
    metrics = []
    for patient in "BCD":
        found = [first_spots(scored("good", f"{patient}1", patient, 0), n)]
        metrics.append(tmp_path / "good" / f"{patient}.parquet")
        write_table(score_and_describe(found)[0], metrics[-1])
    write_tables(experiment="test", metrics={"good": metrics}, runs={}, ceilings=[], families={"good": "deep"},
                 output_folder=tmp_path, n_bootstrap=20)  # fmt: skip
    power = read_table(tmp_path / "power.tsv")
    assert power["statement"].iloc[0] == "No gene has a score, so that nothing can be tested."
    board = read_table(tmp_path / "leaderboard.tsv")
    assert list(board["method"]) == ["good"] and board["pearson"].isna().all()


def first_spots(section, n):
    """The section as if quality control had left its first ``n`` spots."""
    own = {
        name: value[:n] if isinstance(value, np.ndarray) else value for name, value in vars(section).items()
    }
    return ScoredSection(**own)


def test_a_section_of_two_spots_weighs_nothing_and_is_counted(tmp_path):
    """r would be 1 or -1 for every gene there, with the weight of a section of hundreds of spots."""
    boards, metrics = {}, {}
    for name in ("with", "without"):
        for patient, sections in {"B": ["B1"], "C": ["C1", "C2"], "D": ["D1"]}.items():
            found = [scored("good", section, patient, 0) for section in sections]
            if patient == "C":
                found = [found[0], first_spots(found[1], 2)] if name == "with" else found[:1]
            path = tmp_path / name / f"{patient}.parquet"
            write_table(score_and_describe(found)[0], path)
            metrics.setdefault(name, []).append(path)
        write_tables(experiment="test", metrics={"good": metrics[name]}, runs={}, ceilings=[],
                     families={"good": "deep"}, output_folder=tmp_path / name, n_bootstrap=20)  # fmt: skip
        boards[name] = read_table(tmp_path / name / "leaderboard.tsv").iloc[0]
    for column in ("pearson", "pearson_low", "pearson_high", "spearman", "n_positive"):
        assert boards["with"][column] == boards["without"][column], column
    assert boards["with"]["n_undefined"] == boards["without"]["n_undefined"] + 17
    sections = read_table(tmp_path / "with" / "sections.tsv").set_index("section")
    assert sections.loc["C2", ["n_spots", "n_genes", "n_too_few_spots", "n_constant_truth"]].tolist() == [
        2,
        0,
        17,
        0,
    ]
    assert sections.drop("C2")["n_too_few_spots"].eq(0).all() and np.isnan(sections.loc["C2", "pearson"])
    patients = read_table(tmp_path / "with" / "patients.tsv").set_index("patient")
    assert patients.loc["C", "n_sections"] == 2 and np.isfinite(patients.loc["C", "pearson"])
    warning = _few_spots(Loaded(sections.reset_index()))
    assert "C2 (2 spots)" in warning and "C1" not in warning
    assert _few_spots(Loaded(read_table(tmp_path / "without" / "sections.tsv"))) == ""


@pytest.mark.parametrize(("scale", "told"), [(1.0, False), (0.01, False), (1e-5, True), (0.0, False)])
def test_predictions_that_hardly_vary_are_told_where_their_correlation_does_not_show_it(
    tmp_path, scale, told
):
    """A network that stays close to its start differs by a millionth between spots, and has an r like any other."""
    paths = []
    for patient in "ABC":
        found = []
        for section in PATIENTS[patient]:
            one = scored("good", section, patient, 0)
            around = one.prediction - one.prediction.mean(axis=0)
            found.append(replace(one, prediction=np.float32(2) + np.float32(scale) * around))
        paths.append(tmp_path / f"{patient}.parquet")
        write_table(score_and_describe(found)[0], paths[-1])
    write_tables(experiment="test", metrics={"brstnet": paths}, runs={}, ceilings=[], families={"brstnet": "deep"},
                 output_folder=tmp_path, n_bootstrap=20)  # fmt: skip
    facts = Settings.of({"titles": {"brstnet": "BrST-Net"}})
    warnings = _hardly_varying(Loaded(read_table(tmp_path / "metrics.tsv")), facts)
    assert ["BrST-Net (" in text for text in warnings] == [True] * told
    board = read_table(tmp_path / "leaderboard.tsv").iloc[0]
    assert (board["pearson"] > 0.2) == (scale > 0)


def test_no_result_at_all_gives_empty_tables_with_headers(tmp_path):
    write_tables(experiment="test", metrics={}, runs={}, ceilings=[], families={"stnet": "deep"},
                 output_folder=tmp_path)  # fmt: skip
    for path in tmp_path.glob("*.tsv"):
        table = pd.read_csv(path, sep="\t")
        assert len(table.columns) > 2 and (table.empty or path.stem == "failures")


def test_single_patient_has_scores_but_no_interval(files, tmp_path):
    some = {name: paths[:1] for name, paths in files["metrics"].items()}
    write_tables(experiment="test", metrics=some, runs={}, ceilings=files["ceilings"], families=FAMILIES,
                 output_folder=tmp_path, truth=files["truth"])  # fmt: skip
    board = pd.read_csv(tmp_path / "leaderboard.tsv", sep="\t")
    assert board["pearson"].notna().all() and board["pearson_low"].isna().all()
    assert (pd.read_csv(tmp_path / "planted.tsv", sep="\t")["n_genes"] == 0).all()


def test_tables_are_the_same_twice(files, tables, tmp_path):
    write_tables(
        experiment="test", metrics=files["metrics"], runs=files["runs"], ceilings=files["ceilings"],
        families=FAMILIES, truth=files["truth"], output_folder=tmp_path, folds=list(PATIENTS), n_bootstrap=200,
        spots=files["spots"], transform="log1p_cp10k",
    )  # fmt: skip
    for path in [*tmp_path.glob("*.tsv"), tmp_path / "spots.parquet"]:
        assert path.read_bytes() == (files["root"] / "tables" / path.name).read_bytes()


def test_section_tested_twice_and_broken_file_are_one_sentence(files, tmp_path):
    with pytest.raises(UserError, match="tested in two folds"):
        read_scores(files["metrics"]["good"][:1] * 2)
    broken = tmp_path / "A.parquet"
    broken.write_bytes(files["metrics"]["good"][0].read_bytes()[:500])
    with pytest.raises(UserError, match=r"A\.parquet: the metric table cannot be read"):
        read_scores([broken])


def test_seeds():
    assert split_seed("stnet.seed12") == ("stnet", 12)
    assert split_seed("stnet") == ("stnet", None)


def test_average_of_seeds_with_different_folds(files):
    runs = [read_scores(files["metrics"]["good"]), read_scores(files["metrics"]["good.seed1"][1:])]
    both = average_seeds(runs)
    assert both.sections == runs[0].sections
    own = both.sections.index("A1")
    np.testing.assert_array_equal(both["pearson"][own], runs[0]["pearson"][own])
    other = both.sections.index("B1")
    expected = (runs[0]["pearson"][other] + runs[1]["pearson"][runs[1].sections.index("B1")]) / 2
    np.testing.assert_allclose(both["pearson"][other], expected)


def test_records_are_json_of_the_expected_kind(files):
    assert json.loads(files["runs"]["good"][0].read_text())["fold"] == "A"

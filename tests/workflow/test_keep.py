"""Weights that are not kept go once nothing waits for them, and come back, themselves alone, for what needs them."""

from __future__ import annotations

import shutil

import pytest

from histobench.config.benchmark import Benchmark
from histobench.config.files import read_configuration
from histobench.plan import size
from histobench.plan.keep import WEIGHTS
from histobench.plan.model import make_plan

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

# the run of seconds, with a network that figures look into in place of what takes longest
METHODS = """\
      colour_ridge:
      stnet: {params: {architecture: small_cnn, input_px: null, selection: fixed, epochs: 2}, resources: {runtime: 90, threads: 1}}
"""
CHOICES = {
    "all": "keep: all",
    "none": "keep: none",
    "other": "experiments: {tiny: {maps: {section: P2_1}}}",
}
# a figure that reads weights, one that does not, and scores: without the report, which takes most of the time
ASKED = [
    "results/data/simulated/sections.tsv",
    "results/tiny/figures/attributions.svg",
    "results/tiny/figures/stain_effect.svg",
    "results/tiny/metrics/colour_ridge",
]
EDITED = ("from __future__ import annotations\n", "from __future__ import annotations\n\nEDITED = 1\n")
MODELS = "results/tiny/models"
SHOWN, AGAIN = f"{MODELS}/stnet/P1{WEIGHTS}", f"{MODELS}/stnet/P2{WEIGHTS}"


def configured(choice):
    return "--configfile", "tiny.yaml", *([f"{choice}.yaml"] if choice else [])


def run(checkout, choice="", asked=ASKED):
    checkout.snakemake(*asked, *configured(choice), configfile=None, check=True, timeout=2500)


def planned(checkout, choice=""):
    return checkout.jobs(*ASKED, *configured(choice), configfile=None)


def rules(jobs):
    return {rule for rule, _ in jobs}


def trained(jobs):
    return {about.partition(", ")[2] for rule, about in jobs if rule in ("train_method", "train_quick")}


def weights(checkout):
    return {str(path.relative_to(checkout.folder)) for path in checkout.folder.glob(f"{MODELS}/*/*{WEIGHTS}")}


@pytest.fixture(scope="module")
def done(fresh):
    """A finished run with a network that figures look into, and files that say something else of `keep`."""
    checkout = fresh("keep")
    tiny = checkout.folder / "tiny.yaml"
    head, methods, _ = tiny.read_text().partition("    methods:\n")
    tiny.write_text(f"keep: full\n{head}{methods}{METHODS}")
    for name, text in CHOICES.items():
        (checkout.folder / f"{name}.yaml").write_text(f"{text}\n")
    run(checkout)
    return checkout


def test_what_stays_is_what_figures_read_and_a_second_run_does_nothing(done):
    assert weights(done) == {SHOWN}
    assert planned(done) == set()
    for fold in ("P1", "P2", "P3"):
        beside = {path.name for path in (done.folder / MODELS / "stnet" / fold).iterdir()}
        assert {"run.json", "history.tsv", "card.md", "weights.pt.sha256"} <= beside


def test_the_plan_states_what_a_run_takes(done, project, monkeypatch):
    """Patches, predictions and weights within a fifth, once the sections are read and their spots known."""
    monkeypatch.chdir(done.folder)
    files = [project / "config/config.yaml", done.folder / "tiny.yaml"]
    found = size.size(make_plan(Benchmark(read_configuration(files, project), project, files))).disk

    def taken(pattern):
        return sum(path.stat().st_size for path in done.folder.glob(f"results/{pattern}"))

    assert found.patches == pytest.approx(taken("data/*/patches/*/*.npy"), rel=0.2)
    assert found.predictions == pytest.approx(taken("tiny/predictions/*/*/*.h5ad"), rel=0.2)
    assert found.weights == pytest.approx((done.folder / SHOWN).stat().st_size, rel=0.2)
    assert 2 * found.weights <= found.temporary <= 2.2 * found.weights


def test_another_choice_trains_nothing_and_deletes_nothing(done):
    assert planned(done, "none") == set()
    run(done, "none")
    assert weights(done) == {SHOWN}
    assert {rule for rule, _ in planned(done, "all")} == {
        "draw_on_tissue"
    }  # which then draws what reads weights, too


def test_scores_and_figures_that_read_no_weights_retrain_nothing(done):
    """Also where no weights are left."""
    kept = done.folder / SHOWN
    aside = kept.rename(done.folder / "aside.pt")
    for module, made in {
        "evaluation/metrics.py": "score_method",
        "figures/on_tissue/stain_effect.py": "draw_on_tissue",
    }.items():
        with done.edit(f"workflow/lib/histobench/{module}", *EDITED):
            jobs = planned(done, "none")
        assert made in rules(jobs) and not trained(jobs), module
    with done.edit("workflow/lib/histobench/figures/on_tissue/attributions.py", *EDITED):
        jobs = planned(done, "none")
    assert trained(jobs) == {"method=stnet, fold=P1"}
    assert not {"predict_folds", "score_method"} & rules(jobs)
    aside.rename(kept)


def test_what_needs_weights_that_are_gone_trains_those_and_nothing_else(done):
    with done.edit("workflow/scripts/predict_folds.py", "with job_log", "EDITED = 1\n\nwith job_log"):
        jobs = planned(done)
    assert trained(jobs) == {"method=colour_ridge", "method=stnet, fold=P2", "method=stnet, fold=P3"}


def test_weights_are_brought_back_for_one_figure_without_predicting_again(done):
    """Maps of another section: the figures look into the network of another fold."""
    jobs = planned(done, "other")
    assert trained(jobs) == {"method=stnet, fold=P2"}
    assert not {"predict_folds", "score_method"} & rules(jobs)
    before = (done.folder / f"{AGAIN}.sha256").read_text()
    predicted = (done.folder / "results/tiny/predictions/stnet/P2/P2_1.h5ad").stat()
    run(done, "other")
    assert weights(done) == {SHOWN, AGAIN}
    assert (done.folder / f"{AGAIN}.sha256").read_text() == before
    assert (done.folder / AGAIN).stat().st_mtime < predicted.st_mtime
    assert planned(done, "other") == set()


def test_a_run_that_was_killed_before_it_predicted_trains_nothing_twice(done):
    run(done, asked=[f"{MODELS}/stnet/P3{WEIGHTS}"])
    assert len(weights(done)) == 3
    for fold in ("P1", "P2", "P3"):
        shutil.rmtree(done.folder / f"results/tiny/predictions/stnet/{fold}")
    jobs = planned(done)
    assert ("predict_folds", "experiment=tiny, method=stnet") in jobs and not trained(jobs)
    run(done)
    assert weights(done) == {SHOWN} and planned(done) == set()

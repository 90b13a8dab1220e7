"""Mistakes that a person could make, one line each, and the fast tests that must notice them."""

from __future__ import annotations

from typing import NamedTuple

LIB = "workflow/lib/histobench"


class Mutant(NamedTuple):
    """A mistake: in which file which text becomes which, and the tests that are asked."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def _unit(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/unit/test_{name}.py" for name in names)


MUTANTS = (
    # statistics
    Mutant(
        "binomial tail off by one",
        f"{LIB}/evaluation/statistics.py",
        "np.asarray(n_positive) - 1, trials",
        "np.asarray(n_positive), trials",
        _unit("evaluation_statistics"),
    ),
    Mutant(
        "interval of 90 percent",
        f"{LIB}/evaluation/statistics.py",
        "[alpha / 2, 1 - alpha / 2])\n    return float(low)",
        "[alpha, 1 - alpha])\n    return float(low)",
        _unit("evaluation_statistics"),
    ),
    Mutant(
        "bootstrap over genes",
        f"{LIB}/evaluation/statistics.py",
        "bootstrap_scores(r[np.isfinite(r).any(axis=1)]",
        "bootstrap_scores(r[np.isfinite(r).any(axis=1)].T",
        _unit("evaluation_statistics"),
    ),
    Mutant(
        "smallest p two-sided",
        f"{LIB}/evaluation/statistics.py",
        "return 0.5**n_patients",
        "return 2 * 0.5**n_patients",
        _unit("evaluation_statistics"),
    ),
    Mutant(
        "ties of an AUROC count whole",
        f"{LIB}/evaluation/onepass.py",
        "high * (lower + low / 2)",
        "high * (lower + low)",
        _unit("evaluation_metrics"),
    ),
    Mutant(
        "spots of a patient in parts: the largest",
        f"{LIB}/evaluation/gather.py",
        'n_spots=("n_spots", "sum")',
        'n_spots=("n_spots", "max")',
        _unit("evaluation_gather", "evaluation_tables"),
    ),
    # splits and leaks
    Mutant(
        "validation patient may be the tested one",
        f"{LIB}/splits/folds.py",
        "for section in rest} - tested)",
        "for section in rest})",
        _unit("splits_folds"),
    ),
    Mutant(
        "audit of panels looks at validation",
        f"{LIB}/splits/audit.py",
        'tested = members(fold, persons, "test")\n    seen = members(chosen_on',
        'tested = members(fold, persons, "valid")\n    seen = members(chosen_on',
        _unit("splits_audit"),
    ),
    Mutant(
        "a competitor with the truth passes the audit",
        f"{LIB}/splits/audit.py",
        'if declared.methods[name]["family"] != "oracle"',
        'if declared.methods[name]["family"] == "control"',
        _unit("splits_audit"),
    ),
    Mutant(
        "a twin of the same patient passes",
        f"{LIB}/splits/overlap.py",
        'twins["section"].isin(used) & twins["other"].isin(used)',
        'twins["section"].isin(used) & (twins["patient"] != twins["other_patient"])',
        _unit("splits_audit"),
    ),
    Mutant(
        "maps of depth are not mirrored",
        f"{LIB}/cohorts/depth_map.py",
        "for columns in (1, -1)",
        "for columns in (1,)",
        _unit("cohorts_identity"),
    ),
    Mutant(
        "landmarks of a negative are not turned",
        f"{LIB}/imaging/landmarks.py",
        "(marks.places, fields[:, ::-1, ::-1])",
        "(marks.places, fields)",
        _unit("imaging_phash"),
    ),
    # seams: from files to methods
    Mutant(
        "counts are not restricted to measured genes",
        f"{LIB}/training/run.py",
        "panel_counts=loaded.panel_counts[:, columns]",
        "panel_counts=loaded.panel_counts",
        _unit("methods_run"),
    ),
    Mutant(
        "the seed does not reach the training",
        f"{LIB}/training/run.py",
        "seed=seed_for(experiment, method, fold, seed),",
        "seed=seed_for(experiment, method, fold),",
        _unit("methods_run"),
    ),
    Mutant(
        "truth is shown to everybody",
        f"{LIB}/training/run.py",
        "shown = loaded.data.without_truth()\n    if oracle",
        "shown = loaded.data\n    if oracle",
        _unit("methods_run"),
    ),
    Mutant(
        "training keeps the spots of the test filter",
        f"{LIB}/training/run.py",
        'qc_column="keep_train"',
        'qc_column="keep"',
        _unit("methods_run"),
    ),
    Mutant(
        "code without its packages",
        f"{LIB}/codehash.py",
        "for package in sorted(computes_with(*modules)):",
        "for package in ():",
        _unit("codehash"),
    ),
    Mutant(
        "a comment changes the code",
        f"{LIB}/codehash.py",
        'digest = hashlib.sha256("\\0".join(words)',
        'digest = hashlib.sha256((path.read_text() + "\\0".join(words))',
        _unit("codehash"),
    ),
    # what the plan gives to jobs
    Mutant(
        "training is given the tested sections",
        f"{LIB}/plan/training.py",
        '**dict.fromkeys(fold.valid, "valid"),',
        '**dict.fromkeys((*fold.valid, *fold.test), "valid"),',
        _unit("plan"),
    ),
    Mutant(
        "training reads images of the tested sections, and genes are chosen on them",
        f"{LIB}/plan/training.py",
        "return [*asked.train, *asked.valid]",
        "return [*asked.train, *asked.valid, *asked.test]",
        _unit("plan"),
    ),
    Mutant(
        "panel on all sections",
        f"{LIB}/plan/training.py",
        'if described.settings["panel"]["scope"] == "all":',
        "if described.settings:",
        _unit("plan"),
    ),
    Mutant(
        "memory of a retry does not grow",
        "workflow/rules/common.smk",
        "return lambda wildcards, attempt: first(wildcards) * attempt",
        "return lambda wildcards, attempt: first(wildcards)",
        _unit("rules"),
    ),
    Mutant(
        "a gpu on cpu runs",
        f"{LIB}/plan/model.py",
        'return bool(self.bench.config["device"] != "cpu")',
        "return True",
        _unit("plan"),
    ),
    Mutant(
        "the first seed is forgotten by the plan",
        f"{LIB}/plan/training.py",
        '"seed": run.seed,',
        '"seed": 0,',
        _unit("plan"),
    ),
    # images
    Mutant(
        "windows one pixel to the left",
        f"{LIB}/imaging/patchview.py",
        "first = (width - size) // 2",
        "first = (width - size) // 2 - 1",
        _unit("methods_run", "imaging_patches"),
    ),
    Mutant(
        "a window rounded down",
        f"{LIB}/imaging/patchview.py",
        'size = round(window["um"] / um_per_px)',
        'size = int(window["um"] / um_per_px)',
        _unit("imaging_patches"),
    ),
    # expression
    Mutant(
        "largest number of UMI excluded",
        f"{LIB}/expression/qc.py",
        "total > rules.max_umi",
        "total >= rules.max_umi",
        _unit("expression_qc"),
    ),
    # training
    Mutant(
        "patience one epoch late",
        f"{LIB}/training/loop.py",
        ">= self.patience",
        "> self.patience",
        _unit("training_engine"),
    ),
    Mutant(
        "tumour loss over all spots of a batch",
        f"{LIB}/training/losses.py",
        "known.sum()",
        "known.numel()",
        _unit("methods_he2gene", "methods_tumour"),
    ),
    # figures
    Mutant(
        "ranks upside down",
        f"{LIB}/figures/per_method/rank_heatmap.py",
        "ascending=not more",
        "ascending=more",
        _unit("figures_comparisons", "figures_results", "figures_scores"),
    ),
)

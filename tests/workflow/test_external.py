"""Models of one experiment predict sections that took no part in it."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.slow

# Real sections of two patients: left out in turn, and as another cohort of a model that knows one patient only.
REAL = """\
run: [both, c_only, b_only]
device: cpu
mirrors: {{her2st: [{mirror}]}}
experiments:
  both: &shared
    title: Leave one patient out
    cohort: her2st
    sections: [B4, C2]
    panel: {{size: 30}}
    weights: none
    patches: {{um_per_px: 2.4, width_px: 64}}
    methods: {{train_mean: , colour_ridge: }}
  c_only:
    <<: *shared
    title: Trained on patient C
    sections: [C2]
    folds: {{scheme: train_all}}
    external: [{{cohort: her2st, sections: [B4]}}]
  b_only:
    <<: *shared
    title: Trained on patient B
    sections: [B4]
    folds: {{scheme: train_all}}
    external: [{{cohort: her2st, sections: [C2]}}]
"""


def test_another_patient_predicted_externally_or_left_out_is_the_same(fresh, shared_data):
    checkout = fresh("external")
    (checkout.folder / "real.yaml").write_text(REAL.format(mirror=shared_data / "her2st"))
    checkout.snakemake(
        *(f"results/both/metrics/{method}" for method in METHODS),
        *(f"results/{name}/external/her2st/metrics/{method}" for method in METHODS for name in RUNS),
        "results/both/ceiling/B.parquet",
        "results/c_only/external/her2st/ceiling/all.parquet",
        "results/c_only/external/her2st/tables/external.tsv",
        configfile="real.yaml",
        cores=1,
        check=True,
    )
    results = checkout.folder / "results"
    for name, (fold, section) in RUNS.items():
        branch = results / name / "external/her2st"
        for method in METHODS:
            inner = anndata.read_h5ad(results / f"both/predictions/{method}/{fold}/{section}.h5ad")
            outer = anndata.read_h5ad(branch / f"predictions/{method}/all/{section}.h5ad")
            assert list(inner.var_names) == list(outer.var_names)
            assert list(inner.obs_names) == list(outer.obs_names)
            np.testing.assert_array_equal(inner.X, outer.X)
            np.testing.assert_array_equal(inner.layers["truth"], outer.layers["truth"])
            pd.testing.assert_frame_equal(
                pd.read_parquet(results / f"both/metrics/{method}/{fold}.parquet"),
                pd.read_parquet(branch / f"metrics/{method}/all.parquet"),
                check_exact=True,
            )
        # predictions differ between spots, so that equality says something
        assert outer.X.std(axis=0).min() > 0
    pd.testing.assert_frame_equal(
        pd.read_parquet(results / "both/ceiling/B.parquet"),
        pd.read_parquet(results / "c_only/external/her2st/ceiling/all.parquet"),
        check_exact=True,
    )
    (row,) = pd.read_csv(results / "c_only/external/her2st/tables/external.tsv", sep="\t").to_dict("records")
    assert (row["trained_by"], row["n_genes"], row["n_not_measured"]) == ("c_only", 30, 0)
    assert row["stain"] == "raw" and row["um_per_px_patches"] == 2.4
    audit = pd.read_csv(results / "c_only/audit/leakage.tsv", sep="\t").set_index("check")
    assert audit.loc["external patients", "detail"] == "none of 1 patients of her2st is trained on"


METHODS = ("train_mean", "colour_ridge")
RUNS = {"c_only": ("B", "B4"), "b_only": ("C", "C2")}


def test_every_stage_of_an_experiment_is_planned_for_its_branches(fresh, project):
    """HBCIS with native pixels: gene names and scale of the training reach the patches of the other cohort."""
    checkout = fresh("branch_plan")
    (checkout.folder / "plan.yaml").write_text(PLAN)
    jobs = checkout.jobs(configfile="plan.yaml")
    wanted = {
        ("match_panel", "experiment=breast/external/her2st, fold=all"),
        ("train_quick", "experiment=breast, method=colour_ridge"),
        ("predict_folds", "experiment=breast/external/her2st, method=colour_ridge"),
        ("tabulate_results", "experiment=breast/external/her2st"),
        ("training_scale", "experiment=breast"),
        ("cut_patches", "cohort=her2st, variant=raw-as.breast-224px"),
        ("cut_patches", "cohort=hbcis, variant=raw-native-224px"),
    }
    assert wanted <= jobs, wanted - jobs
    assert not any(rule.startswith("train_") and "external" in wildcards for rule, wildcards in jobs)


PLAN = """\
run: [breast]
experiments:
  breast:
    title: Trained on HBCIS, tested on HER2+
    cohort: hbcis
    folds: {scheme: k_fold_patients, k: 5}
    external: [{cohort: her2st, sections: [A1, C1]}]
    methods: {colour_ridge: }
"""


SLIDES = """\
run: [demo]
cohorts:
  simulated: {options: {n_patients: 3, sections_per_patient: 1}}
  tcga_brca: {table: manifest.tsv}
experiments:
  demo:
    external: [{cohort: tcga_brca}]
"""


def test_slides_are_predicted_by_methods_that_look_at_images(fresh):
    checkout = fresh("slides_plan")
    (checkout.folder / "slides.yaml").write_text(SLIDES)
    md5, sample = "0123456789abcdef" * 2, "released\tTCGA-A8-A082\tPrimary Tumor"
    (checkout.folder / "manifest.tsv").write_text(
        "id\tfilename\tmd5\tsize\tstate\tpatient\tsample_type\n"
        f"i1\tTCGA-A8-A082-01A-01-TS1.3cad.svs\t{md5}\t10\t{sample}\n"
        f"i2\ta.tsv\t{md5}\t10\t{sample}\n"
    )
    jobs = checkout.jobs("all", "external", configfile="slides.yaml")
    slide = "section=TCGA-A8-A082-01A-01-TS1"
    assert ("predict_tiles", f"experiment=demo, cohort=tcga_brca, method=colour_ridge, {slide}") in jobs
    assert ("compare_pseudobulk", "experiment=demo, cohort=tcga_brca, method=ridge_probe") in jobs
    assert ("tabulate_slides", "experiment=demo/external/tcga_brca") in jobs
    assert ("draw_slides", "experiment=demo") in jobs
    # nobody scores slides spot by spot
    assert not any("experiment=demo/external/tcga_brca" in w for r, w in jobs if r == "tabulate_results")
    assert ("draw_across", "experiment=demo") not in jobs
    assert not any("method=depth" in wildcards for rule, wildcards in jobs if rule == "predict_tiles")
    assert not any(slide in wildcards for rule, wildcards in jobs if rule == "read_section")

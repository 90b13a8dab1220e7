"""Configurations are composed and checked; every mistake is one sentence with the file, the key and the remedy."""

from __future__ import annotations

import re

import pytest
import yaml

from histobench.config.benchmark import Benchmark
from histobench.config.cohorts import WITHOUT_SPOTS
from histobench.config.definitions import definition
from histobench.config.files import check_config_file, merge
from histobench.errors import UserError
from histobench.plan import contrasts
from histobench.yamlfiles import read_yaml


def load(project, tmp_path, text):
    """Load a user's configuration file laid over the project's own."""
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    check_config_file(path, project)
    config = merge(read_yaml(project / "config/config.yaml"), read_yaml(path))
    return Benchmark(config, project, [project / "config/config.yaml", path])


@pytest.mark.parametrize(
    "name",
    [
        "config",
        "demo",
        "demo_encoders",
        "demo_methods",
        "her2st_mini",
        "her2st_mini_encoders",
        "her2st_methods",
    ],
)
def test_the_shipped_configurations_are_valid(project, name):
    path = project / f"config/{name}.yaml"
    config = merge(read_yaml(project / "config/config.yaml"), read_yaml(path))
    bench = Benchmark(config, project, [project / "config/config.yaml", path])
    assert bench.experiments
    for experiment in bench.experiments.values():
        assert experiment["folds"]["made"]
        assert all(method["title"] for method in experiment["methods"].values())


@pytest.mark.parametrize("name", ["demo", "demo_methods", "demo_protocols", "her2st_mini", "her2st_methods"])
def test_configurations_for_a_laptop_describe_images_by_a_network_that_was_trained(project, name):
    path = project / f"config/{name}.yaml"
    config = merge(read_yaml(project / "config/config.yaml"), read_yaml(path))
    bench = Benchmark(config, project, [project / "config/config.yaml", path])
    described = 0
    for experiment in bench.experiments.values():
        for method in experiment["methods"].values():
            if method["needs"]["features"]:
                described += 1
                recipe = bench.recipe(method["needs"]["features"], bench.features_pretrained(experiment))
                # of a package: such a run needs no download
                assert recipe["pretrained"] and recipe["weights"]["package"]
    assert described


@pytest.mark.parametrize("name", ["demo_methods", "her2st_methods"])
def test_configurations_of_all_methods_leave_none_out(project, name):
    path = project / f"config/{name}.yaml"
    config = merge(read_yaml(project / "config/config.yaml"), read_yaml(path))
    shipped = [file.stem for file in (project / "config/methods").glob("*.yaml")]
    for experiment in Benchmark(config, project, [path]).experiments.values():
        named = [method["method"] for method in experiment["methods"].values()]
        for method in shipped:
            assert any(name == method or name.startswith(f"{method}_") for name in named), method


def test_every_shipped_experiment_cohort_and_method_is_valid(project):
    names = [file.stem for file in (project / "config/experiments").glob("*.yaml")]
    Benchmark({"run": names}, project)
    cohorts = Benchmark({"run": ["demo"]}, project)
    for file in (project / "config/cohorts").glob("*.yaml"):
        cohort = cohorts.cohort(file.stem)
        assert cohort["sections"] or cohort["origin"] in WITHOUT_SPOTS
    for file in (project / "config/methods").glob("*.yaml"):
        assert definition(cohorts.declarations, "method", file.stem, "test")["entry"]


def test_a_change_reaches_the_experiment(project, tmp_path):
    bench = load(
        project,
        tmp_path,
        "run: [demo]\nmethods: {knn: {params: {k: 7}}}\nexperiments: {demo: {seeds: [0, 3]}}\n"
        "cohorts: {simulated: {options: {n_patients: 3}}}",
    )
    demo = bench.experiments["demo"]
    assert demo["methods"]["knn"]["params"]["k"] == 7
    assert set(demo["folds"]["made"]) == {"P1", "P2", "P3"}
    assert bench.arms("demo")["knn"] == ("knn", 0)
    assert bench.arms("demo")["knn.seed3"] == ("knn", 3)


def test_further_seeds_are_those_of_methods_that_a_seed_changes(tmp_path, project):
    config = {"run": ["demo"], "experiments": {"demo": {"seeds": [3], "further_seeds": [4, 5]}}}
    arms = Benchmark(config, project).arms("demo")
    assert {seed for arm, seed in arms.values() if arm == "stnet"} == {3, 4, 5}
    assert {seed for arm, seed in arms.values() if arm in ("colour_ridge", "ridge_probe", "train_mean")} == {
        3
    }
    assert arms["stnet.seed4"] == ("stnet", 4)


@pytest.mark.parametrize("name", ["demo", "her2st_mini", "her2st_methods", "fast"])
def test_what_must_be_quick_has_one_seed(project, name):
    config = merge(read_yaml(project / "config/config.yaml"), read_yaml(project / f"config/{name}.yaml"))
    bench = Benchmark(config, project)
    for experiment in bench.experiments:
        assert {seed for _, seed in bench.arms(experiment).values()} == {0}, experiment


def test_a_method_is_described_as_what_its_parameters_make_of_it(project):
    methods = Benchmark({"run": ["demo"]}, project).experiments["demo"]["methods"]
    assert "instead of DenseNet-121" in methods["stnet"]["description"]
    assert methods["stnet"]["params"]["architecture"] == "small_cnn"
    assert "vision transformer" in methods["histogene"]["description"]


def test_an_experiment_like_another_differs_in_what_it_says_alone(project):
    said = {
        "title": "As the demo",
        "like": "demo",
        "transform": "stnet",
        "methods": {"train_mean": None, "stnet": None},
    }
    bench = Benchmark({"run": ["demo", "other"], "experiments": {"other": said}}, project)
    demo, other = bench.experiments["demo"], bench.experiments["other"]
    assert list(other["methods"]) == ["train_mean", "stnet"]
    assert set(other.get("about", [])) | set(other["maps"].get("methods", [])) <= {"stnet"}
    differing = {key for key in demo if demo[key] != other.get(key)}
    assert (
        differing <= {"title", "transform", "methods", "about", "scatter", "maps"}
        and "transform" in differing
    )
    assert contrasts.differences(demo, other) == ["transform"]


@pytest.mark.parametrize(
    ("experiments", "expected"),
    [
        ({"one": {"title": "1", "like": "dmeo"}}, r"experiments\.one: `like`.*`dmeo`.*[Dd]id you mean.*demo"),
        (
            {"one": {"title": "1", "like": "two"}, "two": {"title": "2", "like": "one"}},
            r"`like` leads back to `one`",
        ),
    ],
)
def test_an_experiment_like_no_other_is_one_sentence(project, experiments, expected):
    with pytest.raises(UserError, match=expected):
        Benchmark({"run": ["one"], "experiments": experiments}, project)


def test_a_second_arm_of_a_method(project, tmp_path):
    bench = load(
        project,
        tmp_path,
        "run: [demo]\nexperiments: {demo: {methods: {knn9: {method: knn, title: nine, params: {k: 9}}}}}",
    )
    arm = bench.experiments["demo"]["methods"]["knn9"]
    assert (arm["method"], arm["title"], arm["params"]["k"]) == ("knn", "nine", 9)


def test_an_arm_is_named_like_a_method(project, tmp_path):
    bench = load(
        project,
        tmp_path,
        "run: [demo]\n"
        "methods:\n"
        "  stnet: {params: {epochs: 7}, arms: {wide: {title: Wide, params: {views: 2}, window: {px: 60}}}}\n"
        "  thitogene_as_released: {params: {epochs: 2}}\n"
        "experiments:\n"
        "  demo:\n"
        "    methods:\n"
        "      stnet_wide: {params: {batch_size: 4}}\n"
        "      thitogene_as_released:\n"
        "      mine: {method: he2gene_spat, params: {spatial: pairwise}}\n",
    )
    methods = bench.experiments["demo"]["methods"]
    wide = methods["stnet_wide"]
    assert (wide["title"], wide["window"]) == ("Wide", {"px": 60})
    # the experiment over the arm over the configuration over the file (the demo's changes of stnet are its own)
    assert [wide["params"][key] for key in ("batch_size", "views", "epochs", "momentum")] == [4, 2, 7, 0.9]
    released = methods["thitogene_as_released"]
    assert (released["params"]["graph_attention"], released["params"]["epochs"]) == ("as_released", 2)
    assert released["family"] == "deep" and released["resources"]["mem_mb"] == 8000
    plain = read_yaml(project / "config/methods/thitogene.yaml")
    assert released["deviations"][: len(plain["deviations"])] == plain["deviations"]
    assert len(released["deviations"]) == len(plain["deviations"]) + 1
    assert (methods["mine"]["params"]["auxiliary_weight"], methods["mine"]["params"]["spatial"]) == (
        100.0,
        "pairwise",
    )
    assert not any("arms" in method for method in methods.values())


def test_every_shipped_arm_is_valid(project):
    bench = Benchmark({"run": ["demo"]}, project)
    for file in (project / "config/methods").glob("*.yaml"):
        for arm in read_yaml(file).get("arms", {}):
            assert bench.method(f"{file.stem}_{arm}", "test")["title"]


def test_a_whole_experiment_in_the_users_own_file(project, tmp_path):
    bench = load(
        project,
        tmp_path,
        "run: [mine]\nexperiments:\n  mine:\n    title: Mine\n    cohort: simulated\n"
        "    methods: {train_mean: }\n    patches: null\n",
    )
    assert list(bench.experiments["mine"]["methods"]) == ["train_mean"]
    assert bench.experiments["mine"]["panel"]["size"] == 250


def test_a_section_lacks_files_whose_keys_it_does_not_have(project):
    bench = Benchmark({"run": ["her2st_counts", "her2st_lopo"]}, project)
    assert "image" not in bench.section_files("her2st_counts", "B4")
    files = bench.section_files("her2st", "B4")
    assert files["image"] == "data/ST-imgs/B/B4/BT10737_D2_HE.jpg"
    assert "labels" not in files and files["reference_labels"].endswith("B1_labeled_coordinates.tsv")


WRONG = {
    "limits between which nothing lies": (
        "run: [demo]\ncohorts: {simulated: {geometry: {min_um_per_px: 3, max_um_per_px: 2}}}",
        r"`min_um_per_px` 3 is not below `max_um_per_px` 2, so that no section could pass",
    ),
    "photographs of a cohort with spots": (
        "run: [demo]\nmethods: {knn: {needs: {photos: simulated}}}",
        r"`methods\.knn`: `needs\.photos` names the cohort `simulated`, which is none of photographs",
    ),
    "photographs without patches": (
        "run: [her2st_counts]\nmethods: {depth: {needs: {photos: bach}}}",
        r"`methods\.depth` learns from photographs cut like patches but `patches` is null",
    ),
    "a misspelt key": ("runs: [demo]", r"mine\.yaml: unknown key `runs`; did you mean `run`\?"),
    "a misspelt key of an experiment": (
        "experiments: {demo: {panel: {sise: 10}}}",
        r"mine\.yaml: experiments\.demo: unknown key `sise` in `panel`; did you mean `size`\?",
    ),
    "a wrong type": (
        "experiments: {demo: {panel: {size: many}}}",
        r"`panel\.size` must be a whole number of at least 1, found 'many'",
    ),
    "a number that YAML reads as text": (
        "cohorts: {simulated: {pitch_um: 2e2}}",
        r"`pitch_um` must be a number above 0, found '2e2' \(YAML reads 1e-3 as text",
    ),
    "an unknown choice": (
        "experiments: {demo: {mode: fair}}",
        r"`mode` must be one of `harmonised`.* found 'fair'",
    ),
    "an unknown stain": (
        "experiments: {demo: {patches: {stain: reinhard}}}",
        r"`patches\.stain` must be one of `raw`, `vahadane`, `macenko`, found 'reinhard'",
    ),
    "an unknown fit": (
        "experiments: {demo: {patches: {stain: vahadane, fit: spams}}}",
        r"`patches\.fit` must be one of `own`, `staintools`, found 'spams'",
    ),
    "a fit of raw pixels": (
        "run: [demo]\nexperiments: {demo: {patches: {stain: raw, fit: staintools}}}",
        r"`patches\.fit: staintools` needs stains to be normalised; set `patches\.stain: vahadane` or `macenko`",
    ),
    "a reference of raw pixels": (
        "run: [demo]\nexperiments: {demo: {patches: {stain: raw, stain_reference: P1_1}}}",
        r"`patches\.stain_reference` needs stains to be normalised",
    ),
    "an unknown experiment": ("run: [dmo]", r"names the experiment `dmo`, .* did you mean `demo`\?"),
    "an unknown method": (
        "run: [demo]\nexperiments: {demo: {methods: {stnett: {}}}}",
        r"names the method `stnett`, .* did you mean `stnet`\?",
    ),
    "an unknown arm": (
        "run: [demo]\nexperiments: {demo: {methods: {brstnet_b9: {}}}}",
        r"names the method `brstnet_b9`, .* did you mean `brstnet_b\d`\?",
    ),
    "a misspelt key of an arm": (
        "run: [demo]\nmethods: {stnet: {arms: {wide: {windw: {px: 9}}}}}",
        r"methods\.stnet: unknown key `windw` in `arms\.wide`; did you mean `window`\?",
    ),
    "an unknown cohort": (
        "run: [demo]\nexperiments: {demo: {cohort: simulatd}}",
        r"names the cohort `simulatd`, .* did you mean `simulated`\?",
    ),
    "an unknown section": (
        "run: [demo]\nexperiments: {demo: {sections: [P1_1, P9_9]}}",
        r"`sections` names `P9_9`, which cohort `simulated` does not have",
    ),
    "a leak without its name": (
        "run: [demo]\nexperiments: {demo: {folds: {scheme: leave_one_section_out}}}",
        r"trains on other sections of the test patient; use `leave_one_patient_out`, or set `mode: paper`",
    ),
    "genes chosen on test sections": (
        "run: [demo]\nexperiments: {demo: {panel: {scope: all}}}",
        r"chooses genes on test sections; use `train`",
    ),
    "images without patches": (
        "run: [demo]\nexperiments: {demo: {patches: null}}",
        r"looks at images but `patches` is null",
    ),
    "k folds without k": (
        "run: [demo]\nexperiments: {demo: {folds: {scheme: k_fold_patients}}}",
        r"needs `folds\.k`",
    ),
    "more folds than patients": (
        "run: [demo]\nexperiments: {demo: {folds: {scheme: k_fold_patients, k: 100}}}",
        r"experiments\.demo: folds\.k: 100 folds cannot be made",
    ),
    "one patient": (
        "run: [demo]\nexperiments: {demo: {sections: [P1_1, P1_2]}}",
        r"needs at least 2 patients",
    ),
    "a list of genes without a file": (
        "run: [demo]\nexperiments: {demo: {panel: {rule: file}}}",
        r"needs `panel\.file`",
    ),
    "a missing image": (
        "run: [her2st_counts]\nexperiments: {her2st_counts: {patches: {width_px: 64}}}",
        r"section `A1` of cohort `her2st_counts` has no image",
    ),
    "a module that does not exist": (
        "run: [demo]\nmethods: {knn: {entry: 'histobench.methods.kn:KNearest'}}",
        r"`entry` names the module `histobench\.methods\.kn`, which is neither in workflow/lib nor on PYTHONPATH",
    ),
    "everything switched off": (
        "run: [mine]\nexperiments: {mine: {title: a, cohort: simulated, methods: {knn: {enabled: false}}}}",
        r"every method is switched off",
    ),
    "a reserved name": (
        "run: [data]\nexperiments: {data: {title: a, cohort: simulated, methods: {train_mean: {}}}}",
        r"cannot be called `data`",
    ),
    "a bad option of the simulation": (
        "run: [demo]\ncohorts: {simulated: {options: {n_patients: 0}}}",
        r"n_patients",
    ),
    "an unknown option of the simulation": (
        "run: [demo]\ncohorts: {simulated: {options: {n_patience: 3}}}",
        r"n_patience",
    ),
    "a change of a misspelt method": (
        "run: [demo]\nmethods: {stnte: {params: {epochs: 2}}}",
        r"mine\.yaml: `methods\.stnte` changes the method `stnte`, which has no file .* did you mean `stnet`\?",
    ),
    "a change of a misspelt arm": (
        "run: [demo]\nmethods: {thitogene_as_relesed: {params: {epochs: 2}}}",
        r"changes the method `thitogene_as_relesed`",
    ),
    "a change of a misspelt cohort": (
        "run: [demo]\ncohorts: {simulatd: {options: {n_patients: 3}}}",
        r"`cohorts\.simulatd` .* did you mean `simulated`\?",
    ),
    "a change of a misspelt experiment": (
        "run: [demo]\nexperiments: {dmeo: {seeds: [1]}}",
        r"`experiments\.dmeo` .* did you mean `demo`\? A new one needs `title`, `cohort`, `methods`\.",
    ),
    "a change of a misspelt encoder": (
        "run: [demo]\nencoders: {un1: {precision: float32}}",
        r"`encoders\.un1` .* did you mean `uni`\?",
    ),
    "a list of genes that is not used": (
        "run: [demo]\nexperiments: {demo: {panel: {file: resources/panels/he2gene_target_250.txt}}}",
        r"`panel\.file` has no effect with `panel\.rule: top_mean`",
    ),
    "a list of genes that is not there": (
        "run: [demo]\nexperiments: {demo: {panel: {rule: file, file: resources/panel.txt}}}",
        r"`panel\.file` names .*/resources/panel\.txt, which is no file",
    ),
    "patients of a cohort that does not exist": (
        "run: [demo]\ncohorts: {simulated: {same_patients_as: her2s}}",
        r"mine\.yaml: cohorts\.simulated: `same_patients_as` names the cohort `her2s`.* did you mean `her2st`",
    ),
    "another name for nobody": (
        "run: [demo]\ncohorts: {simulated: {aliases: {P99: BC23567}}}",
        r"`aliases` names the patient `P99`, whom the cohort does not have",
    ),
    "patients of a cohort that itself bears the names of another": (
        "run: [demo]\ncohorts: {simulated: {same_patients_as: her2st_zenodo}}",
        r"cohorts\.simulated: `same_patients_as` names .* bears the names of `her2st`; name `her2st` here",
    ),
    "a name that nobody bears": (
        "run: [demo]\ncohorts: {simulated: {aliases: {P1: BC23561}}}",
        r"`aliases` says that patient `P1` is `BC23561`, whom no other cohort has; did you mean `BC2356\d`",
    ),
    "a name that is only a further alias": (
        "run: [demo]\ncohorts: {simulated: {aliases: {P1: E}}}",
        r"says that patient `P1` is `E`, whom `her2st` calls `BC23567`; name that one",
    ),
    "networks that start from each other": (
        "run: [demo, b, c]\nexperiments:\n  b: {like: demo, title: B, start_from: c}\n"
        "  c: {like: demo, title: C, start_from: b}",
        r"`start_from` goes in a circle, `c` from `b`",
    ),
    "mirrors of no source": (
        "run: [demo]\nmirrors: {her2stt: [x]}",
        r"the source `her2stt`; did you mean `her2st`",
    ),
    "a name that is too long for a folder": (
        f"run: [demo]\nexperiments: {{{'a' * 300}: {{like: demo, title: A}}}}",
        r"the name `a{20}\.\.\.`.* has 300 letters, but becomes that of a folder; use at most 100",
    ),
    "an arm whose name is too long": (
        f"run: [demo]\nexperiments: {{demo: {{methods: {{{'b' * 289}: {{method: stnet}}}}}}}}",
        r"has 289 letters",
    ),
    "a simulated cohort that makes no files": (
        "run: [demo]\ncohorts: {mine: {title: M, origin: simulation, citation: x, pitch_um: 200, spot_um: 100, "
        "reader: 'histobench.cohorts.simulation.reader:read_section'}}\n"
        "experiments: {demo: {cohort: mine}}",
        r"`files` is missing; a simulated cohort needs names for what it makes",
    ),
    "two cohorts with one name among rules": (
        "run: [demo]\nprepare: [a.b, a-b]\ncohorts:\n"
        + "".join(
            f"  {name}: {{title: M, origin: simulation, citation: x, pitch_um: 200, spot_um: 100, "
            "reader: 'histobench.cohorts.simulation.reader:read_section', files: {image: '{section}.jpg', "
            "counts: '{section}.tsv', spots: '{section}_spots.tsv'}}\n"
            for name in ("a.b", "a-b")
        ),
        r"the cohorts `a\.b` and `a-b` are one name where only letters and digits count",
    ),
    "an option that a reader does not have": (
        "run: [dlpfc_lopo]\ncohorts: {dlpfc: {options: {labels: {colums: [a, b]}}}}",
        r"mine\.yaml: cohorts\.dlpfc: unknown key `colums` in `options\.labels`; did you mean `columns`\?",
    ),
    "an option without meaning": (
        "run: [hbcis_lopo]\ncohorts: {hbcis: {options: {composites: kep}}}",
        r"`options\.composites` must be one of `keep`, `drop`, found 'kep'",
    ),
    "photographs without a scale": (
        "run: [demo]\nprepare: [bach]\ncohorts: {bach: {options: {um_per_px: 0}}}",
        r"`options\.um_per_px` must be a number of at least 0\.01, found 0",
    ),
    "no YAML": ("run: [demo", r"mine\.yaml: no valid YAML at line 1"),
    "a list": ("- demo", r"mine\.yaml: expected keys with values"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_one_sentence(project, tmp_path, case):
    text, expected = WRONG[case]
    with pytest.raises(UserError) as caught:
        load(project, tmp_path, text)
    message = str(caught.value)
    assert re.search(expected, message), message
    assert "\n" not in message


def test_every_key_of_the_schemas_is_described(project):
    """config/README.md is made of these descriptions."""

    def walk(rules, path):
        for key, rule in rules.get("properties", {}).items():
            assert rule.get("description"), f"{path}.{key} has no description"
            walk(rule, f"{path}.{key}")

    for file in (project / "workflow/schemas").glob("*.yaml"):
        rules = yaml.safe_load(file.read_text())
        assert rules["additionalProperties"] is False
        walk(rules, file.stem)


@pytest.mark.parametrize("stain", ["vahadane", "macenko"])
def test_staintools_must_be_there_where_its_fit_is_asked_for(project, tmp_path, monkeypatch, stain):
    import importlib.util

    asked = f"run: [demo]\nexperiments: {{demo: {{patches: {{stain: {stain}, fit: staintools}}}}}}"
    assert load(project, tmp_path, asked).experiments["demo"]["patches"]["fit"] == "staintools"
    found = importlib.util.find_spec
    gone = ("staintools", "spams")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name in gone else found(name, *more)
    )
    with pytest.raises(
        UserError, match=r"`patches\.fit: staintools` .*staintools and spams cannot be imported; install"
    ):
        load(project, tmp_path, asked)
    assert load(project, tmp_path, "run: [demo]").experiments["demo"]["patches"]["fit"] == "own"


EXTERNAL = """
run: [mine]
experiments:
  mine:
    title: Mine
    cohort: simulated
    sections: [P1_1, P2_1]
    folds: {scheme: train_all}
    patches: {um_per_px: native, stain: vahadane, stain_reference: P1_1}
    maps: {section: P1_1}
    external: [{cohort: her2st, sections: [B1]}]
    methods: {train_mean: }
"""


def test_a_branch_is_an_experiment_that_another_one_trains(project, tmp_path):
    bench = load(project, tmp_path, EXTERNAL)
    mine = bench.experiments["mine"]
    assert mine["folds"]["made"] == {} and mine["folds"]["full"].train == ("P1_1", "P2_1")
    branch = bench.branches["mine/external/her2st"]
    assert branch["trained_by"] == "mine" and branch["cohort"] == "her2st" and branch["maps"] == {}
    assert branch["folds"]["made"]["all"].roles() == {"B1": "test"}
    # the scale of the training and the stain of a training section, not of the other cohort
    assert branch["patches"]["um_per_px"] == "as.mine"
    assert branch["patches"]["stain_reference"] == "P1_1@simulated"
    assert bench.arms("mine/external/her2st") == {"train_mean": ("train_mean", 0)}
    assert set(bench.plain()["experiments"]["mine"]["folds"]["made"]) == {"all"}


def test_validation_patients_of_the_training_on_everybody(project, tmp_path):
    text = EXTERNAL.replace("train_all}", "train_all, valid_patients: 1}")
    full = load(project, tmp_path, text).experiments["mine"]["folds"]["full"]
    assert len(full.train) == len(full.valid) == 1 and full.test == ()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "    external: [{cohort: her2st, sections: [B1]}]\n",
            "",
            "tests nobody, and `external` names no cohort",
        ),
        ("cohort: her2st, sections: [B1]", "cohort: bach", "holds photos without expression"),
        (
            "sections: [B1]}]",
            "sections: [B1]}, {cohort: her2st, sections: [B2]}]",
            "names cohort `her2st` twice",
        ),
        ("cohort: her2st, sections: [B1]", "cohort: her2st_counts, sections: [B1]", "has no image"),
    ],
)
def test_external_tests_that_cannot_be_are_refused(project, tmp_path, old, new, message):
    with pytest.raises(UserError, match=message):
        load(project, tmp_path, EXTERNAL.replace(old, new))


def test_a_slide_names_a_model_of_the_run(project, tmp_path):
    text = "run: [demo]\nslides: {mine: {image: a.svs, experiment: demo, method: METHOD, fold: FOLD}}\n"

    def slide(method, fold):
        return load(project, tmp_path, text.replace("METHOD", method).replace("FOLD", fold))

    # the training on everybody is made because a slide asks for it
    assert slide("knn", "all").experiments["demo"]["folds"]["full"].name == "all"
    assert slide("knn", "P1").experiments["demo"]["folds"]["full"] is None
    with pytest.raises(UserError, match=r"`slides.mine` names method `stne`; did you mean `stnet`"):
        slide("stne", "all")
    with pytest.raises(UserError, match=r"`slides.mine` names fold `P77`"):
        slide("knn", "P77")


def test_fine_tuning_needs_the_models_that_it_starts_from(project, tmp_path):
    text = "run: [her2st_fine_tuned, hbcis_he2gene]\n"
    bench = load(project, tmp_path, text)
    assert bench.experiments["hbcis_he2gene"]["folds"]["full"].name == "all"
    assert bench.experiments["her2st_fine_tuned"]["folds"]["full"] is None
    with pytest.raises(UserError, match="`start_from` names `hbcis_he2gene`"):
        load(project, tmp_path, "run: [her2st_fine_tuned]\n")
    with pytest.raises(UserError, match="which does not train `histogene`; add it there"):
        change = "experiments: {her2st_fine_tuned: {methods: {histogene: }}, hbcis_he2gene: {methods: {histogene: {enabled: false}}}}"
        load(project, tmp_path, text + change.replace("}}}}", "}}}}"))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"needs": {"oracle": True}, "family": "classical"},
            "gives it the truth of the section that it predicts",
        ),
        ({"needs": {"oracle": True}, "family": "deep"}, "its family is deep; set `family: oracle`"),
        ({"needs": {}, "family": "oracle"}, "its family is oracle but it is not given the truth"),
    ],
)
def test_only_oracles_are_given_the_truth(project, settings, says):
    cheat = {"title": "My method", "entry": "histobench.methods.neighbour_mean:NeighbourMean", **settings}
    config = {
        "run": ["demo"],
        "methods": {"cheat": cheat},
        "experiments": {"demo": {"methods": {"cheat": {}}}},
    }
    with pytest.raises(UserError, match=r"methods\.cheat: ") as raised:
        Benchmark(config, project)
    assert says in str(raised.value) and "\n" not in str(raised.value)


def test_a_cohort_of_the_users_file_is_named_with_that_file(project, tmp_path):
    text = (
        "run: [mine]\ncohorts: {mine: {title: Mine, origin: download, pitch_um: 200, spot_um: 100, "
        "reader: 'histobench.cohorts.readers.her2st:read_section', sections: {A: {patient: P}}}}\n"
        "experiments: {mine: {title: Mine, cohort: mine, methods: {train_mean: {}}}}\n"
    )
    with pytest.raises(UserError, match=r"cohorts\.mine: `files` is missing") as error:
        load(project, tmp_path, text)
    assert "config/cohorts" not in str(error.value) and str(tmp_path) in str(error.value)


@pytest.mark.parametrize("change", [{151507: {"patient": "P1"}}, {None: {}}, {True: {"patient": "P1"}}])
def test_names_that_another_workflow_read_as_numbers_are_one_sentence(project, change):
    """As a module the configuration is what Snakemake made of the outer one's YAML."""
    config = {"run": ["demo"], "cohorts": {"dlpfc": {"sections": change}}}
    with pytest.raises(
        UserError, match=r"the name \S+ in `cohorts\.dlpfc\.sections` is no text; put it in quotes"
    ):
        Benchmark(config, project)

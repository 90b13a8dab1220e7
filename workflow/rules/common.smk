"""What the rules ask the configuration: names, files and parameters. No rules here."""

from snakemake.exceptions import WorkflowError

from histobench.codehash import code_hash
from histobench.config import Benchmark
from histobench.errors import UserError

PROJECT = Path(workflow.basedir)

# The user's own files come last, as they do in the merge; errors name the last one.
CONFIG_FILES = [Path(file) for file in workflow.configfiles]
DEFAULT_CONFIG = PROJECT / "config" / "config.yaml"
CONFIG_FILES.sort(key=lambda file: not file.exists() or file.resolve() != DEFAULT_CONFIG)

try:
    BENCH = Benchmark(config, PROJECT, CONFIG_FILES)
except UserError as error:
    raise WorkflowError(str(error)) from None


wildcard_constraints:
    experiment="|".join(BENCH.experiments),
    cohort="|".join(BENCH.cohorts),
    section=r"[A-Za-z0-9_.+-]+",
    fold=r"[A-Za-z0-9_.+-]+",
    method=r"[A-Za-z][A-Za-z0-9_]*(\.seed\d+)?",
    profile=r"[a-z0-9]+",
    variant=r"(raw|vahadane)-(native|[0-9.]+um)-\d+px",
    backbone=r"[a-z0-9_]+\.(imagenet|none)\.(raw|vahadane)-(native|[0-9.]+um)-\d+px",


# -- cohorts and sections ---------------------------------------------------------------------------


def downloaded_cohorts():
    return [name for name, cohort in BENCH.cohorts.items() if cohort["origin"] == "download"]


def simulated_cohorts():
    return [name for name, cohort in BENCH.cohorts.items() if cohort["origin"] == "simulation"]


def used_sections(cohort):
    """Sections of a cohort that some experiment uses, in the cohort's own order."""
    used = {
        section
        for experiment in BENCH.experiments.values()
        if experiment["cohort"] == cohort
        for section in experiment["sections"]
    }
    return [section for section in BENCH.cohorts[cohort]["sections"] if section in used]


def section_raw(cohort, section):
    """Raw files of a section by kind, below results/."""
    source = BENCH.cohorts[cohort]["source"]
    if BENCH.cohorts[cohort]["origin"] == "simulation":
        source = cohort
    return {
        kind: f"results/data/{source}/raw/{file}" for kind, file in BENCH.section_files(cohort, section).items()
    }


def raw_input(wildcards):
    return section_raw(wildcards.cohort, wildcards.section)


def raw_image(wildcards):
    return section_raw(wildcards.cohort, wildcards.section)["image"]


def sections_of(cohort):
    return expand("results/data/{cohort}/sections/{section}", cohort=cohort, section=used_sections(cohort))


def section_settings(wildcards):
    cohort = BENCH.cohorts[wildcards.cohort]
    record = dict(sorted(cohort["sections"][wildcards.section].items()))
    return {
        "alias": cohort["aliases"].get(record["patient"], ""),
        "options": cohort["options"] if cohort["origin"] == "download" else {},
        "pitch_um": cohort["pitch_um"],
        "reader": cohort["reader"],
        "record": record,
        "spot_um": cohort["spot_um"],
    }


def reader_module(wildcards):
    return code_hash("histobench.cohorts.section", BENCH.cohorts[wildcards.cohort]["reader"].split(":")[0])


# -- experiments ------------------------------------------------------------------------------------


def experiment_of(wildcards):
    return BENCH.experiments[wildcards.experiment]


def fold_of(wildcards):
    return experiment_of(wildcards)["folds"]["made"][wildcards.fold]


def patch_variant(experiment):
    """Name of an experiment's patch array: stain, scale and width."""
    patches = experiment["patches"]
    scale = patches["um_per_px"]
    scale = scale if scale == "native" else f"{scale:g}um"
    return f"{patches['stain']}-{scale}-{patches['width_px']}px"


def patch_settings(wildcards):
    stain, scale, width = wildcards.variant.split("-")
    return {
        "scale": scale if scale == "native" else float(scale.removesuffix("um")),
        "stain": stain,
        "width_px": int(width.removesuffix("px")),
    }


def arm_of(wildcards):
    """The compared method and the seed behind a method folder."""
    arm, seed = BENCH.arms(wildcards.experiment)[wildcards.method]
    return experiment_of(wildcards)["methods"][arm], seed


def patients_of(experiment, sections):
    records = BENCH.cohorts[experiment["cohort"]]["sections"]
    return {section: records[section]["patient"] for section in sections}


def fold_sections(wildcards, *roles):
    fold = fold_of(wildcards)
    return [section for role in roles for section in getattr(fold, role)]


def section_inputs(wildcards, sections, method=None):
    """Files that a method reads of some sections: counts, QC, and the images it needs."""
    experiment = experiment_of(wildcards)
    cohort = experiment["cohort"]
    names = {
        "h5ad": "results/data/{cohort}/sections/{section}.h5ad",
        "qc": "results/data/{cohort}/qc/{qc}/{section}.tsv",
    }
    needs = method["needs"] if method else {"patches": False, "features": None}
    if needs["patches"]:
        names["patches"] = "results/data/{cohort}/patches/{variant}/{section}.npy"
    if needs["features"]:
        names["features"] = "results/data/{cohort}/features/{backbone}/{section}.npy"
    variant = patch_variant(experiment) if experiment["patches"] else ""
    return {
        kind: expand(
            name,
            cohort=cohort,
            section=sections,
            qc=experiment["qc"],
            variant=variant,
            backbone=f"{needs['features']}.{experiment['weights']}.{variant}",
        )
        for kind, name in names.items()
    }


def training_input(wildcards):
    """Sections that one training may see: never those of the tested patients."""
    method, _ = arm_of(wildcards)
    return section_inputs(wildcards, fold_sections(wildcards, "train", "valid"), method)


def prediction_input(wildcards):
    method, _ = arm_of(wildcards)
    return section_inputs(wildcards, fold_sections(wildcards, "test"), method)


def panel_sections(wildcards):
    """Sections on which genes are chosen: those of training, unless a paper's leak is repeated."""
    if experiment_of(wildcards)["panel"]["scope"] == "all":
        return experiment_of(wildcards)["sections"]
    return fold_sections(wildcards, "train", "valid")


def panel_input(wildcards):
    return section_inputs(wildcards, panel_sections(wildcards))


def panel_settings(wildcards):
    experiment = experiment_of(wildcards)
    return {
        "panel": dict(sorted(experiment["panel"].items())),
        "qc": experiment["qc"],
        "sections": panel_sections(wildcards),
    }


def method_settings(wildcards):
    """Everything of the configuration that a trained model depends on."""
    experiment = experiment_of(wildcards)
    method, seed = arm_of(wildcards)
    fold = fold_of(wildcards)
    return {
        "device": BENCH.config["device"],
        "entry": method["entry"],
        "experiment": wildcards.experiment,
        "fold": wildcards.fold,
        "method": wildcards.method,
        "needs": dict(sorted(method["needs"].items())),
        "params": dict(sorted(method["params"].items())),
        "roles": {**{section: "train" for section in fold.train}, **{section: "valid" for section in fold.valid}},
        "seed": seed,
        "transform": experiment["transform"],
        "weights": experiment["weights"],
        "window": method["window"],
    }


def prediction_settings(wildcards):
    settings = method_settings(wildcards)
    settings.pop("roles")
    return {**settings, "sections": fold_sections(wildcards, "test")}


def method_code(wildcards):
    method, _ = arm_of(wildcards)
    entries = [method["entry"], *method["uses"]]
    return code_hash("histobench.methods.run", *(entry.split(":")[0] for entry in entries))


def method_threads(wildcards):
    return arm_of(wildcards)[0]["resources"].get("threads", 1)


def method_memory(wildcards, attempt):
    return arm_of(wildcards)[0]["resources"].get("mem_mb", 4000) * attempt


def method_runtime(wildcards, attempt):
    return arm_of(wildcards)[0]["resources"].get("runtime", 60) * attempt


def method_gpu(wildcards):
    return 1 if arm_of(wildcards)[0]["needs"].get("gpu") and BENCH.config["device"] != "cpu" else 0


# -- results of an experiment -----------------------------------------------------------------------


def all_results(name, wildcards):
    """One path for every method folder and fold of an experiment."""
    return expand(
        name,
        experiment=wildcards.experiment,
        method=list(BENCH.arms(wildcards.experiment)),
        fold=list(experiment_of(wildcards)["folds"]["made"]),
    )


def truth_table(wildcards):
    """The planted truth of a simulated cohort; nothing for real ones."""
    cohort = experiment_of(wildcards)["cohort"]
    return [f"results/data/{cohort}/raw/truth.tsv"] if cohort in simulated_cohorts() else []

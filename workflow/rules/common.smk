"""What the rules ask the configuration: names, files and parameters. No rules here."""

import functools
import re

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from histobench.branches import AS
from histobench.codehash import code_hash
from histobench.cohorts.archives import split_member
from histobench.cohorts.gdc import lock_rows, read_manifest
from histobench.cohorts.lock import load_lock, missing
from histobench.config import Benchmark
from histobench.devices import jobs_per_device, visible_devices
from histobench.errors import UserError
from histobench.evaluation.published import TABLES as PUBLISHED_TABLES
from histobench.expression.qc import PROFILES
from histobench.runtime import prefer_this_library
from histobench.figures.catalogue import catalogue
from histobench.files import check_writable
from histobench.report.embed import LARGEST_MAPS
from histobench.splits.folds import FULL_FOLD

PROJECT = Path(workflow.basedir)
prefer_this_library()

# The user's own files come last, as they do in the merge; errors name the last one.
CONFIG_FILES = [Path(file) for file in workflow.configfiles]
DEFAULT_CONFIG = PROJECT / "config" / "config.yaml"
CONFIG_FILES.sort(
    key=lambda file: not file.exists() or file.resolve() != DEFAULT_CONFIG
)

try:
    BENCH = Benchmark(config, PROJECT, CONFIG_FILES)
    GPU_JOBS = len(visible_devices()) * jobs_per_device()
except UserError as error:
    raise WorkflowError(str(error)) from None

# Stain and whose is the target; scale, or whose training sections set it; width.
VARIANT = r"(raw|vahadane(@[^/]+)?)-(native|[0-9.]+um|as\.[A-Za-z0-9_.-]+)-\d+px"

# As many jobs with a GPU at a time as this machine's devices take, unless `--resources gpu=N` says otherwise. A cluster
# counts its own; that the run is for one shows in its number of jobs, because the executor is not known yet.
if workflow.resource_settings.nodes is None and GPU_JOBS:
    workflow.global_resources.setdefault("gpu", GPU_JOBS)

# Slides on a figure of maps: more would be too small to see.
MAPPED_SLIDES = 4

# A method whose YAML file states at most so many minutes does not get cluster jobs of its own.
QUICK_MINUTES = 20

LOCK = load_lock(PROJECT / "resources" / "data_lock.tsv")
for name, cohort in BENCH.cohorts.items():
    if cohort["origin"] == "slides":  # their manifests say what a lock says
        LOCK |= lock_rows(read_manifest(BENCH.table(name)), cohort["source"])


# What has results of its own: experiments that test somebody, and their branches to other cohorts.
TESTED = {
    name: settings
    for name, settings in (BENCH.experiments | BENCH.branches).items()
    if settings["folds"]["made"]
}


wildcard_constraints:
    experiment="|".join(BENCH.experiments | BENCH.branches),
    cohort="|".join(BENCH.cohorts),
    section="|".join(
        sorted(
            {
                re.escape(name)
                for cohort in BENCH.cohorts.values()
                for name in cohort["sections"]
            }
        )
    ),
    fold="|".join(
        sorted(
            {
                re.escape(name)
                for e in (BENCH.experiments | BENCH.branches).values()
                for name in [*e["folds"]["made"], FULL_FOLD]
            }
        )
    ),
    method=r"[A-Za-z][A-Za-z0-9_]*(\.seed\d+)?",
    profile=r"[a-z0-9]+",
    variant=VARIANT,
    backbone=rf"[a-z0-9_]+\.(imagenet|none)\.{VARIANT}",


def check_outputs(dag):
    """Stop before the first job where the output of any job that has to run could not be written."""
    try:
        check_writable(file for job in dag.needrun_jobs() for file in job.output)
    except UserError as error:
        raise WorkflowError(str(error)) from None


def growing(amount):
    """A resource that a retry gets more of: memory (MB) or time (minutes) of the first attempt."""
    return lambda wildcards, attempt: amount * attempt


# -- cohorts and sections ---------------------------------------------------------------------------


def downloaded_cohorts():
    return [
        name
        for name, cohort in BENCH.cohorts.items()
        if cohort["origin"] not in ("local", "simulation")
    ]


def photo_cohorts():
    return [
        name for name, cohort in BENCH.cohorts.items() if cohort["origin"] == "photos"
    ]


def simulated_cohorts():
    return [
        name
        for name, cohort in BENCH.cohorts.items()
        if cohort["origin"] == "simulation"
    ]


def used_sections(cohort):
    """Sections of a cohort that some experiment uses, in the cohort's own order."""
    used = {
        section
        for experiment in BENCH.experiments.values()
        for name, sections in cohorts_of(experiment)
        if name == cohort
        for section in sections
    }
    return [section for section in BENCH.cohorts[cohort]["sections"] if section in used]


def read_cohorts():
    """Cohorts with sections that some experiment uses; others are only prepared, or have no spots."""
    return [
        name
        for name, cohort in BENCH.cohorts.items()
        if cohort["origin"] != "slides" and used_sections(name)
    ]


def cohorts_of(experiment):
    """The experiment's own cohort and its external ones, each with the sections that take part."""
    external = [
        (other["cohort"], other["sections"]) for other in experiment["external"]
    ]
    return [(experiment["cohort"], experiment["sections"]), *external]


def other_cohorts(experiment):
    """External cohorts with spots of an experiment, each once, without its own."""
    names = [name for name, _ in cohorts_of(experiment)[1:]]
    return [
        name
        for name in dict.fromkeys(names)
        if name != experiment["cohort"] and BENCH.cohorts[name]["origin"] != "slides"
    ]


def raw_path(source, file):
    """Where a published file lies, also one that has to be unpacked from an archive first."""
    archive, member = split_member(file)
    return (
        f"results/data/{source}/unpacked/{archive}/{member}"
        if member
        else f"results/data/{source}/raw/{archive}"
    )


def section_raw(cohort, section):
    """Raw files of a section by kind: below results/, or a user's own where they lie."""
    if BENCH.cohorts[cohort]["origin"] == "local":
        return BENCH.section_files(cohort, section)
    source = BENCH.cohorts[cohort]["source"]
    if BENCH.cohorts[cohort]["origin"] == "simulation":
        source = cohort
    return {
        kind: raw_path(source, file)
        for kind, file in BENCH.section_files(cohort, section).items()
    }


def raw_input(wildcards):
    """What a reader gets: the section's own files, and tables of this repository."""
    resources = BENCH.cohorts[wildcards.cohort]["resources"]
    return {
        **section_raw(wildcards.cohort, wildcards.section),
        **{kind: str(PROJECT / file) for kind, file in resources.items()},
    }


def published_files():
    """What the configured cohorts take from their sources: (source, file), each once.

    `file` is `archive!/member` for a file in an archive.
    """
    files = {
        (BENCH.cohorts[name]["source"], BENCH.cohorts[name]["files"]["photos"])
        for name in photo_cohorts()
    }
    for name in downloaded_cohorts():
        cohort = BENCH.cohorts[name]
        wanted = (
            cohort["sections"]
            if name in BENCH.config["prepare"]
            else used_sections(name)
        )
        for section in wanted:
            for file in BENCH.section_files(name, section).values():
                files.add((cohort["source"], file))
    return sorted(files)


def locked(source, file):
    """Row of the data lock for a file as it is downloaded."""
    if (source, file) not in LOCK:
        raise WorkflowError(
            f"resources/data_lock.tsv has no row for file {file} of source {source}; "
            "add one, or correct `files` in the cohort's YAML file."
        )
    return LOCK[source, file]


def downloads():
    """Rows of the data lock that the configured cohorts need."""
    files = {(source, split_member(file)[0]) for source, file in published_files()}
    return [locked(source, file) for source, file in sorted(files)]


def raw_image(wildcards):
    return section_raw(wildcards.cohort, wildcards.section)["image"]


def sections_of(cohort):
    return expand(
        "results/data/{cohort}/sections/{section}",
        cohort=cohort,
        section=used_sections(cohort),
    )


def section_settings(wildcards):
    cohort = BENCH.cohorts[wildcards.cohort]
    record = dict(sorted(cohort["sections"][wildcards.section].items()))
    return {
        "alias": cohort["aliases"].get(record["patient"], ""),
        "options": {} if cohort["origin"] == "simulation" else cohort["options"],
        "pitch_um": cohort["pitch_um"],
        "reader": cohort["reader"],
        "record": record,
        "spot_um": cohort["spot_um"],
    }


def reader_code(wildcards):
    return code_hash(
        "histobench.cohorts.section",
        BENCH.cohorts[wildcards.cohort]["reader"].split(":")[0],
    )


# -- experiments ------------------------------------------------------------------------------------


def experiment_of(wildcards):
    return BENCH.described(wildcards.experiment)


def trained_by(name):
    """The experiment that trains the models of an experiment (itself) or of a branch."""
    return BENCH.described(name).get("trained_by", name)


def fold_of(wildcards):
    folds = experiment_of(wildcards)["folds"]
    if wildcards.fold == FULL_FOLD and folds["full"]:
        return folds["full"]
    return folds["made"][wildcards.fold]


def trained_folds(experiment):
    """Every fold that trains, also the one on everybody."""
    folds = experiment["folds"]
    return [*folds["made"].values(), *([folds["full"]] if folds["full"] else [])]


def patch_variant(experiment):
    """Name of an experiment's patch array: stain (and whose is the target), scale and width."""
    patches = experiment["patches"]
    scale = patches["um_per_px"]
    scale = scale if isinstance(scale, str) else f"{scale:g}um"
    reference = patches["stain_reference"]
    stain = f"{patches['stain']}@{reference}" if reference else patches["stain"]
    return f"{stain}-{scale}-{patches['width_px']}px"


def patch_settings(wildcards):
    stain, scale, width = split_variant(wildcards.variant)
    return {
        "scale": float(scale.removesuffix("um")) if scale[0].isdigit() else scale,
        "stain": stain.partition("@")[0],
        "width_px": int(width.removesuffix("px")),
    }


def split_variant(variant):
    """Stain, scale and width of a patch array; the name of an experiment in it may hold hyphens."""
    match = re.fullmatch(
        r"(.*?)-(native|[0-9.]+um|as\..+)-(\d+px)",
        variant,
    )
    return match.groups()


def photo_settings(wildcards):
    return {
        **patch_settings(wildcards),
        "options": dict(sorted(BENCH.cohorts[wildcards.cohort]["options"].items())),
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


def section_counts(wildcards, sections):
    """Counts and kept spots of some sections."""
    experiment = experiment_of(wildcards)
    folder = f"results/data/{experiment['cohort']}"
    return {
        "h5ad": [f"{folder}/sections/{section}.h5ad" for section in sections],
        "qc": [f"{folder}/qc/{experiment['qc']}/{section}.tsv" for section in sections],
    }


def section_images(wildcards, sections, method):
    """What a method sees of the images of some sections: patches, frozen features, or nothing."""
    experiment = experiment_of(wildcards)
    needs = method["needs"]
    folder = f"results/data/{experiment['cohort']}"
    variant = patch_variant(experiment) if experiment["patches"] else ""
    backbone = f"{needs['features']}.{experiment['weights']}.{variant}"
    kinds = {}
    if needs["patches"]:
        kinds["patches"] = f"{folder}/patches/{variant}"
    if needs["features"]:
        kinds["features"] = f"{folder}/features/{backbone}"
    return {
        kind: [f"{place}/{section}.npy" for section in sections]
        for kind, place in kinds.items()
    }


def photo_tiles(experiment, method):
    """Photographs cut like what the method sees of a patch: as wide, at the same scale."""
    name, patches = method["needs"]["photos"], experiment["patches"]
    window = method["window"] or {"px": patches["width_px"]}
    scale, native = patches["um_per_px"], patches["um_per_px"] == "native"
    own_scale = BENCH.cohorts[name]["options"]["um_per_px"]
    width = window.get("px") or round(window["um"] / (own_scale if native else scale))
    variant = f"{patches['stain']}-{scale if native else f'{scale:g}um'}-{width}px"
    return f"results/data/{name}/tiles/{variant}"


def training_input(wildcards):
    """Images that one training may see: never those of the tested patients."""
    method, _ = arm_of(wildcards)
    sections = fold_sections(wildcards, "train", "valid")
    files = section_images(wildcards, sections, method)
    start = experiment_of(wildcards)["start_from"]
    if start and method["family"] == "deep":
        files["start"] = f"results/{start}/models/{wildcards.method}/all/weights.pt"
    if method["needs"]["photos"]:
        tiles = photo_tiles(experiment_of(wildcards), method)
        files["photos"] = [f"{tiles}.npy", f"{tiles}.tsv"]
    return files


def prediction_input(wildcards):
    """What a trained method is given to predict; a branch takes genes and weights from its experiment."""
    method, _ = arm_of(wildcards)
    home, tested = trained_by(wildcards.experiment), fold_sections(wildcards, "test")
    files = {
        **section_counts(wildcards, tested),
        **section_images(wildcards, tested, method),
        "genes": f"results/{home}/panels/{wildcards.fold}.universe.tsv",
        "panel": f"results/{home}/panels/{wildcards.fold}.tsv",
        "weights": f"results/{home}/models/{wildcards.method}/{wildcards.fold}/weights.pt",
    }
    if home == wildcards.experiment:
        return files
    files["measured"] = f"results/{wildcards.experiment}/panels/{wildcards.fold}.tsv"
    if takes_scale(experiment_of(wildcards)):
        files["scale"] = f"results/{home}/scale.json"
    return files


def slide_model(wildcards):
    """Folder of the model that predicts a slide of the user's own."""
    slide = BENCH.config["slides"][wildcards.slide]
    return f"results/{slide['experiment']}/models/{slide['method']}/{slide['fold']}"


def slide_code(wildcards):
    slide = BENCH.config["slides"][wildcards.slide]
    arm, _ = BENCH.arms(slide["experiment"])[slide["method"]]
    method = BENCH.experiments[slide["experiment"]]["methods"][arm]
    entries = [method["entry"], *method["uses"]]
    return code_hash("histobench.newslide", *(e.split(":")[0] for e in entries))


def external_summary_input(wildcards):
    experiment = experiment_of(wildcards)
    home = trained_by(wildcards.experiment)
    panels = f"results/{wildcards.experiment}/panels"
    files = {
        "dropped": f"{panels}/{FULL_FOLD}.dropped.tsv",
        "panel": f"{panels}/{FULL_FOLD}.tsv",
        "sections": f"results/data/{experiment['cohort']}/sections.tsv",
    }
    if takes_scale(experiment):
        files["scale"] = f"results/{home}/scale.json"
    return files


def external_summary_settings(wildcards):
    experiment = experiment_of(wildcards)
    patches = experiment["patches"]
    return {
        "cohort": experiment["cohort"],
        "sections": experiment["sections"],
        "stain": patches and patch_variant(experiment).partition("-")[0],
        "trained_by": trained_by(wildcards.experiment),
        "um_per_px": patch_scale(experiment),
    }


def tile_settings(wildcards):
    """How a cohort of slides is cut into tiles."""
    options = BENCH.cohorts[wildcards.cohort]["options"]
    named = {key: options[key] for key in ("max_white", "um_per_px", "width_px")}
    return {**named, "device": BENCH.config["device"]}


def method_modules(wildcards):
    method, _ = arm_of(wildcards)
    return [entry.split(":")[0] for entry in (method["entry"], *method["uses"])]


def slides_of(wildcards):
    """Slides that an experiment's models predict: name -> its record in the manifest."""
    cohort = wildcards.cohort
    (sections,) = [
        other["sections"]
        for other in experiment_of(wildcards)["external"]
        if other["cohort"] == cohort
    ]
    return {name: BENCH.cohorts[cohort]["sections"][name] for name in sections}


def counted_patients(wildcards):
    """Patients with bulk expression, each with one slide that names its file."""
    return {
        record["patient"]: name
        for name, record in sorted(slides_of(wildcards).items(), reverse=True)
        if "counts" in record
    }


def pseudobulk_input(wildcards):
    files = {
        "tiles": expand(
            "results/{experiment}/external/{cohort}/tiles/{method}/{section}.parquet",
            section=slides_of(wildcards),
            **wildcards,
        ),
        "counts": [
            section_raw(wildcards.cohort, section)["counts"]
            for section in counted_patients(wildcards).values()
        ],
    }
    subtypes = BENCH.cohorts[wildcards.cohort]["options"].get("subtypes")
    return {**files, **({"subtypes": subtypes} if subtypes else {})}


def pseudobulk_settings(wildcards):
    return {
        "counted": list(counted_patients(wildcards)),
        "groups": BENCH.cohorts[wildcards.cohort]["options"].get("groups"),
        "name": f"{wildcards.experiment} {wildcards.method}",
        "patients": {
            name: record["patient"] for name, record in slides_of(wildcards).items()
        },
    }


def image_methods(name):
    """Method folders of an experiment that predict from an image alone, spot by spot."""
    methods = BENCH.described(name)["methods"]
    whole = ("histogene", "hist2st", "thitogene")
    return [
        folder
        for folder, (arm, _) in BENCH.arms(name).items()
        if (methods[arm]["needs"]["patches"] or methods[arm]["needs"]["features"])
        and not methods[arm]["needs"]["oracle"]
        and methods[arm]["entry"].split(":")[0].split(".")[-1] not in whole
    ]


def of_slides(name):
    """Whether a branch is to slides with bulk expression, which nobody scores spot by spot."""
    cohort = BENCH.branches[name]["cohort"]
    return BENCH.cohorts[cohort]["origin"] == "slides" and bool(image_methods(name))


def slide_branches(name):
    """Branches of an experiment to cohorts of slides."""
    branches = [f"{name}/external/{other}" for other, _ in external_slides(name)]
    return list(filter(of_slides, branches))


def external_slides(name):
    """Cohorts of slides that an experiment's models predict, each with its slides."""
    return [
        (other["cohort"], other["sections"])
        for other in BENCH.described(name)["external"]
        if BENCH.cohorts[other["cohort"]]["origin"] == "slides"
    ]


def slide_table_input(wildcards):
    return {
        kind: expand(
            "results/{experiment}/pseudobulk/{method}/{kind}.tsv",
            experiment=wildcards.experiment,
            method=image_methods(wildcards.experiment),
            kind=kind,
        )
        for kind in ("genes", "subtypes", "colocation")
    }


def shown_slides(name):
    """Slides on maps: of each of the first patients of the first cohort of slides the first one."""
    for cohort, slides in external_slides(name):
        records = BENCH.cohorts[cohort]["sections"]
        first = {}
        for slide in slides:
            first.setdefault(records[slide]["patient"], slide)
        return list(first.values())[:MAPPED_SLIDES]
    return []


def branch_files(name):
    """Tables that a branch to another cohort has."""
    if not BENCH.branches[name]["folds"]["made"]:
        if not of_slides(name):
            return []
        return [
            *expand(
                "results/{branch}/pseudobulk/{method}/{table}.tsv",
                branch=name,
                method=image_methods(name),
                table=["genes", "patients", "subtypes", "colocation"],
            ),
            *expand(
                "results/{branch}/tables/{table}.tsv", branch=name, table=SLIDE_TABLES
            ),
        ]
    return expand(
        "results/{experiment}/tables/{name}.tsv",
        experiment=name,
        name=[*TABLES, "external"],
    )


def takes_scale(experiment):
    return (experiment["patches"] or {}).get("um_per_px") and patch_scale(
        experiment
    ) is None


def panel_sections(wildcards):
    """Sections on which genes are chosen: those of training, unless a paper's leak is repeated."""
    if experiment_of(wildcards)["panel"]["scope"] == "all":
        return experiment_of(wildcards)["sections"]
    return fold_sections(wildcards, "train", "valid")


def panel_input(wildcards):
    return section_counts(wildcards, panel_sections(wildcards))


def panel_settings(wildcards):
    experiment = experiment_of(wildcards)
    settings = dict(sorted(experiment["panel"].items()))
    if settings["file"]:
        settings["file"] = str(PROJECT / settings["file"])
    return {**settings, "qc": experiment["qc"]}


def training_roles(fold):
    """What training is given of a fold, and for what."""
    return {
        **{section: "train" for section in fold.train},
        **{section: "valid" for section in fold.valid},
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
        "image": image_settings(experiment),
        "method": wildcards.method,
        "needs": dict(sorted(method["needs"].items())),
        "params": dict(sorted(method["params"].items())),
        "patch_um_per_px": patch_scale(experiment),
        "roles": training_roles(fold),
        "seed": seed,
        "transform": experiment["transform"],
        "weights": experiment["weights"],
        "window": method["window"],
    }


def image_settings(experiment):
    """How a model sees images, for those who use it later."""
    patches = experiment["patches"]
    reference = patches and patches["stain_reference"]
    return patches and {
        "stain": patches["stain"],
        "stain_reference": reference and f"{experiment['cohort']}/{reference}",
        "width_px": patches["width_px"],
    }


def patch_scale(experiment):
    """Scale of the patches where the configuration says it; None where a file will."""
    scale = (experiment["patches"] or {}).get("um_per_px")
    return None if str(scale).startswith(AS) else scale


def prediction_settings(wildcards):
    settings = method_settings(wildcards)
    settings.pop("image")
    settings.pop("roles")
    return {**settings, "sections": fold_sections(wildcards, "test")}


def method_code(wildcards):
    method, _ = arm_of(wildcards)
    entries = [method["entry"], *method["uses"]]
    return code_hash(
        "histobench.methods.run", *(entry.split(":")[0] for entry in entries)
    )


def method_threads(wildcards):
    return arm_of(wildcards)[0]["resources"].get("threads", 1)


def method_memory(wildcards, attempt):
    return arm_of(wildcards)[0]["resources"].get("mem_mb", 4000) * attempt


def method_runtime(wildcards, attempt):
    return arm_of(wildcards)[0]["resources"].get("runtime", 60) * attempt


def method_gpu(wildcards):
    return (
        1
        if arm_of(wildcards)[0]["needs"].get("gpu") and BENCH.config["device"] != "cpu"
        else 0
    )


def grouped():
    """Whether jobs are put in groups, which serve submissions to a cluster.

    Elsewhere they are not used, but a dry run checks them all, which takes a quarter of its time. So it has none, unless
    it is one of a profile for a cluster. Known only when jobs are made: a Snakefile is read before there is an executor.
    """
    return not workflow.local_exec or bool(workflow.group_settings.group_components)


def method_group(otherwise=None):
    """Training, prediction and scores of a quick method share a submission on a cluster."""

    def group(wildcards):
        if not grouped():
            return None
        runtime = arm_of(wildcards)[0]["resources"].get("runtime", 60)
        quick = runtime <= QUICK_MINUTES and not method_gpu(wildcards)
        return "quick" if quick else otherwise

    return group


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
    return (
        [f"results/data/{cohort}/raw/truth.tsv"]
        if cohort in simulated_cohorts()
        else []
    )


# -- inputs and parameters of single rules ----------------------------------------------------------


def download_settings(wildcards):
    row = locked(wildcards.source, wildcards.file)
    return {
        "file": wildcards.file,
        "mirrors": list(BENCH.config["mirrors"].get(wildcards.source, [])),
        "sha256": row.checksum,
        "size": row.size,
        "source": wildcards.source,
        "urls": list(row.urls),
    }


@functools.cache
def data_input(wildcards):
    """Every raw file. Asked only if `data` is a target, so a dry run can say here what is missing."""
    files = downloads()
    logger.info(f"Raw data: {missing(files, 'results/data')}.")
    return [f"results/data/{file.source}/raw/{file.file}" for file in files]


ARCHIVES = sorted(
    {split_member(file)[0] for _, file in published_files() if split_member(file)[1]}
)


def unpack_settings(wildcards):
    """How a member is found and opened; cohorts that share a source may each know a password."""
    opened = [
        BENCH.cohorts[cohort]["archives"]
        for cohort in downloaded_cohorts()
        if BENCH.cohorts[cohort]["source"] == wildcards.source
    ]
    return {
        "locate": next((how["locate"] for how in opened if how["locate"]), None),
        "member": wildcards.member,
        "passwords": sorted({word for how in opened for word in how["passwords"]}),
    }


def unpack_code(wildcards):
    locate = unpack_settings(wildcards)["locate"]
    return code_hash(
        "histobench.cohorts.archives", *([locate.split(":")[0]] if locate else [])
    )


def spot_filter_input(wildcards):
    """A filter reads the section, and the patches where it judges them."""
    files = {
        "h5ad": f"results/data/{wildcards.cohort}/sections/{wildcards.section}.h5ad"
    }
    judges_patches = PROFILES[wildcards.profile].max_white is not None
    if judges_patches and "image" in section_raw(wildcards.cohort, wildcards.section):
        files["index"] = (
            f"results/data/{wildcards.cohort}/patches/raw-native-224px/{wildcards.section}.tsv"
        )
    return files


def patch_input(wildcards):
    files = {
        "image": raw_image(wildcards),
        "h5ad": f"results/data/{wildcards.cohort}/sections/{wildcards.section}.h5ad",
    }
    if wildcards.variant.startswith("vahadane"):
        files["stain"] = (
            f"results/data/{wildcards.cohort}/stain/{wildcards.section}.json"
        )
    stain, scale, _ = split_variant(wildcards.variant)
    reference, _, home = stain.partition("@")[2].partition("@")
    if reference:
        files["reference"] = (
            f"results/data/{home or wildcards.cohort}/stain/{reference}.json"
        )
    if scale.startswith(AS):
        files["scale"] = f"results/{scale.removeprefix(AS)}/scale.json"
    return files


def patch_group(wildcards):
    """Patches share a submission on a cluster with the preparation of their section, unless they wait for another cohort.

    At the scale of a training they need sections of its cohort, some of which may be in the same submission.
    """
    if not grouped():
        return None
    _, scale, _ = split_variant(wildcards.variant)
    return "patches" if scale.startswith(AS) else "sections"


def fold_settings(wildcards):
    experiment = experiment_of(wildcards)
    folds = experiment["folds"]
    return {
        "cohort": experiment["cohort"],
        "folds": {
            key: folds[key] for key in ("held_out", "k", "scheme", "valid_patients")
        },
        "full": bool(folds["full"]),
        "patients": patients_of(experiment, experiment["sections"]),
        "seed": min(experiment["seeds"]),
    }


def audit_settings(wildcards):
    """What the configuration says that may leak."""
    experiment = experiment_of(wildcards)
    own = experiment["cohort"]
    cohorts = [name for name, _ in cohorts_of(experiment)]
    begun = BENCH.experiments.get(experiment["start_from"])
    if begun and begun["cohort"] not in cohorts:
        cohorts.append(begun["cohort"])
    patches = experiment["patches"] or {"stain": "raw", "stain_reference": None}

    def described(cohort, section):
        patient = BENCH.cohorts[cohort]["sections"][section]["patient"]
        return {"cohort": cohort, "section": section, "patient": patient}

    reference = patches["stain_reference"]
    return {
        "aliases": {
            name: dict(sorted(BENCH.cohorts[name]["aliases"].items()))
            for name in cohorts
        },
        "external": [
            described(other["cohort"], section)
            for other in experiment["external"]
            for section in other["sections"]
        ],
        "mode": experiment["mode"],
        # of an experiment without external cohorts the folds name all patients
        "patients": {
            name: sorted(
                {
                    BENCH.cohorts[name]["sections"][section]["patient"]
                    for section in used_sections(name)
                }
            )
            for name in (cohorts if other_cohorts(experiment) else [])
        },
        "panel_rule": experiment["panel"]["rule"],
        "panel_scope": experiment["panel"]["scope"],
        "same_patients": {
            name: BENCH.cohorts[name]["same_patients_as"]
            for name in cohorts
            if BENCH.cohorts[name]["same_patients_as"]
        },
        "scheme": experiment["folds"]["scheme"],
        "start": (
            [
                described(begun["cohort"], section)
                for role in ("train", "valid")
                for section in getattr(begun["folds"]["full"], role)
            ]
            if begun
            else []
        ),
        "stain": patches["stain"],
        "stain_reference": described(own, reference) if reference else None,
        "training": {
            fold.name: training_roles(fold) for fold in trained_folds(experiment)
        },
    }


def audit_input(wildcards):
    """What shows whether something leaked: on whom genes were chosen, what images look like, who is the same."""
    experiment = experiment_of(wildcards)
    hashes = [
        f"results/data/{cohort}/image_hashes/{section}.json"
        for cohort, sections in cohorts_of(experiment)
        for section in sections
        if experiment["patches"] and "image" in section_raw(cohort, section)
    ]
    return {
        "images": hashes,
        "panels": expand(
            "results/{experiment}/panels/{fold}.sections.tsv",
            experiment=wildcards.experiment,
            fold=[fold.name for fold in trained_folds(experiment)],
        ),
        "twins": [
            f"results/data/{experiment['cohort']}/same_sections/{other}.tsv"
            for other in other_cohorts(experiment)
        ],
    }


def ceiling_input(wildcards):
    return section_counts(wildcards, fold_sections(wildcards, "test"))


def ceiling_settings(wildcards):
    experiment = experiment_of(wildcards)
    return {"seed": min(experiment["seeds"]), "transform": experiment["transform"]}


TABLES = [
    "leaderboard",
    "metrics",
    "ranks",
    "variance",
    "genes",
    "patients",
    "sections",
    "comparisons",
    "consistency",
    "consistency_summary",
    "consistency_curve",
    "power",
    "tumour",
    "tumour_curves",
    "tumour_genes",
    "informative_genes",
    "colocation",
    "domains",
    "confusion",
    "latent_neighbours",
    "planted",
    "planted_genes",
    "failures",
]


# Of a cohort of slides; its branches have none of the others.
SLIDE_TABLES = ["pseudobulk", "subtypes", "slide_colocation"]


def table_files(name):
    """Tables of an experiment or branch; those of a paper's protocol have its numbers beside ours."""
    repeats = BENCH.described(name)["mode"] == "paper"
    return expand(
        "results/{experiment}/tables/{table}.tsv",
        experiment=name,
        table=[*TABLES, *(["published"] if repeats else [])],
    )


def published_facts(wildcards):
    """What decides whether a published number can be compared with one of this experiment."""
    experiment = experiment_of(wildcards)
    patients = patients_of(experiment, experiment["sections"])
    cohort = experiment["cohort"]
    return {
        "cohorts": sorted({cohort, BENCH.cohorts[cohort]["source"]}),
        "folds": experiment["folds"]["scheme"],
        "methods": list(experiment["methods"]),
        "n_patients": len(set(patients.values())),
        "transform": experiment["transform"],
    }


def predicted_folds(wildcards):
    return expand(
        "results/{experiment}/predictions/{method}/{fold}",
        experiment=wildcards.experiment,
        method=wildcards.method,
        fold=list(experiment_of(wildcards)["folds"]["made"]),
    )


def table_input(wildcards):
    scored = {
        kind: expand(
            "results/{experiment}/{kind}/{method}",
            experiment=wildcards.experiment,
            kind=kind,
            method=list(BENCH.arms(wildcards.experiment)),
        )
        for kind in ("metrics", "spots")
    }
    return {
        **scored,
        "runs": experiment_runs(wildcards.experiment),
        "ceilings": expand(
            "results/{experiment}/ceiling/{fold}.parquet",
            experiment=wildcards.experiment,
            fold=list(experiment_of(wildcards)["folds"]["made"]),
        ),
        "truth": truth_table(wildcards),
    }


def table_settings(wildcards):
    experiment = experiment_of(wildcards)
    return {
        "experiment": wildcards.experiment,
        "families": {
            arm: method["family"] for arm, method in experiment["methods"].items()
        },
        "folds": list(experiment["folds"]["made"]),
        "transform": experiment["transform"],
    }


# -- figures ----------------------------------------------------------------------------------------


def experiment_figures(name):
    """Figures that an experiment can have, as they declare it."""
    values = figure_values(name)
    return [name for name, entry in catalogue().items() if not entry.left_out(values)]


def figures_left_out(name):
    """Why an experiment has no such figure, by figure."""
    values = figure_values(name)
    reasons = {figure: entry.left_out(values) for figure, entry in catalogue().items()}
    return {figure: reason for figure, reason in reasons.items() if reason}


def map_section(experiment):
    return experiment["maps"].get("section", experiment["sections"][0])


def map_methods(experiment):
    """Methods on the maps: as configured, or up to three networks after two classical learners, or any."""
    classical = arms_with(experiment, families=("classical",))
    deep = arms_with(experiment, families=("deep",))
    if (
        shown_first(experiment) in deep
    ):  # before the others, so that it is among the first three
        deep.sort(key=lambda arm: arm != shown_first(experiment))
    chosen = classical[: max(2, 5 - len(deep))]
    return (
        experiment["maps"].get("methods")
        or [*chosen, *deep[: 5 - len(chosen)]]
        or list(experiment["methods"])[:5]
    )


def shown_first(experiment):
    """The method that an experiment sets against another, or nothing; scores are not known when planning."""
    return (list(experiment.get("scatter") or ()) + [""])[-1]


def leading_method(experiment):
    """The method of figures that show a single one: that of the comparison, else the last one on the maps."""
    shown = map_methods(experiment)
    return shown_first(experiment) if shown_first(experiment) in shown else shown[-1]


def arms_with(experiment, families=None, entries=None, needs=()):
    """Methods of an experiment of certain families, entry modules and needs."""
    return [
        arm
        for arm, method in experiment["methods"].items()
        if (families is None or method["family"] in families)
        and (entries is None or method["entry"].split(":")[0].split(".")[-1] in entries)
        and all(method["needs"].get(need) for need in needs)
    ]


def protocol(experiment):
    """In what the experiments of one cohort can differ."""
    patches = experiment["patches"] or {}
    return {
        "folds": experiment["folds"]["scheme"],
        "transform": experiment["transform"],
        "stain": patches.get("stain"),
        "window": (patches.get("um_per_px"), patches.get("width_px")),
        "weights": experiment["weights"],
    }


def repeats(name, key):
    """Other experiments of this run on the same sections that differ in one respect, and perhaps the name."""
    if name in BENCH.branches:
        return []
    own = BENCH.experiments[name]

    def differ(other):
        mine, theirs = protocol(own), protocol(other)
        return [part for part in mine if mine[part] != theirs[part]]

    return [
        other
        for other, experiment in BENCH.experiments.items()
        if other != name
        and experiment["cohort"] == own["cohort"]
        and key in differ(experiment)
        and (key == "folds" or differ(experiment) == [key])
    ]


@functools.cache
def figure_values(name):
    """What an experiment has for each placeholder of the figures' inputs; a name, or a list of names."""
    experiment = BENCH.described(name)
    cohort = experiment["cohort"]
    records = BENCH.cohorts[cohort]["sections"]
    methods = list(experiment["methods"])
    section = map_section(experiment)
    folds = experiment["folds"]["made"].values()
    deep = arms_with(experiment, families=("deep",))
    labelled = arms_with(experiment, needs=("labels", "features"))
    labelled += arms_with(experiment, needs=("labels", "patches"))
    patients = sorted(
        {records[section]["patient"] for section in experiment["sections"]}
    )
    used_entries = [method["entry"] for method in experiment["methods"].values()]
    has_image = experiment["patches"] and "image" in section_raw(cohort, section)
    slide_cohort = next((other for other, _ in external_slides(name)), "")
    leader = leading_method(experiment)
    slide_method = (
        leader
        if leader in image_methods(name)
        else (image_methods(name)[-1:] + [""])[0]
    )
    return {
        "experiment": name,
        "cohort": cohort,
        "fold": [fold.name for fold in folds],
        "method": methods,
        "run": list(BENCH.arms(name)),
        "pair": methods[:2] if len(methods) > 1 else [],
        "patients": patients if len(patients) > 1 else [],
        "leader": leader,
        "deep": deep,
        "latent": (
            arms_with(experiment, families=("deep",), needs=("patches",)) + [""]
        )[0],
        "baseline": arms_with(
            experiment, entries=("tumour_label", "nuclei_forest", "nmf_composition")
        ),
        "tumour_method": labelled,
        "ablation": [
            arm
            for arm, method in experiment["methods"].items()
            if used_entries.count(method["entry"]) > 1
        ],
        "attributed": (
            arms_with(experiment, families=("deep",), entries=("stnet",)) + [""]
        )[0],
        "autoencoder": (arms_with(experiment, entries=("histospace",)) + [""])[0],
        "map_method": map_methods(experiment),
        "map_section": section,
        "map_fold": next((fold.name for fold in folds if section in fold.test), ""),
        "map_image": section_raw(cohort, section)["image"] if has_image else "",
        "section": experiment["sections"],
        "stained": (
            [s for s in experiment["sections"] if "image" in section_raw(cohort, s)]
            if experiment["patches"]
            else []
        ),
        "patches": patch_variant(experiment) if experiment["patches"] else "",
        "truth": "planted" if cohort in simulated_cohorts() else "",
        "external": [
            other["cohort"]
            for other in experiment["external"]
            if BENCH.cohorts[other["cohort"]]["origin"] != "slides"
        ],
        "slide_cohort": slide_cohort,
        "slide_method": slide_method,
        "slide": shown_slides(name),
        "slide_image": [
            section_raw(slide_cohort, slide)["slide"] for slide in shown_slides(name)
        ],
        "paper": name if experiment["mode"] == "paper" else "",
        "section_wise": (
            [
                other
                for other in repeats(name, "folds")
                if BENCH.experiments[other]["folds"]["scheme"]
                == "leave_one_section_out"
            ]
            if experiment["folds"]["scheme"] != "leave_one_section_out"
            else []
        ),
        "other_transform": repeats(name, "transform"),
        "other_stain": repeats(name, "stain"),
        "other_window": repeats(name, "window"),
        "other_weights": repeats(name, "weights"),
    }


def figure_input(wildcards):
    """What a figure is drawn from."""
    files = catalogue()[wildcards.figure].files(figure_values(wildcards.experiment))
    if wildcards.experiment not in BENCH.branches:
        return files
    # the models of a branch are those of its experiment
    models = f"results/{wildcards.experiment}/models/"
    home = f"results/{trained_by(wildcards.experiment)}/models/"
    return {
        kind: (
            [path.replace(models, home) for path in value]
            if isinstance(value, list)
            else value.replace(models, home)
        )
        for kind, value in files.items()
    }


def experiment_facts(name):
    """What captions say of an experiment."""
    experiment = BENCH.described(name)
    cohort = BENCH.cohorts[experiment["cohort"]]
    patients = patients_of(experiment, experiment["sections"])
    return {
        "cohort": experiment["cohort"],
        "experiment": name,
        "families": {
            arm: method["family"]
            for arm, method in sorted(experiment["methods"].items())
        },
        "folds": experiment["folds"]["scheme"],
        "mode": experiment["mode"],
        "n_patients": len(set(patients.values())),
        "n_sections": len(patients),
        "panel": dict(sorted(experiment["panel"].items())),
        "pitch_um": cohort["pitch_um"],
        "qc": experiment["qc"],
        "seeds": experiment["seeds"],
        "titles": {
            arm: method["title"]
            for arm, method in sorted(experiment["methods"].items())
        },
        "transform": experiment["transform"],
    }


def slide_facts(name):
    """What maps of slides show, beside the files: whose slides, by which model, which genes."""
    values = figure_values(name)
    if not values["slide_cohort"]:
        return {}
    cohort = BENCH.cohorts[values["slide_cohort"]]
    return {
        "cohort": values["slide_cohort"],
        "groups": cohort["options"].get("groups"),
        "method": values["slide_method"],
        "tile_um": cohort["options"]["um_per_px"] * cohort["options"]["width_px"],
    }


def figure_settings(wildcards):
    """What captions say of the experiment, and what the figure declares besides."""
    experiment = experiment_of(wildcards)
    values = figure_values(wildcards.experiment)
    further = {
        "entries": {
            arm: method["entry"] for arm, method in experiment["methods"].items()
        },
        "genes": experiment["maps"].get("genes", []),
        "leader": values["leader"],
        "pair": experiment.get("scatter", []),
        "section": map_section(experiment),
        "slides": slide_facts(wildcards.experiment),
    }
    declared = catalogue()[wildcards.figure].settings
    return {
        **experiment_facts(wildcards.experiment),
        **{key: further[key] for key in declared},
    }


# -- across experiments -----------------------------------------------------------------------------

# Question -> what an experiment has of it.
CONTRASTS = {
    "folds": "section_wise",
    "transform": "other_transform",
    "stain": "other_stain",
    "window": "other_window",
    "weights": "other_weights",
}


def contrasts():
    """Pairs of experiments that differ in what a question asks for, with the methods that both have."""
    pairs = []
    for question, placeholder in CONTRASTS.items():
        for base in BENCH.experiments:
            pairs += [
                contrast(question, base, other)
                for other in (
                    figure_values(base)[placeholder] if base in TESTED else []
                )
                if other in TESTED and (question == "folds" or base < other)
            ]
    return pairs


def contrast(question, base, other):
    """One question to one pair of experiments."""
    first, second = BENCH.experiments[base], BENCH.experiments[other]
    rest = {
        "panel of genes": "panel",
        "quality control": "qc",
        "sections": "sections",
    }
    differs = [
        {"transform": "target transform", "window": "window and scale"}.get(key, key)
        for key, value in protocol(first).items()
        if key != question and value != protocol(second)[key]
    ]
    differs += [words for words, key in rest.items() if first[key] != second[key]]

    def shown(experiment):
        value = protocol(experiment)[question]
        if question != "window":
            return str(value).replace("_", " ")
        scale, width = value
        scale = f"{scale:g} um/px" if isinstance(scale, (int, float)) else f"{scale}"
        return f"{width} px, {scale}"

    def own(arm):
        keys = ("params", "window")
        changed = any(
            first["methods"][arm][key] != second["methods"][arm][key] for key in keys
        )
        return {
            "also_differs": ", ".join(
                [*differs, *(["settings of the method"] if changed else [])]
            ),
            "family": first["methods"][arm]["family"],
        }

    return {
        "base": base,
        "base_value": shown(first),
        "methods": {
            arm: own(arm) for arm in first["methods"] if arm in second["methods"]
        },
        "other": other,
        "other_value": shown(second),
        "question": question,
    }


def contrast_metrics():
    """Metric folders of the methods that are compared across experiments."""
    wanted = {
        (pair[side], arm)
        for pair in contrasts()
        for side in ("base", "other")
        for arm in pair["methods"]
    }
    return sorted(
        f"results/{name}/metrics/{run}"
        for name in {name for name, _ in wanted}
        for run, (arm, _) in BENCH.arms(name).items()
        if (name, arm) in wanted
    )


def transfers():
    """Who was trained on what and tested on what, where a cohort is reached by more than one way."""
    started = {
        name
        for name, settings in TESTED.items()
        if name in BENCH.experiments and settings["start_from"]
    }
    branched = {name: trained_by(name) for name in TESTED if name in BENCH.branches}
    cohorts = {TESTED[name]["cohort"] for name in [*branched, *started]}
    found = {}
    for name, settings in TESTED.items():
        cohort, home = settings["cohort"], branched.get(name, name)
        trained_on, arm = BENCH.experiments[home]["cohort"], "held-out patients"
        if name in branched:
            arm = "other cohort, no training on it"
        elif name in started:
            first = BENCH.experiments[settings["start_from"]]["cohort"]
            trained_on, arm = f"{first}, then {cohort}", "fine-tuned, held-out patients"
        elif settings["folds"]["scheme"] == "leave_one_section_out":
            arm = "held-out sections, patients are shared"
        if cohort in cohorts or name in branched.values():
            patients = patients_of(settings, settings["sections"])
            found[name] = {
                "arm": arm,
                "n_patients": len(set(patients.values())),
                "tested_on": cohort,
                "trained_on": trained_on,
            }
    return found


def transfer_boards():
    return {name: f"results/{name}/tables/leaderboard.tsv" for name in transfers()}


# -- report -----------------------------------------------------------------------------------------


def shown_sections(name):
    """What the map explorer shows of each tested section: its predictions by method and its image."""
    experiment = BENCH.described(name)
    shown = {}
    for fold in experiment["folds"]["made"].values():
        for section in fold.test:
            shown[section] = {
                "predictions": {
                    arm: f"results/{name}/predictions/{arm}/{fold.name}/{section}.h5ad"
                    for arm in experiment["methods"]
                }
            }
            files = section_raw(experiment["cohort"], section)
            if experiment["patches"] and "image" in files:
                shown[section]["image"] = files["image"]
    return dict(sorted(shown.items()))


def maps_input(wildcards):
    """Folders of predictions of all methods, and images."""
    shown = shown_sections(wildcards.experiment).values()
    return {
        "predictions": sorted(
            {
                str(Path(path).parent)
                for entry in shown
                for path in entry["predictions"].values()
            }
        ),
        "images": sorted({entry["image"] for entry in shown if "image" in entry}),
    }


def maps_settings(wildcards):
    """Each experiment gets its share of what a page can hold."""
    experiment = experiment_of(wildcards)
    return {
        "genes": experiment["maps"].get("genes", []),
        "largest": LARGEST_MAPS // len(TESTED),
        "sections": shown_sections(wildcards.experiment),
    }


def experiment_runs(name):
    """Records of the trainings whose models an experiment or branch tests."""
    return expand(
        "results/{experiment}/models/{method}/{fold}/run.json",
        experiment=trained_by(name),
        method=list(BENCH.arms(name)),
        fold=list(BENCH.described(name)["folds"]["made"]),
    )


def cohort_stains(cohort):
    """Sections whose stain is shown: those with an image that some experiment cuts patches from."""
    with_images = {
        section
        for experiment in TESTED.values()
        if experiment["cohort"] == cohort and experiment["patches"]
        for section in experiment["sections"]
    }
    return [section for section in used_sections(cohort) if section in with_images]


# Extrapolated hours of training, if somebody has measured them (`make bench`).
HOURS = Path("results/bench/hours.tsv")


def report_manifest():
    """What the report shows: settings as they are, everything else as paths."""
    experiments = {}
    for name, experiment in TESTED.items():
        experiments[name] = {
            "audit": f"results/{trained_by(name)}/audit/leakage.tsv",
            "figures": {
                figure: {
                    "caption": f"results/{name}/figures/{figure}.txt",
                    "png": f"results/{name}/figures/{figure}.png",
                    "svg": f"results/{name}/figures/{figure}.svg",
                    "table": f"results/{name}/tables/figures/{figure}.tsv",
                    "title": catalogue()[figure].title,
                    "group": catalogue()[figure].group,
                }
                for figure in experiment_figures(name)
            },
            "figures_left_out": {
                catalogue()[figure].title: reason
                for figure, reason in figures_left_out(name).items()
            },
            "folds": f"results/{trained_by(name)}/folds.tsv",
            "maps": f"results/{name}/maps.json",
            "methods": {
                arm: dict(sorted(method.items()))
                for arm, method in experiment["methods"].items()
            },
            "runs": {
                arm: expand(
                    "results/{experiment}/models/{method}/{fold}/run.json",
                    experiment=trained_by(name),
                    method=arm,
                    fold=list(experiment["folds"]["made"]),
                )
                for arm in BENCH.arms(name)
            },
            "settings": {
                **experiment_facts(name),
                "description": experiment["description"],
                "title": experiment["title"],
                "weights": experiment["weights"],
            },
            "slides": {
                BENCH.branches[branch]["cohort"]: f"results/{branch}/tables"
                for branch in slide_branches(name)
            },
            "tables": f"results/{name}/tables",
        }
    cohorts = {}
    for name in read_cohorts():
        cohort = BENCH.cohorts[name]
        cohorts[name] = {
            "qc": {
                f"{experiment}, profile {settings['qc']}": f"results/{experiment}/qc/summary.tsv"
                for experiment, settings in TESTED.items()
                if settings["cohort"] == name
            },
            "sections": f"results/data/{name}/sections.tsv",
            "settings": {
                key: cohort[key]
                for key in ("citation", "description", "licence", "title")
            },
            "stain": {
                section: {
                    "json": f"results/data/{name}/stain/{section}.json",
                    "png": f"results/data/{name}/stain/{section}.png",
                }
                for section in cohort_stains(name)
            },
        }
    return {
        "across": {
            "contrasts": "results/report/contrasts.tsv",
            "transfer": "results/report/transfer.tsv",
        },
        "cohorts": cohorts,
        "experiments": experiments,
        **({"hours": str(HOURS)} if HOURS.exists() else {}),
        "provenance": "results/report/provenance.json",
        "title": BENCH.config["title"],
    }


def report_files():
    """Every file that the report's manifest names."""
    files = [
        "results/report/provenance.json",
        "results/report/contrasts.tsv",
        "results/report/transfer.tsv",
    ]
    for name, experiment in report_manifest()["experiments"].items():
        files += [experiment["audit"], experiment["folds"], experiment["maps"]]
        files += [run for runs in experiment["runs"].values() for run in runs]
        files += [
            figure[kind]
            for figure in experiment["figures"].values()
            for kind in ("caption", "png", "svg", "table")
        ]
        files += table_files(name)
        if name in BENCH.branches:
            files += branch_files(name)
        files += [
            file for branch in slide_branches(name) for file in branch_files(branch)
        ]
    for cohort in report_manifest()["cohorts"].values():
        files += [cohort["sections"], *cohort["qc"].values()]
        files += [file for stain in cohort["stain"].values() for file in stain.values()]
    return files

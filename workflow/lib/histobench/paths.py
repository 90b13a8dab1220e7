"""Where the files of a run lie: the one place where a path below results/ is spelled.

A path holds wildcards in braces, by the names that the rules use; :func:`at` fills them in.
"""

from __future__ import annotations

from pathlib import Path

ROOT = "results"

# -- data: shared between experiments ------------------------------------------------------------
DATA = f"{ROOT}/data"
RAW_FILE = f"{DATA}/{{source}}/raw/{{file}}"
ARCHIVE = f"{DATA}/{{source}}/raw/{{archive}}"
UNPACKED_FILE = f"{DATA}/{{source}}/unpacked/{{archive}}/{{member}}"

# what is made together for many sections; {batch} names those of a list
BATCH_RECORD = f"{DATA}/batches.json"

COHORT = f"{DATA}/{{cohort}}"
SECTIONS = f"{COHORT}/sections.tsv"
GENES = f"{COHORT}/genes.tsv"
SECTION = f"{COHORT}/sections/{{section}}.h5ad"
SECTION_ROW = f"{COHORT}/sections/{{section}}.json"
KEPT_SPOTS = f"{COHORT}/qc/{{profile}}/{{section}}.tsv"
KEPT_LIST = f"{COHORT}/qc/{{profile}}/lists/{{batch}}.tsv"
STAIN = f"{COHORT}/stain/{{section}}.json"
STAIN_PREVIEW = f"{COHORT}/stain/{{section}}.png"
OTHER_STAIN = f"{COHORT}/stain/{{stain}}/{{section}}.json"
OTHER_STAIN_PREVIEW = f"{COHORT}/stain/{{stain}}/{{section}}.png"
IMAGE_HASH = f"{COHORT}/image_hashes/{{section}}.json"
SAME_SECTIONS = f"{COHORT}/same_sections/{{other}}.tsv"
PATCHES = f"{COHORT}/patches/{{variant}}/{{section}}.npy"
PATCH_INDEX = f"{COHORT}/patches/{{variant}}/{{section}}.tsv"
PATCH_LIST = f"{COHORT}/patches/{{variant}}/lists/{{batch}}.tsv"
FEATURES = f"{COHORT}/features/{{backbone}}/{{section}}.npy"
FEATURE_LIST = f"{COHORT}/features/{{backbone}}/lists/{{batch}}.tsv"
FEATURE_COST = f"{COHORT}/features/{{backbone}}/cost/{{batch}}.tsv"
PHOTO_TILES = f"{COHORT}/tiles/{{variant}}.npy"
PHOTO_INDEX = f"{COHORT}/tiles/{{variant}}.tsv"

SIMULATED = f"{COHORT}/raw/{{section}}"
SIMULATED_IMAGE = f"{SIMULATED}.jpg"
SIMULATED_COUNTS = f"{SIMULATED}_counts.tsv.gz"
SIMULATED_SPOTS = f"{SIMULATED}_spots.tsv"
SIMULATED_LABELS = f"{SIMULATED}_labels.tsv"
PLANTED_TRUTH = f"{COHORT}/raw/truth.tsv"

# -- an experiment, or a branch of one (experiment = EXPERIMENT/external/COHORT) -------------------
EXPERIMENT = f"{ROOT}/{{experiment}}"
QC_SUMMARY = f"{EXPERIMENT}/qc/summary.tsv"
FOLDS = f"{EXPERIMENT}/folds.tsv"
SCALE = f"{EXPERIMENT}/scale.json"
AUDIT_PLAN = f"{EXPERIMENT}/audit/plan.tsv"
AUDIT = f"{EXPERIMENT}/audit/leakage.tsv"
PANEL = f"{EXPERIMENT}/panels/{{fold}}.tsv"
PANEL_UNIVERSE = f"{EXPERIMENT}/panels/{{fold}}.universe.tsv"
PANEL_DROPPED = f"{EXPERIMENT}/panels/{{fold}}.dropped.tsv"
PANEL_SECTIONS = f"{EXPERIMENT}/panels/{{fold}}.sections.tsv"
TRAINING = f"{EXPERIMENT}/panels/{{fold}}.training.tsv"

MODELS = f"{EXPERIMENT}/models"
MODEL = f"{MODELS}/{{method}}/{{fold}}"
WEIGHTS = f"{MODEL}/weights.pt"
HISTORY = f"{MODEL}/history.tsv"
RUN_RECORD = f"{MODEL}/run.json"
# of the training on everybody
FULL_MODEL = f"{MODELS}/{{method}}/all"
FULL_WEIGHTS = f"{FULL_MODEL}/weights.pt"
FULL_RUN_RECORD = f"{FULL_MODEL}/run.json"

PREDICTIONS = f"{EXPERIMENT}/predictions/{{method}}/{{fold}}"
PREDICTION = f"{PREDICTIONS}/{{section}}.h5ad"
EVERY_GENE_SCORES = f"{PREDICTIONS}/every_gene.parquet"
METRICS = f"{EXPERIMENT}/metrics/{{method}}"
SPOTS = f"{EXPERIMENT}/spots/{{method}}"
CEILING = f"{EXPERIMENT}/ceiling/{{fold}}.parquet"
NUCLEI = f"{EXPERIMENT}/nuclei/{{section}}.parquet"
TABLES = f"{EXPERIMENT}/tables"
TABLE = f"{TABLES}/{{table}}.tsv"
SPOT_TABLE = f"{TABLES}/spots.parquet"
RECORDS = f"{EXPERIMENT}/trainings.json"
EVERY_GENE = f"{TABLES}/every_gene.parquet"
MAPS = f"{EXPERIMENT}/maps.json"
MANIFEST = f"{EXPERIMENT}/manifest.json"

FIGURE_SVG = f"{EXPERIMENT}/figures/{{figure}}.svg"
FIGURE_PNG = f"{EXPERIMENT}/figures/{{figure}}.png"
FIGURE_CAPTION = f"{EXPERIMENT}/figures/{{figure}}.txt"
FIGURE_TABLE = f"{TABLES}/figures/{{figure}}.tsv"

# -- slides: predicted tile by tile, compared with bulk expression ---------------------------------
SLIDE_TILES = f"{EXPERIMENT}/external/{{cohort}}/tiles/{{method}}/{{section}}.parquet"
# {table} is one of genes, patients, subtypes and colocation
PSEUDOBULK = f"{EXPERIMENT}/pseudobulk/{{method}}/{{table}}.tsv"
BRANCH_PSEUDOBULK = f"{EXPERIMENT}/external/{{cohort}}/pseudobulk/{{method}}/{{table}}.tsv"
OWN_SLIDE = f"{ROOT}/slides/{{slide}}.h5ad"
OWN_SLIDE_PREVIEW = f"{ROOT}/slides/{{slide}}.png"

# -- the whole run -------------------------------------------------------------------------------
REPORT = f"{ROOT}/report/index.html"
PROVENANCE = f"{ROOT}/report/provenance.json"
CONTRASTS = f"{ROOT}/report/contrasts.tsv"
TRANSFER = f"{ROOT}/report/transfer.tsv"
HOURS = f"{ROOT}/bench/hours.tsv"


def at(path: str, **values: str) -> str:
    """Return a path with its wildcards filled in, all of them."""
    return path.format(**values)


def fixed(path: str, **values: str) -> str:
    """Return a path with some of its wildcards filled in; the others stay, for a rule to match.

    Not Snakemake's ``expand``, which makes a list of one: a script that goes by the name of an output
    would be handed that list.
    """
    for name, value in values.items():
        path = path.replace(f"{{{name}}}", value)
    return path


def each(path: str, values: dict[str, list[str]], **fixed: str) -> list[str]:
    """Return a path for every combination of values, the last name running fastest."""
    paths = [fixed]
    for name, choices in values.items():
        paths = [{**chosen, name: choice} for chosen in paths for choice in choices]
    return [path.format(**chosen) for chosen in paths]


def universe(panel: str | Path) -> str:
    """Return where the genes lie that a fold's panel was chosen from: beside it, made by the same job."""
    return str(panel).removesuffix(".tsv") + ".universe.tsv"


def log(job: str) -> str:
    """Return the log of a job, RULE/WILDCARDS."""
    return f"{ROOT}/logs/{job}.log"


def benchmark(job: str) -> str:
    """Return where Snakemake writes what a job took, RULE/WILDCARDS."""
    return f"{ROOT}/benchmarks/{job}.jsonl"

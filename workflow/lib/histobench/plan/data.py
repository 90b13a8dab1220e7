"""Data: what is downloaded and unpacked, what a section is read from, filtered and cut by.

Functions take the plan and, by name, the wildcards of the rule that asks.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from histobench import paths
from histobench.cohorts.fetch.archives import split_member
from histobench.cohorts.fetch.lock import WEIGHTS, LockedFile
from histobench.cohorts.fetch.lock import missing as missing_files
from histobench.cohorts.sheet import section_options
from histobench.errors import UserError
from histobench.expression.qc import GENE_LIMITS
from histobench.imaging.stains import NORMALISED
from histobench.plan.branches import AS
from histobench.plan.features import Batch, feature_batches, read_record, write_record
from histobench.plan.model import Files, Patches, Plan, Section, Variant, raw_path
from histobench.plan.weights import used_files


# -- published files -----------------------------------------------------------------------------
@functools.cache
def published_files(plan: Plan) -> list[tuple[str, str]]:
    """Return what the configured cohorts take from their sources: (source, file), each once.

    ``file`` is ``archive!/member`` for a file in an archive.
    """
    bench, files = plan.bench, set()
    for name, cohort in plan.cohorts.items():
        if cohort.origin == "photos":
            files.add((cohort.source, cohort.settings["files"]["photos"]))
        if cohort.downloaded:
            prepared = name in bench.config["prepare"]
            wanted = list(cohort.sections.values()) if prepared else plan.used[name]
            for section in wanted:
                files |= {(cohort.source, file) for file in bench.section_files(name, section.name).values()}
    return sorted(files)


def cohorts_of(plan: Plan, origin: str) -> list[str]:
    """Return the cohorts of one origin."""
    return [name for name, cohort in plan.cohorts.items() if cohort.origin == origin]


def archives(plan: Plan) -> list[str]:
    """Return the archives of which single files are taken."""
    split = [split_member(file) for _, file in published_files(plan)]
    return sorted({archive for archive, member in split if member})


def sources(plan: Plan) -> list[str]:
    """Return the publishers of the configured cohorts and of weights, as the data lock names them."""
    named = [cohort.source for cohort in plan.cohorts.values() if cohort.downloaded]
    return list(dict.fromkeys([*named, WEIGHTS]))


def locked(plan: Plan, source: str, file: str) -> LockedFile:
    """Return what the data lock says of a file as it is downloaded.

    Raises
    ------
    UserError
        It says nothing.
    """
    if (source, file) not in plan.lock:
        raise UserError(
            f"resources/data_lock.tsv has no row for file {file} of source {source}; "
            "add one, or correct `files` in the cohort's YAML file."
        )
    return plan.lock[source, file]


def downloads(plan: Plan) -> list[LockedFile]:
    """Return what the data lock says of every file that the configured cohorts and methods need."""
    files = {(source, split_member(file)[0]) for source, file in published_files(plan)}
    kept = paths.at(paths.RAW_FILE, source=WEIGHTS, file="")
    used = used_files(plan.bench)
    files |= {(WEIGHTS, file.removeprefix(kept)) for file in used if file.startswith(kept)}
    return [locked(plan, source, file) for source, file in sorted(files)]


def raw_files(plan: Plan) -> list[str]:
    """Return where every downloaded file lies."""
    return [paths.at(paths.RAW_FILE, source=row.source, file=row.file) for row in downloads(plan)]


def told_missing(plan: Plan) -> str:
    """Say what of the raw data is not yet there."""
    return f"Raw data: {missing_files(downloads(plan), paths.DATA)}."


def download_settings(plan: Plan, source: str, file: str) -> dict[str, Any]:
    """Return from where a file comes and how it is verified."""
    row = locked(plan, source, file)
    return {
        "file": file,
        "sha256": row.checksum,
        "size": row.size,
        "source": source,
        "urls": list(row.urls),
    }


def unpack_settings(plan: Plan, source: str, member: str) -> dict[str, Any]:
    """Return how a member is found and opened; cohorts that share a source may each know a password."""
    opened = [
        cohort.settings["archives"]
        for cohort in plan.cohorts.values()
        if cohort.downloaded and cohort.source == source
    ]
    return {
        "locate": next((how["locate"] for how in opened if how["locate"]), None),
        "member": member,
        "passwords": sorted({word for how in opened for word in how["passwords"]}),
    }


def unpack_modules(plan: Plan, source: str) -> list[str]:
    """Return the module that finds files in an archive, if one is named."""
    locate = unpack_settings(plan, source, "")["locate"]
    return [locate.split(":")[0]] if locate else []


# -- sections ------------------------------------------------------------------------------------
def raw_input(plan: Plan, cohort: str, section: str) -> Files:
    """Return what a reader gets: the section's own files, and tables of this repository."""
    described = plan.cohorts[cohort]
    resources = described.settings["resources"]
    return {
        **described.sections[section].raw,
        **{kind: plan.shipped(file) for kind, file in resources.items()},
    }


def raw_image(plan: Plan, cohort: str, section: str) -> str:
    """Return the image of a section."""
    return plan.cohorts[cohort].sections[section].raw["image"]


def section_settings(plan: Plan, cohort: str, section: str) -> dict[str, Any]:
    """Return everything of the configuration that the contents of a section depend on."""
    described = plan.cohorts[cohort]
    settings = described.settings
    record = dict(sorted(settings["sections"][section].items()))
    options = {} if described.simulated else settings["options"]
    if described.origin == "local":
        options = section_options(options, record)
    return {
        "alias": settings["aliases"].get(record["patient"], ""),
        "allow_losses": settings["allow_losses"],
        "genes_absent": settings["genes_absent"],
        "geometry": dict(sorted(settings["geometry"].items())),
        "options": options,
        "pitch_um": settings.get("pitch_um"),
        "reader": settings["reader"],
        "record": record,
        "spot_um": settings["spot_um"],
    }


def reader_modules(plan: Plan, cohort: str) -> list[str]:
    """Return the module that reads a cohort's sections."""
    return [plan.cohorts[cohort].settings["reader"].split(":")[0]]


def simulation_settings(plan: Plan, cohort: str) -> dict[str, Any]:
    """Return how a simulated cohort is drawn."""
    return dict(sorted(plan.cohorts[cohort].options.items()))


def cohort_input(plan: Plan, cohort: str) -> Files:
    """Return the sections that the tables of a cohort describe."""
    used = plan.used[cohort]
    return {"rows": [section.row for section in used], "h5ads": [section.counts for section in used]}


def spot_filter_input(plan: Plan, cohort: str, section: str, profile: str) -> Files:
    """Return what a filter reads: the section, and the patches where it judges them."""
    described = plan.cohorts[cohort].sections[section]
    files: Files = {"h5ad": described.counts}
    if "max_white" in spot_limits(plan, profile) and described.has_image:
        plain = Patches("raw", None, "native", 224).variant
        files["index"] = paths.at(paths.PATCH_INDEX, cohort=cohort, section=section, variant=plain)
    return files


def _limits(plan: Plan, profile: str) -> dict[str, Any]:
    """Return the limits that a QC profile sets; its title and source decide nothing."""
    declared = plan.bench.qc_profile(profile)
    texts = ("title", "source")
    return {
        key: value
        for key, value in sorted(declared.items())
        if key not in texts and value is not None and value is not False
    }


def spot_limits(plan: Plan, profile: str) -> dict[str, Any]:
    """Return what a QC profile asks of spots."""
    return {key: value for key, value in _limits(plan, profile).items() if key not in GENE_LIMITS}


def gene_limits(plan: Plan, profile: str) -> dict[str, Any]:
    """Return what a QC profile asks of genes."""
    return {key: value for key, value in _limits(plan, profile).items() if key in GENE_LIMITS}


def qc_input(plan: Plan, experiment: str) -> list[str]:
    """Return the kept spots of every section of an experiment."""
    described = plan.described(experiment)
    return [section.kept(described.qc) for section in described.here(described.sections)]


def kept_counts(sections: list[Section], profile: str) -> Files:
    """Return counts and kept spots of some sections."""
    return {
        "h5ad": [section.counts for section in sections],
        "qc": [section.kept(profile) for section in sections],
    }


def twin_input(plan: Plan, cohort: str, other: str) -> Files:
    """Return sections that are compared with each other: those of two cohorts, or all of one."""
    files: Files = {"h5ads": [section.counts for section in plan.used[cohort]]}
    if other != cohort:
        files["other_h5ads"] = [section.counts for section in plan.used[other]]
    return files


# -- images --------------------------------------------------------------------------------------
def patch_input(plan: Plan, cohort: str, section: str, variant: str) -> Files:
    """Return what patches are cut from and normalised by."""
    own, asked = plan.cohorts[cohort].sections[section], Variant.named(variant)
    files: Files = {"image": own.raw["image"], "h5ad": own.counts}
    if asked.stain in NORMALISED:
        files["stain"] = own.stain(asked.stain)
    reference, _, home = asked.target.partition("@")
    if reference:
        files["reference"] = plan.cohorts[home or cohort].sections[reference].stain(asked.stain)
    if asked.scale.startswith(AS):
        files["scale"] = paths.at(paths.SCALE, experiment=asked.scale.removeprefix(AS))
    return files


def patch_settings(plan: Plan, variant: str) -> dict[str, Any]:
    """Return how patches are cut."""
    asked = Variant.named(variant)
    scale = asked.scale
    return {
        "scale": float(scale.removesuffix("um")) if scale[0].isdigit() else scale,
        "stain": asked.stain,
        "width_px": asked.width_px,
    }


def at_another_scale(plan: Plan, variant: str) -> bool:
    """Whether patches have the scale of another cohort, that of the training."""
    return Variant.named(variant).scale.startswith(AS)


def photo_input(plan: Plan, cohort: str) -> str:
    """Return the archive of a cohort of photographs."""
    described = plan.cohorts[cohort]
    return raw_path(described.source, described.settings["files"]["photos"])


def photo_settings(plan: Plan, cohort: str, variant: str) -> dict[str, Any]:
    """Return how photographs are cut into tiles."""
    return {**patch_settings(plan, variant), "options": dict(sorted(plan.cohorts[cohort].options.items()))}


def features_wanted(plan: Plan) -> dict[tuple[str, str], set[str]]:
    """Return the sections that need frozen features, by cohort and name of the features."""
    wanted: dict[tuple[str, str], set[str]] = {}
    for described in (*plan.experiments.values(), *plan.branches.values()):
        # slides have no spots: their tiles are described where they are predicted
        for arm in described.arms.values() if not described.cohort.of_slides else ():
            if arm.needs["features"]:
                key = (described.cohort.name, described.features_of(arm))
                wanted.setdefault(key, set()).update(described.sections)
    return wanted


@functools.cache
def batches(plan: Plan) -> list[Batch]:
    """Return the jobs that describe sections by encoders.

    Those of a job, whose own outputs are not there yet, are what the run that started it has recorded.
    """
    recorded = read_record(Path(paths.FEATURE_RECORD), None if plan.bench.in_job else paths.FEATURES)
    known = {name: cohort.sections for name, cohort in plan.cohorts.items()}
    return feature_batches(features_wanted(plan), recorded, known)


def record_batches(plan: Plan) -> None:
    """Write down which sections are described together."""
    record = Path(paths.FEATURE_RECORD)
    write_record(record, batches(plan), read_record(record, paths.FEATURES))


def batch_files(batch: Batch) -> list[str]:
    """Return the features of the sections that one job describes; which features stays a wildcard."""
    return [paths.fixed(paths.FEATURES, cohort=batch.cohort, section=section) for section in batch.sections]


def features_input(plan: Plan, backbone: str, batch: Batch) -> Files:
    """Return what frozen features are computed from: patches, and weights unless a package brings them."""
    variant, file = backbone.split(".", 2)[2], encoder_recipe(plan, backbone).get("file")
    sections = [plan.cohorts[batch.cohort].sections[section] for section in batch.sections]
    return {"patches": [section.patches(variant) for section in sections], "weights": [file] if file else []}


@functools.cache
def encoder_recipe(plan: Plan, backbone: str) -> dict[str, Any]:
    """Return the recipe behind the name of a folder of features, ENCODER.START.VARIANT."""
    name, start, _ = backbone.split(".", 2)
    return plan.bench.recipe(name, start == "pretrained")


def features_settings(plan: Plan, backbone: str) -> dict[str, Any]:
    """Return how frozen features are computed."""
    return {"encoder": encoder_recipe(plan, backbone)}

"""Data: what is downloaded and unpacked, what a section is read from, filtered and cut by.

Functions take the plan and, by name, the wildcards of the rule that asks.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from histobench import paths
from histobench.cohorts.fetch.archives import split_member
from histobench.cohorts.fetch.lock import WEIGHTS, LockedFile
from histobench.cohorts.fetch.lock import missing as missing_files
from histobench.cohorts.sheet import section_options
from histobench.errors import UserError
from histobench.expression.qc import GENE_LIMITS
from histobench.expression.transforms import Transform
from histobench.imaging.stains import DEFAULT, NORMALISED
from histobench.plan.batches import (
    FEATURES,
    IMAGES,
    KEPT,
    OTHER_STAINS,
    PATCHES,
    Batch,
    Kind,
    Wanted,
    divide,
    numbered,
    read_record,
    write_record,
)
from histobench.plan.branches import AS
from histobench.plan.model import Experiment, Files, Patches, Plan, Section, Variant, raw_path
from histobench.plan.nuclei import nuclei_sections
from histobench.plan.weights import used_files


def side_by_side(batch: Batch) -> int:
    """Return how many sections are worked on at a time; with few, starting processes takes longer."""
    return min(4, 1 + len(batch.sections) // 8)


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


def spot_filter_input(plan: Plan, profile: str, batch: Batch) -> Files:
    """Return what a filter reads: sections, and their patches where it judges them."""
    sections = sections_of(plan, batch)
    files: Files = {"h5ads": [section.counts for section in sections]}
    if judges_patches(plan, profile):
        seen = [section.name for section in sections if section.has_image]
        files["patches"] = lists(plan, PATCHES, batch.cohort, PLAIN, seen)
    return files


# Of what a filter judges the share of white.
PLAIN = Patches("raw", None, "native", 224).variant


def judges_patches(plan: Plan, profile: str) -> bool:
    """Whether a filter looks at images."""
    return "max_white" in spot_limits(plan, profile)


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


@functools.cache
def target(plan: Plan, transform: str) -> dict[str, Any]:
    """Return what a target transform does; its title, source and unit decide nothing."""
    return Transform.of({"name": transform, **plan.bench.transform(transform)}).definition


def qc_input(plan: Plan, experiment: str) -> list[str]:
    """Return lists of the kept spots of every section of an experiment."""
    described = plan.described(experiment)
    return kept_counts(plan, described, described.sections)


def qc_sections(plan: Plan, experiment: str) -> list[str]:
    """Return the sections of an experiment."""
    return list(plan.described(experiment).sections)


def kept_counts(plan: Plan, described: Experiment, sections: Iterable[str]) -> list[str]:
    """Return lists of counts and kept spots of some sections."""
    return lists(plan, KEPT, described.cohort.name, described.qc, sections)


def twin_input(plan: Plan, cohort: str, other: str) -> Files:
    """Return sections that are compared with each other: those of two cohorts, or all of one."""
    files: Files = {"h5ads": [section.counts for section in plan.used[cohort]]}
    if other != cohort:
        files["other_h5ads"] = [section.counts for section in plan.used[other]]
    return files


# -- images --------------------------------------------------------------------------------------
def stained_sections(plan: Plan, cohort: str) -> list[str]:
    """Return the sections whose stain is shown: those that some experiment cuts patches from."""
    seen = {
        section
        for described in plan.tested.values()
        if described.cohort.name == cohort and described.patches
        for section in described.sections
    }
    return [section.name for section in plan.used[cohort] if section.name in seen]


def image_input(plan: Plan, batch: Batch) -> list[str]:
    """Return the images of sections."""
    return [section.raw["image"] for section in sections_of(plan, batch)]


def stain_memory(stain: str, side_by_side: int) -> int:
    """Return the MB that fitting stains takes; StainTools keeps float64 copies of a whole image."""
    return (10000 if stain.endswith("staintools") else 4000) * side_by_side


def patch_input(plan: Plan, variant: str, batch: Batch) -> Files:
    """Return what patches of a batch are cut from and normalised by."""
    return _patch_files(plan, batch.cohort, variant, sections_of(plan, batch))


def section_patch_input(plan: Plan, cohort: str, section: str, variant: str) -> Files:
    """Return what patches of one section are cut from and normalised by."""
    return _patch_files(plan, cohort, variant, [plan.cohorts[cohort].sections[section]])


def _patch_files(plan: Plan, cohort: str, variant: str, sections: list[Section]) -> Files:
    asked = Variant.named(variant)
    files: Files = {
        "images": [section.raw["image"] for section in sections],
        "h5ads": [section.counts for section in sections],
    }
    if asked.stain in NORMALISED:
        files["stains"] = [section.stain(asked.stain) for section in sections]
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


def photo_input(plan: Plan, cohort: str) -> str:
    """Return the archive of a cohort of photographs."""
    described = plan.cohorts[cohort]
    return raw_path(described.source, described.settings["files"]["photos"])


def photo_settings(plan: Plan, cohort: str, variant: str) -> dict[str, Any]:
    """Return how photographs are cut into tiles."""
    return {**patch_settings(plan, variant), "options": dict(sorted(plan.cohorts[cohort].options.items()))}


def nuclei_input(plan: Plan, experiment: str, section: str) -> Files:
    """Return lists with the patches of a section, and the section for its scale."""
    described = plan.described(experiment)
    assert described.patches is not None
    patches = lists(plan, PATCHES, described.cohort.name, described.patches.variant, [section])
    return {"patches": patches, "h5ad": described.cohort.sections[section].counts}


# -- what is made for many sections at once --------------------------------------------------------
def _with_spots(plan: Plan) -> list[Experiment]:
    """Return experiments and branches, but not those to slides: their tiles are cut when predicted."""
    every = (*plan.experiments.values(), *plan.branches.values())
    return [described for described in every if not described.cohort.of_slides]


def _wanted(asked: Iterable[tuple[Kind, str, str, Iterable[str]]]) -> dict[tuple[str, str, str], set[str]]:
    wanted: dict[tuple[str, str, str], set[str]] = {}
    for kind, cohort, what, names in asked:
        wanted.setdefault((kind.name, cohort, what), set()).update(names)
    return {key: names for key, names in wanted.items() if names}


def _alone(plan: Plan) -> Iterator[tuple[Kind, str, str, Iterable[str]]]:
    """Yield what is needed whatever else is made: kept spots and features."""
    for described in _with_spots(plan):
        yield KEPT, described.cohort.name, described.qc, described.sections
        for arm in described.arms.values():
            if arm.needs["features"]:
                yield FEATURES, described.cohort.name, described.features_of(arm), described.sections


def _patches(plan: Plan, before: Iterable[Batch]) -> Iterator[tuple[Kind, str, str, Iterable[str]]]:
    """Yield which patches methods and tables of nuclei see, filters judge and encoders describe."""
    for described in _with_spots(plan):
        for arm in described.arms.values():
            patches = described.patches_of(arm)
            if arm.needs["patches"] and patches:
                yield PATCHES, described.cohort.name, patches.variant, described.sections
        if described.patches:
            yield PATCHES, described.cohort.name, described.patches.variant, nuclei_sections(described)
    for batch in before:
        for what in batch.whats:
            if batch.kind is FEATURES:
                yield PATCHES, batch.cohort, described_patches(what), batch.sections
            elif batch.kind is KEPT and judges_patches(plan, what):
                seen = [section.name for section in sections_of(plan, batch) if section.has_image]
                yield PATCHES, batch.cohort, PLAIN, seen


def _images(plan: Plan, cut: Iterable[Batch]) -> Iterator[tuple[Kind, str, str, Iterable[str]]]:
    """Yield which images the audit compares, and which stains are needed or shown in the report."""
    for described in plan.experiments.values():
        for name, sections in described.own_and_external if described.patches else ():
            own = plan.cohorts[name].sections
            yield IMAGES, name, "", [section for section in sections if own[section].has_image]
    for name in plan.read:
        yield IMAGES, name, "", stained_sections(plan, name)
    for batch in cut:
        for asked in map(Variant.named, batch.whats):
            if asked.stain in NORMALISED:
                kind, what = (IMAGES, "") if asked.stain == DEFAULT else (OTHER_STAINS, asked.stain)
                yield kind, batch.cohort, what, batch.sections
                reference, _, home = asked.target.partition("@")
                yield kind, home or batch.cohort, what, [reference] if reference else []


@functools.cache
def batches(plan: Plan) -> list[Batch]:
    """Return what is made for many sections at once.

    Those of a job, whose own outputs are not there yet, are what the run that started it has recorded.
    """
    recorded = read_record(Path(paths.BATCH_RECORD), complete=plan.bench.in_job)
    known = {name: cohort.sections for name, cohort in plan.cohorts.items()}
    found = divide(_wanted(_alone(plan)), recorded, known)
    cut = divide(_wanted(_patches(plan, found)), recorded, known)
    cut += divide(_left(_described_patches(plan), cut), recorded, known)
    return numbered([*found, *cut, *divide(_wanted(_images(plan, cut)), recorded, known)])


def _described_patches(plan: Plan) -> dict[tuple[str, str, str], set[str]]:
    """Return the patches that experiments describe, which can be asked for although no method sees them."""
    return _wanted(
        (PATCHES, described.cohort.name, described.patches.variant, described.sections)
        for described in _with_spots(plan)
        if described.patches
    )


def _left(wanted: Wanted, batches: Iterable[Batch]) -> dict[tuple[str, str, str], set[str]]:
    """Return what no batch makes."""
    made: dict[tuple[str, str, str], set[str]] = {}
    for batch in batches:
        for what in batch.whats:
            made.setdefault((batch.kind.name, batch.cohort, what), set()).update(batch.sections)
    left = {key: set(names) - made.get(key, set()) for key, names in wanted.items()}
    return {key: names for key, names in left.items() if names}


def batches_of(plan: Plan, kind: Kind) -> list[Batch]:
    """Return the batches of one kind."""
    return [batch for batch in batches(plan) if batch.kind is kind]


@functools.cache
def _places(plan: Plan) -> dict[tuple[str, str, str], list[tuple[Batch, frozenset[str]]]]:
    places: dict[tuple[str, str, str], list[tuple[Batch, frozenset[str]]]] = {}
    for batch in batches(plan):
        for what in batch.whats:
            key = (batch.kind.name, batch.cohort, what)
            places.setdefault(key, []).append((batch, frozenset(batch.sections)))
    return places


def lists(plan: Plan, kind: Kind, cohort: str, what: str, names: Iterable[str]) -> list[str]:
    """Return the lists in which the files of some sections stand."""
    return [batch.listed(what) for batch in _batches_with(plan, kind, cohort, what, names)]


def feature_costs(plan: Plan, cohort: str, backbone: str, names: Iterable[str]) -> list[str]:
    """Return the tables of what describing some sections took."""
    return [batch.cost(backbone) for batch in _batches_with(plan, FEATURES, cohort, backbone, names)]


def _batches_with(plan: Plan, kind: Kind, cohort: str, what: str, names: Iterable[str]) -> list[Batch]:
    """Return the batches in which some sections are."""
    asked = frozenset(names)
    of_kind = _places(plan)[kind.name, cohort, what] if asked else []
    return [batch for batch, sections in of_kind if sections & asked]


def sections_of(plan: Plan, batch: Batch) -> list[Section]:
    """Return the sections of a batch."""
    return [plan.cohorts[batch.cohort].sections[name] for name in batch.sections]


def record_batches(plan: Plan) -> None:
    """Write down what is made together."""
    record = Path(paths.BATCH_RECORD)
    write_record(record, batches(plan), read_record(record))


def described_patches(backbone: str) -> str:
    """Return which patches features are of, from their name ENCODER.START.VARIANT."""
    return backbone.split(".", 2)[2]


def features_input(plan: Plan, backbone: str, batch: Batch) -> Files:
    """Return what frozen features are computed from: patches, and weights unless a package brings them."""
    file = encoder_recipe(plan, backbone).get("file")
    patches = lists(plan, PATCHES, batch.cohort, described_patches(backbone), batch.sections)
    return {"patches": patches, "weights": [file] if file else []}


@functools.cache
def encoder_recipe(plan: Plan, backbone: str) -> dict[str, Any]:
    """Return the recipe behind the name of a folder of features, ENCODER.START.VARIANT."""
    name, start, _ = backbone.split(".", 2)
    return recipe(plan, name, start == "pretrained")


@functools.cache
def recipe(plan: Plan, encoder: str, pretrained: bool) -> dict[str, Any]:
    """Return everything that the features of an encoder depend on."""
    return plan.bench.recipe(encoder, pretrained)


def features_settings(plan: Plan, backbone: str) -> dict[str, Any]:
    """Return how frozen features are computed."""
    return {"encoder": encoder_recipe(plan, backbone)}

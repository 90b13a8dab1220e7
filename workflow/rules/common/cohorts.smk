"""Cohorts and sections: which are used, where their files lie, how they are fetched, read and cut. No rules here."""


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
        **{kind: shipped(file) for kind, file in resources.items()},
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
    kept = f"results/data/{WEIGHTS}/raw/"
    files |= {
        (WEIGHTS, file.removeprefix(kept))
        for file in used_files(BENCH)
        if file.startswith(kept)
    }
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
    options = {} if cohort["origin"] == "simulation" else cohort["options"]
    if cohort["origin"] == "local":
        options = section_options(options, record)
    return {
        "alias": cohort["aliases"].get(record["patient"], ""),
        "allow_losses": cohort["allow_losses"],
        "genes_absent": cohort["genes_absent"],
        "geometry": dict(sorted(cohort["geometry"].items())),
        "options": options,
        "pitch_um": cohort.get("pitch_um"),
        "reader": cohort["reader"],
        "record": record,
        "spot_um": cohort["spot_um"],
    }


def reader_code(wildcards):
    return code_hash(
        "scripts/read_section.py",
        BENCH.cohorts[wildcards.cohort]["reader"].split(":")[0],
    )


def download_settings(wildcards):
    row = locked(wildcards.source, wildcards.file)
    return {
        "file": wildcards.file,
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
        "scripts/unpack_file.py", *([locate.split(":")[0]] if locate else [])
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
    stain, scale, _ = split_variant(wildcards.variant)
    name, _, target = stain.partition("@")
    if name in NORMALISED:
        own = stain_file(name, wildcards.section)
        files["stain"] = f"results/data/{wildcards.cohort}/stain/{own}"
    reference, _, home = target.partition("@")
    if reference:
        other = stain_file(name, reference)
        files["reference"] = f"results/data/{home or wildcards.cohort}/stain/{other}"
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

"""Slides and other cohorts that models predict without training on them; the user's own slides. No rules here."""

# However many cores there are: the last digits of predictions depend on it.
SLIDE_THREADS = 2


def slide_model(wildcards):
    """Folder of the model that predicts a slide of the user's own."""
    slide = BENCH.config["slides"][wildcards.slide]
    return f"results/{slide['experiment']}/models/{slide['method']}/{slide['fold']}"


def slide_code(wildcards):
    slide = BENCH.config["slides"][wildcards.slide]
    arm, _ = BENCH.arms(slide["experiment"])[slide["method"]]
    method = BENCH.experiments[slide["experiment"]]["methods"][arm]
    entries = [method["entry"], *method["uses"]]
    return code_hash("scripts/predict_slide.py", *(e.split(":")[0] for e in entries))


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
    return {**named, "threads": SLIDE_THREADS}


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
    alone = shown.by_spot(BENCH.described(name))
    return [run for run, (arm, _) in BENCH.arms(name).items() if arm in alone]


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

"""Experiments: folds, panels, the audit, and what the training of a method needs. No rules here."""


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
    stain = stain_name(patches["stain"], patches["fit"])
    stain = f"{stain}@{reference}" if reference else stain
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
    start = "pretrained" if BENCH.features_pretrained(experiment) else "none"
    backbone = f"{needs['features']}.{start}.{variant}"
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
    stain = stain_name(patches["stain"], patches["fit"])
    variant = f"{stain}-{scale if native else f'{scale:g}um'}-{width}px"
    return f"results/data/{name}/tiles/{variant}"


def training_input(wildcards):
    """Images that one training may see: never those of the tested patients."""
    method, _ = arm_of(wildcards)
    sections = fold_sections(wildcards, "train", "valid")
    files = section_images(wildcards, sections, method)
    start = experiment_of(wildcards)["start_from"]
    if start and method["family"] == "deep":
        files["start_weights"] = (
            f"results/{start}/models/{wildcards.method}/all/weights.pt"
        )
        files["start_checksum"] = f"{files['start_weights']}.sha256"
    weights = experiment_of(wildcards)["weights"]
    published = {
        "weights_file": start_file(method, weights),
        "encoder_file": feature_file(BENCH, experiment_of(wildcards), method),
    }
    files |= {kind: file for kind, file in published.items() if file}
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
        "checksum": f"results/{home}/models/{wildcards.method}/{wildcards.fold}/weights.pt.sha256",
    }
    if home == wildcards.experiment:
        return files
    files["measured"] = f"results/{wildcards.experiment}/panels/{wildcards.fold}.tsv"
    if takes_scale(experiment_of(wildcards)):
        files["scale"] = f"results/{home}/scale.json"
    return files


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
    files = section_counts(wildcards, panel_sections(wildcards))
    listed = experiment_of(wildcards)["panel"]["file"]
    return {**files, "listed": shipped(listed)} if listed else files


def panel_settings(wildcards):
    experiment = experiment_of(wildcards)
    chosen = {
        key: value
        for key, value in sorted(experiment["panel"].items())
        if key != "file"
    }
    return {**chosen, "qc": experiment["qc"]}


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
        **encoder_settings(experiment, method),
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
        # those of the method's file, however many cores there are: results differ between numbers of threads
        "threads": method_threads(wildcards),
        "transform": experiment["transform"],
        "weights": experiment["weights"],
        "window": method["window"],
    }


def encoder_settings(experiment, method):
    """The recipe of the frozen features that a method is given, for those who use its models later."""
    name = method["needs"]["features"]
    pretrained = BENCH.features_pretrained(experiment)
    return {"encoder": BENCH.recipe(name, pretrained)} if name else {}


def backbone_recipe(wildcards):
    """The recipe behind the name of a folder of features, ENCODER.START.VARIANT."""
    name, start, _ = wildcards.backbone.split(".", 2)
    return BENCH.recipe(name, start == "pretrained")


def backbone_weights(wildcards):
    """The file of an encoder's weights, unless a package brings it."""
    file = backbone_recipe(wildcards).get("file")
    return [file] if file else []


def image_settings(experiment):
    """How a model sees images, for those who use it later."""
    patches = experiment["patches"]
    reference = patches and patches["stain_reference"]
    return patches and {
        "stain": stain_name(patches["stain"], patches["fit"]),
        "stain_reference": reference and f"{experiment['cohort']}/{reference}",
        "width_px": patches["width_px"],
    }


def patch_scale(experiment):
    """Scale of the patches where the configuration says it; None where a file will."""
    scale = (experiment["patches"] or {}).get("um_per_px")
    return None if str(scale).startswith(AS) else scale


def prediction_settings(wildcards):
    settings = method_settings(wildcards)
    for key in ("encoder", "image", "roles"):
        settings.pop(key, None)
    return {**settings, "sections": fold_sections(wildcards, "test")}


def method_code(script):
    """The code of a script that runs a method, and of the method."""

    def code(wildcards):
        return code_hash(f"scripts/{script}.py", *method_modules(wildcards))

    return code


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
        "methods": {
            arm: {"family": method["family"], "oracle": method["needs"]["oracle"]}
            for arm, method in sorted(experiment["methods"].items())
        },
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
            for other in [experiment["cohort"], *other_cohorts(experiment)]
        ],
    }


def twin_input(wildcards):
    """Sections that are compared with each other: those of two cohorts, or all of one."""
    files = {"h5ads": [f"{name}.h5ad" for name in sections_of(wildcards.cohort)]}
    if wildcards.other != wildcards.cohort:
        files["other_h5ads"] = [f"{name}.h5ad" for name in sections_of(wildcards.other)]
    return files

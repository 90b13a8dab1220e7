"""Figures of an experiment: which can be drawn, from what, and with which settings. No rules here."""


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


@functools.cache
def figure_values(name):
    """What an experiment has for each placeholder of the figures' inputs; a name, or a list of names."""
    experiment = BENCH.described(name)
    cohort = experiment["cohort"]
    records = BENCH.cohorts[cohort]["sections"]
    methods = list(experiment["methods"])
    section = map_section(experiment)
    folds = experiment["folds"]["made"].values()
    patients = sorted(
        {records[section]["patient"] for section in experiment["sections"]}
    )
    has_image = experiment["patches"] and "image" in section_raw(cohort, section)
    slide_cohort = next((other for other, _ in external_slides(name)), "")
    leader = shown.leading(experiment)
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
        "compared": shown.compared(experiment),
        "trained": shown.trained(experiment),
        "deep": [
            arm
            for arm, method in experiment["methods"].items()
            if method["family"] == "deep"
        ],
        "latent": shown.able(experiment, "latent"),
        "baseline": shown.baselines(experiment),
        "tumour_method": [
            arm
            for arm, method in experiment["methods"].items()
            if method["gives"]["tumour"]
        ],
        "ablation": shown.variants(experiment),
        "attributed": (shown.able(experiment, "attributions") + [""])[0],
        "autoencoder": shown.able(experiment, "autoencoder"),
        "map_method": shown.mapped(experiment),
        "labels": label_origin(name),
        "tumour_labels": label_origin(name) if tumour_labelled(name) else "",
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
        **{
            placeholder: others(BENCH, name, question)
            for question, placeholder in CONTRASTS.items()
        },
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


def tumour_labelled(name):
    """Whether labels tell tumour from normal tissue, as far as the cohort says; layers of a cortex do not."""
    options = BENCH.cohorts[BENCH.described(name)["cohort"]]["options"]
    return "labels" not in options or "tumour" in options["labels"]


@functools.cache
def label_origin(name):
    """Whose labels the spots of an experiment have, as captions say it; nothing where that is not declared."""
    experiment = BENCH.described(name)
    cohort = BENCH.cohorts[experiment["cohort"]]
    if cohort["origin"] == "simulation":
        return "simulated"
    options = cohort["options"]
    giver = options.get("label_source") or options.get("labels", {}).get("source")
    files = [
        section_raw(experiment["cohort"], section) for section in experiment["sections"]
    ]
    words = []
    if giver or any("labels" in kinds for kinds in files):
        words.append(f"{giver or 'pathologist'}'s")
    if any("reference_labels" in kinds and "labels" not in kinds for kinds in files):
        words.append("transferred")
    return " or ".join(words)


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
        "labels": label_origin(name),
        "mode": experiment["mode"],
        "n_patients": len(set(patients.values())),
        "n_sections": len(patients),
        "panel": dict(sorted(experiment["panel"].items())),
        "pitch_um": cohort.get("pitch_um"),
        "qc": experiment["qc"],
        "seeds": experiment["seeds"],
        "titles": {
            arm: method["short"]
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
    entry = catalogue()[wildcards.figure]
    shown = entry.methods(values, experiment["methods"])
    further = {
        "entries": {arm: experiment["methods"][arm]["entry"] for arm in shown},
        "also_differs": {
            question: also_differs(BENCH, wildcards.experiment, question)
            for question in CONTRASTS
        },
        "genes": experiment["maps"].get("genes", []),
        "leader": values["leader"],
        "pair": experiment.get("scatter", []),
        "section": map_section(experiment),
        "slides": slide_facts(wildcards.experiment),
    }
    facts = experiment_facts(wildcards.experiment)
    of_methods = {
        key: {arm: facts[key][arm] for arm in sorted(shown)}
        for key in ("families", "titles")
    }
    return {**facts, **of_methods, **{key: further[key] for key in entry.settings}}

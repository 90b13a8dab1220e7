"""The report: its maps, its provenance and the manifest of all that it shows. No rules here."""


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


def recorded_configuration():
    """The configuration behind results: without what only says where they are computed and from where files come."""
    plain = BENCH.plain()
    kept = {key: value for key, value in plain["config"].items() if key not in WAYS}
    return {**plain, "config": kept}


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
        "papers": shipped("resources/papers.tsv"),
        "provenance": "results/report/provenance.json",
        "title": BENCH.config["title"],
    }


def report_files():
    """Every file that the report's manifest names."""
    files = [
        "results/report/provenance.json",
        "results/report/contrasts.tsv",
        "results/report/transfer.tsv",
        shipped("resources/papers.tsv"),
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

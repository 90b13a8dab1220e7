"""Comparisons across experiments: pairs that differ in one thing, and transfer between cohorts. No rules here."""


def contrasts():
    """Pairs of experiments that differ in what a question asks for, with the methods that both have."""
    pairs = []
    for question, placeholder in CONTRASTS.items():
        for base in BENCH.experiments:
            pairs += [
                contrast(BENCH, base, other, question)
                for other in (
                    figure_values(base)[placeholder] if base in TESTED else []
                )
                if other in TESTED and (question == "folds" or base < other)
            ]
    return pairs


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

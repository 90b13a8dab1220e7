"""Experiments: complete, with their folds and branches, and settings that mean nothing together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from histobench.cohorts.templates import check_path
from histobench.config.cohorts import WITHOUT_SPOTS, check_manifest, find_cohort, table_path
from histobench.config.declarations import Declarations
from histobench.config.definitions import definition, qc_profile, transform
from histobench.config.encoders import encoder_list, encoder_trouble, find_encoder
from histobench.config.methods import compared_method, find_method
from histobench.config.panels import check_fit, check_list, check_reference
from histobench.config.places import section_files
from histobench.errors import UserError, near
from histobench.plan.branches import branch_name, make_branch, make_full_fold
from histobench.plan.encoders import encoder_arms
from histobench.splits.folds import FULL_FOLD, Fold, make_folds

# First folders below results/ that are not experiments.
RESERVED = ("data", "logs", "benchmarks", "report", "bench", "slides")

Experiments = Mapping[str, dict[str, Any]]


def experiment(declarations: Declarations, name: str) -> dict[str, Any]:
    """Return an experiment's complete settings; its cohorts are completed on the way."""
    where = f"experiments.{name}"
    if name in RESERVED:
        raise UserError(
            f"{declarations.origin}: an experiment cannot be called `{name}`; choose another name."
        )
    value = definition(declarations, "experiment", name, f"{declarations.origin}: `run`")
    cohort = find_cohort(declarations, value["cohort"], f"{where}: `cohort`")
    if cohort["origin"] in WITHOUT_SPOTS:
        raise UserError(
            f"{where}: cohort `{value['cohort']}` holds {cohort['origin']} without spots; name a cohort "
            "with counts, and list this one under `prepare`."
        )
    known = cohort["sections"]
    if value["sections"] == "all":
        value["sections"] = list(known)
    for section in value["sections"]:
        if section not in known:
            raise UserError(
                f"{where}: `sections` names `{section}`, which cohort `{value['cohort']}` does not have; "
                f"{near(section, known)}"
            )
    qc_profile(declarations, value["qc"], f"{where}: `qc`")
    transform(declarations, value["transform"], f"{where}: `transform`")
    value["external"] = [other for other in value["external"] if _takes_part(declarations, name, other)]
    for other in value["external"]:
        _external(declarations, where, other, value)
    # a method that is switched off is no longer what the experiment is about
    on = {arm for arm, change in value["methods"].items() if (change or {}).get("enabled", True)}
    for place, key in ((value, "about"), (value["maps"], "methods")):
        kept = [arm for arm in place.pop(key, []) if arm in on or arm not in value["methods"]]
        place.update({key: kept} if kept else {})
    if value["encoder"]:
        find_encoder(declarations, value["encoder"], f"{where}: `encoder`")
    value["methods"] = {
        arm: compared_method(declarations, where, arm, change, value)
        for arm, change in _encoder_arms(declarations, where, value).items()
    }
    # a method that was expanded is shown on its first encoder
    first = {method["head"]: arm for arm, method in reversed(value["methods"].items())}
    for place, key in ((value, "about"), (value["maps"], "methods"), (value, "scatter")):
        if key in place:
            place[key] = [first.get(arm, arm) for arm in place[key]]
    _check_combination(declarations, where, value)
    value["folds"]["made"] = _folds(declarations, where, value)
    return value


def _encoder_arms(declarations: Declarations, where: str, value: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what an experiment says of each arm that takes part, expanded by its encoders.

    ``missing_encoders`` of the experiment says what keeps the others from being had here, and what to do.
    """
    choices = encoder_list(declarations, value)
    if value["fields"] and not choices:
        raise UserError(f"{where}: `fields` is said of `encoders`, which are missing; name some.")
    missing: dict[str, str] = {}
    for choice in choices:
        find_encoder(declarations, choice.encoder, f"{where}: `encoders`")
        trouble = encoder_trouble(declarations, choice.encoder, pretrained=choice.pretrained)
        if trouble:
            missing[choice.label] = trouble
    had = [choice for choice in choices if choice.label not in missing]
    if choices and not had:
        raise UserError(f"{where}: none of its `encoders` can be had: {next(iter(missing.values()))}.")
    value["missing_encoders"] = missing
    if missing:
        first = next(choice.encoder for choice in choices if choice.label in missing)
        name = where.rpartition(".")[2]
        declarations.left_out.append(
            f"{name} leaves out {len(missing)} of its {len(choices)} encoders, which are not available here: "
            f"{', '.join(missing)}; `histobench check-encoder {first}` says what brings the first, and so on."
        )
    said = {
        arm: dict(change or {})
        for arm, change in value["methods"].items()
        if (change or {}).get("enabled", True)
    }
    return encoder_arms(
        said,
        had,
        value["fields"],
        lambda name: bool(find_method(declarations, name, f"{where}: `methods`")["needs"]["features"]),
        lambda name: str(find_encoder(declarations, name)["title"]),
    )


def _takes_part(declarations: Declarations, experiment: str, other: Mapping[str, Any]) -> bool:
    """Whether an external cohort is there; one that need not be, and lists no slide, is left out."""
    from histobench.cohorts.fetch.gdc import fill_command

    if other.get("required", True):
        return True
    name, others = other["cohort"], set(declarations.cohorts)
    if find_cohort(declarations, name, f"experiments.{experiment}: `external`")["sections"]:
        return True
    path = table_path(declarations, name).resolve()
    if name not in others:  # nothing of it takes part
        del declarations.cohorts[name]
    declarations.left_out.append(
        f"{experiment} leaves out cohort {name}, as its manifest {path} lists no slide; "
        f"{fill_command(path)} makes the list."
    )
    return False


def _external(
    declarations: Declarations, where: str, other: dict[str, Any], experiment: Mapping[str, Any]
) -> None:
    """Complete an external cohort of an experiment."""
    name = other["cohort"]
    cohort = find_cohort(declarations, name, f"{where}: `external`")
    if cohort["origin"] == "photos":
        raise UserError(
            f"{where}: `external` names cohort `{name}`, which holds photos without expression; "
            "name a cohort with counts."
        )
    if other.setdefault("sections", "all") == "all":
        other["sections"] = list(cohort["sections"])
    for section in other["sections"]:
        if section not in cohort["sections"]:
            raise UserError(
                f"{where}: `external` names section `{section}`, which cohort `{name}` does not have; "
                f"{near(section, cohort['sections'])}"
            )
        if name == experiment["cohort"] and section in experiment["sections"]:
            raise UserError(
                f"{where}: `external` names section `{section}`, which takes part in the folds; "
                "leave it out of one of the two."
            )
        seen = experiment["patches"] and cohort["origin"] not in ("simulation", *WITHOUT_SPOTS)
        if seen and "image" not in section_files(declarations, name, section):
            raise UserError(
                f"{where}: `external` names section `{section}` of cohort `{name}`, which has no image; "
                "leave it out."
            )
    if cohort["origin"] == "slides":
        check_manifest(declarations, f"{where}: `external`", name, other["sections"])
    if [o["cohort"] for o in experiment["external"]].count(name) > 1:
        raise UserError(f"{where}: `external` names cohort `{name}` twice; keep one entry with all sections.")


def _check_combination(declarations: Declarations, where: str, value: Mapping[str, Any]) -> None:
    """Refuse settings that are each fine but mean nothing together."""
    paper = value["mode"] == "paper"
    if not value["methods"]:
        raise UserError(f"{where}: every method is switched off; enable at least one.")
    if value["folds"]["scheme"] == "leave_one_section_out" and not paper:
        raise UserError(
            f"{where}: `folds.scheme: leave_one_section_out` trains on other sections of the test "
            "patient; use `leave_one_patient_out`, or set `mode: paper` to repeat a paper with its leak."
        )
    if value["panel"]["scope"] == "all" and not paper:
        raise UserError(
            f"{where}: `panel.scope: all` chooses genes on test sections; use `train`, or set "
            "`mode: paper` to repeat a paper with its leak."
        )
    if value["panel"]["rule"] == "file" and not value["panel"]["file"]:
        raise UserError(f"{where}: `panel.rule: file` needs `panel.file`; name a text file with the genes.")
    if value["panel"]["file"]:
        check_list(declarations.project, where, value["panel"])
    folds = value["folds"]
    if folds["scheme"] == "k_fold_patients" and not (folds["k"] or folds["held_out"]):
        raise UserError(
            f"{where}: `folds.scheme: k_fold_patients` needs `folds.k`; give the number of folds."
        )
    for arm in value.get("scatter", []):
        if arm not in value["methods"]:
            raise UserError(f"{where}: `scatter` names `{arm}`; {near(arm, value['methods'])}")
    for arm in value.get("about", []):
        if arm not in value["methods"]:
            raise UserError(f"{where}: `about` names `{arm}`; {near(arm, value['methods'])}")
    for arm in value["maps"].get("methods", []):
        if arm not in value["methods"]:
            raise UserError(f"{where}: `maps.methods` names `{arm}`; {near(arm, value['methods'])}")
    section = value["maps"].get("section")
    if section is not None and section not in value["sections"]:
        raise UserError(f"{where}: `maps.section` names `{section}`; {near(section, value['sections'])}")
    check_fit(where, value["patches"] or {})
    check_reference(declarations, where, value)
    cohort = declarations.cohorts[value["cohort"]]
    if value["patches"] is not None and cohort["origin"] != "simulation":
        for section in value["sections"]:
            if "image" not in section_files(declarations, value["cohort"], section):
                raise UserError(
                    f"{where}: section `{section}` of cohort `{value['cohort']}` has no image; "
                    "leave it out of `sections` or set `patches: null`."
                )


def _folds(declarations: Declarations, where: str, value: Mapping[str, Any]) -> dict[str, Fold]:
    """Return the folds of an experiment by name."""
    cohort = declarations.cohorts[value["cohort"]]
    patients = {section: cohort["sections"][section]["patient"] for section in value["sections"]}
    scheme = {key: value["folds"][key] for key in ("scheme", "k", "valid_patients", "held_out")}
    try:
        folds = make_folds(patients, seed=min(value["seeds"]), **scheme)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    return {fold.name: fold for fold in folds}


def complete(declarations: Declarations, experiments: Experiments, name: str) -> dict[str, dict[str, Any]]:
    """Add the training on everybody where it is needed; return the branches to other cohorts, by name."""
    value = experiments[name]
    where = f"experiments.{name}"
    value["folds"]["full"] = None
    asked = any(
        s["experiment"] == name and s["fold"] == FULL_FOLD for s in declarations.config["slides"].values()
    )
    asked |= any(other["start_from"] == name for other in experiments.values())
    if value["external"] or asked:
        value["folds"]["full"] = make_full_fold(where, value, declarations.cohorts[value["cohort"]])
    if value["start_from"] is not None:
        _check_start(experiments, where, value)
    if not value["external"] and not value["folds"]["made"]:
        raise UserError(
            f"{where}: `folds.scheme: train_all` tests nobody, and `external` names no cohort to "
            "test on; name one, or choose another scheme."
        )
    cohorts = declarations.cohorts
    return {
        branch_name(name, other["cohort"]): make_branch(name, value, other, cohorts[other["cohort"]])
        for other in value["external"]
    }


def _check_start(experiments: Experiments, where: str, value: Mapping[str, Any]) -> None:
    """Refuse to fine-tune models that the run does not have."""
    start = value["start_from"]
    others = {name: other for name, other in experiments.items() if other is not value}
    if start not in others:
        raise UserError(f"{where}: `start_from` names `{start}`; {near(start, others)}")
    other = others[start]
    passed = [start]
    while (before := experiments.get(passed[-1], {}).get("start_from")) is not None:
        if before in passed or experiments.get(before) is value:
            way = " from ".join(f"`{each}`" for each in [*passed, before])
            raise UserError(f"{where}: `start_from` goes in a circle, {way}; one of them must start afresh.")
        passed.append(before)
    for arm, method in value["methods"].items():
        if method["family"] == "deep" and arm not in other["methods"]:
            raise UserError(
                f"{where}: `start_from` is `{start}`, which does not train `{arm}`; add it there or "
                "leave it out here."
            )
    if any(other[key] != value[key] for key in ("seeds", "further_seeds")):
        raise UserError(f"{where}: `start_from` is `{start}`, with other seeds; give both the same.")


def check_slide(
    declarations: Declarations, experiments: Experiments, name: str, slide: Mapping[str, Any]
) -> None:
    """Refuse the prediction of a slide by a model that the run does not have."""
    where = f"{declarations.origin}: `slides.{name}`"
    check_path(slide["image"], "image", where)
    experiment = slide["experiment"]
    if experiment not in experiments:
        raise UserError(f"{where} names experiment `{experiment}`; {near(experiment, experiments)}")
    folds = [*experiments[experiment]["folds"]["made"], FULL_FOLD]
    for key, known in (("method", list(arm_folders(experiments[experiment]))), ("fold", folds)):
        if slide[key] not in known:
            raise UserError(f"{where} names {key} `{slide[key]}`; {near(slide[key], known)}")


def arm_folders(experiment: Mapping[str, Any]) -> dict[str, tuple[str, int]]:
    """Return the method folders of an experiment: name -> (arm, seed).

    The first seed's folder bears the arm's own name, further ones add ``.seedN``.
    """
    first = experiment["seeds"][0]
    further = [seed for seed in experiment["further_seeds"] if seed not in experiment["seeds"]]
    return {
        arm if seed == first else f"{arm}.seed{seed}": (arm, seed)
        for arm, method in experiment["methods"].items()
        for seed in [*experiment["seeds"], *([] if method["deterministic"] else further)]
    }

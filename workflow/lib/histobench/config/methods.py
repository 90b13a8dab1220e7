"""Methods: complete, alone and as an experiment compares them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from histobench.config.cohorts import find_cohort
from histobench.config.declarations import Declarations
from histobench.config.definitions import arms_of, definition, split, transform
from histobench.config.encoders import check_encoder, features_pretrained, find_encoder
from histobench.config.files import check_parameters, holds, merge, with_arm
from histobench.config.panels import check_window
from histobench.config.places import method_source
from histobench.config.schemas import check, schema
from histobench.errors import UserError, near
from histobench.networks.architectures import TORCHVISION
from histobench.plan.weights import start_network
from histobench.yamlfiles import duplicate, read_yaml


def check_oracle(method: Mapping[str, Any], where: str) -> None:
    """Refuse a competitor that is given the truth, and an oracle that is not."""
    given, oracle = bool(method["needs"]["oracle"]), method["family"] == "oracle"
    if given and not oracle:
        raise UserError(
            f"{where}: `needs.oracle` gives it the truth of the section that it predicts, but its family is "
            f"{method['family']}; set `family: oracle`, which does not compete, or take `needs.oracle` out."
        )
    if oracle and not given:
        raise UserError(
            f"{where}: its family is oracle but it is not given the truth; set `needs: {{oracle: true}}`, or "
            "the family under which it competes: control, classical or deep."
        )


def find_method(declarations: Declarations, name: str, asked_by: str) -> dict[str, Any]:
    """Return a method's complete settings; a name METHOD_ARM is one of the ``arms`` of its file."""
    known = declarations.defined
    if ("complete", name) not in known:
        known["complete", name] = _complete(declarations, name, asked_by)
    return dict(duplicate(known["complete", name]))


def _complete(declarations: Declarations, name: str, asked_by: str) -> dict[str, Any]:
    """Find, check and complete the settings of a method or an arm."""
    found = split(declarations, name)
    if found:
        stem, arm = found
        value = definition(declarations, "method", stem, asked_by)
        if arm:
            value = merge(with_arm(value, arm), declarations.config["methods"].get(name) or {})
        value.pop("arms", None)
        if arm:
            check(value, schema(declarations.project, "method"), f"{declarations.origin}: methods.{name}")
            check_parameters(
                value, lambda key: f"{declarations.origin}: `methods.{name}.{key}`", declarations.encoders
            )
        check_oracle(value, f"methods.{name}")
        return value
    known = {*declarations.method_names}
    for each in declarations.method_names:
        known |= {f"{each}_{arm}" for arm in arms_of(declarations, each)}
    raise UserError(f"{asked_by} names the method `{name}`, which does not exist; {near(name, known)}")


def arm_source(declarations: Declarations, experiment: str, arm: str, method: str, key: str) -> str:
    """Say which file gives a key of a compared method."""
    parts = [["experiments", experiment, "methods", arm], ["methods", method]]
    file = declarations.project / "config/experiments" / f"{experiment}.yaml"
    for path, inside in (
        *((path, parts[0]) for path in reversed(declarations.files)),
        (file, ["methods", arm]),
        *((path, parts[1]) for path in reversed(declarations.files)),
    ):
        if path.exists() and holds(read_yaml(path), [*inside, *key.split(".")[:2]]):
            return f"{path}: `{'.'.join([*inside, key])}`"
    return method_source(declarations, *(split(declarations, method) or (method, "")), key)


def compared_method(
    declarations: Declarations, where: str, arm: str, change: Mapping[str, Any], experiment: Mapping[str, Any]
) -> dict[str, Any]:
    """Return one compared method with the experiment's changes merged in."""
    name = change.get("method", arm)
    method = find_method(declarations, name, f"{where}: `methods`")
    changed = ("title", "description", "params", "resources")
    laid_over = {key: change[key] for key in changed if key in change}
    method = merge(method, laid_over)
    method["short"] = change.get("short", change.get("title", method.get("short", method["title"])))
    head_title = method["short"]
    if "described_by" in change:
        for key in ("title", "short"):
            method[key] = f"{method[key]}, {change['described_by']}"
    if "window" in change:
        method["window"] = change["window"]
    check(method, schema(declarations.project, "method"), f"{where}: methods.{arm}")
    experiment_name = where.removeprefix("experiments.")
    check_parameters(
        method, functools.partial(arm_source, declarations, experiment_name, arm, name), declarations.encoders
    )
    method["method"] = name
    method["place"] = method.get("place") if arm == name else None  # else two arms would look alike
    needs = method["needs"]
    start = start_network(method, experiment["weights"])
    if start and start not in TORCHVISION:
        raise UserError(
            f"{where}: `methods.{arm}` starts from ImageNet weights, but `{start}` has none; set "
            "`weights: none` for a seeded random start, or name another network."
        )
    if needs["features"]:
        # what a configuration says of one method has the last word
        said = ((declarations.config["methods"].get(name) or {}).get("needs") or {}).get("features")
        needs["features"] = change.get("encoder") or said or experiment["encoder"] or needs["features"]
        start = change.get("encoder_weights")
        pretrained = start == "pretrained" if start else features_pretrained(experiment)
        check_encoder(declarations, f"{where}: `methods.{arm}`", needs["features"], pretrained=pretrained)
        if (
            find_encoder(declarations, needs["features"])["pooling"] == "tokens"
            and not method["takes_tokens"]
        ):
            raise UserError(
                f"{where}: `methods.{arm}` takes one vector per spot, but the encoder "
                f"`{needs['features']}` gives one per token; choose `pooling: mean` or `cls_mean`, or a "
                "method with `takes_tokens`."
            )
        method["pretrained"] = pretrained
    elif {"encoder", "encoder_weights"} & change.keys():
        raise UserError(
            f"{where}: `methods.{arm}` uses no frozen features, so that an encoder has no effect; take "
            "`encoder` and `encoder_weights` out."
        )
    if needs["invertible"] and not transform(declarations, experiment["transform"])["invertible"]:
        raise UserError(
            f"{where}: `methods.{arm}` takes targets back to counts, which `transform: "
            f"{experiment['transform']}` does not allow; choose one that can be undone or set `enabled: "
            "false` for the method."
        )
    patches = experiment["patches"]
    method["head"], method["head_title"] = change.get("head"), head_title
    method["field_um"] = change.get("field_um")
    if method["field_um"]:
        if patches is None or patches["um_per_px"] == "native":
            raise UserError(
                f"{where}: `methods.{arm}` has a field of {method['field_um']:g} µm, which needs patches "
                "of one scale; set `patches.um_per_px` to a number."
            )
        method["window"] = None  # all of that field
    if patches is None and (needs["patches"] or needs["features"]):
        raise UserError(
            f"{where}: `methods.{arm}` looks at images but `patches` is null; "
            "describe the patches or set `enabled: false` for the method."
        )
    if needs["photos"]:
        _check_photos(declarations, f"{where}: `methods.{arm}`", needs["photos"], patches)
    check_window(where, arm, method["window"], patches)
    return method


def _check_photos(
    declarations: Declarations, where: str, name: str, patches: Mapping[str, Any] | None
) -> None:
    """Refuse a cohort that holds no photographs, or photographs without patches to cut them like."""
    if find_cohort(declarations, name, f"{where}: `needs.photos`")["origin"] != "photos":
        raise UserError(
            f"{where}: `needs.photos` names the cohort `{name}`, which is none of photographs; name one "
            "with `origin: photos`."
        )
    if patches is None:
        raise UserError(
            f"{where} learns from photographs cut like patches but `patches` is null; describe the "
            "patches or set `enabled: false` for the method."
        )

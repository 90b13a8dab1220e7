"""What ``histobench check-encoder`` does: an encoder's declaration against the network that it builds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from histobench.config.benchmark import Benchmark
from histobench.config.schemas import file_rules
from histobench.encoders.registry import builder_trouble, recipe, weights_trouble
from histobench.errors import UserError
from histobench.yamlfiles import read_yaml

_PX = 224


@dataclass
class EncoderReport:
    """What is wrong, one sentence each, and what is worth knowing."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_encoder(
    name: str,
    project: Path,
    configfile: Path | None = None,
    *,
    weights: Path | None = None,
    offline: bool = False,
) -> EncoderReport:
    """Check an encoder.

    Parameters
    ----------
    name
        As `needs.features` or `encoder` names it.
    project
        Root of the checkout.
    configfile
        Configuration file that changes or defines the encoder, or names the file of its weights.
    weights
        File of its weights.
    offline
        Leave weights out. The network is then built without memory: its number of parameters, its output and
        its tokens are compared with the declaration; what the weights would show is not.

    Raises
    ------
    UserError
        There is no such encoder, or its file breaks the schema.
    """
    changes = read_yaml(configfile, file_rules(project)) if configfile else {}
    kept: dict[str, Any] = {key: changes[key] for key in ("encoders", "encoder_files") if key in changes}
    bench = Benchmark({"run": ["demo"], **kept}, project, [configfile] if configfile else [])
    declared = bench.encoder(name, "check-encoder")
    file = str(weights) if weights else bench.config["encoder_files"].get(name)
    found = EncoderReport(notes=_terms(declared))
    trouble = builder_trouble(name, declared)
    if trouble:
        found.problems.append(f"{trouble}; what the network is cannot be checked.")
        return found
    missing = None if offline else weights_trouble(name, declared, file)
    if missing:
        found.problems.append(f"{missing}.")
    pretrained = not offline and not missing
    try:
        if pretrained:
            _check_network(
                found, name, declared, recipe(name, declared, True, file), Path(file) if file else None
            )
        else:
            _check_shape(found, name, declared, recipe(name, declared, False, None))
    except UserError as error:
        found.problems.append(str(error))
    return found


def _terms(declared: Mapping[str, Any]) -> list[str]:
    """Say on which terms the weights may be used."""
    terms = declared["terms"]
    words = [f"licence of the weights: {terms['licence']}"]
    words += ["behind a form"] if terms["gated"] else []
    words += [] if terms["commercial"] else ["no commercial use"]
    words += (
        ["the terms also hold for models trained on its vectors"] if terms.get("taints_derivatives") else []
    )
    return ["; ".join(words) + "."]


def _check_shape(
    found: EncoderReport, name: str, declared: Mapping[str, Any], plain: Mapping[str, Any]
) -> None:
    """Compare the declaration with the network, which is built without memory."""
    import torch

    from histobench.encoders.build import build_encoder, channel_statistics

    if declared["load"]["kind"] == "file":
        found.notes.append("a stored program has no network without its file; nothing else was checked.")
        return
    with torch.device("meta"):
        network = build_encoder(plain, width=_PX)
        px = plain["input"].get("px") or _PX
        out = _applied(name, network, torch.empty(2, 3, px, px))
    _compare(found, name, declared, network, tuple(out.shape))
    _compare_published(found, name, declared, network, channel_statistics(plain["input"]))
    found.notes.append("checked without weights: size, output, tokens and the package's own statement alone.")


def _applied(name: str, network: Any, pixels: Any) -> Any:
    try:
        return network(pixels)
    except UserError as error:
        raise UserError(f"encoder `{name}`: {error}") from error
    except Exception as error:  # whatever a network raises at images it cannot take
        said = str(error).strip().splitlines()
        raise UserError(
            f"encoder `{name}` does not take images of {pixels.shape[-1]} px "
            f"({said[0] if said else type(error).__name__}); correct `input.px` or `kwargs`."
        ) from error


def _compare(
    found: EncoderReport, name: str, declared: Mapping[str, Any], network: Any, shape: tuple[int, ...]
) -> None:
    """Compare parameters and dimension with the declared ones."""
    from histobench.networks.backbones import count_parameters

    count = count_parameters(network, frozen=True)
    wanted = declared.get("parameters")
    if wanted is not None and count != wanted:
        found.problems.append(
            f"encoder `{name}`: `parameters` is {wanted:,}, but the network has {count:,}; correct "
            "`kwargs`, or the number if another network is meant."
        )
    dimension = declared.get("dimension")
    if dimension is not None and shape[-1] != dimension:
        found.problems.append(
            f"encoder `{name}`: `dimension` is {dimension}, but its vectors have {shape[-1]} numbers; "
            "correct `pooling` or `dimension`."
        )
    tokens = declared.get("prefix_tokens")
    own = _own_prefix(network)
    if tokens is not None and own is not None and own != tokens:
        found.problems.append(
            f"encoder `{name}`: `prefix_tokens` is {tokens}, but the network has {own} tokens before those "
            "of patches; correct it."
        )
    if own is not None and tokens is None and declared["load"]["kind"] == "transformers":
        found.problems.append(f"encoder `{name}`: `prefix_tokens` is missing; set it to {own}.")


def _own_prefix(network: Any) -> int | None:
    """Return how many tokens a network of transformers puts before those of patches, or None."""
    configuration = getattr(getattr(network, "network", None), "config", None)
    if configuration is None or not hasattr(configuration, "patch_size"):
        return None
    return 1 + int(getattr(configuration, "num_register_tokens", 0))


def _compare_published(
    found: EncoderReport, name: str, declared: Mapping[str, Any], network: Any, channels: Any
) -> None:
    """Compare mean and sd with those that timm states of the same weights."""
    load = declared["load"]
    stated = getattr(getattr(network, "network", None), "pretrained_cfg", None) or {}
    if load["kind"] != "timm" or load["name"].startswith("hf-hub:"):
        return
    for key, own, theirs in zip(
        ("mean", "sd"), channels, (stated.get("mean"), stated.get("std")), strict=True
    ):
        if theirs and max(abs(a - b) for a, b in zip(own, theirs, strict=True)) > 1e-3:
            found.problems.append(
                f"encoder `{name}`: `input.{key}` is {list(own)}, but timm states {list(theirs)} of "
                f"{load['name']}; correct it."
            )


def _check_network(
    found: EncoderReport,
    name: str,
    declared: Mapping[str, Any],
    whole: Mapping[str, Any],
    file: Path | None,
) -> None:
    """Load the weights and describe three fixed images: twice, one by one, and in the declared precision."""
    import numpy as np
    import torch

    from histobench.encoders.build import build_encoder, channel_statistics
    from histobench.encoders.features import extract_features

    network = build_encoder(whole, weights=file, width=_PX)
    px = whole["input"].get("px") or _PX
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 250, (3, 8, 8, 3), dtype=np.uint8)
    tiles = np.repeat(np.repeat(coarse, -(-px // 8), axis=1), -(-px // 8), axis=2)[:, :px, :px]
    with torch.inference_mode():
        out = _applied(name, network, torch.zeros(1, 3, px, px))
    _compare(found, name, declared, network, tuple(out.shape))
    _compare_published(found, name, declared, network, channel_statistics(whole["input"]))
    exact = extract_features(tiles, encoder=whole, weights=file, precision="float32")
    single = extract_features(tiles[:1], encoder=whole, weights=file, precision="float32")
    if not np.isfinite(exact).all():
        found.problems.append(f"encoder `{name}` gives vectors that are not finite; its weights are damaged.")
        return
    scale = float(np.abs(exact).max())
    if np.abs(exact[:1] - single).max() > 1e-4 * max(scale, 1.0):
        found.problems.append(
            f"encoder `{name}` describes an image otherwise in a batch than alone; correct `load`."
        )
    if np.abs(exact[0] - exact[1]).max() <= 1e-6 * scale:
        found.problems.append(
            f"encoder `{name}` describes different images alike; correct its weights or `pooling`."
        )

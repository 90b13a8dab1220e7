"""Build an encoder from its recipe: the network, its weights, its normalisation and its pooling."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from histobench.encoders.registry import package_file
from histobench.errors import UserError
from histobench.networks.architectures import TORCHVISION
from histobench.networks.backbones import (
    IMAGENET_MEAN,
    IMAGENET_SD,
    PixelNorm,
    check_weights,
    count_parameters,
    current_name,
    make_backbone,
    seeded,
)
from histobench.networks.folding import fold_batch_norms

#: Statistics of channels by name.
CHANNELS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": (IMAGENET_MEAN, IMAGENET_SD),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


class Pooled(nn.Module):
    """A network whose output is made one vector per image.

    Attributes
    ----------
    network
        The network as its package builds it.
    prefix
        Tokens before those of patches.
    """

    def __init__(
        self,
        network: nn.Module,
        pooling: str,
        *,
        prefix: int = 0,
        call: str | None = None,
        call_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.pooling, self.prefix = network, pooling, prefix
        self.call, self.call_kwargs = call, dict(call_kwargs or {})

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (batch, dimension), or (batch, tokens, dimension) for ``tokens``, of normalised pixels."""
        called = getattr(self.network, self.call) if self.call else self.network
        out = called(pixels, **self.call_kwargs)
        if hasattr(out, "last_hidden_state"):
            out = out.last_hidden_state
        if isinstance(out, list | tuple):
            out = out[-1]
        return pool(out, self.pooling, self.prefix)


def pool(out: torch.Tensor, pooling: str, prefix: int) -> torch.Tensor:
    """Make vectors of a network's output.

    Parameters
    ----------
    out
        Vectors (batch, dimension), tokens (batch, tokens, width) or maps (batch, channels, height, width).
    pooling
        "cls", "mean", "cls_mean", "tokens" or "model".
    prefix
        Tokens before those of patches; registers among them enter no mean.

    Raises
    ------
    UserError
        The output has no such thing as the pooling asks for.
    """
    if pooling == "model":
        if out.ndim != 2:
            raise UserError(
                f"`pooling` is model, but the network gives {out.ndim - 1}-dimensional output for an image; "
                "choose cls, mean or cls_mean."
            )
        return out
    if out.ndim == 4 and pooling in ("mean", "tokens"):
        return out.mean(dim=(2, 3)) if pooling == "mean" else out.flatten(2).transpose(1, 2)
    if out.ndim != 3 or (pooling.startswith("cls") and prefix < 1):
        raise UserError(
            f"`pooling` is {pooling}, but the network gives "
            f"{'no first token' if out.ndim == 3 else 'no tokens'}; choose model or mean."
        )
    patches = out[:, prefix:]
    if pooling == "cls":
        return out[:, 0]
    if pooling == "mean":
        return patches.mean(dim=1)
    return patches if pooling == "tokens" else torch.cat([out[:, 0], patches.mean(dim=1)], dim=1)


def build_encoder(
    recipe: Mapping[str, Any], *, weights: Path | None = None, seed: int = 0, width: int | None = None
) -> nn.Module:
    """Build the network from normalised pixels to vectors, in evaluation mode.

    Parameters
    ----------
    recipe
        See :func:`histobench.encoders.registry.recipe`.
    weights
        File of the pretrained weights; None takes that of the recipe, of the package that brings it, or of
        torchvision's cache. Without ``pretrained`` in the recipe no file is read.
    seed
        Of the random start.
    width
        Width of the images, where the recipe takes them as they are.

    Raises
    ------
    UserError
        A package, a file or an argument is missing or wrong; one sentence that names the encoder.
    """
    name, load, pretrained = recipe["name"], recipe["load"], recipe["pretrained"]
    if pretrained and weights is None and (load["kind"] != "torchvision" or recipe.get("file")):
        weights = weights_file(recipe)
    if load["kind"] == "torchvision":
        return _torchvision(recipe, weights, seed, width)
    with seeded(seed):
        network, called = _network(recipe, weights)
    if (
        pretrained
        and weights
        and load["kind"] != "file"
        and not (recipe.get("weights") or {}).get("argument")
    ):
        load_weights(network, weights, recipe)
    prefix = recipe.get("prefix_tokens")
    if prefix is None:
        prefix = getattr(network, "num_prefix_tokens", 0)
    elif load["kind"] == "timm" and prefix != getattr(network, "num_prefix_tokens", prefix):
        raise UserError(
            f"encoder `{name}`: `prefix_tokens` is {prefix}, but the network has "
            f"{network.num_prefix_tokens}; correct it."
        )
    pooled = Pooled(
        network,
        recipe["pooling"],
        prefix=int(prefix or 0),
        call=called,
        call_kwargs=recipe.get("call_kwargs"),
    )
    return pooled.eval()


def _torchvision(recipe: Mapping[str, Any], weights: Path | None, seed: int, width: int | None) -> nn.Module:
    name, pretrained = recipe["load"]["name"], recipe["pretrained"]
    published = weights is None or weights.name == TORCHVISION.get(name)  # with a classifier, as it comes
    backbone = make_backbone(
        name,
        weights="imagenet" if pretrained and published else "none",
        file=weights,
        seed=seed,
        input_px=recipe["input"].get("px") or width,
    )
    if pretrained and not published:
        assert weights is not None
        load_weights(backbone.module, weights, recipe)
    module = backbone.module.eval()
    # tracing needs no tensors, but folding does
    return module if next(module.parameters()).is_meta else fold_batch_norms(module)


def _plain_arguments(name: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments with layers by name, which YAML cannot hold, as what timm takes."""
    from timm import layers

    known: dict[str, Any] = {
        "mlp_layer": {key: getattr(layers, key) for key in ("SwiGLUPacked", "SwiGLU", "GluMlp", "Mlp")},
        "act_layer": {"SiLU": nn.SiLU, "GELU": nn.GELU},
    }
    found = dict(kwargs)
    for key, table in known.items():
        if key in found:
            if found[key] not in table:
                raise UserError(
                    f"encoder `{name}`: `kwargs.{key}` is {found[key]}; choose one of {', '.join(table)}."
                )
            found[key] = table[found[key]]
    return found


def _network(recipe: Mapping[str, Any], weights: Path | None) -> tuple[nn.Module, str | None]:
    """Build the network of every kind but torchvision; also which of its methods gives tokens or vectors."""
    name, load, kwargs = recipe["name"], recipe["load"], recipe.get("kwargs") or {}
    kind, called = load["kind"], load.get("call")
    if kind == "file":
        if weights is None:
            raise UserError(
                f"encoder `{name}` is a stored program, which has no random start; give its file."
            )
        try:
            return torch.export.load(weights).module(), called
        except Exception as error:  # zip, pickle and schema each have their own
            raise UserError(
                f"{weights}: is no program stored by torch.export; give the .pt2 file."
            ) from error
    try:
        if kind == "timm":
            import timm

            network: Any = timm.create_model(
                load.get("architecture") or load["name"], pretrained=False, **_plain_arguments(name, kwargs)
            )
            return network, called or (
                "forward_features"
                if recipe["pooling"] != "model" and not kwargs.get("features_only")
                else None
            )
        if kind == "transformers":
            import transformers

            cls: Any = getattr(transformers, load.get("architecture") or load["name"])
            options = {"add_pooling_layer": False} if cls.__name__ == "ViTModel" else {}
            return cls(cls.config_class(**kwargs), **options), called
        module, _, function = load["name"].partition(":")
        arguments = dict(kwargs)
        argument = (recipe.get("weights") or {}).get("argument")
        if argument:
            arguments[argument] = str(weights) if weights else None
        made = getattr(importlib.import_module(module), function)(**arguments)
        return (made[0] if isinstance(made, tuple) else made), called
    except UserError:
        raise
    except Exception as error:  # whatever the package raises at a wrong name or argument
        said = str(error).strip().splitlines()
        raise UserError(
            f"encoder `{name}` could not be built by {load['name']} "
            f"({said[0] if said else type(error).__name__}); correct `load` and `kwargs` of its file, or "
            "install the package."
        ) from error


def weights_file(recipe: Mapping[str, Any]) -> Path:
    """Return the file of a recipe's pretrained weights, its checksum compared where it is declared.

    Raises
    ------
    UserError
        There is none here, or it is another file.
    """
    name, declared = recipe["name"], recipe.get("weights") or {}
    path = Path(recipe["file"]) if recipe.get("file") else None
    if path is None and declared.get("package"):
        path = package_file(declared)
    if path is None or not path.is_file():
        missing = (
            f"the package {declared['package']}"
            if declared.get("package")
            else f"{path or declared.get('file')}"
        )
        raise UserError(
            f"encoder `{name}`: its weights are not here ({missing}); fetch them with `snakemake --cores 1 "
            "data`, name your own file under `encoder_files`, or set `encoder_weights: none`."
        )
    check_weights(path, declared.get("sha256"))
    return path


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Read tensors by name from a file of safetensors or of torch (tensors only, nothing is executed).

    Raises
    ------
    UserError
        It is no such file.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and safetensors each have their own
        raise UserError(f"{path}: holds no readable tensors; fetch the file anew.") from error
    while isinstance(state, dict) and not any(isinstance(value, torch.Tensor) for value in state.values()):
        inner = [state[key] for key in ("state_dict", "model", "teacher") if key in state]
        if not inner:
            break
        state = inner[0]
    if not isinstance(state, dict) or not state:
        raise UserError(f"{path}: holds no tensors by name; give a file of weights.")
    return {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}


def load_weights(network: nn.Module, path: Path, recipe: Mapping[str, Any]) -> None:
    """Put a file's tensors into a network; each must have a place, and each place a tensor of its shape.

    Raises
    ------
    UserError
        Tensors are missing, left over, or of another shape; names the first.
    """
    name, state = recipe["name"], read_state(path)
    if recipe["load"].get("key_map") == "efficientnet_pytorch":
        state = {efficientnet_name(key): value for key, value in state.items()}
    if recipe["load"]["kind"] == "torchvision":
        state = {current_name(key): value for key, value in state.items()}
    unused = tuple((recipe.get("weights") or {}).get("unused") or ())
    state = {key: value for key, value in state.items() if not (unused and key.startswith(unused))}
    wanted = network.state_dict()
    missing, left = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    wrong = [key for key in wanted.keys() & state.keys() if wanted[key].shape != state[key].shape]
    if missing or left or wrong:
        key = (missing or left or sorted(wrong))[0]
        what = "lacks" if missing else "has a tensor without a place," if left else "has another shape of"
        raise UserError(
            f"{path}: does not fit encoder `{name}`: it {what} {key} ({len(missing)} tensors missing, "
            f"{len(left)} left over, {len(wrong)} of another shape); give the file of this network, or "
            "correct its `kwargs`."
        )
    network.load_state_dict(state)


def efficientnet_name(key: str) -> str:
    """Translate the name of a tensor of the package efficientnet_pytorch to timm's."""
    parts = key.split(".")
    stem = {
        "_conv_stem": "conv_stem",
        "_bn0": "bn1",
        "_conv_head": "conv_head",
        "_bn1": "bn2",
        "_fc": "classifier",
    }
    if parts[0] != "_blocks":
        return ".".join([stem.get(parts[0], parts[0]), *parts[1:]])
    number = int(parts[1])
    # The first stage has one block, and it does not expand; each stage numbers its blocks anew.
    starts = [0, 1, 3, 5, 8, 11, 15]
    stage = max(i for i, start in enumerate(starts) if start <= number)
    first = stage == 0
    layers = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn1" if first else "bn2",
    }
    layers |= {"_project_conv": "conv_pw" if first else "conv_pwl", "_bn2": "bn2" if first else "bn3"}
    return ".".join(["blocks", str(stage), str(number - starts[stage]), layers[parts[2]], *parts[3:]])


def channel_statistics(settings: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of the channels, on the scale 0 to 1."""
    mean, sd = settings.get("mean", "imagenet"), settings.get("sd", "imagenet")
    return (
        CHANNELS[mean][0] if isinstance(mean, str) else tuple(mean),
        CHANNELS[sd][1] if isinstance(sd, str) else tuple(sd),
    )


def count_declared(recipe: Mapping[str, Any], network: nn.Module, width: int) -> int:
    """Return how many parameters an encoder has as declared; :func:`build_encoder` folds some away."""
    if recipe["load"]["kind"] == "torchvision":
        with torch.device("meta"):
            network = build_encoder({**recipe, "pretrained": False}, width=width)
    return count_parameters(network, frozen=True)


def frozen_encoder(
    recipe: Mapping[str, Any],
    *,
    device: torch.device,
    width: int,
    weights: Path | None = None,
    seed: int = 0,
) -> nn.Sequential:
    """Return the network from uint8 pixels to vectors, on its device and ready to be applied, not trained."""
    network = build_encoder(recipe, weights=weights, seed=seed, width=width)
    whole = nn.Sequential(PixelNorm(*channel_statistics(recipe["input"])), network)
    return whole.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

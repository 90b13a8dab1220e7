"""Which published weights a run needs, and which of its jobs read which file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from histobench.cohorts.fetch.lock import WEIGHTS, LockedFile, weights_path
from histobench.encoders.registry import published_weights
from histobench.networks.architectures import TORCHVISION
from histobench.training.card import terms_in_words

if TYPE_CHECKING:
    from histobench.config.benchmark import Benchmark


def start_network(method: Mapping[str, Any], weights: str) -> str | None:
    """Return the network that a method starts from ImageNet weights; None where it does not.

    Parameters
    ----------
    method
        Complete settings of a method or arm; ``needs.pretrained`` says which parameter names the network, and
        which others must have which value.
    weights
        What the experiment says, "imagenet" or "none".
    """
    told = method["needs"].get("pretrained")
    if not told or weights != "imagenet":
        return None
    params = method["params"]
    if any(_at(params, key) != value for key, value in (told.get("where") or {}).items()):
        return None
    name = _at(params, told["network"])
    return str(name) if name else None


def _at(params: Mapping[str, Any], key: str) -> Any:
    """Return a parameter, or one within another, ``network.architecture``."""
    value: Any = params
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def start_file(method: Mapping[str, Any], weights: str) -> str | None:
    """Return the file of weights that a training starts from, as a run keeps it."""
    network = start_network(method, weights)
    return weights_path(TORCHVISION[network]) if network in TORCHVISION else None


def feature_file(bench: Benchmark, experiment: Mapping[str, Any], method: Mapping[str, Any]) -> str | None:
    """Return the file of weights behind the frozen features that a method is given."""
    name = method["needs"]["features"]
    return bench.encoder_file(name) if name and _pretrained(bench, experiment, method) else None


def _pretrained(bench: Benchmark, experiment: Mapping[str, Any], method: Mapping[str, Any]) -> bool:
    """Whether the features of an arm are those of pretrained weights; an arm may say so itself."""
    return bool(method.get("pretrained", bench.features_pretrained(experiment)))


def used_files(bench: Benchmark) -> list[str]:
    """Return every file of weights that the jobs of a run read, each once, in the order of their names."""
    found = {
        file
        for experiment in bench.experiments.values()
        for method in experiment["methods"].values()
        for file in (start_file(method, experiment["weights"]), feature_file(bench, experiment, method))
    }
    return sorted(file for file in found if file)


def published_rows(bench: Benchmark) -> dict[tuple[str, str], LockedFile]:
    """Return where weights are published that no row of the data lock names: encoders say so themselves."""
    rows = {}
    for name in bench.config["encoders"]:
        row = published_weights(bench.encoder(name), bench.lock)
        if row and (WEIGHTS, row.file) not in bench.lock:
            rows[WEIGHTS, row.file] = row
    return rows


def used_weights(bench: Benchmark) -> dict[str, dict[str, Any]]:
    """Return what provenance says of the weights of a run before they are read: by file or package.

    Their terms (``licence``, ``commercial``, ``taints_derivatives``); ``encoders`` and starts that use them;
    of a package its declared ``sha256``.
    """
    found: dict[str, dict[str, Any]] = {}
    for experiment in bench.experiments.values():
        for method in experiment["methods"].values():
            name = method["needs"]["features"]
            if name and _pretrained(bench, experiment, method):
                declared = bench.encoder(name)
                packaged = (declared.get("weights") or {}).get("package")
                place = bench.encoder_file(name) or f"{packaged}:{declared['weights']['file']}"
                entry = found.setdefault(place, _entry(declared["terms"]))
                entry["encoders"] = sorted({*entry["encoders"], name})
                if packaged:
                    entry["sha256"] = declared["weights"].get("sha256")
            network = start_network(method, experiment["weights"])
            if network in TORCHVISION:
                place = weights_path(TORCHVISION[network])
                entry = found.setdefault(place, _entry(bench.encoder(network)["terms"]))
                entry["encoders"] = sorted({*entry["encoders"], network})
    return dict(sorted(found.items()))


def _entry(terms: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("licence", "commercial", "taints_derivatives")
    return {**{key: terms[key] for key in kept if key in terms}, "encoders": []}


def weights_licences(bench: Benchmark, name: str) -> dict[str, str]:
    """Return the licences of the weights that each arm starts from or sees images through."""
    experiment = bench.described(name)
    found = {}
    for arm, method in experiment["methods"].items():
        start, features = start_network(method, experiment["weights"]), method["needs"]["features"]
        names = [start] if start else []
        names += [features] if features and _pretrained(bench, experiment, method) else []
        said = {
            f"{declared['title']}: {terms_in_words(declared['terms'])}"
            for declared in map(bench.encoder, names)
        }
        found[arm] = ". ".join(sorted(said))
    return found

"""What a run takes on disk, part by part, before it runs: from shapes of arrays and numbers of parameters."""

from __future__ import annotations

import functools
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from histobench.plan import data, keep, training
from histobench.plan.batches import FEATURES, PATCHES
from histobench.plan.model import Experiment, Plan, Run, Variant
from histobench.splits.folds import Fold
from histobench.training.contract import Extent
from histobench.training.entry import stored_bytes

#: Bytes of a file of predictions beside its values: the small picture of the section, identifiers, columns.
PICTURE, COLUMNS = 180_000, 125_000
#: Bytes of a gene of a spot in it, compressed: predicted, measured, counted; of a dimension of an embedding.
PREDICTED, EMBEDDED = 5.2, 3.4
#: Dimensions of an embedding, as most networks have them, and of features where an encoder does not say.
LATENT = 1024
#: Root of the parameters of DenseNet-121, ResNet-50 and the small network over the width of their embedding.
SQUARE = 2.6
#: Genes beside the panel that a network predicts, where its method does not say how many.
FURTHER = 10_000


@dataclass(frozen=True)
class Disk:
    """Bytes on disk, by what they are.

    Attributes
    ----------
    downloads, patches, features, predictions
        What their names say.
    weights
        Weights that stay.
    temporary
        Weights that go, at the worst moment: those of the two methods with most, as the folds of one are
        trained while another waits to be predicted. More where more methods are trained at a time.
    """

    downloads: float
    patches: float
    features: float
    weights: float
    temporary: float
    predictions: float

    @property
    def total(self) -> float:
        """All parts together."""
        return self.left + self.temporary

    @property
    def left(self) -> float:
        """What is left after the run."""
        return self.downloads + self.patches + self.features + self.weights + self.predictions


def disk(plan: Plan, jobs: Iterable[tuple[str, str, Mapping[str, str]]]) -> Disk:
    """Return what a run takes on disk.

    Parameters
    ----------
    plan
        The run.
    jobs
        Its jobs: rule, label of its batch, wildcards.
    """
    made: Counter[str] = Counter()
    for rule, label, asked in jobs:
        if rule == "cut_patches":
            batch = next(each for each in data.batches_of(plan, PATCHES) if each.label == label)
            width = Variant.named(asked["variant"]).width_px
            made["patches"] += round(len(batch.sections) * spots(plan, batch.cohort)) * 3 * width**2
        if rule == "extract_features":
            batch = next(each for each in data.batches_of(plan, FEATURES) if each.label == label)
            width = dimension(plan, asked["backbone"].partition(".")[0])
            made["features"] += round(len(batch.sections) * spots(plan, batch.cohort)) * width * 4
    stay, going = weights(plan)
    return Disk(
        downloads=sum(row.size or 0 for row in data.downloads(plan)),
        patches=made["patches"],
        features=made["features"],
        weights=sum(stay.values()),
        temporary=sum(size for _, size in going.most_common(2)),
        predictions=sum(predictions(plan, described) for described in plan.tested.values()),
    )


@functools.cache
def spots(plan: Plan, cohort: str) -> float:
    """Return the spots of an average section: those that were read, or about as many as its array has.

    Tissue covers an array in part.
    """
    table = Path(plan.cohorts[cohort].table)
    if table.is_file():
        header, *rows = (line.split("\t") for line in table.read_text(encoding="utf-8").splitlines())
        kept = [float(row[header.index("n_spots_kept")]) for row in rows]
        if kept:
            return sum(kept) / len(kept)
    settings = plan.cohorts[cohort].settings
    options = settings["options"]
    if "grid_columns" in options and "grid_rows" in options:
        return int(options["grid_columns"]) * int(options["grid_rows"])
    # else of 4,992 places of Visium, and of 1,007 of the first arrays
    usual = 4000 if settings.get("pitch_um") == 100 else 500
    return int(settings.get("spots_per_section") or usual)


def dimension(plan: Plan, encoder: str) -> int:
    """Return the numbers that an encoder gives of a spot."""
    return int(plan.bench.encoder(encoder).get("dimension", LATENT))


@functools.cache
def genes(plan: Plan, experiment: str) -> int:
    """Return the size of the panel."""
    panel = plan.described(experiment).settings["panel"]
    if not panel["file"]:
        return int(panel["size"])
    listed = Path(plan.shipped(panel["file"])).read_text(encoding="utf-8")
    return len([line for line in listed.splitlines() if re.match(r"\w", line)])


def weights(plan: Plan) -> tuple[Counter[str], Counter[str]]:
    """Return the bytes of weights that stay, and of those that go, by EXPERIMENT/METHOD.

    Heads on the features of one encoder are one, because one job takes all of them.
    """
    stay: Counter[str] = Counter()
    going: Counter[str] = Counter()
    kept = keep.kept(plan)
    for described in plan.experiments.values():
        together = {
            run: encoder
            for heads in training.heads_together(plan, described.name)
            for encoder in heads.encoders
            for run in heads.runs(encoder)
        }
        for run in described.runs.values():
            for fold in described.every_fold:
                found = stay if described.model(run.name, fold.name).weights in kept else going
                found[f"{described.name}/{together.get(run.name, run.name)}"] += round(
                    of_model(plan, described, run, fold)
                )
    return stay, going


def of_model(plan: Plan, described: Experiment, run: Run, fold: Fold) -> float:
    """Return the bytes of one model: from its method's stated size, or from what its settings build."""
    settings = run.arm.settings
    stated = settings.get("parameters")
    if stated and _as_declared(plan, str(settings["method"])) == settings["params"]:
        return float(4 * stated["count"])
    patches, encoder = described.patches_of(run.arm), run.arm.needs["features"]
    further = (stated or {}).get("auxiliary") or (FURTHER if settings["gives"]["auxiliary"] else 0)
    extent = Extent(
        genes=genes(plan, described.name),
        further=further,
        px=patches.width_px if patches else 0,
        features=dimension(plan, encoder) if encoder else 0,
    )
    fixed, each = _stored(settings["entry"], json.dumps(settings["params"], sort_keys=True), extent)
    return fixed + each * spots(plan, described.cohort.name) * len(fold.train)


@functools.cache
def _stored(entry: str, params: str, extent: Extent) -> tuple[float, float]:
    return stored_bytes(entry, json.loads(params), extent)


@functools.cache
def _as_declared(plan: Plan, method: str) -> Mapping[str, object]:
    """Return the parameters of a method or arm as its file says."""
    params: Mapping[str, object] = plan.bench.method(method, "the run")["params"]
    return params


def predictions(plan: Plan, described: Experiment) -> float:
    """Return the bytes of all predictions of an experiment or branch."""
    tested = [section for fold in described.folds.values() for section in fold.test]
    n, size = spots(plan, described.cohort.name), genes(plan, described.name)
    pictures = sum(described.cohort.sections[name].has_image for name in tested)
    latent = sum(_embedding(plan, described, run) for run in described.runs.values())
    values = n * len(tested) * (len(described.runs) * size * PREDICTED + latent * EMBEDDED)
    return values + len(described.runs) * (COLUMNS * len(tested) + PICTURE * pictures)


def _embedding(plan: Plan, described: Experiment, run: Run) -> float:
    """Return about how many dimensions an embedding has: networks that are small have narrow layers."""
    if not run.arm.settings["gives"]["latent"]:
        return 0.0
    numbers = of_model(plan, described, run, described.every_fold[0]) / 4
    return float(min(LATENT, math.sqrt(numbers) / SQUARE))

"""How long trainings would take: images of the configured experiments over measured rates of their networks."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd

# Spots with an image, per section on average: 30,612 of 68 HBCIS sections, 13,620 of 36 HER2+ ones, 47,681 of 12 of the
# cortex; of skin cancer that of one section.
SPOTS = {"hbcis": 450, "her2st": 378, "dlpfc": 3973, "cscc": 666}
# Published: 27,652 patches, 200 epochs; hours on two GPUs (Rahaman et al. 2023, Table 3).
BRSTNET_IMAGES = 27_652 * 200
BRSTNET_HOURS = {
    "resnet101": 24.0, "inception_v3": 20.1, "efficientnet_b0": 19.8, "efficientnet_b1": 23.1, "efficientnet_b2": 22.6,
    "efficientnet_b3": 25.0, "efficientnet_b4": 30.0, "efficientnet_b5": 37.6, "vit_b_16": 32.3, "vit_b_32": 17.3,
}  # fmt: skip


def engine_rate(architecture: str, device: str, quick: bool) -> float:
    """Images per second of the training engine at 224 pixels, without its start."""
    from bench.networks import training_loop

    size, steps, width = (2, 1, 64) if quick else ((32, 40, 224) if device != "cpu" else (8, 2, 224))
    if architecture.startswith(("vit", "inception")):
        width = 224  # they take no other
    loop = training_loop(architecture, device, n=size * steps, width=width, batch_size=size)
    loop.run()  # chooses algorithms
    if device != "cpu":
        import torch

        torch.cuda.synchronize()
    begin = time.perf_counter()
    loop.run()  # reads the loss at the end of the epoch, and so waits for the device
    return size * steps / (time.perf_counter() - begin)


def configured(project: Path) -> pd.DataFrame:
    """Images that the full benchmark would train on at most, by network and width: no training stops early.

    Of methods that see one patch at a time and name their network; those of whole sections are not counted.
    """
    from histobench.config.benchmark import Benchmark
    from histobench.yamlfiles import read_yaml

    bench = Benchmark(read_yaml(project / "config/config.yaml"), project)
    rows = []
    for experiment in bench.experiments.values():
        folds = [*experiment["folds"]["made"].values()]
        folds += [experiment["folds"]["full"]] if experiment["folds"]["full"] else []
        sections = sum(len(fold.train) for fold in folds) * len(experiment["seeds"])
        for method in experiment["methods"].values():
            params = method["params"]
            network = params.get("architecture") or params.get("backbone")
            if not method["needs"].get("gpu") or network is None or not params.get("epochs"):
                continue
            # every inner fold of k leaves a k-th out: k - 1 trainings more
            passes = params["inner_folds"] if params.get("selection") == "inner_folds" else 1
            spots = SPOTS[experiment["cohort"]] * sections
            rows.append((network, params.get("input_px") or 224, spots * params["epochs"] * passes))
    table = pd.DataFrame(rows, columns=["network", "width", "images"])
    return table.groupby(["network", "width"], as_index=False)["images"].sum()


def hours(project: Path, device: str, quick: bool) -> pd.DataFrame:
    """Measure every network of the full benchmark, and extrapolate."""
    work = configured(project)
    names = ["resnet50"] if quick else sorted({*work["network"], *BRSTNET_HOURS})
    return extrapolated(work, {name: engine_rate(name, device, quick) for name in names}, device)


def extrapolated(work: pd.DataFrame, rates: dict[str, float], device: str) -> pd.DataFrame:
    """Hours of BrST-Net's table and of the whole benchmark; ``rates`` in images of 224 pixels per second."""
    rows = []
    for network, published in BRSTNET_HOURS.items():
        if network in rates:
            spent = BRSTNET_IMAGES / rates[network] / 3600
            told = f"published: {published:g} h on two GPUs"
            rows.append((f"BrST-Net, {network}, 200 epochs", BRSTNET_IMAGES, rates[network], spent, told))
    known = work[work["network"].isin(list(rates))]
    scale = known["images"] * (known["width"] / 224) ** 2
    spent = float((scale / known["network"].map(rates)).sum() / 3600)
    images = int(known["images"].sum())
    missing = sorted(set(work["network"]) - set(rates))
    told = "at most: every epoch of every fold; patch-wise networks, without methods of whole sections"
    told += f"; without {', '.join(missing)}" if missing else ""
    rate = float(np.divide(images, spent * 3600)) if spent else float("nan")
    rows.append(("the full benchmark", images, rate, spent, told))
    table = pd.DataFrame(rows, columns=["what", "images", "images_per_second", "hours", "note"])
    return table.assign(device=device)

"""How long trainings would take: images of the configured experiments over measured rates of their networks."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

# Spots with an image, per section on average: 30,612 of 68 HBCIS sections, 13,620 of 36 HER2+ ones, 47,681 of 12 of the
# cortex; of skin cancer that of one section.
SPOTS = {"hbcis": 450, "her2st": 378, "her2st_counts": 378, "dlpfc": 3973, "cscc": 666}
# Published: 27,652 patches, 200 epochs; hours on two GPUs (Rahaman et al. 2023, Table 3).
BRSTNET_IMAGES = 27_652 * 200
BRSTNET_HOURS = {
    "resnet101": 24.0, "inception_v3": 20.1, "efficientnet_b0": 19.8, "efficientnet_b1": 23.1, "efficientnet_b2": 22.6,
    "efficientnet_b3": 25.0, "efficientnet_b4": 30.0, "efficientnet_b5": 37.6, "vit_b_16": 32.3, "vit_b_32": 17.3,
}  # fmt: skip


def engine_rate(architecture: str, precision: str, device: str, quick: bool) -> float:
    """Images per second of the training engine at 224 pixels in some precision, without its start."""
    from bench.networks import training_loop

    from histobench.training.device import arithmetic

    size, steps, width = (2, 1, 64) if quick else ((32, 40, 224) if device != "cpu" else (8, 2, 224))
    if architecture.startswith(("vit", "inception")):
        width = 224  # they take no other
    loop = training_loop(
        architecture, device, n=size * steps, width=width, batch_size=size, reduced=precision == "bf16"
    )
    with arithmetic(precision):
        loop.run()  # chooses algorithms
        if device != "cpu":
            import torch

            torch.cuda.synchronize()
        begin = time.perf_counter()
        loop.run()  # reads the loss at the end of the epoch, and so waits for the device
        return size * steps / (time.perf_counter() - begin)


def configured(project: Path) -> pd.DataFrame:
    """Images that the full benchmark runs through networks at most, by network, precision and width."""
    from histobench.config.benchmark import Benchmark
    from histobench.plan.cost import trainings
    from histobench.plan.model import make_plan
    from histobench.yamlfiles import read_yaml

    plan = make_plan(Benchmark(read_yaml(project / "config/config.yaml"), project))
    table = pd.DataFrame([asdict(work) for work in trainings(plan, SPOTS)])
    return table.groupby(["network", "precision", "width"], as_index=False)["images"].sum()


def hours(project: Path, device: str, quick: bool) -> pd.DataFrame:
    """Measure every network of the full benchmark in its precision, and extrapolate."""
    work = configured(project)
    pairs = {
        *zip(work["network"], work["precision"], strict=True),
        *((name, "tf32") for name in BRSTNET_HOURS),
    }
    pairs = {("resnet50", "tf32")} if quick else pairs
    return extrapolated(work, {pair: engine_rate(*pair, device, quick) for pair in sorted(pairs)}, device)


def extrapolated(work: pd.DataFrame, rates: Mapping[tuple[str, str], float], device: str) -> pd.DataFrame:
    """Hours of BrST-Net's table and of the whole benchmark.

    Parameters
    ----------
    work
        From :func:`configured`.
    rates
        Images of 224 pixels per second, by network and precision.
    device
        Where they were measured.
    """
    rows = []
    for network, published in BRSTNET_HOURS.items():
        rate = rates.get((network, "tf32"))
        if rate is not None:
            spent = BRSTNET_IMAGES / rate / 3600
            told = f"published: {published:g} h on two GPUs"
            rows.append((f"BrST-Net, {network}, 200 epochs", BRSTNET_IMAGES, rate, spent, told))
    pairs = list(zip(work["network"], work["precision"], strict=True))
    known = work[[pair in rates for pair in pairs]]
    rate = np.array([rates[pair] for pair in pairs if pair in rates])
    spent = float((known["images"] * (known["width"] / 224) ** 2 / rate).sum() / 3600)
    images = int(known["images"].sum())
    missing = sorted({network for network, precision in pairs if (network, precision) not in rates})
    told = (
        f"at most: every epoch of every fold in {', '.join(sorted(set(known['precision'])))}, with the views of held-out "
        "spots and the neighbours of spatial arms; patch-wise networks, without methods of whole sections"
    )
    told += f"; without {', '.join(missing)}" if missing else ""
    mean = float(np.divide(images, spent * 3600)) if spent else float("nan")
    rows.append(("the full benchmark", images, mean, spent, told))
    table = pd.DataFrame(rows, columns=["what", "images", "images_per_second", "hours", "note"])
    return table.assign(device=device)

"""Run every comparison, or those whose stage contains some words: python -m bench [--quick] [--only WORD ...]."""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch
from bench import hours, images, jobs, networks, tables
from bench.harness import compare, draw, show


def comparisons(folder: Path, mirror: Path | None, quick: bool, device: str) -> dict:
    """Every comparison by name, made when it is asked for."""
    made = {
        "stain": lambda: images.stain(folder, mirror, quick),
        "decoding": lambda: images.decoding(folder, mirror, quick),
        "patches": lambda: images.patches(folder, mirror, quick),
        "batches": lambda: images.batches(folder, quick),
        "counts": lambda: tables.counts(folder, mirror, quick),
        "pearson": lambda: tables.pearson(quick),
        "bootstrap": lambda: tables.spot_resamples(quick),
        "ridge": lambda: tables.ridge(quick, 1),
        "ridge-grid": lambda: tables.ridge(quick, 7),
        "features": lambda: networks.features(quick, device),
        "extraction": lambda: networks.extraction(folder, quick, device),
        "jobs": lambda: jobs.local_jobs(folder, quick),
    }
    nets = ["resnet50"] if device == "cpu" else ["densenet121", "resnet50", "efficientnet_b0"]
    for name in nets:
        made[f"training-{name}"] = lambda name=name: networks.training(quick, device, name)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("results/bench"))
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="comparisons to run")
    parser.add_argument("--quick", action="store_true", help="small inputs: shows that everything runs")
    parser.add_argument("--device", default="cpu", help="where networks run: cpu or cuda")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    project = Path(__file__).resolve().parents[2]
    mirror = Path(os.environ.get("HISTOBENCH_MIRROR", project.parent / "shared" / "data"))
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        made = comparisons(Path(folder), mirror if mirror.is_dir() else None, options.quick, options.device)
        unknown = set(options.only) - {*made, "hours"}
        if unknown:
            parser.error(f"no comparison {', '.join(sorted(unknown))}; there are {', '.join(made)}, hours")
        rows = []
        for name in [name for name in made if not options.only or name in options.only]:
            begin = time.perf_counter()
            rows.append({"name": name, "load": round(os.getloadavg()[0], 1), **compare(made[name]())})
            print(f"{name}: {rows[-1]['ratio']:.3g} times ({time.perf_counter() - begin:.0f} s)", flush=True)
            gc.collect()
            write(rows, options.output)  # after each, because all of them take a while
    if rows:
        show(rows)
        print(f"wrote {options.output}/ratios.tsv and ratios.png")
    if "hours" in options.only or (
        not options.only and options.device != "cpu"
    ):  # a CPU takes minutes to tell
        table = hours.hours(project, options.device, options.quick)
        table.to_csv(options.output / "hours.tsv", sep="\t", index=False, float_format="%.5g")
        print(table[["what", "images_per_second", "hours"]].to_string(index=False))
        print(f"wrote {options.output}/hours.tsv, which the report shows")


def write(rows: list[dict], folder: Path) -> None:
    """Write the table of ratios and the figure."""
    table = pd.DataFrame(rows)
    table.to_csv(folder / "ratios.tsv", sep="\t", index=False, float_format="%.5g")
    draw(table, str(folder / "ratios.png"))


if __name__ == "__main__":
    main()

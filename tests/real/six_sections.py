"""The six HER2+ sections whose full-resolution images a mirror is likely to hold, as the pipeline reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from histobench.cohorts.section import write_section
from histobench.config.benchmark import Benchmark
from histobench.imaging.patches import write_patches

SECTIONS = ("B4", "C2", "C3", "C4", "C5", "C6")


def cut(
    project: Path, mirror: Path, folder: Path, scale: float, width_px: int
) -> tuple[Benchmark, dict[str, dict[str, str]]]:
    """Read the sections and cut their patches at a scale in µm/px; returns their files by section."""
    bench = Benchmark({"run": ["her2st_loso"]}, project)
    files: dict[str, dict[str, str]] = {}
    for name in SECTIONS:
        record, raw = bench.cohorts["her2st"]["sections"][name], bench.section_files("her2st", name)
        paths = {kind: mirror / "her2st" / raw[kind] for kind in ("counts", "spots", "image")}
        if not paths["image"].is_file():
            pytest.skip(f"needs {paths['image']}")
        files[name] = {"h5ad": str(folder / f"{name}.h5ad"), "patches": str(folder / f"{name}.npy")}
        write_section(
            reader=bench.cohorts["her2st"]["reader"],
            cohort="her2st",
            section=name,
            record={"patient": record["patient"], "um_per_px": record["um_per_px"]},
            files={kind: str(path) for kind, path in paths.items()},
            options={},
            output_h5ad=files[name]["h5ad"],
            output_json=folder / f"{name}.json",
            pitch_um=200,
            spot_um=100,
        )
        write_patches(
            paths["image"],
            files[name]["h5ad"],
            files[name]["patches"],
            folder / f"{name}.tsv",
            stain="raw",
            scale=scale,
            width_px=width_px,
        )
    return bench, files

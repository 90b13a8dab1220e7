"""Training steps of a whole-section method at full size: their peak memory and time.

python -m unit.full_size thitogene/as_released, with `tests` and `workflow/lib` on PYTHONPATH, prints both. This is where
`measured` of the methods' YAML files comes from; every measurement takes a process of its own.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import pandas as pd
from scipy import sparse
from unit import described

from histobench.expression.transforms import transform_counts
from histobench.training.contract import Context, SectionData
from histobench.training.entry import build_method
from histobench.training.record import peak_memory

SPOTS, GENES = 712, 785


def section(width_px: int) -> SectionData:
    """A section as large as the largest of HBCIS and HER2+, with the panel of the HisToGene family."""
    rng = np.random.default_rng(0)
    x, y = np.arange(SPOTS) % 27, np.arange(SPOTS) // 27
    counts = rng.poisson(1.5, (SPOTS, GENES)).astype(np.int32)
    total = counts.sum(axis=1).astype(float)
    places = {"array_x": x + 0.0, "array_y": y + 0.0, "pixel_x": 290.0 * x, "pixel_y": 290.0 * y}
    return SectionData(
        "full",
        "s",
        "p",
        pd.DataFrame(places, index=[f"{a}x{b}" for a, b in zip(x, y, strict=True)]),
        um_per_px=0.688,
        patches=rng.integers(0, 256, (SPOTS, width_px, width_px, 3), dtype=np.uint8),
        targets=transform_counts("log10_cp10k_panel", counts, total),
        counts=sparse.csr_matrix(counts),
        labels=np.zeros(SPOTS, np.float32),
        total_counts=total,
    )


def measure(name: str, threads: int = 2) -> dict[str, float]:
    """Train for two steps in this process: peak resident memory in MB, and seconds of the faster step.

    Only the second step holds the moments of the optimiser and intermediate results at the same time.
    """
    settings = described.method(*name.split("/"))
    given = section(settings["params"]["input_px"])
    genes = tuple(f"g{number}" for number in range(GENES))
    method = build_method(settings["entry"], {**settings["params"], "epochs": 2})
    told = method.fit([given], [], Context(genes, genes, device="cpu", weights="none", threads=threads))
    assert np.isfinite(method.predict(given.without_truth()).expression).all()
    return {
        "peak_mb": round(peak_memory()["peak_memory_mb"] * 1.048576),
        "seconds": round(min(float(row["seconds"]) for row in told.history), 1),
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))

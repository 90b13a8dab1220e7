"""A trained model meets another cohort: which of its genes are measured there, and at which scale it looks.

The image is brought to the scale of the training, because a network knows tissue at one size only; stains are
handled as in training. A gene of the panel that no section of the other cohort lists was not measured: it is
left out of every score and listed, never counted as zero. A gene that some of its sections do not measure is
scored in the others only.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from histobench.errors import UserError
from histobench.files import read_json, read_table, write_json, write_table
from histobench.results.catalogue import catalogue
from histobench.results.tables import write

log = logging.getLogger(__name__)


def write_training_scale(sections_tsv: str | Path, sections: Sequence[str], output_json: str | Path) -> None:
    """Write the scale of the sections that a model is trained on, where patches keep their native pixels.

    Parameters
    ----------
    sections_tsv
        Table of the cohort, with um_per_px of each section.
    sections
        The training sections.
    output_json
        ``um_per_px`` (median), ``um_per_px_min``, ``um_per_px_max`` and ``n_sections``.

    Raises
    ------
    UserError
        No section has a scale.
    """
    table = read_table(sections_tsv, dtype={"section": str}).set_index("section")
    scales = table.loc[list(sections), "um_per_px"].dropna().to_numpy(np.float64)
    if not len(scales):
        raise UserError(
            f"{sections_tsv}: no training section has a scale, so that other images cannot be brought to it; "
            "declare um_per_px for the sections."
        )
    facts = {"min": scales.min(), "max": scales.max()}
    write_json(
        {
            "um_per_px": float(np.median(scales)),
            "n_sections": len(scales),
            **{f"um_per_px_{key}": float(value) for key, value in facts.items()},
        },
        output_json,
    )


def write_measured_panel(
    panel_tsv: str | Path,
    genes_tsv: str | Path,
    output_panel: str | Path,
    output_dropped: str | Path,
    *,
    cohort: str,
) -> None:
    """Divide a panel into the genes that another cohort measures and those that it does not.

    Parameters
    ----------
    panel_tsv
        Panel of the trained model: gene, rank, statistic.
    genes_tsv
        Genes of the other cohort, listed by at least one of its sections.
    output_panel, output_dropped
        The measured rows of the panel, and ``gene``, ``reason`` of the others.
    cohort
        Name of the other cohort, for messages.

    Raises
    ------
    UserError
        The cohort measures no gene of the panel.
    """
    panel = read_table(panel_tsv, dtype={"gene": str})
    measured = panel["gene"].isin(set(read_table(genes_tsv, usecols=["gene"], dtype=str)["gene"]))
    if not measured.any():
        raise UserError(
            f"{genes_tsv}: cohort {cohort} lists none of the {len(panel)} genes of {panel_tsv}; use one kind "
            "of gene names in both cohorts."
        )
    dropped = panel.loc[~measured, ["gene"]].assign(reason="not_measured")
    log.info("%d of %d genes of the panel are measured by %s", measured.sum(), len(panel), cohort)
    if len(dropped):
        log.warning("not measured by %s: %s", cohort, ", ".join(dropped["gene"]))
    write_table(panel[measured], output_panel)
    write_table(dropped, output_dropped)


def write_external_summary(
    *,
    panel_tsv: str | Path,
    dropped_tsv: str | Path,
    sections_tsv: str | Path,
    output_tsv: str | Path,
    sections: Sequence[str],
    trained_by: str,
    cohort: str,
    stain: str | None,
    um_per_px: float | str | None,
    scale_json: str | Path | None = None,
) -> None:
    """Write down in one row under which conditions another cohort is predicted.

    Parameters
    ----------
    panel_tsv, dropped_tsv
        What :func:`write_measured_panel` wrote.
    sections_tsv, sections
        Table of the other cohort, and the sections that are predicted.
    trained_by, cohort
        Names of the experiment and of the cohort.
    stain
        Stain handling, the same as in training; None where no image is looked at.
    um_per_px, scale_json
        Scale of the patches, or the file that says it.
    """
    import pandas as pd

    table = read_table(sections_tsv, dtype={"section": str, "patient": str}).set_index("section")
    table = table.loc[list(sections)]
    lost = list(read_table(dropped_tsv, dtype=str)["gene"])
    if scale_json is not None:
        um_per_px = read_json(scale_json)["um_per_px"]
    target = float("nan") if um_per_px is None else float(um_per_px)
    lowest, highest = table["um_per_px"].min(), table["um_per_px"].max()
    row = {
        "trained_by": trained_by,
        "cohort": cohort,
        "n_patients": table["patient"].nunique(),
        "n_sections": len(table),
        "n_genes": len(read_table(panel_tsv, usecols=["gene"], dtype=str)),
        "n_not_measured": len(lost),
        "not_measured": ", ".join(lost),
        "stain": stain or "",
        "um_per_px_patches": target,
        "um_per_px_min": lowest,
        "um_per_px_max": highest,
        "resampled_by": f"{lowest / target:.3g} to {highest / target:.3g}" if stain else "",
    }
    write(pd.DataFrame([row]), output_tsv, catalogue()["external"])

"""Forests of tumour by modality: image, measured and predicted expression (Chen et al. 2024, HE2Gene, S7).

Inputs: ``predictions`` (folders of the method that predicts expression and tumour, a file per section:
predicted and measured expression, the embedding of the image, labels).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from histobench.errors import UserError
from histobench.evaluation.modalities import compare_between_patients, compare_within_patients
from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import Predicted, as_list, read_predictions
from histobench.figures.drawing.style import DOUBLE, QUIET_COLOUR, REFERENCE_COLOUR, new_figure
from histobench.figures.drawing.text import count, prose, scores_note

SPOTS, PATIENTS = "spots split 8 to 2", "patients apart"
TITLES = {SPOTS: "spots split 8 to 2, as published (leaks)", PATIENTS: "patients apart"}
COLUMNS = ["protocol", "fold", "modalities", "held_out", "accuracy", "auroc", "n_spots", "n_learnt"]


def tidy_modalities(folds: Mapping[str, Iterable[Predicted]]) -> pd.DataFrame:
    """Return :data:`COLUMNS`: each combination of modalities under both protocols, within every fold.

    Folds are kept apart, as every one has a model, and so a latent space, of its own.
    """
    blocks = []
    for fold, found in folds.items():
        sections = [section for section in found if section.embedding is not None]
        if not sections:
            continue
        labels = np.concatenate([section.spots["tumour"].to_numpy(float) for section in sections])
        patients = np.concatenate([section.spots["patient"].to_numpy(str) for section in sections])
        measured = np.all([np.isfinite(section.truth).all(axis=0) for section in sections], axis=0)
        parts = {
            "image": np.concatenate([section.embedding for section in sections]),
            "measured": np.concatenate([section.truth[:, measured] for section in sections]),
            "predicted": np.concatenate([section.prediction for section in sections]),
        }
        try:
            split = compare_within_patients(parts, labels)
        except UserError:  # too few labelled spots of both kinds in this fold
            continue
        apart = compare_between_patients(parts, labels, patients)
        both = ((SPOTS, split), (PATIENTS, apart))
        blocks += [table.assign(protocol=name, fold=fold) for name, table in both if len(table)]
    table = pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame(columns=COLUMNS)
    return table[COLUMNS]


def plot_modalities(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw a bar of the mean per combination and a dot per fold or patient, a panel per protocol."""
    names = list(dict.fromkeys(table["modalities"]))
    protocols = [name for name in TITLES if name in set(table["protocol"])]
    figure = new_figure(DOUBLE, 0.9 + 0.26 * len(names))
    panels = figure.subplots(1, len(protocols), sharey=True, sharex=True, squeeze=False)[0]
    for axes, protocol in zip(panels, protocols, strict=True):
        own = table[table["protocol"] == protocol]
        colour = QUIET_COLOUR if protocol == SPOTS else settings.look(settings.leader).colour
        for row, name in enumerate(names):
            values = own.loc[own["modalities"] == name, "auroc"].to_numpy(float)
            if not len(values):
                continue
            axes.barh(row, values.mean(), height=0.62, color=colour, alpha=0.45)
            axes.plot(values, np.full(len(values), row), "o", ms=3, mfc=colour, mec="white", mew=0.4)
            axes.annotate(
                f"{values.mean():.3f}", (1.0, row), xytext=(4, 0), textcoords="offset points", va="center",
                fontsize=6.5, annotation_clip=False,
            )  # fmt: skip
        axes.axvline(0.5, color=REFERENCE_COLOUR, lw=0.7, ls=(0, (4, 2)))
        axes.set_title(TITLES[protocol], loc="left")
        axes.set_xlabel("AUROC of tumour")
        axes.grid(axis="x")
    panels[0].set_yticks(range(len(names)), [name.replace("+", " + ") for name in names])
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    panels[0].set_xlim(min(0.4, float(table["auroc"].min()) - 0.02), 1.0)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what a forest sees, and why one of the protocols leaks."""
    split, apart = (table[table["protocol"] == name] for name in (SPOTS, PATIENTS))
    patients = apart["held_out"].nunique()
    held = (
        "right: each patient in turn by a forest that learns from the other tested patients of its fold "
        f"(dots: {count(patients, 'patient')} with both kinds of spots)"
        if patients
        else "no fold tests several patients with both kinds of spots, so that none could be held out"
    )
    spots = int(split.drop_duplicates("fold")[["n_spots", "n_learnt"]].to_numpy().sum())
    return prose(f"""
        Random forests of the tumour label on the image (features of {settings.title(settings.leader)}, whose
        encoder learnt from labels of training patients), on measured and on expression predicted by the same
        model, and on their combinations; all of patients that the model never saw,
        {count(spots, "labelled spot")} in {count(int(split["fold"].nunique()), "fold")}. Left: as published,
        four fifths of the spots to learn and a fifth to test, drawn at random: neighbours of a tested spot
        are learnt from, which leaks; {held}. Numbers: means. Dashed: a forest that knows nothing.
        Descriptive; no test.{scores_note(settings)}
    """)


@figure(
    "Forests of tumour by modality",
    "tumour",
    predictions="tumour_leader",
    when=["tumour_labels", "paper"],
    settings=["leader"],
)
def tumour_modalities(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the predictions of every fold, grow the forests and draw their scores."""
    folders = as_list(inputs["predictions"])
    table = tidy_modalities({Path(folder).name: read_predictions(folder) for folder in folders})
    table = require_rows(table, "no fold tests enough spots of tumour and of normal tissue.")
    return plot_modalities(table, settings), table, caption(table, settings)

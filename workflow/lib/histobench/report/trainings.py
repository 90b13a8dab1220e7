"""How each method was trained: on what its choices were made, and what training took."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from histobench.figures.drawing.settings import Settings
from histobench.report.embed import Downloads
from histobench.report.experiment_tables import mark_methods
from histobench.report.tables import Column, Loaded, View, megabytes, seconds, view, whole
from histobench.training.card import recorded_terms
from histobench.training.record import read_records

COLUMNS = (
    Column("method", "Method", numeric=False),
    Column("selection", "Selection", numeric=False, hint="how the epoch or the hyper-parameters were chosen"),
    Column(
        "selection_unit",
        "Selection unit",
        numeric=False,
        hint="what was held out of the training patients to choose by",
    ),
    Column("n_trainings", "Trainings", whole, "folds times seeds with a run record"),
    Column("n_train_patients", "Training patients", numeric=False),
    Column("n_valid_patients", "Validation patients", numeric=False),
    Column("weights", "Initial weights", numeric=False),
    Column(
        "weights_terms",
        "Terms of weights",
        numeric=False,
        hint="licence of the published weights that it starts from or sees images through",
    ),
    Column("seconds", "Wall time", seconds, "mean over trainings"),
    Column("peak_memory_mb", "Host memory", megabytes, "largest peak of a training"),
    Column("device_peak_memory_mb", "Device memory", megabytes, "largest peak of a training"),
    Column("images_per_second", "Images/s", whole, "median over trainings"),
    Column("device", "Device", numeric=False),
    Column("hardware", "Hardware", numeric=False),
)
NOTE = (
    "One row per method, from the records of its trainings. The selection unit is what was set aside, "
    "among the training patients alone, to choose an epoch or a penalty: patients are the honest unit; "
    "spots let parts of one patient stand on both sides, which flatters the choice; none, or a dash, means "
    "that nothing was chosen from data. Validation patients are those that the folds set aside; where they "
    "set none aside, a method that chooses divides its training patients itself. The tested patients never "
    "take part."
)


def trainings_view(name: str, records: str | Path | None, settings: Settings, downloads: Downloads) -> View:
    """Return the table of trainings, or why there is none."""
    title, anchor = "Trainings and what they were selected on", f"{name}-trainings"
    there = [records] if records is not None and Path(records).is_file() else []
    table = trainings_table(read_records(there))
    if table.empty:
        return view(anchor, title, Loaded(None, "run records: none was found"), COLUMNS)
    content = table.to_csv(sep="\t", index=False, lineterminator="\n").encode()
    offered = downloads.add_content(content, f"{name}: tables", "trainings.tsv")
    shown = view(anchor, title, Loaded(table), COLUMNS, note=NOTE, download=offered)
    mark_methods(shown, settings)
    return shown


def trainings_table(trainings: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row per method and seed, in the order of their records."""
    runs: dict[str, list[Mapping[str, Any]]] = {}
    for record in trainings:
        runs.setdefault(str(record["method"]), []).append(record)
    rows = []
    for method, records in runs.items():
        rows.append(
            {
                "method": method,
                "selection": _joined(record.get("selection") for record in records),
                "selection_unit": _joined(record.get("selection_unit") for record in records),
                "n_trainings": len(records),
                "n_train_patients": _range(len(record.get("train_patients", [])) for record in records),
                "n_valid_patients": _range(len(record.get("valid_patients", [])) for record in records),
                "weights": _joined(record.get("weights") for record in records),
                "weights_terms": _joined(recorded_terms(records)),
                "seconds": _numbers(records, "seconds").mean(),
                "peak_memory_mb": _numbers(records, "peak_memory_mb").max(),
                "device_peak_memory_mb": _numbers(records, "device_peak_memory_mb").max(),
                "images_per_second": _numbers(records, "images_per_second").median(),
                "device": _joined(record.get("device") for record in records),
                "hardware": _joined(record.get("hardware") for record in records),
            }
        )
    columns = [column.key for column in COLUMNS]
    return pd.DataFrame(rows, columns=columns)


def _numbers(records: Iterable[Mapping[str, Any]], key: str) -> pd.Series:
    return pd.Series([record.get(key) for record in records], dtype=float)


def _joined(values: Iterable[Any]) -> str:
    """Return the different values as text."""
    return ", ".join(dict.fromkeys(str(value).replace("_", " ") for value in values if value))


def _range(values: Iterable[int]) -> str:
    found = sorted(values)
    return str(found[0]) if found[0] == found[-1] else f"{found[0]} to {found[-1]}"

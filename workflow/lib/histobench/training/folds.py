"""All folds of a method in one process: what each of them is handed is what it would be handed alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from histobench.filelists import files_of, read_lists
from histobench.training.run import predict, train

Columns = Mapping[str, Any]


def _listed(files: str | Sequence[str]) -> list[str]:
    return [files] if isinstance(files, str) else list(files)


def training_files(
    columns: Columns, folds: Mapping[str, Mapping[str, str]]
) -> Iterator[dict[str, dict[str, str]]]:
    """Yield the files of the sections of one fold after the other, and of no section that it tests.

    Parameters
    ----------
    columns
        ``images``, lists of patches and features (:mod:`histobench.filelists`); ``training``, the lists of
        counts and kept spots, in the order of ``folds``.
    folds
        Role of each section of a fold, "train" or "valid", by fold.
    """
    images = _listed(columns.get("images") or [])
    for training, roles in zip(_listed(columns["training"]), folds.values(), strict=True):
        yield files_of(read_lists([training, *images]), roles)


def train_folds(
    *,
    columns: Columns,
    outputs: Mapping[str, Sequence[str]],
    folds: Mapping[str, Mapping[str, str]],
    **settings: Any,
) -> None:
    """Train a method on every fold, one after the other.

    Parameters
    ----------
    columns
        Files as :func:`training_files` takes them, and by fold ``panel`` and ``genes``.
    outputs
        ``weights``, ``history`` and ``run`` by fold.
    folds
        As there.
    settings
        What :func:`histobench.training.run.train` is told of each.
    """
    each = zip(folds, training_files(columns, folds), strict=True)
    for number, (fold, files) in enumerate(each):
        train(
            sections=files,
            roles=folds[fold],
            fold=fold,
            panel_tsv=_listed(columns["panel"])[number],
            genes_tsv=_listed(columns["genes"])[number],
            output_weights=_listed(outputs["weights"])[number],
            output_history=_listed(outputs["history"])[number],
            output_run=_listed(outputs["run"])[number],
            **settings,
        )


def predict_folds(
    *, columns: Columns, folders: Sequence[str], folds: Mapping[str, Sequence[str]], **settings: Any
) -> None:
    """Predict the tested sections of every fold by the model of that fold.

    Parameters
    ----------
    columns
        ``lists`` of counts, kept spots, patches and features of all tested sections
        (:mod:`histobench.filelists`); by fold ``panel``, ``genes``, ``weights`` and, of a branch,
        ``measured``; and ``scale``.
    folders
        Where predictions of a fold go.
    folds, settings
        Tested sections by fold, and what :func:`histobench.training.run.predict` is told of each.
    """
    listed = read_lists(_listed(columns["lists"]))
    measured = columns.get("measured")
    for number, (fold, names) in enumerate(folds.items()):
        predict(
            sections=files_of(listed, names),
            fold=fold,
            panel_tsv=_listed(columns["panel"])[number],
            genes_tsv=_listed(columns["genes"])[number],
            model_folder=Path(_listed(columns["weights"])[number]).parent,
            output_folder=_listed(folders)[number],
            measured_tsv=_listed(measured)[number] if measured else None,
            scale_json=columns.get("scale"),
            **settings,
        )

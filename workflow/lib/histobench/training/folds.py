"""All folds of one or several methods in one process: each is handed what it would be handed alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from histobench import paths
from histobench.errors import UserError
from histobench.filelists import files_of, read_lists
from histobench.training.record import forget_peak
from histobench.training.run import predict, train

Columns = Mapping[str, Any]


def _listed(files: str | Sequence[str]) -> list[str]:
    return [files] if isinstance(files, str) else list(files)


@contextlib.contextmanager
def naming(method: str, fold: str) -> Iterator[None]:
    """Say of an error whose it is, because the job is about others, too."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{method} on fold {fold}: {error}") from error
    except Exception as error:
        error.add_note(f"{method} on fold {fold}")
        raise


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
        Files as :func:`training_files` takes them, and by fold ``panel``.
    outputs
        ``weights``, ``history`` and ``run`` by fold.
    folds
        As there.
    settings
        What :func:`histobench.training.run.train` is told of each.
    """
    each = zip(folds, training_files(columns, folds), strict=True)
    for number, (fold, files) in enumerate(each):
        with naming(settings["method"], fold):
            train(
                sections=files,
                roles=folds[fold],
                fold=fold,
                panel_tsv=_listed(columns["panel"])[number],
                genes_tsv=paths.universe(_listed(columns["panel"])[number]),
                output_weights=_listed(outputs["weights"])[number],
                output_history=_listed(outputs["history"])[number],
                output_run=_listed(outputs["run"])[number],
                **settings,
            )


def train_heads(
    *,
    columns: Columns,
    outputs: Mapping[str, Sequence[str]],
    methods: Sequence[Mapping[str, Any]],
    folds: Mapping[str, Mapping[str, str]],
    **settings: Any,
) -> None:
    """Train several methods that see the same on every fold, one after the other.

    Parameters
    ----------
    columns, folds
        As :func:`train_folds` takes them.
    outputs
        ``weights`` and ``run`` by method and fold.
    methods
        What :func:`histobench.training.run.train` is told of each method.
    settings
        What it is told of all of them.
    """
    for number, method in enumerate(methods):
        forget_peak()
        own = {kind: _share(files, number, len(folds)) for kind, files in outputs.items()}
        own["history"] = [str(Path(file).with_name(Path(paths.HISTORY).name)) for file in own["weights"]]
        train_folds(columns=columns, outputs=own, folds=folds, **method, **settings)


def _share(files: str | Sequence[str], number: int, each: int) -> list[str]:
    """Return the files of one method among those of several."""
    return _listed(files)[number * each : (number + 1) * each]


def predict_folds(
    *, columns: Columns, folders: Sequence[str], folds: Mapping[str, Sequence[str]], **settings: Any
) -> None:
    """Predict the tested sections of every fold by the model of that fold.

    Parameters
    ----------
    columns
        ``lists`` of counts, kept spots, patches and features of all tested sections
        (:mod:`histobench.filelists`); by fold ``panel``, ``weights`` and, of a branch,
        ``measured``; and ``scale``.
    folders
        Where predictions of a fold go.
    folds, settings
        Tested sections by fold, and what :func:`histobench.training.run.predict` is told of each.
    """
    listed = read_lists(_listed(columns["lists"]))
    measured = columns.get("measured")
    for number, (fold, names) in enumerate(folds.items()):
        with naming(settings["method"], fold):
            predict(
                sections=files_of(listed, names),
                fold=fold,
                panel_tsv=_listed(columns["panel"])[number],
                genes_tsv=paths.universe(_listed(columns["panel"])[number]),
                model_folder=Path(_listed(columns["weights"])[number]).parent,
                output_folder=_listed(folders)[number],
                measured_tsv=_listed(measured)[number] if measured else None,
                scale_json=columns.get("scale"),
                **settings,
            )


def predict_heads(
    *,
    columns: Columns,
    folders: Sequence[str],
    methods: Sequence[Mapping[str, Any]],
    folds: Mapping[str, Sequence[str]],
    **settings: Any,
) -> None:
    """Predict the tested sections of every fold by several methods that see the same.

    Parameters
    ----------
    columns, folds
        As :func:`predict_folds` takes them, with ``weights`` by method and fold.
    folders
        Where predictions go, by method and fold.
    methods, settings
        What :func:`histobench.training.run.predict` is told of each method, and of all of them.
    """
    for number, method in enumerate(methods):
        own = {**columns, "weights": _share(columns["weights"], number, len(folds))}
        mine = _share(folders, number, len(folds))
        predict_folds(columns=own, folders=mine, folds=folds, **method, **settings)

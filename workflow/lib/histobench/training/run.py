"""Train a method on one fold and predict its test sections: files in, files out.

Methods are found by their entry string at run time; nothing here imports one, so an edit of a method
concerns that method's jobs only.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.cohorts.library import small_library, with_conventions
from histobench.devices import claim_device, hardware
from histobench.errors import UserError
from histobench.expression.correlation import PERMUTED, gene_correlations
from histobench.expression.transforms import DEFINITION, Transform
from histobench.files import (
    atomic_folder,
    check_seal,
    read_json,
    seal,
    write_json,
    write_table,
)
from histobench.seeds import seed_for
from histobench.training.card import CARD, published_weights, write_card
from histobench.training.contract import Context, Prediction, TrainingLog
from histobench.training.entry import build_method, load_method
from histobench.training.load import LoadedSection, load_sections, read_genes, read_photos
from histobench.training.record import json_ready, peak_memory, versions
from histobench.training.store import WEIGHTS, training_targets

if TYPE_CHECKING:
    import pandas as pd

    from histobench.training.contract import Method, SectionData

log = logging.getLogger(__name__)

Files = Mapping[str, Mapping[str, Any]]
CHECKPOINTS = ".checkpoints"
# in the folder of predictions, see histobench.paths, which a training need not follow
EVERY_GENE = "every_gene.parquet"


def _load(
    sections: Files,
    *,
    needs: Mapping[str, Any],
    panel: tuple[str, ...],
    all_genes: tuple[str, ...],
    transform: Transform,
    window: Mapping[str, float] | None,
    patch_um_per_px: float | str | None,
    qc_column: str = "keep",
) -> list[LoadedSection]:
    """Load sections with only those arrays that the method needs."""
    trimmed = {
        name: {
            "h5ad": files["h5ad"],
            "qc": files.get("qc"),
            "patches": files.get("patches") if needs.get("patches") else None,
            "features": files.get("features") if needs.get("features") else None,
        }
        for name, files in sections.items()
    }
    for name, files in trimmed.items():
        for kind in ("patches", "features"):
            if needs.get(kind) and not files[kind]:
                raise UserError(f"section {name}: the method needs {kind}, but no {kind} file was given.")
    scale = None if patch_um_per_px in (None, "native") else float(patch_um_per_px)
    return load_sections(
        trimmed,
        panel=panel,
        all_genes=all_genes,
        transform=transform,
        window=window,
        patch_um_per_px=scale,
        qc_column=qc_column,
    )


def limit_threads(threads: int) -> None:
    """Make numerical libraries use ``threads`` threads where they can still be told."""
    from threadpoolctl import threadpool_limits

    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    threadpool_limits(limits=threads)


def train(
    *,
    entry: str,
    params: Mapping[str, Any],
    needs: Mapping[str, Any],
    sections: Files,
    roles: Mapping[str, str],
    fold: str,
    panel_tsv: str | Path,
    genes_tsv: str | Path,
    transform: Transform | Mapping[str, Any] | str,
    output_weights: str | Path,
    output_history: str | Path,
    output_run: str | Path,
    experiment: str,
    method: str,
    weights: str = "imagenet",
    device: str = "auto",
    seed: int = 0,
    threads: int = 1,
    window: Mapping[str, float] | None = None,
    patch_um_per_px: float | str | None = None,
    photos: Sequence[str | Path] | None = None,
    image: Mapping[str, Any] | None = None,
    encoder: Mapping[str, Any] | None = None,
    start_weights: str | Path | None = None,
    weights_file: str | Path | None = None,
    encoder_file: str | Path | None = None,
    terms: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Fit a method on the training sections of one fold.

    Parameters
    ----------
    entry, params, needs, window
        From the method's YAML file.
    sections
        The sections of training and validation and no others: name -> ``{"h5ad": ..., "qc": ...,
        "patches": ..., "features": ...}`` ("qc" says which spots to keep; the last two where needed).
    roles, fold
        Role of each section, "train" or "valid", and the name of the fold.
    panel_tsv, genes_tsv
        Genes to predict, and all genes that the training sections measure.
    transform
        The target transform, see :meth:`histobench.expression.transforms.Transform.of`.
    output_weights, output_history, output_run
        ``weights.pt``, ``history.tsv`` and ``run.json``, in one folder; the checksums of the first and the
        last are written beside them (``.sha256``).
    experiment, method, seed
        Names and number that the seed of everything random follows from.
    weights, device, threads
        See :class:`histobench.training.contract.Context`.
    patch_um_per_px
        Scale that patches were resampled to; None or "native" for the scale of each image.
    photos
        Tiles of photographs and their index, for a method that needs them:
        :func:`histobench.cohorts.readers.photos.write_photo_tiles`.
    image
        How patches were made, for those who predict other images with the model: stain, stain_reference,
        width_px; recorded with the scale in ``run.json``.
    encoder
        Recipe of the frozen features (:func:`histobench.encoders.registry.recipe`); recorded likewise.
    start_weights
        ``weights.pt``, beside its ``run.json``, of a training of the same method to start from.
    weights_file
        The published weights that a network starts from.
    encoder_file
        The published weights behind the frozen features. The checksums of both are recorded in ``run.json``.
    terms
        ``licence`` and whether ``commercial`` use is allowed, of weights by their place; recorded likewise,
        and on the model's card (``card.md``, beside ``run.json``).

    Raises
    ------
    UserError
        A file is missing or does not fit, a parameter is wrong, or no spot is left to train on.
    """
    output_weights = Path(output_weights)
    if output_weights.name != WEIGHTS:
        raise ValueError(f"output_weights must be called {WEIGHTS}")
    limit_threads(threads)
    if needs.get("gpu") and device in ("auto", "cuda"):
        claim_device()
    panel, all_genes = read_genes(panel_tsv), read_genes(genes_tsv)
    target = Transform.of(transform)
    if not set(roles) == set(sections) or not set(roles.values()) <= {"train", "valid"}:
        raise ValueError(f"fold {fold!r}: every given section needs the role train or valid")
    loaded = _load(
        sections,
        needs=needs,
        panel=panel,
        all_genes=all_genes,
        transform=target,
        window=window,
        patch_um_per_px=patch_um_per_px,
        qc_column="keep_train",
    )
    parts = {
        role: [s.data for s in loaded if roles[s.data.section] == role and len(s.data)]
        for role in ("train", "valid")
    }
    for data in (section for members in parts.values() for section in members):
        lacking = np.flatnonzero(np.isnan(training_targets([data])).any(axis=0))
        if lacking.size:
            raise UserError(
                f"{experiment}: section {data.section} does not measure {panel[lacking[0]]} ({len(lacking)} "
                "genes of the panel in all) and cannot be trained on; choose a panel that it measures."
            )
    if not parts["train"]:
        raise UserError(
            f"{experiment}: fold {fold!r} has no spot to train on after quality control; "
            "choose another `qc` profile or more sections."
        )
    checkpoints = output_weights.parent / CHECKPOINTS
    context = Context(
        genes=panel,
        all_genes=all_genes,
        transform=target,
        seed=seed_for(experiment, method, fold, seed),
        device=device,
        weights=weights,
        weights_file=Path(weights_file) if weights_file else None,
        threads=threads,
        checkpoints=checkpoints,
        photos=read_photos(*photos) if photos else None,
    )
    model = build_method(entry, params)
    if start_weights is not None:
        context = replace(context, start=_checked_start(Path(start_weights), model, target))
    n_spots = sum(map(len, parts["train"]))
    log.info("fold %s: training %s on %d spots of %d sections", fold, method, n_spots, len(parts["train"]))
    start = time.perf_counter()
    told = model.fit(parts["train"], parts["valid"], context)
    if not isinstance(told, TrainingLog):
        raise _broken(model, f"fit returned a {type(told).__name__}, expected a TrainingLog")
    seconds = time.perf_counter() - start
    facts: dict[str, Any] = {
        "experiment": experiment,
        "method": method,
        "fold": str(fold),
        "entry": entry,
        "params": dict(params),
        "needs": dict(needs),
        "genes": list(panel),
        "window": dict(window) if window else None,
        "seed": seed,
        "seed_derived": context.seed,
        "started_from": str(start_weights or ""),
        "transform": target.name,
        DEFINITION: target.definition,
        "weights": weights,
        "threads": threads,
        "n_genes": len(panel),
        "n_genes_measured": len(all_genes),
        "n_sections_empty": sum(not len(s.data) for s in loaded),
        "seconds": round(seconds, 3),
        "target_sd": _spread(parts["train"]),
        "parameters": 0,
        "hardware": hardware(device),
        "versions": versions(),
        **peak_memory(),
        **told.facts,
    }
    if image is not None:
        facts["image"] = {**image, "um_per_px": _trained_scale(parts["train"])}
    if encoder is not None:
        facts["encoder"] = dict(encoder)
    if published := published_weights((weights_file, encoder_file), encoder, terms or {}):
        facts["published_weights"] = published
    for role, members in parts.items():
        facts[f"n_{role}_spots"] = sum(map(len, members))
        facts[f"{role}_sections"] = sorted(s.section for s in members)
        facts[f"{role}_patients"] = sorted({s.patient for s in members})
    _write_history(told.history, output_history)
    write_json(json_ready(facts), output_run)
    write_card(facts, Path(output_run).with_name(CARD))
    model.save(output_weights.parent)
    seal(output_weights)  # also where the method wrote the file by other means than this library's
    seal(output_run)  # genes, scale and stain: what others need to predict with the model
    shutil.rmtree(checkpoints, ignore_errors=True)
    log.info("fold %s: %s trained in %.1f s", fold, method, seconds)


def _checked_start(weights: Path, model: Method, target: Transform) -> Path:
    """Refuse to go on from a training of another target, or with a method that would ignore it."""
    if not getattr(model, "starts_from_weights", False):
        raise UserError(
            f"{type(model).__name__} cannot start from the weights of another training; leave `start_from` "
            "out of the experiment, or the method."
        )
    told = read_json(weights.parent / "run.json")
    if told[DEFINITION] != target.definition:
        raise UserError(
            f"{weights}: was trained on the target {told['transform']}, not {target.name}; use the same "
            "`transform` in both experiments."
        )
    check_seal(weights)
    check_seal(weights.parent / "run.json", required=False)
    return weights


def _trained_scale(sections: Sequence[SectionData]) -> float:
    """Median scale of the patches that were trained on, in micrometres per pixel; NaN where unknown."""
    return float(np.median([section.um_per_px for section in sections]))


def _spread(sections: Sequence[SectionData]) -> list[float]:
    """Return the unbiased standard deviation of every gene over all training spots, a unit of errors."""
    targets = training_targets(sections)
    sd = targets.std(axis=0, ddof=1, dtype=np.float64) if len(targets) > 1 else np.zeros(targets.shape[1])
    return [float(f"{value:.6g}") for value in sd]


def _write_history(history: list[dict[str, Any]], path: str | Path) -> None:
    """Write history rows; a method without epochs leaves a table with its header only."""
    import pandas as pd

    write_table(pd.DataFrame(history) if history else pd.DataFrame(columns=["stage", "epoch", "loss"]), path)


def _real(value: Any, what: str, name: str) -> np.ndarray:
    """Return an array of real, finite numbers that stay finite as float32, which is what is stored."""
    if np.ma.is_masked(value):
        raise ValueError(f"{name}: {what} has masked values; return plain numbers")
    try:
        array = np.asarray(value)
    except Exception as error:  # a tensor with gradients or on a device, a list of lists of unequal length
        text = " ".join(str(error).split())
        raise TypeError(
            f"{name}: {what} is a {type(value).__name__} that is no array ({text}); return a NumPy array"
        ) from error
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name}: {what} is of type {array.dtype}; return float32")
    with np.errstate(over="ignore"):
        bad = int((~np.isfinite(array.astype(np.float32))).sum())
    if bad:
        raise ValueError(f"{name}: {bad} values of {what} are not finite")
    return array


def check_prediction(prediction: Prediction, n_spots: int, n_genes: int, name: str) -> None:
    """Refuse a prediction that has not the right shapes, or is not made of finite real numbers.

    Raises
    ------
    TypeError, ValueError
        Says what of the prediction is wrong, beginning with ``name``.
    """
    if not hasattr(prediction, "expression"):
        raise TypeError(
            f"predict returned a {type(prediction).__name__}, expected a Prediction "
            "(histobench.training.contract); return Prediction(values)"
        )
    expression = _real(prediction.expression, "the prediction", name)
    if expression.shape != (n_spots, n_genes):
        raise ValueError(
            f"{name}: predicted {expression.shape}, expected {(n_spots, n_genes)} (spots, genes)"
        )
    if prediction.tumour_probability is not None:
        probability = _real(prediction.tumour_probability, "the tumour probability", name)
        if probability.shape != (n_spots,):
            raise ValueError(f"{name}: tumour probabilities of shape {probability.shape}")
        if not ((probability >= 0) & (probability <= 1)).all():
            raise ValueError(f"{name}: a tumour probability is outside [0, 1]")
    if prediction.embedding is not None:
        shape = _real(prediction.embedding, "the embedding", name).shape
        if len(shape) != 2 or shape[0] != n_spots:
            raise ValueError(f"{name}: embedding of shape {shape} for {n_spots} spots")


def predict(
    *,
    entry: str,
    params: Mapping[str, Any],
    needs: Mapping[str, Any],
    sections: Files,
    fold: str,
    panel_tsv: str | Path,
    genes_tsv: str | Path,
    transform: Transform | Mapping[str, Any] | str,
    model_folder: str | Path,
    output_folder: str | Path,
    experiment: str,
    method: str,
    weights: str = "imagenet",
    device: str = "auto",
    seed: int = 0,
    threads: int = 1,
    window: Mapping[str, float] | None = None,
    patch_um_per_px: float | str | None = None,
    measured_tsv: str | Path | None = None,
    scale_json: str | Path | None = None,
    score_further: Callable[..., pd.DataFrame] | None = None,
) -> None:
    """Predict the test sections of one fold with a trained method.

    The method sees images and positions only (``SectionData.without_truth``), unless its YAML file
    declares it an oracle.

    Parameters
    ----------
    model_folder
        Folder with the ``weights.pt`` that :func:`train` wrote.
    output_folder
        Gets one ``{section}.h5ad`` per test section and ``predict.json``, and ``every_gene.parquet`` where
        genes beside the panel are scored; it appears only when complete.
    sections
        The sections to predict, as in :func:`train`.
    entry, params, needs, fold, panel_tsv, genes_tsv, transform, experiment, method, weights, device, seed,
    threads, window, patch_um_per_px
        As in :func:`train`.
    measured_tsv
        The genes of the panel that these sections measure, where they come from another cohort than the
        training (:mod:`histobench.training.external`); others are predicted but cannot be compared, and are
        not written.
    scale_json
        File whose ``um_per_px`` takes the place of ``patch_um_per_px``.
    score_further
        Scores a section of a method that predicts genes beside the panel, which are not kept:
        :func:`histobench.training.every_gene.score_every_gene`. None leaves them alone. It is handed in, as
        nothing of it concerns a training.

    Raises
    ------
    UserError
        A file is missing or does not fit, or the method breaks the contract: a wrong shape, or values that
        are no finite real numbers.
    """
    import pandas as pd

    limit_threads(threads)
    if needs.get("gpu") and device in ("auto", "cuda"):
        claim_device()
    panel, all_genes = read_genes(panel_tsv), read_genes(genes_tsv)
    target = Transform.of(transform)
    measured = read_genes(measured_tsv) if measured_tsv is not None else panel
    if scale_json is not None:
        patch_um_per_px = read_json(scale_json)["um_per_px"]
    model = load_method(entry, params, model_folder)
    seconds, n_spots, scored = 0.0, 0, list[pd.DataFrame]()
    with atomic_folder(output_folder) as folder:
        for name in sorted(sections):  # one at a time: memory is that of the largest section
            (loaded,) = _load(
                {name: sections[name]},
                needs=needs,
                panel=panel,
                all_genes=all_genes,
                transform=target,
                window=window,
                patch_um_per_px=patch_um_per_px,
            )
            start = time.perf_counter()
            prediction = _predict_section(model, loaded, oracle=bool(needs.get("oracle")), n_genes=len(panel))
            seconds += time.perf_counter() - start
            n_spots += len(loaded.data)
            about = {
                "experiment": experiment,
                "method": method,
                "fold": str(fold),
                "seed": seed,
                **target.marks,
                "n_genes_measured": len(all_genes),
                "um_per_px": loaded.um_per_px,
                "cohort": loaded.data.cohort,
                "section": loaded.data.section,
                "patient": loaded.data.patient,
                "grid": loaded.data.grid,
            }
            if loaded.spatial:
                about["spatial"] = small_library(loaded.spatial)
            if prediction.further is not None and score_further is not None:
                try:
                    scored.append(
                        score_further(loaded, prediction, panel=panel, all_genes=all_genes, transform=target)
                    )
                except ValueError as error:
                    raise _broken(model, str(error)) from error
            if measured != panel:
                loaded, prediction = restrict(loaded, prediction, panel, measured)
            write_prediction(folder / f"{name}.h5ad", loaded, prediction, measured, about)
            log.info("fold %s: %s predicted section %s (%d spots)", fold, method, name, len(loaded.data))
        if scored:
            write_table(pd.concat(scored, ignore_index=True), folder / EVERY_GENE)
        facts = {
            "seconds": round(seconds, 3),
            "n_spots": n_spots,
            "spots_per_second": round(n_spots / seconds, 1) if seconds else 0.0,
            "hardware": hardware(device),
            "versions": versions(),
            **peak_memory(),
        }
        write_json(json_ready(facts), folder / "predict.json")


def _predict_section(model: Method, loaded: LoadedSection, *, oracle: bool, n_genes: int) -> Prediction:
    if not len(loaded.data):  # quality control left nothing; the file still says so
        return Prediction(np.zeros((0, n_genes), np.float32))
    shown = loaded.data.without_truth()
    if oracle:  # what it says of genes that are not measured is compared with nothing
        shown = replace(loaded.data, targets=np.nan_to_num(training_targets([loaded.data])))
    prediction = model.predict(shown)
    try:
        check_prediction(prediction, len(loaded.data), n_genes, f"section {loaded.data.section}")
    except (TypeError, ValueError) as error:
        raise _broken(model, str(error)) from error
    return prediction


def _broken(model: Method, what: str) -> UserError:
    """Say that a method breaks the contract, and where its author learns more."""
    return UserError(
        f"{type(model).__module__}:{type(model).__name__} breaks the contract of methods ({what}); mend it: "
        "`histobench check-method` says what it is expected to do."
    )


def restrict(
    loaded: LoadedSection, prediction: Prediction, panel: tuple[str, ...], measured: tuple[str, ...]
) -> tuple[LoadedSection, Prediction]:
    """Leave out the genes that a section does not measure: there is nothing to compare them with."""
    place = {gene: column for column, gene in enumerate(panel)}
    columns = np.array([place[gene] for gene in measured], dtype=np.intp)
    assert loaded.data.targets is not None  # sections are loaded with their truth
    data = replace(loaded.data, targets=loaded.data.targets[:, columns])
    return (
        replace(loaded, data=data, panel_counts=loaded.panel_counts[:, columns]),
        replace(
            prediction,
            expression=np.asarray(prediction.expression)[:, columns],
            permuted=(each[:, columns] for each in prediction.permuted),
        ),
    )


def write_prediction(
    path: str | Path,
    loaded: LoadedSection,
    prediction: Prediction,
    panel: tuple[str, ...],
    about: Mapping[str, Any],
) -> None:
    """Write one prediction file: predicted, true and raw values of the panel with all spot columns.

    ``var`` has the genes' identifiers and r over the spots of this section, ``varm["pearson_permuted"]`` r of
    every permutation of a control that draws several, (genes, permutations), that of ``X`` first.
    """
    import anndata
    import pandas as pd

    obs = with_conventions(loaded.obs, loaded.data.grid)
    obs["total_counts"] = loaded.data.total_counts
    if prediction.tumour_probability is not None:
        obs["tumour_probability"] = np.asarray(prediction.tumour_probability, np.float32)
    expression = np.asarray(prediction.expression, np.float32)
    targets = training_targets([loaded.data])
    pearson = gene_correlations(targets, expression)
    permuted = [gene_correlations(targets, each) for each in prediction.permuted]
    table = anndata.AnnData(
        X=expression,
        obs=obs,
        var=pd.DataFrame(
            {
                "gene_id": [loaded.gene_ids.get(gene, "") for gene in panel],
                "pearson": pearson,
            },
            index=pd.Index(panel, name="gene"),
        ),
        layers={"truth": targets, "counts": loaded.panel_counts},
        obsm={"spatial": obs[["pixel_x", "pixel_y"]].to_numpy(np.float64)},
        uns=dict(about),
    )
    if prediction.embedding is not None:
        table.obsm["embedding"] = np.asarray(prediction.embedding, np.float32)
    if permuted:
        table.varm[PERMUTED] = np.column_stack([pearson, *permuted]).astype(np.float32)
    table.write_h5ad(path, compression="gzip", compression_opts=1, convert_strings_to_categoricals=False)

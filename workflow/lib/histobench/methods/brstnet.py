"""BrST-Net: ten image networks, each with and without AuxNet.

Rahaman MM, Millar EKA, Meijering E. Breast cancer histopathology image-based gene expression prediction using
spatial transcriptomics data and deep learning. Scientific Reports 13, 13604 (2023), Methods.

What is easily missed, and is done here: targets are standardised per gene with the training mean and the
unbiased sd, auxiliary targets are not; both losses are mean squared errors although the paper calls them
cross-entropies; pixels are scaled by the mean over patches of each patch's own mean and sd, which is not
the pooled sd; networks start from random weights, and are those of the libraries that the authors used (see
:mod:`histobench.networks.released`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch.nn import functional

from histobench.bounds import (
    Count,
    Folds,
    NonNegative,
    Pixels,
    Positive,
    PositiveShare,
    Rate,
    Share,
    Views,
    one_of,
)
from histobench.errors import UserError
from histobench.methods.patchwise import Study, gather, predict_heads, training_loop
from histobench.networks.architectures import Architecture
from histobench.networks.backbones import Backbone, PixelNorm, count_parameters, make_backbone, seeded
from histobench.networks.multihead import MultiHead
from histobench.networks.released import IMPLEMENTATIONS, as_released
from histobench.seeds import seed_for
from histobench.training.augment import augment
from histobench.training.auxiliary import AuxiliaryTargets, auxiliary_targets
from histobench.training.contract import Context, Prediction, SectionData, TrainingLog
from histobench.training.correlation import pearson
from histobench.training.data import PatchSource
from histobench.training.device import on_device, pick_device, usable_device
from histobench.training.groups import inner_folds, inner_groups
from histobench.training.loop import Loop, Row
from histobench.training.store import read_weights, require, store_weights

BACKBONES = (
    "resnet101",
    "inception_v3",
    *(f"efficientnet_b{size}" for size in range(6)),
    "vit_b_16",
    "vit_b_32",
)
SCHEDULES = ("plateau", "cosine", "constant")
SELECTIONS = ("held_out", "retrained")
# Histories of the inner folds that the released script chooses an epoch from, and whether the least is best.
CRITERIA = {"valid_mse": True, "valid_mae": True, "valid_rmse": True, "valid_pearson": False}
LEAST_EPOCHS = 3


def patch_statistics(
    source: PatchSource, rows: np.ndarray, batch_size: int = 256
) -> tuple[list[float], list[float]]:
    """Return the mean over patches of each one's channel means, and of its unbiased channel sds (0 to 1)."""
    total = torch.zeros(2, 3, dtype=torch.float64)
    for first in range(0, len(rows), batch_size):
        batch = source.batch(rows[first : first + batch_size]).to(torch.int64)
        n = batch.shape[2] * batch.shape[3]
        mean = batch.sum(dim=(2, 3)).double().cpu() / n  # sums of integers are exact
        square = (batch * batch).sum(dim=(2, 3)).double().cpu() / n
        total[0] += mean.sum(dim=0)
        variance = (square - mean * mean).clamp_min(0) * (n / max(n - 1, 1))
        total[1] += variance.sqrt().sum(dim=0)
    mean, sd = total / len(rows) / 255.0
    sd = torch.where(sd > 0, sd, torch.ones_like(sd))  # a blank slide must not divide by zero
    return mean.tolist(), sd.tolist()


class BrSTNet:
    """One image network with a linear head, and AuxNet beside it where wanted.

    Parameters
    ----------
    backbone
        Image network; see :data:`BACKBONES`, or any other of :mod:`histobench.networks.backbones`.
    auxiliary
        Train AuxNet too: a second linear layer on the same features that predicts the other genes.
    auxiliary_weight
        Lambda: weight of its mean squared error.
    auxiliary_min_share
        Share of training spots in which a gene must be detected to be an auxiliary target.
    implementation
        "released" for the image libraries that the authors used, or "torchvision" for its padding and start.
    initialisation
        "random", or "experiment" for what the experiment's ``weights`` say; ImageNet weights are
        torchvision's and keep its padding.
    input_px
        Width that patches are resized to where they differ; None keeps their width.
    epochs, batch_size, learning_rate, momentum, weight_decay
        Of stochastic gradient descent.
    schedule
        "plateau" (paper), "cosine" (released script: period of ten epochs) or "constant".
    plateau_patience, plateau_factor, learning_rate_min
        Of the plateau schedule.
    selection
        "held_out": the best epoch's weights on held-out patients are kept. "retrained" (released script): the
        number of epochs comes from inner folds over the training patients, and all of them are trained on;
        see :func:`released_epochs`.
    patience
        Epochs without improvement before stopping, where patients are held out.
    valid_folds
        Held out: without validation patients in the experiment, one in so many training patients. Retrained:
        number of inner folds.
    augmentation
        Draw one of the eight symmetries for each patch.
    views
        Symmetries averaged in prediction.
    autocast
        Train with bfloat16 autocast.
    checkpoint_seconds
        Least time between checkpoints.
    """

    def __init__(
        self,
        *,
        backbone: Architecture = "efficientnet_b0",
        auxiliary: bool = True,
        auxiliary_weight: NonNegative = 40.0,
        auxiliary_min_share: Share = 0.1,
        implementation: Annotated[str, one_of(IMPLEMENTATIONS)] = "released",
        initialisation: Annotated[str, one_of(("random", "experiment"))] = "random",
        input_px: Pixels | None = 224,
        epochs: Count = 200,
        batch_size: Count = 32,
        learning_rate: Positive = 1e-3,
        momentum: Rate = 0.9,
        weight_decay: NonNegative = 1e-6,
        schedule: Annotated[str, one_of(SCHEDULES)] = "plateau",
        plateau_patience: Count = 5,
        plateau_factor: PositiveShare = 0.1,
        learning_rate_min: NonNegative = 1e-6,
        selection: Annotated[str, one_of(SELECTIONS)] = "held_out",
        patience: Count = 20,
        valid_folds: Folds = 5,
        augmentation: bool = True,
        views: Views = 1,
        autocast: bool = False,
        checkpoint_seconds: NonNegative = 60.0,
    ) -> None:
        self.backbone = backbone
        self.auxiliary = auxiliary
        self.auxiliary_weight = auxiliary_weight
        self.auxiliary_min_share = auxiliary_min_share
        self.implementation = implementation
        self.initialisation = initialisation
        self.input_px = input_px
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.plateau_patience = plateau_patience
        self.plateau_factor = plateau_factor
        self.learning_rate_min = learning_rate_min
        self.selection = selection
        self.patience = patience
        self.valid_folds = valid_folds
        self.augmentation = augmentation
        self.views = views
        self.autocast = autocast
        self.checkpoint_seconds = checkpoint_seconds

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Train until the validation error of the standardised panel stops falling, or as ``selection`` says.

        Raises
        ------
        UserError
            An unknown choice, ImageNet weights that cannot be had, or a training that diverges.
        """
        self._check()
        torch.set_num_threads(context.threads)
        self._device = pick_device(context.device)
        study = gather(train, valid, folds=self.valid_folds)
        source = PatchSource(study.patches(), input_px=self.input_px, device=self._device)
        self._width = source.input_px
        facts: dict[str, float | int | str] = {"selection": self.selection, "selection_unit": study.unit}
        history: list[Row] = []
        if self.selection == "held_out":
            further = self._further(study, context)
            loop = self._loop(study, source, further, context)
        else:
            unit, groups = inner_groups(study.sections[: len(train)])
            study = replace(study, learn=np.arange(len(groups)), unit=unit)
            further = self._further(study, context)
            epochs, history = self._choose_epochs(study, source, further, context, groups)
            facts["selection_unit"] = unit if history else "none"
            loop = self._loop(study, source, further, context, epochs=epochs)
        history = [*history, *loop.run()]
        self._network = network = _multihead(loop.network)
        return TrainingLog(
            list(history),
            {
                "parameters": count_parameters(network),
                "epochs": loop.best_epoch,
                "epochs_run": len(history),
                "n_auxiliary_genes": 0 if further is None else len(further.genes),
                "device": str(self._device),
                **facts,
            },
        )

    def _check(self) -> None:
        choices = {
            "schedule": SCHEDULES,
            "implementation": IMPLEMENTATIONS,
            "initialisation": ("random", "experiment"),
            "selection": SELECTIONS,
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise UserError(f"{name} {getattr(self, name)!r}: choose one of {', '.join(known)}.")
        if self.selection == "retrained" and self.schedule == "plateau":
            raise UserError(
                "schedule plateau waits for an error on held-out patients, but selection retrained holds "
                "none out in the end; choose cosine or constant, or selection held_out."
            )

    def _choose_epochs(
        self,
        study: Study,
        source: PatchSource,
        further: AuxiliaryTargets | None,
        context: Context,
        groups: np.ndarray,
    ) -> tuple[int, list[Row]]:
        """Return how many epochs to retrain for, and the history of the inner folds."""
        folds = inner_folds(groups, self.valid_folds)
        histories = []
        for number, (learn, held) in enumerate(folds):
            part = replace(study, learn=learn, held=held)
            stage = f"inner{number}"
            histories.append(self._loop(part, source, further, context, stage=stage).run())
        # a single patient with a single strip cannot be folded
        epochs = released_epochs(histories) if folds and self.epochs else self.epochs
        return epochs, [row for history in histories for row in history]

    def _further(self, study: Study, context: Context) -> AuxiliaryTargets | None:
        if not self.auxiliary:
            return None
        return auxiliary_targets(study.sections, context, study.learn, min_share=self.auxiliary_min_share)

    def _build(
        self, study: Study, source: PatchSource, further: AuxiliaryTargets | None, context: Context
    ) -> MultiHead:
        weights = context.weights if self.initialisation == "experiment" else "none"
        backbone = make_backbone(
            self.backbone,
            weights=weights,
            file=context.weights_file,
            seed=context.seed,
            input_px=source.input_px,
        )
        self._pretrained = weights == "imagenet"
        with seeded(seed_for(context.seed, "backbone")):
            backbone = self._released(backbone)
        network = MultiHead(
            PixelNorm(*patch_statistics(source, study.learn)),
            backbone,
            genes=study.targets.shape[1],
            auxiliary=0 if further is None else len(further.genes),
            seed=seed_for(context.seed, "heads"),
        )
        learnt = study.targets[study.learn].astype(np.float64)
        sd = learnt.std(axis=0, ddof=1) if len(learnt) > 1 else np.ones(learnt.shape[1])
        network.target_mean.copy_(torch.from_numpy(learnt.mean(axis=0)))
        network.target_sd.copy_(torch.from_numpy(np.where(sd > 0, sd, 1.0)))  # a constant gene stays
        return network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _released(self, backbone: Backbone) -> Backbone:
        """Return the authors' form of a network of torchvision."""
        module = as_released(
            backbone.module, self.backbone, implementation=self.implementation, start=not self._pretrained
        )
        return Backbone(module, backbone.dimension)

    def _loop(
        self,
        study: Study,
        source: PatchSource,
        further: AuxiliaryTargets | None,
        context: Context,
        *,
        stage: str = "final",
        epochs: int | None = None,
    ) -> Loop:
        """Prepare a training on the study's spots; with ``epochs`` it runs to the end, none held out."""
        network, device = self._build(study, source, further, context), self._device
        wanted = torch.from_numpy(study.targets).to(device)
        wanted = (wanted - network.target_mean) / network.target_sd

        def step(batch: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
            pixels = source.batch(batch)
            features = network.features(augment(pixels, rng) if self.augmentation else pixels)
            chosen = wanted[on_device(batch, device)]
            loss = functional.mse_loss(network.primary(features).float(), chosen)  # type: ignore[misc]
            if network.auxiliary is not None and further is not None:
                others = on_device(further.batch(batch), device)
                error = functional.mse_loss(network.auxiliary(features).float(), others)
                loss = loss + self.auxiliary_weight * error
            return loss

        def score(_: int) -> Row:
            if epochs is not None:
                return {}
            predicted = predict_heads(network, source, study.held, width=source.input_px)[0]
            assert predicted is not None
            observed = study.targets[study.held]
            scale = network.target_sd.cpu().numpy().astype(np.float64)
            error = (predicted - observed) / scale
            row: Row = {"valid_mse": float((error**2).mean())}
            if self.selection == "retrained":
                row["valid_mae"] = float(np.abs(error).mean())
                row["valid_rmse"] = float(np.sqrt((error**2).mean(axis=0)).mean())
                row["valid_pearson"] = float(np.nan_to_num(pearson(predicted, observed, 0)).mean())
            return row

        optimiser = torch.optim.SGD(
            network.parameters(),
            lr=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )
        return training_loop(
            __name__, self, study, context,
            network=network,
            optimiser=optimiser,
            scheduler=self._scheduler(optimiser),
            step=step,
            prefetch=source.prefetch,
            device=device,
            after_epoch=score,
            epochs=self.epochs if epochs is None else epochs,
            stage=stage,
            keep_best="valid_mse" if self.selection == "held_out" else None,
        )  # fmt: skip

    def _scheduler(self, optimiser: torch.optim.Optimizer) -> object:
        if self.schedule == "plateau":
            return torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimiser,
                patience=self.plateau_patience,
                factor=self.plateau_factor,
                min_lr=self.learning_rate_min,
            )
        if self.schedule == "cosine":
            return torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=5)
        return None

    def predict(self, section: SectionData) -> Prediction:
        """Predict each patch on the scale of the targets; the embedding is what both heads see."""
        source = PatchSource(
            [require(section, "patches")], input_px=self._width, device=self._device, resident=False
        )
        expression, _, features = predict_heads(
            self._network, source, np.arange(len(source)), width=self._width, views=self.views
        )
        assert expression is not None
        return Prediction(expression, embedding=features)

    def save(self, folder: Path) -> None:
        """Write weights, target scale, pixel statistics and what is needed to build the network again."""
        store_weights(
            folder,
            {
                "network": dict(self._network.state_dict()),
                "n_genes": len(self._network.target_mean),
                "n_auxiliary": 0 if self._network.auxiliary is None else self._network.auxiliary.out_features,
                "width": self._width,
                "pretrained": self._pretrained,
                "device": str(self._device),
            },
        )

    def load(self, folder: Path) -> None:
        """Build the network and restore its weights."""
        stored = read_weights(folder)
        self._device, self._width = usable_device(stored["device"]), stored["width"]
        self._pretrained = stored["pretrained"]
        backbone = self._released(make_backbone(self.backbone, input_px=self._width))
        network = MultiHead(PixelNorm(), backbone, genes=stored["n_genes"], auxiliary=stored["n_auxiliary"])
        network.load_state_dict(stored["network"])
        self._network = network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def released_epochs(histories: Sequence[Sequence[Row]]) -> int:
    """Return for how many epochs the released script retrains.

    For each of four criteria the epoch that is best on the average of the inner folds counts from zero; their
    mean is rounded up, and at least three. So the network is retrained for one epoch less than chosen, as
    released.

    Parameters
    ----------
    histories
        One row per epoch for each inner fold, with the entries of :data:`CRITERIA`.
    """
    best = []
    for name, least in CRITERIA.items():
        average = np.mean([[float(row[name]) for row in history] for history in histories], axis=0)
        best.append(int(np.argmin(average) if least else np.argmax(average)))
    return max(math.ceil(np.mean(best)), LEAST_EPOCHS)


def _multihead(network: torch.nn.Module) -> MultiHead:
    assert isinstance(network, MultiHead)
    return network

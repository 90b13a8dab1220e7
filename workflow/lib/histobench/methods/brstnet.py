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
from dataclasses import dataclass, replace
from typing import Annotated, Any

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
    Precision,
    Rate,
    Share,
    Views,
    one_of,
)
from histobench.errors import UserError
from histobench.networks.architectures import Architecture
from histobench.networks.backbones import Backbone, PixelNorm, seeded
from histobench.networks.multihead import MultiHead
from histobench.networks.released import IMPLEMENTATIONS, as_released
from histobench.seeds import seed_for
from histobench.training.auxiliary import AuxiliaryTargets, auxiliary_targets
from histobench.training.contract import Context, Prediction, SectionData
from histobench.training.correlation import pearson
from histobench.training.data import PatchSource
from histobench.training.groups import inner_folds, inner_groups
from histobench.training.inference import predict_heads
from histobench.training.loop import Row
from histobench.training.network_method import Facts, NetworkMethod, Shape, Start, Training
from histobench.training.study import Study, gather

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


@dataclass(frozen=True, kw_only=True)
class BrSTNet(NetworkMethod[MultiHead]):
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
    precision
        Of training and prediction, see :data:`histobench.bounds.Precision`.
    checkpoint_seconds
        Least time between checkpoints.
    """

    backbone: Architecture = "efficientnet_b0"
    auxiliary: bool = True
    auxiliary_weight: NonNegative = 40.0
    auxiliary_min_share: Share = 0.1
    implementation: Annotated[str, one_of(IMPLEMENTATIONS)] = "released"
    initialisation: Annotated[str, one_of(("random", "experiment"))] = "random"
    input_px: Pixels | None = 224
    epochs: Count = 200
    batch_size: Count = 32
    learning_rate: Positive = 1e-3
    momentum: Rate = 0.9
    weight_decay: NonNegative = 1e-6
    schedule: Annotated[str, one_of(SCHEDULES)] = "plateau"
    plateau_patience: Count = 5
    plateau_factor: PositiveShare = 0.1
    learning_rate_min: NonNegative = 1e-6
    selection: Annotated[str, one_of(SELECTIONS)] = "held_out"
    patience: Count = 20
    valid_folds: Folds = 5
    augmentation: bool = True
    views: Views = 1
    precision: Precision = "tf32"
    checkpoint_seconds: NonNegative = 60.0

    def check(self, valid: Sequence[SectionData]) -> None:
        """Refuse a schedule that waits for patients whom the selection does not hold out."""
        if self.selection == "retrained" and self.schedule == "plateau":
            raise UserError(
                "schedule plateau waits for an error on held-out patients, but selection retrained holds "
                "none out in the end; choose cosine or constant, or selection held_out."
            )

    def gather(self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context) -> Study:
        """Hold patients out; where the network is retrained, all training patients teach."""
        study = gather(train, valid, folds=self.valid_folds)
        if self.selection == "held_out":
            return study
        unit, groups = inner_groups(study.sections[: study.n_train])
        return replace(study, learn=np.arange(len(groups)), unit=unit)

    def examples(self, training: Training) -> None:
        """Open the patches, and choose the auxiliary genes."""
        super().examples(training)
        study, further = training.study, None
        if self.auxiliary:
            further = auxiliary_targets(
                study.sections, training.context, study.learn, min_share=self.auxiliary_min_share
            )
        training.more["further"] = further
        training.shape = replace(
            training.shape,
            auxiliary=0 if further is None else len(further.genes),
            pretrained=self.initialisation == "experiment" and training.context.weights == "imagenet",
        )

    def network(self, shape: Shape, start: Start) -> MultiHead:
        """Build the authors' form of a network of torchvision, with its heads."""
        backbone = start.backbone(self.backbone, shape.px, pretrained=self.initialisation == "experiment")
        with seeded(seed_for(start.seed, "backbone")):
            module = as_released(
                backbone.module,
                self.backbone,
                implementation=self.implementation,
                start=not shape.pretrained,
            )
        return MultiHead(
            PixelNorm(),
            Backbone(module, backbone.dimension),
            genes=shape.genes,
            auxiliary=shape.auxiliary,
            seed=seed_for(start.seed, "heads"),
        )

    def prepare(self, network: MultiHead, training: Training, learn: np.ndarray) -> None:
        """Set the statistics of pixels and the scale of targets."""
        network.norm.set(*patch_statistics(training.patches, learn))
        learnt = training.study.targets[learn].astype(np.float64)
        sd = learnt.std(axis=0, ddof=1) if len(learnt) > 1 else np.ones(learnt.shape[1])
        network.target_mean.copy_(torch.from_numpy(learnt.mean(axis=0)))
        network.target_sd.copy_(torch.from_numpy(np.where(sd > 0, sd, 1.0)))  # a constant gene stays

    def optimiser(self, network: MultiHead) -> tuple[torch.optim.Optimizer, Any]:
        """Return stochastic gradient descent with the chosen schedule."""
        optimiser = torch.optim.SGD(
            network.parameters(),
            lr=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )
        if self.schedule == "plateau":
            return optimiser, torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimiser,
                patience=self.plateau_patience,
                factor=self.plateau_factor,
                min_lr=self.learning_rate_min,
            )
        if self.schedule == "cosine":
            return optimiser, torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=5)
        return optimiser, None

    def learn(self, training: Training) -> tuple[list[Row], Facts]:
        """Train until the error of the standardised panel stops falling, or as ``selection`` says."""
        facts: Facts = {"selection": self.selection, "n_auxiliary_genes": training.shape.auxiliary}
        history: list[Row] = []
        if self.selection == "held_out":
            loop = self.loop(training)
        else:
            study = training.study
            _, groups = inner_groups(study.sections[: study.n_train])
            folds = inner_folds(groups, self.valid_folds)
            histories = [
                self.loop(training, learn, held, stage=f"inner{number}", keep_best=None).run()
                for number, (learn, held) in enumerate(folds)
            ]
            history = [row for rows in histories for row in rows]
            # a single patient with a single strip cannot be folded
            epochs = released_epochs(histories) if folds and self.epochs else self.epochs
            if not history:
                facts["selection_unit"] = "none"
            loop = self.loop(training, held=study.learn[:0], epochs=epochs, keep_best=None)
        history = [*history, *loop.run()]
        facts |= {**self.keep(loop), "epochs_run": len(history)}
        for part, rows in (("train", training.study.learn), ("valid", training.study.held)):
            # what is retrained on holds nobody out
            if len(rows) and (part == "train" or self.selection == "held_out"):
                errors = self._errors(self.fitted, training, rows)
                facts |= {f"{part}_mae": errors["mae"], f"{part}_rmse": errors["rmse"]}
        return history, facts

    def batch_loss(
        self, network: MultiHead, training: Training, batch: np.ndarray, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return the squared error of the standardised panel, and that of AuxNet."""
        features = network.features(self.pixels(training, batch, rng))
        wanted = (training.wanted[training.rows(batch)] - network.target_mean) / network.target_sd
        loss = functional.mse_loss(network.primary(features).float(), wanted)  # type: ignore[misc]
        further: AuxiliaryTargets | None = training.more["further"]
        if further is not None:
            loss = loss + self.auxiliary_weight * further.error(network, features, batch, training.device)
        return loss

    def scores(self, network: MultiHead, training: Training, held: np.ndarray, epoch: int) -> Row:
        """Return errors of the standardised panel; where an epoch is chosen on them, all criteria."""
        found = self._errors(network, training, held)
        names = ("mse", "mae", "rmse", "pearson") if self.selection == "retrained" else ("mse",)
        return {f"valid_{name}": found[name] for name in names}

    def _errors(self, network: MultiHead, training: Training, rows: np.ndarray) -> dict[str, float]:
        """Return errors of spots in units of the training sd, and their r, means over genes."""
        predicted = predict_heads(network, training.patches, rows, width=training.shape.px).expression
        assert predicted is not None
        observed = training.study.targets[rows]
        error = (predicted - observed) / network.target_sd.cpu().numpy().astype(np.float64)
        return {
            "mse": float((error**2).mean()),
            "mae": float(np.abs(error).mean()),
            "rmse": float(np.sqrt((error**2).mean(axis=0)).mean()),
            "pearson": float(np.nan_to_num(pearson(predicted, observed, 0)).mean()),
        }

    def infer(self, section: SectionData) -> Prediction:
        """Predict each patch on the scale of the targets; the embedding is what both heads see."""
        source, width = self.opened(section), self.trained.shape.px
        found = predict_heads(self.fitted, source, np.arange(len(source)), width=width, views=self.views)
        assert found.expression is not None
        return Prediction(found.expression, embedding=found.embedding)


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

"""ST-Net: DenseNet-121 fine-tuned to predict expression from a patch.

He B, Bergenstrahle L, Stenbeck L, et al. Integrating spatial gene expression and breast tumour morphology
via deep learning. Nature Biomedical Engineering 4, 827-834 (2020), Methods.

What is easily missed, and is done here: the loss is a sum over the batch of the mean over genes (with a
mean over the batch the learning rate would be 32 times too small); the head starts at zero weight with the
training means as bias; pixel mean and sd come from the first training batches, not from ImageNet; the
number of epochs comes from inner folds over training patients, evaluated with test-time averaging.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch

from histobench.bounds import Count, NonNegative, Pixels, Positive, Precision, Rate, Views, Whole, one_of
from histobench.networks.architectures import Architecture
from histobench.networks.backbones import PixelNorm
from histobench.networks.heads import Regressor, start_as_mean
from histobench.seeds import seed_for
from histobench.training.checkpoint import start_from
from histobench.training.contract import Context, Prediction, SectionData
from histobench.training.correlation import mean_gene_pearson
from histobench.training.data import pixel_statistics
from histobench.training.groups import inner_folds, inner_groups
from histobench.training.inference import predict_patches
from histobench.training.loop import Row
from histobench.training.network_method import (
    Facts,
    NetworkMethod,
    Shape,
    Start,
    Training,
    image_rate,
    needs_valid,
)
from histobench.training.store import column_means
from histobench.training.study import Study, everything

log = logging.getLogger(__name__)

SELECTIONS = ("inner_folds", "valid", "fixed")
TRAINED = ("all", "head")


@dataclass(frozen=True, kw_only=True)
class STNet(NetworkMethod[Regressor]):
    """Predict expression from single patches.

    Parameters
    ----------
    architecture
        Backbone; see :mod:`histobench.networks.backbones`.
    input_px
        Width that patches are resized to where they differ; None keeps their width.
    pretrained
        Start from the experiment's ``weights``; without, from a random network, whatever they are.
    trained_layers
        "all", or the "head" alone: the weights before it stay as they start. Batch normalisation goes on
        adapting to the batches, as in the released loop.
    epochs
        Most epochs to train.
    selection
        How the number of epochs is chosen: "inner_folds" (over training patients, then retrained on all
        of them), "valid" (the epoch that is best on the experiment's validation patients) or "fixed"
        (``epochs`` as given).
    inner_folds
        Number of inner folds; with fewer training patients there are as many folds as patients. 0 or 1
        means "fixed".
    learning_rate, momentum, weight_decay, batch_size
        Of stochastic gradient descent; the loss is summed over the batch.
    statistics_batches
        Training batches that pixel mean and sd come from.
    augmentation
        Draw one of the eight symmetries for each patch.
    views
        Views averaged in prediction: 8 symmetries, or 1.
    selection_views
        The same while choosing the epoch.
    precision
        Of training and prediction, see :data:`histobench.bounds.Precision`.
    checkpoint_seconds
        Least time between checkpoints.
    """

    starts_from_weights: ClassVar[bool] = True
    summed_loss: ClassVar[bool] = True

    architecture: Architecture = "densenet121"
    input_px: Pixels | None = 224
    pretrained: bool = True
    trained_layers: Annotated[str, one_of(TRAINED)] = "all"
    epochs: Count = 50
    selection: Annotated[str, one_of(SELECTIONS)] = "inner_folds"
    inner_folds: Whole = 4
    learning_rate: Positive = 1e-6
    momentum: Rate = 0.9
    weight_decay: NonNegative = 0.0
    batch_size: Count = 32
    statistics_batches: Count = 12
    augmentation: bool = True
    views: Views = 8
    selection_views: Views = 8
    precision: Precision = "tf32"
    checkpoint_seconds: NonNegative = 60.0

    def check(self, valid: Sequence[SectionData]) -> None:
        """Refuse the choice of an epoch on validation patients where there are none."""
        needs_valid(self.selection, valid)

    def gather(self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context) -> Study:
        """All training sections teach; those of validation patients, if any, are scored."""
        return everything(train, valid)

    def network(self, shape: Shape, start: Start) -> Regressor:
        """Build a backbone with one linear layer."""
        backbone = start.backbone(self.architecture, shape.px, pretrained=self.pretrained)
        return Regressor(PixelNorm(), backbone, torch.nn.Linear(backbone.dimension, shape.genes))

    def prepare(self, network: Regressor, training: Training, learn: np.ndarray) -> None:
        """Set pixel statistics from the first batches, and let the head start as the training means."""
        order = np.random.default_rng(seed_for(training.context.seed, "statistics")).permutation(learn)
        size = self.batch_size
        firsts = range(0, min(len(order), size * self.statistics_batches), size)
        network.norm.set(*pixel_statistics([training.patches.batch(order[f : f + size]) for f in firsts]))
        start_as_mean(network.head, column_means(training.study.targets[learn]))
        network.backbone.requires_grad_(self.trained_layers == "all")
        start_from(network, training.context.start, training.context.genes, head="head")

    def optimiser(self, network: Regressor) -> tuple[torch.optim.Optimizer, None]:
        """Return stochastic gradient descent on what is trained."""
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        return torch.optim.SGD(
            trained, lr=self.learning_rate, momentum=self.momentum, weight_decay=self.weight_decay
        ), None

    def batch_loss(
        self, network: Regressor, training: Training, batch: np.ndarray, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return the published loss: see :func:`summed_loss`."""
        predicted, _ = network(self.pixels(training, batch, rng))
        return summed_loss(predicted, training.wanted[training.rows(batch)])

    def scores(self, network: Regressor, training: Training, held: np.ndarray, epoch: int) -> Row:
        """Return the squared error of held-out spots, per value, and their mean r, which chooses nothing."""
        predicted, _ = predict_patches(network, training.patches, held, views=self.selection_views)
        wanted = training.study.targets[held]
        return {
            "valid_mse": float(((predicted - wanted).astype(np.float64) ** 2).sum()) / wanted.size,
            "valid_pearson": mean_gene_pearson(predicted, wanted, training.study.groups[held]),
        }

    def learn(self, training: Training) -> tuple[list[Row], Facts]:
        """Choose the number of epochs and train on all training sections."""
        study = training.study
        unit, groups = inner_groups(study.sections[: study.n_train])
        folds = inner_folds(groups, self.inner_folds) if self.selection == "inner_folds" else []
        keep_best = "valid_mse" if self.selection == "valid" else None
        history: list[Row] = []
        facts: Facts = {"selection": self.selection, "inner_folds": len(folds)}
        epochs = self.epochs
        if folds:
            epochs, history = self._choose_epochs(training, folds)
            facts["selection_unit"] = unit
        elif self.selection == "inner_folds":
            facts["selection"] = "fixed"  # nothing to fold, or inner_folds of 0 or 1
        loop = self.loop(training, epochs=epochs, keep_best=keep_best)
        history = [*history, *loop.run()]
        rate = image_rate(history, len(study.learn))
        return history, {**facts, **self.keep(loop), "images_per_second": rate}

    def _choose_epochs(
        self, training: Training, folds: list[tuple[np.ndarray, np.ndarray]]
    ) -> tuple[int, list[Row]]:
        """Return the epoch with the least squared error summed over all held-out spots, and the history."""
        history: list[Row] = []
        errors = np.zeros(self.epochs)
        for number, (learn, held) in enumerate(folds):
            rows = self.loop(training, learn, held, stage=f"inner{number}", keep_best=None).run()
            errors += [float(row["valid_mse"]) * len(held) for row in rows]
            history += rows
        epochs = int(np.argmin(errors)) + 1
        log.info("inner folds: least error after %d of %d epochs", epochs, self.epochs)
        return epochs, history

    def infer(self, section: SectionData) -> Prediction:
        """Predict each patch, averaged over its symmetries; the embedding is that of the plain patch."""
        source = self.opened(section)
        expression, features = predict_patches(
            self.fitted, source, np.arange(len(source)), views=self.views, batch_size=self.batch_size
        )
        return Prediction(expression, embedding=features)


def summed_loss(predicted: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Sum over spots of the mean over genes of squared errors (He et al. 2020)."""
    return ((predicted.float() - wanted) ** 2).mean(dim=1).sum()

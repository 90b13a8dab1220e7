"""HE2Gene: one encoder, heads for the panel, for all other genes and for tumour, and a spatial penalty.

Chen X, Lin J, Wang Y, et al. HE2Gene: image-to-RNA translation via multi-task learning for spatial
transcriptomics data. Bioinformatics 40, btae343 (2024), sect. 2.

What is easily missed, and is done here: the main view is the middle 100 um, while test-time averaging over
windows looks at half and at one and a half times of it; validation follows the panel only; the spatial
penalty compares predictions with predictions, by the pathologist's labels, and needs neither at test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

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
    Shares,
    Triple,
    Whole,
    one_of,
)
from histobench.networks.architectures import Architecture
from histobench.networks.backbones import PixelNorm
from histobench.networks.multihead import MultiHead
from histobench.seeds import seed_for
from histobench.training.augment import augment
from histobench.training.auxiliary import AuxiliaryTargets, auxiliary_targets
from histobench.training.checkpoint import start_from
from histobench.training.contract import Context, FurtherGenes, Prediction, SectionData
from histobench.training.correlation import mean_gene_pearson
from histobench.training.data import PatchSource
from histobench.training.device import arithmetic
from histobench.training.inference import central_window, predict_heads
from histobench.training.loop import Row
from histobench.training.losses import labelled_bce, spatial_loss
from histobench.training.neighbours import NeighbourTable, neighbour_table
from histobench.training.network_method import Facts, Shape, Start, SteppedAdam, Training
from histobench.training.study import Study, gather

SPATIAL = ("none", "mean", "pairwise")
TEST_VIEWS = ("single", "grid", "tta", "grid_tta")
TRAINED = ("all", "heads")


@dataclass(frozen=True, kw_only=True)
class HE2Gene(SteppedAdam[MultiHead]):
    """Predict expression from patches with further tasks in training.

    Parameters
    ----------
    backbone
        Encoder; see :mod:`histobench.networks.backbones`.
    auxiliary, auxiliary_weight, auxiliary_min_spots
        Predict all other genes too; weight of their squared error (lambda); least training spots in which
        such a gene is detected.
    tumour, tumour_weight
        Predict tumour too; weight of its cross-entropy (beta).
    spatial, spatial_weight
        Penalty between neighbouring spots of one label: "none", "mean" (released code) or "pairwise"
        (paper); its weight (gamma).
    dummy_neighbours
        Fill missing neighbours with black images that pass the encoder, and its batch normalisation, as the
        released code does.
    window_share
        The main view as a share of the patch; the method is given more than it trains on.
    grid_shares
        Views averaged under "grid".
    input_px
        Width that the encoder takes.
    pretrained
        Start the encoder from the experiment's ``weights``; without, from a random network, whatever
        they are.
    trained_layers
        "all", or the "heads" alone: the weights of the encoder stay as they start, while its batch
        normalisation goes on adapting to the batches.
    pixel_mean, pixel_sd
        Of each channel, on the scale 0 to 1.
    epochs, batch_size, learning_rate, weight_decay, clip_norm
        Of Adam; weight decay is its L2 penalty, the norm that of the gradient.
    decay_every, decay_factor
        The learning rate is multiplied by the factor after so many epochs; 0 epochs leave the network
        as it starts.
    patience
        Epochs without improvement before stopping; the best epoch's weights are kept.
    validation, valid_folds
        Who decides when to stop: one in ``valid_folds`` "patients" (those of the experiment where it sets
        some aside), or of the "spots" of the training patients, augmented, as in the released code.
    augmentation
        Draw one of the eight symmetries for each patch.
    test_views
        What predictions are averaged over: "single" view, "grid" of windows, "tta" (eight symmetries) or
        "grid_tta".
    precision
        Of training and prediction, see :data:`histobench.bounds.Precision`.
    checkpoint_seconds
        Least time between checkpoints.
    """

    starts_from_weights: ClassVar[bool] = True

    backbone: Architecture = "resnet50"
    auxiliary: bool = True
    auxiliary_weight: NonNegative = 20.0
    auxiliary_min_spots: Whole = 3
    tumour: bool = True
    tumour_weight: NonNegative = 1.0
    spatial: Annotated[str, one_of(SPATIAL)] = "none"
    spatial_weight: NonNegative = 0.01
    dummy_neighbours: bool = False
    window_share: PositiveShare = 2 / 3
    grid_shares: Shares = (2 / 3, 1 / 3, 1.0)
    input_px: Pixels = 224
    pretrained: bool = True
    trained_layers: Annotated[str, one_of(TRAINED)] = "all"
    pixel_mean: Triple = (0.5319, 0.5080, 0.6824)
    pixel_sd: Triple = (0.2442, 0.2063, 0.1633)
    epochs: Whole = 100
    batch_size: Count = 256
    learning_rate: Positive = 1e-5
    weight_decay: NonNegative = 1e-4
    clip_norm: Positive = 1.0
    decay_every: Count = 10
    decay_factor: PositiveShare = 0.5
    patience: Count = 10
    validation: Annotated[str, one_of(("patients", "spots"))] = "patients"
    valid_folds: Folds = 10
    augmentation: bool = True
    test_views: Annotated[str, one_of(TEST_VIEWS)] = "tta"
    precision: Precision = "tf32"
    checkpoint_seconds: NonNegative = 60.0

    def gather(self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context) -> Study:
        """Hold out patients, or spots as in the released code."""
        return gather(train, valid, folds=self.valid_folds, unit=self.validation, seed=context.seed)

    def examples(self, training: Training) -> None:
        """Open the whole field of the patches, and what beside the panel is learnt."""
        study, context = training.study, training.context
        field = max(array.shape[1] for array in study.patches())
        training.source = PatchSource(study.patches(), input_px=field, device=training.device)
        labels = study.stacked("labels").astype(np.float32)
        training.more["tumour"] = torch.from_numpy(labels).to(training.device)
        if self.spatial != "none":
            training.more["neighbours"] = neighbour_table(study.sections, labels)
        further = None
        if self.auxiliary:
            further = auxiliary_targets(
                study.sections, context, study.learn, min_spots=self.auxiliary_min_spots
            )
        training.more["further"] = further
        self.trained.extra["auxiliary_genes"] = [] if further is None else list(further.genes)
        n_further = 0 if further is None else len(further.genes)
        training.shape = replace(training.shape, px=field, auxiliary=n_further)

    def network(self, shape: Shape, start: Start) -> MultiHead:
        """Build the encoder with its heads."""
        return MultiHead(
            PixelNorm(list(self.pixel_mean), list(self.pixel_sd)),
            start.backbone(self.backbone, self.input_px, pretrained=self.pretrained),
            genes=shape.genes,
            auxiliary=shape.auxiliary,
            tumour=self.tumour,
            seed=seed_for(start.seed, "heads"),
        )

    def prepare(self, network: MultiHead, training: Training, learn: np.ndarray) -> None:
        """Freeze the encoder where only heads are trained, and take over the weights of another training."""
        network.backbone.requires_grad_(self.trained_layers == "all")
        # auxiliary genes are those that every training chooses itself
        start_from(network, training.context.start, training.context.genes, head="primary", fresh="auxiliary")

    def learn(self, training: Training) -> tuple[list[Row], Facts]:
        """Train until the validation error of the panel stops falling."""
        labelled = int(torch.isfinite(training.more["tumour"][training.rows(training.study.learn)]).sum())
        self.trained.extra["knows_tumour"] = labelled > 0
        history, facts = super().learn(training)
        return history, {**facts, "n_auxiliary_genes": training.shape.auxiliary, "n_labelled": labelled}

    def batch_loss(
        self, network: MultiHead, training: Training, batch: np.ndarray, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return the squared error of the panel, and what the further tasks add."""
        chosen = training.rows(batch)
        pixels = self.pixels(training, batch, rng)
        around = self._around(training, batch, rng)
        if around is not None:
            pixels = torch.cat([pixels, around[0]])
        everything = network.features(pixels)
        features = everything[: len(batch)]
        predicted = network.expression(features)
        loss = functional.mse_loss(predicted, training.wanted[chosen])
        further: AuxiliaryTargets | None = training.more["further"]
        if further is not None:
            loss = loss + self.auxiliary_weight * further.error(network, features, batch, training.device)
        if network.tumour is not None:
            error = labelled_bce(network.tumour_logit(features), training.more["tumour"][chosen])
            loss = loss + self.tumour_weight * error
        if around is not None:
            beside = network.expression(everything[len(batch) :])
            placed = beside.new_zeros(around[1].numel(), beside.shape[1])
            placed = placed.index_copy(0, around[2], beside).reshape(*around[1].shape, -1)
            error = spatial_loss(predicted, placed, around[1], self.spatial)
            loss = loss + self.spatial_weight * error
        return loss

    def pixels(self, training: Training, batch: np.ndarray, rng: np.random.Generator | None) -> torch.Tensor:
        """Return the main view of some patches, augmented where a generator is given."""
        pixels = central_window(training.patches.batch(batch), self.window_share, self.input_px)
        return augment(pixels, rng) if self.augmentation and rng is not None else pixels

    def _around(
        self, training: Training, batch: np.ndarray, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
        """Return images beside the batch, which places count, and the places that the images take."""
        table: NeighbourTable | None = training.more.get("neighbours")
        if table is None:
            return None
        device, numbers = training.device, table.numbers[batch]
        places = np.flatnonzero(numbers.ravel() >= 0)
        if not len(places) and not self.dummy_neighbours:
            return None
        # every neighbour is turned on its own, as if it were another sample
        pixels = self.pixels(training, numbers.ravel()[places], rng) if len(places) else None
        if self.dummy_neighbours:
            missing = np.flatnonzero(numbers.ravel() < 0)
            black = torch.zeros(
                (len(missing), 3, self.input_px, self.input_px), dtype=torch.uint8, device=device
            )
            pixels = black if pixels is None else torch.cat([pixels, black])
            places = np.concatenate([places, missing])
        assert pixels is not None
        valid = torch.from_numpy(table.alike[batch]).to(device)
        return pixels, valid, torch.from_numpy(places).to(device)

    def scores(self, network: MultiHead, training: Training, held: np.ndarray, epoch: int) -> Row:
        """Score the held spots: error and mean correlation over patients and genes."""
        seed = seed_for(training.context.seed, "valid", epoch)
        rng = np.random.default_rng(seed) if self.validation == "spots" else None
        found = []
        with torch.inference_mode():
            for first in range(0, len(held), 64):
                pixels = self.pixels(training, held[first : first + 64], rng)
                found.append(network(pixels)[0].cpu().numpy())
        predicted, observed = np.concatenate(found), training.study.targets[held]
        return {
            "valid_mse": float(((predicted.astype(np.float64) - observed) ** 2).mean()),
            "valid_pearson": mean_gene_pearson(predicted, observed, training.study.groups[held]),
        }

    def infer(self, section: SectionData) -> Prediction:
        """Predict single patches, averaged over the views of ``test_views``."""
        source = self.opened(section)
        found = predict_heads(
            self.fitted,
            source,
            np.arange(len(source)),
            width=self.input_px,
            shares=tuple(self.grid_shares) if "grid" in self.test_views else (self.window_share,),
            views=8 if "tta" in self.test_views else 1,
        )
        assert found.expression is not None
        # a head that never saw a label says nothing
        tumour = found.tumour if self.trained.extra["knows_tumour"] else None
        further = self._further(found.mean_features)
        return Prediction(found.expression, tumour, found.embedding, further=further)

    def _further(self, features: np.ndarray | None) -> FurtherGenes | None:
        """Return what the auxiliary head makes of mean features, computed when it is asked for."""
        head, genes = self.fitted.auxiliary, self.trained.extra.get("auxiliary_genes")
        if features is None or head is None or not genes:
            return None

        def expression() -> np.ndarray:
            with arithmetic(self.precision), torch.inference_mode():
                parts = [
                    head(torch.from_numpy(features[first : first + 256]).to(self.trained.device))
                    for first in range(0, len(features), 256)
                ]
                return torch.cat(parts).float().cpu().numpy()

        return FurtherGenes(tuple(genes), expression)

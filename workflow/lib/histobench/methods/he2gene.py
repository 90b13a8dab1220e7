"""HE2Gene: one encoder, heads for the panel, for all other genes and for tumour, and a spatial penalty.

Chen X, Lin J, Wang Y, et al. HE2Gene: image-to-RNA translation via multi-task learning for spatial
transcriptomics data. Bioinformatics 40, btae343 (2024), sect. 2.

What is easily missed, and is done here: the main view is the middle 100 um, while test-time averaging over
windows looks at half and at one and a half times of it; validation follows the panel only; the spatial
penalty compares predictions with predictions, by the pathologist's labels, and needs neither at test.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    Shares,
    Triple,
    Whole,
    one_of,
)
from histobench.errors import UserError
from histobench.methods.patchwise import (
    Study,
    central_window,
    gather,
    predict_heads,
    stepped_adam,
    training_loop,
)
from histobench.networks.architectures import Architecture
from histobench.networks.backbones import PixelNorm, count_parameters, make_backbone
from histobench.networks.multihead import MultiHead
from histobench.seeds import seed_for
from histobench.training.augment import augment
from histobench.training.auxiliary import AuxiliaryTargets, auxiliary_targets
from histobench.training.checkpoint import start_from
from histobench.training.contract import Context, Prediction, SectionData, TrainingLog
from histobench.training.correlation import mean_gene_pearson
from histobench.training.data import PatchSource
from histobench.training.device import on_device, pick_device, usable_device
from histobench.training.loop import Loop, Row
from histobench.training.losses import labelled_bce, spatial_loss
from histobench.training.neighbours import NeighbourTable, neighbour_table
from histobench.training.store import read_weights, require, store_weights

SPATIAL = ("none", "mean", "pairwise")
TEST_VIEWS = ("single", "grid", "tta", "grid_tta")
TRAINED = ("all", "heads")


class HE2Gene:
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
    autocast
        Train with bfloat16 autocast.
    checkpoint_seconds
        Least time between checkpoints.
    """

    starts_from_weights = True

    def __init__(
        self,
        *,
        backbone: Architecture = "resnet50",
        auxiliary: bool = True,
        auxiliary_weight: NonNegative = 20.0,
        auxiliary_min_spots: Whole = 3,
        tumour: bool = True,
        tumour_weight: NonNegative = 1.0,
        spatial: Annotated[str, one_of(SPATIAL)] = "none",
        spatial_weight: NonNegative = 0.01,
        dummy_neighbours: bool = False,
        window_share: PositiveShare = 2 / 3,
        grid_shares: Shares = (2 / 3, 1 / 3, 1.0),
        input_px: Pixels = 224,
        pretrained: bool = True,
        trained_layers: Annotated[str, one_of(TRAINED)] = "all",
        pixel_mean: Triple = (0.5319, 0.5080, 0.6824),
        pixel_sd: Triple = (0.2442, 0.2063, 0.1633),
        epochs: Whole = 100,
        batch_size: Count = 256,
        learning_rate: Positive = 1e-5,
        weight_decay: NonNegative = 1e-4,
        clip_norm: Positive = 1.0,
        decay_every: Count = 10,
        decay_factor: PositiveShare = 0.5,
        patience: Count = 10,
        validation: Annotated[str, one_of(("patients", "spots"))] = "patients",
        valid_folds: Folds = 10,
        augmentation: bool = True,
        test_views: Annotated[str, one_of(TEST_VIEWS)] = "tta",
        autocast: bool = False,
        checkpoint_seconds: NonNegative = 60.0,
    ) -> None:
        self.backbone = backbone
        self.auxiliary = auxiliary
        self.auxiliary_weight = auxiliary_weight
        self.auxiliary_min_spots = auxiliary_min_spots
        self.tumour = tumour
        self.tumour_weight = tumour_weight
        self.spatial = spatial
        self.spatial_weight = spatial_weight
        self.dummy_neighbours = dummy_neighbours
        self.window_share = window_share
        self.grid_shares = grid_shares
        self.input_px = input_px
        self.pretrained = pretrained
        self.trained_layers = trained_layers
        self.pixel_mean = pixel_mean
        self.pixel_sd = pixel_sd
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.decay_every = decay_every
        self.decay_factor = decay_factor
        self.patience = patience
        self.validation = validation
        self.valid_folds = valid_folds
        self.augmentation = augmentation
        self.test_views = test_views
        self.autocast = autocast
        self.checkpoint_seconds = checkpoint_seconds

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Train until the validation error of the panel stops falling.

        Raises
        ------
        UserError
            An unknown choice, ImageNet weights that cannot be had, or a training that diverges.
        """
        for name, choices in (
            ("spatial", SPATIAL),
            ("test_views", TEST_VIEWS),
            ("trained_layers", TRAINED),
        ):
            if getattr(self, name) not in choices:
                raise UserError(f"{name} {getattr(self, name)!r}: choose one of {', '.join(choices)}.")
        torch.set_num_threads(context.threads)
        self._device = pick_device(context.device)
        study = gather(train, valid, folds=self.valid_folds, unit=self.validation, seed=context.seed)
        field = max(section.patches.shape[1] for section in study.sections if section.patches is not None)
        source = PatchSource(study.patches(), input_px=field, device=self._device)
        further = None
        if self.auxiliary:
            further = auxiliary_targets(
                study.sections, context, study.learn, min_spots=self.auxiliary_min_spots
            )
        self._field = field
        backbone = make_backbone(
            self.backbone,
            weights=context.weights if self.pretrained else "none",
            file=context.weights_file,
            seed=context.seed,
            input_px=self.input_px,
        )
        backbone.module.requires_grad_(self.trained_layers == "all")
        self._network = MultiHead(
            PixelNorm(list(self.pixel_mean), list(self.pixel_sd)),
            backbone,
            genes=study.targets.shape[1],
            auxiliary=0 if further is None else len(further.genes),
            tumour=self.tumour,
            seed=seed_for(context.seed, "heads"),
        ).to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        # auxiliary genes are those that every training chooses itself
        start_from(self._network, context.start, context.genes, head="primary", fresh="auxiliary")
        labels = study.stacked("labels")
        known = labels[study.learn]
        self._knows_tumour = bool(np.isfinite(known).any())
        loop = self._loop(study, source, further, context, labels)
        history = loop.run()
        return TrainingLog(
            list(history),
            {
                "parameters": count_parameters(self._network),
                "epochs": loop.best_epoch,
                "epochs_run": len(history),
                "selection_unit": study.unit,
                "n_auxiliary_genes": 0 if further is None else len(further.genes),
                "n_labelled": int(np.isfinite(known).sum()),
                "device": str(self._device),
            },
        )

    def _loop(
        self,
        study: Study,
        source: PatchSource,
        further: AuxiliaryTargets | None,
        context: Context,
        labels: np.ndarray,
    ) -> Loop:
        network, device = self._network, self._device
        wanted = torch.from_numpy(study.targets).to(device)
        tumour = torch.from_numpy(labels.astype(np.float32)).to(device)
        neighbours = neighbour_table(study.sections, labels) if self.spatial != "none" else None

        def step(batch: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
            chosen = on_device(batch, device)
            pixels = self._view(source, batch, rng)
            around = None if neighbours is None else self._around(source, neighbours, batch, rng)
            if around is not None:
                pixels = torch.cat([pixels, around[0]])
            everything = network.features(pixels)
            features = everything[: len(batch)]
            predicted = network.expression(features)
            loss = functional.mse_loss(predicted, wanted[chosen])
            if network.auxiliary is not None and further is not None:
                others = on_device(further.batch(batch), device)
                error = functional.mse_loss(network.auxiliary(features).float(), others)
                loss = loss + self.auxiliary_weight * error
            if network.tumour is not None:
                error = labelled_bce(network.tumour_logit(features), tumour[chosen])
                loss = loss + self.tumour_weight * error
            if around is not None:
                beside = network.expression(everything[len(batch) :])
                placed = beside.new_zeros(around[1].numel(), beside.shape[1])
                placed = placed.index_copy(0, around[2], beside).reshape(*around[1].shape, -1)
                error = spatial_loss(predicted, placed, around[1], self.spatial)
                loss = loss + self.spatial_weight * error
            return loss

        return training_loop(
            __name__, self, study, context,
            network=network,
            **stepped_adam(self, network),
            step=step,
            prefetch=source.prefetch,
            device=device,
            after_epoch=lambda epoch: self._score(study, source, seed_for(context.seed, "valid", epoch)),
            keep_best="valid_mse",
        )  # fmt: skip

    def _view(self, source: PatchSource, rows: np.ndarray, rng: np.random.Generator | None) -> torch.Tensor:
        """Return the main view of some patches, augmented where a generator is given."""
        pixels = central_window(source.batch(rows), self.window_share, self.input_px)
        return augment(pixels, rng) if self.augmentation and rng is not None else pixels

    def _around(
        self, source: PatchSource, table: NeighbourTable, batch: np.ndarray, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
        """Return images beside the batch, which places count, and the places that the images take."""
        numbers = table.numbers[batch]
        places = np.flatnonzero(numbers.ravel() >= 0)
        if not len(places) and not self.dummy_neighbours:
            return None
        # every neighbour is turned on its own, as if it were another sample
        pixels = self._view(source, numbers.ravel()[places], rng) if len(places) else None
        if self.dummy_neighbours:
            missing = np.flatnonzero(numbers.ravel() < 0)
            black = torch.zeros(
                (len(missing), 3, self.input_px, self.input_px), dtype=torch.uint8, device=self._device
            )
            pixels = black if pixels is None else torch.cat([pixels, black])
            places = np.concatenate([places, missing])
        assert pixels is not None
        valid = torch.from_numpy(table.alike[batch]).to(self._device)
        return pixels, valid, torch.from_numpy(places).to(self._device)

    def _score(self, study: Study, source: PatchSource, seed: int) -> Row:
        """Score the held spots: error and mean correlation over patients and genes."""
        rng = np.random.default_rng(seed) if self.validation == "spots" else None
        found = []
        with torch.inference_mode():
            for first in range(0, len(study.held), 64):
                rows = study.held[first : first + 64]
                found.append(self._network(self._view(source, rows, rng))[0].cpu().numpy())
        predicted, observed = np.concatenate(found), study.targets[study.held]
        return {
            "valid_mse": float(((predicted.astype(np.float64) - observed) ** 2).mean()),
            "valid_pearson": mean_gene_pearson(predicted, observed, study.groups[study.held]),
        }

    def predict(self, section: SectionData) -> Prediction:
        """Predict single patches, averaged over the views of ``test_views``."""
        source = PatchSource(
            [require(section, "patches")], input_px=self._field, device=self._device, resident=False
        )
        expression, tumour, features = predict_heads(
            self._network,
            source,
            np.arange(len(source)),
            width=self.input_px,
            shares=tuple(self.grid_shares) if "grid" in self.test_views else (self.window_share,),
            views=8 if "tta" in self.test_views else 1,
        )
        assert expression is not None
        # a head that never saw a label says nothing
        return Prediction(expression, tumour if self._knows_tumour else None, features)

    def save(self, folder: Path) -> None:
        """Write weights and what is needed to build the network again."""
        network = self._network
        store_weights(
            folder,
            {
                "network": dict(network.state_dict()),
                "n_genes": len(network.target_mean),
                "n_auxiliary": 0 if network.auxiliary is None else network.auxiliary.out_features,
                "knows_tumour": self._knows_tumour,
                "field": self._field,
                "device": str(self._device),
            },
        )

    def load(self, folder: Path) -> None:
        """Build the network and restore its weights."""
        stored = read_weights(folder)
        self._device, self._field = usable_device(stored["device"]), stored["field"]
        self._knows_tumour = stored["knows_tumour"]
        network = MultiHead(
            PixelNorm(),
            make_backbone(self.backbone, input_px=self.input_px),
            genes=stored["n_genes"],
            auxiliary=stored["n_auxiliary"],
            tumour=self.tumour,
        )
        network.load_state_dict(stored["network"])
        self._network = network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]

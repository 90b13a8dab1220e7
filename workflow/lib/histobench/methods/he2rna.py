"""HE2RNA on spots: a small network on features of one tile per spot, frozen or trained with it.

Schmauch B, Romagnoni A, Pronier E, et al. A deep learning model to predict RNA-Seq expression of tumours from
whole slide images. Nature Communications 11, 3877 (2020); as a baseline of Chen et al. 2024 (HE2Gene).

A slide of HE2RNA is a bag of tiles and its score the mean of the k highest; a spot is one tile, so k is 1
and nothing is left to aggregate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
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
    Triple,
    Views,
    one_of,
)
from histobench.errors import UserError
from histobench.methods.patchwise import Study, gather, stepped_adam, training_loop
from histobench.networks.architectures import Architecture
from histobench.networks.backbones import PixelNorm, count_parameters, make_backbone, seeded
from histobench.networks.he2rna import HEADS, he2rna_head
from histobench.networks.heads import Regressor
from histobench.seeds import seed_for
from histobench.training.augment import augment
from histobench.training.contract import Context, Prediction, SectionData, TrainingLog
from histobench.training.correlation import mean_gene_pearson
from histobench.training.data import PatchSource
from histobench.training.device import on_device, pick_device, usable_device
from histobench.training.inference import predict_patches
from histobench.training.loop import Row
from histobench.training.store import column_means, read_weights, require, store_weights

Prepared = tuple[torch.nn.Module, Callable[[np.ndarray, np.random.Generator], torch.Tensor], dict[str, Any]]


class HE2RNA:
    """Layers on features, mean squared error, Adam, stopped by correlation on held-out patients.

    Parameters
    ----------
    head
        "adapted" or "original"; see :func:`histobench.networks.he2rna.he2rna_head`.
    encoder
        None for frozen features, or an image network that is trained with the head from patches; see
        :mod:`histobench.networks.backbones`.
    hidden
        Width of the hidden layers.
    rectify
        Replace negative predictions by 0, where the training targets are never negative.
    epochs, batch_size, learning_rate, weight_decay, clip_norm
        Of Adam; weight decay is its L2 penalty, the norm that of the gradient (None does not clip).
    decay_every, decay_factor
        The learning rate is multiplied by the factor after so many epochs; None never does so.
    patience
        Epochs without improvement before stopping; the best epoch's weights are kept.
    valid_folds
        Without validation patients in the experiment, one in so many training patients is held out.
    input_px, pixel_mean, pixel_sd, augmentation, views, autocast
        Of a trained encoder: width that it takes; mean and sd of each channel on the scale 0 to 1; whether
        one of the eight symmetries is drawn for each patch; symmetries averaged in prediction; bfloat16
        autocast.
    checkpoint_seconds
        Least time between checkpoints.
    """

    def __init__(
        self,
        *,
        head: Annotated[str, one_of(HEADS)] = "adapted",
        encoder: Architecture | None = None,
        hidden: Count = 1024,
        rectify: bool = False,
        epochs: Count = 200,
        batch_size: Count = 16,
        learning_rate: Positive = 3e-4,
        patience: Count = 50,
        valid_folds: Folds = 10,
        weight_decay: NonNegative = 0.0,
        decay_every: Count | None = None,
        decay_factor: PositiveShare = 0.5,
        clip_norm: Positive | None = None,
        input_px: Pixels = 224,
        pixel_mean: Triple = (0.5319, 0.5080, 0.6824),
        pixel_sd: Triple = (0.2442, 0.2063, 0.1633),
        augmentation: bool = True,
        views: Views = 8,
        autocast: bool = False,
        checkpoint_seconds: NonNegative = 60.0,
    ) -> None:
        self.head = head
        self.encoder = encoder
        self.hidden = hidden
        self.rectify = rectify
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience
        self.valid_folds = valid_folds
        self.weight_decay = weight_decay
        self.decay_every = decay_every
        self.decay_factor = decay_factor
        self.clip_norm = clip_norm
        self.input_px = input_px
        self.pixel_mean = pixel_mean
        self.pixel_sd = pixel_sd
        self.augmentation = augmentation
        self.views = views
        self.autocast = autocast
        self.checkpoint_seconds = checkpoint_seconds

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Train until the mean correlation per patient and gene stops rising.

        Raises
        ------
        UserError
            Unknown head, or a training that diverges.
        """
        if self.head not in HEADS:
            raise UserError(f"head {self.head!r}: choose one of {', '.join(HEADS)}.")
        torch.set_num_threads(context.threads)
        device = pick_device(context.device)
        study = gather(train, valid, folds=self.valid_folds)
        wanted = torch.from_numpy(study.targets).to(device)
        learnt = study.targets[study.learn]
        self._floor = 0.0 if self.rectify and learnt.min() >= 0 else -np.inf
        self._device = device
        network, forward, more = self._prepare(study, context)
        self._network = network

        def step(batch: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
            return functional.mse_loss(forward(batch, rng).float(), wanted[on_device(batch, device)])

        def score(_: int) -> Row:
            raw = self._evaluate(study)
            predicted, observed = np.maximum(raw, self._floor), study.targets[study.held]
            r = mean_gene_pearson(predicted, observed, study.groups[study.held])
            mse = float(((predicted.astype(np.float64) - observed) ** 2).mean())
            # 1 - r, because the loop looks for the smallest
            return {"valid_mse": mse, "valid_pearson": r, "valid_distance": 1.0 - r}

        loop = training_loop(
            __name__, self, study, context,
            network=network,
            step=step,
            device=device,
            after_epoch=score,
            keep_best="valid_distance",
            **more,
        )  # fmt: skip
        history = loop.run()
        del self._seen
        return TrainingLog(
            list(history),
            {
                "parameters": count_parameters(network),
                "epochs": loop.best_epoch,
                "epochs_run": len(history),
                "selection_unit": study.unit,
                "rectified": int(np.isfinite(self._floor)),
                "device": str(device),
            },
        )

    def _prepare(self, study: Study, context: Context) -> Prepared:
        """Return the network, what runs it on numbered spots, and what else the training loop takes."""
        means = column_means(study.targets[study.learn])
        seed = seed_for(context.seed, "head")
        if self.encoder is None:
            features = torch.from_numpy(study.stacked("features").astype(np.float32)).to(self._device)
            self._seen: torch.Tensor | PatchSource = features
            with seeded(seed):
                head = he2rna_head(self.head, features.shape[1], means, self.hidden).to(self._device)

            def forward(batch: np.ndarray, _: np.random.Generator) -> torch.Tensor:
                out: torch.Tensor = head(features[on_device(batch, self._device)])
                return out

            return head, forward, self._optimiser(head)
        source = PatchSource(study.patches(), input_px=self.input_px, device=self._device)
        self._seen = source
        backbone = make_backbone(
            self.encoder,
            weights=context.weights,
            file=context.weights_file,
            seed=context.seed,
            input_px=self.input_px,
        )
        with seeded(seed):
            head = he2rna_head(self.head, backbone.dimension, means, self.hidden)
        norm = PixelNorm(list(self.pixel_mean), list(self.pixel_sd))
        whole = Regressor(norm, backbone, head).to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]

        def forward_patches(batch: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
            pixels = source.batch(batch)
            out: torch.Tensor = whole(augment(pixels, rng) if self.augmentation else pixels)[0]
            return out

        return whole, forward_patches, {**self._optimiser(whole), "prefetch": source.prefetch}

    def _optimiser(self, network: torch.nn.Module) -> dict[str, Any]:
        """Return Adam, and its schedule where there is one."""
        if self.decay_every is not None:
            return stepped_adam(self, network)
        parameters = network.parameters()
        adam = torch.optim.Adam(parameters, lr=self.learning_rate, weight_decay=self.weight_decay)
        return {"optimiser": adam}

    def _evaluate(self, study: Study) -> np.ndarray:
        """Predict the held spots while training, from one view each."""
        if isinstance(self._seen, PatchSource):
            return predict_patches(self._network, self._seen, study.held)[0]
        with torch.inference_mode():
            out: np.ndarray = self._network(self._seen[on_device(study.held, self._device)]).cpu().numpy()
        return out

    def predict(self, section: SectionData) -> Prediction:
        """Apply the layers; of a trained encoder, the embedding is what the head sees."""
        floor = np.float32(self._floor)
        if self.encoder is not None:
            patches = [require(section, "patches")]
            source = PatchSource(patches, input_px=self.input_px, device=self._device, resident=False)
            rows = np.arange(len(source))
            expression, seen = predict_patches(self._network, source, rows, views=self.views)
            return Prediction(np.maximum(expression, floor), embedding=seen)
        features = torch.from_numpy(require(section, "features").astype(np.float32))
        with torch.inference_mode():
            raw = self._network.eval()(features.to(self._device)).float().cpu().numpy()
        return Prediction(np.maximum(raw, floor))

    def save(self, folder: Path) -> None:
        """Write the layers."""
        head: Any = self._network if self.encoder is None else self._network.head
        store_weights(
            folder,
            {
                "network": dict(self._network.state_dict()),
                "dimension": head[0].in_features,
                "n_genes": head[-1].out_features,
                "floor": float(self._floor),
                "device": "cpu" if self.encoder is None else str(self._device),
            },
        )

    def load(self, folder: Path) -> None:
        """Read what :meth:`save` wrote; a head alone predicts on the CPU."""
        stored = read_weights(folder)
        self._device, self._floor = usable_device(stored["device"]), stored["floor"]
        network: torch.nn.Module = he2rna_head(
            self.head, stored["dimension"], np.zeros(stored["n_genes"]), self.hidden
        )
        if self.encoder is not None:
            backbone = make_backbone(self.encoder, input_px=self.input_px)
            network = Regressor(PixelNorm(), backbone, network)
        network.load_state_dict(stored["network"])
        self._network = network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]

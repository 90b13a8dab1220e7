"""HistoSPACE: an autoencoder of patches, and a small predictor on its frozen encoder.

Kumar S, Chatterjee S. HistoSPACE: histology-inspired spatial transcriptome prediction and characterization
engine. 2024, sect. 4.

What is easily missed, and is done here: a frozen encoder must also be in evaluation mode, or its batch
normalisation drifts; the decoder ends in a sigmoid, so pixels are scaled to [0, 1] and not to [-1, 1]; the
epoch is chosen on training patients; correlations per spot are reported beside those per gene, with what the
training mean reaches.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from histobench.bounds import Count, Folds, NonNegative, Pixels, Positive, Precision, one_of
from histobench.errors import UserError
from histobench.networks.backbones import seeded
from histobench.networks.histospace import REDUCTION, Autoencoder, Encoder, Predictor
from histobench.seeds import seed_for
from histobench.training.contract import Extent, Prediction, SectionData
from histobench.training.correlation import mean_gene_pearson, pearson
from histobench.training.data import PatchSource
from histobench.training.loop import Loop, Row
from histobench.training.losses import log_cosh, pairwise_distance, root_mse
from histobench.training.network_method import Facts, NetworkMethod, Shape, Start, Training, stored_bytes_of
from histobench.training.store import column_means

LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "mse": functional.mse_loss,
    "rmse": root_mse,
    "huber": functional.huber_loss,
    "log_cosh": log_cosh,
    "pairwise_distance": pairwise_distance,
}
RANGES = {"unit": (0.0, 1.0), "symmetric": (-1.0, 1.0)}


@dataclass(frozen=True, kw_only=True)
class HistoSPACE(NetworkMethod[Predictor]):
    """Train an autoencoder on the patches, or on photographs if given any, then a predictor on its encoder.

    Parameters
    ----------
    variant
        Autoencoder 1 (convolutions only), 2 (with ReLU) or 3 (with batch normalisation and ReLU).
    pixel_range
        "unit", [0, 1], or "symmetric", [-1, 1], where the autoencoder cannot reach negative pixels.
    drift
        Let the frozen encoder's batch normalisation drift while the predictor is trained.
    input_px
        Width of the input, a multiple of 16.
    autoencoder_epochs, autoencoder_batch_size, autoencoder_learning_rate
        Of Adam on the mean squared error of pixels; 0 epochs leave the encoder random.
    hidden, blocks
        Width between the predictor's linear layers, and its convolutions on top of the encoder.
    loss
        "mse", "rmse", "huber" (delta 1), "log_cosh" or "pairwise_distance" (order 3, per spot).
    epochs, batch_size, learning_rate
        Of Adam for the predictor.
    valid_folds
        Without validation patients in the experiment, one in so many training patients is held out; the
        best epoch of both stages is chosen there.
    precision
        Of training and prediction, see :data:`histobench.bounds.Precision`.
    checkpoint_seconds
        Least time between checkpoints.
    """

    variant: Annotated[int, one_of((1, 2, 3))] = 3
    pixel_range: Annotated[str, one_of(RANGES)] = "unit"
    drift: bool = False
    input_px: Pixels = 128
    autoencoder_epochs: Count = 150
    autoencoder_batch_size: Count = 256
    autoencoder_learning_rate: Positive = 1e-5
    hidden: Count = 256
    blocks: Count = 1
    loss: Annotated[str, one_of(LOSSES)] = "mse"
    epochs: Count = 50
    batch_size: Count = 32
    learning_rate: Positive = 1e-4
    valid_folds: Folds = 10
    precision: Precision = "tf32"
    checkpoint_seconds: NonNegative = 60.0

    criterion: ClassVar[str | None] = "valid_loss"
    channels_last: ClassVar[bool] = False

    def check(self, valid: Sequence[SectionData]) -> None:
        """Refuse a width that the encoder cannot halve often enough."""
        if self.input_px < REDUCTION or self.input_px % REDUCTION:
            raise UserError(f"input_px {self.input_px}: HistoSPACE needs a multiple of {REDUCTION}.")

    def network(self, shape: Shape, start: Start) -> Predictor:
        """Build the predictor on an encoder of random weights."""
        return self._predictor(Encoder(self.variant), shape.genes)

    def _predictor(self, encoder: Encoder, genes: int) -> Predictor:
        return Predictor(
            encoder, genes, self.input_px, drift=self.drift, hidden=self.hidden, blocks=self.blocks
        )

    def stored(self, extent: Extent) -> int:
        """Return the bytes of the predictor and of the autoencoder, which is kept for its reconstructions."""
        with torch.device("meta"):
            return super().stored(extent) + stored_bytes_of(Autoencoder(self.variant))

    def learn(self, training: Training) -> tuple[list[Row], Facts]:
        """Train the autoencoder, freeze its encoder, train the predictor."""
        study, context, device = training.study, training.context, training.device
        with seeded(context.seed):
            autoencoder = Autoencoder(self.variant).to(device)
        images, learn, held = training.patches, study.learn, study.held
        if context.photos is not None:
            tiles, kept = context.photos.tiles, context.photos.valid
            images = PatchSource([tiles], input_px=self.input_px, device=device)
            learn, held = np.flatnonzero(~kept), np.flatnonzero(kept)
        first = self._autoencoder_loop(training, autoencoder, images, learn, held)
        history = first.run()
        # An encoder that drifts is no longer the one that the decoder was trained with.
        kept_one = copy.deepcopy(autoencoder) if self.drift else autoencoder
        with seeded(seed_for(context.seed, "predictor")):
            network = self._predictor(autoencoder.encoder, study.targets.shape[1]).to(device)
        observed = study.targets[study.held]
        mean = np.tile(column_means(study.targets[study.learn]), (len(study.held), 1))
        training.more["null"] = _mean(pearson(mean, observed, 1))
        second = self.loop(training, network=network)
        history = [*history, *second.run()]
        self.trained.extra["autoencoder"] = dict(kept_one.state_dict())
        return history, {
            **self.keep(second),
            "parameters_with_encoder": sum(p.numel() for p in network.parameters()),
            "autoencoder_epochs": first.best_epoch,
            "autoencoder_images": len(learn),
        }

    def _scaled(self, pixels: torch.Tensor) -> torch.Tensor:
        low, high = RANGES[self.pixel_range]
        return pixels.float() / 255.0 * (high - low) + low

    def optimiser(self, network: nn.Module) -> tuple[torch.optim.Optimizer, None]:
        """Return Adam on what is trained."""
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        return torch.optim.Adam(trained, lr=self.learning_rate), None

    def _autoencoder_loop(
        self,
        training: Training,
        network: Autoencoder,
        source: PatchSource,
        learn: np.ndarray,
        held: np.ndarray,
    ) -> Loop:
        def step(batch: np.ndarray, _: np.random.Generator) -> torch.Tensor:
            pixels = self._scaled(source.batch(batch))
            return functional.mse_loss(network(pixels).float(), pixels)

        def score(_: int) -> Row:
            total = 0.0
            with torch.inference_mode():
                for first in range(0, len(held), 64):
                    pixels = self._scaled(source.batch(held[first : first + 64]))
                    total += float(((network(pixels) - pixels) ** 2).mean(dim=(1, 2, 3)).double().sum())
            return {"valid_reconstruction": total / len(held)}

        return self.loop(
            training,
            learn,
            stage="autoencoder",
            network=network,
            optimiser=torch.optim.Adam(network.parameters(), lr=self.autoencoder_learning_rate),
            step=step,
            prefetch=source.prefetch,
            epochs=self.autoencoder_epochs,
            batch_size=self.autoencoder_batch_size,
            seed=seed_for(training.context.seed, "autoencoder"),
            after_epoch=score,
            keep_best="valid_reconstruction",
        )

    def batch_loss(
        self, network: Predictor, training: Training, batch: np.ndarray, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return the chosen loss of the predictor."""
        predicted, _ = network(self._scaled(training.patches.batch(batch)))
        return LOSSES[self.loss](predicted.float(), training.wanted[training.rows(batch)])

    def scores(self, network: Predictor, training: Training, held: np.ndarray, epoch: int) -> Row:
        """Return loss, error and correlations of held-out spots, per gene and per spot."""
        predicted, _ = self._run(network, training.patches, held)
        observed = training.study.targets[held]
        loss = LOSSES[self.loss](torch.from_numpy(predicted), torch.from_numpy(observed))
        return {
            "valid_loss": float(loss),
            "valid_mse": float(((predicted.astype(np.float64) - observed) ** 2).mean()),
            "valid_pearson": mean_gene_pearson(predicted, observed, training.study.groups[held]),
            "valid_pearson_spot": _mean(pearson(predicted, observed, 1)),
            "valid_pearson_spot_null": training.more["null"],
        }

    @torch.inference_mode()
    def _run(
        self, network: nn.Module, source: PatchSource, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return float32 expression and hidden layer of patches."""
        network.eval()
        parts = [
            network(self._scaled(source.batch(rows[first : first + 64]))) for first in range(0, len(rows), 64)
        ]
        expression, hidden = (torch.cat(part).float().cpu().numpy() for part in zip(*parts, strict=True))
        return expression, hidden

    def infer(self, section: SectionData) -> Prediction:
        """Predict each patch; the embedding is the hidden layer."""
        source = self.opened(section)
        expression, hidden = self._run(self.fitted, source, np.arange(len(source)))
        return Prediction(expression, embedding=hidden)

    def _autoencoder(self) -> Autoencoder:
        state = self.trained.extra.get("autoencoder")
        if not state:
            raise UserError("the stored weights have no decoder; train the method again to reconstruct.")
        autoencoder = Autoencoder(self.variant)
        autoencoder.load_state_dict(state)
        return autoencoder.to(self.trained.device)

    @torch.inference_mode()
    def reconstruct(self, patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pass patches through the autoencoder.

        Parameters
        ----------
        patches
            uint8 (n, width, width, 3), the method's window.

        Returns
        -------
        tuple
            Two float32 arrays (n, ``input_px``, ``input_px``, 3) with pixels from 0 to 1: what the encoder is
            given, and what the decoder makes of it.
        """
        network = self._autoencoder()
        network.eval()
        source = PatchSource([patches], input_px=self.input_px, device=self.trained.device, resident=False)
        low, high = RANGES[self.pixel_range]
        given, made = [], []
        for first in range(0, len(source), 64):
            pixels = self._scaled(source.batch(np.arange(first, min(first + 64, len(source)))))
            given.append(pixels)
            made.append(network(pixels).float())
        both = [
            ((torch.cat(part) - low) / (high - low)).permute(0, 2, 3, 1).cpu().numpy()
            for part in (given, made)
        ]
        return both[0], both[1]


def _mean(values: np.ndarray) -> float:
    """Mean of what is measured; 0 where nothing is."""
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else 0.0

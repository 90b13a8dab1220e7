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
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from histobench.bounds import Count, Folds, NonNegative, Pixels, Positive, one_of
from histobench.errors import UserError
from histobench.methods.patchwise import Study, gather, identity
from histobench.networks.backbones import count_parameters, seeded
from histobench.networks.histospace import REDUCTION, Autoencoder, Encoder, Predictor
from histobench.seeds import seed_for
from histobench.training.checkpoint import Checkpoint
from histobench.training.contract import Context, Prediction, SectionData, TrainingLog
from histobench.training.correlation import mean_gene_pearson, pearson
from histobench.training.data import PatchSource
from histobench.training.device import on_device, pick_device, usable_device
from histobench.training.loop import Loop, Row
from histobench.training.losses import log_cosh, pairwise_distance, root_mse
from histobench.training.store import column_means, read_weights, require, store_weights

LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "mse": functional.mse_loss,
    "rmse": root_mse,
    "huber": functional.huber_loss,
    "log_cosh": log_cosh,
    "pairwise_distance": pairwise_distance,
}
RANGES = {"unit": (0.0, 1.0), "symmetric": (-1.0, 1.0)}


class HistoSPACE:
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
    loss
        "mse", "rmse", "huber" (delta 1), "log_cosh" or "pairwise_distance" (order 3, per spot).
    epochs, batch_size, learning_rate
        Of Adam for the predictor.
    valid_folds
        Without validation patients in the experiment, one in so many training patients is held out; the
        best epoch of both stages is chosen there.
    autocast
        Train with bfloat16 autocast.
    checkpoint_seconds
        Least time between checkpoints.
    """

    def __init__(
        self,
        *,
        variant: Annotated[int, one_of((1, 2, 3))] = 3,
        pixel_range: Annotated[str, one_of(RANGES)] = "unit",
        drift: bool = False,
        input_px: Pixels = 128,
        autoencoder_epochs: Count = 150,
        autoencoder_batch_size: Count = 256,
        autoencoder_learning_rate: Positive = 1e-5,
        loss: Annotated[str, one_of(LOSSES)] = "mse",
        epochs: Count = 50,
        batch_size: Count = 32,
        learning_rate: Positive = 1e-4,
        valid_folds: Folds = 10,
        autocast: bool = False,
        checkpoint_seconds: NonNegative = 60.0,
    ) -> None:
        self.variant = variant
        self.pixel_range = pixel_range
        self.drift = drift
        self.input_px = input_px
        self.autoencoder_epochs = autoencoder_epochs
        self.autoencoder_batch_size = autoencoder_batch_size
        self.autoencoder_learning_rate = autoencoder_learning_rate
        self.loss = loss
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.valid_folds = valid_folds
        self.autocast = autocast
        self.checkpoint_seconds = checkpoint_seconds

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Train the autoencoder, freeze its encoder, train the predictor.

        Raises
        ------
        UserError
            An unknown choice, a width that is no multiple of 16, or a training that diverges.
        """
        self._check()
        torch.set_num_threads(context.threads)
        self._device = pick_device(context.device)
        study = gather(train, valid, folds=self.valid_folds)
        source = PatchSource(study.patches(), input_px=self.input_px, device=self._device)
        name = identity(__name__, self, study, context)
        with seeded(context.seed):
            autoencoder = Autoencoder(self.variant).to(self._device)
        if context.photos is None:
            images, learn, held = source, study.learn, study.held
        else:
            tiles, kept = context.photos.tiles, context.photos.valid
            images = PatchSource([tiles], input_px=self.input_px, device=self._device)
            learn, held = np.flatnonzero(~kept), np.flatnonzero(kept)
            name = f"{name}-{len(learn)}-{len(held)}-photographs"
        first = self._autoencoder_loop(autoencoder, images, (learn, held), context, name)
        history = first.run()
        # An encoder that drifts is no longer the one that the decoder was trained with.
        self._autoencoder: Autoencoder | None = copy.deepcopy(autoencoder) if self.drift else autoencoder
        with seeded(seed_for(context.seed, "predictor")):
            network = Predictor(
                autoencoder.encoder, study.targets.shape[1], self.input_px, drift=self.drift
            ).to(self._device)
        self._network = network
        second = self._predictor_loop(network, study, source, context, name)
        history = [*history, *second.run()]
        return TrainingLog(
            list(history),
            {
                "parameters": count_parameters(network),
                "parameters_with_encoder": sum(p.numel() for p in network.parameters()),
                "epochs": second.best_epoch,
                "autoencoder_epochs": first.best_epoch,
                "autoencoder_images": len(learn),
                "selection_unit": study.unit,
                "device": str(self._device),
            },
        )

    def _check(self) -> None:
        for name, choices in (("loss", LOSSES), ("pixel_range", RANGES), ("variant", (1, 2, 3))):
            if getattr(self, name) not in choices:
                raise UserError(
                    f"{name} {getattr(self, name)!r}: choose one of {', '.join(map(str, choices))}."
                )
        if self.input_px < REDUCTION or self.input_px % REDUCTION:
            raise UserError(f"input_px {self.input_px}: HistoSPACE needs a multiple of {REDUCTION}.")

    def _scaled(self, pixels: torch.Tensor) -> torch.Tensor:
        low, high = RANGES[self.pixel_range]
        return pixels.float() / 255.0 * (high - low) + low

    def _autoencoder_loop(
        self,
        network: Autoencoder,
        source: PatchSource,
        rows: tuple[np.ndarray, np.ndarray],
        context: Context,
        name: str,
    ) -> Loop:
        learn, held = rows

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

        return Loop(
            network=network,
            optimiser=torch.optim.Adam(network.parameters(), lr=self.autoencoder_learning_rate),
            step=step,
            prefetch=source.prefetch,
            rows=learn,
            epochs=self.autoencoder_epochs,
            batch_size=self.autoencoder_batch_size,
            seed=seed_for(context.seed, "autoencoder"),
            device=self._device,
            after_epoch=score,
            keep_best="valid_reconstruction",
            autocast=self.autocast,
            checkpoint=Checkpoint(context.checkpoints, "autoencoder", name, self.checkpoint_seconds),
            stage="autoencoder",
        )

    def _predictor_loop(
        self, network: Predictor, study: Study, source: PatchSource, context: Context, name: str
    ) -> Loop:
        wanted = torch.from_numpy(study.targets).to(self._device)
        measure = LOSSES[self.loss]
        observed = study.targets[study.held]
        mean = np.tile(column_means(study.targets[study.learn]), (len(study.held), 1))
        null = _mean(pearson(mean, observed, 1))

        def step(batch: np.ndarray, _: np.random.Generator) -> torch.Tensor:
            predicted, _hidden = network(self._scaled(source.batch(batch)))
            return measure(predicted.float(), wanted[on_device(batch, self._device)])

        def score(_: int) -> Row:
            predicted, _hidden = self._run(network, source, study.held)
            return {
                "valid_loss": float(measure(torch.from_numpy(predicted), torch.from_numpy(observed))),
                "valid_mse": float(((predicted.astype(np.float64) - observed) ** 2).mean()),
                "valid_pearson": mean_gene_pearson(predicted, observed, study.groups[study.held]),
                "valid_pearson_spot": _mean(pearson(predicted, observed, 1)),
                "valid_pearson_spot_null": null,
            }

        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        return Loop(
            network=network,
            optimiser=torch.optim.Adam(trained, lr=self.learning_rate),
            step=step,
            prefetch=source.prefetch,
            rows=study.learn,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=seed_for(context.seed, "training"),
            device=self._device,
            after_epoch=score,
            keep_best="valid_loss",
            autocast=self.autocast,
            checkpoint=Checkpoint(context.checkpoints, "final", name, self.checkpoint_seconds),
        )

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

    def predict(self, section: SectionData) -> Prediction:
        """Predict each patch; the embedding is the hidden layer."""
        source = PatchSource(
            [require(section, "patches")], input_px=self.input_px, device=self._device, resident=False
        )
        expression, hidden = self._run(self._network, source, np.arange(len(source)))
        return Prediction(expression, embedding=hidden)

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

        Raises
        ------
        UserError
            The weights were stored without their decoder.
        """
        network = self._autoencoder
        if network is None:
            raise UserError("the stored weights have no decoder; train the method again to reconstruct.")
        network.eval()
        source = PatchSource([patches], input_px=self.input_px, device=self._device, resident=False)
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

    def save(self, folder: Path) -> None:
        """Write encoder, predictor and decoder (tensors that they share are stored once)."""
        network, autoencoder = self._network, self._autoencoder
        store_weights(
            folder,
            {
                "network": dict(network.state_dict()),
                "autoencoder": dict(autoencoder.state_dict()) if autoencoder else None,
                "n_genes": network.head.out_features,
                "device": str(self._device),
            },
        )

    def load(self, folder: Path) -> None:
        """Build the network and restore its weights."""
        stored = read_weights(folder)
        self._device = usable_device(stored["device"])
        network = Predictor(Encoder(self.variant), stored["n_genes"], self.input_px, drift=self.drift)
        network.load_state_dict(stored["network"])
        self._network = network.to(self._device)
        self._autoencoder = None
        if stored.get("autoencoder"):
            self._autoencoder = Autoencoder(self.variant)
            self._autoencoder.load_state_dict(stored["autoencoder"])
            self._autoencoder.to(self._device)


def _mean(values: np.ndarray) -> float:
    """Mean of what is measured; 0 where nothing is."""
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else 0.0

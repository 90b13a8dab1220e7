"""HE2RNA on spots: a small network on frozen features of one tile per spot.

Schmauch B, Romagnoni A, Pronier E, et al. A deep learning model to predict RNA-Seq expression of tumours from
whole slide images. Nature Communications 11, 3877 (2020); as a baseline of Chen et al. 2024 (HE2Gene).

A slide of HE2RNA is a bag of tiles and its score the mean of the k highest; a spot is one tile, so k is 1
and nothing is left to aggregate.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from histobench.errors import UserError
from histobench.methods.contract import Context, Prediction, SectionData, TrainingLog
from histobench.methods.patchwise import gather, read_weights, store_weights, training_loop
from histobench.methods.store import column_means, require
from histobench.networks.backbones import count_parameters, seeded
from histobench.networks.he2rna import HEADS, he2rna_head
from histobench.seeds import seed_for
from histobench.training.correlation import mean_gene_pearson
from histobench.training.device import on_device, pick_device
from histobench.training.loop import Row


class HE2RNA:
    """Layers on frozen features, mean squared error, Adam, stopped by correlation on held-out patients.

    Parameters
    ----------
    head
        "adapted" or "original"; see :func:`histobench.networks.he2rna.he2rna_head`.
    hidden
        Width of the hidden layers.
    rectify
        Replace negative predictions by 0, where the training targets are never negative.
    epochs, batch_size, learning_rate
        Of Adam, without weight decay.
    patience
        Epochs without improvement before stopping; the best epoch's weights are kept.
    valid_folds
        Without validation patients in the experiment, one in so many training patients is held out.
    checkpoint_seconds
        Least time between checkpoints.
    """

    def __init__(
        self,
        *,
        head: str = "adapted",
        hidden: int = 1024,
        rectify: bool = False,
        epochs: int = 200,
        batch_size: int = 16,
        learning_rate: float = 3e-4,
        patience: int = 50,
        valid_folds: int = 10,
        checkpoint_seconds: float = 60.0,
    ) -> None:
        self.head = head
        self.hidden = hidden
        self.rectify = rectify
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience
        self.valid_folds = valid_folds
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
        features = torch.from_numpy(study.stacked("features").astype(np.float32)).to(device)
        wanted = torch.from_numpy(study.targets).to(device)
        learnt = study.targets[study.learn]
        self._floor = 0.0 if self.rectify and learnt.min() >= 0 else -np.inf
        with seeded(seed_for(context.seed, "head")):
            network = he2rna_head(self.head, features.shape[1], column_means(learnt), self.hidden).to(device)
        self._network, self._device = network, device

        def step(batch: np.ndarray, _: np.random.Generator) -> torch.Tensor:
            chosen = on_device(batch, device)
            return functional.mse_loss(network(features[chosen]), wanted[chosen])

        def score(_: int) -> Row:
            with torch.inference_mode():
                raw = network(features[on_device(study.held, device)]).cpu().numpy()
            predicted, observed = np.maximum(raw, self._floor), study.targets[study.held]
            r = mean_gene_pearson(predicted, observed, study.groups[study.held])
            mse = float(((predicted.astype(np.float64) - observed) ** 2).mean())
            # 1 - r, because the loop looks for the smallest
            return {"valid_mse": mse, "valid_pearson": r, "valid_distance": 1.0 - r}

        loop = training_loop(
            __name__, self, study, context,
            network=network,
            optimiser=torch.optim.Adam(network.parameters(), lr=self.learning_rate),
            step=step,
            device=device,
            after_epoch=score,
            keep_best="valid_distance",
        )  # fmt: skip
        history = loop.run()
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

    @torch.inference_mode()
    def predict(self, section: SectionData) -> Prediction:
        """Apply the layers."""
        features = torch.from_numpy(require(section, "features").astype(np.float32))
        raw = self._network.eval()(features.to(self._device)).float().cpu().numpy()
        return Prediction(np.maximum(raw, np.float32(self._floor)))

    def save(self, folder: Path) -> None:
        """Write the layers."""
        first, last = self._network[0], self._network[-1]
        store_weights(
            folder,
            {
                "network": dict(self._network.state_dict()),
                "dimension": first.in_features,
                "n_genes": last.out_features,
                "floor": float(self._floor),
            },
        )

    def load(self, folder: Path) -> None:
        """Read what :meth:`save` wrote; a network this small predicts on the CPU."""
        stored = read_weights(folder)
        network = he2rna_head(self.head, stored["dimension"], np.zeros(stored["n_genes"]), self.hidden)
        network.load_state_dict(stored["network"])
        self._network, self._device, self._floor = network, torch.device("cpu"), stored["floor"]

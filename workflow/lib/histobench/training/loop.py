"""The training loop that deep methods share.

Everything random follows from (seed, epoch, step), never from what ran before: so a loop that continues
from a checkpoint draws the same batches, augmentations and dropout masks as one that was never stopped,
and on a CPU ends with the same weights, bit for bit.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from histobench.errors import UserError
from histobench.seeds import seed_for
from histobench.training.checkpoint import Checkpoint
from histobench.training.device import fuse_where_possible

log = logging.getLogger(__name__)

Row = dict[str, float | int | str]
# Draws its own batch: (numbers of the spots, generator of this step) -> scalar loss with gradient.
Step = Callable[[np.ndarray, np.random.Generator], torch.Tensor]


@dataclass
class Loop:
    """One network, one optimiser, some epochs.

    Attributes
    ----------
    network, optimiser, scheduler
        What is trained; the scheduler, if any, steps once per epoch. One that waits for a plateau is
        told the history entry ``keep_best``.
    step
        Computes the loss of a batch of spots.
    prefetch
        Told the numbers of the next batch as soon as ``step`` has drawn its own, so that they can be read
        while this one is learnt from.
    rows
        Numbers of the spots to learn from; every epoch shuffles them anew.
    epochs, batch_size
        The last partial batch is kept.
    seed
        Seed of order, augmentation and dropout.
    summed_loss
        Whether ``step`` returns a sum over the batch; the history holds the mean per spot either way.
    after_epoch
        Called with the epoch (from 1) and network in evaluation mode; what it returns joins the history.
    keep_best
        Name of a history entry to minimise: the loop ends with the weights of its best epoch.
    patience
        With ``keep_best``: stop after so many epochs without improvement.
    clip_norm
        Largest norm of the gradient; None does not clip.
    autocast
        Run the forward pass in bfloat16 where it is safe; weights and loss stay float32.
    checkpoint
        Where to save the state; see :class:`histobench.training.checkpoint.Checkpoint`.
    stage
        Name in the history, where a method trains several networks.
    images_per_epoch
        Images in one epoch, for the rate in the history; None where each of ``rows`` is one image.
    """

    network: nn.Module
    optimiser: torch.optim.Optimizer
    step: Step
    rows: np.ndarray
    epochs: int
    batch_size: int
    seed: int
    device: torch.device
    scheduler: Any = None
    summed_loss: bool = False
    prefetch: Callable[[np.ndarray], None] | None = None
    after_epoch: Callable[[int], Row] | None = None
    keep_best: str | None = None
    patience: int | None = None
    clip_norm: float | None = None
    autocast: bool = False
    checkpoint: Checkpoint = field(default_factory=lambda: Checkpoint(None))
    stage: str = "final"
    images_per_epoch: int | None = None

    def __post_init__(self) -> None:
        fuse_where_possible(self.optimiser, self.device)

    def run(self) -> list[Row]:
        """Train, or continue from the checkpoint. Returns one history row per epoch.

        Raises
        ------
        UserError
            The loss is no longer finite.
        """
        self._history: list[Row] = []
        self._best: dict[str, Any] = {"value": float("inf"), "epoch": 0, "network": None}
        epoch, step, self._sums = 1, 0, self._zero_sums()
        stored = self.checkpoint.load()
        if stored is not None:
            epoch, step = self._restore(stored)
            log.info("%s: continuing in epoch %d after %d steps", self.stage, epoch, step)
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            while epoch <= self.epochs and not self._stale(epoch):
                self._run_epoch(epoch, step)
                epoch, step, self._sums = epoch + 1, 0, self._zero_sums()
                if self.checkpoint.due():
                    self._save(epoch, step)
        if self.keep_best and self._history and self._best["network"] is None:
            raise UserError(
                f"training diverged: {self.keep_best} is not finite in any epoch ({self.stage}); "
                "lower the learning rate of the method."
            )
        if self.keep_best and self._best["network"] is not None:
            self.network.load_state_dict(self._best["network"])
        if self.checkpoint.path is not None:
            # a finished loop of a method that trains several networks must not run again
            self._save(self.epochs + 1, 0)
        return self._history

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights the network has: the best one with ``keep_best``, else the last."""
        return int(self._best["epoch"]) if self.keep_best else len(self._history)

    def _zero_sums(self) -> dict[str, Any]:
        # the loss is summed on the device: reading it at every step would make the host wait
        return {"loss": torch.zeros((), dtype=torch.float64, device=self.device), "seconds": 0.0}

    def _stale(self, epoch: int) -> bool:
        if not self.keep_best or self.patience is None or not self._best["epoch"]:
            return False
        return epoch - 1 - int(self._best["epoch"]) >= self.patience

    def _run_epoch(self, epoch: int, first_step: int) -> None:
        order = np.random.default_rng(seed_for(self.seed, "order", epoch)).permutation(self.rows)
        steps = -(-len(order) // self.batch_size)
        begin, before = time.perf_counter(), self._sums["seconds"]
        self.network.train()
        for number in range(first_step, steps):
            self._one_step(
                self._batch(order, number),
                seed_for(self.seed, "step", epoch, number),
                self._batch(order, number + 1),
            )
            self._sums["seconds"] = before + time.perf_counter() - begin
            if self.checkpoint.due():
                self._save(epoch, number + 1)
        loss = float(self._sums["loss"]) / len(order)  # waits for the device, once per epoch
        seconds = before + time.perf_counter() - begin
        if not np.isfinite(loss):
            raise UserError(
                f"training diverged: the loss of epoch {epoch} ({self.stage}) is not finite; "
                "lower the learning rate of the method."
            )
        row: Row = {"stage": self.stage, "epoch": epoch, "loss": loss}
        row["learning_rate"] = float(self.optimiser.param_groups[0]["lr"])
        if self.after_epoch is not None:
            self.network.eval()
            row.update(self.after_epoch(epoch))
        row["seconds"] = round(seconds, 4)
        images = len(order) if self.images_per_epoch is None else self.images_per_epoch
        row["images_per_second"] = round(images / max(seconds, 1e-9), 2)
        if isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(float(row[str(self.keep_best)]))
        elif self.scheduler is not None:
            self.scheduler.step()
        self._note_best(epoch, row)
        self._history.append(row)
        shown = ", ".join(f"{k} {v:.5g}" for k, v in row.items() if k not in ("stage", "epoch"))
        log.info("%s: epoch %d of %d: %s", self.stage, epoch, self.epochs, shown)

    def _batch(self, order: np.ndarray, number: int) -> np.ndarray:
        return order[number * self.batch_size : (number + 1) * self.batch_size]

    def _one_step(self, batch: np.ndarray, seed: int, following: np.ndarray) -> None:
        self._seed_dropout(seed)
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            loss = self.step(batch, np.random.default_rng(seed))
        if self.prefetch is not None and len(following):
            self.prefetch(following)
        loss.backward()
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.clip_norm)
        self.optimiser.step()
        self._sums["loss"] += loss.detach().double() * (1 if self.summed_loss else len(batch))

    def _seed_dropout(self, seed: int) -> None:
        # torch.manual_seed would do, but where there is no GPU it formats a stack trace at every call
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _note_best(self, epoch: int, row: Row) -> None:
        if self.keep_best and float(row[self.keep_best]) < self._best["value"]:
            state = copy.deepcopy(self.network.state_dict())
            self._best = {"value": float(row[self.keep_best]), "epoch": epoch, "network": state}

    def _save(self, epoch: int, step: int) -> None:
        """Save the state before ``step`` of ``epoch``."""
        self.checkpoint.save(
            {
                "epoch": epoch,
                "step": step,
                "network": self.network.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
                "history": self._history,
                "best": self._best,
                "loss": float(self._sums["loss"]),
                "seconds": self._sums["seconds"],
            }
        )

    def _restore(self, stored: dict[str, Any]) -> tuple[int, int]:
        self.network.load_state_dict(stored["network"])
        self.optimiser.load_state_dict(stored["optimiser"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(stored["scheduler"])
        self._history, self._best = stored["history"], stored["best"]
        self._sums["loss"] += stored["loss"]
        self._sums["seconds"] = stored["seconds"]
        return int(stored["epoch"]), int(stored["step"])

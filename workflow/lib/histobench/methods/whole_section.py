"""What methods share that see a whole section at once: one section is one training example.

HisToGene, Hist2ST and THItoGene differ in their network and loss; how sections become tensors, the loop
over sections, prediction and storage are here.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from histobench.codehash import code_hash
from histobench.errors import UserError
from histobench.imaging.grid import cells
from histobench.networks.backbones import count_parameters, seeded
from histobench.seeds import seed_for
from histobench.training.checkpoint import Checkpoint, fingerprint
from histobench.training.contract import Context, Prediction, SectionData, TrainingLog
from histobench.training.data import PatchSource
from histobench.training.device import memory_bytes, pick_device, usable_device
from histobench.training.loop import Loop, Row
from histobench.training.store import in_order, read_weights, require, store_weights, training_targets

log = logging.getLogger(__name__)

SELECTIONS = ("last", "valid")


@dataclass
class Section:
    """One section on the device.

    Attributes
    ----------
    rows
        Numbers of its spots in the patch source.
    grid
        Integer grid positions, (spots, 2).
    graph
        What the method made of the neighbourhood; None without a graph.
    targets
        float32, (spots, genes); None when predicting.
    extra
        Further tensors of the method, one row per spot.
    """

    rows: np.ndarray
    grid: torch.Tensor
    graph: torch.Tensor | None = None
    targets: torch.Tensor | None = None
    extra: dict[str, torch.Tensor] | None = None


def grid_positions(section: SectionData, positions: int) -> np.ndarray:
    """Return the integer grid position of each spot, (spots, 2): the cell of the array, or whole pitches.

    Positions index the rows of learnt tables, so they must lie in 0 to ``positions - 1``; they are neither
    shifted nor clipped, because a position would then mean another place in another section.

    Raises
    ------
    UserError
        A position is not a number or has no row in the tables.
    """
    values = section.spots[["array_x", "array_y"]].to_numpy(np.float64)
    known = np.clip(np.nan_to_num(values, nan=-1.0), -1.0, 2.0**31)
    grid = cells(section.grid, known[:, 0], known[:, 1])
    bad = np.argwhere(~((grid >= 0) & (grid < positions)))
    if len(bad):
        spot, axis = (int(number) for number in bad[0])
        where = (
            f"section {section.section}: spot {section.spots.index[spot]} has {('array_x', 'array_y')[axis]}"
        )
        found = values[spot, axis]
        if np.isfinite(found) and found > 0:
            remedy = f"set the parameter `positions` of the method to at least {int(np.nanmax(grid)) + 1}"
        else:
            remedy = "correct the spot's grid position"
        raise UserError(f"{where} {found:g}, but the method embeds positions 0 to {positions - 1}; {remedy}.")
    return grid.astype(np.int64)


class WholeSectionMethod:
    """Base of methods whose training example is a section.

    A subclass stores its parameters in its constructor (the names below among them) and gives
    :meth:`_network`; where they differ, :meth:`_graph`, :meth:`_pair_bytes`, :meth:`_extra`,
    :meth:`_forward`, :meth:`_loss` and :meth:`_optimiser`.
    """

    # Asked where spots could otherwise be predicted in pieces.
    sees_whole_section = True

    input_px: int | None
    positions: int
    epochs: int
    standardise: bool
    selection: str
    learning_rate: float
    autocast: bool
    checkpoint_seconds: float

    def _network(self, input_px: int, n_genes: int) -> nn.Module:
        """Build the network for patches of ``input_px`` px and ``n_genes`` genes."""
        raise NotImplementedError

    def _pair_bytes(self) -> int:
        """Return how many bytes the network holds at least for every pair of spots; attention holds none."""
        return 0

    def _graph(self, section: SectionData) -> torch.Tensor | None:
        """Return what the network needs to know of who is whose neighbour."""
        return None

    def _extra(self, section: SectionData, context: Context) -> dict[str, torch.Tensor]:
        """Return further truth that the loss needs, one row per spot."""
        return {}

    def _forward(
        self, network: nn.Module, pixels: torch.Tensor, section: Section
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return expression (spots, genes) and embedding (spots, width)."""
        out: tuple[torch.Tensor, torch.Tensor] = network(pixels, section.grid, section.graph)
        return out

    def _loss(
        self, network: nn.Module, pixels: torch.Tensor, section: Section, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return the loss of one section: the mean over spots and genes of squared errors."""
        return mean_squared(self._forward(network, pixels, section)[0], section.targets)

    def _optimiser(self, network: nn.Module) -> tuple[torch.optim.Optimizer, Any]:
        """Return optimiser and scheduler (None for none)."""
        return torch.optim.Adam(network.parameters(), lr=self.learning_rate), None

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Train on all sections, one per step, in an order drawn anew for every epoch.

        Raises
        ------
        UserError
            Unknown selection, no validation sections for "valid", a grid position without a row in the
            tables, or a training that diverges.
        """
        if self.selection not in SELECTIONS:
            raise UserError(f"selection {self.selection!r}: choose one of {', '.join(SELECTIONS)}.")
        if self.selection == "valid" and not valid:
            raise UserError("selection valid: the fold has no validation patients; set folds.valid_patients.")
        torch.set_num_threads(context.threads)
        self._device = pick_device(context.device)
        train, valid = in_order(train), in_order(valid)
        source, sections = self._prepare(train, context)
        held_source, held = self._prepare(valid, context) if valid else (None, [])
        self._input_width, self._genes = source.input_px, len(context.genes)
        self._centre = torch.zeros(self._genes, device=self._device)
        self._scale = torch.ones(self._genes, device=self._device)
        if self.standardise:
            self._standardise(sections)
        with seeded(context.seed):
            network = self._network(self._input_width, self._genes)
        network = network.to(self._device)

        def step(batch: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
            section = sections[int(batch[0])]
            return self._loss(network, source.batch(section.rows), section, rng)

        def score(_: int) -> Row:
            if held_source is None:
                return {}
            return {"valid_mse": self._squared_error(network, held_source, held)}

        optimiser, scheduler = self._optimiser(network)
        loop = Loop(
            network=network,
            optimiser=optimiser,
            scheduler=scheduler,
            step=step,
            rows=np.arange(len(sections)),
            epochs=self.epochs,
            batch_size=1,
            seed=seed_for(context.seed, "training"),
            device=self._device,
            after_epoch=score,
            keep_best="valid_mse" if self.selection == "valid" else None,
            autocast=self.autocast,
            checkpoint=Checkpoint(
                context.checkpoints,
                "final",
                self._fingerprint(train, valid, context),
                self.checkpoint_seconds,
            ),
            images_per_epoch=len(source),
        )
        history = loop.run()
        self._trained = network
        seconds = sum(float(row["seconds"]) for row in history)
        return TrainingLog(
            list(history),
            {
                "selection": self.selection,
                "epochs": loop.best_epoch,
                "parameters": count_parameters(network),
                "images_per_second": round(len(history) * len(source) / max(seconds, 1e-9), 2),
                "device": str(self._device),
            },
        )

    def _standardise(self, sections: Sequence[Section]) -> None:
        """Give the targets of training sections mean 0 and sd 1 per gene; a constant gene is centred only."""
        values = torch.cat([_known(section.targets) for section in sections]).double()
        sd = values.std(dim=0, correction=0)
        self._centre = values.mean(dim=0).float()
        self._scale = torch.where(sd > 1e-6, sd, torch.ones_like(sd)).float()
        for section in sections:
            section.targets = (_known(section.targets) - self._centre) / self._scale

    def _source(self, sections: Sequence[SectionData]) -> PatchSource:
        arrays = [require(section, "patches") for section in sections]
        resized = self.input_px is not None and any(array.shape[1] != self.input_px for array in arrays)
        # on a CPU, resizing again in every epoch would cost more than the network
        keep = True if resized and self._device.type == "cpu" else None
        return PatchSource(arrays, input_px=self.input_px, device=self._device, resident=keep)

    def _prepare(
        self, sections: Sequence[SectionData], context: Context
    ) -> tuple[PatchSource, list[Section]]:
        """Return the patches of all sections, and each section's tensors on the device."""
        prepared, first = [], 0
        for section in sections:
            placed = self._place(section, np.arange(first, first + len(section)))
            targets = np.array(require(section, "targets"), np.float32)
            placed.targets = torch.from_numpy(targets).to(self._device)
            extra = self._extra(section, context)
            placed.extra = {name: tensor.to(self._device) for name, tensor in extra.items()}
            prepared.append(placed)
            first += len(section)
        return self._source(sections), prepared

    def _place(self, section: SectionData, rows: np.ndarray) -> Section:
        grid = grid_positions(section, self.positions)
        self._refuse_large(section)
        graph = self._graph(section)
        return Section(
            rows,
            torch.from_numpy(grid).to(self._device),
            None if graph is None else graph.to(self._device),
        )

    def _refuse_large(self, section: SectionData) -> None:
        """Stop before a network starts that would need more memory for pairs of spots than there is."""
        needed, there = self._pair_bytes() * len(section) ** 2, memory_bytes(self._device)
        if needed > there:
            raise UserError(
                f"section {section.section} has {len(section)} spots, and {type(self).__name__} holds all "
                f"pairs of spots of a section, which takes {needed / 1e9:.0f} GB where {self._device} has "
                f"{there / 1e9:.0f}; leave the section or the method out, or use larger bins."
            )

    def _squared_error(self, network: nn.Module, source: PatchSource, sections: Sequence[Section]) -> float:
        """Mean squared error over all spots and genes of several sections."""
        total, n = 0.0, 0
        for section in sections:
            predicted, _ = self._evaluate(network, source, section)
            wanted = _known(section.targets)
            total += float(((predicted - wanted).double() ** 2).sum())
            n += wanted.numel()
        return total / n

    @torch.inference_mode()
    def _evaluate(
        self, network: nn.Module, source: PatchSource, section: Section
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return expression and embedding without dropout and with stored batch statistics."""
        network.eval()
        expression, embedding = self._forward(network, source.batch(section.rows), section)
        return expression.float() * self._scale + self._centre, embedding

    def _fingerprint(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> str:
        """Identify this training, so that a checkpoint of another one is not continued."""
        everything = [*train, *valid]
        params = sorted((k, v) for k, v in vars(self).items() if not k.startswith("_"))
        named = [(s.cohort, s.patient, s.section, len(s)) for s in everything]
        pixels = [np.asarray(require(s, "patches")[[0, len(s) - 1]]) for s in everything]
        return fingerprint(
            code_hash(type(self).__module__),
            params,
            named,
            len(valid),
            context.genes,
            context.seed,
            training_targets(everything),
            *pixels,
        )

    def predict(self, section: SectionData) -> Prediction:
        """Predict all spots of a section together."""
        source = PatchSource(
            [require(section, "patches")], input_px=self._input_width, device=self._device, resident=False
        )
        placed = self._place(section, np.arange(len(section)))
        expression, embedding = self._evaluate(self._trained, source, placed)
        return Prediction(expression.float().cpu().numpy(), embedding=embedding.float().cpu().numpy())

    def save(self, folder: Path) -> None:
        """Write weights and what is needed to build the network again."""
        stored = {
            "network": self._trained.state_dict(),
            "centre": self._centre,
            "scale": self._scale,
            "n_genes": self._genes,
            "input_px": self._input_width,
            "device": str(self._device),
        }
        store_weights(folder, stored)

    def load(self, folder: Path) -> None:
        """Build the network and restore its weights."""
        stored = read_weights(folder)
        self._device = usable_device(stored["device"])
        self._input_width, self._genes = stored["input_px"], stored["n_genes"]
        self._centre, self._scale = (stored[name].to(self._device) for name in ("centre", "scale"))
        network = self._network(self._input_width, self._genes)
        network.load_state_dict(stored["network"])
        self._trained = network.to(self._device)


def _known(targets: torch.Tensor | None) -> torch.Tensor:
    """Return targets, which a section has in training only."""
    if targets is None:
        raise ValueError("a section that is predicted has no targets")
    return targets


def mean_squared(predicted: torch.Tensor, wanted: torch.Tensor | None) -> torch.Tensor:
    """Mean over spots and genes of squared errors, in float32."""
    return functional.mse_loss(predicted.float(), _known(wanted))


def scaled_pixels(pixels: torch.Tensor, divisor: float) -> torch.Tensor:
    """Return uint8 (or float) pixels as float32 divided by ``divisor``; 1 keeps 0 to 255."""
    values = pixels.float()
    return values if divisor == 1 else values / divisor

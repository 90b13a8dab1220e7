"""What methods share that see a whole section at once: one section is one training example.

HisToGene, Hist2ST and THItoGene differ in their network and loss; how sections become tensors, the loop
over sections, prediction and storage are here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional

from histobench.errors import UserError
from histobench.imaging.grid import cells
from histobench.networks.backbones import seeded
from histobench.training.contract import Context, Prediction, SectionData
from histobench.training.data import PatchSource
from histobench.training.device import memory_bytes
from histobench.training.loop import Row
from histobench.training.network_method import (
    Facts,
    N,
    NetworkMethod,
    Training,
    image_rate,
    needs_valid,
)
from histobench.training.study import Study, everything

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


class SectionMethod(NetworkMethod[N]):
    """Base of methods whose training example is a section.

    A subclass gives :meth:`network`; where they differ, :meth:`graph`, :meth:`pair_bytes`, :meth:`extra`,
    :meth:`forward`, :meth:`section_loss` and :meth:`optimiser`.
    """

    # Asked where spots could otherwise be predicted in pieces.
    sees_whole_section = True

    batch_size = 1
    criterion = None
    channels_last = False

    positions: int = 64
    standardise: bool = False
    selection: str = "last"

    def graph(self, section: SectionData) -> torch.Tensor | None:
        """Return what the network needs to know of who is whose neighbour."""
        return None

    def pair_bytes(self) -> int:
        """Return how many bytes the network holds at least for every pair of spots; attention holds none."""
        return 0

    def extra(self, section: SectionData, context: Context) -> dict[str, torch.Tensor]:
        """Return further truth that the loss needs, one row per spot."""
        return {}

    def forward(
        self, network: N, pixels: torch.Tensor, section: Section
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return expression (spots, genes) and embedding (spots, width)."""
        out: tuple[torch.Tensor, torch.Tensor] = network(pixels, section.grid, section.graph)
        return out

    def section_loss(
        self, network: N, pixels: torch.Tensor, section: Section, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return the loss of one section: the mean over spots and genes of squared errors."""
        return mean_squared(self.forward(network, pixels, section)[0], section.targets)

    # -- training -----------------------------------------------------------------------------------

    def check(self, valid: Sequence[SectionData]) -> None:
        """Refuse the choice of an epoch on validation patients where there are none."""
        needs_valid(self.selection, valid)

    def gather(self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context) -> Study:
        """All training sections teach; those of validation patients, if any, are scored."""
        return everything(train, valid)

    def examples(self, training: Training) -> None:
        """Bring positions, graphs and targets of all sections to the device; an example is a section."""
        study, device = training.study, training.device
        arrays = study.patches()
        resized = self.input_px is not None and any(array.shape[1] != self.input_px for array in arrays)
        # on a CPU, resizing again in every epoch would cost more than the network
        keep = True if resized and device.type == "cpu" else None
        training.source = PatchSource(arrays, input_px=self.input_px, device=device, resident=keep)
        training.shape = replace(training.shape, px=training.source.input_px)
        prepared, first = [], 0
        for section in study.sections:
            placed = self._place(section, np.arange(first, first + len(section)), device)
            placed.targets = training.wanted[first : first + len(section)]
            extra = self.extra(section, training.context)
            placed.extra = {name: tensor.to(device) for name, tensor in extra.items()}
            prepared.append(placed)
            first += len(section)
        training.more["sections"] = prepared
        genes = training.shape.genes
        self.trained.extra.update(
            centre=torch.zeros(genes, device=device), scale=torch.ones(genes, device=device)
        )
        if self.standardise:
            self.standardise_targets(prepared[: study.n_train])

    def learn(self, training: Training) -> tuple[list[Row], Facts]:
        """Train on all sections, one per step, in an order drawn anew for every epoch."""
        study = training.study
        numbers = np.arange(len(study.sections))
        loop = self.loop(
            training,
            numbers[: study.n_train],
            numbers[study.n_train :],
            prefetch=None,
            keep_best="valid_mse" if self.selection == "valid" else None,
            images_per_epoch=len(study.learn),
        )
        history = loop.run()
        facts: Facts = {
            "selection": self.selection,
            "images_per_second": image_rate(history, len(study.learn)),
        }
        return history, {**self.keep(loop), **facts}

    def build(self, training: Training, learn: np.ndarray) -> N:
        """Build the network from the seed of the training."""
        with seeded(training.context.seed):
            return super().build(training, learn)

    def batch_loss(
        self, network: N, training: Training, batch: np.ndarray, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return the loss of the one section of a batch."""
        section: Section = training.more["sections"][int(batch[0])]
        return self.section_loss(network, training.patches.batch(section.rows), section, rng)

    def scores(self, network: N, training: Training, held: np.ndarray, epoch: int) -> Row:
        """Return the mean squared error over all spots and genes of the held-out sections."""
        total, n = 0.0, 0
        for number in held:
            section = training.more["sections"][int(number)]
            predicted, _ = self._evaluate(network, training.patches, section)
            wanted = _known(section.targets)
            total += float(((predicted - wanted).double() ** 2).sum())
            n += wanted.numel()
        return {"valid_mse": total / n}

    def standardise_targets(self, sections: Sequence[Section]) -> None:
        """Give the targets of training sections mean 0 and sd 1 per gene; a constant gene is centred only."""
        values = torch.cat([_known(section.targets) for section in sections]).double()
        sd = values.std(dim=0, correction=0)
        centre = values.mean(dim=0).float()
        scale = torch.where(sd > 1e-6, sd, torch.ones_like(sd)).float()
        self.trained.extra.update(centre=centre, scale=scale)
        for section in sections:
            section.targets = (_known(section.targets) - centre) / scale

    def _place(self, section: SectionData, rows: np.ndarray, device: torch.device) -> Section:
        grid = grid_positions(section, self.positions)
        self._refuse_large(section, device)
        graph = self.graph(section)
        return Section(rows, torch.from_numpy(grid).to(device), None if graph is None else graph.to(device))

    def _refuse_large(self, section: SectionData, device: torch.device) -> None:
        """Stop before a network starts that would need more memory for pairs of spots than there is."""
        needed, there = self.pair_bytes() * len(section) ** 2, memory_bytes(device)
        if needed > there:
            raise UserError(
                f"section {section.section} has {len(section)} spots, and {type(self).__name__} holds all "
                f"pairs of spots of a section, which takes {needed / 1e9:.0f} GB where {device} has "
                f"{there / 1e9:.0f}; leave the section or the method out, or use larger bins."
            )

    @torch.inference_mode()
    def _evaluate(
        self, network: N, source: PatchSource, section: Section
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return expression and embedding without dropout and with stored batch statistics."""
        network.eval()
        expression, embedding = self.forward(network, source.batch(section.rows), section)
        extra, device = self.trained.extra, self.trained.device
        return expression.float() * extra["scale"].to(device) + extra["centre"].to(device), embedding

    def infer(self, section: SectionData) -> Prediction:
        """Predict all spots of a section together."""
        placed = self._place(section, np.arange(len(section)), self.trained.device)
        expression, embedding = self._evaluate(self.fitted, self.opened(section), placed)
        return Prediction(expression.float().cpu().numpy(), embedding=embedding.float().cpu().numpy())


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

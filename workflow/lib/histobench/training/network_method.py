"""One trainer for every method with a network.

A method declares its fields, the network, the loss and what decides when to stop; device, threads, seeds,
checkpoints, history, storing and loading are here. An example is a spot (:class:`NetworkMethod`) or a whole
section (:class:`histobench.training.sections.SectionMethod`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast

import numpy as np
import torch
from torch import nn

from histobench.errors import UserError
from histobench.networks.backbones import Backbone, count_parameters, make_backbone
from histobench.seeds import seed_for
from histobench.training.augment import augment
from histobench.training.checkpoint import Checkpoint
from histobench.training.contract import Context, Extent, Prediction, SectionData, TrainingLog
from histobench.training.data import PatchSource
from histobench.training.declared import check_choices
from histobench.training.device import arithmetic, on_device, pick_device, usable_device
from histobench.training.loop import Loop, Row
from histobench.training.store import read_weights, require, store_weights
from histobench.training.study import Study, gather, identity

Facts = dict[str, float | int | str]
N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True)
class Shape:
    """What a network needs to know of the data; stored with its weights, so that it can be built again.

    Attributes
    ----------
    genes
        Number of genes of the panel.
    px
        Width of the patches that are read.
    auxiliary
        Number of auxiliary genes.
    dimension
        Number of frozen features.
    pretrained
        Whether the network started from published weights, where that changes how it is built.
    """

    genes: int
    px: int = 0
    auxiliary: int = 0
    dimension: int = 0
    pretrained: bool = False


@dataclass(frozen=True)
class Start:
    """What a network begins with: published weights and their file, or none, and the seed of the rest."""

    weights: str = "none"
    seed: int = 0
    file: Path | None = None

    def backbone(
        self, architecture: str, input_px: int | None = None, *, pretrained: bool = True
    ) -> Backbone:
        """Build a backbone; with ``pretrained`` false it starts at random, whatever the experiment says."""
        weights = self.weights if pretrained else "none"
        return make_backbone(architecture, weights=weights, file=self.file, seed=self.seed, input_px=input_px)


@dataclass
class Trained(Generic[N]):
    """What a training leaves: the network, where it lies, its shape, and further values of the method."""

    network: N | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    shape: Shape = field(default_factory=lambda: Shape(0))
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class Training:
    """One training while it runs.

    Attributes
    ----------
    study, context, device
        What is learnt from, under what conditions and where.
    shape
        What the network is built for.
    source
        Patches by number, where the method sees patches.
    wanted
        Targets on the device, float32 (spots, genes).
    more
        What the method prepared for itself.
    identity
        Name of this training in checkpoints.
    """

    study: Study
    context: Context
    device: torch.device
    shape: Shape
    source: PatchSource | None = None
    wanted: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    more: dict[str, Any] = field(default_factory=dict)
    identity: str = ""

    @property
    def start(self) -> Start:
        """What networks of this training begin with."""
        return Start(self.context.weights, self.context.seed, self.context.weights_file)

    @property
    def patches(self) -> PatchSource:
        """The patches of a method that sees patches."""
        if self.source is None:
            raise ValueError("this method sees no patches")
        return self.source

    def rows(self, batch: np.ndarray) -> torch.Tensor:
        """Return numbers of spots on the device."""
        return on_device(batch, self.device)


def stored_bytes_of(network: nn.Module) -> int:
    """Return the bytes of what is stored of a network: its parameters and buffers."""
    return sum(value.numel() * value.element_size() for value in network.state_dict().values())


class NetworkMethod(Generic[N]):
    """Base of methods that train a network on spots.

    A subclass is a frozen dataclass that gives :meth:`network`, :meth:`batch_loss`, :meth:`scores` and
    :meth:`infer`. The settings below are fields of it where they can be chosen.
    """

    epochs: int = 0
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    patience: int | None = None
    clip_norm: float | None = None
    precision: str = "float32"
    checkpoint_seconds: float = 60.0
    augmentation: bool = False
    valid_folds: int = 10
    input_px: int | None = None

    #: The entry of the history whose least value names the epoch that is kept; None keeps the last one.
    criterion: ClassVar[str | None] = "valid_mse"
    #: Whether :meth:`batch_loss` is a sum over the batch; otherwise a mean.
    summed_loss: ClassVar[bool] = False
    #: Memory layout of networks on images, which decides the last digits of convolutions.
    channels_last: ClassVar[bool] = True

    # -- what a method declares ---------------------------------------------------------------------

    def network(self, shape: Shape, start: Start) -> N:
        """Build the network; ``start`` says what it begins with, and nothing when weights are loaded."""
        raise NotImplementedError

    def batch_loss(
        self, network: N, training: Training, batch: np.ndarray, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return the loss of some spots, a scalar with gradient."""
        raise NotImplementedError

    def scores(self, network: N, training: Training, held: np.ndarray, epoch: int) -> Row:
        """Return what the history holds of held-out spots after an epoch, :attr:`criterion` among it."""
        return {}

    def infer(self, section: SectionData) -> Prediction:
        """Run the trained network, :attr:`fitted`, over the spots of a section."""
        raise NotImplementedError

    def gather(self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context) -> Study:
        """Return the spots to learn from and those that decide: whole patients, unless a method says else."""
        return gather(train, valid, folds=self.valid_folds)

    def examples(self, training: Training) -> None:
        """Open what the method sees of the spots: patches of ``input_px``, unless a method says else."""
        patches = training.study.patches()
        training.source = PatchSource(patches, input_px=self.input_px, device=training.device)
        training.shape = replace(training.shape, px=training.source.input_px)

    def prepare(self, network: N, training: Training, learn: np.ndarray) -> None:
        """Set what the network takes from the spots that it learns from, before it moves to the device."""

    def optimiser(self, network: N) -> tuple[torch.optim.Optimizer, Any]:
        """Return optimiser and schedule (None for none): Adam, with weight decay as its L2 penalty."""
        adam = torch.optim.Adam(network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        return adam, None

    def check(self, valid: Sequence[SectionData]) -> None:
        """Refuse settings that do not go together."""

    # -- training -----------------------------------------------------------------------------------

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Train as the fields say.

        Raises
        ------
        UserError
            An unknown choice, settings that do not go together, published weights that cannot be had, or a
            training that diverges.
        """
        check_choices(self)
        self.check(valid)
        with arithmetic(self.precision):
            training = self.begin(train, valid, context)
            self.examples(training)
            self.trained.shape = training.shape
            history, facts = self.learn(training)
        network = self.trained.network
        return TrainingLog(
            list(history),
            {
                "parameters": 0 if network is None else count_parameters(network),
                "selection_unit": training.study.unit,
                "device": str(training.device),
                "precision": self.precision,
                **facts,
            },
        )

    def begin(self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context) -> Training:
        """Choose device and threads, number the spots, and forget what was learnt before."""
        torch.set_num_threads(context.threads)
        device = pick_device(context.device)
        study = self.gather(train, valid, context)
        training = Training(study, context, device, Shape(study.targets.shape[1]))
        training.wanted = torch.from_numpy(study.targets).to(device)
        training.identity = identity(self, study, context)
        self._forget(Trained(device=device, shape=training.shape))
        return training

    def learn(self, training: Training) -> tuple[list[Row], Facts]:
        """Train once on the spots to learn from; returns history and facts."""
        loop = self.loop(training)
        history = loop.run()
        return history, {**self.keep(loop), "epochs_run": len(history)}

    def keep(self, loop: Loop) -> Facts:
        """Keep the network of a loop that has run."""
        self.trained.network = cast("N", loop.network)
        return {"epochs": loop.best_epoch}

    def loop(
        self,
        training: Training,
        learn: np.ndarray | None = None,
        held: np.ndarray | None = None,
        *,
        stage: str = "final",
        **settings: Any,
    ) -> Loop:
        """Prepare a training of a new network on ``learn``, scored on ``held`` after each epoch.

        Parameters
        ----------
        training
            Its study says what to learn from and what is held out, where nothing else is given.
        learn, held
            Numbers of spots; without any spot held out nothing is scored.
        stage
            Name in the history, where a method trains several networks.
        settings
            What else :class:`histobench.training.loop.Loop` takes, in place of the method's own.
        """
        learn = training.study.learn if learn is None else learn
        held = training.study.held if held is None else held
        network: N | None = settings.pop("network", None) or self.build(training, learn)
        assert network is not None
        optimiser, scheduler = self.optimiser(network)
        if training.source is not None:
            settings.setdefault("prefetch", training.source.prefetch)
        given = {
            "optimiser": optimiser,
            "scheduler": scheduler,
            "step": lambda batch, rng: self.batch_loss(network, training, batch, rng),
            "rows": learn,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "seed": seed_for(training.context.seed, "training"),
            "device": training.device,
            "summed_loss": self.summed_loss,
            "after_epoch": lambda epoch: self.scores(network, training, held, epoch) if len(held) else {},
            "keep_best": self.criterion,
            "patience": self.patience,
            "clip_norm": self.clip_norm,
            "autocast": self.precision == "bf16",
            "checkpoint": Checkpoint(
                training.context.checkpoints, stage, training.identity, self.checkpoint_seconds
            ),
            "stage": stage,
        }
        return Loop(network=network, **{**given, **settings})

    def build(self, training: Training, learn: np.ndarray) -> N:
        """Build the network as it is before the first step of a training on ``learn``."""
        network = self.network(training.shape, training.start)
        self.prepare(network, training, learn)
        return self.placed(network, training.device)

    def placed(self, network: N, device: torch.device) -> N:
        """Bring a network to its device, in the memory layout of the method."""
        if self.channels_last:
            return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network.to(device)

    def pixels(self, training: Training, batch: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """Return the patches of a batch, with ``augmentation`` each in one of its eight symmetries."""
        pixels = training.patches.batch(batch)
        return augment(pixels, rng) if self.augmentation else pixels

    def stored(self, extent: Extent) -> int:
        """Return the bytes of the weights of a network for so much; built without memory."""
        further = extent.further if getattr(self, "auxiliary", False) else 0
        shape = Shape(extent.genes, self.input_px or extent.px, further, extent.features)
        with torch.device("meta"):
            network = self.network(shape, Start())
        return stored_bytes_of(network)

    # -- a trained method ---------------------------------------------------------------------------

    @cached_property
    def trained(self) -> Trained[N]:
        """What was learnt; nothing before ``fit`` or ``load``."""
        return Trained()

    def _forget(self, trained: Trained[N]) -> None:
        """Begin anew; the fields of a frozen dataclass stay, its cached properties do not."""
        vars(self)["trained"] = trained

    @property
    def fitted(self) -> N:
        """The trained network."""
        if self.trained.network is None:
            raise ValueError(f"{type(self).__name__} has no network yet: fit or load it first")
        return self.trained.network

    def opened(self, section: SectionData) -> PatchSource:
        """Return the patches of a section that is predicted, as the network was given them in training."""
        trained = self.trained
        return PatchSource(
            [require(section, "patches")], input_px=trained.shape.px, device=trained.device, resident=False
        )

    def predict(self, section: SectionData) -> Prediction:
        """Predict one section, in the precision of the training."""
        with arithmetic(self.precision):
            return self.infer(section)

    def stored_device(self) -> str:
        """Where a loaded network predicts, if it is there: where it was trained."""
        return str(self.trained.device)

    def save(self, folder: Path) -> None:
        """Write the network and what is needed to build it again."""
        trained = self.trained
        store_weights(
            folder,
            {
                "network": None if trained.network is None else dict(trained.network.state_dict()),
                "shape": asdict(trained.shape),
                "device": self.stored_device(),
                **trained.extra,
            },
        )

    def load(self, folder: Path) -> None:
        """Build the network and restore its weights."""
        stored = read_weights(folder)
        if "shape" not in stored:
            raise UserError(f"{folder}: the weights are those of an older version; train the method again.")
        state, shape = stored.pop("network"), Shape(**stored.pop("shape"))
        self._forget(Trained(device=usable_device(stored.pop("device")), shape=shape, extra=stored))
        if state is not None:
            network = self.network(shape, Start())
            network.load_state_dict(state)
            self.trained.network = self.placed(network, self.trained.device)


class SteppedAdam(NetworkMethod[N]):
    """Base of methods with the optimiser of HE2Gene: Adam whose steps shrink every so many epochs."""

    decay_every: int | None = None
    decay_factor: float = 0.5

    def optimiser(self, network: N) -> tuple[torch.optim.Optimizer, Any]:
        """Return Adam and its schedule, None where the steps never shrink."""
        adam, _ = super().optimiser(network)
        if self.decay_every is None:
            return adam, None
        return adam, torch.optim.lr_scheduler.StepLR(adam, self.decay_every, self.decay_factor)


def needs_valid(selection: str, valid: Sequence[SectionData]) -> None:
    """Refuse the choice of an epoch on validation patients where there are none."""
    if selection == "valid" and not valid:
        raise UserError("selection valid: the fold has no validation patients; set folds.valid_patients.")


def image_rate(history: Sequence[Row], images: int) -> float:
    """Images per second of the last training, without evaluation."""
    final = [row for row in history if row["stage"] == "final"]
    return round(len(final) * images / max(sum(float(row["seconds"]) for row in final), 1e-9), 2)

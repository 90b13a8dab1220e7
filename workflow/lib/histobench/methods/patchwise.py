"""What methods on single patches share: numbered spots, the training loop, prediction and weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from histobench.errors import UserError
from histobench.seeds import seed_for
from histobench.training.augment import apply_symmetry
from histobench.training.checkpoint import Checkpoint, fingerprint
from histobench.training.contract import Context, SectionData
from histobench.training.data import resize
from histobench.training.groups import inner_folds, inner_groups
from histobench.training.loop import Loop
from histobench.training.store import in_order, require, training_targets

if TYPE_CHECKING:
    from histobench.networks.multihead import MultiHead
    from histobench.training.data import PatchSource


@dataclass(frozen=True)
class Study:
    """The spots that one training may touch, numbered through the sections.

    Attributes
    ----------
    sections
        Training sections, then validation sections, each in fixed order.
    targets
        float32, (spots, genes).
    learn, held
        Numbers of the spots to learn from, and of those that decide when to stop.
    groups
        The patient of each spot.
    unit
        What was held out: "patient", "section", "strip" or "spot"; "none" where there was nothing to hold
        out and the training spots stand in.
    """

    sections: list[SectionData]
    targets: np.ndarray
    learn: np.ndarray
    held: np.ndarray
    groups: np.ndarray
    unit: str

    def stacked(self, field: str) -> np.ndarray:
        """Return an array of all sections as one."""
        return np.concatenate([np.asarray(require(section, field)) for section in self.sections])

    def patches(self) -> list[np.ndarray]:
        """Return the patches of each section."""
        return [require(section, "patches") for section in self.sections]


def gather(
    train: Sequence[SectionData],
    valid: Sequence[SectionData],
    *,
    folds: int,
    unit: str = "patients",
    seed: int = 0,
) -> Study:
    """Give every spot a number and decide which are held out.

    Parameters
    ----------
    train, valid
        As ``fit`` is given them.
    folds
        Without validation sections, one in so many training patients is held out (of sections or strips
        where there is one patient, or one section).
    unit
        "patients", or "spots": one in ``folds`` spots at random, of the same patients and sections as those
        learnt from. That leaks; it repeats published protocols.
    seed
        Of the random spots.

    Raises
    ------
    UserError
        Unknown unit.
    """
    if unit not in ("patients", "spots"):
        raise UserError(f"validation {unit!r}: choose patients or spots.")
    train = in_order(train)
    sections = [*train, *(in_order(valid) if unit == "patients" else [])]
    lengths = [len(section) for section in sections]
    groups = np.repeat([section.patient for section in sections], lengths).astype(str)
    n_train, n_all = sum(map(len, train)), sum(lengths)
    learn, held = np.arange(n_train), np.arange(n_train, n_all)
    name = "patient"
    if unit == "spots":
        name, order = "spot", np.random.default_rng(seed_for(seed, "held spots")).permutation(n_train)
        n_held = max(1, n_train // folds) if n_train > 1 else 0
        learn, held = np.sort(order[n_held:]), np.sort(order[:n_held])
    elif not len(held):
        name, parts = inner_groups(train)
        made = inner_folds(parts, folds)
        if made:
            learn, held = made[0]
    if not len(held):
        name, held = "none", learn
    return Study(sections, training_targets(sections), learn, held, groups, name)


def identity(module: str, method: object, study: Study, context: Context) -> str:
    """Identify a training, so that a checkpoint of another one is not continued.

    Parameters
    ----------
    module
        ``__name__`` of the method's module: its code counts.
    method
        The method: its parameters count.
    """
    from histobench.codehash import code_hash

    params = sorted((k, v) for k, v in vars(method).items() if not k.startswith("_"))
    named = [(s.cohort, s.patient, s.section, len(s)) for s in study.sections]
    shown = [
        np.asarray(array[[0, len(section) - 1]])
        for section in study.sections
        for array in (section.patches, section.features)
        if array is not None and len(section)
    ]
    truths = [
        np.asarray(values)
        for section in study.sections
        for values in (
            section.labels,
            section.counts if section.counts is None else section.counts.sum(axis=0),
        )
        if values is not None
    ]
    return fingerprint(
        code_hash(module),
        params,
        named,
        context.genes,
        context.transform,
        context.seed,
        context.weights,
        str(context.start),
        study.targets,
        study.learn,
        study.held,
        *truths,
        *shown,
    )


def training_loop(
    module: str, method: Any, study: Study, context: Context, *, network: torch.nn.Module, **given: Any
) -> Loop:
    """Return the loop that trains a network with the settings that its method bears.

    Parameters
    ----------
    module
        ``__name__`` of the method's module.
    method
        Has ``epochs``, ``batch_size``, ``patience`` and ``checkpoint_seconds``; ``clip_norm`` and
        ``autocast`` where it knows them.
    study, context, network
        What is learnt from, and what learns.
    given
        What else :class:`histobench.training.loop.Loop` takes: the step, the optimiser, what is kept. Without
        ``rows`` the spots to learn from are the study's.
    """
    settings = {
        "rows": study.learn,
        "epochs": method.epochs,
        "batch_size": method.batch_size,
        "patience": method.patience,
        "clip_norm": getattr(method, "clip_norm", None),
        "autocast": getattr(method, "autocast", False),
        "seed": seed_for(context.seed, "training"),
        "checkpoint": Checkpoint(
            context.checkpoints,
            given.get("stage", "final"),
            identity(module, method, study, context),
            method.checkpoint_seconds,
        ),
    }
    return Loop(network=network, **{**settings, **given})


def stepped_adam(method: Any, network: torch.nn.Module) -> dict[str, Any]:
    """Return the optimiser and schedule of HE2Gene: Adam whose steps shrink every so many epochs."""
    optimiser = torch.optim.Adam(
        network.parameters(), lr=method.learning_rate, weight_decay=method.weight_decay
    )
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, method.decay_every, method.decay_factor)
    return {"optimiser": optimiser, "scheduler": schedule}


def central_window(pixels: torch.Tensor, share: float, width: int) -> torch.Tensor:
    """Return the middle ``share`` of uint8 patches (batch, 3, px, px), resized to ``width`` pixels."""
    full = pixels.shape[-1]
    size = min(full, max(1, round(share * full)))
    first = (full - size) // 2
    return resize(pixels[..., first : first + size, first : first + size], width)


@torch.inference_mode()
def predict_heads(
    network: MultiHead,
    source: PatchSource,
    rows: np.ndarray,
    *,
    width: int,
    shares: Sequence[float] = (1.0,),
    views: int = 1,
    batch_size: int = 64,
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray]:
    """Run the heads over patches, averaged over windows and symmetries.

    Parameters
    ----------
    network
        Put into evaluation mode here.
    source, rows
        Which patches.
    width
        Width that the network takes.
    shares
        Central windows as shares of the patch; the first one gives the embedding.
    views
        How many of the eight symmetries, 1 to 8.

    Returns
    -------
    expression, tumour probability, embedding
        float32 (rows, genes), (rows,) and (rows, dimension); None for a head that there is not.
    """
    network.eval()
    expression, tumour, embedding = [], [], []
    for first in range(0, len(rows), batch_size):
        pixels = source.batch(rows[first : first + batch_size])
        # float64: the mean of equal numbers must be that number
        totals: list[Any] = [0.0, 0.0]
        for number, share in enumerate(shares):
            window = central_window(pixels, share, width)
            for code in range(views):
                features = network.features(apply_symmetry(window, code))
                if number == code == 0:
                    embedding.append(features.float().cpu().numpy())
                if network.primary is not None:
                    totals[0] = totals[0] + network.expression(features).double()
                if network.tumour is not None:
                    totals[1] = totals[1] + torch.sigmoid(network.tumour_logit(features).double())
        n = len(shares) * views
        if network.primary is not None:
            expression.append((totals[0] / n).float().cpu().numpy())
        if network.tumour is not None:
            tumour.append((totals[1] / n).float().cpu().numpy())
    return (
        np.concatenate(expression) if expression else None,
        np.concatenate(tumour) if tumour else None,
        np.concatenate(embedding),
    )

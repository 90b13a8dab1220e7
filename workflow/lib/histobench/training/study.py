"""The spots that one training may touch, which of them teach and which decide, and what identifies it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from histobench.codehash import code_hash, module_file
from histobench.errors import UserError
from histobench.seeds import seed_for
from histobench.training.checkpoint import fingerprint
from histobench.training.contract import Context, SectionData
from histobench.training.declared import parameters_of_method
from histobench.training.groups import inner_folds, inner_groups
from histobench.training.store import in_order, require, stacked, training_targets


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
    n_train
        How many of the sections are training sections.
    """

    sections: list[SectionData]
    targets: np.ndarray
    learn: np.ndarray
    held: np.ndarray
    groups: np.ndarray
    unit: str
    n_train: int

    def stacked(self, field: str) -> np.ndarray:
        """Return an array of all sections as one."""
        return stacked(self.sections, field)

    def patches(self) -> list[np.ndarray]:
        """Return the patches of each section."""
        return [require(section, "patches") for section in self.sections]


def everything(train: Sequence[SectionData], valid: Sequence[SectionData]) -> Study:
    """Give every spot a number: all of ``train`` teach, all of ``valid`` (maybe none) are held out."""
    sections = [*in_order(train), *in_order(valid)]
    lengths = [len(section) for section in sections]
    groups = np.repeat([section.patient for section in sections], lengths).astype(str)
    n_train = sum(map(len, train))
    learn, held = np.arange(n_train), np.arange(n_train, sum(lengths))
    unit = "patient" if len(held) else "none"
    return Study(sections, training_targets(sections), learn, held, groups, unit, len(train))


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
    study = everything(train, valid if unit == "patients" else [])
    learn, held, name = study.learn, study.held, study.unit
    n_train = len(learn)
    if unit == "spots":
        name, order = "spot", np.random.default_rng(seed_for(seed, "held spots")).permutation(n_train)
        n_held = max(1, n_train // folds) if n_train > 1 else 0
        learn, held = np.sort(order[n_held:]), np.sort(order[:n_held])
    elif not len(held):
        name, parts = inner_groups(study.sections)
        made = inner_folds(parts, folds)
        if made:
            learn, held = made[0]
    if not len(held):
        name, held = "none", learn
    return Study(study.sections, study.targets, learn, held, study.groups, name, study.n_train)


def identity(method: object, study: Study, context: Context) -> str:
    """Identify a training, so that a checkpoint of another one is not continued.

    What counts is the code of the method, its parameters, the data that it may see and what the context says.
    """
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
    photos = () if context.photos is None else (context.photos.tiles.shape, context.photos.valid)
    return fingerprint(
        code_hash(*_modules(type(method))),
        parameters_of_method(method),
        named,
        study.n_train,
        context.genes,
        context.transform.definition,
        context.seed,
        context.weights,
        str(context.start),
        study.targets,
        study.learn,
        study.held,
        *photos,
        *truths,
        *shown,
    )


def _modules(cls: type) -> list[str]:
    """Return the modules of a class and its bases that lie in files, as a class of a notebook does not."""
    found = []
    for each in cls.__mro__:
        try:
            module_file(each.__module__)
        except ValueError:
            continue
        found.append(each.__module__)
    return sorted(set(found))

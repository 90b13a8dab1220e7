"""Control: another method, trained on images that belong to other spots of the same section.

It must be null within sections. If it is not, something other than the image of the spot leaks.

Shuffling within sections leaves the differences between sections: a section with more tumour is darker
and expresses tumour genes, and a model that learns this from section means predicts something within
sections too. That is no leak, so by default the targets of every section are moved to one common mean
before training, which leaves nothing to learn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from histobench.bounds import ParametersOf
from histobench.imaging.patchview import PatchView
from histobench.seeds import seed_for
from histobench.training.contract import Context, Method, Prediction, SectionData, TrainingLog
from histobench.training.entry import build_method
from histobench.training.store import column_means, in_order, require, training_targets


def shuffle_images(section: SectionData, seed: int) -> SectionData:
    """Return the section with patches and features moved among its spots, both in the same way."""
    order = np.random.default_rng(seed_for(seed, "shuffle", section.cohort, section.section)).permutation(
        len(section)
    )
    patches: Any = section.patches
    if patches is not None:
        patches = patches.take(order) if isinstance(patches, PatchView) else patches[order]
    features = None if section.features is None else section.features[order]
    return replace(section, patches=patches, features=features)


def centre_targets(section: SectionData, mean: np.ndarray) -> SectionData:
    """Return the section with its targets shifted so that each gene has the given mean."""
    targets = require(section, "targets")
    shift = mean - column_means(targets)
    return replace(section, targets=(targets + shift).astype(np.float32))


@dataclass(frozen=True)
class ShuffledImage:
    """Train the method named by ``entry`` and ``params`` on shuffled images; predict on true ones.

    Parameters
    ----------
    entry, params
        The wrapped method, as in its YAML file.
    centre_sections
        Move the targets of every section to the mean of the training spots.
    """

    entry: str
    params: Annotated[Mapping[str, Any] | None, ParametersOf("entry")] = None
    centre_sections: bool = True

    @cached_property
    def wrapped(self) -> Method:
        """The method that is shown shuffled images."""
        return build_method(self.entry, self.params or {})

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Shuffle within every section, then fit the wrapped method."""
        if self.centre_sections:
            mean = column_means(training_targets(in_order(train)))
            train = [centre_targets(section, mean) for section in train]
            valid = [centre_targets(section, mean) for section in valid]
        told = self.wrapped.fit(
            [shuffle_images(section, context.seed) for section in train],
            [shuffle_images(section, context.seed) for section in valid],
            context,
        )
        told.facts["wrapped"] = self.entry
        return told

    def predict(self, section: SectionData) -> Prediction:
        """Predict with the wrapped method, image unchanged."""
        return self.wrapped.predict(section)

    def save(self, folder: Path) -> None:
        """Write the wrapped method."""
        self.wrapped.save(folder)

    def load(self, folder: Path) -> None:
        """Read the wrapped method."""
        self.wrapped.load(folder)

"""Control: another method, trained on images that belong to other spots of the same section.

It must be null within sections. If it is not, something other than the image of the spot leaks.

Shuffling within sections leaves the differences between sections: a section with more tumour is darker
and expresses tumour genes, and a model that learns this from section means predicts something within
sections too. That is no leak, so by default the targets of every section are moved to one common mean
before training, which leaves nothing to learn.

One permutation is one number, however many genes there are: all genes share it, and genes that are expressed
together are off together. So several are drawn. Images that were moved among the spots of a section are the
same data as targets that were moved the other way, so that a regression in closed form is fitted to
further permutations as to further targets, and the cross-products of features are formed once for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from histobench.bounds import Count, ParametersOf
from histobench.errors import UserError
from histobench.imaging.patchview import PatchView
from histobench.methods.ridge_probe import RidgeProbe
from histobench.seeds import seed_for
from histobench.training.contract import Context, Extent, Method, Prediction, SectionData, TrainingLog
from histobench.training.entry import build_method, method_class, stored_bytes
from histobench.training.store import column_means, in_order, require, training_targets

# Weights of the permutations after the first, beside what the wrapped method keeps of its own.
PERMUTED = "permuted_weight"
# So far, in parts of the largest, weights may be from those of the same permutation fitted as targets.
_ROUNDING = 1e-4


def spot_order(section: SectionData, seed: int, draw: int = 0) -> np.ndarray:
    """Return whose image each spot is given in one of several permutations, (spots,)."""
    further = (draw,) if draw else ()
    rng = np.random.default_rng(seed_for(seed, "shuffle", section.cohort, section.section, *further))
    return rng.permutation(len(section))


def shuffle_images(section: SectionData, seed: int, draw: int = 0) -> SectionData:
    """Return the section with patches and features moved among its spots, both in the same way."""
    order = spot_order(section, seed, draw)
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


def _moved_targets(section: SectionData, seed: int, draw: int) -> np.ndarray:
    """Return the targets, each moved to the spot whose image its own spot is given, (spots, genes)."""
    moved = np.empty_like(require(section, "targets"))
    moved[spot_order(section, seed, draw)] = require(section, "targets")
    return moved


@dataclass(frozen=True)
class ShuffledImage:
    """Train the method named by ``entry`` and ``params`` on shuffled images; predict on true ones.

    Parameters
    ----------
    entry, params
        The wrapped method, as in its YAML file.
    centre_sections
        Move the targets of every section to the mean of the training spots.
    draws
        Permutations. The first is the method that predicts; of the others r is kept, the null distribution.
        They are fitted at the penalty that the first one chose, which takes a ridge regression.

    Raises
    ------
    UserError
        More than one permutation of a method that is no ridge regression.
    """

    entry: str
    params: Annotated[Mapping[str, Any] | None, ParametersOf("entry")] = None
    centre_sections: bool = True
    draws: Count = 1

    def __post_init__(self) -> None:
        """Refuse further permutations of a method that would have to be trained anew for each."""
        if self.draws > 1 and not issubclass(method_class(self.entry), RidgeProbe):
            raise UserError(self._refusal("which has no closed form"))

    def _refusal(self, why: str) -> str:
        return (
            f"params of ShuffledImage: `draws: {self.draws}` fits further permutations as further targets of "
            f"one ridge regression, found {self.entry}, {why}; wrap a ridge regression, or set `draws: 1`."
        )

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
        if isinstance(self.wrapped, RidgeProbe) and self.draws > 1:
            self.wrapped.learnt[PERMUTED] = self._further(self.wrapped, in_order(train), context.seed)
        return told

    def _further(self, wrapped: RidgeProbe, train: Sequence[SectionData], seed: int) -> np.ndarray:
        """Fit the permutations after the first: weights, float32, (draws - 1, numbers, genes).

        The first is fitted once more in the same way, and must give what it gave as shuffled images.
        """
        moved = (
            np.concatenate([_moved_targets(section, seed, draw) for section in train])
            for draw in range(self.draws)
        )
        fits = wrapped.refit(train, moved)
        known, again = wrapped.learnt["weight"], next(fits)
        if np.abs(again - known).max(initial=0) > _ROUNDING * np.abs(known).max(initial=0):
            raise UserError(self._refusal("whose fit is another one"))
        return np.stack([weight.astype(np.float32) for weight in fits])

    def stored(self, extent: Extent) -> float:
        """Return the bytes of the wrapped method, and of the further permutations in float32."""
        own, _ = stored_bytes(self.entry, self.params or {}, extent)
        return own + 4 * (self.draws - 1) * extent.features * extent.genes

    def predict(self, section: SectionData) -> Prediction:
        """Predict with the wrapped method, image unchanged, and by every further permutation."""
        predicted = self.wrapped.predict(section)
        if isinstance(self.wrapped, RidgeProbe) and PERMUTED in self.wrapped.learnt:
            return replace(predicted, permuted=self._permuted(self.wrapped, section))
        return predicted

    def _permuted(self, wrapped: RidgeProbe, section: SectionData) -> Iterator[np.ndarray]:
        """Yield predictions up to a constant per gene, of which r knows nothing: float32, (spots, genes)."""
        described = np.asarray(wrapped.describe(section), np.float32)
        described = described - column_means(described).astype(np.float32)
        for weight in wrapped.learnt[PERMUTED]:
            yield described @ weight

    def save(self, folder: Path) -> None:
        """Write the wrapped method."""
        self.wrapped.save(folder)

    def load(self, folder: Path) -> None:
        """Read the wrapped method."""
        self.wrapped.load(folder)

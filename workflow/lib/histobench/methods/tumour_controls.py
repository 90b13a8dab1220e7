"""Controls of tumour detection: what needs no image, and what needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from histobench.methods.colour_ridge import colour_moments
from histobench.methods.shuffled_image import shuffle_images
from histobench.methods.tumour_logistic import TumourLogistic
from histobench.training.classifier import TumourClassifier
from histobench.training.contract import Context, SectionData, TrainingLog
from histobench.training.store import require


@dataclass(frozen=True)
class TumourPrevalence(TumourClassifier):
    """Every spot is tumour with the probability that training spots are: the floor of every score."""

    def describe(self, section: SectionData) -> np.ndarray:
        """Nothing is looked at: (spots, 0)."""
        return np.empty((len(section), 0), np.float32)

    def learn(
        self, rows: np.ndarray, labels: np.ndarray, groups: np.ndarray, context: Context
    ) -> TrainingLog:
        """Keep the share of tumour."""
        self.learnt["share_learnt"] = np.array(float(labels.mean()))
        return TrainingLog([], {"parameters": 1})

    def score(self, rows: np.ndarray) -> np.ndarray:
        """Return the share for every spot."""
        return np.full(len(rows), float(self.learnt["share_learnt"]))


@dataclass(frozen=True, kw_only=True)
class TumourColour(TumourLogistic):
    """Logistic regression on nine colour moments of the patch; parameters as :class:`TumourLogistic`."""

    def describe(self, section: SectionData) -> np.ndarray:
        """Return means, standard deviations and skewnesses of the three channels, (spots, 9)."""
        return colour_moments(require(section, "patches")).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class TumourShuffled(TumourLogistic):
    """Logistic regression on frozen features that belong to other spots of the section; must be null.

    Features are centred in every section: otherwise a section with more tumour, whose features differ on
    average, would teach something that no single spot shows. Parameters as :class:`TumourLogistic`.
    """

    def describe(self, section: SectionData) -> np.ndarray:
        """Return features without the mean of the section, (spots, dimensions)."""
        features = np.asarray(require(section, "features"), np.float32)
        return features - features.mean(axis=0) if len(features) else features

    def prepare(self, train: Sequence[SectionData], context: Context) -> list[np.ndarray]:
        """Shuffle the features within each training section."""
        return [self.describe(shuffle_images(section, context.seed)) for section in train]

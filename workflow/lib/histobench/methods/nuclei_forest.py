"""Nuclei features and a random forest, the pathology baseline of He et al. 2020 (ST-Net).

The paper summarises ten features of each nucleus in 140 numbers per patch; the released code has eight
numbers per patch. Both are here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np

from histobench.bounds import Count, Grey, Positive, PositiveShare, one_of
from histobench.errors import UserError
from histobench.imaging.nuclei import (
    NUCLEUS_FEATURES,
    PUBLISHED_UM_PER_PX,
    Recipe,
    describe_nuclei,
    haematoxylin_image,
)
from histobench.methods.random_forest import RandomForest
from histobench.training.contract import Context, Extent, Prediction, SectionData, TrainingLog
from histobench.training.declared import ArrayMethod
from histobench.training.store import in_order, require

log = logging.getLogger(__name__)

N_BINS = 10
DESCRIPTIONS = ("paper", "released")


def bin_edges(nuclei: np.ndarray) -> np.ndarray:
    """Return inner edges of ten bins between the 1st and 99th percentile of each feature, (10, 9).

    The paper gives no ranges. What lies beyond the ends falls into the outer bins.
    """
    if not len(nuclei):
        return np.tile(np.linspace(0, 1, N_BINS + 1)[1:-1], (len(NUCLEUS_FEATURES), 1))
    low, high = np.percentile(nuclei, [1, 99], axis=0)
    share = np.linspace(0, 1, N_BINS + 1)[1:-1]
    edges: np.ndarray = low[:, None] + (high - low)[:, None] * share
    return edges


def summarise(nuclei: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Summarise the nuclei of one patch in 141 numbers.

    Of each feature the mean, sd, skewness, excess kurtosis and the shares of nuclei in ten bins; then the
    number of nuclei. A patch without nuclei is all zeros; moments that are not defined are 0.

    Parameters
    ----------
    nuclei
        (nuclei, 10).
    edges
        (10, 9), from :func:`bin_edges`.
    """
    n, n_features = len(nuclei), len(NUCLEUS_FEATURES)
    out = np.zeros((n_features, 4 + N_BINS))
    if n:
        values = nuclei.astype(np.float64)
        mean, sd = values.mean(axis=0), values.std(axis=0)
        # a spread of rounding errors is none
        spread = sd > 1e-6 * np.maximum(np.abs(mean), 1e-6)
        scaled = (values - mean) / np.where(spread, sd, np.inf)
        out[:, 0], out[:, 1] = mean, np.where(spread, sd, 0.0)
        out[:, 2] = (scaled**3).mean(axis=0)
        out[:, 3] = np.where(spread, (scaled**4).mean(axis=0) - 3.0, 0.0)
        for feature in range(n_features):
            place = np.searchsorted(edges[feature], values[:, feature], side="right")
            out[feature, 4:] = np.bincount(place, minlength=N_BINS) / n
    return np.concatenate([out.ravel(), [n]])


def released_numbers(patch: np.ndarray, nuclei: np.ndarray, um_per_px: float) -> np.ndarray:
    """Return the eight numbers of the released code.

    Channel means, channel sds, number of nuclei, share of the patch that they cover.
    """
    pixels = patch.reshape(-1, 3) / 255.0
    field = len(pixels) * um_per_px**2
    area = nuclei[:, 0].sum(dtype=np.float64) / field
    return np.concatenate([pixels.mean(axis=0), pixels.std(axis=0), [len(nuclei), area]])


@dataclass(frozen=True, kw_only=True)
class NucleiForest(ArrayMethod):
    """A random forest on what the nuclei of a patch look like.

    Parameters
    ----------
    description
        "paper" (141 numbers) or "released" (8).
    threshold
        Haematoxylin image below which a pixel is nuclear, 0 to 255; "otsu" finds one on the training
        patches, for stains to which the published value does not apply.
    min_radius_um, max_radius_um, clustering_um, min_area_um2
        See :class:`histobench.imaging.nuclei.Recipe`.
    trees, max_features, min_samples_leaf
        See :class:`histobench.methods.random_forest.RandomForest`.
    """

    description: Annotated[str, one_of(DESCRIPTIONS)] = "paper"
    threshold: Grey | Literal["otsu"] = 60.0
    min_radius_um: Positive = 10 * PUBLISHED_UM_PER_PX
    max_radius_um: Positive = 15 * PUBLISHED_UM_PER_PX
    clustering_um: Positive = 10 * PUBLISHED_UM_PER_PX
    min_area_um2: Positive = 80 * PUBLISHED_UM_PER_PX**2
    trees: Count = 100
    max_features: PositiveShare = 1.0
    min_samples_leaf: Count = 1

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Segment the training patches, place the bins, grow the forest.

        Raises
        ------
        UserError
            Unknown description or threshold, or a section without scale.
        """
        if self.description not in DESCRIPTIONS:
            raise UserError(f"description {self.description!r}: choose paper or released.")
        if isinstance(self.threshold, str) and self.threshold != "otsu":
            raise UserError(f"threshold {self.threshold!r}: give a number from 0 to 255, or otsu.")
        train = in_order(train)
        level = otsu_level(train) if isinstance(self.threshold, str) else float(self.threshold)
        nuclei = [self._nuclei(section, level) for section in train]
        everything = np.concatenate([table for tables in nuclei for table in tables])
        edges = bin_edges(everything)
        described = [
            replace(section, features=self._describe(section, tables, edges))
            for section, tables in zip(train, nuclei, strict=True)
        ]
        forest = self._forest()
        told = forest.fit(described, [], context)
        self.keep(nuclei_edges=edges, nuclei_level=level, **forest.learnt)
        told.facts["n_nuclei"] = len(everything)
        told.facts["n_patches_without_nuclei"] = sum(not len(t) for tables in nuclei for t in tables)
        told.facts["threshold"] = round(level, 2)
        return told

    def _forest(self) -> RandomForest:
        return RandomForest(self.trees, self.max_features, self.min_samples_leaf)

    def stored_per_spot(self, extent: Extent) -> float:
        """Return the bytes of the forest."""
        return self._forest().stored_per_spot(extent)

    def _nuclei(self, section: SectionData, level: float) -> list[np.ndarray]:
        patches, scale = require(section, "patches"), _scale(section)
        recipe = Recipe(
            threshold=level,
            min_radius_um=self.min_radius_um,
            max_radius_um=self.max_radius_um,
            clustering_um=self.clustering_um,
            min_area_um2=self.min_area_um2,
        )
        start, tables = time.perf_counter(), []
        for row in range(len(section)):
            tables.append(describe_nuclei(np.asarray(patches[row]), scale, recipe))
            if time.perf_counter() - start > 30:
                start = time.perf_counter()
                log.info("section %s: %d of %d patches", section.section, row + 1, len(section))
        return tables

    def _describe(self, section: SectionData, nuclei: list[np.ndarray], edges: np.ndarray) -> np.ndarray:
        if self.description == "paper":
            rows = [summarise(table, edges) for table in nuclei]
        else:
            patches, scale = require(section, "patches"), _scale(section)
            rows = [
                released_numbers(np.asarray(patches[row]), table, scale) for row, table in enumerate(nuclei)
            ]
        return np.asarray(rows, np.float32)

    def predict(self, section: SectionData) -> Prediction:
        """Segment the patches and ask the forest."""
        nuclei = self._nuclei(section, float(self.learnt["nuclei_level"]))
        features = self._describe(section, nuclei, self.learnt["nuclei_edges"])
        forest = self._forest()
        forest.keep(**self.learnt)
        return forest.predict(replace(section, features=features))


def _scale(section: SectionData) -> float:
    if not np.isfinite(section.um_per_px) or section.um_per_px <= 0:
        raise UserError(
            f"section {section.section}: nuclei need um/px, which this section lacks; declare um_per_px."
        )
    return float(section.um_per_px)


def otsu_level(sections: Sequence[SectionData]) -> float:
    """Return Otsu's threshold of the haematoxylin images of all patches, of every fourth pixel."""
    from skimage.filters import threshold_otsu

    histogram = np.zeros(256, np.int64)
    for section in sections:
        patches = require(section, "patches")
        for row in range(len(section)):
            image = haematoxylin_image(np.asarray(patches[row])[::2, ::2])
            histogram += np.bincount(np.rint(image).astype(np.int64).ravel(), minlength=256)
    if np.count_nonzero(histogram) < 2:
        return float(np.argmax(histogram))
    threshold = threshold_otsu(hist=(histogram, np.arange(256)))  # type: ignore[no-untyped-call]
    return float(threshold) + 0.5

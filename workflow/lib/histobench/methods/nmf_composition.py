"""Composition by NMF and DenseNet-121, the cell-type baseline of He et al. 2020 (ST-Net).

Expression is factorised into ten non-negative profiles; the network of ST-Net, trained as ST-Net is, predicts
how much of each profile a spot holds; prediction times profiles is expression. The paper gives no code and
leaves open what is factorised; here it is the panel on a linear scale, the inverse of the target transform.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch

from histobench.bounds import Count, Counts, ParametersOf
from histobench.expression.transforms import Transform
from histobench.methods.stnet import STNet
from histobench.seeds import seed_for
from histobench.training.contract import Context, Extent, Prediction, SectionData, TrainingLog
from histobench.training.store import in_order, read_weights, require, store_weights, training_targets

if TYPE_CHECKING:
    from sklearn.decomposition import NMF


@dataclass(frozen=True, kw_only=True)
class NMFComposition:
    """Predict how much of each NMF factor a spot holds, with the network and training of ST-Net.

    Parameters
    ----------
    factors
        Number of factors; fewer where there are fewer genes.
    iterations
        Most iterations of the factorisation.
    compared
        Further numbers of factors; what share of the variance each explains is recorded, and nothing else
        depends on it.
    network
        Parameters of :class:`histobench.methods.stnet.STNet`.
    """

    factors: Count = 10
    iterations: Count = 200
    compared: Counts = (10,)
    network: Annotated[Mapping[str, Any] | None, ParametersOf("histobench.methods.stnet:STNet")] = None

    @cached_property
    def stnet(self) -> STNet:
        """The network that predicts compositions."""
        return STNet(**(self.network or {}))

    @cached_property
    def learnt(self) -> dict[str, Any]:
        """Profiles, floor, unit and transform, by name; empty before ``fit`` or ``load``."""
        return {}

    @property
    def _transform(self) -> Transform:
        """The target transform of the training."""
        return Transform.of(self.learnt["transform"])

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Factorise the training expression, then train the network on the compositions."""
        train, valid = in_order(train), in_order(valid)
        linear = context.transform.linear(training_targets(train))
        unit = float(linear.mean()) or 1.0  # the start of the factorisation has an absolute tolerance
        model, composition = self._factorise(linear / unit, context)
        # Each factor in units of its training sd: the same product, and factors that weigh alike. In units of
        # the mean, one that few spots hold would be nearly all of the loss.
        spread = composition.std(axis=0)
        size = np.where(spread > 0, spread, 1.0)
        profiles = model.components_ * size[:, None]
        self.learnt.update(
            profiles=profiles, floor=linear.min(axis=0), unit=unit, transform=context.transform.definition
        )
        names = tuple(f"factor {number + 1}" for number in range(len(size)))
        told = self.stnet.fit(
            self._with_targets(train, composition / size),
            [replace(section, targets=self._compose(model, section, size)) for section in valid],
            replace(context, genes=names),
        )
        rest = float(np.linalg.norm(linear / unit - composition @ model.components_))
        told.facts["parameters"] = int(told.facts["parameters"]) + profiles.size
        told.facts["n_factors"] = len(size)
        told.facts["nmf_iterations"] = int(model.n_iter_)
        told.facts["nmf_relative_error"] = rest / max(float(np.linalg.norm(linear / unit)), 1e-12)
        if set(self.compared) - {self.factors}:
            told.facts |= self._explained(linear / unit, context)
        return told

    def _explained(self, linear: np.ndarray, context: Context) -> dict[str, float]:
        """Return the share of the variance over all genes that each number of factors explains."""
        total = float(((linear - linear.mean(axis=0)) ** 2).sum()) or 1.0
        found = {}
        for number in sorted({self.factors, *self.compared}):
            model, composition = self._factorise(linear, context, number)
            found[f"nmf_explained_{number}"] = (
                1 - float(((linear - composition @ model.components_) ** 2).sum()) / total
            )
        return found

    def _factorise(self, linear: np.ndarray, context: Context, factors: int = 0) -> tuple[NMF, np.ndarray]:
        from sklearn.decomposition import NMF

        model = NMF(
            n_components=min(factors or self.factors, *linear.shape),
            init="nndsvda",
            solver="cd",
            max_iter=self.iterations,
            random_state=seed_for(context.seed, "nmf"),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the number of iterations is the published one, converged or not
            return model, model.fit_transform(linear)

    def _compose(self, model: NMF, section: SectionData, size: np.ndarray) -> np.ndarray:
        """Return the composition of a section that the factorisation did not see."""
        linear = self._transform.linear(require(section, "targets"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            composition: np.ndarray = model.transform(linear / self.learnt["unit"]) / size
        return composition.astype(np.float32)

    @staticmethod
    def _with_targets(sections: Sequence[SectionData], values: np.ndarray) -> list[SectionData]:
        ends = np.cumsum([len(section) for section in sections])[:-1]
        parts = np.split(values.astype(np.float32), ends)
        return [replace(section, targets=part) for section, part in zip(sections, parts, strict=True)]

    def stored(self, extent: Extent) -> int:
        """Return the bytes of the network for so many factors, and of the profiles."""
        return self.stnet.stored(replace(extent, genes=self.factors)) + 8 * (self.factors + 1) * extent.genes

    def predict(self, section: SectionData) -> Prediction:
        """Predict the composition and multiply it with the profiles; the embedding is the network's."""
        found, learnt = self.stnet.predict(section), self.learnt
        linear = found.expression.astype(np.float64) @ learnt["profiles"] * learnt["unit"]
        # the network may go below zero; no gene is predicted lower than it was ever seen
        expression = self._transform.curved(np.maximum(linear, learnt["floor"]))
        return Prediction(expression.astype(np.float32), embedding=found.embedding)

    def save(self, folder: Path) -> None:
        """Write the network with the profiles beside it."""
        self.stnet.save(folder)
        arrays = {name: torch.from_numpy(self.learnt[name]) for name in ("profiles", "floor")}
        store_weights(folder, {**read_weights(folder), "nmf": {**self.learnt, **arrays}})

    def load(self, folder: Path) -> None:
        """Read what :meth:`save` wrote."""
        stored = read_weights(folder)["nmf"]
        arrays = {name: stored[name].numpy() for name in ("profiles", "floor")}
        self.learnt.update({**stored, **arrays})
        self.stnet.load(folder)

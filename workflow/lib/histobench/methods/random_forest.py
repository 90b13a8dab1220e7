"""Random forest on frozen features, a baseline of Chen et al. 2024 (HE2Gene).

A forest over 250 genes that stores a mean vector in every node takes some 15 GB at 27,000 spots. Here a
tree keeps its splits and, for every training spot, the leaf it falls into: a prediction is the weighted
mean of the training targets in that leaf, which is the same number.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from histobench.bounds import Count, PositiveShare
from histobench.seeds import seed_for
from histobench.training.contract import Context, Extent, Prediction, SectionData, TrainingLog
from histobench.training.declared import ArrayMethod
from histobench.training.store import in_order, require, stacked, training_targets

log = logging.getLogger(__name__)

TREE = ("left", "right", "feature", "threshold", "times", "leaf")


def leaves(features: np.ndarray, tree: dict[str, np.ndarray]) -> np.ndarray:
    """Return the leaf (node number) of each spot, (spots,), by walking down all paths at once."""
    node = np.zeros(len(features), np.int64)
    rows = np.arange(len(features))
    while True:
        inner = tree["left"][node] >= 0
        if not inner.any():
            return node
        value = features[rows, np.maximum(tree["feature"][node], 0)]
        # as scikit-learn: float32 value against float64 threshold, equality goes left
        child = np.where(value <= tree["threshold"][node], tree["left"][node], tree["right"][node])
        node = np.where(inner, child, node)


@dataclass(frozen=True)
class RandomForest(ArrayMethod):
    """A forest of multi-output regression trees on bootstrap samples of the training spots.

    Parameters
    ----------
    trees
        Number of trees.
    max_features
        Share of features that each split may choose from.
    min_samples_leaf
        Least spots in a leaf.
    """

    trees: Count = 100
    max_features: PositiveShare = 1 / 3
    min_samples_leaf: Count = 1

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Grow the trees one by one, so that only one is ever held with its node values."""
        train = in_order(train)
        features, targets = stacked(train, "features").astype(np.float32), training_targets(train)
        self.keep(targets=targets)
        for number in range(self.trees):
            tree = self._grow(features, targets, seed_for(context.seed, "tree", number))
            self.learnt.update({f"{name}_{number}": values for name, values in tree.items()})
            if (number + 1) % 10 == 0:
                log.info("%d of %d trees", number + 1, self.trees)
        nodes = sum(len(tree["left"]) for tree in self.grown())
        return TrainingLog(facts={"parameters": nodes, "n_trees": self.trees, "n_nodes": nodes})

    def grown(self) -> Iterator[dict[str, np.ndarray]]:
        """Yield the splits and leaf memberships of each tree, by name."""
        for number in range(sum(name.startswith("left_") for name in self.learnt)):
            yield {name: self.learnt[f"{name}_{number}"] for name in TREE}

    def _grow(self, features: np.ndarray, targets: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        from sklearn.ensemble import RandomForestRegressor

        forest = RandomForestRegressor(
            n_estimators=1,
            max_features=self.max_features,
            min_samples_leaf=self.min_samples_leaf,
            random_state=seed,
        ).fit(features, targets if targets.shape[1] > 1 else targets[:, 0])
        grown = forest.estimators_[0].tree_
        drawn = np.bincount(forest.estimators_samples_[0], minlength=len(features))
        tree = {
            "left": grown.children_left.astype(np.int32),
            "right": grown.children_right.astype(np.int32),
            "feature": grown.feature.astype(np.int32),
            "threshold": grown.threshold.astype(np.float64),
            "times": drawn.astype(np.uint16),  # how often the bootstrap drew each training spot
        }
        tree["leaf"] = leaves(features, tree).astype(np.int32)
        return tree

    def stored_per_spot(self, extent: Extent) -> float:
        """Return the bytes of targets and trees: a bootstrap holds 63 % of the spots, a leaf some of them."""
        nodes = 2 * 0.632 / (1.5 * self.min_samples_leaf - 0.5)
        return 4 * extent.genes + self.trees * (20 * nodes + 6)

    def predict(self, section: SectionData) -> Prediction:
        """Average over trees the mean targets of the training spots in the same leaf."""
        from scipy import sparse

        features = require(section, "features").astype(np.float32)
        targets = self.learnt["targets"]
        n_train, n_trees = len(targets), 0
        total = np.zeros((len(section), targets.shape[1]))
        for tree in self.grown():
            n_trees += 1
            nodes = len(tree["left"])
            members = sparse.csr_matrix(
                (tree["times"].astype(np.float64), (tree["leaf"], np.arange(n_train))), shape=(nodes, n_train)
            )
            reached, place = np.unique(leaves(features, tree), return_inverse=True)
            inside = members[reached]
            means = (inside @ targets) / np.asarray(inside.sum(axis=1))
            total += means[place]
        return Prediction((total / n_trees).astype(np.float32))

"""Tumour by LightGBM on frozen features, a baseline of Chen et al. 2024 (HE2Gene)."""

from __future__ import annotations

from typing import Any

import numpy as np

from histobench.bounds import Count, Positive
from histobench.methods.tumour import TumourClassifier
from histobench.training.contract import Context, TrainingLog


class TumourLightGBM(TumourClassifier):
    """Gradient-boosted trees with the library's defaults, which the paper uses.

    Parameters
    ----------
    trees, leaves, learning_rate, min_leaf
        Trees, leaves of a tree, shrinkage, and least spots in a leaf.
    """

    def __init__(
        self, *, trees: Count = 100, leaves: Count = 31, learning_rate: Positive = 0.1, min_leaf: Count = 20
    ) -> None:
        self.trees = trees
        self.leaves = leaves
        self.learning_rate = learning_rate
        self.min_leaf = min_leaf

    def learn(
        self, rows: np.ndarray, labels: np.ndarray, groups: np.ndarray, context: Context
    ) -> TrainingLog:
        """Grow the trees, the same ones on every run."""
        import lightgbm

        settings: dict[str, Any] = {
            "objective": "binary",
            "num_leaves": self.leaves,
            "learning_rate": self.learning_rate,
            "min_data_in_leaf": self.min_leaf,
            "num_threads": context.threads,
            "seed": context.seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        table = lightgbm.Dataset(rows, labels, params={"verbosity": -1})
        self._booster = lightgbm.train(settings, table, num_boost_round=self.trees)
        nodes = sum(tree["num_leaves"] for tree in self._booster.dump_model()["tree_info"])
        return TrainingLog(facts={"parameters": int(nodes), "n_trees": self._booster.num_trees()})

    def score(self, rows: np.ndarray) -> np.ndarray:
        """Ask the trees."""
        return np.asarray(self._booster.predict(rows, num_threads=1))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the library's own text form of the trees, as bytes."""
        return {"booster": np.frombuffer(self._booster.model_to_string().encode(), np.uint8)}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take over what :meth:`arrays` returned."""
        import lightgbm

        self._booster = lightgbm.Booster(model_str=arrays["booster"].tobytes().decode())

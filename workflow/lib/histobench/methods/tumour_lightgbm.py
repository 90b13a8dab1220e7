"""Tumour by LightGBM on frozen features, a baseline of Chen et al. 2024 (HE2Gene)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from histobench.bounds import Count, Positive
from histobench.training.classifier import TumourClassifier
from histobench.training.contract import Context, TrainingLog


@dataclass(frozen=True, kw_only=True)
class TumourLightGBM(TumourClassifier):
    """Gradient-boosted trees with the library's defaults, which the paper uses.

    Parameters
    ----------
    trees, leaves, learning_rate, min_leaf
        Trees, leaves of a tree, shrinkage, and least spots in a leaf.
    """

    trees: Count = 100
    leaves: Count = 31
    learning_rate: Positive = 0.1
    min_leaf: Count = 20

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
        booster = lightgbm.train(settings, table, num_boost_round=self.trees)
        # the library's own text form of the trees, as bytes
        self.learnt["booster"] = np.frombuffer(booster.model_to_string().encode(), np.uint8)
        nodes = sum(tree["num_leaves"] for tree in booster.dump_model()["tree_info"])
        return TrainingLog(facts={"parameters": int(nodes), "n_trees": booster.num_trees()})

    def score(self, rows: np.ndarray) -> np.ndarray:
        """Ask the trees."""
        import lightgbm

        booster = lightgbm.Booster(model_str=self.learnt["booster"].tobytes().decode())
        return np.asarray(booster.predict(rows, num_threads=1))

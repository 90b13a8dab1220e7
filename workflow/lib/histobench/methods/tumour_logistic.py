"""Tumour by logistic regression on frozen features, the linear probe of Chen et al. 2024 (HE2Gene)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from histobench.bounds import Count, Folds, Penalties
from histobench.training.classifier import TumourClassifier
from histobench.training.contract import Context, TrainingLog
from histobench.training.groups import inner_folds


@dataclass(frozen=True, kw_only=True)
class TumourLogistic(TumourClassifier):
    """L2-penalised logistic regression; the penalty comes from leaving out training patients.

    Parameters
    ----------
    strengths
        Inverse penalties C to choose from, on standardised features.
    folds
        Inner folds over training patients; the C with the least log loss is taken.
    iterations
        Most iterations of the solver.
    """

    strengths: Penalties = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    folds: Folds = 4
    iterations: Count = 1000

    def learn(
        self, rows: np.ndarray, labels: np.ndarray, groups: np.ndarray, context: Context
    ) -> TrainingLog:
        """Choose C, then fit on all labelled spots."""
        centre = rows.mean(axis=0, dtype=np.float64)
        sd = rows.std(axis=0, dtype=np.float64)
        scale = np.where(sd > 0, sd, 1.0)
        x = (rows - centre) / scale
        strengths = sorted(float(strength) for strength in self.strengths)
        losses = np.zeros(len(strengths))
        scored = 0
        for learn, held in inner_folds(groups, self.folds):
            if len(set(labels[learn])) < 2:
                continue  # the labels of these patients say nothing about the others
            scored += len(held)
            for number, strength in enumerate(strengths):
                weight, bias = self._fit(x[learn], labels[learn], strength)
                logits = x[held] @ weight + bias
                losses[number] += np.logaddexp(0.0, np.where(labels[held] == 1, -logits, logits)).sum()
        # nothing to choose by: the strongest penalty, the most cautious one
        best = strengths[int(np.argmin(losses))] if scored else strengths[0]
        weight, bias = self._fit(x, labels, best)
        self.learnt.update(weight=weight, bias=np.array(bias), centre=centre, scale=scale)
        history: list[dict[str, float | int | str]] = [
            {"stage": "penalty", "strength": strength, "valid_log_loss": float(loss / scored)}
            for strength, loss in zip(strengths, losses, strict=True)
            if scored
        ]
        return TrainingLog(history, {"parameters": len(weight) + 1, "strength": best})

    def _fit(self, x: np.ndarray, labels: np.ndarray, strength: float) -> tuple[np.ndarray, float]:
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=strength, max_iter=self.iterations).fit(x, labels)
        return model.coef_[0], float(model.intercept_[0])

    def score(self, rows: np.ndarray) -> np.ndarray:
        """Apply the regression."""
        from scipy.special import expit

        learnt = self.learnt
        scaled = (rows - learnt["centre"]) / learnt["scale"]
        scored: np.ndarray = expit(scaled @ learnt["weight"] + float(learnt["bias"]))
        return scored

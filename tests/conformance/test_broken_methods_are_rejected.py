"""Each way of breaking the contract is caught, and named in one sentence."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pytest

from histobench.training.conformance import ConformanceError, check_method
from histobench.training.contract import Prediction, TrainingLog
from histobench.training.store import column_means, in_order, load_arrays, save_arrays, training_targets

PATCHES = {"patches": True}


class Good:
    """Brightness regression: small, honest, in every respect as the contract wants it."""

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = slope

    def fit(self, train, valid, context):
        train = in_order(train)
        self._mean = column_means(training_targets(train))
        self._grey = np.concatenate([self._brightness(s) for s in train]).mean()
        return TrainingLog(facts={"parameters": len(self._mean) + 1})

    def _brightness(self, section):
        return section.patches.reshape(len(section), -1).mean(axis=1)

    def predict(self, section):
        change = self.slope * (self._brightness(section) - self._grey)
        return Prediction((self._mean + change[:, None]).astype(np.float32))

    def save(self, folder):
        save_arrays(folder, mean=self._mean, grey=np.array(self._grey))

    def load(self, folder):
        stored = load_arrays(folder)
        self._mean, self._grey = stored["mean"], float(stored["grey"])


class Sorts(Good):
    def predict(self, section):
        return Prediction(np.sort(super().predict(section).expression, axis=0))


class ReversesGenes(Good):
    def predict(self, section):
        return Prediction(super().predict(section).expression[:, ::-1])


class Nan(Good):
    def predict(self, section):
        values = super().predict(section).expression
        values[0, 0] = np.nan
        return Prediction(values)


class OneGeneShort(Good):
    def predict(self, section):
        return Prediction(super().predict(section).expression[:, :-1])


class Peeks(Good):
    def predict(self, section):
        values = super().predict(section).expression
        if section.labels is not None:
            values = values + section.labels[:, None]
        return Prediction(values)


class NeedsTruth(Good):
    def predict(self, section):
        return Prediction(np.asarray(section.targets, np.float32))


class Unseeded(Good):
    def fit(self, train, valid, context):
        told = super().fit(train, valid, context)
        self._mean = self._mean + np.random.default_rng().normal(size=len(self._mean))
        return told


class LeavesTheSharedGeneratorAsItWas(Good):
    """Two fits in a row draw alike; in another process they would not."""

    def fit(self, train, valid, context):
        told = super().fit(train, valid, context)
        state = np.random.get_state()  # noqa: NPY002
        self._mean = self._mean + np.random.normal(size=len(self._mean))  # noqa: NPY002
        np.random.set_state(state)  # noqa: NPY002
        return told


class Drifts(Good):
    def predict(self, section):
        self._mean = self._mean + 0.001
        return super().predict(section)


class ForgetsOnSave(Good):
    def load(self, folder):
        super().load(folder)
        self._grey = 0.0


class SavesTwice(Good):
    def save(self, folder):
        super().save(folder)
        (Path(folder) / "notes.txt").write_text("more")


class CannotSave(Good):
    def save(self, folder):
        raise NotImplementedError("not yet")


class WorksInConstructor(Good):
    def __init__(self, slope: float = 0.01) -> None:
        super().__init__(slope)
        self.network = object()


class DropsParameter(Good):
    def __init__(self, slope: float = 0.01, depth: int = 2) -> None:
        super().__init__(slope)


class LastSectionCounts(Good):
    def fit(self, train, valid, context):
        told = super().fit(train, valid, context)
        self._mean = column_means(train[-1].targets)
        return told


class Overwrites(Good):
    def fit(self, train, valid, context):
        told = super().fit(train, valid, context)
        for section in train:
            section.targets[:] = 0
        return told


class DividesBySpread(Good):
    def fit(self, train, valid, context):
        told = super().fit(train, valid, context)
        sd = training_targets(train).std(axis=0)
        with np.errstate(all="ignore"):
            self._mean = self._mean / sd * sd
        return told


class NeedsTwoSpots(Good):
    def predict(self, section):
        if len(section) < 2:
            raise IndexError("no neighbours")
        return super().predict(section)


class NeedsLabels(Good):
    def fit(self, train, valid, context):
        told = super().fit(train, valid, context)
        labels = np.concatenate([s.labels for s in train])
        self._mean = self._mean + labels.mean()
        return told


class LooksForTheTruth(Good):
    """Where a run stores it, by the names of cohort and section."""

    def predict(self, section):
        found = super().predict(section)
        file = Path("results", "data", section.cohort, "sections", f"{section.section}.h5ad")
        if file.is_file():
            found.expression[:, 0] += anndata.read_h5ad(file).X.sum()
        return found


class FollowsItsPatches(Good):
    """From the file of the patches to the counts in the folder beside it."""

    def predict(self, section):
        found = super().predict(section)
        if isinstance(section.patches, np.memmap):
            folder = Path(section.patches.filename).parents[2]
            (file,) = folder.glob("sections/*.h5ad")
            found.expression[:, 0] += anndata.read_h5ad(file).X.sum()
        return found


class RemembersTheTruth(Good):
    """Reads all sections of the cohort in fit, the tested one among them."""

    def fit(self, train, valid, context):
        told = super().fit(train, valid, context)
        files = sorted(Path("results", "data").glob("*/sections/*.h5ad"))
        self._mean = self._mean + sum(anndata.read_h5ad(file).X.sum() for file in files)
        return told


class ClimbsFromItsCheckpoints(Good):
    def fit(self, train, valid, context):
        told = super().fit(train, valid, context)
        if context.checkpoints is not None:
            results = context.checkpoints.parents[4]
            self._mean = self._mean + sum(1 for _ in results.glob("data/*/sections/*.h5ad"))
        return told


class DriftsWithOthers(Good):
    """What it predicted last stays in its statistics, unless it is the same again."""

    def predict(self, section):
        if getattr(self, "_last", section.section) != section.section:
            self._mean = self._mean + 0.1
        self._last = section.section
        return super().predict(section)


class MovesSpots(Good):
    def predict(self, section):
        section.spots["pixel_x"] -= section.spots["pixel_x"].mean()
        return super().predict(section)


class ScalesCounts(Good):
    def fit(self, train, valid, context):
        for section in train:
            section.counts.data[:] = 1
        return super().fit(train, valid, context)


class Complex(Good):
    def predict(self, section):
        return Prediction(super().predict(section).expression.astype(np.complex64))


class Objects(Good):
    def predict(self, section):
        return Prediction(super().predict(section).expression.astype(object))


class Whole(Good):
    def predict(self, section):
        return Prediction(super().predict(section).expression.round().astype(np.int64))


class Masked(Good):
    def predict(self, section):
        return Prediction(np.ma.masked_greater(super().predict(section).expression, 1.0))


class TooLarge(Good):
    """Finite, but not in 32 bits, in which predictions are stored."""

    def predict(self, section):
        return Prediction(super().predict(section).expression.astype(np.float64) * 1e300)


class Transposed(Good):
    def predict(self, section):
        return Prediction(super().predict(section).expression.T)


class OneDimension(Good):
    def predict(self, section):
        return Prediction(super().predict(section).expression[:, 0])


class SaysNothing(Good):
    def fit(self, train, valid, context):
        super().fit(train, valid, context)


BROKEN = {
    Sorts: "rows are mixed up",
    ReversesGenes: "columns are not in panel order",
    Nan: "not finite",
    OneGeneShort: "(8, 4)",
    Peeks: "changes with the truth",
    NeedsTruth: "needs.oracle",
    Unseeded: "context.seed",
    LeavesTheSharedGeneratorAsItWas: "context.seed",
    Drifts: "two answers",
    ForgetsOnSave: "other numbers",
    SavesTwice: "notes.txt",
    CannotSave: "In save",
    WorksInConstructor: "'network'",
    DropsParameter: "'depth'",
    LastSectionCounts: "order of the training sections",
    Overwrites: "in place",
    DividesBySpread: "constant gene",
    NeedsTwoSpots: "one spot",
    NeedsLabels: "label",
    LooksForTheTruth: "file of the section's measurement",
    FollowsItsPatches: "file of the section's measurement",
    RemembersTheTruth: "file of the section's measurement",
    ClimbsFromItsCheckpoints: "file of the section's measurement",
    DriftsWithOthers: "two answers",
    MovesSpots: "changes spots of section s5 in place",
    ScalesCounts: "changes counts of section s1 in place",
    Complex: "of type complex64; return float32",
    Objects: "of type object; return float32",
    Whole: "of type int64; return float32",
    Masked: "masked",
    TooLarge: "not finite",
    Transposed: "(5, 8)",
    OneDimension: "(8,)",
    SaysNothing: "TrainingLog",
}


def test_the_honest_method_passes() -> None:
    check_method(Good, needs=PATCHES)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda cls: cls.__name__)
def test_broken_method_is_rejected_in_one_sentence(broken: type) -> None:
    with pytest.raises(ConformanceError) as problem:
        check_method(broken, needs=PATCHES)
    text = str(problem.value)
    assert BROKEN[broken] in text
    assert text.endswith(".") and "\n" not in text


def test_a_declared_oracle_may_see_the_truth() -> None:
    check_method(NeedsTruth, needs={"patches": True, "oracle": True})

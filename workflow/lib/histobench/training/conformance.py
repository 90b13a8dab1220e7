"""What every method must do, as checks that a method author can run.

    from histobench.training.conformance import check_method
    check_method("my_package.my_method:MyMethod", {"epochs": 1}, needs={"patches": True})

passes silently or says in one sentence what is wrong. The data are tiny and made up: three training
patients, one test patient, patches of 32 px whose colour follows the expression.
"""

from __future__ import annotations

import copy
import inspect
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from histobench.files import SEAL
from histobench.training.contract import Context, Method, Prediction, SectionData, TrainingLog
from histobench.training.entry import build_method, method_class
from histobench.training.run import check_prediction
from histobench.training.store import WEIGHTS

GENES = ("A", "B", "C", "D", "E")
ALL_GENES = (*GENES, "F", "G", "H")
PATCH_PX = 32
N_FEATURES = 16


class ConformanceError(Exception):
    """A method breaks the contract; the message says how, in one sentence.

    Parameters
    ----------
    message
        The sentence.
    mistake
        What is wrong without where it showed; the same mistake may show in several checks.
    """

    def __init__(self, message: str, mistake: str = "") -> None:
        super().__init__(message)
        self.mistake = mistake or message


def make_section(patient: str, section: str, n: int, seed: int) -> SectionData:
    """Make a section of ``n`` spots whose patches and features follow a smooth latent value."""
    import pandas as pd
    from scipy import sparse

    from histobench.expression.transforms import transform_counts, usual_transform

    rng = np.random.default_rng([seed, n])
    x, y = np.arange(n) % 4, np.arange(n) // 4
    latent = np.sin(x + rng.normal(0, 0.3, n)) + 0.5 * np.cos(y)
    slopes = np.linspace(-0.8, 0.8, len(ALL_GENES))
    counts = rng.poisson(np.exp(2.0 + latent[:, None] * slopes)).astype(np.int32)
    counts[:, -1] += 1  # no spot is empty
    total = counts.sum(axis=1).astype(np.float64)
    panel = counts[:, : len(GENES)]
    grey = (150 + 40 * latent)[:, None, None, None] + rng.normal(0, 15, (n, PATCH_PX, PATCH_PX, 3))
    features = latent[:, None] * np.linspace(-1, 1, N_FEATURES) + rng.normal(0, 0.3, (n, N_FEATURES))
    return SectionData(
        cohort="tiny",
        section=section,
        patient=patient,
        spots=pd.DataFrame(
            {"array_x": x + 0.0, "array_y": y + 0.0, "pixel_x": 100.0 * x, "pixel_y": 100.0 * y},
            index=[f"{a}x{b}" for a, b in zip(x, y, strict=True)],
        ),
        um_per_px=2.0,
        patches=np.clip(grey, 0, 255).astype(np.uint8),
        features=features.astype(np.float32),
        targets=transform_counts(usual_transform(), panel, total, panel.sum(axis=1), len(ALL_GENES)),
        counts=sparse.csr_matrix(counts),
        labels=np.where(latent > 0, 1.0, 0.0).astype(np.float32),
        total_counts=total,
    )


def make_study() -> tuple[list[SectionData], SectionData]:
    """Make the training sections of three patients and a test section of a fourth."""
    sizes = [("p1", "s1", 12), ("p1", "s2", 9), ("p2", "s3", 10), ("p3", "s4", 11)]
    train = [make_section(patient, section, n, seed) for seed, (patient, section, n) in enumerate(sizes)]
    return train, make_section("p4", "s5", 8, 99)


def permute(section: SectionData, order: np.ndarray) -> SectionData:
    """Return the section with its spots in another order."""
    fields = ("patches", "features", "targets", "counts", "labels", "total_counts")
    moved: dict[str, Any] = {name: getattr(section, name) for name in fields}
    moved = {name: None if value is None else value[order] for name, value in moved.items()}
    return replace(section, spots=section.spots.iloc[order], **moved)


@contextmanager
def _expecting(what: str) -> Iterator[None]:
    """Turn whatever a method raises into one sentence."""
    try:
        yield
    except ConformanceError:
        raise
    except Exception as error:  # a method under test may raise anything
        text = " ".join(str(error).split()).rstrip(".")
        raise ConformanceError(f"{what}, the method raises {type(error).__name__}: {text}.", text) from error


class Case:
    """One method under test, with the fit that most checks share.

    Parameters
    ----------
    entry, params
        The class, and parameters that make it tiny.
    needs
        As in its YAML file; only ``oracle`` changes what is checked.
    gives, sees
        As in its YAML file; without them, what the method can show is not checked.
    deterministic
        As in its YAML file: no seed changes what it predicts.
    """

    def __init__(
        self,
        entry: str | type,
        params: Mapping[str, Any] | None = None,
        needs: Mapping[str, Any] | None = None,
        gives: Mapping[str, bool] | None = None,
        sees: str | None = None,
        deterministic: bool = False,
    ) -> None:
        self.entry = entry
        self.deterministic = deterministic
        self.gives, self.sees = gives, sees
        self.params = dict(params or {})
        self.oracle = bool((needs or {}).get("oracle"))
        self.train, self.test = make_study()
        self.context = Context(
            genes=GENES, all_genes=ALL_GENES, seed=7, device="cpu", weights="none", threads=1
        )

    def make(self) -> Method:
        """Build a fresh, unfitted method."""
        if isinstance(self.entry, str):
            return build_method(self.entry, self.params)
        method: Method = self.entry(**self.params)
        return method

    def fitted(
        self,
        train: Sequence[SectionData] | None = None,
        what: str = "In fit",
        folder: Path | None = None,
    ) -> Method:
        """Build a method and fit it, on the training sections, with checkpoints below a model's folder."""
        context = replace(self.context, checkpoints=folder and folder / ".checkpoints")
        method = self.make()
        with _expecting(what):
            # copies: a method that changes its input is caught by its own check, not by accident
            given = list(self.train if train is None else train)
            given = given if folder else copy.deepcopy(given)
            self.told = method.fit(given, [], context)
        return method

    @cached_property
    def method(self) -> Method:
        """The method, fitted on the training sections."""
        return self.fitted()

    def predict(self, method: Method, section: SectionData, what: str = "In predict") -> Prediction:
        """Predict as the pipeline does: without the truth, unless the method is an oracle."""
        shown = section if self.oracle else section.without_truth()
        hint = "" if self.oracle else " without the section's truth (declare needs.oracle if it must see it)"
        with _expecting(what + hint):
            prediction = method.predict(shown)
        try:
            check_prediction(prediction, len(section), len(GENES), section.section)
        except (ValueError, TypeError) as error:
            text = str(error).rstrip(".")
            raise ConformanceError(f"{what}{hint}, the prediction is wrong: {text}.", text) from error
        return prediction

    @cached_property
    def prediction(self) -> Prediction:
        """What :attr:`method` says of the test section."""
        return self.predict(self.method, self.test)

    @cached_property
    def predicted(self) -> np.ndarray:
        """Prediction of the test section by :attr:`method`."""
        return np.asarray(self.prediction.expression)


def _same(first: np.ndarray, second: np.ndarray) -> bool:
    return first.shape == second.shape and bool(np.allclose(first, second, rtol=1e-4, atol=1e-5))


def check_constructor(case: Case) -> None:
    """Expect a constructor that stores its parameters under their own names, and nothing else."""
    cls = method_class(case.entry) if isinstance(case.entry, str) else case.entry
    with _expecting("When it is built"):
        method = case.make()
    for name, parameter in inspect.signature(cls).parameters.items():
        given = case.params.get(name, parameter.default)
        if not hasattr(method, name) or getattr(method, name) != given:
            raise ConformanceError(
                f"The constructor must store {name!r} unchanged as an attribute of that name."
            )
    extra = set(vars(method)) - set(inspect.signature(cls).parameters)
    if extra:
        raise ConformanceError(
            f"The constructor sets {min(extra)!r}, which is no parameter; make it in fit and in load."
        )


def check_shapes(case: Case) -> None:
    """Expect one finite row per spot, one column per gene."""
    _ = case.predicted
    dtype = case.predicted.dtype
    if not np.issubdtype(dtype, np.floating):
        raise ConformanceError(f"The prediction is of type {dtype}; return float32.")


def check_log(case: Case) -> None:
    """Expect ``fit`` to return a TrainingLog that counts the parameters."""
    _ = case.method
    if not isinstance(case.told, TrainingLog):
        raise ConformanceError("fit must return a TrainingLog.")
    if case.oracle or "parameters" in case.told.facts:
        return
    raise ConformanceError(
        'The facts of the TrainingLog must hold "parameters", the number of fitted numbers.'
    )


def _disturb() -> None:
    """Move the shared random generators on, as anything else in the process may."""
    random.random()
    np.random.random()  # noqa: NPY002 - it is the legacy generator that a method may fall back on
    if "torch" in sys.modules:
        sys.modules["torch"].rand(1)


def check_deterministic(case: Case) -> None:
    """Expect two runs with one seed to give the same numbers, bit for bit, whatever ran before."""
    _ = case.predicted
    _disturb()
    again = np.asarray(case.predict(case.fitted(), case.test).expression)
    if not np.array_equal(case.predicted, again):
        worst = float(np.abs(case.predicted - again).max())
        raise ConformanceError(
            f"Two trainings with one seed differ by up to {worst:.3g}; draw all randomness from context.seed."
        )


def check_seed_has_no_effect(case: Case) -> None:
    """Expect another seed to give the same numbers of a method that declares so; it is trained once."""
    if not case.deterministic:
        return
    other = Case(case.entry, case.params, {"oracle": case.oracle})
    other.context = replace(case.context, seed=case.context.seed + 1)
    for name in ("expression", "tumour_probability"):
        first, second = (getattr(each.prediction, name) for each in (case, other))
        if first is not None and not np.array_equal(np.asarray(first), np.asarray(second)):
            raise ConformanceError(
                f"Another seed changes its {name.replace('_', ' ')}; take `deterministic` out of its file."
            )


_ELSEWHERE = """
import json, sys
from histobench.training.conformance import Case
entry, params, needs, output = json.loads(sys.argv[1])
import numpy as np
np.save(output, Case(entry, params, needs).predicted)
"""


def check_another_process(case: Case) -> None:
    """Expect the same numbers of another process, in which sets are ordered otherwise.

    Takes seconds, so that it is not one of :data:`CHECKS`; ``entry`` must be a string.
    """
    number = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": number}
    with tempfile.TemporaryDirectory() as name:
        output = Path(name, "predicted.npy")
        given = json.dumps([case.entry, case.params, {"oracle": case.oracle}, str(output)])
        done = subprocess.run(
            [sys.executable, "-c", _ELSEWHERE, given],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            told = (done.stderr.strip().splitlines() or ["no word"])[-1].rstrip(".")
            raise ConformanceError(f"In another process the method fails: {told}.")
        elsewhere = np.load(output)
    if not np.array_equal(case.predicted, elsewhere):
        raise ConformanceError(
            "Another process with the same seed gives other numbers; sort what comes out of sets, and draw "
            "all randomness from context.seed."
        )


def check_predict_is_pure(case: Case) -> None:
    """Expect the same answer twice, whatever was predicted between: no dropout, no drifting statistics."""
    _ = case.predicted
    case.predict(case.method, make_section("p5", "s7", 9, 123))
    again = np.asarray(case.predict(case.method, case.test).expression)
    if not np.array_equal(case.predicted, again):
        raise ConformanceError(
            "Predicting a section twice, and another one between, gives two answers; switch off dropout and "
            "all updates in predict."
        )


def check_saved(case: Case) -> None:
    """Expect the same predictions from what was saved, in one file, and loaded."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with _expecting("In save"):
            case.method.save(folder)
        found = sorted(path.name for path in folder.iterdir() if path.name != WEIGHTS + SEAL)
        if found != [WEIGHTS]:
            raise ConformanceError(f"save must write {WEIGHTS} and nothing else, but wrote {found}.")
        fresh = case.make()
        with _expecting("In load"):
            fresh.load(folder)
        again = np.asarray(case.predict(fresh, case.test, "After save and load").expression)
    if not np.array_equal(case.predicted, again):
        raise ConformanceError("A loaded method predicts other numbers than the one that was saved.")


def check_spot_order(case: Case) -> None:
    """Expect rows to follow the spots: permuting the spots permutes the prediction."""
    order = np.random.default_rng(1).permutation(len(case.test))
    moved = np.asarray(case.predict(case.method, permute(case.test, order)).expression)
    if not _same(case.predicted[order], moved):
        raise ConformanceError(
            "Permuting the spots of a section does not permute its prediction: rows are mixed up."
        )


def check_gene_order(case: Case) -> None:
    """Expect columns to follow the panel: raising one gene in training raises that gene most."""
    gene = 1  # not in the middle, so that a reversed order shows
    raised = []
    for section in case.train:
        targets = np.array(section.targets)
        targets[:, gene] += 5.0
        raised.append(replace(section, targets=targets))
    after = np.asarray(case.predict(case.fitted(raised), case.test).expression)
    change = (after.astype(np.float64) - case.predicted).mean(axis=0)
    if not change.any():
        return  # it learns nothing from targets, so it has no order to mix up
    if int(np.argmax(change)) != gene:
        raise ConformanceError(
            f"Raising gene {GENES[gene]} in training raises {GENES[int(np.argmax(change))]} most in the "
            "prediction: columns are not in panel order, or the method learns too little in these "
            "checks (more epochs or a larger learning rate under `conformance` of its YAML file would tell)."
        )


def check_truth_unseen(case: Case) -> None:
    """Expect the same prediction whatever the truth of the section."""
    if case.oracle:
        return
    _ = case.predicted  # fails if the truth is needed
    rng = np.random.default_rng(3)
    other = replace(
        case.test,
        targets=rng.normal(size=(len(case.test), len(GENES))).astype(np.float32),
        counts=case.test.counts * 3 if case.test.counts is not None else None,
        labels=rng.integers(0, 2, len(case.test)).astype(np.float32),
        total_counts=rng.uniform(1, 100, len(case.test)),
    )
    for shown in (case.test, other):
        with _expecting("In predict with the truth at hand"):
            seen = np.asarray(case.method.predict(shown).expression)
        if not np.array_equal(case.predicted, seen):
            raise ConformanceError(
                "The prediction changes with the truth of the section; a method must not look at it "
                "(an oracle declares needs.oracle)."
            )


def check_truth_files_unseen(case: Case) -> None:
    """Expect the same prediction with the files of the tested section's truth there, changed, and gone.

    The files lie where a run has them, so that neither their usual path nor one that starts from the patches
    leads to a truth that helps; neither in predict nor in fit, which could remember it.
    """
    if case.oracle:
        return
    expected = case.predicted
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        section, truth = _stored(case.test, root)
        train = [_stored(copy.deepcopy(each), root)[0] for each in case.train]
        os.chdir(name)
        try:
            what = "In fit, with the file of the tested section's measurement there"
            method = case.fitted(train, what, root / "results" / "tiny" / "models" / "method" / "p4")
            for state in ("there", "changed", "gone"):
                if state == "changed":
                    _write_truth(case.test, truth, factor=7)
                elif state == "gone":
                    truth.unlink()
                what = f"In predict, with the file of the section's measurement {state}"
                for fitted in (case.method, method):
                    seen = np.asarray(case.predict(fitted, section, what).expression)
                    if not np.array_equal(expected, seen):
                        raise ConformanceError(
                            f"The prediction changes when the file of the section's measurement is {state}; "
                            "a method must not look for it, in fit or in predict (an oracle declares "
                            "needs.oracle and family: oracle)."
                        )
        finally:
            os.chdir(home)


def _stored(section: SectionData, root: Path) -> tuple[SectionData, Path]:
    """Store a section where a run does; returns it with patches mapped from there, and its truth's file."""
    folder = root / "results" / "data" / section.cohort
    truth = folder / "sections" / f"{section.section}.h5ad"
    patches = folder / "patches" / "raw-native-32px" / f"{section.section}.npy"
    for path in (truth, patches):
        path.parent.mkdir(parents=True, exist_ok=True)
    assert section.patches is not None
    np.save(patches, np.asarray(section.patches))
    _write_truth(section, truth)
    return replace(section, patches=np.load(patches, mmap_mode="r")), truth


def _write_truth(section: SectionData, path: Path, factor: int = 1) -> None:
    import anndata
    import pandas as pd

    assert section.counts is not None
    var = pd.DataFrame(index=pd.Index(ALL_GENES, name="gene"))
    anndata.AnnData(X=section.counts * factor, obs=section.spots.copy(), var=var).write_h5ad(path)


def check_section_order(case: Case) -> None:
    """Expect the same result in whatever order sections are given."""
    turned = np.asarray(case.predict(case.fitted(case.train[::-1]), case.test).expression)
    if not _same(case.predicted, turned):
        raise ConformanceError(
            "The order of the training sections changes the result; sort them by name first "
            "(`in_order` of histobench.training.store)."
        )


def _plain(values: Any) -> np.ndarray:
    """Return an array, a sparse matrix or a table as an array."""
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values)


def check_input_untouched(case: Case) -> None:
    """Expect ``fit`` and ``predict`` to leave the arrays that they are given as they are."""
    given, test = make_study()  # those of the case may have been changed for good
    before = copy.deepcopy([*given, test])
    method = case.make()
    with _expecting("In fit"):
        method.fit(given, [], case.context)
    case.predict(method, test)
    for old, new in zip(before, [*given, test], strict=True):
        for field in ("patches", "features", "targets", "labels", "total_counts", "counts", "spots"):
            first, second = (_plain(getattr(each, field)) for each in (old, new))
            if not np.array_equal(first, second, equal_nan=field == "labels"):
                raise ConformanceError(
                    f"The method changes {field} of section {old.section} in place; copy it first."
                )


def check_constant_gene(case: Case) -> None:
    """Expect finite predictions where a gene is constant in training."""
    flat = []
    for section in case.train:
        targets = np.array(section.targets)
        targets[:, 2] = 0.0
        flat.append(replace(section, targets=targets))
    case.predict(
        case.fitted(flat, "With a gene that is constant in training"), case.test, "With a constant gene"
    )


def check_one_spot(case: Case) -> None:
    """Expect a section of one spot to be trained on and predicted."""
    single = make_section("p2", "s9", 1, 5)
    method = case.fitted([*case.train, single], "Training on a section of one spot")
    case.predict(method, make_section("p4", "s6", 1, 6), "Predicting a section of one spot")


def check_missing_labels(case: Case) -> None:
    """Expect spots without a tumour label to be trained on and predicted."""
    bare = [replace(s, labels=np.full(len(s), np.nan, np.float32)) for s in case.train]
    method = case.fitted(bare, "Training without any tumour label")
    test = replace(case.test, labels=np.full(len(case.test), np.nan, np.float32))
    case.predict(method, test, "Predicting without any tumour label")


def check_abilities(case: Case) -> None:
    """Expect the method to show what its YAML file says under ``gives`` and ``sees``, and nothing else."""
    cls = method_class(case.entry) if isinstance(case.entry, str) else case.entry
    if case.sees is not None:
        whole = bool(getattr(cls, "sees_whole_section", False))
        if whole != (case.sees == "section"):
            said = "sees_whole_section = True" if whole else "no sees_whole_section"
            raise ConformanceError(
                f"`sees: {case.sees}` is declared, but the class has {said}; correct one of them."
            )
    if case.gives is None:
        return
    found = {
        "tumour": case.prediction.tumour_probability is not None,
        "latent": case.prediction.embedding is not None,
        "auxiliary": case.prediction.further is not None,
        "autoencoder": hasattr(cls, "reconstruct"),
    }
    for name, is_there in found.items():
        declared = bool(case.gives.get(name))
        if declared != is_there:
            state = "shows none" if declared else "shows one"
            raise ConformanceError(
                f"`gives.{name}: {str(declared).lower()}` is declared, but the method {state}; correct it."
            )
    for name, constant in (("expression", False), ("training_mean", True)):
        declared = bool(case.gives.get(name, name == "expression"))
        if declared == constant and np.ptp(case.predicted, axis=0).any():
            raise ConformanceError(
                f"`gives.{name}: {str(declared).lower()}` is declared, but predictions differ between spots; "
                "correct it."
            )
    if case.gives.get("attributions"):
        _check_traceable(case)


def _check_traceable(case: Case) -> None:
    """Expect the trained network to turn float pixels into expression, with gradients back to them."""
    import torch

    trained: Any = getattr(case.method, "trained", None)
    network = getattr(trained, "network", None)
    if network is None:
        raise ConformanceError(
            "`gives.attributions: true` is declared, but the fitted method has no `trained.network`."
        )
    width = trained.shape.px or PATCH_PX
    pixels = torch.full((2, 3, width, width), 128.0, requires_grad=True)
    with _expecting("When a prediction is traced to pixels"):
        network.eval()
        expression = network(pixels)[0]
        expression.sum().backward()
    if tuple(expression.shape) != (2, len(case.context.genes)) or pixels.grad is None:
        raise ConformanceError(
            "`gives.attributions: true` is declared, but `trained.network` leads from no pixel to genes."
        )


CHECKS: tuple[Callable[[Case], None], ...] = (
    check_constructor,
    check_shapes,
    check_log,
    check_deterministic,
    check_seed_has_no_effect,
    check_predict_is_pure,
    check_saved,
    check_spot_order,
    check_gene_order,
    check_truth_unseen,
    check_truth_files_unseen,
    check_section_order,
    check_input_untouched,
    check_constant_gene,
    check_one_spot,
    check_missing_labels,
    check_abilities,
)


def check_method(
    entry: str | type, params: Mapping[str, Any] | None = None, needs: Mapping[str, Any] | None = None
) -> None:
    """Run every check.

    Parameters
    ----------
    entry
        ``package.module:Class``, or the class itself.
    params
        Parameters that make the method tiny.
    needs
        As in the YAML file.

    Raises
    ------
    ConformanceError
        The first thing that is wrong, in one sentence.
    """
    case = Case(entry, params, needs)
    for check in CHECKS:
        check(case)

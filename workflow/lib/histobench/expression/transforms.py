"""Target transforms: from raw counts of the panel to the values that methods learn.

Published methods disagree on the size factor and the logarithm, and correlations under different
transforms cannot be compared: with ST-Net's pseudo-count the target still follows sequencing depth.
A transform is therefore a file, config/transforms/NAME.yaml, that says which steps make it, and what it says
travels with every model and prediction. The steps are the functions of this module.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import yaml

from histobench.errors import UserError, near
from histobench.project import project_folder

if TYPE_CHECKING:
    from scipy import sparse

# Where a prediction file keeps its transform: the name for people, and what it does as JSON.
NAME, DEFINITION = "transform", "transform_definition"

_BASES: Mapping[Any, float] = {"e": float(np.e), 2: 2.0, 10: 10.0}


def share(values: np.ndarray, depth: np.ndarray, n_genes: int, *, pseudocount: float) -> np.ndarray:
    """Return (p + c) / (p n + Z), in place."""
    if n_genes <= 0:
        raise ValueError("a share with a pseudo-count needs the number of measured genes")
    values += pseudocount
    values /= (pseudocount * n_genes + depth)[:, None]
    return values


def scale(values: np.ndarray, depth: np.ndarray, n_genes: int, *, to: float) -> np.ndarray:
    """Return ``to`` c / Z, in place."""
    # scanpy's normalize_total and log1p give the same to float32 rounding, as a test holds. They know one of
    # the shipped transforms, and their import takes 3 s of processor time in every job, these lines 0.06 s.
    # A spot without a UMI has no counts either: any positive divisor gives its zeros.
    values *= (to / np.where(depth > 0, depth, np.inf))[:, None]
    return values


def log1p(values: np.ndarray, *, base: Any) -> np.ndarray:
    """Return the logarithm of 1 + values."""
    logs: np.ndarray = np.log1p(values)
    return logs if base == "e" else logs / np.log(_BASES[base])


def undo_log1p(values: np.ndarray, *, base: Any) -> np.ndarray:
    """Undo :func:`log1p`; values below zero, which it never gives, become 0."""
    return np.maximum(np.expm1(values) if base == "e" else _BASES[base] ** values - 1.0, 0.0)


def log(values: np.ndarray, *, base: Any) -> np.ndarray:
    """Return the logarithm of positive values."""
    logs: np.ndarray = np.log(values)
    return logs if base == "e" else logs / np.log(_BASES[base])


def undo_log(values: np.ndarray, *, base: Any) -> np.ndarray:
    """Undo :func:`log`."""
    powers: np.ndarray = np.exp(values) if base == "e" else _BASES[base] ** values
    return powers


def sqrt(values: np.ndarray) -> np.ndarray:
    """Return the square root."""
    roots: np.ndarray = np.sqrt(values)
    return roots


def undo_sqrt(values: np.ndarray) -> np.ndarray:
    """Undo :func:`sqrt`; values below zero, which it never gives, become 0."""
    return np.maximum(values, 0.0) ** 2


def clip(values: np.ndarray, *, most: float) -> np.ndarray:
    """Return at most ``most``."""
    return np.minimum(values, most)


# Steps that divide a spot by its depth, and those that change each value alone with what undoes them.
BY_DEPTH: Mapping[str, Callable[..., np.ndarray]] = {"share": share, "scale": scale}
ALONE: Mapping[str, tuple[Callable[..., np.ndarray], Callable[..., np.ndarray] | None]] = {
    "log1p": (log1p, undo_log1p),
    "log": (log, undo_log),
    "sqrt": (sqrt, undo_sqrt),
    "clip": (clip, None),
}


class Step(NamedTuple):
    """One step of a transform: its name, :data:`BY_DEPTH` or :data:`ALONE`, and its settings."""

    name: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Transform:
    """What a target transform does, as its file in config/transforms says.

    Attributes
    ----------
    name
        Name of the file.
    depth
        Counts of a spot that steps divide by: over all "measured" genes, over the "panel", or "none".
    steps
        What is done, in order.
    """

    name: str
    depth: str
    steps: tuple[Step, ...]

    @classmethod
    def of(cls, given: Transform | Mapping[str, Any] | str) -> Transform:
        """Take a definition, or the shipped transform of a name.

        Raises
        ------
        UserError
            There is no file of this name in config/transforms.
        """
        if isinstance(given, Transform):
            return given
        if isinstance(given, str):
            given = _shipped(given)
        steps = tuple(Step(name, settings) for step in given["steps"] for name, settings in step.items())
        return cls(str(given["name"]), str(given["depth"]), steps)

    @classmethod
    def stored(cls, uns: Mapping[str, Any]) -> Transform:
        """Read the transform of a prediction file from its ``uns``."""
        return cls.of(json.loads(str(uns[DEFINITION])))

    @property
    def definition(self) -> dict[str, Any]:
        """The same as plain values, which :meth:`of` takes back."""
        return {
            "name": self.name,
            "depth": self.depth,
            "steps": [{step.name: dict(step.settings)} for step in self.steps],
        }

    @property
    def marks(self) -> dict[str, str]:
        """What :meth:`stored` reads."""
        return {NAME: self.name, DEFINITION: json.dumps(self.definition)}

    @property
    def invertible(self) -> bool:
        """Whether every step that changes values alone can be undone."""
        return all(ALONE[step.name][1] is not None for step in self._alone)

    @property
    def log_base(self) -> float | None:
        """Base of the logarithm whose differences are factors; None where the last step is no logarithm."""
        last = self.steps[-1] if self.steps else None
        return _BASES[last.settings["base"]] if last and last.name in ("log1p", "log") else None

    @property
    def _alone(self) -> list[Step]:
        return [step for step in self.steps if step.name in ALONE]

    def curved(self, linear: np.ndarray) -> np.ndarray:
        """Take the steps behind the division by depth: the target of counts, scaled counts or shares."""
        values = np.asarray(linear, np.float64)
        for step in self._alone:
            values = ALONE[step.name][0](values, **step.settings)
        return values

    def linear(self, targets: np.ndarray) -> np.ndarray:
        """Undo :meth:`curved`: float64.

        Raises
        ------
        UserError
            A step cannot be undone.
        """
        values = np.asarray(targets, np.float64)
        for step in reversed(self._alone):
            undo = ALONE[step.name][1]
            if undo is None:
                raise UserError(
                    f"transforms.{self.name}: the step `{step.name}` cannot be undone; choose another one."
                )
            values = undo(values, **step.settings)
        return values


def _read(path: Path) -> dict[str, Any]:
    """Read a file that was checked when the run was planned."""
    # not by this project's reader for people's files: a change of that would repeat every training
    declared: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return declared


@functools.cache
def _shipped(name: str) -> dict[str, Any]:
    """Read the definition of a transform of this project."""
    folder = project_folder() / "config/transforms"
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = [file.stem for file in folder.glob("*.yaml")]
        raise UserError(f"transform: {name!r} has no file in {folder}; {near(name, known)}")
    return {"name": name, **_read(path)}


@functools.cache
def usual_transform() -> Transform:
    """Return the transform of experiments that name none."""
    rules = _read(project_folder() / "workflow/schemas/experiment.schema.yaml")
    return Transform.of(str(rules["properties"]["transform"]["default"]))


def check_transform(declared: Mapping[str, Any], where: str) -> None:
    """Refuse steps that mean nothing together, and statements that the steps contradict.

    Parameters
    ----------
    declared
        A transform that keeps to the schema, complete.
    where
        How errors name it.

    Raises
    ------
    UserError
        One sentence about the first problem.
    """
    transform = Transform.of({"name": "", **declared})
    names, depth = [step.name for step in transform.steps], transform.depth
    divisions = [name for name in names if name in BY_DEPTH]
    if len(divisions) > 1:
        raise UserError(
            f"{where}: the steps `{divisions[0]}` and `{divisions[1]}` both divide by the depth; keep one."
        )
    if divisions and names[0] not in BY_DEPTH:
        raise UserError(
            f"{where}: the step `{divisions[0]}` divides counts by the depth, but `{names[0]}` stands "
            f"before it; put `{divisions[0]}` first."
        )
    if divisions and depth == "none":
        raise UserError(
            f"{where}: the step `{divisions[0]}` divides by the depth; set `depth: measured` or `panel`."
        )
    if not divisions and depth != "none":
        raise UserError(
            f"{where}: `depth: {depth}` has no effect, as no step divides by it; set `depth: none`, or add "
            "the step `scale`."
        )
    if "share" in divisions and depth != "measured":
        raise UserError(
            f"{where}: the step `share` counts every measured gene; set `depth: measured`, or take `scale`."
        )
    if "log" in names and names[: names.index("log")] != ["share"]:
        raise UserError(
            f"{where}: the step `log` of a count of zero is infinite; put `share` right before it, or take "
            "`log1p`."
        )
    behind = names[names.index("log") + 1 :] if "log" in names else []
    if lost := next((name for name in behind if name in ("log1p", "log", "sqrt")), ""):
        raise UserError(
            f"{where}: the step `{lost}` has no value below zero, where `log` ends; take `{lost}` out."
        )
    if declared["invertible"] != transform.invertible:
        lasting = next((name for name in names if name in ALONE and ALONE[name][1] is None), "")
        reason = (
            f"the step `{lasting}` cannot be undone; set it to `false`"
            if lasting
            else "every step can be undone; leave it out"
        )
        said = str(declared["invertible"]).lower()
        raise UserError(f"{where}: `invertible: {said}` is wrong, as {reason}.")


def log_depth(total: np.ndarray) -> np.ndarray:
    """Return ln(max(total, 1)) of the UMIs per spot: sequencing depth as controls and metrics use it."""
    return np.log(np.maximum(np.asarray(total, dtype=np.float64), 1.0))


def transform_counts(
    transform: Transform | Mapping[str, Any] | str,
    counts: np.ndarray | sparse.csr_matrix,
    total: np.ndarray,
    panel_total: np.ndarray | None = None,
    n_genes: int = 0,
) -> np.ndarray:
    """Transform raw counts of the panel into targets.

    Parameters
    ----------
    transform
        See :meth:`Transform.of`.
    counts
        (spots, genes) raw counts of the panel, dense or sparse; fractional where they are averages of
        raw counts over neighbouring spots.
    total
        (spots,) UMIs of each spot over all measured genes.
    panel_total
        (spots,) UMIs of each spot over the panel; the row sums of ``counts`` when left out.
    n_genes
        Number of measured genes, which the step ``share`` needs.

    Returns
    -------
    numpy.ndarray
        float32, (spots, genes), finite. A spot without any UMI becomes a row of what the steps make of a
        count of zero, never NaN.

    Raises
    ------
    UserError
        Unknown name.
    ValueError
        Shapes do not fit, or ``n_genes`` is missing where it is needed.
    """
    transform = Transform.of(transform)
    values: Any = counts.toarray() if hasattr(counts, "toarray") else np.asarray(counts)
    values = values.astype(np.float64)
    depth = np.asarray(total, dtype=np.float64).reshape(-1)
    if values.ndim != 2 or len(depth) != len(values):
        raise ValueError(f"counts {values.shape} and totals {depth.shape} do not describe the same spots")
    if transform.depth == "panel":
        depth = values.sum(axis=1) if panel_total is None else np.asarray(panel_total, dtype=np.float64)
    for step in transform.steps:
        if step.name in BY_DEPTH:
            values = BY_DEPTH[step.name](values, depth, n_genes, **step.settings)
    return transform.curved(values).astype(np.float32)

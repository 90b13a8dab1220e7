"""What a method is given and what it must return.

A method is a class whose constructor takes its parameters (the ``params`` of its YAML file) as keyword
arguments and stores them; everything that depends on data happens in ``fit``. See
``tests/conformance`` for the checks that every method passes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from histobench.expression.transforms import Transform, usual_transform

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy as np
    import pandas as pd
    from scipy import sparse


@dataclass(frozen=True)
class SectionData:
    """One tissue section as a method sees it; all arrays have one row per spot, in the same order.

    Attributes
    ----------
    cohort, section, patient
        Names; the patient is the unit that splits keep together.
    spots
        Index: spot id. Columns ``array_x``, ``array_y`` (position on the grid), ``pixel_x``, ``pixel_y``
        (full-resolution image, x to the right, y downwards).
    um_per_px
        Micrometres per pixel of ``patches``.
    patches
        uint8, (spots, width, width, 3) RGB, usually a memory map; None unless the method needs them.
    features
        float32, (spots, dimensions) from a frozen network; None unless the method needs them.
    targets
        float32, (spots, genes) in panel order, transformed. None when predicting.
    counts
        Raw integer counts, CSR (spots, all genes) in the order of ``Context.all_genes``. None when
        predicting.
    labels
        float32, (spots,): 1 tumour, 0 not tumour, NaN unknown. None when predicting.
    total_counts
        float64, (spots,): UMIs of the spot over all measured genes. None when predicting.
    grid
        Kind of grid that ``array_x`` and ``array_y`` are positions of, a name in
        :data:`histobench.imaging.grid.GRIDS`; a method that speaks of neighbours asks that module for them.
    """

    cohort: str
    section: str
    patient: str
    spots: pd.DataFrame
    um_per_px: float = float("nan")
    patches: np.ndarray | None = None
    features: np.ndarray | None = None
    targets: np.ndarray | None = None
    counts: sparse.csr_matrix | None = None
    labels: np.ndarray | None = None
    total_counts: np.ndarray | None = None
    grid: str = "square"

    def __len__(self) -> int:
        return len(self.spots)

    def without_truth(self) -> SectionData:
        """Return the section as a method may see it at prediction: image and positions only."""
        return replace(self, targets=None, counts=None, labels=None, total_counts=None)


@dataclass(frozen=True)
class Photos:
    """Tiles of photographs without spots, from which a method may learn images.

    Attributes
    ----------
    tiles
        uint8, (tiles, width, width, 3) RGB, usually a memory map.
    valid
        bool, (tiles,): kept for choosing an epoch, whole patients at a time.
    """

    tiles: np.ndarray
    valid: np.ndarray


@dataclass(frozen=True)
class Context:
    """What is the same for all sections of one training.

    Attributes
    ----------
    genes
        The panel: names of the predicted genes, in output order.
    all_genes
        Names of all measured genes, the columns of ``SectionData.counts``.
    transform
        The target transform; that of experiments that name none, where nothing is said.
    seed
        Seed of everything random in this training.
    device
        "cpu", "cuda" or "auto".
    weights
        "imagenet" (torchvision's weight enums) or "none" (seeded random start).
    weights_file
        File of the ImageNet weights of the network that ``needs.pretrained`` of the method's YAML file tells;
        None where it needs none.
    threads
        CPU threads that the job may use.
    start
        ``weights.pt`` of the same method, trained elsewhere, that a network begins with instead of
        ``weights``; None for the ordinary start. A class that can do so says ``starts_from_weights = True``.
    checkpoints
        Folder for checkpoints of a training that may be interrupted; None for none.
    photos
        Photographs, if the method's ``needs`` name them.
    """

    genes: tuple[str, ...]
    all_genes: tuple[str, ...] = ()
    transform: Transform = field(default_factory=usual_transform)
    seed: int = 0
    device: str = "auto"
    weights: str = "imagenet"
    weights_file: Path | None = None
    threads: int = 1
    start: Path | None = None
    checkpoints: Path | None = None
    photos: Photos | None = None


@dataclass(frozen=True)
class Extent:
    """How much a model is about, known before it is trained: what its weights will take follows from it.

    Attributes
    ----------
    genes, further
        Of the panel, and beside it for methods that predict such genes.
    px, features
        Width of patches and number of frozen features; 0 for none.
    """

    genes: int
    further: int = 0
    px: int = 0
    features: int = 0


@dataclass(frozen=True)
class FurtherGenes:
    """Genes beside the panel that a method predicts, too.

    Attributes
    ----------
    genes
        Their names, of ``Context.all_genes``.
    expression
        Computes float32, (spots, genes), on the scale of the targets. Asked for where such genes are scored
        only: a cohort of 20,000 genes is large.
    """

    genes: tuple[str, ...]
    expression: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Prediction:
    """What a method says about one section, rows in the order of ``SectionData.spots``.

    Attributes
    ----------
    expression
        float32, (spots, genes) on the scale of the targets, finite.
    tumour_probability
        float32, (spots,) in [0, 1], where the method has a tumour head.
    embedding
        float32, (spots, dimensions), where the method has a latent space.
    permuted
        What a control that draws several permutations says by each but the first: float32, (spots, genes), up
        to a constant per gene. Read once; r is all that is kept of them.
    further
        Genes beside the panel, where the method predicts them.
    """

    expression: np.ndarray
    tumour_probability: np.ndarray | None = None
    embedding: np.ndarray | None = None
    permuted: Iterable[np.ndarray] = ()
    further: FurtherGenes | None = None


@dataclass
class TrainingLog:
    """What a training tells about itself: rows of ``history.tsv`` and entries of ``run.json``."""

    history: list[dict[str, float | int | str]] = field(default_factory=list)
    facts: dict[str, float | int | str] = field(default_factory=dict)


@runtime_checkable
class Method(Protocol):
    """The contract. ``fit`` may use ``valid`` to stop or choose, never to learn weights."""

    def fit(
        self, train: Sequence[SectionData], valid: Sequence[SectionData], context: Context
    ) -> TrainingLog:
        """Learn from training sections. Returns the history and facts worth keeping."""
        ...

    def predict(self, section: SectionData) -> Prediction:
        """Predict one section. Its truth is absent, except for methods declared as oracles."""
        ...

    def save(self, folder: Path) -> None:
        """Write everything that ``predict`` needs to ``folder / "weights.pt"``."""
        ...

    def load(self, folder: Path) -> None:
        """Restore what :meth:`save` wrote; afterwards ``predict`` gives the same numbers."""
        ...

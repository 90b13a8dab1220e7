"""What a reader hands over: one section as published, before common validation."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    import pandas as pd
    from scipy import sparse

    from histobench.cohorts.readers.scalefactors import ScaleFactors

SPOT_COLUMNS = ("array_x", "array_y", "pixel_x", "pixel_y", "label", "tumour", "label_source")
"""Columns that ``RawSection.spots`` must have, in the order in which they are written."""

LABEL_SOURCES = ("pathologist", "expert", "transferred", "simulated", "none")
"""Where a spot's label comes from; "expert": from people who know the tissue but are no pathologists."""


SPOT_ID = re.compile(r"[0-9]+x[0-9]+", re.ASCII)
"""Name of a spot of the legacy array: column, x, row."""

ANY_NAMES = "any"
"""``uns["gene_names"]`` of a stored section whose names of genes are taken as they are."""
UNMEASURED = "unmeasured"
"""What it means that a section's counts do not list a gene that others list: the assay does not measure it;
otherwise ("zero") it was looked for and never found, as in tables that leave out what has no count."""

LEGACY_FRAME = (32, 34)
"""Pitches across the frame of the legacy Spatial Transcriptomics array (33 columns, 35 rows)."""


@dataclass
class RawSection:
    """One tissue section as a reader found it; rows of ``counts`` and ``spots`` are in the same order.

    Attributes
    ----------
    counts
        Integer counts, CSR int32, (spots, genes).
    spots
        Index ``spot``: spot id. ``array_x``, ``array_y``: position on the spot grid (float, grid steps).
        ``pixel_x``, ``pixel_y``: spot centre in the full-resolution image (float, x to the right, y
        downwards). ``label``: the annotation's own word, "" for none. ``tumour``: 1, 0 or NaN (not
        known). ``label_source``: one of :data:`LABEL_SOURCES`.
    genes
        Index: gene symbol (or the published name). Column ``gene_id``: Ensembl id, "" when the source
        gives none.
    dropped
        What the reader left out: reason -> number. Reasons that start with ``no_`` or ``not_`` count
        spots, those that start with ``label_`` rows of an annotation, those that start with ``feature_``
        columns of the counts. Most spots lost for one reason stop the run
        (:mod:`histobench.cohorts.losses`); those that start with ``not_`` are no loss.
    causes
        Reason -> its likely cause and remedy, where the files tell.
    grid
        Kind of grid, see :mod:`histobench.imaging.grid`; on an "irregular" one ``array_x`` and ``array_y``
        may be NaN.
    grid_guessed
        Whether the kind is only the usual one of the layout, so that the positions may overrule it.
    pitch_um
        Distance of neighbouring spots as the maker of the array says it, where it is a constant (Visium).
    factors
        Scale factors that came with the positions.
    frame
        Pitches across and down the image, for images that are cropped to the frame of the array; positions
        are then compared with the frame. None for others.
    genes_absent
        "zero" or :data:`UNMEASURED`, as usual in this layout; the cohort's YAML file has the last word.
    any_names
        Whether names of genes are taken as they are, so that names that differ in case alone are two genes.
    notes
        What is worth a look, one sentence part each; it flags the section.
    """

    counts: sparse.csr_matrix
    spots: pd.DataFrame
    genes: pd.DataFrame
    dropped: dict[str, int] = field(default_factory=dict)
    grid: str = "square"
    grid_guessed: bool = False
    pitch_um: float | None = None
    factors: ScaleFactors | None = None
    frame: tuple[int, int] | None = None
    causes: dict[str, str] = field(default_factory=dict)
    genes_absent: str = "zero"
    any_names: bool = False
    notes: list[str] = field(default_factory=list)


class Reader(Protocol):
    """A reader: a function that a cohort's YAML names as ``package.module:function``."""

    def __call__(self, section: str, files: Mapping[str, str], options: Mapping[str, Any]) -> RawSection:
        """Read one section.

        Parameters
        ----------
        section
            Name of the section.
        files
            Kind -> path, for the file templates of the cohort that this section fills in.
        options
            The cohort's ``options``.
        """
        ...

"""TCGA: frozen whole-slide images and bulk expression of the same samples (He et al. 2020, Methods).

A slide is covered with tiles of 512 px at 20x (0.5 µm/px); tiles that are mostly glass are left out. The mean
of the predictions over a slide's tiles is compared with the bulk expression of the sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from histobench.cohorts.text import numbers, read_text, require_columns, text_table
from histobench.errors import UserError
from histobench.imaging.slides import open_slide
from histobench.imaging.statements import scale_statements
from histobench.imaging.tiles import TileBatch, cover, iter_tissue

if TYPE_CHECKING:
    import pandas as pd

UM_PER_PX_20X = 0.5
_COARSEST = 2.0  # µm/px of a slide scanner
_COUNT = "unstranded"


@dataclass(frozen=True)
class SlideScale:
    """Scale of a slide: ``um_per_px`` (None where unknown) and ``source``, or why it is unknown."""

    um_per_px: float | None
    source: str


def slide_scale(path: str | Path) -> SlideScale:
    """Read a slide's scale from its properties.

    The stated micrometres per pixel come first: the stated magnification contradicts them on some TCGA
    slides, and others state only that (20x: 0.5, 40x: 0.25 µm/px).

    Raises
    ------
    UserError
        The file is missing or no image that can be read.
    """
    said = scale_statements(path)
    stated = next((scale for scale in said.scales if scale.um_per_px <= _COARSEST), None)
    if stated is not None:
        return SlideScale(stated.um_per_px, "mpp")
    if said.assumed_um_per_px is not None:
        return SlideScale(said.assumed_um_per_px, f"AppMag {said.magnification:g}")
    magnification = "none" if said.magnification is None else f"{said.magnification:g}"
    return SlideScale(
        None, f"neither a plausible scale nor a magnification of 20 or 40 (AppMag: {magnification})"
    )


def slide_tiles(
    path: str | Path,
    *,
    um_per_px: float = UM_PER_PX_20X,
    width_px: int = 512,
    max_white: float = 0.5,
    batch: int = 16,
    um_per_px_native: float | None = None,
) -> Iterator[TileBatch]:
    """Cut the tissue of a slide into tiles, batch by batch; memory does not grow with the slide.

    Parameters
    ----------
    path
        SVS or any other slide; the parts that tiles touch are read.
    um_per_px, width_px
        Scale and width of the tiles.
    max_white
        Tiles with a larger share of white pixels are left out.
    batch
        Tiles that are read at a time.
    um_per_px_native
        The slide's scale where it is known better than by :func:`slide_scale`.

    Raises
    ------
    UserError
        The scale is unknown (skip the slide, and say why), or the slide is unreadable.
    """
    if um_per_px_native is None:
        scale = slide_scale(path)
        if scale.um_per_px is None:
            raise UserError(f"{path}: the slide states {scale.source}; leave it out of the manifest.")
        um_per_px_native = scale.um_per_px
    with open_slide(path) as slide:
        windows = cover(slide.width, slide.height, width_px, um_per_px_native, um_per_px)
        yield from iter_tissue(slide, windows, max_white=max_white, batch=batch)


@dataclass(frozen=True)
class StarCounts:
    """Bulk expression of one sample, and the rows left out: reason -> number.

    ``genes`` has the index ``gene_id`` (Ensembl id without version) and the columns ``gene`` (symbol, may
    repeat) and ``count``.
    """

    genes: pd.DataFrame
    dropped: dict[str, int]


def read_star_counts(path: str | Path, column: str = _COUNT) -> StarCounts:
    """Read a GDC file ``*.rna_seq.augmented_star_gene_counts.tsv``.

    A comment line, a header, four summary rows ``N_*`` and one row per gene, with versioned Ensembl ids.
    Versions are cut; the copies of genes on the Y chromosome's pseudo-autosomal region (``_PAR_Y``) are left
    out and counted.

    Parameters
    ----------
    path
        The file.
    column
        Which counts: "unstranded", or another numeric column of the file.

    Raises
    ------
    UserError
        A column is missing, a count is no number, or a gene occurs twice; names the line.
    """
    import pandas as pd

    lines = read_text(path).split(b"\n")
    comments = next((n for n, line in enumerate(lines) if not line.startswith(b"#")), len(lines))
    table = text_table(path, skip=comments)
    require_columns(table, ("gene_id", "gene_name", column), path)
    ids = table["gene_id"].str.strip()
    summary, copies = ids.str.startswith("N_"), ids.str.endswith("_PAR_Y")
    kept = table[~(summary | copies)]
    genes = pd.DataFrame(
        {"gene": kept["gene_name"].to_numpy(dtype=object), "count": numbers(kept[column], path)},
        index=pd.Index(kept["gene_id"].str.partition(".")[0].to_numpy(dtype=object), name="gene_id"),
    )
    repeated = genes.index.duplicated()
    if repeated.any():
        line = kept.index[repeated][0]
        raise UserError(f"{path}: line {line}: gene {genes.index[repeated][0]} occurs twice; keep one line.")
    return StarCounts(genes, {"summary_rows": int(summary.sum()), "par_y": int(copies.sum())})

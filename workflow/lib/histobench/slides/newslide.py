"""A slide in, a file of predictions and a preview out; both or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from histobench.figures.drawing.style import RC
from histobench.figures.on_tissue.slide_preview import draw_preview
from histobench.files import atomic_path
from histobench.slides.grid import predict_slide


def write_slide_prediction(
    model_folder: str | Path,
    image: str | Path,
    output_h5ad: str | Path,
    output_png: str | Path,
    **options: Any,
) -> dict[str, Any]:
    """Predict a slide and write ``output_h5ad`` (AnnData) and ``output_png`` (preview).

    Parameters
    ----------
    model_folder, image, options
        See :func:`histobench.slides.grid.predict_slide`.

    Returns
    -------
    dict
        How the prediction was made, ``uns["histobench"]``.
    """
    import matplotlib as mpl

    table = predict_slide(model_folder, image, **options)
    with mpl.rc_context(RC):
        figure = draw_preview(table)
        with atomic_path(output_png) as picture, atomic_path(output_h5ad) as stored:
            figure.savefig(picture, dpi=150, format="png", bbox_inches="tight")
            table.write_h5ad(stored, compression="gzip", compression_opts=1)
    facts: dict[str, Any] = table.uns["histobench"]
    return facts

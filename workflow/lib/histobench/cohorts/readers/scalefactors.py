"""What Space Ranger and the programs that follow it say about the scale, beside the positions.

``scalefactors_json.json``, or ``uns["spatial"][library]["scalefactors"]`` of an AnnData file, gives the
diameter of a spot in pixels, and by how much the small images are smaller. The diameter is that of 55, 65 or
70 µm, depending on the program and its version, so it states a range of scales; Visium HD states the scale
itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from histobench.errors import UserError

_DIAMETER_UM = (55.0, 70.0)
_REDUCED = ("tissue_hires_scalef", "tissue_lowres_scalef")


@dataclass(frozen=True)
class ScaleFactors:
    """What a file of scale factors says.

    Attributes
    ----------
    source
        The file, and the place in it, for messages.
    um_per_px
        Smallest and largest scale that is in keeping with it (equal where it states the scale itself); None
        where it states none.
    reduced
        Name of a factor -> size of that small image as a share of the full one.
    """

    source: str
    um_per_px: tuple[float, float] | None = None
    reduced: dict[str, float] = field(default_factory=dict)


def scale_factors(values: Mapping[str, Any], source: str) -> ScaleFactors:
    """Understand scale factors; what is no positive number is as good as missing."""
    scale, diameter = (
        _positive(values.get("microns_per_pixel")),
        _positive(values.get("spot_diameter_fullres")),
    )
    stated = None
    if scale is not None:
        stated = (scale, scale)
    elif diameter is not None:
        stated = (_DIAMETER_UM[0] / diameter, _DIAMETER_UM[1] / diameter)
    reduced = {name: factor for name in _REDUCED if (factor := _positive(values.get(name))) is not None}
    return ScaleFactors(source, stated, reduced)


def read_scale_factors(path: str | Path) -> ScaleFactors:
    """Read ``scalefactors_json.json``.

    Raises
    ------
    UserError
        The file is missing or no JSON.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; fetch it or correct the path.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: is no JSON ({error}); fetch it again.") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: holds no scale factors by name; fetch it again.")
    return scale_factors(values, str(path))


def anndata_scale_factors(uns: Mapping[str, Any], path: str | Path) -> ScaleFactors | None:
    """Find the scale factors of an AnnData file of one library; None if it has none, or several."""
    libraries = uns.get("spatial")
    if not isinstance(libraries, Mapping) or len(libraries) != 1:
        return None
    name, library = next(iter(libraries.items()))
    values = library.get("scalefactors") if isinstance(library, Mapping) else None
    if not isinstance(values, Mapping):
        return None
    return scale_factors(values, f"{path}: uns['spatial']['{name}']['scalefactors']")


def _positive(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None

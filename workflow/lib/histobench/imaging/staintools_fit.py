"""Stain vectors as StainTools itself finds them, for protocols of papers that used it.

StainTools 2.1.2 gives its dictionary solver one second of wall clock, so two runs on the same pixels differ,
and more on a busy machine. Everything after the vectors is computed here, pixel for pixel as StainTools does.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import numpy.typing as npt

from histobench.errors import UserError

PACKAGES = ("staintools", "spams")
# A megapixel takes about 50 MB: StainTools keeps several float64 copies of the whole image.
MOST_MEGAPIXELS = 400


def missing_packages() -> list[str]:
    """Return which of the packages that StainTools' own fit takes are not installed."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def require_staintools(where: str) -> None:
    """Refuse a run that asks for StainTools' fit without StainTools.

    Raises
    ------
    UserError
        A package is missing.
    """
    missing = missing_packages()
    if missing:
        raise UserError(
            f"{where} asks for StainTools' own fit, but {' and '.join(missing)} cannot be imported; install "
            "them (`pip install --no-deps staintools==2.1.2 spams-bin`; where jobs have conda environments, "
            "in that of envs/images.yaml too), or set `patches.fit: own`."
        )


def staintools_vectors(standard: npt.NDArray[np.uint8], method: str) -> npt.NDArray[np.float64]:
    """Return StainTools' stain vectors of a section, 2 x 3, haematoxylin first.

    Parameters
    ----------
    standard
        The whole image, standardised in luminosity, height x width x 3.
    method
        "vahadane" or "macenko".

    Raises
    ------
    UserError
        StainTools is missing, or the image is too large for it.
    """
    require_staintools(f"stain {method}")
    megapixels = standard.shape[0] * standard.shape[1] / 1e6
    if megapixels > MOST_MEGAPIXELS:
        raise UserError(
            f"StainTools needs the whole image in memory, and this one has {megapixels:.0f} megapixels (at "
            f"most {MOST_MEGAPIXELS}); set `patches.fit: own`."
        )
    from staintools.stain_extraction.macenko_stain_extractor import MacenkoStainExtractor
    from staintools.stain_extraction.vahadane_stain_extractor import VahadaneStainExtractor

    extractor = VahadaneStainExtractor if method == "vahadane" else MacenkoStainExtractor
    # a copy: StainTools sets black pixels to one in place
    return np.asarray(extractor.get_stain_matrix(standard.copy()), np.float64)

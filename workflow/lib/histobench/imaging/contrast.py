"""Whether there is anything to see on a picture of a section, judged on a small copy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from histobench.errors import UserError
from histobench.imaging.patches import WHITE_LEVEL
from histobench.imaging.statements import turned_as

__all__ = ["BLANK_ADVICE", "LOOK_PX", "glass", "nothing_to_see", "refuse_blank", "remarks"]

Image = npt.NDArray[np.uint8]

#: Longest side of the small copy: a core biopsy of 1 mm on a slide of 75 mm still has 100 pixels.
LOOK_PX = 1000

BLANK_ADVICE = "check that it is the right file and that it was saved as RGB."
_LUMINOSITY_PERCENTILE = 95.0
_LAMP = (200.0, 255.0)  # brightness of glass; where nothing is so bright, there is no glass

_ONE_COLOUR = 2.0  # standard deviation of every channel of a picture without anything on it, in grey levels
_DARK = 64  # the brightest half per cent of a scan through which light came is brighter
_BELOW_LAMP = 0.94  # of the brightness of glass, which the faintest tissue does not reach
_LEAST_TISSUE = 0.001  # share of pixels that are not glass
_BLACK = 32  # grey levels; ink and folds are not so dark over large areas
_MUCH_BLACK = 0.2
_GREY = 8  # difference of two channels that 99 % of the pixels of a grey picture do not reach


def glass(picture: Image) -> npt.NDArray[np.bool_]:
    """Tell which pixels are glass, after the brightness of the lamp is divided out; height x width.

    As in the standardisation of luminosity, the brightest pixels are what white should be: many scans have
    grey glass.
    """
    brightness = picture.mean(axis=2)
    lamp = np.clip(np.percentile(brightness, _LUMINOSITY_PERCENTILE), *_LAMP)
    found: npt.NDArray[np.bool_] = brightness > WHITE_LEVEL / 255 * lamp
    return found


def nothing_to_see(picture: Image) -> str:
    """Say in words why a picture (RGB bytes) cannot be that of a stained section; "" where it can.

    That is: one colour throughout, so dark that no light came through, or (nearly) nothing but glass.
    """
    import cv2

    pixels = picture.reshape(-1, 3)
    brightness = pixels.mean(axis=1)
    mean = float(brightness.mean())
    if float(pixels.std(axis=0).max()) < _ONE_COLOUR:
        what = "white" if mean > WHITE_LEVEL else "black" if mean < _DARK / 2 else "of one colour"
        return f"the image is {what} throughout"
    if float(np.percentile(brightness, 99.5)) < _DARK:
        return f"the image is dark throughout (mean {mean:.0f} of 255), as no scan of a stained section is"
    # More sensitive than glass: tissue may be stained faintly. Averaged, because glass may be noisy.
    smooth = cv2.blur(picture, (3, 3)).mean(axis=2)
    share = float((smooth < _BELOW_LAMP * np.percentile(smooth, _LUMINOSITY_PERCENTILE)).mean())
    if share < _LEAST_TISSUE:
        return f"the image shows no tissue ({share:.2%} of it is darker than glass)"
    return ""


def refuse_blank(path: str | Path, picture: Image) -> None:
    """Stop for an image on which there is nothing to see; ``picture`` is its small copy.

    Raises
    ------
    UserError
        With the words of :func:`nothing_to_see`.
    """
    why = nothing_to_see(picture)
    if why:
        raise UserError(f"{path}: {why}; {BLANK_ADVICE}")


def remarks(path: str | Path, picture: Image) -> list[str]:
    """Return what is worth knowing of an image that is used as it is; ``picture`` is its small copy."""
    found = []
    turned = turned_as(path)
    if turned:
        found.append(
            f"the image wants to be shown {turned}, which is not done: positions are in stored pixels"
        )
    seen = ~glass(picture)
    channels = picture[seen if seen.any() else ~seen].astype(np.int16)
    if float(np.percentile(np.ptp(channels, axis=1), 99)) < _GREY:
        found.append("the image has no colour, so stains cannot be told apart")
    black = float((picture.max(axis=2) < _BLACK).mean())
    if black > _MUCH_BLACK:
        found.append(
            f"{black:.0%} of the image is nearly black, where glass should be bright; it may be inverted, "
            "masked or of fluorescence"
        )
    return found

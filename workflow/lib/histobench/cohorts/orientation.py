"""Whether the spots of a section lie on its tissue, or would if the image were mirrored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from histobench.cohorts.sheet import Finding

if TYPE_CHECKING:
    import numpy.typing as npt

    from histobench.cohorts.check import SectionCheck

_CLEARER = 0.15  # gain in the share of spots on tissue that makes a mirrored section suspicious


def check_orientation(
    check: SectionCheck, picture: npt.NDArray[np.uint8], size: tuple[int, int], image: str
) -> None:
    """Note a section whose spots would lie on tissue better if the image were mirrored or turned.

    Parameters
    ----------
    check
        The section's check, with spots; a note is added.
    picture
        The image made small, RGB bytes.
    size
        Width and height of the full image.
    image
        Its path, for the message.
    """
    import cv2

    if check.spots is None or not size[0]:
        return
    grey = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (0, 0), 2)
    _, tissue = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    height, width = tissue.shape
    x = np.clip(check.spots["pixel_x"].to_numpy() / size[0] * width, 0, width - 1).astype(int)
    y = np.clip(check.spots["pixel_y"].to_numpy() / size[1] * height, 0, height - 1).astype(int)
    shares = {
        "as it is": tissue[y, x].mean(),
        "mirrored left to right": tissue[y, width - 1 - x].mean(),
        "mirrored top to bottom": tissue[height - 1 - y, x].mean(),
        "turned upside down": tissue[height - 1 - y, width - 1 - x].mean(),
    }
    best = max(shares, key=lambda name: shares[name])
    if shares[best] > shares["as it is"] + _CLEARER:
        text = (
            f"{shares['as it is']:.0%} of the spots lie on dark pixels, but {shares[best]:.0%} would if the "
            f"image were {best}; look at the drawing, the image may be flipped."
        )
        check.notes.append(Finding(image, "", text, check.section))

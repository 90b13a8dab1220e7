"""Landmarks of a picture, by which another scan, cut or turn of the same tissue is recognised.

A hash of the whole picture (:mod:`histobench.imaging.phash`) tells copies of a file. Another publication of
the same section is cropped, placed anew, turned by some degrees or labelled; its landmarks (Lowe 2004,
"Distinctive image features from scale-invariant keypoints") still lie as before towards each other.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["SAME_VIEW", "Landmarks", "find_landmarks", "shared_landmarks"]

SIDE_PX = 512
"""Length of the longer side of the picture in which landmarks are looked for."""

SAME_VIEW = 15
"""So many landmarks that lie alike make two pictures views of one section.

Measured on six real HER2+ sections, five of them serial sections of one block: at most 5 between different
sections; 34 or more after crops to 10 % a side, borders to 30 %, any turn, shifts, a label in the corner,
blur and compression.
"""

_MOST = 256  # landmarks kept, the clearest first
_WITHIN_PX = 4.0
_CLEAR = 0.8  # a match counts if the next best is at least so much worse
_SCALES = (0.2, 5.0)  # a fit that shrinks a picture to a point matches anything


@dataclass(frozen=True)
class Landmarks:
    """Places (landmarks x 2, x and y in pixels of the small picture) and descriptions (landmarks x 128)."""

    places: npt.NDArray[np.float32]
    descriptions: npt.NDArray[np.uint8]

    def as_json(self) -> dict[str, Any]:
        """Return plain values that a JSON file holds."""
        return {
            "places": np.round(self.places, 1).tolist(),
            "descriptions": base64.b64encode(self.descriptions.tobytes()).decode(),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Landmarks:
        """Return what :meth:`as_json` made plain."""
        packed = np.frombuffer(base64.b64decode(stored["descriptions"]), np.uint8)
        places = np.asarray(stored["places"], dtype=np.float32).reshape(-1, 2)
        return cls(places, packed.reshape(-1, 128))


def find_landmarks(picture: npt.NDArray[np.uint8]) -> Landmarks:
    """Return the clearest landmarks of an RGB picture (height x width x 3); none where it has no contrast."""
    import cv2

    scale = SIDE_PX / max(picture.shape[:2])
    if scale < 1:
        picture = np.asarray(
            cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8
        )
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    finder = cv2.SIFT.create(nfeatures=_MOST, contrastThreshold=0.02)
    points, descriptions = finder.detectAndCompute(grey, None)
    if descriptions is None:
        return Landmarks(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8))
    order = np.argsort([-point.response for point in points], kind="stable")[:_MOST]
    places = np.array([points[i].pt for i in order], dtype=np.float32)
    return Landmarks(places, descriptions[order].astype(np.uint8))


def _views(marks: Landmarks) -> Iterator[Landmarks]:
    """Return the landmarks as they are, mirrored, with dark and light exchanged, and both.

    A description is a histogram of eight directions in 4 x 4 fields that are turned with the landmark:
    mirroring reverses the rows and the sense of directions; exchanging dark and light turns all by half a
    circle.
    """
    fields = marks.descriptions.reshape(-1, 4, 4, 8)
    sense = (-np.arange(8)) % 8
    mirrored = marks.places * np.array([-1, 1], np.float32)
    for places, turned in (
        (marks.places, fields),
        (mirrored, fields[:, ::-1][..., sense]),
        (marks.places, fields[:, ::-1, ::-1]),
        (mirrored, fields[:, :, ::-1][..., sense]),
    ):
        yield Landmarks(places, np.ascontiguousarray(turned).reshape(-1, 128))


def _unit(descriptions: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return square roots of shares (Arandjelovic and Zisserman 2012), whose products compare histograms."""
    values = descriptions.astype(np.float32)
    return np.sqrt(values / np.maximum(values.sum(axis=1, keepdims=True), 1e-9))


def shared_landmarks(one: Landmarks, other: Landmarks) -> int:
    """Return how many landmarks of two pictures lie alike, however turned, scaled, mirrored or inverted."""
    return max(_alike(view, other) for view in _views(one))


def _alike(one: Landmarks, other: Landmarks) -> int:
    import cv2

    if min(len(one.places), len(other.places)) < 4:
        return 0
    likeness = _unit(one.descriptions) @ _unit(other.descriptions).T
    best = np.argsort(-likeness, axis=1)[:, :2]
    first, second = (2 - 2 * np.take_along_axis(likeness, best[:, [k]], 1)[:, 0] for k in (0, 1))
    clear = np.flatnonzero(first < _CLEAR**2 * second)
    # many landmarks that match one are a pattern, not a place
    _, single = np.unique(best[clear, 0], return_index=True)
    clear = clear[single]
    if len(clear) < 4:
        return 0
    fit, inside = cv2.estimateAffinePartial2D(
        one.places[clear], other.places[best[clear, 0]], ransacReprojThreshold=_WITHIN_PX
    )
    if fit is None or not _SCALES[0] < float(np.hypot(fit[0, 0], fit[1, 0])) < _SCALES[1]:
        return 0
    return int(inside.sum())

"""Opening histology images."""

from __future__ import annotations

from histobench.imaging.headers import image_size

__all__ = ["image_size"]

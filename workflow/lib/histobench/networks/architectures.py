"""Names of the frozen and trainable encoders, known without loading torch."""

from __future__ import annotations

from typing import Annotated

from histobench.bounds import one_of

# Torchvision's, in the order of networks/backbones.py, which says how each loses its classifier.
TORCHVISION = (
    "densenet121",
    "resnet18",
    "resnet50",
    "resnet101",
    *(f"efficientnet_b{size}" for size in range(6)),
    "inception_v3",
    "vit_b_16",
    "vit_b_32",
    "convnext_tiny",
)
ARCHITECTURES = (*TORCHVISION, "small_cnn")


def known_encoders() -> tuple[str, ...]:
    """Return the names that ``needs.features`` of a method, and its backbone, may have."""
    return ARCHITECTURES


Architecture = Annotated[str, one_of(known_encoders())]
"""Type of a parameter that names an image encoder."""

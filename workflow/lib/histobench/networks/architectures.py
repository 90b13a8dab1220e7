"""Names of the frozen and trainable encoders, known without loading torch."""

from __future__ import annotations

from typing import Annotated

from histobench.bounds import one_of

# Torchvision's, in the order of networks/backbones.py, which says how each loses its classifier; and the file
# in which it publishes the ImageNet weights IMAGENET1K_V1 of each: its name ends in digits of its sha256.
TORCHVISION = {
    "densenet121": "densenet121-a639ec97.pth",
    "resnet18": "resnet18-f37072fd.pth",
    "resnet50": "resnet50-0676ba61.pth",
    "resnet101": "resnet101-63fe2227.pth",
    "efficientnet_b0": "efficientnet_b0_rwightman-7f5810bc.pth",
    "efficientnet_b1": "efficientnet_b1_rwightman-bac287d4.pth",
    "efficientnet_b2": "efficientnet_b2_rwightman-c35c1473.pth",
    "efficientnet_b3": "efficientnet_b3_rwightman-b3899882.pth",
    "efficientnet_b4": "efficientnet_b4_rwightman-23ab8bcd.pth",
    "efficientnet_b5": "efficientnet_b5_lukemelas-1a07897c.pth",
    "inception_v3": "inception_v3_google-0cc3c7bd.pth",
    "vit_b_16": "vit_b_16-c867db91.pth",
    "vit_b_32": "vit_b_32-d86f8d99.pth",
    "convnext_tiny": "convnext_tiny-983f1562.pth",
}
ARCHITECTURES = (*TORCHVISION, "small_cnn")


def known_encoders() -> tuple[str, ...]:
    """Return the names that ``needs.features`` of a method, and its backbone, may have."""
    return ARCHITECTURES


Architecture = Annotated[str, one_of(known_encoders())]
"""Type of a parameter that names an image encoder."""

"""Which packages change numbers or pictures, and in which versions a job will find them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

#: The packages that change numbers or pictures: the name that code imports -> the name it is installed by.
COMPUTING: Mapping[str, str] = {
    "altair": "altair",
    "anndata": "anndata",
    "captum": "captum",
    "cv2": "opencv-python-headless",
    "imagecodecs": "imagecodecs",
    "lightgbm": "lightgbm",
    "matplotlib": "matplotlib",
    "numba": "numba",
    "numpy": "numpy",
    "openslide": "openslide-bin",
    "pandas": "pandas",
    "PIL": "pillow",
    "pyarrow": "pyarrow",
    "scanpy": "scanpy",
    "scipy": "scipy",
    "seaborn": "seaborn",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "statsmodels": "statsmodels",
    "tifffile": "tifffile",
    "timm": "timm",
    "torch": "torch",
    "torchvision": "torchvision",
    "transformers": "transformers",
    "umap": "umap-learn",
}


def installed_version(package: str) -> str:
    """Return the installed version of a package, or "not installed"."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


@functools.cache
def installed_versions() -> dict[str, str]:
    """Return the installed version of each package that changes results, or "not installed"."""
    return {name: installed_version(name) for name in sorted(COMPUTING.values())}


def pinned_versions(environments: Iterable[str | Path]) -> dict[str, str]:
    """Return the version of each package that changes results, as conda environment files pin it.

    A package that two files pin differently has both versions: a job cannot be told from the other here.
    """
    import yaml

    pinned: dict[str, set[str]] = {}
    for file in environments:
        for entry in yaml.safe_load(Path(file).read_text(encoding="utf-8"))["dependencies"]:
            for requirement in entry["pip"] if isinstance(entry, dict) else [entry]:
                name, _, version = requirement.split()[0].partition("=")
                pinned.setdefault(name, set()).add(version.lstrip("="))
    return {
        name: " or ".join(sorted(pinned[name])) if name in pinned else "not installed"
        for name in sorted(COMPUTING.values())
    }

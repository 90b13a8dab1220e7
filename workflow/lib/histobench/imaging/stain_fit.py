"""The few numbers that describe the stain of one section."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from histobench.errors import UserError

Floats = npt.NDArray[np.float64]

# The reference stain that accompanies Macenko et al. 2009 (ISBI, 1107-1110) in its public implementations:
# haematoxylin and eosin vectors and their 99th-percentile concentrations (natural logarithm, as here).
# Vectors and concentrations belong together; the vectors of Ruifrok & Johnston 2001, common for unmixing,
# come without concentrations and recompose to a magenta that no eosin has.
_REFERENCE_VECTORS = np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]])
_REFERENCE_CONCENTRATIONS = np.array([1.9705, 1.0308])

#: What flags mean where a person should hear of them.
DOUBTS = {
    "grey_atom": "one of the two stains that were found is grey, as of ink, folds or dark areas",
    "little_tissue": "little of the image is tissue, from which the stains were found",
    "no_tissue": "no tissue was found, so the stains are those of the reference",
    "single_colour": "the tissue has one colour alone, so the stains are those of the reference",
    "small_separation": "the two stains that were found are nearly one",
    "unscanned": "black areas, where nothing was scanned, were left out when the stains were found",
    "unused_stain": "one of the two stains that were found is next to absent",
}


@dataclass(frozen=True)
class StainFit:
    """The stain of one section.

    Attributes
    ----------
    stain_matrix
        Unit optical-density vectors (red, green, blue) as rows, haematoxylin first, 2 x 3.
    max_concentrations
        99th percentiles of the two concentrations over all pixels, 2.
    luminosity_percentile
        95th percentile of CIELAB lightness (0 to 255) before standardisation.
    tissue_share
        Share of pixels that count as tissue after standardisation.
    separation_degrees
        Angle between the two stain vectors.
    flags
        Reasons to doubt the fit, none for a normal section: "no_tissue" or "single_colour" (nothing to
        fit: vectors and concentrations are the reference's), "little_tissue", "grey_atom" (a vector is
        nearly grey, as with pen or folds), "small_separation", "multiple_optima", "unused_stain" (a 99th
        percentile is zero, so that stain is not rescaled), "unscanned" (black areas, which the fit leaves
        out).
    n_colours
        Distinct colours of the image.
    objective
        Value of the dictionary objective (NaN for Macenko, for vectors of StainTools or without tissue).
    method
        A name of :data:`histobench.imaging.stains.NORMALISED`, or "reference".
    """

    stain_matrix: Floats
    max_concentrations: Floats
    luminosity_percentile: float
    tissue_share: float
    separation_degrees: float
    flags: tuple[str, ...]
    n_colours: int
    objective: float
    method: str

    @classmethod
    def reference(cls) -> StainFit:
        """Return the built-in target: published vectors and concentrations, no image of any cohort.

        They are the reference values that accompany Macenko et al. 2009. So no section, and least of all a
        training or test one, sets the target of the others.
        """
        matrix = _REFERENCE_VECTORS / np.linalg.norm(_REFERENCE_VECTORS, axis=1, keepdims=True)
        return cls(
            stain_matrix=matrix,
            max_concentrations=_REFERENCE_CONCENTRATIONS.copy(),
            luminosity_percentile=255.0,
            tissue_share=float("nan"),
            separation_degrees=float(np.degrees(np.arccos(matrix[0] @ matrix[1]))),
            flags=(),
            n_colours=0,
            objective=float("nan"),
            method="reference",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON (NaN becomes None); floats keep every bit."""
        return {
            "stain_matrix": self.stain_matrix.tolist(),
            "max_concentrations": self.max_concentrations.tolist(),
            "luminosity_percentile": self.luminosity_percentile,
            "tissue_share": _none_if_nan(self.tissue_share),
            "separation_degrees": self.separation_degrees,
            "flags": list(self.flags),
            "n_colours": self.n_colours,
            "objective": _none_if_nan(self.objective),
            "method": self.method,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> StainFit:
        """Rebuild a fit from :meth:`to_dict`; further keys are ignored.

        Raises
        ------
        UserError
            A key is missing or not of the expected shape.
        """
        try:
            fit = cls(
                stain_matrix=np.array(values["stain_matrix"], np.float64),
                max_concentrations=np.array(values["max_concentrations"], np.float64),
                luminosity_percentile=float(values["luminosity_percentile"]),
                tissue_share=_nan_if_none(values["tissue_share"]),
                separation_degrees=float(values["separation_degrees"]),
                flags=tuple(values["flags"]),
                n_colours=int(values["n_colours"]),
                objective=_nan_if_none(values["objective"]),
                method=str(values["method"]),
            )
        except KeyError as error:
            raise UserError(f"the stain parameters lack the key {error}; fit the stain again.") from None
        except (TypeError, ValueError) as error:
            raise UserError(f"the stain parameters are damaged ({error}); fit the stain again.") from error
        if fit.stain_matrix.shape != (2, 3) or fit.max_concentrations.shape != (2,):
            raise UserError(
                "stain_matrix must be 2 x 3 and max_concentrations 2 values; fit the stain again."
            )
        return fit


def _none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else value


def _nan_if_none(value: float | None) -> float:
    return float("nan") if value is None else float(value)

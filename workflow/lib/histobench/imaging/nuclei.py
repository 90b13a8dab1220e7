"""Find nuclei in a patch and describe them, as the baseline of He et al. 2020 (ST-Net) does.

The recipe: separate haematoxylin from eosin with fixed stain vectors, threshold it and fill holes, find
centres as maxima of a Laplacian of Gaussian over several scales, cut touching nuclei apart around them, drop
small objects. Lengths were given in pixels of 0.67 um and are kept in micrometres, so that patches of another
scale are treated alike. scikit-image takes the place of HistomicsTK.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Optical densities of haematoxylin and eosin in red, green, blue (He et al. 2020, released code).
HAEMATOXYLIN = (0.650, 0.704, 0.286)
EOSIN = (0.072, 0.990, 0.105)

PUBLISHED_UM_PER_PX = 0.67
NUCLEUS_FEATURES = (
    "area",
    "major_axis",
    "minor_axis",
    "axis_ratio",
    "mean_red",
    "mean_green",
    "mean_blue",
    "max_distance",
    "mean_distance",
    "min_distance",
)


@dataclass(frozen=True)
class Recipe:
    """Settings of the segmentation.

    Attributes
    ----------
    threshold
        A pixel is nuclear where its haematoxylin image, 255 exp(-density), is below.
    min_radius_um, max_radius_um
        The Laplacian of Gaussian has scales from the one to the other, times the root of 2: 10 and 15 px.
    n_sigma
        Scales between them.
    clustering_um
        Least distance of two centres: 10 px.
    min_area_um2
        Smaller objects are dropped: 80 px.
    """

    threshold: float = 60.0
    min_radius_um: float = 10 * PUBLISHED_UM_PER_PX
    max_radius_um: float = 15 * PUBLISHED_UM_PER_PX
    n_sigma: int = 4
    clustering_um: float = 10 * PUBLISHED_UM_PER_PX
    min_area_um2: float = 80 * PUBLISHED_UM_PER_PX**2


def haematoxylin_image(patch: np.ndarray) -> np.ndarray:
    """Return what a patch would look like with haematoxylin alone, one channel, 0 (dark) to 255.

    Parameters
    ----------
    patch
        uint8, (height, width, 3) RGB.
    """
    vectors = np.array([HAEMATOXYLIN, EOSIN])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    third = np.cross(*vectors)
    unmix = np.linalg.inv(np.vstack([vectors, third / np.linalg.norm(third)]))
    # each of the 256 values once; zero counts as one, as its logarithm is infinite
    density = -np.log(np.maximum(np.arange(256), 1) / 255.0)
    amount = density[patch] @ unmix[:, 0]
    image: np.ndarray = 255.0 * np.exp(-np.maximum(amount, 0.0))
    return image


def segment_nuclei(patch: np.ndarray, um_per_px: float, recipe: Recipe | None = None) -> np.ndarray:
    """Label the nuclei of a patch.

    Parameters
    ----------
    patch
        uint8, (height, width, 3) RGB.
    um_per_px
        Its scale.
    recipe
        Settings; the published ones by default.

    Returns
    -------
    numpy.ndarray
        int32, (height, width): 0 background, 1, 2, ... nuclei without gaps.
    """
    from scipy import ndimage
    from skimage.segmentation import watershed

    recipe = recipe or Recipe()
    stain = haematoxylin_image(patch)
    mask = ndimage.binary_fill_holes(stain < recipe.threshold)
    if not mask.any():
        return np.zeros(mask.shape, np.int32)
    response = _blob_response(stain, mask, um_per_px, recipe)
    markers = _centres(response, mask, max(1, round(recipe.clustering_um / um_per_px)))
    labels = watershed(-response, markers, mask=mask)
    sizes = np.bincount(labels.ravel())
    keep = sizes * um_per_px**2 >= recipe.min_area_um2
    keep[0] = False
    renumbered: np.ndarray = np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels]
    return renumbered


def _centres(response: np.ndarray, mask: np.ndarray, distance: int) -> np.ndarray:
    """Return numbered centres of nuclei, int32 (height, width): maxima within ``distance`` pixels.

    A piece of the mask without one, because a stronger centre lies near it, gets one at its own maximum.
    """
    from scipy import ndimage

    inside = np.where(mask, response, -np.inf)
    peak = mask & (inside == ndimage.maximum_filter(inside, 2 * distance + 1, mode="nearest"))
    pieces, n = ndimage.label(mask)
    bare = np.setdiff1d(np.arange(1, n + 1), pieces[peak])
    if len(bare):
        peak[tuple(np.array(ndimage.maximum_position(inside, pieces, bare)).T)] = True
    # a plateau is one centre
    numbers, _ = ndimage.label(peak, structure=np.ones((3, 3)))
    centres: np.ndarray = numbers.astype(np.int32)
    return centres


def _blob_response(stain: np.ndarray, mask: np.ndarray, um_per_px: float, recipe: Recipe) -> np.ndarray:
    """Return the largest scale-normalised Laplacian of Gaussian (dark blobs positive) at every pixel.

    Constrained: a scale counts where it does not exceed twice the distance to the background; the smallest
    counts everywhere. Scales much larger than a pixel need no full resolution, so the image is first
    shrunk.
    """
    from scipy import ndimage
    from skimage.transform import resize

    smallest = 2**0.5 * recipe.min_radius_um / um_per_px
    largest = 2**0.5 * recipe.max_radius_um / um_per_px
    shrink = max(1, min(int(smallest // 3), min(stain.shape) // 4))
    small = stain[: stain.shape[0] // shrink * shrink, : stain.shape[1] // shrink * shrink]
    small = small.reshape(small.shape[0] // shrink, shrink, -1, shrink).mean(axis=(1, 3))
    distance = ndimage.distance_transform_edt(mask)
    best = np.full(stain.shape, -np.inf)
    for sigma in np.linspace(smallest, largest, recipe.n_sigma):
        scaled = max(sigma / shrink, 0.5)
        response = ndimage.gaussian_laplace(small, scaled, mode="nearest") * scaled**2
        full = resize(response, stain.shape, order=1, mode="edge", anti_aliasing=False)
        allowed = (sigma <= 2 * distance) | (sigma == smallest)
        best = np.where(allowed, np.maximum(best, full), best)
    return best


def describe_nuclei(patch: np.ndarray, um_per_px: float, recipe: Recipe | None = None) -> np.ndarray:
    """Return one row of :data:`NUCLEUS_FEATURES` per nucleus.

    Areas are in um^2, axes and distances in um, colours 0 to 1. Distances are those to the neighbours in the
    Delaunay triangulation of the centres; two nuclei are each other's neighbours, a single one has
    distance 0.

    Returns
    -------
    numpy.ndarray
        float32, (nuclei, 10), finite.
    """
    labels = segment_nuclei(patch, um_per_px, recipe)
    n = int(labels.max())
    if n == 0:
        return np.zeros((0, len(NUCLEUS_FEATURES)), np.float32)
    flat = labels.ravel()
    size = np.bincount(flat, minlength=n + 1)[1:].astype(np.float64)
    rows, columns = np.divmod(np.arange(flat.size), labels.shape[1])

    def mean(values: np.ndarray) -> np.ndarray:
        total: np.ndarray = np.bincount(flat, weights=values, minlength=n + 1)[1:]
        return total / size

    y, x = mean(rows), mean(columns)
    # axes of the ellipse with the same second moments; a pixel itself contributes 1/12
    yy = mean(rows.astype(np.float64) ** 2) - y**2 + 1 / 12
    xx = mean(columns.astype(np.float64) ** 2) - x**2 + 1 / 12
    xy = mean(rows * columns.astype(np.float64)) - x * y
    half, spread = (xx + yy) / 2, np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    major, minor = 4 * np.sqrt(half + spread), 4 * np.sqrt(np.maximum(half - spread, 1e-9))
    colours = [mean(patch[..., channel].ravel() / 255.0) for channel in range(3)]
    distances = neighbour_distances(np.column_stack([x, y]) * um_per_px)
    table = np.column_stack(
        [size * um_per_px**2, major * um_per_px, minor * um_per_px, major / minor, *colours, distances]
    )
    return table.astype(np.float32)


def neighbour_distances(centres: np.ndarray) -> np.ndarray:
    """Return largest, mean and smallest distance of each centre to its Delaunay neighbours, (centres, 3)."""
    from scipy.spatial import Delaunay, QhullError

    n = len(centres)
    if n < 2:
        return np.zeros((n, 3))
    pairs = np.array([[0, 1]])
    if n > 2:
        try:
            triangles = Delaunay(centres, qhull_options="QJ").simplices  # QJ: also for centres on one line
        except QhullError:
            return np.zeros((n, 3))
        edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [0, 2]]])
        pairs = np.unique(np.sort(edges, axis=1), axis=0)
    length = np.linalg.norm(centres[pairs[:, 0]] - centres[pairs[:, 1]], axis=1)
    where, values = np.concatenate([pairs[:, 0], pairs[:, 1]]), np.concatenate([length, length])
    out = np.zeros((n, 3))
    np.maximum.at(out[:, 0], where, values)
    out[:, 1] = np.bincount(where, values, n) / np.maximum(np.bincount(where, minlength=n), 1)
    smallest = np.full(n, np.inf)
    np.minimum.at(smallest, where, values)
    out[:, 2] = np.where(np.isfinite(smallest), smallest, 0.0)
    return out

"""Images: stain normalisation, patches, augmented batches."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
from bench.harness import Comparison


def section(folder: Path, mirror: Path | None, quick: bool) -> tuple[Path, np.ndarray, np.ndarray, str]:
    """A JPEG section with spot positions: a published one, or a photograph like it."""
    if mirror and not quick:
        from histobench.cohorts.readers.legacy_st import read_spots

        for image in sorted(mirror.glob("her2st/data/ST-imgs/*/*/*.jpg")):
            found = list(mirror.glob(f"her2st/data/ST-spotfiles/{image.parent.name}_selection.tsv"))
            if found:
                spots = read_spots(found[0])
                spots = spots[spots["selected"]]
                x, y = spots["pixel_x"].to_numpy(), spots["pixel_y"].to_numpy()
                return image, x, y, f"{image.name}, {len(x)} spots"
    from PIL import Image

    rng = np.random.default_rng(0)
    size = 2400 if quick else 8000
    coarse = rng.integers(120, 250, (size // 16, size // 16, 3), dtype=np.uint8)
    image = np.kron(coarse, np.ones((16, 16, 1), np.uint8))
    path = folder / "section.jpg"
    Image.fromarray(image).save(path, quality=90, restart_marker_rows=1)
    step = 290
    grid = np.arange(step, size // 2, step)
    x, y = (axis.ravel().astype(float) for axis in np.meshgrid(grid, grid))
    return path, x, y, f"simulated, {size} px wide, {len(x)} spots"


def patches(folder: Path, mirror: Path | None, quick: bool) -> Comparison:
    """Patches of 224 px around all spots, from the JPEG as it was published."""
    from PIL import Image

    from histobench.imaging.patches import cut_patches
    from histobench.imaging.slides import open_slide

    Image.MAX_IMAGE_PIXELS = None
    path, x, y, note = section(folder, mirror, quick)
    left, top = np.rint(x).astype(int) - 112, np.rint(y).astype(int) - 112

    def ours() -> np.ndarray:
        with open_slide(path) as slide:
            return cut_patches(slide, x, y, 224)

    def theirs() -> np.ndarray:
        image = Image.open(path).convert("RGB")
        return np.stack(
            [np.asarray(image.crop((a, b, a + 224, b + 224))) for a, b in zip(left, top, strict=True)]
        )

    def same(a: object, b: object) -> str:
        inside = (
            (left >= 0) & (top >= 0) & (left + 224 <= x.max() + 500)
        )  # PIL pads with black, we with white
        np.testing.assert_array_equal(a[inside], b[inside])  # type: ignore[index]
        return "identical"

    return Comparison(
        "patches from a JPEG", "PIL: open, convert, crop", ours, theirs, same,
        target=5, units=len(x), unit="patch", note=note,
    )  # fmt: skip


def decoding(folder: Path, mirror: Path | None, quick: bool) -> Comparison:
    """A whole JPEG, into an array that is there."""
    import imagecodecs
    from PIL import Image

    from histobench.imaging.jpeg import read_jpeg

    Image.MAX_IMAGE_PIXELS = None
    path, _, _, note = section(folder, mirror, quick)
    pixels, other = read_jpeg(path), read_jpeg(path)

    def same(a: object, b: object) -> str:
        np.testing.assert_array_equal(a, b)  # type: ignore[arg-type]
        np.testing.assert_array_equal(other, b)  # type: ignore[arg-type]
        return "identical"

    return Comparison(
        "decoding a JPEG", "PIL", lambda: read_jpeg(path, out=pixels),
        lambda: np.asarray(Image.open(path).convert("RGB")), same, target=6,
        peer="imagecodecs into a reused array",
        best=lambda: imagecodecs.jpeg8_decode(path.read_bytes(), outcolorspace="RGB", out=other), peer_target=1,
        units=pixels.size / 3e6, unit="megapixel", note=note,
    )  # fmt: skip


def batches(folder: Path, quick: bool) -> Comparison:
    """Batches of 32 shuffled patches, each in one of its eight symmetries, as bytes."""
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision.transforms import v2

    from histobench.training.augment import augment
    from histobench.training.data import PatchSource

    n, width = (64, 64) if quick else (512, 224)
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 250, (n, width // 8, width // 8, 3), dtype=np.uint8)
    pixels = coarse.repeat(8, axis=1).repeat(8, axis=2)
    pixels += rng.integers(0, 6, pixels.shape, dtype=np.uint8)
    np.save(folder / "patches.npy", pixels)
    for number, patch in enumerate(pixels):
        Image.fromarray(patch).save(folder / f"{number}.png")
    quarter = v2.RandomChoice([v2.Identity(), v2.Lambda(lambda image: torch.rot90(image, 1, (-2, -1)))])
    change = v2.Compose([v2.PILToTensor(), v2.RandomHorizontalFlip(), v2.RandomVerticalFlip(), quarter])

    class Files(Dataset):
        def __len__(self) -> int:
            return n

        def __getitem__(self, number: int) -> torch.Tensor:
            return change(Image.open(folder / f"{number}.png").convert("RGB"))

    source = PatchSource([np.load(folder / "patches.npy", mmap_mode="r")])
    passes = 4

    def ours() -> int:
        total = 0
        for epoch in range(passes):
            draws = np.random.default_rng(epoch)
            order = draws.permutation(n)
            for first in range(0, n, 32):
                total += len(augment(source.batch(order[first : first + 32]), draws))
        return total

    def theirs() -> int:
        return sum(len(batch) for batch in DataLoader(Files(), batch_size=32, shuffle=True))

    def same(a: object, b: object) -> str:
        assert a == passes * b == passes * n  # type: ignore[operator]
        read = np.stack([np.asarray(Image.open(folder / f"{number}.png")) for number in range(8)])
        np.testing.assert_array_equal(read, source.batch(np.arange(8)).permute(0, 2, 3, 1).numpy())
        return "same pixels; each draws its own symmetries"

    return Comparison(
        "augmented batches", "a DataLoader of PNG files, no workers", ours, theirs, same,
        target=50, units=passes * n, unit="image", factor=passes, repeats=3,
        note=f"{width} px; one pass over {n} files, times {passes}",
    )  # fmt: skip


def stain(folder: Path, mirror: Path | None, quick: bool) -> Comparison:
    """Luminosity standardisation and Vahadane of a whole section, fit and transformation."""
    import staintools

    from histobench.imaging.slides import ArraySlide, read_image
    from histobench.imaging.stain import StainFit, fit_stain, stain_map

    path, *_, note = section(folder, mirror, quick)
    image = read_image(path)
    centre = [slice(n // 2 - min(n // 2, 500), n // 2 + min(n // 2, 500)) for n in image.shape[:2]]
    target = image[tuple(centre)].copy()  # tissue, if there is any
    normaliser = staintools.StainNormalizer(method="vahadane")
    normaliser.fit(staintools.LuminosityStandardizer.standardize(target.copy()))

    def ours() -> np.ndarray:
        return stain_map(fit_stain(ArraySlide(image)))(image)

    def theirs() -> np.ndarray:
        return normaliser.transform(staintools.LuminosityStandardizer.standardize(image.copy()))

    def same(a: object, _: object) -> str:
        fit, reference = fit_stain(ArraySlide(image)), StainFit.reference()
        fixed = staintools.StainNormalizer(method="vahadane")
        fixed.extractor = SimpleNamespace(get_stain_matrix=lambda _: fit.stain_matrix)
        fixed.stain_matrix_target = reference.stain_matrix
        fixed.maxC_target = reference.max_concentrations.reshape(1, 2)
        wanted = fixed.transform(staintools.LuminosityStandardizer.standardize(image.copy()))
        differing = int((a != wanted).any(axis=-1).sum())  # type: ignore[attr-defined]
        assert differing == 0
        return f"{differing} of {image.shape[0] * image.shape[1]:,} pixels differ for a given stain matrix"

    return Comparison(
        "stain normalisation", "StainTools", ours, theirs, same, target=100,
        units=image.shape[0] * image.shape[1] / 1e6, unit="megapixel", repeats=3, warm=False, note=note,
    )  # fmt: skip

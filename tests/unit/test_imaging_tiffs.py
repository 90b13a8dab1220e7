"""TIFFs of every colour model, depth and number of pages: what Pillow or tifffile read, or one sentence."""

from __future__ import annotations

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from histobench.errors import UserError
from histobench.imaging.patches import cut_patches
from histobench.imaging.slides import image_size, open_slide, read_image
from histobench.imaging.stain import fit_stain
from histobench.imaging.statements import stated_scales, turned_as
from histobench.imaging.thumbnail import thumbnail


def scene(height: int = 96, width: int = 128, seed: int = 0) -> np.ndarray:
    """Purple and pink tissue on bright glass."""
    rng = np.random.default_rng(seed)
    field = cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), 6)
    field = (field / field.std()).clip(-1, 2)[..., None]
    inside = np.hypot(*np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j])[..., None] < 0.9
    tissue = np.array([190, 110, 170]) + field * [-40, -35, -15] + rng.normal(0, 4, (height, width, 3))
    return np.where(inside, tissue, 242).clip(0, 255).astype(np.uint8)


SCENE = scene()
ALPHA = np.clip(np.mgrid[:96, :128][1] * 3, 0, 255).astype(np.uint8)


def agree(path, expected, atol=0):
    """Every way of reading gives the same pixels."""
    height, width = expected.shape[:2]
    assert image_size(path) == (width, height)
    whole = read_image(path)
    assert whole.dtype == np.uint8 and whole.shape == expected.shape
    assert np.abs(whole.astype(int) - expected).max() <= atol
    with open_slide(path) as slide:
        window = slide.read_region(30, 20, 70, 50)
        bands = np.concatenate([band for _, band in slide.bands(rows=17)])
        patches = cut_patches(slide, [40.0, 90.0], [30.0, 60.0], 16)
        stain = fit_stain(slide, "macenko")
    np.testing.assert_array_equal(window, whole[20:70, 30:100])
    np.testing.assert_array_equal(bands, whole)
    np.testing.assert_array_equal(patches[0], whole[22:38, 32:48])
    assert stain.to_dict() == fit_stain(whole, "macenko").to_dict()
    np.testing.assert_array_equal(thumbnail(path, max(width, height)), whole)
    small = cv2.resize(whole, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    assert np.abs(thumbnail(path, max(width, height) // 2).astype(int) - small).mean() < 1


def refused(path, *words):
    """Every way of reading stops with the same one sentence."""
    said = set()
    for read in (read_image, lambda p: thumbnail(p, 64), _window):
        with pytest.raises(UserError) as caught:
            read(path)
        said.add(str(caught.value))
    (text,) = said
    assert text.startswith(str(path)) and text.endswith(".") and "\n" not in text
    for word in words:
        assert word in text, text


def _window(path):
    with open_slide(path) as slide:
        return slide.read_region(0, 0, 8, 8)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "LAB", "YCbCr"])
def test_colour_models_are_those_of_pillow(mode, compression, tmp_path):
    path = tmp_path / "image.tif"
    picture = Image.fromarray(SCENE)
    if mode == "LAB":
        from PIL import ImageCms

        profiles = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
        picture = ImageCms.profileToProfile(picture, *profiles, outputMode="LAB")
    else:
        picture = picture.convert(mode)
    picture.save(path, compression=compression)
    with Image.open(path) as stored:
        assert stored.mode == mode or mode == "YCbCr"
        expected = np.asarray(stored.convert("RGB"))
    assert np.abs(expected.astype(int) - SCENE).mean() < (90 if mode in "1LP" else 4)
    agree(path, expected, atol=int(mode == "YCbCr"))  # libtiff's arithmetic or Pillow's


def test_a_palette_of_few_colours_and_fewer_bits_is_that_of_pillow(tmp_path):
    picture = Image.fromarray(SCENE).quantize(16)
    picture.save(tmp_path / "p.tif", bits=4)
    with Image.open(tmp_path / "p.tif") as stored:
        agree(tmp_path / "p.tif", np.asarray(stored.convert("RGB")))


@pytest.mark.parametrize("tile", [None, (32, 48)])
@pytest.mark.parametrize("kind", ["bytes", "words", "bits"])
def test_white_is_zero_is_inverted(kind, tile, tmp_path):
    grey = cv2.cvtColor(SCENE, cv2.COLOR_RGB2GRAY)
    stored = {"bytes": 255 - grey, "words": 65535 - grey.astype(np.uint16) * 257, "bits": grey < 150}[kind]
    tifffile.imwrite(tmp_path / "w.tif", stored, photometric="miniswhite", tile=tile, compression="deflate")
    expected = np.where(grey < 150, 0, 255).astype(np.uint8) if kind == "bits" else grey
    agree(tmp_path / "w.tif", np.repeat(expected[:, :, None], 3, axis=2))


def test_a_fax_is_as_pillow_reads_it(tmp_path):
    Image.fromarray(SCENE).convert("1").save(tmp_path / "fax.tif", compression="group4")
    with Image.open(tmp_path / "fax.tif") as stored:
        agree(tmp_path / "fax.tif", np.asarray(stored.convert("RGB")))


LAYOUTS = {
    "strips": {},
    "tiles": {"tile": (32, 48)},
    "deflate": {"tile": (32, 48), "compression": "deflate", "predictor": True},
    "lzw": {"compression": "lzw", "rowsperstrip": 16},
    "zstd": {"compression": "zstd"},
    "big-endian": {"byteorder": ">"},
    "bigtiff": {"bigtiff": True, "tile": (32, 32)},
    "planes": {"planarconfig": "separate", "tile": (32, 48)},
    "planes in strips": {"planarconfig": "separate", "rowsperstrip": 10, "compression": "deflate"},
}


def write(path, array, **options):
    stored = np.ascontiguousarray(np.moveaxis(array, 2, 0)) if "planarconfig" in options else array
    tifffile.imwrite(path, stored, photometric="rgb", **options)
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("depth", [8, 16])
def test_plain_rgb_of_every_layout_is_exact(layout, depth, tmp_path):
    array = SCENE if depth == 8 else SCENE.astype(np.uint16) * 256 + 77
    agree(write(tmp_path / "image.tif", array, **LAYOUTS[layout]), SCENE)


@pytest.mark.parametrize("layout", ["strips", "tiles", "planes", "lzw"])
@pytest.mark.parametrize("depth", [8, 16])
def test_a_fourth_channel_is_alpha_only_if_the_file_says_so(layout, depth, tmp_path):
    alpha = ALPHA[:, :, None]
    blended = np.asarray(
        Image.alpha_composite(
            Image.new("RGBA", (128, 96), "white"), Image.fromarray(np.concatenate([SCENE, alpha], axis=2))
        ).convert("RGB")
    )
    multiplied = (SCENE.astype(float) * alpha / 255).round().astype(np.uint8)
    for kind, colours, fourth, expected in (
        ("unassalpha", SCENE, alpha, blended),
        ("assocalpha", multiplied, alpha, blended),
        ("unspecified", SCENE, alpha, SCENE),
        ("unspecified", SCENE, alpha * 0, SCENE),
    ):
        array = np.concatenate([colours, fourth], axis=2).astype(np.uint8 if depth == 8 else np.uint16)
        array = array * (1 if depth == 8 else 257)
        path = write(tmp_path / f"{kind}.tif", array, extrasamples=(kind,), **LAYOUTS[layout])
        agree(path, expected, atol=1)


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "webp", "jpegxl", "lerc", "png"])
@pytest.mark.parametrize("tile", [(32, 48), None])
def test_what_tifffile_decompresses_is_also_looked_at(compression, tile, tmp_path):
    path = tmp_path / "image.tif"
    options = {"subsampling": (2, 2)} if compression == "jpeg" else {}
    tifffile.imwrite(path, SCENE, photometric="rgb", tile=tile, compression=compression, **options)
    expected = tifffile.imread(path)
    assert np.abs(expected.astype(int) - SCENE).mean() < 6
    agree(path, expected)


def test_subsampled_ycbcr_in_jpeg_is_rgb(tmp_path):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, SCENE, photometric="rgb", compression="jpeg", subsampling=(2, 2))
    with Image.open(path) as stored:
        assert stored.tag_v2[262] == 6  # YCbCr
        agree(path, np.asarray(stored.convert("RGB")), atol=3)


def raw_tags(path, array, photometric, *extra, **options):
    tifffile.imwrite(path, array, photometric=photometric, extratags=extra, metadata=None, **options)
    return path


REFUSED = {
    "inks": (lambda p: _save(p, "CMYK"), ["CMYK", "save it as RGB"]),
    "subsampled YCbCr": (
        lambda p: raw_tags(p, SCENE, "ycbcr", subsampling=(2, 2), compression=None) and _subsampled(p), ["YCbCr", "save it as RGB"],
    ),
    "television's YCbCr": (lambda p: _television(p), ["YCbCr", "save it as RGB"]),
    "float": (lambda p: tifffile.imwrite(p, SCENE.astype(np.float32), photometric="rgb"), ["float32"]),
    "five channels": (
        lambda p: tifffile.imwrite(p, np.dstack([SCENE, ALPHA, ALPHA]), photometric="rgb"), ["5 channels"],
    ),
    "grey with two more": (
        lambda p: tifffile.imwrite(p, SCENE, photometric="minisblack", planarconfig="contig"), ["3 channels", "save it as RGB"],
    ),
    "a camera's raw values": (lambda p: tifffile.imwrite(p, SCENE[:, :, 0], photometric="cfa"), ["raw values"]),
    "three grey pages": (lambda p: tifffile.imwrite(p, np.moveaxis(SCENE, 2, 0), photometric="minisblack"), ["3 grey pages"]),
    "focal planes": (
        lambda p: tifffile.imwrite(p, np.stack([SCENE] * 4), photometric="rgb"), ["4 colour pages", "focal planes"],
    ),
    "grey focal planes of ImageJ": (
        lambda p: tifffile.imwrite(p, np.moveaxis(SCENE, 2, 0), imagej=True, metadata={"axes": "ZYX"}), ["3 grey pages"],
    ),
    "four grey channels": (
        lambda p: tifffile.imwrite(p, np.stack([ALPHA] * 4), imagej=True, metadata={"axes": "CYX"}), ["4 grey pages"],
    ),
    "two sections": (lambda p: _pages(p, SCENE, scene(90, 120, 1)), ["2 colour pages", "several sections"]),
    "12 bits in 16": (lambda p: write(p, SCENE.astype(np.uint16) * 16), ["16 bits", "MaxSampleValue"]),
    "8 bits in 16": (lambda p: write(p, SCENE.astype(np.uint16)), ["16 bits", "state the 8 bits in use"]),
    "12 bits in 16, tiles": (
        lambda p: write(p, SCENE.astype(np.uint16) * 16, tile=(32, 32), compression="deflate"), ["16 bits"],
    ),
    "12 bits in 16, grey": (
        lambda p: tifffile.imwrite(p, SCENE[:, :, 0].astype(np.uint16) * 16, photometric="minisblack"), ["16 bits"],
    ),
    "14 bits in 16": (lambda p: write(p, SCENE.astype(np.uint16) * 64), ["16 bits", "state the 14 bits in use"]),
    "12 bits in a PNG of 16": (
        lambda p: p.write_bytes(imagecodecs.png_encode(SCENE.astype(np.uint16) * 16)), ["16 bits"],
    ),
}  # fmt: skip


def _save(path, mode):
    Image.fromarray(SCENE).convert(mode).save(path)


def _subsampled(path):
    """State subsampling of colours where the file has none."""
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages.first.tags["YCbCrSubSampling"].overwrite((2, 2))


def _television(path):
    Image.fromarray(SCENE).convert("YCbCr").save(path)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages.first.tags["ReferenceBlackWhite"].overwrite(
            (16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1)
        )


def _pages(path, *arrays, **options):
    with tifffile.TiffWriter(path) as writer:
        for array in arrays:
            photometric = "rgb" if array.ndim == 3 else "minisblack"
            writer.write(array, photometric=photometric, metadata=None, contiguous=False, **options)


@pytest.mark.parametrize("kind", REFUSED)
def test_what_has_no_certain_rgb_is_refused_in_one_sentence(kind, tmp_path):
    make, words = REFUSED[kind]
    make(tmp_path / "image.tif")
    refused(tmp_path / "image.tif", *words)


@pytest.mark.parametrize("name", ["SMaxSampleValue", "MaxSampleValue"])
@pytest.mark.parametrize(("bits", "tile"), [(12, None), (8, (32, 32)), (14, None)])
def test_bits_that_the_file_states_are_scaled(name, bits, tile, tmp_path):
    code = {"SMaxSampleValue": 341, "MaxSampleValue": 281}[name]
    array = SCENE.astype(np.uint16) << (bits - 8)
    stated = (code, 3, 3, (2**bits - 1,) * 3, True)
    agree(raw_tags(tmp_path / "image.tif", array, "rgb", stated, tile=tile), SCENE)


def test_significant_bits_of_ome_are_scaled(tmp_path):
    path = tmp_path / "image.ome.tif"
    tifffile.imwrite(path, SCENE.astype(np.uint16) * 16, photometric="rgb", metadata={"SignificantBits": 12})
    agree(path, SCENE)


def test_packed_bits_are_scaled(tmp_path):
    grey = cv2.cvtColor(SCENE, cv2.COLOR_RGB2GRAY)
    tifffile.imwrite(tmp_path / "four.tif", grey >> 4, photometric="minisblack", bitspersample=4)
    agree(tmp_path / "four.tif", np.repeat(((grey >> 4) * 17)[:, :, None], 3, axis=2))


def test_values_beyond_the_stated_bits_are_refused(tmp_path):
    path = tmp_path / "image.tif"
    raw_tags(path, SCENE.astype(np.uint16) * 250, "rgb", (281, 3, 3, (4095,) * 3, True))
    refused(path, "states 12 bits", "holds the value")


CHANNELS = {
    "OME": ("a.ome.tif", {"metadata": {"axes": "CYX"}}),
    "OME with names": ("a.ome.tif", {"metadata": {"axes": "CYX", "Channel": {"Name": ["Red", "Green", "Blue"]}}}),
    "ImageJ": ("a.tif", {"imagej": True, "metadata": {"axes": "CYX"}}),
    "ImageJ with labels": ("a.tif", {"imagej": True, "metadata": {"axes": "CYX", "Labels": ["R", "G", "B"]}}),
    "OME in tiles": ("a.ome.tif", {"tile": (32, 32), "compression": "deflate", "metadata": {"axes": "CYX"}}),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHANNELS)
@pytest.mark.parametrize("depth", [8, 16])
def test_three_pages_that_are_channels_are_one_rgb_image(kind, depth, tmp_path):
    name, options = CHANNELS[kind]
    array = SCENE if depth == 8 else SCENE.astype(np.uint16) * 257
    photometric = {} if "imagej" in options else {"photometric": "minisblack"}
    tifffile.imwrite(tmp_path / name, np.moveaxis(array, 2, 0), **photometric, **options)
    agree(tmp_path / name, SCENE)


def test_named_channels_are_put_in_order(tmp_path):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(
        path, np.moveaxis(SCENE[:, :, ::-1], 2, 0), photometric="minisblack",
        metadata={"axes": "CYX", "Channel": {"Name": ["blue", "green", "red"]}},
    )  # fmt: skip
    agree(path, SCENE)


def dark(height=96, width=128):
    rng = np.random.default_rng(3)
    return (
        (cv2.GaussianBlur(rng.normal(size=(height, width, 3)), (0, 0), 3) * 300).clip(0, 255).astype(np.uint8)
    )


@pytest.mark.parametrize(
    ("array", "metadata"),
    [
        (SCENE, {"axes": "CYX", "Channel": {"Name": ["DAPI", "FITC", "TRITC"]}}),
        (SCENE, {"axes": "CYX", "Channel": {"EmissionWavelength": [450, 520, 600]}}),
        (SCENE, {"axes": "ZYX"}),
        (SCENE, {"axes": "TYX"}),
        (dark(), {"axes": "CYX"}),
    ],
)
def test_channels_of_fluorescence_and_planes_are_no_colours(array, metadata, tmp_path):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.moveaxis(array, 2, 0), photometric="minisblack", metadata=metadata)
    refused(path, "fluorescence")


def test_one_plane_of_three_is_refused(tmp_path):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, SCENE[:, :, 0], photometric="minisblack")
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tag = tiff.pages.first.tags["ImageDescription"]
        tag.overwrite(tag.value.replace('SizeC="1"', 'SizeC="3"'))
    refused(path, "3 planes, of which it lists one")


def test_the_largest_page_is_the_picture_wherever_it_stands(tmp_path):
    big, small = scene(200, 300), scene(50, 75)
    grey = scene(200, 300)[:, :, 0]
    for name, pages in {
        "thumbnail first": (small, big),
        "thumbnail last": (big, small),
        "label between": (small, big, scene(60, 60)),
        "mask beside it": (big, grey),
        "mask before it": (grey, big),
    }.items():
        for tile in (None, (64, 64)):
            path = tmp_path / f"{name}.tif"
            _pages(path, *pages, tile=tile)
            agree(path, big)


def test_a_page_marked_as_reduced_that_is_the_largest_is_the_picture(tmp_path):
    with tifffile.TiffWriter(tmp_path / "image.tif") as writer:
        writer.write(SCENE[::2, ::2], photometric="rgb")
        writer.write(SCENE, photometric="rgb", subfiletype=1)
    agree(tmp_path / "image.tif", SCENE)


def test_reduced_and_inner_pages_are_levels(tmp_path):
    big = scene(256, 384)
    half, quarter = (cv2.resize(big, None, fx=f, fy=f, interpolation=cv2.INTER_AREA) for f in (0.5, 0.25))
    options = {"photometric": "rgb", "tile": (64, 64), "metadata": None}
    for compression in (None, "deflate", "webp"):
        with tifffile.TiffWriter(tmp_path / "beside.tif") as writer:
            writer.write(big, compression=compression, **options)
            writer.write(half, subfiletype=1, compression=compression, **options)
            writer.write(quarter, subfiletype=1, compression=compression, **options)
        with tifffile.TiffWriter(tmp_path / "inside.tif") as writer:
            writer.write(big, subifds=2, compression=compression, **options)
            writer.write(half, subfiletype=1, compression=compression, **options)
            writer.write(quarter, subfiletype=1, compression=compression, **options)
        for name in ("beside.tif", "inside.tif"):
            agree(tmp_path / name, tifffile.imread(tmp_path / name, key=0))
            with open_slide(tmp_path / name) as slide:
                assert slide.reduced(1.9) is None
                assert slide.reduced(2.0).shape == half.shape and slide.reduced(7).shape == quarter.shape
                if compression != "webp":
                    np.testing.assert_array_equal(slide.reduced(4), quarter)


def test_a_level_of_another_shape_is_no_copy(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(scene(256, 384), photometric="rgb", tile=(64, 64))
        writer.write(scene(100, 100), photometric="rgb", tile=(64, 64), subfiletype=1)
    with open_slide(tmp_path / "a.tif") as slide:
        assert slide.reduced(4) is None


def test_a_slide_that_openslide_cannot_open_is_read_as_the_tiff_that_it_is(tmp_path):
    text = "Aperio Image Library v1\n128x96 |MPP = 0.5"
    tifffile.imwrite(
        tmp_path / "a.svs", SCENE, tile=(32, 48), photometric="rgb", description=text, metadata=None, compression="webp",
    )  # fmt: skip
    agree(tmp_path / "a.svs", tifffile.imread(tmp_path / "a.svs"))


FILES = {
    "tiles.tif": lambda p: write(p, SCENE, tile=(32, 48), compression="deflate"),
    "strips.tif": lambda p: write(p, SCENE, rowsperstrip=16),
    "big.tif": lambda p: write(p, SCENE, bigtiff=True, tile=(32, 32)),
    "jpeg.tif": lambda p: write(p, SCENE, tile=(32, 48), compression="jpeg", subsampling=(2, 2)),
    "channels.ome.tif": lambda p: tifffile.imwrite(
        p, np.moveaxis(SCENE, 2, 0), photometric="minisblack", metadata={"axes": "CYX"}
    ),
    "palette.png": lambda p: Image.fromarray(SCENE).quantize(16).save(p),
    "deep.png": lambda p: p.write_bytes(imagecodecs.png_encode(SCENE.astype(np.uint16) * 257)),
}


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_header_ends_in_one_sentence_or_in_pixels(name, tmp_path):
    """Nothing but a UserError leaves the readers, whatever three bytes near the start of a file become."""
    whole, path = tmp_path / name, tmp_path / f"damaged.{name}"
    FILES[name](whole)
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(60):
        data = np.frombuffer(whole.read_bytes(), np.uint8).copy()
        data[rng.integers(0, min(600, len(data)), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(data.tobytes())
        for read in (_small_enough, lambda p: thumbnail(p, 64), stated_scales, turned_as):
            try:
                if read is not _small_enough and not _small_enough(path):
                    continue
                read(path)
            except UserError as error:
                assert str(error).startswith(str(path))
                outcomes.add("sentence")
            else:
                outcomes.add("pixels")
    possible = {"sentence"} if name.endswith("png") else {"sentence", "pixels"}  # PNG has checksums
    assert outcomes == possible


def _small_enough(path):
    """Read an image unless its damaged header states hundreds of megapixels that it may well hold."""
    width, height = image_size(path)
    if width * height > 10**7:
        return False
    read_image(path)
    return True


@pytest.mark.parametrize("grey", [False, True])
def test_a_channel_more_than_colours_is_alpha_where_the_file_is_silent(tmp_path, grey):
    """As OpenCV writes it and Pillow reads it: black under nothing is a background, not tissue."""
    opaque = np.where(np.hypot(*np.mgrid[-1:1:96j, -1:1:128j]) < 0.9, 255, 0).astype(np.uint8)
    colours = cv2.cvtColor(SCENE, cv2.COLOR_RGB2GRAY)[..., None] if grey else SCENE
    bare = np.where(opaque[..., None] > 0, colours, 0)
    path = tmp_path / "a.tif"
    if grey:
        tifffile.imwrite(path, np.dstack([bare, opaque]), photometric="minisblack", planarconfig="contig")
        with tifffile.TiffFile(path, mode="r+b") as tiff:
            tag = tiff.pages[0].tags.get("ExtraSamples")
            if tag is not None:
                tag.overwrite(2)
    else:
        cv2.imwrite(str(path), np.dstack([bare[..., ::-1], opaque]))
        with tifffile.TiffFile(path) as tiff:
            assert "ExtraSamples" not in tiff.pages[0].tags
    expected = np.where(opaque[..., None] > 0, colours, 255).astype(np.uint8)
    agree(path, np.broadcast_to(expected, SCENE.shape))


@pytest.mark.parametrize("keep", [0.4, 0.9])
def test_a_tile_that_was_copied_in_part_is_refused(tmp_path, keep):
    """The decoder fills the rest of a JPEG that is cut off with a colour of its own, without a word."""
    path = tmp_path / "t.tif"
    tifffile.imwrite(path, SCENE, photometric="rgb", compression="jpeg", tile=(64, 64))
    with tifffile.TiffFile(path) as tiff:
        start, length = tiff.pages[0].dataoffsets[1], tiff.pages[0].databytecounts[1]
    data = bytearray(path.read_bytes())
    cut = start + int(keep * length)
    data[cut : start + length] = bytes(start + length - cut)
    path.write_bytes(data)
    with pytest.raises(UserError, match="tile 1 of the TIFF is a JPEG without its end"):
        read_image(path)


def scenes(path, second, **told):
    with tifffile.TiffWriter(path, ome=True) as writer:
        for picture, more in ((SCENE, {}), (second, told)):
            about = {
                "axes": "YXS",
                "PhysicalSizeX": 0.5,
                "PhysicalSizeY": 0.5,
                "PhysicalSizeXUnit": "µm",
                **more,
            }
            about = {key: value for key, value in about.items() if value is not None}
            writer.write(picture, photometric="rgb", metadata=about)


@pytest.mark.parametrize(
    ("size", "told", "refused"),
    [
        ((60, 80), {"Name": "Scene2"}, True),
        ((20, 90), {"Name": "Scene2"}, True),
        ((60, 80), {"Name": "macro image"}, False),
        ((60, 80), {"PhysicalSizeX": 16.0}, False),
        ((60, 80), {"PhysicalSizeX": None, "PhysicalSizeY": None}, False),
        ((48, 64), {}, False),  # a level whose scale was copied
    ],
)
def test_two_scenes_at_one_scale_are_refused(tmp_path, size, told, refused):
    path = tmp_path / "s.ome.tif"
    scenes(path, SCENE[: size[0], : size[1]], **told)
    if refused:
        with pytest.raises(UserError, match=r"several scenes at one scale \(128 x 96 and \d+ x \d+ pixels\)"):
            read_image(path)
    else:
        np.testing.assert_array_equal(read_image(path), SCENE)

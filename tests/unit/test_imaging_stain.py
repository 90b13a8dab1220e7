"""Stain normalisation against StainTools 2.1.2 itself, and the converged, deterministic fit."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from histobench.errors import UserError
from histobench.imaging.dictionary import (
    concentrations,
    degrees_between,
    fit_dictionary,
    haematoxylin_first,
)
from histobench.imaging.slides import ArraySlide, read_image
from histobench.imaging.stain import (
    StainFit,
    fit_stain,
    normalise,
    preview,
    read_stain,
    stain_map,
    write_stain,
)

HAEMATOXYLIN, EOSIN = StainFit.reference().stain_matrix


def unit(rows) -> np.ndarray:
    rows = np.asarray(rows, float)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def render(
    amounts: np.ndarray, matrix: np.ndarray, rng: np.random.Generator, noise: float = 2.0
) -> np.ndarray:
    """Beer-Lambert image of concentrations (height x width x 2) with camera noise in grey levels."""
    ideal = 255 * np.exp(-amounts @ matrix)
    return np.clip(np.rint(ideal + noise * rng.normal(size=ideal.shape)), 0, 255).astype(np.uint8)


def tissue(seed: int = 0, size: int = 96, matrix: np.ndarray | None = None) -> np.ndarray:
    """Nuclei and stroma of varied strength on a white background that fills a third of the image."""
    rng = np.random.default_rng(seed)
    nuclei = rng.gamma(2.0, 0.5, (size, size)) * (rng.random((size, size)) < 0.4)
    stroma = rng.gamma(2.0, 0.25, (size, size))
    amounts = np.stack([nuclei, stroma], axis=2)
    amounts[: size // 3] = 0
    return render(amounts, StainFit.reference().stain_matrix if matrix is None else matrix, rng)


def staintools_transform(image, source_matrix, target_image=None, target=None, method="vahadane"):
    """LuminosityStandardizer and StainNormalizer of StainTools, its dictionary fit replaced by given vectors.

    StainTools changes images in place (it sets 0 to 1), hence the copies.
    """
    import staintools

    class Fixed:
        matrix = None

        def get_stain_matrix(self, _):
            return self.matrix

    normaliser = staintools.StainNormalizer(method=method)
    normaliser.extractor = Fixed()
    if target_image is not None:
        normaliser.extractor.matrix = target.stain_matrix
        normaliser.fit(staintools.LuminosityStandardizer.standardize(target_image.copy()))
    else:
        normaliser.stain_matrix_target = target.stain_matrix
        normaliser.maxC_target = target.max_concentrations.reshape(1, 2)
    normaliser.extractor.matrix = source_matrix
    return normaliser.transform(staintools.LuminosityStandardizer.standardize(image.copy()))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_every_pixel_equals_staintools(seed, from_image):
    rng = np.random.default_rng(seed)
    matrix = haematoxylin_first(unit(rng.uniform(0.05, 1, (2, 3))))
    assume(degrees_between(matrix[0], matrix[1]) > 5)
    image = tissue(seed, size=48, matrix=matrix)
    image[:3, :3] = 0  # black pixels count as 1
    source = fit_stain(image)
    assume(not {"unused_stain", "no_tissue", "single_colour"} & set(source.flags))
    if from_image:
        other = tissue(seed + 1, size=40)
        target = fit_stain(other)
        expected = staintools_transform(image, source.stain_matrix, other, target)
    else:
        target = StainFit.reference()
        expected = staintools_transform(image, source.stain_matrix, target=target)
    np.testing.assert_array_equal(normalise(image, source, target), expected)


def test_noise_of_all_colours_equals_staintools():
    image = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    source, target = fit_stain(image), StainFit.reference()
    expected = staintools_transform(image, source.stain_matrix, target=target)
    np.testing.assert_array_equal(normalise(image, source, target), expected)


def test_macenko_equals_staintools():
    import staintools
    from staintools.stain_extraction.macenko_stain_extractor import MacenkoStainExtractor

    image = tissue()
    source, target = fit_stain(image, "macenko"), StainFit.reference()
    standard = staintools.LuminosityStandardizer.standardize(image.copy())
    np.testing.assert_allclose(
        source.stain_matrix, MacenkoStainExtractor.get_stain_matrix(standard), atol=1e-9
    )
    expected = staintools_transform(image, source.stain_matrix, target=target, method="macenko")
    np.testing.assert_array_equal(normalise(image, source, target), expected)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.01, 0.1]))
def test_closed_form_lasso_meets_the_optimality_conditions(seed, penalty):
    """KKT: the gradient vanishes where a > 0 and is not negative where a = 0."""
    rng = np.random.default_rng(seed)
    atoms = unit(rng.uniform(0, 1, (2, 3)))
    assume(degrees_between(atoms[0], atoms[1]) > 0.5)
    od = rng.gamma(1, 0.7, (200, 3))
    amounts = concentrations(od, atoms, penalty)
    gradient = (amounts @ atoms - od) @ atoms.T + penalty
    assert (amounts >= 0).all()
    assert np.abs(gradient[amounts > 0]).max(initial=0) < 1e-9
    assert gradient[amounts == 0].min(initial=0) > -1e-9


def objective(od: np.ndarray, weights: np.ndarray, atoms: np.ndarray) -> float:
    amounts = concentrations(od, atoms, 0.1)
    rest = ((od - amounts @ atoms) ** 2).sum(1) / 2 + 0.1 * amounts.sum(1)
    return float((weights * rest).sum() / weights.sum())


def sample(seed: int = 0, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    amounts = rng.gamma(1, 0.8, (n, 2)) * (rng.random((n, 2)) < 0.6)
    od = np.maximum(amounts @ np.stack([HAEMATOXYLIN, EOSIN]) + 0.03 * rng.normal(size=(n, 3)), 1e-6)
    return od, rng.integers(1, 9, n)


def test_dictionary_is_a_stationary_minimum_of_the_stated_objective():
    od, weights = sample()
    fit = fit_dictionary(od, weights, np.stack([HAEMATOXYLIN, EOSIN]))
    best = objective(od, weights, fit.atoms)
    assert fit.objective == pytest.approx(best, rel=1e-12)
    np.testing.assert_allclose(np.linalg.norm(fit.atoms, axis=1), 1, atol=1e-12)
    assert fit.n_optima == 1
    rng = np.random.default_rng(1)
    for size in (1e-2, 1e-3, 1e-4):
        for _ in range(50):
            nearby = unit(np.maximum(fit.atoms + size * rng.normal(size=(2, 3)), 0))
            assert objective(od, weights, nearby) > best - 1e-15
            # Shorter atoms are allowed by |d| <= 1 but never better: that is why angles suffice.
            shorter = nearby * (1 - size)
            amounts = concentrations(od, nearby, 0.1) / (1 - size)
            rest = ((od - amounts @ shorter) ** 2).sum(1) / 2 + 0.1 * amounts.sum(1)
            assert (weights * rest).sum() / weights.sum() > best


def test_dictionary_equals_spams_with_many_iterations():
    import spams

    od, weights = sample()
    fit = fit_dictionary(od, weights, np.stack([HAEMATOXYLIN, EOSIN]))
    theirs = spams.trainDL(
        X=np.asfortranarray(np.repeat(od, weights, axis=0).T),
        K=2, lambda1=0.1, mode=2, modeD=0, posAlpha=True, posD=True, verbose=False, iter=8000,
        numThreads=1,
    ).T  # fmt: skip
    theirs = haematoxylin_first(unit(theirs))
    assert max(degrees_between(fit.atoms[j], theirs[j]) for j in (0, 1)) < 0.05


def test_weights_are_repetitions():
    od, weights = sample(n=60)
    start = np.stack([HAEMATOXYLIN, EOSIN])
    weighted = fit_dictionary(od, weights, start)
    repeated = fit_dictionary(np.repeat(od, weights, axis=0), np.ones(weights.sum(), int), start)
    assert max(degrees_between(weighted.atoms[j], repeated.atoms[j]) for j in (0, 1)) < 1e-4


@pytest.mark.parametrize("seed", range(3))
def test_planted_stains_come_back(seed):
    """The sparsity penalty biases the fit inwards by a few degrees, not more."""
    planted = unit([[0.65, 0.70, 0.29], [0.25, 0.90, 0.35]])
    fit = fit_stain(tissue(seed, matrix=planted))
    assert fit.flags == ()
    assert max(degrees_between(fit.stain_matrix[j], planted[j]) for j in (0, 1)) < 4


def test_normalisation_brings_differently_stained_sections_together():
    plain = tissue(0)
    strong = tissue(0, matrix=unit([[0.60, 0.75, 0.25], [0.10, 0.85, 0.50]]) * 1.4)
    before = np.abs(plain[40:].mean((0, 1)) - strong[40:].mean((0, 1))).max()
    after = [normalise(image, fit_stain(image))[40:].mean((0, 1)) for image in (plain, strong)]
    assert np.abs(after[0] - after[1]).max() < before / 3


def test_the_fit_is_the_same_bits_in_another_process_and_by_bands():
    image = tissue()
    fit = fit_stain(image)
    assert fit_stain(image).to_dict() == fit.to_dict()

    class Narrow(ArraySlide):
        def bands(self, rows: int = 7):
            return super().bands(7)

    assert fit_stain(Narrow(image)).to_dict() == fit.to_dict()
    code = (
        "import sys, json, numpy as np\n"
        "from histobench.imaging.stain import fit_stain\n"
        f"image = np.frombuffer(sys.stdin.buffer.read(), np.uint8).reshape({image.shape})\n"
        "print(json.dumps(fit_stain(image).to_dict()))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code], input=image.tobytes(), capture_output=True, env=environment, check=True
    )
    assert json.loads(done.stdout) == fit.to_dict()


def grey_noise() -> np.ndarray:
    grey = np.random.default_rng(0).integers(0, 256, (64, 64, 1), dtype=np.uint8)
    return np.repeat(grey, 3, axis=2)


def one_stain() -> np.ndarray:
    rng = np.random.default_rng(0)
    return render(rng.gamma(1, 0.6, (96, 96, 1)), HAEMATOXYLIN[None], rng, noise=0.5)


def with_pen() -> np.ndarray:
    image = tissue()
    rng = np.random.default_rng(0)
    image[50:] = np.clip(60 + 10 * rng.normal(size=(46, 96, 1)), 0, 255).astype(np.uint8)
    return image


def speck() -> np.ndarray:
    image = np.full((200, 200, 3), 255, np.uint8)
    image[:10, :10] = tissue()[60:70, 60:70]
    return image


@pytest.mark.parametrize(
    ("image", "flag"),
    [
        (np.full((32, 32, 3), 255, np.uint8), "no_tissue"),
        (np.full((32, 32, 3), 128, np.uint8), "no_tissue"),  # standardised to white
        (np.zeros((32, 32, 3), np.uint8), "single_colour"),
        (grey_noise(), "grey_atom"),
        (one_stain(), "small_separation"),
        (with_pen(), "grey_atom"),
        (speck(), "little_tissue"),
        (speck(), "unused_stain"),
    ],
)
def test_doubtful_fits_are_flagged_and_still_usable(image, flag):
    fit = fit_stain(image)
    assert flag in fit.flags
    assert np.isfinite(fit.stain_matrix).all() and np.isfinite(fit.max_concentrations).all()
    assert normalise(image, fit).shape == image.shape
    assert StainFit.from_dict(json.loads(json.dumps(fit.to_dict()))).to_dict() == fit.to_dict()


def test_patches_get_the_pixels_of_the_whole_section():
    image = tissue()
    fit = fit_stain(image)
    whole = normalise(image, fit)
    mapping = stain_map(fit)
    patches = np.stack([image[y : y + 20, x : x + 20] for y, x in [(0, 0), (31, 17), (76, 76)]])
    expected = np.stack([whole[y : y + 20, x : x + 20] for y, x in [(0, 0), (31, 17), (76, 76)]])
    np.testing.assert_array_equal(mapping(patches), expected)


def test_reference_is_two_unit_vectors_with_more_red_in_haematoxylin():
    reference = StainFit.reference()
    np.testing.assert_allclose(np.linalg.norm(reference.stain_matrix, axis=1), 1)
    assert reference.stain_matrix[0, 0] > reference.stain_matrix[1, 0]
    assert math.isclose(reference.separation_degrees, degrees_between(*reference.stain_matrix), abs_tol=1e-9)
    # Haematoxylin alone looks blue-violet, eosin alone pink.
    blue, pink = (
        255 * np.exp(-c * v)
        for c, v in zip(reference.max_concentrations, reference.stain_matrix, strict=True)
    )
    assert blue[2] > blue[0] > blue[1]
    assert pink[0] > pink[2] > pink[1]


def test_preview_averages_normalised_pixels():
    image = tissue(size=90)
    fit = fit_stain(image)
    picture = preview(image, fit, width=68)  # two halves of at most 30 and a gap of 8: factor 3
    assert picture.shape == (30, 68, 3)
    normal = normalise(image, fit)
    for half, source in ((picture[:, :30], image), (picture[:, 38:], normal)):
        expected = source.reshape(30, 3, 30, 3, 3).mean((1, 3))
        assert np.abs(half - expected).max() <= 0.51  # rounding
    assert (picture[:, 30:38] == 255).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (700, 3), (601, 1301)])
def test_preview_of_odd_shapes(shape):
    image = np.full((*shape, 3), 200, np.uint8)
    picture = preview(image, StainFit.reference())
    assert picture.shape[1] <= 1200 and min(picture.shape[:2]) >= 1


def test_stage_writes_numbers_and_preview(tmp_path):
    import imagecodecs

    image = tissue()
    (tmp_path / "image.png").write_bytes(imagecodecs.png_encode(image))
    write_stain(tmp_path / "image.png", tmp_path / "out" / "S1.json", tmp_path / "out" / "S1.png", "S1")
    assert json.loads((tmp_path / "out" / "S1.json").read_text())["section"] == "S1"
    assert read_stain(tmp_path / "out" / "S1.json").to_dict() == fit_stain(image).to_dict()
    assert read_image(tmp_path / "out" / "S1.png").shape == (96, 200, 3)


def test_a_truncated_image_leaves_no_output(tmp_path):
    import imagecodecs

    (tmp_path / "image.jpg").write_bytes(imagecodecs.jpeg_encode(tissue())[:-40])
    with pytest.raises(UserError, match=r"image\.jpg: the JPEG is truncated"):
        write_stain(tmp_path / "image.jpg", tmp_path / "out" / "S1.json", tmp_path / "out" / "S1.png", "S1")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no stain parameters"),
        ("{", "not a JSON document"),
        ("{}", "lack the key 'stain_matrix'"),
        ('{"stain_matrix": "x", "max_concentrations": [1, 1]}', "damaged"),
    ],
)
def test_unusable_parameters_are_one_sentence(text, message, tmp_path):
    path = tmp_path / "S1.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=rf"S1\.json: .*{message}"):
        read_stain(path)


def test_shape_of_parameters_is_checked():
    values = StainFit.reference().to_dict() | {"max_concentrations": [1.0]}
    with pytest.raises(UserError, match="must be 2 x 3"):
        StainFit.from_dict(values)


# -- StainTools' own fit --------------------------------------------------------------------------


@pytest.fixture
def found_by_staintools(monkeypatch):
    """What StainTools' extractors return, in order, and the images that they are given."""
    from staintools.stain_extraction.macenko_stain_extractor import MacenkoStainExtractor
    from staintools.stain_extraction.vahadane_stain_extractor import VahadaneStainExtractor

    seen = []
    for extractor in (MacenkoStainExtractor, VahadaneStainExtractor):
        own = extractor.get_stain_matrix

        def spy(image, *given, own=own, **more):
            matrix = own(image.copy(), *given, **more)
            seen.append((image.copy(), matrix))
            return matrix

        monkeypatch.setattr(extractor, "get_stain_matrix", staticmethod(spy))
    return seen


@pytest.mark.parametrize("method", ["vahadane", "macenko"])
def test_the_fit_of_staintools_is_its_own_and_no_pixel_differs_from_it(method, found_by_staintools):
    import staintools

    image = tissue(5, size=80)
    image[:3, :3] = 0
    source, target = fit_stain(image, f"{method}_staintools"), StainFit.reference()
    ((standard, matrix),) = found_by_staintools
    np.testing.assert_array_equal(standard, staintools.LuminosityStandardizer.standardize(image.copy()))
    np.testing.assert_array_equal(source.stain_matrix, matrix)
    assert source.method == f"{method}_staintools"
    assert math.isnan(source.objective)
    # from end to end through StainTools: it fits nothing anew, because its solver would end elsewhere
    expected = staintools_transform(image, matrix, target=target, method=method)
    assert (normalise(image, source, target) != expected).sum() == 0


def test_with_a_target_image_no_pixel_differs_from_staintools_normaliser(found_by_staintools):
    image, other = tissue(6, size=64), tissue(7, size=56)
    source, target = fit_stain(image, "vahadane_staintools"), fit_stain(other, "vahadane_staintools")
    expected = staintools_transform(image, found_by_staintools[0][1], other, target)
    assert (normalise(image, source, target) != expected).sum() == 0


def test_bands_of_a_slide_are_one_image_for_staintools(found_by_staintools):
    image = tissue(8, size=64)

    class Banded(ArraySlide):
        def bands(self, rows=512):
            return super().bands(rows=13)

    fit_stain(Banded(image), "macenko_staintools")
    fit_stain(image, "macenko_staintools")
    (first, one), (second, other) = found_by_staintools
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(one, other)


def test_glass_has_no_stain_to_ask_staintools_for(found_by_staintools):
    white = np.full((40, 40, 3), 250, np.uint8)
    fit = fit_stain(white, "vahadane_staintools")
    assert fit.flags == ("no_tissue",)
    assert not found_by_staintools
    np.testing.assert_array_equal(fit.stain_matrix, StainFit.reference().stain_matrix)


def test_without_staintools_one_sentence_says_what_to_install(monkeypatch):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "spams" else found(name, *more)
    )
    with pytest.raises(
        UserError, match=r"^stain vahadane_staintools .* spams cannot be imported; install .*spams-bin"
    ):
        fit_stain(tissue(), "vahadane_staintools")
    assert fit_stain(tissue(), "vahadane").method == "vahadane"  # nobody else needs it


def test_an_image_too_large_for_staintools_is_refused(monkeypatch):
    from histobench.imaging import staintools_fit

    monkeypatch.setattr(staintools_fit, "MOST_MEGAPIXELS", 0.001)
    with pytest.raises(UserError, match=r"0 megapixels .*`patches.fit: own`"):
        fit_stain(tissue(), "vahadane_staintools")


def test_unknown_stains_are_refused():
    for name in ("reinhard", "vahadane_spams", "raw", "reference_staintools"):
        with pytest.raises(ValueError, match="unknown stain method"):
            fit_stain(tissue(size=8), name)


def test_names_of_stains_say_method_and_fit():
    from histobench.imaging.stains import NORMALISED, split_name, stain_file, stain_name

    assert stain_name("raw") == "raw"
    assert [stain_name(*split_name(name)) for name in NORMALISED] == list(NORMALISED)
    assert len({stain_file(name, "A1") for name in NORMALISED}) == len(NORMALISED) == 4
    assert stain_file("vahadane", "A1") == "A1.json"


@pytest.mark.parametrize("method", ["vahadane", "macenko"])
@pytest.mark.parametrize("level", [0, 5])
def test_a_black_frame_takes_no_part_in_the_fit(method, level):
    """It is no tissue, but of all pixels the one with most stain: a frame of 4 % made the first vector grey."""
    image = tissue(3)
    framed = np.pad(image, ((2, 2), (2, 2), (0, 0)), constant_values=level)
    clean, found = fit_stain(image, method), fit_stain(framed, method)
    np.testing.assert_allclose(found.stain_matrix, clean.stain_matrix, atol=1e-6)
    np.testing.assert_allclose(found.max_concentrations, clean.max_concentrations, rtol=1e-6)
    assert found.flags == ("unscanned", *clean.flags)


def test_single_black_pixels_change_no_digit_of_what_is_fitted_with_them():
    image = tissue(3)
    image[50, 50:60] = 0  # a tenth of a per cent: dust and nuclei are of the picture
    assert "unscanned" not in fit_stain(image).flags
    assert "no_tissue" in fit_stain(np.full((20, 20, 3), 255, np.uint8)).flags
    assert "unscanned" not in fit_stain(np.zeros((20, 20, 3), np.uint8)).flags

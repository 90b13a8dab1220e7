"""Backbones by name, and frozen features of a section's patches."""

from __future__ import annotations

import hashlib
import inspect
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import models

from histobench.encoders.features import extract_features, write_features, write_section_features
from histobench.encoders.registry import torchvision_recipe
from histobench.errors import UserError
from histobench.filelists import write_list
from histobench.networks.architectures import TORCHVISION
from histobench.networks.backbones import (
    ARCHITECTURES,
    IMAGENET_MEAN,
    IMAGENET_SD,
    PixelNorm,
    count_parameters,
    make_backbone,
    seeded,
)
from histobench.results.catalogue import catalogue
from histobench.results.tables import read
from histobench.training.device import has_bfloat16

# Published sizes of torchvision's models with their 1,000-class layer, and the width before that layer.
PUBLISHED = {
    "densenet121": (7_978_856, 1024),
    "resnet18": (11_689_512, 512),
    "resnet50": (25_557_032, 2048),
    "resnet101": (44_549_160, 2048),
    "efficientnet_b0": (5_288_548, 1280),
    "efficientnet_b5": (30_389_784, 2048),
    "vit_b_16": (86_567_656, 768),
    "vit_b_32": (88_224_232, 768),
    "convnext_tiny": (28_589_128, 768),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_backbone_is_the_published_network_without_its_classifier(name: str) -> None:
    published, dimension = PUBLISHED[name]
    with torch.device("meta"):  # sizes only: no memory, no initialisation
        backbone = make_backbone(name)
    assert backbone.dimension == dimension
    assert count_parameters(backbone.module) == published - (dimension + 1) * 1000


def test_inception_loses_both_classifiers() -> None:
    with torch.device("meta"):
        backbone = make_backbone("inception_v3")
    # 27,161,264 with both; the auxiliary branch has 3,326,696 of them
    assert count_parameters(backbone.module) == 27_161_264 - 3_326_696 - 2049 * 1000
    assert backbone.dimension == 2048


@pytest.mark.parametrize("name", ["densenet121", "resnet18", "efficientnet_b0", "small_cnn"])
def test_features_have_the_announced_width_and_follow_the_seed(name: str) -> None:
    batch = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        outputs = []
        for seed in (1, 1, 2):
            backbone = make_backbone(name, seed=seed)
            outputs.append(backbone.module.eval()(batch))
    assert outputs[0].shape == (2, backbone.dimension)
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_building_a_network_leaves_the_callers_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    make_backbone("small_cnn", seed=9)
    assert torch.equal(torch.rand(3), expected)


def test_densenet_features_are_relu_and_average_of_its_last_map() -> None:
    torch.manual_seed(0)
    reference = models.densenet121(weights=None).eval()
    batch = torch.randn(1, 3, 64, 64)
    backbone = make_backbone("densenet121", seed=0)
    backbone.module.load_state_dict(
        {k: v for k, v in reference.state_dict().items() if not k.startswith("classifier")}
    )
    with torch.inference_mode():
        expected = reference.features(batch).relu().mean(dim=(2, 3))
        torch.testing.assert_close(backbone.module.eval()(batch), expected)


def test_wrong_names_are_refused_in_one_sentence() -> None:
    for options, word in [
        ({"architecture": "resnet19"}, "resnet18"),
        ({"architecture": "resnet18", "weights": "best"}, "imagenet or none"),
        ({"architecture": "small_cnn", "weights": "imagenet"}, "weights: none"),
        ({"architecture": "vit_b_16", "weights": "imagenet", "input_px": 112}, "input_px: 224"),
    ]:
        with pytest.raises(UserError, match=word):
            make_backbone(**options)
    assert len(set(ARCHITECTURES)) == len(ARCHITECTURES)


def test_pixels_are_scaled_before_they_are_normalised() -> None:
    norm = PixelNorm((0.5, 0.25, 0.0), (0.5, 0.25, 1.0))
    out = norm(torch.tensor([[0, 255, 51]], dtype=torch.uint8).reshape(1, 3, 1, 1))
    np.testing.assert_allclose(out.ravel(), [-1.0, 3.0, 0.2], rtol=1e-6)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    patches = np.random.default_rng(0).integers(0, 256, (7, 40, 40, 3), dtype=np.uint8)
    np.save(tmp_path / "patches.npy", patches)
    return tmp_path / "patches.npy"


def test_features_are_written_row_by_row(stored: Path) -> None:
    out = stored.parent / "features" / "s.npy"
    write_features(
        stored,
        out,
        encoder=torchvision_recipe("resnet18", pretrained=False),
        seed=4,
        device="cpu",
        batch_size=3,
        precision="float32",
    )
    features = np.load(out)
    assert features.shape == (7, 512) and features.dtype == np.float32
    backbone = make_backbone("resnet18", seed=4).module.eval()
    pixels = torch.from_numpy(np.load(stored)).permute(0, 3, 1, 2).float() / 255
    pixels = (pixels - torch.tensor(IMAGENET_MEAN).reshape(1, 3, 1, 1)) / torch.tensor(IMAGENET_SD).reshape(
        1, 3, 1, 1
    )
    with torch.inference_mode():
        expected = torch.cat([backbone(one[None]) for one in pixels]).numpy()
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4)


def test_features_of_a_window_see_the_centre_only(stored: Path) -> None:
    options: dict = {"encoder": torchvision_recipe("small_cnn", pretrained=False), "device": "cpu"}
    outs = [stored.parent / f"{i}.npy" for i in range(3)]
    write_features(stored, outs[0], window={"px": 20}, **options)
    write_features(stored, outs[1], window={"um": 40}, um_per_px=2.0, **options)
    np.testing.assert_array_equal(np.load(outs[0]), np.load(outs[1]))
    centre = np.load(stored)[:, 10:30, 10:30]
    direct = extract_features(centre, **options)
    np.testing.assert_array_equal(np.load(outs[0]), direct)


def test_what_describing_took_is_recorded_beside_the_features(stored: Path) -> None:
    """By the job itself, as the catalogue declares it; the network's parameters are counted."""
    folder = stored.parent
    np.save(folder / "more.npy", np.load(stored)[:4])
    write_list({"a": {"patches": stored}, "b": {"patches": folder / "more.npy"}}, folder / "patches.tsv")
    start = time.perf_counter()
    write_section_features(
        [folder / "patches.tsv"],
        [folder / "b.npy", folder / "a.npy"],
        sections=["b", "a"],
        output_list=folder / "list.tsv",
        output_cost=folder / "cost.tsv",
        encoder=torchvision_recipe("small_cnn", pretrained=False),
        device="cpu",
    )
    seconds = time.perf_counter() - start
    table = read(folder / "cost.tsv", catalogue()["encoder_cost"])
    assert table[["section", "n_spots"]].values.tolist() == [["b", 4], ["a", 7]]
    assert set(table["encoder"]) == {"small_cnn"} and set(table["start"]) == {"none"}
    assert (table["seconds"] > 0).all() and table["seconds"].sum() <= seconds
    counted = sum(each.numel() for each in make_backbone("small_cnn").module.parameters())
    assert set(table["parameters"]) == {counted} and counted > 1000
    assert set(table["dimension"]) == {np.load(folder / "a.npy").shape[1]}


def test_bfloat16_features_point_the_same_way(stored: Path) -> None:
    options: dict = {"encoder": torchvision_recipe("resnet18", pretrained=False)}
    exact = extract_features(np.load(stored), precision="float32", **options)
    fast = extract_features(np.load(stored), precision="bfloat16", **options)
    cosine = (exact * fast).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(fast, axis=1)
    assert cosine.min() > 0.999
    assert not np.array_equal(exact, fast)
    # left to itself, the device takes what it has instructions for
    chosen = extract_features(np.load(stored), **options)
    assert np.array_equal(chosen, fast if has_bfloat16(torch.device("cpu")) else exact)


def test_bad_patch_files_are_named_and_nothing_is_left(stored: Path) -> None:
    out = stored.parent / "out" / "s.npy"
    options: dict = {"encoder": torchvision_recipe("small_cnn", pretrained=False), "device": "cpu"}
    with pytest.raises(UserError, match=r"absent\.npy"):
        write_features(stored.parent / "absent.npy", out, **options)
    damaged = stored.parent / "damaged.npy"
    damaged.write_bytes(stored.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"damaged\.npy"):
        write_features(damaged, out, **options)
    with pytest.raises(UserError, match="50 px"):
        write_features(stored, out, window={"px": 50}, **options)
    assert not out.exists()


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A cache that holds a file as torchvision publishes it, under a name that its content deserves."""

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def publish(architecture, rename=lambda name: name, **options):
        with seeded(3):
            network = models.get_model(architecture, weights=None, **options)
        state = {rename(name): value for name, value in network.state_dict().items()}
        file = tmp_path / "checkpoints" / "new.pth"
        file.parent.mkdir(exist_ok=True)
        torch.save(state, file)
        digits = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
        name = f"{TORCHVISION[architecture].rpartition('-')[0]}-{digits}.pth"
        file.rename(file.with_name(name))
        monkeypatch.setitem(TORCHVISION, architecture, name)
        return network

    return publish


def test_the_files_are_those_that_torchvision_publishes():
    for architecture, file in TORCHVISION.items():
        url = models.get_model_weights(architecture)["IMAGENET1K_V1"].url
        assert url == f"https://download.pytorch.org/models/{file}"


def test_densenets_published_names_have_dots_and_are_loaded(published):
    """torchvision's own loader renames them; a plain load of the file fails."""
    from torchvision.models import densenet

    dotted = lambda name: re.sub(r"(denselayer\d+\.(?:norm|conv))([12]\.)", r"\1.\2", name)  # noqa: E731
    network = published("densenet121", dotted)
    assert "(?:norm|relu|conv)" in inspect.getsource(densenet._load_state_dict)  # as the library expects them
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    backbone = make_backbone("densenet121", weights="imagenet")
    network.classifier = torch.nn.Identity()
    with torch.inference_mode():
        expected, found = network.eval()(pixels), backbone.module.eval()(pixels)
    assert torch.equal(expected, found)


@pytest.mark.slow
def test_inceptions_published_weights_get_the_pixels_that_they_were_trained_on(published):
    network = published("inception_v3", init_weights=True, transform_input=True)
    network.fc = torch.nn.Identity()
    pixels = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network.eval()(pixels)
        found = make_backbone("inception_v3", weights="imagenet").module.eval()(pixels)
    assert torch.allclose(expected, found, atol=1e-6)

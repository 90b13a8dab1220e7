"""The training engine on a CUDA device: the results of the CPU, and a host that never waits within a step.

Run with ``pytest -m gpu`` where there is a device.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from histobench.training.augment import augment
from histobench.training.checkpoint import Checkpoint
from histobench.training.data import PatchSource
from histobench.training.device import arithmetic, on_device
from histobench.training.loop import Loop

pytestmark = pytest.mark.gpu

N, WIDTH = 40, 24
PATCHES = np.random.default_rng(0).integers(0, 256, (N, WIDTH, WIDTH, 3), dtype=np.uint8)
TARGETS = PATCHES.mean(axis=(1, 2))[:, :2].astype(np.float32) / 255


@pytest.fixture(scope="module")
def device() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device("cuda")


@pytest.mark.parametrize("resident", [True, False])
def test_batches_and_their_symmetries_are_those_of_the_cpu(device: torch.device, resident: bool) -> None:
    source = PatchSource([PATCHES[:15], PATCHES[15:]], device=device, resident=resident)
    rows = np.array([39, 0, 14, 15, 7, 7])
    batch = source.batch(rows)
    assert batch.device.type == device.type and batch.dtype == torch.uint8
    np.testing.assert_array_equal(batch.permute(0, 2, 3, 1).cpu().numpy(), PATCHES[rows])
    turned = augment(batch, np.random.default_rng(3))
    assert torch.equal(turned.cpu(), augment(batch.cpu(), np.random.default_rng(3)))


def test_patches_that_fit_are_kept_on_the_device(device: torch.device) -> None:
    assert PatchSource([PATCHES], device=device)._resident is not None


def make_loop(device: torch.device, *, checkpoint: Checkpoint | None = None, **changes) -> Loop:
    torch.manual_seed(5)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    )  # fmt: skip
    network = network.to(device, memory_format=torch.channels_last)
    source = PatchSource([PATCHES], device=device)
    targets = torch.from_numpy(TARGETS).to(device)

    def step(rows: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        pixels = augment(source.batch(rows), rng).float() / 255
        wanted = targets.index_select(0, on_device(rows, device))
        return ((network(pixels).float() - wanted) ** 2).sum(dim=1).mean()

    return Loop(
        network=network, optimiser=torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9), step=step,
        rows=np.arange(N), epochs=4, batch_size=8, seed=1, device=device, clip_norm=1.0,
        checkpoint=checkpoint or Checkpoint(None), **changes,
    )  # fmt: skip


def difference(one: nn.Module, other: nn.Module) -> float:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((a.detach().cpu() - b.detach().cpu()).abs().max()) for a, b in pairs)


@pytest.fixture
def exact():
    """No TF32, which rounds what convolutions multiply to ten bits."""
    with arithmetic("float32"):
        yield


def test_training_ends_with_the_weights_of_the_cpu(device: torch.device, exact: None) -> None:
    plain, ours = make_loop(torch.device("cpu")), make_loop(device)
    assert all(group["fused"] for group in ours.optimiser.param_groups)
    losses = [loop.run()[-1]["loss"] for loop in (plain, ours)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert difference(plain.network, ours.network) < 1e-3


def test_reduced_precision_learns_alike_and_keeps_weights_in_float32(device: torch.device) -> None:
    plain, reduced = make_loop(device), make_loop(device, autocast=True)
    losses = [loop.run()[-1]["loss"] for loop in (plain, reduced)]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)
    assert all(p.dtype == torch.float32 for p in reduced.network.parameters())
    assert 0 < difference(plain.network, reduced.network) < 0.05


@pytest.mark.parametrize("autocast", [False, True])
def test_the_host_never_waits_within_a_step(device: torch.device, autocast: bool) -> None:
    loop = make_loop(device, autocast=autocast)
    one_step, taken = loop._one_step, 0

    def watched(batch: np.ndarray, seed: int) -> None:
        nonlocal taken
        taken += 1
        # the first steps choose algorithms and make the optimiser's state
        torch.cuda.set_sync_debug_mode("error" if taken > 2 else "default")
        try:
            one_step(batch, seed)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    loop._one_step = watched  # type: ignore[method-assign]
    loop.run()
    assert taken == 20


def test_a_stopped_training_goes_on_from_its_checkpoint(device: torch.device, tmp_path, exact: None) -> None:
    whole = make_loop(device)
    whole.run()
    stopped = make_loop(device, checkpoint=Checkpoint(tmp_path, "loop", "this", every_seconds=0.0))
    step, taken = stopped.step, 0

    def failing(rows: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        nonlocal taken
        taken += 1
        if taken == 13:
            raise KeyboardInterrupt
        return step(rows, rng)

    stopped.step = failing
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    again = make_loop(device, checkpoint=Checkpoint(tmp_path, "loop", "this", every_seconds=0.0))
    again.run()
    assert difference(whole.network, again.network) < 1e-4

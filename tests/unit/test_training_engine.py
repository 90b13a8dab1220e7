"""The training engine: batches, augmentation, the loop, and a training that is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from histobench.errors import UserError
from histobench.imaging.patchview import PatchView
from histobench.training import checkpoint
from histobench.training.augment import apply_symmetry, augment, symmetries
from histobench.training.checkpoint import Checkpoint, fingerprint
from histobench.training.data import PatchSource, pixel_statistics, resize
from histobench.training.device import arithmetic, fuse_where_possible, pick_device
from histobench.training.loop import Loop

CPU = torch.device("cpu")


def patches(n: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, width, width, 3), dtype=np.uint8)


# -- batches ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("resident", [False, True])
def test_batches_number_the_spots_through_the_sections(resident: bool) -> None:
    first, second = patches(5, 12, 1), patches(4, 12, 2)
    source = PatchSource([first, PatchView(second, np.array([3, 1, 0]))], resident=resident)
    assert len(source) == 8
    both = np.concatenate([first, second[[3, 1, 0]]])
    rows = np.array([7, 0, 4, 5, 5, 2])
    batch = source.batch(rows)
    assert batch.dtype == torch.uint8
    np.testing.assert_array_equal(batch.permute(0, 2, 3, 1).numpy(), both[rows])


def test_sections_of_other_width_are_resized_to_one(tmp_path: Path) -> None:
    np.save(tmp_path / "wide.npy", patches(3, 20))
    wide = np.load(tmp_path / "wide.npy", mmap_mode="r")
    with pytest.raises(UserError, match="input_px"):
        PatchSource([patches(2, 16), wide])
    batch = PatchSource([patches(2, 16), wide], input_px=16).batch(np.array([4, 1]))
    assert batch.shape == (2, 3, 16, 16)
    np.testing.assert_array_equal(batch[1].permute(1, 2, 0).numpy(), patches(2, 16)[1])


def test_resizing_keeps_flat_colours_and_means() -> None:
    flat = torch.full((1, 3, 30, 30), 137, dtype=torch.uint8)
    assert (resize(flat, 14) == 137).all()
    noise = torch.from_numpy(patches(1, 64)).permute(0, 3, 1, 2)
    smaller = resize(noise, 32)
    assert smaller.float().mean() == pytest.approx(noise.float().mean(), abs=0.5)
    assert smaller.float().std() < 0.75 * noise.float().std()  # averaged, not picked: antialiased


def test_pixel_statistics_pool_all_pixels_of_all_batches() -> None:
    first, second = patches(5, 8, 1), patches(2, 8, 2) // 3
    batches = [torch.from_numpy(part).permute(0, 3, 1, 2) for part in (first, second)]
    pixels = np.concatenate([first, second]).reshape(-1, 3) / 255.0
    mean, sd = pixel_statistics(batches)
    np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(sd, pixels.std(axis=0), rtol=1e-9)


def test_a_blank_slide_has_usable_pixel_statistics() -> None:
    _, sd = pixel_statistics([torch.full((2, 3, 4, 4), 255, dtype=torch.uint8)])
    assert sd == [1.0, 1.0, 1.0]


class Overseen:
    """Patches that note which thread reads them."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.readers = array, array.shape, []

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: object) -> np.ndarray:
        self.readers.append(threading.current_thread().name.partition("_")[0])
        return self.array[rows]


def test_an_announced_batch_is_read_by_another_thread_and_is_the_same() -> None:
    array = Overseen(patches(9, 10))
    source = PatchSource([array])
    rows, others = np.array([7, 0, 4]), np.array([1, 2])
    plain = source.batch(rows)
    assert set(array.readers) == {threading.current_thread().name}
    array.readers.clear()
    source.prefetch(rows)
    assert torch.equal(source.batch(rows), plain)
    assert set(array.readers) == {"patches"}
    # an announcement that nothing came of is forgotten
    source.prefetch(rows)
    np.testing.assert_array_equal(source.batch(others).permute(0, 2, 3, 1).numpy(), array.array[others])
    assert torch.equal(source.batch(rows), plain)


def test_what_fails_while_reading_ahead_fails_where_the_batch_is_used() -> None:
    source = PatchSource([patches(3, 10)])
    source.prefetch(np.array([1, 3]))
    with pytest.raises(IndexError):
        source.batch(np.array([1, 3]))


def test_patches_on_the_device_are_not_read_ahead() -> None:
    source = PatchSource([patches(3, 10)], resident=True)
    source.prefetch(np.array([1]))
    assert source._ahead is None


# -- augmentation -----------------------------------------------------------------------------------


def test_there_are_eight_different_symmetries_and_the_first_changes_nothing() -> None:
    image = torch.from_numpy(patches(1, 6)).permute(0, 3, 1, 2)
    views = list(symmetries(image))
    assert torch.equal(views[0], image)
    assert len({view.numpy().tobytes() for view in views}) == 8
    # the set is closed: turning any view gives another of them
    known = {view.numpy().tobytes() for view in views}
    for view in views:
        assert torch.rot90(view, 1, (-2, -1)).contiguous().numpy().tobytes() in known
        assert view.flip(-1).contiguous().numpy().tobytes() in known


def test_each_patch_gets_its_own_symmetry_uniformly() -> None:
    image = torch.from_numpy(patches(1, 6)).permute(0, 3, 1, 2)
    n = 8000
    batch = augment(image.expand(n, -1, -1, -1), np.random.default_rng(0))
    views = {view.numpy().tobytes(): code for code, view in enumerate(symmetries(image))}
    codes = [views[one.numpy().tobytes()] for one in batch.split(1)]
    counts = np.bincount(codes, minlength=8)
    # chi-squared with 7 degrees of freedom: 24.3 is the 99.9th percentile
    assert ((counts - n / 8) ** 2 / (n / 8)).sum() < 24.3


def test_augmentation_follows_its_generator() -> None:
    batch = torch.from_numpy(patches(16, 6)).permute(0, 3, 1, 2)
    one = augment(batch, np.random.default_rng(4))
    assert torch.equal(one, augment(batch, np.random.default_rng(4)))
    assert not torch.equal(one, augment(batch, np.random.default_rng(5)))
    codes = np.random.default_rng(4).integers(0, 8, 16)
    for row, code in enumerate(codes):
        assert torch.equal(one[row : row + 1], apply_symmetry(batch[row : row + 1], int(code)))


# -- the loop ---------------------------------------------------------------------------------------


class Net(nn.Module):
    """Everything that a resumed training must restore: batch statistics and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


X = torch.randn(45, 6, generator=torch.Generator().manual_seed(1))
Y = X[:, :2] * 2 + 1


class Killed(Exception):
    pass


def make_loop(folder: Path | None = None, die_at: int | None = None, **changes) -> Loop:
    torch.manual_seed(3)
    net = Net()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    taken = 0

    def step(batch: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        nonlocal taken
        taken += 1
        if taken == die_at:
            raise Killed
        noise = torch.from_numpy(rng.normal(0, 0.1, (len(batch), 6)).astype(np.float32))
        return functional.mse_loss(net(X[batch] + noise), Y[batch])

    def score(_: int) -> dict:
        with torch.inference_mode():
            return {"valid_mse": float(functional.mse_loss(net(X), Y))}

    settings: dict = {
        "network": net,
        "optimiser": optimiser,
        "scheduler": torch.optim.lr_scheduler.StepLR(optimiser, 2, 0.5),
        "step": step,
        "rows": np.arange(45),
        "epochs": 5,
        "batch_size": 8,
        "seed": 11,
        "device": CPU,
        "after_epoch": score,
        "checkpoint": Checkpoint(folder, "loop", "this", every_seconds=0.0),
        **changes,
    }
    return Loop(**settings)


def weights(loop: Loop) -> bytes:
    return b"".join(value.numpy().tobytes() for value in loop.network.state_dict().values())


def without_times(history: list[dict]) -> list[dict]:
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in history]


def test_training_learns_and_reports() -> None:
    history = make_loop(epochs=30).run()
    assert len(history) == 30
    assert history[-1]["valid_mse"] < 0.5 * history[0]["valid_mse"]
    assert history[0]["learning_rate"] == 0.05 and history[2]["learning_rate"] == 0.025
    assert all(row["images_per_second"] > 0 for row in history)


def test_two_runs_with_one_seed_are_bit_identical_and_another_seed_is_not() -> None:
    first, second, other = make_loop(), make_loop(), make_loop(seed=12)
    assert without_times(first.run()) == without_times(second.run())
    other.run()
    assert weights(first) == weights(second)
    assert weights(first) != weights(other)


def test_the_last_partial_batch_is_kept() -> None:
    seen: list[int] = []

    def step(batch: np.ndarray, _: np.random.Generator) -> torch.Tensor:
        seen.append(len(batch))
        return functional.mse_loss(loop.network(X[batch]), Y[batch])

    loop = make_loop(epochs=1)
    loop.step = step
    loop.run()
    assert seen == [8, 8, 8, 8, 8, 5]


def test_each_batch_but_the_first_of_an_epoch_is_announced_before_it_is_used() -> None:
    told: list[tuple[str, list[int]]] = []
    loop = make_loop(epochs=2, prefetch=lambda rows: told.append(("announced", rows.tolist())))
    inner = loop.step

    def step(batch: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        told.append(("used", batch.tolist()))
        return inner(batch, rng)

    loop.step = step
    loop.run()
    used = [rows for what, rows in told if what == "used"]
    assert [what for what, _ in told] == 2 * (["used", "announced"] * 5 + ["used"])
    assert [rows for what, rows in told if what == "announced"] == used[1:6] + used[7:12]


@pytest.mark.parametrize("summed", [False, True])
def test_loss_in_the_history_is_the_mean_per_spot(summed: bool) -> None:
    losses: list[float] = []

    def step(batch: np.ndarray, _: np.random.Generator) -> torch.Tensor:
        errors = ((loop.network(X[batch]) - Y[batch]) ** 2).mean(dim=1)
        losses.append(float(errors.detach().sum()))
        return errors.sum() if summed else errors.mean()

    loop = make_loop(epochs=1, summed_loss=summed)
    loop.step = step
    assert loop.run()[0]["loss"] == pytest.approx(sum(losses) / 45, rel=1e-5)


@pytest.mark.parametrize("die_at", [1, 2, 6, 7, 17, 30])
def test_a_stopped_training_ends_with_the_weights_of_an_unstopped_one(tmp_path: Path, die_at: int) -> None:
    whole = make_loop()
    expected = without_times(whole.run())
    with pytest.raises(Killed):
        make_loop(tmp_path, die_at=die_at).run()
    resumed = make_loop(tmp_path)
    torch.manual_seed(99)  # whatever the process did before must not matter
    assert without_times(resumed.run()) == expected
    assert weights(resumed) == weights(whole)


def test_saving_takes_one_part_in_a_hundred_of_a_training(tmp_path: Path, monkeypatch) -> None:
    now, save = [0.0], torch.save

    def slow(*given) -> None:
        now[0] += 5.0
        save(*given)

    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(checkpoint.torch, "save", slow)
    kept = Checkpoint(tmp_path, "loop", "this", every_seconds=60.0)
    saved = 0
    while now[0] < 5000.0:
        now[0] += 1.0
        if kept.due():
            kept.save({"step": saved})
            saved += 1
    assert saved == 10 and kept.load() == {"step": 9}  # after a minute, then every 500 seconds
    quick = Checkpoint(tmp_path, "other", "this", every_seconds=60.0)
    now[0] += 59.0
    assert not quick.due()
    now[0] += 1.0
    assert quick.due()


def test_a_finished_training_is_not_run_again(tmp_path: Path) -> None:
    first = make_loop(tmp_path)
    history = first.run()
    again = make_loop(tmp_path, die_at=1)  # would die at its first step
    assert again.run() == history
    assert weights(again) == weights(first)


def test_a_checkpoint_of_another_training_is_not_continued(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        make_loop(tmp_path, die_at=20).run()
    other = make_loop(checkpoint=Checkpoint(tmp_path, "loop", "another", 0.0))
    other.run()
    fresh = make_loop()
    fresh.run()
    assert weights(other) == weights(fresh)


def test_a_damaged_checkpoint_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "loop.pt").write_bytes(b"PK\x03\x04 not a checkpoint")
    loop, fresh = make_loop(tmp_path), make_loop()
    loop.run()
    fresh.run()
    assert weights(loop) == weights(fresh)


def test_best_epoch_is_kept_and_patience_ends_the_training() -> None:
    scores = iter([5.0, 3.0, 4.0, 6.0, 7.0, 1.0])
    states: list[bytes] = []

    def score(_: int) -> dict:
        states.append(weights(loop))
        return {"valid_mse": next(scores)}

    loop = make_loop(epochs=6, after_epoch=score, keep_best="valid_mse", patience=3)
    history = loop.run()
    assert len(history) == 5  # epochs 3, 4 and 5 did not improve on epoch 2
    assert loop.best_epoch == 2
    assert weights(loop) == states[1]


def test_early_stopping_survives_a_kill(tmp_path: Path) -> None:
    options: dict = {"epochs": 12, "keep_best": "valid_mse", "patience": 2}
    whole = make_loop(**options)
    expected = without_times(whole.run())
    with pytest.raises(Killed):
        make_loop(tmp_path, die_at=15, **options).run()
    resumed = make_loop(tmp_path, **options)
    assert without_times(resumed.run()) == expected
    assert weights(resumed) == weights(whole)
    assert resumed.best_epoch == whole.best_epoch


def test_a_diverging_training_says_so() -> None:
    def step(batch: np.ndarray, _: np.random.Generator) -> torch.Tensor:
        return functional.mse_loss(loop.network(X[batch]) * 1e30, Y[batch])

    loop = make_loop(epochs=3)
    loop.step = step
    with pytest.raises(UserError, match=r"epoch 1 .*lower the learning rate"):
        loop.run()


def test_the_gradient_is_clipped() -> None:
    def longest_step(clip: float | None) -> float:
        loop = make_loop(epochs=1, clip_norm=clip, scheduler=None)
        before = torch.cat([p.detach().reshape(-1).clone() for p in loop.network.parameters()])
        loop.optimiser = torch.optim.SGD(loop.network.parameters(), lr=1.0)
        loop.rows = np.arange(8)  # one step
        loop.run()
        after = torch.cat([p.detach().reshape(-1) for p in loop.network.parameters()])
        return float((after - before).norm())

    assert longest_step(0.01) == pytest.approx(0.01, rel=1e-3)
    assert longest_step(None) > 0.1


def test_fingerprints_tell_data_and_parameters_apart() -> None:
    data = np.arange(6.0)
    assert fingerprint(1, data) == fingerprint(1, data.copy())
    assert len({fingerprint(*p) for p in [(1, data), (2, data), (1, data + 1), (1, data.reshape(2, 3))]}) == 4


def test_a_missing_gpu_is_said_in_one_sentence() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UserError, match="no CUDA device"):
        pick_device("cuda")
    assert pick_device("auto").type == "cpu"
    with pytest.raises(UserError, match="'gpu7'"):
        pick_device("gpu7")


def _train(folder: Path, steps: Any) -> None:
    """Train in a process of its own, and count the steps of this life for who kills it."""
    torch.set_num_threads(1)
    folder.mkdir(exist_ok=True)
    loop = make_loop(folder / "kept", epochs=40)
    step = loop.step

    def counted(batch: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        steps.value += 1
        return step(batch, rng)

    loop.step = counted
    loop.run()
    (folder / "weights").write_bytes(weights(loop))


@pytest.mark.slow
def test_sigkill_at_random_moments_changes_nothing(tmp_path: Path) -> None:
    """A training process that is killed five times ends with the model of an undisturbed one."""
    forked = multiprocessing.get_context("fork")  # a fresh interpreter would import torch six times
    rng = np.random.default_rng(8)
    for _ in range(5):
        steps = forked.Value("i", 0, lock=False)
        process = forked.Process(target=_train, args=(tmp_path, steps))
        process.start()
        wanted = rng.integers(2, 40)  # of 240 in all
        while steps.value < wanted and process.is_alive():
            time.sleep(0.0005)
        time.sleep(rng.uniform(0, 0.005))  # somewhere in a step, or in saving what it did
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert (tmp_path / "kept" / "loop.pt").is_file() and not (tmp_path / "weights").exists()
    ends = []
    for folder in (tmp_path, tmp_path / "undisturbed"):
        process = forked.Process(target=_train, args=(folder, forked.Value("i", 0, lock=False)))
        process.start()
        process.join()
        assert process.exitcode == 0
        ends.append((folder / "weights").read_bytes())
    assert ends[0] == ends[1]


def test_symmetries_of_bytes_and_of_numbers_are_the_same() -> None:
    """On the CPU bytes take a path of their own; floats, and every GPU, take the other."""
    batch = torch.from_numpy(patches(64, 9)).permute(0, 3, 1, 2)
    for layout in (batch, batch.contiguous()):
        turned = augment(layout, np.random.default_rng(7))
        assert turned.dtype == torch.uint8
        assert torch.equal(turned.float(), augment(batch.float(), np.random.default_rng(7)))


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_a_fused_optimiser_takes_the_steps_of_a_plain_one(kind) -> None:
    """On GPUs the engine fuses; what can be said without one is that the update is the same."""

    def trained(fused: bool) -> torch.Tensor:
        torch.manual_seed(0)
        layer = nn.Linear(6, 2)
        optimiser = kind(layer.parameters(), lr=0.01, weight_decay=0.1)
        if fused:
            fuse_where_possible(optimiser, torch.device("cuda"))
            assert all(group["fused"] for group in optimiser.param_groups)
        for _ in range(5):
            optimiser.zero_grad()
            functional.mse_loss(layer(X), Y).backward()
            optimiser.step()
        return layer.weight.detach()

    assert torch.allclose(trained(True), trained(False), rtol=1e-5, atol=1e-7)


def test_on_a_cpu_nothing_is_fused() -> None:
    assert not any(group["fused"] for group in make_loop().optimiser.param_groups)


def test_bfloat16_autocast_learns_like_single_precision() -> None:
    """The same weights within what eight bits of mantissa leave, the loss and the weights themselves in float32."""
    exact, reduced = make_loop(epochs=20), make_loop(epochs=20, autocast=True)
    first, second = exact.run(), reduced.run()
    assert second[-1]["loss"] == pytest.approx(first[-1]["loss"], rel=0.1)
    assert all(p.dtype == torch.float32 for p in reduced.network.parameters())
    assert weights(exact) != weights(reduced)


def multiplied() -> tuple[str, ...]:
    """How torch multiplies in convolutions and in linear layers on a GPU."""
    return torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision


@pytest.mark.parametrize(("precision", "told"), [("float32", "ieee"), ("tf32", "tf32"), ("bf16", "tf32")])
def test_a_precision_is_that_of_convolutions_and_linear_layers_and_ends_with_its_block(
    precision: str, told: str
) -> None:
    before = multiplied()
    with pytest.raises(KeyError), arithmetic(precision):
        assert multiplied() == (told, told)
        raise KeyError
    assert multiplied() == before


def test_an_unknown_precision_is_one_sentence() -> None:
    with pytest.raises(UserError, match="precision 'half': choose float32, tf32, bf16"), arithmetic("half"):
        pass

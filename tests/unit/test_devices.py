"""Processes on each GPU, one or as many as are allowed. No GPU is needed: devices are names, and what is shared out are locks."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from histobench import devices
from histobench.errors import UserError

# Takes a device, says which, and keeps it until its input is closed.
HOLD = """\
import sys
sys.path.insert(0, {library!r})
from histobench.devices import claim_device
print(claim_device({folder!r}), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("named", "found"),
    [("0,1", ["0", "1"]), ("", []), ("-1", []), (" 2 , GPU-5a", ["2", "GPU-5a"]), ("1,-1,0", ["1"])],
)
def test_visible_devices_are_those_of_cuda(monkeypatch, named, found):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert devices.visible_devices() == found


def test_without_the_variable_the_driver_is_asked(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "_DRIVER", tmp_path)
    assert devices.visible_devices() == []
    for bus in ("0000:17:00.0", "0000:ca:00.0"):
        (tmp_path / bus).mkdir()
    assert devices.visible_devices() == ["0", "1"]


def test_there_is_nothing_to_choose_between_one_device_and_none(monkeypatch, tmp_path):
    for named, taken in (("", None), ("3", "3")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
        assert devices.claim_device(tmp_path) == taken
    assert not list(tmp_path.iterdir())  # what a cluster assigned is not locked


def start_holder(folder: Path, jobs_per_gpu: str | None = None) -> subprocess.Popen:
    code = HOLD.format(library=str(Path(devices.__file__).parents[1]), folder=str(folder))
    share = {} if jobs_per_gpu is None else {"HISTOBENCH_JOBS_PER_GPU": jobs_per_gpu}
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={"CUDA_VISIBLE_DEVICES": "4,7", **share},
    )  # fmt: skip


def test_a_device_has_one_process_and_is_free_when_that_ends_in_any_way(tmp_path):
    holders = [start_holder(tmp_path), start_holder(tmp_path)]
    taken = [holder.stdout.readline().strip() for holder in holders]
    assert sorted(taken) == ["4", "7"]
    waiting = start_holder(tmp_path)
    time.sleep(0.6)
    assert waiting.poll() is None
    holders[1].kill()
    assert waiting.stdout.readline().strip() == taken[1]
    for process in (holders[0], waiting):
        process.communicate()
    holders[1].communicate()


def test_devices_that_are_shared_are_filled_evenly_and_not_beyond(tmp_path):
    holders, taken = [], []
    for _ in range(4):
        holders.append(start_holder(tmp_path, "2"))
        taken.append(holders[-1].stdout.readline().strip())
    assert sorted(taken[:2]) == sorted(taken[2:]) == ["4", "7"]
    waiting = start_holder(tmp_path, "2")
    time.sleep(0.6)
    assert waiting.poll() is None
    for process in (*holders, waiting):
        process.communicate()
    assert waiting.returncode == 0


@pytest.mark.parametrize("said", ["0", "-1", "two", "", "1.5"])
def test_a_share_that_is_no_number_is_refused(monkeypatch, said):
    monkeypatch.setenv("HISTOBENCH_JOBS_PER_GPU", said)
    with pytest.raises(UserError, match=r"HISTOBENCH_JOBS_PER_GPU.*whole number"):
        devices.jobs_per_device()

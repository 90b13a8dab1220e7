"""What was damaged on a disk is never computed with: models are refused, checkpoints are passed over."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from histobench.errors import UserError
from histobench.files import SEAL, check_seal, seal, sha256
from histobench.training.checkpoint import Checkpoint, start_from
from histobench.training.entry import load_method
from histobench.training.store import load_arrays, read_weights, save_arrays, store_weights

RNG = np.random.default_rng(20)
TENSOR = torch.from_numpy(RNG.standard_normal(30_000).astype(np.float32))


def bit_flipped(content: bytes) -> bytes:
    place = int(RNG.integers(len(content)))
    changed = bytearray(content)
    changed[place] ^= 1 << int(RNG.integers(8))
    return bytes(changed)


def block_zeroed(content: bytes) -> bytes:
    place = int(RNG.integers(len(content) - 4096))
    return content[:place] + bytes(4096) + content[place + 4096 :]


def cut(content: bytes) -> bytes:
    return content[: int(RNG.integers(len(content)))]


def lengthened(content: bytes) -> bytes:
    return content + RNG.bytes(int(RNG.integers(1, 200)))


def noise(content: bytes) -> bytes:
    return RNG.bytes(int(RNG.integers(1, len(content))))


def bytes_exchanged(content: bytes) -> bytes:
    """Two blocks in each other's place: every byte is still there."""
    half = len(content) // 2
    return content[half : 2 * half] + content[:half] + content[2 * half :]


DAMAGE = [bit_flipped, block_zeroed, cut, lengthened, noise, bytes_exchanged]
damaged_in_every_way = pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)


def made_by_network(folder: Path) -> None:
    store_weights(folder, {"network": {"layer.weight": TENSOR}, "device": "cpu"})


def made_by_arrays(folder: Path) -> None:
    save_arrays(folder, values=TENSOR.numpy())


@damaged_in_every_way
@pytest.mark.parametrize(
    ("make", "load"), [(made_by_network, read_weights), (made_by_arrays, load_arrays)], ids=["torch", "numpy"]
)
def test_damaged_weights_are_one_sentence(tmp_path, make, load, damage):
    make(tmp_path)
    path = tmp_path / "weights.pt"
    content = path.read_bytes()
    load(tmp_path)
    for _ in range(25):
        path.write_bytes(damage(content))
        with pytest.raises(UserError, match="rule train_method") as caught:
            load(tmp_path)
        assert str(path) in str(caught.value)


@damaged_in_every_way
@pytest.mark.parametrize(
    ("make", "load"), [(made_by_network, read_weights), (made_by_arrays, load_arrays)], ids=["torch", "numpy"]
)
def test_damaged_weights_without_a_checksum_are_no_traceback(tmp_path, make, load, damage):
    """A file that came without its checksum is read as far as it can be: an error is a sentence all the same."""
    make(tmp_path)
    path = tmp_path / "weights.pt"
    content = path.read_bytes()
    (tmp_path / f"weights.pt{SEAL}").unlink()
    for _ in range(10):
        path.write_bytes(damage(content))
        try:
            load(tmp_path)
        except UserError as error:
            assert str(path) in str(error)


def test_a_damaged_checksum_is_found_like_a_damaged_model(tmp_path):
    made_by_arrays(tmp_path)
    beside = tmp_path / f"weights.pt{SEAL}"
    for content in (b"", b"\xff\xfe", beside.read_bytes()[1:], bit_flipped(beside.read_bytes()[:64])):
        beside.write_bytes(content)
        with pytest.raises(UserError, match="is damaged"):
            load_arrays(tmp_path)


def test_a_workflow_loads_no_model_without_its_checksum(tmp_path):
    """Here the checksum was lost on the way, as when only ``weights.pt`` is copied elsewhere."""
    save_arrays(tmp_path, mean=np.zeros(3))
    (tmp_path / f"weights.pt{SEAL}").unlink()
    with pytest.raises(UserError, match="cannot be verified"):
        load_method("histobench.methods.train_mean:TrainMean", {}, tmp_path)
    (tmp_path / "weights.pt").unlink()
    with pytest.raises(UserError, match=r"weights\.pt: is missing"):
        load_method("histobench.methods.train_mean:TrainMean", {}, tmp_path)


def test_a_training_does_not_start_from_damaged_weights(tmp_path):
    network = torch.nn.Sequential()
    store_weights(tmp_path, {"network": {}})
    (tmp_path / "weights.pt").write_bytes(bit_flipped((tmp_path / "weights.pt").read_bytes()))
    with pytest.raises(UserError, match="is damaged"):
        start_from(network, tmp_path / "weights.pt", ["A"], head="head")


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_the_checksum_is_what_the_systems_own_tool_reads(tmp_path):
    made_by_network(tmp_path)
    told = subprocess.run(
        ["sha256sum", "--check", "weights.pt.sha256"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "weights.pt: OK\n"
    check_seal(tmp_path / "weights.pt")
    assert seal(tmp_path / "weights.pt").read_text() == f"{sha256(tmp_path / 'weights.pt')}  weights.pt\n"


def test_equal_tensors_are_equal_bytes(tmp_path):
    """Whatever they are called, wherever they lie, whatever shares their memory."""
    whole = torch.arange(24.0)
    layer = torch.nn.Linear(4, 6)
    image = torch.rand(1, 3, 4, 4)
    one = {"part": whole[6:12], "grid": image, "network": layer.state_dict(), "names": ["a b", "c"]}
    other = {
        "part": whole[6:12].clone(),
        "grid": image.to(memory_format=torch.channels_last),
        "network": {
            "".join(list(name)): torch.nn.Parameter(v.clone()) for name, v in layer.state_dict().items()
        },
        "names": [" ".join(["a", "b"]), "c"],
    }
    store_weights(tmp_path / "one", one)
    store_weights(tmp_path / "two" / "deeper", other)
    assert sha256(tmp_path / "one/weights.pt") == sha256(tmp_path / "two/deeper/weights.pt")
    read = read_weights(tmp_path / "one")
    store_weights(tmp_path / "three", read)  # also after reading
    assert sha256(tmp_path / "one/weights.pt") == sha256(tmp_path / "three/weights.pt")
    assert torch.equal(read["part"], whole[6:12]) and torch.equal(read["grid"], image)
    assert (tmp_path / "one/weights.pt").stat().st_size < 6000


def test_equal_arrays_are_equal_bytes_in_another_process(tmp_path):
    code = (
        "import sys, numpy as np; from histobench.training.store import save_arrays\n"
        "save_arrays(sys.argv[1], mean=np.arange(5.0), names=np.array(['a', 'b']))\n"
    )
    for name in ("one", "two"):
        subprocess.run([sys.executable, "-c", code, tmp_path / name], check=True)
    assert sha256(tmp_path / "one/weights.pt") == sha256(tmp_path / "two/weights.pt")


def checkpoint(folder: Path) -> Checkpoint:
    return Checkpoint(folder, "loop", "this", every_seconds=0.0)


@damaged_in_every_way
def test_a_damaged_checkpoint_starts_the_training_anew(tmp_path, damage, caplog):
    checkpoint(tmp_path).save({"epoch": 3, "network": {"weight": TENSOR}})
    path = tmp_path / "loop.pt"
    content = path.read_bytes()
    found = checkpoint(tmp_path).load()
    assert found is not None and torch.equal(found["network"]["weight"], TENSOR)
    for _ in range(25):
        path.write_bytes(damage(content))
        caplog.clear()
        assert checkpoint(tmp_path).load() is None
        assert "training starts anew" in caplog.text and str(path) in caplog.text


@pytest.mark.parametrize(
    "stored", [[1, 2], {"identity": "this"}, {"identity": "this", "state": 7}, "text", {"state": {}}, None]
)
def test_a_checkpoint_that_holds_something_else_starts_the_training_anew(tmp_path, stored):
    """Once as another program would write it, once with a checksum that fits."""
    import hashlib

    path = tmp_path / "loop.pt"
    torch.save(stored, path)
    assert checkpoint(tmp_path).load() is None
    content = path.read_bytes()
    path.write_bytes(content + hashlib.sha256(content).hexdigest().encode() + b"\n")
    assert checkpoint(tmp_path).load() is None

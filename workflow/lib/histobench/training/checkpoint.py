"""Checkpoints of a training that may be killed at any moment."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any, BinaryIO, cast

import numpy as np
import torch

from histobench.files import atomic_path, read_json
from histobench.training.weights import read_state

log = logging.getLogger(__name__)

_DIGEST_BYTES = 65  # at the end of a checkpoint: 64 hexadecimal digits and a line end
_CHUNK = 1 << 20
_MOST = 0.01  # of the time of a training may go into its checkpoints


class _Hashing:
    """A stream to write to that knows the SHA-256 of all that went through it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self._stream.write(data)

    def flush(self) -> None:
        self._stream.flush()


def _intact(stream: BinaryIO) -> bool:
    """Whether a stream ends with the SHA-256 of all before it; it is left at its beginning."""
    left = stream.seek(0, os.SEEK_END) - _DIGEST_BYTES
    stream.seek(0)
    digest = hashlib.sha256()
    while left > 0:
        chunk = stream.read(min(left, _CHUNK))
        if not chunk:
            return False
        digest.update(chunk)
        left -= len(chunk)
    told = stream.read()
    stream.seek(0)
    return left == 0 and told == digest.hexdigest().encode() + b"\n"


def fingerprint(*parts: Any) -> str:
    """Return a hash of what a training depends on; arrays count with all their bytes."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update(repr(part).encode())
        digest.update(b"\x1f")
    return digest.hexdigest()


def start_from(
    network: torch.nn.Module, weights: Path | None, genes: Sequence[str], *, head: str, fresh: str = ""
) -> None:
    """Put the weights of another training of the same method into a network.

    Parameters
    ----------
    network
        Changed in place.
    weights
        The other training's ``weights.pt`` with its ``run.json``; None leaves the network as it is.
    genes
        What the network predicts.
    head
        Name of the layer with one row per gene. Rows are taken over by the name of the gene; a gene that the
        other training did not predict keeps its own start.
    fresh
        Name of a layer that always keeps its own start.
    """
    if weights is None:
        return
    stored = read_state(weights)["network"]
    place = {gene: row for row, gene in enumerate(read_json(weights.parent / "run.json")["genes"])}
    known = [row for row, gene in enumerate(genes) if gene in place]
    other = [place[genes[row]] for row in known]
    own = network.state_dict()
    for name, value in own.items():
        layer = name.split(".")[0]
        if layer == head:
            value[known] = stored[name][other].to(value.device)
        elif layer != fresh:
            value.copy_(stored[name])
    log.info("starting from %s, with the outputs of %d of %d genes", weights, len(known), len(genes))


class Checkpoint:
    """One file that holds the state of one training loop.

    A checkpoint of another training (other data, parameters, code) is not continued: its fingerprint
    differs and it is overwritten.

    Parameters
    ----------
    folder
        Where to keep it; None keeps nothing.
    name
        Name of the loop; a method that trains several networks keeps one file for each.
    identity
        Fingerprint of the training.
    every_seconds
        Least time between two checkpoints; 0 saves after every step. A checkpoint that took long, a gigabyte
        on a folder that many share, is followed by a longer time, so that saving takes one part in a hundred.
    """

    def __init__(
        self, folder: Path | None, name: str = "training", identity: str = "", every_seconds: float = 60.0
    ) -> None:
        self.path = None if folder is None else Path(folder) / f"{name}.pt"
        self.identity = identity
        self.every_seconds = every_seconds
        self._last, self._took = time.monotonic(), 0.0

    def due(self) -> bool:
        """Whether it is time to save again."""
        if self.path is None:
            return False
        wait = max(self.every_seconds, self._took * (1 / _MOST - 1)) if self.every_seconds else 0.0
        return time.monotonic() - self._last >= wait

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint; a kill while writing leaves the previous one."""
        if self.path is None:
            return
        began = time.monotonic()
        with atomic_path(self.path) as temporary, temporary.open("wb") as stream:
            # in the file and not beside it: two files would not be replaced at one moment
            hashing = _Hashing(stream)
            torch.save({"identity": self.identity, "state": state}, cast("IO[bytes]", hashing))
            stream.write(hashing.digest.hexdigest().encode() + b"\n")
        self._last = time.monotonic()
        self._took = self._last - began

    def load(self) -> dict[str, Any] | None:
        """Return the saved state with tensors on the CPU, or None if there is nothing to continue."""
        if self.path is None or not self.path.is_file():
            return None
        try:
            with self.path.open("rb") as stream:
                if not _intact(stream):
                    log.warning("%s is damaged; training starts anew", self.path)
                    return None
                stored = torch.load(stream, map_location="cpu", weights_only=True)
            identity, state = stored["identity"], dict(stored["state"])
        except (OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, UnpicklingError) as e:
            log.warning("%s cannot be read (%s); training starts anew", self.path, type(e).__name__)
            return None
        if identity != self.identity:
            log.info("%s belongs to another training; training starts anew", self.path)
            return None
        return state

"""Scripts that begin where others still import: a process that has imported packages forks for each of them.

A third of the processor time of a run of small jobs is the import of the same packages in each. Imported
ahead are packages alone: a script reads this library from its files when it begins, as it does without.

This file is also the program of the process that forks. It knows none of the library, and imports before it
forks only the packages that it is told: it has one thread, holds no file of a script and has seen no GPU.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import re
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

_SWITCH = "HISTOBENCH_FORK"  # set to 0, every script imports by itself
_MESSAGE = 1 << 20  # bytes, of a request at most

# What jobs import anyway: those with a network, those of some scripts, and all others.
_OTHERS = ("numpy", "pandas", "anndata", "scipy.sparse", "numba", "imagecodecs", "cv2")
_NETWORKS = (*_OTHERS, "scipy.stats", "torch", "torchvision")
_OF_SCRIPTS = {
    **dict.fromkeys(
        ("train_method", "score_method"), (*_OTHERS, "scipy.stats", "sklearn.ensemble", "sklearn.manifold")
    ),
    "draw_figures": (*_OTHERS, "scipy.stats", "matplotlib.figure", "seaborn", "statsmodels.api"),
}


class Running:
    """A script that runs, as :class:`subprocess.Popen` would show it.

    Attributes
    ----------
    pid
        Its process.
    returncode
        None until :meth:`wait` has returned; the number of a signal that ended it, negative.
    """

    stdout = None

    def __init__(self, pid: int, told: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._told = told

    def wait(self) -> int:
        """Wait for its end and return its exit status."""
        if self.returncode is None:
            with contextlib.closing(self._told):
                end = self._told.recv(_MESSAGE)
            # nothing is said where the process that forks was killed, and its scripts with it
            self.returncode = json.loads(end)["status"] if end else -signal.SIGKILL
        return self.returncode

    def terminate(self) -> None:
        """Ask it to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Starter:
    """A process that has imported some packages, and starts scripts; it ends with the one that made it.

    Parameters
    ----------
    packages
        What it imports, in this order; what is not installed is passed over.
    environment
        Variables that packages read when they are imported, such as OMP_NUM_THREADS.
    """

    def __init__(self, packages: Sequence[str], environment: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno()), *packages],
                env=dict(environment),
                pass_fds=[theirs.fileno()],
            )

    def close(self) -> None:
        """End it, and what it has started."""
        self._requests.close()
        self._process.wait()

    def start(self, script: str, environment: Mapping[str, str]) -> Running | None:
        """Start a Python script in this process's folder; returns once it runs, or None where it cannot be.

        Parameters
        ----------
        script
            Its path.
        environment
            All variables that it is to see.
        """
        request = json.dumps({"script": script, "folder": str(Path.cwd()), "environment": dict(environment)})
        told, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs, self._lock:
                socket.send_fds(self._requests, [request.encode()], [theirs.fileno()])
            began = told.recv(_MESSAGE)  # empty where the other side has ended
        except OSError:  # it has ended, or the request is too long
            began = b""
        if not began:
            told.close()
            return None
        return Running(json.loads(began)["pid"], told)


class Starters:
    """The starters of a run, each made when the first of its scripts is to begin; they end with the run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[tuple[tuple[str, ...], str], Starter] = {}
        atexit.register(self.close)

    def close(self) -> None:
        """End them all."""
        for starter in self._made.values():
            starter.close()
        self._made.clear()

    def popen(self, command: str, environment: Mapping[str, str], network: bool = False) -> Running | None:
        """Start what a command of the shell starts, if that is a script of Python and nothing else.

        Parameters
        ----------
        command
            What :class:`subprocess.Popen` would be given. The path of the script ends with its name in the
            workflow: ``/x/tmp1a2b.train_method.py``.
        environment
            All variables that it is to see. Those of another number of threads begin elsewhere: libraries of
            linear algebra read it when they are imported.
        network
            Whether it computes with a network.

        Returns
        -------
        Running or None
            None where the command has to be started as ever.
        """
        found = re.fullmatch(rf"set -euo pipefail;\s+{re.escape(sys.executable)}\s+(\S+)\s*", command)
        if not found or sys.platform != "linux" or environment.get(_SWITCH) == "0":
            return None
        script = shlex.split(found[1])[0]
        name = script.removesuffix(".py").rpartition(".")[2]
        packages = _NETWORKS if network else _OF_SCRIPTS.get(name, _OTHERS)
        key = packages, environment.get("OMP_NUM_THREADS", "")
        with self._lock:
            if key not in self._made:
                self._made[key] = Starter(packages, environment)
        return self._made[key].start(script, environment)


def _serve(requests: socket.socket) -> str:
    """Fork for every request; returns in each of the forks, with the path of the script that it is to run."""
    own = os.getpid()
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    os.set_blocking(woken, False)

    def nothing(number: int, frame: FrameType | None) -> None:
        """Be there, as a signal that is ignored wakes nobody."""

    before = {number: signal.signal(number, nothing) for number in (signal.SIGCHLD, signal.SIGINT)}
    signal.set_wakeup_fd(wakes)
    running: dict[int, socket.socket] = {}
    sources: list[socket.socket | int] = [requests, woken]
    while True:
        ready = select.select(sources, [], [])[0]
        if woken in ready:
            os.read(woken, 4096)
        for pid in list(running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                with running.pop(pid) as told, contextlib.suppress(OSError):
                    told.send(json.dumps({"status": os.waitstatus_to_exitcode(status)}).encode())
        if requests not in ready:
            continue
        message, handed, _, _ = socket.recv_fds(requests, _MESSAGE, 1)
        if not message:  # the run has ended; nobody waits for what is left of it
            for pid in running:
                os.kill(pid, signal.SIGKILL)
            os._exit(0)
        told = socket.socket(fileno=handed[0])
        with warnings.catch_warnings():
            # Python 3.12 warns of threads: those of linear algebra, which end before a fork
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid:
            running[pid] = told
            with contextlib.suppress(OSError):
                told.send(json.dumps({"pid": pid}).encode())
            continue
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        for each in (requests, told, *running.values()):
            each.close()
        os.close(woken)
        os.close(wakes)
        _end_with(own)
        request = json.loads(message)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        return str(request["script"])


def _end_with(parent: int) -> None:
    """Let the system end this process with the one that forked it, whatever ends that."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


def _seed_again() -> None:
    """Draw what no seed fixes as a process of its own would: forks go on with the numbers of their parent."""
    for package in ("random", "numpy.random"):
        if package in sys.modules:
            sys.modules[package].seed()


def main() -> None:
    """Import packages and wait for scripts; ``python warm.py FD PACKAGE ...``."""
    requests = socket.socket(fileno=int(sys.argv[1]))
    del sys.path[0]  # the folder of the library, whose modules are no packages by themselves
    for package in sys.argv[2:]:
        with contextlib.suppress(ImportError):
            importlib.import_module(package)
    script = _serve(requests)
    _seed_again()
    sys.argv[:] = [script]
    sys.path.insert(0, str(Path(script).absolute().parent))
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()

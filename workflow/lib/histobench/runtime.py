"""What surrounds a run and every job of it: its folder of results, its log and environment, its mistakes."""

from __future__ import annotations

import atexit
import contextlib
import datetime
import fcntl
import json
import logging
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from histobench.errors import UserError
from histobench.files import remove_leftovers

LOCK = ".running"
"""File in a folder of results that the run that writes there holds locked, and that tells who it is."""


def begin_run(results: str | Path) -> IO[str] | None:
    """Claim a folder of results for this process and remove what killed runs left in it.

    Snakemake locks the folder that it runs in; two such folders may share their results by a link or a mount.
    The lock here lies in the results themselves and is the operating system's: it ends with the process,
    however that ends, so that nothing has to be unlocked after a kill. Over NFS it holds between machines
    unless the mount says ``nolock``; where a file system knows no locks, or nothing may be written, the run
    goes on without.

    Parameters
    ----------
    results
        The folder; it is made when missing.

    Returns
    -------
    typing.IO or None
        The locked file; it must stay open as long as the run lasts. None where there can be no lock.

    Raises
    ------
    UserError
        Another run holds the folder; says which.
    """
    results = Path(results)
    held = _claim(results)
    for path in remove_leftovers(results):
        logging.getLogger(__name__).info("%s: removed, its writer was killed", path)
    return held


def _claim(results: Path) -> IO[str] | None:
    path = results / LOCK
    while True:
        try:
            results.mkdir(parents=True, exist_ok=True)
            stream = path.open("a+", encoding="utf-8")
        except OSError:  # what cannot be written is refused where it has to be
            return None
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = _holder(stream)
            stream.close()
            raise UserError(
                f"{results.absolute()}: another run is writing here ({who}); wait until it has ended, "
                "or stop it first."
            ) from None
        except OSError:  # a file system without locks
            stream.close()
            return None
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(stream.fileno()).st_ino:
                break
        stream.close()  # its holder ended between opening and locking, and took the name away: once more
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    stream.truncate(0)
    told = {"host": platform.node(), "pid": os.getpid(), "since": now, "folder": str(Path.cwd())}
    stream.write(json.dumps(told) + "\n")
    stream.flush()
    atexit.register(_release, path, stream, os.getpid())
    return stream


def _holder(stream: IO[str]) -> str:
    """Say in words who holds a lock, as far as it is written in the file."""
    stream.seek(0)
    try:
        told = json.load(stream)
        return f"process {told['pid']} on {told['host']} in {told['folder']}, since {told['since']}"
    except (ValueError, KeyError, TypeError):  # it is about to write it
        return "it has just begun"


def _release(path: Path, stream: IO[str], pid: int) -> None:
    """Take the lock's name away, then the lock; not in a child that leaves by the parent's exit."""
    if os.getpid() == pid:
        path.unlink(missing_ok=True)
        stream.close()


def prune_foreign_packages() -> None:
    """Forget packages that belong to another environment than this interpreter's.

    Snakemake appends its own ``site-packages`` to the path of a job that runs in a conda environment; a
    package missing there would silently come from the wrong place.
    """
    own = {Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()}
    sys.path[:] = [
        entry
        for entry in sys.path
        if "site-packages" not in entry or any(Path(entry).resolve().is_relative_to(home) for home in own)
    ]


def prefer_this_library() -> None:
    """Let jobs started from here import the library that this process imported.

    Snakemake appends its path to that of a job, so that a copy installed from another checkout would come
    first, and jobs would run other code than the one whose hash is recorded.
    """
    own = str(Path(__file__).resolve().parents[1])
    inherited = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    if own not in inherited[:1]:
        os.environ["PYTHONPATH"] = os.pathsep.join([own, *inherited])


@contextlib.contextmanager
def job_log(path: str | Path) -> Iterator[None]:
    """Send everything a job prints to its log file, also from C code and child processes.

    A :class:`UserError` ends the job with exit status 1 and its one sentence, in the log and on the
    terminal; no traceback, and no more at Ctrl-C. Any other exception is logged with its traceback and passed
    on.
    """
    prune_foreign_packages()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    terminal = os.dup(2)
    saved = os.dup(1)
    with path.open("w", encoding="utf-8") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        logging.basicConfig(
            stream=stream, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True
        )
        logging.info("python %s on %s", platform.python_version(), platform.platform())
        try:
            yield
        except UserError as error:
            stream.flush()
            logging.error("%s", error)
            os.write(terminal, f"\nError: {error}\n".encode())
            raise SystemExit(1) from None
        except KeyboardInterrupt:
            logging.error("the job was interrupted")
            raise SystemExit(130) from None  # what a shell says of Ctrl-C; no traceback on the terminal
        except Exception:
            logging.exception("the job failed")
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(saved, 1)
            os.dup2(terminal, 2)
            os.close(saved)
            os.close(terminal)

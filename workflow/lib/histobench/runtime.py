"""What surrounds every job: its log, its environment and how it reports a user's mistake."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from histobench.errors import UserError


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
    terminal; no traceback. Any other exception is logged with its traceback and passed on.
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

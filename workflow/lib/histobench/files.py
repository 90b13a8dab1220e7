"""Files that are either whole or absent: atomic writing, tables, JSON and checksums."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histobench.errors import UserError

if TYPE_CHECKING:
    import anndata
    import pandas as pd

# What the operating system says when a result cannot be stored, and what the user can do about it.
_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space and run again",
    errno.EDQUOT: "the disk quota is used up; free some space and run again",
    errno.EFBIG: "it would exceed the size limit for files (ulimit -f); raise the limit",
    errno.EACCES: "the folder is not writable; change its permissions or choose another --directory",
    errno.EPERM: "the folder is not writable; change its permissions or choose another --directory",
    errno.EROFS: "the file system is read-only; choose another --directory",
    errno.ENOTDIR: "a file stands where a folder is needed; move it away",
    errno.EEXIST: "a file stands where a folder is needed; move it away",
    errno.EISDIR: "a folder stands where a file is needed; move it away",
}


def explain_storage_error(error: OSError, path: Path) -> Exception:
    """Turn a storage error into one sentence; leave every other error as it is."""
    remedy = _REMEDIES.get(error.errno or 0)
    return UserError(f"{path}: cannot be written because {remedy}.") if remedy else error


def check_writable(paths: Iterable[str | Path]) -> None:
    """Refuse to begin where results could not be written.

    Parameters
    ----------
    paths
        Files to be made. Of each, the nearest folder that exists is looked at.

    Raises
    ------
    UserError
        That folder may not be written, or a file stands where a folder is needed.
    """
    seen: set[Path] = set()
    for path in map(Path, paths):
        folder = path.parent
        while folder not in seen and not os.path.lexists(folder):
            seen.add(folder)
            folder = folder.parent
        if folder in seen:
            continue
        seen.add(folder)
        if not folder.is_dir():
            raise explain_storage_error(OSError(errno.ENOTDIR, ""), folder)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise explain_storage_error(OSError(errno.EACCES, ""), folder)


def path_trouble(path: str) -> str:
    """Say why a user's path cannot be handed to the workflow engine, or nothing.

    The engine reads braces as placeholders, and knows no way to write one that is meant as such.
    """
    if any(sign in path for sign in "{}"):
        return (
            "has braces in its path, which the workflow reads as placeholders; rename the file or its folder"
        )
    if any(ord(sign) < 32 for sign in path):
        return "has a line break or another invisible sign in its path; rename the file"
    return ""


def look_alike(name: str, names: Iterable[str], *, zeros: bool = True) -> str | None:
    """Return another of the names that differs from one in its case, or in - against _, alone; None without.

    They are one thing to who wrote them, and as files one thing to some disks. Without ``zeros`` 01 is 1 too,
    as programs for tables write it.
    """

    def plain(written: str) -> str:
        written = written.casefold().replace("-", "_")
        return written if zeros else re.sub(r"(?<!\d)0+(?=\d)", "", written)

    meant = plain(name)
    return next((other for other in names if other != name and plain(other) == meant), None)


def check_scratch(needed: int = 1 << 20) -> None:
    """Refuse to begin where temporary files have no room: programs that need them end in obscure ways.

    Parameters
    ----------
    needed
        Bytes that must fit.

    Raises
    ------
    UserError
        They do not, or there is no folder for temporary files.
    """
    try:
        with tempfile.TemporaryFile() as stream:
            stream.write(bytes(needed))
            stream.flush()
    except OSError as error:
        folder = tempfile.tempdir or os.environ.get("TMPDIR", "/tmp")
        raise UserError(
            f"{folder}: temporary files cannot be written there ({error.strerror or error}); free some "
            "space, or set TMPDIR to another folder."
        ) from error


# Name of a temporary: `.STEM.writing-PLACE-PID-START.RANDOM.SUFFIX`, so that the next run knows whose it is.
_TEMPORARY = re.compile(r"\..*\.writing-([0-9a-f]{12})-(\d+)-(\d+)\.")
_STEM_BYTES = 120  # of 255 that a name may have
FOREIGN_AGE_S = 86_400.0
"""Age in seconds from which a temporary of another machine, whose processes are not seen, is left behind."""


def _place() -> str:
    """Name the machine since its last start, and the namespace: where a process number means something."""
    told = [platform.node()]
    with contextlib.suppress(OSError):  # absent where it is not Linux
        told.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())
        told.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("|".join(told).encode()).hexdigest()[:12]


def process_start(pid: int) -> int | None:
    """Return when a process of this machine began (clock ticks; 0 where unknown), or None if there is none.

    Process numbers are used again; number and start together are one process. A process that has ended, but
    that nobody has waited for, writes nothing any more and is none.
    """
    try:
        told = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
        return None if told[0] in ("Z", "X") else int(told[19])
    except (OSError, IndexError, ValueError):
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        return 0
    return 0


def _prefix(name: str) -> str:
    """Return how the temporary of a file begins that this process is about to write."""
    stem = os.fsencode(name)[:_STEM_BYTES].decode(errors="ignore")
    pid = os.getpid()
    return f".{stem}.writing-{_place()}-{pid}-{process_start(pid) or 0}."


def _left_behind(name: str, path: Path) -> bool:
    """Whether a file or folder is the temporary of a writer that is no more."""
    told = _TEMPORARY.match(name)
    if told is None:
        return False
    place, pid, start = told[1], int(told[2]), int(told[3])
    if place == _place():
        return process_start(pid) != start
    paths = [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]
    newest = max((file.lstat().st_mtime for file in paths), default=0.0)
    return time.time() - newest > FOREIGN_AGE_S


def remove_leftovers(folder: str | Path) -> list[Path]:
    """Remove what killed writers left below a folder: hidden temporaries of this module.

    The name of a temporary tells its writer. Of a writer on this machine it is known whether it still runs;
    of one elsewhere (a job of a cluster) the temporary must not have changed for :data:`FOREIGN_AGE_S`.
    Whatever is not named like a temporary stays, and so does what may not be removed.

    Returns
    -------
    list of pathlib.Path
        What was removed.
    """
    removed: list[Path] = []
    for where, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            if ".writing-" not in name:
                continue
            path = Path(where, name)
            try:
                if not _left_behind(name, path):
                    continue
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            except OSError:  # gone meanwhile, or somebody else's
                continue
            removed.append(path)
        folders[:] = [name for name in folders if not _TEMPORARY.match(name)]
    return removed


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that becomes ``path`` only if the block succeeds.

    Parameters
    ----------
    path
        Final place of the file. Its folder is made when missing; the temporary name keeps the suffix.

    Raises
    ------
    UserError
        The disk is full, or the folder cannot be written. Nothing is left behind.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=_prefix(path.stem), suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise explain_storage_error(error, path) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Like :func:`atomic_path` for a folder: it replaces ``path`` only if the block succeeds."""
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=_prefix(path.name), dir=path.parent))
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
    except OSError as error:
        raise explain_storage_error(error, path) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def write_table(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table without its index: TSV with a header (missing values empty) or Parquet, by suffix."""
    with atomic_path(path) as temporary:
        if Path(path).suffix == ".parquet":
            table.to_parquet(temporary, index=False)
        else:
            table.to_csv(temporary, sep="\t", index=False, lineterminator="\n")


class DamagedError(UserError, ValueError):
    """A stored result cannot be read; a ValueError too, for readers that know a better remedy."""


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Turn whatever a reader raises about the content of a stored result into one sentence.

    Libraries raise errors of many kinds for files that were cut off, emptied or changed; a file that is
    missing keeps its own.

    Raises
    ------
    DamagedError
        The content cannot be read.
    """
    try:
        yield
    except (FileNotFoundError, PermissionError, MemoryError, UserError):
        raise
    except Exception as error:
        raise DamagedError(
            f"{path}: is damaged or cut off ({type(error).__name__}); delete it and run again, so that it is "
            "made anew."
        ) from error


def read_table(path: str | Path, **options: Any) -> pd.DataFrame:
    """Read a table written by :func:`write_table`; ``options`` go to pandas.

    Only an empty field is missing: a gene, patient or section may be called "NA" or "nan".

    Raises
    ------
    UserError
        The table is damaged.
    """
    import pandas as pd

    with reading(path):
        if Path(path).suffix == ".parquet":
            return pd.read_parquet(path, **options)
        return pd.read_csv(path, sep="\t", **{"keep_default_na": False, "na_values": [""], **options})


def write_json(value: Any, path: str | Path) -> None:
    """Write a JSON document, indented and with sorted keys, so that equal content is equal bytes."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Read a JSON document; one that is damaged is a :class:`UserError`."""
    with reading(path):
        return json.loads(Path(path).read_text(encoding="utf-8"))


def read_results(path: str | Path) -> anndata.AnnData:
    """Read a prediction; one that is damaged is a :class:`UserError`."""
    import anndata

    with reading(path):
        return anndata.read_h5ad(path)


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


SEAL = ".sha256"
"""Suffix of the file beside a stored model that holds its checksum, as ``sha256sum --check`` reads it."""


def seal(path: str | Path) -> Path:
    """Write the SHA-256 of a file beside it, and return where."""
    path = Path(path)
    beside = path.with_name(path.name + SEAL)
    with atomic_path(beside) as temporary:
        temporary.write_text(f"{sha256(path)}  {path.name}\n", encoding="utf-8")
    return beside


def noted_checksum(path: str | Path) -> str:
    """Return the SHA-256 that :func:`seal` noted of a file, or that of its content where none is noted."""
    path = Path(path)
    beside = path.with_name(path.name + SEAL)
    told = beside.read_bytes().decode("ascii", "replace").split() if beside.is_file() else []
    return told[0] if told else sha256(path)


REMAKE = "delete its folder and run again, so that rule train_method makes the model anew"
"""What to do about a damaged model."""


def check_seal(path: str | Path, *, required: bool = True) -> None:
    """Refuse a stored model whose content is not what was sealed.

    Parameters
    ----------
    path
        A file that :func:`seal` was called for.
    required
        Whether a file without a seal is refused too.

    Raises
    ------
    UserError
        The file or its seal is missing, or they do not fit together.
    """
    path = Path(path)
    beside = path.with_name(path.name + SEAL)
    if not path.is_file():
        raise UserError(f"{path}: is missing; {REMAKE}.")
    if not beside.is_file():
        if required:
            raise UserError(
                f"{path}: cannot be verified, as its checksum {beside.name} is missing; {REMAKE}."
            )
        return
    told = beside.read_bytes().decode("ascii", "replace").split()
    if told[:1] != [sha256(path)]:
        raise UserError(
            f"{path}: is damaged, its content does not have the checksum in {beside.name}; {REMAKE}."
        )

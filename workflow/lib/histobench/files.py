"""Files that are either whole or absent: atomic writing, tables, JSON and checksums."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histobench.errors import UserError

if TYPE_CHECKING:
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
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
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
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
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


def read_table(path: str | Path, **options: Any) -> pd.DataFrame:
    """Read a table written by :func:`write_table`; ``options`` go to pandas.

    Only an empty field is missing: a gene, patient or section may be called "NA" or "nan".
    """
    import pandas as pd

    if Path(path).suffix == ".parquet":
        return pd.read_parquet(path, **options)
    return pd.read_csv(path, sep="\t", **{"keep_default_na": False, "na_values": [""], **options})


def write_json(value: Any, path: str | Path) -> None:
    """Write a JSON document, indented and with sorted keys, so that equal content is equal bytes."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Read a JSON document."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

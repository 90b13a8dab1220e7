"""Single files out of published archives: zip (also encrypted), tar, and gzip inside them."""

from __future__ import annotations

import difflib
import gzip
import shutil
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from histobench.cohorts.entry import load_entry
from histobench.errors import UserError
from histobench.files import atomic_path

SEPARATOR = "!/"
"""Separates an archive from a file in it, as in ``images.zip!/images/HE/A1.jpg``."""

Locator = Callable[[str, Sequence[str], Callable[[str], bytes]], str]
"""Finds the published name of a member, for archives whose names follow no rule.

Called with the member as the cohort's configuration names it, the names of all files in the archive, and a
function that reads one of them; returns one of those names.
"""

_ENCRYPTED = 0x1  # bit of a zip entry's flags


def split_member(file: str) -> tuple[str, str]:
    """Split ``archive!/member`` into its two paths; a plain file has the member ""."""
    archive, _, member = file.partition(SEPARATOR)
    return archive, member


def unpack_file(settings: Mapping[str, Any], archive: str | Path, output: str | Path) -> None:
    """Unpack one member of an archive; the workflow's entry.

    Parameters
    ----------
    settings
        ``member``, ``passwords`` and ``locate`` (entry string of a :data:`Locator`, or None).
    archive, output
        The verified archive, and where the member belongs.
    """
    locate = settings["locate"]
    unpack_member(
        archive,
        settings["member"],
        output,
        settings["passwords"],
        load_entry(locate, "locate") if locate else None,
    )


def unpack_member(
    archive: str | Path,
    member: str,
    destination: str | Path,
    passwords: Sequence[str] = (),
    locate: Locator | None = None,
) -> None:
    """Write one file of an archive to ``destination``; it appears whole or not at all.

    Parameters
    ----------
    archive
        A zip or tar file (tar also compressed), told by content.
    member
        Path inside the archive. Folders that wrap the whole archive may be left out, and so may the suffix
        ``.gz`` of a gzipped member, which is then unpacked too.
    passwords
        Tried in turn on an encrypted member (WinZip AES or the traditional scheme).
    locate
        Finds the published name behind ``member``.

    Raises
    ------
    UserError
        The archive is missing or damaged, the member is not in it or not unique, or no password fits.
    """
    archive = Path(archive)
    try:
        with open_archive(archive, passwords) as packed:
            wanted = locate(member, packed.names, packed.read) if locate else member
            name = _find(packed.names, wanted, archive)
            gunzip = name.endswith(".gz") and not member.endswith(".gz")
            with packed.open(name) as stream:
                source = gzip.GzipFile(fileobj=stream) if gunzip else stream
                with atomic_path(destination) as temporary, temporary.open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError) as error:
        raise UserError(
            f"{archive}: {member} cannot be unpacked because the archive is damaged ({error}); "
            "delete the archive and run again to fetch it anew."
        ) from error


class Archive(ABC):
    """An open archive: the names of its files, and their content."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.path = path
        self.names = names

    @abstractmethod
    def open(self, name: str) -> IO[bytes]:
        """Open one file by its full name."""

    def read(self, name: str) -> bytes:
        """Return one file whole; wrapping folders and ``.gz`` may be left out of its name."""
        with self.open(_find(self.names, name, self.path)) as stream:
            return stream.read()


class _Zip(Archive):
    def __init__(self, path: Path, packed: zipfile.ZipFile, passwords: Sequence[str]) -> None:
        super().__init__(path, [name for name in packed.namelist() if not name.endswith("/")])
        self._packed = packed
        self._passwords = passwords

    def open(self, name: str) -> IO[bytes]:
        if self._packed.getinfo(name).flag_bits & _ENCRYPTED:
            return self._decrypted(name)
        return self._packed.open(name)

    def _decrypted(self, name: str) -> IO[bytes]:
        """Open an encrypted file with the first password that fits."""
        import pyzipper  # the standard library knows no AES

        if not self._passwords:
            raise UserError(
                f"{self.path}: {name} is encrypted; give the published password in the configuration."
            )
        packed = pyzipper.AESZipFile(self.path)
        for password in self._passwords:
            try:
                stream: IO[bytes] = packed.open(name, pwd=password.encode())
            except RuntimeError:  # "Bad password"
                continue
            return stream
        raise UserError(
            f"{self.path}: none of the {len(self._passwords)} configured passwords opens {name}; "
            "correct them."
        )


class _Tar(Archive):
    def __init__(self, path: Path, packed: tarfile.TarFile) -> None:
        super().__init__(path, [entry.name for entry in packed if entry.isfile()])
        self._packed = packed

    def open(self, name: str) -> IO[bytes]:
        content = self._packed.extractfile(name)
        if content is None:
            raise tarfile.ReadError(f"{name} has no content")
        return content


@contextmanager
def open_archive(path: Path, passwords: Sequence[str] = ()) -> Iterator[Archive]:
    """Open a zip or tar archive, told by content."""
    if not path.is_file():
        raise UserError(f"{path}: no such archive; fetch it or correct the path.")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            yield _Zip(path, packed, passwords)
    elif tarfile.is_tarfile(path):
        with tarfile.open(path) as tar:
            yield _Tar(path, tar)
    else:
        raise UserError(
            f"{path}: is neither a zip nor a tar archive; delete it and run again to fetch it anew."
        )


def _find(names: Sequence[str], member: str, archive: Path) -> str:
    """Find the full name of a member, which may lack wrapping folders or a final ``.gz``."""
    for wanted in (member, f"{member}.gz"):
        if wanted in names:
            return wanted
        wrapped = [name for name in names if name.endswith(f"/{wanted}")]
        if len(wrapped) == 1:
            return wrapped[0]
        if wrapped:
            raise UserError(
                f"{archive}: {member} may mean {wrapped[0]} or {wrapped[1]}; give the path with its folders."
            )
    close = difflib.get_close_matches(member, names, n=1, cutoff=0.5)
    hint = f" (did you mean {close[0]}?)" if close else ""
    raise UserError(f"{archive}: holds no {member}{hint}; correct the path in the cohort's configuration.")

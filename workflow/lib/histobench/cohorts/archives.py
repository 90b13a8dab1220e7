"""Single files out of published archives: zip (also encrypted), tar, and gzip inside them."""

from __future__ import annotations

import difflib
import gzip
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from histobench.errors import UserError
from histobench.files import atomic_path

SEPARATOR = "!/"
"""Separates an archive from a file in it, as in ``images.zip!/images/HE/A1.jpg``."""

_ENCRYPTED = 0x1  # bit of a zip entry's flags


def split_member(file: str) -> tuple[str, str]:
    """Split ``archive!/member`` into its two paths; a plain file has the member ""."""
    archive, _, member = file.partition(SEPARATOR)
    return archive, member


def unpack_member(
    archive: str | Path, member: str, destination: str | Path, passwords: Sequence[str] = ()
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

    Raises
    ------
    UserError
        The archive is missing or damaged, the member is not in it or not unique, or no password fits.
    """
    archive = Path(archive)
    try:
        with _opened(archive, member, passwords) as (stream, name):
            gunzip = name.endswith(".gz") and not member.endswith(".gz")
            source = gzip.GzipFile(fileobj=stream) if gunzip else stream
            with atomic_path(destination) as temporary, temporary.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError) as error:
        raise UserError(
            f"{archive}: {member} cannot be unpacked because the archive is damaged ({error}); "
            "delete the archive and run again to fetch it anew."
        ) from error


@contextmanager
def _opened(archive: Path, member: str, passwords: Sequence[str]) -> Iterator[tuple[IO[bytes], str]]:
    """Open one member for reading; yield the stream and the member's full name."""
    if not archive.is_file():
        raise UserError(f"{archive}: no such archive; fetch it or correct the path.")
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            name = _find(packed.namelist(), member, archive)
            if not packed.getinfo(name).flag_bits & _ENCRYPTED:
                with packed.open(name) as stream:
                    yield stream, name
                return
        with _decrypted(archive, name, passwords) as stream:
            yield stream, name
        return
    if not tarfile.is_tarfile(archive):
        raise UserError(
            f"{archive}: is neither a zip nor a tar archive; delete it and run again to fetch it anew."
        )
    with tarfile.open(archive) as packed:
        name = _find([entry.name for entry in packed if entry.isfile()], member, archive)
        content = packed.extractfile(name)
        if content is None:
            raise tarfile.ReadError(f"{name} has no content")
        with content:
            yield content, name


@contextmanager
def _decrypted(archive: Path, name: str, passwords: Sequence[str]) -> Iterator[IO[bytes]]:
    """Open an encrypted zip member with the first password that fits."""
    import pyzipper  # the standard library knows no AES

    if not passwords:
        raise UserError(f"{archive}: {name} is encrypted; give the published password in the configuration.")
    with pyzipper.AESZipFile(archive) as packed:
        for password in passwords:
            try:
                stream = packed.open(name, pwd=password.encode())
            except RuntimeError:  # "Bad password"
                continue
            with stream:
                yield stream
            return
    raise UserError(
        f"{archive}: none of the {len(passwords)} configured passwords opens {name}; correct them."
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

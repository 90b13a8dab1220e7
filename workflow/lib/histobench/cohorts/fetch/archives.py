"""Single files out of published archives: zip (also encrypted), tar, and gzip inside them.

Archives carry checks of their own, but only at the end of what they check: of a member in a zip, of the whole
stream in a tar.gz or tar.xz. Both are read to their end, so that damage is noticed before anything is used.
"""

from __future__ import annotations

import difflib
import gzip
import hashlib
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
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
_CHUNK = 1 << 20
_GZIP_AT_MOST = 1100  # times smaller can a gzip file be than its content; deflate reaches 1032


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
    with open_archive(archive, passwords) as packed:
        wanted = locate(member, packed.names, packed.read) if locate else member
        name = _find(packed.names, wanted, archive)
        with atomic_path(destination) as temporary, temporary.open("wb") as target:
            room = shutil.disk_usage(temporary.parent).free
            if packed.size(name) > room:
                raise UserError(
                    f"{archive}: {name} is {packed.size(name) / 1e6:.0f} MB unpacked, but only "
                    f"{room / 1e6:.0f} MB are free in {Path(destination).parent}; free some space and run "
                    "again."
                )
            for chunk in packed.chunks(name, gunzip=name.endswith(".gz") and not member.endswith(".gz")):
                target.write(chunk)


@dataclass(frozen=True)
class Member:
    """One file of an archive: its unpacked size in bytes as the archive states it, and how to open it."""

    size: int
    open: Callable[[], IO[bytes]]


class Archive:
    """An open archive: the names of its files, and their content.

    What a Mac adds beside each file (``__MACOSX/``, ``._name``) is no file of the archive.

    Parameters
    ----------
    path
        Of the archive, for messages.
    members
        Files by name: usually one each, but archives can hold a name more than once.
    others
        Names of links, folders and devices.
    """

    def __init__(
        self, path: Path, members: Mapping[str, Sequence[Member]], others: Sequence[str] = ()
    ) -> None:
        self.path = path
        self._members = {name: copies for name, copies in members.items() if not _from_mac(name)}
        self._others = set(others)
        self.names = list(self._members)

    def size(self, name: str) -> int:
        """Return the stated size of a file in bytes."""
        return self._members[name][-1].size

    def chunks(self, name: str, *, gunzip: bool = False) -> Iterator[bytes]:
        """Yield the content of one file by its full name, to the end and its checks.

        Raises
        ------
        UserError
            The archive is damaged, cannot be read, or holds other things under the same name.
        """
        copies = self._members[name]
        if name in self._others or len({self._digest(copy, name) for copy in copies if len(copies) > 1}) > 1:
            raise UserError(
                f"{self.path}: holds {name} more than once, and not the same; ask the publisher which is "
                "meant, and name a folder with a right archive under mirrors in the configuration."
            )
        yield from self._content(copies[-1], name, gunzip)

    def _content(self, member: Member, name: str, gunzip: bool = False) -> Iterator[bytes]:
        with _sound(self.path, name):
            left = member.size * (_GZIP_AT_MOST if gunzip else 1)
            with member.open() as stream:
                source: IO[bytes] = gzip.GzipFile(fileobj=stream) if gunzip else stream  # type: ignore[assignment]
                while chunk := source.read(_CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        raise EOFError("it holds more than its directory says")
                    yield chunk
            if left and not gunzip:
                raise EOFError("it holds less than its directory says")

    def _digest(self, member: Member, name: str) -> bytes:
        digest = hashlib.sha256()
        for chunk in self._content(member, name):
            digest.update(chunk)
        return digest.digest()

    def read(self, name: str) -> bytes:
        """Return one file whole; wrapping folders and ``.gz`` may be left out of its name."""
        return b"".join(self.chunks(_find(self.names, name, self.path)))


def _from_mac(name: str) -> bool:
    path = PurePosixPath(name)
    return "__MACOSX" in path.parts or path.name.startswith("._")


@contextmanager
def _sound(archive: Path, member: str = "") -> Iterator[None]:
    """Turn whatever unpacking says of a damaged archive into one sentence.

    Zip, tar, gzip, bzip2, lzma and AES each have errors of their own, and broken lengths end in others still.
    What the operating system says (a full disk) is no damage.
    """
    what = f"{member} cannot be unpacked" if member else "its list of files cannot be read"
    try:
        yield
    except NotImplementedError as error:  # a compression or encryption that only other programs know
        raise UserError(
            f"{archive}: {what} ({error}); unpack the archive with another program, and pack its files anew "
            "as a plain zip or tar."
        ) from error
    except Exception as error:
        if isinstance(error, UserError | MemoryError) or (isinstance(error, OSError) and error.errno):
            raise
        reason = str(error) or type(error).__name__
        raise UserError(
            f"{archive}: {what} because the archive is damaged ({reason}); delete the archive and run again "
            "to fetch it anew."
        ) from error


def _zip_members(path: Path, packed: zipfile.ZipFile, passwords: Sequence[str]) -> dict[str, list[Member]]:
    members: dict[str, list[Member]] = {}

    def opener(entry: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
        if entry.flag_bits & _ENCRYPTED:
            return lambda: _decrypted(path, entry.filename, passwords)
        return lambda: packed.open(entry)

    for entry in packed.infolist():
        if not entry.is_dir():
            members.setdefault(entry.filename, []).append(Member(entry.file_size, opener(entry)))
    return members


def _decrypted(path: Path, name: str, passwords: Sequence[str]) -> IO[bytes]:
    """Open an encrypted file with the first password that fits."""
    import pyzipper  # the standard library knows no AES

    if not passwords:
        raise UserError(f"{path}: {name} is encrypted; give the published password in the configuration.")
    packed = pyzipper.AESZipFile(path)
    for password in passwords:
        try:
            stream: IO[bytes] = packed.open(name, pwd=password.encode())
        except RuntimeError as error:  # "Bad password"
            if isinstance(error, NotImplementedError):
                raise
            continue
        return stream
    raise UserError(f"{path}: none of the {len(passwords)} configured passwords opens {name}; correct them.")


def _tar_members(packed: tarfile.TarFile) -> tuple[dict[str, list[Member]], list[str]]:
    members: dict[str, list[Member]] = {}
    others: list[str] = []

    def opener(entry: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
        def content() -> IO[bytes]:
            stream = packed.extractfile(entry)  # by entry: a name may be that of a link as well
            if stream is None:
                raise tarfile.ReadError("it has no content")
            return stream

        return content

    for entry in packed:
        if entry.isfile():
            members.setdefault(entry.name, []).append(Member(entry.size, opener(entry)))
        else:
            others.append(entry.name)
    # The list ends with an empty block or the file; but also, without a word, with a block that is no header.
    assert packed.fileobj is not None
    packed.fileobj.seek(packed.offset)
    if packed.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError("the list of its files breaks off")
    # What packs the archive checks its content only at its very end.
    while packed.fileobj.read(_CHUNK):
        pass
    return members, others


@contextmanager
def open_archive(path: Path, passwords: Sequence[str] = ()) -> Iterator[Archive]:
    """Open a zip or tar archive, told by content."""
    if not path.is_file():
        raise UserError(f"{path}: no such archive; fetch it or correct the path.")
    if zipfile.is_zipfile(path):
        with _sound(path):
            packed = zipfile.ZipFile(path)
        with packed:
            yield Archive(path, _zip_members(path, packed, passwords))
        return
    with _sound(path):
        is_tar = tarfile.is_tarfile(path)
    if not is_tar:
        raise UserError(
            f"{path}: is neither a zip nor a tar archive; delete it and run again to fetch it anew."
        )
    with tarfile.open(path) as tar:
        with _sound(path):
            members, others = _tar_members(tar)
        yield Archive(path, members, others)


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

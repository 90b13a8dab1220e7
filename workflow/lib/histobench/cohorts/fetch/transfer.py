"""One file over HTTP: continued, retried, verified."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from histobench.cohorts.fetch.archives import open_archive
from histobench.cohorts.fetch.hub import authorisation, refusal
from histobench.cohorts.fetch.lock import UNKNOWN, agrees, checksum_of, split_checksum, told_number
from histobench.errors import UserError
from histobench.files import SEAL
from histobench.sniff import HEAD_BYTES, unexpected_content

if TYPE_CHECKING:
    import requests

    from histobench.cohorts.fetch.publishers import ListedFile

log = logging.getLogger(__name__)

_CHUNK = 1 << 16
_ROOM_EVERY = 1 << 26  # bytes between two looks at the free space
_RETRIED_STATUS = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Patience:
    """How long to wait and how often to try, per address; all times in seconds.

    Attempts are counted anew whenever more of the file has arrived than ever before, unless too slowly.

    Attributes
    ----------
    slowest_bytes_s, slow_s
        A server that sends fewer bytes a second over so many seconds is given up like one that sends nothing.
    most_bytes, spare_bytes
        A file of which nobody states the size may have so many bytes, and must leave so many free on disk.
    """

    connect_s: float = 15.0
    stall_s: float = 60.0
    attempts: int = 5
    backoff_s: float = 1.0
    longest_wait_s: float = 60.0
    report_every_s: float = 5.0
    slowest_bytes_s: float = 1000.0
    slow_s: float = 60.0
    most_bytes: int = 50 * 10**9
    spare_bytes: int = 10**9


@dataclass(frozen=True)
class Wanted:
    """What a file must be: ``checksum`` as in the data lock, ``size`` in bytes or None.

    ``members`` are the files that an archive must hold, where its publisher states theirs and not its own.
    """

    destination: Path
    checksum: str = UNKNOWN
    size: int | None = None
    members: tuple[ListedFile, ...] = ()

    @property
    def part(self) -> Path:
        """Where the file grows until it is whole and verified."""
        return self.destination.with_name(self.destination.name + ".part")

    @property
    def part_tag(self) -> Path:
        """Where the address and the version (ETag or date) of the partial file are noted."""
        return self.destination.with_name(self.destination.name + ".part.tag")

    @property
    def pieces(self) -> Path:
        """Where the files of an archive are kept until it can be packed."""
        return self.destination.with_name(self.destination.name + ".pieces")

    def discard_part(self) -> None:
        """Forget what was fetched so far."""
        self.part.unlink(missing_ok=True)
        self.part_tag.unlink(missing_ok=True)

    @property
    def record(self) -> Path:
        """Where the checksum of the first download is kept, where the lock does not know all of it."""
        return self.destination.with_name(self.destination.name + SEAL)

    @property
    def commit(self) -> Path:
        """Where it is kept of which commit the file was, if the lock names a branch of a repository."""
        return self.destination.with_name(self.destination.name + ".revision")


class Problem(Exception):
    """Why one place did not give the file.

    ``unreachable``: no answer at all; ``differs``: a wrong file; ``no_room``: it would fill the disk;
    ``remedy``: what helps, where the place itself says why it refuses.
    """

    def __init__(
        self,
        reason: str,
        *,
        unreachable: bool = False,
        differs: bool = False,
        no_room: bool = False,
        remedy: str = "",
    ) -> None:
        super().__init__(reason)
        self.unreachable = unreachable
        self.differs = differs
        self.no_room = no_room
        self.remedy = remedy

    def at(self, place: str) -> Problem:
        """Return the same problem with the place where it was met."""
        return Problem(
            f"{place}: {self}",
            unreachable=self.unreachable,
            differs=self.differs,
            no_room=self.no_room,
            remedy=self.remedy,
        )


class TryAgain(Problem):
    """A problem that may pass; ``wait_s``: what the server asked for, ``slow``: it sent next to nothing."""

    def __init__(
        self, reason: str, *, wait_s: float = 0.0, unreachable: bool = False, slow: bool = False
    ) -> None:
        super().__init__(reason, unreachable=unreachable)
        self.wait_s = wait_s
        self.slow = slow


def verify(path: Path, wanted: Wanted) -> None:
    """Raise a problem unless ``path`` holds what is wanted."""
    with path.open("rb") as stream:
        strange = unexpected_content(stream.read(HEAD_BYTES), wanted.destination.name)
    if strange:
        raise Problem(strange, differs=True)
    size = path.stat().st_size
    if wanted.size is not None and size != wanted.size:
        raise Problem(f"it has {size} bytes, expected {wanted.size}", differs=True)
    if wanted.members:
        _verify_members(path, wanted.members)
    kind, digits = split_checksum(wanted.checksum)
    if kind == UNKNOWN:
        return
    found = checksum_of(path, kind)
    if not agrees(found, wanted.checksum):
        found = found.removeprefix(f"{kind}:")
        raise Problem(f"its {kind} checksum is {found}, expected {digits}", differs=True)


def _verify_members(path: Path, members: Sequence[ListedFile]) -> None:
    """Raise a problem unless an archive holds exactly the listed files."""
    try:
        with open_archive(path) as packed:
            names = {PurePosixPath(name).name: name for name in packed.names}
            listed = {member.name for member in members}
            lacking, surplus = sorted(listed - set(names)), sorted(set(names) - listed)
            if lacking or surplus or len(names) < len(packed.names):
                what = f"lacks {lacking[0]}" if lacking else f"also holds {(surplus or ['a file twice'])[0]}"
                raise Problem(f"its publisher lists {len(listed)} files, but it {what}", differs=True)
            for member in members:
                digest, size = hashlib.sha256(), 0
                for chunk in packed.chunks(names[member.name]):
                    digest.update(chunk)
                    size += len(chunk)
                if size != member.size or digest.hexdigest() != member.sha256:
                    raise Problem(
                        f"its {member.name} has {size} bytes and the sha256 checksum {digest.hexdigest()}, "
                        f"expected {member.size} and {member.sha256}",
                        differs=True,
                    )
    except UserError as error:
        raise Problem(f"it is no intact archive ({error})", differs=True) from error


def assemble(session: requests.Session, wanted: Wanted, patience: Patience) -> None:
    """Fetch the files of an archive one by one, each verified, and pack them in ``wanted.part``.

    What has arrived stays in a folder beside it until all has, so that an interruption costs one file. The
    archive depends on the files only: in the order of their names, not compressed, without times.
    """
    wanted.pieces.mkdir(parents=True, exist_ok=True)
    needed = 2 * sum(member.size for member in wanted.members)
    free = shutil.disk_usage(wanted.pieces).free + sum(_size(path) for path in wanted.pieces.iterdir())
    if free < needed:
        raise Problem(f"it needs {needed / 1e6:.0f} MB, but only {free / 1e6:.0f} MB are free", no_room=True)
    members = sorted(wanted.members, key=lambda member: member.name)
    for number, member in enumerate(members, start=1):
        piece = Wanted(wanted.pieces / member.name, member.sha256, member.size)
        if _size(piece.destination) == member.size and checksum_of(piece.destination) == member.sha256:
            continue
        try:
            fetch(session, member.url, piece, patience)
        except Problem as problem:
            raise problem.at(member.name) from problem
        piece.part.replace(piece.destination)
        piece.discard_part()
        log.info("%s: file %d of %d, %s", wanted.destination.name, number, len(members), member.name)
    with zipfile.ZipFile(wanted.part, "w", zipfile.ZIP_STORED) as packed:
        for member in members:
            entry = zipfile.ZipInfo(member.name)  # without a time of its own: 1 January 1980
            with (
                (wanted.pieces / member.name).open("rb") as source,
                packed.open(entry, "w", force_zip64=True) as target,
            ):
                shutil.copyfileobj(source, target, _CHUNK)
    verify(wanted.part, wanted)
    shutil.rmtree(wanted.pieces)


def fetch(session: requests.Session, url: str, wanted: Wanted, patience: Patience) -> None:
    """Bring ``wanted.part`` to completion from one address, with retries; verified on return."""
    if not url.lower().startswith(("http://", "https://")):
        raise Problem("it is no http or https address")
    farthest = _size(wanted.part)
    failures = 0
    while True:
        try:
            resumed = _size(wanted.part) > 0
            _transfer(session, url, wanted, patience)
            try:
                verify(wanted.part, wanted)
            except Problem as problem:
                wanted.discard_part()
                if resumed:  # the beginning may have come from elsewhere: once more from scratch
                    raise TryAgain(f"after resuming, {problem}") from problem
                raise
            return
        except TryAgain as problem:
            reached = _size(wanted.part)
            failures = 1 if reached > farthest and not problem.slow else failures + 1
            farthest = max(farthest, reached)
            if failures >= patience.attempts:
                raise Problem(str(problem), unreachable=problem.unreachable) from problem
            wait = max(problem.wait_s, patience.backoff_s * 2 ** (failures - 1))
            wait = min(wait, patience.longest_wait_s)
            log.warning("%s: %s; trying again in %.1f s", url, problem, wait)
            time.sleep(wait)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _transfer(session: requests.Session, url: str, wanted: Wanted, patience: Patience) -> None:
    """Make one request that continues or restarts ``wanted.part``."""
    import requests
    import urllib3

    offset, headers = _continuation(url, wanted)
    if wanted.size is not None and offset == wanted.size:
        return  # whole, but not yet verified: an earlier run ended here
    answered = False
    try:
        with session.get(
            url,
            headers=headers,
            stream=True,
            timeout=(patience.connect_s, patience.stall_s),
            auth=authorisation(url),
        ) as answer:
            answered = True
            if refused := refusal(url, answer):
                raise Problem(refused[0], remedy=refused[1])
            start, total = _answered_range(answer, offset, wanted)
            _refuse_encoded(answer, wanted)
            validator = answer.headers.get("ETag", "") or answer.headers.get("Last-Modified", "")
            wanted.part_tag.write_text(f"{url}\n{validator}\n", encoding="utf-8")
            _store(answer, wanted, start, total, patience)
    except (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.MissingSchema,
        urllib3.exceptions.LocationParseError,
        UnicodeError,
    ) as error:
        raise Problem("it is, or leads to, no valid http or https address") from error
    except requests.exceptions.TooManyRedirects as error:
        raise Problem("it leads from address to address without end") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise TryAgain(_reason(error), unreachable=not answered) from error


def _continuation(url: str, wanted: Wanted) -> tuple[int, dict[str, str]]:
    """Say from which byte to continue ``wanted.part``, and the request headers for that.

    With a checksum, the verification at the end tells whether beginning and end belong together. Without
    one, a part is continued only at the address that it came from and only if that server confirms that
    the file is unchanged (``If-Range``).
    """
    offset = _size(wanted.part)
    headers = {"Range": f"bytes={offset}-"}
    if wanted.checksum == UNKNOWN and offset:
        tag = wanted.part_tag.read_text(encoding="utf-8") if wanted.part_tag.is_file() else ""
        origin, _, validator = tag.strip().partition("\n")
        if origin != url or not validator or validator.startswith("W/"):
            wanted.discard_part()
            return 0, {}
        headers["If-Range"] = validator
    if wanted.size is not None and offset > wanted.size:
        wanted.discard_part()
        return 0, {}
    return offset, headers if offset else {}


def _reason(error: Exception) -> str:
    """Say in a few words what went wrong on the network, without library internals."""
    text = repr(error)
    for sign, words in (
        ("NameResolution", "the server's name cannot be resolved"),
        ("ProxyError", "the proxy does not answer"),
        ("ReadTimeout", "the server stopped sending"),
        ("timed out", "the server does not answer in time"),
        ("SSLError", "the encrypted connection cannot be verified"),
        ("Connection refused", "the server refuses connections"),
        ("IncompleteRead", "the connection broke before the end of the file"),
        ("unreachable", "the network is unreachable"),
    ):
        if sign in text:
            return words
    return f"the connection failed ({type(error).__name__})"


def _refuse_encoded(answer: requests.Response, wanted: Wanted) -> None:
    """Refuse an answer that was compressed on its way: its bytes are not those of the file.

    Some servers say so of a file that is compressed itself, whose name tells.
    """
    encoding = answer.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity") or wanted.destination.suffix.lower() in (".gz", ".tgz", ".svgz", ".bgz"):
        return
    raise _drop(wanted, f"the server sends it compressed ({encoding}), though that was not asked for")


def _answered_range(answer: requests.Response, offset: int, wanted: Wanted) -> tuple[int, int | None]:
    """Check the status; return where the answer begins and the file's whole size, if told."""
    status = answer.status_code
    if status == 206:
        unit, _, rest = answer.headers.get("Content-Range", "").partition(" ")
        span, _, whole = rest.partition("/")
        if unit != "bytes" or span.partition("-")[0] != str(offset):
            wanted.discard_part()
            raise TryAgain("the server answered with another part of the file than was asked for")
        return offset, told_number(whole)
    if status == 200:  # from the beginning, whether or not a part was asked for
        return 0, told_number(answer.headers.get("Content-Length", ""))
    if status == 416:  # our part is longer than the file
        wanted.discard_part()
        raise TryAgain("the server does not have the part that was asked for")
    if status in _RETRIED_STATUS:
        asked = told_number(answer.headers.get("Retry-After", ""))
        raise TryAgain(f"the server answers with status {status}", wait_s=float(asked or 0))
    raise Problem(f"the server answers with status {status}")


def _store(
    answer: requests.Response, wanted: Wanted, start: int, total: int | None, patience: Patience
) -> None:
    """Append the answer to ``wanted.part`` from byte ``start``; refuse early what cannot be right."""
    expected = wanted.size if wanted.size is not None else total
    done, last = start, time.monotonic()
    began, first = last, start == 0
    limit = patience.most_bytes if expected is None else expected
    checked = done
    with wanted.part.open("r+b" if start else "wb") as stream:
        stream.seek(start)
        stream.truncate()
        for chunk in _pieces(answer, patience):
            if first:
                first = False
                _refuse_early(chunk, total, wanted)
            stream.write(chunk)
            done += len(chunk)
            if done > limit:
                what = "expected" if expected is not None else "accepted of a file without a stated size"
                raise _drop(wanted, f"it has more than the {limit} bytes {what}")
            if expected is None and done - checked >= _ROOM_EVERY:
                checked = done
                _leave_room(wanted, patience)
            if time.monotonic() - last >= patience.report_every_s:
                stream.flush()
                last = time.monotonic()
                _report(wanted, done, expected, (done - start) / (last - began))
        stream.flush()
        os.fsync(stream.fileno())
    if expected is not None and done < expected:
        raise TryAgain(f"the connection broke after {done} of {expected} bytes")
    _report(wanted, done, expected, (done - start) / max(time.monotonic() - began, 1e-3))


def _pieces(answer: requests.Response, patience: Patience) -> Iterator[bytes]:
    """Yield what the server sends as it comes; the first piece is long enough to tell the kind of file."""
    head: bytes | None = b""
    mark, received = time.monotonic(), 0
    # read1 returns what is there: with read, a server that sends byte by byte would be waited for unseen
    while chunk := answer.raw.read1(_CHUNK, decode_content=False):
        received += len(chunk)
        seconds = time.monotonic() - mark
        if seconds >= patience.slow_s:
            if received < patience.slowest_bytes_s * seconds:
                rate = f"{received / seconds:.0f} bytes a second"
                raise TryAgain(f"the server is too slow ({rate} over {seconds:.0f} s)", slow=True)
            mark, received = time.monotonic(), 0
        if head is not None:
            head += chunk
            if len(head) < HEAD_BYTES:
                continue
            chunk, head = head, None
        yield chunk
    if head:
        yield head


def _leave_room(wanted: Wanted, patience: Patience) -> None:
    """Stop before a file without a stated size fills the disk."""
    if shutil.disk_usage(wanted.part.parent).free < patience.spare_bytes:
        wanted.discard_part()
        raise Problem(
            f"it does not say how large it is, and fewer than {patience.spare_bytes / 1e6:.0f} MB are left",
            no_room=True,
        )


def _refuse_early(chunk: bytes, total: int | None, wanted: Wanted) -> None:
    """Look at the first bytes and the announced size before fetching the rest."""
    strange = unexpected_content(chunk, wanted.destination.name)
    if strange:
        raise _drop(wanted, strange)
    if wanted.size is not None and total is not None and total != wanted.size:
        raise _drop(wanted, f"it has {total} bytes, expected {wanted.size}")
    if total is not None:
        free = shutil.disk_usage(wanted.part.parent).free
        if free < total:
            raise Problem(
                f"it needs {total / 1e6:.0f} MB, but only {free / 1e6:.0f} MB are free", no_room=True
            )


def _drop(wanted: Wanted, reason: str) -> Problem:
    wanted.discard_part()
    return Problem(reason, differs=True)


def _report(wanted: Wanted, done: int, expected: int | None, rate: float) -> None:
    whole = f" of {expected / 1e6:.1f} MB ({done / expected:.0%})" if expected else " MB"
    log.info("%s: %.1f%s, %.1f MB/s", wanted.destination.name, done / 1e6, whole, rate / 1e6)

"""What publishers state about their files: size and checksum, asked of their interfaces for programs.

A download whose row of the data lock says "unknown" is compared with this before it is trusted, and
``histobench lock --refresh`` writes it into the lock. Every answer is looked at closely: these interfaces
also answer errors with status 200, send pages instead of JSON, and forward to another version of a record.
"""

from __future__ import annotations

import base64
import binascii
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from histobench.cohorts.fetch.hub import (
    HUB,
    at_endpoint,
    authorisation,
    endpoint,
    file_at,
    is_commit,
    refusal,
    without_token,
)
from histobench.cohorts.fetch.lock import (
    COLUMNS,
    PREFIX,
    STATED,
    UNKNOWN,
    LockedFile,
    agrees,
    load_lock,
    split_checksum,
    told_number,
)
from histobench.errors import UserError
from histobench.files import atomic_path

log = logging.getLogger(__name__)

BASES = {
    "zenodo": "https://zenodo.org",
    "mendeley": "https://data.mendeley.com",
    "gdc": "https://api.gdc.cancer.gov",
    "huggingface": HUB,
    "s3": r"https://(?:[^/]+\.)?s3[.-][^/]*amazonaws\.com",
}
"""Where each publisher is asked; that of S3 is an expression, as each bucket has an address of its own."""

_MENDELEY_ZIPS = r"https://prod-dcd-datasets-cache-zipfiles\.s3[^/]*/"
_RETRIED = {408, 425, 429, 500, 502, 503, 504}
_PAGES = 50  # of a long list of files


def is_asked(url: str) -> bool:
    """Whether somebody is known who states something of the file at an address."""
    return is_collection(url) or any(re.match(_base(base) + pattern, url) for base, pattern, _ in _KINDS)


def _owner(url: str) -> list[str]:
    """Return the last two parts of a server's name: one owner has the servers below."""
    return (urlsplit(url).hostname or "").split(".")[-2:]


def _base(name: str) -> str:
    return BASES[name] if name == "s3" else re.escape(_hub() if name == "huggingface" else BASES[name])


def _hub() -> str:
    """Return where the hub is asked; ``HF_ENDPOINT`` has the last word."""
    return endpoint() if endpoint() != HUB else BASES["huggingface"]


def is_collection(url: str) -> bool:
    """Whether an address is that of a list of files, which are fetched one by one, and of no file itself."""
    return bool(re.fullmatch(_collection(), url))


def _collection() -> str:
    return re.escape(BASES["mendeley"]) + r"/public-api/datasets/(\w+)(?:\?version=(\d+))?"


class Silence(Exception):
    """A publisher that should state something did not; says why."""


@contextmanager
def _as_expected(url: str) -> Iterator[None]:
    """Turn an answer that is built otherwise than is known here into silence."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise Silence(f"what is stated of {url} is not built as is known here") from error


@dataclass(frozen=True)
class Stated:
    """What a publisher says of a file; ``checksum`` as in the data lock, both may be missing."""

    size: int | None
    checksum: str
    who: str


@dataclass(frozen=True)
class ListedFile:
    """A file of a collection: where to get it, its size in bytes and its SHA-256."""

    name: str
    url: str
    size: int
    sha256: str


@dataclass
class Publishers:
    """The publishers, asked by their addresses; each answer is asked for once.

    Parameters
    ----------
    timeout_s
        To connect, and between two parts of an answer.
    attempts, longest_wait_s
        How often a busy publisher is asked, and how long is waited at its request.
    longest_answer_s, most_bytes
        How long an answer may take, and how large it may be.
    """

    timeout_s: tuple[float, float] = (5.0, 30.0)
    attempts: int = 3
    longest_wait_s: float = 10.0
    longest_answer_s: float = 300.0
    most_bytes: int = 100_000_000
    _answers: dict[str, Any] = field(default_factory=dict, repr=False)
    _next: dict[str, str] = field(default_factory=dict, repr=False)

    def commit(self, repository: str, revision: str) -> str:
        """Return the commit that a branch of a model on Hugging Face's hub has now.

        Raises
        ------
        Silence
            As in :meth:`states`.
        """
        address = f"{_hub()}/api/models/{repository}/revision/{quote(revision)}"
        commit = str(self.json(address, _has("sha"))["sha"])
        if not is_commit(commit):
            raise Silence(f"{address} states the commit {commit[:60]!r}, which is none")
        return commit

    def states(self, url: str) -> Stated | None:
        """Return what is stated of the file at an address; None where nobody is known to state anything.

        Raises
        ------
        Silence
            The publisher does not answer, or its answer does not hold what it should.
        """
        url = at_endpoint(url)
        for base, pattern, ask in _KINDS:
            if found := re.match(_base(base) + pattern, url):
                with _as_expected(url):
                    return ask(self, found)
        return None

    def files(self, url: str) -> tuple[ListedFile, ...] | None:
        """Return the files that an address delivers as one archive; None for any other address.

        Raises
        ------
        Silence
            As in :meth:`states`.
        """
        base = re.escape(BASES["mendeley"])
        found = (
            re.fullmatch(_collection(), url)
            or re.fullmatch(base + r"/public-api/zip/(\w+)/download/(\d+)", url)
            or re.fullmatch(_MENDELEY_ZIPS + r"(\w+)-(\d+)\.zip", url)
        )
        if not found:
            return None
        with _as_expected(url):
            return tuple(file for file, _ in _mendeley_files(self, found[1], found[2] or ""))

    def json(self, address: str, lacking: Callable[[Any], bool]) -> Any:
        """Return an answer in JSON; one that is ``lacking`` something is asked for again, then refused."""
        if address not in self._answers:
            try:
                self._answers[address] = self._ask(address, lacking)
            except Silence as silence:
                self._answers[address] = silence
        if isinstance(self._answers[address], Silence):
            raise self._answers[address]
        return self._answers[address]

    def _ask(self, address: str, lacking: Callable[[Any], bool]) -> Any:
        for attempt in range(1, self.attempts + 1):
            last = attempt == self.attempts
            answer = self._get("GET", address, last)
            if answer is None:
                continue
            try:
                content = answer.json()
            except ValueError:
                content = None
            if content is not None and not lacking(content):
                self._next[address] = answer.links.get("next", {}).get("url", "")
                return content
            if last:
                said = without_token(answer.text)[:80]
                what = "is no JSON" if content is None else "does not hold what it should"
                raise Silence(f"the answer of {address} {what} (it starts with {said!r})")
            time.sleep(min(0.5 * attempt, self.longest_wait_s))
        raise AssertionError("the last attempt returns or raises")

    def following(self, address: str) -> str:
        """Return the address of the next page of an answer; "" after the last one."""
        return self._next[address]

    def head(self, address: str) -> Mapping[str, str]:
        """Return the headers of an address without fetching it."""
        for attempt in range(1, self.attempts + 1):
            answer = self._get("HEAD", address, attempt == self.attempts, {"x-amz-checksum-mode": "ENABLED"})
            if answer is not None:
                headers: Mapping[str, str] = answer.headers
                return headers
        raise AssertionError("the last attempt returns or raises")

    def _get(self, method: str, address: str, last: bool, headers: Mapping[str, str] | None = None) -> Any:
        """Make one request; None if it should be made again."""
        import requests

        try:
            with requests.request(
                method,
                address,
                timeout=self.timeout_s,
                headers={"User-Agent": "histobench", "Accept-Encoding": "identity", **(headers or {})},
                allow_redirects=True,
                auth=authorisation(address),
                stream=True,
            ) as answer:
                self._read(answer, address)
        except (requests.RequestException, UnicodeError) as error:
            raise Silence(f"{address} does not answer ({type(error).__name__})") from error
        if answer.status_code in _RETRIED and not last:
            asked = told_number(answer.headers.get("Retry-After", ""))
            time.sleep(min(0.5 if asked is None else float(asked), self.longest_wait_s))
            return None
        if refused := refusal(address, answer):
            raise Silence(refused[0])
        if answer.status_code != 200:
            raise Silence(f"{address} answers with status {answer.status_code}")
        # headers are believed as they are; what stands in JSON is looked at
        if method == "HEAD" and _owner(answer.url) != _owner(address):
            raise Silence(f"{address} leads to {answer.url[:200]}, which is somebody else's")
        return answer

    def _read(self, answer: Any, address: str) -> None:
        """Fetch a body; one that has no end is given up."""
        body, until = bytearray(), time.monotonic() + self.longest_answer_s
        for chunk in answer.iter_content(1 << 16):
            body += chunk
            if len(body) > self.most_bytes or time.monotonic() > until:
                raise Silence(f"the answer of {address} has no end in sight")
        answer._content = bytes(body)  # what .json() and .text read


@dataclass
class Refreshed:
    """What a refresh of the lock found: lines about rows, and which of them contradict the lock."""

    told: list[str] = field(default_factory=list)
    contradictions: list[str] = field(default_factory=list)


def refresh_lock(path: str | Path, source: str, day: str, publishers: Publishers | None = None) -> Refreshed:
    """Ask the publishers what they state of a source's files, and write it into the data lock.

    Only "unknown" cells are filled, with the day in the last column; of a branch on Hugging Face's hub the
    address is then that of its commit. A cell that a publisher contradicts
    stays as it is: somebody has to find out who is right. All other rows stay the same to the byte.

    Parameters
    ----------
    path, source
        The data lock, and the rows of it.
    day
        To be written, as 2026-01-31.
    publishers
        Whom to ask; the usual ones if None.

    Raises
    ------
    UserError
        The lock has no such source, or is malformed.
    """
    path, publishers = Path(path), publishers or Publishers()
    lock = load_lock(path)
    sources = sorted({entry.source for entry in lock.values()})
    if source not in sources:
        raise UserError(f"{path}: has no source {source}; choose one of {', '.join(sources)}.")
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[0] = "\t".join((*COLUMNS, STATED))
    found = Refreshed()
    for number, line in enumerate(lines[1:], start=1):
        fields = [text.strip() for text in line.split("\t")]
        if fields[0] != source:
            continue
        entry = lock[source, fields[1]]
        entry = replace(entry, urls=tuple(_pinned(url, entry, publishers, found) for url in entry.urls))
        stated = _statement(entry, publishers, found)
        if stated is None:
            continue
        size = entry.size if entry.size is not None else stated.size
        known = split_checksum(entry.checksum)[0] not in (UNKNOWN, PREFIX)
        checksum = entry.checksum if known or stated.checksum == UNKNOWN else stated.checksum
        if (size, checksum) == (entry.size, entry.checksum):
            continue
        fields[2] = " ".join(entry.urls)
        fields[3], fields[4] = UNKNOWN if size is None else str(size), checksum
        lines[number] = "\t".join([*fields[: len(COLUMNS)], f"{stated.who}, {day}"])
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return found


def _pinned(url: str, entry: LockedFile, publishers: Publishers, found: Refreshed) -> str:
    """Return the address of a file at the commit that its branch has now, where it is one of the hub."""
    told = file_at(url)
    if told is None or is_commit(told["revision"]):
        return url
    try:
        commit = publishers.commit(told["repository"], told["revision"])
    except Silence as silence:
        found.told.append(f"{entry.file}: {silence}")
        return url
    return url.replace(f"/resolve/{told['revision']}/", f"/resolve/{commit}/", 1)


def _difference(entry: LockedFile, stated: Stated) -> str:
    """Say in what a statement contradicts the lock; "" where it does not, as with checksums of two kinds."""
    if None not in (entry.size, stated.size) and entry.size != stated.size:
        return f"size {stated.size}, but the lock says {entry.size}"
    if not agrees(stated.checksum, entry.checksum):
        return f"checksum {stated.checksum}, but the lock says {entry.checksum}"
    return ""


def _statement(entry: LockedFile, publishers: Publishers, found: Refreshed) -> Stated | None:
    """Ask for one row; says in ``found`` what was answered, and returns what may be written."""
    for url in entry.urls:
        try:
            members = publishers.files(url)
            stated = None if members else publishers.states(url)
        except Silence as silence:
            found.told.append(f"{entry.file}: {silence}")
            continue
        if members:
            size = sum(member.size for member in members)
            found.told.append(
                f"{entry.file}: its publisher states the sha256 of each of its {len(members)} files "
                f"({size} bytes), which are asked for and compared at every first download"
            )
            return None
        if stated is None:
            continue
        differing = _difference(entry, stated)
        if differing:
            found.contradictions.append(f"{entry.file}: {stated.who} states the {differing}")
            return None
        found.told.append(
            f"{entry.file}: {stated.who} states {stated.size} bytes and "
            f"{'no checksum of the whole' if stated.checksum == UNKNOWN else stated.checksum}"
        )
        return stated
    if not any(line.startswith(f"{entry.file}: ") for line in found.told):
        found.told.append(f"{entry.file}: nobody states anything of it")
    return None


def _size(value: Any, who: str) -> int:
    """Return a size in bytes, which some write as text."""
    size = None if isinstance(value, bool) else told_number(str(value))
    if not size:
        raise Silence(f"{who} states the size {str(value)[:40]!r}, which is no number of bytes")
    return size


def _checksum(text: Any, who: str) -> str:
    """Return a checksum as the data lock writes it."""
    checksum = str(text).strip().lower().removeprefix("sha256:")
    try:
        kind, _ = split_checksum(checksum)
    except ValueError:
        kind = UNKNOWN
    if kind == UNKNOWN:
        raise Silence(f"{who} states the checksum {str(text)[:80]!r}, which is none that is known here")
    return checksum


def _has(*keys: str) -> Callable[[Any], bool]:
    """Return a test for answers that lack one of ``keys``: an error that came with status 200."""
    return lambda answer: not isinstance(answer, dict) or any(key not in answer for key in keys)


def _zenodo(publishers: Publishers, found: re.Match[str]) -> Stated:
    """Look a file up in its record: ``files[]`` with key, size and checksum ``md5:...``."""
    record, name = found["record"], unquote(found["file"])
    who = f"Zenodo record {record}"
    answer = publishers.json(f"{BASES['zenodo']}/api/records/{record}", _has("files", "id"))
    if str(answer["id"]) != record:
        raise Silence(f"{who} stands for any version and leads to {answer['id']} today; lock that one")
    files = answer["files"]
    if isinstance(files, dict):  # as the newer of its two formats lists them
        files = list((files.get("entries") or {}).values())
    for entry in files if isinstance(files, list) else []:
        if isinstance(entry, dict) and entry.get("key") == name:
            return Stated(_size(entry.get("size"), who), _checksum(entry.get("checksum"), who), who)
    raise Silence(f"{who} lists no file {name}")


def _gdc(publishers: Publishers, found: re.Match[str]) -> Stated:
    """Ask the Genomic Data Commons for one file: ``data`` with md5sum and file_size."""
    who = "Genomic Data Commons"
    answer = publishers.json(
        f"{BASES['gdc']}/files/{found['id']}?fields=md5sum,file_size,file_name",
        lambda told: _has("data")(told) or _has("md5sum", "file_size")(told["data"]),
    )["data"]
    return Stated(_size(answer["file_size"], who), _checksum(f"md5:{answer['md5sum']}", who), who)


def _hugging_face(publishers: Publishers, found: re.Match[str]) -> Stated:
    """Find a file in the tree of a repository: size, and sha256 (large files) or git's name (small ones)."""
    kind, repository, revision = found["kind"] or "models/", found["repository"], found["revision"]
    path = unquote(found["file"])
    who = f"Hugging Face {found['kind'] or ''}{repository}"
    folder = "/".join(path.split("/")[:-1])
    address = f"{_hub()}/api/{kind}{repository}/tree/{revision}/{quote(folder)}".rstrip("/")
    for _ in range(_PAGES):
        entries = publishers.json(address, lambda told: not isinstance(told, list))
        for entry in entries:
            if isinstance(entry, dict) and entry.get("path") == path:
                large = entry.get("lfs")
                if isinstance(large, dict):
                    return Stated(_size(large.get("size"), who), _checksum(large.get("oid"), who), who)
                return Stated(_size(entry.get("size"), who), _checksum(f"git:{entry.get('oid')}", who), who)
        following = publishers.following(address)
        if not following:
            break
        address = following
    raise Silence(f"{who} lists no file {path}")


def _s3(publishers: Publishers, found: re.Match[str]) -> Stated:
    """Read the headers of an object: its length, and its checksum where they hold one of the whole content.

    The ETag is the MD5 unless the object was uploaded in parts (then it has a dash) or is encrypted with a
    key that the storage manages for its owner.
    """
    who = "S3"
    headers = {name.lower(): value for name, value in publishers.head(found[0]).items()}
    if "text/html" in headers.get("content-type", ""):
        raise Silence(f"{found[0]} answers with a page")
    size = _size(headers["content-length"], who) if "content-length" in headers else None
    whole = headers.get("x-amz-checksum-type", "FULL_OBJECT").upper() == "FULL_OBJECT"
    stated = headers.get("x-amz-checksum-sha256", "")
    if stated and whole and "-" not in stated:
        try:
            return Stated(size, _checksum(base64.b64decode(stated, validate=True).hex(), who), who)
        except binascii.Error as error:
            raise Silence(f"{who} states the checksum {stated[:80]!r}, which is not base64") from error
    encrypted = "kms" in headers.get("x-amz-server-side-encryption", "") or any(
        name.startswith("x-amz-server-side-encryption-customer") for name in headers
    )
    tag = headers.get("etag", "").strip('"').lower()
    plain = re.fullmatch("[0-9a-f]{32}", tag) and not encrypted
    return Stated(size, f"md5:{tag}" if plain else UNKNOWN, who)


def _mendeley_files(publishers: Publishers, dataset: str, version: str) -> list[tuple[ListedFile, str]]:
    """List the files of a dataset, each with its identifier.

    The answer holds ``files[]`` with filename, size and ``content_details`` (download_url, sha256_hash).
    """
    who = f"Mendeley Data {dataset}"
    answer = publishers.json(f"{BASES['mendeley']}/public-api/datasets/{dataset}", _has("files"))
    told = str(answer.get("version") or "")
    if version and told and told != version:
        raise Silence(f"{who} lists version {told}, but version {version} is wanted")
    files = answer["files"]
    if not isinstance(files, list) or not files:
        raise Silence(f"{who} lists no files")
    listed: list[tuple[ListedFile, str]] = []
    for entry in files:
        details = entry.get("content_details") if isinstance(entry, dict) else None
        if not isinstance(details, dict):
            raise Silence(f"{who} lists a file without details")
        name = str(entry.get("filename") or "")
        if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
            raise Silence(f"{who} lists a file called {name[:80]!r}, which is no plain name")
        checksum = _checksum(details.get("sha256_hash"), who)
        if split_checksum(checksum)[0] != "sha256":
            raise Silence(f"{who} states no sha256 of {name}")
        url = urljoin(BASES["mendeley"], str(details.get("download_url") or ""))
        size = entry.get("size", details.get("size"))
        listed.append((ListedFile(name, url, _size(size, who), checksum), str(entry.get("id") or "")))
    if len({file.name for file, _ in listed}) < len(listed):
        raise Silence(f"{who} lists two files of one name")
    return listed


def _mendeley(publishers: Publishers, found: re.Match[str]) -> Stated:
    """Look one file of a dataset up by its address."""
    who = f"Mendeley Data {found['dataset']}"
    for file, identifier in _mendeley_files(publishers, found["dataset"], ""):
        if file.url == found[0] or identifier == found["file"]:
            return Stated(file.size, file.sha256, who)
    raise Silence(f"{who} lists no file with this address")


_KINDS: Sequence[tuple[str, str, Callable[[Publishers, re.Match[str]], Stated]]] = (
    (
        "zenodo",
        r"/(?:api/)?records?/(?P<record>\d+)/files/(?P<file>[^?#]+?)(?:/content)?(?:[?#].*)?$",
        _zenodo,
    ),
    ("gdc", r"/data/(?P<id>[0-9A-Fa-f-]{36})(?:[?#].*)?$", _gdc),
    (
        "huggingface",
        r"/(?P<kind>datasets/|spaces/)?(?P<repository>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>[^?#]+)",
        _hugging_face,
    ),
    (
        "mendeley",
        r"/public-files/datasets/(?P<dataset>\w+)/files/(?P<file>[^/]+)/file_downloaded(?:[?#].*)?$",
        _mendeley,
    ),
    ("s3", r"/[^?#]+", _s3),
)

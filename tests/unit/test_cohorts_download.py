"""Downloads against a real HTTP server on the loopback interface that misbehaves in every way we know."""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from histobench.cohorts.fetch.download import download, download_file
from histobench.cohorts.fetch.transfer import Patience
from histobench.errors import UserError

NAME = "A1.tsv.gz"
CONTENT = gzip.compress(random.Random(7).randbytes(300_000), mtime=0)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
# Long enough for a loaded machine; tests of silence shorten it.
QUICK = Patience(connect_s=30, stall_s=30, attempts=3, backoff_s=0.01, longest_wait_s=0.05)

Answer = Callable[[BaseHTTPRequestHandler], None]


def send(
    handler: BaseHTTPRequestHandler,
    body: bytes,
    status: int = 200,
    headers: dict[str, str] | None = None,
    announced: int | None = None,
) -> None:
    handler.send_response(status)
    for key, value in {"Content-Length": str(announced or len(body)), **(headers or {})}.items():
        handler.send_header(key, value)
    handler.end_headers()
    handler.wfile.write(body)


def requested_start(handler: BaseHTTPRequestHandler) -> int:
    wanted = handler.headers.get("Range", "")
    return int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0


def honest(handler: BaseHTTPRequestHandler, content: bytes = CONTENT, etag: str = '"1"') -> None:
    """Serve the file; honour Range, and If-Range by the ETag."""
    start = requested_start(handler)
    if handler.headers.get("If-Range") not in (None, etag):
        start = 0
    if not start:
        send(handler, content, headers={"ETag": etag})
        return
    span = f"bytes {start}-{len(content) - 1}/{len(content)}"
    send(handler, content[start:], 206, {"Content-Range": span, "ETag": etag})


def truncated(keep: int) -> Answer:
    """Announce everything that was asked for, send ``keep`` bytes of it and hang up."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        start = requested_start(handler)
        span = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        headers = {"ETag": '"1"'} | ({"Content-Range": span} if start else {})
        send(
            handler,
            CONTENT[start : start + keep],
            206 if start else 200,
            headers,
            announced=len(CONTENT) - start,
        )

    return answer


def stalled(handler: BaseHTTPRequestHandler) -> None:
    send(handler, CONTENT[:100_000], announced=len(CONTENT))
    time.sleep(5.0)


def ignores_range(handler: BaseHTTPRequestHandler) -> None:
    send(handler, CONTENT)


def status(code: int, **headers: str) -> Answer:
    return lambda handler: send(handler, b"sorry", code, headers)


def page(body: bytes) -> Answer:
    return lambda handler: send(handler, body, 200, {"Content-Type": "text/html"})


class Server:
    """Answers each request with the next of ``answers``; the last one repeats."""

    def __init__(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append((self.path, dict(self.headers)))
                answer = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.answers: list[Answer] = [honest]
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.base = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.url = f"{self.base}/{NAME}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def ranges(self) -> list[str | None]:
        return [headers.get("Range") for _, headers in self.requests]

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture
def other() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def get(server: Server, target: Path, **options: object) -> None:
    settings: dict = {"urls": [server.url], "checksum": SHA256, "size": len(CONTENT), "patience": QUICK}
    download(target, **{**settings, **options})


def assert_only_whole(target: Path) -> None:
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def assert_nothing(target: Path) -> None:
    assert not target.exists()


def test_plain_download(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "raw" / NAME
    get(server, target)
    assert_only_whole(target)
    assert len(server.requests) == 1


def test_intact_file_is_kept_without_a_request(server: Server, tmp_path: Path) -> None:
    target = tmp_path / NAME
    target.write_bytes(CONTENT)
    get(server, target)
    assert server.requests == []


def test_damaged_file_is_fetched_again(server: Server, tmp_path: Path) -> None:
    target = tmp_path / NAME
    target.write_bytes(CONTENT[:-1] + b"x")
    get(server, target)
    assert_only_whole(target)


def test_truncated_answers_are_continued(server: Server, tmp_path: Path) -> None:
    target = tmp_path / NAME
    # More interruptions than attempts: each brings new bytes, so none of them uses up the patience.
    server.answers = [truncated(70_000)] * 4 + [honest]
    get(server, target)
    assert_only_whole(target)
    assert server.ranges() == [None, *(f"bytes={n * 70_000}-" for n in (1, 2, 3, 4))]


def test_endless_truncation_without_progress_ends(server: Server, tmp_path: Path) -> None:
    target = tmp_path / NAME
    server.answers = [truncated(70_000), truncated(0)]
    with pytest.raises(UserError, match="could not be downloaded"):
        get(server, target)
    assert_nothing(target)
    assert len(server.requests) == 1 + QUICK.attempts - 1


def test_stall_is_noticed_and_continued(server: Server, tmp_path: Path) -> None:
    target = tmp_path / NAME
    server.answers = [stalled, honest]
    get(server, target, patience=replace(QUICK, stall_s=0.3, attempts=20))
    assert_only_whole(target)
    start = server.ranges()[1]
    assert start is not None and 0 < int(start[6:-1]) <= 100_000


def test_status_500_then_200(server: Server, tmp_path: Path) -> None:
    server.answers = [status(500), status(503), honest]
    get(server, tmp_path / NAME)
    assert_only_whole(tmp_path / NAME)


@pytest.mark.alone
def test_retry_after_is_obeyed_up_to_the_longest_wait(server: Server, tmp_path: Path) -> None:
    server.answers = [status(429, **{"Retry-After": "3600"}), honest]
    began = time.monotonic()
    get(server, tmp_path / NAME, patience=Patience(attempts=2, backoff_s=0.0, longest_wait_s=0.4))
    assert 0.4 <= time.monotonic() - began < 3
    assert_only_whole(tmp_path / NAME)


def test_missing_file_is_not_asked_for_twice(server: Server, other: Server, tmp_path: Path) -> None:
    server.answers = [status(404)]
    get(server, tmp_path / NAME, urls=[server.url, other.url])
    assert_only_whole(tmp_path / NAME)
    assert (len(server.requests), len(other.requests)) == (1, 1)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<!DOCTYPE html><html><body>Log in</body></html>", "web page"),
        (b"\n  <HTML><head>", "web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "web page"),
        (b'{"message": "not found"}', "JSON"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "LFS"),
        (b"plain words", "not that of a .gz file"),
        (b"<script>location = '/login'</script>", "web page"),
        (b"<!-- moved --><body>", "web page"),
    ],
)
@pytest.mark.parametrize("locked", [True, False])
def test_error_page_with_status_200(
    server: Server, tmp_path: Path, body: bytes, says: str, locked: bool
) -> None:
    server.answers = [page(body)]
    known = {} if locked else {"checksum": "unknown", "size": None}
    with pytest.raises(UserError, match=says) as caught:
        get(server, tmp_path / NAME, **known)
    assert str(tmp_path / NAME) in str(caught.value) and server.url in str(caught.value)
    assert len(server.requests) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["labels.tsv", "positions.csv"])
def test_error_page_in_place_of_a_text_table(server: Server, tmp_path: Path, name: str) -> None:
    server.answers = [page(b"<html>busy</html>")]
    with pytest.raises(UserError, match="web page"):
        get(server, tmp_path / name, checksum="unknown", size=None)
    assert_nothing(tmp_path / name)


def test_server_that_ignores_range(server: Server, tmp_path: Path) -> None:
    server.answers = [truncated(50_000), ignores_range]
    get(server, tmp_path / NAME)
    assert_only_whole(tmp_path / NAME)
    assert server.ranges() == [None, "bytes=50000-"]


def test_server_that_sends_another_range(server: Server, tmp_path: Path) -> None:
    def shifted(handler: BaseHTTPRequestHandler) -> None:
        span = f"bytes 10-{len(CONTENT) - 1}/{len(CONTENT)}"
        send(handler, CONTENT[10:], 206, {"Content-Range": span})

    server.answers = [truncated(50_000), shifted, honest]
    get(server, tmp_path / NAME)
    assert_only_whole(tmp_path / NAME)


def test_range_not_satisfiable(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT)
    server.answers = [status(416), honest]
    get(server, tmp_path / NAME, size=None, checksum=SHA256)
    assert_only_whole(tmp_path / NAME)


def test_wrong_file_names_both_checksums(server: Server, tmp_path: Path) -> None:
    wrong = CONTENT[:-4] + b"evil"
    server.answers = [lambda handler: honest(handler, wrong)]
    with pytest.raises(UserError) as caught:
        get(server, tmp_path / NAME)
    message = str(caught.value)
    assert SHA256 in message and hashlib.sha256(wrong).hexdigest() in message
    assert "data_lock.tsv" in message and message.count(". ") == 0
    assert len(server.requests) == 1
    assert list(tmp_path.iterdir()) == []


def test_wrong_size_is_refused_before_the_transfer(server: Server, tmp_path: Path) -> None:
    server.answers = [lambda handler: honest(handler, CONTENT + b"x")]
    with pytest.raises(UserError, match=f"{len(CONTENT) + 1} bytes, expected {len(CONTENT)}"):
        get(server, tmp_path / NAME)
    assert list(tmp_path.iterdir()) == []


def test_wrong_first_address_falls_back(server: Server, other: Server, tmp_path: Path) -> None:
    server.answers = [lambda handler: honest(handler, CONTENT[:-4] + b"evil")]
    get(server, tmp_path / NAME, urls=[server.url, other.url])
    assert_only_whole(tmp_path / NAME)


def test_wrong_beginning_is_discarded(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(b"\x1f\x8b" + b"x" * 1000)
    get(server, tmp_path / NAME)
    assert_only_whole(tmp_path / NAME)
    assert server.ranges() == ["bytes=1002-", None]


def test_part_that_was_complete_needs_no_request(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT)
    get(server, tmp_path / NAME)
    assert_only_whole(tmp_path / NAME)
    assert server.requests == []


@pytest.mark.parametrize("kind", ["md5", "git"])
def test_other_checksums(server: Server, tmp_path: Path, kind: str) -> None:
    blob = b"blob %d\0" % len(CONTENT) + CONTENT
    digest = hashlib.md5(CONTENT) if kind == "md5" else hashlib.sha1(blob)
    get(server, tmp_path / NAME, checksum=f"{kind}:{digest.hexdigest()}", size=None)
    assert_only_whole(tmp_path / NAME)
    wrong = f"{kind}:{'0' * len(digest.hexdigest())}"
    with pytest.raises(UserError, match=f"{kind} checksum is {digest.hexdigest()}"):
        get(server, tmp_path / "b" / NAME, checksum=wrong, size=None)


def test_unknown_checksum_is_recorded_and_demanded_from_then_on(server: Server, tmp_path: Path) -> None:
    target, unknown = tmp_path / NAME, {"checksum": "unknown", "size": None}
    get(server, target, **unknown)
    record = tmp_path / f"{NAME}.sha256"
    assert record.read_text() == f"{SHA256}  {NAME}\n"
    get(server, target, **unknown)
    assert len(server.requests) == 1  # known to be intact now
    target.unlink()
    server.answers = [lambda handler: honest(handler, gzip.compress(b"replaced"))]
    with pytest.raises(UserError, match=SHA256):
        get(server, target, **unknown)
    assert_nothing(target)


def test_unknown_checksum_resumes_only_an_unchanged_file(server: Server, tmp_path: Path) -> None:
    unknown = {"checksum": "unknown", "size": None}
    server.answers = [truncated(50_000), honest]
    get(server, tmp_path / "a" / NAME, **unknown)
    assert server.ranges() == [None, "bytes=50000-"]
    assert (tmp_path / "a" / NAME).read_bytes() == CONTENT
    newer = gzip.compress(b"a new release" * 9000, compresslevel=0)
    server.answers = [truncated(50_000), lambda handler: honest(handler, newer, etag='"2"')]
    get(server, tmp_path / "b" / NAME, **unknown)
    assert (tmp_path / "b" / NAME).read_bytes() == newer


def test_unknown_checksum_never_continues_a_part_of_unknown_origin(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(b"\x1f\x8bstale")
    get(server, tmp_path / NAME, checksum="unknown", size=None)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert server.ranges() == [None]


def test_mirror_comes_first(server: Server, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror" / "data" / NAME
    mirror.parent.mkdir(parents=True)
    mirror.write_bytes(CONTENT)
    mirror.chmod(0o444)
    settings = {
        "source": "her2st",
        "file": f"data/{NAME}",
        "urls": [server.url],
        "sha256": SHA256,
        "size": len(CONTENT),
    }
    target = tmp_path / "raw" / NAME
    download_file(settings, target, mirrors=[tmp_path / "absent", tmp_path / "mirror"])
    assert_only_whole(target)
    assert server.requests == []
    assert not target.is_symlink() and target.stat().st_mode & 0o200  # an own, writable copy


def test_mirror_without_the_file_falls_through(server: Server, tmp_path: Path) -> None:
    get(server, tmp_path / "raw" / NAME, mirrors=[tmp_path / "mirror" / NAME])
    assert_only_whole(tmp_path / "raw" / NAME)


def test_damaged_mirror_falls_through(server: Server, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror" / NAME
    mirror.parent.mkdir()
    mirror.write_bytes(CONTENT[:1000])
    get(server, tmp_path / "raw" / NAME, mirrors=[mirror])
    assert_only_whole(tmp_path / "raw" / NAME)


def test_damaged_mirror_without_network_is_named(tmp_path: Path) -> None:
    mirror = tmp_path / "mirror" / NAME
    mirror.parent.mkdir()
    mirror.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(UserError) as caught:
        download(tmp_path / "raw" / NAME, urls=[], checksum=SHA256, mirrors=[mirror], patience=QUICK)
    assert str(mirror) in str(caught.value) and SHA256 in str(caught.value)
    assert list((tmp_path / "raw").iterdir()) == []


def test_a_mirror_that_is_elsewhere_than_thought_is_named_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        download(
            tmp_path / "raw" / NAME, urls=[], checksum=SHA256, mirrors=[f"mirror/{NAME}"], patience=QUICK
        )
    assert f"there is no {tmp_path / 'mirror' / NAME}" in str(caught.value)


def test_no_network_is_one_sentence_with_the_way_out(server: Server, tmp_path: Path) -> None:
    server.close()
    with pytest.raises(UserError) as caught:
        get(server, tmp_path / NAME, source="her2st")
    message = str(caught.value)
    assert "no server could be reached" in message and server.url in message
    assert "mirrors: her2st:" in message and "\n" not in message
    assert_nothing(tmp_path / NAME)


def test_unresolvable_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name cannot be resolved"):
        download(tmp_path / NAME, urls=["http://no-such-host.invalid/x"], checksum=SHA256, patience=QUICK)


def test_proxy_variables_are_honoured(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.base)
    monkeypatch.setenv("no_proxy", "")
    get(server, tmp_path / NAME, urls=["http://data.invalid/archive/file.gz"])
    assert_only_whole(tmp_path / NAME)
    assert server.requests[0][0] == "http://data.invalid/archive/file.gz"


def test_gzip_transfer_encoding_is_not_asked_for(server: Server, tmp_path: Path) -> None:
    get(server, tmp_path / NAME)
    assert server.requests[0][1]["Accept-Encoding"] == "identity"


def test_an_empty_file_is_none(server: Server, tmp_path: Path) -> None:
    server.answers = [page(b"")]
    with pytest.raises(UserError, match="it is empty"):
        get(server, tmp_path / "labels.tsv", checksum="unknown", size=None)


def test_what_was_compressed_on_its_way_is_not_the_file(server: Server, tmp_path: Path) -> None:
    packed = gzip.compress(b"spot\tlabel\n" * 1000)
    server.answers = [lambda handler: send(handler, packed, 200, {"Content-Encoding": "gzip"})]
    with pytest.raises(UserError, match="sends it compressed"):
        get(server, tmp_path / "labels.tsv", checksum="unknown", size=None)
    server.answers = [lambda handler: send(handler, CONTENT, 200, {"Content-Encoding": "gzip"})]
    get(server, tmp_path / NAME)  # said of a file that is compressed itself
    assert (tmp_path / NAME).read_bytes() == CONTENT


@pytest.mark.parametrize("length", ["\u00b2", "9" * 5000, "-1", "1e3"])
def test_a_length_that_is_no_number_counts_as_none(server: Server, tmp_path: Path, length: str) -> None:
    server.answers = [lambda handler: send(handler, CONTENT, 200, {"Content-Length": length})]
    get(server, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder(server: Server, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="not writable"):
        get(server, tmp_path / NAME)


def test_folder_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "raw").write_text("a file where a folder is needed")
    with pytest.raises(UserError, match="cannot be written"):
        get(server, tmp_path / "raw" / NAME)


def test_full_disk(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("histobench.cohorts.fetch.transfer.shutil.disk_usage", lambda _: usage)
    with pytest.raises(UserError, match="free some space"):
        get(server, tmp_path / NAME)
    assert_nothing(tmp_path / NAME)


def test_disk_that_fills_up_meanwhile(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="the disk is full"):
        get(server, tmp_path / NAME)
    assert_nothing(tmp_path / NAME)


def test_killed_download_resumes(server: Server, tmp_path: Path) -> None:
    """SIGKILL in the middle; the next run asks only for the rest and ends with the right file."""

    def slow(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        for start in range(0, len(CONTENT), 65536):
            handler.wfile.write(CONTENT[start : start + 65536])
            handler.wfile.flush()
            time.sleep(0.3)

    server.answers = [slow]
    target = tmp_path / NAME
    command = (
        "from histobench.cohorts.fetch.download import download; "
        f"download({str(target)!r}, urls=[{server.url!r}], checksum={SHA256!r}, size={len(CONTENT)})"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    running = subprocess.Popen([sys.executable, "-c", command], env=env)
    part = tmp_path / f"{NAME}.part"
    deadline = time.monotonic() + 120
    # Python buffers less than a block, so what reached the disk lags behind by at most one.
    while (not part.exists() or part.stat().st_size < 60_000) and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    arrived = part.stat().st_size
    assert 60_000 <= arrived < len(CONTENT)
    assert_nothing(target)

    server.answers = [honest]
    subprocess.run([sys.executable, "-c", command], env=env, check=True, timeout=30)
    assert_only_whole(target)
    assert server.ranges()[-1] == f"bytes={arrived}-"


def dripping(handler: BaseHTTPRequestHandler) -> None:
    """Send the file, but two bytes at a time."""
    start = requested_start(handler)
    span = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
    handler.send_response(206 if start else 200)
    handler.send_header("Content-Length", str(len(CONTENT) - start))
    handler.send_header("ETag", '"1"')
    if start:
        handler.send_header("Content-Range", span)
    handler.end_headers()
    for place in range(start, len(CONTENT), 2):
        handler.wfile.write(CONTENT[place : place + 2])
        handler.wfile.flush()
        time.sleep(0.02)


def endless(handler: BaseHTTPRequestHandler) -> None:
    """Send without a length until nobody listens any more."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"\x1f\x8b" + bytes(65_534))


SLOW = replace(QUICK, slow_s=0.15, slowest_bytes_s=5000)


@pytest.mark.alone
def test_a_server_that_sends_next_to_nothing_is_given_up(server: Server, tmp_path: Path) -> None:
    """It makes progress in every attempt, which must not count as hope."""
    server.answers = [dripping]
    began = time.monotonic()
    with pytest.raises(UserError, match=r"the server is too slow \(\d+ bytes a second over 0 s\)"):
        download(tmp_path / NAME, urls=[server.url], checksum=SHA256, size=len(CONTENT), patience=SLOW)
    assert time.monotonic() - began < 3 and len(server.requests) == SLOW.attempts
    assert not (tmp_path / NAME).exists()


def test_a_slow_server_is_left_for_another_address(server: Server, other: Server, tmp_path: Path) -> None:
    server.answers = [dripping]
    download(tmp_path / NAME, urls=[server.url, other.url], checksum=SHA256, patience=SLOW)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_server_that_was_slow_once_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.answers = [dripping, honest]
    download(tmp_path / NAME, urls=[server.url], checksum=SHA256, size=len(CONTENT), patience=SLOW)
    assert (tmp_path / NAME).read_bytes() == CONTENT and len(server.requests) == 2


@pytest.mark.parametrize("size", [None, 1_000_000])
def test_a_body_without_an_end_stops_at_a_stated_limit(
    server: Server, tmp_path: Path, size: int | None
) -> None:
    server.answers = [endless]
    patience = replace(QUICK, most_bytes=3_000_000)
    with pytest.raises(UserError, match=f"it has more than the {size or 3000000} bytes"):
        download(tmp_path / NAME, urls=[server.url], size=size, patience=patience)
    assert list(tmp_path.iterdir()) == []


def test_a_body_without_an_end_does_not_fill_the_disk(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers = [endless]
    monkeypatch.setattr("histobench.cohorts.fetch.transfer._ROOM_EVERY", 1 << 20)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10**8}))
    with pytest.raises(UserError, match=r"there is no room for it .* fewer than 1000 MB are left"):
        download(tmp_path / NAME, urls=[server.url], patience=QUICK)
    assert list(tmp_path.iterdir()) == []


def test_an_absurd_length_leads_to_the_next_address(server: Server, other: Server, tmp_path: Path) -> None:
    server.answers = [lambda handler: send(handler, CONTENT, announced=10**15)]
    download(tmp_path / NAME, urls=[server.url, other.url], patience=QUICK)
    assert (tmp_path / NAME).read_bytes() == CONTENT and not (tmp_path / f"{NAME}.part").exists()
    with pytest.raises(UserError, match=r"no room .* it needs 1000000000 MB, but only .* free some space"):
        download(tmp_path / "x.gz", urls=[server.url], patience=QUICK)


@pytest.mark.alone
@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/a",
        "javascript:alert(1)",
        "//host/a",
        "/etc/passwd",
        "http://",
        "",
    ],
)
def test_what_is_no_web_address_is_refused_at_once(tmp_path: Path, address: str) -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match=r"no (valid )?http or https address"):
        download(tmp_path / NAME, urls=[address], patience=replace(QUICK, backoff_s=5))
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/a", "gopher://x", "LOOP"])
def test_a_redirect_that_leads_nowhere_is_refused_at_once(
    server: Server, tmp_path: Path, target: str
) -> None:
    target = server.url if target == "LOOP" else target
    server.answers = [status(302, Location=target)]
    with pytest.raises(UserError, match=r"leads (to|from)"):
        download(tmp_path / NAME, urls=[server.url], patience=replace(QUICK, backoff_s=5))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", ".part", ".sha256"])
def test_a_folder_in_the_place_of_a_file_is_one_sentence(server: Server, tmp_path: Path, name: str) -> None:
    (tmp_path / f"{NAME}{name}").mkdir()
    with pytest.raises(UserError, match="a folder stands where a file is needed; move it away"):
        download(tmp_path / NAME, urls=[server.url], patience=QUICK)

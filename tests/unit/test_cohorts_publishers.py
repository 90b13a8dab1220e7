"""What publishers state is asked before anything is trusted: servers on the loopback interface answer as they do."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from histobench.cli.command import main
from histobench.cohorts.fetch import publishers as module
from histobench.cohorts.fetch.download import download
from histobench.cohorts.fetch.lock import UNKNOWN, load_lock
from histobench.cohorts.fetch.publishers import Publishers, Silence, Stated
from histobench.cohorts.fetch.transfer import Patience
from histobench.errors import UserError

BODY = b"section,patient\n" * 2000
MD5 = hashlib.md5(BODY).hexdigest()
SHA256 = hashlib.sha256(BODY).hexdigest()
UUID = "0f5ad6c5-3e7a-4c1f-a6a1-64b2f3a9c0de"
QUICK = Patience(connect_s=30, stall_s=30, attempts=2, backoff_s=0.01, longest_wait_s=0.05)


@dataclass
class Answer:
    """One answer; without a length it ends where the connection does."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: bool = True

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class Server:
    """Answers by path (without its query); a list is gone through, and its last answer repeats."""

    def __init__(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self, send: bool = True) -> None:
                outer.asked.append(self.path)
                found = outer.answers.get(self.path, outer.answers.get(self.path.split("?")[0]))
                if isinstance(found, list):
                    found = found.pop(0) if len(found) > 1 else found[0]
                found = found or Answer({"message": "not found"}, 404)
                content = found.content()
                self.send_response(found.status)
                for name, value in found.headers.items():
                    self.send_header(name, value)
                if found.length and isinstance(content, bytes) and "Content-Length" not in found.headers:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if send and isinstance(content, bytes):
                    self.wfile.write(content)
                elif send:
                    with contextlib.suppress(OSError):
                        self.wfile.writelines(content)

            def do_HEAD(self) -> None:
                self.do_GET(send=False)

            def log_message(self, *_: object) -> None:
                pass

        self.answers: dict[str, Answer | list[Answer]] = {}
        self.asked: list[str] = []
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.base = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    running = Server()
    for name in module.BASES:
        monkeypatch.setitem(module.BASES, name, running.base)
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    yield running
    running.http.shutdown()
    running.http.server_close()


# As Zenodo lists a record (two formats), the Genomic Data Commons a file, Hugging Face a folder, S3 an object.
def zenodo(**change: Any) -> dict[str, Any]:
    entry = {
        "id": "a",
        "key": "meta.zip",
        "size": len(BODY),
        "checksum": f"md5:{MD5}",
        "links": {"self": "x"},
    }
    return {"id": 4751624, "conceptrecid": "3957256", "files": [{"key": "other.zip"}, entry | change]}


def newer_zenodo() -> dict[str, Any]:
    listed = zenodo()
    return listed | {"id": "4751624", "files": {"count": 1, "entries": {"meta.zip": listed["files"][1]}}}


def gdc(**change: Any) -> dict[str, Any]:
    return {"data": {"md5sum": MD5, "file_size": len(BODY), "file_name": "a.svs"} | change, "warnings": {}}


TREE = [
    {"type": "directory", "oid": "0" * 40, "size": 0, "path": "st/coord"},
    {
        "type": "file",
        "oid": "1" * 40,
        "size": len(BODY),
        "lfs": {"oid": SHA256, "size": len(BODY), "pointerSize": 133},
        "path": "st/a b.h5",
    },
    {"type": "file", "oid": "2" * 40, "size": 12, "path": "st/small.csv"},
]
ZENODO = "/records/4751624/files/meta.zip?download=1"
OBJECT = "/h5/151507.h5"


def s3(**headers: str) -> Answer:
    return Answer(BODY, headers={"ETag": f'"{MD5}"', **{k.replace("_", "-"): v for k, v in headers.items()}})


@pytest.mark.parametrize(
    ("url", "path", "answer", "expected"),
    [
        (ZENODO, "/api/records/4751624", Answer(zenodo()), f"md5:{MD5}"),
        ("/record/4751624/files/meta.zip", "/api/records/4751624", Answer(zenodo()), f"md5:{MD5}"),
        ("/api/records/4751624/files/meta.zip/content", "/api/records/4751624", Answer(newer_zenodo()), f"md5:{MD5}"),
        (ZENODO, "/api/records/4751624", Answer(zenodo(size=str(len(BODY)))), f"md5:{MD5}"),
        (f"/data/{UUID}", f"/files/{UUID}", Answer(gdc()), f"md5:{MD5}"),
        ("/datasets/who/set/resolve/main/st/a%20b.h5", "/api/datasets/who/set/tree/main/st", Answer(TREE), SHA256),
        ("/who/model/resolve/abc/st/a%20b.h5", "/api/models/who/model/tree/abc/st", Answer(TREE), SHA256),
        (OBJECT, OBJECT, s3(), f"md5:{MD5}"),
        (
            OBJECT,
            OBJECT,
            s3(x_amz_checksum_sha256=base64.b64encode(bytes.fromhex(SHA256)).decode()),
            SHA256,
        ),
        (OBJECT, OBJECT, s3(ETag=f'"{MD5}-17"'), UNKNOWN),
        (OBJECT, OBJECT, s3(x_amz_server_side_encryption="aws:kms"), UNKNOWN),
        (OBJECT, OBJECT, s3(x_amz_server_side_encryption="AES256"), f"md5:{MD5}"),
        (
            OBJECT,
            OBJECT,
            s3(ETag=f'"{MD5}-2"', x_amz_checksum_sha256="AAAA-2", x_amz_checksum_type="COMPOSITE"),
            UNKNOWN,
        ),
    ],
)  # fmt: skip
def test_publishers_state_size_and_checksum(server, url, path, answer, expected):
    server.answers[path] = answer
    stated = Publishers().states(server.base + url)
    assert stated is not None and (stated.size, stated.checksum) == (len(BODY), expected)


def test_a_small_file_on_hugging_face_is_known_by_its_name_in_git(server):
    server.answers["/api/datasets/who/set/tree/main/st"] = Answer(TREE)
    stated = Publishers().states(f"{server.base}/datasets/who/set/resolve/main/st/small.csv")
    assert stated == Stated(12, f"git:{'2' * 40}", "Hugging Face datasets/who/set")


def test_a_long_list_is_followed_to_its_next_page(server):
    path = "/api/datasets/who/set/tree/main/st"
    link = {"Link": f'<{server.base}{path}?cursor=x>; rel="next"'}
    server.answers[path] = Answer(TREE[:1], headers=link)
    server.answers[f"{path}?cursor=x"] = Answer(TREE[1:])
    stated = Publishers().states(f"{server.base}/datasets/who/set/resolve/main/st/a%20b.h5")
    assert stated is not None and stated.checksum == SHA256


def test_addresses_of_others_are_not_asked_for(server):
    for url in (
        f"{server.base}/",
        "https://ftp.ncbi.nlm.nih.gov/geo/a.tar",
        "https://zenodo.org.evil.example/a",
    ):
        assert Publishers().states(url) is None and Publishers().files(url) is None
    assert server.asked == []


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer(b"<html>Sign in</html>"), "is no JSON"),
        (Answer({"status": 500, "message": "Internal error"}), "does not hold what it should"),
        (Answer([]), "does not hold what it should"),
        (Answer(b"null"), "is no JSON"),
        (Answer({"message": "no such record"}, 404), "status 404"),
        (Answer(b"slow down", 429, {"Retry-After": "1"}), "status 429"),
        (Answer(b"", 503), "status 503"),
        (Answer(zenodo() | {"id": 3957257}), "stands for any version and leads to 3957257"),
        (Answer(zenodo() | {"files": []}), "lists no file meta.zip"),
        (Answer(zenodo() | {"files": None}), "lists no file meta.zip"),
        (Answer(zenodo() | {"files": ["meta.zip"]}), "lists no file meta.zip"),
        (Answer(zenodo(key="meta (1).zip")), "lists no file meta.zip"),
        (Answer(zenodo(checksum=None)), "states the checksum 'None'"),
        (Answer(zenodo(checksum=f"md5:{MD5[:-1]}")), "which is none that is known"),
        (Answer(zenodo(checksum="unknown")), "which is none that is known"),
        (Answer(zenodo(size=-1)), "no number of bytes"),
        (Answer(zenodo(size=True)), "no number of bytes"),
        (Answer(zenodo(size="9" * 5000)), "no number of bytes"),
        (Answer(zenodo(size=0)), "no number of bytes"),
        (Answer(zenodo() | {"files": {"entries": ["meta.zip"]}}), "is not built as is known here"),
        (Answer(zenodo() | {"files": "meta.zip"}), "lists no file meta.zip"),
        (Answer(b"", 302, {"Location": "http://localhost:9/login"}), "does not answer"),
        (Answer(b"", 429, {"Retry-After": "\u00b2"}), "status 429"),
        (Answer(zenodo(size="12 MB")), "no number of bytes"),
    ],
)
def test_an_answer_that_states_nothing_is_told_apart(server, answer, says):
    server.answers["/api/records/4751624"] = answer
    with pytest.raises(Silence, match=says):
        Publishers().states(server.base + ZENODO)


@pytest.mark.parametrize("first", [Answer({"message": "error"}), Answer(b"<html>"), Answer(b"", 502)])
def test_an_error_that_passes_is_asked_about_again(server, first):
    server.answers["/api/records/4751624"] = [first, Answer(zenodo())]
    publishers = Publishers()
    for _ in range(3):
        assert publishers.states(server.base + ZENODO).checksum == f"md5:{MD5}"
    assert len(server.asked) == 2, "what was answered is not asked again"


def test_a_body_without_an_end_is_given_up(server):
    """Chunks that go on for ever, each in time."""

    class Endless(Answer):
        def content(self) -> Iterator[bytes]:  # type: ignore[override]
            return iter(lambda: b" " * 10_000, b"")

    server.answers["/api/records/4751624"] = Endless(length=False)
    with pytest.raises(Silence, match="has no end in sight"):
        Publishers(most_bytes=1_000_000).states(server.base + ZENODO)


def test_a_page_of_somebody_else_is_no_answer(server):
    """A portal that asks to sign in, under another name, with headers like those of a file."""
    portal = server.base.replace("127.0.0.1", "localhost")
    server.answers[OBJECT] = Answer(b"", 302, {"Location": f"{portal}/login"})
    server.answers["/login"] = Answer(BODY[:20], headers={"ETag": f'"{MD5}"'})
    with pytest.raises(Silence, match=r"leads to .*/login, which is somebody else's"):
        Publishers().states(server.base + OBJECT)


def test_nobody_answers(server):
    module.BASES["zenodo"] = "http://127.0.0.1:9"
    publishers = Publishers()
    for _ in range(2):
        with pytest.raises(Silence, match="does not answer"):
            publishers.states(f"http://127.0.0.1:9{ZENODO}")


# Downloads


def get(server: Server, target: Path, url: str = OBJECT, **options: Any) -> None:
    download(target, urls=[server.base + url], patience=QUICK, **options)


def test_what_is_stated_is_demanded_of_an_unlocked_file(server, tmp_path, caplog):
    caplog.set_level("INFO")
    server.answers[OBJECT] = s3()
    get(server, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_bytes() == BODY
    assert f"S3 states md5:{MD5}" in caplog.text and "no publisher states" not in caplog.text
    assert (tmp_path / "a.csv.sha256").read_text().startswith(SHA256)
    server.asked.clear()
    get(server, tmp_path / "a.csv")  # known from now on
    assert server.asked == []


def test_a_body_that_ends_early_without_a_length_is_noticed(server, tmp_path):
    """Nothing in the transfer tells; the publisher does."""
    server.answers[ZENODO] = Answer(BODY[:5000], length=False)
    server.answers["/api/records/4751624"] = Answer(zenodo())
    with pytest.raises(UserError, match=rf"the connection broke after 5000 of {len(BODY)} bytes"):
        get(server, tmp_path / "meta.csv", ZENODO)
    assert not (tmp_path / "meta.csv").exists() and not (tmp_path / "meta.csv.sha256").exists()


def test_another_file_of_the_same_length_is_refused(server, tmp_path):
    server.answers[ZENODO] = Answer(BODY[::-1])
    server.answers["/api/records/4751624"] = Answer(zenodo())
    with pytest.raises(UserError, match=f"its md5 checksum is .*, expected {MD5}"):
        get(server, tmp_path / "meta.csv", ZENODO)
    assert not (tmp_path / "meta.csv.sha256").exists()


def test_a_mirror_is_compared_with_what_the_publisher_states(server, tmp_path):
    (tmp_path / "mirror.csv").write_bytes(BODY[:-1])
    server.answers["/api/records/4751624"] = Answer(zenodo())
    with pytest.raises(UserError, match=f"it has {len(BODY) - 1} bytes, expected {len(BODY)}"):
        get(server, tmp_path / "meta.csv", ZENODO, mirrors=[tmp_path / "mirror.csv"])


def test_the_lock_comes_before_the_publisher(server, tmp_path):
    server.answers[ZENODO] = Answer(BODY)
    server.answers["/api/records/4751624"] = Answer(zenodo(checksum=f"md5:{'0' * 32}"))
    get(server, tmp_path / "meta.csv", ZENODO, checksum=SHA256)
    assert server.asked == [ZENODO]


@pytest.mark.parametrize(
    ("url", "because"),
    [
        (ZENODO, "answers with status 404"),
        ("/elsewhere.csv", "none of its addresses"),
        (OBJECT, "the size alone"),
    ],
)
def test_where_nobody_states_a_checksum_one_line_says_so(server, tmp_path, caplog, monkeypatch, url, because):
    if url != OBJECT:
        monkeypatch.setitem(module.BASES, "s3", "https://s3-elsewhere.amazonaws.com")
    server.answers[url] = Answer(BODY, headers={"ETag": '"parts-2"'})
    get(server, tmp_path / "a.csv", url)
    lines = [
        record.message for record in caplog.records if "no publisher states its checksum" in record.message
    ]
    assert len(lines) == 1 and because in lines[0] and "trusted from now on" in lines[0]
    assert (tmp_path / "a.csv.sha256").is_file()


def test_a_record_that_was_damaged_is_one_sentence(server, tmp_path):
    (tmp_path / "a.csv.sha256").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"a\.csv\.sha256: holds no sha256 checksum; delete it"):
        get(server, tmp_path / "a.csv")


# A collection: its files one by one

FILES = {
    "metadata.csv": b"patient,replicate\n",
    "HE_BC1_C1.jpg": b"\xff\xd8\xff" + BODY,
    "notes.txt": b"\n" * 40,
}
DATASET, ZIP = "/public-api/datasets/29ntw7sh4r", "/public-api/zip/29ntw7sh4r/download/5"


def mendeley(server: Server, **change: Any) -> dict[str, Any]:
    listed = []
    for number, (name, content) in enumerate(FILES.items()):
        url = f"{server.base}/public-files/datasets/29ntw7sh4r/files/{number}/file_downloaded"
        server.answers.setdefault(url.removeprefix(server.base), Answer(content))
        details = {
            "download_url": url,
            "sha256_hash": hashlib.sha256(content).hexdigest(),
            "size": len(content),
        }
        listed.append({"id": str(number), "filename": name, "size": len(content), "content_details": details})
    return {"id": "29ntw7sh4r", "version": 5, "files": listed} | change


def fetch_dataset(server: Server, target: Path, *more: str, **options: Any) -> None:
    urls = [f"{server.base}{url}" for url in (f"{DATASET}?version=5", *more)]
    download(target, urls=urls, patience=QUICK, **options)


def unpacked(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def test_files_of_a_collection_are_fetched_one_by_one_and_packed(server, tmp_path):
    server.answers[DATASET] = [Answer({"message": "try later"}), Answer(mendeley(server))]
    for name in ("one", "two"):
        fetch_dataset(server, tmp_path / name / "a.zip")
        assert unpacked(tmp_path / name / "a.zip") == FILES
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["a.zip", "a.zip.sha256"]
    assert (tmp_path / "one/a.zip").read_bytes() == (tmp_path / "two/a.zip").read_bytes()


def test_a_file_of_a_collection_that_fails_costs_only_itself(server, tmp_path):
    server.answers[DATASET] = Answer(mendeley(server))
    path = "/public-files/datasets/29ntw7sh4r/files/2/file_downloaded"
    server.answers[path] = Answer(b"?" * 40)
    with pytest.raises(UserError, match=r"notes\.txt: its sha256 checksum is"):
        fetch_dataset(server, tmp_path / "a.zip")
    server.answers[path] = Answer(FILES["notes.txt"])
    server.asked.clear()
    fetch_dataset(server, tmp_path / "a.zip")
    assert [asked for asked in server.asked if "public-files" in asked] == [path]
    assert unpacked(tmp_path / "a.zip") == FILES


def packed(folder: Path, name: str, **change: bytes | None) -> Path:
    """Pack the files as the publisher does, below one folder; a change of None leaves a file out."""
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, content in {
            **FILES,
            **{key.replace("__", "."): value for key, value in change.items()},
        }.items():
            if content is not None:
                archive.writestr(f"Human breast cancer/{file}", content)
    return folder / name


def test_the_publishers_own_archive_is_compared_file_by_file(server, tmp_path):
    server.answers[DATASET] = Answer(mendeley(server))
    intact = packed(tmp_path / "mirror", "a.zip")
    fetch_dataset(server, tmp_path / "a.zip", mirrors=[intact])
    assert (tmp_path / "a.zip").read_bytes() == intact.read_bytes()
    server.answers["/public-files/datasets/29ntw7sh4r/files/2/file_downloaded"] = Answer(b"", 403)
    server.answers[ZIP] = Answer(intact.read_bytes())
    fetch_dataset(server, tmp_path / "b.zip", ZIP)  # one file cannot be had: the archive can
    assert (tmp_path / "b.zip").read_bytes() == intact.read_bytes()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"notes__txt": b"\t" * 40}, r"its notes\.txt has 40 bytes and the sha256 checksum"),
        ({"notes__txt": b""}, r"its notes\.txt has 0 bytes"),
        ({"notes__txt": None}, r"lists 3 files, but it lacks notes\.txt"),
        ({"more__txt": b"?"}, r"lists 3 files, but it also holds more\.txt"),
    ],
)
def test_an_archive_with_other_files_is_refused(server, tmp_path, change, says):
    server.answers[DATASET] = Answer(mendeley(server))
    for number in range(3):
        server.answers[f"/public-files/datasets/29ntw7sh4r/files/{number}/file_downloaded"] = Answer(b"", 403)
    server.answers[ZIP] = Answer(packed(tmp_path / "served", "a.zip", **change).read_bytes())
    with pytest.raises(UserError, match=says):
        fetch_dataset(server, tmp_path / "a.zip", ZIP)
    assert not (tmp_path / "a.zip").exists()


def renamed(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda told: told["files"][0].update(filename=name)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda told: told.update(version=6), "lists version 6, but version 5 is wanted"),
        (lambda told: told.update(files=[]), "lists no files"),
        (lambda told: told["files"][0].pop("content_details"), "without details"),
        (lambda told: told["files"][0]["content_details"].pop("sha256_hash"), "states the checksum"),
        (lambda told: told["files"][0].update(size="big"), "no number of bytes"),
        (renamed("../../etc/passwd"), "no plain name"),
        (renamed(""), "no plain name"),
        (renamed("notes.txt"), "two files of one name"),
    ],
)
def test_a_strange_list_of_files_is_not_followed(server, change, says):
    told = mendeley(server)
    change(told)
    server.answers[DATASET] = Answer(told)
    with pytest.raises(Silence, match=says):
        Publishers().files(f"{server.base}{DATASET}?version=5")


def test_a_single_file_of_a_collection_is_stated_too(server):
    server.answers[DATASET] = Answer(mendeley(server))
    url = f"{server.base}/public-files/datasets/29ntw7sh4r/files/2/file_downloaded"
    content = FILES["notes.txt"]
    expected = Stated(len(content), hashlib.sha256(content).hexdigest(), "Mendeley Data 29ntw7sh4r")
    assert Publishers().states(url) == expected


# The lock


def write_lock(server: Server, path: Path) -> list[str]:
    rows = [
        "source\tfile\turls\tsize\tsha256\tlicence\tcitation",
        f"zen\tmeta.zip\t{server.base}{ZENODO}\tunknown\tunknown\tCC-BY-4.0\tA 2021",
        f"zen\tgone.zip\t{server.base}/records/1/files/gone.zip\tunknown\tunknown\tCC-BY-4.0\tA 2021",
        f"zen\tknown.zip\t{server.base}/records/2/files/known.zip\t5\t{SHA256}\tCC-BY-4.0\tA 2021",
        f"s3\ta.h5\t{server.base}{OBJECT}\tunknown\tunknown\tnone\tB 2020",
        f"set\ta.zip\t{server.base}{DATASET}\tunknown\tunknown\tnone\tC 2020",
        "geo\ta.tar\thttps://ftp.ncbi.nlm.nih.gov/a.tar\tunknown\tunknown\tnone\tD 2020",
    ]
    path.write_text("\n".join(rows) + "\n")
    return rows


def test_a_refresh_writes_what_is_stated_with_its_day(server, tmp_path, capsys):
    path = tmp_path / "lock.tsv"
    before = write_lock(server, path)
    server.answers["/api/records/4751624"] = Answer(zenodo())
    known = {"key": "known.zip", "size": 5, "checksum": f"md5:{MD5}"}
    server.answers["/api/records/2"] = Answer({"id": 2, "files": [known]})
    assert main(["lock", "--refresh", "zen", "--lock", str(path)]) == 0
    after = path.read_text().splitlines()
    assert after[0] == before[0] + "\tstated"
    changed = after[1].split("\t")
    assert changed[3:5] == [str(len(BODY)), f"md5:{MD5}"] and changed[5:7] == ["CC-BY-4.0", "A 2021"]
    assert changed[7].startswith("Zenodo record 4751624, 20")
    assert after[2:] == before[2:], "other rows stay the same to the byte"
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 3 and "gone.zip" in printed[1] and "status 404" in printed[1]
    entry = load_lock(path)["zen", "meta.zip"]
    assert entry.size == len(BODY) and entry.stated == changed[7]
    assert main(["lock", "--refresh", "zen", "--lock", str(path)]) == 0
    assert path.read_text().splitlines() == after


def test_a_refresh_keeps_what_a_publisher_contradicts(server, tmp_path, capsys):
    path = tmp_path / "lock.tsv"
    write_lock(server, path)
    known = {"key": "known.zip", "size": 6, "checksum": f"md5:{MD5}"}
    server.answers["/api/records/2"] = Answer({"id": 2, "files": [known]})
    before = path.read_text().splitlines()[1:]
    assert main(["lock", "--refresh", "zen", "--lock", str(path)]) == 1
    assert "known.zip: Zenodo record 2 states the size 6, but the lock says 5" in capsys.readouterr().out
    assert path.read_text().splitlines()[1:] == before


def test_a_refresh_of_sources_of_other_kinds(server, tmp_path, capsys):
    path = tmp_path / "lock.tsv"
    before = write_lock(server, path)
    server.answers[OBJECT] = s3(ETag=f'"{MD5}-3"')
    server.answers[DATASET] = Answer(mendeley(server))
    assert main(["lock", "--refresh", "s3", "--lock", str(path)]) == 0
    assert load_lock(path)["s3", "a.h5"].size == len(BODY)
    assert load_lock(path)["s3", "a.h5"].checksum == UNKNOWN
    assert main(["lock", "--refresh", "set", "--lock", str(path)]) == 0
    assert "sha256 of each of its 3 files" in capsys.readouterr().out
    assert main(["lock", "--refresh", "geo", "--lock", str(path)]) == 0
    assert "a.tar: nobody states anything of it" in capsys.readouterr().out
    assert path.read_text().splitlines()[5:] == before[5:]
    assert main(["lock", "--refresh", "nobody", "--lock", str(path)]) == 1
    assert "has no source nobody; choose one of geo, s3, set, zen" in capsys.readouterr().err


def test_every_unknown_of_the_lock_says_who_is_asked(project):
    """What the lock does not know is asked of somebody, or the row says that nobody states it."""
    for entry in load_lock(project / "resources/data_lock.tsv").values():
        if entry.checksum == UNKNOWN:
            asked = any(module.is_asked(url) for url in entry.urls)
            assert ("asked of" in entry.stated) == asked, entry
            assert asked or "states no checksum" in entry.stated, entry

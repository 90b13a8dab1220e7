"""A hub on this machine that answers like huggingface.co: API, redirects to a storage, ranges, gates.

Its answers are those that the client ``huggingface_hub`` understands; a test compares.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class Repository:
    """A model: commits with their files by name, and the commit that each branch has."""

    commits: dict[str, dict[str, bytes]]
    branches: dict[str, str]
    gated: bool = False
    allowed: set[str] = field(default_factory=set)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Hub:
    """The hub and its storage, which is another address, as it is for the real one."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.accounts: set[str] = set()
        self.requests: list[tuple[str, str, dict[str, str]]] = []  # of the hub
        self.stored: list[tuple[str, dict[str, str]]] = []  # of the storage
        self.cut_after: list[int] = []  # bytes after which the storage breaks off, for one answer each
        self.served: dict[str, bytes] = {}  # other bytes than promised, by checksum
        self._blobs: dict[str, bytes] = {}
        self.storage = self._start(self._answer_storage)
        self.hub = self._start(self._answer_hub)
        self.base = f"http://127.0.0.1:{self.hub.server_address[1]}"
        self.storage_base = f"http://127.0.0.1:{self.storage.server_address[1]}"

    def _start(self, answer) -> ThreadingHTTPServer:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    answer(self)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    def close(self) -> None:
        for server in (self.hub, self.storage):
            server.shutdown()
            server.server_close()

    # -- answers ---------------------------------------------------------------------------------

    def _send(self, handler, status: int, body: bytes = b"", **headers: str) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(body)

    def _refuse(self, handler, status: int, code: str, message: str) -> None:
        body = json.dumps({"error": message}).encode()
        headers = {"X_Error_Message": message, "Content_Type": "application/json; charset=utf-8"}
        self._send(handler, status, body, **({"X_Error_Code": code} if code else {}), **headers)

    def _answer_hub(self, handler) -> None:
        self.requests.append((handler.command, handler.path, dict(handler.headers)))
        path = unquote(urlsplit(handler.path).path)
        token = (handler.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token and token not in self.accounts:
            self._refuse(handler, 401, "", "Invalid credentials in Authorization header")
            return
        parts = path.removeprefix("/api/models").strip("/").split("/")
        name, rest = "/".join(parts[:2]), parts[2:]
        repository = self.repositories.get(name)
        if repository is None:
            self._refuse(handler, 401, "RepoNotFound", "Invalid username or password.")
            return
        revision = rest[1] if len(rest) > 1 else "main"
        commit = repository.branches.get(revision, revision)
        if commit not in repository.commits:
            self._refuse(handler, 404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        files = repository.commits[commit]
        if path.startswith("/api/models/"):
            self._describe(handler, name, rest, commit, files, repository)
            return
        file = "/".join(rest[2:])
        if repository.gated and token not in repository.allowed:
            status = 403 if token else 401
            message = f"Access to model {name} is restricted" + (
                ""
                if token
                else ". You must have access to it and be authenticated to access it. Please log in."
            )
            self._refuse(handler, status, "GatedRepo", message)
            return
        if file not in files:
            self._refuse(handler, 404, "EntryNotFound", "Entry not found")
            return
        digest = sha256(files[file])
        self._blobs[digest] = files[file]
        self._send(
            handler,
            302,
            Location=f"{self.storage_base}/{digest}?Expires=1",
            X_Repo_Commit=commit,
            X_Linked_Size=str(len(files[file])),
            X_Linked_ETag=f'"{digest}"',
            ETag=f'"{digest}"',
            Accept_Ranges="bytes",
        )

    def _describe(self, handler, name, rest, commit, files, repository) -> None:
        told: object
        if rest[:1] == ["tree"]:
            told = [
                {
                    "type": "file",
                    "oid": hashlib.sha1(content).hexdigest(),
                    "size": len(content),
                    "lfs": {"oid": sha256(content), "size": len(content), "pointerSize": 135},
                    "path": file,
                }
                for file, content in files.items()
            ]
        else:
            lfs = "blobs=true" in handler.path
            told = {
                "_id": "0",
                "id": name,
                "modelId": name,
                "sha": commit,
                "private": False,
                "gated": "manual" if repository.gated else False,
                "siblings": [
                    {"rfilename": file}
                    | (
                        {
                            "size": len(content),
                            "lfs": {
                                "sha256": sha256(content),
                                "size": len(content),
                                "pointerSize": 135,
                            },
                        }
                        if lfs
                        else {}
                    )
                    for file, content in files.items()
                ],
            }
        self._send(handler, 200, json.dumps(told).encode(), Content_Type="application/json; charset=utf-8")

    def _answer_storage(self, handler) -> None:
        self.stored.append((handler.command, dict(handler.headers)))
        digest = urlsplit(handler.path).path.strip("/")
        content = self.served.get(digest, self._blobs[digest])
        asked = handler.headers.get("Range")
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        handler.send_response(206 if asked else 200)
        handler.send_header("ETag", f'"{digest}"')
        handler.send_header("Content-Length", str(len(content) - start))
        if asked:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        handler.end_headers()
        if handler.command != "GET":
            return
        body = content[start:]
        if self.cut_after:
            handler.wfile.write(body[: self.cut_after.pop(0)])
            handler.wfile.flush()
            handler.connection.close()
            return
        handler.wfile.write(body)


@contextlib.contextmanager
def running_hub() -> Iterator[Hub]:
    hub = Hub()
    try:
        yield hub
    finally:
        hub.close()

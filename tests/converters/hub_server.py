"""A hub on this machine, with the few requests that downloading takes: huggingface_hub's own code talks to it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Repositories by their id, each a folder; `sent` are the bytes of each file that were asked for."""

    endpoint: str
    repositories: dict[str, Path]
    sent: dict[str, int] = field(default_factory=dict)
    is_up: bool = True


@contextmanager
def serving(repositories: dict[str, Path]) -> Iterator[Hub]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.hub = Hub(f"http://127.0.0.1:{server.server_port}", repositories)
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server.hub
    server.shutdown()
    server.server_close()
    thread.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub = self.server.hub
        parts = unquote(urlsplit(self.path).path).removeprefix("/api/models").strip("/").split("/")
        if not hub.is_up:
            return self.answer(503, b"down")
        repository, what, revision = "/".join(parts[:2]), *(parts[2:4] if len(parts) > 3 else ("revision", "main"))
        folder = hub.repositories.get(repository)
        if folder is None:
            return self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        if revision not in ("main", COMMIT):
            return self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        if what == "revision":
            siblings = [{"rfilename": name} for name in files]
            return self.answer(200, json.dumps({"id": repository, "sha": COMMIT, "siblings": siblings}).encode())
        if what == "tree":
            entries = [
                {"type": "file", "path": name, "size": path.stat().st_size, "oid": etag(path)}
                for name, path in files.items()
            ]
            return self.answer(200, json.dumps(entries).encode())
        name = "/".join(parts[4:])
        if name not in files:
            return self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        return self.send_file(name, files[name])

    def send_file(self, name: str, path: Path) -> None:
        content, headers = path.read_bytes(), {"ETag": f'"{etag(path)}"', "X-Repo-Commit": COMMIT}
        if self.command == "HEAD":
            return self.answer(200, content, headers)
        status = 200
        if wanted := self.headers.get("Range"):
            first, last = wanted.removeprefix("bytes=").split("-")
            end = int(last) + 1 if last else len(content)
            status, headers["Content-Range"] = 206, f"bytes {first}-{min(end, len(content)) - 1}/{len(content)}"
            content = content[int(first) : end]
        self.server.hub.sent[name] = self.server.hub.sent.get(name, 0) + len(content)
        return self.answer(status, content, headers)

    def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def etag(path: Path) -> str:
    return sha1(path.read_bytes()).hexdigest()

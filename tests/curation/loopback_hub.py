"""A server on loopback that answers as the Hugging Face hub does for one data set, org/name, of one branch.

What it knows: looking at a commit and its tree, downloads in ranges, and a commit made from here: which files go up as
large ones, their upload, and the commit itself, refused when its parent is not the head. Every file is a large one.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote

COMMIT = "3cbc646" + "0" * 33
API, GIT, FILES = (
    "/api/datasets/org/name",
    "/datasets/org/name.git/info/lfs/objects/batch",
    "/datasets/org/name/resolve",
)


class Hub:
    """Its files and its head; `broken` answers no download. `meanwhile` is called before a commit is looked at."""

    def __init__(self, files: dict[str, bytes], broken: bool = False):
        self.commits, self.uploads, self.endpoint = {COMMIT: dict(files)}, {}, ""
        self.head, self.broken, self.meanwhile = COMMIT, broken, lambda: None

    def advance(self, files: dict[str, bytes]) -> str:
        """Another commit on the branch."""
        commit = hashlib.sha1(f"{self.head}{sorted(files)}".encode()).hexdigest()
        self.commits[commit], self.head = self.commits[self.head] | files, commit
        return commit

    def files(self, revision: str) -> dict[str, bytes] | None:
        return self.commits.get(self.head if revision == "main" else revision)

    def entries(self, files: dict[str, bytes], below: str, whole: bool) -> list[dict]:
        """What lies in a folder, or anywhere below it."""
        prefix, found = f"{below}/" if below else "", {}
        for path in sorted(path for path in files if path.startswith(prefix)):
            parts = path.removeprefix(prefix).split("/")
            for n in range(1, len(parts) if whole else min(len(parts), 2)):
                found.setdefault(name := prefix + "/".join(parts[:n]), folder_entry(name))
            if whole or len(parts) == 1:
                found[path] = file_entry(path, files[path])
        return list(found.values())

    def at(self, files: dict[str, bytes], path: str) -> list[dict]:
        if path in files:
            return [file_entry(path, files[path])]
        return [folder_entry(path)] if any(name.startswith(f"{path}/") for name in files) else []

    def commit(self, lines: list[dict]) -> str | None:
        """The new head; None when the parent that it names is not the head."""
        self.meanwhile()
        added = {}
        for line in lines:
            match line["key"], line["value"]:
                case "header", value if value.get("parentCommit") not in (None, self.head):
                    return None
                case "file", value:
                    added[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile", value:
                    added[value["path"]] = self.uploads[value["oid"]]
        return self.advance(added)


def file_entry(path: str, data: bytes) -> dict:
    large = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 120}
    return {"type": "file", "path": path, "oid": "0" * 40, "size": len(data), "lfs": large}


def folder_entry(path: str) -> dict:
    return {"type": "directory", "path": path, "oid": "1" * 40}


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        path, _, query = unquote(self.path).partition("?")
        what, _, rest = path.removeprefix(f"{API}/").removeprefix(f"{FILES}/").rstrip("/").partition("/")
        if path.startswith(FILES):
            return self.download(what, rest)
        revision, _, below = rest.partition("/")
        files = self.hub.files(revision)
        if what == "commits":
            listed = [{"id": sha, "title": "", "message": "", "authors": [], "date": "2025-01-01T00:00:00.000Z"}
                      for sha in (*self.hub.commits, "f" * 40)]  # fmt: skip
            return self.answer(200, listed)
        if files is None:
            return self.answer(404, {}, {"X-Error-Code": "RevisionNotFound"})
        if what == "revision":
            sha = self.hub.head if revision == "main" else revision
            return self.answer(200, {"id": "org/name", "sha": sha})
        entries = self.hub.entries(files, below, "recursive=true" in query.lower())
        self.answer(200, entries) if entries else self.answer(404, {}, {"X-Error-Code": "EntryNotFound"})

    do_HEAD = do_GET

    def do_POST(self) -> None:
        path, body = unquote(self.path).partition("?")[0], self.rfile.read(int(self.headers["Content-Length"]))
        if path.startswith(f"{API}/paths-info/"):
            files = self.hub.files(path.rpartition("/")[2]) or {}
            return self.answer(200, [e for name in parse_qs(body.decode())["paths"] for e in self.hub.at(files, name)])
        if path == f"{API}/preupload/main":
            asked = [{"path": file["path"], "uploadMode": "lfs"} for file in json.loads(body)["files"]]
            return self.answer(200, {"files": [one | {"shouldIgnore": False, "oid": None} for one in asked]})
        if path == GIT:
            return self.answer(
                200, {"transfer": "basic", "objects": list(map(self.wanted, json.loads(body)["objects"]))}
            )
        made = self.hub.commit(list(map(json.loads, body.splitlines())))
        if made is None:
            return self.answer(412, {"error": "A commit has happened since"})
        self.answer(200, {"commitUrl": f"{self.hub.endpoint}/datasets/org/name/commit/{made}", "commitOid": made})

    def wanted(self, large: dict) -> dict:
        """Whether a large file is to be uploaded: not if its content is known."""
        if large["oid"] in self.hub.uploads:
            return large
        return large | {"actions": {"upload": {"href": f"{self.hub.endpoint}/upload/{large['oid']}"}}}

    def do_PUT(self) -> None:
        self.hub.uploads[self.path.rpartition("/")[2]] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200, {})

    def download(self, revision: str, path: str) -> None:
        data = (self.hub.files(revision) or {}).get(path)
        if data is None:
            return self.answer(404, {}, {"X-Error-Code": "EntryNotFound"})
        if self.hub.broken and not self.headers.get("Range"):
            return self.answer(403, {})
        first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        body = data[int(first) : int(last) + 1 if last else None]
        told = {"Content-Range": f"bytes {first}-{int(first) + len(body) - 1}/{len(data)}"}
        told |= {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": revision}
        self.answer(206, body, told)

    def answer(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        own = {"Content-Length": str(len(sent)), "Content-Type": "application/json"}
        for name, value in (own | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(sent)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the test's output is not the server's."""


@contextmanager
def served(hub: Hub) -> Iterator[str]:
    """The address of the hub, while it is open."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OfThis", (Handler,), {"hub": hub}))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub.endpoint
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

"""Copies between stores: whole, the same ID, only what is missing, nothing where it cannot end well."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote

import pytest

import manifests
from manifests.errors import UserError
from manifests.exchange import copy, lacking
from manifests.manifest import load_all, tag, verify
from manifests.store import CRASH_EXIT, Store

ROOT = Path(manifests.__file__).parents[1]
COMMIT = "3cbc646" + "0" * 33


def test_a_manifest_goes_there_and_back(store: Store, corpus, tmp_path: Path):
    made, other, third = corpus(store), Store(tmp_path / "other"), Store(tmp_path / "third")
    (copied,) = copy(store, "math@1", other)
    assert (copied.manifest.id, copied.files, copied.bytes) == (made.id, len(store.list("objects")), made.bytes)
    assert verify(other, copied.manifest) == []
    (back,) = copy(other, made.id, store)
    assert (back.manifest.id, back.files, back.bytes) == (made.id, 0, 0)
    assert copy(store, made.id[:12], third)[0].manifest.id == made.id


def test_only_what_is_missing_is_copied(folder: Store, corpus, tmp_path: Path):
    corpus(folder)
    other = Store(tmp_path / "other")
    copy(folder, "math@1", other)
    corpus(folder, "2", [("z1", "web", 3, None)])
    (copied,) = copy(folder, "math@2", other)
    shared = set(other.list("objects"))
    assert copied.files < len({*shared}) and verify(other, copied.manifest) == []
    lost = copied.manifest.files("texts")[0]
    other.put(lost.path, b"cut")
    assert copy(folder, "math@2", other)[0].files == 1
    assert verify(other, copied.manifest) == []


def test_parents_come_first_and_under_every_name(folder: Store, corpus, mixture, tmp_path: Path):
    source = corpus(folder)
    tag(folder, source.id, "nicknamed", "7")
    made = mixture(folder, source, [("a1", "web", 11)])
    alone, whole = Store(tmp_path / "alone"), Store(tmp_path / "whole")
    assert lacking(copy(folder, made.ref, alone)[-1].manifest) == [source.id]
    copied = copy(folder, made.ref, whole, parents=True)
    assert [one.manifest.ref for one in copied] == ["math@1", "nicknamed@7", "mix@1"]
    assert lacking(copied[-1].manifest) == []
    with pytest.raises(UserError, match=r"is not in .*alone"):
        copy(alone, made.ref, Store(tmp_path / "third"), parents=True)


def test_a_name_that_is_taken_is_told_before_anything_is_copied(folder: Store, corpus, tmp_path: Path):
    other = Store(tmp_path / "other")
    corpus(other, rows=[("z1", "web", 3, None)])
    before = other.list("objects")
    corpus(folder)
    with pytest.raises(UserError, match="octo manifest tag"):
        copy(folder, "math@1", other)
    assert other.list("objects") == before


@pytest.mark.parametrize("point", [1, 3, 4, 9])
def test_a_copy_that_was_killed_goes_on(point: int, folder: Store, corpus, tmp_path: Path):
    made, other = corpus(folder), Store(tmp_path / "other")
    command = [sys.executable, "-m", "octo", "publish", "math@1", other.root, "--store", folder.root]
    environment = os.environ | {"OCTO_CRASH_AT": str(point), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=120)
    assert done.returncode == CRASH_EXIT
    assert load_all(other) == ([], [])
    kept = len(other.list("objects"))
    (copied,) = copy(folder, "math@1", other)
    assert copied.files == len(folder.list("objects")) - kept
    assert verify(other, copied.manifest) == [] and copied.manifest.id == made.id


def test_what_cannot_be_a_target_is_said_at_once(folder: Store, corpus, s3_endpoint):
    corpus(folder)
    with pytest.raises(UserError, match="cannot reach s3://no-such-bucket/store"):
        copy(folder, "math@1", Store("s3://no-such-bucket/store"))


@contextmanager
def hub_with(folder: Path) -> Iterator[str]:
    """A server that answers as the hub does for the data set org/name at one commit: the files of `folder`."""

    def entry(path: Path) -> dict:
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            return {"type": "directory", "path": name, "oid": "1" * 40}
        return {"type": "file", "path": name, "oid": "0" * 40, "size": path.stat().st_size}

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = unquote(self.path).partition("?")
            if path == f"/api/datasets/org/name/revision/{COMMIT}":
                return self.answer(200, json.dumps({"id": "org/name", "sha": COMMIT}).encode())
            for head in (f"/api/datasets/org/name/tree/{COMMIT}", f"/datasets/org/name/resolve/{COMMIT}"):
                target = folder / path.removeprefix(head).strip("/")
                if path.startswith(head) and "tree" in head and target.is_dir():
                    every = sorted(target.rglob("*") if "recursive=true" in query.lower() else target.iterdir())
                    return self.answer(200, json.dumps([entry(path) for path in every]).encode())
                if path.startswith(head) and target.is_file():
                    return self.download(target.read_bytes())
            self.answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})

        do_HEAD = do_GET

        def do_POST(self) -> None:
            asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()).get("paths", [])
            self.answer(200, json.dumps([entry(folder / name) for name in asked if (folder / name).exists()]).encode())

        def download(self, data: bytes) -> None:
            first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
            body = data[int(first) : int(last) + 1 if last else None]
            ranged = {"Content-Range": f"bytes {first}-{int(first) + len(body) - 1}/{len(data)}"}
            self.answer(206, body, ranged | {"ETag": '"0"', "X-Repo-Commit": COMMIT})

        def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the test's output is not the server's."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def octo(*arguments: str, store: Store, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the hub's client reads its settings once."""
    settings = {
        "PYTHONPATH": str(ROOT),
        "OCTO_STORE": store.url,
        "NO_PROXY": "127.0.0.1",
        "HF_HOME": f"{store.root}/hf",
    }
    command = [sys.executable, "-m", "octo", *arguments]
    return subprocess.run(command, env=os.environ | settings | environment, capture_output=True, text=True, timeout=120)


def test_the_hub_is_a_source_and_no_target(folder: Store, corpus, mixture, tmp_path: Path):
    made = mixture(folder, corpus(folder), [("a1", "web", 11)])
    repository = tmp_path / "repository"
    copy(folder, "mix@1", Store(repository / "store"), parents=True)
    here, there = Store(tmp_path / "here"), f"hf://datasets/org/name@{COMMIT}/store"
    with hub_with(repository) as endpoint:
        pulled = octo("pull", made.id[:12], there, "--parents", store=here, HF_ENDPOINT=endpoint)
        refused = octo("publish", "mix@1", there, store=here, HF_ENDPOINT=endpoint)
    assert pulled.returncode == 0, pulled.stderr
    assert pulled.stdout.splitlines()[-1] == made.id
    assert all(verify(here, manifests.open(name, here)) == [] for name in ("math@1", "mix@1"))
    assert refused.returncode == 1 and "cannot create a file exclusively" in refused.stderr
    offline = octo("pull", "math@1", there, store=here, HF_ENDPOINT="http://127.0.0.1:9")
    assert offline.returncode == 1 and len(offline.stderr.strip().splitlines()) == 1
    assert offline.stderr.startswith("octo: cannot reach hf://datasets/org/name")

"""Where everything lies: a folder or any fsspec URL, written so that a reader sees a file whole or not at all.

    objects/<2 hex>/<sha256><suffix>   data files named by checksum; writing one twice is harmless
    manifests/<name>/<version>.json    records, put once and never replaced
    runs/<run-id>/…                    ledgers and checkpoints of runs

Promises. `put_object` and `put_once` are durable when they return (file and folder fsynced on a local disk). `put_once`
is put-if-absent: of two writers one gets True (hard link locally; a conditional put, If-None-Match, on S3). `put`
replaces atomically. A process killed at any moment leaves at most a file under `tmp/`, which `octo manifest gc` takes.

`OCTO_CRASH_AT=n` stops the process dead (`os._exit`) at the n-th numbered point of writing, so that a test can walk
through all of them. Leaves out: locking of a store, and object stores without conditional writes, which are refused.
"""

import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from manifests.errors import UserError

CRASH_EXIT = 86
"""Exit status of a process stopped at a crash point."""

_points_passed = 0


def crash_point(name: str) -> None:
    """A numbered point of writing; the process ends here when $OCTO_CRASH_AT is this number."""
    global _points_passed
    _points_passed += 1
    if os.environ.get("OCTO_CRASH_AT") == str(_points_passed):
        os.write(2, f"crash point {_points_passed}: {name}\n".encode())
        os._exit(CRASH_EXIT)


@dataclass(frozen=True)
class Blob:
    """A file of the store: `path` relative to it, SHA-256 of the bytes, size in bytes."""

    path: str
    sha256: str
    bytes: int


def file_sha256(path: Path) -> str:
    """SHA-256 of a local file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Store:
    """A folder or fsspec URL that holds manifests, objects and runs. Paths are relative, with forward slashes."""

    def __init__(self, url: str | Path):
        self.fs, root = fsspec.url_to_fs(str(url), use_listings_cache=False)
        self.is_local = isinstance(self.fs, LocalFileSystem)
        self.root = str(Path(root).resolve()) if self.is_local else root.rstrip("/")
        protocol = self.fs.protocol if isinstance(self.fs.protocol, str) else self.fs.protocol[0]
        self.url = self.root if self.is_local else f"{protocol}://{self.root}"

    @classmethod
    def default(cls) -> "Store":
        """The store named by $OCTO_STORE, else ./store."""
        return cls(os.environ.get("OCTO_STORE") or "store")

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    def full(self, path: str) -> str:
        """`path` as the file system of the store knows it."""
        return f"{self.root}/{path}"

    def uri(self, path: str) -> str:
        """`path` for DuckDB, Polars or pyarrow: an absolute local path, or a URL with its protocol."""
        return f"{self.url}/{path}"

    # -- reading ---------------------------------------------------------------------------------------------------

    def exists(self, path: str) -> bool:
        return self.fs.exists(self.full(path))

    def size(self, path: str) -> int:
        """Bytes of a file; FileNotFoundError when it is missing."""
        return self.fs.size(self.full(path))

    def read(self, path: str) -> bytes:
        return self.fs.cat_file(self.full(path))

    def open(self, path: str) -> IO[bytes]:
        return self.fs.open(self.full(path), "rb")

    def list(self, prefix: str) -> list[str]:
        """Every file below `prefix`, sorted; empty when there is none."""
        found = self.fs.find(self.full(prefix))
        return sorted(str(name)[len(self.root) + 1 :] for name in found)

    def local(self, path: str) -> Path:
        """A local file with the content of `path`: itself in a folder, else a copy (of an object, made only once)."""
        if self.is_local:
            return Path(self.full(path))
        copy = self._cache() / path
        if not (path.startswith("objects/") and copy.exists()):
            copy.parent.mkdir(parents=True, exist_ok=True)
            aside = copy.with_name(f"{copy.name}.{uuid.uuid4().hex}")
            self.fs.get_file(self.full(path), str(aside))
            os.replace(aside, copy)
        return copy

    # -- writing ---------------------------------------------------------------------------------------------------

    def put_object(self, source: bytes | Path, suffix: str) -> Blob:
        """Store `source` under the name of its checksum. A local file given as Path is moved, not copied."""
        digest = hashlib.sha256(source).hexdigest() if isinstance(source, bytes) else file_sha256(source)
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        blob = Blob(f"objects/{digest[:2]}/{digest}{suffix}", digest, size)
        crash_point(f"before {blob.path}")
        if not (self.exists(blob.path) and self.size(blob.path) == size):
            self._write(blob.path, source)
        elif self.is_local:
            os.utime(self.full(blob.path))  # young again: garbage collection spares it until a record names it
        crash_point(f"after {blob.path}")
        return blob

    def put(self, path: str, data: bytes) -> None:
        """Write or replace `path`: a reader sees the old bytes or the new, never a mixture."""
        crash_point(f"before {path}")
        self._write(path, data)
        crash_point(f"after {path}")

    def put_file(self, path: str, source: Path) -> None:
        """Like `put`, with the content of a local file, which is moved."""
        crash_point(f"before {path}")
        self._write(path, source)
        crash_point(f"after {path}")

    def put_once(self, path: str, data: bytes) -> bool:
        """Write `path` only if nothing is there. True for the writer that won, False for every other."""
        crash_point(f"before {path}")
        won = self._link_once(path, data) if self.is_local else self._put_if_absent(path, data)
        crash_point(f"after {path}")
        return won

    def delete(self, path: str) -> None:
        self.fs.rm_file(self.full(path))

    def _write(self, path: str, source: bytes | Path) -> None:
        if not self.is_local:
            if isinstance(source, bytes):
                self.fs.pipe_file(self.full(path), source)
            else:
                self.fs.put_file(str(source), self.full(path))
            return
        aside = self._aside(source)
        target = Path(self.full(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        crash_point(f"aside, not yet {path}")
        os.replace(aside, target)
        _sync_folder(target.parent)

    def _link_once(self, path: str, data: bytes) -> bool:
        aside = self._aside(data)
        target = Path(self.full(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        crash_point(f"aside, not yet {path}")
        try:
            os.link(aside, target)  # unlike rename, fails when the name is taken
        except FileExistsError:
            return False
        finally:
            aside.unlink()
        _sync_folder(target.parent)
        return True

    def _put_if_absent(self, path: str, data: bytes) -> bool:
        try:
            self.fs.pipe_file(self.full(path), data, mode="create")
        except FileExistsError:
            return False
        except (NotImplementedError, TypeError) as error:
            raise UserError(
                f"{self.url} cannot write a file only if it is absent", "Use a local folder or an S3-compatible store"
            ) from error
        return True

    def _aside(self, source: bytes | Path) -> Path:
        """A synced file under tmp/ with the content of `source` (a Path is moved there)."""
        aside = Path(self.root) / "tmp" / uuid.uuid4().hex
        aside.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, Path):
            shutil.move(source, aside)
        with aside.open("ab") as file:
            if isinstance(source, bytes):
                file.write(source[: len(source) // 2])
                crash_point("half of a file is written")
                file.write(source[len(source) // 2 :])
            file.flush()
            os.fsync(file.fileno())
        return aside

    # -- local working folders --------------------------------------------------------------------------------------

    def scratch(self, name: str) -> Path:
        """A local folder for the intermediate files of one build; stays after a crash so that the build can go on.

        Inside a local store under work/; for a remote store under $OCTO_SCRATCH or the system's temporary folder.
        """
        folder = (Path(self.root) if self.is_local else self._cache()) / "work" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextmanager
    def temporary(self) -> Iterator[Path]:
        """A local folder on the same disk as a local store, gone afterwards."""
        base = Path(self.root) / "tmp" if self.is_local else self._cache()
        base.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=base) as folder:
            yield Path(folder)

    def _cache(self) -> Path:
        base = Path(os.environ.get("OCTO_SCRATCH") or Path(tempfile.gettempdir()) / "octothinker")
        return base / hashlib.sha256(self.url.encode()).hexdigest()[:16]

    def filesystem(self) -> Any:
        """The fsspec file system, for libraries that take one."""
        return self.fs


def _sync_folder(folder: Path) -> None:
    """Make a rename or link in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

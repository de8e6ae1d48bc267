"""The store: a folder or any fsspec URL, in which a file is visible completely or not at all.

    objects/<2 hex>/<sha256><suffix>   data files named by checksum; writing one twice is harmless
    manifests/<name>/<version>.json    records, put once and never replaced
    runs/<run-id>/…                    ledgers and checkpoints of runs

Promises. What was written is durable when the call returns (file and folders fsynced on a local disk). `put_once` is an
exclusive write: of two writers one gets True (hard link locally; a conditional put, If-None-Match, on S3). `put`
replaces atomically. A process killed at any moment leaves at most orphaned files under `tmp/` or `objects/`, which
`octo manifest gc` removes.

In a local store `objects` and `runs` may be symbolic links to folders on other disks, which then hold their own `tmp/`.

`OCTO_CRASH_AT=n` ends the process at once (`os._exit`) at the n-th numbered point of writing, so that a test can visit
all of them. Leaves out: locking of a store, file systems that cannot create a file exclusively (records are refused
there), and the parts of an interrupted multipart upload, which the bucket's lifecycle rule should expire.
"""

import errno
import fcntl
import hashlib
import inspect
import os
import platform
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.local import LocalFileSystem

from manifests.errors import UserError
from manifests.paths import below, moved, parts, refuse_links_out

CRASH_EXIT = 86
"""Exit status of a process stopped at a crash point."""

OBJECT = re.compile(r"objects/(?P<head>[0-9a-f]{2})/(?P<sha256>(?P=head)[0-9a-f]{62})(?P<suffix>(\.[A-Za-z0-9._-]+)?)")
"""What the path of a data file looks like."""

HOST = platform.node()
"""The name of this machine."""
ASIDE = re.compile(r"(objects|runs)/tmp/([0-9a-f]{32}|octo-[^/]+/.+)")
"""What is being written into a folder that is a link to another disk, until it is renamed there."""

MOVABLE = ("objects", "runs")
"""Folders of a local store that its owner may have on another disk, through a symbolic link."""

CONFLICTS = 5
"""Attempts at a conditional write: S3 answers 409 while another writer's request is in progress."""

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
        try:
            self.fs, root = fsspec.url_to_fs(str(url), use_listings_cache=False)
        except Exception as error:  # each kind of archive raises exceptions of its own
            said = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(f"cannot open a store at {url}: {said}", "Give a folder or an fsspec URL") from error
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
        """`path` in the form that the file system of the store expects. UserError for a path outside the store."""
        names = path.split("/") if path else []
        if self.is_local:
            return str(below(self.root, *names, movable=MOVABLE))
        return "/".join([self.root, *parts(*names)])

    def uri(self, path: str) -> str:
        """`path` for DuckDB, Polars or pyarrow: an absolute local path, or a URL with its protocol."""
        return self.full(path) if self.is_local else f"{self.url}/{'/'.join(parts(*path.split('/')))}"

    # -- reading ---------------------------------------------------------------------------------------------------

    def exists(self, path: str) -> bool:
        return self.fs.exists(self.full(path))

    def size(self, path: str) -> int:
        """Bytes of a file; FileNotFoundError when it is missing."""
        return self.fs.size(self._file(path))

    def read(self, path: str, limit: int | None = None) -> bytes:
        """The bytes of a file, or the first `limit` of them."""
        if limit is None:
            return self.fs.cat_file(self._file(path))
        try:
            return self.fs.cat_file(self._file(path), start=0, end=limit)
        except OSError as error:
            if _s3_code(error) in ("InvalidRange", "416"):  # what S3 says of the first bytes of an empty file
                return b""
            raise

    def open(self, path: str) -> IO[bytes]:
        return self.fs.open(self._file(path), "rb")

    def _file(self, path: str) -> str:
        """`full`; FileNotFoundError if it is not a regular file of a local store: reading a pipe would never end."""
        place = self.full(path)
        if self.is_local and not os.path.isfile(place):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), place)
        return place

    def read_table(self, path: str, columns: list[str] | None = None) -> pa.Table:
        """One Parquet file as a table."""
        with self.open(path) as file:
            return pq.read_table(file, columns=columns)

    def sha256(self, path: str) -> str:
        """SHA-256 of what is stored at `path` now, as hex; FileNotFoundError when it is missing."""
        with self.open(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # fsspec files can readinto

    def list(self, prefix: str) -> list[str]:
        """Every file below `prefix`, sorted; empty when there is none. Links to folders are not followed."""
        if self.is_local:
            walk = os.walk(self.full(prefix))
            found = [f"{folder}/{name}" for folder, _, names in walk for name in names]
        else:
            found = self.fs.find(self.full(prefix))
        return sorted(str(name)[len(self.root) + 1 :] for name in found)

    def modified(self, path: str) -> float:
        """When `path` was last written, in seconds since 1970, by the store's clock."""
        return self.fs.modified(self.full(path)).timestamp()

    def local(self, path: str) -> Path:
        """A local file with the content of `path`: the file itself in a local store, else a copy (of an object only
        one)."""
        if self.is_local:
            return Path(self.full(path))
        copy, known = below(self._cache(), *path.split("/")), OBJECT.fullmatch(path)
        if known and copy.exists():
            return copy
        copy.parent.mkdir(parents=True, exist_ok=True)
        aside = copy.with_name(f"{copy.name}.{uuid.uuid4().hex}")
        self.fs.get_file(self.full(path), str(aside))
        if known and file_sha256(aside) != known["sha256"]:
            aside.unlink()
            raise UserError(f"{self.uri(path)} is damaged: checksum differs", "Restore it or build it again")
        os.replace(aside, copy)
        return copy

    # -- writing ---------------------------------------------------------------------------------------------------

    def put_object(self, source: bytes | Path, suffix: str) -> Blob:
        """Store `source` under the name of its checksum. A local file given as Path is moved, not copied.

        Written even when it exists: that repairs a damaged file, and makes an orphaned one too recent for garbage
        collection.
        """
        digest = hashlib.sha256(source).hexdigest() if isinstance(source, bytes) else file_sha256(source)
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        blob = Blob(f"objects/{digest[:2]}/{digest}{suffix}", digest, size)
        self.put(blob.path, source)
        return blob

    def put(self, path: str, source: bytes | Path) -> None:
        """Write or replace `path`: a reader sees the old bytes or the new, never a mixture. A Path is moved."""
        self.full(path)  # refused before anything is written aside
        crash_point(f"before {path}")
        if self.is_local:
            self._replace(path, source)
        elif isinstance(source, bytes):
            self.fs.pipe_file(self.full(path), source)
        else:
            self.fs.put_file(str(source), self.full(path))
            source.unlink()
        crash_point(f"after {path}")

    def put_once(self, path: str, data: bytes) -> bool:
        """Write `path` only if it does not exist. True for the writer that succeeded, False for every other."""
        self.full(path)
        crash_point(f"before {path}")
        won = self._link_once(path, data) if self.is_local else self._put_if_absent(path, data)
        crash_point(f"after {path}")
        return won

    def delete(self, path: str) -> None:
        """Remove a file; the removal is durable when the call returns."""
        crash_point(f"before removing {path}")
        if self.is_local:
            os.unlink(self.full(path))
            _sync(Path(self.full(path)).parent)
        else:
            self.fs.rm_file(self.full(path))

    def _replace(self, path: str, source: bytes | Path) -> None:
        aside, target = self._aside(source, path), Path(self.full(path))
        _make_folder(target.parent)
        crash_point(f"aside, not yet {path}")
        os.replace(aside, target)
        _sync(target.parent)

    def _link_once(self, path: str, data: bytes) -> bool:
        aside, target = self._aside(data, path), Path(self.full(path))
        _make_folder(target.parent)
        crash_point(f"aside, not yet {path}")
        try:
            os.link(aside, target)  # unlike rename, fails when the name is taken
        except FileExistsError:
            return False
        finally:
            aside.unlink()
        _sync(target.parent)
        return True

    def _put_if_absent(self, path: str, data: bytes) -> bool:
        self.refuse_unless_exclusive()
        for attempt in range(CONFLICTS):
            try:
                self.fs.pipe_file(self.full(path), data, mode="create")
                return True
            except FileExistsError:
                return False
            except OSError as error:
                match _s3_code(error):
                    case "PreconditionFailed" | "412":  # not every S3-compatible store names the condition that failed
                        return False
                    case "ConditionalRequestConflict" | "409" if attempt < CONFLICTS - 1:
                        time.sleep(0.1 * 2**attempt)
                    case _:
                        raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    def refuse_unless_exclusive(self) -> None:
        """UserError if records cannot be written: two writers of one name would both believe that they had
        succeeded."""
        if not self.is_local and not self._creates_exclusively():
            raise UserError(f"{self.url} cannot create a file exclusively", "Use a local folder or an S3 store")

    def _creates_exclusively(self) -> bool:
        """Whether the file system's own pipe_file knows mode="create"; fsspec's default only checks before it
        writes."""
        own = type(self.fs)._pipe_file if isinstance(self.fs, AsyncFileSystem) else type(self.fs).pipe_file
        return own is not fsspec.AbstractFileSystem.pipe_file and "mode" in inspect.signature(own).parameters

    def free_bytes(self, top: str) -> int:
        """Bytes free on the disk of the folder `top` of this local store."""
        near = (Path(self.full(top)), Path(self.root), Path.cwd())
        return shutil.disk_usage(next(folder for folder in near if folder.exists())).free

    def moved(self) -> tuple[str, ...]:
        """The folders of this store that are symbolic links to folders elsewhere."""
        return moved(self.root, MOVABLE) if self.is_local else ()

    def refuse_links_out(self, folder: Path) -> None:
        """UserError when a symbolic link somewhere in `folder` of this local store leads out of the store."""
        refuse_links_out(self.root, folder, MOVABLE)

    def _tmp(self, top: str) -> Path:
        """Where files are written that are renamed into the folder `top` of this local store: on the same disk."""
        return Path(self.full(f"{top}/tmp" if top in self.moved() else "tmp"))

    def _aside(self, source: bytes | Path, path: str) -> Path:
        """A synced file with the content of `source` (a Path is moved there), in the tmp/ on the disk of `path`."""
        aside = self._tmp(path.split("/")[0]) / uuid.uuid4().hex
        _make_folder(aside.parent)
        if isinstance(source, bytes):
            with aside.open("wb") as file:
                file.write(source[: len(source) // 2])
                file.flush()
                crash_point("half of a file is written")
                file.write(source[len(source) // 2 :])
        elif source.is_symlink():
            shutil.copyfile(source, aside)  # what the link names is not ours to move
        else:
            shutil.move(source, aside)
        _sync(aside)
        return aside

    # -- local working folders --------------------------------------------------------------------------------------

    def scratch(self, name: str) -> Path:
        """A local folder for the intermediate files of one build; it stays after a crash so that the build can resume.

        Inside a local store under work/; for a remote store under $OCTO_SCRATCH or the user's cache folder.
        """
        folder = self.scratch_path(name)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextmanager
    def alone(self, name: str) -> Iterator[Path]:
        """`scratch(name)`, locked by this process; UserError while another process of this machine holds it."""
        while True:
            folder = self.scratch(name)
            refuse_links_out(folder, folder)
            lock = try_lock(folder / "lock")
            if not lock:
                hint = "Wait until it has ended; then the same command finds its work done"
                raise UserError(f"another process is building the same in {folder}", hint)
            with lock:
                if (folder / "lock").exists():  # else its last holder has removed the folder meanwhile
                    yield folder
                    return

    def scratch_path(self, name: str) -> Path:
        """The path of `scratch`, without creating it."""
        return below(self.root if self.is_local else self._cache(), "work", name)

    @contextmanager
    def temporary(self, top: str = "") -> Iterator[Path]:
        """A local folder on the same disk as a local store, or as its folder `top`; gone afterwards."""
        base = self._tmp(top) if self.is_local else self._cache()
        base.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=base, prefix="octo-") as folder:
            yield Path(folder)

    def _cache(self) -> Path:
        """A folder that only this user can write: in another one, somebody could replace a copy."""
        users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "octothinker"
        base = Path(os.environ.get("OCTO_SCRATCH") or users)
        return base / hashlib.sha256(self.url.encode()).hexdigest()[:16]


def try_lock(path: Path) -> IO[str] | None:
    """The file `path`, open and locked for this process until it is closed; None while another process holds it.

    The file then says who holds it: host and process ID.
    """
    lock = path.open("a")  # not "w": what the holder has written stays until it lets go
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    lock.truncate(0)
    lock.write(f"{HOST} {os.getpid()}\n")
    lock.flush()
    return lock


def lock_holder(path: Path) -> tuple[str, int] | None:
    """Host and process ID of the process that holds the lock `path`; None when none does."""
    if not path.exists():
        return None
    if lock := try_lock(path):
        lock.close()
        return None
    host, _, pid = path.read_text(encoding="utf-8").strip().partition(" ")
    return host, int(pid or 0)


def _s3_code(error: OSError) -> str:
    """The error code an object store gave, from the client error that s3fs wraps; "" when there is none."""
    return str(getattr(error.__cause__, "response", {}).get("Error", {}).get("Code", ""))


def _make_folder(folder: Path) -> None:
    """Create `folder` and what is missing above it, each name durable."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync(path: Path) -> None:
    """Make the content of a file, or the entries of a folder, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

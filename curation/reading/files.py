"""Which files a source has, which it passes over, and the checksum of each.

Promises. Files come sorted by name, HTML files in groups of PAGES_PER_TASK. Whatever lies at the path of a source and
is not read is a `LeftOut` with the reason: nothing is left out in silence. What the user must put right (a path that is
not there, a link to a folder, a name that is not text) is a UserError. Formats are told by `evaluation.formats`. Leaves
out what is in the files: see `curation.reading.records`.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from curation.config import HUB_SCHEME, SAMPLE_SCHEME, SourceRecipe
from curation.reading import hub
from curation.roles import Format
from evaluation.formats import BY_NAME, SIDECARS, SUFFIXES, filesystem, spelled_out, told
from evaluation.rows import first_words
from manifests.errors import BROKEN_ARCHIVE, UserError
from manifests.paths import below

PAGES: tuple[Format, ...] = tuple(name for name, kind in BY_NAME.items() if kind.read is None)  # type: ignore[assignment]
"""Formats whose records are HTML pages, whatever the adapter of their source."""


PAGES_PER_TASK = 256
"""HTML files that one task reads: a task of its own costs 0.1 s and more, a page 3 ms."""
SHOWN = 5
"""Names of files left out that a line holds."""


@dataclass(frozen=True)
class Span:
    """A stretch of a large file that is one task's: its bytes from `start` to `end` (of Parquet: the row groups that
    begin there), the position of its first record, and the SHA-256 of these bytes."""

    start: int
    end: int
    first: int
    sha256: str


@dataclass(frozen=True)
class InputFile:
    """One file of a source, or the `span` of one: `url` opens it, `name` is relative to the source's path. HTML files
    go together, one record each in the order of `parts`, their names; `url` is then what all of them begin with."""

    source: str
    name: str
    url: str
    format: Format
    bytes: int
    sha256: str = ""
    parts: tuple[str, ...] = ()
    span: Span | None = None

    @property
    def size(self) -> int:
        """Bytes that are read of it."""
        return self.span.end - self.span.start if self.span else self.bytes

    @property
    def files(self) -> "list[InputFile]":
        """The files themselves."""
        return [replace(self, name=name, url=self.url + name, parts=(), sha256="") for name in self.parts] or [self]


@dataclass(frozen=True)
class LeftOut:
    """A file at the path of a source that is not read, its name relative to that path, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class Listing:
    """What lies at the path of a source: the files that are read, sorted by name, and those that are not."""

    files: list[InputFile]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def reasons(self) -> dict[str, int]:
        """How many files are left out, by the reason, the commonest first."""
        return dict(Counter(one.why for one in self.left_out).most_common())

    @property
    def said(self) -> str:
        """What is left out, in a line; nothing if nothing is."""
        if not self.left_out:
            return ""
        reasons = ", ".join(f"{count:,} {why}" for why, count in self.reasons.items())
        shown = ", ".join(one.name for one in self.left_out[:SHOWN])
        more = ", …" if len(self.left_out) > SHOWN else ""
        files = "file is" if len(self.left_out) == 1 else "files are"
        return f"{len(self.left_out):,} {files} left out ({reasons}): {shown}{more}"


def find_files(source: SourceRecipe, sample: Path | None, gone: bool = False) -> list[InputFile]:
    """The files of `source` that are read; see `list_files`."""
    return list_files(source, sample, gone).files


def list_files(source: SourceRecipe, sample: Path | None, gone: bool = False) -> Listing:
    """The files of `source`, sorted by name, HTML files in groups. `sample` is the folder of the built-in sample, if it
    was written; `gone`: there need not be any."""
    path = hub.pinned(source) if on_hub(source) else resolve(source.path, sample)
    files, left_out, empty = [], [], []
    for one in _paths(path):
        fs, base, found = _found(source, one)
        empty += [] if found else [one]
        for info in found:
            name = info["name"].removeprefix(base.rstrip("/") + "/")
            if why := _passed_over(source, name, base, info["name"]):
                left_out.append(LeftOut(name, why))
            else:
                files.append(_input_file(source, fs, name, info))
    if gone and not files:
        return Listing([], tuple(left_out))
    if empty:
        where = source.path if path == empty[0] else empty[0]
        raise UserError(f"source {source.name}: nothing at {where}", "Give a file, a folder or a glob that exists")
    if not files:
        raise _none_is_read(source, left_out)
    files = sorted({file.url: file for file in files}.values(), key=lambda file: file.name)
    return Listing(_grouped(files), tuple(sorted(left_out, key=lambda one: one.name)))


def _none_is_read(source: SourceRecipe, left_out: list[LeftOut]) -> UserError:
    known = f"no file at {source.path} ends in {', '.join(SUFFIXES)}"
    said = Listing([], tuple(left_out)).said
    hint = "Unpack archives; for files of one of these formats under another name say `format` in the recipe"
    return UserError(f"source {source.name}: {known}; {said}", hint)


def _paths(path: str) -> list[str]:
    """What `{a,b}` in a path stands for; a path that is there is itself."""
    choices = spelled_out(path)
    return choices if len(choices) > 1 and not _is_there(path) else [path]


def _is_there(path: str) -> bool:
    fs, root = filesystem(path)
    return is_local(fs) and fs.lexists(root)


def _found(source: SourceRecipe, path: str) -> tuple[Any, str, list[dict[str, Any]]]:
    """The file system of `path`, the folder that names are relative to, and what is there."""
    try:
        with hub.one_line(source):
            fs, root = filesystem(path)
            found = [_info(fs, name) for name in _matching(fs, root)]
    except (OSError, ValueError, ImportError, *BROKEN_ARCHIVE) as error:
        raise UserError(
            f"source {source.name}: cannot list {source.path!r}: {first_words(error)}", "Check the path"
        ) from error
    _refuse_unreadable(source, fs, found)
    folder = _folder(root) if _is_glob(fs, root) else os.path.dirname(root)
    return fs, root if fs.isdir(root) else folder, found


def _folder(pattern: str) -> str:
    """The folder above the first wildcard of a glob."""
    return os.path.dirname(re.split(r"[*?\[]", pattern)[0])


def _passed_over(source: SourceRecipe, name: str, base: str, path: str) -> str | None:
    """Why the file is not read; None for one that is. A file that the recipe names itself is read whatever its name."""
    if SIDECARS.search(name) and not _asked_for(source, name):
        return "hidden or not data"
    if _format(source, path):
        return None
    suffix = os.path.splitext(name)[1]
    return f"{suffix} is no format" if suffix else "without a suffix"


def _asked_for(source: SourceRecipe, name: str) -> bool:
    """Whether the path itself names such a file: `data/.hidden/*.jsonl`."""
    return bool(SIDECARS.search(os.path.basename(source.path))) or source.path.endswith(f"/{name}")


def on_hub(source: SourceRecipe) -> bool:
    """Whether the files of `source` lie on the hub."""
    return source.path.startswith(HUB_SCHEME)


def resolve(path: str, sample: Path | None) -> str:
    """`path` with sample:// replaced by the folder of the built-in sample."""
    if not path.startswith(SAMPLE_SCHEME):
        return path
    return str(below(str(sample), *(name for name in path.removeprefix(SAMPLE_SCHEME).split("/") if name)))


def _matching(fs: Any, root: str) -> list[str]:
    strict = {"on_error": "raise"} if is_local(fs) else {}  # else closed folders are passed over
    if _is_glob(fs, root):
        return [name for name in fs.glob(root, **strict) if not fs.isdir(name)]
    if fs.isdir(root):
        return fs.find(root, **strict)
    return [root] if fs.exists(root) else []


def is_local(fs: Any) -> bool:
    return isinstance(fs, LocalFileSystem)


def _is_glob(fs: Any, root: str) -> bool:
    """Whether `root` is a pattern: `data [v2]` may also be the name of a folder."""
    return any(mark in root for mark in "*?[") and not (is_local(fs) and fs.lexists(root))


def _info(fs: Any, name: str) -> dict[str, Any]:
    """What `fs` says of a file. A link that leads nowhere is of type `other`."""
    try:
        return fs.info(name)
    except OSError:
        if not is_local(fs):
            raise
        return {"name": name, "size": 0, "type": "other"}


def _refuse_unreadable(source: SourceRecipe, fs: Any, found: list[dict[str, Any]]) -> None:
    """UserError for what cannot be read, would be read for ever, or would be left out in silence: a pipe or a link that
    leads nowhere, a link to a folder (which is not followed), a name that no table can hold."""
    for info in found:
        name, kind = info["name"], info["type"]
        to_folder = kind == "directory" and info.get("islink")
        if to_folder or (kind != "file" and _format(source, name)):
            what = "a link to a folder" if to_folder else "not a regular file"
            raise UserError(f"source {source.name}: {name!r} is {what}", "Remove it, or give a glob without it")
        if not _storable(name):
            raise UserError(f"source {source.name}: the file name {name!r} is no UTF-8", "Rename the file")
        if "::" in name and not is_local(fs):  # in a URL it would name another place
            raise UserError(f"source {source.name}: the file name {name!r} holds '::'", "Rename the file")


def _storable(name: str) -> bool:
    """Whether a file name is text: one of bytes that are no UTF-8 holds half surrogate pairs."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _format(source: SourceRecipe, name: str) -> Format | None:
    kind = told(name)
    return source.format or (kind.name if kind else None)


def _input_file(source: SourceRecipe, fs: Any, name: str, info: dict[str, Any]) -> InputFile:
    kind = _format(source, info["name"])
    assert kind, "files without a format were left out"
    known = (info.get("lfs") or {}).get("sha256", "")  # the hub tells that of large files: no need to read them twice
    return InputFile(source.name, name, _url(source, fs, info["name"]), kind, info["size"], known)


def _url(source: SourceRecipe, fs: Any, name: str) -> str:
    """What opens the file `name`: of an archive (`zip://*.jsonl::pages.zip`) with where the archive lies."""
    url, (first, _, inner) = fs.unstrip_protocol(name), source.path.partition("::")
    if not inner or "://" not in first:
        return url
    return f"{url}::{inner if '://' in inner else os.path.abspath(inner)}"


def _grouped(files: list[InputFile]) -> list[InputFile]:
    """`files` with the HTML files among them, many and small as a rule, in groups of PAGES_PER_TASK; those in an
    archive, whose URLs do not end in their names, stay alone."""
    pages = [file for file in files if file.format == "html" and "::" not in file.url]
    groups = [pages[start : start + PAGES_PER_TASK] for start in range(0, len(pages), PAGES_PER_TASK)]
    return [file for file in files if file.format != "html" or "::" in file.url] + [_group(group) for group in groups]


def _group(files: list[InputFile]) -> InputFile:
    first, names = files[0], tuple(file.name for file in files)
    if len(files) == 1:
        return first
    begin, size = first.url.removesuffix(first.name), sum(file.bytes for file in files)
    return replace(first, name=f"{names[0]}…{names[-1]}", url=begin, bytes=size, parts=names, sha256="")


def checksum(file: InputFile, source: SourceRecipe) -> str:
    """SHA-256 of the bytes of `file` of `source`, as hex; of a group, that of its files' checksums."""
    if file.parts:
        sums = [checksum(part, source) for part in file.files]
        return hashlib.sha256("".join(sums).encode()).hexdigest()
    if file.sha256:
        return file.sha256
    try:
        with hub.one_line(source), opened(file) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
    except (OSError, *BROKEN_ARCHIVE) as error:
        raise UserError(
            f"source {file.source}: cannot read {file.url}: {first_words(error)}", "Make the file readable"
        ) from error


@contextmanager
def opened(file: InputFile) -> Iterator[Any]:
    """The bytes of `file`; UserError where it cannot be opened."""
    try:
        fs, path = filesystem(file.url)  # an archive is closed as soon as nobody holds its file system
        stream: Any = fs.open(path, "rb")
    except (OSError, ValueError, *BROKEN_ARCHIVE) as error:
        raise UserError(
            f"source {file.source}: cannot read {file.url}: {first_words(error)}", "Make the file readable"
        ) from error
    with stream:
        yield stream

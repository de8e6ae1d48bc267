"""Formats of the files of sources and benchmarks: one table, and how the format of a file is recognised.

FORMATS holds everything about a format: its name, its suffixes, the reader of its rows (`evaluation.rows`), and where a
large file may be cut into tasks. The format of a file is recognised by its name, in any case, with or without the
suffix of a compression; the compression by the name or by the first bytes, so that a gzip file without `.gz` is read.
Promises. A stream that breaks off raises, whatever its compression; consecutive members and frames are all read; zstd
windows may be of any size. Leaves out archives (tar, zip), and pages: HTML and WARC have no rows here,
`curation.reading` reads them.
"""

import bz2
import io
import lzma
import os
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import fsspec
import zstandard
from fsspec.implementations.local import LocalFileSystem

from evaluation import rows

Format = Literal["jsonl", "json", "csv", "tsv", "parquet", "arrow", "html", "warc"]


@dataclass(frozen=True)
class Kind:
    """One format. `read` gives its rows, None where a file holds pages; `cut` says at what a large file is divided;
    `packed`: whether it may be compressed as a whole; `text_per_byte`: bytes of text, about, that one on disk holds."""

    name: Format
    suffixes: tuple[str, ...]
    read: rows.Reader | None = None
    cut: Literal["lines", "row groups"] | None = None
    packed: bool = True
    text_per_byte: float = 1.0


@dataclass(frozen=True)
class Packing:
    """A compression: its suffixes, the first bytes of what it wrote, and a decoder of one member or frame."""

    name: str
    suffixes: tuple[str, ...]
    magic: bytes
    decoder: Callable[[], Any]
    read_bytes: int = 1 << 16
    text_per_byte: float = 3.5


FORMATS: tuple[Kind, ...] = (
    Kind("jsonl", (".jsonl", ".ndjson", ".jl"), rows.json_lines, cut="lines"),
    Kind("json", (".json",), rows.json_values),
    Kind("csv", (".csv",), rows.csv_rows),
    Kind("tsv", (".tsv",), rows.tsv_rows),
    Kind("parquet", (".parquet", ".pq"), rows.parquet_rows, cut="row groups", packed=False, text_per_byte=2.5),
    Kind("arrow", (".arrow", ".feather"), rows.arrow_rows, packed=False),
    Kind("html", (".html", ".htm", ".xhtml")),
    Kind("warc", (".warc", ".warc.gz"), packed=False, text_per_byte=3.0),
)
LONGEST_WINDOW = 1 << 31
"""Bytes that a zstd frame may look back: `zstd --long=31`."""
PACKINGS: tuple[Packing, ...] = (
    Packing("gzip", (".gz", ".gzip"), b"\x1f\x8b", lambda: zlib.decompressobj(31)),
    Packing(
        "zstd", (".zst", ".zstd"), b"\x28\xb5\x2f\xfd",
        lambda: zstandard.ZstdDecompressor(max_window_size=LONGEST_WINDOW).decompressobj(), read_bytes=1 << 12,
    ),
    Packing("bzip2", (".bz2",), b"BZh", bz2.BZ2Decompressor),
    Packing("xz", (".xz",), b"\xfd7zXZ\0", lzma.LZMADecompressor),
)  # fmt: skip
UNNAMED: tuple[str, Format] = (".zst", "json")
"""The format of a name with only this suffix: Reddit's dumps are called RC_2012-01.zst."""
BY_NAME: dict[str, Kind] = {kind.name: kind for kind in FORMATS}
SUFFIXES: tuple[str, ...] = tuple(suffix for kind in FORMATS for suffix in kind.suffixes)
FOREIGN = {
    b"PAR1": "Parquet", b"ARROW1": "Arrow", b"PK\x03\x04": "a ZIP archive", b"%PDF": "PDF", b"Obj\x01": "Avro",
    b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"SQLite format 3": "SQLite", b"7z\xbc\xaf": "a 7z archive",
    b"\x04\x22\x4d\x18": "compressed by lz4", b"\xff\x06\x00\x00sNaPpY": "compressed by snappy",
    b"\x1f\x9d": "compressed by compress", b"\x89HDF": "HDF5", b"ORC": "ORC", b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG", b"\x7fELF": "a program",
}  # fmt: skip
"""First bytes of files that do not hold lines of text, whatever their name."""
SIDECARS = re.compile(
    r"(^|/)(\.|__MACOSX(/|$)|_temporary/|_delta_log/|_SUCCESS$|_(started|committed)_\d+$"
    r"|(dataset_infos?|dataset_dict|state)\.json(l)?$)|\.crc$"
)
"""Names that are not data: hidden files and folders, files of Spark, Delta and Hadoop, and the metadata that `datasets`
saves."""


# -- a file by its name ------------------------------------------------------------------------------------------------


def told(name: str) -> Kind | None:
    """The format according to a file's name; None if the name does not show one."""
    low = os.path.basename(name).lower()
    packing = packing_of(low)
    bare = low.removesuffix(next((s for s in packing.suffixes if low.endswith(s)), "")) if packing else low
    for kind in FORMATS:
        if low.endswith(kind.suffixes) or (packing and kind.packed and bare.endswith(kind.suffixes)):
            return kind
    return BY_NAME[UNNAMED[1]] if low.endswith(UNNAMED[0]) and "." not in bare else None


def bare(name: str) -> str:
    """A file's name without the suffixes of its compression and its format."""
    packing = packing_of(name)
    suffixes = (*(packing.suffixes if packing else ()),)
    plain = name[: -len(next(s for s in suffixes if name.lower().endswith(s)))] if suffixes else name
    kind = told(plain)
    ends = [suffix for suffix in (kind.suffixes if kind else ()) if plain.lower().endswith(suffix)]
    return plain[: -max(map(len, ends))] if ends else plain


def packing_of(name: str) -> Packing | None:
    """The compression that a name tells."""
    return next((packing for packing in PACKINGS if name.lower().endswith(packing.suffixes)), None)


def named(said: Any) -> Any:
    """The name of a format for any spelling of it: `.JSONL`, `ndjson`, `jsonl.zst`; what is none stays as it is."""
    if not isinstance(said, str) or said in BY_NAME:
        return said
    kind = told(f"x.{said.lstrip('.')}")
    return kind.name if kind else said


# -- where it lies -----------------------------------------------------------------------------------------------------


def filesystem(path: str) -> tuple[Any, str]:
    """fsspec's file system of `path`, and the path there. Without a scheme it is local, whatever `::` its name holds;
    `~` is the home folder."""
    bare = path.removeprefix("file://")
    if "://" in bare:
        return fsspec.url_to_fs(path)
    return LocalFileSystem(), LocalFileSystem._strip_protocol(os.path.expanduser(bare))


def spelled_out(path: str) -> list[str]:
    """The paths of a pattern with `{a,b}` or `{00..13}`, expanded as in a shell; without braces the path itself."""
    match = re.search(r"\{([^{}]*,[^{}]*|(\d+)\.\.(\d+))\}", path)
    if not match:
        return [path]
    choices = match[1].split(",")
    if match[2]:
        width = len(match[2]) if match[2].startswith("0") else 0
        choices = [f"{number:0{width}}" for number in range(int(match[2]), int(match[3]) + 1)]
    return [found for choice in choices for found in spelled_out(path[: match.start()] + choice + path[match.end() :])]


# -- what is in it -----------------------------------------------------------------------------------------------------


def unpacked(stream: Any, name: str, kind: Kind) -> Any:
    """The decompressed bytes of a file called `name`. OSError for a file that is not of `kind`."""
    head = _peek(stream)
    packing = packing_of(name) if kind.packed else None
    packing = packing or next((found for found in PACKINGS if kind.packed and head.startswith(found.magic)), None)
    if packing:
        stream = io.BufferedReader(_Unpacked(stream, packing), 1 << 20)
        head = stream.peek(16)
    if kind.name in ("jsonl", "json", "csv", "tsv") and (what := _foreign(head)):
        raise OSError(f"the file is {what}, not {kind.name}")
    return stream


def is_packed(stream: Any) -> bool:
    """Whether the bytes of `stream` are compressed."""
    return _peek(stream).startswith(tuple(packing.magic for packing in PACKINGS))


def _peek(stream: Any) -> bytes:
    place = stream.tell()
    head = stream.read(16)
    stream.seek(place)
    return head


def _foreign(head: bytes) -> str | None:
    return next((what for magic, what in FOREIGN.items() if head.startswith(magic)), None)


class _Unpacked(io.RawIOBase):
    """The decompressed bytes of a stream: all its members or frames in order. Raises OSError where they break off.
    Zeros between and after them are padding."""

    def __init__(self, stream: Any, packing: Packing):
        self._stream, self._packing = stream, packing
        self._decoder, self._held, self._rest = packing.decoder(), b"", b""
        self._begun = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._held and self._more():
            pass
        size = min(len(buffer), len(self._held))
        buffer[:size] = self._held[:size]
        self._held = self._held[size:]
        return size

    def _more(self) -> bool:
        """Decode some more; False at the end."""
        data = self._rest or self._stream.read(self._packing.read_bytes)
        self._rest = b""
        if not self._begun:
            data = data.lstrip(b"\0") if self._packing.name != "zstd" else data
            self._begun = bool(data)
        if not data:
            if self._begun:
                raise OSError(f"the {self._packing.name} stream breaks off")
            return bool(self._stream.read(1) and self._stream.seek(-1, io.SEEK_CUR))
        try:
            self._held = memoryview(self._decoder.decompress(data))
        except (zlib.error, lzma.LZMAError, EOFError, ValueError, zstandard.ZstdError) as error:
            raise OSError(f"{self._packing.name}: {error}") from error
        if self._decoder.eof:
            self._rest, self._decoder, self._begun = self._decoder.unused_data, self._packing.decoder(), False
        return True

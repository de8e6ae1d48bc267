"""Writes the files of an export: Parquet, JSON lines or WebDataset tars, in a folder for each part.

Promises. Memory is one row group. A file ends after BYTES_PER_FILE of rows, and its name gives the number of files, as
loaders expect. Leaves out choosing the rows and describing them: see `manifests.exports.export`.
"""

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Protocol

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from manifests.manifest import BYTES_PER_GROUP
from manifests.paths import below
from manifests.progress import progress

BYTES_PER_FILE = 256 << 20
"""Bytes of rows in memory after which the next file begins: some 100 MB of Parquet."""
Pieces = Iterator[tuple[str, pa.Table]]
"""(part, rows): the parts one after the other, each in tables of one schema and some thousand rows."""


class Writer(Protocol):
    """One file being written."""

    def write_table(self, table: pa.Table) -> None: ...
    def close(self) -> None: ...


@dataclass
class Part:
    """The files written for one part, in order, with their rows and their bytes in memory. `writer` has the last file
    open while there is `room` in it."""

    name: str
    split: str
    schema: pa.Schema
    files: list[Path] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0
    writer: Writer | None = None
    room: int = 0

    def close(self) -> None:
        if self.writer:
            self.writer.close()
        self.writer = None


@dataclass
class Files:
    """Writes rows to files of BYTES_PER_FILE, in a folder for each part. `opened` opens a file for a schema."""

    folder: Path
    split: str
    suffix: str
    opened: Callable[[Path, pa.Schema], Writer]

    def write(self, pieces: Pieces) -> list[Part]:
        """Write all `pieces`; a part's come one after the other."""
        parts: dict[str, Part] = {}
        with progress("export") as advance:
            for name, tables in groupby(pieces, lambda piece: piece[0]):
                for table in (table for _, table in tables):
                    part = parts.setdefault(name, Part(name, self.split, table.schema))
                    self._append(part, table)
                    advance(len(table))
                self._end(parts[name])
        return list(parts.values())

    def _append(self, part: Part, table: pa.Table) -> None:
        if part.writer is None or part.room <= 0:
            part.close()
            path = below(self.folder, "data", part.name, f"{len(part.files)}.part")
            path.parent.mkdir(parents=True, exist_ok=True)
            part.files.append(path)
            part.writer, part.room = self.opened(path, part.schema), BYTES_PER_FILE
        part.writer.write_table(table)
        part.rows += len(table)
        part.bytes += table.nbytes
        part.room -= table.nbytes

    def _end(self, part: Part) -> None:
        """Give the files of `part` their final names, which include the number of files."""
        part.close()
        of = f"of-{len(part.files):05d}.{self.suffix}"
        named = [path.with_name(f"{part.split}-{number:05d}-{of}") for number, path in enumerate(part.files)]
        part.files = [path.rename(name) for path, name in zip(part.files, named, strict=True)]


class RowGroups:
    """A Parquet file with row groups of BYTES_PER_GROUP: a group of each small table would make it slow to read."""

    def __init__(self, path: Path, schema: pa.Schema):
        # pages are cut by content, so that the hub stores what two versions have in common once
        self.file = pq.ParquetWriter(
            path, schema, compression="zstd", write_page_index=True, use_content_defined_chunking=True
        )
        self.held: list[pa.Table] = []

    def write_table(self, table: pa.Table) -> None:
        self.held.append(table)
        if sum(held.nbytes for held in self.held) >= BYTES_PER_GROUP:
            self._write_group()

    def close(self) -> None:
        if self.held:
            self._write_group()
        self.file.close()

    def _write_group(self) -> None:
        whole = pa.concat_tables(self.held)
        self.file.write_table(whole, row_group_size=max(1, len(whole)))
        self.held = []


class JsonLines:
    """An object a line, compressed by zstd; columns that are NULL are there as null."""

    def __init__(self, path: Path):
        self.file = zstandard.open(path, "wb")

    def write_table(self, table: pa.Table) -> None:
        self.file.write(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in table.to_pylist()))

    def close(self) -> None:
        self.file.close()


class Samples:
    """A tar of samples as WebDataset reads them: `000000007.txt`, the text, and `000000007.json`, the other columns.

    Keys count through all files (doc_id is in the JSON), for a key may hold no dot. Nothing of this machine or of the
    time is written."""

    def __init__(self, path: Path, numbers: Iterator[int]):
        self.tar, self.numbers = tarfile.open(path, "w"), numbers  # noqa: SIM115 - closed by `close`

    def write_table(self, table: pa.Table) -> None:
        for row in table.to_pylist():
            key = f"{next(self.numbers):09d}"
            if row.get("text") is not None:
                self._add(f"{key}.txt", row.pop("text").encode())
            self._add(f"{key}.json", orjson.dumps(row))

    def _add(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        self.tar.addfile(member, BytesIO(data))

    def close(self) -> None:
        self.tar.close()

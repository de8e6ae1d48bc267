"""The rows of a file, one reader per format: JSON Lines, JSON, CSV, Parquet, Arrow.

A reader takes a stream and an `Ask`, and yields for each row its position and its content: `bytes` (the JSON text of
one record), a dict (a row of a table, text as bytes where the format does not promise UTF-8), or a `Fault`. Promises.
Every row is yielded once, and a bad row affects no other; a truncated file yields the rows before the end and then
raises one of BROKEN, or a `Fault` for each row group of Parquet. A row longer than `max_bytes` is a `Fault`, and no
line of that length is in memory. Lines end at LF, CRLF or CR; a byte order mark may begin any line.
"""

import codecs
import csv
import io
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROWS_PER_READ, BYTES_PER_READ, READ_BUFFER = 1024, 16 << 20, 1 << 20
UTF8_BYTES = 4
"""Bytes of the longest character."""
LONGEST_CELL = 64 << 20
"""Bytes of a CSV cell; a longer one has a quote that was never closed."""
TOO_LONG = object()
"""Placeholder for text that was not converted to a Python string, so that a huge document takes no more memory than its
page."""
BROKEN = (OSError, ValueError, pa.ArrowException)
"""What readers raise on damaged bytes."""
TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\],"]', re.DOTALL)

Row = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """Why a row cannot be read: a reason of `curation.reading.records.REASONS`, and the first words of the error."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Ask:
    """What is wanted of a file: columns of a table (all if there are none), the longest row, and the stretch of it from
    `start` to `end`, whose first row is the file's number `first`."""

    columns: tuple[str, ...] = ()
    max_bytes: int = sys.maxsize
    start: int = 0
    end: int | None = None
    first: int = 0

    @property
    def too_long(self) -> Fault:
        return Fault("record_too_long", f"more than {self.max_bytes} bytes")


Placed = tuple[int, bytes | Row | Fault]
Reader = Callable[[Any, Ask], Iterator[Placed]]


# -- JSON --------------------------------------------------------------------------------------------------------------


def json_lines(stream: Any, ask: Ask) -> Iterator[Placed]:
    """Each line that is not blank."""
    if ask.start:
        stream.seek(ask.start)
    at = ask.start
    lines = io.BufferedReader(_LineEnds(stream), READ_BUFFER)
    position = ask.first
    limit = min(ask.max_bytes, sys.maxsize - 1)
    while (ask.end is None or at < ask.end) and (line := lines.readline(limit + 1)):
        at += len(line)
        whole, rest = len(line) <= limit or line.endswith(b"\n"), line
        while not whole and rest and not rest.endswith(b"\n"):
            rest = lines.readline(1 << 16)
            at += len(rest)
        if not whole:
            yield position, ask.too_long
        elif (line := line.removeprefix(codecs.BOM_UTF8)).strip():
            yield position, line
        position += 1


class _LineEnds(io.RawIOBase):
    """A stream whose CR, where no LF follows, reads as LF: bytes stay where they are, and none is a CR in JSON."""

    def __init__(self, stream: Any):
        self._stream, self._held = stream, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._held + _some(self._stream, len(buffer) - len(self._held))
        self._held = b""
        if data.endswith(b"\r") and len(data) > 1:
            data, self._held = data[:-1], b"\r"
        elif data == b"\r" and (after := _some(self._stream, 1)):
            data, self._held = (b" ", b"\n") if after == b"\n" else (b"\n", after)
        buffer[: len(data)] = lone_ends(data)
        return len(data)


def _some(stream: Any, size: int) -> bytes:
    """No more than `size` bytes, as many as are had at once: who asks for all of them loses some where a stream breaks
    off."""
    return (getattr(stream, "read1", None) or stream.read)(size)


def lone_ends(data: bytes) -> bytes:
    """`data` with CR as LF, and that of CRLF as a space."""
    return data.replace(b"\r\n", b" \n").replace(b"\r", b"\n") if b"\r" in data else data


def json_values(stream: Any, ask: Ask) -> Iterator[Placed]:
    """The objects of a list, objects one after the other however they are laid out, or lines, as the file has it."""
    stream = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream, READ_BUFFER)
    head = stream.peek(1 << 16).removeprefix(codecs.BOM_UTF8).lstrip()
    line = lone_ends(head).split(b"\n", 1)[0].strip()
    if line.startswith(b"[") or (not _is_json(line) and not line.endswith(b"}") and len(head) > len(line)):
        yield from enumerate(_values(stream, ask))
    else:
        yield from json_lines(stream, ask)


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _values(stream: Any, ask: Ask) -> Iterator[bytes | Fault]:
    """The text of each value at the top, or in a list at the top. `begin` is where one begins in `held`, `at` where
    tokens are looked for; `depth` counts the brackets open there."""
    held, begin, at, depth, inside, long = b"", 0, 0, 0, False, False
    while block := _some(stream, max(READ_BUFFER, len(held))):
        held, begin, at = held[begin:] + block, 0, at - begin
        for token in TOKEN.finditer(held, at):
            mark = token[0]
            if mark == b'"':  # not closed as far as it was read
                at = token.start()
                break
            at = token.end()
            base = int(inside)
            if mark in b"{[":
                if mark == b"[" and not depth:
                    if text := held[begin : token.start()].removeprefix(codecs.BOM_UTF8).strip():
                        yield text
                    inside, begin = True, at
                depth += 1
            elif mark in b"}]":
                depth = max(depth - 1, 0)
            ended = (depth == base and mark == b",") or depth < base or (not base and mark == b"}" and not depth)
            if ended:
                text = held[begin : at - (mark != b"}" or depth < base)].removeprefix(codecs.BOM_UTF8).strip()
                if long or len(text) > ask.max_bytes:
                    yield ask.too_long
                elif text.strip(b","):
                    yield text
                begin, long, inside = at, False, inside and depth > 0
        if at - begin > ask.max_bytes:
            begin, long = at, True
    rest = held[begin:].strip()
    if depth or rest.removeprefix(codecs.BOM_UTF8).strip():
        yield Fault("invalid_json", "the file ends amid a value or a list")


# -- CSV ---------------------------------------------------------------------------------------------------------------


def csv_rows(stream: Any, ask: Ask, delimiter: str = ",") -> Iterator[Placed]:
    """The rows under the header; an empty cell is None, a cell that is not UTF-8 stays bytes."""
    csv.field_size_limit(LONGEST_CELL)
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
    table = csv.reader(text, delimiter=delimiter)
    try:
        names = next(table, [])
        for position, cells in enumerate(row for row in table if row):
            if len(cells) > len(names):
                yield position, Fault("ragged_row", f"{len(cells)} cells under {len(names)} names")
            elif sum(map(len, cells)) > ask.max_bytes:
                yield position, ask.too_long
            else:
                yield position, {name: _cell(cell) for name, cell in zip(names, cells, strict=False)}
    except csv.Error as error:
        raise ValueError(str(error)) from error
    finally:
        text.detach()


def tsv_rows(stream: Any, ask: Ask) -> Iterator[Placed]:
    """As CSV, with tabs."""
    return csv_rows(stream, ask, "\t")


def _cell(cell: str) -> str | bytes | None:
    if not cell:
        return None
    return cell if cell.isascii() or cell.isprintable() else _as_read(cell)


def _as_read(cell: str) -> str | bytes:
    """The cell, as bytes if they are not UTF-8."""
    try:
        cell.encode()
    except UnicodeEncodeError:
        return cell.encode("utf-8", "surrogateescape")
    return cell


# -- tables ------------------------------------------------------------------------------------------------------------


def parquet_rows(stream: Any, ask: Ask) -> Iterator[Placed]:
    """Row group by row group: one that is damaged takes no other with it, so what is read does not depend on the groups
    of a task."""
    parquet = pq.ParquetFile(stream, buffer_size=READ_BUFFER)
    names = parquet.schema_arrow.names
    wanted = [name for name in ask.columns if name in names] or (names[:1] if ask.columns else names)
    rows, position = _rows_per_read(parquet), 0
    for group in range(parquet.num_row_groups):
        if ask.end is None or ask.start <= group_start(parquet, group) < ask.end:
            batches = parquet.iter_batches(rows, row_groups=[group], columns=wanted)
            yield from _rows_of(batches, position, ask)
        position += parquet.metadata.row_group(group).num_rows


def group_start(parquet: pq.ParquetFile, group: int) -> int:
    """The first byte of a row group."""
    found = parquet.metadata.row_group(group)
    columns = [found.column(number) for number in range(found.num_columns)]
    offsets = [offset for c in columns for offset in (c.dictionary_page_offset, c.data_page_offset) if offset]
    return min(offsets, default=0)


def arrow_rows(stream: Any, ask: Ask) -> Iterator[Placed]:
    """Both of Arrow's own formats: files (Feather) and streams, as `datasets` saves them."""
    return _rows_of(_arrow_batches(stream, ask), 0, ask)


def _arrow_batches(stream: Any, ask: Ask) -> Iterator[pa.RecordBatch]:
    head = stream.read(6)
    stream.seek(0)
    if head == b"ARROW1":
        file = pa.ipc.open_file(stream)
        batches = (file.get_batch(number) for number in range(file.num_record_batches))
    else:
        batches = iter(pa.ipc.open_stream(stream))
    for batch in batches:
        names = batch.schema.names
        wanted = [name for name in ask.columns if name in names] or (names[:1] if ask.columns else names)
        rows = int(min(max(BYTES_PER_READ * batch.num_rows / max(batch.nbytes, 1), 1), ROWS_PER_READ))
        for start in range(0, batch.num_rows, rows):
            yield batch.select(wanted).slice(start, rows)


def _rows_of(batches: Iterator[pa.RecordBatch], position: int, ask: Ask) -> Iterator[Placed]:
    """The rows of one group, up to its damage. Text is handed on as bytes: neither format promises UTF-8."""
    long = Fault("record_too_long", f"more than {ask.max_bytes} characters")
    try:
        for batch in batches:
            columns = {name: _column(batch.column(name), ask.max_bytes) for name in batch.schema.names}
            for row in range(batch.num_rows):
                record = {name: values[row] for name, values in columns.items()}
                yield position, long if any(value is TOO_LONG for value in record.values()) else record
                position += 1
    except BROKEN as error:
        yield position, Fault("unreadable_file", first_words(error))


def _rows_per_read(file: pq.ParquetFile) -> int:
    """ROWS_PER_READ, or fewer where a row takes so many bytes that those would not fit BYTES_PER_READ."""
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    longest = max((group.total_byte_size / max(group.num_rows, 1) for group in groups), default=0)
    return int(min(max(BYTES_PER_READ / max(longest, 1), 1), ROWS_PER_READ))


def _column(column: pa.Array, max_bytes: int) -> list[Any]:
    """The values of a column, text as bytes; TOO_LONG for text that cannot have `max_bytes` characters or fewer."""
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    kind = _as_bytes(column.type)
    column = column if kind == column.type else column.cast(kind)
    if not pa.types.is_large_binary(kind) or max_bytes >= sys.maxsize // UTF8_BYTES:
        return column.to_pylist()
    long = pc.fill_null(pc.greater(pc.binary_length(column), UTF8_BYTES * max_bytes), False)
    values = pc.if_else(long, pa.scalar(None, kind), column).to_pylist() if pc.any(long).as_py() else column.to_pylist()
    for row in np.flatnonzero(long.to_numpy(zero_copy_only=False)).tolist():
        values[row] = TOO_LONG
    return values


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    """`kind` with bytes for text, at any depth."""
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pa.large_binary()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_as_bytes(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_as_bytes(field.type)) for field in kind])
    return kind


def first_words(error: Exception) -> str:
    """An error in one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__

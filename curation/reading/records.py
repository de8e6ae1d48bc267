"""From files to records: which files a source has, and every record in them, good or bad.

Promises. Each record of a file comes out exactly once, as fields or as a `Bad` with its position and a reason from
REASONS. A file that breaks off gives the records before the break and one `Bad`, a Parquet file this for each of its
row groups; a file without records gives one. No content of a file raises; what the user must put right (a path that is
not there, a column in no file) is a UserError. Blank lines are no records. An HTML file is one record, a WARC file one
per response (`curation.reading.warc`); both go through the adapter html. How a record becomes a document is
`curation.reading.adapters`.
"""

import codecs
import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation.config import SourceRecipe
from curation.reading import hub, warc
from curation.reading.adapters import REASONS as UNUSABLE
from curation.reading.adapters import Doubt, Record, document, needed, read_columns
from curation.reading.files import PAGES, InputFile, Span, checksum, first_words, is_local, opened
from curation.reading.pages import Refused, check_markup, decoded
from curation.roles import Format
from manifests.errors import BROKEN_ARCHIVE, UserError
from manifests.store import file_sha256

REASONS = (
    {
        "unreadable_file": "the file is damaged from here on, or no file of its format",
        "empty_file": "the file holds no record",
        "record_too_long": "longer than max_record_bytes",
        "invalid_utf8": "bytes that are no UTF-8",
        "invalid_json": "the line is no JSON",
        "not_an_object": "the line is JSON, but no object",
    }
    | UNUSABLE
    | warc.REASONS
)
FIELDS = ("url", "id", "text", "question", "response", "answer")
"""What a record's `base_id` is the hash of, in this order: one more renames every document of every corpus
(tests/test_identity_pins.py). What else a source says of a record belongs in `metadata` or a column of its own."""
ROWS_PER_READ, BYTES_PER_READ, READ_BUFFER = 1024, 16 << 20, 1 << 20
UTF8_BYTES = 4
"""Bytes of the longest character."""
TOO_LONG = object()
"""Stands for text that was not made a Python string, so that a huge document costs no more memory than its page."""
PEEK_RECORDS, PEEK_BYTES = 100, 1 << 20
BROKEN = (OSError, ValueError, pa.ArrowException)
"""What readers raise on damaged bytes; the files are local, so it is not the network."""


@dataclass(frozen=True)
class Bad:
    """A record that cannot become a document. `position` is its line or row from 0, None for a whole file."""

    position: int | None
    reason: str
    detail: str


Placed = tuple[int, Record | Bad]
"""A position and what was found there."""


@dataclass(frozen=True)
class Good:
    """A record as fields of a document, each text or None, not yet normalised; `doubt` says why to drop it. `scores`
    (by their column in `documents`) and `metadata` (JSON) are what else the source says of it, `text_share` and
    `formulas_lost` what reading a page found."""

    position: int
    fields: tuple[str | None, ...]
    doubt: Doubt | None = None
    scores: dict[str, float | None] = field(default_factory=dict)
    metadata: str | None = None
    text_share: float | None = None
    formulas_lost: int | None = None


# -- which files -----------------------------------------------------------------------------------------------------


def check_columns(source: SourceRecipe, files: list[InputFile]) -> None:
    """Refuse a source whose required columns are in none of its files, as a mistyped column name would have it."""
    seen: set[str] = set()
    wanted = set(needed(source))
    for file in files:
        with hub.one_line(source):
            seen |= {source.columns.text} if file.format in PAGES else _columns(file)
        if wanted <= seen:
            return
    if seen:
        missing = ", ".join(sorted(wanted - seen))
        raise UserError(
            f"source {source.name}: no file has column {missing}", f"There are {', '.join(sorted(seen))}; map `columns`"
        )


def _columns(file: InputFile) -> set[str]:
    """Columns seen at the beginning of `file`; none where it cannot be read."""
    with opened(file) as stream:
        try:
            if file.format == "parquet":
                return set(pq.read_schema(stream).names)
            lines = islice(_lines(_decompressed(io.BufferedReader(stream), file.format), PEEK_BYTES), PEEK_RECORDS)
            return {name for line, whole in lines if whole for name in _keys(line)}
        except (*BROKEN, *BROKEN_ARCHIVE):
            return set()


def _keys(line: bytes) -> list[str]:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return []
    return list(record) if isinstance(record, dict) else []


# -- what is in them -------------------------------------------------------------------------------------------------


def read_records(file: InputFile, source: SourceRecipe, max_bytes: int, folder: Path) -> Iterator[Good | Bad]:
    """Every record of `file`. A remote file is first copied into `folder`, so that its damage and a failing network
    are told apart: the latter raises."""
    if file.format in PAGES:
        source = source.model_copy(update={"adapter": "html"})
    if not file.parts:
        yield from _records(file, source, max_bytes, folder)
        return
    for position, part in enumerate(file.files):
        for record in _records(part, source, max_bytes, folder):
            named = {"detail": f"{part.name}: {record.detail}"} if isinstance(record, Bad) else {}
            yield replace(record, position=position, **named)
    if file.sha256 and checksum(replace(file, sha256=""), source) != file.sha256:
        raise _changed(file)


def _records(file: InputFile, source: SourceRecipe, max_bytes: int, folder: Path) -> Iterator[Good | Bad]:
    """The records of one file."""
    with _local(file, source, folder) as path:
        read = READERS[file.format]
        position, records = 0, 0
        try:
            for position, record in read(path, file, source, max_bytes):
                records += 1
                yield record if isinstance(record, Bad) else _good(position, record, source, max_bytes)
        except BROKEN as error:
            yield Bad(position + 1 if records else None, "unreadable_file", first_words(error))
            return
        if not records and not file.span:
            yield Bad(None, "empty_file", "no record")


@contextmanager
def _local(file: InputFile, source: SourceRecipe, folder: Path) -> Iterator[Path]:
    """A local file with the bytes of `file`. UserError afterwards if they are not those that were summed."""
    fs, path = fsspec.url_to_fs(file.url)
    local = is_local(fs)
    copy = Path(path) if local else folder / f"input-{hashlib.sha256(file.url.encode()).hexdigest()[:32]}"
    if not local:
        try:
            with hub.one_line(source):
                fs.get_file(path, str(copy))
        except BROKEN_ARCHIVE as error:
            raise UserError(
                f"source {file.source}: cannot read {file.url}: {first_words(error)}", "Mend the archive"
            ) from error
    yield copy
    known = file.span.sha256 if file.span else file.sha256
    if known and _sum(copy, file.span) != known:
        raise _changed(file)
    if not local:
        copy.unlink()


def _sum(path: Path, span: Span | None) -> str:
    """SHA-256 of a file, or of one span of it."""
    if not span:
        return file_sha256(path)
    found, left = hashlib.sha256(), span.end - span.start
    with path.open("rb") as stream:
        stream.seek(span.start)
        while left > 0 and (block := stream.read(min(left, READ_BUFFER))):
            found.update(block)
            left -= len(block)
    return found.hexdigest()


def _changed(file: InputFile) -> UserError:
    return UserError(f"source {file.source}: {file.url} changed while it was read", "Run the command again")


def _json_records(path: Path, file: InputFile, source: SourceRecipe, max_bytes: int) -> Iterator[Placed]:
    with path.open("rb") as stream:
        stream.seek(file.span.start if file.span else 0)
        lines = _lines(_decompressed(stream, file.format), max_bytes, file.span.end if file.span else None)
        for position, (line, whole) in enumerate(lines, file.span.first if file.span else 0):
            if not whole:
                yield position, Bad(position, "record_too_long", f"more than {max_bytes} bytes")
            elif line.strip():
                yield position, _parsed(position, line.removeprefix(codecs.BOM_UTF8) if position == 0 else line)


def _decompressed(stream: Any, kind: Format) -> io.BufferedIOBase:
    """Bytes of a JSONL file. pyarrow's decoder raises when the stream breaks off, which zstandard's reader does not."""
    if kind == "jsonl":
        return stream
    return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd"))  # type: ignore[arg-type]


def _lines(stream: io.BufferedIOBase, max_bytes: int, end: int | None = None) -> Iterator[tuple[bytes, bool]]:
    """Each line that begins before `end`, and whether it is whole; of one too long only a part is ever in memory."""
    while (end is None or stream.tell() < end) and (line := stream.readline(max_bytes + 1)):
        whole = len(line) <= max_bytes or line.endswith(b"\n")
        rest = line
        while not whole and rest and not rest.endswith(b"\n"):
            rest = stream.readline(1 << 16)
        yield line, whole


def _parsed(position: int, line: bytes) -> Record | Bad:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        reason = "invalid_json" if _is_utf8(line) else "invalid_utf8"
        return Bad(position, reason, first_words(error))
    if isinstance(record, dict):
        return record
    return Bad(position, "not_an_object", f"a {type(record).__name__}")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _parquet_records(path: Path, file: InputFile, source: SourceRecipe, max_bytes: int) -> Iterator[Placed]:
    """Rows as dicts of the columns that are read, row group by row group: one that is damaged takes no other with it,
    so what is read does not hang on which groups a task has."""
    parquet, span = pq.ParquetFile(path, buffer_size=READ_BUFFER), file.span
    names = parquet.schema_arrow.names
    wanted = [name for name in read_columns(source) if name in names] or names[:1]
    rows, position = _rows_per_read(parquet), 0
    for group in range(parquet.num_row_groups):
        if span is None or span.start <= group_start(parquet, group) < span.end:
            batches = parquet.iter_batches(rows, row_groups=[group], columns=wanted)
            yield from _rows_of(batches, position, max_bytes)
        position += parquet.metadata.row_group(group).num_rows


def group_start(parquet: pq.ParquetFile, group: int) -> int:
    """The first byte of a row group."""
    found = parquet.metadata.row_group(group)
    columns = [found.column(number) for number in range(found.num_columns)]
    offsets = [offset for c in columns for offset in (c.dictionary_page_offset, c.data_page_offset) if offset]
    return min(offsets, default=0)


def _rows_of(batches: Iterator[pa.RecordBatch], position: int, max_bytes: int) -> Iterator[Placed]:
    """The rows of one group, up to its damage. Text is handed on as bytes: Parquet does not promise UTF-8."""
    try:
        for batch in batches:
            columns = {name: _values(batch.column(name), max_bytes) for name in batch.schema.names}
            for row in range(batch.num_rows):
                record = {name: values[row] for name, values in columns.items()}
                too_long = any(value is TOO_LONG for value in record.values())
                yield (
                    position,
                    Bad(position, "record_too_long", f"more than {max_bytes} characters") if too_long else record,
                )
                position += 1
    except BROKEN as error:
        yield position, Bad(position, "unreadable_file", first_words(error))


def _rows_per_read(file: pq.ParquetFile) -> int:
    """ROWS_PER_READ, or fewer where a row takes so many bytes that those would not fit BYTES_PER_READ."""
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    longest = max((group.total_byte_size / max(group.num_rows, 1) for group in groups), default=0)
    return int(min(max(BYTES_PER_READ / max(longest, 1), 1), ROWS_PER_READ))


def _values(column: pa.Array, max_bytes: int) -> list[Any]:
    """The values of a column, text as bytes; TOO_LONG for text that cannot have `max_bytes` characters or fewer."""
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    kind = _as_bytes(column.type)
    column = column if kind == column.type else column.cast(kind)
    if not pa.types.is_large_binary(kind):
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


def _html_record(path: Path, file: InputFile, source: SourceRecipe, max_bytes: int) -> Iterator[Placed]:
    """The file's bytes as a record; of one that is too long no more than `max_bytes` are read."""
    with path.open("rb") as stream:
        data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        yield 0, Bad(0, "record_too_long", f"more than {max_bytes} bytes")
    elif data.strip():
        yield 0, _checked(data) or {source.columns.text: data}


def _checked(data: bytes) -> Bad | None:
    """Why a file that is called .html is no page."""
    try:
        check_markup(decoded(data))
    except Refused as refused:
        return Bad(0, *refused.args)
    return None


def _warc_records(path: Path, file: InputFile, source: SourceRecipe, max_bytes: int) -> Iterator[Placed]:
    for position, page in enumerate(warc.pages(path, max_bytes)):
        if isinstance(page, Refused):
            yield position, Bad(position, *page.args)
        else:
            yield position, dict(zip((source.columns.text, source.columns.url), page, strict=True))


READERS = {
    "jsonl": _json_records,
    "jsonl.zst": _json_records,
    "parquet": _parquet_records,
    "html": _html_record,
    "warc": _warc_records,
}


# -- a record as a document ------------------------------------------------------------------------------------------


def _good(position: int, record: Record, source: SourceRecipe, max_bytes: int) -> Good | Bad:
    try:
        parts = document(record, source)
    except Refused as refused:
        return Bad(position, *refused.args)
    fields = tuple(getattr(parts, name) for name in FIELDS)
    if sum(len(part) for part in fields if part) > max_bytes:
        return Bad(position, "record_too_long", f"more than {max_bytes} characters")
    of_page = parts.text_share, parts.formulas_lost
    return Good(position, fields, parts.doubt, parts.scores, parts.metadata, *of_page)

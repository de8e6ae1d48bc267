"""From files to records: every record in the files of a source, good or bad.

Promises. Each record of a file comes out exactly once, as fields or as a `Bad` with its position and a reason from
REASONS. A file that breaks off gives the records before the break and one `Bad`, a Parquet file this for each of its
row groups; a file without records gives one. No content of a file raises; what the user must put right (a column in no
file) is a UserError. A record is bad for the columns that are read, not for what stands in others. Blank lines are no
records. How rows are read is `evaluation.rows`; an HTML file is one record, a WARC file one per response
(`curation.reading.warc`), both go through the adapter html. How a record becomes a document is
`curation.reading.adapters`.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from curation.config import SourceRecipe
from curation.reading import hub, warc
from curation.reading.adapters import REASONS as UNUSABLE
from curation.reading.adapters import EarlyReason, Record, document, needed, read_columns
from curation.reading.files import PAGES, InputFile, Span, checksum, first_words, is_local, opened
from curation.reading.nested import may_hold, names_of, with_nested
from curation.reading.pages import Refused, check_markup, decoded
from evaluation.formats import BY_NAME, filesystem, unpacked
from evaluation.rows import BROKEN, READ_BUFFER, Ask, Fault, Row
from manifests.errors import BROKEN_ARCHIVE, UserError
from manifests.store import file_sha256

REASONS = (
    {
        "unreadable_file": "the file is damaged from here on, or no file of its format",
        "empty_file": "the file holds no record",
        "record_too_long": "longer than max_record_bytes",
        "invalid_utf8": "bytes that are no UTF-8",
        "invalid_json": "the line is not valid JSON",
        "not_an_object": "the line is JSON, but no object",
        "ragged_row": "a row of CSV has more cells than its header",
    }
    | UNUSABLE
    | warc.REASONS
)
FIELDS = ("url", "id", "text", "question", "response", "answer")
"""What a record's `base_id` is the hash of, in this order: one more renames every document of every corpus
(tests/test_identity_pins.py). What else a source says of a record belongs in `metadata` or a column of its own."""
PEEK_RECORDS, PEEK_BYTES = 100, 1 << 20
LOOKED_AT = 3
"""Files in which a first good record is looked for."""


@dataclass(frozen=True)
class Bad:
    """A record that cannot become a document. `position` is its line or row from 0, None for a whole file; `file` names
    the one it stands in where a task reads several."""

    position: int | None
    reason: str
    detail: str
    file: str | None = None


Placed = tuple[int, Record | Bad]
"""A position and what was found there."""


@dataclass(frozen=True)
class Good:
    """A record as fields of a document, each text or None, not yet normalised; `doubt` says why to drop it. `scores`
    (by their column in `documents`) and `metadata` (JSON) are what else the source says of it, `text_share` and
    `formulas_lost` what reading a page found; `file` names the one it stands in where a task reads several."""

    position: int
    fields: tuple[str | None, ...]
    early_reason: EarlyReason | None = None
    scores: dict[str, float | None] = field(default_factory=dict)
    metadata: str | None = None
    text_share: float | None = None
    formulas_lost: int | None = None
    file: str | None = None

    @property
    def said(self) -> str:
        """How long it is and how it begins, in a line."""
        parts = dict(zip(FIELDS, self.fields, strict=True))
        shown = parts["text"] or "\n".join(part for name in ("question", "response", "answer") if (part := parts[name]))
        return f"{len(shown):,} characters: {' '.join(shown[:400].split())[:80]}"


# -- which files -----------------------------------------------------------------------------------------------------


def check_columns(source: SourceRecipe, files: list[InputFile], line: str = "") -> None:
    """Refuse a source whose required columns are in none of its files, as a mistyped column name would have it. `line`
    says where the recipe names it."""
    seen: set[str] = set()
    wanted = set(needed(source))
    for file in files:
        with hub.one_line(source):
            seen |= {source.columns.text} if file.format in PAGES else columns_of(file)
        if not (missing := [name for name in sorted(wanted) if not may_hold(name, seen)]):
            return
    if seen:
        shown = ", ".join(sorted(name for name in seen if not name.endswith(".*")))
        raise UserError(
            f"source {source.name}: no file has column {', '.join(missing)}",
            f"There are {shown}; map `columns`{f', or drop {line}' if line else ''}",
        )


def columns_of(file: InputFile) -> set[str]:
    """Columns seen at the beginning of `file`, those within others as `outer.inner`; none where it cannot be read."""
    kind = BY_NAME[file.format]
    assert kind.read, "pages have no columns"
    with opened(file) as stream:
        try:
            if kind.name == "parquet":
                return names_of(pq.read_schema(stream))
            rows = kind.read(unpacked(stream, file.name, kind), Ask(max_bytes=PEEK_BYTES))
            return {name for _, row in islice(rows, PEEK_RECORDS) for name in _keys(row)}
        except (*BROKEN, *BROKEN_ARCHIVE):
            return set()


def _keys(row: bytes | Row | Fault) -> set[str]:
    record = _parsed(0, row, ()) if isinstance(row, bytes) else row
    return names_of(record) if isinstance(record, dict) else set()


# -- what is in them -------------------------------------------------------------------------------------------------


def read_records(file: InputFile, source: SourceRecipe, max_bytes: int, folder: Path) -> Iterator[Good | Bad]:
    """Every record of `file`. A remote file is first copied into `folder`, so that its damage and a failing network
    are told apart: the latter raises."""
    if file.format in PAGES:
        source = source.model_copy(update={"adapter": "html"})
    if not file.parts:
        yield from _records(file, source, max_bytes, folder)
        return
    for part in file.files:
        for record in _records(part, source, max_bytes, folder):
            yield replace(record, file=part.name)
    if file.sha256 and checksum(replace(file, sha256=""), source) != file.sha256:
        raise _changed(file)


def _records(file: InputFile, source: SourceRecipe, max_bytes: int, folder: Path) -> Iterator[Good | Bad]:
    """The records of one file."""
    with _local(file, source, folder) as path:
        nested = [name for name in read_columns(source) if "." in name]
        position, records = 0, 0
        try:
            for position, record in _read(path, file, source, max_bytes):
                records += 1
                if isinstance(record, Bad):
                    yield record
                else:
                    yield _good(position, with_nested(record, nested), source, max_bytes)
        except BROKEN as error:
            yield Bad(position + 1 if records else None, "unreadable_file", first_words(error))
            return
        if not records and not file.span:
            yield Bad(None, "empty_file", "no record")


def _read(path: Path, file: InputFile, source: SourceRecipe, max_bytes: int) -> Iterator[Placed]:
    match file.format:
        case "html":
            yield from _html_record(path, file, source, max_bytes)
        case "warc":
            yield from _warc_records(path, file, source, max_bytes)
        case _:
            yield from _rows(path, file, source, max_bytes)


def _rows(path: Path, file: InputFile, source: SourceRecipe, max_bytes: int) -> Iterator[Placed]:
    """The rows of a file that is no page, each with the columns that are read."""
    kind, span = BY_NAME[file.format], file.span
    assert kind.read, "pages are read elsewhere"
    columns = _roots(source)
    ask = Ask(columns, max_bytes, *((span.start, span.end, span.first) if span else ()))
    with path.open("rb") if kind.packed else pa.OSFile(str(path)) as stream:
        for position, row in kind.read(unpacked(stream, file.name, kind) if kind.packed else stream, ask):
            yield position, _row(position, row, file, source, columns)


def _row(
    position: int, row: bytes | Row | Fault, file: InputFile, source: SourceRecipe, columns: tuple[str, ...]
) -> Record | Bad:
    match row:
        case Fault():
            return Bad(position, row.reason, row.detail)
        case bytes():
            return _parsed(position, row, columns)
    if file.format not in ("csv", "tsv"):
        return row
    return row | {name: _number(row.get(name)) for name in (source.scores or {}).values()}


def _roots(source: SourceRecipe) -> tuple[str, ...]:
    """The columns that are read, and those that they are in."""
    return tuple(dict.fromkeys(root for name in read_columns(source) for root in (name, name.split(".")[0])))


def _number(cell: Any) -> Any:
    """The number that a cell of CSV spells; what spells none stays as it is."""
    try:
        return float(cell) if cell is not None else None
    except ValueError:
        return cell


@contextmanager
def _local(file: InputFile, source: SourceRecipe, folder: Path) -> Iterator[Path]:
    """A local file with the bytes of `file`. UserError afterwards if they are not those that were summed."""
    fs, path = filesystem(file.url)
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


def _parsed(position: int, line: bytes, columns: tuple[str, ...]) -> Record | Bad:
    """The record that a line of JSON holds. One that is not strict JSON is read for `columns` alone: NaN, half a
    surrogate pair or bytes that are no UTF-8 harm nobody where nobody reads."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        record = _lenient(line, columns)
        if record is None:
            return Bad(position, "invalid_json" if _is_utf8(line) else "invalid_utf8", first_words(error))
    if isinstance(record, dict):
        return record
    return Bad(position, "not_an_object", f"a {type(record).__name__}")


def _lenient(line: bytes, columns: tuple[str, ...]) -> Record | None:
    """`columns` of a record that Python's own parser can read and that hold text; None where they do not."""
    try:
        record = json.loads(line.decode("utf-8", "surrogateescape"))
        kept = {name: record[name] for name in columns if name in record} if isinstance(record, dict) else None
        orjson.dumps(kept)  # raises for half a surrogate pair
    except (ValueError, TypeError, RecursionError):
        return None
    return kept


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _html_record(path: Path, file: InputFile, source: SourceRecipe, max_bytes: int) -> Iterator[Placed]:
    """The file's bytes as a record; of one that is too long no more than `max_bytes` are read."""
    with path.open("rb") as stream:
        data = unpacked(stream, file.name, BY_NAME["html"]).read(max_bytes + 1)
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


def first_record(files: list[InputFile], source: SourceRecipe, max_bytes: int) -> tuple[str, Good | Bad]:
    """The first good record near the beginning of `files`, else the first bad one, and the name of its file. Remote
    files are read where they lie, no more of them than that takes."""
    first: tuple[str, Good | Bad] | None = None
    for file in [part for whole in files for part in whole.files[:LOOKED_AT]][:LOOKED_AT]:
        for record in islice(_looked_at(file, source, max_bytes), PEEK_RECORDS):
            if isinstance(record, Good):
                return file.name, record
            first = first or (file.name, record)
    return first or (files[0].name, Bad(None, "empty_file", "no record"))


def _looked_at(file: InputFile, source: SourceRecipe, max_bytes: int) -> Iterator[Good | Bad]:
    if file.format in PAGES or is_local(filesystem(file.url)[0]):
        with TemporaryDirectory() as folder:
            yield from read_records(replace(file, sha256=""), source, max_bytes, Path(folder))
        return
    kind, columns = BY_NAME[file.format], _roots(source)
    assert kind.read, "pages were read above"
    with hub.one_line(source), opened(file) as stream:
        rows = kind.read(unpacked(stream, file.name, kind) if kind.packed else stream, Ask(columns, max_bytes))
        for position, row in rows:
            record = _row(position, row, file, source, columns)
            nested = [name for name in read_columns(source) if "." in name]
            yield record if isinstance(record, Bad) else _good(position, with_nested(record, nested), source, max_bytes)


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
    return Good(position, fields, parts.early_reason, parts.scores, parts.metadata, *of_page)

"""What a manifest *is*, as a digest over its logical content.

The digest covers kind, parents' IDs, the semantic part of the recipe and, for each family of rows, the schema and every
value of every column in order. It does not cover Parquet bytes, compression, row groups, the number of files, how rows
were batched, dictionary or plain encoding, 32- or 64-bit string offsets, code, time, host or workers.

Canonical encoding. A column is one or more byte streams, each fed to its own SHA-256, so that batch boundaries leave no
trace; NULL, empty and absent differ:

    fixed width   values little-endian, NULLs as zero bytes; validity, one byte a row
    boolean       one byte a row: 0, 1, or 2 for NULL
    string/binary lengths as int64, -1 for NULL; the bytes of all values, concatenated
    list          lengths as int64, -1 for NULL; the child's streams over the values of the rows that are not NULL
    struct        validity; each child's streams under its name
    null          only the number of rows

Floats are hashed by their bits: 0.0 and -0.0 differ, and so do two NaNs with different payloads. A dictionary column
enters as its values. Everything works on Arrow buffers, column by column in threads (hashlib releases the GIL);
measured by benchmarks/identity.py, reasons in docs/decisions/0001-identity.md. Leaves out: unions, maps, list views,
run-end encoding, intervals and extension types, which raise.
"""

import hashlib
import json
import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa

VERSION = 1
"""Of the canonical encoding; part of every digest."""


def canonical_json(value: Any) -> bytes:
    """The canonical JSON text of `value`: sorted keys, no spaces, no NaN. TypeError for a value that has none: a
    permissive `str(o)` would silently make the identity depend on a memory address or on the order of a set.
    """
    _refuse_unstable(value, "$")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _refuse_unstable(value: Any, where: str) -> None:
    match value:
        case None | bool() | int():
            return
        case str():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise TypeError(f"{where}: {value!r} holds half a surrogate pair, which UTF-8 cannot say") from None
        case float():
            if not math.isfinite(value):
                raise TypeError(f"{where}: {value} has no canonical form; use null or a number")
        case list() | tuple():
            for position, item in enumerate(value):
                _refuse_unstable(item, f"{where}[{position}]")
        case dict():
            for key, item in value.items():
                if not isinstance(key, str):
                    raise TypeError(f"{where}: key {key!r} is not a string; convert it before it becomes identity")
                _refuse_unstable(key, where)
                _refuse_unstable(item, f"{where}.{key}")
        case _:
            raise TypeError(f"{where}: {type(value).__name__} has no canonical form; make it plain JSON first")


def json_digest(value: Any) -> str:
    """SHA-256 of the canonical JSON of `value`, as hex."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def type_name(kind: pa.DataType) -> str:
    """The logical name of an Arrow type: encodings and offset widths of the same values share one name."""
    match kind:
        case _ if pa.types.is_dictionary(kind):
            return type_name(kind.value_type)
        case _ if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            return "string"
        case _ if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
            return "binary"
        case _ if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
            return f"list<{type_name(kind.value_type)}>"
        case _ if pa.types.is_struct(kind):
            return f"struct<{','.join(f'{json.dumps(field.name)}:{type_name(field.type)}' for field in kind.fields)}>"
        case _:
            return str(kind)


def schema_names(schema: pa.Schema) -> dict[str, str]:
    """Column names and logical type names, in order. Raises ValueError when two columns share a name."""
    names = {field.name: type_name(field.type) for field in schema}
    if len(names) < len(schema):
        raise ValueError(f"two columns share a name: {schema.names}")
    return names


class TableDigest:
    """Digest of a sequence of tables with one schema: `update` with each in order, then read `columns()`.

    The result depends on the rows in order, never on how they were cut into tables or chunks.
    """

    def __init__(self, schema: pa.Schema, threads: int = 2):
        self.schema, self.rows = schema, 0
        self._columns = [_Column(field.type) for field in schema]
        self._threads = threads

    def update(self, table: pa.Table) -> None:
        if schema_names(table.schema) != schema_names(self.schema):
            raise ValueError(f"schema changed: {schema_names(table.schema)}, not {schema_names(self.schema)}")
        self.rows += table.num_rows
        work = list(zip(self._columns, table.columns, strict=True))
        if self._threads == 1 or table.nbytes < 1 << 20:  # below a megabyte a thread costs more than it saves
            for column, values in work:
                column.update(values)
            return
        with ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(lambda pair: pair[0].update(pair[1]), work))

    def columns(self) -> dict[str, str]:
        """Hex digest of each column."""
        return {field.name: column.hexdigest() for field, column in zip(self.schema, self._columns, strict=True)}


def table_digest(tables: Iterable[pa.Table], schema: pa.Schema) -> dict[str, str]:
    """Digest of each column over `tables` in order."""
    digest = TableDigest(schema)
    for table in tables:
        digest.update(table)
    return digest.columns()


class _Column:
    """The streams of one column, as described at the head of the module. TypeError for a type without an encoding."""

    def __init__(self, kind: pa.DataType):
        self.kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        self.name = type_name(self.kind)
        self.shape, self.values = hashlib.sha256(), hashlib.sha256()
        self.rows = 0
        self.children: list[_Column] = []
        if pa.types.is_struct(self.kind):
            self.children = [_Column(field.type) for field in self.kind.fields]
        elif self.name.startswith("list<"):
            self.children = [_Column(self.kind.value_type)]
        elif self.name not in ("string", "binary", "null") and not _is_fixed_width(self.kind):
            raise TypeError(f"a column of type {self.kind} has no canonical encoding")

    def update(self, values: pa.ChunkedArray | pa.Array) -> None:
        chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
        for chunk in chunks:
            self.rows += len(chunk)
            if len(chunk):
                self._update(chunk.dictionary_decode() if isinstance(chunk, pa.DictionaryArray) else chunk)

    def _update(self, array: pa.Array) -> None:
        match self.name:
            case "string" | "binary":
                self._update_bytes(array)
            case "bool":
                self.values.update(array.cast(pa.uint8()).fill_null(2).to_numpy().data)
            case "null":
                pass
            case _ if isinstance(array, pa.StructArray):
                self.shape.update(_validity(array))
                for child, values in zip(self.children, array.flatten(), strict=True):
                    child.update(values)  # NULL where the struct is
            case _ if self.children:
                self.shape.update(_with_nulls(_list_lengths(array), array))
                self.children[0].update(array.drop_null().flatten())
            case _:
                self._update_fixed(array)

    def _update_bytes(self, array: pa.Array) -> None:
        wide = array.cast(pa.large_string() if self.name == "string" else pa.large_binary())
        self.shape.update(_with_nulls(np.diff(_offsets(wide)), wide))
        wide = wide.drop_null() if wide.null_count else wide  # what lies under a NULL is not content
        if len(wide) and (data := wide.buffers()[2]) is not None:
            offsets = _offsets(wide)
            self.values.update(memoryview(data)[offsets[0] : offsets[-1]])

    def _update_fixed(self, array: pa.Array) -> None:
        self.shape.update(_validity(array))
        width = array.type.byte_width
        values = memoryview(array.buffers()[1])[array.offset * width : (array.offset + len(array)) * width]
        if not array.null_count:
            self.values.update(values)
            return
        rows = np.frombuffer(values, np.uint8).reshape(len(array), width).copy()
        rows[~_is_valid(array)] = 0
        self.values.update(rows.reshape(-1).data)

    def hexdigest(self) -> str:
        parts = [self.name, str(self.rows), self.shape.hexdigest(), self.values.hexdigest()]
        return json_digest(parts + [child.hexdigest() for child in self.children])


def _is_fixed_width(kind: pa.DataType) -> bool:
    plain = pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or pa.types.is_fixed_size_binary(kind)
    return plain and not pa.types.is_interval(kind)


def _offsets(wide: pa.Array) -> np.ndarray:
    """int64 offsets [len + 1] of a large_string, large_binary or large_list array that is not empty."""
    return np.frombuffer(wide.buffers()[1], np.int64, len(wide) + 1, wide.offset * 8)


def _list_lengths(array: pa.Array) -> np.ndarray:
    """int64 lengths [len]; what they are at a NULL does not matter."""
    if isinstance(array, pa.FixedSizeListArray):
        return np.full(len(array), array.type.list_size, np.int64)
    wide = array.type if pa.types.is_large_list(array.type) else pa.large_list(array.type.value_type)
    return np.diff(_offsets(array.cast(wide)))


def _with_nulls(lengths: np.ndarray, array: pa.Array) -> memoryview:
    """The bytes of int64 `lengths`, with -1 where `array` is NULL."""
    return (np.where(_is_valid(array), lengths, -1) if array.null_count else lengths).data


def _is_valid(array: pa.Array) -> np.ndarray:
    return array.is_valid().to_numpy(zero_copy_only=False)


def _validity(array: pa.Array) -> bytes | memoryview:
    """One byte a row: 1 where there is a value."""
    return _is_valid(array).astype(np.uint8).data if array.null_count else b"\x01" * len(array)

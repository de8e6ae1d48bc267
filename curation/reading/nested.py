"""Fields within fields: `content.text` as the name of a column.

A column of just this name comes first; else each part between dots is a key of an object, a place in a list, or either
in text that is JSON. Promises. Nothing is refused here: what is not there is missing, as any column is. Leaves out keys
that hold dots themselves below the top.
"""

from collections.abc import Iterator
from typing import Any

import orjson
import pyarrow as pa

DEEPEST = 6
"""Levels of names that are listed."""
INSIDE = ".*"
"""Behind the name of a column whose fields are seen in each record alone: a list, or text that may be JSON."""


def with_nested(record: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """`record` with a column for each of the dotted `names` that leads to something in it."""
    found = {name: value for name in names if name not in record for value in _inside(record, name.split("."))}
    return record | found if found else record


def _inside(value: Any, path: list[str]) -> Iterator[Any]:
    """What stands at the end of `path`, if there is anything."""
    for key in path:
        value = _read(value) if isinstance(value, str | bytes) else value
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return
    yield value


def _read(text: str | bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def names_of(table: pa.Schema | dict[str, Any]) -> set[str]:
    """The columns of a table or record, and the fields within them, dotted."""
    fields = dict(zip(table.names, table.types, strict=True)) if isinstance(table, pa.Schema) else table
    return {name for key, value in fields.items() for name in _names(key, value, DEEPEST)}


def _names(name: str, value: Any, levels: int) -> Iterator[str]:
    yield name
    if isinstance(value, pa.DataType):
        within = {field.name: field.type for field in value} if pa.types.is_struct(value) else None
        opaque = not within and not pa.types.is_primitive(value)
    else:
        within, opaque = value if isinstance(value, dict) else None, isinstance(value, str | bytes | list)
    if opaque:
        yield name + INSIDE
    for key, inner in (within or {}).items() if levels else ():
        yield from _names(f"{name}.{key}", inner, levels - 1)


def may_hold(name: str, seen: set[str]) -> bool:
    """Whether `name` is among the columns `seen`, or may be within one of them."""
    parts = name.split(".")
    return name in seen or any(".".join(parts[:end]) + INSIDE in seen for end in range(1, len(parts)))

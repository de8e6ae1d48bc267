"""Which documents of a corpus a component consists of: an SQL condition, checked by DuckDB's parser and then run.

A `where` is one expression over the columns of `documents` and nothing else: no subquery, no second statement, no
function whose value changes from call to call, because the same recipe must always select the same documents. It runs
in the locked catalog, which reads only the store.

Dropped documents are left out automatically. A `where` that names `drop_reason` and selects dropped documents is
refused with their numbers, unless the component allows those reasons by name (`allow: [too_short]`), in which case they
are in.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests import tables
from manifests.catalog import Catalog, json_objects
from manifests.errors import UserError
from manifests.manifest import Manifest
from mixtures.config import ComponentRecipe
from mixtures.order import document_keys

PLACES = {"manifest", "shard", "row"}
"""Columns of the catalog that locate a row and do not describe it."""

CLOCKS = {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}
"""Names that look like columns in SQL and are the current time."""

_CHANGING = "SELECT function_name FROM duckdb_functions() WHERE stability <> 'CONSISTENT' OR function_name = 'ago'"
"""Functions whose value does not follow from their arguments: random(), now(), uuid(), …; ago() is a macro over
now()."""


_DOCUMENTS = "FROM documents WHERE manifest = $1"
_MEASURED = f"""
FROM ({_DOCUMENTS}) LEFT JOIN (SELECT doc_id, pass_rate FROM pass_rates WHERE manifest = $6) USING (doc_id)
"""


@dataclass(frozen=True)
class Selection:
    """Documents of a corpus, in its order: three numbers each, since a corpus may have 10⁹.

    `rows` are their int64 positions in the corpus, `keys` what permutations are made from (uint64, see
    `mixtures.order.document_keys`), `n_tokens` (int64, without EOS) what the corpus counted.
    """

    corpus: Manifest
    rows: np.ndarray
    keys: np.ndarray
    n_tokens: np.ndarray

    def take(self, chosen: np.ndarray) -> "Selection":
        """The documents at the positions `chosen` (ascending)."""
        return Selection(self.corpus, self.rows[chosen], self.keys[chosen], self.n_tokens[chosen])

    def documents(self, columns: list[str]) -> pa.Table:
        """`columns` of their rows of `documents`."""
        schema = pa.schema([tables.DOCUMENTS.schema.field(name) for name in columns])
        return pa.Table.from_batches((batch.cast(schema) for _, batch in self._scan("documents", columns)), schema)

    def texts(self, columns: list[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """`columns` of their texts, in batches, each with the position here of its first document."""
        return self._scan("texts", columns)

    def _scan(self, family: str, columns: list[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        first = 0
        for batch in self.corpus.take(family, columns, self.rows):
            yield first, batch
            first += len(batch)


def select(catalog: Catalog, corpus: Manifest, component: ComponentRecipe, rates: Manifest | None = None) -> Selection:
    """The documents of `component`; `rates` are the pass rates that its `where` may name.

    UserError, with the name of the component, for a `where` that is wrong, refused or selects nothing.
    """
    names = _check_expression(component)
    sql = (
        "SELECT row + list_extract($3, list_position($2, shard)) AS position, doc_id, source, n_tokens, drop_reason "
        f"FROM (FROM ({_MEASURED if rates else _DOCUMENTS}) WHERE (\n{component.where}\n)) "
        "WHERE $5 OR drop_reason IS NULL OR list_contains($4::VARCHAR[], drop_reason)"
    )
    tells = "drop_reason" in names  # where nothing will be said of dropped documents, DuckDB leaves them out
    measured = [rates.id] if rates else []
    try:
        found = catalog.query(sql, [corpus.id, *shards(corpus), list(component.allow), tells, *measured])
    except UserError as error:
        raise _wrong(component, error.what) from error
    dropped = pc.and_(pc.is_valid(found["drop_reason"]), pc.invert(_allowed(found["drop_reason"], component.allow)))
    if tells:
        _refuse_dropped(component, found.filter(dropped)["drop_reason"])
        found = found.filter(pc.invert(dropped))
    if not found.num_rows:
        raise _wrong(component, f"selects no document of {corpus.ref}", "See `octo sql 'DESCRIBE documents'`")
    rows, keys = found["position"].to_numpy(), document_keys(found["doc_id"])
    order = np.argsort(rows, kind="stable")  # in order already but for what DuckDB's threads did
    return Selection(corpus, rows[order], keys[order], found["n_tokens"].to_numpy()[order])


def _allowed(reasons: pa.ChunkedArray, allow: tuple[str, ...]) -> pa.ChunkedArray:
    return pc.is_in(reasons, pa.array(allow, pa.string()))


def _refuse_dropped(component: ComponentRecipe, reasons: pa.ChunkedArray) -> None:
    if len(reasons):
        counts = {str(item["values"]): item["counts"] for item in pc.value_counts(reasons).to_pylist()}
        named = ", ".join(f"{counts[reason]} {reason}" for reason in sorted(counts))
        allow = ", ".join(sorted({*component.allow, *counts}))
        raise _wrong(component, f"selects dropped documents: {named}", f"If that is meant, write allow: [{allow}]")


def shards(corpus: Manifest) -> tuple[list[str], list[int]]:
    """File of each part of the corpus, as the catalog names it, and the row of the whole that it begins with."""
    names = [file.path.rsplit("/", 1)[-1] for file in corpus.files("documents")]
    rows = [file.rows for file in corpus.files("documents")]
    return names, [sum(rows[:number]) for number in range(len(rows))]


# -- judging the condition -----------------------------------------------------------------------------------------


def _check_expression(component: ComponentRecipe) -> set[str]:
    """Names of the columns in `where`; UserError unless it is a single harmless expression."""
    with duckdb.connect() as parser:
        given, plain = _parsed(parser, component.where), _parsed(parser, "true")
        changing = {name for (name,) in parser.sql(_CHANGING).fetchall()}
    if "error_message" in given:
        raise _wrong(component, f"is not a valid SQL condition: {' '.join(str(given['error_message']).split())}")
    expressions = given.pop("select_list", [])
    del plain["select_list"]
    # a bracket closed early leaves its trace in the rest of the statement; a list of expressions (or none) is a `row`
    if len(expressions) != 1 or given != plain or expressions[0].get("function_name") == "row":
        raise _wrong(component, "is not one condition")
    nodes = list(json_objects(expressions[0]))
    columns = {node["column_names"][-1].lower() for node in nodes if node.get("class") == "COLUMN_REF"}
    called = {str(node.get("function_name")).lower() for node in nodes}
    for refused, why in (
        (any(node.get("class") == "SUBQUERY" for node in nodes), "holds a subquery or a statement"),
        (columns & PLACES, f"names {', '.join(sorted(columns & PLACES))}, which says where a row lies"),
        (called & changing or columns & CLOCKS, "changes from run to run"),
    ):
        if refused:
            raise _wrong(component, why)
    return columns


def _parsed(parser: duckdb.DuckDBPyConnection, where: str) -> dict[str, Any]:
    """The syntax tree of `SELECT (where)`, or a mapping with `error_message`."""
    ((text,),) = parser.execute("SELECT json_serialize_sql($1)", [f"SELECT (\n{where}\n)"]).fetchall()
    tree = json.loads(text)
    return tree if tree["error"] else tree["statements"][0]["node"]


def _wrong(
    component: ComponentRecipe, what: str, hint: str = "Write one SQL condition, as \"role = 'web'\""
) -> UserError:
    where = " ".join(component.where.split())
    return UserError(f'component `{component.name}`: where "{where}" {what}', hint)

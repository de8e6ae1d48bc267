"""The catalog: SQL over everything a store holds, by a DuckDB that can only read it.

`Catalog(store)` is a fresh in-memory database with one view per table of `manifests.tables.VIEWS`, made from the
records and ledgers as they are at that moment. Text lies in a Parquet family of its own, so no query over `documents`
touches it.

Promises. A query is one SELECT-like statement, as judged by DuckDB's own parser: that refuses COPY, ATTACH, INSTALL,
SET and a second statement. Inside it, every part is a SELECT and every table function is on a list of those that only
read, because DuckDB 2 lets `WITH x AS (COPY … TO …)` pass as a SELECT. The database itself is locked: external access
is off but for the folder of this store, the configuration cannot be changed, no Python variable is visible as a table.
Leaves out writing of any kind, and with it PIVOT and EXPLAIN as statements (DuckDB expands the first into several).
"""

import json
import math
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from manifests import tables
from manifests.errors import UserError
from manifests.manifest import Manifest, load_all, resolve
from manifests.runs import LEDGER_PART, load_run, load_runs
from manifests.store import Store

MEMORY = "4GB"
"""Memory limit of one query; DuckDB spills nothing, since it may not write."""


@dataclass(frozen=True)
class Limits:
    """What a query may take: memory as DuckDB writes it, and time until a moment of `time.monotonic()`."""

    memory: str = MEMORY
    deadline: float = math.inf


UNLIMITED = Limits()
_limits: ContextVar[Limits] = ContextVar("limits", default=UNLIMITED)


@contextmanager
def limited(seconds: float, memory: str) -> Iterator[None]:
    """Every catalog opened in this block, by whatever it calls, has `memory` and answers within `seconds` from now.

    A query that goes on longer is interrupted and ends as UserError.
    """
    token = _limits.set(Limits(memory, time.monotonic() + seconds))
    try:
        yield
    finally:
        _limits.reset(token)


QUERY_NODES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
"""What a query may be made of; INSERT_QUERY_NODE, COPY_QUERY_NODE and their like are refused."""

TABLE_FUNCTIONS = {"range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree", "glob"}
TABLE_FUNCTIONS |= {"read_parquet", "parquet_scan", "read_csv", "read_csv_auto", "read_json", "read_json_auto"}
TABLE_FUNCTIONS |= {"read_text", "parquet_metadata", "parquet_schema", "parquet_file_metadata", "summary"}
TABLE_FUNCTIONS |= {"duckdb_columns", "duckdb_functions", "duckdb_settings", "duckdb_tables", "duckdb_views"}
"""Table functions that do nothing but read, and only from the store. Not `query` or `json_execute_serialized_sql`,
which run a statement of their own."""


class Catalog:
    """A locked, read-only DuckDB over a store, or over one manifest of it (`only`) and the runs launched with that. Use
    as a context manager or call `close`."""

    def __init__(self, store: Store, only: Manifest | None = None):
        self.store, self.only, self.limits = store, only, _limits.get()
        self.connection = duckdb.connect(config={"memory_limit": self.limits.memory})
        self.manifests, self.damaged = ([only], []) if only else load_all(store)
        self._prepare()
        try:
            self._make_views()
        except (duckdb.Error, pa.ArrowException) as error:
            said = " ".join(str(error).split())[:200]
            raise UserError(f"{store.url} holds what no table can: {said}", "See `octo manifest verify`") from error
        self._lock()

    def __enter__(self) -> "Catalog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.connection.close()

    def query(self, sql: str, parameters: list[Any] | None = None, rows: int | None = None) -> pa.Table:
        """The rows of one SELECT-like statement, or the first `rows` of them.

        UserError in one line for anything refused or wrong, and for a query that is stopped (see `limited`).
        """
        with _stopped_at(self.limits.deadline, self.connection):
            statement = check_select(self.connection, sql)
            try:
                found = self.connection.sql(statement.query, params=parameters or [])
                return (found if rows is None else found.limit(rows)).to_arrow_table()
            except duckdb.Error as error:
                if isinstance(error, duckdb.InterruptException) and time.monotonic() >= self.limits.deadline:
                    raise UserError(
                        "the query took too long and was stopped", "Narrow it, or use `octo sql`"
                    ) from error
                raise _sql_error(error) from error

    # -- making the database ---------------------------------------------------------------------------------------

    def _run(self, sql: str) -> None:
        """One statement of ours, to its end: DuckDB refuses a query while an earlier result is unread."""
        self.connection.execute(sql).fetchall()

    def _prepare(self) -> None:
        settings = ("enable_progress_bar=false", "python_enable_replacements=false", "TimeZone='UTC'")
        for setting in (*settings, "temp_directory=''"):
            self._run(f"SET {setting}")
        if not self.store.is_local:
            self.connection.register_filesystem(self.store.fs)
        self._run("CREATE SCHEMA hidden")  # what views are made from; SHOW TABLES lists the views alone

    def _lock(self) -> None:
        self._run(f"SET allowed_directories=[{_quote(self.store.url + '/')}]")
        self._run("SET enable_external_access=false")
        self._run("SET lock_configuration=true")

    def _make_views(self) -> None:
        runs = [run for run in load_runs(self.store) if self._is_seen(run)]
        self._table(tables.MANIFESTS, map(_manifest_row, self.manifests))
        self._table(tables.RUNS, map(_run_row, runs))
        self._table(tables.LINEAGE, _lineage_rows(self.manifests, runs))
        distinct = {manifest.id: manifest for manifest in self.manifests}.values()
        for spec in tables.FAMILY_VIEWS:
            self._family_view(spec, distinct)
        for spec in tables.LEDGERS:
            self._ledger_view(spec, {run["id"] for run in runs} if self.only else None)
        self._funnel_view(distinct)

    def _is_seen(self, run: dict[str, Any]) -> bool:
        return self.only is None or self.only.id in [manifest["id"] for manifest in run["manifests"]]

    def _table(self, spec: tables.TableSpec, rows: Iterable[dict[str, Any]]) -> None:
        """A small table held in memory."""
        self._hold(spec.name, pa.Table.from_pylist(list(rows), schema=spec.schema))

    def _hold(self, name: str, data: pa.Table) -> None:
        self.connection.register("incoming", data)
        self._run(f"CREATE TABLE {name} AS FROM incoming")
        self.connection.unregister("incoming")

    def _family_view(self, spec: tables.TableSpec, manifests: Iterable[Manifest]) -> None:
        """All manifests' rows of one family, under their IDs, with the file and row where each lies."""
        parts = [
            f"SELECT {_quote(manifest.id)} AS manifest, * EXCLUDE (filename, file_row_number), "
            f"parse_filename(filename) AS shard, file_row_number AS row FROM {self._scan(paths, True)}"
            for manifest in manifests
            if (paths := [file.path for file in manifest.files(spec.name)])
        ]
        self._view(spec, "manifest", parts, extra="NULL::VARCHAR AS shard, NULL::BIGINT AS row")

    def _ledger_view(self, spec: tables.TableSpec, runs: set[str] | None) -> None:
        """All runs' rows of one ledger, or those of `runs`, under their IDs."""
        found = [part for path in self.store.list("runs") if (part := LEDGER_PART.fullmatch(path))]
        found = [part for part in found if part["table"] == spec.name and (runs is None or part["run"] in runs)]
        parts = [part[0] for part in found]
        select = f"SELECT split_part(filename, '/', -3) AS run, * EXCLUDE (filename) FROM {self._scan(parts, False)}"
        self._view(spec, "run", [select] if parts else [])

    def _scan(self, paths: Iterable[str], numbered: bool) -> str:
        files = ", ".join(_quote(self.store.uri(path)) for path in paths)
        row = ", file_row_number=true" if numbered else ""
        return f"read_parquet([{files}], union_by_name=true, filename=true{row})"

    def _view(self, spec: tables.TableSpec, key: str, parts: list[str], extra: str = "") -> None:
        """A view over `parts` with every documented column: rows written before a column existed hold NULL there."""
        self._hold(f"hidden.{spec.name}", spec.schema.empty_table())
        empty = f"SELECT NULL::VARCHAR AS {key}, * {', ' + extra if extra else ''} FROM hidden.{spec.name}"
        self._run(f"CREATE VIEW {spec.name} AS {' UNION ALL BY NAME '.join([*parts, empty])}")

    def _funnel_view(self, manifests: Iterable[Manifest]) -> None:
        """`in` as counted while reading, beside kept, dropped and quarantined as they lie in the rows."""
        counted = [
            {"manifest": m.id, "source": source, "documents": seen["records"], "tokens": seen["tokens"]}
            for m in manifests
            for source, seen in m.counts.get("inputs", {}).items()
        ]
        schema = pa.schema(
            [("manifest", pa.string()), ("source", pa.string()), ("documents", pa.int64()), ("tokens", pa.int64())]
        )
        self._hold("hidden.counted", pa.Table.from_pylist(counted, schema=schema))
        self._run(_FUNNEL)


@contextmanager
def _stopped_at(deadline: float, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Interrupt what `connection` runs in this block from `deadline` on; again and again, for an interrupt that comes
    between two statements is lost."""
    if deadline == math.inf:
        yield
        return
    done = threading.Event()

    def watch() -> None:
        wait = max(0.0, deadline - time.monotonic())
        while not done.wait(wait):
            connection.interrupt()
            wait = 0.05

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


_FUNNEL = """
CREATE VIEW funnel AS
SELECT manifest, source, 'in' AS outcome, NULL::VARCHAR AS reason, documents, tokens, NULL::BIGINT AS formulas_lost
FROM hidden.counted
UNION ALL
SELECT manifest, source, IF(drop_reason IS NULL, 'kept', 'dropped') AS outcome, drop_reason AS reason,
       count(*)::BIGINT AS documents, sum(n_tokens)::BIGINT AS tokens, sum(formulas_lost)::BIGINT AS formulas_lost
FROM documents GROUP BY ALL
UNION ALL
SELECT manifest, source, 'quarantined' AS outcome, reason, count(*)::BIGINT AS documents, 0::BIGINT AS tokens,
       NULL::BIGINT AS formulas_lost
FROM quarantine GROUP BY ALL
"""


def check_select(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    """The one SELECT-like statement that `sql` is, judged by DuckDB's own parser; UserError for anything else."""
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise _sql_error(error) from error
    if len(statements) != 1:
        raise UserError(f"{len(statements)} statements in one query", "Give exactly one SELECT")
    kind = statements[0].type
    if kind != duckdb.StatementType.SELECT:
        raise UserError(f"{kind.name} is refused: the catalog only reads", "Give a SELECT, FROM, WITH or DESCRIBE")
    _check_tree(connection, statements[0].query)
    return statements[0]


def _check_tree(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Refuse a SELECT of which some part writes or calls a table function that might."""
    row = connection.execute("SELECT json_serialize_sql($1::VARCHAR)", [sql]).fetchall()[0]
    tree = json.loads(row[0]) if row else {"error": True}
    if tree["error"]:
        raise UserError(f"this query is refused: {tree.get('error_message', 'it has no tree')}", "Give a plain SELECT")
    for node in json_objects(tree["statements"]):
        kind = str(node.get("type", ""))
        if ("cte_map" in node or kind.endswith("_QUERY_NODE")) and kind not in QUERY_NODES:
            raise UserError(f"{kind.split('_')[0]} is refused: the catalog only reads", "Give a plain SELECT")
        if kind == "TABLE_FUNCTION" and (name := node["function"]["function_name"].lower()) not in TABLE_FUNCTIONS:
            raise UserError(f"table function {name} is refused: the catalog only reads", "See docs/sql.md")


def json_objects(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON tree."""
    if isinstance(tree, dict):
        yield tree
    for part in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from json_objects(part)


def query(store: Store, sql: str, parameters: list[Any] | None = None) -> pa.Table:
    """The rows of one SELECT over a fresh catalog of `store`."""
    with Catalog(store) as catalog:
        return catalog.query(sql, parameters)


def _sql_error(error: duckdb.Error) -> UserError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and set(line.strip()) != {"^"}]
    return UserError(" ".join(lines[:2]), "Tables and columns: docs/sql.md, or `octo sql 'SHOW TABLES'`")


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _manifest_row(manifest: Manifest) -> dict[str, Any]:
    return {
        "manifest": manifest.id,
        "name": manifest.name,
        "version": manifest.version,
        "kind": manifest.kind,
        "digest": manifest.digest,
        "parents": list(manifest.parents),
        "rows": main_rows(manifest),
        "bytes": manifest.bytes,
        "created": manifest.provenance.get("time", ""),
        "recipe": _json(manifest.recipe),
    }


MAIN_FAMILY: dict[str, str] = {
    "corpus": "documents",
    "mixture": "sequences",
    "prompts": "prompts",
    "benchmark": "items",
    "classifier": "labels",
    "annotations": "annotations",
    "pass_rates": "pass_rates",
}


def main_rows(manifest: Manifest) -> int:
    """Rows of the family that a kind is named for: documents of a corpus, sequences of a mixture, and so on."""
    family = MAIN_FAMILY[manifest.kind]
    return manifest.families[family].rows if family in manifest.families else 0


def _run_row(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "run": record["id"],
        "kind": record["kind"],
        "status": record["status"],
        "backend": record["backend"],
        "manifests": [manifest["id"] for manifest in record["manifests"]],
        "parent": record["parent"],
        "created": record["created"],
        "finished": record.get("finished"),
        "config": _json(record["config"]),
        "summary": _json(record["summary"]) if "summary" in record else None,
    }


def _lineage_rows(manifests: list[Manifest], runs: list[dict[str, Any]]) -> Iterator[dict[str, str]]:
    for manifest in {manifest.id: manifest for manifest in manifests}.values():
        for parent in manifest.parents:
            yield {"child": manifest.id, "parent": parent, "relation": "made from"}
    for run in runs:
        for manifest in run["manifests"]:
            yield {"child": run["id"], "parent": manifest["id"], "relation": "launched with"}
        if run["parent"]:
            yield {"child": run["id"], "parent": run["parent"], "relation": "started from"}


# -- questions that have a name ------------------------------------------------------------------------------------

_DIFF_DOCUMENTS = """
WITH a AS (SELECT * FROM documents WHERE manifest = $1), b AS (SELECT * FROM documents WHERE manifest = $2),
pairs AS (
  SELECT coalesce(b.source, a.source) AS source, a.doc_id AS a_id, b.doc_id AS b_id,
         coalesce(a.drop_reason, 'kept') AS was, coalesce(b.drop_reason, 'kept') AS is_now,
         a.cluster_id IS DISTINCT FROM b.cluster_id AS moved, a.keeper_id IS DISTINCT FROM b.keeper_id AS other_keeper,
         a.n_tokens IS DISTINCT FROM b.n_tokens AS other_tokens, coalesce(b.n_tokens, a.n_tokens) AS n_tokens
  FROM a FULL JOIN b ON a.doc_id = b.doc_id AND a.source = b.source)
SELECT source,
  CASE WHEN a_id IS NULL THEN 'added' WHEN b_id IS NULL THEN 'removed' ELSE 'changed' END AS change,
  CASE WHEN a_id IS NULL THEN is_now WHEN b_id IS NULL THEN was WHEN was <> is_now THEN was || ' → ' || is_now
       WHEN other_keeper THEN 'keeper' WHEN moved THEN 'cluster' ELSE 'token count' END AS reason,
  count(*)::BIGINT AS documents, sum(n_tokens)::BIGINT AS tokens
FROM pairs WHERE a_id IS NULL OR b_id IS NULL OR was <> is_now OR moved OR other_keeper OR other_tokens
GROUP BY ALL ORDER BY ALL
"""
_DIFF_MEMBERS = """
WITH a AS (SELECT component, doc_id, ordinal, n_tokens FROM members WHERE manifest = $1),
b AS (SELECT component, doc_id, ordinal, n_tokens FROM members WHERE manifest = $2),
documents AS (
  SELECT component, CASE WHEN a.ordinal IS NULL THEN IF(doc_id IN (SELECT doc_id FROM a), 'moved', 'added')
      WHEN b.ordinal IS NULL THEN 'removed' WHEN a.n_tokens <> b.n_tokens THEN 'changed' ELSE 'moved' END AS change,
    count(*)::BIGINT AS documents, sum(coalesce(b.n_tokens, a.n_tokens))::BIGINT AS tokens
  FROM a FULL JOIN b USING (component, doc_id)
  WHERE (a.ordinal, a.n_tokens) IS DISTINCT FROM (b.ordinal, b.n_tokens)
    AND NOT (b.ordinal IS NULL AND doc_id IN (SELECT doc_id FROM b))
  GROUP BY ALL),
c AS (SELECT component, index, sequence FROM sequences WHERE manifest = $1),
d AS (SELECT component, index, sequence FROM sequences WHERE manifest = $2),
places AS (
  SELECT component, count(*)::BIGINT AS sequences,
    CASE WHEN c.sequence IS NULL THEN 'added' WHEN d.sequence IS NULL THEN 'removed' ELSE 'moved' END AS change
  FROM c FULL JOIN d USING (component, index) WHERE c.sequence IS DISTINCT FROM d.sequence GROUP BY ALL)
SELECT component, change, coalesce(documents, 0) AS documents, coalesce(tokens, 0) AS tokens,
  coalesce(sequences, 0) AS sequences
FROM documents FULL JOIN places USING (component, change) ORDER BY ALL
"""
_DIFF_ROWS = """
WITH a AS (SELECT {key} AS id, {columns} AS content FROM {table} WHERE manifest = $1),
b AS (SELECT {key} AS id, {columns} AS content FROM {table} WHERE manifest = $2)
SELECT '{table}' AS source,
  CASE WHEN a.id IS NULL THEN 'added' WHEN b.id IS NULL THEN 'removed' ELSE 'changed' END AS change,
  CASE WHEN a.id IS NOT NULL AND b.id IS NOT NULL THEN 'content' END AS reason,
  count(*)::BIGINT AS documents, 0::BIGINT AS tokens
FROM a FULL JOIN b ON a.id = b.id WHERE a.content IS DISTINCT FROM b.content GROUP BY ALL ORDER BY ALL
"""


def diff(store: Store, left: str, right: str) -> pa.Table:
    """What `right` has that `left` has not, and the other way round: source, change, reason, documents, tokens.

    Empty when both hold the same documents with the same decisions. Of mixtures: component, change (added, removed,
    moved: to another component or place of the order; changed: other tokens), documents, tokens, sequences, and cause,
    what in their recipes differs. Manifests of different kinds cannot be compared.
    """
    a, b = resolve(store, left), resolve(store, right)
    if a.kind != b.kind:
        raise UserError(f"{a.ref} is a {a.kind}, {b.ref} a {b.kind}", "Compare two manifests of one kind")
    match a.kind:
        case "corpus":
            sql = _DIFF_DOCUMENTS
        case "mixture":
            changes = query(store, _DIFF_MEMBERS, [a.id, b.id])
            causes = [_cause(a.recipe, b.recipe, component) for component in changes["component"].to_pylist()]
            return changes.append_column("cause", pa.array(causes, pa.string()))
        case "prompts":
            sql = _DIFF_ROWS.format(table="prompts", key="prompt_id", columns="(position, question, answer)")
        case "classifier":
            sql = _DIFF_ROWS.format(table="labels", key="doc_id", columns="(label, held_out, score)")
        case "pass_rates":
            sql = _DIFF_ROWS.format(table="pass_rates", key="prompt_id", columns="(responses, correct)")
        case "annotations":
            sql = _DIFF_ROWS.format(table="annotations", key="(doc_id, ordinal)", columns="(response, verdict)")
        case _:
            sql = _DIFF_ROWS.format(table="items", key="item_id", columns="(question, answer, choices, solution)")
    return query(store, sql, [a.id, b.id])


def _cause(old: dict[str, Any], new: dict[str, Any], component: str) -> str:
    """Fields of two mixtures' recipes that differ and so changed `component`: its own, the shared, others' weights."""
    before, after = ({part["name"]: part for part in recipe.get("components", ())} for recipe in (old, new))
    own = _changes(before.get(component, {}), after.get(component, {}), "")
    if component in before.keys() ^ after.keys():
        own = [f"{component} is in one recipe only"]
    shared = _changes(old, new, "", {"components", "parts", "kind"})
    others = [
        change
        for name in sorted({*before, *after} - {component})
        for change in _changes(before.get(name, {}), after.get(name, {}), f" of {name}")
        if change.startswith("weight")
    ]
    return "; ".join([*own, *shared, *others])


def _changes(old: dict[str, Any], new: dict[str, Any], whose: str, but: Iterable[str] = ()) -> list[str]:
    """`weight of qa 2 → 5`, for every field that differs."""
    names = [name for name in {**old, **new} if old.get(name) != new.get(name) and name not in but]
    return [f"{name}{whose} {_short(old.get(name))} → {_short(new.get(name))}" for name in sorted(names)]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else "none" if value is None else _json(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def funnel(store: Store, ref: str) -> pa.Table:
    """The funnel of a corpus manifest: source, outcome, reason, documents, tokens, formulas_lost."""
    manifest = resolve(store, ref)
    if manifest.kind != "corpus":
        raise UserError(f"{manifest.ref} is a {manifest.kind}; only a corpus has a funnel", "Name a corpus manifest")
    order = "source, list_position(['in', 'kept', 'dropped', 'quarantined'], outcome), reason"
    return query(store, f"SELECT * EXCLUDE (manifest) FROM funnel WHERE manifest = $1 ORDER BY {order}", [manifest.id])


def lineage(store: Store, ref: str) -> pa.Table:
    """Every ancestor and descendant of a manifest or run: child, parent, relation, and depth below (+) or above (-)."""
    start = _identify(store, ref)
    return query(store, LINEAGE, [start])


LINEAGE = """
WITH RECURSIVE up AS (
  SELECT child, parent, relation, -1 AS depth FROM lineage WHERE child = $1
  UNION SELECT l.child, l.parent, l.relation, up.depth - 1 FROM lineage l JOIN up ON l.child = up.parent),
down AS (
  SELECT child, parent, relation, 1 AS depth FROM lineage WHERE parent = $1
  UNION SELECT l.child, l.parent, l.relation, down.depth + 1 FROM lineage l JOIN down ON l.parent = down.child)
SELECT * FROM up UNION SELECT * FROM down ORDER BY depth, child, parent
"""


def _identify(store: Store, ref: str) -> str:
    return load_run(store, ref).id if ref.startswith("run-") else resolve(store, ref).id

"""The catalog reads everything and nothing else; its views are the documented ones."""

import os
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests import tables
from manifests.catalog import Catalog, diff, funnel, lineage, query
from manifests.errors import UserError
from manifests.runs import open_run
from manifests.store import Store

STEP = {"step": 1, "stage": "main", "loss": 2.0, "grad_norm": 1.0, "lr": 0.1, "tokens": 8, "seconds": 0.1}


@pytest.fixture
def filled(store: Store, corpus, mixture):
    """A corpus, a mixture of it, a run on that with a ledger in two parts, and a run started from it."""
    source = corpus(store)
    made = mixture(store, source, [("a1", "web", 11), ("b1", "qa", 6)])
    run = open_run(store, "train", [made], {"lr": 0.1}, "torch")
    run.append("steps", pa.Table.from_pylist([STEP], tables.STEPS.schema))
    run.append("steps", pa.Table.from_pylist([STEP | {"step": 2, "reward": 0.5}]))
    child = open_run(store, "rl", [], {}, "torch", parent=run)
    return source, made, run, child


def test_every_documented_view_exists_with_its_columns(folder: Store):
    """On an empty store, so before anything was built."""
    with Catalog(folder) as catalog:
        names = catalog.query("SHOW TABLES")["name"].to_pylist()
        assert sorted(names) == sorted(spec.name for spec in tables.VIEWS)
        for spec in tables.VIEWS:
            found = catalog.query(f"FROM {spec.name}")
            assert found.num_rows == 0
            assert [name for name in spec.schema.names if name not in found.column_names] == []
            assert all(spec.docs[name] for name in spec.schema.names)
            assert len(spec.docs) == len(spec.schema)


def test_the_catalog_sees_everything_in_a_store(store: Store, filled):
    source, made, run, child = filled
    with Catalog(store) as catalog:
        for spec in tables.VIEWS:
            found = catalog.query(f"FROM {spec.name}")
            assert [name for name in spec.schema.names if name not in found.column_names] == []
        row = catalog.query("FROM manifests WHERE kind = 'corpus'").to_pylist()[0]
        assert (row["manifest"], row["name"], row["rows"], row["bytes"]) == (source.id, "math", 5, source.bytes)
        kept = catalog.query("SELECT doc_id FROM documents WHERE drop_reason IS NULL ORDER BY ALL")
        assert kept["doc_id"].to_pylist() == ["a1", "b1", "b2"]
        places = catalog.query(
            "SELECT shard, row FROM documents WHERE doc_id IN ('a3', 'b1') ORDER BY doc_id"
        ).to_pylist()
        files = [Path(file.path).name for file in source.files("documents")]
        assert places == [{"shard": files[0], "row": 2}, {"shard": files[1], "row": 0}]
        assert catalog.query("SELECT text FROM texts WHERE doc_id = 'a1'")["text"][0].as_py().startswith("text of a1")
        assert catalog.query("SELECT sum(n_tokens) AS n FROM members")["n"].to_pylist() == [17]
        assert catalog.query("SELECT count(*) AS n FROM sequences")["n"].to_pylist() == [4]
        assert catalog.query("SELECT step, reward FROM steps WHERE run = $1 ORDER BY step", [run.id]).to_pylist() == [
            {"step": 1, "reward": None},
            {"step": 2, "reward": 0.5},
        ]
        assert sorted(catalog.query("FROM runs")["run"].to_pylist()) == sorted([run.id, child.id])
    assert {(r["child"], r["parent"], r["relation"]) for r in query(store, "FROM lineage").to_pylist()} == {
        (made.id, source.id, "made from"),
        (run.id, made.id, "launched with"),
        (child.id, run.id, "started from"),
    }


def test_the_funnel_balances(store: Store, filled):
    rows = [tuple(row.values()) for row in funnel(store, "math@1").to_pylist()]
    assert rows == [
        ("qa", "in", None, 2, 12, None),
        ("qa", "kept", None, 2, 12, None),
        ("web", "in", None, 4, 60, None),
        ("web", "kept", None, 1, 10, None),
        ("web", "dropped", "near_duplicate", 1, 30, None),
        ("web", "dropped", "short", 1, 20, None),
        ("web", "quarantined", "not_json", 1, 0, None),
    ]
    with pytest.raises(UserError, match="only a corpus has a funnel"):
        funnel(store, "mix@1")


def test_lineage_reaches_every_ancestor_and_descendant(store: Store, filled):
    source, made, run, child = filled
    edges = {(row["child"], row["depth"]) for row in lineage(store, "mix@1").to_pylist()}
    assert edges == {(made.id, -1), (run.id, 1), (child.id, 2)}
    assert len(lineage(store, source.id)) == len(lineage(store, child.id)) == 3
    with pytest.raises(UserError, match="no run"):
        lineage(store, "run-nothing")


def test_diff_of_two_corpora_says_what_changed_and_why(store: Store, corpus):
    corpus(store)
    rows = [
        ("a1", "web", 10, "short"),
        ("a3", "web", 30, "near_duplicate"),
        ("b1", "qa", 6, None),
        ("b2", "qa", 7, None),
    ]
    corpus(store, "2", [*rows, ("b3", "qa", 9, None)])
    assert [tuple(row.values()) for row in diff(store, "math@1", "math@2").to_pylist()] == [
        ("qa", "added", "kept", 1, 9),
        ("qa", "changed", "token count", 1, 6),
        ("web", "changed", "kept → short", 1, 10),
        ("web", "removed", "short", 1, 20),
    ]
    assert diff(store, "math@1", "math@1").num_rows == 0


def test_diff_of_two_mixtures_counts_documents_and_sequences(store: Store, corpus, mixture):
    source = corpus(store)
    mixture(store, source, [("a1", "web", 11), ("b1", "qa", 6)])
    mixture(store, source, [("a1", "web", 11), ("b2", "qa", 8)], sequences=6, version="2")
    assert [tuple(row.values()) for row in diff(store, "mix@1", "mix@2").to_pylist()] == [
        ("all", "added", 1, 8, 2, "sequences 4 → 6"),
        ("all", "removed", 1, 6, 0, "sequences 4 → 6"),
    ]
    assert diff(store, "mix@1", "mix@1").num_rows == 0
    with pytest.raises(UserError, match="math@1 is a corpus, mix@1 a mixture"):
        diff(store, "math@1", "mix@1")


def test_damaged_records_are_left_aside_and_named(folder: Store, corpus):
    corpus(folder)
    folder.put("manifests/math/2.json", b"{}")
    with Catalog(folder) as catalog:
        assert catalog.damaged == ["manifests/math/2.json"]
        assert catalog.query("SELECT version FROM manifests")["version"].to_pylist() == ["1"]


def test_other_programs_open_the_same_files(folder: Store, corpus):
    file = corpus(folder).files("documents")[0]
    path = folder.uri(file.path)
    expected = ["a1", "a2", "a3"]
    assert duckdb.sql(f"SELECT doc_id FROM '{path}'").to_arrow_table()["doc_id"].to_pylist() == expected
    assert pl.read_parquet(path)["doc_id"].to_list() == expected
    assert pq.read_table(path)["doc_id"].to_pylist() == expected


# -- what is refused -----------------------------------------------------------------------------------------------

REFUSED = [
    # naming a file outside the store, in every way there is; OUT is a folder beside it
    ("FROM 'OUT/a.parquet'", "Cannot access file"),
    ("FROM read_parquet(['STORE/in.parquet', 'OUT/a.parquet'])", "Cannot access file"),
    ("FROM read_text('STORE/../out/secret.txt')", "Cannot access file"),
    ("FROM read_text('file://OUT/secret.txt')", "Cannot access file"),
    ("FROM read_text('STORE/link.txt')", "Cannot access file"),
    ("FROM read_text('STORE/linked/secret.txt')", "Cannot access file"),
    ("FROM read_text('STORE-beside/secret.txt')", "Cannot access file"),
    ("FROM read_csv('/etc/passwd')", "Cannot access file"),
    ("FROM read_json('OUT/secret.txt')", "Cannot access file"),
    ("FROM glob('OUT/*')", "Cannot access file"),
    ("FROM glob('STORE/linked/*')", "Cannot access file"),
    ("FROM parquet_metadata('OUT/a.parquet')", "Cannot access file"),
    ("SELECT (SELECT count(*) FROM 'OUT/a.parquet')", "Cannot access file"),
    ("FROM 'https://127.0.0.1/a.parquet'", "Cannot access file"),
    ("FROM 's3://bucket/a.parquet'", "Cannot access file"),
    ("FROM 'OUT/a.duckdb'", "Cannot access file"),
    # writing, also inside the store
    ("COPY (SELECT 1) TO 'STORE/new.csv'", "COPY is refused"),
    ("COPY (SELECT 1) TO 'OUT/new.csv'", "COPY is refused"),
    ("COPY runs FROM 'STORE/in.parquet'", "COPY is refused"),
    ("WITH x AS (COPY (SELECT 1) TO 'STORE/new.csv') FROM x", "COPY is refused"),
    ("WITH y AS (SELECT 1), x AS (COPY (SELECT 1) TO 'STORE/new.parquet' (RETURN_STATS)) FROM x", "COPY is refused"),
    ("WITH x AS (INSERT INTO hidden.inputs VALUES ('a', 'b', 1, 2) RETURNING *) FROM x", "INSERT is refused"),
    ("WITH x AS (DELETE FROM hidden.inputs RETURNING *) FROM x", "DELETE is refused"),
    ("WITH x AS (UPDATE hidden.inputs SET source = 'x' RETURNING *) FROM x", "UPDATE is refused"),
    ("SELECT (WITH x AS (INSERT INTO hidden.inputs VALUES ('a', 'b', 1, 2) RETURNING *) SELECT 1 FROM x)", "INSERT is"),
    ("EXPLAIN ANALYZE COPY (SELECT 1) TO 'STORE/new.csv'", "EXPLAIN is refused"),
    ("EXPORT DATABASE 'STORE/new'", "EXPORT is refused"),
    ("INSERT INTO hidden.inputs VALUES ('a', 'b', 1, 2)", "INSERT is refused"),
    ("UPDATE hidden.inputs SET source = 'x'", "UPDATE is refused"),
    ("DELETE FROM hidden.inputs", "DELETE is refused"),
    ("TRUNCATE hidden.inputs", "refused"),
    ("CREATE TABLE t (a INT)", "CREATE is refused"),
    ("CREATE OR REPLACE VIEW runs AS SELECT 1", "CREATE is refused"),
    ("CREATE MACRO f() AS TABLE FROM 'OUT/a.parquet'", "CREATE is refused"),
    ("DROP VIEW runs", "DROP is refused"),
    ("ALTER TABLE hidden.inputs ADD COLUMN x INT", "ALTER is refused"),
    ("MERGE INTO hidden.inputs a USING hidden.inputs b ON true WHEN MATCHED THEN DELETE", "refused"),
    # changing the database or reaching for another
    ("ATTACH 'STORE/new.db'", "ATTACH is refused"),
    ("ATTACH ':memory:' AS other", "ATTACH is refused"),
    ("DETACH memory", "DETACH is refused"),
    ("USE hidden", "refused"),
    ("INSTALL httpfs", "refused"),
    ("LOAD httpfs", "refused"),
    ("LOAD 'STORE/evil.duckdb_extension'", "refused"),
    ("IMPORT DATABASE 'STORE'", "refused"),
    ("SET memory_limit = '1GB'", "SET is refused"),
    ("SET VARIABLE a = 1", "SET is refused"),
    ("RESET memory_limit", "refused"),
    ("PRAGMA enable_profiling", "refused"),
    ("PRAGMA enable_external_access = true", "refused"),
    ("CALL enable_logging()", "refused"),
    ("CHECKPOINT", "refused"),
    ("VACUUM", "refused"),
    ("BEGIN", "refused"),
    ("PREPARE p AS SELECT 1", "refused"),
    ("EXECUTE p", "refused"),
    # table functions that run a statement of their own, or do more than read
    ("FROM query('SELECT 1')", "table function query is refused"),
    ("FROM query('WITH x AS (COPY (SELECT 1) TO ''STORE/new.csv'') FROM x')", "table function query is refused"),
    ("FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))", "json_execute_serialized_sql is refused"),
    ("SELECT 1 WHERE EXISTS (FROM enable_logging())", "table function enable_logging is refused"),
    ("FROM enable_profiling(save_location = 'STORE/new.json')", "table function enable_profiling is refused"),
    ("FROM checkpoint()", "table function checkpoint is refused"),
    ("FROM read_duckdb('OUT/a.duckdb')", "table function read_duckdb is refused"),
    ("FROM duckdb_secrets()", "table function duckdb_secrets is refused"),
    # not one statement
    ("SELECT 1; SELECT 2", "2 statements"),
    ("SELECT 1; COPY (SELECT 1) TO 'STORE/new.csv'", "2 statements"),
    ("", "0 statements"),
    ("-- nothing", "0 statements"),
    ("SELEC 1", "syntax error"),
    # a variable of this process, and the environment
    ("FROM REFUSED", "does not exist"),
    ("FROM local_table", "does not exist"),
    ("SELECT getenv('HOME')", "does not exist"),
]  # fmt: skip


@pytest.fixture(scope="module")
def beset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Catalog, Path]]:
    """A catalog of the folder `store` in a folder full of what no query may reach."""
    root = tmp_path_factory.mktemp("beset")
    store, table = Store(root / "store"), pa.table({"a": [1]})
    store.put("x", b"")
    for folder in (root / "out", root / "store-beside"):
        folder.mkdir()
        (folder / "secret.txt").write_text("secret")
        pq.write_table(table, folder / "a.parquet")
    duckdb.connect(root / "out" / "a.duckdb").close()
    pq.write_table(table, root / "store" / "in.parquet")
    os.symlink(root / "out" / "secret.txt", root / "store" / "link.txt")
    os.symlink(root / "out", root / "store" / "linked")
    with Catalog(store) as catalog:
        yield catalog, root


@pytest.mark.parametrize(("sql", "says"), REFUSED)
def test_what_is_no_plain_reading_of_the_store_is_refused(beset: tuple[Catalog, Path], sql: str, says: str):
    local_table = pa.table({"a": [1]})
    catalog, root = beset
    before = sorted(root.rglob("*"))
    with pytest.raises(UserError, match=says) as refusal:
        catalog.query(sql.replace("STORE", str(root / "store")).replace("OUT", str(root / "out")))
    assert len(str(refusal.value).splitlines()) == 1
    assert sorted(root.rglob("*")) == before
    assert catalog.query("FROM hidden.inputs").num_rows == 0
    assert local_table.num_rows == 1  # alive all the while, for DuckDB to find if it looked


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 AS a",
        "FROM 'STORE/in.parquet'",
        "FROM read_parquet('STORE/*.parquet')",
        "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t WHERE n < 3) FROM t",
        "WITH a AS MATERIALIZED (FROM runs) SELECT count(*) FROM a UNION ALL BY NAME SELECT count(*) FROM manifests",
        "VALUES (1)",
        "TABLE runs",
        "DESCRIBE documents",
        "SUMMARIZE runs",
        "SHOW TABLES",
        "FROM range(3)",
        "SELECT unnest([1, 2])",
        "SELECT * FROM runs, json_each(config)",
        "FROM (PIVOT (SELECT 1 AS a, 2 AS b) ON a IN (1) USING sum(b))",
        "SELECT * EXCLUDE (text) FROM texts QUALIFY row_number() OVER () = 1",
        "SELECT 1 -- a comment; COPY x TO 'y'",
        "SELECT 'COPY_QUERY_NODE' AS type",
    ],
)
def test_what_only_reads_is_answered(beset: tuple[Catalog, Path], sql: str):
    catalog, root = beset
    catalog.query(sql.replace("STORE", str(root / "store")))

"""`docs/sql.md`: the views of the catalog, column by column, and queries to begin with.

Made from `manifests.tables`, so that the page cannot differ from what is written. Each worked query runs in a test.
"""

import pyarrow as pa

from manifests.tables import FAMILY_VIEWS, LEDGERS, VIEWS, TableSpec

SQL_TYPES = {
    pa.string(): "VARCHAR",
    pa.int64(): "BIGINT",
    pa.int32(): "INTEGER",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.list_(pa.string()): "VARCHAR[]",
}

QUERIES = {
    "Where did the documents of each source go?": """
SELECT source, outcome, reason, documents, tokens
FROM funnel JOIN manifests USING (manifest)
WHERE name = 'quickstart' AND version = '1'
ORDER BY source, outcome, reason
""",
    "How many tokens may be used under which licence?": """
SELECT coalesce(license, 'not stated') AS license, count(*) AS documents, sum(n_tokens) AS tokens
FROM documents
WHERE drop_reason IS NULL
GROUP BY ALL
ORDER BY tokens DESC
""",
    "Which benchmark items do documents hold, and what stands there?": """
SELECT l.manifest, l.benchmark, l.item_id, i.split, l.coverage, d.source, l.doc_id, i.question,
  substr(t.text, l.span_start + 1, l.span_length) AS passage
FROM leaks l
JOIN documents d ON d.manifest = l.manifest AND d.doc_id = l.doc_id
JOIN texts t ON t.manifest = l.manifest AND t.doc_id = l.doc_id
LEFT JOIN (FROM items JOIN lineage ON lineage.parent = items.manifest) i
  ON i.child = l.manifest AND i.benchmark = l.benchmark AND i.item_id = l.item_id
ORDER BY l.manifest, l.benchmark, l.coverage DESC, l.item_id
LIMIT 50
""",
    "How many items of each benchmark are held, by how many documents, and how closely?": """
SELECT manifest, drop_evidence->>'benchmark' AS benchmark, count(DISTINCT drop_evidence->>'item') AS items,
  count(*) AS documents, min(CAST(drop_evidence->>'coverage' AS DOUBLE)) AS least_coverage
FROM documents
WHERE drop_reason = 'contaminated'
GROUP BY ALL
ORDER BY manifest, items DESC
""",
    "What do rules drop, and how near to their limits? (`octo curate --reselect` moves a limit.)": """
SELECT manifest, source, drop_reason, drop_evidence->>'score' AS score, drop_evidence->>'limit' AS least_or_most,
  count(*) AS documents, quantile_cont(CAST(drop_evidence->>'value' AS DOUBLE), 0.5) AS median
FROM documents
WHERE drop_evidence->>'score' IS NOT NULL
GROUP BY ALL
ORDER BY documents DESC
""",
    "What share of its tokens had each component given a run by every step?": """
SELECT run, step, component,
  sum(sum(tokens)) OVER (PARTITION BY run, component ORDER BY step)
    / sum(sum(tokens)) OVER (PARTITION BY run ORDER BY step) AS share_so_far
FROM consumption
GROUP BY run, step, component
ORDER BY run, step, component
""",
    "Which documents lay in the first 8 sequences of a mixture? (`octo trace RUN --step N` resolves epochs too.)": """
WITH length AS (
  SELECT manifest, CAST(recipe->>'sequence_length' AS BIGINT) AS n FROM manifests WHERE kind = 'mixture')
SELECT s.manifest, s.sequence, m.component, m.source, m.doc_id, m.n_tokens
FROM sequences s
JOIN length USING (manifest)
JOIN members m ON m.manifest = s.manifest AND m.component = s.component
  AND m.token_start < (s.index + 1) * n AND m.token_start + m.n_tokens > s.index * n
WHERE s.sequence < 8 AND s.epoch = 0
ORDER BY s.manifest, s.sequence, m.token_start
""",
    "How did the reward of each source change over an RL run?": """
SELECT run, source, step, avg(reward) AS reward, avg(CAST(verdict = 'CORRECT' AS INTEGER)) AS accuracy,
  count(*) AS responses
FROM rollouts
GROUP BY ALL
ORDER BY run, source, step
""",
    "How many answers of a language model are good, and why not the others?": """
SELECT name, model, task, verdict, count(*) AS rows, round(avg(length_ratio), 3) AS length_ratio
FROM annotations JOIN (SELECT manifest, name, recipe->>'model' AS model FROM manifests) USING (manifest)
GROUP BY ALL
ORDER BY name, rows DESC
""",
    "How do all evaluations compare, and which run did each evaluate?": """
SELECT benchmark, metric, parent AS evaluated, run, value, low, high, n
FROM scores JOIN runs USING (run)
WHERE metric = 'accuracy'
ORDER BY benchmark, metric, created
""",
}
"""Question → SELECT, for a store as `octo quickstart` leaves it."""

_HEAD = """# SQL over everything

`octo sql 'SELECT …'` runs one SELECT in [DuckDB](https://duckdb.org/docs/sql/introduction) over the views below;
`octo sql` alone is a prompt. A query reads and never writes, and sees nothing outside the store. This page is made from
the code by `make docs`.

Every family of a manifest (documents, texts, components, …) is one view over all manifests, with the manifest's ID in
the column `manifest`; `shard` and `row` say in which Parquet file and row it lies. Every ledger of a run (steps,
consumption, …) is one view over all runs, with the run's ID in the column `run`. So begin with `WHERE manifest = '…'`
or `WHERE run = '…'` when a store holds several. Text lies in `texts` alone: a query over `documents` reads none.
"""


def sql_reference() -> str:
    """The page as Markdown."""
    worked = [f"### {question}\n\n```sql\n{query.strip()}\n```\n" for question, query in QUERIES.items()]
    return "\n".join([_HEAD, "## Queries to begin with\n", *worked, "## Views\n", *map(_view, VIEWS)])


def _view(spec: TableSpec) -> str:
    rows = [*_key(spec), *((field.name, field.type, field.nullable) for field in spec.schema)]
    docs = {"manifest": "ID of the manifest", "run": "ID of the run"} | spec.docs
    docs |= {"shard": "Parquet file of the row", "row": "row in that file, from 0"}
    rows += [("shard", pa.string(), False), ("row", pa.int64(), False)] if spec in FAMILY_VIEWS else []
    lines = [
        f"| `{name}` | {SQL_TYPES[kind]} | {'yes' if nullable else ''} | {docs[name].replace('|', chr(92) + '|')} |"
        for name, kind, nullable in rows
    ]
    more = f"\nMore columns may follow: {spec.more}.\n" if spec.open else ""
    head = "| column | type | may be NULL | meaning |\n|---|---|---|---|"
    return "\n".join([f"### {spec.name}\n", spec.meaning, "", head, *lines, more])


def _key(spec: TableSpec) -> list[tuple[str, pa.DataType, bool]]:
    """The column that the catalog puts before a family or a ledger."""
    if spec in FAMILY_VIEWS:
        return [("manifest", pa.string(), False)]
    return [("run", pa.string(), False)] if spec in LEDGERS else []

"""`docs/sql.md`: the views of the catalog, column by column, and queries to begin with.

Generated from `manifests.tables`, so that the page cannot differ from the tables. A test runs each worked query.
"""

import textwrap

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
    "How do bits per byte on held-out documents develop, by source?": """
SELECT model, step, name AS source, bits_per_byte, bits_per_byte_error, n_documents, n_trained_on
FROM losses_held_out
WHERE slice = 'source' AND texts = 'held_out'
ORDER BY model, source, step
""",
    "How many tokens may be used under which licence?": """
SELECT coalesce(license, 'not stated') AS license, count(*) AS documents, sum(n_tokens) AS tokens
FROM documents
WHERE drop_reason IS NULL
GROUP BY ALL
ORDER BY tokens DESC
""",
    "On which data was each evaluated model trained, and how many items of the benchmark did the data contain?": """
WITH RECURSIVE before AS (
  SELECT run AS evaluation, parent AS run FROM runs WHERE kind = 'eval' AND parent IS NOT NULL
  UNION SELECT b.evaluation, r.parent FROM before b JOIN runs r ON r.run = b.run WHERE r.parent IS NOT NULL),
used AS (
  SELECT b.evaluation, l.parent AS manifest
  FROM before b JOIN lineage l ON l.child = b.run AND l.relation = 'launched with'),
held AS (
  SELECT DISTINCT u.evaluation, k.benchmark, k.item_id FROM used u JOIN members m ON m.manifest = u.manifest
  JOIN leaks k ON k.manifest = m.corpus AND k.doc_id = m.doc_id)
SELECT s.run, s.step, s.benchmark, s.value AS accuracy, any_value(w.value) AS without_leaked,
  list(DISTINCT u.manifest) AS trained_on, count(DISTINCT h.item_id) AS items_held
FROM scores s
LEFT JOIN scores w ON w.run = s.run AND w.benchmark = s.benchmark AND w.metric = 'accuracy_without_leaked'
LEFT JOIN used u ON u.evaluation = s.run
LEFT JOIN held h ON h.evaluation = s.run AND h.benchmark = s.benchmark
WHERE s.metric = 'accuracy'
GROUP BY s.run, s.step, s.benchmark, s.value
ORDER BY ALL
""",
    "Which benchmark items do documents contain, and in which passages?": """
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
    "How many items of each benchmark do documents contain, in how many documents, and with which coverage?": """
SELECT manifest, benchmark, count(DISTINCT item_id) AS items, count(DISTINCT doc_id) AS documents,
  min(coverage) AS least_coverage
FROM leaks
GROUP BY ALL
ORDER BY manifest, items DESC
""",
    "How many documents does each rule drop, and how close to its limit? (`octo curate --refilter` moves a limit.)": """
SELECT manifest, source, drop_reason, drop_evidence->>'score' AS score, drop_evidence->>'limit' AS least_or_most,
  count(*) AS documents, quantile_cont(CAST(drop_evidence->>'value' AS DOUBLE), 0.5) AS median
FROM documents
WHERE drop_evidence->>'score' IS NOT NULL
GROUP BY ALL
ORDER BY documents DESC
""",
    "What share of the tokens of a run had come from each component by each step?": """
SELECT run, step, component,
  sum(sum(tokens)) OVER (PARTITION BY run, component ORDER BY step)
    / sum(sum(tokens)) OVER (PARTITION BY run ORDER BY step) AS share_so_far
FROM consumption
GROUP BY run, step, component
ORDER BY run, step, component
""",
    "Which documents are in the first 8 sequences of a mixture? (`octo trace RUN --step N` includes later epochs.)": """
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
    "Did a run read as many tokens of every component as the mixture planned?": """
SELECT u.run, c.component, c.tokens AS planned, sum(u.tokens)::BIGINT AS achieved, c.epochs, c.max_epochs
FROM components c
JOIN runs r ON list_contains(r.manifests, c.manifest)
JOIN consumption u ON u.run = r.run AND u.component = c.component
GROUP BY ALL
ORDER BY u.run, c.component
""",
    "Which steps have an unusually high loss, and what did they read? (`octo trace RUN --step N --text` shows it.)": """
WITH around AS (
  SELECT run, step, loss, avg(loss) OVER nearby AS mean, stddev_samp(loss) OVER nearby AS spread
  FROM steps
  WINDOW nearby AS (PARTITION BY run ORDER BY step ROWS BETWEEN 20 PRECEDING AND 1 PRECEDING)),
spikes AS (SELECT * FROM around WHERE loss > mean + 2 * spread)
SELECT run, step, loss, mean AS mean_of_20_before, component, source, tokens
FROM spikes JOIN consumption USING (run, step)
ORDER BY (loss - mean) / spread DESC, tokens DESC
LIMIT 50
""",
    "Which documents did the first step of each run read? (First epoch; for later ones see `octo trace`.)": """
WITH launched AS (
  SELECT r.run, m.manifest, CAST(m.recipe->>'sequence_length' AS BIGINT) AS n,
    CAST(r.config->>'batch_sequences' AS BIGINT) AS batch
  FROM runs r JOIN manifests m ON list_contains(r.manifests, m.manifest) WHERE m.kind = 'mixture')
SELECT DISTINCT run, s.component, m.source, m.doc_id, d.url
FROM launched l
JOIN sequences s ON s.manifest = l.manifest AND s.sequence < l.batch AND s.epoch = 0
JOIN members m ON m.manifest = l.manifest AND m.component = s.component
  AND m.token_start < (s.index + 1) * n AND m.token_start + m.n_tokens > s.index * n
JOIN documents d ON d.manifest = m.corpus AND d.doc_id = m.doc_id
ORDER BY ALL
""",
    "Which components come with a higher loss? (Correlation of the share of a component in a step with the loss.)": """
WITH shares AS (
  SELECT run, step, component, sum(tokens) / sum(sum(tokens)) OVER (PARTITION BY run, step) AS share
  FROM consumption GROUP BY run, step, component)
SELECT run, component, corr(share, loss) AS correlation, avg(share) AS mean_share, count(*) AS steps
FROM shares JOIN steps USING (run, step)
GROUP BY ALL
ORDER BY run, component
""",
    "How many documents and tokens do two mixtures have in common?": """
WITH held AS (SELECT DISTINCT manifest, doc_id, n_tokens FROM members)
SELECT a.manifest AS mixture, b.manifest AS other, count(*) AS documents, sum(a.n_tokens)::BIGINT AS tokens,
  count(*) / any_value(whole.documents) AS share_of_the_first
FROM held a JOIN held b ON a.doc_id = b.doc_id AND a.manifest <> b.manifest
JOIN (SELECT manifest, count(*) AS documents FROM held GROUP BY ALL) whole ON whole.manifest = a.manifest
GROUP BY a.manifest, b.manifest
ORDER BY ALL
""",
    "How much of each source do the mixtures use, and for how many epochs?": """
WITH used AS (
  SELECT m.manifest, m.corpus, m.source, count(DISTINCT m.doc_id) AS documents, any_value(c.epochs) AS epochs
  FROM members m JOIN components c USING (manifest, component) GROUP BY ALL),
kept AS (
  SELECT manifest AS corpus, source, count(*) AS documents FROM documents WHERE drop_reason IS NULL GROUP BY ALL)
SELECT u.manifest AS mixture, source, kept.documents AS kept, u.documents AS used,
  u.documents / kept.documents AS share, epochs
FROM used u JOIN kept USING (corpus, source)
ORDER BY mixture, source
""",
    "Which components are close to their limit of epochs?": """
SELECT manifest AS mixture, component, available_documents, available_tokens, tokens, epochs, max_epochs,
  epochs / max_epochs AS used
FROM components
ORDER BY used DESC
""",
    "How many tokens of a mixture come from which domain?": """
SELECT m.manifest AS mixture, regexp_extract(d.url, '://([^/:]+)', 1) AS domain, count(*) AS documents,
  sum(m.n_tokens)::BIGINT AS tokens
FROM members m JOIN documents d ON d.manifest = m.corpus AND d.doc_id = m.doc_id
GROUP BY ALL
ORDER BY mixture, tokens DESC
LIMIT 100
""",
    "How many tokens are from which year? (The year is taken from the URL, if it contains one.)": """
SELECT source, TRY_CAST(nullif(regexp_extract(url, '/((19|20)[0-9]{2})[/-]', 1), '') AS INTEGER) AS year,
  count(*) AS documents, sum(n_tokens)::BIGINT AS tokens
FROM documents
WHERE drop_reason IS NULL
GROUP BY ALL
ORDER BY source, year
""",
    "Under which licences are the tokens of a mixture, each token counted as often as it is read?": """
SELECT m.manifest AS mixture, coalesce(d.license, 'not stated') AS license, count(*) AS documents,
  round(sum(m.n_tokens * c.tokens / t.tokens))::BIGINT AS tokens_read
FROM members m
JOIN components c USING (manifest, component)
JOIN (SELECT manifest, component, sum(n_tokens) AS tokens FROM members GROUP BY ALL) t USING (manifest, component)
JOIN documents d ON d.manifest = m.corpus AND d.doc_id = m.doc_id
GROUP BY ALL
ORDER BY mixture, tokens_read DESC
""",
    "Does a mixture contain documents that its corpus dropped, and why? (Only if its recipe allows the reason.)": """
SELECT m.manifest AS mixture, m.component, d.drop_reason, count(*) AS documents, sum(m.n_tokens)::BIGINT AS tokens
FROM members m JOIN documents d ON d.manifest = m.corpus AND d.doc_id = m.doc_id
WHERE d.drop_reason IS NOT NULL
GROUP BY ALL
ORDER BY ALL
""",
    "Which benchmark items leaked into which sources?": """
SELECT source, drop_evidence->>'benchmark' AS benchmark, drop_evidence->>'item' AS item, count(*) AS documents
FROM documents
WHERE drop_reason = 'contaminated'
GROUP BY ALL
ORDER BY documents DESC, source, benchmark, item
""",
    "Which near-duplicate clusters are the largest, and which document of each was kept?": """
SELECT manifest, cluster_id, any_value(keeper_id) AS keeper, count(*) AS documents, list(DISTINCT source) AS sources
FROM documents
WHERE cluster_id IS NOT NULL
GROUP BY manifest, cluster_id
ORDER BY documents DESC, manifest, cluster_id
LIMIT 20
""",
    "How unevenly are tokens distributed? (Share of a component's tokens in the longest 1% of its documents.)": """
WITH ranked AS (
  SELECT manifest, component, n_tokens,
    percent_rank() OVER (PARTITION BY manifest, component ORDER BY n_tokens DESC) AS place
  FROM members)
SELECT manifest AS mixture, component, count(*) AS documents, median(n_tokens) AS median_tokens,
  max(n_tokens) AS longest, sum(n_tokens) FILTER (place <= 0.01) / sum(n_tokens) AS share_of_the_longest_1_percent
FROM ranked
GROUP BY ALL
ORDER BY ALL
""",
    "Was any RL prompt also read in mid-training?": """
SELECT p.manifest AS prompts, m.manifest AS mixture, m.component, count(*) AS documents
FROM prompts p JOIN members m USING (doc_id)
GROUP BY ALL
ORDER BY ALL
""",
    "How many tokens of each source has a model read, over all its training stages?": """
WITH RECURSIVE stages AS (
  SELECT run AS model, run, parent FROM runs
  UNION ALL SELECT s.model, r.run, r.parent FROM stages s JOIN runs r ON r.run = s.parent)
SELECT model, source, sum(tokens)::BIGINT AS tokens
FROM stages JOIN consumption USING (run)
GROUP BY ALL
ORDER BY ALL
""",
    "On which manifests and runs does a score depend?": """
WITH RECURSIVE roots AS (
  SELECT DISTINCT s.run AS score, l.parent, l.relation FROM scores s JOIN lineage l ON l.child = s.run
  UNION SELECT r.score, l.parent, l.relation FROM roots r JOIN lineage l ON l.child = r.parent)
SELECT score, relation, parent, name || '@' || version AS name
FROM roots LEFT JOIN manifests ON manifest = parent
ORDER BY ALL
""",
    "Which prompts are always or never solved in an RL run, and so give no training signal?": """
SELECT run, prompt_id, any_value(doc_id) AS document, avg(CAST(verdict = 'CORRECT' AS INTEGER)) AS solved,
  count(*) AS responses
FROM rollouts
GROUP BY run, prompt_id
HAVING solved IN (0, 1)
ORDER BY run, solved, prompt_id
""",
    "How did the reward of each source change over an RL run?": """
SELECT run, source, step, avg(reward) AS reward, avg(CAST(verdict = 'CORRECT' AS INTEGER)) AS accuracy,
  count(*) AS responses
FROM rollouts
GROUP BY ALL
ORDER BY run, source, step
""",
    "How many answers of a language model are usable, and why are the others not?": """
SELECT name, model, task, verdict, count(*) AS rows, round(avg(length_ratio), 3) AS length_ratio
FROM annotations JOIN (SELECT manifest, name, recipe->>'model' AS model FROM manifests) USING (manifest)
GROUP BY ALL
ORDER BY name, rows DESC
""",
    "How do all evaluations compare, and which run did each of them evaluate?": """
SELECT benchmark, metric, parent AS evaluated, run, value, low, high, n
FROM scores JOIN runs USING (run)
WHERE metric = 'accuracy'
ORDER BY benchmark, metric, created
""",
}
"""Question → SELECT, for a store as `octo quickstart` leaves it. A question becomes a heading of docs/sql.md."""

_HEAD = """# SQL over everything

`octo sql 'SELECT …'` runs one SELECT in [DuckDB](https://duckdb.org/docs/sql/introduction) over the
views below; `octo sql` without a query opens a prompt. A query only reads, and sees nothing outside
the store. This page is generated from the code by `make docs`.

Every family of a manifest (documents, texts, components, …) is one view over all manifests. Its
first column, `manifest`, holds the ID of the manifest (`corpus-…`), not its name; `shard` and `row`
give the Parquet file and the row in it. Every ledger of a run (steps, consumption, …) is one view
over all runs, with the ID of the run in the column `run`. If a store holds several manifests,
select one by its ID, or by its name:
`JOIN manifests USING (manifest) WHERE name = 'quickstart' AND version = '1'`. Only `texts` holds
text: a query over `documents` reads none.
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
    more = f"\n{_wrapped(f'More columns may follow: {spec.more}.')}\n" if spec.open else ""
    head = "| column | type | may be NULL | meaning |\n|---|---|---|---|"
    return "\n".join([f"### `{spec.name}`\n", _wrapped(spec.meaning), "", head, *lines, more])


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def _key(spec: TableSpec) -> list[tuple[str, pa.DataType, bool]]:
    """The column that the catalog puts before a family or a ledger."""
    if spec in FAMILY_VIEWS:
        return [("manifest", pa.string(), False)]
    return [("run", pa.string(), False)] if spec in LEDGERS else []

"""The history of a document: everything the store records about it, from its source to its losses and rewards."""

from typing import Any

from manifests.catalog import Catalog
from manifests.errors import UserError
from manifests.store import Store
from mixtures.tracing import uses
from training.consumed import steps_that_read

WHY_DOCUMENT = """
SELECT d.*, o.* EXCLUDE (manifest, doc_id, shard, row), t.text[:400] AS text FROM documents d
LEFT JOIN origins o USING (manifest, doc_id) LEFT JOIN texts t USING (manifest, doc_id) WHERE d.doc_id = $1
"""
WHY_ANNOTATED = """
WITH made AS (
  SELECT o.doc_id, o.manifest, l.parent AS annotations, o.native_id AS source_id
  FROM origins o JOIN lineage l ON l.child = o.manifest JOIN manifests m ON m.manifest = l.parent
  WHERE m.kind = 'annotations')
SELECT a.manifest AS annotations, a.doc_id AS source_document, a.task, a.ordinal, a.score, a.verdict, a.evidence,
       coalesce(a.text, a.question, a.response)[:200] AS said,
       list(DISTINCT made.doc_id) FILTER (made.doc_id IS NOT NULL) AS documents
FROM annotations a LEFT JOIN made ON made.annotations = a.manifest AND made.source_id = a.doc_id
WHERE a.doc_id = $1 OR made.doc_id = $1
GROUP BY ALL ORDER BY ALL
"""
WHY_HELD_OUT = """
SELECT h.manifest AS held_out_of, m.kind, min(m.name || '@' || m.version) AS name, h.cluster_id, h.measured
FROM held_out h JOIN manifests m USING (manifest) WHERE h.doc_id = $1 GROUP BY ALL ORDER BY ALL
"""
WHY_LOSS = """
SELECT run, step, epoch, sum(labels)::BIGINT AS labels, sum(loss * labels) / sum(labels) AS loss
FROM losses WHERE doc_id = $1 AND labels > 0 GROUP BY ALL ORDER BY run, step
"""
WHY_PROMPT = "SELECT manifest AS prompts, position, prompt_id FROM prompts WHERE doc_id = $1 ORDER BY ALL"
WHY_ROLLOUTS = """
SELECT run, step, count(*) AS responses, avg(reward) AS reward FROM rollouts WHERE doc_id = $1 GROUP BY ALL ORDER BY ALL
"""


def life_of(home: Store, doc_id: str) -> dict[str, list[dict[str, Any]]]:
    """Everything the store records about a document, part by part; UserError when no document has this ID."""
    asked = {"documents": WHY_DOCUMENT, "annotations": WHY_ANNOTATED, "held_out": WHY_HELD_OUT, "mixtures": None,
             "steps": None, "losses": WHY_LOSS, "prompts": WHY_PROMPT, "rollouts": WHY_ROLLOUTS}  # fmt: skip
    with Catalog(home) as catalog:
        life = {part: catalog.query(query, [doc_id]).to_pylist() if query else [] for part, query in asked.items()}
    if not life["documents"]:
        raise UserError(
            f"no document {doc_id!r} in {home.url}", "Find one with `octo sql 'SELECT doc_id FROM documents'`"
        )
    held = uses(home, doc_id)
    return life | {"mixtures": held.to_pylist(), "steps": steps_that_read(home, held).to_pylist()}

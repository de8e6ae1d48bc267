"""From the output of all tasks to the families of a corpus manifest.

Every document gets its doc_id, its place by (source, doc_id), and at most one reason to be dropped. Of several reasons
the first in this order is named, and only a document without an earlier one competes as a copy, so that the keeper of a
copy is always a kept document:

    contaminated, excluded, unverified, too_short, boilerplate, symbols, not_mathematical, repetition, low_score,
    exact_duplicate, near_duplicate

Sorting and joining of texts is DuckDB's, which spills to the build's scratch folder; rows without texts and signatures
are in memory. Leaves out nothing that was read: a record is one row here or one in quarantine.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.config import CurateRecipe
from curation.duplicates import (
    RULE,
    Copies,
    Texts,
    candidate_pairs,
    cluster,
    exact_keepers,
    spilling_database,
    with_exact,
)
from curation.quality import SCORES
from curation.signatures import from_column
from curation.tasks import Job, task_record
from manifests.manifest import Draft
from manifests.progress import progress
from manifests.tables import DOCUMENTS, ORIGINS, QUARANTINE, TEXTS

ROWS_PER_BATCH = 4096

NUMBERED = """
CREATE TABLE numbered AS
WITH told_apart AS (
    SELECT *, row_number() OVER (PARTITION BY base_id ORDER BY file, position) - 1 AS ordinal
    FROM read_parquet($files)
), named AS (
    SELECT * EXCLUDE (base_id, ordinal),
           CASE WHEN ordinal = 0 THEN base_id ELSE md5(base_id || '/' || ordinal) END AS doc_id
    FROM (SELECT base_id, ordinal, source, rank, file, position, id AS native_id, role, url, license, n_chars, n_tokens,
                 text_digest, quality_rule, quality_evidence, held_item, {scores} FROM told_apart)
)
SELECT row_number() OVER (ORDER BY source, doc_id) - 1 AS row, * FROM named ORDER BY source, doc_id
"""


def score_columns(recipe: CurateRecipe) -> tuple[str, ...]:
    """The scores of each document, in the order of their columns."""
    return (*SCORES, "contamination", *([recipe.classifier.column] if recipe.classifier else []))


def document_schema(recipe: CurateRecipe) -> pa.Schema:
    """The columns of `documents`, scores last."""
    return pa.schema([*DOCUMENTS.schema, *(pa.field(name, pa.float64()) for name in score_columns(recipe))])


@dataclass(frozen=True)
class Assembly:
    """All documents of a build, numbered in their final order."""

    job: Job
    database: duckdb.DuckDBPyConnection

    @classmethod
    def of(cls, job: Job) -> "Assembly":
        database = spilling_database(job.folder / "spill")
        numbered = NUMBERED.format(scores=", ".join(score_columns(job.recipe)))
        database.execute(numbered, {"files": cls(job, database).files})
        return cls(job, database)

    @property
    def files(self) -> list[str]:
        """The documents that the tasks wrote."""
        return [str(self.job.output(file) / "documents.parquet") for file in self.job.files]

    @cached_property
    def rows(self) -> pa.Table:
        """Every document in its final order, without text and signature."""
        return self.database.sql("SELECT * FROM numbered ORDER BY row").to_arrow_table()

    def joined(self, columns: str, rows: np.ndarray | None = None) -> Iterator[pa.RecordBatch]:
        """Columns of the tasks' files in the final order, for all rows or for `rows`."""
        chosen = pa.table({"row": np.arange(len(self.rows)) if rows is None else np.sort(rows)})
        self.database.register("chosen", chosen)
        query = f"""
            SELECT row, doc_id, {columns} FROM chosen JOIN numbered USING (row)
            JOIN read_parquet($files) AS written USING (source, file, position) ORDER BY row
        """
        yield from self.database.sql(query, params={"files": self.files}).to_arrow_reader(ROWS_PER_BATCH)

    def text_of(self, rows: np.ndarray) -> pa.Array:
        """Texts of `rows`, in the order of `rows`."""
        found = [batch["text"] for batch in self.joined("written.text", rows)]
        return pa.chunked_array(found, pa.string()).take(pa.array(_places(rows))).combine_chunks()

    def signatures_of(self, rows: np.ndarray, length: int) -> np.ndarray:
        """Signatures of `rows`, in the order of `rows`; uint32 [rows, length]."""
        found = [from_column(batch["signature"], length) for batch in self.joined("written.signature", rows)]
        return np.concatenate(found)[_places(rows)]


def _places(rows: np.ndarray) -> np.ndarray:
    """Where each of `rows` stands among them sorted."""
    return np.argsort(np.argsort(rows))


# -- decisions -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decisions:
    """What the manifest says of each row beyond what was measured."""

    reason: list[str | None]
    evidence: list[str | None]
    cluster_id: list[str | None]
    keeper_id: list[str | None]


def decide(assembly: Assembly, recipe: CurateRecipe) -> Decisions:
    """Reasons, evidence, clusters and keepers of all rows."""
    rows = assembly.rows
    held, rule = rows["held_item"], rows["quality_rule"]
    contaminated = pc.if_else(pc.is_valid(held), "contaminated", pa.scalar(None, pa.string()))
    low, score = _low_scores(rows, recipe)
    reason = pc.coalesce(contaminated, rule, low).to_pylist()
    evidence = pc.coalesce(held, rows["quality_evidence"], score).to_pylist()
    decisions = Decisions(reason, evidence, [None] * len(rows), [None] * len(rows))
    ranked = _ranked(rows, np.array([name is None for name in reason], np.bool_))
    if len(ranked):
        _note_copies(decisions, rows["doc_id"].to_pylist(), ranked, _copies(assembly, ranked, recipe))
    return decisions


def _low_scores(rows: pa.Table, recipe: CurateRecipe) -> tuple[pa.Array, pa.Array]:
    """`low_score` and its evidence for each row under the threshold that applies to it, NULL for the others."""
    settings = recipe.classifier
    if settings is None or settings.min is None:
        return pa.nulls(len(rows), pa.string()), pa.nulls(len(rows), pa.string())
    reason: list[str | None] = [None] * len(rows)
    evidence = list(reason)
    judged = pc.is_in(rows["role"], pa.array(settings.roles, pa.string()))
    low = pc.and_(judged, pc.less(rows[settings.column], settings.min))
    for row in np.flatnonzero(low.to_numpy()).tolist():
        value = round(rows[settings.column][row].as_py(), 6)
        reason[row] = "low_score"
        evidence[row] = json.dumps({"score": settings.column, "value": value, "limit": settings.min})
    return pa.array(reason, pa.string()), pa.array(evidence, pa.string())


def _ranked(rows: pa.Table, competing: np.ndarray) -> np.ndarray:
    """Competing rows, best first: by source rank, mathematics, length, doc_id (the order of rows)."""
    row = np.flatnonzero(competing)
    rank, density, length = (rows[name].to_numpy()[row] for name in ("rank", "math_density", "n_chars"))
    return row[np.lexsort((row, -length, -density, rank))]


def _copies(assembly: Assembly, ranked: np.ndarray, recipe: CurateRecipe) -> Copies:
    """Exact and near copies among `ranked` rows."""
    settings = recipe.near_duplicates
    first = exact_keepers(assembly.rows["text_digest"].combine_chunks().take(pa.array(ranked)))
    distinct = np.unique(first)
    rows = ranked[distinct]
    signatures = assembly.signatures_of(rows, settings.bands * settings.rows)
    spoken = np.flatnonzero(assembly.rows["words"].to_numpy()[rows] > 0)
    pairs = candidate_pairs(signatures[spoken], spoken, settings)
    involved = np.unique(pairs)
    texts = Texts(involved, assembly.text_of(rows[involved]), settings)
    return with_exact(cluster(pairs, texts, len(distinct)), first, distinct)


def _note_copies(decisions: Decisions, names: list[str], ranked: np.ndarray, copies: Copies) -> None:
    for members in _clusters(copies.cluster):
        identity = min(names[ranked[member]] for member in members)
        for member in members:
            row, keeper = ranked[member], names[ranked[copies.keeper[member]]]
            decisions.cluster_id[row] = identity
            if copies.exact[member] or copies.keeper[member] != member:
                exact = bool(copies.exact[member])
                decisions.reason[row] = "exact_duplicate" if exact else "near_duplicate"
                decisions.keeper_id[row] = keeper
                decisions.evidence[row] = json.dumps(
                    {
                        "keeper": keeper,
                        "similarity": round(float(copies.similarity[member]), 4),
                        "rule": "exact_duplicate/1" if exact else RULE,
                    }
                )


def _clusters(labels: np.ndarray) -> Iterator[np.ndarray]:
    """Members of every cluster of two or more."""
    order = np.argsort(labels, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        if len(members) > 1:
            yield members


# -- families --------------------------------------------------------------------------------------------------------


def write_families(draft: Draft, assembly: Assembly, recipe: CurateRecipe) -> dict[str, Any]:
    """Write documents, texts, origins, quarantine and signatures into `draft`; returns the manifest's counts."""
    with progress("curate: copies"):
        decisions = decide(assembly, recipe)
    length = recipe.near_duplicates.bands * recipe.near_duplicates.rows
    signature = pa.schema([("doc_id", pa.string()), ("signature", pa.list_(pa.uint32(), length))])
    with progress("curate: freeze"):
        draft.write("documents", [_documents(assembly.rows, decisions)], document_schema(recipe))
        texts = assembly.joined("written.text, written.question, written.response, written.answer")
        draft.write("texts", texts, TEXTS.schema)
        draft.write("origins", [assembly.rows.select(ORIGINS.schema.names)], ORIGINS.schema, identity=False)
        draft.write("quarantine", [_quarantine(assembly.job)], QUARANTINE.schema, identity=False)
        draft.write("signatures", assembly.joined("written.signature"), signature, identity=False)
    return {"inputs": _inputs(assembly.job)}


def _documents(rows: pa.Table, decisions: Decisions) -> pa.Table:
    decided = {
        "drop_reason": decisions.reason,
        "drop_evidence": decisions.evidence,
        "cluster_id": decisions.cluster_id,
        "keeper_id": decisions.keeper_id,
    }
    for name, values in decided.items():
        rows = rows.append_column(name, pa.array(values, pa.string()))
    return rows


def _quarantine(job: Job) -> pa.Table:
    paths = [str(job.output(file) / "quarantine.parquet") for file in job.files]
    query = "SELECT * FROM read_parquet($paths) ORDER BY source, file, position, reason"
    return duckdb.connect().sql(query, params={"paths": paths}).to_arrow_table()


def _inputs(job: Job) -> dict[str, dict[str, int]]:
    """Records and tokens of each source, as the tasks counted them while reading."""
    totals = {source.name: {"records": 0, "tokens": 0} for source in job.recipe.sources}
    for file in job.files:
        record = task_record(job, file) or {}
        for count in ("records", "tokens"):
            totals[file.source][count] += record[count]
    return totals

"""Assembles the families of a corpus manifest from the output of all tasks.

Every document gets its doc_id, its position by (source, doc_id), and the decision of `curation.corpus.decide`. DuckDB
sorts and joins texts, and spills to the scratch folder. While documents are decided, their rows without texts and
signatures are in memory, some 700 bytes a document; `curation.corpus.duplicates` says what it adds. Later steps need
none of it. Every record that was read is one row here or one in quarantine.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation.config import CurateRecipe
from curation.corpus.decide import DECIDED, MEASURED, decide, spread
from curation.corpus.duplicates import (
    STRICT,
    Copies,
    Texts,
    candidate_pairs,
    cluster,
    exact_keepers,
    in_pairs,
    with_exact,
)
from curation.corpus.near import BANDS, band_table
from curation.corpus.overlap import REASON as OVERLAP
from curation.corpus.overlap import held_by_training
from curation.measures.quality import SCORES
from curation.measures.signatures import BandKeys, from_column
from curation.reading.files import InputFile
from curation.tasks import RULES_VERSION, Job, task_record
from manifests.manifest import Draft, Manifest
from manifests.progress import progress
from manifests.tables import DOCUMENTS, DOUBTS, INPUTS, LEAKS, ORIGINS, QUARANTINE, TEXTS, TWINS

ROWS_PER_BATCH = 4096
MEMORY_LIMIT, MOST_THREADS = "2GB", 8
"""Memory limit of DuckDB, which needs 125 MB for each thread."""

# Documents with an ID collision may differ in columns that only a source's `only` reads. So they are numbered
# by that first; those that do not differ are the same document, and no row shows the file it is named after. The first
# numbers are those of colliding documents that another corpus has.
NUMBERED = """
CREATE TABLE numbered AS
WITH told_apart AS (
    SELECT * EXCLUDE (twins), coalesce(twins, 0) - 1
           + row_number() OVER (PARTITION BY base_id ORDER BY {told_apart}, file, position) AS ordinal
    FROM read_parquet($files) LEFT JOIN held USING (base_id)
), named AS (
    SELECT *, CASE WHEN ordinal = 0 THEN base_id ELSE md5(base_id || '/' || ordinal) END AS doc_id
    FROM (SELECT base_id, ordinal, source, rank, file, position, id AS native_id, role, url, license, n_chars, n_tokens,
                 text_digest, {measured} FROM told_apart)
)
SELECT row_number() OVER (ORDER BY source, doc_id) - 1 AS row, * FROM named ORDER BY source, doc_id
"""


OF_PAGES = ["text_share", "formulas_lost"]
"""What reading a page's HTML found, NULL for documents that were text."""
HELD = pa.schema([("base_id", pa.string()), ("twins", pa.int64())])
"""How many documents of a base_id there are."""


def spilling_database(folder: Path) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB that spills to `folder` beyond MEMORY_LIMIT, not beyond 80% of the machine's memory as by
    default, and draws no progress bar of its own."""
    limits = {"memory_limit": MEMORY_LIMIT, "threads": min(os.cpu_count() or 1, MOST_THREADS)}
    database = duckdb.connect(config={"temp_directory": str(folder)} | limits)
    return database.execute("SET enable_progress_bar = false")


def carried_columns(recipe: CurateRecipe) -> list[pa.Field]:
    """Columns of sources besides the parts of a document: metadata and scores."""
    metadata = [pa.field("metadata", pa.string())] if any(source.metadata for source in recipe.sources) else []
    return [*metadata, *(pa.field(name, pa.float64()) for name in recipe.source_scores)]


def told_apart(recipe: CurateRecipe) -> list[str]:
    """Columns by which documents with equal source, url, identifier and texts are ordered, NULL first."""
    return ["early_reason", "early_evidence", *OF_PAGES, *(field.name for field in carried_columns(recipe))]


def measured_columns(recipe: CurateRecipe) -> list[pa.Field]:
    """The measurements of each document: the scores, and those that the recipe adds."""
    columns = [pa.field(name, pa.float64()) for name in (*SCORES, "contamination")]
    if recipe.boilerplate_lines:
        columns.append(pa.field("boilerplate_chars", pa.int64()))
    if recipe.language:
        columns += [pa.field("language", pa.string()), pa.field("language_score", pa.float64())]
    return columns + ([pa.field(recipe.classifier.column, pa.float64())] if recipe.classifier else [])


def document_schema(recipe: CurateRecipe) -> pa.Schema:
    """The columns of `documents`: the documented ones, the measurements, and those of sources."""
    return pa.schema([*DOCUMENTS.schema, *measured_columns(recipe), *carried_columns(recipe)])


@dataclass(frozen=True)
class Documents(ABC):
    """All documents of a corpus in their final order, and the recipe that decides about them; `folder` is scratch
    space."""

    recipe: CurateRecipe
    folder: Path

    @property
    @abstractmethod
    def rows(self) -> pa.Table:
        """The measurements of every document, without texts and signatures."""

    @property
    @abstractmethod
    def written(self) -> np.ndarray:
        """The row of each document in the order of `signatures`."""

    @abstractmethod
    def signatures(self) -> Iterator[pa.Array]:
        """The signatures of all documents, in pieces."""

    @abstractmethod
    def texts(self, rows: np.ndarray) -> Iterator[pa.Array]:
        """The texts of `rows`, in the final order, in pieces."""

    def resolved(self, rows: np.ndarray, pairs: np.ndarray) -> tuple[Copies | None, np.ndarray]:
        """The known duplicates among `rows`, best first, of which `pairs` (ranks) are candidates, and the pairs that
        have to be compared; `keeper` is -1 where these decide. None: nothing is known."""
        return None, pairs

    def forget(self) -> None:
        """Release `rows`, which take most of the memory. They are computed again if needed."""
        vars(self).pop("rows", None)

    @cached_property
    def keys(self) -> BandKeys:
        """The keys of all bands, in the order of `written`; in the scratch folder."""
        settings = self.recipe.near_duplicates
        values = (from_column(part, settings.bands * settings.rows) for part in self.signatures())
        return BandKeys.stored(values, settings.rows, self.folder / "keys")


@dataclass(frozen=True)
class Assembly(Documents):
    """The documents that the tasks of a build wrote, numbered in their final order. `training` are the corpora that
    must not hold a prompt."""

    job: Job
    database: duckdb.DuckDBPyConnection
    training: tuple[Manifest, ...] = ()

    @classmethod
    def of(
        cls,
        job: Job,
        held: pa.Table = HELD.empty_table(),  # noqa: B008
        training: tuple[Manifest, ...] = (),
    ) -> "Assembly":
        """`held`: how many documents of each base_id another corpus holds; `training`: corpora whose documents no
        prompt may be."""
        database = spilling_database(job.folder / "spill").register("held", held)
        names = [*MEASURED, "held", *OF_PAGES, *document_schema(job.recipe).names[len(DOCUMENTS.schema) :]]
        apart = ", ".join(f"{name} NULLS FIRST" for name in told_apart(job.recipe))
        numbered = NUMBERED.format(measured=", ".join(names), told_apart=apart)
        database.execute(numbered, {"files": written_files(job)})
        return cls(job.recipe, job.folder, job, database, training)

    @cached_property
    def rows(self) -> pa.Table:  # type: ignore[override]
        query = "SELECT * EXCLUDE (base_id, ordinal) FROM numbered ORDER BY row"
        table = self.database.sql(query).to_arrow_table()
        return self._without_training(table) if self.training else table

    @property
    def count(self) -> int:
        """How many documents there are."""
        return self.database.sql("SELECT count(*) FROM numbered").fetchall()[0][0]

    @property
    def collisions(self) -> pa.Table:
        """The documents that have a number in addition to the base_id."""
        query = "SELECT doc_id, base_id, ordinal FROM numbered WHERE ordinal > 0 ORDER BY row"
        return self.database.sql(query).to_arrow_table().cast(TWINS.schema)

    def _without_training(self, table: pa.Table) -> pa.Table:
        """`table` with an early drop reason for every prompt that a training document contains and that has none
        yet."""
        prompts = np.flatnonzero(pc.and_(pc.equal(table["role"], "rl"), pc.is_null(table["early_reason"])).to_numpy())
        questions = pa.chunked_array([*self.texts(prompts)], pa.string()).combine_chunks()
        held = held_by_training(questions, list(self.training), self.recipe.decontaminate)
        places = prompts[np.array(sorted(held), np.int64)]
        said = pa.array([held[item] for item in sorted(held)], pa.string())
        for name, values in (("early_reason", pa.repeat(OVERLAP, len(said))), ("early_evidence", said)):
            column = pc.coalesce(table[name].cast(pa.string()), spread(values, places, len(table)))
            table = table.set_column(table.column_names.index(name), name, column)
        return table

    def joined(self, columns: str, rows: np.ndarray | None = None) -> Iterator[pa.RecordBatch]:
        """Columns of the tasks' files in the final order, for all rows or for `rows`."""
        chosen = pa.table({"row": np.arange(self.count) if rows is None else np.sort(rows)})
        self.database.register("chosen", chosen)
        query = f"""
            SELECT row, doc_id, {columns} FROM chosen JOIN numbered USING (row)
            JOIN read_parquet($files) AS written USING (source, file, position) ORDER BY row
        """
        yield from self.database.sql(query, params={"files": written_files(self.job)}).to_arrow_reader(ROWS_PER_BATCH)

    @cached_property
    def written(self) -> np.ndarray:  # type: ignore[override]
        names = [(file.source, name) for file in whole_files(self.job) for name in file.parts or (file.name,)]
        inputs = [{"number": number, "source": source, "file": name} for number, (source, name) in enumerate(names)]
        self.database.register("inputs", pa.Table.from_pylist(inputs))
        query = "SELECT row FROM numbered JOIN inputs USING (source, file) ORDER BY number, position"
        return self.database.sql(query).to_arrow_table()["row"].to_numpy()

    def signatures(self) -> Iterator[pa.Array]:
        for file in written_files(self.job):
            for batch in pq.ParquetFile(file).iter_batches(ROWS_PER_BATCH, columns=["signature"]):
                yield batch.column(0)

    def texts(self, rows: np.ndarray) -> Iterator[pa.Array]:
        return (batch["text"] for batch in self.joined("written.text", rows))


def whole_files(job: Job) -> list[InputFile]:
    """The input files in order, each once, although several consecutive tasks may have read pieces of it."""
    return list({(file.source, file.name): file for file in job.files}.values())


def written_files(job: Job) -> list[str]:
    """The documents that the tasks wrote."""
    return [str(job.output(file) / "documents.parquet") for file in job.files]


def documents_of(found: Documents) -> pa.Table:
    """The measurements of every row, and the decision about it."""
    decided = decide(found.rows, found.recipe, lambda ranked: _copies(found, ranked))
    table = found.rows
    for name in DECIDED.names:
        table = table.append_column(name, decided[name])
    return table


def _copies(found: Documents, ranked: np.ndarray) -> Copies:
    """Exact duplicates and near-duplicates among `ranked` rows."""
    settings = found.recipe.near_duplicates
    first = exact_keepers(found.rows["text_digest"].combine_chunks().take(pa.array(ranked)))
    distinct = np.unique(first)
    rows = ranked[distinct]
    competing = np.where(found.rows["words"].to_numpy()[rows] > 0, np.arange(len(rows)), -1)
    rank = np.full(len(found.rows), -1, np.int32)
    rank[rows] = competing
    pairs = candidate_pairs(found.keys, settings.bands, rank[found.written])
    resolved, pairs = found.resolved(rows, pairs)
    involved = np.sort(rows[in_pairs(pairs, len(rows))])
    stored = Texts.stored(rank[involved], _with_strictness(found, involved), settings, found.folder)
    copies = cluster(pairs, stored, len(distinct))
    return with_exact(copies.where_open(resolved) if resolved else copies, first, distinct)


def _with_strictness(found: Documents, rows: np.ndarray) -> Iterator[tuple[pa.Array, np.ndarray]]:
    """The texts of `rows` in pieces, and whether each has a role in which no number may differ."""
    strict = pc.is_in(found.rows["role"].take(rows), pa.array(STRICT, pa.string())).to_numpy()
    start = 0
    for texts in found.texts(rows):
        yield texts, strict[start : start + len(texts)]
        start += len(texts)


# -- families --------------------------------------------------------------------------------------------------------


def write_families(draft: Draft, assembly: Assembly, recipe: CurateRecipe) -> dict[str, Any]:
    """Write every family into `draft`; returns the manifest's counts."""
    with progress("curate: copies"):
        documents = documents_of(assembly)
    with progress("curate: freeze"):
        write_documents(draft, documents, recipe)
        draft.write("doubts", [early_reasons_of(documents)], DOUBTS.schema, identity=False)
        draft.write("origins", [documents.select(ORIGINS.schema.names)], ORIGINS.schema, identity=False)
        del documents
        assembly.forget()
        for family, tables, schema in families_of(assembly, assembly):
            draft.write(family, tables, schema, identity=family == "texts")
    return {"inputs": counts_of(assembly.job), "rules": RULES_VERSION}


def write_documents(draft: Draft, documents: pa.Table, recipe: CurateRecipe) -> None:
    """The families that depend on the limits of `recipe`."""
    draft.write("documents", [documents], document_schema(recipe))
    draft.write("leaks", [_leaks(documents)], LEAKS.schema, identity=False)


Rows = Iterable[pa.Table | pa.RecordBatch]


def families_of(assembly: Assembly, found: Documents) -> Iterator[tuple[str, Rows, pa.Schema]]:
    """The families that tasks wrote, except documents and origins. Uses no `rows`: memory is that of DuckDB, and 16
    bytes a document."""
    settings = assembly.recipe.near_duplicates
    signature = pa.list_(pa.uint32(), settings.bands * settings.rows)
    texts = assembly.joined("written.text, written.question, written.response, written.answer")
    yield "texts", texts, TEXTS.schema
    yield "quarantine", [_quarantine(assembly.job)], QUARANTINE.schema
    yield (
        "signatures",
        assembly.joined("written.signature"),
        pa.schema([("doc_id", pa.string()), ("signature", signature)]),
    )
    yield "twins", [assembly.collisions], TWINS.schema
    yield "inputs", [_inputs(assembly.job)], INPUTS.schema
    yield "bands", _bands(found, settings.bands, assembly.count), BANDS


def _leaks(documents: pa.Table) -> pa.Table:
    """A row for each benchmark item that a document contains."""
    holding = documents.filter(pc.is_valid(documents["held"]))
    held = holding["held"].combine_chunks()
    rows = pa.Table.from_struct_array(pc.list_flatten(held))
    doc_id = holding["doc_id"].take(pc.list_parent_indices(held))
    return rows.append_column("doc_id", doc_id).select(LEAKS.schema.names).cast(LEAKS.schema)


def early_reasons_of(documents: pa.Table) -> pa.Table:
    early = documents.filter(pc.is_valid(documents["early_reason"])).select(
        ["doc_id", "early_reason", "early_evidence"]
    )
    return early.rename_columns(DOUBTS.schema.names)


def _bands(found: Documents, bands: int, last: int) -> Iterator[pa.Table]:
    """The index of `curation.corpus.near` for the `last` documents, band by band."""
    first = len(found.written) - last
    for band in range(bands):
        yield band_table(band, found.keys(band)[first:], found.written[first:])


def _quarantine(job: Job) -> pa.Table:
    paths = [str(job.output(file) / "quarantine.parquet") for file in job.files]
    query = "SELECT * FROM read_parquet($paths) ORDER BY source, file, position, reason"
    return duckdb.connect().sql(query, params={"paths": paths}).to_arrow_table()


def _inputs(job: Job) -> pa.Table:
    rows = [{"source": file.source, "file": file.name, "format": file.format, "bytes": file.bytes,
             "sha256": file.sha256} for file in whole_files(job)]  # fmt: skip
    return pa.Table.from_pylist(rows, INPUTS.schema).sort_by([("source", "ascending"), ("file", "ascending")])


def counts_of(job: Job) -> dict[str, dict[str, int]]:
    """Records and tokens of each source, as the tasks counted them while reading."""
    totals = {source.name: {"records": 0, "tokens": 0} for source in job.recipe.sources}
    for file in job.files:
        record = task_record(job, file) or {}
        for count in ("records", "tokens"):
            totals[file.source][count] += record[count]
    return totals

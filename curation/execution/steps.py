"""The steps a file goes through, as Datatrove pipeline steps that hand on batches of Arrow tables.

    Read → Normalise → Verify → Identify → Annotate → Score → Decontaminate → Sign → Write     one task per input file

What goes from step to step is a `Batch`: so many records read, the documents made of them (columns are added on the
way), and the rows for quarantine. Write puts a task's tables and, last, its record with checksums into a folder aside
and renames that to the task's place; a task without a sound record has not been done, whatever Datatrove's own
completion marks say (they are keyed by rank alone). What a step adds depends on the content of the documents alone.
"""

import hashlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datatrove.pipeline.base import PipelineStep

from curation.config import CurateRecipe, DecontaminateRecipe, NearDuplicatesRecipe, ScoreRecipe, SourceRecipe
from curation.measures.boilerplate import remove_lines
from curation.measures.classifier import Classifier
from curation.measures.decontaminate import ItemIndex
from curation.measures.language import Identifier
from curation.measures.normalise import line_ends, normalise
from curation.measures.quality import SCORES, scores
from curation.measures.signatures import as_column, signatures
from curation.measures.spellings import spelled_words
from curation.measures.vocabulary import Vocabulary
from curation.measures.words import Words, shingles, split
from curation.reading.files import InputFile
from curation.reading.records import FIELDS, Bad, Good, read_records
from curation.roles import ANSWERED, PROSE
from curation.tasks import RECORD, publish
from evaluation.grading.answers import Grader
from evaluation.grading.controls import Failure, check_references
from manifests.drop_reasons import DropReason
from manifests.store import file_sha256
from manifests.tables import QUARANTINE

BATCH_RECORDS, BATCH_CHARACTERS = 2048, 16 << 20
TEXT_FIELDS = ("text", "question", "response", "answer")
VERIFY_SECONDS = 30.0
"""Patience with one reference: so long that how busy a machine is hardly ever decides, for the ID hangs on it."""
EARLY = ("early_reason", "early_evidence")
OF_PAGE = [("text_share", pa.float64()), ("formulas_lost", pa.int64())]
RAW = pa.schema(
    [
        ("position", pa.int64()),
        *((name, pa.large_string()) for name in (*FIELDS, *EARLY, "metadata")),
        *OF_PAGE,
        ("file", pa.large_string()),
    ]
)


@dataclass(frozen=True)
class Batch:
    """Some records of one file: how many were read, the documents among them, the rest as quarantine rows."""

    records: int
    documents: pa.Table
    quarantine: pa.Table
    words: Words | None = None
    """Words of the texts in their one spelling, once they have been split."""

    def with_columns(self, columns: dict[str, Any]) -> "Batch":
        """The batch with `columns` added to its documents, replacing those of the same name."""
        kept = [name for name in self.documents.column_names if name not in columns]
        table = self.documents.select(kept)
        for name, values in columns.items():
            table = table.append_column(name, values)
        return replace(self, documents=table)

    def text(self, name: str = "text") -> pa.Array:
        """A text column in one chunk."""
        column = self.documents[name].combine_chunks()
        return column.chunk(0) if isinstance(column, pa.ChunkedArray) else column


Batches = Iterator[Batch]


@dataclass(frozen=True)
class Task:
    """One input file, the source it belongs to, and the folder its output goes to."""

    file: InputFile
    source: SourceRecipe
    rank: int
    folder: Path


class Read(PipelineStep):
    """Records of the task's file, in batches."""

    name, type = "Read", "📖 curation"

    def __init__(self, tasks: list[Task], recipe: CurateRecipe):
        super().__init__()
        self.tasks, self.max_record_bytes, self.scores = tasks, recipe.max_record_bytes, recipe.source_scores

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Batches:
        task = self.tasks[rank]
        found: list[Good | Bad] = []
        characters = 0
        for record in read_records(task.file, task.source, self.max_record_bytes, task.folder.parent):
            found.append(record)
            characters += sum(len(part or "") for part in record.fields) if isinstance(record, Good) else 0
            if len(found) == BATCH_RECORDS or characters > BATCH_CHARACTERS:
                yield self._batch(task, found)
                found, characters = [], 0
        yield self._batch(task, found)

    def _batch(self, task: Task, found: list[Good | Bad]) -> Batch:
        good = [(*_row(record), record.file or task.file.name) for record in found if isinstance(record, Good)]
        columns = list(zip(*good, strict=True)) if good else [()] * len(RAW)
        documents = pa.table([pa.array(values, kind.type) for values, kind in zip(columns, RAW, strict=True)], RAW)
        for name in self.scores:  # of all sources, so that the files of all tasks have the same columns
            score = [record.scores.get(name) for record in found if isinstance(record, Good)]
            documents = documents.append_column(name, pa.array(score, pa.float64()))
        bad = [record for record in found if isinstance(record, Bad)]
        where = {"source": task.file.source}
        quarantine = [where | vars(record) | {"file": record.file or task.file.name} for record in bad]
        return Batch(len(found), documents, pa.Table.from_pylist(quarantine, QUARANTINE.schema))


class Normalise(PipelineStep):
    """Every text normalised, of code its line ends alone; pages rid of boilerplate lines if these are to go; `text`
    composed of question and response where the role has these and the adapter gave no text of its own."""

    name, type = "Normalise", "🧹 curation"

    def __init__(self, tasks: list[Task], remove_boilerplate: bool = False):
        super().__init__()
        self.tasks, self.remove_boilerplate = tasks, remove_boilerplate

    def run(self, data: Batches, rank: int = 0, world_size: int = 1) -> Batches:
        role = self.tasks[rank].source.role
        clean = line_ends if role == "code" else normalise
        for batch in data:
            texts = {name: clean(batch.text(name)) for name in TEXT_FIELDS}
            if role in ANSWERED:
                texts["text"] = pc.coalesce(texts["text"], _answered(texts["question"], texts["response"]))
            elif role == "rl":
                texts["text"] = texts["question"]
            if self.remove_boilerplate:
                texts["boilerplate_chars"] = pa.repeat(pa.scalar(0, pa.int64()), len(texts["text"]))
                if role in PROSE:
                    texts["text"], texts["boilerplate_chars"] = remove_lines(texts["text"])
            yield batch.with_columns(texts)


class Verify(PipelineStep):
    """Whether the answer of each prompt for RL can be used to grade; one that fails the controls is in doubt."""

    name, type = "Verify", "✅ curation"

    def __init__(self, tasks: list[Task]):
        super().__init__()
        self.tasks = tasks

    def run(self, data: Batches, rank: int = 0, world_size: int = 1) -> Batches:
        if self.tasks[rank].source.role != "rl":
            yield from data
            return
        with Grader(workers=1, limit_seconds=VERIFY_SECONDS) as grader:
            for batch in data:
                answers = [answer or "" for answer in batch.text("answer").to_pylist()]
                failures = check_references(answers, grader)
                yield batch.with_columns(_with_early_reasons(batch.documents, failures))


class Identify(PipelineStep):
    """The language of each document."""

    name, type = "Identify", "🌐 curation"

    def __init__(self, model: Path | None, digest: str | None):
        super().__init__()
        self.model, self.digest = model, digest

    def run(self, data: Batches, rank: int = 0, world_size: int = 1) -> Batches:
        identifier = _identifier(self.model, self.digest)
        for batch in data:
            language, score = identifier.identify(batch.text())
            yield batch.with_columns({"language": language, "language_score": pa.array(score)})


class Annotate(PipelineStep):
    """Identity, counts, digest and scores."""

    name, type = "Annotate", "🔎 curation"

    def __init__(self, tasks: list[Task], tokenizer: str):
        super().__init__()
        self.tasks, self.tokenizer = tasks, tokenizer

    def run(self, data: Batches, rank: int = 0, world_size: int = 1) -> Batches:
        source = self.tasks[rank].source
        vocabulary = _vocabulary(self.tokenizer, file_sha256(Path(self.tokenizer)))
        for batch in data:
            texts = batch.text()
            plain = texts.to_pylist()
            words = split(texts)
            found = scores(texts, words)
            columns = {
                "base_id": _base_ids(source.name, batch.documents),
                "n_chars": pc.utf8_length(texts).cast(pa.int64()),
                "n_tokens": pa.array(vocabulary.count(plain), pa.int64()),
                "text_digest": pa.array([_digest(text.encode()) for text in plain], pa.string()),
            }
            yield batch.with_columns(columns | {name: pa.array(found[name]) for name in SCORES})


class Score(PipelineStep):
    """The classifier's score, in the column that the recipe names."""

    name, type = "Score", "🎯 curation"

    def __init__(self, settings: ScoreRecipe, model: Path, digest: str):
        super().__init__()
        self.settings, self.model, self.digest = settings, model, digest

    def run(self, data: Batches, rank: int = 0, world_size: int = 1) -> Batches:
        classifier = _classifier(self.model, self.settings.label, self.digest)
        for batch in data:
            yield batch.with_columns({self.settings.column: pa.array(classifier.score(batch.text()))})


class Decontaminate(PipelineStep):
    """Coverage of the benchmark item that a document holds, the evidence, and where in the text it stands."""

    name, type = "Decontaminate", "🧪 curation"

    def __init__(self, items: Path, settings: DecontaminateRecipe):
        super().__init__()
        self.items, self.settings = items, settings

    def run(self, data: Batches, rank: int = 0, world_size: int = 1) -> Batches:
        index = _item_index(self.items, self.settings.model_dump_json())
        for batch in data:
            batch = replace(batch, words=spelled_words(batch.text()))
            yield batch.with_columns(index.columns(batch.text(), batch.words))


class Sign(PipelineStep):
    """MinHash signature of each document."""

    name, type = "Sign", "🖋 curation"

    def __init__(self, settings: NearDuplicatesRecipe):
        super().__init__()
        self.settings = settings

    def run(self, data: Batches, rank: int = 0, world_size: int = 1) -> Batches:
        for batch in data:
            words = batch.words or spelled_words(batch.text())
            runs = shingles(words.hashes, words.offsets, self.settings.shingle)
            values = signatures(runs, self.settings.bands * self.settings.rows)
            yield batch.with_columns({"signature": as_column(values)})


class Write(PipelineStep):
    """The task's documents and quarantine rows as Parquet, then its record."""

    name, type = "Write", "💾 curation"

    def __init__(self, tasks: list[Task]):
        super().__init__()
        self.tasks = tasks

    def run(self, data: Batches, rank: int = 0, world_size: int = 1) -> Batches:
        task = self.tasks[rank]
        aside = task.folder.with_name(f"{task.folder.name}.{uuid.uuid4().hex}")
        aside.parent.mkdir(exist_ok=True)  # and no folder above: a late task must not begin a build that has ended
        aside.mkdir()
        totals = self._write_tables(task, data, aside)
        files = {path.name: file_sha256(path) for path in sorted(aside.iterdir())}
        (aside / RECORD).write_text(json.dumps(totals | {"files": files}))
        publish(aside, task.folder)
        yield from ()

    def _write_tables(self, task: Task, data: Batches, folder: Path) -> dict[str, int]:
        totals = {"records": 0, "documents": 0, "quarantined": 0, "tokens": 0}
        documents = None
        with pq.ParquetWriter(folder / "quarantine.parquet", QUARANTINE.schema) as quarantine:
            for batch in data:
                table = _with_origin(batch.documents, task)
                documents = documents or pq.ParquetWriter(
                    folder / "documents.parquet", table.schema, compression="zstd"
                )
                documents.write_table(table)
                quarantine.write_table(batch.quarantine)
                totals["records"] += batch.records
                totals["documents"] += len(table)
                totals["quarantined"] += len(batch.quarantine)
                totals["tokens"] += pc.sum(table["n_tokens"]).as_py() or 0
        if documents:
            documents.close()
        return totals


def _with_early_reasons(documents: pa.Table, failures: list[Failure | None]) -> dict[str, pa.Array]:
    """The columns DOUBT, with a doubt where there was none and the reference fails."""
    reason, evidence = (documents[name].to_pylist() for name in EARLY)
    for place, failure in enumerate(failures):
        if failure and reason[place] is None:
            reason[place], evidence[place] = DropReason.UNVERIFIABLE, json.dumps(asdict(failure))
    return {name: pa.array(said, pa.large_string()) for name, said in zip(EARLY, (reason, evidence), strict=True)}


def _row(record: Good) -> tuple[Any, ...]:
    """The values of RAW but the last, the file."""
    early_reason = (record.early_reason.reason, record.early_reason.evidence) if record.early_reason else (None, None)
    return record.position, *record.fields, *early_reason, record.metadata, record.text_share, record.formulas_lost


def _with_origin(documents: pa.Table, task: Task) -> pa.Table:
    """`documents` with what is the same for the whole file."""
    columns = {"source": task.file.source, "rank": task.rank, "role": task.source.role}
    for name, value in (columns | {"license": task.source.license}).items():
        scalar = pa.scalar(value, pa.int64() if name == "rank" else pa.string())
        documents = documents.append_column(name, pa.repeat(scalar, len(documents)))
    return documents


def _answered(question: pa.Array, response: pa.Array) -> pa.Array:
    """The training text of a question with its response."""
    before, between, separator = (pa.scalar(part, pa.large_string()) for part in ("Question:\n", "\nAnswer:\n", ""))
    return pc.binary_join_element_wise(before, question, between, response, separator)


def _base_ids(source: str, documents: pa.Table) -> pa.Array:
    """128-bit hash of a document's source, url, native ID and texts: what it is, not where it was read."""
    columns = [[source] * len(documents), *(documents[name].to_pylist() for name in FIELDS)]
    rows = (b"[" + b", ".join(map(orjson.dumps, row)) + b"]" for row in zip(*columns, strict=True))
    return pa.array(map(_digest, rows), pa.string())


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


@lru_cache(maxsize=1)
def _vocabulary(path: str, digest: str) -> Vocabulary:
    """Keyed by the file's digest too, for another may come to its place in the life of a process."""
    return Vocabulary.load(path)


@lru_cache(maxsize=1)
def _classifier(path: Path, label: str, digest: str) -> Classifier:
    """Keyed by the model's digest, so that a model trained again at the same path is never taken for the old one."""
    return Classifier.load(path, label, digest)


@lru_cache(maxsize=1)
def _identifier(path: Path | None, digest: str | None) -> Identifier:
    return Identifier.load(path, digest)


@lru_cache(maxsize=1)
def _item_index(items: Path, settings: str) -> ItemIndex:
    """Built once in a process that runs many tasks. `settings` is a DecontaminateRecipe as JSON."""
    return ItemIndex(pq.read_table(items), DecontaminateRecipe.model_validate_json(settings))

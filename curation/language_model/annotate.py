"""What a language model says of a corpus, as a manifest: `octo annotate RECIPE`.

A manifest of kind `annotations`, made from its corpus, with one family `annotations`: scores, rewritten texts or
question-answer pairs, with the answer as received and a verdict (`curation.language_model.verdicts`). `octo curate`
takes the rows as a source (`path: manifest://NAME@VERSION`), `octo curate train-classifier` the scores as labels
(`annotations:`).

Promises. Every chosen document is at least one row, in the order of the corpus. Answers are not the same twice, so the
ID digests what came back; the same recipe again finds the manifest and asks nothing. A build that was stopped goes on
with the answers that it had. A manifest with failed requests is no end of the work: under another version the recipe
asks for those again, and for those alone. Leaves out several machines at once, and rebuilding: a model's answers cannot
be made again.
"""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation.corpus.assemble import spilling_database
from curation.language_model.answers import answers_kept
from curation.language_model.config import AnnotateRecipe
from curation.language_model.inference import Asked, ask
from curation.language_model.verdicts import VERSION, rows
from evaluation.samplers.completions_client import Answer
from manifests.catalog import Catalog, query
from manifests.errors import UserError
from manifests.manifest import Draft, Manifest, build_key, called, check_name, find_built, load_all, resolve
from manifests.progress import progress
from manifests.recipe import semantic
from manifests.store import Store
from manifests.tables import ANNOTATIONS

ROWS_PER_WRITE, ROWS_PER_JUDGEMENT = 256, 1024
REPLIES = pa.schema(
    [("row", pa.int64()), ("asked", pa.bool_())]
    + [(name, pa.string()) for name in ("doc_id", "source", "url", "text", "response", "finish_reason", "error")]
    + [(name, pa.int64()) for name in ("prompt_tokens", "completion_tokens")]
)
PARTLY = ":partly"
"""Ends the build key of a manifest with failed requests: it is what its own name stands for, but not this work done."""

_CHOSEN = "SELECT doc_id, source, url, n_tokens, n_chars FROM (FROM documents WHERE manifest = $1) WHERE (\n{where}\n)"
_VERDICTS = """
SELECT verdict, count(DISTINCT doc_id) AS documents, count(*) AS rows, sum(prompt_tokens)::BIGINT AS prompt_tokens,
       sum(completion_tokens)::BIGINT AS completion_tokens
FROM annotations WHERE manifest = $1 GROUP BY verdict ORDER BY verdict <> 'ok', rows DESC, verdict
"""


@dataclass(frozen=True)
class _Work:
    """One build: what is asked of which corpus, and the folder that keeps the answers."""

    store: Store
    recipe: AnnotateRecipe
    corpus: Manifest
    key: str

    @classmethod
    def of(cls, store: Store, recipe: AnnotateRecipe) -> "_Work":
        corpus = resolve(store, recipe.corpus)
        if corpus.kind != "corpus":
            raise UserError(f"{corpus.ref} is a {corpus.kind}, no corpus", "Name a corpus manifest")
        key = build_key("annotations", semantic(recipe), [corpus], [("verdicts", str(VERSION))])
        return cls(store, recipe, corpus, key)

    @property
    def folder(self) -> Path:
        """Where the answers are kept; made by who writes there."""
        return self.store.scratch_path(f"annotate-{self.key[:16]}")

    def chosen(self) -> pa.Table:
        """doc_id, source, url, n_tokens, n_chars of the documents that are asked about, in no order."""
        with Catalog(self.store) as catalog:
            return catalog.query(_CHOSEN.format(where=self.recipe.where), [self.corpus.id])

    def built(self) -> Manifest | None:
        """The manifest of this work: whole under any name, or with failed requests under the recipe's own.

        UserError when that name stands for another manifest: better now than after everything was asked.
        """
        ref, recipe = f"{self.recipe.name}@{self.recipe.version}", semantic(self.recipe)
        found = find_built(self.store, self.key, "annotations", recipe, [self.corpus])
        named = next((manifest for manifest in load_all(self.store)[0] if manifest.ref == ref), None)
        if named is None or (found and found.digest == named.digest):
            return found
        if named.build_key != self.key + PARTLY:
            raise UserError(f"{ref} already names {named.id}, which is other work", "Give the recipe another version")
        return named


def annotate(store: Store, recipe: AnnotateRecipe) -> Manifest:
    """The annotations manifest of `recipe`, built or found.

    Raises UserError for a wrong condition, a missing key, a server that cannot be asked, or too many failed requests.
    """
    check_name(recipe.name, recipe.version)
    work = _Work.of(store, recipe)
    return called(store, work.built() or _build(work, _key(recipe)), recipe)


def plan(store: Store, recipe: AnnotateRecipe) -> dict[str, Any]:
    """What would be asked: documents, their tokens, and how many answers are kept from before. Asks nothing."""
    work = _Work.of(store, recipe)
    chosen = work.chosen()
    asked = chosen.filter(_askable(chosen["n_chars"], recipe))
    return {
        "documents": len(chosen),
        "source too long": len(chosen) - len(asked),
        "requests": len(asked),
        "tokens of their texts": pc.sum(asked["n_tokens"]).as_py() or 0,
        "answered before": answers_kept(work.folder),
        "built": "yes" if work.built() else "no",
        "model": recipe.model,
        "server": recipe.server.url if recipe.server.engine == "endpoint" else "vllm",
    }


def verdicts(store: Store, manifest: Manifest) -> pa.Table:
    """Documents, rows and tokens of each verdict, the good ones first."""
    return query(store, _VERDICTS, [manifest.id])


def _key(recipe: AnnotateRecipe) -> str | None:
    """The API key, from the environment alone."""
    name = recipe.server.key_variable
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not re.fullmatch(r"[!-~]+", key):
        raise UserError(f"the environment variable {name} holds no API key", f"export {name}=…")
    return key


def _askable(n_chars: pa.ChunkedArray, recipe: AnnotateRecipe) -> pa.ChunkedArray:
    """Which documents are asked about; to be scored a long one is cut."""
    return pc.or_(pa.scalar(recipe.task == "score"), pc.less_equal(n_chars, recipe.max_chars))


def _build(work: _Work, key: str | None) -> Manifest:
    chosen = work.chosen()
    if not len(chosen):
        raise UserError(f"no document of {work.corpus.ref} satisfies `where`", "Correct the condition")
    draft = Draft(work.store, "annotations", semantic(work.recipe), [work.corpus])
    with work.store.temporary() as folder:
        failures = _ask_all(work, chosen, key, folder / "replies.parquet")
        with progress("annotate: freeze"):
            draft.write("annotations", _annotations(folder, work.recipe), ANNOTATIONS.schema)
    build = work.key + PARTLY if failures else work.key
    recipe, counts = work.recipe, {"documents": len(chosen), "failed": failures}
    manifest = draft.commit(recipe.name, recipe.version, counts, build, recipe.model_dump(mode="json"))
    if not failures:
        shutil.rmtree(work.folder, ignore_errors=True)
    return manifest


def _ask_all(work: _Work, chosen: pa.Table, key: str | None, path: Path) -> int:
    """Write the reply to each chosen document to `path`, in the order of arrival; returns how many requests failed."""
    recipe = work.recipe
    requests = int(pc.sum(_askable(chosen["n_chars"], recipe)).as_py())
    with _Replies(path) as replies:
        documents = _documents(work.corpus, chosen, recipe, replies)
        ask(documents, requests, recipe, key, work.folder, replies.take)
    return replies.failures


class _Replies:
    """A Parquet file of REPLIES, written a few rows at a time, by two threads: documents are read in one of their
    own."""

    def __init__(self, path: Path):
        self.writer = pq.ParquetWriter(path, REPLIES, compression="zstd")
        self.held: list[dict[str, Any]] = []
        self.lock = Lock()
        self.failures = 0

    def __enter__(self) -> "_Replies":
        return self

    def __exit__(self, *_: object) -> None:
        self._write()
        self.writer.close()

    def take(self, document: Asked, reply: Answer | str) -> None:
        """A document with its answer, or with why there is none."""
        if isinstance(reply, str):
            self.failures += 1
            said = {"error": reply, "prompt_tokens": 0, "completion_tokens": 0}
        else:
            said = {name: value for name, value in vars(reply).items() if name != "text"} | {"response": reply.text}
        self.add({**document.origin, "asked": True, **said})

    def add(self, row: dict[str, Any]) -> None:
        with self.lock:
            self.held.append(row)
            if len(self.held) == ROWS_PER_WRITE:
                self._write()

    def _write(self) -> None:
        self.writer.write_table(pa.Table.from_pylist(self.held, REPLIES))
        self.held = []


def _documents(corpus: Manifest, chosen: pa.Table, recipe: AnnotateRecipe, replies: _Replies) -> Iterator[Asked]:
    """The chosen documents to ask about, in the order of the corpus; the others go straight to `replies`."""
    chosen = chosen.combine_chunks()
    names, row = chosen["doc_id"].combine_chunks(), 0
    for batch in corpus.scan("texts", ["doc_id", "text"]):
        place = pc.index_in(batch.column(0), value_set=names)
        found = pc.is_valid(place)
        about = chosen.take(place.filter(found)).select(["doc_id", "source", "url", "n_chars"])
        asked = _askable(about["n_chars"], recipe).to_pylist()
        texts = batch.column(1).filter(found).to_pylist()
        for origin, text, wanted in zip(about.drop("n_chars").to_pylist(), texts, asked, strict=True):
            origin |= {"row": row, "text": text}
            row += 1
            if wanted:
                yield Asked(origin["doc_id"], text[: recipe.max_chars], origin)
            else:
                replies.add(origin | {"asked": False, "prompt_tokens": 0, "completion_tokens": 0})


def _annotations(folder: Path, recipe: AnnotateRecipe) -> Iterator[pa.Table]:
    """The rows of every reply in `folder`, in the order of the corpus."""
    database = spilling_database(folder / "spill")
    ordered = database.sql(
        "SELECT * FROM read_parquet($path) ORDER BY row", params={"path": str(folder / "replies.parquet")}
    )
    for batch in ordered.to_arrow_reader(ROWS_PER_JUDGEMENT):
        yield rows(batch, recipe)

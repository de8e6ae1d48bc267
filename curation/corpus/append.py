"""Appends to a corpus: reads and compares only the files that it lacks, such as a new dump or source.

`octo curate RECIPE --append-to CORPUS`. The recipe lists every source, old and new, best first. Files whose checksums
are recorded in `CORPUS` are skipped and need not exist any more. Promises: the documents and every decision about them
are those of a full run of the recipe over all files, in whatever order they were added. Files of texts, signatures and
the like stay, with new ones after them; `documents` (which hold the decisions), `leaks` and early drop reasons are
rewritten, and `origins` if colliding documents change places.

The ID differs from that of a full run: rows of the corpus come first, in its order, then the new ones by source and
doc_id, and the corpus is a parent. So the ID records what was appended to which corpus; `octo manifest diff` shows that
nothing else differs.

How. Every key of every band is sorted again, because a new document may come between old ones. Candidate pairs connect
documents into groups. In a group without a new document, or one that changed places with a new one, nothing has
changed, so the decisions of the corpus are taken. In the other groups texts are compared, except pairs of old documents
in two clusters of the corpus, which were compared before. Leaves out a change of rules at the same time, and removal.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.corpus.assemble import (
    HELD,
    Assembly,
    Documents,
    counts_of,
    documents_of,
    early_reasons_of,
    families_of,
    spilling_database,
    told_apart,
    write_documents,
    write_families,
    written_files,
)
from curation.corpus.decide import DECIDED
from curation.corpus.duplicates import Copies, connected
from curation.corpus.refilter import Stored, changes, files_of, places
from curation.measures.decontaminate import LEAK, ItemIndex
from curation.reading.files import InputFile
from curation.tasks import RULES_VERSION, Job
from manifests.drop_reasons import DropReason
from manifests.errors import UserError
from manifests.manifest import Draft, Manifest, check_launch, record_path
from manifests.progress import progress
from manifests.store import Store
from manifests.tables import DOUBTS, ORIGINS

LIKE_NEW = """
WITH shared AS (
    SELECT base_id FROM (SELECT DISTINCT base_id FROM read_parquet($files)) JOIN documents ON doc_id = base_id
)
SELECT doc_id, base_id, ordinal FROM twins SEMI JOIN shared USING (base_id)
UNION ALL SELECT base_id, base_id, 0 FROM shared ORDER BY base_id, ordinal
"""
CHANGED_PLACES = """
WITH alike AS (
    SELECT base_id, ordinal, row, {names} FROM old
    UNION ALL SELECT base_id, ordinal, row + $first, {names} FROM numbered SEMI JOIN held USING (base_id)
), sorted AS (
    SELECT base_id, row, row_number() OVER (PARTITION BY base_id ORDER BY {order}, ordinal) - 1 AS ordinal FROM alike
)
SELECT alike.row, sorted.row AS takes FROM alike JOIN sorted USING (base_id, ordinal) WHERE alike.row <> sorted.row
"""


# -- what may be added -----------------------------------------------------------------------------------------------


def check_addable(onto: Manifest, identity: dict[str, Any]) -> None:
    """UserError unless `onto` is a corpus of these rules, whose sources the recipe has, decided as it decides."""
    if onto.kind != "corpus":
        raise UserError(f"{onto.ref} is a {onto.kind}, not a corpus", "Name a corpus manifest")
    if onto.counts.get("rules") != RULES_VERSION or "twins" not in onto.families:
        raise UserError(f"{onto.ref} was made by another version of the rules", "Run `octo curate` without --append-to")
    theirs = [source["name"] for source in onto.recipe["sources"]]
    ours = [source for source in identity["sources"] if source["name"] in theirs]
    if missing := [name for name in theirs if name not in {source["name"] for source in ours}]:
        hint = "List every source of the corpus, since their order decides which copy is kept; their files may be gone"
        raise UserError(f"source {missing[0]} of {onto.ref} is not in the recipe", hint)
    if differing := changes(onto, identity | {"sources": ours}):
        hint = "Keep the rules of the corpus, or re-filter it first where possible (--refilter)"
        raise UserError(f"the recipe has other rules than {onto.ref}: {differing[0]}", hint)
    if [source["name"] for source in ours] != theirs:
        hint = f"Their order is {', '.join(theirs)}; new sources may come anywhere between them"
        raise UserError(f"the recipe has the sources of {onto.ref} in another order", hint)


def check_compared(onto: Manifest, benchmarks: list[Manifest], training: tuple[Manifest, ...]) -> None:
    """UserError unless the documents of `onto` were compared with exactly these."""
    theirs = {parent for parent in onto.parents if parent.startswith(("benchmark-", "corpus-"))}
    for what, wanted in (("benchmarks", benchmarks), ("training documents", training)):
        kind = "benchmark-" if what == "benchmarks" else "corpus-"
        known = {parent for parent in theirs if parent.startswith(kind)} - {onto.counts.get("onto")}
        if known != {one.id for one in wanted}:
            hint = f"Name the same {what}, or run `octo curate` without --append-to"
            raise UserError(f"the recipe decontaminates against other {what} than {onto.ref}", hint)


def check_free(store: Store, name: str, version: str) -> None:
    """UserError when name@version is taken, most likely by the corpus to which files are appended."""
    if store.exists(record_path(name, version)):
        hint = "A version is never replaced: give the recipe another version, or add version=…"
        raise UserError(f"{name}@{version} already exists", hint)


def added(onto: Manifest, files: tuple[InputFile, ...]) -> tuple[InputFile, ...]:
    """Those of `files` that `onto` was not made from. A file that is there twice counts twice.

    UserError when there is none, or for HTML pages in groups that can no longer be distinguished.
    """
    known = Counter((file.source, file.format, file.sha256) for file in files_of(onto))
    new = []
    for file in files:
        key = file.source, file.format, file.sha256
        if known[key] > 0:
            known[key] -= 1
        else:
            new.append(file)
    if not new:
        raise UserError(f"nothing to add: {onto.ref} holds all {len(files)} files", "Add a file or a source")
    grouped = {source for source, format_, _ in known if format_ == "html"}
    if mixed := [file for file in new if file.parts and file.source in grouped]:
        hint = "Give the new pages a source of their own"
        raise UserError(f"source {mixed[0].source}: HTML pages are recorded in groups, and these groups are new", hint)
    return tuple(new)


# -- adding ----------------------------------------------------------------------------------------------------------


def write_corpus(draft: Draft, job: Job, training: tuple[Manifest, ...], onto: Manifest | None) -> dict[str, Any]:
    """Every family of the corpus that the tasks of `job` were for into `draft`; returns the manifest's counts."""
    if onto:
        return _write_grown(draft, onto, job, training)
    return write_families(draft, Assembly.of(job, training=training), job.recipe)


def _write_grown(draft: Draft, onto: Manifest, job: Job, training: tuple[Manifest, ...]) -> dict[str, Any]:
    """Every family of `onto` with what the tasks of `job` wrote, into `draft`; returns the manifest's counts."""
    check_launch(onto.store, onto)
    with progress("curate: copies"):
        grown = Grown.of(job, onto, training)
        documents = documents_of(grown)
    with progress("curate: freeze"):
        write_documents(draft, documents, job.recipe)
        draft.write("doubts", [early_reasons_of(documents)], DOUBTS.schema, identity=False)
        if len(grown.moved):
            draft.write("origins", [grown.origins], ORIGINS.schema, identity=False)
        else:
            new = documents.slice(grown.first).select(ORIGINS.schema.names)
            draft.extend(onto, "origins", [new], ORIGINS.schema)
            del new
        del documents
        grown.forget()
        for family, tables, schema in families_of(grown.new, grown):
            draft.extend(onto, family, tables, schema)
    return {"inputs": _summed(onto.counts["inputs"], counts_of(job)), "rules": RULES_VERSION, "onto": onto.id}


def _summed(old: dict[str, dict[str, int]], new: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    return {
        source: {name: count + old.get(source, {}).get(name, 0) for name, count in counts.items()}
        for source, counts in new.items()
    }


@dataclass(frozen=True)
class Decided(Stored):
    """The documents of a corpus, as it has them: the items they hold are what it says."""

    @cached_property
    def decided(self) -> pa.Table:
        """The columns DECIDED, and doc_id."""
        return self.corpus.read("documents", ["doc_id", *DECIDED.names])

    def forget(self) -> None:
        super().forget()
        vars(self).pop("decided", None)

    def _held(self) -> dict[str, pa.ChunkedArray]:
        # The item that decided is the evidence of a contaminated document.
        contaminated = pc.equal(self.decided["drop_reason"], DropReason.CONTAMINATED)
        held = pc.if_else(contaminated, self.decided["drop_evidence"], pa.scalar(None, pa.string()))
        leaks = self.corpus.read("leaks")
        # All items come from `leaks`: cut that table into one list per document, and put each list in its row.
        each = leaks["doc_id"].combine_chunks().value_counts()  # in their order: rows of one document stand together
        items = leaks.select([field.name for field in LEAK]).to_struct_array().combine_chunks()
        offsets = pa.array(np.cumsum([0, *each.field("counts").to_numpy()]), pa.int32())
        place = pc.index_in(self.decided["doc_id"], value_set=each.field("values"))
        return {"held_item": held, "held": pa.ListArray.from_arrays(offsets, items).take(place)}


@dataclass(frozen=True)
class Grown(Documents):
    """The documents of a corpus, and after them those that tasks wrote. `collisions`: doc_id, base_id and ordinal of
    the old ones that have the same source, url, identifier and texts as a new one."""

    old: Decided
    new: Assembly
    collisions: pa.Table

    @classmethod
    def of(cls, job: Job, onto: Manifest, training: tuple[Manifest, ...]) -> "Grown":
        collisions = _collisions(job, onto)
        counted = collisions.group_by("base_id").aggregate([("ordinal", "count")]).rename_columns(HELD.names).cast(HELD)
        old = Decided(job.recipe, job.folder, onto, ItemIndex.of([], job.recipe.decontaminate))
        return cls(job.recipe, job.folder, old, Assembly.of(job, counted, training), collisions)

    @property
    def first(self) -> int:
        """Row of the first new document."""
        return self.old.corpus.families["documents"].rows

    def forget(self) -> None:
        super().forget()
        self.old.forget()
        self.new.forget()

    @cached_property
    def rows(self) -> pa.Table:  # type: ignore[override]
        table = pa.concat_tables([self.old.rows, self.new.rows], promote_options="default")
        for name in told_apart(self.recipe) if len(self.moved) else ():
            table = table.set_column(
                table.schema.get_field_index(name), name, table[name].take(self._taken(len(table)))
            )
        return table.set_column(table.schema.get_field_index("row"), "row", pa.array(places(table)))

    @property
    def origins(self) -> pa.Table:
        """Where the records were read that are now in each row."""
        parts = [self.old.corpus.read("origins"), self.new.rows.select(ORIGINS.schema.names).cast(ORIGINS.schema)]
        table = pa.concat_tables(parts)
        ours = table["doc_id"]
        return table.take(self._taken(len(table))).set_column(0, ORIGINS.schema.field("doc_id"), ours)

    @cached_property
    def moved(self) -> pa.Table:
        """Where old and new documents with an ID collision change places, because a full run numbers them in one order:
        `row`, and the row from which it `takes` the distinguishing columns."""
        names = told_apart(self.recipe)
        # The old documents that collide with new ones, with the columns by which a full run would number them.
        row = pc.index_in(self.collisions["doc_id"], value_set=self.old.decided["doc_id"].combine_chunks())
        theirs = self.old.rows.take(row)
        columns = [theirs[name] if name in theirs.column_names else pa.nulls(len(row)) for name in names]
        old = pa.table(
            [self.collisions["base_id"], self.collisions["ordinal"], row, *columns],
            ["base_id", "ordinal", "row", *names],
        )
        # Number old and new together, and return the rows whose number changes.
        self.new.database.register("old", old)
        query = CHANGED_PLACES.format(names=", ".join(names), order=", ".join(f"{name} NULLS FIRST" for name in names))
        return self.new.database.sql(query, params={"first": self.first}).to_arrow_table()

    def _taken(self, length: int) -> np.ndarray:
        """The row that each row takes from."""
        taken = np.arange(length)
        taken[self.moved["row"].to_numpy()] = self.moved["takes"].to_numpy()
        return taken

    @property
    def written(self) -> np.ndarray:
        return np.concatenate([np.arange(self.first), self.new.written + self.first])

    def signatures(self) -> Iterator[pa.Array]:
        yield from self.old.signatures()
        yield from self.new.signatures()

    def texts(self, rows: np.ndarray) -> Iterator[pa.Array]:
        cut = np.searchsorted(rows, self.first)
        yield from self.old.texts(rows[:cut])
        yield from self.new.texts(rows[cut:] - self.first)

    def resolved(self, rows: np.ndarray, pairs: np.ndarray) -> tuple[Copies, np.ndarray]:
        """The decisions of the corpus about documents that no chain of candidates connects with a new document, or with
        one that changed places with a new one; and, of the other documents, the pairs that may be duplicates."""
        label = connected(pairs, len(rows))
        touched = np.zeros(len(rows), np.bool_)
        changed = np.isin(rows, self.moved["row"].to_numpy())  # an old row that now holds another colliding document
        touched[label[(rows >= self.first) | changed]] = True
        # 1. Groups without a new or changed document: the corpus has decided them, and its decisions are read.
        known = np.flatnonzero(~touched[label])
        keeper, similarity, cluster = np.full(len(rows), -1), np.ones(len(rows)), np.arange(len(rows))
        keeper[known] = known
        # 2. Their clusters: each is named by its smallest rank, as `duplicates.cluster` names it.
        members = known[pc.is_valid(self.old.decided["cluster_id"]).to_numpy()[rows[known]]]
        said = self.old.decided.take(rows[members])
        cluster[members] = _least(said["cluster_id"], members)
        # 3. Their near-duplicates: the keeper, the similarity and the differences come from the evidence.
        near = pc.equal(said["drop_reason"], DropReason.NEAR_DUPLICATE).fill_null(False)
        copies, kept = members[near.to_numpy()], pc.index_in(said["keeper_id"].filter(near), value_set=said["doc_id"])
        keeper[copies] = members[kept.to_numpy()]
        evidence = list(map(json.loads, said["drop_evidence"].filter(near).to_pylist()))
        similarity[copies] = [one["similarity"] for one in evidence]
        differs = {int(copy): one["differs"] for copy, one in zip(copies, evidence, strict=True)}
        # 4. What is left to compare: pairs of the other groups, but for those that the corpus found to be no copies.
        open_ = pairs[keeper[pairs[:, 0]] < 0]
        open_ = open_[~self._known_apart(rows, open_, label, changed)]
        return Copies(keeper, similarity, cluster, np.zeros(len(rows), np.bool_), differs), open_

    def _known_apart(self, rows: np.ndarray, pairs: np.ndarray, label: np.ndarray, changed: np.ndarray) -> np.ndarray:
        """Which `pairs` were compared for the corpus and are not duplicates: those of old documents in two clusters,
        because documents that are within a WINDOW of each other now were so then. That does not hold in the group
        (`label`) of a document that is `changed`, or that has taken the place of an old one: there nothing is known."""
        # 1. Documents that competed for the corpus: kept, or near-duplicates. Those that still compete are taken off.
        before = self.old.decided["drop_reason"]
        competed = pc.or_kleene(pc.is_null(before), pc.equal(before, DropReason.NEAR_DUPLICATE)).to_numpy()
        competed[rows[rows < self.first]] = False
        # 2. A document that now stands for the text of one of these has taken its place: its group is unknown.
        digests = self.rows["text_digest"]
        replaced = pc.is_in(digests.take(rows), value_set=digests.take(np.flatnonzero(competed)).combine_chunks())
        unknown = np.zeros(len(rows), np.bool_)
        unknown[label[changed | replaced.to_numpy()]] = True
        # 3. Old documents of different clusters, or of none, were compared and are not duplicates.
        named = self.old.decided["cluster_id"].combine_chunks().dictionary_encode().indices
        cluster = np.full(len(self.rows), -1)
        cluster[: self.first] = pc.fill_null(named, -1).to_numpy()
        left, right = rows[pairs[:, 0]], rows[pairs[:, 1]]
        apart = (cluster[left] < 0) | (cluster[left] != cluster[right])
        return apart & (left < self.first) & (right < self.first) & ~unknown[label[pairs[:, 0]]]


def _least(names: pa.ChunkedArray, numbers: np.ndarray) -> np.ndarray:
    """For each of `names`, the smallest of the `numbers` beside equal names."""
    codes = names.combine_chunks().dictionary_encode().indices.to_numpy()
    least = np.full(codes.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(least, codes, numbers)
    return least[codes]


def _collisions(job: Job, onto: Manifest) -> pa.Table:
    """The documents of `onto` that are like one which the tasks of `job` wrote."""
    database = spilling_database(job.folder / "spill")
    database.register("documents", onto.read("documents", ["doc_id"])).register("twins", onto.read("twins"))
    return database.sql(LIKE_NEW, params={"files": written_files(job)}).to_arrow_table()

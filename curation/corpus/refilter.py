"""Re-filters a corpus: decides its documents again with other limits, without reading a source.

`octo curate RECIPE --refilter CORPUS`. Promises: the manifest has the ID that a full run of the recipe gives on the
same files, because both decide in `curation.corpus.decide`; texts, signatures, origins and quarantine are the files of
the corpus; and a change that cannot be computed from columns, signatures and texts is refused with the name of its
field. What can change: `rules`, the limits of quality, the languages to keep, the classifier's `min` and `roles`, the
similarity and `numbers_differ` of near-duplicates, which copy is kept (`prefer` and the order of sources), and a
decontamination that finds no more than before: higher `coverage` or `numbers`, or fewer benchmarks. Decontamination
runs again on the contaminated documents only. Leaves out comparing the sources with their former state, and a corpus
that was appended to another.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.config import CurateRecipe
from curation.corpus.assemble import Documents, documents_of, write_documents
from curation.corpus.decide import DECIDED, spread
from curation.measures.decontaminate import ItemIndex
from curation.reading.files import InputFile
from curation.tasks import RULES_VERSION
from manifests.errors import UserError, shortened
from manifests.manifest import Draft, Manifest, check_launch
from manifests.progress import progress

FREE = (
    "rules",
    "quality.",
    "language.keep",
    "language.min_score",
    "language.roles",
    "classifier.min",
    "classifier.roles",
    "near_duplicates.similarity",
    "near_duplicates.numbers_differ",
    "prefer",
)
UPWARD = ("decontaminate.coverage", "decontaminate.numbers")
KEPT = ("texts", "origins", "quarantine", "signatures", "bands", "doubts", "twins", "inputs")
"""Families that no threshold changes."""
HINT = "Run `octo curate` without --refilter"


@dataclass(frozen=True)
class Change:
    """A field in which a recipe differs from that of a corpus. `possible`: whether what is stored is enough."""

    field: str
    was: Any
    becomes: Any

    @property
    def possible(self) -> bool:
        if self.field in UPWARD:
            return self.becomes >= self.was
        return self.field.startswith(FREE)

    def __str__(self) -> str:
        return f"{self.field} {_said(self.was)} → {_said(self.becomes)}"


def changes(base: Manifest, identity: dict[str, Any]) -> list[Change]:
    """What a recipe, given by its part of the identity, changes in the recipe of `base`, apart from the order of
    sources."""
    was, becomes = dict(_fields(base.recipe, "")), dict(_fields(identity, ""))
    names = [*becomes, *(name for name in was if name not in becomes)]
    found = [Change(name, was.get(name), becomes.get(name)) for name in names]
    return [change for change in found if change.was != change.becomes]


def check_thresholds(base: Manifest, identity: dict[str, Any]) -> None:
    """UserError unless `base` is a corpus of these rules and the recipe changes only what can be re-filtered."""
    if base.kind != "corpus":
        raise UserError(f"{base.ref} is a {base.kind}, not a corpus", "Name a corpus manifest")
    if base.counts.get("rules") != RULES_VERSION:
        raise UserError(f"{base.ref} was made by another version of the rules", HINT)
    if grown := base.counts.get("onto"):
        hint = f"Re-filter {grown} and append to the result (--append-to), or run `octo curate` on all files"
        raise UserError(f"{base.ref} was appended to {grown}", hint)
    if wrong := [change for change in changes(base, identity) if not change.possible]:
        lower = "; a lower limit would find more than is stored" if wrong[0].field in UPWARD else ""
        raise UserError(f"{base.ref} cannot be re-filtered: {wrong[0]}{lower}", HINT)


def files_of(base: Manifest) -> tuple[InputFile, ...]:
    """The files that `base` was made from, from its record; they are not read."""
    rows = base.read("inputs").to_pylist()
    return tuple(InputFile(url="", name=row.pop("file"), **row) for row in rows)


def refilter(draft: Draft, base: Manifest, recipe: CurateRecipe, benchmarks: list[Manifest], key: str) -> Manifest:
    """Decide the documents of `base` by `recipe`, and commit."""
    if more := [benchmark.ref for benchmark in benchmarks if benchmark.id not in base.parents]:
        raise UserError(f"decontaminate.benchmarks: {base.ref} was never compared with {', '.join(more)}", HINT)
    if recipe.decontaminate.training or any(parent.startswith("corpus-") for parent in base.parents):
        raise UserError(f"{base.ref}: only a full run compares prompts with training documents", HINT)
    check_launch(base.store, base)
    index = ItemIndex.of(benchmarks, recipe.decontaminate)
    with progress("curate: reselect"), base.store.temporary() as folder:
        write_documents(draft, documents_of(Stored(recipe, folder, base, index)), recipe)
    for family in KEPT:
        draft.keep(base, family)
    counts = base.counts | {"items": index.counts}
    # the files of a corpus from another store are a claim: what is made of them is not what a full run here has made
    key = key if base.build_key else ""
    return draft.commit(recipe.name, recipe.version, counts, key, recipe.model_dump(mode="json"))


@dataclass(frozen=True)
class Stored(Documents):
    """The documents of a corpus manifest, as `curation.corpus.decide` wants them."""

    corpus: Manifest
    index: ItemIndex

    @cached_property
    def rows(self) -> pa.Table:  # type: ignore[override]
        """The measurements in the manifest, `rank` by the recipe's order of sources, and items searched again."""
        table = self.corpus.read("documents").drop_columns(DECIDED.names)
        names = pa.array([source.name for source in self.recipe.sources], pa.string())
        table = table.append_column("rank", pc.index_in(table["source"], value_set=names).cast(pa.int64()))
        early = self.corpus.read("doubts")
        place = pc.index_in(table["doc_id"], value_set=early["doc_id"].combine_chunks())
        for name, column in (("early_reason", "reason"), ("early_evidence", "evidence")):
            table = table.append_column(name, early[column].take(place))
        held = self._held()
        table = table.drop_columns([name for name in table.column_names if name in held])
        for name, column in held.items():
            table = table.append_column(name, column)
        return table.append_column("row", pa.array(places(table)))

    def _held(self) -> dict[str, pa.ChunkedArray]:
        """Columns of the contained items. A document that contained none contains none now, because the limits are
        higher and the items fewer."""
        coverage = self.corpus.read("documents", ["contamination"])["contamination"].to_numpy()
        candidates = np.flatnonzero(coverage > 0)
        empty = pa.table(self.index.columns(pa.array([], pa.string())))
        found = [pa.table(self.index.columns(texts)) for texts in self.texts(candidates)]
        table = spread(pa.concat_tables([empty, *found]), candidates, len(coverage))
        columns = dict(zip(table.column_names, table.columns, strict=True))
        return columns | {"contamination": pc.fill_null(columns["contamination"], 0.0)}

    @property
    def written(self) -> np.ndarray:
        return np.arange(len(self.rows))

    def signatures(self) -> Iterator[pa.Array]:
        return (batch.column(0) for batch in self.corpus.scan("signatures", ["signature"]))

    def texts(self, rows: np.ndarray) -> Iterator[pa.Array]:
        return (batch.column(0) for batch in self.corpus.take("texts", ["text"], rows))


def places(table: pa.Table) -> np.ndarray:
    """The place of each row by source and doc_id."""
    order = pc.sort_indices(table.select(["source", "doc_id"]), [("source", "ascending"), ("doc_id", "ascending")])
    found = np.empty(len(table), np.int64)
    found[order.to_numpy()] = np.arange(len(table))
    return found


def _fields(plain: Any, name: str) -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every leaf of a recipe's part of the identity; sources by their names."""
    if isinstance(plain, list) and plain and all(isinstance(item, dict) and "name" in item for item in plain):
        plain = {item["name"]: item for item in plain}
    if not isinstance(plain, dict):
        yield name, plain
        return
    for key, value in plain.items():
        yield from _fields(value, f"{name}.{key}" if name else key)


def _said(value: Any) -> str:
    return "unset" if value is None else shortened(value)

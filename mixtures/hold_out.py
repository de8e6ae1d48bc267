"""Documents set aside for measuring the loss: the same for every mixture of a corpus, read by none of them.

The unit that is drawn is a near-duplicate cluster, or a text where there is none: it is set aside when the MD5 of
(seed, name of the cluster or digest of the text) lies below the share. Promises. The choice depends on the content of
the corpus, the share and the seed, never on components, weights, order, workers or the place of a row. Whole clusters
are set aside, dropped copies too, so that no `allow` brings one back; so is what has the text or the cluster of one in
another corpus of the mixture. A larger share contains a smaller one; a corpus to which documents are appended keeps its
choice, except where a new document joins a cluster. Leaves out texts that a language model wrote about a document that
is set aside.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests.catalog import Catalog
from manifests.errors import UserError
from manifests.manifest import Manifest
from manifests.tables import HELD_OUT
from mixtures.config import HoldOutRecipe
from mixtures.selection import Selection, shards

_DRAWN = """
SELECT row + list_extract($3, list_position($2, shard)) AS position, doc_id, source, role, n_tokens, text_digest,
  cluster_id, drop_reason IS NULL AS kept
FROM documents WHERE manifest = $1 AND (
  md5($4 || '/' || coalesce(cluster_id, text_digest)) < $5
  OR text_digest IN (SELECT unnest($6::VARCHAR[])) OR cluster_id IN (SELECT unnest($7::VARCHAR[])))
ORDER BY position
"""


@dataclass(frozen=True)
class HeldOut:
    """What is set aside: `table` has a row per document (`HELD_OUT`), `rows` its ascending positions in each corpus."""

    table: pa.Table
    rows: dict[str, np.ndarray]

    def left_of(self, selection: Selection, component: str) -> Selection:
        """`selection` without what is set aside. UserError when nothing is left."""
        kept = np.flatnonzero(~np.isin(selection.rows, self.rows[selection.corpus.id]))
        if not len(kept):
            said = f"component `{component}`: hold_out sets aside all {len(selection.rows)} documents that it selects"
            raise UserError(said, "Lower hold_out.share, or select more documents")
        return selection.take(kept)

    def by_source(self) -> list[dict[str, Any]]:
        """For people: documents set aside, of those the measured ones and their tokens, by source and role."""
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        for row in self.table.select(["source", "role", "n_tokens", "measured"]).to_pylist():
            key = row["source"], row["role"]
            one = rows.setdefault(key, {"source": key[0], "role": key[1], "set_aside": 0, "measured": 0, "tokens": 0})
            one["set_aside"] += 1
            one["measured"] += row["measured"]
            one["tokens"] += row["n_tokens"] * row["measured"]
        return [rows[key] for key in sorted(rows)]

    @property
    def counts(self) -> dict[str, int]:
        """For the record: documents that are measured, and their tokens."""
        mine = self.table.filter(self.table["measured"])
        return {"held_out_documents": mine.num_rows, "held_out_tokens": pc.sum(mine["n_tokens"]).as_py() or 0}


def held_out(catalog: Catalog, corpora: list[Manifest], recipe: HoldOutRecipe) -> HeldOut:
    """What is set aside of `corpora`. UserError when there is not one document to measure on."""
    distinct = [corpus for _, corpus in sorted({corpus.id: corpus for corpus in corpora}.items())]
    own = {corpus.id: _linked(catalog, [corpus], recipe)[corpus.id] for corpus in distinct}
    found = _linked(catalog, distinct, recipe) if len(distinct) > 1 else own
    parts = [_table(corpus, found[corpus.id], own[corpus.id]) for corpus in distinct]
    table = pa.concat_tables([HELD_OUT.schema.empty_table(), *parts])
    if not pc.any(table["measured"]).as_py():
        named = ", ".join(corpus.ref for corpus in distinct)
        documents = sum(corpus.families["documents"].rows for corpus in distinct)
        said = f"hold_out sets aside no document of {named}: share {recipe.share:g} of {documents} documents"
        raise UserError(said, "Raise hold_out.share, or take another hold_out.seed")
    return HeldOut(table, {corpus.id: found[corpus.id]["position"].to_numpy() for corpus in distinct})


def _linked(catalog: Catalog, corpora: list[Manifest], recipe: HoldOutRecipe) -> dict[str, pa.Table]:
    """What is drawn of each corpus, and whatever shares a text or a cluster with it, in any of them."""
    texts: set[str] = set()
    clusters: set[str] = set()
    while True:
        found = {corpus.id: _drawn(catalog, corpus, recipe, texts, clusters) for corpus in corpora}
        now = {one for table in found.values() for one in table["text_digest"].to_pylist()}
        joined = {one for table in found.values() for one in table["cluster_id"].drop_null().to_pylist()}
        if (now, joined) == (texts, clusters):
            return found
        texts, clusters = now, joined


def _drawn(catalog: Catalog, corpus: Manifest, recipe: HoldOutRecipe, texts: set[str], clusters: set[str]) -> pa.Table:
    below = f"{int(Fraction(str(recipe.share)) * 16**32):032x}"
    linked = [sorted(texts), sorted(clusters)]
    return catalog.query(_DRAWN, [corpus.id, *shards(corpus), str(recipe.seed), below, *linked])


def _table(corpus: Manifest, found: pa.Table, own: pa.Table) -> pa.Table:
    measured = pc.and_(found["kept"], pc.is_in(found["position"], own["position"].combine_chunks()))
    columns = {name: found[name] for name in HELD_OUT.schema.names if name in found.column_names}
    columns |= {"corpus": pa.repeat(corpus.id, found.num_rows), "measured": measured}
    return pa.table({name: columns[name] for name in HELD_OUT.schema.names}).cast(HELD_OUT.schema)

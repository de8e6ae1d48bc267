"""What the runs of a study really read, by any attribute of documents: coordinates that renaming cannot strand.

The recipe says what a component was called; a run says which documents it read. `coordinates` counts, for each run, the
tokens of its documents by the value of a SQL expression over `documents`, which may have been invented after the runs.
Promises: to the token, the same count as over the token stream; no text and no token file is read; memory is some 20
bytes for each document of the corpora. Leaves out the loss of a run on what it read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests.catalog import Catalog
from manifests.errors import UserError
from manifests.manifest import resolve
from manifests.runs import RunDirectory, load_run
from mixtures.order import document_keys
from mixtures.reader import MixtureReader

NOTHING = "(none)"
"""Label of documents for which the expression is NULL."""
_KEY = "('0x' || substr(doc_id, 1, 16))::UBIGINT"
_LABELS = f"""
SELECT manifest, source, {_KEY} AS key, coalesce(({{by}})::VARCHAR, '{NOTHING}') AS label
FROM documents WHERE list_contains($1::VARCHAR[], manifest)
"""
_FOLLOWED = f"""
WITH new AS (SELECT doc_id, text_digest, cluster_id, coalesce(({{by}})::VARCHAR, '{NOTHING}') AS label
  FROM documents WHERE manifest = $2),
by_id AS (SELECT doc_id, any_value(label) AS label FROM new GROUP BY 1),
by_text AS (SELECT text_digest, any_value(label) AS label FROM new GROUP BY 1),
by_cluster AS (SELECT cluster_id, any_value(label) AS label FROM new WHERE cluster_id IS NOT NULL GROUP BY 1)
SELECT o.manifest, o.source, ('0x' || substr(o.doc_id, 1, 16))::UBIGINT AS key,
  coalesce(by_id.label, by_text.label, by_cluster.label) AS label
FROM documents o LEFT JOIN by_id ON by_id.doc_id = o.doc_id LEFT JOIN by_text ON by_text.text_digest = o.text_digest
  LEFT JOIN by_cluster ON by_cluster.cluster_id = o.cluster_id
WHERE list_contains($1::VARCHAR[], o.manifest)
"""


@dataclass(frozen=True)
class Evidence:
    """Tokens read: runs × labels. `stranded` are those of documents that the other corpus does not have, per run."""

    labels: tuple[str, ...]
    tokens: np.ndarray
    stranded: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """The tokens as shares of what is not stranded; rows sum to one."""
        return self.tokens / np.maximum(1, self.tokens.sum(1, keepdims=True))


def coordinates(catalog: Catalog, runs: Sequence[str], by: str, onto: str | None = None) -> Evidence:
    """The tokens that each training run read, by the value of the expression `by` over `documents`.

    With `onto`, `by` is over the documents of that corpus, and documents are followed to it by ID, text and duplicate
    cluster. UserError for an expression that DuckDB refuses, or a run that did not train on a mixture.
    """
    read = [_read(load_run(catalog.store, run)) for run in runs]
    corpora = sorted({corpus for table in read for corpus in pc.unique(table["corpus"]).to_pylist()})
    known, labels = _labelled(catalog, corpora, by, onto)
    tokens, stranded = np.zeros((len(read), len(labels)), np.int64), np.zeros(len(read), np.int64)
    for row, table in enumerate(read):
        codes = _codes(table, known)
        counts = table["tokens"].to_numpy()
        tokens[row] = np.bincount(codes[codes >= 0], counts[codes >= 0], len(labels)).astype(np.int64)
        stranded[row] = int(counts[codes < 0].sum())
    return Evidence(tuple(labels), tokens, stranded)


def _read(run: RunDirectory) -> pa.Table:
    """corpus, source, key and tokens of each document that a run read."""
    mixture = resolve(run.store, run.record["manifests"][0]["id"])
    if run.record["kind"] != "train" or mixture.kind != "mixture":
        raise UserError(f"{run.id} did not train on a mixture", "Name training runs")
    if len(run.record["manifests"]) > 1 or "first" in mixture.recipe:
        raise UserError(f"{run.id} read more than one mixture", "Its stages must be runs of their own")
    reader = MixtureReader(run.store, mixture)
    consumed = run.table("consumption")
    sums = consumed.group_by("component").aggregate([("tokens", "sum")]).to_pylist() if consumed else []
    sequences = {row["component"]: row["tokens_sum"] // reader.sequence_length for row in sums}
    documents = reader.tokens_read(sequences)
    components = mixture.read("components", ["component", "corpus"])
    place = pc.index_in(documents["component"], components["component"])
    return pa.table(
        {
            "corpus": components["corpus"].take(place),
            "source": documents["source"],
            "key": document_keys(documents["doc_id"]),
            "tokens": documents["tokens"],
        }
    )


Known = dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]
"""(corpus, source) → keys, ascending, and the code of each one's label; -1 for a stranded document."""


def _labelled(catalog: Catalog, corpora: list[str], by: str, onto: str | None) -> tuple[Known, list[str]]:
    """The label of every document of the corpora, and the labels."""
    if onto is None:
        found = catalog.query(_LABELS.format(by=by), [corpora])
    else:
        other = resolve(catalog.store, onto)
        found = catalog.query(_FOLLOWED.format(by=by), [corpora, other.id])
    coded = pc.dictionary_encode(found["label"]).combine_chunks()
    labels: list[Any] = coded.dictionary.to_pylist()
    order = np.argsort([str(label) for label in labels], kind="stable")
    place = np.empty(len(labels) + 1, np.int64)
    place[order], place[-1] = np.arange(len(labels)), -1
    codes = place[pc.fill_null(coded.indices, -1).to_numpy()]
    groups = pc.dictionary_encode(pc.binary_join_element_wise(found["manifest"], found["source"], "\0"))
    return _grouped(groups.combine_chunks(), found["key"].to_numpy(), codes), [labels[at] for at in order]


def _grouped(groups: pa.DictionaryArray, keys: np.ndarray, codes: np.ndarray) -> Known:
    known: Known = {}
    which = groups.indices.to_numpy()
    for number, name in enumerate(groups.dictionary.to_pylist()):
        here = np.flatnonzero(which == number)
        here = here[np.argsort(keys[here], kind="stable")]
        corpus, _, source = name.partition("\0")
        known[corpus, source] = keys[here], codes[here]
    return known


def _codes(table: pa.Table, known: Known) -> np.ndarray:
    """The code of the label of each document that was read."""
    codes = np.empty(table.num_rows, np.int64)
    keys = table["key"].to_numpy()
    for (corpus, source), (all_keys, all_codes) in known.items():
        mine = pc.and_(pc.equal(table["corpus"], corpus), pc.equal(table["source"], source))
        here = np.flatnonzero(mine.to_numpy())
        codes[here] = all_codes[np.searchsorted(all_keys, keys[here])]
    return codes

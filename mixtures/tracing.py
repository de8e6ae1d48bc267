"""Provenance of a mixture's tokens: the documents behind its sequences, and the sequences behind a document.

Computed from the order on demand, never stored: `trace` shows the content of sequences, with source, scores and, on
request, the text; `uses` shows where a document is read. Both are exact, because they use the same reader as training.
Leaves out runs and their steps: see `training.consumed`.
"""

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Tokenizer

from manifests.catalog import Catalog
from manifests.errors import UserError
from manifests.manifest import Manifest
from manifests.store import Store
from manifests.tables import DOCUMENTS
from mixtures.reader import MixtureReader
from mixtures.selection import PLACES


def trace(store: Store, manifest: Manifest, sequences: np.ndarray, text: bool = False) -> pa.Table:
    """The content of the sequences at `sequences` (int) of a mixture: a row per document and sequence, in reading
    order. Columns of `Batch.spans`, then role, url and scores of the document (JSON: every column that not all
    documents have); with `text`, the text of the span, decoded from its tokens. UserError for a sequence that does not
    exist.
    """
    reader = MixtureReader(store, manifest)
    if outside := [int(n) for n in sequences if not 0 <= n < reader.n_sequences]:
        raise UserError(
            f"{manifest.ref} has no sequence {outside[0]}",
            f"Its sequences are numbered from 0 to {reader.n_sequences - 1}",
        )
    batch = reader.batch(sequences)
    spans = _with_documents(store, manifest, batch.spans)
    return spans.append_column("text", [_texts(manifest, batch.tokens, batch.spans)]) if text else spans


def uses(store: Store, doc_id: str) -> pa.Table:
    """Every use of a document by the mixtures of the store: mixture, sequence, component, epoch, start, length."""
    with Catalog(store) as catalog:
        holding = set(catalog.query(_HOLDING, [doc_id])["manifest"].to_pylist())
        mixtures = {manifest.id: manifest for manifest in catalog.manifests if manifest.id in holding}
    found = [_uses_of(store, mixture, doc_id) for _, mixture in sorted(mixtures.items())]
    return pa.concat_tables(found) if found else pa.table({"mixture": pa.array([], pa.string())})


_HOLDING = "SELECT DISTINCT manifest FROM members WHERE doc_id = $1"


def _uses_of(store: Store, mixture: Manifest, doc_id: str) -> pa.Table:
    reader = MixtureReader(store, mixture)
    spans = reader.batch(reader.sequences_with(doc_id)).spans
    spans = spans.filter(pc.equal(spans["doc_id"], doc_id)).drop_columns(["doc_id", "source"])
    return spans.add_column(0, "mixture", [pa.repeat(mixture.id, spans.num_rows)])


def _with_documents(store: Store, manifest: Manifest, spans: pa.Table) -> pa.Table:
    """`spans` with the columns that the corpora have for their documents."""
    corpora = manifest.read("components", ["component", "corpus"])
    corpus = corpora["corpus"].take(pc.index_in(spans["component"], corpora["component"].combine_chunks()))
    wanted = [corpora["corpus"].unique().to_pylist(), spans["doc_id"].unique().to_pylist()]
    with Catalog(store) as catalog:
        documents = catalog.query(_DOCUMENTS, wanted)
    row = pc.index_in(_key(corpus, spans["doc_id"]), _key(documents["manifest"], documents["doc_id"]).combine_chunks())
    for name in ("role", "url"):
        spans = spans.append_column(name, documents[name].take(row))
    scored = [name for name in documents.column_names if name not in {*DOCUMENTS.schema.names, *PLACES}]
    scores = [json.dumps({name: found[name] for name in scored}) for found in documents.take(row).to_pylist()]
    return spans.append_column("scores", pa.array(scores, pa.string()))


_DOCUMENTS = "FROM documents WHERE manifest IN (SELECT unnest($1)) AND doc_id IN (SELECT unnest($2))"


def _key(manifests: pa.ChunkedArray, doc_ids: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(manifests, doc_ids, "/")


def _texts(manifest: Manifest, tokens: np.ndarray, spans: pa.Table) -> pa.Array:
    """The text of each span; the spans of one sequence follow each other in its row of `tokens` [B, S + 1]."""
    tokenizer = Tokenizer.from_file(str(manifest.local("tokenizer")["tokenizer.json"]))
    cuts = np.cumsum(spans["length"].to_numpy())[:-1]
    pieces = np.split(tokens[:, :-1].ravel(), cuts)
    return pa.array(
        tokenizer.decode_batch([piece.tolist() for piece in pieces], skip_special_tokens=False), pa.string()
    )

"""Provenance: from sequences to documents and back, equal to reading the whole mixture and looking."""

import json

import numpy as np
import pytest

from manifests.errors import UserError
from manifests.manifest import Manifest
from manifests.store import Store
from mixtures.reader import MixtureReader
from mixtures.tracing import trace, uses

LENGTH = 16


def test_a_sequence_leads_to_its_documents_with_their_scores_and_text(
    store: Store, mixture: Manifest, toy: Manifest
) -> None:
    everything = MixtureReader(store, mixture).batch(np.arange(280)).spans.to_pylist()
    found = trace(store, mixture, np.array([33, 7]), text=True).to_pylist()
    spans = [span for n in (33, 7) for span in everything if span["sequence"] == n]
    assert [{name: row[name] for name in spans[0]} for row in found] == spans
    documents = {row["doc_id"]: row for row in toy.read("documents").to_pylist()}
    texts = {row["doc_id"]: row["text"] for row in toy.read("texts").to_pylist()}
    for row in found:
        document = documents[row["doc_id"]]
        assert (json.loads(row["scores"]), row["role"]) == ({"score": document["score"]}, document["role"])
        text = row["text"].removesuffix("<|endoftext|>")
        assert text in texts[row["doc_id"]]
        assert row["text"].endswith("<|endoftext|>") == (row["start"] + row["length"] == document["n_tokens"] + 1)
    with pytest.raises(UserError, match=r"no sequence 280\. Its sequences are numbered from 0 to 279"):
        trace(store, mixture, np.array([0, 280]))


def test_a_document_leads_to_every_sequence_and_epoch_that_reads_it(
    store: Store, mixture: Manifest, toy: Manifest
) -> None:
    everything = MixtureReader(store, mixture).batch(np.arange(280)).spans.to_pylist()
    most = 0
    for doc_id in toy.read("documents")["doc_id"].to_pylist():
        expected = [span for span in everything if span["doc_id"] == doc_id]
        found = uses(store, doc_id).to_pylist()
        assert all(row["mixture"] == mixture.id for row in found)
        places = ("sequence", "component", "epoch", "start", "length")
        assert [[row[name] for name in places] for row in found] == [[row[name] for name in places] for row in expected]
        most = max(most, len({span["epoch"] for span in expected}))
    assert most == 3

"""Near-duplicates of a text in a manifest."""

import random

import pytest

from curation.near import near
from curation.sample import edited
from manifests.errors import UserError
from manifests.manifest import resolve


def test_finds_a_document_by_an_edited_copy(corpus):
    texts = corpus.read("texts").to_pylist()
    chosen = next(row for row in texts if len(row["text"]) > 800)
    found = near(corpus, edited(random.Random(1), chosen["text"], 0.01), least=0.6)
    assert chosen["doc_id"] in [one.doc_id for one in found]
    assert [one.similarity for one in found] == sorted((one.similarity for one in found), reverse=True)
    assert near(corpus, chosen["text"])[0].similarity == 1.0


def test_finds_nothing_where_there_is_nothing(corpus):
    assert near(corpus, "not one run of words in this sentence stands anywhere in the sample of documents") == []


def test_refuses_what_cannot_be_asked(corpus, store):
    with pytest.raises(UserError, match="no words"):
        near(corpus, " ... ")
    with pytest.raises(UserError, match="no signatures"):
        near(resolve(store, "arithmetic@1"), "any text")

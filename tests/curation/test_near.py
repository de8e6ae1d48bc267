"""Near-duplicates of a text in a manifest."""

import random
import subprocess
import sys
from dataclasses import replace

import pyarrow as pa
import pytest

from curation.config import NearDuplicatesRecipe
from curation.corpus.near import near, sharing
from curation.sample.write import edited
from manifests.errors import UserError
from manifests.manifest import resolve


def test_finds_a_document_by_an_edited_copy(corpus):
    texts = corpus.read("texts").to_pylist()
    chosen = next(row for row in texts if len(row["text"]) > 800)
    found = near(corpus, edited(random.Random(1), chosen["text"], 0.01), least=0.6)
    assert chosen["doc_id"] in [one.doc_id for one in found]
    assert [one.similarity for one in found] == sorted((one.similarity for one in found), reverse=True)
    assert near(corpus, chosen["text"])[0].similarity == 1.0 and near(corpus, chosen["text"])[0].differs == ""
    [said] = [one.differs for one in near(corpus, chosen["text"] + " And 17 more.") if one.doc_id == chosen["doc_id"]]
    assert said == "+ And 17 more."


def test_finds_nothing_where_there_is_nothing(corpus):
    assert near(corpus, "not one run of words in this sentence stands anywhere in the sample of documents") == []


def test_refuses_what_cannot_be_asked(corpus, store):
    with pytest.raises(UserError, match="no words"):
        near(corpus, " ... ")
    with pytest.raises(UserError, match="no signatures"):
        near(resolve(store, "arithmetic@1"), "any text")


def test_the_stored_bands_say_what_an_index_of_all_signatures_says(corpus):
    recipe, draw = NearDuplicatesRecipe(), random.Random(2)
    bare = replace(corpus, families={name: family for name, family in corpus.families.items() if name != "bands"})
    texts = draw.sample(corpus.read("texts")["text"].to_pylist(), 12)
    found = 0
    for text in (*texts, *(edited(draw, text, 0.04) for text in texts)):
        asked = pa.array([text], pa.string())
        (ours, read), (theirs, expected) = (sharing(one, recipe, asked) for one in (corpus, bare))
        assert ours.tolist() == theirs.tolist() and read.equals(expected)
        found += len(ours)
    assert found > len(texts) and near(bare, texts[0]) == near(corpus, texts[0])


LATER = """
import sys
from curation.corpus.near import sketch
import numpy as np
sketch(np.zeros(112, np.uint32))
assert "scipy.integrate" not in sys.modules
from datasketch import MinHashLSH
index = MinHashLSH(threshold=0.8, num_perm=112)
print(index.b, index.r)
"""


def test_datasketch_is_all_there_though_part_of_it_comes_later():
    """It chooses the bands and rows that it chooses when scipy.integrate is imported first."""
    code = [sys.executable, "-c"]
    later = subprocess.run([*code, LATER], text=True, capture_output=True, check=True).stdout
    first = subprocess.run(
        [*code, "import scipy.integrate\n" + LATER.replace("assert", "assert True or")],
        text=True,
        capture_output=True,
        check=True,
    ).stdout
    assert later == first and len(later.split()) == 2

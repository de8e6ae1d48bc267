"""datasketch is the oracle."""

import numpy as np
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.near import sketch
from curation.signatures import as_column, from_column, signatures
from curation.words import shingles, split


@settings(max_examples=40, deadline=None)  # the first call compiles
@given(st.lists(st.text(max_size=60), min_size=1, max_size=4), st.integers(1, 6), st.sampled_from([1, 16, 120]))
def test_equal_to_datasketch_on_the_same_shingles(texts, n, length):
    words = split(texts)
    runs = shingles(words.hashes, words.offsets, n)
    ours = signatures(runs, length)
    for position in range(len(texts)):
        oracle = MinHash(num_perm=length, seed=1, hashfunc=int)
        oracle.update_batch(runs.short[runs.offsets[position] : runs.offsets[position + 1]])
        assert np.array_equal(ours[position], oracle.hashvalues)


def test_estimates_the_similarity_of_texts():
    common = " ".join(f"word{number}" for number in range(300))
    words = split(
        [common, common + " and a few words more at the end of it", "something else entirely, with no run shared"]
    )
    runs = shingles(words.hashes, words.offsets, 5)
    first, second, third = map(sketch, signatures(runs, 240))
    assert abs(first.jaccard(second) - 596 / 605) < 0.05
    assert first.jaccard(third) == 0.0


def test_survives_a_column():
    values = np.arange(12, dtype=np.uint32).reshape(3, 4)
    assert np.array_equal(from_column(as_column(values), 4), values)

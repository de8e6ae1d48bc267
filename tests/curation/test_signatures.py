"""datasketch is the oracle, and numpy that of everything before it."""

import numpy as np
import pyarrow as pa
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.numpy_signatures import numpy_signatures, numpy_words
from curation.config import NearDuplicatesRecipe
from curation.corpus.near import sketch
from curation.measures.signatures import BandKeys, as_column, band_keys, from_column, signatures
from curation.measures.words import AFTER_BREAK, KIND, shingles, split


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


ROUGH = st.text(st.sampled_from("abXY 0123,.-+=^{}$\\\n()×÷−–…éâ漢，。１กé𠀀·"), max_size=60)


@settings(deadline=None)  # the first call compiles
@given(st.lists(ROUGH, min_size=1, max_size=4))
def test_equal_to_numpy_from_the_text_on(texts):
    words = split(texts)
    hashes, flags, offsets = numpy_words(pa.array(texts, pa.large_string()))
    assert np.array_equal(words.hashes, hashes) and np.array_equal(words.flags & (KIND | AFTER_BREAK), flags)
    assert np.array_equal(words.offsets, offsets)
    recipe = NearDuplicatesRecipe(bands=3, rows=2, shingle=3)
    ours = signatures(shingles(words.hashes, words.offsets, 3), 6)
    assert np.array_equal(ours, numpy_signatures(pa.array(texts, pa.large_string()), recipe))


def test_estimates_the_similarity_of_texts():
    common = " ".join(f"word{number}" for number in range(300))
    words = split(
        [common, common + " and a few words more at the end of it", "something else entirely, with no run shared"]
    )
    runs = shingles(words.hashes, words.offsets, 5)
    first, second, third = map(sketch, signatures(runs, 240))
    assert abs(first.jaccard(second) - 596 / 605) < 0.05
    assert first.jaccard(third) == 0.0


def test_keys_of_bands_survive_files(tmp_path):
    values = np.random.default_rng(1).integers(0, 3, (50, 6), np.uint32)
    stored = BandKeys.stored([values[:20], values[20:20], values[20:]], 2, tmp_path / "keys")
    for band in range(3):
        assert np.array_equal(stored(band), band_keys(values, 2)[band])
        same = (values[:, None, 2 * band : 2 * band + 2] == values[None, :, 2 * band : 2 * band + 2]).all(axis=2)
        assert np.array_equal(stored(band)[:, None] == stored(band)[None, :], same)
    assert len(BandKeys.stored([], 2, tmp_path / "none")(0)) == 0


def test_survives_a_column():
    values = np.arange(12, dtype=np.uint32).reshape(3, 4)
    assert np.array_equal(from_column(as_column(values), 4), values)

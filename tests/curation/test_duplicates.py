"""Copies are found by content: not by order, and not across numbers."""

import random
from itertools import islice, product
from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.config import NearDuplicatesRecipe
from curation.corpus.duplicates import (
    KEPT,
    WINDOW,
    Copies,
    Texts,
    candidate_pairs,
    cluster,
    connected,
    exact_keepers,
    with_exact,
)
from curation.measures.signatures import BandKeys, band_keys, signatures
from curation.measures.spellings import spelled_words
from curation.measures.words import shingles
from curation.sample.pages import math_page, template_page
from curation.sample.write import edited


def copies(texts: list[str], **changes):
    recipe = NearDuplicatesRecipe(**changes)
    words = spelled_words(texts)
    runs = shingles(words.hashes, words.offsets, recipe.shingle)
    ranks = np.arange(len(texts))
    keys = band_keys(signatures(runs, recipe.bands * recipe.rows), recipe.rows)
    pairs = candidate_pairs(keys.__getitem__, recipe.bands, ranks.astype(np.int32))
    return cluster(pairs, Texts.of(ranks, pa.array(texts, pa.large_string()), recipe), len(texts))


def jaccard(left: str, right: str) -> float:
    runs = []
    for text in (left, right):
        words = spelled_words([text])
        runs.append(set(shingles(words.hashes, words.offsets, 5).hashes.tolist()))
    return len(runs[0] & runs[1]) / len(runs[0] | runs[1])


def test_near_copies_are_found_and_verified():
    draw = random.Random(2)
    originals = [math_page(draw) for _ in range(150)]
    changed = [edited(draw, text, 0.03) for text in originals]
    found = copies(originals + changed)
    similar = np.array([jaccard(a, b) for a, b in zip(originals, changed, strict=True)])
    dropped = found.keeper[150:] == np.arange(150)
    assert dropped[similar >= 0.8].mean() >= 0.98
    assert not dropped[similar < 0.7].any()
    assert np.allclose(found.similarity[150:][dropped], similar[dropped])


def test_candidates_share_a_band():
    draw = np.random.default_rng(3)
    values = draw.integers(0, 6, (120, 6), np.uint32)  # few values, so that many bands are shared
    ranks = np.sort(draw.choice(10_000, 120, replace=False))
    bands = values.reshape(120, 3, 2)
    expected = [
        (ranks[a], ranks[b]) for a in range(120) for b in range(a + 1, 120) if (bands[a] == bands[b]).all(axis=1).any()
    ]
    found = candidate_pairs(band_keys(values, 2).__getitem__, 3, ranks.astype(np.int32))
    assert found.tolist() == [list(pair) for pair in expected]
    none = np.empty(0, np.int32)
    assert candidate_pairs(lambda band: none.astype(np.uint64), 3, none).shape == (0, 2)


def test_templated_problems_all_survive():
    draw = random.Random(4)
    pages = [template_page(draw, number) for number in range(200)]
    assert (copies(pages).keeper == np.arange(200)).all()
    assert (copies(pages, similarity=0.4).keeper == np.arange(200)).all()
    merged = copies(pages, similarity=0.4, numbers_differ=False)
    assert (merged.keeper != np.arange(200)).sum() > 100


def test_operators_tell_problems_apart_too():
    story = "In the first part of the exercise sheet you are asked to work out by hand and without any help what {} is."
    texts = [story.format(sum_) * 3 for sum_ in ("31 + 7", "31 - 7", "31 * 7")]
    assert copies(texts).keeper.tolist() == [0, 1, 2]


def test_a_copy_that_lacks_its_end_is_still_a_copy():
    page = math_page(random.Random(8))
    assert copies([page + " In the end 2 + 3 = 5 holds.", page]).keeper.tolist() == [0, 0]


def test_similarity_is_not_carried_over():
    words = ["".join(letters) for letters in islice(product("abcdefgh", repeat=3), 400)]
    chain = [" ".join(words[shift : shift + 300]) for shift in (0, 40, 80)]
    found = copies(chain)
    assert jaccard(chain[0], chain[1]) >= 0.7 > jaccard(chain[0], chain[2])
    assert found.keeper.tolist() == [0, 0, 2]
    assert found.cluster.tolist() == [0, 0, 0]


def test_exact_copies_share_the_fate_of_the_first():
    first = exact_keepers(pa.array(["a", "b", "a", "c", "b"]))
    assert first.tolist() == [0, 1, 0, 3, 1]
    distinct = np.unique(first)
    near = Copies(np.array([0, 0, 2]), np.array([1.0, 0.9, 1.0]), np.array([0, 0, 2]), np.zeros(3, np.bool_))
    found = with_exact(near, first, distinct)
    assert found.keeper.tolist() == [0, 0, 0, 3, 0]
    assert found.exact.tolist() == [False, False, True, False, True]


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(24)))
def test_who_is_near_whom_does_not_depend_on_order(order):
    draw = random.Random(6)
    originals = [math_page(draw) for _ in range(8)]
    texts = (
        originals + [edited(draw, text, 0.01) for text in originals] + [edited(draw, text, 0.02) for text in originals]
    )
    straight = copies(texts).cluster
    shuffled = copies([texts[position] for position in order]).cluster
    groups = {frozenset(np.flatnonzero(straight == label).tolist()) for label in straight}
    assert groups == {frozenset(order[i] for i in np.flatnonzero(shuffled == label)) for label in shuffled}


def labels(texts: list[str], ranks: np.ndarray, recipe: NearDuplicatesRecipe, folder: Path, parts: int) -> list[int]:
    """Clusters by rank when the documents come as `parts` files in the order of `texts`."""
    cuts = np.array_split(np.arange(len(texts)), parts)
    words = [spelled_words([texts[place] for place in part]) for part in cuts if len(part)]
    signed = (
        signatures(shingles(part.hashes, part.offsets, recipe.shingle), recipe.bands * recipe.rows) for part in words
    )
    keys = BandKeys.stored(signed, recipe.rows, folder)
    pairs = candidate_pairs(keys, recipe.bands, ranks.astype(np.int32))
    batches = (
        (pa.array([texts[place] for place in part], pa.large_string()), np.zeros(len(part), np.bool_)) for part in cuts
    )
    return connected(pairs, len(texts), Texts.stored(ranks, batches, recipe, folder)).tolist()


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(24)), parts=st.integers(1, 30))
def test_neither_order_nor_files_matter(order, parts, tmp_path_factory):
    draw = random.Random(6)
    originals = [math_page(draw) for _ in range(8)]
    texts = originals + [edited(draw, text, 0.02) for text in originals] + [originals[0] + " and", *originals[1:]]
    recipe, folder = NearDuplicatesRecipe(), tmp_path_factory.mktemp("keys")
    straight = labels(texts, np.arange(24), recipe, folder, 1)
    assert len(set(straight)) < 16
    assert labels([texts[place] for place in order], np.array(order), recipe, folder, parts) == straight


def test_pairs_do_not_grow_with_the_square_of_a_bucket():
    many = 20_000
    keys, ranks = np.full(many, 7, np.uint64), np.arange(many, dtype=np.int32)
    pairs = candidate_pairs(lambda band: keys, 3, ranks)
    assert len(pairs) < many * WINDOW
    assert (connected(pairs, many) == 0).all()


def test_half_a_key_in_common_is_no_candidate():
    keys = np.array([5 << 32, (5 << 32) + 1, 5 << 32, (5 << 32) + 1, 6 << 32], np.uint64)
    pairs = candidate_pairs(lambda band: keys, 1, np.array([3, 1, 0, 2, -1], np.int32))
    assert pairs.tolist() == [[0, 3], [1, 2]]


def test_in_a_great_cluster_only_the_first_kept_are_compared():
    words = ["".join(letters) for letters in product("abcdefgh", repeat=4)]
    chain = [" ".join(words[6 * shift : 6 * shift + 20]) for shift in range(2 * KEPT + 20)]
    recipe, ranks = NearDuplicatesRecipe(similarity=0.3), np.arange(2 * KEPT + 20)
    assert jaccard(chain[0], chain[1]) >= 0.3 > jaccard(chain[0], chain[2])
    texts = Texts.of(ranks, pa.array(chain, pa.large_string()), recipe)
    found = cluster(np.stack([ranks[:-1], ranks[1:]], axis=1), texts, len(chain))
    assert (found.cluster == 0).all()
    assert (found.keeper == np.where(ranks < 2 * KEPT, ranks - ranks % 2, ranks)).all()

"""Which documents are copies of which, decided by content and the recipe alone: never by arrival, files or workers.

Everything works on `ranked` documents: sorted by the keeper rule (rank of the source, mathematics, length, doc_id), so
that the smaller number is the one to keep.

1. Exact copies share a text digest; the first is kept.
2. Candidates for near copies share a band of their MinHash signatures; one band after the other is worked on in memory,
   some 50 bytes a document. Within a bucket each document is paired with the WINDOW documents after it, which is all
   pairs in all but enormous buckets.
3. Every candidate is verified on the texts: exact Jaccard similarity of the shingle sets at or above the threshold, and
   no shingles that differ in numbers or operators alone (multisets are compared with these masked and unmasked), so
   that two problems of one template are not taken for one.
4. Verified pairs make clusters (connected components). Within a cluster, in rank order, a document is dropped if it is
   a verified copy of one that is kept: similarity is not carried over from neighbour to neighbour.

Leaves out semantic duplicates.
"""

from dataclasses import dataclass
from pathlib import Path

import duckdb
import numba
import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from curation.config import NearDuplicatesRecipe
from curation.words import shingles, split

RULE = "near_duplicate/1"
"""Name and version of the rule, for the evidence."""
WINDOW = 64
FILTER_BITS = 24
PAIRS_PER_BATCH = 100_000


def spilling_database(folder: Path) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB that spills to `folder` and draws no progress bar of its own."""
    database = duckdb.connect(config={"temp_directory": str(folder)})
    return database.execute("SET enable_progress_bar = false")


@dataclass(frozen=True)
class Copies:
    """For each ranked document: `keeper`, the one kept in its place (itself if kept); `similarity` to it; `cluster`,
    the smallest number in its cluster; `exact`, whether it is an exact copy of another."""

    keeper: np.ndarray
    similarity: np.ndarray
    cluster: np.ndarray
    exact: np.ndarray


@dataclass(frozen=True)
class Verified:
    """What was found of pairs: exact Jaccard `similarity`, and whether they are the `same` document by the recipe."""

    similarity: np.ndarray
    same: np.ndarray


class Texts:
    """Shingles of some documents, exact and masked, sorted within each document, by rank."""

    def __init__(self, ranks: np.ndarray, texts: pa.Array, settings: NearDuplicatesRecipe):
        """`ranks` sorted ascending, `texts` beside them."""
        self.settings, self.ranks = settings, ranks
        words = split(texts)
        exact = shingles(words.hashes, words.offsets, settings.shingle)
        masked = shingles(words.masked(), words.offsets, settings.shingle)
        self.offsets = exact.offsets
        self.exact, self.masked = _sorted(exact.hashes, exact.offsets), _sorted(masked.hashes, masked.offsets)

    def verify(self, left: np.ndarray, right: np.ndarray) -> Verified:
        """Compare the documents of ranks `left` and `right`, pair by pair."""
        places = np.searchsorted(self.ranks, left), np.searchsorted(self.ranks, right)
        similarity, differing = _compare(*places, self.exact, self.masked, self.offsets)
        same = similarity >= self.settings.similarity
        return Verified(similarity, same & (differing == 0) if self.settings.numbers_differ else same)


def exact_keepers(digests: pa.Array) -> np.ndarray:
    """The first document with the same digest, for each document."""
    codes = digests.dictionary_encode().indices.to_numpy()
    first = np.unique(codes, return_index=True)[1]
    return first[codes]


def candidate_pairs(signatures: np.ndarray, ranks: np.ndarray, settings: NearDuplicatesRecipe) -> np.ndarray:
    """[pairs, 2] of ranks (below 2^31) that share a band, each pair once, smaller first, in order."""
    found = [np.empty(0, np.int64)]
    for band in range(settings.bands):
        keys = _band_keys(signatures[:, band * settings.rows : (band + 1) * settings.rows])
        members = _perhaps_shared(keys)
        members = members[np.lexsort((ranks[members], keys[members]))]
        found.append(np.unique(_neighbours(keys[members], ranks[members])))
    pairs = np.unique(np.concatenate(found))
    return np.stack([pairs >> 32, pairs & 0xFFFFFFFF], axis=1)


def _band_keys(values: np.ndarray) -> np.ndarray:
    """A band's values [documents, rows] folded into 64 bits each; a rare collision fails verification."""
    keys = np.zeros(len(values), np.uint64)
    for row in range(values.shape[1]):
        keys ^= values[:, row]
        keys *= np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    return keys


def _perhaps_shared(keys: np.ndarray) -> np.ndarray:
    """Places of all keys that occur twice or more, and of a few others. A sort of the keys alone and a bit field are
    several times cheaper than a sort of the places by key."""
    ordered = np.sort(keys)
    present = np.zeros(1 << FILTER_BITS, np.bool_)
    present[ordered[1:][ordered[1:] == ordered[:-1]] >> np.uint64(64 - FILTER_BITS)] = True
    return np.flatnonzero(present[keys >> np.uint64(64 - FILTER_BITS)])


def _neighbours(keys: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Pairs of documents sorted by (key, rank) that share a key, at most WINDOW apart, as rank · 2^32 + rank."""
    pairs = [np.empty(0, np.int64)]
    for apart in range(1, WINDOW + 1):
        first = np.flatnonzero(keys[apart:] == keys[:-apart])
        if not len(first):
            break
        pairs.append(ranks[first] << 32 | ranks[first + apart])
    return np.concatenate(pairs)


def cluster(pairs: np.ndarray, texts: Texts, documents: int) -> Copies:
    """Verify `pairs`, make clusters of what holds, and choose the keepers. Exact copies are not among the pairs."""
    found = texts.verify(pairs[:, 0], pairs[:, 1])
    edges = pairs[found.same]
    graph = coo_array((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(documents, documents))
    labels = connected_components(graph, directed=False)[1]
    keeper, similarity = np.arange(documents), np.ones(documents)
    for members in _groups(labels):
        _choose(members, texts, keeper, similarity)
    smallest = np.unique(labels, return_index=True)[1]
    return Copies(keeper, similarity, smallest[labels], np.zeros(documents, np.bool_))


def _groups(labels: np.ndarray) -> list[np.ndarray]:
    """Members of each cluster of two or more, ascending."""
    order = np.argsort(labels, kind="stable")
    cuts = np.flatnonzero(np.diff(labels[order])) + 1
    return [members for members in np.split(order, cuts) if len(members) > 1]


def _choose(members: np.ndarray, texts: Texts, keeper: np.ndarray, similarity: np.ndarray) -> None:
    """Keep or drop each member in rank order, against those already kept."""
    kept = members[:1]
    for member in members[1:]:
        found = texts.verify(kept, np.full(len(kept), member))
        if not found.same.any():
            kept = np.append(kept, member)
            continue
        best = np.argmax(np.where(found.same, found.similarity, -1.0))
        keeper[member], similarity[member] = kept[best], found.similarity[best]


def with_exact(copies: Copies, first: np.ndarray, distinct: np.ndarray) -> Copies:
    """`copies` of the `distinct` documents (ranks, ascending) extended to all: an exact copy has the fate of its
    `first`, and stays an exact copy of it."""
    place = np.searchsorted(distinct, first)
    exact = first != np.arange(len(first))
    return Copies(distinct[copies.keeper[place]], copies.similarity[place], distinct[copies.cluster[place]], exact)


@numba.njit(cache=True, nogil=True)
def _sorted(hashes, offsets):
    out = hashes.copy()
    for text in range(len(offsets) - 1):
        out[offsets[text] : offsets[text + 1]].sort()
    return out


@numba.njit(cache=True, nogil=True)
def _overlap(left, right):
    """(common distinct values, all distinct values, common values counted with multiplicity) of sorted arrays."""
    i, j, common, union, many = 0, 0, 0, 0, 0
    while i < len(left) or j < len(right):
        from_left = j == len(right) or (i < len(left) and left[i] < right[j])
        value = left[i] if from_left else right[j]
        mine, theirs = 0, 0
        while i < len(left) and left[i] == value:
            i, mine = i + 1, mine + 1
        while j < len(right) and right[j] == value:
            j, theirs = j + 1, theirs + 1
        union += 1
        common += mine > 0 and theirs > 0
        many += min(mine, theirs)
    return common, union, many


@numba.njit(cache=True, nogil=True)
def _compare(left, right, exact, masked, offsets):
    similarity = np.zeros(len(left), np.float64)
    differing = np.zeros(len(left), np.int64)
    for pair in range(len(left)):
        a, b = left[pair], right[pair]
        mine, theirs = slice(offsets[a], offsets[a + 1]), slice(offsets[b], offsets[b + 1])
        common, union, many = _overlap(exact[mine], exact[theirs])
        similarity[pair] = common / union if union else 0.0
        differing[pair] = _overlap(masked[mine], masked[theirs])[2] - many
    return similarity, differing

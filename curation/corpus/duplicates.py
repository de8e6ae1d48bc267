"""Which documents are copies of which, decided by content and the recipe alone: never by arrival, files or workers.

Everything works on `ranked` documents: sorted by the keeper rule (rank of the source, mathematics, length, doc_id), so
that the smaller number is the one to keep.

1. Exact copies share a text digest; the first is kept.
2. Candidates for near copies share a band of their MinHash signatures; within a bucket each document is paired with the
   WINDOW documents after it, which is all pairs in all but enormous buckets.
3. Every candidate is verified on the texts: exact Jaccard similarity of the shingle sets at or above the threshold, and
   no shingles that differ in numbers or operators alone (multisets are compared with these masked and unmasked), so
   that two problems of one template are not taken for one. A pair that verified pairs connect already is passed over.
4. Verified pairs make clusters (connected components). Within a cluster, in rank order, a document is dropped if it is
   a verified copy of one that is kept: similarity is not carried over from neighbour to neighbour. In a cluster with
   more than KEPT kept documents later ones are compared with the first KEPT alone, so that time stays linear.

Memory, in bytes: 8 a document and 16 more for each of BANDS_AT_ONCE bands, which are read one after the other; 8 a
candidate pair and up to 40 while bands are merged; 60 a document when clusters are made. Shingles of the documents in a
pair lie in files that are mapped (16 bytes a word), so they are the kernel's cache and no memory of the process.
Leaves out semantic duplicates.
"""

import mmap
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numba
import numpy as np
import pyarrow as pa

from curation.config import NearDuplicatesRecipe
from curation.measures.words import shingles, split
from manifests.drop_reasons import DropReason

RULE = f"{DropReason.NEAR_DUPLICATE}/1"
"""Name and version of the rule, for the evidence."""
WINDOW, KEPT = 64, 256
BANDS_AT_ONCE = 2
UPPER = np.uint64(0xFFFFFFFF00000000)


@dataclass(frozen=True)
class Copies:
    """For each ranked document: `keeper`, the one kept in its place (itself if kept); `similarity` to it; `cluster`,
    the smallest number in its cluster; `exact`, whether it is an exact copy of another."""

    keeper: np.ndarray
    similarity: np.ndarray
    cluster: np.ndarray
    exact: np.ndarray

    def where_open(self, settled: "Copies") -> "Copies":
        """These where the keeper of `settled` is below 0, else those."""
        known = settled.keeper >= 0
        keeper = np.where(known, settled.keeper, self.keeper)
        similarity = np.where(known, settled.similarity, self.similarity)
        return Copies(keeper, similarity, np.where(known, settled.cluster, self.cluster), self.exact)


@dataclass(frozen=True)
class Verified:
    """What was found of pairs: exact Jaccard `similarity`, and whether they are the `same` document by the recipe."""

    similarity: np.ndarray
    same: np.ndarray


@dataclass(frozen=True)
class Texts:
    """Shingles of some documents, exact and masked, sorted within each: from `offsets[k]` to `offsets[k + 1]` those of
    the k-th document, which has the rank `ranks[k]`. `order` sorts `ranks`."""

    settings: NearDuplicatesRecipe
    ranks: np.ndarray
    order: np.ndarray
    exact: np.ndarray
    masked: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, ranks: np.ndarray, texts: pa.Array, settings: NearDuplicatesRecipe) -> "Texts":
        """Of `texts` beside `ranks`, in memory."""
        return cls(settings, ranks, np.argsort(ranks), *_sorted_shingles(texts, settings))

    @classmethod
    def stored(
        cls, ranks: np.ndarray, texts: Iterable[pa.Array], settings: NearDuplicatesRecipe, folder: Path
    ) -> "Texts":
        """Of `texts`, batch after batch beside `ranks`, in two files of `folder` that are mapped."""
        paths, counts = (folder / "exact", folder / "masked"), [np.zeros(1, np.int64)]
        with paths[0].open("wb") as exact_file, paths[1].open("wb") as masked_file:
            for batch in texts:
                exact, masked, ends = _sorted_shingles(batch, settings)
                exact_file.write(exact.data)
                masked_file.write(masked.data)
                counts.append(np.diff(ends))
        exact, masked = map(_mapped, paths)
        return cls(settings, ranks, np.argsort(ranks), exact, masked, np.cumsum(np.concatenate(counts)))

    def verify(self, left: np.ndarray, right: np.ndarray) -> Verified:
        """Compare the documents of ranks `left` and `right`, pair by pair."""
        return Verified(*_verify(self.places(left), self.places(right), *self.compared))

    def places(self, ranks: np.ndarray) -> np.ndarray:
        """Where the documents of `ranks` stand in this."""
        return self.order[np.searchsorted(self.ranks, ranks, sorter=self.order)]

    @property
    def compared(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, bool]:
        """What the compiled functions need to tell whether two documents are the same."""
        return self.exact, self.masked, self.offsets, self.settings.similarity, self.settings.numbers_differ


def _sorted_shingles(texts: pa.Array, settings: NearDuplicatesRecipe) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Exact and masked shingles, sorted within each text, and their offsets."""
    words = split(texts)
    exact = shingles(words.hashes, words.offsets, settings.shingle)
    masked = shingles(words.masked(), words.offsets, settings.shingle)
    return _sorted(exact.hashes, exact.offsets), _sorted(masked.hashes, masked.offsets), exact.offsets


def _mapped(path: Path) -> np.ndarray:
    """The uint64 values of a file, read as they are needed."""
    if not path.stat().st_size:
        return np.empty(0, np.uint64)
    with path.open("rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint64)


def in_pairs(pairs: np.ndarray, documents: int) -> np.ndarray:
    """The ranks, ascending, that occur in `pairs`."""
    occurs = np.zeros(documents, np.bool_)
    occurs[pairs[:, 0]], occurs[pairs[:, 1]] = True, True
    return np.flatnonzero(occurs)


def exact_keepers(digests: pa.Array) -> np.ndarray:
    """The first document with the same digest, for each document."""
    codes = digests.dictionary_encode().indices.to_numpy()
    first = np.unique(codes, return_index=True)[1]
    return first[codes]


def candidate_pairs(keys_of: Callable[[int], np.ndarray], bands: int, ranks: np.ndarray) -> np.ndarray:
    """uint32 [pairs, 2] of ranks that share a band, each pair once, smaller first, in order.

    `ranks` (int32, below 0: does not compete) in any order; `keys_of(band)` are the documents' keys beside it. It is
    called by BANDS_AT_ONCE threads."""
    place = np.full(ranks.max(initial=-1) + 1, -1, np.int32)
    competing = np.flatnonzero(ranks >= 0).astype(np.int32)
    place[ranks[competing]] = competing

    pairs, merging = np.empty(0, np.uint64), Lock()

    def add(band: int) -> None:
        nonlocal pairs
        keys = keys_of(band)
        entries = _entries(keys, ranks, len(competing))
        entries.sort()
        found = _sharing(entries, keys, place)
        del keys, entries
        found.sort()
        with merging:
            pairs = _merged(pairs, found)

    with ThreadPoolExecutor(BANDS_AT_ONCE) as pool:
        list(pool.map(add, range(bands)))
    return pairs.astype("<u8", copy=False).view("<u4").reshape(-1, 2)[:, ::-1]


@numba.njit(cache=True, nogil=True)
def _entries(keys, ranks, competing):
    """The upper half of each key and the rank, in 64 bits that are quick to sort."""
    out = np.empty(competing, np.uint64)
    found = 0
    for place in range(len(ranks)):
        if ranks[place] >= 0:
            out[found] = (keys[place] & UPPER) | np.uint64(ranks[place])
            found += 1
    return out


@numba.njit(cache=True, nogil=True)
def _sharing(entries, keys, place):
    """Pairs of ranks with equal keys, at most WINDOW apart among these, as rank · 2^32 + rank. Sorted `entries` bring
    together those whose keys are alike in the upper half; the rest is looked up at the rank's `place` in `keys`."""
    pairs, found = np.empty(1024, np.uint64), 0
    for first in range(len(entries)):
        left, key, met, second = entries[first] & ~UPPER, np.uint64(0), 0, first + 1
        while met < WINDOW and second < len(entries) and entries[second] & UPPER == entries[first] & UPPER:
            if second == first + 1:
                key = keys[place[left]]
            right = entries[second] & ~UPPER
            if keys[place[right]] == key:
                pairs = _longer(pairs) if found == len(pairs) else pairs
                pairs[found] = left << np.uint64(32) | right
                found, met = found + 1, met + 1
            second += 1
    return pairs[:found]


@numba.njit(cache=True, nogil=True)
def _longer(values):
    out = np.empty(2 * len(values), values.dtype)
    out[: len(values)] = values
    return out


@numba.njit(cache=True, nogil=True)
def _merged(left, right):
    """The distinct values of two sorted arrays, sorted."""
    out = np.empty(len(left) + len(right), left.dtype)
    i, j, found = 0, 0, 0
    while i < len(left) or j < len(right):
        from_left = j == len(right) or (i < len(left) and left[i] <= right[j])
        value = left[i] if from_left else right[j]
        if not found or out[found - 1] != value:
            out[found] = value
            found += 1
        i, j = (i + 1, j) if from_left else (i, j + 1)
    return out[:found]


def connected(pairs: np.ndarray, documents: int, texts: Texts | None = None) -> np.ndarray:
    """For each document the smallest number that `pairs` connect it with; if `texts` are given, only those pairs count
    that they verify."""
    parents = np.arange(documents, dtype=np.int32)
    if texts is None:
        _join(parents, pairs)
    else:
        place = np.full(documents, -1, np.int32)
        place[texts.ranks] = np.arange(len(texts.ranks))
        _join_same(parents, pairs, place, *texts.compared)
    return _roots(parents)


def cluster(pairs: np.ndarray, texts: Texts, documents: int) -> Copies:
    """Verify `pairs`, make clusters of what holds, and choose the keepers. Exact copies are not among the pairs."""
    labels = connected(pairs, documents, texts)
    keeper, similarity = np.arange(documents), np.ones(documents)
    size = np.bincount(labels, minlength=documents)
    members = np.flatnonzero(size[labels] > 1)
    members = members[np.argsort(labels[members], kind="stable")]
    of = labels[members]
    places = texts.places(members)
    cuts = np.flatnonzero(np.diff(of, prepend=-1, append=-1)) if len(of) else np.zeros(1, np.int64)
    _choose(members, places, cuts, *texts.compared, keeper, similarity)
    return Copies(keeper, similarity, labels, np.zeros(documents, np.bool_))


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
def _same(a, b, exact, masked, offsets, least, numbers_differ):
    """(exact Jaccard similarity of the documents at places `a` and `b`, whether they are the same by the recipe)."""
    mine, theirs = slice(offsets[a], offsets[a + 1]), slice(offsets[b], offsets[b + 1])
    common, union, many = _overlap(exact[mine], exact[theirs])
    similarity = common / union if union else 0.0
    if similarity < least or not numbers_differ:
        return similarity, similarity >= least
    return similarity, _overlap(masked[mine], masked[theirs])[2] == many


@numba.njit(cache=True, nogil=True)
def _verify(left, right, exact, masked, offsets, least, numbers_differ):
    similarity, same = np.zeros(len(left), np.float64), np.zeros(len(left), np.bool_)
    for pair in range(len(left)):
        similarity[pair], same[pair] = _same(left[pair], right[pair], exact, masked, offsets, least, numbers_differ)
    return similarity, same


@numba.njit(cache=True, nogil=True)
def _root(parents, document):
    while parents[document] != document:
        parents[document] = parents[parents[document]]
        document = parents[document]
    return document


@numba.njit(cache=True, nogil=True)
def _roots(parents):
    out = np.empty(len(parents), np.int64)
    for document in range(len(parents)):
        out[document] = _root(parents, document)
    return out


@numba.njit(cache=True, nogil=True)
def _join(parents, pairs):
    for pair in range(len(pairs)):
        left, right = _root(parents, pairs[pair, 0]), _root(parents, pairs[pair, 1])
        parents[max(left, right)] = min(left, right)


@numba.njit(cache=True, nogil=True)
def _join_same(parents, pairs, place, exact, masked, offsets, least, numbers_differ):
    for pair in range(len(pairs)):
        left, right = _root(parents, pairs[pair, 0]), _root(parents, pairs[pair, 1])
        if left == right:
            continue
        first, second = place[pairs[pair, 0]], place[pairs[pair, 1]]
        if _same(first, second, exact, masked, offsets, least, numbers_differ)[1]:
            parents[max(left, right)] = min(left, right)


@numba.njit(cache=True, nogil=True)
def _choose(members, places, cuts, exact, masked, offsets, least, numbers_differ, keeper, similarity):
    """Keep or drop each member of each cluster (from one cut to the next) in rank order, against those already kept."""
    kept = np.empty(KEPT, np.int64)
    for group in range(len(cuts) - 1):
        count = 0
        for member in range(cuts[group], cuts[group + 1]):
            best, most = -1, -1.0
            for other in kept[:count]:
                found, same = _same(places[other], places[member], exact, masked, offsets, least, numbers_differ)
                if same and found > most:
                    best, most = other, found
            if best >= 0:
                keeper[members[member]], similarity[members[member]] = members[best], most
            elif count < KEPT:
                kept[count] = member
                count += 1

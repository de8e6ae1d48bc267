"""Which documents are duplicates of which, decided only by content and the recipe: never by order of arrival, files or
workers.

Everything works on `ranked` documents: sorted by the keeper rule (rank of the source, mathematics, length, doc_id), so
that the smaller number is the one to keep.

1. Exact duplicates share a text digest; the first is kept. 2. Candidates for near-duplicates share a band of their
MinHash signatures; within a bucket each document is paired with the
   WINDOW documents after it, which is all pairs in all but enormous buckets.
3. Every candidate is verified on the texts: exact Jaccard similarity of the shingle sets at or above the threshold, and
   no more numbers and operators moved than a page fetched twice has (`curation.measures.figures`; `numbers_differ` of
   the recipe), so that two problems of one template are not taken for one. In texts of roles STRICT none may differ. A
   pair that verified pairs already connect is skipped.
4. Verified pairs make clusters (connected components). Within a cluster, in rank order, a document is dropped if it is
   a verified copy of one that is kept: similarity is not transitive. In a cluster with more than KEPT kept documents,
   later ones are compared only with the first KEPT, so that time stays linear.

Texts are compared in canonical spelling (`curation.measures.spellings`): emphasis, bullets, rules and the notation of a
formula make no difference. The evidence quotes what differs between a near-duplicate and its keeper.

Memory, in bytes: 8 a document and 16 more for each of BANDS_AT_ONCE bands, which are read one after the other; 8 a
candidate pair and up to 40 while bands are merged; 100 a document when clusters are made. Texts of the documents in a
pair, their shingles (8 bytes a word) and figures (some 3) lie in files that are mapped, so they are the kernel's cache
and no memory of the process.
Leaves out semantic duplicates.
"""

import mmap
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import numba
import numpy as np
import pyarrow as pa

from curation.config import NearDuplicatesRecipe
from curation.corpus.differences import told
from curation.measures.figures import CALM, TELLING, figures, moved
from curation.measures.spellings import spelled_words
from curation.measures.words import shingles, utf8
from curation.roles import Role
from manifests.drop_reasons import DropReason

RULE = f"{DropReason.NEAR_DUPLICATE}/2"
"""Name and version of the rule, for the evidence."""
WINDOW, KEPT = 64, 256
BANDS_AT_ONCE = 2
UPPER = np.uint64(0xFFFFFFFF00000000)
STRICT: tuple[Role, ...] = ("qa", "long_cot", "instruct", "rl")
"""Roles of problems: texts in which any other number makes another text, unless the recipe says that none does."""


@dataclass(frozen=True)
class Copies:
    """For each ranked document: `keeper`, the one kept in its place (itself if kept); `similarity` to it; `cluster`,
    the smallest number in its cluster; `exact`, whether it is an exact duplicate of another; `differs`, by document,
    what differs between a near-duplicate and its keeper."""

    keeper: np.ndarray
    similarity: np.ndarray
    cluster: np.ndarray
    exact: np.ndarray
    differs: dict[int, list[str]] = field(default_factory=dict)

    def where_open(self, resolved: "Copies") -> "Copies":
        """`resolved` where it has a keeper (0 or above), these elsewhere."""
        known = resolved.keeper >= 0
        keeper = np.where(known, resolved.keeper, self.keeper)
        similarity = np.where(known, resolved.similarity, self.similarity)
        cluster = np.where(known, resolved.cluster, self.cluster)
        return Copies(keeper, similarity, cluster, self.exact, self.differs | resolved.differs)


@dataclass(frozen=True)
class Verified:
    """What was found of pairs: exact Jaccard `similarity`, and whether they are the `same` document by the recipe."""

    similarity: np.ndarray
    same: np.ndarray


@dataclass(frozen=True)
class _Parts:
    """Values of several texts, concatenated: those of the k-th are from `offsets[k]` to `offsets[k + 1]`."""

    values: np.ndarray
    offsets: np.ndarray


Batch = tuple[pa.Array, np.ndarray]
"""Texts, and beside them whether each is of a role of STRICT."""


@dataclass(frozen=True)
class Texts:
    """Some documents as they are compared: the text, and, sorted within each, shingles and figures. The k-th document
    has the rank `ranks[k]`, and `allowed[k]` figures may move before it is another: below 0 none, not even a date.
    `order` sorts `ranks`."""

    settings: NearDuplicatesRecipe
    ranks: np.ndarray
    order: np.ndarray
    bytes: _Parts
    shingles: _Parts
    figures: _Parts
    allowed: np.ndarray

    @classmethod
    def of(
        cls, ranks: np.ndarray, texts: pa.Array, settings: NearDuplicatesRecipe, strict: np.ndarray | None = None
    ) -> "Texts":
        """Of `texts` beside `ranks`, in memory."""
        batch = texts, np.zeros(len(texts), np.bool_) if strict is None else strict
        parts, allowed = _measured(batch, settings)
        text, runs, figured = (_Parts(*part) for part in parts)
        return cls(settings, ranks, np.argsort(ranks), text, runs, figured, allowed)

    @classmethod
    def stored(
        cls, ranks: np.ndarray, batches: Iterable[Batch], settings: NearDuplicatesRecipe, folder: Path
    ) -> "Texts":
        """Of texts, batch after batch beside `ranks`, in files of `folder` that are mapped."""
        paths = [folder / name for name in ("bytes", "shingles", "figures")]
        counts, allowed = [[np.zeros(1, np.int64)] for _ in paths], [np.empty(0, np.float64)]
        with ExitStack() as stack:
            files = [stack.enter_context(path.open("wb")) for path in paths]
            for batch in batches:
                parts, allows = _measured(batch, settings)
                for file, count, (values, ends) in zip(files, counts, parts, strict=True):
                    file.write(values.data)
                    count.append(np.diff(ends))
                allowed.append(allows)
        kinds = (np.uint8, np.uint64, np.uint64)
        text, runs, figured = (
            _Parts(_mapped(path, kind), np.cumsum(np.concatenate(count)))
            for path, kind, count in zip(paths, kinds, counts, strict=True)
        )
        return cls(settings, ranks, np.argsort(ranks), text, runs, figured, np.concatenate(allowed))

    def verify(self, left: np.ndarray, right: np.ndarray) -> Verified:
        """Compare the documents of ranks `left` and `right`, pair by pair."""
        return Verified(*_verify(self.places(left), self.places(right), *self.compared))

    def differences(self, left: np.ndarray, right: np.ndarray) -> list[list[str]]:
        """What differs between the documents of ranks `left` and `right`, pair by pair, in words of both."""
        pairs = zip(self.places(left).tolist(), self.places(right).tolist(), strict=True)
        return [told(self._text(first), self._text(second)) for first, second in pairs]

    def _text(self, place: int) -> np.ndarray:
        return self.bytes.values[self.bytes.offsets[place] : self.bytes.offsets[place + 1]]

    def places(self, ranks: np.ndarray) -> np.ndarray:
        """Where the documents of `ranks` stand in this."""
        return self.order[np.searchsorted(self.ranks, ranks, sorter=self.order)]

    @property
    def compared(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
        """The arguments of the compiled functions that compare two documents."""
        runs, places = self.shingles, self.figures
        return runs.values, runs.offsets, places.values, places.offsets, self.allowed, self.settings.similarity


def _measured(batch: Batch, settings: NearDuplicatesRecipe) -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]:
    """Bytes, shingles and figures of texts, each with offsets, and how many figures may move in each text."""
    texts, strict = batch
    words = spelled_words(texts)
    runs, places = shingles(words.hashes, words.offsets, settings.shingle), figures(words)
    parts = [utf8(texts), (_sorted(runs.hashes, runs.offsets), runs.offsets), (places.values, places.offsets)]
    differ = settings.numbers_differ
    if differ is False:
        return parts, np.full(len(words.counts), np.inf)
    share = 0.0 if differ is True else differ
    return parts, np.where(strict | (differ is True), -1.0, np.floor(share * words.counts))


def _mapped(path: Path, kind: type) -> np.ndarray:
    """The values of a file, read as they are needed."""
    if not path.stat().st_size:
        return np.empty(0, kind)
    with path.open("rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), kind)


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
    # Where each competing rank stands in the columns of keys.
    place = np.full(ranks.max(initial=-1) + 1, -1, np.int32)
    competing = np.flatnonzero(ranks >= 0).astype(np.int32)
    place[ranks[competing]] = competing

    pairs, merging = np.empty(0, np.uint64), Lock()

    def add(band: int) -> None:
        nonlocal pairs
        # 1. Sort the documents by the upper half of their key: equal keys are now next to each other.
        keys = keys_of(band)
        entries = _entries(keys, ranks, len(competing))
        entries.sort()
        # 2. Pair neighbours whose whole keys are equal.
        found = _sharing(entries, keys, place)
        del keys, entries
        found.sort()
        # 3. Merge with the pairs of the other bands, so that a pair found twice is kept once.
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
        # Compare with the entries that follow, as long as the upper halves agree and fewer than WINDOW are equal.
        left, key, met, second = entries[first] & ~UPPER, np.uint64(0), 0, first + 1
        while met < WINDOW and second < len(entries) and entries[second] & UPPER == entries[first] & UPPER:
            # The whole key of the first document is looked up only once there is a neighbour to compare it with.
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
        # Take the smaller of the two heads.
        from_left = j == len(right) or (i < len(left) and left[i] <= right[j])
        value = left[i] if from_left else right[j]
        # Values come in order, so a repeated one equals the last that was written.
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
    """Verify `pairs`, make clusters of the verified ones, and choose the keepers. Exact duplicates are not among the
    pairs."""
    # 1. Clusters are the connected components of the verified pairs.
    labels = connected(pairs, documents, texts)
    keeper, similarity = np.arange(documents), np.ones(documents)
    # 2. Members of clusters of two or more, cluster by cluster, in rank order within each.
    size = np.bincount(labels, minlength=documents)
    members = np.flatnonzero(size[labels] > 1)
    members = members[np.argsort(labels[members], kind="stable")]
    of = labels[members]
    places = texts.places(members)
    # 3. `cuts` are where one cluster ends and the next begins; decide each cluster by itself.
    cuts = np.flatnonzero(np.diff(of, prepend=-1, append=-1)) if len(of) else np.zeros(1, np.int64)
    _choose(members, places, cuts, *texts.compared, keeper, similarity)
    # 4. Describe what differs, for the dropped documents only: it reads both texts again.
    dropped = np.flatnonzero(keeper != np.arange(documents))
    differs = dict(zip(dropped.tolist(), texts.differences(keeper[dropped], dropped), strict=True))
    return Copies(keeper, similarity, labels, np.zeros(documents, np.bool_), differs)


def with_exact(copies: Copies, first: np.ndarray, distinct: np.ndarray) -> Copies:
    """`copies` of the `distinct` documents (ranks, ascending) extended to all: an exact duplicate is decided like its
    `first`, and stays an exact duplicate of it."""
    # Every document takes what was decided about the first with its text.
    place = np.searchsorted(distinct, first)
    exact = first != np.arange(len(first))
    differs = {int(distinct[document]): said for document, said in copies.differs.items()}
    keeper, cluster = distinct[copies.keeper[place]], distinct[copies.cluster[place]]
    return Copies(keeper, copies.similarity[place], cluster, exact, differs)


@numba.njit(cache=True, nogil=True)
def _sorted(hashes, offsets):
    out = hashes.copy()
    for text in range(len(offsets) - 1):
        out[offsets[text] : offsets[text + 1]].sort()
    return out


@numba.njit(cache=True, nogil=True)
def _overlap(left, right):
    """(common distinct values, all distinct values) of sorted arrays."""
    i, j, common, union = 0, 0, 0, 0
    while i < len(left) or j < len(right):
        # The smallest value not yet counted, and how far it repeats on each side.
        from_left = j == len(right) or (i < len(left) and left[i] < right[j])
        value = left[i] if from_left else right[j]
        mine, theirs = i, j
        while i < len(left) and left[i] == value:
            i += 1
        while j < len(right) and right[j] == value:
            j += 1
        union += 1
        common += i > mine and j > theirs
    return common, union


@numba.njit(cache=True, nogil=True)
def _same(a, b, runs, ends, places, limits, allowed, least):
    """(exact Jaccard similarity of the documents at places `a` and `b`, whether they are the same by the recipe)."""
    # 1. Jaccard similarity of the sets of shingles.
    common, union = _overlap(runs[ends[a] : ends[a + 1]], runs[ends[b] : ends[b + 1]])
    similarity, allows = common / union if union else 0.0, min(allowed[a], allowed[b])
    # 2. Where numbers may differ, similarity alone decides; where it is too small, numbers cannot help.
    if similarity < least or allows == np.inf:
        return similarity, similarity >= least
    # 3. Otherwise compare the numbers and operators: how many of each kind stand in one text only.
    found = moved(places[limits[a] : limits[a + 1]], places[limits[b] : limits[b + 1]])
    if allows < 0:
        return similarity, found.sum() == 0
    return similarity, found[TELLING] == 0 and found.sum() - found[CALM] <= 2 * allows


@numba.njit(cache=True, nogil=True)
def _verify(left, right, runs, ends, places, limits, allowed, least):
    similarity, same = np.zeros(len(left), np.float64), np.zeros(len(left), np.bool_)
    for pair in range(len(left)):
        similarity[pair], same[pair] = _same(left[pair], right[pair], runs, ends, places, limits, allowed, least)
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
def _join_same(parents, pairs, place, runs, ends, places, limits, allowed, least):
    for pair in range(len(pairs)):
        left, right = _root(parents, pairs[pair, 0]), _root(parents, pairs[pair, 1])
        # Already connected, directly or through others: a comparison could change nothing.
        if left == right:
            continue
        first, second = place[pairs[pair, 0]], place[pairs[pair, 1]]
        # The smaller root wins, so that the label of a cluster is its smallest rank.
        if _same(first, second, runs, ends, places, limits, allowed, least)[1]:
            parents[max(left, right)] = min(left, right)


@numba.njit(cache=True, nogil=True)
def _choose(members, where, cuts, runs, ends, places, limits, allowed, least, keeper, similarity):
    """Keep or drop each member of each cluster (from one cut to the next) in rank order, against those already kept."""
    kept = np.empty(KEPT, np.int64)
    for group in range(len(cuts) - 1):
        count = 0
        for member in range(cuts[group], cuts[group + 1]):
            # The most similar of the kept documents of this cluster that it is a verified copy of.
            best, most = -1, -1.0
            for other in kept[:count]:
                found, same = _same(where[other], where[member], runs, ends, places, limits, allowed, least)
                if same and found > most:
                    best, most = other, found
            # A copy is dropped in favour of it; any other member is kept, and later ones are compared with it.
            if best >= 0:
                keeper[members[member]], similarity[members[member]] = members[best], most
            elif count < KEPT:
                kept[count] = member
                count += 1

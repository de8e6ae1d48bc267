"""The one order of a mixture: which component, and which of its windows, is read as the p-th sequence.

`Order(counts)` interleaves nᵢ = `counts[i]` sequences of each component i, N in all. Promises: among the first p
sequences, for every p, the number of component i differs from p·nᵢ/N by less than one; the order depends on the counts
alone; any position is computed without walking from the start, in constant memory, and so is the position of any
sequence of a component. `Continued` continues an order from a position with other counts.

How. The k-th sequence of component i must lie in the slots [⌊(k-1)N/nᵢ⌋, ⌈kN/nᵢ⌉): that is the promise, restated as
unit jobs with release times and deadlines. Such a schedule always exists (Steiner and Yeomans 1993; Baruah, Cohen,
Plaxton and Varvel 1996, whose fluid schedule is a fractional matching of jobs and slots; Tijdeman 1980 has the sharper
bound), and earliest deadline first finds it. A greedy largest-deficit rule does not. For random access the stream is
halved down to blocks of `BLOCK` sequences: `_counts_at_cut` decides which of the jobs that straddle a cut are done
before it, and each block is then scheduled separately. A position costs log₂(N/BLOCK) cuts and one block, 2 ms in a
stream of 10⁹ sequences of 100 components; nearby positions cost less, because the path to the block is kept.

Documents within a component are permuted by `permutation`. Leaves out reading: see `mixtures.reader`.
"""

import hashlib
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numba
import numpy as np
import pyarrow as pa

BLOCK = 4096
"""Sequences scheduled together. Part of the order: another value makes other, equally good, orders."""

MOST_SEQUENCES = 3_037_000_499
"""⌊√2⁶³⌋: up to here every product of two counts is exact in 64 bits. At length 8,192 it is 25T tokens."""

_KEPT_BLOCKS = 8


class Order:
    """The order of a mixture of `counts[i]` sequences of component i; zeros are allowed."""

    def __init__(self, counts: Sequence[int], block: int = BLOCK):
        self.counts = np.asarray(counts, np.int64)
        self.n_sequences = int(self.counts.sum())
        if self.n_sequences > MOST_SEQUENCES:
            raise ValueError(f"{self.n_sequences} sequences; an order holds at most {MOST_SEQUENCES}")
        self.block = block
        self._used = np.flatnonzero(self.counts)
        whole = _Span(0, -(-self.n_sequences // block), np.zeros_like(self._used), self.counts[self._used])
        self._path = [whole]
        self._blocks: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def at(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Component and index within it (both int64, shaped like `positions`) of the sequences at `positions`.

        IndexError outside [0, n_sequences).
        """
        positions = np.asarray(positions, np.int64)
        if positions.size and (positions.min() < 0 or positions.max() >= self.n_sequences):
            raise IndexError(f"positions {positions.min()}..{positions.max()} of {self.n_sequences} sequences")
        component, index = np.empty_like(positions), np.empty_like(positions)
        # Schedule each block that is asked for once, and pick the positions out of it.
        blocks = positions // self.block
        for block in np.unique(blocks):
            here = blocks == block
            inside = positions[here] - block * self.block
            components, indexes = self._scheduled(int(block))
            component[here], index[here] = components[inside], indexes[inside]
        return component, index

    def positions(self, component: int, indexes: np.ndarray) -> np.ndarray:
        """Positions of the sequences `indexes` (int) of `component`, int64: the inverse of `at`, at the same cost each.

        IndexError outside [0, counts[component]).
        """
        if len(indexes) and (min(indexes) < 0 or max(indexes) >= self.counts[component]):
            raise IndexError(f"component {component} has {self.counts[component]} sequences, not {indexes}")
        return np.array([self._position(component, int(index)) for index in indexes], np.int64)

    def _position(self, component: int, index: int) -> int:
        used = np.searchsorted(self._used, component)
        block = self._narrow(lambda span: span.before[used] <= index < span.after[used]).first
        components, indexes = self._scheduled(block)
        return block * self.block + int(np.flatnonzero((components == component) & (indexes == index))[0])

    def counts_before(self, position: int) -> np.ndarray:
        """How many of the first `position` sequences are of each component: int64, summing to `position`."""
        if position >= self.n_sequences:
            return self.counts.copy()
        before, block = np.zeros_like(self.counts), position // self.block
        before[self._used] = self._narrow(lambda span: span.first <= block < span.last).before
        components, _ = self._scheduled(block)
        return before + np.bincount(components[: position % self.block], minlength=len(before))

    def _scheduled(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        """Components and indexes of a whole block; the latest few are kept."""
        if block not in self._blocks:
            while len(self._blocks) >= _KEPT_BLOCKS:
                del self._blocks[next(iter(self._blocks))]
            self._blocks[block] = self._schedule(block)
        return self._blocks[block]

    def _schedule(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        span = self._narrow(lambda span: span.first <= block < span.last)
        counts, n = self.counts[self._used], self.n_sequences
        start, stop = block * self.block, min((block + 1) * self.block, n)
        components, indexes, complete = _earliest_deadline_first(counts, n, start, stop, span.before, span.after)
        if not complete:
            raise RuntimeError(f"no schedule for [{start}, {stop}) of counts {self.counts.tolist()}")
        return self._used[components], indexes

    def _narrow(self, holds: Callable[["_Span"], bool]) -> "_Span":
        """The one block that `holds`, as every span around it must. The path from the whole stream is kept, because the
        next request shares most of it."""
        while not holds(self._path[-1]):
            self._path.pop()
        while (span := self._path[-1]).last - span.first > 1:
            left, right = self._halves(span)
            self._path.append(left if holds(left) else right)
        return self._path[-1]

    def _halves(self, span: "_Span") -> tuple["_Span", "_Span"]:
        middle, counts = (span.first + span.last) // 2, self.counts[self._used]
        at_cut = _counts_at_cut(counts, self.n_sequences, middle * self.block, span.before, span.after)
        return replace(span, last=middle, after=at_cut), replace(span, first=middle, before=at_cut)


class Continued:
    """The first `read` sequences of the order `first`, then an order of `counts[i]` more of each component.

    Positions and indexes continue where `first` ends, so nothing is read twice or skipped. Any prefix of the second
    part holds each component within one sequence of its weight there. `counts` may add components after those of
    `first`.
    """

    def __init__(self, first: "Order | Continued", read: int, counts: Sequence[int]):
        self.first, self.read, self.rest = first, read, Order(counts)
        self.used = np.zeros(len(counts), np.int64)
        self.used[: len(first.counts)] = first.counts_before(read)
        self.counts = self.used + self.rest.counts
        self.n_sequences = read + self.rest.n_sequences

    def at(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `Order.at`."""
        positions = np.asarray(positions, np.int64)
        component, index = np.empty_like(positions), np.empty_like(positions)
        old = positions < self.read
        component[old], index[old] = self.first.at(positions[old])
        component[~old], index[~old] = self.rest.at(positions[~old] - self.read)
        index[~old] += self.used[component[~old]]
        return component, index

    def positions(self, component: int, indexes: np.ndarray) -> np.ndarray:
        """As `Order.positions`."""
        indexes = np.asarray(indexes, np.int64)
        found, old = np.empty_like(indexes), indexes < self.used[component]
        if old.any():
            found[old] = self.first.positions(component, indexes[old])
        found[~old] = self.read + self.rest.positions(component, indexes[~old] - self.used[component])
        return found

    def counts_before(self, position: int) -> np.ndarray:
        """As `Order.counts_before`."""
        if position >= self.read:
            return self.used + self.rest.counts_before(position - self.read)
        before = np.zeros_like(self.counts)
        before[: len(self.first.counts)] = self.first.counts_before(position)
        return before


@dataclass(frozen=True)
class _Span:
    """Blocks [first, last) of a stream, and how many sequences of each component come before and by the end of them."""

    first: int
    last: int
    before: np.ndarray
    after: np.ndarray


def _counts_at_cut(counts: np.ndarray, n: int, cut: int, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How many sequences of each component come before slot `cut` of a span: int64, summing to `cut`.

    The span does the jobs before[i]..after[i] of each component. A count is cut·nᵢ/N rounded down, or up for a set R
    of the jobs whose windows straddle the cut; fᵢ, the fraction rounded away, is how much of the job the fluid
    schedule has done by then. By Hall's theorem for intervals (Glover 1967) both sides can be scheduled if

        for every b > cut, of the straddling jobs due by b, R holds at least ⌊Σ fᵢ⌋
        for every a < cut, of the straddling jobs released at or after a, R holds at most ⌈Σ fᵢ⌉

    because the slots free for them are whole numbers on the far side of Σ fᵢ. Both are chains of nested sets, so their
    matrix is totally unimodular and f itself shows that an R exists; the greedy choice finds it: walk b upwards and,
    whenever R needs one more, take the earliest released. Jobs longer than a span were resolved by earlier cuts. That
    they never spoil the choice is not proved here but checked: `_schedule` raises if a block cannot be filled, and a
    mixture is frozen only after all of its blocks were.
    """
    # 1. Each component has at least ⌊cut·nᵢ/N⌋ sequences before the cut; `rest`/N is the fraction fᵢ rounded away.
    down, rest = np.divmod(cut * counts, n)
    # 2. Earlier cuts have already decided some straddling jobs: done before this span, or not to be done in it.
    resolved = (before > down) | (after == down)
    at_cut = np.maximum(down, before)
    # 3. The others straddle the cut: [release, due) are the slots in which the next job of the component must lie.
    (straddling,) = np.nonzero(rest)
    release, due = down * n // counts, -(-(down + 1) * n // counts)
    # 4. Walk the due dates upwards. Of the jobs due by each, at least ⌊Σ fᵢ⌋ must be done before the cut (Hall).
    by_due = straddling[np.argsort(due[straddling], kind="stable")]
    needed = np.cumsum(rest[by_due]) // n * (due[by_due] < after.sum())  # what is due beyond the span need not be done
    waiting: list[tuple[int, int]] = []
    taken = 0
    for job, need in zip(by_due.tolist(), needed.tolist(), strict=True):
        # A job that an earlier cut placed before the span counts as taken.
        taken += int(at_cut[job] > down[job])
        if not resolved[job]:
            heapq.heappush(waiting, (int(release[job]), job))
        # One more is needed: take the job that was released first, which leaves the others the most room.
        while taken < need and waiting:
            at_cut[heapq.heappop(waiting)[1]] += 1
            taken += 1
    # 5. Fill up to exactly `cut` sequences, again with the jobs released first.
    for _, job in heapq.nsmallest(cut - int(at_cut.sum()), waiting):
        at_cut[job] += 1
    return at_cut


@numba.njit(cache=True)
def _earliest_deadline_first(counts, n, start, stop, before, after):  # pragma: no cover (compiled)
    """Fill the slots [start, stop) with jobs before[i]..after[i] of each component: (component, index, complete)."""
    # The next job of component i may start at `release[i]` and must have its slot before `deadline[i]`.
    done = before.copy()
    release = done * n // counts
    deadline = -((-(done + 1) * n) // counts)
    components = np.empty(stop - start, np.int64)
    indexes = np.empty(stop - start, np.int64)
    for slot in range(start, stop):
        # Of the released jobs the one due first; of several, that of the first component.
        chosen, earliest = -1, 0
        for i in range(len(counts)):
            due = min(deadline[i], stop)
            if done[i] < after[i] and release[i] <= slot and (chosen < 0 or due < earliest):
                chosen, earliest = i, due
        # No job is ready, or the chosen one is too late: the span cannot be filled.
        if chosen < 0 or earliest <= slot:
            return components, indexes, False
        # Give it the slot, and compute the window of the next job of its component.
        components[slot - start], indexes[slot - start] = chosen, done[chosen]
        done[chosen] += 1
        release[chosen] = done[chosen] * n // counts[chosen]
        deadline[chosen] = -((-(done[chosen] + 1) * n) // counts[chosen])
    return components, indexes, True


# -- documents within a component ----------------------------------------------------------------------------------


def document_keys(doc_ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """The first 64 bits of each document ID (32 hex digits, lower case) as uint64: what permutations are made from.

    From the ID and not from the row, so that documents added to a corpus leave the rest in the same relative order.
    """
    chunks = doc_ids.chunks if isinstance(doc_ids, pa.ChunkedArray) else [doc_ids]
    keys = [np.empty(0, np.uint64)]
    for chunk in chunks:
        keys += [_keys(chunk.slice(start, _ROWS)) for start in range(0, len(chunk), _ROWS)]
    return np.concatenate(keys)


_ROWS = 1 << 16
"""IDs turned into keys at a time: their digits fit the cache."""


def _keys(doc_ids: pa.Array) -> np.ndarray:
    ids = doc_ids.cast(pa.binary()).cast(pa.binary(32))
    digits = np.frombuffer(ids.buffers()[1], np.uint8)[ids.offset * 32 :][: len(ids) * 32].reshape(-1, 32)[:, :16]
    values = np.where(digits <= ord("9"), digits - ord("0"), digits - ord("a") + 10)
    return (values[:, 0::2] << 4 | values[:, 1::2]).view(">u8").ravel().astype(np.uint64)


def permutation(keys: np.ndarray, seed: int, component: str, epoch: int) -> np.ndarray:
    """The order of documents with these `keys` in one epoch, as int64 positions into `keys`.

    Documents are sorted by a hash of (seed, component, epoch, key): splitmix64 (Steele, Lea and Flood 2014), written
    out because numpy does not promise equal streams across its versions.
    """
    salt = hashlib.sha256(f"{seed}/{epoch}/{component}".encode()).digest()[:8]
    # The salt makes each seed, epoch and component a permutation of its own.
    mixed = keys ^ np.frombuffer(salt, "<u8")
    # The three steps of splitmix64: a Weyl increment and two rounds of shift and multiply.
    mixed = mixed + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.argsort(mixed ^ (mixed >> np.uint64(31)), kind="stable")

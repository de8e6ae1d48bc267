"""Which documents hold an item of a benchmark, with the item, how much of it, and nothing inferred from numbers folded.

1. Candidates. Every run of n words of an item is looked up in the documents' runs; runs without a letter are skipped
   (arithmetic tables match everything). An item with fewer than n words must occur whole, between breaks or words that
   cannot continue a formula: "What is 1 + 2" does not match in "What is 1 + 2 + 3". One without a number, which may be
   part of any sentence, must stand between breaks.
2. Verification. Around the diagonal on which most runs of a pair match, the item is aligned with the passage by fewest
   edits of words. The document holds the item if the edits are few against the item's length (`coverage` is 1 minus
   their quotient) and if its numbers and operators match: the same story with other numbers is another problem. A
   number in whose place another stands weighs REPLACED times what one weighs that is not there. In an item without
   numbers the words must match that say what it is about (all but FRAME).

Both halves of an item are looked for: its question, and its worked solution where the benchmark has one, since a
solution gives the answer away without the question. Solutions under SOLUTION_WORDS words are left out: "3 * 4 = 12
apples" is in many documents that never saw the item. The evidence says which part was found. A document may hold many
items: the one that it covers most is why it is dropped, all are told (family `leaks`).

Items and documents are compared in their one spelling (`curation.measures.spellings`). An item whose words differ when
its scripts are joined to what they belong to is looked for both ways, since many extractors lose the markup of scripts.
Questions that cannot be told from chance are not looked for, their items counted as `unmatchable`: those of fewer than
3 words, without a letter, of nothing but FRAME ("Which of the following is true?"), of a formula alone that has fewer
than SOLUTION_WORDS words, and those of fewer words than a run that have no number and fewer than 3 words beyond FRAME
("What is a circle?"). Leaves out: paraphrase.
"""

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.config import DecontaminateRecipe
from curation.measures.spans import spans
from curation.measures.spellings import spelled, spelled_words
from curation.measures.words import (
    AFTER_BREAK,
    KIND,
    NUMBER,
    OPERATOR,
    SHINGLE_PRIME,
    WORD,
    Words,
    run_hash,
    shingles,
    split,
)
from manifests.manifest import Manifest
from manifests.tables import LEAKS

SPELLED_NUMBERS = split(
    [
        "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
        "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million half third "
        "quarter"
    ]
).hashes
"""Without "one", which more often is no number."""
FRAME = split(
    [
        "a an the this that these those it its they them their he she him her his we us our you your i me my "
        "who whom whose which what when where why how there here one both either neither each every all any "
        "some no not none nor and or but so if then than as while because since although whether unless except "
        "of in on at by for to from with without within into onto upon about between among through during "
        "before after above below over under against toward towards across along around per via up down out off "
        "is are was were be been being am do does did done has have had having can could may might must shall "
        "should will would let s t also only just very too more most much many less least few other another "
        "such same always never often usually regarding according following statement statements true false "
        "correct correctly incorrect right wrong example examples best better describe describes described "
        "description term question answer choice option select choose find determine compute calculate evaluate "
        "give given suppose consider show prove"
    ]
).hashes
"""Words that many questions have: what is asked, and not about what."""
ITEM_COLUMNS = pa.schema([(name, pa.string()) for name in ("benchmark", "item_id", "question", "solution")])
PARTS = pa.schema([(name, pa.string()) for name in ("benchmark", "item_id", "part", "text")])
LEAK = pa.struct([field for field in LEAKS.schema if field.name != "doc_id"])
"""An item that a document holds: a row of `leaks`."""
MOST_PLACED = 100
"""Items of one document whose place in it is looked for; a page with a whole benchmark would take minutes."""
QUESTION, ANSWER, BOTH = "question", "answer", "question and answer"
LEAST_WORDS = 3
SOLUTION_WORDS = 20
BITS_A_KEY, BEGINNING_BITS, PASSAGE_BITS = 16, 16, 12
"""Sizes of the tables that answer most questions with no: is a run one of an item (bits, at least), may three words
begin an item shorter than a run, does a passage hold a word (entries, as powers of two)."""
WORD_OF_TEXT = r"(^|[^\\\pL])\pL{3}"
"""What a formula alone does not have: a word of three letters that is no command."""
FEW, NEARLY_ALL = 6, 0.9
"""An item without a number and with fewer words beyond FRAME must be covered so far: "the Cassini division of Saturn's
rings" is in texts that nobody asks what it is."""
SAID = 0.82
"""Share that must match of the words beyond FRAME, the operators included, in an item without a number: one of six may
be another, two of twelve. "Which of the following statements about images is true" asks nothing about fission."""
REPLACED = 20
"""How much heavier a number with another in its place weighs than one that is not there: an edit or an extractor loses
numbers, and another number makes another problem, also in an item of a hundred."""
CANDIDATE_SHARE = 0.4
"""Part of the wanted coverage that matching runs alone must give before a pair is aligned. Lower finds little more and
aligns many more pairs."""


def parts_of(items: pa.Table) -> pa.Table:
    """What to look for (PARTS): every question of `items` (ITEM_COLUMNS), then every solution that is long enough."""
    solutions = _column(items, "solution").fill_null("")
    worked = items.filter(pa.array(spelled_words(solutions).counts >= SOLUTION_WORDS))
    found = [
        [rows["benchmark"], rows["item_id"], pa.repeat(pa.scalar(part), len(rows)), rows[column]]
        for rows, part, column in ((items, QUESTION, "question"), (worked, ANSWER, "solution"))
    ]
    return pa.concat_tables([pa.table(columns, names=PARTS.names).cast(PARTS) for columns in found])


@dataclass(frozen=True)
class Held:
    """An item that a document holds: the row of its part (of two, the one with more coverage), and what `leaks` says
    of it."""

    row: int
    benchmark: str
    item_id: str
    part: str
    coverage: float

    @property
    def evidence(self) -> str:
        """As JSON."""
        said = {"benchmark": self.benchmark, "item": self.item_id, "part": self.part}
        return json.dumps(said | {"coverage": round(self.coverage, 4)})


@dataclass(frozen=True)
class Matches:
    """For each document of a batch the items it holds: the one with most coverage first, of equals the first."""

    held: list[list[Held]]

    @property
    def coverage(self) -> np.ndarray:
        """Of the first, 0 for none."""
        return np.array([held[0].coverage if held else 0.0 for held in self.held], np.float64)

    @property
    def evidence(self) -> list[str | None]:
        """Of the first, as JSON; None for none."""
        return [held[0].evidence if held else None for held in self.held]


@dataclass(frozen=True)
class Pairs:
    """Candidate (document, item) pairs and `diagonal`: where in the document the item's first word would stand."""

    document: np.ndarray
    item: np.ndarray
    diagonal: np.ndarray


@dataclass(frozen=True)
class ItemIndex:
    """Runs of words of all items, ready to be looked up. `items` has the columns PARTS; below, an item is one such
    row."""

    items: pa.Table
    settings: DecontaminateRecipe
    words: Words = field(init=False)
    row: np.ndarray = field(init=False)
    """Of `items`, for each text in `words`: those that differ with their scripts glued are there twice."""

    @classmethod
    def of(cls, benchmarks: list[Manifest], settings: DecontaminateRecipe) -> "ItemIndex":
        """The items of benchmark manifests."""
        items = [manifest.read("items", ITEM_COLUMNS.names).cast(ITEM_COLUMNS) for manifest in benchmarks]
        return cls(parts_of(pa.concat_tables([ITEM_COLUMNS.empty_table(), *items])), settings)

    def __post_init__(self) -> None:
        texts = _column(self.items, "text")
        plain, glued = spelled(texts), spelled(texts, glued=True)
        again = np.flatnonzero(pc.not_equal(plain, glued).to_numpy(zero_copy_only=False))
        object.__setattr__(self, "words", split(pa.concat_arrays([plain, glued.take(pa.array(again))])))
        object.__setattr__(self, "row", np.concatenate([np.arange(len(texts)), again]))

    @cached_property
    def _runs(self) -> "_RunTable":
        """(run, item, position) of every item with at least n words."""
        runs = shingles(self.words.hashes, self.words.offsets, self.settings.ngram)
        item = np.repeat(np.arange(len(self.row)), np.diff(runs.offsets))
        position = np.arange(len(runs.hashes)) - runs.offsets[item]
        usable = (self.words.counts >= self.settings.ngram)[item]
        usable[usable] = self._lettered(item[usable], position[usable], self.settings.ngram)
        usable &= self._asking[item]
        return _RunTable.of(runs.hashes[usable], item[usable], position[usable])

    @cached_property
    def _whole(self) -> "dict[int, _RunTable]":
        """By length, the items that are shorter than a run."""
        runs = shingles(self.words.hashes, self.words.offsets, self.settings.ngram)
        tables = {}
        for length in range(LEAST_WORDS, self.settings.ngram):
            item = np.flatnonzero((self.words.counts == length) & self._asking)
            item = item[self._lettered(item, np.zeros(len(item), np.int64), length)]
            if len(item):
                tables[length] = _RunTable.of(runs.hashes[runs.offsets[item]], item, np.zeros(len(item), np.int64))
        return tables

    @cached_property
    def _figures(self) -> np.ndarray:
        """Whether words of the items are numbers, in figures or spelled out."""
        return (self.words.kinds == NUMBER) | _among(self.words.hashes, SPELLED_NUMBERS)

    @cached_property
    def _beyond(self) -> np.ndarray:
        """Whether words of the items are more than a frame."""
        return ~_among(self.words.hashes, FRAME)

    @cached_property
    def _letters(self) -> np.ndarray:
        """How many of the items' words before each have a letter."""
        return np.concatenate([[0], np.cumsum(self.words.kinds == WORD)])

    @cached_property
    def _wordy(self) -> np.ndarray:
        """Whether each item has no number, so that it may be part of any sentence."""
        return self._many(self._figures) == 0

    @cached_property
    def _said(self) -> np.ndarray:
        """How many words of each item are more than its frame."""
        return self._many(self._beyond)

    @cached_property
    def _asking(self) -> np.ndarray:
        """Whether each item says enough to be told from chance: more than its frame, more than a formula."""
        short = self.words.counts < self.settings.ngram
        texts = _column(self.items, "text").take(pa.array(self.row))
        formula = ~pc.match_substring_regex(texts, WORD_OF_TEXT).fill_null(False).to_numpy(zero_copy_only=False)
        empty = self._wordy & (self._said < np.where(short, LEAST_WORDS, 1))
        return ~empty & ~(formula & (self.words.counts < SOLUTION_WORDS))

    def _many(self, chosen: np.ndarray) -> np.ndarray:
        """How many of each item's words are `chosen`."""
        return np.diff(np.concatenate([[0], np.cumsum(chosen)])[self.words.offsets])

    @cached_property
    def _telling(self) -> np.ndarray:
        """For words of the items: 2 for numbers, 1 for operators and, in items without a number, for words beyond
        FRAME, else 0."""
        said = np.repeat(self._wordy, self.words.counts) & self._beyond
        return np.where(self._figures, 2, (self.words.kinds == OPERATOR) | said).astype(np.int8)

    @cached_property
    def _coverages(self) -> np.ndarray:
        """The share of each item's words that must match."""
        few = self._wordy & (self._said < FEW)
        return np.where(few, max(NEARLY_ALL, self.settings.coverage), self.settings.coverage)

    @cached_property
    def _shares(self) -> np.ndarray:
        """Of what tells each item from others, the share that must match."""
        return np.where(self._wordy, min(SAID, self.settings.numbers), self.settings.numbers)

    @cached_property
    def _beginnings(self) -> np.ndarray:
        """1 for the first words of each item that is shorter than a run, else 0."""
        item = np.concatenate([np.empty(0, np.int64), *(table.item for table in self._whole.values())])
        return _beginnings(self.words.hashes, self.words.offsets[item])

    def _lettered(self, item: np.ndarray, position: np.ndarray, length: int) -> np.ndarray:
        """Whether the `length` words at `position` of `item` hold one with a letter."""
        start = self.words.offsets[item] + position
        return self._letters[start + length] > self._letters[start]

    @cached_property
    def unmatchable(self) -> int:
        """Items whose question can never be found."""
        found = self.row[np.concatenate([self._runs.item, *(table.item for table in self._whole.values())])]
        return self._questions - len(np.unique(found[found < self._questions]))

    @cached_property
    def _questions(self) -> int:
        """How many of the rows, the first ones, are questions."""
        return pc.sum(pc.equal(self.items["part"], QUESTION)).as_py() or 0

    @property
    def counts(self) -> dict[str, int]:
        """What a manifest says of the items."""
        return {"all": self._questions, "unmatchable": self.unmatchable, "solutions": len(self.items) - self._questions}

    def columns(self, texts: pa.Array, words: Words | None = None) -> dict[str, pa.Array]:
        """What is found, as columns of documents: the item that each holds most of, and all (rows of `leaks`). `words`:
        those of `texts` in their one spelling, where they are at hand."""
        found = self.find(texts, words)
        rows = [self._placed(texts[place].as_py(), held) if held else None for place, held in enumerate(found.held)]
        return {
            "contamination": pa.array(found.coverage, pa.float64()),
            "held_item": pa.array(found.evidence, pa.string()),
            "held": pa.array(rows, pa.list_(LEAK)),
        }

    def _placed(self, text: str, held: list[Held]) -> list[dict[str, Any]]:
        """With each item, where in `text` it stands."""
        wanted = [self.items["text"][one.row].as_py() for one in held[:MOST_PLACED]]
        found = spans(text, wanted) + [None] * (len(held) - len(wanted))
        return [
            {"benchmark": one.benchmark, "item_id": one.item_id, "part": one.part, "coverage": round(one.coverage, 4)}
            | ({"span_start": span[0], "span_length": span[1]} if span else {})
            for one, span in zip(held, found, strict=True)
        ]

    def find(self, texts: pa.Array, words: Words | None = None) -> Matches:
        """Which items each document holds."""
        held: list[dict[tuple[str, str], Held]] = [{} for _ in texts]
        if len(self.items) and len(texts):
            document, item, share = self.pairs(texts, words)
            for row in np.lexsort((item, -share, document)).tolist():
                self._note(held[document[row]], int(item[row]), float(share[row]))
        return Matches([list(items.values()) for items in held])

    def _note(self, held: dict[tuple[str, str], Held], row: int, coverage: float) -> None:
        """Add what a document holds: another item, or the other part of one."""
        name = (self.items["benchmark"][row].as_py(), self.items["item_id"][row].as_py())
        part = self.items["part"][row].as_py()
        known = held.get(name)
        if known is None:
            held[name] = Held(row, *name, part, coverage)
        elif part != known.part:
            held[name] = replace(known, part=BOTH)

    def pairs(self, texts: pa.Array, words: Words | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(document, item, coverage) of every item that a document holds, in no order."""
        words = words or spelled_words(texts)
        aligned, whole = self._aligned(words), self._occurring_whole(words)
        document, item, share = (np.concatenate(parts) for parts in zip(aligned, whole, strict=True))
        return document, self.row[item], share

    def _aligned(self, words: Words) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(document, item, coverage) of the verified pairs of items with at least n words."""
        pairs = self._candidates(words)
        shares = _align(
            pairs.document, pairs.item, pairs.diagonal,
            words.hashes, words.flags, words.offsets,
            self.words.hashes, self._telling, self.words.offsets, SPELLED_NUMBERS,
            self._coverages, self._shares, len(self.items),
        )  # fmt: skip
        held = (shares[:, 0] >= self._coverages[pairs.item]) & (shares[:, 1] >= self._shares[pairs.item])
        return pairs.document[held], pairs.item[held], shares[held, 0]

    def _candidates(self, words: Words) -> Pairs:
        """Pairs whose common runs cover enough of the item to make an aligned pair likely."""
        n, table = self.settings.ngram, self._runs
        runs = shingles(words.hashes, words.offsets, n)
        share = CANDIDATE_SHARE * self.settings.coverage
        found = _hopeful(runs.hashes, runs.offsets, *table.lookup, table.starts, table.item, table.position,
                         self.words.counts, n, share)  # fmt: skip
        return Pairs(*found.T)

    def _occurring_whole(self, words: Words) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(document, item, 1.0) where an item shorter than a run occurs as it is."""
        documents, items = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        starts = _may_begin(words.hashes, words.offsets, self._beginnings)
        within = np.searchsorted(words.offsets, starts, side="right") - 1
        for length, table in self._whole.items():
            fits = starts + length <= words.offsets[within + 1]
            start, document = starts[fits], within[fits]
            place, entry = table.matches(_runs_at(words.hashes, start, length))
            start, document = start[place], document[place]
            free = _stands_alone(words, start, start + length, document, self._wordy[table.item[entry]])
            documents.append(document[free])
            items.append(table.item[entry[free]])
        return np.concatenate(documents), np.concatenate(items), np.ones(sum(map(len, documents)))


@dataclass(frozen=True)
class _RunTable:
    """Runs of items by their hash: rows `starts[k]` to `starts[k + 1]` of `item` and `position` are those of the k-th
    hash, and `lookup` says which hash is the k-th."""

    starts: np.ndarray
    item: np.ndarray
    position: np.ndarray
    lookup: tuple[np.ndarray, np.ndarray, np.ndarray]
    """Hashes, a hash table of their numbers, and a Bloom filter."""

    @classmethod
    def of(cls, hashes: np.ndarray, item: np.ndarray, position: np.ndarray) -> "_RunTable":
        order = np.argsort(hashes, kind="stable")
        ordered = hashes[order]
        starts = np.flatnonzero(np.concatenate([ordered[:1] == ordered[:1], ordered[1:] != ordered[:-1]]))
        keys = ordered[starts]
        return cls(np.append(starts, len(hashes)), item[order], position[order], (keys, *_hashed(keys)))

    def matches(self, runs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(place in `runs`, row of this table) for every match."""
        places, keys = _places(runs, *self.lookup)
        low, counts = self.starts[keys], np.diff(self.starts)[keys]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(places, counts), np.repeat(low, counts) + within


def _column(table: pa.Table, name: str) -> pa.Array:
    column = table[name].combine_chunks()
    return (column if isinstance(column, pa.Array) else column.chunk(0)).cast(pa.large_string())


def _among(hashes: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Whether each of `hashes` is one of the few that are `chosen`."""
    keys, found = np.unique(chosen), np.zeros(len(hashes), np.bool_)
    found[_places(hashes, keys, *_hashed(keys))[0]] = True
    return found


def _stands_alone(
    words: Words, start: np.ndarray, end: np.ndarray, document: np.ndarray, wordy: np.ndarray
) -> np.ndarray:
    """Whether the words before and after cannot go on what is between: beyond a break, or, unless that is `wordy` (some
    words without a number, which may be part of any sentence), a word with letters."""
    ends, begins = end >= words.offsets[document + 1], start <= words.offsets[document]
    behind = np.where(ends, AFTER_BREAK, words.flags[np.where(ends, start, end)])
    before = words.flags[np.where(begins, start, start - 1)]
    follows = (behind & AFTER_BREAK > 0) | (~wordy & (behind & KIND == WORD))
    precedes = begins | (words.flags[start] & AFTER_BREAK > 0) | (~wordy & (before & KIND == WORD))
    return follows & precedes


@numba.njit(cache=True, nogil=True)
def _hashed(keys):
    """(numbers of distinct `keys` by the lower bits of the key, the next free slot if taken; a Bloom filter of them)"""
    size = 2
    while size < 2 * len(keys):
        size *= 2
    slots, bits = np.full(size, -1, np.int32), np.zeros(size * BITS_A_KEY // 128 + 1, np.uint64)
    for number in range(len(keys)):
        slot = np.int64(keys[number] & np.uint64(size - 1))
        while slots[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        slots[slot] = number
        bits[_word(keys[number], bits)] |= _pair(keys[number])
    return slots, bits


@numba.njit(cache=True, nogil=True)
def _word(key, bits):
    """Which word of the Bloom filter has the bits of `key`: by its upper half."""
    return ((key >> np.uint64(32)) * np.uint64(len(bits) - 1)) >> np.uint64(32)


@numba.njit(cache=True, nogil=True)
def _pair(key):
    """The two bits that `key` has in its word of the Bloom filter."""
    return np.uint64(1) << (key & np.uint64(63)) | np.uint64(1) << (key >> np.uint64(6) & np.uint64(63))


@numba.njit(cache=True, nogil=True)
def _places(runs, keys, slots, bits):
    """Places in `runs` that hold a key, and the keys' numbers."""
    places = np.empty(len(runs), np.int64)
    # most runs are no keys: the filter says so, without a branch
    likely = 0
    for place in range(len(runs)):
        pair = _pair(runs[place])
        places[likely] = place
        likely += bits[_word(runs[place], bits)] & pair == pair
    # the others are looked up
    numbers, found = np.empty(likely, np.int64), 0
    for place in places[:likely]:
        slot = np.int64(runs[place] & np.uint64(len(slots) - 1))
        while slots[slot] >= 0 and keys[slots[slot]] != runs[place]:
            slot = (slot + 1) & (len(slots) - 1)
        places[found], numbers[found] = place, slots[slot]
        found += slots[slot] >= 0
    return places[:found], numbers[:found]


@numba.njit(cache=True, nogil=True)
def _beginning(hashes, place):
    """The entry of the table of beginnings that stands for the LEAST_WORDS words at `place`."""
    value = (hashes[place] * SHINGLE_PRIME + hashes[place + 1]) * SHINGLE_PRIME + hashes[place + 2]
    return value >> np.uint64(64 - BEGINNING_BITS)


@numba.njit(cache=True, nogil=True)
def _beginnings(hashes, starts):
    """The table of the beginnings at `starts`."""
    table = np.zeros(1 << BEGINNING_BITS, np.uint8)
    for start in starts:
        table[_beginning(hashes, start)] = 1
    return table


@numba.njit(cache=True, nogil=True)
def _may_begin(hashes, offsets, table):
    """Places whose LEAST_WORDS words are in the table of beginnings."""
    places, found = np.empty(len(hashes), np.int64), 0
    for text in range(len(offsets) - 1):
        for place in range(offsets[text], offsets[text + 1] - LEAST_WORDS + 1):
            places[found] = place
            found += table[_beginning(hashes, place)]
    return places[:found].copy()


@numba.njit(cache=True, nogil=True)
def _runs_at(hashes, places, length):
    """The hashes of the runs of `length` words at `places`, as `shingles` has them."""
    out = np.empty(len(places), np.uint64)
    for number in range(len(places)):
        out[number] = run_hash(hashes, places[number], length)
    return out


@numba.njit(cache=True, nogil=True)
def _hopeful(runs, offsets, keys, slots, bits, starts, item, position, item_words, n, share):
    """Rows (document, item, diagonal) for each pair whose common runs cover `share` of the item's words.

    Most pairs have a run or two in common: these are counted and no more is worked out for them."""
    places, numbers = _places(runs, keys, slots, bits)
    common, start = np.zeros(len(item_words), np.int64), np.empty(len(item_words), np.int64)
    seen, pairs = np.empty(len(item_words), np.int64), np.empty((64, 3), np.int64)
    found, low, high = 0, 0, 0
    for document in range(len(offsets) - 1):
        while high < len(places) and places[high] < offsets[document + 1]:
            high += 1
        if low == high:
            continue
        items = seen[: _count(numbers[low:high], starts, item, common, seen)]
        # 1. Of the items that share a run, keep those whose runs, if they did not overlap, would cover enough: few.
        hopeful = items[common[items] * n / item_words[items] >= share]
        start[items] = -1
        start[hopeful] = np.cumsum(common[hopeful]) - common[hopeful]
        # 2. For these, collect the position of every match in the item, and its diagonal: place minus position.
        shifted = places[low:high] - offsets[document]
        positions, diagonals = _gather(numbers[low:high], shifted, starts, item, position, start, common[hopeful].sum())
        for one in hopeful:
            own = slice(start[one] - common[one], start[one])
            # 3. Overlapping runs count once. The commonest diagonal says where the item lies in the document.
            if _covered(positions[own], n) / item_words[one] >= share:
                pairs = _longer(pairs, 2 * found) if found == len(pairs) else pairs
                pairs[found] = document, one, _commonest(diagonals[own])
                found += 1
        # Only the counts that were used are reset: most items do not occur in a document.
        common[items] = 0
        low = high
    return pairs[:found]


@numba.njit(cache=True, nogil=True)
def _count(numbers, starts, item, common, seen):
    """Add up in `common` the matches of each item; returns how many items there are, which `seen` then begins with."""
    items = 0
    for number in numbers:
        for row in range(starts[number], starts[number + 1]):
            if not common[item[row]]:
                seen[items] = item[row]
                items += 1
            common[item[row]] += 1
    return items


@numba.njit(cache=True, nogil=True)
def _gather(numbers, places, starts, item, position, start, total):
    """Positions and diagonals of the `total` matches of items with a `start`, item by item from there on; it moves to
    their end."""
    positions, diagonals = np.empty(total, np.int64), np.empty(total, np.int64)
    if not total:
        return positions, diagonals
    for number, place in zip(numbers, places):  # noqa: B905  numba has no strict
        for row in range(starts[number], starts[number + 1]):
            at = start[item[row]]
            if at >= 0:
                positions[at], diagonals[at] = position[row], place - position[row]
                start[item[row]] += 1
    return positions, diagonals


@numba.njit(cache=True, nogil=True)
def _covered(positions, n):
    """How many words the union of runs [position, position + n) holds."""
    positions.sort()
    covered = n
    for gap in np.diff(positions):
        covered += min(n, gap)
    return covered


@numba.njit(cache=True, nogil=True)
def _commonest(values):
    """The commonest of `values`, the smallest of several."""
    values.sort()
    best, most, count = values[0], 0, 0
    for place in range(len(values)):
        count = count + 1 if place and values[place] == values[place - 1] else 1
        if count > most:
            best, most = values[place], count
    return best


@numba.njit(cache=True, nogil=True)
def _longer(rows, length):
    out = np.empty((length, rows.shape[1]), rows.dtype)
    out[: len(rows)] = rows
    return out


@numba.njit(cache=True, nogil=True)
def _edits(item, passage, telling, figures, glued):
    """(edits, telling words matched, numbers replaced by others) of the best alignment of all of `item` with any part
    of `passage`: fewest words replaced, left out or put in, of several alignments one that matches most that is
    telling, and of these one that replaces most. `telling`: 2 for a number of the item, 1 for what else must match;
    `figures`: whether a word of the passage is a number. One that is put in counts as replaced if the item is `glued`:
    2^{232} is no 2^{32} whose script was lost."""
    edit, match = 1 << 40, 1 << 20  # a cell holds edits · 2^40 - matched · 2^20 - replaced, to be minimised
    row = np.zeros(len(passage) + 1, np.int64)
    for i in range(len(item)):
        diagonal = row[0]
        row[0] = (i + 1) * edit
        gain, loss = match * (telling[i] > 0), telling[i] == 2
        for j in range(len(passage)):
            above = row[j + 1]
            same = diagonal - gain if item[i] == passage[j] else diagonal + edit - (loss & figures[j])
            row[j + 1] = min(same, above + edit, row[j] + edit - (glued & figures[j]))
            diagonal = above
    best = row.min()
    edits = (best + edit // 2) // edit
    matched = (edits * edit - best) // match
    return edits, matched, edits * edit - best - matched * match


@numba.njit(cache=True, nogil=True)
def _as_it_is(item, passage):
    """Whether `passage` begins with all of `item`."""
    for place in range(len(item)):  # noqa: SIM110  numba has no all()
        if item[place] != passage[place]:
            return False
    return True


@numba.njit(cache=True, nogil=True)
def _most(item, telling, passage, counts):
    """(words, telling ones) of `item` that `passage` may hold: never fewer than any alignment matches."""
    counts[:] = 0
    for word in passage:
        counts[word >> np.uint64(64 - PASSAGE_BITS)] += 1
    words, numbers = 0, 0
    for place in range(len(item)):
        entry = item[place] >> np.uint64(64 - PASSAGE_BITS)
        found = counts[entry] > 0
        counts[entry] -= found
        words += found
        numbers += found & (telling[place] > 0)
    return words, numbers


@numba.njit(cache=True, nogil=True)
def _align(
    document,
    item,
    diagonal,
    hashes,
    flags,
    offsets,
    item_hashes,
    item_telling,
    item_offsets,
    spelled,
    coverage,
    least,
    plain,
):
    """Shares of the item's words, and of what tells it from others, that align with the passage, [pairs, 2]: 0 for
    pairs that cannot reach the item's `coverage` and `least`, which are not aligned. A number in whose place another
    stands weighs REPLACED. Items from `plain` on are glued."""
    out, counts = np.ones((len(document), 2), np.float64), np.empty(1 << PASSAGE_BITS, np.int32)
    for pair in range(len(document)):
        low, high = item_offsets[item[pair]], item_offsets[item[pair] + 1]
        slack = (high - low) // 4 + 8
        first = offsets[document[pair]] + diagonal[pair]
        start = max(first - slack, offsets[document[pair]])
        stop = min(first + (high - low) + slack, offsets[document[pair] + 1])
        if start <= first <= stop - (high - low) and _as_it_is(item_hashes[low:high], hashes[first:stop]):
            continue
        telling = item_telling[low:high]
        total = np.sum(telling > 0)
        words, numbers = _most(item_hashes[low:high], telling, hashes[start:stop], counts)
        if 1.0 - (high - low - words) / (high - low) < coverage[item[pair]] or (
            total and numbers / total < least[item[pair]]
        ):
            out[pair] = 0.0
            continue
        figures = (flags[start:stop] & KIND) == NUMBER
        for number in spelled:
            figures |= hashes[start:stop] == number
        edits, matched, replaced = _edits(
            item_hashes[low:high], hashes[start:stop], telling, figures, item[pair] >= plain
        )
        out[pair, 0] = max(0.0, 1.0 - edits / (high - low))
        if total:
            out[pair, 1] = max(0.0, (matched - (REPLACED - 1) * replaced) / total)
    return out

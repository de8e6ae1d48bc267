"""Quality rules that respect mathematics: scores of every document, and the limits that they are held to.

Stock web rules drop nearly all LaTeX (alphabetic ratio, braces), so symbols count only outside of mathematics. Scores:

    words          words of `curation.measures.words`: runs of letters, numbers, operators
    boilerplate    phrases of menus and notices per word
    symbol_ratio   symbols outside of $…$, \\[…\\], \\(…\\) and environments, per word
    repetition     share of 5-word runs that occurred before in the text and hold three different words, so that truth
                   tables, matrices and ruled lines do not count; 0 below 20 runs
    loop           share of the words that go on repeating a passage, of any length, that stands five times or more
                   without a break; 40 words at least, 400 of numbers and operators alone (a zero matrix is no loop)
    math_density   (formulas + numbers + operators + LaTeX commands + mathematical terms) per word, at most 1

Each of RULES says why it is there and whose rule it follows; which of several is named, `manifests.drop_reasons` says.
`python -m benchmarks.quality` shows what they drop from documents of your own. Leaves out classifiers, which are
columns like these; loops whose passages differ in a number (a list of multiples is one); and loops within one word.
"""

import json
from dataclasses import dataclass

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.config import QualityRecipe
from curation.measures.words import NUMBER, OPERATOR, WORD, Words, shingles, split
from curation.roles import PROSE, Role
from manifests.drop_reasons import DropReason


@dataclass(frozen=True)
class Limit:
    """A limit as `curation.corpus.decide` applies it: a document of one of `roles` whose `score` lies under `least` or
    over `most` is dropped as `reason`."""

    reason: DropReason
    score: str
    roles: tuple[Role, ...]
    least: float | None = None
    most: float | None = None
    digits: int = 4

    def broken(self, rows: pa.Table) -> pa.ChunkedArray:
        """Whether each row breaks it. A score that is NULL breaks nothing."""
        score = rows[self.score]
        beyond = pc.less(score, self.least) if self.least is not None else pc.greater(score, self.most)
        return pc.and_(pc.is_in(rows["role"], pa.array(self.roles, pa.string())), pc.fill_null(beyond, False))

    def evidence(self, rows: pa.Table) -> list[str]:
        """JSON of rows that break it: the score, rounded, beside the limit."""
        limit = self.most if self.least is None else self.least
        values = (round(value, self.digits) for value in rows[self.score].to_pylist())
        return [json.dumps({"score": self.score, "value": value, "limit": limit}) for value in values]


@dataclass(frozen=True)
class Rule:
    """A reason to drop a document: `score` beyond the recipe's `limit`, for documents of `roles`."""

    name: DropReason
    score: str
    limit: str
    roles: tuple[Role, ...]
    why: str
    follows: str

    def of(self, quality: QualityRecipe) -> Limit:
        """The rule with the recipe's limit."""
        bound = "least" if self.limit.startswith("min") else "most"
        return Limit(self.name, self.score, self.roles, **{bound: getattr(quality, self.limit)})


ALL_BUT_RL: tuple[Role, ...] = ("web", "qa", "long_cot", "instruct", "code", "general")
RULES = (
    Rule(
        DropReason.TOO_SHORT, "words", "min_words", PROSE,
        "Titles, error pages and stubs teach nothing.",
        "Gopher (Rae et al. 2021, A1.1) asks for 50 words; a problem with its solution is often shorter.",
    ),
    Rule(
        DropReason.BOILERPLATE, "boilerplate", "max_boilerplate", PROSE,
        "The page is menus, notices and prompts to subscribe.",
        "C4 (Raffel et al. 2020, 2.2) removes lines with such phrases; here their share counts, and lines stay.",
    ),
    Rule(
        DropReason.SYMBOLS, "symbol_ratio", "max_symbol_ratio", PROSE,
        "Markup, tables and lists of links that the extraction left.",
        "Gopher's symbol-to-word ratio of 0.1, with more symbols and none of those in mathematics.",
    ),
    Rule(
        DropReason.NOT_MATHEMATICAL, "math_density", "min_math_density", ("web",),
        "The page has no mathematics.",
        "OpenWebMath (Paster et al. 2023) keeps pages with LaTeX or a maths score; a classifier is finer.",
    ),
    Rule(
        DropReason.LOOP, "loop", "max_loop", ALL_BUT_RL,
        "A model that wrote or rewrote the text fell into a loop, often to the end of the text.",
        "Degeneration (Holtzman et al. 2020), seen in MegaMath-Web-Pro-Max; five in a row as in OctoThinker's reward.",
    ),
    Rule(
        DropReason.REPETITION, "repetition", "max_repetition", ALL_BUT_RL,
        "The same sentences over and over.",
        "Gopher's duplicate n-grams (0.15 of the characters for 5-grams); derivations repeat more, so 0.6.",
    ),
)  # fmt: skip
SCORES = ("words", "boilerplate", "symbol_ratio", "repetition", "loop", "math_density")

BOILERPLATE = "(?i)" + "|".join(
    (
        r"(use|accept|all|our) cookies", r"cookie (policy|settings)", r"subscribe to", r"our newsletter", r"\blog in\b",
        r"\bsign (in|up)\b", r"all rights reserved", r"terms of (use|service)", r"privacy policy", r"share on \w+",
        r"follow us", r"click here", r"read more", r"add to cart", r"back to top", r"forgot your password",
        r"contact us", r"copyright (\(c\)|©|\d{4})", r"\bsitemap\b",
    )
)  # fmt: skip
MATHEMATICS = r"(?s)\$\$.*?\$\$|\$[^$\n]*\$|\\\[.*?\\\]|\\\(.*?\\\)|\\begin\{\w+\*?\}.*?\\end\{\w+\*?\}"
SYMBOLS = r"[#|~@&»«•►…■◦→]|={3,}|\*{3,}|_{3,}|-{3,}"
COMMAND = r"\\[A-Za-z]+"
TERMS = [
    "algebra algebraic angle angles arithmetic axiom bound calculus coefficient coefficients complex compute "
    "conjecture constant converges coordinate cosine cube degree denominator derivative determinant diagonal diameter "
    "differential digit digits discriminant divide divided divisible divisor ellipse equal equals equation equations "
    "exponent expression factor factors formula fraction fractions function functions geometric geometry graph "
    "hypotenuse identity inequality infinity integer integers integral interval inverse lemma limit linear logarithm "
    "mathematical mathematics matrices matrix maximum minimum modulo multiple multiply negative number numbers "
    "numerator parabola permutation perpendicular polygon polynomial polynomials positive prime primes probability "
    "product proof prove quadratic quotient radius ratio rational real recursion remainder root roots sequence series "
    "sine slope solution solve square sum tangent term terms theorem triangle triangles variable variables vector "
    "vectors volume zero"
]
TERM_HASHES = np.unique(split(TERMS).hashes)
TERM_BITS = 16
MAY_BE_TERM = np.zeros(1 << TERM_BITS, np.bool_)
MAY_BE_TERM[TERM_HASHES >> np.uint64(64 - TERM_BITS)] = True
"""By the upper bits of a hash: 499 words in 500 are told from a term without a search."""
RUN_WORDS, LEAST_RUNS, LEAST_DIFFERENT = 5, 20, 3
LOOP_TIMES, LOOP_LEAST, LOOP_LEAST_NUMBERS = 5, 40, 400
FORMULA = "\x01"
"""Stands for a formula while symbols are counted; no normalised text has it."""


def scores(texts: pa.Array, words: Words) -> dict[str, np.ndarray]:
    """Each of SCORES for each text, float64. A formula that changes needs a new `curation.tasks.RULES_VERSION`, and a
    new limit the default None: tests/test_identity_pins.py says when either was forgotten."""
    per_word = 1.0 / np.maximum(words.counts, 1)
    prose = pc.replace_substring_regex(texts, MATHEMATICS, FORMULA)
    formulas = _numbers(pc.count_substring(prose, FORMULA))
    repetition, loop = _repetition(words)
    return {
        "words": words.counts.astype(np.float64),
        "boilerplate": _found(texts, BOILERPLATE) * per_word,
        "symbol_ratio": _found(prose, SYMBOLS) * per_word,
        "repetition": repetition,
        "loop": loop,
        "math_density": np.minimum((formulas + _found(texts, COMMAND) + _mathematical(words)) * per_word, 1.0),
    }


def _numbers(counts: pa.Array) -> np.ndarray:
    return counts.to_numpy(zero_copy_only=False).astype(np.float64)


def _found(texts: pa.Array, pattern: str) -> np.ndarray:
    return _numbers(pc.count_substring_regex(texts, pattern))


def _mathematical(words: Words) -> np.ndarray:
    """Numbers, operators and mathematical terms in each text."""
    hit = (words.kinds == NUMBER) | (words.kinds == OPERATOR)
    places = np.flatnonzero(MAY_BE_TERM[words.hashes >> np.uint64(64 - TERM_BITS)])
    hit[places] |= np.isin(words.hashes[places], TERM_HASHES)
    running = np.concatenate([[0], np.cumsum(hit)])
    return running[words.offsets[1:]] - running[words.offsets[:-1]]


def repetition(texts: pa.Array) -> np.ndarray:
    """Share of each text that repeats itself, float64: the larger of its scores repetition and loop."""
    return np.maximum(*_repetition(split(texts)))


def _repetition(words: Words) -> tuple[np.ndarray, np.ndarray]:
    """(repetition, loop) of each text."""
    runs = shingles(words.hashes, words.offsets, RUN_WORDS)
    return _repeated_shares(runs.hashes, runs.offsets, words.hashes, words.kinds == WORD, words.offsets)


@numba.njit(cache=True, nogil=True)
def _repeated_shares(runs, run_offsets, words, spelled, offsets):
    texts = len(offsets) - 1
    repetition, loop = np.zeros(texts, np.float64), np.zeros(texts, np.float64)
    longest = 1
    for text in range(texts):
        longest = max(longest, run_offsets[text + 1] - run_offsets[text])
    slots = 2
    while slots < 2 * longest:
        slots *= 2
    table, owner, latest = np.zeros(slots, np.uint64), np.full(slots, -1, np.int64), np.zeros(slots, np.int64)
    for text in range(texts):
        mine, start, stop = runs[run_offsets[text] : run_offsets[text + 1]], offsets[text], offsets[text + 1]
        if len(mine) >= LEAST_RUNS:
            repeated, looped = _repeats(mine, words[start:stop], spelled[start:stop], text, table, owner, latest)
            repetition[text], loop[text] = repeated / len(mine), looped / (stop - start)
    return repetition, loop


@numba.njit(cache=True, nogil=True)
def _repeats(runs, words, spelled, text, table, owner, latest):
    """(runs of several words that occurred before, words that go on with a loop). A slot of the hash table is free
    unless `text` owns it; `latest` is where its run was last. Where a run stood `period` words before, the words from
    here on are compared with those `period` before; the latest such comparison is not made twice."""
    mask, least_slots = 0, 2 * len(runs)
    while mask + 1 < least_slots:
        mask = 2 * mask + 1
    repeated, looped, end, compared = 0, 0, 0, 0
    for place in range(len(runs)):
        run = runs[place]
        slot = np.int64(run & np.uint64(mask))
        while owner[slot] == text and table[slot] != run:
            slot = (slot + 1) & mask
        if owner[slot] == text:
            repeated += _different(words, spelled, place, place + RUN_WORDS) >= LEAST_DIFFERENT
            period = place - latest[slot]
            least = max(LOOP_LEAST, (LOOP_TIMES - 1) * period)
            if place >= end and place + least <= len(words) and period != compared:
                reach = _same_until(words, place, period)
                if not spelled[place : place + period].any():
                    least = max(least, LOOP_LEAST_NUMBERS)
                if reach - place >= least:
                    looped, end = looped + reach - place, reach
                compared = period
        else:
            compared = 0
        table[slot], owner[slot], latest[slot] = run, text, place
    return repeated, looped


@numba.njit(cache=True, nogil=True)
def _same_until(words, place, period):
    while place < len(words) and words[place] == words[place - period]:
        place += 1
    return place


@numba.njit(cache=True, nogil=True)
def _different(words, spelled, start, stop):
    """Different words of letters from `start` to `stop`, no further than LEAST_DIFFERENT."""
    found = 0
    for place in range(start, stop):
        new = spelled[place]
        for before in range(start, place):
            new &= words[before] != words[place]
        found += new
        if found == LEAST_DIFFERENT:
            break
    return found

"""Quality rules that respect mathematics: scores of every document, and the limits that they are held to.

Stock web rules drop nearly all LaTeX (alphabetic ratio, braces), so symbols count only outside of mathematics. Scores:

    words          words of `curation.words`: runs of letters, numbers, operators
    boilerplate    phrases of menus and notices per word
    symbol_ratio   symbols outside of $…$, \\[…\\], \\(…\\) and environments, per word
    repetition     share of 5-word runs that occurred before in the text; 0 below 20 runs. Loops of rewriting models
                   (MegaMath-Web-Pro-Max has some) come near 1
    math_density   (numbers + operators + LaTeX commands + mathematical terms) per word, at most 1

Rules, in the order in which the first broken one is named: too_short, boilerplate, symbols, not_mathematical for pages
(the last for role web alone), repetition for every role but rl. Leaves out classifiers; they are columns like these.
"""

import json
from dataclasses import dataclass

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.config import PROSE, QualityRecipe, Role
from curation.words import NUMBER, OPERATOR, Shingles, Words, shingles, split

UNREPEATED: tuple[Role, ...] = ("web", "qa", "long_cot", "instruct", "code", "general")
"""Roles that the rule against repetition applies to."""
SCORES = ("words", "boilerplate", "symbol_ratio", "repetition", "math_density")

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
LOOP_WORDS, LOOP_RUNS = 5, 20


def scores(texts: pa.Array, words: Words) -> dict[str, np.ndarray]:
    """Each of SCORES for each text, float64."""
    per_word = 1.0 / np.maximum(words.counts, 1)
    prose = pc.replace_substring_regex(texts, MATHEMATICS, " ")
    return {
        "words": words.counts.astype(np.float64),
        "boilerplate": _found(texts, BOILERPLATE) * per_word,
        "symbol_ratio": _found(prose, SYMBOLS) * per_word,
        "repetition": _repeated(shingles(words.hashes, words.offsets, LOOP_WORDS)),
        "math_density": np.minimum((_found(texts, COMMAND) + _mathematical(words)) * per_word, 1.0),
    }


def _found(texts: pa.Array, pattern: str) -> np.ndarray:
    return pc.count_substring_regex(texts, pattern).to_numpy(zero_copy_only=False).astype(np.float64)


def _mathematical(words: Words) -> np.ndarray:
    """Numbers, operators and mathematical terms in each text."""
    hit = (words.kinds == NUMBER) | (words.kinds == OPERATOR)
    places = np.flatnonzero(MAY_BE_TERM[words.hashes >> np.uint64(64 - TERM_BITS)])
    hit[places] |= np.isin(words.hashes[places], TERM_HASHES)
    running = np.concatenate([[0], np.cumsum(hit)])
    return running[words.offsets[1:]] - running[words.offsets[:-1]]


def _repeated(runs: Shingles) -> np.ndarray:
    return _repeated_share(runs.hashes, runs.offsets, LOOP_RUNS)


@numba.njit(cache=True, nogil=True)
def _repeated_share(hashes, offsets, least):
    out = np.zeros(len(offsets) - 1, np.float64)
    longest = 1
    for text in range(len(offsets) - 1):
        longest = max(longest, offsets[text + 1] - offsets[text])
    slots = 2
    while slots < 2 * longest:
        slots *= 2
    table, owner = np.zeros(slots, np.uint64), np.full(slots, -1, np.int64)
    for text in range(len(offsets) - 1):
        runs = hashes[offsets[text] : offsets[text + 1]]
        if len(runs) >= least:
            out[text] = _repeats(runs, text, table, owner) / len(runs)
    return out


@numba.njit(cache=True, nogil=True)
def _repeats(runs, text, table, owner):
    """How many of `runs` occurred before among them. A slot of the hash table is free unless `text` owns it."""
    mask, least_slots = 0, 2 * len(runs)
    while mask + 1 < least_slots:
        mask = 2 * mask + 1
    repeated = 0
    for run in runs:
        slot = np.int64(run & np.uint64(mask))
        while owner[slot] == text and table[slot] != run:
            slot = (slot + 1) & mask
        repeated += owner[slot] == text
        table[slot], owner[slot] = run, text
    return repeated


@dataclass(frozen=True)
class Limit:
    """A rule: a document of one of `roles` whose `score` lies under `least` or over `most` is dropped as `reason`."""

    reason: str
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

    def evidence(self, value: float) -> str:
        """JSON: the score, rounded, beside the limit."""
        limit = self.most if self.least is None else self.least
        return json.dumps({"score": self.score, "value": round(value, self.digits), "limit": limit})


def limits(quality: QualityRecipe) -> tuple[Limit, ...]:
    """The quality rules, in the order in which the first broken one is named."""
    return (
        Limit("too_short", "words", PROSE, least=quality.min_words),
        Limit("boilerplate", "boilerplate", PROSE, most=quality.max_boilerplate),
        Limit("symbols", "symbol_ratio", PROSE, most=quality.max_symbol_ratio),
        Limit("not_mathematical", "math_density", ("web",), least=quality.min_math_density),
        Limit("repetition", "repetition", UNREPEATED, most=quality.max_repetition),
    )

"""Quality rules that respect mathematics: scores for every document, and the first rule each one breaks.

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

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.config import PROSE, QualityRecipe, Role
from curation.words import NUMBER, OPERATOR, Shingles, Words, shingles, split

RULES = ("too_short", "boilerplate", "symbols", "not_mathematical", "repetition")
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


def repetition(texts: pa.Array) -> np.ndarray:
    """The score of that name for each text, float64."""
    words = split(texts)
    return _repeated(shingles(words.hashes, words.offsets, LOOP_WORDS))


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


def judge(found: dict[str, np.ndarray], role: Role, limits: QualityRecipe) -> tuple[np.ndarray, list[str | None]]:
    """(index into RULES of the first rule broken, -1 for none; evidence JSON or None) of each document of one role."""
    page, count = role in PROSE, len(found["words"])
    broken = {
        "too_short": page & (found["words"] < limits.min_words),
        "boilerplate": page & (found["boilerplate"] > limits.max_boilerplate),
        "symbols": page & (found["symbol_ratio"] > limits.max_symbol_ratio),
        "not_mathematical": (role == "web") & (found["math_density"] < limits.min_math_density),
        "repetition": (role != "rl") & (found["repetition"] > limits.max_repetition),
    }
    first = np.full(count, -1, np.int8)
    for position in reversed(range(len(RULES))):
        first[broken[RULES[position]]] = position
    return first, [
        _evidence(found, row, rule, limits) if rule >= 0 else None for row, rule in enumerate(first.tolist())
    ]


def _evidence(found: dict[str, np.ndarray], row: int, rule: int, limits: QualityRecipe) -> str:
    score, limit = {
        "too_short": ("words", limits.min_words),
        "boilerplate": ("boilerplate", limits.max_boilerplate),
        "symbols": ("symbol_ratio", limits.max_symbol_ratio),
        "not_mathematical": ("math_density", limits.min_math_density),
        "repetition": ("repetition", limits.max_repetition),
    }[RULES[rule]]
    return json.dumps({"score": score, "value": round(float(found[score][row]), 4), "limit": limit})

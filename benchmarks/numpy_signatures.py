"""The words, shingles and signatures of `curation.measures.words` and `curation.measures.signatures` by numpy alone:
their oracle.

Whole batches at a time: what a byte is follows from the few bytes around it, so that words are found by comparing
shifted arrays; the hashes of all words advance together, byte by byte, the longest words first. The product has numba
and does not need this; the benchmark shows what it would cost to do without, and a test that both say the same. For
texts of valid UTF-8, as Arrow holds them.
"""

import numpy as np
import pyarrow as pa

from curation.config import NearDuplicatesRecipe
from curation.measures.signatures import permutations
from curation.measures.words import (
    AFTER_BREAK,
    CLASSES,
    FNV_OFFSET,
    FNV_PRIME,
    LOWER,
    NUMBER,
    OPERATOR,
    SCRIPTS,
    SHINGLE_PRIME,
    WORD,
    utf8,
)

SPACE, LETTER, DIGIT, SIGN, BREAK, ALONE, LEAD = range(7)
MARGIN = 4
"""Bytes of zeros around and between texts, so that no text is seen from another."""


def numpy_signatures(texts: pa.Array, settings: NearDuplicatesRecipe) -> np.ndarray:
    """uint32 [texts, bands · rows]: the signature of each text."""
    hashes, _, offsets = numpy_words(texts)
    return _signatures(*_shingles(hashes, offsets, settings.shingle), *permutations(settings.bands * settings.rows))


def numpy_words(texts: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(hashes, flags, offsets) as `curation.measures.words.split` gives them."""
    data, starts = _spaced(texts)
    raw = CLASSES[data]
    kind, first = _kinds(data, raw)
    places = np.flatnonzero(first)
    offsets = np.searchsorted(places, starts)
    since = np.diff(np.searchsorted(np.flatnonzero(kind == BREAK), places), prepend=0) > 0
    since[offsets[:-1][np.diff(offsets) > 0]] = True
    kinds = np.select([kind[places] == SIGN, kind[places] == DIGIT], [OPERATOR, NUMBER], WORD).astype(np.uint8)
    return _word_hashes(data, kind, first), kinds | np.where(since, AFTER_BREAK, 0).astype(np.uint8), offsets


def _spaced(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Bytes of all texts with MARGIN zeros around each, and where each begins and the last ends."""
    data, offsets = utf8(texts)
    shift = np.arange(len(offsets)) * MARGIN + MARGIN
    out = np.zeros(len(data) + len(offsets) * MARGIN + MARGIN, np.uint8)
    starts = offsets + shift
    for text in range(len(offsets) - 1):
        out[starts[text] : starts[text] + offsets[text + 1] - offsets[text]] = data[offsets[text] : offsets[text + 1]]
    return out, starts


def _at(values: np.ndarray, distance: int) -> np.ndarray:
    """What stands `distance` places further on; zeros beyond the ends."""
    out = np.zeros_like(values)
    if distance > 0:
        out[:-distance] = values[distance:]
    else:
        out[-distance:] = values[:distance]
    return out


def _kinds(data: np.ndarray, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The class of each byte, what joins digits being DIGIT; and whether a word begins there."""
    kind = np.where(raw == LEAD, LETTER, raw).astype(np.uint8)
    later = _foreign(data, kind, np.flatnonzero(raw == LEAD))
    letters = (raw == LETTER) | (raw == LEAD)
    around = _at(letters, -2) & _at(letters, -1) & _at(letters, 1) & _at(letters, 2)
    kind[(data == 45) & around] = SPACE
    digit = raw == DIGIT
    following = _at(digit, -1) & _at(digit, 1)
    thousands = following & (data == 44) & _at(digit, 2) & _at(digit, 3) & ~_at(digit, 4)
    kind[following & (data == 46) | thousands] = DIGIT
    run = (kind == LETTER) | (kind == DIGIT)
    first = run & (_at(kind, -1) != kind) | (kind == SIGN) | (kind == ALONE)
    first[later] = False
    return kind, first


def _foreign(data: np.ndarray, kind: np.ndarray, leads: np.ndarray) -> np.ndarray:
    """Set the kinds of characters of several bytes that are no letters; returns where the later bytes of words are."""
    second, third = data[leads + 1], data[leads + 2]
    table = SCRIPTS[np.maximum(data[leads].astype(np.int64) - 0xE0, 0) * 256 + second]
    fullwidth = (data[leads] == 0xEF) & (third >= 0x90) & (third <= 0x99)
    latin = np.where((second == 0x97) | (second == 0xB7), SIGN, LETTER)  # × ÷
    found = np.where(data[leads] == 0xC3, latin, np.where(fullwidth, LETTER, table))
    length = np.select([data[leads] == 0xC3, data[leads] >= 0xF0], [2, 4], 3)
    later = [np.empty(0, np.int64)]
    for place in range(4):
        own = (found != LETTER) & (place < length)
        kind[leads[own] + place] = found[own]
        later.append(leads[own & (found != BREAK)] + place)
    return np.concatenate(later[2:])


def _word_hashes(data: np.ndarray, kind: np.ndarray, first: np.ndarray) -> np.ndarray:
    """FNV-1a of each word, mixed; the commas of 1,000 left out."""
    hashed = (kind != SPACE) & (kind != BREAK) & ~((kind == DIGIT) & (data == 44))
    values = LOWER.astype(np.uint8)[data[hashed]]
    at = np.flatnonzero(first[hashed])
    lengths = np.diff(at, append=len(values))
    order = np.argsort(-lengths.astype(np.int16 if lengths.max(initial=0) < 1 << 15 else np.int64), kind="stable")
    at, active = at[order], np.searchsorted(-lengths[order], -np.arange(lengths.max(initial=0)))
    out = np.full(len(at), FNV_OFFSET, np.uint64)
    for count in active.tolist():
        out[:count] ^= values[at[:count]]
        out[:count] *= FNV_PRIME
        at[:count] += 1
    hashes = np.empty_like(out)
    hashes[order] = _mix(out)
    return hashes


def _mix(values: np.ndarray) -> np.ndarray:
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        values = (values ^ (values >> np.uint64(33))) * np.uint64(factor)
    return values ^ (values >> np.uint64(33))


def _shingles(hashes: np.ndarray, offsets: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(hashes, offsets) of the runs of `n` words of each text, of all of them where there are fewer."""
    counts = np.diff(offsets)
    runs = np.where(counts, np.maximum(counts - n + 1, 1), 0)
    starts = np.concatenate([[0], np.cumsum(runs)])
    first = np.arange(starts[-1]) + np.repeat(offsets[:-1] - starts[:-1], runs)
    width = np.repeat(np.minimum(counts, n), runs)
    padded = np.concatenate([hashes, np.zeros(n, np.uint64)])
    out = np.zeros(starts[-1], np.uint64)
    for place in range(n):
        out = np.where(place < width, out * SHINGLE_PRIME + padded[first + place], out)
    return _mix(out), starts


def _signatures(runs: np.ndarray, offsets: np.ndarray, multipliers: np.ndarray, increments: np.ndarray) -> np.ndarray:
    values = runs.astype(np.uint32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        values = (values ^ (values >> np.uint32(shift))) * np.uint32(factor)
    values ^= values >> np.uint32(16)
    out = np.full((len(offsets) - 1, len(multipliers)), 0xFFFFFFFF, np.uint32)
    multipliers, increments = multipliers[:, None], increments[:, None]
    room = np.empty(len(multipliers) * np.diff(offsets).max(initial=0), np.uint32)
    for text, (start, end) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        if end > start:
            permuted = room[: len(multipliers) * (end - start)].reshape(len(multipliers), end - start)
            np.multiply(multipliers, values[start:end], out=permuted)
            permuted += increments
            permuted.min(axis=1, out=out[text])
    return out

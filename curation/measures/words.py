"""Text as hashed words: the tokenisation that quality rules, near-duplicates and decontamination share.

A word is a run of letters, lower-cased where ASCII, or a number (`1,000` is 1000, `3.5` is one word), or one operator
of `+ - * / = < > ^ % !` or of Unicode's; a hyphen within words (`two-digit`) is not an operator. Letters and digits
never share a word, and braces, `$`, backslashes, punctuation and spaces only separate; so `2x`, `2 x` and `{2}x` are
the same words, and the spacing of LaTeX does not matter. Every byte of other UTF-8 text counts as a letter. Scripts
that put no spaces between words (Chinese and Japanese, Thai, Lao, Burmese, Khmer) give a word per character, which for
Thai and its neighbours is more than a reader would count; their punctuation separates.

All functions work on flat arrays over a whole batch: compiled loops over Arrow buffers, no Python per word.
"""

from dataclasses import dataclass

import numba
import numpy as np
import pyarrow as pa

WORD, NUMBER, OPERATOR = 0, 1, 2
KIND = np.uint8(3)
"""Mask of the kind within a flag."""
AFTER_BREAK = np.uint8(4)
"""Flag: punctuation or the end of a line stands before this word, or it is the first of its text."""
ASKS, LINE_END = np.uint8(8), np.uint8(16)
"""Flags: a question mark, the end of a line follows this word."""

FNV_OFFSET, FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
SHINGLE_PRIME = np.uint64(0x9E3779B97F4A7C15)
MASKS = np.array([0, 0x6E756D626572, 0x6F70657261746F72], np.uint64)
"""The values that replace any number and any operator in a masked shingle."""

_SPACE, _LETTER, _DIGIT, _OPERATOR, _BREAK, _ALONE, _LEAD = range(7)


def _byte_classes() -> np.ndarray:
    classes = np.full(256, _SPACE, np.uint8)
    classes[0x80:] = _LETTER
    classes[[0xC3, *range(0xE0, 0xEA), 0xEF, 0xF0]] = _LEAD  # the bytes after them decide, see _foreign
    for characters, name in (
        ("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", _LETTER),
        ("0123456789", _DIGIT),
        ("+-*/=<>^%!", _OPERATOR),
        ('.,;:?()[]\n"', _BREAK),
    ):
        classes[np.frombuffer(characters.encode(), np.uint8)] = name
    return classes


CLASSES = _byte_classes()


def _script_classes() -> np.ndarray:
    """Class of a character by its first two bytes, for first bytes from 0xE0 on, flat."""
    classes = np.full((32, 256), _LETTER, np.uint8)
    for first, seconds, name in (
        *((first, range(0x80, 0xC0), _ALONE) for first in range(0xE3, 0xEA)),  # kana, Han
        (0xE2, [0x80], _BREAK),  # U+2000 to U+203F: dashes, quotes, ellipsis, bullets
        (0xE2, [0x88, 0x89], _OPERATOR),  # U+2200 to U+227F: mathematical operators
        (0xE3, [0x80], _BREAK),  # U+3000 to U+303F: 。「」
        (0xEF, [0xBC], _BREAK),  # U+FF01 to U+FF1F: （），：
        (0xEF, range(0xA4, 0xAC), _ALONE),
        (0xF0, range(0xA0, 0xB4), _ALONE),  # rare Han
        (0xE0, range(0xB8, 0xBC), _ALONE),  # Thai, Lao
        (0xE1, [0x80, 0x81, 0x9E, 0x9F], _ALONE),  # Burmese, Khmer
    ):
        classes[first - 0xE0, list(seconds)] = name
    return classes.ravel()


SCRIPTS = _script_classes()
BYTES_PER_WORD = 3
"""Room made for words at first: text has 5 to 6 bytes a word, formulas some 2, and room never written costs nothing."""
LOWER = np.arange(256, dtype=np.uint64)
LOWER[65:91] += np.uint64(32)


@dataclass(frozen=True)
class Words:
    """Words of a batch end to end: 64-bit `hashes`, `flags` (kind, AFTER_BREAK, ASKS, LINE_END), `offsets` per text."""

    hashes: np.ndarray
    flags: np.ndarray
    offsets: np.ndarray

    @property
    def kinds(self) -> np.ndarray:
        return self.flags & KIND

    @property
    def counts(self) -> np.ndarray:
        """Words of each text."""
        return np.diff(self.offsets)

    def masked(self) -> np.ndarray:
        """The hashes with every number and every operator replaced by one value each."""
        return np.where(self.kinds == WORD, self.hashes, MASKS[self.kinds])


def split(texts: pa.Array | list[str]) -> Words:
    """The words of each text."""
    data, offsets = utf8(texts)
    return Words(*_split(data, offsets, CLASSES, LOWER))


def utf8(texts: pa.Array | list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of all texts end to end, and int64 offsets. NULL counts as empty."""
    array = pa.array(texts, pa.large_string()) if isinstance(texts, list) else texts
    if not pa.types.is_large_binary(array.type):
        array = array.cast(pa.large_string()).fill_null("")
    offsets = np.frombuffer(array.buffers()[1], np.int64, len(array) + 1, array.offset * 8)
    data = np.frombuffer(array.buffers()[2] or b"", np.uint8)
    return data[offsets[0] : offsets[-1]], offsets - offsets[0]


@dataclass(frozen=True)
class Shingles:
    """Runs of words of a batch end to end, hashed to 64 bits; `offsets` per text."""

    hashes: np.ndarray
    offsets: np.ndarray

    @property
    def short(self) -> np.ndarray:
        """The lower 32 bits, as MinHash takes them."""
        return self.hashes.astype(np.uint32)


def shingles(hashes: np.ndarray, offsets: np.ndarray, n: int) -> Shingles:
    """Every run of `n` words; a text with fewer words has one shingle of all of them, an empty text none."""
    counts = np.diff(offsets)
    starts = np.concatenate([[0], np.cumsum(np.where(counts, np.maximum(counts - n + 1, 1), 0))])
    return Shingles(_shingles(hashes, offsets, starts, n), starts)


@numba.njit(cache=True, nogil=True)
def _mix(value):  # the finalizer of MurmurHash3, 64 bits
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> np.uint64(33))


@numba.njit(cache=True, nogil=True)
def run_hash(hashes, first, n):
    """The hash of the `n` words from `first` on, as `shingles` has it."""
    value = np.uint64(0)
    for position in range(first, first + n):
        value = value * SHINGLE_PRIME + hashes[position]
    return _mix(value)


@numba.njit(cache=True, nogil=True)
def _shingles(hashes, offsets, starts, n):
    """Rolling: the hash of a run is a polynomial in SHINGLE_PRIME, mod 2^64, mixed."""
    out = np.empty(starts[-1], np.uint64)
    leaving = np.uint64(1)
    for _ in range(n):
        leaving *= SHINGLE_PRIME
    for text in range(len(offsets) - 1):
        first, end = offsets[text], offsets[text + 1]
        value = np.uint64(0)
        for position in range(first, min(first + n, end)):
            value = value * SHINGLE_PRIME + hashes[position]
        if end > first:
            out[starts[text]] = _mix(value)
        for position in range(first + n, end):
            value = value * SHINGLE_PRIME + hashes[position] - leaving * hashes[position - n]
            out[starts[text] + position - first - n + 1] = _mix(value)
    return out


@numba.njit(cache=True, nogil=True)
def _foreign(data, at, end):
    """Class and length in bytes of the character that the _LEAD byte at `at` begins."""
    if data[at] == 0xC3:
        return (_OPERATOR, 2) if at + 1 < end and data[at + 1] in (0x97, 0xB7) else (_LETTER, 1)  # × ÷
    if at + 2 >= end or (data[at] == 0xEF and 0x90 <= data[at + 2] <= 0x99):  # fullwidth digits
        return _LETTER, 1
    kind = np.int64(SCRIPTS[(np.int64(data[at]) - 0xE0) * 256 + data[at + 1]])
    return kind, 1 if kind == _LETTER else 4 if data[at] >= 0xF0 else 3


@numba.njit(cache=True, nogil=True)
def _is_hyphen(data, at, start, end, classes):
    """Whether the operator at `at` is a hyphen: `-` with two letters on either side."""
    if data[at] != 45 or at - 2 < start or at + 2 >= end:
        return False
    for place in (at - 2, at - 1, at + 1, at + 2):
        if classes[data[place]] != _LETTER and classes[data[place]] != _LEAD:
            return False
    return True


@numba.njit(cache=True, nogil=True)
def _following(data, at, length):
    """The flag that a break gives the word before it."""
    if data[at] == 10:
        return LINE_END
    return ASKS if data[at] == 63 or (length == 3 and data[at] == 0xEF and data[at + 2] == 0x9F) else np.uint8(0)


@numba.njit(cache=True, nogil=True)
def _digit_at(data, at, end, classes):
    return at < end and classes[data[at]] == _DIGIT


@numba.njit(cache=True, nogil=True)
def _continues(data, at, end, classes):
    """Whether a number continues after the byte at `at`, which is not a digit: 3.5 and 1,000."""
    if at >= end or not _digit_at(data, at + 1, end, classes):
        return False
    if data[at] == 46:  # "."
        return True
    thousands = data[at] == 44 and _digit_at(data, at + 2, end, classes) and _digit_at(data, at + 3, end, classes)
    return thousands and not _digit_at(data, at + 4, end, classes)


@numba.njit(cache=True, nogil=True)
def _longer(values, length):
    out = np.empty(length, values.dtype)
    out[: len(values)] = values
    return out


@numba.njit(cache=True, nogil=True)
def _split(data, offsets, classes, lower):
    room = len(data) // BYTES_PER_WORD
    hashes, flags = np.empty(room, np.uint64), np.empty(room, np.uint8)
    starts = np.zeros(len(offsets), np.int64)
    words = 0
    for text in range(len(offsets) - 1):
        at, end = offsets[text], offsets[text + 1]
        if words + end - at > len(hashes):  # no more words than bytes
            room = max(words + end - at, 2 * len(hashes))
            hashes, flags = _longer(hashes, room), _longer(flags, room)
        after_break = AFTER_BREAK
        while at < end:
            kind, length = np.int64(classes[data[at]]), 1
            if kind == _LEAD:
                kind, length = _foreign(data, at, end)
            if kind == _OPERATOR and _is_hyphen(data, at, offsets[text], end, classes):
                kind = _SPACE
            if kind in (_SPACE, _BREAK):
                if kind == _BREAK:
                    after_break = AFTER_BREAK
                    if words > starts[text]:
                        flags[words - 1] |= _following(data, at, length)
                at += length
                continue
            value = FNV_OFFSET
            if kind == _LETTER:
                flags[words] = np.uint8(WORD) | after_break
                while kind == _LETTER:
                    value = (value ^ lower[data[at]]) * FNV_PRIME
                    at += 1
                    kind = np.int64(classes[data[at]]) if at < end else _SPACE
                    if kind == _LEAD:
                        kind, length = _foreign(data, at, end)
            elif kind in (_OPERATOR, _ALONE):
                flags[words] = np.uint8(OPERATOR if kind == _OPERATOR else WORD) | after_break
                for position in range(at, at + length):
                    value = (value ^ np.uint64(data[position])) * FNV_PRIME
                at += length
            else:
                flags[words] = np.uint8(NUMBER) | after_break
                continues = True
                while continues:
                    if data[at] != 44:  # the comma of 1,000
                        value = (value ^ np.uint64(data[at])) * FNV_PRIME
                    at += 1
                    while at < end and classes[data[at]] == _DIGIT:
                        value = (value ^ np.uint64(data[at])) * FNV_PRIME
                        at += 1
                    continues = _continues(data, at, end, classes)
            hashes[words] = _mix(value)
            words += 1
            after_break = np.uint8(0)
        starts[text + 1] = words
    return hashes[:words], flags[:words], starts

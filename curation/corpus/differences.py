"""What differs between a near-duplicate and the document that is kept instead, in a few words of both, for people.

Words between blanks are compared from the beginning on; where they differ, the nearest two positions are searched from
which the next IN_STEP words are equal again, nearest first and at most AHEAD words on. At most MOST differences are
reported, each shortened to LONGEST characters a side: `1034 → 1061`, `+ by Ann Smith` for what the copy has more and `−
…` for what it lacks; `…` stands for what is left out. Never a decision. Leaves out the smallest difference of all, and
moved passages.
"""

import numba
import numpy as np

MOST, LONGEST, AHEAD, IN_STEP = 5, 40, 60, 3


def told(keeper: np.ndarray, copy: np.ndarray) -> list[str]:
    """What `copy` (bytes) has in the place of what `keeper` has."""
    places, complete = _differences(keeper, copy)
    found = [_said(_part(keeper, *place[:2]), _part(copy, *place[2:])) for place in places.tolist()]
    return found if complete else [*found, "…"]


def _part(text: np.ndarray, start: int, end: int) -> str:
    said = " ".join(text[start:end].tobytes().decode("utf-8", "replace").split())
    return said if len(said) <= LONGEST else said[: LONGEST - 1] + "…"


def _said(was: str, becomes: str) -> str:
    if was and becomes:
        return f"{was} → {becomes}"
    return f"+ {becomes}" if becomes else f"− {was}"


@numba.njit(cache=True, nogil=True)
def _blank(byte):
    return byte == 32 or byte == 10 or byte == 9


@numba.njit(cache=True, nogil=True)
def _words(text):
    """Rows (start, end, hash) of the words of `text`."""
    out, found, at = np.empty((len(text) // 2 + 1, 3), np.int64), 0, 0
    while at < len(text):
        while at < len(text) and _blank(text[at]):
            at += 1
        start, value = at, np.uint64(0xCBF29CE484222325)
        while at < len(text) and not _blank(text[at]):
            value = (value ^ np.uint64(text[at])) * np.uint64(0x100000001B3)
            at += 1
        if at > start:
            out[found] = start, at, np.int64(value >> np.uint64(1))
            found += 1
    return out[:found]


@numba.njit(cache=True, nogil=True)
def _in_step(left, right, i, j):
    """Whether the next words at `i` and `j` are the same, up to the end of both."""
    for ahead in range(IN_STEP):
        if i + ahead >= len(left) or j + ahead >= len(right):
            return i + ahead >= len(left) and j + ahead >= len(right)
        if left[i + ahead, 2] != right[j + ahead, 2]:
            return False
    return True


@numba.njit(cache=True, nogil=True)
def _again(left, right, i, j):
    """How many words on, in each, the texts are the same again; -1 if that is too far."""
    for total in range(1, 2 * AHEAD):
        for ahead in range(max(0, total - AHEAD), min(total, AHEAD) + 1):
            within = i + ahead <= len(left) and j + total - ahead <= len(right)
            if within and _in_step(left, right, i + ahead, j + total - ahead):
                return ahead, total - ahead
    return -1, -1


@numba.njit(cache=True, nogil=True)
def _span(words, first, count):
    """Start and end of `count` words from `first` on."""
    return (words[first, 0], words[first + count - 1, 1]) if count else (0, 0)


@numba.njit(cache=True, nogil=True)
def _differences(keeper, copy):
    """Rows (start and end in `keeper`, start and end in `copy`), and whether these are all."""
    left, right = _words(keeper), _words(copy)
    out, found, i, j = np.empty((MOST, 4), np.int64), 0, 0, 0
    while i < len(left) or j < len(right):
        if i < len(left) and j < len(right) and left[i, 2] == right[j, 2]:
            i, j = i + 1, j + 1
            continue
        less, more = _again(left, right, i, j)
        if less < 0 or found == MOST:
            return out[:found], False
        out[found, 0], out[found, 1] = _span(left, i, less)
        out[found, 2], out[found, 3] = _span(right, j, more)
        i, j, found = i + less, j + more, found + 1
    return out[:found], True

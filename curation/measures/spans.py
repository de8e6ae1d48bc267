"""Locates a benchmark item in a text, for people to look at: never used for a decision.

`curation.measures.decontaminate` decides on hashed words, which have no place in the text. For the few documents that
it finds, the item is aligned with the whole text, both in canonical spelling (`curation.measures.spellings`), with the
fewest words replaced, deleted or inserted; the aligned words are reported in characters of the original text."""

import re
from collections.abc import Iterable, Sequence

import numba
import numpy as np

from curation.measures.spellings import spelled_places

WORDS = re.compile(rb"[A-Za-z\x80-\xff]+|\d+(?:[.,]\d+)*|[-+*/=<>%!]")


def spans(text: str, items: Sequence[str]) -> list[tuple[int, int] | None]:
    """For each of `items` (first character, number of characters) of the part of `text` that it aligns with best, the
    first of several; None where one of them has no words."""
    codes: dict[bytes, int] = {}
    spelled, places = spelled_places(text)
    found = list(WORDS.finditer(spelled))
    passage = _codes((one[0] for one in found), codes)
    written, best = text.encode(), []
    for item in items:
        wanted = _codes(WORDS.findall(spelled_places(item)[0]), codes)
        best.append(_span(found, passage, wanted, places, written))
    return best


def _span(
    found: list[re.Match[bytes]], passage: np.ndarray, wanted: np.ndarray, places: np.ndarray, written: bytes
) -> tuple[int, int] | None:
    if not len(passage) or not len(wanted):
        return None
    first, last = _best(wanted, passage)
    start, final = int(places[found[first].start()]), int(places[found[last].end() - 1])
    beyond = np.searchsorted(places, final, side="right")  # the first byte that stands for a later one
    end = int(places[beyond]) if beyond < len(places) else len(written)
    before = len(written[:start].decode())
    return before, len(written[:end].decode()) - before


def _codes(words: Iterable[bytes], codes: dict[bytes, int]) -> np.ndarray:
    """A number for each word, the same for the same letters in either case."""
    return np.array([codes.setdefault(word.lower(), len(codes)) for word in words], np.int64)


@numba.njit(cache=True, nogil=True)
def _best(item, passage):
    """First and last word of the part of `passage` with fewest edits to all of `item`."""
    edits = np.zeros(len(passage) + 1, np.int64)
    starts = np.arange(len(passage) + 1)
    for i in range(len(item)):
        diagonal, from_diagonal = edits[0], starts[0]
        edits[0] = i + 1
        for j in range(len(passage)):
            above, from_above = edits[j + 1], starts[j + 1]
            edits[j + 1], starts[j + 1] = diagonal + (item[i] != passage[j]), from_diagonal
            if above + 1 < edits[j + 1]:
                edits[j + 1], starts[j + 1] = above + 1, from_above
            if edits[j] + 1 < edits[j + 1]:
                edits[j + 1], starts[j + 1] = edits[j] + 1, starts[j]
            diagonal, from_diagonal = above, from_above
    end = 1 + np.argmin(edits[1:])
    return min(starts[end], end - 1), end - 1

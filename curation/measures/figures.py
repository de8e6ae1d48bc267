"""The numbers of a text that are compared between near-duplicates: the context and the purpose of each.

A page fetched twice has a different count of views, date and software version; two problems of one template also have
different numbers. The purpose of the numbers distinguishes the two cases:

    CALM     the page's own record: years by ©, months and words like "updated" or "version"; dates; what is viewed,
             posted or asked so long ago; counts of comments, votes and the like in a line of their own
    OPEN     nothing of this list
    TELLING  mathematics: beside `=`, `+`, `*`, `<` or `>`, or in 7 - 2; before a question that ends within ASKED words;
             near a word like find, compute, solve, sum or triangle in its line

A figure is a number or an operator. It moved where two texts have the same CONTEXT words before it (numbers in them
masked), or after it, and another figure there; contexts that occur several times are compared as multisets. Compiled
loops over the words of a batch. Leaves out languages: words of the lists are English, with the months of some others;
in other languages such a record counts as OPEN, while most of them have the question mark.
"""

from dataclasses import dataclass

import numba
import numpy as np

from curation.measures.words import AFTER_BREAK, ASKS, KIND, LINE_END, NUMBER, OPERATOR, WORD, Words, split

CALM, OPEN, TELLING = 0, 1, 2
CONTEXT, ASKED, NEAR, SHORT_LINE, SHORT_PART = 3, 60, 6, 8, 8
CLASS = np.uint64(3)
"""Mask of what a figure is for within a figure."""
_RECORD, _COUNTED, _MONTH, _AGO, _SAID, _WORK, _SIGN, _YEAR, _DAY = (1 << bit for bit in range(9))

LISTS = {
    _RECORD: "viewed posted published updated modified edited revised visited accessed retrieved copyright version "
    "generated rendered revision release released rev isbn issn",
    _COUNTED: "views view comments comment replies reply answers answer votes vote likes like followers subscribers "
    "visitors visits hits downloads members posts post points score rating ratings reviews review online users shares "
    "readers badges reputation bookmarks stars watchers times reads page pages showing results",
    _MONTH: "january february march april may june july august september october november december jan feb mar apr jun "
    "jul aug sep sept oct nov dec januar februar märz mai juni juli oktober dezember janvier février mars avril juin "
    "juillet août septembre octobre novembre décembre enero febrero marzo abril mayo junio julio agosto septiembre "
    "octubre noviembre diciembre gennaio febbraio aprile maggio giugno luglio settembre ottobre dicembre",
    _AGO: "ago",
    _SAID: "asked answered active joined seen commented replied created added member since last",
    _WORK: "find compute calculate solve evaluate simplify determine prove show factor expand add subtract multiply "
    "divide reduce convert express differentiate integrate sum difference product quotient remainder average mean area "
    "perimeter volume equals equal plus minus root roots fraction percent ratio equation solution solutions triangle "
    "square angle derivative integral limit probability polynomial worth total costs cost altogether",
    _SIGN: "= + * < >",
    _YEAR: " ".join(map(str, range(1950, 2060))),
    _DAY: " ".join([*map(str, range(60)), *(f"0{digit}" for digit in range(10))]),
}  # fmt: skip
SLOTS = 1 << 11


def _lookup() -> tuple[np.ndarray, np.ndarray]:
    """A hash table of the words of LISTS: hashes by their lower bits, and the lists that each is in."""
    keys, lists = np.zeros(SLOTS, np.uint64), np.zeros(SLOTS, np.int64)
    for name, words in LISTS.items():
        for value in split([words]).hashes.tolist():
            place = value % SLOTS
            while keys[place] and int(keys[place]) != value:
                place = (place + 1) % SLOTS
            keys[place], lists[place] = value, lists[place] | name
    return keys, lists


LOOKUP = _lookup()


@dataclass(frozen=True)
class Figures:
    """Figures of a batch, two for each place (by what stands before, and after), sorted within each text from
    `offsets[k]` to `offsets[k + 1]`: 32 bits of the context, 30 of the figure, and CLASS."""

    values: np.ndarray
    offsets: np.ndarray


def figures(words: Words) -> Figures:
    """The figures of each text."""
    return Figures(*_figures(words.hashes, words.flags, words.offsets, words.masked(), *LOOKUP))


@numba.njit(cache=True, nogil=True)
def moved(left, right):
    """How many figures differ between two texts, by their purpose in either: [CALM, OPEN, TELLING]. A place with equal
    context on both sides counts twice."""
    found = np.zeros(3, np.int64)
    i, j = 0, 0
    while i < len(left) and j < len(right):
        context, other = left[i] >> np.uint64(32), right[j] >> np.uint64(32)
        if context != other:
            i, j = (i + 1, j) if context < other else (i, j + 1)
            continue
        # figures of one context that only one text has
        mine, theirs, worst = 0, 0, np.uint64(0)
        while True:
            ours = i < len(left) and left[i] >> np.uint64(32) == context
            them = j < len(right) and right[j] >> np.uint64(32) == context
            if not ours and not them:
                break
            if ours and them and left[i] >> np.uint64(2) == right[j] >> np.uint64(2):
                i, j = i + 1, j + 1
            elif ours and not (them and right[j] >> np.uint64(2) < left[i] >> np.uint64(2)):
                worst, mine, i = max(worst, left[i] & CLASS), mine + 1, i + 1
            else:
                worst, theirs, j = max(worst, right[j] & CLASS), theirs + 1, j + 1
        found[worst] += min(mine, theirs)
    return found


@numba.njit(cache=True, nogil=True)
def _listed(value, keys, lists):
    place = np.int64(value & np.uint64(SLOTS - 1))
    while keys[place] and keys[place] != value:
        place = (place + 1) & (SLOTS - 1)
    return lists[place] if keys[place] else 0


@numba.njit(cache=True, nogil=True)
def _context(masked, first, last, kind):
    """A hash of the words from `first` up to `last` and of the kind of the figure beside them."""
    value = np.uint64(kind) + np.uint64(0x9E3779B97F4A7C15)
    for place in range(first, last):
        value = (value ^ masked[place]) * np.uint64(0xFF51AFD7ED558CCD)
        value ^= value >> np.uint64(32)
    return value


@numba.njit(cache=True, nogil=True)
def _figures(hashes, flags, offsets, masked, keys, lists):
    many = np.sum((flags & KIND) != WORD)
    out, ends = np.empty(2 * many, np.uint64), np.zeros(len(offsets), np.int64)
    upper, value_bits, size = np.uint64(0xFFFFFFFF00000000), np.uint64(0xFFFFFFFC), 0
    for text in range(len(offsets) - 1):
        first, end = offsets[text], offsets[text + 1]
        named = np.empty(end - first, np.int64)
        for place in range(first, end):
            named[place - first] = _listed(hashes[place], keys, lists)
        asked, purpose = _asked(flags[first:end]), OPEN
        for place in range(first, end):
            kind, before = flags[place] & KIND, purpose
            purpose = OPEN
            if kind == WORD:
                continue
            purpose = _purpose(place - first, flags[first:end], named, asked)
            if before == CALM and named[place - first] & _DAY:  # the minutes of a time, the end of a date
                purpose = CALM
            figure = hashes[place] & value_bits | np.uint64(purpose)
            ahead = _context(masked, max(place - CONTEXT, first), place, kind)
            behind = _context(masked, place + 1, min(place + 1 + CONTEXT, end), kind + 8)
            out[size], out[size + 1] = ahead & upper | figure, behind & upper | figure
            size += 2
        ends[text + 1] = size
        out[ends[text] : size].sort()
    return out[:size], ends


@numba.njit(cache=True, nogil=True)
def _asked(flags):
    """How many words later the next question ends."""
    out, distance = np.empty(len(flags), np.int64), np.int64(1 << 30)
    for place in range(len(flags) - 1, -1, -1):
        distance = 0 if flags[place] & ASKS else distance + 1
        out[place] = distance
    return out


@numba.njit(cache=True, nogil=True)
def _some(named, first, last, wanted):
    """Whether a word from `first` up to `last` is in one of the lists `wanted`."""
    for place in range(max(first, 0), min(last, len(named))):  # noqa: SIM110  numba has no any()
        if named[place] & wanted:
            return True
    return False


@numba.njit(cache=True, nogil=True)
def _in_date(place, flags, named):
    """Whether the number at `place` is one of three or more in a row, with `-` or `/` at most between them, one a
    year and the others such as days, months, hours and minutes are."""
    first, last, numbers, years = place, place, 1, named[place] & _YEAR > 0
    for step in (-1, 1):
        at = place + step
        while 0 <= at < len(flags) and abs(at - place) < 12 and flags[at] & KIND != WORD and not named[at] & _SIGN:
            if flags[at] & KIND == NUMBER:
                if not named[at] & (_YEAR | _DAY):
                    break
                numbers, years = numbers + 1, years or named[at] & _YEAR > 0
            at += step
        first, last = min(first, at), max(last, at)
    return numbers >= 3 and years and not _some(named, first, last + 1, _SIGN)


@numba.njit(cache=True, nogil=True)
def _bounds(place, flags, most, by_line):
    """First and last word, and one more, of the line or part of a sentence around `place`; `most` to either side."""
    first, last = place, place + 1
    while first > 0 and place - first < most:
        if flags[first - 1] & LINE_END if by_line else flags[first] & AFTER_BREAK:
            break
        first -= 1
    while last < len(flags) and last - place <= most:
        if flags[last - 1] & LINE_END if by_line else flags[last] & AFTER_BREAK:
            break
        last += 1
    return first, last


@numba.njit(cache=True, nogil=True)
def _is_term(place, flags):
    """Whether the figure at `place` is an operator between two numbers, or one of these."""
    for operator in range(max(place - 1, 1), min(place + 2, len(flags) - 1)):
        kinds = flags[operator - 1] & KIND, flags[operator] & KIND, flags[operator + 1] & KIND
        if kinds[0] == NUMBER and kinds[1] == OPERATOR and kinds[2] == NUMBER:
            return True
    return False


@numba.njit(cache=True, nogil=True)
def _purpose(place, flags, named, asked):
    own = named[place]
    # the page's own record
    if own & _YEAR and _some(named, place - 3, place + 4, _MONTH | _RECORD):
        return CALM
    if own & (_DAY | _YEAR) and (_some(named, place - 2, place + 3, _MONTH) or _in_date(place, flags, named)):
        return CALM
    if _some(named, place - NEAR, place + NEAR + 1, _RECORD):
        return CALM
    if _some(named, place + 1, place + NEAR, _AGO | _MONTH) and _some(named, place - NEAR - 2, place, _SAID):
        return CALM
    first, last = _bounds(place, flags, SHORT_LINE, True)
    if (
        last - first <= SHORT_LINE
        and _some(named, first, last, _COUNTED)
        and not _some(named, first, last, _WORK | _SIGN)
    ):
        return CALM
    # mathematics
    labelled = last - first <= 2  # "Karma 1034", in a line of its own
    first, last = _bounds(place, flags, 15, True)
    if _some(named, max(place - 3, first), min(place + 4, last), _SIGN) or (asked[place] < ASKED and not labelled):
        return TELLING
    if _some(named, first, last, _WORK):
        return TELLING
    if _is_term(place, flags) and not _some(named, place - NEAR, place + NEAR + 1, _COUNTED):
        return TELLING
    first, last = _bounds(place, flags, SHORT_PART, False)
    if last - first <= SHORT_PART and _some(named, max(place - 2, first), min(place + 3, last), _COUNTED):
        return CALM
    return OPEN

"""Which elements of a page are its main text, and which are the site around it.

`main_content` leaves out of an `Outline`, in this order: what is hidden; what is called something that is certainly
the site's (`curation.reading.names`); navigation, asides, footers and what may be the site's, unless that holds most of
the page's prose or its heading, or is a word or two of a sentence; and blocks that are mostly links. Then it takes what
is called the text of an article, with the paragraphs that stand between the page's heading and it, else the article or
main area, else the innermost element with nearly all of the prose; and takes out single lines by their form
(`curation.reading.lines`), headings of blocks of the site, and headings that nothing follows. Where less than
SMALL_SHARE of the prose or TINY_SHARE of all is left, the page is another than it says, and only what is certainly the
site's goes.

Promises. Tables and code stay unless they are links; comments stay where they hold a formula; each step is bounded by
the number of elements. Leaves out what a page looks like: no style sheets are read.
"""

import re
from dataclasses import dataclass, field

import numba
import numpy as np

from curation.reading.lines import MARK, NUMBERED, leave_out_lines
from curation.reading.names import Meaning, begins_the_site, meaning
from curation.reading.outline import Outline, coded

MOST, MOST_CERTAIN = 0.3, 0.95
"""Share of a page's prose above which a part that may be, or certainly is, the site's stays all the same."""
ENOUGH = 200
"""Characters of prose that must be left without it."""
SMALL_SHARE = 0.15
TINY_SHARE, FEW = 0.03, 40
"""Share of the characters shown, and number of them, below which what was found is not the main text."""
SHORT = 25
"""Characters below which a text is a label, and no prose."""
LINKS, LINK_CLUSTER, LINKED_TABLE = 0.8, 0.5, 0.8
"""Share of linked characters above which a block is navigation: one of any length, of up to LONG_CLUSTER, a table."""
NOTHING_ELSE = 0.97
FEW_LINKS = 3
"""A block with no more links than these is no cluster: a line of code, a definition."""
LONG_CLUSTER = 1500
LONG_LINE = 200
"""Characters of the longest paragraph that is left out because it is one link."""
NEED, LIKE_THE_LARGEST = 0.4, 0.6
"""Share of the page's prose that an article's text has at least, and of the largest one's that a second one has."""
NEARLY_ALL = 0.9
HEADING_LENGTH = 60
LEAD_LENGTH, MOST_LEADS, LEVELS_TO_LEAD = 40, 2, 6
PARAGRAPH, FEW_LINKED, MANY_LEADS = 80, 0.3, 4
"""Characters of a lead that nothing names, the share of them in links, and how many such blocks are no leads."""

HEADINGS = frozenset(["h1", "h2", "h3", "h4", "h5", "h6"])
ALWAYS = frozenset(["pre", "code", "math", "body", "main", "html", "h1"])
"""Elements that no name makes the site's."""
INLINE = frozenset(["a", "span", "b", "i", "em", "strong", "small", "font", "abbr", "cite", "q", "u", "mark", "time"])
SENTENCE = 60
"""Characters right in a block that make what is within its lines a part of a sentence, whatever it is called."""
HOLDERS = coded("div section article main body center span font form td tr details b i em strong")
_LEFT_OUT = coded("nav aside menu footer figcaption del")
_WEIGHED = coded("div section ul ol dl table p form fieldset header article center details menu hgroup main")
"""Blocks that are left out where they are mostly links."""
_PROSE = coded("p pre blockquote dd li td dt th h1 h2 h3 h4 h5 h6 summary caption figcaption address")
_LINES = coded("h2 h3 h4 h5 h6 p div span strong b legend li")
_LEADING = coded("p div h2 h3 h4 span strong blockquote section header")
_CODE, _LINK, _H1, _HEADER = coded("pre code listing xmp samp"), coded("a"), coded("h1"), coded("header")
_TITLE = coded("h2 h3")
_ARTICLE, _TABLE = coded("article main"), coded("table")
CLASS, DIGITS = re.compile(r' class="[^"]+"'), re.compile(r"\d+")


@dataclass(frozen=True)
class Main:
    """The main text of a page: which elements stay, those that hold it, and its share of the characters shown."""

    kept: list[bool]
    roots: list[int]
    share: float


def main_content(outline: Outline) -> Main:
    """The main text of a page, by the structure of its elements and by what they are called."""
    if not outline.tags or not outline.size[0]:
        return Main([True] * len(outline.tags), [], 0.0)
    content = _Content(outline)
    shown = content.prose()[0]
    content.leave_out_the_site()
    roots = content.roots()
    leave_out_lines(outline, content.kept, content.alive(), roots, content.whole)
    content.leave_out_headings(roots)
    found, whole = content.characters(roots), int(outline.size[0])
    if found < FEW or found < TINY_SHARE * whole or sum(content.prose()[root] for root in roots) < SMALL_SHARE * shown:
        content, roots = _Content(outline), [0]
        content.leave_out_what_is_certain()
        found = content.characters(roots)
    return Main(content.kept.tolist(), roots, round(found / whole, 4))


@dataclass
class _Content:
    """The elements of a page, of which ever more are left out."""

    outline: Outline
    kept: np.ndarray = field(init=False)
    meanings: list[Meaning] = field(init=False)

    def __post_init__(self) -> None:
        outline = self.outline
        self.kept = np.ones(len(outline.tags), np.bool_)
        self.meanings = [Meaning.NOTHING] * len(outline.tags)
        for element, classes, name, others in outline.named():
            self.meanings[element] = meaning(classes, name, others)
        self.called = np.array(self.meanings, np.int8)
        self.size, self.linked = outline.size.tolist(), outline.linked.tolist()
        self.code = _below(outline.parents, _CODE[outline.codes] | (self.called == Meaning.CODE))
        """What is code, or in it: whole as it is."""
        self.whole = self.code | _below(outline.parents, _TABLE[outline.codes])
        """What is code or a table, or in one."""
        upto = np.concatenate([[0], np.cumsum(_LINK[outline.codes])])
        self.links = (upto[outline.afters] - upto[: len(outline.tags)]).tolist()
        """How many links each holds, itself among them."""

    def prose(self) -> np.ndarray:
        """Characters of prose in each element: texts that are no labels and no links, of what is kept."""
        outline, tables = self.outline, (_PROSE, _LINK)
        sizes = outline.size, outline.linked, outline.own
        return _prose(outline.codes, outline.parents, outline.afters, *sizes, self.kept, *tables)

    def alive(self) -> np.ndarray:
        """The elements that are kept with all around them."""
        return np.flatnonzero(_alive(self.outline.afters, self.kept))

    def characters(self, roots: list[int]) -> int:
        """Characters of what is kept in `roots`."""
        outline = self.outline
        return sum(_characters(root, outline.afters, outline.size, self.kept) for root in roots)

    # -- the site ------------------------------------------------------------------------------------------------------

    def leave_out_the_site(self) -> None:
        outline, called = self.outline, self.called
        self._leave_out(called == Meaning.HIDDEN, 0.5)
        self._leave_out((called > Meaning.HIDDEN) & (called <= Meaning.CERTAINLY_SITE), MOST_CERTAIN)
        headers = _HEADER[outline.codes] & (outline.parents == 0)
        self._leave_out((called == Meaning.SITE) | _LEFT_OUT[outline.codes] | headers, MOST)
        self._leave_out_links()

    def leave_out_what_is_certain(self) -> None:
        """For a page of which hardly anything would be left."""
        self._leave_out((self.called <= Meaning.CERTAINLY_SITE) | _LEFT_OUT[self.outline.codes], 0.5)

    def _leave_out(self, candidates: np.ndarray, most: float) -> None:
        """Those of `candidates` that are not most of the prose and hold neither the heading nor an article's text."""
        outline, tags = self.outline, self.outline.tags
        prose = self.prose()
        chosen = candidates & self.kept
        for element in np.flatnonzero(chosen).tolist():
            tag, is_comment = tags[element], self.meanings[element] == Meaning.COMMENTS
            if tag in ALWAYS or (tag in INLINE and self._in_a_sentence(element)):
                chosen[element] = False
            elif tag == "table" and self.meanings[element] == Meaning.SITE:  # a box of facts, say
                chosen[element] = self.linked[element] > LINK_CLUSTER * self.size[element]
            elif tag == "figcaption":
                chosen[element] = not NUMBERED.match(outline.texts(element))
            elif is_comment and self.kept[element]:
                chosen[element] = MARK not in outline.texts(element)
        holds = self._holding(prose) & (prose >= ENOUGH)
        few = (prose < SHORT) | ((prose <= most * prose[0]) & ((prose[0] - prose >= ENOUGH) | (most < 0.5)))
        self.kept &= ~(chosen & few & ~holds & ~self.code)
        self.kept[0] = True

    def _in_a_sentence(self, element: int) -> bool:
        """Whether a word or two are within the line of a block."""
        return self.outline.own[self.outline.parent[element]] >= max(SENTENCE, 2 * self.size[element])

    def _holding(self, prose: np.ndarray) -> np.ndarray:
        """The elements that hold the page's heading or what is called the text of an article."""
        codes, called = self.outline.codes, self.called
        text = (called == Meaning.TEXT) & (prose >= max(ENOUGH, 0.15 * prose[0]))
        area = _ARTICLE[codes] & (called >= 0) & (prose >= NEED * prose[0])
        found = _H1[codes] | text | area
        return _above(self.outline.parents, found & self.kept)

    def _leave_out_links(self) -> None:
        """Blocks that are mostly links, unless they hold much of the prose."""
        outline, prose, alive = self.outline, self.prose(), self.alive()[1:]
        likely = outline.linked[alive] > LINK_CLUSTER * outline.size[alive]
        likely &= _WEIGHED[outline.codes[alive]] & (self.called[alive] < Meaning.AREA) & ~self.code[alive]
        for element in alive[likely & (prose[alive] <= MOST * prose[0])].tolist():
            tag, size = outline.tags[element], self.size[element]
            share = self.linked[element] / size
            match tag:
                case "p":
                    links = share > NEARLY_ALL and size < LONG_LINE
                case "table" | "dl":
                    links = share > LINKED_TABLE and size < LONG_CLUSTER
                case _:
                    cluster = share > LINK_CLUSTER and size < LONG_CLUSTER and self.links[element] > FEW_LINKS
                    links = share > NOTHING_ELSE or (share > LINKS and self.links[element] > 1) or cluster
            if links:
                self.kept[element] = False

    # -- the main text -------------------------------------------------------------------------------------------------

    def roots(self) -> list[int]:
        """The elements that hold the main text."""
        outline, prose, alive = self.outline, self.prose(), self.alive()
        for wanted in (Meaning.TEXT, Meaning.AREA):
            named = (self.called[alive] == wanted) | ((wanted == Meaning.AREA) & _ARTICLE[outline.codes[alive]])
            found = [element for element in alive[named & HOLDERS[outline.codes[alive]]].tolist() if element]
            largest = max(found, key=lambda element: prose[element], default=0)
            if not found or prose[largest] < max(NEED * prose[0], 100):
                continue
            if wanted == Meaning.AREA:  # the innermost that still holds nearly all of it
                return [[element for element in found if prose[element] >= 0.85 * prose[largest]][-1]]
            return self._articles(found, largest, prose, alive)
        return [self._innermost(prose)]

    def _articles(self, found: list[int], largest: int, prose: np.ndarray, alive: np.ndarray) -> list[int]:
        """The largest text, others that are like it in size or in name, their leads and comments with formulas."""
        outline = self.outline
        alike = _alike(outline.attributes(largest))
        texts: list[int] = []
        for element in found:
            same = alike and _alike(outline.attributes(element)) == alike and self.size[element]
            if same or prose[element] >= LIKE_THE_LARGEST * prose[largest]:
                self._add(texts, element)
        for element in alive[self.called[alive] == Meaning.COMMENTS].tolist():
            if element >= outline.after[texts[-1]] and MARK in outline.texts(element):
                self._add(texts, element)
        return [*self._leads(texts[0], alive), *texts]

    def _add(self, found: list[int], element: int) -> None:
        """`element` among `found`, unless it is within the last of them."""
        if not found or element >= self.outline.after[found[-1]]:
            found.append(element)

    def _leads(self, text: int, alive: np.ndarray) -> list[int]:
        """What stands between the heading of an article and its text, or is called a lead before it in its article."""
        outline = self.outline
        before = alive[alive < text]
        codes, size, linked = outline.codes[before], outline.size[before], outline.linked[before]
        headings, others = before[_H1[codes]], before[_TITLE[codes] & (outline.own[before] < PARAGRAPH)]
        begin = max([outline.after[headings[-1]], *others[-1:].tolist()]) if len(headings) else text
        placed = (before >= begin) & _LEADING[codes] & (outline.own[before] >= PARAGRAPH) & (linked < FEW_LINKED * size)
        named = (before > self._home(text)) & (self.called[before] == Meaning.LEAD) & (size - linked >= LEAD_LENGTH)
        found: list[int] = []
        for element in before[(placed | named) & (outline.afters[before] <= text)].tolist():
            self._add(found, element)
        return found[:MOST_LEADS] if len(found) <= MANY_LEADS else []

    def _home(self, text: int) -> int:
        """The article that holds a text."""
        outline = self.outline
        home = outline.parent[text]
        for _ in range(LEVELS_TO_LEAD):
            if home <= 0 or outline.tags[home] in ("article", "main") or self.meanings[home] == Meaning.AREA:
                break
            home = outline.parent[home]
        return home

    def _innermost(self, prose: np.ndarray) -> int:
        """The innermost element that holds nearly all of the prose."""
        outline, at = self.outline, 0
        while True:
            inside = (c for c in self._children(at) if self.kept[c] and prose[c] >= NEARLY_ALL * prose[0])
            child = next(inside, None)
            if child is None or not HOLDERS[outline.codes[child]]:
                return at
            at = child

    def _children(self, element: int):
        child = element + 1
        while child < self.outline.after[element]:
            yield child
            child = self.outline.after[child]

    # -- headings ------------------------------------------------------------------------------------------------------

    def leave_out_headings(self, roots: list[int]) -> None:
        """Headings of blocks of the site, with what is links after them, and headings that nothing is left of."""
        outline, alive = self.outline, self.alive()
        for root in roots:
            begin, end = np.searchsorted(alive, [root + 1, outline.after[root]])
            inside = alive[begin:end]
            size = outline.size[inside]
            for element in inside[_LINES[outline.codes[inside]] & (size >= 3) & (size <= HEADING_LENGTH)].tolist():
                if begins_the_site(outline.texts(element)):
                    self.kept[element] = False
                    self._leave_out_after(element)
            self._leave_out_orphans(root)

    def _leave_out_after(self, heading: int) -> None:
        """What follows a heading, up to the next of its rank, and is links by and large."""
        outline, tag = self.outline, self.outline.tags[heading]
        following, end = outline.after[heading], outline.after[outline.parent[heading]]
        while tag in HEADINGS and following < end:
            if outline.tags[following] in HEADINGS and outline.tags[following] <= tag:
                break
            if self.linked[following] > 0.4 * self.size[following]:
                self.kept[following] = False
            following = outline.after[following]

    def _leave_out_orphans(self, root: int) -> None:
        """Headings after which something was left out, and nothing is left up to the next of their rank, and those at
        the end."""
        outline, tags = self.outline, self.outline.tags
        waiting: list[tuple[int, bool]] = []
        element = root + 1
        while element < outline.after[root]:
            tag = tags[element]
            if not self.kept[element]:
                waiting = [(heading, lost or self.size[element] > 0) for heading, lost in waiting]
                element = outline.after[element]
            elif tag in HEADINGS:
                while waiting and tags[waiting[-1][0]] >= tag:
                    self.kept[waiting[-1][0]] &= not waiting[-1][1]
                    waiting.pop()
                waiting.append((element, False))
                element = outline.after[element]
            else:
                if (outline.own[element] and tag != "a") or tag in ("math", "img", "table", "pre"):
                    waiting.clear()
                element += 1
        for heading, _ in waiting:
            self.kept[heading] = tags[heading] == "h1"


def _alike(attributes: str) -> str:
    """The class of an element without its numbers: parts of one text are counted."""
    found = CLASS.search(attributes)
    return DIGITS.sub("", found[0]) if found else ""


@numba.njit(cache=True, nogil=True)
def _prose(codes, parent, after, size, linked, own, kept, prose_codes, link_codes):
    """See `_Content.prose`. Of blocks of prose the outermost counts, of others what is written right in them."""
    count = len(parent)
    out = np.zeros(count, np.int64)
    element, counted_to = 0, 0
    while element < count:
        if not kept[element]:
            element = after[element]
            continue
        if element >= counted_to:
            if prose_codes[codes[element]]:
                plain = size[element] - linked[element]
                out[element] = plain if plain >= SHORT else 0
                counted_to = after[element]
            elif own[element] >= SHORT and not link_codes[codes[element]]:
                out[element] = own[element]
        element += 1
    for element in range(count - 1, 0, -1):
        out[parent[element]] += out[element]
    return out


@numba.njit(cache=True, nogil=True)
def _above(parent, found):
    """`found` elements and all that hold one."""
    for element in range(len(parent) - 1, 0, -1):
        if found[element]:
            found[parent[element]] = True
    return found


@numba.njit(cache=True, nogil=True)
def _below(parent, found):
    """`found` elements and all that are within one."""
    for element in range(1, len(parent)):
        found[element] |= found[parent[element]]
    return found


@numba.njit(cache=True, nogil=True)
def _alive(after, kept):
    alive = np.zeros(len(after), np.bool_)
    element = 0
    while element < len(after):
        if kept[element]:
            alive[element] = True
            element += 1
        else:
            element = after[element]
    return alive


@numba.njit(cache=True, nogil=True)
def _characters(root, after, size, kept):
    left, element = size[root], root
    while element < after[root]:
        if kept[element]:
            element += 1
        else:
            left -= size[element]
            element = after[element]
    return left

"""Single lines that stand in a page's main text and are no part of it, by their form alone.

`leave_out_lines` takes out of the elements that hold the main text: lines that point elsewhere (a short label and a
link, as in `Read more: …`), links that stand alone on a line, captions of pictures, and labels at the edges of the text
(a date, a name, a credit before its first or after its last paragraph). No name is looked at. Promises. Code, tables,
items of lists, and what holds a formula stay. Leaves out whole sentences: `Subscribe to our letter.` stays.
"""

import re
from itertools import chain

import numpy as np

from curation.reading.layout import BLOCKS
from curation.reading.outline import TEXT, Outline, coded

LABEL, POINTER, FEWEST_LINKED = 40, 250, 15
"""Characters of the label before a link, of it and the link, and of the link at least."""
LABEL_ENDS, SENTENCE_ENDS = ":»>→|–", '.!?…"”“«'
BARE, FEWEST = 200, 8
"""Characters of a link that stands alone on its line."""
CAPTION = 400
PARAGRAPH, FEW_PARAGRAPHS, LAST_PARAGRAPHS = 80, 3, 3
"""Characters of a paragraph, how many a text must have that has edges, and how many are looked at for its end."""
NO_LABEL_ENDS = '.!?…:;,"”»'
MARK = "\ufdd0"
"""Begins the mark of a formula."""
NUMBERED = re.compile(
    r"(?:fig(?:ure)?|tab(?:le)?|algorithm|listing|abb(?:ildung)?|scheme|plate|chart|example|theorem|box)\b\W{0,2}[\dIVXA-D]",
    re.IGNORECASE,
)
"""A caption that the text refers to, not one of a photograph."""

_POINTING = coded("p div h2 h3 h4 h5 strong b em blockquote section")
_PLAIN = coded("p div")
_AROUND_LINKS = coded("div section article main body center form header footer")
_LABELLING = coded("div span small time section p")
_SPAN, _LINK, _FIGURE, _P = (coded(name) for name in ("span", "a", "figure", "p"))
_KEEPS = coded("table li h1 h2 h3 h4 h5 h6 pre dl blockquote")
_IN_FIGURES = frozenset(["pre", "table", "blockquote", "code"])
_AT_LINE_ENDS = BLOCKS | {"br", "a", "img"}


def leave_out_lines(outline: Outline, kept: np.ndarray, alive: np.ndarray, roots: list[int], whole: np.ndarray) -> None:
    """Take lines that are no part of the text out of `kept`; `alive` are the elements that are kept with all around
    them, `whole` says which stay as they are: code and tables."""
    within = np.zeros(len(kept), np.bool_)
    for root in roots:
        within[root + 1 : outline.after[root]] = True
    inside = alive[within[alive] & ~whole[alive]]
    found = chain(_pointers(outline, inside), _bare_links(outline, inside), _captions(outline, inside))
    for element in chain(found, _labels(outline, inside, roots)):
        kept[element] = False


def _pointers(outline: Outline, inside: np.ndarray):
    """Lines of a short label and a link after which nothing follows."""
    size, linked = outline.size[inside], outline.linked[inside]
    plain = size - linked
    likely = (size <= POINTER) & (linked >= FEWEST_LINKED) & (plain >= 2) & (plain <= LABEL)
    for element in inside[likely & _POINTING[outline.codes[inside]]].tolist():
        end = outline.after[element]
        links = [e for e in range(element + 1, end) if outline.tags[e] == "a" and outline.size[e]]
        text = outline.texts(element)
        if not links or MARK in text:
            continue
        label = outline.between(outline.first[element], outline.first[links[0]])
        rest = outline.between(outline.last[links[-1]], outline.last[element])
        names = label[-1:] in LABEL_ENDS or (_PLAIN[outline.codes[element]] and text[-1] not in SENTENCE_ENDS)
        if label and names and len(rest) <= 2:
            yield element


def _bare_links(outline: Outline, inside: np.ndarray):
    """Links with nothing beside them on their line."""
    codes, size, parents = outline.codes[inside], outline.size[inside], outline.parents[inside]
    likely = _LINK[codes] & (size >= FEWEST) & (size < BARE) & _AROUND_LINKS[outline.codes[parents]]
    for element in inside[likely].tolist():
        alone = _at_line_end(outline, outline.first[element], -1) and _at_line_end(outline, outline.last[element], 1)
        if alone and MARK not in outline.texts(element):
            yield element


def _at_line_end(outline: Outline, place: int, step: int) -> bool:
    """Whether a line ends beside an item, blanks aside."""
    items, place = outline.items, place + step
    while 0 < place < len(items) - 1 and items[place] >= TEXT and not outline.text(items[place]).strip():
        place += step
    item = items[place]
    return item < TEXT and outline.tags[item if item >= 0 else ~item] in _AT_LINE_ENDS


def _captions(outline: Outline, inside: np.ndarray):
    """What stands below a picture."""
    for element in inside[_FIGURE[outline.codes[inside]] & (outline.size[inside] < CAPTION)].tolist():
        text = outline.texts(element)
        whole = _IN_FIGURES.isdisjoint(outline.tags[element : outline.after[element]])
        if whole and MARK not in text and not NUMBERED.match(text):
            yield element


def _labels(outline: Outline, inside: np.ndarray, roots: list[int]):
    """Short texts that end no sentence, before the first paragraph and after the last."""
    codes, size = outline.codes[inside], outline.size[inside]
    paragraphs = inside[(outline.own[inside] >= PARAGRAPH) | (_P[codes] & (size >= PARAGRAPH))]
    if len(paragraphs) < FEW_PARAGRAPHS:
        return
    end = max(outline.after[element] for element in paragraphs[-LAST_PARAGRAPHS:].tolist())
    at_edges = (inside < paragraphs[0]) | (inside >= end)
    for element in inside[at_edges & _LABELLING[codes] & (size > 0) & (size <= LABEL)].tolist():
        parent = outline.parent[element]
        text = outline.texts(element)
        in_line = _SPAN[outline.codes[element]] and outline.own[parent]
        ends = MARK in text or text[-1] in NO_LABEL_ENDS
        if not in_line and not ends and not _kept_whole(outline, element, roots):
            yield element


def _kept_whole(outline: Outline, element: int, roots: list[int]) -> bool:
    """Whether an element is in a table, a list or a heading, or holds one."""
    above = element
    while above > 0 and above not in roots:
        if _KEEPS[outline.codes[above]]:
            return True
        above = outline.parent[above]
    return bool(_KEEPS[outline.codes[element : outline.after[element]]].any())

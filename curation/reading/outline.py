"""A parsed page as flat lists: its elements in document order, what each holds, and its texts between them.

`Outline.of` reads the serialised page once, in compiled code: asking a parsed page for each of its elements takes six
microseconds an element, as long as all the rest of reading a page. The serialisation is that of the HTML standard (`<`
and `>` are escaped in texts and attributes, and what was never closed is closed), so a `<` begins a tag. Leaves out
comments and what browsers do not show of a page: scripts, styles, forms' fields (SKIPPED).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numba
import numpy as np

VOID = [
    "area",
    "base",
    "basefont",
    "bgsound",
    "br",
    "col",
    "embed",
    "frame",
    "hr",
    "img",
    "input",
    "keygen",
    "link",
    "meta",
    "param",
    "source",
    "track",
    "wbr",
]
RAW = ["script", "style", "iframe", "noembed", "noframes"]
"""Elements whose text is neither shown nor escaped."""
AS_WRITTEN = ["xmp", "plaintext"]
"""Elements whose text is shown as it is, tags and all."""
SKIPPED = [
    "template",
    "noscript",
    "object",
    "svg",
    "canvas",
    "audio",
    "video",
    "select",
    "textarea",
    "button",
    "option",
    "datalist",
    "label",
    "applet",
    "map",
    "progress",
    "meter",
    "rp",
    "dialog",
]
"""Elements that are no text of a page."""
OTHERS = [
    "a",
    "abbr",
    "acronym",
    "address",
    "article",
    "aside",
    "b",
    "big",
    "blockquote",
    "body",
    "caption",
    "center",
    "cite",
    "code",
    "dd",
    "del",
    "details",
    "dfn",
    "dir",
    "div",
    "dl",
    "dt",
    "em",
    "fieldset",
    "figcaption",
    "figure",
    "font",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hgroup",
    "i",
    "ins",
    "kbd",
    "li",
    "main",
    "mark",
    "menu",
    "nav",
    "ol",
    "p",
    "pre",
    "q",
    "s",
    "samp",
    "section",
    "small",
    "span",
    "strike",
    "strong",
    "sub",
    "summary",
    "sup",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "time",
    "tr",
    "tt",
    "u",
    "ul",
    "var",
    "math",
    "listing",
]
IS_VOID, IS_RAW, IS_AS_WRITTEN, IS_SKIPPED, IS_LINK, IS_CODE = 1, 2, 4, 8, 16, 32
TEXT = 1 << 40
"""What is added to the number of a text among the items."""


def _packed(name: str) -> int:
    """A tag's name by its first eight letters, which tell all of these apart."""
    return int.from_bytes(name.encode()[:8].ljust(8, b"\0"), "big")


def _last_letters(name: str) -> int:
    """An attribute's name by its last eight letters."""
    return int.from_bytes(name.encode()[-8:], "big")


CLASS_NAME, ID_NAME = np.uint64(_last_letters("class")), np.uint64(_last_letters("id"))
STYLE_NAME, RELATION_NAME = np.uint64(_last_letters("style")), np.uint64(_last_letters("rel"))
_TELLING = np.array([_last_letters(name) for name in ("role", "itemprop", "aria-hidden", "hidden")], np.uint64)
"""Attributes that tell something of an element beside its class and id, whatever they say."""
RELATIONS = ["author", "prev", "next", "tag", "search"]
"""What `rel` says of links that are the site's."""
_RELATIONS = np.array([_last_letters(name) for name in RELATIONS], np.uint64)
_FLAGS = {
    **dict.fromkeys(OTHERS, 0), **dict.fromkeys(VOID, IS_VOID), **dict.fromkeys(RAW, IS_RAW),
    **dict.fromkeys(AS_WRITTEN, IS_AS_WRITTEN), **dict.fromkeys(SKIPPED, IS_SKIPPED), "a": IS_LINK,
    "input": IS_VOID | IS_SKIPPED, **dict.fromkeys(["code", "tt", "samp", "kbd", "pre"], IS_CODE),
}  # fmt: skip
NAMES = sorted(_FLAGS, key=_packed)
"""The elements that are told apart, by their code; any other has the code len(NAMES)."""
_KEYS = np.array([_packed(name) for name in NAMES], np.uint64)
_KINDS = np.array([*(_FLAGS[name] for name in NAMES), 0], np.uint8)
TAGS = [*NAMES, ""]


def coded(names: str) -> np.ndarray:
    """Which codes are those of these elements."""
    wanted = names.split()
    return np.array([name in wanted for name in TAGS])


@dataclass(frozen=True)
class Outline:
    """Elements by number in document order; the first is `body`. `items` are what they hold, in order: the number of an
    element that begins, ~number of one that ends, TEXT + the number of a text."""

    data: bytes
    tags: list[str]
    """Names, "" for those of no account."""
    parent: list[int]
    after: list[int]
    """The first element after each one and all in it."""
    first: list[int]
    last: list[int]
    """Places in `items` where each begins and ends."""
    size: np.ndarray
    """Characters of all texts in each."""
    linked: np.ndarray
    """Of these, those within links that are no code: names in manuals are links, and what they are read for."""
    own: np.ndarray
    """Characters of the texts right in each, and in its inline elements."""
    items: list[int]
    codes: np.ndarray
    parents: np.ndarray
    afters: np.ndarray
    """`tags`, `parent` and `after` for compiled code."""
    _names: np.ndarray
    _attributes: tuple[list[int], list[int]]
    _texts: tuple[list[int], list[int]]

    @classmethod
    def of(cls, html: str) -> "Outline":
        """The outline of `body`, serialised."""
        data = html.encode("utf-8", "replace")
        elements, sizes, names, texts, items = _read(np.frombuffer(data, np.uint8), _KEYS, _KINDS, _TELLING, _RELATIONS)
        code, parent, after, first, last, begin, end = (column.tolist() for column in elements)
        tags = [TAGS[number] for number in code]
        spans = (texts[0].tolist(), texts[1].tolist())
        size, linked, own = sizes
        lists = data, tags, parent, after, first, last
        return cls(
            *lists, size, linked, own, items.tolist(), elements[0], elements[1], elements[2], names, (begin, end), spans
        )

    def attributes(self, element: int) -> str:
        """The attributes as serialised, with a blank before each."""
        return self.raw_attributes(element).decode()

    def raw_attributes(self, element: int) -> bytes:
        return self.data[self._attributes[0][element] : self._attributes[1][element]]

    def named(self) -> Iterator[tuple[int, bytes, bytes, bytes]]:
        """Elements that tell something of themselves: number, class, id, and all attributes where there are others."""
        some = np.flatnonzero((self._names[1] > self._names[0]) | (self._names[3] > self._names[2]) | self._names[4])
        data = self.data
        for element, begin, end, id_begin, id_end, others in zip(
            some.tolist(), *self._names[:, some].tolist(), strict=True
        ):
            yield element, data[begin:end], data[id_begin:id_end], self.raw_attributes(element) if others else b""

    def text(self, item: int) -> str:
        """The text of an item, still escaped."""
        number = item - TEXT
        return self.data[self._texts[0][number] : self._texts[1][number]].decode()

    def texts(self, element: int) -> str:
        """All text in an element, in one line."""
        pieces = (self.text(item) for item in self.items[self.first[element] : self.last[element]] if item >= TEXT)
        return " ".join(" ".join(pieces).split())

    def between(self, begin: int, end: int) -> str:
        """The text of the items from one place to another."""
        return "".join(self.text(item) for item in self.items[begin:end] if item >= TEXT).strip()


def nesting(page: bytes) -> int:
    """How deep the elements of a page are nested at most, as it was written: those that were never closed count on."""
    return int(_nesting(np.frombuffer(page, np.uint8), _KEYS, _KINDS))


@numba.njit(cache=True, nogil=True)
def _code(key, keys):
    """The place of a packed name among `keys`, their number where it is not there."""
    place = np.searchsorted(keys, key)
    return place if place < len(keys) and keys[place] == key else len(keys)


@numba.njit(cache=True, nogil=True)
def _nesting(data, keys, kinds):
    depth, deepest = 0, 0
    for place in range(len(data) - 1):
        if data[place] != 60:
            continue
        following = data[place + 1] | 32
        if data[place + 1] == 47:
            depth -= depth > 0
        elif following >= 97 and following <= 122:
            # a tag's name, packed in lower case
            key, length, at = np.uint64(0), 0, place + 1
            while at < len(data) and length < 8 and (data[at] | 32) >= 48 and data[at] != 62 and data[at] != 47:
                key = (key << np.uint64(8)) | np.uint64(data[at] | (32 if data[at] >= 65 else 0))
                length, at = length + 1, at + 1
            key = key << np.uint64(8 * (8 - length))
            depth += (kinds[_code(key, keys)] & 1) == 0
            deepest = max(deepest, depth)
    return deepest


@numba.njit(cache=True, nogil=True)
def _end_of_raw(data, place, begin, length):
    """Where the end tag begins of a raw element, whose name stands at `begin`."""
    while place < len(data) - length - 1:
        if data[place] == 60 and data[place + 1] == 47:
            same = True
            for offset in range(length):
                same &= data[place + 2 + offset] == data[begin + offset]
            if same:
                return place
        place += 1
    return len(data)


@numba.njit(cache=True, nogil=True)
def _hides(data, begin, end):
    """Whether a style may hide what it is of: it holds `none` or `hidden`, by their middle letters."""
    for at in range(begin + 1, end - 2):
        # on(e) or (hi)dd(en), in either case
        one, two, three = data[at] | 32, data[at + 1] | 32, data[at + 2] | 32
        if (one == 111 and two == 110 and three == 101) or (one == 100 and two == 100 and three == 101):
            return True
    return False


@numba.njit(cache=True, nogil=True)
def _read(data, keys, kinds, telling, relations):
    """Elements (code, parent, after, first, last, attributes' begin and end), sizes (size, linked, own), names (begin
    and end of the class, of the id, whether others may tell something), texts (begin and end), items."""
    most = 2
    for byte in data:
        most += byte == 60
    elements = np.zeros((7, most), np.int64)
    sizes = np.zeros((3, most), np.int64)
    names = np.zeros((5, most), np.int64)
    texts = np.zeros((2, most), np.int64)
    items = np.zeros(2 * most + 2, np.int64)
    code, parent, after, first, last = elements[0], elements[1], elements[2], elements[3], elements[4]
    count, text_count, item_count = 0, 0, 0
    top, links, coding, skipping = -1, 0, 0, 0
    place, end = 0, len(data)
    while place < end:
        if data[place] != 60:
            # a text: all up to the next tag
            begin, signs, blank = place, 0, 0
            while place < end and data[place] != 60:
                byte = data[place]
                if byte == 32 or (byte >= 9 and byte <= 13):
                    blank += signs > 0
                elif (byte & 0xC0) != 0x80:
                    signs += 1 + blank
                    blank = 0
                place += 1
            if skipping == 0 and top >= 0:
                texts[0, text_count], texts[1, text_count] = begin, place
                items[item_count] = text_count + TEXT
                text_count += 1
                item_count += 1
                sizes[0, top] += signs
                sizes[2, top] += signs
                if links > 0 and coding == 0:
                    sizes[1, top] += signs
            continue
        if place + 3 < end and data[place + 1] == 33:
            # a comment, up to -->
            place += 4
            while place < end and not (data[place] == 62 and data[place - 1] == 45 and data[place - 2] == 45):
                place += 1
            place += 1
            continue
        closing = place + 1 < end and data[place + 1] == 47
        begin = place + 1 + closing
        place, key, length = begin, np.uint64(0), 0
        while place < end and data[place] != 62 and data[place] != 32 and data[place] != 10:
            if length < 8:
                key = (key << np.uint64(8)) | np.uint64(data[place])
            length += 1
            place += 1
        if length < 8:
            key = key << np.uint64(8 * (8 - length))
        attributes = place
        class_begin, class_end, id_begin, id_end, others = 0, 0, 0, 0, 0
        while place < end and data[place] != 62:
            if data[place] != 32 and data[place] != 10:
                place += 1
                continue
            # an attribute: its name, packed, and its value
            place, word = place + 1, np.uint64(0)
            while place < end and data[place] != 61 and data[place] != 32 and data[place] != 62:
                word = (word << np.uint64(8)) | np.uint64(data[place])
                place += 1
            begins, ends = place, place
            if place + 1 < end and data[place] == 61 and data[place + 1] == 34:
                place += 2
                begins = place
                while place < end and data[place] != 34:
                    place += 1
                ends = place
                place += 1
            if word == CLASS_NAME:
                class_begin, class_end = begins, ends
            elif word == ID_NAME:
                id_begin, id_end = begins, ends
            elif word == STYLE_NAME:
                others |= _hides(data, begins, ends)
            elif word == RELATION_NAME:
                value = np.uint64(0)
                for at in range(begins, ends):
                    value = (value << np.uint64(8)) | np.uint64(data[at])
                for name in relations:
                    others |= value == name
            else:
                for name in telling:
                    others |= word == name
        found = _code(key, keys)
        kind = kinds[found]
        if closing:
            place += 1
            if skipping > 0:
                skipping -= (kind & 8) > 0
            elif top >= 0 and code[top] == found:
                last[top] = item_count
                items[item_count] = ~top
                item_count += 1
                after[top] = count
                links -= (kind & 16) > 0
                coding -= (kind & 32) > 0
                above = parent[top]
                if above >= 0:
                    sizes[0, above] += sizes[0, top]
                    sizes[1, above] += sizes[1, top]
                top = above
            continue
        name, place = begin, place + 1
        if kind & 2:
            place = _end_of_raw(data, place, name, length)
            while place < end and data[place] != 62:
                place += 1
            place += 1
            continue
        if skipping > 0 or kind & 8:
            skipping += (kind & 8) > 0 and (kind & 1) == 0
            continue
        code[count], parent[count], after[count] = found, top, count + 1
        first[count], last[count] = item_count, item_count
        elements[5, count], elements[6, count] = attributes, place - 1
        names[0, count], names[1, count], names[2, count], names[3, count] = class_begin, class_end, id_begin, id_end
        names[4, count] = others
        items[item_count] = count
        item_count += 1
        if (kind & 1) == 0:
            top = count
            links += (kind & 16) > 0
            coding += (kind & 32) > 0
        count += 1
        if kind & 4:
            # shown as it is: one text up to the end tag
            stop = _end_of_raw(data, place, name, length)
            texts[0, text_count], texts[1, text_count] = place, stop
            items[item_count] = text_count + TEXT
            text_count += 1
            item_count += 1
            sizes[0, top] += stop - place
            sizes[2, top] += stop - place
            place = stop
    while top >= 0:
        # what a cut page leaves open
        last[top], after[top] = item_count, count
        items[item_count] = ~top
        item_count += 1
        above = parent[top]
        if above >= 0:
            sizes[0, above] += sizes[0, top]
            sizes[1, above] += sizes[1, top]
        top = above
    return elements[:, :count], sizes[:, :count], names[:, :count], texts[:, :text_count], items[:item_count]

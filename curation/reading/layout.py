"""The text of a page's elements, laid out: paragraphs, lists, tables and preformatted text.

`laid_out` writes the elements of an `Outline` that are kept. Blocks stand on lines of their own, paragraphs and
headings have an empty line around them, items of lists begin with • or their number (as `start`, `value`, `type` and
`reversed` say) and are indented, cells of a row are told apart by two tabs, preformatted text stays as it is. With
`markdown` headings begin with #, items with -, and preformatted text is fenced. Leaves out links, images and emphasis.
"""

import re

from curation.reading.outline import TEXT, Outline

BIG = frozenset(["p", "h1", "h2", "h3", "h4"])
"""Blocks with an empty line around them."""
BLOCKS = BIG | frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "caption",
        "center",
        "dd",
        "details",
        "dir",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h5",
        "h6",
        "header",
        "hgroup",
        "hr",
        "li",
        "listing",
        "main",
        "menu",
        "nav",
        "ol",
        "plaintext",
        "pre",
        "section",
        "summary",
        "table",
        "tbody",
        "tfoot",
        "thead",
        "tr",
        "ul",
        "xmp",
    ]
)
LISTS = frozenset(["ul", "ol", "menu", "dir"])
CELLS = frozenset(["td", "th"])
PREFORMATTED = frozenset(["pre", "listing", "xmp", "plaintext"])
VERBATIM = frozenset(["xmp", "plaintext"])
HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
BLANKS = re.compile(r"[ \t\n\r\f]+")
UNEVEN = re.compile(r"[\t\n\r\f]|  ")
NUMBER = re.compile(r' (start|value)="\s*(-?\d+)\s*"')
KIND = re.compile(r' type="([aAiI1])"|list-style(?:-type)?:[^";]*\b((?:lower|upper)-(?:alpha|latin|roman))')
FENCE = "```"


def laid_out(outline: Outline, kept: list[bool], roots: list[int], markdown: bool = False) -> str:
    """The text of `roots`, elements in document order, of which those stay that are `kept` with all around them."""
    writer = _Writer(outline, kept, markdown)
    for root in roots:
        writer.write(root)
    return "".join(writer.out).strip("\n").rstrip()


class _Writer:
    """What is written so far, and what is to be written before the next text: `margin` line ends and a list's mark."""

    def __init__(self, outline: Outline, kept: list[bool], markdown: bool):
        self.outline, self.kept, self.markdown = outline, kept, markdown
        self.out: list[str] = []
        self.margin, self.mark, self.ended, self.pre = 0, "", True, 0
        """`ended`: whether a blank or line end was written last."""
        self.lists: list[int] = []
        """Open lists, as elements."""
        self.numbers: list[int] = []
        self.rows: list[list[bool]] = []
        """Of each open row of a table whether it has text, and whether that takes several lines."""
        self.cell = False
        """Whether a further cell of the innermost row begins with the next text."""

    def write(self, root: int) -> None:
        outline, kept, tags = self.outline, self.kept, self.outline.tags
        place, end = outline.first[root], outline.last[root] + 1
        items = outline.items
        while place < end:
            item = items[place]
            place += 1
            if item >= TEXT:
                self._text(outline.text(item))
            elif item < 0:
                if tags[~item] in BLOCKS:
                    self._ends(~item, tags[~item])
            elif not kept[item]:
                place = (
                    max(outline.last[item] + (items[outline.last[item]] == ~item), place)
                    if outline.last[item]
                    else place
                )
            elif tags[item] in BLOCKS:
                self._begins(item, tags[item])
            elif tags[item] in CELLS:
                self._cell()
            elif tags[item] == "br":
                self._break()

    def _cell(self) -> None:
        """A cell follows the one before on its line, unless that takes several lines."""
        if self._on_one_line():
            self.cell, self.margin, self.ended = True, 0, True
        else:
            self.margin = max(self.margin, 1)

    def _on_one_line(self) -> bool:
        """Whether the innermost row has text, and all of it on one line."""
        return bool(self.rows) and self.rows[-1] == [True, False]

    def _begins(self, element: int, tag: str) -> None:
        self._block(tag)
        if tag == "tr":
            self.rows.append([False, False])
            self.cell = False
        if tag in LISTS:
            self.lists.append(element)
            self.numbers.append(_first_number(self.outline, element) if tag == "ol" else 0)
        elif tag == "li":
            self.mark = self._marked(element)
        elif tag in PREFORMATTED:
            self.pre += 1
            if self.markdown and self.pre == 1:
                self._flush()
                self.out.append(FENCE)
                self.margin, self.ended = 1, False
        elif self.markdown and tag in HEADINGS:
            self.mark = HEADINGS[tag]

    def _ends(self, element: int, tag: str) -> None:
        if tag in PREFORMATTED and self.pre:
            self.pre -= 1
            if self.markdown and not self.pre:
                if self.out and self.out[-1].endswith("\n"):
                    self.out[-1] = self.out[-1].rstrip("\n")
                self.margin = max(self.margin, 1)
                self._flush()
                self.out.append(FENCE)
                self.margin, self.ended = 1, False
        self._block(tag)
        if tag == "tr":
            self.cell = False
            self.margin = 1 if self._on_one_line() else max(self.margin, 1)
            self.rows[-2:] = [[True, True]] if len(self.rows) > 1 else []
        elif tag in LISTS and self.lists:
            self.lists.pop()
            self.numbers.pop()
            self.mark = ""
        elif tag == "li" or tag in HEADINGS:
            self.mark = ""

    def _block(self, tag: str) -> None:
        if self.cell:  # the first block of a cell begins where that does
            return
        self.margin = max(self.margin, 2 if tag in BIG and not self.pre else 1)

    def _break(self) -> None:
        if self.pre:
            self.out.append("\n")
        else:
            self.margin += 1
        self.ended = True

    def _text(self, text: str) -> None:
        if "&" in text:
            text = unescaped(text)
        if not self.pre:
            text = BLANKS.sub(" ", text) if UNEVEN.search(text) else text
            if self.margin or self.ended:
                text = text.lstrip(" ")
        if text:
            self._flush()
            self.out.append(text)
            if self.rows:
                self.rows[-1] = [True, self.rows[-1][1] or (self.pre > 0 and "\n" in text)]
            self.ended = text[-1] in " \n\t"

    def _flush(self) -> None:
        """Line ends, indentation and mark before a text."""
        out = self.out
        if self.cell:
            out[-1] = out[-1].rstrip(" ")
            out.append("\t\t")
            self.cell = False
        elif self.margin:
            while out and not self.pre and not out[-1].rstrip(" "):
                out.pop()
            if self.rows:
                self.rows[-1][1] = self.rows[-1][0]
            if out:
                out[-1] = out[-1] if self.pre else out[-1].rstrip(" ")
                out.append("\n" * self.margin)
            if self.lists and not self.pre:
                depth = len(self.lists) - (self.markdown and bool(self.mark))
                out.append("  " * (depth if self.mark else depth + (not self.markdown)))
        out.append(self.mark)
        self.margin, self.mark = 0, ""

    def _marked(self, element: int) -> str:
        """What an item of a list begins with."""
        if not self.lists or self.outline.tags[self.lists[-1]] != "ol":
            return "- " if self.markdown else "• "
        if given := NUMBER.search(self.outline.attributes(element)):
            self.numbers[-1] = int(given[2])
        attributes = self.outline.attributes(self.lists[-1])
        number = self.numbers[-1]
        self.numbers[-1] += -1 if " reversed" in attributes else 1
        kind = KIND.search(self.outline.attributes(element)) or KIND.search(attributes)
        return f"{numbered(number, (kind[1] or kind[2]) if kind else '1')}. "


def unescaped(text: str) -> str:
    return (
        text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", '"')
        .replace("&nbsp;", "\xa0")
        .replace("&amp;", "&")
    )


def _first_number(outline: Outline, element: int) -> int:
    """The number of a list's first item: `start`, or for a `reversed` list how many there are."""
    attributes = outline.attributes(element)
    if given := NUMBER.search(attributes):
        return int(given[2])
    if " reversed" not in attributes:
        return 1
    inside = range(element + 1, outline.after[element])
    return sum(outline.tags[item] == "li" and outline.parent[item] == element for item in inside)


def numbered(number: int, kind: str) -> str:
    """A number as `type` of a list has it: 1, a, A, i or I, or as style sheets name these."""
    if kind == "1" or number < 1 or (kind[-5:].lower() in ("i", "roman") and number > 3999):
        return str(number)
    if kind in ("i", "I") or kind.endswith("roman"):
        text = _roman(number)
    else:
        text = ""
        while number:
            number, letter = divmod(number - 1, 26)
            text = chr(97 + letter) + text
    return text.upper() if kind.isupper() or kind.startswith("upper") else text


def _roman(number: int) -> str:
    values = (1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1)
    text = ""
    for value, sign in zip(
        values, ["m", "cm", "d", "cd", "c", "xc", "l", "xl", "x", "ix", "v", "iv", "i"], strict=True
    ):
        text += sign * (number // value)
        number %= value
    return text

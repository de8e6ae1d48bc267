"""Pages: HTML as text with its mathematics kept as LaTeX.

`decoded` turns a page's bytes into characters, `extract` gives the main text: formulas are first replaced by marks in
the parsed page, each once, then `curation.reading.content` says which elements are the main text and
`curation.reading.layout` writes them, then $…$ (inline) or $$…$$ (display) stands where a mark did. Formulas are found
in MathML (its TeX annotation or `alttext`, else converted by `curation.reading.mathml`), KaTeX, MathJax 2 to 4 (its
glyphs by `curation.reading.symbols`), and images whose `alt` or address is TeX (Wikipedia, WordPress, AoPS, latex2html,
CodeCogs). Formulas that are text already ($…$, \\(…\\), \\[…\\]) stay as they are, and so does AsciiMath; where a
formula stands of which nothing can be read, `formulas_lost` counts it.

Promises. What a page gives depends on its bytes alone: no clock, no network, no entity from outside. Work is bounded by
the page's length: pages nested deeper than MAX_DEPTH or with endless tags are refused, as time grows with the square of
either (10,000 nested `div` take 4 s); the slowest page of 1 MB that was found takes 9 s. A limit of time would make a
corpus depend on the machine. Leaves out scripts' output (a page that renders in the browser only), frames, and formulas
that only a picture shows.
"""

import codecs
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5
from resiliparse.parse.html import ElementNode, HTMLTree

from curation.reading import mathml
from curation.reading.content import main_content
from curation.reading.layout import laid_out
from curation.reading.outline import Outline, nesting
from curation.reading.symbols import SYMBOL_FONT, glyphs, symbol

REASONS = {
    "nested_too_deeply": "a page with elements nested deeper than any browser shows",
    "endless_tag": "a page with a tag of more words than any has attributes, as text with a stray < has",
    "no_text": "a page without main text",
    "not_html": "content that is no HTML page, whatever its label says",
}
MAX_DEPTH = 512
"""Levels of nested elements; Chromium flattens what is deeper."""
MAX_TAG_WORDS = 20_000
"""Words in one tag; the parser compares each attribute with all before it, 1.5 s for 30,000 and 34 s for 100,000."""
TAG = re.compile(r"<[A-Za-z]")
ANY_TAG = re.compile(r"<[^>]*>")
NOSCRIPT, LONG_WITHOUT_SCRIPTS = re.compile(r"<noscript>(.*?)</noscript>", re.DOTALL), 500
"""Characters that a page shows where there are no scripts, below which they are a notice about that."""
TOO_DEEP = " > ".join(["*"] * (MAX_DEPTH + 1))
META_BYTES = 4096
"""Where a page's own declaration of its encoding is looked for; the HTML standard says 1024."""
BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))

OPEN, CLOSE = "\ufdd0", "\ufdd1"
"""Noncharacters around the number of a formula: no page has them."""
MOSTLY = 4
"""Right characters beyond ASCII for each wrong byte of a page that is UTF-8 all the same."""
SAMPLE = 1 << 14
OTHER_FORMAT = re.compile(
    r"\s*(%PDF-|%!PS|\{\\rtf|GIF8[79]a|.?PNG\r?\n|PK\x03\x04|Rar!|7z..'\x1c|RIFF.{4}|OggS|wOF[F2]|MZ.\x00)", re.DOTALL
)
"""First characters of formats that no page begins with."""
CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\v\f\r\x1b") + b"\x7f"
"""Characters that no text has."""
ODD_CHARACTERS, ODD_SHARE = 20, 0.02
COMMENTS = re.compile(r"<!--.*?-->|<\?xml[^>]*>|/\*.*?\*/", re.DOTALL)
MARKUP = re.compile(
    r"<(!doctype|/?(html|head|body|title|meta|link|div|span|p|br|a|h[1-6]|table|tr|td|ul|ol|li|dl|pre|center|font|b|i|em"
    r"|strong|section|article|main|header|nav|form|img|hr|script|style|math|blockquote|frameset|base|noscript)\b)",
    re.IGNORECASE,
)
"""What a page has near its beginning."""
OTHER_MARKUP = re.compile(
    r"(<!doctype\s+(?!html)\w+|<(rss|feed|urlset|sitemapindex|rdf|rdf:RDF|svg|opml|wml|kml|gpx|plist|"
    r"soap\S*|xs:schema|xsl:\S+|error|response)\b)",
    re.IGNORECASE,
)
MARK = re.compile(f"{OPEN}(\\d+D?){CLOSE}")

SOURCES = "script[type^='math/']"
"""MathJax 2 leaves a formula's source in a script, after what it rendered of it."""
RENDERED = ".MathJax, .MathJax_Display, .MathJax_SVG, .MathJax_SVG_Display, .MathJax_CHTML, .mjx-chtml"
CONTAINERS = f".mwe-math-element, .katex, mjx-container, {RENDERED}"
"""What holds a formula more than once: for the eye, for a reader, and as its source."""
MATHS = "math:not(math math), m\\:math, mml\\:math"
BLOCKS = ".katex-display, .MathJax_Display, .MathJax_SVG_Display, .MJXc-display, .mwe-math-element-block"
TEX_IMAGE = re.compile(r"\b(latex|tex|texrender|latexcenter|mathtex|mwe-math-fallback-image-\w+)\b")
TEX_ADDRESS = re.compile(r"latex\.codecogs\.com|/latex\.php|mathtex\.cgi|mimetex\.cgi|chart\.(googleapis|apis\.google)")
TEX_SETTINGS = re.compile(r"(\\(inline|dpi\{\d+\}|(bg|fg)_\w+|large|small|normalsize|fn_\w+)\s*)+")
COMMENT = re.compile(r"(?<!\\)%[^\n]*(\n\s*)?")
LOOKS_LIKE_TEX = re.compile(r"[\\^_{]|^\s*\S\s*$")
DELIMITERS = (
    ("$$", "$$", True),
    (r"\[", r"\]", True),
    (r"\begin{displaymath}", r"\end{displaymath}", True),
    (r"\begin{math}", r"\end{math}", False),
    (r"\(", r"\)", False),
    ("$", "$", False),
)
PROSE = "p, ul, ol, dl, pre, h1, h2, h3"
"""What is in no formula: a container that holds one was not closed."""
HEADINGS = "h1, h2, h3, .title, .entry-title, .post-title"
TITLE_PARTS = re.compile(r"\s+[-–—|:·»«(]+\s*|\s*[|:(]\s+|\s+\(")
MOST_HEADINGS = 20
"""Headings of a page among which its own is looked for."""
CANONICAL = "link[rel='canonical'], meta[property='og:url']"
ORDINAL = re.compile(r"(st|nd|rd|th|nde|er|re|ère|ème|eme|do|mo|to)s?", re.IGNORECASE)
"""What is raised after a number that counts: 1st, 2nd, 1er."""
TRADE_MARK = re.compile(r"\(?(tm|sm|r|c|®|™|℠|©)\)?", re.IGNORECASE)
NOTE = re.compile(r"[\[(]\s*\w{1,3}\s*[\])]|[*†‡§¶#]+|\[.*\]")
"""The mark of a note after a word."""
PRIMES = frozenset("′″‴'’°ºª")
"""Signs that are raised of themselves."""
NO_BASE = frozenset('.,;:?"“”‘«»–—/\\&~…([{<=≤≥≠→−+-×·')
"""What a raised or lowered text does not belong to, though it stands before it."""
WORDY = re.compile(r"[^\W\d_]{3,}\s+[^\W\d_]{2,}\s+[^\W\d_]{3,}")
INLINE = ("a", "b", "i", "em", "strong", "span", "var", "font", "sub", "sup", "small", "big", "tt", "code", "u", "cite")


class Refused(Exception):
    """A record or page that cannot be used: (reason, detail)."""


@dataclass(frozen=True)
class Page:
    """What a page says: its main text, not yet normalised, and the address it gives itself, if any."""

    text: str
    url: str | None
    share: float
    """Characters of the main text / characters that the page shows."""
    formulas_lost: int
    """Formulas of which nothing could be read."""


def extract(html: str, markdown: bool = False) -> Page:
    """The main text of `html`, and its canonical address. Raises Refused with a reason of REASONS."""
    check_html(html)
    if _has_endless_tag(html):
        raise Refused("endless_tag", f"more than {MAX_TAG_WORDS} words")
    tree = HTMLTree.parse(html.replace(OPEN, "").replace(CLOSE, ""))
    if tree.body is None or tree.document is None:
        raise Refused("no_text", "no body")
    data = html.encode("utf-8", "replace")
    if nesting(data) > MAX_DEPTH and tree.document.query_selector(TOO_DEEP):
        raise Refused("nested_too_deeply", f"more than {MAX_DEPTH} levels")
    url = _canonical(tree)
    formulas = Formulas(tree, data.lower())
    formulas.mark()
    outline = _outline(tree.body.outer_html)
    main = main_content(outline)
    text = laid_out(outline, main.kept, main.roots, markdown)
    text = formulas.restored(_headed(tree, text, markdown))
    if not text.strip():
        raise Refused("no_text", "nothing but navigation")
    return Page(text, url, main.share, formulas.lost)


def _outline(body: str) -> Outline:
    """The outline of a page; where most of its text is for browsers without scripts, that is
    shown, unless it was parsed as text, as it is in some places."""
    outline = Outline.of(body)
    parts = [part for part in NOSCRIPT.findall(body) if "&lt;" not in part] if "<noscript" in body else []
    hidden = sum(len(ANY_TAG.sub("", part)) for part in parts)
    if hidden < max(LONG_WITHOUT_SCRIPTS, int(outline.size[0]) if outline.tags else 0):
        return outline
    return Outline.of(NOSCRIPT.sub(r"<div>\1</div>", body))


def _has_endless_tag(html: str) -> bool:
    pieces = html.split(">")
    if max(map(len, pieces)) <= 2 * MAX_TAG_WORDS:
        return False
    long = (piece for piece in pieces if len(piece) > 2 * MAX_TAG_WORDS)
    return any((tag := TAG.search(piece)) and len(piece[tag.end() :].split()) > MAX_TAG_WORDS for piece in long)


# -- bytes to characters ---------------------------------------------------------------------------------------------


def decoded(data: bytes, declared: str | None = None) -> str:
    """The characters of a page. In this order: byte order mark; UTF-16 where every other byte is 0; UTF-8 where the
    bytes are that, but for a few, as other text hardly ever is; of `declared` (by the server), the page's own <meta>
    and the encoding that Resiliparse detects the first in which no byte is wrong, or the fewest. Those are U+FFFD."""
    for mark, name in BOMS:
        if data.startswith(mark):
            return data.decode(name, "replace")
    if wide := _without_mark(data):
        return data.decode(wide, "replace")
    if b"\x1b" not in data:  # ISO-2022-JP is ASCII with escapes
        text = data.decode("utf-8", "replace")
        wrong = text.count("\ufffd") - data.count("\ufffd".encode()) if "\ufffd" in text else 0
        if not wrong or wrong * MOSTLY <= len(text) - len(text.encode("ascii", "ignore")) - wrong:
            return text
    own = detect_encoding(data[:META_BYTES], from_html_meta=True) if b"charset" in data[:META_BYTES].lower() else None
    named = [known for name in (declared, own, detect_encoding(data)) if name and (known := _known(name))]
    return min((data.decode(known, "replace") for known in [*named, "cp1252"]), key=lambda text: text.count("\ufffd"))


def _known(name: str) -> str | None:
    """Python's name of an encoding. A page that could be read so far is not in UTF-16, whatever it says."""
    known = map_encoding_to_html5(name, False)
    try:
        return None if not known or codecs.lookup(known).name.startswith("utf-16") else known
    except LookupError:  # a name of the standard that Python lacks
        return None


def _without_mark(data: bytes) -> str | None:
    """UTF-16 by the zeros that markup has in it."""
    even, odd = (data[start:META_BYTES:2].count(0) for start in (0, 1))
    many = min(len(data), META_BYTES) // 8
    if many and max(even, odd) > many and min(even, odd) * 20 < max(even, odd):
        return "utf-16-le" if odd > even else "utf-16-be"
    return None


def check_html(html: str) -> None:
    """Refuse what is no page, whatever its server or name says: other formats by their first characters, bytes that are
    no text by the share of characters that no text has."""
    sample = html[:SAMPLE]
    if OTHER_FORMAT.match(sample):
        raise Refused("not_html", f"begins with {sample.strip()[:40]!r}")
    data = sample.encode("utf-8", "replace")
    odd = len(data) - len(data.translate(None, CONTROLS)) + sample.count("\ufffd")
    if odd > max(ODD_CHARACTERS, len(sample) * ODD_SHARE):
        raise Refused("not_html", f"{odd} of {len(sample)} characters are those of no text")


def check_markup(html: str) -> None:
    """Refuse what is text and no markup, or markup of another kind: JSON, scripts, style sheets, feeds."""
    check_html(html)
    begin = COMMENTS.sub("", html[:SAMPLE]).lstrip("\ufeff \t\r\n")
    if not MARKUP.search(begin) or OTHER_MARKUP.match(begin) or (begin[:1] in "{[/(;!" and not begin.startswith("<")):
        raise Refused("not_html", f"begins with {begin[:40]!r}")


# -- formulas --------------------------------------------------------------------------------------------------------


class Formulas:
    """The formulas of one page: `mark` puts marks in their places, `restored` LaTeX in place of the marks."""

    def __init__(self, tree: HTMLTree, html: bytes):
        self.tree = tree
        self.html = html
        self.document: Any = tree.document
        self.found: list[str] = []
        self.lost = 0

    def mark(self) -> None:
        """Each formula once: sources before what was rendered of them, the whole before its parts."""
        self._symbols()
        sources = self._all(SOURCES, b"math/")
        for script in sources:
            self._replace_source(script)
        for node in self._all(CONTAINERS, b"math", b"mjx", b"katex"):
            if sources and node.matches(RENDERED) and node.tag != "mjx-container":
                node.remove()
            elif not node.query_selector(PROSE) and OPEN not in (node.text or ""):
                tex, display = _of_container(node)
                self.lost += tex is None
                self._replace(node, tex, display)
        if sources:
            for preview in self._all(".MathJax_Preview"):
                if OPEN not in (preview.text or ""):
                    preview.remove()
        for node in self._all(MATHS, b"<math", b":math"):
            self._replace(node, *_of_math(node))
        for image in self._all("img", b"<img"):
            tex, display = _of_image(image)
            self.lost += tex is None and bool(TEX_IMAGE.search(image.getattr("class") or ""))
            self._replace(image, tex, display)
        for node in reversed(self._all("sup, sub", b"<su")):  # what is within a script first
            self._script(node)

    def _symbols(self) -> None:
        """Greek letters and signs that are Latin ones in the font Symbol."""
        for node in self._all("font[face], [style*='ymbol']", b"symbol"):
            face, style = (node.getattr(name) or "" for name in ("face", "style"))
            if re.fullmatch(r"\W*(standard )?symbol\b\W*(,.*)?", face, re.IGNORECASE) or SYMBOL_FONT.search(style):
                self._put(node, symbol(node.text or ""))

    def _replace_source(self, script: ElementNode) -> None:
        """A script that holds a formula's source. AsciiMath stays as it was written; of another kind nothing is known,
        and what was rendered of it goes as well."""
        kind = (script.getattr("type") or "").lower()
        if kind.startswith("math/asciimath"):
            self._put(script, f" {' '.join((script.text or '').split())} ")
            return
        tex, display = _of_script(script)
        self.lost += tex is None
        self._replace(script, tex, display)

    def restored(self, text: str) -> str:
        """`text` with the LaTeX in place of the marks, displayed formulas on lines of their own."""
        before, *rest = MARK.split(text)
        pieces = [before]
        for number, after in zip(rest[::2], rest[1::2], strict=True):
            display, tex = number.endswith("D"), self.found[int(number.rstrip("D"))]
            if display:
                stop = after[:1] if after[:1] in tuple(".,;:") else ""
                pieces[-1] = pieces[-1].rstrip(" \t") + ("" if pieces[-1].endswith("\n") else "\n")
                pieces += [f"$${tex}$${stop}", "\n" + after.removeprefix(stop).lstrip(" \t").removeprefix("\n")]
            else:
                pieces += [" "] if "".join(pieces[-2:]).endswith("$") else []  # $a$$b$ would read as a display
                pieces += [f"${tex}$", after]
        return "".join(pieces)

    def _all(self, selector: str, *signs: bytes) -> list[ElementNode]:
        """The elements that fit; none is looked for where the page holds none of `signs`, if there are any."""
        if signs and not any(sign in self.html for sign in signs):
            return []
        return self.document.query_selector_all(selector).values()

    def _replace(self, node: ElementNode, tex: str | None, display: bool) -> None:
        """A mark in place of `node`; nothing happens where it shows no formula."""
        if tex is None:
            return
        tex, display = _undelimited(tex, display)
        if tex:
            self._put(node, f"{OPEN}{len(self.found)}{'D' if display else ''}{CLOSE}")
            self.found.append(tex)
        else:
            node.remove()

    def _put(self, node: ElementNode, text: str) -> None:
        node.replace_with(self.document.create_text_node(text))

    def _script(self, node: ElementNode) -> None:
        """x<sup>2</sup> as x^2: read without it, 10<sup>6</sup> is 106. Notes, ordinals and trade marks stay."""
        raised, text, base = node.tag == "sup", " ".join((node.text or "").split()), _base(node)
        if not text or not base or base[-1] in NO_BASE or (raised and _is_no_exponent(node, text, base)):
            return
        if raised and text in PRIMES:
            self._put(node, text)
        else:
            self._put(node, ("^" if raised else "_") + (text if len(text) == 1 else f"{{{text}}}"))


def _base(node: ElementNode) -> str:
    """The text that stands right before `node`, at most its last 40 characters; a space within it does not count."""
    place: Any = node
    while place is not None and place.previous_sibling is None:
        place = place.parent
        if place is None or place.tag not in INLINE:
            return ""
    before = place.previous_sibling if place is not None else None
    text = ((before.text if before is not None else "") or "")[-40:]
    stripped = text.rstrip()
    return stripped if stripped == text or re.search(r"(^|\W)[^\W\d_]\Z|[)\]}]\Z", stripped) else ""


def _is_no_exponent(node: ElementNode, text: str, base: str) -> bool:
    """Whether raised `text` is an ordinal, a trade mark or a note, by what it stands after and what it links to."""
    word = re.search(r"[^\W_]*\Z", base)
    after = word[0] if word else ""
    link = node.query_selector("a") or node.closest("a")
    if link is not None and (node.query_selector("a") or " ".join((link.text or "").split()) == text):
        return True
    if ORDINAL.fullmatch(text) and (after[-1:].isdigit() or re.search(r"\d\)\Z", base) or text.lower() == "th"):
        return True
    if text == "e" and re.fullmatch(r"[IVXLC]{2,}", after):  # the French XIXe
        return True
    if len(after) > 1 and after.isalpha():
        return bool((len(after) > 2 or len(text) > 1) and TRADE_MARK.fullmatch(text)) or bool(NOTE.fullmatch(text))
    return bool(WORDY.search(text))


Formula = tuple[str | None, bool]
"""TeX, None where there is no formula, and whether it is displayed."""


def _of_script(script: ElementNode) -> Formula:
    kind = script.getattr("type") or ""
    if kind.startswith("math/tex"):
        return script.text or "", "mode=display" in kind.replace(" ", "")
    return _of_markup(script.text or "") if kind.startswith("math/mml") else (None, False)


def _of_container(node: ElementNode) -> Formula:
    display = node.getattr("display") == "true" or node.matches(BLOCKS) or node.closest(BLOCKS) is not None
    if math := node.query_selector("math"):
        tex, block = _of_math(math)
        return tex, display or block
    if image := node.query_selector("img[alt]"):
        return _of_image(image)
    for part in (node, node.query_selector("[data-mathml]")):
        if part and (markup := part.getattr("data-mathml")):
            tex, block = _of_markup(markup)
            return tex, display or block
    if source := node.query_selector("[data-latex]"):
        return source.getattr("data-latex"), display
    if node.tag == "mjx-container" and (markup := glyphs(node)):
        return _of_markup(markup)[0], display
    return None, display


def _of_markup(markup: str) -> Formula:
    math = HTMLTree.parse(markup).document
    found = math.query_selector("math") if math else None
    return _of_math(found) if found else (None, False)


def _of_math(math: ElementNode) -> Formula:
    """TeX of a `math` element: its annotation, its own attributes, or what `curation.reading.mathml` makes of it."""
    display = math.getattr("display") == "block" or math.getattr("mode") == "display"
    for annotation in math.get_elements_by_tag_name("annotation"):
        if "tex" in (annotation.getattr("encoding") or "").lower():
            return annotation.text or "", display
    written = math.getattr("data-latex") or math.getattr("alttext") or ""
    return (written if LOOKS_LIKE_TEX.search(written) else mathml.latex(math)), display


def _of_image(image: ElementNode) -> Formula:
    """TeX of an image: of its `alt` where class, address or dollars say that it is TeX, else of its address."""
    alt, kind = (image.getattr("alt") or "").strip(), image.getattr("class") or ""
    address = image.getattr("src") or image.getattr("data-src") or ""
    display = "display" in kind or "latexcenter" in kind
    if TEX_ADDRESS.search(address):
        return alt if LOOKS_LIKE_TEX.search(alt) else _of_address(address), display
    tex = TEX_IMAGE.search(kind) and LOOKS_LIKE_TEX.search(alt)
    return alt if tex or _undelimited(alt, display)[0] != _tidy(alt) else None, display


def _of_address(address: str) -> str:
    """The TeX in the query of a rendering service."""
    query = urlsplit(address).query.replace("&space;", " ").replace("&plus;", "+")
    fields = parse_qs(query.replace("+", "%2B") if "codecogs" in address else query)
    tex = next((fields[name][0] for name in ("latex", "chl", "formdata") if name in fields), unquote(query))
    return TEX_SETTINGS.sub("", tex)


def _undelimited(tex: str, display: bool) -> Formula:
    """`tex` without dollars or the like around it, and whether they, or a style within, say that it is displayed."""
    tex = _tidy(tex)
    for opened, closed, block in DELIMITERS:
        if len(tex) > len(opened + closed) and tex.startswith(opened) and tex.endswith(closed):
            return _tidy(tex[len(opened) : -len(closed)]), display or block
    return tex, display


def _tidy(tex: str) -> str:
    """`tex` in one line, without comments and without the style that Wikipedia and LaTeXML put around it."""
    tex = " ".join(COMMENT.sub(lambda comment: "" if comment[1] else comment[0], tex).split())
    if styled := re.fullmatch(r"\{\s*\\(?:display|text)style\b\s*(.*)\}", tex):
        tex = styled[1].strip() if _balanced(styled[1]) else tex
    return re.sub(r"^\\(?:display|text)style\b\s*", "", tex)


def _balanced(tex: str) -> bool:
    depth = 0
    for sign in re.findall(r"(?<!\\)[{}]", tex):
        depth += 1 if sign == "{" else -1
        if depth < 0:
            return False
    return depth == 0


# -- the page around them --------------------------------------------------------------------------------------------


def _canonical(tree: HTMLTree) -> str | None:
    node = tree.document.query_selector(CANONICAL) if tree.document else None
    address = (node.getattr("href") or node.getattr("content") or "").strip() if node else ""
    return address if re.match(r"https?://\S+\Z", address) else None


def _headed(tree: HTMLTree, text: str, markdown: bool) -> str:
    """`text` with the page's heading before it, should that stand outside of the main text. A heading is the page's if
    the title says the same; of several it is the longest, for a title often names the site as well."""
    title = " ".join((tree.title or "").split())
    if not text.strip() or not title or not tree.document:
        return text
    nodes = tree.document.query_selector_all(HEADINGS).values()[:MOST_HEADINGS]
    parts = [part for part in TITLE_PARTS.split(title) if len(part) > 3]
    lines = (" ".join((node.text or "").split()) for node in nodes)
    heading = max((line for line in lines if _says(line, title, parts)), key=len, default="")
    first = (" ".join(line.split()).lstrip("# ") for line in text[: 4 * len(heading) + 400].split("\n"))
    return text if not heading or heading in first else f"{'# ' * markdown}{heading}\n\n{text}"


def _says(line: str, title: str, parts: list[str]) -> bool:
    """Whether a heading says what the title does: one is in the other, or a part of the title is most of the heading,
    as in `Class Field` for `Field (Library 3.6)`."""
    whole = bool(line) and (line in title or title in line)
    return whole or any(part in line and len(line) <= 2 * len(part) + 10 for part in parts)

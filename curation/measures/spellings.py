"""One spelling for the many that a text has: what two texts are compared by, and nothing that anybody reads.

`x^{2}`, `x²`, `x**2` and `x<sup>2</sup>` are one formula; so are `\\frac{a}{b}`, `\\dfrac ab` and a/b, `\\sqrt2`, √2,
`\\le`, ≤ and <=, `\\pi` and π, `3 \\times 4`, 3 × 4 and 3 * 4, x − y and x - y, ½ and 1/2. `**bold**`, `_slanted_`
and `<b>` are no words, nor are bullets, quotation marks of mail, dashes between words and lines that rule a title off.
`spelled` writes all of that alike, as text for `curation.measures.words.split`: signs by their names in LaTeX,
comparisons in ASCII, a script beside what it belongs to, braces and delimiters as spaces, and a sign of multiplication
between numbers alone (2 · x is 2x). What a number is, which operator stands between two, and the order of everything
stay: digits are never folded.

`glued` is for the texts that are looked for: scripts joined to what they belong to (`a_n` as an, `10^5` as 105), as
extractors leave them that lose markup. One pass of a compiled loop over bytes. Leaves out what only a renderer could
tell: which letters beside each other are one name.
"""

import unicodedata
from dataclasses import dataclass
from html.entities import name2codepoint

import numba
import numpy as np
import pyarrow as pa

from curation.measures.words import FNV_OFFSET, FNV_PRIME, Words, split, utf8

SIGNS = {
    "×": "*", "·": "*", "⋅": "*", "∙": "*", "∗": "*", "✕": "*", "✖": "*", "⋆": "*", "÷": "/", "∕": "/", "⁄": "/",
    "≤": "<=", "⩽": "<=", "≦": "<=", "≥": ">=", "⩾": ">=", "≧": ">=", "≠": "!=", "±": "pm", "∓": "mp",
    "→": "->", "⟶": "->", "←": "<-", "⇒": "=>", "⟹": "=>", "⇔": "<=>", "⟺": "<=>", "↔": "<->", "↦": "mapsto",
    "√": "sqrt", "∛": "sqrt 3", "∜": "sqrt 4", "∞": "infty", "∑": "sum", "∏": "prod", "∫": "int", "∬": "iint",
    "∭": "iiint", "∮": "oint", "∂": "partial", "∇": "nabla", "∈": "in", "∉": "notin", "∋": "ni", "⊂": "subset",
    "⊆": "subseteq", "⊃": "supset", "⊇": "supseteq", "∪": "cup", "∩": "cap", "∅": "emptyset", "∀": "forall",
    "∃": "exists", "¬": "neg", "∧": "wedge", "∨": "vee", "≡": "equiv", "≈": "approx", "∼": "sim", "≅": "cong",
    "∝": "propto", "∠": "angle", "△": "triangle", "▵": "triangle", "⊥": "perp", "∥": "parallel", "⊕": "oplus",
    "⊗": "otimes", "≪": "ll", "≫": "gg", "∖": "setminus", "ℓ": "ell", "ℏ": "hbar", "°": "degrees", "º": "degrees",
    "∘": "degrees", "˚": "degrees", "′": "", "″": "", "‴": "", "…": "", "⋯": "", "⋮": "", "⋱": "", "∣": "", "∤": "nmid",
    "⌊": "", "⌋": "", "⌈": "", "⌉": "", "⟨": "", "⟩": "", "〈": "", "〉": "", "©": "copyright", "®": "", "™": "",
    "\u2062": "", "ϕ": "phi", "ϵ": "epsilon", "ϑ": "theta", "ϱ": "rho", "ς": "sigma", "∆": "delta", "Ω": "omega",
    "µ": "mu", "ı": "i", "ȷ": "j",
}  # fmt: skip
"""Signs and what they are written as, between spaces."""
GREEK_NAMES = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon phi chi "
    "psi omega gamma delta theta lambda xi pi sigma upsilon phi psi omega"
)
GREEK = dict(zip("αβγδεζηθικλμνξοπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩ", GREEK_NAMES.split(), strict=True))
NOTHING = "\u00ad\u200b\u200c\u200d\u2060\u2061\u2063\u2064\ufeff"
"""Left out, and what is beside them stays together; so do combining marks."""
DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"
BULLETS = "·∙⋅"
"""Signs of multiplication that begin a line as bullets."""

COMMANDS = {
    "times cdot ast star": "*", "div over": "/", "le leq leqslant leqq": "<=", "ge geq geqslant geqq": ">=",
    "ne neq": "!=", "lt": "<", "gt": ">", "not": "!", "dbinom tbinom": "binom", "to rightarrow longrightarrow": "->",
    "gets leftarrow": "<-", "Rightarrow Longrightarrow implies": "=>", "iff Leftrightarrow Longleftrightarrow": "<=>",
    "leftrightarrow": "<->", "varphi": "phi", "varepsilon": "epsilon", "vartheta": "theta", "varrho": "rho",
    "varsigma": "sigma", "land": "wedge", "lor": "vee", "lnot": "neg", "varnothing": "emptyset",
    "bigtriangleup": "triangle",
    "bigcup": "cup", "bigcap": "cap", "circ degree textdegree": "degrees", "bmod pmod": "mod", "simeq": "sim",
    "thicksim": "sim", "smallsetminus": "setminus", "subsetneq": "subset", "slash": "/", "thinspace": "",
    "prime ldots cdots dots dotsc dotsb dotso vdots ddots mid vert lvert rvert Vert lVert rVert lfloor rfloor lceil "
    "rceil langle rangle lbrace rbrace lbrack rbrack left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl "
    "biggr Biggl Biggr displaystyle textstyle scriptstyle limits nolimits quad qquad enspace colon nonumber notag "
    "hline centering noindent par newline item rm bf it text textrm textbf textit texttt textsf textsc textnormal emph "
    "mbox hbox boxed "
    "fbox underline underbrace overbrace ensuremath smash displaylines": "",
}  # fmt: skip
FRACTIONS = "frac dfrac tfrac cfrac sfrac nicefrac"
FONTS = (
    "mathrm mathbf mathit mathbb mathcal mathfrak mathsf mathtt mathscr boldsymbol bm pmb operatorname overline bar "
    "vec hat widehat tilde widetilde dot ddot overrightarrow acute grave breve check"
)
"""Commands whose argument stays joined to what is beside it."""
WITH_ARGUMENT = "begin end label tag hspace vspace color textcolor ref eqref cite phantom hphantom vphantom"
"""Commands that go with their argument."""
TAGS = (
    "b i em strong u s sup sub p br span div code tt small big a font li ul ol td th tr table tbody mark del ins var "
    "h1 h2 h3 h4 h5 h6 center hr blockquote pre"
)
FRACTION, FONT, ARGUMENT = -1, -2, -3
"""What is to be done at a command, below the numbers of what it is replaced by."""
_COPY, _BACKSLASH, _OPEN, _CLOSE, _SCRIPT, _UNDERSCORE, _STAR, _DASH, _RULE, _PLUS, _LESS, _MORE, _AND, _X, _LEAD = (
    range(15)
)
_GROUP, _JOINED, _NUMERATOR = 0, 1, 2
DEPTH, LONGEST_TAG, LOOK_BACK = 64, 160, 64
"""Groups within groups; bytes of a tag; bytes that are looked back over, so that no text takes quadratic time."""
KEEP, OMIT, SMALL, DASH, BULLET = 0, 1, 2, 3, 4
"""How a character is replaced: not at all; by nothing; as a script; as a dash; as a sign that may be a bullet. Above
these: `PLAIN`, by what the table says."""
PLAIN = 5


def _bytes(*, letters: bool, others: bytes) -> np.ndarray:
    """Whether each byte is one of `others`, or one of letters and digits."""
    found = np.zeros(256, np.bool_)
    found[list(others)] = True
    found[0x80:] |= letters
    found[[byte for byte in range(128) if chr(byte).isalnum()]] |= letters
    return found


ENDS_TERM, BEGINS_TERM = _bytes(letters=True, others=b")]}|!'$"), _bytes(letters=True, others=b"([{\\$")
WORD_LEADS = _bytes(letters=False, others=bytes({*range(0xC3, 0xF0)} - {0xCE, 0xCF, 0xE2}))
"""First bytes of characters that are letters of words: neither Greek ones nor signs."""
NAMES = 1 << 11
"""Slots of the table of names."""


def _byte_classes() -> np.ndarray:
    classes = np.full(256, _COPY, np.uint8)
    classes[0xC2:0xF5] = _LEAD
    for characters, name in (
        ("\\", _BACKSLASH), ("{", _OPEN), ("}", _CLOSE), ("^_", _SCRIPT), ("*", _STAR), ("-", _DASH),
        ("=", _RULE), ("+", _PLUS), ("<", _LESS), (">", _MORE), ("&", _AND), ("xX", _X),
    ):  # fmt: skip
        classes[np.frombuffer(characters.encode(), np.uint8)] = name
    return classes


def _slot(code: int) -> int:
    """Place of a character in the table, -1 for one that is never replaced."""
    for first, last, start in RANGES:
        if first <= code < last:
            return start + code - first
    return -1


RANGES = ((0, 0x3100, 0), (0xFB00, 0xFB07, 0x3100), (0xFF00, 0xFFF0, 0x3107), (0x1D400, 0x1D800, 0x31F7))
SLOTS = 0x31F7 + 0x400


def _replaced(character: str) -> tuple[int, str]:
    """(how, by what) `character` is replaced."""
    if character in DASHES:
        return DASH, "-"
    if character in NOTHING or unicodedata.combining(character):
        return OMIT, ""
    if character in SIGNS or character in GREEK:
        return (BULLET if character in BULLETS else PLAIN), f" {SIGNS.get(character) or GREEK.get(character, '')} "
    tag, _, _ = unicodedata.decomposition(character).partition(">")
    compatible = unicodedata.normalize("NFKC", character)
    if not tag.startswith("<") or compatible == character:
        return KEEP, ""
    written = "".join(_replaced(one)[1] if ord(one) > 127 and _replaced(one)[0] else one for one in compatible)
    if tag in ("<super", "<sub"):
        return SMALL, written
    return PLAIN, f" {written} " if tag == "<fraction" else written


@dataclass(frozen=True)
class _Replacements:
    """Texts by number, in the order in which they were asked for."""

    parts: dict[bytes, int]

    def number(self, text: str) -> int:
        return self.parts.setdefault(text.encode(), len(self.parts))

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """The texts end to end, and where each begins."""
        return np.frombuffer(b"".join(self.parts), np.uint8), np.cumsum([0, *map(len, self.parts)])


def _hash(name: str) -> int:
    value = int(FNV_OFFSET)
    for byte in name.encode():
        value = (value ^ byte) * int(FNV_PRIME) % (1 << 64)
    return value


def _tables() -> tuple[np.ndarray, ...]:
    """Classes of bytes; how and by what a character is replaced; names (of commands, entities and tags) by their
    hashes and what is to be done at each; the replacements."""
    texts = _Replacements({b" ": 0})
    how, what = np.zeros(SLOTS, np.uint8), np.zeros(SLOTS, np.int32)
    for first, last, _ in RANGES:
        for code in range(max(first, 0x80), last):
            kind, written = _replaced(chr(code))
            how[_slot(code)], what[_slot(code)] = kind, texts.number(written) if kind >= SMALL else 0
    names: dict[int, int] = {}
    for sign, name in (*SIGNS.items(), *GREEK.items()):
        if name.isalpha() and sign.islower() | (sign not in GREEK):
            names[_hash(name)] = names[_hash(name.capitalize())] = texts.number(f" {name} ")
    for several, written in COMMANDS.items():
        names |= {_hash(name): texts.number(f" {written} ") for name in several.split()}
    for kind, several in (
        (FRACTION, "frac dfrac tfrac cfrac sfrac nicefrac"),
        (FONT, FONTS),
        (ARGUMENT, WITH_ARGUMENT),
    ):
        names |= {_hash(name): kind for name in several.split()}
    names |= {_hash(f"<{name}"): 0 for name in TAGS.split()}
    for name, code in name2codepoint.items():
        names[_hash(f"&{name}")] = code << 12 | 0xFFF  # a character, to be looked up as such
    return (_byte_classes(), how, what, *_slots(names), *texts.arrays())


def _slots(names: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A hash table: keys by their lower bits, the next free slot if taken, and the values beside them."""
    keys, values = np.zeros(NAMES, np.uint64), np.zeros(NAMES, np.int64)
    for key, value in names.items():
        place = key % NAMES
        while keys[place]:
            place = (place + 1) % NAMES
        keys[place], values[place] = key, value
    return keys, values


TABLES = _tables()
ROOM = 8
"""Bytes that one byte may become."""


def spelled(texts: pa.Array | list[str], glued: bool = False) -> pa.Array:
    """`texts`, each with one spelling of what has several. NULL counts as empty."""
    data, offsets = utf8(texts)
    written, ends, _ = _spell(data, offsets, glued, False, *TABLES)
    return pa.Array.from_buffers(pa.large_binary(), len(ends) - 1, [None, pa.py_buffer(ends), pa.py_buffer(written)])


def spelled_words(texts: pa.Array | list[str], glued: bool = False) -> Words:
    """The words of `texts` in their one spelling."""
    return split(spelled(texts, glued))


def spelled_places(text: str) -> tuple[bytes, np.ndarray]:
    """`text` in its one spelling, and for each byte of that the byte of `text` that it stands for."""
    data, offsets = utf8([text])
    written, _, places = _spell(data, offsets, False, True, *TABLES)
    return written.tobytes(), places


# -- the loop --------------------------------------------------------------------------------------------------------


@numba.njit(cache=True, nogil=True)
def _is_letter(byte):
    return (byte | 32) >= 97 and (byte | 32) <= 122


@numba.njit(cache=True, nogil=True)
def _is_digit(byte):
    return byte >= 48 and byte <= 57


@numba.njit(cache=True, nogil=True)
def _is_space(byte):
    return byte == 32 or byte == 10 or byte == 9


@numba.njit(cache=True, nogil=True)
def _at(data, place, start, end):
    """The byte at `place`, a line end beyond the text."""
    return data[place] if start <= place < end else np.uint8(10)


@numba.njit(cache=True, nogil=True)
def _before(data, at, start):
    """The last byte before `at` that is no blank; a line end where there is none."""
    at -= 1
    while at >= start and (data[at] == 32 or data[at] == 9):
        at -= 1
    return data[at] if at >= start else np.uint8(10)


@numba.njit(cache=True, nogil=True)
def _beyond_blanks(data, at, end):
    """The place of the first byte from `at` on that is no blank."""
    while at < end and (data[at] == 32 or data[at] == 9):
        at += 1
    return at


@numba.njit(cache=True, nogil=True)
def _begins_line(data, at, start):
    """Whether nothing but blanks and marks of quotation stand before `at` in its line."""
    first = max(start, at - LOOK_BACK)
    at -= 1
    while at >= first and (data[at] == 32 or data[at] == 9 or data[at] == 62):
        at -= 1
    return at < start or data[at] == 10


@numba.njit(cache=True, nogil=True)
def _number_alone(data, at, end):
    """Whether the rest of the line from `at` on is one number, as below a sum that is set in columns."""
    at = _beyond_blanks(data, at, end)
    first = at
    while at < end and (_is_digit(data[at]) or data[at] == 46 or data[at] == 44):
        at += 1
    found = at > first
    at = _beyond_blanks(data, at, end)
    return found and (at >= end or data[at] == 10)


@numba.njit(cache=True, nogil=True)
def _is_bullet(data, at, length, start, end):
    """Whether the sign at `at` begins a line as a bullet."""
    following = _at(data, at + length, start, end)
    if not (following == 32 or following == 9) or not _begins_line(data, at, start):
        return False
    return not _number_alone(data, at + length, end)


@numba.njit(cache=True, nogil=True)
def _has_star(data, at, step, start, end):
    """Whether another star stands in the run without spaces from `at` on, in the direction of `step`."""
    at += step
    while start <= at < end and not _is_space(data[at]):
        if data[at] == 42:
            return True
        at += step
    return False


@numba.njit(cache=True, nogil=True)
def _in_row(data, at, start, end):
    """Whether another star stands by itself next to the star at `at`, with blanks between: a rule of stars."""
    left, right = at - 1, _beyond_blanks(data, at + 1, end)
    while left > start and (data[left] == 32 or data[left] == 9):
        left -= 1
    before = _at(data, left, start, end) == 42 and _is_space(_at(data, left - 1, start, end))
    return before or (_at(data, right, start, end) == 42 and _is_space(_at(data, right + 1, start, end)))


@numba.njit(cache=True, nogil=True)
def _multiplies(data, at, start, end):
    """Whether the single star at `at` is an operator and no emphasis, bullet or part of a line of stars."""
    left, right = _at(data, at - 1, start, end), _at(data, at + 1, start, end)
    before, after = _before(data, at, start), _at(data, _beyond_blanks(data, at + 1, end), start, end)
    if _is_space(left) and _is_space(right):
        return before != 10 and after != 10 and not _in_row(data, at, start, end)
    if _is_space(left) or _is_space(right):
        numbers = (_is_digit(before) or before == 41) and (_is_digit(after) or after == 40)
        return numbers and not _has_star(data, at, 1 if _is_space(left) else -1, start, end)
    begins = BEGINS_TERM[right] or (right == 45 and _is_digit(_at(data, at + 2, start, end)))
    return ENDS_TERM[left] and begins


@numba.njit(cache=True, nogil=True)
def _dash(data, at, length, start, end, word_before):
    """What becomes of `length` bytes of dashes at `at`: a minus or a space. `word_before`: a word of two letters and
    more stands before, maybe with a space between."""
    left, right = _at(data, at - 1, start, end), _at(data, at + length, start, end)
    if data[at] == 45 and right == 62:  # an arrow of any length
        return np.uint8(45)
    if _is_bullet(data, at, length, start, end):
        return np.uint8(32)
    if data[at] == 45 and length > 1 and not (length == 2 and _is_digit(left) and _is_digit(right)):
        return np.uint8(32)
    after = at + length
    while after < end and _is_space(data[after]):
        after += 1
    first, second = _at(data, after, start, end), _at(data, after + 1, start, end)
    word_after = (_is_letter(first) and _is_letter(second)) or WORD_LEADS[first]
    apart = _is_space(left) and _is_space(right)
    if word_before and word_after and (apart or data[at] != 45):
        return np.uint8(32)
    if data[at] == 0xE2 and (data[at + 2] == 0x94 or data[at + 2] == 0x95):  # dashes that are as long as an m
        return np.uint8(32)
    return np.uint8(45)


@numba.njit(cache=True, nogil=True)
def _tag(data, at, end, keys, values):
    """The place after the HTML tag that begins at `at`, and its name's hash; `at` where there is none."""
    place = at + 1 if _at(data, at + 1, at, end) != 47 else at + 2
    value, first = (FNV_OFFSET ^ np.uint64(60)) * FNV_PRIME, place
    while place < end and place - first < 12 and (_is_letter(data[place]) or _is_digit(data[place])):
        lower = data[place] | 32 if _is_letter(data[place]) else data[place]
        value = (value ^ np.uint64(lower)) * FNV_PRIME
        place += 1
    if place == first or place >= end or _known(value, keys, values) != 0:
        return at
    if data[place] == 62:
        return place + 1
    # attributes: a name, then "="; or the slash of <br />
    place = _beyond_blanks(data, place, end)
    first = place
    while place < end and (_is_letter(data[place]) or data[place] == 45):
        place += 1
    sign = _at(data, place, at, end)
    if not ((sign == 61 and place > first) or (sign == 47 and place == first)):
        return at
    while place < end and place - at < LONGEST_TAG and data[place] != 62 and data[place] != 60:
        place += 1
    return place + 1 if place < end and data[place] == 62 else at


@numba.njit(cache=True, nogil=True)
def _known(value, keys, values):
    """What is to be done at the name with the hash `value`; below ARGUMENT for a name that is not known."""
    place = np.int64(value & np.uint64(NAMES - 1))
    while keys[place] and keys[place] != value:
        place = (place + 1) & (NAMES - 1)
    return values[place] if keys[place] else np.int64(ARGUMENT - 1)


@numba.njit(cache=True, nogil=True)
def _entity(data, at, end, keys, values):
    """(code point, place after) of the entity that begins at `at`; -1 for none."""
    place = at + 1
    if _at(data, place, at, end) == 35:
        place, code, base = place + 1, np.int64(0), 10
        if _at(data, place, at, end) in (120, 88):
            place, base = place + 1, 16
        first = place
        while place < end and place - first < 8:
            byte = data[place]
            if _is_digit(byte):
                code = code * base + np.int64(byte) - 48
            elif base == 16 and (byte | 32) >= 97 and (byte | 32) <= 102:
                code = code * base + np.int64(byte | 32) - 87
            else:
                break
            place += 1
        valid = place > first and _at(data, place, at, end) == 59 and 32 <= code < 0x20000
        return (code, place + 1) if valid else (np.int64(-1), at)
    value = (FNV_OFFSET ^ np.uint64(38)) * FNV_PRIME
    while place < end and place - at < 10 and (_is_letter(data[place]) or _is_digit(data[place])):
        value = (value ^ np.uint64(data[place])) * FNV_PRIME
        place += 1
    if place == at + 1 or _at(data, place, at, end) != 59:
        return np.int64(-1), at
    found = _known(value, keys, values)
    return (found >> 12, place + 1) if found > 0 and found & 0xFFF == 0xFFF else (np.int64(-1), at)


@numba.njit(cache=True, nogil=True)
def _code_point(data, at, end):
    """(code point, length in bytes) of the character that begins at `at`."""
    byte = np.int64(data[at])
    length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
    if at + length > end:
        return np.int64(0), 1
    code = byte & (0x7F >> length)
    for place in range(at + 1, at + length):
        code = code << 6 | (np.int64(data[place]) & 0x3F)
    return code, length


@numba.njit(cache=True, nogil=True)
def _place_of(code):
    if code < 0x3100:
        return code
    if 0xFB00 <= code < 0xFB07:
        return code - 0xFB00 + 0x3100
    if 0xFF00 <= code < 0xFFF0:
        return code - 0xFF00 + 0x3107
    return code - 0x1D400 + 0x31F7 if 0x1D400 <= code < 0x1D800 else np.int64(-1)


@numba.njit(cache=True, nogil=True)
def _greek_word(data, at, end):
    """The length in bytes of the Greek word that begins at `at`; 0 for one or two letters, which are signs."""
    place = at
    while place + 1 < end and (data[place] == 0xCE or data[place] == 0xCF):
        place += 2
    return place - at if place - at > 4 else 0


@numba.njit(cache=True, nogil=True)
def _put(out, size, number, texts, starts):
    for place in range(starts[number], starts[number + 1]):
        out[size] = texts[place]
        size += 1
    return size


@numba.njit(cache=True, nogil=True)
def _without_argument(data, at, end):
    """The place after the groups in braces that follow: the argument of \\begin, and the columns of an array."""
    for _ in range(2):
        place = _beyond_blanks(data, at, end)
        if place >= end or data[place] != 123:
            return at
        first = place
        while place < end and place - first < LONGEST_TAG and data[place] != 125 and data[place] != 10:
            place += 1
        if place >= end or data[place] != 125:
            return at
        at = place + 1
        following = _at(data, at, at, end)
        if following != 123 or _at(data, at + 1, at, end) not in (99, 108, 114, 124, 64):
            return at
    return at


@numba.njit(cache=True, nogil=True)
def _command(data, at, end, keys, values):
    """(what is to be done, place after the name) of the command whose backslash is at `at`."""
    place, value = at + 1, FNV_OFFSET
    while place < end and _is_letter(data[place]):
        value = (value ^ np.uint64(data[place])) * FNV_PRIME
        place += 1
    return _known(value, keys, values), place


@numba.njit(cache=True, nogil=True)
def _longer(values, length):
    out = np.empty(length, values.dtype)
    out[: len(values)] = values
    return out


@numba.njit(cache=True, nogil=True)
def _word_before(out, size, first):
    """Whether the last two characters that are no spaces, in what is written, are letters."""
    stop = max(first, size - LOOK_BACK)
    while size > stop and _is_space(out[size - 1]):
        size -= 1
    if size - 2 < first:
        return False
    last, next_ = out[size - 1], out[size - 2]
    if last == 44 or last == 46 or last == 41 or last == 34:  # punctuation after a word
        return _is_letter(next_)
    return (_is_letter(last) or last >= 128) and (_is_letter(next_) or next_ >= 128)


@numba.njit(cache=True, nogil=True)
def _foreign(data, at, start, end, out, size, first, small, glued, how, what, texts, starts):
    """Write the character beyond ASCII at `at`; returns (size, place after, whether it was a small one)."""
    code, length = _code_point(data, at, end)
    place = _place_of(code)
    done = how[place] if place >= 0 else np.uint8(KEEP)
    word = _greek_word(data, at, end) if data[at] == 0xCE or data[at] == 0xCF else 0
    if (small != (done == SMALL)) and not glued:
        out[size] = 32
        size += 1
    if word or done == KEEP:
        length = max(word, length)
        for place in range(at, min(at + length, end)):
            out[size] = data[place]
            size += 1
    elif done == DASH or (done == BULLET and _is_bullet(data, at, length, start, end)):
        before = _word_before(out, size, first)
        out[size] = _dash(data, at, length, start, end, before) if done == DASH else 32
        size += 1
    elif done != OMIT:
        size = _put(out, size, what[place], texts, starts)
    return size, at + length, done == SMALL


@numba.njit(cache=True, nogil=True)
def _argument(data, at, end, out, size, sign):
    """Write `sign` and, where one character without braces is the argument at `at`, that. (size, place after)"""
    out[size] = sign
    size, after = size + 1, _beyond_blanks(data, at, end)
    if after < end and (_is_letter(data[after]) or _is_digit(data[after])):
        out[size] = data[after]
        return size + 1, after + 1
    return size, at


@numba.njit(cache=True, nogil=True)
def _escaped(data, at, end, out, size):
    """Write what becomes of a backslash before anything but a letter; returns (size, place after)."""
    following = _at(data, at + 1, at, end)
    if following >= 128:  # not a sign to be escaped, and longer than a byte
        out[size] = 32
        return size + 1, at + 1
    if following == 37 or following == 42:  # \\% and \\*
        out[size] = following
        size += 1
    elif following != 33 and following != 39 and following != 34:  # \\! and accents
        out[size] = 32
        size += 1
    return size, at + 2


@numba.njit(cache=True, nogil=True)
def _name(data, at, after, end, out, size, done, texts, starts):
    """Write what the command at `at` is replaced by, or its name between spaces; returns (size, place after)."""
    if done >= 0 and done & 0xFFF != 0xFFF:
        return _put(out, size, done, texts, starts), after
    out[size] = 32
    size += 1
    for place in range(at + 1, after):
        out[size] = data[place]
        size += 1
    return size, after


@numba.njit(cache=True, nogil=True)
def _braced(data, at, end, out, size, done, first):
    """Write what the command before `at` begins with; returns (size, place after, kind of the group that it opens)."""
    after = _beyond_blanks(data, at, end)
    opens = after < end and data[after] == 123
    if done == ARGUMENT:
        out[size] = 32
        return size + 1, _without_argument(data, at, end), -1
    if done == FONT:
        if not opens and size > first and _is_letter(out[size - 1]):
            out[size] = 32
            size += 1
        return size, after + opens, _JOINED if opens else -1
    out[size] = 32
    size += 1
    if opens:
        return size, after + 1, _NUMERATOR
    if after < end and (_is_letter(data[after]) or _is_digit(data[after])):  # \\frac12
        out[size] = data[after]
        size, after = _argument(data, after + 1, end, out, size + 1, 47)
        out[size] = 32
        size += 1
    return size, after, -1


@numba.njit(cache=True, nogil=True)
def _referred(data, at, end, out, size, how, what, keys, values, texts, starts):
    """Write what the entity at `at` stands for, a space where it is none; returns (size, place after)."""
    code, after = _entity(data, at, end, keys, values)
    place = _place_of(code)
    out[size] = 32
    if code < 0 or place < 0:
        return size + 1, at + 1
    if code < 128:
        out[size] = max(code, 32)
        return size + 1, after
    if how[place] == KEEP and code < 0x800:
        out[size], out[size + 1] = 0xC0 | (code >> 6), 0x80 | (code & 63)
        return size + 2, after
    size = _put(out, size + 1, what[place], texts, starts)
    out[size] = 32
    return size + 1, after


@numba.njit(cache=True, nogil=True)
def _run(data, at, end):
    """The place after the run of the byte at `at`."""
    byte = data[at]
    while at < end and data[at] == byte:
        at += 1
    return at


@numba.njit(cache=True, nogil=True)
def _sign(data, at, start, end, kind, word_before):
    """(what becomes of the run of ASCII signs at `at`, place after): the sign, or a space where it is none."""
    # the sign itself is read at once: only these three come in runs
    after = _run(data, at, end) if kind in (_DASH, _STAR, _RULE) else at + 1
    byte, many = data[at], after - at
    if kind == _DASH:
        return _dash(data, at, many, start, end, word_before), after
    if kind == _STAR:
        return np.uint8(42) if many == 1 and _multiplies(data, at, start, end) else np.uint8(32), after
    if kind == _RULE:
        return byte if many < 3 else np.uint8(32), after
    right = _at(data, at + 1, start, end)
    if kind == _PLUS:
        return np.uint8(32) if _is_bullet(data, at, 1, start, end) else byte, at + 1
    if kind == _MORE:
        quotes = (right == 32 or right == 62 or right == 10) and _begins_line(data, at, start)
        return np.uint8(32) if quotes else byte, at + 1
    # the letter x, a sign of multiplication between two numbers
    alone = _at(data, at - 1, start, end) == 32 and right == 32
    between = _is_digit(_at(data, at - 2, start, end)) and _is_digit(_at(data, at + 2, start, end))
    return np.uint8(42) if alone and between else byte, at + 1


@numba.njit(cache=True, nogil=True)
def _is_between(byte):
    """Whether spaces, brackets and delimiters of formulas."""
    return _is_space(byte) or byte == 40 or byte == 41 or byte == 91 or byte == 93 or byte == 36


@numba.njit(cache=True, nogil=True)
def _keep_products_of_numbers(out, first, size):
    """Take out each `*` that does not stand between two numbers: 2 · x is 2x."""
    for star in range(first, size):
        if out[star] == 42:
            left, right = star - 1, star + 1
            while left >= max(first, star - LOOK_BACK) and _is_between(out[left]):
                left -= 1
            while right < min(size, star + LOOK_BACK) and _is_between(out[right]):
                right += 1
            if left < first or right >= size or not (_is_digit(out[left]) and _is_digit(out[right])):
                out[star] = 32


@numba.njit(cache=True, nogil=True)
def _spell(data, offsets, glued, marking, classes, how, what, keys, values, texts, starts):
    out = np.empty(2 * len(data) + 4096, np.uint8)
    marks = np.empty(len(out) if marking else 0, np.int64)
    ends, kinds = np.zeros(len(offsets), np.int64), np.zeros(DEPTH, np.int8)
    size = 0
    for text in range(len(offsets) - 1):
        start, end = offsets[text], offsets[text + 1]
        # Room for the longest spelling of this text, so that nothing below checks for it.
        if size + ROOM * (end - start) + 64 > len(out):
            out = _longer(out, max(size + ROOM * (end - start) + 64, 2 * len(out)))
            marks = _longer(marks, len(out)) if marking else marks
        at, depth, opened, numerator, small, starred = start, 0, -1, False, False, False
        while at < end:
            begin, first = size, at
            kind = classes[data[at]]
            # A small character (x²) ends at the first that is not small: a space separates it from the next word.
            if small and kind != _LEAD:
                small = False
                if not glued:
                    out[size] = 32
                    size += 1
            if kind == _COPY:
                # Most bytes are copied as they are.
                while at < end and classes[data[at]] == _COPY:
                    out[size] = data[at]
                    size, at = size + 1, at + 1
            elif kind == _LEAD:
                size, at, small = _foreign(
                    data, at, start, end, out, size, ends[text], small, glued, how, what, texts, starts
                )
            elif kind == _BACKSLASH:
                done, after = _command(data, at, end, keys, values)
                # Three kinds of commands: \{ and the like, those with an argument in braces, and names (\alpha, \le).
                if after == at + 1:
                    size, at = _escaped(data, at, end, out, size)
                elif done < 0 and done >= ARGUMENT:
                    size, at, opened = _braced(data, after, end, out, size, done, ends[text])
                    numerator = done == FRACTION and opened < 0 and at < end and data[at] == 92
                else:
                    size, at = _name(data, at, after, end, out, size, done, texts, starts)
                    if numerator:
                        size, at = _argument(data, at, end, out, size, 47)
                        numerator = False
            elif kind == _OPEN:
                at += 1
                if at + 1 < end and data[at] == 44 and data[at + 1] == 125:  # 10{,}000
                    out[size] = 44
                    at += 2
                else:
                    out[size], opened = 32, _GROUP
                size += 1
            elif kind == _CLOSE:
                depth, at = max(depth - 1, 0), at + 1
                # What the brace closes was noted when it was opened: a group, a numerator, or a script that is joined.
                closed = kinds[min(depth, DEPTH - 1)]
                kinds[min(depth, DEPTH - 1)] = _GROUP
                if closed != _JOINED:
                    size, at = _argument(
                        data, at, end if closed == _NUMERATOR else at, out, size, 47 if closed == _NUMERATOR else 32
                    )
                    out[size] = 32
                    size += closed == _NUMERATOR
            elif kind == _SCRIPT:
                at = _run(data, at, end)
                if glued and at == first + 1:
                    after = _beyond_blanks(data, at, end)
                    if after < end and data[after] == 123:
                        opened, at = _JOINED, after + 1
                else:
                    out[size] = 32
                    size += 1
            elif kind == _LESS:
                at = _tag(data, at, end, keys, values)
                if at == first:
                    out[size], at = 60, at + 1
                    size += 1
                elif not (glued and ((data[first + 1] | 32) == 115 or (data[first + 2] | 32) == 115)):
                    out[size] = 32
                    size += 1
            elif kind == _AND:
                size, at = _referred(data, at, end, out, size, how, what, keys, values, texts, starts)
            else:
                before = kind == _DASH and _word_before(out, size, ends[text])
                out[size], at = _sign(data, at, start, end, kind, before)
                size += not (glued and kind == _STAR and at == first + 2)  # x**n
            # Note what the brace opened, for the one that closes it.
            if opened >= 0:
                kinds[min(depth, DEPTH - 1)] = opened
                depth, opened = depth + 1, -1
            if kind != _COPY:
                for place in range(begin, size):
                    starred |= out[place] == 42
            # The place in the source of each byte that was written, for `spans`.
            if marking:
                copied = size - (at - first)  # behind the space that a small character before may have left
                for place in range(begin, size):
                    marks[place] = first - start + (max(place - copied, 0) if kind == _COPY else 0)
        # Stars are multiplication signs only between numbers; that is known once the text is written.
        if starred:
            _keep_products_of_numbers(out, ends[text], size)
        ends[text + 1] = size
    return out[:size], ends, marks[:size]

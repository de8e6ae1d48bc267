r"""What kind of thing an answer is: read from its normalised text (`evaluation.grading.spelling`), before any algebra.

    Value      one expression, perhaps with a unit: 5, \frac{1}{2}, x+1, 5 cm, 50\%, \$3.20, 5 million, 20^{\circ}C
    Words      text: Evelyn, even, no solution; also what is read as nothing else
    Several    a list or a set, whose order does not matter: 1,2 · \{1,2\} · 1 or 2 · \pm 3
    Point      (1,2) · [1,2,3] · \langle 1,2\rangle; of two entries it may be meant as an interval
    Interval   [0,1) · ]0,1[ · x>3 · 1<x<2
    Union      of intervals and sets, with what is left out of it
    Ratio      3:4 · 1:2:3 · 3 to 4
    Clock      3:30 p.m. · 20:34:00
    Base       52_8
    Matrix     of a matrix environment
    Named      an equation with a name on the left: x=5, f(x)=2x+3, (p,q)=(3,2), AB=4
    Equation   any other equation
    Relation   an inequality that is no interval

Linear in the text but for the depth of its brackets. Loads no sympy. Leaves out whether two are equal
(`evaluation.grading.equality`).
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from evaluation.grading.spelling import matching

__all__ = [
    "Base", "Clock", "Equation", "Interval", "Matrix", "Named", "Point", "Ratio", "Relation", "Several", "Shape",
    "Union", "Value", "Words", "read",
]  # fmt: skip


@dataclass(frozen=True)
class Value:
    text: str
    unit: str = ""


@dataclass(frozen=True)
class Words:
    key: str


@dataclass(frozen=True)
class Several:
    """`joiner` is "and" or "or" where one of the words stands between the parts."""

    parts: "tuple[Shape, ...]"
    braces: bool = False
    joiner: str = ""


@dataclass(frozen=True)
class Point:
    parts: "tuple[Shape, ...]"
    brackets: str = "()"


@dataclass(frozen=True)
class Interval:
    """`name` is that of the variable in an inequality."""

    low: str
    high: str
    closed: tuple[bool, bool]
    name: str = ""


@dataclass(frozen=True)
class Union:
    parts: "tuple[Shape, ...]"
    without: "tuple[Shape, ...]" = ()


@dataclass(frozen=True)
class Ratio:
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Clock:
    """Seconds since midnight; `half` is a, p or nothing."""

    seconds: int
    half: str


@dataclass(frozen=True)
class Base:
    digits: str
    base: int


@dataclass(frozen=True)
class Matrix:
    rows: "tuple[tuple[Shape, ...], ...]"
    text: str


@dataclass(frozen=True)
class Named:
    name: str
    value: "Shape"


@dataclass(frozen=True)
class Equation:
    sides: tuple[str, ...]


@dataclass(frozen=True)
class Relation:
    """sides[0] signs[0] sides[1] …"""

    sides: tuple[str, ...]
    signs: tuple[str, ...]


Shape = Value | Words | Several | Point | Interval | Union | Ratio | Clock | Base | Matrix | Named | Equation | Relation

MOST_PARTS = 200

# -- splitting -----------------------------------------------------------------------------------------------------

_TOKEN = re.compile(r"\\begin\{\w+\*?\}|\\end\{\w+\*?\}|\\\{|\\\}|\\[A-Za-z]+|\\.|[A-Za-z]+|.", re.DOTALL)
_OPEN, _CLOSE = ("(", "[", "{", r"\{"), (")", "]", "}", r"\}")


def split(text: str, *separators: str) -> list[str]:
    """The parts of `text` between those of `separators` that no bracket holds; a separator of letters is a word."""
    return [part for part, _ in _pieces(text, separators)]


def _pieces(text: str, separators: tuple[str, ...]) -> list[tuple[str, str]]:
    """The parts with the separator behind each. A bracket that closes what none opened changes no depth: ]0,1[."""
    depth, start, parts = 0, 0, []
    for token in _TOKEN.finditer(text):
        found = token[0]
        if found in _OPEN or found.startswith(r"\begin"):
            depth += 1
        elif found in _CLOSE or found.startswith(r"\end"):
            depth = max(depth - 1, 0)
        elif depth == 0 and found in separators:
            parts.append((text[start : token.start()].strip(), found))
            start = token.end()
    return [*parts, (text[start:].strip(), "")]


# -- reading -------------------------------------------------------------------------------------------------------

_INTERVAL_HALF = re.compile(r"^([\[(\]])(.*)([\])\[])$", re.DOTALL)
_RELATIONS = ("<", ">", r"\le", r"\ge", r"\ne")
_MATRIX = re.compile(
    r"^(?:[\[(|]|\\\{)?\s*\\begin\{([pbvBV]?(?:small)?matrix|array|cases)\}(?:\{[^{}]*\})?(.*)\\end\{\1\}\s*(?:[\])|]|\\\})?$",
    re.DOTALL,
)
_BASE = re.compile(r"^([0-9A-F]+)\s?_\s?(?:\{\s?(\d{1,2})\s?\}|(\d))$")
_CLOCK = re.compile(r"(?i)^(\d{1,2}):(\d{2})(?::(\d{2}))?\s*(?:([ap])\s*\.?\s*m\b\.?)?$")
_NAME = re.compile(
    r"(?:[A-Za-z]|\\(?:alpha|beta|gamma|delta|epsilon|theta|lambda|mu|nu|omega|phi|varphi|rho|sigma|tau|psi|Delta|Omega|"
    r"angle|triangle|ell|overline|vec|hat|bar|measuredangle|odot|mathcal|widehat|overrightarrow)(?![A-Za-z])|"
    r"_\{[^{}]*\}|_[A-Za-z0-9]|'|\{[A-Za-z ]*\}|\((?:[A-Za-z0-9, |'_=\-{}^+]|\\cap|\\cup|\\mid|\\in|"
    r"\\alpha|\\theta|\\overline)*\)|\[[A-Za-z]*\]|\|[A-Za-z]+\||"
    r"\\(?:max|min|deg|dim|det|gcd|log|ln)(?![A-Za-z])|\s|\\circ|\^\{-1\}|/|:|(?<=[A-Za-z)}])\d?)+"
)
_DENIED = re.compile(r"(?<![\\A-Za-z])(?:[Nn]ot|no|never|nor|neither|wrong|except|isn't)(?![A-Za-z])")
_QUOTIENT = re.compile(r"^\\frac\{[A-Za-z_{}\\' ]+\}\{[A-Za-z_{}\\' ]+\}$")
_FUNCTION = re.compile(r"^([A-Za-z](?:_\{?\w+\}?)?'*)\s?\(([a-z](?:,\s?[a-z])*)\)$")
_NONE = re.compile(
    r"(?i)^(?:(?:there (?:is|are|exists?) )?no(?:ne|thing)?(?: (?:real|such|possible|integer|valid|positive))*"
    r"(?: (?:solutions?|roots?|answers?|values?|numbers?|integers?|intersection|functions?|x))?(?: exists?)?|"
    r"(?:the )?empty set|\\emptyset)$"
)
_UNDEFINED = re.compile(r"(?i)^(?:dne|does not exist|undefined|not defined|diverges|divergent)$")
_ALL = re.compile(r"(?i)^(?:all (?:the )?reals?(?: numbers?)?|\\mathbb\s?\{?R\}?|\\R)$")
_LETTER = re.compile(r"^\(([A-Za-z])\)$|^([A-Z])\)$")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}(?:\.[A-Za-z]\.)*")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_MEMBER = re.compile(r"\\in(?![A-Za-z])")


@lru_cache(maxsize=8_192)
def read(text: str) -> Shape:
    """What the normalised `text` is."""
    text = text.strip()
    if _NONE.match(text):
        return Words("none")
    if _UNDEFINED.match(text):
        return Words("undefined")
    if _ALL.match(text):
        return Interval(r"-\infty", r"\infty", (False, False))
    if r"\begin" in text and (matrix := _matrix(text)):
        return matrix
    if (text[:1] == "]" or text[-1:] == "[") and (interval := _held(text)):
        return interval
    groups = [group for group in split(text, ";") if group]
    if 1 < len(groups) <= MOST_PARTS:
        parts = tuple(Point(shape.parts) if isinstance(shape := read(group), Several) and not shape.braces and
                      all(isinstance(part, Named) for part in shape.parts) else shape for group in groups)  # fmt: skip
        return _list(parts, "")
    pieces = [(part, sign) for part, sign in _pieces(text, (",", "and", "or", "&")) if part]
    if 1 < len(pieces) <= MOST_PARTS:
        words = {sign for _, sign in pieces if sign.isalpha()}
        return _list(_named_on(tuple(read(part) for part, _ in pieces)), words.pop() if len(words) == 1 else "")
    return _one(pieces[0][0] if pieces else text)


def _named_on(parts: tuple[Shape, ...]) -> tuple[Shape, ...]:
    """Of "a=4, -8, -10" all three are values of a."""
    first = parts[0]
    if isinstance(first, Named) and not any(isinstance(part, Named | Words) for part in parts[1:]):
        return (first, *(Named(first.name, part) for part in parts[1:]))
    return parts


def _list(parts: tuple[Shape, ...], joiner: str) -> Shape:
    """Inequalities are a union, or what all of them leave; else a list."""
    flat = _flattened(parts)
    if any(isinstance(part, Words) for part in parts):
        return Several(flat, joiner=joiner)
    if all(isinstance(part, Interval) and part.name for part in flat):
        if joiner != "and":
            return Union(flat)
        return _within(flat) or Several(flat, joiner="and")
    return Several(flat, joiner=joiner)


def _flattened(parts: tuple[Shape, ...]) -> tuple[Shape, ...]:
    """The entries of lists among `parts` in their place; a set in braces stays one."""
    flat: list[Shape] = []
    for part in parts:
        flat += part.parts if isinstance(part, Several) and not part.braces else (part,)
    return tuple(flat)


def _within(parts: tuple[Shape, ...]) -> Interval | None:
    """x>1 and x<5, as one interval."""
    if len(parts) != 2 or not all(isinstance(part, Interval) for part in parts):
        return None
    lower = [p for p in parts if isinstance(p, Interval) and p.high == r"\infty"]
    upper = [p for p in parts if isinstance(p, Interval) and p.low == r"-\infty"]
    if len(lower) != 1 or len(upper) != 1 or lower[0].name != upper[0].name:
        return None
    return Interval(lower[0].low, upper[0].high, (lower[0].closed[0], upper[0].closed[1]), lower[0].name)


def _one(text: str) -> Shape:
    """What is no list."""
    if letter := _LETTER.match(text):
        return Value(letter[1] or letter[2])
    if len(members := split(text, r"\in")) == 2 and members[1] and _is_names(members[0]):
        return _as_interval(read(members[1]))
    if any(sign in text for sign in _RELATIONS) and (relation := _relation(text)):
        return relation
    if len(split(text, "=", r"\approx", r"\equiv")) > 1:
        return _equation(text)
    if any(sign in text for sign in (r"\cup", r"\setminus", r"\backslash")) and (union := _union(text)):
        return union
    if clock := _CLOCK.match(text):
        return _clock(clock)
    if len(terms := [term for term in split(text, ":", "to") if term]) > 1 and all(_is_plain(term) for term in terms):
        return Ratio(tuple(terms))
    if base := _BASE.match(text):
        return Base(base[1], int(base[2] or base[3]))
    if (held := _held(text)) is not None:
        return held
    if _SIGNS.search(text) and (signs := _plus_minus(text)):
        return Several(tuple(read(one) for one in signs))
    return _value(text)


def _as_interval(shape: Shape) -> Shape:
    """Where a number is said to lie in (2,5), that is no point."""
    match shape:
        case Point(parts=(Value(text=low), Value(text=high))):
            return Interval(low, high, (shape.brackets == "[]", shape.brackets == "[]"))
    return shape


_SIGNS = re.compile(r"\\(?:pm|mp)(?![A-Za-z])")


def _plus_minus(text: str) -> list[str]:
    r"""Both readings of \pm and \mp, all of one sign at a time."""
    upper, lower = (text.replace(r"\pm", one).replace(r"\mp", other) for one, other in (("+", "-"), ("-", "+")))
    return [re.sub(r"^\s*\+\s*", "", one).strip() for one in (upper, lower)]


def _clock(found: re.Match[str]) -> Shape:
    hours, minutes, seconds = (int(group or 0) for group in found.groups()[:3])
    half = (found[4] or "").lower()
    is_time = half or (found[2][0] == "0" and hours < 25) or found[3]
    if not is_time or minutes > 59 or seconds > 59:
        return Ratio(tuple(group for group in found.groups()[:3] if group))
    hours = hours % 12 + 12 * (half == "p") if half else hours
    return Clock(3600 * hours + 60 * minutes + seconds, half)


def _held(text: str) -> Shape | None:
    """What stands in brackets, all of it: a point, an interval, a set, a ratio or one thing."""
    if text.startswith((r"\{", "{")):
        opens, closes = (r"\{", r"\}") if text[0] == "\\" else ("{", "}")
        inner = text[len(opens) : -len(closes)]
        if not text.endswith(closes) or _depth_breaks(inner):
            return None
        if opens == "{":
            return read(inner) if len(split(inner, ",", ";")) > 1 else None
        return _set(inner)
    found = _INTERVAL_HALF.match(text)
    if not found or not _is_one_bracket(text):
        return None
    entries = [entry for entry in split(found[2], ",", ";")]
    if len(entries) == 1:
        inner = read(entries[0]) if found[1] + found[3] == "()" else None
        return inner if not isinstance(inner, Words) else None
    if not all(entries) or len(entries) > MOST_PARTS:
        return None
    shapes = tuple(read(entry) for entry in entries)
    brackets = found[1] + found[3]
    is_half = brackets in ("[)", "(]", "][", "[[", "]]") or any(r"\infty" in entry for entry in entries)
    if len(entries) == 2 and is_half:
        return Interval(*(_bound(entry) for entry in entries), (found[1] == "[", found[3] == "]"))  # type: ignore[arg-type]
    return Point(shapes, brackets) if brackets in ("()", "[]") else None


def _bound(text: str) -> str:
    return re.sub(r"^\+\s*", "", text.strip())


def _is_one_bracket(text: str) -> bool:
    """Whether the first bracket is closed by the last, of whatever kind."""
    depth = 0
    for place, token in enumerate(found[0] for found in _TOKEN.finditer(text)):
        if place == 0:
            depth = 1
        elif token in _OPEN:
            depth += 1
        elif token in _CLOSE:
            depth -= 1
        if depth == 0:
            return place == len(list(_TOKEN.finditer(text))) - 1
    return depth == (2 if text[-1] == "[" else 1)


def _depth_breaks(inner: str) -> bool:
    depth = 0
    for found in _TOKEN.finditer(inner):
        depth += (found[0] in _OPEN) - (found[0] in _CLOSE)
        if depth < 0:
            return True
    return depth != 0


def _set(inner: str) -> Shape:
    if not inner.strip():
        return Words("none")
    if len(builder := split(inner, "|", ":")) == 2 and (any(s in builder[1] for s in (*_RELATIONS, r"\in"))):
        return read(builder[1])
    parts = tuple(read(part) for part in split(inner, ",", ";") if part)
    return Several(_flattened(parts), braces=True)


def _matrix(text: str) -> Shape | None:
    found = _MATRIX.match(text)
    if not found or r"\begin" in found[2]:
        return None
    rows = [
        row for row in re.split(r"\\\\(?:\[[^\]]*\])?|\\cr(?![A-Za-z])", found[2].replace(r"\hline", "")) if row.strip()
    ]
    if found[1] == "cases":
        return Several(tuple(read(row.replace("&", " ").strip(" ,;")) for row in rows), joiner="and")
    entries = tuple(tuple(_value(entry) for entry in split(row, "&")) for row in rows)
    return Matrix(entries, text) if len({len(row) for row in entries}) == 1 else None


def _relation(text: str) -> Shape | None:
    pieces = _pieces(text, (*_RELATIONS, "="))
    if len(pieces) < 2 or not all(side for side, _ in pieces):
        return None
    sides, signs = tuple(side for side, _ in pieces), tuple(sign for _, sign in pieces[:-1])
    if all(sign == "=" for sign in signs):
        return None
    return _interval(sides, signs) or Relation(sides, signs)


def _interval(sides: tuple[str, ...], signs: tuple[str, ...]) -> Interval | None:
    """An inequality of one name between numbers."""
    ups, downs = {"<", r"\le"}, {">", r"\ge"}
    if not (set(signs) <= ups or set(signs) <= downs):
        return None
    if set(signs) <= downs:
        sides, signs = sides[::-1], tuple("<" if sign == ">" else r"\le" for sign in signs[::-1])
    closed = [sign == r"\le" for sign in signs]
    if any("|" in side for side in sides):
        return None
    if len(sides) == 3 and _is_name(sides[1]) and not any(_is_name(side) for side in sides[::2]):
        return Interval(sides[0], sides[2], (closed[0], closed[1]), _name(sides[1]))
    if len(sides) == 2 and _is_name(sides[0]) and not _has_name(sides[1]):
        return Interval(r"-\infty", sides[1], (False, closed[0]), _name(sides[0]))
    if len(sides) == 2 and _is_name(sides[1]) and not _has_name(sides[0]):
        return Interval(sides[0], r"\infty", (closed[0], False), _name(sides[1]))
    return None


def _is_names(text: str) -> bool:
    """One name, or several in parentheses or between commas."""
    inner = text[1:-1] if text.startswith("(") and text.endswith(")") else text
    return all(map(_is_name, split(inner, ",", ";")))


def _is_name(text: str) -> bool:
    text = text.strip()
    if _DENIED.search(text):
        return False
    if (
        not text
        or text in ("e", r"\pi", "i")
        or (_WORD.search(re.sub(r"_\{[^{}]*\}", "", text)) and len(text.split()) > 2)
    ):
        return False
    return bool(_NAME.fullmatch(text) or _QUOTIENT.match(text)) and not text[0].isdigit()


def _has_name(text: str) -> bool:
    return any(letter not in "ei" for letter in re.findall(r"[A-Za-z]", _COMMAND.sub("", text)))


def _equation(text: str) -> Shape:
    r"""Of a chain the last side counts, and of what is followed by \approx the exact part before it."""
    exact = [side for side in split(text, r"\approx") if side]
    if not exact:
        return Words(_key(text))
    if any("=" in side for side in exact[1:]):
        return Words(_key(text))
    if "=" not in exact[0] and len(exact) > 1 and _is_name(exact[0]):
        return Named(_name(exact[0]), read(exact[1]))
    text = re.sub(r"\\(?:pmod|mod|bmod)\s*(?:\{[^{}]*\}|\([^()]*\)|\d+)|\((?:\\(?:mod|bmod)|mod)[^()]*\)", "", exact[0])
    pieces = split(text, "=", r"\equiv")
    sides = tuple(side for side in pieces if side)
    if len(sides) == 1:
        return read(sides[0])
    first, last = sides[0], sides[-1]
    if first.startswith("(") and _is_one_bracket(first) and _is_names(first):
        return Named(_name(first), read(last))
    if (len(sides) == 2 and first == last) or _DENIED.search(text):
        return Words(_key(text))
    if len(sides) > 2 and any(_is_number(side) and side != last for side in sides[:-1]):
        return Words(_key(text))
    if _is_name(first):
        return Named(_name(first), read(last))
    if _is_name(last) and len(sides) == 2 and not _has_name(first):
        return Named(_name(last), read(first))
    return Equation(sides)


def _name(text: str) -> str:
    return re.sub(r"[\s{}]", "", text)


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"-?(?:\d+(?:\.\d+)?|\\frac\{\d+\}\{\d+\}|\d+\s?/\s?\d+)", text.strip()))


def _union(text: str) -> Shape | None:
    sides = split(text, r"\setminus", r"\backslash")
    pieces = split(sides[0], r"\cup")
    if not 1 <= len(sides) <= 2 or not all((*sides, *pieces)) or len(sides) == len(pieces) == 1:
        return None
    parts = tuple(read(part) for part in pieces)
    left_out = (read(sides[1]),) if len(sides) == 2 else ()
    kinds = Interval | Point | Several | Union
    return Union(parts, left_out) if all(isinstance(one, kinds) for one in (*parts, *left_out)) else None


# -- values, units and words ---------------------------------------------------------------------------------------

_PREFIX = re.compile(r"(?i)^(\\?\$|€|£|¥|₹|rs\.?\s|usd\s|us\s?\\?\$)\s*")
_ABOUT = re.compile(r"(?i)^(?:approximately|about|around|roughly|exactly|is|equals?|equal to)\s+")
_SUFFIX_SIGN = re.compile(r"\s*(\\?%|\\?\$|€|£|¥|\^\{\\circ\}\s?[CF]?|′)$")
_KNOWN = (
    "cm|mm|km|dm|nm|kg|mg|ml|mL|cl|hr|hrs|min|mins|sec|secs|ms|ft|in|yd|mi|mph|kph|kmh|lb|lbs|oz|Hz|kHz|MHz|Pa|kPa|eV|"
    "keV|MeV|GeV|kJ|kW|kWh|mol|cents?|feet|inch|inches|mile|miles|day|days|week|weeks|hour|hours|year|years|month|months|"
    "deg|rad|sr|sq|cubic|square|units?|dollars?|euros?|pounds?|percent|pct|percentage|degrees?|radians?|times|ways|men|"
    "women|boys|girls|eggs|cars?|bags?|cups?|cats?|dogs?|pens?|tons?|ton|gal|pints?|bits?|bytes?|am|pm|million|billion|"
    "thousand|hundred|trillion|dozen|cc|rpm|au|AU|ly|pc|Mpc|kpc|erg|dyn|ergs|cal|kcal|atm|bar|dB|amu|uF|pF|kN|mol"
)
_SAYING = (
    r"(?!(?:and|not|nor|but|only|wrong|maybe|perhaps|either|else|with|where|when|then|from|plus|minus|over|mod|does|"
    r"exist|exists|if|is|or|no)\b)"
)
"""Words that say something: no unit has them, and what holds one is text."""
_POWER = r"(?:\s?\^\s?(?:\{\s?-?\d\s?\}|-?\d))?"
_FIRST = (
    rf"(?<![A-Za-z\\_^{{])(?:(?:{_KNOWN})(?![A-Za-z])|m(?=\s?[/^])|[gsJNWVCAKT]/(?=[a-z])|"
    rf"{_SAYING}(?:[A-Za-z]{{4,}}|[A-Za-z]{{3}}(?=\s+[A-Za-z]{{3,}})))"
)
_NEXT = rf"(?:[\s/·.()-]|\\cdot)+{_SAYING}[A-Za-z]+{_POWER}"
_UNIT = re.compile(
    rf"(?P<value>.*?[\d}})\]!|A-Za-z.])\s*(?P<unit>{_FIRST}{_POWER}(?:{_NEXT}){{0,8}})[\s.)]*$", re.DOTALL
)
_COMPOUND = re.compile(r"^(?:\d+(?:\.\d+)?\s*[A-Za-z]+\.?[\s]*){2,4}$")
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)\.?")
_MULTIPLE = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_NAMES_OF_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen",
    "eighteen nineteen twenty",
)
_NUMERALS = {name: number for number, name in enumerate(" ".join(_NAMES_OF_NUMBERS).split())}


def _value(text: str) -> Shape:
    """A value with its unit, or words."""
    text = _ABOUT.sub("", text.strip())
    unit = ""
    if sign := _PREFIX.match(text):
        unit, text = sign[1].strip(), text[sign.end() :]
    if _COMPOUND.match(text) and (whole := _compound(text)):
        return whole
    if sign := _SUFFIX_SIGN.search(text):
        unit, text = re.sub(r"\s", "", sign[1]), text[: sign.start()]
    elif found := _UNIT.match(text):
        unit, text = found["unit"].strip(), found["value"].strip()
    first, *more = unit.split(maxsplit=1) or [""]
    if first in _MULTIPLE:
        text, unit = rf"{text} \cdot 10^{{{_MULTIPLE[first]}}}", " ".join(more).strip() if more else ""
    elif first == "dozen":
        text, unit = rf"{text} \cdot 12", " ".join(more)
    if sign := _PREFIX.match(text):
        unit, text = unit or sign[1].strip(), text[sign.end() :]
    if (inner := _stripped(text)) != text:
        return _value(inner) if not unit else Value(inner, unit)
    if text.lower() in _NUMERALS:
        return Value(str(_NUMERALS[text.lower()]), unit)
    if not text or not _is_plain(text):
        return Words(_key(f"{text} {unit}".strip()))
    if _BASE.match(text) and not unit:
        return _one(text)
    return Value(text, unit)


def _stripped(text: str) -> str:
    """Without brackets around all of it."""
    while text.startswith("(") and text.endswith(")") and matching(text, 0) == len(text) - 1:
        text = text[1:-1].strip()
    return text


def _is_plain(text: str) -> bool:
    """Whether `text` may be an expression: no words stand in it."""
    bare = re.sub(
        r"_\s?(?:\{[^{}]*\}|\w)|\\(?:begin|end|mathbb|mathcal|overline|widehat|overrightarrow|angle|triangle)\s?\{?[^{}]*\}?",
        " ",
        text,
    )
    words = _WORD.findall(_COMMAND.sub(" ", bare))
    return bool(text.strip()) and "\\text" not in text and not any(_is_word(word, text) for word in words)


def _is_word(word: str, text: str) -> bool:
    """Letters that stand alone and are more than two, or that begin with a capital and go on small, are a word."""
    if word[1:] == word[1:].lower() and word.lower() in ("yes", "no", "true", "false", "not", "or", "and"):
        return True
    return len(word) > 3 or (len(word) == 3 and text.strip() == word)


def _compound(text: str) -> Value | None:
    """3 hours 20 minutes, in the smaller unit."""
    parts = _PART.findall(text)
    scales = [UNITS.get(_singular(unit)) for _, unit in parts]
    if not all(scales) or len({scale[1] for scale in scales if scale}) != 1:
        return None
    smallest = scales[-1]
    assert smallest
    total = sum(
        (Fraction(number) * scale[0] / smallest[0] for (number, _), scale in zip(parts, scales, strict=True) if scale),
        Fraction(0),
    )
    whole = str(total.numerator) if total.denominator == 1 else rf"\frac{{{total.numerator}}}{{{total.denominator}}}"
    return Value(whole, parts[-1][1])


def _key(text: str) -> str:
    r"""What tells words apart: letters in lower case, without blanks, braces and quotes."""
    bare = re.sub(r"(?i)^(?:the|an?)\s+", "", text.strip())
    bare = re.sub(r"[\s{}\"']|\\(?:text|mathrm)(?![a-z])", "", bare)
    return bare.casefold() if len(bare) > 1 else bare


# -- units ---------------------------------------------------------------------------------------------------------


def _unit_table() -> dict[str, tuple[Fraction, str]]:
    """Scale and dimension by name in the singular."""
    lines = """
    length: metre meter m=1 kilometre kilometer km=1000 centimetre centimeter cm=1/100 millimetre millimeter mm=1/1000
        decimetre decimeter dm=1/10 nanometre nanometer nm=1/1000000000 inch in=254/10000 foot feet ft=3048/10000
        yard yd=9144/10000 mile mi=1609344/1000
    mass: gram g=1 kilogram kg=1000 milligram mg=1/1000 tonne=1000000
    time: second sec s=1 minute min=60 hour hr h=3600 day=86400 week=604800 millisecond ms=1/1000
    money: dollar $ usd us$=1 cent=1/100
    euro: euro €=1
    pound: £=1
    volume: litre liter l=1 millilitre milliliter ml=1/1000
    angle: degree deg ^circ=1
    percent: percent percentage pct %=1
    energy: joule j=1 kilojoule kj=1000
    force: newton n=1
    power: watt w=1 kilowatt kw=1000
    temperature: ^circc celsius degreecelsius=1
    fahrenheit: ^circf fahrenheit degreefahrenheit=1
    speed: m/s metre/second meter/second ms^-1 m\\cdots^-1=1 km/h kmh kph kilometre/hour kilometer/hour=5/18
        mph mile/hour=44704/100000
    """
    table = {}
    for line in re.sub(r"\n {8}", " ", lines).strip().splitlines():
        dimension, _, names = line.strip().partition(": ")
        waiting = []
        for name in names.split():
            bare, _, scale = name.partition("=")
            waiting.append(bare)
            if scale:
                table |= dict.fromkeys(waiting, (Fraction(scale), dimension))
                waiting = []
    return table


def _singular(unit: str) -> str:
    unit = unit.lower().replace("\\$", "$").replace("\\%", "%").replace("\\circ", "circ")
    unit = re.sub(r"[\s{}()]", "", unit).rstrip(".").replace("hrs", "hr").replace("mins", "min").replace("secs", "sec")
    unit = re.sub(r"^(?:square|sq|cubic|squared)(?=[a-z])(.*)", r"\1", unit) if unit not in ("square", "sq") else unit
    if unit in UNITS:
        return unit
    unit = re.sub(r"(?<=[a-z])per(?=[a-z])", "/", unit)
    unit = re.sub(r"(?<=[a-rt-z])s(?=/|$|\^)", "", unit)
    return "inch" if unit == "inche" else unit


def scale(unit: str) -> tuple[Fraction, str] | None:
    """How much of the first unit of its kind `unit` is, and the kind; None for what is no unit of measure."""
    bare = _singular(unit)
    square = re.search(r"(?i)\bsq(?:uare)?\b", unit) is not None
    cubic = re.search(r"(?i)\bcubic\b", unit) is not None
    base, _, power = bare.partition("^") if bare[:1] != "^" else (bare, "", "")
    base = "inch" if base == "inche" else base
    exponent = 2 if square else 3 if cubic else int(power) if power.lstrip("-").isdigit() and len(power) < 3 else 1
    if bare in UNITS and not square and not cubic:
        return UNITS[bare]
    if base not in UNITS:
        return None
    factor, dimension = UNITS[base]
    return factor**exponent, f"{dimension}^{exponent}" if exponent != 1 else dimension


UNITS = _unit_table()

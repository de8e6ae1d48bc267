"""Are two short answers equal? One decision per shape of answer, and what needs no algebra is decided here.

`decide` reads both texts (`evaluation.grading.shapes`) and compares shape with shape: a list by a matching of its
entries, a point and a ratio term by term, an interval by its ends, a value by its number and its unit, words by their
letters. Where only algebra can tell two expressions apart it says None; `evaluation.grading.algebra` then goes the same
way with algebra at the leaves (`Judge`). Numbers, fractions, roots and points of numbers are ruled as math-verify rules
them (a property test holds it). An answer of two candidates equals no single one; what is looser than that is said at
its function.

Linear in the text, loads no sympy. Leaves out finding the answer in a response (`evaluation.grading.extraction`), and
rewards.
"""

import math
import re
from collections.abc import Iterable
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from evaluation.grading.shapes import (
    Base,
    Clock,
    Equation,
    Interval,
    Matrix,
    Named,
    Point,
    Ratio,
    Relation,
    Several,
    Shape,
    Union,
    Value,
    Words,
    read,
    scale,
)  # fmt: skip
from evaluation.grading.spelling import normalise

__all__ = ["Judge", "Pieces", "Ruling", "Verdict", "decide", "normalise", "plain_number", "refusal", "ruled"]


class Verdict(StrEnum):
    """What became of an answer. Only CORRECT and INCORRECT judge it; ERROR says the grader failed, never the answer."""

    CORRECT = "CORRECT"
    INCORRECT = "INCORRECT"
    UNPARSED = "UNPARSED"
    ERROR = "ERROR"


Ruling = tuple[Verdict, str]
"""A verdict and, in a few words, its reason."""

MAX_CHARACTERS = 1_000
"""Longest text given to math-verify; the longest answer it parses in the eleven benchmark files has 247 characters."""
MAX_NESTING = 40
MAX_EXPONENT = 1_000_000
"""Largest plain exponent: 9^{999999} takes sympy 20 ms, one hundred times that is past any patience."""
MAX_FACTORIAL = 100_000

_NUMBER = re.compile(r"-?(?:[1-9]\d{0,2}(?:,\d{3})+|\d{1,15})(?:\.\d{1,14})?")
_LONG = re.compile(r"(-?\d{1,9}(?:\.\d{1,900})?)(?: ?\\(?:cdot|times) ?10\^\{?(-?\d{1,3})\}?)?")
_DECIMAL_COMMA = re.compile(r"-?\d+,\d{1,2}|-?0,\d+")
_FRACTION = re.compile(r"(-)?(?:(\d{1,9})|\\frac\{(-?\d{1,9})\}\{([1-9]\d{0,8})\}|(\d{1,9})/([1-9]\d{0,8}))")
_MULTIPLE = re.compile(r"(-)?(\d{1,5})?\\sqrt\{(\d{1,5})\}")
_POINT = re.compile(r"\(-?\d{1,9}(?:\.\d{1,4})?(?:, -?\d{1,9}(?:\.\d{1,4})?)+\)")
_FACTORIAL = re.compile(r"(\d+)[\s)}]*!")
_EXPONENT = re.compile(r"(?:\^|\*\*)[\s{(]*(\d+)")
_TOWER = re.compile(r"(?:\^|\*\*)[\s{(]*(\d+)[\s)}]*(?:\^|\*\*)[\s{(]*(\d+)")


class Judge:
    """What decides at the leaves of two shapes; None where it does not know. This one knows no algebra."""

    def values(self, answer: str, reference: str) -> bool | None:
        """Whether two expressions without units are equal."""
        if answer == reference:
            return True
        ruling = _compare_texts(answer, reference)
        return None if ruling is None else ruling[0] is Verdict.CORRECT

    def equations(self, answer: Equation, reference: Equation) -> bool | None:
        """Whether two equations have the same solutions."""
        return True if answer.sides == reference.sides else None

    def relations(self, answer: Relation, reference: Relation) -> bool | None:
        """Whether two inequalities have the same solutions."""
        return True if answer == reference else None

    def solves(self, relation: Relation, pieces: "Pieces", is_answer: bool) -> bool | None:
        """Whether the solutions of an inequality are those numbers; it must be plain where it is the answer."""
        return None

    def sets(self, answer: "Pieces", reference: "Pieces") -> bool | None:
        """Whether intervals and single values, less others, are the same set of numbers."""
        return True if answer == reference else None


def decide(answer: str, reference: str) -> Ruling | None:
    """The ruling on two normalised texts where no algebra is needed, else None."""
    if not answer:
        return Verdict.UNPARSED, "empty answer"
    if not reference:
        return Verdict.ERROR, "empty reference"
    if answer == reference:
        return Verdict.CORRECT, "same text"
    if refused := refusal(reference):
        return Verdict.ERROR, f"reference: {refused}"
    if refused := refusal(answer):
        return Verdict.UNPARSED, refused
    return _compare_texts(answer, reference) or ruled(answer, reference, Judge())


def ruled(answer: str, reference: str, judge: Judge) -> Ruling | None:
    """The ruling on two normalised texts, shape against shape, with `judge` for expressions."""
    found, gold = read(answer), read(reference)
    equal = same(found, gold, judge)
    if equal is None:
        return None
    if equal:
        return Verdict.CORRECT, f"same {_kind(gold)}"
    if isinstance(found, Words | Clock) and not isinstance(gold, Words | Clock):
        return Verdict.UNPARSED, "answer is no expression"
    return Verdict.INCORRECT, f"another {_kind(gold)}"


def _kind(shape: Shape) -> str:
    return {"Several": "list", "Clock": "time"}.get(type(shape).__name__, type(shape).__name__.lower())


def _compare_texts(answer: str, reference: str) -> Ruling | None:
    """Two plain numbers, fractions or roots: most of what a reward sees, and read without shapes."""
    if _DECIMAL_COMMA.fullmatch(answer) or _DECIMAL_COMMA.fullmatch(reference):
        pair = answer.replace(",", "."), reference.replace(",", ".")
        return (Verdict.CORRECT, "same number") if pair[0] == pair[1] else None
    return (
        _compare_numbers(plain_number(answer), plain_number(reference))
        or _compare_fractions(_fraction(answer), _fraction(reference))
        or _compare_roots(_signed_square(answer), _signed_square(reference))
        or _compare_points(_point(answer), _point(reference))
        or _far_apart(answer, reference)
    )


# -- shape against shape -------------------------------------------------------------------------------------------


def same(answer: Shape, reference: Shape, judge: Judge) -> bool | None:
    """Whether two answers are equal, None where `judge` does not know."""
    if answer == reference:
        return True
    match answer, reference:
        case Value(), Value():
            return _same_value(answer, reference, judge)
        case Named(), Named():
            return _same_named(answer, reference, judge)
        case Clock(), Clock():
            return _same_time(answer, reference)
        case Words(), _:
            return _same_words(answer, reference)
        case _, Words():
            return _same_words(reference, answer)
        case Equation(), Equation():
            return judge.equations(answer, reference)
        case Relation(), Relation():
            return _same_relation(answer, reference, judge)
        case Matrix(), Matrix():
            return _same_matrix(answer, reference, judge)
        case (Relation(), Interval() | Union()) | (Interval() | Union(), Relation()):
            return _same_region(answer, reference, judge)
        case (Interval() | Union(), _) | (_, Interval() | Union()):
            return _same_sets(answer, reference, judge)
        case Several() as mine, Several() as theirs:
            return _same_lists(mine, theirs, judge)
        case Point() as mine, Point() as theirs:
            return _same_points(mine, theirs, judge)
        case (Several() as several, Point() as point) | (Point() as point, Several() as several):
            return _list_as_point(several, point, judge)
        case Ratio() as mine, Ratio() as theirs:
            return _same_ratio(mine, theirs, judge)
        case Base(), Value():
            return answer.digits == reference.text and answer.base != 10
        case Value(), Base():
            return answer.text == reference.digits and reference.base != 10
        case (Named(), Value() | Base() | Point() | Matrix() | Ratio()):
            return same(answer.value, reference, judge)
        case (Value() | Base() | Point() | Matrix() | Ratio(), Named()):
            return same(answer, reference.value, judge)
    return _same_loosely(answer, reference, judge)


def _same_loosely(answer: Shape, reference: Shape, judge: Judge) -> bool | None:
    """Shapes that differ but may mean one thing."""
    match answer, reference:
        case Several(parts=(one,)), _:
            return same(one, reference, judge)
        case _, Several(parts=(one,)):
            return same(answer, one, judge)
        case Named(), Several():
            return same(answer.value, reference, judge)
        case Several(), Named():
            return same(answer, reference.value, judge) if isinstance(reference.value, Several | Point) else False
        case (Value(), Ratio()) if len(reference.parts) == 2:
            return judge.values(answer.text, _quotient(reference)) if not answer.unit else False
        case (Ratio(), Value()) if len(answer.parts) == 2:
            return judge.values(_quotient(answer), reference.text) if not reference.unit else False
        case Clock(), Ratio():
            return _is_clock_of(reference, answer)
        case Ratio(), Clock():
            return _is_clock_of(answer, reference)
        case Equation(), Named():
            return judge.equations(answer, _opened(reference))
        case Named(), Equation():
            return judge.equations(_opened(answer), reference)
        case (Matrix(), Value()) | (Value(), Matrix()):
            return judge.values(answer.text, reference.text) if r"\begin" in answer.text + reference.text else False
        case (Matrix() as matrix, Point() as point) | (Point() as point, Matrix() as matrix):
            return _column_as_point(matrix, point, judge)
        case Equation() as sums, Value(text=text) if _is_sum_of_numbers(sums):
            return _all(judge.values(side, text) for side in sums.sides)
        case Value(text=text), Equation() as sums if _is_sum_of_numbers(sums):
            return judge.values(text, sums.sides[-1])
    return False


def _all(answers: Iterable[bool | None]) -> bool | None:
    """True if all are, False if one is not, else unknown."""
    known = True
    for one in answers:
        if one is False:
            return False
        known = known and one is True
    return True if known else None


def _same_value(answer: Value, reference: Value, judge: Judge) -> bool | None:
    """The number, and the unit where both have one of measure: 10 km is not 10 m, but 1000 m is 1 km, and 5 apples are
    5. A percentage is its number or, beside a number alone, a hundredth of it."""
    if answer.unit and reference.unit:
        mine, theirs = scale(answer.unit), scale(reference.unit)
        if mine and theirs and mine != theirs:
            if mine[1] != theirs[1]:
                return False
            return judge.values(_scaled(answer.text, mine[0]), _scaled(reference.text, theirs[0]))
    equal = judge.values(answer.text, reference.text)
    if equal is not False:
        return equal
    for one, other in ((answer, reference), (reference, answer)):
        if one.unit and scale(one.unit) == scale("%") and not other.unit:
            return judge.values(_scaled(one.text, Fraction(1, 100)), other.text)
    return False


def _scaled(text: str, factor: Fraction) -> str:
    return rf"({text}) \cdot \frac{{{factor.numerator}}}{{{factor.denominator}}}"


def _same_words(words: Words, other: Shape) -> bool:
    """Words equal the same letters, however dressed: Evelyn, \text{Evelyn}; a name of letters may be a word."""
    if isinstance(other, Words):
        return words.key.strip(".") == other.key.strip(".")
    if isinstance(other, Value) and not other.unit:
        return len(words.key) > 1 and words.key == re.sub(r"\s", "", other.text).casefold()
    return False


def _same_time(answer: Clock, reference: Clock) -> bool:
    """Without a.m. or p.m. on one side it may be either."""
    if answer.seconds == reference.seconds:
        return True
    half_missing = not answer.half or not reference.half
    half_day = max(answer.seconds, reference.seconds) % 43_200 == min(answer.seconds, reference.seconds)
    return bool(half_missing and half_day and (answer.half or reference.half))


def _is_clock_of(ratio: Ratio, clock: Clock) -> bool:
    """3:30 may be meant as 3:30 p.m."""
    if len(ratio.parts) != 2 or not all(part.isdigit() and len(part) < 3 for part in ratio.parts):
        return False
    seconds = 3600 * int(ratio.parts[0]) + 60 * int(ratio.parts[1])
    is_half_day = clock.seconds % 43_200 == seconds % 43_200 and seconds < 46_800
    return seconds == clock.seconds or (bool(clock.half) and is_half_day)


def _same_ratio(answer: Ratio, reference: Ratio, judge: Judge) -> bool | None:
    """Term by term, up to a common factor."""
    if len(answer.parts) != len(reference.parts):
        return False
    first, gold = answer.parts[0], reference.parts[0]
    return _all(
        judge.values(f"({mine}) \\cdot ({gold})", f"({theirs}) \\cdot ({first})")
        for mine, theirs in zip(answer.parts[1:], reference.parts[1:], strict=True)
    )


def _quotient(ratio: Ratio) -> str:
    return rf"\frac{{{ratio.parts[0]}}}{{{ratio.parts[1]}}}"


def _same_named(answer: Named, reference: Named, judge: Judge) -> bool | None:
    """Of one name; a function is also what is called y, and one of another argument with that argument put in."""
    if answer.name == reference.name or {_function(answer.name), _function(reference.name)} == {"", "y"}:
        return same(answer.value, reference.value, judge)
    mine, theirs = _ARGUMENT.fullmatch(answer.name), _ARGUMENT.fullmatch(reference.name)
    if mine and theirs and mine[1] == theirs[1]:
        if not isinstance(answer.value, Value):
            return same(answer.value, reference.value, judge)
        renamed = re.sub(rf"(?<![A-Za-z\\]){mine[2]}(?![A-Za-z])", theirs[2], answer.value.text)
        return same(Value(renamed, answer.value.unit), reference.value, judge)
    left, right = _split_name(answer.name), _split_name(reference.name)
    if len(left) == len(right) > 1 and sorted(left) == sorted(right):
        order = [left.index(name) for name in right]
        parts = getattr(answer.value, "parts", ())
        return len(parts) == len(order) and same(Point(tuple(parts[i] for i in order)), reference.value, judge)
    return False


_ARGUMENT = re.compile(r"(\\?[A-Za-z]+)\(([a-z])\)")


def _function(name: str) -> str:
    """Nothing for f(x), else the name."""
    return "" if _ARGUMENT.fullmatch(name) else name


def _split_name(name: str) -> list[str]:
    return name.strip("()").split(",") if name.startswith("(") else [name]


def _opened(named: Named) -> Equation:
    value = named.value.text if isinstance(named.value, Value) else ""
    return Equation((named.name, value))


def _is_sum_of_numbers(equation: Equation) -> bool:
    """2+3=5: no name in it, so that all sides must be the answer."""
    return not any(
        re.search(r"[A-Za-z]", re.sub(r"\\(?:frac|sqrt|cdot|times|pi|div)", "", side)) for side in equation.sides
    )


def _same_relation(answer: Relation, reference: Relation, judge: Judge) -> bool | None:
    """Sides and signs, also read from right to left; what must be solved is for algebra."""
    if len(answer.sides) != len(reference.sides):
        return False
    turned = Relation(answer.sides[::-1], tuple(_TURNED[sign] for sign in answer.signs[::-1]))
    for one in (answer, turned):
        if one.signs == reference.signs and all(map(str.__eq__, one.sides, reference.sides)):
            return True
    return judge.relations(answer, reference)


_TURNED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le", r"\ne": r"\ne", "=": "="}


# -- sets, points, matrices ----------------------------------------------------------------------------------------


def _same_points(answer: Point, reference: Point, judge: Judge) -> bool | None:
    """Entry by entry. A pair in square brackets is an interval and no pair in round ones."""
    if len(answer.parts) != len(reference.parts) or (len(answer.parts) == 2 and answer.brackets != reference.brackets):
        return False
    return _all(same(*pair, judge) for pair in zip(answer.parts, reference.parts, strict=True))


def _list_as_point(several: Several, point: Point, judge: Judge) -> bool | None:
    """1, 2 and x=1, y=2 may be the point (1,2), in its order; a set in braces is none."""
    if several.braces or several.joiner == "or" or len(several.parts) != len(point.parts) or point.brackets != "()":
        return False
    parts = several.parts
    if all(isinstance(part, Named) for part in parts):
        named = [part for part in parts if isinstance(part, Named)]
        if len({part.name for part in named}) != len(named):
            return False
        in_order = sorted(named, key=lambda part: part.name) if {part.name for part in named} <= set("xyzw") else named
        parts = tuple(part.value for part in in_order)
    return _all(same(*pair, judge) for pair in zip(parts, point.parts, strict=True))


def _same_lists(answer: Several, reference: Several, judge: Judge) -> bool | None:
    """A matching of the entries; those of different names against plain ones in their order. An answer may repeat
    itself where the reference does not."""
    mine, theirs = list(answer.parts), list(reference.parts)
    if len(mine) > len(theirs) > 1 and len(set(theirs)) == len(theirs):
        mine = list(dict.fromkeys(mine))
    if len(mine) != len(theirs):
        return False
    if _are_named_apart(mine) != _are_named_apart(theirs):
        return _all(same(*pair, judge) for pair in zip(_unnamed(mine), _unnamed(theirs), strict=True))
    if _is_named_once(mine) or _is_named_once(theirs):
        return _matched(_unnamed(mine), _unnamed(theirs), judge)
    return _matched(mine, theirs, judge)


def _unnamed(parts: list[Shape]) -> list[Shape]:
    return [part.value if isinstance(part, Named) else part for part in parts]


def _are_named_apart(parts: list[Shape]) -> bool:
    names = [part.name for part in parts if isinstance(part, Named)]
    return len(names) == len(parts) and len({_stem(name) for name in names}) > 1


def _is_named_once(parts: list[Shape]) -> bool:
    """All named alike, x=2, x=3 or x_1=2, x_2=3, or in part."""
    names = {_stem(part.name) for part in parts if isinstance(part, Named)}
    return len(names) <= 1


def _stem(name: str) -> str:
    return re.sub(r"_\{?\w+\}?|\([a-z]\)", "", name)


def _matched(mine: list[Shape], theirs: list[Shape], judge: Judge) -> bool | None:
    """Whether each entry has a partner of its own. Equality being what it is, the first partner will do."""
    is_known = True
    for one in mine:
        rulings = [same(one, other, judge) for other in theirs]
        if True in rulings:
            del theirs[rulings.index(True)]
        elif None in rulings:
            is_known = False
        else:
            return False
    return True if is_known else None


def _same_matrix(answer: Matrix, reference: Matrix, judge: Judge) -> bool | None:
    if [len(row) for row in answer.rows] != [len(row) for row in reference.rows]:
        return False
    pairs = [pair for rows in zip(answer.rows, reference.rows, strict=True) for pair in zip(*rows, strict=True)]
    return _all(same(*pair, judge) for pair in pairs)


def _column_as_point(matrix: Matrix, point: Point, judge: Judge) -> bool | None:
    """A vector may be written as a column or as a point."""
    if any(len(row) != 1 for row in matrix.rows) or len(matrix.rows) != len(point.parts):
        return False
    return _all(same(row[0], entry, judge) for row, entry in zip(matrix.rows, point.parts, strict=True))


def _same_sets(answer: Shape, reference: Shape, judge: Judge) -> bool | None:
    """Intervals by their ends, unions piece by piece, and what is left out of each."""
    mine, theirs = _pieces(answer), _pieces(reference)
    if mine is None or theirs is None:
        return False
    if answer_name := getattr(answer, "name", ""):
        other = getattr(reference, "name", "")
        if other and other != answer_name and _stem(other) != _stem(answer_name):
            return False
    equal = None
    if len(mine[0]) == len(theirs[0]) and len(mine[1]) == len(theirs[1]):
        equal = _all([_matched_pieces(*pair, judge) for pair in zip(mine, theirs, strict=True)])
    if equal:
        return True
    if sum(map(len, (*mine, *theirs))) > 20:
        return False
    return judge.sets(mine, theirs)


def _same_region(answer: Shape, reference: Shape, judge: Judge) -> bool | None:
    """An inequality and the numbers that fulfil it."""
    relation, other = (answer, reference) if isinstance(answer, Relation) else (reference, answer)
    pieces = _pieces(other)
    if not pieces or not isinstance(relation, Relation):
        return False
    return judge.solves(relation, pieces, is_answer=relation is answer)


Pieces = tuple[list[Interval | Value], list[Interval | Value]]
"""Intervals and single values, and what is left out of them."""


def _pieces(shape: Shape) -> Pieces | None:
    match shape:
        case Named():
            return _pieces(shape.value)
        case Interval():
            return [shape], []
        case Point(parts=(Value(), Value())):
            low, high = shape.parts
            assert isinstance(low, Value) and isinstance(high, Value)
            is_closed = shape.brackets == "[]"
            return [Interval(low.text, high.text, (is_closed, is_closed))], []
        case Several(braces=True) if all(isinstance(part, Value) for part in shape.parts):
            return [part for part in shape.parts if isinstance(part, Value)], []
        case Union():
            inner, outer = [_pieces(part) for part in shape.parts], [_pieces(part) for part in shape.without]
            if any(one is None or one[1] for one in (*inner, *outer)):
                return None
            return [p for one in inner if one for p in one[0]], [p for one in outer if one for p in one[0]]
    return None


def _matched_pieces(mine: list[Interval | Value], theirs: list[Interval | Value], judge: Judge) -> bool | None:
    rest, is_known = list(theirs), True
    for one in mine:
        rulings = [_same_piece(one, other, judge) for other in rest]
        if True in rulings:
            del rest[rulings.index(True)]
        elif None in rulings:
            is_known = False
        else:
            return False
    return True if is_known else None


def _same_piece(one: Interval | Value, other: Interval | Value, judge: Judge) -> bool | None:
    if isinstance(one, Value) or isinstance(other, Value):
        return same(one, other, judge) if isinstance(one, Value) and isinstance(other, Value) else False
    if one.closed != other.closed:
        return False
    return _all(_same_end(*pair, judge) for pair in ((one.low, other.low), (one.high, other.high)))


def _same_end(one: str, other: str, judge: Judge) -> bool | None:
    if r"\infty" in one + other:
        return one.replace(" ", "") == other.replace(" ", "")
    return judge.values(one, other)


# -- numbers -------------------------------------------------------------------------------------------------------


def _compare_numbers(answer: Decimal | None, reference: Decimal | None) -> Ruling | None:
    """math-verify compares integers exactly and anything with a decimal point rounded to six places."""
    if answer is None or reference is None:
        return None
    if answer == reference:
        return Verdict.CORRECT, "same number"
    apart = abs(answer - reference)
    both_whole = answer == answer.to_integral_value() and reference == reference.to_integral_value()
    if both_whole or (apart > Decimal("1e-5") and max(abs(answer), abs(reference)) < 10**9):
        return Verdict.INCORRECT, "another number"
    return None  # so near that rounding decides


def _far_apart(answer: str, reference: str) -> Ruling | None:
    """Numerals of many places or with a power of ten, 10.833333333333332 and 18, that no rounding makes one."""
    first, second = _long(answer), _long(reference)
    if first is None or second is None:
        return None
    largest = max(abs(first), abs(second))
    is_far = abs(first - second) > max(Decimal("1e-5"), largest * Decimal("1e-3"))
    return (Verdict.INCORRECT, "another number") if is_far else None


def _long(text: str) -> Decimal | None:
    found = _LONG.fullmatch(text)
    return Decimal(f"{found[1]}e{found[2] or 0}") if found else None


def _compare_fractions(answer: Fraction | None, reference: Fraction | None) -> Ruling | None:
    """math-verify compares fractions of whole numbers exactly; nearer ones than rounding tells apart are left to it."""
    if answer is None or reference is None:
        return None
    if answer == reference:
        return Verdict.CORRECT, "same number"
    return (Verdict.INCORRECT, "another number") if abs(answer - reference) > Fraction(1, 10**5) else None


def _compare_roots(answer: int | None, reference: int | None) -> Ruling | None:
    """Multiples of square roots of whole numbers, by their squares with their signs."""
    if answer is None or reference is None:
        return None
    if answer == reference:
        return Verdict.CORRECT, "same number"
    apart = abs(math.copysign(math.sqrt(abs(answer)), answer) - math.copysign(math.sqrt(abs(reference)), reference))
    return (Verdict.INCORRECT, "another number") if apart > 1e-4 else None


def _compare_points(answer: list[Decimal] | None, reference: list[Decimal] | None) -> Ruling | None:
    """math-verify compares tuples entry by entry; it needs 30 ms for a pair, sympy's sets and intervals being tried."""
    if answer is None or reference is None or len(answer) != len(reference):
        return None
    rulings = [_compare_numbers(*pair) for pair in zip(answer, reference, strict=True)]
    if any(ruling and ruling[0] is Verdict.INCORRECT for ruling in rulings):
        return Verdict.INCORRECT, "another point"
    return (Verdict.CORRECT, "same point") if all(rulings) else None


def _fraction(text: str) -> Fraction | None:
    """The value of \\frac{a}{b} or of an integer, of at most nine digits each; else None."""
    found = _FRACTION.fullmatch(text) if len(text) < 40 and text.isascii() else None
    if not found:
        return None
    sign, whole, above, below = *found.groups()[:2], found[3] or found[5], found[4] or found[6]
    return (-1 if sign else 1) * (Fraction(int(whole)) if whole else Fraction(int(above), int(below)))


def _signed_square(text: str) -> int | None:
    """The square of a\\sqrt{b}, negative where a is, with at most five digits each; else None."""
    found = _MULTIPLE.fullmatch(text) if len(text) < 30 and text.isascii() else None
    if not found:
        return None
    sign, factor, radicand = found.groups()
    return (-1 if sign else 1) * int(factor or 1) ** 2 * int(radicand)


def _point(text: str) -> list[Decimal] | None:
    """The entries of (a, b, …), plain numbers with a blank after each comma, for "(1,234)" is a number to some."""
    if len(text) > 100 or not text.isascii() or not _POINT.fullmatch(text):
        return None
    return [Decimal(entry) for entry in text[1:-1].split(", ")]


def plain_number(text: str) -> Decimal | None:
    """The value of a plain integer or decimal of at most 15 digits, thousands separated by commas or not; else None."""
    if len(text) > 24 or not text.isascii() or not _NUMBER.fullmatch(text) or sum(map(str.isdigit, text)) > 15:
        return None
    return Decimal(text.replace(",", ""))


def refusal(text: str) -> str | None:
    """Why `text` must not reach math-verify, or None. Linear in its length."""
    if len(text) > MAX_CHARACTERS:
        return f"longer than {MAX_CHARACTERS} characters"
    if "\0" in text:
        return "holds a NUL character"
    if _nesting(text) > MAX_NESTING:
        return f"nested deeper than {MAX_NESTING}"
    if any(int(n) > MAX_FACTORIAL for n in _FACTORIAL.findall(text)) or re.search(r"!\s*[)}]\s*!", text):
        return "factorial too large"
    if any(int(n) > MAX_EXPONENT for n in _EXPONENT.findall(text)) or any(map(_huge, _TOWER.findall(text))):
        return "power too large"
    return None


def _nesting(text: str) -> int:
    depth = deepest = 0
    for character in text:
        if character in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in ")]}":
            depth -= 1
    return deepest


def _huge(tower: tuple[str, str]) -> bool:
    base, exponent = map(int, tower)
    return base > 1 and (exponent > 20 or base**exponent > MAX_EXPONENT)

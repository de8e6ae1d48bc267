"""The ruling on two short answers that `evaluation.grading.equality` could not decide: the same shapes, with algebra.

Expressions are read by the LaTeX grammar that math-verify is built on, all of a text or nothing. Two numbers are equal
if exact arithmetic or thirty digits say so; those with a decimal point are rounded, as by math-verify, to six places.
Other expressions are equal if they are at random points, of either sign, where both are real; what has too few such
points is simplified. An inequality that is the answer is solved only where it is linear or an
absolute value, so that the task copied is no answer. The letter i is the imaginary unit unless it is an index.

It may take for ever or eat all memory: give it untrusted text only in a process that can be killed
(`evaluation.grading.answers.Grader` does). A module of its own: sympy takes half a second to load and few processes
need it.
"""

import logging
import random
import re
from functools import lru_cache
from typing import Any

import sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig, latex2sympy
from latex2sympy2_extended.math_normalization import NormalizationConfig, normalize_latex
from sympy import Basic, Expr, Float, I, MatrixBase, N, Number, Rational, Symbol

from evaluation.grading.equality import Judge, Pieces, Ruling, Verdict, decide, ruled
from evaluation.grading.shapes import Equation, Interval, Relation, Value, read

logging.getLogger("latex2sympy2_extended").setLevel(logging.ERROR)

MIN_ROUNDED = 1e-2
"""Numbers below are compared by their ratio: rounded to six places, 2.88e-19 would equal 3.88e-19."""
RELATIVE = 1e-5
PLACES, DIGITS, ROUNDED = 6, 30, 10**9
"""Of numbers with a decimal point, those without, and where the fifteen digits of a float leave no six places."""
CLOSE, CLOSE_FLOAT = 1e-18, 1e-9
"""Relative difference of two values at one point that counts as none; the latter where a decimal point is in one."""
POINTS, LEAST_POINTS = 3, 3
"""Points of each kind, and how many must have told something."""

_NORMAL = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=False, boxed="none")
_CASED = ConversionConfig(lowercase_symbols=False)
_GAMMA = re.compile(r"\\gamma(?![A-Za-z])")
"""To the grammar the function of that name, applied to what stands behind it."""
_INDEX = re.compile(r"_\{?[^{}]*(?<![A-Za-z])i(?![A-Za-z])|\\(?:sum|prod)_\{?\s?i\s?=")
_HEADS = {"<": sympy.StrictLessThan, ">": sympy.StrictGreaterThan, r"\le": sympy.LessThan, r"\ge": sympy.GreaterThan,
          r"\ne": sympy.Unequality, "=": sympy.Equality}  # fmt: skip


class Unread(Exception):
    """The reference is no expression to the grammar."""


class Algebra(Judge):
    """Decides at the leaves by sympy."""

    def values(self, answer: str, reference: str) -> bool | None:
        known = super().values(answer, reference)
        if known is not None:
            return known
        first, second = expression(answer), expression(reference)
        if first is None or second is None:
            return re.sub(r"\s|[{}]", "", answer) == re.sub(r"\s|[{}]", "", reference)
        return equal(first, second)

    def equations(self, answer: Equation, reference: Equation) -> bool | None:
        if super().equations(answer, reference):
            return True
        first, second = _zero(answer), _zero(reference)
        if first is None or second is None:
            return re.sub(r"\s", "", "=".join(answer.sides)) == re.sub(r"\s", "", "=".join(reference.sides))
        if first.free_symbols != second.free_symbols:
            return False
        return _is_multiple(first, second)

    def relations(self, answer: Relation, reference: Relation) -> bool | None:
        if super().relations(answer, reference):
            return True
        try:
            first, second = _solutions(answer), _solutions(reference)
            if first is None or second is None:
                return _same_chain(answer, reference)
            return first == second or bool(first.symmetric_difference(second).is_empty)
        except (MemoryError, RecursionError):
            raise
        except Exception:  # whatever sympy throws at what it cannot solve
            return _same_chain(answer, reference)

    def solves(self, relation: Relation, pieces: Pieces, is_answer: bool) -> bool | None:
        try:
            if is_answer and not all(_is_simple(expression(side)) for side in relation.sides):
                return False
            first, second = _solutions(relation), _set(pieces)
            return first is not None and (first == second or bool(first.symmetric_difference(second).is_empty))
        except (MemoryError, RecursionError):
            raise
        except Exception:  # whatever sympy throws at what it cannot solve
            return False

    def sets(self, answer: Pieces, reference: Pieces) -> bool | None:
        try:
            first, second = _set(answer), _set(reference)
            return first == second or bool(first.symmetric_difference(second).is_empty)
        except (MemoryError, RecursionError):
            raise
        except Exception:  # ends that cannot be compared
            return False


def judge(answer: str, reference: str) -> Ruling:
    """The ruling on two normalised texts. No time limit: a signal is not heard in C code."""
    try:
        ruling = decide(answer, reference) or ruled(answer, reference, Algebra())
    except (MemoryError, RecursionError) as error:
        return Verdict.ERROR, type(error).__name__
    assert ruling
    if ruling[0] is Verdict.INCORRECT and isinstance(shape := read(answer), Value) and expression(shape.text) is None:
        return Verdict.UNPARSED, "answer cannot be parsed"
    return ruling


# -- reading -------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4_096)  # the responses of an RL group share one reference, and often their answer
def expression(text: str) -> Any:
    """What the grammar makes of all of `text`, or None."""
    try:
        text = _GAMMA.sub(r"\\varsigma ", text)
        found = latex2sympy(normalize_latex(text, _NORMAL), normalization_config=None, conversion_config=_CASED)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # what the grammar throws at text that it does not know is of no one type
        return None
    if not isinstance(found, Basic | MatrixBase) or found.has(sympy.zoo, sympy.nan):
        return None
    if not _INDEX.search(text):
        found = found.subs(Symbol("i"), I)
    return found


def _zero(equation: Equation) -> Any:
    """The left side less the right one."""
    left, right = expression(equation.sides[0]), expression(equation.sides[-1])
    return left - right if isinstance(left, Expr) and isinstance(right, Expr) else None


def _set(pieces: Pieces) -> sympy.Set:
    inner, outer = (sympy.Union(*map(_piece, one)) for one in pieces)
    return inner - outer


def _piece(piece: Interval | Value) -> sympy.Set:
    if isinstance(piece, Value):
        return sympy.FiniteSet(_end(piece.text))
    low, high = _end(piece.low), _end(piece.high)
    return sympy.Interval(low, high, not piece.closed[0], not piece.closed[1])


def _end(text: str) -> Any:
    found = expression(text)
    if found is None or not found.doit().is_extended_real:
        raise ValueError(text)
    exact = found.doit()
    return sympy.nsimplify(exact, rational=True) if exact.has(Float) else exact


def _solutions(relation: Relation) -> sympy.Set | None:
    """The real numbers that fulfil an inequality of one variable."""
    sides = [expression(side) for side in relation.sides]
    if not all(isinstance(side, Expr) for side in sides):
        return None
    names = set().union(*(side.free_symbols for side in sides))
    if len(names) != 1:
        return None
    (name,) = names
    variable = Symbol("x", real=True)
    found: sympy.Set = sympy.S.Reals
    for sign, left, right in zip(relation.signs, sides, sides[1:], strict=False):
        one = _HEADS[sign](left.subs(name, variable), right.subs(name, variable))
        found = found.intersect(one.as_set() if isinstance(one, Basic) and one.free_symbols else
                                sympy.S.Reals if one else sympy.S.EmptySet)  # fmt: skip
    return found


def _is_simple(side: Any) -> bool:
    """Linear in its variable, or an absolute value of what is."""
    if not isinstance(side, Expr):
        return False
    inner = side.args[0] if isinstance(side, sympy.Abs) else side
    return not inner.free_symbols or bool(inner.is_polynomial() and sympy.Poly(inner).total_degree() <= 1)


def _same_chain(answer: Relation, reference: Relation) -> bool:
    """Side by side and sign by sign, the chain read either way; one with a single sign also with all on one side."""
    turned = Relation(answer.sides[::-1], tuple({"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le"}.get(s, s)
                                                for s in answer.signs[::-1]))  # fmt: skip
    algebra = Algebra()
    for one in (answer, turned):
        if one.signs != reference.signs:
            continue
        if all(algebra.values(*pair) for pair in zip(one.sides, reference.sides, strict=True)):
            return True
        if len(one.sides) == 2:
            first, second = _zero(Equation(one.sides)), _zero(Equation(reference.sides))
            if first is not None and second is not None and _is_multiple(first, second, positive=True):
                return True
    return False


# -- equality ------------------------------------------------------------------------------------------------------


def equal(answer: Any, reference: Any) -> bool:
    """Whether two expressions are equal."""
    if isinstance(answer, MatrixBase | sympy.MatrixExpr) or isinstance(reference, MatrixBase | sympy.MatrixExpr):
        return _same_matrix(answer, reference)
    if not isinstance(answer, Expr) or not isinstance(reference, Expr):
        return answer == reference
    if answer == reference:
        return True
    if answer.free_symbols or reference.free_symbols:
        return _same_function(answer, reference)
    return _same_number(answer, reference)


def _same_matrix(answer: Any, reference: Any) -> bool:
    try:
        first, second = (sympy.Matrix(one.doit()) for one in (answer, reference))
    except Exception:  # a shape that does not fit
        return False
    return first.shape == second.shape and all(equal(*pair) for pair in zip(first.flat(), second.flat(), strict=True))


def _same_number(answer: Expr, reference: Expr) -> bool:
    first, second = _number(answer), _number(reference)
    if first is None or second is None:
        return _simplified_alike(answer, reference)
    if answer.has(Float) or reference.has(Float):
        return _same_rounded(answer, reference, first, second)
    if isinstance(first, Rational) and isinstance(second, Rational):
        return first == second
    return _close(N(first, DIGITS), N(second, DIGITS), CLOSE)


@lru_cache(maxsize=4_096)
def _number(found: Expr) -> Any:
    """A rational number as it is, another by its digits; None if it cannot be said."""
    if found.has(sympy.Sum, sympy.Integral, sympy.Product, sympy.Limit):
        value = N(found, DIGITS)
    else:
        value = (sympy.nsimplify(found, rational=True) if found.has(Float) else found).doit()
        if not isinstance(value, Number):
            value = N(value, DIGITS)
    return (
        value
        if getattr(value, "is_number", False) and not value.has(sympy.nan, sympy.zoo) and _is_digits(value)
        else None
    )


def _is_digits(value: Any) -> bool:
    return isinstance(value, Number) or all(isinstance(part, Number) for part in value.as_real_imag())


def _as_written(found: Any, value: Any) -> Any:
    """The value rounded as math-verify rounds the float that was written, whose last bit decides a tie."""
    return (found if isinstance(found, Number) else N(value, 15)).round(PLACES)


def _same_rounded(answer: Any, reference: Any, first: Any, second: Any) -> bool:
    if not (first.is_finite and second.is_finite):
        return bool(first == second)
    if not (first.is_real and second.is_real):
        pairs = zip(first.as_real_imag(), second.as_real_imag(), strict=True)
        return all(_same_rounded(*pair, *pair) for pair in pairs)
    largest = max(abs(first), abs(second))
    if largest >= ROUNDED:
        if abs(first - second) > 10**-PLACES:
            return False
    elif abs(_as_written(answer, first) - _as_written(reference, second)) > 10.0 ** -(PLACES + 2):
        return False
    return not (largest < MIN_ROUNDED and abs(first - second) > RELATIVE * largest)


def _close(first: Any, second: Any, relative: float) -> bool:
    if not (first.is_finite and second.is_finite):
        return bool(first == second)
    if not (first and second):
        return bool(abs(first - second) < 10**-DIGITS)
    return bool(abs(first - second) <= relative * max(abs(first), abs(second)))


def _same_function(answer: Expr, reference: Expr) -> bool:
    """At points where both are real, or, if there are none, where they have a value at all."""
    names = sorted(answer.free_symbols | reference.free_symbols, key=str)
    relative = CLOSE_FLOAT if answer.has(Float) or reference.has(Float) else CLOSE
    values = [pair for place in range(4 * POINTS) if (pair := _at(answer, reference, names, place))]
    real = [pair for pair in values if pair[0].is_real and pair[1].is_real]
    told = [_close(*pair, relative) for pair in (real or values)]
    return all(told) if len(told) >= LEAST_POINTS else _simplified_alike(answer, reference)


def _at(answer: Expr, reference: Expr, names: list[Any], place: int) -> tuple[Any, Any] | None:
    """Both values at a point, or None where one has none: below one, above it, of either sign, and large, in turn."""
    rng = random.Random(place)
    low, high, signs = ((0.05, 1, (1,)), (1, 4, (1,)), (0.1, 3, (-1, 1)), (4, 50, (1,)))[place % 4]
    point: dict[Any, Any] = {name: Float(rng.uniform(low, high) * rng.choice(signs), DIGITS + 10) for name in names}
    if _is_counting(answer) or _is_counting(reference):
        point = {name: sympy.Integer(rng.randrange(2, 9)) for name in names}
    try:
        first, second = (N(one.subs(point).doit(), DIGITS) for one in (answer, reference))
    except (MemoryError, RecursionError):
        raise
    except Exception:  # no value there
        return None
    return (first, second) if all(_is_digits(one) and one.is_finite for one in (first, second)) else None


def _is_counting(found: Expr) -> bool:
    """Whether a variable counts: a bound of a sum or of a product, a factorial."""
    return found.has(sympy.Sum, sympy.Product, sympy.factorial, sympy.binomial)


def _simplified_alike(answer: Expr, reference: Expr) -> bool:
    try:
        return bool(sympy.simplify(answer - reference).is_zero)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # whatever sympy throws at two things it cannot compare
        return False


def _is_multiple(first: Expr, second: Expr, positive: bool = False) -> bool:
    """Whether one is the other times a number that is not zero."""
    names = sorted(first.free_symbols | second.free_symbols, key=str)
    if not names:
        return False
    point: dict[Any, Any] = {name: Float(1.0372 + 0.1913 * place, DIGITS + 10) for place, name in enumerate(names)}
    try:
        factor = sympy.nsimplify(N((first / second).subs(point).doit(), 20), rational=True, tolerance=1e-15)
        if not factor.is_finite or factor == 0 or (positive and not factor > 0):
            return False
    except Exception:  # no value there
        return False
    return equal(first, second * factor)

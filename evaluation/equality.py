"""Are two short answers equal, where no algebra is needed to tell? What stands before math-verify makes grading quick.

`decide` answers what needs no algebra: an empty answer, the same text, two plain numbers, fractions of whole numbers,
multiples of their square roots, points with plain entries, an answer beyond the limits.
It is linear in the text and loads no sympy. Where it says CORRECT or INCORRECT it says what math-verify would say of
the same normalised texts (a property test holds it).

Leaves out: algebra (`evaluation.algebra`), finding the answer in a response (`evaluation.answers`), and rewards.
"""

import math
import re
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction


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

_SPELLING = re.compile(r"\\[dt]frac(?![A-Za-z])|\\(?:left|right)(?![A-Za-z])|(?<!\\)(?:\$|\\[()\[\]])|[−–]|\s+")
_UNICODE = str.maketrans(
    {"½": r"\frac{1}{2}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}"}
    | {"·": r"\cdot ", "∙": r"\cdot ", "⋅": r"\cdot ", "∞": r"\infty ", "°": r"^{\circ}"}
    | {chr(ord("０") + digit): str(digit) for digit in range(10)}
)
_SUPERSCRIPT = re.compile("[⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹ⁿ]{1,20}")
_LOWERED = str.maketrans("⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹ⁿ", "+-0123456789n")
_ROOT = re.compile(r"√\s*(?:\(([^()]{1,100})\)|(\d+(?:\.\d+)?|[A-Za-z]))")
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_DEGREES = re.compile(r"(\d+(?:\.\d+)?)\s?\^\s?(?:\{\s?\\circ\s?\}|\\circ(?![A-Za-z]))")
_SCIENTIFIC = re.compile(r"^(-?\d{1,20}(?:\.\d{0,20})?)[eE]\+?(-?\d{1,4})$")
_NUMBER = re.compile(r"-?(?:[1-9]\d{0,2}(?:,\d{3})+|\d{1,15})(?:\.\d{1,14})?")
_FRACTION = re.compile(r"(-)?(?:(\d{1,9})|\\frac\{(-?\d{1,9})\}\{([1-9]\d{0,8})\})")
_MULTIPLE = re.compile(r"(-)?(\d{1,5})?\\sqrt\{(\d{1,5})\}")
_POINT = re.compile(r"\(-?\d{1,9}(?:\.\d{1,4})?(?:, -?\d{1,9}(?:\.\d{1,4})?)+\)")
_FACTORIAL = re.compile(r"(\d+)[\s)}]*!")
_EXPONENT = re.compile(r"(?:\^|\*\*)[\s{(]*(\d+)")
_TOWER = re.compile(r"(?:\^|\*\*)[\s{(]*(\d+)[\s)}]*(?:\^|\*\*)[\s{(]*(\d+)")


def normalise(text: str) -> str:
    """`text` without what never changes its meaning: math delimiters, \\left and \\right, display fractions, Unicode
    minus, runs of blanks, a closing full stop. What math-verify would misread is spelled out: √2, ½ and x² in LaTeX,
    degrees under sine and its like as radians, and "2e11", where it takes e for Euler's number."""
    text = _SPELLING.sub(_spell, text).strip()
    text = text[:-1].rstrip() if text.endswith(".") else text
    if not text.isascii():
        text = _SUPERSCRIPT.sub(lambda found: f"^{{{found[0].translate(_LOWERED)}}}", text.translate(_UNICODE))
        text = _ROOT.sub(r"\\sqrt{\1\2}", text).strip()
    if _TRIGONOMETRIC.search(text):
        text = _DEGREES.sub(r"(\1 \\cdot \\frac{\\pi}{180})", text)
    return _SCIENTIFIC.sub(r"\1 \\cdot 10^{\2}", text)


def _spell(match: re.Match[str]) -> str:
    found = match[0]
    if found.isspace():
        return " "
    if found in "−–":
        return "-"
    return r"\frac" if found.endswith("frac") else ""


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
    return (
        _compare_numbers(plain_number(answer), plain_number(reference))
        or _compare_fractions(_fraction(answer), _fraction(reference))
        or _compare_roots(_signed_square(answer), _signed_square(reference))
        or _compare_points(_point(answer), _point(reference))
    )


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
    sign, whole, above, below = found.groups()
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

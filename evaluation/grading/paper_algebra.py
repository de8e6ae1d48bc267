"""The part of the paper's harness that calculates: what `evaluation.grading.paper` could not decide by looking at the
texts.

It may take for ever or eat all memory: give it untrusted text only in a process that can be killed
(`evaluation.grading.answers.Grader` does). Loads sympy. The rules and what is left out: `evaluation.grading.paper`.
"""

import ast
import json
import math
import re
from collections.abc import Sequence
from typing import Any

import sympy
from math_verify import parse, verify
from sympy import N, simplify

from evaluation.grading.equality import Ruling
from evaluation.grading.paper import CLOSE, Kind, by_numbers, decided, near, ruling, tex
from evaluation.grading.paper_latex import LatexError, parse_latex

WITHIN = 1e-5
"""numpy's relative tolerance."""
_UNITS = (
    "eV", " \\mathrm{~kg} \\cdot \\mathrm{m} / \\mathrm{s}", " kg m/s", "kg*m/s", "kg", "m/s", "m / s", "m s^{-1}",
    "\\text{ m/s}", " \\mathrm{m/s}", " \\text{ m/s}", "g/mole", "g/mol", "\\mathrm{~g}",
    "\\mathrm{~g} / \\mathrm{mol}", "W", "erg/s", "years", "year", "cm",
)  # fmt: skip


def rule(answer: str, wanted: str, kind: Kind) -> Ruling:
    """The ruling on `find` and `reference` of one item. It may take for ever: give it a process that can be killed."""
    if said := decided(answer, wanted, kind):
        return said
    found, gold = json.loads(answer), json.loads(wanted)
    match kind:
        case "olympiad":
            return ruling(_by_math_verify(found, gold))
        case "ocw":
            return ruling(_of_course(found, gold))
        case "math":
            gold = list(dict.fromkeys(gold))
            return ruling(_correct(list(dict.fromkeys(found))[-len(gold) :], gold))
        case "tabmwp":
            return ruling(_correct(found[-1] if found else "", gold))
    return ruling(_correct(found, gold))


def _correct(found: Any, gold: Any) -> bool:
    """Every answer must match one of the references, and every reference one of the answers."""
    if isinstance(found, list):
        golds = gold if isinstance(gold, list) else [gold]
        matches = [[_correct(one, other) for other in golds] for one in found]
        return all(map(any, matches)) and all(any(row[i] for row in matches) for i in range(len(golds)))
    if "\\cup" in found and "\\cup" in gold:
        return _correct(found.split("\\cup"), gold.split("\\cup"))
    said = by_numbers(found, gold)
    return _equal(found, gold) if said is None else said


_BRACKETED = re.compile(r"(\(|\[).+(\)|\])")


def _equal(found: str, gold: str) -> bool:
    """The harness's `math_equal`: numbers, tuples and matrices by their entries, equations, then algebra."""
    if found == gold or (is_near := near(found, gold)):
        return True
    if is_near is False or not found:
        return False
    found, gold = found.strip(), gold.strip()
    if _BRACKETED.match(found) and _BRACKETED.match(gold) and _all_equal(found[1:-1].split(","), gold[1:-1].split(",")):
        return True
    if _is_matrix(found) and _is_matrix(gold):
        rows = [[row.strip().split("&") for row in _rows(text) if row.strip()] for text in (found, gold)]
        if len(rows[0]) == len(rows[1]) and all(map(_all_equal, *rows)):
            return True
    if found.count("=") == 1 and gold.count("=") == 1:
        one, other = (f"{left.strip()} - ({right.strip()})" for left, right in (t.split("=") for t in (found, gold)))
        return _symbolic(one, other) or _symbolic(f"-({one})", other) or _symbolic(found, gold)
    if found.count("=") == 1 and len(found.split("=")[0].strip()) <= 2 and "=" not in gold:
        return _equal(found.split("=")[1], gold) or _symbolic(found, gold)
    if gold.count("=") == 1 and len(gold.split("=")[0].strip()) <= 2 and "=" not in found:
        return _equal(found, gold.split("=")[1]) or _symbolic(found, gold)
    return _symbolic(found, gold)


def _all_equal(found: Sequence[str], gold: Sequence[str]) -> bool:
    return len(found) == len(gold) and all(map(_equal, found, gold))


def _is_matrix(text: str) -> bool:
    return text.startswith(("\\begin{pmatrix}", "\\begin{bmatrix}")) and text.endswith(
        ("\\end{pmatrix}", "\\end{bmatrix}")
    )


def _rows(text: str) -> list[str]:
    return text[len("\\begin{pmatrix}") : -len("\\end{pmatrix}")].split("\\\\")


def _symbolic(found: str, gold: str) -> bool:
    one, other = _read(found), _read(gold)
    if isinstance(one, str) or isinstance(other, str):
        return False  # sympy would hand a text to Python's eval
    try:
        if simplify(one - other) == 0:
            return True
    except (MemoryError, RecursionError):
        raise
    except Exception:  # whatever sympy throws at two things it cannot subtract, the harness goes on
        pass
    try:
        return math.isclose(float(N(one)), float(N(other)), rel_tol=1e-9, abs_tol=CLOSE)
    except (MemoryError, RecursionError):
        raise
    except Exception:
        return False


def _read(text: str) -> Any:
    try:
        return parse_latex(text)
    except (LatexError, TypeError, ValueError):
        return text if (value := arithmetic(text)) is None else value


def _by_math_verify(found: str, gold: str) -> bool:
    try:
        return verify(
            parse(found, parsing_timeout=None),  # type: ignore[arg-type]
            parse(gold, parsing_timeout=None),  # type: ignore[arg-type]
            timeout_seconds=None,
        )
    except (MemoryError, RecursionError):
        raise
    except Exception:
        return False


# -- courses -------------------------------------------------------------------------------------------------------


def _of_course(found: str, gold: str) -> bool:
    try:
        float(gold)
    except ValueError:
        if "=" not in gold:
            return tex(found) == tex(gold)
        one, other = _equation(found), _equation(gold)
        return one is not None and one == other
    one, other = _quantity(found), _quantity(gold)
    return one is not None and other is not None and _alike(one, other)


def _alike(one: float, other: float) -> bool:
    """numpy's isclose; where either is 0, or they are next to each other, a bound that is none for most pairs."""
    if _close(one, 0.0) or _close(other, 0.0) or _close(one - other, 0.0):
        return abs(one - other) < 0.01 * (one + other) / 2
    return _close(one, other)


def _close(one: float, other: float) -> bool:
    return one == other or abs(one - other) <= 1e-8 + WITHIN * abs(other)


def _quantity(text: str) -> float | None:
    for unit in _UNITS:
        text = text.replace(unit, "").strip()
    for unit in ("m", "s", "cm"):
        text = text.replace(f"\\mathrm{{{unit}}}", "").replace(f"\\mathrm{{~{unit}}}", "").strip()
    text = text.strip().strip("$")
    if (value := arithmetic(text)) is not None:
        return float(value)
    read = _read(text)
    try:
        return float(read) if read.is_number else None
    except (AttributeError, TypeError, OverflowError):
        return None


def _equation(text: str) -> Any:
    text = text.removeprefix("\\[").removesuffix("\\]").replace("\\left(", "(").replace("\\right)", ")")
    text = text.replace("\\\\", "\\").strip("$")
    try:
        read = parse_latex(text)
    except (LatexError, TypeError, ValueError):
        return None
    return read if isinstance(read, sympy.Equality) else None


_OPERATIONS: dict[type[ast.AST], Any] = {
    ast.Add: lambda a, b: a + b, ast.Sub: lambda a, b: a - b, ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b, ast.FloorDiv: lambda a, b: a // b, ast.Mod: lambda a, b: a % b,
    ast.Pow: lambda a, b: a**b, ast.UAdd: lambda a: a, ast.USub: lambda a: -a,
}  # fmt: skip


def arithmetic(text: str) -> float | int | None:
    """The value of Python arithmetic on plain numbers; None for anything else. Nothing is executed."""
    if len(text) > 200:
        return None
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError):
        return None


def _value(node: ast.AST) -> Any:
    match node:
        case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
            return node.value
        case ast.BinOp():
            return _OPERATIONS[type(node.op)](_value(node.left), _value(node.right))
        case ast.UnaryOp():
            return _OPERATIONS[type(node.op)](_value(node.operand))
    raise ValueError("no number")

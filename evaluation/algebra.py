"""math-verify's ruling on two short answers that `evaluation.equality` could not decide.

It may take for ever or eat all memory: give it untrusted text only in a process that can be killed
(`evaluation.answers.Grader` does). A module of its own: sympy takes half a second to load and few processes need it.
"""

import logging
import re
from functools import lru_cache
from itertools import product
from typing import Any

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify
from sympy import Basic, Expr, MatrixBase, N

from evaluation.equality import Ruling, Verdict

logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns at each call without a timeout of its own

MIN_ROUNDED = 1e-2
"""Numbers below are compared by their ratio: math-verify rounds to six places, and 2.88e-19 would equal 3.88e-19."""
RELATIVE = 1e-4

_LATEX, _PLAIN = (LatexExtractionConfig(),), (ExprExtractionConfig(),)
_ARITHMETIC = re.compile(r"[-+*/^().\d\s]+%?")


def judge(answer: str, reference: str) -> Ruling:
    """math-verify's ruling on two normalised texts. No time limit: its own is a signal that C code does not hear."""
    golds, found = _parse(reference), _parse(answer)
    if not golds:
        return Verdict.ERROR, "reference cannot be parsed"
    if not found:
        return Verdict.UNPARSED, "answer cannot be parsed"
    try:
        if any(_same(gold, target) for gold, target in product(golds, found)):
            return Verdict.CORRECT, "equal by math-verify"
    except (MemoryError, RecursionError) as error:
        return Verdict.ERROR, type(error).__name__
    if _is_expression(golds) and not _is_expression(found):
        return Verdict.UNPARSED, "answer is no expression"
    return Verdict.INCORRECT, "unequal by math-verify"


@lru_cache(maxsize=4_096)  # the responses of an RL group share one reference, and often their answer
def _parse(text: str) -> list[Any]:
    """math-verify's reading of the whole `text`: as LaTeX, else as plain arithmetic ("25%", "-3./2").

    Its default would go on and take a number from within what it cannot read: "3:30 p.m." would equal 3.
    """
    found = parse(f"${text}$", _LATEX, parsing_timeout=None)  # type: ignore[arg-type]
    plain = text.replace(r"\%", "%")
    if not _is_expression(found) and _ARITHMETIC.fullmatch(plain):
        return parse(plain, _PLAIN, parsing_timeout=None) or found  # type: ignore[arg-type]
    return found


def _same(gold: Any, target: Any) -> bool:
    try:
        return verify(gold, target, timeout_seconds=None, raise_on_error=True) and not _small_and_apart(gold, target)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # whatever sympy throws at two things it cannot compare: math-verify, too, calls them unequal
        return False


def _small_and_apart(gold: Any, target: Any) -> bool:
    """Whether both are numbers below MIN_ROUNDED that differ by more than RELATIVE of the larger one."""
    if not all(isinstance(item, Expr) and item.is_number and item.is_real for item in (gold, target)):
        return False
    first, second = abs(N(gold)), abs(N(target))
    return bool(max(first, second) < MIN_ROUNDED and abs(N(gold - target)) > RELATIVE * max(first, second))


def _is_expression(parsed: list[Any]) -> bool:
    return any(isinstance(item, Basic | MatrixBase) for item in parsed)

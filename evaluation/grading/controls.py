r"""Can a reference answer be used to reward? Controls that cost little and need no model.

    itself       \boxed{reference} must be CORRECT
    nothing      an empty answer must not be, and no failure of the grader either
    off by one   the reference with its first number raised by one (without a number: plus one) must be INCORRECT
    a constant   a number that is the answer to nothing must be found wrong, and within the limits
    a formula    so must an expression with a variable

A reference that the grader cannot parse fails the third, where equal texts no longer help it. The last two go through
algebra for every kind of reference: they detect a reference with which no wrong answer can be compared in time, and
which would therefore only help right answers. Plain numbers skip them, because their cost depends only on the answer.

Pure functions; `Grader.check` (`evaluation.grading.answers`) rules on them, and stops at the first that fails. Leaves
out whether the reference is true.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evaluation.grading.equality import Ruling, Verdict, normalise, plain_number

if TYPE_CHECKING:
    from evaluation.grading.answers import Grader

TOO_HARD = "too_hard"
"""The reason of an answer that could not be ruled on within the limits; what the grader raised may follow it."""

_WHOLE = re.compile(r"(?<![_^\d.,])(?<![_^]\{)\d+")
"""Digits that are not an exponent, index or base ("52_8", "cm^2"): math-verify reads some of those as words."""
_CONSTANT = r"\frac{\sqrt{7}+\pi}{131}"
_FORMULA = r"\sqrt{7}t+131"


@dataclass(frozen=True)
class Failure:
    """Why a reference cannot be used: the control, and the reason of the grader."""

    control: str
    verdict: str
    reason: str


def check_references(references: Sequence[str], grader: "Grader") -> list[Failure | None]:
    """The first control that each reference fails, or None, in their order."""
    return grader.check(references)


def wrong_answers(reference: str) -> dict[str, str]:
    """Answers that must not be called right, by the name of their control; not normalised."""
    forced = {} if plain_number(normalise(reference)) is not None else {"a constant": _CONSTANT, "a formula": _FORMULA}
    return {"nothing": "", "off by one": off_by_one(reference)} | forced


def off_by_one(reference: str) -> str:
    """A wrong answer that looks like `reference`."""
    plain = normalise(reference)
    raised = _WHOLE.sub(lambda found: str(int(found[0]) + 1), plain, count=1) if len(plain) < 1_000 else plain
    return raised if raised != plain else f"{plain}+1"


def failure(control: str, ruling: Ruling) -> Failure | None:
    """The failure that follows from the ruling on the answer of a control, or None."""
    verdict, reason = ruling
    wanted = {"itself": (Verdict.CORRECT,), "off by one": (Verdict.INCORRECT,)}
    passes = verdict in wanted.get(control, (Verdict.INCORRECT, Verdict.UNPARSED)) and not reason.startswith(TOO_HARD)
    return None if passes else Failure(control, verdict.value, reason)

r"""Can a reference answer be used to reward? Controls that cost little and need no model.

    itself       \boxed{reference} must be CORRECT
    nothing      an empty answer must not be, and no failure of the grader either
    off by one   the reference with its first number raised by one (without a number: plus one) must be INCORRECT
    a constant   a number that is the answer to nothing must be found wrong, and within the limits
    a formula    so must an expression with a variable

A reference that the grader cannot parse fails the third, where equal texts no longer help it. The last two go through
algebra whatever the reference looks like: they find a reference that no wrong answer can be held against in time, which
would be of use to right answers alone. Plain numbers are spared them: what they cost hangs on the answer only.

Pure functions; `Grader.check` (`evaluation.grading.answers`) rules on them, and goes no further than the first that
fails. Leaves out whether the reference is true.
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
"""Digits that are no exponent, index or base ("52_8", "cm^2"): math-verify reads some of those as words."""
_CONSTANT = r"\frac{\sqrt{7}+\pi}{131}"
_FORMULA = r"\sqrt{7}t+131"


@dataclass(frozen=True)
class Failure:
    """Why a reference is of no use: the control, and what the grader said."""

    control: str
    verdict: str
    reason: str


def check_references(references: Sequence[str], grader: "Grader") -> list[Failure | None]:
    """What each reference fails first, or None; in their order."""
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
    """What the ruling on the answer of a control says against the reference."""
    verdict, reason = ruling
    wanted = {"itself": (Verdict.CORRECT,), "off by one": (Verdict.INCORRECT,)}
    passes = verdict in wanted.get(control, (Verdict.INCORRECT, Verdict.UNPARSED)) and not reason.startswith(TOO_HARD)
    return None if passes else Failure(control, verdict.value, reason)

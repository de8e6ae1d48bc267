r"""Can a reference answer be used to reward? Three controls that cost little and need no model.

    itself      \boxed{reference} must be CORRECT
    nothing     \boxed{} must not be, and no failure of the grader either
    off by one  the reference with its first number raised by one (without a number: plus one) must be INCORRECT

A reference that the grader cannot parse fails the third, where equal texts no longer help it. Leaves out whether the
reference is true.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.answers import Grade, Grader, Verdict
from evaluation.equality import normalise

_WHOLE = re.compile(r"(?<![_^\d.,])(?<![_^]\{)\d+")
"""Digits that are no exponent, index or base ("52_8", "cm^2"): math-verify reads some of those as words."""


@dataclass(frozen=True)
class Failure:
    """Why a reference is of no use: the control, and what the grader said."""

    control: str
    verdict: str
    reason: str


def check_references(references: Sequence[str], grader: Grader) -> list[Failure | None]:
    """What each reference fails first, or None; in their order."""
    itself, nothing, beside = (
        grader.grade_all([rf"\boxed{{{answer}}}" for answer in answers], references, "boxed")
        for answers in (references, [""] * len(references), [off_by_one(reference) for reference in references])
    )
    return [_failure(*grades) for grades in zip(itself, nothing, beside, strict=True)]


def off_by_one(reference: str) -> str:
    """A wrong answer that looks like `reference`."""
    plain = normalise(reference)
    raised = _WHOLE.sub(lambda found: str(int(found[0]) + 1), plain, count=1) if len(plain) < 1_000 else plain
    return raised if raised != plain else f"{plain}+1"


def _failure(itself: Grade, nothing: Grade, beside: Grade) -> Failure | None:
    if itself.verdict is not Verdict.CORRECT:
        return Failure("itself", itself.verdict.value, itself.reason)
    if nothing.verdict not in (Verdict.INCORRECT, Verdict.UNPARSED):
        return Failure("nothing", nothing.verdict.value, nothing.reason)
    if beside.verdict is not Verdict.INCORRECT:
        return Failure("off by one", beside.verdict.value, beside.reason)
    return None

"""Rewards: what a verdict earns. An answer counts only in `\\boxed{}`, as in the OctoThinker runs.

A failure of the grader earns nothing, not zero: the response is left out of the group's mean and of the loss. Leaves
out rewards for form or length, and the variants that punish repetition.
"""

from typing import Literal

from evaluation.answers import Verdict

RULE = "boxed"
"""The rule of extraction (`evaluation.answers.Rule`)."""


def reward(verdict: Verdict, variant: Literal["binary", "signed"]) -> float | None:
    """1 for a right answer; 0 (binary) or -1 (signed) for a wrong or missing one; None where there is no ruling."""
    match verdict:
        case Verdict.CORRECT:
            return 1.0
        case Verdict.INCORRECT | Verdict.UNPARSED:
            return 0.0 if variant == "binary" else -1.0
        case Verdict.ERROR:
            return None

"""Rewards: what a verdict earns. An answer counts only in `\\boxed{}`, as in the OctoThinker runs.

The variants, by name (OctoThinker's released code calls the last four default, v2, v3 and v4):

    name        right   wrong   otherwise
    binary          1       0
    signed         +1      -1
    format         +1    -0.5   no box or several, or repetition: -1
    repetition     +1      -1   repetition: -2
    strict         +1      -1   repetition, or several boxes: -2

What stands under "otherwise" goes before right and wrong. Repetition is a passage of five characters or more that
stands five times in a row (`repeats`). A response that goes on behind its last box until it is cut off at the cap is
wrong whatever it has boxed: else a box and then words without end would earn as much as an answer, as in the
OctoThinker runs. An answer that could not be ruled on within the limits is UNPARSED, and wrong
(`evaluation.grading.answers`). A failure of the grader earns nothing, not zero: the response is left out of the group's
mean and of the loss.
"""

import re
from typing import assert_never

import numba
import numpy as np

from evaluation.grading.answers import Verdict
from evaluation.grading.extraction import continues
from rl.config import RewardName

RULE = "boxed"
"""The rule of extraction (`evaluation.grading.answers.Rule`)."""
LEAST_PERIOD, TIMES = 5, 5
"""The OctoThinker runs look for `(.{5,}?)\\1{4,}`, a pattern whose search takes quadratic time."""

_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])")
RIGHT = 1.0
"""What a right answer earns under every name."""


def reward(verdict: Verdict, name: RewardName, response: str, truncated: bool = False) -> float | None:
    """What `response` earns; None where there is no ruling. One that goes on behind its last box until it is
    `truncated` earns as a wrong one."""
    if verdict is Verdict.ERROR:
        return None
    wrong, special = _row(name, response)
    if special is not None:
        return special
    return RIGHT if verdict is Verdict.CORRECT and not (truncated and continues(response)) else wrong


def _row(name: RewardName, response: str) -> tuple[float, float | None]:
    """The row of the table above: what a wrong answer earns, and what form alone decides, if it does."""
    match name:
        case "binary":
            return 0.0, None
        case "signed":
            return -1.0, None
        case "format":
            return -0.5, -1.0 if boxes(response) != 1 or repeats(response) else None
        case "repetition":
            return -1.0, -2.0 if repeats(response) else None
        case "strict":
            return -1.0, -2.0 if boxes(response) > 1 or repeats(response) else None
        case _:
            assert_never(name)


def boxes(response: str) -> int:
    """How many boxes are opened in `response`."""
    return len(_BOX.findall(response))


def overlong_penalty(tokens: int, cap: int, buffer: int) -> float:
    """DAPO's soft punishment of length (arXiv 2503.14476, equation 13): 0 up to `cap` - `buffer` tokens, from there
    falling linearly to -1 at `cap`."""
    return -max(0, tokens - (cap - buffer)) / buffer


def repeats(text: str) -> bool:
    """Whether a passage of LEAST_PERIOD characters or more stands TIMES times in a row; line breaks are characters.

    Takes n log n steps for ordinary text of n characters: where a passage of length p repeats, characters p apart are
    equal over 4p places, of which four are multiples of p. So only those are looked at, and what is around them if they
    are equal.
    """
    return len(text) >= LEAST_PERIOD * TIMES and bool(
        _repeats(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32))
    )


@numba.njit(cache=True, nogil=True)
def _repeats(text):
    n = len(text)
    for period in range(LEAST_PERIOD, n // TIMES + 1):
        wanted, place = period * (TIMES - 1), 0
        while place + period < n:
            if text[place] != text[place + period]:
                place += period
                continue
            first, last = place, place + 1
            while first > 0 and text[first - 1] == text[first - 1 + period]:
                first -= 1
            while last + period < n and text[last] == text[last + period]:
                last += 1
            if last - first >= wanted:
                return True
            place += period * ((last - place + period - 1) // period)
    return False

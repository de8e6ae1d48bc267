"""What an estimate says about a claim: supported, refuted, or cannot tell at this power.

A claim has a direction and a smallest effect of interest, both written down before the numbers are seen. Pure.
"""

from enum import StrEnum
from typing import Literal, assert_never

from evaluation.estimates import Estimate

Direction = Literal["greater", "less", "equal"]
"""What a claim says of a difference or slope: above 0, below 0, or between minus and plus the smallest effect."""


class Conclusion(StrEnum):
    """What can be said of a claim."""

    SUPPORTED = "supported"
    REFUTED = "refuted"
    CANNOT_TELL = "cannot tell at this power"


def conclude(found: Estimate, direction: Direction, smallest: float = 0.0) -> Conclusion:
    """The conclusion from an interval (Lakens, Scheel and Isager 2018: a test against 0 and one of equivalence).

    `greater` is supported if the interval lies above 0 and reaches the smallest effect of interest, and refuted if it
    ends below that effect: what there is, if anything, is then too small to matter. `less` is its mirror image. `equal`
    is supported if the interval lies between minus and plus the smallest effect, and refuted if it lies outside. An
    estimate without an interval decides nothing.
    """
    if smallest < 0 or (direction == "equal" and smallest == 0):
        raise ValueError(f"{smallest} as the smallest effect of interest of a claim of {direction!r}")
    if found.low is None or found.high is None:
        return Conclusion.CANNOT_TELL
    match direction:
        case "greater":
            return _one_sided(found.low, found.high, smallest)
        case "less":
            return _one_sided(-found.high, -found.low, smallest)
        case "equal":
            inside = -smallest < found.low and found.high < smallest
            outside = found.low >= smallest or found.high <= -smallest
            return _chosen(inside, outside)
        case _:
            assert_never(direction)


def _one_sided(low: float, high: float, smallest: float) -> Conclusion:
    refuted = high < smallest or high <= 0
    return _chosen(low > 0 and not refuted, refuted)


def _chosen(supported: bool, refuted: bool) -> Conclusion:
    if supported:
        return Conclusion.SUPPORTED
    return Conclusion.REFUTED if refuted else Conclusion.CANNOT_TELL

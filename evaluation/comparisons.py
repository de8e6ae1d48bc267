"""Several arms compared at once: paired by block where they share blocks, with corrections for their number.

An arm is a mapping from block (a stem: the common start of the runs of a seed) to outcome, None where the run failed.
Two arms that share two blocks or more are compared within blocks, others as independent groups by Welch's test. Every
pair has a variance of its own: the noise of an outcome depends on the mixture, and an error pooled over arms, as in
the textbook's analysis of variance, would make the intervals of noisy arms too narrow and of quiet ones too wide.
p-values are corrected by Holm's method; intervals that hold all at once have Bonferroni's level, because Holm's method
has no two-sided intervals. Pure functions. Leaves out several looks at the same arms (`evaluation.sequential`).
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from evaluation.estimates import LEVEL, Estimate, estimate, measured, over_seeds, paired_difference, welch

Arm = Mapping[Hashable, float | None]
"""Block → outcome; None where the run failed or was not measured."""


@dataclass(frozen=True)
class Contrast:
    """`second` - `first`: the difference, whether it is within blocks, and what holds for all contrasts together.

    `n` of `difference` is the number of shared blocks, or of runs in the smaller arm. `jointly` has the interval that
    holds in all contrasts at once; `p_holm` is the p-value after Holm's correction.
    """

    first: str
    second: str
    paired: bool
    difference: Estimate
    jointly: Estimate
    p: float | None
    p_holm: float | None

    def row(self) -> dict[str, Any]:
        """As columns of a table."""
        mine = self.difference.row()
        measured = {"n": mine["n"], "difference": mine["value"], "low": mine["low"], "high": mine["high"]}
        joint = {"jointly_low": self.jointly.low, "jointly_high": self.jointly.high}
        tests = {"p": self.p, "p_holm": self.p_holm, "note": mine["note"]}
        return {"first": self.first, "second": self.second, "paired": self.paired} | measured | joint | tests


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values corrected for their number by Holm's step-down method (Holm 1979). None stays None and does not count.

    Rejecting those below alpha keeps the chance of any false rejection at or below alpha, however they depend.
    """
    order = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    so_far = 0.0
    for rank, (p, place) in enumerate(order):
        so_far = max(so_far, min(1.0, p * (len(order) - rank)))
        corrected[place] = so_far
    return corrected


def difference(first: Arm, second: Arm, level: float = LEVEL) -> tuple[Estimate, bool]:
    """second - first, and whether it is within blocks: it is where the arms share at least two."""
    shared = [block for block in first if block in second and len(measured([first[block], second[block]])) == 2]
    if len(shared) >= 2:
        return paired_difference([first[block] for block in shared], [second[block] for block in shared], level), True
    return welch(list(first.values()), list(second.values()), level), False


def compare_arms(arms: Mapping[str, Arm], control: str | None = None, level: float = LEVEL) -> list[Contrast]:
    """Every arm against `control`, or all pairs of arms if that is None, in the order of `arms`."""
    if control is not None and control not in arms:
        raise ValueError(f"no arm {control!r}")
    names = combinations(arms, 2) if control is None else ((control, name) for name in arms if name != control)
    found = [(pair, *difference(arms[pair[0]], arms[pair[1]], level)) for pair in names]
    raw = [one.p for _, one, _ in found]
    tests = max(1, sum(p is not None for p in raw))
    return [
        Contrast(*pair, paired, one, one.at(1 - (1 - level) / tests), p, corrected)
        for (pair, one, paired), p, corrected in zip(found, raw, holm(raw), strict=True)
    ]


def arm_means(arms: Mapping[str, Arm], level: float = LEVEL) -> dict[str, Estimate]:
    """The mean of each arm over blocks, with its interval.

    An arm that lacks a block others have is adjusted for it by the additive model of arms and blocks (least squares
    means of a randomised block design with missing cells; Yates 1933): an arm that failed with the weakest stem does
    not lead for that. Arms that share no block with others have their plain mean.
    """
    cells = [
        (name, block, v)
        for name, arm in arms.items()
        for block, v in arm.items()
        if len(measured([v])) and v is not None
    ]
    effects = _block_effects(cells)
    return {name: _arm_mean([(b, v) for arm, b, v in cells if arm == name], effects, level) for name in arms}


def _block_effects(cells: list[tuple[str, Hashable, float]]) -> dict[Hashable, float]:
    """Effects of blocks in the additive model; of arms and blocks in separate pieces, none for the smaller pieces."""
    arms, blocks = (list(dict.fromkeys(cell[place] for cell in cells)) for place in (0, 1))
    seen = {block: {name for name, other, _ in cells if other == block} for block in blocks}
    shared = [block for block in blocks if len(seen[block]) > 1]
    if len(shared) < 2 or not is_connected([seen[block] for block in shared]):
        return {}
    design = np.zeros((len(cells), len(arms) + len(shared)))
    used = [row for row, (_, block, _) in enumerate(cells) if block in shared]
    for row in used:
        name, block, _ = cells[row]
        design[row, arms.index(name)] = design[row, len(arms) + shared.index(block)] = 1
    solved = np.linalg.lstsq(design[used], np.array([cells[row][2] for row in used]), rcond=None)[0][len(arms) :]
    return {block: float(effect) for block, effect in zip(shared, solved - solved.mean(), strict=True)}


def is_connected(groups: Sequence[set[Any]]) -> bool:
    """Whether every group is linked to every other through members."""
    reached, rest = set(groups[0]), list(groups[1:])
    while near := [group for group in rest if group & reached]:
        reached |= set().union(*near)
        rest = [group for group in rest if not group & reached]
    return not rest


def _arm_mean(cells: list[tuple[Hashable, float]], effects: dict[Hashable, float], level: float) -> Estimate:
    """The mean of an arm with all of the blocks, or of none; else the mean of what is left without block effects."""
    plain = over_seeds([value for _, value in cells], level)
    inside = [(block, value) for block, value in cells if block in effects]
    if len(inside) in (0, len(effects)) or len(inside) < len(cells):
        return plain
    rest = over_seeds([value - effects[block] for block, value in inside], level)
    blocks = np.array(list(effects.values()))
    if rest.value is None or rest.error is None:
        return rest
    parts = rest.error**2, float(blocks.var(ddof=1)) / len(blocks)
    degrees = sum(parts) ** 2 / (parts[0] ** 2 / (rest.n - 1) + parts[1] ** 2 / (len(blocks) - 1))
    return estimate(rest.value, math.sqrt(sum(parts)), degrees, rest.n, level)

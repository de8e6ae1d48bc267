"""What the steps so far say of the next one: its length cap, and whether the run collapses.

Pure functions of the ledger `steps`, so that a run that goes on after a kill decides as one that was never stopped.
OctoThinker's RL runs failed in a few ways (arXiv 2506.20512): the model answers first and then loops to the cap,
repeats one word to the cap, or lengthens in spikes and then drops. Each shows in `truncated_share`,
`repetition_share`, `length_ratio`, `boxed_share` or `entropy` some steps before the reward falls. Leaves out acting on
it: backends do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from rl.config import Action, AlarmRecipe, GrowthRecipe, RLRecipe, WatchRecipe

Row = dict[str, Any]
"""A row of `steps`."""


def cap_of(recipe: RLRecipe, step: int, history: Sequence[Row]) -> int:
    """Most tokens of a response in `step`; `history` are the rows of `steps` before it, in order."""
    declared = recipe.cap(step)
    if not recipe.growth or not history:
        return declared
    return max(declared, _grown(recipe.growth, history))


def _grown(growth: GrowthRecipe, history: Sequence[Row]) -> int:
    """The cap of the last step, or the next one where all of the last `steps` were under it and ended by themselves."""
    held = history[-1]["cap"]
    recent = history[-growth.steps :]
    ready = len(recent) == growth.steps and all(
        row["cap"] == held and row["truncated_share"] < growth.truncated_below for row in recent
    )
    return next((cap for cap in growth.caps if cap > held), held) if ready else held


@dataclass(frozen=True)
class Alarm:
    """An alarm that was met at `step`, and what follows. `good` is the last step before it went beyond the limit."""

    step: int
    good: int
    rule: AlarmRecipe
    value: float
    action: Action

    @property
    def said(self) -> str:
        """One line for people."""
        side, limit = ("above", self.rule.above) if self.rule.above is not None else ("below", self.rule.below)
        steps = f"for {self.rule.steps} steps" if self.rule.steps > 1 else ""
        return f"step {self.step}: {self.rule.signal} {self.value:.4g} {side} {limit:g} {steps}".rstrip()


def alarms(watch: WatchRecipe | None, history: Sequence[Row], fallen: Sequence[int] = ()) -> list[Alarm]:
    """What the last row of `history` sets off, the gravest first. `fallen` are the steps after which the run fell back:
    what was before counts no more."""
    if not watch or not history:
        return []
    since, found = max(fallen, default=0), []
    for rule in watch.alarms:
        if (bad := _streak(rule, history, since)) == rule.steps:
            row = history[-1]
            action = "stop" if rule.action == "fall_back" and len(fallen) >= watch.fall_backs else rule.action
            found.append(Alarm(row["step"], row["step"] - bad, rule, row[rule.signal], action))
    return sorted(found, key=lambda alarm: get_args(Action).index(alarm.action))


def last_good(watch: WatchRecipe | None, history: Sequence[Row], fallen: Sequence[int] = ()) -> int:
    """The last step before any alarm that may lead to a fall back began to be beyond its limit."""
    since, last = max(fallen, default=0), history[-1]["step"] if history else 0
    rules = [rule for rule in watch.alarms if rule.action == "fall_back"] if watch else []
    return last - max((_streak(rule, history, since) for rule in rules), default=0)


def _streak(rule: AlarmRecipe, history: Sequence[Row], since: int) -> int:
    """How many of the last steps in a row, later than `since`, were beyond the limit."""
    streak = 0
    for row in reversed(history):
        if row["step"] <= since or not _beyond(rule, row[rule.signal]):
            break
        streak += 1
    return streak


def _beyond(rule: AlarmRecipe, value: float) -> bool:
    """A value that is no number is beyond nothing."""
    if rule.above is not None:
        return value > rule.above
    assert rule.below is not None
    return value < rule.below

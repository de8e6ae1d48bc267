"""Groups of runs side by side: each outcome's mean over the runs of a group, and the differences, with intervals.

A group is what differs in one thing (an arm), its runs the repetitions: `web=run-a,run-b,run-c`. Outcomes of an
evaluation are its scores; of a training or RL run what it came to (loss, reward, accuracy, length at its end) and the
scores of the evaluations of its last checkpoint that was measured. Two scores are one outcome only if items and way of
asking are the same. Runs of different groups that started from one run (a stem) are one block, and groups that share
two blocks or more are compared within them; see `evaluation.comparisons` for intervals and Holm's correction, which is
over the differences of one outcome. A run that failed counts as missing. Leaves out the comparison of two evaluations
item by item (`evaluation.compare`).
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.comparisons import Arm, arm_means, compare_arms
from manifests.catalog import Catalog
from manifests.errors import UserError
from manifests.runs import RunDirectory, load_run, load_runs
from manifests.store import Store

Row = dict[str, Any]

WAY = ("template", "shots", "protocol", "temperature", "samples", "max_new_tokens", "stop", "limit")
"""Fields of an evaluation's recipe that make two scores comparable."""
SUMMARY = ("loss_last", "reward_last", "accuracy_last", "length_mean_last")
"""What a training or RL run came to, by the names of its summary."""
SHARES = ("accuracy", "truncated", "pass@", "maj@")
"""Beginnings of the metrics that lie between 0 and 1."""

_SCORES = """
SELECT s.run, r.parent, r.config, r.manifests, s.step, s.benchmark, s.metric, s.value
FROM scores s JOIN runs r USING (run)
WHERE r.kind = 'eval' AND r.status = 'done' AND (list_contains($1, s.run) OR list_contains($1, r.parent))
  AND (s.metric IN ('reward', 'length') OR regexp_matches(s.metric, '^(accuracy|truncated|pass@|maj@)'))
  AND NOT isnan(s.value)
ORDER BY s.benchmark, s.metric, s.step, r.created, s.run
"""


@dataclass(frozen=True)
class Group:
    """Runs that are repetitions of one arm."""

    name: str
    runs: tuple[RunDirectory, ...]


@dataclass(frozen=True)
class GroupComparison:
    """A row per outcome and group, and a row per outcome and pair of groups."""

    means: list[Row]
    differences: list[Row]


def groups_of(store: Store, written: Sequence[str]) -> list[Group]:
    """Groups as they are typed, `[NAME=]RUN[,RUN…]`. A group without a name is called after its runs."""
    groups = [_group(store, text) for text in written]
    if len(groups) < 2:
        raise UserError("one group has nothing to be compared with", "Give two or more: octo runs compare A,B,C D,E,F")
    for what, counted in (
        ("is the name of two groups", Counter(group.name for group in groups)),
        ("is given twice", Counter(run.id for group in groups for run in group.runs)),
    ):
        if twice := [name for name, times in counted.items() if times > 1]:
            raise UserError(f"{twice[0]} {what}", "Give each run once, in one group: octo runs compare A,B,C D,E,F")
    return groups


def _group(store: Store, text: str) -> Group:
    name, given, refs = text.partition("=")
    runs = [load_run(store, ref.strip()) for ref in (refs if given else text).split(",") if ref.strip()]
    if not runs or (given and not name.strip()):
        raise UserError(f"{text!r} names no group of runs", "Write NAME=RUN,RUN,RUN or RUN,RUN,RUN")
    return Group(name.strip() if given else runs[0].id + (f" +{len(runs) - 1}" if len(runs) > 1 else ""), tuple(runs))


def compare_groups(store: Store, groups: Sequence[Group], pairs: bool = False) -> GroupComparison:
    """Every group against the first, or all pairs of groups. UserError if the groups have no outcome in common."""
    outcomes = _outcomes(store, [run for group in groups for run in group.runs])
    blocks = blocks_of(store, groups)
    means: list[Row] = []
    differences: list[Row] = []
    for outcome, values in outcomes.items():
        if sum(any(run.id in values for run in group.runs) for group in groups) < 2:
            continue
        arms = {group.name: _arm(group, values, blocks) for group in groups}
        means += _means(outcome, groups, arms, values)
        found = compare_arms(arms, None if pairs else groups[0].name)
        differences += [{"outcome": outcome} | contrast.row() for contrast in found]
    if not means:
        raise UserError(
            f"{' and '.join(group.name for group in groups)} have no outcome in common",
            "Evaluate the runs of each on one benchmark in one way: octo eval RUN",
        )
    return GroupComparison(means, differences)


def _means(outcome: str, groups: Sequence[Group], arms: dict[str, Arm], values: dict[str, float]) -> list[Row]:
    estimates = arm_means(arms)
    metric = outcome.split(" ")[-1]
    if metric.startswith(SHARES):
        estimates = {name: one.within(0.0, 1.0) for name, one in estimates.items()}
    return [
        {"outcome": outcome, "group": group.name, "runs": len(group.runs)}
        | {"measured": sum(run.id in values for run in group.runs)}
        | {{"value": "mean"}.get(key, key): value for key, value in estimates[group.name].row().items()}
        for group in groups
    ]


def _arm(group: Group, values: dict[str, float], blocks: dict[str, str]) -> Arm:
    """The outcome by block; of several runs of one block their mean."""
    found: dict[str, list[float]] = {blocks[run.id]: [] for run in group.runs}
    for run in group.runs:
        if run.id in values:
            found[blocks[run.id]].append(values[run.id])
    return {block: float(np.mean(each)) if each else None for block, each in found.items()}


def blocks_of(store: Store, groups: Sequence[Group]) -> dict[str, str]:
    """The block of each run: the nearest run that it started from and that one of another group started from too.

    Where that is the same run for all, there are no blocks but a common beginning, and each run stands for itself.
    """
    parents = {record["id"]: record["parent"] for record in load_runs(store)}
    lines = {run.id: _ancestors(run.id, parents) for group in groups for run in group.runs}
    found: dict[str, str] = {}
    for group in groups:
        others = {one for other in groups if other is not group for run in other.runs for one in lines[run.id]}
        found |= {run.id: next((one for one in lines[run.id] if one in others), run.id) for run in group.runs}
    shared = {block for run, block in found.items() if block != run}
    return found if len(shared) > 1 else {run: run for run in found}


def _ancestors(run: str, parents: dict[str, str | None]) -> list[str]:
    found: list[str] = []
    at = parents.get(run)
    while at and at not in found:
        found.append(at)
        at = parents.get(at)
    return found


# -- outcomes --------------------------------------------------------------------------------------------------------


def _outcomes(store: Store, runs: Sequence[RunDirectory]) -> dict[str, dict[str, float]]:
    """Outcome → run → value: what runs came to, then scores, by benchmark and metric."""
    found: dict[str, dict[str, float]] = {}
    for name in SUMMARY:
        values = {run.id: run.record["summary"].get(name) for run in runs if run.record.get("summary")}
        if known := {run: float(value) for run, value in values.items() if value is not None}:
            found[name] = known
    with Catalog(store) as catalog:
        rows = catalog.query(_SCORES, [[run.id for run in runs]]).to_pylist()
    ways = {
        key: sorted({way(row) for row in rows if row["benchmark"] == key}) for key in {r["benchmark"] for r in rows}
    }
    wanted = {run.id for run in runs}
    for row in rows:  # in order of steps, so the last step that was measured stays
        label = _label(row, ways[row["benchmark"]])
        found.setdefault(label, {})[row["run"] if row["run"] in wanted else row["parent"]] = row["value"]
    return found


def _label(row: Row, ways: list[str]) -> str:
    """`benchmark metric`, with the way of asking between them where there are several."""
    if len(ways) == 1:
        return f"{row['benchmark']} {row['metric']}"
    template = json.loads(row["config"]).get("template")
    return f"{row['benchmark']} ({template}, way {ways.index(way(row)) + 1}) {row['metric']}"


def way(row: Row) -> str:
    """How a score was measured: settings and items, from `config` and `manifests` of the evaluation."""
    config = json.loads(row["config"])
    return json.dumps([{name: config.get(name) for name in WAY}, row["manifests"]])

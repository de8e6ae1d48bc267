"""What a study will take before it is run: what is done already, and the time of the rest at measured rates.

Promises: nothing is done or written. A node is predicted from nodes of this store that did the same work (the same
verb and recipe but for the seed), else from those of the same kind by their time per unit of work; a node that neither
can predict is counted as not measured, never as free. Leaves out prices.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np

from manifests import catalog
from manifests.errors import UserError
from manifests.runs import RunDirectory
from manifests.store import Store
from mixtures.surface import precision
from octo.study.config import StudyRecipe
from octo.study.design import Node, Study
from octo.study.nodes import find as find_node
from octo.study.run import find_study
from octo.study.worker import units

Row = dict[str, Any]
MEASURED = """
SELECT verb, work, kind_of_work, seconds, cpu_seconds, units FROM study_nodes
WHERE status = 'done' AND NOT found AND seconds IS NOT NULL
"""


@dataclass
class Plan:
    """What `octo study plan` shows."""

    title: str
    arms: list[Row]
    work: list[Row]
    lines: list[str] = field(default_factory=list)

    def as_json(self) -> Row:
        return {"arms": self.arms, "work": self.work, "notes": self.lines}


@dataclass(frozen=True)
class Rates:
    """Mean seconds and processor seconds of work that was done: of the same work, and per unit of the same kind."""

    same: dict[str, tuple[float, float]]
    per_unit: dict[str, tuple[float, float]]

    @classmethod
    def measured(cls, store: Store) -> "Rates":
        rows = catalog.query(store, MEASURED).to_pylist()
        sized = [row for row in rows if row["units"]]
        return cls(
            {key: (fmean(r["seconds"] for r in mine), fmean(r["cpu_seconds"] for r in mine))
             for key, mine in _grouped(rows, "work").items()},
            {key: (_ratio(mine, "seconds"), _ratio(mine, "cpu_seconds"))
             for key, mine in _grouped(sized, "kind_of_work").items()},
        )  # fmt: skip

    def of(self, node: Node, size: float | None) -> tuple[float, float] | None:
        """Seconds and processor seconds of a node; None if nothing like it was measured."""
        if found := self.same.get(node.work):
            return found
        rate = self.per_unit.get(node.kind_of_work)
        return (rate[0] * size, rate[1] * size) if rate and size else None


def _grouped(rows: Iterable[Row], key: str) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    return groups


def _ratio(rows: list[Row], column: str) -> float:
    return sum(row[column] for row in rows) / sum(row["units"] for row in rows)


def plan(store: Store, recipe: StudyRecipe, workers: int = 1) -> Plan:
    """The plan of a study on this machine with `workers` processes. UserError as for running it, and when
    a corpus is missing of which no sizes are declared, also one that the study would build itself."""
    study, run = find_study(store, recipe, is_plan=True)
    done = _done(store, study)
    times = _times(store, study, done)
    lines = _lines(study, run, times, workers) + _precision(study)
    return Plan(f"{recipe.name}@{recipe.version}", _arms(study), _work(store, study, done, times), lines)


def _done(store: Store, study: Study) -> dict[str, str]:
    """IDs of the nodes whose results are there."""
    done: dict[str, str] = {}
    for node in study.nodes:
        made = {role: done[need] for role, need in node.needs.items() if need in done}
        if len(made) == len(node.needs) and (found := find_node(store, node, made, study.backends)):
            done[node.name] = found
    return done


def _times(store: Store, study: Study, done: dict[str, str]) -> dict[str, tuple[float, float] | None]:
    """Predicted seconds and processor seconds of each node that is not done."""
    rates = Rates.measured(store)
    return {node.name: rates.of(node, _size(store, study, node)) for node in study.nodes if node.name not in done}


def _size(store: Store, study: Study, node: Node) -> float | None:
    """Units of work, from recipes alone: the mixture of a training need not be there."""
    if node.verb == "train":
        mixture = study.by_name[node.needs["mixture"]].recipe
        return planned_tokens(mixture, node.recipe)
    try:
        return units(store, node, {})
    except UserError:  # a benchmark that the study's corpus brings along
        return None


def planned_tokens(mixture: Any, training: Any) -> float | None:
    """Tokens that a training reads of a mixture, by their recipes."""
    if not mixture.budget or not mixture.sequence_length:
        return None
    sequences = mixture.budget.count(mixture.sequence_length)
    read = min(sequences, training.steps * training.batch_sequences) if training.steps else sequences
    return float(read * mixture.sequence_length)


def _arms(study: Study) -> list[Row]:
    cells = {arm: sum(cell.arm == arm for cell in study.cells) for arm in study.weights}
    return [
        {"arm": arm, "cells": cells[arm]} | {name: round(weight, 4) for name, weight in weights.items()}
        for arm, weights in study.weights.items()
    ]


UNITS = {"mix": "sequences", "train": "tokens", "rl": "responses", "eval": "responses", "loss": "texts"}


def _work(store: Store, study: Study, done: dict[str, str], times: dict[str, tuple[float, float] | None]) -> list[Row]:
    """Nodes by verb: how many there are, are shared by arms, are done, are not measured; size and hours of the rest."""
    rows = []
    for verb in dict.fromkeys(node.verb for node in study.nodes):
        mine = [node for node in study.nodes if node.verb == verb]
        left = [times[node.name] for node in mine if node.name in times]
        known = [one for one in left if one]
        rows.append(
            {
                "verb": verb, "nodes": len(mine), "shared": sum(node.arm is None for node in mine),
                "done": sum(node.name in done for node in mine), "left": len(left),
                "size": sum(_size(store, study, node) or 0 for node in mine if node.name in times),
                "of": UNITS[verb],
                "not measured": len(left) - len(known),
                "hours": round(sum(one[0] for one in known) / 3600, 4),
                "CPU hours": round(sum(one[1] for one in known) / 3600, 4),
            }
        )  # fmt: skip
    return rows


def _lines(
    study: Study, run: RunDirectory | None, times: dict[str, tuple[float, float] | None], workers: int
) -> list[str]:
    lines = [f"{len(study.cells)} cells: {len(study.weights)} arms × {len(study.recipe.seeds)} seeds"]
    lines += [f"begun as {run.id}, {run.status}"] if run else []
    unknown = sum(one is None for one in times.values())
    if unknown:
        lines.append(
            f"{unknown} nodes cannot be predicted: nothing like them was run in this store. Run one cell first, "
            f"such as with seeds='[{study.recipe.seeds[0]}]' and fewer arms"
        )
    if times and unknown < len(times):
        hours = makespan(study, {name: one[0] for name, one in times.items() if one}, workers) / 3600
        lines.append(f"the measured part takes {hours:.2f} hours with --workers {workers}")
    if not times:
        lines.append("everything is done")
    if len(study.recipe.seeds) == 1:
        lines.append("one seed: no error bar can be given")
    return lines


def makespan(study: Study, seconds: dict[str, float], workers: int) -> float:
    """Seconds until the last node ends, if each of `workers` takes the earliest node that is ready."""
    ended: dict[str, float] = {node.name: 0.0 for node in study.nodes if node.name not in seconds}
    waiting = [node for node in study.nodes if node.name in seconds]
    free = [0.0] * workers
    while waiting:
        now = heapq.heappop(free)
        ready = [node for node in waiting if all(ended.get(need, float("inf")) <= now for need in node.needs.values())]
        if not ready:  # wait for the next node to end
            later = [end for end in ended.values() if end > now]
            heapq.heappush(free, min(later) if later else now)
            if not later:
                break
            continue
        ended[ready[0].name] = now + seconds[ready[0].name]
        waiting.remove(ready[0])
        heapq.heappush(free, ended[ready[0].name])
    return max(ended.values(), default=0.0)


def _precision(study: Study) -> list[str]:
    """What intervals the design will give, before any run: per unit of noise, which only runs can show."""
    names = list(next(iter(study.weights.values())))
    shares = np.array([list(weights.values()) for weights in study.weights.values()])
    moving = [place for place in range(len(names)) if np.ptp(shares[:, place]) > 0]
    if len(shares) < 3 or not moving:
        return []
    widths = precision(shares[:, moving], len(study.recipe.seeds), 1.0)
    known = [f"{names[at]} ±{width:.2g}" for at, width in zip(moving, widths, strict=True) if np.isfinite(width)]
    if not known:
        return ["precision: these arms cannot tell the effect of any one component (linear model)"]
    design = f"{len(shares)} arms × {len(study.recipe.seeds)} seeds"
    return [
        f"precision at {design}, of the effect of a unit of weight, in standard deviations between runs of one "
        f"mixture: {', '.join(known)}"
    ]

"""What a study found: outcomes of the arms with intervals, differences from the control, and its claims.

Promises: nothing is averaged over without saying over how many; arms are compared within seeds that share a stem, since
the stem is as strong as the mixture; what is decided together is corrected together. A study that still runs gives the
same tables from the cells that are complete. Leaves out the arithmetic: see `evaluation.comparisons`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.claims import conclude
from evaluation.comparisons import Arm, arm_means, compare_arms, difference, holm
from evaluation.estimates import LEVEL, Estimate
from manifests.errors import UserError
from manifests.runs import RunDirectory
from manifests.store import Store
from octo.study.config import ClaimRecipe
from octo.study.design import Study
from octo.study.ledger import latest
from octo.study.run import table_of

Row = dict[str, Any]
Table = dict[str, dict[str, Arm]]
"""Outcome → arm (with its branch) → (stem, seed) → value."""


@dataclass(frozen=True)
class Results:
    """The tables of a study as it is now."""

    title: str
    arms: list[Row]
    """One row for each arm and outcome: value, low, high, n, note."""
    cells: list[Row]
    """The same as people read it: one row for each arm."""
    claims: list[Row]
    lines: list[str]
    """What must be said beside the tables."""

    def as_json(self) -> Row:
        return {"arms": self.arms, "claims": self.claims, "notes": self.lines}


def results(store: Store, found: tuple[Study, RunDirectory]) -> Results:
    """The tables of a study, whether it is complete or not."""
    study, run = found
    cells, values = table_of(store, study, latest(run))
    table, reported = tabulate(study, cells, values), study.recipe.report
    means = {outcome: arm_means(table[outcome]) for outcome in reported}
    arms = [
        {"arm": arm, "outcome": outcome} | mean.row() for outcome in reported for arm, mean in means[outcome].items()
    ]
    return Results(
        f"{study.recipe.name}@{study.recipe.version}: outcomes of the arms (mean, 95% interval, seeds)",
        arms,
        [_line_of_arm(arm, cells, {outcome: means[outcome][arm] for outcome in reported}) for arm in _arms(study)],
        decide(study, table),
        _notes(study, cells, values),
    )


def _arms(study: Study) -> list[str]:
    """Arms with their branches, in the order of the study."""
    return list(dict.fromkeys(label(cell.arm, cell.branch) for cell in study.cells))


def label(arm: str, branch: str) -> str:
    """How tables call an arm on a branch."""
    return f"{arm} · {branch}" if branch else arm


def tabulate(study: Study, cells: Sequence[Row], values: Sequence[Row]) -> Table:
    """The outcomes by arm and block."""
    stems = {(cell["arm"], cell["branch"], cell["seed"]): cell["stem"] for cell in cells}
    table: Table = {row["outcome"]: {arm: {} for arm in _arms(study)} for row in values}
    for row in values:
        block = stems[row["arm"], row["branch"], row["seed"]], row["seed"]
        arm = table[row["outcome"]][label(row["arm"], row["branch"])]
        assert isinstance(arm, dict)
        arm[block] = row["value"]
    return table


def _line_of_arm(arm: str, cells: Sequence[Row], means: dict[str, Estimate]) -> Row:
    mine = [cell for cell in cells if label(cell["arm"], cell["branch"]) == arm]
    done = sum(cell["status"] == "done" for cell in mine)
    return {"arm": arm, "cells": f"{done} of {len(mine)}"} | {name: brief(mean) for name, mean in means.items()}


def brief(mean: Estimate) -> str:
    """0.83 [0.75, 0.91]; without an interval the number alone."""
    if mean.value is None:
        return "–"
    interval = f" [{mean.low:.3g}, {mean.high:.3g}]" if mean.low is not None and mean.high is not None else ""
    return f"{mean.value:.3g}{interval}"


def _notes(study: Study, cells: Sequence[Row], values: Sequence[Row]) -> list[str]:
    """One seed, outcomes that no cell has, cells that failed."""
    notes = []
    if len(study.recipe.seeds) == 1:
        notes.append("One seed: no error bar can be given. Add seeds to the recipe")
    for outcome in dict.fromkeys(row["outcome"] for row in values):
        mine = [row["value"] for row in values if row["outcome"] == outcome]
        if any(cell["status"] == "done" for cell in cells) and all(value is None for value in mine):
            notes.append(f"{outcome} is NULL in every cell: no run of this study has it")
    notes += [
        f"{label(cell['arm'], cell['branch'])}, seed {cell['seed']}: {cell['reason']}"
        for cell in cells
        if cell["status"] == "failed"
    ]
    return notes


# -- comparisons -----------------------------------------------------------------------------------------------------


def compare(
    store: Store, found: tuple[Study, RunDirectory], outcome: str | None, control: str | None
) -> tuple[str, list[Row]]:
    """A title, and a row for each arm with its difference from the control; corrected for their number."""
    study, run = found
    outcome = outcome or study.recipe.report[-1]
    asked = study.recipe.model_copy(update={"report": (outcome,), "outcomes": study.recipe.outcomes})
    cells, values = table_of(store, Study(asked, study.weights, study.nodes, study.cells), latest(run))
    arms = tabulate(study, cells, values)[outcome]
    if all(value is None for arm in arms.values() for value in arm.values()):
        raise UserError(f"{outcome} is NULL in every cell", "Run the study, or compare another outcome")
    control = control or next(arm for arm in arms if arm.split(" · ")[0] == study.control)
    if control not in arms:
        raise UserError(f"no arm {control!r} in {study.recipe.name}", f"It has {', '.join(arms)}")
    rows = [contrast.row() for contrast in compare_arms(arms, control)]
    return f"{outcome}: difference from {control}, within stems, 95% intervals", rows


def decide(study: Study, table: Table) -> list[Row]:
    """A row for each claim: its estimate, the interval that holds for all claims at once, and the conclusion."""
    claims = study.recipe.claims
    found = {name: _estimate(study, claim, table) for name, claim in claims.items()}
    tested = max(1, sum(one.p is not None for one in found.values()))
    corrected = holm([one.p for one in found.values()])
    return [
        _decided(name, claim, found[name].at(1 - (1 - LEVEL) / tested), p)
        for (name, claim), p in zip(claims.items(), corrected, strict=True)
    ]


def _decided(name: str, claim: ClaimRecipe, joint: Estimate, p_holm: float | None) -> Row:
    """The row of a claim from its estimate at the level that holds for all claims at once."""
    smallest = math.atanh(claim.margin) if claim.predictor else claim.margin
    shown = _as_correlation(joint, claim.sign) if claim.predictor else joint
    return {
        "claim": name,
        "says": claim.says,
        "measure": _measure(claim),
        "n": shown.n,
        "value": shown.value,
        "low": shown.low,
        "high": shown.high,
        "p_holm": p_holm,
        "conclusion": str(conclude(joint, "greater", smallest)),
        "note": shown.why,
    }


def _measure(claim: ClaimRecipe) -> str:
    if claim.predictor:
        return f"correlation of {claim.predictor} and {claim.outcome} over arms"
    second = f"{claim.outcome} of {claim.better}"
    return f"{second} - {claim.instead_of or claim.outcome} of {claim.worse}"


def _estimate(study: Study, claim: ClaimRecipe, table: Table) -> Estimate:
    """What the claim is about: a difference within stems, or Fisher's z of a correlation over the means of arms."""
    if claim.predictor:
        return _correlation(table[claim.predictor], table[claim.outcome], claim.sign)
    better = _of_arm(table[claim.outcome], claim.better)
    worse = _of_arm(table[claim.instead_of or claim.outcome], claim.worse)
    return difference(worse, better)[0]


def _of_arm(arms: dict[str, Arm], name: str | None) -> Arm:
    """The cells of an arm by block, those of all its branches."""
    mine = {arm: cells for arm, cells in arms.items() if arm.split(" · ")[0] == name}
    return {(block, arm.partition(" · ")[2]): value for arm, cells in mine.items() for block, value in cells.items()}


def _correlation(predictor: dict[str, Arm], outcome: dict[str, Arm], sign: int) -> Estimate:
    """Fisher's z (1921) of the correlation of two outcomes over the means of arms, times `sign`."""
    first, second = arm_means(predictor), arm_means(outcome)
    pairs = [(first[arm].value, second[arm].value) for arm in first]
    known = np.array([pair for pair in pairs if None not in pair], dtype=float)
    if len(known) < 4 or (known.std(0) == 0).any():
        return Estimate(None, len(known), why="a correlation needs four arms that differ")
    r = float(np.clip(np.corrcoef(known.T)[0, 1], -0.999999, 0.999999))
    error = 1 / math.sqrt(len(known) - 3)
    return Estimate(sign * math.atanh(r), len(known), error=error, degrees=1e9).at(LEVEL)


def _as_correlation(z: Estimate, sign: int) -> Estimate:
    """An estimate of `sign` times Fisher's z as a correlation."""
    if z.value is None or z.low is None or z.high is None:
        return z
    low, high = sorted((sign * math.tanh(z.low), sign * math.tanh(z.high)))
    return Estimate(sign * math.tanh(z.value), z.n, low, high, z.level, why=z.why)

"""What a study found: outcomes of the arms with intervals, differences from the control, and its claims.

Promises: nothing is averaged over without saying over how many; arms are compared within seeds that share a stem, since
the stem is as strong as the mixture; what is decided together is corrected together. A study that still runs gives the
same tables from the cells that are complete. Leaves out the arithmetic: see `evaluation.comparisons`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evaluation.claims import conclude
from evaluation.comparisons import Arm, arm_means, compare_arms, difference, holm
from evaluation.estimates import LEVEL, Estimate
from manifests.catalog import Catalog
from manifests.errors import UserError
from manifests.manifest import Manifest, resolve
from manifests.recipe import parse, recipe_file
from manifests.runs import RunDirectory
from octo.study.config import ClaimRecipe
from octo.study.design import Study
from octo.study.ledger import cells_of, latest
from octo.study.outcomes import is_share, outcomes
from octo.study.run import find

Row = dict[str, Any]
Table = dict[str, dict[str, Arm]]
"""Outcome → arm (with its branch) → (stem, seed) → value."""


@dataclass(frozen=True)
class Snapshot:
    """A study as it stands: what was asked, its cells, and the outcomes known so far."""

    name: str
    version: str
    run: str | None
    question: str
    reported: tuple[str, ...]
    own: dict[str, str]
    control: str
    claims: dict[str, ClaimRecipe]
    seeds: int
    weights: dict[str, dict[str, float]]
    cells: list[Row]
    values: list[Row]

    @property
    def title(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def arms(self) -> list[str]:
        """Arms with their branches, in the order of the study."""
        return list(dict.fromkeys(label(cell["arm"], cell["branch"]) for cell in self.cells))


def snapshot(catalog: Catalog, ref: str) -> Snapshot:
    """The study that `ref` names: a manifest, a run (which may be in progress), or the path of a recipe. UserError if
    there is none."""
    if ref.startswith("run-") or recipe_file(ref).is_file():
        return of_run(catalog, *find(catalog.store, ref))
    return of_manifest(resolve(catalog.store, ref))


def of_run(catalog: Catalog, study: Study, run: RunDirectory) -> Snapshot:
    """What a study has come to so far."""
    recipe, cells = study.recipe, cells_of(study, latest(run))
    values = outcomes(catalog, cells, recipe.asked, recipe.outcomes)
    asked = recipe.report, recipe.outcomes, study.control, recipe.claims, len(recipe.seeds)
    return Snapshot(recipe.name, recipe.version, run.id, recipe.question, *asked, study.weights, cells, values)


def of_manifest(manifest: Manifest) -> Snapshot:
    """What a study came to, from its manifest alone."""
    if manifest.kind != "study":
        raise UserError(f"{manifest.ref} is a {manifest.kind}, not a study", "See `octo manifest list`")
    asked = manifest.recipe["study"]
    weights: dict[str, dict[str, float]] = {}
    for row in manifest.read("study_weights").to_pylist():
        weights.setdefault(row["arm"], {})[row["component"]] = row["weight"]
    settings, cells = manifest.provenance.get("settings") or {}, manifest.read("study_cells").to_pylist()
    return Snapshot(
        manifest.name,
        manifest.version,
        None,
        settings.get("question", ""),
        tuple(asked["report"]),
        asked["outcomes"],
        asked.get("control") or cells[0]["arm"],
        {name: parse(claim, ClaimRecipe, f"claim {name}") for name, claim in asked["claims"].items()},
        len(asked["seeds"]),
        weights,
        cells,
        manifest.read("study_outcomes").to_pylist(),
    )


@dataclass(frozen=True)
class Results:
    """The tables of a study as it is now."""

    title: str
    means: dict[str, dict[str, Estimate]]
    """Outcome → arm → its mean over seeds."""
    cells: list[Row]
    """One row for each arm, as people read it."""
    claims: list[Row]
    lines: list[str]
    """What must be said beside the tables."""

    def as_json(self) -> Row:
        arms = [
            {"arm": arm, "outcome": outcome} | mean.row()
            for outcome, means in self.means.items()
            for arm, mean in means.items()
        ]
        return {"arms": arms, "claims": self.claims, "notes": self.lines}


def results(found: Snapshot) -> Results:
    """The tables of a study, whether it is complete or not."""
    table = tabulate(found)
    means = {outcome: _means(outcome, table[outcome]) for outcome in found.reported}
    lines = [_line_of_arm(arm, found.cells, {name: means[name][arm] for name in found.reported}) for arm in found.arms]
    title = f"{found.title}: outcomes of the arms (mean over seeds, 95% interval)"
    return Results(title, means, lines, decide(found.claims, table), _notes(found))


def _means(outcome: str, arms: dict[str, Arm]) -> dict[str, Estimate]:
    """The mean of each arm; the interval of a share is cut to 0 and 1."""
    found = arm_means(arms)
    return {arm: mean.within(0, 1) for arm, mean in found.items()} if is_share(outcome) else found


def label(arm: str, branch: str) -> str:
    """How tables call an arm on a branch."""
    return f"{arm} · {branch}" if branch else arm


def tabulate(found: Snapshot) -> Table:
    """The outcomes by arm and block."""
    stems = {(cell["arm"], cell["branch"], cell["seed"]): cell["stem"] for cell in found.cells}
    table: dict[str, dict[str, dict[Any, float | None]]] = {}
    for row in found.values:
        arms = table.setdefault(row["outcome"], {arm: {} for arm in found.arms})
        block = stems[row["arm"], row["branch"], row["seed"]], row["seed"]
        arms[label(row["arm"], row["branch"])][block] = row["value"]
    return {outcome: dict(arms) for outcome, arms in table.items()}


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


def _notes(found: Snapshot) -> list[str]:
    """One seed, outcomes that no cell has, cells that failed."""
    notes = ["One seed: no error bar can be given. Add seeds to the recipe"] if found.seeds == 1 else []
    for outcome in dict.fromkeys(row["outcome"] for row in found.values):
        mine = [row["value"] for row in found.values if row["outcome"] == outcome]
        if any(cell["status"] == "done" for cell in found.cells) and all(value is None for value in mine):
            notes.append(f"{outcome} is NULL in every cell: no run of this study has it")
    notes += [
        f"{label(cell['arm'], cell['branch'])}, seed {cell['seed']}: {cell['reason']}"
        for cell in found.cells
        if cell["status"] == "failed"
    ]
    return notes


# -- comparisons -----------------------------------------------------------------------------------------------------


def compare(catalog: Catalog, found: Snapshot, outcome: str | None, control: str | None) -> tuple[str, list[Row]]:
    """A title, and a row for each arm with its difference from the control; corrected for their number.

    Any outcome can be compared, also one that the recipe does not name. UserError for one that no cell has.
    """
    outcome = outcome or found.reported[-1]
    if all(row["outcome"] != outcome for row in found.values):
        found = replace(found, values=outcomes(catalog, found.cells, [outcome], found.own))
    arms = tabulate(found)[outcome]
    if all(value is None for arm in arms.values() for value in arm.values()):
        raise UserError(f"{outcome} is NULL in every cell", "Run the study, or compare another outcome")
    control = control or next(arm for arm in arms if _is_of(arm, found.control))
    if control not in arms:
        raise UserError(f"{found.title} has no arm {control!r}", f"It has {', '.join(arms)}")
    rows = [contrast.row() for contrast in compare_arms(arms, control)]
    return f"{outcome}: difference from {control}, within stems, 95% intervals", rows


def decide(claims: dict[str, ClaimRecipe], table: Table) -> list[Row]:
    """A row for each claim: its estimate, the interval that holds for all claims at once, and the conclusion."""
    found = {name: _estimate(claim, table) for name, claim in claims.items()}
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


def _estimate(claim: ClaimRecipe, table: Table) -> Estimate:
    """What the claim is about: a difference within stems, or Fisher's z of a correlation over the means of arms."""
    if claim.predictor:
        return _correlation(table[claim.predictor], table[claim.outcome], claim.sign)
    better = _of_arm(table[claim.outcome], claim.better)
    worse = _of_arm(table[claim.instead_of or claim.outcome], claim.worse)
    return difference(worse, better)[0]


def _of_arm(arms: dict[str, Arm], name: str | None) -> Arm:
    """The cells of an arm by block, those of all its branches."""
    mine = {arm: cells for arm, cells in arms.items() if name and _is_of(arm, name)}
    return {(block, arm.partition(" · ")[2]): value for arm, cells in mine.items() for block, value in cells.items()}


def _is_of(label_: str, arm: str) -> bool:
    """Whether a label is that of `arm`, on any branch."""
    return label_.split(" · ")[0] == arm


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

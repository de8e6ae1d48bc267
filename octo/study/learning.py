"""What a study teaches of the weights: fitted surfaces, proposals that are frozen before they are run, and their score.

Coordinates of a run are the planned weights of its arm, or, with an expression over `documents`, the shares of what it
really read. A proposal is a manifest of kind `proposals`: the mixtures with their predictions and intervals; a study
that names it runs them as arms, and `score` compares. Leaves out the models: see `mixtures.lessons`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from manifests.catalog import Catalog
from manifests.errors import UserError
from manifests.manifest import Draft, Manifest, resolve
from manifests.store import Store
from manifests.tables import PROPOSALS
from mixtures.config import GridRecipe
from mixtures.lessons import learn, said
from mixtures.propose import Proposal, propose
from mixtures.surface import Observations, observations
from octo.study.evidence import coordinates
from octo.study.results import Snapshot, label, tabulate
from octo.study.swarm import SHARE_DIGITS, proposed_weights, region, whole

Row = dict[str, Any]


@dataclass(frozen=True)
class Lesson:
    """What was learnt of one outcome: tables and sentences."""

    title: str
    models: list[Row]
    effects: list[Row]
    lines: list[str]

    def as_json(self) -> Row:
        return {"models": self.models, "effects": self.effects, "notes": self.lines}


def fit(catalog: Catalog, studies: Sequence[Snapshot], outcome: str, by: str | None, onto: str | None) -> Lesson:
    """Fit every model of `outcome` to one study, or to several that are pooled by content. UserError for too few arms,
    an outcome that no cell has, or studies that share no coordinates."""
    seen, stranded = observed(catalog, studies, outcome, by, onto)
    lessons = learn(seen)
    effects = [
        {"component": effect.component} | {f"per unit {key}": value for key, value in effect.per_unit.row().items()}
        | {"p_holm": effect.p_holm}
        for effect in lessons.effects
    ]  # fmt: skip
    lines = said(lessons, outcome)
    if stranded is not None:
        lines.append(f"{stranded:.2%} of the tokens read are of documents that {onto} does not have")
    names = " and ".join(study.title for study in studies)
    return Lesson(f"{outcome} of {names}", [model.row() for model in lessons.models], effects, lines)


def observed(
    catalog: Catalog, studies: Sequence[Snapshot], outcome: str, by: str | None, onto: str | None
) -> tuple[Observations, float | None]:
    """The runs of the studies as observations, and the share of tokens that is stranded if `onto` is given."""
    if by is None and len({tuple(weights) for study in studies for weights in study.weights.values()}) > 1:
        raise UserError("the studies have different components", "Pool them by content: --by 'a column or expression'")
    known = [(study, cell, value) for study in studies for cell, value in _values(study, outcome) if value is not None]
    cells, values = [(study, cell) for study, cell, _ in known], [value for _, _, value in known]
    if not cells:
        raise UserError(f"{outcome} is NULL in every cell", "Run the study, or name another outcome")
    stranded = None
    if by is None:
        names = list(next(iter(studies[0].weights.values())))
        weights = np.array([[study.weights[cell["arm"]][name] for name in names] for study, cell in cells])
    else:
        found = coordinates(catalog, [cell["base"] for _, cell in cells], by, onto)
        names, weights = list(found.labels), _mean_by_arm(found.shares, cells)
        if onto:
            stranded = float(found.stranded.sum() / max(1, found.stranded.sum() + found.tokens.sum()))
    blocks = [(study.title, cell["stem"], cell["seed"]) for study, cell in cells]
    arms = [(study.title, cell["arm"]) for study, cell in cells]
    try:
        return observations(names, weights, blocks, values, arms), stranded
    except ValueError as error:
        raise UserError(f"{outcome} cannot be fitted: {error}", "Add arms, or choose coarser labels") from error


def _values(study: Snapshot, outcome: str) -> list[tuple[Row, float | None]]:
    """Each cell of a study with its value of an outcome. UserError for an outcome that the study does not have."""
    table = tabulate(study)
    if outcome not in table:
        raise UserError(f"{study.title} has no outcome {outcome}", f"It has {', '.join(table)}")
    arms = table[outcome]
    return [(cell, arms[label(cell["arm"], cell["branch"])].get((cell["stem"], cell["seed"]))) for cell in study.cells]


def _mean_by_arm(shares: np.ndarray, cells: list[tuple[Snapshot, Row]]) -> np.ndarray:
    """The same coordinates for all runs of an arm: seeds read other documents of the same components."""
    arms = [(study.title, cell["arm"]) for study, cell in cells]
    means = {arm: shares[[place for place, other in enumerate(arms) if other == arm]].mean(0) for arm in set(arms)}
    return np.array([means[arm] for arm in arms])


# -- proposals -------------------------------------------------------------------------------------------------------


def make_proposals(
    store: Store, study: Snapshot, manifest: Manifest, grid: GridRecipe, outcome: str, n: int, lowest: bool
) -> Manifest:
    """Freeze `n` mixtures to run next, with what is predicted of them: the best predicted one, then the most
    informative ones, within the bounds of the grid's corpus and epochs. UserError where no model gives intervals."""
    with Catalog(store) as catalog:
        lessons = learn(observed(catalog, [study], outcome, None, None)[0])
    inside = region(store, whole(grid), {})
    proposals = propose(lessons.best.surface, inside, n, study.seeds, highest=not lowest)
    rows = [row for rank, one in enumerate(proposals, 1) for row in _proposal_rows(rank, one, outcome)]
    recipe = {"outcome": outcome, "model": lessons.best.model, "n": n, "lowest": lowest}
    draft = Draft(store, "proposals", recipe, [manifest])
    draft.write("proposals", [pa.Table.from_pylist(rows, schema=PROPOSALS.schema)], PROPOSALS.schema)
    return draft.commit(f"{manifest.name}-next", draft.digest()[:8], {"proposals": n})


def _proposal_rows(rank: int, one: Proposal, outcome: str) -> list[Row]:
    """A row for each component of a proposal."""
    low, high = one.predicted_80, one.predicted_95
    about = {
        "arm": f"p{rank}", "why": one.why, "outcome": outcome, "runs": one.runs, "predicted": low.value,
        "low_80": low.low, "high_80": low.high, "low_95": high.low, "high_95": high.high,
    }  # fmt: skip
    return [about | {"component": name, "weight": round(w, SHARE_DIGITS)} for name, w in one.weights.items()]


def score(store: Store, ref: str, study: Snapshot) -> tuple[list[Row], list[str]]:
    """How the predictions of the proposals `ref` compare with what the arms of `study` came to: rows and a sentence."""
    manifest = resolve(store, ref)
    arms = proposed_weights(manifest)
    told = {row["arm"]: row for row in manifest.read("proposals").to_pylist()}
    table = tabulate(study)
    outcome = next(iter(told.values()))["outcome"]
    if outcome not in table:
        raise UserError(f"{study.title} has no outcome {outcome}", f"It has {', '.join(table)}")
    rows = [_scored(told[arm], table[outcome].get(arm, {})) for arm in arms]
    known = [row for row in rows if row["observed"] is not None]
    within = {level: sum(bool(row[f"in {level}%"]) for row in known) for level in (80, 95)}
    lines = [
        f"{len(known)} of {len(rows)} proposals were run: {within[80]} of {len(known)} lie in their 80% interval, "
        f"{within[95]} of {len(known)} in their 95% interval"
    ]
    return rows, lines


def _scored(told: Row, values: Any) -> Row:
    found = [value for value in values.values() if value is not None]
    observed = float(np.mean(found)) if found else None
    inside = {
        f"in {level}%": None if observed is None or told[f"low_{level}"] is None
        else told[f"low_{level}"] <= observed <= told[f"high_{level}"]
        for level in (80, 95)
    }  # fmt: skip
    kept = ("arm", "why", "predicted", "low_80", "high_80", "low_95", "high_95")
    return {key: told[key] for key in kept} | {"observed": observed, "seeds": len(found)} | inside

"""Arms that nobody wrote down: drawn from the region that bounds, epochs and the corpus allow, or proposed."""

from manifests.errors import UserError
from manifests.manifest import Manifest
from manifests.store import Store
from mixtures.config import GridRecipe, MixRecipe
from mixtures.designs import Caps, caps, d_optimal, dirichlet, sobol
from mixtures.mix import supplies
from octo.study.config import SwarmRecipe

SHARE_DIGITS = 4
"""Decimals of a weight, so that a recipe says it exactly."""


def draw(store: Store, grid: GridRecipe, swarm: SwarmRecipe) -> list[dict[str, float]]:
    """The weights of each arm by source. UserError if the caps cannot be met."""
    inside = region(store, whole(grid), swarm.bounds)
    match swarm.design:
        case "sobol":
            points = sobol(inside, swarm.arms, swarm.seed)
        case "dirichlet":
            points = dirichlet(inside, swarm.arms, swarm.seed)
        case "d_optimal":
            points = d_optimal(inside, swarm.arms, swarm.seed, "linear")
    return [
        {name: round(float(weight), SHARE_DIGITS) for name, weight in zip(inside.names, point, strict=True)}
        for point in points
    ]


def whole(grid: GridRecipe) -> MixRecipe:
    """A mixture of all sources of a grid."""
    cell = {"whole": {"weights": dict.fromkeys(grid.sources, 1.0)}}
    return GridRecipe.model_validate(grid.model_dump() | {"cells": cell}).cell("whole")


def region(store: Store, mixture: MixRecipe, bounds: dict[str, tuple[float, float]]) -> Caps:
    """The weights that a mixture of these components can have: within `bounds`, and within what max_epochs allows of
    the tokens that are there."""
    offered = supplies(store, mixture)
    assert mixture.budget and mixture.sequence_length
    budget = mixture.budget.count(mixture.sequence_length) * mixture.sequence_length
    sizes = {one.name: float(one.tokens) for one in offered if one.tokens is not None}
    epochs = {one.name: one.max_epochs for one in offered}
    return caps([one.name for one in offered], bounds, sizes, epochs, budget)


def proposed_weights(manifest: Manifest) -> dict[str, dict[str, float]]:
    """The mixtures of a manifest of proposals by arm."""
    if manifest.kind != "proposals":
        raise UserError(f"{manifest.ref} is a {manifest.kind}, not proposals", "Make some with `octo study propose`")
    arms: dict[str, dict[str, float]] = {}
    for row in manifest.read("proposals").to_pylist():
        arms.setdefault(row["arm"], {})[row["component"]] = row["weight"]
    return arms

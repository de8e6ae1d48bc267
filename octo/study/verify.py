"""Checks a study against the store that holds it.

Promises: the manifest verifies; every run that it names is there, done, and was launched as the recipe says (its
mixture, its parent); every outcome is computed again and equal. Leaves out training again: runs are checked as
recorded, and checkpoints when they are loaded.
"""

from typing import Any

from manifests.catalog import Catalog
from manifests.errors import UserError
from manifests.manifest import Manifest, resolve
from manifests.manifest import verify as verify_manifest
from manifests.runs import load_run
from manifests.store import Store
from octo.study.outcomes import outcomes
from octo.study.run import find

Row = dict[str, Any]
RUNS = ("stem_run", "base", "loss", "before", "rl", "after")


def verify(store: Store, ref: str) -> tuple[Manifest, list[str], Row]:
    """The manifest of the study, every problem with it, and what was checked."""
    study, run = find(store, ref)
    if "summary" not in run.record:
        raise UserError(f"{run.id} has no result yet", "Run the study to its end")
    manifest = resolve(store, run.record["summary"]["study"])
    cells = manifest.read("study_cells").to_pylist()
    problems = verify_manifest(store, manifest)
    problems += [problem for cell in cells for problem in _problems(store, cell)]
    recorded = manifest.read("study_outcomes").to_pylist()
    with Catalog(store) as catalog:
        again = outcomes(catalog, cells, study.recipe.asked, study.recipe.outcomes)
    problems += [
        f"{row['arm']} seed {row['seed']}: {row['outcome']} is {now['value']}, recorded is {row['value']}"
        for row, now in zip(recorded, again, strict=True)
        if row != now
    ]
    runs = {cell[role] for cell in cells for role in RUNS if cell[role]}
    return manifest, problems, {"cells": len(cells), "runs": len(runs), "outcomes": len(recorded)}


def _problems(store: Store, cell: Row) -> list[str]:
    """What is wrong with the runs of one cell."""
    where = f"{cell['arm']} seed {cell['seed']}"
    found: dict[str, Row] = {}
    problems = []
    for role in RUNS:
        if cell[role] is None:
            continue
        try:
            found[role] = load_run(store, cell[role]).record
        except UserError as error:
            problems.append(f"{where}: {error.what}")
            continue
        if found[role]["status"] != "done":
            problems.append(f"{where}: {cell[role]} is {found[role]['status']}")
    parents = {"loss": "base", "before": "base", "rl": "base", "after": "rl"}
    for role, parent in parents.items():
        if role in found and found[role]["parent"] != cell[parent]:
            problems.append(f"{where}: {cell[role]} started from {found[role]['parent']}, not {cell[parent]}")
    return problems

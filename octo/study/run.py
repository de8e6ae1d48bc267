"""Runs a study: a graph of verbs, done by processes that share nothing but the store.

Promises. A node whose result is there is found by its ID and not done again, whoever made it: a study that was killed
resumes, and two studies share what they have in common. A node that fails is a row with its reason; what needs it fails
with it, and nothing else does. When every node has ended the result is frozen as a manifest of kind `study`. Leaves out
what a node does (`octo.study.nodes`) and how results are compared (`octo.study.results`).
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Annotated, Any

import pyarrow as pa

from manifests.catalog import Catalog
from manifests.errors import UserError
from manifests.identity import json_digest
from manifests.manifest import Draft, Manifest, resolve
from manifests.places.place import Work
from manifests.places.slurm import Slurm
from manifests.process import environment
from manifests.progress import progress
from manifests.recipe import Local, NamedRecipe, load, parse, recipe_file
from manifests.runs import RunDirectory, begun, load_run, load_runs, open_run
from manifests.store import Store
from manifests.tables import STUDY_CELLS, STUDY_OUTCOMES, STUDY_WEIGHTS
from octo.study.config import StudyRecipe
from octo.study.design import Cell, Node, Study, check_corpora, design
from octo.study.ledger import append, cells_of, latest
from octo.study.nodes import as_json, from_json
from octo.study.outcomes import outcomes, query_of

Row = dict[str, Any]
ATTEMPTS = 2
"""Times that a node is begun when its process dies."""
OCTO = "octo"
"""Backend of the run of a study."""
FOLDER = "study"
FREEZE = "freeze"
"""In place of the name of a node: freeze the result."""


class Launch(NamedRecipe):
    """What the record of a study's run holds. Its `meaning` bears the identity; the rest is for its processes."""

    meaning: dict[str, Any]
    """What the nodes do."""
    recipe: Annotated[dict[str, Any], Local]
    """The recipe of the study."""
    nodes: Annotated[list[dict[str, Any]], Local]
    """The nodes, as `octo.study.nodes` writes them."""
    cells: Annotated[list[dict[str, Any]], Local]
    """The cells."""
    weights: Annotated[dict[str, dict[str, float]], Local]
    """Shares of the components by arm."""


def open_study(store: Store, recipe: StudyRecipe) -> tuple[Study, RunDirectory]:
    """The study that `recipe` declares and its run, new or begun before. Its corpora must be there."""
    study, config, corpora = _prepared(store, recipe)
    return study, open_run(store, "study", corpora, config, OCTO)


def find_study(store: Store, recipe: StudyRecipe, is_plan: bool = False) -> tuple[Study, RunDirectory | None]:
    """The study and its run, None if it was never begun; nothing is written. For a plan, a corpus of which sizes are
    declared may be missing."""
    study, config, corpora = _prepared(store, recipe, is_plan)
    return study, begun(store, "study", corpora, config, OCTO)


def _prepared(store: Store, recipe: StudyRecipe, is_plan: bool = False) -> tuple[Study, Launch, list[Manifest]]:
    for name in recipe.asked:
        query_of(name, recipe.outcomes)
    study = design(store, recipe)
    corpora = [resolve(store, one) for one in dict.fromkeys(check_corpora(store, study, is_plan).values())]
    config = Launch(
        name=recipe.name,
        version=recipe.version,
        meaning=study.meaning,
        recipe=recipe.model_dump(mode="json"),
        nodes=[as_json(node) for node in study.nodes],
        cells=[vars(cell) for cell in study.cells],
        weights=study.weights,
    )
    return study, config, corpora


def build_corpus(store: Store, recipe: StudyRecipe, workers: int) -> None:
    """Build the corpus that the study names by its recipe, or find it."""
    from curation.config import CurateRecipe
    from curation.pipeline import curate

    if recipe.corpus:
        curate(store, load(recipe.corpus, CurateRecipe), workers=workers)


def run_study(store: Store, recipe: StudyRecipe, workers: int = 1) -> Manifest:
    """Do every node that is not done, by `workers` processes of this machine, and freeze the result.

    UserError for a recipe that does not fit; a node that fails is only a row. Nodes that failed are tried again when
    the same study is run again.
    """
    build_corpus(store, recipe, workers)
    study, run = open_study(store, recipe)
    with run.running():
        _Driver(run, study).go(workers)
        return _freeze_and_finish(run, study)


def finish(run: RunDirectory, study: Study) -> Manifest:
    """Freeze the result of a study whose nodes others have done."""
    with run.running():
        return _freeze_and_finish(run, study)


def _freeze_and_finish(run: RunDirectory, study: Study) -> Manifest:
    made = freeze(run, study)
    run.finish({"study": made.id, "ref": made.ref, "cells": len(study.cells), "failed": made.counts["failed"]})
    return made


def study_of(run: RunDirectory) -> Study:
    """The study of a run, from its record."""
    config = parse(run.record["config"], Launch, run.id)
    recipe = parse(config.recipe, StudyRecipe, run.id)
    nodes = tuple(from_json(plain) for plain in config.nodes)
    return Study(recipe, config.weights, nodes, tuple(Cell(**cell) for cell in config.cells))


def find(store: Store, ref: str) -> tuple[Study, RunDirectory]:
    """The study and its run that `ref` names (a manifest, a run, the path of a recipe). UserError if none is there."""
    if ref.startswith("run-"):
        run = load_run(store, ref)
    elif recipe_file(ref).is_file():
        _, run = find_study(store, load(ref, StudyRecipe))
        if run is None:
            raise UserError(f"the study of {ref} was never begun in {store.url}", f"octo study run {ref}")
    else:
        run = _run_of(store, resolve(store, ref))
    if run.record["kind"] != "study":
        raise UserError(f"{run.id} is a run of kind {run.record['kind']}, not a study", "See `octo runs list`")
    return study_of(run), run


def _run_of(store: Store, manifest: Manifest) -> RunDirectory:
    """The run that made a manifest of kind study."""
    if manifest.kind != "study":
        raise UserError(f"{manifest.ref} is a {manifest.kind}, not a study", "See `octo manifest list`")
    for record in load_runs(store):
        if record["kind"] == "study" and record["config"]["meaning"] == manifest.recipe:
            return load_run(store, record["id"])
    raise UserError(
        f"{manifest.ref} is here without its run", "Run the study again in this store, which finds its parts"
    )


# -- on this machine -------------------------------------------------------------------------------------------------


class _Driver:
    """Gives nodes whose needs are done to worker processes, the earliest in the study first."""

    def __init__(self, run: RunDirectory, study: Study):
        self.run, self.study = run, study
        self.waiting = {node.name: node for node in study.nodes}
        self.active: dict[str, Node] = {}
        self.ids: dict[str, str] = {}
        self.failed: set[str] = set()
        self.change = threading.Condition()
        self.processes: list[_Process] = []
        self.stopped: BaseException | None = None

    def go(self, workers: int) -> None:
        """Return when every node has ended. However it ends, no process of the study is left."""
        threads = [
            threading.Thread(target=self._serve, args=(number, workers), daemon=True) for number in range(workers)
        ]
        with progress(f"study {self.study.recipe.name}", len(self.study.nodes)) as self.advance:
            try:
                for thread in threads:
                    thread.start()
                for thread in threads:
                    while thread.is_alive():
                        thread.join(0.2)  # so that Ctrl-C is heard
            finally:
                for process in list(self.processes):
                    process.end()
        if self.stopped:
            raise self.stopped

    def _serve(self, number: int, workers: int) -> None:
        """One worker process at a time, a new one where it died, until nothing is left to do."""
        process = None
        try:
            while node := self._next():
                row = None
                for _ in range(ATTEMPTS):
                    if row is None and (process is None or not process.alive):
                        process = _Process(self.run, number, workers)
                        self.processes.append(process)
                    assert process
                    row = row or process.do(node, {role: self.ids[need] for role, need in node.needs.items()})
                self._ended(node, row or self._died(node, process))
        except BaseException as error:  # an error of the driver itself must end the study, not one thread
            with self.change:
                self.stopped = error
                self.change.notify_all()

    def _next(self) -> Node | None:
        """A node to do, None when there is none left; waits while all that is left needs what others do now."""
        with self.change:
            while not self.stopped:
                self._fail_dependents()
                if ready := next((n for n in self.waiting.values() if set(n.needs.values()) <= self.ids.keys()), None):
                    self.active[ready.name] = self.waiting.pop(ready.name)
                    return ready
                if not self.waiting:
                    self.change.notify_all()
                    return None
                self.change.wait()
        return None

    def _fail_dependents(self) -> None:
        """Nodes that need one that failed fail with it."""
        while lost := [node for node in self.waiting.values() if set(node.needs.values()) & self.failed]:
            for node in lost:
                need = next(iter(set(node.needs.values()) & self.failed))
                append(self.run, node, status="failed", reason=f"{need} failed")
                self.failed.add(self.waiting.pop(node.name).name)
                self.advance(1)

    def _ended(self, node: Node, row: Row) -> None:
        with self.change:
            self.active.pop(node.name)
            if row["status"] == "done":
                self.ids[node.name] = row["id"]
            else:
                self.failed.add(node.name)
            self.advance(1, self._note())
            self.change.notify_all()

    def _note(self) -> str:
        """What people see beside the bar: cells that are complete, what runs now."""
        whole = sum(set(cell.nodes.values()) <= self.ids.keys() for cell in self.study.cells)
        lost = f", {len(self.failed)} nodes failed" if self.failed else ""
        return f"{whole} of {len(self.study.cells)} cells{lost} · {', '.join(self.active)}"

    def _died(self, node: Node, process: "_Process | None") -> Row:
        """The row of a node whose process died each time."""
        assert process
        said = f"its process died {ATTEMPTS} times ({process.how_it_ended()}); see {process.log}"
        return append(self.run, node, status="failed", reason=said)


class _Process:
    """A worker process. `do` returns the last row of the node, None when the process died over it."""

    def __init__(self, run: RunDirectory, number: int, workers: int):
        folder = run.path / FOLDER
        folder.mkdir(exist_ok=True)
        self.log = folder / f"worker-{number}.log"
        threads = str(max(1, (os.cpu_count() or 1) // workers))
        command = [sys.executable, "-m", "octo.study.worker", run.store.url, run.id]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                env={"OMP_NUM_THREADS": threads} | environment(),
            )  # fmt: skip

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def do(self, node: Node, made: dict[str, str]) -> Row | None:
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps({"node": node.name, "made": made}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
        return json.loads(line) if line else None

    def how_it_ended(self) -> str:
        status = self._process.poll()
        return f"signal {-status}" if status is not None and status < 0 else f"status {status}"

    def end(self) -> None:
        """Let the process end between nodes, or interrupt it, which leaves what it did."""
        if self.alive:
            self._process.terminate()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


# -- on a cluster ----------------------------------------------------------------------------------------------------


def submit(store: Store, recipe: StudyRecipe) -> tuple[RunDirectory, dict[str, str]]:
    """Submit a job of Slurm for each stem, each cell that waits for it, and one that freezes the result; the IDs of the
    jobs by what they do. UserError where Slurm refuses, or the store is not a folder."""
    if not store.is_local:
        raise UserError(f"{store.url} is not a folder", "Jobs of Slurm work in a store that all nodes can write to")
    study, run = open_study(store, recipe)
    done = {name for name, row in latest(run).items() if row["status"] == "done"}
    jobs: dict[str, str] = {}
    for name, chain, waits in _chains(study):
        if left := [node for node in chain if node not in done]:
            jobs[name] = _submit(run, recipe, name, left, [jobs[one] for one in waits if one in jobs])
    jobs["freeze"] = _submit(run, recipe, "freeze", [FREEZE], list(jobs.values()))
    run.note(slurm_jobs=jobs)
    return run, jobs


def _chains(study: Study) -> list[tuple[str, list[str], list[str]]]:
    """(name, nodes in order, names of the chains they wait for): what cells share first, then a chain for each cell."""
    uses: dict[str, list[Cell]] = {}
    for cell in study.cells:
        for name in study.closure(cell):
            uses.setdefault(name, []).append(cell)
    shared: dict[str, list[str]] = {}
    for node in study.nodes:
        if len(uses[node.name]) > 1:
            shared.setdefault(_group(node), []).append(node.name)
    owner = {name: group for group, names in shared.items() for name in names}
    by_name = study.by_name

    def waits(chain: Sequence[str]) -> list[str]:
        needed = {owner[need] for name in chain for need in by_name[name].needs.values() if need in owner}
        return sorted(needed - {owner.get(chain[0], "")})

    chains = [(group, names, waits(names)) for group, names in shared.items()]
    for cell in study.cells:
        own = [node.name for node in study.nodes if node.name in study.closure(cell) and node.name not in owner]
        chains.append((f"cell.{cell.name}", own, waits(own)))
    return chains


def _group(node: Node) -> str:
    """Shared nodes that one job does: those of a stem together, the training of an arm before its branches together."""
    return node.name.rsplit(".", 1)[0] if "." in node.name else node.name


def _submit(run: RunDirectory, recipe: StudyRecipe, name: str, nodes: Sequence[str], after: Sequence[str]) -> str:
    place = recipe.place
    arguments = ("-m", "octo.study.worker", run.store.url, run.id, *nodes)
    folder = run.path / FOLDER / name
    work = Work(f"octo-{run.id}-{name}", arguments, folder, place, place.nodes, place.gpus, after=tuple(after))
    (job,) = Slurm(place).submit(work)
    return job


# -- the result ------------------------------------------------------------------------------------------------------


def freeze(run: RunDirectory, study: Study) -> Manifest:
    """The result as a manifest: of a study in which cells failed, under a version that says so."""
    store = run.store
    cells = cells_of(study, latest(run))
    with Catalog(store) as catalog:
        values = outcomes(catalog, cells, study.recipe.asked, study.recipe.outcomes)
    failed = sum(cell["status"] != "done" for cell in cells)
    parents = list(dict.fromkeys(cell["mixture"] for cell in cells if cell["mixture"]))
    draft = Draft(store, "study", study.meaning, [resolve(store, one) for one in parents])
    draft.write("study_cells", [pa.Table.from_pylist(cells, schema=STUDY_CELLS.schema)], STUDY_CELLS.schema)
    shares = [
        {"arm": arm, "component": component, "weight": weight}
        for arm, weights in study.weights.items()
        for component, weight in weights.items()
    ]
    draft.write("study_weights", [pa.Table.from_pylist(shares, schema=STUDY_WEIGHTS.schema)], STUDY_WEIGHTS.schema)
    draft.write("study_outcomes", [pa.Table.from_pylist(values, schema=STUDY_OUTCOMES.schema)], STUDY_OUTCOMES.schema)
    version = study.recipe.version
    if failed:
        version = f"{version}.incomplete-{json_digest([cells, values])[:8]}"
    counts = {"cells": len(cells), "failed": failed, "seeds": len(study.recipe.seeds)}
    return draft.commit(study.recipe.name, version, counts, settings=study.recipe.model_dump(mode="json"))

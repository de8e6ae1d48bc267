"""A process that does nodes of a study, one after the other, so that Python and torch are loaded once.

    python -m octo.study.worker STORE RUN           nodes come as lines of JSON on standard input
    python -m octo.study.worker STORE RUN NODE…     these nodes, whose needs are looked up (a job of Slurm)
    python -m octo.study.worker STORE RUN freeze    the result, once all nodes have ended

Each node gives two rows of the ledger `study_nodes`, one when it begins and one when it ends, whatever ends it but the
end of the process. An error of a node is a row with its reason and stops nothing else.
"""

import json
import os
import signal
import sys
import time
import traceback
from typing import Any

from evaluation.config import EvalRecipe
from manifests.errors import UserError
from manifests.manifest import resolve
from manifests.process import die_with_parent, run_and_leave
from manifests.runs import RunDirectory, load_run
from manifests.store import Store
from mixtures.config import MixRecipe
from octo.study.design import Backends, Node, Study
from octo.study.ledger import append, latest
from octo.study.nodes import do, find
from octo.study.run import FREEZE, finish, study_of
from rl.config import RLRecipe
from training.config import TrainRecipe

Row = dict[str, Any]


def do_and_record(run: RunDirectory, node: Node, made: dict[str, str], backends: Backends) -> Row:
    """Do `node` and write what became of it into the ledger of the study `run`; the last row."""
    append(run, node, status="running")
    start, used = time.monotonic(), _cpu_seconds()
    try:
        found = find(run.store, node, made, backends)
        ended: Row = {"status": "done", "id": found or do(run.store, node, made, backends), "found": found is not None}
        ended["units"] = None if found else units(run.store, node, made)
    except UserError as error:
        ended = {"status": "failed", "reason": str(error)}
    except Exception as error:  # whatever a verb raises is the reason of this node, and no other's
        traceback.print_exc()
        ended = {"status": "failed", "reason": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    return append(run, node, **ended, seconds=time.monotonic() - start, cpu_seconds=_cpu_seconds() - used)


def _cpu_seconds() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def units(store: Store, node: Node, made: dict[str, str]) -> float | None:
    """The size of the work of a node: sequences, tokens or responses; None if it cannot be known."""
    match node.recipe:
        case MixRecipe(kind="mixture", budget=budget, sequence_length=length) if budget and length:
            return float(budget.count(length))
        case TrainRecipe(steps=steps, batch_sequences=batch):
            counts = resolve(store, made["mixture"]).counts
            per_sequence = counts["tokens"] / max(1, counts["sequences"])
            return steps * batch * per_sequence if steps else float(counts["tokens"])
        case RLRecipe(steps=steps, prompts_per_step=prompts, group_size=size):
            return float(steps * prompts * size)
        case EvalRecipe(limit=limit, samples=samples):
            items = [resolve(store, name).families["items"].rows for name in node.benchmarks]
            return float(sum(min(count, limit or count) for count in items) * samples)
    return None


def backends_of(run: RunDirectory) -> Backends:
    """The backends that the study names."""
    recipe = run.record["config"]["recipe"]
    return Backends(recipe["training_backend"], recipe["rl_backend"], recipe["sampler"])


def main(url: str, run_id: str, *names: str) -> None:
    run = load_run(Store(url), run_id)
    study = study_of(run)
    if names == (FREEZE,):
        finish(run, study)
    elif names:
        _do_named(run, study, names)
    else:
        _serve(run, study)


def _serve(run: RunDirectory, study: Study) -> None:
    """Nodes from standard input, their last rows on standard output, until the input ends."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's: it ends this process
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what verbs print goes to the log
    nodes, backends = study.by_name, study.backends
    for line in sys.stdin:
        asked = json.loads(line)
        answers.write(json.dumps(do_and_record(run, nodes[asked["node"]], asked["made"], backends)) + "\n")


def _do_named(run: RunDirectory, study: Study, names: tuple[str, ...]) -> None:
    """These nodes in order; one whose needs failed fails with them."""
    for name in names:
        node, rows = study.by_name[name], latest(run)
        missing = [need for need in node.needs.values() if rows.get(need, {}).get("status") != "done"]
        if missing:
            append(run, node, status="failed", reason=f"{missing[0]} failed")
            continue
        do_and_record(run, node, {role: rows[need]["id"] for role, need in node.needs.items()}, study.backends)


if __name__ == "__main__":
    run_and_leave(lambda: main(*sys.argv[1:]))

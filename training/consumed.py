"""What training runs read: the documents of a step, and the steps that read a document.

Both follow from a run's record (its mixtures, its steps, its batch) and the order of the mixture; the ledger adds the
loss and the last step. A data-parallel rank reads a contiguous part of each step's sequences; the number of ranks is
that of the last launch. Leaves out the micro-batch of a sequence.
"""

import numpy as np
import pyarrow as pa

from manifests import catalog
from manifests.errors import UserError
from manifests.runs import RunDirectory, load_runs
from manifests.store import Store
from mixtures.tracing import trace as trace_sequences
from training.readings import by_id, readings_of


def trace(store: Store, run: RunDirectory, step: int, rank: int | None = None, text: bool = False) -> pa.Table:
    """The documents that `step` of a training run read, or that its `rank` read: see `mixtures.tracing.trace`.
    UserError for a step, a rank or a run that does not exist.
    """
    if run.record["kind"] != "train":
        raise UserError(f"{run.id} is a run of kind {run.record['kind']}", "Trace a training run; see `octo runs list`")
    stages = readings_of(store, run.record, by_id(store))
    reading = next((reading for reading in stages if reading.first <= step <= reading.last), None)
    if reading is None:
        raise UserError(f"{run.id} has no step {step}", f"Its steps are 1 to {stages[-1].last}")
    return trace_sequences(store, reading.mixture, _share(run, reading.sequences(step), rank), text)


def _share(run: RunDirectory, sequences: np.ndarray, rank: int | None) -> np.ndarray:
    """The part of a step's sequences that a data-parallel rank reads; all of them if no rank is given."""
    ranks = (run.record["config"].get("parallel") or {}).get("dp", 1)
    if rank is None:
        return sequences
    if not 0 <= rank < ranks:
        raise UserError(f"{run.id} has no rank {rank}", f"Its data-parallel ranks are 0 to {ranks - 1}")
    return np.array_split(sequences, ranks)[rank]


def steps_that_read(store: Store, uses: pa.Table) -> pa.Table:
    """The steps of training runs that read documents, from their `uses` (see `mixtures.tracing.uses`).

    A row per run, step and sequence: run, step, loss (of the step), mixture, sequence, epoch, start, length. Steps that
    a run has not reached, according to its ledger, are left out.
    """
    stored = by_id(store)
    stages = [
        (record["id"], reading)
        for record in load_runs(store)
        if record["kind"] == "train" and all(manifest["id"] in stored for manifest in record["manifests"])
        for reading in readings_of(store, record, stored)
    ]
    found = [
        {"run": run, "step": step} | {name: use[name] for name in _KEPT}
        for use in uses.to_pylist()
        for run, reading in stages
        if reading.mixture.id == use["mixture"] and (step := reading.step_of(use["sequence"]))
    ]
    return catalog.query(store, _WITH_LOSS, [found]) if found else pa.table({"run": pa.array([], pa.string())})


_KEPT = ("mixture", "sequence", "epoch", "start", "length")
_WITH_LOSS = """
SELECT run, step, loss, mixture, sequence, epoch, start, length
FROM (SELECT unnest($1, recursive := true)) JOIN steps USING (run, step) ORDER BY ALL
"""

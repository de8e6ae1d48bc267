"""What training runs read: the documents behind a step, and the steps behind a document.

Both follow from a run's record (its mixtures, its steps, its batch) and the order of the mixture; the ledger adds the
loss and how far the run got. A data-parallel rank reads a contiguous part of each step's sequences; how many ranks
there are is what the run was last launched with. Leaves out which micro-batch of the rank a sequence lay in.
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
    """The documents behind `step` of a training run, or behind what `rank` read of it: see `mixtures.tracing.trace`.

    UserError for a step, a rank or a run that is not there.
    """
    if run.record["kind"] != "train":
        raise UserError(f"{run.id} is a run of kind {run.record['kind']}", "Trace a training run; see `octo runs list`")
    stages = readings_of(store, run.record, by_id(store))
    reading = next((reading for reading in stages if reading.first <= step <= reading.last), None)
    if reading is None:
        raise UserError(f"{run.id} has no step {step}", f"Its steps are 1 to {stages[-1].last}")
    return trace_sequences(store, reading.mixture, _share(run, reading.sequences(step), rank), text)


def _share(run: RunDirectory, sequences: np.ndarray, rank: int | None) -> np.ndarray:
    """The part of a step's sequences that a data-parallel rank reads; all of them where no rank is named."""
    ranks = (run.record["config"].get("parallel") or {}).get("dp", 1)
    if rank is None:
        return sequences
    if not 0 <= rank < ranks:
        raise UserError(f"{run.id} has no rank {rank}", f"Its data-parallel ranks are 0 to {ranks - 1}")
    return np.array_split(sequences, ranks)[rank]


def steps_that_read(store: Store, uses: pa.Table) -> pa.Table:
    """The steps of training runs that read documents, from their `uses` (see `mixtures.tracing.uses`).

    A row per run, step and sequence: run, step, loss (of the step), mixture, sequence, epoch, start, length. Steps that
    a run did not reach, by its ledger, are no rows.
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

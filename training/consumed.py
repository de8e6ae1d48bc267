"""What a training run read: the documents behind a step, and the steps behind a document.

Both follow from the run's record (its mixture, its batch) and the mixture's order; the ledgers of the run add the loss
and how far it got. A data-parallel rank of R reads a contiguous R-th of each step's sequences. Leaves out which
micro-batch of the rank a sequence lay in.
"""

import numpy as np
import pyarrow as pa

from manifests import catalog
from manifests.errors import UserError
from manifests.manifest import resolve
from manifests.recipe import parse
from manifests.runs import RunDirectory
from manifests.store import Store
from mixtures.reader import MixtureReader
from mixtures.trace import trace as trace_sequences
from training.config import TrainRecipe
from training.schedule import positions


def trace(
    store: Store, run: RunDirectory, step: int, rank: int | None = None, ranks: int = 1, text: bool = False
) -> pa.Table:
    """The documents behind `step` of a training run, or behind the share of `rank` (of `ranks`): see
    `mixtures.trace.trace`. UserError for a step, a rank or a run that is not there."""
    if run.record["kind"] != "train":
        raise UserError(f"{run.id} is a run of kind {run.record['kind']}", "Trace a training run; see `octo runs list`")
    recipe = parse(run.record["config"], TrainRecipe, run.id)
    mixture = resolve(store, run.record["manifests"][0]["id"])
    n_sequences = MixtureReader(store, mixture).n_sequences
    steps = recipe.steps or -(-n_sequences // recipe.batch_sequences)
    if not 1 <= step <= steps:
        raise UserError(f"{run.id} has no step {step}", f"Its steps are 1 to {steps}")
    if rank is not None and not 0 <= rank < ranks:
        raise UserError(
            f"there is no rank {rank} of {ranks}", "Ranks count from 0; give --ranks, as --rank 3 --ranks 8"
        )
    sequences = positions(step, recipe.batch_sequences, n_sequences)
    share = sequences if rank is None else np.array_split(sequences, ranks)[rank]
    return trace_sequences(store, mixture, share, text)


def steps_that_read(store: Store, uses: pa.Table) -> pa.Table:
    """The steps of training runs that read documents, from their `uses` (see `mixtures.trace.uses`).

    A row per run, step and sequence: run, step, loss (of the step), mixture, sequence, epoch, start, length. Steps that
    a run did not reach, by its ledger, are no rows.
    """
    if not uses.num_rows:
        return pa.table({"run": pa.array([], pa.string())})
    return catalog.query(store, _STEPS, [uses.select(_USES).to_pylist()])


_USES = ["mixture", "sequence", "epoch", "start", "length"]
_STEPS = """
WITH uses AS (SELECT unnest($1, recursive := true)),
launched AS (
  SELECT run, unnest(manifests) AS mixture, CAST(config->>'batch_sequences' AS BIGINT) AS batch
  FROM runs WHERE kind = 'train')
SELECT run, s.step, s.loss, mixture, sequence, epoch, start, length
FROM uses JOIN launched USING (mixture) JOIN steps s USING (run)
WHERE s.step = sequence // batch + 1
ORDER BY ALL
"""

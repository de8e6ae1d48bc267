"""Steps and documents: what a ledger counted is what is traced, from either end."""

from collections import Counter

import numpy as np
import pytest

from manifests.errors import UserError
from manifests.runs import load_run
from mixtures.tracing import uses
from training.consumed import steps_that_read, trace
from training.launch import train


def test_documents_of_steps_and_steps_of_documents_agree_with_the_ledger(mixture, recipe):
    store, manifest = mixture
    run = train(store, manifest, recipe(steps=7))
    traced = {step: trace(store, run, step, text=True).to_pylist() for step in range(1, 8)}
    ledger = run.table("consumption").to_pylist()
    for step, spans in traced.items():
        counted = Counter()
        for span in spans:
            counted[span["component"], span["source"]] += span["length"]
        assert counted == {(row["component"], row["source"]): row["tokens"] for row in ledger if row["step"] == step}
    losses = dict(zip(run.table("steps")["step"].to_pylist(), run.table("steps")["loss"].to_pylist(), strict=True))
    for doc_id in {span["doc_id"] for span in traced[3]}:
        found = steps_that_read(store, uses(store, doc_id)).to_pylist()
        expected = [
            (step, span["sequence"], span["epoch"], span["start"], span["length"])
            for step, spans in traced.items()
            for span in spans
            if span["doc_id"] == doc_id
        ]
        places = ("step", "sequence", "epoch", "start", "length")
        assert [tuple(row[name] for name in places) for row in found] == sorted(expected)
        assert all(row["loss"] == losses[row["step"]] and row["run"] == run.id for row in found)


def test_stages_and_ranks_share_the_sequences_in_order(mixture, recipe):
    """A run of two stages over two ranks, as its record says it: the second stage begins the mixture anew."""
    store, manifest = mixture
    run = train(store, manifest, recipe(steps=3))
    run.record["config"] |= {"steps": 3, "then": [{"steps": 2}], "parallel": {"dp": 2}}
    run.record["manifests"] *= 2
    batch = run.record["config"]["batch_sequences"]
    whole = {step: trace(store, run, step)["sequence"].unique().to_pylist() for step in range(1, 6)}
    assert whole[4] == whole[1] == list(range(batch))
    ranks = [trace(store, run, 2, rank)["sequence"].unique().to_pylist() for rank in (0, 1)]
    assert ranks == [part.tolist() for part in np.array_split(np.array(whole[2]), 2)]
    for step, rank, says in ((6, None, "has no step 6. Its steps are 1 to 5"), (1, 2, "has no rank 2")):
        with pytest.raises(UserError, match=says):
            trace(store, run, step, rank)
    assert load_run(store, run.id).record["config"] != run.record["config"]

"""Two evaluations side by side: pairs, flips, and what cannot be compared."""

import json

import pyarrow as pa
import pytest

from evaluation.benchmarks import BenchmarkRecipe, freeze_benchmark
from evaluation.compare import compare
from manifests.errors import UserError
from manifests.runs import open_run
from manifests.store import Store
from manifests.tables import SAMPLES

ROWS = [
    {"problem": f"What is {i}?", "answer": str(i), "unique_id": f"m{i}", "level": 1 + i % 2, "subject": "sums"}
    for i in range(10)
]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def math500(store, tmp_path):
    path = tmp_path / "math500.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    return freeze_benchmark(store, BenchmarkRecipe(name="math500", path=str(path)))


def evaluated(store, manifest, name, verdicts):
    """A run with the given verdicts: per item the verdict of each sample."""
    run = open_run(store, "eval", [manifest], {"name": name}, "transformers")
    rows = [
        {"step": step, "benchmark": manifest.name, "item_id": item, "sample": number, "prompt": "p", "response": "r",
         "extracted": "1", "verdict": verdict, "reason": None, "tokens": 3, "truncated": False, "reference": "1",
         "reward": 0.0, "other_verdict": None}
        for step, (item, group) in enumerate(verdicts.items())
        for number, verdict in enumerate(group)
    ]  # fmt: skip
    run.append("samples", pa.Table.from_pylist(rows, schema=SAMPLES.schema))
    return run


def test_items_are_paired_and_flips_are_named(store, math500):
    right = {f"m{i}": ["CORRECT"] if i < 5 else ["INCORRECT"] for i in range(10)}
    later = right | {"m0": ["INCORRECT"], "m7": ["CORRECT"], "m9": ["CORRECT"], "m8": ["ERROR"]}
    found = compare(evaluated(store, math500, "a", right), evaluated(store, math500, "b", later))
    (row,) = found.benchmarks
    assert row["items"] == 9, "an item without a ruling has no pair"
    assert row["first"] == pytest.approx(5 / 9) and row["second"] == pytest.approx(6 / 9)
    assert row["difference"] == pytest.approx(1 / 9) and row["low"] <= row["difference"] <= row["high"]
    assert (row["gained"], row["lost"], row["p"]) == (2, 1, 1.0)
    assert [(flip["item_id"], flip["flip"]) for flip in found.flips] == [
        ("m0", "lost"),
        ("m7", "gained"),
        ("m9", "gained"),
    ]
    levels = {group["group"]: group["items"] for group in found.groups if group["by"] == "level"}
    assert levels == {"1": 4, "2": 5}
    assert found.flips[1]["question"] == "What is 7?" and found.flips[1]["level"] == "2"


def test_items_with_several_samples_count_by_their_share(store, math500):
    first = {"m0": ["CORRECT", "INCORRECT"], "m1": ["INCORRECT", "INCORRECT"]}
    second = {"m0": ["CORRECT", "CORRECT"], "m1": ["INCORRECT", "UNPARSED"]}
    (row,) = compare(evaluated(store, math500, "a", first), evaluated(store, math500, "b", second)).benchmarks
    assert row["difference"] == pytest.approx(0.25) and (row["gained"], row["lost"]) == (1, 0)


def test_what_cannot_be_compared_is_said(store, math500, tmp_path):
    first = evaluated(store, math500, "a", {"m0": ["CORRECT"]})
    with pytest.raises(UserError, match="have no item in common"):
        compare(first, evaluated(store, math500, "b", {"m1": ["CORRECT"]}))
    (tmp_path / "math500.jsonl").write_text(json.dumps(ROWS[0]))
    other = freeze_benchmark(store, BenchmarkRecipe(name="math500", version="2", path=str(tmp_path / "math500.jsonl")))
    with pytest.raises(UserError, match="different items under the name math500"):
        compare(first, evaluated(store, other, "b", {"m0": ["CORRECT"]}))
    with pytest.raises(UserError, match="is not an evaluation with samples"):
        compare(first, open_run(store, "train", [math500], {}, "torch"))

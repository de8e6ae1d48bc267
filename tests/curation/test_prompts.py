"""Prompts for RL: whether their answers can be verified, and whether a model has trained on them."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.config import CurateRecipe
from curation.pipeline import curate
from manifests.catalog import query
from manifests.errors import UserError
from manifests.recipe import parse
from manifests.store import Store

FARMER = "A farmer keeps 17 sheep and 4 cows in a field by the river. How many animals does the farmer keep there?"
BAKER = "A baker sells 23 loaves on Monday and 19 on Tuesday. How many loaves does the baker sell on both days?"
TRAIN = "A train leaves the station with 48 people and at the next stop 13 get off. How many people are on the train?"
RIVER = "Seven boats cross the river every hour, each with 6 people. How many people cross the river in 3 hours?"
LEAKED = "What is the smallest prime number that is larger than the square of the number 11, please?"


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def build(store: Store, name: str, tokenizer: Path, sources: list[dict], **more):
    plain = {"name": name, "tokenizer": str(tokenizer), "sources": sources} | more
    return curate(store, parse(plain, CurateRecipe, name))


def reasons(store: Store, manifest) -> dict[str, tuple[str | None, dict]]:
    """Drop reason and evidence of each document by its question."""
    columns = "question, drop_reason, drop_evidence"
    sql = f"SELECT {columns} FROM documents JOIN texts USING (manifest, doc_id) WHERE manifest = $1"
    rows = query(store, sql, [manifest.id]).to_pylist()
    return {row["question"]: (row["drop_reason"], json.loads(row["drop_evidence"] or "{}")) for row in rows}


def lines(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_prompts_are_kept_apart_from_training_and_benchmarks_and_must_be_verifiable(store, tokenizer, tmp_path):
    page = f"Some exercises for the week, to be solved at home. {FARMER} And another one. {BAKER} Good luck to you!"
    pages = [{"text": page}, {"text": "too short: " + TRAIN[:30]}]
    answered = [{"question": TRAIN, "response": "48 - 13 = 35, so there are 35.", "answer": "35"}]
    trained = build(
        store,
        "trained",
        tokenizer,
        [
            {"name": "pages", "path": lines(tmp_path / "pages.jsonl", pages), "role": "general"},
            {"name": "answered", "path": lines(tmp_path / "answered.jsonl", answered), "role": "qa"},
        ],
    )
    prompts = [
        {"question": FARMER, "answer": "21"},
        {"question": FARMER.replace("17", "18"), "answer": "22"},  # another problem
        {"question": BAKER, "answer": "42"},
        {"question": TRAIN, "answer": "35"},
        {"question": RIVER, "answer": r"$x \oplus$"},  # one more cannot be told from it
        {"question": RIVER.replace("6", "5"), "answer": "105"},
        {"question": LEAKED, "answer": "127"},
    ]
    benchmark = {"name": "held", "path": lines(tmp_path / "held.jsonl", [{"question": LEAKED, "answer": "127"}])}
    source = {"name": "rl", "path": lines(tmp_path / "rl.jsonl", prompts), "role": "rl"}
    apart = {"benchmarks": [benchmark], "training": ["trained@1"]}
    manifest = build(store, "prompts", tokenizer, [source], decontaminate=apart)
    found = reasons(store, manifest)
    why = {question: reason for question, (reason, _) in found.items()}
    assert why == {
        FARMER: "in_training",
        FARMER.replace("17", "18"): None,
        BAKER: "in_training",
        TRAIN: "in_training",
        RIVER: "unverifiable",
        RIVER.replace("6", "5"): None,
        LEAKED: "contaminated",
    }
    assert trained.id in manifest.parents
    documents = query(store, "SELECT doc_id, source FROM documents WHERE manifest = $1", [trained.id]).to_pylist()
    by_source = {row["source"]: row["doc_id"] for row in documents if row["source"] == "answered"}
    assert found[TRAIN][1] == {"corpus": trained.id, "document": by_source["answered"], "coverage": 1.0}
    assert found[RIVER][1]["control"] == "off by one"
    leaks = query(store, "SELECT benchmark, coverage FROM leaks WHERE manifest = $1", [manifest.id]).to_pylist()
    assert leaks == [{"benchmark": "held", "coverage": 1.0}]
    without = build(store, "alone", tokenizer, [source], decontaminate={"benchmarks": [benchmark]})
    assert reasons(store, without)[FARMER][0] is None and without.id != manifest.id


def test_a_training_corpus_that_is_none_and_a_reselection_are_refused(store, tokenizer, tmp_path):
    source = {"name": "rl", "path": lines(tmp_path / "rl.jsonl", [{"question": FARMER, "answer": "21"}]), "role": "rl"}
    benchmark = {"name": "held", "path": lines(tmp_path / "held.jsonl", [{"question": LEAKED, "answer": "127"}])}
    first = build(store, "first", tokenizer, [source], decontaminate={"benchmarks": [benchmark]})
    held = query(store, "SELECT manifest FROM manifests WHERE kind = 'benchmark'").to_pylist()[0]["manifest"]
    with pytest.raises(UserError, match=r"is a benchmark, not a corpus\. Name corpora under decontaminate.training"):
        build(store, "second", tokenizer, [source], decontaminate={"training": [held]})
    apart = build(store, "third", tokenizer, [source], decontaminate={"training": [first.id]})
    plain = {"name": "fourth", "tokenizer": str(tokenizer), "sources": [source]}
    with pytest.raises(UserError, match="only a full run"):
        curate(store, parse(plain, CurateRecipe, "-"), base=apart)


def test_prompts_of_every_shape_become_rows_of_one_corpus(store, tokenizer, tmp_path):
    """As the data sets of this kind have them: MATH8K, SimpleRL-Zoo, GSM8K, NuminaMath, DAPO's Parquet."""
    tables = {
        "simplerl-zoo": [{"prompt": "What is the sum of 3 and 9 and 12?", "gt_answer": "24"}],
        "gsm8k": [
            {"question": "Nia has 4 bags of 6 apples. How many apples?", "answer": "4 * 6 = <<4*6=24>>24\n#### 24"}
        ],
        "numinamath-1.5": [
            {"problem": "Find $x$ if $3x = 21$.", "solution": "x = 7.", "answer": "7"},
            {"problem": "Show that $3 + 4 = 4 + 3$.", "solution": "Addition commutes.", "answer": "proof"},
        ],
        "dapo-math-17k": [
            {
                "prompt": [{"role": "user", "content": "How many squares are on a chess board of 8 by 8?"}],
                "reward_model": {"ground_truth": "204", "style": "rule"},
            }
        ],
    }
    sources = []
    for name, rows in tables.items():
        (tmp_path / name).mkdir()
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name / "train.parquet")
        sources.append({"known": name, "path": str(tmp_path / name), "role": "rl"})
    manifest = build(store, "prompts", tokenizer, sources)
    kept = query(store, "SELECT question, answer FROM texts WHERE manifest = $1 ORDER BY answer", [manifest.id])
    assert kept["answer"].to_pylist() == ["204", "24", "24", "7"]
    lost = query(store, "SELECT source, reason FROM quarantine WHERE manifest = $1", [manifest.id]).to_pylist()
    assert lost == [{"source": "numinamath-1.5", "reason": "no_final_answer"}]

"""Which items leaked into a model's training data, from a corpus through a mixture and runs to the score."""

import json

import pyarrow as pa
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from curation.config import CurateRecipe
from curation.pipeline import curate
from evaluation.benchmarks import BenchmarkRecipe, freeze_benchmark
from evaluation.config import EvalRecipe
from evaluation.contamination import exposure, statuses
from evaluation.grading.answers import Grader
from evaluation.metrics import score
from manifests.manifest import Draft
from manifests.recipe import parse
from manifests.runs import open_run
from manifests.store import Store
from manifests.tables import PROMPTS, SAMPLES
from mixtures.config import MixRecipe
from mixtures.mix import mix

QUESTIONS = [
    "A farmer keeps 12 goats and sells 5 of them on the market before noon. How many goats has the farmer left?",
    "A painter needs 3 tins of blue paint for each of 7 doors in the long corridor. How many tins does she need?",
    "A train with 9 coaches has 64 seats in every coach but the last, which has 40. How many seats are there?",
]
PAGES = [
    f"Here is something to think about on a rainy day. {QUESTIONS[0]} Take your time and write the answer below.",
    f"An old exercise from a school book that many pupils know well. {QUESTIONS[1]} The answer is not given there.",
    "The derivative of a product is the sum of two products, in each of which one factor has been differentiated.",
    "A polygon with n sides can be cut into triangles, and so the angles add up to that many times a straight angle.",
]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def items(tmp_path):
    path = tmp_path / "held.jsonl"
    rows = [{"question": question, "answer": "7", "id": f"q{i}"} for i, question in enumerate(QUESTIONS)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture
def tokenizer(tmp_path):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE({"<|endoftext|>": 0} | {letter: i + 1 for i, letter in enumerate(alphabet)}, []))
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    (tmp_path / "tokenizer").mkdir()
    bpe.save(str(tmp_path / "tokenizer" / "tokenizer.json"))
    return tmp_path / "tokenizer"


def corpus(store, tmp_path, tokenizer, name, benchmarks):
    pages = tmp_path / "pages.jsonl"
    pages.write_text("\n".join(json.dumps({"text": page, "url": f"https://a/{i}"}) for i, page in enumerate(PAGES)))
    recipe = {
        "name": name,
        "tokenizer": str(tokenizer),
        "sources": [{"name": "pages", "path": str(pages), "role": "web"}],
        "quality": {"min_words": 1},
        "decontaminate": {"benchmarks": benchmarks},
    }
    return curate(store, parse(recipe, CurateRecipe, "test"))


def mixture(store, made, tokenizer, where):
    component = {
        "name": "all",
        "manifest": made.ref,
        "where": where,
        "weight": 1,
        "max_epochs": 4,
        "allow": ["contaminated"],
    }
    recipe = {
        "name": f"of-{made.name}-{len(where)}", "tokenizer": str(tokenizer), "sequence_length": 32,
        "budget": {"sequences": 20}, "components": [component],
    }  # fmt: skip
    return mix(store, parse(recipe, MixRecipe, "test"))


def trained(store, made, parent=None):
    return open_run(store, "train", [made], {"of": made.id}, "torch", parent)


def found(store, run, benchmark):
    return {item: status for (_, item), status in statuses(exposure(store, run), [benchmark]).items()}


KEPT = "drop_reason IS NULL"
FIRST = "drop_reason IS NULL OR drop_evidence->>'item' = 'q0'"


def test_an_item_has_leaked_if_the_mixture_took_a_document_that_holds_it(store, tmp_path, tokenizer, items):
    benchmark = freeze_benchmark(store, BenchmarkRecipe(name="held", path=str(items)))
    made = corpus(store, tmp_path, tokenizer, "checked", ["held@1"])
    assert {row["item_id"] for row in made.read("leaks").to_pylist()} == {"q0", "q1"}
    clean, dirty = mixture(store, made, tokenizer, KEPT), mixture(store, made, tokenizer, FIRST)
    assert set(found(store, trained(store, clean), benchmark).values()) == {"clean"}
    first = trained(store, dirty)
    assert found(store, first, benchmark) == {"q0": "leaked", "q1": "clean", "q2": "clean"}
    assert found(store, trained(store, clean, parent=first), benchmark)["q0"] == "leaked", "an earlier run saw it"
    assert set(found(store, None, benchmark).values()) == {"unknown"}

    other = tmp_path / "other.jsonl"
    rows = [{"question": QUESTIONS[0], "answer": "7"}, {"question": "What is new here?", "answer": "1"}]
    other.write_text("\n".join(map(json.dumps, rows)))
    renamed = freeze_benchmark(store, BenchmarkRecipe(name="renamed", path=str(other)))
    assert list(found(store, first, renamed).values()) == ["leaked", "unchecked"]


def test_a_document_that_holds_two_items_leaks_both(store, tmp_path, tokenizer, items, monkeypatch):
    monkeypatch.setitem(globals(), "PAGES", [f"{PAGES[0]} And on the next page: {QUESTIONS[2]}", *PAGES[1:]])
    benchmark = freeze_benchmark(store, BenchmarkRecipe(name="held", path=str(items)))
    made = corpus(store, tmp_path, tokenizer, "checked", ["held@1"])
    leaks = made.read("leaks").to_pylist()
    assert sorted(row["item_id"] for row in leaks) == ["q0", "q1", "q2"] and len({row["doc_id"] for row in leaks}) == 2
    run = trained(store, mixture(store, made, tokenizer, FIRST))
    assert found(store, run, benchmark) == {"q0": "leaked", "q1": "clean", "q2": "leaked"}


def test_what_no_corpus_looked_for_is_unchecked(store, tmp_path, tokenizer, items):
    benchmark = freeze_benchmark(store, BenchmarkRecipe(name="held", path=str(items)))
    blind = corpus(store, tmp_path, tokenizer, "blind", [])
    run = trained(store, mixture(store, blind, tokenizer, KEPT))
    assert set(found(store, run, benchmark).values()) == {"unchecked"}
    checked = corpus(store, tmp_path, tokenizer, "checked", ["held@1"])
    both = trained(store, mixture(store, checked, tokenizer, FIRST), parent=run)
    assert found(store, both, benchmark) == {"q0": "leaked", "q1": "unchecked", "q2": "unchecked"}


def test_an_item_that_is_a_prompt_of_the_runs_own_reinforcement_has_leaked(store, tmp_path, tokenizer, items):
    """No corpus was searched, the prompt is spelled a little differently, and the run came to it through a parent."""
    benchmark = freeze_benchmark(store, BenchmarkRecipe(name="held", path=str(items)))
    blind = corpus(store, tmp_path, tokenizer, "blind", [])
    base = trained(store, mixture(store, blind, tokenizer, KEPT))
    asked = [QUESTIONS[0], f"  {QUESTIONS[2].replace(' ', '  ').upper()}\r\n", f"{QUESTIONS[1]} And why?"]
    rows = [
        {"position": i, "prompt_id": f"p{i}", "doc_id": f"d{i}", "source": "made", "component": "all", "epoch": 0,
         "question": question, "answer": "7", "corpus": blind.id}
        for i, question in enumerate(asked)
    ]  # fmt: skip
    draft = Draft(store, "prompts", {"asked": asked})
    draft.write("prompts", [pa.Table.from_pylist(rows, schema=PROMPTS.schema)], PROMPTS.schema)
    prompts = draft.commit("asked", "1")
    reinforced = open_run(store, "rl", [prompts], {"of": prompts.id}, "torch", base)
    wanted = {"q0": "leaked", "q1": "unchecked", "q2": "leaked"}
    assert found(store, reinforced, benchmark) == wanted
    assert found(store, trained(store, prompts, parent=reinforced), benchmark) == wanted
    assert set(found(store, base, benchmark).values()) == {"unchecked"}


def test_the_score_without_leaked_items_stands_beside_the_score():
    verdicts = ["CORRECT", "CORRECT", "INCORRECT", "CORRECT", "ERROR"]
    rows = [
        {"step": i, "benchmark": "held", "item_id": f"q{i}", "sample": 0, "prompt": "p", "response": "r",
         "verdict": verdict, "tokens": 1, "truncated": False, "reference": "7", "reward": 1.0}
        for i, verdict in enumerate(verdicts)
    ]  # fmt: skip
    samples = pa.Table.from_pylist(rows, schema=SAMPLES.schema)
    leaks = ["leaked", "leaked", "clean", "unchecked", "clean"]
    table = {row["metric"]: row for row in score(samples, leaks, EvalRecipe(), 0, Grader())}
    assert table["accuracy"]["value"] == 3 / 5
    assert table["accuracy_without_leaked"]["value"] == 1 / 3 and table["accuracy_without_leaked"]["n"] == 3
    assert table["leaked"]["value"] == 2 / 5 and table["unchecked"]["value"] == 1 / 5

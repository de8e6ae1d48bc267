"""An evaluation from a model folder and benchmark manifests to samples and scores, also after it was interrupted."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from evaluation import scores
from evaluation.benchmarks import BenchmarkRecipe, freeze_benchmark
from evaluation.config import EndpointRecipe, EvalRecipe
from evaluation.protocols.templates import TemplateName, render, with_choices
from evaluation.samplers.sampling import Completion
from evaluation.samplers.transformers_sampler import Transformers
from evaluation.scores import evaluate
from manifests.errors import UserError
from manifests.manifest import copy_manifest
from manifests.recipe import parse
from manifests.runs import load_run, load_runs
from manifests.store import Store

PLAIN = [{"question": f"What is {i}+{i}?", "answer": str(2 * i), "id": f"p{i}"} for i in range(6)]
CHOICE = [{"question": "Which?", "options": ["1", "2", "3"], "answer": "B", "id": i} for i in range(3)]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    """A random model that writes digits, blanks and letters."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({"<eos>": 0} | {letter: i + 1 for i, letter in enumerate(alphabet)}, []))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = LlamaConfig(
        vocab_size=257, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=256, initializer_range=0.5, eos_token_id=0, bos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("model")
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def benchmarks(store, tmp_path):
    made = []
    for name, rows in (("plain_sums", PLAIN), ("mmlu_stem", CHOICE)):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)))
        made.append(freeze_benchmark(store, BenchmarkRecipe(name=name, path=str(path))))
    return made


ENDPOINT = EndpointRecipe(url="http://localhost:1/v1", model="none")
RECIPE = EvalRecipe(max_new_tokens=12, temperature=1.0, samples=3, batch_items=2, seed=1)


def test_an_evaluation_keeps_every_sample_and_scores_them(store, model_dir, benchmarks):
    run = evaluate(store, model_dir, benchmarks, RECIPE)
    samples = run.table("samples").to_pylist()
    assert len({(row["benchmark"], row["item_id"], row["sample"]) for row in samples}) == len(samples) == 27
    assert samples[0]["prompt"] == "Question:\nWhat is 0+0?\nAnswer:\n"
    assert samples[-1]["prompt"] == "Question:\nWhich?\n(A) 1\n(B) 2\n(C) 3\nAnswer:\n"
    assert run.status == "done"
    table = {(row["benchmark"], row["metric"]): row for row in run.table("scores").to_pylist()}
    for name in ("plain_sums", "mmlu_stem"):
        of_name = [row for row in samples if row["benchmark"] == name]
        accuracy = table[name, "accuracy"]
        assert accuracy["value"] == pytest.approx(sum(row["verdict"] == "CORRECT" for row in of_name) / len(of_name))
        assert accuracy["n"] == len(of_name) and accuracy["method"] == "bootstrap"
        assert table[name, "length"]["value"] == pytest.approx(sum(row["tokens"] for row in of_name) / len(of_name))
        assert table[name, "pass@1"]["value"] == pytest.approx(accuracy["value"])
        assert run.record["summary"][name]["accuracy"] == accuracy["value"]
    assert evaluate(store, model_dir, benchmarks, RECIPE).id == run.id


def test_greedy_scores_carry_wilson_intervals(store, model_dir, benchmarks):
    run = evaluate(store, model_dir, benchmarks[:1], EvalRecipe(max_new_tokens=8, limit=4))
    accuracy = next(row for row in run.table("scores").to_pylist() if row["metric"] == "accuracy")
    assert accuracy["n"] == 4 and accuracy["method"] == "wilson"
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]


def test_an_interrupted_evaluation_goes_on_and_ends_as_if_it_had_not_been(
    store, tmp_path, model_dir, benchmarks, monkeypatch
):
    other = Store(tmp_path / "other")
    whole = evaluate(other, model_dir, [copy_manifest(manifest, other) for manifest in benchmarks], RECIPE)
    asked = []

    class Interrupted(Transformers):
        """Interrupted in the midst of a benchmark."""

        def sample(self, prompts, params, streams):
            for place, found in super().sample(prompts, params, streams):
                if len(asked) == 4:
                    raise KeyboardInterrupt
                asked.append(prompts[place])
                yield place, found

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(scores, "open_sampler", lambda name, folder, endpoint: Interrupted(folder))
        evaluate(store, model_dir, benchmarks, RECIPE)
    assert len({row["item_id"] for row in load_run(store, whole.id).table("samples").to_pylist()}) == 4
    asked.clear()
    with monkeypatch.context() as patch:
        asked = [None] * 9
        patch.setattr(scores, "open_sampler", lambda name, folder, endpoint: Interrupted(folder))
        run = evaluate(store, model_dir, benchmarks, RECIPE)
    assert run.id == whole.id and len(asked) == 9 + 5, "what was answered is not asked again"
    assert in_order(run) == in_order(whole)
    assert run.table("scores").to_pylist() == whole.table("scores").to_pylist()


def in_order(run):
    return run.table("samples").sort_by([("step", "ascending"), ("sample", "ascending")]).to_pylist()


def test_a_reference_of_no_use_raises_no_score(store, tmp_path, monkeypatch, capsys):
    """Its very text is answered too, and its item stays in every denominator."""
    path, huge = tmp_path / "odd.jsonl", "7" * 2_000
    rows = [{"question": "1+1?", "answer": huge}, {"question": "2+2?", "answer": "4"}]
    path.write_text("\n".join(map(json.dumps, rows)))
    manifest = freeze_benchmark(store, BenchmarkRecipe(name="odd", path=str(path)))
    sampler = SaysByItem([[rf"\boxed{{{huge}}}", r"\boxed{4}", "who knows", r"\boxed{4}"]] * 2)
    monkeypatch.setattr(scores, "open_sampler", lambda *_: sampler)
    run = evaluate(
        store, None, [manifest], EvalRecipe(temperature=1.0, samples=4, endpoint=ENDPOINT), sampler="endpoint"
    )
    table = {row["metric"]: (row["value"], row["n"]) for row in run.table("scores").to_pylist()}
    verdicts = [row["verdict"] for row in run.table("samples").sort_by("step").to_pylist()]
    assert verdicts[:4] == ["ERROR"] * 4 and verdicts.count("ERROR") == 4
    assert (table["errors"], table["accuracy"], table["reward"]) == ((0.5, 8), (0.25, 8), (0.25, 8))
    assert (table["pass@4"], table["maj@4"]) == ((0.5, 2), (0.5, 2))
    assert "the grader failed on 4 of 8 responses, of 1 items, as odd" in capsys.readouterr().err


def test_answers_that_cannot_be_graded_are_wrong(store, tmp_path, monkeypatch):
    """Five right ones and five monstrous ones are one half, and an item never solved stays unsolved."""
    path, monstrous = tmp_path / "hard.jsonl", r"\boxed{\binom{10000000}{5000000}}"
    path.write_text("\n".join(json.dumps({"question": f"{i}?", "answer": "5"}) for i in range(3)))
    manifest = freeze_benchmark(store, BenchmarkRecipe(name="hard", path=str(path)))

    said = [[r"\boxed{5}"] * 4, [r"\boxed{5}", monstrous, monstrous, monstrous], [monstrous, "6", "7", ""]]
    monkeypatch.setattr(scores, "open_sampler", lambda *_: SaysByItem(said))
    recipe = EvalRecipe(temperature=1.0, samples=4, grading_seconds=1, endpoint=ENDPOINT)
    run = evaluate(store, None, [manifest], recipe, sampler="endpoint")
    table = {row["metric"]: (row["value"], row["n"]) for row in run.table("scores").to_pylist()}
    hard = [row for row in run.table("samples").to_pylist() if row["response"] == monstrous]
    assert {(row["verdict"], row["reason"], row["reward"]) for row in hard} == {("UNPARSED", "too_hard", 0.0)}
    assert table["accuracy"] == (5 / 12, 12) and table["errors"] == (0.0, 12)
    assert table["pass@4"] == (pytest.approx(2 / 3), 3), "the truth, where items with errors were dropped it was 1"
    assert table["maj@4"] == (pytest.approx(1 / 3), 3), "three of a kind win the vote, graded or not"


def test_what_cannot_be_evaluated_is_said(store, tmp_path, model_dir, benchmarks):
    with pytest.raises(UserError, match="no benchmark to evaluate on"):
        evaluate(store, model_dir, [], RECIPE)
    with pytest.raises(UserError, match="two benchmarks of one name"):
        evaluate(store, model_dir, [benchmarks[0]] * 2, RECIPE)
    with pytest.raises(UserError, match="all the same"):
        evaluate(store, model_dir, benchmarks, EvalRecipe(samples=2))
    with pytest.raises(UserError, match=r"`template`: .*'cpt_base'.*'few_shot'"):
        parse({"template": "zen"}, EvalRecipe, "eval.yaml")
    with pytest.raises(UserError, match="is no model folder"):
        evaluate(store, tmp_path, benchmarks, RECIPE)


GSM8K = [
    {"question": "Ann has 1,000 pens and buys 234. How many?", "answer": "1234", "id": "g0"},
    {"question": "Bo has 3 figs and eats 1. How many?", "answer": "2", "id": "g1"},
]


class Says:
    """A sampler that says what it was told to, in place of an engine."""

    def __init__(self, *texts):
        self.texts, self.prompts = texts, []

    def refusals(self, prompts):
        return []

    def sample(self, prompts, params, streams):
        self.prompts += prompts
        for place in reversed(range(len(prompts))):
            yield place, [Completion(text, 7, False) for text in self.texts[:: params.n or 1]][: params.n]

    def close(self):
        pass


class SaysByItem(Says):
    """Says of each item what it was told to."""

    def sample(self, prompts, params, streams):
        for place in range(len(prompts)):
            yield place, [Completion(text, 7, False) for text in self.texts[0][place]]


@pytest.fixture
def gsm8k(store, tmp_path):
    path = tmp_path / "gsm8k.jsonl"
    path.write_text("\n".join(map(json.dumps, GSM8K)))
    return freeze_benchmark(store, BenchmarkRecipe(name="gsm8k", path=str(path)))


@pytest.mark.parametrize(("protocol", "own", "other"), [(None, 0.5, 0.0), ("paper", 0.0, 0.5)])
def test_a_few_shot_evaluation_reports_what_the_papers_faults_change(
    store, model_dir, gsm8k, monkeypatch, protocol, own, other
):
    sampler = Says("The answer is 1,234.")
    monkeypatch.setattr(scores, "open_sampler", lambda *_: sampler)
    run = evaluate(store, model_dir, [gsm8k], EvalRecipe(template="few_shot", protocol=protocol))
    table = {row["metric"]: row["value"] for row in run.table("scores").to_pylist()}
    assert table["accuracy"] == own
    assert table["accuracy_corrected" if protocol else "accuracy_paper_harness"] == other
    assert all(prompt.count("Q: ") == 9 for prompt in sampler.prompts)
    assert "accuracy_without_leaked" not in table, "nothing is known of a folder's training data"


def test_templates_put_the_question_once():
    question = "What is {x} in 2{x}=4?"
    for name in get_args(TemplateName):
        assert render(name, question).count(question) == 1
    assert "\\boxed{}" in render("orz_base", question)
    assert with_choices("Q", ["one", "two"]) == "Q\n(A) one\n(B) two"


FULL_DISK = """
import resource, sys
from pathlib import Path
from typing import get_args
from evaluation import scores
from evaluation.config import EvalRecipe
from evaluation.samplers.sampling import Completion
from manifests.recipe import parse
from manifests.errors import of_system
from manifests.manifest import resolve
from manifests.store import Store

class Says:
    def refusals(self, prompts): return []
    def sample(self, prompts, params, streams):
        import random
        for place in range(len(prompts)):
            yield place, [Completion(random.randbytes(200_000 * place).hex() + " 1234", 3, False)]
    def close(self): pass

scores.open_sampler = lambda *_: Says()
store = Store(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    recipe = EvalRecipe(template="few_shot", batch_items=1)
    scores.evaluate(store, Path(sys.argv[2]), [resolve(store, "gsm8k@1")], recipe)
except OSError as error:
    print(of_system(error))
"""


def test_a_full_disk_is_told_and_what_was_written_is_kept(store, model_dir, gsm8k):
    """The limit on a file's size stands in for a full disk: writing fails inside the grading thread."""
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", FULL_DISK, str(store.url), str(model_dir)]
    made = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": root}, timeout=300)
    assert "Make room" in made.stdout, made.stderr[-2000:]
    (record,) = [record for record in load_runs(store) if record["kind"] == "eval"]
    kept = load_run(store, record["id"]).table("samples").to_pylist()
    assert [row["item_id"] for row in kept] == ["g0"]


def test_an_endpoint_that_fails_leaves_what_it_answered(store, gsm8k, monkeypatch):
    class Fails(Says):
        def sample(self, prompts, params, streams):
            yield next(super().sample(prompts, params, streams))
            raise UserError("the endpoint failed 7 times in a row: status 500")

    monkeypatch.setattr(scores, "open_sampler", lambda *_: Fails("The answer is 2."))
    recipe = EvalRecipe(template="few_shot", endpoint=EndpointRecipe(url="http://x/v1", model="m"))
    with pytest.raises(UserError, match="failed 7 times"):
        evaluate(store, None, [gsm8k], recipe, sampler="endpoint")
    monkeypatch.setattr(scores, "open_sampler", lambda *_: asked)
    asked = Says("The answer is 2.")
    run = evaluate(store, None, [gsm8k], recipe, sampler="endpoint")
    assert len(asked.prompts) == 1 and run.table("samples").num_rows == 2


def test_prompts_beyond_the_context_are_counted_before_anything_is_sampled(store, model_dir, gsm8k):
    with pytest.raises(UserError, match=r"gsm8k: 2 of 2 prompts cannot be continued: prompt 0 has \d+ tokens"):
        evaluate(store, model_dir, [gsm8k], EvalRecipe(template="few_shot"))
    with pytest.raises(UserError, match="no endpoint is named"):
        evaluate(store, None, [gsm8k], EvalRecipe(limit=1), sampler="endpoint")
    with pytest.raises(UserError, match=r"there is no sampler 'zen'\. Use one of transformers, vllm, endpoint"):
        evaluate(store, model_dir, [gsm8k], EvalRecipe(), sampler="zen")
    with pytest.raises(UserError, match="pass@8 needs as many samples"):
        evaluate(store, model_dir, [gsm8k], EvalRecipe(pass_at=(8,)))

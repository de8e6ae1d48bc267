"""Reinforcement of a model whose vocabulary holds whole boxed answers, so that chance alone earns some rewards."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM

from evaluation.benchmarks import freeze_benchmark
from evaluation.config import BenchmarkRecipe
from evaluation.grading.answers import Grader, Verdict
from evaluation.grading.extraction import continues
from evaluation.protocols.templates import render
from manifests import tables
from manifests.errors import UserError
from manifests.manifest import Draft, Manifest, resolve
from manifests.recipe import parse
from manifests.runs import RunDirectory, load_run, load_runs, open_run
from manifests.store import Store
from octo.report.write import report
from rl.config import RLRecipe
from rl.launch import plan, reinforce
from rl.rewards import repeats
from rl.torch_backend import _Policy
from training.checkpoints import write_checkpoint, write_tokenizer
from training.config import ModelRecipe, OptimizerRecipe
from training.launch import last_checkpoint
from training.torch_backend import adamw, new_model

HERE = Path(__file__).parent
BOXES = [rf"\boxed{{{answer}}}" for answer in range(4)]
ENDLESS = r"\boxed{\binom{10000000}{5000000}}"
"""An answer that the grader cannot rule on in time."""
CONTEXT = 48


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small matrices gain nothing from more, and bit-exactness is promised for one number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_letters(folder: Path, *whole: str) -> int:
    """A tokenizer folder of the letters that the prompts need, with each of `whole` as one token; how many tokens."""
    letters = sorted(set("Question:ĊAnswer:ĊpickĠ01234") | set("\\boxed{}"))
    bpe = Tokenizer(models.BPE({"<|endoftext|>": 0} | {letter: n for n, letter in enumerate(letters, 1)}, []))
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    bpe.add_special_tokens([AddedToken("<|endoftext|>", special=True)])
    bpe.add_tokens([AddedToken(text, normalized=False) for text in whole])
    folder.mkdir()
    bpe.save(str(folder / "bare.json"))
    write_tokenizer(folder, folder / "bare.json", 0)
    return bpe.get_vocab_size()


def base_run(store: Store, scratch: Path, *whole: str) -> RunDirectory:
    """A training run that is done: random weights, as the parent of the runs here."""
    size = write_letters(scratch / "tokenizer", *whole)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = new_model(ModelRecipe(**shape, max_position_embeddings=CONTEXT), size, 0)
    optimizer = adamw(model, OptimizerRecipe(lr=0.01))
    run = open_run(store, "train", [], {"tokens": whole}, "torch")
    run.start()
    run.save_checkpoint(1, lambda folder: write_checkpoint(folder, model, optimizer, scratch / "tokenizer"))
    run.finish({})
    return run


def commit_prompts(
    store: Store, answers: list[int | str], version: str = "1", questions: list[str] | None = None
) -> Manifest:
    """Prompts `pick 0`, `pick 1`, … (or others) from two sources with the given answers."""
    rows = [
        {
            "position": n,
            "prompt_id": f"p{n}",
            "doc_id": f"d{n}",
            "source": "odd" if n % 2 else "even",
            "corpus": "corpus-0",
            "question": questions[n] if questions else f"pick {n}",
            "answer": str(answer),
        }
        for n, answer in enumerate(answers)
    ]
    draft = Draft(store, "prompts", {"answers": answers} | ({"questions": questions} if questions else {}))
    draft.write("prompts", [pa.Table.from_pylist(rows, schema=tables.PROMPTS.schema)], tables.PROMPTS.schema)
    return draft.commit("prompts", version)


@pytest.fixture
def home(tmp_path: Path) -> tuple[Store, Manifest, RunDirectory]:
    """A store with five prompts and a run to start from."""
    store = Store(tmp_path / "store")
    return store, commit_prompts(store, [0, 1, 2, 3, 1]), base_run(store, tmp_path, *BOXES)


def rl_recipe(**values) -> RLRecipe:
    """Four steps of two prompts with six responses; `values` replace fields."""
    plain = {
        "steps": 4,
        "prompts_per_step": 2,
        "group_size": 6,
        "max_new_tokens": 4,
        "optimizer": {"lr": 0.01},
        "grading_workers": 1,
        "threads": 1,
    }
    return parse(plain | values, RLRecipe, "rl.yaml")


def weights(run: RunDirectory) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(last_checkpoint(run)).state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


# -- what is read and kept -----------------------------------------------------------------------------------------


def test_every_response_is_a_row_in_the_order_of_the_manifest(home):
    store, prompts, parent = home
    run = reinforce(store, prompts, rl_recipe(), parent)
    rows = run.table("rollouts").to_pylist()
    order = [f"p{n % 5}" for n in range(8) for _ in range(6)]  # from the start again after five
    assert [row["prompt_id"] for row in rows] == order
    assert [row["step"] for row in rows] == [step for step in (1, 2, 3, 4) for _ in range(12)]
    assert [row["sample"] for row in rows] == [*range(6)] * 8
    known = {row["prompt_id"]: row for row in prompts.read("prompts").to_pylist()}
    for row in rows:
        prompt = known[row["prompt_id"]]
        assert (row["doc_id"], row["source"]) == (prompt["doc_id"], prompt["source"])
        assert row["prompt"] == render("cpt_base", prompt["question"])
    assert run.record["parent"] == parent.id


def test_a_prompt_read_again_is_answered_anew(home):
    """By a policy that has hardly moved."""
    store, prompts, parent = home
    recipe = rl_recipe(steps=2, prompts_per_step=5, optimizer={"lr": 1e-12, "weight_decay": 0})
    responses = reinforce(store, prompts, recipe, parent).table("rollouts")["response"].to_pylist()
    assert len(set(responses[:6])) > 1 and responses[:6] != responses[30:36]


def test_verdict_reward_and_advantage_of_every_row_are_right(home):
    store, prompts, parent = home
    rows = reinforce(store, prompts, rl_recipe(reward="signed"), parent).table("rollouts").to_pylist()
    answers = dict(zip(*prompts.read("prompts", ["prompt_id", "answer"]).to_pydict().values(), strict=True))
    for row in rows:
        boxes = sorted((row["response"].rfind(box), box[-2]) for box in BOXES if box in row["response"])
        if not boxes and r"\boxed" in row["response"]:
            continue  # spelt letter by letter
        verdict = "UNPARSED" if not boxes else "CORRECT" if boxes[-1][1] == answers[row["prompt_id"]] else "INCORRECT"
        earns = verdict == "CORRECT" and not (row["truncated"] and continues(row["response"]))
        assert (row["verdict"], row["reward"]) == (verdict, 1.0 if earns else -1.0)
        assert (row["reason"] is None) == (verdict == "CORRECT")
    spreads = set()
    for start in range(0, len(rows), 6):
        group = rows[start : start + 6]
        rewards = np.array([row["reward"] for row in group])
        spread = np.std(rewards, ddof=1)
        expected = (rewards - rewards.mean()) / spread if spread else np.zeros(6)
        assert [row["advantage"] for row in group] == pytest.approx(expected.tolist(), rel=1e-4, abs=1e-6)
        spreads.add(spread > 0)
    assert spreads == {True, False}, "the sample should hold groups of both kinds"


def test_steps_and_consumption_sum_up_the_rollouts(home):
    store, prompts, parent = home
    run = reinforce(store, prompts, rl_recipe(), parent)
    rollouts, consumption = run.table("rollouts").to_pylist(), run.table("consumption").to_pylist()
    size = AutoModelForCausalLM.from_pretrained(last_checkpoint(run)).config.vocab_size
    for step in run.table("steps").to_pylist():
        rows = [row for row in rollouts if row["step"] == step["step"]]
        tokens, advantages = (np.array([row[name] for row in rows]) for name in ("tokens", "advantage"))
        assert step["reward"] == pytest.approx(np.mean([row["reward"] for row in rows]))
        assert step["accuracy"] == pytest.approx(np.mean([row["verdict"] == "CORRECT" for row in rows]))
        assert step["length_mean"] == pytest.approx(tokens.mean())
        assert step["length_p95"] == pytest.approx(np.quantile(tokens, 0.95))
        assert step["truncated_share"] == pytest.approx(np.mean([row["truncated"] for row in rows]))
        groups = np.abs(advantages.reshape(2, 6)).max(1) > 0
        assert step["zero_spread_share"] == pytest.approx(1 - groups.mean())
        # one update per step, so every ratio is 1 and the loss is the mean of the advantages over the tokens
        assert step["loss"] == pytest.approx(-(advantages * tokens).sum() / tokens.sum(), abs=1e-5)
        assert 0 < step["entropy"] <= math.log(size) + 1e-5
        read = [row for row in consumption if row["step"] == step["step"]]
        assert sum(row["tokens"] for row in read) == step["tokens"]
        for source in read:
            mine = [row for row in rows if row["source"] == source["source"]]
            prompt_tokens = sum(len(row["prompt"]) for row in mine)  # here a letter is a token
            assert source["sequences"] == len(mine)
            assert source["tokens"] == prompt_tokens + sum(row["tokens"] for row in mine)
    summary = run.record["summary"]
    assert summary["tokens"] == sum(run.table("steps")["tokens"].to_pylist())
    assert summary["steps"] == 4


def test_the_cap_on_the_length_is_that_of_the_step(home):
    store, prompts, parent = home
    run = reinforce(store, prompts, rl_recipe(max_new_tokens={1: 2, 3: 5}), parent)
    for row in run.table("rollouts").to_pylist():
        cap = 2 if row["step"] < 3 else 5
        assert row["tokens"] <= cap
        assert not row["truncated"] or row["tokens"] == cap
    longest = [max(r["tokens"] for r in run.table("rollouts").to_pylist() if r["step"] == step) for step in (2, 3)]
    assert longest == [2, 5]


def right_or_endless(tmp_path, **values):
    """A run whose responses are right, or an answer that nobody can rule on in time."""
    store = Store(tmp_path / "store")
    parent = base_run(store, tmp_path, *[box + " " * n for n in range(6) for box in (BOXES[0], ENDLESS)])
    recipe = rl_recipe(steps=1, group_size=12, max_new_tokens=16, grading_seconds=0.2, **values)
    return reinforce(store, commit_prompts(store, [0, 0]), recipe, parent)


def test_an_answer_that_is_too_hard_to_grade_is_pushed_down(tmp_path):
    rows = right_or_endless(tmp_path, reward="signed").table("rollouts").to_pylist()
    hard = [row for row in rows if row["reason"] == "too_hard"]
    earned = [row for row in rows if row["reward"] == 1.0]  # right, and not cut off behind the box
    groups = {row["prompt_id"] for row in earned}  # a group that earned nothing has no advantages
    assert {(row["verdict"], row["reward"]) for row in hard} == {("UNPARSED", -1.0)}
    assert earned and all(row["advantage"] > 0 for row in earned)
    assert all(row["advantage"] < 0 for row in hard if row["prompt_id"] in groups)


def test_a_failure_of_the_grader_is_no_reward(tmp_path, monkeypatch):
    """Its processes are ended from outside, each time that they have such an answer."""
    stock = Grader.grade_all

    def fails(self, *given):
        grades = stock(self, *given)
        return [replace(one, verdict=Verdict.ERROR) if one.reason == "too_hard" else one for one in grades]

    monkeypatch.setattr(Grader, "grade_all", fails)
    run = right_or_endless(tmp_path)
    rows = run.table("rollouts").to_pylist()
    failed = [row for row in rows if row["verdict"] == "ERROR"]
    assert failed and len(failed) < len(rows)
    assert {(row["reward"], row["advantage"]) for row in failed} == {(None, None)}
    ruled = [row for row in rows if row["verdict"] != "ERROR"]
    [step] = run.table("steps").to_pylist()
    assert step["reward"] == pytest.approx(np.mean([row["reward"] for row in ruled]))
    tokens, advantages = (np.array([row[name] for row in ruled]) for name in ("tokens", "advantage"))
    assert step["loss"] != 0 and step["loss"] == pytest.approx(-(advantages * tokens).sum() / tokens.sum(), abs=1e-5)


# -- what is learned -----------------------------------------------------------------------------------------------


def test_reward_rises(tmp_path):
    """Every answer is 1: a policy that moves towards what was rewarded soon says nothing else."""
    store = Store(tmp_path / "store")
    prompts, parent = commit_prompts(store, [1] * 4), base_run(store, tmp_path, *BOXES)
    recipe = rl_recipe(steps=40, prompts_per_step=4, optimizer={"lr": 0.02, "weight_decay": 0})
    rewards = reinforce(store, prompts, recipe, parent).table("steps")["reward"].to_numpy()
    assert rewards[:4].mean() < 0.3
    assert rewards[-4:].mean() > 0.9


def test_equal_rewards_teach_nothing(tmp_path):
    store = Store(tmp_path / "store")
    prompts, parent = commit_prompts(store, [7, 7]), base_run(store, tmp_path, *BOXES)
    run = reinforce(store, prompts, rl_recipe(optimizer={"lr": 0.02, "weight_decay": 0}), parent)
    assert {row["loss"] for row in run.table("steps").to_pylist()} == {0.0}
    assert same(weights(run), weights(parent))


@pytest.mark.parametrize("minibatch", [1, 2])
def test_the_cut_into_forward_passes_does_not_matter(home, minibatch):
    store, prompts, parent = home
    runs = [
        reinforce(store, prompts, rl_recipe(steps=1, minibatch_prompts=minibatch, micro_batch_responses=n), parent)
        for n in (64, 4)
    ]
    whole, cut = (run.table("steps").to_pylist()[0] for run in runs)
    assert runs[0].id != runs[1].id
    for name in ("loss", "grad_norm", "entropy"):
        assert cut[name] == pytest.approx(whole[name], rel=1e-4, abs=1e-6)
    one, other = map(weights, runs)
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=1e-4)


def test_minibatches_are_updates_of_their_own(home):
    """Two updates are not one; and a minibatch of all prompts is the whole."""
    store, prompts, parent = home
    whole, all_of_it, halves = (
        weights(reinforce(store, prompts, rl_recipe(steps=1, minibatch_prompts=size), parent)) for size in (None, 2, 1)
    )
    assert same(whole, all_of_it)
    assert not same(whole, halves)


# -- resume --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_a_run_that_stopped_goes_on_as_if_it_had_not(home, tmp_path, kept):
    """The ledgers reach step 4; of the checkpoints, as if the process had died then, only those up to `kept` do."""
    store, prompts, parent = home
    recipe = rl_recipe(checkpoint_every=1, keep=0)
    whole = reinforce(store, prompts, recipe, parent)
    shutil.copytree(tmp_path / "store", tmp_path / "broken")
    folder = tmp_path / "broken" / "runs" / whole.id
    for step in range(kept + 1, 5):
        (folder / "checkpoints" / str(step) / "complete.json").unlink()
    (folder / "run.json").write_text(json.dumps(whole.record | {"status": "running"}))
    other = Store(tmp_path / "broken")
    assert load_run(other, whole.id).checkpoints() == [*range(1, kept + 1)]
    resumed = reinforce(other, resolve(other, "prompts@1"), recipe, load_run(other, parent.id))
    assert resumed.id == whole.id
    for table in ("rollouts", "consumption"):
        assert resumed.table(table).equals(whole.table(table))
    ledgers = [run.table("steps").drop_columns("seconds") for run in (whole, resumed)]
    assert ledgers[0].equals(ledgers[1])
    assert same(weights(whole), weights(resumed))
    assert resumed.table("steps")["seconds"].to_pylist()[kept:] != whole.table("steps")["seconds"].to_pylist()[kept:]


def contents(store: Store) -> dict[str, float]:
    """Every file and when it was written."""
    return {path: store.modified(path) for path in store.list("")}


def test_a_run_that_is_done_is_returned(home):
    store, prompts, parent = home
    first = reinforce(store, prompts, rl_recipe(steps=1), parent)
    before = contents(store)
    again = reinforce(store, prompts, rl_recipe(steps=1, grading_workers=2, keep=1, checkpoint_every=3), parent)
    assert again.record == first.record
    assert contents(store) == before
    assert reinforce(store, prompts, rl_recipe(steps=1, seed=1), parent).id != first.id


# -- refusals ------------------------------------------------------------------------------------------------------


def flip_last_bit(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def unfinished(store: Store, status: str) -> RunDirectory:
    run = open_run(store, "train", [], {"status": status}, "torch")
    if status == "failed":
        run.fail("stopped")
    return run


def damaged(store: Store, prompts: Manifest) -> Manifest:
    flip_last_bit(Path(store.full(prompts.files("prompts")[0].path)))
    return prompts


def a_benchmark(store: Store, _: Manifest) -> Manifest:
    draft = Draft(store, "benchmark", {})
    draft.write("items", [], tables.ITEMS.schema)
    return draft.commit("bench", "1")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (a_benchmark, r"bench@1 is a benchmark, not prompts\. Make one with `octo mix` and kind: prompts"),
        (damaged, r"prompts@1 is not what prompts-\w+ names: objects/.*checksum differs"),
        (lambda store, _: commit_prompts(store, [], "empty"), "prompts@empty holds no prompt"),
    ],
)
def test_other_manifests_are_refused(home, change: Callable[[Store, Manifest], Manifest], says):
    store, prompts, parent = home
    changed = change(store, prompts)
    for launch in (reinforce, plan):
        with pytest.raises(UserError, match=says):
            launch(store, changed, rl_recipe(), parent)
    assert {path.split("/")[1] for path in store.list("runs")} == {parent.id}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            {"max_new_tokens": {1: 8, 3: 40}},
            "prompts@1 has a prompt of 25 tokens; with 40 .* context of 48.*23 or less",
        ),
    ],
)
def test_recipes_that_do_not_fit_are_refused(home, values, says):
    store, prompts, parent = home
    for launch in (reinforce, plan):
        with pytest.raises(UserError, match=says):
            launch(store, prompts, rl_recipe(**values), parent)


@pytest.mark.parametrize("status", ["created", "failed"])
def test_a_parent_that_is_not_done_is_refused(home, status):
    store, prompts, _ = home
    parent = unfinished(store, status)
    with pytest.raises(UserError, match=rf"{parent.id} is {status}, not done\. Launch it again"):
        reinforce(store, prompts, rl_recipe(), parent)


def test_a_parent_without_its_checkpoint_is_refused(home):
    store, prompts, parent = home
    shutil.rmtree(parent.path / "checkpoints")
    with pytest.raises(UserError, match=rf"{parent.id} has no checkpoint"):
        reinforce(store, prompts, rl_recipe(), parent)


def test_a_parent_whose_weights_have_changed_is_refused(home):
    store, prompts, parent = home
    flip_last_bit(last_checkpoint(parent) / "model.safetensors")
    with pytest.raises(UserError, match=rf"{parent.id}: model.safetensors of checkpoint 1 is damaged"):
        reinforce(store, prompts, rl_recipe(), parent)


def test_a_run_that_another_process_holds_is_left_to_it(home):
    store, prompts, parent = home
    held = open_run(store, "rl", [prompts], rl_recipe(), "torch", parent)
    held.start()
    with pytest.raises(UserError, match=f"{held.id} is held by another process"):
        reinforce(store, prompts, rl_recipe(), parent)
    assert load_run(store, held.id).status == "running"
    held.release()
    assert reinforce(store, prompts, rl_recipe(), parent).status == "done"


def test_a_loss_that_is_no_number_ends_the_run(home):
    store, prompts, parent = home
    with pytest.raises(UserError, match=r"the loss of step \d is nan\. Lower the learning rate") as refusal:
        reinforce(store, prompts, rl_recipe(optimizer={"lr": 1e30}), parent)
    failed = load_run(store, open_run(store, "rl", [prompts], rl_recipe(optimizer={"lr": 1e30}), "torch", parent).id)
    assert (failed.status, failed.record["reason"]) == ("failed", str(refusal.value))
    assert failed.checkpoints() == []


@pytest.mark.parametrize("moment", ["rollouts", "update", "checkpoint"])
def test_a_run_that_is_killed_goes_on_as_if_it_had_not_been(home, tmp_path, moment):
    """By SIGKILL, in its second step; see killed.py."""
    store, prompts, parent = home
    recipe = rl_recipe(checkpoint_every=1, keep=0, minibatch_prompts=1)
    shutil.copytree(tmp_path / "store", tmp_path / "killed")
    whole = reinforce(store, prompts, recipe, parent)
    (tmp_path / "rl.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude_none=True)))
    command = [sys.executable, str(HERE / "killed.py"), str(tmp_path / "killed"), "prompts@1"]
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"}
    died = subprocess.run([*command, str(tmp_path / "rl.yaml"), parent.id, moment], env=environment)
    assert died.returncode == -signal.SIGKILL
    other = Store(tmp_path / "killed")
    cut_short = load_run(other, whole.id)
    assert (cut_short.status, cut_short.checkpoints()) == ("running", [1])
    resumed = reinforce(other, resolve(other, "prompts@1"), recipe, load_run(other, parent.id))
    assert same_but_for_time(whole, resumed)


def same_but_for_time(one: RunDirectory, other: RunDirectory) -> bool:
    """Ledgers, and the weights of every checkpoint."""
    assert (one.id, one.checkpoints()) == (other.id, other.checkpoints())
    for table in ("rollouts", "consumption", "alarms", "scores", "steps"):
        ledgers = [run.table(table) for run in (one, other)]
        assert (ledgers[0] is None) == (ledgers[1] is None), table
        if ledgers[0] is not None:
            left, right = (ledger.drop_columns("seconds" if table == "steps" else []) for ledger in ledgers)
            assert left.equals(right), table
    return same(weights(one), weights(other))


def stopped_at(run: RunDirectory, store: Store, tmp_path: Path, kept: int) -> Store:
    """A copy of `store` in which `run` died just after checkpoint `kept`."""
    shutil.copytree(store.root, tmp_path / f"until-{kept}")
    folder = tmp_path / f"until-{kept}" / "runs" / run.id
    for step in run.checkpoints():
        if step > kept:
            (folder / "checkpoints" / str(step) / "complete.json").unlink()
    (folder / "run.json").write_text(json.dumps(run.record | {"status": "running"}))
    return Store(tmp_path / f"until-{kept}")


# -- length by trigger, variants of the objective ------------------------------------------------------------------


def test_a_cap_that_grows_by_trigger_grows_alike_after_a_resume(home, tmp_path):
    store, prompts, parent = home
    growth = {"caps": [5, 8], "truncated_below": 1.0, "steps": 2}
    recipe = rl_recipe(steps=6, max_new_tokens=3, growth=growth, checkpoint_every=1, keep=0)
    whole = reinforce(store, prompts, recipe, parent)
    steps = whole.table("steps").to_pylist()
    assert [step["cap"] for step in steps] == [3, 3, 5, 5, 8, 8]
    for row in whole.table("rollouts").to_pylist():
        assert row["tokens"] <= steps[row["step"] - 1]["cap"]
    for kept in (1, 3):
        other = stopped_at(whole, store, tmp_path, kept)
        again = reinforce(other, resolve(other, "prompts@1"), recipe, load_run(other, parent.id))
        assert same_but_for_time(whole, again)


def test_dynamic_sampling_reads_on_until_groups_differ(home, tmp_path):
    """Groups without spread are recorded and not used; a resumed run reads on where this one did."""
    store, prompts, parent = home
    recipe = rl_recipe(steps=4, dynamic_sampling=3, group_size=3, checkpoint_every=1, keep=0)
    whole = reinforce(store, prompts, recipe, parent)
    rows, steps = whole.table("rollouts").to_pylist(), whole.table("steps").to_pylist()
    read, more = 0, False
    for step in steps:
        groups = np.array([row["reward"] for row in rows if row["step"] == step["step"]]).reshape(-1, 3)
        used = np.array([row["used"] for row in rows if row["step"] == step["step"]]).reshape(-1, 3)
        spread = groups.max(1) > groups.min(1)
        rounds = len(groups) // 2
        assert rounds == 3 or spread.sum() >= 2
        assert rounds == 1 or spread[:-2].sum() < 2  # no round too many
        expected = spread & (np.cumsum(spread) <= 2)
        assert (used == expected[:, None]).all()
        read, more = read + len(groups), more or rounds > 1
        assert step["prompts_read"] == read
    asked = [rows[n]["prompt_id"] for n in range(0, len(rows), 3)]
    assert asked == [f"p{n % 5}" for n in range(read)]
    assert more, "the sample should hold a step of several rounds"
    other = stopped_at(whole, store, tmp_path, 2)
    assert same_but_for_time(whole, reinforce(other, resolve(other, "prompts@1"), recipe, load_run(other, parent.id)))


def test_dr_grpo_divides_by_a_constant(home):
    store, prompts, parent = home
    run = reinforce(store, prompts, rl_recipe(objective="dr_grpo", max_new_tokens={1: 3, 3: 4}), parent)
    for step in run.table("steps").to_pylist():
        rows = [row for row in run.table("rollouts").to_pylist() if row["step"] == step["step"]]
        tokens, earned, advantages = (np.array([row[k] for row in rows]) for k in ("tokens", "reward", "advantage"))
        groups = earned.reshape(2, 6)
        assert advantages == pytest.approx((groups - groups.mean(1, keepdims=True)).ravel(), abs=1e-6)
        assert step["loss"] == pytest.approx(-(advantages * tokens).sum() / (12 * 4), abs=1e-5)


def test_the_overlong_penalty_is_part_of_the_reward_and_not_of_the_accuracy(home):
    store, prompts, parent = home
    run = reinforce(store, prompts, rl_recipe(overlong_penalty=2), parent)
    rows = run.table("rollouts").to_pylist()
    for row in rows:
        assert row["reward"] == (row["verdict"] == "CORRECT") - max(0, row["tokens"] - 2) / 2
    assert any(row["verdict"] == "CORRECT" and row["reward"] <= 0 for row in rows)
    correct = [row["verdict"] == "CORRECT" for row in rows if row["step"] == 1]
    assert run.table("steps")["accuracy"][0].as_py() == pytest.approx(np.mean(correct))


# -- ledger --------------------------------------------------------------------------------------------------------


def test_every_share_of_a_step_can_be_counted_from_its_responses(home):
    store, prompts, parent = home
    recipe = rl_recipe(steps=3, max_new_tokens=9, minibatch_prompts=1, reward="format", optimizer={"lr": 0.1})
    run = reinforce(store, prompts, recipe, parent)
    for step in run.table("steps").to_pylist():
        rows = [row for row in run.table("rollouts").to_pylist() if row["step"] == step["step"]]
        by_source = {
            source: np.mean([row["verdict"] == "CORRECT" for row in rows if row["source"] == source])
            for source in {row["source"] for row in rows}
        }
        assert dict(step["accuracy_by_source"]) == pytest.approx(by_source)
        assert step["repetition_share"] == np.mean([repeats(row["response"]) for row in rows])
        assert step["repetition_share"] == np.mean([row["repetition"] for row in rows])
        assert step["boxed_share"] == np.mean([row["extracted"] is not None for row in rows])
        assert (step["cap"], step["prompts_read"]) == (9, 2 * step["step"])
        assert step["length_ratio"] == pytest.approx(step["length_mean"] / 9)
        assert 0 <= step["clip_share"] <= 1
        assert step["kl_to_start"] == pytest.approx(0, abs=1e-9) if step["step"] == 1 else step["kl_to_start"] > 0
    assert max(run.table("steps")["clip_share"].to_pylist()) > 0


def test_the_share_that_each_stop_string_ended_is_told(home):
    store, prompts, parent = home
    run = reinforce(store, prompts, rl_recipe(steps=2, max_new_tokens=9, stop=["0", "2\n", "3"]), parent)
    for step in run.table("steps").to_pylist():
        ended = [row["stopped_by"] for row in run.table("rollouts").to_pylist() if row["step"] == step["step"]]
        assert dict(step["stopped_share"]) == {one: ended.count(one) / len(ended) for one in set(ended) - {None}} != {}


def test_texts_may_be_left_out_of_the_ledger(home):
    store, prompts, parent = home
    run = reinforce(store, prompts, rl_recipe(steps=1, rollout_texts=False), parent)
    assert {(row["prompt"], row["response"]) for row in run.table("rollouts").to_pylist()} == {(None, None)}
    assert run.id == reinforce(store, prompts, rl_recipe(steps=1), parent).id
    assert report(store, [run.id]).is_file()


def test_what_was_sampled_before_a_loss_that_is_no_number_is_kept(home):
    store, prompts, parent = home
    recipe = rl_recipe(optimizer={"lr": 1e30})
    with pytest.raises(UserError, match="the loss of step"):
        reinforce(store, prompts, recipe, parent)
    failed = open_run(store, "rl", [prompts], recipe, "torch", parent)
    steps = failed.table("steps").to_pylist()
    assert math.isnan(steps[-1]["loss"]) and steps[0]["loss"] < 1
    assert {row["step"] for row in failed.table("rollouts").to_pylist()} == {row["step"] for row in steps}


# -- controls ------------------------------------------------------------------------------------------------------


def test_a_reference_that_cannot_be_graded_is_left_out_and_named(home, capsys):
    store, _, parent = home
    bad = commit_prompts(store, [0, ENDLESS[7:-1], 2, r"$x \oplus$"], "bad")  # no expression: all is unequal to it
    recipe = rl_recipe(grading_seconds=2)
    run = reinforce(store, bad, recipe, parent)
    assert {row["prompt_id"] for row in run.table("rollouts").to_pylist()} == {"p0", "p2"}
    controls = run.record["controls"]
    assert controls["references"] == 4
    assert [(one["prompt_id"], one["control"]) for one in controls["failed"]] == [
        ("p1", "off by one"),
        ("p3", "off by one"),
    ]
    assert run.record["summary"]["references_left_out"] == 2
    assert "2 of 4 references fail" in capsys.readouterr().err
    with pytest.raises(UserError, match="no reference of prompts@none passes"):
        reinforce(store, commit_prompts(store, [r"$x \oplus$"], "none"), recipe, parent)


def test_prompts_that_are_too_long_are_left_out_and_named(home, capsys, tmp_path):
    """Counted and recorded before the start; what is left must fit, what is left out need not."""
    store, prompts, parent = home
    wide = commit_prompts(store, [0, 1, 2], "wide", questions=["pick 0", "pick 11111 22222", "pick 2"])
    recipe = rl_recipe(max_prompt_tokens=25, max_new_tokens=20)
    assert plan(store, wide, recipe, parent)["left_out_for_length"] == 1
    run = reinforce(store, wide, recipe, parent)
    assert run.record["too_long"] == [{"position": 1, "prompt_id": "p1", "tokens": 35}]
    assert run.record["summary"]["prompts_too_long"] == 1 and run.record["controls"]["references"] == 2
    assert {row["prompt_id"] for row in run.table("rollouts").to_pylist()} == {"p0", "p2"}
    assert "1 of 3 prompts have more than 25 tokens and are left out" in capsys.readouterr().err
    assert "1 prompt of more than 25 tokens left out" in report(store, [run.id], tmp_path / "report.html").read_text()
    assert reinforce(store, prompts, rl_recipe(max_prompt_tokens=25), parent).record["too_long"] == []
    with pytest.raises(UserError, match=r"35 tokens; with 20 new ones"):
        reinforce(store, wide, rl_recipe(max_new_tokens=20), parent)
    with pytest.raises(UserError, match=r"every prompt of prompts@wide has more than 3 tokens\. Raise"):
        reinforce(store, wide, rl_recipe(max_prompt_tokens=3), parent)


# -- start, validation, precision ----------------------------------------------------------------------------------


def test_a_model_folder_is_a_start_like_a_run(home):
    store, prompts, parent = home
    folder = last_checkpoint(parent)
    one, other = (reinforce(store, prompts, rl_recipe(steps=2), start) for start in (parent, folder))
    assert one.id != other.id and same(weights(one), weights(other))
    assert other.record["parent"] is None and "model.safetensors" in other.record["inputs"]
    with pytest.raises(UserError, match=r"is no model folder: config.json is missing"):
        reinforce(store, prompts, rl_recipe(steps=2), folder.parent)


def test_validation_scores_the_start_every_so_many_steps_and_the_end(home, tmp_path):
    store, prompts, parent = home
    items = [{"question": f"pick {n}", "answer": str(n)} for n in range(4)]
    (tmp_path / "held_out.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    freeze_benchmark(store, BenchmarkRecipe(name="held-out", path=str(tmp_path / "held_out.jsonl")))
    evaluation = {"benchmarks": ["held-out@1"], "max_new_tokens": 4, "grading_workers": 1}
    recipe = rl_recipe(steps=5, validation={"every": 2, "evaluation": evaluation}, checkpoint_every=5, keep=0)
    whole = reinforce(store, prompts, recipe, parent)
    scores = whole.table("scores").to_pylist()
    assert sorted({row["step"] for row in scores}) == [0, 2, 4, 5]
    assert {row["benchmark"] for row in scores} == {"held-out"} and "accuracy" in {row["metric"] for row in scores}
    assert whole.checkpoints() == [2, 4, 5]
    of_it = [record for record in load_runs(store) if record["kind"] == "eval"]
    assert len(of_it) == 4 and {record["parent"] for record in of_it} == {whole.id}
    plain = reinforce(store, prompts, rl_recipe(steps=5), parent)
    assert plain.id == whole.id, "validation is no part of what is learned"
    other = stopped_at(whole, store, tmp_path, 2)
    for scored in Path(other.root).glob(f"runs/{whole.id}/scores.parquet/0*[245]-*"):
        scored.unlink()  # as if it had died between the checkpoint and its validation
    assert same_but_for_time(whole, reinforce(other, resolve(other, "prompts@1"), recipe, load_run(other, parent.id)))


@pytest.mark.parametrize("values", [{"precision": "bfloat16"}, {"micro_batch_tokens": 64}])
def test_other_arithmetic_learns_the_same_and_resumes_exactly(home, tmp_path, values):
    store, prompts, parent = home
    recipe = rl_recipe(steps=3, checkpoint_every=1, keep=0, max_new_tokens=6, **values)
    plain, whole = (reinforce(store, prompts, one, parent) for one in (rl_recipe(steps=3, max_new_tokens=6), recipe))
    first = [run.table("steps").to_pylist()[0] for run in (plain, whole)]
    assert first[1]["entropy"] == pytest.approx(first[0]["entropy"], rel=0.01)
    if "precision" in values:
        assert whole.id != plain.id
        assert {tensor.dtype for tensor in weights(whole).values()} == {torch.float32}
        other = stopped_at(whole, store, tmp_path, 1)
        again = reinforce(other, resolve(other, "prompts@1"), recipe, load_run(other, parent.id))
        assert same_but_for_time(whole, again)


def test_what_samples_in_bfloat16_turns_by_the_same_frequencies(home):
    """Rounded they differ by 1 in 500, which is two radians at place 1,000: the answers would be those of another
    model, and so would be the start that divergence is measured to."""
    folder = last_checkpoint(home[2])
    policy = _Policy(rl_recipe(precision="bfloat16"), folder, None)
    for model in (policy.sampler(), policy.reference):
        assert model.dtype == torch.bfloat16
        rotary, wanted = model.model.rotary_emb.inv_freq, policy.model.model.rotary_emb.inv_freq
        assert rotary.dtype == torch.float32 and torch.equal(rotary, wanted)


def test_bucketing_by_length_changes_nothing_but_rounding(home, tmp_path):
    """In stores of their own: how a minibatch is cut is no part of a run's identity."""
    store, prompts, parent = home
    shutil.copytree(store.root, tmp_path / "other")
    other = Store(tmp_path / "other")
    whole = reinforce(store, prompts, rl_recipe(steps=1), parent)
    cut = reinforce(
        other, resolve(other, "prompts@1"), rl_recipe(steps=1, micro_batch_tokens=60), load_run(other, parent.id)
    )
    assert cut.id == whole.id
    for name in ("loss", "grad_norm", "entropy"):
        one, two = (run.table("steps")[name][0].as_py() for run in (whole, cut))
        assert one == pytest.approx(two, rel=1e-4, abs=1e-6)
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(weights(cut)[name], tensor, rtol=1e-3, atol=1e-4)


# -- collapse ------------------------------------------------------------------------------------------------------

LOOPS = {"steps": 30, "prompts_per_step": 4, "max_new_tokens": 8, "optimizer": {"lr": 0.02, "weight_decay": 0}}
"""The first failure that OctoThinker saw, in Llama's base model: it answers first and then loops to the cap. Nothing
that is rewarded here ends a response, so the policy learns to say its box again and again."""
WATCH = {"signal": "repetition_share", "above": 0.5, "steps": 3}


@pytest.fixture
def all_ones(tmp_path) -> tuple[Store, Manifest, RunDirectory]:
    store = Store(tmp_path / "store")
    return store, commit_prompts(store, [1] * 4), base_run(store, tmp_path, *BOXES)


def test_a_policy_that_answers_first_and_then_loops_is_stopped(all_ones, tmp_path):
    store, prompts, parent = all_ones
    unwatched = reinforce(store, prompts, rl_recipe(**LOOPS), parent).table("steps").to_pylist()
    assert unwatched[-1]["repetition_share"] > 0.7 and unwatched[-1]["truncated_share"] > 0.7  # the paper's picture
    assert unwatched[-1]["reward"] > 0.7, "and the reward shows nothing of it"
    recipe = rl_recipe(**LOOPS, watch={"alarms": [WATCH | {"action": "stop"}, WATCH | {"above": 0.2, "steps": 1}]})
    run = reinforce(store, prompts, recipe, parent)
    steps, met = run.table("steps").to_pylist(), run.table("alarms").to_pylist()
    last = steps[-1]["step"]
    assert last < 30 and run.status == "done" and run.checkpoints()[-1] == last
    assert [row["repetition_share"] > 0.5 for row in steps[-4:]] == [False, True, True, True]
    assert (met[-1]["action"], met[-1]["step"], met[-1]["above"]) == ("stop", last, 0.5)
    assert "warn" in {row["action"] for row in met}
    assert run.record["summary"]["stopped_by"] == f"repetition_share {steps[-1]['repetition_share']:.4g} at step {last}"
    assert [row["loss"] for row in steps] == [row["loss"] for row in unwatched[:last]], "watching changes nothing"
    page = report(store, [run.id], tmp_path / "report.html").read_text()
    assert "Collapse watch" in page and "repetition_share" in page and "stop" in page


def test_a_run_that_falls_back_goes_on_from_the_last_good_checkpoint(all_ones, tmp_path):
    store, prompts, parent = all_ones
    watch = {"alarms": [WATCH | {"action": "fall_back"}], "good_every": 2, "fall_backs": 1}
    recipe = rl_recipe(**LOOPS, watch=watch, checkpoint_every=7, keep=1)
    whole = reinforce(store, prompts, recipe, parent)
    fell, stopped = whole.table("alarms").to_pylist()
    good, steps = fell["checkpoint"], whole.table("steps").to_pylist()
    assert (fell["action"], stopped["action"], stopped["checkpoint"]) == ("fall_back", "stop", None)
    assert good % 2 == 0 and 0 < good <= fell["step"] - 3
    assert [row["step"] for row in steps] == [*range(1, stopped["step"] + 1)], "what happened stays in the ledger"
    assert steps[fell["step"]]["kl_to_start"] < steps[fell["step"] - 1]["kl_to_start"]
    asked = [row["prompt_id"] for row in whole.table("rollouts").to_pylist() if row["step"] == fell["step"] + 1]
    assert asked[0] == f"p{fell['step'] * 4 % 4}"
    # checkpoint 0 is the start, so the first step after it samples what the policy of `good` does
    at_good = stopped_at(whole, store, tmp_path, fell["step"])
    again = reinforce(at_good, resolve(at_good, "prompts@1"), recipe, load_run(at_good, parent.id))
    assert same_but_for_time(whole, again)


def test_the_checkpoint_to_fall_back_to_is_spared(all_ones):
    """However few are kept, and however long the steps beyond the limit go on before they are enough."""
    store, prompts, parent = all_ones
    watch = {"alarms": [WATCH | {"steps": 6, "action": "fall_back"}], "good_every": 1, "fall_backs": 1}
    run = reinforce(store, prompts, rl_recipe(**LOOPS, watch=watch, keep=1), parent)
    fell = run.table("alarms").to_pylist()[0]
    assert fell["checkpoint"] == fell["step"] - 6

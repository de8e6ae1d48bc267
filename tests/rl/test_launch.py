"""RL runs: a row for every response, exact resume, learning, and refusals that say what to do."""

import json
import shutil

import pyarrow.compute as pc
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from evaluation.answers import Grade, Verdict
from evaluation.samplers import Completion
from manifests.errors import UserError
from manifests.manifest import Draft, resolve
from manifests.recipe import parse
from manifests.runs import load_run
from manifests.store import Store
from rl.config import RLRecipe
from rl.launch import plan, reinforce
from rl.torch_backend import Ledger, Rollouts, _group_advantages, _learn, _record
from training.launch import last_checkpoint
from training.torch_backend import adamw


def prompts(store):
    return resolve(store, "prompts@1")


def test_every_response_is_a_row(store, base, recipe):
    run = reinforce(store, prompts(store), recipe(steps=6), base)
    rollouts, steps = run.table("rollouts"), run.table("steps")
    assert rollouts.num_rows == 6 * 2 * 4 and steps["step"].to_pylist() == list(range(1, 7))
    asked = rollouts["prompt_id"].to_pylist()[::4]
    order = prompts(store).read("prompts")["prompt_id"].to_pylist()
    assert asked == [order[i % 10] for i in range(12)]
    consumed = run.table("consumption").group_by("step").aggregate([("tokens", "sum")]).sort_by("step")
    assert consumed["tokens_sum"].to_pylist() == steps["tokens"].to_pylist()
    means = rollouts.group_by("step").aggregate([("reward", "mean"), ("tokens", "mean")]).sort_by("step")
    assert means["reward_mean"].to_pylist() == pytest.approx(steps["reward"].to_pylist())
    assert means["tokens_mean"].to_pylist() == pytest.approx(steps["length_mean"].to_pylist())
    assert rollouts["prompt"][0].as_py().startswith("Question:\n")


def test_a_prompt_read_again_is_answered_anew(store, base, recipe):
    run = reinforce(store, prompts(store), recipe(steps=6, optimizer={"lr": 1e-12}), base)
    responses = run.table("rollouts")["response"].to_pylist()
    assert responses[: 2 * 4] != responses[5 * 2 * 4 :]


def test_four_steps_are_two_and_two(store, base, recipe, tmp_path):
    """What a process leaves that dies before the checkpoint of step 4 is gone on with, response for response."""
    whole = reinforce(store, prompts(store), recipe(keep=0, reward="signed"), base)
    shutil.copytree(tmp_path / "store", tmp_path / "broken")
    folder = tmp_path / "broken" / "runs" / whole.id
    (folder / "checkpoints" / "4" / "complete.json").unlink()
    (folder / "run.json").write_text(json.dumps(whole.record | {"status": "running"}))
    other = Store(tmp_path / "broken")
    resumed = reinforce(other, resolve(other, "prompts@1"), recipe(keep=0, reward="signed"), load_run(other, base.id))
    assert any(whole.table("rollouts")["advantage"].to_pylist())
    for table in ("rollouts", "consumption"):
        assert resumed.table(table).equals(whole.table(table))
    assert resumed.table("steps").drop(["seconds"]).equals(whole.table("steps").drop(["seconds"]))
    weights = [AutoModelForCausalLM.from_pretrained(last_checkpoint(run)).state_dict() for run in (whole, resumed)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_run_that_is_done_is_returned(store, base, recipe):
    first = reinforce(store, prompts(store), recipe(), base)
    assert reinforce(store, prompts(store), recipe(keep=1), base).record["finished"] == first.record["finished"]
    assert reinforce(store, prompts(store), recipe(seed=1), base).id != first.id


# -- learning ------------------------------------------------------------------------------------------------------


def rollouts_of(tokenizer, responses: list[str], rewards: list[float | None], group_size: int = 0) -> Rollouts:
    """`responses` to one prompt, as one group or cut into several."""
    group_size = group_size or len(responses)
    ids = [tokenizer(response)["input_ids"] for response in responses]
    return Rollouts(
        group_size=group_size,
        prompts=[{"prompt_id": "p", "doc_id": "d", "source": "s"}] * len(responses),
        texts=["Question:\n"] * len(responses),
        prompt_ids=[tokenizer("Question:\n")["input_ids"]] * len(responses),
        completions=[
            Completion(text, len(found), False, found, [0.0] * len(found))
            for text, found in zip(responses, ids, strict=True)
        ],
        grades=[Grade(Verdict.ERROR if earned is None else Verdict.CORRECT, None, "no ruling") for earned in rewards],
        rewards=rewards,
        advantages_N=_group_advantages(rewards, group_size),
    )


def loaded(base, recipe):
    folder = last_checkpoint(base)
    model = AutoModelForCausalLM.from_pretrained(folder)
    return model, AutoTokenizer.from_pretrained(folder), adamw(model, recipe.optimizer)


def logprob(model, tokenizer, response: str) -> float:
    head, tail = tokenizer("Question:\n")["input_ids"], tokenizer(response)["input_ids"]
    found = torch.log_softmax(model(torch.tensor([head + tail])).logits[0], -1)
    return sum(found[len(head) + i - 1, token].item() for i, token in enumerate(tail))


def test_what_is_rewarded_becomes_likelier(base, recipe):
    alone = recipe(prompts_per_step=1)
    model, tokenizer, optimizer = loaded(base, alone)
    rollouts = rollouts_of(tokenizer, ["1+2=3", "keys", "coins and eggs", "The"], [1.0, 0.0, 0.0, None])
    before = [logprob(model, tokenizer, completion.text) for completion in rollouts.completions]
    for _ in range(3):
        _learn(model, optimizer, rollouts, alone)
    after = [logprob(model, tokenizer, completion.text) for completion in rollouts.completions]
    assert after[0] > before[0] and after[1] < before[1] and after[2] < before[2]


def test_rewards_rise(store, base, recipe):
    """The questions answered by 1 alone: the model learns to say so."""
    rows = prompts(store).read("prompts").filter(pc.field("answer") == "1")
    draft = Draft(store, "prompts", {})
    draft.write("prompts", [rows], rows.schema)
    run = reinforce(store, draft.commit("ones", "1"), recipe(steps=15, group_size=8), base)
    rewards = run.table("steps")["reward"].to_numpy()
    assert 0.2 < rewards[:3].mean() < 0.8 and rewards[-3:].mean() > 0.9
    assert run.record["summary"]["reward_last"] > run.record["summary"]["reward_first"]


def test_micro_batches_do_not_change_the_update(base, recipe):
    weights, learned = [], []
    for size in (1, 3, 64):
        alone = recipe(prompts_per_step=1, micro_batch_responses=size)
        model, tokenizer, optimizer = loaded(base, alone)
        rollouts = rollouts_of(tokenizer, ["1+2=3", "keys", "coins and eggs", "The"], [1.0, 0.0, 1.0, 0.0])
        learned.append(_learn(model, optimizer, rollouts, alone))
        weights.append(torch.cat([weight.flatten() for weight in model.parameters()]))
    for other, found in zip(weights[1:], learned[1:], strict=True):
        assert found == pytest.approx(learned[0], rel=1e-4, abs=1e-6)
        assert (weights[0] - other).abs().mean() < 1e-5


def test_minibatches_are_updates_of_their_own(base, recipe):
    """The second update sees a policy that has moved, so two are not one."""
    weights = []
    for size in (None, 2, 1):
        model, tokenizer, optimizer = loaded(base, recipe())
        rollouts = rollouts_of(tokenizer, ["1+2=3", "keys", "coins and eggs", "The"], [1.0, 0.0, 1.0, 0.0], 2)
        _learn(model, optimizer, rollouts, recipe(group_size=2, minibatch_prompts=size))
        weights.append(torch.cat([weight.flatten() for weight in model.parameters()]))
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_a_failed_grading_is_no_reward(base, recipe, store):
    run = reinforce(store, prompts(store), recipe(steps=1), base)
    alone = recipe(prompts_per_step=1, group_size=3)
    model, tokenizer, optimizer = loaded(base, alone)
    rollouts, ledger = rollouts_of(tokenizer, ["1+2=3", "keys", "coins"], [1.0, 0.0, None]), Ledger(run)
    _record(ledger, rollouts, _learn(model, optimizer, rollouts, alone) | {"seconds": 0.0}, alone, 2)
    ledger.flush()
    failed = run.table("rollouts").to_pylist()[-1]
    assert (failed["verdict"], failed["reward"], failed["advantage"]) == ("ERROR", None, None)
    assert run.table("steps").to_pylist()[-1]["reward"] == 0.5


# -- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"template": "none"}, "no prompt template 'none'"),
        ({"max_new_tokens": {1: 8, 3: 60}}, r"exceeds the context of 64\. Set max_new_tokens to \d+ or less"),
    ],
)
def test_what_does_not_fit_is_refused(store, base, recipe, changes, says):
    for launch in (reinforce, plan):
        with pytest.raises(UserError, match=says):
            launch(store, prompts(store), recipe(**changes), base)


def test_other_manifests_are_refused(store, base, recipe):
    with pytest.raises(UserError, match="mixture@1 is a mixture, not prompts"):
        reinforce(store, resolve(store, "mixture@1"), recipe(), base)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"max_new_tokens": {2: 8}}, "needs a cap for step 1"),
        ({"minibatch_prompts": 3}, "no multiple of `minibatch_prompts`"),
        ({"group_size": 1}, "group_size"),
        ({"temperature": 0}, "temperature"),
    ],
)
def test_recipes_that_cannot_be(recipe, changes, says):
    with pytest.raises(UserError, match=says):
        recipe(**changes)


def test_caps_hold_from_their_step_on(recipe):
    staged = recipe(max_new_tokens={1: 2048, 101: 4096, 161: 8192})
    assert [staged.cap(step) for step in (1, 100, 101, 160, 161, 400)] == [2048, 2048, 4096, 4096, 8192, 8192]
    plain = {"steps": 1, "prompts_per_step": 1, "group_size": 2, "optimizer": {"lr": 1.0}}
    assert parse(plain | {"max_new_tokens": 9}, RLRecipe, "recipe").cap(5) == 9

"""Plain torch GRPO: sample, grade, compare within the group, update. The reference for every other backend.

One process, one device, float32 weights. Each step takes the next prompts of the manifest, samples a group of responses
to each from the current policy, grades them in killable child processes, and takes one update per minibatch on the
clipped surrogate (`rl.objective`), averaged over the sampled tokens.

Promises. What a step reads and samples depends on its number, the seed and the weights: `run(10)` equals `run(5)` and
`resume(5)`, response for response, on a CPU with the same number of threads. Every response is a row of `rollouts`,
with the prompt as the model saw it. A failure of the grader is no reward. Leaves out critics, KL terms, asynchrony.

Shapes: P prompts, G responses of a group, N = P·G responses, L tokens of the longest prompt with its response.
"""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from evaluation.answers import Grade, Grader
from evaluation.samplers import Completion, SamplingParams, encode, sample
from evaluation.templates import render
from manifests.errors import UserError
from manifests.manifest import Manifest
from manifests.progress import progress
from manifests.runs import Ledger, RunDirectory
from manifests.tables import CONSUMPTION, ROLLOUTS, STEPS
from rl.config import RLRecipe
from rl.objective import advantages, policy_loss, token_logprobs
from rl.rewards import RULE, reward
from training.checkpoints import load_optimizer, load_weights, write_checkpoint
from training.torch_backend import adamw, update

METRICS = ("reward", "accuracy", "length_mean", "length_p95", "truncated_share", "entropy", "zero_spread_share")
"""Columns of `steps` beyond those of training."""
STEPS_SCHEMA = pa.schema([*STEPS.schema, *(pa.field(name, pa.float64()) for name in METRICS)])
SCHEMAS = {"rollouts": ROLLOUTS.schema, "consumption": CONSUMPTION.schema, "steps": STEPS_SCHEMA}
"""The ledgers of a run, in the order in which they are stored."""
COMPONENT = "prompts"
"""What the one component of a prompts manifest is called in `consumption`."""


@dataclass(frozen=True)
class Rollouts:
    """The responses of one step, in the order of prompts and then of samples: N of each."""

    step: int
    group_size: int
    prompts: list[dict[str, Any]]
    texts: list[str]
    prompt_ids: list[list[int]]
    completions: list[Completion]
    grades: list[Grade]
    rewards: list[float | None]
    advantages_N: Tensor


def run_reinforcement(run: RunDirectory, prompts: Manifest, recipe: RLRecipe, start: Path, tokenizer: Any) -> None:
    """Reinforce up to `recipe.steps`, from the run's own last checkpoint if it has one, else from folder `start`."""
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    done = max(run.checkpoints(), default=0)
    folder = run.checkpoint(done) if done else start
    model = load_weights(folder).to("cuda" if torch.cuda.is_available() else "cpu").eval()
    optimizer = adamw(model, recipe.optimizer)
    if done:
        load_optimizer(folder, optimizer)
    rows, ledger = prompts.read("prompts").to_pylist(), Ledger(run, SCHEMAS)
    run.truncate(done)
    grader = Grader(recipe.grading_workers, recipe.grading_seconds)
    with grader, progress(f"rl: {recipe.stage}", recipe.steps) as advance:
        advance(done)
        for step in range(done + 1, recipe.steps + 1):
            began = time.perf_counter()
            rollouts = _rollouts(model, tokenizer, grader, rows, recipe, step)
            learned = _learn(model, optimizer, rollouts, recipe)
            record(ledger, rollouts, learned | {"seconds": time.perf_counter() - began}, recipe)
            if step % recipe.checkpoint_every == 0 or step == recipe.steps:
                ledger.flush()
                run.save_checkpoint(
                    step, lambda to: write_checkpoint(to, model, optimizer.state_dict(), start), recipe.keep
                )
            advance(1, note=f"reward {metrics_of(rollouts)['reward']:.2f}")


# -- rollouts ------------------------------------------------------------------------------------------------------


def _rollouts(
    model: Any, tokenizer: Any, grader: Grader, rows: list[dict[str, Any]], recipe: RLRecipe, step: int
) -> Rollouts:
    """Sample and grade the responses of one step."""
    places = range((step - 1) * recipe.prompts_per_step, step * recipe.prompts_per_step)
    prompts = [rows[place % len(rows)] for place in places]
    texts = [render(recipe.template, prompt["question"]) for prompt in prompts]
    params = SamplingParams(recipe.cap(step), recipe.temperature, recipe.group_size, recipe.stop, recipe.seed)
    groups = sample(model, tokenizer, texts, params, streams=places)  # a prompt read again draws from another stream
    completions = [completion for group in groups for completion in group]
    each = [prompt for prompt in prompts for _ in range(recipe.group_size)]
    grades = grader.grade_all([c.text for c in completions], [prompt["answer"] for prompt in each], RULE)
    rewards = [reward(grade.verdict, recipe.reward) for grade in grades]
    return Rollouts(
        step=step,
        group_size=recipe.group_size,
        prompts=each,
        texts=[text for text in texts for _ in range(recipe.group_size)],
        prompt_ids=[ids for ids in encode(tokenizer, texts) for _ in range(recipe.group_size)],
        completions=completions,
        grades=grades,
        rewards=rewards,
        advantages_N=group_advantages(rewards, recipe.group_size),
    )


def group_advantages(rewards: list[float | None], group_size: int) -> Tensor:
    rewards_PG = torch.tensor([earned or 0.0 for earned in rewards]).view(-1, group_size)
    ruled_PG = torch.tensor([earned is not None for earned in rewards]).view(-1, group_size)
    return advantages(rewards_PG, ruled_PG).flatten()


# -- update --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Padded:
    """Responses of one forward pass as rectangles: inputs and targets [n, L-1], mask 1 where the target was sampled
    and its response ruled on, advantages [n]."""

    inputs: Tensor
    targets: Tensor
    mask: Tensor
    advantages_n: Tensor


def _learn(model: Any, optimizer: torch.optim.Optimizer, rollouts: Rollouts, recipe: RLRecipe) -> dict[str, float]:
    """The updates of one step; loss and gradient norm averaged over them, entropy of the policy that was sampled.

    Log-probabilities before the updates are computed again and not taken from the sampler: with a cache the same sums
    are rounded differently, and the ratio of the first update should be exactly 1.
    """
    minibatches = _minibatches(rollouts, recipe, model.device)
    with torch.no_grad():
        before = [[_logprobs(model, part, recipe.temperature) for part in parts] for parts in minibatches]
    losses, norms = [], []
    for parts, old in zip(minibatches, before, strict=True):
        tokens = sum(float(part.mask.sum()) for part in parts)
        if not tokens:
            continue  # the grader failed on every response
        losses.append(_backward(model, parts, [logprobs for logprobs, _ in old], tokens, recipe))
        if not math.isfinite(losses[-1]):
            raise UserError(f"the loss of step {rollouts.step} is {losses[-1]}", "Lower the learning rate")
        norms.append(update(model, optimizer, recipe.optimizer.lr, recipe.optimizer.clip))
    entropy = _masked_mean(
        [(entropy, part.mask) for parts, old in zip(minibatches, before, strict=True)
         for part, (_, entropy) in zip(parts, old, strict=True)]
    )  # fmt: skip
    return {"loss": _mean(losses), "grad_norm": _mean(norms), "entropy": entropy}


def _backward(model: Any, parts: list[_Padded], old: list[Tensor], tokens: float, recipe: RLRecipe) -> float:
    """Gradients of the mean loss per token of a minibatch, whatever its parts; the loss."""
    total = 0.0
    for part, old_logprobs in zip(parts, old, strict=True):
        logprobs, _ = _logprobs(model, part, recipe.temperature)
        loss = policy_loss(logprobs, old_logprobs, part.advantages_n, part.mask, recipe.ratio_clip) / tokens
        loss.backward()
        total += loss.item()
    return total


def _masked_mean(pairs: list[tuple[Tensor, Tensor]]) -> float:
    total = sum(float((values * mask).sum()) for values, mask in pairs)
    return total / max(sum(float(mask.sum()) for _, mask in pairs), 1.0)


def _logprobs(model: Any, part: _Padded, temperature: float) -> tuple[Tensor, Tensor]:
    """Right padding needs no mask: no token looks at one after it."""
    return token_logprobs(model(input_ids=part.inputs, use_cache=False).logits, part.targets, temperature)


def _minibatches(rollouts: Rollouts, recipe: RLRecipe, device: Any) -> list[list[_Padded]]:
    """The responses of each update, cut into forward passes."""
    n, micro = len(rollouts.completions), recipe.micro_batch_responses
    size = (recipe.minibatch_prompts or recipe.prompts_per_step) * recipe.group_size
    return [
        [_padded(rollouts, range(i, min(i + micro, first + size)), device) for i in range(first, first + size, micro)]
        for first in range(0, n, size)
    ]


def _padded(rollouts: Rollouts, rows: range, device: Any) -> _Padded:
    sequences = [rollouts.prompt_ids[i] + rollouts.completions[i].token_ids for i in rows]
    tokens_nL = torch.zeros(len(rows), max(map(len, sequences)), dtype=torch.long)
    mask_nL = torch.zeros(tokens_nL.shape)
    for line, (i, sequence) in enumerate(zip(rows, sequences, strict=True)):
        tokens_nL[line, : len(sequence)] = torch.tensor(sequence)
        if rollouts.rewards[i] is not None:
            mask_nL[line, len(rollouts.prompt_ids[i]) : len(sequence)] = 1
    tokens_nL, mask_nL = tokens_nL.to(device), mask_nL.to(device)
    advantages_n = rollouts.advantages_N[rows.start : rows.stop].to(device)
    return _Padded(tokens_nL[:, :-1], tokens_nL[:, 1:], mask_nL[:, 1:], advantages_n)


# -- ledger --------------------------------------------------------------------------------------------------------


def record(ledger: Ledger, rollouts: Rollouts, learned: dict[str, float], recipe: RLRecipe) -> None:
    """Rows of all three ledgers."""
    used = [len(i) + c.tokens for i, c in zip(rollouts.prompt_ids, rollouts.completions, strict=True)]
    fixed = {"step": rollouts.step, "stage": recipe.stage, "lr": recipe.optimizer.lr, "tokens": sum(used)}
    ledger.add("steps", [fixed | learned | metrics_of(rollouts)])
    sources = np.array([prompt["source"] for prompt in rollouts.prompts])
    for source in sorted(set(sources.tolist())):
        counts = {"sequences": int((sources == source).sum()), "tokens": int(np.array(used)[sources == source].sum())}
        ledger.add("consumption", [{"step": rollouts.step, "component": COMPONENT, "source": source} | counts])
    ledger.add("rollouts", [_rollout_row(rollouts, i) for i in range(len(used))])


def _rollout_row(rollouts: Rollouts, i: int) -> dict[str, Any]:
    prompt, completion, grade = rollouts.prompts[i], rollouts.completions[i], rollouts.grades[i]
    earned = rollouts.rewards[i]
    return {
        "step": rollouts.step,
        "prompt_id": prompt["prompt_id"],
        "doc_id": prompt["doc_id"],
        "source": prompt["source"],
        "sample": i % rollouts.group_size,
        "prompt": rollouts.texts[i],
        "response": completion.text,
        "tokens": completion.tokens,
        "truncated": completion.truncated,
        "verdict": grade.verdict.value,
        "extracted": grade.extracted,
        "reason": None if earned and earned > 0 else grade.reason,
        "reward": earned,
        "advantage": None if earned is None else rollouts.advantages_N[i].item(),
    }


def metrics_of(rollouts: Rollouts) -> dict[str, float]:
    """Means over the responses that got a ruling (reward, accuracy) or over all. NaN where there is none."""
    earned = np.array([value for value in rollouts.rewards if value is not None])
    lengths = np.array([completion.tokens for completion in rollouts.completions])
    spread_P = rollouts.advantages_N.view(-1, rollouts.group_size).abs().amax(1) > 0
    return {
        "reward": _mean(earned),
        "accuracy": _mean(earned > 0),
        "length_mean": _mean(lengths),
        "length_p95": float(np.quantile(lengths, 0.95)),
        "truncated_share": _mean([completion.truncated for completion in rollouts.completions]),
        "zero_spread_share": 1.0 - float(spread_P.float().mean()),
    }


def _mean(values: Any) -> float:
    return float(np.mean(values)) if len(values) else float("nan")

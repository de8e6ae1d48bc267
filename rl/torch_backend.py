"""Plain torch GRPO: sample, grade, compare within the group, update. The reference for every other backend.

One process, one device, float32 weights; with `precision: bfloat16` forward passes in it, and sampling from a copy of
the weights in it. Each step takes the next prompts of the manifest, samples a group of responses to each from the
current policy, grades them in killable child processes, and takes one update per minibatch on the clipped surrogate
(`rl.objective`), averaged over the sampled tokens.

Promises. What a step reads and samples depends on its number, the seed, the weights and, under a trigger or dynamic
sampling, on the steps before it as the ledger has them: `run(10)` equals `run(5)` and `resume(5)`, response for
response, on a CPU with the same number of threads. A failure of the grader is no reward. What a run has done is in its
ledgers however it ends, and so is the step whose loss is no number. After a fall back (`rl.watch`) steps count on from
where they are, with the weights of an earlier one: nothing that happened is taken out of a ledger. Leaves out critics,
a KL term in the loss, asynchrony.

Shapes: P prompts, G responses of a group, N = P·G responses, L tokens of the longest prompt with its response.
"""

import copy
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, assert_never

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from evaluation.grading.answers import Grader
from evaluation.protocols.templates import render, with_thought
from evaluation.samplers.sampling import SamplingParams
from evaluation.samplers.transformers_sampler import encode, sample
from manifests.errors import UserError
from manifests.progress import progress
from manifests.runs import Ledger, RunDirectory
from rl.config import RLRecipe
from rl.objective import advantages, divergence, policy_loss, token_logprobs
from rl.rewards import RULE
from rl.rollouts import SCHEMAS, Learned, Rollouts, alarm_row, earned, ledger_rows, mean
from rl.variants import objective_of
from rl.watch import alarms, cap_of, last_good
from training.checkpoints import load_optimizer, load_weights, write_checkpoint
from training.torch_backend import adamw, update
from training.trackers import tracking

Validate = Callable[[int, Path], None]
"""Evaluates the model folder of a step, if that step is to be validated and has not been."""


class _Policy:
    """The model that learns, its optimizer, what it samples with, and the model it started from."""

    def __init__(self, recipe: RLRecipe, start: Path, tokenizer: Any):
        self.recipe, self.start, self.tokenizer = recipe, start, tokenizer
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.low = getattr(torch, recipe.precision) if recipe.precision else None
        self.model: Any = load_weights(start).to(self.device).eval()
        self.optimizer = self._optimizer()
        frozen = load_weights(start, self.low or torch.float32).requires_grad_(False)
        self.reference: Any = frozen.to(self.device).eval()
        self._sampler: Any = copy.deepcopy(self.reference) if self.low else self.model

    def load(self, folder: Path) -> None:
        """Weights and optimizer of a checkpoint; of the start, its weights and a fresh optimizer."""
        self.model.load_state_dict(load_weights(folder).state_dict())
        self.optimizer = self._optimizer()
        if folder != self.start:
            load_optimizer(folder, self.optimizer)

    def _optimizer(self) -> torch.optim.AdamW:
        """On a CPU the plain kernel, as verl: the fused one rounds differently, and both are to draw alike."""
        return adamw(self.model, self.recipe.optimizer, is_fused=self.device == "cuda")

    def sampler(self) -> Any:
        """The model to sample from: itself, or its copy in bfloat16 brought up to date."""
        if self.low:
            self._sampler.load_state_dict(self.model.state_dict())
        return self._sampler

    def logprobs(self, part: "_Padded", model: Any = None) -> tuple[Tensor, Tensor]:
        """Log-probability and entropy at each target [n, L-1]. Right padding needs no mask: no token looks at one after
        it."""
        with torch.autocast(self.device, self.low or torch.bfloat16, enabled=bool(self.low)):
            logits = (model or self.model)(input_ids=part.inputs, use_cache=False).logits
        return token_logprobs(logits, part.targets, self.recipe.temperature)

    @contextmanager
    def thrifty(self) -> Iterator[None]:
        """Within, on a GPU, the backward pass computes each layer again in place of keeping what is in it, which would
        be 80 GiB of 16,384 tokens of Llama-3.2-3B. The layers alone are told that they train: dropout stays off."""
        modules = self.model.modules() if self.device == "cuda" else ()
        layers: list[Any] = [one for one in modules if isinstance(one, GradientCheckpointingLayer)]
        for layer in layers:
            layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
            layer.gradient_checkpointing = layer.training = True
        yield
        for layer in layers:
            layer.gradient_checkpointing = layer.training = False

    def write(self, folder: Path) -> None:
        write_checkpoint(folder, self.model, self.optimizer.state_dict(), self.start)


@dataclass
class Past:
    """The steps so far as the ledgers have them; `fallen` are those after which the run fell back."""

    history: list[dict[str, Any]]
    fallen: list[int]
    stopped: bool

    @classmethod
    def of(cls, run: RunDirectory) -> "Past":
        steps, met = run.table("steps"), run.table("alarms")
        acted = list(zip(met["step"].to_pylist(), met["action"].to_pylist(), strict=True)) if met else []
        fallen = sorted({step for step, action in acted if action == "fall_back"})
        return cls(steps.to_pylist() if steps else [], fallen, any(action == "stop" for _, action in acted))


def run_reinforcement(
    run: RunDirectory,
    prompts: list[dict[str, Any]],
    recipe: RLRecipe,
    start: Path,
    tokenizer: Any,
    validate: Validate | None = None,
) -> None:
    """Reinforce on `prompts` (rows of the family, in order) up to `recipe.steps` or until the watch stops the run, from
    its own last checkpoint if it has one, else from folder `start`."""
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    done = run.last_step
    policy = _Policy(recipe, start, tokenizer)
    if done:
        policy.load(run.checkpoint(done))
    run.truncate(done)
    if validate:
        validate(done, run.checkpoint(done) if done else start)
    past, grader = Past.of(run), Grader(recipe.grading_workers, recipe.grading_seconds)
    with (
        tracking(run, recipe, recipe.track, done) as show,
        grader,
        Ledger(run, SCHEMAS) as ledger,
        progress(f"rl: {recipe.stage}", recipe.steps) as advance,
    ):
        advance(done)
        for step in range(done + 1, recipe.steps + 1):
            if past.stopped:
                break
            row = _step(policy, grader, ledger, prompts, step, past.history)
            past.history.append(row)
            show(step, row)
            good = _good_checkpoint(run, recipe, past)
            acted = _watch(run, policy, ledger, past, good)
            if acted or _has_checkpoint(recipe, step):
                ledger.flush()
                run.save_checkpoint(step, policy.write, recipe.keep, spare=(good,))
                if validate:
                    validate(step, run.checkpoint(step))
            advance(1, note=f"reward {row['reward']:.2f}")


def _has_checkpoint(recipe: RLRecipe, step: int) -> bool:
    """Every so many steps, at the end, where a run may fall back to, and where a step is validated."""
    every = [recipe.checkpoint_every]
    every += [recipe.watch.good_every] if recipe.watch else []
    every += [recipe.validation.every] if recipe.validation else []
    return step == recipe.steps or any(step % n == 0 for n in every)


def _good_checkpoint(run: RunDirectory, recipe: RLRecipe, past: Past) -> int:
    """The checkpoint that a fall back would return to; 0 is the start. Of those that the watch asks for, so that how
    often others are written decides nothing."""
    if not recipe.watch:
        return 0
    last, every = last_good(recipe.watch, past.history, past.fallen), recipe.watch.good_every
    return max((n for n in run.checkpoints() if n <= last and (n % every == 0 or n in past.fallen)), default=0)


def _watch(run: RunDirectory, policy: _Policy, ledger: Ledger, past: Past, good: int) -> bool:
    """Say and record every alarm that the last step set off, and do what the gravest asks for; whether the run stops or
    has fallen back to checkpoint `good`."""
    met = alarms(policy.recipe.watch, past.history, past.fallen)
    for place, alarm in enumerate(met):
        falls = place == 0 and alarm.action == "fall_back"
        ledger.add("alarms", [alarm_row(alarm, good if falls else None)])
        after = f"; going on with the weights of step {good}" if falls else ""
        print(f"octo: {alarm.action.replace('_', ' ')}: {alarm.said}{after}", file=sys.stderr)
    match met[0].action if met else "warn":
        case "stop":
            past.stopped = True
        case "fall_back":
            policy.load(run.checkpoint(good) if good else policy.start)
            past.fallen.append(met[0].step)
        case "warn":
            return False
        case unknown:
            assert_never(unknown)
    return True


# -- one step ------------------------------------------------------------------------------------------------------


def _step(
    policy: _Policy,
    grader: Grader,
    ledger: Ledger,
    prompts: list[dict[str, Any]],
    step: int,
    history: list[dict[str, Any]],
) -> dict[str, Any]:
    """Sample, grade, learn, record; the row of `steps`. UserError when the loss is no number."""
    began = time.perf_counter()
    cap, before = cap_of(policy.recipe, step, history), (step - 1) * policy.recipe.prompts_per_step
    first = history[-1].get("prompts_read", before) if history else 0
    rollouts = _rollouts(policy, grader, prompts, step, cap, first)
    learned = _learn(policy, rollouts, began)
    found = ledger_rows(rollouts, learned, policy.recipe)
    for table, added in found.items():
        ledger.add(table, added)
    if not math.isfinite(learned["loss"]) and _is_learnt_from(rollouts).any():
        raise UserError(f"the loss of step {step} is {learned['loss']}", "Lower the learning rate")
    return found["steps"][0]


# -- rollouts ------------------------------------------------------------------------------------------------------


def _rollouts(
    policy: _Policy, grader: Grader, prompts: list[dict[str, Any]], step: int, cap: int, first: int
) -> Rollouts:
    """The responses of one step. Under dynamic sampling, rounds of further prompts until there are enough groups whose
    rewards differ; the first of those are used."""
    n, rounds = policy.recipe.prompts_per_step, policy.recipe.dynamic_sampling
    found = _sampled(policy, grader, prompts, step, cap, range(first, first + n))
    if not rounds:
        return found
    for _ in range(rounds - 1):
        if found.spread_P.sum() >= n:
            break
        places = range(found.prompts_read, found.prompts_read + n)
        found = _joined(found, _sampled(policy, grader, prompts, step, cap, places))
    used_P = found.spread_P & (np.cumsum(found.spread_P) <= n)
    return replace(found, used_N=np.repeat(used_P, found.group_size))


def _joined(one: Rollouts, other: Rollouts) -> Rollouts:
    lists = ("prompts", "texts", "prompt_ids", "completions", "grades", "rewards")
    arrays = ("advantages_N", "used_N")
    both = {name: getattr(one, name) + getattr(other, name) for name in lists}
    both |= {name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in arrays}
    return replace(other, **both)


def _sampled(
    policy: _Policy, grader: Grader, prompts: list[dict[str, Any]], step: int, cap: int, places: range
) -> Rollouts:
    """Sample and grade the responses to the prompts at `places`, counted through the passes over them."""
    recipe, tokenizer = policy.recipe, policy.tokenizer
    chosen = [prompts[place % len(prompts)] for place in places]
    texts = [
        render(recipe.template, prompt["question"], place // len(prompts))
        for place, prompt in zip(places, chosen, strict=True)
    ]
    params = SamplingParams(cap, recipe.temperature, recipe.group_size, recipe.stop, recipe.seed)
    # a prompt read again draws from another stream
    groups = sample(policy.sampler(), tokenizer, texts, params, streams=places)
    completions = [completion for group in groups for completion in group]
    each = [prompt for prompt in chosen for _ in range(recipe.group_size)]
    said = [with_thought(recipe.template, completion.text) for completion in completions]
    grades = grader.grade_all(said, [prompt["answer"] for prompt in each], RULE)
    rewards = earned(completions, grades, recipe, cap)
    return Rollouts(
        step=step,
        group_size=recipe.group_size,
        cap=cap,
        prompts_read=places.stop,
        prompts=each,
        texts=[text for text in texts for _ in range(recipe.group_size)],
        prompt_ids=[ids for ids in encode(tokenizer, texts) for _ in range(recipe.group_size)],
        completions=completions,
        grades=grades,
        rewards=rewards,
        advantages_N=group_advantages(rewards, recipe),
        used_N=np.ones(len(rewards), dtype=bool),
    )


def group_advantages(rewards: list[float | None], recipe: RLRecipe) -> np.ndarray:
    """The advantage of each response within its group, [N], float32; 0 where there is no ruling."""
    rewards_PG = torch.tensor([value or 0.0 for value in rewards]).view(-1, recipe.group_size)
    ruled_PG = torch.tensor([value is not None for value in rewards]).view(-1, recipe.group_size)
    return advantages(rewards_PG, ruled_PG, objective_of(recipe.objective).is_scaled).flatten().numpy()


# -- update --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Padded:
    """Responses of one forward pass as rectangles: inputs and targets [n, L-1], mask 1 where the target was sampled
    and its response is learnt from, advantages [n]."""

    inputs: Tensor
    targets: Tensor
    mask: Tensor
    advantages_n: Tensor


@dataclass(frozen=True)
class _Before:
    """What the policy that was sampled said of one forward pass, [n, L-1] each."""

    logprobs: Tensor
    entropy: Tensor
    divergence: Tensor


def _learn(policy: _Policy, rollouts: Rollouts, began: float) -> Learned:
    """The updates of one step: loss, gradient norm and share of tokens cut off over them; entropy and divergence of the
    policy that was sampled; the seconds since `began`. Ends with the first loss that is not a number.

    Log-probabilities before the updates are computed again and not taken from the sampler: with a cache the same sums
    are rounded differently, and the ratio of the first update should be exactly 1.
    """
    recipe, minibatches = policy.recipe, _minibatches(rollouts, policy.recipe, policy.device)
    before = [[_looked_at(policy, part) for part in parts] for parts in minibatches]
    losses, norms, cut_off, of = [], [], 0.0, 0.0
    for parts, old in zip(minibatches, before, strict=True):
        tokens = sum(float(part.mask.sum()) for part in parts)
        if not tokens:
            continue  # the grader failed on every response
        loss, cut = _backward(policy, parts, old, _divisor(parts, tokens, recipe))
        losses.append(loss)
        if not math.isfinite(loss):
            break
        norms.append(update(policy.model, policy.optimizer, recipe.optimizer.lr, recipe.optimizer.clip).item())
        cut_off, of = cut_off + cut, of + tokens
    pairs = [(seen, part.mask) for parts, old in zip(minibatches, before, strict=True)
             for part, seen in zip(parts, old, strict=True)]  # fmt: skip
    return {
        "loss": mean(losses),
        "grad_norm": mean(norms),
        "clip_share": cut_off / of if of else math.nan,
        "entropy": _masked_mean([(seen.entropy, mask) for seen, mask in pairs]),
        "kl_to_start": _masked_mean([(seen.divergence, mask) for seen, mask in pairs]),
        "seconds": time.perf_counter() - began,
    }


@torch.no_grad()
def _looked_at(policy: _Policy, part: _Padded) -> _Before:
    logprobs, entropy = policy.logprobs(part)
    start, _ = policy.logprobs(part, policy.reference)
    return _Before(logprobs, entropy, divergence(logprobs, start))


def _divisor(parts: list[_Padded], tokens: float, recipe: RLRecipe) -> float:
    """What the sum over the tokens of a minibatch is divided by."""
    responses = sum(len(part.inputs) for part in parts)
    return objective_of(recipe.objective).divisor(tokens, responses, recipe.longest_cap)


def _backward(policy: _Policy, parts: list[_Padded], old: list[_Before], divisor: float) -> tuple[float, float]:
    """Gradients of the loss of a minibatch, whatever its parts; the loss, and how many tokens were cut off."""
    total, cut_off, recipe = 0.0, 0.0, policy.recipe
    for part, seen in zip(parts, old, strict=True):
        with policy.thrifty():
            logprobs, _ = policy.logprobs(part)
            summed, cut = policy_loss(
                logprobs, seen.logprobs, part.advantages_n, part.mask, recipe.ratio_clip, recipe.clip_higher
            )
            loss = summed / divisor
            loss.backward()
        total, cut_off = total + loss.item(), cut_off + cut.item()
    return total, cut_off


def _masked_mean(pairs: list[tuple[Tensor, Tensor]]) -> float:
    tokens = sum(float(mask.sum()) for _, mask in pairs)
    return sum(float((values * mask).sum()) for values, mask in pairs) / tokens if tokens else math.nan


def _is_learnt_from(rollouts: Rollouts) -> np.ndarray:
    """Which responses have a ruling and are used, [N]."""
    return rollouts.used_N & np.array([value is not None for value in rollouts.rewards])


def _minibatches(rollouts: Rollouts, recipe: RLRecipe, device: Any) -> list[list[_Padded]]:
    """The used responses of each update, cut into forward passes."""
    used = np.flatnonzero(rollouts.used_N)
    size = (recipe.minibatch_prompts or recipe.prompts_per_step) * recipe.group_size
    return [
        [_padded(rollouts, some, device) for some in _cut(used[first : first + size], rollouts, recipe)]
        for first in range(0, len(used), size)
    ]


def _cut(chosen: np.ndarray, rollouts: Rollouts, recipe: RLRecipe) -> Iterator[np.ndarray]:
    """`chosen` responses cut into forward passes: so many at a time, or by length, so many tokens at a time."""
    if not recipe.micro_batch_tokens:
        micro = recipe.micro_batch_responses
        yield from (chosen[i : i + micro] for i in range(0, len(chosen), micro))
        return
    lengths = rollouts.lengths_N
    ordered, first = chosen[np.argsort(-lengths[chosen], kind="stable")], 0
    while first < len(ordered):
        take = max(1, recipe.micro_batch_tokens // int(lengths[ordered[first]]))  # the longest comes first
        yield ordered[first : first + take]
        first += take


def _padded(rollouts: Rollouts, chosen: np.ndarray, device: Any) -> _Padded:
    sequences = [rollouts.prompt_ids[i] + rollouts.completions[i].token_ids for i in chosen]
    tokens_nL = torch.zeros(len(chosen), max(map(len, sequences)), dtype=torch.long)
    mask_nL = torch.zeros(tokens_nL.shape)
    for line, (i, sequence) in enumerate(zip(chosen, sequences, strict=True)):
        tokens_nL[line, : len(sequence)] = torch.tensor(sequence)
        if rollouts.rewards[i] is not None:
            mask_nL[line, len(rollouts.prompt_ids[i]) : len(sequence)] = 1
    tokens_nL, mask_nL = tokens_nL.to(device), mask_nL.to(device)
    advantages_n = torch.from_numpy(rollouts.advantages_N[chosen]).to(device)
    return _Padded(tokens_nL[:, :-1], tokens_nL[:, 1:], mask_nL[:, 1:], advantages_n)

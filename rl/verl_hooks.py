"""What verl 0.9.1 calls of ours, in its own processes and through its own settings: four points of extension.

    Response        puts a prompt to the policy as the torch backend does: its tokens, the cap of its step, stop strings
    graded          the reward: our grader in killable child processes, and one line of `rollouts/<step>.jsonl` each
    grouped         the advantage: `rl.objective.advantages`, so that a response without a ruling counts for nothing
    OrderedBuffer   gives a step its responses in the order of prompts and samples, whichever was finished first

The launcher says where the engine's folder is (ENGINE); `launch.json` there holds the recipe. The line of a response is
written before verl knows its reward, so when verl has logged a step all lines of it are there. Leaves out validation.
"""

import asyncio
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from torch import Tensor
from verl.experimental.agent_loop.agent_loop import (  # type: ignore[import-not-found]
    AgentLoopBase,
    AgentLoopMetrics,
    AgentLoopOutput,
)
from verl.trainer.ppo.core_algos import register_adv_est  # type: ignore[import-not-found]
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer  # type: ignore[import-not-found]
from verl.utils.profiler import simple_timer  # type: ignore[import-not-found]

from evaluation.grading.answers import Grade, Grader
from evaluation.protocols.templates import with_thought
from evaluation.samplers.sampling import Completion
from evaluation.samplers.transformers_sampler import encode, text_before
from manifests.recipe import parse
from rl.config import RLRecipe
from rl.objective import advantages
from rl.rewards import RULE
from rl.rollouts import earned
from rl.variants import objective_of
from rl.verl_config import CPU_ROLLOUT, ENGINE, ESTIMATOR
from rl.watch import cap_of

POLL_SECONDS = 0.1
"""How often finished responses are looked for; verl's own 2 s would be most of a step of a small model."""


@dataclass(frozen=True)
class Told:
    """What the launcher wrote down."""

    folder: Path
    recipe: RLRecipe
    eos_ids: frozenset[int]
    history: list[dict[str, Any]]
    """Cap and truncated share of every step before this launch."""

    def rollouts(self, step: int) -> Path:
        """The file with the responses of a step."""
        return self.folder / "rollouts" / f"{step}.jsonl"


@cache
def told() -> Told:
    """Read once per process."""
    folder = Path(os.environ[ENGINE])
    plain = json.loads((folder / "launch.json").read_text(encoding="utf-8"))
    recipe = parse(plain["recipe"], RLRecipe, "launch.json")
    return Told(folder, recipe, frozenset(plain["eos_ids"]), plain["history"])


@cache
def cap_at(step: int) -> int:
    """Most tokens of a response in `step`: declared, or grown by what the steps before it came to."""
    recipe = told().recipe
    return cap_of(recipe, step, [_seen(before) for before in range(1, step)] if recipe.growth else [])


@cache
def _seen(step: int) -> dict[str, Any]:
    """Cap and truncated share of a step that is over."""
    if step <= len(told().history):
        return told().history[step - 1]
    lines = [json.loads(line) for line in told().rollouts(step).read_text(encoding="utf-8").splitlines()]
    return {"cap": lines[0]["cap"], "truncated_share": sum(line["truncated"] for line in lines) / len(lines)}


# -- agent loop ----------------------------------------------------------------------------------------------------


class Response(AgentLoopBase):
    """One response to one prompt; verl makes one for each. It needs nothing of the base class, which would build a chat
    template every time."""

    def __init__(self, trainer_config: Any, server_manager: Any, tokenizer: Any, **_: Any):
        self._rollout = trainer_config.config.actor_rollout_ref.rollout.name
        self._servers, self._tokenizer = server_manager, tokenizer

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> AgentLoopOutput:
        recipe, metrics = told().recipe, {}
        place, number, step = row["index"], row["session_id"], int(row["global_steps"])
        cap = cap_at(step)
        [prompt_ids] = encode(self._tokenizer, [row["raw_prompt"][0]["content"]])
        asked = sampling_params | {"max_tokens": cap} | ({"stop": list(recipe.stop)} if recipe.stop else {})
        if self._rollout == CPU_ROLLOUT:
            together = recipe.prompts_per_step * recipe.group_size // recipe.gpus
            asked |= {"place": place, "number": number, "together": together}
        with simple_timer("generate_sequences", metrics):
            output = await self._servers.generate(request_id=uuid4().hex, prompt_ids=prompt_ids, sampling_params=asked)
        ids = output.token_ids[:cap]
        text, stopped_by = text_before(self._tokenizer, ids, recipe.stop)
        has_ended = ids[-1] in told().eos_ids or stopped_by is not None
        said = {"step": step, "cap": cap, "place": place, "number": number, "uid": row["uid"], "response": text}
        said |= {"stopped_by": stopped_by}
        said |= {"tokens": len(ids), "truncated": len(ids) == cap and not has_ended, "prompt_tokens": len(prompt_ids)}
        return _Output(
            prompt_ids=prompt_ids,
            response_ids=ids,
            response_mask=[1] * len(ids),
            response_logprobs=output.log_probs[:cap] if output.log_probs else None,
            num_turns=2,
            metrics=AgentLoopMetrics(**metrics),
            extra_fields=output.extra_fields | {"said": said, "turn_scores": [], "tool_rewards": []},
        )


class _Output(AgentLoopOutput):
    """A response without a ruling (its reward is no number) is left out of the loss: none of its tokens counts."""

    def as_dict(self) -> dict[str, Any]:
        plain = super().as_dict()
        if self.reward_score is not None and math.isnan(self.reward_score):
            plain["response_mask"] = torch.zeros_like(plain["response_mask"])
        return plain


# -- reward --------------------------------------------------------------------------------------------------------


async def graded(
    data_source: str, solution_str: str, ground_truth: str, extra_info: dict[str, Any], **_: Any
) -> dict[str, Any]:
    """The reward of a response, NaN where the grader failed: `grouped` leaves it out."""
    said, recipe = extra_info["said"], told().recipe
    grade = await _grading().rule(with_thought(recipe.template, said["response"]), ground_truth)
    completion = Completion(said["response"], said["tokens"], said["truncated"])
    [reward] = earned([completion], [grade], recipe, said["cap"])
    ruling = {"verdict": grade.verdict.value, "extracted": grade.extracted, "reason": grade.reason, "reward": reward}
    with told().rollouts(said["step"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(said | ruling) + "\n")
    return {"score": math.nan if reward is None else reward, "verdict": grade.verdict.value}


class _Grading:
    """One `Grader` for the many responses that verl hands over one by one: what has come in is graded together, in one
    thread, for a Grader is not for several."""

    def __init__(self, recipe: RLRecipe):
        self._grader = Grader(recipe.grading_workers, recipe.grading_seconds)
        self._waiting: list[tuple[str, str, asyncio.Future[Grade]]] = []
        self._work: asyncio.Task[None] | None = None

    async def rule(self, response: str, reference: str) -> Grade:
        """The ruling on `response`."""
        ruling: asyncio.Future[Grade] = asyncio.get_running_loop().create_future()
        self._waiting.append((response, reference, ruling))
        if not self._work or self._work.done():
            self._work = asyncio.create_task(self._rule_all())
        return await ruling

    async def _rule_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            responses, references, rulings = (list(column) for column in zip(*batch, strict=True))
            try:
                grades = await asyncio.to_thread(self._grader.grade_all, responses, references, RULE)
            except Exception as error:
                for ruling in rulings:
                    ruling.set_exception(error)
                continue
            for ruling, grade in zip(rulings, grades, strict=True):
                ruling.set_result(grade)


@cache
def _grading() -> _Grading:
    return _Grading(told().recipe)


# -- advantage and order -------------------------------------------------------------------------------------------


@register_adv_est(ESTIMATOR)
def grouped(token_level_rewards: Tensor, response_mask: Tensor, index: np.ndarray, **_: Any) -> tuple[Tensor, Tensor]:
    """Advantages, and returns equal to them, [N, T]: each response's at all of its tokens. Groups share an `index`."""
    scores_N, is_scaled = token_level_rewards.sum(-1), objective_of(told().recipe.objective).is_scaled
    spread_N = torch.zeros_like(scores_N)
    for rows in _groups(index):
        rewards_1G = scores_N[rows][None]
        spread_N[rows] = advantages(rewards_1G.nan_to_num(), ~rewards_1G.isnan(), is_scaled)[0]
    spread_NT = spread_N[:, None] * response_mask
    return spread_NT, spread_NT


def _groups(index: np.ndarray) -> Iterator[Tensor]:
    _, which = np.unique(index.astype(str), return_inverse=True)
    for group in range(which.max() + 1):
        yield torch.from_numpy(np.flatnonzero(which == group))


class OrderedBuffer(ReplayBuffer):
    """verl's buffer of finished responses. On one rank a minibatch holds the prompts that it holds in the torch
    backend; on several verl cuts each rank's part of them."""

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **{**named, "poll_interval": POLL_SECONDS})

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[Any, dict[str, Any]]:
        """The responses of `batch_size` prompts. RuntimeError where some failed, for their group would be another."""
        batch, metrics = super().sample(global_steps, partition_id, batch_size)
        wanted = batch_size * told().recipe.group_size
        if len(batch.keys) != wanted:
            raise RuntimeError(
                f"step {global_steps}: {wanted - len(batch.keys)} of {wanted} responses failed, see above"
            )
        lines = map(json.loads, told().rollouts(global_steps).read_text(encoding="utf-8").splitlines())
        place = {line["uid"]: line["place"] for line in lines}
        keys = [key.split("_") for key in batch.keys]
        batch.reorder(sorted(range(wanted), key=lambda i: (place[keys[i][0]], int(keys[i][1]))))
        return batch, metrics

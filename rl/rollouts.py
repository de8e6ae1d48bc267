"""The responses of one step, graded and rewarded, and what the ledgers say of them: the same for every backend.

Promises. Every response is a row of `rollouts`, those too that no update used. Rates are over all responses sampled;
reward and accuracy over those that got a ruling. Loads no torch.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa

from evaluation.grading.answers import Grade, Verdict
from evaluation.samplers.sampling import Completion
from manifests.tables import ALARMS, CONSUMPTION, ROLLOUTS, STEPS
from rl.config import RLRecipe
from rl.rewards import overlong_penalty, repeats, reward
from rl.watch import Alarm

METRICS = ("reward", "accuracy", "length_mean", "length_p95", "truncated_share", "entropy", "zero_spread_share")
METRICS += ("length_ratio", "boxed_share", "repetition_share", "clip_share", "kl_to_start")
"""Numbers in `steps` beyond those of training."""
STEPS_SCHEMA = pa.schema(
    [
        *STEPS.schema,
        *(pa.field(name, pa.float64()) for name in METRICS),
        pa.field("accuracy_by_source", pa.map_(pa.string(), pa.float64())),
        pa.field("stopped_share", pa.map_(pa.string(), pa.float64())),
        pa.field("cap", pa.int64()),
        pa.field("prompts_read", pa.int64()),
    ]
)
SCHEMAS = {
    "rollouts": ROLLOUTS.schema,
    "consumption": CONSUMPTION.schema,
    "alarms": ALARMS.schema,
    "steps": STEPS_SCHEMA,
}
"""The ledgers of a run, in the order in which they are stored."""


class Learned(TypedDict):
    """What the updates of a step came to: columns of `steps` that a backend must give, every one of them."""

    loss: float
    grad_norm: float
    clip_share: float
    entropy: float
    kl_to_start: float
    seconds: float


COMPONENT = "prompts"
"""What the one component of a prompts manifest is called in `consumption`."""


@dataclass(frozen=True)
class Rollouts:
    """The responses of one step, in the order of prompts and then of samples: N of each.

    `advantages_N` are float32, `used_N` tells which entered an update, `prompts_read` counts from the start of the run.
    """

    step: int
    group_size: int
    cap: int
    prompts_read: int
    prompts: list[dict[str, Any]]
    texts: list[str]
    prompt_ids: list[list[int]]
    completions: list[Completion]
    grades: list[Grade]
    rewards: list[float | None]
    advantages_N: np.ndarray
    used_N: np.ndarray

    @property
    def lengths_N(self) -> np.ndarray:
        """Tokens of each prompt with its response."""
        return np.array([len(ids) + c.tokens for ids, c in zip(self.prompt_ids, self.completions, strict=True)])

    @property
    def spread_P(self) -> np.ndarray:
        """Whether the rewards of each group differ."""
        return np.abs(self.advantages_N).reshape(-1, self.group_size).max(1) > 0

    @cached_property
    def repetition_N(self) -> np.ndarray:
        """Whether each response repeats itself (see `rl.rewards.repeats`)."""
        return np.array([repeats(completion.text) for completion in self.completions])


def earned(completions: list[Completion], grades: list[Grade], recipe: RLRecipe, cap: int) -> list[float | None]:
    """What each response earns; None where the grader failed."""
    rewards: list[float | None] = []
    for completion, grade in zip(completions, grades, strict=True):
        value = reward(grade.verdict, recipe.reward, completion.text, completion.truncated)
        if value is not None and recipe.overlong_penalty:
            value += overlong_penalty(completion.tokens, cap, recipe.overlong_penalty)
        rewards.append(value)
    return rewards


def ledger_rows(rollouts: Rollouts, learned: Learned, recipe: RLRecipe) -> dict[str, list[dict[str, Any]]]:
    """The rows of each ledger for one step."""
    used, sources = rollouts.lengths_N, np.array([prompt["source"] for prompt in rollouts.prompts])
    fixed = {"step": rollouts.step, "stage": recipe.stage, "lr": recipe.optimizer.lr, "tokens": int(used.sum())}
    consumption = [
        {
            "step": rollouts.step,
            "component": COMPONENT,
            "source": source,
            "sequences": int((sources == source).sum()),
            "tokens": int(used[sources == source].sum()),
        }
        for source in np.unique(sources).tolist()
    ]
    return {
        "rollouts": [_rollout(rollouts, i, recipe.rollout_texts) for i in range(len(used))],
        "consumption": consumption,
        "steps": [fixed | dict(learned) | metrics(rollouts, sources)],
    }


def alarm_row(alarm: Alarm, checkpoint: int | None) -> dict[str, Any]:
    """A row of `alarms`."""
    limits = {"above": alarm.rule.above, "below": alarm.rule.below, "steps": alarm.rule.steps}
    seen = {"step": alarm.step, "signal": alarm.rule.signal, "value": alarm.value}
    return seen | limits | {"action": alarm.action, "checkpoint": checkpoint}


def _rollout(rollouts: Rollouts, i: int, with_text: bool) -> dict[str, Any]:
    prompt, completion, grade = rollouts.prompts[i], rollouts.completions[i], rollouts.grades[i]
    reward = rollouts.rewards[i]
    return {
        "step": rollouts.step,
        "prompt_id": prompt["prompt_id"],
        "doc_id": prompt["doc_id"],
        "source": prompt["source"],
        "sample": i % rollouts.group_size,
        "prompt": rollouts.texts[i] if with_text else None,
        "response": completion.text if with_text else None,
        "tokens": completion.tokens,
        "truncated": completion.truncated,
        "stopped_by": completion.stopped_by,
        "verdict": grade.verdict.value,
        "extracted": grade.extracted,
        "reason": None if grade.verdict is Verdict.CORRECT else grade.reason,
        "reward": reward,
        "advantage": None if reward is None else rollouts.advantages_N[i].item(),
        "repetition": bool(rollouts.repetition_N[i]),
        "used": bool(rollouts.used_N[i]),
    }


def metrics(rollouts: Rollouts, sources: np.ndarray) -> dict[str, Any]:
    """Columns of `steps` that the responses say; NaN where there is nothing to take a mean of."""
    ruled = np.array([reward is not None for reward in rollouts.rewards])
    correct = np.array([grade.verdict is Verdict.CORRECT for grade in rollouts.grades])
    lengths = np.array([completion.tokens for completion in rollouts.completions])
    stopped = Counter(completion.stopped_by for completion in rollouts.completions if completion.stopped_by is not None)
    return {
        "reward": mean([reward for reward in rollouts.rewards if reward is not None]),
        "accuracy": mean(correct[ruled]),
        "accuracy_by_source": {
            source: mean(correct[ruled & (sources == source)]) for source in np.unique(sources[ruled]).tolist()
        },
        "length_mean": mean(lengths),
        "length_p95": float(np.quantile(lengths, 0.95)),
        "length_ratio": mean(lengths) / rollouts.cap,
        "truncated_share": mean([completion.truncated for completion in rollouts.completions]),
        "stopped_share": {stop: count / len(lengths) for stop, count in sorted(stopped.items())},
        "boxed_share": mean([grade.extracted is not None for grade in rollouts.grades]),
        "repetition_share": mean(rollouts.repetition_N),
        "zero_spread_share": 1.0 - mean(rollouts.spread_P),
        "cap": rollouts.cap,
        "prompts_read": rollouts.prompts_read,
    }


def mean(values: Any) -> float:
    """NaN of nothing."""
    return float(np.mean(values)) if len(values) else float("nan")

"""Kills a run at a moment of its second step. Started by test_reinforce.py:

    python killed.py STORE PROMPTS RECIPE PARENT MOMENT

MOMENT is rollouts, update or checkpoint. The launch runs in this process, which sends itself SIGKILL: halfway through
the responses of the step, between the gradients and the update, or with half of a checkpoint's files in place.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evaluation.grading.answers import Grader
from manifests.manifest import resolve
from manifests.recipe import load
from manifests.runs import load_run
from manifests.store import Store
from rl import torch_backend
from rl.config import RLRecipe
from rl.launch import reinforce


def die_at(call: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, at whose call number `call` this process is killed before anything is done."""
    calls = iter(range(1, 1_000_000))

    def counted(*arguments: Any, **named: Any) -> Any:
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)

    return counted


def main(store: Store, prompts: str, recipe: Path, parent: str, moment: str) -> None:
    match moment:
        case "rollouts":  # each step grades once: the responses are sampled, none is recorded
            Grader.grade_all = die_at(2, Grader.grade_all)  # type: ignore[method-assign]
        case "update":  # two minibatches a step: the first of the second step has changed the weights
            torch_backend.update = die_at(4, torch_backend.update)
        case "checkpoint":
            Store.put = die_at_checkpoint(Store.put)  # type: ignore[method-assign]
    reinforce(store, resolve(store, prompts), load(recipe, RLRecipe), load_run(store, parent))


def die_at_checkpoint(put: Callable[..., Any]) -> Callable[..., Any]:
    """Dies once the weights of checkpoint 2 are stored, before its list of files is."""

    def watched(self: Store, path: str, data: Any) -> Any:
        if path.endswith("checkpoints/2/complete.json"):
            os.kill(os.getpid(), signal.SIGKILL)
        return put(self, path, data)

    return watched


if __name__ == "__main__":
    main(Store(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4], sys.argv[5])

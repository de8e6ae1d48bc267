"""Kills a run of the verl backend at a moment of its work. Started by test_verl.py:

    python killed_verl.py STORE PROMPTS RECIPE PARENT MOMENT

MOMENT is one of
    rollouts    29 of the 64 responses of step 6 are graded
    update      of step 6 the first minibatch has changed the weights, the gradients of the second are there
    checkpoint  verl writes checkpoint 8: half of the optimizer's file is there
    keeping     the launcher has moved checkpoint 8 into the run, but for the list of its files

The first three happen in processes of verl, which load this file with `import verl`, through verl's own hook, and send
the launcher SIGKILL before they send it to themselves; the last one happens in the launcher.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from manifests.manifest import resolve
from manifests.recipe import load
from manifests.runs import load_run
from manifests.store import Store
from rl import rollouts
from rl.config import RLRecipe
from training.places import LAUNCHER

MOMENT = "KILLED_AT"
"""Environment variable that says when."""


def end_both() -> None:
    os.kill(int(os.environ[LAUNCHER]), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(call: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, at whose call number `call` all ends before anything is done."""
    calls = iter(range(1, 1_000_000))

    def counted(*arguments: Any, **named: Any) -> Any:
        if next(calls) == call:
            end_both()
        return function(*arguments, **named)

    return counted


def in_checkpoint(save: Callable[..., Any]) -> Callable[..., Any]:
    """A `torch.save` that ends halfway through the optimizer of checkpoint 8."""

    def watched(thing: Any, file: Any, *arguments: Any, **named: Any) -> None:
        save(thing, file, *arguments, **named)
        if "global_step_8/actor/optim" in str(file):
            with open(file, "r+b") as torn:
                torn.truncate(os.path.getsize(file) // 2)
            end_both()

    return watched


def in_keeping(put: Callable[..., Any]) -> Callable[..., Any]:
    """A `Store.put` that ends before the list of the files of checkpoint 8."""

    def watched(self: Any, path: str, data: Any) -> Any:
        if path.endswith("checkpoints/8/complete.json"):
            os.kill(os.getpid(), signal.SIGKILL)
        return put(self, path, data)

    return watched


def lie_in_wait(moment: str) -> None:
    """In each process of verl's, before it has begun."""
    match moment:
        case "rollouts":
            rollouts.earned = die_at(5 * 64 + 30, rollouts.earned)
        case "update":
            torch.optim.AdamW.step = die_at(5 * 2 + 2, torch.optim.AdamW.step)
        case "checkpoint":
            torch.save = in_checkpoint(torch.save)


def main(store: str, prompts: str, recipe: str, parent: str, moment: str) -> None:
    from rl import verl_backend  # a process of verl, which loads this file too, needs none of these
    from rl.launch import reinforce

    stock = verl_backend._environment

    def environment(*arguments: Any) -> dict[str, str]:
        plain = stock(*arguments)
        plain["VERL_USE_EXTERNAL_MODULES"] += ",killed_verl"
        plain["PYTHONPATH"] += os.pathsep + str(Path(__file__).parent)
        return plain | {MOMENT: moment}

    verl_backend._environment = environment
    if moment == "keeping":
        Store.put = in_keeping(Store.put)  # type: ignore[method-assign]
    opened = Store(store)
    reinforce(opened, resolve(opened, prompts), load(Path(recipe), RLRecipe), load_run(opened, parent), "verl")


if __name__ == "__main__":
    main(*sys.argv[1:])
elif MOMENT in os.environ:
    lie_in_wait(os.environ[MOMENT])

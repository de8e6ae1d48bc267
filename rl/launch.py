"""Launches reinforcement learning from a prompts manifest and a trained run, and refuses everything that does not fit.

`reinforce` checks the manifest's digest and files, the template and the lengths before an engine is loaded, opens the
run that this launch is, and goes on where it stopped. A run that is done is returned at once. Leaves out other
backends.
"""

from pathlib import Path
from typing import Any

import numpy as np

from evaluation.templates import render
from manifests.errors import UserError
from manifests.manifest import Manifest, check_launch
from manifests.runs import RunDirectory, open_run
from manifests.store import Store
from rl.config import RLRecipe
from training.launch import last_checkpoint

BACKEND = "torch"


def reinforce(store: Store, prompts: Manifest, recipe: RLRecipe, parent: RunDirectory) -> RunDirectory:
    """Reinforce the last checkpoint of `parent` on the manifest `prompts` (kind prompts), in its order.

    UserError when manifest, recipe and parent do not fit together, when a file of the manifest is damaged, or when
    another process holds the run. A run that failed goes on from its last checkpoint when launched again.
    """
    start = _check(store, prompts, recipe, parent)
    run = open_run(store, "rl", [prompts], recipe, BACKEND, parent)
    if run.status == "done":
        return run
    with run.running():
        _run(run, prompts, recipe, start)
        run.finish(_summary(run))
    return run


def plan(store: Store, prompts: Manifest, recipe: RLRecipe, parent: RunDirectory) -> dict[str, Any]:
    """What `reinforce` would do, after all its checks: one row for people."""
    _check(store, prompts, recipe, parent)
    available = prompts.read("prompts", columns=["position"]).num_rows
    return {
        "manifest": prompts.ref,
        "stage": recipe.stage,
        "start": parent.id,
        "steps": recipe.steps,
        "prompts": available,
        "passes": round(recipe.steps * recipe.prompts_per_step / available, 2),
        "responses": recipe.steps * recipe.prompts_per_step * recipe.group_size,
        "lr": recipe.optimizer.lr,
        "reward": recipe.reward,
    }


def _check(store: Store, prompts: Manifest, recipe: RLRecipe, parent: RunDirectory) -> Path:
    """The folder to start from, once everything fits."""
    if prompts.kind != "prompts":
        raise UserError(f"{prompts.ref} is a {prompts.kind}, not prompts", "Make one with `octo mix` and kind: prompts")
    check_launch(store, prompts)
    questions = prompts.read("prompts", columns=["question"])["question"].to_pylist()
    if not questions:
        raise UserError(f"{prompts.ref} holds no prompt", "Select documents that have a question and an answer")
    start = last_checkpoint(parent)
    _check_lengths(start, [render(recipe.template, question) for question in questions], recipe, prompts)
    return start


def _check_lengths(start: Path, texts: list[str], recipe: RLRecipe, prompts: Manifest) -> None:
    """The longest prompt with the longest response must fit into the model's context."""
    from tokenizers import Tokenizer
    from transformers import AutoConfig

    context = AutoConfig.from_pretrained(start, local_files_only=True).get_text_config().max_position_embeddings
    encodings = Tokenizer.from_file(str(start / "tokenizer.json")).encode_batch(texts)
    longest, cap = max(len(encoding.ids) for encoding in encodings), max(recipe.max_new_tokens.values())
    if longest + cap > context:
        raise UserError(
            f"{prompts.ref} has a prompt of {longest} tokens; with {cap} new ones it exceeds the context of {context}",
            f"Set max_new_tokens to {max(context - longest, 0)} or less, or select shorter prompts",
        )


def _run(run: RunDirectory, prompts: Manifest, recipe: RLRecipe, start: Path) -> None:
    from transformers import AutoTokenizer

    from rl.torch_backend import run_reinforcement

    tokenizer = AutoTokenizer.from_pretrained(start, local_files_only=True)
    run_reinforcement(run, prompts, recipe, start, tokenizer)


def _summary(run: RunDirectory) -> dict[str, Any]:
    """What the run came to, for run.json; rewards are means over the first and the last tenth of the steps."""
    ledger = run.table("steps")
    assert ledger is not None
    means = {name: ledger[name].to_numpy() for name in ("reward", "accuracy", "length_mean")}
    tenth = max(1, ledger.num_rows // 10)
    return {
        "steps": ledger.num_rows,
        "tokens": int(np.sum(ledger["tokens"].to_numpy())),
        "seconds": round(float(np.sum(ledger["seconds"].to_numpy())), 1),
        **{f"{name}_first": _mean(values[:tenth]) for name, values in means.items()},
        **{f"{name}_last": _mean(values[-tenth:]) for name, values in means.items()},
    }


def _mean(values: np.ndarray) -> float | None:
    """None where no value is a number: run.json is plain JSON."""
    return None if np.isnan(values).all() else float(np.nanmean(values))

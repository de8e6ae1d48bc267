"""Launches reinforcement learning from a prompts manifest and a model, and refuses everything that does not fit.

`reinforce` checks the manifest's digest and files, the template and the lengths before an engine is loaded, opens the
run that this launch is, and goes on where it stopped. Before the first step prompts longer than the recipe allows are
left out, and every other reference answer passes controls (`evaluation.grading.controls`) or is left out: both are
named in the run's record, and the same when the run goes on. A run that is done is returned at once. Leaves out what
the backends do.
"""

import importlib
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from evaluation.grading.answers import Grader
from evaluation.grading.controls import check_references
from evaluation.protocols.templates import TemplateName, render
from evaluation.samplers.model_folder import checksums
from evaluation.scores import evaluate
from manifests.errors import UserError
from manifests.manifest import Manifest, check_launch, resolve
from manifests.runs import RunDirectory, open_run
from manifests.store import Store
from rl.config import RLRecipe
from rl.verl_config import Job, to_verl
from training.doctor import is_cuda, verl_lacks
from training.launch import check_start, last_checkpoint
from training.trackers import check_trackers

Backend = Literal["torch", "verl"]
Start = RunDirectory | Path
"""A run that is done, or a Hugging Face folder."""


def reinforce(
    store: Store,
    prompts: Manifest,
    recipe: RLRecipe,
    parent: Start,
    backend: Backend = "torch",
    resume: bool = False,
) -> RunDirectory:
    """Reinforce the last checkpoint of the run `parent`, or the model folder, on the manifest `prompts` (kind prompts),
    in its order.

    UserError when manifest, recipe and parent do not fit together, when a file of the manifest is damaged, when another
    process holds the run, when no reference passes the controls, or when the loss is no number. A run that failed goes
    on from its last checkpoint when launched again; with `resume`, UserError when it was never begun.
    """
    start = _check(store, prompts, recipe, parent, backend)
    of_run, inputs = (None, checksums(parent)) if isinstance(parent, Path) else (parent, None)
    run = open_run(store, "rl", [prompts], recipe, backend, of_run, inputs, resume)
    if run.status == "done":
        return run
    with run.running():
        _run(run, prompts, recipe, start)
        run.finish(_summary(run))
    return run


def plan(
    store: Store, prompts: Manifest, recipe: RLRecipe, parent: Start, backend: Backend = "torch"
) -> dict[str, Any]:
    """What `reinforce` would do, after all its checks: one row for people."""
    start = _check(store, prompts, recipe, parent, backend)
    of_all = prompts.read("prompts", columns=["position"]).num_rows
    available = of_all - len(_too_long(start, prompts, recipe))
    return {
        "manifest": prompts.ref,
        "stage": recipe.stage,
        "start": str(parent) if isinstance(parent, Path) else parent.id,
        "steps": recipe.steps,
        "prompts": available,
        **({"left_out_for_length": of_all - available} if recipe.max_prompt_tokens else {}),
        "passes": round(recipe.steps * recipe.prompts_per_step / available, 2),
        "responses": recipe.steps * recipe.prompts_per_step * recipe.group_size,
        "lr": recipe.optimizer.lr,
        "reward": recipe.reward,
        "backend": backend,
    }


def _check(store: Store, prompts: Manifest, recipe: RLRecipe, parent: Start, backend: Backend) -> Path:
    """The folder to start from, once everything fits."""
    check_trackers(recipe.track)
    for name in recipe.validation.evaluation.benchmarks if recipe.validation else ():
        check_launch(store, resolve(store, name))
    if backend == "verl":
        _check_verl(store, recipe)
    return check_prompts(store, prompts, recipe.template, recipe.longest_cap, parent, recipe.max_prompt_tokens)


def _check_verl(store: Store, recipe: RLRecipe) -> None:
    """What verl cannot do is refused before anything starts."""
    to_verl(recipe, Job("", "", "", 1, is_cuda()))
    if not store.is_local:
        raise UserError("verl writes into a folder of this machine", "Use a local --store, and publish what it made")
    if lacks := verl_lacks():
        raise UserError(*lacks)


def check_prompts(
    store: Store, prompts: Manifest, template: TemplateName, cap: int, start: Start, limit: int | None = None
) -> Path:
    """The model folder of `start`, once it is one and `prompts`, under `template` and with responses of up to `cap`
    tokens, are prompts that fit into its context; those of more than `limit` tokens need not. UserError for whatever
    does not."""
    if prompts.kind != "prompts":
        raise UserError(f"{prompts.ref} is a {prompts.kind}, not prompts", "Make one with `octo mix` and kind: prompts")
    check_launch(store, prompts)
    if not prompts.read("prompts", columns=["position"]).num_rows:
        raise UserError(f"{prompts.ref} holds no prompt", "Select documents that have a question and an answer")
    folder = start if isinstance(start, Path) else last_checkpoint(start)
    check_start(folder, None)
    _check_lengths(folder, prompts, template, cap, limit)
    return folder


def _check_lengths(start: Path, prompts: Manifest, template: TemplateName, cap: int, limit: int | None) -> None:
    """The longest prompt with the longest response must fit into the model's context."""
    from transformers import AutoConfig

    context = AutoConfig.from_pretrained(start, local_files_only=True).get_text_config().max_position_embeddings
    lengths = _lengths(start, prompts, template)
    kept = [length for length in lengths if limit is None or length <= limit]
    if not kept:
        raise UserError(f"every prompt of {prompts.ref} has more than {limit} tokens", "Raise max_prompt_tokens")
    longest = max(kept)
    if longest + cap > context:
        raise UserError(
            f"{prompts.ref} has a prompt of {longest} tokens; with {cap} new ones it exceeds the context of {context}",
            f"Set max_new_tokens to {max(context - longest, 0)} or less, or select shorter prompts",
        )


def _lengths(start: Path, prompts: Manifest, template: TemplateName) -> list[int]:
    """Tokens of each prompt, in order, on the first pass over them."""
    from tokenizers import Tokenizer

    questions = prompts.read("prompts", columns=["question"])["question"].to_pylist()
    texts = [render(template, question) for question in questions]
    encodings = Tokenizer.from_file(str(start / "tokenizer.json")).encode_batch(texts)
    return [len(encoding.ids) for encoding in encodings]


def _too_long(start: Path, prompts: Manifest, recipe: RLRecipe) -> list[dict[str, Any]]:
    """The prompts with more tokens than the recipe allows."""
    if recipe.max_prompt_tokens is None:
        return []
    places = prompts.read("prompts", columns=["position", "prompt_id"]).to_pylist()
    lengths = _lengths(start, prompts, recipe.template)
    return [
        row | {"tokens": length}
        for row, length in zip(places, lengths, strict=True)
        if length > recipe.max_prompt_tokens
    ]


def _run(run: RunDirectory, prompts: Manifest, recipe: RLRecipe, start: Path) -> None:
    from transformers import AutoTokenizer

    engine = importlib.import_module(f"rl.{run.record['backend']}_backend")
    tokenizer = AutoTokenizer.from_pretrained(start, local_files_only=True)
    rows = controlled(run, short_enough(run, prompts, recipe, start), recipe)
    engine.run_reinforcement(
        run, rows, recipe, start, tokenizer, lambda step, folder: validate(run, recipe, step, folder)
    )


# -- what is left out ----------------------------------------------------------------------------------------------


def short_enough(run: RunDirectory, prompts: Manifest, recipe: RLRecipe, start: Path) -> list[dict[str, Any]]:
    """The rows of `prompts` that have no more tokens than the recipe allows. Those that have are said, and kept in the
    run's record."""
    rows = prompts.read("prompts").to_pylist()
    if recipe.max_prompt_tokens is None:
        return rows
    if "too_long" not in run.record:
        run.note(too_long=_too_long(start, prompts, recipe))
    left_out = {one["position"] for one in run.record["too_long"]}
    if left_out:
        print(
            f"octo: {len(left_out)} of {len(rows)} prompts have more than {recipe.max_prompt_tokens} tokens and are "
            f"left out; see `octo runs show {run.id}`",
            file=sys.stderr,
        )
    return [row for row in rows if row["position"] not in left_out]


def controlled(run: RunDirectory, rows: list[dict[str, Any]], recipe: RLRecipe) -> list[dict[str, Any]]:
    """The `rows` whose reference passes the controls. What fails is said, and kept in the run's record: a run that goes
    on leaves out the same, whatever the grader's clock says this time."""
    if "controls" not in run.record:
        run.note(controls=_controls(rows, recipe))
    failed = run.record["controls"]["failed"]
    if failed:
        one = failed[0]
        print(
            f"octo: {len(failed)} of {len(rows)} references fail the grader's controls and are left out, as "
            f"{one['reference']!r} ({one['control']}: {one['reason']}); see `octo runs show {run.id}`",
            file=sys.stderr,
        )
    left_out = {one["position"] for one in failed}
    if len(left_out) == len(rows):
        ref = run.record["manifests"][0]["ref"]
        raise UserError(f"no reference of {ref} passes the grader's controls", "Look at the answers")
    return [row for row in rows if row["position"] not in left_out]


def _controls(rows: list[dict[str, Any]], recipe: RLRecipe) -> dict[str, Any]:
    """How many references were checked, and each that failed, with the control and what the grader said."""
    with Grader(recipe.grading_workers, recipe.grading_seconds) as grader:
        found = check_references([row["answer"] for row in rows], grader)
    failed = [
        {"position": row["position"], "prompt_id": row["prompt_id"], "reference": row["answer"][:200]} | asdict(failure)
        for row, failure in zip(rows, found, strict=True)
        if failure
    ]
    return {"references": len(rows), "failed": failed}


# -- validation ----------------------------------------------------------------------------------------------------


def validate(run: RunDirectory, recipe: RLRecipe, step: int, folder: Path) -> None:
    """Evaluate the model in `folder`, that of `step`, if the recipe asks for it and it has not been done; its scores go
    into the ledger `scores` of `run` under that step, the responses into a run of their own."""
    wanted = recipe.validation
    if not wanted or (step % wanted.every and step != recipe.steps):
        return
    scores = run.table("scores")
    if scores and step in scores["step"].to_pylist():
        return
    benchmarks = [resolve(run.store, name) for name in wanted.evaluation.benchmarks]
    found = evaluate(run.store, folder, benchmarks, wanted.evaluation, parent=run).table("scores")
    assert found is not None
    run.append("scores", found.set_column(found.column_names.index("step"), "step", [[step] * found.num_rows]))


def _summary(run: RunDirectory) -> dict[str, Any]:
    """What the run came to, for run.json; rewards are means over the first and the last tenth of the steps."""
    ledger = run.table("steps")
    assert ledger is not None
    alarms, controls = run.table("alarms"), run.record.get("controls", {"failed": []})
    means = {name: ledger[name].to_numpy() for name in ("reward", "accuracy", "length_mean")}
    tenth = max(1, ledger.num_rows // 10)
    return {
        "steps": ledger.num_rows,
        "tokens": int(np.sum(ledger["tokens"].to_numpy())),
        "seconds": round(float(np.sum(ledger["seconds"].to_numpy())), 1),
        "references_left_out": len(controls["failed"]),
        **({"prompts_too_long": len(run.record["too_long"])} if "too_long" in run.record else {}),
        "alarms": alarms.num_rows if alarms else 0,
        "stopped_by": _stopped_by(alarms),
        **{f"{name}_first": _mean(values[:tenth]) for name, values in means.items()},
        **{f"{name}_last": _mean(values[-tenth:]) for name, values in means.items()},
    }


def _stopped_by(alarms: Any) -> str | None:
    """The alarm that ended the run, in words."""
    stops = [row for row in alarms.to_pylist() if row["action"] == "stop"] if alarms else []
    return f"{stops[0]['signal']} {stops[0]['value']:.4g} at step {stops[0]['step']}" if stops else None


def _mean(values: np.ndarray) -> float | None:
    """None where no value is a number: run.json is plain JSON."""
    return None if np.isnan(values).all() else float(np.nanmean(values))

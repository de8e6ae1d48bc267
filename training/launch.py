"""Launches a stage of mid-training from a mixture manifest, and refuses everything that does not fit.

`train` checks the manifest's digest and files, the lengths, the vocabulary and the tokenizer before an engine is
loaded, opens the run that this launch is, goes on where it stopped, and at the end holds the ledger of consumed tokens
against the mixture's plan. A run that is done is returned at once. Leaves out places other than this process.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from manifests.errors import UserError
from manifests.manifest import Manifest, check_launch, resolve
from manifests.recipe import parse
from manifests.runs import RunDirectory, open_run
from manifests.store import Store, file_sha256
from mixtures.reader import MixtureReader
from training.config import TrainRecipe
from training.schedule import positions

BACKEND = "torch"


@dataclass(frozen=True)
class _Launch:
    """What a checked launch comes to: the mixture's reader, the number of steps, and the folder to start from."""

    reader: MixtureReader
    steps: int
    start: Path | None

    @property
    def inputs(self) -> dict[str, str]:
        """Checksums of a start that is neither manifest nor run, by file name."""
        return {path.name: file_sha256(path) for path in _model_files(self.start)} if self.start else {}


def train(store: Store, manifest: Manifest, recipe: TrainRecipe, parent: RunDirectory | None = None) -> RunDirectory:
    """Train one stage on the mixture `manifest`, from the last checkpoint of `parent` if there is one.

    UserError when manifest, recipe and start do not fit together, when a file of the manifest is damaged, when another
    process holds the run, or when the loss is no number. A run that failed goes on from its last checkpoint when
    launched again.
    """
    launch = _check(store, manifest, recipe, parent)
    run = open_run(store, "train", [manifest], recipe, BACKEND, parent, inputs={} if parent else launch.inputs)
    if run.status == "done":
        return run
    with run.running():
        _run(run, launch, manifest, recipe)
        run.finish(_summary(run, manifest, recipe, launch.steps))
    return run


def plan(store: Store, manifest: Manifest, recipe: TrainRecipe, parent: RunDirectory | None = None) -> dict[str, Any]:
    """What `train` would do, after all its checks: one row for people."""
    launch = _check(store, manifest, recipe, parent)
    sequences = min(launch.steps * recipe.batch_sequences, launch.reader.n_sequences)
    return {
        "manifest": manifest.ref,
        "stage": recipe.stage,
        "start": parent.id if parent else recipe.start or "random weights",
        "steps": launch.steps,
        "batch_sequences": recipe.batch_sequences,
        "sequences": sequences,
        "tokens": sequences * launch.reader.sequence_length,
        "lr": recipe.optimizer.lr,
        "schedule": recipe.schedule.shape,
    }


def trace(store: Store, run: RunDirectory, step: int) -> pa.Table:
    """The documents behind `step` of a training run, as spans of the sequences it read."""
    if run.record["kind"] != "train":
        raise UserError(f"{run.id} is a run of kind {run.record['kind']}", "Trace a training run; see `octo runs list`")
    recipe = parse(run.record["config"], TrainRecipe, run.id)
    reader = MixtureReader(store, resolve(store, run.record["manifests"][0]["id"]))
    if not 1 <= step <= (steps := _steps(reader, recipe)):
        raise UserError(f"{run.id} has no step {step}", f"Its steps are 1 to {steps}")
    return reader.batch(positions(step, recipe.batch_sequences, reader.n_sequences)).spans


def last_checkpoint(run: RunDirectory) -> Path:
    """The folder of the newest checkpoint of a run that is done; UserError when it is not."""
    if run.status != "done":
        raise UserError(f"{run.id} is {run.status}, not done", "Launch it again to go on where it stopped")
    return run.checkpoint(max(run.checkpoints(), default=0))


# -- checks --------------------------------------------------------------------------------------------------------


def _check(store: Store, manifest: Manifest, recipe: TrainRecipe, parent: RunDirectory | None) -> _Launch:
    if manifest.kind != "mixture":
        raise UserError(f"{manifest.ref} is a {manifest.kind}, not a mixture", "Make one with `octo mix`")
    starts = [name for name, given in (("model", recipe.model), ("start", recipe.start), ("--from", parent)) if given]
    if len(starts) != 1:
        found = " and ".join(starts) or "none"
        raise UserError(f"a run starts from model, start or another run; given: {found}", "Give exactly one of them")
    check_launch(store, manifest)
    reader = MixtureReader(store, manifest)
    start = last_checkpoint(parent) if parent else Path(recipe.start) if recipe.start else None
    if start:
        check_start(start, _tokenizer(manifest))
    _check_sizes(reader, recipe, start, manifest)
    return _Launch(reader, _steps(reader, recipe), start)


def _steps(reader: MixtureReader, recipe: TrainRecipe) -> int:
    """Steps of the stage; UserError when the mixture is too short for those asked for."""
    whole = -(-reader.n_sequences // recipe.batch_sequences)
    if recipe.steps and recipe.steps * recipe.batch_sequences > reader.n_sequences:
        raise UserError(
            f"{recipe.steps} steps of {recipe.batch_sequences} sequences need {recipe.steps * recipe.batch_sequences}; "
            f"the mixture has {reader.n_sequences}",
            f"Train at most {reader.n_sequences // recipe.batch_sequences} steps, or mix with a greater budget",
        )
    return recipe.steps or whole


def _check_sizes(reader: MixtureReader, recipe: TrainRecipe, start: Path | None, manifest: Manifest) -> None:
    """The mixture's vocabulary and sequences must fit into the model."""
    if start:
        from transformers import AutoConfig

        model = AutoConfig.from_pretrained(start, local_files_only=True).get_text_config()
    else:
        assert recipe.model
        model = recipe.model
    if reader.vocab_size > (model.vocab_size or reader.vocab_size):
        raise UserError(
            f"{manifest.ref} has {reader.vocab_size} tokens, the model {model.vocab_size}",
            "Mix with the model's tokenizer, or enlarge vocab_size",
        )
    if reader.sequence_length > model.max_position_embeddings:
        raise UserError(
            f"{manifest.ref} has sequences of {reader.sequence_length} tokens, the model takes "
            f"{model.max_position_embeddings}",
            "Mix with a shorter sequence_length, or enlarge max_position_embeddings",
        )


def check_start(start: Path, tokenizer_json: Path | None) -> None:
    """Refuse a folder that is no model, or whose tokenizer is not the given one."""
    if not (start / "config.json").is_file():
        raise UserError(f"{start} is no model folder: config.json is missing", "Give a Hugging Face model folder")
    own = start / "tokenizer.json"
    if tokenizer_json and own.is_file() and file_sha256(own) != file_sha256(tokenizer_json):
        raise UserError(f"the mixture's tokenizer is not that of {start}", f"Mix with tokenizer={start}")


def _tokenizer(manifest: Manifest) -> Path:
    return manifest.local("tokenizer")["tokenizer.json"]


def _model_files(folder: Path) -> list[Path]:
    """The files that make a model folder the same model."""
    return sorted([*folder.glob("*.safetensors"), *folder.glob("*config.json"), *folder.glob("tokenizer.json")])


# -- run and reconcile ---------------------------------------------------------------------------------------------


def _run(run: RunDirectory, launch: _Launch, manifest: Manifest, recipe: TrainRecipe) -> None:
    from training.checkpoints import copy_tokenizer, write_tokenizer
    from training.torch_backend import run_training

    tokenizer = run.path / "tokenizer"
    write_tokenizer(tokenizer, _tokenizer(manifest), launch.reader.eos_id)
    if launch.start:
        copy_tokenizer(launch.start, tokenizer)
    run_training(run, launch.reader, recipe, launch.steps, launch.start, tokenizer)


def _summary(run: RunDirectory, manifest: Manifest, recipe: TrainRecipe, steps: int) -> dict[str, Any]:
    """What the run came to, for run.json. Planned and achieved tokens per component must be equal."""
    planned = _planned(manifest, recipe, steps)
    achieved = _achieved(run)
    if planned != achieved:
        raise RuntimeError(f"{run.id} consumed {achieved}, planned were {planned}")
    ledger = run.table("steps")
    assert ledger is not None
    losses = ledger["loss"].to_numpy()
    return {
        "steps": steps,
        "tokens": int(np.sum(ledger["tokens"].to_numpy())),
        "loss_first": float(losses[0]),
        "loss_last": float(np.mean(losses[-10:])),
        "seconds": round(float(np.sum(ledger["seconds"].to_numpy())), 1),
        "planned_tokens": planned,
        "achieved_tokens": achieved,
    }


def _planned(manifest: Manifest, recipe: TrainRecipe, steps: int) -> dict[str, int]:
    """Tokens of each component in the sequences that the stage reads, by the manifest's own table of their order."""
    read = manifest.read("sequences", columns=["component"]).slice(0, steps * recipe.batch_sequences)
    counts = read["component"].value_counts()
    length = manifest.recipe["sequence_length"]
    return {str(one["values"]): one["counts"].as_py() * length for one in counts}


def _achieved(run: RunDirectory) -> dict[str, int]:
    ledger = run.table("consumption")
    assert ledger is not None
    sums = ledger.group_by("component").aggregate([("tokens", "sum")])
    return dict(zip(sums["component"].to_pylist(), sums["tokens_sum"].to_pylist(), strict=True))

"""Launches mid-training from a mixture manifest, and refuses everything that does not fit.

`train` checks each manifest's digest and files, the lengths, the vocabulary, the tokenizer, the start and the disk
before an engine is loaded, opens the run that this launch is, goes on where it stopped, and at the end holds the ledger
of consumed tokens against the mixtures' plans. A run that is done is returned at once.

The torch backend on one rank runs in this process. Everything else is a command over the run's directory: the files
`engine/launch.json` and, for nanotron, `engine/nanotron.yaml`, and `python -m training.worker`. Leaves out places other
than this machine.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from rich.filesize import decimal

from evaluation.samplers.model_folder import checksums
from manifests.errors import UserError
from manifests.manifest import Manifest, check_launch, resolve
from manifests.runs import RunDirectory, open_run
from manifests.store import Store, file_sha256
from training.config import ModelRecipe, TrainRecipe
from training.doctor import is_cuda, nanotron_lacks
from training.models import described, parameters, read_config
from training.nanotron_config import FOLDER, Mixture, to_nanotron
from training.places import run_engine
from training.recorder import spikes
from training.stages import Begin, Stage, lay_out
from training.trackers import check_trackers

Backend = Literal["torch", "nanotron"]
STATE_BYTES = 12
"""Bytes of a checkpoint per weight: the weight and two running means, float32."""


@dataclass(frozen=True)
class _Launch:
    """What a checked launch comes to."""

    recipe: TrainRecipe
    stages: tuple[Stage, ...]
    start: Path | None
    parent: RunDirectory | None

    @property
    def steps(self) -> int:
        return self.stages[-1].last

    @property
    def inputs(self) -> dict[str, str]:
        """Checksums of a start that is neither manifest nor run, by file name."""
        if self.parent or not self.start:
            return {}
        return checksums(self.start)

    @property
    def mixture(self) -> Mixture:
        reader = self.stages[0].reader
        steps = tuple(stage.steps for stage in self.stages)
        return Mixture(reader.sequence_length, reader.vocab_size, reader.eos_id, steps)

    def open(self, store: Store, backend: Backend, resume: bool) -> RunDirectory:
        """The run that this launch is."""
        manifests = [stage.manifest for stage in self.stages]
        return open_run(store, "train", manifests, self.recipe, backend, self.parent, self.inputs, resume)


def train(
    store: Store,
    manifest: Manifest,
    recipe: TrainRecipe,
    parent: RunDirectory | None = None,
    backend: Backend = "torch",
    resume: bool = False,
) -> RunDirectory:
    """Train on the mixture `manifest` and on those of `recipe.then`, from the last checkpoint of `parent` if given.

    UserError when manifests, recipe and start do not fit together, when a file of a manifest is damaged, when another
    process holds the run, or when the loss is no number. A run that failed goes on from its last checkpoint when
    launched again; with `resume`, UserError when it was never begun.
    """
    launch = _check(store, manifest, recipe, parent, backend)
    run = launch.open(store, backend, resume)
    if run.status == "done":
        return run
    with run.running():
        note_recipe(run, recipe)
        _run(run, launch, backend)
        run.finish(_summary(run, launch.stages))
    return run


def note_recipe(run: RunDirectory, recipe: TrainRecipe) -> None:
    """Keep in the record what the run is launched with now: ranks, threads and checkpoints may be others than when it
    was begun, and its processes take them from there."""
    run.note(config=recipe.model_dump(mode="json"))


def prepare(
    store: Store,
    manifest: Manifest,
    recipe: TrainRecipe,
    parent: RunDirectory | None,
    backend: Backend,
    resume: bool = False,
) -> RunDirectory:
    """The run that `train` would train, after all its checks, for a job elsewhere. UserError as there."""
    launch = _check(store, manifest, recipe, parent, backend)
    ranks, nodes = recipe.parallel.dp * recipe.parallel.tp, recipe.place.nodes
    if ranks % nodes:
        raise UserError(f"{ranks} ranks cannot be spread evenly over {nodes} nodes", "Change parallel or place.nodes")
    return launch.open(store, backend, resume)


def plan(
    store: Store,
    manifest: Manifest,
    recipe: TrainRecipe,
    parent: RunDirectory | None = None,
    backend: Backend = "torch",
) -> list[dict[str, Any]]:
    """What `train` would do, after all its checks: one row per stage, for people."""
    launch = _check(store, manifest, recipe, parent, backend)
    return [
        {
            "manifest": stage.manifest.ref,
            "stage": stage.name,
            "start": (parent.id if parent else recipe.start or "random weights") if stage.first == 1 else "",
            "steps": stage.steps,
            "batch_sequences": recipe.batch_sequences,
            "tokens": sum(stage.tokens().values()),
            "lr": stage.peak,
            "schedule": stage.schedule.shape,
            "backend": backend,
        }
        for stage in launch.stages
    ]


def last_checkpoint(run: RunDirectory) -> Path:
    """The folder of the newest checkpoint of a run that is done; UserError when it is not."""
    if run.status != "done":
        raise UserError(f"{run.id} is {run.status}, not done", "Launch it again to resume it")
    return run.checkpoint(run.last_step)


# -- checks --------------------------------------------------------------------------------------------------------


def _check(
    store: Store, manifest: Manifest, recipe: TrainRecipe, parent: RunDirectory | None, backend: Backend
) -> _Launch:
    manifests = [manifest, *(resolve(store, stage.manifest) for stage in recipe.then or ())]
    for one in manifests:
        if one.kind != "mixture":
            raise UserError(f"{one.ref} is a {one.kind}, not a mixture", "Make one with `octo mix`")
    starts = [name for name, given in (("model", recipe.model), ("start", recipe.start), ("--from", parent)) if given]
    if len(starts) != 1:
        found = " and ".join(starts) or "none"
        raise UserError(f"a run starts from model, start or another run; given: {found}", "Give exactly one of them")
    for one in manifests:
        check_launch(store, one)
    stages = lay_out(store, manifests, recipe, parent.id if parent else None)
    for stage in stages:
        if stage.schedule.warmup_steps >= stage.steps:
            said = f"stage {stage.name} has {stage.steps} steps and a warmup of {stage.schedule.warmup_steps}"
            raise UserError(said, "Lower schedule.warmup_steps, or train on a longer mixture")
    start = last_checkpoint(parent) if parent else Path(recipe.start) if recipe.start else None
    if start:
        for one in manifests:
            check_start(start, _tokenizer(one))
    check_trackers(recipe.track)
    launch = _Launch(recipe, stages, start, parent)
    _check_sizes(launch, manifest)
    _check_backend(launch, backend)
    _check_disk(store, launch)
    return launch


def _check_sizes(launch: _Launch, manifest: Manifest) -> None:
    """The mixture's vocabulary and sequences must fit into the model."""
    reader, (vocab_size, context) = launch.stages[0].reader, _sizes(launch)
    if reader.vocab_size > (vocab_size or reader.vocab_size):
        raise UserError(
            f"{manifest.ref} has {reader.vocab_size} tokens, the model {vocab_size}",
            "Mix with the model's tokenizer, or enlarge vocab_size",
        )
    if reader.sequence_length > context:
        raise UserError(
            f"{manifest.ref} has sequences of {reader.sequence_length} tokens, the model takes {context}",
            "Mix with a shorter sequence_length, or enlarge max_position_embeddings",
        )


def _sizes(launch: _Launch) -> tuple[int | None, int]:
    """Rows of the embedding (None: as many as there are tokens) and longest context."""
    if not launch.start:
        assert launch.recipe.model
        return launch.recipe.model.vocab_size, launch.recipe.model.max_position_embeddings
    from transformers import AutoConfig

    kind = read_config(launch.start).get("model_type")
    try:
        model = AutoConfig.from_pretrained(launch.start, local_files_only=True).get_text_config()
    except (ValueError, KeyError, OSError) as error:
        raise UserError(
            f"{launch.start} is of type {kind}, which transformers does not know", "Start from another"
        ) from error
    return model.vocab_size, model.max_position_embeddings


def _check_backend(launch: _Launch, backend: Backend) -> None:
    """What this backend cannot do is refused before anything starts."""
    recipe = launch.recipe
    if backend == "torch":
        if recipe.parallel.tp > 1:
            raise UserError("the torch backend does not spread layers over ranks", "Use --backend nanotron, or tp: 1")
        return
    for stage in launch.stages:
        whole = (stage.reader.n_sequences - stage.reading.begin) // recipe.batch_sequences
        if stage.steps > whole:
            raise UserError(
                f"nanotron cannot take the short last batch of {stage.manifest.ref}",
                f"Set steps: {whole} for stage {stage.name}, or mix a whole number of batches",
            )
    to_nanotron(_resolved(launch), launch.mixture)
    if lacks := nanotron_lacks(recipe.precision):
        raise UserError(*lacks)


def _resolved(launch: _Launch) -> TrainRecipe:
    """The recipe with the architecture it starts from named in `model`."""
    if not launch.start:
        return launch.recipe
    return launch.recipe.model_copy(update={"model": described(launch.start), "start": None})


def _check_disk(store: Store, launch: _Launch) -> None:
    """There must be room for the checkpoints that are kept and for the one being written."""
    if not store.is_local:
        return
    size = STATE_BYTES * _weights(launch)
    every, keep = launch.recipe.checkpoint_every, launch.recipe.keep
    count = min(-(-launch.steps // every), (keep or launch.steps) + 1)
    free = shutil.disk_usage(store.root if Path(store.root).exists() else Path.cwd()).free
    if size * count > free:
        raise UserError(
            f"the checkpoints, {count} × {decimal(size)}, need more than the {decimal(free)} that are free",
            "Keep fewer, free space, or use another store",
        )


def _weights(launch: _Launch) -> int:
    """How many weights the model has, roughly where it starts from a folder."""
    if launch.start:
        return sum(path.stat().st_size for path in launch.start.glob("*.safetensors")) // 4
    assert isinstance(launch.recipe.model, ModelRecipe)
    return parameters(launch.recipe.model, launch.stages[0].reader.vocab_size)


def check_start(start: Path, tokenizer_json: Path | None) -> None:
    """Refuse a folder that is no model, or whose tokenizer is not the given one."""
    if not (start / "config.json").is_file():
        raise UserError(f"{start} is no model folder: config.json is missing", "Give a Hugging Face model folder")
    own = start / "tokenizer.json"
    if tokenizer_json and own.is_file() and file_sha256(own) != file_sha256(tokenizer_json):
        raise UserError(f"the mixture's tokenizer is not that of {start}", f"Mix with tokenizer={start}")


def _tokenizer(manifest: Manifest) -> Path:
    return manifest.local("tokenizer")["tokenizer.json"]


# -- run and reconcile ---------------------------------------------------------------------------------------------


def _run(run: RunDirectory, launch: _Launch, backend: Backend) -> None:
    """From the run's own last checkpoint if it has one, else from its start, else from random weights."""
    from training.checkpoints import copy_tokenizer, write_tokenizer
    from training.torch_backend import run_training

    tokenizer = run.path / "tokenizer"
    write_tokenizer(tokenizer, _tokenizer(launch.stages[0].manifest), launch.stages[0].reader.eos_id)
    if launch.start:
        copy_tokenizer(launch.start, tokenizer)
    done = run.last_step
    run.truncate(done)
    folder = run.checkpoint(done) if done else launch.start
    begin = Begin(folder, done, bool(done or (launch.parent and launch.recipe.carry_optimizer)))
    if backend == "torch" and launch.recipe.parallel.dp == 1:
        run_training(run, launch.stages, launch.recipe, begin, tokenizer)
    elif begin.done < launch.steps:
        _run_engine(run, launch, begin, tokenizer, backend)


def _run_engine(run: RunDirectory, launch: _Launch, begin: Begin, tokenizer: Path, backend: Backend) -> None:
    """Write the files the engine starts from, run it, and clear away random weights made for it."""
    engine, parallel = run.path / FOLDER, launch.recipe.parallel
    engine.mkdir(exist_ok=True)
    folder = begin.folder or _random_weights(engine / "start", launch)
    told = {"folder": str(folder), "done": begin.done, "carries_optimizer": begin.carries_optimizer}
    (engine / "launch.json").write_text(json.dumps(told | {"tokenizer": str(tokenizer)}, indent=1), encoding="utf-8")
    if backend == "nanotron":
        config = to_nanotron(_resolved(launch), launch.mixture)
        (engine / "nanotron.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    ranks, is_distributed = parallel.dp * parallel.tp, backend == "nanotron" and is_cuda()
    arguments = ["-m", "training.worker", run.store.url, run.id]
    arguments += [str(ranks)] if ranks > 1 or is_distributed else []
    try:
        run_engine(engine, arguments, f"train: {launch.recipe.stage}", begin.done, launch.steps)
    finally:
        shutil.rmtree(engine / "start", ignore_errors=True)


def _random_weights(folder: Path, launch: _Launch) -> Path:
    """A model folder with the random weights that the torch backend would begin with."""
    import torch

    from training.torch_backend import new_model

    assert launch.recipe.model
    reader = launch.stages[0].reader
    torch.manual_seed(launch.recipe.seed)
    new_model(launch.recipe.model, reader.vocab_size, reader.eos_id).save_pretrained(folder)
    return folder


def _summary(run: RunDirectory, stages: tuple[Stage, ...]) -> dict[str, Any]:
    """What the run came to, for run.json. Planned and achieved tokens per component must be equal."""
    planned, achieved = _planned(stages), _achieved(run, stages)
    if planned != achieved:
        raise RuntimeError(f"{run.id} consumed {achieved}, planned were {planned}")
    ledger = run.table("steps")
    assert ledger is not None
    losses = ledger["loss"].to_pylist()
    return {
        "steps": stages[-1].last,
        "tokens": int(np.sum(ledger["tokens"].to_numpy())),
        "loss_first": losses[0],
        "loss_last": float(np.mean(losses[-10:])),
        "seconds": round(float(np.sum(ledger["seconds"].to_numpy())), 1),
        "spikes": spikes(losses),
        "planned_tokens": planned,
        "achieved_tokens": achieved,
    }


def _planned(stages: tuple[Stage, ...]) -> dict[str, int]:
    """Tokens of each component; of several stages each under `stage/component`."""
    return {_key(stages, stage, name): n for stage in stages for name, n in stage.tokens().items()}


def _achieved(run: RunDirectory, stages: tuple[Stage, ...]) -> dict[str, int]:
    """The same out of the ledger."""
    ledger = run.table("consumption")
    assert ledger is not None
    sums: dict[str, int] = {}
    firsts = np.array([stage.first for stage in stages])
    which = np.searchsorted(firsts, ledger["step"].to_numpy(), "right") - 1
    rows = zip(which.tolist(), ledger["component"].to_pylist(), ledger["tokens"].to_pylist(), strict=True)
    for number, component, tokens in rows:
        key = _key(stages, stages[number], component)
        sums[key] = sums.get(key, 0) + tokens
    return sums


def _key(stages: tuple[Stage, ...], stage: Stage, component: str) -> str:
    return component if len(stages) == 1 else f"{stage.name}/{component}"

"""Measures the loss of checkpoints on held-out texts: what `octo eval --loss` calls.

`evaluate_loss` makes a run of kind `eval` whose ledger `losses_held_out` gets the rows of a checkpoint as soon as it is
measured, whole or not at all, so that an evaluation that was killed resumes with the checkpoints that are missing. The
same checkpoints, manifests and limits are the same run: one that is done is returned as it is.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from evaluation.config import LossRecipe
from evaluation.contamination import manifests_behind
from evaluation.held_out.loss import Prepared, context_of, nats, prepare, rows_of
from evaluation.held_out.texts import Source, checked_sources, sources_of, texts_of
from evaluation.samplers.model_folder import check_folder, checksums
from manifests.errors import UserError
from manifests.manifest import Manifest
from manifests.progress import progress
from manifests.recipe import semantic
from manifests.runs import RunDirectory, begun, open_run
from manifests.store import Store
from manifests.tables import LOSSES_HELD_OUT

Row = dict[str, Any]
Start = RunDirectory | Path
LEDGER = "losses_held_out"


def checkpoints_of(start: Start, which: str) -> list[int]:
    """The steps that `all`, `last` or a number means; step 0 for a model folder."""
    if isinstance(start, Path):
        if which not in ("last", "all"):
            raise UserError(f"{start} is a model folder and has no checkpoint {which}", "Leave --checkpoints out")
        return [0]
    steps = start.checkpoints()
    if not steps:
        raise UserError(f"{start.id} has no checkpoint", "Train it first")
    match which:
        case "all":
            return steps
        case "last":
            return steps[-1:]
        case _ if which.isdecimal() and int(which) in steps:
            return [int(which)]
        case _:
            known = ", ".join(map(str, steps))
            raise UserError(f"{start.id} has no checkpoint {which}", f"Give all, last or one of {known}")


def evaluate_loss(
    store: Store, start: Start, names: Sequence[str], recipe: LossRecipe, steps: Sequence[int]
) -> RunDirectory:
    """Measure the checkpoints `steps` of a run, or a model folder, on the manifests called `names`.

    UserError for a manifest that is not there, is damaged or holds nothing out, and for a model that does not fit its
    tokenizer.
    """
    sources = checked_sources(store, _behind(store, start), names)
    folders = {step: _folder(start, step) for step in steps}
    parent = start if isinstance(start, RunDirectory) else None
    run = open_run(store, *_launch(sources, recipe, folders, parent))
    if run.status == "done":
        return run
    with run.running():
        _measure(run, sources, recipe, folders, parent)
        run.finish(_summary(run))
    return run


def find(
    store: Store, start: RunDirectory, names: Sequence[str], recipe: LossRecipe, steps: Sequence[int]
) -> RunDirectory | None:
    """The run of `evaluate_loss`, if such a measurement was ever begun; nothing is written."""
    sources = sources_of(store, _behind(store, start), names)
    return begun(store, *_launch(sources, recipe, {step: _folder(start, step) for step in steps}, start))


def _launch(
    sources: list[Source], recipe: LossRecipe, folders: dict[int, Path], parent: RunDirectory | None
) -> tuple[Any, ...]:
    """What makes the identity of a measurement, as `open_run` takes it."""
    inputs = {f"{step}/{name}": sha for step, folder in folders.items() for name, sha in checksums(folder).items()}
    config = {"measure": "loss", "kinds": [one.kind for one in sources]} | semantic(recipe)
    return "eval", _manifests(sources), config, "transformers", parent, inputs


def plan(store: Store, start: Start, names: Sequence[str], recipe: LossRecipe, steps: Sequence[int]) -> list[Row]:
    """What `evaluate_loss` would do, after its checks: one row per manifest."""
    found = []
    for source in checked_sources(store, _behind(store, start), names):
        texts = texts_of(store, source, recipe.max_documents)
        about = {"manifest": source.manifest.ref, "texts": source.kind, "documents": len(texts)}
        found.append(about | {"bytes": sum(len(one.encode()) for one in texts.targets), "checkpoints": len(steps)})
    return found


def measure(
    run: RunDirectory, model: Any, prepared: Sequence[Prepared], step: int, of: str | None, saved: bool
) -> None:
    """Measure `model` and store the rows of all texts in `run`, at once."""
    store_rows(run, [row for one in prepared for row in rows_of(one, nats(model, one), step, of, saved)])


def store_rows(run: RunDirectory, rows: list[Row]) -> None:
    """One part of the ledger."""
    run.append(LEDGER, pa.Table.from_pylist(rows, schema=LOSSES_HELD_OUT.schema))


def prepared_for(
    store: Store,
    sources: Sequence[Source],
    recipe: LossRecipe,
    tokenizer: Path,
    context: int | None,
    model: RunDirectory | None,
) -> list[Prepared]:
    """The texts of `sources`, encoded for a model."""
    return [
        prepare(texts_of(store, one, recipe.max_documents, model), tokenizer, context, recipe.max_tokens)
        for one in sources
    ]


def _behind(store: Store, start: Start) -> list[str]:
    """The manifests that a run and those before it were launched with; none of a model folder."""
    return [] if isinstance(start, Path) else list(manifests_behind(store, start))


def _folder(start: Start, step: int) -> Path:
    folder = start if isinstance(start, Path) else start.checkpoint(step)
    check_folder(folder)
    return folder


def _manifests(sources: Sequence[Source]) -> list[Manifest]:
    return list({one.manifest.id: one.manifest for one in sources}.values())


def _measure(
    run: RunDirectory,
    sources: Sequence[Source],
    recipe: LossRecipe,
    folders: dict[int, Path],
    parent: RunDirectory | None,
) -> None:
    """Whatever the ledger does not hold yet."""
    kept = run.table(LEDGER)
    done = {*kept["step"].to_pylist()} if kept else set()
    prepared: list[Prepared] = []
    with progress("eval: loss", len(folders)) as advance:
        for step, folder in folders.items():
            if step not in done:
                model = load_for_measuring(folder)
                # every checkpoint of a run has the same tokenizer and context
                prepared = prepared or prepared_for(run.store, sources, recipe, folder, context_of(model), parent)
                measure(run, model, prepared, step, parent.id if parent else None, True)
            advance(1)


def load_for_measuring(folder: Path) -> Any:
    """The model of a folder in float32, on a GPU if there is one."""
    logging.disable_progress_bar()
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot load the model in {folder}: {' '.join(str(error).split())[:200]}") from error
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def _summary(run: RunDirectory) -> Row:
    """Bits per byte of each manifest at the last checkpoint."""
    rows = run.table(LEDGER)
    assert rows is not None
    last = max(rows["step"].to_pylist())
    mine = [row for row in rows.to_pylist() if row["step"] == last and row["slice"] == "all"]
    return {"step": last, "bits_per_byte": {row["manifest"]: row["bits_per_byte"] for row in mine}}

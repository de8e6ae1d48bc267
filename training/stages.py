"""The stages of a run: the tokens that each step reads, and its learning rate.

Everything follows from the number of a step, so every backend, at any number of ranks, reads the same tokens in the
same order, also after a resume. Steps are numbered through the run; the schedule of a stage starts at its first step.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from manifests.errors import UserError
from manifests.manifest import Manifest, resolve
from manifests.runs import RunDirectory
from manifests.store import Store
from mixtures.reader import Batch, MixtureReader
from training.config import ScheduleRecipe, TrainRecipe
from training.readings import Reading, readings
from training.schedule import learning_rate


@dataclass(frozen=True)
class Stage:
    """A stage laid out in the run; `peak` is its peak learning rate."""

    name: str
    reading: Reading
    reader: MixtureReader
    peak: float
    schedule: ScheduleRecipe

    @property
    def manifest(self) -> Manifest:
        return self.reading.mixture

    @property
    def first(self) -> int:
        """The number of its first step."""
        return self.reading.first

    @property
    def last(self) -> int:
        return self.reading.last

    @property
    def steps(self) -> int:
        return self.reading.steps

    def batch(self, step: int) -> Batch:
        """What `step` of the run reads."""
        return self.reader.batch(self.reading.sequences(step))

    def learning_rate(self, step: int) -> float:
        """The learning rate of `step` of the run."""
        return learning_rate(step - self.first + 1, self.steps, self.peak, self.schedule)

    def tokens(self) -> dict[str, int]:
        """Planned tokens of each component, from the manifest's table of the order."""
        read = self.manifest.read("sequences", columns=["component"])
        read = read.slice(self.reading.begin, self.reading.end - self.reading.begin)
        counts = read["component"].value_counts()
        return {str(one["values"]): one["counts"].as_py() * self.reader.sequence_length for one in counts}


@dataclass(frozen=True)
class Begin:
    """Where a run begins: `folder` holds the weights (None: random ones), `done` is the number of steps already done,
    `carries_optimizer` says that the folder's optimizer state is used."""

    folder: Path | None
    done: int
    carries_optimizer: bool


def lay_out(store: Store, manifests: list[Manifest], recipe: TrainRecipe, parent: str | None) -> tuple[Stage, ...]:
    """The stages of `recipe`, each on its manifest; UserError when a mixture is too short or does not fit the first.
    `parent` is the ID of the run that it continues."""
    then = recipe.then or ()
    plans = [(recipe.stage, recipe.optimizer.lr, recipe.schedule)]
    plans += [(stage.stage, stage.lr or recipe.optimizer.lr, stage.schedule) for stage in then]
    stages: list[Stage] = []
    for reading, plan in zip(readings(store, manifests, recipe.model_dump(mode="json"), parent), plans, strict=True):
        reader, (name, peak, schedule) = MixtureReader(store, reading.mixture), plan
        stages.append(Stage(name, reading, reader, peak, schedule))
        _check_alike(stages[0].reader, reader, reading.mixture)
    return tuple(stages)


def _check_alike(first: MixtureReader, other: MixtureReader, manifest: Manifest) -> None:
    shapes = [(reader.sequence_length, reader.vocab_size, reader.eos_id) for reader in (first, other)]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"{manifest.ref} has sequences of {shapes[1][0]} tokens out of {shapes[1][1]}, the first stage of "
            f"{shapes[0][0]} out of {shapes[0][1]}",
            "Mix all stages of a run with one tokenizer and one sequence_length",
        )


def stage_at(stages: tuple[Stage, ...], step: int) -> Stage:
    """The stage that `step` of the run, from 1 to its last, belongs to."""
    return next(stage for stage in stages if step <= stage.last)


def per_document(batch: Batch, nats_BS: np.ndarray, labels_BS: np.ndarray, step: int) -> pa.Table:
    """The mean loss on each document of a batch, as rows of the ledger `losses`.

    `nats_BS` is the loss at each input, `labels_BS` whether it counts. A document's last label may be in the next
    sequence; it is counted where its input is.
    """
    begins = batch.boundaries[:-1]
    nats = np.add.reduceat(np.where(labels_BS, nats_BS, 0.0).ravel().astype(np.float64), begins)
    counts = np.add.reduceat(labels_BS.ravel().astype(np.int64), begins)
    spans = batch.spans
    columns = {"step": np.full(spans.num_rows, step, np.int64)}
    columns |= {name: spans[name] for name in ("sequence", "component", "source", "doc_id", "epoch", "start", "length")}
    columns |= {"labels": counts, "loss": pa.array(nats / np.maximum(counts, 1), mask=counts == 0)}
    return pa.table(columns)


def stages_of(store: Store, run: RunDirectory, recipe: TrainRecipe) -> tuple[Stage, ...]:
    """The stages of a run that was launched, by the manifests in its record."""
    manifests = [resolve(store, manifest["id"]) for manifest in run.record["manifests"]]
    return lay_out(store, manifests, recipe, run.record["parent"])

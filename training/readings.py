"""Which sequences of which mixture each step of a training run reads, from its recipe and its parent run.

A stage reads its mixture from the beginning, `batch` sequences a step. If its mixture extends the one read just before
it (see `mixtures.extend`), it continues where that one ended, so that nothing is read twice or left out. Leaves out
ranks and micro-batches, which cut a step's sequences.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from manifests.errors import UserError
from manifests.manifest import Manifest, load_all
from manifests.runs import load_run
from manifests.store import Store
from mixtures.extend import shared_with
from training.schedule import positions


@dataclass(frozen=True)
class Reading:
    """Steps `first` to `last` of a run read `mixture` from its sequence `begin` on, `batch` sequences a step."""

    mixture: Manifest
    begin: int
    first: int
    last: int
    batch: int

    @property
    def steps(self) -> int:
        return self.last - self.first + 1

    @property
    def end(self) -> int:
        """The sequence after the last that is read."""
        return min(self.begin + self.steps * self.batch, self.mixture.counts["sequences"])

    def sequences(self, step: int) -> np.ndarray:
        """What `step` of the run reads, int64."""
        total = self.mixture.counts["sequences"] - self.begin
        return self.begin + positions(step - self.first + 1, self.batch, total)

    def step_of(self, sequence: int) -> int | None:
        """The step that reads `sequence`; None if none does."""
        return self.first + (sequence - self.begin) // self.batch if self.begin <= sequence < self.end else None


def readings(store: Store, mixtures: Sequence[Manifest], config: dict[str, Any], parent: str | None) -> list[Reading]:
    """The stages on `mixtures` of a run with this `config` (a TrainRecipe as JSON, or what an older version wrote),
    after the run of the ID `parent`; UserError if a mixture is too short for a stage."""
    found: list[Reading] = []
    batch, then = config["batch_sequences"], config.get("then") or ()
    for mixture, steps in zip(mixtures, [config["steps"], *(stage["steps"] for stage in then)], strict=True):
        before = found[-1] if found else _last_of(store, mixture, parent)
        begin, first = _begin(store, mixture, before), found[-1].last + 1 if found else 1
        last = first - 1 + _steps(mixture, begin, batch, steps)
        found.append(Reading(mixture, begin, first, last, batch))
    return found


def readings_of(store: Store, record: dict[str, Any], manifests: Mapping[str, Manifest]) -> list[Reading]:
    """What the training run of this record reads; `manifests` are those of the store by ID. UserError if one of them no
    longer exists."""
    ids = [manifest["id"] for manifest in record["manifests"]]
    if lost := [one for one in ids if one not in manifests]:
        raise UserError(
            f"no manifest {lost[0]!r} in {store.url}, which {record['id']} read", "See `octo manifest list`"
        )
    mixtures = [manifests[one] for one in ids]
    return readings(store, mixtures, record["config"], record["parent"])


def by_id(store: Store) -> dict[str, Manifest]:
    """Every manifest of the store, each record read once."""
    return {manifest.id: manifest for manifest in load_all(store)[0]}


def _last_of(store: Store, mixture: Manifest, parent: str | None) -> Reading | None:
    """The last reading of `parent`, if it is a training run."""
    record = load_run(store, parent).record if parent and "first" in mixture.recipe else {"kind": None}
    return readings_of(store, record, by_id(store))[-1] if record["kind"] == "train" else None


def _begin(store: Store, mixture: Manifest, before: Reading | None) -> int:
    """The sequence from which `mixture` is read after `before`."""
    shared = shared_with(store, mixture, before.mixture) if before else 0
    if not before or not shared:
        return 0
    if before.end > shared:
        raise UserError(
            f"{mixture.ref} continues after sequence {shared} of {before.mixture.ref}, of which {before.end} were read",
            f"Extend it from a later step: octo mix --extend {before.mixture.ref} --from-step {before.last}",
        )
    return before.end


def _steps(mixture: Manifest, begin: int, batch: int, steps: int | None) -> int:
    """Steps of a stage; UserError when the mixture is too short for them."""
    left = mixture.counts["sequences"] - begin
    if left <= 0:
        raise UserError(f"{mixture.ref} has been read to its end", "Mix with a greater budget")
    if steps and steps * batch > left:
        after = f" after {begin}" if begin else ""
        raise UserError(
            f"{steps} steps of {batch} sequences need {steps * batch}; the mixture has {left}{after}",
            f"Train at most {left // batch} steps, or mix with a greater budget",
        )
    return steps or -(-left // batch)

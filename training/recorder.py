"""What a training run records while it runs: ledgers, trackers, progress, and a warning when the loss jumps.

Every backend passes each step to `Recorder.step`. Ledgers are stored every 100 steps, every five minutes and before a
checkpoint, so that `octo sql` can follow a run. A loss that is not a number ends the run with the command that shows
what the step read; a loss that jumps is reported with that command, and the run continues. Leaves out evaluation.
"""

import contextlib
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from manifests.errors import UserError
from manifests.progress import progress
from manifests.runs import Ledger, RunDirectory
from manifests.tables import CONSUMPTION, LOSSES, STEPS
from training.config import TrainRecipe
from training.nanotron_config import FOLDER
from training.places import LAUNCHER, Teller
from training.trackers import Show, tracking

FLUSH_STEPS, FLUSH_SECONDS = 100, 300.0
"""Ledgers are stored after this many steps or seconds at the latest."""
SPIKE_WINDOW, SPIKE_DEVIATIONS = 100, 10.0
"""A spike lies this many standard deviations above the mean of the losses in the window before it. At 6 the small
batches of the quickstart give six false alarms in 1,600 steps."""


def is_spike(loss: float, before: Sequence[float]) -> bool:
    """Whether `loss` is a spike above the losses `before` it; never until a fifth of a window is known."""
    window = before[-SPIKE_WINDOW:]
    if len(window) < SPIKE_WINDOW // 5:
        return False
    return loss > statistics.fmean(window) + SPIKE_DEVIATIONS * max(statistics.pstdev(window), 0.01)


def spikes(losses: Sequence[float]) -> list[int]:
    """The steps, from 1, whose loss jumps."""
    return [i + 1 for i, loss in enumerate(losses) if is_spike(loss, losses[max(0, i - SPIKE_WINDOW) : i])]


class Recorder:
    """Records each step of a run; get one from `recording`."""

    def __init__(self, run: RunDirectory, show: Show, advance: Callable[..., None]):
        self._tell = Teller(run.path / FOLDER) if LAUNCHER in os.environ else None
        schemas = {"losses": LOSSES.schema, "consumption": CONSUMPTION.schema, "steps": STEPS.schema}
        self._run, self._ledger, self._show_step, self._advance = run, Ledger(run, schemas), show, advance
        known = run.table("steps")
        self._losses: list[float] = known["loss"].to_pylist()[-SPIKE_WINDOW:] if known else []
        self._stored = time.monotonic()

    def step(
        self,
        row: dict[str, Any],
        consumption: Sequence[tuple[str, str, int, int]],
        losses: pa.Table | None = None,
    ) -> None:
        """Record a step: its row of `steps`, what it consumed (component, source, sequences, tokens), and, if the
        recipe asks for it, the loss on each document. UserError when the loss is not a number."""
        names = ("component", "source", "sequences", "tokens")
        self._ledger.add("steps", [row])
        self._ledger.add(
            "consumption", [{"step": row["step"], **dict(zip(names, c, strict=True))} for c in consumption]
        )
        if losses is not None:
            self._ledger.add("losses", losses)
        self._watch(row["step"], row["loss"])
        self._show(row)
        if row["step"] % FLUSH_STEPS == 0 or time.monotonic() - self._stored > FLUSH_SECONDS:
            self.flush()

    def show(self, step: int, metrics: dict[str, float]) -> None:
        """Show further numbers of a step to the trackers."""
        if metrics:
            self._show_step(step, metrics)

    def flush(self) -> None:
        """Store what is known so far."""
        self._ledger.flush()
        self._stored = time.monotonic()

    def _watch(self, step: int, loss: float) -> None:
        look = f"octo trace {self._run.id} --step {step}"
        if not math.isfinite(loss):
            self.flush()
            raise UserError(
                f"the loss of step {step} is {loss}", f"Lower the learning rate, or look at the batch: {look}"
            )
        if is_spike(loss, self._losses):
            usual = statistics.fmean(self._losses[-SPIKE_WINDOW:])
            print(f"octo: the loss jumps to {loss:.3f} from about {usual:.3f}: {look}", file=sys.stderr, flush=True)
        self._losses = [*self._losses[1 - SPIKE_WINDOW :], loss]

    def _show(self, row: dict[str, Any]) -> None:
        speed = row["tokens"] / max(row["seconds"], 1e-9)
        metrics = {name: row[name] for name in ("loss", "grad_norm", "lr")} | {"tokens_per_second": speed}
        self._show_step(row["step"], metrics)
        note = f"loss {row['loss']:.3f}, {speed:,.0f} tokens/s"
        self._advance(1, note=note)
        if self._tell:
            self._tell(row, note)


@contextlib.contextmanager
def recording(run: RunDirectory, recipe: TrainRecipe, done: int, steps: int) -> Iterator[Recorder]:
    """A recorder of a run that has done `done` of `steps`; shows progress, and closes the trackers at the end."""
    with tracking(run, recipe, recipe.track, done) as show, progress(f"train: {recipe.stage}", steps) as advance:
        advance(done)
        yield Recorder(run, show, advance)

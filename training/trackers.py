"""Shows the metrics of a run outside of the ledgers: TensorBoard files, Weights & Biases, trackio.

The ledgers are what counts; a tracker may lose the last moments before a kill. Leaves out everything but scalars.
"""

import importlib
import importlib.util
import os
from typing import Any, Protocol

from manifests.errors import UserError
from manifests.runs import RunDirectory
from training.config import TrainRecipe

PROJECT = "octothinker"


class Tracker(Protocol):
    """Where metrics are shown."""

    def log(self, step: int, metrics: dict[str, float]) -> None: ...

    def close(self) -> None: ...


def open_trackers(run: RunDirectory, recipe: TrainRecipe, done: int) -> list[Tracker]:
    """The trackers the recipe asks for; UserError when one is not installed. By default TensorBoard where it is."""
    check_trackers(recipe)
    names = recipe.track
    if names is None:
        names = ("tensorboard",) if importlib.util.find_spec("tensorboard") else ()
    return [_TensorBoard(run, done) if name == "tensorboard" else _Service(name, run, recipe) for name in names]


def check_trackers(recipe: TrainRecipe) -> None:
    """UserError when a tracker that was asked for is not installed."""
    for name in recipe.track or ():
        if not importlib.util.find_spec(name):
            raise UserError(f"track names {name}, which is not installed", f"pip install {name}, or leave it out")


class _TensorBoard:
    """Event files in the folder `tensorboard` of the run; steps after the checkpoint it goes on from are replaced."""

    def __init__(self, run: RunDirectory, done: int):
        writers = importlib.import_module("torch.utils.tensorboard")  # 1 s, only where it is used
        self._writer: Any = writers.SummaryWriter(str(run.path / "tensorboard"), purge_step=done + 1)

    def log(self, step: int, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(f"train/{name}", value, step)

    def close(self) -> None:
        self._writer.close()


class _Service:
    """Weights & Biases or trackio, which share one interface. The run keeps its ID when it is resumed."""

    def __init__(self, name: str, run: RunDirectory, recipe: TrainRecipe):
        library = importlib.import_module(name)
        config = recipe.model_dump(mode="json")
        os.environ.setdefault("WANDB_DIR", str(run.path))
        same = {"id": run.id} if name == "wandb" else {}
        self._run: Any = library.init(project=PROJECT, name=run.id, config=config, resume="allow", **same)
        self._library: Any = library

    def log(self, step: int, metrics: dict[str, float]) -> None:
        self._library.log(metrics, step=step)

    def close(self) -> None:
        self._library.finish()

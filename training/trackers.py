"""Shows the metrics of a run outside of the ledgers: TensorBoard files, Weights & Biases, trackio, MLflow.

Each knows the recipe, the ID of the run, and the manifests that it reads with ID and digest, as its configuration; W&B
and MLflow also as the data set that the run takes as input. A run that goes on goes on under its own name. What is
written lies in the folder of the run unless the tracker's own variable says otherwise (WANDB_DIR, TRACKIO_DIR,
MLFLOW_TRACKING_URI). The ledgers are what counts; a tracker may lose the last moments before a kill. Leaves out
everything but scalars.
"""

import contextlib
import importlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from pydantic import BaseModel

from manifests.errors import UserError
from manifests.extras import is_installed
from manifests.runs import RunDirectory
from training.config import TrackerName

PROJECT = "octothinker"
Show = Callable[[int, dict[str, Any]], None]


class Tracker(Protocol):
    """Where metrics are shown."""

    def log(self, step: int, metrics: dict[str, float]) -> None: ...

    def close(self) -> None: ...


def check_trackers(names: tuple[TrackerName, ...] | None) -> None:
    """UserError when a tracker that was asked for is not installed."""
    for name in names or ():
        if not is_installed(name):
            raise UserError(f"track names {name}, which is not installed", f"pip install {name}, or leave it out")


@contextlib.contextmanager
def tracking(run: RunDirectory, recipe: BaseModel, names: tuple[TrackerName, ...] | None, done: int) -> Iterator[Show]:
    """Open the trackers `names` (None: TensorBoard where it is installed) for a run that has done `done` steps; yields
    what shows the numbers of a step, and closes them at the end. UserError when one is not installed."""
    check_trackers(names)
    if names is None:
        names = ("tensorboard",) if is_installed("tensorboard") else ()
    config = recipe.model_dump(mode="json") | {"run": run.id, "manifests": run.record["manifests"]}
    trackers = [_open(name, run, config, done) for name in names]

    def show(step: int, metrics: dict[str, Any]) -> None:
        numbers = {key: float(value) for key, value in metrics.items() if isinstance(value, int | float)}
        for tracker in trackers:
            tracker.log(step, {key: value for key, value in numbers.items() if math.isfinite(value)})

    try:
        yield show
    finally:
        for tracker in trackers:
            tracker.close()


def _open(name: TrackerName, run: RunDirectory, config: dict[str, Any], done: int) -> Tracker:
    match name:
        case "tensorboard":
            return _TensorBoard(run, config, done)
        case "wandb":
            return _WandB(run, config)
        case "trackio":
            return _Trackio(run, config)
        case "mlflow":
            return _MLflow(run, config)


class _TensorBoard:
    """Event files in the folder `tensorboard` of the run; steps after the checkpoint it goes on from are replaced."""

    def __init__(self, run: RunDirectory, config: dict[str, Any], done: int):
        writers = importlib.import_module("torch.utils.tensorboard")  # 1 s, only where it is used
        self._kind = run.record["kind"]
        self._writer: Any = writers.SummaryWriter(str(run.path / "tensorboard"), purge_step=done + 1)
        if not done:
            self._writer.add_text("config", f"```json\n{json.dumps(config, indent=1)}\n```", 0)

    def log(self, step: int, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(f"{self._kind}/{name}", value, step)

    def close(self) -> None:
        self._writer.close()


class _WandB:
    """Weights & Biases, online or offline as WANDB_MODE says. A manifest is an artifact without files: its digest."""

    def __init__(self, run: RunDirectory, config: dict[str, Any]):
        wandb: Any = importlib.import_module("wandb")
        os.environ.setdefault("WANDB_DIR", str(run.path))
        self._run = wandb.init(project=PROJECT, id=run.id, name=run.id, config=config, resume="allow")
        for manifest in config["manifests"] if not self._run.settings._offline else ():
            self._run.use_artifact(wandb.Artifact(manifest["id"], type="dataset", metadata=manifest))

    def log(self, step: int, metrics: dict[str, float]) -> None:
        self._run.log(metrics, step=step)

    def close(self) -> None:
        self._run.finish()


class _Trackio:
    """trackio, in a folder of this machine."""

    def __init__(self, run: RunDirectory, config: dict[str, Any]):
        os.environ.setdefault("TRACKIO_DIR", str(run.path / "trackio"))  # read when it is imported
        self._library: Any = importlib.import_module("trackio")
        self._library.init(project=PROJECT, name=run.id, config=config, resume="allow")

    def log(self, step: int, metrics: dict[str, float]) -> None:
        self._library.log(metrics, step=step)

    def close(self) -> None:
        self._library.finish()


class _MLflow:
    """MLflow, in a database of the run or where MLFLOW_TRACKING_URI says; the manifests are the run's data sets."""

    def __init__(self, run: RunDirectory, config: dict[str, Any]):
        self._entities: Any = importlib.import_module("mlflow.entities")
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{run.path / 'mlflow.db'}"
        self._client: Any = importlib.import_module("mlflow").MlflowClient(uri)
        self._run = self._find(run.id) or self._begin(run.id, config)
        self._client.update_run(self._run, "RUNNING")

    def _experiment(self) -> str:
        known = self._client.get_experiment_by_name(PROJECT)
        return known.experiment_id if known else self._client.create_experiment(PROJECT)

    def _find(self, name: str) -> str | None:
        """A run of this name, when this one goes on."""
        known = self._client.search_runs([self._experiment()], f"attributes.run_name = '{name}'")
        return known[0].info.run_id if known else None

    def _begin(self, name: str, config: dict[str, Any]) -> str:
        of, made = self._entities, self._client.create_run(self._experiment(), run_name=name).info.run_id
        written = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
        for manifest in config["manifests"]:
            written |= {f"manifest.{key}": value for key, value in manifest.items()}
        self._client.log_batch(made, params=[of.Param(key, value[:6000]) for key, value in written.items()])
        data = [of.Dataset(m["id"], m["digest"][:36], "octothinker", json.dumps(m)) for m in config["manifests"]]
        context = [of.InputTag("mlflow.data.context", "training")]
        self._client.log_inputs(made, [of.DatasetInput(one, context) for one in data])
        return made

    def log(self, step: int, metrics: dict[str, float]) -> None:
        now = int(1000 * time.time())
        self._client.log_batch(self._run, [self._entities.Metric(k, v, now, step) for k, v in metrics.items()])

    def close(self) -> None:
        self._client.set_terminated(self._run)

"""Trackers, each by what it wrote as its own library reads it; those that are not installed here are left out."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from manifests.errors import UserError
from training.doctor import is_installed
from training.launch import train


def told(run) -> dict:
    """What every tracker must know of the data."""
    (manifest,) = run.record["manifests"]
    assert manifest.keys() == {"id", "digest", "ref"}
    return manifest


def test_tensorboard_is_the_default_and_knows_the_manifest(mixture, recipe):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train(*mixture, recipe(steps=3))
    events = EventAccumulator(str(run.path / "tensorboard")).Reload()
    shown = events.Scalars("train/loss")
    assert [event.step for event in shown] == [1, 2, 3]
    assert [event.value for event in shown] == pytest.approx(run.table("steps")["loss"].to_pylist())
    text = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert all(value in text for value in told(run).values()) and run.id in text


@pytest.mark.parametrize("name", ["wandb", "trackio", "mlflow"])
def test_a_tracker_that_is_not_installed_is_refused(mixture, recipe, name):
    if is_installed(name):
        pytest.skip(f"{name} is installed")
    with pytest.raises(UserError, match=f"track names {name}, which is not installed. pip install {name}"):
        train(*mixture, recipe(track=[name]))


@pytest.mark.engine
def test_mlflow_has_the_data_set_as_input_and_goes_on_in_its_run(mixture, recipe, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = train(*mixture, recipe(steps=3, track=["mlflow"]))
    from training.trackers import tracking

    with tracking(run, recipe(), ("mlflow",), 3) as show:
        show(4, {"loss": 0.5, "stage": "x", "bad": float("nan")})
    client = mlflow.MlflowClient(f"sqlite:///{run.path}/mlflow.db")
    (kept,) = client.search_runs([client.get_experiment_by_name("octothinker").experiment_id])
    steps = [point.step for point in client.get_metric_history(kept.info.run_id, "loss")]
    assert (steps, kept.info.run_name, kept.info.status) == ([1, 2, 3, 4], run.id, "FINISHED")
    manifest = told(run)
    assert kept.data.params["manifest.id"] == manifest["id"]
    assert kept.data.params["manifest.digest"] == manifest["digest"]
    (given,) = kept.inputs.dataset_inputs
    assert given.dataset.name == manifest["id"] and manifest["digest"].startswith(given.dataset.digest)
    assert json.loads(given.dataset.source) == manifest


@pytest.mark.engine
def test_wandb_writes_offline_into_the_run(mixture, recipe, monkeypatch):
    """Its file has no reader in Python; the records in it are not compressed."""
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_DIR", raising=False)
    run = train(*mixture, recipe(steps=3, track=["wandb"]))
    (path,) = Path(run.path).glob("wandb/offline-run-*/*.wandb")
    written = path.read_bytes()
    assert all(value.encode() in written for value in (run.id, *told(run).values()))
    assert written.count(b"tokens_per_second") >= 3


@pytest.mark.engine
def test_trackio_writes_into_the_run(mixture, recipe, monkeypatch):
    """In a process of its own: where trackio writes is settled when it is imported."""
    pytest.importorskip("trackio")
    store, manifest = mixture
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    made = recipe(steps=3, track=["trackio"]).model_dump_json(exclude_none=True)
    code = (
        "import sys; from training.launch import train; from training.config import TrainRecipe;"
        "from manifests.store import Store; from manifests.manifest import resolve; s = Store(sys.argv[1]);"
        "print(train(s, resolve(s, sys.argv[2]), TrainRecipe.model_validate_json(sys.argv[3])).path)"
    )
    command = [sys.executable, "-c", code, store.url, manifest.id, made]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    folder = Path(done.stdout.splitlines()[-1])
    (database,) = (folder / "trackio").glob("octothinker*.db")
    with sqlite3.connect(database) as opened:
        assert opened.execute("SELECT count(*) FROM metrics WHERE run_name = ?", [folder.name]).fetchone() == (3,)
        (config,) = opened.execute("SELECT config FROM configs").fetchone()
    assert manifest.id.encode() in config and manifest.digest.encode() in config

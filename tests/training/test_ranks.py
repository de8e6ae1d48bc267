"""Torch on two ranks, the doctor, and what the launcher says of an engine that fails."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import training.doctor
from manifests.errors import UserError
from manifests.manifest import resolve
from manifests.store import Store
from training.doctor import doctor, is_installed, nanotron_lacks, verl_lacks
from training.launch import train
from training.places import run_engine, what_ended_it


def losses(run):
    return run.table("steps")["loss"].to_pylist()


def test_two_ranks_and_any_micro_batch_compute_what_one_does(mixture, recipe, tmp_path):
    """Seven sequences, and one in the last batch, which leaves a rank without any."""
    store, manifest = mixture
    recorded = {"document_losses": True, "validation": {"loss": ["toy@1"], "every": 3}}
    alone = train(store, manifest, recipe(batch_sequences=7, **recorded))
    spread = {"parallel": {"dp": 2}, "micro_batch_sequences": 3, **recorded}
    other = Store(shutil.copytree(tmp_path / "store", tmp_path / "two", ignore=shutil.ignore_patterns("runs")))
    run = train(other, resolve(other, "mixture@1"), recipe(batch_sequences=7, **spread))
    assert run.id == alone.id
    assert losses(run) == pytest.approx(losses(alone), abs=1e-5)
    assert run.table("consumption").equals(alone.table("consumption"))
    documents = [one.table("losses") for one in (run, alone)]
    assert documents[0].drop_columns("loss").equals(documents[1].drop_columns("loss"))
    assert documents[0]["loss"].to_pylist() == pytest.approx(documents[1]["loss"].to_pylist(), abs=1e-5)
    held = [one.table("losses_held_out") for one in (run, alone)]
    assert held[0].num_rows and held[0]["step"].equals(held[1]["step"])
    assert held[0]["loss"].to_pylist() == pytest.approx(held[1]["loss"].to_pylist(), abs=1e-5)


def test_an_engine_that_fails_is_quoted(tmp_path):
    with pytest.raises(UserError, match=r"the engine stopped: ZeroDivisionError: division by zero\. See .*log\.txt"):
        run_engine(tmp_path, ["-c", "1 / 0"], "train", 0, 1)


LOST = """\
[rank0]:   File "torch_backend.py", line 59, in add
[rank0]: RuntimeError: [gloo/transport/tcp/pair.cc:537] Read error [127.0.0.1]:923: Connection reset by peer.
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
"""
NODE = "".join(f"0: {line}\n" for line in LOST.splitlines())
EXITED = "srun: error: n1: task 0: Exited with exit code 1\n"


@pytest.mark.parametrize(("log", "hosts", "cause"), [
    (f"[rank1]: ValueError: no\n{LOST}  traceback : Signal 15 (SIGTERM) received by PID 7", [], "ValueError: no"),
    (f"{LOST}  traceback : Signal 9 (SIGKILL) received by PID 7\n", [], "Signal 9 (SIGKILL) received by PID 7"),
    (LOST, [], "RuntimeError: [gloo/transport/tcp/pair.cc:537] Read error [127.0.0.1]:923: Connection reset by peer."),
    ("nothing of the kind\n", [], ""),
    (f"{NODE}1: [rank1]: ValueError: no\n{EXITED}", ["n1", "n2"], "n2: ValueError: no"),
    (f"{NODE}1: UserError: no run run-1. Look\n{EXITED}", ["n1", "n2"], "n2: no run run-1. Look"),
    (f"{NODE}1:   traceback : Signal 9 (SIGKILL) received by PID 7\n", ["n1", "n2"],
     "n2: Signal 9 (SIGKILL) received by PID 7"),
    (f"{NODE}{EXITED}srun: error: n2: task 1: Out Of Memory\n", ["n1", "n2"], "n2: task 1: Out Of Memory"),
    (f"{NODE}{EXITED}srun: error: Node failure on n2\n", ["n1", "n2"], "Node failure on n2"),
    ("srun: error: Unable to create step for job 7: Requested nodes are busy\n", ["n1", "n2"],
     "Unable to create step for job 7: Requested nodes are busy"),
    (f"{NODE} 1: ValueError: no\n10: KeyError: 7\n", [f"n{i}" for i in range(12)], "n10: KeyError: 7"),
])  # fmt: skip
def test_what_ended_an_engine_is_not_what_its_end_did_to_others(log, hosts, cause):
    """Lines as gloo, torchrun and srun print them; `srun --label` puts the number of the node before those of ranks."""
    assert what_ended_it(log, hosts) == cause


LAUNCH = """
from pathlib import Path
from training.places import run_engine
run_engine(Path("."), ["engine.py"], "train", 0, 1)
"""
ENGINE = """
import time
from training.places import follow_launcher
follow_launcher()
open("up", "w")
time.sleep(1)
open("late", "w")
"""


def test_an_engine_does_not_outlive_its_launcher(tmp_path):
    """The launcher is killed; its engine, which would write a file a second later, does not get there."""
    (tmp_path / "launch.py").write_text(LAUNCH)
    (tmp_path / "engine.py").write_text(ENGINE)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "launch.py"], cwd=tmp_path, env=environment)
    while not (tmp_path / "up").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    time.sleep(1.5)
    assert not (tmp_path / "late").exists()


def test_the_doctor_names_what_is_missing():
    rows = {(row["kind"], row["name"]): row for row in doctor()}
    assert rows["backend", "torch"]["works"] == rows["place", "local"]["works"] == "yes"
    assert all(row["works"] in ("yes", "no") and row["found or missing"] for row in rows.values())
    nanotron = rows["backend", "nanotron"]
    assert (nanotron["works"] == "yes") == (nanotron_lacks() is None)
    if not is_installed("nanotron"):
        assert "pip install '.[nanotron]'" in nanotron["found or missing"]


def test_the_doctor_where_there_is_a_gpu(monkeypatch):
    """It names the device, and how to build what is built against the torch that is there."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"Card {number}")
    missing = ("flash_attn", "grouped_gemm")
    monkeypatch.setattr(training.doctor, "is_installed", lambda name: name not in missing)
    rows = {(row["kind"], row["name"]): row for row in doctor()}
    assert rows["device", "cuda"]["works"] == "yes"
    assert rows["device", "cuda"]["found or missing"].endswith(": Card 0, Card 1")
    assert verl_lacks() == ("verl lacks flash_attn", "pip install --no-build-isolation -c constraints.txt flash_attn")
    if is_installed("nanotron"):
        assert nanotron_lacks() == (
            "nanotron lacks flash_attn, grouped_gemm",
            "pip install --no-build-isolation flash_attn grouped_gemm",
        )


def test_the_doctor_tells_a_torch_without_cuda_from_a_machine_without(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    said = []
    for built in (None, "13.0"):
        monkeypatch.setattr(torch.version, "cuda", built)
        said.append(next(row["found or missing"] for row in doctor() if row["name"] == "cuda"))
    assert "is built without CUDA" in said[0] and "sees no CUDA device" in said[1]


@pytest.mark.skipif(is_installed("nanotron"), reason="nanotron is installed")
def test_without_nanotron_the_launch_says_how_to_get_it(mixture, recipe):
    store, manifest = mixture
    with pytest.raises(
        UserError, match=r"nanotron is not installed\. pip install .*--no-deps .*or train with --backend torch"
    ):
        train(store, manifest, recipe(), backend="nanotron")
    assert not store.list("runs")

"""`octo runs cancel` and `octo runs logs`, on runs of this machine and on jobs of a Slurm that a script plays."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import octo
from manifests.errors import UserError
from manifests.runs import RunDirectory, load_run, open_run
from manifests.store import HOST, Store, lock_holder, try_lock
from octo import run_control
from octo.run_control import cancel, last_lines, logs_of, why_none

ROOT = Path(octo.__file__).parents[1]
AT_WORK = """
import signal, sys, time
from manifests.runs import load_run
from manifests.store import Store
if "term" in sys.argv:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
with load_run(Store(sys.argv[1]), sys.argv[2]).running():
    print("running", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def run(folder: Store) -> RunDirectory:
    return open_run(folder, "train", [], {}, "torch")


def at_work(run: RunDirectory, *how: str) -> "subprocess.Popen[str]":
    """A process that works on `run`."""
    command = [sys.executable, "-c", AT_WORK, run.store.url, run.id, *how]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout and process.stdout.readline() == "running\n"
    return process


def command(store: Store, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(octo.app, ["runs", *words, "--store", store.url])
    return done.exit_code, done.output


@pytest.mark.parametrize("how", [(), ("term",)], ids=["interrupted", "in the background of a script"])
def test_a_run_of_this_machine_is_stopped_and_says_so(run: RunDirectory, how: tuple[str, ...]):
    process = at_work(run, *how)
    assert run.holder() == (HOST, process.pid)
    assert f"process {process.pid} has stopped {run.id}" in cancel(run)
    assert process.wait(10) != 0
    assert run.reload() == "stopped" and run.record["reason"] == "interrupted" and run.holder() is None
    assert "whose status is stopped; there is nothing to cancel" in cancel(run)


def test_a_run_whose_process_was_killed_no_longer_says_running(run: RunDirectory):
    process = at_work(run)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert run.reload() == "running"
    assert "had been killed" in cancel(run)
    assert run.reload() == "stopped"


def test_what_is_not_at_work_is_left_as_it_is(folder: Store, run: RunDirectory):
    assert "status is created; there is nothing to cancel" in cancel(run)
    with run.running():
        run.finish({})
    before = run.record
    assert cancel(run) == f"{run.id} is done; there is nothing to cancel"
    run.reload()
    assert run.record == before
    status, said = command(folder, "cancel", run.id)
    assert status == 0 and "there is nothing to cancel" in said
    with pytest.raises(UserError, match="See `octo runs list`"):
        load_run(folder, "run-00")


def test_a_process_of_another_machine_is_named(run: RunDirectory, monkeypatch):
    process = at_work(run)
    monkeypatch.setattr(run_control, "HOST", "elsewhere")
    with pytest.raises(UserError, match=f"runs on {HOST} as process {process.pid}. Repeat this command on {HOST}"):
        cancel(run)
    process.kill()
    process.wait()


def test_a_process_that_does_not_end_is_named(run: RunDirectory, monkeypatch):
    monkeypatch.setattr(run_control, "END_SECONDS", 0.3)
    monkeypatch.setattr(os, "kill", lambda pid, signal: None)
    process = at_work(run)
    with pytest.raises(UserError, match=f"has not ended after 0.3 seconds. `kill -9 {process.pid}` ends it at once"):
        cancel(run)
    process.kill()
    process.wait()


def test_kill_stops_a_command_as_an_interrupt_does(tmp_path: Path):
    """`octo` itself takes SIGTERM for Ctrl-C; a prompt waits for input, and nothing else is under way."""
    environment = os.environ | {"OCTO_STORE": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    code = "import octo, time; octo.check_packages = lambda: None\n"
    code += "octo.command = lambda: (print('ready', flush=True), time.sleep(60))[0] or 0\n"
    code += "try:\n octo.main()\nexcept KeyboardInterrupt:\n print('interrupted', flush=True)"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stdout.readline() == "ready\n"
    process.terminate()
    assert process.communicate(timeout=20)[0] == "interrupted\n"


def test_a_lock_names_its_holder_and_keeps_the_name_while_others_try(tmp_path: Path):
    path = tmp_path / "lock"
    assert lock_holder(path) is None
    lock = try_lock(path)
    assert lock and try_lock(path) is None and lock_holder(path) == (HOST, os.getpid())
    lock.close()
    assert lock_holder(path) is None


# -- Slurm -----------------------------------------------------------------------------------------------------------

SQUEUE = """#!/bin/sh
[ -e {folder}/cancelled ] && exit 0
echo "$@" > {folder}/asked
echo "12_3|octo-{run}-annotate|RUNNING|None|n1"
echo "12_4|octo-{run}-annotate|PENDING|Resources|"
echo "13|octo-{run}-finish|PENDING|Dependency|"
"""
SCANCEL = """#!/bin/sh
echo "$@" > {folder}/cancelled
"""


def slurm(run: RunDirectory, folder: Path, monkeypatch) -> None:
    for name, text in (("squeue", SQUEUE), ("scancel", SCANCEL)):
        (folder / name).write_text(text.format(folder=folder, run=run.id))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    run.start()
    run.note(slurm=[{"stage": "annotate", "jobs": ["12"]}, {"stage": "finish", "jobs": ["13"]}])
    run.release()


def test_jobs_of_slurm_are_cancelled_and_the_run_is_stopped(run: RunDirectory, tmp_path: Path, monkeypatch):
    slurm(run, tmp_path, monkeypatch)
    assert cancel(run) == f"Slurm has cancelled 12, 13 of {run.id}; the same command resumes the run"
    assert (tmp_path / "cancelled").read_text() == "12 13\n"
    names = f"octo-{run.id},octo-{run.id}-annotate,octo-{run.id}-finish"
    assert f"--name={names}" in (tmp_path / "asked").read_text()
    assert run.reload() == "stopped" and run.record["reason"] == "cancelled"
    assert "there is nothing to cancel" in cancel(run)


def test_a_job_that_still_holds_the_run_is_left_to_end(run: RunDirectory, tmp_path: Path, monkeypatch):
    slurm(run, tmp_path, monkeypatch)
    monkeypatch.setattr(run_control, "END_SECONDS", 0.3)
    process = at_work(run)
    assert "Slurm is ending 12, 13" in cancel(run)
    assert run.reload() == "running"
    process.kill()
    process.wait()


# -- logs ------------------------------------------------------------------------------------------------------------


def test_logs_are_found_newest_last_and_their_ends_are_shown(folder: Store, run: RunDirectory):
    assert logs_of(run) == []
    names = ("logs/annotate-1/slurm_logs/12_3.out", "slurm/14.log", "engine/log.txt", "logs/worker-0.log")
    for age, name in enumerate(names):
        path = run.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"line {number} of {name}\x1b[31m\n" for number in range(100)))
        os.utime(path, (time.time() + age,) * 2)
    (run.path / "logs" / "empty.log").touch()
    assert [str(path.relative_to(run.path)) for path in logs_of(run)] == list(names)
    assert last_lines(run.path / "slurm/14.log", 2)[0].startswith("line 98")
    status, said = command(folder, "logs", run.id)
    assert status == 0 and "line 99 of engine/log.txt" in said and "line 79 of" not in said and "\x1b" not in said
    assert names[0] in said and f"line 99 of {names[0]}" not in said
    rows = json.loads(command(folder, "logs", run.id, "--json")[1])
    assert [Path(row["path"]).name for row in rows] == ["12_3.out", "14.log", "log.txt", "worker-0.log"]
    assert len(rows[0]["lines"]) == 20


def test_a_long_log_is_not_read_whole(tmp_path: Path):
    path = tmp_path / "log.txt"
    path.write_bytes(b"x" * (1 << 20) + b"\nlast\xff\n")
    assert last_lines(path, 1) == ["last\N{REPLACEMENT CHARACTER}"]


def test_a_run_without_logs_says_where_they_are(folder: Store, run: RunDirectory):
    assert "on the terminal where it was started" in why_none(run)
    curation = open_run(folder, "curate", [], {}, "datatrove")
    with curation.running():
        curation.finish({})
    assert "removed when it succeeded" in why_none(curation)
    assert command(folder, "logs", run.id)[0] == 0

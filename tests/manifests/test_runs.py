"""Runs: one ID for one launch, ledgers that can be cut back, checkpoints that are whole or not there."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pytest

from manifests.errors import UserError
from manifests.recipe import Local, Recipe
from manifests.runs import load_run, load_runs, open_run
from manifests.store import Store


class Launch(Recipe):
    lr: float = 0.1
    place: Annotated[str, Local] = "here"


def steps(first: int, last: int) -> pa.Table:
    numbers = list(range(first, last + 1))
    return pa.table({"step": pa.array(numbers, pa.int64()), "loss": [1.0 / n for n in numbers]})


def fill(text: str):
    def write(folder: Path) -> None:
        (folder / "model").mkdir()
        (folder / "model" / "weights").write_text(text)
        (folder / "config.json").write_text("{}")

    return write


def test_the_same_launch_is_the_same_run(store: Store, corpus):
    manifest, other = corpus(store, "1"), corpus(store, "2", seed=2)
    run = open_run(store, "train", [manifest], Launch(), "torch")
    assert run.status == "created"
    assert open_run(store, "train", [manifest], Launch(place="there"), "torch").id == run.id
    different = [
        open_run(store, "rl", [manifest], Launch(), "torch"),
        open_run(store, "train", [other], Launch(), "torch"),
        open_run(store, "train", [manifest, other], Launch(), "torch"),
        open_run(store, "train", [manifest], Launch(lr=0.2), "torch"),
        open_run(store, "train", [manifest], Launch(), "nanotron"),
        open_run(store, "train", [manifest], Launch(), "torch", parent=run),
        open_run(store, "train", [manifest], Launch(), "torch", inputs={"model": "00"}),
    ]
    assert len({run.id, *(r.id for r in different)}) == 8
    assert {record["id"] for record in load_runs(store)} == {run.id, *(r.id for r in different)}
    assert load_run(store, run.id[4:12]).record == run.record
    with pytest.raises(UserError, match="could be"):
        load_run(store, "run-")
    with pytest.raises(UserError, match="octo runs list"):
        load_run(store, "run-nothing")


def test_a_run_goes_through_its_states_and_keeps_what_it_was_told(store: Store):
    run = open_run(store, "train", [], Launch(), "torch")
    run.start()
    run.fail("out of memory")
    assert load_run(store, run.id).record["reason"] == "out of memory"
    again = open_run(store, "train", [], Launch(), "torch")
    assert again.status == "failed"
    again.start()
    assert (again.status, again.record["reason"]) == ("running", None)
    again.finish({"loss": math.nan, "steps": [1, {"x": math.inf}]})
    stored = json.loads(store.read(f"runs/{run.id}/run.json"))
    assert stored["status"] == "done"
    assert stored["summary"] == {"loss": None, "steps": [1, {"x": None}]}
    assert stored["config"] == {"lr": 0.1, "place": "here"}


def test_a_ledger_grows_and_is_cut_back(store: Store):
    run = open_run(store, "train", [], {}, "torch")
    assert run.table("steps") is None
    run.append("steps", steps(1, 4))
    run.append("steps", steps(5, 6))
    run.append("steps", steps(7, 9))
    run.append("steps", steps(7, 9).slice(0, 0))
    run.append("other", steps(1, 9))
    run.save_checkpoint(5, fill("five"))
    assert run.table("steps").equals(steps(1, 9))
    run.truncate(5)
    assert run.table("steps").equals(steps(1, 5))
    assert run.table("other").equals(steps(1, 5))
    assert run.checkpoint(5).is_dir()
    run.append("steps", steps(6, 6))
    run.append("steps", steps(7, 9))
    assert run.table("steps").equals(steps(1, 9))
    run.truncate(0)
    assert run.table("steps") is None


def test_only_one_process_holds_a_run(folder: Store):
    run = open_run(folder, "train", [], {}, "torch")
    run.start()
    program = (
        "import sys; from manifests.store import Store; from manifests.runs import load_run\n"
        "load_run(Store(sys.argv[1]), sys.argv[2]).start()"
    )
    command = [sys.executable, "-c", program, folder.url, run.id]
    root = Path(__file__).parents[2]
    held = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    assert "is held by another process" in held.stderr
    run.release()
    assert subprocess.run(command, cwd=root, capture_output=True, timeout=60).returncode == 0  # and died holding it
    run.start()
    run.finish({})


def test_a_start_sees_what_another_process_wrote(folder: Store):
    early = open_run(folder, "train", [], {}, "torch")
    late = open_run(folder, "train", [], {}, "torch")
    early.start()
    early.finish({"loss": 1.0})
    late.start()
    assert late.record["summary"] == {"loss": 1.0}
    late.release()


def test_checkpoints_are_kept_by_number_and_read_whole(store: Store):
    run = open_run(store, "train", [], {}, "torch")
    for step in (2, 10, 9, 11):
        run.save_checkpoint(step, fill(f"step {step}"), keep=3)
    assert run.checkpoints() == [9, 10, 11]
    assert (run.checkpoint(10) / "model" / "weights").read_text() == "step 10"
    run.save_checkpoint(11, fill("again"), keep=3)
    assert (run.checkpoint(11) / "model" / "weights").read_text() == "again"
    with pytest.raises(UserError, match=r"has no checkpoint 2\. It has 9, 10, 11"):
        run.checkpoint(2)
    assert not [path for path in store.list("runs") if "/checkpoints/2/" in path]


def test_a_torn_checkpoint_is_never_listed(store: Store):
    run = open_run(store, "train", [], {}, "torch")
    run.save_checkpoint(1, fill("one"))
    store.put(f"runs/{run.id}/checkpoints/2/model/weights", b"half")
    store.put(f"runs/{run.id}/checkpoints/3/part/complete.json", b"{}")
    assert run.checkpoints() == [1]
    run.save_checkpoint(2, fill("two"))
    assert (run.checkpoint(2) / "model" / "weights").read_text() == "two"

    def fails(folder: Path) -> None:
        (folder / "model").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run.save_checkpoint(4, fails)
    assert run.checkpoints() == [1, 2]
    store.delete(f"runs/{run.id}/checkpoints/1/config.json")
    with pytest.raises(UserError, match=r"config\.json of checkpoint 1 is damaged"):
        run.checkpoint(1)


def test_a_damaged_record_of_a_run_is_named(folder: Store):
    run = open_run(folder, "train", [], {}, "torch")
    folder.put(f"runs/{run.id}/run.json", b"{")
    with pytest.raises(UserError, match=rf"runs/{run.id}/run\.json is damaged"):
        load_runs(folder)


def test_what_ends_a_run_is_written_down(store):
    run = open_run(store, "train", [], {"x": 1}, "torch")
    with pytest.raises(KeyboardInterrupt), run.running():
        raise KeyboardInterrupt
    assert load_run(store, run.id).record["status"] == "stopped"
    with pytest.raises(ZeroDivisionError), run.running():
        1 / 0  # noqa: B018
    assert load_run(store, run.id).record["reason"] == "division by zero"
    with run.running():
        run.finish({})
    assert load_run(store, run.id).status == "done"

"""Our side of the verl backend, without verl: what it is given, what is read of it, and that nothing of it is left."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from evaluation.protocols.templates import render
from manifests.errors import UserError
from manifests.recipe import parse
from manifests.runs import RunDirectory, open_run
from manifests.store import Store
from rl import verl_backend
from rl.config import RLRecipe
from rl.launch import _check_verl
from rl.verl_backend import end_processes, laid_out
from rl.verl_config import ENGINE
from training.doctor import doctor, verl_lacks

PROMPTS = [
    {"position": n, "prompt_id": f"p{n}", "doc_id": f"d{n}", "source": "odd" if n % 2 else "even"}
    | {"question": f"pick {n}", "answer": str(n)}
    for n in range(3)
]
PLAIN = {"steps": 4, "prompts_per_step": 2, "group_size": 2, "max_new_tokens": 8, "optimizer": {"lr": 0.01}}


def bytes_of(texts: list[str]) -> dict[str, list[list[int]]]:
    """A tokenizer whose tokens are bytes."""
    return {"input_ids": [list(text.encode()) for text in texts]}


class Engine:
    """A run, and what verl and our hooks would leave of it."""

    def __init__(self, folder: Path, **values: Any):
        self.run = open_run(Store(folder / "store"), "rl", [], {"of": "test"}, "verl")
        self.recipe = parse(PLAIN | values, RLRecipe, "rl.yaml")
        self.folder = self.run.path / "engine"
        (self.folder / "rollouts").mkdir(parents=True)
        self.follower = verl_backend._Follower(
            self.run, PROMPTS, self.recipe, folder, bytes_of, lambda step, folder: None
        )

    def respond(self, step: int, **values: Any) -> None:
        """The lines of a step's responses, the last first."""
        lines = [
            {"step": step, "cap": 8, "place": place, "number": number, "uid": f"u{place}", "response": r"\boxed{1}"}
            | {"tokens": 3, "truncated": False, "verdict": "CORRECT" if number else "INCORRECT", "extracted": "1"}
            | {"reason": "", "reward": float(number), "stopped_by": "\nUser:" if number else None}
            | values
            for place in range(2 * step - 2, 2 * step)
            for number in range(2)
        ]
        text = "".join(json.dumps(line) + "\n" for line in reversed(lines))
        (self.folder / "rollouts" / f"{step}.jsonl").write_text(text)

    def log(self, step: int, end: str = "\n") -> None:
        """verl's line of a step."""
        names = ("pg_loss", "grad_norm", "pg_clipfrac", "entropy", "kl_loss")
        line = {"step": step, "data": {f"actor/{name}": step / 10 for name in names} | {"timing_s/step": 1.5}}
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line) + end)

    def checkpoint(self, step: int) -> None:
        """A checkpoint of verl's."""
        exported = self.folder / "checkpoints" / f"global_step_{step}" / "actor" / "huggingface"
        exported.mkdir(parents=True)
        (exported / "config.json").write_text('{"model_type": "llama", "dtype": "bfloat16"}')
        for name in ("model.safetensors", "tokenizer.json"):
            (exported / name).write_text(f"{name} of {step}")
        (exported.parent / "optim.pt").write_text("state")
        (self.folder / "checkpoints" / "latest_checkpointed_iteration.txt").write_text(str(step))


def steps(run: RunDirectory) -> list[int]:
    ledger = run.table("steps")
    return ledger["step"].to_pylist() if ledger else []


# -- what it is given ----------------------------------------------------------------------------------------------


def test_the_prompts_of_all_steps_lie_in_their_order():
    texts = [render("cpt_base", PROMPTS[place % 3]["question"]) for place in range(8)]
    rows = laid_out(PROMPTS, texts).to_pylist()
    assert [row["extra_info"]["prompt_id"] for row in rows] == ["p0", "p1", "p2", "p0", "p1", "p2", "p0", "p1"]
    assert [row["extra_info"]["index"] for row in rows] == [*range(8)]
    assert [row["prompt"][0]["content"] for row in rows] == texts
    assert [row["reward_model"]["ground_truth"] for row in rows] == [str(place % 3) for place in range(8)]


# -- what is read of it --------------------------------------------------------------------------------------------


def test_a_step_is_recorded_once_it_is_logged(tmp_path):
    engine = Engine(tmp_path)
    with engine.follower.ledger:
        engine.respond(1)
        engine.respond(2)
        engine.log(1)
        engine.log(2, end="")  # half a line
        engine.follower.follow()
        engine.follower.follow()
    assert steps(engine.run) == [1] and engine.follower.step == 1
    [row] = engine.run.table("steps").to_pylist()
    assert (row["loss"], row["grad_norm"], row["seconds"], row["cap"]) == (0.1, 0.1, 1.5, 8)
    assert (row["reward"], row["accuracy"], row["length_mean"]) == (0.5, 0.5, 3.0)
    assert dict(row["stopped_share"]) == {"\nUser:": 0.5}
    rows = engine.run.table("rollouts").to_pylist()
    assert [(r["prompt_id"], r["sample"]) for r in rows] == [("p0", 0), ("p0", 1), ("p1", 0), ("p1", 1)]
    assert [r["advantage"] for r in rows] == pytest.approx([-(0.5**0.5), 0.5**0.5] * 2, rel=1e-4)
    consumed = engine.run.table("consumption").to_pylist()
    assert sum(r["tokens"] for r in consumed) == row["tokens"] == 4 * (len(render("cpt_base", "pick 0")) + 3)


def test_a_response_without_a_ruling_is_no_zero(tmp_path):
    engine = Engine(tmp_path)
    with engine.follower.ledger:
        engine.respond(1, verdict="ERROR", reward=None)
        engine.log(1)
        engine.follower.follow()
    rows = engine.run.table("rollouts").to_pylist()
    assert {(row["verdict"], row["reward"], row["advantage"]) for row in rows} == {("ERROR", None, None)}


def test_a_checkpoint_is_kept_once_its_steps_are_recorded(tmp_path):
    engine = Engine(tmp_path)
    (tmp_path / "tokenizer.json").write_text("that of the start")
    with engine.follower.ledger:
        engine.respond(1)
        engine.log(1)
        engine.checkpoint(2)
        engine.follower.follow()
        assert engine.run.checkpoints() == []
        engine.respond(2)
        engine.log(2)
        engine.follower.follow()
        assert engine.run.checkpoints() == [2] and steps(engine.run) == [1, 2]
    folder = engine.run.checkpoint(2)
    assert (folder / "model.safetensors").read_text() == "model.safetensors of 2"
    assert json.loads((folder / "config.json").read_text()) == {"model_type": "llama", "dtype": "float32"}
    assert (folder / "tokenizer.json").read_text() == "that of the start"
    assert (folder / "global_step_2" / "actor" / "optim.pt").read_text() == "state"
    on = verl_backend._Follower(engine.run, PROMPTS, engine.recipe, tmp_path, bytes_of, lambda step, folder: None)
    assert (on.step, on.resume) == (2, str(folder / "global_step_2"))
    assert on.caps == [{"cap": 8, "truncated_share": 0.0}] * 2


def test_the_watch_ends_the_run_at_the_last_checkpoint(tmp_path, capsys):
    alarm = {"signal": "reward", "below": 0.6, "steps": 2, "action": "stop"}
    engine = Engine(tmp_path, watch={"alarms": [alarm]})
    with engine.follower.ledger:
        for step in (1, 2, 3):
            engine.respond(step)
            engine.log(step)
            if step == 1:
                engine.checkpoint(1)
            engine.follower.follow()
            assert engine.follower.is_over == (step >= 2)
    assert steps(engine.run) == [1, 2] and engine.run.checkpoints() == [1]
    assert engine.run.table("alarms")["action"].to_pylist() == ["stop"]
    assert "octo: stop: step 2: reward 0.5 below 0.6 for 2 steps" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        "ray.exceptions.RayTaskError(ValueError): it was so",
        "\x1b[36m(TaskRunnerV1 pid=7)\x1b[0m ray.exceptions.RayTaskError(ValueError): it was so\x1b[32m [repeated]",
    ],
)
def test_what_verl_died_of_is_said(tmp_path, line):
    (tmp_path / "log.txt").write_text(f"INFO no Error here\n  raise Error(\nValueError: first\n{line}\nDumped\n")
    said = verl_backend._failure(tmp_path, 1).what
    assert said == "verl stopped: ray.exceptions.RayTaskError(ValueError): it was so"


# -- whether it is there -------------------------------------------------------------------------------------------


def test_the_doctor_says_whether_verl_works():
    [row] = [row for row in doctor() if row["name"] == "verl"]
    assert (row["works"] == "yes") == (verl_lacks() is None)
    assert row["works"] == "yes" or ": ".join(verl_lacks() or ()) == row["found or missing"]


@pytest.mark.skipif(verl_lacks() is None, reason="verl is installed")
def test_without_verl_the_launch_says_how_to_get_it(tmp_path):
    with pytest.raises(UserError, match=r"not installed\. pip install .*\[train,verl\].* or .*--backend torch"):
        _check_verl(Store(tmp_path), parse(PLAIN, RLRecipe, "rl.yaml"))


# -- that nothing of it is left ------------------------------------------------------------------------------------

BEARER = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("ready", flush=True)
time.sleep(600)
"""


def start(code: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | environment, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_every_process_with_the_mark_is_ended_and_no_other(tmp_path):
    """A child, and its own child in another session, as Ray's are; beside them one of another run."""
    ours, other = tmp_path / "engine", tmp_path / "engine-of-another"
    processes = [start(BEARER, **{ENGINE: str(folder)}) for folder in (ours, other)]
    try:
        for process in processes:
            assert process.stdout and process.stdout.readline() == "ready\n"
        assert len(verl_backend._bearers(ours)) == len(verl_backend._bearers(other)) == 2
        end_processes(ours)
        assert verl_backend._bearers(ours) == [] and processes[0].wait(10) < 0
        assert len(verl_backend._bearers(other)) == 2 and processes[1].poll() is None
    finally:
        end_processes(other)
        for process in processes:
            process.wait(10)
            assert process.stdout
            process.stdout.close()


def test_a_process_that_does_nothing_is_hung_and_one_that_writes_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(verl_backend, "LOOK_SECONDS", 0.05)
    process = start("import time; time.sleep(600)")
    try:
        began = time.monotonic()
        with pytest.raises(UserError, match=r"no sign of life for 0\.5 s"):
            for _ in verl_backend._signs_of_life(process, tmp_path, 0.5):
                if time.monotonic() - began < 1:
                    with (tmp_path / "log.txt").open("a") as log:
                        log.write("x")
        assert time.monotonic() - began > 1.4
    finally:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()

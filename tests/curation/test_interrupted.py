"""`octo curate` ended by Ctrl-C, SIGTERM or SIGKILL: no worker stays behind, and the next run makes the same corpus."""

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import octo
from curation.pipeline import curate, input_files
from manifests.store import Store

ROOT = Path(octo.__file__).parents[1]
PATIENCE = 120.0
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def command(recipe: Path, store: Path) -> list[str]:
    return [sys.executable, "-m", "octo", "curate", str(recipe), "--store", str(store), "--workers", "2"]


def workers(store: Path) -> list[str]:
    """Curation workers that write into `store`, whoever started them."""
    found = subprocess.run(
        ["pgrep", "-f", f"curation.execution.worker {store}"], capture_output=True, text=True, check=False
    )
    return found.stdout.split()


def wait_until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


@pytest.fixture
def build(sample, tokenizer, tmp_path) -> tuple[Path, Path, int]:
    """A recipe of the sample, an empty store, and how many tasks there are."""
    recipe = sample.recipe(tokenizer)
    (tmp_path / "r.yaml").write_text(json.dumps(recipe.model_dump(mode="json")))
    return tmp_path / "r.yaml", tmp_path / "store", len(input_files(recipe, None))


def check_ended_early(store: Path, tasks: int) -> None:
    """No worker is there any more, and they did not just come to the end of their work."""
    wait_until(lambda: not workers(store))
    assert len(list(store.rglob("done.json"))) < tasks
    assert Store(store).list("manifests/sample") == []


@pytest.mark.parametrize(("end", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, 130)])
def test_workers_end_with_a_command_that_is_killed(end, status, build):
    recipe, store, tasks = build  # without a terminal, whose end would end them
    process = subprocess.Popen(
        command(recipe, store), env=ENVIRONMENT, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_until(lambda: len(workers(store)) == 2)
    process.send_signal(end)
    assert process.wait(PATIENCE) == status
    check_ended_early(store, tasks)


def test_after_ctrl_c_on_a_terminal_the_next_run_goes_on(build, sample, tokenizer, corpus):
    recipe, store, tasks = build
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(recipe, store), env=ENVIRONMENT, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(theirs)
    said = bytearray()
    listener = threading.Thread(target=listen, args=(ours, said))
    listener.start()
    wait_until(lambda: list(store.rglob("done.json")))
    os.write(ours, b"\x03")
    assert process.wait(PATIENCE) == 130, said.decode()
    listener.join()
    os.close(ours)
    assert b"octo: interrupted. What is done is kept" in said and b"Traceback" not in said
    check_ended_early(store, tasks)
    assert curate(Store(store), sample.recipe(tokenizer), workers=2).id == corpus.id


def listen(terminal: int, said: bytearray) -> None:
    """Read what is written to a terminal until its other end is closed."""
    try:
        while data := os.read(terminal, 1 << 16):
            said.extend(data)
    except OSError:  # what that looks like
        return

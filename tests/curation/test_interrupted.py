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
from dataclasses import dataclass
from pathlib import Path

import octo
from curation.pipeline import curate, input_files
from manifests.store import Store

ROOT = Path(octo.__file__).parent
PATIENCE = 120.0


@dataclass(frozen=True)
class Session:
    """`octo curate` with two workers on a pseudo-terminal of its own, as a shell in a window starts it."""

    process: subprocess.Popen[bytes]
    terminal: int
    store: Path
    said: bytearray

    @classmethod
    def start(cls, recipe: Path, store: Path) -> "Session":
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "octo", "curate", str(recipe), "--store", str(store), "--workers", "2"]
        process = subprocess.Popen(
            command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(theirs)
        session = cls(process, ours, store, bytearray())
        threading.Thread(target=session._listen, daemon=True).start()
        return session

    def _listen(self) -> None:
        try:
            while data := os.read(self.terminal, 1 << 16):
                self.said.extend(data)
        except OSError:  # what the end of a terminal looks like
            return

    def press_ctrl_c(self) -> None:
        os.write(self.terminal, b"\x03")

    def workers(self) -> list[str]:
        """Curation workers that write into this store, whoever started them."""
        found = subprocess.run(["pgrep", "-f", f"curation.worker {self.store}"], capture_output=True, text=True)
        return found.stdout.split()


def wait_until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def test_however_a_build_ends_no_worker_stays_and_the_next_run_goes_on(sample, tokenizer, corpus, tmp_path):
    recipe, store = tmp_path / "r.yaml", tmp_path / "store"
    recipe.write_text(json.dumps(sample.recipe(tokenizer).model_dump(mode="json")))
    tasks = len(input_files(sample.recipe(tokenizer), None))

    for end, status in ((signal.SIGKILL, -9), (signal.SIGTERM, -15), (None, 130)):
        session = Session.start(recipe, store)
        wait_until(lambda session=session: len(session.workers()) == 2)
        if end:
            session.process.send_signal(end)
        else:
            wait_until(lambda: list(store.rglob("done.json")))
            session.press_ctrl_c()
        assert session.process.wait(PATIENCE) == status, session.said.decode()
        wait_until(lambda session=session: not session.workers())
        os.close(session.terminal)
        assert len(list(store.rglob("done.json"))) < tasks  # they did not come to the end of their work
    assert b"octo: interrupted. What is done is kept" in session.said and b"Traceback" not in session.said

    assert list(store.rglob("done.json")) and Store(store).list("manifests/sample") == []
    assert curate(Store(store), sample.recipe(tokenizer), workers=2).id == corpus.id

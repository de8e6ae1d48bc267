"""Progress is drawn on a terminal and nowhere else."""

import os
import pty
import subprocess
import sys
from pathlib import Path

PROGRAM = """
from manifests.progress import progress
with progress("outer", 2) as advance:
    with progress("inner") as inner:
        inner(1, note="loss 3.2")
    advance()
    advance(note="done")
"""
ROOT = Path(__file__).parents[2]


def test_nothing_is_drawn_without_a_terminal():
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_both_tasks_are_drawn_on_a_terminal():
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=ROOT, stderr=theirs, env=environment) as process:
        os.close(theirs)
        drawn = b""
        try:
            while part := os.read(ours, 4096):
                drawn += part
        except OSError:  # the other end is closed
            pass
    os.close(ours)
    assert process.returncode == 0
    assert b"outer" in drawn

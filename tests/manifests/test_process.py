"""How processes of ours end: status, what is said, what still runs, and that a thread cannot spoil it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HOME = str(Path(__file__).parents[2])
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def ended(code: str, **options):
    """The process that ran `code` and left."""
    lines = ["import atexit, sys, threading, time", "from manifests.errors import UserError"]
    lines += [
        "from manifests.process import run_and_leave",
        "def work():",
        *(f"    {line}" for line in code.split("; ")),
    ]
    lines += ["run_and_leave(work, 3)"]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": HOME, "env": BUFFERED} | options
    return subprocess.run([sys.executable, "-c", "\n".join(lines)], text=True, check=False, **options)


@pytest.mark.parametrize(
    ("code", "status", "says"),
    [
        ("pass", 0, ""),
        ("sys.exit(2)", 2, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit('no')", 1, "no\n"),
        ("raise UserError('it is so', 'Do that')", 3, "octo: it is so. Do that\n"),
        ("raise PermissionError(13, 'Permission denied', 'x')", 3, "octo: [Errno 13] Permission denied: 'x'. Choose"),
        ("1 / 0", 1, "Traceback"),
        ("raise KeyboardInterrupt", 1, "Traceback"),
    ],
)
def test_a_process_ends_with_its_status_and_its_word(code, status, says):
    process = ended(code)
    assert process.returncode == status
    assert process.stderr.startswith(says) and (says or not process.stderr)


def test_output_exit_functions_and_threads_are_waited_for():
    code = "atexit.register(lambda: print('last')); "
    code += "threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start(); print('first', end=' ')"
    assert ended(code).stdout.split() == ["first", "thread", "last"]


def test_no_thread_outlives_the_interpreter_it_needs():
    """What a native thread does that gets the interpreter only while it is torn down: it must not come to that."""
    code = "import gc; atexit.register(lambda: print('out')); "
    code += "sys.modules['late'] = type('Late', (), {'__del__': lambda _: print('torn down')})()"
    assert ended(code).stdout == "out\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_output_that_could_not_be_written_is_told():
    with open("/dev/full", "w") as full:
        process = ended("print('result')", stdout=full)
    assert process.returncode == 1 and "No space left on device" in process.stderr


def test_a_reader_that_has_had_enough_is_no_failure():
    code = "import os; r, w = os.pipe(); os.close(r); os.dup2(w, 1); print('result')"
    assert ended(code).returncode == 0

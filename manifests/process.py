"""How our processes are started and ended, and how they end with the process that started them.

`environment` makes a process import our packages and no others of the same names. `run_and_leave` is the last line of
every entry point: a UserError ends as one line on stderr, any other error keeps its traceback. Exit functions run and
output is flushed, then the process ends without the interpreter's teardown: under Python 3.11 a native thread that
releases a Python object during it (gloo's did) aborts the process ("terminate called without an active exception"),
which made finished work look failed in 1 of 6 runs on two ranks. Leaves out signals.
"""

import atexit
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from manifests.errors import UserError, of_system

PR_SET_PDEATHSIG = 1
PROJECT = Path(__file__).resolve().parents[1]
"""The folder that holds the packages: the checkout, or site-packages."""


def environment() -> dict[str, str]:
    """The variables of this process for one that runs `python -m` of ours: the project comes first on Python's path,
    and the working directory is not on it, where a folder called training/ would be taken for our package."""
    paths = [str(PROJECT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}


def run_and_leave(work: Callable[[], Any], mistake: int = 1, prefix: str = "octo: ") -> NoReturn:
    """Do `work` and end the process: status 0, that of a SystemExit, `mistake` for a UserError, else 1."""
    leave(status_of(work, mistake, prefix))


def status_of(work: Callable[[], Any], mistake: int = 1, prefix: str = "octo: ") -> int:
    """The exit status that `work` deserves, once it is done and its error, if any, is on stderr."""
    try:
        work()
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException as error:  # an interrupt too: this is the last frame, and every error becomes a status
        told = of_system(error) if isinstance(error, OSError) else error
        if not isinstance(told, UserError):
            sys.excepthook(type(error), error, error.__traceback__)
            return 1
        print(f"{prefix}{told}", file=sys.stderr)
        return mistake
    return 0


def leave(status: int) -> NoReturn:
    """End this process: wait for its non-daemon threads, run exit functions, flush output."""
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]  # as the interpreter's own exit begins
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            pass  # the reader of the pipe has stopped
        except OSError as error:
            status = 1
            print(f"octo: {error}", file=sys.__stderr__)
    os._exit(status)


def die_with_parent(by: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel for this signal when the parent ends. On Linux; elsewhere nothing is done."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, by)

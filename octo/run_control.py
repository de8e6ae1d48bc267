"""`octo runs cancel` and `octo runs logs`: ends the work of a run wherever it was started, and finds its logs.

Jobs of Slurm are found by their names and cancelled there. A run on this machine, Ray's driver included, is held by one
process, whose ID is in the lock of the run: it is interrupted as by Ctrl-C, so that it records that it was stopped.
Afterwards nothing works on the run, and the command that began it resumes it. Leaves out processes of other machines,
which are named, and runs in a store that is not a folder, where no lock tells who holds them.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from curation.execution.slurm import ANNOTATE, FINISH
from manifests.errors import UserError
from manifests.places.place import Element
from manifests.places.slurm import Slurm
from manifests.runs import RunDirectory
from manifests.store import HOST

END_SECONDS = 60.0
"""How long a process may take to end after it was interrupted: it may be writing a checkpoint."""
POLL_SECONDS = 0.2
LOGS = ("engine/log.txt", "slurm/*.log", "logs/**/*.log", "logs/**/*.out")
"""Where engines, jobs of Slurm, and the workers and tasks of a curation write what they print."""
TAIL_BYTES = 64 << 10


def cancel(run: RunDirectory) -> str:
    """End all work on `run`, and say in one sentence what was ended. UserError where it cannot be reached."""
    if run.status == "done":
        return f"{run.id} is done; there is nothing to cancel"
    if jobs := _jobs(run):
        names = sorted({job.array for job in jobs})
        Slurm().cancel(names)
        if not _is_free(run):
            return f"Slurm is ending {', '.join(names)} of {run.id}; `octo runs show {run.id}` shows when they are gone"
        run.stop("cancelled")
        return f"Slurm has cancelled {', '.join(names)} of {run.id}; the same command resumes the run"
    return _interrupt(run)


def _jobs(run: RunDirectory) -> list[Element]:
    """The jobs of `run` that wait or run on Slurm."""
    if not run.record.get("slurm"):
        return []
    return Slurm().status(*(f"octo-{run.id}{stage}" for stage in ("", f"-{ANNOTATE}", f"-{FINISH}")))


def _interrupt(run: RunDirectory) -> str:
    """Interrupt the process that holds `run`, and wait until it has ended."""
    if not run.store.is_local:
        what = f"the store {run.store.url} does not tell which process works on {run.id}"
        raise UserError(what, "Interrupt the command where it runs, with Ctrl-C")
    holder = run.holder()
    if holder is None:
        return _without_process(run)
    host, pid = holder
    if host != HOST:
        raise UserError(f"{run.id} runs on {host} as process {pid}", f"Repeat this command on {host}")
    try:
        os.kill(pid, signal.SIGTERM if _ignores_interrupts(pid) else signal.SIGINT)
    except ProcessLookupError as error:
        what = f"process {pid} works on {run.id} and is not visible from here"
        raise UserError(what, "It may run in a container: interrupt it there") from error
    except PermissionError as error:
        raise UserError(f"process {pid} works on {run.id} and belongs to another user", "Ask its owner") from error
    if not _is_free(run):
        what = f"process {pid} was interrupted and has not ended after {END_SECONDS:g} seconds"
        raise UserError(what, f"`kill -9 {pid}` ends it at once; the run then resumes from its last checkpoint")
    run.stop("cancelled")
    return f"process {pid} has stopped {run.id}; the same command resumes the run"


def _without_process(run: RunDirectory) -> str:
    if run.status != "running":
        return f"nothing works on {run.id}, whose status is {run.status}; there is nothing to cancel"
    run.stop("its process was killed")
    return f"the process of {run.id} had been killed; its status is now stopped, and the same command resumes the run"


def _ignores_interrupts(pid: int) -> bool:
    """Whether a process was started to ignore Ctrl-C, as a shell script does with what it puts into the background."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
        ignored = next((line.split()[1] for line in lines if line.startswith("SigIgn:")), "0")
        return bool(int(ignored, 16) >> (signal.SIGINT - 1) & 1)
    return False


def _is_free(run: RunDirectory) -> bool:
    """Whether no process holds `run`, now or before END_SECONDS are over."""
    end = time.monotonic() + END_SECONDS
    while run.store.is_local and run.holder():
        if time.monotonic() > end:
            return False
        time.sleep(POLL_SECONDS)
    return True


# -- logs ------------------------------------------------------------------------------------------------------------


def logs_of(run: RunDirectory) -> list[Path]:
    """The files that hold what the processes of `run` have printed, the one written to last at the end."""
    return sorted(_written(run.path), key=lambda path: path.stat().st_mtime)


def _written(folder: Path) -> Iterator[Path]:
    for pattern in LOGS:
        yield from (path for path in folder.glob(pattern) if path.is_file() and path.stat().st_size)


def last_lines(path: Path, number: int) -> list[str]:
    """The last lines of a log, however long it is."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return file.read().decode("utf-8", "replace").splitlines()[-number:]


def why_none(run: RunDirectory) -> str:
    """Why a run has no log, in one sentence."""
    if run.record["kind"] == "curate" and run.status == "done":
        return f"the logs of {run.id} were removed when it succeeded; `octo report {run.id}` shows its tasks"
    return f"{run.id} has no log: what it printed is on the terminal where it was started"

"""Runs an engine as processes, one per rank, on this machine or on all nodes of a Slurm job, and waits for them.

On this machine the processes end with the one that launched them. On several nodes the launch runs on the first node,
and all processes end when one fails or when the job ends. Their output is in `log.txt` beside their files, on several
nodes with the number of the node before each line; `progress.json` reports their progress, and `failure.json` a
UserError. Leaves out several machines without Slurm.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from manifests.errors import UserError
from manifests.process import die_with_parent, environment
from manifests.progress import progress

FAILURE, PROGRESS, LOG = "failure.json", "progress.json", "log.txt"
LAUNCHER = "OCTO_LAUNCHER"
"""Environment variable with the process ID that an engine's process must not outlive."""
STEP_SECONDS = 300
"""Seconds that srun may wait for the nodes of its job: after a node was lost, Slurm 22.05 may consider them busy for
ever."""
LINE = re.compile(r"(?: *(?P<node>\d+): )?(?:\[rank\d+\]: ?)?(?P<said>.*)")
"""A line of the log: the number that srun prepends, the rank that torch prepends, and the message."""
KILLED = re.compile(
    r"srun: error: (Node failure on .*|Unable to create step .*|\S+: tasks? [\d,-]+: (?!Exited ).*)"
    r"|traceback : (Signal \d+ .*)"
)
"""How srun reports a node or a torchrun that was lost, and torchrun a rank."""
ECHO = re.compile(r"ChildFailedError|SignalException|Dist\w+Error|NCCL|Connection (?:closed|reset|refused)|Broken pipe")
"""Errors of ranks whose peer has failed; they do not explain the cause."""


def run_engine(folder: Path, arguments: list[str], what: str, done: int, steps: int) -> None:
    """Run `python ARGUMENTS` to its end, showing progress. Its files go to `folder`; UserError when it fails."""
    for name in (FAILURE, PROGRESS):
        (folder / name).unlink(missing_ok=True)
    variables = environment() | {LAUNCHER: str(os.getpid())}
    command = [sys.executable, *arguments]
    if (nodes := slurm_nodes()) > 1:
        del variables[LAUNCHER]  # a process ID means nothing on another node
        options = ["--ntasks-per-node=1", "--kill-on-bad-exit=1", "--label", f"--immediate={STEP_SECONDS}"]
        command = ["srun", f"--nodes={nodes}", *options, *command]
    with (folder / LOG).open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            status = _watch(process, folder, what, done, steps)
        except BaseException:  # an interrupt too: no engine outlives its launcher
            process.terminate()
            process.wait()
            raise
    if status:
        raise _failure(folder, status)


def slurm_nodes() -> int:
    """Nodes of the Slurm job that this process belongs to; 1 outside of one."""
    return int(os.environ.get("SLURM_JOB_NUM_NODES", "1"))


def slurm_hosts() -> list[str]:
    """Names of these nodes in the order of their numbers in Slurm. Only within a job."""
    command = ["scontrol", "show", "hostnames", os.environ.get("SLURM_JOB_NODELIST", "")]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def _watch(process: "subprocess.Popen[bytes]", folder: Path, what: str, done: int, steps: int) -> int:
    """The exit status of `process`, once it has one."""
    with progress(what, steps) as advance:
        advance(done)
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(timeout=0.5)
            with contextlib.suppress(OSError, ValueError):
                told = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
                advance(told["step"] - done, note=told["note"])
                done = told["step"]


def _failure(folder: Path, status: int) -> UserError:
    with contextlib.suppress(OSError, ValueError):
        told = json.loads((folder / FAILURE).read_text(encoding="utf-8"))
        return UserError(told["what"], told["hint"])
    log = (folder / LOG).read_text(encoding="utf-8", errors="replace")
    cause = what_ended_it(log, slurm_hosts() if slurm_nodes() > 1 else []) or f"status {status}"
    hint = f"See {folder / LOG}; launched again, the run resumes from its last checkpoint"
    return UserError(f"the engine stopped: {cause[:200]}", hint)


def what_ended_it(log: str, hosts: list[str]) -> str:
    """What ended the processes, according to the log, with the node if there are several; "" if it does not say. An
    error of a rank; otherwise the first process that was killed or lost with its node; otherwise the resulting errors
    of the others.
    """
    lines = [(found["node"], found["said"]) for found in map(LINE.fullmatch, log.splitlines()) if found]
    errors = [(node, said.strip()) for node, said in lines if "Error" in said and not said.startswith(" ")]
    own = [(node, said) for node, said in errors if not ECHO.search(said)]
    killed = [(node, found[1] or found[2]) for node, said in lines if (found := KILLED.search(said))]
    for node, said in own[-1:] or killed[:1] or errors[:1]:
        said = said.removeprefix("UserError: ")
        return f"{hosts[int(node)]}: {said}" if node and hosts else said
    return ""


# -- within the processes ------------------------------------------------------------------------------------------


def follow_launcher() -> None:
    """Ask the kernel for SIGKILL when the parent ends, so that no orphan writes into a run that has resumed
    elsewhere."""
    die_with_parent()
    if os.environ.get(LAUNCHER, str(os.getppid())) != str(os.getppid()):
        os._exit(1)  # it ended while this process was starting


def tell_failure(folder: Path, error: UserError) -> None:
    """Write down the error, for the launcher to raise."""
    (folder / FAILURE).write_text(json.dumps({"what": error.what, "hint": error.hint}), encoding="utf-8")


class Teller:
    """Reports the progress of this process to the launcher, at most twice a second."""

    def __init__(self, folder: Path):
        self._file, self._next = folder / PROGRESS, 0.0

    def __call__(self, row: dict[str, Any], note: str) -> None:
        if (now := time.monotonic()) >= self._next:
            self._next = now + 0.5
            aside = self._file.with_suffix(".tmp")
            aside.write_text(json.dumps({"step": row["step"], "note": note}), encoding="utf-8")
            aside.replace(self._file)

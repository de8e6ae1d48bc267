"""Processes on this machine. They end with the process that submitted them, at the end of their standard input, which
that process holds open: a program that could outlive it must read it (`curation.execution.worker.end_with_parent`)."""

import contextlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from manifests.places.place import Element, Work
from manifests.process import environment

END_SECONDS = 10.0
"""Seconds in which a process must end after SIGTERM."""


class Local:
    """A Place. `variables` are added to each process's environment. Leaves out arrays."""

    def __init__(self, variables: dict[str, str] | None = None):
        self._variables = variables or {}
        self._processes: dict[str, tuple[str, subprocess.Popen[bytes]]] = {}

    def submit(self, work: Work) -> list[str]:
        work.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, *work.arguments]
        with self.logs(work)[0].open("wb") as log:
            process = subprocess.Popen(
                command, env=environment() | self._variables, stdin=subprocess.PIPE, stdout=log, stderr=log
            )
        self._processes[str(process.pid)] = work.name, process
        return [str(process.pid)]

    def status(self, *names: str) -> list[Element]:
        return [
            Element(pid, name, "RUNNING")
            for pid, (name, process) in self._processes.items()
            if name in names and process.poll() is None
        ]

    def cancel(self, ids: Sequence[str]) -> None:
        """End the processes; none of them exists afterwards."""
        processes = [self._processes[pid][1] for pid in ids]
        for process in processes:
            if process.poll() is None:
                process.terminate()
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)
            process.kill()
            process.wait()
            assert process.stdin
            process.stdin.close()

    def logs(self, work: Work) -> list[Path]:
        return [work.folder / f"{work.name}.log"]

    def exit_status(self, pid: str) -> int | None:
        """The exit status of a process; None while it runs."""
        return self._processes[pid][1].poll()

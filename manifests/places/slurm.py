"""Slurm: jobs and arrays of jobs, submitted by sbatch and found again by their names.

The only module that writes batch scripts. A single job waits until other jobs of its name have ended (`singleton`). An
array that is larger than the cluster allows is split into several; each element finds its number in SLURM_ARRAY_TASK_ID
and RUN_OFFSET, as Datatrove's executor reads them. States come from squeue, and of ended jobs from sacct where the
cluster keeps accounts.
"""

import contextlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests.errors import UserError
from manifests.places.config import SlurmSettings
from manifests.places.place import Element, Work
from manifests.process import PROJECT

DEFAULT_MAX_ARRAY = 1001
ARRAY_LOGS = "slurm_logs"
NEVER = ("BadConstraints", "PartitionConfig", "PartitionNodeLimit", "PartitionTimeLimit")
"""Slurm's reasons of jobs that wait for ever: they request more than any node or the partition has."""
PLAIN = SlurmSettings()
HINT = "Try again when Slurm's controller answers"


@dataclass(frozen=True)
class Slurm:
    """A Place. `max_array` limits the elements of one array; the default is the cluster's limit."""

    settings: SlurmSettings = PLAIN
    max_array: int | None = None

    def submit(self, work: Work) -> list[str]:
        logs = work.folder / (ARRAY_LOGS if work.elements else "")
        logs.mkdir(parents=True, exist_ok=True)  # Slurm makes no folder
        file, jobs = work.folder / "job.sh", list[str]()
        file.write_text(self.script(work), encoding="utf-8")
        for number in range(self.arrays(work)):
            after = [f"afterany:{':'.join(work.after)}"] if work.after else []
            after += [f"afterany:{jobs[-1]}"] if jobs and work.at_once else []
            options = [f"--dependency={','.join(after)}"] if after else []
            options += [f"--export=ALL,RUN_OFFSET={number}"] if work.elements else []
            jobs.append(_sbatch("--parsable", *options, str(file)))
        return jobs

    def status(self, *names: str) -> list[Element]:
        said = ask("squeue", "--noheader", "--array", f"--name={','.join(names)}", "--format=%i|%j|%T|%r|%N")
        return [Element(*line.split("|", 4)) for line in said.splitlines()]

    def cancel(self, ids: Sequence[str]) -> None:
        ask("scancel", *ids)

    def logs(self, work: Work) -> list[Path]:
        return sorted(work.folder.glob(f"{ARRAY_LOGS}/*.out" if work.elements else "*.log"))

    # -- the script --------------------------------------------------------------------------------------------------

    def array_size(self, elements: int) -> int:
        """Elements of one array of `elements` in all."""
        return min(elements, self.max_array or max_array_size())

    def arrays(self, work: Work) -> int:
        """How many jobs `work` is submitted as."""
        return -(-work.elements // self.array_size(work.elements)) if work.elements else 1

    def script(self, work: Work) -> str:
        """The batch script of `work`."""
        options = self._options(work) | self.settings.sbatch | {"requeue": ""}
        lines = [f"#SBATCH --{name}={value}" if value != "" else f"#SBATCH --{name}"
                 for name, value in options.items() if value is not None]  # fmt: skip
        venv = self.settings.venv
        activate = self.settings.env_command or (f"source {shlex.quote(venv)}/bin/activate" if venv else None)
        python = "python" if activate else shlex.quote(sys.executable)
        path = f"export PYTHONPATH={shlex.quote(str(PROJECT))}${{PYTHONPATH:+:$PYTHONPATH}}"
        command = f"exec {python} {shlex.join(work.arguments)}"
        variables = f"{path} PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1"
        return "\n".join(["#!/bin/bash", *lines, *filter(None, [activate]), variables, command, ""])

    def _options(self, work: Work) -> dict[str, Any]:
        needs, limit = work.needs, f"%{work.at_once}" if work.at_once else ""
        return {
            "job-name": work.name,
            "output": f"{work.folder}/{f'{ARRAY_LOGS}/%A_%a.out' if work.elements else '%j.log'}",
            "nodes": work.nodes,
            "ntasks-per-node": 1,
            "cpus-per-task": needs.cpus,
            "time": needs.time,
            "partition": self.settings.partition,
            "gpus-per-node": work.gpus,
            "mem": None if needs.memory_gb is None else f"{int(needs.memory_gb * 1024)}M",
            "open-mode": "append",
            **(
                {"array": f"0-{self.array_size(work.elements) - 1}{limit}"}
                if work.elements
                else {"dependency": "singleton"}
            ),
        }


# -- what Slurm says -------------------------------------------------------------------------------------------------


def is_stuck(element: Element) -> bool:
    """Whether a job that sbatch accepted waits for resources that the partition does not have."""
    return element.state == "PENDING" and element.reason in NEVER


def max_array_size() -> int:
    """The cluster's limit, or Slurm's default."""
    with contextlib.suppress(UserError):
        if found := re.search(r"MaxArraySize\s*=\s*(\d+)", ask("scontrol", "show", "config")):
            return int(found[1])
    return DEFAULT_MAX_ARRAY


def accounts(jobs: list[str]) -> dict[str, str]:
    """State of ended jobs and elements by their ID, if the cluster keeps accounts."""
    with contextlib.suppress(UserError):
        said = ask("sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={','.join(jobs)}",
                    "--format=JobID,State")  # fmt: skip
        return dict(line.split("|", 1) for line in said.splitlines() if "|" in line)
    return {}


def _sbatch(*arguments: str) -> str:
    """The ID of the job that was submitted: of `12;cluster` the first part."""
    return ask("sbatch", *arguments, hint="See `place` in docs/recipes.md").strip().split(";")[0]


def ask(program: str, *arguments: str, hint: str = HINT) -> str:
    """The output of a program of Slurm; UserError when it is missing, fails, or does not end within a minute."""
    if not shutil.which(program):
        raise UserError(
            f"there is no {program} on this machine",
            "Run it where Slurm's commands are, such as a login node, or use --on local",
        )
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{program} does not answer", HINT) from error
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        raise UserError(f"{program}: {said[0]}", hint)
    return done.stdout

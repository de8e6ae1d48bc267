"""Tasks in processes of their own: `run_tasks` gives each worker a share of the input files and watches it.

A worker (`python -m curation.worker`) runs Datatrove's LocalPipelineExecutor over its share, one task after the other.
Datatrove's own pool is not used: it waits for ever for a child that was killed, while the parent here sees a dead
worker, lets the others finish and raises; what they wrote is found by the next run. Leaves out Slurm and Ray.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.config import CurateRecipe
from curation.sources import InputFile
from curation.vocabulary import PROJECT
from manifests.errors import UserError
from manifests.identity import json_digest
from manifests.progress import progress
from manifests.store import file_sha256

RULES_VERSION = 5
"""Raised whenever code changes what a task writes, so that neither old task output nor an old manifest is taken for the
new rules'."""
RECORD = "done.json"
"""A task's record: what it counted, and the checksums of its files. Written last."""
POLL_SECONDS = 0.05
LOG_TAIL = 3000
USER_ERROR = 3
"""Exit status of a worker that met what the user can put right; the last line of its log says what."""
ORPHANED, NO_ROOM = 4, 5
"""Exit status of a worker whose parent has gone, and of one that found the disk full."""


@dataclass(frozen=True)
class Job:
    """All tasks of one build, as a file that workers read. `folder` is the build's scratch folder, `model` and
    `language` the digests of the classifier and of the model that identifies languages, if there are files of these."""

    folder: Path
    recipe: CurateRecipe
    tokenizer: Path
    files: tuple[InputFile, ...]
    model: str | None = None
    language: str | None = None

    @property
    def classifier(self) -> Path | None:
        """The classifier's model, copied here under its digest: training another at its path changes nothing here."""
        return self.folder / f"{self.model}.bin" if self.model else None

    @property
    def language_model(self) -> Path | None:
        """The model that identifies languages, copied here like the classifier."""
        return self.folder / f"{self.language}.bin" if self.language else None

    @property
    def items(self) -> Path:
        """Items of the benchmarks, as Parquet."""
        return self.folder / "items.parquet"

    def output(self, file: InputFile) -> Path:
        """Where the task of `file` puts its output."""
        return self.folder / "tasks" / json_digest([file.source, file.name, file.sha256])[:32]

    @property
    def log_folder(self) -> Path:
        """Datatrove's logging folder, of this code, recipe and these inputs only: its marks are keyed by rank."""
        inputs = [[file.source, file.name, file.sha256] for file in self.files]
        return self.folder / "logs" / json_digest([RULES_VERSION, self.recipe.model_dump(mode="json"), inputs])[:16]

    def save(self) -> Path:
        path = self.log_folder / "job.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        files = [vars(file) for file in self.files]
        plain = {"folder": str(self.folder), "tokenizer": str(self.tokenizer), "files": files}
        plain |= {"model": self.model, "language": self.language}
        path.write_text(json.dumps(plain | {"recipe": self.recipe.model_dump(mode="json")}))
        return path

    @classmethod
    def load(cls, path: Path) -> "Job":
        plain = json.loads(path.read_bytes())
        files = tuple(InputFile(**file | {"parts": tuple(file["parts"])}) for file in plain["files"])
        recipe = CurateRecipe.model_validate(plain["recipe"])
        return cls(Path(plain["folder"]), recipe, Path(plain["tokenizer"]), files, plain["model"], plain["language"])


def task_record(job: Job, file: InputFile) -> dict[str, Any] | None:
    """The record of the task of `file` if it was done to the end and its output is sound, else None."""
    folder = job.output(file)
    try:
        record = json.loads((folder / RECORD).read_bytes())
        sound = all(file_sha256(folder / name) == digest for name, digest in record["files"].items())
    except (OSError, ValueError, KeyError):
        return None
    return record if sound else None


def run_tasks(job: Job, workers: int) -> None:
    """Run every task of `job` that is not done yet, in up to `workers` processes; on return all have sound output.

    Raises UserError when a worker was killed or met one itself, RuntimeError with the end of its log when one failed.
    """
    path = job.save()
    pending = [position for position, file in enumerate(job.files) if task_record(job, file) is None]
    shares = _shares(job.files, pending, workers)
    with progress("curate: files", len(job.files)) as advance, _started(path, shares) as processes:
        done = 0
        while any(process.poll() is None for process in processes):
            time.sleep(POLL_SECONDS)
            now = sum((job.output(file) / RECORD).exists() for file in job.files)
            advance(now - done)
            done = now
    for number, process in enumerate(processes):
        _check(process.returncode, _log(path, number))


def _shares(files: tuple[InputFile, ...], pending: list[int], workers: int) -> list[list[int]]:
    """The tasks of each worker: the largest file first, each to whoever has least so far."""
    shares: list[list[int]] = [[] for _ in range(max(1, min(workers, len(pending))))]
    loads = [0] * len(shares)
    for task in sorted(pending, key=lambda task: (-files[task].bytes, task)):
        least = loads.index(min(loads))
        shares[least].append(task)
        loads[least] += files[task].bytes + 1
    return [share for share in shares if share]


@contextmanager
def _started(job: Path, shares: list[list[int]]) -> Iterator[list[subprocess.Popen]]:
    """One worker process per share; none outlives the block, nor this process: see `curation.worker`."""
    path = os.pathsep.join(part for part in (str(PROJECT), os.environ.get("PYTHONPATH", "")) if part)
    single = {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"} if len(shares) > 1 else {}
    processes = []
    try:
        for number, share in enumerate(shares):
            command = [sys.executable, "-m", "curation.worker", str(job), str(number), *map(str, share)]
            with _log(job, number).open("wb") as log:
                environment = os.environ | single | {"PYTHONPATH": path}
                processes.append(
                    subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log)
                )
        yield processes
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()
            process.wait()
            process.stdin.close()


def _log(job: Path, number: int) -> Path:
    return job.with_name(f"worker-{number}.log")


def _check(status: int, log: Path) -> None:
    if status < 0:
        raise UserError(
            f"a curation worker was killed by signal {-status}, for lack of memory perhaps",
            "Run the same command again, with fewer --workers if memory is short: finished files are kept",
        )
    if status == NO_ROOM:
        raise UserError(
            f"no room is left for the intermediate files in {log.parent.parent.parent}",
            "Make room, or choose another --store; the same command goes on where it stopped",
        )
    said = log.read_text(errors="replace") if status else ""
    if status == USER_ERROR:
        raise UserError(said.strip().splitlines()[-1])
    if status:
        raise RuntimeError(f"a curation worker failed:\n{said[-LOG_TAIL:]}")

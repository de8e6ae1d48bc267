"""Curation on this machine: `run_tasks` runs the tasks of a build that are not done.

Each worker process (`python -m curation.execution.worker`) gets a task group and is monitored: it runs Datatrove's
LocalPipelineExecutor over its group, one task after the other. Datatrove's pool is not used, because it waits for ever
for a child that was killed. Here the parent notices a dead worker, lets the others finish and raises; the next run
finds what they wrote. A single task group of at most SMALL bytes runs in this process."""

import time
from collections.abc import Callable
from pathlib import Path

from curation.execution.worker import run_task
from curation.reading.files import InputFile
from curation.tasks import NO_ROOM, RECORD, USER_ERROR, Job, pending
from manifests.errors import FULL, UserError
from manifests.places.local import Local
from manifests.places.place import Work
from manifests.progress import progress

SMALL = 32 << 20
"""Bytes on disk. A worker takes 2.5 CPU seconds to start, as long as 45 MB of text take."""
POLL_SECONDS = 0.05
SINGLE = {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
"""Of one worker among several."""
LOG_TAIL = 3000


def run_tasks(job: Job, workers: int) -> None:
    """Run every task of `job` that is not done yet, in up to `workers` processes; on return all have sound output.

    Raises UserError when a worker was killed or raised one, RuntimeError with the end of its log when one failed.
    """
    path = job.save()
    shares = _shares(job.files, pending(job), workers)
    with progress("curate: files", len(job.files)) as advance:
        if len(shares) == 1 and sum(job.files[task].size for task in shares[0]) <= SMALL:
            _run_here(job, shares[0], advance)
            return
        work = _work(path, job.logs, shares)
        statuses = _run(Local(SINGLE if len(shares) > 1 else None), work, job, advance)
    for status, one in zip(statuses, work, strict=True):
        _check(status, one.folder / f"{one.name}.log", job.folder)


def _run_here(job: Job, share: list[int], advance: Callable[..., None]) -> None:
    """Run the tasks of `share` one after the other."""
    advance(len(job.files) - len(share))
    for task in share:
        try:
            run_task(job, task, {"place": "local"})
        except OSError as error:
            if error.errno in FULL:
                raise _no_room(job.folder) from error
            raise
        advance(1)


def _run(place: Local, work: list[Work], job: Job, advance: Callable[..., None]) -> list[int]:
    """The exit statuses of all of `work`; none of it outlives the call, nor this process."""
    ids: list[str] = []
    try:
        ids += [pid for one in work for pid in place.submit(one)]
        _until_all_end(job, place, work, advance)
        return [place.exit_status(pid) or 0 for pid in ids]
    finally:
        place.cancel(ids)


def _until_all_end(job: Job, place: Local, work: list[Work], advance: Callable[..., None]) -> None:
    done, names = 0, [one.name for one in work]
    while place.status(*names):
        time.sleep(POLL_SECONDS)
        now = sum((job.output(file) / RECORD).exists() for file in job.files)
        advance(now - done)
        done = now


def _shares(files: tuple[InputFile, ...], pending: list[int], workers: int) -> list[list[int]]:
    """The tasks of each worker: the largest file first, each to the worker with the least so far."""
    shares: list[list[int]] = [[] for _ in range(max(1, min(workers, len(pending))))]
    loads = [0] * len(shares)
    for task in sorted(pending, key=lambda task: (-files[task].size, task)):
        least = loads.index(min(loads))
        shares[least].append(task)
        loads[least] += files[task].size + 1
    return [share for share in shares if share]


def _work(job: Path, logs: Path, shares: list[list[int]]) -> list[Work]:
    """One worker process per share."""
    command = ("-m", "curation.execution.worker", str(job))
    return [
        Work(f"worker-{number}", (*command, str(number), *map(str, share)), logs) for number, share in enumerate(shares)
    ]


def _check(status: int, log: Path, folder: Path) -> None:
    if status < 0:
        raise UserError(
            f"a curation worker was killed by signal {-status}, possibly for lack of memory",
            "Run the same command again, with fewer --workers if memory is short: finished files are kept",
        )
    if status == NO_ROOM:
        raise _no_room(folder)
    said = log.read_text(errors="replace") if status else ""
    if status == USER_ERROR:
        raise UserError(said.strip().splitlines()[-1])
    if status:
        raise RuntimeError(f"a curation worker failed:\n{said[-LOG_TAIL:]}")


def _no_room(folder: Path) -> UserError:
    hint = "Make room, or choose another --store; repeat the same command to resume"
    return UserError(f"no room is left for the intermediate files in {folder}", hint)

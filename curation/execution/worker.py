"""Runs tasks: `python -m curation.execution.worker JOB NUMBER TASK…` runs those at these positions, for
`curation.execution.local`.

Its standard input is a pipe to which nothing is written; its end shows that the parent is gone, for whatever reason,
and then the worker ends too. So do its children, of which Datatrove's LocalPipelineExecutor has one.
"""

import os
import sys
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datatrove.pipeline.base import PipelineStep

from curation.execution import steps
from curation.execution.attempts import COUNTS, attempt
from curation.tasks import NO_ROOM, ORPHANED, USER_ERROR, Job, task_record
from manifests.errors import FULL
from manifests.process import die_with_parent, run_and_leave


def end_with_parent() -> None:
    """Wait in a thread for the end of the parent; forked children ask the kernel for that. It leaves behind the same as
    any killed worker."""

    def wait() -> None:
        os.read(0, 1)  # not sys.stdin: its lock, held by a thread, aborts the interpreter's exit
        os._exit(ORPHANED)

    threading.Thread(target=wait, daemon=True).start()
    os.register_at_fork(after_in_child=die_with_parent)


class Shares(PipelineStep):
    """A whole pipeline as one Datatrove step, so that one rank can be a task group: rank r runs the tasks of
    `shares[r]` that are not done, one after the other. An error is raised at the end, unless the disk is full: then the
    other tasks cannot run either. `about` is recorded with every attempt."""

    name, type = "Curate", "📦 curation"

    def __init__(self, job: Job, shares: Sequence[Sequence[int]], about: dict[str, Any]):
        super().__init__()
        self.job, self.shares, self.about = job, shares, about

    def __deepcopy__(self, memo: object) -> "Shares":
        return self  # executors copy their pipeline for every rank, and a run changes nothing in this one

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:  # type: ignore[override]
        failed: Exception | None = None
        for position in self.shares[rank]:
            try:
                run_task(self.job, position, self.about)
            except Exception as error:  # the other tasks still run; it is raised after them
                failed = failed or error
                if isinstance(error, OSError) and error.errno in FULL:
                    break
        if failed:
            raise failed


def run_task(job: Job, position: int, about: dict[str, Any]) -> None:
    """Run the task at `position` of `job.files` unless it is done."""
    file = job.files[position]
    if task_record(job, file):
        return
    sources = {source.name: (rank, source) for rank, source in enumerate(job.recipe.sources)}
    rank, source = sources[file.source]
    with attempt(job, position, about) as line:
        batches: Any = None
        for step in steps_of(job, [steps.Task(file, source, rank, job.output(file))]):
            batches = step(batches, 0, 1)
        deque(batches, maxlen=0)
        record = task_record(job, file) or {}
        line |= {name: record.get(name, 0) for name in COUNTS}


def work(job: Job, number: int, share: list[int]) -> None:
    """Run the tasks at the positions `share` of `job.files`, one after the other."""
    from datatrove.executor import LocalPipelineExecutor  # noqa: PLC0415  half a second; `run_task` needs none

    about = {"place": "local", "log": str(job.logs / f"worker-{number}.log")}
    LocalPipelineExecutor(
        [Shares(job, [[position] for position in share], about)],
        tasks=len(share),
        workers=1,
        logging_dir=str(job.logs / f"worker-{number}"),
        skip_completed=False,
    ).run()


def steps_of(job: Job, tasks: list[steps.Task]) -> list[PipelineStep]:
    """What each of `tasks` goes through."""
    classifier = job.recipe.classifier
    return [
        steps.Read(tasks, job.recipe),
        steps.Normalise(tasks, job.recipe.boilerplate_lines == "remove"),
        steps.Verify(tasks),
        *([steps.Identify(job.language_model, job.language)] if job.recipe.language else []),
        steps.Annotate(tasks, str(job.tokenizer)),
        *([steps.Score(classifier, job.classifier, job.model)] if classifier and job.classifier and job.model else []),
        steps.Decontaminate(job.items, job.recipe.decontaminate),
        steps.Sign(job.recipe.near_duplicates),
        steps.Write(tasks),
    ]


def main(path: str, number: str, *share: str) -> None:
    end_with_parent()
    try:
        work(Job.load(Path(path)), int(number), [int(position) for position in share])
    except OSError as error:
        if error.errno in FULL:
            os._exit(NO_ROOM)  # the log may lie on the full disk: neither a line nor a clean end can be had
        raise


if __name__ == "__main__":
    run_and_leave(lambda: main(*sys.argv[1:]), USER_ERROR, prefix="")

"""A worker of `curation.tasks`: `python -m curation.worker JOB NUMBER TASK…` runs the tasks at these positions.

Its standard input is a pipe that nothing is written to; that it ends says that the parent is gone, however it went, and
then the worker ends too.
"""

import os
import sys
import threading
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep

from curation import steps
from curation.tasks import NO_ROOM, ORPHANED, USER_ERROR, Job
from manifests.errors import FULL, UserError, of_system


def end_with_parent() -> None:
    """Wait in a thread for the parent's end. What it leaves behind is what any killed worker leaves."""

    def wait() -> None:
        os.read(0, 1)  # not sys.stdin: its lock, held by a thread, aborts the interpreter's exit
        os._exit(ORPHANED)

    threading.Thread(target=wait, daemon=True).start()


def work(job: Job, number: int, share: list[int]) -> None:
    """Run the tasks at the positions `share` of `job.files`, one after the other."""
    sources = {source.name: (rank, source) for rank, source in enumerate(job.recipe.sources)}
    tasks = []
    for position in share:
        file = job.files[position]
        rank, source = sources[file.source]
        tasks.append(steps.Task(file, source, rank, job.output(file)))
    logs = str(job.log_folder / f"worker-{number}")
    LocalPipelineExecutor(
        steps_of(job, tasks), tasks=len(tasks), workers=1, logging_dir=logs, skip_completed=False
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


if __name__ == "__main__":
    end_with_parent()
    try:
        work(Job.load(Path(sys.argv[1])), int(sys.argv[2]), [int(position) for position in sys.argv[3:]])
    except (UserError, OSError) as error:
        if isinstance(error, OSError) and error.errno in FULL:
            os._exit(NO_ROOM)  # the log may lie on the full disk: neither a line nor a clean end can be had
        told = error if isinstance(error, UserError) else of_system(error)
        if told is None:
            raise
        print(told, file=sys.stderr)
        raise SystemExit(USER_ERROR) from None

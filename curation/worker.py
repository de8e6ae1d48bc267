"""A worker of `curation.tasks`: `python -m curation.worker JOB NUMBER TASK…` runs the tasks at these positions."""

import sys
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep

from curation import steps
from curation.tasks import USER_ERROR, Job
from manifests.errors import UserError


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
        *([steps.Identify(job.language_model, job.language)] if job.recipe.language else []),
        steps.Annotate(tasks, str(job.tokenizer)),
        *([steps.Score(classifier, job.classifier, job.model)] if classifier and job.classifier and job.model else []),
        steps.Decontaminate(job.items, job.recipe.decontaminate),
        steps.Sign(job.recipe.near_duplicates),
        steps.Write(tasks),
    ]


if __name__ == "__main__":
    try:
        work(Job.load(Path(sys.argv[1])), int(sys.argv[2]), [int(position) for position in sys.argv[3:]])
    except UserError as error:
        print(error, file=sys.stderr)
        raise SystemExit(USER_ERROR) from None

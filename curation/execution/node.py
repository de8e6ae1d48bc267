"""The program that `curation.execution.slurm` and `curation.execution.on_ray` submit: `python -m
curation.execution.node JOB STAGE LAUNCH`.

    annotate    the tasks of one element of a Slurm array
    finish      the end of a build whose tasks Slurm has run
    ray         the driver of a Ray job; ends with the process that started it

A UserError ends it as one line with status USER_ERROR. An error at the end of a build is in its run's record.
"""

import json
import os
import sys
import time
from pathlib import Path

from datatrove.executor.slurm import SlurmPipelineExecutor

from curation.execution import on_ray, slurm
from curation.execution.build import Build, scratch_name
from curation.execution.worker import Shares, end_with_parent
from curation.tasks import USER_ERROR, Job
from manifests.errors import UserError
from manifests.process import run_and_leave

LOCK_SECONDS = 120.0


def annotate(job: Job, launch: Path) -> None:
    """Run the task groups of this element, which Datatrove's executor determines from Slurm's variables."""
    element = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    about = {"place": "slurm", "slurm": element, "log": f"{launch}/slurm_logs/{element}.out"}
    told = json.loads((launch / slurm.LAUNCH).read_bytes())
    SlurmPipelineExecutor(
        [Shares(job, told["shares"], about)],
        tasks=len(told["shares"]),
        time=job.recipe.place.annotate.time,
        partition="",
        max_array_size=told["max_array_size"],
        logging_dir=str(launch),
        skip_completed=False,
    ).run()


def finish(job: Job) -> None:
    """Freeze the manifest, once the submitting process has released the build."""
    build, end = Build.load(job.home), time.monotonic() + LOCK_SECONDS
    while True:
        try:
            with build.run.store.alone(scratch_name(build.key)), build.run.running():
                build.finish()
                return
        except UserError:
            if build.run.status == "failed" or time.monotonic() > end:
                raise
            time.sleep(1)


def main(path: str, stage: str, launch: str) -> None:
    job = Job.load(Path(path))
    match stage:
        case "annotate":
            annotate(job, Path(launch))
        case "finish":
            finish(job)
        case "ray":
            end_with_parent()
            on_ray.drive(job, Path(launch))


if __name__ == "__main__":
    run_and_leave(lambda: main(*sys.argv[1:]), USER_ERROR, prefix="")

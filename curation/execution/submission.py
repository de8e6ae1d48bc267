"""Datatrove's SlurmPipelineExecutor as `curation.execution.slurm` wants it. Leaves out what is submitted, and when.

A module of its own: Datatrove's executors take half a second to load, and a build on this machine needs none of them.
"""

import re
import shlex
import sys
from pathlib import Path
from typing import Any

from datatrove.executor.slurm import SlurmPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from loguru import logger

from curation.execution.slurm import ANNOTATE
from curation.places import PlaceRecipe
from manifests.shipped import PROJECT


class Submission(SlurmPipelineExecutor):
    """Datatrove's executor with a program of ours on the node, memory per task in place of whole GB per CPU, the IDs of
    all arrays kept, and no job that merges statistics."""

    def __init__(self, pipeline: list[PipelineStep], job: Path, run: str, stage: str, place: PlaceRecipe, launch: Path,
                 tasks: int, max_array: int, after: list[str]):  # fmt: skip
        self.ids: list[str] = []
        self.pickle = launch / "executor.pik"
        settings = place.annotate if stage == ANNOTATE else place.finish
        self.memory = f"{int(settings.memory_gb * 1024)}M"
        python = "python" if place.venv or place.env_command else sys.executable
        self.program = shlex.join([python, "-m", "curation.execution.node", str(job), stage, str(launch)])
        super().__init__(
            pipeline,
            tasks=tasks,
            time=settings.time,
            partition=place.partition or "",
            cpus_per_task=settings.cpus,
            workers=place.workers if place.workers and stage == ANNOTATE else -1,
            job_name=f"octo-{run}-{stage}",
            qos="",
            env_command=place.env_command,  # type: ignore[arg-type]
            venv_path=f"{place.venv}/bin/activate" if place.venv else None,  # type: ignore[arg-type]
            sbatch_args=place.sbatch,
            max_array_size=max_array,
            depends_job_id=":".join(after) or None,
            run_on_dependency_fail=True,
            job_id_retriever=self._job_id,
            logging_dir=str(launch),
            skip_completed=False,
            max_array_launch_parallel=place.workers is None,
            with_srun=False,
        )

    def _job_id(self, said: str) -> str:
        """The ID in `Submitted batch job 12 on cluster c`, of which Datatrove would take the last word."""
        self.ids.append(re.findall(r"\d+", said)[0])
        return self.ids[-1]

    def get_sbatch_args(self, max_array: int = 1) -> dict[str, Any]:
        given = super().get_sbatch_args(max_array)
        unset = {"mem-per-cpu"} | {name for name in ("partition",) if not given[name]}
        return {name: value for name, value in given.items() if name not in unset} | {"mem": self.memory}

    def get_launch_file_contents(self, sbatch_args: dict[str, Any], run_script: str) -> str:
        path = f"PYTHONPATH={shlex.quote(str(PROJECT))}${{PYTHONPATH:+:$PYTHONPATH}}"
        return super().get_launch_file_contents(sbatch_args, f"{path} {self.program}")

    def launch_merge_stats(self) -> None:
        """Nothing: nobody reads them."""

    def launch(self) -> list[str]:
        """Submit; returns the job IDs."""
        logger.disable("datatrove")  # it tells the terminal what the job table says
        self.launch_job()  # and not `run`, which takes a shell inside of an array job for a task
        logger.enable("datatrove")
        self.pickle.unlink()
        return self.ids

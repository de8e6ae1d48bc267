"""Settings of the place where a corpus is built: how the input is split into tasks, and their resources on Slurm or
Ray."""

from typing import Annotated

from pydantic import Field

from manifests.places.config import NeedsRecipe, SlurmSettings, Time, seconds
from manifests.recipe import Amount


class StageRecipe(NeedsRecipe):
    """Resources of one process of a stage."""

    time: Time = "02:00:00"
    """Limit of time: hours:minutes:seconds, or days-hours:minutes:seconds. A Slurm job of several small tasks has it
    for all of them."""
    memory_gb: Annotated[float, Field(gt=0)] = 4
    """Memory in GiB."""
    cpus: Annotated[int, Field(gt=0)] = 1
    """CPUs."""

    @property
    def seconds(self) -> int:
        """`time` in seconds."""
        return seconds(self.time)


class FinishRecipe(StageRecipe):
    """Resources of the process that finishes a build, one for all tasks."""

    time: Time = "12:00:00"
    """Limit of time."""
    memory_gb: Annotated[float, Field(gt=0)] = 16
    """Memory in GiB: 3 and some 0.8 KB a document."""
    cpus: Annotated[int, Field(gt=0)] = 4
    """CPUs."""


class PlaceRecipe(SlurmSettings):
    """Where a corpus is built: how the input is split into tasks, and their resources on Slurm or Ray
    (docs/cluster.md)."""

    task_bytes: Annotated[Amount, Field(gt=0)] = 256_000_000
    """Bytes on disk that one task reads: some minutes of work. Larger local Parquet files are split between row groups,
    uncompressed JSONL files between lines; smaller ones share a job. Fixed at the first launch of a build."""
    workers: int | None = Field(default=None, gt=0)
    """Jobs of Slurm or Ray at a time; by default as many as the cluster takes."""
    retries: int = Field(default=2, ge=0)
    """How often tasks that are missing when all others have ended are submitted again, on Ray or on Slurm with
    --wait."""
    annotate: StageRecipe = StageRecipe()
    """The tasks that read the sources."""
    finish: FinishRecipe = FinishRecipe()
    """The last step: duplicates are found and the manifest is frozen."""
    max_array_size: int | None = Field(default=None, gt=0)
    """Jobs of one Slurm array; by default the limit of the cluster (MaxArraySize). More jobs are split into several
    arrays."""
    address: str | None = None
    """Address of a Ray cluster: auto, HOST:PORT or ray://HOST:PORT. By default one is started on this machine."""

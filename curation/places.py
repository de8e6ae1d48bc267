"""Settings of the place where a corpus is built: how the input is cut into tasks, and what Slurm or Ray gives them."""

from typing import Annotated

from pydantic import Field

from manifests.places.config import NeedsRecipe, SlurmSettings, Time, seconds
from manifests.recipe import Amount


class StageRecipe(NeedsRecipe):
    """What one process of a stage may use."""

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
    """What the process may use that ends a build: one for all tasks."""

    time: Time = "12:00:00"
    """Limit of time."""
    memory_gb: Annotated[float, Field(gt=0)] = 16
    """Memory in GiB: 3 and some 0.8 KB a document."""
    cpus: Annotated[int, Field(gt=0)] = 4
    """CPUs."""


class PlaceRecipe(SlurmSettings):
    """Where a corpus is built: how the input is cut into tasks, and what Slurm or Ray gives them (docs/cluster.md)."""

    task_bytes: Annotated[Amount, Field(gt=0)] = 256_000_000
    """Bytes of input that one task reads, as they lie on disk: some minutes of work. Larger local files of Parquet are
    cut between row groups, of plain JSONL between lines; smaller ones share a job. Fixed at a build's first launch."""
    workers: int | None = Field(default=None, gt=0)
    """Jobs of Slurm or Ray at a time; by default as many as the cluster takes."""
    retries: int = Field(default=2, ge=0)
    """How often Ray, or Slurm with --wait, is asked again for the tasks that are missing when all others have ended."""
    annotate: StageRecipe = StageRecipe()
    """The tasks that read the sources."""
    finish: FinishRecipe = FinishRecipe()
    """The end: copies are found and the manifest is frozen."""
    max_array_size: int | None = Field(default=None, gt=0)
    """Jobs of one Slurm array; by default what the cluster says (MaxArraySize). More are several arrays."""
    address: str | None = None
    """Address of a Ray cluster: auto, HOST:PORT or ray://HOST:PORT. By default one is started on this machine."""

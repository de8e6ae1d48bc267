"""Settings of the place where a corpus is built: how the input is cut into tasks, and what Slurm or Ray gives them."""

from typing import Annotated

from pydantic import Field

from manifests.recipe import Amount, Recipe

TIME = r"(\d+-)?\d{1,2}:\d{2}:\d{2}"


class StageRecipe(Recipe):
    """What one process of a stage may use."""

    time: str = Field(default="02:00:00", pattern=TIME)
    """Limit of time: hours:minutes:seconds, or days-hours:minutes:seconds. A Slurm job of several small tasks has it
    for all of them."""
    memory_gb: float = Field(default=4, gt=0)
    """Memory in GiB."""
    cpus: int = Field(default=1, gt=0)
    """CPUs."""

    @property
    def seconds(self) -> int:
        """`time` in seconds."""
        days, _, clock = self.time.rpartition("-")
        hours, minutes, seconds = map(int, clock.split(":"))
        return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


class FinishRecipe(StageRecipe):
    """What the process may use that ends a build: one for all tasks."""

    time: str = Field(default="12:00:00", pattern=TIME)
    """Limit of time."""
    memory_gb: float = Field(default=16, gt=0)
    """Memory in GiB: 3 and some 0.8 KB a document."""
    cpus: int = Field(default=4, gt=0)
    """CPUs."""


class PlaceRecipe(Recipe):
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
    partition: str | None = None
    """Partition of Slurm; by default the cluster's own default."""
    max_array_size: int | None = Field(default=None, gt=0)
    """Jobs of one Slurm array; by default what the cluster says (MaxArraySize). More are several arrays."""
    venv: str | None = None
    """Virtual environment that a Slurm job activates. By default jobs run the Python that submitted them."""
    env_command: str | None = None
    """Shell command that a Slurm job runs first, in place of `venv`: `module load python; source env/bin/activate`."""
    sbatch: dict[str, str] = Field(default_factory=dict)
    """Further options of sbatch: {account: math, qos: low, exclude: node7}."""
    address: str | None = None
    """Address of a Ray cluster: auto, HOST:PORT or ray://HOST:PORT. By default one is started on this machine."""

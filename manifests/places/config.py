"""Settings that places share: the resources of one process, and how jobs are submitted to Slurm."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from manifests.recipe import Recipe


def _clock(value: Any) -> Any:
    """YAML reads 24:00:00 without quotes as a number in base 60, which is the seconds."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return f"{value // 3600:02}:{value // 60 % 60:02}:{value % 60:02}"
    return value


Time = Annotated[str, BeforeValidator(_clock), Field(pattern=r"^(\d+-)?\d+:[0-5]\d:[0-5]\d$")]
"""hours:minutes:seconds, or days-hours:minutes:seconds."""


def seconds(time: str) -> int:
    """`time` in seconds."""
    days, _, clock = time.rpartition("-")
    hours, minutes, rest = map(int, clock.split(":"))
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + rest


class NeedsRecipe(Recipe):
    """Resources of one process; what is not given is left to the place."""

    time: Time = "24:00:00"
    """Limit of time: hours:minutes:seconds, or days-hours:minutes:seconds."""
    memory_gb: Annotated[float | None, Field(gt=0)] = None
    """Memory in GiB."""
    cpus: Annotated[int | None, Field(gt=0)] = None
    """CPUs."""


class SlurmSettings(Recipe):
    """Settings of every job that is submitted to Slurm."""

    partition: str | None = None
    """Partition of Slurm; by default the cluster's own default."""
    venv: str | None = None
    """Virtual environment that a job of Slurm activates. By default jobs run the Python that submitted them."""
    env_command: str | None = None
    """Shell command that a job of Slurm runs first, in place of `venv`: `module load python; source env/bin/activate`.
    """
    sbatch: dict[str, str] = Field(default_factory=dict)
    """Further options of sbatch: {account: math, qos: low, exclude: node7}."""

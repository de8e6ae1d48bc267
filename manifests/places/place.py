"""What a place is: work is submitted to it, and it reports the status of the work, cancels it and finds its logs.

    local      processes on this machine, which end with the one that submitted them
    slurm      jobs of a cluster, which continue without it
    on_ray     a driver on this machine, which ends with it, and tasks wherever Ray has room

The submitter knows what the work is and whether it is done; a place knows only processes. Leaves out waiting.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from manifests.places.config import NeedsRecipe

PlaceName = Literal["local", "slurm", "ray"]
"""Every place; `octo curate --on` takes them all."""
EnginePlace = Literal["local", "slurm"]
"""The places where an engine runs as one program with ranks."""
NOTHING_SAID = NeedsRecipe()


@dataclass(frozen=True)
class Work:
    """A Python program to run: `python ARGUMENTS`. It is found again by its `name`, and its logs are in `folder`.

    With `elements` it is an array of that many, `at_once` of them at a time, each with its number in its environment.
    It starts when the jobs in `after` have ended, successfully or not.
    """

    name: str
    arguments: tuple[str, ...]
    folder: Path
    needs: NeedsRecipe = NOTHING_SAID
    nodes: int = 1
    gpus: int | None = None
    elements: int | None = None
    at_once: int | None = None
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Element:
    """One pending or running job, or one element of an array. `reason` is why it is pending, `nodes` where it runs."""

    id: str
    name: str
    state: str
    reason: str = ""
    nodes: str = ""

    @property
    def array(self) -> str:
        """The job's ID without the number of the element."""
        return self.id.split("_")[0]


class Place(Protocol):
    """Where work runs."""

    def submit(self, work: Work) -> list[str]:
        """Start or queue `work`; returns the IDs of its jobs. UserError when the place is not available or refuses."""
        ...

    def status(self, *names: str) -> list[Element]:
        """The pending and running jobs of the work with these names. UserError when the place does not answer."""
        ...

    def cancel(self, ids: Sequence[str]) -> None:
        """End these jobs."""
        ...

    def logs(self, work: Work) -> list[Path]:
        """The log files of `work`."""
        ...

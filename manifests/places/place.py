"""What a place is: it takes work, says how that stands, gives it up, and knows where its words are.

    local      processes on this machine, which end with the one that submitted them
    slurm      jobs of a cluster, which go on without it
    on_ray     a driver on this machine, which ends with it, and tasks wherever Ray has room

Whoever submits knows what the work is and whether it is done; a place knows processes alone. Leaves out waiting.
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
    """A Python program to run: `python ARGUMENTS`, found again by its `name`; its words go into `folder`.

    With `elements` it is an array of so many, `at_once` of them at a time, each told its number; it begins after any
    end of the jobs in `after`.
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
    """One job that waits or runs; of an array, one element of it. `reason` is why it waits, `nodes` where it runs."""

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
        """Begin `work`, or queue it; the IDs of its jobs. UserError where the place cannot be had, or refuses."""
        ...

    def status(self, *names: str) -> list[Element]:
        """What waits or runs of the work called so. UserError where the place does not answer."""
        ...

    def cancel(self, ids: Sequence[str]) -> None:
        """End these jobs."""
        ...

    def logs(self, work: Work) -> list[Path]:
        """The files that hold what `work` has said so far."""
        ...

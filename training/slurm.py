"""Training on Slurm: one job that repeats the launch on its first node, from the run's record.

`octo train --on slurm` checks everything, records the run and submits its job. The job finds the same run, because the
ID follows from the record, and resumes from its last checkpoint: a job that was requeued, or submitted again after its
time limit, loses only the steps after that checkpoint. On several nodes the launch starts a torchrun on each of them
with srun (see `training.places`): when a process ends with an error, the job fails and names it; when a node is lost,
Slurm requeues the job. Leaves out waiting: the run's record and ledger show its progress.

    python -m training.slurm STORE RUN     the job's command
"""

import signal
import sys
from dataclasses import dataclass

from manifests.errors import UserError
from manifests.manifest import resolve
from manifests.places.place import Work
from manifests.places.slurm import Slurm
from manifests.process import run_and_leave
from manifests.recipe import parse
from manifests.runs import RunDirectory, load_run
from manifests.store import Store
from training.config import SlurmRecipe, TrainRecipe
from training.launch import note_recipe, train

FOLDER = "slurm"
ALIVE = ("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED")


@dataclass(frozen=True)
class Job:
    """A job in Slurm; `state` is for people: RUNNING n1,n2, or PENDING (Resources)."""

    id: str
    state: str


def submit(run: RunDirectory, recipe: TrainRecipe) -> Job:
    """The job that trains `run`: the one in the queue, or a new one. UserError if Slurm refuses."""
    if job := queued(run):
        return job
    if not run.store.is_local:
        raise UserError(
            f"{run.store.url} is not a folder", "A job on Slurm trains in a store that all nodes can write to"
        )
    run.reload()  # its last job may just have ended
    note_recipe(run, recipe)
    (job,) = Slurm(recipe.place).submit(work(run, recipe.place))
    run.note(slurm=[*run.record.get("slurm", []), {"job": job, "log": str(run.path / FOLDER / f"{job}.log")}])
    return Job(job, "submitted")


def queued(run: RunDirectory) -> Job | None:
    """The pending or running job of `run`, found by its name. A job that is completing does not count: it may take
    Slurm minutes when a node does not answer. If it is requeued, the next one waits for it (`singleton`); if its
    processes still run, the lock of the run keeps others out.
    """
    alive = [element for element in Slurm().status(_name(run)) if element.state in ALIVE]
    return Job(alive[0].id, f"{alive[0].state} {alive[0].nodes or f'({alive[0].reason})'}") if alive else None


def work(run: RunDirectory, place: SlurmRecipe) -> Work:
    """The job of `run`."""
    arguments = ("-m", "training.slurm", run.store.url, run.id)
    return Work(_name(run), arguments, run.path / FOLDER, place, place.nodes, place.gpus)


def _name(run: RunDirectory) -> str:
    return f"octo-{run.id}"


def resume(store: Store, run_id: str) -> RunDirectory:
    """Launch the run with this ID again, from its record."""
    record = load_run(store, run_id).record
    recipe = parse(record["config"], TrainRecipe, run_id)
    parent = load_run(store, record["parent"]) if record["parent"] else None
    run = train(store, resolve(store, record["manifests"][0]["id"]), recipe, parent, record["backend"])
    assert run.id == run_id, f"{run_id} launched again is {run.id}"
    return run


def main(url: str, run_id: str) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # Slurm's warning: the run's record shall say so
    try:
        print(resume(Store(url), run_id).id)
    except KeyboardInterrupt:
        raise UserError(
            f"Slurm ended the job of {run_id}",
            "It resumes if Slurm requeues it, otherwise repeat the same `octo train`",
        ) from None


if __name__ == "__main__":
    run_and_leave(lambda: main(*sys.argv[1:]))

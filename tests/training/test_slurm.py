"""Training on Slurm: the script, what is refused, and on a real Slurm of two nodes the same run as on this machine."""

import functools
import os
import re
import shutil
import signal
import subprocess
import time

import loopback_slurm
import pytest

from manifests.errors import UserError
from manifests.manifest import resolve
from manifests.places.slurm import Slurm
from manifests.runs import RunDirectory, load_run
from manifests.store import Store
from training.doctor import nanotron_lacks
from training.launch import prepare, train
from training.slurm import queued, submit, work

PLACE = {"nodes": 2, "gpus": 8, "time": "01:00:00", "partition": "gpu", "venv": "/env", "sbatch": {"account": "math"}}
SCRIPT = """\
#!/bin/bash
#SBATCH --job-name=octo-{run}
#SBATCH --output={path}/slurm/%j.log
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --time=01:00:00
#SBATCH --partition=gpu
#SBATCH --gpus-per-node=8
#SBATCH --open-mode=append
#SBATCH --dependency=singleton
#SBATCH --account=math
#SBATCH --requeue
source /env/bin/activate
"""


def test_the_script_asks_for_what_the_recipe_says(mixture, recipe):
    store, manifest = mixture
    wanted = recipe(place=PLACE, parallel={"dp": 4})
    run = prepare(store, manifest, wanted, None, "torch")
    found = Slurm(wanted.place).script(work(run, wanted.place))
    assert found.startswith(SCRIPT.format(run=run.id, path=run.path))
    assert found.endswith(f"exec python -m training.slurm {store.url} {run.id}\n")
    assert run.id == prepare(store, manifest, recipe(), None, "torch").id  # a place bears no identity


def test_ranks_that_nodes_cannot_share_are_refused(mixture, recipe):
    with pytest.raises(UserError, match="3 ranks cannot be spread evenly over 2 nodes"):
        prepare(*mixture, recipe(place={"nodes": 2}, parallel={"dp": 3}), None, "torch")
    assert not mixture[0].list("runs")


def test_without_slurm_it_says_so(mixture, recipe, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    run = prepare(*mixture, recipe(), None, "torch")
    with pytest.raises(UserError, match="there is no squeue on this machine"):
        submit(run, recipe())


# -- a real Slurm of two nodes ---------------------------------------------------------------------------------------

needs_slurm = pytest.mark.skipif(loopback_slurm.lacking() is not None, reason=str(loopback_slurm.lacking()))
needs_nanotron = pytest.mark.skipif(nanotron_lacks("float32") is not None, reason=str(nanotron_lacks("float32")))
PLAIN = {"batch_sequences": 2, "checkpoint_every": 1, "threads": 1, "document_losses": True}
SPREAD = PLAIN | {"place": {"nodes": 2}, "parallel": {"dp": 2}}
"""25 steps and as many checkpoints, over some ten seconds."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with loopback_slurm.LoopbackSlurm(tmp_path_factory.mktemp("slurm"), nodes=2) as started:
        yield started


@pytest.fixture(scope="module")
def here(built, recipe, tmp_path_factory):
    """The run on this machine, by backend and number of ranks."""

    @functools.cache
    def trained(backend: str, ranks: int) -> RunDirectory:
        store = Store(shutil.copytree(built, tmp_path_factory.mktemp("here") / "store"))
        return train(store, resolve(store, "mixture@1"), recipe(**PLAIN, parallel={"dp": ranks}), None, backend)

    return trained


def same(one: RunDirectory, other: RunDirectory) -> bool:
    """Equal ledgers but for wall time, bit for bit: losses, rates, what each step consumed, losses on documents."""
    steps = [run.table("steps").drop_columns("seconds") for run in (one, other)]
    return steps[0].equals(steps[1]) and all(
        one.table(name).equals(other.table(name)) for name in ("consumption", "losses")
    )


def has_ended(cluster, run: RunDirectory) -> bool:
    """Whether Slurm knows no job of `run` any more, and no process of one is left."""
    return not cluster.ask("squeue", "-h", f"--name=octo-{run.id}") and not any(map(cluster.processes, cluster.nodes))


def wait_for(holds) -> None:
    end = time.monotonic() + 400
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.engine
@needs_slurm
def test_a_job_that_is_cancelled_and_submitted_again_is_the_run_on_this_machine(cluster, here, mixture, recipe):
    """Bit for bit, from its last checkpoint on; asked for twice it is submitted once."""
    store, manifest = mixture
    run = prepare(store, manifest, recipe(**PLAIN), None, "torch")
    job = submit(run, recipe(**PLAIN))
    assert submit(run, recipe(**PLAIN)).id == job.id == queued(run).id
    wait_for(lambda: run.checkpoints())
    subprocess.run(["scancel", job.id], check=True)
    wait_for(lambda: has_ended(cluster, run))
    assert run.reload() == "stopped" and run.last_step < 25
    submit(run, recipe(**PLAIN))
    wait_for(lambda: has_ended(cluster, run))
    assert run.reload() == "done" and same(run, here("torch", 1))


@pytest.mark.engine
@needs_slurm
@pytest.mark.parametrize("backend", ["torch", pytest.param("nanotron", marks=needs_nanotron)])
def test_two_nodes_compute_what_this_machine_does(cluster, here, mixture, recipe, backend):
    """Bit for bit what as many ranks compute here, and within rounding what one does."""
    store, manifest = mixture
    run = prepare(store, manifest, recipe(**SPREAD), None, backend)
    submit(run, recipe(**SPREAD))
    wait_for(lambda: has_ended(cluster, run))
    assert run.reload() == "done" and same(run, here(backend, 2))
    for one in (here(backend, 1), here("torch", 1)):
        assert run.table("consumption").equals(one.table("consumption"))
        assert run.table("losses").drop_columns("loss").equals(one.table("losses").drop_columns("loss"))
        ours, theirs = run.table("steps").to_pydict(), one.table("steps").to_pydict()
        assert (ours["step"], ours["lr"]) == (theirs["step"], theirs["lr"])
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)


@pytest.mark.engine
@needs_slurm
@pytest.mark.parametrize(("which", "told"), [(0, r"task 1: Killed"), (-1, r"Signal 9 \(SIGKILL\) received by PID \d+")])
def test_a_process_that_is_killed_on_a_node_is_told_and_the_run_goes_on(cluster, here, mixture, recipe, which, told):
    """The torchrun of the second node, or its rank."""
    store, manifest = mixture
    run, node = prepare(store, manifest, recipe(**SPREAD), None, "torch"), cluster.nodes[1]
    submit(run, recipe(**SPREAD))
    wait_for(lambda: run.last_step > 1)
    os.kill(cluster.processes(node)[which], signal.SIGKILL)
    wait_for(lambda: has_ended(cluster, run))
    assert run.reload() == "failed" and run.last_step < 25
    assert re.match(f"the engine stopped: {node}: {told}", run.record["reason"])
    submit(run, recipe(**SPREAD))
    wait_for(lambda: has_ended(cluster, run))
    assert run.reload() == "done" and same(run, here("torch", 2))


@pytest.mark.engine
@needs_slurm
def test_a_job_whose_node_is_lost_is_put_back_by_slurm_and_goes_on(cluster, here, mixture, recipe):
    """Two minutes later, as Slurm does it: begun at once, 22.05 takes the nodes for busy as long as the job lasts."""
    store, manifest = mixture
    run, node = prepare(store, manifest, recipe(**SPREAD), None, "torch"), cluster.nodes[1]
    job = submit(run, recipe(**SPREAD))
    wait_for(lambda: run.last_step > 1)
    cluster.lose(node)
    wait_for(lambda: "PENDING" in str(queued(run)))
    assert submit(run, recipe(**SPREAD)).id == job.id
    wait_for(lambda: not any(map(cluster.processes, cluster.nodes)))
    assert load_run(store, run.id).last_step < 25
    cluster.start_slurmd(node)
    cluster.wait_for_nodes()
    wait_for(lambda: has_ended(cluster, run))
    assert run.reload() == "done" and same(run, here("torch", 2))

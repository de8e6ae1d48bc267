"""Training on Slurm: the script, what is refused, and on a real Slurm of one node the same run as on this machine."""

import shutil
import subprocess
import time

import loopback_slurm
import pytest

from manifests.errors import UserError
from manifests.runs import load_run
from manifests.store import Store
from training.launch import prepare, train
from training.slurm import queued, script, submit

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
#SBATCH --account=math
#SBATCH --requeue
source /env/bin/activate
"""


def test_the_script_asks_for_what_the_recipe_says(mixture, recipe):
    store, manifest = mixture
    wanted = recipe(place=PLACE, parallel={"dp": 4})
    run = prepare(store, manifest, wanted, None, "torch")
    found = script(run, wanted.place)
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


@pytest.mark.engine
@pytest.mark.skipif(loopback_slurm.lacking() is not None, reason=str(loopback_slurm.lacking()))
def test_a_job_that_is_cancelled_and_submitted_again_is_the_run_on_this_machine(mixture, recipe, tmp_path):
    """Bit for bit, from its last checkpoint on; asked for twice it is submitted once."""
    store, manifest = mixture
    wanted = recipe(checkpoint_every=2, threads=1)
    alone = train(Store(shutil.copytree(store.root, tmp_path / "alone")), manifest, wanted)
    with loopback_slurm.LoopbackSlurm(tmp_path / "slurm"):
        run = prepare(store, manifest, wanted, None, "torch")
        job = submit(run, wanted.place)
        assert submit(run, wanted.place) == job == queued(run)
        wait_for(lambda: run.checkpoints())
        subprocess.run(["scancel", job], check=True)
        wait_for(lambda: not queued(run))
        if load_run(store, run.id).status != "done":
            submit(run, wanted.place)
        wait_for(lambda: load_run(store, run.id).status == "done")
    columns = [name for name in alone.table("steps").column_names if name != "seconds"]
    assert load_run(store, run.id).table("steps").select(columns).equals(alone.table("steps").select(columns))


def wait_for(holds) -> None:
    end = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)

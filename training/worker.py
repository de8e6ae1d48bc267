"""A process of a training run that a launch has started:

    python -m training.worker STORE RUN         one rank
    python -m training.worker STORE RUN RANKS   starts that many, under torchrun, and waits for them; on each node of a
                                                Slurm job with several its share of them

The launch has checked everything and written `engine/launch.json`; a rank loads the engine and trains. Leaves out the
run's status, which the launcher records.
"""

import importlib
import json
import os
import sys
from pathlib import Path

from torch.distributed.run import main as torchrun

from manifests.errors import UserError
from manifests.process import run_and_leave
from manifests.recipe import parse
from manifests.runs import RunDirectory, load_run
from manifests.store import Store
from training.config import TrainRecipe
from training.nanotron_config import FOLDER
from training.places import LAUNCHER, follow_launcher, slurm_hosts, slurm_nodes, tell_failure
from training.stages import Begin, stages_of


def start(url: str, run_id: str, ranks: str) -> None:
    """Start the ranks, which follow this process."""
    os.environ[LAUNCHER] = str(os.getpid())
    nodes = slurm_nodes()
    together = _rendezvous(nodes) if nodes > 1 else ["--standalone"]
    torchrun([*together, f"--nproc_per_node={int(ranks) // nodes}", "-m", "training.worker", url, run_id])


def _rendezvous(nodes: int) -> list[str]:
    """Where the torchruns of a Slurm job meet: on its first node, which has the launcher and rank 0, at a port computed
    from the job ID, below those that Linux uses for outgoing connections (from 32,768)."""
    node, job, head = os.environ["SLURM_NODEID"], os.environ["SLURM_JOB_ID"], slurm_hosts()[0]
    port = 20_000 + int(job) % 12_000
    return [f"--nnodes={nodes}", f"--node_rank={node}", f"--master_addr={head}", f"--master_port={port}"]


def work(run: RunDirectory) -> None:
    """Train as `engine/launch.json` says."""
    told = json.loads((run.path / FOLDER / "launch.json").read_text(encoding="utf-8"))
    recipe = parse(run.record["config"], TrainRecipe, run.id)
    stages, tokenizer = stages_of(run.store, run, recipe), Path(told["tokenizer"])
    begin = Begin(Path(told["folder"]), told["done"], told["carries_optimizer"])
    engine = importlib.import_module(f"training.{run.record['backend']}_backend")
    engine.run_training(run, stages, recipe, begin, tokenizer)


def main(url: str, run_id: str, ranks: str = "") -> None:
    follow_launcher()
    if ranks:
        return start(url, run_id, ranks)
    run = load_run(Store(url), run_id)
    try:
        work(run)
    except UserError as error:
        if os.environ.get("RANK", "0") == "0":
            tell_failure(run.path / FOLDER, error)
        raise


if __name__ == "__main__":
    run_and_leave(lambda: main(*sys.argv[1:]), prefix="UserError: ")

"""Kills a training run many times. Started by test_launch.py and test_nanotron.py:

    python killed_runs.py FOLDER MANIFEST RECIPE points STRIDE
    python killed_runs.py FOLDER MANIFEST RECIPE random KILLS [BACKEND]

FOLDER holds a store, `whole`, with the mixture MANIFEST and with the run that RECIPE (a YAML file) makes of it, never
interrupted. Each attempt trains in a copy of the store without that run, in a process of its own, forked from this one,
which has loaded torch but computes nothing. It dies at every STRIDE-th point of writing (OCTO_CRASH_AT), or by SIGKILL
at a moment of its life, chosen or random; processes of an engine die with it. Then the launch is repeated, and the
ledgers and weights must be those of the whole run, bit for bit. Prints the number of deaths.
"""

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from manifests import store as stores
from manifests.manifest import resolve
from manifests.provenance import provenance
from manifests.recipe import load
from manifests.runs import RunDirectory, load_run, load_runs
from manifests.store import CRASH_EXIT, Store
from mixtures.order import Order
from training import torch_backend
from training.config import TrainRecipe
from training.launch import last_checkpoint, train

assert torch_backend  # loaded here once, not in each process


BACKEND = "torch"
SIGN = {"torch": "tokenizer/tokenizer_config.json", "nanotron": "engine/progress.json"}
"""What a backend writes into the folder of a run just before its first step, or at it."""


def launch(folder: Path, manifest: str, recipe: Path, crash_at: int = 0) -> None:
    stores._points_passed = 0
    os.environ["OCTO_CRASH_AT"] = str(crash_at)
    store = Store(folder)
    train(store, resolve(store, manifest), load(recipe, TrainRecipe), backend=BACKEND)


def fork(function: Callable[..., None], *arguments: object) -> int:
    """The process ID of `function` run in a process of its own."""
    sys.stdout.flush()
    if child := os.fork():
        return child
    status = 1
    try:
        function(*arguments)
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def status_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def difference(whole: RunDirectory, other: RunDirectory) -> str | None:
    """What differs between two runs but for wall time; None when nothing does."""
    if (whole.id, other.status) != (other.id, "done"):
        return f"{other.id} is {other.status}"
    for table in ("steps", "consumption"):
        ledgers = [run.table(table).drop_columns("seconds" if table == "steps" else []) for run in (whole, other)]
        if not ledgers[0].equals(ledgers[1]):
            return f"{table}: {ledgers[0].to_pylist()} and {ledgers[1].to_pylist()}"
    held = [run.table("losses_held_out") for run in (whole, other)]
    if held[0] and not (held[1] and held[0].equals(held[1])):
        return f"losses_held_out: {held[0].to_pylist()} and {held[1] and held[1].to_pylist()}"
    one, two = (load_file(last_checkpoint(run) / "model.safetensors") for run in (whole, other))
    changed = [name for name in one if not torch.equal(one[name], two[name])]
    return f"weights: {', '.join(changed)}" if changed else None


def check(whole: RunDirectory, folder: Path, manifest: str, recipe: Path, moment: str) -> None:
    """After a death: no half checkpoint is listed; launched again the run ends as the whole one did."""
    store = Store(folder)
    for record in load_runs(store):
        run = load_run(store, record["id"])
        for step in run.checkpoints():
            run.checkpoint(step)
    assert status_of(fork(launch, folder, manifest, recipe)) == 0, moment
    found = difference(whole, load_run(store, whole.id))
    assert found is None, f"killed at {moment}: {found}"


def killed_when(is_time: Callable[[], bool], child: int) -> bool:
    """SIGKILL at that time; False when the process was done before it could be sent, as on a busy machine."""
    while not is_time():
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    status = status_of(child)
    assert status in (0, -signal.SIGKILL), status
    return status != 0


def moments(run: Path) -> dict[str, Callable[[], bool]]:
    """When to kill the process that writes into the folder `run`."""

    def there_is(pattern: str) -> Callable[[], bool]:
        return lambda: any(run.glob(pattern))

    return {
        "first step": there_is("tokenizer/tokenizer_config.json"),
        "first ledger": there_is("steps.parquet/*"),
        "first file of the first checkpoint": there_is("checkpoints/*/*"),
        "first checkpoint": there_is("checkpoints/*/complete.json"),
        "second checkpoint": there_is("checkpoints/6/complete.json"),
    }


def walk_moments(whole: RunDirectory, fresh: Callable[[], Path], manifest: str, recipe: Path) -> int:
    for moment in moments(Path()):
        is_killed = False
        while not is_killed:
            place = fresh()
            is_time = moments(place / "runs" / whole.id)[moment]
            is_killed = killed_when(is_time, fork(launch, place, manifest, recipe))
        check(whole, place, manifest, recipe, moment)
    return len(moments(Path()))


def walk_points(whole: RunDirectory, fresh: Callable[[], Path], manifest: str, recipe: Path, stride: int) -> int:
    deaths, status = -1, CRASH_EXIT
    while status == CRASH_EXIT:
        place, deaths = fresh(), deaths + 1
        status = status_of(fork(launch, place, manifest, recipe, (deaths + 1) * stride))
        assert status in (0, CRASH_EXIT), f"exit {status}"
        check(whole, place, manifest, recipe, f"point {(deaths + 1) * stride}")
    return deaths


def walk_random(whole: RunDirectory, fresh: Callable[[], Path], manifest: str, recipe: Path, kills: int) -> int:
    """SIGKILL at moments drawn over the steps of a run; half the time what goes on from there is killed as well."""
    draw, deaths = random.Random(0), 0
    seconds = float(np.sum(whole.table("steps")["seconds"].to_numpy()))
    while deaths < kills:
        place = fresh()
        for _ in range(draw.choice((1, 2))):
            deaths += killed_when(
                _after(place / "runs" / whole.id, draw.uniform(0, seconds)), start(place, manifest, recipe)
            )
        check(whole, place, manifest, recipe, "a random moment")
    return deaths


def start(place: Path, manifest: str, recipe: Path) -> int:
    """Fork a launch in `place`, without the signs of life of the one before."""
    for sign in (place / "runs").glob(f"*/{SIGN[BACKEND]}"):
        sign.unlink()
    return fork(launch, place, manifest, recipe)


def _after(run: Path, seconds: float) -> Callable[[], bool]:
    """When that many seconds have passed since the first sign of life, or the run has ended."""
    seen: list[float] = []

    def is_time() -> bool:
        if not seen and (run / SIGN[BACKEND]).exists():
            seen.append(time.monotonic())
        return time.monotonic() - seen[0] > seconds if seen else _is_done(run)

    return is_time


def _is_done(run: Path) -> bool:
    return (run / "run.json").exists() and '"status": "done"' in (run / "run.json").read_text()


def main(folder: Path, manifest: str, recipe: Path, how: str, count: int) -> str:
    [record] = load_runs(Store(folder / "whole"))
    whole = load_run(Store(folder / "whole"), record["id"])
    provenance()  # done here once what each attempt would else do again: this, and loading compiled code
    Order([1]).at(np.zeros(1, np.int64))

    def fresh() -> Path:
        shutil.rmtree(folder / "killed", ignore_errors=True)
        return Path(shutil.copytree(folder / "whole", folder / "killed", ignore=shutil.ignore_patterns("runs")))

    if how == "random":
        return f"{walk_random(whole, fresh, manifest, recipe, count)} at random"
    by_signal = walk_moments(whole, fresh, manifest, recipe)
    return f"{by_signal} by signal, {walk_points(whole, fresh, manifest, recipe, count)} at points of writing"


if __name__ == "__main__":
    BACKEND = sys.argv[6] if len(sys.argv) > 6 else BACKEND
    print(main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4], int(sys.argv[5])), flush=True)
    os._exit(0)  # all is said; after many forks, threads of native libraries may abort the interpreter's own exit

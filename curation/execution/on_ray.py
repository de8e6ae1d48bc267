"""Curation on Ray: Datatrove's RayPipelineExecutor runs the task groups; this module adds what it leaves out.

`run_tasks` runs a driver in a separate process and monitors it. Datatrove's driver ends with status 0 although ranks
are missing, and may wait for ever for a lost node; so the driver is started again for tasks without a record, until
none is missing or `place.retries` is used up. Ray is started on this machine, and ended with the driver, unless
`place.address` names a cluster. Its nodes need the same Python packages and see the same store; the project itself is
sent to them as Ray's `working_dir`. Leaves out clusters without a shared file system.
"""

import importlib
import json
import os
import shutil
import signal
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import datatrove.executor.ray as datatrove_ray
from datatrove.utils.stats import PipelineStats

from curation.execution.attempts import Meter, Survey
from curation.execution.worker import Shares
from curation.tasks import USER_ERROR, Job, pending
from manifests.errors import UserError
from manifests.places.on_ray import TEMPORARY, Ray
from manifests.places.place import Work
from manifests.process import PROJECT
from manifests.progress import progress

SENT = ("curation", "evaluation", "manifests")
"""Packages that tasks import."""
POLL_SECONDS, STALL_SECONDS = 0.2, 120.0
"""A driver whose attempts have all ended, and without any change for this time, waits for something that is lost."""
GiB = 1 << 30


def run_tasks(job: Job) -> None:
    """Run the missing tasks. Afterwards some may still be missing; UserError when Ray is not available."""
    path, launch = job.save(), job.logs
    with progress("curate: tasks on Ray", len(job.files)) as advance:
        meter = Meter(Survey(job), advance)
        for _ in range(job.recipe.place.retries + 1):
            missing = set(pending(job))
            if not missing:
                return
            launch = job.logs / f"ray-{uuid.uuid4().hex[:8]}"
            launch.mkdir(parents=True)
            shares = [share for share in job.shares if missing.intersection(share)]
            (launch / "shares.json").write_text(json.dumps(shares))
            _watched(path, launch, meter)
    if not any(job.attempts.iterdir()):  # Ray itself failed: it gives a node half a minute to start, for one
        said = (launch / "driver.log").read_text(errors="replace").strip().splitlines()[-1:]
        raise UserError(f"Ray ended before a task began: {' '.join(said)[:300]}", "Try again, or use --on local")


def _watched(job: Path, launch: Path, meter: Meter) -> None:
    """Run one driver to its end. It ends with this process, and Ray's files are removed with it."""
    place, driver = Ray(), Work("driver", ("-m", "curation.execution.node", str(job), "ray", str(launch)), launch)
    (pid,) = place.submit(driver)
    try:
        _until_it_ends(place, meter)
    finally:
        place.cancel([pid])
    if place.exit_status(pid) == USER_ERROR:
        raise UserError(place.logs(driver)[0].read_text(errors="replace").strip().splitlines()[-1])


def _until_it_ends(place: Ray, meter: Meter) -> None:
    seen, since = meter.show(), time.monotonic()
    while place.status("driver"):
        time.sleep(POLL_SECONDS)
        now = meter.show()
        if now != seen or now.running or not now.begun:
            seen, since = now, time.monotonic()
        if time.monotonic() - since > STALL_SECONDS:
            return


# -- in the driver and on the nodes ----------------------------------------------------------------------------------


class RankWorker(datatrove_ray.RankWorker):
    """Runs ranks in the actor itself. Datatrove runs them in a pool in the actor, which waits for ever for a child that
    was killed; an actor that was killed is reported by Ray, and Datatrove submits its ranks again."""

    def run_for_rank(self, executor_ref: Any, ranks: list[int], node_ips: list[str], node_idx: int) -> PipelineStats:
        for rank in ranks:
            executor_ref._run_for_rank(rank)
        return PipelineStats()


def drive(job: Job, launch: Path) -> None:
    """Run the shares of `launch` on Ray."""
    ray, place = importlib.import_module("ray"), job.recipe.place
    temporary = os.environ[TEMPORARY]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    scratch = job.folder / "ray"  # where Datatrove's tasks log before their end
    scratch.mkdir(exist_ok=True)
    sent: dict[str, Any] = {"env_vars": {"TMPDIR": str(scratch)}}
    if place.address:
        sent["working_dir"] = str(_staged(launch / "code"))
        where: dict[str, Any] = {"address": place.address}
    else:
        where = {"address": "local", "include_dashboard": False, "_temp_dir": temporary}
    try:
        ray.init(runtime_env=sent, log_to_driver=False, **where)
    except (ConnectionError, OSError, RuntimeError) as error:
        said = " ".join(str(error).split())[:200]
        hint = "Correct place.address; for a cluster that requires a token, set RAY_AUTH_MODE=token"
        raise UserError(f"no Ray at {place.address or 'this machine'}: {said}", hint) from error
    _check_resources(ray, place.annotate)
    datatrove_ray.RankWorker = RankWorker
    shares = json.loads((launch / "shares.json").read_bytes())
    about = {"place": "ray", "limit_seconds": place.annotate.seconds}
    datatrove_ray.RayPipelineExecutor(
        [Shares(job, shares, about)],
        tasks=len(shares),
        workers=min(place.workers or len(shares), len(shares)),
        cpus_per_task=place.annotate.cpus,
        mem_per_cpu_gb=place.annotate.memory_gb / place.annotate.cpus,
        logging_dir=str(launch),
        skip_completed=False,
    ).run()
    ray.shutdown()


def _staged(folder: Path) -> Path:
    """A copy of the packages only: other files beside them, such as a store, must not be sent."""
    for package in SENT:
        shutil.copytree(PROJECT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def _check_resources(ray: Any, wanted: Any) -> None:
    """UserError if no node of the cluster could ever run a task, because Ray would wait silently."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    memory = wanted.memory_gb * GiB
    if not any(node.get("CPU", 0) >= wanted.cpus and node.get("memory", 0) >= memory for node in nodes):
        most = max((node.get("memory", 0) for node in nodes), default=0) / GiB
        raise UserError(
            f"no node of Ray has {wanted.cpus} CPUs and {wanted.memory_gb:g} GiB free; the most is {most:.1f} GiB",
            "Lower place.annotate.cpus or place.annotate.memory_gb",
        )

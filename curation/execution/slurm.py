"""Curation on Slurm: Datatrove's SlurmPipelineExecutor (`curation.execution.submission`) submits, here is all around
that.

    octo-<run>-annotate     one array job (several above MaxArraySize), an element per share of tasks that are missing
    octo-<run>-finish       one job after any end of these: freezes the manifest, or says what is missing

Jobs are found by their names, so a launch that was killed between two submissions is completed by the next, and none
submits what is there already. A node rebuilds its executor from the job's JSON file: the pickle that Datatrove writes
is removed unread. The end depends on `afterany`, not `afterok`: it is what tells of failures, and no job waits for
ever. States come from squeue, of ended jobs from sacct where the cluster keeps accounts, of tasks from their own files.
"""

import contextlib
import json
import re
import shutil
import subprocess
import tempfile
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datatrove.pipeline.base import PipelineStep

from curation.execution.attempts import Line, Meter, Survey, process_goes_on
from curation.execution.build import Build
from curation.places import PlaceRecipe
from curation.tasks import Job, pending
from manifests.errors import UserError
from manifests.progress import progress
from manifests.runs import RunDirectory

if TYPE_CHECKING:
    from curation.execution.submission import Submission

ANNOTATE, FINISH = "annotate", "finish"
DEFAULT_MAX_ARRAY = 1001
LAUNCH = "launch.json"
POLL_SECONDS = 2.0
SILENT = 20
"""Polls without a job and without a result after which a launch counts as ended: the last word of a job may come late
over a shared file system, and a controller that was restarted needs a moment. So long a job may be stuck, too."""
NEVER = ("BadConstraints", "PartitionConfig", "PartitionNodeLimit", "PartitionTimeLimit")
"""Reasons of Slurm for which a job waits for ever: it asks for more than any node, or than the partition, has."""


@dataclass(frozen=True)
class Element:
    """One job that Slurm knows of and that has not ended; of an array, one element of it."""

    id: str
    stage: str
    state: str
    reason: str

    @property
    def array(self) -> str:
        return self.id.split("_")[0]

    @property
    def is_stuck(self) -> bool:
        """Whether it waits for what the partition does not have, and sbatch took it all the same."""
        return self.state == "PENDING" and self.reason in NEVER


def submit(build: Build) -> None:
    """Submit what is missing and not submitted yet, and anew what waits for more than there is. UserError where there
    is no Slurm, or it refuses."""
    alive = _without_stuck(elements(build.run.id))
    build.run.start()
    try:
        after = sorted({element.array for element in alive if element.stage == ANNOTATE})
        missing = set(pending(build.job))
        shares = [share for share in build.job.shares if missing.intersection(share)]
        if not alive and shares:
            after = _launch(build, ANNOTATE, shares, [])
        if not any(element.stage == FINISH for element in alive):
            _launch(build, FINISH, [()], after)
    except subprocess.CalledProcessError as error:
        raise UserError("sbatch refused the job (its words are above)", "See `place` in docs/recipes.md") from error
    finally:
        build.run.release()


def _without_stuck(alive: list[Element]) -> list[Element]:
    """The elements that may run yet; the others are cancelled."""
    if arrays := {element.array for element in alive if element.is_stuck}:
        ask("scancel", *sorted(arrays))
    return [element for element in alive if element.array not in arrays]


def _launch(build: Build, stage: str, shares: list[Any], after: list[str]) -> list[str]:
    place, launch = build.job.recipe.place, build.job.logs / f"{stage}-{uuid.uuid4().hex[:8]}"
    max_array = place.max_array_size or max_array_size()
    launch.mkdir(parents=True)
    (launch / LAUNCH).write_text(json.dumps({"shares": shares, "max_array_size": max_array}))
    ids = _submission([], build.job.path, build.run.id, stage, place, launch, len(shares), max_array, after).launch()
    said = {"stage": stage, "jobs": ids, "elements": len(shares), "logs": f"{launch}/slurm_logs", "time": time.time()}
    build.run.note(slurm=[*build.run.record.get("slurm", []), said])
    return ids


def _submission(*about: Any) -> "Submission":
    from curation.execution.submission import Submission  # noqa: PLC0415  it loads all of Datatrove's executors

    return Submission(*about)


def on_node(job: Job, launch: Path, pipeline: list[PipelineStep]) -> "Submission":
    """The executor that submitted the array of `launch`, for the node to run its part of."""
    told = json.loads((launch / LAUNCH).read_bytes())
    tasks = len(told["shares"])
    about = job.path, "", ANNOTATE, job.recipe.place, launch, tasks, told["max_array_size"], []
    return _submission(pipeline, *about)


def wait(build: Build) -> None:
    """Wait until the manifest is frozen, asking Slurm again for what is missing as often as `place` allows; UserError
    with the end of a log afterwards."""
    retries, silent, stuck = build.job.recipe.place.retries, 0, 0
    survey = Survey(build.job, lambda line: True)
    with progress(f"curate: {build.run.id} on Slurm", len(build.job.files)) as advance:
        meter = Meter(survey, advance)
        while build.run.reload() != "done":
            meter.show()
            time.sleep(POLL_SECONDS)
            with contextlib.suppress(UserError):  # a controller that does not answer now
                alive = elements(build.run.id)
                silent = 0 if alive else silent + 1
                stuck = stuck + 1 if any(element.is_stuck for element in alive) else 0
            if stuck >= SILENT:
                raise _too_large(build, next(element for element in alive if element.is_stuck))
            if silent < (1 if build.run.status == "failed" else SILENT):
                continue
            if not retries:
                raise build.unfinished()
            retries, silent = retries - 1, 0
            submit(build)


def _too_large(build: Build, element: Element) -> UserError:
    asked = f"place.{element.stage}"
    wanted = getattr(build.job.recipe.place, element.stage)
    said = f"{wanted.cpus} CPUs, {wanted.memory_gb:g} GB and {wanted.time} are more than a node of Slurm's has"
    hint = f"Lower {asked}.cpus, {asked}.memory_gb or {asked}.time and give the command again: it goes on from here"
    return UserError(f"job {element.id} would wait for ever ({element.reason}): {said}", hint)


def refuse_while_submitted(run: RunDirectory) -> None:
    """UserError while jobs of Slurm are known to be at work on the same build: to do a task twice would be waste."""
    alive: list[Element] = []
    with contextlib.suppress(UserError):
        alive = elements(run.id) if run.record.get("slurm") and run.status != "done" else []
    if alive:
        raise UserError(
            f"{run.id} is being built by Slurm",
            f"See `octo runs show {run.id}`; scancel its jobs to build it elsewhere",
        )


# -- what Slurm says -------------------------------------------------------------------------------------------------


def elements(run: str) -> list[Element]:
    """Jobs of `run` that wait or run; UserError where Slurm does not answer."""
    names = ",".join(f"octo-{run}-{stage}" for stage in (ANNOTATE, FINISH))
    said = ask("squeue", "--noheader", "--array", f"--name={names}", "--format=%i|%j|%T|%r")
    rows = [line.split("|", 3) for line in said.splitlines()]
    return [Element(job, name.rsplit("-", 1)[1], state, reason) for job, name, state, reason in rows]


def max_array_size() -> int:
    """What the cluster says, or Slurm's default."""
    with contextlib.suppress(UserError):
        if found := re.search(r"MaxArraySize\s*=\s*(\d+)", ask("scontrol", "show", "config")):
            return int(found[1])
    return DEFAULT_MAX_ARRAY


def accounts(jobs: list[str]) -> dict[str, str]:
    """State of ended jobs and elements by their ID, if the cluster keeps accounts."""
    with contextlib.suppress(UserError):
        said = ask("sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={','.join(jobs)}",
                    "--format=JobID,State")  # fmt: skip
        return dict(line.split("|", 1) for line in said.splitlines() if "|" in line)
    return {}


def ask(program: str, *arguments: str) -> str:
    """What a program of Slurm prints; UserError where it is missing, fails, or says nothing for a minute."""
    if not shutil.which(program):
        raise UserError(f"there is no {program} on this machine", "Run it where Slurm's commands are, or --on local")
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{program} does not answer", "Try again when Slurm's controller is there") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        raise UserError(f"{program}: {said[0]}", "Try again when Slurm's controller is there")
    return done.stdout


# -- for people ------------------------------------------------------------------------------------------------------


def job_table(run: RunDirectory) -> list[dict[str, Any]]:
    """One row per array or job that was submitted: its stage, elements, and how many of these are in which state."""
    alive: list[Element] = []
    with contextlib.suppress(UserError):
        alive = elements(run.id)
    launches = run.record.get("slurm", [])
    ended = accounts([job for launch in launches for job in launch["jobs"]]) if launches else {}
    return [_row(launch, job, alive, ended) for launch in launches for job in launch["jobs"]]


def _row(launch: Line, job: str, alive: list[Element], ended: dict[str, str]) -> dict[str, Any]:
    here = {element.id: element.state for element in alive if element.array == job}
    states = {id: state for id, state in ended.items() if id.split("_")[0] == job} | here
    counted = ", ".join(f"{state} {n}" for state, n in sorted(Counter(states.values()).items()))
    said = counted or "ended; no accounts are kept, see the tasks"
    reasons = {element.reason for element in alive if element.array == job} - {"None"}
    return {"job": job, "stage": launch["stage"], "elements": launch["elements"], "states": said,
            "waits for": ", ".join(sorted(reasons)), "logs": launch["logs"]}  # fmt: skip


def goes_on(run: RunDirectory) -> Any:
    """What tells whether an attempt of `run` is still at work, by what Slurm says now."""
    try:
        alive = {element.id for element in elements(run.id)} if run.record.get("slurm") else set()
    except UserError:
        return process_goes_on
    return lambda line: line["slurm"] in alive if "slurm" in line else process_goes_on(line)


def scripts(place: PlaceRecipe, jobs: int) -> list[tuple[str, str]]:
    """What would be submitted for `jobs` shares: a title with the dependency, and the script."""
    with tempfile.TemporaryDirectory() as folder:
        launch = Path(folder) / "logs"
        found = []
        for stage, tasks, title in (
            (ANNOTATE, jobs, "no dependency"),
            (FINISH, 1, f"--dependency=afterany:{ANNOTATE}"),
        ):
            max_array = place.max_array_size or max_array_size()
            made = _submission([], Path(folder) / "job.json", "RUN", stage, place, launch, tasks, max_array, [])
            arrays = -(-tasks // max_array)
            several = f", {arrays} arrays of {max_array} at most" if arrays > 1 else ""
            script = made.get_launch_file_contents(made.get_sbatch_args(min(tasks, max_array)), "")
            found.append((f"{stage}: {title}{several}", script.replace(folder, "STORE/runs/RUN")))
        return found

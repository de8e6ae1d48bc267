"""Curation on Slurm: the jobs of a build and their states. `manifests.places.slurm` submits them.

    octo-<run>-annotate     one array job (several above MaxArraySize), an element per task group with missing tasks
    octo-<run>-finish       one job after all of these have ended: freezes the manifest, or reports what is missing

Jobs are found by their names, so a launch that was killed between two submissions is completed by the next, and none
submits existing jobs again. On a node Datatrove's SlurmPipelineExecutor runs the task groups of its element. The last
job depends on `afterany`, not `afterok`: it reports failures, and no job waits for ever. States of tasks come from
their own files.
"""

import contextlib
import json
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from curation.execution.attempts import Line, Meter, Survey, process_continues
from curation.execution.build import Build
from curation.places import PlaceRecipe
from curation.tasks import pending
from manifests.errors import UserError
from manifests.places.place import Element, Work
from manifests.places.slurm import ARRAY_LOGS, Slurm, accounts, is_stuck
from manifests.progress import progress
from manifests.runs import RunDirectory

ANNOTATE, FINISH = "annotate", "finish"
LAUNCH, RANKS = "launch.json", "ranks_to_run.json"
"""Files of a launch for its jobs: the task groups, and the ranks that Datatrove's executor reads."""
POLL_SECONDS = 2.0
SILENT = 20
"""Polls without a job and without a result after which a launch counts as ended: the last file of a job may arrive late
over a shared file system, and a restarted controller needs time. A stuck job is tolerated for as many polls."""


def submit(build: Build) -> None:
    """Submit what is missing and not submitted yet, and resubmit jobs that request more than the cluster has. UserError
    if there is no Slurm, or it refuses."""
    alive = _without_stuck(elements(build.run.id))
    build.run.start()
    try:
        after = sorted({element.array for element in alive if stage_of(element) == ANNOTATE})
        missing = set(pending(build.job))
        shares = [share for share in build.job.shares if missing.intersection(share)]
        if not alive and shares:
            after = _launch(build, ANNOTATE, shares, [])
        if not any(stage_of(element) == FINISH for element in alive):
            _launch(build, FINISH, [()], after)
    finally:
        build.run.release()


def _without_stuck(alive: list[Element]) -> list[Element]:
    """The elements that may run yet; the others are cancelled."""
    if arrays := {element.array for element in alive if is_stuck(element)}:
        Slurm().cancel(sorted(arrays))
    return [element for element in alive if element.array not in arrays]


def _launch(build: Build, stage: str, shares: list[Any], after: list[str]) -> list[str]:
    recipe, launch = build.job.recipe.place, build.job.logs / f"{stage}-{uuid.uuid4().hex[:8]}"
    place = Slurm(recipe, recipe.max_array_size)
    launch.mkdir(parents=True)
    told = {"shares": shares, "max_array_size": place.array_size(len(shares))}
    (launch / LAUNCH).write_text(json.dumps(told))
    (launch / RANKS).write_text(json.dumps([*range(len(shares))]))
    ids = place.submit(_work(build.job.path, build.run.id, stage, recipe, launch, len(shares), after))
    said = {"stage": stage, "jobs": ids, "elements": len(shares), "logs": f"{launch}/{ARRAY_LOGS}", "time": time.time()}
    build.run.note(slurm=[*build.run.record.get("slurm", []), said])
    return ids


def _work(job: Path, run: str, stage: str, recipe: PlaceRecipe, launch: Path, elements: int, after: list[str]) -> Work:
    """The jobs of a stage: each element runs `curation.execution.node`."""
    needs, at_once = (recipe.annotate, recipe.workers) if stage == ANNOTATE else (recipe.finish, None)
    arguments = ("-m", "curation.execution.node", str(job), stage, str(launch))
    return Work(f"octo-{run}-{stage}", arguments, launch, needs, elements=elements, at_once=at_once, after=(*after,))


def wait(build: Build) -> None:
    """Wait until the manifest is frozen, resubmitting what is missing as often as `place` allows; after that UserError
    with the end of a log."""
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
                stuck = stuck + 1 if any(is_stuck(element) for element in alive) else 0
            if stuck >= SILENT:
                raise _too_large(build, next(element for element in alive if is_stuck(element)))
            if silent < (1 if build.run.status == "failed" else SILENT):
                continue
            if not retries:
                raise build.unfinished()
            retries, silent = retries - 1, 0
            submit(build)


def _too_large(build: Build, element: Element) -> UserError:
    asked = f"place.{stage_of(element)}"
    wanted = getattr(build.job.recipe.place, stage_of(element))
    said = f"{wanted.cpus} CPUs, {wanted.memory_gb:g} GB and {wanted.time} are more than any node of the cluster has"
    hint = f"Lower {asked}.cpus, {asked}.memory_gb or {asked}.time and repeat the command to resume"
    return UserError(f"job {element.id} would wait for ever ({element.reason}): {said}", hint)


def refuse_while_submitted(run: RunDirectory) -> None:
    """UserError while Slurm has jobs of the same build, so that no task is done twice."""
    alive: list[Element] = []
    with contextlib.suppress(UserError):
        alive = elements(run.id) if run.record.get("slurm") and run.status != "done" else []
    if alive:
        raise UserError(
            f"{run.id} is being built by Slurm",
            f"See `octo runs show {run.id}`; `octo runs cancel {run.id}` cancels its jobs",
        )


def elements(run: str) -> list[Element]:
    """Pending and running jobs of `run`; UserError if Slurm does not answer."""
    return Slurm().status(*(f"octo-{run}-{stage}" for stage in (ANNOTATE, FINISH)))


def stage_of(element: Element) -> str:
    """Which of the two stages a job of a build is."""
    return element.name.rsplit("-", 1)[1]


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


def continues(run: RunDirectory) -> Any:
    """A function that says whether an attempt of `run` is still running, according to Slurm now."""
    try:
        alive = {element.id for element in elements(run.id)} if run.record.get("slurm") else set()
    except UserError:
        return process_continues
    return lambda line: line["slurm"] in alive if "slurm" in line else process_continues(line)


def scripts(recipe: PlaceRecipe, jobs: int) -> list[tuple[str, str]]:
    """What would be submitted for `jobs` task groups: a title with the dependency, and the script."""
    place, titles = Slurm(recipe, recipe.max_array_size), {ANNOTATE: "no dependency"}
    titles |= {FINISH: f"--dependency=afterany:{ANNOTATE}"}
    found, folder = [], Path("STORE/runs/RUN")
    for stage, title in titles.items():
        elements = jobs if stage == ANNOTATE else 1
        work = _work(folder / "job.json", "RUN", stage, recipe, folder / "logs", elements, [])
        arrays = place.arrays(work)
        several = f", {arrays} arrays of {place.array_size(elements)} at most" if arrays > 1 else ""
        found.append((f"{stage}: {title}{several}", place.script(work)))
    return found

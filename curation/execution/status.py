"""The status of a curation for people: its jobs, its tasks, what failed and why, and what to do next."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from curation.execution import slurm
from curation.execution.attempts import Survey, Task, process_continues, summary
from curation.tasks import Job
from manifests.runs import RunDirectory

SHOWN = 5
"""Failed tasks of which the last lines are shown."""


@dataclass(frozen=True)
class Status:
    """Tables by title, the last lines of failed tasks by title, and a sentence on what to do next."""

    tables: dict[str, list[dict[str, Any]]]
    failures: dict[str, str]
    next: str


def status_of(run: RunDirectory) -> Status:
    """Look at the run directory, and ask Slurm where the run has jobs of it."""
    record = run.record
    about = {name: record.get(name) for name in ("status", "reason", "created", "finished")}
    if run.status != "done" and (run.path / "job.json").exists():
        return _unfinished(run, about)
    told = [{"field": name, "value": value} for name, value in (about | record.get("summary", {})).items() if value]
    return Status({f"Curation {run.id}": told}, {}, "It has ended; `octo report` shows its tasks")


def _unfinished(run: RunDirectory, about: dict[str, Any]) -> Status:
    job = Job.load(run.path / "job.json")
    submitted = bool(run.record.get("slurm"))
    survey = Survey(job, slurm.continues(run) if submitted else process_continues)
    tasks = survey.tasks()
    states = Counter(task.state for task in tasks)
    said = about | {"tasks": len(tasks)} | dict(sorted(states.items())) | {"read": summary(survey.lines())}
    jobs = slurm.job_table(run) if submitted else []
    told = [{"field": name, "value": value} for name, value in said.items() if value]
    failed = [task for task in tasks if task.state in ("failed", "killed")]
    ends = {_title(task, job): task.why() for task in failed[:SHOWN]}
    return Status({f"Curation {run.id}": told, "Jobs of Slurm": jobs}, ends, _next(run, jobs, states))


def _title(task: Task, job: Job) -> str:
    file, times = job.files[task.number], len(task.attempts)
    return f"task {task.number}, {file.source}/{file.name}: {task.state}, attempt {times} on {task.last.get('host')}"


def _next(run: RunDirectory, jobs: list[dict[str, Any]], states: Counter[str]) -> str:
    if any("RUNNING" in row["states"] or "PENDING" in row["states"] for row in jobs) or states["running"]:
        return f"At work; `octo runs show {run.id}` again tells how it goes on"
    if run.status == "running" and jobs and not states["failed"] + states["killed"] + states["waiting"]:
        return "All tasks are done; the job that freezes the manifest is ending, or was killed: give the command again"
    return "Nothing of it is at work. The same `octo curate` command does what is missing, here, on Slurm or on Ray"

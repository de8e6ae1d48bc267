"""Attempts at tasks: when and where each began and ended, what it read, or what it died of.

    <run>/attempts/<task>-<8 hex>.json     one JSON line, written when an attempt begins and again when it ends
    <run>/tasks.jsonl                      one JSON line per task, written when the build has ended

An attempt that was killed has a beginning and no end: whether it is still going on is asked of the machine it runs on,
or of Slurm. Nothing here decides what is done: that is a task's record alone (`curation.tasks`). Times are seconds
since 1970 by the clock of the machine that writes them.
"""

import json
import os
import platform
import signal
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from curation.tasks import RECORD, Job, replace_text
from manifests.errors import UserError

Line = dict[str, Any]
COUNTS = ("records", "documents", "quarantined", "tokens")
TAIL_LINES, METER_SECONDS = 12, 1.0
HOST = platform.node()


@contextmanager
def attempt(job: Job, task: int, about: Line) -> Iterator[Line]:
    """Keep the line of an attempt at `task` while the block runs it; what it adds to the line is kept at the end.

    `about` is put into the line. Its `limit_seconds` ends the block with TimeoutError, in the main thread of a process.
    """
    path, file = job.attempts / f"{task:06d}-{uuid.uuid4().hex[:8]}.json", job.files[task]
    line: Line = {"task": task, "source": file.source, "file": file.name, "bytes": file.size, "host": HOST}
    line |= about | {"pid": os.getpid(), "started": time.time()}
    replace_text(path, json.dumps(line))
    try:
        with _limited(about.get("limit_seconds", 0)):
            yield line
    except BaseException as error:
        line["error"] = _said(error)
        raise
    finally:
        line |= {"ended": time.time(), "peak_bytes": _peak_bytes()}
        replace_text(path, json.dumps(line))


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    if not seconds:
        yield
        return

    def stop(*_: object) -> None:
        raise TimeoutError(f"timed out after {seconds} s: give it more in place.annotate.time")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _said(error: BaseException) -> str:
    if isinstance(error, UserError):
        return str(error)
    return "\n".join("".join(traceback.format_exception(error)).strip().splitlines()[-TAIL_LINES:])


def _peak_bytes() -> int | None:
    """Most memory that this process has had, where the kernel tells."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return next((int(row.split()[1]) * 1024 for row in status.splitlines() if row.startswith("VmHWM")), None)


TaskState = Literal["waiting", "running", "done", "failed", "killed"]
"""Of a `failed` task the last attempt recorded an error; of a `killed` one it recorded nothing."""


@dataclass(frozen=True)
class Task:
    """The state of a task, with the records of all its attempts, the last one last."""

    number: int
    state: TaskState
    attempts: list[Line]

    @property
    def last(self) -> Line:
        return self.attempts[-1] if self.attempts else {}

    def why(self) -> str:
        """The last lines of what is known of a task that failed or was killed."""
        if said := self.last.get("error"):
            return said
        log = Path(self.last.get("log") or "")
        lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
        return "\n".join(lines[-TAIL_LINES:]) or "its process is gone and left no word: killed, out of memory perhaps"


def process_continues(line: Line) -> bool:
    """Whether the process of an attempt is there; believed of other machines."""
    return line["host"] != HOST or Path(f"/proc/{line['pid']}").exists()


@dataclass
class Survey:
    """The tasks of `job` as their files tell; files that cannot change any more are read once."""

    job: Job
    continues: Callable[[Line], bool] = process_continues
    _ended: dict[str, Line] = field(default_factory=dict)
    _done: set[int] = field(default_factory=set)

    def lines(self) -> list[Line]:
        """Every attempt so far, by the task and the time that it began."""
        found = []
        for path in self.job.attempts.glob("*.json"):
            with suppress(FileNotFoundError):  # the build has just ended
                line = self._ended.get(path.name) or json.loads(path.read_bytes())
                if "ended" in line:
                    self._ended[path.name] = line
                found.append(line)
        return sorted(found, key=lambda line: (line["task"], line["started"]))

    def done(self) -> set[int]:
        """Tasks that have a record. Whether it is sound is asked before it is relied on, not here."""
        files = enumerate(self.job.files)
        self._done |= {n for n, file in files if n not in self._done and (self.job.output(file) / RECORD).exists()}
        return self._done

    def tasks(self) -> list[Task]:
        """Every task in order."""
        attempts: dict[int, list[Line]] = {}
        for line in self.lines():
            attempts.setdefault(line["task"], []).append(line)
        done = self.done()
        return [
            Task(number, self._state(number in done, attempts.get(number, [])), attempts.get(number, []))
            for number in range(len(self.job.files))
        ]

    def _state(self, done: bool, attempts: list[Line]) -> TaskState:
        if done:
            return "done"
        if not attempts:
            return "waiting"
        if any("ended" not in line and self.continues(line) for line in attempts):
            return "running"
        if "ended" not in attempts[-1]:
            return "killed"
        return "failed" if "error" in attempts[-1] else "waiting"  # for its output is gone


def totals(lines: list[Line]) -> dict[str, float]:
    """What attempts that came to their end have read, and the seconds from the first beginning to the last end."""
    ended = [line for line in lines if "ended" in line and "error" not in line]
    counts = {name: sum(line.get(name, 0) for line in ended) for name in (*COUNTS, "bytes")}
    first = min((line["started"] for line in lines), default=0.0)
    return counts | {"seconds": max((line["ended"] for line in ended), default=first) - first}


@dataclass(frozen=True)
class Seen:
    """How many attempts there have been, how many of these are at work and have ended, and how many tasks are done."""

    begun: int
    running: int
    ended: int
    done: int


class Meter:
    """Draws a survey as a bar, once a second: tasks done, what was read and how fast. The bar tells the time left."""

    def __init__(self, survey: Survey, advance: Callable[..., None]):
        self.survey, self.advance = survey, advance
        self._next, self._drawn, self._seen = 0.0, 0, Seen(0, 0, 0, 0)

    def show(self) -> Seen:
        """Look again, if it is time to."""
        if time.monotonic() < self._next:
            return self._seen
        self._next = time.monotonic() + METER_SECONDS
        lines, done = self.survey.lines(), len(self.survey.done())
        running = sum("ended" not in line and self.survey.continues(line) for line in lines)
        self._seen = Seen(len(lines), running, sum("ended" in line for line in lines), done)
        self.advance(done - self._drawn, note=summary(lines))
        self._drawn = done
        return self._seen


def summary(lines: list[Line]) -> str:
    """What was read, and how fast, in one line; copies and quality are decided when all tasks are done."""
    read = totals(lines)
    if not read["seconds"]:
        return ""
    documents, tokens = read["documents"] / read["seconds"], read["tokens"] / read["seconds"]
    funnel = f"{read['records']:,.0f} records in, {read['quarantined']:,.0f} in quarantine"
    return f"{funnel}; {documents:,.0f} documents/s, {tokens:,.0f} tokens/s"


def history(tasks: list[Task]) -> str:
    """One JSON line per task: its last attempt, its state, how many there were and what became of the others."""
    return "".join(
        json.dumps(
            {"task": task.number, "state": task.state, "attempts": len(task.attempts)}
            | task.last
            | {"failures": [line.get("error", "killed") for line in task.attempts[:-1]]}
        )
        + "\n"
        for task in tasks
    )

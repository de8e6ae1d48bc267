"""The grader: finds the final answer in a response and says whether it equals the reference.

`grade` rules on one response in this process and is for trusted text; `Grader` rules on many in child processes that
are killed when they take too long. Both promise that a wrong answer (INCORRECT), one that cannot be read (UNPARSED) and
a failure of the grader (ERROR) stay three different things.

Leaves out: where the answer stands (`evaluation.extraction`), when two are equal (`evaluation.equality`, and by algebra
`evaluation.algebra`), rewards (`rl`), answers that are proofs or code.
"""

import json
import os
import selectors
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from evaluation.equality import Ruling, Verdict, decide, normalise
from evaluation.extraction import Rule, extract
from manifests.process import environment

__all__ = ["Grade", "Grader", "Rule", "Verdict", "extract", "grade"]


@dataclass(frozen=True)
class Grade:
    """The ruling on one response: the verdict, the answer that was found (None if none was), and why."""

    verdict: Verdict
    extracted: str | None
    reason: str


def grade(response: str, reference: str, rule: Rule = "chain") -> Grade:
    """Grade in this process, without a time limit: for trusted, short text only."""
    from evaluation.algebra import judge  # noqa: PLC0415  loads sympy, which those who call a Grader never need

    extracted = extract(response, rule)
    if extracted is None:
        return _no_answer(response)
    pair = normalise(extracted), normalise(reference)
    verdict, reason = decide(*pair) or judge(*pair)
    return Grade(verdict, extracted, reason)


def _no_answer(response: str) -> Grade:
    return Grade(Verdict.UNPARSED, None, "no answer found" if response.strip() else "empty response")


Pair = tuple[str, str]
"""A normalised answer and a normalised reference."""

BATCH_PAIRS, BATCH_BYTES = 32, 32_000
"""Bounds of one message to a worker: below the 64 KiB that a pipe holds, so that writing one never blocks."""
START_SECONDS = 60.0
"""A worker needs half a second to start; far beyond that something else is wrong."""
CACHE_PAIRS = 200_000


@dataclass(eq=False)
class _Worker:
    """A child process and the pairs it was given, in order. `deadline` is for the first of them (or for the start)."""

    process: "subprocess.Popen[bytes]"
    deadline: float
    is_ready: bool = False
    pending: deque[Pair] = field(default_factory=deque)
    unread: bytes = b""

    def kill(self) -> None:
        """End it now and leave no zombie and no open pipe."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            with suppress(BrokenPipeError):  # what lies unsent in the buffer has no reader any more
                pipe.close()


class Grader:
    """Grades many responses in child processes; use it as a context manager.

    A pair that gets no ruling within `limit_seconds` of wall time has its worker killed and replaced, and is an ERROR.
    A worker holds at most `megabytes` of memory. Workers start when a pair first needs algebra and stay until `close`.
    Rulings are remembered per (answer, reference), ERROR too: what froze one worker would freeze the next.
    Not for use from several threads at once.
    """

    def __init__(self, workers: int = 2, limit_seconds: float = 5.0, megabytes: int = 2_048):
        self._size, self._limit, self._megabytes = workers, limit_seconds, megabytes
        self._workers: list[_Worker] = []
        self._cache: dict[Pair, Ruling] = {}

    def __enter__(self) -> "Grader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill the workers. The grader can be used again; it starts new ones."""
        while self._workers:
            self._workers.pop().kill()

    def grade_all(self, responses: Sequence[str], references: Sequence[str], rule: Rule = "chain") -> list[Grade]:
        """One grade per response, in order; responses[i] is held against references[i]."""
        return self.grade_found([extract(response, rule) for response in responses], responses, references)

    def grade_found(
        self, found: Sequence[str | None], responses: Sequence[str], references: Sequence[str]
    ) -> list[Grade]:
        """One grade per response whose answer is known already: found[i], or None where there is none."""
        if not len(found) == len(responses) == len(references):
            raise ValueError(f"{len(responses)} responses for {len(references)} references")
        pairs = [(normalise(text or ""), normalise(gold)) for text, gold in zip(found, references, strict=True)]
        rulings = self._rule(dict.fromkeys(pair for pair, text in zip(pairs, found, strict=True) if text is not None))
        return [
            _no_answer(response) if text is None else Grade(rulings[pair][0], text, rulings[pair][1])
            for response, text, pair in zip(responses, found, pairs, strict=True)
        ]

    def _rule(self, pairs: dict[Pair, None]) -> dict[Pair, Ruling]:
        """The ruling on each distinct pair: remembered, decided here, or judged by a worker."""
        rulings = {pair: ruling for pair in pairs if (ruling := self._cache.get(pair) or decide(*pair))}
        judged = self._judge([pair for pair in pairs if pair not in rulings])
        if len(self._cache) + len(judged) > CACHE_PAIRS:
            self._cache.clear()
        self._cache |= judged
        return rulings | judged

    def _judge(self, pairs: list[Pair]) -> dict[Pair, Ruling]:
        rulings: dict[Pair, Ruling] = {}
        waiting = deque(pairs)
        self._dismiss_dead()
        try:
            while len(rulings) < len(pairs):
                self._hire(min(self._size, len(pairs) - len(rulings)))
                for worker in self._workers:
                    if worker.is_ready and not worker.pending and waiting:
                        self._send(worker, waiting)
                self._receive(rulings, waiting)
        except BaseException:  # an interrupt too: half-read pipes are of no use, and nothing may keep running
            self.close()
            raise
        return rulings

    def _dismiss_dead(self) -> None:
        """A worker that died while idle is no fault of the next pair."""
        for worker in [worker for worker in self._workers if worker.process.poll() is not None]:
            self._workers.remove(worker)
            worker.kill()

    def _hire(self, wanted: int) -> None:
        while len(self._workers) < wanted:
            self._workers.append(_start_worker(self._limit, self._megabytes))

    def _send(self, worker: _Worker, waiting: deque[Pair]) -> None:
        size = 0
        most = min(BATCH_PAIRS, -(-len(waiting) // (2 * self._size)))  # so that no worker waits for the others' last
        while waiting and len(worker.pending) < most:
            size += len(json.dumps(waiting[0]))
            if size > BATCH_BYTES and worker.pending:
                break
            worker.pending.append(waiting.popleft())
        worker.deadline = time.monotonic() + self._limit
        assert worker.process.stdin
        with suppress(BrokenPipeError):  # it died while idle: the end of file is dealt with where it is read
            worker.process.stdin.write(json.dumps(list(worker.pending)).encode() + b"\n")
            worker.process.stdin.flush()

    def _receive(self, rulings: dict[Pair, Ruling], waiting: deque[Pair]) -> None:
        """Wait for rulings until the next deadline; take in what came, bury what died or is too late."""
        busy = [worker for worker in self._workers if worker.pending or not worker.is_ready]
        with selectors.DefaultSelector() as selector:
            for worker in busy:
                assert worker.process.stdout
                selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
            patience = min(worker.deadline for worker in busy) - time.monotonic()
            readable = {id(key.data) for key, _ in selector.select(max(patience, 0))}
        for worker in busy:
            if id(worker) in readable:
                is_alive = self._read(worker, rulings)
                if not is_alive:
                    self._bury(worker, "worker died: out of memory or killed", rulings, waiting)
            elif time.monotonic() >= worker.deadline:
                self._bury(worker, f"no ruling within {self._limit:g} s", rulings, waiting)

    def _read(self, worker: _Worker, rulings: dict[Pair, Ruling]) -> bool:
        """Take in what a readable worker said; False at end of file."""
        assert worker.process.stdout
        data = os.read(worker.process.stdout.fileno(), 65_536)
        *lines, worker.unread = (worker.unread + data).split(b"\n")
        for line in lines:
            said = json.loads(line)
            if said is None:
                worker.is_ready = True
            else:
                rulings[worker.pending.popleft()] = (Verdict(said[0]), said[1])
            worker.deadline = time.monotonic() + self._limit
        return bool(data)

    def _bury(self, worker: _Worker, reason: str, rulings: dict[Pair, Ruling], waiting: deque[Pair]) -> None:
        """Kill `worker`; the pair it was at is an ERROR, those behind it wait for another worker."""
        self._workers.remove(worker)
        worker.kill()
        if not worker.is_ready:
            raise RuntimeError(f"a grading worker did not start (exit status {worker.process.returncode})")
        if worker.pending:
            rulings[worker.pending.popleft()] = (Verdict.ERROR, reason)
        waiting.extendleft(reversed(worker.pending))


def _start_worker(limit_seconds: float, megabytes: int) -> _Worker:
    """A plain subprocess, not multiprocessing: it works under daemonic and Ray processes and never re-imports the
    caller's main module. A session of its own keeps Ctrl-C for the parent, which then kills it."""
    command = [sys.executable, "-m", "evaluation.grading_worker", str(limit_seconds), str(megabytes)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(), start_new_session=True
    )
    return _Worker(process, time.monotonic() + START_SECONDS)

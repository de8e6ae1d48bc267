"""The grader: finds the final answer in a response and says whether it equals the reference.

`grade` rules on one response in this process and is for trusted text; `Grader` rules on many in child processes that
are killed when they take too long. Both promise that a wrong answer (INCORRECT), one that cannot be read (UNPARSED) and
a failure of the grader (ERROR) stay three different things. Whose fault a failure is decides: where the reference
passes its controls (`evaluation.grading.controls`), an answer that cannot be ruled on within the limits is UNPARSED
with the reason `too_hard`, and counts as wrong. ERROR is left for a reference that fails its controls, and then all of
its responses have it, and for a process that was ended from outside twice.

Leaves out: where the answer stands (`evaluation.grading.extraction`), when two are equal
(`evaluation.grading.equality`, and by algebra `evaluation.grading.algebra`), rewards (`rl`), answers that are proofs or
code.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from evaluation.grading import paper
from evaluation.grading.controls import TOO_HARD, Failure, failure, wrong_answers
from evaluation.grading.equality import Ruling, Verdict, decide, normalise
from evaluation.grading.extraction import Rule, extract
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
    from evaluation.grading.algebra import judge  # noqa: PLC0415  loads sympy, which those who call a Grader never need

    extracted = extract(response, rule)
    if extracted is None:
        return _no_answer(response)
    pair = normalise(extracted), normalise(reference)
    verdict, reason = decide(*pair) or judge(*pair)
    return Grade(verdict, extracted, reason)


def _no_answer(response: str) -> Grade:
    return Grade(Verdict.UNPARSED, None, "no answer found" if response.strip() else "empty response")


Judge = Literal["ours"] | paper.Kind
"""Who holds an answer against its reference: this grader, or the paper's harness by its kind of task."""


class Pair(NamedTuple):
    """An answer and a reference, both normalised where it is ours to judge."""

    answer: str
    reference: str
    by: Judge = "ours"


BATCH_PAIRS, BATCH_BYTES = 32, 32_000
"""Bounds of one message to a worker: below the 64 KiB that a pipe holds, so that writing one never blocks."""
START_SECONDS = 60.0
"""A worker needs half a second to start; far beyond that something else is wrong."""
WALL_SECONDS, WALL_PER_SECOND = 60.0, 60.0
"""A worker that says nothing for so long, and so long for each second of the limit, sleeps or hangs: on a machine with
sixty processes for each processor one that works has used up its time by then."""
CACHE_PAIRS = 200_000
CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
"""Signals by which a process ends itself."""
OUT_OF_MEMORY = 77
"""What `evaluation.grading.grading_worker` exits with when it has no memory left."""


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

    def ending(self) -> int | None:
        """How a process that has closed its pipe ended by itself; None for one that is still there."""
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(timeout=1.0)
        return None


class Grader:
    """Grades many responses in child processes; use it as a context manager.

    A pair may take `limit_seconds` of a processor's time and a worker `megabytes` of memory. One that takes more is
    UNPARSED (`too_hard`), or an ERROR where the reference fails its controls, which are looked at then or by `check`
    before. A worker that ended otherwise is replaced and the pair tried once more; so is one that ran out of memory,
    for what it kept of other pairs may be at fault. Workers start when a pair first needs algebra and stay until
    `close`. Rulings are remembered per pair, but not those that ended in an ERROR. Not for several threads at once.
    """

    def __init__(self, workers: int = 2, limit_seconds: float = 5.0, megabytes: int = 2_048):
        self._size, self._limit, self._megabytes = workers, limit_seconds, megabytes
        self._workers: list[_Worker] = []
        self._cache: dict[Pair, Ruling] = {}
        self._checked: dict[str, Failure | None] = {}

    def __enter__(self) -> "Grader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill the workers. The grader can be used again; it starts new ones."""
        while self._workers:
            self._workers.pop().kill()

    def check(self, references: Sequence[str]) -> list[Failure | None]:
        """What each reference fails first of its controls, or None; in their order. From then on every response to one
        that fails is an ERROR, the right ones too: it is not for the model to say which references count."""
        new = [reference for reference in dict.fromkeys(references) if reference not in self._checked]
        asked = {reference: _controls(reference) for reference in new}
        self._checked |= dict.fromkeys(new)
        for names in STAGES:  # what fails early is spared what may take the limit once more
            passed = [reference for reference in new if not self._checked[reference]]
            pairs = [
                (reference, name, asked[reference][name])
                for reference in passed
                for name in names
                if name in asked[reference]
            ]
            rulings = self._rule(dict.fromkeys(pair for _, _, pair in pairs if pair))
            for reference, name, pair in pairs:
                said = failure(name, rulings[pair] if pair else NO_BOX)
                self._checked[reference] = self._checked[reference] or said
        return [self._checked[reference] for reference in references]

    def grade_all(self, responses: Sequence[str], references: Sequence[str], rule: Rule = "chain") -> list[Grade]:
        """One grade per response, in order; responses[i] is held against references[i]."""
        return self.grade_found([extract(response, rule) for response in responses], responses, references)

    def grade_found(
        self, found: Sequence[str | None], responses: Sequence[str], references: Sequence[str]
    ) -> list[Grade]:
        """One grade per response whose answer is known already: found[i], or None where there is none."""
        if not len(found) == len(responses) == len(references):
            raise ValueError(f"{len(responses)} responses for {len(references)} references")
        pairs = [Pair(normalise(text or ""), normalise(gold)) for text, gold in zip(found, references, strict=True)]
        rulings = self._rule(dict.fromkeys(pair for pair, text in zip(pairs, found, strict=True) if text is not None))
        hard = {pair for pair, ruling in rulings.items() if ruling[1].startswith(TOO_HARD)}
        self.check([gold for pair, gold in zip(pairs, references, strict=True) if pair in hard])
        return [
            self._of_reference(text, gold)
            or (_no_answer(response) if text is None else Grade(rulings[pair][0], text, rulings[pair][1]))
            for response, text, gold, pair in zip(responses, found, references, pairs, strict=True)
        ]

    def _of_reference(self, text: str | None, reference: str) -> Grade | None:
        """The grade of every response to a reference that fails its controls."""
        if not (failed := self._checked.get(reference)):
            return None
        return Grade(Verdict.ERROR, text, f"reference fails a control ({failed.control}): {failed.reason}")

    def compare(self, pairs: Sequence[Pair]) -> list[Ruling]:
        """The ruling of each pair's own judge on it as it is, neither extracted nor normalised; without controls."""
        rulings = self._rule(dict.fromkeys(pairs))
        return [rulings[pair] for pair in pairs]

    def _rule(self, pairs: Iterable[Pair]) -> dict[Pair, Ruling]:
        """The ruling on each distinct pair: remembered, decided here, or judged by a worker."""
        pairs = list(pairs)
        rulings = {pair: ruling for pair in pairs if (ruling := self._cache.get(pair) or _decided(pair))}
        judged = self._judge([pair for pair in pairs if pair not in rulings])
        if len(self._cache) + len(judged) > CACHE_PAIRS:
            self._cache.clear()
        self._cache |= {pair: ruling for pair, ruling in judged.items() if ruling[0] is not Verdict.ERROR}
        return rulings | judged

    def _judge(self, pairs: list[Pair]) -> dict[Pair, Ruling]:
        rulings: dict[Pair, Ruling] = {}
        waiting, died = deque(pairs), set[Pair]()
        self._dismiss_dead()
        try:
            while len(rulings) < len(pairs):
                self._hire(min(self._size, len(pairs) - len(rulings)))
                for worker in self._workers:
                    if worker.is_ready and not worker.pending and waiting:
                        self._send(worker, waiting)
                self._receive(rulings, waiting, died)
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
        worker.deadline = self._backstop()
        assert worker.process.stdin
        with suppress(BrokenPipeError):  # it died while idle: the end of file is dealt with where it is read
            worker.process.stdin.write(json.dumps(list(worker.pending)).encode() + b"\n")
            worker.process.stdin.flush()

    def _backstop(self) -> float:
        """When a worker has been silent too long for one that works; what a pair may cost, the worker counts itself."""
        return time.monotonic() + WALL_SECONDS + WALL_PER_SECOND * self._limit

    def _receive(self, rulings: dict[Pair, Ruling], waiting: deque[Pair], died: set[Pair]) -> None:
        """Wait for rulings until the next deadline; take in what came, bury what died or hangs."""
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
                    self._bury(worker, rulings, waiting, died)
            elif time.monotonic() >= worker.deadline:
                self._bury(worker, rulings, waiting, died)

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
            worker.deadline = self._backstop()
        return bool(data)

    def _bury(self, worker: _Worker, rulings: dict[Pair, Ruling], waiting: deque[Pair], died: set[Pair]) -> None:
        """Rid of a worker that has ended or hangs. The pair it was at has had its time, or is tried once more; those
        behind it wait for another worker."""
        self._workers.remove(worker)
        status = worker.ending() if time.monotonic() < worker.deadline else None
        worker.kill()
        if not worker.is_ready:
            raise RuntimeError(f"a grading worker did not start (exit status {worker.process.returncode})")
        if worker.pending:
            pair = worker.pending[0]
            if ruling := _fault(status, tried=pair in died):
                rulings[pair] = ruling
                worker.pending.popleft()
            died.add(pair)
        waiting.extendleft(reversed(worker.pending))


STAGES = (("itself", "nothing"), ("off by one",), ("a constant",), ("a formula",))
"""The controls in the order in which they are looked at."""
NO_BOX = (Verdict.UNPARSED, "its box is not found again")


def _controls(reference: str) -> dict[str, Pair | None]:
    """The pair of each control of `reference`, by name; None where its box is not found again."""
    boxed, gold = extract(rf"\boxed{{{reference}}}", "boxed"), normalise(reference)
    wrong = {name: Pair(normalise(answer), gold) for name, answer in wrong_answers(reference).items()}
    return {"itself": None if boxed is None else Pair(normalise(boxed), gold), **wrong}


def _decided(pair: Pair) -> Ruling | None:
    if pair.by == "ours":
        return decide(pair.answer, pair.reference)
    return paper.decided(pair.answer, pair.reference, pair.by)


def _fault(status: int | None, tried: bool) -> Ruling | None:
    """The ruling on the pair at which a worker ended with `status` (None: it hung); None to try it once more. Where a
    process ended itself twice it is the pair that ends processes."""
    if status == -signal.SIGPROF:
        return Verdict.UNPARSED, TOO_HARD
    if not tried:
        return None
    if status == OUT_OF_MEMORY or (status is not None and -status in CRASHES):
        return Verdict.UNPARSED, TOO_HARD
    how = "hung" if status is None else f"ended (exit status {status})"
    return Verdict.ERROR, f"the grading process {how} twice"


def _start_worker(limit_seconds: float, megabytes: int) -> _Worker:
    """A plain subprocess, not multiprocessing: it works under daemonic and Ray processes and never re-imports the
    caller's main module. A session of its own keeps Ctrl-C for the parent, which then kills it."""
    command = [sys.executable, "-m", "evaluation.grading.grading_worker", str(limit_seconds), str(megabytes)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(), start_new_session=True
    )
    return _Worker(process, time.monotonic() + START_SECONDS)

"""The child process of a `Grader`: reads batches of pairs, answers one line per pair, ends with its parent.

Launched as `python -m evaluation.grading.grading_worker SECONDS MEGABYTES`. Protocol, one JSON value per line, ASCII
only: the child says `null` once it is ready; a line in is `[[answer, reference, judge], …]`; a line out is `[verdict,
reason]`, in order, flushed at once. Grading is in the main thread.

Each pair may take SECONDS of this process's own time on a processor: a timer counts them and, left at its default
action, ends the process even inside C code (SIGPROF). So the load of the machine decides nothing. A process that has
run out of MEGABYTES ends too (OUT_OF_MEMORY), for what it keeps would cost the next pair. Loads neither torch nor Ray.
"""

import json
import os
import resource
import signal
import sys

from evaluation.grading import paper_algebra
from evaluation.grading.algebra import judge
from evaluation.grading.answers import OUT_OF_MEMORY, Judge
from evaluation.grading.controls import TOO_HARD
from evaluation.grading.equality import Ruling, Verdict


def main(seconds: float, megabytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    judge("1+1", "2")  # builds math-verify's regular expressions before the clock runs
    _say(None)
    for line in sys.stdin:
        for answer, reference, by in json.loads(line):
            signal.setitimer(signal.ITIMER_PROF, seconds)
            _say(_ruling(answer, reference, by))
        signal.setitimer(signal.ITIMER_PROF, 0)


def _ruling(answer: str, reference: str, by: Judge) -> Ruling:
    """A ruling, also where sympy gives up: the pair is at fault then, and a worker that goes on can be trusted."""
    try:
        verdict, reason = _judged(answer, reference, by)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except Exception as error:
        return Verdict.UNPARSED, f"{TOO_HARD}: {type(error).__name__}"
    if reason == "MemoryError":
        os._exit(OUT_OF_MEMORY)
    return (Verdict.UNPARSED, f"{TOO_HARD}: {reason}") if reason == "RecursionError" else (verdict, reason)


def _judged(answer: str, reference: str, by: Judge) -> Ruling:
    if by == "ours":
        return judge(answer, reference)
    return paper_algebra.rule(answer, reference, by)


def _say(value: tuple[str, str] | None) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))

"""The child process of a `Grader`: reads batches of pairs, answers one line per pair, ends with its parent.

Launched as `python -m evaluation.grading_worker SECONDS MEGABYTES`. Protocol, one JSON value per line, ASCII only:
the child says `null` once it is ready; a line in is `[[answer, reference], …]`; a line out is `[verdict, reason]`, in
order, flushed at once so that the parent can time each pair by itself. Grading is in the main thread.

Loads neither torch nor Ray. The parent kills it past the limit; the alarm here, left at its default action, which
ends the process even inside C code, is for a parent that was itself killed.
"""

import json
import math
import resource
import signal
import sys

from evaluation.algebra import judge


def main(seconds: float, megabytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    judge("1+1", "2")  # builds math-verify's regular expressions before the clock runs
    _say(None)
    for line in sys.stdin:
        for answer, reference in json.loads(line):
            signal.alarm(math.ceil(seconds) + 1)
            _say(judge(answer, reference))
        signal.alarm(0)


def _say(value: tuple[str, str] | None) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))

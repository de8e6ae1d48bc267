"""How fast the grader is on a batch like those of RL, with and without hostile answers, beside math-verify alone.

    python benchmarks/grading.py

128 problems with 16 responses each: six problems in ten have an integer answer, the others a fraction, a root, a pair
or an expression; about half of the responses are right. In the hostile batch one response in twenty is meant to freeze
or break a grader. Prints answers per second and the time of the hostile batch as a multiple of the clean one.
"""

import logging
import random
import time

from math_verify import parse, verify

from evaluation.answers import Grader, Verdict

SHAPES = (r"\frac{%d}{%d}", r"%d\sqrt{%d}", "(%d, %d)", "%d x+%d")
HOSTILE = (
    r"\boxed{9^{9^{9}}}",
    r"\boxed{1000000!}",
    r"\boxed{" + "(" * 5_000 + ")" * 5_000 + "}",
    r"\boxed{" + "7" * 100_000 + "}",
    r"\boxed{5",
    "\\boxed{5\0}",
    " " * 1_000_000,
)


def batch(rng: random.Random) -> tuple[list[str], list[str]]:
    """Responses and references of one step: 128 problems × 16 responses."""
    responses, references = [], []
    for _ in range(128):
        shape = "%d" if rng.random() < 0.6 else rng.choice(SHAPES)
        first, *rest = (rng.randrange(2, 3_000 if shape == "%d" else 30) for _ in range(shape.count("%d")))
        for _ in range(16):
            answer = shape % (first + rng.choice((0, 0, 1, 2)), *rest)
            responses.append("Let us think. " * rng.randrange(5, 60) + rf"So it is \boxed{{{answer}}}.")
            references.append(shape % (first, *rest))
    return responses, references


def seconds(responses: list[str], references: list[str]) -> tuple[float, list[Verdict]]:
    with Grader(workers=2, limit_seconds=5.0) as grader:
        grader.grade_all([r"\boxed{1+1}", r"\boxed{1+1}"], ["2", "3"])  # starting the workers is not measured
        start = time.perf_counter()
        verdicts = [grade.verdict for grade in grader.grade_all(responses, references)]
        return time.perf_counter() - start, verdicts


def main() -> None:
    logging.disable(logging.WARNING)
    rng = random.Random(0)
    responses, references = batch(rng)
    hostile = [rng.choice(HOSTILE) if rng.random() < 0.05 else response for response in responses]
    clean, verdicts = seconds(responses, references)
    attacked, _ = seconds(hostile, references)
    start = time.perf_counter()
    alone = [verify(parse(f"${b}$"), parse(a)) for a, b in zip(responses, references, strict=True)]
    plain = time.perf_counter() - start
    agreed = sum((a is Verdict.CORRECT) == b for a, b in zip(verdicts, alone, strict=True))
    print(f"grader       {len(responses) / clean:10,.0f} answers/s ({clean:.2f} s)")
    print(f"math-verify  {len(responses) / plain:10,.0f} answers/s ({plain:.2f} s), agrees on {agreed}/{len(alone)}")
    print(f"hostile      {attacked / clean:10.2f} × the clean batch ({attacked:.2f} s)")


if __name__ == "__main__":
    main()

"""How fast the grader is on a batch like those of RL, with and without hostile answers, beside math-verify alone.

    python benchmarks/grading.py [--items FOLDER] [--solutions FILE]

128 problems with 16 responses each: six problems in ten have an integer answer, the others a fraction, a root, a pair
or an expression; about half of the responses are right. In the hostile batch one response in twenty is meant to freeze
or break a grader. Prints answers per second and the time of the hostile batch as a multiple of the clean one.

With --items, a folder of benchmark files (.jsonl of known shapes), also how often the grader and math-verify rule alike
on their reference answers: each against itself, wrapped, with a number raised by one, negated, and against another. The
pairs on which they differ are printed: they should all be half-read text or small numbers, where math-verify is wrong.

With --solutions, the file example_model_solutions.jsonl of GSM8K's authors (github.com/openai/grade-school-math), how
often the grader rules as they label 5,276 solutions of four models, with the final answer written in several ways.
"""

import argparse
import json
import logging
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

from math_verify import parse, verify

from evaluation.answers import Grader, Verdict, grade
from evaluation.benchmarks import KNOWN

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

SPELLINGS = {
    "as it was": "{work}\nA: {answer}",
    "in a sentence": "{work}\nSo the answer is {answer} in total.",
    "bold, in dollars": "{work}\n**Answer:** ${answer}.",
    "boxed with a unit": r"{work} Therefore $\boxed{{{answer}\text{{ units}}}}$.",
    "only in the work": "{work}",
}


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


def answers(folder: Path) -> list[str]:
    """The reference answers of the known benchmarks in `folder`, those with options left out."""
    found = []
    for path in sorted(folder.glob("*.jsonl")):
        if path.stem in KNOWN:
            items = (KNOWN[path.stem].adapter(json.loads(line)) for line in path.open(encoding="utf-8"))
            found += [item.answer for item in items if item.choices is None]
    return found


def variants(reference: str, rng: random.Random) -> Iterator[str]:
    """What a model might answer: right in another dress, or nearly right."""
    yield from (reference, rf"\dfrac{reference[5:]}" if reference.startswith(r"\frac") else f" {reference} ")
    if digits := list(re.finditer(r"\d+", reference)):
        chosen = rng.choice(digits)
        yield reference[: chosen.start()] + str(int(chosen[0]) + 1) + reference[chosen.end() :]
    yield f"-{reference}"


def agreement(folder: Path) -> None:
    rng = random.Random(0)
    golds = answers(folder)
    pairs = sorted({(gold, answer) for gold in golds for answer in (*variants(gold, rng), rng.choice(golds))})
    differing = []
    for gold, answer in pairs:
        theirs = verify(parse(f"${gold}$"), parse(f"${answer}$"))
        ours = grade(rf"\boxed{{{answer}}}", gold, "boxed")
        if (ours.verdict is Verdict.CORRECT) != theirs and ours.reason != "same text":
            differing.append(f"    {gold!r} and {answer!r}: {ours.verdict}, {ours.reason}; math-verify {theirs}")
    print(f"agreement    {len(pairs) - len(differing):,} of {len(pairs):,} pairs of {len(golds):,} references")
    print("\n".join(differing))


def labels(path: Path) -> None:
    rows = [json.loads(line) for line in path.open(encoding="utf-8")]
    each = [
        (row["ground_truth"].rpartition("A:")[2].strip(), *said["solution"].rpartition("\nA:")[::2], said["is_correct"])
        for row in rows
        for said in row.values()
        if isinstance(said, dict)
    ]
    golds = [gold for gold, _, _, _ in each]
    with Grader() as grader:
        for name, template in SPELLINGS.items():
            said = [template.format(work=work, answer=answer.strip()) for _, work, answer, _ in each]
            verdicts = [grade.verdict for grade in grader.grade_all(said, golds)]
            agreed = sum((v is Verdict.CORRECT) == label for v, (_, _, _, label) in zip(verdicts, each, strict=True))
            print(f"labels       {agreed:,} of {len(each):,} ({agreed / len(each):.2%}), answer {name}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=Path, help="folder of benchmark files")
    parser.add_argument("--solutions", type=Path, help="solutions of models with labels")
    given = parser.parse_args()
    items = given.items
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
    if items:
        agreement(items)
    if given.solutions:
        labels(given.solutions)


if __name__ == "__main__":
    main()

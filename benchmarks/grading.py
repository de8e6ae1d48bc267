"""How fast the grader is on a batch like those of RL, with and without hostile answers, beside verl's scorer and
math-verify alone, in one run.

    python -m benchmarks.grading [--items FOLDER] [--solutions FILE]
    python -m benchmarks.grading --tables FOLDER [--show N]

128 problems with 16 responses each: six problems in ten have an integer answer, the others a fraction, a root, a pair
or an expression; about half of the responses are right, and many are alike. In the hostile batch one response in twenty
is meant to freeze or break a grader. Prints answers per second, the time of the hostile batch as a multiple of the
clean one, its slowest part, and what is left running. verl's scorer is `verl.utils.reward_score.math_verify` as its
reward manager calls it, one answer after the other (`pip install --no-deps verl==0.9.1` is enough); without verl it is
left out. Each bar is printed as met or missed; the exit status is the number missed.

With --items, a folder of benchmark files (.jsonl of known shapes), also how often the grader and math-verify rule alike
on their reference answers: each against itself, wrapped, with a number raised by one, negated, and against another.
math-verify, given a text in dollars, may take a part of it: of "3:30 p.m." the 3, of a text with dollars within what
stands between two of them. So pairs are counted apart where its reading of either text is not its reading of that text
as LaTeX between one pair of dollars; of these the grader is held to its ruling on the latter. What neither explains is
printed, and counts as missed.

With --solutions, the file example_model_solutions.jsonl of GSM8K's authors (github.com/openai/grade-school-math), how
often the grader rules as they label 5,276 solutions of four models, with the final answer written in several ways.

With --tables, only the public tables that lie in FOLDER (`benchmarks.grading_tables` makes them): how often the grader
and math-verify alone say what the table says of the same rows, right called wrong and wrong called right apart, and
seconds of both. "held" rows are those a change to the grader should not be tuned on. The speed on GSM8K's solutions is
held against TIMES_MATH_VERIFY. --show prints that many rows per table on which the grader disagrees.
"""

import argparse
import importlib
import importlib.util
import json
import logging
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from math_verify import LatexExtractionConfig, parse, verify

from evaluation.benchmarks import KNOWN
from evaluation.grading.answers import Grader, Verdict, grade

LIMIT = 5.0
"""Hard wall-clock limit of one answer, in seconds."""
TIMES_VERL, TIMES_CLEAN, TIMES_MATH_VERIFY = 10.0, 1.5, 4.0
WANTED = {
    "math_verify": 240 / 252, "stack": 175 / 202, "mario": 49 / 60, "nemo_skills": 54 / 58, "gsm8k_solutions": 1.0,
}  # fmt: skip
"""Share of a table's rows on which the grader is to say what the table says."""
DOLLAR = re.compile(r"(?<!\\)\$")
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


def graded(responses: list[str], references: list[str]) -> tuple[float, list[Verdict]]:
    """Seconds and verdicts of the grader, as in any step but the first: another batch has started its workers."""
    with Grader(workers=2, limit_seconds=LIMIT) as grader:
        grader.grade_all(*batch(random.Random(1)))
        start = time.perf_counter()
        verdicts = [grade.verdict for grade in grader.grade_all(responses, references)]
        return time.perf_counter() - start, verdicts


def timed(score: Callable[[str, str], Any], responses: list[str], references: list[str]) -> tuple[float, list[bool]]:
    """Seconds and rulings of a scorer that takes one answer at a time."""
    start = time.perf_counter()
    rulings = [bool(score(response, reference)) for response, reference in zip(responses, references, strict=True)]
    return time.perf_counter() - start, rulings


def math_verify_alone(response: str, reference: str) -> bool:
    return verify(parse(f"${reference}$"), parse(response))


def verl_scorer(folder: str) -> Callable[[str, str], float] | None:
    """verl's scorer, or None where verl is not installed. Its one file is loaded from a copy in `folder`, where its
    processes find it too: the package around it asks for Ray."""
    found = importlib.util.find_spec("verl")
    if not found or not found.submodule_search_locations:
        return None
    scorer = Path(found.submodule_search_locations[0]) / "utils" / "reward_score" / "math_verify.py"
    shutil.copyfile(scorer, Path(folder) / "verl_scorer.py")
    sys.path.insert(0, folder)
    return importlib.import_module("verl_scorer").compute_score


def children() -> list[str]:
    """Commands of the processes that this one has started and that still run."""
    shown = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True).stdout
    return [line for line in shown.splitlines() if "grading_worker" in line]


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


@cache
def reading(text: str) -> list[Any]:
    """What math-verify makes of `text` in dollars."""
    return parse(f"${text}$")


@cache
def whole_reading(text: str) -> list[Any]:
    """What it makes of all of `text`, as LaTeX: dollars within it are left out, and no number is looked for in it."""
    return parse(f"${DOLLAR.sub('', text)}$", (LatexExtractionConfig(),))


def is_whole(text: str) -> bool:
    """Whether `reading` is that of all of `text`: the same object, or none in either."""
    first, second = ([item for item in found(text) if not isinstance(item, str)] for found in (reading, whole_reading))
    return first[:1] == second[:1]


def compared(gold: str, answer: str) -> tuple[str, str]:
    """Whether math-verify reads both texts `whole` or one in `part`, and whether the grader rules `alike`, as it does
    on what was `meant`, or neither (`apart`). A text that it makes nothing of is to the grader the `same` as itself."""
    ours = grade(rf"\boxed{{{answer}}}", gold, "boxed")
    theirs, meant = (verify(read(gold), read(answer)) for read in (reading, whole_reading))
    is_correct, kind = ours.verdict is Verdict.CORRECT, "whole" if is_whole(gold) and is_whole(answer) else "part"
    if is_correct == theirs:
        return kind, "alike"
    if ours.reason == "same text":
        return kind, "same"
    return kind, "meant" if kind == "part" and is_correct == meant else "apart"


def agreement(folder: Path) -> int:
    """Print how often grader and math-verify rule alike; the number of pairs on which they differ for no reason."""
    rng = random.Random(0)
    golds = answers(folder)
    pairs = sorted({(gold, answer) for gold in golds for answer in (*variants(gold, rng), rng.choice(golds))})
    found = [(*compared(*pair), *pair) for pair in pairs]
    for _, how, gold, answer in found:
        if how in ("meant", "apart"):
            said(f"    {how}: {gold!r} and {answer!r}, read as {reading(gold)[:1]} and {reading(answer)[:1]}")
    n = Counter(one[:2] for one in found)
    whole = n["whole", "alike"] + n["whole", "apart"]
    said(f"agreement    {n['whole', 'alike']:,} of {whole:,} pairs that math-verify reads whole, of {len(golds):,} "
         f"references, bar all: {'MISSED' if n['whole', 'apart'] else 'met'}")  # fmt: skip
    part = n["part", "alike"] + n["part", "meant"] + n["part", "apart"]
    said(f"             {n['part', 'alike']:,} of {part:,} pairs that it reads in part; on {n['part', 'meant']:,} of "
         "the others it rules alike once the text is in one pair of dollars")  # fmt: skip
    said(f"             {n['whole', 'same'] + n['part', 'same']:,} of a text and itself, of which it makes nothing")
    return n["whole", "apart"] + n["part", "apart"]


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


def tables(folder: Path, show: int) -> int:
    """Agreement with each table in `folder`, ours and math-verify's; the number of bars missed."""
    return sum(table(path, show) for path in sorted(folder.glob("*.jsonl")))


def table(path: Path, show: int) -> int:
    rows = [json.loads(line) for line in path.open(encoding="utf-8")]
    warm_up()
    start = time.perf_counter()
    with Grader(workers=1, limit_seconds=LIMIT) as grader:
        grades = [one for rule in ("chain", "choice") for one in graded_by(rule, rows, grader)]
    ours = time.perf_counter() - start
    order = [i for rule in ("chain", "choice") for i, row in enumerate(rows) if row.get("rule", "chain") == rule]
    verdicts = dict(zip(order, grades, strict=True))
    start = time.perf_counter()
    theirs = [math_verify_says(row) for row in rows]
    seconds = time.perf_counter() - start
    right = [verdicts[i] is Verdict.CORRECT for i in range(len(rows))]
    return reported(path.stem, rows, right, theirs, (ours, seconds), show)


def graded_by(rule: Any, rows: list[dict[str, Any]], grader: Grader) -> list[Verdict]:
    mine = [row for row in rows if row.get("rule", "chain") == rule]
    said = grader.grade_all([row["response"] for row in mine], [row["reference"] for row in mine], rule)
    return [grade.verdict for grade in said]


def warm_up() -> None:
    """Both build their tables at the first expression."""
    math_verify_alone("$x^2$", "x^2")
    grade(r"\boxed{x^2}", "2x")


def math_verify_says(row: dict[str, Any]) -> bool:
    return verify(parse(row["gold"]), parse(row["said"]))


def reported(
    name: str,
    rows: list[dict[str, Any]],
    ours: list[bool],
    theirs: list[bool],
    seconds: tuple[float, float],
    show: int,
) -> int:
    """Print a table's line, the rows that the grader sees otherwise, and the bars it misses."""
    expected = [row["expected"] for row in rows]
    missed = 0
    for who, says, took in (("grader", ours, seconds[0]), ("math-verify", theirs, seconds[1])):
        agreed = [one == wanted for one, wanted in zip(says, expected, strict=True)]
        held = [one for one, row in zip(agreed, rows, strict=True) if row["half"] == "held"]
        false = sum(one and not wanted for one, wanted in zip(says, expected, strict=True))
        bar = f", bar {WANTED[name]:.1%}" if who == "grader" and name in WANTED else ""
        met = not bar or sum(agreed) >= WANTED[name] * len(rows)
        missed += not met
        said(f"{name:16} {who:12} {sum(agreed):5,} of {len(rows):5,} ({sum(agreed) / len(rows):.1%}{bar}"
             f"{'' if met else ': MISSED'}), held {sum(held):,} of {len(held):,}; wrong called right {false}, right "
             f"called wrong {len(rows) - sum(agreed) - false}; {took:.1f} s")  # fmt: skip
    if name == "gsm8k_solutions":
        times = seconds[1] / seconds[0]
        met = times >= TIMES_MATH_VERIFY
        missed += not met
        said(f"{name:16} the grader is {times:.1f}× as fast, bar {TIMES_MATH_VERIFY:g}×: {'met' if met else 'MISSED'}")
    for row, one in [(row, one) for row, one in zip(rows, ours, strict=True) if one != row["expected"]][:show]:
        said(f"    {'wrong called right' if one else 'right called wrong'}: {row['reference'][:80]!r} and "
             f"{row['response'][-100:]!r}")  # fmt: skip
    return missed


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tables", type=Path, help="folder of public tables")
    parser.add_argument("--show", type=int, default=0, help="rows printed per table")
    parser.add_argument("--items", type=Path, help="folder of benchmark files")
    parser.add_argument("--solutions", type=Path, help="solutions of models with labels")
    given = parser.parse_args()
    items = given.items
    logging.disable(logging.WARNING)
    if given.tables:
        return tables(given.tables, given.show)
    rng = random.Random(0)
    responses, references = batch(rng)
    hostile = [rng.choice(HOSTILE) if rng.random() < 0.05 else response for response in responses]
    clean, verdicts = graded(responses, references)
    attacked, under_attack = graded(hostile, references)
    fooled = [one[:20] for one, verdict in zip(hostile, under_attack, strict=True)
              if one in HOSTILE and verdict is Verdict.CORRECT]  # fmt: skip
    said(f"grader       {rate(clean, responses)}")
    missed = compare("math-verify", math_verify_alone, responses, references, clean, verdicts, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        if scorer := verl_scorer(folder):
            timed(scorer, *(column[:64] for column in batch(random.Random(1))))  # starts its four processes
            missed += compare("verl", scorer, responses, references, clean, verdicts, TIMES_VERL)
        else:
            said("verl         not installed")
    bar = TIMES_CLEAN * clean + LIMIT
    said(f"hostile      {rate(attacked, responses)}, bar {bar:.2f} s: {'met' if attacked <= bar else 'MISSED'}; "
         f"{len(fooled)} of {sum(one in HOSTILE for one in hostile)} hostile answers CORRECT; "
         f"{len(children())} processes left running")  # fmt: skip
    if items:
        missed += agreement(items)
    if given.solutions:
        labels(given.solutions)
    return missed + (attacked > bar) + bool(fooled) + bool(children())


def compare(
    name: str,
    score: Callable[[str, str], Any],
    responses: list[str],
    references: list[str],
    ours: float,
    verdicts: list[Verdict],
    bar: float,
) -> int:
    """Print how fast another scorer is and how often it rules as ours does; 1 if ours is not `bar` times as fast."""
    theirs, rulings = timed(score, responses, references)
    agreed = sum((verdict is Verdict.CORRECT) == ruling for verdict, ruling in zip(verdicts, rulings, strict=True))
    met = "" if not bar else f", bar {bar:g}×: {'met' if theirs >= bar * ours else 'MISSED'}"
    said(f"{name:12} {rate(theirs, responses)}; the grader is {theirs / ours:.1f}× as fast{met}; "
         f"agrees on {agreed}/{len(rulings)}")  # fmt: skip
    return int(theirs < bar * ours)


def rate(seconds: float, responses: list[str]) -> str:
    return f"{len(responses) / seconds:10,.0f} answers/s ({seconds:.2f} s)"


def said(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())

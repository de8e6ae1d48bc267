r"""Tasks: how a benchmark is put to a base model, where its answer stands, and what counts as equal.

One row of `TASKS` per benchmark, from the published protocol; a benchmark without a row is asked plainly. In few-shot
prompts the row's layout, examples, stop strings and rule hold; under a zero-shot template of RL
(`evaluation.protocols.templates`) the answer is looked for in the box first. `harness` says by which of its rules the
paper's harness would rule (`evaluation.grading.paper`): few-shot responses are ruled on by both, and the difference is
reported. Under a `protocol` the prompts are those of another harness (`evaluation.protocols.released`).

Leaves out sampling and scores.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from evaluation.grading import paper
from evaluation.grading.answers import Grade, Grader, Pair, Verdict
from evaluation.grading.equality import normalise
from evaluation.grading.extraction import Rule, extract
from evaluation.grading.shapes import Named, Value, read
from evaluation.protocols import released
from evaluation.protocols.shots import SHOTS
from evaluation.protocols.templates import FEW_SHOT, Asked, render, with_choices, with_thought

Item = dict[str, Any]
"""A row of the family `items`."""

QA_STOP, PROBLEM_STOP = ("\nQ:",), ("\nProblem:",)


@dataclass(frozen=True)
class Task:
    """The protocol of a benchmark.

    `shots` names the set of examples and `n` how many of them; `layout` is Q:/A: or Problem:/Solution:; `rule` finds
    the answer of an item without options, `choice_rule` the letter of one with. A number within `absolute` of the
    reference, or within the share `relative` of it, is right. `harness` is the kind of task in the paper's harness.
    """

    shots: str = ""
    n: int = 4
    layout: Literal["qa", "problem"] = "qa"
    rule: Rule = "chain"
    choice_rule: Rule = "choice"
    absolute: float = 0.0
    relative: float = 0.0
    harness: paper.Kind | None = None

    @property
    def stop(self) -> tuple[str, ...]:
        return QA_STOP if self.layout == "qa" else PROBLEM_STOP


PLAIN = Task()
"""A benchmark that no row speaks of: no examples, the answer wherever it stands."""
_WORDS = Task("words", n=8, absolute=1e-3, harness="words")
_COMPETITION = Task("competition", layout="problem", rule="minerva", harness="math_text")
_CHOICE = Task("choice", layout="problem", harness="sat")

TASKS: dict[str, Task] = {
    "gsm8k": _WORDS,
    "asdiv": _WORDS,
    "svamp": _WORDS,
    "mawps": _WORDS,
    "tabmwp": Task("tables", choice_rule="option", absolute=1e-3, harness="tabmwp"),
    "amc23": Task(harness="words"),
    "aime24": PLAIN,
    "aime25": PLAIN,
    "math": replace(_COMPETITION, harness="math"),
    "math500": _COMPETITION,
    "olympiad_bench": replace(_COMPETITION, harness="olympiad"),
    "sat": _CHOICE,
    "mathqa": _CHOICE,
    "mmlu_stem": Task("science", layout="problem", harness="letter"),
    "gpqa_diamond": Task("science", n=5, layout="problem"),
    "ocw": Task("courses", layout="problem", rule="minerva", relative=1e-2, harness="ocw"),
}
"""Rows by benchmark. One hundredth is the tolerance that Minerva's released checker for OCW states."""


def task_of(benchmark: str) -> Task:
    """The task of the benchmark called so, or that of no name in particular."""
    return TASKS.get(benchmark, PLAIN)


# -- prompts -------------------------------------------------------------------------------------------------------


def prompt(
    task: Task, item: Item, template: Asked, shots: int | None = None, how: released.Released | None = None
) -> str:
    """What the model is asked: as `how` says, few-shot by the task's row (`shots` examples if given), or `template`."""
    if how:
        return released.prompt(how, item)
    choices = json.loads(item["choices"]) if item["choices"] else None
    if template != FEW_SHOT:
        return render(template, with_choices(item["question"], choices) if choices else item["question"])
    shown = SHOTS[task.shots][: task.n if shots is None else shots]
    examples = [
        f"{_ask(task, shot.question, shot.choices)} {_solve(task, shot.reasoning, shot.answer, shot.choices)}\n\n"
        for shot in shown
    ]
    return "".join(examples) + _ask(task, item["question"], choices)


def _ask(task: Task, question: str, choices: Sequence[str] | None) -> str:
    asked = with_choices(question, choices) if choices else question
    return f"Q: {asked}\nA:" if task.layout == "qa" else f"Problem:\n{asked}\n\nSolution:"


def _solve(task: Task, reasoning: str, answer: str, choices: Sequence[str] | None) -> str:
    shown = f"({answer})" if choices else answer if task.layout == "qa" else f"${answer}$"
    if task.layout == "qa":
        return f"{reasoning} The answer is {shown}."
    return f"{reasoning}\nFinal Answer: The final answer is {shown}. I hope it is correct."


# -- rulings -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judged:
    """The rulings on one response: by the protocol asked for, and by the other one (ours, or the paper's harness's)
    where that harness has the task and the prompt is of its kind."""

    grade: Grade
    other: Grade | None


def judge(
    task: Task,
    template: Asked,
    protocol: str | None,
    items: Sequence[Item],
    responses: Sequence[str],
    grader: Grader,
) -> list[Judged]:
    """Rule on responses[i] to items[i]; `protocol` is None, "paper" or "lm-eval"."""
    ours = _grades(task, template, items, responses, grader)
    if task.harness is None or template != FEW_SHOT or protocol == "lm-eval":
        return [Judged(grade, None) for grade in ours]
    theirs = _of_harness(task.harness, items, responses, grader)
    pairs = zip(theirs, ours, strict=True) if protocol == "paper" else zip(ours, theirs, strict=True)
    return [Judged(grade, other) for grade, other in pairs]


def _of_harness(kind: paper.Kind, items: Sequence[Item], responses: Sequence[str], grader: Grader) -> list[Grade]:
    """The verdicts of the paper's harness. It has no word for an answer that it cannot read: that is a wrong one."""
    pairs = []
    for item, response in zip(items, responses, strict=True):
        choices = json.loads(item["choices"]) if item["choices"] else None
        found = paper.find(kind, item["question"], response, choices)
        wanted = paper.reference(kind, item["question"], item["answer"], item.get("solution"), choices)
        pairs.append(Pair(found, wanted, kind))
    return [
        Grade(verdict, paper.shown(pair.answer), reason)
        for pair, (verdict, reason) in zip(pairs, grader.compare(pairs), strict=True)
    ]


def _grades(
    task: Task, template: Asked, items: Sequence[Item], responses: Sequence[str], grader: Grader
) -> list[Grade]:
    found = [_found(task, template, *pair) for pair in zip(items, responses, strict=True)]
    references = [item["answer"] for item in items]
    grades = grader.grade_found(found, responses, references)
    return [
        replace(grade, verdict=Verdict.CORRECT, reason="within the tolerance")
        if _near(task, grade, reference)
        else grade
        for grade, reference in zip(grades, references, strict=True)
    ]


def _found(task: Task, template: Asked, item: Item, response: str) -> str | None:
    response = with_thought(template, response)
    if item["choices"]:
        return extract(response, task.choice_rule, json.loads(item["choices"]))
    return extract(response, task.rule if template == FEW_SHOT else "chain")


MAX_QUANTITY = 100
_QUANTITY = re.compile(
    r"([-+]?\d+(?:\.\d*)?|[-+]?\.\d+)(?:\s*(?:\\times|\\cdot|\*|[eE])\s*(?:10\s*\^\s*)?\{?([-+]?\d+)\}?)?"
)


def quantity(text: str) -> float | None:
    """The value of a plain number, perhaps in scientific notation, with a unit behind it and a name before it; None for
    anything else."""
    if len(text) > MAX_QUANTITY:
        return None
    shape = read(normalise(text))
    while isinstance(shape, Named):
        shape = shape.value
    match = _QUANTITY.fullmatch(shape.text.strip("()")) if isinstance(shape, Value) else None
    return float(f"{match[1]}e{match[2] or 0}") if match else None


def _near(task: Task, grade: Grade, reference: str) -> bool:
    """Whether an answer that is not called equal is a number within the task's tolerance of the reference."""
    if (
        not (task.absolute or task.relative)
        or grade.verdict not in (Verdict.INCORRECT, Verdict.UNPARSED)
        or not grade.extracted
    ):
        return False
    answer, gold = quantity(grade.extracted), quantity(reference)
    if answer is None or gold is None:
        return False
    return abs(answer - gold) <= max(task.absolute, task.relative * abs(gold))

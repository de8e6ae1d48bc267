r"""Tasks: how a benchmark is put to a base model, where its answer stands, and what counts as equal.

One row of `TASKS` per benchmark, from the published protocol; a benchmark without a row is asked plainly. In few-shot
prompts the row's layout, examples, stop strings and rule hold; under a zero-shot template of RL
(`evaluation.templates`) the answer is looked for in the box first. `fault` names what the paper's harness did wrong:
under `protocol: paper` it is done the same way. `judge` gives both rulings, so that the difference can be reported:

    separators   the last number is taken, whatever is boxed or announced before it, and "1,234" is read as 1 and 234
                 (131 of GSM8K's 1,319 references are 1,000 or more)
    first_gold   of several reference answers only the first is asked for (94 of OlympiadBench's 675 items)

Leaves out sampling and scores.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from evaluation.answers import Grade, Grader, Verdict
from evaluation.equality import normalise
from evaluation.extraction import Rule, extract
from evaluation.shapes import Named, Value, read
from evaluation.shots import SHOTS
from evaluation.templates import FEW_SHOT, Asked, render, with_choices, with_thought

Item = dict[str, Any]
"""A row of the family `items`."""

QA_STOP, PROBLEM_STOP = ("\nQ:",), ("\nProblem:",)


@dataclass(frozen=True)
class Task:
    """The protocol of a benchmark.

    `shots` names the set of examples and `n` how many of them; `layout` is Q:/A: or Problem:/Solution:; `rule` finds
    the answer of an item without options, `choice_rule` the letter of one with. A number within `absolute` of the
    reference, or within the share `relative` of it, is right.
    """

    shots: str = ""
    n: int = 4
    layout: Literal["qa", "problem"] = "qa"
    rule: Rule = "chain"
    choice_rule: Rule = "choice"
    absolute: float = 0.0
    relative: float = 0.0
    fault: Literal["separators", "first_gold"] | None = None

    @property
    def stop(self) -> tuple[str, ...]:
        return QA_STOP if self.layout == "qa" else PROBLEM_STOP


PLAIN = Task()
"""A benchmark that no row speaks of: no examples, the answer wherever it stands."""
_WORDS = Task("words", n=8, absolute=1e-3, fault="separators")
_COMPETITION = Task("competition", layout="problem", rule="minerva")
_CHOICE = Task("choice", layout="problem")

TASKS: dict[str, Task] = {
    "gsm8k": _WORDS,
    "asdiv": _WORDS,
    "svamp": _WORDS,
    "mawps": _WORDS,
    "tabmwp": Task("tables", choice_rule="option", absolute=1e-3, fault="separators"),
    "amc23": Task(fault="separators"),
    "aime24": PLAIN,
    "aime25": PLAIN,
    "math": _COMPETITION,
    "math500": _COMPETITION,
    "olympiad_bench": replace(_COMPETITION, fault="first_gold"),
    "sat": _CHOICE,
    "mathqa": _CHOICE,
    "mmlu_stem": Task("science", layout="problem"),
    "gpqa_diamond": Task("science", n=5, layout="problem"),
    "ocw": Task("courses", layout="problem", rule="minerva", relative=1e-2),
}
"""Rows by benchmark. One hundredth is the tolerance that Minerva's released checker for OCW states."""


def task_of(benchmark: str) -> Task:
    """The task of the benchmark called so, or that of no name in particular."""
    return TASKS.get(benchmark, PLAIN)


# -- prompts -------------------------------------------------------------------------------------------------------


def prompt(task: Task, item: Item, template: Asked, shots: int | None = None) -> str:
    """What the model is asked: few-shot by the task's row (`shots` examples if given), else `template`."""
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
    """The rulings on one response: by the protocol asked for, and by the other one where the task has a fault."""

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
    """Rule on responses[i] to items[i]; `protocol` is None or "paper"."""
    corrected = _grades(task, template, False, items, responses, grader)
    if task.fault is None:
        return [Judged(grade, None) for grade in corrected]
    faulty = _grades(task, template, True, items, responses, grader)
    pairs = zip(faulty, corrected, strict=True) if protocol == "paper" else zip(corrected, faulty, strict=True)
    return [Judged(grade, other) for grade, other in pairs]


def _grades(
    task: Task,
    template: Asked,
    faulty: bool,
    items: Sequence[Item],
    responses: Sequence[str],
    grader: Grader,
) -> list[Grade]:
    found = [_found(task, template, faulty, *pair) for pair in zip(items, responses, strict=True)]
    references = [_reference(task, faulty, item["answer"]) for item in items]
    grades = grader.grade_found(found, responses, references)
    return [
        replace(grade, verdict=Verdict.CORRECT, reason="within the tolerance")
        if _near(task, grade, reference)
        else grade
        for grade, reference in zip(grades, references, strict=True)
    ]


def _found(task: Task, template: Asked, faulty: bool, item: Item, response: str) -> str | None:
    response = with_thought(template, response)
    if item["choices"]:
        return extract(response, task.choice_rule, json.loads(item["choices"]))
    if faulty and task.fault == "separators" and template == FEW_SHOT and _NUMERIC.fullmatch(item["answer"]):
        return extract(response, "digits")
    return extract(response, task.rule if template == FEW_SHOT else "chain")


def _reference(task: Task, faulty: bool, answer: str) -> str:
    return first_answer(answer) if faulty and task.fault == "first_gold" else answer


def first_answer(answer: str) -> str:
    """The first of several reference answers: up to the first comma that no bracket holds."""
    depth = 0
    for place, character in enumerate(answer):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            return answer[:place].strip().strip("$").strip()
    return answer


_NUMERIC = re.compile(r"[-+−$%\d.,/\s]+")
"""A reference that the rule `digits` can find; 5% of ASDiv's are words, times or ratios, which are looked for behind
"answer is"."""
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

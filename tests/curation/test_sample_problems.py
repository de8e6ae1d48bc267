"""The arithmetic of the sample: right, reproducible, and split without overlap."""

import re

from curation.sample_problems import problems
from evaluation.answers import Verdict, grade

EXPRESSION = re.compile(r"\d+(?:[-+]\d+)+")


def expression(question: str) -> str:
    [found] = EXPRESSION.findall(question)
    return found


def numbers(question: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", question)))


def test_answers_are_right_and_verifiable():
    for problem in problems(0, 500, "train"):
        value = sum(int(term) for term in re.findall(r"[-+]?\d+", expression(problem.question)))
        assert problem.answer == str(value) and value >= 0
        assert grade(problem.short, problem.answer).verdict is Verdict.CORRECT
        assert grade(problem.cot, problem.answer, "boxed").verdict is Verdict.CORRECT
        assert grade(problem.short, problem.answer, "boxed").verdict is Verdict.UNPARSED


def test_every_step_of_a_chain_holds():
    for problem in problems(1, 500, "rl"):
        steps = re.findall(r"(\d+)([-+])(\d+)=(\d+)", problem.cot)
        assert len(steps) == 2
        for left, sign, right, result in steps:
            assert int(result) == (int(left) + int(right) if sign == "+" else int(left) - int(right))


def test_splits_share_no_numbers_whatever_the_seed():
    seen = [{numbers(p.question) for seed in (0, 1) for p in problems(seed, 2000, s)} for s in ("train", "rl", "test")]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])


def test_the_same_seed_gives_the_same_problems():
    assert problems(3, 50, "test") == problems(3, 80, "test")[:50] != problems(4, 50, "test")

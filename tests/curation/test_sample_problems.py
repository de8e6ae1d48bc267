"""The sample's problems: right by arithmetic done again here, apart between splits, the same wherever they are made."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from curation.sample.problems import Problem, Split, problems
from evaluation.grading.answers import Verdict, grade

SPLITS = get_args(Split)
PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made() -> dict[str, list[Problem]]:
    return {split: problems(seed, 400, split) for seed, split in enumerate(SPLITS)}


def expression(question: str) -> str:
    [found] = re.findall(r"\d+(?:[+-]\d+)+", question)
    return found


def value(text: str) -> int:
    return sum(int(signed) for signed in re.findall(r"[+-]?\d+", text))


@pytest.mark.parametrize("split", SPLITS)
def test_every_answer_is_right(made, split):
    for problem in made[split]:
        assert problem.answer == str(value(expression(problem.question)))


@pytest.mark.parametrize("split", SPLITS)
def test_every_worked_answer_ends_with_the_answer_and_is_graded_right(made, split):
    for problem in made[split]:
        wrong = str(int(problem.answer) + 1)
        assert problem.cot.splitlines()[-1].endswith(rf"\boxed{{{problem.answer}}}.")
        assert grade(problem.cot, problem.answer, "boxed").verdict is Verdict.CORRECT
        assert grade(problem.cot, wrong, "boxed").verdict is Verdict.INCORRECT
        assert grade(problem.short, problem.answer).verdict is Verdict.CORRECT
        assert grade(problem.short, wrong).verdict is Verdict.INCORRECT


@pytest.mark.parametrize("split", SPLITS)
def test_the_reasoning_goes_from_the_question_to_the_answer_without_a_mistake(made, split):
    for problem in made[split]:
        [thoughts] = re.findall(r"\A<think>\n(.*)\n</think>\n", problem.cot, re.DOTALL)
        numbers, lines = re.findall(r"[+-]?\d+", expression(problem.question)), thoughts.splitlines()
        assert len(lines) == len(numbers) - 1
        total = int(numbers[0])
        for line, signed in zip(lines, numbers[1:], strict=True):
            assert line == f"{total}{signed}={total + int(signed)}"
            total += int(signed)
            assert total >= 0
        assert str(total) == problem.answer


def test_no_numbers_are_in_two_splits():
    """Whatever the seeds, the signs and the words around them."""
    numbers = {
        split: {
            tuple(re.findall(r"\d+", expression(problem.question)))
            for seed in range(5)
            for problem in problems(seed, 400, split)
        }
        for split in SPLITS
    }
    assert len(set.union(*numbers.values())) == sum(map(len, numbers.values()))
    assert all(len(found) > 20 for found in numbers.values())


def test_seeds_and_splits_differ_and_signs_and_answers_vary(made):
    assert problems(0, 50, "train") == made["train"][:50] != problems(1, 50, "train")
    expressions = [expression(problem.question) for problem in made["train"]]
    assert {sign for text in expressions for sign in text if sign in "+-"} == {"+", "-"}
    assert len({problem.answer for problem in made["train"]}) > 10


def test_the_same_in_every_process():
    program = (
        "from curation.sample.problems import problems; print([problems(7, 20, s) for s in ('train', 'rl', 'test')])"
    )
    environments = [os.environ | {"PYTHONHASHSEED": seed} for seed in ("1", "2")]
    said = {
        subprocess.run([sys.executable, "-c", program], cwd=PROJECT, env=one, capture_output=True, check=True).stdout
        for one in environments
    }
    assert said == {f"{[problems(7, 20, split) for split in SPLITS]}\n".encode()}

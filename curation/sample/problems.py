"""The arithmetic that the quickstart's tiny model learns: what a+b-c comes to, asked in a few ways.

`problems` makes them from a seed. Each comes with three ways to answer it: the bare result, a brief answer that states
the result at once, and a chain of thought that takes one operation after the other and puts the result into
`\\boxed{}`. The brief way is hard for a tiny model and the chain is easier, so a model that has seen both has something
to learn from rewards.

Promises. The same (seed, n, split) give the same problems on every machine. No three numbers occur in the same order in
two splits, whatever the signs between them, so a model cannot have seen the problems it is tested on. No difference on
the way falls below zero. Leaves out everything harder; real sources have it.
"""

import random
from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "rl", "test"]

STORIES = (
    "What is {expression}?",
    "Find the value of {expression}.",
    "{name} counts {things}. How many is {expression}?",
    "{name} has a page of sums. The next one is {expression}.",
    "{name} plays with {things} and keeps score: {expression}.",
)
NAMES = ("Ada", "Ben", "Ivy", "Kofi", "Lena", "Mia", "Noah", "Omar", "Sara", "Tom")
THINGS = ("apples", "books", "cards", "coins", "eggs", "keys", "pens", "shells", "stamps", "stones")

SHARES: dict[Split, range] = {"train": range(0, 70), "rl": range(70, 90), "test": range(90, 100)}
"""Which hundredths of all triples of numbers belong to a split."""
FIRST, NEXT = (1, 9), (1, 9)
"""Bounds of the first number and of the two that follow: 729 triples."""


@dataclass(frozen=True)
class Problem:
    """A question, its bare answer, and two worked answers: `short` states the result, `cot` reasons and boxes it."""

    question: str
    answer: str
    short: str
    cot: str


def problems(seed: int, n: int, split: Split) -> list[Problem]:
    """`n` problems of `split`. The same numbers may recur under other signs and stories."""
    draw = random.Random(f"{seed} {split}")
    return [_problem(draw, _numbers(draw, split)) for _ in range(n)]


def _numbers(draw: random.Random, split: Split) -> list[int]:
    """Three numbers that belong to `split`; which split has nothing to do with the seed."""
    while True:
        numbers = [draw.randint(*FIRST), draw.randint(*NEXT), draw.randint(*NEXT)]
        if random.Random(f"split {numbers}").randrange(100) in SHARES[split]:
            return numbers


def _problem(draw: random.Random, numbers: list[int]) -> Problem:
    total, *rest = numbers
    expression, steps = str(total), []
    for number in rest:
        sign = draw.choice("+-") if number <= total else "+"
        value = total + number if sign == "+" else total - number
        expression += f"{sign}{number}"
        steps.append(f"{total}{sign}{number}={value}")
        total = value
    question = draw.choice(STORIES).format(expression=expression, name=draw.choice(NAMES), things=draw.choice(THINGS))
    cot = "\n".join(["<think>", *steps, "</think>", f"The answer is \\boxed{{{total}}}."])
    return Problem(question, str(total), f"The answer is {total}.", cot)

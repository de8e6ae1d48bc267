"""What each verdict earns, in every variant, and what counts as repetition."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.grading.answers import Verdict, grade
from evaluation.protocols.templates import with_thought
from rl.rewards import RULE, boxes, overlong_penalty, repeats, reward

VARIANTS = ("binary", "signed", "format", "repetition", "strict")
ONE, TWO, NONE = r"so \boxed{6}.", r"\boxed{5} no, \boxed{6}", "the answer is 6"
LOOP = ONE + " Solution" * 5


@pytest.mark.parametrize(
    ("response", "verdict", "earned"),
    [
        (ONE, Verdict.CORRECT, (1, 1, 1, 1, 1)),
        (ONE, Verdict.INCORRECT, (0, -1, -0.5, -1, -1)),
        (ONE, Verdict.UNPARSED, (0, -1, -0.5, -1, -1)),
        (ONE, Verdict.ERROR, (None,) * 5),
        (NONE, Verdict.UNPARSED, (0, -1, -1, -1, -1)),
        (TWO, Verdict.CORRECT, (1, 1, -1, 1, -2)),
        (LOOP, Verdict.CORRECT, (1, 1, -1, -2, -2)),
        (LOOP, Verdict.ERROR, (None,) * 5),
    ],
)
def test_rewards(response, verdict, earned):
    assert tuple(reward(verdict, variant, response) for variant in VARIANTS) == earned


@pytest.mark.parametrize(
    ("response", "earned"),
    [
        (r"<think>9-3=6</think> The answer is \boxed{6}.", 1),
        ("The answer is 6.", 0),
        (r"The answer is \boxed{5}.", 0),
        (r"\boxed{5} no, \boxed{6}", 1),
        (r"\boxed{6", 0),
        ("", 0),
    ],
)
def test_only_a_box_counts(response, earned):
    assert reward(grade(response, "6", RULE).verdict, "binary", response) == earned


@pytest.mark.parametrize(
    ("response", "earned"),
    [
        (r"So it is \boxed{6} and so on and so on", 0),  # F13: it would be paid for never ending
        (r"So it is $\boxed{6}$.", 1),
        (r"\boxed{5} or \boxed{6", 0),
        ("\\boxed{\\frac{1}{2}}\n", 1),
    ],
)
def test_what_goes_on_behind_its_box_until_it_is_cut_off_earns_nothing(response, earned):
    assert reward(Verdict.CORRECT, "binary", response, truncated=True) == earned
    assert reward(Verdict.CORRECT, "binary", response) == 1
    assert reward(Verdict.ERROR, "binary", response, truncated=True) is None


def test_a_box_in_a_thought_that_does_not_end_is_no_answer():
    assert reward(grade(r"<think>maybe \boxed{6} hmm", "6", RULE).verdict, "binary", "") == 0
    opened = with_thought("base_0221", r"maybe \boxed{6} hmm")
    assert grade(opened, "6", RULE).verdict is Verdict.UNPARSED
    assert grade(opened + r"</think> <answer>\boxed{6}</answer>", "6", RULE).verdict is Verdict.CORRECT
    assert with_thought("cpt_base", "x") == "x"


def test_boxes_are_counted_where_they_open():
    assert [boxes(text) for text in (r"\boxed{1}", r"\boxed{1} \fbox{2}", r"\boxed{3", r"\boxedness", "")] == [
        1, 2, 1, 0, 0,
    ]  # fmt: skip


@pytest.mark.parametrize(("tokens", "penalty"), [(1, 0), (80, 0), (90, -0.5), (100, -1)])
def test_the_last_tokens_before_the_cap_cost(tokens, penalty):
    assert overlong_penalty(tokens, cap=100, buffer=20) == penalty


LETTERS = st.text("ab \n", max_size=40)


@given(st.tuples(LETTERS, st.text("ab \n", min_size=1, max_size=9), st.integers(2, 7), LETTERS))
def test_repetition_is_what_the_pattern_finds(parts):
    before, passage, times, after = parts
    text = before + passage * times + after
    assert repeats(text) == bool(re.search(r"(.{5,}?)\1{4,}", text, re.DOTALL))


def test_a_long_response_is_looked_through_at_once():
    """Here the pattern takes minutes."""
    words = " ".join(f"step {n} gives {n * n}" for n in range(20_000))
    assert not repeats(words)
    assert repeats(words + "and so on\n" * 5)
    assert repeats("x" * 400_000)

"""What each verdict earns."""

import pytest

from evaluation.answers import Verdict, grade
from rl.rewards import RULE, reward


@pytest.mark.parametrize(
    ("verdict", "binary", "signed"),
    [(Verdict.CORRECT, 1, 1), (Verdict.INCORRECT, 0, -1), (Verdict.UNPARSED, 0, -1), (Verdict.ERROR, None, None)],
)
def test_rewards(verdict, binary, signed):
    assert (reward(verdict, "binary"), reward(verdict, "signed")) == (binary, signed)


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
    assert reward(grade(response, "6", RULE).verdict, "binary") == earned

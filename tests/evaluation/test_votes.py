"""maj@k counts equal answers as one vote, whether they are right or wrong, and never looks at the reference."""

import pytest

from evaluation.estimates import majority_at_k
from evaluation.grading.answers import Grader
from evaluation.grading.votes import MOST_PAIRS, merged


@pytest.fixture(scope="module")
def grader():
    with Grader(workers=1) as one:
        yield one


def test_equal_answers_are_one_vote_however_written(grader):
    [votes] = merged([["0.5", "1/2", r"\frac{1}{3}", "1/3", r"0.\overline{3}", None, ""]], grader)
    assert votes[0] == votes[1] and votes[2] == votes[3] == votes[4] and votes[0] != votes[2]
    assert votes[5:] == [None, None]


def test_answers_that_need_algebra_are_merged_too(grader):
    [first, second] = merged([["x+1", "1+x", "x+2"], ["2(x+1)", "2x+2", "x+1"]], grader)
    assert first[0] == first[1] != first[2]
    assert second[0] == second[1] != second[2]


def test_a_majority_of_wrong_answers_written_in_several_ways_wins(grader):
    """The reference is one half; three of five say one third."""
    [votes] = merged([["0.5", "1/2", r"\frac13", "1/3", r"0.\overline{3}"]], grader)
    assert majority_at_k(votes, [True, True, False, False, False], 5, seed=0) == 0


def test_a_vote_that_is_right_in_part_is_right_in_that_share():
    """Where a tolerance lets one of two spellings through."""
    assert majority_at_k(["a", "a", "b"], [True, False, False], 3, seed=0) == 0.5


def test_an_item_of_many_odd_answers_asks_about_few_pairs(grader):
    [votes] = merged([[f"x^{{{n}}}+{n}" for n in range(2, 30)]], grader)
    assert len(set(votes)) == 28 and MOST_PAIRS < 28 * 27 / 2

"""Estimates against published values, closed forms and brute force."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.estimates import bootstrap, pass_at_k, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_newcombes_values(successes, trials, low, high):
    assert wilson(successes, trials) == pytest.approx((low, high), abs=6e-5)


def test_wilson_knows_nothing_without_trials():
    assert wilson(0, 0) == (0.0, 1.0)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_mirrors(drawn):
    successes, trials = drawn
    low, high = wilson(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1
    assert wilson(trials - successes, trials) == pytest.approx((1 - high, 1 - low))


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_one(drawn):
    n, c, k = drawn
    subsets = list(combinations([1] * c + [0] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_pass_at_k_does_not_overflow():
    assert pass_at_k(10_000, 1, 5_000) == pytest.approx(0.5)


@pytest.mark.parametrize("wrong", [(4, 5, 1), (4, 1, 5), (4, 1, 0), (4, -1, 1)])
def test_impossible_counts_are_refused(wrong):
    with pytest.raises(ValueError, match="pass@"):
        pass_at_k(*wrong)


def test_bootstrap_covers_like_the_normal_interval_when_clusters_are_single():
    values = np.random.default_rng(0).random(400) < 0.3
    low, high = bootstrap(values.astype(float), np.ones(400), seed=1)
    half = 1.96 * (values.mean() * (1 - values.mean()) / 400) ** 0.5
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)


def test_bootstrap_is_wider_when_answers_of_an_item_agree():
    sums = np.array([0.0, 8.0] * 20)
    together = bootstrap(sums, np.full(40, 8), seed=0)
    apart = bootstrap(np.array([0.0, 1.0] * 160), np.ones(320), seed=0)
    assert together[1] - together[0] > 2 * (apart[1] - apart[0])


def test_bootstrap_is_seeded_and_skips_empty_clusters():
    sums, counts = np.array([1.0, 0.0, 3.0, 0.0]), np.array([2, 2, 4, 0])
    assert bootstrap(sums, counts, seed=3) == bootstrap(sums[:3], counts[:3], seed=3)
    with pytest.raises(ValueError, match="no observations"):
        bootstrap(np.zeros(2), np.zeros(2), seed=0)

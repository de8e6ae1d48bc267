"""Estimates against published values, closed forms and brute force."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.estimates import bootstrap, majority_at_k, paired, pass_at_k, sign_test, wilson


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


def vote(answers, right):
    """The chance that a majority of `answers` is right, ties shared."""
    counts = {answer: answers.count(answer) for answer in answers if answer is not None}
    best = [answer for answer, count in counts.items() if count == max(counts.values())]
    return sum(answer == right for answer in best) / len(best) if best else 0.0


@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=7), st.data())
def test_majority_is_that_of_every_subset(answers, data):
    k = data.draw(st.integers(1, len(answers)))
    wanted = np.mean([vote(list(chosen), "a") for chosen in combinations(answers, k)])
    found = majority_at_k(answers, [answer == "a" for answer in answers], k, seed=1, draws=2_000)
    assert found == pytest.approx(wanted, abs=1e-9 if k in (1, len(answers)) else 0.06)


def test_majority_needs_as_many_samples():
    with pytest.raises(ValueError, match="maj@3 of 2"):
        majority_at_k(["a", "b"], [True, False], 3, seed=0)


def test_a_difference_of_pairs_is_narrower_than_of_strangers():
    generator = np.random.default_rng(0)
    hard = generator.random(400)
    first, second = (generator.random(400) < hard).astype(float), np.zeros(400)
    second[:] = first
    second[:20] = 1.0
    low, high = paired(first, second, seed=0)
    gained = (second - first).mean()
    assert low < gained < high
    apart = bootstrap(second, np.ones(400), 0)
    assert high - low < apart[1] - apart[0]


def test_the_sign_test_gives_the_binomial_tail():
    assert sign_test(0, 0) == 1.0
    assert sign_test(8, 0) == pytest.approx(2 / 2**8)
    assert sign_test(3, 5) == pytest.approx(sign_test(5, 3))

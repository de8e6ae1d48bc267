"""Estimates over seeds, items and arms against textbooks and closed forms; what has no error bar says so."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evaluation.claims import Conclusion, conclude
from evaluation.comparisons import arm_means, compare_arms, holm
from evaluation.estimates import Estimate, clustered, over_seeds, over_seeds_and_items, paired_difference, welch
from evaluation.sequential import levels_of_looks

QUICKSTART = [0.613, 0.905, 0.699]
"""Reward after RL of the quickstart by seed (README)."""


def test_a_mean_over_seeds_has_students_interval():
    found = over_seeds(QUICKSTART)
    wanted = stats.t.interval(0.95, 2, np.mean(QUICKSTART), stats.sem(QUICKSTART))
    assert (found.low, found.high) == pytest.approx(wanted)
    assert str(found) == "0.739 [0.3662, 1.112] (n = 3)"
    assert found.within(0, 1).high == 1.0 and found.within(0, 1).low == found.low
    assert found.at(0.8).low == pytest.approx(stats.t.interval(0.8, 2, found.value, stats.sem(QUICKSTART))[0])


def test_one_seed_has_no_error_bar_and_says_so():
    found = over_seeds([0.6])
    assert (found.value, found.n, found.low, found.high, found.p) == (0.6, 1, None, None, None)
    assert str(found) == "0.6 (n = 1; no error bar can be given: one seed)"
    assert found.at(0.8).low is None and found.within(0, 1) == found
    assert found.row() == {
        "value": 0.6, "low": None, "high": None, "n": 1, "note": "no error bar can be given: one seed"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("found", "value", "said"),
    [
        (over_seeds([]), None, "not measured with any seed"),
        (over_seeds([None, math.nan]), None, "not measured with any seed"),
        (over_seeds([0.0, 0.0, 0.0]), 0.0, "no error bar can be given: all values are equal"),
        (over_seeds([0.7, 0.1 * 7]), 0.7, "no error bar can be given: all values are equal"),
        (welch([0.1], [0.2, 0.3]), 0.15, "no error bar can be given: one seed in a group"),
        (welch([], [0.2, 0.3]), None, "not measured in both groups"),
        (paired_difference([0.1, None], [0.2, 0.4]), 0.1, "no error bar can be given: one shared stem"),
        (paired_difference([0.1, None], [None, 0.4]), None, "no stem is shared"),
        (clustered([1, 0, 1], "aaa"), 2 / 3, "no error bar can be given: one cluster of items"),
        (over_seeds_and_items(np.array([[1.0, 0.0]])), 0.5, "no error bar can be given: one seed"),
    ],
)
def test_what_has_no_interval_says_why(found, value, said):
    assert found.value == (None if value is None else pytest.approx(value))
    assert found.why == said
    assert (found.low, found.high, found.p) == (None, None, None)
    assert conclude(found, "greater") is Conclusion.CANNOT_TELL


def test_missing_runs_are_left_out_of_mean_and_n():
    assert over_seeds([0.1, None, 0.3, math.nan]) == over_seeds([0.1, 0.3])
    with pytest.raises(ValueError, match="infinite"):
        over_seeds([0.1, math.inf])


samples = st.lists(st.floats(-10, 10).map(lambda x: round(x, 3)), min_size=3, max_size=9, unique=True)


@given(samples, samples)
def test_welch_and_paired_are_scipys(first, second):
    reference = stats.ttest_ind(second, first, equal_var=False)
    found = welch(first, second)
    assert found.p == pytest.approx(reference.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(reference.confidence_interval()))
    n = min(len(first), len(second))
    gaps = np.array(second[:n]) - np.array(first[:n])
    if gaps.std() > 1e-6:
        pairs = stats.ttest_rel(second[:n], first[:n])
        assert paired_difference(first[:n], second[:n]).p == pytest.approx(pairs.pvalue, rel=1e-6)


def test_a_block_hides_in_a_mean_and_cancels_in_a_pair():
    stems = np.array([0.1, 0.5, 0.9])
    first, second = stems + np.array([0.0, 0.01, -0.01]), stems + np.array([0.2, 0.22, 0.21])
    assert welch(list(first), list(second)).low < 0 < paired_difference(list(first), list(second)).low


# -- clusters of items -----------------------------------------------------------------------------------------------


def cr2(values, clusters):
    """The CR2 variance of a mean and its degrees of freedom by matrices (Bell and McCaffrey 2002)."""
    n, names = len(values), list(dict.fromkeys(clusters))
    masks = [np.array([c == name for c in clusters]) for name in names]
    residual = values - values.mean()
    hat = np.full((n, n), 1 / n)
    total, vectors = 0.0, []
    for mask in masks:
        block = np.eye(mask.sum()) - hat[np.ix_(mask, mask)]
        w, v = np.linalg.eigh(block)
        root = v @ np.diag(w**-0.5) @ v.T
        total += (np.ones(mask.sum()) @ root @ residual[mask] / n) ** 2
        vectors.append((np.eye(n) - hat)[:, mask] @ root @ np.ones(mask.sum()) / n)
    together = sum(np.outer(mask, mask).astype(float) for mask in masks)  # items of a cluster agree
    moments = np.array(vectors) @ together @ np.array(vectors).T
    return total, np.trace(moments) ** 2 / (moments**2).sum()


@given(st.lists(st.integers(1, 6), min_size=3, max_size=7), st.integers(0, 10_000))
def test_clustered_errors_are_those_of_the_matrix_formula(sizes, seed):
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    values = np.random.default_rng(seed).normal(size=len(clusters))
    variance, degrees = cr2(values, clusters)
    found = clustered(values, clusters)
    assert found.error == pytest.approx(variance**0.5) and found.degrees == pytest.approx(degrees)
    assert found.n == len(sizes)


def test_items_of_a_template_are_not_many_items():
    generator = np.random.default_rng(0)
    solved = generator.random(100) < 0.5
    items, templates = np.repeat(solved, 50).astype(float), np.repeat(np.arange(100), 50)
    by_template, by_item = clustered(items, templates), clustered(items, np.arange(5000))
    assert by_template.error == pytest.approx(50**0.5 * by_item.error, rel=0.02)
    ones = clustered(items[::50], np.arange(100))
    assert by_template.error == pytest.approx(ones.error)


def test_seeds_and_items_both_count():
    generator = np.random.default_rng(0)
    seeds, items = generator.normal(0, 0.2, (5, 1)), generator.normal(0, 0.3, 40)
    of_seeds, of_items = over_seeds_and_items(seeds + 0 * items + 1e-6 * generator.normal(size=(5, 40))), None
    assert of_seeds.error == pytest.approx(over_seeds(list(seeds[:, 0])).error, rel=1e-3)
    of_items = over_seeds_and_items(0 * seeds + items + 1e-6 * generator.normal(size=(5, 40)))
    assert of_items.error == pytest.approx(clustered(items, range(40)).error, rel=1e-3)
    both = over_seeds_and_items(seeds + items)
    assert both.error**2 == pytest.approx(of_seeds.error**2 + of_items.error**2, rel=1e-3)
    assert both.n == 5


# -- arms ------------------------------------------------------------------------------------------------------------


def test_holm_gives_the_values_of_the_method():
    # R: p.adjust(c(.01, .04, .03, .005), "holm")
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, None, 0.6]) == [0.02, None, 0.6]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_never_lowers_and_keeps_the_order(values):
    corrected = holm(values)
    assert all(a <= b <= 1 for a, b in zip(values, corrected, strict=True))
    assert [corrected[i] for i in np.argsort(values, kind="stable")] == sorted(corrected)


ARMS = {
    "web": {1: 0.20, 2: 0.25, 3: 0.10},
    "qa": {1: 0.50, 2: 0.61, 3: 0.42},
    "cot": {1: 0.40, 2: 0.55, 3: None},
}


def test_arms_are_compared_within_stems_against_a_control():
    to_qa, to_cot = compare_arms(ARMS, "web")
    assert (to_qa.first, to_qa.second, to_qa.paired, to_qa.difference.n) == ("web", "qa", True, 3)
    assert to_qa.difference == paired_difference([0.2, 0.25, 0.1], [0.5, 0.61, 0.42])
    assert (to_cot.paired, to_cot.difference.n) == (True, 2)
    assert to_qa.p_holm == 2 * to_qa.p and to_cot.p_holm == to_cot.p
    assert to_qa.jointly == to_qa.difference.at(0.975)
    assert len(compare_arms(ARMS)) == 3
    with pytest.raises(ValueError, match="no arm 'x'"):
        compare_arms(ARMS, "x")


def test_arms_without_two_common_stems_are_independent_groups():
    arms = {"a": {1: 0.1, 2: 0.2, 3: 0.35}, "b": {3: 0.2, 4: 0.3, 5: 0.31}}
    (found,) = compare_arms(arms)
    assert not found.paired and found.difference == welch([0.1, 0.2, 0.35], [0.2, 0.3, 0.31])


def test_a_failed_arm_is_a_row_with_a_reason_and_does_not_count():
    found = compare_arms(ARMS | {"failed": {1: None, 2: None, 3: None}}, "web")
    assert [one.second for one in found] == ["qa", "cot", "failed"]
    assert found[2].row()["note"] == "not measured in both groups" and found[2].p_holm is None
    assert [one.p_holm for one in found[:2]] == [one.p_holm for one in compare_arms(ARMS, "web")]


def test_a_missing_cell_is_adjusted_for_and_a_whole_arm_is_its_mean():
    means = arm_means(ARMS)
    assert means["web"] == over_seeds([0.2, 0.25, 0.1])
    assert means["cot"].n == 2
    assert means["cot"].value < np.mean([0.40, 0.55]), "the weakest stem is the one that it lacks"
    exact = {"a": {1: 1.0, 2: 2.0, 3: 4.0}, "b": {1: 2.0, 2: 3.0, 3: 5.0}, "c": {1: 3.0, 3: 6.1}}
    assert arm_means(exact)["c"].value == pytest.approx((3.0 + 4.0 + 6.0) / 3 + 0.05)


def test_arms_that_share_no_stems_have_their_plain_means():
    arms = {"a": {1: 0.1, 2: 0.3}, "b": {3: 0.2, 4: 0.6}}
    assert arm_means(arms) == {"a": over_seeds([0.1, 0.3]), "b": over_seeds([0.2, 0.6])}


# -- looks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fractions", "bounds"),
    [
        # Jennison and Turnbull 2000 and the R package gsDesign, sfLDOF, two-sided 0.05
        ([0.2, 0.4, 0.6, 0.8, 1.0], [4.8769, 3.3569, 2.6803, 2.2898, 2.0310]),
        ([0.5, 1.0], [2.9626, 1.9686]),
        ([1.0], [1.9600]),
    ],
)
def test_bounds_of_looks_are_the_published_ones(fractions, bounds):
    assert [stats.norm.isf((1 - level) / 2) for level in levels_of_looks(fractions)] == pytest.approx(bounds, abs=2e-4)


@pytest.mark.parametrize("wrong", [[], [0.0, 1.0], [0.5, 0.5], [0.6, 0.5], [0.5, 1.1]])
def test_impossible_looks_are_refused(wrong):
    with pytest.raises(ValueError, match="looks at"):
        levels_of_looks(wrong)


# -- claims ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "direction", "smallest", "said"),
    [
        (0.1, 0.3, "greater", 0.0, "supported"),
        (0.1, 0.3, "greater", 0.05, "supported"),
        (0.1, 0.3, "greater", 0.2, "supported"),  # reaches what matters, and is surely above 0
        (0.1, 0.3, "greater", 0.4, "refuted"),  # there is something, too small to matter
        (-0.1, 0.3, "greater", 0.2, "cannot tell at this power"),
        (-0.1, 0.1, "greater", 0.2, "refuted"),
        (-0.3, -0.1, "greater", 0.0, "refuted"),
        (-0.3, 0.0, "greater", 0.0, "refuted"),
        (-0.3, -0.1, "less", 0.0, "supported"),
        (-0.3, 0.1, "less", 0.05, "cannot tell at this power"),
        (-0.04, 0.1, "less", 0.05, "refuted"),
        (-0.04, 0.03, "equal", 0.05, "supported"),
        (-0.04, 0.06, "equal", 0.05, "cannot tell at this power"),
        (0.06, 0.1, "equal", 0.05, "refuted"),
        (-0.2, -0.05, "equal", 0.05, "refuted"),
    ],
)
def test_a_claim_is_judged_by_interval_direction_and_smallest_effect(low, high, direction, smallest, said):
    assert conclude(Estimate((low + high) / 2, 3, low, high), direction, smallest) == said


def test_equality_needs_a_smallest_effect():
    with pytest.raises(ValueError, match="smallest effect"):
        conclude(Estimate(0.0, 3, -0.1, 0.1), "equal")
    with pytest.raises(ValueError, match="smallest effect"):
        conclude(Estimate(0.0, 3, -0.1, 0.1), "greater", -0.1)

"""95% intervals cover the truth in 93 to 97% of 2,000 simulated outcomes, also where the noise depends on the arm."""

import numpy as np
import pytest

from evaluation.comparisons import compare_arms
from evaluation.estimates import clustered, over_seeds, over_seeds_and_items, paired_difference, welch
from evaluation.sequential import levels_of_looks

DRAWS = 2_000


def coverage(estimates, truth):
    """The share of intervals that hold the truth. 2,000 draws at 95% have a standard error of 0.5%."""
    return np.mean([one.low <= truth <= one.high for one in estimates])


@pytest.fixture
def generator():
    return np.random.default_rng(18)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_a_mean_over_seeds(generator, seeds):
    outcomes = generator.normal(0.5, 0.15, (DRAWS, seeds))
    assert 0.93 <= coverage(map(over_seeds, outcomes), 0.5) <= 0.97


@pytest.mark.parametrize("ratio", [1, 5, 25])
@pytest.mark.parametrize("stems", [3, 5])
def test_a_difference_within_stems(generator, ratio, stems):
    common = generator.normal(0, 0.3, (DRAWS, stems))
    first = common + generator.normal(0.2, 0.01, (DRAWS, stems))
    second = common + generator.normal(0.5, 0.01 * ratio, (DRAWS, stems))
    assert 0.93 <= coverage(map(paired_difference, first, second), 0.3) <= 0.97


@pytest.mark.parametrize(("ratio", "seeds"), [(1, (3, 3)), (25, (3, 3)), (25, (8, 3)), (25, (3, 8)), (5, (5, 5))])
def test_a_difference_of_independent_groups(generator, ratio, seeds):
    first = generator.normal(0.0, 1.0, (DRAWS, seeds[0]))
    second = generator.normal(0.3, ratio, (DRAWS, seeds[1]))
    assert 0.93 <= coverage(map(welch, first, second), 0.3) <= 0.97


@pytest.mark.parametrize("seeds", [(2, 3), (3, 2), (2, 2)])
def test_a_group_of_two_has_at_least_its_level(generator, seeds):
    first, second = generator.normal(0, 1, (DRAWS, seeds[0])), generator.normal(0, 25, (DRAWS, seeds[1]))
    assert coverage(map(welch, first, second), 0) >= 0.94


@pytest.mark.parametrize("agreement", [0.05, 0.3])
@pytest.mark.parametrize("sizes", [[5] * 20, [12] * 30, [1] * 15 + [10] * 15])
def test_accuracy_over_items_of_templates(generator, agreement, sizes):
    clusters, evidence = np.repeat(np.arange(len(sizes)), sizes), 1 / agreement - 1
    chances = generator.beta(0.6 * evidence, 0.4 * evidence, (DRAWS, len(sizes)))[:, clusters]
    answers = (generator.random(chances.shape) < chances).astype(float)
    assert 0.93 <= coverage((clustered(line, clusters) for line in answers), 0.6) <= 0.97


@pytest.mark.parametrize("parts", [(0.1, 0.1, 0.1), (0.02, 0.3, 0.05), (0.2, 0.02, 0.02), (0.05, 0.3, 0.05)])
def test_accuracy_over_seeds_and_templates(generator, parts):
    clusters = np.repeat(np.arange(20), 5)
    seeds, templates, both = (
        part * generator.normal(size=size)
        for part, size in zip(parts, [(DRAWS, 3, 1), (DRAWS, 1, 20), (DRAWS, 3, 20)], strict=True)
    )
    tables = 0.5 + (seeds + templates + both)[:, :, clusters] + 0.3 * generator.normal(size=(DRAWS, 3, 100))
    assert 0.93 <= coverage((over_seeds_and_items(table, clusters) for table in tables), 0.5) <= 0.97


@pytest.mark.parametrize("control", ["arm 0", None])
def test_all_intervals_hold_at_once_and_holm_keeps_its_error(generator, control):
    noise = np.array([0.01, 0.25, 0.05, 0.1])  # 25-fold
    together, false = 0, 0
    for _ in range(DRAWS):
        outcomes = generator.normal(0, 0.3, (3, 1)) + noise * generator.normal(size=(3, 4))
        arms = {f"arm {arm}": dict(enumerate(outcomes[:, arm])) for arm in range(4)}
        found = compare_arms(arms, control)
        together += all(one.jointly.low <= 0 <= one.jointly.high for one in found)
        false += any(one.p_holm < 0.05 for one in found)
    assert together / DRAWS >= 0.94, "it may cover more: comparisons that share an arm depend on one another"
    assert false / DRAWS <= 0.06


def test_several_looks_together_are_wrong_as_often_as_one(generator):
    seeds = np.array([6, 12, 18, 24])
    levels = levels_of_looks(seeds / 24)
    naive = corrected = 0
    for _ in range(DRAWS):
        outcomes = generator.normal(0, 1, 24)
        looks = [over_seeds(outcomes[:n]) for n in seeds]
        naive += any(one.low > 0 or one.high < 0 for one in looks)
        corrected += any(
            look.low > 0 or look.high < 0 for look in (one.at(level) for one, level in zip(looks, levels, strict=True))
        )
    assert naive / DRAWS > 0.10
    assert 0.03 <= corrected / DRAWS <= 0.07

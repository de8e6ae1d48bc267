"""The learning rate by hand-computed values, and the cut of a mixture into steps."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.config import ScheduleRecipe
from training.schedule import learning_rate, positions


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"shape": "constant"}, {1: 1, 500: 1, 1000: 1}),
        ({"shape": "cosine", "min_ratio": 0.1}, {1: 1, 251: 0.55 + 0.45 * 0.5**0.5, 501: 0.55, 1000: 0.10000222}),
        ({"shape": "cosine", "min_ratio": 1}, {1: 1, 501: 1, 1000: 1}),
        ({"shape": "linear", "min_ratio": 0}, {1: 1, 251: 0.75, 501: 0.5, 1000: 0.001}),
        ({"shape": "1-sqrt", "min_ratio": 0}, {1: 1, 251: 0.5, 641: 0.2, 1000: 1 - 0.999**0.5}),
        ({"shape": "1-sqrt", "min_ratio": 0.1}, {1: 1, 251: 0.55, 641: 0.28}),
        ({"shape": "constant", "warmup_steps": 9}, {1: 0.1, 9: 0.9, 10: 1, 1000: 1}),
        ({"shape": "linear", "min_ratio": 0.5, "warmup_steps": 200}, {100: 100 / 201, 201: 1, 601: 0.75}),
        ({"shape": "cosine", "warmup_steps": 2000}, {1: 1 / 2001, 1000: 1000 / 2001}),
    ],
)
def test_learning_rate(schedule, expected):
    for step, value in expected.items():
        assert learning_rate(step, 1000, 3e-4, ScheduleRecipe(**schedule)) == pytest.approx(3e-4 * value, rel=1e-6)


SCHEDULES = st.builds(
    ScheduleRecipe,
    shape=st.sampled_from(["constant", "cosine", "linear", "1-sqrt"]),
    min_ratio=st.floats(0, 1),
    warmup_steps=st.integers(0, 60),
)


@settings(deadline=None)
@given(SCHEDULES, st.integers(1, 50), st.floats(1e-6, 10))
def test_the_rate_climbs_to_its_peak_and_then_falls_no_lower_than_its_minimum(schedule, steps, peak):
    rates = [learning_rate(step, steps, peak, schedule) for step in range(1, steps + 1)]
    climb, fall = rates[: schedule.warmup_steps], rates[schedule.warmup_steps :]
    assert all(0 < one < other for one, other in pairwise([*climb, *fall[:1]]))
    assert fall[:1] in ([], [peak])
    assert all(one >= other for one, other in pairwise(fall))
    lowest = peak if schedule.shape == "constant" else peak * schedule.min_ratio
    assert all(rate >= lowest * (1 - 1e-12) for rate in fall)


def test_the_published_decay():
    """OctoThinker's 3B decay: 2e-5 to 2e-6 in 5,000 steps."""
    decay = ScheduleRecipe(shape="cosine", min_ratio=0.1)
    assert learning_rate(1, 5000, 2e-5, decay) == 2e-5
    assert learning_rate(2501, 5000, 2e-5, decay) == pytest.approx(1.1e-5)
    assert learning_rate(5000, 5000, 2e-5, decay) == pytest.approx(2e-6, rel=1e-4)


def test_a_step_outside_of_the_stage():
    for step in (0, 11):
        with pytest.raises(ValueError):
            learning_rate(step, 10, 1.0, ScheduleRecipe())


@settings(deadline=None)
@given(batch=st.integers(1, 20), n=st.integers(1, 200))
def test_steps_cut_the_mixture_without_gap_or_overlap(batch, n):
    steps = [positions(step, batch, n) for step in range(1, -(-n // batch) + 1)]
    assert np.array_equal(np.concatenate(steps), np.arange(n))
    assert all(len(step) == batch for step in steps[:-1])

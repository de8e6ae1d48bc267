"""The learning rate by hand-computed values, and the cut of a mixture into steps."""

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
        ({"shape": "cosine", "min_ratio": 0.1}, {1: 1, 501: 0.55, 1000: 0.1}),
        ({"shape": "linear", "min_ratio": 0}, {1: 1, 251: 0.75, 501: 0.5, 1000: 0.001}),
        ({"shape": "1-sqrt", "min_ratio": 0}, {1: 1, 251: 0.5, 1000: 0.0005}),
        ({"shape": "constant", "warmup_steps": 9}, {1: 0.1, 9: 0.9, 10: 1}),
        ({"shape": "linear", "min_ratio": 0.5, "warmup_steps": 200}, {100: 100 / 201, 201: 1, 601: 0.75}),
    ],
)
def test_learning_rate(schedule, expected):
    for step, value in expected.items():
        assert learning_rate(step, 1000, 3e-4, ScheduleRecipe(**schedule)) == pytest.approx(3e-4 * value, rel=1e-2)


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

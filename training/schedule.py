"""The sequences that a step reads and its learning rate, as pure functions of its number.

No state is kept between calls, so a resumed run cannot be off by one. Shapes of the learning rate, with t the completed
share of the steps after warmup, in [0, 1), and m the minimum as a share of the peak:

    constant   1
    cosine     m + (1 - m) (1 + cos πt) / 2     Loshchilov and Hutter 2017; OctoThinker's decay branches, m = 0.1
    linear     m + (1 - m) (1 - t)
    1-sqrt     m + (1 - m) (1 - √t)             Hägele et al. 2024, the cooldown that served best after a constant rate

Warmup is linear and reaches the peak on the first step after it. Leaves out schedules across stages: each stage has
a schedule of its own.
"""

import math
from typing import assert_never

import numpy as np

from training.config import ScheduleRecipe


def positions(step: int, batch_sequences: int, n_sequences: int) -> np.ndarray:
    """Which sequences of a mixture of `n_sequences` a step (from 1) reads, int64; the last step may read fewer."""
    first = (step - 1) * batch_sequences
    return np.arange(first, min(first + batch_sequences, n_sequences), dtype=np.int64)


def learning_rate(step: int, steps: int, peak: float, schedule: ScheduleRecipe) -> float:
    """The learning rate of `step` (from 1) out of `steps`. ValueError for a step outside of the stage."""
    if not 1 <= step <= steps:
        raise ValueError(f"step {step} of {steps}")
    done, warmup = step - 1, schedule.warmup_steps
    if done < warmup:
        return peak * (done + 1) / (warmup + 1)
    return peak * _factor((done - warmup) / (steps - warmup), schedule)


def _factor(t: float, schedule: ScheduleRecipe) -> float:
    match schedule.shape:
        case "constant":
            return 1.0
        case "cosine":
            fall = (1 + math.cos(math.pi * t)) / 2
        case "linear":
            fall = 1 - t
        case "1-sqrt":
            fall = 1 - math.sqrt(t)
        case unknown:
            assert_never(unknown)
    return schedule.min_ratio + (1 - schedule.min_ratio) * fall

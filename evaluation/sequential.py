"""Several looks at the same arms while they run: the confidence to use at each, so that all hold together.

Who looks five times at 95% intervals is wrong in one of them far more often than in 5% of cases. `levels_of_looks` says
which level each look may use; every function of `evaluation.estimates` and `evaluation.comparisons` takes it. Early
looks get little: only an overwhelming difference stops an arm then, and the last look is nearly what it would have been
without the others. Looks need not be evenly spaced, and their times need not be fixed beforehand, but the total must
be. Information is what has accrued independently: finished seeds, or blocks of items or prompts; steps of one RL run
are not independent of one another, and a look at its reward curve has no guarantee. Pure.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import root_scalar
from scipy.special import ndtr, ndtri

from evaluation.estimates import LEVEL

NODES = 128
"""Points of the quadrature between two looks; with 64 the levels agree to nine digits."""


def levels_of_looks(fractions: Sequence[float], level: float = LEVEL) -> list[float]:
    """The confidence level of each look, made at these fractions of all information (ascending, the last at most 1).

    On each side the error is spent as by O'Brien and Fleming, 2 (1 - Phi(z / sqrt(t))), after Lan and DeMets (1983),
    by the recursion of Armitage, McPherson and Rowe (1969). For estimates with few degrees of freedom the t quantile
    of the same level stands in for the normal one (Jennison and Turnbull 2000, section 3.8), as in `Estimate.at`.
    """
    times = np.asarray(fractions, dtype=np.float64)
    if not len(times) or times[0] <= 0 or times[-1] > 1 or (np.diff(times) <= 0).any():
        raise ValueError(f"looks at {list(fractions)} of the information")
    spent = 4 * ndtr(ndtri((1 - level) / 4) / np.sqrt(times))
    bounds = _bounds(times, np.diff(spent, prepend=0.0))
    return [float(1 - 2 * ndtr(-bound)) for bound in bounds]


def _bounds(times: np.ndarray, errors: np.ndarray) -> list[float]:
    """The bound of each look, in standard deviations, at which a walk that has not crossed yet crosses by its error."""
    at, weights = np.zeros(1), np.ones(1)  # where the walk may be, and how likely, if it has not crossed
    bounds: list[float] = []
    for look, (time, error) in enumerate(zip(times, errors, strict=True)):
        step = math.sqrt(time - (times[look - 1] if look else 0.0))
        bound = _crossing(at, weights, step, math.sqrt(time), error)
        points, share = np.polynomial.legendre.leggauss(NODES)
        reach = bound * math.sqrt(time)
        moved = np.exp(-(((points[:, None] * reach - at) / step) ** 2) / 2) / (step * math.sqrt(2 * math.pi))
        at, weights = points * reach, share * reach * (moved @ weights)
        bounds.append(bound)
    return bounds


def _crossing(at: np.ndarray, weights: np.ndarray, step: float, scale: float, error: float) -> float:
    """The bound that the walk crosses at its next step with the chance `error`."""

    def excess(bound: float) -> float:
        beyond = ndtr((at - bound * scale) / step) + ndtr((-at - bound * scale) / step)
        return math.log(max(float(weights @ beyond), 1e-300)) - math.log(max(error, 1e-299))

    return float(root_scalar(excess, bracket=(1e-3, 37.0), method="brentq").root)

"""Two learners of the surface without coefficients: a Gaussian process, and RegMix's boosted trees as a rival.

Both are fitted to outcomes from which blocks were taken out (`mixtures.surface.noise`). The Gaussian process takes
from repetitions how noisy each mixture is; its intervals are widened where the errors for left-out mixtures are larger
than it expects. Trees give no interval. Needs the extra `study` (scikit-learn, LightGBM), both built for a plain
processor. Deterministic. Leaves out models with coefficients (`mixtures.surface`).
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import lightgbm
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Matern, WhiteKernel

from evaluation.estimates import NO_BAR, Estimate, estimate
from mixtures.surface import Noise, Observations, noise

FOLDS = 5
"""Into how many parts arms are divided to measure trees, which have no closed form; each arm is left out once."""

REGMIX = {
    "boosting_type": "gbdt",
    "objective": "regression",
    "n_estimators": 1000,
    "learning_rate": 1e-2,
    "random_state": 42,
    "verbosity": -1,
    "n_jobs": 1,
    "deterministic": True,
    "force_row_wise": True,
}
"""RegMix's settings of LightGBM (Liu et al. 2024, arXiv 2407.01492, regression.ipynb), made deterministic."""


@dataclass(frozen=True)
class GaussianProcess:
    """Outcome = linear in the weights + a smooth deviation (Matérn 5/2) + noise of each mixture. See `fit_process`."""

    seen: Observations
    noise: Noise
    centre: float
    scale: float
    process: Any = field(repr=False)
    widening: float

    name = "Gaussian process"

    def values(self, weights: np.ndarray) -> np.ndarray:
        return self.process.predict(np.atleast_2d(weights)) * self.scale + self.centre

    def predict(self, weights: np.ndarray, level: float = 0.95, runs: int | None = None) -> Estimate:
        """As `Polynomial.predict`; degrees of freedom are the arms less one."""
        value, spread = self.process.predict(np.atleast_2d(weights), return_std=True)
        variance = (float(spread[0]) * self.scale * self.widening) ** 2
        if runs:
            variance += float(self.run_variance(np.atleast_2d(weights))[0]) / runs
        arms = len(self.seen.runs)
        return estimate(float(value[0]) * self.scale + self.centre, math.sqrt(variance), arms - 1, arms, level)

    def left_out(self) -> np.ndarray:
        """By the closed form for a process whose parameters stay (Rasmussen and Williams 2006, section 5.4.2)."""
        return _left_out(self.process)[0] * self.scale

    def covariance(self, weights: np.ndarray) -> np.ndarray:
        """Of the expected outcomes of mixtures (rows), given what was seen."""
        return self.process.predict(weights, return_cov=True)[1] * (self.scale * self.widening) ** 2

    def run_variance(self, weights: np.ndarray) -> np.ndarray:
        """The variance of one run of each mixture."""
        found = self.noise.at(weights)
        return found if self.noise.trend is not None else np.full(len(weights), self._white())

    def _white(self) -> float:
        return float(self.process.kernel_.k2.noise_level) * self.scale**2


def fit_process(seen: Observations, seed: int = 0) -> GaussianProcess:
    """Fit by maximum likelihood from three starts."""
    found = noise(seen)
    centre, scale = float(found.adjusted.mean()), float(found.adjusted.std()) or 1.0
    kernel = ConstantKernel(1.0) * DotProduct(0.0, "fixed") + ConstantKernel(0.3) * Matern(0.5, (0.05, 10.0), nu=2.5)
    if found.trend is None:
        kernel, alpha = kernel + WhiteKernel(0.1), np.full(len(seen.runs), 1e-8)
    else:
        alpha = found.at(seen.mixtures) / seen.runs / scale**2 + 1e-8
    process: Any = GaussianProcessRegressor(kernel, n_restarts_optimizer=2, random_state=seed)
    process.alpha = alpha
    with _quiet():
        process.fit(seen.mixtures, (found.adjusted - centre) / scale)
    errors, expected = _left_out(process)
    return GaussianProcess(seen, found, centre, scale, process, max(1.0, float(np.sqrt((errors**2 / expected).mean()))))


@contextmanager
def _quiet() -> Iterator[None]:
    """A parameter at its bound is a finding, not a fault: a surface that is linear has no smooth deviation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def _left_out(process: Any) -> tuple[np.ndarray, np.ndarray]:
    """Errors and their expected squares for each point, from the others."""
    inverse = np.linalg.inv(process.L_ @ process.L_.T)
    return process.alpha_.ravel() / np.diag(inverse), 1 / np.diag(inverse)


@dataclass(frozen=True)
class Trees:
    """RegMix's regression: boosted trees on the weights of runs. See `fit_trees`."""

    seen: Observations
    target: np.ndarray
    booster: Any = field(repr=False)

    name = "RegMix (LightGBM)"

    def values(self, weights: np.ndarray) -> np.ndarray:
        return self.booster.predict(np.atleast_2d(weights))

    def predict(self, weights: np.ndarray, level: float = 0.95, runs: int | None = None) -> Estimate:
        """The value alone."""
        return Estimate(
            float(self.values(weights)[0]), len(self.seen.runs), level=level, why=f"{NO_BAR}: trees have none"
        )

    def left_out(self) -> np.ndarray:
        """From fits to four fifths of the arms, or without one where there are five or fewer."""
        arms = len(self.seen.runs)
        fold = np.random.default_rng(0).permutation(np.arange(arms) % FOLDS)
        means = np.bincount(self.seen.arms, self.target) / self.seen.runs
        errors = np.empty(arms)
        for part in np.unique(fold):
            kept = fold[self.seen.arms] != part
            booster = _boosted(self.seen.weights[kept], self.target[kept])
            errors[fold == part] = means[fold == part] - booster.predict(self.seen.mixtures[fold == part])
        return errors


def fit_trees(seen: Observations) -> Trees:
    """Fit to the outcomes of runs less the effects of their blocks."""
    target = seen.outcome - noise(seen).effects[seen.blocks]
    return Trees(seen, target, _boosted(seen.weights, target))


def _boosted(weights: np.ndarray, target: np.ndarray) -> Any:
    return lightgbm.LGBMRegressor(**REGMIX).fit(weights, target)

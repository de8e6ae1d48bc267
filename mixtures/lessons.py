"""What a study teaches: every model in one table, the one to believe, and a plain sentence of what can be said.

Models are ranked by their error for mixtures that were left out, beside two marks: the error of knowing nothing of the
mixture (the mean of the others) and the noise, below which no model can come. Models that cannot be fitted are rows
with the reason. Pure functions; the Gaussian process and the trees need the extra `study`, and are rows that say so
without it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from manifests.extras import is_installed, modules_of
from mixtures.surface import Effect, Observations, Polynomial, Surface, fit, noise

MODELS = ("linear", "log-linear", "quadratic", "Gaussian process", "RegMix (LightGBM)")
"""In this order in every table."""


@dataclass(frozen=True)
class Fitted:
    """A row of the table of models: the surface with its error for left-out mixtures, or the reason why there is none.

    `error` is the root mean square over mixtures of their mean outcome less the prediction without them; `rank` is
    Spearman's correlation of the two.
    """

    model: str
    surface: Any
    error: float | None
    rank: float | None
    why: str | None = None

    def row(self) -> dict[str, Any]:
        """As columns of a table."""
        return {"model": self.model, "error_left_out": self.error, "rank_correlation": self.rank, "note": self.why}


@dataclass(frozen=True)
class Lessons:
    """All models of one outcome, and the marks that their errors are to be read by: `nothing`, the error of predicting
    each mixture as the mean of the others, and `noise`, what repetitions of a mixture leave of uncertainty (None
    without repetitions)."""

    seen: Observations
    models: tuple[Fitted, ...]
    nothing: float
    noise: float | None

    @property
    def best(self) -> Fitted:
        """The simplest model with intervals whose error is within a twentieth of the smallest."""
        known = [one for one in self.models if one.error is not None and hasattr(one.surface, "covariance")]
        least = min(map(_error, known))
        return next(one for one in known if _error(one) <= 1.05 * least)

    @property
    def effects(self) -> list[Effect]:
        """Partial effects by the better of linear and quadratic: what a unit of each component's weight does."""
        known = [m for m in self.models if isinstance(m.surface, Polynomial) and m.model != "log-linear"]
        return min(known, key=_error).surface.effects()


def _error(fitted: Fitted) -> float:
    return math.inf if fitted.error is None else fitted.error


def learn(seen: Observations, seed: int = 0) -> Lessons:
    """Fit every model to the observations of one outcome. ValueError if it is the same for all mixtures."""
    found = noise(seen)
    if np.ptp(found.adjusted) <= 1e-12 * float(np.abs(seen.outcome).max()):
        raise ValueError("the outcome is the same for all mixtures, so there is nothing to learn from it")
    arms = len(seen.runs)
    nothing = float(np.sqrt(((found.adjusted - found.adjusted.mean()) ** 2).mean())) * arms / (arms - 1)
    repeated = found.degrees > 0
    floor = math.sqrt(float((found.variance / seen.runs)[repeated].mean())) if repeated.any() else None
    models = tuple(_fitted(name, seen, found.adjusted, seed) for name in MODELS)
    return Lessons(seen, models, nothing, floor)


def _fitted(name: str, seen: Observations, adjusted: np.ndarray, seed: int) -> Fitted:
    try:
        surface = _maker(name, seed)(seen)
    except ValueError as error:
        return Fitted(name, None, None, None, str(error))
    errors = surface.left_out()
    ranks = rankdata(adjusted), rankdata(adjusted - errors)
    rank = float(np.corrcoef(ranks)[0, 1]) if min(map(np.ptp, ranks)) > 0 else None
    return Fitted(name, surface, float(np.sqrt((errors**2).mean())), rank)


def _maker(name: str, seed: int) -> Callable[[Observations], Surface]:
    match name:
        case "linear" | "log-linear" | "quadratic":
            return lambda seen: fit(seen, name)
    if missing := [module for module in modules_of("study") if not is_installed(module)]:
        raise ValueError(f"needs {' and '.join(missing)}: pip install 'octothinker[study]'")
    from mixtures.learners import fit_process, fit_trees

    return (lambda seen: fit_process(seen, seed)) if name == "Gaussian process" else fit_trees


# -- in words --------------------------------------------------------------------------------------------------------


def said(lessons: Lessons, outcome: str) -> list[str]:
    """What can be said of the outcome, and what cannot, in plain sentences."""
    seen, best = lessons.seen, lessons.best
    many = f"{len(seen.runs)} mixtures, {len(seen.outcome)} runs, {seen.stems} stem{'s' * (seen.stems > 1)}"
    return [_skill(lessons, best, outcome, many), *_told(lessons.effects, outcome), *_limits(lessons)]


def _skill(lessons: Lessons, best: Fitted, outcome: str, many: str) -> str:
    measured = f"{best.model} predicts mixtures that it has not seen to ±{best.error:.3g}"
    without = f"the mean of the others to ±{lessons.nothing:.3g}"
    if _error(best) >= lessons.nothing:
        return f"No model predicts {outcome} of a new mixture better than the mean of the others ({many})."
    return f"{outcome}: {measured}, {without} ({many})."


def _told(effects: Sequence[Effect], outcome: str) -> list[str]:
    sure = [one for one in effects if one.p_holm is not None and one.p_holm < 0.05]
    rest = [one for one in effects if one not in sure]
    told = [
        f"More {one.component} {'raises' if (one.per_unit.value or 0) > 0 else 'lowers'} {outcome}: "
        f"{one.per_unit.value:+.3g} per unit of weight, 95% interval {one.per_unit.low:+.3g} to "
        f"{one.per_unit.high:+.3g}."
        for one in sure
    ]
    known = [one for one in rest if one.per_unit.low is not None and one.per_unit.high is not None]
    if known:
        names = ", ".join(one.component for one in known)
        widest = max(abs(end or 0.0) for one in known for end in (one.per_unit.low, one.per_unit.high))
        told.append(f"Of {names} nothing can be told at this power: effects up to ±{widest:.3g} per unit may be there.")
    fixed = [one.component for one in rest if one not in known]
    return [*told, *([f"{', '.join(fixed)} did not vary by itself: nothing can be said of it."] if fixed else [])]


def _limits(lessons: Lessons) -> list[str]:
    mixtures = lessons.seen.mixtures
    spans = zip(lessons.seen.names, mixtures.min(0), mixtures.max(0), strict=True)
    ranges = ", ".join(f"{name} {low:.2g} to {high:.2g}" for name, low, high in spans)
    told = [f"It holds for weights that were tried ({ranges}), and for this corpus, model size and recipe."]
    if lessons.noise is None:
        told.append("No mixture was repeated, so noise cannot be told from what the model misses.")
    if lessons.seen.stems == 1:
        told.append("All runs share one stem: how far another stem would change this cannot be said.")
    elif lessons.seen.blocks.max() == 0:
        told.append("The stems do not link the mixtures, so what a stem does counts as noise of its mixtures.")
    return told

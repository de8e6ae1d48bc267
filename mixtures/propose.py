"""What to try next: the mixture with the best predicted outcome, and those from which most would be learnt.

`best` looks for the highest prediction inside the caps, `most_informative` for the mixtures whose outcomes would lower
the variance of predictions over the whole allowed region most, one after the other. `regmix` is RegMix's way of
choosing, for comparison: the mean of the best of many random mixtures. Deterministic by seed. A proposal says what is
predicted of it, with intervals, so that it can be written down before the run. Leaves out fitting (`mixtures.surface`,
`mixtures.learners`).
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from scipy.optimize import minimize

from evaluation.estimates import Estimate
from mixtures.designs import Caps, candidates, dirichlet
from mixtures.surface import Surface

STARTS = 3
"""Best candidates from which the search goes uphill."""
REGMIX_DRAWS, REGMIX_BEST = 100_000, 128
"""As in RegMix: random mixtures that are judged, and how many of the best are averaged."""


class Uncertain(Surface, Protocol):
    """A surface that knows how far its predictions may be wrong."""

    def predict(self, weights: np.ndarray, level: float = 0.95, runs: int | None = None) -> Estimate: ...
    def covariance(self, weights: np.ndarray) -> np.ndarray: ...
    def run_variance(self, weights: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Proposal:
    """A mixture to run: its weights by component, why it, and the prediction of the mean of `runs` runs of it."""

    weights: dict[str, float]
    why: Literal["best predicted", "most informative"]
    runs: int
    predicted_80: Estimate
    predicted_95: Estimate


def propose(surface: Uncertain, inside: Caps, n: int, runs: int, seed: int = 0, highest: bool = True) -> list[Proposal]:
    """n mixtures: the best predicted one (the lowest unless `highest`), then the most informative ones."""
    chosen = [best(surface, inside, seed, highest), *most_informative(surface, inside, n - 1, runs, seed)][:n]
    return [
        _proposal(surface, w, "best predicted" if i == 0 else "most informative", runs) for i, w in enumerate(chosen)
    ]


def _proposal(
    surface: Uncertain, weights: np.ndarray, why: Literal["best predicted", "most informative"], runs: int
) -> Proposal:
    exact = np.where(weights < 1e-9, 0.0, weights)
    named = dict(zip(surface.seen.names, (exact / exact.sum()).tolist(), strict=True))
    return Proposal(named, why, runs, surface.predict(weights, 0.8, runs), surface.predict(weights, 0.95, runs))


def best(surface: Surface, inside: Caps, seed: int = 0, highest: bool = True) -> np.ndarray:
    """The mixture inside the caps of which most is predicted (least, unless `highest`): the best of the candidates,
    improved as long as it goes uphill."""
    points = candidates(inside, seed)
    sign = 1.0 if highest else -1.0
    values = sign * surface.values(points)
    found = [points[place] for place in np.argsort(-values, kind="stable")[:STARTS]]
    found += [climbed for start in found if (climbed := _uphill(surface, inside, start, sign)) is not None]
    return found[int(np.argmax(sign * surface.values(np.array(found))))]


def _uphill(surface: Surface, inside: Caps, start: np.ndarray, sign: float) -> np.ndarray | None:
    """Where sequential quadratic programming ends that begins at `start`; None if it leaves the caps."""
    found = minimize(
        lambda weights: -sign * float(surface.values(weights[None, :])[0]),
        start,
        method="SLSQP",
        bounds=list(zip(inside.low, inside.high, strict=True)),
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
        options={"maxiter": 100},
    )
    weights = np.clip(found.x, inside.low, inside.high)
    return weights if inside.hold(weights[None, :]) else None


def most_informative(surface: Uncertain, inside: Caps, n: int, runs: int, seed: int = 0) -> list[np.ndarray]:
    """n mixtures, each the one that lowers the summed variance of predictions over the region most, given those before
    (active learning after Cohn 1996). Mixtures that are very noisy teach little and are not chosen for that."""
    points = candidates(inside, seed)
    points = points[np.random.default_rng(seed).permutation(len(points))[:1024]]
    covariance, spread = surface.covariance(points), surface.run_variance(points) / runs
    chosen = []
    for _ in range(n):
        certain = np.maximum(np.diag(covariance) + spread, 1e-300)
        place = int(np.argmax((covariance**2).sum(0) / certain))
        covariance = covariance - np.outer(covariance[:, place], covariance[place]) / certain[place]
        chosen.append(points[place])
    return chosen


def regmix(surface: Surface, inside: Caps, centre: np.ndarray, seed: int = 0, highest: bool = True) -> np.ndarray:
    """RegMix's choice (Liu et al. 2024, arXiv 2407.01492): the mean of the best 128 of 100,000 mixtures that have the
    Dirichlet distribution of the natural proportions `centre`."""
    drawn = dirichlet(inside, REGMIX_DRAWS, seed, centre, 1.0)
    values = surface.values(drawn) * (1 if highest else -1)
    return drawn[np.argsort(-values, kind="stable")[:REGMIX_BEST]].mean(0)

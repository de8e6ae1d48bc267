"""Mixtures to try: points on the simplex of weights, inside caps, that are drawn or chosen for what they will teach.

`dirichlet` draws around a centre, `sobol` fills the allowed region evenly, `d_optimal` chooses the points from which
a model's coefficients will be known best. Every point has its weights inside the caps and sums to one; the same seed
gives the same design. Pure functions over arrays. Leaves out what a mixture is made of (`mixtures.plan`) and what is
learnt from the outcomes (`mixtures.surface`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, assert_never

import numpy as np
from scipy.special import betainc, betaincinv
from scipy.stats import qmc

from manifests.errors import UserError

Model = Literal["linear", "log-linear", "quadratic"]
"""Models with coefficients: what `terms` expands a mixture into."""

CANDIDATES = 2048
"""Points among which an optimum is looked for; a power of two, as Sobol's sequence wants."""


@dataclass(frozen=True)
class Caps:
    """The least and the largest weight of each component. Some weights that sum to one lie between them."""

    names: tuple[str, ...]
    low: np.ndarray
    high: np.ndarray

    def __post_init__(self) -> None:
        for name, low, high in zip(self.names, self.low, self.high, strict=True):
            if not 0 <= low <= high <= 1:
                raise UserError(f"{name}: no weight lies between {low:.4g} and {high:.4g}", "Widen its bounds")
        if self.low.sum() > 1 + 1e-9:
            raise UserError(f"the least weights sum to {self.low.sum():.4g}, more than 1", "Lower some of them")
        if self.high.sum() < 1 - 1e-9:
            bounds = ", ".join(f"{name} {high:.4g}" for name, high in zip(self.names, self.high, strict=True))
            raise UserError(
                f"the largest weights sum to {self.high.sum():.4g}, less than 1: {bounds}",
                "Raise max_epochs, lower the budget, or add a component",
            )

    def hold(self, weights: np.ndarray, tolerance: float = 1e-9) -> bool:
        """Whether every row of `weights` lies inside and sums to one."""
        inside = (weights >= self.low - tolerance) & (weights <= self.high + tolerance)
        return bool(inside.all() and np.allclose(weights.sum(-1), 1, rtol=0, atol=tolerance))


def caps(
    names: Sequence[str],
    bounds: Mapping[str, tuple[float, float]] | None = None,
    available: Mapping[str, float] | None = None,
    max_epochs: Mapping[str, float] | None = None,
    budget: float | None = None,
) -> Caps:
    """Caps from bounds by name and from epochs: weight × budget ≤ max_epochs × available tokens.

    UserError if no mixture meets them, with the sum that shows it.
    """
    limits = [(bounds or {}).get(name, (0.0, 1.0)) for name in names]
    high = [upper for _, upper in limits]
    if budget and available and max_epochs:
        most = (max_epochs[n] * available[n] / budget if n in max_epochs and n in available else 1.0 for n in names)
        high = [min(upper, each) for upper, each in zip(high, most, strict=True)]
    return Caps(tuple(names), np.array([lower for lower, _ in limits], dtype=float), np.array(high, dtype=float))


def terms(weights: np.ndarray, model: Model) -> np.ndarray:
    """The terms of a model for mixtures (rows): weights, and for the quadratic their products (Scheffé 1958).

    There is no constant, since weights sum to one. The log-linear model has the linear one's terms for the logarithm.
    """
    match model:
        case "linear" | "log-linear":
            return weights
        case "quadratic":
            pairs = list(combinations(range(weights.shape[-1]), 2))
            return np.concatenate([weights, np.stack([weights[..., i] * weights[..., j] for i, j in pairs], -1)], -1)
        case _:
            assert_never(model)


def dirichlet(inside: Caps, n: int, seed: int, centre: np.ndarray | None = None, strength: float = 0.0) -> np.ndarray:
    """n mixtures from a Dirichlet distribution cut to the caps.

    Its parameters are `strength` × `centre` (natural proportions, say), or all 1, the even distribution, without them.
    """
    even = np.ones(len(inside.names))
    alpha = even if centre is None or not strength else np.maximum(strength * np.asarray(centre), 1e-3)
    return _broken(np.random.default_rng(seed).random((n, len(even) - 1)), inside, alpha)


def sobol(inside: Caps, n: int, seed: int) -> np.ndarray:
    """n mixtures that fill the allowed region evenly: a scrambled Sobol sequence (Sobol 1967, Owen 1998)."""
    if len(inside.names) == 1:
        return np.ones((n, 1))
    power = max(0, int(np.ceil(np.log2(n))))
    drawn = qmc.Sobol(len(inside.names) - 1, rng=np.random.default_rng(seed)).random_base2(power)[:n]
    return _broken(drawn, inside, np.ones(len(inside.names)))


def _broken(uniform: np.ndarray, inside: Caps, alpha: np.ndarray) -> np.ndarray:
    """Points of the cube as mixtures, by breaking a stick: each weight is a share of what is left, Beta distributed.

    The share is cut to what the caps of this component and of all later ones allow, so every point is inside. Without
    caps the mixtures have exactly the Dirichlet distribution `alpha`.
    """
    weights = np.empty((len(uniform), len(alpha)))
    left = np.ones(len(uniform))
    for place in range(len(alpha) - 1):
        later_low, later_high = inside.low[place + 1 :].sum(), inside.high[place + 1 :].sum()
        least = np.clip(np.maximum(inside.low[place], left - later_high), 0, left)
        most = np.clip(np.minimum(inside.high[place], left - later_low), least, left)
        shape, whole = (alpha[place], alpha[place + 1 :].sum()), np.maximum(left, 1e-300)
        bounds = [betainc(*shape, np.clip(limit / whole, 0, 1)) for limit in (least, most)]
        share = betaincinv(*shape, bounds[0] + uniform[:, place] * (bounds[1] - bounds[0]))
        weights[:, place] = np.clip(share * left, least, most)
        left = left - weights[:, place]
    weights[:, -1] = np.clip(left, inside.low[-1], inside.high[-1])
    return weights


def corners(inside: Caps, n: int, seed: int) -> np.ndarray:
    """Up to n corners of the allowed region: as much as can be of the components in a random order."""
    generator = np.random.default_rng(seed)
    orders = [generator.permutation(len(inside.names)) for _ in range(4 * n)]
    return np.unique(np.round([_filled(inside, order) for order in orders], 12), axis=0)[:n]


def _filled(inside: Caps, order: np.ndarray) -> np.ndarray:
    """The mixture that has as much as it can of the first component of `order`, then of the second, and so on."""
    weights = inside.low.copy()
    for place in order:
        weights[place] += min(inside.high[place] - weights[place], 1 - weights.sum())
    return weights


def candidates(inside: Caps, seed: int) -> np.ndarray:
    """Points of the allowed region, evenly spread, with its corners and the middles between them."""
    extreme = corners(inside, 64, seed)
    middles = (extreme[:, None] + extreme[None]).reshape(-1, extreme.shape[1]) / 2
    chosen = np.random.default_rng(seed).permutation(len(middles))[:512]
    points = [extreme, extreme.mean(0, keepdims=True), middles[chosen], sobol(inside, CANDIDATES, seed)]
    _, first = np.unique(np.concatenate(points).round(9), axis=0, return_index=True)
    return np.concatenate(points)[np.sort(first)]


def d_optimal(inside: Caps, n: int, seed: int, model: Model) -> np.ndarray:
    """n mixtures from which the coefficients of `model` will be known best (largest determinant of information).

    Points are added where the prediction is least certain, then exchanged as long as that helps (Fedorov 1972), among
    `candidates`. No mixture comes twice: its repetitions are the stems.
    """
    points = candidates(inside, seed)
    rows = terms(points, model)
    if n > len(rows):
        raise ValueError(f"{n} mixtures out of {len(rows)} candidates")
    chosen: list[int] = []
    for _ in range(n):
        chosen.append(int(np.argmax(_gains(rows, chosen))))
    for _ in range(10):
        if not _exchange(rows, chosen):
            break
    return points[sorted(chosen)]


def _gains(rows: np.ndarray, chosen: list[int]) -> np.ndarray:
    """What each candidate would add to the information of the chosen ones: the variance of its prediction."""
    information = rows[chosen].T @ rows[chosen] + 1e-6 * np.eye(rows.shape[1])
    gains = ((rows @ np.linalg.inv(information)) * rows).sum(1)
    gains[chosen] = -np.inf
    return gains


def _exchange(rows: np.ndarray, chosen: list[int]) -> bool:
    """Replace each chosen point by a better one where there is one; whether any was replaced."""
    changed = False
    for place, point in enumerate(chosen):
        gains = _gains(rows, [*chosen[:place], *chosen[place + 1 :]])
        best = int(np.argmax(gains))
        if gains[best] > gains[point] * (1 + 1e-9) + 1e-12:
            chosen[place], changed = best, True
    return changed

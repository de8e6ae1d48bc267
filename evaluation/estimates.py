"""Honest numbers from samples: intervals for shares and means, and pass@k. Pure functions, seeded where they draw.

Leaves out tests between two runs.
"""

import math

import numpy as np

Z95 = 1.959963984540054
"""Two-sided 95% quantile of the normal distribution."""


def wilson(successes: int, trials: int, z: float = Z95) -> tuple[float, float]:
    """Score interval of a share of independent trials (Wilson 1927). Without trials nothing is known: (0, 1)."""
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials")
    if trials == 0:
        return 0.0, 1.0
    share, z2 = successes / trials, z * z
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = z / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return low, high


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Chance that at least one of k of `samples` responses, drawn without replacement, is correct: 1 - C(n-c,k)/C(n,k).

    The unbiased estimator of Chen et al. 2021 (arXiv 2107.03374), as a product that does not overflow.
    """
    if not (0 <= correct <= samples and 1 <= k <= samples):
        raise ValueError(f"pass@{k} of {correct} correct in {samples} samples")
    if samples - correct < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(samples - correct + 1, samples + 1))


def bootstrap(sums: np.ndarray, counts: np.ndarray, seed: int, draws: int = 2_000) -> tuple[float, float]:
    """95% percentile interval of a mean over clusters (items answered several times): whole clusters are redrawn.

    `sums` and `counts` are the total and the number of observations of each cluster; empty clusters do not matter.
    """
    held = counts > 0
    sums, counts = np.asarray(sums, dtype=np.float64)[held], np.asarray(counts, dtype=np.float64)[held]
    if not len(counts):
        raise ValueError("no observations")
    generator = np.random.default_rng(seed)
    means = np.empty(draws)
    for draw in range(draws):
        chosen = generator.integers(0, len(counts), len(counts))
        means[draw] = sums[chosen].sum() / counts[chosen].sum()
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)

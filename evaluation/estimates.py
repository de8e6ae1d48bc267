"""Honest numbers from samples: intervals for shares and means, pass@k and maj@k, differences of two runs.

Pure functions, seeded where they draw. Leaves out corrections for many comparisons at once.
"""

import math
from collections.abc import Hashable

import numpy as np
from scipy.stats import binomtest

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


def majority_at_k(answers: list[Hashable | None], correct: list[bool], k: int, seed: int, draws: int = 200) -> float:
    """Chance that the most frequent answer among k of the responses, drawn without replacement, is correct.

    None is a response without an answer: it is drawn but has no vote; without any vote the item is wrong. Answers that
    tie share the chance; one that is right in some of its responses is right in that share. For k equal to the number
    of responses it is exact, else the mean over `draws` drawings.
    """
    if not 1 <= k <= len(answers):
        raise ValueError(f"maj@{k} of {len(answers)} samples")
    names = {answer: place for place, answer in enumerate(dict.fromkeys(a for a in answers if a is not None))}
    votes = np.zeros((len(answers), len(names)))
    for line, answer in zip(votes, answers, strict=True):
        if answer is not None:
            line[names[answer]] = 1
    if not names:
        return 0.0
    right = np.array(correct, dtype=float) @ votes / votes.sum(0)
    if k == 1:
        return float((votes @ right).mean())
    generator = np.random.default_rng(seed)
    chosen = [generator.permutation(len(answers))[:k] for _ in range(1 if k == len(answers) else draws)]
    counts = votes[np.array(chosen)].sum(1)
    best = (counts == counts.max(1, keepdims=True)) & (counts > 0)
    return float((best @ right / np.maximum(best.sum(1), 1)).mean())


def paired(first: np.ndarray, second: np.ndarray, seed: int, draws: int = 2_000) -> tuple[float, float]:
    """95% percentile interval of the mean of second - first over items answered in both, items redrawn as pairs."""
    return bootstrap(np.asarray(second, dtype=np.float64) - np.asarray(first), np.ones(len(first)), seed, draws)


def sign_test(gained: int, lost: int) -> float:
    """Two-sided exact p-value of McNemar's test: of the items that flipped, half would be gained by chance."""
    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


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

"""The arithmetic of a mixture: weights, caps and a budget in, whole sequences per component out.

`solve` apportions by largest remainder, so that the budget is met exactly and every component is within one sequence of
its share. Promises: exact (fractions, no floats), pure (no store, no clock), and with errors that explain: when
weights, budget, `max_epochs` and `min_tokens` cannot all hold, the error names the components whose constraints
conflict and the nearest choices that were checked to be feasible. Leaves out redistribution: a share is as the recipe
gives it, or there is an error.

Every token is an input at most once per epoch and the last label of a sequence looks one token ahead, so n sequences of
S tokens need n·S + 1 ≤ max_epochs · tokens.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from manifests.errors import UserError
from mixtures.hold_out import HeldOut
from mixtures.order import MOST_SEQUENCES


@dataclass(frozen=True)
class Supply:
    """What a component offers and asks for. `tokens` include one EOS per document; None if the number is unknown.
    `size` is the origin of the numbers: counted, declared, known or unknown. `used` are sequences that an earlier part
    of the mixture has read; they count towards `max_epochs` and `min_tokens`.
    """

    name: str
    weight: float
    max_epochs: float
    documents: int | None
    tokens: int | None
    min_tokens: int = 0
    size: str = "counted"
    used: int = 0

    def most(self, length: int) -> int:
        """The most whole sequences of `length` tokens that `max_epochs` allows in addition to the used ones."""
        if self.tokens is None:
            return MOST_SEQUENCES
        return max(0, (math.floor(_exact(self.max_epochs) * self.tokens) - 1) // length - self.used)

    def least(self, length: int) -> int:
        """The fewest sequences that hold `min_tokens` together with the used ones."""
        return max(0, -(-self.min_tokens // length) - self.used)


@dataclass(frozen=True)
class Allotment:
    """What a component gets: whole sequences, and the tokens and shares that follow. `sequences` and `tokens` include
    the used ones; the shares refer to what is apportioned."""

    supply: Supply
    share_wanted: float
    share_possible: float
    share: float
    wanted: float
    sequences: int
    tokens: int

    @property
    def epochs(self) -> float | None:
        """How often its documents are read; None where its size is not known."""
        return None if self.supply.tokens is None else self.tokens / max(1, self.supply.tokens)


@dataclass(frozen=True)
class Plan:
    """An exact mixture: `sequences` of `sequence_length` tokens, apportioned, beside what is set aside. For prompts the
    length is 1."""

    sequences: int
    sequence_length: int
    allotments: tuple[Allotment, ...]
    held_out: HeldOut | None = None

    @property
    def tokens(self) -> int:
        return self.sequences * self.sequence_length

    def rows(self) -> list[dict[str, Any]]:
        """One row per component: what is available, what is wanted, what it gets."""
        return [
            {
                "component": part.supply.name,
                "size": part.supply.size,
                "documents": part.supply.documents,
                "available_tokens": part.supply.tokens,
                "share_wanted": round(part.share_wanted, 6),
                "share_possible": round(part.share_possible, 6),
                "share": round(part.share, 6),
                "wanted_tokens": round(part.wanted),
                "sequences": part.sequences,
                "tokens": part.tokens,
                "epochs": None if part.epochs is None else round(part.epochs, 4),
                "max_epochs": part.supply.max_epochs,
            }
            for part in self.allotments
        ]


def solve(supplies: Sequence[Supply], sequences: int, length: int) -> Plan:
    """The plan for `sequences` of `length` tokens in addition to the used ones. UserError names the conflict and
    feasible choices."""
    if sequences < 1:
        raise UserError(f"the budget holds no sequence of {length} tokens", "Raise the budget or shorten the sequences")
    if empty := [f"`{supply.name}`" for supply in supplies if 0 in (supply.documents, supply.tokens)]:
        raise UserError(f"{', '.join(empty)} selects no document", "Correct its `where` or leave it out")
    counts = _apportioned(supplies, sequences, length)
    if counts is None:
        raise _conflict(supplies, sequences, length)
    return allotted(supplies, counts, length)


def allotted(supplies: Sequence[Supply], counts: Sequence[int], length: int) -> Plan:
    """The plan that gives each component `counts[i]` sequences of `length` tokens in addition to the used ones."""
    n, parts = sum(counts), []
    for supply, share, count in zip(supplies, _shares(supplies), counts, strict=True):
        total, possible = supply.used + count, min(1.0, supply.most(length) / n)
        wanted = float(share * n * length)
        parts.append(Allotment(supply, float(share), possible, count / n, wanted, total, total * length))
    return Plan(n + sum(supply.used for supply in supplies), length, tuple(parts))


def apportion(weights: Sequence[Fraction], n: int, least: Sequence[int], most: Sequence[int]) -> list[int] | None:
    """`n` whole things by `weights`: each count is its quota rounded down or up and within [least, most].

    Hamilton's method of largest remainders; ties go to the earlier. Bounds change the rounding, never the quota; if
    that is not possible, the result is None.
    """
    total = sum(weights)
    quotas = [weight * n / total for weight in weights]
    low = [max(math.floor(quota), bound) for quota, bound in zip(quotas, least, strict=True)]
    high = [min(math.ceil(quota), bound) for quota, bound in zip(quotas, most, strict=True)]
    missing = n - sum(low)
    if any(a > b for a, b in zip(low, high, strict=True)) or missing < 0 or sum(high) < n:
        return None
    by_remainder = sorted(range(len(quotas)), key=lambda i: math.floor(quotas[i]) - quotas[i])
    for i in [i for i in by_remainder if low[i] < high[i]][:missing]:
        low[i] += 1
    return low


def _apportioned(supplies: Sequence[Supply], n: int, length: int) -> list[int] | None:
    least, most = ([bound(s, length) for s in supplies] for bound in (Supply.least, Supply.most))
    return apportion([_exact(supply.weight) for supply in supplies], n, least, most)


def _shares(supplies: Sequence[Supply]) -> list[Fraction]:
    weights = [_exact(supply.weight) for supply in supplies]
    return [weight / sum(weights) for weight in weights]


def _exact(number: float) -> Fraction:
    """The decimal fraction that was written: 0.1 is one tenth."""
    return Fraction(str(number))


# -- when it cannot be ---------------------------------------------------------------------------------------------


def _conflict(supplies: Sequence[Supply], n: int, length: int) -> UserError:
    """Which constraints conflict, and the nearest feasible choices, each checked by apportioning with it."""
    quotas = [share * n for share in _shares(supplies)]
    wrong = [_complaint(s, q, math.floor(q), math.ceil(q), n, length) for s, q in zip(supplies, quotas, strict=True)]
    if not any(wrong):  # each could have its share rounded down (or up), but not all of them at once
        wrong = [_complaint(s, q, q, q, n, length) for s, q in zip(supplies, quotas, strict=True)]
    choices = [
        _other_shares(supplies, n, length),
        _more_epochs(supplies, quotas, n, length),
        _smaller_minimum(supplies, quotas, n, length),
        _other_budget(supplies, n, length),
    ]
    offered = [choice for choice in choices if choice] or ["change weights, limits and budget together"]
    hint = ", or ".join(filter(None, [", ".join(offered[:-1]), offered[-1]]))
    return UserError("; ".join(filter(None, wrong)), hint[0].upper() + hint[1:])


def _complaint(supply: Supply, quota: Fraction, low: int | Fraction, high: int | Fraction, n: int, length: int) -> str:
    """Why a component cannot have `low` to `high` sequences; empty if it can."""
    most, least = supply.most(length), supply.least(length)
    wanted, tokens = f"{_percent(quota / n)} of {short(n * length)}", short(supply.tokens or 0)
    if least > most:
        return (
            f"`{supply.name}` has min_tokens {short(supply.min_tokens)}; {tokens} tokens and max_epochs "
            f"{supply.max_epochs:g} allow {short(most * length)}"
        )
    if least > high:
        gets = short(math.floor(low) * length)
        return f"`{supply.name}` has min_tokens {short(supply.min_tokens)}; {wanted} gives it {gets}"
    if most < low:
        needs = math.ceil(high) * length
        epochs = float(_three_digits(Fraction(needs + supply.used * length, supply.tokens or 1)))
        read = f" after {short(supply.used * length)} that were read" if supply.used else ""
        return (
            f"`{supply.name}` has {tokens} tokens; {wanted} needs {short(needs)}{read} = {epochs:g} epochs "
            f"> max_epochs {supply.max_epochs:g}"
        )
    return ""


def _other_shares(supplies: Sequence[Supply], n: int, length: int) -> str:
    """The nearest shares: those out of bounds at their bound, the rest by weight."""
    least, most = [s.least(length) for s in supplies], [s.most(length) for s in supplies]
    if not sum(least) <= n <= sum(most) or any(a > b for a, b in zip(least, most, strict=True)):
        return ""
    weights = _shares(supplies)
    fixed = _at_bounds(weights, n, least, most)
    for rounding in (round, math.floor, math.ceil):
        percents = {i: _three_digits(Fraction(100 * count, n), rounding) for i, count in fixed.items()}
        rest = Fraction(100 - sum(percents.values())) / (sum(w for i, w in enumerate(weights) if i not in fixed) or 1)
        tried = [percents[i] if i in percents else weight * rest for i, weight in enumerate(weights)]
        if all(share > 0 for share, weight in zip(tried, weights, strict=True) if weight) and apportion(
            tried, n, least, most
        ):
            shares = ", ".join(f"`{supplies[i].name}` to {float(percent):g}%" for i, percent in percents.items())
            return f"set the share of {shares} (the rest by weight)"
    return ""


def _at_bounds(weights: list[Fraction], n: int, least: list[int], most: list[int]) -> dict[int, int]:
    """Which components are at a bound, and with what count, when the others share the rest of `n` by weight.

    Each round fixes the side that is further out (as CSS lays out flexible boxes), so it ends after at most m rounds.
    """
    fixed: dict[int, int] = {}
    while free := [i for i, weight in enumerate(weights) if weight and i not in fixed]:
        scale = Fraction(n - sum(fixed.values())) / sum(weights[i] for i in free)
        over = {i: most[i] for i in free if weights[i] * scale > most[i]}
        under = {i: least[i] for i in free if weights[i] * scale < least[i]}
        excess = sum(weights[i] * scale - bound for i, bound in (over | under).items())
        if not over and not under:
            break
        fixed |= (over if excess >= 0 else {}) | (under if excess <= 0 else {})
    return fixed


def _more_epochs(supplies: Sequence[Supply], quotas: list[Fraction], n: int, length: int) -> str:
    """Raise max_epochs where it is too low; then, if rounding still conflicts, wherever a quota cannot be rounded
    up."""
    for rounding in (math.floor, math.ceil):
        raised = {
            i: replace(s, max_epochs=_epochs((max(math.ceil(q), s.least(length)) + s.used) * length + 1, s.tokens or 1))
            for i, (s, q) in enumerate(zip(supplies, quotas, strict=True))
            if s.most(length) < max(rounding(q), s.least(length))
        }
        if raised and _apportioned([raised.get(i, s) for i, s in enumerate(supplies)], n, length):
            return "raise max_epochs " + ", ".join(f"of `{s.name}` to {s.max_epochs:g}" for s in raised.values())
    return ""


def _epochs(needed: int, tokens: int) -> float:
    """Epochs that hold `needed` tokens, rounded up to a tenth, or to three digits from 100 on."""
    epochs = Fraction(needed, tokens)
    return math.ceil(epochs * 10) / 10 if epochs < 100 else float(_three_digits(epochs, math.ceil))


def _smaller_minimum(supplies: Sequence[Supply], quotas: list[Fraction], n: int, length: int) -> str:
    """Lower min_tokens where it is too high; then, if rounding still conflicts, wherever a quota cannot be rounded
    down."""
    for rounding in (math.ceil, math.floor):
        lowered = {
            i: replace(s, min_tokens=_rounded((min(math.floor(q), s.most(length)) + s.used) * length, math.floor))
            for i, (s, q) in enumerate(zip(supplies, quotas, strict=True))
            if s.least(length) > min(rounding(q), s.most(length))
        }
        if lowered and _apportioned([lowered.get(i, s) for i, s in enumerate(supplies)], n, length):
            return "lower min_tokens " + ", ".join(f"of `{s.name}` to {short(s.min_tokens)}" for s in lowered.values())
    return ""


def _other_budget(supplies: Sequence[Supply], n: int, length: int) -> str:
    """The nearest budget at which every share fits between its bounds."""
    shares = _shares(supplies)
    weighed = [(supply, share) for supply, share in zip(supplies, shares, strict=True) if share]
    highest = min(math.floor(supply.most(length) / share) for supply, share in weighed)
    lowest = max(math.ceil(supply.least(length) / share) for supply, share in weighed)
    if lowest > highest or highest < 1:
        return ""
    nearest, verb = (highest, "lower") if n > highest else (lowest, "raise")
    used = sum(supply.used for supply in supplies)
    for rounding in (round, math.floor, math.ceil):
        tokens = _rounded((nearest + used) * length, rounding)
        if tokens // length > used and _apportioned(supplies, tokens // length - used, length):
            return f"{verb} the budget to {short(tokens)}"
    return ""


# -- numbers as people write them ----------------------------------------------------------------------------------


def short(count: int, rounding: Callable[[Fraction], int] = round) -> str:
    """`count` to three digits with a suffix, as recipes take it: 1234567 is 1.23M."""
    rounded = _rounded(count, rounding)
    unit, suffix = next(((u, s) for u, s in _UNITS if rounded >= u), (1, ""))
    return f"{float(Fraction(rounded, unit)):g}{suffix}"


_UNITS = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"))


def _rounded(count: int, rounding: Callable[[Fraction], int]) -> int:
    return int(_three_digits(Fraction(count), rounding)) if count >= 1000 else count


def _three_digits(value: Fraction, rounding: Callable[[Fraction], int] = round) -> Fraction:
    """`value` to three significant digits."""
    if not value:
        return value
    unit = Fraction(10) ** (math.floor(math.log10(value)) - 2)
    return rounding(value / unit) * unit


def _percent(share: Fraction) -> str:
    return f"{float(_three_digits(100 * share)):g}%"

"""Two evaluations, item by item: the difference with its interval, and the items that flipped, by benchmark and level.

Only what both answered is compared, so the difference has less noise than the two scores: an item that both find hard
cancels out. An item's value is its share of right responses among those that got a ruling; it has flipped if it is more
than half right in one run and not in the other. The interval is by bootstrap over items, the p-value McNemar's over
flipped items. Raises UserError for runs that are no evaluations and for benchmarks of one name with other items. Leaves
out corrections for looking at many groups.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.estimates import paired, sign_test
from evaluation.grading.answers import Verdict
from manifests.errors import UserError
from manifests.manifest import resolve
from manifests.runs import RunDirectory

Row = dict[str, Any]
SEED = 0


@dataclass(frozen=True)
class Comparison:
    """One row per benchmark, per group of items within it, and per item that flipped."""

    benchmarks: list[Row]
    groups: list[Row]
    flips: list[Row]


def compare(first: RunDirectory, second: RunDirectory) -> Comparison:
    """How `second` differs from `first` on the items that both have answered."""
    shares = _shares(first), _shares(second)
    items = _items(first, second)
    pairs = [
        items.get(key, {}) | {"benchmark": key[0], "item_id": key[1], "first": shares[0][key], "second": shares[1][key]}
        for key in shares[0]
        if key in shares[1]
    ]
    if not pairs:
        raise UserError(f"{first.id} and {second.id} have no item in common", "Evaluate both on one benchmark")
    groups = [
        {"benchmark": name, "by": column, "group": value} | _difference(found)
        for column in ("level", "subject")
        for (name, value), found in _grouped(pairs, column).items()
    ]
    return Comparison(
        [{"benchmark": name} | _difference(found) for (name, _), found in _grouped(pairs, None).items()],
        groups,
        [_flipped(pair) for pair in pairs if (pair["first"] > 0.5) != (pair["second"] > 0.5)],
    )


def _shares(run: RunDirectory) -> dict[tuple[str, str], float]:
    """The share of right responses of every item, among those with a ruling."""
    samples = run.table("samples") if run.record["kind"] == "eval" else None
    if samples is None:
        raise UserError(f"{run.id} is no evaluation with samples", "See `octo runs list`; `octo eval` makes one")
    found: dict[tuple[str, str], list[bool]] = {}
    columns = (samples[name].to_pylist() for name in ("benchmark", "item_id", "verdict"))
    for benchmark, item, verdict in zip(*columns, strict=True):
        if verdict != Verdict.ERROR:
            found.setdefault((benchmark, item), []).append(verdict == Verdict.CORRECT)
    return {key: float(np.mean(values)) for key, values in found.items()}


def _items(first: RunDirectory, second: RunDirectory) -> dict[tuple[str, str], Row]:
    """Level, subject and question of the items of both."""
    manifests = [{m["id"]: m["ref"].split("@")[0] for m in run.record["manifests"]} for run in (first, second)]
    for manifest, name in manifests[1].items():
        if name in manifests[0].values() and manifest not in manifests[0]:
            raise UserError(f"the two runs have other items under the name {name}", "Evaluate both on one manifest")
    return {
        (row["benchmark"], row["item_id"]): {name: row[name] for name in ("level", "subject", "question")}
        for manifest in manifests[0]
        for row in resolve(first.store, manifest).read("items").to_pylist()
    }


def _grouped(pairs: list[Row], column: str | None) -> dict[tuple[str, str | None], list[Row]]:
    """Pairs by benchmark and the value of a column, where it has one."""
    found: dict[tuple[str, str | None], list[Row]] = {}
    for pair in pairs:
        value = pair.get(column) if column else None
        if column is None or value is not None:
            found.setdefault((pair["benchmark"], value), []).append(pair)
    return dict(sorted(found.items(), key=lambda entry: (entry[0][0], entry[0][1] or "")))


def _difference(pairs: list[Row]) -> Row:
    first, second = (np.array([pair[name] for pair in pairs]) for name in ("first", "second"))
    low, high = paired(first, second, SEED)
    gained = int(((first <= 0.5) & (second > 0.5)).sum())
    lost = int(((first > 0.5) & (second <= 0.5)).sum())
    return {
        "items": len(pairs),
        "first": float(first.mean()),
        "second": float(second.mean()),
        "difference": float((second - first).mean()),
        "low": low,
        "high": high,
        "gained": gained,
        "lost": lost,
        "p": sign_test(gained, lost),
    }


def _flipped(pair: Row) -> Row:
    return {
        "benchmark": pair["benchmark"],
        "item_id": pair["item_id"],
        "level": pair.get("level"),
        "flip": "gained" if pair["second"] > 0.5 else "lost",
        "question": " ".join((pair.get("question") or "").split())[:100],
    }

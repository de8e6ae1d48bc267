"""Scores of one benchmark from its samples: shares and means with 95% intervals, pass@k, maj@k.

Accuracy, reward, pass@k and maj@k are over all items and all of their responses: what could not be ruled on stays in
the denominator, for a score that it left would rise by it. The share of failures of the grader (ERROR) is the metric
`errors`: so much the score may lack. Beside `accuracy` stands `accuracy_without_leaked`, over the items that are not
known to have leaked into the model's training data (`evaluation.contamination`), and beside the score of few-shot
prompts that by the paper's harness, or under `protocol: paper` that by our rules.
Intervals: Wilson for a share of single answers, bootstrap over items where an item has several.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from evaluation.config import EvalRecipe
from evaluation.estimates import bootstrap, majority_at_k, pass_at_k, wilson
from evaluation.grading.answers import Grader, Verdict
from evaluation.grading.controls import TOO_HARD
from evaluation.grading.equality import normalise
from evaluation.grading.votes import merged

Row = dict[str, Any]
MEAN = "mean"
"""Stands for the benchmark in the row of the unweighted mean over all of them."""


def score(samples: pa.Table, leaks: Sequence[str], recipe: EvalRecipe, step: int, grader: Grader) -> list[Row]:
    """Every metric of one benchmark, from its rows of `samples`; leaks[i] is the status of the item of row i. `grader`
    says which answers are one vote of maj@k."""
    verdicts = np.array(samples["verdict"].to_pylist())
    items = np.unique(np.array(samples["item_id"].to_pylist()), return_inverse=True)[1]
    tokens = samples["tokens"].to_numpy()
    correct, everything = verdicts == Verdict.CORRECT, np.ones(len(verdicts), dtype=bool)
    rewards = np.nan_to_num(samples["reward"].to_numpy(zero_copy_only=False))
    rows = [
        _mean("accuracy", correct, everything, items, recipe),
        *_without_leaked(correct, items, np.array(leaks), recipe),
        *_other_protocol(samples, items, recipe),
        _mean("reward", rewards, everything, items, recipe),
        _mean("length", tokens, everything, items, recipe),
        _row("length_p95", float(np.quantile(tokens, 0.95)), None, len(tokens), "none"),
        _mean("truncated", samples["truncated"].to_numpy(zero_copy_only=False), everything, items, recipe),
        _mean("unparsed", verdicts == Verdict.UNPARSED, everything, items, recipe),
        _mean("errors", verdicts == Verdict.ERROR, everything, items, recipe),
        *_at_k(samples, correct, items, recipe, grader),
    ]
    return [row | {"step": step, "benchmark": samples["benchmark"][0].as_py()} for row in rows]


def average(rows: list[Row], step: int) -> list[Row]:
    """The unweighted mean of accuracy over benchmarks, with an interval from those of the benchmarks as independent."""
    means = []
    for metric in ("accuracy", "accuracy_without_leaked"):
        found = [row for row in rows if row["metric"] == metric and row["n"] and row["low"] is not None]
        if len(found) < 2 or len(found) < sum(row["metric"] == "accuracy" for row in rows):
            continue
        value = float(np.mean([row["value"] for row in found]))
        half = float(np.sqrt(sum(((row["high"] - row["low"]) / 2) ** 2 for row in found))) / len(found)
        interval = max(0.0, value - half), min(1.0, value + half)
        means.append(_row(metric, value, interval, len(found), "combined") | {"step": step, "benchmark": MEAN})
    return means


def _without_leaked(correct: np.ndarray, items: np.ndarray, leaks: np.ndarray, recipe: EvalRecipe) -> list[Row]:
    """The score on the items that are not known to have leaked, the share of those that have, and of those that nobody
    looked for. Where nobody looked for any, or every item has leaked, there is no such score."""
    if (leaks == "unknown").all():
        return []
    _, first = np.unique(items, return_index=True)
    each = leaks[first]
    shares = {"leaked": each == "leaked", "unchecked": each == "unchecked"}
    rows = [_row(name, float(found.mean()), None, len(each), "none") for name, found in shares.items()]
    if (each == "unchecked").all() or (each == "leaked").all():
        return rows
    return [_mean("accuracy_without_leaked", correct, leaks != "leaked", items, recipe), *rows]


def _other_protocol(samples: pa.Table, items: np.ndarray, recipe: EvalRecipe) -> list[Row]:
    """The accuracy by the other rules, where the paper's harness has the benchmark and the prompts are few-shot."""
    other = np.array([verdict or "" for verdict in samples["other_verdict"].to_pylist()])
    if not (other != "").all():
        return []
    name = "accuracy_corrected" if recipe.protocol == "paper" else "accuracy_paper_harness"
    return [_mean(name, other == Verdict.CORRECT, np.ones(len(other), dtype=bool), items, recipe)]


def _mean(metric: str, values: np.ndarray, counted: np.ndarray, items: np.ndarray, recipe: EvalRecipe) -> Row:
    """A mean over the counted responses, with Wilson's interval for a share of single answers, else by bootstrap."""
    n = int(counted.sum())
    if n == 0:
        return _row(metric, float("nan"), None, 0, "none")
    value = float(values[counted].mean())
    if values.dtype == bool and recipe.samples == 1:
        return _row(metric, value, wilson(int(values[counted].sum()), n), n, "wilson")
    sums = np.bincount(items[counted], weights=values[counted].astype(float))
    return _row(metric, value, bootstrap(sums, np.bincount(items[counted]), recipe.seed), n, "bootstrap")


def _at_k(samples: pa.Table, correct: np.ndarray, items: np.ndarray, recipe: EvalRecipe, grader: Grader) -> list[Row]:
    """pass@k and maj@k over all items."""
    if recipe.samples == 1 or not len(items):
        return []
    order = np.lexsort((samples["sample"].to_numpy(), items))
    groups = np.split(order, np.flatnonzero(np.diff(items[order])) + 1)
    votes = _heard(samples, _votes(samples, items, grader))
    rows = []
    for k in _ks(recipe):
        chances = [pass_at_k(len(group), int(correct[group].sum()), k) for group in groups]
        shares = [
            majority_at_k([votes[i] for i in group], [bool(correct[i]) for i in group], k, recipe.seed)
            for group in groups
        ]
        rows += [_at(f"pass@{k}", chances), _at(f"maj@{k}", shares)]
    return sorted(rows, key=lambda row: row["metric"].split("@")[0], reverse=True)


def _heard(samples: pa.Table, votes: list[str | None]) -> list[str | None]:
    """`votes`, but for what was not ruled on: an answer that is too hard votes for its text, a failure for nothing."""
    columns = (samples[name].to_pylist() for name in ("verdict", "reason", "extracted"))
    rows = zip(votes, *columns, strict=True)
    return [
        None if verdict == Verdict.ERROR else normalise(text or "") if (reason or "").startswith(TOO_HARD) else vote
        for vote, verdict, reason, text in rows
    ]


def _at(metric: str, values: list[float]) -> Row:
    interval = bootstrap(np.array(values), np.ones(len(values)), seed=0)
    return _row(metric, float(np.mean(values)), interval, len(values), "bootstrap")


def _ks(recipe: EvalRecipe) -> list[int]:
    powers = [2**power for power in range(recipe.samples.bit_length())]
    return sorted({k for k in recipe.pass_at or (*powers, recipe.samples) if k <= recipe.samples})


def _votes(samples: pa.Table, items: np.ndarray, grader: Grader) -> list[str | None]:
    """What each response votes for: its answer, or the equal one of the same item that stands for it."""
    answers = samples["extracted"].to_pylist()
    places = [np.flatnonzero(items == item) for item in np.unique(items)]
    votes: list[str | None] = [None] * len(answers)
    for group, found in zip(places, merged([[answers[i] for i in group] for group in places], grader), strict=True):
        for i, vote in zip(group, found, strict=True):
            votes[i] = vote
    return votes


def _row(metric: str, value: float, interval: tuple[float, float] | None, n: int, method: str) -> Row:
    low, high = interval or (None, None)
    return {"metric": metric, "value": value, "low": low, "high": high, "n": n, "method": method}

"""An RL run in the report, and a measurement of pass rates: curves over steps, alarms, validation, verdicts, and some
responses."""

from itertools import pairwise

from manifests.runs import RunDirectory
from octo.report import page
from octo.report.charts import (
    LAYER_POINTS,
    NAMED,
    POINTS,
    SHARE_FORMAT,
    curves,
    dotted,
    over_spans,
    over_steps,
    pictures,
)
from octo.report.columns import table_of
from octo.report.excerpts import SAMPLE_CHARS, SAMPLES, response
from octo.report.frame import Part, Report, Row
from octo.report.held_out import section
from octo.report.page import Html, element, fold, number, percent, real

RL_CURVES = {
    "reward": "Mean reward",
    "accuracy": "Accuracy",
    "length_mean": "Response length (tokens)",
    "truncated_share": "Truncated share",
    "entropy": "Entropy (nats per token)",
    "zero_spread_share": "Groups without spread of rewards",
    "repetition_share": "Responses that repeat themselves",
    "boxed_share": "Responses with a box",
    "kl_to_start": "Divergence from the start (nats per token)",
    "clip_share": "Tokens that the clip cut off",
}
RL_SHARES = ("accuracy", "truncated_share", "zero_spread_share", "repetition_share", "boxed_share", "clip_share")
BY_SOURCE = {
    "reward": ("Mean reward", None),
    "accuracy": ("Accuracy", SHARE_FORMAT),
    "length": ("Response length (tokens)", None),
    "truncated": ("Truncated share", SHARE_FORMAT),
}


def part(report: Report, run: RunDirectory) -> Part:
    """The part of a report about an RL run."""
    steps = curves(report.catalog, [run.id], (*RL_CURVES, "length_p95", "cap", "loss", "lr"))
    if not steps:
        return Part("No step has been recorded.", [])
    met = report.rows("FROM alarms WHERE run = $1 ORDER BY step, action", run.id)
    acted = [{"first": row["step"] + 1} for row in met if row["action"] != "warn"]
    grown = [{"first": new["step"]} for old, new in pairwise(steps) if old.get("cap") != new.get("cap")]
    marks = [*acted, *grown]
    lines = {key: {key: name} for key, name in RL_CURVES.items()}
    lines["length_mean"] = {"length_mean": "mean", "length_p95": "95th percentile", "cap": "cap"}
    charts = [
        over_steps(report, name, steps, lines[key], [{}, *marks], SHARE_FORMAT if key in RL_SHARES else None)
        for key, name in RL_CURVES.items()
    ]
    charts += [*_by_source(report, run, marks), _verdicts(report, run)]
    charts.append(over_steps(report, "Loss", steps, {"loss": "loss"}, []))
    shown = [*_alarms(report, met), pictures(charts), *_validations(report, run), *section(report, run)]
    return Part(_reinforced(report, run), [*shown, *_left_out(report, run), *_rollouts(report, run)])


def measurement(report: Report, run: RunDirectory) -> Part:
    """A measurement of pass rates: what the responses came to."""
    return Part(_reinforced(report, run), [pictures([_verdicts(report, run)]), *_rollouts(report, run)])


def _alarms(report: Report, met: list[Row]) -> list[Html | None]:
    """The alarms of the collapse watch, with their steps and actions."""
    if not met:
        return []
    note = "Dotted lines in the charts: the run stopped, fell back to a checkpoint, or allowed longer answers."
    columns = "step signal value above below steps action checkpoint"
    return [element("h3", "Collapse watch"), table_of(met, columns), element("p", note)]


_VALIDATED = """
SELECT benchmark, step, value FROM scores WHERE run = $1 AND metric = 'accuracy' ORDER BY benchmark, step
"""


def _validations(report: Report, run: RunDirectory) -> list[Html | None]:
    """Accuracy on each benchmark that the run was validated on, over its steps."""
    scored = report.rows(_VALIDATED, run.id)
    steps = sorted({row["step"] for row in scored})
    value = {(row["benchmark"], row["step"]): row["value"] for row in scored}
    lines = {row["benchmark"]: row["benchmark"] for row in scored}
    table = [{"step": step} | {name: value.get((name, step)) for name in lines} for step in steps]
    chart = over_steps(report, "Accuracy in validation", table, lines, [], SHARE_FORMAT)
    return [element("h3", "Validation"), pictures([chart])] if chart else []


def _left_out(report: Report, run: RunDirectory) -> list[Html | None]:
    """Prompts that were too long, and references that failed the grader's controls."""
    too_long, controls = run.record.get("too_long") or [], run.record.get("controls") or {"failed": []}
    found: list[Html | None] = []
    if too_long:
        limit = run.record["config"]["max_prompt_tokens"]
        heading = f"{number(len(too_long), 'prompt')} of more than {number(limit, 'token')} left out"
        found.append(fold(heading, [table_of(too_long, "prompt_id tokens")]))
    if controls["failed"]:
        heading = f"{len(controls['failed'])} of {controls['references']} references fail the grader's controls"
        found.append(fold(heading, [table_of(controls["failed"], "prompt_id reference control verdict reason")]))
    return found


_REWARD_ENDS = """
WITH mine AS (SELECT step, reward, (verdict = 'CORRECT')::INTEGER AS correct FROM rollouts WHERE run = $1),
marks AS (
  SELECT min(step) AS first, max(step) AS last, greatest((max(step) - min(step) + 1) // 10, 1) AS tenth FROM mine)
SELECT count(DISTINCT step) AS steps, count(*) AS responses,
  avg(reward) FILTER (step < first + tenth) AS reward_first, avg(reward) FILTER (step > last - tenth) AS reward_last,
  avg(correct) FILTER (step < first + tenth) AS accuracy_first,
  avg(correct) FILTER (step > last - tenth) AS accuracy_last
FROM mine, marks
"""


def _reinforced(report: Report, run: RunDirectory) -> str:
    """The lede of an RL run: the first and the last tenth of its steps."""
    (ends,) = report.rows(_REWARD_ENDS, run.id)
    lede = f"{number(ends['steps'], 'step')}, {number(ends['responses'], 'response')}"
    if ends["reward_first"] is None:
        return f"{lede}."
    return (
        f"{lede}; mean reward {real(ends['reward_first'])} → {real(ends['reward_last'])}, accuracy "
        f"{percent(ends['accuracy_first'])} → {percent(ends['accuracy_last'])} (first and last tenth of the steps)."
    )


_OF_LARGEST = """
FROM rollouts WHERE run = $1 AND source IN (
  SELECT source FROM rollouts WHERE run = $1 GROUP BY source ORDER BY count(*) DESC, source LIMIT $2)
"""
_MEANS = """
avg(reward) AS reward, avg((verdict = 'CORRECT')::INTEGER) AS accuracy, avg(tokens) AS length,
avg(truncated::INTEGER) AS truncated
"""
_BY_SOURCE = over_spans(_OF_LARGEST, _MEANS, POINTS, "source, ")


def _by_source(report: Report, run: RunDirectory, begins: list[Row]) -> list[Html | None]:
    """Reward, accuracy and length over steps, a line per source; with a single source only its reward."""
    found = report.rows(_BY_SOURCE, run.id, NAMED)
    names = list(dict.fromkeys(row["source"] for row in found))
    drawn = list(BY_SOURCE.items())[: None if len(names) > 1 else 1] if names else []
    shapes = dotted([row["first"] - 0.5 for row in begins])
    charts: list[Html | None] = []
    for key, (caption, ticks) in drawn:
        traces = []
        for name in names:
            mine = [row for row in found if row["source"] == name]
            traces.append(
                page.line(name, [row["step"] for row in mine], [row[key] for row in mine], report.sources[name])
            )
        layout = {"xaxis": {"title": {"text": "step"}}, "yaxis": {"tickformat": ticks}, "shapes": shapes}
        charts.append(report.page.chart(f"{caption} by source", traces, layout | {"showlegend": True}))
    return charts


_VERDICT_SHARES = ", ".join(f"avg((verdict = '{name}')::INTEGER) AS {name}" for name in page.VERDICTS)
_VERDICTS = over_spans("FROM rollouts WHERE run = $1", _VERDICT_SHARES, LAYER_POINTS)


def _verdicts(report: Report, run: RunDirectory) -> Html | None:
    found = report.rows(_VERDICTS, run.id)
    steps = [row["step"] for row in found]
    traces = [page.area(name, steps, [row[name] for row in found], colour) for name, colour in page.VERDICTS.items()]
    layout = {"xaxis": {"title": {"text": "step"}}, "yaxis": {"tickformat": ".0%", "range": [0, 1]}}
    return report.page.chart("Verdicts", traces, layout) if found else None


_ROLLOUTS = """
WITH mine AS (FROM rollouts WHERE run = $1), ends AS (SELECT min(step) AS first, max(step) AS last FROM mine)
SELECT step, source, left(prompt, $3) AS prompt, left(response, $3) AS response, length(response) AS whole, tokens,
  truncated, verdict, extracted, reason, reward
FROM mine, ends WHERE step IN (first, last)
QUALIFY row_number() OVER (PARTITION BY step, verdict ORDER BY prompt_id, sample) <= $2
ORDER BY step, verdict, prompt_id, sample
"""


def _rollouts(report: Report, run: RunDirectory) -> list[Html | None]:
    """A few responses of each verdict from the first and the last step."""
    shown: dict[int, list[Html]] = {}
    for row in report.rows(_ROLLOUTS, run.id, SAMPLES // 2, SAMPLE_CHARS):
        shown.setdefault(row["step"], []).append(response(row, f"{row['source']} · reward {real(row['reward'])}"))
    folds = [fold(f"Step {step}", responses) for step, responses in shown.items()]
    return [element("h3", "Responses, first and last step"), *folds] if folds else []

"""`octo report --compare`: several runs in one figure per benchmark, score and response length over their steps.

A point is an evaluation (`octo eval RUN --step N`) of a checkpoint. A line joins the points of one run that were
measured in the same way. It starts with the parent run, as step 0, if that was measured in the same way: a few-shot
score is never joined to a zero-shot one. The points are not smoothed. Leaves out what runs recorded during training:
see `octo.report.write`.
"""

import json
from pathlib import Path
from typing import Any

from evaluation.compare_groups import groups_of, way
from manifests.catalog import Catalog
from manifests.errors import UserError
from manifests.identity import json_digest
from manifests.runs import RunDirectory, load_run
from manifests.store import Store
from octo.report import page
from octo.report.compare_groups import groups_page
from octo.report.page import Column, Html, code, count, element, percent, real

Row = dict[str, Any]

_POINTS = """
SELECT r.run, r.parent, r.config, r.manifests, s.step, s.benchmark, s.metric, s.value, s.low, s.high
FROM runs r JOIN scores s USING (run)
WHERE r.kind = 'eval' AND r.status = 'done' AND s.metric IN ('accuracy', 'length') AND s.benchmark <> 'mean'
  AND list_contains($1, r.parent)
ORDER BY s.step, r.run
"""


def compare(store: Store, refs: list[str], path: Path | None = None) -> Path:
    """Write the page about the runs `refs` (train or RL; for an evaluation, the run that it measured), or about groups
    of runs (RUN,RUN or NAME=RUN,RUN), and return its path.

    Without `path` it is written to the store. UserError if one is not a run, or if none has an evaluation.
    """
    if any("," in ref or "=" in ref for ref in refs):
        found = groups_page(store, groups_of(store, refs))
        return page.save(found, store, f"compare-{json_digest(refs)[:12]}", path)
    runs = _measured(store, refs)
    with Catalog(store) as catalog:
        parents = {run.id: run.record["parent"] for run in runs}
        points = catalog.query(_POINTS, [[*parents, *filter(None, parents.values())]]).to_pylist()
    lines = {run.id: _lines(points, run) for run in runs}
    if not any(lines.values()):
        named = ", ".join(parents)
        raise UserError(f"there is no evaluation of {named}", "Make one: octo eval RUN --step N --suite indicators")
    return page.save(_page(lines), store, f"compare-{json_digest(list(lines))[:12]}", path)


def _measured(store: Store, refs: list[str]) -> list[RunDirectory]:
    """The runs, each once, with an evaluation replaced by the run that it measured."""
    found: dict[str, RunDirectory] = {}
    for ref in refs:
        run = load_run(store, ref)
        if run.record["kind"] == "eval":
            if not run.record["parent"]:
                raise UserError(f"{run.id} measured a folder, which has no steps", "Give runs")
            run = load_run(store, run.record["parent"])
        found[run.id] = run
    return list(found.values())


def _lines(points: list[Row], run: RunDirectory) -> dict[tuple[str, str], list[Row]]:
    """(benchmark, way of measuring) → its points, in order of steps; the run's start counts as step 0."""
    lines: dict[tuple[str, str], list[Row]] = {}
    for point in points:
        if point["parent"] == run.id:
            lines.setdefault((point["benchmark"], way(point)), []).append(point)
    for point in points:
        line = lines.get((point["benchmark"], way(point)))
        if point["parent"] == run.record["parent"] and line:
            line.append(point | {"step": 0})
    return {key: sorted(line, key=lambda point: point["step"]) for key, line in lines.items()}


def _page(lines: dict[str, dict[tuple[str, str], list[Row]]]) -> str:
    sheet = page.Page()
    names = sorted({benchmark for line in lines.values() for benchmark, _ in line})
    title = "Runs compared"
    body = [
        element(
            "header",
            element("p", "octothinker report", class_="eyebrow"),
            element("h1", title),
            element("p", "Score and response length over steps; bars are 95% intervals. Raw points, not smoothed."),
        ),
        *(_section(sheet, name, lines) for name in names),
    ]
    return sheet.render(f"{title} · octothinker", page.markup(body))


def _section(sheet: page.Page, benchmark: str, lines: dict[str, dict[tuple[str, str], list[Row]]]) -> Html:
    charts = [
        _chart(sheet, f"{benchmark}: {caption}", benchmark, metric, ticks, lines)
        for metric, caption, ticks in (("accuracy", "accuracy", ".0%"), ("length", "response length (tokens)", None))
    ]
    rows = [
        {
            "run": run,
            "template": json.loads(how)[0]["template"],
            "step": point["step"],
            "accuracy": point["value"],
            "low": point["low"],
            "high": point["high"],
            "length": next((p["value"] for p in points if p["metric"] == "length" and p["run"] == point["run"]), None),
        }
        for run, mine in lines.items()
        for (name, how), points in mine.items()
        if name == benchmark
        for point in points
        if point["metric"] == "accuracy"
    ]
    columns = (
        Column("run", "Run", code), Column("template", "Asked as"), Column("step", "Step", count),
        Column("accuracy", "Accuracy", percent), Column("low", "Low (95%)", percent),
        Column("high", "High (95%)", percent), Column("length", "Mean length", real),
    )  # fmt: skip
    pictures = element("div", charts, class_="pictures")
    return element("section", element("h2", benchmark), pictures, page.table(rows, *columns, caption="Points"))


def _chart(
    sheet: page.Page,
    caption: str,
    benchmark: str,
    metric: str,
    ticks: str | None,
    lines: dict[str, dict[tuple[str, str], list[Row]]],
) -> Html:
    traces = []
    for place, (run, mine) in enumerate(lines.items()):
        for (name, how), points in mine.items():
            found = [point for point in points if point["metric"] == metric]
            if name == benchmark and found:
                label = f"{run} · {json.loads(how)[0]['template']}"
                colour = page.COLOURS[place % len(page.COLOURS)]
                x, y = [point["step"] for point in found], [point["value"] for point in found]
                traces.append(page.line(label, x, y, colour, mode="lines+markers", error_y=_bars(found)))
    return sheet.chart(caption, traces, {"xaxis": {"title": {"text": "step"}}, "yaxis": {"tickformat": ticks}})


def _bars(points: list[Row]) -> Row:
    has = all(point["low"] is not None and point["high"] is not None for point in points)
    return {
        "type": "data",
        "visible": has,
        "array": [point["high"] - point["value"] for point in points] if has else [],
        "arrayminus": [point["value"] - point["low"] for point in points] if has else [],
    }

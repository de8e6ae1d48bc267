"""Evaluations in the report: scores with intervals, lengths, verdicts, responses; several side by side."""

import math

from manifests.runs import RunDirectory
from octo.report import page
from octo.report.charts import BINS, pictures
from octo.report.columns import column_of, table_of
from octo.report.excerpts import SAMPLE_CHARS, SAMPLES, response
from octo.report.frame import Part, Report, Row, noun
from octo.report.held_out import section
from octo.report.page import Column, Html, element, figure, fold, percent, real

SHARES = ("accuracy", "pass@", "maj@", "leaked", "unparsed", "truncated", "errors")
"""Metrics from 0 to 1, which one axis can hold."""


def part(report: Report, run: RunDirectory) -> Part:
    """The part of a report about an evaluation."""
    scores = report.rows("FROM scores WHERE run = $1 ORDER BY benchmark, metric", run.id)
    if not scores:
        held = section(report, run)
        return Part("Loss on texts that are not trained on." if held else "No score has been recorded.", held)
    told = [
        f"{row['benchmark']} {percent(row['value'])}" + (f" [{percent(row['low'])}, {percent(row['high'])}]" * has)
        for row in scores
        if row["metric"] == "accuracy"
        for has in [row["low"] is not None and row["high"] is not None]
    ]
    more = f" and {len(told) - 3} more" if len(told) > 3 else ""
    lede = f"Accuracy: {', '.join(told[:3])}{more}." if told else f"{len(scores)} scores."
    body = [
        _intervals(report, {run.id: scores}),
        pictures([_at_k(report, scores), *_lengths(report, run)]),
        table_of(scores, "benchmark metric value low high n method", "Scores"),
        _benchmark_verdicts(report, run),
        *_responses(report, run),
    ]
    return Part(lede, [element("h3", "Scores"), *body])


def _intervals(report: Report, scores: dict[str, list[Row]]) -> Html | None:
    """Shares of one or several evaluations with their intervals, one line per benchmark and metric."""
    traces = []
    for place, (run, rows) in enumerate(scores.items()):
        rows = [row for row in rows if row["metric"].startswith(SHARES) and row["n"]][::-1]
        labels = [f"{row['benchmark']} · {row['metric']}" for row in rows]
        traces.append(page.dots(report.title(run), rows, labels, page.COLOURS[place % len(page.COLOURS)]))
    lines = len({label for trace in traces for label in trace["y"]})
    layout = {
        "xaxis": {"tickformat": ".0%", "range": [-0.02, 1.02]},
        "yaxis": {"type": "category"},
        "hovermode": "closest",
        "scattermode": "group",
    }
    height = 5 + lines * (1.2 + 0.8 * len(traces))
    return report.page.chart("Shares with 95% intervals", traces, layout, height) if lines else None


def _at_k(report: Report, scores: list[Row]) -> Html | None:
    """pass@k and maj@k over k, a line per benchmark."""
    traces = []
    names = list(dict.fromkeys(row["benchmark"] for row in scores))
    for place, name in enumerate(names):
        for kind, dash in (("pass@", "solid"), ("maj@", "dot")):
            mine = [row for row in scores if row["benchmark"] == name and row["metric"].startswith(kind)]
            points = sorted((int(row["metric"].removeprefix(kind)), row["value"]) for row in mine)
            if len(points) > 1:
                k, value = map(list, zip(*points, strict=True))
                line = page.line(f"{name} · {kind}k", k, value, page.COLOURS[place % len(page.COLOURS)])
                traces.append(line | {"line": line["line"] | {"dash": dash}})
    layout = {
        "xaxis": {"type": "log", "dtick": math.log10(2), "title": {"text": "k"}},
        "yaxis": {"tickformat": ".0%"},
    }
    return report.page.chart("pass@k and maj@k", traces, layout | {"showlegend": True}) if traces else None


_LENGTHS = """
WITH mine AS (FROM samples WHERE run = $1),
span AS (SELECT benchmark, greatest(max(tokens) + 1, {bins}) / {bins}::DOUBLE AS width FROM mine GROUP BY benchmark)
SELECT benchmark, verdict = 'CORRECT' AS correct, floor(tokens / width)::BIGINT AS bin, any_value(width) AS width,
  count(*) AS n
FROM mine JOIN span USING (benchmark) GROUP BY ALL ORDER BY ALL
"""


def _lengths(report: Report, run: RunDirectory) -> list[Html | None]:
    """A histogram of response lengths per benchmark, right answers and others."""
    found: dict[str, list[Row]] = {}
    for row in report.rows(_LENGTHS.format(bins=BINS), run.id):
        found.setdefault(row["benchmark"], []).append(row)
    return [_length_histogram(report, name, rows) for name, rows in found.items()]


def _length_histogram(report: Report, name: str, rows: list[Row]) -> Html:
    width = rows[0]["width"]
    height = {(row["correct"], row["bin"]): row["n"] for row in rows}
    middles = [width * (place + 0.5) for place in range(BINS)]
    traces = [
        page.columns(label, middles, [height.get((right, place), 0) for place in range(BINS)], page.VERDICTS[verdict])
        for label, right, verdict in (("right", True, "CORRECT"), ("not right", False, "INCORRECT"))
    ]
    layout = {"barmode": "stack", "hovermode": "closest", "xaxis": {"title": {"text": "tokens of a response"}}}
    return report.page.chart(f"Length of responses, {name}", traces, layout)


_BENCHMARK_VERDICTS = """
SELECT benchmark, verdict, count(*) AS n FROM samples WHERE run = $1 GROUP BY ALL ORDER BY benchmark, verdict
"""


def _benchmark_verdicts(report: Report, run: RunDirectory) -> Html | None:
    bars: dict[str, list[page.Segment]] = {}
    for row in report.rows(_BENCHMARK_VERDICTS, run.id):
        bars.setdefault(row["benchmark"], []).append((row["verdict"], row["n"], page.VERDICTS[row["verdict"]]))
    return figure("Responses by verdict", page.bars(bars), page.legend(page.VERDICTS)) if bars else None


_RESPONSES = """
SELECT benchmark, item_id, IF(length(prompt) > $3, '… ' || right(prompt, $3), prompt) AS prompt,
  left(response, $3) AS response, length(response) AS whole, tokens, truncated, verdict, extracted, reason, reference
FROM samples WHERE run = $1
QUALIFY row_number() OVER (PARTITION BY benchmark, verdict ORDER BY item_id, sample) <= $2
ORDER BY benchmark, verdict, item_id, sample
"""


def _responses(report: Report, run: RunDirectory) -> list[Html | None]:
    """A few responses of each verdict, benchmark by benchmark."""
    shown: dict[str, list[Html]] = {}
    for row in report.rows(_RESPONSES, run.id, SAMPLES // 2, SAMPLE_CHARS):
        said = response(row, f"item {row['item_id']} · reference {row['reference']}")
        shown.setdefault(row["benchmark"], []).append(said)
    folds = [fold(f"{name} ({len(responses)} shown)", responses) for name, responses in shown.items()]
    return [element("h3", "Responses by verdict"), *folds] if folds else []


def comparison(report: Report) -> Html | None:
    """The evaluations of the page side by side, when there are several."""
    runs = [run.id for run in report.things if noun(run) == "evaluation"]
    sql = "FROM scores WHERE run = $1 ORDER BY benchmark, metric"
    scores = {run: rows for run in runs if (rows := report.rows(sql, run))}
    if len(scores) < 2:
        return None
    lines: dict[tuple[str, str], Row] = {}
    for run, found in scores.items():
        for score in found:
            name = {"benchmark": score["benchmark"], "metric": score["metric"]}
            lines.setdefault(tuple(name.values()), name | dict.fromkeys(scores))[run] = score["value"]
    columns = [Column(run, report.title(run), real) for run in scores]
    table = page.table(list(lines.values()), column_of("benchmark"), column_of("metric"), *columns)
    head = element("p", "comparison", class_="eyebrow"), element("h2", "Evaluations side by side")
    return element("section", *head, _intervals(report, scores), table, id="comparison")

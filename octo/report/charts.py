"""Charts that several kinds of things have: curves of runs, averaged where a run is long, and what their axes share."""

from manifests.runs import RunDirectory
from octo.report import page
from octo.report.frame import Report, Row
from octo.report.page import Html, element

POINTS = 600
"""Points of a curve at most; a longer run is averaged over equal spans of steps."""
LAYER_POINTS = 80
"""The same for stacked areas, in which the pattern of single steps would flicker."""
BINS = 40
"""Bars of a histogram."""
NAMED = 9
"""Sources with a layer of their own in one chart; the rest share one."""
OTHERS = "other sources"
SHARE_FORMAT = "~%"


def pictures(charts: list[Html | None]) -> Html:
    return element("div", charts, class_="pictures")


_CURVE = """
WITH mine AS (SELECT *, sum(tokens) OVER (ORDER BY step)::BIGINT AS read FROM steps WHERE run = $1),
span AS (SELECT greatest(ceil(max(step) / {points}), 1)::BIGINT AS width FROM mine)
SELECT max(step) AS step, max(read) AS read{means} FROM mine, span GROUP BY (step - 1) // width ORDER BY step
"""


def curve(report: Report, run: RunDirectory, *columns: str) -> list[Row]:
    """Rows (step, columns…) of `steps`, averaged over spans of steps when there are more than POINTS."""
    present = report.catalog.query("FROM steps LIMIT 0").column_names
    means = "".join(f', avg("{column}") AS "{column}"' for column in columns if column in present)
    return report.rows(_CURVE.format(means=means, points=POINTS), run.id)


def over_steps(
    report: Report,
    caption: str,
    steps: list[Row],
    lines: dict[str, str],
    stages: list[Row],
    ticks: str | None = None,
) -> Html | None:
    """A chart of some columns over steps; a dotted line where a stage begins."""
    x = [row["step"] for row in steps]
    drawn = [(key, name) for key, name in lines.items() if any(row.get(key) is not None for row in steps)]
    if not drawn:
        return None
    traces = [
        page.line(name, x, [row[key] for row in steps], page.COLOURS[place]) for place, (key, name) in enumerate(drawn)
    ]
    shapes = dotted([row["first"] - 0.5 for row in stages[1:]])
    layout = {"xaxis": {"title": {"text": "step"}}, "yaxis": {"tickformat": ticks}, "shapes": shapes}
    return report.page.chart(caption, traces, layout)


def dotted(places: list[float]) -> list[Row]:
    """Upright lines in a chart."""
    return [{"type": "line", "x0": at, "x1": at, "yref": "paper", "y0": 0, "y1": 1} for at in places]

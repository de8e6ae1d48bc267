"""Charts that several kinds share: curves of runs, averaged if a run is long, and their axes."""

from collections.abc import Iterable

from manifests.catalog import Catalog
from octo.report import page
from octo.report.frame import Report, Row
from octo.report.page import Html, element

POINTS = 600
"""Points of a curve at most; a longer run is averaged over equal spans of steps."""
LAYER_POINTS = 80
"""The same for stacked areas, in which single steps would be visual noise."""
BINS = 40
"""Bars of a histogram."""
NAMED = 9
"""Sources with their own layer in one chart; the rest share one."""
OTHERS = "other sources"
SHARE_FORMAT = "~%"


def pictures(charts: list[Html | None]) -> Html:
    return element("div", charts, class_="pictures")


def over_spans(mine: str, columns: str, points: int, keys: str = "") -> str:
    """SQL that sums up the rows of each run over equal spans of steps, at most `points` of them.

    `mine` selects the rows, with their `run` and `step`; `columns` are aggregates over a span. `keys` names further
    columns to group by, each with a comma behind it. The result has `span`, the number of the span, and `step`, its
    last step.
    """
    return f"""
WITH mine AS ({mine}),
width AS (SELECT run, greatest(ceil(max(step) / {points}), 1)::BIGINT AS steps FROM mine GROUP BY run)
SELECT run, {keys}(step - 1) // steps AS span, max(step) AS step, {columns}
FROM mine JOIN width USING (run) GROUP BY run, {keys}span ORDER BY ALL
"""


_STEPS = """
SELECT *, sum(tokens) OVER (PARTITION BY run ORDER BY step)::BIGINT AS read FROM steps WHERE list_contains($1, run)
"""


def curves(catalog: Catalog, runs: list[str], columns: Iterable[str]) -> list[Row]:
    """Rows (run, step, read, columns…) of `steps`, averaged over spans of steps when a run has more than POINTS.

    `read` is the number of tokens read up to the step. Columns that no run of the store has are left out.
    """
    present = catalog.query("FROM steps LIMIT 0").column_names
    means = "".join(f', avg("{column}") AS "{column}"' for column in columns if column in present)
    return catalog.query(over_spans(_STEPS, f"max(read) AS read{means}", POINTS), [runs]).to_pylist()


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

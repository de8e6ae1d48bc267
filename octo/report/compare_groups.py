"""`octo report --compare A,B,C D,E,F`: groups of runs in one figure per curve, mean and band per group, and the tables.

A group is written as for `octo runs compare`. A line is the mean over the runs of a group at each step, its band the
95% interval of that mean (Student's t), with the number of runs in the legend; where only one run has a value there is
a line and no band. Long curves are drawn by the means of equal spans of steps. Leaves out single runs over their steps
(`octo.report.compare_runs`).
"""

from collections.abc import Sequence
from typing import Any

from evaluation.compare_groups import Group, compare_groups
from evaluation.estimates import over_seeds
from manifests.catalog import Catalog
from manifests.errors import UserError
from manifests.store import Store
from octo.report import page
from octo.report.page import Column, Html, count, element, real

Row = dict[str, Any]

CURVES = {
    "reward": "Mean reward",
    "accuracy": "Accuracy of the responses of the step",
    "length_mean": "Response length (tokens)",
    "loss": "Loss",
}
POINTS = 200
"""Points of a line."""

_CURVE = """
SELECT run, least(floor((step - 1) / $2), $3) AS span, max(step) AS step, avg({column}) AS value
FROM steps WHERE list_contains($1, run) AND {column} IS NOT NULL AND NOT isnan({column})
GROUP BY run, span ORDER BY step
"""
_COLUMNS = "SELECT column_name FROM (DESCRIBE steps)"
_LENGTH = "SELECT max(step) AS steps FROM steps WHERE list_contains($1, run)"


def groups_page(store: Store, groups: Sequence[Group]) -> str:
    """The page about the groups. UserError if they have no outcome and no curve in common."""
    sheet = page.Page()
    with Catalog(store) as catalog:
        charts = _charts(sheet, catalog, groups)
    try:
        tables = _tables(compare_groups(store, groups))
    except UserError:
        if not charts:
            raise
        tables = []
    title = "Groups of runs compared"
    said = "Lines are means over the runs of a group, bands their 95% intervals; n is the number of runs."
    header = element(
        "header", element("p", "octothinker report", class_="eyebrow"), element("h1", title), element("p", said)
    )
    body = [header, *tables, element("section", element("h2", "Over steps"), element("div", charts, class_="pictures"))]
    return sheet.render(f"{title} · octothinker", page.markup(body if charts else body[:-1]))


def _tables(compared: Any) -> list[Html]:
    means = (
        Column("outcome", "Outcome"), Column("group", "Group"), Column("n", "n", count), Column("mean", "Mean", real),
        Column("low", "Low (95%)", real), Column("high", "High (95%)", real), Column("note", "Note"),
    )  # fmt: skip
    differences = (
        Column("outcome", "Outcome"), Column("first", "First"), Column("second", "Second"),
        Column("paired", "Within stems", lambda value: "yes" if value else "no"), Column("n", "n", count),
        Column("difference", "Second - first", real), Column("low", "Low (95%)", real),
        Column("high", "High (95%)", real), Column("p", "p", real), Column("p_holm", "p (Holm)", real),
        Column("note", "Note"),
    )  # fmt: skip
    return [
        element("section", element("h2", "Means"), page.table(compared.means, *means, caption="Means over runs")),
        element("section", element("h2", "Differences"),
                page.table(compared.differences, *differences, caption="Differences")),
    ]  # fmt: skip


def _charts(sheet: page.Page, catalog: Catalog, groups: Sequence[Group]) -> list[Html]:
    known = set(catalog.query(_COLUMNS)["column_name"].to_pylist())
    charts = []
    for column, caption in CURVES.items():
        curves = {group: _curve(catalog, group, column) for group in groups} if column in known else {}
        if sum(bool(curve) for curve in curves.values()) > 1:
            traces = [t for place, entry in enumerate(curves.items()) for t in _traces(*entry, place)]
            charts.append(sheet.chart(caption, traces, {"showlegend": True, "xaxis": {"title": {"text": "step"}}}))
    return charts


def _curve(catalog: Catalog, group: Group, column: str) -> list[Row]:
    """Step, mean, interval and n of a column of `steps` over the runs of a group."""
    ids = [run.id for run in group.runs]
    steps = catalog.query(_LENGTH, [ids])["steps"][0].as_py() or 0
    width = max(1, -(-steps // POINTS))
    found: dict[int, list[Row]] = {}
    for row in catalog.query(_CURVE.format(column=column), [ids, width, POINTS]).to_pylist():
        found.setdefault(row["span"], []).append(row)
    return [
        {"step": max(row["step"] for row in rows)} | over_seeds([row["value"] for row in rows]).row()
        for _, rows in sorted(found.items())
    ]


def _traces(group: Group, curve: list[Row], place: int) -> list[Row]:
    """The band, where there is one, and the line."""
    if not curve:
        return []
    colour = page.COLOURS[place % len(page.COLOURS)]
    least, most = (f(row["n"] for row in curve) for f in (min, max))
    name = f"{group.name} (n = {most})" if least == most else f"{group.name} (n = {least} to {most})"
    line = page.line(name, [row["step"] for row in curve], [row["value"] for row in curve], colour, legendgroup=name)
    known = [row for row in curve if row["low"] is not None]
    around = [row["step"] for row in known] + [row["step"] for row in reversed(known)]
    edges = [row["high"] for row in known] + [row["low"] for row in reversed(known)]
    band = {
        "type": "scatter", "mode": "lines", "name": f"{name}, 95% interval", "x": around, "y": edges, "fill": "toself",
        "fillcolor": f"{colour}33", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False, "legendgroup": name,
    }  # fmt: skip
    return [band, line] if known else [line]

"""A study in the report: outcomes of the arms with their intervals, claims, RL curves of all arms, and the surface.

Promises: every chart that averages over seeds says over how many and shows the interval; every cell is listed with the
runs and the mixture behind it. The page of a study that runs shows what is known so far. Leaves out the arithmetic: see
`octo.study.results`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from evaluation.estimates import over_seeds
from manifests.manifest import Manifest
from manifests.runs import RunDirectory
from octo.report import page
from octo.report.charts import SHARE_FORMAT, pictures
from octo.report.frame import Part, Report, Row
from octo.report.page import Column, Html, code, count, element, number, real
from octo.study.outcomes import is_share
from octo.study.results import Results, Snapshot, label, of_manifest, of_run, results
from octo.study.run import study_of

CURVES = {"reward": "Mean reward", "length_mean": "Response length (tokens)", "truncated_share": "Truncated share"}
LEGENDS = 12
"""Arms that have a line of their own; of more the curves are left out, and the table remains."""


def part(report: Report, thing: Manifest | RunDirectory) -> Part:
    """What the page says of a study: of its manifest, or of its run while it runs."""
    found = of_manifest(thing) if isinstance(thing, Manifest) else of_run(report.catalog, study_of(thing), thing)
    told = results(found)
    done = sum(cell["status"] == "done" for cell in found.cells)
    cells = f"{done} of {number(len(found.cells), 'cell')}"
    lede = f"{found.question} {number(len(found.arms), 'arm')} × {number(found.seeds, 'seed')}: {cells} complete."
    body = [
        element("h3", "Outcomes of the arms"),
        pictures([_means(report, found, told, outcome) for outcome in found.reported]),
        _arms(told),
        [element("p", line, class_="note") for line in told.lines],
        *_claims(told),
        *_curves(report, found),
        element("h3", "Outcome against outcome, and over the weights"),
        pictures([_scatter(report, found), _surface(report, found)]),
        element("h3", "Cells"),
        _cells(report, found),
    ]
    return Part(lede.strip(), body)


def _means(report: Report, found: Snapshot, told: Results, outcome: str) -> Html | None:
    """A dot for each arm with its interval."""
    means = [told.means[outcome][arm] for arm in found.arms]
    rows = [mean.row() for mean in means]
    kept = [(arm, row) for arm, row in zip(found.arms, rows, strict=True) if row["value"] is not None]
    trace = page.dots(outcome, [row for _, row in kept], [arm for arm, _ in kept], page.COLOURS[0])
    trace["text"] = [f"{row['n']} seeds" for _, row in kept]
    layout = {"yaxis": {"autorange": "reversed"}, "xaxis": {"tickformat": SHARE_FORMAT if is_share(outcome) else None}}
    caption = f"{outcome}: mean over seeds, 95% interval"
    return report.page.chart(caption, [trace], layout, height=6 + 1.6 * len(kept))


def _arms(told: Results) -> Html:
    columns = [Column(name, name.replace("_", " ")) for name in told.cells[0]]
    return page.table(told.cells, *columns, caption="Mean over seeds [95% interval]")


def _claims(told: Results) -> list[Html | None]:
    if not told.claims:
        return []
    columns = (
        Column("claim", "Claim"), Column("says", "Says"), Column("conclusion", "Conclusion"),
        Column("measure", "Measured as"), Column("value", "Estimate", real), Column("low", "Low", real),
        Column("high", "High", real), Column("n", "n", count), Column("p_holm", "p (Holm)", real),
        Column("note", "Note"),
    )  # fmt: skip
    caption = "Claims, with intervals that hold for all of them at once (95%)"
    return [element("h3", "Claims"), page.table(told.claims, *columns, caption=caption)]


def proposals(report: Report, manifest: Manifest) -> Part:
    """The mixtures that are proposed, and what is predicted of them."""
    rows = report.rows("FROM proposals WHERE manifest = $1 ORDER BY arm, component", manifest.id)
    predicted = list({row["arm"]: row for row in rows}.values())
    columns = [Column("arm", "Mixture"), Column("why", "Why"), Column("predicted", "Predicted", real)]
    columns += [Column(name, name.replace("_", " ") + "%", real) for name in ("low_80", "high_80", "low_95", "high_95")]
    weights = (Column("arm", "Mixture"), Column("component", "Component"), Column("weight", "Weight", real))
    lede = f"{number(len(predicted), 'mixture')} to run next, with predictions of {rows[0]['outcome']}."
    return Part(lede, [page.table(predicted, *columns), element("h3", "Weights"), page.table(rows, *weights)])


# -- curves of all arms ----------------------------------------------------------------------------------------------


_STEPS = """
SELECT run, step, {columns} FROM steps WHERE list_contains($1::VARCHAR[], run) ORDER BY run, step
"""


def _curves(report: Report, found: Snapshot) -> list[Html | None]:
    """RL curves: a line for the mean of each arm over seeds, and its 95% interval as a band."""
    arms = {cell["rl"]: label(cell["arm"], cell["branch"]) for cell in found.cells if cell["rl"]}
    present = [name for name in CURVES if name in report.catalog.query("FROM steps LIMIT 0").column_names]
    if not arms or not present or len(found.arms) > LEGENDS:
        return []
    rows = report.rows(_STEPS.format(columns=", ".join(present)), list(arms))
    charts = [_curve(report, name, [row | {"arm": arms[row["run"]]} for row in rows], found.arms) for name in present]
    return [element("h3", "RL of all arms: mean over seeds, band of 95%"), pictures(charts)]


def _curve(report: Report, name: str, rows: list[Row], arms: list[str]) -> Html | None:
    traces: list[Row] = []
    for place, arm in enumerate(arms):
        mine = [row for row in rows if row["arm"] == arm and row[name] is not None]
        if mine:
            traces += _band(arm, mine, name, page.COLOURS[place % len(page.COLOURS)])
    layout = {"xaxis": {"title": {"text": "RL step"}}, "showlegend": True}
    return report.page.chart(CURVES[name], traces, layout)


def _band(arm: str, rows: list[Row], name: str, colour: str) -> list[Row]:
    """The line of an arm, and the band around it where there are seeds enough for one."""
    by_step: dict[int, list[float]] = {}
    for row in rows:
        by_step.setdefault(row["step"], []).append(row[name])
    means = {step: over_seeds(values) for step, values in sorted(by_step.items())}
    if name.endswith("_share"):
        means = {step: mean.within(0, 1) for step, mean in means.items()}
    seeds = max(len(values) for values in by_step.values())
    line = page.line(f"{arm} (n = {seeds})", list(means), [mean.value for mean in means.values()], colour, mode="lines")
    line["legendgroup"] = arm
    known = [(step, mean.low, mean.high) for step, mean in means.items() if mean.low is not None]
    if len(known) < 2:
        return [line]
    steps, lows, highs = zip(*known, strict=True)
    band = {
        "type": "scatter", "mode": "lines", "name": f"{arm}, 95%", "x": [*steps, *reversed(steps)],
        "y": [*highs, *reversed(lows)], "fill": "toself", "fillcolor": f"{colour}22", "line": {"width": 0},
        "legendgroup": arm, "showlegend": False, "hoverinfo": "skip",
    }  # fmt: skip
    return [band, line]


# -- cells -----------------------------------------------------------------------------------------------------------


def _value(found: Snapshot, outcome: str) -> Callable[[Row], float | None]:
    known = {
        (row["arm"], row["branch"], row["seed"]): row["value"] for row in found.values if row["outcome"] == outcome
    }
    return lambda cell: known.get((cell["arm"], cell["branch"], cell["seed"]))


def _scatter(report: Report, found: Snapshot) -> Html | None:
    """The last outcome of every cell against the first one, or against held-out loss where the study has it."""
    names = list(dict.fromkeys(row["outcome"] for row in found.values))
    across = next((name for name in names if name.startswith("bits_per_byte")), found.reported[0])
    x, y = _value(found, across), _value(found, found.reported[-1])
    if across == found.reported[-1]:
        return None
    traces = []
    for place, arm in enumerate(found.arms):
        mine = [cell for cell in found.cells if label(cell["arm"], cell["branch"]) == arm and x(cell) is not None]
        traces.append(
            {
                "type": "scatter", "mode": "markers", "name": arm, "x": [x(cell) for cell in mine],
                "y": [y(cell) for cell in mine], "text": [f"seed {cell['seed']}, {cell['rl']}" for cell in mine],
                "marker": {"size": 9, "color": page.COLOURS[place % len(page.COLOURS)]},
            }
        )  # fmt: skip
    layout = {"xaxis": {"title": {"text": across}}, "yaxis": {"title": {"text": found.reported[-1]}}}
    return report.page.chart(f"{found.reported[-1]} against {across}, a point for each cell", traces, layout)


def _surface(report: Report, found: Snapshot) -> Html | None:
    """The last outcome over the weights: a ternary plot of the three components that differ most, or over one weight
    against another where there are two."""
    components = list(next(iter(found.weights.values())))
    table = np.array([[weights[name] for name in components] for weights in found.weights.values()])
    order = np.argsort(-table.std(0), kind="stable")
    moving = [components[place] for place in order if table[:, place].std() > 0][:3]
    value = _value(found, found.reported[-1])
    cells = [cell for cell in found.cells if value(cell) is not None]
    if len(moving) < 2 or not cells:
        return None
    points: Row = {
        "mode": "markers", "name": found.reported[-1],
        "text": [f"{cell['arm']}, seed {cell['seed']}" for cell in cells],
        "marker": {"size": 11, "color": [value(cell) for cell in cells], "colorscale": "Viridis", "showscale": True},
    }  # fmt: skip
    axes = [[found.weights[cell["arm"]][name] for cell in cells] for name in moving]
    if len(moving) == 2:
        points |= {"type": "scatter", "x": axes[0], "y": axes[1]}
        layout: Row = {"xaxis": {"title": {"text": moving[0]}}, "yaxis": {"title": {"text": moving[1]}}}
    else:
        points |= {"type": "scatterternary"} | dict(zip("abc", axes, strict=True))
        layout = {
            "ternary": {f"{axis}axis": {"title": {"text": name}} for axis, name in zip("abc", moving, strict=True)}
        }
    return report.page.chart(f"{found.reported[-1]} over the weights", [points], layout, height=28)


def _cells(report: Report, found: Snapshot) -> Html:
    """Every cell with what is behind it."""
    roles = ("mixture", "base", "loss", "before", "rl", "after")

    def linked(identity: Any) -> object:
        if identity is None:
            return "–"
        href = report.href(identity)
        return element("a", code(identity), href=href) if href else code(identity)

    values = {name: _value(found, name) for name in found.reported}
    rows = [
        {key: cell[key] for key in ("arm", "branch", "seed", "status")}
        | {name: value(cell) for name, value in values.items()}
        | {role: cell[role] for role in roles}
        for cell in found.cells
    ]
    columns = [Column("arm", "Arm"), Column("branch", "Branch"), Column("seed", "Seed"), Column("status", "Status")]
    columns += [Column(name, name.replace("_", " "), real) for name in found.reported]
    return page.table(rows, *columns, *(Column(role, role, linked) for role in roles), caption="Cells")

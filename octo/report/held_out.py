"""Held-out loss in the report: what a mixture sets aside, and the loss of a run on it over steps and by slice."""

from manifests.manifest import Manifest
from manifests.runs import RunDirectory
from octo.report import page
from octo.report.charts import NAMED, pictures
from octo.report.columns import table_of
from octo.report.frame import Report, Row
from octo.report.page import Html, element

TEXTS = {
    "held_out": "documents held out of {}",
    "documents": "documents of {}",
    "answers": "answers to {}",
    "solutions": "solutions of {}",
}
"""What was measured, in words; see `losses_held_out.texts`."""
_SET_ASIDE = """
SELECT source, role, count(*) AS set_aside, count_if(measured) AS measured,
  coalesce(sum(n_tokens) FILTER (measured), 0)::BIGINT AS tokens
FROM held_out WHERE manifest = $1 GROUP BY ALL ORDER BY ALL
"""
_ROWS = """
FROM losses_held_out WHERE run = $1 OR model = $1
QUALIFY row_number() OVER (PARTITION BY step, digest, texts, slice, name ORDER BY run = $1 DESC, run) = 1
ORDER BY manifest, texts, digest, list_position(['all', 'source', 'role', 'benchmark'], slice), name, step
"""
"""Of a run, and of evaluations of it; each step once, by the run itself where it has it."""


def set_aside(report: Report, manifest: Manifest) -> list[Html | None]:
    """What a mixture or a set of prompts holds out, by source."""
    rows = report.rows(_SET_ASIDE, manifest.id)
    return [element("h3", "Held out"), table_of(rows, "source role set_aside measured tokens")] if rows else []


def section(report: Report, run: RunDirectory) -> list[Html | None]:
    """The loss over steps, by source or benchmark, and bits per byte at the first and the last step of each slice."""
    rows = report.rows(_ROWS, run.id)
    if not rows:
        return []
    sets: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        sets.setdefault((row["manifest"], row["texts"], row["digest"]), []).append(row)
    charts = [_chart(report, mine) for mine in sets.values()]
    table = [line for mine in sets.values() for line in _lines(report, mine)]
    columns = (
        "measured_on slice of n_documents n_trained_on n_tokens n_bytes bits_first step bits_per_byte bits_error loss"
    )
    return [element("h3", "Held-out loss"), pictures(charts), table_of(table, columns, "At the last step measured")]


def named(report: Report, row: Row) -> str:
    """What a row was measured on."""
    return TEXTS[row["texts"]].format(report.title(row["manifest"]))


def _chart(report: Report, rows: list[Row]) -> Html | None:
    """Loss in nats per token over steps: all texts, and each source or benchmark; nothing for a single step."""
    if len({row["step"] for row in rows}) < 2:
        return None
    lines: dict[str, list[Row]] = {}
    for row in rows:
        if row["slice"] != "role":
            lines.setdefault(row["name"], []).append(row)
    if len(lines) == 2:  # one source alone is all
        del lines["all"]
    traces = []
    for name, mine in list(lines.items())[: NAMED + 1]:
        colour = page.COLOURS[0] if name == "all" else report.sources[name]
        dash = {"line": {"color": colour, "width": 2, "dash": "dot" if name == "all" else "solid"}}
        steps, losses = [row["step"] for row in mine], [row["loss"] for row in mine]
        traces.append(page.line(name, steps, losses, colour, **dash, error_y=_bars(mine)))
    caption = f"Loss on {named(report, rows[0])} (nats per token, with 95% intervals over documents)"
    return report.page.chart(caption, traces, {"xaxis": {"title": {"text": "step"}}, "showlegend": True})


def _bars(rows: list[Row]) -> Row:
    errors = [row["loss_error"] for row in rows]
    has = all(error is not None for error in errors) and len(errors) <= 60
    return {"type": "data", "visible": has, "array": [1.96 * error for error in errors] if has else []}


def _lines(report: Report, rows: list[Row]) -> list[Row]:
    """A row of the table for each slice."""
    slices: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        slices.setdefault((row["slice"], row["name"]), []).append(row)
    return [
        mine[-1]
        | {
            "measured_on": named(report, mine[-1]),
            "of": mine[-1]["name"],
            "bits_first": mine[0]["bits_per_byte"] if len(mine) > 1 else None,
            "bits_error": mine[-1]["bits_per_byte_error"],
        }
        for mine in slices.values()
    ]

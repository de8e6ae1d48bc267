"""A training run in the report: its curves over tokens, where the loss jumps, its stages, planned and achieved."""

import contextlib
from collections.abc import Sequence

from manifests.errors import UserError
from manifests.runs import RunDirectory
from octo.report import page
from octo.report.charts import LAYER_POINTS, NAMED, OTHERS, curves, dotted, over_spans, pictures
from octo.report.columns import table_of
from octo.report.frame import Part, Report, Row
from octo.report.held_out import section
from octo.report.page import Html, element, fold, number, real
from training.consumed import trace

SPIKES, READ, BEFORE = 20, 100, 20
"""How many spikes of the loss are shown, how many documents are listed for each, and how many steps before it are
averaged."""


_STAGES = """
SELECT stage, min(step) AS first, max(step) AS last, sum(tokens)::BIGINT AS tokens, sum(seconds) AS seconds,
  arg_min(loss, step) AS loss_first, arg_max(loss, step) AS loss_last,
  sum(sum(tokens)) OVER (ORDER BY min(step))::BIGINT AS read
FROM steps WHERE run = $1 GROUP BY stage ORDER BY first
"""


def part(report: Report, run: RunDirectory) -> Part:
    """The part of a report about a training run."""
    steps = curves(report.catalog, [run.id], ("loss", "lr", "grad_norm"))
    spikes = _spikes(report, run)
    stages = report.rows(_STAGES, run.id)
    if not steps:
        return Part("No step has been recorded.", [])
    tokens = sum(row["tokens"] for row in stages)
    lede = (
        f"{number(stages[-1]['last'], 'step')}, {number(tokens, 'token')}; "
        f"loss {real(stages[0]['loss_first'])} → {real(stages[-1]['loss_last'])}."
    )
    charts = [
        _over_tokens(report, "Loss", steps, "loss", stages, spikes),
        _over_tokens(report, "Learning rate", steps, "lr", stages),
        _over_tokens(report, "Gradient norm", steps, "grad_norm", stages),
        _consumed(report, run),
    ]
    jumps = _jumps(report, run, spikes)
    held = section(report, run)
    return Part(lede, [pictures(charts), *held, *jumps, *_stages(report, stages), *_achieved(report, run)])


def _over_tokens(
    report: Report, caption: str, steps: list[Row], column: str, stages: list[Row], marked: Sequence[Row] = ()
) -> Html:
    """A column of `steps` over the tokens read; a dotted line where a stage begins, a dot at each marked step."""
    traces = [
        page.line(name, [row["read"] for row in rows], [row[column] for row in rows], colour,
                  text=[f"step {row['step']}" for row in rows], **more)
        for name, rows, colour, more in (
            (caption, steps, page.COLOURS[0], {}), ("jumps", marked, page.WARM[0], {"mode": "markers"}))
        if rows
    ]  # fmt: skip
    shapes = dotted([stage["read"] for stage in stages[:-1]])
    return report.page.chart(caption, traces, {"xaxis": {"title": {"text": "tokens"}}, "shapes": shapes})


_SPIKES = f"""
WITH mine AS (
  SELECT step, loss, sum(tokens) OVER (ORDER BY step)::BIGINT AS read,
    avg(loss) OVER (ORDER BY step ROWS BETWEEN {BEFORE} PRECEDING AND 1 PRECEDING) AS before
  FROM steps WHERE run = $1)
FROM mine WHERE list_contains($2::BIGINT[], step) ORDER BY step
"""


def _spikes(report: Report, run: RunDirectory) -> list[Row]:
    """The steps whose loss jumps, as recorded at the end of the run; only the first if there are many."""
    found = (run.record.get("summary") or {}).get("spikes") or []
    return report.rows(_SPIKES, run.id, found[:SPIKES])


def _jumps(report: Report, run: RunDirectory, spikes: list[Row]) -> list[Html | None]:
    """Each jump with the documents that its step read."""
    if not spikes:
        return []
    shown = [_jump(report, run, row) for row in spikes]
    return [element("h3", "Where the loss jumps, and what was read there"), *shown]


def _jump(report: Report, run: RunDirectory, row: Row) -> Html:
    read: dict[str, Row] = {}
    with contextlib.suppress(UserError):  # the mixture may lie in another store
        found = trace(report.catalog.store, run, row["step"]).to_pylist()
        read = {span["doc_id"]: span for span in found}
    before = f"{real(row['before'])} in the {BEFORE} steps before"
    query = element("p", element("code", f"octo trace {run.id} --step {row['step']} --text"))
    documents = table_of(list(read.values())[:READ], "doc_id source component length")
    return fold(f"step {row['step']}: loss {real(row['loss'])}, {before}", documents, query)


def _stages(report: Report, stages: list[Row]) -> list[Html | None]:
    return [element("h3", "Stages"), table_of(stages, "stage first last tokens loss_first loss_last seconds")]


_LARGEST_SOURCES = """
SELECT source FROM consumption WHERE run = $1 GROUP BY source ORDER BY sum(tokens) DESC, source LIMIT $2
"""


_READ = f"""
SELECT run, step, tokens, if(list_contains($2::VARCHAR[], source), source, '{OTHERS}') AS source
FROM consumption WHERE run = $1
"""
_SHARES = f"""
WITH spans AS ({over_spans(_READ, "sum(tokens) AS tokens", LAYER_POINTS, "source, ")}),
ends AS (
  SELECT span, sum(tokens) AS whole, sum(sum(tokens)) OVER (ORDER BY span)::BIGINT AS read FROM spans GROUP BY span)
SELECT read, source, tokens / whole AS share FROM spans JOIN ends USING (span) ORDER BY ALL
"""


def _consumed(report: Report, run: RunDirectory) -> Html | None:
    """Share of each source in what was consumed, over tokens."""
    named = [row["source"] for row in report.rows(_LARGEST_SOURCES, run.id, NAMED)]
    found = report.rows(_SHARES, run.id, named)
    if not found:
        return None
    steps = sorted({row["read"] for row in found})
    share = {(row["source"], row["read"]): row["share"] for row in found}
    layers = [name for name in (*named, OTHERS) if any((name, step) in share for step in steps)]
    traces = [page.area(name, steps, [share.get((name, s), 0) for s in steps], report.sources[name]) for name in layers]
    layout = {"xaxis": {"title": {"text": "tokens"}}, "yaxis": {"tickformat": ".0%", "range": [0, 1]}}
    return report.page.chart("Tokens consumed, by source", traces, layout)


_ACHIEVED = """
WITH planned AS (
  SELECT component, sum(tokens)::BIGINT AS planned FROM components
  WHERE list_contains($2::VARCHAR[], manifest) GROUP BY component),
got AS (SELECT component, sum(tokens)::BIGINT AS achieved FROM consumption WHERE run = $1 GROUP BY component)
SELECT component, planned, achieved FROM planned FULL JOIN got USING (component) ORDER BY component
"""


_CONSUMED = """
SELECT source, component, sum(tokens)::BIGINT AS tokens, sum(tokens) / sum(sum(tokens)) OVER () AS share
FROM consumption WHERE run = $1 GROUP BY ALL ORDER BY tokens DESC, source, component LIMIT 100
"""


def _achieved(report: Report, run: RunDirectory) -> list[Html | None]:
    """Planned and achieved tokens of each component, and the tokens of each source."""
    manifests = [manifest["id"] for manifest in run.record["manifests"]]
    planned = (run.record.get("summary") or {}).get("planned_tokens")
    rows = report.rows(_ACHIEVED, run.id, manifests)
    for row in rows:
        row["planned"] = planned.get(row["component"], 0) if planned else row["planned"]
    whole, got = (sum(row[key] or 0 for row in rows) for key in ("planned", "achieved"))
    for row in rows:
        row |= {"planned_share": page.share(row["planned"], whole), "share": page.share(row["achieved"], got)}
    note = "" if planned else " (planned: the whole mixture)"
    return [
        element("h3", f"Planned and achieved{note}"),
        table_of(rows, "component planned achieved planned_share share"),
        table_of(report.rows(_CONSUMED, run.id), "source component tokens share", "What was consumed"),
    ]

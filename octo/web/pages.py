"""What the pages of `octo ui` show: rows of the catalog, and what training and mixtures know, as markup.

Promises. Every page is bounded: so many rows, so many characters of a text, so many points of a curve. Every string is
escaped (see `octo.report.page`). IDs of things and documents lead to their pages. Things are told of by
`octo.report`, word for word as in a report. Leaves out requests and limits, see `octo.web.server`; counting what a
search would find.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from manifests import tables
from manifests.catalog import LINEAGE, Catalog
from manifests.errors import UserError
from manifests.manifest import Manifest
from manifests.runs import UNDER_WAY, RunDirectory
from octo.report import page
from octo.report.charts import POINTS, SHARE_FORMAT
from octo.report.excerpts import response
from octo.report.frame import Report
from octo.report.kinds import part_of
from octo.report.page import Column, Html, element, facts, fold, void
from octo.report.rl_run import RL_CURVES, RL_SHARES
from octo.sql_reference import QUERIES

Row = dict[str, Any]
Thing = Manifest | RunDirectory

ROWS = 200
"""Rows of a table."""
CELL_CHARS = 300
TEXT_CHARS, RESPONSE_CHARS = 20_000, 3_000
"""Characters shown of a document, and of a response."""
FOUND = 50
"""Documents shown of a search."""
DRAWN = 60
"""Things in the picture of a whole store; it says nothing any more with many."""
COMPARED = 8
"""Runs in one chart."""

THING = re.compile(r"(corpus|mixture|prompts|benchmark|classifier|annotations|pass_rates|run)-[0-9a-f]{12}")
DOCUMENT = re.compile(r"[0-9a-f]{32}")
DOCUMENT_COLUMNS = ("doc_id", "cluster_id", "keeper_id", "document", "keeper", "source_document")
CURVES = {"loss": "Loss", "lr": "Learning rate", "grad_norm": "Gradient norm"} | RL_CURVES


@dataclass(frozen=True)
class Sheet:
    """A page: title, body, and charts by the name of their element."""

    title: str
    body: Html
    charts: dict[str, Row] = field(default_factory=dict)


# -- pieces ----------------------------------------------------------------------------------------------------------


def address(path: str, /, **parameters: Any) -> str:
    """`path` with a query string of the parameters that are not empty."""
    given = {key: value for key, value in parameters.items() if value not in (None, "", [])}
    return f"{path}?{urlencode(given, doseq=True)}" if given else path


def link(text: object, path: str, /, **parameters: Any) -> Html:
    return element("a", text, href=address(path, **parameters))


def grid(rows: Sequence[Row], caption: str = "") -> Html:
    """Rows of any query as a table; IDs lead to what they name."""
    columns = [Column(key, key, _writer(key)) for key in (rows[0] if rows else ())]
    return page.table(rows, *columns, caption=caption)


def _writer(column: str) -> page.Write:
    return lambda value: _cell(column, value)


def _cell(column: str, value: Any) -> object:
    """A value of a table, with a link where it is an ID; long text is cut."""
    match value:
        case Html():
            return value
        case None:
            return "–"
        case bool():
            return str(value).lower()
        case int():
            return page.count(value)
        case float():
            return page.real(value)
        case list():
            shown = [part for item in value[:20] for part in (_cell(column, item), ", ")][:-1]
            return [*shown, " …" if len(value) > 20 else ""]
    text = str(value)
    if THING.fullmatch(text):
        return link(element("code", text), f"/things/{text}")
    if column in DOCUMENT_COLUMNS and DOCUMENT.fullmatch(text):
        return link(element("code", text), f"/documents/{text}")
    return text if len(text) <= CELL_CHARS else f"{text[:CELL_CHARS]} …"


def more(rows: Sequence[Row], limit: int) -> Html | None:
    """Said below a table that was cut."""
    return element("p", f"The first {page.count(limit)} rows.", class_="note") if len(rows) > limit else None


def control(label: str, name: str, value: object, **attributes: object) -> Html:
    """A labelled field of a form."""
    return element("label", label, void("input", name=name, value=value, **attributes))


def choice(label: str, name: str, chosen: str, options: dict[str, str]) -> Html:
    """A labelled menu: value → what is shown."""
    shown = [
        element("option", text, value=value, selected="" if value == chosen else None)
        for value, text in options.items()
    ]
    return element("label", label, element("select", shown, name=name))


def form(path: str, *children: object, button: str) -> Html:
    return element("form", children, element("button", button), action=path, method="get", class_="ask")


def head(eyebrow: str, title: object, *children: object) -> Html:
    return element("header", element("p", eyebrow, class_="eyebrow"), element("h1", title), children)


# -- things ----------------------------------------------------------------------------------------------------------


class _Told(Report):
    """The report of things whose links lead to pages."""

    def href(self, identity: str) -> str | None:
        return f"/things/{identity}" if identity in self.refs or identity in self.runs else None

    def relations(self) -> list[Row]:
        """Ancestors and descendants; of no thing, all that the store holds."""
        if not self.things:
            return self.rows("SELECT child, parent FROM lineage ORDER BY ALL")
        return [row for thing in self.things for row in self.rows(LINEAGE, thing.id)]


def home(catalog: Catalog) -> Sheet:
    """Every manifest and run, and how they hang together."""
    told = _Told(catalog, [])
    manifests = told.rows(_MANIFESTS)
    runs = told.rows(_RUNS)
    damaged = f"Damaged records, left out: {', '.join(catalog.damaged)}" if catalog.damaged else None
    body = [
        head("store", catalog.store.url),
        element("p", damaged, class_="warning") if damaged else None,
        element("section", element("h2", "Manifests"), _manifests(manifests)),
        element("section", element("h2", "Runs"), _runs(told, runs)),
        element("section", told.lineage())
        if 0 < len(told.refs) + len(told.runs) <= DRAWN and told.relations()
        else None,
    ]
    return Sheet("Store", page.markup(body))


def _manifests(rows: list[Row]) -> Html:
    listed = [row | {"name": link(row["name"], f"/things/{row['name']}")} for row in rows]
    columns = [Column(key, key, _writer(key)) for key in ("name", "kind", "manifest", "rows")]
    return page.table(listed, *columns, Column("bytes", "size", page.size), Column("created", "created"))


def _runs(told: _Told, rows: list[Row]) -> Html:
    """The runs, with boxes to tick for a comparison where there are curves."""
    if not rows:
        return grid(rows)
    listed = [
        {
            "": _tick(row["run"]) if row["steps"] else None,
            "run": told.link(row["run"]),
            "kind": row["kind"],
            "status": element("span", row["status"], class_=f"badge {row['status']}"),
            "steps": row["steps"],
            "loss": row["loss"],
            "ID": row["run"],
            "created": row["created"],
        }
        for row in rows
    ]
    columns = [Column(key, key, _writer(key)) for key in listed[0]]
    return form("/compare", page.table(listed, *columns), button="Compare the ticked runs")


def _tick(run: str) -> Html:
    return void("input", type="checkbox", name="run", value=run, aria_label=f"compare {run}")


def thing(catalog: Catalog, of: Thing) -> Sheet:
    """One manifest or run, told as in its report, with ways to go on from it."""
    told = _Told(catalog, [of])
    try:
        section = told.section(of, part_of(told, of))
    except UserError as error:  # a store too large for the time a page has: what can be said without a query
        section = element("section", element("h2", told.title(of.id)), element("p", str(error), class_="warning"))
    lineage = element("section", told.lineage())
    return Sheet(told.title(of.id), page.markup([_ways_on(of), section, lineage]), told.page.charts)


def _ways_on(of: Thing) -> Html | None:
    if isinstance(of, RunDirectory):
        ways = {
            "train": [link("Step through it", f"/runs/{of.id}/steps/1"), link("Curves, live", "/compare", run=of.id)],
            "rl": [link("Step through it", f"/runs/{of.id}/steps/1"), link("Curves, live", "/compare", run=of.id)],
        }.get(of.record["kind"], [])
    else:
        ways = {
            "corpus": [link("Search its documents", "/documents", manifest=of.id)],
            "mixture": [link("Read its sequences", f"/mixtures/{of.id}/sequences/0")],
        }.get(of.kind, [])
    return element("p", [element("span", way) for way in ways], class_="ways") if ways else None


# -- documents -------------------------------------------------------------------------------------------------------


def search(catalog: Catalog, words: str, manifest: str | None, source: str, reason: str) -> Sheet:
    """Documents whose text holds every one of `words`, whatever their case; the first that are found.

    `manifest` is the ID of a corpus; None is the newest, and the empty string every one.
    """
    corpora = {row["manifest"]: row["ref"] for row in catalog.query(_CORPORA).to_pylist()}
    manifest = next(iter(corpora), "") if manifest is None else manifest
    options = {**corpora, "": "every corpus"}
    asked = form(
        "/documents",
        control("Words", "words", words, type="search", size=30, autofocus=""),
        choice("In", "manifest", manifest, options),
        control("Source", "source", source, size=14),
        control("Drop reason, or kept", "reason", reason, size=16),
        button="Search",
    )
    found = _search(catalog, words.split(), manifest, source, reason)
    note = f"The first {FOUND} that were found." if len(found) > FOUND else f"{page.number(len(found), 'document')}."
    body = [head("documents", "Search"), asked, element("p", note, class_="note"), *map(_hit, found[:FOUND])]
    return Sheet("Documents", page.markup(body))


def _search(catalog: Catalog, words: list[str], manifest: str, source: str, reason: str) -> list[Row]:
    """Rows for `_hit`, one more than are shown. `%` and `_` in a word stand for themselves."""
    parameters: list[Any] = [words[0] if words else ""]
    of_corpus = [("manifest = ?", manifest)]
    of_document = [*of_corpus, ("source = ?", source), ("coalesce(drop_reason, 'kept') = ?", reason)]
    patterns = ["%" + re.sub(r"([\\%_])", r"\\\1", word) + "%" for word in words]
    of_text = [*of_corpus, *(("text ILIKE ? ESCAPE '\\'", pattern) for pattern in patterns)]
    if not words:
        first = f"documents WHERE {_where(of_document, parameters)}"
    elif source or reason:
        first = f"texts SEMI JOIN (FROM documents WHERE {_where(of_document, parameters)}) USING (manifest, doc_id)"
        first += f" WHERE {_where(of_text, parameters)}"
    else:
        first = f"texts WHERE {_where(of_text, parameters)}"
    return catalog.query(_SEARCH.format(first=first, rows=FOUND + 1), parameters).to_pylist()


def _where(conditions: Sequence[tuple[str, str]], parameters: list[Any]) -> str:
    """The conditions that have a value, with that as a further parameter in place of `?`."""
    written = []
    for condition, value in conditions:
        if value:
            parameters.append(value)
            written.append(condition.replace("?", f"${len(parameters)}"))
    return " AND ".join(written) or "true"


def _hit(row: Row) -> Html:
    said = [row["source"], f"{page.count(row['n_tokens'])} tokens", row["drop_reason"] or "kept", row["manifest"]]
    title = element("p", link(element("code", row["doc_id"]), f"/documents/{row['doc_id']}"), " · ", " · ".join(said))
    return element("div", title, page.quotation(row["passage"].strip()), class_="sample")


LIFE = {
    "annotations": "What a language model said of it, or of the document that it was made from",
    "mixtures": "The sequences of mixtures that hold it",
    "steps": "The training steps that read it",
    "losses": "Its loss, where a run kept that",
    "prompts": "The prompts made of it",
    "rollouts": "The responses to them",
}
"""Headings for the parts of a document's life."""


def document(catalog: Catalog, doc_id: str, life: dict[str, list[Row]]) -> Sheet:
    """A document's text and life: what `octo why` tells, with the steps and sequences as links."""
    texts = catalog.query(_TEXT, [doc_id, TEXT_CHARS]).to_pylist()
    steps = [{"at": link("show", f"/runs/{row['run']}/steps/{row['step']}")} | row for row in life["steps"]]
    read = [
        {"at": link("show", f"/mixtures/{row['mixture']}/sequences/{row['sequence']}")} | row
        for row in life["mixtures"]
    ]
    parts = life | {"steps": steps, "mixtures": read}
    body = [
        head("document", element("code", doc_id)),
        *(element("section", _record(row)) for row in life["documents"]),
        *(element("section", element("h2", "Text"), page.quotation(row["text"], row["whole"])) for row in texts[:1]),
        *_copies(catalog, life["documents"]),
        *(
            element("section", element("h2", title), grid(parts[key][:ROWS]), more(parts[key], ROWS))
            for key, title in LIFE.items()
            if parts[key]
        ),
    ]
    absent = [title.lower() for key, title in LIFE.items() if not parts[key]]
    body += [element("p", f"None: {'; '.join(absent)}.", class_="note")] if absent else []
    return Sheet(f"Document {doc_id[:8]}", page.markup(body))


FIRST = ("source", "role", "url", "license", "n_tokens", "drop_evidence", "cluster_id", "keeper_id")
"""What is said of a document before it is asked for more."""


def _record(row: Row) -> Html:
    """What one corpus says of a document."""
    said = {key: _cell(key, value) for key, value in row.items() if value is not None}
    first = {key: said.pop(key) for key in FIRST if key in said}
    badge = element("span", row["drop_reason"] or "kept", class_=f"badge {'failed' if row['drop_reason'] else 'done'}")
    told = [element("h2", said["manifest"], " ", badge), facts(first)]
    rest = {key: value for key, value in said.items() if key not in ("manifest", "doc_id", "drop_reason", "text")}
    return page.markup([*told, fold("Scores, and where it lies", facts(rest))])


def _copies(catalog: Catalog, records: list[Row]) -> list[Html]:
    """The other documents of its clusters of near-duplicates."""
    clusters = {(row["manifest"], row["cluster_id"]) for row in records if row["cluster_id"]}
    found = [row for cluster in sorted(clusters) for row in catalog.query(_COPIES, [*cluster], ROWS).to_pylist()]
    return [element("section", element("h2", "Near-duplicates"), grid(found))] if found else []


# -- steps and sequences ---------------------------------------------------------------------------------------------


def _step_head(catalog: Catalog, run: RunDirectory, step: int) -> Html:
    """The head of the page of one step: where it stands among the others, and its numbers."""
    last = catalog.query("SELECT max(step) AS last FROM steps WHERE run = $1", [run.id])["last"][0].as_py() or 0
    rows = catalog.query(
        "SELECT * EXCLUDE (run, step) FROM steps WHERE run = $1 AND step = $2", [run.id, step]
    ).to_pylist()
    numbers = {key: _cell(key, value) for row in rows for key, value in row.items() if value is not None}
    ways = _neighbours(step, 1, last, f"/runs/{run.id}/steps")
    goto = form(f"/runs/{run.id}/steps", control("Step", "step", step, type="number", min=1, max=last), button="Go")
    return page.markup([head(f"step {step} of {last}", link(run.id, f"/things/{run.id}")), ways, goto, facts(numbers)])


def _neighbours(at: int, first: int, last: int, path: str) -> Html:
    before = link("← before", f"{path}/{at - 1}") if at > first else None
    after = link("next →", f"{path}/{at + 1}") if at < last else None
    return element("p", [element("span", way) for way in (before, after) if way], class_="ways")


def training_step(catalog: Catalog, run: RunDirectory, step: int, spans: list[Row], text: bool) -> Sheet:
    """What a step of training read: shares, and documents span by span."""
    top = _step_head(catalog, run, step)
    used = catalog.query(_CONSUMED, [run.id, step]).to_pylist()
    toggle = link("Without text" if text else "With text", f"/runs/{run.id}/steps/{step}", text=None if text else "1")
    body = [
        top,
        element("section", element("h2", "Consumed"), grid(used)),
        element("section", element("h2", "Documents, in reading order"), element("p", toggle), *_spans(spans)),
    ]
    return Sheet(f"{run.id}, step {step}", page.markup(body))


def _spans(spans: list[Row]) -> list[Html | None]:
    """Spans of documents; with text, one after the other as the model reads them."""
    shown = [{key: value for key, value in row.items() if key not in ("text", "scores")} for row in spans[:ROWS]]
    if not spans or "text" not in spans[0]:
        return [grid(shown), more(spans, ROWS)]
    read = [
        element(
            "div",
            element("p", link(element("code", row["doc_id"]), f"/documents/{row['doc_id']}"), _said(row)),
            page.quotation(row["text"][:TEXT_CHARS]),
            class_="sample",
        )
        for row in spans[:ROWS]
    ]
    return [*read, more(spans, ROWS)]


def _said(row: Row) -> str:
    return (
        f" · sequence {row['sequence']} · {row['component']} · {row['source']} · epoch {row['epoch']} · "
        f"tokens {row['start']} to {row['start'] + row['length']}"
    )


def rl_step(catalog: Catalog, run: RunDirectory, step: int) -> Sheet:
    """The prompts and responses of a step of RL."""
    top = _step_head(catalog, run, step)
    rows = catalog.query(_ROLLOUTS, [run.id, step, RESPONSE_CHARS], ROWS + 1).to_pylist()
    groups: dict[str, list[Row]] = {}
    for row in rows[:ROWS]:
        groups.setdefault(row["prompt_id"], []).append(row)
    shown = [
        fold(
            [f"{page.number(len(found), 'response')}, mean reward {page.real(_mean(found))} · ", _question(found[0])],
            [response(row, f"reward {page.real(row['reward'])}") for row in found],
        )
        for found in groups.values()
    ]
    body = [top, element("section", element("h2", "Responses, prompt by prompt"), shown, more(rows, ROWS))]
    return Sheet(f"{run.id}, step {step}", page.markup(body))


def _mean(rows: list[Row]) -> float | None:
    rewards = [row["reward"] for row in rows if row["reward"] is not None]
    return sum(rewards) / len(rewards) if rewards else None


def _question(row: Row) -> Html:
    return link(element("code", row["prompt_id"]), f"/documents/{row['doc_id']}")


def sequence(mixture: Manifest, number: int, last: int, spans: list[Row]) -> Sheet:
    """What one sequence of a mixture holds, as the model reads it."""
    path = f"/mixtures/{mixture.id}/sequences"
    goto = form(path, control("Sequence", "sequence", number, type="number", min=0, max=last), button="Go")
    top = head(f"sequence {number} of 0 to {last}", link(mixture.ref, f"/things/{mixture.id}"))
    body = [top, _neighbours(number, 0, last, path), goto, element("section", *_spans(spans))]
    return Sheet(f"{mixture.ref}, sequence {number}", page.markup(body))


# -- SQL -------------------------------------------------------------------------------------------------------------


def sql(catalog: Catalog, query: str) -> Sheet:
    """A query, what it gives or why it does not, queries to begin with, and the columns of every view."""
    asked = form("/sql", element("textarea", f"\n{query}", name="query", rows=8, spellcheck="false"), button="Run")
    saved = [element("li", link(question, "/sql", query=text.strip())) for question, text in QUERIES.items()]
    body = [
        head("read-only", "SQL"),
        asked,
        _answer(catalog, query) if query.strip() else None,
        element("section", element("h2", "Queries to begin with"), element("ul", saved)),
        element("section", element("h2", "Views"), [_view(spec) for spec in tables.VIEWS]),
    ]
    return Sheet("SQL", page.markup(body))


def _answer(catalog: Catalog, query: str) -> Html:
    try:
        found = catalog.query(query, rows=ROWS + 1)
    except UserError as error:
        return element("p", str(error), class_="warning")
    rows = found.slice(0, ROWS).to_pylist()
    note = f"The first {ROWS} rows." if found.num_rows > ROWS else f"{page.number(found.num_rows, 'row')}."
    return element("section", element("p", note, class_="note"), grid(rows, "Answer"))


def _view(spec: tables.TableSpec) -> Html:
    rows = [{"column": column, "meaning": meaning} for column, meaning in spec.docs.items()]
    return fold([element("code", spec.name), f" {spec.meaning}"], grid(rows))


# -- comparison ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """Curves of runs as they are now: the sheet, and what a page that shows it asks for again while `live`."""

    sheet: Sheet
    table: Html
    live: bool


def compare(catalog: Catalog, runs: list[RunDirectory], over: str) -> Comparison:
    """Curves of several runs over steps or over tokens, averaged over spans of steps where a run is long."""
    sheet, told = page.Page(), _Told(catalog, list(runs))
    present = catalog.query("FROM steps LIMIT 0").column_names
    means = "".join(f', avg("{name}") AS "{name}"' for name in CURVES if name in present)
    rows = catalog.query(_CURVES.format(means=means, points=POINTS), [[run.id for run in runs]]).to_pylist()
    charts = [_curve(sheet, name, rows, runs, over) for name in CURVES if name in present]
    table = _now(told, runs, rows)
    live = any(run.status in UNDER_WAY for run in runs)
    ids = [run.id for run in runs]
    other, text = ("tokens", "Over tokens") if over == "step" else ("step", "Over steps")
    ways = element("p", element("span", link(text, "/compare", run=ids, over=other)), class_="ways")
    status = element("p", "live" if live else "", class_="note", id="status", role="status")
    source = address("/compare.json", run=ids, over=over)
    state = {"data_live": source if live else None, "data_charts": len(sheet.charts), "id": "comparison"}
    drawn = element("section", element("div", table, id="now"), element("div", charts, class_="pictures"), **state)
    body = [head("comparison", "Runs side by side"), ways, status, drawn]
    return Comparison(Sheet("Comparison", page.markup(body), sheet.charts), table, live)


def _curve(sheet: page.Page, name: str, rows: list[Row], runs: list[RunDirectory], over: str) -> Html | None:
    traces = []
    for place, run in enumerate(runs):
        mine = [row for row in rows if row["run"] == run.id and row[name] is not None]
        if mine:
            x, y = [row[over] for row in mine], [row[name] for row in mine]
            traces.append(page.line(run.id, x, y, page.COLOURS[place % len(page.COLOURS)]))
    ticks = SHARE_FORMAT if name in RL_SHARES else None
    layout = {"xaxis": {"title": {"text": over}}, "yaxis": {"tickformat": ticks}}
    return sheet.chart(CURVES[name], traces, layout) if traces else None


def _now(told: _Told, runs: list[RunDirectory], rows: list[Row]) -> Html:
    """Where each run stands."""
    last = {row["run"]: row for row in rows}
    listed = [
        {
            "run": told.link(run.id),
            "ID": run.id,
            "status": element("span", run.status, class_=f"badge {run.status}"),
            **{key: last.get(run.id, {}).get(key) for key in ("step", "tokens", "loss")},
        }
        for run in runs
    ]
    return grid(listed, "Now")


# -- queries ---------------------------------------------------------------------------------------------------------

_MANIFESTS = """
SELECT name || '@' || version AS name, kind, manifest, rows, bytes, replace(left(created, 16), 'T', ' ') AS created
FROM manifests ORDER BY created, name
"""
_RUNS = """
SELECT run, kind, status, steps, loss, replace(left(created, 16), 'T', ' ') AS created FROM runs
LEFT JOIN (SELECT run, max(step) AS steps, arg_max(loss, step) AS loss FROM steps GROUP BY run) USING (run)
ORDER BY created, run
"""
_CORPORA = """
SELECT manifest, name || '@' || version AS ref FROM manifests WHERE kind = 'corpus' ORDER BY created DESC, ref DESC
"""
_SEARCH = """
WITH chosen AS MATERIALIZED (SELECT manifest, doc_id FROM {first} LIMIT {rows})
SELECT manifest, doc_id, source, n_tokens, drop_reason,
  substr(text, greatest(strpos(lower(text), lower($1)) - 120, 1), 400) AS passage
FROM chosen JOIN documents USING (manifest, doc_id) JOIN texts USING (manifest, doc_id)
ORDER BY manifest, source, doc_id
"""
_TEXT = "SELECT left(text, $2) AS text, length(text) AS whole FROM texts WHERE doc_id = $1 LIMIT 1"
_COPIES = """
SELECT manifest, doc_id, source, n_tokens, coalesce(drop_reason, 'kept') AS outcome, url FROM documents
WHERE manifest = $1 AND cluster_id = $2 ORDER BY drop_reason NULLS FIRST, doc_id
"""
_CONSUMED = "SELECT component, source, sequences, tokens FROM consumption WHERE run = $1 AND step = $2 ORDER BY ALL"
_ROLLOUTS = """
SELECT prompt_id, doc_id, source, left(prompt, $3) AS prompt, left(response, $3) AS response, length(response) AS whole,
  tokens, truncated, verdict, extracted, reason, reward
FROM rollouts WHERE run = $1 AND step = $2 ORDER BY prompt_id, sample
"""
_CURVES = """
WITH mine AS (
  SELECT *, sum(tokens) OVER (PARTITION BY run ORDER BY step)::BIGINT AS read FROM steps WHERE list_contains($1, run)),
span AS (SELECT run, greatest(ceil(max(step) / {points}), 1)::BIGINT AS width FROM mine GROUP BY run)
SELECT run, max(step) AS step, max(read) AS tokens{means}
FROM mine JOIN span USING (run) GROUP BY run, (step - 1) // width ORDER BY run, step
"""

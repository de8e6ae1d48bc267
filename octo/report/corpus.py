"""A corpus in the report: its funnel, what was left out and why, distributions, copies, contamination, licences, and
some documents."""

from manifests.drop_reasons import heading
from manifests.manifest import Manifest
from manifests.tables import DOCUMENTS
from octo.report import page
from octo.report.charts import BINS, NAMED, OTHERS, pictures
from octo.report.columns import table_of
from octo.report.excerpts import SAMPLE_CHARS, SAMPLES
from octo.report.frame import Part, Report, Row
from octo.report.page import Html, count, element, fold, number, percent

DIFF_CHARS = 8000
"""Characters of a near-duplicate and of the kept document that are compared word by word."""
LEAKS = 10
"""Contaminated documents shown for each benchmark."""
LEAK_CHARS = 300


_FUNNEL = """
SELECT source, outcome, reason, documents::BIGINT AS documents, tokens::BIGINT AS tokens, formulas_lost, files
FROM funnel WHERE manifest = $1
ORDER BY source, list_position(['in', 'kept', 'dropped', 'quarantined', 'not read'], outcome), reason
"""


_SOURCES = """
WITH flow AS (
  SELECT source, sum(if(outcome = 'in', documents, 0))::BIGINT AS documents_in,
    sum(if(outcome = 'in', tokens, 0))::BIGINT AS tokens_in,
    sum(if(outcome = 'kept', documents, 0))::BIGINT AS kept,
    sum(if(outcome = 'kept', tokens, 0))::BIGINT AS kept_tokens,
    sum(if(outcome = 'dropped', documents, 0))::BIGINT AS dropped,
    sum(if(outcome = 'quarantined', documents, 0))::BIGINT AS quarantined,
    sum(if(outcome = 'dropped', tokens, 0))::BIGINT AS dropped_tokens
  FROM funnel WHERE manifest = $1 GROUP BY source)
SELECT *, kept / nullif(documents_in, 0) AS kept_share, kept_tokens / nullif(tokens_in, 0) AS token_share,
  documents_in = kept + dropped + quarantined AND tokens_in = kept_tokens + dropped_tokens AS balanced
FROM flow ORDER BY source
"""


def part(report: Report, manifest: Manifest) -> Part:
    """The part of a report about a corpus."""
    flow = report.rows(_FUNNEL, manifest.id)
    sources = report.rows(_SOURCES, manifest.id)
    total = {key: sum(row[key] for row in sources) for key in ("documents_in", "tokens_in", "kept", "kept_tokens")}
    lede = (
        f"{number(total['documents_in'], 'document')} in, {count(total['kept'])} kept "
        f"({percent(page.share(total['kept'], total['documents_in']))}): "
        f"{count(total['kept_tokens'])} of {count(total['tokens_in'])} tokens."
    )
    body = [
        *_funnel(report, flow, sources),
        *_reasons_of(report, manifest),
        *_distributions(report, manifest),
        *_clusters(report, manifest),
        *_contamination(report, manifest),
        *_licences(report, manifest),
        *_documents(report, manifest),
    ]
    return Part(lede, body)


def _funnel(report: Report, flow: list[Row], sources: list[Row]) -> list[Html | None]:
    balanced = all(row["balanced"] for row in sources)
    says = "in = kept + dropped + quarantined" if balanced else "does not balance"
    unread = "files" if any(row["files"] for row in flow) else ""
    out = [row for row in flow if row["outcome"] not in ("in", "not read")]
    charts = [_flow(report, out, key) for key in ("documents", "tokens")]
    badge = element("span", says, class_=f"badge {'balanced' if balanced else 'unbalanced'}")
    return [
        element("h3", "Funnel ", badge),
        table_of(sources, "source documents_in kept kept_share dropped quarantined tokens_in kept_tokens token_share"),
        pictures(charts),
        fold(
            "The funnel row by row",
            table_of(flow, f"source outcome reason documents tokens formulas_lost {unread}".strip()),
        ),
    ]


def _outcome(row: Row) -> str:
    return row["outcome"] if row["outcome"] != "dropped" else row["reason"]


def _flow(report: Report, out: list[Row], key: str) -> Html | None:
    """The outcomes of the documents or tokens of each source. Quarantine is one outcome, because its reasons would be
    too thin to see."""
    flows: dict[tuple[str, str], int] = {}
    for row in out:
        ends = row["source"], _outcome(row)
        flows[ends] = flows.get(ends, 0) + (row[key] or 0)
    flows = {ends: value for ends, value in flows.items() if value}
    if not flows:
        return None
    outcomes = {_outcome(row): _outcome_colour(report, row) for row in out}
    sources = {source: report.sources[source] for source, _ in flows}
    height = 4 + 1.9 * max(len(sources), len({outcome for _, outcome in flows}))
    return report.page.chart(f"{key.capitalize()}", [page.flow(key, flows, sources, outcomes)], {}, height)


def _outcome_colour(report: Report, row: Row) -> str:
    match row["outcome"]:
        case "kept":
            return page.KEPT
        case "quarantined":
            return page.QUARANTINED
    return report.reasons[row["reason"]]


_REASONS = """
SELECT outcome, reason, sum(documents)::BIGINT AS documents, sum(tokens)::BIGINT AS tokens,
  sum(documents) / (SELECT sum(documents) FROM funnel WHERE manifest = $1 AND outcome <> 'in') AS of_all,
  string_agg(DISTINCT source, ', ' ORDER BY source) AS sources
FROM funnel WHERE manifest = $1 AND outcome IN ('dropped', 'quarantined')
GROUP BY ALL ORDER BY outcome, documents DESC, reason
"""


def _reasons_of(report: Report, manifest: Manifest) -> list[Html | None]:
    return [
        element("h3", "What was left out, and why"),
        table_of(report.rows(_REASONS, manifest.id), "outcome reason documents of_all tokens sources"),
    ]


def _distributions(report: Report, manifest: Manifest) -> list[Html | None]:
    """Histograms of tokens per document and of every score: kept documents by source, dropped ones together.

    Most scores are concentrated at one value, so the counts have a logarithmic axis.
    """
    schema = manifest.families["documents"].schema
    scores = [name for name, kind in schema.items() if kind == "double" and name not in DOCUMENTS.schema.names]
    logarithmic = {
        "yaxis": {"type": "log", "dtick": 1, "range": [-0.3, None], "title": {"text": "documents, log scale"}}
    }
    lengths = {"yaxis": {"title": {"text": "documents"}}, "xaxis": _powers()}
    charts = [_histogram(report, manifest, "Tokens per document", "log10(greatest(n_tokens, 1))", lengths)]
    charts += [_histogram(report, manifest, name, '"' + name.replace('"', '""') + '"', logarithmic) for name in scores]
    return [element("h3", "Distributions"), pictures(charts)]


def _powers() -> Row:
    """An axis of base-10 logarithms with the numbers themselves as ticks."""
    return {"tickvals": list(range(10)), "ticktext": [f"{10**power:,}" for power in range(10)]}


_LARGEST = """
SELECT source FROM documents WHERE manifest = $1 GROUP BY source ORDER BY count(*) DESC, source LIMIT $2
"""


_HISTOGRAM = """
WITH v AS (
  SELECT ({expression})::DOUBLE AS x,
    CASE WHEN drop_reason IS NULL THEN if(list_contains($2::VARCHAR[], source), source, 'other sources') END AS who
  FROM documents WHERE manifest = $1),
finite AS (FROM v WHERE isfinite(x)),
ends AS (SELECT min(x) AS low, if(max(x) > min(x), (max(x) - min(x)) / {bins}, 1) AS width FROM finite)
SELECT who, least(floor((x - low) / width), {bins} - 1)::INTEGER AS bin, low, width, count(*) AS documents
FROM finite, ends GROUP BY ALL ORDER BY ALL
"""


def _histogram(report: Report, manifest: Manifest, caption: str, expression: str, layout: Row) -> Html | None:
    """Kept documents of each source, as lines, and dropped ones, as bars, over equal spans of a number."""
    named = [row["source"] for row in report.rows(_LARGEST, manifest.id, NAMED)]
    found = report.rows(_HISTOGRAM.format(expression=expression, bins=BINS), manifest.id, named)
    if not found:
        return None
    low, width = found[0]["low"], found[0]["width"]
    height = {(row["who"], row["bin"]): row["documents"] for row in found}
    middles = [low + width * (place + 0.5) for place in range(BINS)]
    heights = {who: [height.get((who, place), 0) for place in range(BINS)] for who in (*named, OTHERS)}
    dropped = [height.get((None, place), 0) for place in range(BINS)]
    traces = [page.columns("dropped", middles, dropped, page.WARM[0], opacity=0.6)] * any(dropped)
    around = [low - width / 2, *middles, low + width * (BINS + 0.5)]  # an outline begins and ends at nothing
    traces += [page.outline(who, around, [0, *y, 0], report.sources[who]) for who, y in heights.items() if any(y)]
    return report.page.chart(caption, traces, {"showlegend": True, "hovermode": "closest"} | layout)


_CLUSTER_SIZES = """
SELECT ceil(log2(size))::INTEGER AS power, count(*) AS clusters
FROM (SELECT count(*) AS size FROM documents WHERE manifest = $1 AND cluster_id IS NOT NULL GROUP BY cluster_id)
WHERE size > 1 GROUP BY ALL ORDER BY ALL
"""


_CLUSTERS = """
SELECT cluster_id, count(*) AS documents, count(*) FILTER (drop_reason IS NULL) AS kept,
  string_agg(DISTINCT source, ', ' ORDER BY source) AS sources
FROM documents WHERE manifest = $1 AND cluster_id IS NOT NULL
GROUP BY cluster_id ORDER BY documents DESC, cluster_id LIMIT 6
"""


def _clusters(report: Report, manifest: Manifest) -> list[Html | None]:
    sizes = report.rows(_CLUSTER_SIZES, manifest.id)
    if not sizes:
        return []
    labels = [_span(row["power"]) for row in sizes]
    trace = page.columns("clusters", labels, [row["clusters"] for row in sizes], page.COLOURS[4])
    clusters = sum(row["clusters"] for row in sizes)
    caption = f"{number(clusters, 'cluster')} of copies, by documents in each"
    layout = {"xaxis": {"type": "category"}, "hovermode": "closest"}
    largest = table_of(report.rows(_CLUSTERS, manifest.id), "cluster_id documents kept sources", "Largest clusters")
    return [
        element("h3", "Copies"),
        element("div", report.page.chart(caption, [trace], layout), largest, class_="pictures"),
        *_copies(report, manifest),
    ]


def _span(power: int) -> str:
    """Sizes above 2^(power-1) up to 2^power: 2, 3–4, 5–8, …"""
    low, high = 2 ** (power - 1) + 1, 2**power
    return str(high) if low == high else f"{low}–{high}"


_PAIRS = """
WITH copies AS (
  SELECT cluster_id, doc_id, source, keeper_id, (drop_evidence->>'similarity')::DOUBLE AS similarity
  FROM documents WHERE manifest = $1 AND drop_reason = 'near_duplicate' AND keeper_id IS NOT NULL
  QUALIFY row_number() OVER (PARTITION BY cluster_id ORDER BY similarity, doc_id) = 1),
chosen AS (
  FROM copies
  QUALIFY row_number() OVER (ORDER BY similarity, doc_id) <= $2 OR row_number() OVER (ORDER BY doc_id) <= $2),
sizes AS (
  SELECT cluster_id, count(*) AS size FROM documents
  WHERE manifest = $1 AND cluster_id IN (SELECT cluster_id FROM chosen) GROUP BY cluster_id),
held AS (
  SELECT doc_id, left(text, $3) AS text FROM texts
  WHERE manifest = $1 AND doc_id IN (SELECT doc_id FROM chosen UNION ALL SELECT keeper_id FROM chosen))
SELECT chosen.*, size, k.source AS keeper_source, ht.text AS text, hk.text AS keeper
FROM chosen JOIN sizes USING (cluster_id)
LEFT JOIN (SELECT doc_id, source FROM documents WHERE manifest = $1) k ON k.doc_id = keeper_id
LEFT JOIN held ht ON ht.doc_id = chosen.doc_id LEFT JOIN held hk ON hk.doc_id = keeper_id
ORDER BY similarity, chosen.doc_id
"""


def _copies(report: Report, manifest: Manifest) -> list[Html | None]:
    """Some near-duplicates beside the document that was kept instead: the least similar ones, where a mistake is most
    likely, and an arbitrary sample."""
    pairs = report.rows(_PAIRS, manifest.id, SAMPLES // 2, DIFF_CHARS)
    return [fold(f"Near-duplicates beside what was kept ({len(pairs)} pairs)", list(map(_pair, pairs)))] * bool(pairs)


def _pair(row: Row) -> Html:
    alike = "" if row["similarity"] is None else f" · similarity {row['similarity']:.2f}"
    head = f"cluster of {count(row['size'])}{alike} · kept {row['keeper_id']} ({row['keeper_source']}), dropped "
    said = element("p", f"{head}{row['doc_id']} ({row['source']})")
    return element("div", said, page.beside(row["keeper"], row["text"]), class_="sample")


_CONTAMINATION = """
WITH dropped AS (
  SELECT doc_id, drop_evidence->>'benchmark' AS named, n_tokens FROM documents
  WHERE manifest = $1 AND drop_reason = 'contaminated'),
held AS (
  SELECT benchmark, doc_id, any_value(n_tokens) AS n_tokens, list(item_id) AS items
  FROM (FROM leaks WHERE manifest = $1) JOIN dropped USING (doc_id) GROUP BY ALL
  UNION ALL SELECT coalesce(named, 'not named'), doc_id, n_tokens, [] FROM dropped
  ANTI JOIN (FROM leaks WHERE manifest = $1) USING (doc_id))
SELECT benchmark, len(list_distinct(flatten(list(items)))) AS found, count(*) AS documents,
  sum(n_tokens)::BIGINT AS tokens
FROM held GROUP BY ALL
"""


_ITEMS = """
SELECT benchmark, count(*) AS n FROM items WHERE list_contains($1::VARCHAR[], manifest) GROUP BY ALL
"""


def _contamination(report: Report, manifest: Manifest) -> list[Html | None]:
    """Per benchmark: how many of its items documents contain, including benchmarks without a contaminated item."""
    found = {row["benchmark"]: row for row in report.rows(_CONTAMINATION, manifest.id)}
    sizes = {row["benchmark"]: row["n"] for row in report.rows(_ITEMS, list(manifest.parents))}
    rows = [
        {"benchmark": name, "size": sizes.get(name), "found": 0, "documents": 0, "tokens": 0} | found.get(name, {})
        for name in sorted(sizes.keys() | found.keys())
    ]
    summary = table_of(rows, "benchmark size found documents tokens")
    return [element("h3", "Contamination"), summary, *_leaks(report, manifest)] if rows else []


_LEAKS = """
WITH chosen AS (
  FROM leaks WHERE manifest = $1
  QUALIFY row_number() OVER (PARTITION BY benchmark ORDER BY coverage DESC, doc_id) <= $3),
asked AS (
  SELECT benchmark, item_id, any_value(split) AS split, any_value(question) AS question, any_value(solution) AS solution
  FROM items WHERE list_contains($2::VARCHAR[], manifest) GROUP BY ALL),
held AS (SELECT doc_id, text FROM texts WHERE manifest = $1 AND doc_id IN (SELECT doc_id FROM chosen))
SELECT benchmark, item_id, split, part, coverage, source, doc_id,
  left(if(part = 'answer', solution, question), $4) AS item,
  left(substr(text, span_start + 1, span_length), $4) AS span
FROM chosen JOIN (SELECT doc_id, source FROM documents WHERE manifest = $1) USING (doc_id)
LEFT JOIN asked USING (benchmark, item_id) LEFT JOIN held USING (doc_id)
ORDER BY benchmark, coverage DESC, doc_id
"""


def _leaks(report: Report, manifest: Manifest) -> list[Html | None]:
    """Per benchmark, the documents that cover most of an item: the item beside the matching part of the document."""
    shown = report.rows(_LEAKS, manifest.id, list(manifest.parents), LEAKS, LEAK_CHARS)
    if not shown:
        return []
    query = f"""octo sql --format csv "FROM leaks WHERE manifest = '{manifest.id}'" > leaks.csv"""
    columns = "benchmark item_id split part coverage source doc_id item span"
    return [
        table_of(shown, columns, f"Items and the documents that hold them, up to {LEAKS} of each benchmark"),
        element("p", "All of them: ", element("code", query)),
    ]


_LICENCES = """
SELECT coalesce(license, 'not stated') AS license, count(*) AS documents,
  count(*) FILTER (drop_reason IS NULL) AS kept,
  coalesce(sum(n_tokens) FILTER (drop_reason IS NULL), 0)::BIGINT AS kept_tokens,
  string_agg(DISTINCT source, ', ' ORDER BY source) AS sources
FROM documents WHERE manifest = $1 GROUP BY ALL ORDER BY kept_tokens DESC, license LIMIT 50
"""


def _licences(report: Report, manifest: Manifest) -> list[Html | None]:
    return [
        element("h3", "Licences"),
        table_of(report.rows(_LICENCES, manifest.id), "license documents kept kept_tokens sources"),
    ]


_FIRST_IDS = """
WITH groups AS (
  SELECT drop_reason, min(doc_id, $2) AS ids, count(*) AS n
  FROM documents WHERE manifest = $1 GROUP BY drop_reason, source),
totals AS (SELECT drop_reason, sum(n)::BIGINT AS total FROM groups GROUP BY drop_reason),
firsts AS (SELECT drop_reason, unnest(ids) AS doc_id, generate_subscripts(ids, 1) AS nth FROM groups)
SELECT firsts.drop_reason, doc_id, total
FROM firsts JOIN totals ON firsts.drop_reason IS NOT DISTINCT FROM totals.drop_reason
QUALIFY row_number() OVER (PARTITION BY firsts.drop_reason ORDER BY nth, doc_id) <= $2
ORDER BY firsts.drop_reason NULLS FIRST, doc_id
"""


_SAMPLE = """
WITH chosen AS (FROM documents WHERE manifest = $1 AND list_contains($2::VARCHAR[], doc_id))
SELECT doc_id, source, url, license, n_tokens, drop_reason, drop_evidence, left(text, $3) AS text, length(text) AS whole
FROM chosen LEFT JOIN (FROM texts WHERE manifest = $1 AND list_contains($2::VARCHAR[], doc_id)) USING (doc_id)
ORDER BY doc_id
"""


def _documents(report: Report, manifest: Manifest) -> list[Html | None]:
    """A few kept documents and a few of each drop reason, from as many sources as possible."""
    chosen = report.rows(_FIRST_IDS, manifest.id, SAMPLES)
    total = {row["drop_reason"]: row["total"] for row in chosen}
    shown: dict[str | None, list[Html]] = {reason: [] for reason in total}
    for row in report.rows(_SAMPLE, manifest.id, [row["doc_id"] for row in chosen], SAMPLE_CHARS):
        shown[row["drop_reason"]].append(_document(row))
    folds = [
        fold(f"{heading(reason)}: {len(found)} of {count(total[reason])}", found) for reason, found in shown.items()
    ]
    return [element("h3", "Documents, kept and dropped"), *folds] if folds else []


def _document(row: Row) -> Html:
    said = [row["doc_id"], row["source"], f"{count(row['n_tokens'])} tokens", row["url"], row["license"]]
    head = element("p", " · ".join(part for part in said if part))
    evidence = element("p", "Evidence: ", element("code", row["drop_evidence"])) if row["drop_evidence"] else None
    return element("div", head, evidence, page.quotation(row["text"], row["whole"]), class_="sample")

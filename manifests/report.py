"""`octo report`: one self-contained HTML page about manifests and runs.

Given one ID the page tells of that thing; given the corpus, its mixtures and the runs made from them it tells the whole
walk in the order given, beginning with a picture of what was made from what.

Promises. Every number comes from SQL over the catalog, as an aggregate or a bounded sample, so that page and memory
stay small whatever the corpus holds. Samples are the first by doc_id, which is a hash: the choice is arbitrary and the
same every time, and so is the whole page. Text of documents and models is escaped (see `manifests.page`). Leaves out:
runs over their steps (`manifests.run_curves`).
"""

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from manifests import page
from manifests.catalog import Catalog, main_rows
from manifests.errors import UserError
from manifests.identity import json_digest
from manifests.manifest import Manifest, resolve
from manifests.page import Column, Html, code, count, element, facts, figure, fold, number, percent, real
from manifests.runs import RunDirectory, load_run
from manifests.store import Store
from manifests.tables import DOCUMENTS

Row = dict[str, Any]
Thing = Manifest | RunDirectory

NOUNS = {
    "train": "training run",
    "rl": "RL run",
    "eval": "evaluation",
    "curate": "curation",
    "pass-rate": "measurement",
}
SPIKES, READ, BEFORE = 20, 100, 20
"""Jumps of a loss that are told of, documents listed of each, and steps that it is compared with."""
POINTS = 600
"""Points of a curve at most; a longer run is averaged over equal spans of steps."""
LAYER_POINTS = 80
"""The same for stacked areas, in which the pattern of single steps would flicker."""
BINS = 40
"""Bars of a histogram."""
STRIP = 500
"""Sequences in the strip of an order."""
NAMED = 9
"""Sources with a layer of their own in one chart; the rest share one."""
OTHERS = "other sources"
SAMPLES = 4
"""Documents or responses shown of each kind."""
SAMPLE_CHARS = 1500
DIFF_CHARS = 8000
"""Of a near-duplicate and of what was kept, compared word by word."""
LEAKS = 10
"""Documents shown of each benchmark that they hold items of."""
LEAK_CHARS = 300
BENCHMARK_BOXES = 3
"""Benchmarks that are drawn one by one in the lineage; more are drawn as one box."""
STRAGGLERS, BARS = 12, 2000
"""Tasks of a curation that are listed, and that are drawn; of more the longest."""
RL_CURVES = {
    "reward": "Mean reward",
    "accuracy": "Accuracy",
    "length_mean": "Response length (tokens)",
    "truncated_share": "Truncated share",
    "entropy": "Entropy (nats per token)",
    "zero_spread_share": "Groups without spread of rewards",
    "repetition_share": "Responses that repeat themselves",
    "boxed_share": "Responses with a box",
    "kl_to_start": "Divergence from the start (nats per token)",
    "clip_share": "Tokens that the clip cut off",
}
RL_SHARES = ("accuracy", "truncated_share", "zero_spread_share", "repetition_share", "boxed_share", "clip_share")
SHARE_FORMAT = "~%"
BY_SOURCE = {
    "reward": ("Mean reward", None),
    "accuracy": ("Accuracy", SHARE_FORMAT),
    "length": ("Response length (tokens)", None),
    "truncated": ("Truncated share", SHARE_FORMAT),
}
SHARES = ("accuracy", "pass@", "maj@", "leaked", "unparsed", "truncated", "errors")
"""Metrics from 0 to 1, which one axis can hold."""


Read = Callable[[Store, RunDirectory, int, bool], pa.Table]
"""What a training run read at a step, with text or without: known on the floors above (`training.consumed.trace`)."""


def report(store: Store, refs: list[str], path: Path | None = None, read: Read | None = None) -> Path:
    """Write the page about the manifests and runs `refs`, in that order; returns where it lies.

    Without `path` it is put into the store as reports/<id>.html (for several things, an ID made from theirs). `read`
    lets it name the documents behind a jump of the loss. UserError for a reference that names nothing.
    """
    things = {thing.id: thing for thing in (_find(store, ref) for ref in refs)}
    with Catalog(store) as catalog:
        text = Report(catalog, list(things.values()), read).write()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path
    name = next(iter(things)) if len(things) == 1 else f"report-{json_digest(list(things))[:12]}"
    store.put(f"reports/{name}.html", text.encode())
    return store.local(f"reports/{name}.html")


def _find(store: Store, ref: str) -> Thing:
    return load_run(store, ref) if ref.startswith("run-") else resolve(store, ref)


def _noun(thing: Thing) -> str:
    return thing.kind if isinstance(thing, Manifest) else NOUNS[thing.record["kind"]]


class _Colours(dict[str, str]):
    """Gives each new name the next colour, so that a name has one colour all over the page."""

    def __init__(self, colours: tuple[str, ...]):
        super().__init__()
        self._colours = colours

    def __missing__(self, name: str) -> str:
        self[name] = self._colours[len(self) % len(self._colours)]
        return self[name]


@dataclass(frozen=True)
class _Part:
    """What the page says of one thing: a sentence that sums it up, and what is shown below it."""

    lede: str
    body: list[Html | None]


class Report:
    """One page in the making."""

    def __init__(self, catalog: Catalog, things: list[Thing], read: Read | None = None):
        self.catalog, self.things, self.read, self.page = catalog, things, read, page.Page()
        self.sources, self.reasons = _Colours(page.COLOURS), _Colours(page.WARM)
        self.refs = {row["manifest"]: row for row in self.rows("SELECT manifest, name, version, kind FROM manifests")}
        self.runs = {row["run"]: row for row in self.rows("SELECT run, kind, manifests, parent FROM runs")}
        self.here = {thing.id for thing in things}

    def rows(self, sql: str, *parameters: Any) -> list[Row]:
        return self.catalog.query(sql, list(parameters)).to_pylist()

    # -- the whole --------------------------------------------------------------------------------------------------

    def write(self) -> str:
        """The page as HTML."""
        parts = {thing.id: self.part(thing) for thing in self.things}
        several = len(parts) > 1
        title = "The walk" if several else self.title(self.things[0].id)
        header = element(
            "header",
            element("p", "octothinker report", class_="eyebrow"),
            element("h1", title),
            self.contents(parts) if several else None,
            self.lineage(),
        )
        sections = [self.section(thing, parts[thing.id]) for thing in self.things]
        return self.page.render(f"{title} · octothinker", page.markup([header, *sections, self.comparison()]))

    def part(self, thing: Thing) -> _Part:
        match thing:
            case Manifest(kind="corpus"):
                return self.corpus(thing)
            case Manifest(kind="mixture"):
                return self.mixture(thing)
            case Manifest(kind="prompts"):
                return self.prompts(thing)
            case Manifest(kind="classifier"):
                return self.classifier(thing)
            case Manifest(kind="annotations"):
                return self.annotations(thing)
            case Manifest(kind="pass_rates"):
                return self.pass_rates(thing)
            case Manifest():
                return self.benchmark(thing)
            case RunDirectory(record={"kind": "train"}):
                return self.training(thing)
            case RunDirectory(record={"kind": "rl"}):
                return self.reinforcement(thing)
            case RunDirectory(record={"kind": "curate"}):
                return self.curation(thing)
            case RunDirectory(record={"kind": "pass-rate"}):
                return _Part(self.reinforced(thing), [_pictures([self.verdicts(thing)]), *self.rollouts(thing)])
            case RunDirectory():
                return self.evaluation(thing)

    def title(self, identity: str) -> str:
        """What a thing is called: name@version, or what a run did to what."""
        if known := self.refs.get(identity):
            return f"{known['name']}@{known['version']}"
        run = self.runs.get(identity)
        if not run:
            return identity
        on = ", ".join(self.title(manifest) for manifest in run["manifests"])
        match run["kind"]:
            case "curate":
                return f"Curation {identity}"
            case "train":
                return f"Training on {on}"
            case "rl":
                return f"RL on {on}"
            case "pass-rate":
                return f"Pass rates on {on}"
        after = self.title(run["parent"]) if run["parent"] else "no run"
        return f"Evaluation after {after if after.startswith('RL') else after[:1].lower() + after[1:]}"

    def link(self, identity: str) -> Html:
        """A thing's name, leading to its section if the page has one."""
        href = self.href(identity)
        return element("a" if href else "span", self.title(identity), href=href)

    def href(self, identity: str) -> str | None:
        """Where a thing is told of: its section, if the page has one."""
        return f"#{identity}" if identity in self.here else None

    def contents(self, parts: dict[str, _Part]) -> Html:
        rows = [
            {"name": self.link(thing.id), "what": _noun(thing), "id": thing.id, "lede": _wide(parts[thing.id].lede)}
            for thing in self.things
        ]
        return _table(rows, "name what id lede")

    def section(self, thing: Thing, part: _Part) -> Html:
        identity = self.about_manifest(thing) if isinstance(thing, Manifest) else self.about_run(thing)
        badge = warning = None
        if isinstance(thing, RunDirectory):
            badge = element("span", thing.status, class_=f"badge {thing.status}")
            warning = element("p", thing.record["reason"], class_="warning") if thing.record.get("reason") else None
        return element(
            "section",
            element("p", _noun(thing), class_="eyebrow"),
            element("h2", self.title(thing.id), " ", badge),
            element("p", part.lede, class_="lede"),
            warning,
            part.body,
            element("h3", "Identity"),
            identity,
            id=thing.id,
        )

    def about_manifest(self, manifest: Manifest) -> list[Html]:
        pairs = {
            "ID": code(manifest.id),
            "Made from": _listed([self.link(parent) for parent in manifest.parents]),
            "Committed": _time(manifest.provenance.get("time")),
            "Files": f"{page.size(manifest.bytes)}: {', '.join(manifest.families)}",
            "Digest": element("code", manifest.digest, class_="digest"),
        }
        return [facts(pairs, "identity"), fold("Recipe", page.json_block(manifest.recipe))]

    def about_run(self, run: RunDirectory) -> list[Html]:
        record, parent = run.record, run.record["parent"]
        digests = ", ".join(f"{manifest['id']} {manifest['digest']}" for manifest in record["manifests"])
        pairs = {
            "ID": code(run.id),
            "Launched with": _listed([self.link(manifest["id"]) for manifest in record["manifests"]]),
            "Started from": self.link(parent) if parent else "–",
            "Backend": record["backend"],
            "Created": _time(record["created"]),
            "Finished": _time(record.get("finished")),
            "Digests of the manifests": element("code", digests, class_="digest"),
        }
        summary = fold("Summary", page.json_block(record["summary"])) if "summary" in record else None
        return [
            facts(pairs, "identity"),
            fold("Configuration", page.json_block(record["config"])),
            page.markup(summary),
        ]

    def lineage(self) -> Html:
        """The things on the page and all their ancestors; many benchmarks are drawn as one box."""
        found = self.relations()
        others = {row[end] for row in found for end in ("parent", "child")} - self.here
        names: list[str] = [*sorted(others), *(thing.id for thing in self.things)]
        apart = [name for name in names if name not in self.here and self.kind(name) == "benchmark"]
        merged = apart if len(apart) > BENCHMARK_BOXES else []
        box = {name: "benchmarks" if name in merged else name for name in names}
        nodes = {box[name]: self.node(name) for name in names}
        if merged:
            nodes["benchmarks"] = page.Node(f"{len(merged)} benchmarks", "benchmarks", None, False)
        edges = {(box[row["parent"]], box[row["child"]]) for row in found}
        return figure("What was made from what", page.graph(nodes, edges))

    def relations(self) -> list[Row]:
        """The rows of `lineage` that are drawn."""
        return self.rows(_ANCESTORS, sorted(self.here))

    def kind(self, identity: str) -> str:
        known = self.refs.get(identity) or self.runs.get(identity)
        kind: str = known["kind"] if known else "not in this store"
        return NOUNS.get(kind, kind)

    def node(self, identity: str) -> page.Node:
        title = identity if identity in self.runs else self.title(identity)
        return page.Node(title, self.kind(identity), self.href(identity), identity in self.here)

    # -- corpus -----------------------------------------------------------------------------------------------------

    def corpus(self, manifest: Manifest) -> _Part:
        flow = self.rows(_FUNNEL, manifest.id)
        sources = self.rows(_SOURCES, manifest.id)
        total = {key: sum(row[key] for row in sources) for key in ("documents_in", "tokens_in", "kept", "kept_tokens")}
        lede = (
            f"{number(total['documents_in'], 'document')} in, {count(total['kept'])} kept "
            f"({percent(page.share(total['kept'], total['documents_in']))}): "
            f"{count(total['kept_tokens'])} of {count(total['tokens_in'])} tokens."
        )
        body = [
            *self.funnel(flow, sources),
            *self.reasons_of(manifest),
            *self.distributions(manifest),
            *self.clusters(manifest),
            *self.contamination(manifest),
            *self.licences(manifest),
            *self.documents(manifest),
        ]
        return _Part(lede, body)

    def funnel(self, flow: list[Row], sources: list[Row]) -> list[Html | None]:
        balanced = all(row["balanced"] for row in sources)
        says = "in = kept + dropped + quarantined" if balanced else "does not balance"
        out = [row for row in flow if row["outcome"] != "in"]
        charts = [self.flow(out, key) for key in ("documents", "tokens")]
        badge = element("span", says, class_=f"badge {'balanced' if balanced else 'unbalanced'}")
        return [
            element("h3", "Funnel ", badge),
            _table(
                sources, "source documents_in kept kept_share dropped quarantined tokens_in kept_tokens token_share"
            ),
            _pictures(charts),
            fold("The funnel row by row", _table(flow, "source outcome reason documents tokens formulas_lost")),
        ]

    def flow(self, out: list[Row], key: str) -> Html | None:
        """Where the documents or tokens of each source went; all that was quarantined is one outcome, for single
        records are too thin to be seen."""
        flows: dict[tuple[str, str], int] = {}
        for row in out:
            ends = row["source"], _outcome(row)
            flows[ends] = flows.get(ends, 0) + (row[key] or 0)
        flows = {ends: value for ends, value in flows.items() if value}
        if not flows:
            return None
        outcomes = {_outcome(row): self.outcome_colour(row) for row in out}
        sources = {source: self.sources[source] for source, _ in flows}
        height = 4 + 1.9 * max(len(sources), len({outcome for _, outcome in flows}))
        return self.page.chart(f"{key.capitalize()}", [page.flow(key, flows, sources, outcomes)], {}, height)

    def outcome_colour(self, row: Row) -> str:
        match row["outcome"]:
            case "kept":
                return page.KEPT
            case "quarantined":
                return page.QUARANTINED
        return self.reasons[row["reason"]]

    def reasons_of(self, manifest: Manifest) -> list[Html | None]:
        return [
            element("h3", "What was left out, and why"),
            _table(self.rows(_REASONS, manifest.id), "outcome reason documents of_all tokens sources"),
        ]

    def distributions(self, manifest: Manifest) -> list[Html | None]:
        """Histograms of tokens per document and of every score: kept documents by source, dropped ones together.

        Most scores pile up at one value, so their counts have a logarithmic axis.
        """
        schema = manifest.families["documents"].schema
        scores = [name for name, kind in schema.items() if kind == "double" and name not in DOCUMENTS.schema.names]
        logarithmic = {
            "yaxis": {"type": "log", "dtick": 1, "range": [-0.3, None], "title": {"text": "documents, log scale"}}
        }
        lengths = {"yaxis": {"title": {"text": "documents"}}, "xaxis": _powers()}
        charts = [self.histogram(manifest, "Tokens per document", "log10(greatest(n_tokens, 1))", lengths)]
        charts += [self.histogram(manifest, name, '"' + name.replace('"', '""') + '"', logarithmic) for name in scores]
        return [element("h3", "Distributions"), _pictures(charts)]

    def histogram(self, manifest: Manifest, caption: str, expression: str, layout: Row) -> Html | None:
        """Kept documents of each source, as lines, and dropped ones, as bars, over equal spans of a number."""
        named = [row["source"] for row in self.rows(_LARGEST, manifest.id, NAMED)]
        found = self.rows(_HISTOGRAM.format(expression=expression, bins=BINS), manifest.id, named)
        if not found:
            return None
        low, width = found[0]["low"], found[0]["width"]
        height = {(row["who"], row["bin"]): row["documents"] for row in found}
        middles = [low + width * (place + 0.5) for place in range(BINS)]
        heights = {who: [height.get((who, place), 0) for place in range(BINS)] for who in (*named, OTHERS)}
        dropped = [height.get((None, place), 0) for place in range(BINS)]
        traces = [page.columns("dropped", middles, dropped, page.WARM[0], opacity=0.6)] * any(dropped)
        around = [low - width / 2, *middles, low + width * (BINS + 0.5)]  # an outline begins and ends at nothing
        traces += [page.outline(who, around, [0, *y, 0], self.sources[who]) for who, y in heights.items() if any(y)]
        return self.page.chart(caption, traces, {"showlegend": True, "hovermode": "closest"} | layout)

    def clusters(self, manifest: Manifest) -> list[Html | None]:
        sizes = self.rows(_CLUSTER_SIZES, manifest.id)
        if not sizes:
            return []
        labels = [_span(row["power"]) for row in sizes]
        trace = page.columns("clusters", labels, [row["clusters"] for row in sizes], page.COLOURS[4])
        clusters = sum(row["clusters"] for row in sizes)
        caption = f"{number(clusters, 'cluster')} of copies, by documents in each"
        layout = {"xaxis": {"type": "category"}, "hovermode": "closest"}
        largest = _table(self.rows(_CLUSTERS, manifest.id), "cluster_id documents kept sources", "Largest clusters")
        return [
            element("h3", "Copies"),
            element("div", self.page.chart(caption, [trace], layout), largest, class_="pictures"),
            *self.copies(manifest),
        ]

    def copies(self, manifest: Manifest) -> list[Html | None]:
        """Some near-duplicates beside what was kept in their place: those least alike, where a mistake would be, and
        some that were chosen blindly."""
        pairs = self.rows(_PAIRS, manifest.id, SAMPLES // 2, DIFF_CHARS)
        return [fold(f"Near-duplicates beside what was kept ({len(pairs)} pairs)", list(map(_pair, pairs)))] * bool(
            pairs
        )

    def contamination(self, manifest: Manifest) -> list[Html | None]:
        """Per benchmark: how many of its items are held by documents; benchmarks that nothing held are named too."""
        found = {row["benchmark"]: row for row in self.rows(_CONTAMINATION, manifest.id)}
        sizes = {row["benchmark"]: row["n"] for row in self.rows(_ITEMS, list(manifest.parents))}
        rows = [
            {"benchmark": name, "size": sizes.get(name), "found": 0, "documents": 0, "tokens": 0} | found.get(name, {})
            for name in sorted(sizes.keys() | found.keys())
        ]
        summary = _table(rows, "benchmark size found documents tokens")
        return [element("h3", "Contamination"), summary, *self.leaks(manifest)] if rows else []

    def leaks(self, manifest: Manifest) -> list[Html | None]:
        """Per benchmark the documents that cover most of an item: the item beside what the document holds."""
        shown = self.rows(_LEAKS, manifest.id, list(manifest.parents), LEAKS, LEAK_CHARS)
        if not shown:
            return []
        query = f"""octo sql --format csv "FROM leaks WHERE manifest = '{manifest.id}'" > leaks.csv"""
        columns = "benchmark item_id split part coverage source doc_id item span"
        return [
            _table(shown, columns, f"Items and the documents that hold them, up to {LEAKS} of each benchmark"),
            element("p", "All of them: ", element("code", query)),
        ]

    def licences(self, manifest: Manifest) -> list[Html | None]:
        return [
            element("h3", "Licences"),
            _table(self.rows(_LICENCES, manifest.id), "license documents kept kept_tokens sources"),
        ]

    def documents(self, manifest: Manifest) -> list[Html | None]:
        """A few documents that were kept and a few of each drop reason, over as many sources as there are."""
        chosen = self.rows(_FIRST_IDS, manifest.id, SAMPLES)
        total = {row["drop_reason"]: row["total"] for row in chosen}
        shown: dict[str | None, list[Html]] = {reason: [] for reason in total}
        for row in self.rows(_SAMPLE, manifest.id, [row["doc_id"] for row in chosen], SAMPLE_CHARS):
            shown[row["drop_reason"]].append(_document(row))
        folds = [
            fold(f"{reason or 'kept'}: {len(found)} of {count(total[reason])}", found)
            for reason, found in shown.items()
        ]
        return [element("h3", "Documents, kept and dropped"), *folds] if folds else []

    # -- mixture, prompts, benchmark --------------------------------------------------------------------------------

    def mixture(self, manifest: Manifest) -> _Part:
        components = self.rows("FROM components WHERE manifest = $1 ORDER BY share DESC, component", manifest.id)
        sequences, length = main_rows(manifest), manifest.recipe.get("sequence_length")
        tokens = sum(row["tokens"] for row in components)
        of_length = f" of {count(length)} tokens" if length else ""
        lede = (
            f"{number(sequences, 'sequence')}{of_length} in one exact order: "
            f"{number(tokens, 'token')} from {number(len(components), 'component')}."
        )
        body = [*self.components(components), *self.order(manifest, sequences), *self.members(manifest)]
        return _Part(lede, body)

    def components(self, components: list[Row]) -> list[Html | None]:
        amounts = "share_wanted share sequences tokens available_documents available_tokens epochs max_epochs"
        shares = {
            name: [(row["component"], row[key], self.sources[row["component"]]) for row in components]
            for name, key in (("wanted", "share_wanted"), ("planned", "share"))
        }
        epochs = {row["component"]: [("epochs", row["epochs"], self.sources[row["component"]])] for row in components}
        most = max([row["epochs"] for row in components] + [1.0])
        return [
            element("h3", "Plan"),
            _table(components, f"component where {amounts}"),
            element(
                "div",
                figure("Shares", page.bars(shares, write=percent)),
                figure("Epochs over what is available", page.bars(epochs, most, real)),
                class_="pictures",
            ),
            page.legend({row["component"]: self.sources[row["component"]] for row in components}),
        ]

    def order(self, manifest: Manifest, sequences: int) -> list[Html | None]:
        sql = "SELECT component FROM sequences WHERE manifest = $1 AND sequence < $2 ORDER BY sequence"
        names = [row["component"] for row in self.rows(sql, manifest.id, STRIP)]
        if not names:
            return []
        which = f"the first {count(len(names))} of {count(sequences)}" if len(names) < sequences else "all of them"
        caption = f"Sequences in the order they are read, left to right, {which}"
        drawn = {name: self.sources[name] for name in names}
        return [element("h3", "Order"), figure(caption, page.strip(names, drawn)), page.legend(drawn)]

    def members(self, manifest: Manifest) -> list[Html | None]:
        return [
            element("h3", "Sources of each component"),
            _table(self.rows(_MEMBERS, manifest.id), "component source documents tokens"),
        ]

    def prompts(self, manifest: Manifest) -> _Part:
        sources = self.rows(_PROMPT_SOURCES, manifest.id)
        first = self.rows("FROM prompts WHERE manifest = $1 ORDER BY position LIMIT $2", manifest.id, SAMPLES)
        lede = f"{number(main_rows(manifest), 'prompt')} with answers that can be verified, in one exact order."
        by_source = _table(sources, "source prompts")
        shown = [_question(f"prompt {row['position']} · {row['source']}", row) for row in first]
        return _Part(lede, [element("h3", "Sources"), by_source, fold("The first prompts", shown)])

    def classifier(self, manifest: Manifest) -> _Part:
        precision = manifest.counts["average_precision"]
        lede = f"{count(main_rows(manifest))} labelled documents; average precision {precision:.4f} on those held out."
        cuts = self.rows("FROM thresholds WHERE manifest = $1 ORDER BY threshold", manifest.id)
        words = self.rows("FROM features WHERE manifest = $1 ORDER BY label DESC, rank", manifest.id)
        selected = _table(cuts, "threshold selected precision recall")
        heaviest = fold("Words that weigh most", [_table(words, "label rank word weight count")])
        return _Part(lede, [element("h3", "What each threshold selects"), selected, heaviest])

    def annotations(self, manifest: Manifest) -> _Part:
        """What was asked of how many documents, and what became of the answers."""
        documents, rows = manifest.counts["documents"], number(main_rows(manifest), "row")
        lede = (
            f"{number(documents, 'document')} shown to {manifest.recipe['model']} ({manifest.recipe['task']}); {rows}."
        )
        found = self.rows(_ANSWERS, manifest.id)
        table = _table(found, "verdict score rows documents prompt_tokens completion_tokens")
        prompt = fold("What was asked", element("pre", manifest.recipe["prompt"]))
        return _Part(lede, [element("h3", "Answers"), table, prompt])

    def pass_rates(self, manifest: Manifest) -> _Part:
        """How hard the prompts are for one model."""
        found = self.rows(_PASS_RATES, manifest.id)
        responses = number(manifest.counts["responses"], "response")
        lede = f"{number(main_rows(manifest), 'prompt')}, {responses} with a ruling."
        return _Part(lede, [element("h3", "Pass rates"), _table(found, "source prompts value unsolved solved")])

    def benchmark(self, manifest: Manifest) -> _Part:
        groups = self.rows(_ITEM_GROUPS, manifest.id)
        first = self.rows("FROM items WHERE manifest = $1 ORDER BY item_id LIMIT $2", manifest.id, SAMPLES)
        shown = [_question(f"item {row['item_id']}", row) for row in first]
        table = _table(groups, "split subject level items")
        return _Part(
            f"{number(main_rows(manifest), 'item')}.", [element("h3", "Items"), table, fold("Some items", shown)]
        )

    # -- runs -------------------------------------------------------------------------------------------------------

    def training(self, run: RunDirectory) -> _Part:
        steps = self.curve(run, "loss", "lr", "grad_norm")
        spikes = self.spikes(run)
        stages = self.rows(_STAGES, run.id)
        if not steps:
            return _Part("No step has been recorded.", [])
        tokens = sum(row["tokens"] for row in stages)
        lede = (
            f"{number(stages[-1]['last'], 'step')}, {number(tokens, 'token')}; "
            f"loss {real(stages[0]['loss_first'])} → {real(stages[-1]['loss_last'])}."
        )
        charts = [
            self.over_tokens("Loss", steps, "loss", stages, spikes),
            self.over_tokens("Learning rate", steps, "lr", stages),
            self.over_tokens("Gradient norm", steps, "grad_norm", stages),
            self.consumed(run),
        ]
        jumps = self.jumps(run, spikes)
        return _Part(lede, [_pictures(charts), *jumps, *self.stages(stages), *self.achieved(run)])

    def over_tokens(
        self, caption: str, steps: list[Row], column: str, stages: list[Row], marked: Sequence[Row] = ()
    ) -> Html:
        """A column of `steps` over the tokens read; a dotted line where a stage begins, a dot at what is marked."""
        traces = [
            page.line(name, [row["read"] for row in rows], [row[column] for row in rows], colour,
                      text=[f"step {row['step']}" for row in rows], **more)
            for name, rows, colour, more in (
                (caption, steps, page.COLOURS[0], {}), ("jumps", marked, page.WARM[0], {"mode": "markers"}))
            if rows
        ]  # fmt: skip
        shapes = _dotted([stage["read"] for stage in stages[:-1]])
        return self.page.chart(caption, traces, {"xaxis": {"title": {"text": "tokens"}}, "shapes": shapes})

    def spikes(self, run: RunDirectory) -> list[Row]:
        """The steps whose loss jumps, as the run found them when it ended; the first of many."""
        found = (run.record.get("summary") or {}).get("spikes") or []
        return self.rows(_SPIKES, run.id, found[:SPIKES])

    def jumps(self, run: RunDirectory, spikes: list[Row]) -> list[Html | None]:
        """Each jump with the documents that its step read, where the floors above can say which these were."""
        if not spikes:
            return []
        shown = [self.jump(run, row) for row in spikes]
        return [element("h3", "Where the loss jumps, and what was read there"), *shown]

    def stages(self, stages: list[Row]) -> list[Html | None]:
        return [element("h3", "Stages"), _table(stages, "stage first last tokens loss_first loss_last seconds")]

    def curve(self, run: RunDirectory, *columns: str) -> list[Row]:
        """Rows (step, columns…) of `steps`, averaged over spans of steps when there are more than POINTS."""
        present = self.catalog.query("FROM steps LIMIT 0").column_names
        means = "".join(f', avg("{column}") AS "{column}"' for column in columns if column in present)
        return self.rows(_CURVE.format(means=means, points=POINTS), run.id)

    def over_steps(
        self, caption: str, steps: list[Row], lines: dict[str, str], stages: list[Row], ticks: str | None = None
    ) -> Html | None:
        """A chart of some columns over steps; a dotted line where a stage begins."""
        x = [row["step"] for row in steps]
        drawn = [(key, name) for key, name in lines.items() if any(row.get(key) is not None for row in steps)]
        if not drawn:
            return None
        traces = [
            page.line(name, x, [row[key] for row in steps], page.COLOURS[place])
            for place, (key, name) in enumerate(drawn)
        ]
        shapes = _dotted([row["first"] - 0.5 for row in stages[1:]])
        layout = {"xaxis": {"title": {"text": "step"}}, "yaxis": {"tickformat": ticks}, "shapes": shapes}
        return self.page.chart(caption, traces, layout)

    def jump(self, run: RunDirectory, row: Row) -> Html:
        read: dict[str, Row] = {}
        with contextlib.suppress(UserError):  # the mixture may lie in another store
            found = self.read(self.catalog.store, run, row["step"], False).to_pylist() if self.read else []
            read = {span["doc_id"]: span for span in found}
        before = f"{real(row['before'])} in the {BEFORE} steps before"
        query = element("p", element("code", f"octo trace {run.id} --step {row['step']} --text"))
        documents = _table(list(read.values())[:READ], "doc_id source component length")
        return fold(f"step {row['step']}: loss {real(row['loss'])}, {before}", documents, query)

    def consumed(self, run: RunDirectory) -> Html | None:
        """Share of each source in what was consumed, over tokens."""
        named = [row["source"] for row in self.rows(_LARGEST_SOURCES, run.id, NAMED)]
        found = self.rows(_SHARES.format(points=LAYER_POINTS), run.id, named)
        if not found:
            return None
        steps = sorted({row["read"] for row in found})
        share = {(row["source"], row["read"]): row["share"] for row in found}
        layers = [name for name in (*named, OTHERS) if any((name, step) in share for step in steps)]
        traces = [
            page.area(name, steps, [share.get((name, s), 0) for s in steps], self.sources[name]) for name in layers
        ]
        layout = {"xaxis": {"title": {"text": "tokens"}}, "yaxis": {"tickformat": ".0%", "range": [0, 1]}}
        return self.page.chart("Tokens consumed, by source", traces, layout)

    def achieved(self, run: RunDirectory) -> list[Html | None]:
        """Planned and achieved tokens of each component, and what each source gave."""
        manifests = [manifest["id"] for manifest in run.record["manifests"]]
        planned = (run.record.get("summary") or {}).get("planned_tokens")
        rows = self.rows(_ACHIEVED, run.id, manifests)
        for row in rows:
            row["planned"] = planned.get(row["component"], 0) if planned else row["planned"]
        whole, got = (sum(row[key] or 0 for row in rows) for key in ("planned", "achieved"))
        for row in rows:
            row |= {"planned_share": page.share(row["planned"], whole), "share": page.share(row["achieved"], got)}
        note = "" if planned else " (planned: the whole mixture)"
        return [
            element("h3", f"Planned and achieved{note}"),
            _table(rows, "component planned achieved planned_share share"),
            _table(self.rows(_CONSUMED, run.id), "source component tokens share", "What was consumed"),
        ]

    def reinforcement(self, run: RunDirectory) -> _Part:
        steps = self.curve(run, *RL_CURVES, "length_p95", "cap", "loss", "lr")
        if not steps:
            return _Part("No step has been recorded.", [])
        met = self.rows("FROM alarms WHERE run = $1 ORDER BY step, action", run.id)
        acted = [{"first": row["step"] + 1} for row in met if row["action"] != "warn"]
        grown = [{"first": new["step"]} for old, new in pairwise(steps) if old.get("cap") != new.get("cap")]
        marks = [*acted, *grown]
        curves = {key: {key: name} for key, name in RL_CURVES.items()}
        curves["length_mean"] = {"length_mean": "mean", "length_p95": "95th percentile", "cap": "cap"}
        charts = [
            self.over_steps(name, steps, curves[key], [{}, *marks], SHARE_FORMAT if key in RL_SHARES else None)
            for key, name in RL_CURVES.items()
        ]
        charts += [*self.by_source(run, marks), self.verdicts(run)]
        charts.append(self.over_steps("Loss", steps, {"loss": "loss"}, []))
        shown = [*self.alarms(met), _pictures(charts), *self.validations(run), *self.left_out(run)]
        return _Part(self.reinforced(run), [*shown, *self.rollouts(run)])

    def alarms(self, met: list[Row]) -> list[Html | None]:
        """What the collapse watch saw, when, and what followed."""
        if not met:
            return []
        note = "Dotted lines in the charts: the run stopped, fell back to a checkpoint, or allowed longer answers."
        columns = "step signal value above below steps action checkpoint"
        return [element("h3", "Collapse watch"), _table(met, columns), element("p", note)]

    def validations(self, run: RunDirectory) -> list[Html | None]:
        """Accuracy on each benchmark that the run was validated on, over its steps."""
        scored = self.rows(_VALIDATED, run.id)
        steps = sorted({row["step"] for row in scored})
        value = {(row["benchmark"], row["step"]): row["value"] for row in scored}
        lines = {row["benchmark"]: row["benchmark"] for row in scored}
        table = [{"step": step} | {name: value.get((name, step)) for name in lines} for step in steps]
        chart = self.over_steps("Accuracy in validation", table, lines, [], SHARE_FORMAT)
        return [element("h3", "Validation"), _pictures([chart])] if chart else []

    def left_out(self, run: RunDirectory) -> list[Html | None]:
        """Prompts that were too long, and references that failed the grader's controls."""
        too_long, controls = run.record.get("too_long") or [], run.record.get("controls") or {"failed": []}
        found: list[Html | None] = []
        if too_long:
            limit = run.record["config"]["max_prompt_tokens"]
            heading = f"{number(len(too_long), 'prompt')} of more than {number(limit, 'token')} left out"
            found.append(fold(heading, [_table(too_long, "prompt_id tokens")]))
        if controls["failed"]:
            heading = f"{len(controls['failed'])} of {controls['references']} references fail the grader's controls"
            found.append(fold(heading, [_table(controls["failed"], "prompt_id reference control verdict reason")]))
        return found

    def reinforced(self, run: RunDirectory) -> str:
        """The lede of an RL run: the first and the last tenth of its steps."""
        (ends,) = self.rows(_REWARD_ENDS, run.id)
        lede = f"{number(ends['steps'], 'step')}, {number(ends['responses'], 'response')}"
        if ends["reward_first"] is None:
            return f"{lede}."
        return (
            f"{lede}; mean reward {real(ends['reward_first'])} → {real(ends['reward_last'])}, accuracy "
            f"{percent(ends['accuracy_first'])} → {percent(ends['accuracy_last'])} (first and last tenth of the steps)."
        )

    def by_source(self, run: RunDirectory, begins: list[Row]) -> list[Html | None]:
        """What responses came to over steps, a line per source; of a single source its reward alone."""
        found = self.rows(_BY_SOURCE.format(points=POINTS), run.id, NAMED)
        names = list(dict.fromkeys(row["source"] for row in found))
        drawn = list(BY_SOURCE.items())[: None if len(names) > 1 else 1] if names else []
        shapes = _dotted([row["first"] - 0.5 for row in begins])
        charts: list[Html | None] = []
        for key, (caption, ticks) in drawn:
            traces = []
            for name in names:
                mine = [row for row in found if row["source"] == name]
                traces.append(
                    page.line(name, [row["step"] for row in mine], [row[key] for row in mine], self.sources[name])
                )
            layout = {"xaxis": {"title": {"text": "step"}}, "yaxis": {"tickformat": ticks}, "shapes": shapes}
            charts.append(self.page.chart(f"{caption} by source", traces, layout | {"showlegend": True}))
        return charts

    def verdicts(self, run: RunDirectory) -> Html | None:
        found = self.rows(_VERDICTS.format(points=LAYER_POINTS), run.id)
        steps = [row["step"] for row in found]
        traces = [
            page.area(name, steps, [row[name] for row in found], colour) for name, colour in page.VERDICTS.items()
        ]
        layout = {"xaxis": {"title": {"text": "step"}}, "yaxis": {"tickformat": ".0%", "range": [0, 1]}}
        return self.page.chart("Verdicts", traces, layout) if found else None

    def rollouts(self, run: RunDirectory) -> list[Html | None]:
        """A few responses of each verdict from the first and the last step."""
        shown: dict[int, list[Html]] = {}
        for row in self.rows(_ROLLOUTS, run.id, SAMPLES // 2, SAMPLE_CHARS):
            shown.setdefault(row["step"], []).append(response(row, f"{row['source']} · reward {real(row['reward'])}"))
        folds = [fold(f"Step {step}", responses) for step, responses in shown.items()]
        return [element("h3", "Responses, first and last step"), *folds] if folds else []

    # -- curation ---------------------------------------------------------------------------------------------------

    def curation(self, run: RunDirectory) -> _Part:
        """The tasks over time, lane by lane, and those that took longest beside the median."""
        tasks = [row for row in run.lines("tasks.jsonl", "attempts") if "started" in row]
        ended = [row | {"seconds": row["ended"] - row["started"]} for row in tasks if "ended" in row]
        if not ended:
            return _Part("No task has ended.", [])
        begin, end = min(row["started"] for row in tasks), max(row["ended"] for row in ended)
        middle = sorted(row["seconds"] for row in ended)[len(ended) // 2]
        documents = sum(row.get("documents", 0) for row in ended)
        lede = (
            f"{number(len(ended), 'task')}, {number(documents, 'document')} in {end - begin:,.0f} s; "
            f"half the tasks took {middle:,.1f} s or less, the longest {max(row['seconds'] for row in ended):,.1f} s."
        )
        slowest = sorted(ended, key=lambda row: -row["seconds"])[:STRAGGLERS]
        stragglers = [
            {"of_median": page.share(row["seconds"], middle), "attempts": 1, "documents": 0} | row for row in slowest
        ]
        drawn = [_bar_of(row, begin, middle) for row in sorted(ended, key=lambda row: -row["seconds"])[:BARS]]
        body: list[Html | None] = [
            element("h3", "Tasks over time"),
            figure("One line per process; twice the median and more is marked", page.lanes(drawn, end - begin)),
            page.legend({"task": page.KEPT, "straggler": page.QUARANTINED, "failed": page.WARM[0]}),
            element("h3", "Tasks that took longest"),
            _table(stragglers, "task source file host seconds of_median documents bytes attempts"),
        ]
        return _Part(lede, body)

    def evaluation(self, run: RunDirectory) -> _Part:
        scores = self.rows("FROM scores WHERE run = $1 ORDER BY benchmark, metric", run.id)
        if not scores:
            return _Part("No score has been recorded.", [])
        told = [
            f"{row['benchmark']} {percent(row['value'])}" + (f" [{percent(row['low'])}, {percent(row['high'])}]" * has)
            for row in scores
            if row["metric"] == "accuracy"
            for has in [row["low"] is not None and row["high"] is not None]
        ]
        more = f" and {len(told) - 3} more" if len(told) > 3 else ""
        lede = f"Accuracy: {', '.join(told[:3])}{more}." if told else f"{len(scores)} scores."
        body = [
            self.intervals({run.id: scores}),
            _pictures([self.at_k(scores), *self.lengths(run)]),
            _table(scores, "benchmark metric value low high n method", "Scores"),
            self.benchmark_verdicts(run),
            *self.responses(run),
        ]
        return _Part(lede, [element("h3", "Scores"), *body])

    def intervals(self, scores: dict[str, list[Row]]) -> Html | None:
        """Shares of one or several evaluations with their intervals, one line per benchmark and metric."""
        traces = []
        for place, (run, rows) in enumerate(scores.items()):
            rows = [row for row in rows if row["metric"].startswith(SHARES) and row["n"]][::-1]
            labels = [f"{row['benchmark']} · {row['metric']}" for row in rows]
            traces.append(page.dots(self.title(run), rows, labels, page.COLOURS[place % len(page.COLOURS)]))
        lines = len({label for trace in traces for label in trace["y"]})
        layout = {
            "xaxis": {"tickformat": ".0%", "range": [-0.02, 1.02]},
            "yaxis": {"type": "category"},
            "hovermode": "closest",
            "scattermode": "group",
        }
        height = 5 + lines * (1.2 + 0.8 * len(traces))
        return self.page.chart("Shares with 95% intervals", traces, layout, height) if lines else None

    def at_k(self, scores: list[Row]) -> Html | None:
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
        return self.page.chart("pass@k and maj@k", traces, layout | {"showlegend": True}) if traces else None

    def lengths(self, run: RunDirectory) -> list[Html | None]:
        """A histogram of response lengths per benchmark, right answers and others."""
        found: dict[str, list[Row]] = {}
        for row in self.rows(_LENGTHS.format(bins=BINS), run.id):
            found.setdefault(row["benchmark"], []).append(row)
        return [self.length_histogram(name, rows) for name, rows in found.items()]

    def length_histogram(self, name: str, rows: list[Row]) -> Html:
        width = rows[0]["width"]
        height = {(row["correct"], row["bin"]): row["n"] for row in rows}
        middles = [width * (place + 0.5) for place in range(BINS)]
        traces = [
            page.columns(
                label, middles, [height.get((right, place), 0) for place in range(BINS)], page.VERDICTS[verdict]
            )
            for label, right, verdict in (("right", True, "CORRECT"), ("not right", False, "INCORRECT"))
        ]
        layout = {"barmode": "stack", "hovermode": "closest", "xaxis": {"title": {"text": "tokens of a response"}}}
        return self.page.chart(f"Length of responses, {name}", traces, layout)

    def benchmark_verdicts(self, run: RunDirectory) -> Html | None:
        bars: dict[str, list[page.Segment]] = {}
        for row in self.rows(_BENCHMARK_VERDICTS, run.id):
            bars.setdefault(row["benchmark"], []).append((row["verdict"], row["n"], page.VERDICTS[row["verdict"]]))
        return figure("Responses by verdict", page.bars(bars), page.legend(page.VERDICTS)) if bars else None

    def responses(self, run: RunDirectory) -> list[Html | None]:
        """A few responses of each verdict, benchmark by benchmark."""
        shown: dict[str, list[Html]] = {}
        for row in self.rows(_RESPONSES, run.id, SAMPLES // 2, SAMPLE_CHARS):
            said = response(row, f"item {row['item_id']} · reference {row['reference']}")
            shown.setdefault(row["benchmark"], []).append(said)
        folds = [fold(f"{name} ({len(responses)} shown)", responses) for name, responses in shown.items()]
        return [element("h3", "Responses by verdict"), *folds] if folds else []

    def comparison(self) -> Html | None:
        """The evaluations of the page side by side, when there are several."""
        runs = [run.id for run in self.things if _noun(run) == "evaluation"]
        sql = "FROM scores WHERE run = $1 ORDER BY benchmark, metric"
        scores = {run: rows for run in runs if (rows := self.rows(sql, run))}
        if len(scores) < 2:
            return None
        lines: dict[tuple[str, str], Row] = {}
        for run, found in scores.items():
            for score in found:
                name = {"benchmark": score["benchmark"], "metric": score["metric"]}
                lines.setdefault(tuple(name.values()), name | dict.fromkeys(scores))[run] = score["value"]
        columns = [Column(run, self.title(run), real) for run in scores]
        table = page.table(list(lines.values()), _column("benchmark"), _column("metric"), *columns)
        head = element("p", "comparison", class_="eyebrow"), element("h2", "Evaluations side by side")
        return element("section", *head, self.intervals(scores), table, id="comparison")


# -- rows into words -----------------------------------------------------------------------------------------------


def _bar_of(row: Row, begin: float, median: float) -> page.Bar:
    """A task as a bar of the lane of its process."""
    slow = row["seconds"] >= 2 * median and row["seconds"] > 1
    colour = page.WARM[0] if "error" in row else page.QUARANTINED if slow else page.KEPT
    title = f"task {row['task']}, {row['source']}/{row['file']}: {row['seconds']:.1f} s on {row['host']}"
    return page.Bar(f"{row['host']} {row['pid']}", row["started"] - begin, row["seconds"], colour, title)


def _listed(links: list[Html]) -> list[object]:
    parts: list[object] = [part for link in links for part in (link, ", ")]
    return parts[:-1] or ["–"]


def _time(stamp: str | None) -> str:
    """An ISO time in UTC as people read it."""
    return (stamp or "–").replace("T", " ").replace("+00:00", " UTC")


def _pictures(charts: list[Html | None]) -> Html:
    return element("div", charts, class_="pictures")


def _wide(text: str) -> Html:
    """A sentence in a table, which on a phone would become a column of single words."""
    return element("span", text, class_="wide")


def _fine(value: float | None) -> str:
    """A share to a hundredth of a percent, where rounding to whole sequences shows."""
    return percent(value, 2)


_HEADINGS: dict[str, str | tuple[str, page.Write]] = {
    # what and where
    "name": "Made",
    "what": "Kind",
    "id": ("ID", code),
    "lede": "In short",
    "source": "Source",
    "file": "File",
    "host": "Machine",
    "task": "Task",
    "sources": "Sources",
    "outcome": "Outcome",
    "reason": "Reason",
    "license": "Licence",
    "cluster_id": ("Cluster", code),
    "component": "Component",
    "where": ("Where", code),
    "stage": "Stage",
    "benchmark": "Benchmark",
    "metric": "Metric",
    "method": "Interval by",
    "split": "Split",
    "subject": "Subject",
    "level": "Level",
    "label": "Label",
    "word": ("Word", code),
    "item_id": ("Item", code),
    "doc_id": ("Document", code),
    "part": "Part",
    "item": ("The item", page.prose),
    "span": ("The document holds", page.prose),
    "score": "Score",
    "verdict": "Verdict",
    "step": "Step",
    "signal": "Signal",
    "action": "What followed",
    "prompt_id": ("Prompt", code),
    "reference": ("Reference", code),
    "control": "Control",
    # how much
    "documents": ("Documents", count),
    "attempts": ("Attempts", count),
    "of_median": ("Times the median", real),
    "bytes": ("Bytes read", page.size),
    "documents_in": ("Documents in", count),
    "kept": ("Kept", count),
    "kept_share": ("Share kept", percent),
    "dropped": ("Dropped", count),
    "quarantined": ("Quarantined", count),
    "tokens": ("Tokens", count),
    "length": ("Tokens", count),
    "tokens_in": ("Tokens in", count),
    "kept_tokens": ("Tokens kept", count),
    "token_share": ("Share kept", percent),
    "of_all": ("Of all documents", percent),
    "size": ("Items in all", count),
    "items": ("Items", count),
    "found": ("Items found", count),
    "prompts": ("Prompts", count),
    "weight": ("Weight", real),
    "share_wanted": ("Share wanted", _fine),
    "share": ("Share", _fine),
    "sequences": ("Sequences", count),
    "available_documents": ("Documents available", count),
    "available_tokens": ("Tokens available", count),
    "epochs": ("Epochs", real),
    "max_epochs": ("At most", real),
    "planned": ("Tokens planned", count),
    "achieved": ("Tokens achieved", count),
    "planned_share": ("Share planned", _fine),
    "first": ("From step", count),
    "last": ("To step", count),
    "seconds": ("Seconds", real),
    "loss_first": ("First loss", real),
    "loss_last": ("Last loss", real),
    "value": ("Value", real),
    "low": ("Low (95%)", real),
    "high": ("High (95%)", real),
    "n": ("n", count),
    "threshold": ("Threshold", real),
    "above": ("Above", real),
    "below": ("Below", real),
    "steps": ("Steps in a row", count),
    "unsolved": ("Never solved", percent),
    "solved": ("Always solved", percent),
    "checkpoint": ("With the weights of step", count),
    "selected": ("Selected", count),
    "precision": ("Precision", percent),
    "recall": ("Recall", percent),
    "coverage": ("Covered", percent),
    "rank": ("Rank", count),
    "count": ("Seen", count),
    "rows": ("Rows", count),
    "prompt_tokens": ("Tokens of requests", count),
    "completion_tokens": ("Tokens of answers", count),
}
"""Heading of a column wherever it appears, and how its values are written when not as they are."""


def _table(rows: list[Row], columns: str, caption: str = "") -> Html:
    """A table of some columns of `rows`, named in one string."""
    return page.table(rows, *map(_column, columns.split()), caption=caption)


def _column(key: str) -> Column:
    heading = _HEADINGS[key]
    return Column(key, heading) if isinstance(heading, str) else Column(key, *heading)


def _outcome(row: Row) -> str:
    return row["outcome"] if row["outcome"] != "dropped" else row["reason"]


def _dotted(places: list[float]) -> list[Row]:
    """Upright lines in a chart."""
    return [{"type": "line", "x0": at, "x1": at, "yref": "paper", "y0": 0, "y1": 1} for at in places]


def _powers() -> Row:
    """An axis of base-10 logarithms with the numbers themselves as ticks."""
    return {"tickvals": list(range(10)), "ticktext": [f"{10**power:,}" for power in range(10)]}


def _span(power: int) -> str:
    """Sizes above 2^(power-1) up to 2^power: 2, 3–4, 5–8, …"""
    low, high = 2 ** (power - 1) + 1, 2**power
    return str(high) if low == high else f"{low}–{high}"


def _document(row: Row) -> Html:
    said = [row["doc_id"], row["source"], f"{count(row['n_tokens'])} tokens", row["url"], row["license"]]
    head = element("p", " · ".join(part for part in said if part))
    evidence = element("p", "Evidence: ", element("code", row["drop_evidence"])) if row["drop_evidence"] else None
    return element("div", head, evidence, page.quotation(row["text"], row["whole"]), class_="sample")


def _pair(row: Row) -> Html:
    alike = "" if row["similarity"] is None else f" · similarity {row['similarity']:.2f}"
    head = f"cluster of {count(row['size'])}{alike} · kept {row['keeper_id']} ({row['keeper_source']}), dropped "
    said = element("p", f"{head}{row['doc_id']} ({row['source']})")
    return element("div", said, page.beside(row["keeper"], row["text"]), class_="sample")


def _question(heading: str, row: Row) -> Html:
    parts = element("p", heading), page.quotation(row["question"]), element("p", "Answer: ", code(row["answer"]))
    return element("div", *parts, class_="sample")


def response(row: Row, heading: str) -> Html:
    """A prompt and what a model wrote, with the verdict and what it rests on."""
    verdict = element("span", row["verdict"], class_="verdict", style=f"background:{page.VERDICTS[row['verdict']]}")
    extracted = f" · answer found: {row['extracted']}" if row["extracted"] else ""
    reason = f" · {row['reason']}" if row["reason"] else ""
    cut = " · truncated" if row["truncated"] else ""
    head = element("p", verdict, f" {heading} · {count(row['tokens'])} tokens{cut}{extracted}{reason}")
    said = page.quotation(row["prompt"]), page.quotation(row["response"], row["whole"])
    return element("div", head, *said, class_="sample")


# -- queries -------------------------------------------------------------------------------------------------------

_ANCESTORS = """
WITH RECURSIVE up AS (
  SELECT child, parent FROM lineage WHERE list_contains($1::VARCHAR[], child)
  UNION SELECT l.child, l.parent FROM lineage l JOIN up ON l.child = up.parent)
SELECT * FROM up ORDER BY ALL
"""
_FUNNEL = """
SELECT source, outcome, reason, documents::BIGINT AS documents, tokens::BIGINT AS tokens, formulas_lost
FROM funnel WHERE manifest = $1
ORDER BY source, list_position(['in', 'kept', 'dropped', 'quarantined'], outcome), reason
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
_REASONS = """
SELECT outcome, reason, sum(documents)::BIGINT AS documents, sum(tokens)::BIGINT AS tokens,
  sum(documents) / (SELECT sum(documents) FROM funnel WHERE manifest = $1 AND outcome <> 'in') AS of_all,
  string_agg(DISTINCT source, ', ' ORDER BY source) AS sources
FROM funnel WHERE manifest = $1 AND outcome IN ('dropped', 'quarantined')
GROUP BY ALL ORDER BY outcome, documents DESC, reason
"""
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
_LICENCES = """
SELECT coalesce(license, 'not stated') AS license, count(*) AS documents,
  count(*) FILTER (drop_reason IS NULL) AS kept,
  coalesce(sum(n_tokens) FILTER (drop_reason IS NULL), 0)::BIGINT AS kept_tokens,
  string_agg(DISTINCT source, ', ' ORDER BY source) AS sources
FROM documents WHERE manifest = $1 GROUP BY ALL ORDER BY kept_tokens DESC, license LIMIT 50
"""
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
_MEMBERS = """
SELECT component, source, count(*) AS documents, sum(n_tokens)::BIGINT AS tokens
FROM members WHERE manifest = $1 GROUP BY ALL ORDER BY ALL
"""
_PROMPT_SOURCES = """
SELECT source, count(*) AS prompts FROM prompts WHERE manifest = $1 GROUP BY ALL ORDER BY prompts DESC, source
"""
_ANSWERS = """
SELECT score, verdict, count(*) AS rows, count(DISTINCT doc_id) AS documents,
       sum(prompt_tokens)::BIGINT AS prompt_tokens, sum(completion_tokens)::BIGINT AS completion_tokens
FROM annotations WHERE manifest = $1 GROUP BY score, verdict ORDER BY verdict <> 'ok', score, rows DESC, verdict
"""
_ITEM_GROUPS = """
SELECT split, subject, level, count(*) AS items FROM items WHERE manifest = $1 GROUP BY ALL ORDER BY ALL LIMIT 100
"""
_STAGES = """
SELECT stage, min(step) AS first, max(step) AS last, sum(tokens)::BIGINT AS tokens, sum(seconds) AS seconds,
  arg_min(loss, step) AS loss_first, arg_max(loss, step) AS loss_last,
  sum(sum(tokens)) OVER (ORDER BY min(step))::BIGINT AS read
FROM steps WHERE run = $1 GROUP BY stage ORDER BY first
"""
_SPIKES = f"""
WITH mine AS (
  SELECT step, loss, sum(tokens) OVER (ORDER BY step)::BIGINT AS read,
    avg(loss) OVER (ORDER BY step ROWS BETWEEN {BEFORE} PRECEDING AND 1 PRECEDING) AS before
  FROM steps WHERE run = $1)
FROM mine WHERE list_contains($2::BIGINT[], step) ORDER BY step
"""
_CURVE = """
WITH mine AS (SELECT *, sum(tokens) OVER (ORDER BY step)::BIGINT AS read FROM steps WHERE run = $1),
span AS (SELECT greatest(ceil(max(step) / {points}), 1)::BIGINT AS width FROM mine)
SELECT max(step) AS step, max(read) AS read{means} FROM mine, span GROUP BY (step - 1) // width ORDER BY step
"""
_LARGEST_SOURCES = """
SELECT source FROM consumption WHERE run = $1 GROUP BY source ORDER BY sum(tokens) DESC, source LIMIT $2
"""
_SHARES = """
WITH mine AS (FROM consumption WHERE run = $1),
span AS (SELECT greatest(ceil(max(step) / {points}), 1)::BIGINT AS width FROM mine),
spans AS (SELECT (step - 1) // width AS span, step, tokens,
  if(list_contains($2::VARCHAR[], source), source, 'other sources') AS source FROM mine, span),
ends AS (
  SELECT span, sum(tokens) AS whole, sum(sum(tokens)) OVER (ORDER BY span)::BIGINT AS read FROM spans GROUP BY span)
SELECT ends.read, source, sum(tokens) / any_value(whole) AS share
FROM spans JOIN ends USING (span) GROUP BY ALL ORDER BY ALL
"""
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
_REWARD_ENDS = """
WITH mine AS (SELECT step, reward, (verdict = 'CORRECT')::INTEGER AS correct FROM rollouts WHERE run = $1),
marks AS (
  SELECT min(step) AS first, max(step) AS last, greatest((max(step) - min(step) + 1) // 10, 1) AS tenth FROM mine)
SELECT count(DISTINCT step) AS steps, count(*) AS responses,
  avg(reward) FILTER (step < first + tenth) AS reward_first, avg(reward) FILTER (step > last - tenth) AS reward_last,
  avg(correct) FILTER (step < first + tenth) AS accuracy_first,
  avg(correct) FILTER (step > last - tenth) AS accuracy_last
FROM mine, marks
"""
_BY_SOURCE = """
WITH mine AS (FROM rollouts WHERE run = $1),
span AS (SELECT greatest(ceil(max(step) / {points}), 1)::BIGINT AS width FROM mine),
named AS (SELECT source FROM mine GROUP BY source ORDER BY count(*) DESC, source LIMIT $2)
SELECT source, max(step) AS step, avg(reward) AS reward, avg((verdict = 'CORRECT')::INTEGER) AS accuracy,
  avg(tokens) AS length, avg(truncated::INTEGER) AS truncated
FROM mine JOIN named USING (source), span GROUP BY source, (step - 1) // width ORDER BY ALL
"""
_VERDICTS = """
WITH mine AS (FROM rollouts WHERE run = $1),
span AS (SELECT greatest(ceil(max(step) / {points}), 1)::BIGINT AS width FROM mine)
SELECT max(step) AS step, avg((verdict = 'CORRECT')::INTEGER) AS CORRECT,
  avg((verdict = 'INCORRECT')::INTEGER) AS INCORRECT,
  avg((verdict = 'UNPARSED')::INTEGER) AS UNPARSED, avg((verdict = 'ERROR')::INTEGER) AS ERROR
FROM mine, span GROUP BY (step - 1) // width ORDER BY step
"""
_ROLLOUTS = """
WITH mine AS (FROM rollouts WHERE run = $1), ends AS (SELECT min(step) AS first, max(step) AS last FROM mine)
SELECT step, source, left(prompt, $3) AS prompt, left(response, $3) AS response, length(response) AS whole, tokens,
  truncated, verdict, extracted, reason, reward
FROM mine, ends WHERE step IN (first, last)
QUALIFY row_number() OVER (PARTITION BY step, verdict ORDER BY prompt_id, sample) <= $2
ORDER BY step, verdict, prompt_id, sample
"""
_PASS_RATES = """
SELECT source, count(*) AS prompts, avg(pass_rate) AS value, avg((pass_rate = 0)::INTEGER) AS unsolved,
  avg((pass_rate = 1)::INTEGER) AS solved
FROM pass_rates WHERE manifest = $1 GROUP BY source ORDER BY source
"""
_VALIDATED = """
SELECT benchmark, step, value FROM scores WHERE run = $1 AND metric = 'accuracy' ORDER BY benchmark, step
"""
_BENCHMARK_VERDICTS = """
SELECT benchmark, verdict, count(*) AS n FROM samples WHERE run = $1 GROUP BY ALL ORDER BY benchmark, verdict
"""
_LENGTHS = """
WITH mine AS (FROM samples WHERE run = $1),
span AS (SELECT benchmark, greatest(max(tokens) + 1, {bins}) / {bins}::DOUBLE AS width FROM mine GROUP BY benchmark)
SELECT benchmark, verdict = 'CORRECT' AS correct, floor(tokens / width)::BIGINT AS bin, any_value(width) AS width,
  count(*) AS n
FROM mine JOIN span USING (benchmark) GROUP BY ALL ORDER BY ALL
"""
_RESPONSES = """
SELECT benchmark, item_id, IF(length(prompt) > $3, '… ' || right(prompt, $3), prompt) AS prompt,
  left(response, $3) AS response, length(response) AS whole, tokens, truncated, verdict, extracted, reason, reference
FROM samples WHERE run = $1
QUALIFY row_number() OVER (PARTITION BY benchmark, verdict ORDER BY item_id, sample) <= $2
ORDER BY benchmark, verdict, item_id, sample
"""

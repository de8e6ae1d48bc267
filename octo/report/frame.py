"""The frame of a report: what its things are called, how they are linked and drawn, and the section of each."""

from dataclasses import dataclass
from typing import Any

from manifests.catalog import Catalog
from manifests.manifest import Manifest
from manifests.runs import RunDirectory
from octo.report import page
from octo.report.columns import table_of
from octo.report.page import Html, code, element, facts, figure, fold

Row = dict[str, Any]
Thing = Manifest | RunDirectory
NOUNS: dict[str, str] = {
    "train": "training run",
    "rl": "RL run",
    "eval": "evaluation",
    "curate": "curation",
    "pass-rate": "measurement",
}
BENCHMARK_BOXES = 3
"""Benchmarks that are drawn one by one in the lineage; more are drawn as one box."""
_ANCESTORS = """
WITH RECURSIVE up AS (
  SELECT child, parent FROM lineage WHERE list_contains($1::VARCHAR[], child)
  UNION SELECT l.child, l.parent FROM lineage l JOIN up ON l.child = up.parent)
SELECT * FROM up ORDER BY ALL
"""


def noun(thing: Thing) -> str:
    return thing.kind if isinstance(thing, Manifest) else NOUNS[thing.record["kind"]]


class Colours(dict[str, str]):
    """Gives each new name the next colour, so that a name has one colour all over the page."""

    def __init__(self, colours: tuple[str, ...]):
        super().__init__()
        self._colours = colours

    def __missing__(self, name: str) -> str:
        self[name] = self._colours[len(self) % len(self._colours)]
        return self[name]


@dataclass(frozen=True)
class Part:
    """What the page says of one thing: a sentence that sums it up, and what is shown below it."""

    lede: str
    body: list[Html | None]


class Report:
    """One page in the making."""

    def __init__(self, catalog: Catalog, things: list[Thing]):
        self.catalog, self.things, self.page = catalog, things, page.Page()
        self.sources, self.reasons = Colours(page.COLOURS), Colours(page.WARM)
        self.refs = {row["manifest"]: row for row in self.rows("SELECT manifest, name, version, kind FROM manifests")}
        self.runs = {row["run"]: row for row in self.rows("SELECT run, kind, manifests, parent FROM runs")}
        self.here = {thing.id for thing in things}

    def rows(self, sql: str, *parameters: Any) -> list[Row]:
        return self.catalog.query(sql, list(parameters)).to_pylist()

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

    def contents(self, parts: dict[str, Part]) -> Html:
        rows = [
            {"name": self.link(thing.id), "what": noun(thing), "id": thing.id, "lede": _wide(parts[thing.id].lede)}
            for thing in self.things
        ]
        return table_of(rows, "name what id lede")

    def section(self, thing: Thing, part: Part) -> Html:
        identity = self.about_manifest(thing) if isinstance(thing, Manifest) else self.about_run(thing)
        badge = warning = None
        if isinstance(thing, RunDirectory):
            badge = element("span", thing.status, class_=f"badge {thing.status}")
            warning = element("p", thing.record["reason"], class_="warning") if thing.record.get("reason") else None
        return element(
            "section",
            element("p", noun(thing), class_="eyebrow"),
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


def _listed(links: list[Html]) -> list[object]:
    parts: list[object] = [part for link in links for part in (link, ", ")]
    return parts[:-1] or ["–"]


def _time(stamp: str | None) -> str:
    """An ISO time in UTC as people read it."""
    return (stamp or "–").replace("T", " ").replace("+00:00", " UTC")


def _wide(text: str) -> Html:
    """A sentence in a table, which on a phone would become a column of single words."""
    return element("span", text, class_="wide")

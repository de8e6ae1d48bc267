"""`octo report`: one self-contained HTML page about manifests and runs.

Given a single ID the page tells of that thing; given the corpus, its mixtures and the runs made from them it tells the
whole walk in order, beginning with a picture of what was made from what.

Promises. Every number comes from SQL over the catalog, as an aggregate or a bounded sample, so the page stays small and
the reading stays within memory whatever the corpus holds. Samples are the first by doc_id, which is a hash: the choice
is arbitrary and the same every time, and so is the whole page. Text of documents and models is escaped (see
`manifests.page`). Leaves out: typeset mathematics, side-by-side comparison of duplicates, comparison of runs.
"""

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests import page
from manifests.catalog import Catalog, main_rows
from manifests.identity import json_digest
from manifests.manifest import Manifest, resolve
from manifests.page import Column, Html, Node, code, count, element, facts, figure, fold, percent, real, words
from manifests.runs import RunDirectory, load_run
from manifests.store import Store
from manifests.tables import DOCUMENTS

Row = dict[str, Any]

ORDER = ("benchmark", "corpus", "mixture", "train", "prompts", "rl", "eval")
NOUNS = {"train": "Training run", "rl": "RL run", "eval": "Evaluation"}
POINTS = 600
"""Points of a curve at most; longer runs are averaged over equal spans of steps."""
BINS = 40
SHOWN_SEQUENCES = 2000
NAMED_SOURCES = 9
"""Sources drawn under their own name in one chart; the rest are drawn together."""
SAMPLES = 4
SAMPLE_CHARS = 1500
COMPARABLE = ("accuracy", "pass@", "unparsed", "truncated", "errors")
"""Metrics that are shares, drawn on one axis from 0 to 1."""


def report(store: Store, refs: list[str], path: Path | None = None) -> Path:
    """Write the page about the manifests and runs named by `refs`; returns where it lies.

    Without `path` it is put into the store as reports/<id>.html (for several things, an ID made from theirs). Raises
    UserError for a reference that names nothing.
    """
    subjects = {thing.id: thing for thing in (_find(store, ref) for ref in refs)}
    with Catalog(store) as catalog:
        text = _Report(catalog, sorted(subjects.values(), key=_in_order)).write()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path
    name = next(iter(subjects)) if len(subjects) == 1 else f"report-{json_digest(sorted(subjects))[:12]}"
    store.put(f"reports/{name}.html", text.encode())
    return store.local(f"reports/{name}.html")


def _find(store: Store, ref: str) -> Manifest | RunDirectory:
    return load_run(store, ref) if ref.startswith("run-") else resolve(store, ref)


def _kind(thing: Manifest | RunDirectory) -> str:
    return thing.kind if isinstance(thing, Manifest) else thing.record["kind"]


def _created(thing: Manifest | RunDirectory) -> str:
    return thing.provenance.get("time", "") if isinstance(thing, Manifest) else thing.record["created"]


def _in_order(thing: Manifest | RunDirectory) -> tuple[int, str, str]:
    return ORDER.index(_kind(thing)), _created(thing), thing.id


class _Colours(dict[str, str]):
    """Gives each new name the next colour, so that a name has one colour all over the page."""

    def __init__(self, colours: tuple[str, ...], **fixed: str):
        super().__init__(fixed)
        self._colours = colours

    def __missing__(self, name: str) -> str:
        self[name] = self._colours[len(self) % len(self._colours)]
        return self[name]


@dataclass(frozen=True)
class _Part:
    """A part of the page: the sentence that sums it up, and what is shown below."""

    lede: str
    body: list[Html]


class _Report:
    """One page in the making."""

    def __init__(self, catalog: Catalog, things: list[Manifest | RunDirectory]):
        self.catalog, self.things = catalog, things
        self.page = page.Page()
        self.sources = _Colours(page.COLOURS)
        self.reasons = _Colours(page.WARM)
        self.ids = {thing.id for thing in things}
        self.titles = {thing.id: _title(thing) for thing in things}

    def rows(self, sql: str, *parameters: Any) -> list[Row]:
        return self.catalog.query(sql, list(parameters)).to_pylist()

    def has(self, view: str, *columns: str) -> list[str]:
        """Those of `columns` that the rows of `view` have in this store."""
        present = self.catalog.query(f"FROM {view} LIMIT 0").column_names
        return [column for column in columns if column in present]

    # -- the whole -------------------------------------------------------------------------------------------------

    def write(self) -> str:
        parts = {thing.id: self.part(thing) for thing in self.things}
        title = self.titles[self.things[0].id] if len(parts) == 1 else self._walk_title()
        top = [
            element("p", "octothinker report", class_="eyebrow"),
            element("h1", title),
            self._contents(parts) if len(parts) > 1 else None,
            self._lineage(),
        ]
        sections = [self._section(thing, parts[thing.id]) for thing in self.things]
        comparison = self._comparison()
        body = [element("header", *top), element("main", *sections, comparison)]
        return self.page.render(title, page.markup(body))

    def _walk_title(self) -> str:
        manifests = sum(isinstance(thing, Manifest) for thing in self.things)
        runs = len(self.things) - manifests
        told = [f"{n} {word}{'s' if n > 1 else ''}" for n, word in ((manifests, "manifest"), (runs, "run")) if n]
        return f"The walk: {' and '.join(told)}"

    def _contents(self, parts: dict[str, _Part]) -> Html:
        rows = [
            {"what": _noun(thing), "name": self.link(thing.id), "id": thing.id, "lede": parts[thing.id].lede}
            for thing in self.things
        ]
        return page.table(
            rows, Column("what", "What"), Column("name", "Which"), Column("id", "ID", code), Column("lede", "In short")
        )

    def link(self, id: str) -> Html:
        """The name of a thing, leading to its section where it has one."""
        return element("a", self.titles[id], href=f"#{id}") if id in self.ids else element("code", id)

    def _section(self, thing: Manifest | RunDirectory, part: _Part) -> Html:
        status = thing.status if isinstance(thing, RunDirectory) else None
        badge = element("span", status, class_=f"badge {status}") if status else None
        reason = thing.record.get("reason") if isinstance(thing, RunDirectory) else None
        head = [
            element("p", _noun(thing), class_="eyebrow"),
            element("h2", self.titles[thing.id], " ", badge),
            element("p", part.lede, class_="lede"),
            element("p", reason, class_="warning") if reason else None,
        ]
        identity = self._manifest_facts(thing) if isinstance(thing, Manifest) else self._run_facts(thing)
        return element("section", *head, *part.body, *identity, id=thing.id)

    def part(self, thing: Manifest | RunDirectory) -> _Part:
        match _kind(thing):
            case "corpus":
                return self.corpus(thing)  # pyright: ignore[reportArgumentType]
            case "mixture":
                return self.mixture(thing)  # pyright: ignore[reportArgumentType]
            case "prompts":
                return self.prompts(thing)  # pyright: ignore[reportArgumentType]
            case "benchmark":
                return self.benchmark(thing)  # pyright: ignore[reportArgumentType]
            case "train":
                return self.training(thing)  # pyright: ignore[reportArgumentType]
            case "rl":
                return self.rl(thing)  # pyright: ignore[reportArgumentType]
            case _:
                return self.evaluation(thing)  # pyright: ignore[reportArgumentType]

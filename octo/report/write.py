"""`octo report`: one self-contained HTML page about manifests and runs.

With one ID the page shows that manifest or run; with a corpus, its mixtures and the runs on them it shows all of them
in the given order, after a graph of their lineage.

Promises. Every number comes from SQL over the catalog, as an aggregate or a bounded sample, so that page and memory
stay small for any corpus. Samples are the first by doc_id, which is a hash: the choice is arbitrary but reproducible,
and so is the whole page. Text of documents and models is escaped (see `octo.report.page`). Leaves out: runs over their
steps (`octo.report.compare_runs`).
"""

from pathlib import Path

from manifests.catalog import Catalog
from manifests.identity import json_digest
from manifests.manifest import resolve
from manifests.runs import load_run
from manifests.store import Store
from octo.report import page
from octo.report.evaluation_run import comparison
from octo.report.frame import Report, Thing
from octo.report.kinds import part_of
from octo.report.page import element


def report(store: Store, refs: list[str], path: Path | None = None) -> Path:
    """Write the page about the manifests and runs `refs`, in that order, and return its path. Without `path` it is
    written to the store as reports/<id>.html (for several things, an ID made from theirs). UserError for a reference
    that names nothing.
    """
    things = {thing.id: thing for thing in (_find(store, ref) for ref in refs)}
    with Catalog(store) as catalog:
        text = _written(Report(catalog, list(things.values())))
    name = next(iter(things)) if len(things) == 1 else f"report-{json_digest(list(things))[:12]}"
    return page.save(text, store, name, path)


def _find(store: Store, ref: str) -> Thing:
    return load_run(store, ref) if ref.startswith("run-") else resolve(store, ref)


def _written(report: Report) -> str:
    """The page as HTML."""
    parts = {thing.id: part_of(report, thing) for thing in report.things}
    several = len(parts) > 1
    title = "The walk" if several else report.title(report.things[0].id)
    header = element(
        "header",
        element("p", "octothinker report", class_="eyebrow"),
        element("h1", title),
        report.contents(parts) if several else None,
        report.lineage(),
    )
    sections = [report.section(thing, parts[thing.id]) for thing in report.things]
    return report.page.render(f"{title} · octothinker", page.markup([header, *sections, comparison(report)]))

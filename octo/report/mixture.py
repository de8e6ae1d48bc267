"""A mixture in the report: its plan, the order of its sequences, the sources of its components."""

from manifests.catalog import main_rows
from manifests.manifest import Manifest
from octo.report import page
from octo.report.columns import table_of
from octo.report.frame import Part, Report, Row
from octo.report.held_out import set_aside
from octo.report.page import Html, count, element, figure, number, percent, real

STRIP = 500
"""Sequences in the strip of an order."""


def part(report: Report, manifest: Manifest) -> Part:
    """The part of a report about a mixture."""
    components = report.rows("FROM components WHERE manifest = $1 ORDER BY share DESC, component", manifest.id)
    sequences, length = main_rows(manifest), manifest.recipe.get("sequence_length")
    tokens = sum(row["tokens"] for row in components)
    of_length = f" of {count(length)} tokens" if length else ""
    lede = (
        f"{number(sequences, 'sequence')}{of_length} in one exact order: "
        f"{number(tokens, 'token')} from {number(len(components), 'component')}."
    )
    body = [*_components(report, components), *_order(report, manifest, sequences), *_members(report, manifest)]
    body += set_aside(report, manifest)
    return Part(lede, body)


def _components(report: Report, components: list[Row]) -> list[Html | None]:
    amounts = "share_wanted share sequences tokens available_documents available_tokens epochs max_epochs"
    shares = {
        name: [(row["component"], row[key], report.sources[row["component"]]) for row in components]
        for name, key in (("wanted", "share_wanted"), ("planned", "share"))
    }
    epochs = {row["component"]: [("epochs", row["epochs"], report.sources[row["component"]])] for row in components}
    most = max([row["epochs"] for row in components] + [1.0])
    return [
        element("h3", "Plan"),
        table_of(components, f"component where {amounts}"),
        element(
            "div",
            figure("Shares", page.bars(shares, write=percent)),
            figure("Epochs over what is available", page.bars(epochs, most, real)),
            class_="pictures",
        ),
        page.legend({row["component"]: report.sources[row["component"]] for row in components}),
    ]


def _order(report: Report, manifest: Manifest, sequences: int) -> list[Html | None]:
    sql = "SELECT component FROM sequences WHERE manifest = $1 AND sequence < $2 ORDER BY sequence"
    names = [row["component"] for row in report.rows(sql, manifest.id, STRIP)]
    if not names:
        return []
    which = f"the first {count(len(names))} of {count(sequences)}" if len(names) < sequences else "all of them"
    caption = f"Sequences in the order they are read, left to right, {which}"
    drawn = {name: report.sources[name] for name in names}
    return [element("h3", "Order"), figure(caption, page.strip(names, drawn)), page.legend(drawn)]


_MEMBERS = """
SELECT component, source, count(*) AS documents, sum(n_tokens)::BIGINT AS tokens
FROM members WHERE manifest = $1 GROUP BY ALL ORDER BY ALL
"""


def _members(report: Report, manifest: Manifest) -> list[Html | None]:
    return [
        element("h3", "Sources of each component"),
        table_of(report.rows(_MEMBERS, manifest.id), "component source documents tokens"),
    ]

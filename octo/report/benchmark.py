"""A benchmark in the report: its items by split, subject and level."""

from manifests.catalog import main_rows
from manifests.manifest import Manifest
from octo.report.columns import table_of
from octo.report.excerpts import SAMPLES, question
from octo.report.frame import Part, Report
from octo.report.page import element, fold, number

_ITEM_GROUPS = """
SELECT split, subject, level, count(*) AS items FROM items WHERE manifest = $1 GROUP BY ALL ORDER BY ALL LIMIT 100
"""


def part(report: Report, manifest: Manifest) -> Part:
    """The part of a report about a benchmark."""
    groups = report.rows(_ITEM_GROUPS, manifest.id)
    first = report.rows("FROM items WHERE manifest = $1 ORDER BY item_id LIMIT $2", manifest.id, SAMPLES)
    shown = [question(f"item {row['item_id']}", row) for row in first]
    table = table_of(groups, "split subject level items")
    return Part(f"{number(main_rows(manifest), 'item')}.", [element("h3", "Items"), table, fold("Some items", shown)])

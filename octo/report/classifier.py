"""A classifier in the report: what each threshold selects, and the words that weigh most."""

from manifests.catalog import main_rows
from manifests.manifest import Manifest
from octo.report.columns import table_of
from octo.report.frame import Part, Report
from octo.report.page import count, element, fold


def part(report: Report, manifest: Manifest) -> Part:
    """The part of a report about a classifier."""
    precision = manifest.counts["average_precision"]
    lede = f"{count(main_rows(manifest))} labelled documents; average precision {precision:.4f} on those held out."
    cuts = report.rows("FROM thresholds WHERE manifest = $1 ORDER BY threshold", manifest.id)
    words = report.rows("FROM features WHERE manifest = $1 ORDER BY label DESC, rank", manifest.id)
    selected = table_of(cuts, "threshold selected precision recall")
    heaviest = fold("Words that weigh most", [table_of(words, "label rank word weight count")])
    return Part(lede, [element("h3", "What each threshold selects"), selected, heaviest])

"""Pass rates in the report: how hard the prompts of each source are."""

from manifests.catalog import main_rows
from manifests.manifest import Manifest
from octo.report.columns import table_of
from octo.report.frame import Part, Report
from octo.report.page import element, number

_PASS_RATES = """
SELECT source, count(*) AS prompts, avg(pass_rate) AS value, avg((pass_rate = 0)::INTEGER) AS unsolved,
  avg((pass_rate = 1)::INTEGER) AS solved
FROM pass_rates WHERE manifest = $1 GROUP BY source ORDER BY source
"""


def part(report: Report, manifest: Manifest) -> Part:
    """How hard the prompts are for one model."""
    found = report.rows(_PASS_RATES, manifest.id)
    responses = number(manifest.counts["responses"], "response")
    lede = f"{number(main_rows(manifest), 'prompt')}, {responses} with a ruling."
    return Part(lede, [element("h3", "Pass rates"), table_of(found, "source prompts value unsolved solved")])

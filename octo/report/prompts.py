"""Prompts in the report: their sources, and the first of them."""

from manifests.catalog import main_rows
from manifests.manifest import Manifest
from octo.report.columns import table_of
from octo.report.excerpts import SAMPLES, question
from octo.report.frame import Part, Report
from octo.report.held_out import set_aside
from octo.report.page import element, fold, number

_PROMPT_SOURCES = """
SELECT source, count(*) AS prompts FROM prompts WHERE manifest = $1 GROUP BY ALL ORDER BY prompts DESC, source
"""


def part(report: Report, manifest: Manifest) -> Part:
    """The part of a report about prompts."""
    sources = report.rows(_PROMPT_SOURCES, manifest.id)
    first = report.rows("FROM prompts WHERE manifest = $1 ORDER BY position LIMIT $2", manifest.id, SAMPLES)
    lede = f"{number(main_rows(manifest), 'prompt')} with answers that can be verified, in one exact order."
    by_source = table_of(sources, "source prompts")
    shown = [question(f"prompt {row['position']} · {row['source']}", row) for row in first]
    body = [element("h3", "Sources"), by_source, *set_aside(report, manifest), fold("The first prompts", shown)]
    return Part(lede, body)

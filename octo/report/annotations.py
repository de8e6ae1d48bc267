"""Annotations in the report: the task of the language model, and the verdicts on its answers."""

from manifests.catalog import main_rows
from manifests.manifest import Manifest
from octo.report.columns import table_of
from octo.report.frame import Part, Report
from octo.report.page import element, fold, number

_ANSWERS = """
SELECT score, verdict, count(*) AS rows, count(DISTINCT doc_id) AS documents,
       sum(prompt_tokens)::BIGINT AS prompt_tokens, sum(completion_tokens)::BIGINT AS completion_tokens
FROM annotations WHERE manifest = $1 GROUP BY score, verdict ORDER BY verdict <> 'ok', score, rows DESC, verdict
"""


def part(report: Report, manifest: Manifest) -> Part:
    """The task, the number of documents, and the verdicts on the answers."""
    documents, rows = manifest.counts["documents"], number(main_rows(manifest), "row")
    lede = f"{number(documents, 'document')} shown to {manifest.recipe['model']} ({manifest.recipe['task']}); {rows}."
    found = report.rows(_ANSWERS, manifest.id)
    table = table_of(found, "verdict score rows documents prompt_tokens completion_tokens")
    prompt = fold("What was asked", element("pre", manifest.recipe["prompt"]))
    return Part(lede, [element("h3", "Answers"), table, prompt])

"""Pieces of text in a report: questions, and what models wrote."""

from octo.report import page
from octo.report.frame import Row
from octo.report.page import Html, code, count, element

SAMPLES = 4
"""Documents or responses shown of each kind."""
SAMPLE_CHARS = 1500


def question(heading: str, row: Row) -> Html:
    parts = element("p", heading), page.quotation(row["question"]), element("p", "Answer: ", code(row["answer"]))
    return element("div", *parts, class_="sample")


def response(row: Row, heading: str) -> Html:
    """A prompt and the response of a model, with the verdict and its reason."""
    verdict = element("span", row["verdict"], class_="verdict", style=f"background:{page.VERDICTS[row['verdict']]}")
    extracted = f" · answer found: {row['extracted']}" if row["extracted"] else ""
    reason = f" · {row['reason']}" if row["reason"] else ""
    cut = " · truncated" if row["truncated"] else ""
    head = element("p", verdict, f" {heading} · {count(row['tokens'])} tokens{cut}{extracted}{reason}")
    said = page.quotation(row["prompt"]), page.quotation(row["response"], row["whole"])
    return element("div", head, *said, class_="sample")

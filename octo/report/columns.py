"""Columns of the tables of a report: heading, and how a value is written, by the name of the column."""

from typing import Any

from octo.report import page
from octo.report.page import Column, Html, code, count, percent, real


def fine(value: float | None) -> str:
    """A share in hundredths of a percent, so that rounding to whole sequences is visible."""
    return percent(value, 2)


_HEADINGS: dict[str, str | tuple[str, page.Write]] = {
    # what and where
    "name": "Made",
    "what": "Kind",
    "id": ("ID", code),
    "lede": "In short",
    "source": "Source",
    "file": "File",
    "host": "Machine",
    "task": "Task",
    "sources": "Sources",
    "outcome": "Outcome",
    "reason": "Reason",
    "license": "Licence",
    "cluster_id": ("Cluster", code),
    "component": "Component",
    "where": ("Where", code),
    "stage": "Stage",
    "benchmark": "Benchmark",
    "metric": "Metric",
    "method": "Interval by",
    "split": "Split",
    "subject": "Subject",
    "level": "Level",
    "label": "Label",
    "word": ("Word", code),
    "item_id": ("Item", code),
    "doc_id": ("Document", code),
    "part": "Part",
    "item": ("The item", page.prose),
    "span": ("The document holds", page.prose),
    "score": "Score",
    "verdict": "Verdict",
    "step": "Step",
    "signal": "Signal",
    "action": "What followed",
    "prompt_id": ("Prompt", code),
    "reference": ("Reference", code),
    "control": "Control",
    # how much
    "documents": ("Documents", count),
    "attempts": ("Attempts", count),
    "of_median": ("Times the median", real),
    "bytes": ("Bytes read", page.size),
    "documents_in": ("Documents in", count),
    "kept": ("Kept", count),
    "kept_share": ("Share kept", percent),
    "dropped": ("Dropped", count),
    "quarantined": ("Quarantined", count),
    "formulas_lost": ("Formulas lost", count),
    "files": ("Files", count),
    "tokens": ("Tokens", count),
    "length": ("Tokens", count),
    "tokens_in": ("Tokens in", count),
    "kept_tokens": ("Tokens kept", count),
    "token_share": ("Share kept", percent),
    "of_all": ("Of all documents", percent),
    "size": ("Items in all", count),
    "items": ("Items", count),
    "found": ("Items found", count),
    "prompts": ("Prompts", count),
    "weight": ("Weight", real),
    "share_wanted": ("Share wanted", fine),
    "share": ("Share", fine),
    "sequences": ("Sequences", count),
    "available_documents": ("Documents available", count),
    "available_tokens": ("Tokens available", count),
    "epochs": ("Epochs", real),
    "max_epochs": ("At most", real),
    "planned": ("Tokens planned", count),
    "achieved": ("Tokens achieved", count),
    "planned_share": ("Share planned", fine),
    "first": ("From step", count),
    "last": ("To step", count),
    "seconds": ("Seconds", real),
    "loss_first": ("First loss", real),
    "loss_last": ("Last loss", real),
    "measured_on": "Measured on",
    "slice": "Slice",
    "of": "Of",
    "role": "Role",
    "set_aside": ("Set aside", count),
    "measured": ("Measured", count),
    "n_documents": ("Documents", count),
    "n_trained_on": ("Trained on", count),
    "n_tokens": ("Tokens", count),
    "n_bytes": ("Bytes", count),
    "bits_first": ("Bits per byte at first", real),
    "bits_per_byte": ("Bits per byte", real),
    "bits_error": ("Standard error", real),
    "loss": ("Nats per token", real),
    "value": ("Value", real),
    "low": ("Low (95%)", real),
    "high": ("High (95%)", real),
    "n": ("n", count),
    "threshold": ("Threshold", real),
    "above": ("Above", real),
    "below": ("Below", real),
    "steps": ("Steps in a row", count),
    "unsolved": ("Never solved", percent),
    "solved": ("Always solved", percent),
    "checkpoint": ("With the weights of step", count),
    "selected": ("Selected", count),
    "precision": ("Precision", percent),
    "recall": ("Recall", percent),
    "coverage": ("Covered", percent),
    "rank": ("Rank", count),
    "count": ("Seen", count),
    "rows": ("Rows", count),
    "prompt_tokens": ("Tokens of requests", count),
    "completion_tokens": ("Tokens of answers", count),
}
"""Heading of a column wherever it appears, and how its values are formatted, if they are."""


def table_of(rows: list[dict[str, Any]], columns: str, caption: str = "") -> Html:
    """A table of some columns of `rows`, named in one string."""
    return page.table(rows, *map(column_of, columns.split()), caption=caption)


def column_of(key: str) -> Column:
    heading = _HEADINGS[key]
    return Column(key, heading) if isinstance(heading, str) else Column(key, *heading)

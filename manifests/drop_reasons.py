"""Every reason for which a document is dropped. If several apply, the first in this order is recorded.

`curation.corpus.decide` takes the order from this list, docs/sql.md and the report take the wording. A document that a
language model wrote and that fails its checks has the verdict from `annotations` as its reason instead. Leaves out the
decisions themselves.
"""

from enum import StrEnum


class DropReason(StrEnum):
    """A value of `documents.drop_reason`; `meaning` says it in one line."""

    meaning: str

    def __new__(cls, name: str, meaning: str) -> "DropReason":
        reason = str.__new__(cls, name)
        reason._value_, reason.meaning = name, meaning
        return reason

    CONTAMINATED = "contaminated", "it contains an item of a benchmark"
    EXCLUDED = "excluded", "a column has a value that the source's `only` does not allow"
    UNVERIFIED = "unverified", "its source verified none of its solutions as right"
    UNVERIFIABLE = "unverifiable", "the answer of the prompt fails the grader's controls"
    IN_TRAINING = "in_training", "a document that models are trained on contains the prompt"
    OTHER_LANGUAGE = "other_language", "it is in a language that the recipe does not keep"
    TOO_SHORT = "too_short", "it has too few words"
    BOILERPLATE = "boilerplate", "it consists of menus, notices and prompts to subscribe"
    SYMBOLS = "symbols", "too much of it consists of symbols outside of mathematics"
    NOT_MATHEMATICAL = "not_mathematical", "it has too little mathematics"
    LOOP = "loop", "it repeats one passage many times in a row"
    REPETITION = "repetition", "much of it repeats earlier passages"
    LOW_SCORE = "low_score", "the classifier's score is too low"
    EXACT_DUPLICATE = "exact_duplicate", "a kept document has the same text"
    NEAR_DUPLICATE = "near_duplicate", "a kept document has nearly the same text"


ORDER = {reason: place for place, reason in enumerate(DropReason)}
EARLY = (DropReason.EXCLUDED, DropReason.UNVERIFIED, DropReason.UNVERIFIABLE, DropReason.IN_TRAINING)
"""Early drop reasons: known before anything is measured, and written by the task together with the document."""


def heading(reason: str | None) -> str:
    """How a report names the documents with this reason; None stands for the kept ones."""
    if reason is None:
        return "kept"
    return f"{reason} ({DropReason(reason).meaning})" if reason in ORDER else reason

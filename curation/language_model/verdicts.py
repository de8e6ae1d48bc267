"""Turns the answers of a model into rows of `annotations`: the parts of an answer, and whether it can be used.

`rows` turns a batch of answers into rows, at least one per document, whatever the answer was. The verdict is the first
of these that applies, otherwise `ok`:

    endpoint_error    the request failed in the end
    source_too_long   the document is longer than max_chars and was not asked about
    truncated         the answer reached max_tokens; of several pairs the last alone
    refusal           it begins as an apology or a refusal
    no_score          score: no `Final score: n` with n from 0 to 5
    no_pairs          questions: the model says that there is none
    unparsable        rewrite: an empty answer; questions: no pair, or a pair without question or answer
    repetition, too_short, too_long, numbers_lost, formulae_lost
                      see AnswerLimits; the measures are columns, so that a tighter limit is a SQL condition

A number is kept when it occurs as a number, not within a name such as x2; a formula of three characters or more when it
occurs with or without its delimiters and spaces. Leaves out whether an answer is true, and numbers in words.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from curation.language_model.config import AnnotateRecipe, AnswerLimits
from curation.language_model.prompts import NO_PAIRS
from curation.measures.quality import MATHEMATICS, repetition
from manifests.tables import ANNOTATIONS

VERSION = 1
"""Incremented whenever code changes the rows made from an answer, so that an old manifest is not taken for one of the
new rules."""

FINAL_SCORE = re.compile(r"(?i)final\s+score\W{0,8}(?:boxed\{)?(\d+(?:\.\d+)?)")
REFUSAL = re.compile(
    r"(?i)\W*(i( am|['’]?m) (very |so |really )?(sorry|unable|not able)|sorry\b|i apologi[sz]e"
    r"|i (cannot|can['’]?t|can not|won['’]?t)|as an ai\b|unfortunately, i\b)"
)
PREAMBLE = re.compile(r"(?i)(sure|certainly|of course|okay|here (is|['’]s)|below is)\b[^\n]{0,120}:\s*\n+")
LABEL = re.compile(r"(?im)^[\s#*>\d.)-]*(question|solution|answer)[ \t]*\d*[ \t]*\**[ \t]*:[ \t]*\**")
NUMBER = re.compile(r"(?<![A-Za-z\d.])(?:\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)")
FORMULA = re.compile(MATHEMATICS)
DELIMITERS = re.compile(r"^(\$\$?|\\\[|\\\()|(\$\$?|\\\]|\\\))$")
SPACE = re.compile(r"\s+")
SHORTEST_FORMULA = 3
SHOWN_LOST = 5

Row = dict[str, Any]


def rows(answers: pa.RecordBatch | pa.Table, recipe: AnnotateRecipe) -> pa.Table:
    """The rows of `annotations` for `answers`: doc_id, source, url, text of the document, `asked`, and the fields of a
    Reply, its text under the name `response`."""
    found = [row for answer in answers.to_pylist() for row in _rows_of(answer, recipe)]
    written = [row["text"] or _pair(row) for row in found]
    for row, text, repeated in zip(found, written, repetition(pa.array(written, pa.large_string())), strict=True):
        if text:
            row["repetition"] = float(repeated)
        if row["verdict"] is None:
            row["verdict"], row["evidence"] = _judge(row, recipe.limits)
    return pa.Table.from_pylist(found, ANNOTATIONS.schema)


def _pair(row: Row) -> str:
    return "\n".join(part for part in (row["question"], row["solution"]) if part)


def _rows_of(answer: Row, recipe: AnnotateRecipe) -> Iterator[Row]:
    """The rows of one answer, with a verdict where no measure is needed for it."""
    blank: Row = dict.fromkeys(ANNOTATIONS.schema.names)
    blank |= {name: answer[name] for name in ("doc_id", "source", "url", "response")}
    blank |= {name: answer[name] for name in ("prompt_tokens", "completion_tokens")}
    blank |= {"task": recipe.task, "ordinal": 0}
    said = (answer["response"] or "").rpartition("</think>")[2].strip()
    if answer["error"] is not None:
        yield blank | _bad("endpoint_error", error=answer["error"])
    elif not answer["asked"]:
        yield blank | _bad("source_too_long", value=len(answer["text"]), limit=recipe.max_chars)
    elif recipe.task == "questions":
        yield from _pairs(blank, said, answer["finish_reason"] == "length")
    elif answer["finish_reason"] == "length":
        yield blank | {"text": said if recipe.task == "rewrite" else None} | _bad("truncated", limit=recipe.max_tokens)
    elif REFUSAL.match(said):
        yield blank | _bad("refusal", begins=said[:100])
    elif recipe.task == "score":
        yield blank | _scored(said)
    else:
        yield blank | _rewritten(said, answer["text"])


def _bad(verdict: str, **evidence: Any) -> Row:
    return {"verdict": verdict, "evidence": json.dumps(evidence, ensure_ascii=False)}


# -- score -----------------------------------------------------------------------------------------------------------


def _scored(said: str) -> Row:
    """The last score that is stated."""
    stated = FINAL_SCORE.findall(said)
    if not stated or stated[-1] not in ("0", "1", "2", "3", "4", "5"):
        return _bad("no_score", ends=said[-100:])
    return {"score": int(stated[-1]), "verdict": "ok"}


# -- questions -------------------------------------------------------------------------------------------------------


def _pairs(blank: Row, said: str, cut: bool) -> Iterator[Row]:
    """One row per pair; of an answer without pairs one row that says why."""
    found = _labelled(said)
    if not found:
        yield blank | _no_pairs(said, cut)
    for ordinal, parts in enumerate(found):
        row = blank | parts | {"ordinal": ordinal}
        if ordinal:
            row |= {"response": None, "prompt_tokens": 0, "completion_tokens": 0}
        if cut and ordinal == len(found) - 1:
            row |= _bad("truncated", pair=ordinal)
        elif not (row["question"] and row["solution"]):
            row |= _bad("unparsable", missing="solution" if row["question"] else "question")
        yield row


def _no_pairs(said: str, cut: bool) -> Row:
    if cut:
        return _bad("truncated", pair=0)
    if NO_PAIRS in said:
        return _bad("no_pairs", says=said[:100])
    return _bad("refusal" if REFUSAL.match(said) else "unparsable", begins=said[:100])


def _labelled(said: str) -> list[Row]:
    """Parts of each pair. A question begins a pair; a final answer alone is its solution as well."""
    pairs: list[Row] = []
    labels = list(LABEL.finditer(said))
    ends = [*(label.start() for label in labels[1:]), len(said)]
    for label, end in zip(labels, ends, strict=False):  # an answer without labels has an end all the same
        name, part = label[1].lower(), said[label.end() : end].strip().rstrip("*#- \n") or None
        if name == "question" or not pairs:
            pairs.append({"question": None, "solution": None, "answer": None})
        pairs[-1][name] = part
    return [pair | {"solution": pair["solution"] or pair["answer"]} for pair in pairs]


# -- rewrite ---------------------------------------------------------------------------------------------------------


def _rewritten(said: str, source: str) -> Row:
    text = PREAMBLE.sub("", said, count=1) if PREAMBLE.match(said) else said
    if not text:
        return _bad("unparsable", response="empty")
    kept = {"numbers_kept": _share(_numbers(source), _numbers(text))}
    kept["formulae_kept"] = _share_within(_formulae(source), SPACE.sub("", text))
    return {"text": text, "length_ratio": len(text) / len(source), "lost": _lost(source, text)} | kept


def _numbers(text: str) -> set[str]:
    return {number.replace(",", "") for number in NUMBER.findall(text)}


def _formulae(text: str) -> set[str]:
    """Formulae without delimiters and spaces."""
    bare = (SPACE.sub("", DELIMITERS.sub("", span.group())) for span in FORMULA.finditer(text))
    return {formula for formula in bare if len(formula) >= SHORTEST_FORMULA}


def _share(wanted: set[str], there: set[str]) -> float | None:
    return len(wanted & there) / len(wanted) if wanted else None


def _share_within(wanted: set[str], text: str) -> float | None:
    return sum(part in text for part in wanted) / len(wanted) if wanted else None


def _lost(source: str, text: str) -> dict[str, list[str]]:
    """Some of what the text does not keep, in order."""
    plain = SPACE.sub("", text)
    numbers = sorted(_numbers(source) - _numbers(text))
    formulae = sorted(formula for formula in _formulae(source) if formula not in plain)
    return {"numbers_kept": numbers[:SHOWN_LOST], "formulae_kept": formulae[:SHOWN_LOST]}


def _judge(row: Row, limits: AnswerLimits) -> tuple[str, str | None]:
    """(verdict, evidence) by the measures; one that was not taken breaks no limit."""
    broken = (
        ("repetition", "repetition", limits.max_repetition, np.greater),
        ("too_short", "length_ratio", limits.min_length, np.less),
        ("too_long", "length_ratio", limits.max_length, np.greater),
        ("numbers_lost", "numbers_kept", limits.min_numbers, np.less),
        ("formulae_lost", "formulae_kept", limits.min_formulae, np.less),
    )
    for verdict, measure, limit, breaks in broken:
        value = row[measure]
        if value is not None and breaks(value, limit):
            lost = {"lost": row["lost"][measure]} if measure in row.get("lost", {}) else {}
            return verdict, json.dumps({"score": measure, "value": round(value, 4), "limit": limit} | lost)
    return "ok", None

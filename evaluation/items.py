"""Rows of benchmark files, read as items: one adapter per shape, local or as the hub has it.

An adapter takes a row and gives an `Item`, or raises ValueError (TypeError for a list where text was expected) with the
reason in a few words. It depends on the row alone. Leaves out files and manifests: `evaluation.benchmarks`.
"""

import hashlib
import math
import re
from dataclasses import dataclass
from typing import Any

from evaluation.grading.extraction import extract

Row = dict[str, Any]


@dataclass(frozen=True)
class Item:
    """One problem as an adapter reads it. `answer` is what is graded against: a bare answer, or an option's letter."""

    question: str
    answer: str
    id: str | None = None
    choices: tuple[str, ...] | None = None
    subject: str | None = None
    level: str | None = None
    solution: str | None = None


def _text(row: Row, key: str) -> str:
    """The text in `row[key]`; a float that is whole reads as an integer. ValueError when there is nothing in it."""
    match row.get(key):
        case str() as value if value.strip():
            return value.strip()
        case bool() | None | "":
            raise ValueError(f"no `{key}`")
        case int() as value:
            return str(value)
        case float() as value if math.isfinite(value):
            return str(int(value)) if value.is_integer() else repr(value)
    raise ValueError(f"`{key}` is {type(row[key]).__name__}, not a text or number")


def _optional(row: Row, key: str) -> str | None:
    return None if row.get(key) in (None, "") else _text(row, key)


def plain(row: Row) -> Item:
    choices = row.get("choices")
    return Item(
        _text(row, "question"),
        _text(row, "answer"),
        _optional(row, "id"),
        None if choices is None else tuple(str(choice) for choice in choices),
        _optional(row, "subject"),
        _optional(row, "level"),
        _optional(row, "solution"),
    )


def gsm8k(row: Row) -> Item:
    """Bare answer and `cot`, or as on the hub: the worked answer with the final one after ####."""
    worked, mark, final = _text(row, "answer").rpartition("####")
    solution = worked.strip() if mark else _optional(row, "cot")
    return Item(_text(row, "question"), final.strip(), _optional(row, "id"), solution=solution)


def competition(row: Row) -> Item:
    """Competition mathematics: MATH (its answer stands in the solution's box), MATH500, AMC, AIME, OCW."""
    solution = _optional(row, "solution")
    question = _text(row, "problem") if row.get("problem") else _text(row, "question")
    return Item(
        question,
        _text(row, "answer") if "answer" in row else _boxed(solution),
        _optional(row, "unique_id") or _optional(row, "id"),
        subject=_optional(row, "subject") or _optional(row, "type"),
        level=_level(row),
        solution=solution,
    )


def _boxed(solution: str | None) -> str:
    answer = extract(solution or "", "boxed")
    if not answer:
        raise ValueError("no `answer`, and no box in `solution`")
    return answer


def _level(row: Row) -> str | None:
    """MATH writes "Level 5" where MATH500 has 5."""
    level = _optional(row, "level")
    return level.removeprefix("Level ") if level else None


def olympiad(row: Row) -> Item:
    """Every gold answer counts: several are joined into one list. Worked solutions are joined by a blank line."""
    answers = [str(answer).strip() for answer in row.get("final_answer") or []]
    if not any(answers):
        raise ValueError("no `final_answer`")
    context = _optional(row, "context")
    question = _text(row, "question")
    return Item(
        f"{context}\n{question}" if context else question,
        answers[0] if len(answers) == 1 else ", ".join(answer.strip("$") for answer in answers),
        _text(row, "id"),
        subject=_optional(row, "subfield"),
        solution="\n\n".join(map(str, row.get("solution") or [])) or None,
    )


def svamp(row: Row) -> Item:
    question = f"{_text(row, 'Body')} {_text(row, 'Question')}"
    return Item(question, _text(row, "Answer"), _optional(row, "ID"), subject=_optional(row, "Type"))


def asdiv(row: Row) -> Item:
    """The gold answer carries its unit in brackets, which is no part of it: "9 (apples)"."""
    answer = re.sub(r"\s*\([^()]*\)$", "", _text(row, "answer"))
    question = f"{_text(row, 'body')} {_text(row, 'question')}"
    return Item(question, answer, _optional(row, "idx"), subject=_optional(row, "solution_type"))


def mawps(row: Row) -> Item:
    """Local files have `input` and `target`; on the hub the numbers stand apart from a question with N_00, N_01, …"""
    if "input" in row:
        return Item(_text(row, "input"), _text(row, "target"), _optional(row, "idx"), subject=_optional(row, "type"))
    question = _text(row, "Question")
    for place, value in enumerate(_text(row, "Numbers").split()):
        question = question.replace(f"N_{place:02}", _whole(value))
    return Item(question, _whole(_text(row, "Answer")), subject=_optional(row, "Type"))


def _whole(value: str) -> str:
    """ "8.0" as "8"; anything else as it is."""
    return re.sub(r"^(-?\d+)\.0+$", r"\1", value)


def sat(row: Row) -> Item:
    choices = _lettered(_text(row, "options"), r"(?:^|\s){letter}[).]\s", " ")
    return Item(_text(row, "question"), _letter(row, "Answer", choices), _optional(row, "id"), choices)


def mathqa(row: Row) -> Item:
    """Options are "a ) 1 , b ) 2", in some rows as the text of a Python list. The hub capitalises two of the names."""
    choices = _lettered(_text(row, "options"), r"(?:^|[\s,\[\"'])\s*{letter}\s*\)\s", " ,'\"[]")
    return Item(
        _text(row, "problem" if "problem" in row else "Problem"),
        _letter(row, "correct", choices),
        choices=choices,
        subject=_optional(row, "type") or _optional(row, "category"),
        solution=_optional(row, "rationale") or _optional(row, "Rationale"),
    )


def mmlu(row: Row) -> Item:
    """Options as a list; the answer is a letter, or on the hub the number of the option from 0."""
    options = row.get("options") or row.get("choices")
    if not isinstance(options, list) or not options:
        raise ValueError("no `options`")
    choices = tuple(str(option).strip() for option in options)
    if isinstance(number := row.get("answer"), int) and not isinstance(number, bool) and 0 <= number < 26:
        row = row | {"answer": chr(ord("A") + number)}
    subject = _optional(row, "topic") or _optional(row, "subject")
    return Item(_text(row, "question"), _letter(row, "answer", choices), _optional(row, "id"), choices, subject)


def tabmwp(row: Row) -> Item:
    """The table stands before the question. Where there are options, the answer is the letter of the right one."""
    title = _optional(row, "table_title")
    table = _text(row, "table")
    question = "\n".join(filter(None, [title and f"Table: {title}", table, _text(row, "question")]))
    answer, options = _text(row, "answer"), row.get("choices")
    choices = tuple(str(option).strip() for option in options) if options else None
    if choices and answer not in choices:
        raise ValueError(f"`answer` {answer!r} is none of the options")
    if choices:
        answer = chr(ord("A") + choices.index(answer))
    identity = _optional(row, "id") or _optional(row, "pid")
    return Item(question, answer, identity, choices, _optional(row, "ques_type"), _optional(row, "grade"))


def gpqa(row: Row) -> Item:
    """The right answer and three wrong ones, put into an order that depends on the question alone."""
    question, right = _text(row, "Question"), _text(row, "Correct Answer")
    choices = [right, *(_text(row, f"Incorrect Answer {number}") for number in (1, 2, 3))]
    choices.sort(key=lambda choice: hashlib.sha256(f"{question}\0{choice}".encode()).digest())
    return Item(
        question,
        chr(ord("A") + choices.index(right)),
        _optional(row, "Record ID"),
        tuple(choices),
        _optional(row, "Subdomain"),
        solution=_optional(row, "Explanation"),
    )


def _lettered(options: str, mark: str, trim: str) -> tuple[str, ...]:
    """Split "A) … B) …": each letter is looked for behind the one before, so that an option may hold brackets."""
    starts: list[tuple[int, int]] = []
    for letter in "ABCDEFGHIJ":
        pattern = re.compile(mark.format(letter=letter), re.IGNORECASE)
        found = pattern.search(options, starts[-1][1] - 1 if starts else 0)
        if not found:
            break
        starts.append(found.span())
    if len(starts) < 2:
        raise ValueError("`options` cannot be split into letters")
    ends = [start for start, _ in starts[1:]] + [len(options)]
    return tuple(options[begin:end].strip(trim) for (_, begin), end in zip(starts, ends, strict=True))


def _letter(row: Row, key: str, choices: tuple[str, ...]) -> str:
    letter = _text(row, key).upper()
    if len(letter) != 1 or not 0 <= ord(letter) - ord("A") < len(choices):
        raise ValueError(f"`{key}` {letter!r} is none of the {len(choices)} options")
    return letter

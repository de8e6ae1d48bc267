"""A record of a data set as the parts of a document: one pure function per shape of record.

    columns    the columns that the role asks for: text, or question and response, or question and answer (rl)
    text       the column text, whatever the role
    gsm8k      the final answer after ####; calculator marks <<…>> taken out
    boxed      MATH: the final answer is the last \\boxed{} of the solution
    numina     as columns; `proof` and `notfound` are no answers
    openr1     several generations: the first that math-verify found right, else the first that the LLM judge did
    distilled  <think> and answer, in one column or in a message's `info` as think_content and answer_content
    chat       a dialogue, laid out as `User:…` and `Assistant:…` lines, without special tokens; turns are role and
               content or from and value (ShareGPT), content is text or parts of text, and all of it may be JSON text
    simplerl   a prompt for RL with its answer, in any of the places that data sets of this family use (MATH8K,
               SimpleRL-Zoo, DAPO); what DAPO says around the problem is taken off
    html       the column text holds a page's HTML: its main text, with mathematics as LaTeX (see
    `curation.reading.pages`) annotation a row of an annotations manifest: a rewritten text, or a question-answer pair

Promises. `document` gives parts or raises `Refused` with a reason of `REASONS`; nothing in a record raises anything
else. A record that can be read and should not be used (`only` of the recipe, no verified generation, an annotation that
is not good) is a document with a `doubt`, which becomes its drop reason. Chains of thought read question, newline,
<think>…</think>, answer, as in OctoThinker (arXiv 2506.20512). Leaves out system prompts and tools.
"""

import json
import math
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

import orjson

from curation.config import SourceRecipe
from curation.reading import pages
from curation.reading.pages import Refused
from curation.roles import ANSWERED, Adapter
from evaluation.grading.answers import extract
from manifests.drop_reasons import DropReason

REASONS = {
    "missing_field": "a required column is not there",
    "null_field": "a required column is null",
    "wrong_type": "a column holds another type than it should",
    "empty_field": "a required column holds nothing but space",
    "invalid_utf8": "bytes that are no UTF-8",
    "no_final_answer": "the worked answer states no final one",
    "unfinished_reasoning": "no response has both a closed <think> and an answer after it",
    "not_a_dialogue": "no turn of a user with a reply",
    "not_annotated": "the model gave no text or pair",
} | pages.REASONS
SPEAKERS = {"user": "User", "assistant": "Assistant"}
ROLES = {
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "chatgpt", "model", "bot", "ai"),
    "system": ("system", "developer"),
}
"""What data sets call who speaks. A system prompt is passed over; anyone else (a tool) ends the dialogue."""
ROLE_OF = {name: role for role, names in ROLES.items() for name in names}
_DAPO_FRAME = re.compile(
    r"\A\s*Solve the following math problem step by step\. The last line of your response should be[^\n]*\n+"
    r"|\n+Remember to put your answer on its own line after \"Answer:\"\.?\s*\Z"
)
NO_ANSWER = ("proof", "notfound")
"""What NuminaMath-1.5 writes where a problem has no short answer."""

Record = dict[str, Any]


@dataclass(frozen=True)
class EarlyReason:
    """Why a document should be dropped: `reason` becomes its drop reason, `evidence` is JSON. What a language model
    wrote has the verdict on it as its reason."""

    reason: DropReason | str
    evidence: str


@dataclass(frozen=True)
class Parts:
    """Parts of a document, not yet normalised. Without a text, question and response make it up. `scores` are by their
    column in `documents`, `metadata` is JSON."""

    url: str | None = None
    id: str | None = None
    text: str | None = None
    question: str | None = None
    response: str | None = None
    answer: str | None = None
    early_reason: EarlyReason | None = None
    scores: dict[str, float | None] = field(default_factory=dict)
    metadata: str | None = None
    text_share: float | None = None
    formulas_lost: int | None = None
    """Both of a page that was HTML: see `curation.reading.pages.Page`."""


@dataclass(frozen=True)
class Shape:
    """How one adapter reads. `needs` are parts (see Columns) whose column must be in a file; `columns` are further
    columns of the data set, by their own name."""

    read: Callable[[Record, SourceRecipe], Parts]
    needs: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


def document(record: Record, source: SourceRecipe) -> Parts:
    """The parts of the document in `record`. Raises Refused."""
    record = {name: _whole(value, name) if isinstance(value, list | dict) else value for name, value in record.items()}
    parts = SHAPES[source.adapter].read(record, source)
    if source.role == "rl" and not (parts.answer or "").strip():
        raise Refused("no_final_answer", "a prompt for RL needs an answer that can be verified")
    url, native = (optional(record, column) for column in (source.columns.url, source.columns.id))
    scores = {name: score(record, column) for name, column in (source.scores or {}).items()}
    early_reason = _excluded(record, source) or parts.early_reason
    metadata = _metadata(record, source)
    return replace(parts, url=url or parts.url, id=native, early_reason=early_reason, scores=scores, metadata=metadata)


def needed(source: SourceRecipe) -> list[str]:
    """Columns that must be there."""
    parts = _parts_of(source) if source.adapter == "columns" else SHAPES[source.adapter].needs
    return [*(getattr(source.columns, part) for part in parts), *_carried(source)]


def read_columns(source: SourceRecipe) -> list[str]:
    """Columns that are read where they are there."""
    columns = source.columns.model_dump().values()
    return list(dict.fromkeys([*columns, *SHAPES[source.adapter].columns, *_carried(source)]))


def _carried(source: SourceRecipe) -> list[str]:
    """Columns that the recipe names beside the parts of a document."""
    return [*source.only, *(source.scores or {}).values(), *(source.metadata or ())]


def _excluded(record: Record, source: SourceRecipe) -> EarlyReason | None:
    """The first column whose value matches none of the patterns of `only`."""
    for column, patterns in source.only.items():
        value = record.get(column)
        shown = str(value).lower() if isinstance(value, bool) else optional(record, column) or ""
        if not any(fnmatchcase(shown, pattern) for pattern in patterns):
            return EarlyReason(
                DropReason.EXCLUDED, json.dumps({"column": column, "value": shown[:200], "only": patterns})
            )
    return None


def _metadata(record: Record, source: SourceRecipe) -> str | None:
    """The columns of `metadata` as JSON; what JSON has no type for (a time, a decimal) as text."""
    if source.metadata is None:
        return None
    found = {column: _whole(record.get(column), column) for column in source.metadata}
    try:
        return orjson.dumps(found, default=str).decode()
    except TypeError as error:
        raise Refused("wrong_type", f"metadata: {error}"[:200]) from error


# -- one function per shape ------------------------------------------------------------------------------------------


def _parts_of(source: SourceRecipe) -> tuple[str, ...]:
    """Parts of a document that its role cannot do without."""
    if source.role in ANSWERED:
        return ("question", "response")
    return ("question", "answer") if source.role == "rl" else ("text",)


def _columns(record: Record, source: SourceRecipe) -> Parts:
    columns = source.columns
    match _parts_of(source):
        case ("text",):
            return Parts(text=text(record, columns.text))
        case ("question", "answer"):
            return Parts(question=text(record, columns.question), answer=text(record, columns.answer))
    return _question_and_response(record, source)


def _question_and_response(record: Record, source: SourceRecipe) -> Parts:
    return Parts(
        question=text(record, source.columns.question),
        response=text(record, source.columns.response),
        answer=optional(record, source.columns.answer),
    )


def _text(record: Record, source: SourceRecipe) -> Parts:
    return Parts(text=text(record, source.columns.text))


def _html(record: Record, source: SourceRecipe) -> Parts:
    """Bytes are a page as it was served: it says itself how it is encoded."""
    page = record.get(source.columns.text)
    html = pages.decoded(page) if isinstance(page, bytes) and page.strip() else text(record, source.columns.text)
    found = pages.extract(html, markdown=source.structure == "markdown")
    return Parts(text=found.text, url=found.url, text_share=found.share, formulas_lost=found.formulas_lost)


def _gsm8k(record: Record, source: SourceRecipe) -> Parts:
    worked = re.sub(r"<<[^<>]*>>", "", text(record, source.columns.answer))
    _, mark, final = worked.rpartition("####")
    if not mark or not final.strip():
        raise Refused("no_final_answer", f"{source.columns.answer}: nothing after ####")
    question, answer = text(record, source.columns.question), final.strip().replace(",", "")
    return Parts(question=question, response=worked, answer=answer)


def _boxed(record: Record, source: SourceRecipe) -> Parts:
    solution = text(record, source.columns.response)
    if not (answer := extract(solution, "boxed")):
        raise Refused("no_final_answer", f"{source.columns.response}: no \\boxed{{}}")
    return Parts(question=text(record, source.columns.question), response=solution, answer=answer)


def _numina(record: Record, source: SourceRecipe) -> Parts:
    parts = _question_and_response(record, source)
    return replace(parts, answer=None) if (parts.answer or "").strip().lower() in ("", *NO_ANSWER) else parts


def _openr1(record: Record, source: SourceRecipe) -> Parts:
    generations = [_thought(part) if isinstance(part, str) else None for part in _list(record, "generations")]
    complete = _flags(record, "is_reasoning_complete", len(generations), unknown=True)
    finished = [place for place, (part, whole) in enumerate(zip(generations, complete, strict=True)) if part and whole]
    if not finished:
        raise Refused("unfinished_reasoning", f"generations: none of {len(generations)}")
    for judge in ("correctness_math_verify", "correctness_llama"):
        right = _flags(record, judge, len(generations), unknown=False)
        if verified := [place for place in finished if right[place]]:
            return _reasoned(record, source, generations[verified[0]] or "")
    parts = _reasoned(record, source, generations[finished[0]] or "")
    return replace(
        parts,
        early_reason=EarlyReason(DropReason.UNVERIFIED, json.dumps({"generations": len(generations), "verified": 0})),
    )


def _distilled(record: Record, source: SourceRecipe) -> Parts:
    if _turns(record.get(source.columns.messages)) is not None:
        return _distilled_messages(record, source)
    response = _thought(text(record, source.columns.response))
    if response is None:
        raise Refused("unfinished_reasoning", source.columns.response)
    return _reasoned(record, source, response)


def _distilled_messages(record: Record, source: SourceRecipe) -> Parts:
    """The first exchange; the reply's `info` holds thought and answer, the question's the reference answer."""
    asked, replied, *_ = [*(_turns(record[source.columns.messages]) or []), {}, {}]
    if not isinstance(asked, dict) or not isinstance(replied, dict) or _role(replied) != "assistant":
        raise Refused("not_a_dialogue", source.columns.messages)
    about, info = (turn.get("info") or {} for turn in (asked, replied))
    thought, final = optional(info, "think_content"), optional(info, "answer_content")
    response = _chain(thought, final) if thought and final else _thought(text(replied, "content"))
    if response is None:
        raise Refused("unfinished_reasoning", source.columns.messages)
    question, answer = text(asked, "content"), optional(about, "reference_answer")
    return Parts(text=f"{question}\n{response}", question=question, response=response, answer=answer or None)


def _chat(record: Record, source: SourceRecipe) -> Parts:
    """`text` is the whole dialogue, question and response are its first exchange."""
    turns = _dialogue(record, source.columns.messages)
    laid_out = "\n".join(f"{speaker}:{content}" for speaker, content in turns)
    return Parts(text=laid_out, question=turns[0][1], response=turns[1][1])


def _simplerl(record: Record, source: SourceRecipe) -> Parts:
    extra, reward = (_object(record, name) for name in ("extra_info", "reward_model"))
    asked = _user_turns(record)
    places = ((extra, "question"), (record, "question"), *((turn, "content") for turn in asked))
    plain = () if asked else ((record, "prompt"),)
    question = _DAPO_FRAME.sub("", _first(*places, *plain, what="question"))
    answers = ((record, "gt_answer"), (record, "answer"), (reward, "ground_truth"), (extra, "answer"))
    return Parts(question=question, answer=_first(*answers, what="gt_answer"))


def _annotation(record: Record, source: SourceRecipe) -> Parts:
    verdict, evidence = text(record, "verdict"), optional(record, "evidence")
    try:
        parts = _columns(record, source)
    except Refused as refused:
        raise Refused("not_annotated", f"{verdict}: {evidence}"[:200]) from refused
    return parts if verdict == "ok" else replace(parts, early_reason=EarlyReason(verdict, evidence or "{}"))


SHAPES: dict[Adapter, Shape] = {
    "columns": Shape(_columns),
    "text": Shape(_text, needs=("text",)),
    "html": Shape(_html, needs=("text",)),
    "gsm8k": Shape(_gsm8k, needs=("question", "answer")),
    "boxed": Shape(_boxed, needs=("question", "response")),
    "numina": Shape(_numina, needs=("question", "response")),
    "openr1": Shape(
        _openr1,
        needs=("question",),
        columns=("generations", "is_reasoning_complete", "correctness_math_verify", "correctness_llama"),
    ),
    "distilled": Shape(_distilled),
    "chat": Shape(_chat, needs=("messages",)),
    "simplerl": Shape(_simplerl, columns=("prompt", "gt_answer", "extra_info", "reward_model")),
    "annotation": Shape(_annotation, columns=("verdict", "evidence")),
}


# -- chains of thought and dialogues ---------------------------------------------------------------------------------


def _reasoned(record: Record, source: SourceRecipe, response: str) -> Parts:
    question = text(record, source.columns.question)
    answer = optional(record, source.columns.answer)
    return Parts(text=f"{question}\n{response}", question=question, response=response, answer=answer)


def _thought(response: str) -> str | None:
    """`response` with exactly one <think>…</think> before the answer; None when either is missing."""
    thought, closed, final = response.partition("</think>")
    final = re.sub(r"</?answer>", "", final)
    return _chain(thought.replace("<think>", "", 1), final) if closed and final.strip() else None


def _chain(thought: str, final: str) -> str:
    return f"<think>\n{thought.strip()}\n</think>\n{final.strip()}"


def _dialogue(record: Record, column: str) -> list[tuple[str, str]]:
    """(speaker, content) of the whole exchanges from the start; it ends before an empty turn or one out of turn."""
    found: list[tuple[str, str]] = []
    turns = _turns(record.get(column))
    for turn in _list(record, column) if turns is None else turns:
        if not isinstance(turn, dict):
            raise Refused("wrong_type", f"{column} holds {type(turn).__name__}")
        role, content = _role(turn), _content(turn)
        if role == "system":
            continue
        expected = "assistant" if len(found) % 2 else "user"
        if role != expected or not content or not content.strip():
            break
        found.append((SPEAKERS[expected], content.strip()))
    if len(found) < 2:
        raise Refused("not_a_dialogue", column)
    return found[: len(found) // 2 * 2]


def _turns(value: Any) -> list[Any] | None:
    """The turns of a dialogue: a list, JSON text of one, or an object with a list per field; None for anything else."""
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        with suppress(orjson.JSONDecodeError):
            value = orjson.loads(value)
    if isinstance(value, dict) and value and all(isinstance(field, list) for field in value.values()):
        return [dict(zip(value, turn, strict=True)) for turn in zip(*value.values(), strict=False)]
    return value if isinstance(value, list) else None


def _role(turn: Record) -> str | None:
    """user, assistant or system; None for anyone else."""
    said = turn.get("role") or turn.get("from")
    return ROLE_OF.get(said.strip().lower()) if isinstance(said, str) else None


def _content(turn: Record) -> str | None:
    """The text of a turn; None where a part of it is none, as an image."""
    column = next((name for name in ("content", "value", "parts") if turn.get(name) is not None), "content")
    if not isinstance(turn.get(column), list):
        return optional(turn, column)
    parts = [{"text": part} if isinstance(part, str) else part for part in turn[column]]
    if not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in parts):
        return None
    return "\n".join(part["text"] for part in parts)


def _user_turns(record: Record) -> list[Record]:
    """Turns of a user in `prompt`, their text under `content`; none where it is a plain text."""
    turns = [turn for turn in _turns(record.get("prompt")) or [] if isinstance(turn, dict)]
    return [turn | {"content": _content(turn)} for turn in turns if _role(turn) == "user"]


# -- values of a record ----------------------------------------------------------------------------------------------


def text(record: Record, column: str) -> str:
    """The text of a required column."""
    if column not in record:
        raise Refused("missing_field", column)
    if (found := optional(record, column)) is None:
        raise Refused("null_field", column)
    if not found.strip():
        raise Refused("empty_field", column)
    return found


def optional(record: Record, column: str) -> str | None:
    """The text of a column, None where there is none: pandas writes NaN there. A whole float reads as an integer."""
    match record.get(column):
        case None:
            return None
        case float() as number if math.isnan(number):
            return None
        case float() as number if math.isinf(number):
            raise Refused("wrong_type", f"{column} is infinite")
        case str() as found:
            return found
        case bytes() as data:
            return decoded(data, column)
        case int() | float() as number if not isinstance(number, bool):
            return str(int(number)) if isinstance(number, float) and number.is_integer() else str(number)
        case other:
            raise Refused("wrong_type", f"{column} is {type(other).__name__}")


def score(record: Record, column: str) -> float | None:
    """The number in a column, None where there is none; NaN is none."""
    match record.get(column):
        case None:
            return None
        case int() | float() as number if not isinstance(number, bool):
            return None if math.isnan(number) else float(number)
        case other:
            raise Refused("wrong_type", f"{column} is {type(other).__name__}, no number")


def _whole(value: Any, column: str) -> Any:
    """`value` with text for bytes; as it is where it is nested deeper than any table's: that was JSON."""
    try:
        return decoded(value, column)
    except RecursionError:
        return value


def decoded(value: Any, column: str) -> Any:
    """`value` with every bytes in it as text. Raises Refused for what is no UTF-8."""
    match value:
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError as error:
                raise Refused("invalid_utf8", f"{column}: {error}"[:200]) from error
        case list():
            return [decoded(item, column) for item in value]
        case dict():
            return {name: decoded(item, column) for name, item in value.items()}
        case _:
            return value


def _list(record: Record, column: str) -> list[Any]:
    if column not in record:
        raise Refused("missing_field", column)
    match record[column]:
        case list() as items:
            return items
        case None:
            raise Refused("null_field", column)
        case other:
            raise Refused("wrong_type", f"{column} is {type(other).__name__}")


def _flags(record: Record, column: str, length: int, unknown: bool) -> list[bool]:
    """`length` flags of a list column; `unknown` where the list is null, shorter, or null in that place."""
    found = record.get(column) or []
    flags = [unknown if flag is None else bool(flag) for flag in found] if isinstance(found, list) else []
    return (flags + [unknown] * length)[:length]


def _object(record: Record, column: str) -> Record:
    found = record.get(column)
    return found if isinstance(found, dict) else {}


def _first(*places: tuple[Record, str], what: str) -> str:
    """The first text among (record, column)."""
    for record, column in places:
        if (found := optional(record, column)) and found.strip():
            return found
    raise Refused("null_field", f"{what} is nowhere in the record")

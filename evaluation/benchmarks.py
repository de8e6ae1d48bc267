"""Benchmarks: known file shapes, and the freezing of a file into a manifest of kind `benchmark`.

`freeze_benchmark` reads a JSONL file row by row through the adapter of its shape and commits the items. Item IDs are
the benchmark's own where it has them, else a digest of question and answer; either way they depend on content alone.
A row that lacks a question or an answer is refused with its line number, or goes to the family `quarantine` if the
recipe says so. Leaves out: fetching from the hub (KNOWN says where each comes from); prompts (`evaluation.templates`).
"""

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import fsspec
import pyarrow as pa

from evaluation.config import BenchmarkRecipe
from manifests.errors import UserError
from manifests.manifest import Draft, Manifest, build_key
from manifests.recipe import semantic
from manifests.store import Store
from manifests.tables import ITEMS, QUARANTINE

__all__ = ["KNOWN", "BenchmarkRecipe", "Known", "freeze_benchmark"]

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


@dataclass(frozen=True)
class Known:
    """A benchmark of the field: where it comes from, under what licence, which split is scored, how a row is read."""

    hub_id: str
    license: str
    split: str
    adapter: Callable[[Row], Item]


# -- reading one row -----------------------------------------------------------------------------------------------


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


def _plain(row: Row) -> Item:
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


def _gsm8k(row: Row) -> Item:
    """Bare answer and `cot`, or as on the hub: the worked answer with the final one after ####."""
    worked, mark, final = _text(row, "answer").rpartition("####")
    solution = worked.strip() if mark else _optional(row, "cot")
    return Item(_text(row, "question"), final.strip(), _optional(row, "id"), solution=solution)


def _math(row: Row) -> Item:
    return Item(
        _text(row, "problem"),
        _text(row, "answer"),
        _optional(row, "unique_id") or _optional(row, "id"),
        subject=_optional(row, "subject"),
        level=_optional(row, "level"),
        solution=_optional(row, "solution"),
    )


def _olympiad(row: Row) -> Item:
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


def _svamp(row: Row) -> Item:
    question = f"{_text(row, 'Body')} {_text(row, 'Question')}"
    return Item(question, _text(row, "Answer"), _optional(row, "ID"), subject=_optional(row, "Type"))


def _asdiv(row: Row) -> Item:
    """The gold answer carries its unit in brackets, which is no part of it: "9 (apples)"."""
    answer = re.sub(r"\s*\([^()]*\)$", "", _text(row, "answer"))
    question = f"{_text(row, 'body')} {_text(row, 'question')}"
    return Item(question, answer, _optional(row, "idx"), subject=_optional(row, "solution_type"))


def _mawps(row: Row) -> Item:
    return Item(_text(row, "input"), _text(row, "target"), _optional(row, "idx"), subject=_optional(row, "type"))


def _sat(row: Row) -> Item:
    choices = _lettered(_text(row, "options"), r"(?:^|\s){letter}[).]\s", " ")
    return Item(_text(row, "question"), _letter(row, "Answer", choices), _optional(row, "id"), choices)


def _mathqa(row: Row) -> Item:
    """Options are "a ) 1 , b ) 2", in some rows as the text of a Python list."""
    choices = _lettered(_text(row, "options"), r"(?:^|[\s,\[\"'])\s*{letter}\s*\)\s", " ,'\"[]")
    return Item(
        _text(row, "problem"),
        _letter(row, "correct", choices),
        choices=choices,
        subject=_optional(row, "type"),
        solution=_optional(row, "rationale"),
    )


def _mmlu(row: Row) -> Item:
    options = row.get("options")
    if not isinstance(options, list) or not options:
        raise ValueError("no `options`")
    choices = tuple(str(option).strip() for option in options)
    return Item(
        _text(row, "question"), _letter(row, "answer", choices), _optional(row, "id"), choices, _optional(row, "topic")
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


KNOWN: dict[str, Known] = {
    "gsm8k": Known("openai/gsm8k", "MIT", "test", _gsm8k),
    "math500": Known("HuggingFaceH4/MATH-500", "MIT", "test", _math),
    "olympiad_bench": Known("Hothan/OlympiadBench", "Apache-2.0", "test", _olympiad),
    "amc23": Known("math-ai/amc23", "unstated", "test", _math),
    "svamp": Known("ChilleD/SVAMP", "MIT", "test", _svamp),
    "asdiv": Known("EleutherAI/asdiv", "CC-BY-NC-4.0", "validation", _asdiv),
    "mawps": Known("mwpt5/MAWPS", "MIT", "test", _mawps),
    "sat": Known("mcaleste/sat_multiple_choice_math_may_23", "unstated", "test", _sat),
    "mathqa": Known("allenai/math_qa", "Apache-2.0", "test", _mathqa),
    "mmlu_stem": Known("TIGER-Lab/MMLU-STEM", "MIT", "test", _mmlu),
    "ocw": Known("zhangirazerbayev/ocwcourses", "CC-BY-NC-SA-4.0", "test", _math),
}
"""The benchmarks whose files can be frozen by name."""


# -- freezing ------------------------------------------------------------------------------------------------------


def freeze_benchmark(store: Store, recipe: BenchmarkRecipe) -> Manifest:
    """The manifest of the items in `recipe.path`; the same file gives the same ID.

    Raises UserError for a file that cannot be read, an unknown adapter, rows without question or answer (with their
    line numbers, unless the recipe quarantines them), two items of one ID, and no items at all.
    """
    adapter = _adapter(recipe)
    data = _read_bytes(recipe.path)
    known = KNOWN.get(recipe.adapter or recipe.name)
    split = recipe.split or (known.split if known else "test")
    items, bad = _read_rows(data, adapter)
    _refuse_bad(recipe, items, bad)
    draft = Draft(store, "benchmark", semantic(recipe))
    draft.write("items", [_items_table(recipe.name, split, items)], ITEMS.schema)
    file = PurePosixPath(recipe.path.replace("\\", "/")).name
    draft.write("quarantine", [_quarantine_table(recipe.name, file, bad)], QUARANTINE.schema)
    key = build_key("benchmark", semantic(recipe), [], [(recipe.name, hashlib.sha256(data).hexdigest())])
    settings = recipe.model_dump(mode="json")
    return draft.commit(recipe.name, recipe.version, {"items": len(items), "quarantined": len(bad)}, key, settings)


def _adapter(recipe: BenchmarkRecipe) -> Callable[[Row], Item]:
    name = recipe.adapter or (recipe.name if recipe.name in KNOWN else "plain")
    if name == "plain":
        return _plain
    if name not in KNOWN:
        raise UserError(f"no benchmark adapter {name!r}", f"There are plain, {', '.join(KNOWN)}")
    return KNOWN[name].adapter


def _read_bytes(path: str) -> bytes:
    hint = "Give the path of a JSONL file"
    try:
        fs, name = fsspec.url_to_fs(path)
        if fs.exists(name) and not fs.isfile(name):  # opening a pipe would wait for ever
            raise UserError(f"benchmark file {path} is no regular file", hint)
        with fsspec.open(path, "rb", compression="infer") as file:
            return file.read()  # type: ignore[union-attr]
    except UserError:
        raise
    except Exception as error:  # each decompressor raises exceptions of its own
        raise UserError(f"cannot read benchmark file {path}: {' '.join(str(error).split())}", hint) from error


@dataclass(frozen=True)
class _Bad:
    """A row that is no item: its line, from 0, and why."""

    line: int
    reason: str
    detail: str


def _read_rows(data: bytes, adapter: Callable[[Row], Item]) -> tuple[list[tuple[str, Item]], list[_Bad]]:
    """Items with their IDs, in the order of the file, and the rows that are none. The last line may lack its end."""
    items: list[tuple[str, Item]] = []
    bad: list[_Bad] = []
    seen: Counter[str] = Counter()
    for line, text in enumerate(data.split(b"\n")):
        if not text.strip():
            continue
        try:
            item = adapter(_row(text))
        except (ValueError, TypeError, RecursionError) as error:  # TypeError: a list was expected, or text
            bad.append(_Bad(line, _reason(error), " ".join(str(error).split())[:200]))
            continue
        identity = item.id or _digest(item)
        seen[identity] += 1
        if item.id and seen[identity] > 1:
            bad.append(_Bad(line, "duplicate_id", f"item {identity} was there before"))
            continue
        items.append((identity if seen[identity] == 1 else f"{identity}-{seen[identity]}", item))
    return items, bad


def _row(text: bytes) -> Row:
    row = json.loads(text.decode("utf-8"))
    if not isinstance(row, dict):
        raise ValueError(f"a {type(row).__name__}, not an object")
    if b"\\u" in text:
        json.dumps(row, ensure_ascii=False).encode()  # raises for half a surrogate pair, which no table can hold
    return row


def _reason(error: Exception) -> str:
    match error:
        case UnicodeError():
            return "invalid_utf8"
        case json.JSONDecodeError() | RecursionError():
            return "invalid_json"
        case _:
            return "missing_or_invalid_field"


def _digest(item: Item) -> str:
    content = json.dumps([item.question, item.choices, item.answer])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _refuse_bad(recipe: BenchmarkRecipe, items: list[tuple[str, Item]], bad: list[_Bad]) -> None:
    if bad and recipe.bad_rows == "refuse":
        first = "; ".join(f"line {row.line + 1}: {row.detail}" for row in bad[:3])
        more = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise UserError(
            f"{recipe.path}: {first}{more}", "Correct the file, name its adapter, or set bad_rows: quarantine"
        )
    if not items:
        raise UserError(f"{recipe.path} holds no items", "Give a JSONL file with one problem per line")


def _items_table(name: str, split: str, items: list[tuple[str, Item]]) -> pa.Table:
    rows = [
        {
            "item_id": identity,
            "benchmark": name,
            "split": split,
            "question": item.question,
            "answer": item.answer,
            "choices": None if item.choices is None else json.dumps(item.choices, ensure_ascii=False),
            "subject": item.subject,
            "level": item.level,
            "solution": item.solution,
        }
        for identity, item in items
    ]
    return pa.Table.from_pylist(rows, schema=ITEMS.schema)


def _quarantine_table(name: str, file: str, bad: list[_Bad]) -> pa.Table:
    rows = [
        {"source": name, "file": file, "position": row.line, "reason": row.reason, "detail": row.detail} for row in bad
    ]
    return pa.Table.from_pylist(rows, schema=QUARANTINE.schema)

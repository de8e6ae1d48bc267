"""The built-in sample: a small raw corpus with known faults, made from a seed, offline.

    web/        pages on mathematics with LaTeX, good and poor; boilerplate; copies; leaks; a shard with broken records
    general/    pages on everything else qa/         questions with brief answers          long_cot/   questions with
    reasoning in <think> rl/         prompts with a verifiable answer      benchmark/  the held-out items that some
    pages leak labels.jsonl   what curation should find: exact and near-duplicates, leaks, templates, junk; curation
    never reads it

Promises. `(seed, documents)` give the same bytes everywhere. Every document has a `url` of its own, by which labels
name it. Each source is written as JSONL, JSONL.zst and Parquet, its records in a shuffled order. Leaves out realism:
the prose is drawn from grammars, varied enough that unrelated pages share few runs of words.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from curation.sample.pages import boilerplate_page, general_page, math_page, poor_page, template_page
from curation.sample.problems import Problem, problems

SHARES = {"web": 0.35, "general": 0.15, "qa": 0.25, "long_cot": 0.20, "rl": 0.05}
"""Share of each source in the documents asked for. Broken records come on top."""
FAULTS = {"exact": 0.05, "near": 0.08, "template": 0.06, "boilerplate": 0.05, "poor": 0.10, "leak": 0.04}
"""Share of the web pages that are planted."""
EDITS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.15)
"""Shares of words that near-duplicates have changed; Jaccard similarity of 5-word shingles falls from about 0.95 to
0.3."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Label:
    """What is known of the document at `url`: its `kind`, and the url or item that it copies or leaks."""

    url: str
    kind: str
    of: str = ""
    detail: str = ""


def write_sample(folder: Path, seed: int, documents: int) -> list[Label]:
    """Write the sample into `folder` (some seconds for 10,000 documents) and return its labels."""
    counts = {name: max(8, round(documents * share)) for name, share in SHARES.items()}
    items = problems(seed, max(50, documents // 20), "test")
    web, labels = _web(random.Random(f"{seed} web"), counts["web"], items)
    sources = {
        "web": web,
        "general": _pages(random.Random(f"{seed} general"), counts["general"], "general", general_page),
        "qa": _answered(problems(seed, counts["qa"], "train"), "qa", lambda problem: problem.short),
        "long_cot": _answered(problems(seed + 1, counts["long_cot"], "train"), "long_cot", lambda problem: problem.cot),
        "rl": _answered(problems(seed, counts["rl"], "rl"), "rl", None),
    }
    for name, rows in sources.items():
        random.Random(f"{seed} order {name}").shuffle(rows)
        _write_shards(folder / name, rows)
    _write_broken(folder / "web" / "part-3.jsonl")
    _write_jsonl(folder / "benchmark" / "arithmetic.jsonl", [_item(number, item) for number, item in enumerate(items)])
    _write_jsonl(folder / "labels.jsonl", [vars(label) for label in labels])
    return labels


# -- sources ---------------------------------------------------------------------------------------------------------


def _pages(draw: random.Random, n: int, source: str, page: Callable[[random.Random], str]) -> list[Row]:
    return [{"url": f"https://sample.invalid/{source}/{number}", "text": page(draw)} for number in range(n)]


def _answered(found: list[Problem], source: str, respond: Callable[[Problem], str] | None) -> list[Row]:
    """Rows of question, answer and, where there is one, response."""
    rows = []
    for number, problem in enumerate(found):
        row = {"url": f"https://sample.invalid/{source}/{number}", "question": problem.question}
        rows.append(row | ({"response": respond(problem)} if respond else {}) | {"answer": problem.answer})
    return rows


def _item(number: int, problem: Problem) -> Row:
    return {"id": f"arithmetic-{number}", "question": problem.question, "answer": problem.answer}


def _web(draw: random.Random, n: int, items: list[Problem]) -> tuple[list[Row], list[Label]]:
    planted = {kind: max(2, round(n * share)) for kind, share in FAULTS.items()}
    rows = _pages(draw, max(4, n - sum(planted.values())), "web", math_page)
    labels: list[Label] = []
    originals = list(rows)
    for kind, url, text, of, detail in _faults(draw, planted, originals, items):
        labels.append(Label(url, kind, of, detail))
        rows.append({"url": url, "text": text})
    return rows, labels


def _faults(
    draw: random.Random, planted: dict[str, int], originals: list[Row], items: list[Problem]
) -> Iterator[tuple[str, str, str, str, str]]:
    """(kind, url, text, of, detail) of each planted page."""
    for kind, n in planted.items():
        for number in range(n):
            url = f"https://sample.invalid/{kind}/{number}"
            match kind:
                case "exact" | "near":
                    original = draw.choice(originals)
                    share = 0.0 if kind == "exact" else EDITS[number % len(EDITS)]
                    yield kind, url, edited(draw, original["text"], share), original["url"], f"{share} of words changed"
                case "leak":
                    chosen = draw.randrange(len(items))
                    form = ("verbatim", "embedded", "respaced")[number % 3]
                    yield kind, url, _leak(draw, items[chosen], form), f"arithmetic-{chosen}", form
                case "template":
                    yield kind, url, template_page(draw, number), "", "differs from its siblings in numbers alone"
                case _:
                    yield kind, url, boilerplate_page(draw) if kind == "boilerplate" else poor_page(draw), "", ""


def edited(draw: random.Random, text: str, share: float) -> str:
    """`text` with about `share` of its words replaced by other words; 0 leaves it as it is. Numbers stay."""
    pieces = text.split(" ")
    for position, piece in enumerate(pieces):
        if piece.isalpha() and draw.random() < share:
            pieces[position] = "".join(draw.choices("abcdefghilmnoprstu", k=max(3, len(piece))))
    return " ".join(pieces)


def _leak(draw: random.Random, item: Problem, form: str) -> str:
    """A page that holds a benchmark item: by itself with its answer, within a lesson, or with other spacing."""
    match form:
        case "verbatim":
            return f"Exercise for today\n\n{item.question}\n\nThe solution is {item.answer}. {math_page(draw)}"
        case "embedded":
            before, after = math_page(draw).split("\n\n", 1)
            return f"{before}\n\n{item.question}\n\nAnswer: {item.answer}\n\n{after}"
        case _:
            spaced = item.question.replace(" + ", "+").replace(" - ", "-").replace(" ", "  ").replace("?", " ?")
            return f"{math_page(draw)}\n\nSample question:\n{spaced}\n"


# -- files -----------------------------------------------------------------------------------------------------------


def _write_shards(folder: Path, rows: list[Row]) -> None:
    """A third of the rows in each format."""
    cuts = [0, len(rows) // 3, 2 * len(rows) // 3, len(rows)]
    jsonl, zst, parquet = (rows[start:stop] for start, stop in pairwise(cuts))
    _write_jsonl(folder / "part-0.jsonl", jsonl)
    (folder / "part-1.jsonl.zst").write_bytes(zstandard.compress(_jsonl(zst)))
    pq.write_table(pa.Table.from_pylist(parquet), folder / "part-2.parquet", compression="zstd")


def _write_jsonl(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_jsonl(rows))


def _jsonl(rows: list[Row]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def _write_broken(path: Path) -> None:
    """Records such as real dumps hold: each must end in quarantine."""
    path.write_bytes(
        b'{"url": "https://sample.invalid/broken/0", "text": "cut off in the mid\n'
        b'{"url": "https://sample.invalid/broken/1", "text": null}\n'
        b'{"url": "https://sample.invalid/broken/2"}\n'
        b'{"url": "https://sample.invalid/broken/3", "text": ["a", "list"]}\n'
        b'{"url": "https://sample.invalid/broken/4", "text": "bytes that are no UTF-8: \xff\xfe"}\n'
        b"[1, 2, 3]\n"
        b'{"url": "https://sample.invalid/broken/5", "text": "' + b"endless " * 250_000 + b'"}\n'
    )

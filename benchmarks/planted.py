"""A generated corpus whose truth is known: copies at exact similarities, leaks, and problems that only look alike.

Pages are drawn from the grammars of the built-in sample, joined to some 2.4 kB, the mean of real pages. Planted shares
are in SHARES. The truth is worked out here in plain Python over sets of words, by none of the code that is measured.
Leaves out realism: of real text copies are rarer, and unrelated pages share more phrases.
"""

import json
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from curation.sample.pages import THINGS, general_page, math_page, template_page
from curation.sample.write import edited

SHARES = {"near": 0.20, "exact": 0.05, "verbatim": 0.016, "edited": 0.004, "template": 0.02, "solution": 0.004}
"""Share of all documents that are near copies, exact copies, leaks of an item's question as it is or edited, templated
problems, and leaks of a worked solution alone. The others are pages of their own."""
NEAR_EDITS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.08)
"""Shares of words that near copies have changed: exact Jaccard similarities from 0.95 down to 0.5."""
ITEM_EDITS = 0.08
"""Share of words that edited leaks have changed; numbers stay, those in words too: others make another problem."""
SPELLED = re.compile(
    r"(?i)(zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen"
    r"|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million"
    r"|billion|half|twice|thrice|double|triple)"
)
ITEMS = 2000
STORIES = (
    "A {thing} holds {a} boxes of {b} candles each, and {c} of them are broken. How many whole candles does it hold?",
    "It takes {a} workers {b} hours to mend one {thing}. How long would {c} workers need for the same job?",
    "The owner of a {thing} pays {a} coins a week and {b} coins a month on top. What has been paid after {c} weeks?",
    "Some trains pass a {thing}, the first at {a} and the last at {b} miles per hour. How far do they get in {c} days?",
)
"""How items end; pages hold nothing like them."""
WORKED = (
    "First take {a} times {b}, then set {c} of the {thing} aside; what is left of them is the number that was asked.",
    "One {thing} needs {a} and {b} together, which we share among {c}, and so the answer follows at once.",
)
SOLUTION_WORDS = 25
"""Shorter solutions of real items are not planted: they are not looked for."""
SHINGLE = 5
WORD = re.compile(r"[^\W\d_]+|\d+|[-+*/=<>^%!]")


class Item(NamedTuple):
    """A benchmark's question and its worked solution, "" where there is none."""

    question: str
    solution: str


@dataclass(frozen=True)
class Planted:
    """`texts` and, beside them, the `kind` of each and `of`: the document it copies or the item it leaks, else -1."""

    texts: list[str]
    kind: list[str]
    of: list[int]
    items: list["Item"]

    def of_kind(self, *kinds: str) -> list[int]:
        """Numbers of the documents of these kinds."""
        return [number for number, kind in enumerate(self.kind) if kind in kinds]


def plant(documents: int, seed: int, items: list[Item] | None = None) -> Planted:
    """`documents` texts in shuffled order; `items` of benchmarks, or generated ones."""
    draw = random.Random(seed)
    items = items or [_item(draw) for _ in range(ITEMS)]
    planted = [(kind, number) for kind, share in SHARES.items() for number in range(round(documents * share))]
    made = [(_page(draw), "page", -1) for _ in range(documents - len(planted))]
    pages = made.copy()
    worked = [number for number, item in enumerate(items) if len(WORD.findall(item.solution)) >= SOLUTION_WORDS]
    for kind, number in planted:
        made.append(_planted(draw, kind, number, pages, items, worked))
    order = list(range(documents))
    draw.shuffle(order)
    place = {old: new for new, old in enumerate(order)}
    texts, kinds, targets = zip(*(made[old] for old in order), strict=True)
    of = [place[target] if kind in ("near", "exact") else target for kind, target in zip(kinds, targets, strict=True)]
    return Planted(list(texts), list(kinds), of, items)


def _page(draw: random.Random) -> str:
    page = math_page if draw.random() < 0.8 else general_page
    return "\n\n".join(page(draw) for _ in range(draw.randint(1, 5)))


def _item(draw: random.Random) -> Item:
    """A question and a solution of some 60 words with three numbers: sentences such as pages hold, then a story."""
    numbers = {name: draw.randint(3, 999) for name in "abc"}
    endings = [draw.choice(ways).format(thing=draw.choice(THINGS), **numbers) for ways in (STORIES, WORKED)]
    return Item(*(" ".join([math_page(draw).split("\n\n")[1], ending]) for ending in endings))


def _planted(
    draw: random.Random, kind: str, number: int, pages: list[tuple[str, str, int]], items: list[Item], worked: list[int]
) -> tuple[str, str, int]:
    if kind == "template":
        return template_page(draw, number), kind, -1
    if kind in ("verbatim", "edited"):
        item = draw.randrange(len(items))
        question = items[item].question
        question = _edited_question(draw, question) if kind == "edited" else question
        return f"{_page(draw)}\n\n{question}\n\n{_page(draw)}", kind, item
    if kind == "solution":
        item = draw.choice(worked)
        return f"{_page(draw)}\n\n{items[item].solution}\n\n{_page(draw)}", kind, item
    original = draw.randrange(len(pages))
    share = NEAR_EDITS[number % len(NEAR_EDITS)] if kind == "near" else 0.0
    return edited(draw, pages[original][0], share), kind, original


def _edited_question(draw: random.Random, question: str) -> str:
    words = zip(question.split(" "), edited(draw, question, ITEM_EDITS).split(" "), strict=True)
    return " ".join(word if SPELLED.fullmatch(word) else other for word, other in words)


def read_items(folder: Path) -> list[Item]:
    """The items of every .jsonl file in `folder`, or of the one file, with what is told before a question where that is
    another column."""
    files = [folder] if folder.is_file() else sorted(folder.glob("*.jsonl"))
    lines = [line for path in files for line in path.read_text().splitlines()]
    rows = [{name.lower(): value for name, value in json.loads(line).items()} for line in lines]
    asked = [row.get("question") or row.get("problem") or row.get("input") or "" for row in rows]
    worked = [row.get("solution") or row.get("cot") or row.get("rationale") or "" for row in rows]
    worked = ["\n\n".join(one) if isinstance(one, list) else one for one in worked]
    told = [row.get("body", "") for row in rows]
    return [Item(f"{a} {b}".strip(), c) for a, b, c in zip(told, asked, worked, strict=True) if b]


def jaccard(left: str, right: str) -> float:
    """Exact Jaccard similarity of the sets of runs of SHINGLE words."""
    ours, theirs = _runs(left), _runs(right)
    return len(ours & theirs) / len(ours | theirs)


def _runs(text: str) -> set[tuple[str, ...]]:
    words = WORD.findall(text.lower())
    return set(zip(*(words[shift:] for shift in range(SHINGLE)), strict=False))


def best_similarity(corpus: Planted) -> list[float]:
    """For each document, the similarity with the most similar other document of its planted family, 0 without one."""
    families: dict[int, list[int]] = {}
    for number in corpus.of_kind("near", "exact"):
        families.setdefault(corpus.of[number], [corpus.of[number]]).append(number)
    best = [0.0] * len(corpus.texts)
    for members in families.values():
        for member in members:
            others = [corpus.texts[other] for other in members if other != member]
            best[member] = max(jaccard(corpus.texts[member], other) for other in others)
    return best

"""What is added to a corpus is decided as if all had been there at once, and what was there stays as it is."""

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from curation import pipeline
from curation.config import CurateRecipe
from curation.grow import added
from curation.near import near
from curation.sources import InputFile
from manifests import catalog
from manifests.errors import UserError
from manifests.manifest import Manifest, verify
from manifests.recipe import parse
from manifests.store import Store

WORDS = "prime integer group ring field limit proof lemma sum angle circle vector matrix root point line".split()
SHARED = ("texts", "origins", "quarantine", "signatures", "bands", "twins", "inputs")


def story(seed: int, *changed: int) -> str:
    words = random.Random(seed).choices(WORDS, k=60)
    return " ".join(f"changed{place}" if place in changed else word for place, word in enumerate(words))


POOL = (
    *(story(seed) for seed in range(4)),
    *(story(0, place) for place in (5, 30, 55)),  # near-duplicates of the first, and of each other
    *(story(1, *range(start, 60, 25)) for start in (0, 9)),
    *(story(2, *range(last)) for last in (3, 6, 9, 12)),  # a chain: each is near to its neighbours
    story(2, 40) + " Hence the sum is 2 and 3.",
    *(f"What is {n} plus 4? Add {n} and 4 and write down the sum of both numbers." for n in (11, 12, 13)),
    "too short",
    "If a ring has 58 apples, how many circles has the field of the old group?",
)
RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "source": st.sampled_from("abc"),
            "dump": st.integers(0, 2),
            "text": st.sampled_from(POOL),
            "id": st.sampled_from(["1", "2", None]),
            "kind": st.sampled_from(["good", "bad"]),
            "crawl": st.sampled_from(["x", "y", None]),
        }
    ),
    min_size=3,
    max_size=30,
)


def recipe(tokenizer: Path, folder: Path, name: str, sources: str = "abc", **changes: Any) -> CurateRecipe:
    rules = {"role": "general", "only": {"kind": ["good"]}, "metadata": ["crawl"]}
    items = {"benchmarks": [{"name": "items", "path": str(folder / "items.jsonl")}]}
    plain = {"name": name, "tokenizer": str(tokenizer), "quality": {"min_words": 3}, "decontaminate": items}
    plain["sources"] = [{"name": source, "path": str(folder / source)} | rules for source in sources]
    return parse(plain | changes, CurateRecipe, "test")


def lay_out(folder: Path, rows: list[dict[str, Any]], dumps: set[int]) -> None:
    """The rows of some dumps, a file for each source and dump; and a benchmark."""
    item = {"id": "1", "question": POOL[-1], "answer": "1"}
    folder.mkdir(exist_ok=True)
    (folder / "items.jsonl").write_text(json.dumps(item))
    for place in sorted({(row["source"], row["dump"]) for row in rows if row["dump"] in dumps}):
        (folder / place[0]).mkdir(exist_ok=True)
        lines = [json.dumps(row) for row in rows if (row["source"], row["dump"]) == place]
        (folder / place[0] / f"{place[1]}.jsonl").write_text("\n".join(lines))


def documents(manifest: Manifest) -> list[dict[str, Any]]:
    """Rows of `documents`, with text and place of each, in an order of their own."""
    beside = (manifest.read(family).to_pylist() for family in ("documents", "texts"))
    return sorted((ours | theirs for ours, theirs in zip(*beside, strict=True)), key=lambda row: row["doc_id"])


def rows_of(manifest: Manifest, family: str) -> Counter[str]:
    return Counter(json.dumps(row, sort_keys=True) for row in manifest.read(family).to_pylist())


TWINS = [
    {"source": "a", "dump": dump, "text": POOL[0], "id": None, "kind": kind, "crawl": crawl}
    for dump, kind, crawl in ((0, "good", "y"), (1, "bad", "x"), (2, "good", "x"), (1, "good", None), (0, "bad", "y"))
]


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(records=RECORDS, order=st.permutations([0, 1, 2]), sources=st.permutations("abc").map("".join))
@example(records=TWINS, order=[2, 1, 0], sources="abc")
@example(records=TWINS, order=[0, 1, 2], sources="bca")
def test_the_order_of_arrival_changes_no_decision(records, order, sources, in_process, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("grow")
    store, place = Store(folder / "store"), folder / "in"
    lay_out(place, records, {0, 1, 2})
    arrivals = [dump for dump in order if any(row["dump"] == dump for row in records)]
    here = {name for name in sources if (place / name).exists()}
    whole = pipeline.curate(store, recipe(tokenizer, place, "whole", [s for s in sources if s in here]))
    corpus = None
    for number in range(len(arrivals)):
        at = folder / str(number)
        lay_out(at, records, set(arrivals[number : number + 1]))
        seen = {row["source"] for row in records if row["dump"] in arrivals[: number + 1]}
        named = recipe(tokenizer, at, f"part{number}", [s for s in sources if s in seen])
        corpus = pipeline.curate(store, named, onto=corpus)
    assert corpus is not None
    assert documents(corpus) == documents(whole)
    for family in ("quarantine", "doubts", "leaks", "twins", "inputs"):
        assert rows_of(corpus, family) == rows_of(whole, family), family
    assert corpus.counts == whole.counts
    assert corpus.read("origins", ["doc_id"]).equals(corpus.read("documents", ["doc_id"]))
    assert catalog.diff(store, corpus.id, whole.id).num_rows == 0
    assert verify(store, corpus) == []

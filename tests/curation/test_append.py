"""What is added to a corpus is decided as if all had been there at once, and what was there stays as it is."""

import json
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from curation import pipeline
from curation.config import CurateRecipe
from curation.corpus.append import added
from curation.corpus.near import near
from curation.reading.files import InputFile
from manifests import catalog
from manifests.errors import UserError
from manifests.manifest import Manifest, verify
from manifests.recipe import parse
from manifests.store import Store

WORDS = ["prime", "integer", "group", "ring", "field", "limit", "proof", "lemma", "sum", "angle", "circle", "vector"]
SHARED = ("texts", "origins", "quarantine", "signatures", "bands", "twins", "inputs")


def story(seed: int, *changed: int) -> str:
    words = random.Random(seed).choices(WORDS, k=60)
    return " ".join(f"changed{place}" if place in changed else word for place, word in enumerate(words))


RECORDED = "Viewed {} times by people who came along and looked at it. " + story(6)
POOL = (
    *(story(seed) for seed in range(4)),
    *(story(0, place) for place in (5, 30, 55)),  # near-duplicates of the first, and of each other
    *(story(1, *range(start, 60, 25)) for start in (0, 9)),
    *(story(2, *range(last)) for last in (3, 6, 9, 12)),  # a chain: each is near to its neighbours
    story(2, 40) + " Hence the sum is 2 and 3.",
    *(f"What is {n} plus 4? Add {n} and 4 and write down the sum of both numbers." for n in (11, 12, 13)),
    *(RECORDED.format(count) for count in (1034, 1061, 2000)),  # a page fetched three times
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


def recipe(tokenizer: Path, folder: Path, name: str, sources: Iterable[str] = "abc", **changes: Any) -> CurateRecipe:
    rules = {"role": "general", "only": {"kind": ["good"]}, "metadata": ["crawl"]}
    items = {"benchmarks": [{"name": "items", "path": str(folder / "items.jsonl")}]}
    plain = {"name": name, "tokenizer": str(tokenizer), "quality": {"min_words": 3}, "decontaminate": items}
    plain["sources"] = [{"name": source, "path": str(folder / source)} | rules for source in sources]
    return parse(plain | changes, CurateRecipe, "test")


def lay_out(folder: Path, rows: list[dict[str, Any]], dumps: set[int]) -> None:
    """The rows of some dumps, a file for each source and dump; and a benchmark, whose two items one text holds."""
    asked = (POOL[-1], " ".join(POOL[-1].split()[:12]))
    items = [{"id": str(number), "question": text, "answer": "1"} for number, text in enumerate(asked)]
    folder.mkdir(exist_ok=True)
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, items)))
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


APART = [
    {"source": source, "dump": dump, "text": story(dump, *changed), "id": str(changed), "kind": "good", "crawl": None}
    for dump in (0, 1, 2)
    for source, changed in (("a", (5,)), ("b", (5,)), ("b", (30, 31)), ("c", (5, 30)), ("c", (30, 31, 32)), ("a", ()))
]
"""Clusters that one dump alone has."""


PROMOTED = [
    {"source": "a", "dump": dump, "text": text, "id": "1", "kind": kind, "crawl": "x"}
    for dump, text, kind in (
        (0, " ".join([*(f"changed{place}" for place in range(6)), *POOL[0].split()[6:]]), "good"),
        (0, POOL[0], "bad"),
        (1, POOL[0], "good"),
    )
]
"""An excluded document whose twin comes later and is not: with it the first is one of two near copies."""

HOLDING = [
    {"source": "a", "dump": dump, "text": POOL[place], "id": str(dump), "kind": "good", "crawl": None}
    for dump, place in ((0, -1), (0, 0), (1, -1), (2, 1))
]
"""Documents that hold both items, in a corpus that others are added to."""


@settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(records=RECORDS, order=st.permutations([0, 1, 2]), sources=st.permutations("abc").map("".join))
@example(records=TWINS, order=[2, 1, 0], sources="abc")
@example(records=TWINS, order=[0, 1, 2], sources="bca")
@example(records=APART, order=[1, 2, 0], sources="cab")
@example(records=PROMOTED, order=[0, 1, 2], sources="abc")
@example(records=HOLDING, order=[0, 1, 2], sources="abc")
def test_the_order_of_arrival_changes_no_decision(records, order, sources, tokenizer, tmp_path_factory):
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
    assert {name: said for name, said in corpus.counts.items() if name != "onto"} == whole.counts
    assert corpus.read("origins", ["doc_id"]).equals(corpus.read("documents", ["doc_id"]))
    assert catalog.diff(store, corpus.id, whole.id).num_rows == 0
    assert verify(store, corpus) == []


# -- what stays, and what is told ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Two dumps of source a, and one of source b that holds better copies of some of it."""
    folder = tmp_path_factory.mktemp("place")
    rows = [{"source": "a", "dump": 0, "text": text, "id": str(number)} for number, text in enumerate(POOL[:-1])]
    rows += [{"source": "a", "dump": 1, "text": story(seed), "id": f"new {seed}"} for seed in (3, 7, 8)]
    rows += [{"source": "b", "dump": 0, "text": story(seed, 20), "id": f"b {seed}"} for seed in (2, 3, 9)]
    lay_out(folder / "old", [row | {"kind": "good", "crawl": "x"} for row in rows[: len(POOL) - 1]], {0})
    lay_out(folder / "all", [row | {"kind": "good", "crawl": "x"} for row in rows], {0, 1})
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("grown"))


@pytest.fixture(scope="module")
def old(home, place, tokenizer) -> Manifest:
    return pipeline.curate(home, recipe(tokenizer, place / "old", "old", "a"))


@pytest.fixture(scope="module")
def new(home, place, tokenizer, old) -> Manifest:
    return pipeline.curate(home, recipe(tokenizer, place / "all", "new", "ba"), onto=old)


def test_what_was_written_stays_the_files_that_it_is(old, new):
    for family in SHARED:
        assert new.files(family)[: len(old.files(family))] == old.files(family), family
        assert len(new.files(family)) > len(old.files(family))
    rows = len(old.read("documents"))
    for family in ("texts", "signatures"):
        assert new.read(family).slice(0, rows).equals(old.read(family))


def test_only_new_files_are_read(home, old, new, tokenizer, place, monkeypatch):
    read = []
    monkeypatch.setattr(pipeline, "run_tasks", lambda job, workers: read.extend(job.files))
    changed = recipe(tokenizer, place / "all", "other", "ab")
    with pytest.raises(Exception, match=r"documents\.parquet|tasks are not done"):
        pipeline.curate(home, changed, onto=old)
    assert [(file.source, file.name) for file in read] == [("a", "1.jsonl"), ("b", "0.jsonl")]


def test_the_difference_is_told(home, old, new):
    changes = catalog.diff(home, old.id, new.id).to_pylist()
    assert {row["change"] for row in changes} >= {"added"}
    columns = {"doc_id", "drop_reason", "keeper_id"}
    before, after = ({row["doc_id"]: row for row in documents(corpus)} for corpus in (old, new))
    turned = [name for name, row in before.items() if any(row[c] != after[name][c] for c in columns)]
    kept = [name for name in turned if before[name]["drop_reason"] is None]
    assert any(after[name]["keeper_id"] in after.keys() - before.keys() for name in kept)
    assert (new.id, old.id) in {(row["child"], row["parent"]) for row in catalog.lineage(home, new.id).to_pylist()}


def test_a_near_duplicate_is_found_among_old_and_new(new):
    for seed in (0, 9):
        assert near(new, story(seed))[0].similarity > 0.8


def test_the_same_command_finds_its_work_done(home, place, tokenizer, old, new):
    assert pipeline.curate(home, recipe(tokenizer, place / "all", "new", "ba"), onto=old) == new
    planned = pipeline.plan(home, recipe(tokenizer, place / "all", "planned", "ba"), onto=old)
    assert ("keep", 1) in [(row.stage, row.what.count(old.id)) for row in planned]
    assert [row.files for row in planned if row.stage == "read"] == [1, 1]


def test_files_of_the_corpus_need_not_be_there(home, place, tokenizer, old, new, tmp_path):
    lay_out(tmp_path, [], set())
    for name, dump in (("a", "1.jsonl"), ("b", "0.jsonl")):
        (tmp_path / name).mkdir()
        (tmp_path / name / dump).write_bytes((place / "all" / name / dump).read_bytes())
    assert pipeline.curate(home, recipe(tokenizer, tmp_path, "gone", "ba"), onto=old).id == new.id
    (tmp_path / "a" / "1.jsonl").unlink()
    assert len(pipeline.curate(home, recipe(tokenizer, tmp_path, "b-only", "ba"), onto=old).read("inputs")) == 2


@pytest.mark.parametrize(
    ("name", "sources", "changes", "said"),
    [
        ("x", "b", {}, "source a of old@1 is not in the recipe"),
        (
            "x",
            "ab",
            {"near_duplicates": {"similarity": 0.8}},
            "has other rules than old@1: near_duplicates.similarity 0.7",
        ),
        ("x", "ab", {"decontaminate": {}}, "decontaminates against other benchmarks than old@1"),
        ("old", "ab", {}, "old@1 already exists"),
    ],
)
def test_other_rules_are_refused(home, place, tokenizer, old, name, sources, changes, said):
    with pytest.raises(UserError, match=said):
        pipeline.curate(home, recipe(tokenizer, place / "all", name, sources, **changes), onto=old)


def test_what_cannot_be_added_to_is_refused(home, place, tokenizer, old, new):
    whole = recipe(tokenizer, place / "all", "x", "ba")
    with pytest.raises(UserError, match=r"nothing to add: new@1 holds all 3 files"):
        pipeline.curate(home, whole, onto=new)
    with pytest.raises(UserError, match=r"the sources of new@1 in another order"):
        pipeline.curate(home, recipe(tokenizer, place / "all", "x", "ab"), onto=new)
    with pytest.raises(UserError, match=r"is a benchmark, not a corpus"):
        pipeline.curate(home, whole, onto=replace(old, kind="benchmark"))
    with pytest.raises(UserError, match=r"another version of the rules"):
        pipeline.curate(home, whole, onto=replace(old, counts={"rules": 3}))
    with pytest.raises(UserError, match=r"was appended to corpus-"):
        pipeline.curate(home, recipe(tokenizer, place / "all", "x", "ba", quality={"min_words": 5}), base=new)


def test_files_count_as_often_as_they_are_there(old):
    known = old.read("inputs").to_pylist()[0]
    file = InputFile("a", "copy.jsonl", "", known["format"], 1, known["sha256"])
    assert added(old, (file, replace(file, name="another.jsonl"))) == (replace(file, name="another.jsonl"),)
    with pytest.raises(UserError, match="HTML pages are recorded in groups"):
        pages = InputFile("a", "0.html", "", "html", 1, "0" * 64, ("0.html",))
        added(replace_inputs(old), (pages,))


def replace_inputs(corpus: Manifest) -> Manifest:
    """A corpus whose files were HTML."""

    class Html(Manifest):
        def read(self, family, columns=None):
            rows = super().read(family, columns)
            return rows.set_column(rows.column_names.index("format"), "format", [["html"] * len(rows)])

    return Html(**vars(corpus))

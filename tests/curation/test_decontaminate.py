"""What counts as holding an item, and what does not."""

import json
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.config import DecontaminateRecipe
from curation.measures import decontaminate
from curation.measures.decontaminate import CANDIDATE_SHARE, ITEM_COLUMNS, ItemIndex, parts_of
from curation.measures.spans import spans
from curation.measures.words import split
from curation.sample.pages import general_page, math_page
from curation.sample.write import edited

STORY = (
    "Mia has 58 apples in a basket and finds 13 more under the old tree behind the house. How many apples has she now?"
)
LATEX = r"Let $x$ be a real number with $\frac{x+1}{x-2} = 3x^{2}$. Find the sum of all values of $\left(x+1\right)$."
SHORT = "What is 58 + 13?"
QUESTIONS = {"story": STORY, "latex": LATEX, "short": SHORT, "numbers": "17 + 25 = ?", "empty": "?"}
WORKED = (
    "She begins with 58 apples and picks up 13 that lie under the tree, which makes 58 + 13 = 71 apples in the basket."
)
SOLUTIONS = {"story": WORKED, "latex": "Both roots add up to 7.", "short": None}


def index(**settings) -> ItemIndex:
    rows = [
        {"benchmark": "b", "item_id": name, "question": text, "solution": SOLUTIONS.get(name)}
        for name, text in QUESTIONS.items()
    ]
    return ItemIndex(parts_of(pa.Table.from_pylist(rows, ITEM_COLUMNS)), DecontaminateRecipe(**settings))


def held(text: str) -> str | None:
    evidence = index().find(pa.array([text], pa.large_string())).evidence[0]
    return json.loads(evidence)["item"] if evidence else None


@pytest.mark.parametrize("name", ["story", "latex", "short"])
def test_finds_items_by_themselves_and_embedded(name):
    draw = random.Random(1)
    assert held(QUESTIONS[name]) == name
    assert held(f"{general_page(draw)}\n\n{QUESTIONS[name]}\n\n{math_page(draw)}") == name


def test_spacing_and_style_of_latex_do_not_matter():
    assert (
        held(r"Let x be a real number with \(\dfrac{x + 1}{x - 2} = 3 x^2\). Find the sum of all values of x+1")
        == "latex"
    )
    assert held("what  is 58+13 ?") == "short"


def test_small_edits_are_seen_through():
    draw = random.Random(5)
    found = [held(edited(draw, STORY, 0.1)) for _ in range(40)]
    assert found.count("story") >= 36


def test_other_numbers_are_another_problem():
    assert held(STORY.replace("58", "57")) is None
    assert held(STORY.replace("13", "58").replace("58", "13", 1)) is None
    assert held("Mia has 57 apples in a basket. 58 is no number here. " + STORY.replace("58", "57")) is None
    assert held("What is 58 - 13?") is None


def test_short_items_must_stand_alone():
    assert held("What is 58 + 13 + 4?") is None
    assert held("We ask: what is 58 + 13? Then we answer.") == "short"


def test_items_without_letters_are_never_found_and_counted():
    assert held("17 + 25 = ? 17 + 25 = ?") is None
    assert index().unmatchable == 2


def test_evidence_names_benchmark_item_and_coverage():
    matches = index().find(pa.array([STORY, "nothing at all"], pa.large_string()))
    expected = {"benchmark": "b", "item": "story", "part": "question", "coverage": 1.0}
    assert json.loads(matches.evidence[0]) == expected
    assert matches.coverage.tolist() == [1.0, 0.0] and matches.evidence[1] is None


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (STORY, "question"),
        (WORKED, "answer"),
        (f"{STORY}\n\nAnswer: {WORKED}", "question and answer"),
        (WORKED.replace("13 = 71", "14 = 72"), None),
    ],
)
def test_the_worked_solution_is_a_leak_too_and_told_apart(text: str, part: str | None) -> None:
    draw = random.Random(4)
    found = index().find(pa.array([f"{math_page(draw)}\n\n{text}\n\n{math_page(draw)}"], pa.large_string())).evidence
    assert [json.loads(one)["part"] if one else None for one in found] == [part]


def test_the_span_of_a_solution_is_its_passage():
    found = index().columns(pa.array([f"Worked out by hand. {WORKED}"], pa.large_string()))
    [leak] = found["held"][0].as_py()
    assert (leak["span_start"], leak["span_length"]) == (20, len(WORKED) - 1)


def test_solutions_of_a_few_words_are_not_looked_for():
    assert held(SOLUTIONS["latex"]) is None
    assert index().counts == {"all": 5, "unmatchable": 2, "solutions": 1}


@pytest.mark.parametrize("name", ["story", "latex", "short"])
def test_the_span_is_the_passage_that_holds_the_item(name):
    draw = random.Random(2)
    before, after = f"{general_page(draw)}\n\nÜbung — ", f"\n\n{math_page(draw)}"
    for asked in (QUESTIONS[name], edited(random.Random(3), QUESTIONS[name], 0.05)):
        found = index().columns(pa.array(["nothing at all", before + asked + after], pa.large_string()))
        none, [leak] = found["held"].to_pylist()
        assert none is None
        passage = (before + asked + after)[leak["span_start"] :][: leak["span_length"]]
        assert passage in asked and len(passage) > 0.9 * len(asked)


def test_a_span_by_hand():
    assert spans("One. What is 58+13 then?", ["what is 58 + 13?", "?", "one what"]) == [(5, 13), None, (0, 9)]
    assert spans("q a b x c d q", ["a b c d"]) == [(2, 9)]
    assert spans("...", ["words"]) == [None]


def test_every_item_that_a_document_holds_is_told_and_the_best_covered_first():
    """Two questions, one of them with an edit, and the worked solution of the other: two items, three parts."""
    text = f"First. {edited(random.Random(3), QUESTIONS['latex'], 0.05)}\n\nSecond. {STORY}\n\n{WORKED}"
    found = index().columns(pa.array([text, "nothing at all"], pa.large_string()))
    [rows, none] = found["held"].to_pylist()
    assert none is None and [row["item_id"] for row in rows] == ["story", "latex"]
    assert rows[0]["part"] == "question and answer" and rows[1]["part"] == "question"
    assert rows[0]["coverage"] == found["contamination"][0].as_py() == 1.0 > rows[1]["coverage"] > 0.7
    passages = [text[row["span_start"] :][: row["span_length"]] for row in rows]
    assert passages[0] == STORY[:-1] and passages[1] in text[: text.index("Second")]
    assert json.loads(found["held_item"][0].as_py())["item"] == "story"


def test_beyond_so_many_items_a_document_is_not_searched_for_places(monkeypatch):
    monkeypatch.setattr(decontaminate, "MOST_PLACED", 1)
    [rows] = index().columns(pa.array([f"{STORY}\n\n{QUESTIONS['latex']}"], pa.large_string()))["held"].to_pylist()
    assert [row["span_start"] is None for row in rows] == [False, True]


def test_coverage_is_a_limit_of_the_recipe():
    half = pa.array([STORY[: len(STORY) // 2]], pa.large_string())
    assert index().find(half).evidence == [None]
    assert index(coverage=0.3, numbers=0.5).find(half).coverage[0] > 0.3


def test_no_items_no_documents():
    empty = ItemIndex(parts_of(ITEM_COLUMNS.empty_table()), DecontaminateRecipe())
    assert empty.counts == {"all": 0, "unmatchable": 0, "solutions": 0}
    assert empty.find(pa.array([STORY], pa.large_string())).evidence == [None]
    assert index().find(pa.array([], pa.large_string())).evidence == []


def candidates(items: list[list[str]], document: list[str], n: int, coverage: float) -> dict[int, int]:
    """Commonest diagonal by item, for those of which common runs cover enough; in plain Python."""
    found = {}
    for item, words in enumerate(items):
        matches = [
            (place, position)
            for position in range(len(words) - n + 1)
            for place in range(len(document) - n + 1)
            if document[place : place + n] == words[position : position + n]
        ]
        covered = {position + k for _, position in matches for k in range(n)}
        if matches and len(covered) / len(words) >= CANDIDATE_SHARE * coverage:
            diagonals = [place - position for place, position in matches]
            found[item] = min(set(diagonals), key=lambda one: (-diagonals.count(one), one))
    return found


WORDS = st.lists(st.sampled_from(["oak", "elm", "ash"]), max_size=30)


@settings(deadline=None)  # the first call compiles
@given(st.lists(WORDS, min_size=1, max_size=6), st.lists(WORDS, min_size=1, max_size=4), st.integers(2, 4))
def test_candidates_are_those_of_a_plain_search(items, documents, n):
    rows = [{"benchmark": "b", "item_id": str(k), "question": " ".join(words)} for k, words in enumerate(items)]
    table = ItemIndex(parts_of(pa.Table.from_pylist(rows, ITEM_COLUMNS)), DecontaminateRecipe(ngram=n))
    pairs = table._candidates(split([" ".join(words) for words in documents]))
    found = np.stack([pairs.document, pairs.item, pairs.diagonal], axis=1).tolist()
    expected = [
        [k, item, diagonal]
        for k, document in enumerate(documents)
        for item, diagonal in candidates(items, document, n, 0.7).items()
    ]
    assert sorted(found) == expected


def of(questions: list[str]) -> ItemIndex:
    rows = [{"benchmark": "b", "item_id": str(k), "question": text} for k, text in enumerate(questions)]
    return ItemIndex(parts_of(pa.Table.from_pylist(rows, ITEM_COLUMNS)), DecontaminateRecipe())


def found_in(questions: list[str], text: str) -> list[str]:
    return [one.item_id for one in of(questions).find(pa.array([f"Before it.\n\n{text}\n\nBehind it."])).held[0]]


@pytest.mark.parametrize(
    "question",
    [
        "Which of the following is true?",
        "Which one of the following statements is NOT correct:",
        "What is a circle?",
        "According to general relativity,",
        "S(s) + O2(g) → SO2(g)",
        "(i + 1)(5 – 5i)(5 + 5i) =",
    ],
)
def test_questions_that_many_pages_ask_are_unmatchable(question: str) -> None:
    assert of([question]).unmatchable == 1
    assert found_in([question], question) == []


@pytest.mark.parametrize(
    ("question", "page"),
    [
        ("Which of these statements about images is true?", "Which of these statements about fission is true?"),
        ("Which of the following is NOT a group?", "Which of the following is not a true statement?"),
        ("The speed of sound in air depends on", "The speed of sound in air is 343 m/s."),
        ("What is the Cassini division of Saturn's rings?", "One side of the Cassini division of Saturn's rings."),
        ("Which numbers are in order from least to greatest?", "Sort them in order from least to greatest."),
    ],
)  # fmt: skip
def test_an_item_without_numbers_is_held_by_what_it_asks_about(question: str, page: str) -> None:
    assert found_in([question], page) == []
    assert found_in([question], question) == ["0"]
    assert found_in([question], question.replace(" the ", " **the** ")) == ["0"]


def test_of_many_words_some_may_be_others():
    question = (
        "Which process in a plant cell turns the light of the sun into sugar that later feeds roots, leaves, flowers, "
        "seeds and the animals of the forest around it?"
    )
    assert found_in([question], question.replace("later", "soon").replace("forest", "wood")) == ["0"]
    assert found_in([question], question.replace("sun", "lamp").replace("roots, leaves, flowers, seeds", "all")) == []


def test_a_number_put_into_a_script_is_another_problem():
    question = "How many prime factors does $2^{32}-1$ have in all?"
    assert found_in([question], "How many prime factors does 232-1 have in all?") == ["0"]  # the script was lost
    assert found_in([question], "How many prime factors does $2^{232}-1$ have in all?") == []


def test_no_run_of_an_item_escapes_the_filters():
    draw = np.random.default_rng(7)
    runs = draw.integers(0, 1 << 63, 5000).astype(np.uint64) * np.uint64(2) + np.uint64(1)
    keys = np.unique(runs[:1500])
    places, numbers = decontaminate._places(runs, keys, *decontaminate._hashed(keys))
    assert places.tolist() == np.flatnonzero(np.isin(runs, keys)).tolist()
    assert (keys[numbers] == runs[places]).all()


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from(["oak", "elm", "ash", "fir", "7", "12", "+", "the"]), min_size=6, max_size=40), st.data()
)
def test_pairs_that_are_not_aligned_would_not_be_held(words, data):
    changed = list(words)
    for _ in range(data.draw(st.integers(0, 6))):
        changed[data.draw(st.integers(0, len(words) - 1))] = data.draw(st.sampled_from(["oak", "yew", "7", "9", "-"]))
    table, page = of([" ".join(words)]), split([" ".join(["birch", *changed, "birch"])])
    pairs = table._candidates(page)
    every, none = (
        decontaminate._align(
            pairs.document, pairs.item, pairs.diagonal, page.hashes, page.flags, page.offsets,
            table.words.hashes, table._telling, table.words.offsets, decontaminate.SPELLED_NUMBERS,
            covered, least, len(table.items),
        )
        for covered, least in ((0 * table._coverages - 1, 0 * table._shares - 1), (table._coverages, table._shares))
    )  # fmt: skip
    held = (every[:, 0] >= table._coverages[pairs.item]) & (every[:, 1] >= table._shares[pairs.item])
    assert (none[held] == every[held]).all() and (none[~held] <= every[~held]).all()

"""What is read out of an answer, and what a rewritten text is said to keep."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.language_model.config import AnnotateRecipe
from curation.language_model.verdicts import rows
from manifests.recipe import parse

SERVER = {"url": "http://localhost:8000/v1"}


def judged(task: str, response: str, source: str = "A text.", reason: str = "stop") -> list[dict]:
    """The rows of one answer."""
    recipe = parse({"name": "a", "corpus": "c", "model": "m", "task": task, "server": SERVER}, AnnotateRecipe, "test")
    answer = {"doc_id": "d", "source": "s", "url": None, "text": source, "asked": True, "error": None}
    answer |= {"response": response, "finish_reason": reason, "prompt_tokens": 3, "completion_tokens": 2}
    return rows(pa.Table.from_pylist([answer]), recipe).to_pylist()


@pytest.mark.parametrize(
    ("response", "score"),
    [
        ("Final score: 3", 3),
        ("Good.\n**Final score:** 4", 4),
        ("final score = 5/5.", 5),
        ("Final score: 0.", 0),
        (r"Final score: $\boxed{2}$", 2),
        ("Final score: 2 at first; then Final score: 3", 3),
        ("Final score: 10", None),
        ("Final score: 3.5", None),
        ("The score is 3", None),
        ("", None),
    ],
)
def test_the_last_whole_score_counts(response, score):
    (row,) = judged("score", response)
    assert (row["score"], row["verdict"]) == (score, "no_score" if score is None else "ok")


@pytest.mark.parametrize(
    ("response", "refused"),
    [
        ("I'm sorry, but I can't do that.", True),
        ("I cannot rewrite this page.", True),
        ("**Sorry**, no.", True),
        ("As an AI, I have no view.", True),
        ("I canoe across a river of 3 km at 4 km/h.", False),
        ("The proof is in two parts. I cannot be zero, so we divide by it.", False),
        ("Sorrybrook is a town of 300 people.", False),
    ],
)
def test_a_refusal_is_told_from_prose_by_how_it_begins(response, refused):
    (row,) = judged("rewrite", response, source=response)
    assert (row["verdict"] == "refusal") == refused


@pytest.mark.parametrize(
    ("source", "text", "numbers", "formulae"),
    [
        ("1,024 is $2^{10}$.", r"The number 1024 is \(2^{10}\).", 1.0, 1.0),
        ("x2 has 3 parts", "It has 3 parts and more of them", 1.0, None),
        ("3 and 4 and 5 and 6", "3 and 4 and five and six", 0.5, None),
        ("no figures here", "none there", None, None),
        (r"\[a^2 + b^2 = c^2\] and $x$", "a^2+b^2=c^2, spaced as it likes", 1.0, 1.0),
        ("$a+b+c$ or $d+e+f$", "$d + e + f$", None, 0.5),
    ],
)
def test_what_is_kept_of_numbers_and_formulae(source, text, numbers, formulae):
    (row,) = judged("rewrite", text, source)
    assert (row["numbers_kept"], row["formulae_kept"]) == (numbers, formulae)


PIECES = st.sampled_from(
    ["3", "1,000", "2.5", "$x^2+1$", r"\[a=b\]", "and", "\n", "\\begin{align}y&=1\\end{align}", "ж"]
)


@given(st.lists(PIECES, min_size=1).map(" ".join).filter(str.strip))
def test_a_text_keeps_all_of_itself(text):
    (row,) = judged("rewrite", text, text.strip())
    assert row["numbers_kept"] in (None, 1.0) and row["formulae_kept"] in (None, 1.0) and row["length_ratio"] == 1.0


@pytest.mark.parametrize(
    ("response", "pairs"),
    [
        ("Question: a?\nSolution: b\nAnswer: c", [("a?", "b", "c")]),
        ("Question: a?\nAnswer: c", [("a?", "c", "c")]),
        ("1. **Question:** a?\n   **Solution:** b\n\n2. **Question:** d?\n**Solution:** e",
         [("a?", "b", None), ("d?", "e", None)]),
        ("### Question 1: a?\n### Solution: the answer: is b\n", [("a?", "the answer: is b", None)]),
        ("Solution: b\nQuestion: d?\nSolution: e", [(None, "b", None), ("d?", "e", None)]),
    ],
)  # fmt: skip
def test_pairs_are_read_in_the_forms_that_models_use(response, pairs):
    found = judged("questions", response)
    assert [(row["question"], row["solution"], row["answer"]) for row in found] == pairs
    assert [row["verdict"] for row in found] == ["ok" if question else "unparsable" for question, _, _ in pairs]
    assert [row["ordinal"] for row in found] == list(range(len(pairs)))
    assert [row["response"] for row in found] == [response] + [None] * (len(pairs) - 1)


@given(st.sampled_from(["score", "rewrite", "questions"]), st.text(), st.sampled_from(["stop", "length"]))
def test_any_answer_is_a_row_with_a_verdict(task, response, reason):
    found = judged(task, response, reason=reason)
    assert found and all(row["verdict"] and (row["evidence"] is None) == (row["verdict"] == "ok") for row in found)

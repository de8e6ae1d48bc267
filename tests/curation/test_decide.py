"""One reason for each document: rules by role and limit, the first of several named, with evidence."""

import json

import numpy as np
import pyarrow as pa
import pytest

from curation.config import CurateRecipe
from curation.corpus.decide import _rules, decide, reasons
from curation.corpus.duplicates import Copies
from curation.measures.quality import scores
from curation.measures.words import split
from manifests.drop_reasons import EARLY, DropReason, heading

ALIGNED = r"""
We show the identity by collecting terms. \begin{align*} (a+b)^3 &= (a+b)(a+b)^2 \\ &= (a+b)(a^2 + 2ab + b^2) \\
&= a^3 + 3a^2b + 3ab^2 + b^3 \end{align*} and $$\left| \sum_{k} a_k b_k \right| \le \|a\| \cdot \|b\|$$ as \(|x| < 1\).
"""
LOOP = "The answer is found by adding both sides of the equation together. " * 20
LEAK = json.dumps({"benchmark": "b", "item": "i", "part": "question", "coverage": 1.0})


def recipe(**changes) -> CurateRecipe:
    source = {"name": "s", "path": "x", "role": "web"}
    return CurateRecipe.model_validate({"name": "n", "tokenizer": "t", "sources": [source]} | changes)


def measured(texts: list[str], role: str = "web", **columns) -> pa.Table:
    """Rows as `decide` takes them, measured of `texts`."""
    array, nothing = pa.array(texts, pa.large_string()), pa.nulls(len(texts), pa.string())
    table = pa.table(scores(array, split(array)))
    plain = {
        "doc_id": [f"{number:032x}" for number in range(len(texts))],
        "role": [role] * len(texts),
        "rank": [0] * len(texts),
        "row": range(len(texts)),
        "n_chars": [len(text) for text in texts],
        "held_item": nothing,
        "early_reason": nothing,
        "early_evidence": nothing,
    }
    for name, values in (plain | columns).items():
        table = table.append_column(name, values if isinstance(values, pa.Array) else pa.array(values))
    return table


def broken(text: str, role: str = "web", **changes) -> str | None:
    return reasons(measured([text], role), recipe(**changes))[0][0].as_py()


def test_limits_come_from_the_recipe_and_evidence_says_them():
    rows = measured(["Four words stand here"])
    assert reasons(rows, recipe(quality={"min_words": 4, "min_math_density": 0}))[1].to_pylist() == [None]
    (evidence,) = reasons(rows, recipe(quality={"min_words": 5}))[1].to_pylist()
    assert json.loads(evidence) == {"score": "words", "value": 4.0, "limit": 5}


def test_the_first_reason_is_named_and_the_others_wait_behind_it():
    early = {"early_reason": pa.array(["excluded"] * 2 + [None] * 2, pa.string())}
    early["early_evidence"] = pa.array(["{}"] * 2 + [None] * 2, pa.string())
    held = {"held_item": pa.array([LEAK, None, None, None], pa.string()), "math_score": [0.1, 0.1, 0.1, None]}
    classifier = {"classifier": {"model": "m.bin", "min": 0.5}}
    rows = measured(["Too few words."] * 2 + [ALIGNED] * 2, **early, **held)
    reason, evidence = reasons(rows, recipe(**classifier))
    assert reason.to_pylist() == ["contaminated", "excluded", "low_score", None]
    assert evidence.to_pylist()[:2] == [LEAK, "{}"]
    assert json.loads(evidence.to_pylist()[2]) == {"score": "math_score", "value": 0.1, "limit": 0.5}


def test_reasons_go_in_the_order_of_their_list():
    settings = {"language": {"keep": ["en"]}, "classifier": {"model": "m.bin", "min": 0.5}}
    found = [rule.reason for rule in _rules(recipe(**settings))]
    named = [reason for reason in DropReason if reason in found]
    assert found == named and {*DropReason} - {*found} == {
        DropReason.CONTAMINATED, *EARLY, DropReason.EXACT_DUPLICATE, DropReason.NEAR_DUPLICATE,
    }  # fmt: skip
    assert [*DropReason][1:5] == [*EARLY], "what stands before measuring goes before what was measured"


def test_a_heading_says_what_a_reason_means():
    assert heading(None) == "kept" and heading("too_short") == "too_short (it has too few words)"
    assert heading("formulae_lost") == "formulae_lost", "the verdict on what a language model wrote"
    assert all(reason.meaning and heading(reason) != reason for reason in DropReason)


def test_the_best_copy_is_of_the_best_source_then_score_then_length_then_name():
    longer = ALIGNED + " " * 9
    texts = [ALIGNED, ALIGNED, longer, ALIGNED, ALIGNED, ALIGNED]
    columns = {"rank": [1, 0, 0, 0, 0, 0], "math_score": [0.9, 0.1, 0.1, 0.7, None, 0.1], "row": [0, 5, 2, 3, 4, 1]}
    for prefer, order in ((None, [2, 5, 3, 4, 1, 0]), ("math_score", [3, 2, 5, 1, 4, 0])):
        seen: list[list[int]] = []

        def copies(ranked: np.ndarray, seen=seen) -> Copies:
            seen.append(ranked.tolist())
            alone = np.arange(len(ranked))
            return Copies(alone, np.ones(len(ranked)), alone, np.zeros(len(ranked), np.bool_))

        decide(measured(texts, **columns), recipe(prefer=prefer, classifier={"model": "default"}), copies)
        assert seen == [order]


def test_a_preference_that_no_document_has_is_refused():
    with pytest.raises(ValueError, match="prefer: math_score is none of math_density, words"):
        recipe(prefer="math_score")


def test_only_sound_documents_compete_and_the_best_comes_first():
    rows = measured([ALIGNED, "Too few words.", ALIGNED, ALIGNED], rank=[1, 0, 0, 1])

    def copies(ranked: np.ndarray) -> Copies:
        assert ranked.tolist() == [2, 0, 3]
        return Copies(np.array([0, 0, 2]), np.array([1, 0.75, 1]), np.array([0, 0, 2]), np.zeros(3, np.bool_))

    decided = decide(rows, recipe(), copies).to_pylist()
    name = rows["doc_id"].to_pylist()
    assert [row["drop_reason"] for row in decided] == ["near_duplicate", "too_short", None, None]
    assert [row["cluster_id"] for row in decided] == [name[0], None, name[0], None]
    assert decided[0]["keeper_id"] == name[2] and decided[2]["keeper_id"] is None
    assert json.loads(decided[0]["drop_evidence"])["similarity"] == 0.75


def test_no_document_needs_no_copies():
    def never(ranked: np.ndarray) -> Copies:
        raise AssertionError

    rows = measured(["short"])
    assert [decide(table, recipe(), never).num_rows for table in (rows, rows[:0])] == [1, 0]

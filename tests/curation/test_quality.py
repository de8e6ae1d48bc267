"""Each rule catches its kind and spares mathematics."""

import json
import random

import pyarrow as pa
import pytest

from curation.config import QualityRecipe
from curation.quality import RULES, judge, scores
from curation.sample_pages import boilerplate_page, general_page, math_page, template_page
from curation.words import split

ALIGNED = r"""
We show the identity by collecting terms. \begin{align*} (a+b)^3 &= (a+b)(a+b)^2 \\ &= (a+b)(a^2 + 2ab + b^2) \\
&= a^3 + 3a^2b + 3ab^2 + b^3 \end{align*} and $$\left| \sum_{k} a_k b_k \right| \le \|a\| \cdot \|b\|$$ as \(|x| < 1\).
"""
LOOP = "The answer is found by adding both sides of the equation together. " * 20


def broken(text: str, role: str = "web", limits: QualityRecipe | None = None) -> str | None:
    texts = pa.array([text], pa.large_string())
    rule, _ = judge(scores(texts, split(texts)), role, limits or QualityRecipe())  # type: ignore[arg-type]
    return RULES[rule[0]] if rule[0] >= 0 else None


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Too few words.", "too_short"),
        (boilerplate_page(random.Random(1)), "boilerplate"),
        ("| # | # | ~~ | && | @ " * 20 + "some table or other with words in between and 12 numbers " * 3, "symbols"),
        (general_page(random.Random(1)), "not_mathematical"),
        (LOOP, "repetition"),
        (ALIGNED, None),
    ],
)
def test_names_the_rule(text, rule):
    assert broken(text) == rule


def test_mathematics_passes():
    draw = random.Random(3)
    pages = [math_page(draw) for _ in range(300)] + [template_page(draw, number) for number in range(50)]
    assert [page for page in pages if broken(page)] == []


def test_rules_for_pages_spare_other_roles():
    assert broken("2 + 3?", "qa") is None
    assert broken(general_page(random.Random(1)), "general") is None
    assert broken(LOOP, "long_cot") == "repetition"
    assert broken(LOOP, "rl") is None


def test_limits_come_from_the_recipe_and_evidence_says_them():
    texts = pa.array(["Four words stand here"], pa.large_string())
    found = scores(texts, split(texts))
    assert judge(found, "web", QualityRecipe(min_words=4, min_math_density=0))[1] == [None]
    evidence = judge(found, "web", QualityRecipe(min_words=5))[1][0]
    assert json.loads(evidence) == {"score": "words", "value": 4.0, "limit": 5}

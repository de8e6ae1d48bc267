"""Each rule catches its kind and spares mathematics."""

import json
import random

import pyarrow as pa
import pytest

from curation.config import QualityRecipe
from curation.measures.quality import RULES, SCORES, scores
from curation.measures.words import split
from curation.sample.pages import boilerplate_page, general_page, math_page, template_page

ALIGNED = r"""
We show the identity by collecting terms. \begin{align*} (a+b)^3 &= (a+b)(a+b)^2 \\ &= (a+b)(a^2 + 2ab + b^2) \\
&= a^3 + 3a^2b + 3ab^2 + b^3 \end{align*} and $$\left| \sum_{k} a_k b_k \right| \le \|a\| \cdot \|b\|$$ as \(|x| < 1\).
"""
SHORT = "The answer is 12 because three times four is twelve and nothing is left over. "
PARAGRAPH = " ".join(
    f"the {name} term of this sum is bounded by its predecessor" for name in ("first", "second", "last")
)
TRUTH_TABLE = "Truth table of five variables. p q r s t and the value of the formula below:\n" + "\n".join(
    " ".join("FT"[number >> bit & 1] for bit in range(6)) for number in range(64)
)
ZERO_MATRIX = (
    r"The zero matrix of size fifteen is \begin{pmatrix}" + r"0 & 0 & 0 & 0 & 0 \\ " * 45 + r"\end{pmatrix} as claimed."
)
DERIVATION = "We compute the value of the function at every point of the interval.\n" + "\n".join(
    rf"\[ f_{{n}}(x) = \frac{{x^{{{number}}}}}{{{number}!}} + f_{{n}}(0) \cdot {number * 7 % 13} \]"
    for number in range(60)
)
CAYLEY = "The group table of the integers modulo nine under addition reads\n" + "\n".join(
    " & ".join(str((row + column) % 9) for column in range(9)) + r" \\" for row in range(9)
)
RULED = (
    "A heading\n"
    + "=" * 70
    + "\nand a short text about the sum of two numbers.\n"
    + "-" * 70
    + "\nThe end of the text."
)
SHUFFLED = " ".join(
    random.Random(1).choices(
        ["The sum of the two terms is even.", "Now both sides of it are divided.", "This holds for all of them too."],
        k=60,
    )
)
LOOP = "The answer is found by adding both sides of the equation together. " * 20


def broken(text: str, role: str = "web") -> str | None:
    texts = pa.array([text], pa.large_string())
    rows = pa.table(scores(texts, split(texts)) | {"role": [role]})
    return next((rule.name for rule in RULES if rule.of(QualityRecipe()).broken(rows)[0].as_py()), None)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Too few words.", "too_short"),
        (boilerplate_page(random.Random(1)), "boilerplate"),
        ("| # | # | ~~ | && | @ " * 20 + "some table or other with words in between and 12 numbers " * 3, "symbols"),
        (general_page(random.Random(1)), "not_mathematical"),
        (LOOP, "loop"),
        (SHUFFLED, "repetition"),
        (ALIGNED, None),
    ],
)
def test_names_the_rule(text, rule):
    assert broken(text) == rule


@pytest.mark.parametrize("text", [TRUTH_TABLE, ZERO_MATRIX, DERIVATION, CAYLEY, RULED], ids=lambda text: text[:20])
def test_tables_matrices_and_derivations_are_no_repetition(text):
    assert broken(text, "qa") is None


def prose(words: int, seed: int = 0) -> str:
    draw = random.Random(seed)
    return " ".join(f"word{chr(97 + draw.randrange(26))}{chr(97 + draw.randrange(26))}" for _ in range(words))


@pytest.mark.parametrize("passage", [SHORT, PARAGRAPH + " ", r"$x^2 + y^2 = z^2$, so ", "so ", prose(300, 1) + " "])
def test_a_loop_to_the_end_is_caught_whatever_its_period(passage):
    times = max(6, 400 // len(passage.split()))
    for tail in ("", passage[: len(passage) // 2], " </s>"):
        assert broken(prose(600) + " " + passage * times + tail, "qa") == "loop"


def test_a_loop_counts_from_its_second_time_on_and_needs_five():
    def share(text: str) -> float:
        texts = pa.array([text], pa.large_string())
        return scores(texts, split(texts))["loop"][0]

    passage = prose(40, 2) + " "
    assert share(prose(100) + " " + passage * 5) == pytest.approx(160 / 300)
    assert share(prose(100) + " " + passage * 4) == 0
    assert share((passage + prose(3, 4) + " ") * 5) == pytest.approx(172 / 215)
    assert share("".join(passage + prose(5, number) + " " for number in range(9))) == 0
    assert share("1 0 " * 199) == 0 and share("1 0 " * 300) > 0.9


def test_every_rule_says_why_and_is_in_the_recipe():
    for rule in RULES:
        assert rule.score in SCORES and rule.limit in QualityRecipe.model_fields
        assert rule.why.endswith(".") and rule.follows.endswith(".")


def test_pages_without_spaces_between_words_are_not_short():
    page = "每天早上，小明吃三个苹果，下午吃两个苹果。请问他每天一共吃几个苹果？答案是五个。"
    assert broken(page, "general") is None


def test_mathematics_passes():
    draw = random.Random(3)
    pages = [math_page(draw) for _ in range(300)] + [template_page(draw, number) for number in range(50)]
    assert [page for page in pages if broken(page)] == []


def test_rules_for_pages_spare_other_roles():
    assert broken("2 + 3?", "qa") is None
    assert broken(general_page(random.Random(1)), "general") is None
    assert broken(LOOP, "long_cot") == "loop"
    assert broken(LOOP, "rl") is None


def test_limits_come_from_the_recipe_and_evidence_says_them():
    texts = pa.array(["Four words stand here"], pa.large_string())
    rows = pa.table(scores(texts, split(texts)) | {"role": ["web"]})
    assert not RULES[0].of(QualityRecipe(min_words=4)).broken(rows)[0].as_py()
    limit = RULES[0].of(QualityRecipe(min_words=5))
    assert limit.broken(rows)[0].as_py()
    assert json.loads(limit.evidence(rows)[0]) == {"score": "words", "value": 4.0, "limit": 5}

"""The compiled splitter against a regular expression that says the same."""

import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.measures.words import AFTER_BREAK, KIND, NUMBER, OPERATOR, WORD, shingles, split

TEXT = st.text(st.sampled_from("abcXYZ 0123456789.,-+=^{}$\\\n()"), max_size=80)
REFERENCE = re.compile(r"\d+(?:\d|\.(?=\d)|,(?=\d{3}(?!\d)))*|[A-Za-z]+|(?<![A-Za-z]{2})[-]|[-](?![A-Za-z]{2})|[+=^]")


def reference(text: str) -> list[str]:
    words = []
    for found in REFERENCE.findall(text):
        words.append(found.replace(",", "").lower() if found[0].isdigit() else found.lower())
    return words


def hashes(text: str) -> list[int]:
    return split([text]).hashes.tolist()


@settings(deadline=None)  # the first call compiles or imports
@given(TEXT)
def test_splits_as_the_regular_expression_says(text):
    alone = [hashes(word)[0] for word in reference(text)]
    assert hashes(text) == alone


def test_kinds_and_breaks():
    words = split(["Take 2x, then 3.5 = y!"])
    assert (words.flags & KIND).tolist() == [WORD, NUMBER, WORD, WORD, NUMBER, OPERATOR, WORD, OPERATOR]
    assert np.flatnonzero(words.flags & AFTER_BREAK).tolist() == [0, 3]


def test_spacing_and_braces_of_latex_do_not_matter():
    assert hashes(r"$x^{2} + 3x$") == hashes(r"\(x^2+3 x\)")
    assert hashes("1,000 apples") == hashes("1000 Apples")
    assert hashes("two-digit numbers") == hashes("two digit numbers")
    assert hashes("(1,2)") == hashes("1 2")


def test_numbers_and_operators_are_told_apart():
    assert hashes("3 + 4") != hashes("3 * 4")
    assert hashes("3.5") != hashes("35")
    assert len({hashes(word)[0] for word in ("×", "÷", "−", "≤", "+", "naïve", "ß")}) == 7


@settings(deadline=None)  # the first call compiles or imports
@given(st.lists(TEXT, max_size=5), st.integers(1, 6))
def test_shingles_of_a_batch_are_those_of_each_text(texts, n):
    words = split(texts)
    together = shingles(words.hashes, words.offsets, n)
    for position, text in enumerate(texts):
        alone = split([text])
        mine = together.hashes[together.offsets[position] : together.offsets[position + 1]]
        assert mine.tolist() == shingles(alone.hashes, alone.offsets, n).hashes.tolist()
        count = len(alone.hashes)
        assert len(mine) == (max(count - n + 1, 1) if count else 0)


def test_masking_hides_numbers_and_operators_alone():
    left, right, other = split(["add 3 + 4 now"]), split(["add 9 - 7 now"]), split(["put 3 + 4 now"])
    assert left.masked().tolist() == right.masked().tolist() != other.masked().tolist()


def test_scripts_without_spaces_give_a_word_per_character():
    assert len(hashes("每天早上，小明吃三个苹果。")) == 11
    assert hashes("明天（上）") == hashes("明 天 上") == hashes("明天上")
    assert len(hashes("ひらがな")) == 4 and len(hashes("ไทย")) == 3 and len(hashes("𠀀𠀁")) == 2
    assert len(hashes("他有12个x")) == 5
    assert len(hashes("한국어는 띄어쓰기")) == len(hashes("שלום עולם")) == len(hashes("नमस्ते दुनिया")) == 2
    assert len(hashes("𝑥𝑦 １２")) == 2
    assert split(["明，天"]).flags.tolist() == [WORD | AFTER_BREAK, WORD | AFTER_BREAK]

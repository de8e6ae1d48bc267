"""One formula has several spellings, and one spelling for all of them; other formulas stay other."""

from html.entities import name2codepoint

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.measures.spellings import (
    COMMANDS,
    FONTS,
    FRACTIONS,
    ROOM,
    WITH_ARGUMENT,
    spelled,
    spelled_places,
    spelled_words,
)

ALIKE = [
    ("x^2", "x^{2}", "x²", "x**2", "x<sup>2</sup>", "x ^ 2", "$x^2$", r"\(x^{2}\)", "𝑥²", "x&sup2;", "**x²**"),
    ("a_n", "a_{n}", "aₙ", "a<sub>n</sub>", "$a_n$"),
    ("10^{-3}", "10⁻³", "10^-3", "10<sup>-3</sup>", "10<sup>−3</sup>"),
    (r"\frac{a}{b}", r"\dfrac{a}{b}", r"\tfrac ab", r"\frac ab", "a/b", "{a \\over b}", "a∕b", "a ⁄ b", "a ÷ b"),
    (r"\frac12", r"\frac{1}{2}", r"\frac{1}2", r"\frac1{2}", "1/2", "½", "&frac12;"),
    (r"\frac\pi2", r"\frac{\pi}{2}", "π/2", "pi/2"),
    (r"\frac{\sqrt{m}}{n}", "(√m)/n", "sqrt(m)/n", r"\sqrt{m}/n"),
    (r"2\frac{1}{2}", "2½", "2 1/2"),
    (r"\sqrt{x+1}", "√(x+1)", "sqrt(x+1)", "√{x+1}", "&radic;(x+1)"),
    (r"x \le y", r"x \leq y", "x ≤ y", "x <= y", "x &le; y", r"x \leqslant y", "x&#8804;y", "x &#x2264; y"),
    (r"x \ne y", r"x \neq y", "x ≠ y", "x != y"),
    (r"3 \times 4", r"3 \cdot 4", "3 × 4", "3*4", "3 * 4", "3·4", "3 x 4", "3 &times; 4", r"3 \* 4", "3 *4"),
    (r"2 \cdot x", "2x", "2 * x", "2·x", "2×x", "2*x"),
    ("x − y", "x - y", "x – y", "x-y", "x &minus; y"),
    (r"\left( x \right)", "(x)", r"\bigl( x \bigr)", r"\left\lfloor x \right\rfloor", "⌊x⌋"),
    (r"\pi r^2", "πr²", "π r^2", "pi r^2"),
    (r"\mathrm{d}x", "dx"),
    (r"x \in \mathbb{R}", "x ∈ ℝ", "x in R"),
    ("10{,}000", "10,000", r"10,\!000", "10000"),
    (r"30^\circ", "30°", r"30^{\circ}", "30 degrees"),
    (r"1, 2, \ldots, n", "1, 2, …, n", "1, 2, ..., n"),
    (r"f: A \to B", "f: A → B", "f: A -> B"),
    ("each hen lays", "**each hen** lays", "*each* hen lays", "_each_ __hen__ lays", "<b>each</b> hen lays",
     "***each*** hen lays", 'each <span class="x">hen</span> lays', "> each hen lays", "* each hen lays",
     "- each hen lays", "+ each hen lays", "• each hen lays", "## each hen lays", "`each` hen lays"),
    ("A Title\n=======\nText", "A Title\n-------\nText", "A Title\nText", "A Title\n***\nText", "A Title\n* * *\nText"),
    ("one - two words", "one – two words", "one — two words", "one -- two words", "one—two words", "one, two words"),
    ("ﬁve", "five"), ("１２", "12"), ("cafe\u0301", "cafe"),
]  # fmt: skip
APART = [
    ("3 * 4", "3 + 4", "3 - 4", "3/4", "34", "3^4 = 5"),
    ("x^2", "x^3", "y^2", "x_1"),
    ("10^5", "105", "10^6"),
    ("58 apples", "57 apples", "five apples"),
    ("x < y", "x <= y", "x > y"),
    ("12\n+ 34", "12\n- 34", "12\n34"),
    ("3.5", "35", "3 5"),
    ("αβγδ", "alpha beta gamma delta"),
]


def words(text: str, glued: bool = False) -> list[int]:
    return spelled_words([text], glued).hashes.tolist()


@pytest.mark.parametrize("several", ALIKE, ids=lambda several: several[0])
def test_spellings_of_one_thing_are_the_same_words(several):
    wanted = words(f"Say {several[0]} here")
    different = [
        one for one in several if words(f"Say\n\n{one}\n\nhere" if "\n" in one else f"Say\n{one}\nhere") != wanted
    ]
    assert not different


@pytest.mark.parametrize("several", APART, ids=lambda several: several[0])
def test_other_things_stay_others(several):
    assert len({tuple(words(one)) for one in several}) == len(several)


def test_glued_scripts_are_what_extractors_leave():
    assert words(r"a_n + 10^5 + x^{n+1} - y_{12}", glued=True) == words("an + 105 + xn+1 - y12")
    assert words("a<sub>n</sub> + 10⁵", glued=True) == words("an + 105")
    assert words("2^n", glued=True) == words("2^n")


def test_stars_are_operators_between_numbers_and_emphasis_elsewhere():
    plain = words("Take 5 red hens and 6 eggs")
    for text in (
        "Take *5* red hens and *6* eggs",
        "Take **5 red** hens and 6 *eggs*",
        "Take 5 *red hens* and **6** eggs",
    ):
        assert words(text) == plain
    assert len(words("5 * 6")) == len(words("**5** * **6**")) == 3


PIECES = [*"ab12 \n*_-=+^{}\\$&<>/;#.,()xβ²½−—𝑥≤é", r"\frac", r"\sqrt", "<sup>", "&le;", "&#178;", r"\begin{a}"]
TEXT = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)


@settings(deadline=None)  # the first call compiles
@given(st.lists(TEXT, max_size=4))
def test_a_batch_is_spelled_as_each_text_by_itself(texts):
    together = spelled(texts).to_pylist()
    assert together == [spelled([text])[0].as_py() for text in texts]
    for text, one in zip(texts, together, strict=True):
        assert one.decode() is not None  # UTF-8
        written, places = spelled_places(text)
        assert written == one and len(places) == len(one)
        assert (places[1:] >= places[:-1]).all() and all(place < len(text.encode()) for place in places)


def test_there_is_room_for_every_replacement():
    characters = [chr(code) for code in (*range(0x80, 0xD800), *range(0xE000, 0x20000))]
    names = [*COMMANDS, *FONTS.split(), *WITH_ARGUMENT.split(), *FRACTIONS.split()]
    several = [
        *characters,
        *(f"\\{name}" for name in " ".join(names).split()),
        *(f"&{name};" for name in name2codepoint),
    ]
    for one, written in zip(several, spelled(several).to_pylist(), strict=True):
        assert len(written) + 3 <= ROOM * len(one.encode()), one


def test_null_and_empty_texts():
    assert spelled(pa.array([None, "", "a"], pa.string())).to_pylist() == [b"", b"", b"a"]


@pytest.mark.parametrize(
    "unit",
    ["x", ">", "-", "- ", "-- ", "* ", "*", "+ ", "> ", "{", "}", "\\", "<b ", "&", "^", "_", "1*", "∗ ", "− ", "( "],
)
def test_no_text_takes_quadratic_time(unit):
    """A million bytes of one sign: in quadratic time each would take minutes."""
    text = unit * (1_000_000 // len(unit))
    assert len(spelled([text])[0].as_py()) <= ROOM * len(text.encode()) + 64

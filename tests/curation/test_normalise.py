"""What is repaired, what is left, and that once is enough."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.measures.normalise import line_ends, normalise


def normalised(text: str) -> str:
    return normalise(pa.array([text], pa.string()))[0].as_py()


@settings(deadline=None)  # the first call compiles or imports
@given(st.text(max_size=60))
def test_twice_is_once(text):
    once = normalised(text)
    assert normalised(once) == once


def test_repairs_encoding_only_where_it_is_wrong():
    assert normalised("caf\u00c3\u00a9 \u00e2\u20ac\u0153x\u00e2\u20ac\u009d") == "café “x”"
    assert normalised("Ångström and Ârne à la carte") == "Ångström and Ârne à la carte"


def test_cleans_spaces_and_control_characters():
    assert normalised("\ufeffa\u00a0b\u200b \t\r\n\n\n\n  c\x07\u2028d \n") == "a b\n\n  c\nd"
    assert normalised("e\u0301") == "é"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("a â‰¤ b, x Ã— y, Ï€", "a ≤ b, x × y, π"),
        ("São Tomé, INFORMAÇÃO", "São Tomé, INFORMAÇÃO"),
        ("a\x00b", "ab"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\ufeffbegin", "begin"),
        ("x \u202e)3(\u202c \u2066a\u2069 \u200fb\u200e\u061c", "x )3( a b"),
        ("co\u200bop so\u00adft wo\u2060rd", "coop soft word"),
        ("sin\u2061(x), 2\u2062x", "sin(x), 2x"),
        ("a\r\nb\rc\u2028d\u2029e\u0085f", "a\nb\nc\nd\ne\nf"),
        ("one page\x0cthe next\x0bline", "one page\nthe next\nline"),
        ("1\u2009000 a\u2003b\u202fc\u205fd", "1 000 a b c d"),
        ("x" + " y" * 200_000, "x" + " y" * 200_000),
        ("\u0041\u030a = \u2260 \u003d\u0338", "Å = ≠ ≠"),
    ],
)
def test_nasty_input(text, clean):
    assert normalised(text) == clean == normalised(clean)


@pytest.mark.parametrize(
    "text",
    [
        "× · ± − ′ ∑ 𝑥 𝔸 ℝ ∈ ≤ ≠ ⟨a, b⟩ √2 ½ x² ∂ ∞ ∫ α → β ⌊x⌋ ° ″ ⁻¹ ₂ ∅ ⊆ ⇒ x̂ a⃗",
        "שלום עולם",
        "مرحبا بالعالم",
        "می\u200cخواهم",
        "每天早上，小明吃三个苹果。\u3000他说",
        "ภาษาไทยสวยงาม",
        "👩\u200d👧 ✔\ufe0f \ufffd",
        "a &lt; b ﬁnite",
    ],
)
def test_what_is_right_in_any_script_stays(text):
    assert normalised(text) == text


def test_keeps_latex_and_indentation():
    text = "if x:\n    y = 1\n\n\\[ \\frac{a}{b} \\le 2 \\]"
    assert normalised(text) == text


def test_null_stays_null():
    assert normalise(pa.array([None, "a"], pa.string())).to_pylist() == [None, "a"]


@given(st.text(st.sampled_from("a \t\n\r\x0b\x0c\x00\xa0\u2028\u2329\ufeffÃ©'e\u0301"), max_size=30))
def test_of_code_only_line_ends_change(text):
    (found,) = line_ends(pa.array([text])).to_pylist()
    assert found == text.replace("\r\n", "\n").replace("\r", "\n")


def test_code_without_text_stays_null():
    assert line_ends(pa.array([None, ""])).to_pylist() == [None, ""]

"""What is repaired, what is left, and that once is enough."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.normalise import normalise


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


def test_keeps_latex_and_indentation():
    text = "if x:\n    y = 1\n\n\\[ \\frac{a}{b} \\le 2 \\]"
    assert normalised(text) == text


def test_null_stays_null():
    assert normalise(pa.array([None, "a"], pa.string())).to_pylist() == [None, "a"]

"""Public tables are read from clones: tests in Python, fixtures in PHP, outputs in JSON."""

import json
import subprocess

import pytest

from benchmarks.grading_tables import _Maxima, bare, main, mixed

STACK = """
        ['AlgEquiv', '', 'x^2-1', '(x-1)*(x+1)', 1, '', 'Polynomials'],
        ['AlgEquiv', '', '1/0', '1', -1, 'STACKERROR', ''],
        ['AlgEquiv', '', 'integerp(3)', 'true', 1, '', ''],
"""
MATH_VERIFY = r"""
def compare_strings(gold, pred): ...

@pytest.mark.parametrize(
    "gold,pred,expected",
    [("$9$", "Answer $ 9 $", 1), ("$x<1$", "$-x>-1$", 1), (f"{x}", "1", 0)],
)
def test(gold, pred, expected): ...
"""


@pytest.mark.parametrize(
    ("maxima", "latex"),
    [
        ("sqrt(x)/2", r"\frac{\sqrt{x}}{2}"),
        ("x^2-1", "x^{2} - 1"),
        ("x>1 and x<5", r"x > 1 \text{ and } x < 5"),
        ("%e^(%i*%pi)", r"e^{\left(i \cdot \pi\right)}"),
        ("{1,2}", r"\{1, 2\}"),
    ],
)
def test_expressions_of_maxima(maxima, latex):
    assert _Maxima(maxima).latex() == latex


def test_a_bare_formula_is_boxed_and_prose_is_left_as_it_is():
    assert bare("$x+1$") == "x+1" and bare(r"\(9\)") == "9" and bare("It is $9$.") is None
    assert mixed("$9$", "$9$", True)["response"] == r"\boxed{9}"
    assert mixed(r"So $\boxed{9}$.", "It is $9$.", True)["reference"] == "9"
    assert mixed("$9$", "It is $9$.", True)["response"] == "It is $9$."


def test_tables_are_written_from_what_the_clones_hold(tmp_path, capsys):
    clone = tmp_path / "clone"
    for path, text in (("tests/test_all.py", MATH_VERIFY), ("tests/fixtures/answertestfixtures.class.php", STACK)):
        (clone / path).parent.mkdir(parents=True, exist_ok=True)
        (clone / path).write_text(text)
    git = ["git", "-C", str(clone), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    main(tmp_path / "tables", [clone])
    rows = [json.loads(line) for line in (tmp_path / "tables" / "math_verify.jsonl").read_text().splitlines()]
    assert [(row["reference"], row["response"], row["expected"]) for row in rows] == [
        ("9", "Answer $ 9 $", True), ("x<1", r"\boxed{-x>-1}", True),
    ]  # fmt: skip
    [stack] = [json.loads(line) for line in (tmp_path / "tables" / "stack.jsonl").read_text().splitlines()]
    assert stack["response"] == r"\boxed{x^{2} - 1}" and stack["half"] in ("seen", "held")
    assert "math_verify" in capsys.readouterr().out

"""Pairs made of references: none that is wrong is called right, and none that is right is not."""

import json
import os
from pathlib import Path

import pytest

from benchmarks.mutations import called_right, pairs, references
from evaluation.grading.answers import Grader

REFERENCES = [
    "42", "-3", r"\frac{3}{4}", "2.5", "x^2+3x", r"2\sqrt{3}", "(1, 2)", "2, 5", "[0,1)", r"\text{Evelyn}",
    r"5\text{ cm}", "x=7", "3+4i", "2:3", r"50\%", "52_8",
]  # fmt: skip


@pytest.fixture(scope="module")
def grader():
    with Grader(workers=1) as one:
        yield one


def test_no_wrong_pair_is_called_right_and_every_right_one_is(grader):
    bad, good = pairs(REFERENCES)
    assert len(bad) > 300 and len(good) > 150
    assert [pair for pair, is_right in zip(bad, called_right(bad, grader), strict=True) if is_right] == []
    assert [pair for pair, is_right in zip(good, called_right(good, grader), strict=True) if not is_right] == []


def test_references_are_read_from_files_of_known_benchmarks(tmp_path):
    rows = [{"problem": "?", "solution": "", "answer": answer} for answer in ("1", "2", "1")]
    (tmp_path / "math500.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert references(tmp_path) == ["1", "2"]


@pytest.mark.skipif("OCTO_BENCHMARKS" not in os.environ, reason="OCTO_BENCHMARKS names no folder of benchmark files")
def test_pairs_of_real_references(grader):
    """Takes minutes: one reference in twenty."""
    bad, _ = pairs(references(Path(os.environ["OCTO_BENCHMARKS"]))[::20])
    strict = [pair for pair in bad if pair[0] != "upper case"]
    wrongly = [pair for pair, is_right in zip(strict, called_right(strict, grader), strict=True) if is_right]
    assert len(wrongly) <= 1, wrongly

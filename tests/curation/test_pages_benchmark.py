"""The measure of formulas reads WebMainBench's rows and scores what an extractor keeps of them."""

import json
from pathlib import Path

from benchmarks.pages import formulas, ours, with_formulas

MATHML = '<math alttext="{tex}"><mi>x</mi></math>'


def row(track_id: str, html: str, text: str) -> str:
    return json.dumps({"track_id": track_id, "html": html, "groundtruth_content": text, "meta": {"language": "en"}})


def test_formulas_of_webmainbench_are_scored(tmp_path: Path) -> None:
    paragraph = "<p>The roots of the polynomial are given by {}, which holds for all of its coefficients.</p>"
    kept = paragraph.format(MATHML.format(tex=r"x=\frac{-b}{2a}"))
    lost = paragraph.format("<img src='f.png'>")
    truth = "The roots of the polynomial are given by $x=\\frac{-b}{2a}$, which holds for all of its coefficients."
    file = tmp_path / "rows.jsonl"
    rows = [row("a", f"<body>{kept}</body>", truth), row("b", f"<body>{lost}</body>", truth), row("c", kept, "None.")]
    file.write_text("\n".join(rows), encoding="utf-8")
    cases = with_formulas(file)
    assert [case.name for case in cases] == ["a", "b"]
    texts = [ours(case.data) for case in cases]
    assert formulas(cases[:1], texts[:1]).startswith("formulas 1.000 of 1")
    assert formulas(cases, texts).startswith("formulas 0.500 of 2")

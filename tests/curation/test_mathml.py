"""MathML without TeX of its own reads as the TeX that one would write."""

import pytest
from resiliparse.parse.html import HTMLTree

from curation.reading.mathml import latex


def converted(inner: str) -> str:
    return latex(HTMLTree.parse(f"<math>{inner}</math>").document.query_selector("math"))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("mathml", "tex"),
    [
        (
            "<mfrac><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow><msqrt><mi>c</mi></msqrt></mfrac>",
            r"\frac{a+b}{\sqrt{c}}",
        ),
        ("<mroot><mi>x</mi><mn>3</mn></mroot>", r"\sqrt[3]{x}"),
        (
            "<msubsup><mo>∫</mo><mn>0</mn><mi>∞</mi></msubsup><msup><mi>e</mi><mrow><mo>−</mo><mi>x</mi></mrow></msup>",
            r"\int_0^{\infty}e^{-x}",
        ),
        (
            "<munderover><mo>∑</mo><mrow><mi>n</mi><mo>=</mo><mn>1</mn></mrow><mi>N</mi></munderover><mi>α</mi><mi>x</mi>",
            r"\sum_{n=1}^N\alpha x",
        ),
        ("<munder><mi>lim</mi><mrow><mi>n</mi><mo>→</mo><mi>∞</mi></mrow></munder>", r"\lim_{n\to\infty}"),
        ("<mi>sin</mi><mo>&#x2061;</mo><mi>x</mi><mo>&#x2062;</mo><mi>foo</mi>", r"\sin x\operatorname{foo}"),
        ("<msup><mrow><mo>(</mo><mi>a</mi><mo>+</mo><mi>b</mi><mo>)</mo></mrow><mn>2</mn></msup>", "(a+b)^2"),
        ("<msup><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow><mn>2</mn></msup>", "{a+b}^2"),
        ("<msup><mi>f</mi><mo>′</mo></msup><mo>(</mo><mi>x</mi><mo>)</mo>", "f'(x)"),
        ("<mover><mi>x</mi><mo>¯</mo></mover><mover><mi>v</mi><mo>→</mo></mover>", r"\overline{x}\vec{v}"),
        ("<munder><mrow><mi>a</mi></mrow><mo>⏟</mo></munder>", r"\underbrace{a}"),
        ("<munder><mn>4</mn><mo>―</mo></munder><mover><mn>4</mn><mo>―</mo></mover>", r"\underline{4}\overline{4}"),
        ("<mover><mo>=</mo><mtext>def</mtext></mover>", r"\overset{\text{def}}{=}"),
        ("<mi>ℝ</mi><mi>𝒜</mi><mi>𝔤</mi><mi>𝑥</mi><mi>Γ</mi>", r"\mathbb{R}\mathcal{A}\mathfrak{g}x\Gamma"),
        ('<mi mathvariant="double-struck">Q</mi><mi mathvariant="normal">d</mi>', r"\mathbb{Q}\mathrm{d}"),
        ("<mi>a</mi><mtext> if </mtext><mi>b</mi><mo>%</mo>", r"a\text{ if }b\%"),
        (
            "<mo>(</mo><mtable><mtr><mtd><mn>1</mn></mtd><mtd><mn>2</mn></mtd></mtr><mtr><mtd><mn>3</mn></mtd></mtr>"
            "</mtable><mo>)</mo>",
            r"\begin{pmatrix}1 & 2 \\ 3\end{pmatrix}",
        ),
        (
            "<mo>[</mo><mtable><mtr><mtd><mtable><mtr><mtd><mi>a</mi></mtd></mtr></mtable></mtd></mtr></mtable><mo>]</mo>",
            r"\begin{bmatrix}\begin{matrix}a\end{matrix}\end{bmatrix}",
        ),
        ("<mo>{</mo><mtable><mtr><mtd><mn>0</mn></mtd></mtr></mtable>", r"\begin{cases}0\end{cases}"),
        ('<mfenced open="{" close="}" separators=";,"><mi>x</mi><mi>y</mi><mi>z</mi></mfenced>', r"\{x;y,z\}"),
        ('<mo>(</mo><mfrac linethickness="0"><mi>n</mi><mi>k</mi></mfrac><mo>)</mo>', r"\binom{n}{k}"),
        (
            "<mmultiscripts><mi>F</mi><mn>1</mn><none/><mprescripts/><mn>2</mn><none/></mmultiscripts>",
            "{}_2F_1",
        ),
        ("<msup><mi>x</mi></msup><mfrac></mfrac><mover></mover><mmultiscripts></mmultiscripts>", r"x\frac{}{}"),
        ("<menclose notation=box><mi>x</mi></menclose><mphantom><mi>y</mi></mphantom>", r"\boxed{x}"),
        ("<semantics><mi>x</mi><annotation-xml><ci>y</ci></annotation-xml></semantics>", "x"),
        ("<apply><plus/><ci>x</ci></apply>", ""),
    ],
)
def test_presentation_mathml(mathml, tex):
    assert converted(mathml) == tex


def test_a_formula_nested_without_end_is_text():
    assert "x" in converted("<mrow>" * 300 + "<mi>x</mi>")

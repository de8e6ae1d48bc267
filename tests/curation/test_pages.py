"""Which formulas and sentences of a page are kept, each once, and which parts of the site around it are gone."""

import unicodedata
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.reading.pages import MAX_DEPTH, REASONS, Refused, decoded, extract

PAGES = Path(__file__).parent / "pages"


@dataclass(frozen=True)
class Expected:
    """Formulas that stand in the text exactly once, sentences that stand in it, parts of the site that do not."""

    formulas: tuple[str, ...]
    kept: tuple[str, ...]
    gone: tuple[str, ...]


EXPECTED = {
    "wikipedia": Expected(
        (
            "$f(x)=e^{-x^{2}}$",
            "\n$$\\int _{-\\infty }^{\\infty }e^{-x^{2}}\\,dx={\\sqrt {\\pi }}.$$\n",
            "$r\\geq 0$",
            "${\\tfrac {1}{2}}{\\sqrt {\\pi }}$",
            "πr^2",
        ),
        ("Gaussian integral\n", "also known as the Euler–Poisson integral, is the", "By symmetry", "\n5\t\t15"),
        ("Main page", "Donate", "[edit]", "Jump to", "Deutsch", "Privacy", "displaystyle", "last edited"),
    ),
    "stackexchange": Expected(
        (
            "$a_n = \\frac{(-1)^n}{\\sqrt{n}}$",
            "$$\\sum_{n=1}^\\infty a_n$$",
            "$|a_n| < \\epsilon$",
            "\\begin{align}\\sum_{n\\le N} \\frac{1}{\\sqrt n} &\\ge \\sqrt N \\\\ &\\to \\infty.\\end{align}",
        ),
        (
            "Is this series convergent?\n",
            "def partial(n):\n    s = 0\n    for k in range(1, n + 1):\n        s +=",
            "By the alternating series test it is enough that",
        ),
        ("Log in", "Sign up", "Tags", "Hot Network", "sky blue", "CC BY-SA", "12", "preferredFont"),
    ),
    "latexml": Expected(
        (
            "$p\\equiv 1\\pmod{4}$",
            "\n$$\\left(\\frac{-1}{p}\\right)=(-1)^{\\frac{p-1}{2}}.$$\n",
            "$x\\in\\mathbb{Z}$",
            "$x^2+1=kp$",
        ),
        (
            "On sums of squares\n",
            "is a sum of two squares.",
            "Recall that the Legendre symbol",
            "Hardy and E. M. Wright",
        ),
        ("1 Introduction\n\n1", "LaTeXML", "italic_p"),
    ),
    "katex_blog": Expected(
        ("$y = \\sigma(Wx)$", "\n$$\\frac{\\partial L}{\\partial W} = \\delta x^\\top$$\n", "$\\delta$ $_L$"),
        (
            "Backpropagation by hand\n",
            "the gradient of the loss is",
            "\\frac{1}{",
            "x):\n    return np.outer(delta, x)",
        ),
        ("Archive", "Powered by", "∂", "σ", "Notes on learning"),
    ),
    "mathjax2": Expected(
        (
            "$T : X \\to Y$",
            "\n$$\\lim_{n \\to \\infty} \\|T x_n - T x\\| = 0 \\quad \\text{if } x_n \\rightharpoonup x$$\n",
            "$G=\\left(V,E\\right)$",
            "$\\frac{1}{n}$",
            "$\\ell^2$",
        ),
        ("Lecture 3: compact operators", "be compact. Then", "1. Show that the unit ball of"),
        ("[math]", "rendered", "Previous", "Contents", "T:X"),
    ),
    "mathjax2_saved": Expected(("$a^2+b^2$", "$\\sqrt{c}$"), ("is a sum, and that",), ("a2+b2",)),
    "mathjax3": Expected(
        (
            "given $N$ strings",
            "at most $10^5$.",
            "\n$$\\sum_{i=1}^N\\lfloor\\frac{a_i}{2}\\rfloor$$\n",
            "$\\binom{n}{k}$",
        ),
        ("Counting strings\n", "\n3\nabc\nabd"),
        ("Sign in", "Problems", "Terms of use"),
    ),
    "wordpress": Expected(
        (
            "${\\pi(x)}$",
            "up to $x$.",
            "$\\pi(x) \\sim \\frac{x}{\\log x}$",
            "$\\int_0^1 x^2+1\\,dx$",
            "$O(x^{1/2})$",
        ),
        ("The prime tuples conjecture\n", "The photo shows no formula.", "I think that the error term should be"),
        ("Career advice", "Twitter", "Older thoughts", "blackboard", "equation", "Blog at", "What's new"),
    ),
    "aops": Expected(
        (
            "values of $a$ for",
            "$4x^2 + ax + 8x + 9 = 0$",
            "\n$$\\textbf{(A) }{-16}\\qquad\\textbf{(B) }{-8}\\qquad\\textbf{(C) }0$$\n",
            "\n$$\\begin{align*} (a+8)^2 - 144 &= 0 \\\\ a &= 4, -20. \\end{align*}$$\n",
            "$-16 \\Rightarrow \\boxed{\\text{A}}$",
        ),
        ("2005 AMC 12A Problems/Problem 9\n", "has only one solution for", "so the sum is"),
        ("Bookstore", "What links here", "loaded correctly"),
    ),
    "proofwiki": Expected(
        ("$m, n \\in \\Z$", "\\(\\ds 2 a + 1 + 2 b + 1\\)", "\\(\\ds 2 \\paren {a + b + 1}\\)", "$\\blacksquare$"),
        ("Let $m, n \\in \\Z$ be odd. Then $m + n$ is even:", "\\(=\\)\t\t\\(\\ds 2 \\paren {a + b + 1}\\)\t\tDistrib"),
        ("Log in", "Navigation menu", "Creative Commons"),
    ),
    "nlab": Expected(
        (
            "$F \\colon C^{op} \\to Set$",
            "$c\\in C$",
            "[C^{\\operatorname{op}},\\operatorname{Set}]}(y(c),F)\\overset{\\simeq}{\\to}F(c)$$\n",
            "$\\begin{pmatrix}\\alpha & 0 \\\\ 0 & \\beta\\end{pmatrix}$",
        ),
        ("Yoneda lemma\n", "there is a natural bijection", "• Saunders Mac Lane"),
        ("All Pages", "Skip the"),
    ),
    "forum": Expected(
        (
            "If a, b > 0 then why is $\\frac{a}{b} + \\frac{b}{a} \\ge 2$?\nI",
            "(a-b)^2 ≥ 0",
            "x_1 + x_2 ≥ 2·10^{-3}",
            "\\(ab\\)",
            "\n\\[a^2 + b^2 \\ge 2ab.\\]\n",
        ),
        ("Help with an inequality", "the 2nd time", "Multiply by"),
        ("FAQ", "Login", "Register", "phpBB", "Skip to"),
    ),
    "latex2html": Expected(
        (
            "$f(x)$",
            "$x_0$",
            "\n$$x_{n+1} = x_n - \\frac{f(x_n)}{f'(x_n)}$$\n",
            "• the error satisfies $|e_{n+1}| \\le C |e_n|^2$.",
        ),
        ("Newton's method", "convergence is quadratic", "\n         x = x - f(x) / df(x)\n 10   continue"),
        ("next", "up"),
    ),
    "broken": Expected(
        ("$\\varepsilon/2$", "$\\frac{a}{}$", "$z_1$"),
        ("Take any ε > 0 & choose", "|f(x) − L| < ε", "emphasis that does not", "End ∫ of ∑", "last", "items"),
        ("One", "Two", "a comment"),
    ),
    "windows1251": Expected(
        ("$c^2 = a^2 + b^2$",), ("квадрат гипотенузы равен сумме квадратов", "ещё в древности"), ("�",)
    ),
    "shift_jis": Expected(("$p_1, p_2, \\ldots, p_n$",), ("素数は無限に存在する。",), ("�",)),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_page_keeps_its_mathematics_and_text_and_loses_the_site(name):
    expected = EXPECTED[name]
    text = extract(decoded((PAGES / f"{name}.html").read_bytes())).text
    assert {formula: text.count(formula) for formula in expected.formulas} == dict.fromkeys(expected.formulas, 1)
    assert [part for part in expected.kept if part not in text] == []
    assert [part for part in expected.gone if part in text] == []


def test_every_page_is_tested():
    assert {path.stem for path in PAGES.glob("*.html")} == set(EXPECTED)


def test_a_page_names_its_own_address():
    assert extract("<link rel=canonical href=https://a.org/x?y><p>text").url == "https://a.org/x?y"
    assert extract("<link rel=canonical href=/x><p>text").url is None


@pytest.mark.parametrize(
    ("html", "text"),
    [
        (
            "<p>10<sup>6</sup>, x<sub>ij</sub>, 2<sup>nd</sup>, word<sup><a href=#n>3</a></sup>",
            "10^6, x_{ij}, 2nd, word3",
        ),
        ("<p>costs $5 and \\(x\\), $y$", "costs $5 and \\(x\\), $y$"),
        ("<p>see <img alt='Figure 1: a_b'> here", "see here"),
        ("<p><img class=latex alt='x'><img class=latex alt='y'>", "$x$ $y$"),
        ("<p>so <script type='math/tex; mode=display'>x</script>.</p><p>And", "so\n$$x$$.\n\nAnd"),
        ("<p>a\ufdd00\ufdd1b <math><mi>x</mi></math>", "a0b $x$"),
        ("<p>a <math></math> b", "a b"),
        ("<ul><li>one<li>two</ul>", "• one\n  • two"),
        ("<pre>a\n\n    b  c</pre>", "a\n\n    b  c"),
    ],
)
def test_small_things(html, text):
    assert extract(html).text.strip() == text


LONE = [
    sign
    for sign in map(chr, (*range(0x21, 0x10000), *range(0x1D400, 0x1D800)))
    if unicodedata.category(sign)[0] not in "CZ" and sign not in "‹›•·¶|«»"
]
"""Every character that may stand alone between two tags; what separates links may go."""
FEW = [sign for sign in LONE if unicodedata.category(sign)[0] in "SP"] + LONE[::97]
PLACES = (
    "<p>let <i>a</i>{}<i>b</i> be</p>",
    "<p>let <i>a</i> <b>{}</b> <i>b</i> be</p>",
    "<p>{}<i>x</i> is</p>",
    "<ul><li>{}<i>x</i> is<li>one</ul>",
    "<table><tr><td>{}<td>two</table>",
    "<p>so {}</p>",
    "<p>{}</p>",
)


@pytest.mark.parametrize(("place", "signs"), [(PLACES[0], LONE), *((place, FEW) for place in PLACES)])
def test_no_sign_between_tags_is_lost(place, signs):
    """Many signs to a page, as a page for each would take minutes."""
    for start in range(0, len(signs), 1000):
        some = signs[start : start + 1000]
        text = extract("<p>text</p>" + "".join(place.format(escape(sign)) for sign in some)).text
        assert [sign for sign in some if sign not in text] == []


def test_a_formula_set_in_plain_tags_keeps_its_signs():
    page = (
        "<p>For all real <i>a</i> and <i>b</i> we have <i>a</i> − <i>b</i> = −(<i>b</i> − <i>a</i>), and "
        "<i>a</i> ≤ <i>b</i> holds if <i>b</i> − <i>a</i> ≥ 0.</p><p>Let <var>x</var> ∈ <var>A</var>. "
        "Then ∃<i>y</i> with <i>x</i> ≠ <i>y</i>.<p>∫<sub>0</sub><sup>1</sup> f<p>设<i>x</i>为"
    )
    assert extract(page).text.split("\n\n") == [
        "For all real a and b we have a − b = −(b − a), and a ≤ b holds if b − a ≥ 0.",
        "Let x ∈ A. Then ∃y with x ≠ y.",
        "∫_0^1 f",
        "设x为",
    ]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("x<sup>a</sup> · x<sup>b</sup> = x<sup>a+b</sup>", "x^a · x^b = x^{a+b}"),
        ("2<sup>2<sup>n</sup></sup> + 1", "2^{2^n} + 1"),
        ("e<sup>-x<sup>2</sup></sup>", "e^{-x^2}"),
        ("a<sub>n<sub>k<sub>j</sub></sub></sub>", "a_{n_{k_j}}"),
        ("p<sup>n(n+1)(2n+1)/6</sup>", "p^{n(n+1)(2n+1)/6}"),
        ("<i>T</i><sub>room temperature of the sample</sub>", "T_{room temperature of the sample}"),
        ("x<sub>i</sub><sup>2</sup>, x<sup>2</sup><sub>i</sub>", "x_i^2, x^2_i"),
        ("<b><i>x</i></b><i><sup>c</sup></i>, x<sub>er</sub>, r<sup>o</sup>", "x^c, x_{er}, r^o"),
        (
            "(a+b)<sup>st</sup>, |x|<sup>r</sup>, ∫<sub>0</sub><sup>∞</sup>, n!<sup>2</sup>",
            "(a+b)^{st}, |x|^r, ∫_0^∞, n!^2",
        ),
        ("f<sup>′</sup>(x), 90<sup>°</sup>, x <sup>2</sup>", "f′(x), 90°, x ^2"),
        ("A<sup>*</sup>, a<sup>[1]</sup>, f<sup>(n)</sup>", "A^*, a^{[1]}, f^{(n)}"),
        (
            "1<sup>st</sup> 22<sup>nd</sup> 3<sup>rd</sup> 4<sup>th</sup> n<sup>th</sup> (n+1)<sup>st</sup>",
            "1st 22nd 3rd 4th nth (n+1)st",
        ),
        (
            "1<sup>er</sup>, XIX<sup>e</sup>, Maple<sup>TM</sup>, Java<sup>®</sup>, Intel<sup>(R)</sup>",
            "1er, XIXe, MapleTM, Java®, Intel(R)",
        ),
        (
            "word<sup>[3]</sup> word<sup>*</sup> end.<sup>2</sup> word<sup><a href=#n>4</a></sup>",
            "word[3] word* end.2 word4",
        ),
        ("word<a href=#n><sup>5</sup></a>, <a href=/t>the x<sup>2</sup> test</a>", "word5, the x^2 test"),
        ("x<sup><math><mi>n</mi></math></sup>", "x^{$n$}"),
    ],
)
def test_raised_and_lowered_text(html, text):
    assert extract(f"<p>{html}</p>").text.strip() == text


@pytest.mark.parametrize(
    ("data", "declared"),
    [
        ("<p>café ∑".encode(), "iso-8859-1"),
        ("<p>café ∑".encode("utf-8-sig"), None),
        ("<p>café ∑".encode("utf-16"), None),
        ("<p>caf\u00e9".encode("latin-1"), "ISO-8859-1"),
        ("<meta charset=iso-8859-2><p>café Łódź".encode("iso-8859-2"), None),
        ("<meta charset=utf-7><p>café naïve façade déjà vu".encode("cp1252"), "no-such-encoding"),
        ("<p>Теорема о пределе последовательности и её доказательство".encode("koi8-r"), None),
        ("<meta charset=iso-2022-jp><p>定理".encode("iso-2022-jp"), None),
    ],
)
def test_the_encoding_of_a_page(data, declared):
    text = decoded(data, declared)
    assert any(part in text for part in ("café", "Теорема о пределе", "定理")) and "\ufffd" not in text


def glyph(code: str) -> str:
    return f'<mjx-mi class="mjx-i"><mjx-c class="mjx-c{code} TEX-I"></mjx-c></mjx-mi>'


A, B, N = glyph("1D44E"), glyph("1D44F"), glyph("1D45B")
DRAWN = '<g data-mml-node="{}" transform="translate(9,{})"><use data-c="{}" xlink:href="#MJX-1-TEX-I-{}"></use></g>'


@pytest.mark.parametrize(
    ("formula", "tex"),
    [
        (f"<mjx-msup>{A}<mjx-script>{N}</mjx-script></mjx-msup>{glyph('2264')}{B}", "$a^n\\le b$"),
        (f"<mjx-msubsup>{A}<mjx-script>{N}<mjx-spacer></mjx-spacer>{B}</mjx-script></mjx-msubsup>", "$a_b^n$"),
        (
            f"<mjx-mfrac><mjx-frac><mjx-num><mjx-nstrut></mjx-nstrut>{A}</mjx-num><mjx-dbox><mjx-dtable><mjx-line>"
            f"</mjx-line><mjx-row><mjx-den>{B}</mjx-den></mjx-row></mjx-dtable></mjx-dbox></mjx-frac></mjx-mfrac>",
            "$\\frac{a}{b}$",
        ),
        (
            f"<mjx-msqrt><mjx-sqrt><mjx-surd>{glyph('221A')}</mjx-surd><mjx-box>{A}{B}</mjx-box></mjx-sqrt></mjx-msqrt>",
            "$\\sqrt{ab}$",
        ),
        (
            f"<mjx-munderover><mjx-over>{N}</mjx-over><mjx-box><mjx-munder><mjx-row><mjx-base>{glyph('2211')}</mjx-base>"
            f"</mjx-row><mjx-row><mjx-under>{A}</mjx-under></mjx-row></mjx-munder></mjx-box></mjx-munderover>",
            "$\\sum_a^n$",
        ),
        (
            f"<mjx-mtable><mjx-table><mjx-itable><mjx-mtr><mjx-mtd>{A}</mjx-mtd><mjx-mtd>{B}</mjx-mtd></mjx-mtr>"
            "</mjx-itable></mjx-table></mjx-mtable>",
            "$\\begin{matrix}a & b\\end{matrix}$",
        ),
        ("<mjx-mi><mjx-c class='other'></mjx-c></mjx-mi>", None),
        ("<mjx-mi><mjx-c class='mjx-cD835'></mjx-c></mjx-mi>", None),
        ("<mjx-msup></mjx-msup>", None),
    ],
)
def test_glyphs_without_a_source_are_read_by_their_code_points_or_counted(formula, tex):
    page = extract(f"<p>so <mjx-container jax=CHTML><mjx-math>{formula}</mjx-math></mjx-container> end")
    assert (page.text.strip(), page.formulas_lost) == ((f"so {tex} end", 0) if tex else ("so end", 1))


def test_formulas_drawn_as_svg_are_read_by_their_code_points():
    parts = [
        DRAWN.format("mi", 0, "1D44E", ""),
        DRAWN.format("mi", 413, "1D45B", ""),
        DRAWN.format("mi", -247, "", "1D44F"),
    ]
    row = f'<g data-mml-node="math"><g data-mml-node="msubsup">{"".join(parts)}</g></g>'.replace('data-c=""', "")
    page = extract(f"<p>so <mjx-container jax=SVG><svg><g>{row}</g></svg></mjx-container> end")
    assert (page.text.strip(), page.formulas_lost) == ("so $a_b^n$ end", 0)


@pytest.mark.parametrize(
    ("html", "text", "lost"),
    [
        (
            "The <span class=MathJax_Preview>sqrt(x^2+1)</span><script type='math/asciimath'>sqrt(x^2+1)</script> is",
            "The sqrt(x^2+1) is",
            0,
        ),
        ("<script type='math/other'>x</script>and", "and", 1),
        ("so <span class=katex><span class=katex-html>x2</span></span>", "so x2", 1),
        ("see <img class=tex src=a.png> here", "see here", 1),
        ("<font face=Symbol>a</font> <b style='font-family:Symbol'>&#163;</b> <font face='Segoe UI Symbol'>a</font>",
         "α ≤ a", 0),
        ("<del>gone</del>kept", "kept", 0),
        ("<ol start=5 type=a><li>x<li value=9>y<li>z</ol>", "e. x\n  i. y\n  j. z", 0),
        ("<ol reversed><li>x<li>y</ol>", "2. x\n  1. y", 0),
        ("<ol type=I><li>x<ol style='list-style: lower-roman'><li>y</ol></ol>", "I. x\n    i. y", 0),
    ],
)  # fmt: skip
def test_what_pages_write_in_their_own_way(html, text, lost):
    page = extract(f"<p>{html}")
    assert (page.text.strip(), page.formulas_lost) == (text, lost)


def test_markdown_keeps_headings_lists_and_fences():
    page = "<h2>Powers</h2><p>Let x be 2.</p><ul><li>one<ol><li>a</ol><li>two</ul><pre>\n  x = 1\n\n# no\n</pre><p>End."
    assert extract(page, markdown=True).text == (
        "## Powers\n\nLet x be 2.\n\n- one\n  1. a\n- two\n```\n  x = 1\n\n# no\n```\n\nEnd."
    )


@pytest.mark.parametrize(
    ("data", "declared", "text"),
    [
        ("<meta charset=utf-8><p>It’s a “smart” quote – café".encode("cp1252"), None, "It’s a “smart” quote – café"),
        ("<p>It’s a “smart” quote – café".encode("cp1252"), "utf-8", "It’s a “smart” quote – café"),
        ("<meta charset=utf-8><p>Теорема о пределе последовательности".encode("cp1251"), None, "Теорема о пределе"),
        ("<meta charset=utf-8><p>Теорема о пределе".encode() + b"\xff\xfe end", None, "Теорема о пределе\ufffd"),
        ("<meta charset=gb2312><p>设函数连续".encode("gb18030"), "utf-8", "设函数连续"),
        ("<html><p>café ∑ of squares".encode("utf-16-le"), None, "café ∑ of squares"),
        ("<html><p>café ∑ of squares".encode("utf-16-be"), "utf-8", "café ∑ of squares"),
        ("<meta charset=utf-16><p>café naïve déjà".encode("latin-1"), None, "café naïve déjà"),
    ],
)
def test_an_encoding_that_does_not_fit_the_bytes_is_not_believed(data, declared, text):
    assert text in decoded(data, declared)


@given(st.binary(max_size=200), st.sampled_from([None, "utf-8", "big5", "x"]))
def test_any_bytes_have_characters(data, declared):
    assert isinstance(decoded(data, declared), str)


TAGS = (
    "p",
    "div",
    "span",
    "math",
    "mrow",
    "mi",
    "mo",
    "mfrac",
    "msup",
    "mtable",
    "mtr",
    "mtd",
    "mfenced",
    "mover",
    "ul",
)
TAGS += ("li", "table", "td", "script", "img", "pre", "sup")
PIECES = [*(f"<{tag}>" for tag in TAGS), *(f"</{tag}>" for tag in TAGS)]
PIECES += [
    "<span class=katex>",
    "<mjx-container display=true>",
    "<script type='math/tex; mode=display'>",
    "<annotation",
]
PIECES += [
    "<img alt='$x$'>",
    "<annotation encoding=tex>",
    "<mmultiscripts>",
    "<mprescripts>",
    "text",
    "$",
    "\\",
    "<",
    "&lt;",
]


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_no_page_raises_anything_but_a_refusal(html):
    try:
        page = extract("<p>text" + html)
    except Refused as refused:
        assert refused.args[0] in REASONS
    else:
        assert page.text.strip() and "\ufdd0" not in page.text


@pytest.mark.parametrize(
    ("html", "reason"),
    [
        ("<div>" * 100_000 + "text", "nested_too_deeply"),
        ("<math>" + "<mrow>" * 100_000 + "x", "nested_too_deeply"),
        ("<p>text" + "<span class=katex>" * (MAX_DEPTH + 1), "nested_too_deeply"),
        ("<b " + " ".join(f"a{number}" for number in range(100_000)) + ">", "endless_tag"),
        ("<nav><a href=/>Home</a></nav>", "no_text"),
        ("<p> <br>", "no_text"),
        ("%PDF-1.4 <p>text", "not_html"),
        ("\ufffdPNG\r\n\x1a\n<p>text", "not_html"),
        ("<p>" + "x\x01\x02\ufffd" * 50, "not_html"),
    ],
)
def test_what_is_refused(html, reason):
    with pytest.raises(Refused) as refused:
        extract(html)
    assert refused.value.args[0] == reason


def test_what_is_nested_deeply_but_not_too_deeply_is_read():
    assert extract("<div>" * 400 + "text").text.strip() == "text"
    assert extract("<math>" + "<msup>" * 400 + "<mi>x</mi>").text.count("x") == 1


def test_a_long_plain_text_is_no_endless_tag():
    assert extract("<pre>" + "a < b & c " * 30_000 + "</pre>").text.startswith("a < b")

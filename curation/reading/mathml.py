"""Presentation MathML as LaTeX: `latex` of an element of a parsed page.

For formulas that carry no TeX of their own; `curation.reading.pages` looks for that first. Knows the elements that
pages are written with (mrow mi mn mo mtext mspace msup msub msubsup mfrac msqrt mroot mover munder munderover mtable
mmultiscripts mfenced menclose and the wrappers); of any other it takes what is in it. Promises. Never raises: a missing
child is empty, and what is nested deeper than MAX_DEPTH is taken as text. Leaves out content MathML, sizes, colours and
spacing. The packages on the index did worse: mathml-to-latex 1.0 loses matrices and raises on a missing child.
"""

import re
import unicodedata
from itertools import pairwise

from resiliparse.parse.html import ElementNode

MAX_DEPTH = 100
"""Levels of nested elements; formulas of papers have about ten."""

FUNCTIONS = frozenset(
    (
        "arccos", "arcsin", "arctan", "arg", "cos", "cosh", "cot", "coth", "csc", "deg", "det", "dim", "exp", "gcd",
        "hom", "inf", "ker", "lg", "lim", "liminf", "limsup", "ln", "log", "max", "min", "Pr", "sec", "sin", "sinh",
        "sup", "tan", "tanh",
    )
)  # fmt: skip
SYMBOLS = {
    "−": "-", "∓": r"\mp", "±": r"\pm", "×": r"\times", "÷": r"\div", "⋅": r"\cdot", "·": r"\cdot", "∗": "*",
    "∘": r"\circ", "∙": r"\bullet", "•": r"\bullet", "⊕": r"\oplus", "⊗": r"\otimes", "⊙": r"\odot", "∧": r"\wedge",
    "∨": r"\vee", "¬": r"\neg", "∩": r"\cap", "∪": r"\cup", "∖": r"\setminus", "⋆": r"\star", "†": r"\dagger",
    "≤": r"\le", "≥": r"\ge", "⩽": r"\le", "⩾": r"\ge", "≠": r"\ne", "≈": r"\approx", "≅": r"\cong", "≡": r"\equiv",
    "∼": r"\sim", "≃": r"\simeq", "∝": r"\propto", "≪": r"\ll", "≫": r"\gg", "≺": r"\prec", "≻": r"\succ",
    "∈": r"\in", "∉": r"\notin", "∋": r"\ni", "⊂": r"\subset", "⊆": r"\subseteq", "⊃": r"\supset", "⊇": r"\supseteq",
    "⊊": r"\subsetneq", "⊢": r"\vdash", "⊨": r"\models", "⊥": r"\perp", "∥": r"\parallel", "∣": r"\mid", "∤": r"\nmid",
    "⊲": r"\triangleleft", "≔": r"\coloneqq", "∀": r"\forall", "∃": r"\exists", "∄": r"\nexists", "∅": r"\emptyset",
    "∞": r"\infty", "∂": r"\partial", "∇": r"\nabla", "ℓ": r"\ell", "ℏ": r"\hbar", "ℵ": r"\aleph", "℘": r"\wp",
    "∑": r"\sum", "∏": r"\prod", "∐": r"\coprod", "∫": r"\int", "∬": r"\iint", "∭": r"\iiint", "∮": r"\oint",
    "⋃": r"\bigcup", "⋂": r"\bigcap", "⋁": r"\bigvee", "⋀": r"\bigwedge", "⨁": r"\bigoplus", "⨂": r"\bigotimes",
    "→": r"\to", "←": r"\leftarrow", "↔": r"\leftrightarrow", "⇒": r"\Rightarrow", "⇐": r"\Leftarrow",
    "⇔": r"\Leftrightarrow", "⟹": r"\implies", "⟸": r"\impliedby", "⟺": r"\iff", "⟶": r"\longrightarrow",
    "↦": r"\mapsto", "⟼": r"\longmapsto", "↪": r"\hookrightarrow", "↠": r"\twoheadrightarrow", "↑": r"\uparrow",
    "↓": r"\downarrow", "⇀": r"\rightharpoonup", "⟨": r"\langle", "⟩": r"\rangle", "〈": r"\langle", "〉": r"\rangle",
    "⌊": r"\lfloor", "⌋": r"\rfloor", "⌈": r"\lceil", "⌉": r"\rceil", "‖": r"\|", "…": r"\ldots", "⋯": r"\cdots",
    "⋮": r"\vdots", "⋱": r"\ddots", "′": "'", "″": "''", "‴": "'''", "∠": r"\angle", "△": r"\triangle", "□": r"\square",
    "√": r"\surd", "∴": r"\therefore", "∵": r"\because", "°": r"^\circ", "ϵ": r"\epsilon", "ϕ": r"\phi",
    "φ": r"\varphi", "ε": r"\varepsilon", "ϑ": r"\vartheta", "ϱ": r"\varrho", "ϖ": r"\varpi", "ς": r"\varsigma",
    "ı": r"\imath", "{": r"\{", "}": r"\}", "%": r"\%", "#": r"\#", "&": r"\&", "_": r"\_", "$": r"\$",
    "\\": r"\backslash", "\u00a0": " ", "\u2061": " ", "\u2062": "", "\u2063": "", "\u2064": "", "\u200b": "",
    "\u2009": " ", "\u2003": " ",
}  # fmt: skip
ACCENTS = {
    "¯": r"\overline", "‾": r"\overline", "―": r"\overline", "^": r"\hat", "ˆ": r"\hat", "~": r"\tilde", "˜": r"\tilde",
    "∼": r"\tilde", "→": r"\vec", "⃗": r"\vec", "⇀": r"\vec", "˙": r"\dot", ".": r"\dot", "¨": r"\ddot", "ˇ": r"\check",
    "˘": r"\breve", "´": r"\acute", "`": r"\grave", "⏞": r"\overbrace", "⏜": r"\overparen", "_": r"\overline",
}  # fmt: skip
UNDER_ACCENTS = {
    **dict.fromkeys("_¯‾―\u0332\u0331ˍ", r"\underline"), "⏟": r"\underbrace", "⏝": r"\underparen",
}  # fmt: skip
STYLES = {
    "DOUBLE-STRUCK": r"\mathbb",
    "BLACK-LETTER": r"\mathfrak",
    "FRAKTUR": r"\mathfrak",
    "SCRIPT": r"\mathcal",
    "BOLD ITALIC": r"\boldsymbol",
    "BOLD": r"\mathbf",
    "SANS-SERIF": r"\mathsf",
    "MONOSPACE": r"\mathtt",
    "ITALIC": "",
}
"""Words in Unicode's names of mathematical letters (as in ℝ and 𝒜), the more special ones first."""
VARIANTS = {
    "normal": r"\mathrm",
    "bold": r"\mathbf",
    "bold-italic": r"\boldsymbol",
    "double-struck": r"\mathbb",
    "script": r"\mathcal",
    "fraktur": r"\mathfrak",
    "sans-serif": r"\mathsf",
    "monospace": r"\mathtt",
}
LETTERLIKE = re.compile(r"(?:MATHEMATICAL|DOUBLE-STRUCK|BLACK-LETTER|SCRIPT)\b.* (?:CAPITAL|SMALL|DIGIT) ")
GREEK = re.compile(r"GREEK (SMALL|CAPITAL) LETTER ([A-Z]+)")
UNDER_AND_OVER = ("sum", "prod", "coprod", "int", "iint", "iiint", "oint", "lim", "liminf", "limsup", "max", "min")
COMMAND = re.compile(r"\\[A-Za-z]+\Z")
LIMITS = re.compile(r"\\(?:big\w+|sup|inf|gcd|det|Pr|operatorname\*?\{.*\}|" + "|".join(UNDER_AND_OVER) + r")\Z")
MATRICES = {
    ("(", ")"): "pmatrix",
    ("[", "]"): "bmatrix",
    (r"\{", r"\}"): "Bmatrix",
    ("|", "|"): "vmatrix",
    (r"\mid", r"\mid"): "vmatrix",
    (r"\|", r"\|"): "Vmatrix",
}
BEGIN, END = r"\begin{matrix}", r"\end{matrix}"
NOTHING = ("none", "mprescripts", "mphantom", "maligngroup", "malignmark", "annotation", "annotation-xml")


def latex(node: ElementNode) -> str:
    """The LaTeX of a `math` element, without dollars; empty where it holds nothing."""
    return " ".join(_latex(node, 0).split())


def name(node: ElementNode) -> str:
    """The element's name in lower case, without a prefix: `mml:mi` is `mi`."""
    return (node.tag or "").lower().rpartition(":")[2]


def _latex(node: ElementNode, depth: int) -> str:
    if depth > MAX_DEPTH:
        return _text(node)
    kind = name(node)
    match kind:
        case "mi":
            return _identifier(node)
        case "mn":
            return _symbols(_text(node))
        case "mo":
            return _operator(_text(node))
        case "mtext" | "ms":
            return _words(node.text or "")
        case "mspace":
            return " "
        case _ if kind in NOTHING:
            return ""
    children = node.children.values()
    if kind in ("semantics", "maction"):
        children = children[:1]
    if kind == "mtable":
        return _table(children, depth)
    return _composed(kind, node, [_latex(child, depth + 1) for child in children], children)


def _composed(kind: str, node: ElementNode, parts: list[str], children: list[ElementNode]) -> str:
    """An element made of elements, `parts` being their LaTeX."""
    first, second, third, *_ = [*parts, "", "", ""]
    match kind:
        case "msup":
            return _scripts(first, "", second)
        case "msub":
            return _scripts(first, second, "")
        case "msubsup":
            return _scripts(first, second, third)
        case "mfrac" if re.fullmatch(r"0+(\.0*)?[a-z%]*", node.getattr("linethickness") or "1"):
            return rf"\binom{{{first}}}{{{second}}}"
        case "mfrac":
            return rf"\frac{{{first}}}{{{second}}}"
        case "mroot":
            return rf"\sqrt[{second}]{{{first}}}"
        case "msqrt":
            return rf"\sqrt{{{_row(parts, children)}}}"
        case "mover":
            return _around(first, "", second)
        case "munder":
            return _around(first, second, "")
        case "munderover":
            return _around(first, second, third)
        case "mmultiscripts":
            return _multiscripts(parts, children)
        case "mfenced":
            return _fenced(node, parts, children)
        case "menclose" if "box" in (node.getattr("notation") or ""):
            return rf"\boxed{{{_row(parts, children)}}}"
    return _row(parts, children)


# -- tokens ----------------------------------------------------------------------------------------------------------


def _text(node: ElementNode) -> str:
    return " ".join((node.text or "").split())


def _identifier(node: ElementNode) -> str:
    text = _text(node)
    if len(text) > 1 and text.isascii() and text.isalpha():
        return _function(text)
    symbols, variant = _symbols(text), VARIANTS.get(node.getattr("mathvariant") or "", "")
    return f"{variant}{{{symbols}}}" if variant and symbols.isalnum() and symbols.isascii() else symbols


def _operator(text: str) -> str:
    return _function(text) if len(text) > 1 and text.isascii() and text.isalpha() else _symbols(text)


def _function(word: str) -> str:
    return f"\\{word}" if word in FUNCTIONS else rf"\operatorname{{{word}}}"


def _symbols(text: str) -> str:
    return _joined([_symbol(character) for character in text])


def _symbol(character: str) -> str:
    if character.isascii():
        return SYMBOLS.get(character, character)
    known = SYMBOLS.get(character)
    return _letter(character) if known is None else known


def _letter(character: str) -> str:
    """A Greek or a styled letter by its name in Unicode; any other character as it is."""
    title = unicodedata.name(character, "")
    if greek := GREEK.fullmatch(title):
        return _greek(greek[1] == "CAPITAL", greek[2], character)
    if not LETTERLIKE.match(title):
        return character
    plain = _symbol(unicodedata.normalize("NFKC", character))
    style = next((style for word, style in STYLES.items() if word in title), "")
    return f"{style}{{{plain}}}" if style else plain


def _greek(capital: bool, letter: str, character: str) -> str:
    letter = "lambda" if letter == "LAMDA" else letter.lower()
    if letter == "omicron":
        return "o"
    if not capital:
        return f"\\{letter}"
    latin = {"alpha": "A", "beta": "B", "epsilon": "E", "zeta": "Z", "eta": "H", "iota": "I", "kappa": "K", "mu": "M"}
    latin |= {"nu": "N", "rho": "P", "tau": "T", "chi": "X"}
    return latin.get(letter) or f"\\{letter.capitalize()}"


def _words(text: str) -> str:
    """Text within a formula; an empty one is space."""
    escaped = re.sub(r"([{}%#&_$])", r"\\\1", re.sub(r"\s+", " ", text.replace("\\", "")))
    return rf"\text{{{escaped}}}" if escaped.strip() else " "


# -- composition -----------------------------------------------------------------------------------------------------


def _joined(parts: list[str]) -> str:
    """Parts side by side, with a space where a command's name would run into a letter."""
    parts = [part for part in parts if part]
    joined = parts[:1]
    for before, part in pairwise(parts):
        joined += [" ", part] if part[0].isalpha() and COMMAND.search(before) else [part]
    return "".join(joined)


def _row(parts: list[str], children: list[ElementNode]) -> str:
    kinds = [name(child) for child in children]
    done: list[str] = []
    place = 0
    while place < len(parts):
        taken, part = _between_fences(parts[place : place + 3], kinds[place + 1] if place + 1 < len(kinds) else "")
        done.append(part)
        place += taken
    return _joined(done)


def _between_fences(parts: list[str], kind: str) -> tuple[int, str]:
    """How many of three `parts` belong together, and what they make, where the second is a `kind`: a table between
    fences is a matrix, one after a brace distinguishes cases, and a binomial has its own parentheses."""
    opened, inner, closed, *_ = [part.strip() for part in parts] + ["", ""]
    match kind:
        case "mtable" if (opened, closed) in MATRICES:
            return 3, _renamed(inner, MATRICES[opened, closed])
        case "mtable" if opened == r"\{":
            return 2, _renamed(inner, "cases")
        case "mfrac" if inner.startswith(r"\binom") and (opened, closed) == ("(", ")"):
            return 3, inner
    return 1, parts[0]


def _table(rows: list[ElementNode], depth: int) -> str:
    lines = [_cells(row, depth + 1) for row in rows if name(row) in ("mtr", "mlabeledtr")]
    return BEGIN + r" \\ ".join(lines) + END


def _renamed(table: str, environment: str) -> str:
    return rf"\begin{{{environment}}}{table[len(BEGIN) : -len(END)]}\end{{{environment}}}"


def _cells(row: ElementNode, depth: int) -> str:
    return " & ".join(_latex(cell, depth + 1).strip() for cell in row.children if name(cell) == "mtd")


def _scripts(base: str, below: str, above: str) -> str:
    if not LIMITS.match(base) and (len(base) > 1 and not re.fullmatch(r"\\[A-Za-z]+(\{\w\})?|\d+|.*[)\]|]", base)):
        base = f"{{{base}}}"
    primes = above and not above.strip("'")
    return base + (f"_{_group(below)}" if below else "") + (above if primes else f"^{_group(above)}" if above else "")


def _group(part: str) -> str:
    return part if len(part) == 1 else f"{{{part}}}"


def _around(base: str, under: str, over: str) -> str:
    """Limits of an operator, an accent, or one thing set over or under another."""
    if LIMITS.match(base):
        return _scripts(base, under, over)
    for mark, accents, stack in ((under, UNDER_ACCENTS, r"\underset"), (over, ACCENTS, r"\overset")):
        if mark:
            accent = next((accents[sign] for sign in accents if mark in (sign, _symbol(sign))), None)
            base = f"{accent}{{{base}}}" if accent else f"{stack}{{{mark}}}{{{base}}}"
    return base


def _multiscripts(parts: list[str], children: list[ElementNode]) -> str:
    kinds = [name(child) for child in children]
    split = kinds.index("mprescripts") if "mprescripts" in kinds else len(parts)
    after, before = parts[1:split], parts[split + 1 :]
    left = "".join(_scripts("{}", *pair) for pair in _pairs(before))
    right = "{}".join(_scripts("", *pair) for pair in _pairs(after))
    return left.replace("{{}}", "{}") + "".join(parts[:1]) + right


def _pairs(parts: list[str]) -> list[tuple[str, str]]:
    padded = [*parts, ""]
    return [(padded[place], padded[place + 1]) for place in range(0, len(parts), 2)]


def _fenced(node: ElementNode, parts: list[str], children: list[ElementNode]) -> str:
    opened, closed = (node.getattr(side, default) or "" for side, default in (("open", "("), ("close", ")")))
    fences = (_symbols(opened.strip()), _symbols(closed.strip()))
    if len(parts) == 1 and name(children[0]) == "mtable" and (fences in MATRICES or fences == (r"\{", "")):
        return _renamed(parts[0], MATRICES.get(fences, "cases"))
    separators = "".join((node.getattr("separators", ",") or "").split())
    inner = parts[:1]
    for place, part in enumerate(parts[1:]):
        inner += [_symbols(separators[min(place, len(separators) - 1)]) if separators else "", part]
    return _joined([fences[0], *inner, fences[1]])

"""Letters that a page writes by the number of a glyph: the Symbol font's, and MathJax's.

`symbol` reads text that is set in the font Symbol, whose `a` is an alpha, as it was before Unicode; `glyphs` reads what
MathJax 3 and 4 made of a formula, for pages saved without its source: elements whose classes or attributes name the
code points, as MathML. Leaves out MathJax 2, which keeps the source beside what it makes, and positions: what MathJax
draws of paths without a code point is lost, and None.
"""

import re

from resiliparse.parse.html import ElementNode

_FONT = (
    "0x22∀ 0x24∃ 0x27∋ 0x2a∗ 0x2d− 0x40≅ 0x41Α 0x42Β 0x43Χ 0x44Δ 0x45Ε 0x46Φ 0x47Γ 0x48Η 0x49Ι 0x4aϑ 0x4bΚ 0x4cΛ 0x4dΜ "
    "0x4eΝ 0x4fΟ 0x50Π 0x51Θ 0x52Ρ 0x53Σ 0x54Τ 0x55Υ 0x56ς 0x57Ω 0x58Ξ 0x59Ψ 0x5aΖ 0x5c∴ 0x5e⊥ 0x61α 0x62β 0x63χ 0x64δ "
    "0x65ε 0x66φ 0x67γ 0x68η 0x69ι 0x6aϕ 0x6bκ 0x6cλ 0x6dμ 0x6eν 0x6fο 0x70π 0x71θ 0x72ρ 0x73σ 0x74τ 0x75υ 0x76ϖ 0x77ω "
    "0x78ξ 0x79ψ 0x7aζ 0x7e∼ 0xa1ϒ 0xa2′ 0xa3≤ 0xa4⁄ 0xa5∞ 0xa6ƒ 0xa7♣ 0xa8♦ 0xa9♥ 0xaa♠ 0xab↔ 0xac← 0xad↑ 0xae→ 0xaf↓ "
    "0xb0° 0xb1± 0xb2″ 0xb3≥ 0xb4× 0xb5∝ 0xb6∂ 0xb7• 0xb8÷ 0xb9≠ 0xba≡ 0xbb≈ 0xbc… 0xc0ℵ 0xc1ℑ 0xc2ℜ 0xc3℘ 0xc4⊗ 0xc5⊕ "
    "0xc6∅ 0xc7∩ 0xc8∪ 0xc9⊃ 0xca⊇ 0xcb⊄ 0xcc⊂ 0xcd⊆ 0xce∈ 0xcf∉ 0xd0∠ 0xd1∇ 0xd5∏ 0xd6√ 0xd7⋅ 0xd8¬ 0xd9∧ 0xda∨ 0xdb⇔ "
    "0xdc⇐ 0xdd⇑ 0xde⇒ 0xdf⇓ 0xe0◊ 0xe1⟨ 0xe5∑ 0xf1⟩ 0xf2∫"
)
_SYMBOL = {int(pair[:4], 16) + base: pair[4:] for pair in _FONT.split() for base in (0, 0xF000)}
"""By the font's own number, and by the private one that Word gives it."""
SYMBOL_FONT = re.compile(r"""font-family\s*:\s*["']?(standard )?symbol["']?\s*(?:[,;]|$)""", re.IGNORECASE)

_CODE = re.compile(r"\bmjx-c([0-9A-F]{2,5})\b")
_DRAWN = re.compile(r"-([0-9A-F]{2,5})\Z")
_TOKENS = ("mi", "mn", "mo", "mtext", "ms")
_NONE = ("assistive-mml", "copytext", "surd", "line", "nstrut", "dstrut", "tstrut", "spacer", "mphantom", "rule")


def symbol(text: str) -> str:
    """`text` as the font Symbol shows it."""
    return text.translate(_SYMBOL)


def glyphs(container: ElementNode) -> str | None:
    """The MathML of an `mjx-container` made of glyphs; None where any of it cannot be read."""
    drawn = container.query_selector("[data-mml-node='math']")
    try:
        if drawn is not None:
            return _drawn(drawn)
        math = container.query_selector("mjx-math")
        return f"<math>{_set(math)}</math>" if math is not None else None
    except (LookupError, ValueError, RecursionError):
        return None


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _character(code: str) -> str:
    number = int(code, 16)
    if number < 0x20 or 0xD800 <= number <= 0xDFFF:
        raise LookupError(f"no character {code}")
    return chr(number)


# -- HTML with classes -----------------------------------------------------------------------------------------------


def _set(node: ElementNode) -> str:
    """MathML of an element of MathJax's HTML."""
    kind = (node.tag or "").removeprefix("mjx-")
    inside = [child for child in node.children.values() if (child.tag or "").removeprefix("mjx-") not in _NONE]
    if kind in _TOKENS:
        return f"<{kind}>{_escaped(_letters(node))}</{kind}>"
    if kind == "mspace":
        return "<mspace></mspace>"
    if kind in ("munder", "mover", "munderover") and node.query_selector("mjx-base") is not None:
        places = ["base"] + ["under"] * (kind != "mover") + ["over"] * (kind != "munder")
        set_apart = "".join(f"<mrow>{_found(node, 'mjx-' + place)}</mrow>" for place in places)
        return f"<{kind}>{set_apart}</{kind}>"
    parts = [_set(child) for child in inside]
    match kind:
        case "msup" | "msub":
            return f"<{kind}>{parts[0]}{parts[1]}</{kind}>"
        case "msubsup":  # the raised part comes first in its `script`
            above, below = [_set(child) for child in _script(inside[1])]
            return f"<msubsup>{parts[0]}{below}{above}</msubsup>"
        case "mfrac":
            above, below = (_found(node, f"mjx-{part}") for part in ("num", "den"))
            return f"<mfrac><mrow>{above}</mrow><mrow>{below}</mrow></mfrac>"
        case "msqrt":
            return f"<msqrt>{_found(node, 'mjx-box')}</msqrt>"
        case "mroot":
            return f"<mroot><mrow>{_found(node, 'mjx-box')}</mrow><mrow>{_found(node, 'mjx-root')}</mrow></mroot>"
        case "munder" | "mover" | "munderover":
            return _limits(kind, inside, parts)
        case "mtable":
            rows = node.query_selector_all("mjx-mtr, mjx-mlabeledtr").values()
            return f"<mtable>{''.join(_set(row) for row in rows)}</mtable>"
        case "mtr" | "mlabeledtr" | "mtd" | "mrow":
            kind = "mtr" if kind == "mlabeledtr" else kind
            return f"<{kind}>{''.join(parts)}</{kind}>"
        case "c" | "utext" | "stretchy-v" | "stretchy-h":
            return f"<mo>{_escaped(_letters(node))}</mo>"
    return f"<mrow>{''.join(parts)}</mrow>"


def _script(node: ElementNode) -> list[ElementNode]:
    return [child for child in node.children.values() if (child.tag or "").removeprefix("mjx-") not in _NONE][:2]


def _limits(kind: str, inside: list[ElementNode], parts: list[str]) -> str:
    """Limits that are set as scripts, within a line."""
    scripts = [_set(child) for child in _script(inside[1])]
    return f"<{kind}>{parts[0]}{''.join(scripts[::-1])}</{kind}>"


def _found(node: ElementNode, name: str) -> str:
    part = node.query_selector(name)
    if part is None:
        raise LookupError(name)
    return _set(part)


def _letters(node: ElementNode) -> str:
    """The characters of a token, by the classes of its glyphs."""
    own = node if (node.tag or "").startswith(("mjx-c", "mjx-stretchy")) else None
    glyphs_in = (
        [own]
        if own is not None
        else node.query_selector_all("mjx-c, mjx-utext, mjx-stretchy-v, mjx-stretchy-h").values()
    )
    letters = []
    for glyph in glyphs_in:
        if glyph.parent is not None and glyph.parent.tag in ("mjx-beg", "mjx-ext", "mjx-end", "mjx-mid"):
            continue  # a piece of a sign that is named as a whole
        if code := _CODE.search(glyph.getattr("class") or ""):
            letters.append(_character(code[1]))
        elif glyph.tag == "mjx-utext" and glyph.text:
            letters.append(glyph.text)
        else:
            raise LookupError("a glyph without a code point")
    return "".join(letters)


# -- SVG -------------------------------------------------------------------------------------------------------------


def _drawn(node: ElementNode) -> str:
    """MathML of a group of MathJax's SVG, which names the element that it was made of."""
    kind = (node.getattr("data-mml-node") or "").lower()
    if kind in _TOKENS:
        return f"<{kind}>{_escaped(_points(node))}</{kind}>"
    inside = [child for child in _groups(node)]
    if kind in ("msubsup", "munderover") and len(inside) == 3 and _height(inside[1]) > _height(inside[2]):
        inside[1:] = inside[:0:-1]
    parts = "".join(_drawn(child) for child in inside)
    kind = "mrow" if kind in ("texatom", "mstyle", "mpadded") else kind
    return f"<{kind}>{parts}</{kind}>" if kind else parts


def _groups(node: ElementNode) -> list[ElementNode]:
    """The nearest groups within `node` that were an element each."""
    found = []
    for child in node.children.values():
        if child.getattr("data-mml-node"):
            found.append(child)
        elif child.tag == "g":
            found += _groups(child)
    return found


def _height(node: ElementNode) -> float:
    place = re.search(r"translate\([^,]*,\s*(-?[\d.]+)", node.getattr("transform") or "")
    return float(place[1]) if place else 0.0


def _points(node: ElementNode) -> str:
    letters = []
    for part in node.query_selector_all("use, path, text").values():
        link = part.getattr("xlink:href") or part.getattr("href") or ""
        code = part.getattr("data-c") or ((found := _DRAWN.search(link)) and found[1])
        if code:
            letters.append(_character(code))
        elif part.tag == "text":
            letters.append(part.text or "")
        else:
            raise LookupError("a path without a code point")
    return "".join(letters)

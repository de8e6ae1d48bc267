r"""One spelling for what is written in many ways and means the same: what stands before every comparison of answers.

`normalise` peels shells (dollars, \boxed, bold, \left and \right, sizes, "the answer is", "= "), turns Unicode and
plain text into LaTeX (√2, x², pi/2, x**2, 7.5e7, <=) and gives numbers one form (1\,000, 1 1/2, 0.\overline{3}).
It never changes what a text means and is linear in its length. Words stay: what they mean is for
`evaluation.grading.shapes`.
"""

import re
from fractions import Fraction

__all__ = ["matching", "normalise"]

MOST_BOXES = 50
LONGEST = 4_000
"""Characters up to which a text is touched; what is longer is no answer, and refused by
`evaluation.grading.equality`."""

# -- characters ----------------------------------------------------------------------------------------------------

_CHARACTERS = str.maketrans(
    {"½": r"\frac{1}{2}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}"}
    | {"·": r"\cdot ", "∙": r"\cdot ", "⋅": r"\cdot ", "×": r"\times ", "÷": r"\div ", "∞": r"\infty "}
    | {"°": r"^{\circ}", "∓": r"\mp ", "≈": r"\approx "}
    | {"π": r"\pi ", "θ": r"\theta ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "±": r"\pm "}
    | {"∈": r"\in ", "∪": r"\cup ", "∩": r"\cap ", "∅": r"\emptyset ", "∖": r"\setminus ", "ℝ": r"\mathbb{R}"}
    | {"−": "-", "–": "-", "—": "-", "⁄": "/", "∶": ":", "“": '"', "”": '"', "’": "'", "‘": "'", "′": "'"}
    | {"，": ", ", "、": ", ", "；": "; ", "：": ":", "。": ".", "．": ".", "（": "(", "）": ")", "［": "[", "］": "]"}
    | {"｛": "{", "｝": "}", "％": "%", "＝": "=", "＋": "+", "－": "-", "＜": "<", "＞": ">", "／": "/", "＄": r"\$"}
    | {"℃": r"^{\circ}C", "℉": r"^{\circ}F", "⟨": r"\langle ", "⟩": r"\rangle ", "−": "-"}
    | dict.fromkeys("\u200b\u200c\u200d\ufeff\u2060", "")
    | {chr(start + digit): str(digit) for start in (0xFF10, 0x0660, 0x06F0, 0x0966) for digit in range(10)}
)  # fmt: skip
_SUPERSCRIPT = re.compile("[⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹ⁿ]{1,20}")
_LOWERED = str.maketrans("⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹ⁿ", "+-0123456789n")
_SUBSCRIPT = str.maketrans({chr(0x2080 + digit): f"_{digit}" for digit in range(10)})
_ROOT = re.compile(r"√\s*(?:\(([^()]{1,100})\)|(\d+(?:\.\d+)?|[A-Za-z]))")

# -- shells --------------------------------------------------------------------------------------------------------

_NAMED = "A-Za-z"
_DELIMITERS = re.compile(r"(?<!\\)(?:\$|\\[()\[\]])|\*\*(?=\s*$)|^\s*\*\*")
_NOTHING = re.compile(
    r"\\(?:left|right|middle|[bB]igg?[lrm]?|displaystyle|textstyle|scriptstyle|limits|nolimits|mathstrut|strut|phantom|"
    r"large|Large|LARGE|huge|Huge|small|normalsize|bf|rm|it|sf|tt|boldmath|bfseries|therefore|because|,?!)"
    rf"(?![{_NAMED}])|\\!|\\(?:left|right)\.|\\(?:hspace|vspace|kern|label|tag)\*?\{{[^{{}}]*\}}|\\(?:begin|end)\{{"
    r"(?:align|aligned|equation|gather|center|displaymath)\*?\}"
)
_BLANK = re.compile(
    rf"(?<!\\)\\(?:[,;: >]|qquad|quad|(?:enspace|thinspace|nobreakspace)(?![{_NAMED}]))|(?<!\\)\\(?=\s)|(?<!\\)~|\s+"
)
_ONE_NAME = (
    (re.compile(rf"\\[dtc]frac(?![{_NAMED}])"), r"\\frac"),
    (re.compile(rf"\\(?:leq|leqslant|leqq)(?![{_NAMED}])"), r"\\le "),
    (re.compile(rf"\\(?:geq|geqslant|geqq)(?![{_NAMED}])"), r"\\ge "),
    (re.compile(rf"\\(?:neq|not\s*=)(?![{_NAMED}])"), r"\\ne "),
    (re.compile(rf"\\lt(?![{_NAMED}])"), "<"),
    (re.compile(rf"\\gt(?![{_NAMED}])"), ">"),
    (re.compile(rf"\\(?:lbrace|rbrace)(?![{_NAMED}])"), lambda found: r"\{" if found[0][1] == "l" else r"\}"),
    (re.compile(rf"\\(?:langle|lparen)(?![{_NAMED}])"), "("),
    (re.compile(rf"\\(?:rangle|rparen)(?![{_NAMED}])"), ")"),
    (re.compile(rf"\\(?:lbrack)(?![{_NAMED}])"), "["),
    (re.compile(rf"\\(?:rbrack)(?![{_NAMED}])"), "]"),
    (re.compile(rf"\\(?:[lr]?vert|mid)(?![{_NAMED}])"), "|"),
    (re.compile(rf"\\(?:varnothing|O)(?![{_NAMED}])|\\\{{\s*\\\}}"), r"\\emptyset "),
    (re.compile(rf"\\(?:simeq|thickapprox|approxeq|doteq)(?![{_NAMED}])"), r"\\approx "),
    (re.compile(rf"\\(?:colon|ratio)(?![{_NAMED}])"), ":"),
    (re.compile(rf"\\slash(?![{_NAMED}])"), "/"),
    (re.compile(rf"\\degree(?![{_NAMED}])"), r"^{\\circ}"),
    (re.compile(r"\^\s?\{?\s?\\circ\s?\}?"), r"^{\\circ}"),
    (re.compile(rf"\\(?:imath)(?![{_NAMED}])"), "i"),
    (re.compile(rf"\\(?:euro|EUR)(?![{_NAMED}])"), "€"),
    (re.compile(rf"\\(?:pounds|textsterling)(?![{_NAMED}])"), "£"),
)
_STYLED = re.compile(
    r"\\(?:text|textbf|textit|textrm|textsf|texttt|textnormal|textup|mbox|hbox|mathrm|mathbf|mathit|mathsf|mathtt|"
    r"mathnormal|operatorname|bm|boldsymbol|emph|underline|rm|bf|it)\*?\s?\{((?:[^{}]|\{[^{}]*\})*)\}"
)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_RM = re.compile(r"\{\\(?:rm|bf|it)\s+([^{}]*)\}")
_LONG = {
    "m": "metres", "s": "seconds", "g": "grams", "h": "hours", "L": "litres", "l": "litres", "N": "newtons",
    "J": "joules", "W": "watts", "V": "volts", "A": "amperes", "K": "kelvin", "C": "celsius", "F": "fahrenheit",
    "T": "teslas", "H": "henries",
}  # fmt: skip
_UPRIGHT = re.compile(r"\\(?:text|mathrm|mbox|hbox|rm|operatorname)")
_UNIT_BEHIND = re.compile(r"[\d})/]\s*$")
_ANSWER_IS = re.compile(
    r"(?i)^(?:(?:so|thus|hence|therefore),? )?(?:the )?(?:final |correct )?answer(?: is|:| =) *:? *"
)
_LEADING = re.compile(r"^\s*(?:=(?![=>])|\\approx|\\equiv|\\implies|\\Rightarrow|\\to|:|\\iff)\s*")
_TRAILING = re.compile(r"(?:\\\\|\\|[.,;?]|(?<=\S)\s)+$")

# -- plain text as LaTeX -------------------------------------------------------------------------------------------

_FUNCTIONS = re.compile(
    r"(?<![A-Za-z\\{_])(arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|ln|log|exp|pi|sqrt|infinity|inf|theta)"
    r"(?![A-Za-z])"
)
_SPELLED = {"infinity": r"\infty ", "inf": r"\infty ", "sqrt": r"\sqrt"}
_ARGUMENT = re.compile(r"\\sqrt\s*\(")
_STARS = re.compile(r"\*\*")
_SUPER = re.compile(r"\^\s*\(")
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_DEGREES = re.compile(r"(\d+(?:\.\d+)?)\s?\^\{\\circ\}")
_FRAC = re.compile(
    r"\\frac\s*(?:\{((?:[^{}]|\{[^{}]*\})*)\}|(\d|[A-Za-z]|\\[A-Za-z]+))\s*(?:(?=\{)|(\d|[A-Za-z]|\\[A-Za-z]+))"
)
_SQRT = re.compile(r"\\sqrt\s*(?:(\[[^\]]*\]))?\s*(\d|[A-Za-z]|\\pi(?![A-Za-z]))")
_SCIENTIFIC = re.compile(r"(?<![A-Za-z\d.\\_^{])(-?)(\d{1,20}(?:\.\d{0,20})?)[eE]([-+]?\d{1,4})(?![A-Za-z\d.])")
_TIMES_TEN = re.compile(r"(?<=\d)\s?(?:x|X|\*)\s?10\s?\^")

# -- numbers -------------------------------------------------------------------------------------------------------

_BRACED_COMMA = re.compile(r"(?<=\d)(?:\{\s?[,.]\s?\}|,(?:\\!|\{\})\s*|\{\\,\}|\\,)(?=\d{3}(?!\d))")
_THOUSANDS = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:,\d{3})+(?![\d,]*\d)")
_POINTED = re.compile(r"(?<=\d)\.(?=\s?[-+/*)}]|$)")
_GROUPS = re.compile(r"(?<![\d.,^_{A-Za-z])(\d{1,3})((?:\s\d{3})+)(?![\d])(?!\s?\d)")
_MIXED = re.compile(
    r"(?<![\d.,^_/A-Za-z}])(\d{1,9})\s?(?:\\frac\{(\d{1,9})\}\{(\d{1,9})\}|(?<=\s)(\d{1,9})\s?/\s?(\d{1,9}))(?![\d./^])"
)
_REPEATING = re.compile(
    r"(\d{0,12})\.(\d{0,12})(?:\\(?:overline|bar|dot)\s?\{(\d{1,12})\}|\\(?:dot|bar)\s?(\d))(?!\\?\d)"
)


def normalise(text: str) -> str:
    """`text` in the one spelling; the same again for what is normalised already."""
    if len(text) > LONGEST:
        return text.strip()
    if not text.isascii():
        text = _characters(text)
    text = _peeled(text)
    if "\\" in text:
        text = _in_latex(text)
    text = _LEADING.sub("", _ANSWER_IS.sub("", " ".join(text.split())))
    return _numbers(_plain(_shelled(text)))


def _characters(text: str) -> str:
    text = _SUPERSCRIPT.sub(lambda found: f"^{{{found[0].translate(_LOWERED)}}}", text.translate(_SUBSCRIPT))
    text = text.translate(_CHARACTERS).replace("\u00a0", " ").replace("\u202f", " ")
    return _ROOT.sub(r"\\sqrt{\1\2}", text)


def _peeled(text: str) -> str:
    r"""Without dollars and the like. "\\frac", escaped once too often, is "\frac" where no rows are set off by "\\"."""
    if "\\\\" in text and r"\begin" not in text:
        text = re.sub(r"\\\\(?=[A-Za-z{}$%])", r"\\", text)
    text = _BRACED_COMMA.sub(lambda found: "." if "." in found[0] else "", text)
    return _DELIMITERS.sub("", text) if any(mark in text for mark in "$\\*") else text


def _in_latex(text: str) -> str:
    text = _unboxed(text)
    text = _NOTHING.sub("", text)
    for pattern, name in _ONE_NAME:
        text = pattern.sub(name, text)
    for _ in range(3):
        text = _RM.sub(r" \1 ", _STYLED.sub(_unstyled, text))
    text = _BLANK.sub(" ", text)
    return _frac(text)


def _unboxed(text: str) -> str:
    """Without the boxes around parts of it: a reference may be given with its box."""
    for _ in range(MOST_BOXES):
        if not (found := _BOX.search(text)):
            break
        end = matching(text, found.end() - 1)
        inner, rest = (text[found.end() : end], text[end + 1 :]) if end >= 0 else (text[found.end() :], "")
        text = f"{text[: found.start()]}{inner}{rest}"
    return text


def _unstyled(found: re.Match[str]) -> str:
    r"""What stands in \text or in bold: a letter behind a number is a unit there."""
    inner = found[1].replace("~", " ")
    bare = inner.strip()
    if bare in _LONG and _UPRIGHT.match(found[0]) and _UNIT_BEHIND.search(found.string[: found.start()][-20:]):
        return f" {_LONG[bare]}"
    return inner if len(bare) < 2 or not bare[0].isalpha() else f" {inner} "


def _frac(text: str) -> str:
    r"""\frac12 and \sqrt2 with their braces."""
    if r"\frac" in text:
        text = _FRAC.sub(
            lambda m: rf"\frac{{{m[1] if m[1] is not None else m[2]}}}" + (f"{{{m[3]}}}" if m[3] else ""), text
        )
    return _SQRT.sub(r"\\sqrt\1{\2}", text) if r"\sqrt" in text else text


def _shelled(text: str) -> str:
    """Without a closing full stop, and without braces or bold around all of it."""
    while True:
        before = text
        text = _TRAILING.sub("", text).strip()
        if text.startswith("{") and matching(text, 0) == len(text) - 1 and not re.search(r"(?<!\\)[,;]", text):
            text = text[1:-1].strip()
        if text.startswith('"') and text.endswith('"') and len(text) > 1:
            text = text[1:-1].strip()
        if text == before:
            return text


_ASCII = {"<=": r"\le ", "=<": r"\le ", ">=": r"\ge ", "!=": r"\ne ", "=/=": r"\ne "}


def _plain(text: str) -> str:
    if "=" in text:
        text = re.sub(
            r"<=|=<|>=|=/=|(?<![\w)}])!=|(?<=[\w)}])\s*!=(?=\s*-?\w)", lambda found: _ASCII[found[0].strip()], text
        )
    if re.search(r"[A-Za-z]", text):
        text = _FUNCTIONS.sub(lambda found: _SPELLED.get(found[0], rf"\{found[0]} "), text)
        text = _SCIENTIFIC.sub(_power_of_ten, text)
    if "*" in text:
        text = _TIMES_TEN.sub(r" \\cdot 10^", _STARS.sub("^", text)).replace("*", r" \cdot ")
    elif "10" in text:
        text = _TIMES_TEN.sub(r" \\cdot 10^", text)
    text = _braced(_braced(text, _ARGUMENT), _SUPER)
    return _DEGREES.sub(r"(\1 \\cdot \\frac{\\pi}{180})", text) if _TRIGONOMETRIC.search(text) else text


def _power_of_ten(found: re.Match[str]) -> str:
    alone = found.start() == 0 and found.end() == len(found.string)
    value = rf"{found[2]} \cdot 10^{{{int(found[3])}}}"
    return f"{found[1]}{value}" if alone else f"{found[1]}({value})"


def _braced(text: str, opening: re.Pattern[str]) -> str:
    """Braces in place of the parentheses that `opening` ends with."""
    found = opening.search(text)
    while found:
        end = matching(text, found.end() - 1)
        if end < 0:
            return text
        head = text[found.start() : found.end() - 1]
        text = f"{text[: found.start()]}{head}{{{text[found.end() : end]}}}{text[end + 1 :]}"
        found = opening.search(text, found.end())
    return text


def matching(text: str, start: int) -> int:
    """The place of the bracket that closes the one at `start`, of the same kind; -1 if none does."""
    opens = text[start]
    closes = {"(": ")", "[": "]", "{": "}"}[opens]
    depth = 0
    for place in range(start, len(text)):
        if text[place] in (opens, closes) and (opens != "{" or text[place - 1 : place] != "\\"):
            depth += 1 if text[place] == opens else -1
            if depth == 0:
                return place
    return -1


def _numbers(text: str) -> str:
    if not any(character.isdigit() for character in text):
        return text
    text = _thousands(text) if "," in text else text
    text = _GROUPS.sub(lambda found: found[1] + found[2].replace(" ", ""), text)
    text = _POINTED.sub("", _REPEATING.sub(_repeating, text))
    return _MIXED.sub(_mixed, text)


def _thousands(text: str) -> str:
    """1,234 is one number where no bracket holds it; (1,234) is a point."""
    return _THOUSANDS.sub(
        lambda found: found[0] if _is_held(text[: found.start()]) else found[0].replace(",", ""), text
    )


def _is_held(before: str) -> bool:
    return sum(map(before.count, "([{")) > sum(map(before.count, ")]}"))


def _repeating(found: re.Match[str]) -> str:
    whole, start, period = found[1] or "0", found[2], found[3] or found[4]
    value = Fraction(int(whole + start or 0)) + Fraction(int(period), 10 ** len(period) - 1)
    value /= 10 ** len(start)
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def _mixed(found: re.Match[str]) -> str:
    whole, above, below = int(found[1]), int(found[2] or found[4]), int(found[3] or found[5])
    if above >= below:
        return found[0]
    fraction = rf"\frac{{{whole * below + above}}}{{{below}}}"
    return fraction if found.end() == len(found.string) or found.string[found.end()] not in "({\\" else f"({fraction})"

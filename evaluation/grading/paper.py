r"""What the paper's evaluation harness calls right: GAIR-NLP/OctoThinker, `eval/`, at commit 2ee2b49, under Apache-2.0.

The rules are that harness's own, its oddities included, for verdicts hang on them; written anew, but for the lists of
replacements. `find` takes the answer out of a response by the kind of its benchmark; `decided` holds it against the
reference where no algebra is needed, else `evaluation.grading.paper_algebra` in a process that can be killed. Repeated
are:

    words        the last run of digits before the next "Q: ", thousands separators split; 100 times and one hundredth
                 of the reference are right, so is what is within 1e-3 (gsm8k, svamp, asdiv, mawps, amc23)
    math         "final answer is $…$. I hope", else every box, "he answer is", the last number; lists by commas or
                 "and", of which each must match; the same comparison; of MATH's boxes as many as the reference has
    olympiad     what follows "Final Answer:", boxed, by math-verify
    letter       "the final answer is (x" anywhere, the first, a word that begins with a to d too (sat, mathqa); the
                 last bracketed letter (mmlu_stem); in either case
    ocw          only before ". I hope it is correct."; numbers within 1e-5 of each other once some units are taken
                 away, equations that read alike, other expressions by their text
    tabmwp       the shortest option that stands in the response; else "he answer is", box or last number as in math

Timeouts are wrong answers. Not repeated: integrals, sums, limits and derivatives are equal by their text alone
(`evaluation.grading.paper_latex`); math-verify is the version installed here; Python that the harness would run with
`eval` is read as arithmetic, nothing is executed; of a response the first 20,000 characters count, its own limit being
1,024 tokens; the limit of time is the recipe's.
"""

import json
import math
import re
from collections.abc import Sequence
from typing import Literal

from evaluation.grading.equality import Ruling, Verdict

Kind = Literal["words", "math", "math_text", "olympiad", "sat", "letter", "ocw", "tabmwp"]
"""`math_text` is math where the reference is one text and not the list of a solution's boxes (math500)."""
MOST = 20_000
NOTHING = "[invalid]"
CLOSE = 1e-3
PERCENT = (0.01, 1.0, 100.0)


# -- answers in responses ------------------------------------------------------------------------------------------


def find(kind: Kind, question: str, response: str, choices: Sequence[str] | None) -> str:
    """What the harness takes for the answer, as JSON: a text, or for math a list of texts."""
    text = response[:MOST]
    match kind:
        case "words":
            numbers = re.findall(r"-?\d+\.?\d*", text.split("Q: ", 1)[0])
            return json.dumps(numbers[-1] if numbers else NOTHING)
        case "math" | "math_text":
            return json.dumps(_parts(question, text.split("Problem:", 1)[0]))
        case "olympiad":
            said = text.split("Final Answer:")[-1].replace("The final answer is ", "")
            said = said.split("I hope it is correct.")[0].replace("\n", "").strip()
            return json.dumps(f"\\boxed{{{said}}}")
        case "sat":
            found = re.search(r"the final answer is \(?([abcd])\)?", text.split("Problem:", 1)[0].lower())
            return json.dumps(found[1] if found else NOTHING)
        case "letter":
            letters = re.findall(r"\(([abcd])\)", text.split("Problem:", 1)[0].lower())
            return json.dumps(letters[-1] if letters else NOTHING)
        case "ocw":
            found = re.search(r"final answer is (.*)\. I hope it is correct.", text.split("Problem:", 1)[0])
            return json.dumps(found[1] if found else NOTHING)
        case "tabmwp":
            return json.dumps(_option(text, choices) if choices else _answers(text)[-1:] or "")


def reference(kind: Kind, question: str, answer: str, solution: str | None, choices: Sequence[str] | None) -> str:
    """The reference that the harness makes of an item of ours, as JSON."""
    match kind:
        case "math":
            return json.dumps(_parts(question, solution or f"\\boxed{{{answer}}}"))
        case "words":
            return json.dumps(re.sub(r"\(.*?\)", "", answer).replace(",", ""))
        case "sat" | "letter":
            return json.dumps(answer.lower())
        case "tabmwp" if choices:
            return json.dumps(choices[ord(answer) - ord("A")])
    return json.dumps(answer)


def shown(answer: str) -> str | None:
    """What `find` gave, for people; None where it found nothing."""
    found = json.loads(answer)
    text = ", ".join(found) if isinstance(found, list) else found
    return None if text in ("", NOTHING) else text


def _option(text: str, choices: Sequence[str]) -> str:
    """Of the options whose words stand in the response the one with the fewest, of those the last."""
    words, found = [word.lower() for word in text.rstrip(".").split()], NOTHING
    for option in sorted(choices, key=lambda choice: len(choice.split()), reverse=True):
        wanted = option.strip(".").lower()
        size = len(wanted.split())
        if any(" ".join(words[i : i + size]).rstrip(".") == wanted for i in range(len(words) - size + 1)):
            found = wanted
    return found


def _parts(question: str, text: str) -> list[str]:
    """The answers of a response to a competition problem, lists cut into their parts."""
    parts: list[str] = []
    for answer in _answers(text):
        if "separated by commas" in question and not any(bracket in answer for bracket in "()[]"):
            parts += [part.strip() for part in answer.split(",")]
        elif re.search(r"\\text\{\s*and\s*\}", answer):
            parts += [part.strip() for part in re.sub(r"\\text\{\s*and\s*\}", "[SEP]", answer).split("[SEP]")]
        else:
            parts.append(answer.strip())
    return parts


def _answers(text: str) -> list[str]:
    if "final answer is $" in text and "$. I hope" in text:
        found = [text.split("final answer is $", 1)[1].split("$. I hope", 1)[0].strip()]
    elif "boxed" in text:
        found = _boxes(text)
    elif "he answer is" in text:
        found = [text.split("he answer is")[-1].strip()]
    else:
        printed = text.split("```output")[-1].split("```")[0].strip() if "```output" in text else ""
        found = [printed] if printed else re.findall(r"-?\d*\.?\d+", text.replace(",", ""))[-1:]
    return [plain(answer.strip().split("\n")[0].lstrip(":").rstrip(".").rstrip("/")) for answer in found]


def _boxes(text: str) -> list[str]:
    found = []
    for piece in text.split("boxed{")[1:]:
        depth = 0
        for place, character in enumerate(piece):
            depth += (character == "{") - (character == "}")
            if depth < 0:
                found.append(piece[: place + 1] if piece[place + 1 : place + 2] == "%" else piece[:place])
                break
    return found


# -- texts made alike ----------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """The harness's `strip_string`: what tells no two answers apart, and some that does, taken away."""
    text = text.strip().replace("\n", "").rstrip(".").replace("\\!", "")
    if text.startswith("\\text{") and text.endswith("}"):
        text = text.split("{", 1)[1][:-1]
    for mark, by in (("tfrac", "frac"), ("dfrac", "frac"), ("cfrac", "frac"), ("\\left", ""), ("\\right", "")):
        text = text.replace(mark, by)
    unit_gone = re.sub(r"\\text{.*?}$", "", text).strip()
    text = unit_gone or text
    text = text.replace("^{\\circ}", "").strip().replace("^\\circ", "").strip()
    text = re.sub(r"\{(c|m)?m\}(\^(2|3))?", "", text).strip()
    text = re.sub(r"p\.m\.$", "", text).strip()
    text = re.sub(r"(\d)\s*t$", r"\1", text).strip()
    marks = (("\\$", ""), ("$", ""), ("x\\in", ""), ("\\%", "%"), (" .", " 0."), ("{.", "{0."), ("\\cdot", ""))
    for mark, by in (*marks, ("infinity", "\\infty")):
        text = text.replace(mark, by)
    text = text if "\\infty" in text else text.replace("inf", "\\infty")
    text = text.replace("+\\inity", "\\infty").replace("\\mathbf", "").replace("\\mathrm", "")
    text = re.sub(r"\\mbox{.*?}", "", text)
    text = text.replace("j", "i") if "i" not in text else text
    text = re.sub(r"(\d+)\.0+$", r"\1", re.sub(r"(\d+)\.0+([^\d])", r"\1\2", text))
    if not text:
        return text
    text = f"0{text}" if text[0] == "." else text
    for name in ("sqrt", "tan"):
        text = re.sub(rf"\\{name}(-?[0-9.a-zA-Z]+)", rf"\\{name}{{\1}}", text)
        text = re.sub(rf"\\{name}\s+(\w+)$", rf"\\{name}{{\1}}", text)
    return re.sub(r"(\\|,|\.)+$", "", _slash(_fractions(text.replace(" ", ""))))


def _fractions(text: str) -> str:
    r"""\frac12 and \frac1{2} with all their braces."""
    first, *rest = text.split("\\frac")
    for piece in rest:
        if piece[:1] != "{":
            if len(piece) < 2:
                return text
            below = piece[1] if piece[1] == "{" else f"{{{piece[1]}}}"
            piece = f"{{{piece[0]}}}{below}{piece[2:]}"
        first += f"\\frac{piece}"
    return first


def _slash(text: str) -> str:
    r"""a/b of whole numbers or roots as \frac{a}{b}."""
    parts = text.split("/")
    if len(parts) != 2:
        return text
    try:
        shown = [part if "sqrt" in part else str(int(part)) for part in parts]
    except ValueError:
        return text
    return f"\\frac{{{shown[0]}}}{{{shown[1]}}}" if shown == parts else text


_SUBSTITUTIONS = (
    ("an ", ""), ("a ", ""), (".$", "$"), ("\\$", ""), (r"\ ", ""), (" ", ""), ("mbox", "text"),
    (",\\text{and}", ","), ("\\text{and}", ","), ("\\text{m}", "\\text{}"),
)  # fmt: skip
_REMOVED = (
    "square", "ways", "integers", "dollars", "mph", "inches", "ft", "hours", "km", "units", "\\ldots", "sue", "points",
    "feet", "minutes", "digits", "cents", "degrees", "cm", "gm", "pounds", "meters", "meals", "edges", "students",
    "childrentickets", "multiples", "\\text{s}", "\\text{.}", "\\text{\ns}", "\\text{}^2", "\\text{}^3", "\\text{\n}",
    "\\text{}", r"\mathrm{th}", r"^\circ", r"^{\circ}", r"\;", r",\!", "{,}", '"', "\\dots",
)  # fmt: skip
"""Of Lewkowycz et al. 2022 (Minerva), appendix D."""


def tex(text: str) -> str:
    """Minerva's normalisation of an expression."""
    text = text.split("=")[-1]
    for before, after in _SUBSTITUTIONS:
        text = text.replace(before, after)
    for expression in _REMOVED:
        text = text.replace(expression, "")
    text = re.sub(r"(.*?)(\$)(.*?)(\$)(.*)", r"$\3$", text)
    for name in ("text", "textbf", "overline"):
        text = re.sub(rf"(\\{name}\{{)(.*?)(\}})", r"\2", text)
    text = re.sub(r"(\\boxed\{)(.*)(\})", r"\2", text)
    text = re.sub(r"(frac)([^{])(.)", r"frac{\2}{\3}", text)
    text = re.sub(r"(sqrt)([^{])", r"sqrt{\2}", text).replace("$", "")
    return text.replace(",", "") if text.replace(",", "").isdigit() else text


# -- verdicts ------------------------------------------------------------------------------------------------------


def decided(answer: str, wanted: str, kind: Kind) -> Ruling | None:
    """The ruling on `find` and `reference` of one item where no algebra is needed, else None."""
    found, gold = json.loads(answer), json.loads(wanted)
    match kind:
        case "sat" | "letter":
            return ruling(found == gold)
        case "tabmwp" if isinstance(found, str) and found:
            return ruling(found.lower() == gold.lower())
        case "olympiad" | "ocw":
            return ruling(False) if found == NOTHING else None
    pairs = [(one, gold) for one in found] if isinstance(found, list) else [(found, gold)]
    if len(pairs) == 1 and isinstance(gold, str) and (said := by_numbers(*pairs[0])) is not None:
        return ruling(said)
    return None


def ruling(is_right: bool) -> Ruling:
    return (Verdict.CORRECT, "the harness says so") if is_right else (Verdict.INCORRECT, "the harness says so")


def by_numbers(found: str, gold: str) -> bool | None:
    """What two numbers say, or two equal texts; None where algebra must."""
    try:
        if abs(float(found.replace(",", "")) - float(gold.replace(",", ""))) < CLOSE:
            return True
    except ValueError:
        pass
    if found == gold:
        return True
    return near(found, gold)


def near(found: str, gold: str) -> bool | None:
    one, other = _number(found), _number(gold)
    if one is None or other is None:
        return None
    return any(math.isclose(other * factor, one, rel_tol=1e-9, abs_tol=CLOSE) for factor in PERCENT)


def _number(text: str) -> float | None:
    text = text.replace(",", "")
    for shown, factor in ((text, 1.0), (text.removesuffix("%").removesuffix("\\"), 0.01)):
        if factor == 1.0 or text.endswith("%"):
            try:
                return float(shown) * factor if factor == 1.0 else float(shown) / 100
            except ValueError:
                continue
    return None

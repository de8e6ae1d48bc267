r"""Finds the final answer in a response, by a named rule. Each rule is linear in the response.

    boxed    content of the last \boxed{…} that holds something; boxes that only "and", "or" and commas join are one
             list; none if every box is left open
    phrase   what follows the last "answer is" or "answer:" in its sentence: the formula or number that stands there,
             else the last one; formulas or numbers joined by "and", "or" and commas are one list
    hashes   what follows the last ####, up to the end of the line
    number   the last number, fraction or percentage, thousands separators included ("1,234" is one number)
    choice   a letter: boxed, after "answer is", after "option", the last one in brackets that is not denied, or alone
             on the last line; or that of the option whose text is boxed
    option   a letter like `choice`, else that of the option that is named last
    minerva  what stands in "final answer is …. I hope", else as chain
    chain    the default: a "final answer is" behind the last box, boxed, phrase, hashes, then the last formula or
             number, whichever stands later; never a part of a formula. A box that never closes yields none

Every rule but `number` looks only behind the end of a thought (`</think>`), and finds nothing in a thought
that does not end. An empty box and one copied from an instruction (\boxed{}, \boxed{...}) are passed over. What is
around an answer (dollars, a box, bold) is left out.

Loads neither sympy nor math-verify. Leaves out whether the answer is right: `evaluation.grading.answers`.
"""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Literal

from evaluation.grading.spelling import matching, normalise

__all__ = ["Rule", "continues", "extract"]

Rule = Literal["boxed", "phrase", "hashes", "number", "choice", "option", "minerva", "chain"]

TAIL = 20_000
"""Characters at the end of a response in which the rules other than boxed look."""
PHRASES = 8
"""Places at which an answer is announced that are looked at, from the last one on, until one has an answer."""
CLOSE = 2_000
"""Characters at the end in which the last formula or number of a response is looked for, if it announces none."""
MOST_JOINED = 200
JOINED = 120
"""Most characters between two boxes that are one list."""

# -- boxes ---------------------------------------------------------------------------------------------------------

_BRACES = re.compile(r"\\{1,2}(?:boxed|fbox)\s{0,8}\{|\\.|[{}]", re.DOTALL)
_BARE_BOX = re.compile(
    r"\\(?:boxed|fbox)\s{0,8}(-?\d[\d.,/]{0,40}(?<![.,])|[A-Za-z](?![A-Za-z])|\\frac\s?\{[^{}]{1,40}\}\{[^{}]{1,40}\})"
)
_PLACEHOLDER = re.compile(
    r"(?i)(?:\\text\{)?\s*(?:\.{2,}|\\[lc]?dots|…|_+|\?+|x{3,}|#+|"
    r"(?:your |the |final |my )*(?:final )?(?:answer|result|solution)s?(?: here)?|answer\s?\d?|"
    r"insert.{0,20}|\[.{0,20}answer.{0,20}\]|<.{0,20}answer.{0,20}>)\s*\}?"
)
_WORDS_BETWEEN = r"(?:[A-Za-z]+\s+){0,3}"
_JOIN = re.compile(
    rf"(?:\\text\{{|\\(?:mathrm|textrm|mbox)\{{|\s)*"
    rf"(?:(?:{_WORDS_BETWEEN}(?:[(]?[a-z][)]?\s+)?)?(?:,\s*)?(?:and|or)(?![A-Za-z])(?:\s+also)?|[,;&]|)"
    r"[\s}]*(?:[A-Za-z](?:_\{?\w+\}?)?\s*=\s*)?"
)
_MARKS = re.compile(r"\$+|\\[()\[\]]|\\(?:quad|qquad|[,;: !]|\\)|\*\*|\n|\\(?:left|right)[()]?")


def extract(response: str, rule: Rule = "chain", choices: Sequence[str] = ()) -> str | None:
    """The final answer of `response` by `rule`, or None. The rules `choice` and `option` look at `choices`."""
    if rule == "number":
        return _last(_NUMBER, response[-TAIL:])
    said = spoken(response)
    tail = said[-TAIL:]
    match rule:
        case "boxed":
            return _last_boxes(said)
        case "phrase":
            return _after_phrase(tail)
        case "hashes":
            return _last(_HASHES, tail)
        case "choice":
            return _choice(said, tail, choices)
        case "option":
            return _choice(said, tail, choices) or _named_option(tail, choices)
        case "minerva":
            return _hoped(tail) or _chain(said, tail)
        case "chain":
            return _chain(said, tail)


def continues(response: str) -> bool:
    """Whether more than closing marks stands behind the last box of `response`."""
    last = max(response.rfind(r"\boxed"), response.rfind(r"\fbox"))
    opening = response.find("{", last)
    if last < 0:
        return False
    end = matching(response, opening) if opening >= 0 else -1
    return end < 0 or bool(response[end + 1 :].strip(" \n\t.$*)]}\\"))


def spoken(response: str) -> str:
    """What is said behind the thought; nothing where the thought does not end."""
    behind = response.rpartition("</think>")[2]
    return "" if "<think>" in behind else behind


def _chain(said: str, tail: str) -> str | None:
    if r"\boxed" in said or r"\fbox" in said:
        box, end, is_open = _boxes(said)
        if box is not None:
            return _closing_phrase(said[end:]) or box
        if is_open:
            return None
    return _after_phrase(tail) or _last(_HASHES, tail) or _last_complete(tail)


def _last_boxes(said: str) -> str | None:
    return _boxes(said)[0]


def _boxes(said: str) -> tuple[str | None, int, bool]:
    """The last box with those that are joined to it, the place behind it, and whether a box with content is open."""
    found, is_open = _all_boxes(said)
    filled = [box for box in found if box[2] and not _PLACEHOLDER.fullmatch(box[2])]
    if not filled:
        return None, 0, is_open
    joined = [filled[-1]]
    for one in reversed(filled[:-1]):
        if len(joined) == MOST_JOINED or not _are_joined(said[one[1] : joined[0][0]]):
            break
        joined.insert(0, one)
    return ", ".join(dict.fromkeys(content for _, _, content in joined)), filled[-1][1], is_open


def _all_boxes(said: str) -> tuple[list[tuple[int, int, str]], bool]:
    r"""Where each box begins and ends and what it holds. Of a box that holds nothing but another, the inner one. One
    pass with a stack of open braces, so that a hundred thousand open boxes cost no more than their length."""
    stack: list[tuple[int, int, bool]] = []
    closed: list[tuple[int, int, int, int]] = []
    for match in _BRACES.finditer(said):
        if match[0].endswith("{") and match[0] != r"\{":
            stack.append((match.start(), match.end(), match[0] != "{"))
        elif match[0] == "}" and stack:
            start, inside, is_box = stack.pop()
            if is_box:
                held, inner = (inside, match.start()), None
                while closed and closed[-1][0] > start:
                    inner = closed.pop()
                if inner and not said[inside : inner[0]].strip() and not said[inner[1] : match.start()].strip():
                    held = inner[2:]
                closed.append((start, match.end(), *held))
    bare = [(match.start(), match.end(), *match.span(1)) for match in _BARE_BOX.finditer(said)]
    found: list[tuple[int, int, str]] = []
    for start, end, first, last in sorted([*closed, *bare]):
        if not found or start >= found[-1][1]:
            found.append((start, end, said[first:last].strip()))
    behind = found[-1][1] if found else 0
    return found, any(is_box and start >= behind and said[inside:].strip() for start, inside, is_box in stack)


def _are_joined(between: str) -> bool:
    """Whether nothing but "and", "or" and commas stands between two boxes, perhaps with a name: x = … or x = …."""
    if len(between) > JOINED:
        return False
    return bool(_JOIN.fullmatch(_MARKS.sub(" ", between).strip(" ")))


# -- formulas and numbers in prose ---------------------------------------------------------------------------------

_DISPLAY = (
    r"\$\$(?P<display>(?:[^$]|\\\$){1,4000}?)\$\$|\\\[(?P<bracket>.{1,4000}?)\\\]|\\\((?P<round>.{1,2000}?)\\\)|"
    r"\\begin\{(?P<name>align|equation|gather|aligned)\*?\}(?P<environment>.{1,4000}?)\\end\{(?P=name)\*?\}"
)
_INLINE = r"(?<![\\$])\$(?P<inline>(?:[^$\n\\]|\\.){1,1000}?)\$(?![\d$])"
_FORMULA = re.compile(rf"{_DISPLAY}|{_INLINE}", re.DOTALL)
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_NUMBER = re.compile(rf"(?:(?<![\w)])[-−])?(?:{_DIGITS})(?:/\d+(?:\.\d+)?)?(?:\s?\\?%)?")
_ENGLISH = re.compile(
    r"(?<![\\A-Za-z{_])[A-Za-z]{3,}(?![A-Za-z])"
    r"(?<!sin)(?<!cos)(?<!tan)(?<!log)(?<!max)(?<!min)(?<!gcd)(?<!lcm)(?<!mod)(?<!and)"
)
_TEXT = re.compile(r"\\(?:text|mathrm|mbox|textbf|textrm|operatorname|begin|end)\*?\s?\{[^{}]*\}")
_LONE_NAME = re.compile(r"\\?[A-Za-z]+(?:_\{?\w+\}?)?'*(?:\([a-z]\))?")
_PLAIN = re.compile(
    r"(?P<sign>(?i:\b(?:negative|minus)\s+))?(?P<money>\\?\$|€|£)?"
    rf"(?P<number>(?:(?<![\w)])[-−])?(?<![A-Za-z])(?:\d+,\d{{1,2}}(?![\d,])|{_DIGITS})"
    r"(?:\s\d+/\d+|/\d+(?:\.\d+)?|\s?[:]\s?\d+(?:\.\d+)?)*(?:[eE][-+]?\d+(?!\w))?)"
    r"(?P<unit>\s?\\?%|\s?(?i:percent|pct|million|billion|thousand|hundred|trillion|dozen)\b)?"
)
_BETWEEN = re.compile(r"\s*(?:,\s*(?:and|or)?|and|or|;|&|\\text\{\s*(?:and|or)\s*\})\s*")
_SENTENCE_END = re.compile(r"\.(?=\s|$)|[!?](?=\s|$)|\n")
_PHRASE = re.compile(
    r"(?i)\banswers?\b(?:\s+to\s+[^.\n]{1,60}?)?[\s*_]{0,8}(?:is|are|:|=)[\s*_:]{0,8}|"
    r"#{1,6}\s*(?:final\s+)?answer[\s*_:#]{0,12}\n|\*\*\s*(?:the\s+)?(?:final\s+)?answer\s*:?\s*\*\*[\s:]{0,8}"
)
_FINAL = re.compile(r"(?i)\bfinal\s+answer\b[\s*_]{0,8}(?:is|:|=)[\s*_:]{0,8}")
_FILLER = re.compile(
    r"(?i)(?:(?:is|are|therefore|thus|hence|simply|just|exactly|indeed|clearly|approximately|about|around|roughly|"
    r"equal to|given by|equals|then|also|now|the number|option|choice|a total of|\*+|_+|\"|:|=)\s*)+"
)
_DATE = re.compile(r"(?i)(?:jan|feb|mar|apr|may|june?|july?|aug|sep|oct|nov|dec)[a-z]*\.?\s+\d{1,2}\b")
_HASHES = re.compile(r"####:?[^\S\n]*([^\n]+)")
_HEDGE = re.compile(r"(?i)\b(?:or|maybe|perhaps|possibly|alternatively|either)\b")
_ARITHMETIC = re.compile(r"[\s\d.,+*/×÷^()$%=−-]+")
_MINERVA = re.compile(r"(?i)final answer is:?[^\S\n]*([^\n]{1,1000}?)\s*\.?\s*I hope")
Found = tuple[int, int, str]
"""Where a formula or a number begins and ends in a text, and what it says."""


def _formulas(text: str) -> list[Found]:
    """The formulas between delimiters. What has English words in it stands between two of them: $2 each, and $3."""
    found, place = [], 0
    while match := _FORMULA.search(text, place):
        content = next(match[name] for name in ("display", "bracket", "round", "environment", "inline") if match[name])
        bare = _TEXT.sub(" ", content)
        is_prose = match["inline"] is not None and (_ENGLISH.search(bare) or "<<" in content)
        if is_prose or not content.strip():
            place = match.start() + 1
            continue
        found.append((match.start(), match.end(), content.strip()))
        place = match.end()
    return found


def _numbers(text: str, formulas: Sequence[Found]) -> Iterator[Found]:
    """The numbers outside formulas."""
    rest = iter(formulas)
    formula = next(rest, None)
    for match in _PLAIN.finditer(text):
        while formula and formula[1] <= match.start():
            formula = next(rest, None)
        if formula is None or match.end() <= formula[0]:
            sign = "-" if match["sign"] else ""
            yield match.start(), match.end(), sign + match["number"].strip() + (match["unit"] or "")


def _pieces(text: str) -> list[Found]:
    """Formulas and the numbers outside them, in their order."""
    formulas = _formulas(text)
    return sorted([*formulas, *_numbers(text, formulas)])


def _group(text: str, pieces: Sequence[Found], last: int) -> str:
    """The piece at `last` with those before it that only "and", "or" and commas join to it."""
    first = last
    while first and _BETWEEN.fullmatch(text[pieces[first - 1][1] : pieces[first][0]]):
        first -= 1
    return ", ".join(content for _, _, content in pieces[first : last + 1])


def _forward(text: str, pieces: Sequence[Found], first: int) -> int:
    """The place of the last piece that is joined to the one at `first`."""
    last = first
    while last + 1 < len(pieces) and _BETWEEN.fullmatch(text[pieces[last][1] : pieces[last + 1][0]]):
        last += 1
    return last


def _sentence(rest: str) -> str:
    """Up to the end of the sentence, or of the line; what a formula holds ends neither."""
    rest = rest.lstrip()[:4_000]
    formulas = _formulas(rest)
    for match in _SENTENCE_END.finditer(rest):
        if not any(start <= match.start() < end for start, end, _ in formulas):
            return rest[: match.start()]
    return rest


def _after_phrase(tail: str) -> str | None:
    """The answer that the last "answer is" with one behind it announces."""
    for match in _last_phrases(tail):
        if answer := _announced(_sentence(tail[match.end() :])):
            return answer
    return None


def _last_phrases(tail: str) -> list[re.Match[str]]:
    """The last places at which an answer is announced, the last one first."""
    return [*deque(_PHRASE.finditer(tail), maxlen=PHRASES)][::-1]


def _closing_phrase(behind: str) -> str | None:
    """A formula or a number that "final answer is" announces behind the last box."""
    matches = list(_FINAL.finditer(behind[:TAIL]))
    if not matches:
        return None
    sentence = _sentence(behind[matches[-1].end() :])
    return _announced(sentence) if _pieces(sentence) else None


def _announced(sentence: str) -> str | None:
    """What a sentence says after "the answer is"."""
    text = sentence.strip("*_ \t")
    if not text:
        return None
    if box := _last_boxes(text):
        return box
    pieces = _pieces(text)
    if not pieces or _DATE.match(text):
        return text
    filler = _FILLER.match(text)
    start = filler.end() if filler else 0
    if text[start : pieces[0][0]].strip(" *\"'("):
        if _is_expression(text):
            return text
        return _group(text, pieces, len(pieces) - 1) if not _is_lone(pieces[-1]) else _best(text, pieces)
    if _is_expression(text[start:]):
        return text[start:].strip()
    last = _forward(text, pieces, 0)
    if last + 1 < len(pieces) and _HEDGE.search(text[pieces[last][1] :]):
        return ", ".join(content for _, _, content in pieces)
    return _result(text[start:]) or _group(text, pieces, last)


def _is_expression(text: str) -> bool:
    """Whether no sentence is left but one expression without dollars: (1, 2), 3x+1, \\frac{1}{2}, 2:3."""
    return (
        "$" not in text
        and not re.search(r"\\[(\[]", text)
        and not _ENGLISH.search(_TEXT.sub(" ", text))
        and "=" not in text
        and not _PLAIN.fullmatch(text.strip())
        and bool(re.search(r"[-+*/^(\\:x]|[a-z]", text))
        and len(text) < 200
    )


def _result(text: str) -> str | None:
    """Of "20 - 12 = 8 apples" what stands behind the last equals sign."""
    run = _ARITHMETIC.match(text)
    equals = text.rfind("=", 0, run.end()) if run else -1
    behind = _PLAIN.match(text[equals + 1 :].lstrip(" $")) if equals > 0 else None
    return (behind["number"] + (behind["unit"] or "")).strip() if behind else None


def _is_lone(piece: Found) -> bool:
    return bool(_LONE_NAME.fullmatch(piece[2]))


def _best(text: str, pieces: Sequence[Found]) -> str | None:
    """The last piece that is more than a name: in "34 is the largest $n$" the number."""
    said = [i for i, piece in enumerate(pieces) if not _is_lone(piece)]
    return _group(text, pieces, said[-1] if said else len(pieces) - 1)


def _last_complete(tail: str) -> str | None:
    """The last formula or number of a response that announces none."""
    tail = tail[-CLOSE:]
    pieces = _pieces(tail)
    if not pieces:
        return None
    is_number = tail[pieces[-1][0]] not in "$\\" or pieces[-1][2][:1] in "$€£\\"
    joined_by_or = len(pieces) > 1 and re.fullmatch(r",?\s*or\s*", tail[pieces[-2][1] : pieces[-1][0]])
    return pieces[-1][2] if is_number and not joined_by_or else _best(tail, pieces)


def _hoped(tail: str) -> str | None:
    """What stands between "final answer is" and "I hope", without what is around it."""
    found = _last(_MINERVA, tail)
    if not found:
        return None
    if box := _last_boxes(found):
        return box
    text = found.strip("*_ ").strip()
    formulas = _formulas(text)
    if len(formulas) == 1 and formulas[0][:2] == (0, len(text)):
        return formulas[0][2]
    return text.replace('"', "").strip() or None


def _last(pattern: re.Pattern[str], text: str) -> str | None:
    matches = deque(pattern.finditer(text), maxlen=1)
    return (matches[0][1] if pattern.groups else matches[0][0]).strip() if matches else None


# -- letters -------------------------------------------------------------------------------------------------------

_LETTER = re.compile(r"(?:\\(?:text|textbf|mathrm|mathbf)\{)?[\s(*$]*([A-Z])(?![A-Za-z'’])[\s)}.:*$]*")
_SMALL = re.compile(r"(?:\\(?:text|textbf|mathrm|mathbf)\{)?[\s*$]*\(([a-z])\)|^([a-z])\)?[\s.*]*$")
_CALLED = re.compile(
    r"(?i)(?<!not )(?<!n't )\b(?:option|choice|answer)s?(?:\s+is|:)?\s*(?:\\text\{|\*|\(|\$)*\s*([A-Z])(?![A-Za-z'’])|"
    r"\(([A-Z])\)\s+is\s+(?:the\s+)?(?:correct|right|answer)|\b([A-Z])\s+is\s+(?:the\s+)?(?:correct|right|best)"
)
_BRACKETED_LETTER = re.compile(
    r"(?i:(not\s+(?:option\s+)?|n't\s+|cannot be\s+|neither\s+|nor\s+))?(?<![A-Za-z\\])\(([A-Z])\)"
)


def _choice(said: str, tail: str, choices: Sequence[str]) -> str | None:
    box = _last_boxes(said)
    if box and (letter := _letter(box)):
        return letter
    if box and (letter := _by_value(box, choices)):
        return letter
    for match in _last_phrases(tail):
        sentence = _sentence(tail[match.end() :])
        filler = _FILLER.match(sentence)
        if (
            letter := _letter(sentence[filler.end() if filler else 0 :].strip("* "))
            or _called(sentence)
            or _affirmed(sentence)
        ):
            return letter
        if letter := _by_value(_announced(sentence) or "", choices):
            return letter
    if letter := _called(tail) or _affirmed(tail):
        return letter
    lines = tail.strip().splitlines()
    alone = _LETTER.fullmatch(lines[-1]) if lines else None
    return alone[1] if alone else None


def _letter(text: str) -> str | None:
    """The letter that `text` begins with."""
    if match := _LETTER.match(text):
        return match[1]
    match = _SMALL.match(text)
    return (match[1] or match[2]).upper() if match else None


def _called(text: str) -> str | None:
    """The letter that is called the option, the choice or right."""
    matches = [m for m in _CALLED.finditer(text) if next(g for g in m.groups() if g).isupper()]
    return next(group for group in matches[-1].groups() if group) if matches else None


def _affirmed(text: str) -> str | None:
    """The last letter in brackets that is not denied."""
    letters = [match[2] for match in _BRACKETED_LETTER.finditer(text) if not match[1]]
    return letters[-1] if letters else None


def _by_value(answer: str, choices: Sequence[str]) -> str | None:
    """The letter of the one option that reads like `answer`."""
    plain = _folded(answer)
    same = [place for place, choice in enumerate(choices) if plain and _folded(choice) == plain]
    return chr(ord("A") + same[0]) if len(same) == 1 else None


def _folded(text: str) -> str:
    return re.sub(r"\s", "", normalise(text)).casefold()


def _named_option(tail: str, choices: Sequence[str]) -> str | None:
    """The letter of the option that is named last; of two that end at one place, the longer."""
    folded = tail.casefold()
    places = [(folded.rfind(choice.casefold()), choice) for choice in choices]
    ends = [(place + len(choice), len(choice), chr(ord("A") + i)) for i, (place, choice) in enumerate(places)]
    found = [end for end, (place, choice) in zip(ends, places, strict=True) if place >= 0 and choice]
    return max(found)[2] if found else None

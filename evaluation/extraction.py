r"""Finds the final answer in a response, by a named rule. Each rule is linear in the response.

    boxed    content of the last balanced \boxed{…} (the innermost of nested ones); none if every box is left open
    phrase   what follows the last "answer is" or "answer:", up to the end of the sentence or formula
    hashes   what follows the last ####, up to the end of the line
    number   the last number, fraction or percentage, thousands separators included ("1,234" is one number)
    digits   the last run of digits, as the harness of the paper reads it: of "1,234" it takes 234
    choice   a letter: boxed, after "answer is", the last one in brackets, or alone on the last line
    option   a letter like `choice`, else that of the option that is named last
    minerva  what stands in "final answer is …. I hope", else as chain
    chain    the default: boxed, then phrase, hashes, number; a box that never closes yields none

Loads neither sympy nor math-verify. Leaves out whether the answer is right: `evaluation.answers`.
"""

import re
from collections import deque
from collections.abc import Sequence
from typing import Literal

__all__ = ["Rule", "extract"]

Rule = Literal["boxed", "phrase", "hashes", "number", "choice", "option", "minerva", "digits", "chain"]

TAIL = 20_000
"""Characters at the end of a response in which the rules other than boxed look."""

_BRACES = re.compile(r"\\(?:boxed|fbox)\s{0,8}\{|\\.|[{}]", re.DOTALL)
_PHRASE = re.compile(r"(?i)\banswer\b[\s*_]{0,8}(?:is|:|=)[\s*_:]{0,8}")
_SENTENCE = re.compile(r"(?:[^.\n]|\.(?=\S))*")
_FORMULA = re.compile(r"\$\$([^$]+)\$\$|\$([^$\n]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]")
_HASHES = re.compile(r"####[^\S\n]*([^\n]+)")
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_NUMBER = re.compile(rf"(?:(?<![\w)])[-−])?(?:{_DIGITS})(?:/\d+(?:\.\d+)?)?(?:\s?\\?%)?")
_WORD = re.compile(r"(?i)\b(?!and\b|or\b|pi\b|sqrt\b)[a-z]{2,}")
_LETTER = re.compile(r"(?:\\(?:text|textbf|mathrm|mathbf)\{)?[\s(*]*([A-Z])(?![A-Za-z'’])[\s)}.:*]*")
_MINERVA = re.compile(r"(?i)final answer is:?[^\S\n]*\$?([^\n]{1,1000}?)\$?\s*\.?\s*I hope")
_SPLIT_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_BRACKETED_LETTER = re.compile(r"\(([A-Z])\)")


def extract(response: str, rule: Rule = "chain", choices: Sequence[str] = ()) -> str | None:
    """The final answer of `response` by `rule`, or None. Only the rule `option` looks at `choices`."""
    tail = response[-TAIL:]
    match rule:
        case "boxed":
            return _last_box(response)
        case "phrase":
            return _after_phrase(tail)
        case "hashes":
            return _last(_HASHES, tail)
        case "number":
            return _last(_NUMBER, tail)
        case "digits":
            return _last(_SPLIT_NUMBER, tail)
        case "choice":
            return _choice(response, tail)
        case "option":
            return _choice(response, tail) or _named_option(tail, choices)
        case "minerva":
            return _last(_MINERVA, tail) or extract(response)
        case "chain":
            if r"\boxed" in response or r"\fbox" in response:
                return _last_box(response)
            return _after_phrase(tail) or _last(_HASHES, tail) or _last(_NUMBER, tail)


def _last_box(response: str) -> str | None:
    """One pass with a stack of open braces, so that a hundred thousand open boxes cost no more than their length."""
    stack: list[tuple[int, bool]] = []
    last = (-1, -1)
    for match in _BRACES.finditer(response):
        if match[0].endswith("{") and match[0] != r"\{":
            stack.append((match.end(), match[0] != "{"))
        elif match[0] == "}" and stack:
            start, is_box = stack.pop()
            if is_box and start > last[0]:
                last = (start, match.start())
    return response[slice(*last)].strip() if last[0] >= 0 else None


def _after_phrase(tail: str) -> str | None:
    """A formula if one follows, the number of "42 apples", else the rest of the sentence."""
    matches = list(_PHRASE.finditer(tail))
    if not matches:
        return None
    rest = tail[matches[-1].end() :]
    sentence = _SENTENCE.match(rest)
    text = sentence[0].strip("*_ ") if sentence else ""
    if formula := _FORMULA.search(rest[: max(len(text), 1) + 200] if rest.startswith(("$", "\\(", "\\[")) else text):
        return next(group for group in formula.groups() if group).strip()
    if "\\" not in text and _WORD.search(text) and (number := _NUMBER.search(text)):
        return number[0]
    return text or None


def _last(pattern: re.Pattern[str], text: str) -> str | None:
    matches = deque(pattern.finditer(text), maxlen=1)
    return (matches[0][1] if pattern.groups else matches[0][0]).strip() if matches else None


def _choice(response: str, tail: str) -> str | None:
    lines = tail.strip().splitlines()
    for text in (_last_box(response), _after_phrase(tail)):
        if text and (letter := _LETTER.match(text)):
            return letter[1]
    if bracketed := _last(_BRACKETED_LETTER, tail):
        return bracketed
    alone = _LETTER.fullmatch(lines[-1]) if lines else None
    return alone[1] if alone else None


def _named_option(tail: str, choices: Sequence[str]) -> str | None:
    """The letter of the option that is named last; of two that end at one place, the longer."""
    folded = tail.casefold()
    places = [(folded.rfind(choice.casefold()), choice) for choice in choices]
    ends = [(place + len(choice), len(choice), chr(ord("A") + i)) for i, (place, choice) in enumerate(places)]
    found = [end for end, (place, choice) in zip(ends, places, strict=True) if place >= 0 and choice]
    return max(found)[2] if found else None

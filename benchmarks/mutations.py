"""Made pairs of a real reference and an answer: those that must not be called right, and those that must.

    python -m benchmarks.mutations FOLDER [--show N]

FOLDER holds files of known benchmarks (.jsonl); the references of MATH-500, OlympiadBench and OCW are taken, those with
options or of several lines left out. `wrong` changes what an answer says: a number raised, a sign, a part dropped, two
swapped, a second candidate, an identity, the empty set, another case. `right` changes only how it is written. A pair
whose two texts mean the same (0 negated, 1 squared) is no wrong pair and left out. Prints how many wrong ones are
called right and right ones are not, by kind; the exit status is 1 where more are than the bars allow.
"""

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from evaluation.benchmarks import KNOWN
from evaluation.grading.answers import Grader, Verdict
from evaluation.grading.equality import normalise
from evaluation.grading.shapes import Interval, Point, Several, Value, read

SOURCES = ("math500", "olympiad_bench", "ocw")
MOST_WRONG_SHARE = 2 / 13_446
"""Of the wrong pairs but those of another case, how many may be called right."""
Pair = tuple[str, str, str]
"""Kind, reference, answer."""

_NUMBER = re.compile(r"(?<![\w.{_^])\d+(?![\d.]*\})|(?<=\{)\d+(?=\})|\d+")


def references(folder: Path) -> list[str]:
    """The distinct reference answers, in their order."""
    found: dict[str, None] = {}
    for name in SOURCES:
        path = folder / f"{name}.jsonl"
        if path.exists():
            items = (KNOWN[name].adapter(json.loads(line)) for line in path.open(encoding="utf-8") if line.strip())
            found |= dict.fromkeys(item.answer for item in items if item.choices is None and "\n" not in item.answer)
    return list(found)


def wrong(reference: str) -> Iterator[tuple[str, str]]:
    """Answers that are not `reference`, by kind."""
    plain = normalise(reference)
    shape = read(plain)
    is_value = isinstance(shape, Value)
    for place, match in enumerate(list(re.finditer(r"\d+", plain))[:4]):
        for kind, number in (("off by one", int(match[0]) + 1), ("ten times", int(match[0]) * 10)):
            is_part = plain[: match.start()].endswith(".") and kind == "ten times"
            if number != int(match[0]) and len(match[0]) < 15 and not is_part:
                yield f"{kind}, number {min(place, 1)}", plain[: match.start()] + str(number) + plain[match.end() :]
    if is_value and plain != "0":
        yield "negated", plain[1:] if plain.startswith("-") and not re.search(r".[-+]", plain) else f"-({plain})"
        yield "plus one", f"{plain}+1"
        yield "doubled", rf"2 \cdot ({plain})"
        yield "half", rf"\frac{{{plain}}}{{2}}"
    if is_value and plain not in ("0", "1", "-1"):
        yield "inverted", rf"\frac{{1}}{{{plain}}}"
        yield "squared", rf"({plain})^2"
    if isinstance(shape, Point | Several) and len(shape.parts) > 1:
        parts = [part.text for part in shape.parts if isinstance(part, Value)]
        if len(parts) == len(shape.parts) and len(set(parts)) > 1:
            opens, closes = ("(", ")") if isinstance(shape, Point) else ("", "")
            yield "part dropped", f"{opens}{', '.join(parts[1:])}{closes}"
            yield "part added", f"{opens}{', '.join([*parts, '9173'])}{closes}"
            yield "one part", parts[-1]
            if isinstance(shape, Point) and parts != parts[::-1]:
                yield "swapped", f"({', '.join(parts[::-1])})"
    if isinstance(shape, Interval):
        yield "ends", f"{'(' if shape.closed[0] else '['}{shape.low}, {shape.high}{')' if shape.closed[1] else ']'}"
    for kind, pattern in (
        ("or", "{} or 9173"), ("text or", r"{} \text{{ or }} 9173"), ("comma", "{}, 9173"), ("or before", "9173 or {}"),
        ("set", r"\{{{}, 9173\}}"), ("point", "({}, 9173)"), ("equals", "{} = 9173"), ("equals before", "9173 = {}"),
        ("not", r"\text{{not }} {}"), ("no, it is", r"{} \text{{ is wrong, it is }} 9173"), ("semicolon", "{}; 9173"),
    ):  # fmt: skip
        yield f"hedged by {kind}", pattern.format(plain)
    for text in ("1=1", "x=x", r"\emptyset", r"\infty", "0", "x", r"\text{all}", "?", r"\mathbb{R}", "9173", ""):
        if normalise(text) != plain:
            yield "constant", text
    if is_value and len(set(re.findall(r"(?<![\\A-Za-z])[a-df-hj-z](?![A-Za-z])", plain))) > 0 and "\\" not in plain:
        yield "upper case", plain.upper()


def right(reference: str) -> Iterator[tuple[str, str]]:
    """Answers that are `reference`, by kind."""
    yield from (("as it is", reference), ("dollars", f"${reference}$"), ("parentheses", rf"\({reference}\)"))
    yield from (("full stop", f"{reference}."), ("blanks", f" {reference} "), ("box", rf"\boxed{{{reference}}}"))
    yield from (
        ("bold", f"**${reference}$**"),
        ("equals", f"= {reference}"),
        ("display", rf"\displaystyle {reference}"),
    )
    yield "thin space", rf"\,{reference}\,"
    plain = normalise(reference)
    shape = read(plain)
    if r"\frac" in reference:
        yield "dfrac", reference.replace(r"\frac", r"\dfrac")
    if "(" in reference and r"\left" not in reference:
        yield "left and right", reference.replace("(", r"\left(").replace(")", r"\right)")
        yield "big", reference.replace("(", r"\big(").replace(")", r"\big)")
    if isinstance(shape, Value) and not shape.unit:
        yield "name", f"N_0 = {reference}"
        yield "units", rf"{reference}\text{{ units}}"
        yield "sum", f"0 + {plain}" if not re.search(r"(?<!\\)[A-Za-z]{2}", plain) else reference
    if re.fullmatch(r"\d{4,}", plain):
        yield "thousands", f"{int(plain):,}"
        yield "thin thousands", f"{int(plain):,}".replace(",", r"\,")
    if isinstance(shape, Several) and all(isinstance(part, Value) for part in shape.parts):
        texts = [part.text for part in shape.parts if isinstance(part, Value)]
        yield "other order", ", ".join(texts[::-1])
        yield "and", r" \text{ and } ".join(texts)
        yield "set", rf"\{{{', '.join(texts)}\}}"


def pairs(found: list[str]) -> tuple[list[Pair], list[Pair]]:
    """The wrong and the right pairs."""
    bad = [(kind, reference, answer) for reference in found for kind, answer in wrong(reference)]
    good = [(kind, reference, answer) for reference in found for kind, answer in right(reference)]
    return list(dict.fromkeys(bad)), list(dict.fromkeys(good))


def called_right(given: list[Pair], grader: Grader) -> list[bool]:
    grades = grader.grade_all(
        [rf"\boxed{{{answer}}}" for _, _, answer in given], [gold for _, gold, _ in given], "boxed"
    )
    return [grade.verdict is Verdict.CORRECT for grade in grades]


def report(title: str, given: list[Pair], missed: list[bool], show: int) -> None:
    print(f"{title}: {sum(missed):,} of {len(given):,}")
    for kind, number in Counter(pair[0] for pair, miss in zip(given, missed, strict=True) if miss).most_common():
        print(f"    {kind:20} {number:6,} of {sum(pair[0] == kind for pair in given):,}")
    for kind, reference, answer in [pair for pair, miss in zip(given, missed, strict=True) if miss][:show]:
        print(f"        {kind}: {reference!r} and {answer!r}")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--show", type=int, default=0)
    given = parser.parse_args()
    bad, good = pairs(references(given.folder))
    with Grader(workers=2) as grader:
        bad_right, good_right = called_right(bad, grader), called_right(good, grader)
    report("wrong, but called right", bad, bad_right, given.show)
    report("right, but not called so", good, [not one for one in good_right], given.show)
    strict = [one for one, (kind, _, _) in zip(bad_right, bad, strict=True) if kind != "upper case"]
    return int(sum(strict) > MOST_WRONG_SHARE * len(strict))


if __name__ == "__main__":
    raise SystemExit(main())

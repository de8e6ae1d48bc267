"""How well the main text of pages is taken, beside trafilatura and Resiliparse alone: what is kept, lost and left in.

    python -m benchmarks.pages FOLDER [--limit N]

FOLDER is a checkout of one of these (told by what is in it), or a .jsonl file of WebMainBench:

    adbar/trafilatura       tests/evaldata.json: 990 pages, each with passages that are text and others that are not;
                            precision, recall and F over all passages, as its tests/evaluate.py counts them
    mozilla/readability     test/test-pages: 130 pages with the text that Readability takes; precision and recall of
                            words, a mean over pages (the page's title is no error; formulas as shown or as LaTeX,
                            whichever an extractor has more of), `<pre>` blocks that are whole, rows
                            of tables on one line, and order (longest increasing run of words that occur once)
    scrapinghub/article-extraction-benchmark
                            html and ground-truth.json: 181 articles, never looked at; precision, recall and F of their
                            shingles of four words, a mean over pages, as its evaluate.py counts them
    planetmath/*            html/*.html, MathML by LaTeXML, with the LaTeX they are made of: similarity of the formulas
                            as for WebMainBench, blanks aside. `ours by MathML` reads pages without the LaTeX that is
                            in their attributes
    WebMainBench            `html` and `groundtruth_content` in each line: similarity of the formulas, in
                            order: twice what matches / length of both

Each set is also split in two by a hash of the page's name: half 0 is what the rules were made on, half 1 never was.
Pages a second are of one core's CPU time, decoding and parsing included. trafilatura is no dependency: install it
(2.3.1 was used) to have its rows.
"""

import argparse
import bisect
import gzip
import hashlib
import importlib
import json
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

from curation.reading.layout import laid_out
from curation.reading.outline import Outline
from curation.reading.pages import Formulas, Refused, decoded, extract

Extract = Callable[[bytes], str]
WORD = re.compile(r"\w+|[^\w\s]")
CARRIED = re.compile(rb' alttext="[^"]*"|<annotation\b.*?</annotation>', re.DOTALL)
LONGEST_SOURCE = 4000
"""Characters of a page's LaTeX."""
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$|\\\[(.+?)\\\]|\\\((.+?)\\\)", re.DOTALL)


@dataclass(frozen=True)
class Case:
    """A page and what is known of it."""

    name: str
    data: bytes
    wanted: list[str]
    unwanted: list[str]
    text: str = ""
    title: str = ""
    html: str = ""
    latex: str = ""
    """`text` with its formulas as LaTeX."""

    @property
    def half(self) -> int:
        return hashlib.sha1(self.name.encode()).digest()[0] % 2


# -- extractors ------------------------------------------------------------------------------------------------------


def ours(data: bytes) -> str:
    try:
        return extract(decoded(data)).text
    except Refused:
        return ""


def by_mathml(data: bytes) -> str:
    """Without the LaTeX that a page carries beside its MathML."""
    return ours(CARRIED.sub(b"", data))


def resiliparse(data: bytes) -> str:
    tree = HTMLTree.parse(decoded(data))
    return extract_plain_text(tree, preserve_formatting=True, main_content=True, alt_texts=False)


def extractors() -> dict[str, Extract]:
    found: dict[str, Extract] = {"ours": ours, "resiliparse": resiliparse}
    try:
        trafilatura: Any = importlib.import_module("trafilatura")
    except ImportError as error:
        print(f"no rows of trafilatura ({error}): `pip install trafilatura`")
        return found
    given = {"include_comments": False, "include_tables": True, "include_formatting": False}
    return found | {"trafilatura": lambda data: trafilatura.extract(data, **given) or ""}


# -- sets ------------------------------------------------------------------------------------------------------------


def annotated(folder: Path) -> list[Case]:
    """trafilatura's pages."""
    cases = []
    for address, item in sorted(json.loads((folder / "tests/evaldata.json").read_text()).items()):
        places = [folder / "tests" / part / item["file"] for part in ("cache", "eval")]
        path = next(place for place in places if place.is_file())
        cases.append(Case(address, path.read_bytes(), item["with"], item["without"]))
    return cases


def readable(folder: Path) -> list[Case]:
    """Readability's pages."""
    cases = []
    for page in sorted((folder / "test/test-pages").iterdir()):
        html = (page / "expected.html").read_text(encoding="utf-8")
        title = json.loads((page / "expected-metadata.json").read_text()).get("title") or ""
        both = (plain(html), plain(html, formulas=True))
        cases.append(Case(page.name, (page / "source.html").read_bytes(), [], [], both[0], title, html, both[1]))
    return cases


def articles(folder: Path) -> list[Case]:
    """scrapinghub's pages."""
    truth = json.loads((folder / "ground-truth.json").read_text(encoding="utf-8"))
    return [
        Case(name, gzip.decompress((folder / f"html/{name}.html.gz").read_bytes()), [], [], item["articleBody"])
        for name, item in sorted(truth.items())
    ]


def encyclopedia(folder: Path) -> list[Case]:
    """Pages of PlanetMath that have a source, with some formulas but not so many that comparing them takes long."""
    cases = []
    for page in sorted((folder / "html").glob("*.html")):
        source = folder / f"{page.stem}.tex"
        text = source.read_text(encoding="utf-8", errors="replace") if source.is_file() else ""
        text = text.partition(r"\begin{document}")[2]
        if len(FORMULA.findall(text)) >= 3 and len(text) <= LONGEST_SOURCE:
            cases.append(Case(page.stem, page.read_bytes(), [], [], text))
    return cases


def with_formulas(file: Path) -> list[Case]:
    """Pages of WebMainBench whose text holds a formula."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    cases = [Case(r["track_id"], r["html"].encode(), [], [], r["groundtruth_content"]) for r in rows]
    return [case for case in cases if FORMULA.search(case.text)]


def plain(html: str, formulas: bool = False) -> str:
    """All text of a page, its formulas as they are shown or as LaTeX."""
    tree = HTMLTree.parse(html)
    found = Formulas(tree, html.encode().lower())
    if formulas:
        found.mark()
    outline = Outline.of(tree.body.outer_html if tree.body else "")
    return found.restored(laid_out(outline, [True] * len(outline.tags), [0])) if outline.tags else ""


# -- measures --------------------------------------------------------------------------------------------------------


def passages(cases: list[Case], texts: list[str]) -> str:
    hits = misses = wrong = 0
    for case, text in zip(cases, texts, strict=True):
        flat = " ".join(text.split())
        found = sum(" ".join(part.split()) in flat for part in case.wanted)
        hits, misses = hits + found, misses + len(case.wanted) - found
        wrong += sum(" ".join(part.split()) in flat for part in case.unwanted)
    precision, recall = hits / max(hits + wrong, 1), hits / max(hits + misses, 1)
    both = 2 * precision * recall / max(precision + recall, 1e-9)
    return f"precision {precision:.3f}  recall {recall:.3f}  F {both:.3f}  empty {sum(not t.strip() for t in texts)}"


def words(cases: list[Case], texts: list[str]) -> str:
    shares = [
        max(_shares(case, text), _shares(case, text, True), key=sum) for case, text in zip(cases, texts, strict=True)
    ]
    precision, recall = (sum(values) / len(shares) for values in zip(*shares, strict=True))
    order = [_order(case.text, text) for case, text in zip(cases, texts, strict=True)]
    kept = [part for case, text in zip(cases, texts, strict=True) for part in _parts(case, text)]
    pre = [found for kind, found in kept if kind == "pre"]
    rows = [found for kind, found in kept if kind == "row"]
    return (
        f"precision {precision:.3f}  recall {recall:.3f}  <pre> {sum(pre)}/{len(pre)}  rows {sum(rows)}/{len(rows)}  "
        f"order {sum(order) / len(order):.3f}"
    )


def _shares(case: Case, text: str, latex: bool = False) -> tuple[float, float]:
    got, wanted = Counter(WORD.findall(text)), Counter(WORD.findall(case.latex if latex else case.text))
    right = sum((got & (wanted + Counter(WORD.findall(case.title)))).values())
    return right / max(got.total(), 1), (got & wanted).total() / max(wanted.total(), 1)


def _order(wanted: str, text: str) -> float:
    """The longest run of words, each once in both, that stands in the same order, as a share of them."""
    once = Counter(WORD.findall(wanted))
    place = {word: number for number, word in enumerate(WORD.findall(wanted)) if once[word] == 1}
    there = Counter(WORD.findall(text))
    places = [place[word] for word in WORD.findall(text) if there[word] == 1 and word in place]
    ends: list[int] = []
    for number in places:
        at = bisect.bisect_left(ends, number)
        ends[at : at + 1] = [number]
    return len(ends) / max(len(places), 1)


def _parts(case: Case, text: str):
    """Each `<pre>` of the expected text, and each row of several cells of text: whether it is there as it was."""
    document = HTMLTree.parse(case.html).document
    lines = {" ".join(line.split()) for line in text.split("\n")}
    for block in document.query_selector_all("pre").values() if document else []:
        code = (block.text or "").strip("\n").rstrip()
        if "\n" in code:
            yield "pre", code in text
    for row in document.query_selector_all("tr").values() if document else []:
        cells = [" ".join((cell.text or "").split()) for cell in row.children.values()]
        if len(cells) > 1 and all(cells) and sum(map(len, cells)) < 200:
            yield "row", " ".join(cells) in lines or " | ".join(cells) in " ".join(lines)


def shingles(cases: list[Case], texts: list[str]) -> str:
    precisions, recalls = [], []
    for case, text in zip(cases, texts, strict=True):
        wanted, got = _shingles(case.text), _shingles(text)
        right = (wanted & got).total()
        precisions += [right / got.total()] if got else []
        recalls += [right / wanted.total()] if wanted else []
    precision, recall = sum(precisions) / max(len(precisions), 1), sum(recalls) / max(len(recalls), 1)
    both = 2 * precision * recall / max(precision + recall, 1e-9)
    return f"precision {precision:.3f}  recall {recall:.3f}  F {both:.3f}"


def _shingles(text: str, length: int = 4) -> Counter[tuple[str, ...]]:
    found = re.findall(r"\w+", text)
    return Counter(tuple(found[at : at + length]) for at in range(max(len(found) - length + 1, 1)) if found)


def formulas(cases: list[Case], texts: list[str]) -> str:
    scores = []
    for case, text in zip(cases, texts, strict=True):
        wanted, got = (
            "\n".join("".join("".join(found).split()) for found in FORMULA.findall(part)) for part in (case.text, text)
        )
        scores.append(SequenceMatcher(None, wanted, got, autojunk=False).ratio() if wanted or got else 1.0)
    return f"formulas {sum(scores) / max(len(scores), 1):.3f} of {len(scores)} pages"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int)
    given = parser.parse_args()
    if given.folder.is_file():
        cases, measure = with_formulas(given.folder), formulas
    elif (given.folder / "tests/evaldata.json").is_file():
        cases, measure = annotated(given.folder), passages
    elif (given.folder / "test/test-pages").is_dir():
        cases, measure = readable(given.folder), words
    elif (given.folder / "html").is_dir() and next(given.folder.glob("*.tex"), None):
        cases, measure = encyclopedia(given.folder), formulas
    elif (given.folder / "ground-truth.json").is_file():
        cases, measure = articles(given.folder), shingles
    else:
        parser.error(f"{given.folder} is no checkout of a set that is known, and no .jsonl file")
    cases = cases[: given.limit]
    if not cases:
        parser.error(f"{given.folder} holds no page to measure")
    found = extractors() | ({"ours by MathML": by_mathml} if measure is formulas else {})
    for name, take in found.items():
        take(cases[0].data)
        started = time.process_time()
        texts = [take(case.data) for case in cases]
        rate = len(cases) / (time.process_time() - started)
        print(f"{name:12} {measure(cases, texts)}  {rate:.0f} pages/s")
        for half in (0, 1):
            some = [place for place, case in enumerate(cases) if case.half == half]
            if some:
                print(f"  half {half}     {measure([cases[i] for i in some], [texts[i] for i in some])}")


if __name__ == "__main__":
    main()

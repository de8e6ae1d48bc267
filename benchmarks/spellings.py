"""Items of benchmarks in other spellings: how many decontamination finds, and what else it takes for one.

    python -m benchmarks.spellings --items FOLDER [--pages FOLDER] [--sample 300] [--half even|odd|both]

Every item stands in a page of the built-in sample, once in each of VARIANTS: what forums, Markdown, extractors and
language models make of LaTeX. The spellings are made here by regular expressions, by none of the code that is measured.
The second table has the share of documents flagged that hold no item: every `.txt` file below --pages, each item with
its every number changed, and with one changed. `--half even` shows the items to look at while rules are made, `odd`
those kept away from that. Leaves out paraphrase, translation and pictures.
"""

import argparse
import json
import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.planted import SPELLED, Item, read_items
from curation.config import DecontaminateRecipe
from curation.measures.decontaminate import ITEM_COLUMNS, ItemIndex, parts_of
from curation.sample.pages import general_page, math_page

Draw = random.Random
Spelling = Callable[[str, Draw], str]
GOAL, FALSE_GOAL, BATCH = 0.95, 0.0005, 1024
RAISED = dict(zip("0123456789+-=()ni", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ", strict=True))
LOWERED = dict(zip("0123456789+-=()aeoxhklmnpst", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₒₓₕₖₗₘₙₚₛₜ", strict=True))
GREEK_NAMES = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau phi chi psi omega "
    "Gamma Delta Theta Lambda Pi Sigma Phi Psi Omega varphi varepsilon"
)
GREEK = dict(zip(GREEK_NAMES.split(), "αβγδεζηθικλμνξπρστφχψωΓΔΘΛΠΣΦΨΩφε", strict=True))
SIGNS = GREEK | {
    "times": "×", "cdot": "·", "div": "÷", "pm": "±", "mp": "∓", "le": "≤", "leq": "≤", "leqslant": "≤", "ge": "≥",
    "geq": "≥", "geqslant": "≥", "ne": "≠", "neq": "≠", "equiv": "≡", "approx": "≈", "sim": "∼", "cong": "≅",
    "in": "∈", "notin": "∉", "subset": "⊂", "subseteq": "⊆", "cup": "∪", "cap": "∩", "to": "→", "rightarrow": "→",
    "Rightarrow": "⇒", "infty": "∞", "sum": "∑", "prod": "∏", "int": "∫", "partial": "∂", "nabla": "∇",
    "angle": "∠", "triangle": "△", "perp": "⊥", "parallel": "∥", "mid": "∣", "circ": "°", "degree": "°",
    "ldots": "…", "cdots": "⋯", "dots": "…", "prime": "′", "forall": "∀", "exists": "∃", "lfloor": "⌊",
    "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉", "langle": "⟨", "rangle": "⟩", "ell": "ℓ", "quad": " ", "qquad": " ",
    "lvert": "|", "rvert": "|", "vert": "|", "star": "⋆", "hbar": "ℏ", "emptyset": "∅", "neg": "¬", "mapsto": "↦",
}  # fmt: skip
ASCII_SIGNS = {
    "times": "*", "cdot": "*", "div": "/", "le": "<=", "leq": "<=", "ge": ">=", "geq": ">=", "ne": "!=", "neq": "!=",
    "to": "->", "rightarrow": "->", "Rightarrow": "=>", "ldots": "...", "cdots": "...", "dots": "...", "mid": "|",
    "lvert": "|", "rvert": "|", "vert": "|", "quad": " ", "qquad": " ", "leqslant": "<=", "geqslant": ">=",
    "prime": "'", "circ": "°",
}  # fmt: skip
UNSAID = r"\\(?:tag|label|ref|eqref|[hv]?phantom)\*?\s*\{[^}]*\}"
GROUP = r"\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}"
ACCENTS = (
    "text textbf textit textrm mathrm mathbf mathit mathbb mathcal mathsf operatorname overline underline bar vec hat "
    "dot boxed"
)


def bold(words: int, mark: str = "**") -> Spelling:
    """So many words of the item within marks of emphasis."""

    def spell(text: str, draw: Draw) -> str:
        pieces = re.split(r"(\s+)", text)
        places = [place for place, piece in enumerate(pieces) if re.search(r"[^\W_]", piece)]
        for place in draw.sample(places, min(words, len(places))):
            pieces[place] = f"{mark}{pieces[place]}{mark[::-1]}"
        return "".join(pieces)

    return spell


def phrase(text: str, draw: Draw) -> str:
    """Two phrases of two or three words in bold."""
    words = text.split(" ")
    for start in (len(words) // 4, len(words) // 2 + 2):
        if start + 2 < len(words):
            words[start], words[start + 1] = "**" + words[start], words[start + 1] + "**"
    return " ".join(words)


def plain(text: str, signs: dict[str, str], script: Callable[[str, str], str], root: str) -> str:
    """`text` with its LaTeX as people type it: `script(kind, inner)` is what becomes of `^` and `_`."""
    text = re.sub(
        r"\\begin\{(?:array|tabular)\}\s*\{[^{}]*\}|\\begin\{\w+\*?\}|\\end\{\w+\*?\}|\\(?:left|right|[bB]igg?[lr]?|displaystyle)(?![A-Za-z])",
        "",
        text,
    )
    for _ in range(5):
        text = re.sub(rf"\\(?:{'|'.join(ACCENTS.split())})\s*{GROUP}", r"\1", text)
        text = re.sub(rf"\\[dtc]?frac\s*{GROUP}\s*{GROUP}", lambda m: f"{_bracketed(m[1])}/{_bracketed(m[2])}", text)
        text = re.sub(rf"\\[dt]?binom\s*{GROUP}\s*{GROUP}", r"binom(\1, \2)", text)
        text = re.sub(rf"\\sqrt\s*{GROUP}", lambda m: f"{root}{_bracketed(m[1], root == 'sqrt')}", text)
    text = re.sub(r"\\[dtc]?frac\s*(\w)\s*(\w)", r"\1/\2", text)
    text = re.sub(r"\\sqrt\s*(\w)", rf"{root}(\1)" if root == "sqrt" else rf"{root}\1", text)
    text = re.sub(r"\^\s*\{?\\circ\}?", "°", text)
    for _ in range(3):
        text = re.sub(rf"([\^_])\s*(?:{GROUP}|(\\[A-Za-z]+|\d+|\w))", lambda m: script(m[1], m[2] or m[3] or ""), text)
    text = re.sub(r"\\([A-Za-z]+)", lambda m: signs.get(m[1], m[1]), text)
    text = re.sub(r"\\([%$&#_{}])", r"\1", text)
    text = re.sub(r"\\[\\,;:\s()\[\]]", " ", text.replace("\\!", ""))
    return re.sub(r"[${}~]|&(?=\s|=)", "", text)


def _bracketed(inner: str, always: bool = False) -> str:
    return f"({inner})" if always or not re.fullmatch(r"\\?\w+", inner.strip()) else inner


def caret(kind: str, inner: str) -> str:
    return kind + (inner if len(inner) == 1 else f"({inner})")


def starred(kind: str, inner: str) -> str:
    return caret("**" if kind == "^" else kind, inner)


def raised(kind: str, inner: str) -> str:
    """In Unicode's small signs where there are some."""
    small = RAISED if kind == "^" else LOWERED
    return "".join(map(small.get, inner)) if inner and all(one in small for one in inner) else caret(kind, inner)  # type: ignore[arg-type]


def lost(kind: str, inner: str) -> str:
    return inner


def tagged(kind: str, inner: str) -> str:
    name = "sup" if kind == "^" else "sub"
    return f"<{name}>{inner}</{name}>"


def entities(text: str, draw: Draw) -> str:
    """HTML that was never read as such."""
    text = plain(text, SIGNS, tagged, "√")
    for sign, name in (
        ("≤", "le"),
        ("≥", "ge"),
        ("×", "times"),
        ("−", "minus"),
        ("π", "pi"),
        ("½", "frac12"),
        ("√", "radic"),
    ):
        text = text.replace(sign, f"&{name};")
    return text.replace(" ", "&nbsp;", 1)


def other_latex(text: str, draw: Draw) -> str:
    """LaTeX by somebody else: delimiters, brackets, fractions and comparisons in their other spelling."""
    text = re.sub(r"\$([^$]+)\$", r"\\( \1 \\)", text)
    text = re.sub(r"\\[dt]?frac(?![A-Za-z])", lambda m: r"\frac" if m[0] != r"\frac" else r"\dfrac", text)
    text = re.sub(r"\\(le|ge|ne)q?(?![A-Za-z])", r"\\\1q", text)
    text = re.sub(r"\^(\w)", r"^{\1}", text)
    text = re.sub(r"\\(?:left|right)(?![A-Za-z])", "", text)
    return re.sub(r"(?<!\\)\((?=[^()]*\\)", r"\\left(", text)


def unicode_signs(text: str, draw: Draw) -> str:
    text = plain(text, SIGNS, raised, "√").replace("-", "−").replace("*", "×")
    small = {"1/2": "½", "1/4": "¼", "3/4": "¾"}
    return re.sub(r"(?<![\w/)])(?:1/2|1/4|3/4)(?![\w/(])", lambda m: small[m[0]], text)


def slanted(text: str, draw: Draw) -> str:
    """Single letters as the slanted ones of Unicode's mathematical alphabet, which MathJax and Word leave."""

    def letter(found: re.Match[str]) -> str:
        code = ord(found[0])
        return chr(0x1D44E + code - 97 if code >= 97 else 0x1D434 + code - 65) if found[0] != "h" else "ℎ"

    text = plain(text, SIGNS, raised, "√")
    return re.sub(r"(?<![A-Za-z'’])(?![aAI])[A-Za-z](?![A-Za-z'’])", letter, text)


VARIANTS: dict[str, Spelling] = {
    "as it is": lambda text, draw: text,
    "1 **word**": bold(1),
    "2 **words**": bold(2),
    "3 **words**": bold(3),
    "**phrases**": phrase,
    "3 *italic*": bold(3, "*"),
    "3 _italic_": bold(3, "_"),
    "2 __bold__": bold(2, "__"),
    "3 <b>": lambda text, draw: re.sub(r"\*\*(.*?)\*\*", r"<b>\1</b>", bold(3)(text, draw)),
    "plain x^2": lambda text, draw: plain(text, ASCII_SIGNS | GREEK, caret, "sqrt"),
    "plain names": lambda text, draw: plain(text, ASCII_SIGNS, caret, "sqrt"),
    "plain x²": lambda text, draw: plain(text, SIGNS, raised, "√"),
    "x²+2 **words**": lambda text, draw: bold(2)(plain(text, SIGNS, raised, "√"), draw),
    "unicode −×½": unicode_signs,
    "x**2": lambda text, draw: plain(text, ASCII_SIGNS, starred, "sqrt"),
    "scripts lost": lambda text, draw: plain(text, SIGNS, lost, "√"),
    "lost in LaTeX": lambda text, draw: re.sub(rf"[\^_]\s*(?:{GROUP}|(\w))", lambda m: m[1] or m[2] or "", text),
    "<sup>, &le;": entities,
    "other LaTeX": other_latex,
    "𝑥 slanted": slanted,
}  # fmt: skip


def other_numbers(text: str, draw: Draw, most: int) -> str:
    """`text` with `most` of its numbers changed (in figures, or spelled out where there are none), but for those that
    name an equation or hold a place free."""
    found = [one for one in re.finditer(rf"{UNSAID}|\d+(?:,\d{{3}})*(?:\.\d+)?", text) if one[0][0] != "\\"]
    found = found or list(re.finditer(rf"\b{SPELLED.pattern[4:]}\b", text, re.I))
    for one in sorted(draw.sample(found, min(most, len(found))), key=lambda one: -one.start()):
        other = str(draw.randint(3, 9) + 7 * int(re.sub(r"\D", "", one[0]) or 4))
        text = text[: one.start()] + other + text[one.end() :]
    return text


def embedded(text: str, draw: Draw) -> str:
    return f"{general_page(draw)}\n\n{text}\n\n{math_page(draw)}"


def index_of(items: list[Item]) -> ItemIndex:
    questions, solutions = zip(*items, strict=True)
    names = [str(number) for number in range(len(items))]
    table = pa.table([["items"] * len(items), names, questions, solutions], names=ITEM_COLUMNS.names)
    return ItemIndex(parts_of(table), DecontaminateRecipe())


def held(index: ItemIndex, texts: list[str]) -> list[list[int]]:
    """The numbers of the items that each text holds."""
    found: list[list[int]] = []
    for start in range(0, len(texts), BATCH):
        matches = index.find(pa.array(texts[start : start + BATCH], pa.large_string()))
        found += [[int(one.item_id) for one in row] for row in matches.held]
    return found


def recall(
    index: ItemIndex, items: list[Item], numbers: list[int], spell: Spelling, misses: list[dict] | None
) -> float:
    draw = Draw(1)
    texts = [embedded(spell(items[number].question, draw), draw) for number in numbers]
    hits = [number in row for number, row in zip(numbers, held(index, texts), strict=True)]
    if misses is not None:
        misses += [
            {"item": items[n].question, "text": t} for n, t, hit in zip(numbers, texts, hits, strict=True) if not hit
        ]
    return float(np.mean(hits))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=Path, required=True)
    parser.add_argument("--pages", type=Path)
    parser.add_argument("--sample", type=int, default=300, help="items of each benchmark; 0 for all")
    parser.add_argument("--half", choices=["even", "odd", "both"], default="both")
    parser.add_argument("--variant", help="only those whose name holds this")
    parser.add_argument("--misses", type=Path, help="write what was not found here, as JSON lines")
    arguments = parser.parse_args()
    items, own = [], {}
    for path in sorted(arguments.items.glob("*.jsonl")):
        read = read_items(path)
        own[path.stem] = range(len(items), len(items) + len(read))
        items += read
    index = index_of(items)
    half = {"even": (0,), "odd": (1,), "both": (0, 1)}[arguments.half]
    chosen = {name: [n for n in numbers if n % 2 in half] for name, numbers in own.items()}
    if arguments.sample:
        chosen = {name: Draw(2).sample(all_, min(arguments.sample, len(all_))) for name, all_ in chosen.items()}
    names = [name[:9] for name in chosen]
    print(f"{'variant':16}" + "".join(f"{name:>10}" for name in names))
    misses: list[dict[str, str]] = []
    for variant, spell in VARIANTS.items():
        if arguments.variant and arguments.variant not in variant:
            continue
        line = []
        for name, numbers in chosen.items():
            seen: list[dict[str, str]] = []
            line.append(recall(index, items, numbers, spell, seen))
            misses += [{"variant": variant, "benchmark": name} | one for one in seen]
        print(f"{variant:16}" + "".join(f"{value:9.3f}{'*' if value < GOAL else ' '}" for value in line), flush=True)
    if arguments.misses:
        arguments.misses.write_text("\n".join(map(json.dumps, misses)))
    for what, most in (("every number changed", 1000), ("one number changed", 1)):
        draw, flagged, asked = Draw(3), 0, 0
        for numbers in chosen.values():
            numbered = [n for n in numbers if re.search(r"\d", re.sub(UNSAID, "", items[n].question))]
            texts = [embedded(other_numbers(items[n].question, draw, most), draw) for n in numbered]
            wrong = [n in row for n, row in zip(numbered, held(index, texts), strict=True)]
            flagged += sum(wrong)
            for n, text, taken in zip(numbered, texts, wrong, strict=True):
                if taken and arguments.misses:
                    print("   ", repr(items[n].question[:1500]), "TAKEN FOR", repr(text[400:2500]))
            asked += len(numbered)
        print(f"{what}: {flagged} of {asked} taken for the item ({flagged / max(asked, 1):.3%})")
    if arguments.pages:
        texts = [path.read_text() for path in sorted(arguments.pages.rglob("*.txt"))]
        start = time.process_time()
        rows = held(index, texts)
        taken = time.process_time() - start
        size = sum(len(text.encode()) for text in texts) / 1e6
        print(
            f"{sum(map(bool, rows))} of {len(texts):,} pages flagged; {len(texts) / taken:,.0f} pages/s, "
            f"{size / taken:.0f} MB/s"
        )
        for text, row in zip(texts, rows, strict=True):
            for number in row[:3]:
                print("   ", repr(items[number].question[:160]), "IN", repr(text[:60]))


if __name__ == "__main__":
    main()

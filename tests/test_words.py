"""docs/glossary.md holds the words: what its table lists under *not* occurs in no page of the docs, and in no name,
docstring, comment or message of the code.

Leaves out docs/log.md and CHANGELOG.md, which are diaries, and whether a sentence is good.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name != "log.md")]

PACKAGES = ("octo", "manifests", "mixtures", "curation", "evaluation", "rl", "training")
"""Whose names are checked."""
KEPT = ("`doubts`", "`twins`", "`--reselect`")
"""Names that cannot change: families are in the ID of every corpus, and the option is in scripts."""
KEPT_NAMES = ("DOUBTS", "TWINS", "reselect")


UNREAD = ("curation/reading/", "curation/measures/decontaminate", "curation/measures/spellings", "evaluation/grading/")
"""Modules whose sentences are still to be read for the words of the glossary."""
KEPT_WORDS = ("`doubts`", "`twins`", "DOUBTS", "TWINS", "twins", "(doubts)", "--reselect")
MESSAGES = {"UserError", "BadParameter", "ValueError", "RuntimeError", "warn", "print", "Argument", "Option"}
"""Calls whose strings are shown to people."""
IS_NO = re.compile(r"\b(?<!there )(?<!There )(?:is|are|was|were) no (?!longer|more\b|matter)")
"""\"X is no tokenizer\": in plain English \"X is not a tokenizer\"."""


def unwanted() -> list[str]:
    """The words of the last column of the glossary's table."""
    rows = re.findall(r"^\|.*\|([^|]*)\|$", (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)
    words = [word.strip() for row in rows[2:] for word in row.split(",")]
    return [word for word in words if word and not (word.endswith("s") and word[:-1] in words)]


def found(text: str) -> list[str]:
    """Unwanted words in `text`, in the singular or plural. Capitals alone (DOUBLE) are no words but types."""
    return [word for word in unwanted() if re.search(rf"\b(?:{word}|{word.capitalize()})s?\b", text)]


def names(tree: ast.AST) -> Iterator[str]:
    """The names that a module gives: functions, classes, arguments, variables and attributes, not those it uses."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name


def spelled(name: str) -> str:
    """The words of an identifier: `near_copyCount` is `near copy count`."""
    return " ".join(re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)).lower()


def test_the_table_is_read_and_its_words_are_found() -> None:
    assert {"twin", "doubt", "grow", "standing"} <= set(unwanted())
    assert "not" not in unwanted()
    assert found("Doubts about twins: it went on") == ["twin", "doubt", "went on"]
    assert not found("growth of an understanding, undoubted, DOUBLE")
    assert found(spelled("_nearCopy")) == ["near copy"]
    assert found(spelled("TWINS_BY_ID")) == ["twin"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_keeps_to_the_glossary(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if page.name == "glossary.md":
        text = re.sub(r"[^|]*\|$", "", text, flags=re.MULTILINE)
    for kept in KEPT:
        text = text.replace(kept, "")
    assert not found(" ".join(text.split()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_is_at_most_100_columns_wide(page: Path) -> None:
    prose = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    lines = [line for line in prose.splitlines() if not re.match(r" *(\||!\[|#)", line)]
    assert not [line for line in lines if len(line) > 100]


@pytest.mark.parametrize("package", PACKAGES)
def test_names_of_the_code_keep_to_the_glossary(package: str) -> None:
    given = {}
    for module in sorted((ROOT / package).rglob("*.py")):
        tree = ast.parse(module.read_text(encoding="utf-8"))
        for name in {module.stem, *names(tree)} - {*KEPT_NAMES}:
            if words := found(spelled(name)):
                given[f"{module.relative_to(ROOT)}: {name}"] = words
    assert not given


def sentences(module: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of every docstring, comment and message of a module."""
    source = module.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, text
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in MESSAGES:
                parts = [part for part in ast.walk(node) if isinstance(part, ast.Constant)]
                yield from ((part.lineno, part.value) for part in parts if isinstance(part.value, str))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def stumbles(text: str) -> list[str]:
    """Unwanted words, and "is no" in place of "is not a", in one text."""
    plain = " ".join(re.sub("|".join(map(re.escape, KEPT_WORDS)), "", text).split())
    return found(plain) + IS_NO.findall(plain)


@pytest.mark.parametrize("package", PACKAGES)
def test_sentences_in_the_code_keep_to_the_glossary(package: str) -> None:
    wrong = {}
    for module in sorted((ROOT / package).rglob("*.py")):
        if not (name := str(module.relative_to(ROOT))).startswith(UNREAD):
            wrong |= {f"{name}:{line}": words for line, text in sentences(module) if (words := stumbles(text))}
    assert not wrong


def test_a_stumble_is_seen() -> None:
    assert stumbles("x.json is no tokenizer")
    assert stumbles("It goes on,\n    whatever hangs on it") == ["goes on", "hangs on"]
    assert not stumbles("There is no such file; it is no longer there, and the table `doubts` is not a tokenizer")

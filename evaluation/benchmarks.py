"""Known benchmarks and suites, and the freezing of files into a manifest of kind `benchmark`.

`freeze_benchmark` reads a file (any format of `evaluation.formats` that has rows) row by row through the adapter of its
shape and commits the items. Without a path it reads the files of a known benchmark from the hub, at a commit that must
be given if none was checked. Item IDs are those of the benchmark if it has them, else a digest of question and answer;
both depend only on content. A row that lacks a question or an answer is refused with its line number, or goes to the
family `quarantine` if the recipe says so. Leaves out: what a row holds (`evaluation.items`), prompts and rules
(`evaluation.tasks`).
"""

import hashlib
import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from evaluation import items
from evaluation.config import BenchmarkRecipe
from evaluation.formats import BY_NAME, SIDECARS, Kind, bare, filesystem, told, unpacked
from evaluation.items import Item, Row
from evaluation.rows import BROKEN, Ask, Fault, Placed
from manifests.errors import UserError
from manifests.manifest import Draft, Manifest, build_key, load_all
from manifests.recipe import semantic
from manifests.store import Store
from manifests.tables import ITEMS, QUARANTINE

__all__ = ["KNOWN", "SUITES", "BenchmarkRecipe", "Known", "freeze_benchmark", "freeze_folder", "listing", "suite"]

COMMIT = re.compile("[0-9a-f]{40}")
ZIP = ".zip"
"""Of an archive with a single file of items."""


@dataclass(frozen=True)
class Known:
    """A known benchmark: its location on the hub, its licence, the split that is scored, and how a row is read.

    `files` lie in the data set `hub_id`; `items` is the number published, for what is scored here; `columns` are those
    that the adapter needs in the hub's shape. `revision` is a commit that was checked, or None: then it must be given.
    `mark` says how the shape on the hub is known: P read in the data set or its card, M from memory.
    """

    hub_id: str
    files: tuple[str, ...]
    license: str
    split: str
    items: int
    adapter: Callable[[Row], Item]
    revision: str | None = None
    mark: str = "M"


_MATH_SUBJECTS = (
    "algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory", "prealgebra",
    "precalculus",
)  # fmt: skip
_MMLU_FILES = ("data/test-00000-of-00001.parquet",)

KNOWN: dict[str, Known] = {
    "gsm8k": Known("openai/gsm8k", ("main/test-00000-of-00001.parquet",), "MIT", "test", 1319, items.gsm8k),
    "math": Known(
        "EleutherAI/hendrycks_math",
        tuple(f"{subject}/test-00000-of-00001.parquet" for subject in _MATH_SUBJECTS),
        "MIT", "test", 5000, items.competition,
    ),
    "math500": Known("HuggingFaceH4/MATH-500", ("test.jsonl",), "MIT", "test", 500, items.competition),
    "olympiad_bench": Known(
        "Hothan/OlympiadBench",
        ("OlympiadBench/OE_TO_maths_en_COMP/OE_TO_maths_en_COMP.parquet",),
        "Apache-2.0", "test", 675, items.olympiad,
    ),
    "amc23": Known("math-ai/amc23", ("test-00000-of-00001.parquet",), "unstated", "test", 40, items.competition),
    "sat": Known("mcaleste/sat_multiple_choice_math_may_23", ("sat_math.jsonl",), "unstated", "test", 32, items.sat),
    "mathqa": Known("allenai/math_qa", ("test.jsonl",), "Apache-2.0", "test", 1000, items.mathqa),
    "mmlu_stem": Known("TIGER-Lab/MMLU-STEM", _MMLU_FILES, "MIT", "test", 3018, items.mmlu),
    "ocw": Known("zhangirazerbayev/ocwcourses", ("test.jsonl",), "CC-BY-NC-SA-4.0", "test", 272, items.competition),
    "asdiv": Known(
        "EleutherAI/asdiv", ("asdiv/validation-00000-of-00001.parquet",),
        "CC-BY-NC-4.0", "validation", 2215, items.asdiv,
    ),
    "mawps": Known("mwpt5/MAWPS", ("data/test-00000-of-00001.parquet",), "MIT", "test", 2065, items.mawps),
    "svamp": Known("ChilleD/SVAMP", ("train.json", "test.json"), "MIT", "test", 1000, items.svamp),
    "tabmwp": Known("Arietem/tabmwp", ("tabmwp.jsonl",), "CC-BY-NC-SA-4.0", "test", 1000, items.tabmwp, mark="P"),
    "gpqa_diamond": Known("Idavidrein/gpqa", ("gpqa_diamond.csv",), "CC-BY-4.0", "test", 198, items.gpqa),
    "aime24": Known(
        "HuggingFaceH4/aime_2024", ("data/train-00000-of-00001.parquet",), "unstated", "train", 30, items.competition
    ),
    "aime25": Known("math-ai/aime25", ("test.jsonl",), "unstated", "test", 30, items.competition),
}  # fmt: skip
"""The benchmarks whose files can be frozen by name. No commit of the hub could be checked yet: each must be given."""

SUITES: dict[str, tuple[str, ...]] = {
    "octothinker": (
        "gsm8k", "math", "math500", "olympiad_bench", "amc23", "sat", "mathqa", "mmlu_stem", "ocw", "asdiv", "mawps",
        "svamp", "tabmwp", "gpqa_diamond",
    ),
    "indicators": ("math500", "gsm8k", "olympiad_bench", "amc23"),
    "aime": ("aime24", "aime25"),
}  # fmt: skip
"""Suites by name: the paper's fourteen tasks, the four that it follows during RL, and AIME."""


def listing(store: Store) -> list[dict[str, Any]]:
    """One row per known benchmark: where it comes from, its licence, its suites, the manifests that hold it here."""
    held = benchmarks_in(store)
    return [
        {
            "name": name,
            "hub": known.hub_id,
            "revision": known.revision,
            "license": known.license,
            "split": known.split,
            "items": known.items,
            "mark": known.mark,
            "suites": ", ".join(suite for suite, members in SUITES.items() if name in members),
            "here": ", ".join(manifest.ref for manifest in held.get(name, [])),
        }
        for name, known in KNOWN.items()
    ]


def benchmarks_in(store: Store) -> dict[str, list[Manifest]]:
    """The benchmark manifests of the store by name."""
    found: dict[str, list[Manifest]] = {}
    for manifest in load_all(store)[0]:
        if manifest.kind == "benchmark":
            found.setdefault(manifest.name, []).append(manifest)
    return found


def suite(store: Store, name: str) -> tuple[list[Manifest], list[str]]:
    """The benchmarks of a suite (or the one called `name`) that the store holds, and the names that it lacks.

    Raises UserError for an unknown name, for one that the store holds under several versions, and for none at all.
    """
    held = benchmarks_in(store)
    members = SUITES.get(name) or ((name,) if name in KNOWN or name in held else ())
    if not members:
        raise UserError(f"no suite or benchmark {name!r}", f"Use one of {', '.join([*SUITES, *KNOWN])}")
    missing = [member for member in members if member not in held]
    chosen = [_only(held[member]) for member in members if member in held]
    if not chosen:
        raise UserError(
            f"{store.url} holds no benchmark of {name}",
            f"Freeze files with `octo benchmarks --from FOLDER`, or `octo benchmarks {members[0]} --revision COMMIT`",
        )
    return chosen, missing


def _only(manifests: list[Manifest]) -> Manifest:
    if len({manifest.id for manifest in manifests}) > 1:
        refs = ", ".join(manifest.ref for manifest in manifests)
        raise UserError(f"{manifests[0].name} exists as {refs}", "Choose one with --benchmark NAME@VERSION")
    return manifests[0]


# -- freezing ------------------------------------------------------------------------------------------------------


def freeze_benchmark(store: Store, recipe: BenchmarkRecipe) -> Manifest:
    """The manifest of the items in `recipe.path`, or of a known benchmark on the hub; the same rows give the same ID.

    Raises UserError for a file that cannot be read, an unknown adapter, no path and no commit of the hub, rows without
    question or answer (with their line numbers, unless the recipe quarantines them), two items of one ID, and no items.
    """
    adapter = _adapter(recipe)
    files = {path: _read_bytes(path) for path in _paths(recipe)}
    known = KNOWN.get(recipe.adapter or recipe.name)
    split = recipe.split or (known.split if known else "test")
    found, bad = _read_rows(files, adapter)
    _refuse_bad(recipe, found, bad)
    draft = Draft(store, "benchmark", semantic(recipe))
    draft.write("items", [_items_table(recipe.name, split, found)], ITEMS.schema)
    draft.write("quarantine", [_quarantine_table(recipe.name, bad)], QUARANTINE.schema)
    contents = [(recipe.name, hashlib.sha256(data).hexdigest()) for data in files.values()]
    key = build_key("benchmark", semantic(recipe), [], contents)
    settings = recipe.model_dump(mode="json")
    return draft.commit(recipe.name, recipe.version, {"items": len(found), "quarantined": len(bad)}, key, settings)


def freeze_folder(store: Store, folder: str, names: Sequence[str] = (), version: str = "1") -> list[Manifest]:
    """The manifests of the files in `folder` that are called like a known benchmark (of these, those in `names`)."""
    wanted = names or list(KNOWN)
    paths = {bare(Path(path).name).split(".")[0]: path for path in folder_files(folder)[0] if "/" not in path}
    paths = {name: str(Path(folder) / path) for name, path in paths.items()}
    chosen = {name: paths[name] for name in wanted if name in paths}
    lacking = [name for name in names if name not in paths]
    if lacking or not chosen:
        what = f"{', '.join(lacking)} in {folder}" if lacking else f"known benchmark in {folder}"
        raise UserError(f"no file of {what}", "Files are called by the name of a benchmark: gsm8k.jsonl")
    return [
        freeze_benchmark(store, BenchmarkRecipe(name=name, version=version, path=path)) for name, path in chosen.items()
    ]


def folder_files(folder: str) -> tuple[list[str], list[str]]:
    """Files of items at any depth of `folder`, relative to it, and the other files; hidden files and metadata are in
    neither."""
    fs, root = filesystem(folder)
    names = [name.removeprefix(root.rstrip("/") + "/") for name in sorted(fs.find(root))]
    shown = [name for name in names if not SIDECARS.search(name)]
    readable = [name for name in shown if (kind := told(name)) and kind.read]
    return readable, [name for name in shown if name not in set(readable)]


def _adapter(recipe: BenchmarkRecipe) -> Callable[[Row], Item]:
    name = recipe.adapter or (recipe.name if recipe.name in KNOWN else "plain")
    if name == "plain":
        return items.plain
    if name not in KNOWN:
        raise UserError(f"no benchmark adapter {name!r}", f"Use one of plain, {', '.join(KNOWN)}")
    return KNOWN[name].adapter


def _paths(recipe: BenchmarkRecipe) -> list[str]:
    """The file of the recipe, else those of the known benchmark at a commit."""
    if recipe.path is not None:
        return [recipe.path]
    known = KNOWN.get(recipe.adapter or recipe.name)
    if known is None:
        raise UserError(f"benchmark {recipe.name} has no path", "Give the path of its file")
    revision = recipe.revision or known.revision
    if revision is None or not COMMIT.fullmatch(revision):
        said = (
            f"{revision!r} is not a commit of {known.hub_id}" if revision else f"no commit of {known.hub_id} is pinned"
        )
        raise UserError(
            f"benchmark {recipe.name}: {said}",
            f"Give revision=<commit>, 40 digits, as listed on huggingface.co/datasets/{known.hub_id}/commits/main",
        )
    return [f"hf://datasets/{known.hub_id}@{revision}/{file}" for file in known.files]


def _read_bytes(path: str) -> bytes:
    """The file without its compression."""
    hint = "Give the path of a file of items: JSON Lines, JSON, Parquet, Arrow or CSV"
    try:
        fs, name = filesystem(path)
        if fs.exists(name) and not fs.isfile(name):  # opening a pipe would wait for ever
            raise UserError(f"benchmark file {path} is not a regular file", hint)
        with fs.open(name, "rb") as file:
            data = io.BytesIO(file.read())
        if name.lower().endswith(ZIP):
            with zipfile.ZipFile(data) as archive:
                return archive.read(archive.namelist()[0])
        return unpacked(data, name, _kind(path)).read()
    except UserError:
        raise
    except Exception as error:  # each file system raises exceptions of its own
        raise UserError(f"cannot read benchmark file {path}: {' '.join(str(error).split())}", hint) from error


def _kind(path: str) -> Kind:
    """The format according to the name; JSON Lines if the name does not show one."""
    kind = told(path.lower().removesuffix(ZIP))
    return kind if kind and kind.read else BY_NAME["jsonl"]


def _records(path: str, data: bytes) -> Iterator[Placed]:
    """Position and content of each record."""
    kind = _kind(path)
    if kind.name == "json" and (found := _json_rows(data)):
        yield from enumerate(found)
        return
    assert kind.read, "pages hold no items"
    for position, row in kind.read(io.BytesIO(data), Ask()):
        yield position, _as_text(row) if isinstance(row, dict) else row


def _as_text(value: Any) -> Any:
    """A row of a table with every bytes in it as text; UnicodeDecodeError for what is none."""
    match value:
        case bytes():
            return value.decode()
        case list():
            return [_as_text(item) for item in value]
        case dict():
            return {name: _as_text(item) for name, item in value.items()}
    return value


def _json_rows(data: bytes) -> list[Row] | None:
    """The rows of one JSON value: a list of them, or an object that holds them by ID; None for anything else."""
    try:
        found = json.loads(data)
    except ValueError:
        return None
    if isinstance(found, dict) and found and all(isinstance(row, dict) for row in found.values()):
        return [row | {"id": key} for key, row in found.items()]
    return found if isinstance(found, list) else None


@dataclass(frozen=True)
class _Bad:
    """A row that is not an item: its file and line (or row), from 0, and why."""

    file: str
    line: int
    reason: str
    detail: str


def _read_rows(files: dict[str, bytes], adapter: Callable[[Row], Item]) -> tuple[list[tuple[str, Item]], list[_Bad]]:
    """Items with their IDs, in the order of the files, and the rows that are none. The last line may lack its end."""
    found: list[tuple[str, Item]] = []
    bad: list[_Bad] = []
    seen: Counter[str] = Counter()
    for path, data in files.items():
        file = PurePosixPath(path.replace("\\", "/")).name
        for line, record in _readable(path, data):
            if isinstance(record, Fault):
                bad.append(_Bad(file, line, record.reason, record.detail))
                continue
            try:
                item = adapter(_row(record) if isinstance(record, bytes) else record)
            except (ValueError, TypeError, RecursionError) as error:  # TypeError: a list was expected, or text
                bad.append(_Bad(file, line, _reason(error), " ".join(str(error).split())[:200]))
                continue
            identity = item.id or _digest(item)
            seen[identity] += 1
            if item.id and seen[identity] > 1:
                bad.append(_Bad(file, line, "duplicate_id", f"item {identity} was there before"))
                continue
            found.append((identity if seen[identity] == 1 else f"{identity}-{seen[identity]}", item))
    return found, bad


def _readable(path: str, data: bytes) -> Iterator[Placed]:
    try:
        yield from _records(path, data)
    except BROKEN as error:
        said = " ".join(str(error).split())[:200]
        raise UserError(f"cannot read benchmark file {path}: {said}", "Give a complete file of that format") from error


def _row(text: bytes) -> Row:
    row = json.loads(text.decode("utf-8"))
    if not isinstance(row, dict):
        raise ValueError(f"a {type(row).__name__}, not an object")
    if b"\\u" in text:
        json.dumps(row, ensure_ascii=False).encode()  # raises for half a surrogate pair, which no table can hold
    return row


def _reason(error: Exception) -> str:
    match error:
        case UnicodeError():
            return "invalid_utf8"
        case json.JSONDecodeError() | RecursionError():
            return "invalid_json"
        case _:
            return "missing_or_invalid_field"


def _digest(item: Item) -> str:
    content = json.dumps([item.question, item.choices, item.answer])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _refuse_bad(recipe: BenchmarkRecipe, found: list[tuple[str, Item]], bad: list[_Bad]) -> None:
    if bad and recipe.bad_rows == "refuse":
        first = "; ".join(f"line {row.line + 1}: {row.detail}" for row in bad[:3])
        more = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise UserError(
            f"{recipe.path or recipe.name}: {first}{more}",
            "Correct the file, name its adapter, or set bad_rows: quarantine",
        )
    if not found:
        raise UserError(f"{recipe.path or recipe.name} holds no items", "Give a JSONL file with one problem per line")


def _items_table(name: str, split: str, found: list[tuple[str, Item]]) -> pa.Table:
    rows = [
        {
            "item_id": identity,
            "benchmark": name,
            "split": split,
            "question": item.question,
            "answer": item.answer,
            "choices": None if item.choices is None else json.dumps(item.choices, ensure_ascii=False),
            "subject": item.subject,
            "level": item.level,
            "solution": item.solution,
        }
        for identity, item in found
    ]
    return pa.Table.from_pylist(rows, schema=ITEMS.schema)


def _quarantine_table(name: str, bad: list[_Bad]) -> pa.Table:
    rows = [
        {"source": name, "file": row.file, "position": row.line, "reason": row.reason, "detail": row.detail}
        for row in bad
    ]
    return pa.Table.from_pylist(rows, schema=QUARANTINE.schema)

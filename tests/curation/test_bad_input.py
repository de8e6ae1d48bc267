"""Whatever stands in files, recipes, benchmarks, models and folders: a quarantine row or one line, never a traceback.

No record is lost. One corpus of good and bad files goes through the command line, the refusals through its `main`.
"""

import json
import os
import random
import resource
import signal
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

import octo
from curation.config import CurateRecipe, SourceRecipe
from curation.execution.local import run_tasks
from curation.measures.decontaminate import PARTS
from curation.pipeline import curate, input_files
from curation.reading.files import find_files
from curation.reading.records import read_records
from curation.tasks import Job
from manifests.errors import UserError, of_system
from manifests.manifest import Manifest, resolve, verify
from manifests.recipe import parse
from manifests.store import Store

ROOT = Path(octo.__file__).parents[1]


def row(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"n{number}",
        "url": f"https://e.example/{number}",
        "text": f"Item {number}: sum {number * 7}.",
    } | fields


def lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def parquet(rows: list[dict[str, Any]] | pa.Table, **settings: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows), sink, **settings)
    return sink.getvalue().to_pybytes()


def flipped(data: bytes, start: int, length: int = 64) -> bytes:
    return data[:start] + bytes(byte ^ 0xFF for byte in data[start : start + length]) + data[start + length :]


# -- what stands in a file -------------------------------------------------------------------------------------------

ROWS = [row(number) for number in range(2000)]
GROUPS = {"row_group_size": 100, "compression": "snappy", "use_dictionary": False}
WHOLE = parquet(ROWS, **GROUPS)
FRAMES = [
    zstandard.ZstdCompressor(write_checksum=True).compress(lines(*ROWS[at : at + 50])) for at in range(0, 2000, 50)
]
PACKED = b"".join(FRAMES)
DEEP = b'{"text": "deep", "x": ' + b"[" * 900 + b"]" * 900 + b"}\n"
TOO_DEEP = b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"
TOO_LONG = 3_000_000
MAP = pa.map_(pa.string(), pa.string())
SCRIPTS = ("مجموع زوايا المثلث يساوي ١٨٠ درجة", "三角形の内角の和は180度である", "סכום הזוויות במשולש", "𝔸 ∑")
BREAKS = "unreadable_file"
"""Ends a file that breaks off: what stands before is read."""

FILES: dict[str, tuple[bytes, int | None, list[str] | None]] = {
    "good.jsonl": (lines(*(row(10_000 + number) for number in range(5))), 5, []),
    "magic.parquet": (b"XXXX" + WHOLE[4:], 2000, []),  # the footer says all
    "magic_at_end.parquet": (WHOLE[:-4] + b"XXXX", 0, [BREAKS]),
    "no_footer.parquet": (WHOLE[:-1000], 0, [BREAKS]),
    "flipped.parquet": (flipped(WHOLE, len(WHOLE) // 2, 300), 1900, [BREAKS]),  # of 20 row groups one is lost
    "cut.jsonl.zst": (PACKED[: len(PACKED) // 2], None, [BREAKS]),
    "flipped.jsonl.zst": (flipped(PACKED, len(PACKED) // 2), None, [BREAKS]),
    "no_zstd.jsonl.zst": (lines(*ROWS[:9]), 0, [BREAKS]),
    "no_text.parquet": (parquet([{"body": "x"}] * 3), 0, ["missing_field"] * 3),
    "number.parquet": (parquet([{"text": 7}, {"text": 8}]), 2, []),
    "list.parquet": (parquet([{"text": ["x"]}] * 2), 0, ["wrong_type"] * 2),
    "null.parquet": (parquet(pa.table({"text": pa.nulls(2)})), 0, ["null_field"] * 2),
    "map.parquet": (parquet(pa.table({"text": ["a"], "id": pa.array([[("k", "v")]], MAP)})), 0, ["wrong_type"]),
    "types.jsonl": (lines({"text": ["x"]}, {"text": 3}, {"text": "a", "url": {}}), 1, ["wrong_type"] * 2),
    "long.jsonl": (lines(row(1), row(2, text="word " * TOO_LONG), row(3)), 2, ["record_too_long"]),
    "long.parquet": (parquet([row(1), row(2, text="word " * TOO_LONG), row(3)]), 2, ["record_too_long"]),
    "long_wide.parquet": (parquet([row(n, text="数" * 700_000 * n) for n in (1, 2)]), 1, ["record_too_long"]),
    "random.jsonl": (random.Random(1).randbytes(99) * 3, 0, None),
    "zeros.jsonl": (bytes(10_000), 0, ["invalid_json"]),
    "scripts.jsonl": (lines(*({"text": text} for text in SCRIPTS)), 4, []),
    "control.jsonl": (lines({"text": "nul \0 \x1b[31m", "id": "a\0", "url": "\0"}, {"text": "\0"}), 2, []),
    "raw_nul.jsonl": (b'{"text": "raw \0 nul"}\n{"text": "crlf"}\r\n', 1, ["invalid_json"]),
    "control.parquet": (parquet([{"text": "nul \0", "id": "\0", "url": "\0"}]), 1, []),
    "utf16.jsonl": ('{"text": "x"}\n'.encode("utf-16"), 0, [BREAKS]),
    "bom.jsonl": (b"\xef\xbb\xbf" + lines(row(4), row(5)), 2, []),
    "deep.jsonl": (DEEP + TOO_DEEP + DEEP, 2, ["invalid_json"]),
    "numbers.jsonl": (b'{"text": "a", "id": ' + b"9" * 500 + b'}\n{"text": "b", "id": NaN}', 1, ["invalid_json"]),
    "empty.jsonl": (b"", 0, ["empty_file"]),
    "blank.jsonl": (b"\n\n \n", 0, ["empty_file"]),
    "empty.jsonl.zst": (b"", 0, ["empty_file"]),
    "nothing.jsonl.zst": (zstandard.compress(b""), 0, ["empty_file"]),
    "empty.parquet": (b"", 0, [BREAKS]),
    "no_rows.parquet": (parquet(pa.table({"text": pa.array([], pa.string())})), 0, ["empty_file"]),
    "no_columns.parquet": (parquet(pa.table({})), 0, ["empty_file"]),
    "same_id_a.jsonl": (lines(row(6), row(6), row(6, text="another text")), 3, []),
    "same_id_b.parquet": (parquet([row(6), row(6, text="a third text")]), 2, []),
    "many.jsonl": (lines({"text": "the same"}) * 3000, 3000, []),
    "a b\n\"é' [1]*?.jsonl": (lines(row(7)), 1, []),
}  # fmt: skip
"""File → bytes, how many documents it gives (None: some), and the reasons of its quarantine rows (None: no JSON)."""


def plain_recipe(tokenizer: Path, path: Path, /, **fields: Any) -> dict[str, Any]:
    source = {"name": "s", "path": str(path), "role": "general"}
    return {"name": "c", "tokenizer": str(tokenizer), "sources": [source], "quality": {"min_words": 0}} | fields


def octo_curate(recipe: Path, store: Path, *arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "octo", "curate", str(recipe), "--store", str(store), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, **settings)


@pytest.fixture(scope="module")
def corpus(tokenizer, tmp_path_factory) -> Manifest:
    """All FILES as one source, in a folder whose name holds a space, a line end and more."""
    folder = tmp_path_factory.mktemp("bad") / "é a\nb [1]"
    folder.mkdir()
    for name, (data, _, _) in FILES.items():
        (folder / name).write_bytes(data)
    recipe, store = folder.parent / "r.yaml", folder.parent / "store"
    recipe.write_text(json.dumps(plain_recipe(tokenizer, folder)))
    done = octo_curate(recipe, store, "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return resolve(Store(store), done.stdout.splitlines()[-1])


def by_file(corpus: Manifest, family: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in FILES}
    for row in corpus.read(family).to_pylist():
        found[row["file"]].append(row)
    return found


@pytest.fixture(scope="module")
def documents(corpus) -> dict[str, list[dict[str, Any]]]:
    return by_file(corpus, "origins")


@pytest.fixture(scope="module")
def quarantine(corpus) -> dict[str, list[dict[str, Any]]]:
    return by_file(corpus, "quarantine")


@pytest.mark.parametrize("name", FILES)
def test_each_file_gives_its_documents_and_its_quarantine_rows(name, documents, quarantine):
    _, expected, reasons = FILES[name]
    found = [row["reason"] for row in quarantine[name]]
    assert found == reasons or (reasons is None and set(found) <= {"invalid_json", "invalid_utf8"})
    assert len(documents[name]) == expected or (expected is None and 0 < len(documents[name]) < len(ROWS))
    places = [row["position"] for row in documents[name] + quarantine[name]]
    assert len(set(places)) == len(places)
    if reasons == [BREAKS] and documents[name]:
        read = {row["position"] for row in documents[name]}
        assert quarantine[name][0]["position"] == min(set(range(len(ROWS))) - read)


def test_the_funnel_of_bad_input_balances(corpus, documents, quarantine):
    rows = [sum(map(len, found.values())) for found in (documents, quarantine)]
    assert corpus.counts["inputs"]["s"]["records"] == sum(rows) == len(corpus.read("documents")) + rows[1]
    assert verify(corpus.store, corpus) == []


def test_text_of_any_script_is_kept_and_control_characters_are_not(corpus, documents):
    texts = dict(zip(*(corpus.read("texts")[name].to_pylist() for name in ("doc_id", "text")), strict=True))
    assert [texts[row["doc_id"]] for row in sorted(documents["scripts.jsonl"], key=lambda row: row["position"])] == [
        *SCRIPTS
    ]
    assert not any(mark in text for text in texts.values() for mark in "\0\x1b")


def test_of_many_identical_documents_one_is_kept(corpus, documents):
    rows = {row["doc_id"]: row for row in corpus.read("documents").to_pylist()}
    same = [rows[row["doc_id"]] for row in documents["many.jsonl"]]
    assert Counter(row["drop_reason"] for row in same) == {None: 1, "exact_duplicate": 2999}
    kept = next(row["doc_id"] for row in same if row["drop_reason"] is None)
    assert {row["keeper_id"] for row in same} == {None, kept}


def test_one_native_id_with_several_texts_is_several_documents(corpus, documents):
    rows = {row["doc_id"]: row for row in corpus.read("documents").to_pylist()}
    same = [rows[row["doc_id"]] for name in ("same_id_a.jsonl", "same_id_b.parquet") for row in documents[name]]
    item_6 = [row for row in same if row["text_digest"] == same[0]["text_digest"]]
    assert len(same) == 5 and len({row["doc_id"] for row in same}) == 5
    assert len(item_6) == 3 and sum(row["drop_reason"] == "exact_duplicate" for row in item_6) >= 2


# VmHWM, not ru_maxrss: the latter begins with what the parent of the process had
PEAK = r"""
import json, re, sys
from pathlib import Path
from curation.config import SourceRecipe
from curation.reading.files import find_files
from curation.reading.records import read_records
peak = lambda: int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) >> 10
source = SourceRecipe(name="s", path=sys.argv[1], role="general")
before = peak()
records = [record for file in find_files(source, None) for record in read_records(file, source, 10**6, Path())]
print(json.dumps([len(records), records[1].reason, peak() - before]))
"""


@pytest.mark.parametrize(("name", "megabytes"), [("a.jsonl", 30), ("a.parquet", 520)])
def test_a_document_of_100_mb_is_left_out_at_the_cost_of_its_page(name, megabytes, tmp_path):
    rows = [row(1), row(2, text="word " * 20_000_000), row(3)]
    (tmp_path / name).write_bytes(lines(*rows) if name == "a.jsonl" else parquet(rows))
    command = [sys.executable, "-c", PEAK, str(tmp_path / name)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, check=True)
    records, reason, grown = json.loads(done.stdout)
    assert (records, reason) == (3, "record_too_long")
    assert grown < megabytes  # the Parquet document takes 430 MB in pyarrow; made a Python string, 620


# -- what the user must put right ------------------------------------------------------------------------------------


def refusal(capsys, monkeypatch, tmp_path: Path, recipe: bytes | dict[str, Any], *arguments: str) -> str:
    """What `octo curate` says of a recipe that it refuses: one line, exit status 1, and nothing in the store."""
    path = tmp_path / "r.yaml"
    path.write_bytes(recipe if isinstance(recipe, bytes) else json.dumps(recipe).encode())
    monkeypatch.setattr(sys, "argv", ["octo", "curate", str(path), "--store", str(tmp_path / "store"), *arguments])
    assert octo.command() == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("octo: ") and said.err.count("\n") == 1
    assert Store(tmp_path / "store").list("manifests") == []
    return said.err


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (b"name: [a\n b: {", "is not valid YAML"),
        (b"name:\n\t- a", "is not valid YAML"),
        (b"- a\n- b\n", "does not hold a mapping"),
        (b"", "does not hold a mapping"),
        (b"name: !!python/object/apply:os.system ['exit 7']\n", "could not determine a constructor"),
        (b"name: !!python/name:os.system\n", "could not determine a constructor"),
        (b"[" * 20_000, "is not valid YAML"),
        (b"name: &a [*a]\n", "`name`: Input should be a valid string"),
        (b"? [a]\n: 1\n", "is not valid YAML"),
        (b"1: 2\nname: x", "Keys should be strings"),
        (random.Random(5).randbytes(3000), "is not valid YAML"),
        ('{"name": "x"}'.encode("utf-16"), "is not valid YAML"),
        (b'name: "a\0b"', "is not valid YAML"),
        (b"sorces: []", "unknown field `sorces`"),
        (b"quality: {min_wordz: 1}", "unknown field `quality.min_wordz`"),
        (b"quality: {min_words: many}", "`quality.min_words`: Input should be a valid integer"),
        (b"sources: [null]", "`sources.0`: Input should be a valid dictionary"),
        (b"sources: [{path: ''}]", "`sources.0.path`: String should have at least 1 character"),
        (b"max_record_bytes: '1.5'", "not a whole amount"),
    ],
)
def test_a_recipe_that_is_none(recipe, says, capsys, monkeypatch, tmp_path):
    assert says in refusal(capsys, monkeypatch, tmp_path, recipe)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("b.jsonl", b"", "holds no items"),
        ("b.jsonl", b'{"q": "x", "answer": "1"}\n', "line 1: no `question`"),
        ("b.jsonl", random.Random(1).randbytes(3000), "can't decode byte"),
        ("b.jsonl", b'{"question": ' + b"[" * 5000 + b"]" * 5000 + b"}", "recursion depth"),
        ("b.jsonl", b'{"question": "\\ud800", "answer": "1"}', "surrogates not allowed"),
        ("b.jsonl", b'{"question": "q", "answer": "1", "choices": 5}', "not iterable"),
        *((f"b.jsonl.{end}", b"garbage", "cannot read benchmark file") for end in ("gz", "bz2", "xz", "zst", "zip")),
        ("b.jsonl.gz", b"\x1f\x8b\x08\0garbage", "cannot read benchmark file"),
    ],
)
def test_a_benchmark_that_is_none(name, data, says, capsys, monkeypatch, tmp_path, tokenizer):
    (tmp_path / "a.jsonl").write_bytes(lines(row(1)))
    (tmp_path / name).write_bytes(data)
    benchmarks = {"benchmarks": [{"name": "b", "path": str(tmp_path / name)}]}
    recipe = plain_recipe(tokenizer, tmp_path / "a.jsonl", decontaminate=benchmarks)
    assert says in refusal(capsys, monkeypatch, tmp_path, recipe)


@pytest.mark.parametrize("data", [b"", b"text\n" * 99, random.Random(2).randbytes(5000), b"{}", b"[]", b"null", b"cut"])
@pytest.mark.parametrize("field", ["tokenizer", "classifier"])
def test_a_tokenizer_or_classifier_that_is_none(field, data, capsys, monkeypatch, tmp_path, tokenizer):
    (tmp_path / "a.jsonl").write_bytes(lines(row(1)))
    given = tmp_path / "given.bin"
    given.write_bytes(tokenizer.read_bytes()[:2000] if data == b"cut" else data)
    value = {"model": str(given)} if field == "classifier" else str(given)
    recipe = plain_recipe(tokenizer, tmp_path / "a.jsonl", **{field: value})
    assert field in refusal(capsys, monkeypatch, tmp_path, recipe)


@pytest.fixture
def promptly():
    """Fails a test that still runs after a minute: one that waits at a pipe waits for ever."""

    def late(*_: object) -> None:
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def make_pipe(place: Path) -> None:
    os.mkfifo(place / "p.jsonl")


def make_dead_link(place: Path) -> None:
    (place / "p.jsonl").symlink_to("nowhere")


def make_loop(place: Path) -> None:
    (place / "p.jsonl").symlink_to("p.jsonl")


def make_link_to_a_folder(place: Path) -> None:
    (place / "up").symlink_to("..")


def make_undecodable(place: Path) -> None:
    (place / os.fsdecode(b"\xff.jsonl")).write_bytes(lines(row(2)))


def make_nameless(place: Path) -> None:
    (place / "p.jsonl").write_bytes(b'{"title": "no text here"}')
    (place / "a.jsonl").unlink()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (make_pipe, "p.jsonl' is not a regular file"),
        (make_dead_link, "p.jsonl' is not a regular file"),
        (make_loop, "p.jsonl' is not a regular file"),
        (make_link_to_a_folder, "up' is a link to a folder"),
        (make_undecodable, "is no UTF-8"),
        (make_nameless, "no file has column text"),
    ],
)
@pytest.mark.usefixtures("promptly")
def test_a_folder_that_cannot_be_read_whole(make, says, capsys, monkeypatch, tmp_path, tokenizer):
    place = tmp_path / "in"
    place.mkdir()
    (place / "a.jsonl").write_bytes(lines(row(1)))
    make(place)
    assert says in refusal(capsys, monkeypatch, tmp_path, plain_recipe(tokenizer, place))
    assert "regular file" in says or find_files(source_at(place / "[a-z].jsonl"), None)


def source_at(path: Path) -> SourceRecipe:
    return SourceRecipe.model_validate({"name": "s", "path": str(path), "role": "general"})


@pytest.mark.usefixtures("promptly")
def test_a_pipe_as_a_benchmark_does_not_hang(capsys, monkeypatch, tmp_path, tokenizer):
    (tmp_path / "a.jsonl").write_bytes(lines(row(1)))
    os.mkfifo(tmp_path / "pipe.jsonl")
    benchmarks = {"benchmarks": [{"name": "b", "path": str(tmp_path / "pipe.jsonl")}]}
    recipe = plain_recipe(tokenizer, tmp_path / "a.jsonl", decontaminate=benchmarks)
    assert "is not a regular file" in refusal(capsys, monkeypatch, tmp_path, recipe)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("closed", ["in/a.jsonl", "in/sub"])
def test_what_may_not_be_read_is_named(closed, capsys, monkeypatch, tmp_path, tokenizer):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "a.jsonl").write_bytes(lines(row(1)))
    (tmp_path / closed).chmod(0)
    try:
        assert "Permission denied" in refusal(capsys, monkeypatch, tmp_path, plain_recipe(tokenizer, tmp_path / "in"))
    finally:
        (tmp_path / closed).chmod(0o700)


def test_a_store_that_cannot_be_written(capsys, monkeypatch, tmp_path, tokenizer):
    (tmp_path / "a.jsonl").write_bytes(lines(row(1)))
    (tmp_path / "file").write_bytes(b"x")
    recipe = plain_recipe(tokenizer, tmp_path / "a.jsonl")
    for place, says in ((str(tmp_path / "file"), "Not a directory"), ("nowhere://at/all", "cannot open a store at")):
        assert says in refusal(capsys, monkeypatch, tmp_path, recipe, "--store", place)
    assert of_system(PermissionError(13, "Permission denied", "x")) and of_system(OSError(30, "Read-only", "x"))
    assert of_system(FileNotFoundError(2, "No such file", "x")) is None


def test_a_full_disk_is_one_line_and_with_room_the_work_goes_on(tmp_path, tokenizer):
    (tmp_path / "a.jsonl").write_bytes(lines(*ROWS[:300]))
    (tmp_path / "r.yaml").write_text(json.dumps(plain_recipe(tokenizer, tmp_path / "a.jsonl")))
    few = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (30_000, 30_000))  # no file may be longer
    done = octo_curate(tmp_path / "r.yaml", tmp_path / "store", preexec_fn=few)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "no room is left" in done.stderr and "Make room" in done.stderr
    recipe = parse(plain_recipe(tokenizer, tmp_path / "a.jsonl"), CurateRecipe, "test")
    assert len(curate(Store(tmp_path / "store"), recipe).read("documents")) == 300


def test_a_file_that_changes_while_it_is_read_is_told(tmp_path, tokenizer):
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(*ROWS[:9]))
    recipe = parse(plain_recipe(tokenizer, path), CurateRecipe, "test")
    (file,) = input_files(recipe, None)
    records = read_records(file, recipe.sources[0], 10**6, tmp_path)
    next(records)
    path.write_bytes(lines(*ROWS[:20]))
    with pytest.raises(UserError, match="changed while it was read"):
        list(records)
    job = Job(tmp_path / "work", recipe, tokenizer, (file,))
    job.folder.mkdir()
    pq.write_table(PARTS.empty_table(), job.items)
    with pytest.raises(UserError, match="changed while it was read"):
        run_tasks(job, 1)

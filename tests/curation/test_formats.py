"""Files of every format and compression are read alike, and what is left out is said."""

import bz2
import gzip
import io
import json
import lzma
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import octo
from curation.config import SourceRecipe
from curation.reading.files import find_files, list_files
from curation.reading.records import Bad, Good, check_columns, read_records
from evaluation import rows
from evaluation.benchmarks import freeze_benchmark
from evaluation.config import BenchmarkRecipe
from evaluation.formats import bare, filesystem, named, spelled_out, told
from evaluation.rows import Ask, Fault
from manifests.catalog import funnel
from manifests.errors import UserError
from manifests.manifest import resolve
from manifests.store import Store

ROWS = [{"text": f'Row {n} says \\ "so" {{[,\n and é.', "n": n, "deep": {"a": [n]}} for n in range(7)]
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
CSV = "text,n\n" + "".join('"{}",{}\n'.format(row["text"].replace('"', '""'), row["n"]) for row in ROWS)


def long_window(data: bytes) -> bytes:
    settings = zstandard.ZstdCompressionParameters.from_level(1, window_log=30)
    made = zstandard.ZstdCompressor(compression_params=settings).compressobj()
    return made.compress(data) + made.flush()


def arrow(make: object) -> bytes:
    table, sink = pa.Table.from_pylist(ROWS), pa.BufferOutputStream()
    with make(sink, table.schema) as writer:  # type: ignore[operator]
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    return sink.getvalue().to_pybytes()


FILES = {
    "a.jsonl": LINES,
    "a.JSONL": LINES,
    "a.ndjson": LINES.replace(b"\n", b"\r\n"),
    "a.jl": LINES.replace(b"\n", b"\r"),
    "a.jsonl.gz": gzip.compress(LINES[:300]) + gzip.compress(LINES[300:]),
    "a.Jsonl.GZ": gzip.compress(LINES) + b"\0" * 512,
    "a.jsonl.zst": zstandard.compress(LINES),
    "long.jsonl.zst": long_window(LINES),
    "a.jsonl.bz2": bz2.compress(LINES),
    "a.jsonl.xz": lzma.compress(LINES),
    "dump.zst": zstandard.compress(LINES),
    "not_named.jsonl": gzip.compress(LINES),
    "a.json": json.dumps(ROWS).encode(),
    "pretty.json": b"\xef\xbb\xbf" + json.dumps(ROWS, indent=2).encode(),
    "lines.json": LINES,
    "objects.json": b"\n".join(json.dumps(row, indent=1).encode() for row in ROWS),
    "a.json.gz": gzip.compress(json.dumps(ROWS).encode()),
    "a.csv": CSV.encode(),
    "marked.csv": b"\xef\xbb\xbf" + CSV.encode(),
    "a.csv.gz": gzip.compress(CSV.encode()),
    "a.parquet": parquet(),
    "stream.arrow": arrow(pa.ipc.new_stream),
    "file.feather": arrow(pa.ipc.new_file),
    "joined.jsonl": b"\xef\xbb\xbf".join(line + b"\n" for line in LINES.splitlines()),
    "x::y.jsonl": LINES,
}


def recipe(path: object, **fields: object) -> SourceRecipe:
    return SourceRecipe.model_validate({"name": "s", "path": str(path), "role": "general"} | fields)


def read(path: Path, folder: Path, **fields: object) -> list[Good | Bad]:
    source = recipe(path, **fields)
    return [record for file in find_files(source, None) for record in read_records(file, source, 10**6, folder)]


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_records(name, tmp_path):
    (tmp_path / name).write_bytes(FILES[name])
    found = read(tmp_path, tmp_path)
    expected = [(None, None, row["text"], None, None, None) for row in ROWS]
    assert [getattr(record, "fields", record) for record in found] == expected
    assert [record.position for record in found] == list(range(7))
    check_columns(recipe(tmp_path, columns={"text": "text", "id": "n"}), find_files(recipe(tmp_path), None))


@pytest.mark.parametrize("said", ["jsonl", "jsonl.gz", ".JSONL", "ndjson"])
def test_no_hint_makes_it_worse(said, tmp_path):
    (tmp_path / "data").write_bytes(gzip.compress(LINES))
    with pytest.raises(UserError, match=r"1 file is left out .*: data"):
        find_files(recipe(tmp_path), None)
    assert len([r for r in read(tmp_path, tmp_path, format=said) if isinstance(r, Good)]) == 7
    for foreign in (parquet(), "a".encode("utf-16"), b"PK\x03\x04", b"%PDF-1.5\n%\xe2\xe3"):
        (tmp_path / "data").write_bytes(foreign)
        assert [r.reason for r in read(tmp_path, tmp_path, format=said)] == ["unreadable_file"]  # type: ignore[union-attr]


@pytest.mark.parametrize("packed", [gzip.compress, zstandard.compress, bz2.compress, lzma.compress])
def test_a_stream_that_breaks_off_gives_what_stands_before(packed, tmp_path):
    suffix = {"zstandard": "zst", "gzip": "gz", "bz2": "bz2"}.get(packed.__module__.split(".")[0], "xz")
    whole = packed(LINES)
    (tmp_path / f"a.jsonl.{suffix}").write_bytes(whole + packed(LINES * 9)[:-9])
    found = read(tmp_path, tmp_path)
    assert len([record for record in found if isinstance(record, Good)]) >= 7
    assert isinstance(found[-1], Bad) and found[-1].reason == "unreadable_file"


def test_what_is_left_out_is_named_and_files_that_are_no_data_are_not_read(tmp_path):
    for name in ("a.jsonl", "README.md", "b.tar.gz", "_SUCCESS", ".ipynb_checkpoints/a.jsonl", "._a.jsonl", "a.crc",
                 "_temporary/0/x.jsonl", "dataset_info.json", "state.json"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(LINES)
    listing = list_files(recipe(tmp_path), None)
    assert [file.name for file in listing.files] == ["a.jsonl"]
    assert len(listing.left_out) == 9 and listing.said.startswith("9 files are left out (7 hidden or not data, 1 .")
    assert [file.name for file in find_files(recipe(tmp_path / "._a.jsonl"), None)] == ["._a.jsonl"]
    hidden = recipe(tmp_path / ".ipynb_checkpoints" / "*.jsonl")
    assert [file.name for file in find_files(hidden, None)] == ["a.jsonl"]


def test_home_and_braces_in_a_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("p-08.jsonl", "p-09.jsonl", "p-10.jsonl", "{x,y}.jsonl"):
        (tmp_path / name).write_bytes(LINES)
    names = [file.name for file in find_files(recipe("~/p-{08,10}.jsonl"), None)]
    assert names == ["p-08.jsonl", "p-10.jsonl"]
    nested = find_files(recipe("~/{p-{08..09},p-10}.jsonl"), None)
    assert [file.name for file in nested] == ["p-08.jsonl", "p-09.jsonl", "p-10.jsonl"]
    assert [f.name for f in find_files(recipe(tmp_path / "{x,y}.jsonl"), None)] == ["{x,y}.jsonl"]
    with pytest.raises(UserError, match=r"nothing at .*p-11"):
        find_files(recipe("~/p-{10,11}.jsonl"), None)
    assert spelled_out("a{1..3}") == ["a1", "a2", "a3"] and spelled_out("{a}") == ["{a}"]
    assert filesystem("a::b")[1].endswith("a::b")


@pytest.mark.parametrize(
    ("name", "format_", "stem"),
    [("a.b.JSONL.gz", "jsonl", "a.b"), ("x.warc.gz", "warc", "x"), ("x.html.zst", "html", "x"),
     ("x.tar.gz", None, None), ("x.parquet.gz", None, None), ("RC_2012.zst", "json", "RC_2012"),
     ("x.gz", None, None), ("x.TSV", "tsv", "x")],
)  # fmt: skip
def test_a_name_tells_the_format(name, format_, stem):
    assert (kind.name if (kind := told(name)) else None) == format_
    assert stem is None or bare(name) == stem
    assert named("parquet") == "parquet" and named("what") == "what"


# -- a record is bad for what is read --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "good", "x": NaN, "y": -Infinity}', None),
        (b'{"text": "good", "x": "\\ud835"}', None),
        (b'{"text": "good", "x": "\xff"}', None),
        (b'{"text": "good", "url": NaN}', None),
        (b'{"text": "good", "url": Infinity}', "wrong_type"),
        (b'{"text": "\\ud835", "x": 1}', "invalid_json"),
        (b'{"text": "\xff", "x": 1}', "invalid_utf8"),
        (b'{"text": NaN}', "null_field"),
        (b'{"text": "good", "x": ' + b"[" * 500 + b"]" * 500 + b"}", None),
    ],
)
def test_only_what_is_read_makes_a_record_bad(line, reason, tmp_path):
    (tmp_path / "a.jsonl").write_bytes(line + b"\n")
    (record,) = read(tmp_path, tmp_path)
    assert getattr(record, "reason", None) == reason
    if reason is None:
        assert record.fields[2] == "good" and record.fields[0] is None  # type: ignore[union-attr]


OBJECTS = st.dictionaries(st.text(max_size=9), st.text(max_size=40) | st.lists(st.integers(), max_size=3), max_size=4)


@settings(deadline=None)
@given(values=st.lists(OBJECTS, max_size=12), block=st.integers(8, 80), indent=st.sampled_from([None, 1]))
def test_a_list_is_split_into_its_values_wherever_blocks_end(values, block, indent):
    data = json.dumps(values, indent=indent, ensure_ascii=False).encode()
    before = rows.READ_BUFFER
    rows.READ_BUFFER = block
    try:
        found = [json.loads(text) for _, text in rows.json_values(io.BytesIO(data), Ask())]  # type: ignore[arg-type]
    finally:
        rows.READ_BUFFER = before
    assert found == values


def test_a_list_that_breaks_off_or_holds_a_long_value_says_so():
    broken = [row for _, row in rows.json_values(io.BytesIO(b'[{"a": 1}, {"a"'), Ask())]
    assert broken[0] == b'{"a": 1}' and isinstance(broken[1], Fault)
    long = b'[{"a": "' + b"x" * 99 + b'"}, {"b": 1}, 3]'
    found = [row for _, row in rows.json_values(io.BytesIO(long), Ask(max_bytes=50))]
    assert isinstance(found[0], Fault) and found[1:] == [b'{"b": 1}', b"3"]


def test_a_row_of_csv_with_too_many_cells_and_a_score(tmp_path):
    (tmp_path / "a.csv").write_text("text,s\nfine,0.5\ntoo,1,2\nnone,\nbad,x\n")
    found = read(tmp_path, tmp_path, scores={"a_score": "s"})
    assert [getattr(r, "reason", None) for r in found] == [None, "ragged_row", None, "wrong_type"]
    assert [r.scores for r in found if isinstance(r, Good)] == [{"a_score": 0.5}, {"a_score": None}]


# -- fields within fields, and dialogues -----------------------------------------------------------------------------


def test_nested_fields(tmp_path):
    row = {"content": {"text": "inner"}, "meta.url": "u", "m": '{"k": [{"u": "v"}]}'}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "b.parquet")
    fields = {"columns": {"text": "content.text", "url": "meta.url", "id": "m.k.0.u"}}
    check_columns(recipe(tmp_path, **fields), find_files(recipe(tmp_path), None))
    assert [r.fields[:3] for r in read(tmp_path, tmp_path, **fields)] == [("u", "v", "inner")] * 2  # type: ignore[union-attr]
    wrong = recipe(tmp_path, columns={"text": "content.txet"})
    with pytest.raises(UserError, match=r"no file has column content\.txet.*drop sources\.3"):
        check_columns(wrong, find_files(wrong, None), "sources.3")


ASK, REPLY = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}


@pytest.mark.parametrize(
    "turns",
    [
        [ASK, REPLY],
        [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}],
        [{"role": "developer", "content": "Be brief."}, ASK, REPLY],
        [{"from": "system", "value": "Be brief."}, ASK, {"role": "Model", "parts": [{"text": "So."}]}],
        [ASK | {"content": [{"type": "text", "text": "Why?"}]}, REPLY | {"content": [{"type": "text", "text": "So."}]}],
        json.dumps([ASK, REPLY]),
        {"role": ["user", "assistant"], "content": ["Why?", "So."]},
        [ASK, REPLY, ASK | {"content": [{"type": "image_url"}]}, REPLY],
    ],
)
def test_dialogues_of_every_shape(turns, tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": turns}))
    (record,) = read(tmp_path, tmp_path, role="instruct", adapter="chat")
    assert record.fields[2:5] == ("User:Why?\nAssistant:So.", "Why?", "So.")  # type: ignore[union-attr]


# -- by the command line ---------------------------------------------------------------------------------------------


def curate(folder: Path, tokenizer: Path, sources: list, *arguments: str, **more: object):
    (folder / "r.yaml").write_text(json.dumps({"name": "c", "tokenizer": str(tokenizer), "sources": sources} | more))
    return CliRunner().invoke(
        octo.app, ["curate", str(folder / "r.yaml"), "--store", str(folder / "store"), *arguments]
    )


def test_a_source_without_a_document_is_seen_by_scripts(tmp_path, tokenizer):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(b"nope\nnope\n")
    (tmp_path / "in" / "notes.txt").write_bytes(b"x")
    source = {"name": "s", "path": str(tmp_path / "in"), "role": "general"}
    planned = curate(tmp_path, tokenizer, [source], "--plan", "--json")
    assert "1 file is left out (1 .txt is no format): notes.txt" in planned.output
    for _ in range(2):  # built, then found
        done = curate(tmp_path, tokenizer, [source])
        assert done.exit_code == 3 and "all 2 are in quarantine (2 invalid_json)" in done.output
        assert "notes.txt" in done.output


def test_files_that_are_not_read_are_counted(tmp_path, tokenizer):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(LINES)
    source, home = {"name": "s", "path": str(tmp_path / "in"), "role": "general"}, Store(tmp_path / "store")
    before = json.loads(curate(tmp_path, tokenizer, [source], "--json").stdout)["id"]
    assert "files" not in funnel(home, before).column_names
    for name in ("notes.txt", "more.txt", "page.pdf"):
        (tmp_path / "in" / name).write_bytes(b"x")
    again = json.loads(curate(tmp_path, tokenizer, [source], "--json").stdout)["id"]
    assert again == before  # the same content is the same corpus
    (tmp_path / "in" / "b.jsonl").write_bytes(LINES.replace(b"says", b"tells"))
    done = json.loads(curate(tmp_path, tokenizer, [source], "--json", version="2").stdout)
    counts = {row["reason"]: row["files"] for row in done["funnel"] if row["files"]}
    assert counts == {".txt is no format": 2, ".pdf is no format": 1}
    assert resolve(home, done["id"]).counts["left_out"] == {"s": counts}
    assert sum(row["documents"] * (1 if row["outcome"] == "in" else -1) for row in done["funnel"]) == 0


def test_one_record_of_each_source_is_looked_at(tmp_path, tokenizer):
    (tmp_path / "a.jsonl").write_bytes(LINES)
    sources = [
        {"name": "good", "path": str(tmp_path / "a.jsonl"), "role": "general"},
        {"name": "gone", "path": str(tmp_path / "nowhere"), "role": "general"},
        {"name": "other", "path": str(tmp_path / "a.jsonl"), "role": "general", "columns": {"text": "body"}},
        {"known": "megamath-code"},
        {"known": "gsm8k"},
    ]
    done = curate(tmp_path, tokenizer, sources, "--plan", "--check", "--json")
    found = {row["source"]: row for row in json.loads(done.output)["plan"]}
    assert done.exit_code == 1 and found["good"]["problem"] is None and "Row 0 says" in found["good"]["found"]
    problems = {"gone": "nothing at", "other": "drop sources.2", "megamath-code": "sources.3", "gsm8k": "no commit"}
    assert all(said in found[name]["problem"] for name, said in problems.items())
    refused = curate(tmp_path, tokenizer, sources[:3])
    assert isinstance(refused.exception, UserError) and "2 sources cannot be read" in str(refused.exception)


def test_a_page_is_named_by_its_own_file(tmp_path, tokenizer):
    (tmp_path / "in").mkdir()
    for name in "abc":
        (tmp_path / "in" / f"{name}.html").write_text(f"<p>Page {name} tells of the sum of its own parts.</p>")
    source = {"name": "s", "path": str(tmp_path / "in"), "role": "general"}
    assert curate(tmp_path, tokenizer, [source]).exit_code == 0
    query = "SELECT file, position, text FROM origins JOIN texts USING (doc_id) ORDER BY file"
    asked = CliRunner().invoke(octo.app, ["sql", query, "--json", "--store", str(tmp_path / "store")])
    assert [row["file"] for row in json.loads(asked.output)] == ["a.html", "b.html", "c.html"]
    assert all(f"Page {row['file'][0]}" in row["text"] for row in json.loads(asked.output))


def test_benchmark_folders_take_what_sources_take(tmp_path, tokenizer):
    items = [f"A farmer keeps {n} hens and each lays 3 eggs on every morning of the week, how many?" for n in range(4)]
    rows_ = [{"question": item, "answer": "3"} for item in items]
    (tmp_path / "b" / "sub").mkdir(parents=True)
    (tmp_path / "b" / "one.jsonl.gz").write_bytes(gzip.compress(json.dumps(rows_[0]).encode()))
    (tmp_path / "b" / "two.csv").write_text(f'question,answer\n"{items[1]}",3\n')
    (tmp_path / "b" / "sub" / "x.json").write_text(json.dumps([rows_[2]]))
    pq.write_table(pa.Table.from_pylist([rows_[3]]), tmp_path / "b" / "four.parquet")
    (tmp_path / "b" / "._one.jsonl").write_bytes(b"\0")
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": f"First. {item} Then more."}) for item in items))
    source = {"name": "s", "path": str(tmp_path / "a.jsonl"), "role": "general"}
    done = curate(tmp_path, tokenizer, [source], "--json", decontaminate={"folder": str(tmp_path / "b")})
    funnel = {
        row["reason"]: row["documents"] for row in json.loads(done.output)["funnel"] if row["outcome"] == "dropped"
    }
    assert funnel == {"contaminated": 4}
    with pytest.raises(UserError, match="breaks off"):
        (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(LINES)[:-9])
        freeze_benchmark(Store(tmp_path / "store"), BenchmarkRecipe(name="cut", path=str(tmp_path / "cut.jsonl.gz")))


def test_the_formats_load_nothing_heavy():
    code = "import sys, evaluation.formats; print(any(name in sys.modules for name in ('torch', 'datatrove')))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(octo.__file__).parents[1]
    )
    assert done.stdout.strip() == "False"

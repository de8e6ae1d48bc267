"""Every record comes out once, good or bad; damage never raises."""

import json
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curation.config import SourceRecipe
from curation.reading.files import find_files
from curation.reading.records import REASONS, Bad, Good, check_columns, read_records
from manifests.errors import UserError

LIMIT = 1000


def recipe(path: Path, **fields) -> SourceRecipe:
    return SourceRecipe.model_validate({"name": "s", "path": str(path), "role": "web"} | fields)


def read(path: Path, **fields) -> list[Good | Bad]:
    source = recipe(path, **fields)
    return [record for file in find_files(source, None) for record in read_records(file, source, LIMIT, path.parent)]


def bad(path: Path, **fields) -> list[tuple[int | None, str]]:
    return [(record.position, record.reason) for record in read(path, **fields) if isinstance(record, Bad)]


def lines(*rows) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


GOOD = {"text": "good enough"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "cut o', "invalid_json"),
        (b'{"text": "\xff\xfe"}', "invalid_utf8"),
        (b'{"text": "\\ud800"}', "invalid_json"),
        (b'["text"]', "not_an_object"),
        (b"null", "not_an_object"),
        (b'{"body": "x"}', "missing_field"),
        (b'{"text": null}', "null_field"),
        (b'{"text": {"a": 1}}', "wrong_type"),
        (b'{"text": true}', "wrong_type"),
        (b'{"text": " \\n "}', "empty_field"),
        (b'{"text": "a", "url": ["b"]}', "wrong_type"),
        (b'{"text": "' + b"x" * 2_000_000 + b'"}', "record_too_long"),
        (b'{"text": "' + b"x" * LIMIT + b'"}', "record_too_long"),
    ],
)
def test_a_bad_line_is_named_and_its_neighbours_live(tmp_path, line, reason):
    (tmp_path / "a.jsonl").write_bytes(lines(GOOD) + line + b"\n" + lines(GOOD))
    found = read(tmp_path / "a.jsonl")
    assert [type(record) for record in found] == [Good, Bad, Good]
    assert found[1].position == 1 and found[1].reason == reason and reason in REASONS
    assert found[2].position == 2


def test_the_last_line_may_lack_its_end_and_blank_lines_are_no_records(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'\n{"text": "one"}\n\n  \n{"text": "two"}')
    assert [record.position for record in read(tmp_path / "a.jsonl")] == [1, 4]
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "after a byte order mark"}\n')
    assert [record.position for record in read(tmp_path / "a.jsonl")] == [0] and not bad(tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").write_bytes(b'{"text": "' + b"x" * 5000)
    assert bad(tmp_path / "b.jsonl") == [(0, "record_too_long")]


def test_zstd_whole_truncated_and_in_frames(tmp_path):
    rows = lines(*({"text": f"number {number} " * 20} for number in range(5000)))
    whole = zstandard.compress(rows)
    (tmp_path / "whole.jsonl.zst").write_bytes(whole)
    assert len(read(tmp_path / "whole.jsonl.zst")) == 5000
    (tmp_path / "frames.jsonl.zst").write_bytes(zstandard.compress(lines(GOOD)) + zstandard.compress(lines(GOOD)))
    assert len(read(tmp_path / "frames.jsonl.zst")) == 2
    (tmp_path / "cut.jsonl.zst").write_bytes(whole[: len(whole) // 2])
    found = read(tmp_path / "cut.jsonl.zst")
    assert [record.reason for record in found if isinstance(record, Bad)] == ["unreadable_file"]
    assert found[-1].position in (None, len(found) - 1)
    (tmp_path / "fake.jsonl.zst").write_bytes(rows)
    assert bad(tmp_path / "fake.jsonl.zst") == [(None, "unreadable_file")]


def test_parquet_whole_broken_and_of_other_types(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", None, ""], "n": [1, 2, 3]}), path)
    assert bad(path) == [(1, "null_field"), (2, "empty_field")]
    path.write_bytes(path.read_bytes()[:-10])
    assert bad(path) == [(None, "unreadable_file")]
    pq.write_table(pa.table({"text": [[1], [2]]}), path)
    assert bad(path) == [(0, "wrong_type"), (1, "wrong_type")]
    pq.write_table(pa.table({"body": ["a", "b"]}), path)
    assert bad(path) == [(0, "missing_field"), (1, "missing_field")]


def test_parquet_text_that_is_no_utf8(tmp_path):
    offsets, data = pa.py_buffer(b"\0\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"\xff\xfea")
    column = pa.StringArray.from_buffers(2, offsets, data)
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet")
    assert bad(tmp_path / "a.parquet") == [(0, "invalid_utf8")]
    pq.write_table(pa.table({"text": pa.array(["x", "y", "x"]).dictionary_encode()}), tmp_path / "b.parquet")
    assert len(read(tmp_path / "b.parquet")) == 3


def test_a_parquet_file_damaged_inside_gives_what_stands_before(tmp_path):
    path = tmp_path / "a.parquet"
    text = [f"{number} " * 50 for number in range(6000)]
    pq.write_table(pa.table({"text": text}), path, row_group_size=2000, compression="zstd", use_dictionary=False)
    data = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(2).column(0).data_page_offset
    data[start : start + 4000] = b"\x55" * 4000
    path.write_bytes(data)
    found = read(path)
    assert [record.reason for record in found if isinstance(record, Bad)] == ["unreadable_file"]
    assert 0 < len(found) - 1 <= 4000 and found[-1].position == len(found) - 1


PIECES = st.sampled_from([b'{"text": "a"}', b'{"text": null}', b"{}", b"[]", b"{", b"", b" ", b"\xff", b"x" * 3000])


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(PIECES, max_size=40), cut=st.integers(0, 400))
def test_every_record_comes_out_once_whatever_stands_there(rows, cut, tmp_path):
    data = b"\n".join(rows)
    (tmp_path / "a.jsonl").write_bytes(data)
    (tmp_path / "b.jsonl.zst").write_bytes(zstandard.compress(data + b"\n"))
    expected = [position for position, row in enumerate(rows) if row.strip()] or [None]
    plain, packed = (read(tmp_path / name) for name in ("a.jsonl", "b.jsonl.zst"))
    assert [record.position for record in plain] == [record.position for record in packed] == expected
    (tmp_path / "b.jsonl.zst").write_bytes(zstandard.compress(data)[:cut])
    assert all(
        one == other or other.reason in ("unreadable_file", "empty_file", "invalid_json", "record_too_long")
        for one, other in zip(plain, read(tmp_path / "b.jsonl.zst"), strict=False)
    )


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.zst", "a.parquet"])
def test_an_empty_file(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    assert [reason for _, reason in bad(tmp_path / name)] in (["empty_file"], ["unreadable_file"])
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "b.parquet")
    assert bad(tmp_path / "b.parquet") == [(None, "empty_file")]


def test_gsm8k_is_split_and_its_marks_taken_out(tmp_path):
    row = {"question": "How many?", "answer": "He has 48/2 = <<48/2=24>>24 of 1,000.\n#### 1,024"}
    (tmp_path / "a.jsonl").write_bytes(lines(row, {"question": "q", "answer": "no final answer"}))
    good, refused = read(tmp_path / "a.jsonl", role="qa", adapter="gsm8k")
    assert good.fields == (None, None, None, "How many?", "He has 48/2 = 24 of 1,000.\n#### 1,024", "1024")
    assert refused.reason == "no_final_answer"


def test_columns_are_mapped_and_numbers_become_text(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(lines({"prompt": "2+2?", "gold": 4.0, "key": 17}))
    columns = {"question": "prompt", "answer": "gold", "id": "key"}
    assert read(tmp_path / "a.jsonl", role="rl", columns=columns)[0].fields == (None, "17", None, "2+2?", None, "4")


def test_files_of_a_folder_a_glob_and_a_url(tmp_path):
    for name in ("x/b.jsonl", "x/a.parquet", "x/y/c.jsonl.zst", "x/README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    names = [file.name for file in find_files(recipe(tmp_path / "x"), None)]
    assert names == ["a.parquet", "b.jsonl", "y/c.jsonl.zst"]
    assert [file.name for file in find_files(recipe(tmp_path / "x" / "*.jsonl"), None)] == ["b.jsonl"]
    assert [file.name for file in find_files(recipe(f"file://{tmp_path}/x"), None)] == names  # type: ignore[arg-type]
    assert find_files(recipe(tmp_path / "x" / "README.md", format="jsonl"), None)[0].format == "jsonl"


def test_a_remote_file_is_copied_and_the_copy_removed(tmp_path):
    with fsspec.open("memory://bucket/a.jsonl", "wb") as stream:
        stream.write(lines(GOOD, {"text": None}))
    source = recipe("memory://bucket")  # type: ignore[arg-type]
    (file,) = find_files(source, None)
    assert [type(record) for record in read_records(file, source, LIMIT, tmp_path)] == [Good, Bad]
    assert list(tmp_path.iterdir()) == []


def test_remote_files_read_at_the_same_time_do_not_meet(tmp_path):
    for name in "ab":
        with fsspec.open(f"memory://pair/{name}.jsonl", "wb") as stream:
            stream.write(lines(*({"text": f"{name} {n}"} for n in range(9))))
    source = recipe("memory://pair")  # type: ignore[arg-type]
    readers = [read_records(file, source, LIMIT, tmp_path) for file in find_files(source, None)]
    texts = [[record.fields[2] for record in pair if isinstance(record, Good)] for pair in zip(*readers, strict=True)]
    assert texts == [[f"a {n}", f"b {n}"] for n in range(9)]


def test_what_the_user_must_put_right(tmp_path):
    with pytest.raises(UserError, match="nothing at"):
        find_files(recipe(tmp_path / "absent"), None)
    with pytest.raises(UserError, match="cannot list"):
        find_files(recipe("nowhere://at/all"), None)  # type: ignore[arg-type]
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match="ends in"):
        find_files(recipe(tmp_path / "notes.txt"), None)
    (tmp_path / "a.jsonl").write_bytes(lines(GOOD))
    wrong = recipe(tmp_path / "a.jsonl", columns={"text": "body"})
    with pytest.raises(UserError, match="no file has column body"):
        check_columns(wrong, find_files(wrong, None))


PAGE = b"<title>T</title><link rel=canonical href=https://a.org/1><p>Let <math><mi>x</mi></math> be caf\xe9.</p>"


def test_html_files_are_one_record_each_and_read_in_groups(tmp_path, monkeypatch):
    monkeypatch.setattr("curation.reading.files.PAGES_PER_TASK", 3)
    pages = {"a.html": PAGE, "b.htm": b"", "c/d.html": b"<nav>x</nav>", "e.html": b"<p>" + b"x" * LIMIT, "f.html": PAGE}
    for name, data in pages.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    files = find_files(recipe(tmp_path), None)
    assert [file.parts for file in files] == [("a.html", "b.htm", "c/d.html"), ("e.html", "f.html")]
    found = [(record.position, getattr(record, "reason", "good")) for record in read(tmp_path)]
    assert found == [(0, "good"), (None, "empty_file"), (0, "no_text"), (0, "record_too_long"), (0, "good")]
    assert [record.file for record in read(tmp_path)] == sorted(pages)
    good, _, refused, *_ = read(tmp_path)
    assert isinstance(good, Good) and good.fields[:3] == ("https://a.org/1", None, "Let $x$ be café.")
    assert isinstance(refused, Bad) and refused.file == "c/d.html"
    assert files[0].files[2].url == f"file://{tmp_path}/c/d.html"


def test_a_column_of_html(tmp_path):
    pq.write_table(
        pa.table({"html": [PAGE, b"<nav>x</nav>", b" ", None], "link": ["u", "v", "w", "x"]}), tmp_path / "a.parquet"
    )
    (tmp_path / "b.jsonl").write_bytes(lines({"html": "<p>caf&eacute; <img class=latex alt='$y$'>"}))
    fields = {"adapter": "html", "columns": {"text": "html", "url": "link"}}
    first, *bad_ones, last = read(tmp_path, **fields)
    assert isinstance(first, Good) and first.fields[:3] == ("u", None, "Let $x$ be café.")
    assert [record.reason for record in bad_ones] == ["no_text", "empty_field", "null_field"]  # type: ignore[union-attr]
    assert isinstance(last, Good) and last.fields[2] == "café $y$"

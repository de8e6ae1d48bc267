"""Large files in pieces: each record once, at its place in the whole file, and one corpus at any size of a task."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curation.config import SourceRecipe
from curation.execution.shards import cut, estimate, share
from curation.pipeline import curate
from curation.reading.files import InputFile, find_files
from curation.reading.records import read_records
from manifests.errors import UserError
from manifests.store import Store

SOURCE = {"name": "s", "role": "general"}
LINES = st.lists(
    st.one_of(
        st.text(max_size=30).map(lambda text: json.dumps({"text": text}).encode()),
        st.sampled_from([b"", b"{", b"\xff", b"[]", b'{"text": "' + b"x" * 300 + b'"}']),
    ),
    min_size=1,
    max_size=40,
)


def found(path: Path, task_bytes: int) -> tuple[int, list[object]]:
    """How many pieces, and all that is read of them in order."""
    source = SourceRecipe.model_validate(SOURCE | {"path": str(path)})
    pieces = cut(tuple(find_files(source, None)), task_bytes)
    return len(pieces), [record for piece in pieces for record in read_records(piece, source, 200, path.parent)]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=LINES, task_bytes=st.integers(1, 300), end=st.sampled_from([b"", b"\n", b"\r\n"]))
def test_jsonl_in_pieces_gives_the_records_of_the_whole(lines, task_bytes, end, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(lines) + end)
    whole, pieces = found(path, 1 << 30), found(path, task_bytes)
    if any(line.strip() for line in lines):  # else the whole file is one row: that it holds nothing
        assert pieces[1] == whole[1]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.integers(1, 200), group=st.integers(1, 60), task_bytes=st.integers(1, 3000))
def test_parquet_in_pieces_gives_the_records_of_the_whole(rows, group, task_bytes, tmp_path):
    path = tmp_path / "a.parquet"
    texts = [f"text {number} " * (number % 7) for number in range(rows)]
    pq.write_table(pa.table({"other": list(range(rows)), "text": texts}), path, row_group_size=group)
    count, records = found(path, task_bytes)
    assert records == found(path, 1 << 30)[1]
    assert 1 <= count <= -(-rows // group)


def test_a_damaged_row_group_is_lost_alone_whoever_reads_it(tmp_path):
    path = tmp_path / "a.parquet"
    texts = {"text": [f"text {number}" for number in range(1000)]}
    pq.write_table(pa.table(texts), path, row_group_size=100, compression="snappy", use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    path.write_bytes(data)
    assert found(path, 1000)[0] > 3
    assert found(path, 1000)[1] == found(path, 1 << 30)[1]


def test_what_has_no_places_to_begin_at_stays_whole(tmp_path):
    rows = b"\n".join(json.dumps({"text": "x" * 100}).encode() for _ in range(100))
    (tmp_path / "a.jsonl.zst").write_bytes(zstandard.compress(rows))
    (tmp_path / "b.parquet").write_bytes(b"no Parquet at all, whatever it is called")
    assert found(tmp_path / "a.jsonl.zst", 10)[0] == 1
    assert found(tmp_path / "b.parquet", 10)[0] == 1


def test_a_piece_whose_bytes_change_is_told(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "a"}\n' * 20)
    source = SourceRecipe.model_validate(SOURCE | {"path": str(path)})
    first, *_ = cut(tuple(find_files(source, None)), 100)
    path.write_bytes(b'{"text": "b"}\n' * 20)
    with pytest.raises(UserError, match="changed while it was read"):
        list(read_records(first, source, 200, tmp_path))


@given(sizes=st.lists(st.integers(0, 50), max_size=30), task_bytes=st.integers(1, 60))
def test_shares_hold_each_task_once_in_order_and_no_more_than_a_task_is_large(sizes, task_bytes):
    files = tuple(InputFile("s", str(number), f"/{number}", "warc", size) for number, size in enumerate(sizes))
    shares = share(files, task_bytes)
    assert [task for held in shares for task in held] == list(range(len(files)))
    assert all(len(held) == 1 or sum(sizes[task] for task in held) <= task_bytes for held in shares)
    assert estimate(files, task_bytes) == (len(files), len(shares))
    parquet = replace(files[0], format="parquet", bytes=10 * task_bytes) if files else None
    assert parquet is None or estimate((parquet,), task_bytes) == (10, 10)


def test_the_size_of_a_task_leaves_no_trace_in_the_corpus(sample, tokenizer, corpus, tmp_path):
    recipe = sample.recipe(tokenizer, place={"task_bytes": "20K"})
    assert curate(Store(tmp_path), recipe).id == corpus.id
    (run,) = (tmp_path / "runs").iterdir()
    lines = [json.loads(line) for line in (run / "tasks.jsonl").read_text().splitlines()]
    assert len(lines) > 20 and {line["state"] for line in lines} == {"done"}
    assert sum(line["records"] for line in lines) == sum(n["records"] for n in corpus.counts["inputs"].values())

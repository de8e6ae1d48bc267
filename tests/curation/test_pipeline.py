"""The whole way: what was planted is found, nothing is lost, and the ID depends on content alone."""

import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import zstandard

from curation.config import CurateRecipe
from curation.execution.local import run_tasks
from curation.measures.decontaminate import PARTS
from curation.measures.signatures import from_column
from curation.pipeline import _cpu_time as cpu_time
from curation.pipeline import curate, input_files, plan
from curation.sample.write import write_sample
from curation.tasks import Job, task_record
from manifests.errors import UserError
from manifests.manifest import check_launch, load_all, resolve, tag, verify
from manifests.recipe import parse
from manifests.store import Store

PRECEDENCE = {
    "contaminated", "too_short", "boilerplate", "symbols", "not_mathematical", "loop", "repetition",
    "exact_duplicate", "near_duplicate",
}  # fmt: skip


def by_url(corpus) -> dict[str, dict]:
    return {row["url"]: row for row in corpus.read("documents").to_pylist()}


# -- what was planted ------------------------------------------------------------------------------------------------


def test_leaks_are_found_with_their_item_and_nothing_else_is(corpus, sample):
    documents = by_url(corpus)
    leaks = {url: label for url, label in sample.labels.items() if label["kind"] == "leak"}
    for url, label in leaks.items():
        assert documents[url]["drop_reason"] == "contaminated", label
        assert json.loads(documents[url]["drop_evidence"])["item"] == label["of"]
    assert {url for url, row in documents.items() if row["drop_reason"] == "contaminated"} == set(leaks)


def test_copies_are_found_and_one_of_each_is_kept(corpus, sample):
    documents, names = by_url(corpus), {row["doc_id"]: row for row in corpus.read("documents").to_pylist()}
    for url, label in sample.labels.items():
        copy, original = documents[url], documents.get(label["of"])
        if label["kind"] == "exact":
            assert copy["text_digest"] == original["text_digest"]
            assert "exact_duplicate" in (copy["drop_reason"], original["drop_reason"])
        if label["kind"] == "near" and float(label["detail"].split()[0]) <= 0.01:
            assert copy["drop_reason"] or original["drop_reason"], label
            assert copy["cluster_id"] == original["cluster_id"] is not None
    for row in documents.values():
        if row["drop_reason"] in ("exact_duplicate", "near_duplicate"):
            evidence = json.loads(row["drop_evidence"])
            assert evidence["keeper"] == row["keeper_id"] and evidence["similarity"] >= 0.7
            assert names[row["keeper_id"]]["drop_reason"] is None


def test_templated_problems_survive_and_junk_does_not(corpus, sample):
    kinds = Counter()
    documents = by_url(corpus)
    for url, label in sample.labels.items():
        kinds[label["kind"], documents[url]["drop_reason"] is None] += 1
    assert kinds["template", True] > 0 and kinds["template", False] == 0
    assert kinds["boilerplate", True] == kinds["poor", True] == 0


def test_the_funnel_balances(corpus):
    rows, lost = Counter(), Counter(corpus.read("quarantine")["source"].to_pylist())
    tokens = Counter()
    for row in corpus.read("documents", ["source", "n_tokens", "drop_reason"]).to_pylist():
        rows[row["source"]] += 1
        tokens[row["source"]] += row["n_tokens"]
        assert row["drop_reason"] in PRECEDENCE | {None}
    for source, read in corpus.counts["inputs"].items():
        assert read["records"] == rows[source] + lost[source]
        assert read["tokens"] == tokens[source]
    assert lost == {"web": 7}


def test_families_lie_row_for_row_beside_each_other(corpus, sample):
    documents = corpus.read("documents")
    names = documents["doc_id"].to_pylist()
    for family in ("texts", "origins", "signatures"):
        assert corpus.read(family)["doc_id"].to_pylist() == names
    order = list(zip(documents["source"].to_pylist(), names, strict=True))
    assert order == sorted(order) and len(set(names)) == len(names)
    texts = corpus.read("texts").to_pylist()
    assert all(len(row["text"]) == n for row, n in zip(texts, documents["n_chars"].to_pylist(), strict=True))
    for source, row in zip(documents["source"].to_pylist(), texts, strict=True):
        if source in ("qa", "long_cot"):
            assert row["text"] == f"Question:\n{row['question']}\nAnswer:\n{row['response']}"
    assert from_column(corpus.read("signatures")["signature"].combine_chunks(), 120).dtype == np.uint32


def test_the_manifest_is_sound_and_names_its_benchmark(corpus, store):
    assert verify(store, corpus) == []
    check_launch(store, corpus)
    assert corpus.parents == (resolve(store, "arithmetic@1").id,)
    items = len(resolve(store, "arithmetic@1").read("items"))
    assert corpus.counts["items"] == {"all": items, "unmatchable": 0, "solutions": 0}
    assert "path" not in json.dumps(corpus.recipe)
    assert store.list("work") == []


# -- the same input, the same ID -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    write_sample(folder, seed=3, documents=200)
    return folder


def small_recipe(folder: Path, tokenizer: Path, **changes):
    sources = [{"name": name, "path": str(folder / name), "role": name} for name in ("web", "qa")]
    benchmark = {"name": "arithmetic", "path": str(folder / "benchmark" / "arithmetic.jsonl")}
    plain = {"name": "small", "tokenizer": str(tokenizer), "sources": sources}
    return parse(plain | {"decontaminate": {"benchmarks": [benchmark]}} | changes, CurateRecipe, "test")


@pytest.fixture(scope="module")
def built(small, tokenizer, tmp_path_factory):
    """`small`, curated by one worker into a store of its own."""
    return curate(Store(tmp_path_factory.mktemp("built")), small_recipe(small, tokenizer), workers=1)


def shuffled(folder: Path, target: Path) -> Path:
    """The same records in other files, in another order."""
    shutil.copytree(folder, target)
    draw = random.Random(1)
    for source in ("web", "qa"):
        rows = (target / source / "part-0.jsonl").read_bytes().splitlines(keepends=True)
        rows += zstandard.decompress((target / source / "part-1.jsonl.zst").read_bytes()).splitlines(keepends=True)
        draw.shuffle(rows)
        (target / source / "part-0.jsonl").write_bytes(b"".join(rows[:11]))
        (target / source / "part-1.jsonl.zst").write_bytes(zstandard.compress(b"".join(rows[11:])))
        (target / source / "part-2.parquet").rename(target / source / "a.parquet")
    return target


@pytest.mark.parametrize("workers", [2, 5])
def test_workers_leave_no_trace(small, tokenizer, built, tmp_path, workers):
    assert curate(Store(tmp_path), small_recipe(small, tokenizer), workers).id == built.id


def test_file_names_and_the_order_of_records_leave_no_trace(small, tokenizer, built, tmp_path):
    other = shuffled(small, tmp_path / "shuffled")
    assert curate(Store(tmp_path / "store"), small_recipe(other, tokenizer)).id == built.id


def test_work_done_is_found_and_other_settings_are_other_work(small, tokenizer, built):
    store = built.store
    written = store.list("objects")
    assert curate(store, small_recipe(small, tokenizer)).id == built.id
    assert curate(store, small_recipe(small, tokenizer, name="again", version=2)).ref == "again@2"
    assert store.list("objects") == written
    with pytest.raises(UserError, match="already names"):
        curate(store, small_recipe(small, tokenizer, quality={"min_words": 50}))


def test_a_name_that_is_taken_is_refused_before_anything_is_read(small, tokenizer, built, monkeypatch):
    store, recipe = built.store, small_recipe(small, tokenizer)
    monkeypatch.setattr("curation.pipeline._built", lambda *_: pytest.fail("work was done for a name that is taken"))
    with pytest.raises(UserError, match=f"{built.ref} already names {built.id}, .* other quality"):
        curate(store, small_recipe(small, tokenizer, quality={"min_words": 51}))
    benchmark = next(one for one in load_all(store)[0] if one.kind == "benchmark")
    with pytest.raises(UserError, match="would name both the corpus and the benchmark"):
        curate(store, recipe.model_copy(update={"name": benchmark.name, "version": benchmark.version}))
    with pytest.raises(UserError, match="would name both the corpus and the benchmark"):
        plan(store, recipe.model_copy(update={"name": benchmark.name, "version": benchmark.version}))
    tag(store, benchmark.id, "taken", "1")
    with pytest.raises(UserError, match=f"taken@1 already names {benchmark.id}, a benchmark"):
        curate(store, small_recipe(small, tokenizer, name="taken", quality={"min_words": 51}))


def test_a_killed_worker_is_told_and_the_next_run_goes_on(small, tokenizer, built, tmp_path):
    store, stop = Store(tmp_path), threading.Event()
    killer = threading.Thread(target=kill_one_worker, args=(str(tmp_path), stop))
    killer.start()
    try:
        with pytest.raises(UserError, match="killed by signal 9"):
            curate(store, small_recipe(small, tokenizer), workers=2)
    finally:
        stop.set()
        killer.join()
    again = curate(store, small_recipe(small, tokenizer), workers=2)
    assert again.id == built.id
    assert store.list("work") == []


def kill_one_worker(place: str, stop: threading.Event) -> None:
    """SIGKILL the first curation worker whose command line names `place`."""
    while not stop.is_set():
        listed = subprocess.run(
            ["pgrep", "-f", f"curation.execution.worker {place}"], capture_output=True, text=True, check=False
        )
        if listed.stdout.split():
            os.kill(int(listed.stdout.split()[0]), signal.SIGKILL)
            return
        time.sleep(0.02)


def test_only_tasks_without_sound_output_run_again(small, tokenizer, tmp_path):
    recipe = small_recipe(small, tokenizer, decontaminate={})
    job = Job(tmp_path / "work", recipe, tokenizer, input_files(recipe, None))
    job.folder.mkdir()
    empty = PARTS.empty_table()
    pq.write_table(empty, job.items)
    run_tasks(job, 1)
    written = {file.name + file.source: (job.output(file) / "done.json").stat().st_mtime_ns for file in job.files}
    (job.output(job.files[0]) / "done.json").unlink()
    damaged = job.output(job.files[1]) / "documents.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    run_tasks(job, 1)
    again = {file.name + file.source: (job.output(file) / "done.json").stat().st_mtime_ns for file in job.files}
    changed = [name for name in written if written[name] != again[name]]
    assert changed == [file.name + file.source for file in job.files[:2]]
    assert all(task_record(job, file) for file in job.files)


# -- bad input -------------------------------------------------------------------------------------------------------

LINES = (
    b'{"text": "a good line about the sum of two numbers"}', b'{"text": null}', b"{}", b"[]", b"{", b"", b"\xff",
    b'{"text": 3}', b'{"text": ""}', b'{"text": "' + b"x" * 500 + b'"}', b'{"text": "same"}', b'{"text": "same"}',
    b'{"text": "\\u200b"}',
)  # fmt: skip


@pytest.fixture(scope="module")
def faulty(tokenizer, tmp_path_factory):
    """A corpus of good and bad lines, one Parquet file that is none, a zstd file cut off, and an empty file."""
    folder = tmp_path_factory.mktemp("faulty")
    (folder / "in").mkdir()
    packed = zstandard.compress(b"\n".join(LINES * 50))
    for name, data in {
        "a.jsonl": b"\n".join(LINES),
        "b.parquet": b"PAR1",
        "c.jsonl": b"",
        "d.jsonl.zst": packed[:-9],
    }.items():
        (folder / "in" / name).write_bytes(data)
    source = {"name": "s", "path": str(folder / "in"), "role": "general"}
    plain = {"name": "faulty", "tokenizer": str(tokenizer), "sources": [source], "quality": {"min_words": 0}}
    recipe = parse(plain | {"max_record_bytes": 300}, CurateRecipe, "test")
    return curate(Store(folder / "store"), recipe)


def test_bad_input_ends_in_quarantine_and_the_funnel_balances(faulty):
    quarantine = faulty.read("quarantine").to_pylist()
    assert faulty.counts["inputs"]["s"]["records"] == len(faulty.read("documents")) + len(quarantine)
    reasons = {name: [row["reason"] for row in quarantine if row["file"] == name] for name in ("a.jsonl", "b.parquet")}
    assert reasons["b.parquet"] == ["unreadable_file"]
    assert reasons["a.jsonl"] == [
        "null_field", "missing_field", "not_an_object", "invalid_json", "invalid_utf8", "empty_field",
        "record_too_long",
    ]  # fmt: skip
    assert {(row["file"], row["position"]) for row in quarantine if row["reason"] == "empty_file"} == {
        ("c.jsonl", None)
    }
    assert [row["reason"] for row in quarantine if row["file"] == "d.jsonl.zst"][-1] == "unreadable_file"


def test_identical_records_are_rows_of_their_own(faulty):
    rows = faulty.read("documents").to_pylist()
    same = [row for row in rows if row["n_chars"] == len("same")]
    assert len(same) >= 2 and len({row["doc_id"] for row in rows}) == len(rows)
    assert sorted(row["drop_reason"] or "" for row in same) == [""] + ["exact_duplicate"] * (len(same) - 1)


def test_what_the_user_must_put_right(small, tokenizer, tmp_path):
    store = Store(tmp_path)
    with pytest.raises(UserError, match="sources"):
        small_recipe(small, tokenizer, sources=[])
    with pytest.raises(UserError, match="called web"):
        small_recipe(small, tokenizer, sources=[{"name": "web", "path": "x", "role": "web"}] * 2)
    with pytest.raises(UserError, match="no tokenizer"):
        curate(store, small_recipe(small, tmp_path / "none"))
    with pytest.raises(UserError, match="nothing at"):
        curate(store, small_recipe(tmp_path / "none", tokenizer))
    with pytest.raises(UserError, match=r"decontaminate\.folder"):
        curate(store, small_recipe(small, tokenizer, decontaminate={"folder": str(tmp_path)}))


@pytest.mark.parametrize(
    ("seconds", "says"),
    [
        (0.02, "less than 1 CPU-second"),
        (1.2, "1 CPU-second"),
        (119, "119 CPU-seconds"),
        (121, "2 CPU-minutes"),
        (7_200, "2 CPU-hours"),
        (54_000, "15 CPU-hours"),
        (3.6e7, "10,000 CPU-hours"),
    ],
)
def test_a_plan_gives_the_processor_time_in_a_unit_for_people(seconds: float, says: str):
    assert cpu_time(seconds) == says


def test_a_plan_names_the_stages_and_writes_nothing(small, tokenizer, tmp_path):
    rows = plan(Store(tmp_path / "store"), small_recipe(small, tokenizer))
    assert [row.stage for row in rows] == [
        "read",
        "read",
        "freeze benchmark",
        "annotate",
        "decontaminate",
        "quality",
        "copies",
        "freeze",
    ]
    assert rows[0].files == 4 and rows[0].bytes > 2_000_000
    assert not (tmp_path / "store").exists()

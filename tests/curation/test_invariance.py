"""Decisions depend on the records alone, and no fault of a file loses one: properties of the whole pipeline.

The tasks run in this process, for a worker takes seconds to start; that workers leave no trace is test_pipeline's.
"""

import json
import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from loguru import logger

from curation import pipeline
from curation.config import CurateRecipe
from curation.execution.worker import work
from curation.tasks import Job, task_record
from manifests.manifest import Manifest
from manifests.recipe import parse
from manifests.store import Store

SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


@pytest.fixture(scope="module", autouse=True)
def tasks_in_this_process():
    """`run_tasks` without processes: each share of the files goes through the worker's own function."""

    def run(job: Job, workers: int) -> None:
        job.save()
        pending = [place for place, file in enumerate(job.files) if task_record(job, file) is None]
        for number in range(workers):
            if share := pending[number::workers]:
                work(job, number, share)

    logger.disable("datatrove")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "run_tasks", run)
        yield
    logger.enable("datatrove")


def recipe(tokenizer: Path, folder: Path) -> CurateRecipe:
    """Two sources, `a` before `b`; a record whose `kind` is `bad` is dropped by a rule of the source."""
    sources = [
        {"name": name, "path": str(folder / name), "role": "general", "only": {"kind": ["good"]}} for name in ("a", "b")
    ]
    plain = {"name": "c", "tokenizer": str(tokenizer), "sources": sources, "quality": {"min_words": 3}}
    return parse(plain, CurateRecipe, "test")


def write(rows: list[dict[str, Any]], path: Path) -> None:
    if path.suffix == ".parquet":
        return pq.write_table(pa.Table.from_pylist(rows), path)
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    path.write_bytes(zstandard.compress(data) if path.suffix == ".zst" else data)


# -- order and partition ---------------------------------------------------------------------------------------------

WORDS = [
    "prime",
    "integer",
    "group",
    "ring",
    "field",
    "limit",
    "proof",
    "lemma",
    "sum",
    "angle",
    "circle",
    "vector",
    "matrix",
    "root",
    "point",
    "line",
]


def story(seed: int) -> list[str]:
    return random.Random(seed).choices(WORDS, k=60)


def changed(words: list[str], places: list[int]) -> str:
    return " ".join(f"changed{place}" if place in places else word for place, word in enumerate(words))


POOL = (
    *(changed(story(seed), []) for seed in range(4)),
    *(changed(story(0), [place]) for place in (5, 30, 55)),  # near-duplicates of the first, and of each other
    *(changed(story(1), list(range(start, 60, 25))) for start in (0, 9)),
    *(changed(story(2), list(range(last))) for last in (3, 6, 9, 12)),  # a chain: each is near to its neighbours
    *(f"What is {n} plus 4? Add {n} and 4 and write down the sum of both numbers." for n in (11, 12)),
    "too short",
)
RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "source": st.sampled_from("ab"),
            "text": st.sampled_from(POOL),
            "id": st.sampled_from(["1", "2", None]),
            "kind": st.sampled_from(["good", "bad"]),
        }
    ),
    min_size=1,
    max_size=30,
)


def lay_out(records: list[dict[str, Any]], folder: Path, draw: random.Random) -> None:
    """The records in random order in random files; only their source is kept together."""
    draw.shuffle(records)
    for source in ("a", "b"):
        (folder / source).mkdir(parents=True)
        files: dict[int, list[dict[str, Any]]] = defaultdict(list)
        count = draw.randint(1, 4)
        for record in records:
            if record["source"] == source:
                files[draw.randrange(count)].append(record)
        for rows in files.values() or [[]]:
            suffix = draw.choice([".jsonl", ".jsonl.zst", ".parquet"]) if rows else ".jsonl"
            write(rows, folder / source / f"{draw.randrange(10**9)}{suffix}")


def decisions(manifest: Manifest) -> dict[str, tuple[str | None, ...]]:
    columns = ["drop_reason", "drop_evidence", "keeper_id", "cluster_id"]
    rows = manifest.read("documents", ["doc_id", *columns]).to_pylist()
    return {row["doc_id"]: tuple(row[name] for name in columns) for row in rows}


TWINS = [{"source": "a", "text": POOL[0], "id": None, "kind": kind} for kind in ("good", "bad", "good", "bad")]


@settings(max_examples=8, deadline=None, suppress_health_check=SLOW)
@given(records=RECORDS, seeds=st.tuples(st.integers(0, 99), st.integers(100, 199)), workers=st.integers(1, 3))
@example(records=TWINS, seeds=(0, 100), workers=1)
@example(records=TWINS, seeds=(3, 104), workers=2)
def test_order_partition_and_workers_change_nothing(records, seeds, workers, tokenizer, tmp_path_factory):
    built = []
    for seed, processes in zip(seeds, (1, workers), strict=True):
        folder = tmp_path_factory.mktemp("laid-out")
        lay_out(list(records), folder / "in", random.Random(seed))
        built.append(pipeline.curate(Store(folder / "store"), recipe(tokenizer, folder / "in"), processes))
    first, second = map(decisions, built)
    assert len(first) == len(records)
    assert first == second
    assert built[0].id == built[1].id


# -- faults ----------------------------------------------------------------------------------------------------------

NAMES = ("0.jsonl", "1.jsonl.zst", "2.parquet", "3.jsonl")
FAULTS = st.lists(
    st.tuples(
        st.sampled_from(NAMES[:3]),
        st.sampled_from(["cut", "flip", "zero", "insert"]),
        st.floats(0, 1),
        st.integers(1, 200),
    ),
    max_size=4,
)


def damage(path: Path, kind: str, where: float, length: int) -> None:
    data = path.read_bytes()
    at = int(where * len(data))
    middle = data[at : at + length]
    match kind:
        case "cut":
            path.write_bytes(data[:at])
        case "flip":
            path.write_bytes(data[:at] + bytes(byte ^ 0x55 for byte in middle) + data[at + length :])
        case "zero":
            path.write_bytes(data[:at] + bytes(len(middle)) + data[at + length :])
        case "insert":
            path.write_bytes(data[:at] + random.Random(length).randbytes(length) + data[at:])


def texts_by_file(manifest: Manifest) -> dict[str, Counter[str]]:
    texts = dict(zip(*(manifest.read("texts")[name].to_pylist() for name in ("doc_id", "text")), strict=True))
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for row in manifest.read("origins").to_pylist():
        found[row["file"]][texts[row["doc_id"]]] += 1
    return found


@settings(max_examples=12, deadline=None, suppress_health_check=SLOW)
@given(faults=FAULTS)
def test_the_funnel_balances_under_any_damage_and_whole_files_stay_whole(faults, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    for source in ("a", "b"):
        (folder / source).mkdir()
        for number, name in enumerate(NAMES):
            rows = [
                {"id": f"{number}-{n}", "text": f"{source} {number} {n}: {POOL[n % 4]}", "kind": "good"}
                for n in range(40)
            ]
            write(rows, folder / source / name)
    for name, *fault in faults:
        damage(folder / "a" / name, *fault)
    manifest = pipeline.curate(Store(folder / "store"), recipe(tokenizer, folder))
    check_funnel(manifest)
    texts = texts_by_file(manifest)
    assert sum(texts["3.jsonl"].values()) == 80
    for name in {*NAMES} - {fault[0] for fault in faults}:
        assert sum(texts[name].values()) == 80


def check_funnel(manifest: Manifest) -> None:
    """Records in = documents + quarantine rows for each source, and no record is two rows."""
    sources = manifest.read("documents", ["source"])["source"].to_pylist()
    origins = manifest.read("origins").to_pylist()
    places = [(source, row["file"], row["position"]) for source, row in zip(sources, origins, strict=True)]
    places += [(row["source"], row["file"], row["position"]) for row in manifest.read("quarantine").to_pylist()]
    assert len(set(places)) == len(places)
    counted = Counter(source for source, _, _ in places)
    assert {source: read["records"] for source, read in manifest.counts["inputs"].items()} == counted

"""How fast mixtures are planned, frozen, tokenised and read, beside what one would reach for instead.

    python -m benchmarks.mixtures [--rows 10000000] [--documents 20000] [--part freeze|tokens|batches|arithmetic]

    arithmetic   a plan of 1T tokens from 100 components; the positions of a step in a stream of 10⁹ sequences
    freeze       plan and freeze a mixture over a corpus manifest of --rows rows, against the same selection by DuckDB
                 (ORDER BY hash) and by Hugging Face datasets (filter, shuffle, interleave_datasets)
    tokens       tokenise --documents pages into .ds files, against Datatrove's DocumentTokenizer
    batches      read shuffled batches at length 8,192, against Datatrove's folder dataset, which nanotron's stock path
                 reads through, and against `datasets` streaming

Each measured thing is a process of its own, so that its peak memory is its own; seconds are CPU seconds of all its
threads, wall seconds beside them. Text is that of Python's library in pieces of 2,400 characters; for the freeze, which
is about rows, the beginnings of such pieces. Leaves out nanotron itself: its blendable index only chooses which folder
dataset is asked next. Not a test: a missed aim is printed as missed.
"""

import argparse
import multiprocessing
import os
import shutil
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.memory import peak_bytes
from curation.measures.vocabulary import Vocabulary
from manifests import tables
from manifests.manifest import Draft, Manifest, resolve
from manifests.recipe import parse
from manifests.store import Store
from mixtures.config import MixRecipe
from mixtures.mix import mix
from mixtures.order import Order
from mixtures.plan import Supply, solve
from mixtures.reader import MixtureReader
from mixtures.selection import Selection
from mixtures.tokens import Places, count_tokens, write_tokens

POOL = 10_000
ROWS_PER_TABLE = 500_000
SOURCES = ("web", "qa", "long_cot")
LENGTH = 8192
BATCH = 64
WINDOWS = 1000


# -- each in a process of its own ----------------------------------------------------------------------------------


def measured(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """What `work` returns, with its cpu and wall seconds and its peak memory in GB, run in a fresh process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(theirs, work, arguments))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    finally:
        process.join()


def _child(pipe: Any, work: Callable[..., dict[str, Any]], arguments: tuple) -> None:
    cpu, wall = time.process_time(), time.perf_counter()
    found = work(*arguments)
    spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    pipe.send(spent | found | {"memory": peak_bytes() / 1e9})


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of `work`, and what it returns."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def line(name: str, found: dict[str, Any], aim: str = "", met: bool | None = None) -> None:
    verdict = "" if met is None else "met" if met else "MISSED"
    text = f"{found['cpu']:8.2f} CPU s {found['wall']:8.2f} s {found['memory']:6.2f} GB"
    print(f"{name:58} {text}  {found.get('says', '')}  {aim} {verdict}", flush=True)


# -- arithmetic ----------------------------------------------------------------------------------------------------


def planning() -> dict[str, Any]:
    draw = np.random.default_rng(0)
    asked = [Supply(f"c{i}", w, 4, 10**6, 10**12) for i, w in enumerate(draw.dirichlet(np.full(100, 0.5)) + 1e-6)]
    cpu, plan = timed(lambda: solve(asked, 10**12 // LENGTH, LENGTH))
    return {"cpu": cpu, "says": f"{plan.sequences:,} sequences"}


def one_step() -> dict[str, Any]:
    """Positions of one step, after compiling, each time in another place of the stream."""
    counts = np.floor(np.random.default_rng(0).dirichlet(np.full(100, 0.3)) * 10**9).astype(np.int64).tolist()
    Order([3, 5]).at(np.arange(8))
    order, steps = Order(counts), np.random.default_rng(1).integers(0, 10**9 // 512 - 512, 20)
    taken = [timed(lambda step=step: order.at(np.arange(step * 512, (step + 1) * 512)))[0] for step in steps]
    return {"cpu": max(taken), "says": f"slowest of 20; median {np.median(taken) * 1000:.1f} ms"}


def arithmetic() -> None:
    found = measured(planning)
    line("plan of 1T tokens, 100 components", found, "< 1 s", found["cpu"] < 1)
    found = measured(one_step)
    line("positions of a step of 512 in 10⁹ sequences", found, "< 0.01 s", found["cpu"] < 0.01)


# -- freeze --------------------------------------------------------------------------------------------------------


def many_rows(store: Store, rows: int, tokenizer: Path) -> Manifest:
    """A corpus of short documents from a pool, ordered by source and ID, every tenth dropped."""
    vocabulary, draw = Vocabulary.load(tokenizer), np.random.default_rng(0)
    texts = [text[: 40 + i % 80] for i, text in enumerate(real_text(POOL))]
    counts, pool = vocabulary.count(texts), pa.array(texts)

    def families() -> Iterator[tuple[pa.Table, pa.Table]]:
        for start in range(0, rows, ROWS_PER_TABLE):
            n = min(ROWS_PER_TABLE, rows - start)
            heads = (np.arange(start, start + n, dtype=np.uint64) * np.uint64(2**64 // rows)).astype(">u8")
            raw = np.concatenate([heads.view(np.uint8).reshape(n, 8), draw.integers(0, 256, (n, 8), np.uint8)], axis=1)
            digits = np.frombuffer(b"0123456789abcdef", np.uint8)[np.stack([raw >> 4, raw & 15], axis=2)]
            ids = pa.Array.from_buffers(pa.binary(32), n, [None, pa.py_buffer(digits.tobytes())])
            ids = ids.cast(pa.binary()).cast(pa.string())
            which, places = draw.integers(0, POOL, n), np.arange(start, start + n)
            source = pa.array(SOURCES).take(pa.array(places * len(SOURCES) // rows))
            dropped = pa.array(np.where(places % 10 == 0, "too_short", None), pa.string())
            columns = {"doc_id": ids, "source": source, "role": source, "n_chars": counts[which] * 4}
            columns |= {"n_tokens": counts[which], "text_digest": ids, "drop_reason": dropped}
            documents = pa.table(columns | {"score": draw.random(n)})
            for name in ("url", "license", "drop_evidence", "cluster_id", "keeper_id"):
                documents = documents.append_column(name, pa.nulls(n, pa.string()))
            texts_table = pa.table({"doc_id": ids, "text": pool.take(pa.array(which))})
            for name in ("question", "response", "answer"):
                texts_table = texts_table.append_column(name, pa.nulls(n, pa.string()))
            yield documents, texts_table

    draft = Draft(store, "corpus", {"tokenizer": vocabulary.digest, "rows": rows})
    schema = tables.DOCUMENTS.schema.append(pa.field("score", pa.float64()))
    draft.write("documents", (documents for documents, _ in families()), schema)
    draw = np.random.default_rng(0)
    draft.write("texts", (texts for _, texts in families()), tables.TEXTS.schema)
    return draft.commit("rows", "1")


def freeze_recipe(tokenizer: str, tokens: int) -> MixRecipe:
    components = [
        {"name": name, "manifest": "rows@1", "where": f"source = '{name}' AND score > 0.2", "weight": weight}
        for name, weight in zip(SOURCES, (6, 3, 1), strict=True)
    ]
    plain = {"name": "frozen", "components": components, "budget": {"tokens": tokens}}
    return parse(plain | {"sequence_length": LENGTH, "tokenizer": tokenizer, "seed": 1}, MixRecipe, "benchmark")


def freeze_ours(url: str, tokenizer: str, tokens: int) -> dict[str, Any]:
    made = mix(Store(url), freeze_recipe(tokenizer, tokens))
    return {"says": f"{made.counts['documents']:,} documents, {made.counts['tokens']:,} tokens written"}


def freeze_duckdb(url: str, tokens: int, target: str) -> dict[str, Any]:
    """The same documents by weight, in a hashed order, as Parquet: no tokens, no order of sequences."""
    import duckdb  # here and below: no process loads what it does not measure

    files = [Store(url).uri(file.path) for file in resolve(Store(url), "rows@1").files("documents")]
    chosen = 0
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute("SET enable_progress_bar=false")
        for name, share in zip(SOURCES, (0.6, 0.3, 0.1), strict=True):
            connection.execute(
                f"""COPY (SELECT doc_id, n_tokens FROM (
                SELECT doc_id, n_tokens, h, sum(n_tokens + 1) OVER (ORDER BY h) - n_tokens - 1 AS start
                FROM (SELECT doc_id, n_tokens, hash(doc_id || '1') AS h FROM read_parquet({files})
                      WHERE source = '{name}' AND score > 0.2 AND drop_reason IS NULL))
                WHERE start < {int(tokens * share)} ORDER BY h) TO '{target}/{name}.parquet'"""
            )
            chosen += pq.read_metadata(f"{target}/{name}.parquet").num_rows
    return {"says": f"{chosen:,} documents chosen, no tokens"}


def freeze_datasets(url: str, tokens: int, cache: str) -> dict[str, Any]:
    """filter, shuffle and interleave of `datasets`, by probability; the order is an index, nothing is written out."""
    import datasets

    datasets.disable_progress_bars()
    files = [Store(url).uri(file.path) for file in resolve(Store(url), "rows@1").files("documents")]
    columns = ["doc_id", "source", "n_tokens", "score", "drop_reason"]
    whole = datasets.Dataset.from_parquet(files, columns=columns, cache_dir=cache).with_format("arrow")

    def kept(table: pa.Table, name: str) -> list[bool]:
        chosen = pc.and_(pc.equal(table["source"], name), pc.greater(table["score"], 0.2))
        return pc.and_(chosen, pc.is_null(table["drop_reason"])).to_pylist()

    parts = [
        whole.filter(kept, batched=True, batch_size=100_000, fn_kwargs={"name": name}).shuffle(seed=1)
        for name in SOURCES
    ]
    mixed = datasets.interleave_datasets(parts, probabilities=[0.6, 0.3, 0.1], seed=1)
    return {"says": f"{len(mixed):,} documents in order, no tokens; it stops where one source ends"}


def freeze(folder: Path, rows: int) -> None:
    store, tokenizer = Store(folder / "store"), make_tokenizer(folder)
    if not store.exists("manifests/rows/1.json"):
        many_rows(store, rows, tokenizer)
    tokens = rows  # a tenth of the documents, at some ten to twenty tokens each
    target = folder / "target"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    shutil.rmtree(store.full("manifests/frozen"), ignore_errors=True)
    ours = measured(freeze_ours, store.url, str(tokenizer), tokens)
    line(f"freeze over {rows:,} rows: ours", ours, "< 15 CPU s, ≤ 1 GB", ours["cpu"] < 15 and ours["memory"] <= 1)
    for name, work, place in (("DuckDB ORDER BY hash", freeze_duckdb, target), ("datasets", freeze_datasets, target)):
        found = measured(work, store.url, tokens, str(place))
        line(f"  {name}", found | {"says": f"{found['says']}; {found['cpu'] / ours['cpu']:.1f}× our CPU seconds"})


# -- tokens --------------------------------------------------------------------------------------------------------


def real_text(documents: int) -> list[str]:
    """Pieces of 2,400 characters of Python's library: real text, for a small vocabulary flatters word caches."""
    pieces: list[str] = []
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(path for path in library.rglob("*.py") if "site-packages" not in path.parts):
        text = path.read_text("utf-8", errors="replace")
        pieces += [text[start : start + 2400] for start in range(0, len(text), 2400)]
        if len(pieces) >= documents:
            break
    return pieces[:documents]


def make_tokenizer(folder: Path) -> Path:
    """A byte-level BPE of 16k tokens with Llama 3's split."""
    from benchmarks.curation import make_tokenizer

    path = folder / "tokenizer.json"
    return path if path.exists() else make_tokenizer(real_text(2000), folder)


def pages(folder: Path, documents: int) -> Path:
    path = folder / f"pages-{documents}.parquet"
    if not path.exists():
        pq.write_table(pa.table({"text": real_text(documents)}), path)
    return path


class Pages(Selection):
    """Rows of a table as if they were selected from a corpus that was counted with another tokenizer."""

    def __init__(self, table: pa.Table):
        n = table.num_rows
        corpus = Manifest(None, "", "", "corpus", "", "", (), {}, {}, {}, "", {})  # type: ignore[arg-type]
        super().__init__(corpus, np.arange(n), np.zeros(n, np.uint64), np.zeros(n, np.int64))
        object.__setattr__(self, "table", table)

    def texts(self, columns: list[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        start = 0
        for batch in self.table.select(columns).to_batches(max_chunksize=1 << 14):  # type: ignore[attr-defined]
            yield start, batch
            start += batch.num_rows


def tokens_ours(pages_path: str, tokenizer: str, target: str) -> dict[str, Any]:
    """As a freeze does it: a corpus of these pages, all of them one component, its token file."""
    vocabulary, selection = Vocabulary.load(tokenizer), Pages(pq.read_table(pages_path))
    counting, counts = timed(lambda: count_tokens(selection, vocabulary))
    places = Places(np.cumsum(counts) - counts, counts, np.arange(len(counts)))
    writing, _ = timed(
        lambda: write_tokens(selection, places, vocabulary, None, Path(target) / "ours.ds", lambda _: None)
    )
    total = int(counts.sum())
    said = (
        f"{total:,} tokens, {total / writing / 1e6:.1f}M tokens/CPU s; counted before at {total / counting / 1e6:.1f}M"
    )
    return {"cpu": writing, "rate": total / writing, "says": said}


def tokens_datatrove(pages_path: str, tokenizer: str, target: str, documents: int) -> dict[str, Any]:
    """DocumentTokenizer to shuffled .ds files, as nanotron's users run it."""
    from datatrove.data import Document
    from datatrove.pipeline.tokens import DocumentTokenizer
    from loguru import logger

    logger.disable("datatrove")
    texts = pq.read_table(pages_path)["text"].to_pylist()[:documents]
    block = DocumentTokenizer(
        target, tokenizer_name_or_path=tokenizer, eos_token="<|endoftext|>", shuffle_documents=False
    )
    made = [Document(text, str(i)) for i, text in enumerate(texts)]
    cpu, _ = timed(lambda: block.run(iter(made), 0, 1))
    total = sum(path.stat().st_size for path in Path(target).rglob("*.ds")) // 2
    return {"cpu": cpu, "rate": total / cpu, "says": f"{total:,} tokens, {total / cpu / 1e6:.2f}M tokens/CPU s"}


def tokens(folder: Path, documents: int) -> None:
    path, tokenizer = pages(folder, documents), make_tokenizer(folder)
    for name in ("ours", "theirs"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    theirs = measured(tokens_datatrove, str(path), str(tokenizer), str(folder / "theirs"), min(documents, 5_000))
    ours = measured(tokens_ours, str(path), str(tokenizer), str(folder / "ours"))
    ratio = ours["rate"] / theirs["rate"]
    line(f"tokenise {documents:,} pages to .ds: ours", ours, f"{ratio:.0f}×, aim ≥ 20×", ratio >= 20)
    line("  Datatrove DocumentTokenizer", theirs)


# -- batches -------------------------------------------------------------------------------------------------------


def batches_ours(url: str) -> dict[str, Any]:
    """Batches of 64 sequences at random positions: tokens, segments, consumption and spans."""
    store = Store(url)
    reader = MixtureReader(store, resolve(store, "pages@1"))
    shuffled = np.random.default_rng(0).permutation(reader.n_sequences)[: 16 * BATCH].reshape(-1, BATCH)
    reader.batch(shuffled[0])
    cpu, sizes = timed(lambda: [reader.batch(positions).tokens.size for positions in shuffled])
    return {"cpu": cpu, "rate": sum(sizes) / cpu, "says": f"{sum(sizes) / cpu / 1e6:.1f}M tokens/CPU s"}


def batches_datatrove(folder: str) -> dict[str, Any]:
    """Windows of the folder dataset at random positions, with positions as a mask between documents needs them."""
    import torch
    from datatrove.utils.dataset import DatatroveFolderDataset

    data = DatatroveFolderDataset(folder, LENGTH, token_size=2, return_positions=True, shuffle=True, seed=1)
    n = min(len(data), WINDOWS)
    cpu, size = timed(lambda: sum(torch.stack([data[i]["input_ids"]]).numel() for i in range(n)))
    return {"cpu": cpu, "rate": size / cpu, "says": f"{size / cpu / 1e6:.1f}M tokens/CPU s"}


def batches_datasets(files: list[str]) -> dict[str, Any]:
    """`datasets` streaming of tokens that were chunked beforehand, shuffled in its buffer, as arrays."""
    import datasets

    stream = datasets.load_dataset("parquet", data_files=files, split="train", streaming=True)
    stream = stream.shuffle(seed=1, buffer_size=256).with_format("numpy")

    def read() -> int:
        return sum(row["input_ids"].size for _, row in zip(range(WINDOWS), stream, strict=False))

    cpu, size = timed(read)
    return {"cpu": cpu, "rate": size / cpu, "says": f"{size / cpu / 1e6:.1f}M tokens/CPU s, already chunked"}


def batches(folder: Path, documents: int) -> None:
    store, tokenizer = Store(folder / "pages-store"), make_tokenizer(folder)
    if not store.exists("manifests/pages/1.json"):
        commit_pages(store, pages(folder, documents), tokenizer)
    made = resolve(store, "pages@1")
    flat, chunks = folder / "flat", folder / "chunks"
    for place in (flat, chunks):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
    for name, file in made.local("tokens").items():
        shutil.copy(file, flat / name)
    stream = np.fromfile(flat / "all.ds", np.uint16)
    windows = stream[: len(stream) // (LENGTH + 1) * (LENGTH + 1)].reshape(-1, LENGTH + 1)
    pq.write_table(pa.table({"input_ids": pa.array(list(windows), pa.list_(pa.uint16()))}), chunks / "0.parquet")
    ours = measured(batches_ours, store.url)
    line(f"batches of {BATCH} × {LENGTH}, random positions: ours", ours, "≥ 5M tokens/s", ours["rate"] >= 5e6)
    for name, work, place in (
        ("Datatrove folder dataset, with positions", batches_datatrove, str(flat)),
        ("datasets streaming", batches_datasets, [str(chunks / "0.parquet")]),
    ):
        found = measured(work, place)
        line(f"  {name}", found | {"says": f"{found['says']}; ours is {ours['rate'] / found['rate']:.1f}×"})


def commit_pages(store: Store, path: Path, tokenizer: Path) -> Manifest:
    """The pages as a corpus, and one mixture of all of them, twice through."""
    texts, vocabulary = pq.read_table(path)["text"], Vocabulary.load(tokenizer)
    counts, n = vocabulary.count(texts.to_pylist()), len(texts)
    ids = [f"{i * 0x9E3779B97F4A7C15 % 2**64:016x}{i:016x}" for i in range(n)]
    rows = {"doc_id": ids, "source": ["pages"] * n, "role": ["web"] * n, "n_chars": counts, "n_tokens": counts}
    documents = pa.table(rows | {"text_digest": ids})
    for name in ("url", "license", "drop_reason", "drop_evidence", "cluster_id", "keeper_id"):
        documents = documents.append_column(name, pa.nulls(n, pa.string()))
    content = pa.table(
        {"doc_id": ids, "text": texts} | {name: pa.nulls(n, pa.string()) for name in ("question", "response", "answer")}
    )
    draft = Draft(store, "corpus", {"tokenizer": vocabulary.digest})
    draft.write("documents", [documents], tables.DOCUMENTS.schema)
    draft.write("texts", [content], tables.TEXTS.schema)
    draft.commit("corpus", "1")
    plain = {"name": "pages", "components": [{"name": "all", "manifest": "corpus@1", "max_epochs": 2}]}
    plain |= {"budget": {"tokens": int(1.9 * counts.sum())}, "sequence_length": LENGTH, "tokenizer": str(tokenizer)}
    return mix(store, parse(plain, MixRecipe, "benchmark"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of the corpus that is frozen from")
    parser.add_argument("--documents", type=int, default=20_000, help="pages that are tokenised and read")
    parser.add_argument("--part", choices=["arithmetic", "freeze", "tokens", "batches"], help="default: all")
    parser.add_argument("--folder", type=Path, help="where to keep what is generated; default a temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        parts: dict[str, Callable[[], None]] = {
            "arithmetic": arithmetic,
            "freeze": lambda: freeze(folder, arguments.rows),
            "tokens": lambda: tokens(folder, arguments.documents),
            "batches": lambda: batches(folder, arguments.documents),
        }
        for part in [arguments.part] if arguments.part else parts:
            parts[part]()


if __name__ == "__main__":
    main()

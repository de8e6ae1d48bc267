"""Curation beside the stock blocks of Datatrove: quality on planted truth, and speed, in one run.

    python -m benchmarks.curation [--documents 20000] [--items FOLDER] [--stock-documents 2000] [--clusters 10000000]

Figures are CPU seconds of one process unless "wall" is said. Stock blocks that split words get spaCy, as shipped, where
it is installed; and in any case a splitter that is `str.split` alone, which is about 7 times faster: both ratios are
printed, and a bar is met or missed against spaCy, or against the splitter where there is no spaCy (which is harder for
us). Slow stock blocks, and numpy's signatures, get --stock-documents and are scaled to all, as the second line printed
says; the four stages of near-duplicates with the splitter read all, since recall needs that. Leaves out Slurm.
`--documents 100000` is the full run: some 10 minutes of CPU, 2 GB of memory and 3 GB below the temporary folder.
"""

import argparse
import importlib.util
import io
import json
import logging
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter, NGramsDecontIndexer
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.exact_dedup import ExactDedupConfig, ExactDedupSignature, ExactFindDedups
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.tokens.counter import TokensCounter
from datatrove.pipeline.writers import ParquetWriter
from datatrove.utils.hashing import create_hash_func
from datatrove.utils.logging import logger
from datatrove.utils.text import TextNormConfig
from datatrove.utils.word_tokenizers import WordTokenizer
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

import benchmarks.classifier
from benchmarks.numpy_signatures import numpy_signatures
from benchmarks.planted import Planted, best_similarity, jaccard, plant, read_items
from curation.config import CurateRecipe, DecontaminateRecipe, NearDuplicatesRecipe
from curation.corpus.assemble import Assembly, write_families
from curation.corpus.duplicates import Texts, candidate_pairs, cluster, in_pairs
from curation.execution.steps import Task
from curation.execution.worker import steps_of
from curation.measures.decontaminate import ITEM_COLUMNS, ItemIndex, parts_of
from curation.measures.normalise import normalise
from curation.measures.signatures import BandKeys, as_column, from_column, signatures
from curation.measures.spellings import spelled, spelled_words
from curation.measures.vocabulary import Vocabulary
from curation.measures.words import shingles
from curation.pipeline import input_files
from curation.tasks import Job
from manifests.manifest import Draft
from manifests.recipe import parse, semantic
from manifests.store import Store

LLAMA_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
END = "<|endoftext|>"
SEED = 1
LEAKS = ("verbatim", "edited", "solution")
BATCH = 4096
NUMPY_BATCH = 256
"""Few enough texts for numpy's passes over their bytes to stay in the cache."""


class SplitWords(WordTokenizer):
    """Words between blanks: the cheapest splitter that a stock block can be given."""

    def word_tokenize(self, text: str) -> list[str]:
        return text.split()

    def sent_tokenize(self, text: str) -> list[str]:
        return text.splitlines()

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        raise NotImplementedError("no block here asks for spans")


@dataclass
class Report:
    """Lines of the table, printed as they come, and the bars that were missed."""

    missed: list[str] = field(default_factory=list)

    def line(self, what: str, value: str, bar: str = "", met: bool | None = None) -> None:
        verdict = "" if met is None else "met" if met else "MISSED"
        if met is False:
            self.missed.append(what)
        print(f"{what:40} {value:88} {bar:>8} {verdict}", flush=True)


@dataclass(frozen=True)
class Setting:
    """What every part works on: the corpus, as Parquet too, how many documents slow stock blocks get, the report."""

    corpus: Planted
    parquet: Path
    folder: Path
    stock_documents: int
    report: Report

    @property
    def size(self) -> int:
        return len(self.corpus.texts)

    @property
    def has_spacy(self) -> bool:
        return importlib.util.find_spec("spacy") is not None

    def fresh(self, name: str) -> Path:
        """A new folder below the temporary one."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))


def cpu(function: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds, and what the function returned."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def run(*blocks: PipelineStep, rank: int = 0, world: int = 1) -> float:
    """CPU seconds of stock blocks in a row, the output of the last thrown away."""

    def drain() -> None:
        data: Any = None
        for block in blocks:
            data = block.run(data, rank, world)
        for _ in data or ():
            pass

    with redirect_stderr(io.StringIO()):  # progress bars
        return cpu(drain)[0]


def batches(texts: list[str]) -> Iterator[pa.Array]:
    for start in range(0, len(texts), BATCH):
        yield pa.array(texts[start : start + BATCH], pa.large_string())


def write_parquet(texts: list[str], path: Path) -> Path:
    ids = [str(number) for number in range(len(texts))]
    pq.write_table(pa.table({"id": ids, "text": texts}), path, compression="zstd", row_group_size=BATCH)
    return path


# -- near-duplicates -------------------------------------------------------------------------------------------------


NEAR = NearDuplicatesRecipe()


def sign_file(source: Path, target: Path) -> None:
    """Our signatures, from Parquet to Parquet."""
    schema = pa.schema([("signature", pa.list_(pa.uint32(), NEAR.bands * NEAR.rows))])
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for batch in pq.ParquetFile(source).iter_batches(BATCH, columns=["text"]):
            words = spelled_words(batch["text"])
            runs = shingles(words.hashes, words.offsets, NEAR.shingle)
            writer.write_table(pa.table([as_column(signatures(runs, NEAR.bands * NEAR.rows))], schema))


def our_copies(setting: Setting, signed: Path, kept: Path) -> np.ndarray:
    """Our stages after the signatures: bands, verification, clusters, kept documents written. Returns who was kept."""
    folder = setting.fresh("copies")
    values = (
        from_column(batch.column(0), NEAR.bands * NEAR.rows) for batch in pq.ParquetFile(signed).iter_batches(BATCH)
    )
    keys = BandKeys.stored(values, NEAR.rows, folder)
    pairs = candidate_pairs(keys, NEAR.bands, np.arange(setting.size, dtype=np.int32))
    involved = in_pairs(pairs, setting.size)
    batches = ((texts, np.zeros(len(texts), np.bool_)) for texts in text_batches(setting.parquet, involved))
    texts = Texts.stored(involved, batches, NEAR, folder)
    keeper = cluster(pairs, texts, setting.size).keeper
    with pq.ParquetWriter(kept, pq.read_schema(setting.parquet), compression="zstd") as writer:
        for start, batch in numbered_batches(setting.parquet):
            own = np.arange(start, start + len(batch))
            writer.write_batch(batch.filter(pa.array(keeper[own] == own)))
    return keeper


def numbered_batches(path: Path, size: int = BATCH) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows of a Parquet file in batches, each with the number of its first."""
    start = 0
    for batch in pq.ParquetFile(path).iter_batches(size):
        yield start, batch
        start += len(batch)


def text_batches(path: Path, rows: np.ndarray) -> Iterator[pa.Array]:
    """The texts of `rows`, ascending."""
    for start, batch in numbered_batches(path):
        here = rows[(rows >= start) & (rows < start + len(batch))] - start
        yield batch["text"].take(pa.array(here))


def stock_stage_1(setting: Setting, words: Any, limit: int, target: Path) -> float:
    reader = ParquetReader(str(setting.parquet.parent), glob_pattern=setting.parquet.name, limit=limit)
    return run(reader, MinhashDedupSignature(str(target), language=words))


def stock_near(setting: Setting, signed: Path) -> tuple[list[float], set[int]]:
    """CPU seconds of stock stages 2, 3 and 4 and the documents that were removed."""
    buckets, removed, kept = (setting.fresh(name) for name in ("buckets", "removed", "kept"))
    number = MinhashDedupBuckets(str(signed), str(buckets)).config.num_buckets
    second = sum(run(MinhashDedupBuckets(str(signed), str(buckets)), rank=rank, world=number) for rank in range(number))
    third = run(MinhashDedupCluster(str(buckets), str(removed)))
    reader = ParquetReader(str(setting.parquet.parent), glob_pattern=setting.parquet.name)
    writer = ParquetWriter(str(kept), compression="zstd")
    start = time.process_time()
    left = {int(one.id) for one in writer.run(MinhashDedupFilter(str(removed)).run(reader.run(None, 0, 1), 0, 1), 0, 1)}
    return [second, third, time.process_time() - start], set(range(setting.size)) - left


def near_duplicates(setting: Setting) -> dict[str, float]:
    """Speed, recall, precision and templated problems, ours and stock. Returns stock seconds for the whole pipeline."""
    folder = setting.fresh("ours")
    first = cpu(lambda: sign_file(setting.parquet, folder / "signed.parquet"))[0]
    later, keeper = cpu(lambda: our_copies(setting, folder / "signed.parquet", folder / "kept.parquet"))
    removed = set(np.flatnonzero(keeper != np.arange(len(keeper))).tolist())
    signed = setting.fresh("signed")
    stock_1 = stock_stage_1(setting, SplitWords("en"), -1, signed)
    stages, stock_removed = stock_near(setting, signed)
    shipped = as_shipped_stage_1(setting) if setting.has_spacy else stock_1
    speed(setting, "near-dup signatures, read and write", first, stock_1, shipped, 100)
    speed(setting, "the same by numpy alone, the oracle", numpy_stage_1(setting), stock_1, shipped, 40)
    after = sum(stages)
    speed(setting, "whole near-dup, 4 stages", first + later, stock_1 + after, shipped + after, 40)
    accuracy(setting, removed, stock_removed)
    return {"minhash 1": shipped, "minhash 2-4": sum(stages)}


def speed(setting: Setting, what: str, ours: float, splitting: float, shipped: float, bar: int) -> None:
    """One line: our seconds, those of stock with str.split and, if there is spaCy, as shipped."""
    value = f"{ours:.2f} s, stock with str.split {splitting:.1f} s: {splitting / ours:.0f}×"
    value += f"; with spaCy {shipped:.0f} s: {shipped / ours:.0f}×" if setting.has_spacy else ""
    setting.report.line(what, value, f"≥ {bar}×", shipped >= bar * ours)


def as_shipped_stage_1(setting: Setting) -> float:
    """Stock stage 1 with spaCy on a slice, scaled to all documents."""
    taken = min(setting.stock_documents, setting.size)
    return stock_stage_1(setting, "eng_Latn", taken, setting.fresh("spacy")) * setting.size / taken


def accuracy(setting: Setting, ours: set[int], stock: set[int]) -> None:
    """Recall of planted pairs, precision of removals, templated problems lost."""
    corpus, report = setting.corpus, setting.report
    best = best_similarity(corpus)
    pairs = [(copy, corpus.of[copy]) for copy in corpus.of_kind("near", "exact")]
    similarity = [jaccard(corpus.texts[a], corpus.texts[b]) for a, b in pairs]
    alike = [pair for pair, value in zip(pairs, similarity, strict=True) if value >= 0.8]
    near = [(a, b) for a, b in alike if corpus.kind[a] == "near"]
    templates = set(corpus.of_kind("template"))

    def figures(removed: set[int]) -> tuple[float, float, float, int]:
        recall, hard = (share(bool({a, b} & removed) for a, b in some) for some in (alike, near))
        return recall, hard, share(best[one] >= 0.7 for one in removed), len(removed & templates)

    mine, theirs = figures(ours), figures(stock)
    value = f"{mine[0]:.4f} (near alone {mine[1]:.4f}), stock {theirs[0]:.4f} ({theirs[1]:.4f}), {len(alike):,} pairs"
    report.line("near-dup recall at Jaccard ≥ 0.8", value, "≥ 0.99", mine[0] >= 0.99)
    value = f"{mine[2]:.4f}, stock {theirs[2]:.4f}; removed {len(ours):,} and {len(stock):,}"
    report.line("precision of removals at ≥ 0.7", value, "≥ 0.995", mine[2] >= 0.995)
    report.line("templated problems lost", f"{mine[3]} of {len(templates)}, stock {theirs[3]}", "0", mine[3] == 0)


def share(hits: Any) -> float:
    values = list(hits)
    return sum(values) / len(values) if values else 1.0


def numpy_stage_1(setting: Setting) -> float:
    """CPU seconds of the signatures by numpy, scaled from a slice; the signatures must be those of the product."""
    texts = setting.corpus.texts[: setting.stock_documents]
    table = write_parquet(texts, setting.fresh("numpy") / "slice.parquet")

    def signed() -> np.ndarray:
        pieces = (spelled(batch["text"]).cast(pa.large_string()) for _, batch in numbered_batches(table, NUMPY_BATCH))
        return np.concatenate([numpy_signatures(piece, NEAR) for piece in pieces])

    first, values = cpu(signed)
    words = spelled_words(texts)
    if not np.array_equal(values, signatures(shingles(words.hashes, words.offsets, NEAR.shingle), values.shape[1])):
        setting.report.line("numpy's signatures are ours", "they differ", "", False)
    target = setting.fresh("numpy") / "signed.parquet"
    written = cpu(lambda: pq.write_table(pa.table({"signature": as_column(values)}), target, compression="zstd"))[0]
    return (first + written) * setting.size / len(texts)


def clusters(setting: Setting, documents: int) -> None:
    """Band keys to cluster labels in a process of its own; texts are not verified here."""
    found: dict[str, Any] = {}
    for size in (1000, documents):  # the first compiles
        command = [sys.executable, "-m", "benchmarks.clusters", "--documents", str(size)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    value = (
        f"{found['wall']:.1f} s wall, {found['cpu']:.1f} s CPU, {found['gigabytes']:.2f} GB, {found['pairs']:,} pairs"
    )
    value += f", labels {'right' if found['right'] else 'WRONG'}"
    met = found["right"] and found["wall"] <= 25 and found["gigabytes"] <= 1 if documents >= 10_000_000 else None
    setting.report.line(f"{documents:,} documents × 14 bands", value, "25 s 1 GB", met)


# -- decontamination -------------------------------------------------------------------------------------------------


def decontamination(setting: Setting) -> float:
    """Ours against stock at its best settings. Returns stock seconds for all documents."""
    corpus, report = setting.corpus, setting.report
    index = ItemIndex(parts_of(item_table(corpus)), DecontaminateRecipe())
    index.find(pa.array(corpus.texts[:10], pa.large_string()))  # the index is built once
    taken, found = cpu(lambda: np.concatenate([index.find(batch).coverage for batch in batches(corpus.texts)]))
    sample = stock_sample(setting)
    block = stock_decontamination(setting, SplitWords("en"))
    stock, hits = cpu(lambda: {number for number in sample if block.filter(stock_document(corpus, number)) is not True})
    everything = range(setting.size)
    for kind in LEAKS:
        ours = share(found[number] > 0 for number in corpus.of_kind(kind))
        theirs = share(number in hits for number in sample if corpus.kind[number] == kind)
        report.line(f"decontamination recall, {kind}", f"{ours:.4f}, stock {theirs:.4f}", "≥ 0.97", ours >= 0.97)
    clean = [number for number in everything if corpus.kind[number] not in LEAKS]
    false, kept = share(found[number] > 0 for number in clean), set(clean)
    theirs = share(number in hits for number in sample if number in kept)
    report.line("decontamination, false positives", f"{false:.4%}, stock {theirs:.4%}", "≤ 0.05%", false <= 0.0005)
    rate, stock_rate = setting.size / taken, len(sample) / stock
    value = f"{rate:,.0f}, stock {stock_rate:,.0f} (str.split): {rate / stock_rate:.0f}×"
    report.line("decontamination, documents/s/core", value, "≥ 25,000", rate >= 25_000)
    return setting.size / stock_rate


def item_table(corpus: Planted) -> pa.Table:
    """The planted items as a benchmark manifest gives them."""
    questions, solutions = zip(*corpus.items, strict=True)
    names = [str(number) for number in range(len(questions))]
    return pa.table([["planted"] * len(names), names, questions, solutions], names=ITEM_COLUMNS.names)


def stock_sample(setting: Setting) -> list[int]:
    """Every leak and as many other documents as slow stock blocks get."""
    others = range(min(setting.stock_documents, setting.size))
    return sorted({*others, *setting.corpus.of_kind(*LEAKS)})


def stock_document(corpus: Planted, number: int) -> Document:
    return Document(text=corpus.texts[number], id=str(number))


def stock_decontamination(setting: Setting, words: Any) -> NGramsDecontFilter:
    """The filter over questions and solutions, numbers not folded: the settings that research found best."""
    config = NGramsDecontConfig(find_query_ngrams=True, norm_config=TextNormConfig(norm_numbers=False))
    indexer = object.__new__(NGramsDecontIndexer)  # its constructor wants lighteval, which its hashes do not need
    indexer.config, indexer.tokenizer, indexer.hash_func = config, words, create_hash_func(config.hash_config)
    hashes = {value for item in setting.corpus.items for value in indexer.compute_hashes(item.solution, item.question)}
    folder = setting.fresh("index")
    np.array(sorted(hashes), np.uint64).tofile(folder / "planted.index.hashes")
    block = NGramsDecontFilter(str(folder), config, language=words)
    block.load_index_hashes()
    return block


# -- tokens ----------------------------------------------------------------------------------------------------------


def real_text() -> list[str]:
    """Python's own library in pieces of 2,400 characters: real text, for a small vocabulary flatters word caches."""
    pieces = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        text = path.read_text("utf-8", errors="replace")
        pieces += [text[start : start + 2400] for start in range(0, len(text), 2400)]
    return pieces


def make_tokenizer(texts: list[str], folder: Path) -> Path:
    """A byte-level BPE with Llama 3's split, trained on `texts`."""
    made = Tokenizer(models.BPE())
    pattern = pre_tokenizers.Split(Regex(LLAMA_SPLIT), "isolated")
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([pattern, bytes_])  # type: ignore[list-item]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=16_384, special_tokens=[END], initial_alphabet=alphabet, show_progress=False),
    )
    made.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def tokens(setting: Setting, path: Path, texts: list[str]) -> float:
    """Ours against Hugging Face on real text. Returns stock seconds for the corpus."""
    vocabulary, oracle = Vocabulary.load(path), Tokenizer.from_file(str(path))
    oracle.encode_special_tokens = True
    size = sum(len(text.encode()) for text in texts) / 1e6
    cold = cpu(lambda: vocabulary.count(texts))[0]
    ours, counted = cpu(lambda: vocabulary.count(texts))
    stock, encoded = cpu(lambda: [len(one.ids) for one in oracle.encode_batch_fast(texts, add_special_tokens=False)])
    same = counted.tolist() == encoded
    value = f"{size / ours:.1f} MB/s (first pass {size / cold:.1f}), Hugging Face {size / stock:.1f}"
    value += f": {stock / ours:.0f}×, counts {'identical' if same else 'DIFFER'}"
    setting.report.line("token counting", value, "≥ 40×", same and stock >= 40 * ours)
    sample = [stock_document(setting.corpus, number) for number in range(min(setting.stock_documents, setting.size))]
    return cpu(lambda: list(TokensCounter(str(path)).run(iter(sample), 0, 1)))[0] * setting.size / len(sample)


def fasttext(setting: Setting) -> None:
    """Scoring, preparation included, against the library's own `predict` on text prepared before."""
    rates = benchmarks.classifier.measure(5_000, 64, 200_000)
    value = f"{rates['ours, preparation included']:,.0f} documents/s, {rates['ours / predict']:.1%} of predict"
    value += f" and {rates['ours / predict as a list']:.1%} of predict on a list"
    setting.report.line("fastText scoring, preparation included", value, "≥ 90%", rates["ours / predict"] >= 0.9)


# -- the whole pipeline ----------------------------------------------------------------------------------------------


def watched(name: str, data: Iterator[Any], taken: dict[str, float]) -> Iterator[Any]:
    """`data`, with the CPU seconds that it took, its own source's included, noted in `taken`."""
    while True:
        start = time.process_time()
        item = next(data, None)
        taken[name] += time.process_time() - start
        if item is None:
            return
        yield item


def own(taken: dict[str, float]) -> dict[str, float]:
    """Seconds of each of a row of stages without those of the stage before it."""
    return {name: value - before for (name, value), before in zip(taken.items(), [0.0, *taken.values()], strict=False)}


def our_pipeline(setting: Setting, tokenizer: Path) -> dict[str, float]:
    """The default pipeline in this process, raw Parquet to manifest: CPU seconds by stage."""
    items = write_items(setting)
    sources = [{"name": "planted", "path": str(setting.parquet), "role": "web"}]
    recipe = parse({"name": "planted", "tokenizer": str(tokenizer), "sources": sources}, CurateRecipe, "benchmark")
    store = Store(setting.fresh("store"))
    taken: dict[str, float] = {}
    taken["checksums"], files = cpu(lambda: input_files(recipe, None))
    job = Job(store.scratch("benchmark"), recipe, tokenizer, files)
    job.items.write_bytes(items.read_bytes())
    through: dict[str, float] = {}
    task = [Task(files[0], recipe.sources[0], 0, job.output(files[0]))]
    data: Any = None
    for block in steps_of(job, task):
        through[block.name] = 0.0
        data = watched(block.name, block.run(data, 0, 1), through)
    for _ in data:
        pass
    taken |= own(through)
    draft = Draft(store, "corpus", semantic(recipe), [])
    taken["assemble: number"], assembly = cpu(lambda: Assembly.of(job))
    taken["assemble: copies, freeze"], counts = cpu(lambda: write_families(draft, assembly, recipe))
    taken["commit"] = cpu(lambda: draft.commit("planted", "1", counts, "0" * 64, {}))[0]
    return taken


def write_items(setting: Setting) -> Path:
    path = setting.folder / "items.parquet"
    pq.write_table(parts_of(item_table(setting.corpus)), path)
    return path


def stock_pipeline(setting: Setting) -> dict[str, float]:
    """CPU seconds of the stock blocks that nothing above measured, scaled to all documents. Each sees every document:
    in a row they would spare each other work, for stock rules drop nearly all LaTeX."""
    taken = min(setting.stock_documents, setting.size)
    words: Any = "eng_Latn" if setting.has_spacy else SplitWords("en")
    documents = [stock_document(setting.corpus, number) for number in range(taken)]
    reader = ParquetReader(str(setting.parquet.parent), glob_pattern=setting.parquet.name, limit=taken)
    found, signed = {"read": run(reader)}, setting.fresh("exact")
    for name, block in (
        ("Gopher quality", GopherQualityFilter(language=words)),
        ("Gopher repetition", GopherRepetitionFilter(language=words)),
    ):
        found[name] = cpu(lambda block=block: [block.filter(document) for document in documents])[0]
    exact = ExactDedupConfig(content_getter=lambda document: document.text)
    found["exact copies"] = run(reader, ExactDedupSignature(str(signed), exact)) - found["read"]
    found["exact copies"] += run(ExactFindDedups(str(signed), str(setting.fresh("duplicates")), exact))
    writer = ParquetWriter(str(setting.fresh("written")), compression="zstd")
    found["write"] = cpu(lambda: list(writer.run(iter(documents), 0, 1)))[0]
    return {name: value * setting.size / taken for name, value in found.items()}


def pipeline(setting: Setting, tokenizer: Path, stock: dict[str, float]) -> None:
    ours = our_pipeline(setting, tokenizer)
    stock = stock | stock_pipeline(setting)
    total, theirs = sum(ours.values()), sum(stock.values())
    size = sum(len(text.encode()) for text in setting.corpus.texts)
    value = f"{total:.1f} s = {size / total / 1e6:.2f} MB/s/core, stock {theirs:.0f} s: {theirs / total:.1f}×"
    setting.report.line(
        "whole default pipeline, Parquet to manifest", value, "≥ 10 MB/s", min(theirs / 10, size / 1e7) >= total
    )
    for title, found in (("ours", ours), ("stock", stock)):
        whole = sum(found.values())
        parts = [f"{name} {value / whole:.0%}" for name, value in sorted(found.items(), key=lambda one: -one[1])]
        print(f"    {title}: {', '.join(parts)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=20_000, help="100,000 for the full run")
    parser.add_argument("--stock-documents", type=int, default=2_000, help="how many slow stock blocks get")
    parser.add_argument("--clusters", type=int, default=10_000_000, help="documents whose bands become clusters")
    parser.add_argument("--items", type=Path, help="a folder of benchmark .jsonl files to leak, for generated items")
    arguments = parser.parse_args()
    logger.disable("datatrove")
    logging.disable(logging.WARNING)
    pa.set_cpu_count(1)
    corpus = plant(arguments.documents, SEED, read_items(arguments.items) if arguments.items else None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "input").mkdir()
        parquet = write_parquet(corpus.texts, folder / "input" / "documents.parquet")
        setting = Setting(corpus, parquet, folder, arguments.stock_documents, Report())
        clusters(setting, arguments.clusters)
        measure(setting)
    if setting.report.missed:
        print(f"missed: {', '.join(setting.report.missed)}")


def compile_all(setting: Setting) -> None:
    """Run on some documents what is compiled as it is first used, for compiling is not measured."""
    some = setting.corpus.texts[:250]
    texts = normalise(pa.array([*some, *(f"{text} And more." for text in some)], pa.large_string())).to_pylist()
    parquet = write_parquet(texts, setting.fresh("some") / "some.parquet")
    small = replace(setting, corpus=replace(setting.corpus, texts=texts), parquet=parquet)
    sign_file(parquet, parquet.with_name("signed.parquet"))
    our_copies(small, parquet.with_name("signed.parquet"), parquet.with_name("kept.parquet"))


def measure(setting: Setting) -> None:
    size = sum(len(text.encode()) for text in setting.corpus.texts) / 1e6
    words = "spaCy, as shipped" if setting.has_spacy else "str.split: spaCy is not installed, which is kinder to stock"
    print(f"{setting.size:,} documents, {size:.0f} MB, {len(setting.corpus.items):,} items; stock words by {words}")
    taken = min(setting.stock_documents, setting.size)
    print(
        f"scaled from {taken:,} documents to all: numpy's signatures and every stock block but minhash with str.split"
    )
    compile_all(setting)
    stock = near_duplicates(setting)
    stock["decontaminate"] = decontamination(setting)
    texts = real_text()
    tokenizer = make_tokenizer(texts, setting.fresh("tokenizer"))
    stock["tokens"] = tokens(setting, tokenizer, texts)
    fasttext(setting)
    pipeline(setting, tokenizer, stock)


if __name__ == "__main__":
    main()

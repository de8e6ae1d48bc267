"""Peak memory, time and bytes of each stage of curation at 1, 4 and 16 times a corpus.

    python -m benchmarks.scale --folder FOLDER [--documents 200000] [--times 1 4 16] [--workers 1]

The corpus is planted (`benchmarks.planted`) in blocks of BLOCK documents; from block to block the vowels are exchanged
by another permutation, so that each block holds copies of its own and hardly any of another. Each size is a process of
its own. A stage is charged the most memory that the kernel counted (VmHWM, set back between stages), which includes
pages of mapped files, and the most anonymous memory, looked at every TICK seconds; tasks are charged the largest
worker. Leaves out the page cache and what several machines share. FOLDER takes some 3 times the text at most, and what
was made in it is removed.
"""

import argparse
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import orjson
import zstandard

from benchmarks.planted import plant
from curation import pipeline
from curation.config import CurateRecipe
from curation.corpus import assemble
from curation.corpus.duplicates import Texts
from curation.execution import build
from curation.measures.signatures import BandKeys
from manifests.manifest import Draft
from manifests.recipe import parse
from manifests.store import Store

BLOCK, SEED, TICK = 50_000, 1, 0.02
VOWELS = b"aeiouy"


# -- the corpus ------------------------------------------------------------------------------------------------------


def write_corpus(folder: Path, documents: int) -> int:
    """Files of BLOCK documents each in `folder`; returns the bytes of their text."""
    folder.mkdir(parents=True)
    rows = [orjson.dumps({"text": text}) for text in plant(min(documents, BLOCK), SEED).texts]
    block = b"\n".join(rows).replace(b"\\n", b"\0")  # an escaped line break is no vowel
    orders = list(itertools.permutations(VOWELS))
    random.Random(SEED).shuffle(orders)
    for number in range(-(-documents // BLOCK)):
        table = bytes.maketrans(VOWELS + VOWELS.upper(), bytes(orders[number]) + bytes(orders[number]).upper())
        lines = block.translate(table).replace(b"\0", b"\\n").split(b"\n")
        named = [
            b'{"id": "%d-%d", "text": ' % (number, row) + line[line.index(b":") + 1 :] for row, line in enumerate(lines)
        ]
        (folder / f"{number:05}.jsonl.zst").write_bytes(zstandard.compress(b"\n".join(named), 1))
    return len(block) * (number + 1)


def train_tokenizer(folder: Path) -> None:
    """A vocabulary of the size and split of real ones, whose counting is the fast one."""
    from benchmarks.curation import make_tokenizer, real_text  # noqa: PLC0415  much that is not to be measured

    make_tokenizer(real_text(), folder)


def recipe(folder: Path, name: str = "scale") -> CurateRecipe:
    plain = {
        "name": name,
        "tokenizer": str(folder / "tokenizer.json"),
        "sources": [{"name": "pages", "path": str(folder / "in"), "role": "general"}],
    }
    return parse(plain, CurateRecipe, "benchmark")


# -- measuring -------------------------------------------------------------------------------------------------------


@dataclass
class Spent:
    """What a stage took: seconds of wall and of CPU, most bytes resident and most of these anonymous."""

    wall: float = 0.0
    cpu: float = 0.0
    resident: int = 0
    anonymous: int = 0


@dataclass
class Stages:
    """Charges what is spent to the innermost stage that is open."""

    spent: dict[str, Spent] = field(default_factory=dict)
    open: list[str] = field(default_factory=lambda: ["other"])
    lock: threading.Lock = field(default_factory=threading.Lock)
    wall: float = field(default_factory=time.perf_counter)
    cpu: float = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.charge()
        self.open.append(name)
        try:
            yield
        finally:
            self.charge()
            self.open.pop()

    def charge(self) -> None:
        """What was spent since the last time, to the open stage; the kernel's count is set back."""
        with self.lock:
            wall, cpu, status = time.perf_counter(), sum(os.times()[:4]), memory("self")
            self._see(status["VmHWM"], status["RssAnon"])
            row = self.spent[self.open[-1]]
            row.wall, row.cpu = row.wall + wall - self.wall, row.cpu + cpu - self.cpu
            self.wall, self.cpu = wall, cpu
            Path("/proc/self/clear_refs").write_text("5")

    def look(self) -> None:
        """The memory of this moment, or of the largest child."""
        with self.lock:
            self._see(0, memory("self")["RssAnon"])
            for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                found = memory(child)
                self._see(found["VmHWM"], found["RssAnon"])

    def _see(self, resident: int, anonymous: int) -> None:
        row = self.spent.setdefault(self.open[-1], Spent())
        row.resident, row.anonymous = max(row.resident, resident), max(row.anonymous, anonymous)

    def watch(self, owner: Any, attribute: str, name: Callable[..., str] | str) -> None:
        """Make a stage of every call of a function, method or class method."""
        found = getattr(owner, attribute)

        @wraps(found)
        def watched(*positional: Any, **named: Any) -> Any:
            with self.stage(name if isinstance(name, str) else name(*positional)):
                return found(*positional, **named)

        setattr(owner, attribute, watched)


def memory(process: str) -> dict[str, int]:
    """Bytes that the kernel counts for a process; zeros for one that has gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        lines = []
    known = {line.split(":")[0]: 1024 * int(line.split()[1]) for line in lines if line.startswith(("VmHWM", "RssAnon"))}
    return {"VmHWM": 0, "RssAnon": 0} | known


def watch_all(stages: Stages) -> None:
    """The stages of a build, by the functions that they are."""
    stages.watch(pipeline, "input_files", "checksums")
    stages.watch(pipeline, "run_tasks", "tasks (largest worker)")
    stages.watch(assemble.Assembly, "of", "number")
    stages.watch(build, "write_corpus", "decide")
    stages.watch(BandKeys, "stored", "band keys")
    stages.watch(assemble, "candidate_pairs", "candidates")
    stages.watch(Texts, "stored", "shingles of pairs")
    stages.watch(assemble, "cluster", "clusters")
    stages.watch(Draft, "write", lambda draft, family, *_: f"write {family}")
    stages.watch(Draft, "commit", "commit")


def measure(folder: Path, documents: int, workers: int) -> dict[str, Any]:
    """Curate a corpus of `documents` documents in this process, stage by stage."""
    stages = Stages()
    watch_all(stages)
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(TICK):
            stages.look()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        stages.charge()
        corpus = pipeline.curate(Store(folder / "store"), recipe(folder), workers)
        stages.charge()
    finally:
        ended.set()
        thread.join()
    families = {name: sum(file.bytes for file in family.files) for name, family in corpus.families.items()}
    return {
        "documents": documents,
        "kept": corpus.read("documents", ["drop_reason"])["drop_reason"].null_count,
        "stages": {name: vars(spent) for name, spent in stages.spent.items()},
        "families": families,
        "objects": sum(len(family.files) for family in corpus.families.values()),
    }


def table(found: list[dict[str, Any]]) -> str:
    """Rows of stages, columns of sizes: memory in MB (anonymous in brackets), microseconds of CPU a document."""
    heads = [f"{one['documents']:,} documents, {one['text'] / 1e9:.2f} GB" for one in found]
    lines = ["| stage | " + " | ".join(heads) + " | CPU µs a document |", "|---|" + "---|" * (len(found) + 1)]
    for name in found[-1]["stages"]:
        rows = [one["stages"].get(name, vars(Spent())) for one in found]
        cells = [f"{row['resident'] / 1e6:,.0f} ({row['anonymous'] / 1e6:,.0f})" for row in rows]
        lines.append(f"| {name} | {' | '.join(cells)} | {1e6 * rows[-1]['cpu'] / found[-1]['documents']:,.1f} |")
    for name in found[-1]["families"]:
        cells = [f"{one['families'][name] / one['documents']:,.0f}" for one in found]
        lines.append(f"| bytes a document of {name} | {' | '.join(cells)} | |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--times", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.folder, arguments.measure, arguments.workers)), flush=True)
        os._exit(0)  # a library's C++ thread aborts an interpreter that takes its time to end
    found = []
    for times in arguments.times:
        place, documents = arguments.folder / f"{times}x", times * arguments.documents
        command = [sys.executable, "-m", "benchmarks.scale", "--folder", str(place), "--measure", str(documents)]
        try:
            text = write_corpus(place / "in", documents)
            train_tokenizer(place)
            done = subprocess.run([*command, "--workers", str(arguments.workers)], stdout=subprocess.PIPE, check=True)
        finally:
            shutil.rmtree(place, ignore_errors=True)
        found.append(json.loads(done.stdout.splitlines()[-1]) | {"text": text})
        print(table(found), flush=True)


if __name__ == "__main__":
    main()

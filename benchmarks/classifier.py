"""How fast documents are scored, preparation included, beside the library's own `predict` on text prepared before.

    python -m benchmarks.classifier [--documents 5000] [--dimensions 64] [--buckets 200000] [--json]

One core, one process. The documents have some 2.2 kB of words drawn from 50,000 by Zipf's law, so that the model's
tables miss the cache as they do on real text; the model is trained on them. Each method scores the same documents nine
times, taking turns, and the best counts. `bar` is what issue 3 asks for.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from curation.classifiers.fit import fit_file
from curation.measures.classifier import TOGETHER, Classifier, prepare

WORDS, LENGTH, BAR = 50_000, 360, 0.9


def documents(count: int, seed: int = 0) -> pa.Array:
    """`count` texts with capitals, digits, LaTeX and several lines; even ones prefer other words than odd ones."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnoprstuvy"))
    words = np.array(["".join(rng.choice(letters, rng.integers(2, 10))) for _ in range(WORDS)])
    words[::7] = [f"\\{word.title()}{{{number % 97}}}" for number, word in enumerate(words[::7])]
    chance = 1.0 / np.arange(1, WORDS + 1)
    orders = [rng.permutation(WORDS) for _ in range(2)]
    drawn = rng.choice(WORDS, (count, LENGTH), p=chance / chance.sum())
    return pa.array(["\n".join(words[orders[row % 2][picks]]) for row, picks in enumerate(drawn)], pa.large_string())


def fitted(texts: pa.Array, folder: Path, dimensions: int, buckets: int) -> Classifier:
    """A model of these texts; trained here, since only its size matters."""
    source, model = folder / "lines.txt", folder / "model.bin"
    labels = (b"__label__positive ", b"__label__negative ")
    source.write_bytes(b"".join(labels[row % 2] + line for row, line in enumerate(prepare(texts))))
    settings: dict[str, float] = {"dim": dimensions, "bucket": buckets, "wordNgrams": 2, "minCount": 3, "epoch": 1}
    fit_file(source, model, settings)
    return Classifier.load(model, "positive")


def fastest(methods: dict[str, Callable[[], object]], turns: int = 9) -> dict[str, float]:
    """Least CPU seconds of each method."""
    spent: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(turns):
        for name, method in methods.items():
            start = time.process_time()
            method()
            spent[name].append(time.process_time() - start)
    return {name: min(seconds) for name, seconds in spent.items()}


def measure(count: int, dimensions: int, buckets: int) -> dict[str, float]:
    """Documents per second and CPU core of each method, and ours over the library's."""
    texts = documents(count)
    with tempfile.TemporaryDirectory() as folder:
        classifier = fitted(texts, Path(folder), dimensions, buckets)
    lines = [line.decode().rstrip("\n") for line in prepare(texts)]
    seconds = fastest(
        {
            "ours, preparation included": lambda: classifier.score(texts),
            "predict, one by one": lambda: [classifier.model.predict(line, k=2) for line in lines],
            "predict, as a list": lambda: classifier.model.predict(lines, k=2),
            "preparation alone": lambda: [prepare(texts[n : n + TOGETHER]) for n in range(0, count, TOGETHER)],
        }
    )
    rates = {name: count / spent for name, spent in seconds.items()}
    rates["ours / predict"] = rates["ours, preparation included"] / rates["predict, one by one"]
    rates["ours / predict as a list"] = rates["ours, preparation included"] / rates["predict, as a list"]
    return rates | {"bar": BAR, "preparation, MB/s": sum(map(len, lines)) / seconds["preparation alone"] / 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=5_000)
    parser.add_argument("--dimensions", type=int, default=64)
    parser.add_argument("--buckets", type=int, default=200_000)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    figures = measure(chosen.documents, chosen.dimensions, chosen.buckets)
    print(
        json.dumps(figures)
        if chosen.json
        else "\n".join(f"{name:28} {value:12,.2f}" for name, value in figures.items())
    )


if __name__ == "__main__":
    main()

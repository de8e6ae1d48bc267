"""How fast the digest of a table is, beside what one would reach for instead.

    python -m benchmarks.identity [--rows 200000] [--json]

One core, one process, one table: documents as they lie in a corpus (IDs, sources as dictionary, text, counts, scores, a
nullable reason). Every method digests the same logical bytes; the slow ones get a slice, and every figure is MB of
logical data (Arrow buffers) per second of CPU. Prints each rate and how many times slower than ours it is. The others
leave something out: their figures are the price of a weaker promise, see docs/decisions/0001-identity.md.
"""

import argparse
import hashlib
import json
import pickle
import time
from collections.abc import Callable

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from manifests.identity import TableDigest

VOCABULARY = "let the integer be a prime such that sum of squares equals x^2 + y^2 and we prove by induction hence"


def corpus(rows: int, seed: int = 0) -> pa.Table:
    """A table of `rows` documents of some 2 kB, no two alike, drawn from `seed`."""
    rng = np.random.default_rng(seed)
    pool = [" ".join(rng.choice(VOCABULARY.split(), 60)) for _ in range(997)]
    first, repeats = rng.integers(0, len(pool), rows), rng.integers(1, 14, rows)
    texts = [f"{row} " + (pool[i] + " ") * n for row, (i, n) in enumerate(zip(first, repeats, strict=True))]
    lengths = np.array([len(text) for text in texts])
    return pa.table(
        {
            "doc_id": [hashlib.md5(b"%d" % i, usedforsecurity=False).hexdigest() for i in range(rows)],
            "source": pa.array([("web", "qa", "cot")[i % 3] for i in range(rows)]).dictionary_encode(),
            "text": pa.array(texts, pa.large_string()),
            "n_chars": pa.array(lengths, pa.int64()),
            "n_tokens": pa.array(lengths // 4, pa.int64()),
            "score": rng.random(rows),
            "drop_reason": pa.array([None if i % 4 else "short" for i in range(rows)]),
        }
    )


def ours(table: pa.Table) -> str:
    digest = TableDigest(table.schema, threads=1)
    digest.update(table)
    return json.dumps(digest.columns())


def json_in_duckdb(table: pa.Table) -> str:
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("rows", table)
        return str(connection.execute("SELECT sha256(string_agg(to_json(rows)::VARCHAR, '\n')) FROM rows").fetchone())


def pandas_hash(table: pa.Table) -> str:
    hashed = pd.util.hash_pandas_object(table.to_pandas(), index=False)
    return hashlib.sha256(hashed.to_numpy().tobytes()).hexdigest()


def json_in_python(table: pa.Table) -> str:
    digest = hashlib.sha256()
    for row in table.to_pylist():
        digest.update(json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()


def pickled_rows(table: pa.Table) -> str:
    digest = hashlib.sha256()
    for row in table.to_pylist():
        digest.update(pickle.dumps(row))
    return digest.hexdigest()


def sha256_alone(table: pa.Table) -> str:
    """The ceiling: SHA-256 over the raw buffers, which depends on chunks, encodings and what lies under NULLs."""
    digest = hashlib.sha256()
    for column in table.columns:
        for chunk in column.chunks:
            for buffer in chunk.buffers():
                if buffer is not None:
                    digest.update(buffer)
    return digest.hexdigest()


METHODS: dict[str, tuple[Callable[[pa.Table], str], float]] = {
    "manifests.identity": (ours, 1.0),
    "sha256 over raw Arrow buffers (ceiling)": (sha256_alone, 1.0),
    "sha256 over to_json in DuckDB": (json_in_duckdb, 0.25),
    "pandas.util.hash_pandas_object": (pandas_hash, 0.25),
    "sha256 over json.dumps of rows": (json_in_python, 0.1),
    "sha256 over pickle of rows": (pickled_rows, 0.1),
}
"""Name, function, and the share of the table it is given."""


def measure(method: Callable[[pa.Table], str], table: pa.Table) -> float:
    """Best of three, in MB (10^6 bytes of Arrow buffers) per second of CPU."""
    seconds = []
    for _ in range(3):
        start = time.process_time()
        method(table)
        seconds.append(time.process_time() - start)
    return table.nbytes / 1e6 / min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000, help="documents of some 2 kB")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    arguments = parser.parse_args()
    pa.set_cpu_count(1)
    table = corpus(arguments.rows)
    rates = {
        name: measure(method, table.slice(0, int(len(table) * share))) for name, (method, share) in METHODS.items()
    }
    best = rates["manifests.identity"]
    if arguments.json:
        print(json.dumps({"logical_mb": table.nbytes / 1e6, "mb_per_second": rates}))
        return
    print(f"{table.num_rows:,} documents, {table.nbytes / 1e6:,.0f} MB of logical data, one core")
    for name, rate in rates.items():
        print(f"{name:42} {rate:8,.0f} MB/s   {best / rate:6.1f} × the time")


if __name__ == "__main__":
    main()

"""Band keys of many documents to cluster labels: wall time, CPU time and memory of a process that does nothing else.

    python -m benchmarks.clusters [--documents 10000000] [--bands 14]

The truth is planted: one document in five belongs to a cluster of two to six, and its members share every band; all
other keys are random. Keys are made band by band, as the pipeline reads them from files, and are part of what is
measured (some 0.1 s a band). Leaves out the verification on texts, which the pipeline does between pairs and clusters.
`benchmarks.curation --clusters N` starts this in a process of its own, and another before it, since compiling takes
more memory than 10M documents.
"""

import argparse
import json
import time

import numpy as np

from benchmarks.memory import peak_bytes
from curation.corpus.duplicates import candidate_pairs, connected

SEED, LARGEST, CLUSTERED, AT_ONCE = 1, 6, 5, 1 << 16
CLOSE = np.uint64(0x9E3779B97F4A7C15)


def planted(documents: int) -> np.ndarray:
    """int32: the smallest member of the cluster of each document; itself for most."""
    draw = np.random.default_rng(SEED)
    members = draw.permutation(documents)[: documents // CLUSTERED].astype(np.int32)
    ends = np.cumsum(draw.integers(2, LARGEST + 1, len(members)))
    cluster = np.searchsorted(ends, np.arange(len(members)), side="right")
    smallest = np.full(cluster.max(initial=0) + 1, documents, np.int32)
    np.minimum.at(smallest, cluster, members)
    truth = np.arange(documents, dtype=np.int32)
    truth[members] = smallest[cluster]
    return truth


def keys_of(truth: np.ndarray, band: int) -> np.ndarray:
    """Keys that are alike for the members of a cluster and otherwise as good as random."""
    keys = np.empty(len(truth), np.uint64)
    for start in range(0, len(truth), AT_ONCE):
        part = truth[start : start + AT_ONCE].astype(np.uint64) + np.uint64((band + 1) << 32)
        for shift in (30, 27):
            part = (part ^ (part >> np.uint64(shift))) * CLOSE
        keys[start : start + AT_ONCE] = part ^ (part >> np.uint64(31))
    return keys


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=10_000_000)
    parser.add_argument("--bands", type=int, default=14)
    arguments = parser.parse_args()
    connected(candidate_pairs(lambda band: np.zeros(2, np.uint64), 1, np.arange(2, dtype=np.int32)), 2)  # compiled
    truth, ranks = planted(arguments.documents), np.arange(arguments.documents, dtype=np.int32)
    wall, cpu = time.perf_counter(), time.process_time()
    pairs = candidate_pairs(lambda band: keys_of(truth, band), arguments.bands, ranks)
    labels = connected(pairs, arguments.documents)
    found = {
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "gigabytes": peak_bytes() / 1e9,
        "pairs": len(pairs),
        "right": bool(np.array_equal(labels, truth)),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()

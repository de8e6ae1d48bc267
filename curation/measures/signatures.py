"""MinHash signatures, equal to datasketch's.

For the 32-bit hashes of a text's shingles the signature has the values of `datasketch.MinHash(num_perm, seed=1,
scheme="affine32", hashfunc=identity)` updated with them, bit for bit: each hash goes through MurmurHash3's 32-bit
finalizer and then, for permutation k, a_k·h + b_k mod 2^32, of which the least over all shingles is kept. The test
has datasketch as its oracle, and `octo near` its LSH index. A text without words has all values at 2^32 - 1.

A band of a signature is folded into a key of 64 bits; BandKeys holds the keys of many documents on disk, band by band.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import pyarrow as pa

from curation.measures.words import Shingles

SEED = 1
"""Of datasketch's permutations; its default."""


def signatures(shingles: Shingles, length: int) -> np.ndarray:
    """uint32 [texts, length]: the signature of each text."""
    return _signatures(shingles.short, shingles.offsets, *permutations(length))


def permutations(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Multipliers (odd) and increments of datasketch 2's affine32 scheme, uint32 [length] each."""
    draw = np.random.RandomState(SEED)
    multipliers = draw.randint(0, 1 << 31, length, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return multipliers, draw.randint(0, 1 << 32, length, dtype=np.uint32)


def band_keys(values: np.ndarray, rows: int) -> np.ndarray:
    """uint64 [bands, texts]: the `rows` values of each band as one number; other values seldom have the same."""
    bands = values.reshape(len(values), values.shape[1] // rows, rows)
    keys = np.zeros(bands.shape[:2], np.uint64)
    for row in range(rows):
        keys ^= bands[:, :, row]
        keys *= np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    return np.ascontiguousarray(keys.T)


@dataclass(frozen=True)
class BandKeys:
    """Band keys of many texts in `folder`, one file of uint64 for each band: `keys(band)` reads one."""

    folder: Path

    @classmethod
    def stored(cls, signatures: Iterable[np.ndarray], rows: int, folder: Path) -> "BandKeys":
        """Of `signatures`, batch after batch, `rows` values a band."""
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            files = []
            for values in signatures:
                keys = band_keys(values, rows)
                files = files or [stack.enter_context((folder / str(band)).open("wb")) for band in range(len(keys))]
                for file, column in zip(files, keys, strict=True):
                    file.write(column.data)
        return cls(folder)

    def __call__(self, band: int) -> np.ndarray:
        """uint64 [texts], in the order in which they were stored."""
        path = self.folder / str(band)
        return np.fromfile(path, np.uint64) if path.exists() else np.empty(0, np.uint64)


def as_column(values: np.ndarray) -> pa.FixedSizeListArray:
    """Signatures as an Arrow column."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def from_column(column: pa.Array, length: int) -> np.ndarray:
    """The signatures of an Arrow column of lists, uint32 [texts, length]."""
    return column.flatten().to_numpy().reshape(-1, length)


@numba.njit(cache=True, nogil=True)
def _signatures(hashes, offsets, multipliers, increments):
    out = np.full((len(offsets) - 1, len(multipliers)), np.uint32(0xFFFFFFFF), np.uint32)
    for text in range(len(offsets) - 1):
        least = out[text]
        for place in range(offsets[text], offsets[text + 1]):
            value = hashes[place]
            value = np.uint32((value ^ (value >> np.uint32(16))) * np.uint32(0x85EBCA6B))
            value = np.uint32((value ^ (value >> np.uint32(13))) * np.uint32(0xC2B2AE35))
            value = value ^ (value >> np.uint32(16))
            for k in range(len(multipliers)):
                permuted = np.uint32(multipliers[k] * value + increments[k])
                least[k] = min(least[k], permuted)
    return out

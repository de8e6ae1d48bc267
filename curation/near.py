"""Near-duplicates of a text within a corpus manifest, for `octo near TEXT|FILE --manifest M`.

The manifest's own signatures go into datasketch's MinHashLSH with the bands and rows that the corpus was made with, the
text is signed in the same way, and what the index finds is compared with the text itself. Dropped documents are found
too. Leaves out a stored index: it is filled anew for each call, some 15,000 documents a second.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasketch import MinHash, MinHashLSH

from curation.config import NearDuplicatesRecipe
from curation.duplicates import Texts
from curation.normalise import normalise
from curation.signatures import SEED, from_column, signatures
from curation.words import shingles, split
from manifests.errors import UserError
from manifests.manifest import Manifest


@dataclass(frozen=True)
class Near:
    """A document like the text: exact Jaccard `similarity` of their shingles, its fate in the corpus, how it begins."""

    doc_id: str
    source: str
    similarity: float
    drop_reason: str | None
    beginning: str


def near(manifest: Manifest, text: str, least: float = 0.5, limit: int = 10) -> list[Near]:
    """Documents of `manifest` whose similarity with `text` is at least `least`, most similar first, `limit` at most.

    Raises UserError when the manifest holds no signatures or the text no words.
    """
    if not manifest.files("signatures"):
        raise UserError(
            f"{manifest.ref} ({manifest.kind}) holds no signatures", "Give a corpus manifest made by `octo curate`"
        )
    settings = NearDuplicatesRecipe.model_validate(manifest.recipe["near_duplicates"])
    asked = normalise(pa.array([text], pa.string()))
    words = split(asked)
    if not words.counts[0]:
        raise UserError("the text holds no words", "Give some words to look for")
    runs = shingles(words.hashes, words.offsets, settings.shingle)
    wanted = signatures(runs, settings.bands * settings.rows)[0]
    rows = np.sort(np.array(_index(manifest, settings).query(sketch(wanted)), np.int64))
    return _compared(manifest, settings, asked, rows, least)[:limit]


def sketch(signature: np.ndarray) -> MinHash:
    """One signature as datasketch's own object."""
    return MinHash(hashvalues=signature, seed=SEED, scheme="affine32")


def _index(manifest: Manifest, settings: NearDuplicatesRecipe) -> MinHashLSH:
    """Every document's signature under its row number."""
    length = settings.bands * settings.rows
    index = MinHashLSH(num_perm=length, params=(settings.bands, settings.rows))
    row = 0
    with index.insertion_session() as session:
        for batch in manifest.scan("signatures", ["signature"]):
            for signature in from_column(batch.column(0), length):
                session.insert(row, sketch(signature), check_duplication=False)
                row += 1
    return index


def _compared(
    manifest: Manifest, settings: NearDuplicatesRecipe, asked: pa.Array, rows: np.ndarray, least: float
) -> list[Near]:
    documents = manifest.read("documents", ["doc_id", "source", "drop_reason"]).take(pa.array(rows))
    texts = _texts(manifest, rows)
    both = pa.concat_arrays([asked.cast(pa.large_string()), texts])
    numbers = np.arange(len(both))
    similarity = Texts(numbers, both, settings).verify(np.zeros(len(rows), np.int64), numbers[1:]).similarity
    found = [
        Near(**document, similarity=round(float(value), 4), beginning=" ".join(text.split())[:80])
        for document, value, text in zip(documents.to_pylist(), similarity, texts.to_pylist(), strict=True)
        if value >= least
    ]
    return sorted(found, key=lambda one: (-one.similarity, one.doc_id))


def _texts(manifest: Manifest, rows: np.ndarray) -> pa.Array:
    """Texts of `rows`, ascending; the others pass by in batches."""
    pieces, start = [pa.array([], pa.large_string())], 0
    for batch in manifest.scan("texts", ["text"]):
        here = rows[(rows >= start) & (rows < start + len(batch))] - start
        pieces.append(pc.take(batch.column(0), pa.array(here)).cast(pa.large_string()))
        start += len(batch)
    return pa.concat_arrays(pieces)

"""Near-duplicates of a text within a corpus manifest, for `octo near TEXT|FILE --manifest M`.

The family `bands` holds, band by band, the upper half of each document's band key, sorted, with its row: the signature
of the text is computed, and of each band only the row groups that can hold its key are read. The documents found are
read, their signatures computed and put into datasketch's MinHashLSH with the bands and rows of the corpus, which
decides which ones share a band: the result is that of a MinHashLSH of all signatures (tested). These documents are then
compared with the text itself. Dropped documents are found too. For a manifest without `bands`, made by an earlier
version, all signatures are put into MinHashLSH at each call, some 15,000 documents a second. Leaves out several texts
at once.
"""

import importlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation.config import NearDuplicatesRecipe
from curation.corpus.duplicates import Texts
from curation.measures.normalise import normalise
from curation.measures.signatures import SEED, band_keys, from_column, signatures
from curation.measures.spellings import spelled_words
from curation.measures.words import shingles
from manifests.errors import UserError
from manifests.manifest import Manifest

if TYPE_CHECKING:
    from datasketch import MinHash

BANDS = pa.schema([("band", pa.int32()), ("key", pa.uint32()), ("row", pa.int64())])
"""The family `bands`: sorted by band, key and row; `row` counts in `documents` from 0."""


def band_table(band: int, keys: np.ndarray, rows: np.ndarray) -> pa.Table:
    """One band of the family `bands`, from the documents' uint64 keys and their rows."""
    entries = np.sort((keys & np.uint64(0xFFFFFFFF00000000)) | rows.astype(np.uint64))
    row = (entries & np.uint64(0xFFFFFFFF)).astype(np.int64)
    return pa.table([np.full(len(row), band, np.int32), (entries >> np.uint64(32)).astype(np.uint32), row], BANDS)


@dataclass(frozen=True)
class Near:
    """A document like the text: exact Jaccard `similarity` of their shingles, the decision about it, what differs
    between the text and it (`differs`), and its beginning."""

    doc_id: str
    source: str
    similarity: float
    drop_reason: str | None
    differs: str
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
    asked = normalise(pa.array([text], pa.large_string()))
    if not spelled_words(asked).counts[0]:
        raise UserError("the text holds no words", "Give some words to look for")
    rows, texts = sharing(manifest, settings, asked)
    return _compared(manifest, settings, pa.concat_arrays([asked, texts]), rows, least)[:limit]


def sharing(manifest: Manifest, settings: NearDuplicatesRecipe, asked: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """(rows, ascending, their texts) of the documents that share a band with `asked`, one normalised text."""
    wanted = _signed(asked, settings)[0]
    if not manifest.files("bands"):
        rows = _query(settings, wanted, _stored_signatures(manifest, settings))
        return rows, _texts(manifest, rows)
    perhaps = _looked_up(manifest, band_keys(wanted[None], settings.rows)[:, 0])
    texts = _texts(manifest, perhaps)
    rows = _query(settings, wanted, zip(perhaps.tolist(), _signed(texts, settings), strict=True))
    return rows, texts.take(pa.array(np.searchsorted(perhaps, rows)))


def _signed(texts: pa.Array, settings: NearDuplicatesRecipe) -> np.ndarray:
    words = spelled_words(texts)
    return signatures(shingles(words.hashes, words.offsets, settings.shingle), settings.bands * settings.rows)


def _looked_up(manifest: Manifest, keys: np.ndarray) -> np.ndarray:
    """Rows, ascending, whose key in some band is like that of `keys` in its upper half."""
    upper = (keys >> np.uint64(32)).tolist()
    found = [np.empty(0, np.int64)]
    for file in (file for file in manifest.files("bands") if file.rows):
        with manifest.store.open(file.path) as source:
            found += _rows_of_keys(pq.ParquetFile(source), upper)
    return np.unique(np.concatenate(found))


def _rows_of_keys(file: pq.ParquetFile, upper: list[int]) -> Iterator[np.ndarray]:
    """From the row groups of a file of `bands` that can hold one of the keys, by band, the rows that do."""
    for group in range(file.num_row_groups):
        columns = (file.metadata.row_group(group).column(column).statistics for column in range(2))
        (first, last), (least, most) = ((limits.min, limits.max) for limits in columns)
        if first < last or least <= upper[first] <= most:
            band, key, row = (column.to_numpy() for column in file.read_row_group(group, use_threads=False).columns)
            yield row[key == np.array(upper, np.uint32)[band]]


def _query(settings: NearDuplicatesRecipe, wanted: np.ndarray, signed: Iterable[tuple[int, np.ndarray]]) -> np.ndarray:
    """Rows, ascending, of those `signed` (row and signature) that share a band with the signature `wanted`."""
    index = _datasketch().MinHashLSH(num_perm=len(wanted), params=(settings.bands, settings.rows))
    with index.insertion_session() as session:
        for row, signature in signed:
            session.insert(row, sketch(signature), check_duplication=False)
    return np.sort(np.array(index.query(sketch(wanted)), np.int64))


def _stored_signatures(manifest: Manifest, settings: NearDuplicatesRecipe) -> Iterator[tuple[int, np.ndarray]]:
    batches = manifest.scan("signatures", ["signature"])
    values = (row for batch in batches for row in from_column(batch.column(0), settings.bands * settings.rows))
    yield from enumerate(values)


def sketch(signature: np.ndarray) -> "MinHash":
    """One signature as datasketch's own object."""
    return _datasketch().MinHash(hashvalues=signature, seed=SEED, scheme="affine32")


@cache
def _datasketch() -> Any:
    """The package, without scipy.integrate, which takes 0.3 s to import and is only needed to choose bands and rows: it
    is imported if datasketch has to choose."""

    def quad(*arguments: Any, **named: Any) -> Any:
        return importlib.import_module("scipy.integrate").quad(*arguments, **named)

    if "datasketch" not in sys.modules and "scipy.integrate" not in sys.modules:
        later = sys.modules["scipy.integrate"] = ModuleType("scipy.integrate")
        later.quad = quad  # pyright: ignore[reportAttributeAccessIssue]
        try:
            return importlib.import_module("datasketch")
        finally:
            del sys.modules["scipy.integrate"]
    return importlib.import_module("datasketch")


def _compared(
    manifest: Manifest, settings: NearDuplicatesRecipe, texts: pa.Array, rows: np.ndarray, least: float
) -> list[Near]:
    """Documents `rows` against the first of `texts`; the others are theirs."""
    documents = manifest.take("documents", ["doc_id", "source", "drop_reason"], rows)
    described = [row for batch in documents for row in batch.to_pylist()]
    numbers = np.arange(len(texts))
    compared, asked = Texts.of(numbers, texts, settings), np.zeros(len(rows), np.int64)
    similarity, differs = compared.verify(asked, numbers[1:]).similarity, compared.differences(numbers[1:], asked)
    found = [
        Near(**document, similarity=round(float(value), 4), differs=", ".join(said), beginning=_beginning(text))
        for document, value, said, text in zip(described, similarity, differs, texts[1:].to_pylist(), strict=True)
        if value >= least
    ]
    return sorted(found, key=lambda one: (-one.similarity, one.doc_id))


def _beginning(text: str) -> str:
    return " ".join(text.split())[:80]


def _texts(manifest: Manifest, rows: np.ndarray) -> pa.Array:
    """Texts of `rows`, ascending."""
    found = [batch.column(0).cast(pa.large_string()) for batch in manifest.take("texts", ["text"], rows)]
    return pa.concat_arrays([pa.array([], pa.large_string()), *found])

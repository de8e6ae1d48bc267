"""A fastText classifier as a column of scores: text preparation, loading, scoring. `curation.classifiers.fit` trains
one.

Promises. `prepare` is the same for training and scoring. A model is identified by the SHA-256 of its file, not by its
path, and is loaded only after its file was found to be complete: fastText itself reads past the end of a truncated file
until memory is exhausted. Scores are probabilities in [0, 1] (fastText's own reach 1.00001). Leaves out scripts without
spaces, whose sentences count as one over-long word.
"""

import mmap
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import fasttext
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.measures.words import utf8
from manifests.errors import UserError
from manifests.manifest import Manifest
from manifests.store import file_sha256

PREFIX = "__label__"
DEFAULT = Path(__file__).with_name("default_classifier.bin")
"""The model that comes with the project: it distinguishes pages on mathematics from news, recipes, shops and software
manuals. `python -m curation.classifiers.default` makes it of pages listed in recipes/default-classifier/sources.yml,
and says how well it judges sites that it has not seen. Quantised, so that it is small."""
DEFAULT_SHA256 = "e2d048a93428fe4aa139716e507eec7546e30fbc5fa0b255c57a3623c1541e33"
LONGEST = 100
"""Bytes of the longest word that is kept, as MegaMath's preparation has it; longer ones are base64, URLs and tables."""
SPACE, END = 0x20, 0x0A
TOGETHER = 256
"""Texts prepared at once while scoring: few enough to stay in the cache (790 MB/s of 2.5 kB pages; 20,000: 530)."""


def _table() -> bytes:
    """What each byte becomes: letters lower-case, digits 0, other ASCII a space; UTF-8 beyond ASCII stays."""
    table = bytearray([SPACE]) * 256
    table[0x80:] = range(0x80, 0x100)
    for letter in range(ord("a"), ord("z") + 1):
        table[letter] = table[letter - 32] = letter
    for digit in b"0123456789":
        table[digit] = ord("0")
    return bytes(table)


TABLE = _table()


def prepare(texts: pa.Array) -> list[bytes]:
    """Each text as the line that fastText sees: TABLE applied, words over LONGEST bytes dropped, one `\\n` at the end.

    Only here are digits folded (`1,024` and `2,048` are both `0 000`): the topic of a page does not depend on them. One
    `translate` and one search for spaces over the bytes of all texts.
    """
    newline, nothing = pa.scalar("\n", pa.large_string()), pa.scalar("", pa.large_string())
    data, offsets = utf8(pc.binary_join_element_wise(texts.cast(pa.large_string()), newline, nothing))
    flat = np.frombuffer(bytearray(data.tobytes().translate(TABLE)), np.uint8)
    gaps = np.concatenate([[-1], np.flatnonzero(flat == SPACE)])
    for gap in np.flatnonzero(np.diff(gaps) - 1 > LONGEST):
        flat[gaps[gap] + 1 : gaps[gap + 1]] = SPACE
    flat[offsets[1:] - 1] = END
    lines, bounds = flat.tobytes(), offsets.tolist()
    return [lines[start:stop] for start, stop in pairwise(bounds)]


@dataclass(frozen=True)
class Classifier:
    """A loaded model. `digest` is the SHA-256 of its file, `label` the one whose probability is the score."""

    model: Any
    digest: str
    label: str

    @classmethod
    def load(cls, path: Path, label: str, digest: str | None = None) -> "Classifier":
        """Load a file that must be complete and, if `digest` is given, have it. UserError for any other file."""
        model, found = load_model(path, digest)
        if PREFIX + label not in model.get_labels():
            known = ", ".join(sorted(name.removeprefix(PREFIX) for name in model.get_labels()))
            raise UserError(f"{path} has no label {label!r}", f"Its labels are {known}: set classifier.label")
        return cls(model, found, label)

    def score(self, texts: pa.Array) -> np.ndarray:
        """Probability of `label` for each text, float64 in [0, 1]."""
        parts = (prepare(texts[start : start + TOGETHER]) for start in range(0, len(texts), TOGETHER))
        return np.concatenate([np.empty(0), *(self.score_lines(lines) for lines in parts)])

    def score_lines(self, lines: list[bytes]) -> np.ndarray:
        """The same for lines that `prepare` made."""
        # The binding under `predict`: that one takes str only, and would have every line decoded, searched and copied
        labels, chances = self.model.f.multilinePredict(lines, -1, 0.0, "strict")
        wanted, found = PREFIX + self.label, np.empty(len(lines))
        for row, (names, values) in enumerate(zip(labels, chances, strict=True)):
            found[row] = values[names.index(wanted)]
        return np.clip(found, 0.0, 1.0)


def load_model(path: Path, digest: str | None = None) -> tuple[Any, str]:
    """A fastText classifier and its file's SHA-256. The file must be complete and, if `digest` is given, have it;
    UserError for any other file."""
    check_file(path)
    found = file_sha256(path)
    if digest not in (None, found):
        raise UserError(f"{path} changed while it was in use", "Run the command again")
    return fasttext.FastText._FastText(str(path)), found  # its own load_model is the same with a warning on stderr


def model_path(manifest: Manifest) -> Path:
    """The model of a classifier manifest, as a local file."""
    if manifest.kind != "classifier":
        raise UserError(f"{manifest.ref} is a {manifest.kind}, not a classifier", "Name a classifier manifest")
    return manifest.local("model")["model.bin"]


# -- the file ----------------------------------------------------------------------------------------------------------

MAGIC, VERSION, SUPERVISED = 793712314, 12, 3
MODEL_FIELD, ARGUMENTS = 7, struct.Struct("<12id")
COUNTS, ENTRY_TAIL = struct.Struct("<iiiqq"), 9
FLAG, SHAPE, QUANTISED, QUANTISER = (
    struct.Struct("<?"),
    struct.Struct("<qq"),
    struct.Struct("<?qqi"),
    struct.Struct("<4i"),
)
CENTROIDS = 256


def check_file(path: Path) -> None:
    """UserError unless `path` is a whole fastText classifier (.bin or .ftz): header, dictionary, matrices, no more."""
    hint = "Give a model that `octo curate train-classifier` or fastText's `supervised` wrote"
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            fault = _fault(data)
    except (OSError, ValueError) as error:  # mmap refuses an empty file with ValueError
        raise UserError(f"cannot read classifier {path}: {error}", hint) from error
    except struct.error:
        fault = "is cut off"
    if fault:
        raise UserError(f"classifier {path} {fault}", hint)


def _fault(data: mmap.mmap) -> str | None:
    """What is wrong with a model's bytes; struct.error where they end too early."""
    if len(data) < 8 or struct.unpack_from("<ii", data) != (MAGIC, VERSION):
        return "is no fastText model"
    if ARGUMENTS.unpack_from(data, 8)[MODEL_FIELD] != SUPERVISED:
        return "holds word vectors and classifies nothing"
    at = 8 + ARGUMENTS.size
    words, _, _, _, pruned = COUNTS.unpack_from(data, at)
    at += COUNTS.size
    for _ in range(words):
        end = data.find(b"\0", at)
        if end < 0:
            return "is cut off"
        at = end + 1 + ENTRY_TAIL
    at += 8 * max(pruned, 0)
    for _ in range(2):  # the matrices of input and output
        (quantised,) = FLAG.unpack_from(data, at)
        at = (_end_of_codes if quantised else _end_of_matrix)(data, at + FLAG.size)
    return None if at == len(data) else "is cut off" if at > len(data) else "has bytes after its end"


def _end_of_matrix(data: mmap.mmap, at: int) -> int:
    rows, columns = SHAPE.unpack_from(data, at)
    return at + SHAPE.size + 4 * rows * columns


def _end_of_codes(data: mmap.mmap, at: int) -> int:
    """End of a product-quantised matrix: its codes and centroids, then those of the rows' norms if these lie apart."""
    norms, rows, _, codes = QUANTISED.unpack_from(data, at)
    at = _end_of_quantiser(data, at + QUANTISED.size + codes)
    return _end_of_quantiser(data, at + rows) if norms else at


def _end_of_quantiser(data: mmap.mmap, at: int) -> int:
    dimensions = QUANTISER.unpack_from(data, at)[0]
    return at + QUANTISER.size + 4 * dimensions * CENTROIDS

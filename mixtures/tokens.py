"""Tokens of a component, written once, in Datatrove's `.ds` layout, which nanotron and Datatrove can read.

    <component>.ds        token IDs, concatenated, uint16 where the vocabulary fits and uint32 otherwise, little-endian
    <component>.ds.index  the end of each document in tokens, uint64

Documents are in the order of the component's first epoch, one EOS after each; the `members` table names them. A
document is written as its `text`, or as a template renders its fields. Promises. Tokens stay in flat arrays from
tokenizer to file; memory is bounded by one batch of texts. Each document goes straight to its final place, so the
corpus is read once, in its own order. Text that spells a special token is encoded as plain text. On a sample determined
by the seed, the tokens of gigatoken are compared with those of Hugging Face, and a difference is an error. What was
written before a crash is used again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.measures.vocabulary import Vocabulary
from manifests.errors import UserError
from mixtures.config import parsed
from mixtures.selection import Selection

CHECKED = 64
"""Documents of each component that both tokenizers encode: the first in its order, which depends on the seed. For pages
of 2.5 kB that takes Hugging Face 0.1 s."""


@dataclass(frozen=True)
class Places:
    """Where the documents of a selection go: document i as `counts[i]` tokens from `starts[i]` on, the
    `ordinals[i]`-th of the file. All int64."""

    starts: np.ndarray
    counts: np.ndarray
    ordinals: np.ndarray

    def __getitem__(self, part: slice) -> "Places":
        return Places(self.starts[part], self.counts[part], self.ordinals[part])


def count_tokens(selection: Selection, vocabulary: Vocabulary, template: str | None = None) -> np.ndarray:
    """Tokens of each selected document with its EOS, int64.

    If the corpus was counted with this tokenizer and the text is written unchanged, its counts are used; otherwise its
    texts are read and encoded.
    """
    if template is None and selection.corpus.recipe.get("tokenizer") == vocabulary.digest:
        return selection.n_tokens + 1
    batches = selection.texts(_columns(template))
    counts = [vocabulary.count(written(batch, template)) for _, batch in batches]
    return np.concatenate(counts) + 1


def write_tokens(
    selection: Selection,
    places: Places,
    vocabulary: Vocabulary,
    template: str | None,
    target: Path,
    advance: Callable[..., None],
) -> None:
    """Write `selection` to `target` (a .ds) and its index, each document at its place.

    Raises UserError when a document does not have as many tokens as counted, or when two tokenizers disagree on one. A
    complete `target` is left unchanged.
    """
    size, dtype = int(places.counts.sum()), np.dtype(vocabulary.dtype).newbyteorder("<")
    if not (target.exists() and target.stat().st_size == size * dtype.itemsize):
        aside = target.with_name(f"{target.name}.part")
        tokens = np.memmap(aside, dtype, "w+", shape=(size,))
        for first, batch in selection.texts(_columns(template)):
            _place(tokens, written(batch, template), places[first : first + batch.num_rows], vocabulary)
            advance(batch.num_rows)
        tokens.flush()
        aside.rename(target)
    ends = np.sort(places.starts + places.counts).astype("<u8")
    target.with_name(f"{target.name}.index").write_bytes(ends.tobytes())


def _columns(template: str | None) -> list[str]:
    return sorted({field for _, field in parsed(template or "{text}") if field})


def written(batch: pa.RecordBatch, template: str | None) -> list[str]:
    """The text of each document as it is trained on: its `text`, or the rendered template."""
    pieces = []
    for text, field in parsed(template or "{text}"):
        pieces += [pa.scalar(text), *([batch.column(field)] if field else [])]
    texts = pc.binary_join_element_wise(*pieces, "")
    if texts.null_count:
        raise UserError(
            f"template {template!r}: {texts.null_count} of {batch.num_rows} documents lack one of its fields",
            f"Select documents that have {', '.join(_columns(template))}, or leave out `format`",
        )
    return texts.to_pylist()


def _place(tokens: np.ndarray, texts: list[str], places: Places, vocabulary: Vocabulary) -> None:
    """Encode `texts` into `tokens`, each at its start, EOS after it."""
    flat, offsets = vocabulary.encode(texts)
    lengths = np.diff(offsets)
    if wrong := int((lengths + 1 != places.counts).sum()):
        raise UserError(
            f"{wrong} documents do not have the number of tokens that their corpus records",
            "Its n_tokens and its tokenizer disagree: curate it again",
        )
    _check(texts, flat, offsets, np.flatnonzero(places.ordinals < CHECKED), vocabulary)
    tokens[np.arange(len(flat)) + np.repeat(places.starts - offsets[:-1], lengths)] = flat
    tokens[places.starts + lengths] = vocabulary.eos_id


def _check(texts: list[str], flat: np.ndarray, offsets: np.ndarray, sample: np.ndarray, vocabulary: Vocabulary) -> None:
    """UserError if the tokens of `sample` differ from those of Hugging Face."""
    if not vocabulary.fast or not len(sample):
        return
    oracle = vocabulary.tokenizer.encode_batch_fast([texts[i] for i in sample], add_special_tokens=False)
    for i, expected in zip(sample, oracle, strict=True):
        if flat[offsets[i] : offsets[i + 1]].tolist() != expected.ids:
            raise UserError(
                f"gigatoken and Hugging Face give different tokens for the document that begins {texts[i][:60]!r}",
                "Nothing was frozen: report the tokenizer and this text as a fault",
            )

"""Tokens of a component, written once: Datatrove's `.ds` layout, which nanotron and Datatrove read as it is.

    <component>.ds        token IDs end to end, uint16 where the vocabulary fits and uint32 otherwise, little-endian
    <component>.ds.index  the end of each document in tokens, uint64

Documents stand in the order of the component's first epoch, one EOS after each; the `members` table says which is
which. What is written of a document is its `text`, or what a template makes of its fields. Promises. Tokens stay in
flat arrays from tokenizer to file; memory is bounded by one batch of texts. Each document goes straight to its final
place, so the corpus is read once, in its own order. Text that spells a special token is plain text. What gigatoken
encodes is held against Hugging Face, token for token, on a sample given by the seed, and a difference is refused. What
was written before a crash is kept and used again.
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
"""Documents of each component whose tokens are asked of both tokenizers: the first of its order, which is the seed's.
Of pages of 2.5 kB that takes Hugging Face 0.1 s."""


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

    The corpus's own counts hold where it was counted with this tokenizer and the text is written as it is; otherwise
    its texts are read and encoded.
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
    complete `target` is left as it is.
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
    """What is trained on of each document: its text, or the template filled in."""
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
    """UserError where the tokens of `sample` are not those that Hugging Face gives."""
    if not vocabulary.fast or not len(sample):
        return
    oracle = vocabulary.tokenizer.encode_batch_fast([texts[i] for i in sample], add_special_tokens=False)
    for i, expected in zip(sample, oracle, strict=True):
        if flat[offsets[i] : offsets[i + 1]].tolist() != expected.ids:
            raise UserError(
                f"gigatoken and Hugging Face give different tokens for the document that begins {texts[i][:60]!r}",
                "Nothing was frozen: report the tokenizer and this text as a fault",
            )

"""Tokens of a component, written once: Datatrove's `.ds` layout, which nanotron and Datatrove read as it is.

    <component>.ds        token IDs end to end, uint16 where the vocabulary fits and uint32 otherwise, little-endian
    <component>.ds.index  the end of each document in tokens, uint64

Documents stand in the order of the component's first epoch, one EOS after each; the `members` table says which is
which. Promises. Tokens stay in flat arrays from tokenizer to file; memory is bounded by one batch of texts. Each
document goes straight to its final place, so the corpus is read once, in its own order. What was written before a
crash is kept and used again. Leaves out formatting: a document's `text` is what is trained on.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from curation.vocabulary import Vocabulary
from manifests.errors import UserError
from mixtures.selection import Selection


def count_tokens(selection: Selection, vocabulary: Vocabulary) -> np.ndarray:
    """Tokens of each selected document with its EOS, int64.

    The corpus's own counts hold where it was counted with this tokenizer; otherwise its texts are read and encoded.
    """
    if selection.corpus.recipe.get("tokenizer") == vocabulary.digest:
        return selection.n_tokens + 1
    counts = [vocabulary.count(batch.column("text").to_pylist()) for _, batch in selection.texts(["text"])]
    return np.concatenate(counts) + 1


def write_tokens(
    selection: Selection,
    starts: np.ndarray,
    counts: np.ndarray,
    vocabulary: Vocabulary,
    target: Path,
    advance: Callable[..., None],
) -> None:
    """Write `selection` to `target` (a .ds) and its index: document i as `counts[i]` tokens from `starts[i]` on.

    Raises UserError when a document does not have as many tokens as counted. A complete `target` is left as it is.
    """
    size, dtype = int(counts.sum()), np.dtype(vocabulary.dtype).newbyteorder("<")
    if not (target.exists() and target.stat().st_size == size * dtype.itemsize):
        aside = target.with_name(f"{target.name}.part")
        tokens = np.memmap(aside, dtype, "w+", shape=(size,))
        for first, batch in selection.texts(["text"]):
            here = slice(first, first + batch.num_rows)
            _place(tokens, batch.column("text").to_pylist(), starts[here], counts[here], vocabulary)
            advance(batch.num_rows)
        tokens.flush()
        aside.rename(target)
    ends = np.sort(starts + counts).astype("<u8")
    target.with_name(f"{target.name}.index").write_bytes(ends.tobytes())


def _place(
    tokens: np.ndarray, texts: list[str], starts: np.ndarray, counts: np.ndarray, vocabulary: Vocabulary
) -> None:
    """Encode `texts` into `tokens`, each at its start, EOS after it."""
    flat, offsets = vocabulary.encode(texts)
    lengths = np.diff(offsets)
    if wrong := int((lengths + 1 != counts).sum()):
        raise UserError(
            f"{wrong} documents do not have the number of tokens that their corpus records",
            "Its n_tokens and its tokenizer disagree: curate it again",
        )
    tokens[np.arange(len(flat)) + np.repeat(starts - offsets[:-1], lengths)] = flat
    tokens[starts + lengths] = vocabulary.eos_id

"""The loss of a model on given texts, in nats per token and bits per byte, as rows of `losses_held_out`.

A text is encoded by the model's own tokenizer, without BOS and EOS, as documents are in training; a problem before it
as it is for sampling. It is cut into windows that do not overlap, as long as the context of the model and at most
LONGEST tokens. The first token of a window conditions the others and is not predicted; of a text with a problem before
it only the tokens of the text count. Loss is the sum over all predicted tokens of a slice over their number, bits per
byte the same sum over ln 2 and the UTF-8 bytes of these tokens: a document weighs as much as it is long.

Promises. Equal to a plain loop of transformers over windows within 1e-5. Always float32 and evaluation mode; no random
number is drawn and the mode of the model is restored, so measuring changes nothing of a training in progress. No loop
over tokens: windows are sorted by length and padded on the right, which a causal model does not see. Standard errors
are those of a ratio of sums over documents (Cochran 1977, 6.3). Leaves out what the texts are: see
`evaluation.held_out.texts`.

Shapes: D texts, B windows of a batch, L tokens of its longest.
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Encoding, Tokenizer
from torch.nn import functional as F

from evaluation.held_out.texts import Texts
from manifests.errors import UserError

LONGEST = 8192
"""Tokens of a window at most: logits of a longer one, of 128,000 words, are 4 GB."""
LOGITS_BYTES = {"cpu": 16 << 20, "cuda": 4 << 30}
"""Bound of the logits of one batch of several windows. A model of 0.3M weights is fastest at 16 MB on one CPU core,
twice as fast as at 128 MB, whose logits leave the cache."""
NOT_COUNTED = -100
"""What `cross_entropy` ignores."""


@dataclass(frozen=True)
class Windows:
    """Texts in tokens, cut. `tokens` are those of all texts end to end; window w has `lengths[w]` from `starts[w]` on,
    the first `given[w]` of which are not predicted, and is of text `text[w]`. `n_tokens` and `n_bytes` [D] count what
    is predicted of each text."""

    tokens: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    given: np.ndarray
    text: np.ndarray
    n_tokens: np.ndarray
    n_bytes: np.ndarray


@dataclass(frozen=True)
class Prepared:
    """Texts ready to be measured."""

    texts: Texts
    windows: Windows
    digest: str


def prepare(texts: Texts, tokenizer: Path, context: int | None, max_tokens: int | None = None) -> Prepared:
    """Encode `texts` with the tokenizer.json in the folder `tokenizer` and cut them for a context of that many tokens;
    where `max_tokens` is given, the first that have no more together, and at least one."""
    encoded = _encoded(texts, tokenizer)
    if max_tokens is not None:
        ends = np.cumsum([len(target.ids) for _, target in encoded])
        kept = max(1, int(np.searchsorted(ends, max_tokens, "right")))
        texts, encoded = texts.take(range(kept)), encoded[:kept]
    windows = _cut(texts, encoded, min(context or LONGEST, LONGEST))
    if not windows.n_tokens.any():
        raise UserError(f"the texts of {texts.manifest} have one token at most", "Name a manifest with longer ones")
    return Prepared(texts, windows, texts.digest)


def _encoded(texts: Texts, folder: Path) -> list[tuple[list[int], Encoding]]:
    """Tokens of the problem, and the text's with their places, of each."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    tokenizer.no_padding()
    tokenizer.no_truncation()
    asked = {text: one.ids for text, one in _batch(tokenizer, sorted({*texts.prompts} - {""}), special=True)}
    targets = _batch(tokenizer, texts.targets, special=False)
    return [(asked.get(before, []), one) for before, (_, one) in zip(texts.prompts, targets, strict=True)]


def _batch(tokenizer: Tokenizer, texts: Any, special: bool) -> list[tuple[str, Encoding]]:
    return list(zip(texts, tokenizer.encode_batch(list(texts), add_special_tokens=special), strict=True))


def _cut(texts: Texts, encoded: list[tuple[list[int], Encoding]], length: int) -> Windows:
    """The windows of each text with the problem before it; those of a problem alone are left out."""
    tokens, rows, n_tokens, n_bytes = [np.empty(0, np.int64)], [], [], []
    first = 0
    for text, (before, one) in enumerate(encoded):
        size = len(before) + len(one.ids)
        starts = range(0, size, length)
        given = [min(max(1, len(before) - start), length) for start in starts]
        sizes = [min(length, size - start) for start in starts]
        rows += [
            (first + start, n, skipped, text)
            for start, n, skipped in zip(starts, sizes, given, strict=True)
            if n > skipped
        ]
        n_tokens.append(sum(max(0, n - skipped) for n, skipped in zip(sizes, given, strict=True)))
        conditions = [start - len(before) for start in starts if start >= len(before)]
        n_bytes.append(_bytes(texts.targets[text], one, conditions))
        tokens.append(np.array(before + one.ids, np.int64))
        first += size
    starts, lengths, skipped, which = np.array(rows, np.int64).reshape(-1, 4).T
    counts = np.array(n_tokens, np.int64), np.array(n_bytes, np.int64)
    return Windows(np.concatenate(tokens), starts, lengths, skipped, which, *counts)


def _bytes(text: str, encoding: Encoding, conditions: list[int]) -> int:
    """Bytes of `text` without those of its tokens `conditions`. A token has what lies between the end of the one before
    it and its own end, so that the bytes of all add up; one that shares a character has all of it or nothing."""
    whole = len(text.encode())
    for place in conditions:
        begin = _end(encoding, place - 1) if place else 0
        whole -= len(text[begin : _end(encoding, place)].encode())
    return whole


def _end(encoding: Encoding, place: int) -> int:
    span = encoding.token_to_chars(place)
    return span[1] if span else 0


# -- measuring -----------------------------------------------------------------------------------------------------


def nats(model: Any, prepared: Prepared, rank: int = 0, ranks: int = 1) -> np.ndarray:
    """The loss of each text, summed over its predicted tokens, float64 [D]; of `ranks` processes, the part of `rank`:
    the parts add up."""
    windows, found = prepared.windows, np.zeros(len(prepared.texts))
    _check_vocabulary(model, windows)
    with _measuring(model):
        for rows in _batches(model, windows)[rank::ranks]:
            np.add.at(found, windows.text[rows], _of_windows(model, windows, rows))
    return found


def context_of(model: Any) -> int | None:
    """Longest input of a model, if its configuration says."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def _check_vocabulary(model: Any, windows: Windows) -> None:
    rows = model.get_input_embeddings().num_embeddings
    if int(windows.tokens.max()) >= rows:
        raise UserError(
            f"the tokenizer beside the model gives token {int(windows.tokens.max())}, and the model has {rows}",
            "Put the model's own tokenizer.json beside it",
        )


@contextlib.contextmanager
def _measuring(model: Any) -> Iterator[None]:
    """Evaluation mode, without gradients and in full precision; the mode is restored."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(model.device.type, enabled=False):
            yield
    finally:
        model.train(was_training)


def _batches(model: Any, windows: Windows) -> list[np.ndarray]:
    """Windows by length, as many at a time as the bound of the logits allows."""
    vocabulary = model.get_output_embeddings().weight.shape[0]
    most = max(1, LOGITS_BYTES.get(model.device.type, LOGITS_BYTES["cpu"]) // (4 * vocabulary))
    order, first, batches = np.argsort(-windows.lengths, kind="stable"), 0, []
    while first < len(order):
        rows = order[first : first + max(1, most // int(windows.lengths[order[first]]))]
        batches.append(rows)
        first += len(rows)
    return batches


def _of_windows(model: Any, windows: Windows, rows: np.ndarray) -> np.ndarray:
    """The loss of each window of a batch, float64 [B]."""
    lengths, longest = windows.lengths[rows], int(windows.lengths[rows].max())
    places_BL = np.arange(longest)[None, :]
    inside_BL = places_BL < lengths[:, None]
    tokens_BL = windows.tokens[np.where(inside_BL, windows.starts[rows][:, None] + places_BL, 0)]
    counts_BL = inside_BL & (places_BL >= windows.given[rows][:, None])
    tokens = torch.from_numpy(tokens_BL).to(model.device)
    labels = torch.from_numpy(np.where(counts_BL, tokens_BL, NOT_COUNTED)).to(model.device)
    logits = model(input_ids=tokens, use_cache=False).logits[:, :-1].float()
    each = F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=NOT_COUNTED, reduction="none")
    return each.view(len(rows), -1).double().sum(1).cpu().numpy()


# -- rows ----------------------------------------------------------------------------------------------------------


def rows_of(
    prepared: Prepared, nats_D: np.ndarray, step: int, model: str | None, is_checkpoint: bool
) -> list[dict[str, Any]]:
    """The rows of `losses_held_out`: all texts, then by source, role and benchmark."""
    texts, counted = prepared.texts, prepared.windows.n_tokens > 0
    about = {"step": step, "model": model, "checkpoint": is_checkpoint, "manifest": texts.manifest}
    about |= {"texts": texts.kind, "digest": prepared.digest}
    found = []
    for kind, names in ({"all": ("all",) * len(texts)} | texts.slices).items():
        labels = np.array(names, dtype=object)
        for name in sorted({*names}):
            if (mine := (labels == name) & counted).any():
                found.append(about | {"slice": kind, "name": name} | _figures(prepared, nats_D, mine))
    return found


def _figures(prepared: Prepared, nats_D: np.ndarray, mine: np.ndarray) -> dict[str, Any]:
    windows, seen = prepared.windows, prepared.texts.trained_on
    loss, loss_error = ratio(nats_D[mine], windows.n_tokens[mine])
    bits, bits_error = ratio(nats_D[mine] / math.log(2), windows.n_bytes[mine])
    return {
        "n_documents": int(mine.sum()),
        "n_trained_on": None if seen is None else int(seen[mine].sum()),
        "n_tokens": int(windows.n_tokens[mine].sum()),
        "n_bytes": int(windows.n_bytes[mine].sum()),
        "loss": loss,
        "loss_error": loss_error,
        "bits_per_byte": bits,
        "bits_per_byte_error": bits_error,
    }


def ratio(above: np.ndarray, below: np.ndarray) -> tuple[float, float | None]:
    """Sum of `above` over sum of `below`, and its standard error over their elements, drawn at random; None for one."""
    total, n = float(below.sum()), len(below)
    value = float(above.sum()) / total if total else math.nan
    if n < 2 or not total:
        return value, None
    rest = above - value * below
    return value, float(math.sqrt(n / (n - 1) * np.square(rest).sum()) / total)

"""Decoding of one batch by a transformers causal LM: the model's cache, the next tokens, the rows that end.

Where the time goes, and what is done about it: half of it is reading prompts, so what all of a batch begin with (the
examples of a few-shot prompt) is read once, and prompts of like length are read together and padded little; a decoding
step costs about the same for a row that has finished as for one that has not, so finished rows give up their place in
the batch and in its cache; keys and values are written into buffers of the final length in place of being copied at
each step; a prompt sampled n times is read once. Leaves out how rows become batches:
`evaluation.samplers.transformers_sampler`.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

MAX_PREFILL_TOKENS = 16_384
"""Tokens of prompts that are read together, padding and what they share included."""
MIN_SHARED = 64
"""Tokens that all prompts of a batch must begin with to be read once: what follows a past needs a mask."""
MIN_FILLED = 0.8
"""Prompts that are read together are at least so long beside the longest of them."""
DROP_SHARE = 1 / 32
"""Finished rows are dropped once they are this share of a batch: dropping moves rows, keeping wastes the step."""


@dataclass(eq=False)
class Row:
    """One sequence to sample: its place among the requests, the stream of its prompt, its number among the samples of
    that, and what came of it."""

    place: int
    stream: int
    number: int
    ids: list[int]
    limit: int
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    truncated: bool = False


@torch.no_grad()
def decode(
    model: Any, batch: list[Row], temperature: float, uniforms: np.ndarray, ending: "Ending"
) -> Iterator[list[Row]]:
    """Sample every row of `batch` to its end, note what came of it in the row, and give the rows that are dropped.

    Shapes, here and below: B rows in all, N steps at most, A rows still in the model's cache (`alive_A` says which),
    V tokens in the vocabulary.
    """
    decoding, tally = _Decoding(model, batch), _Tally(batch, model.device)
    uniforms_BN = torch.from_numpy(uniforms).to(model.device)
    logits_AV, alive_A = decoding.read_prompts(), torch.arange(len(batch), device=model.device)
    for step in range(uniforms.shape[1]):
        logprobs_AV = logits_AV.float().log_softmax(-1)
        tokens_A = _choose(logprobs_AV, temperature, uniforms_BN[alive_A, step])
        tally.note(step, alive_A, tokens_A, logprobs_AV)
        going_A = tally.close(step, alive_A, ending.reached(tally.tokens_BN, alive_A, step))
        n_going = int(going_A.sum())
        if n_going == 0:
            break
        if n_going <= len(alive_A) * (1 - DROP_SHARE):
            yield tally.deliver(batch, alive_A[~going_A])
            rows = _moved_up(going_A, n_going)
            alive_A, tokens_A = alive_A[rows], tokens_A[rows]
            decoding.keep(rows)
        logits_AV = decoding.step(tokens_A)
    yield tally.deliver(batch, alive_A)


def _moved_up(going_A: Tensor, n_going: int) -> Tensor:
    """Rows for the first `n_going` places: those that go on stay where they are, and the last of them take the places
    of those that do not."""
    rows = torch.arange(n_going, device=going_A.device)
    rows[~going_A[:n_going]] = going_A[n_going:].nonzero()[:, 0] + n_going
    return rows


class _Tally:
    """What was sampled in a batch so far. A row that has ended may stay in the cache; what it samples then is void."""

    def __init__(self, batch: list[Row], device: torch.device):
        self._limits_B = torch.tensor([row.limit for row in batch], device=device)
        steps = max(row.limit for row in batch)
        self.tokens_BN = torch.zeros(len(batch), steps, dtype=torch.long, device=device)
        self._logprobs_BN = torch.zeros(len(batch), steps, device=device)
        self._lengths_B = torch.zeros_like(self._limits_B)  # 0 while a row is under way
        self._cut_B = torch.zeros_like(self._limits_B, dtype=torch.bool)

    def note(self, step: int, alive_A: Tensor, tokens_A: Tensor, logprobs_AV: Tensor) -> None:
        self.tokens_BN[alive_A, step] = tokens_A
        self._logprobs_BN[alive_A, step] = logprobs_AV.gather(1, tokens_A[:, None])[:, 0]

    def close(self, step: int, alive_A: Tensor, ended_A: Tensor) -> Tensor:
        """Close the rows that ended with this step or reached their limit; whether each row goes on, bool [A]."""
        full_A = self._limits_B[alive_A] <= step + 1
        newly_A = (ended_A | full_A) & (self._lengths_B[alive_A] == 0)
        self._lengths_B[alive_A[newly_A]] = step + 1
        self._cut_B[alive_A[newly_A & ~ended_A]] = True
        return self._lengths_B[alive_A] == 0

    def deliver(self, batch: list[Row], places_E: Tensor) -> list[Row]:
        """The rows of `batch` at `places_E`, which have ended, with what came of them."""
        columns = (self.tokens_BN, self._logprobs_BN, self._lengths_B, self._cut_B)
        rows = [batch[place] for place in places_E.tolist()]
        for row, tokens, logprobs, length, cut in zip(rows, *(one[places_E].tolist() for one in columns), strict=True):
            row.token_ids, row.logprobs, row.truncated = tokens[:length], logprobs[:length], cut
        return rows


def _choose(logprobs_AV: Tensor, temperature: float, uniforms_A: Tensor) -> Tensor:
    """The next token of each row: the likeliest at temperature 0, else where the cumulated probability passes u."""
    if temperature == 0:
        return logprobs_AV.argmax(-1)
    scaled_AV = logprobs_AV if temperature == 1 else (logprobs_AV / temperature).log_softmax(-1)
    cumulated_AV = scaled_AV.exp().cumsum(-1)
    wanted_A1 = uniforms_A[:, None] * cumulated_AV[:, -1:]
    return torch.searchsorted(cumulated_AV, wanted_A1, right=True)[:, 0].clamp(max=logprobs_AV.shape[1] - 1)


class _Buffer(DynamicLayer):
    """Keys and values of one layer, [rows, heads, columns, head size], in stores with room for every later column.
    The first `width` columns are for prompts."""

    def __init__(self, rows: int, width: int, capacity: int):
        super().__init__()
        self._rows, self._width, self._capacity = rows, width, capacity
        self._stores: tuple[Tensor, ...] = ()

    def fill(self, places: list[tuple[int, int, int]], read: DynamicLayer) -> None:
        """Prompts that `read` has: each of `places` is a row, the prompt for it in `read`, and its tokens, to end in
        column `width`. Columns before it are 0."""
        assert read.keys is not None and read.values is not None
        self._make_room(read.keys)
        for store, new in zip(self._stores, (read.keys, read.values), strict=True):
            for row, prompt, tokens in places:
                store[row, :, self._width - tokens : self._width] = new[prompt, :, :tokens]

    def _make_room(self, like: Tensor) -> None:
        if not self._stores:
            shape = (self._rows, like.shape[1], self._capacity, like.shape[3])
            self._stores = (like.new_zeros(shape), like.new_zeros(shape))
            self._show(self._width)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        self._make_room(key_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        for store, new in zip(self._stores, (key_states, value_states), strict=True):
            store[:, :, start:end] = new
        return self._show(end)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Of `beam_idx` (see `_moved_up`) only rows that move are copied, none to where another stays."""
        end = self.get_seq_length()
        to = (beam_idx != torch.arange(len(beam_idx), device=beam_idx.device)).nonzero()[:, 0]
        for store in self._stores:
            store[to, :, :end] = store[beam_idx[to], :, :end]
        self._stores = tuple(store[: len(beam_idx)] for store in self._stores)
        self._show(end)

    def _show(self, end: int) -> tuple[Tensor, Tensor]:
        keys, values = (store[:, :, :end] for store in self._stores)
        self.keys, self.values, self.is_initialized = keys, values, True
        return keys, values


class _Decoding:
    """The model's side of a batch: cache, mask and positions. Prompts end in one column, so they begin in several."""

    def __init__(self, model: Any, batch: list[Row]):
        self._model, self._config = model, model.config.get_text_config()
        prompts = [(row.stream, tuple(row.ids)) for row in batch]
        order = {prompt: place for place, prompt in enumerate(dict.fromkeys(prompts))}
        self._prompts = [ids for _, ids in order]
        self._sources = [order[prompt] for prompt in prompts]
        self._buffered = _attends_to_everything(model)
        self._grouped = self._buffered and self._config._attn_implementation == "sdpa"
        self._behind = int(self._buffered)  # with buffers the last token of a prompt is read as those after it are
        self._width = max(map(len, self._prompts)) - self._behind
        self._capacity = self._width + self._behind + max(row.limit for row in batch)
        self._cache = self._empty()

    def _empty(self) -> Any:
        """The cache of the batch before anything is read."""
        if not self._buffered:
            return DynamicCache(config=self._model.config)
        room = (len(self._sources), self._width, self._capacity)
        return Cache(layers=[_Buffer(*room) for _ in range(self._config.num_hidden_layers)])

    def read_prompts(self) -> Tensor:
        """Fill the cache with the prompts, each read once, and give the logits after each row's prompt, [B, V]."""
        device = self._model.device
        lengths_B = torch.tensor([len(self._prompts[source]) - self._behind for source in self._sources], device=device)
        self._columns = self._width
        self._positions_A1 = lengths_B[:, None]
        self._mask = self._decoding_mask(lengths_B) if bool((lengths_B != self._width).any()) else None
        if not self._buffered:
            return self._read_padded()[torch.tensor(self._sources, device=device)]
        shared = _shared(self._prompts)
        past = self._after([self._prompts[0][:shared]], DynamicCache(config=self._config)) if shared else None
        for part in _of_like_length([len(ids) - 1 for ids in self._prompts], shared):
            self._read_part(*part, shared, past)
        return self.step(torch.tensor([self._prompts[source][-1] for source in self._sources], device=device))

    def _read_part(self, first: int, end: int, shared: int, past: Any) -> None:
        """Read prompts `first` to `end`, but for their last tokens, into the buffers of their rows; `past` has read the
        `shared` tokens at their beginning."""
        prompts, cache = self._prompts[first:end], DynamicCache(config=self._config)
        for number, layer in enumerate(past.layers if past else ()):
            cache.update(*(one.expand(len(prompts), -1, -1, -1) for one in (layer.keys, layer.values)), number)
        if not self._after([ids[shared:-1] for ids in prompts], cache).get_seq_length():
            return  # prompts of one token
        wanted = [(row, source - first) for row, source in enumerate(self._sources) if first <= source < end]
        places = [(row, prompt, len(prompts[prompt]) - 1) for row, prompt in wanted]
        for layer, read in zip(self._cache.layers, cache.layers, strict=True):
            layer.fill(places, read)

    def _after(self, texts: list[tuple[int, ...]], cache: Any) -> Any:
        """`cache` with `texts` read after what it holds. They are padded on the right: no token looks at one after it,
        so that there is nothing to mask but the future."""
        begin, width = cache.get_seq_length(), max(map(len, texts))
        if width:
            ids = torch.tensor([[*one, *[0] * (width - len(one))] for one in texts], device=self._model.device)
            self._call(ids, torch.arange(begin, begin + width, device=ids.device)[None], None, cache)
        return cache

    def _read_padded(self) -> Tensor:
        """Read all prompts at once, padded on the left, and give the logits after each of them."""
        ids_PW = torch.zeros(len(self._prompts), self._width, dtype=torch.long)
        seen_PW = torch.zeros_like(ids_PW)
        for line, ids in enumerate(self._prompts):
            ids_PW[line, -len(ids) :] = torch.tensor(ids)
            seen_PW[line, -len(ids) :] = 1
        ids_PW, seen_PW = ids_PW.to(self._model.device), seen_PW.to(self._model.device)
        mask = None if self._mask is None else seen_PW
        logits_PV = self._call(ids_PW, (seen_PW.cumsum(-1) - 1).clamp(min=0), mask, self._cache)
        self._cache.reorder_cache(torch.tensor(self._sources, device=self._model.device))
        return logits_PV

    def _decoding_mask(self, lengths_B: Tensor) -> Tensor:
        """What a new token may look at, with room for every later column: additive [B, 1, 1, capacity], which
        transformers takes as it is, or, where it has windows of its own to add, [B, capacity] of 0 and 1."""
        columns = torch.arange(self._capacity, device=lengths_B.device)
        seen = columns >= self._width - lengths_B[:, None]
        if not self._buffered:
            return seen.long()
        blocked = torch.zeros(seen.shape, dtype=self._model.dtype, device=seen.device)
        return blocked.masked_fill_(~seen, float("-inf"))[:, None, None, :]

    def step(self, tokens_A: Tensor) -> Tensor:
        """Append one token to every row in the cache and give the logits after it, [A, V]."""
        self._columns += 1
        mask = None if self._mask is None else self._mask[..., : self._columns]
        with _grouped_attention(self._config) if self._grouped and mask is not None else nullcontext():
            logits_AV = self._call(tokens_A[:, None], self._positions_A1, mask, self._cache)
        self._positions_A1 = self._positions_A1 + 1
        return logits_AV

    def keep(self, rows: Tensor) -> None:
        """Drop every row but these from the batch, in this order (see `_moved_up`)."""
        self._cache.reorder_cache(rows)
        self._positions_A1 = self._positions_A1[rows]
        self._mask = None if self._mask is None else self._mask[rows]

    def _call(self, ids: Tensor, positions: Tensor, mask: Tensor | None, cache: Any) -> Tensor:
        return self._model(
            input_ids=ids,
            position_ids=positions,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]


def _shared(prompts: list[tuple[int, ...]]) -> int:
    """How many tokens all of several prompts begin with, their last ones apart; 0 if they are not worth the trouble."""
    first, last = min(prompts)[:-1], max(prompts)[:-1]  # whatever these two begin with, those between them do too
    apart = (place for place, pair in enumerate(zip(first, last, strict=False)) if len(set(pair)) > 1)
    shared = next(apart, min(len(first), len(last)))
    return shared if shared >= MIN_SHARED and len(prompts) > 1 else 0


def _of_like_length(lengths: list[int], shared: int) -> Iterator[tuple[int, int]]:
    """(first, end) of prompts to be read together; `lengths` ascend, and `shared` tokens of each are read already."""
    first = 0
    for place, length in enumerate(lengths):
        is_long = (length - shared) * MIN_FILLED > lengths[first] - shared
        if place > first and (is_long or (place + 1 - first) * length > MAX_PREFILL_TOKENS):
            yield first, place
            first = place
    yield first, len(lengths)


def _grouped_sdpa(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, scaling: float, **rest: Any
) -> tuple[Tensor, None]:
    """Attention of one new token per row. Heads that share a key stand where queries stand, [rows, key heads, group,
    size], so that no key is copied; transformers copies all of them at each step once there is a mask (4× slower)."""
    rows, heads, size = query.shape[0], query.shape[1], query.shape[3]
    grouped = query.reshape(rows, key.shape[1], -1, size)
    found = torch.nn.functional.scaled_dot_product_attention(grouped, key, value, attention_mask, scale=scaling)
    return found.reshape(rows, 1, heads, size), None


AttentionInterface.register("grouped_sdpa", _grouped_sdpa)


@contextmanager
def _grouped_attention(config: Any) -> Iterator[None]:
    """Within, the model of `config` attends by `_grouped_sdpa` in place of sdpa."""
    config._attn_implementation = "grouped_sdpa"
    try:
        yield
    finally:
        config._attn_implementation = "sdpa"


def _attends_to_everything(model: Any) -> bool:
    """Whether every layer is plain full attention, so that buffers and a ready-made mask say all there is to say."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    implementation = getattr(config, "_attn_implementation", None)
    windowed = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    return kinds == {"full_attention"} and not windowed and implementation in ("sdpa", "eager")


def eos_ids(model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end a response."""
    found = [model.generation_config.eos_token_id, model.config.get_text_config().eos_token_id, tokenizer.eos_token_id]
    flat = [one for item in found for one in (item if isinstance(item, list) else [item])]
    return sorted({one for one in flat if one is not None})


class Ending:
    """Tells which rows have just ended, by an EOS token or a stop string."""

    def __init__(self, tokenizer: Any, stop: tuple[str, ...], eos_ids: list[int]):
        self._tokenizer, self._stop, self._eos_ids = tokenizer, stop, eos_ids
        self._tail = max((len(text.encode()) for text in stop), default=0) + 4  # a token is at least one byte
        self._may_close: dict[int, bool] = {}

    def reached(self, tokens_BN: Tensor, alive_A: Tensor, step: int) -> Tensor:
        """Whether each row of `alive_A` ends with the token of this step, bool [A]."""
        tokens_A = tokens_BN[alive_A, step]
        ended_A = torch.isin(tokens_A, torch.tensor(self._eos_ids, dtype=torch.long, device=tokens_A.device))
        if self._stop:
            closing = [i for i, token in enumerate(tokens_A.tolist()) if self._has_last_character(token)]
            tails = tokens_BN[alive_A[closing], max(0, step + 1 - self._tail) : step + 1].tolist()
            for i, tail in zip(closing, tails, strict=True):
                text = decoded_text(self._tokenizer, tail)
                ended_A[i] |= any(stop in text for stop in self._stop)
        return ended_A

    def _has_last_character(self, token: int) -> bool:
        """Only a token that holds the last character of a stop string can complete it. Spaces and bytes of a longer
        character may look different when decoded alone, so those are never ruled out."""
        if token not in self._may_close:
            text = decoded_text(self._tokenizer, [token])
            ends = {stop[-1] for stop in self._stop}
            self._may_close[token] = "\ufffd" in text or any(end in text or end == " " for end in ends)
        return self._may_close[token]


def decoded_text(tokenizer: Any, ids: list[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

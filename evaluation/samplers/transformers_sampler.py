"""Samples completions from any transformers causal LM, with a KV cache, in batches by prompt length.

Promises. Greedy sampling gives what `generate(do_sample=False)` gives, token for token, as far as rounding lets it: 1
of 256 answers of 123 tokens by a random model differed. Sampling with a seed does not depend on how the work
is batched, as far as that: every sequence draws from a stream of its own, derived from (seed, prompt, sample).
Log-probabilities are those of the model itself (temperature 1), whatever the temperature the tokens were drawn at. How
a batch is decoded, and where the time goes: `evaluation.samplers.decoding`.

Leaves out: serving engines, beam search, top-k and top-p (RL needs the untruncated distribution).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from evaluation.samplers.decoding import Ending, Row, decode, decoded_text, eos_ids
from evaluation.samplers.model_folder import check_folder
from evaluation.samplers.sampling import Completion, Request, SamplingParams, cut_at, refusal
from manifests.errors import UserError

MAX_ROWS = 128
"""Sequences decoded together; a model of 1M parameters is fastest at 128 on one CPU core, 20% slower at 256."""
CACHE_BYTES = 2 << 30
"""Bound of keys and values of one batch on a CPU; on a GPU it is half of the memory that is free."""


def load_model(path: str | Path) -> tuple[Any, Any]:
    """The model (evaluation mode; float32 on a CPU, bfloat16 on a GPU) and tokenizer of a Hugging Face folder."""
    folder = Path(path)
    check_folder(folder)
    logging.disable_progress_bar()  # ours shows what matters, and only on a terminal
    on_gpu = torch.cuda.is_available()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, dtype=torch.bfloat16 if on_gpu else torch.float32
        )
    except (OSError, ValueError) as error:
        raise UserError(f"cannot load the model in {folder}: {' '.join(str(error).split())[:200]}") from error
    return model.to("cuda" if on_gpu else "cpu").eval(), tokenizer


def encode(tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    """The token IDs that `sample` conditions on, one list per prompt."""
    return tokenizer(list(prompts))["input_ids"] if prompts else []


def sample(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    params: SamplingParams,
    *,
    streams: Sequence[int] | None = None,
    max_rows: int = MAX_ROWS,
) -> list[list[Completion]]:
    """`params.n` completions of each prompt, in the order of the prompts.

    `streams` names the random stream of each prompt (its position by default), so that a part of a longer list draws
    what it would draw within the whole. Raises UserError for a prompt that is empty or fills the model's context.
    """
    groups = dict(sample_each(model, tokenizer, prompts, params, streams=streams, max_rows=max_rows))
    return [groups[position] for position in range(len(prompts))]


def sample_each(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    params: SamplingParams,
    *,
    streams: Sequence[int] | None = None,
    max_rows: int = MAX_ROWS,
) -> Iterator[tuple[int, list[Completion]]]:
    """What `sample` gives, as (position of the prompt, completions), each prompt soon after its rows have ended: while
    the others of its batch go on, what came of it can be graded and kept."""
    names = range(len(prompts)) if streams is None else streams
    requests = [
        Request(tuple(ids), names[position], number)
        for position, ids in enumerate(encode(tokenizer, prompts))
        for number in range(params.n)
    ]
    rows, missing = _rows(model, requests, params), [params.n] * len(prompts)
    for ended in _decoded(model, tokenizer, rows, params, max_rows):
        for row in ended:
            missing[row.place // params.n] -= 1
        for position in dict.fromkeys(row.place // params.n for row in ended):
            if not missing[position]:
                group = rows[position * params.n : (position + 1) * params.n]
                yield position, _completions(tokenizer, group, params.stop)


def complete(
    model: Any, tokenizer: Any, requests: Sequence[Request], params: SamplingParams, *, max_rows: int = MAX_ROWS
) -> list[Completion]:
    """`sample` for prompts that are tokens already: one completion per request, in order; `params.n` says nothing."""
    rows = _rows(model, requests, params)
    for _ in _decoded(model, tokenizer, rows, params, max_rows):
        pass
    return _completions(tokenizer, rows, params.stop)


def _decoded(model: Any, tokenizer: Any, rows: list[Row], params: SamplingParams, max_rows: int) -> Iterator[list[Row]]:
    """Sample every row to its end; some rows at a time, once they have ended."""
    ending = Ending(tokenizer, params.stop, eos_ids(model, tokenizer))
    was_training = model.training
    model.eval()
    try:
        for batch in _batches(model, rows, max_rows):
            yield from decode(model, batch, params.temperature, _uniforms(batch, params.seed), ending)
    finally:
        model.train(was_training)


class Transformers:
    """A Hugging Face folder in transformers. A Sampler."""

    def __init__(self, folder: Path):
        self._model, self._tokenizer = load_model(folder)

    def refusals(self, prompts: Sequence[str]) -> list[str]:
        lengths = map(len, encode(self._tokenizer, prompts))
        context = _context(self._model)
        return [said for place, n in enumerate(lengths) if (said := refusal(place, n, context))]

    def sample(
        self, prompts: Sequence[str], params: SamplingParams, streams: Sequence[int]
    ) -> Iterator[tuple[int, list[Completion]]]:
        return sample_each(self._model, self._tokenizer, prompts, params, streams=streams)

    def close(self) -> None:
        del self._model
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # an evaluation within RL is not alone on the device


def _context(model: Any) -> int:
    return getattr(model.config.get_text_config(), "max_position_embeddings", None) or 1 << 30


def _rows(model: Any, requests: Sequence[Request], params: SamplingParams) -> list[Row]:
    context = _context(model)
    for place, request in enumerate(requests):
        if said := refusal(place // params.n, len(request.prompt_ids), context):
            raise UserError(said, "Shorten the prompts or take a model with a longer context")
    return [
        Row(
            place,
            one.stream,
            one.number,
            list(one.prompt_ids),
            min(params.max_new_tokens, context - len(one.prompt_ids)),
        )
        for place, one in enumerate(requests)
    ]


def _batches(model: Any, rows: list[Row], max_rows: int) -> Iterator[list[Row]]:
    """Rows by length of their prompt, cut so that the cache does not grow too large."""
    token_bytes, budget = _cache_bytes_per_token(model), _cache_budget(model.device)
    batch: list[Row] = []
    for row in sorted(rows, key=lambda row: len(row.ids)):
        size, width = len(batch) + 1, len(row.ids) + (batch or [row])[0].limit  # the first has the largest limit
        if batch and (size > max_rows or size * width * token_bytes > budget):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _cache_budget(device: torch.device) -> int:
    """Bytes for keys and values of one batch. On a GPU what torch holds in reserve is free too: after an update of RL
    that is most of the memory, and the driver's count alone would leave room for a row or two."""
    if device.type != "cuda":
        return CACHE_BYTES
    reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return (torch.cuda.mem_get_info(device)[0] + reserve) // 2


def _cache_bytes_per_token(model: Any) -> int:
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * heads * head_size * model.dtype.itemsize


def _uniforms(batch: list[Row], seed: int) -> np.ndarray:
    """Uniform numbers in [0, 1), float32 [rows, longest limit]; a row's are the same in every batch it may lie in."""
    drawn = np.zeros((len(batch), max(row.limit for row in batch)), dtype=np.float32)
    for line, row in zip(drawn, batch, strict=True):
        line[: row.limit] = np.random.default_rng((seed, row.stream, row.number)).random(row.limit, np.float32)
    return drawn


def _completions(tokenizer: Any, rows: list[Row], stop: tuple[str, ...]) -> list[Completion]:
    found = []
    for row in rows:
        text, stopped_by = text_before(tokenizer, row.token_ids, stop)
        found.append(Completion(text, len(row.token_ids), row.truncated, row.token_ids, row.logprobs, stopped_by))
    return found


def text_before(tokenizer: Any, ids: list[int], stop: tuple[str, ...]) -> tuple[str, str | None]:
    """The text of `ids` up to the first stop string in it, and that string."""
    return cut_at(decoded_text(tokenizer, ids), stop)

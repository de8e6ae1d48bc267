"""What every sampler has in common: how to sample, what comes back, and the protocol that the three of them follow.

`evaluation.samplers.open_sampler` gives one of them by name. Loads no engine. Leaves out prompts and grading.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

SamplerName = Literal["transformers", "vllm", "endpoint"]
SAMPLERS: tuple[SamplerName, ...] = get_args(SamplerName)


@dataclass(frozen=True)
class SamplingParams:
    """How to sample. `temperature` 0 is greedy. A completion ends before the first of the `stop` strings."""

    max_new_tokens: int
    temperature: float = 0.0
    n: int = 1
    stop: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Completion:
    """One sampled continuation.

    `token_ids` and `logprobs` (natural log, temperature 1) hold every sampled token, the closing EOS or the tokens of a
    stop string included; `tokens` is their number; `text` leaves those out. `truncated`: it met the length limit.
    `stopped_by` is the stop string that ended it, if one did and the sampler can tell. Only the transformers sampler
    gives `logprobs`; an endpoint gives neither.
    """

    text: str
    tokens: int
    truncated: bool
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    stopped_by: str | None = None


def cut_at(text: str, stop: tuple[str, ...]) -> tuple[str, str | None]:
    """`text` up to the first stop string in it, and that string; of two that begin at one place, the first named."""
    places = [(text.find(one), number) for number, one in enumerate(stop) if one in text]
    if not places:
        return text, None
    place, number = min(places)
    return text[:place], stop[number]


@dataclass(frozen=True)
class Request:
    """One response to sample: the tokens of its prompt, the random stream of that prompt, and which sample it is."""

    prompt_ids: tuple[int, ...]
    stream: int
    number: int


class Sampler(Protocol):
    """A model that completes prompts."""

    def refusals(self, prompts: Sequence[str]) -> list[str]:
        """Why prompts cannot be continued (empty, or no room in the context), one text for each such prompt."""
        ...

    def sample(
        self, prompts: Sequence[str], params: SamplingParams, streams: Sequence[int]
    ) -> Iterator[tuple[int, list[Completion]]]:
        """(position of a prompt, its `params.n` completions), each prompt once, as they come to an end.

        `streams` names the random stream of each prompt. What was handed over before an error or an interrupt counts.
        """
        ...

    def close(self) -> None:
        """Give the engine up."""
        ...


def refusal(position: int, tokens: int, context: int) -> str | None:
    """Why a prompt of so many tokens cannot be continued; None if it can."""
    if tokens == 0:
        return f"prompt {position} is empty"
    if tokens >= context:
        return f"prompt {position} has {tokens} tokens and leaves no room in a context of {context}"
    return None

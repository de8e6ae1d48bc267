"""Samples from any server that speaks OpenAI's completions, many requests at once.

A prompt is sent as it is (`/completions`, not chat): a base model has no chat template. Each sample is a request of
its own with a seed of its own, because servers differ in what `n` and one seed mean. What may pass is tried again
(`evaluation.samplers.completions_client`); after `retries` the run ends with one line, and what came before is kept:
the same command asks for the rest. A refused key or an unknown model ends it at once. Leaves out streaming, and the
tokens themselves: lengths are as the server counts them.
"""

import asyncio
import os
import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from evaluation.config import EndpointRecipe
from evaluation.samplers.completions_client import Answer, CompletionsClient, Failed, Refused, plain
from evaluation.samplers.sampling import Completion, SamplingParams, cut_at
from manifests.errors import UserError


class Endpoint:
    """A server that runs already. A Sampler."""

    def __init__(self, settings: EndpointRecipe):
        self._settings = settings
        self._key = os.environ.get(settings.key_variable) if settings.key_variable else None
        if settings.key_variable and not self._key:
            raise UserError(f"the variable {settings.key_variable} is not set", "Put the key of the endpoint into it")
        self._url = f"{settings.url.rstrip('/')}/completions"

    def refusals(self, prompts: Sequence[str]) -> list[str]:
        """Only the server knows its context; it answers 400 to a prompt that is too long, which ends the run."""
        return [f"prompt {place} is empty" for place, prompt in enumerate(prompts) if not prompt]

    def sample(
        self, prompts: Sequence[str], params: SamplingParams, streams: Sequence[int]
    ) -> Iterator[tuple[int, list[Completion]]]:
        done: queue.Queue[tuple[int, list[Completion]] | BaseException | None] = queue.Queue()
        stopped = threading.Event()
        work = self._all(prompts, params, streams, done, stopped)
        thread = threading.Thread(target=_run, args=(work, done), daemon=True)
        thread.start()
        try:
            while (found := done.get()) is not None:
                if isinstance(found, BaseException):
                    raise found
                yield found
        finally:
            stopped.set()
            thread.join()

    def close(self) -> None:
        """Nothing is held between calls."""

    # -- requests ----------------------------------------------------------------------------------------------------

    async def _all(
        self,
        prompts: Sequence[str],
        params: SamplingParams,
        streams: Sequence[int],
        done: Any,
        stopped: threading.Event,
    ) -> None:
        asked = self._settings
        client = CompletionsClient(self._url, self._key, asked.concurrency, asked.retries, seconds=asked.timeout)
        async with client, asyncio.TaskGroup() as group:
            watch = group.create_task(_end_when(stopped, group))
            tasks = [
                group.create_task(self._group(client, place, prompt, params, stream, done))
                for place, (prompt, stream) in enumerate(zip(prompts, streams, strict=True))
            ]
            await asyncio.gather(*tasks)
            watch.cancel()

    async def _group(
        self, client: CompletionsClient, place: int, prompt: str, params: SamplingParams, stream: int, done: Any
    ) -> None:
        bodies = [self._body(prompt, params, stream, number) for number in range(params.n)]
        done.put((place, await asyncio.gather(*(self._complete(client, body) for body in bodies))))

    def _body(self, prompt: str, params: SamplingParams, stream: int, number: int) -> dict[str, Any]:
        seed = int(np.random.SeedSequence((params.seed, stream, number)).generate_state(1, np.uint32)[0])
        body = {
            "model": self._settings.model,
            "prompt": prompt,
            "max_tokens": params.max_new_tokens,
            "temperature": params.temperature,
            "seed": seed >> 1,  # some servers keep it in 32 bits with a sign
        }
        return body | ({"stop": list(params.stop)} if params.stop else {})

    async def _complete(self, client: CompletionsClient, body: dict[str, Any]) -> Completion:
        try:
            answer = await client.complete(body, plain)
        except Failed as error:
            hint = "See the server's log; the same command asks for what is missing"
            raise UserError(f"{self._url} failed {error.tries} times in a row: {error}", hint) from error
        except Refused as error:
            hint = "See endpoint.url, endpoint.model and endpoint.key_variable"
            raise UserError(f"{self._url}: {error}", hint) from error
        return _completion(answer, tuple(body.get("stop", ())))


def _completion(answer: Answer, stop: tuple[str, ...]) -> Completion:
    """What the server says. That a stop string ended it, and which, only some say (vLLM: `stop_reason`); one that
    leaves the string in the text has it cut off here."""
    text, stopped_by = cut_at(answer.text, stop)
    stopped_by = answer.stop_reason if answer.stop_reason in stop else stopped_by
    return Completion(text, answer.completion_tokens, answer.finish_reason == "length", stopped_by=stopped_by)


def _run(work: Any, done: Any) -> None:
    """Run `work` to its end in this thread; what it raised, or None, is the last thing in `done`."""
    try:
        asyncio.run(work)
        done.put(None)
    except BaseExceptionGroup as group:
        told = group.split(UserError)[0]
        done.put(_first(told or group))
    except BaseException as error:
        done.put(error)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class _Stopped(Exception):
    """Whoever reads the completions has gone."""


async def _end_when(stopped: threading.Event, group: asyncio.TaskGroup) -> None:
    while not stopped.is_set():
        await asyncio.sleep(0.1)
    raise _Stopped

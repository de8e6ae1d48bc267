"""Samples from any server that speaks OpenAI's completions, many requests at once.

A prompt is sent as it is (`/completions`, not chat): a base model has no chat template. Each sample is a request of
its own with a seed of its own, because servers differ in what `n` and one seed mean. What may pass (no connection, 408,
409, 425, 429, 5xx, a body that is no completion) is tried again after a pause that doubles, or as long as Retry-After
asks; after `retries` the run ends with one line, and what came before is kept: the same command asks for the rest. A
refused key or an unknown model ends it at once. Leaves out streaming, and the tokens themselves: lengths are as the
server counts them.
"""

import asyncio
import json
import os
import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np

from evaluation.config import EndpointRecipe
from evaluation.sampling import Completion, SamplingParams, cut_at
from manifests.errors import UserError

BACKOFF = 0.5
"""Seconds before the first repetition; each next waits twice as long, up to LONGEST_WAIT."""
LONGEST_WAIT = 60.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")
PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 529}


class _Again(Exception):
    """A request that may yet succeed, and how many seconds the server wants us to wait."""

    def __init__(self, failure: str, seconds: float = 0.0):
        super().__init__(failure)
        self.seconds = seconds


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
        limits = httpx.Limits(max_connections=self._settings.concurrency)
        slots = asyncio.Semaphore(self._settings.concurrency)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        direct = urlsplit(self._url).hostname in LOOPBACK  # a proxy cannot reach this machine's own server
        async with (
            httpx.AsyncClient(
                headers=headers, timeout=self._settings.timeout, limits=limits, trust_env=not direct
            ) as client,
            asyncio.TaskGroup() as group,
        ):
            watch = group.create_task(_end_when(stopped, group))
            tasks = [
                group.create_task(self._group(client, slots, place, prompt, params, stream, done))
                for place, (prompt, stream) in enumerate(zip(prompts, streams, strict=True))
            ]
            await asyncio.gather(*tasks)
            watch.cancel()

    async def _group(
        self, client: Any, slots: Any, place: int, prompt: str, params: SamplingParams, stream: int, done: Any
    ) -> None:
        bodies = [self._body(prompt, params, stream, number) for number in range(params.n)]
        done.put((place, await asyncio.gather(*(self._complete(client, slots, body) for body in bodies))))

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

    async def _complete(self, client: Any, slots: Any, body: dict[str, Any]) -> Completion:
        for attempt in range(self._settings.retries + 1):
            try:
                async with slots:
                    return await self._once(client, body)
            except _Again as again:
                if attempt == self._settings.retries:
                    raise UserError(
                        f"{self._url} failed {attempt + 1} times in a row: {again}",
                        "See the server's log; the same command asks for what is missing",
                    ) from again
                await asyncio.sleep(min(max(again.seconds, BACKOFF * 2**attempt), LONGEST_WAIT))
        raise AssertionError

    async def _once(self, client: Any, body: dict[str, Any]) -> Completion:
        try:
            response = await client.post(self._url, json=body)
        except httpx.InvalidURL as error:
            raise UserError(f"{self._url} is no address: {error}", "Correct endpoint.url") from error
        except httpx.HTTPError as error:
            raise _Again(self._brief(f"{type(error).__name__} {error}")) from error
        if response.status_code == 200:
            return self._completion(response.content, tuple(body.get("stop", ())))
        said = f"status {response.status_code}: {self._brief(response.text)}"
        if response.status_code in PASSING:
            waited = response.headers.get("retry-after", "")
            raise _Again(said, float(waited) if waited.isdecimal() else 0.0)
        raise UserError(f"{self._url}: {said}", "See endpoint.url, endpoint.model and endpoint.key_variable")

    def _completion(self, body: bytes, stop: tuple[str, ...]) -> Completion:
        """What the server says. That a stop string ended it, and which, only some say (vLLM: `stop_reason`); one that
        leaves the string in the text has it cut off here."""
        try:
            found = json.loads(body)
            choice = found["choices"][0]
            text, reason, told = choice["text"], choice.get("finish_reason"), choice.get("stop_reason")
            tokens = (found.get("usage") or {}).get("completion_tokens")
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise _Again(f"an answer that is no completion: {self._brief(body.decode(errors='replace'))}") from error
        if not isinstance(text, str):
            raise _Again(f"an answer without text: {self._brief(body.decode(errors='replace'))}")
        text, stopped_by = cut_at(text, stop)
        stopped_by = told if told in stop else stopped_by
        return Completion(text, tokens if isinstance(tokens, int) else 0, reason == "length", stopped_by=stopped_by)

    def _brief(self, text: str) -> str:
        """The beginning of `text` in one line, without the key."""
        line = " ".join(text[:2000].split())
        return (line.replace(self._key, "***") if self._key else line)[:200]


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

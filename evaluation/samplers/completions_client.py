"""A client of servers that speak OpenAI's completions, plain or chat, which tries again what may pass.

What may pass: no connection, a status of PASSING, a body that is no completion. It is asked again after a pause that
doubles, or as long as Retry-After asks; a request that waits holds no slot. Every other status is `Refused` at once.
Promises. No key stands in what is raised. Leaves out streaming, and what follows from a failure: callers know.
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

BACKOFF = 0.5
"""Seconds before the first repetition; each next waits twice as long, up to LONGEST_WAIT."""
LONGEST_WAIT = 60.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")
PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 529}
Body = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What a server answered; tokens are as it counts them."""

    text: str
    finish_reason: str | None = None
    stop_reason: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Failed(Exception):
    """A request that failed as often as it may be tried."""

    def __init__(self, failure: str, tries: int):
        super().__init__(failure)
        self.tries = tries


class Refused(Exception):
    """A request that would fail again alike; `status` is None where there is no such address."""

    def __init__(self, failure: str, status: int | None = None):
        super().__init__(failure)
        self.status = status


class _Again(Exception):
    """A request that may yet succeed, and how many seconds the server wants us to wait."""

    def __init__(self, failure: str, seconds: float = 0.0):
        super().__init__(failure)
        self.seconds = seconds


class CompletionsClient:
    """Asks `url`, with up to `concurrency` requests under way. One try may take `seconds`, all of a request's together
    `seconds_in_all`. An async context manager."""

    def __init__(
        self,
        url: str,
        key: str | None,
        concurrency: int,
        retries: int,
        seconds: float | None = None,
        seconds_in_all: float | None = None,
    ):
        self.url, self._key, self._retries, self._in_all = url, key, retries, seconds_in_all
        self._slots = asyncio.Semaphore(concurrency)
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=seconds,
            limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
            trust_env=urlsplit(url).hostname not in LOOPBACK,  # a proxy cannot reach this machine's own server
        )

    async def __aenter__(self) -> "CompletionsClient":
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await self._http.__aexit__(*raised)

    async def complete(self, body: Body, read: Callable[[Any], Answer]) -> Answer:
        """The answer to `body`, which `read` finds in what the server sends. Raises Failed or Refused."""
        failure, tries = "no connection", 0
        try:
            async with asyncio.timeout(self._in_all) if self._in_all else nullcontext():
                while True:
                    try:
                        async with self._slots:
                            return await self._once(body, read)
                    except _Again as again:
                        failure, tries = str(again), tries + 1
                        if tries > self._retries:
                            raise Failed(failure, tries) from again
                        await asyncio.sleep(min(max(again.seconds, BACKOFF * 2 ** (tries - 1)), LONGEST_WAIT))
        except TimeoutError as error:
            raise Failed(f"no answer within {self._in_all:g} s ({failure})", tries) from error

    async def is_healthy(self, url: str) -> bool:
        """Whether a GET of `url` answers 200 within five seconds."""
        try:
            return (await self._http.get(url, timeout=5)).status_code == 200
        except httpx.HTTPError:
            return False

    async def _once(self, body: Body, read: Callable[[Any], Answer]) -> Answer:
        try:
            response = await self._http.post(self.url, json=body)
        except httpx.InvalidURL as error:
            raise Refused(self._brief(str(error))) from error
        except httpx.HTTPError as error:
            raise _Again(self._brief(f"{type(error).__name__} {error}")) from error
        said = self._brief(response.text)
        if response.status_code == 200:
            try:
                return read(json.loads(response.content))
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
                raise _Again(f"an answer that is no completion: {said}") from error
        if response.status_code in PASSING:
            raise _Again(f"status {response.status_code}: {said}", _wait(response.headers.get("retry-after", "")))
        raise Refused(f"status {response.status_code}: {said}", response.status_code)

    def _brief(self, text: str) -> str:
        """The beginning of `text` in one line, without the key."""
        line = " ".join(text[:2000].split())
        return (line.replace(self._key, "***") if self._key else line)[:200]


def _wait(header: str) -> float:
    """Seconds of a Retry-After header; 0 for a date or nonsense."""
    return float(header) if header.isdecimal() else 0.0


def plain(found: Any) -> Answer:
    """The answer of `/completions`. Raises ValueError, LookupError, TypeError or AttributeError for anything else."""
    text = found["choices"][0]["text"]
    if not isinstance(text, str):
        raise ValueError("no text")
    return _answer(found, text)


def chat(found: Any) -> Answer:
    """The answer of `/chat/completions`, whose text may be null: nothing was said. Raises as `plain` does."""
    text = found["choices"][0]["message"].get("content")
    if not isinstance(text, str | None):
        raise ValueError("no text")
    return _answer(found, text or "")


def _answer(found: Any, text: str) -> Answer:
    reason, usage = found["choices"][0].get("finish_reason"), found.get("usage") or {}
    counts = (usage.get(name) for name in ("prompt_tokens", "completion_tokens"))
    prompt, completion = (count if isinstance(count, int) else 0 for count in counts)
    stop = found["choices"][0].get("stop_reason")
    reason, stop = (one if isinstance(one, str) else None for one in (reason, stop))
    return Answer(text, reason, stop, prompt, completion)

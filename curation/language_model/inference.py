"""Asks a language model about documents, many at once: an endpoint that runs already, or a vLLM started here.

Promises. Each document is handed over exactly once, with the answer or with why there is none; or UserError in one line
and every answer so far is kept. A run that was killed asks again only for what was under way: an answer counts once it
is stored (`curation.language_model.answers`). What may pass is tried again (`evaluation.samplers.completions_client`),
all of it within `server.timeout`. An endpoint that is dead, or refuses the key or the model, ends the run. A vLLM
started here ends with the process that started it, however that ends. Leaves out several machines that ask at once,
streaming, and reasoning that a server returns beside the answer. One `ask` at a time in a process, from its main
thread.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from curation.language_model.answers import Answers
from curation.language_model.config import AnnotateRecipe
from curation.language_model.vllm_server import Ended, free_port, vllm_server
from evaluation.samplers.completions_client import Answer, CompletionsClient, Failed, Refused, chat
from manifests.errors import UserError
from manifests.extras import need
from manifests.progress import progress

IN_A_ROW = 20
"""So many failures with no answer between them, and at least two for each request under way, mean a dead server."""
DEAD = (401, 403, 404)
"""A status that every other request would get too: of the key, the address or the model's name."""


@dataclass(frozen=True)
class Asked:
    """A document that is asked about: its text as it is put into the prompt, and what its rows need."""

    id: str
    text: str
    origin: dict[str, Any]


Take = Callable[[Asked, Answer | str], None]
"""Gets a document with the answer, or with why there is none."""


class _Dead(Exception):
    """The server answers nothing any more."""


def ask(
    documents: Iterable[Asked], total: int, recipe: AnnotateRecipe, key: str | None, folder: Path, take: Take
) -> None:
    """Ask about each of the `total` `documents`; `take` gets every one with its reply, in the order of arrival.

    `folder` keeps the answers: asked again with the same `documents` and `recipe`, they come from there. UserError when
    the server cannot be started or asked, or when more than `server.max_failed` of the requests failed.
    """
    if recipe.server.engine == "vllm":
        need("vllm", "server.engine: vllm", "name a server that runs already, with server.engine: endpoint")
    folder.mkdir(parents=True, exist_ok=True)
    with progress("annotate: ask", total) as advance, Answers(folder) as answers:
        asker = _Asker(recipe, folder, total, take, advance, answers)
        try:
            asyncio.run(asker.run(iter(documents), key))
        except (_Dead, Ended) as error:
            kept = f"{asker.answered} of {total} documents are answered and kept"
            hint = "Run the same command again: it asks for the rest"
            raise UserError(f"{asker.place}: {error}; {kept}", hint) from error
    if asker.taken != total:
        raise RuntimeError(f"{asker.taken} documents came back of {total}")


class _Asker:
    """One run over the documents of a recipe; counts what was answered, what failed and what was handed over."""

    def __init__(
        self,
        recipe: AnnotateRecipe,
        folder: Path,
        total: int,
        take: Take,
        advance: Callable[..., None],
        answers: Answers,
    ):
        self.recipe, self.folder, self.answers = recipe, folder, answers
        self._take, self._advance = take, advance
        self.may_fail = int(recipe.server.max_failed * total)
        self.answered = self.failed = self.failed_in_a_row = self.taken = 0

    @property
    def place(self) -> str:
        """Who is asked, for people."""
        server = self.recipe.server
        return str(server.url) if server.engine == "endpoint" else f"vLLM (log: {self.folder})"

    async def run(self, documents: Iterator[Asked], key: str | None) -> None:
        """Ask the server of the recipe, which is started and ended where it is our own."""
        server = self.recipe.server
        match server.engine:
            case "endpoint":
                # taken to be ready: the first requests find out, and are patient
                async with self._client((server.url or "").rstrip("/"), key) as client:
                    await self._all(documents, client)
            case "vllm":
                port = free_port()
                async with (
                    self._client(f"http://127.0.0.1:{port}/v1", key) as client,
                    vllm_server(self.recipe, self.folder, port, client.is_healthy) as process,
                ):
                    await self._while_it_runs(documents, client, process)

    def _client(self, url: str, key: str | None) -> CompletionsClient:
        server = self.recipe.server
        url = f"{url}/chat/completions"
        return CompletionsClient(url, key, server.concurrency, server.retries, seconds_in_all=server.timeout)

    async def _while_it_runs(
        self, documents: Iterator[Asked], client: CompletionsClient, process: "asyncio.subprocess.Process"
    ) -> None:
        """`_all`, given up when the server's process ends."""
        work, life = asyncio.create_task(self._all(documents, client)), asyncio.create_task(process.wait())
        try:
            await asyncio.wait({work, life}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise Ended(f"it ended with status {process.returncode}")
            work.result()
        finally:
            await _given_up({work, life})

    async def _all(self, documents: Iterator[Asked], client: CompletionsClient) -> None:
        """Every document, as many at once as the recipe says; they are read as they are needed."""
        at_once = self.recipe.server.concurrency
        under_way: set[asyncio.Task[None]] = set()
        try:
            while some := await asyncio.to_thread(lambda: list(islice(documents, at_once))):
                for document in some:
                    if len(under_way) == at_once:
                        under_way = await _fewer(under_way)
                    under_way.add(asyncio.create_task(self._one(document, client)))
            while under_way:
                under_way = await _fewer(under_way)
        finally:
            await _given_up(under_way)

    async def _one(self, document: Asked, client: CompletionsClient) -> None:
        """Hand over one document with its answer, or with why there is none. Raises _Dead to end the run."""
        body = self._body(document)
        answer: Answer | str | None = self.answers.get(document.id, body)
        if answer is None:
            answer = await self._answer(client, body)
            if isinstance(answer, Answer):
                self.answers.put(document.id, body, answer)
        if isinstance(answer, Answer):
            self.answered, self.failed_in_a_row = self.answered + 1, 0
        else:
            self._count_failure(answer)
        self._take(document, answer)
        self.taken += 1
        self._advance(1, note=f"{self.failed} failed" if self.failed else "")

    async def _answer(self, client: CompletionsClient, body: dict[str, Any]) -> Answer | str:
        try:
            return await client.complete(body, chat)
        except Refused as error:
            if error.status is None or error.status in DEAD:
                raise _Dead(f"{error} (see server.url, server.key_variable and model)") from error
            return str(error)
        except Failed as error:
            return str(error)

    def _body(self, document: Asked) -> dict[str, Any]:
        assert self.recipe.prompt
        prompt = self.recipe.prompt.replace("{text}", document.text)
        names = ("model", "temperature", "max_tokens", "seed")
        asked = {name: getattr(self.recipe, name) for name in names}
        return asked | {"messages": [{"role": "user", "content": prompt}]}

    def _count_failure(self, failure: str) -> None:
        self.failed += 1
        self.failed_in_a_row += 1
        dead = self.failed_in_a_row >= max(IN_A_ROW, 2 * self.recipe.server.concurrency)
        if dead or self.failed > self.may_fail:
            raise _Dead(failure)


async def _fewer(tasks: set["asyncio.Task[None]"]) -> set["asyncio.Task[None]"]:
    """Those of `tasks` that go on once some have ended; raises what one of these has."""
    ended, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in ended:
        task.result()
    return others


async def _given_up(tasks: set["asyncio.Task[Any]"]) -> None:
    """Cancel `tasks` and wait for their end; what they raise then, nobody wants."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

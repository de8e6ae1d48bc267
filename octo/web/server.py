"""`octo ui`: a read-only web application over a store.

    /                                the manifests and runs of the store, with their lineage
    /things/REF                      a manifest or run, as in its report
    /documents, /documents/ID        search; one document with its history
    /runs/RUN/steps/N                a step of a run: what it read, or its responses
    /mixtures/ID/sequences/N         a sequence of a mixture, as the model reads it
    /sql                             one SELECT, and example queries
    /compare, /compare.json          curves of runs, updated while they train

Promises. Every request is a GET that writes nothing. On loopback the Host header must name this machine, so that no
website can reach this server under its own name (DNS rebinding); on any other host a token is required, once, and kept
in a cookie. The Content-Security-Policy allows scripts only from this server and none inside a page. The queries of a
page share SECONDS, each catalog has MEMORY, and AT_ONCE pages are made at a time. Files are read only by the store and
the locked catalog; no path of a request is the path of a file. An error is one line on a page. Leaves out TLS (put a
proxy in front, or an SSH tunnel), users, and a single SQL function that takes long: DuckDB checks both limits between
its steps, and `repeat('x', 1000000000)` is one step.
"""

import contextlib
import hmac
import ipaddress
import logging
import secrets
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from plotly.offline import get_plotlyjs
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from manifests.catalog import Catalog, limited, main_rows
from manifests.errors import UserError, of_system
from manifests.manifest import resolve
from manifests.runs import load_run
from manifests.store import Store
from mixtures.tracing import trace as trace_sequences
from octo.life import life_of
from octo.report import page
from octo.report.page import Html, element
from octo.web import pages
from octo.web.pages import COMPARED, Sheet, link
from training.consumed import trace as trace_step

SECONDS, MEMORY, AT_ONCE = 20.0, "1GB", 3
HERE = Path(__file__).parent
REPORT = Path(page.__file__).parent
FILES: dict[str, tuple[str, Callable[[], str | bytes]]] = {
    "page.css": ("text/css", lambda: (REPORT / "page.css").read_text("utf-8") + (HERE / "web.css").read_text("utf-8")),
    "page.js": ("text/javascript", lambda: (REPORT / "page.js").read_text("utf-8")),
    "web.js": ("text/javascript", lambda: (HERE / "web.js").read_text("utf-8")),
    "plotly.js": ("text/javascript", get_plotlyjs),
    "katex.js": ("text/javascript", (page.KATEX / "katex.min.js").read_bytes),
    "katex.css": ("text/css", (page.KATEX / "katex.min.css").read_bytes),
    **{f"fonts/{font.name}": ("font/woff2", font.read_bytes) for font in page.KATEX.glob("fonts/*.woff2")},
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}
COOKIE = "octo_ui"


# -- guards ----------------------------------------------------------------------------------------------------------


class Guard:
    """Admits authorised requests, and adds the headers to every response. `token` None: requests to a name of loopback
    are admitted."""

    def __init__(self, app: ASGIApp, token: str | None):
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [(key.lower().encode(), value.encode()) for key, value in HEADERS.items()]
            await send(message)

        request = Request(scope)
        answer = self.refuse(request) or self.admit(request) or self.app
        await answer(scope, receive, send_with_headers)

    def refuse(self, request: Request) -> Response | None:
        """An answer for who may not read."""
        if (
            request.headers.get("sec-fetch-site") == "cross-site"
            and request.headers.get("sec-fetch-mode") != "navigate"
        ):
            return error_page(403, "another site asked for this. Open the page itself")
        host = request.headers.get("host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if self.token is None:
            return (
                None if is_loopback(name.strip("[]")) else error_page(403, f"this is not {name}. Use http://127.0.0.1")
            )
        given = request.cookies.get(COOKIE) or request.query_params.get("token") or ""
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        known = any(hmac.compare_digest(one.encode(), self.token.encode()) for one in (given, bearer))
        return None if known else error_page(403, "a token is needed. Open the address that `octo ui` printed")

    def admit(self, request: Request) -> Response | None:
        """Move the token from the address to a cookie."""
        if self.token is None or "token" not in request.query_params:
            return None
        rest = request.url.remove_query_params("token")
        answer = RedirectResponse(f"/{rest.path.lstrip('/')}" + (f"?{rest.query}" if rest.query else ""), 303)
        answer.set_cookie(COOKIE, self.token, httponly=True, samesite="strict")
        return answer


# -- pages -----------------------------------------------------------------------------------------------------------


NAVIGATION = {"Store": "/", "Documents": "/documents", "SQL": "/sql"}


def written(sheet: Sheet) -> str:
    """A sheet as an HTML document; its scripts are files."""
    mathematics = page.MATHEMATICS.search(sheet.body) is not None
    head = [
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html('<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'),
        element("title", f"{sheet.title} · octothinker"),
        *([Html('<link rel="stylesheet" href="/static/katex.css">')] if mathematics else []),
        Html('<link rel="stylesheet" href="/static/page.css">'),
    ]
    files = [*["plotly.js"] * bool(sheet.charts), *["katex.js"] * mathematics, "page.js", "web.js"]
    scripts = [
        element("script", page.script_json(sheet.charts), type="application/json", id="charts"),
        *(element("script", src=f"/static/{name}") for name in files),
    ]
    navigation = element("nav", [link(name, path) for name, path in NAVIGATION.items()])
    body = element("body", navigation, element("main", sheet.body), scripts)
    return f"<!doctype html>\n{element('html', element('head', head), body, lang='en')}\n"


def html_answer(sheet: Sheet, status: int = 200) -> Response:
    return Response(written(sheet), status, {"Cache-Control": "no-store"}, "text/html")


def error_page(status: int, said: str) -> Response:
    body = [pages.head(f"error {status}", "That did not work"), element("p", said, class_="warning")]
    return html_answer(Sheet("Error", page.markup(body)), status)


Answer = Callable[[Request], Awaitable[Response]]


class Site:
    """The pages of one store."""

    def __init__(self, store: Store, seconds: float = SECONDS):
        self.store, self.seconds = store, seconds
        self.places = threading.BoundedSemaphore(AT_ONCE)

    def routes(self) -> list[Route]:
        answers: dict[str, Callable[[Request], Response]] = {
            "/": lambda request: self.sheet(pages.home),
            "/things/{ref}": self.thing,
            "/documents": self.search,
            "/documents/{doc_id}": self.document,
            "/runs/{run}/steps": self.to_step,
            "/runs/{run}/steps/{step:int}": self.step,
            "/mixtures/{ref}/sequences": self.to_sequence,
            "/mixtures/{ref}/sequences/{number:int}": self.sequence,
            "/sql": lambda request: self.sheet(pages.sql, request.query_params.get("query", "")),
            "/compare": self.compare,
            "/compare.json": self.compare_news,
        }
        made = [Route(path, self.within_limits(make)) for path, make in answers.items()]
        return [*made, Route("/static/{name:path}", static)]

    def within_limits(self, make: Callable[[Request], Response]) -> Answer:
        """Run `make` in its own thread, when fewer than AT_ONCE run, with the limits for every catalog that it
        opens."""

        def work(request: Request) -> Response:
            if not self.places.acquire(timeout=self.seconds):
                raise UserError("the server is busy with other pages", "Try again")
            try:
                with limited(self.seconds, MEMORY):
                    return make(request)
            finally:
                self.places.release()

        async def answer(request: Request) -> Response:
            try:
                return await run_in_threadpool(work, request)
            except Exception as error:  # `told` answers what is known and raises the rest again
                return told(error)

        return answer

    def sheet(self, make: Callable[..., Sheet], *arguments: Any) -> Response:
        with Catalog(self.store) as catalog:
            return html_answer(make(catalog, *arguments))

    def thing(self, request: Request) -> Response:
        ref = request.path_params["ref"]
        found = load_run(self.store, ref) if ref.startswith("run-") else resolve(self.store, ref)
        return self.sheet(pages.thing, found)

    def search(self, request: Request) -> Response:
        words, source, reason = (request.query_params.get(name, "").strip() for name in ("words", "source", "reason"))
        return self.sheet(pages.search, words, request.query_params.get("manifest"), source, reason)

    def document(self, request: Request) -> Response:
        doc_id = request.path_params["doc_id"]
        return self.sheet(pages.document, doc_id, life_of(self.store, doc_id))

    def to_step(self, request: Request) -> Response:
        run = load_run(self.store, request.path_params["run"])
        return RedirectResponse(f"/runs/{run.id}/steps/{_number(request, 'step')}", 303)

    def step(self, request: Request) -> Response:
        run, step = load_run(self.store, request.path_params["run"]), request.path_params["step"]
        if run.record["kind"] == "rl":
            return self.sheet(pages.rl_step, run, step)
        text = "text" in request.query_params
        spans = trace_step(self.store, run, step, None, text).to_pylist()
        return self.sheet(pages.training_step, run, step, spans, text)

    def to_sequence(self, request: Request) -> Response:
        mixture = resolve(self.store, request.path_params["ref"])
        return RedirectResponse(f"/mixtures/{mixture.id}/sequences/{_number(request, 'sequence')}", 303)

    def sequence(self, request: Request) -> Response:
        mixture, number = resolve(self.store, request.path_params["ref"]), request.path_params["number"]
        spans = trace_sequences(self.store, mixture, np.array([number]), text=True).to_pylist()
        return html_answer(pages.sequence(mixture, number, main_rows(mixture) - 1, spans))

    def compare(self, request: Request) -> Response:
        return html_answer(self.comparison(request).sheet)

    def compare_news(self, request: Request) -> Response:
        """The content of the comparison page, for its updates."""
        now = self.comparison(request)
        news = {"charts": now.sheet.charts, "table": now.table, "live": now.live}
        return Response(page.script_json(news), media_type="application/json", headers={"Cache-Control": "no-store"})

    def comparison(self, request: Request) -> pages.Comparison:
        refs = list(dict.fromkeys(request.query_params.getlist("run")))
        if not 1 <= len(refs) <= COMPARED:
            raise UserError(f"{len(refs)} runs to compare", f"Tick 1 to {COMPARED} of them")
        over = "tokens" if request.query_params.get("over") == "tokens" else "step"
        with Catalog(self.store) as catalog:
            return pages.compare(catalog, [load_run(self.store, ref) for ref in refs], over)


def _number(request: Request, name: str) -> int:
    given = request.query_params.get(name, "")
    if not given.isdecimal():
        raise UserError(f"{given!r} is not a {name}", "Give a whole number")
    return int(given)


async def static(request: Request) -> Response:
    """One of FILES, by its name in that table."""
    if request.path_params["name"] not in FILES:
        raise HTTPException(404)
    kind, read = FILES[request.path_params["name"]]
    return Response(read(), media_type=kind, headers={"Cache-Control": "max-age=3600"})


# -- the application -------------------------------------------------------------------------------------------------


def told(error: Exception) -> Response:
    """An error as one line. The traceback of a bug goes to the terminal, not to the page."""
    said = of_system(error) if isinstance(error, OSError) else error if isinstance(error, UserError) else None
    if said is not None:
        return error_page(404 if said.what.startswith("no ") else 400, str(said))
    logging.getLogger("uvicorn.error").error("a page could not be made", exc_info=error)
    return error_page(500, f"a fault in octothinker: {type(error).__name__}. See the terminal of `octo ui`")


async def refused(request: Request, error: Exception) -> Response:
    """The response when there is no such page or the method is not GET."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    said = {404: "there is no such page", 405: "this server only reads: GET is all that it answers"}
    return error_page(status, said.get(status, str(error)))


def application(store: Store, token: str | None = None, seconds: float = SECONDS) -> Starlette:
    """The application. With `token`, requests must carry it; without, they must use a name of loopback."""
    app = Starlette(
        routes=Site(store, seconds).routes(),
        middleware=[Middleware(Guard, token=token), Middleware(GZipMiddleware)],
        exception_handlers={HTTPException: refused},
    )
    app.router.redirect_slashes = False
    return app


def serve(store: Store, host: str, port: int, say: Callable[[str], None]) -> None:
    """Serve until interrupted; `say` is called with the address, including the token if `host` is not loopback."""
    token = None if is_loopback(host) else secrets.token_urlsafe(24)
    with _listening(host, port) as listening:
        shown = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listening.getsockname()[1]}/"
        say(address + (f"?token={token}" if token else ""))
        config = uvicorn.Config(application(store, token), log_level="warning", access_log=False)
        with contextlib.suppress(KeyboardInterrupt):  # the ordinary end
            uvicorn.Server(config).run(sockets=[listening])


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine and can be no other."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise UserError(f"cannot listen on {host}:{port}: {error.strerror}", "Give another --host or --port") from error
    with listening:
        yield listening

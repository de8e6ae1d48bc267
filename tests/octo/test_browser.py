"""Reports and the pages of `octo ui` in a real headless Chromium: no error, every chart drawn, nothing too wide."""

import runpy
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

from manifests import tables
from manifests.runs import open_run
from manifests.store import Store
from octo.report.write import report
from octo.web.server import application

WEB_TESTS = runpy.run_path(str(Path(__file__).with_name("test_web.py")))
everything, without_tokens, pages, rows_of = (
    WEB_TESTS[name] for name in ("everything", "without_tokens", "pages", "rows_of")
)
written = WEB_TESTS["REPORTS"]["written"]

pytestmark = pytest.mark.engine
SCREENS = [(390, "dark"), (1200, "light")]
"""A phone and a desk: width in CSS pixels, colour scheme."""

STATE = """() => ({
  drawn: document.documentElement.dataset.drawn,
  charts: document.querySelectorAll(".plot").length,
  empty: [...document.querySelectorAll(".plot")].filter(plot => !plot.querySelector(".trace, .sankey")).length,
  wide: document.documentElement.scrollWidth - innerWidth,
})"""

COLUMN = "b => [...b.closest('table').tBodies[0].rows].map(r => r.cells[b.closest('th').cellIndex].dataset.v)"
"""What a button in the head of a table has below it."""


@pytest.fixture(scope="module")
def browser() -> Iterator:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test-browser")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not program:
        pytest.skip("there is no Chromium on this machine: make test-browser installs one")
    with playwright.sync_playwright() as engine:
        yield engine.chromium.launch(executable_path=program, args=["--no-sandbox"])  # containers run as root


@contextmanager
def visit(browser, address: str, width: int, scheme: str) -> Iterator:
    """The page at `address`, drawn; at the end, whatever its console said is an error."""
    said: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(address, timeout=120_000)
    if page.query_selector(".plot"):
        page.wait_for_selector("html[data-drawn]", state="attached", timeout=120_000)
    try:
        yield page
    finally:
        page.close()
    assert said == [], address


def check(browser, address: str) -> int:
    """Charts of a page that is as it should be on every screen."""
    charts = 0
    for width, scheme in SCREENS:
        with visit(browser, address, width, scheme) as page:
            state = page.evaluate(STATE)
            assert state["empty"] == 0 and state["wide"] <= 0, (address, width, state)
            charts = state["charts"]
    return charts


@contextmanager
def served(store: Store) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(application(store), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def test_a_report_of_each_kind_is_drawn(browser, everything, tmp_path: Path) -> None:
    store, made = everything
    pages = [report(store, [name], tmp_path / f"{name}.html") for name in made]
    corpus, benchmark, mixture, prompts, train, before, rl, after = (check(browser, path.as_uri()) for path in pages)
    assert corpus and train and rl and before and after
    assert [benchmark, mixture, prompts] == [0, 0, 0], "their pictures need no script"
    whole = check(browser, report(store, made, tmp_path / "all.html").as_uri())
    assert whole == corpus + train + before + rl + after + 1, "and one that compares the evaluations"


def test_a_heading_sorts_its_table(browser, folder: Store, corpus, tmp_path: Path) -> None:
    path = report(folder, [corpus(folder).id], tmp_path / "a.html")
    with visit(browser, path.as_uri(), *SCREENS[1]) as page:
        heading = page.locator("th button", has_text="Documents").first
        for down in (False, True):
            heading.click()
            shown = heading.evaluate(COLUMN)
            assert shown == sorted(shown, key=int, reverse=down) and len(shown) > 1


def test_a_table_is_filtered_by_words(browser, folder: Store, corpus, tmp_path: Path) -> None:
    rows = [(f"{n:032x}", f"source {n}", 5, None) for n in range(12)]
    path = report(folder, [corpus(folder, rows=rows).id], tmp_path / "a.html")
    with visit(browser, path.as_uri(), *SCREENS[1]) as page:
        table = page.locator(".filter + table").first
        page.locator(".filter").first.fill("11 SOURCE")
        assert table.locator("tbody tr:visible").all_inner_texts()[0].startswith("source 11")
        assert table.locator("tbody tr:visible").count() == 1
        page.locator(".filter").first.fill("")
        assert table.locator("tbody tr:visible").count() > 12


MATHEMATICS = r"""A pen costs $5 and a book $10. $x^2$, \(\frac{1}{2}\), \[\int_0^1 f\] and $$\mathbb{R}$$
\begin{align*}a &= b\end{align*} in <b>$a<b$</b>. Bad: $\frac{1}{$ $\nosuch$ $\href{javascript:alert(1)}{x}$ end"""


def test_mathematics_is_typeset_and_bad_mathematics_is_its_source(
    browser, folder: Store, without_tokens, tmp_path: Path
) -> None:
    rows = [{"doc_id": "a" * 32, "source": "web", "role": "web", "n_chars": 9, "n_tokens": 9, "text_digest": "a"}]
    made = written(folder, rows, {"a" * 32: MATHEMATICS})
    path = report(folder, [made.id], tmp_path / "a.html")
    with served(folder) as home:
        for address in (path.as_uri(), f"{home}/documents/{'a' * 32}"):
            for screen in SCREENS:
                with visit(browser, address, *screen) as page:
                    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true })")
                    page.locator("pre.text").last.scroll_into_view_if_needed()
                    page.locator("pre.text[data-typeset] .katex").first.wait_for()
                    assert page.locator("pre.text .katex").count() == 7 and page.locator("pre.text a").count() == 0
                    shown = page.locator("pre.text").last.inner_text()
                    assert "costs $5 and a book $10." in shown and r"Bad: $\frac{1}{$ $\nosuch$" in shown
                    assert page.evaluate("document.fonts.check('1em KaTeX_Main')")


def test_every_page_of_the_ui_is_drawn(browser, everything, without_tokens) -> None:
    store, made = everything
    with served(store) as home:
        charts = {path: check(browser, home + path) for path in pages(made)}
    assert all(count for path, count in charts.items() if path.startswith("/compare"))
    assert charts[f"/things/{made[0]}"] and charts[f"/things/{made[4]}"]


def test_curves_grow_while_one_looks(browser, folder: Store, corpus, without_tokens) -> None:
    run = open_run(folder, "train", [corpus(folder)], {}, "torch")
    run.start()
    rows = [{"step": step, "stage": "s", "loss": 1 / step, "tokens": 8} for step in range(1, 8)]
    run.append("steps", rows_of(tables.STEPS, *rows[:3]))
    with (
        served(folder) as home,
        visit(browser, f"{home}/compare?run={run.id}", *SCREENS[1]) as page,
    ):
        assert page.evaluate(DRAWN) == 3
        run.append("steps", rows_of(tables.STEPS, *rows[3:]))
        wait_until(page, lambda: page.evaluate(DRAWN) == 7)
        run.finish({})
        wait_until(page, lambda: page.inner_text("#status") == "all runs have ended")
        assert "done" in page.inner_text("#now")


DRAWN = "document.getElementById('chart-0').data[0].x.length"


def wait_until(page, is_so: Callable[[], bool]) -> None:
    """Playwright's own way evaluates a string, which the policy of the page refuses."""
    for _ in range(600):
        if is_so():
            return
        page.wait_for_timeout(100)
    raise AssertionError("nothing came of it in a minute")

"""The web application: it reads what is there, writes nothing, lets in only who may, and shows hostile text as text."""

import html
import json
import re
import runpy
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
from starlette.testclient import TestClient

from manifests import tables
from manifests.errors import UserError
from manifests.manifest import Manifest
from manifests.runs import open_run
from manifests.store import Store
from octo.life import WHY_DOCUMENT
from octo.report import kinds
from octo.sql_reference import QUERIES
from octo.web import pages as web_pages
from octo.web import server
from octo.web.server import application

REPORTS = runpy.run_path(str(Path(__file__).with_name("test_report.py")))
HOSTILE, Parsed, rows_of, everything = (REPORTS[name] for name in ("HOSTILE", "Parsed", "rows_of", "everything"))
"""The store with one thing of each kind, in which every word is hostile."""

HERE = "http://127.0.0.1:8321"
SLOW = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"


def opened(store: Store, base: str = HERE, **more) -> TestClient:
    return TestClient(application(store, **more), base_url=base, follow_redirects=False)


def asked(client: TestClient, path: str, **parameters: str | list[str]) -> str:
    answer = client.get(f"{path}?{urlencode(parameters, doseq=True)}" if parameters else path)
    assert answer.status_code == 200, answer.text
    return answer.text


def files(store: Store) -> dict[str, float]:
    return {path: store.modified(path) for path in store.list("")}


def warning(text: str) -> str:
    (found,) = re.findall(r'<p class="warning">(.*?)</p>', text, re.DOTALL)
    return html.unescape(found)


def pages(made: list[str]) -> list[str]:
    runs = [name for name in made if name.startswith("run-")]
    compared = urlencode({"run": [runs[0], runs[2]]}, doseq=True)
    documents = ["/documents", "/documents?words=script+%3CIMG&manifest=", f"/documents/{5:032x}"]
    fixed = ["/", "/sql", "/sql?query=FROM+texts", *documents, f"/compare?{compared}&over=tokens"]
    return [*fixed, *(f"/things/{name}" for name in made), f"/runs/{runs[2]}/steps/1", f"/compare?{compared}"]


@pytest.fixture
def without_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lives without the tokens of mixtures, which the stores here do not have: the walk's test has them."""

    def life(store: Store, doc_id: str) -> dict:
        return {name: [] for name in web_pages.LIFE} | {
            "documents": server.Catalog(store).query(WHY_DOCUMENT, [doc_id]).to_pylist(),
            "annotations": [{"said": HOSTILE}],
        }

    monkeypatch.setattr(server, "life_of", life)


def test_every_page_is_made_without_a_script_in_it_and_hostile_text_is_text(
    everything, without_tokens, tmp_path: Path
) -> None:
    store, made = everything
    client, seen = opened(store), 0
    for path in pages(made):
        answer = client.get(path)
        assert answer.status_code == 200 and 'class="warning"' not in answer.text, path
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self';" in policy
        (tmp_path / "page.html").write_text(answer.text, encoding="utf-8")
        shown = Parsed(tmp_path / "page.html")
        assert all("src" in attrs or attrs["type"] == "application/json" for attrs, _ in shown.scripts)
        assert {tag for tag, _ in shown.elements}.isdisjoint({"img", "iframe", "object", "base"})
        attributes = [attribute for _, attrs in shown.elements for attribute in attrs.items()]
        assert not [name for name, _ in attributes if name.startswith("on")]
        links = [value or "" for name, value in attributes if name in ("href", "src", "action")]
        assert all(re.match(r"/(?!/)|data:,$", link) for link in links), links
        seen += HOSTILE[:30] in shown.text
    assert seen > 8


def test_nothing_is_written_whatever_is_asked(folder: Store, corpus) -> None:
    made = corpus(folder)
    client, before = opened(folder), files(folder)
    for path in ["/", f"/things/{made.id}", "/documents/a1", "/sql?query=FROM+texts", "/static/page.js"]:
        assert client.get(path).status_code == 200
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert client.request(method, path).status_code == 405
    assert files(folder) == before


@pytest.mark.parametrize(
    "query",
    [
        "COPY (SELECT 1) TO 'STORE/x.csv'",
        "WITH x AS (COPY (SELECT 1) TO 'STORE/x.csv') FROM x",
        "ATTACH 'STORE/x.db'",
        "INSTALL httpfs",
        "SET memory_limit='1TB'",
        "CREATE TABLE t AS SELECT 1",
        "SELECT 1; SELECT 2",
        "FROM read_text('/etc/hostname')",
        "FROM 'STORE/../outside.parquet'",
        "FROM nowhere",
    ],
)
def test_what_would_write_or_leave_the_store_is_refused_in_one_line(folder: Store, query: str) -> None:
    folder.put("manifests/.keep", b"")
    before = files(folder)
    said = warning(asked(opened(folder), "/sql", query=query.replace("STORE", folder.root)))
    assert said and "\n" not in said and "Traceback" not in said
    assert files(folder) == before


def test_no_path_leads_to_a_file(folder: Store, corpus) -> None:
    corpus(folder)
    (Path(folder.root).parent / "secret@1.json").write_text("the secret")
    client = opened(folder)
    for path in (
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/static/..%2Fserver.py",
        "/things/..%2f..%2fsecret@1",
        "/things/..@1",
        "/things/x@..%2f..%2fsecret",
        "/things/run-..%2f",
        "/documents/..%2f..%2fsecret",
        "/reports/../secret@1.json",
        "/runs/run-0/steps/-1",
        "/mixtures/nothing@1/sequences/0",
    ):
        answer = client.get(path)
        assert answer.status_code in (400, 404), path
        assert "the secret" not in answer.text and "import" not in answer.text


def test_loopback_answers_to_its_own_names_alone(folder: Store) -> None:
    for host, status in {
        "127.0.0.1:8321": 200,
        "localhost": 200,
        "[::1]:8321": 200,
        "evil.example:8321": 403,
        "127.0.0.1.evil.example": 403,
        "": 403,
    }.items():
        assert opened(folder).get("/", headers={"host": host}).status_code == status, host
    foreign = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert opened(folder).get("/sql?query=SELECT+1", headers=foreign).status_code == 403


def test_any_other_host_wants_the_token(folder: Store) -> None:
    def remote() -> TestClient:
        return opened(folder, base="http://node7:8321", token="a-long-token")

    assert remote().get("/").status_code == 403
    assert remote().get("/static/page.js").status_code == 403
    assert remote().get("/?token=another").status_code == 403
    assert remote().get("/", headers={"authorization": "Bearer a-long-token"}).status_code == 200
    client = remote()
    first = client.get("/sql?token=a-long-token&query=SELECT+1")
    assert (first.status_code, first.headers["location"]) == (303, "/sql?query=SELECT+1")
    assert {"HttpOnly", "SameSite=strict"} <= {part.strip() for part in first.headers["set-cookie"].split(";")}
    assert client.get("/").status_code == 200
    assert remote().get("/%2Fevil.example?token=a-long-token").headers["location"] == "/evil.example"


def test_a_query_that_takes_too_long_is_stopped(folder: Store) -> None:
    client = opened(folder, seconds=0.5)
    assert "took too long" in warning(asked(client, "/sql", query=SLOW))
    assert "<td" in asked(client, "/sql", query="SELECT 7 AS n")


def test_a_query_has_so_much_memory(folder: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MEMORY", "50MB")
    query = "SELECT len(list(range)) FROM range(20000000)"
    assert "Out of Memory" in warning(asked(opened(folder), "/sql", query=query))


def test_a_catalog_that_something_else_opens_obeys_the_limits(folder: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def life(store: Store, doc_id: str) -> dict:
        return {"documents": server.Catalog(store).query(SLOW).to_pylist()}

    monkeypatch.setattr(server, "life_of", life)
    answer = opened(folder, seconds=0.5).get("/documents/x")
    assert answer.status_code == 400 and "took too long" in warning(answer.text)


def test_a_large_answer_is_cut_and_said_to_be(folder: Store) -> None:
    shown = asked(opened(folder), "/sql", query="FROM range(100000) ORDER BY range DESC")
    answer = shown.split("Queries to begin with")[0]
    assert "The first 200 rows." in answer and "99,999" in answer
    assert answer.count("<td") == 200
    assert len(asked(opened(folder), "/sql", query="SELECT repeat('x', 100000)")) < 60_000


def test_saved_queries_and_columns_are_at_hand(folder: Store) -> None:
    shown = asked(opened(folder), "/sql")
    assert all(html.escape(question) in shown for question in QUERIES)
    assert all(html.escape(meaning) in shown for meaning in tables.DOCUMENTS.docs.values())


def found(store: Store, **question: str) -> list[str]:
    return re.findall(r'href="/documents/(\w+)"', asked(opened(store), "/documents", **question))


def test_search_finds_documents_that_hold_every_word(folder: Store, corpus) -> None:
    first = corpus(folder)
    corpus(folder, version="2", rows=[("c_1", "web", 9, None), ("cx1", "web", 9, "short")])
    assert found(folder) == ["c_1", "cx1"], "the newest corpus when none is named"
    assert found(folder, manifest=first.id, words="B1 TEXT") == ["b1"]
    assert found(folder, manifest="", words="of", source="qa") == ["b1", "b2"]
    assert found(folder, manifest=first.id, reason="kept", source="web") == ["a1"]
    assert found(folder, manifest=first.id, reason="short") == ["a2"]
    assert found(folder, words="c_1") == ["c_1"], "a wildcard of SQL stands for itself"
    assert found(folder, words="text nowhere") == []
    assert found(folder, words="' OR 1=1 --") == []


def test_a_document_is_shown_with_its_life(folder: Store, corpus) -> None:
    corpus(folder, rows=[("a" * 32, "web", 10, None), ("b" * 32, "web", 20, "near_duplicate")])
    shown = asked(opened(folder), "/documents/" + "b" * 32)
    assert "text of bbbb" in shown and "near_duplicate" in shown and "Near-duplicates" in shown
    assert "the training steps that read it" in shown, "what there is none of is said"


def test_curves_grow_with_the_run(folder: Store, corpus) -> None:
    run = open_run(folder, "train", [corpus(folder)], {}, "torch")
    other = open_run(folder, "train", [corpus(folder)], {"lr": 1}, "torch")
    run.start()
    client = opened(folder)

    def append(steps: range) -> None:
        rows = [{"step": step, "stage": "s", "loss": 1 / step, "tokens": 8} for step in steps]
        run.append("steps", rows_of(tables.STEPS, *rows))

    def news() -> tuple[list, bool]:
        told = json.loads(asked(client, "/compare.json", run=[run.id, other.id], over="tokens"))
        assert run.id in told["table"] and run.status in told["table"]
        losses = told["charts"]["chart-0"]["data"]
        assert [trace["name"] for trace in losses] == [run.id]
        return losses[0]["x"], told["live"]

    append(range(1, 4))
    assert "data-live" in asked(client, "/compare", run=run.id)
    assert news() == ([8, 16, 24], True)
    append(range(4, 6))
    assert news() == ([8, 16, 24, 32, 40], True)
    run.finish({})
    assert "data-live" not in asked(client, "/compare", run=run.id)


def test_too_many_runs_are_not_compared(folder: Store) -> None:
    answer = opened(folder).get("/compare?" + urlencode({"run": [f"run-{n}" for n in range(9)]}, doseq=True))
    assert answer.status_code == 400 and warning(answer.text).startswith("9 runs to compare")


def test_errors_are_one_line_and_faults_keep_their_words(folder: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, status in {"/things/nothing@1": 404, "/things/run-00": 404, "/x": 404, "/compare": 400}.items():
        answer = opened(folder).get(path)
        assert answer.status_code == status and "\n" not in warning(answer.text)

    def broken(*_: object) -> dict:
        raise RuntimeError("what only the terminal may know")

    monkeypatch.setattr(server, "life_of", broken)
    answer = opened(folder).get("/documents/x")
    assert answer.status_code == 500 and "RuntimeError" in warning(answer.text)
    assert "may know" not in answer.text and "Traceback" not in answer.text
    assert "content-security-policy" in answer.headers


def test_a_thing_too_large_for_a_page_still_has_one(folder: Store, corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    made: Manifest = corpus(folder)

    def slow(*_: object) -> None:
        raise UserError("the query took too long")

    monkeypatch.setattr(kinds.corpus, "part", slow)
    shown = asked(opened(folder), f"/things/{made.id}")
    assert "took too long" in shown and "math@1" in shown and "Search its documents" in shown


def test_an_empty_store_has_pages(folder: Store) -> None:
    client = opened(folder)
    for path in ("/", "/documents", "/sql"):
        assert client.get(path).status_code == 200


def test_a_port_that_is_taken_is_said(folder: Store) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UserError, match="cannot listen"):
        server.serve(folder, "127.0.0.1", taken.getsockname()[1], print)


def test_the_verb_serves_until_interrupted(folder: Store, corpus) -> None:
    corpus(folder)
    command = [sys.executable, "-m", "octo", "ui", "--port", "0", "--store", folder.root]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout and server.stderr
        address = server.stdout.readline().strip()
        shown = httpx.get(address, timeout=60)
        server.send_signal(signal.SIGINT)
        said = server.stderr.read()
    assert shown.status_code == 200 and "math@1" in shown.text
    assert (server.returncode, said) == (0, "")


@pytest.mark.parametrize(
    ("host", "is_local"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("node7", False), ("", False)],
)
def test_only_loopback_needs_no_token(host: str, is_local: bool) -> None:
    assert server.is_loopback(host) is is_local

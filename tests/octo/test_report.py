"""The report: its numbers are the catalog's, hostile text stays text, nothing is loaded, nothing empty breaks it."""

import base64
import gzip
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import plotly.graph_objects as go
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests import tables
from manifests.catalog import query
from manifests.errors import UserError
from manifests.manifest import Draft, Manifest, resolve
from manifests.runs import RunDirectory, open_run
from manifests.store import Store
from octo.report import page, training_run
from octo.report.compare_runs import compare
from octo.report.write import report

HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)"> & "quoted" \u2028 <!-- ]]>'
HOSTILE += r" $\frac{1}{$ $\href{javascript:alert(3)}{x}$ $\def\a{\a\a}\a$ $\begin{matrix}<b>$"
VOID = {"meta", "br", "img", "input", "link", "hr"}


class Parsed(HTMLParser):
    """A page taken apart: elements with attributes, visible text, table rows, content of scripts; nesting checked."""

    def __init__(self, path: Path):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.open: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif self.open and self.open[-1] != "style":
            self.words.append(data)
            if {"td", "th"} & set(self.open):
                self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return "".join(self.words)

    @property
    def charts(self) -> dict:
        return next(json.loads(content) for attrs, content in self.scripts if attrs.get("id") == "charts")


def rows_of(spec: tables.TableSpec, *rows: dict) -> pa.Table:
    blank = {field.name: None if field.nullable else _blank(field.type) for field in spec.schema}
    return pa.Table.from_pylist([blank | row for row in rows], schema=spec.schema)


def _blank(kind: pa.DataType) -> object:
    return "" if pa.types.is_string(kind) else False if pa.types.is_boolean(kind) else 0


def hostile_corpus(store: Store) -> Manifest:
    """A corpus in which every text column that may hold foreign words holds hostile ones."""
    schema = pa.schema([*tables.DOCUMENTS.schema, pa.field("math_density", pa.float64())])
    documents = [
        {
            "doc_id": f"{number:032x}",
            "source": f"web{HOSTILE}",
            "role": "web",
            "url": f"javascript:alert(3)//{HOSTILE}",
            "license": HOSTILE,
            "n_chars": 40,
            "n_tokens": 10 + number,
            "text_digest": f"{number % 3:032x}",
            "drop_reason": reason,
            "drop_evidence": evidence,
            "cluster_id": f"{0:032x}" if number < 5 else None,
            "math_density": [0.5, float("nan"), None][number % 3],
        }
        for number, (reason, evidence) in enumerate(
            [
                (None, None),
                ("near_duplicate", json.dumps({"keeper": HOSTILE, "similarity": 0.9})),
                ("contaminated", json.dumps({"benchmark": HOSTILE, "item": "i1", "coverage": 0.8})),
                ("contaminated", json.dumps({"benchmark": HOSTILE, "item": "i1", "coverage": 0.9})),
                (HOSTILE, None),
                (None, None),
            ]
        )
    ]
    draft = Draft(store, "corpus", {"note": HOSTILE})
    draft.write("documents", [pa.Table.from_pylist(documents, schema=schema)], schema)
    texts = rows_of(tables.TEXTS, *({"doc_id": row["doc_id"], "text": HOSTILE * 100} for row in documents))
    bad = rows_of(tables.QUARANTINE, {"source": f"web{HOSTILE}", "file": HOSTILE, "reason": HOSTILE, "detail": HOSTILE})
    same = {"benchmark": HOSTILE, "item_id": HOSTILE, "part": "question"}
    leaks = [{"doc_id": f"{row:032x}", "coverage": row / 4} | same for row in (2, 3)]
    spans = [{"span_start": 0, "span_length": 20}, {"span_start": None, "span_length": None}]
    held = rows_of(tables.LEAKS, *(leak | span for leak, span in zip(leaks, spans, strict=True)))
    draft.write("leaks", [held], tables.LEAKS.schema, identity=False)
    draft.write("texts", [texts], tables.TEXTS.schema)
    draft.write("quarantine", [bad], tables.QUARANTINE.schema)
    counts = {"inputs": {f"web{HOSTILE}": {"records": 7, "tokens": 75}}}
    return draft.commit("hostile", "1", counts)


def prompts_of(store: Store, corpus: Manifest) -> Manifest:
    draft = Draft(store, "prompts", {}, [corpus])
    rows = rows_of(tables.PROMPTS, {"prompt_id": "p1", "source": "rl", "question": HOSTILE, "answer": HOSTILE})
    draft.write("prompts", [rows], tables.PROMPTS.schema)
    return draft.commit("prompts", "1")


def benchmark_of(store: Store, name: str) -> Manifest:
    draft = Draft(store, "benchmark", {"name": name})
    item = {"item_id": "i1", "benchmark": name, "split": "test", "question": HOSTILE, "answer": HOSTILE}
    draft.write("items", [rows_of(tables.ITEMS, item)], tables.ITEMS.schema)
    return draft.commit(name, "1")


def trained(store: Store, mixture: Manifest, steps: int = 3, **summary: object) -> RunDirectory:
    run = open_run(store, "train", [mixture], {"lr": HOSTILE}, "torch")
    numbers = range(1, steps + 1)
    run.append(
        "steps", rows_of(tables.STEPS, *({"step": n, "stage": "s", "loss": 4.0 / n, "tokens": 8} for n in numbers))
    )
    used = (
        {"step": n, "component": "all", "source": s, "tokens": t} for n in numbers for s, t in (("web", 6), ("qa", 2))
    )
    run.append("consumption", rows_of(tables.CONSUMPTION, *used))
    run.finish({"steps": steps} | summary)
    return run


def reinforced(store: Store, prompts: Manifest, parent: RunDirectory) -> RunDirectory:
    run = open_run(store, "rl", [prompts], {}, "torch", parent)
    schema = pa.schema([*tables.STEPS.schema, pa.field("reward", pa.float64()), pa.field("entropy", pa.float64())])
    steps = rows_of(tables.STEPS, {"step": 1, "loss": 0.1}, {"step": 2, "loss": float("nan")})
    for name, values in (("reward", [0.25, 0.75]), ("entropy", [1.0, 0.5])):
        steps = steps.append_column(name, pa.array(values))
    run.append("steps", steps.cast(schema))
    verdicts = [(1, "CORRECT", 1.0), (1, "ERROR", 0.0), (2, "CORRECT", 1.0), (2, "UNPARSED", 0.5)]
    wrote = {"source": HOSTILE, "prompt": HOSTILE, "response": HOSTILE, "extracted": HOSTILE, "reason": HOSTILE}
    rollouts = ({"step": s, "verdict": v, "reward": r, **wrote} for s, v, r in verdicts)
    run.append("rollouts", rows_of(tables.ROLLOUTS, *rollouts))
    run.finish({})
    return run


def evaluated(store: Store, benchmark: Manifest, parent: RunDirectory, value: float) -> RunDirectory:
    run = open_run(store, "eval", [benchmark], {"value": value}, "transformers", parent)
    said = {
        "benchmark": benchmark.name,
        "item_id": "i1",
        "verdict": "INCORRECT",
        "prompt": HOSTILE,
        "response": HOSTILE,
    }
    run.append("samples", rows_of(tables.SAMPLES, said | {"reference": HOSTILE, "extracted": HOSTILE}))
    accuracy = {"metric": "accuracy", "value": value, "low": value / 2, "high": 0.9, "n": 1, "method": "wilson"}
    unknown = {"metric": "errors", "value": float("nan"), "n": 0, "method": "none"}
    run.append("scores", rows_of(tables.SCORES, *({"benchmark": benchmark.name} | row for row in (accuracy, unknown))))
    run.finish({})
    return run


@pytest.fixture
def everything(folder: Store, mixture) -> tuple[Store, list[str]]:
    """A store with one thing of each kind, and two evaluations."""
    corpus, benchmark = hostile_corpus(folder), benchmark_of(folder, "bench")
    mixed = mixture(folder, corpus, [(f"{5:032x}", f"web{HOSTILE}", 16)])
    prompts = prompts_of(folder, corpus)
    first = trained(folder, mixed)
    second = reinforced(folder, prompts, first)
    before, after = evaluated(folder, benchmark, first, 0.25), evaluated(folder, benchmark, second, 0.5)
    made = (corpus, benchmark, mixed, prompts, first, before, second, after)
    return folder, [thing.id for thing in made]


def test_the_funnel_on_the_page_is_that_of_sql(folder: Store, corpus) -> None:
    manifest = corpus(folder)
    shown = Parsed(report(folder, ["math@1"])).rows
    assert ["web", "4", "1", "25.0%", "2", "1", "60", "10", "16.7%"] in shown
    assert ["qa", "2", "2", "100.0%", "0", "0", "12", "12", "100.0%"] in shown
    for row in query(folder, "FROM funnel WHERE manifest = $1", [manifest.id]).to_pylist():
        reason = row["reason"] or "–"
        lost = "–" if row["formulas_lost"] is None else f"{row['formulas_lost']:,}"
        assert [row["source"], row["outcome"], reason, f"{row['documents']:,}", f"{row['tokens']:,}", lost] in shown


def test_the_flow_leads_from_each_source_to_its_outcomes(folder: Store, corpus) -> None:
    corpus(folder)
    documents, tokens, *_ = Parsed(report(folder, ["math@1"])).charts.values()
    web = dict.fromkeys(("kept 3", "short 1", "near_duplicate 1", "quarantined 1"), 1)
    assert flows(documents) == {("web 4", end): n for end, n in web.items()} | {("qa 2", "kept 3"): 2}
    web = {"kept 22": 10, "short 20": 20, "near_duplicate 30": 30}
    assert flows(tokens) == {("web 60", end): n for end, n in web.items()} | {("qa 12", "kept 22"): 12}


def flows(chart: dict) -> dict[tuple[str, str], int]:
    (trace,) = chart["data"]
    label, link = trace["node"]["label"], trace["link"]
    ends = zip(link["source"], link["target"], link["value"], strict=True)
    return {(label[a], label[b]): value for a, b, value in ends}


def test_a_copy_stands_beside_what_was_kept_with_its_differences_marked(folder: Store) -> None:
    texts = {"a": f"one <i>two</i> {'and ' * 80}three", "b": f"one <i>four</i> {'and ' * 80}three", "c": "none"}
    rows = [{"doc_id": name, "source": "web", "role": "web", "n_chars": 9, "n_tokens": 9, "text_digest": name}
            for name in texts]  # fmt: skip
    rows[0]["cluster_id"] = rows[1]["cluster_id"] = "a"
    evidence = '{"keeper": "a", "similarity": 0.75}'
    rows[1] |= {"drop_reason": "near_duplicate", "keeper_id": "a", "drop_evidence": evidence}
    shown = Parsed(report(folder, [written(folder, rows, texts).id]))
    assert (
        "<del>&lt;i&gt;two&lt;/i&gt; </del>" in shown.source and "<ins>&lt;i&gt;four&lt;/i&gt; </ins>" in shown.source
    )
    assert "cluster of 2 · similarity 0.75 · kept a (web), dropped b (web)" in shown.text
    assert shown.text.count("41 words alike") == 2


def written(store: Store, documents: list[dict], texts: dict[str, str]) -> Manifest:
    draft = Draft(store, "corpus", {})
    rows = [{"doc_id": doc_id, "text": text} for doc_id, text in texts.items()]
    for spec, content in ((tables.DOCUMENTS, documents), (tables.TEXTS, rows)):
        draft.write(spec.name, [pa.Table.from_pylist(content, spec.schema)], spec.schema)
    return draft.commit("written", "1", {"inputs": {}})


@given(*[st.text("ab <&\n", max_size=50)] * 2)
def test_a_marked_text_is_the_text(left: str, right: str) -> None:
    sides = re.findall(r"<pre[^>]*>(.*?)</pre>", page.beside(left, right), re.DOTALL)
    assert [html.unescape(re.sub("<[^>]*>", "", side)) for side in sides] == [left.lstrip(), right.lstrip()]


def test_mathematics_is_embedded_where_there_is_some(folder: Store, corpus) -> None:
    rows = [{"doc_id": "a", "source": "web", "role": "web", "n_chars": 9, "n_tokens": 9, "text_digest": "a"}]
    with_some = Parsed(report(folder, [written(folder, rows, {"a": "$x^2$"}).id]))
    without = Parsed(report(folder, [corpus(folder).id]))
    assert [any(attrs.get("id") == "katex" for attrs, _ in one.scripts) for one in (with_some, without)] == [
        True,
        False,
    ]
    assert with_some.source.count("url(data:font/woff2;base64,") == 20 and "fonts/" not in with_some.source


def test_leaks_are_shown_with_their_passage_the_closest_first(everything: tuple[Store, list[str]]) -> None:
    store, made = everything
    parsed = Parsed(report(store, [made[0]]))
    shown = [row for row in parsed.rows if row[:2] == [HOSTILE, HOSTILE]]
    assert [(row[4], row[6], row[8]) for row in shown] == [
        ("75.0%", f"{3:032x}", "–"),
        ("50.0%", f"{2:032x}", HOSTILE[:20]),
    ]
    assert f"FROM leaks WHERE manifest = '{made[0]}'" in parsed.text


def test_a_funnel_that_does_not_balance_is_called_so(folder: Store) -> None:
    draft = Draft(folder, "corpus", {})
    draft.write("documents", [tables.DOCUMENTS.schema.empty_table()], tables.DOCUMENTS.schema)
    draft.commit("lost", "1", {"inputs": {"web": {"records": 3, "tokens": 9}}})
    assert "does not balance" in Parsed(report(folder, ["lost@1"])).text


def test_a_run_shows_what_it_consumed_beside_what_was_planned(everything: tuple[Store, list[str]]) -> None:
    store, made = everything
    shown = Parsed(report(store, [made[4]])).rows
    assert ["all", "32", "24", "100.00%", "100.00%"] in shown
    assert ["web", "all", "18", "75.00%"] in shown and ["qa", "all", "6", "25.00%"] in shown
    assert ["s", "1", "3", "24", "4", "1.333", "0"] in shown


def test_the_whole_walk_is_on_one_page_in_the_order_given(everything: tuple[Store, list[str]]) -> None:
    store, made = everything
    parsed = Parsed(report(store, [*made, made[0]]))
    assert [attrs["id"] for tag, attrs in parsed.elements if tag == "section"] == [*made, "comparison"]
    links = {attrs["href"] for tag, attrs in parsed.elements if tag == "a"}
    assert links == {f"#{identity}" for identity in made}
    assert "loss 4 → 1.333" in parsed.text and "Accuracy: bench 50.0% [25.0%, 90.0%]" in parsed.text
    assert "mean reward 0.5 → 0.75" in parsed.text
    assert ["bench", "accuracy", "0.25", "0.5"] in parsed.rows


def test_every_chart_is_one_that_plotly_knows(everything: tuple[Store, list[str]]) -> None:
    store, made = everything
    parsed = Parsed(report(store, made))
    drawn = {attrs["id"] for tag, attrs in parsed.elements if attrs.get("class") == "plot"}
    assert drawn == set(parsed.charts)
    for chart in parsed.charts.values():
        go.Figure(chart)  # raises on an attribute or value that plotly does not have
        for trace in chart["data"]:
            link = trace.get("link")
            x, y = (link["value"], link["target"]) if link else (trace["x"], trace["y"])
            assert len(x) == len(y) > 0


def test_curves_are_those_of_sql_and_long_runs_are_averaged(folder: Store, corpus, mixture) -> None:
    run = trained(folder, mixture(folder, corpus(folder), [("a1", "web", 10)]), steps=1500)
    loss = next(chart["data"][0] for chart in Parsed(report(folder, [run.id])).charts.values())
    assert loss["x"] == [*range(24, 12001, 24)], "tokens, eight a step"
    assert loss["y"][0] == pytest.approx((4 / 1 + 4 / 2 + 4 / 3) / 3)


def test_a_jump_of_the_loss_is_marked_and_leads_to_what_was_read(
    folder: Store, corpus, mixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained(folder, mixture(folder, corpus(folder), [("a1", "web", 10)]), steps=9, spikes=[7])
    spans = [{"doc_id": "a1", "source": "web", "component": "all", "length": length} for length in (5, 3)]

    def read(store: Store, asked: RunDirectory, step: int) -> pa.Table:
        assert (store, asked.id, step) == (folder, run.id, 7)
        return pa.Table.from_pylist(spans)

    monkeypatch.setattr(training_run, "trace", read)
    shown = Parsed(report(folder, [run.id]))
    _, marked = next(iter(shown.charts.values()))["data"]
    assert (marked["x"], marked["y"], marked["text"]) == ([56], [pytest.approx(4 / 7)], ["step 7"])
    assert ["a1", "web", "all", "3"] in shown.rows and f"octo trace {run.id} --step 7 --text" in shown.text


def test_lengths_are_drawn_by_source(folder: Store, corpus) -> None:
    made = corpus(folder)
    _, _, lengths, *_ = Parsed(report(folder, [made.id])).charts.values()
    assert {trace["name"]: sum(trace["y"]) for trace in lengths["data"]} == {"dropped": 2, "web": 1, "qa": 2}


def test_hostile_text_is_shown_and_never_markup(everything: tuple[Store, list[str]]) -> None:
    store, made = everything
    parsed = Parsed(report(store, made))
    assert HOSTILE in parsed.text
    names = {trace["name"] for chart in parsed.charts.values() for trace in chart["data"]}
    assert HOSTILE in map(html.unescape, names)
    assert not any(set("<$") & set(name) for name in names), "plotly takes these for markup and TeX"
    assert {tag for tag, _ in parsed.elements}.isdisjoint({"img", "iframe", "object", "link", "form", "base"})
    assert not [name for _, attrs in parsed.elements for name in attrs if name.startswith("on")]
    assert len(parsed.scripts) == 4


def test_a_page_loads_nothing_and_runs_only_its_own_scripts(everything: tuple[Store, list[str]]) -> None:
    store, made = everything
    parsed = Parsed(report(store, made))
    assert not [attrs for _, attrs in parsed.elements if {"src", "srcset", "data", "action"} & attrs.keys()]
    assert all((attrs.get("href") or "#").startswith("#") for _, attrs in parsed.elements)
    assert not re.search(r"@import|url\((?!data:)|fetch\(|import\(|XMLHttpRequest", parsed.source)
    policy = next(attrs["content"] for _, attrs in parsed.elements if "http-equiv" in attrs)
    assert policy and policy.startswith("default-src 'none'") and "http" not in policy
    own = next(content for attrs, content in parsed.scripts if not attrs)
    assert page.script_hash(own.encode()) in policy
    for name in ("plotly", "katex"):
        packed = next(content for attrs, content in parsed.scripts if attrs.get("id") == name)
        assert page.script_hash(gzip.decompress(base64.b64decode(packed))) in policy


def test_a_page_is_small_and_the_same_every_time(everything: tuple[Store, list[str]], tmp_path: Path) -> None:
    store, made = everything
    first, second = report(store, made, tmp_path / "a" / "a.html"), report(store, made, tmp_path / "b.html")
    assert first == tmp_path / "a" / "a.html"
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size < 3_000_000


def test_a_page_goes_into_the_store(store: Store, corpus) -> None:
    manifest = corpus(store)
    path = report(store, ["math@1"])
    assert store.read(f"reports/{manifest.id}.html") == path.read_bytes()


@pytest.mark.parametrize("kind", ["train", "rl", "eval"])
def test_a_run_that_recorded_nothing_has_a_page(kind: str, folder: Store, corpus) -> None:
    run = open_run(folder, kind, [corpus(folder)], {}, "torch")
    run.fail(f"it stopped: {HOSTILE}")
    shown = Parsed(report(folder, [run.id])).text
    assert "has been recorded" in shown and "failed" in shown and HOSTILE in shown


def test_an_empty_corpus_and_mixture_have_a_page(folder: Store, mixture) -> None:
    draft = Draft(folder, "corpus", {})
    draft.write("documents", [tables.DOCUMENTS.schema.empty_table()], tables.DOCUMENTS.schema)
    empty = draft.commit("empty", "1")
    mixed = mixture(folder, empty, [], sequences=0)
    assert "0 documents in, 0 kept" in Parsed(report(folder, [empty.id])).text
    assert "0 sequences" in Parsed(report(folder, [mixed.id])).text


def test_a_parent_that_is_not_in_the_store_is_named_by_its_id(folder: Store, tmp_path: Path, corpus, mixture) -> None:
    parent = corpus(Store(tmp_path / "elsewhere"))
    mixed = mixture(folder, parent, [("a1", "web", 10)])
    assert parent.id in Parsed(report(folder, [mixed.id])).text


def test_many_benchmarks_are_one_box(folder: Store) -> None:
    draft = Draft(folder, "corpus", {}, [benchmark_of(folder, f"b{number}") for number in range(5)])
    draft.write("documents", [tables.DOCUMENTS.schema.empty_table()], tables.DOCUMENTS.schema)
    draft.commit("kept", "1")
    parsed = Parsed(report(folder, ["kept@1"]))
    assert "5 benchmarks" in parsed.text
    assert ["b4", "1", "0", "0", "0"] in parsed.rows


def test_what_is_not_there_is_refused_in_one_line(folder: Store) -> None:
    for ref in ("nothing@1", "run-0123", "abc"):
        with pytest.raises(UserError):
            report(folder, [ref])
    assert folder.list("reports") == []


def measured(store: Store, benchmark: Manifest, parent: RunDirectory, step: int, template: str) -> RunDirectory:
    """An evaluation of a checkpoint, with lengths, several answers, and pass@k."""
    run = open_run(store, "eval", [benchmark], {"template": template, "at": step}, "transformers", parent)
    said = {
        "benchmark": "bench",
        "item_id": "i1",
        "prompt": "x" * 3000 + HOSTILE,
        "response": HOSTILE,
        "reference": "1",
    }
    answers = [
        said | {"sample": n, "tokens": 10 * (n + 1), "verdict": ("CORRECT", "INCORRECT")[n % 2]} for n in range(4)
    ]
    run.append("samples", rows_of(tables.SAMPLES, *answers))
    accuracy = {"metric": "accuracy", "value": 0.1 * step, "low": 0.0, "high": 0.9, "n": 4, "method": "wilson"}
    others = [
        {"metric": f"{kind}@{k}", "value": k / 4, "n": 1, "method": "none"} for kind in ("pass", "maj") for k in (1, 2)
    ]
    length = {"metric": "length", "value": 25.0 + step, "low": 20.0, "high": 90.0, "n": 4, "method": "bootstrap"}
    run.append(
        "scores",
        rows_of(tables.SCORES, *({"step": step, "benchmark": "bench"} | row for row in (accuracy, length, *others))),
    )
    run.finish({})
    return run


@pytest.fixture
def stages(folder: Store, mixture) -> tuple[Store, Manifest, RunDirectory, RunDirectory]:
    corpus, benchmark = hostile_corpus(folder), benchmark_of(folder, "bench")
    first = trained(folder, mixture(folder, corpus, [(f"{5:032x}", f"web{HOSTILE}", 16)]))
    return folder, benchmark, first, reinforced(folder, prompts_of(folder, corpus), first)


def test_an_evaluation_shows_lengths_and_curves_over_k(stages: tuple) -> None:
    folder, benchmark, first, _ = stages
    shown = Parsed(report(folder, [measured(folder, benchmark, first, 3, "t").id]))
    charts = {chart["data"][0]["name"]: chart["data"] for chart in shown.charts.values()}
    (passing,) = [data for data in charts.values() if data[0]["name"].endswith("pass@k")]
    assert [(trace["x"], trace["y"]) for trace in passing] == [([1, 2], [0.25, 0.5])] * 2
    lengths = charts["right"]
    assert [sum(trace["y"]) for trace in lengths] == [2, 2] and {trace["type"] for trace in lengths} == {"bar"}
    assert "quoted" in shown.text, "the end of a long prompt is shown: it holds the question"


def test_runs_are_compared_over_their_steps_where_they_were_measured_alike(stages: tuple) -> None:
    folder, benchmark, first, second = stages
    for step in (2, 1):
        measured(folder, benchmark, second, step, "zero")
    measured(folder, benchmark, first, 5, "zero")
    measured(folder, benchmark, first, 6, "few")
    shown = Parsed(compare(folder, [second.id, first.id]))
    accuracy, length = (chart["data"] for chart in shown.charts.values())
    lines = {trace["name"]: (trace["x"], trace["y"]) for trace in accuracy}
    assert lines[f"{second.id} · zero"] == ([0, 1, 2], [0.5, 0.1, 0.2]), "the start, measured alike, is step 0"
    assert lines[f"{first.id} · zero"] == ([5], [0.5]) and lines[f"{first.id} · few"] == ([6], pytest.approx([0.6]))
    assert next(trace["y"] for trace in length) == [30.0, 26.0, 27.0]
    assert [row[0] for row in shown.rows[1:]].count(second.id) == 3
    for chart in shown.charts.values():
        go.Figure(chart)


def test_what_cannot_be_compared_is_said(stages: tuple) -> None:
    folder, benchmark, first, second = stages
    with pytest.raises(UserError, match="there is no evaluation of"):
        compare(folder, [first.id, second.id])
    alone = open_run(folder, "eval", [benchmark], {}, "transformers")
    with pytest.raises(UserError, match="measured a folder"):
        compare(folder, [alone.id])


def learning(store: Store, prompts: Manifest, parent: RunDirectory, name: str, rewards: list[float]) -> RunDirectory:
    """A finished RL run with these rewards."""
    run = open_run(store, "rl", [prompts], {"name": name}, "torch", parent)
    run.start()
    steps = rows_of(tables.STEPS, *({"step": step + 1, "loss": 0.1} for step in range(len(rewards))))
    run.append("steps", steps.append_column("reward", pa.array(rewards)))
    run.finish({"reward_last": rewards[-1]})
    return run


def test_groups_have_a_mean_a_band_and_n_at_every_step(stages: tuple) -> None:
    folder, _, first, second = stages
    prompts = resolve(folder, second.record["manifests"][0]["id"])
    curves = {"web": [[0.1, 0.2], [0.2, 0.3], [0.3, 0.4]], HOSTILE[:12]: [[0.5, 0.6]]}
    runs = {
        name: [learning(folder, prompts, first, f"{name}{n}", curve) for n, curve in enumerate(group)]
        for name, group in curves.items()
    }
    written = [f"{name}={','.join(run.id for run in group)}" for name, group in runs.items()]
    shown = Parsed(compare(folder, written))
    reward = next(chart["data"] for chart in shown.charts.values() if len(chart["data"]) == 3)
    band, mean, alone = reward
    assert mean["name"] == "web (n = 3)" and mean["y"] == pytest.approx([0.2, 0.3])
    half = 4.302652729749464 * 0.1 / 3**0.5
    assert band["y"] == pytest.approx([0.2 + half, 0.3 + half, 0.3 - half, 0.2 - half])
    assert alone["y"] == [0.5, 0.6] and "(n = 1)" in alone["name"], "one run has a line and no band"
    assert "no error bar can be given: one seed" in shown.text
    for chart in shown.charts.values():
        go.Figure(chart)


def test_long_curves_are_drawn_by_means_of_spans(stages: tuple) -> None:
    folder, _, first, second = stages
    prompts = resolve(folder, second.record["manifests"][0]["id"])
    a, b = (learning(folder, prompts, first, name, [float(step) for step in range(1000)]) for name in "ab")
    shown = Parsed(compare(folder, [f"{a.id},", f"{b.id},"]))
    line = next(chart["data"][0] for chart in shown.charts.values())
    assert len(line["x"]) == 200 and line["x"][-1] == 1000 and line["y"][0] == pytest.approx(2.0)

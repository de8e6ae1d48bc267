"""Annotations: every answer becomes a row with a verdict, a server may do what it likes, and nothing is asked twice."""

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

import octo
from curation.classifiers import fit
from curation.classifiers.config import ClassifierRecipe
from curation.config import CurateRecipe
from curation.language_model.annotate import annotate, plan
from curation.language_model.config import AnnotateRecipe
from curation.pipeline import curate
from manifests.catalog import diff, lineage, query
from manifests.errors import UserError
from manifests.manifest import Draft, Manifest, verify
from manifests.recipe import parse, semantic
from manifests.store import Store
from manifests.tables import DOCUMENTS, TEXTS
from octo.commands.document import why
from octo.rebuild import build_again
from octo.report.write import report

HERE = Path(__file__).parent


class Server:
    """The endpoint of `endpoint.py`, in a process of its own."""

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, HERE / "endpoint.py"], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def set(self, **settings: float) -> None:
        """Begin anew: no log, these settings."""
        httpx.post(f"{self.url}/settings", json=settings, trust_env=False).raise_for_status()

    def log(self) -> list[dict]:
        return httpx.get(f"{self.url}/log", trust_env=False).json()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def one_server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def server(one_server) -> Server:
    one_server.set()
    return one_server


def page(number: int, behaviour: str = "good", words: str = "theorem") -> str:
    """A page of mathematics, unlike its neighbours."""
    terms = " ".join(f"term{number}x{k} times {number + k}" for k in range(20))
    return (
        f"behaviour: {behaviour} The {words} number {number} says that $a^2 + {number} = c_{number}$ holds, "
        f"and that the sum of {number} and 17 is {number + 17}. Proof: {terms}."
    )


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def freeze(store: Store, texts: list[str]) -> Manifest:
    """A corpus of `texts`, as `octo curate` would write it."""
    rows = []
    for number, text in enumerate(texts):
        name = hashlib.md5(text.encode()).hexdigest()
        known = {"doc_id": name, "source": "pages", "role": "web", "url": f"https://h{number}.org", "text_digest": name}
        rows.append(known | {"n_chars": len(text), "n_tokens": len(text.split()), "text": text})
    rows.sort(key=lambda row: row["doc_id"])
    draft = Draft(store, "corpus", {})
    for spec in (DOCUMENTS, TEXTS):
        draft.write(spec.name, [pa.Table.from_pylist(rows, spec.schema)], spec.schema, rows_per_file=7)
    return draft.commit("pages", "1")


@pytest.fixture
def corpus_of(store):
    """A corpus of pages with these behaviours, one each."""
    return lambda *behaviours: freeze(store, [page(number, name) for number, name in enumerate(behaviours)])


def recipe(corpus: Manifest, server: Server, task: str = "score", **changes) -> AnnotateRecipe:
    asked = {"url": f"{server.url}/v1", "retries": 1, "max_failed": 1.0, "concurrency": 4} | changes.pop("asking", {})
    plain = {"name": f"asked-{task}", "corpus": corpus.id, "task": task, "model": "toy", "server": asked}
    return parse(plain | changes, AnnotateRecipe, "test")


def by_behaviour(made: Manifest, corpus: Manifest) -> dict[str, list[dict]]:
    """Rows of annotations by the behaviour that their document asked for."""
    names = {row["doc_id"]: re.search(r"behaviour: (\w+)", row["text"])[1] for row in corpus.read("texts").to_pylist()}
    found: dict[str, list[dict]] = {}
    for row in made.read("annotations").to_pylist():
        found.setdefault(names[row["doc_id"]], []).append(row)
    return found


# -- verdicts --------------------------------------------------------------------------------------------------------

VERDICTS = {
    "score": {
        "good": "ok", "busy": "ok", "broken_once": "ok", "malformed_once": "ok", "thinking": "ok", "refusal": "refusal",
        "broken": "endpoint_error", "malformed": "endpoint_error", "listed": "endpoint_error",
        "too_much": "endpoint_error", "truncated": "truncated", "vague": "no_score", "high": "no_score",
        "short": "no_score", "null": "no_score",
    },
    "rewrite": {
        "good": "ok", "chatty": "ok", "thinking": "ok", "refusal": "refusal", "truncated": "truncated",
        "loop": "repetition", "short": "too_short", "long": "too_long", "no_numbers": "numbers_lost",
        "no_formulae": "formulae_lost", "null": "unparsable", "broken": "endpoint_error",
    },
    "questions": {
        "good": "ok", "refusal": "refusal", "no_pairs": "no_pairs", "short": "unparsable", "loop": "repetition",
        "null": "unparsable", "broken": "endpoint_error",
    },
}  # fmt: skip


@pytest.mark.parametrize("task", list(VERDICTS))
def test_every_answer_is_a_row_with_its_verdict(task, store, corpus_of, server):
    corpus = corpus_of(*VERDICTS[task])
    made = annotate(store, recipe(corpus, server, task))
    found = by_behaviour(made, corpus)
    assert {name: rows[0]["verdict"] for name, rows in found.items()} == VERDICTS[task]
    for name, rows in found.items():
        for row in rows:
            assert (row["evidence"] is None) == (row["verdict"] == "ok"), name
        got_none = VERDICTS[task][name] == "endpoint_error"
        assert (rows[0]["response"] is None) == got_none
        assert sum(row["completion_tokens"] for row in rows) == (0 if got_none else 7)
    assert verify(store, made) == []


def test_the_parts_of_an_answer(store, corpus_of, server):
    corpus = corpus_of("good", "thinking", "chatty", "truncated")
    texts = {row["doc_id"]: row["text"] for row in corpus.read("texts").to_pylist()}
    scores = by_behaviour(annotate(store, recipe(corpus, server)), corpus)
    assert [scores[name][0]["score"] for name in ("good", "thinking", "truncated")] == [5, 5, None]
    rewritten = by_behaviour(annotate(store, recipe(corpus, server, "rewrite")), corpus)
    for name in ("good", "thinking", "chatty", "truncated"):
        (row,) = rewritten[name]
        assert row["text"] == texts[row["doc_id"]] and row["text"] in row["response"]
    assert rewritten["good"][0]["length_ratio"] == rewritten["good"][0]["numbers_kept"] == 1.0
    pairs = by_behaviour(annotate(store, recipe(corpus, server, "questions")), corpus)
    assert [(row["ordinal"], row["question"], row["answer"]) for row in pairs["good"]] == [
        (0, "What is 2 + 3?", "5"), (1, "What is 7 - 4 in 2 steps?", "3")
    ]  # fmt: skip
    assert pairs["good"][1]["solution"].endswith("so 7 - 4 = 3.")
    assert [row["verdict"] for row in pairs["truncated"]] == ["ok", "truncated"]


def test_what_was_lost_is_told(store, corpus_of, server):
    corpus = corpus_of("no_numbers", "no_formulae")
    rows = by_behaviour(annotate(store, recipe(corpus, server, "rewrite")), corpus)
    numbers, formulae = (json.loads(rows[name][0]["evidence"]) for name in ("no_numbers", "no_formulae"))
    assert numbers["score"] == "numbers_kept" and numbers["value"] < numbers["limit"] and numbers["lost"][0] == "1"
    assert formulae["lost"] == ["a^2+1=c_1"]


def test_long_documents_are_cut_to_be_scored_and_left_out_otherwise(store, corpus_of, server):
    corpus = corpus_of("good", "good")
    scored = annotate(store, recipe(corpus, server, max_chars=100))
    assert set(scored.read("annotations")["verdict"].to_pylist()) == {"ok"}
    assert {len(request["document"]) for request in server.log()} == {100}
    server.set()
    rewritten = annotate(store, recipe(corpus, server, "rewrite", max_chars=100))
    assert set(rewritten.read("annotations")["verdict"].to_pylist()) == {"source_too_long"}
    assert server.log() == [] and rewritten.counts == {"documents": 2, "failed": 0}


def test_where_chooses_documents_and_rows_keep_the_order_of_the_corpus(store, corpus_of, server):
    corpus = corpus_of(*["good"] * 12)
    made = annotate(store, recipe(corpus, server, where="doc_id < '8' -- half"))
    asked = made.read("annotations")["doc_id"].to_pylist()
    assert asked == [name for name in corpus.read("documents")["doc_id"].to_pylist() if name < "8"]
    with pytest.raises(UserError, match="no document"):
        annotate(store, recipe(corpus, server, name="other", where="n_tokens < 0"))
    with pytest.raises(UserError, match="llm_nothing"):
        annotate(store, recipe(corpus, server, name="other", where="llm_nothing = 1"))


# -- identity --------------------------------------------------------------------------------------------------------


def test_the_second_time_nothing_is_asked(store, corpus_of, server):
    corpus = corpus_of("good", "refusal")
    made = annotate(store, recipe(corpus, server))
    assert len(server.log()) == 2
    again = annotate(store, recipe(corpus, server, asking={"concurrency": 1, "url": "http://127.0.0.1:9/v1"}))
    assert (again.id, again.ref) == (made.id, made.ref)
    other = annotate(store, recipe(corpus, server, name="second", version=2))
    assert (other.id, other.ref) == (made.id, "second@2") and len(server.log()) == 2


def test_a_name_that_is_taken_is_told_before_anything_is_asked(store, corpus_of, server):
    corpus = corpus_of("good")
    annotate(store, recipe(corpus, server))
    server.set()
    with pytest.raises(UserError, match="already names"):
        annotate(store, recipe(corpus, server, seed=2))
    assert server.log() == []


@pytest.mark.parametrize("change", [{"model": "other"}, {"seed": 2}, {"prompt": "Judge: {text}"}, {"temperature": 0.5}])
def test_another_question_is_another_manifest(change, store, corpus_of, server):
    corpus = corpus_of("good")
    assert semantic(recipe(corpus, server)) != semantic(recipe(corpus, server, **change))


def test_the_server_is_told_what_the_recipe_says_and_the_key_is_written_nowhere(store, corpus_of, server, monkeypatch):
    corpus = corpus_of("good")
    monkeypatch.setenv("TOY_KEY", "sk-very-secret\n")
    asked = recipe(corpus, server, seed=5, temperature=0.25, max_tokens=99, asking={"key_variable": "TOY_KEY"})
    made = annotate(store, asked)
    (request,) = server.log()
    wanted = {"model": "toy", "seed": 5, "temperature": 0.25, "max_tokens": 99, "key": "Bearer sk-very-secret"}
    assert {name: request[name] for name in wanted} == wanted
    assert made.recipe["prompt"].startswith("You judge")
    monkeypatch.delenv("TOY_KEY")
    with pytest.raises(UserError, match="TOY_KEY holds no API key"):
        annotate(store, asked.model_copy(update={"name": "other", "seed": 6}))
    for path in Path(store.root).rglob("*"):
        assert path.is_dir() or b"very-secret" not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"prompt": "no place"}, "{text} once"),
        ({"task": "translate"}, "task"),
        ({"asking": {"url": "https://user:pass@host/v1"}}, "without user or password"),
        ({"asking": {"url": None}}, "give the endpoint's"),
        ({"asking": {"url": "http://[::1"}}, "give the endpoint's"),
        ({"asking": {"url": "http://host:port/v1"}}, "give the endpoint's"),
        ({"asking": {"engine": "sglang"}}, "engine"),
    ],
)
def test_a_wrong_recipe_is_told(wrong, said, store, corpus_of, server):
    corpus = corpus_of("good")
    with pytest.raises(UserError, match=re.escape(said)):
        recipe(corpus, server, **wrong)


# -- servers that fail -----------------------------------------------------------------------------------------------


def test_failed_requests_are_rows_and_another_version_asks_for_them_alone(store, corpus_of, server):
    corpus = corpus_of("good", "broken", "good", "too_much")
    made = annotate(store, recipe(corpus, server))
    assert made.counts["failed"] == 2
    first = Counter(request["behaviour"] for request in server.log())
    assert first == {"good": 2, "broken": 2, "too_much": 1}
    assert annotate(store, recipe(corpus, server)).id == made.id
    assert Counter(request["behaviour"] for request in server.log()) == first
    assert plan(store, recipe(corpus, server, version=2)) | {"server": ""} == {
        "documents": 4, "source too long": 0, "requests": 4, "answered before": 2, "built": "no", "model": "toy",
        "server": "", "tokens of their texts": sum(corpus.read("documents")["n_tokens"].to_pylist()),
    }  # fmt: skip
    again = annotate(store, recipe(corpus, server, version=2))
    assert again.ref == "asked-score@2" and again.id == made.id
    assert Counter(request["behaviour"] for request in server.log()) == {"good": 2, "broken": 4, "too_much": 2}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"status": 401}, "status 401"),
        ({"status": 404}, "status 404"),
        ({"status": 503}, "status 503"),
        ({"status": 422}, "status 422"),
        ({"delay": 5}, "no answer within 0.5 s"),
    ],
)
def test_a_server_that_answers_nothing_ends_in_one_line(settings, said, store, corpus_of, server, monkeypatch):
    corpus = corpus_of(*["good"] * 6)
    monkeypatch.setenv("TOY_KEY", "sk-very-secret")
    server.set(**settings)
    asked = recipe(corpus, server, asking={"max_failed": 0.1, "timeout": 0.5, "key_variable": "TOY_KEY", "retries": 0})
    with pytest.raises(UserError, match=said) as raised:
        annotate(store, asked)
    assert "0 of 6 documents are answered and kept" in str(raised.value) and "\n" not in str(raised.value)
    assert "very-secret" not in str(raised.value)
    server.set()
    assert len(annotate(store, asked).read("annotations")) == 6


def test_a_server_that_is_not_there_ends_in_one_line(store, corpus_of, server):
    corpus = corpus_of(*["good"] * 3)
    nowhere = recipe(corpus, server, asking={"url": "http://127.0.0.1:9/v1", "max_failed": 0.1})
    with pytest.raises(UserError, match=r"ConnectError.*0 of 3"):
        annotate(store, nowhere)


def run_octo(store: Store, path: Path, *more: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "octo", "annotate", str(path), "--store", store.root, *more]
    environment = os.environ | {"PYTHONPATH": str(octo.ROOT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_server_that_dies_half_way_ends_in_one_line_and_the_rest_is_asked_later(store, corpus_of, tmp_path):
    corpus, dying = corpus_of(*["good"] * 30), Server()
    try:
        dying.set(dies_after=12)
        asked = recipe(corpus, dying, asking={"max_failed": 0.1})
        path = tmp_path / "recipe.yaml"
        path.write_text(asked.model_dump_json())
        process = run_octo(store, path)
        out, err = process.communicate(timeout=60)
    finally:
        dying.close()
    assert (process.returncode, out, len(err.splitlines())) == (1, "", 1), err
    assert "12 of 30 documents are answered and kept" in err and "Run the same command again" in err
    healthy = Server()
    try:
        process = run_octo(store, path, f"server.url={healthy.url}/v1")
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert len(healthy.log()) == 18 and out.splitlines()[-1].startswith("annotations-")
    finally:
        healthy.close()


def test_a_run_that_is_killed_goes_on_where_it_was(store, corpus_of, server, tmp_path):
    corpus = corpus_of(*["good"] * 30)
    server.set(delay=0.1)
    path = tmp_path / "recipe.yaml"
    asked = recipe(corpus, server)
    path.write_text(asked.model_dump_json())
    process = run_octo(store, path)
    while len(server.log()) < 14 and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = Counter(request["document"] for request in server.log())
    assert 14 <= len(before) < 30
    server.set()
    made = annotate(store, asked)
    after = Counter(request["document"] for request in server.log())
    assert len(made.read("annotations")) == 30 and max(after.values()) == 1
    asked_twice = len(before.keys() & after.keys())
    assert asked_twice <= 4 + 1  # what was under way; an answer counts once it is stored
    assert len(before.keys() | after.keys()) == 30


# -- what it is for --------------------------------------------------------------------------------------------------


def curated(store: Store, tokenizer: Path, annotations: Manifest, role: str, **changes) -> Manifest:
    source = {"name": "made", "path": f"manifest://{annotations.ref}", "role": role} | changes
    near = {"near_duplicates": {"similarity": 0.99}, "quality": {"min_words": 5}}
    plain = {"name": f"made-{role}", "tokenizer": str(tokenizer), "sources": [source]} | near
    return curate(store, parse(plain, CurateRecipe, "test"))


def test_good_rows_are_documents_and_the_link_back_is_kept(store, corpus_of, server, tokenizer, capsys):
    corpus = corpus_of("good", "no_numbers", "refusal", "chatty")
    made = annotate(store, recipe(corpus, server, "rewrite"))
    rewritten = curated(store, tokenizer, made, "general")
    rows = rewritten.read("documents").to_pylist()
    assert Counter(row["drop_reason"] for row in rows) == {None: 2, "numbers_lost": 1}
    assert rewritten.read("quarantine")["reason"].to_pylist() == ["not_annotated"]
    origins = {row["doc_id"]: row["native_id"] for row in rewritten.read("origins").to_pylist()}
    urls = {row["doc_id"]: row["url"] for row in corpus.read("documents").to_pylist()}
    assert all(row["url"] == urls[origins[row["doc_id"]]] for row in rows)
    assert rewritten.parents == (made.id,) and made.parents == (corpus.id,)
    assert {(row["child"], row["parent"]) for row in lineage(store, rewritten.id).to_pylist()} == {
        (rewritten.id, made.id), (made.id, corpus.id)
    }  # fmt: skip
    kept = next(row["doc_id"] for row in rows if row["drop_reason"] is None)
    for name in (kept, origins[kept]):
        why(name, json_=True, store=store.root)
        (said,) = json.loads(capsys.readouterr().out)["annotations"]
        assert (said["source_document"], said["documents"]) == (origins[kept], [kept])
    assert build_again(store, rewritten, Store(Path(store.root).with_name("scratch")), 1).id == rewritten.id


def test_pairs_are_question_answer_documents(store, corpus_of, server, tokenizer):
    corpus = corpus_of("good", "refusal")
    pairs = curated(store, tokenizer, annotate(store, recipe(corpus, server, "questions")), "qa")
    texts = pairs.read("texts").to_pylist()
    assert {(row["question"], row["answer"]) for row in texts} == {
        ("What is 2 + 3?", "5"), ("What is 7 - 4 in 2 steps?", "3")
    }  # fmt: skip
    assert len(set(pairs.read("origins")["native_id"].to_pylist())) == 1


@pytest.mark.parametrize(
    ("task", "role", "said"),
    [("rewrite", "qa", "makes no document of role qa"), ("score", "web", "octo curate train-classifier")],
)
def test_a_role_that_the_rows_do_not_fit_is_told(task, role, said, store, corpus_of, server, tokenizer):
    made = annotate(store, recipe(corpus_of("good"), server, task))
    with pytest.raises(UserError, match=said):
        curated(store, tokenizer, made, role)


def test_a_corpus_is_no_source(store, corpus_of, tokenizer):
    with pytest.raises(UserError, match="is a corpus"):
        curated(store, tokenizer, corpus_of("good"), "web")


def labelling(corpus: Manifest, **changes) -> ClassifierRecipe:
    """Pages that the model finds good against the others."""
    labels = {"positive": "llm_score >= 3", "negative": "llm_score < 3", "domain": "doc_id"}
    small = {"dimensions": 8, "buckets": 10_000, "min_count": 1, "held_out": 0.3, "epochs": 1}
    return parse({"name": "judge", "corpus": corpus.id} | labels | small | changes, ClassifierRecipe, "test")


def test_scores_label_documents_for_a_classifier(store, tmp_path, server):
    corpus = freeze(store, [page(n, words="theorem" if n % 2 else "recipe") for n in range(40)])
    scored = annotate(store, recipe(corpus, server))
    made = fit.train(store, labelling(corpus, annotations=scored.ref))
    assert made.parents == (corpus.id, scored.id)
    wanted = {row["doc_id"]: "theorem" in row["text"] for row in corpus.read("texts").to_pylist()}
    labels = {row["doc_id"]: row["label"] == "positive" for row in made.read("labels").to_pylist()}
    assert labels == wanted
    assert build_again(store, made, Store(tmp_path / "scratch"), 1).id == made.id
    with pytest.raises(UserError, match="llm_score"):
        fit.train(store, labelling(corpus, name="other"))
    with pytest.raises(UserError, match="holds no scores"):
        fit.train(store, labelling(corpus, name="other", annotations=corpus.ref))


def test_sql_diff_and_report_know_annotations(store, corpus_of, server):
    corpus = corpus_of("good", "refusal")
    made = annotate(store, recipe(corpus, server))
    listed = query(store, "SELECT rows, kind FROM manifests WHERE manifest = $1", [made.id]).to_pylist()
    assert listed == [{"rows": 2, "kind": "annotations"}]
    again = annotate(store, recipe(corpus, server, name="cut", where="doc_id IS NOT NULL"))
    assert len(diff(store, made.id, again.id)) == 0
    written = Path(report(store, [made.id])).read_text()
    assert "What was asked" in written and "refusal" in written
    with pytest.raises(UserError, match="cannot be rebuilt"):
        build_again(store, made, Store(Path(store.root).with_name("scratch")), 1)


# -- vLLM ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def toy_model(tmp_path_factory) -> Path:
    """A Llama of random weights with the quickstart's tokenizer and a chat template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder, tokenizer = tmp_path_factory.mktemp("toy"), octo.ROOT / "recipes" / "quickstart" / "tokenizer"
    torch.manual_seed(1)
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=768, num_key_value_heads=2, max_position_embeddings=2048, **shape)
    LlamaForCausalLM(config).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes((tokenizer / "tokenizer.json").read_bytes())
    known = json.loads((tokenizer / "tokenizer_config.json").read_text())
    known["chat_template"] = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    (folder / "tokenizer_config.json").write_text(json.dumps(known))
    return folder


def own_vllm(model: Path, **more) -> dict:
    return {"asking": {"engine": "vllm", "url": None, "model_path": str(model), "max_context": 1024} | more}


def children() -> set[str]:
    """Processes below this one."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@pytest.mark.engine
def test_vllm_is_started_asked_and_ended(store, corpus_of, server, toy_model, monkeypatch):
    pytest.importorskip("vllm")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    corpus, before = corpus_of(*["good"] * 5), children()
    asked = recipe(corpus, server, prompt="Judge: {text}", max_tokens=8, max_chars=200, **own_vllm(toy_model))
    made = annotate(store, asked)
    rows = made.read("annotations").to_pylist()
    assert len(rows) == 5 and {row["verdict"] for row in rows} <= {"truncated", "no_score"}
    assert all(row["prompt_tokens"] > 20 and 1 <= row["completion_tokens"] <= 8 for row in rows)
    assert made.recipe["model"] == "toy" and "server" not in made.recipe and children() == before


@pytest.mark.engine
def test_vllm_does_not_outlive_a_run_that_is_killed(store, corpus_of, server, toy_model, monkeypatch, tmp_path):
    """Neither its server nor the engine that this starts."""
    pytest.importorskip("vllm")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    asked = recipe(corpus_of(*["good"] * 200), server, max_tokens=500, max_chars=200, **own_vllm(toy_model))
    (tmp_path / "recipe.yaml").write_text(asked.model_dump_json())
    process = run_octo(store, tmp_path / "recipe.yaml")
    try:
        wait_for(lambda: process.poll() is not None or is_up(below(process.pid)))
    finally:
        started = below(process.pid)
        process.kill()
    assert process.wait() == -signal.SIGKILL and len(started) > 1
    wait_for(lambda: not any(Path(f"/proc/{one}").exists() for one in started))


def is_up(pids: set[str]) -> bool:
    """Whether one of these processes is a vLLM that answers."""
    for one in pids:
        with contextlib.suppress(FileNotFoundError, httpx.HTTPError):  # it has ended, or is not that far
            words = Path(f"/proc/{one}/cmdline").read_text().split("\0")
            if "--port" in words:
                return httpx.get(f"http://127.0.0.1:{words[words.index('--port') + 1]}/health").status_code == 200
    return False


def below(pid: int) -> set[str]:
    """Processes below `pid`, at any depth."""
    found, ahead = set(), [str(pid)]
    for one in ahead:
        path = Path(f"/proc/{one}/task/{one}/children")
        ahead += path.read_text().split() if path.exists() else []
        found.add(one)
    return found - {str(pid)}


def wait_for(holds) -> None:
    end = time.monotonic() + 400
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def fake_vllm(tmp_path, monkeypatch):
    """A package called vllm whose server is that of `endpoint.py`, with a child as vLLM has its engine."""
    package = tmp_path / "fake" / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    for folder in (package, package.parent, package.parent.parent):
        (folder / "__init__.py").touch()
    (package / "api_server.py").write_text(FAKE_VLLM.format(tests=str(HERE)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
    monkeypatch.syspath_prepend(tmp_path / "fake")


FAKE_VLLM = """
import subprocess, sys
sys.path.insert(0, {tests!r})
import endpoint, uvicorn
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
if options["--model"] == "dead":
    raise SystemExit("no such model")
print("engine", subprocess.Popen(["sleep", "600"]).pid, flush=True)
endpoint.app.get("/health")(lambda: dict())
endpoint.settings.update(dict(delay=0.1) | (dict(dies_after=6) if options["--model"] == "dying" else dict()))
uvicorn.run(endpoint.app, port=int(options["--port"]), log_level="error")
"""


def served(corpus: Manifest, server: Server, model: str, **more) -> AnnotateRecipe:
    return recipe(corpus, server, asking={"engine": "vllm", "url": None, "model_path": model, "concurrency": 2} | more)


def logs(store: Store) -> str:
    return "".join(path.read_text() for path in Path(store.root).rglob("vllm.log"))


@pytest.mark.usefixtures("fake_vllm")
def test_a_server_of_our_own_is_started_asked_and_ended(store, corpus_of, server):
    before = children()
    made = annotate(store, served(corpus_of(*["good"] * 5), server, "toy"))
    assert set(made.read("annotations")["verdict"].to_pylist()) == {"ok"} and server.log() == []
    assert children() == before and "server" not in made.recipe


@pytest.mark.usefixtures("fake_vllm")
@pytest.mark.parametrize(
    ("model", "said"),
    [("dead", "ended with status 1 before it was ready; 0 of 30"), ("dying", "ended with status 1; 6 of 30")],
)
def test_a_server_of_our_own_that_ends_is_told_and_leaves_nothing(store, corpus_of, server, model, said):
    before = children()
    with pytest.raises(UserError, match=said):
        annotate(store, served(corpus_of(*["good"] * 30), server, model))
    assert children() == before
    engines = re.findall(r"engine (\d+)", logs(store))
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in engines))
    assert model == "dying" or "no such model" in logs(store)


@pytest.mark.usefixtures("fake_vllm")
def test_a_server_of_our_own_ends_with_a_run_that_is_killed(store, corpus_of, server, tmp_path, monkeypatch):
    asked = served(corpus_of(*["good"] * 200), server, "toy")
    (tmp_path / "recipe.yaml").write_text(asked.model_dump_json())
    command = [sys.executable, "-m", "octo", "annotate", str(tmp_path / "recipe.yaml"), "--store", store.root]
    path = f"{octo.ROOT}{os.pathsep}{os.environ['PYTHONPATH']}"
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}, stderr=subprocess.DEVNULL)
    wait_for(lambda: process.poll() is not None or is_up(below(process.pid)))
    (started,) = [pid for pid in below(process.pid) if "vllm" in Path(f"/proc/{pid}/cmdline").read_text()]
    process.kill()
    assert process.wait() == -signal.SIGKILL
    wait_for(lambda: not Path(f"/proc/{started}").exists())


@pytest.mark.engine
def test_a_vllm_that_cannot_start_ends_in_one_line(store, corpus_of, server, tmp_path):
    pytest.importorskip("vllm")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"vLLM \(log: .*0 of 1 documents") as raised:
        annotate(store, recipe(corpus_of("good"), server, **own_vllm(tmp_path / "empty")))
    (folder,) = re.findall(r"log: ([^)]*)\)", str(raised.value))
    assert any(path.suffix == ".log" and path.stat().st_size for path in Path(folder).iterdir())


def test_without_vllm_that_is_said(store, corpus_of, server, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"engine: vllm needs vllm, which is not installed.*octothinker\[vllm\].*engine: endpoint"
    ):
        annotate(store, recipe(corpus_of("good"), server, **own_vllm(Path("nowhere"))))

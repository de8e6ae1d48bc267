"""The whole walk on a CPU: raw documents to a trained, rewarded, evaluated model, each step launched from an ID.

Tiny sizes: this shows that the floors fit together and that what one floor writes the next one reads. That the model
learns is shown by `make quickstart`.
"""

import json
import shlex
import shutil
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner

import octo
from manifests import catalog
from manifests.errors import UserError
from manifests.manifest import Manifest, check_launch, resolve, verify
from manifests.recipe import load, parse
from manifests.runs import load_run, load_runs
from manifests.store import Store
from octo.commands.quickstart import ACHIEVED, model_of
from octo.rebuild import build_again

RECIPES = Path(octo.__file__).parents[1] / "recipes" / "quickstart"
SMALL = {
    "corpus": ["sample.documents=400"],
    "stable": ["budget={steps: 4, batch: 4}", "components.0.max_epochs=50"],
    "decay": ["budget={steps: 3, batch: 4}"],
    "prompts": [],
    "train-stable": [
        "batch_sequences=4",
        "model.hidden_size=32",
        "model.intermediate_size=64",
        "schedule.warmup_steps=1",
    ],
    "train-decay": ["batch_sequences=4"],
    "rl": ["steps=2", "prompts_per_step=4", "group_size=2", "max_new_tokens=8", "grading_workers=1"],
    "eval": ["limit=4", "max_new_tokens=8", "samples=2", "grading_workers=1"],
}


def recipe(name: str, model: type, *more: str):
    return load(RECIPES / f"{name}.yaml", model, [*SMALL[name], *more])


@pytest.fixture(scope="module")
def walk(tmp_path_factory) -> dict:
    from curation.config import CurateRecipe
    from curation.pipeline import curate
    from evaluation.config import EvalRecipe
    from evaluation.scores import evaluate
    from mixtures.config import MixRecipe
    from mixtures.mix import mix
    from rl.config import RLRecipe
    from rl.launch import reinforce
    from training.config import TrainRecipe
    from training.launch import train

    store = Store(tmp_path_factory.mktemp("walk") / "store")

    def go() -> dict:
        made: dict = {"corpus": curate(store, recipe("corpus", CurateRecipe))}
        held_out = [resolve(store, parent) for parent in made["corpus"].parents]
        made |= {name: mix(store, recipe(name, MixRecipe)) for name in ("stable", "decay", "prompts")}
        made["first"] = train(store, made["stable"], recipe("train-stable", TrainRecipe))
        made["base"] = train(store, made["decay"], recipe("train-decay", TrainRecipe), parent=made["first"])
        made["zero"] = reinforce(store, made["prompts"], recipe("rl", RLRecipe), parent=made["base"])
        folder = model_of(made["zero"])
        made["eval"] = evaluate(store, folder, held_out, recipe("eval", EvalRecipe), parent=made["zero"])
        return made

    return {"store": store, "again": go, **go()}


def test_walked_twice_the_work_is_found_done_with_the_same_ids(walk):
    before = set(walk["store"].list(""))
    again = walk["again"]()
    assert {name: made.id for name, made in again.items()} == {name: walk[name].id for name in again}
    assert set(walk["store"].list("")) == before


def test_every_manifest_verifies_and_a_flipped_byte_stops_a_launch(walk):
    from training.config import TrainRecipe
    from training.launch import train

    store = walk["store"]
    for name in ("corpus", "stable", "decay", "prompts"):
        assert verify(store, walk[name]) == []
    path = Path(store.full(walk["stable"].files("tokens")[0].path))
    sound = path.read_bytes()
    path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    try:
        with pytest.raises(UserError, match=r"its ID mixture-.* names.*checksum differs"):
            train(store, walk["stable"], recipe("train-stable", TrainRecipe, "seed=99"))
    finally:
        path.write_bytes(sound)
    check_launch(store, walk["stable"])


def test_the_funnel_balances_for_every_source(walk):
    sql = """
    SELECT source, sum(documents) FILTER (outcome = 'in') = sum(documents) FILTER (outcome <> 'in') AS documents,
           sum(tokens) FILTER (outcome = 'in') = sum(tokens) FILTER (outcome <> 'in') AS tokens
    FROM funnel GROUP BY source
    """
    rows = catalog.query(walk["store"], sql).to_pylist()
    assert {row["source"] for row in rows} == {"web", "general", "qa", "long_cot", "rl"}
    assert all(row["documents"] and row["tokens"] for row in rows)


@pytest.mark.parametrize(("mixture", "run"), [("stable", "first"), ("decay", "base")])
def test_what_was_consumed_is_what_was_planned(walk, mixture, run):
    rows = catalog.query(walk["store"], ACHIEVED, [walk[mixture].id, walk[run].id]).to_pylist()
    assert rows
    assert all(row["planned"] == row["achieved"] for row in rows)


def test_a_step_leads_back_to_its_documents(walk):
    from training.consumed import trace

    spans = trace(walk["store"], walk["first"], 1).to_pylist()
    consumed = catalog.query(
        walk["store"],
        "SELECT sum(tokens)::BIGINT AS n FROM consumption WHERE run = $1 AND step = 1",
        [walk["first"].id],
    )
    assert sum(span["length"] for span in spans) == consumed["n"][0].as_py()
    known = catalog.query(walk["store"], "SELECT doc_id FROM documents WHERE drop_reason IS NULL")["doc_id"].to_pylist()
    assert {span["doc_id"] for span in spans} <= set(known)


def test_every_response_of_rl_is_a_row_that_leads_back_to_its_document(walk):
    sql = """
    SELECT count(*) AS n, count(d.doc_id) AS known,
           count(*) FILTER (verdict IN ('CORRECT', 'INCORRECT', 'UNPARSED')) AS ruled
    FROM rollouts r LEFT JOIN documents d ON d.doc_id = r.doc_id WHERE run = $1
    """
    assert catalog.query(walk["store"], sql, [walk["zero"].id]).to_pylist() == [{"n": 16, "known": 16, "ruled": 16}]


def test_a_checkpoint_opens_with_transformers(walk):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = model_of(walk["zero"])
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert model(**tokenizer("Question:\n1+1\nAnswer:\n", return_tensors="pt")).logits.shape[0] == 1


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("curate {recipes}/corpus.yaml sample.documents=400 --plan", "freeze"),
        ("curate {recipes}/corpus.yaml sample.documents=400", "{corpus}"),
        (
            "curate {recipes}/corpus.yaml sample.documents=400 quality.min_words=30 --refilter quickstart@1 --plan",
            "quality.min_words 20 → 30",
        ),
        ("mix {recipes}/stable.yaml 'budget={{steps: 4, batch: 4}}' components.0.max_epochs=50 --plan", "long_cot"),
        ("train quickstart-decay@1 {recipes}/train-decay.yaml batch_sequences=4 --from {first} --plan", "cosine|decay"),
        ("train quickstart-decay@1 {recipes}/train-decay.yaml batch_sequences=4 --from {first}", "{base}"),
        ("rl quickstart-prompts@1 {recipes}/rl.yaml --from {base} --plan", "{base}"),
        ("eval {zero} {recipes}/eval.yaml --benchmark arithmetic@1 limit=4 max_new_tokens=8 samples=2", "{eval}"),
        ("eval {zero} {recipes}/eval.yaml --benchmark arithmetic@1 --plan", "arithmetic@1"),
        ("trace {first} --step 2", "doc_id"),
        ("trace quickstart-stable@1 --sequence 3 --json", "doc_id"),
        ("near 'What is 3 + 4?' --manifest quickstart@1 --threshold 0.01", "Near-duplicates"),
        ("manifest list", "quickstart@1"),
        ("manifest show {corpus}", "signatures"),
        ("manifest funnel quickstart@1 --json", "quarantined"),
        ("manifest diff quickstart-stable@1 quickstart-decay@1", "general"),
        ("manifest lineage {eval}", "started from"),
        ("manifest verify quickstart-prompts@1", "every checksum and the digest agree"),
        ("manifest rebuild quickstart-prompts@1", "identical"),
        ("manifest tag quickstart@1 again@7", "{corpus}"),
        ("manifest gc --plan", ""),
        ("runs list", "{zero}"),
        ("runs show {zero}", "achieved|reward"),
        ("report quickstart@1 {zero}", ".html"),
        ("why {doc_id}", "quickstart|n_tokens"),
        ("why {doc_id} --json", "{first}|{base}"),
        ("trace {base} --step 1 --rank 0 --text", "url"),
    ],
)
def test_every_verb_runs_on_the_walk(walk, command, says):
    doc_id = catalog.query(walk["store"], "SELECT doc_id FROM members ORDER BY ALL LIMIT 1")["doc_id"][0].as_py()
    made = {name: thing.id for name, thing in walk.items() if hasattr(thing, "id")} | {"doc_id": doc_id}
    arguments = shlex.split(command.format(recipes=RECIPES, **made))
    done = CliRunner().invoke(octo.app, [*arguments, "--store", walk["store"].url], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert any(option in done.output for option in says.format(**made).split("|"))


def test_lineage_joins_a_score_to_the_corpus(walk):
    edges = catalog.lineage(walk["store"], walk["eval"].id).to_pylist()
    assert {walk[name].id for name in ("corpus", "stable", "decay", "first", "base", "zero")} <= {
        edge["parent"] for edge in edges
    }


def test_the_report_tells_the_whole_walk(walk):
    from octo.report.write import report

    names = ("corpus", "stable", "decay", "prompts", "first", "base", "zero", "eval")
    page = Path(report(walk["store"], [walk[name].id for name in names])).read_text(encoding="utf-8")
    assert all(walk[name].id in page for name in names)


def test_the_ui_steps_through_runs_and_mixtures(walk):
    from starlette.testclient import TestClient

    from octo.web.server import application

    app = TestClient(application(walk["store"]), base_url="http://127.0.0.1")
    base, stable = walk["base"].id, walk["stable"].id
    step = app.get(f"/runs/{base}/steps/1?text=1").text
    document = step.split('href="/documents/')[1][:32]
    assert "step 1 of 3" in step and "boxed" in step and f"/runs/{base}/steps/2" in step
    assert app.get(f"/runs/{base}/steps?step=3").url.path == f"/runs/{base}/steps/3"
    assert "has no step 4" in app.get(f"/runs/{base}/steps/4").text
    assert f"/runs/{base}/steps/1" in app.get(f"/documents/{document}").text
    assert "Responses, prompt by prompt" in app.get(f"/runs/{walk['zero'].id}/steps/2").text
    assert "sequence 15 of 0 to 15" in app.get(f"/mixtures/{stable}/sequences/15").text
    assert "has no sequence 16" in app.get(f"/mixtures/{stable}/sequences/16").text


def test_manifests_can_be_built_again_from_their_records(walk, tmp_path):
    for name in ("corpus", "stable", "prompts"):
        again = build_again(walk["store"], walk[name], Store(tmp_path / name), workers=1)
        assert again.id == walk[name].id


def test_scores_are_sql(walk):
    sql = "SELECT metric, value, n FROM scores WHERE run = $1"
    rows = catalog.query(walk["store"], sql, [walk["eval"].id]).to_pylist()
    assert {"accuracy", "reward", "errors"} <= {row["metric"] for row in rows}
    assert json.loads(json.dumps(rows)) == rows


def test_the_worked_queries_of_the_reference_find_what_they_ask_for(walk):
    from octo.sql_reference import QUERIES

    # nothing of the sample is read in spite of its drop reason, or both in training and in RL; two steps teach little;
    # no language model is asked
    may_be_empty = ("How many answers of a language model are usable",
                    "Does a mixture contain documents that its corpus dropped", "Was any RL prompt also read",
                    "How do bits per byte on held-out documents develop",
                    "Which steps have an unusually high loss", "Which prompts are always or never solved")  # fmt: skip
    found = {question: catalog.query(walk["store"], sql).num_rows for question, sql in QUERIES.items()}
    assert len(found) >= 20
    assert not [question for question, rows in found.items() if not rows and not question.startswith(may_be_empty)]


# -- difficulty ----------------------------------------------------------------------------------------------------


def test_prompts_are_chosen_by_how_often_a_model_solves_them(walk, tmp_path):
    """Measured twice, the second time after half of it was lost: the same manifest, and a column of `where`."""
    from mixtures.config import MixRecipe
    from mixtures.mix import mix
    from rl.pass_rate import PassRateRecipe, pass_rates

    shutil.copytree(walk["store"].root, tmp_path / "store")
    store = Store(tmp_path / "store")
    base, prompts = load_run(store, walk["base"].id), resolve(store, walk["prompts"].id)
    settings = {"samples": 3, "max_new_tokens": 8, "batch_prompts": 10, "grading_workers": 1}
    measured = pass_rates(store, prompts, parse({"name": "rates", **settings}, PassRateRecipe, "-"), base)
    rows, [run] = measured.read("pass_rates").to_pylist(), [r for r in load_runs(store) if r["kind"] == "pass-rate"]
    responses = load_run(store, run["id"]).table("rollouts").to_pylist()
    assert [row["prompt_id"] for row in rows] == prompts.read("prompts")["prompt_id"].to_pylist()
    for row in rows:
        mine = [one for one in responses if one["prompt_id"] == row["prompt_id"]]
        assert len(mine) == row["responses"] == 3
        assert row["correct"] == sum(one["verdict"] == "CORRECT" for one in mine) == 3 * row["pass_rate"]

    parts = sorted((tmp_path / "store" / "runs" / run["id"] / "rollouts.parquet").iterdir())
    assert len(parts) > 1
    parts[-1].unlink()
    (tmp_path / "store" / "runs" / run["id"] / "run.json").write_text(json.dumps(run | {"status": "running"}))
    (tmp_path / "store" / "manifests" / "rates" / "1.json").unlink()
    again = pass_rates(store, prompts, parse({"name": "rates", "version": 2, **settings}, PassRateRecipe, "-"), base)
    assert (again.id, again.version) == (measured.id, "2")

    def chosen(where: str, **more: str) -> Manifest:
        component = {"name": "rl", "manifest": walk["corpus"].id, "where": where, **more}
        name = f"chosen-{uuid4().hex}"
        return mix(store, parse({"name": name, "kind": "prompts", "components": [component]}, MixRecipe, "-"))

    unsolved = chosen("pass_rate = 0", pass_rates="rates@2")
    hard = {row["doc_id"] for row in rows if row["pass_rate"] == 0}
    assert set(unsolved.read("prompts")["doc_id"].to_pylist()) == hard and len(hard) > 0
    assert measured.id in unsolved.parents
    with pytest.raises(UserError, match="pass_rate"):
        chosen("pass_rate = 1")
    with pytest.raises(UserError, match="is a corpus, not a manifest of pass rates"):
        chosen("pass_rate = 1", pass_rates=walk["corpus"].id)


def test_every_verb_gives_one_json_value_of_its_shape(walk, tmp_path):
    """Work is found done here, so that this costs what printing costs."""
    store, ids = walk["store"], {name: made.id for name, made in walk.items() if hasattr(made, "id")}
    manifest, run = {"id", "kind", "name", "version", "digest"}, {"id", "kind", "status"}

    def asked(*words: str, recipe: str = "", more: tuple[str, ...] = ()) -> object:
        given = [str(RECIPES / f"{recipe}.yaml"), *SMALL[recipe]] if recipe else []
        done = CliRunner().invoke(octo.app, [*words, *given, *more, "--json", "--store", store.url])
        assert done.exit_code == 0, (words, done.output)
        assert done.stdout.count("\n") == 1
        return json.loads(done.stdout)

    corpus = asked("curate", recipe="corpus")
    assert corpus["id"] == ids["corpus"] and corpus.keys() == manifest | {"funnel"} and corpus["funnel"]
    assert asked("curate", recipe="corpus", more=("--plan",))["plan"]
    (mixture,) = asked("mix", recipe="stable")
    assert mixture["id"] == ids["stable"] and mixture.keys() == manifest | {"plan"}
    first = asked("train", ids["stable"], recipe="train-stable")
    assert (first["id"], first["status"]) == (ids["first"], "done") and first.keys() == run | {"summary"}
    zero = asked("rl", ids["prompts"], recipe="rl", more=("--from", ids["base"]))
    assert zero["id"] == ids["zero"] and zero.keys() == run | {"summary"}
    assert asked("rl", ids["prompts"], recipe="rl", more=("--from", ids["base"], "--plan"))["plan"]
    scores = asked("eval", ids["zero"], recipe="eval", more=("--benchmark", "arithmetic@1"))
    assert scores["id"] == ids["eval"] and scores.keys() == run | {"scores"}
    assert asked("manifest", "verify", ids["corpus"])["problems"] == []
    assert asked("manifest", "tag", ids["corpus"], "again@1").keys() == manifest
    assert asked("manifest", "gc", "--plan", "--older-than-hours", "0").keys() == {"plan"}
    assert Path(asked("report", ids["prompts"], "--output", str(tmp_path / "a.html"))["path"]).is_file()
    assert Path(asked("manifest", "export", ids["prompts"], "--to", str(tmp_path / "folder"))["path"]).is_dir()
    copied = asked("publish", ids["prompts"], str(tmp_path / "other"))
    assert copied["id"] == ids["prompts"] and copied.keys() == manifest | {"copied"}
    for rows in (("runs", "list"), ("manifest", "list"), ("manifest", "lineage", ids["stable"])):
        assert isinstance(asked(*rows), list)

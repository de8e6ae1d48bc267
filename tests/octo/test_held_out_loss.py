"""Held-out loss as a user meets it: plans, `octo eval --loss`, `octo runs compare`, reports, and refusals."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

import octo
from curation.measures.vocabulary import Vocabulary
from manifests import tables
from manifests.catalog import Catalog
from manifests.manifest import Draft, resolve
from manifests.recipe import parse
from manifests.runs import load_run
from manifests.store import Store
from mixtures.config import MixRecipe
from mixtures.mix import mix
from octo.report.write import report
from training.config import TrainRecipe
from training.launch import train

TOKENIZER = Path(octo.__file__).parents[1] / "recipes" / "quickstart" / "tokenizer"
SHAPE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
SHAPE |= {"max_position_embeddings": 64}
MIXTURE = {
    "name": "held",
    "components": [{"name": "all", "manifest": "toy@1", "max_epochs": 9}],
    "budget": {"sequences": 24},
    "sequence_length": 32,
    "tokenizer": str(TOKENIZER),
    "hold_out": {"share": 0.2},
}


def commit(store: Store) -> None:
    """A corpus of pages and problems, and a benchmark of which one item has a worked solution."""
    vocabulary, rows = Vocabulary.load(TOKENIZER), []
    for n in range(60):
        row = {"doc_id": f"{n:032x}", "source": "pages" if n % 3 else "sums", "role": "web" if n % 3 else "qa"}
        row |= {"text": f"Page {n}. " + " ".join(str(n + i) for i in range(n % 9 + 3)), "text_digest": row["doc_id"]}
        rows.append(row)
    rows.sort(key=lambda row: (row["source"], row["doc_id"]))
    for row, count in zip(rows, vocabulary.count([row["text"] for row in rows]).tolist(), strict=True):
        row |= {"n_chars": len(row["text"]), "n_tokens": count}
    draft = Draft(store, "corpus", {"tokenizer": vocabulary.digest})
    for family, spec in (("documents", tables.DOCUMENTS), ("texts", tables.TEXTS)):
        draft.write(family, [pa.Table.from_pylist(rows, schema=spec.schema)], spec.schema)
    draft.commit("toy", "1")
    items = [{"item_id": str(n), "benchmark": "sums", "split": "test", "question": f"{n} + 1?", "answer": str(n + 1)}
             for n in range(3)]  # fmt: skip
    items[0]["solution"] = "0 and 1 make 1."
    draft = Draft(store, "benchmark", {"name": "sums"})
    draft.write("items", [pa.Table.from_pylist(items, schema=tables.ITEMS.schema)], tables.ITEMS.schema)
    draft.commit("sums", "1")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> tuple[Path, list[str]]:
    """A store with two runs on `held@1` that differ in their seed, the first measured on the way."""
    folder = tmp_path_factory.mktemp("held")
    store = Store(folder / "store")
    commit(store)
    mixture, runs = mix(store, parse(MIXTURE, MixRecipe, "recipe")), []
    mix(store, parse(MIXTURE | {"name": "plain", "hold_out": None}, MixRecipe, "recipe"))
    for seed, validation in ((0, {"loss": ["hold_out", "sums@1"], "every": 2}), (1, {"loss": ["hold_out"]})):
        plain = {"stage": "stable", "model": SHAPE, "optimizer": {"lr": 0.01}, "batch_sequences": 4, "seed": seed}
        runs.append(train(store, mixture, parse(plain | {"validation": validation}, TrainRecipe, "recipe")).id)
    return folder / "store", runs


def said(store: Path, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(octo.app, [*arguments, "--store", str(store)])
    return done.exit_code, done.stdout + (str(done.exception) if done.exception else "")


def test_a_plan_shows_what_is_set_aside(home, tmp_path):
    store, _ = home
    (tmp_path / "held.yaml").write_text(json.dumps(MIXTURE))
    status, text = said(store, "mix", str(tmp_path / "held.yaml"), "--plan", "--json")
    [planned] = json.loads(text)
    assert status == 0 and {row["source"] for row in planned["held_out"]} == {"pages", "sums"}
    status, text = said(store, "mix", str(tmp_path / "held.yaml"), "--plan")
    assert status == 0 and "Set aside by hold_out" in text
    status, text = said(store, "manifest", "show", "held@1")
    aside = sum(row["measured"] for row in planned["held_out"])
    assert f'"held_out_documents": {aside}' in text and "held_out" in text


def test_eval_loss_gives_rows_by_slice_and_names_the_run_last(home):
    store, (run, _) = home
    names = ["--loss", "hold_out", "--loss", "toy@1", "--loss", "sums@1"]
    status, text = said(store, "eval", run, *names, "--json")
    found = json.loads(text.splitlines()[-1])
    assert status == 0 and found["kind"] == "eval" and found["status"] == "done"
    slices = {(row["texts"], row["slice"], row["name"]) for row in found["losses_held_out"]}
    assert {("held_out", "all", "all"), ("documents", "source", "sums"), ("documents", "role", "web")} < slices
    assert ("solutions", "benchmark", "sums") in slices
    status, text = said(store, "eval", run, *names)
    assert status == 0 and text.strip().splitlines()[-1] == found["id"]
    status, text = said(store, "eval", run, "max_documents=2", "--loss", "toy@1", "--json")
    [row] = [row for row in json.loads(text.splitlines()[-1])["losses_held_out"] if row["slice"] == "all"]
    assert row["n_documents"] == 2
    status, text = said(store, "eval", run, "--loss", "toy@1", "--plan", "--json")
    assert json.loads(text)["plan"][0]["documents"] == 60


def test_why_names_the_mixtures_that_hold_a_document_out(home):
    store, _ = home
    made = resolve(Store(store), "held@1")
    doc_id = made.read("held_out")["doc_id"][0].as_py()
    status, text = said(store, "why", doc_id, "--json")
    [row] = json.loads(text)["held_out"]
    assert status == 0 and (row["held_out_of"], row["name"], row["measured"]) == (made.id, "held@1", True)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--loss", "nobody@1"], "no manifest nobody@1"),
        (["--loss", "plain@1"], "plain@1 holds no document out"),
        (["--loss", "held@1", "--loss", "hold_out"], "two names mean the same texts"),
        (["--loss", "held@1", "--checkpoints", "3"], "has no checkpoint 3"),
        (["--loss", "held@1", "--checkpoints", "none"], "has no checkpoint none"),
        (["--loss", "held@1", "--suite", "octothinker"], "--loss and --suite do not go together"),
        (["max_docs=3", "--loss", "held@1"], "unknown field `max_docs`"),
        (["max_documents=0", "--loss", "held@1"], "max_documents"),
    ],
)
def test_bad_input_is_one_line(home, arguments, line):
    store, (run, _) = home
    status, text = said(store, "eval", run, *arguments)
    assert status != 0 and line in text
    assert "Traceback" not in text


def test_a_model_with_another_tokenizer_is_one_line(home, tmp_path):
    store, (run, _) = home
    folder = Path(shutil.copytree(load_run(Store(store), run).checkpoint(6), tmp_path / "model"))
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    size = 10**6
    words = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {word: n if n < 20 else size + n for word, n in words.items()}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    status, text = said(store, "eval", str(folder), "--loss", "held@1")
    assert status != 0 and "the tokenizer beside the model gives token" in text


def test_compare_shows_final_bits_per_byte_of_training_runs(home):
    store, (first, second) = home
    status, text = said(store, "runs", "compare", first, second, "--json")
    rows = json.loads(text)["bits_per_byte"]
    assert status == 0 and {row["texts"] for row in rows} == {"held_out"}
    [row] = [row for row in rows if row["slice"] == "all"]
    with Catalog(Store(store)) as catalog:
        sql = "SELECT run, bits_per_byte AS b FROM losses_held_out WHERE slice = 'all' AND step = 6 AND run = model"
        known = {one["run"]: one["b"] for one in catalog.query(f"{sql} AND texts = 'held_out'").to_pylist()}
    assert (row["first"], row["second"]) == (known[first], known[second]) and row["first_step"] == 6
    assert row["difference"] == known[second] - known[first] != 0
    status, text = said(store, "runs", "compare", first, second)
    assert status == 0 and "held-out bits per byte" in text


def test_reports_show_the_curve_and_the_table(home, tmp_path):
    store, (run, _) = home
    page = report(Store(store), [run], tmp_path / "run.html").read_text()
    assert "Held-out loss" in page and "Loss on documents held out of held@1" in page and "Bits per byte" in page
    assert "solutions of sums@1" in page
    page = report(Store(store), ["held@1"], tmp_path / "mixture.html").read_text()
    assert "Held out" in page
    made = resolve(Store(store), "held@1")
    assert made.counts["held_out_documents"] > 0
    _, text = said(store, "eval", run, "--loss", "held@1")
    page = report(Store(store), [text.strip().splitlines()[-1]], tmp_path / "eval.html").read_text()
    assert "Loss on texts that are not trained on" in page

"""A classifier: what it is shown, that it is the same every time, and that its scores are those of its bytes."""

import json
import random
import shutil
import struct
import sys
from pathlib import Path

import fasttext
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.classifiers import default, fit
from curation.classifiers.config import ClassifierRecipe
from curation.config import CurateRecipe, ScoreRecipe
from curation.execution.steps import Batch, Score
from curation.measures.classifier import DEFAULT, DEFAULT_SHA256, LONGEST, Classifier, model_path, prepare
from curation.pipeline import curate, plan
from curation.sample.write import write_sample
from manifests.catalog import diff, lineage, query
from manifests.errors import UserError
from manifests.manifest import Manifest, verify
from manifests.recipe import parse
from manifests.store import Store, file_sha256
from octo.report.write import report

SMALL = {"dimensions": 8, "buckets": 10_000, "learning_rate": 0.5, "epochs": 5, "min_count": 1, "held_out": 0.3}


def recipe(corpus: Manifest, **changes) -> ClassifierRecipe:
    """Web pages against general ones."""
    labels = {"positive": "source = 'web' AND drop_reason IS NULL", "negative": "source = 'general'"}
    plain = {"name": "math", "corpus": corpus.id, "domain": "doc_id"} | labels | SMALL
    return parse(plain | changes, ClassifierRecipe, "test")


@pytest.fixture(scope="module")
def made(store, corpus) -> Manifest:
    return fit.train(store, recipe(corpus))


# -- preparation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The SUM of\ntwo Numbers", "the sum of two numbers"),
        ("3.5 and 1,024", "0 0 and 0 000"),
        (r"\frac{a}{b}+x_2", "frac a b x 0"),
        ("don't\tstop\x00now\r\n", "don t stop now"),
        ("</s> __label__positive", "s label positive"),
        ("naïve Σ 数学", "naïve Σ 数学"),
        ("a" * LONGEST, "a" * LONGEST),
        ("before " + "a" * (LONGEST + 1) + " after", "before after"),
        ("x" * (LONGEST + 1), ""),
        ("", ""),
    ],
)
def test_what_the_classifier_is_shown(text, words):
    (line,) = prepare(pa.array([text]))
    assert line.endswith(b"\n") and b"\n" not in line[:-1]
    assert " ".join(line.decode().split()) == words


PIECES = ("a", "B", "9", "Σ", " ", "\n", "-", "a" * LONGEST, "b" * (LONGEST + 1))


def words(text: str) -> list[str]:
    """The slow way, for texts of PIECES."""
    plain = "".join({"B": "b", "9": "0", "-": " "}.get(character, character) for character in text)
    return [word for word in plain.split() if len(word.encode()) <= LONGEST]


@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), max_size=6))
def test_a_text_is_prepared_alike_alone_and_among_others(texts):
    together = prepare(pa.array(texts, pa.string()))
    assert [line.decode().split() for line in together] == [words(text) for text in texts]
    assert together == [prepare(pa.array([text]))[0] for text in texts]
    assert prepare(pa.array(["left out", *texts], pa.string())[1:]) == together


# -- training --------------------------------------------------------------------------------------------------------


def test_equal_corpus_and_recipe_give_equal_bytes(made, corpus, tmp_path):
    again = Store(tmp_path / "again")
    shutil.copytree(Path(corpus.store.url), tmp_path / "again", dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "again" / "manifests" / "math")
    other = fit.train(again, recipe(corpus))
    assert other.id == made.id
    assert model_path(other).read_bytes() == model_path(made).read_bytes()
    for family in ("labels", "thresholds", "features"):
        assert other.read(family).equals(made.read(family))


def test_a_seed_or_a_setting_makes_another_model(store, corpus, made):
    for number, change in enumerate(({"seed": 2}, {"epochs": 4}, {"per_label": 50})):
        other = fit.train(store, recipe(corpus, version=f"other{number}", **change))
        assert other.id != made.id and model_path(other) != model_path(made)
        assert diff(store, made.id, other.id).num_rows
    assert fit.train(store, recipe(corpus, name="renamed")).id == made.id


def test_the_split_holds_whole_domains_out(store, corpus):
    spread = "(n_chars % 40)::VARCHAR"
    found = fit.labelled(store, corpus, recipe(corpus, domain=spread))
    assert 0 < found.held_out.sum() < len(found.rows)
    sides = [set(found.rows["domain"].filter(pa.array(side)).to_pylist()) for side in (found.held_out, ~found.held_out)]
    assert not sides[0] & sides[1]
    again = fit.labelled(store, corpus, recipe(corpus, domain=spread, learning_rate=1.0))
    assert again.rows.equals(found.rows)
    capped = fit.labelled(store, corpus, recipe(corpus, per_label=60))
    assert (capped.positive.sum(), (~capped.positive).sum()) == (60, 60)


def test_the_artifact_is_sound_and_reports_what_it_does(store, corpus, made):
    assert verify(store, made) == [] and made.parents == (corpus.id,)
    labels = made.read("labels")
    assert labels["doc_id"].to_pylist() == [
        doc for _, doc in sorted(zip(*(labels[c].to_pylist() for c in ("source", "doc_id")), strict=True))
    ]
    held = labels.filter(labels["held_out"])
    assert pc.all(pc.is_valid(held["score"])).as_py() and labels["score"].null_count == len(labels) - len(held)
    texts = dict(zip(*(corpus.read("texts")[name].to_pylist() for name in ("doc_id", "text")), strict=True))
    score = Classifier.load(model_path(made), "positive").score(
        pa.array([texts[doc] for doc in held["doc_id"].to_pylist()])
    )
    assert score.tolist() == held["score"].to_pylist()
    assert made.counts["average_precision"] > 0.95
    rows = query(store, "FROM thresholds WHERE manifest = $1 ORDER BY threshold", [made.id]).to_pylist()
    assert rows[0]["recall"] == 1 and rows[0]["selected"] == len(held)
    words = query(store, "SELECT label, word FROM features WHERE manifest = $1", [made.id]).to_pylist()
    assert {"label": "positive", "word": "frac"} in words
    assert "Precision" in report(store, [made.id]).read_text()


def test_precision_and_recall_by_hand():
    score, positive = np.array([0.9, 0.8, 0.8, 0.1]), np.array([True, False, True, False])
    table = {row["threshold"]: row for row in fit.thresholds(score, positive).to_pylist()}
    assert table[0.9] == {"threshold": 0.9, "selected": 1, "precision": 1.0, "recall": 0.5}
    assert table[0.8] == {"threshold": 0.8, "selected": 3, "precision": 2 / 3, "recall": 1.0}
    assert table[1.0]["selected"] == 0 and table[1.0]["precision"] is None
    assert fit.average_precision(score, positive) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"negative": "role = 'web'", "positive": "source = 'web'"}, "satisfy both conditions"),
        ({"negative": "source = 'nowhere'"}, "no document is negative"),
        ({"domain": "'one.org'"}, "1 domains"),
        ({"positive": "nonsense > 1"}, "nonsense"),
        ({"learning_rate": 1e30}, "training the classifier failed"),
    ],
)
def test_what_a_recipe_gets_wrong_is_one_line(store, corpus, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        fit.train(store, recipe(corpus, version="wrong", **changes))
    assert "\n" not in str(caught.value)


TINY = {"minCount": 1, "dim": 8, "lr": 1.0}
"""fastText's own arguments, for a matrix so small that it comes out of reused heap, where its fault makes it NaN."""
TINY_LINES = "__label__hq a proof\n__label__lq a teapot\n__label__cc other\n" * 9


def test_memory_that_was_used_before_has_no_part_in_a_model(tmp_path):
    (tmp_path / "lines.txt").write_text(TINY_LINES)
    for number in range(4):
        fit.fit_file(tmp_path / "lines.txt", tmp_path / f"{number}.bin", TINY)
    assert len({path.read_bytes() for path in tmp_path.glob("*.bin")}) == 1


# -- scoring ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    write_sample(folder, seed=3, documents=100)
    return folder


def scored(pages: Path, tokenizer: Path, model: str, name: str = "scored", **settings) -> CurateRecipe:
    sources = [{"name": source, "path": str(pages / source), "role": source} for source in ("web", "general")]
    plain = {"name": name, "tokenizer": str(tokenizer), "sources": sources}
    return parse(plain | {"classifier": {"model": model} | settings}, CurateRecipe, "test")


def scores(corpus: Manifest) -> np.ndarray:
    return corpus.read("documents", ["math_score"])["math_score"].to_numpy()


def test_a_score_is_a_column_and_drops_nothing_by_itself(store, pages, tokenizer, made):
    corpus = curate(store, scored(pages, tokenizer, made.ref))
    texts = corpus.read("texts", ["text"])["text"].combine_chunks()
    assert scores(corpus).tolist() == Classifier.load(model_path(made), "positive").score(texts).tolist()
    assert corpus.read("documents").schema.names[-1] == "math_score"
    assert "low_score" not in corpus.read("documents")["drop_reason"].to_pylist()
    planned = plan(store, scored(pages, tokenizer, made.ref))
    assert [row.stage for row in planned if "math_score" in row.what] == ["score"]


def test_a_threshold_drops_the_roles_it_is_for_with_evidence(store, pages, tokenizer, made):
    recipe_of = scored(pages, tokenizer, made.ref, "cut", min=0.5, roles=["general"])
    documents = curate(store, recipe_of).read("documents").to_pylist()
    low = [row for row in documents if row["drop_reason"] == "low_score"]
    assert low and all(row["source"] == "general" and row["math_score"] < 0.5 for row in low)
    for row in low:
        evidence = json.loads(row["drop_evidence"])
        assert evidence == {"score": "math_score", "value": round(row["math_score"], 6), "limit": 0.5}
    spared = [row for row in documents if row["math_score"] < 0.5 and row["drop_reason"] != "low_score"]
    assert all(row["source"] == "web" for row in spared)


def test_the_model_is_in_the_identity_and_its_path_is_not(store, pages, tokenizer, made, tmp_path):
    made_by = []
    for name in ("one", "two"):
        shutil.copyfile(model_path(made), tmp_path / f"{name}.bin")
        made_by.append(curate(store, scored(pages, tokenizer, str(tmp_path / f"{name}.bin"), name)))
    assert made_by[0].id == made_by[1].id and made_by[0].parents == ()
    assert made_by[0].recipe["classifier"]["model"] == Classifier.load(model_path(made), "positive").digest


def test_a_classifier_manifest_is_a_parent_of_what_it_scored(store, corpus, pages, tokenizer, made):
    child = curate(store, scored(pages, tokenizer, made.ref))
    assert child.parents == (made.id,)
    assert curate(store, scored(pages, tokenizer, made.id, "by-id")).id == child.id
    edges = {(row["child"], row["parent"]): row["depth"] for row in lineage(store, child.id).to_pylist()}
    assert edges[child.id, made.id] == -1 and edges[made.id, corpus.id] == -2
    anew = curate(store, scored(pages, tokenizer, made.ref, "anew", min=0.5, roles=["general"]), base=child)
    assert anew.parents == (made.id,) and "low_score" in anew.read("documents")["drop_reason"].to_pylist()


# -- the model that comes with the project ---------------------------------------------------------------------------


MATHEMATICS = (
    "Let G be a finite group and H a subgroup of index 2. Then H is normal: for g not in H the cosets are H and gH.",
    "The derivative of the function f(x) = x^2 sin x is found by the product rule, and the integral by parts.",
    r"Suppose that $\sum a_n$ converges absolutely. Every rearrangement of the series converges to the same limit.",
)
OTHERS = (
    "The minister said on Tuesday that the talks would go on next week, but no date has been set for a vote.",
    "Melt the butter in a large pan, add the onions and cook for 10 minutes. Stir in the flour, then the milk.",
    "To install the server, edit the configuration file and restart the service. Each option is listed below.",
    "Free delivery on orders over $50. Choose your size and colour, add to cart and pay by card in three steps.",
)


def test_the_default_model_judges_what_it_has_not_seen():
    assert file_sha256(DEFAULT) == DEFAULT_SHA256 and DEFAULT.stat().st_size < 800_000
    found = Classifier.load(DEFAULT, "positive").score(pa.array([*MATHEMATICS, *OTHERS]))
    assert found[: len(MATHEMATICS)].min() > 0.5 > found[len(MATHEMATICS) :].max()


def test_the_default_model_is_built_from_a_folder_and_measured_on_other_sites(tmp_path, capsys, monkeypatch):
    draw = random.Random(1)
    with (tmp_path / "pages.jsonl").open("w") as file:
        for number in range(120):
            label, parts = ("positive", MATHEMATICS) if number % 2 else ("negative", OTHERS)
            text = " ".join(draw.choice(parts) for _ in range(9))
            file.write(json.dumps({"site": f"site{number // 2 % 8}{label}", "label": label, "text": text}) + "\n")
    written = [tmp_path / name for name in ("one.bin", "two.bin")]
    monkeypatch.setitem(default.ARGUMENTS, "minCount", 1)
    for path in written:
        monkeypatch.setattr(sys, "argv", ["default", str(tmp_path), "--write", str(path), "--folds", "2"])
        default.main()
    assert written[0].read_bytes() == written[1].read_bytes()
    assert "ROC-AUC on sites not seen: 1.0000 (120 pages)" in capsys.readouterr().out
    assert default.roc_auc(np.array([0.1, 0.5, 0.5, 0.9]), np.array([False, True, False, True])) == 0.875


def test_default_names_it_in_a_recipe(store, pages, tokenizer):
    found = curate(store, scored(pages, tokenizer, "default", "by-default"))
    assert found.recipe["classifier"]["model"] == DEFAULT_SHA256 and found.parents == ()
    rows = found.read("documents").to_pylist()
    assert all(row["math_score"] < 0.5 for row in rows if row["source"] == "general")


def test_a_model_trained_again_at_its_path_gives_its_own_scores(store, corpus, pages, tokenizer, made, tmp_path):
    path = tmp_path / "model.bin"
    shutil.copyfile(model_path(made), path)
    before = curate(store, scored(pages, tokenizer, str(path), "before"))
    swapped = {"positive": "source = 'general'", "negative": "source = 'web' AND drop_reason IS NULL"}
    shutil.copyfile(model_path(fit.train(store, recipe(corpus, name="swapped", **swapped))), path)
    after = curate(store, scored(pages, tokenizer, str(path), "after"))
    assert after.id != before.id
    assert np.corrcoef(scores(before), scores(after))[0, 1] < -0.9
    assert scores(after).min() >= 0 and scores(after).max() <= 1


def test_one_process_scores_with_the_model_that_is_at_the_path_now(made, corpus, store, tmp_path):
    settings, path = ScoreRecipe(model="", column="math_score"), tmp_path / "model.bin"
    batch = Batch(1, pa.table({"text": pa.array(["prove that the sum is even"], pa.large_string())}), pa.table({}))
    found, digests = [], []
    for model in (made, fit.train(store, recipe(corpus, version="again", seed=3))):
        shutil.copyfile(model_path(model), path)
        digests.append(file_sha256(path))
        (out,) = Score(settings, path, digests[-1]).run(iter([batch]))
        found.append(out.documents["math_score"].to_pylist())
    assert found[0] != found[1]
    with pytest.raises(UserError, match="changed while it was in use"):
        list(Score(settings, path, "0" * 64).run(iter([batch])))


# -- files that are no model -----------------------------------------------------------------------------------------


def test_a_file_that_is_no_classifier_is_one_line(store, pages, tokenizer, made, corpus, tmp_path):
    whole = model_path(made).read_bytes()
    vectors = bytearray(whole)
    vectors[36:40] = struct.pack("<i", 1)
    cases = {
        b"not a model at all": "no fastText model",
        b"": "cannot read",
        whole[:6]: "no fastText model",
        whole[:60]: "cut off",
        whole[:120]: "cut off",
        whole[: len(whole) // 2]: "cut off",
        whole[:-1]: "cut off",
        whole + b"x": "bytes after its end",
        bytes(vectors): "word vectors",
    }
    for content, message in cases.items():
        (tmp_path / "bad.bin").write_bytes(content)
        with pytest.raises(UserError, match=message) as caught:
            curate(store, scored(pages, tokenizer, str(tmp_path / "bad.bin"), "bad"))
        assert "\n" not in str(caught.value)
    for model, settings, message in (
        (str(tmp_path / "nowhere.bin"), {}, "no classifier at"),
        (corpus.id, {}, "is a corpus, not a classifier"),
        (made.ref, {"label": "hq"}, "has no label 'hq'"),
    ):
        with pytest.raises(UserError, match=message):
            curate(store, scored(pages, tokenizer, model, "bad", **settings))


def test_any_label_can_be_the_score_and_the_library_agrees(tmp_path):
    (tmp_path / "lines.txt").write_text(TINY_LINES)
    fit.fit_file(tmp_path / "lines.txt", tmp_path / "model.bin", TINY)
    model, texts = fasttext.load_model(str(tmp_path / "model.bin")), ["a proof", "a teapot", ""]
    found = Classifier.load(tmp_path / "model.bin", "hq").score(pa.array(texts))
    for text, score in zip(texts, found, strict=True):
        labels, chances = model.predict(text, k=-1)
        assert score == pytest.approx(min(1.0, chances[labels.index("__label__hq")]), abs=1e-6)

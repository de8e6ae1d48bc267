"""Languages: by fastText models made here and by the model that ships, told from prose alone, dropped only if asked."""

import json
import random
import shutil
from pathlib import Path

import fasttext
import pyarrow as pa
import pytest

from curation.classifiers import fit
from curation.config import CurateRecipe, LanguageRecipe
from curation.measures.language import SAMPLE, UNDETERMINED, Identifier, OtherLanguage, prose
from curation.pipeline import curate, plan
from manifests.errors import UserError
from manifests.manifest import Manifest
from manifests.recipe import parse
from manifests.store import file_sha256

SENTENCES = {
    "en": "The sum of the angles of a triangle is two right angles because the lines are parallel to each other",
    "de": "Die Summe der Winkel eines Dreiecks ist zwei rechte Winkel weil die Geraden zueinander parallel sind",
    "fr": "La somme des angles du triangle est égale à deux droits parce que les droites sont parallèles entre elles",
}
FORMULA = r"\[\int_0^1 \frac{x^2}{\sqrt{1+x}}\,dx = \sum_{n\ge 0} a_n\] and $\alpha \le \beta$"


def page(language: str, seed: int) -> str:
    """Words of a language in any order, formulas between them."""
    words = SENTENCES[language].split() * 3
    random.Random(seed).shuffle(words)
    return f"{' '.join(words)} {FORMULA} " * 2


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A model with n-grams of characters, as lid.176 has them: three languages, and so many more of one word each that
    its output can be quantised."""
    folder = tmp_path_factory.mktemp("lid")
    draw = random.Random(1)
    lines = [f"__label__{name} {' '.join(draw.sample(text.split(), 8))}" for name, text in SENTENCES.items()] * 40
    lines += [f"__label__x{number} {number:03d}" for number in range(256)]
    (folder / "lines.txt").write_text("\n".join(lines) + "\n")
    settings = {"minCount": 1, "dim": 16, "lr": 0.5, "epoch": 20, "minn": 2, "maxn": 4, "bucket": 10_000}
    fit.fit_file(folder / "lines.txt", folder / "model.bin", settings)
    return folder / "model.bin"


@pytest.fixture(scope="module", params=[{}, {"qnorm": True}, {"qout": True, "qnorm": True}, {"cutoff": 400}])
def quantised(model, request, tmp_path_factory) -> Path:
    """The same as .ftz, in each form that fastText writes."""
    made, path = fasttext.load_model(str(model)), tmp_path_factory.mktemp("ftz") / "model.ftz"
    made.quantize(**request.param)
    made.save_model(str(path))
    return path


def identified(identifier: Identifier, texts: list[str]) -> list[tuple[str, float]]:
    languages, scores = identifier.identify(pa.array(texts, pa.large_string()))
    return list(zip(languages.to_pylist(), scores.tolist(), strict=True))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"Angles {FORMULA} of a triangle", "Angles and of a triangle"),
        (r"\begin{align*} x &= y \text{ sei } \end{align*} by \emph{Fermat}, \label{eq:satz}", "by Fermat"),
        (r"\begin{theorem}Every field\end{theorem}", "Every field"),
        ("see https://example.org/der/die/das or\n```\nfor x in y\n```\nnow", "see or now"),
        ("2 + 2 = 4", ""),
        ("数学は楽しい。 naïve", "数学は楽しい naïve"),
        ("word " * SAMPLE, ("word " * SAMPLE)[:SAMPLE]),
    ],
)
def test_formulas_commands_and_code_are_no_prose(text, shown):
    assert prose(pa.array([text]))[0].as_py() == shown


def test_a_model_names_the_language_of_each_text(model, quantised):
    texts = [page(language, seed) for language in SENTENCES for seed in range(5)]
    wanted = [language for language in SENTENCES for _ in range(5)]
    for path in (model, quantised):
        found = identified(Identifier.load(path), texts)
        assert [language for language, _ in found] == wanted
        assert all(0.5 < score <= 1 for _, score in found)


def test_the_shipped_model_knows_mathematical_prose():
    shipped = Identifier.load(None)
    texts = [f"{FORMULA} {text} {FORMULA}" for text in SENTENCES.values()]
    assert [language for language, _ in identified(shipped, texts)] == list(SENTENCES)
    assert {"en", "zh", "ar", "ru"} <= shipped.languages and shipped.digest.startswith("py3langid ")


def test_a_text_without_words_has_no_language(model):
    for identifier in (Identifier.load(model), Identifier.load(None)):
        assert identified(identifier, [r"$\frac{a}{b} = \sin x$ " * 9, "", "1 + 1 = 2"]) == [(UNDETERMINED, 0.0)] * 3


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Path:
    """Ten pages of each language, and one of formulas alone, as a source."""
    folder = tmp_path_factory.mktemp("pages")
    texts = [page(language, seed) for language in SENTENCES for seed in range(10)]
    texts.append("\n".join(f"$x^{number} + y_{number} = {number * 7}$" for number in range(30)))
    (folder / "pages.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    return folder


def recipe(pages: Path, tokenizer: Path, name: str, **language) -> CurateRecipe:
    source = {"name": "pages", "path": str(pages), "role": "web"}
    plain = {"name": name, "tokenizer": str(tokenizer), "sources": [source], "language": language}
    return parse(plain, CurateRecipe, "test")


@pytest.fixture(scope="module")
def english(store, pages, tokenizer, model) -> Manifest:
    return curate(store, recipe(pages, tokenizer, "english", model=str(model), keep=["en"], min_score=0.5))


@pytest.fixture(scope="module")
def labelled(store, pages, tokenizer) -> Manifest:
    """By the model that ships, all languages kept."""
    return curate(store, recipe(pages, tokenizer, "labelled"))


def test_language_is_a_column_and_drops_nothing_by_itself(store, pages, tokenizer, labelled):
    documents = labelled.read("documents").to_pylist()
    assert {row["language"] for row in documents} == {*SENTENCES, UNDETERMINED}
    assert "other_language" not in {row["drop_reason"] for row in documents}
    planned = plan(store, recipe(pages, tokenizer, "labelled"))
    assert [row.what for row in planned if row.stage == "identify"] == ["language by py3langid"]


def test_a_corpus_without_the_section_has_no_such_columns(corpus):
    names = corpus.read("documents").schema.names
    assert "language" not in names and "boilerplate_chars" not in names


def test_other_languages_are_dropped_with_evidence_where_asked(english):
    dropped = [row for row in english.read("documents").to_pylist() if row["drop_reason"] == "other_language"]
    assert {row["language"] for row in dropped} == {"de", "fr"} and len(dropped) == 20
    for row in dropped:
        said = {"language": row["language"], "value": row["language_score"], "keep": ["en"], "limit": 0.5}
        assert json.loads(row["drop_evidence"]) == said


def test_what_is_kept_of_each_role():
    rows = pa.table({"language": ["en", "en", "de", UNDETERMINED], "language_score": [0.9, 0.6, 0.99, 0.0]})
    rule = OtherLanguage(LanguageRecipe(keep=("en",)))
    for role, broken in (("web", [False, True, True, False]), ("code", [False] * 4)):
        assert rule.broken(rows.append_column("role", pa.array([role] * 4))).to_pylist() == broken


def test_the_model_is_in_the_identity_and_its_path_is_not(store, pages, tokenizer, model, english, labelled, tmp_path):
    shutil.copyfile(model, tmp_path / "copy.bin")
    asked = {"model": str(tmp_path / "copy.bin"), "keep": ["en"], "min_score": 0.5}
    assert curate(store, recipe(pages, tokenizer, "copied", **asked)).id == english.id
    assert english.recipe["language"]["model"] == file_sha256(model)
    assert labelled.recipe["language"]["model"] == Identifier.load(None).digest


def test_a_file_that_is_no_model_is_one_line(store, pages, tokenizer, model, quantised, tmp_path):
    bad = tmp_path / "bad.ftz"
    for whole in (model.read_bytes(), quantised.read_bytes()):
        for content in (
            b"not a model at all",
            b"",
            *(whole[: len(whole) * part // 9] for part in range(1, 9)),
            whole + b"x",
        ):
            bad.write_bytes(content)
            with pytest.raises(UserError) as caught:
                Identifier.load(bad)
            assert "\n" not in str(caught.value)
    for settings, message in (
        ({"model": str(bad)}, "after its end"),
        ({"model": str(tmp_path / "nowhere.bin")}, "cannot read"),
        ({"model": str(model), "keep": ["english"]}, "does not know english"),
        ({"keep": ["eng"]}, "does not know eng"),
    ):
        with pytest.raises(UserError, match=message):
            curate(store, recipe(pages, tokenizer, "bad", **settings))

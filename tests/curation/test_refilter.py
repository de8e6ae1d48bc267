"""A corpus decided anew is the corpus of a full run, whatever the thresholds, and nothing else is passed off as one."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from curation.config import CurateRecipe
from curation.corpus.refilter import KEPT
from curation.pipeline import curate, plan
from curation.tasks import RULES_VERSION
from manifests.errors import UserError
from manifests.manifest import Manifest, resolve, verify
from manifests.recipe import parse
from manifests.store import Store
from octo.report.write import report

QUESTION = "Mia has 58 apples in a basket and finds 13 more under the old tree behind the house. How many has she now?"
OTHER = "A train leaves at noon with 240 people and at every stop 12 of them get off. After how many stops is it empty?"
SAID = QUESTION.split()
PAGE = "The sum of two even numbers is even, since each is twice an integer and so is their sum. Hence the proof. "


def pages() -> list[dict]:
    """Pages that hold more or less of an item, copies more or less near, pages near every limit, and doubtful ones."""
    texts = [" ".join(SAID[:count]) + " " + PAGE for count in range(6, len(SAID) + 1)]
    texts += [QUESTION.replace(word, "pears") + " " + OTHER for word in ("apples", "basket", "13")]
    lesson = [f"In lesson {name} the {name} term of the sequence is a product of primes." for name in "abcdefghijkl"]
    texts += [" ".join([*lesson[:count], *lesson[count + 1 :]]) for count in range(12)] + [" ".join(lesson)] * 2
    texts += ["word " * count + "the sum of 2 and 3" for count in range(0, 60, 7)]
    texts += [f"{PAGE * 2} Read more. Log in. " + "Contact us. " * count for count in range(5)]
    texts += ["| # ~~ " * count + PAGE for count in range(6)]
    return [{"text": text, "id": str(number), "kind": "ab"[number % 3 == 0]} for number, text in enumerate(texts)]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("reselect")
    rows = pages()
    for name, chosen in (("web", rows), ("general", rows[::2])):
        (folder / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in chosen))
    for name, question in (("apples", QUESTION), ("trains", OTHER)):
        (folder / f"{name}.jsonl").write_text(json.dumps({"id": name, "question": question, "answer": "71"}))
    return folder


def recipe(place: Path, tokenizer: Path, **changes) -> CurateRecipe:
    """Low limits, so that any others can be decided anew."""
    web = {"name": "web", "path": str(place / "web.jsonl"), "role": "web", "only": {"kind": ["a"]}}
    general = {"name": "general", "path": str(place / "general.jsonl"), "role": "general"}
    benchmarks = [{"name": name, "path": str(place / f"{name}.jsonl")} for name in ("apples", "trains")]
    plain = {"name": "base", "tokenizer": str(tokenizer), "sources": [web, general], "classifier": {"model": "default"}}
    held = {"benchmarks": benchmarks, "ngram": 3, "coverage": 0.3, "numbers": 0.2}
    plain["decontaminate"] = held | changes.pop("decontaminate", {})
    plain["classifier"] |= changes.pop("classifier", {})
    return parse(plain | changes, CurateRecipe, "test")


@pytest.fixture(scope="module")
def base(place, tokenizer) -> Manifest:
    return curate(Store(place / "store"), recipe(place, tokenizer))


def part(least: float, most: float) -> st.SearchStrategy[float]:
    return st.integers(round(least * 20), round(most * 20)).map(lambda step: step / 20)


THRESHOLDS = st.fixed_dictionaries(
    {
        "quality": st.fixed_dictionaries(
            {"min_words": st.integers(0, 60), "max_boilerplate": part(0, 0.3), "max_symbol_ratio": part(0, 0.5)},
            optional={"max_repetition": part(0, 1), "min_math_density": part(0, 0.5)},
        ),
        "classifier": st.fixed_dictionaries(
            {"min": st.none() | part(0, 1)}, optional={"roles": st.sampled_from([["web"], ["general", "web"]])}
        ),
        "near_duplicates": st.fixed_dictionaries(
            {"similarity": part(0.05, 1), "numbers_differ": st.booleans() | part(0, 1)}
        ),
        "decontaminate": st.fixed_dictionaries({"coverage": part(0.3, 1), "numbers": part(0.2, 1)}),
        "prefer": st.sampled_from([None, "math_score", "words"]),
        "turned": st.booleans(),
        "benchmarks": st.sampled_from([(0, 1), (1, 0), (0,), (1,), ()]),
    }
)


def changed(place: Path, tokenizer: Path, drawn: dict, version: int) -> CurateRecipe:
    drawn = dict(drawn)
    plain = recipe(place, tokenizer)
    turned, chosen = drawn.pop("turned"), drawn.pop("benchmarks")
    drawn["sources"] = [source.model_dump() for source in plain.sources[:: -1 if turned else 1]]
    drawn["decontaminate"] |= {"benchmarks": [plain.decontaminate.benchmarks[row].model_dump() for row in chosen]}  # type: ignore[union-attr]
    return recipe(place, tokenizer, version=version, **drawn)


@settings(
    max_examples=15, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(drawn=THRESHOLDS)
def test_any_thresholds_give_the_manifest_of_a_full_run(place, tokenizer, base, drawn):
    full_store, number = Store(place / "full"), len(base.store.list("manifests"))
    anew = curate(base.store, changed(place, tokenizer, drawn, number), base=base)
    full = curate(full_store, changed(place, tokenizer, drawn, number))
    assert anew.id == full.id and anew.build_key == full.build_key and anew.counts == full.counts
    for family in (*KEPT, "leaks"):
        assert anew.read(family).equals(full.read(family)), family


def test_the_base_has_something_to_decide(base):
    found = {row["drop_reason"] for row in base.read("documents").to_pylist()}
    assert found >= {None, "contaminated", "excluded", "too_short", "boilerplate", "symbols", "exact_duplicate"}
    assert 0.3 <= min(base.read("leaks")["coverage"].to_pylist()) < 0.6
    excluded = base.read("documents")["drop_reason"].to_pylist().count("excluded")
    assert len(base.read("doubts")) > excluded  # the others hold an item: their doubt waits behind it


def test_only_what_hangs_on_thresholds_is_written(place, tokenizer, base):
    before = set(base.store.list("objects"))
    made = curate(base.store, recipe(place, tokenizer, name="anew", quality={"min_words": 3}), base=base)
    assert len(set(base.store.list("objects")) - before) <= 2
    assert all(made.files(family) == base.files(family) for family in KEPT)
    assert verify(base.store, made) == [] and base.store.list("work") == []
    assert curate(base.store, recipe(place, tokenizer, name="found", quality={"min_words": 3})).ref == "found@1"
    assert set(base.store.list("objects")) - before == {file.path for name in ("documents", "leaks")
                                                        for file in made.files(name)} - before  # fmt: skip


def test_sources_need_not_be_there(place, tokenizer, base):
    gone = [{"name": "general", "path": "nowhere", "role": "general"}]
    gone.append({"name": "web", "path": "nowhere", "role": "web", "only": {"kind": ["a"]}})
    anew = curate(base.store, recipe(place, tokenizer, name="gone", sources=gone), base=base)
    kept = [row["source"] for row in anew.read("documents").to_pylist() if row["cluster_id"] and not row["drop_reason"]]
    assert kept.count("general") > kept.count("web")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"decontaminate": {"coverage": 0.25}}, "decontaminate.coverage 0.3 → 0.25; a lower limit would find more"),
        ({"decontaminate": {"numbers": 0}}, "decontaminate.numbers 0.2 → 0.0"),
        ({"decontaminate": {"ngram": 4}}, "decontaminate.ngram 3 → 4"),
        ({"near_duplicates": {"shingle": 4}}, "near_duplicates.shingle 5 → 4"),
        ({"near_duplicates": {"bands": 10}}, "near_duplicates.bands"),
        ({"classifier": {"column": "other_score"}}, "classifier.column"),
        ({"max_record_bytes": 10}, "max_record_bytes"),
        ({"sources": [{"name": "web", "path": "x", "role": "web", "only": {"kind": ["b"]}}]}, "sources.web.only.kind"),
    ],
)
def test_what_is_not_stored_is_refused_by_its_field(place, tokenizer, base, changes, field):
    before = base.store.list("")
    for build in (curate, plan):
        with pytest.raises(UserError, match=re.escape(field)) as error:
            build(base.store, recipe(place, tokenizer, **changes), base=base)
        assert "\n" not in str(error.value) and "--refilter" in str(error.value)
    assert base.store.list("") == before


def test_a_benchmark_that_was_never_compared_and_other_rules_are_refused(place, tokenizer, base):
    (place / "more.jsonl").write_text(json.dumps({"question": "What is left of seven pears?", "answer": "1"}))
    more = {"benchmarks": [{"name": "more", "path": str(place / "more.jsonl")}]}
    with pytest.raises(UserError, match="never compared with more@1"):
        curate(base.store, recipe(place, tokenizer, version="2", decontaminate=more), base=base)
    with pytest.raises(UserError, match="another version of the rules"):
        curate(base.store, recipe(place, tokenizer), base=replace(base, counts={"rules": RULES_VERSION - 1}))
    with pytest.raises(UserError, match="tokenizer"):
        curate(base.store, recipe(place, Path("recipes/quickstart/tokenizer")), base=base)
    with pytest.raises(UserError, match="not a corpus"):
        curate(base.store, recipe(place, tokenizer), base=resolve(base.store, "apples@1"))


def test_a_plan_says_what_changes_and_that_there_is_a_shorter_way(place, tokenizer, base):
    before = base.store.list("")
    other = recipe(place, tokenizer, quality={"min_words": 7})
    rows = {row.stage: row.what for row in plan(base.store, other, base)}
    assert rows["change"] == "quality.min_words 20 → 7" and base.id in rows["reselect"] and "read" not in rows
    rows = {row.stage: row.what for row in plan(base.store, other)}
    assert "--refilter base@1" in rows["or"] and "default" in rows["score"]
    far = recipe(place, tokenizer, near_duplicates={"shingle": 4})
    assert "or" not in {row.stage for row in plan(base.store, far)}
    assert base.store.list("") == before


def test_the_report_shows_the_item_beside_the_passage(base):
    page = report(base.store, [base.id]).read_text(encoding="utf-8")
    assert page.count(QUESTION) >= 2 and "The document holds" in page and "FROM leaks WHERE manifest" in page

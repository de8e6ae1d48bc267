"""Freezing: what a mixture manifest holds, that its ID depends on nothing else, and what is refused."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from datatrove.utils.dataset import DatatroveFileDataset
from tokenizers import Tokenizer

from curation.measures.vocabulary import Vocabulary
from manifests import catalog
from manifests.errors import UserError
from manifests.manifest import Manifest, copy_manifest, verify
from manifests.store import Store
from mixtures.config import MixRecipe
from mixtures.mix import mix, plan

Corpus = Callable[..., Manifest]
Recipes = Callable[..., MixRecipe]
Documents = Callable[..., dict]


def test_a_mixture_holds_what_its_plan_says(store: Store, toy: Manifest, recipe: Recipes) -> None:
    planned, made = plan(store, recipe()).rows(), mix(store, recipe())
    components = made.read("components").to_pylist()
    assert [row["sequences"] for row in planned] == [row["sequences"] for row in components] == [60, 40]
    assert [row["available_documents"] for row in components] == [53, 25]
    assert Counter(made.read("sequences")["component"].to_pylist()) == {"web": 60, "qa": 40}
    assert made.recipe["components"][0]["corpus"] == toy.id and made.parents == (toy.id,)
    assert made.counts["tokens"] == 100 * 16
    assert verify(store, made) == []


def test_the_id_is_the_content(store: Store, toy: Manifest, recipe: Recipes, tmp_path: Path) -> None:
    made = mix(store, recipe())
    assert mix(store, recipe()).id == made.id
    assert mix(store, recipe(name="other", version="2")).ref == "other@2"
    by_id = [{**c, "manifest": toy.id} for c in recipe().model_dump(mode="json")["components"]]
    assert mix(store, recipe(name="by-id", components=by_id, budget={"steps": 25, "batch": 4})).id == made.id
    elsewhere = Store(tmp_path / "elsewhere")
    copy_manifest(toy, elsewhere)
    assert mix(elsewhere, recipe()).id == made.id
    changed = [
        recipe(name="c", seed=6),
        recipe(name="d", sequence_length=17),
        recipe(name="e", budget={"sequences": 99}),
    ]
    assert len({made.id, *(mix(store, other).id for other in changed)}) == 4


def test_a_second_recipe_cannot_take_a_name(store: Store, toy: Manifest, recipe: Recipes) -> None:
    mix(store, recipe())
    with pytest.raises(UserError, match=r"mixture@1 already names .*, made by a recipe with other seed"):
        mix(store, recipe(seed=6), tell=lambda _: pytest.fail("work was done for a name that is taken"))


def test_a_pulled_mixture_is_built_again_under_its_own_name(store: Store, toy: Manifest, recipe: Recipes) -> None:
    elsewhere = Store(f"{store.url}-2") if store.is_local else store
    made = mix(store, recipe())
    if elsewhere is not store:
        copy_manifest(toy, elsewhere)
        copy_manifest(made, elsewhere)
    assert mix(elsewhere, recipe()).id == made.id


def test_datatrove_and_numpy_read_the_same_tokens(store: Store, toy: Manifest, recipe: Recipes) -> None:
    made = mix(store, recipe())
    files = made.local("tokens")
    for name in ("web", "qa"):
        path = Path(shared_folder(files, name, store)) / f"{name}.ds"
        tokens = np.fromfile(path, np.uint16)
        theirs = DatatroveFileDataset(str(path), 16, token_size=2, return_positions=True)
        assert len(theirs) == len(tokens) // 17
        ends = np.fromfile(f"{path}.index", np.uint64).astype(np.int64)
        begins = np.append(0, ends[:-1])
        for window, item in enumerate([theirs[i] for i in range(len(theirs))]):
            places = np.arange(window * 17, (window + 1) * 17)
            assert item["input_ids"].tolist() == tokens[places].tolist()
        members = [row for row in made.read("members").to_pylist() if row["component"] == name]
        assert [row["token_start"] for row in members] == begins.tolist()
        assert [row["token_start"] + row["n_tokens"] for row in members] == ends.tolist()
        assert ends[-1] == len(tokens)
        assert (tokens[ends - 1] == made.recipe["eos_id"]).all()


def shared_folder(files: dict[str, Path], name: str, store: Store) -> Path:
    """The two files of a component side by side under the names that Datatrove expects."""
    folder = store.scratch("names")
    for file in (f"{name}.ds", f"{name}.ds.index"):
        (folder / file).write_bytes(files[file].read_bytes())
    return folder


def test_text_that_spells_a_special_token_stays_text(
    store: Store, corpus: Corpus, document: Documents, recipe: Recipes, tokenizer: Path
) -> None:
    text = "one <|endoftext|> two " * 20
    corpus([document("web", 1, text=text)])
    made = mix(store, recipe(components=[{"name": "web", "manifest": "toy@1"}], budget={"sequences": 3}))
    tokens = np.fromfile(made.local("tokens")["web.ds"], np.uint16)
    eos = made.recipe["eos_id"]
    assert np.flatnonzero(tokens == eos).tolist() == [len(tokens) - 1]
    decode = Tokenizer.from_file(str(tokenizer / "tokenizer.json")).decode
    assert decode(tokens[:-1].tolist(), skip_special_tokens=False) == text


def test_only_documents_that_are_read_are_written(store: Store, toy: Manifest, recipe: Recipes) -> None:
    made = mix(store, recipe(budget={"sequences": 10}))
    read = catalog.query(store, "SELECT component, count(*)::INT AS n, sum(n_tokens)::INT AS t FROM members GROUP BY 1")
    rows = {row["component"]: row for row in read.to_pylist()}
    assert rows["web"]["n"] < 53 and rows["web"]["t"] >= 6 * 16 + 1
    assert made.read("components")["available_documents"].to_pylist() == [53, 25]


def test_a_component_too_small_for_one_sequence_is_planned_as_none(
    store: Store, toy: Manifest, recipe: Recipes
) -> None:
    components = [{"name": "web", "manifest": "toy@1", "weight": 999}, {"name": "rl", "manifest": "toy@1"}]
    made = mix(store, recipe(components=components, budget={"sequences": 20}))
    assert made.read("components")["sequences"].to_pylist() == [20, 0]
    assert set(made.local("tokens")) == {"web.ds", "web.ds.index"}


def test_another_tokenizer_is_counted_anew(
    store: Store, corpus: Corpus, document: Documents, recipe: Recipes, tokenizer: Path
) -> None:
    pages = [document("web", i) for i in range(20)]
    same = corpus([dict(page) for page in pages])
    other = corpus([dict(page) for page in pages], version="2", digest="another tokenizer")
    components = [{"name": "web", "manifest": "toy@1"}], [{"name": "web", "manifest": "toy@2"}]
    made = [mix(store, recipe(name=f"m{i}", components=c, budget={"sequences": 9})) for i, c in enumerate(components)]
    assert same.id != other.id
    first, second = (mixture.read("members").drop_columns(["corpus"]) for mixture in made)
    assert first == second


def test_counts_that_are_wrong_in_the_corpus_are_found(
    store: Store, corpus: Corpus, document: Documents, recipe: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Vocabulary.count
    monkeypatch.setattr(Vocabulary, "count", lambda self, texts: honest(self, texts) + 1)
    corpus([document("web", i) for i in range(20)])
    monkeypatch.undo()
    with pytest.raises(UserError, match="documents do not have the number of tokens"):
        mix(store, recipe(components=[{"name": "web", "manifest": "toy@1"}], budget={"sequences": 40}))


def test_a_damaged_corpus_is_refused(store: Store, toy: Manifest, recipe: Recipes) -> None:
    (file,) = toy.files("texts")
    path = store.local(file.path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match="does not have the content"):
        mix(store, recipe())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"components": [{"name": "web", "manifest": "nothing@1"}]}, "no manifest nothing@1"),
        ({"components": [{"name": "web", "manifest": "toy@1", "where": "role = 'poetry'"}]}, "selects no document"),
        ({"components": [{"name": "web", "manifest": "toy@1", "where": "role = = 1"}]}, "is not a valid SQL condition"),
        ({"tokenizer": "nowhere"}, "nowhere"),
        ({"tokenizer": "no-such-org/no-such-model"}, "no tokenizer at no-such-org/no-such-model"),
        ({"budget": {"tokens": 15}}, "the budget holds no sequence of 16 tokens"),
        ({"budget": {"tokens": 100, "batch": 8}}, "the budget of 6 sequences is smaller than one batch of 8"),
        (
            {"components": [{"name": "web", "manifest": "toy@1", "where": "true; DROP TABLE x"}]},
            "is not a valid SQL condition",
        ),
        ({"components": [{"name": "web", "manifest": "toy@1", "where": "drop_reason = 'too_short'"}]}, "7 too_short"),
        ({"budget": {"tokens": "1M"}}, "epochs > max_epochs 1"),
    ],
)
def test_a_bad_recipe_gives_one_clear_line(
    store: Store, toy: Manifest, recipe: Recipes, change: dict, says: str
) -> None:
    for verb in (plan, mix):
        with pytest.raises(UserError) as refusal:
            verb(store, recipe(**change))
        assert says in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_mixture_is_no_corpus(store: Store, toy: Manifest, recipe: Recipes) -> None:
    mix(store, recipe())
    with pytest.raises(UserError, match="mixture@1 is a mixture"):
        mix(store, recipe(name="b", components=[{"name": "a", "manifest": "mixture@1"}]))


# -- templates -----------------------------------------------------------------------------------------------------

QA_ASKED = {"name": "qa", "manifest": "toy@1", "where": "role = 'qa'", "format": "asked"}
ASKED = {"asked": "User:{question}\nAssistant:{text} So {{{answer}}}."}


def test_a_template_lays_out_the_fields_of_a_document(
    store: Store, toy: Manifest, recipe: Recipes, tokenizer: Path
) -> None:
    made = mix(store, recipe(components=[QA_ASKED], formats=ASKED, budget={"sequences": 20}))
    texts = {row["doc_id"]: row for row in toy.read("texts").to_pylist()}
    decode = Tokenizer.from_file(str(tokenizer / "tokenizer.json")).decode
    tokens = np.fromfile(made.local("tokens")["qa.ds"], np.uint16)
    for row in made.read("members").to_pylist():
        ids = tokens[row["token_start"] : row["token_start"] + row["n_tokens"] - 1].tolist()
        given = texts[row["doc_id"]]
        assert decode(ids) == f"User:{given['question']}\nAssistant:{given['text']} So {{{given['answer']}}}."
    assert verify(store, made) == []


def test_the_text_of_a_template_is_identity_and_its_name_is_not(store: Store, toy: Manifest, recipe: Recipes) -> None:
    plain = recipe(name="plain", components=[{**QA_ASKED, "format": None}], budget={"sequences": 9})
    asked = recipe(name="asked", components=[QA_ASKED], formats=ASKED, budget={"sequences": 9})
    renamed = recipe(
        name="b", components=[{**QA_ASKED, "format": "x"}], formats={"x": ASKED["asked"]}, budget={"sequences": 9}
    )
    unused = recipe(name="c", components=[{**QA_ASKED, "format": None}], formats=ASKED, budget={"sequences": 9})
    ids = [mix(store, each).id for each in (plain, asked, renamed, unused)]
    assert ids[0] == ids[3] != ids[1] == ids[2]


def test_a_template_whose_field_is_missing_is_refused(store: Store, toy: Manifest, recipe: Recipes) -> None:
    web = {"name": "web", "manifest": "toy@1", "where": "role = 'web'", "format": "asked"}
    with pytest.raises(UserError, match="53 of 53 documents lack one of its fields") as refusal:
        plan(store, recipe(components=[web], formats=ASKED))
    assert "\n" not in str(refusal.value)


# -- the oracle ----------------------------------------------------------------------------------------------------


class Wrong:
    """A fast tokenizer with a fault: the last token of a text of more than 50 characters is another one."""

    def __init__(self, oracle: Tokenizer):
        self.oracle = oracle

    def encode(self, text: str) -> np.ndarray:
        ids = np.array(self.oracle.encode(text, add_special_tokens=False).ids, np.uint16)
        ids[-1] += len(text) > 50
        return ids


def test_tokens_that_the_oracle_does_not_give_are_refused(
    store: Store, toy: Manifest, recipe: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted fault: a fast tokenizer that passes short probes and is wrong on some documents, of equal length."""
    load = Vocabulary.load
    monkeypatch.setattr(Vocabulary, "load", lambda place: replace(load(place), fast=Wrong(load(place).tokenizer)))
    with pytest.raises(
        UserError, match="gigatoken and Hugging Face give different tokens for the document that begins"
    ):
        mix(store, recipe())
    assert not [path for path in store.list("manifests") if "mixture" in path]
    monkeypatch.undo()
    assert verify(store, mix(store, recipe())) == []


# -- declared sizes ------------------------------------------------------------------------------------------------


def test_a_plan_takes_counts_where_there_are_any_and_declared_sizes_elsewhere(
    store: Store, toy: Manifest, recipe: Recipes
) -> None:
    components = [
        {"name": "web", "manifest": "toy@1", "where": "role = 'web'", "declared": 7},
        {"name": "new", "manifest": "later@1", "declared": "1K"},
        {"name": "bare", "known": "megamath-qa", "weight": 2},
    ]
    rows = plan(store, recipe(components=components, budget={"sequences": 40})).rows()
    assert [row["size"] for row in rows] == ["counted", "declared", "known"]
    assert rows[0]["documents"] == 53 and [row["available_tokens"] for row in rows[1:]] == [1000, 7_000_000_000]
    with pytest.raises(UserError, match="no manifest later@1"):
        mix(store, recipe(components=components[:2], budget={"sequences": 40}))
    with pytest.raises(UserError, match="component `bare` names no manifest"):
        mix(store, recipe(components=components[2:], budget={"sequences": 40}))


# -- prompts -------------------------------------------------------------------------------------------------------

RL = {"name": "rl", "manifest": "toy@1", "where": "role = 'rl'"}
QA = {"name": "qa", "manifest": "toy@1", "where": "role = 'qa'"}


def test_prompts_are_all_questions_in_an_order_of_their_own(
    store: Store, toy: Manifest, document: Documents, recipe: Recipes
) -> None:
    made = [
        mix(store, recipe(kind="prompts", name=f"p{seed}", components=[RL], budget=None, seed=seed)) for seed in (1, 2)
    ]
    first, second = (manifest.read("prompts") for manifest in made)
    assert first["position"].to_pylist() == list(range(10))
    assert sorted(first["prompt_id"].to_pylist()) == sorted(second["prompt_id"].to_pylist())
    assert first["prompt_id"].to_pylist() != second["prompt_id"].to_pylist()
    for row in first.to_pylist():
        number = int(row["answer"]) - 1
        assert row["question"] == f"What is {number} + 1?"
        assert row["doc_id"] == document("rl", number)["doc_id"]
    assert made[0].kind == "prompts" and made[0].parents == (toy.id,)
    assert mix(store, recipe(kind="prompts", name="p1", components=[RL], budget=None, seed=1)).id == made[0].id


def test_prompts_of_two_components_are_interleaved_by_weight(store: Store, toy: Manifest, recipe: Recipes) -> None:
    weighted = recipe(kind="prompts", components=[{**RL, "weight": 1}, {**QA, "weight": 3}], budget={"prompts": 16})
    assert [row["prompts"] for row in plan(store, weighted).rows()] == [4, 12]
    sources = mix(store, weighted).read("prompts")["source"].to_pylist()
    assert all(abs(sources[:p].count("rl") - p / 4) < 1 for p in range(17))


@pytest.mark.parametrize(
    ("components", "budget", "says"),
    [
        ([{"name": "all", "manifest": "toy@1"}], None, "`all`: 53 of 88 documents have no question"),
        ([RL, {**QA, "where": "role <> 'web'"}], None, "10 documents are selected by more than one component"),
        ([RL], {"prompts": 11}, "11 prompts cannot be drawn with these weights: `rl` has 10"),
    ],
)
def test_prompts_that_cannot_be_are_refused(
    store: Store, toy: Manifest, recipe: Recipes, components: list, budget: dict | None, says: str
) -> None:
    with pytest.raises(UserError, match=says):
        mix(store, recipe(kind="prompts", components=components, budget=budget))


# -- differences ---------------------------------------------------------------------------------------------------


def test_a_difference_of_mixtures_is_what_a_plain_comparison_finds_with_its_cause(
    store: Store, corpus: Corpus, document: Documents, recipe: Recipes
) -> None:
    pages = [document("web", i) for i in range(60)] + [document("qa", i) for i in range(25)]
    corpus([dict(page) for page in pages])
    other = corpus([dict(page) for page in pages[20:]], version="2")
    plain = recipe().model_dump(mode="json")["components"]
    heavier = [plain[0] | {"weight": 5}, plain[1]]
    moved = [
        plain[0] | {"where": "role = 'web' AND score > 0.2"},
        {**plain[1], "name": "rest", "where": "score <= 0.2"},
    ]
    newer = [plain[0] | {"manifest": "toy@2"}, plain[1]]
    old = mix(store, recipe(name="old"))
    for name, change, cause in (
        ("seed", {"seed": 6}, "seed 5 → 6"),
        ("weight", {"components": heavier}, "weight 3.0 → 5.0"),
        ("newer", {"components": newer}, f"corpus {old.parents[0]} → {other.id}"),
        (
            "moved",
            {"components": moved, "budget": {"sequences": 60}},
            "where role = 'web' → role = 'web' AND score > 0.2",
        ),
    ):
        new = mix(store, recipe(name=name, **change))
        rows = catalog.diff(store, "old@1", f"{name}@1").to_pylist()
        assert {(row["component"], row["change"]): row["documents"] for row in rows if row["documents"]} == compared(
            old, new
        )
        assert {(row["component"], row["change"]): row["sequences"] for row in rows if row["sequences"]} == places(
            old, new
        )
        assert cause in next(row["cause"] for row in rows if row["component"] == "web")
    causes = {row["component"]: row["cause"] for row in catalog.diff(store, "old@1", "weight@1").to_pylist()}
    assert causes["qa"] == "weight of web 3.0 → 5.0"


def compared(old: Manifest, new: Manifest) -> dict[tuple[str, str], int]:
    """Documents of each component by what happened to them."""
    a, b = (
        {(m["component"], m["doc_id"]): (m["ordinal"], m["n_tokens"]) for m in made.read("members").to_pylist()}
        for made in (old, new)
    )
    changes: Counter[tuple[str, str]] = Counter()
    for key in a.keys() | b.keys():
        elsewhere = {doc_id for _, doc_id in (a if key in b else b)}
        if key in a and key in b:
            changes[key[0], "moved" if a[key] != b[key] else "same"] += 1
        elif key in b:
            changes[key[0], "moved" if key[1] in elsewhere else "added"] += 1
        else:
            changes[key[0], "same" if key[1] in elsewhere else "removed"] += 1
    return {key: n for key, n in changes.items() if key[1] != "same"}


def places(old: Manifest, new: Manifest) -> dict[tuple[str, str], int]:
    """Sequences of each component by what happened to their place."""
    a, b = (
        {(s["component"], s["index"]): s["sequence"] for s in made.read("sequences").to_pylist()} for made in (old, new)
    )
    changes = Counter(
        (key[0], "added" if key not in a else "removed" if key not in b else "moved")
        for key in a.keys() | b.keys()
        if a.get(key) != b.get(key)
    )
    return dict(changes)

"""Documents that are set aside: the same for every mixture of a corpus, in none of them, and nothing near them."""

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from curation.measures.vocabulary import Vocabulary
from manifests import catalog, tables
from manifests.errors import UserError
from manifests.manifest import Draft, Manifest, verify
from manifests.recipe import load, parse
from manifests.store import Store
from mixtures.config import GridRecipe, MixRecipe
from mixtures.extend import start_after
from mixtures.mix import mix, plan

Recipes = Callable[..., MixRecipe]
SOURCES = ("web", "qa", "code")


def documents_of(draw: random.Random) -> list[dict[str, Any]]:
    """A corpus of 30 to 120 documents: near-duplicate clusters, exact copies, and some that were dropped."""
    rows: list[dict[str, Any]] = []
    while len(rows) < draw.randint(30, 120):
        copies, number = draw.choice((1, 1, 1, 2, 5)), len(rows)
        digest = draw.random() < 0.5 and copies > 1
        ids = [hashlib.sha256(f"{draw.random()}".encode()).hexdigest()[:32] for _ in range(copies)]
        for place, one in enumerate(ids):
            row = {"doc_id": one, "source": draw.choice(SOURCES), "text": f"{number} the sum of two " + "even " * 5}
            row |= {"role": "qa" if row["source"] == "qa" else "web", "text_digest": ids[0] if digest else one}
            row |= {"cluster_id": min(ids) if copies > 1 and not digest else None}
            row |= {"drop_reason": draw.choice((None, "near_duplicate", "too_short")) if place else None}
            rows.append(row)
    return rows


def commit(store: Store, rows: list[dict[str, Any]], name: str, tokenizer: Path) -> Manifest:
    vocabulary, rows = Vocabulary.load(tokenizer), sorted(rows, key=lambda row: (row["source"], row["doc_id"]))
    for row, count in zip(rows, vocabulary.count([row["text"] for row in rows]).tolist(), strict=True):
        row |= {"n_chars": len(row["text"]), "n_tokens": count}
    draft = Draft(store, "corpus", {"tokenizer": vocabulary.digest})
    for family, spec in (("documents", tables.DOCUMENTS), ("texts", tables.TEXTS)):
        draft.write(family, [pa.Table.from_pylist(rows, schema=spec.schema)], spec.schema)
    return draft.commit(name, "1")


def any_recipe(draw: random.Random, name: str, corpora: list[str], tokenizer: Path, hold_out: dict) -> MixRecipe:
    """Components over any sources of any corpora, with dropped documents or without."""
    allowed = draw.choice(((), ("near_duplicate",), ("near_duplicate", "too_short")))
    sources = draw.sample(SOURCES, draw.randint(1, 3))
    components = [
        {"name": f"{corpus}-{source}", "manifest": f"{corpus}@1", "where": f"source = '{source}'", "allow": allowed}
        | {"weight": draw.randint(1, 9), "max_epochs": 50}
        for corpus in draw.sample(corpora, draw.randint(1, len(corpora)))
        for source in sources
    ]
    draw.shuffle(components)
    plain = {"name": name, "components": components, "budget": {"sequences": 20}, "seed": draw.randint(0, 9)}
    plain |= {"sequence_length": 16, "tokenizer": str(tokenizer), "hold_out": hold_out}
    return parse(plain, MixRecipe, "recipe")


@settings(max_examples=8)
@given(st.integers(0, 2**32))
def test_what_is_held_out_is_in_no_mixture_and_the_same_for_all(tokenizer, tmp_path_factory, seed):
    draw, store = random.Random(seed), Store(tmp_path_factory.mktemp("held"))
    rows = {"one": documents_of(draw), "two": documents_of(draw)}
    rows["two"] += [dict(row) for row in draw.sample(rows["one"], 10)]  # the corpora share documents
    corpora = {name: commit(store, found, name, tokenizer) for name, found in rows.items()}
    hold_out = {"share": draw.choice((0.1, 0.2)), "seed": draw.randint(0, 3)}
    recipes = [any_recipe(draw, f"m{n}", [*corpora], tokenizer, hold_out) for n in range(3)]
    try:
        made = [mix(store, one) for one in recipes]
    except UserError as error:
        assume("sets aside no document" not in error.what and "sets aside all" not in error.what)
        raise
    measured: dict[str, set[str]] = {}
    for mixture in made:
        aside, members = mixture.read("held_out").to_pylist(), mixture.read("members").to_pylist()
        held = {row["doc_id"] for row in aside}
        texts = {row["text_digest"] for found in rows.values() for row in found if row["doc_id"] in held}
        clusters = {row["cluster_id"] for found in rows.values() for row in found if row["doc_id"] in held} - {None}
        of = {(corpora[name].id, row["doc_id"]): row for name, found in rows.items() for row in found}
        read = [of[row["corpus"], row["doc_id"]] for row in members]
        assert read and not held & {row["doc_id"] for row in read}
        assert not texts & {row["text_digest"] for row in read}
        assert not clusters & {row["cluster_id"] for row in read}
        for corpus in {row["corpus"] for row in aside}:
            found = {row["doc_id"] for row in aside if row["corpus"] == corpus and row["measured"]}
            assert measured.setdefault(corpus, found) == found
            assert all(of[corpus, one]["drop_reason"] is None for one in found)
        assert verify(store, mixture) == []


def test_a_larger_share_holds_the_smaller_and_a_grown_corpus_keeps_its_choice(store, tokenizer):
    rows = documents_of(random.Random(1)) + documents_of(random.Random(2))
    commit(store, [dict(row) for row in rows], "small", tokenizer)
    commit(store, [dict(row) for row in rows] + documents_of(random.Random(3)), "grown", tokenizer)

    def held(corpus: str, name: str, **hold_out) -> set[str]:
        component = {"name": "all", "manifest": f"{corpus}@1", "max_epochs": 50}
        plain = {"name": name, "components": [component], "budget": {"sequences": 5}, "sequence_length": 16}
        made = mix(store, parse(plain | {"tokenizer": str(tokenizer), "hold_out": hold_out}, MixRecipe, "recipe"))
        return {row["doc_id"] for row in made.read("held_out").to_pylist() if row["measured"]}

    tenth, third = held("small", "a", share=0.1), held("small", "b", share=0.33)
    assert tenth and tenth < third and held("small", "c", share=0.33, seed=1) != third
    assert held("grown", "d", share=0.1) & {row["doc_id"] for row in rows} == tenth
    assert 0.1 < len(third) / sum(row["drop_reason"] is None for row in rows) < 0.6


def test_it_is_shown_counted_and_queried(store, toy, recipe: Recipes):
    held = recipe(hold_out={"share": 0.1}, budget={"sequences": 60})
    told = []
    made = mix(store, held, tell=told.append)
    [planned] = told
    assert planned.rows() == plan(store, held).rows()
    by_source = planned.held_out.by_source()
    rows = made.read("held_out").to_pylist()
    assert sum(row["set_aside"] for row in by_source) == len(rows)
    assert (
        made.counts["held_out_documents"]
        == sum(row["measured"] for row in rows)
        == sum(row["measured"] for row in by_source)
    )
    sql = "SELECT source, count(*) AS n FROM held_out WHERE manifest = $1 AND measured GROUP BY 1 ORDER BY 1"
    found = catalog.query(store, sql, [made.id]).to_pylist()
    assert found == [{"source": row["source"], "n": row["measured"]} for row in by_source if row["measured"]]
    assert made.recipe["hold_out"] == {"share": 0.1, "seed": 0}
    assert "hold_out" not in mix(store, recipe(name="plain")).recipe
    dropped = {row["doc_id"] for row in rows if not row["measured"]}
    assert dropped <= {row["doc_id"] for row in toy.read("documents").to_pylist() if row["drop_reason"]}


def test_prompts_leave_them_out_too(store, toy, tokenizer):
    plain = {
        "name": "p",
        "kind": "prompts",
        "components": [{"name": "rl", "manifest": "toy@1", "where": "role = 'rl'"}],
    }
    plain |= {"hold_out": {"share": 0.3}}
    made = mix(store, parse(plain, MixRecipe, "recipe"))
    held = {row["doc_id"] for row in made.read("held_out").to_pylist()}
    prompts = {row["doc_id"] for row in made.read("prompts").to_pylist()}
    of_rl = {row["doc_id"] for row in toy.read("documents").to_pylist() if row["role"] == "rl"}
    assert prompts == of_rl - held != of_rl
    assert made.counts["held_out_documents"] > 0


def test_every_cell_of_a_grid_holds_out_the_same(store, toy, tokenizer, tmp_path):
    sources = {role: {"manifest": "toy@1", "where": f"role = '{role}'", "max_epochs": 9} for role in ("web", "qa")}
    plain = {"name": "grid", "sources": sources, "cells": {"a": {"weights": {"web": 1}}, "b": {"weights": {"qa": 1}}}}
    plain |= {"budget": {"sequences": 20}, "sequence_length": 16, "tokenizer": str(tokenizer)}
    (tmp_path / "grid.yaml").write_text(json.dumps(plain | {"hold_out": {"share": 0.1}}))
    grid = load(tmp_path / "grid.yaml", GridRecipe)
    one, other = (mix(store, grid.cell(name)).read("held_out") for name in ("a", "b"))
    assert one.equals(other) and one.num_rows


def test_an_extension_keeps_what_was_held_out(store, toy, recipe: Recipes):
    held = recipe(hold_out={"share": 0.1}, budget={"sequences": 60})
    first = mix(store, held)
    more = recipe(name="more", hold_out={"share": 0.1}, budget={"sequences": 90})
    second = mix(store, more, start_after(first, 5, 4))
    assert second.read("held_out").equals(first.read("held_out"))
    for other in (None, {"share": 0.2}):
        with pytest.raises(UserError, match="has another hold_out"):
            mix(store, recipe(name="other", hold_out=other, budget={"sequences": 90}), start_after(first, 5, 4))


@pytest.mark.parametrize(
    ("hold_out", "said"),
    [
        ({"share": 1e-9}, "hold_out sets aside no document of toy@1: share 1e-09 of 95 documents"),
        ({"share": 0.999}, "component `web`: hold_out sets aside all"),
    ],
)
def test_nothing_held_out_or_nothing_left(store, toy, recipe: Recipes, hold_out, said):
    part = {"name": "web", "manifest": "toy@1", "where": "role = 'web' AND score < 0.15", "max_epochs": 99}
    for attempt in (plan, mix):
        with pytest.raises(UserError, match=said):
            attempt(store, recipe(hold_out=hold_out, components=[part]))


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, "nan"])
def test_a_share_is_between_nothing_and_all(recipe: Recipes, share):
    with pytest.raises(UserError, match=r"hold_out\.share"):
        recipe(hold_out={"share": share})

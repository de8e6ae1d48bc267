"""An extended mixture: the first part of its order is the old one's, and no document is lost or repeated after it."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from manifests.errors import UserError
from manifests.manifest import Manifest, verify
from manifests.store import Store
from mixtures.config import MixRecipe
from mixtures.extend import start_after
from mixtures.mix import mix, plan
from mixtures.reader import MixtureReader
from mixtures.tracing import uses
from octo.rebuild import build_again

Recipes = Callable[..., MixRecipe]
WEB = {"name": "web", "manifest": "toy@1", "where": "role = 'web'", "weight": 3}
QA = {"name": "qa", "manifest": "toy@1", "where": "role = 'qa'", "weight": 2, "max_epochs": 3}
RL = {"name": "rl", "manifest": "toy@1", "where": "role = 'rl'", "weight": 1}


def spans(store: Store, mixture: Manifest) -> list[dict]:
    reader = MixtureReader(store, mixture)
    return reader.batch(np.arange(reader.n_sequences)).spans.to_pylist()


def extended(store: Store, old: Manifest, recipe: MixRecipe, step: int = 10) -> Manifest:
    return mix(store, recipe, start_after(old, step, 4))


@pytest.mark.parametrize(
    "components",
    [
        [WEB, QA],
        [{**WEB, "weight": 1}, {**QA, "weight": 5}],
        [QA],
        [RL, {**WEB, "weight": 2}],
        [{**QA, "weight": 1}, RL, WEB],
    ],
)
def test_the_old_order_comes_first_and_streams_go_on(
    store: Store, toy: Manifest, recipe: Recipes, components: list
) -> None:
    old = mix(store, recipe())
    new = extended(store, old, recipe(name="new", components=components, budget={"sequences": 90, "batch": 4}))
    total = 88  # whole batches
    assert new.counts["sequences"] == total and set(new.parents) == {toy.id, old.id}
    first, second = MixtureReader(store, old), MixtureReader(store, new)
    assert (second.n_inherited, second.n_sequences) == (40, total)
    kept = np.arange(40)
    assert (first.batch(kept).tokens == second.batch(kept).tokens).all()
    assert first.batch(kept).spans == second.batch(kept).spans
    inputs = Counter(
        (span["component"], span["epoch"], span["doc_id"], token)
        for span in spans(store, new)
        for token in range(span["start"], span["start"] + span["length"])
    )
    assert set(inputs.values()) == {1} and sum(inputs.values()) == total * 16
    assert verify(store, new) == []
    names = new.read("sequences")["component"].to_pylist()
    assert new.read("components")["sequences"].to_pylist() == [
        names.count(name) for name in new.read("components")["component"].to_pylist()
    ]
    weights = {part["name"]: part["weight"] for part in components}
    for p in range(1, total - 40 + 1):
        for name, weight in weights.items():
            assert abs(names[40 : 40 + p].count(name) - p * new_share(new, name)) < 1
            assert abs(new_share(new, name) - weight / sum(weights.values())) < 1 / 48


def new_share(mixture: Manifest, name: str) -> float:
    """Share of a component in the last part of an extended mixture."""
    part = mixture.recipe["parts"][-1]
    place = mixture.read("components")["component"].to_pylist().index(name)
    return part["counts"][place] / part["sequences"]


def test_extended_twice_and_from_before_the_first_extension(store: Store, toy: Manifest, recipe: Recipes) -> None:
    old = mix(store, recipe())
    second = extended(store, old, recipe(name="second", components=[QA], budget={"sequences": 52, "batch": 4}))
    third = extended(
        store, second, recipe(name="third", components=[WEB, RL], budget={"sequences": 72, "batch": 4}), 12
    )
    early = extended(store, second, recipe(name="early", components=[WEB, QA], budget={"sequences": 40, "batch": 4}), 5)
    for mixture, parent, kept in ((third, second, 48), (third, old, 40), (early, old, 20)):
        a, b = (MixtureReader(store, each).batch(np.arange(kept)) for each in (mixture, parent))
        assert (a.tokens == b.tokens).all() and a.spans == b.spans
    document = spans(store, third)[700 % len(spans(store, third))]["doc_id"]
    for mixture in (second, third, early):
        found = [row for row in uses(store, document).to_pylist() if row["mixture"] == mixture.id]
        assert [row["sequence"] for row in found] == [
            s["sequence"] for s in spans(store, mixture) if s["doc_id"] == document
        ]


def test_an_extension_is_its_content_and_is_built_again(store: Store, toy: Manifest, recipe: Recipes, tmp_path) -> None:
    old = mix(store, recipe())
    wanted = recipe(name="new", components=[QA, RL], budget={"sequences": 60, "batch": 4})
    new = extended(store, old, wanted)
    assert extended(store, old, wanted).id == new.id
    assert extended(store, old, wanted.model_copy(update={"name": "other"}), 11).id != new.id
    assert build_again(store, new, Store(tmp_path / "scratch"), workers=1).id == new.id


def test_caps_count_what_was_read_before(store: Store, toy: Manifest, recipe: Recipes) -> None:
    old = mix(store, recipe())
    start = start_after(old, 10, 4)
    rows = {row["component"]: row for row in plan(store, recipe(), start).rows()}
    assert rows["qa"]["sequences"] == 40 and rows["qa"]["epochs"] <= 3
    left = (3 * rows["qa"]["available_tokens"] - 1) // 16 - 16  # 16 of the first 40 sequences are of `qa`
    whole = plan(store, recipe(components=[QA], budget={"sequences": 40 + left}), start).rows()
    assert {row["component"]: row["sequences"] for row in whole} == {"web": 24, "qa": left + 16}
    with pytest.raises(UserError, match=r"`qa` has .* tokens; 100% of .* after 256 that were read = .* > max_epochs 3"):
        plan(store, recipe(components=[QA], budget={"sequences": 40 + left + 1}), start)


@pytest.mark.parametrize(
    ("change", "step", "says"),
    [
        ({"components": [{**WEB, "where": "role = 'rl'"}]}, 10, "component `web` of mixture@1 has another where"),
        ({"seed": 6}, 10, "mixture@1 has another seed"),
        ({"sequence_length": 17}, 10, "mixture@1 has another sequence_length"),
        ({"budget": {"sequences": 40, "batch": 4}}, 10, "ends before the extension begins, at 40"),
        ({}, 26, "mixture@1 has no step 26 of 4. It has 25 whole steps"),
    ],
)
def test_what_would_not_go_on_is_refused_in_one_line(
    store: Store, toy: Manifest, recipe: Recipes, change: dict, step: int, says: str
) -> None:
    old = mix(store, recipe())
    with pytest.raises(UserError) as refusal:
        extended(store, old, recipe(**{"name": "new", "budget": {"sequences": 90, "batch": 4}} | change), step)
    assert says in str(refusal.value) and "\n" not in str(refusal.value)
    with pytest.raises(UserError, match="gives no batch"):
        start_after(old, 10, None)
    with pytest.raises(UserError, match="toy@1 is a corpus"):
        start_after(toy, 10, 4)

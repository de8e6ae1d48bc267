"""Going on in an extended mixture: nothing is read twice, nothing is left out."""

import pytest

from manifests.errors import UserError
from manifests.manifest import Manifest
from manifests.recipe import parse
from manifests.runs import RunDirectory
from manifests.store import Store
from mixtures.config import MixRecipe
from mixtures.extend import start_after
from mixtures.mix import mix
from mixtures.tracing import uses
from training.consumed import steps_that_read, trace
from training.launch import plan, train

GOING_ON = {"model": None, "carry_optimizer": True}


def extended(store: Store, mixture: Manifest, step: int, name: str = "mixture", version: str = "2") -> Manifest:
    """`mixture` after `step` steps of five, with pages alone weighing nine times as much."""
    settings = mixture.provenance["settings"]
    parts = [part | {"weight": 9.0 if part["name"] == "web" else 1.0} for part in settings["components"]]
    settings = settings | {"name": name, "version": version, "components": parts, "budget": {"sequences": 60}}
    return mix(store, parse(settings, MixRecipe, "recipe"), start_after(mixture, step, 5))


def sequences(store: Store, run: RunDirectory) -> list[int]:
    """The sequences of every step in order, as the trace tells them."""
    steps = run.table("steps")["step"].to_pylist()
    return [one for step in steps for one in sorted(set(trace(store, run, step)["sequence"].to_pylist()))]


@pytest.mark.parametrize("steps", [6, 4])
def test_a_run_goes_on_where_its_parent_left_the_mixture(mixture, recipe, steps):
    """At the seam, or before it: what the two runs read one after the other is the extended mixture, once."""
    store, first = mixture
    second = extended(store, first, 6)
    parent = train(store, first, recipe(steps=steps))
    run = train(store, second, recipe(**GOING_ON), parent=parent)
    assert sequences(store, parent) + sequences(store, run) == list(range(60))
    read = run.record["summary"]["achieved_tokens"]
    components = second.read("sequences")["component"].to_pylist()[steps * 5 :]
    assert read == {name: components.count(name) * 32 for name in ("web", "qa")}
    assert run.table("steps")["step"].to_pylist() == list(range(1, 13 - steps))


def test_the_steps_behind_a_document_are_counted_from_there(mixture, recipe):
    store, first = mixture
    second = extended(store, first, 6)
    parent = train(store, first, recipe(steps=6))
    run = train(store, second, recipe(**GOING_ON), parent=parent)
    row = trace(store, run, 3).to_pylist()[0]
    found = steps_that_read(store, uses(store, row["doc_id"])).to_pylist()
    own = [one for one in found if one["run"] == run.id and one["sequence"] == row["sequence"]]
    assert [one["step"] for one in own] == [3] and row["sequence"] // 5 == 6 + 2


def test_an_extension_of_an_extension_and_a_stage_after_its_own_mixture(mixture, recipe):
    store, first = mixture
    second = extended(store, first, 6)
    third = extended(store, second, 8, version="3")
    parent = train(store, first, recipe(steps=4))
    assert len(sequences(store, train(store, third, recipe(**GOING_ON), parent=parent))) == 40
    then = [{"stage": "more", "manifest": "mixture@2", "steps": 5}]
    assert sequences(store, train(store, first, recipe(steps=6, then=then))) == list(range(55))


def test_a_run_past_the_seam_is_refused(mixture, recipe):
    store, first = mixture
    second = extended(store, first, 6)
    parent = train(store, first, recipe(steps=7))
    with pytest.raises(UserError, match="continues after sequence 30 of mixture@1, of which 35 were read") as told:
        train(store, second, recipe(**GOING_ON), parent=parent)
    assert "--extend mixture@1 --from-step 7" in told.value.hint


def test_a_mixture_that_extends_nothing_is_read_from_its_beginning(mixture, recipe):
    store, first = mixture
    parent = train(store, first, recipe(steps=2))
    run = train(store, first, recipe(model=None, steps=2), parent=parent)
    assert sequences(store, run) == list(range(10))


def test_too_many_steps_for_what_is_left(mixture, recipe):
    store, first = mixture
    second = extended(store, first, 6)
    parent = train(store, first, recipe(steps=6))
    with pytest.raises(UserError, match="7 steps of 5 sequences need 35; the mixture has 30 after 30"):
        plan(store, second, recipe(steps=7, **GOING_ON), parent=parent)
    assert [row["steps"] for row in plan(store, second, recipe(**GOING_ON), parent=parent)] == [6]

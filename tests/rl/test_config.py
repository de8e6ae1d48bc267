"""Recipes of reinforcement: caps by step, and what is refused before anything is loaded."""

import json
from typing import Any

import pytest

from manifests.errors import UserError
from manifests.recipe import parse, semantic
from rl.config import RLRecipe


def recipe(**values: Any) -> RLRecipe:
    plain = {"steps": 4, "prompts_per_step": 2, "group_size": 4, "max_new_tokens": 12, "optimizer": {"lr": 0.01}}
    return parse(plain | values, RLRecipe, "rl.yaml")


def test_caps_hold_from_their_step_on():
    staged = recipe(max_new_tokens={101: "4K", 1: 2048, 161: 8192})
    assert [staged.cap(step) for step in (1, 100, 101, 160, 161, 400)] == [2048, 2048, 4000, 4000, 8192, 8192]
    assert recipe(max_new_tokens=9) == recipe(max_new_tokens={1: 9})


def test_a_recipe_survives_json():
    """run.json keeps it, and JSON has no whole numbers for keys."""
    staged = recipe(max_new_tokens={1: 8, 3: 16})
    again = parse(json.loads(json.dumps(staged.model_dump(mode="json"))), RLRecipe, "run.json")
    assert again == staged
    assert semantic(again) == semantic(staged)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"max_new_tokens": {2: 8}}, "needs a cap for step 1"),
        ({"max_new_tokens": {}}, "needs a cap for step 1"),
        ({"max_new_tokens": {0: 8, 1: 8}}, "none before it"),
        ({"max_new_tokens": {1: 0}}, "greater than 0"),
        ({"minibatch_prompts": 3}, "no multiple of `minibatch_prompts`"),
        ({"group_size": 1}, "group_size"),
        ({"temperature": 0}, "temperature"),
        ({"ratio_clip": 1}, "ratio_clip"),
        ({"reward": "length"}, "`reward`"),
        ({"kl": 0.1}, "unknown field `kl`"),
    ],
)
def test_recipes_that_cannot_be(changes, says):
    with pytest.raises(UserError, match=r"^rl\.yaml: .*" + says):
        recipe(**changes)

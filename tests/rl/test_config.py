"""Recipes of reinforcement: caps by step, and what is refused before anything is loaded."""

import json
from typing import Any

import pytest

from evaluation.protocols.templates import render
from evaluation.samplers.sampling import cut_at
from manifests.errors import UserError
from manifests.recipe import load, parse, semantic
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


BY_STEP = {1: 2048, 101: 1024, 161: 8192}
SHARE = {"signal": "truncated_share"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"overlong_penalty": 13}, "`overlong_penalty` 13 is more than `max_new_tokens` 12 of step 1"),
        ({"overlong_penalty": 1025, "max_new_tokens": BY_STEP, "steps": 200}, "1025 is more .* 1024 of step 101"),
        ({"overlong_penalty": 13, "growth": {"caps": [64], "truncated_below": 0.1, "steps": 1}}, "12 of step 1"),
        ({"growth": {"caps": [8, 12], "truncated_below": 0.1, "steps": 1}}, "`growth.caps` end at 12, which"),
        ({"stop": ["}"]}, r"`stop` '}' stands in "),
        ({"stop": ["\\boxed"]}, "which no response could then finish"),
        ({"stop": [""]}, "stop"),
        ({"optimizer": {"lr": 0.1, "betas": [0.9, 1.5]}}, "optimizer.betas.1"),
        ({"watch": {"alarms": [SHARE | {"above": 1.5}]}}, "`truncated_share` is never above 1.5"),
        ({"watch": {"alarms": [SHARE | {"below": 0}]}}, "`truncated_share` is never below 0"),
        ({"watch": {"alarms": [{"signal": "length_ratio", "above": 1}]}}, "`length_ratio` is never above 1"),
        ({"watch": {"alarms": [{"signal": "entropy", "below": -1}]}}, "`entropy` is never below -1"),
        ({"validation": {"every": 2, "evaluation": {"benchmarks": ["a@1"], "samples": 4}}}, "all the same"),
        ({"validation": {"every": 2, "evaluation": {"benchmarks": ["a@1"], "protocol": "paper"}}}, "few-shot prompts"),
        (
            {"validation": {"every": 2, "evaluation": {"benchmarks": ["a@1"], "endpoint": {"url": "u", "model": "m"}}}},
            "another model than the one that learns",
        ),
    ],
)
def test_fields_that_undo_each_other_are_refused_in_one_line(changes, says):
    with pytest.raises(UserError, match=r"^rl\.yaml: .*" + says) as refused:
        recipe(**changes)
    assert "\n" not in str(refused.value)


def test_fields_that_agree_pass():
    recipe(overlong_penalty=12)
    recipe(overlong_penalty=1024, max_new_tokens={1: 2048, 101: 1024}, steps=200)
    recipe(overlong_penalty=1025, max_new_tokens={1: 2048, 101: 1024}, steps=100)  # it never comes to step 101
    recipe(watch={"alarms": [{"signal": "reward", "below": -0.5}, {"signal": "entropy", "above": 3}]})


def test_default_stops_are_labels_at_the_start_of_a_line():
    kept = ["Final Answer: \\boxed{5}", "So.\nFinal Answer: 5", "**Answer:** 5", "x\nAnswer: \\boxed{5}", "A User: 5"]
    assert [cut_at(text, recipe().stop) for text in kept] == [(text, None) for text in kept]
    for stop in recipe().stop:
        assert stop.startswith("\n") and cut_at(f"5.{stop} next", recipe().stop) == ("5.", stop)
    for name in ("cpt_base", "ua_base", "icl_base", "orz_base", "base_0221"):
        again = cut_at("It is 5.\n" + render(name, "Next?", epoch=1), recipe().stop)
        assert again[0].startswith("It is 5.") and "Next?" not in again[0], "another problem ends it"


@pytest.mark.parametrize("written", ["max_new_tokens={3:32}", "max_new_tokens={1:8, 3:32}", "max_new_tokens={3:2048}"])
def test_a_missing_blank_behind_a_step_is_told(tmp_path, written):
    """YAML 1.1 would read 3:32 as 212."""
    path = tmp_path / "rl.yaml"
    path.write_text("steps: 4\nprompts_per_step: 2\ngroup_size: 4\nmax_new_tokens: 12\noptimizer: {lr: 0.01}\n")
    with pytest.raises(UserError, match=r"`max_new_tokens`: write \{\d: \d+\}, with a blank behind the colon"):
        load(path, RLRecipe, [written])
    assert load(path, RLRecipe, ["max_new_tokens={1: 8, 3: 32}"]).cap(3) == 32

"""The length schedule by trigger and the collapse watch, as functions of the steps before."""

import pytest

from manifests.errors import UserError
from manifests.recipe import parse, semantic
from rl.config import RLRecipe
from rl.watch import alarms, cap_of, last_good


def recipe(**values) -> RLRecipe:
    plain = {"steps": 4, "prompts_per_step": 2, "group_size": 4, "max_new_tokens": 2048, "optimizer": {"lr": 0.01}}
    return parse(plain | values, RLRecipe, "rl.yaml")


def steps(**columns) -> list[dict]:
    """Rows of `steps` with these columns, from step 1 on."""
    return [
        {"step": n, **dict(zip(columns, row, strict=True))}
        for n, row in enumerate(zip(*columns.values(), strict=True), 1)
    ]


def grown(shares: list[float], **values) -> list[int]:
    """The caps of a run whose steps truncate so; the last is that of the step after them."""
    config = recipe(growth={"caps": [4096, 8192], "truncated_below": 0.1, "steps": 2}, **values)
    history: list[dict] = []
    for share in shares:
        history.append(
            {"step": len(history) + 1, "truncated_share": share, "cap": cap_of(config, len(history) + 1, history)}
        )
    return [row["cap"] for row in history] + [cap_of(config, len(history) + 1, history)]


@pytest.mark.parametrize(
    ("shares", "caps"),
    [
        ([0.5, 0.0, 0.0], [2048, 2048, 2048, 4096]),
        ([0.0, 0.5, 0.0, 0.0], [2048, 2048, 2048, 2048, 4096]),
        ([0.0, 0.1, 0.1], [2048] * 4),  # below, not at
        ([0.0] * 6, [2048, 2048, 4096, 4096, 8192, 8192, 8192]),
        ([0.0, 0.0, 0.9, 0.9], [2048, 2048, 4096, 4096, 4096]),  # never back
    ],
)
def test_the_cap_grows_once_responses_end_by_themselves(shares, caps):
    assert grown(shares) == caps


def test_the_declared_schedule_holds_where_it_is_longer():
    assert grown([0.5] * 4, max_new_tokens={1: 2048, 3: 6000}) == [2048, 2048, 6000, 6000, 6000]
    assert grown([0.0] * 4, max_new_tokens={1: 2048, 3: 6000}) == [2048, 2048, 6000, 6000, 8192]


def watch(*rules: dict, **more) -> RLRecipe:
    return recipe(watch={"alarms": list(rules), **more})


TRUNCATED = {"signal": "truncated_share", "above": 0.8, "steps": 3, "action": "fall_back"}
FLAT = {"signal": "entropy", "below": 0.1, "steps": 1, "action": "warn"}


def met(config: RLRecipe, rows: list[dict], fallen=()) -> list[tuple]:
    return [(alarm.step, alarm.rule.signal, alarm.action, alarm.good) for alarm in alarms(config.watch, rows, fallen)]


def test_an_alarm_needs_all_its_steps_in_a_row_and_is_met_once():
    rows = steps(truncated_share=[0.9, 0.9, 0.5, 0.9, 0.8, 0.9, 0.9, 0.9, 0.9])
    found = [met(watch(TRUNCATED), rows[:n]) for n in range(len(rows) + 1)]
    assert found == [[]] * 8 + [[(8, "truncated_share", "fall_back", 5)]] + [[]]


def test_the_gravest_alarm_comes_first():
    rows = steps(truncated_share=[1, 1, 1], entropy=[1, 1, 0.05])
    assert met(watch(FLAT, TRUNCATED), rows) == [(3, "truncated_share", "fall_back", 0), (3, "entropy", "warn", 2)]


def test_what_was_before_a_fall_back_counts_no_more():
    rows = steps(truncated_share=[1] * 6)
    assert met(watch(TRUNCATED), rows[:5], fallen=[3]) == []
    assert met(watch(TRUNCATED), rows, fallen=[3]) == [(6, "truncated_share", "fall_back", 3)]
    assert [last_good(watch(TRUNCATED).watch, rows[:n], [3]) for n in (4, 5, 6)] == [3, 3, 3]


def test_after_so_many_falls_back_the_next_is_a_stop():
    rows = steps(truncated_share=[1] * 9)
    assert met(watch(TRUNCATED, fall_backs=2), rows[:6], fallen=[3])[0][2] == "fall_back"
    assert met(watch(TRUNCATED, fall_backs=2), rows, fallen=[3, 6])[0][2] == "stop"


def test_what_is_no_number_is_beyond_nothing():
    assert met(watch(FLAT), steps(entropy=[float("nan")])) == []


def test_an_alarm_says_what_it_saw():
    [alarm] = alarms(watch(TRUNCATED).watch, steps(truncated_share=[0.9, 0.95, 0.98765]))
    assert alarm.said == "step 3: truncated_share 0.9877 above 0.8 for 3 steps"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"watch": {"alarms": []}}, "at least 1 item"),
        ({"watch": {"alarms": [{"signal": "entropy"}]}}, "give `above` or `below`"),
        ({"watch": {"alarms": [{"signal": "entropy", "above": 1, "below": 0}]}}, "give `above` or `below`"),
        ({"watch": {"alarms": [{"signal": "loss", "above": 1}]}}, "truncated_share"),
        ({"growth": {"caps": [8192, 4096], "truncated_below": 0.1, "steps": 2}}, "must ascend"),
        ({"validation": {"every": 4, "evaluation": {}}}, "names none"),
        ({"objective": "ppo"}, "dr_grpo"),
        ({"template": "chat"}, "`template`: .*'cpt_base', 'ua_base', 'orz_base', 'icl_base' or 'base_0221'"),
    ],
)
def test_recipes_that_cannot_be(values, says):
    with pytest.raises(UserError, match=says):
        recipe(**values)


def test_what_is_not_asked_for_is_no_part_of_the_identity():
    new = {"growth", "watch", "objective", "clip_higher", "dynamic_sampling", "overlong_penalty", "precision"}
    local = {"validation", "micro_batch_tokens", "rollout_texts"}
    assert not (new | local) & semantic(recipe()).keys()
    assert not local & semantic(recipe(micro_batch_tokens=64, rollout_texts=False)).keys()

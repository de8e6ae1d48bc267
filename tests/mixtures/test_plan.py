"""Apportionment: exact budgets, caps, shares within one sequence, and errors whose choices really are choices."""

import math
import re
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.errors import UserError
from manifests.recipe import Recipe, parse
from mixtures.config import Amount, MixRecipe
from mixtures.plan import Supply, apportion, short, solve

LENGTH = 64


class Count(Recipe):
    n: Amount


def tokens(text: str) -> int:
    """An amount as a recipe reads it."""
    return parse({"n": text}, Count, "test").n


def part(hint: str, verb: str) -> str:
    """What a hint offers after `verb`, up to the next choice."""
    return re.split("set the|raise|lower|, or", hint.lower().partition(verb)[2])[0]


weights = st.floats(min_value=1e-4, max_value=1e4, allow_nan=False)
supplies = st.lists(
    st.tuples(weights, st.sampled_from([0.5, 1, 1.5, 2, 4]), st.integers(1, 200_000), st.integers(0, 3_000)),
    min_size=1,
    max_size=8,
).map(lambda rows: [Supply(f"c{i}", w, epochs, 10, n, low) for i, (w, epochs, n, low) in enumerate(rows)])


@given(st.lists(weights, min_size=1, max_size=40), st.integers(1, 10**9))
def test_unbounded_apportionment_is_exact_and_within_one_of_the_share(given_weights: list[float], n: int) -> None:
    exact = [Fraction(str(weight)) for weight in given_weights]
    counts = apportion(exact, n, [0] * len(exact), [n] * len(exact))
    assert counts is not None and sum(counts) == n
    assert all(abs(count - weight * n / sum(exact)) < 1 for count, weight in zip(counts, exact, strict=True))


@given(supplies, st.integers(1, 3_000))
def test_a_plan_keeps_every_constraint_or_is_refused(asked: list[Supply], n: int) -> None:
    try:
        plan = solve(asked, n, LENGTH)
    except UserError:
        return
    total = sum(Fraction(str(supply.weight)) for supply in asked)
    assert sum(part.sequences for part in plan.allotments) == n
    for part in plan.allotments:
        supply = part.supply
        assert abs(part.sequences - Fraction(str(supply.weight)) * n / total) < 1
        assert part.sequences == 0 or part.tokens + 1 <= Fraction(str(supply.max_epochs)) * supply.tokens
        assert part.tokens >= supply.min_tokens


@given(supplies, st.integers(1, 3_000))
def test_a_refusal_is_right_and_offers_only_what_is_feasible(asked: list[Supply], n: int) -> None:
    try:
        solve(asked, n, LENGTH)
        return
    except UserError as error:
        hint, what = error.hint, error.what
    total = sum(Fraction(str(supply.weight)) for supply in asked)
    quotas = [Fraction(str(supply.weight)) * n / total for supply in asked]
    named = [i for i in range(len(asked)) if f"`c{i}`" in what]
    assert named
    for i in named:
        least, most = asked[i].least(LENGTH), asked[i].most(LENGTH)
        assert quotas[i] > most or quotas[i] < least or least > most
    if found := re.search(r"the budget to ([\d.]+[KMBT]?)", hint):
        solve(asked, tokens(found[1]) // LENGTH, LENGTH)
    if epochs := {m[1]: float(m[2]) for m in re.finditer(r"`(c\d+)` to ([\d.e+]+)", part(hint, "raise max_epochs"))}:
        solve([replace(s, max_epochs=epochs.get(s.name, s.max_epochs)) for s in asked], n, LENGTH)
    if minima := {m[1]: tokens(m[2]) for m in re.finditer(r"`(c\d+)` to ([\d.km]+)", part(hint, "lower min_tokens"))}:
        solve([replace(s, min_tokens=minima.get(s.name, s.min_tokens)) for s in asked], n, LENGTH)
    if percents := {int(m[1]): Fraction(m[2]) for m in re.finditer(r"`c(\d+)` to ([\d.]+)%", hint)}:
        rest = sum(Fraction(str(s.weight)) for i, s in enumerate(asked) if i not in percents) or Fraction(1)
        scale = (100 - sum(percents.values())) / rest
        tried = [percents.get(i, Fraction(str(s.weight)) * scale) for i, s in enumerate(asked)]
        bounds = [s.least(LENGTH) for s in asked], [s.most(LENGTH) for s in asked]
        assert apportion(tried, n, *bounds) is not None


def test_the_last_label_needs_a_token_of_its_own() -> None:
    assert solve([Supply("a", 1, 1, 5, 10 * LENGTH + 1)], 10, LENGTH).tokens == 10 * LENGTH
    with pytest.raises(UserError, match="> max_epochs 1"):
        solve([Supply("a", 1, 1, 5, 10 * LENGTH)], 10, LENGTH)


def test_the_conflict_says_what_is_short_and_what_would_do() -> None:
    asked = [Supply("qa", 5, 4, 10**6, 1_200_000_000), Supply("web", 95, 4, 10**6, 73_800_000_000)]
    with pytest.raises(UserError) as refusal:
        solve(asked, 200_000_000_000 // 8192, 8192)
    assert refusal.value.what == "`qa` has 1.2B tokens; 5% of 200B needs 10B = 8.33 epochs > max_epochs 4"
    assert refusal.value.hint == (
        "Set the share of `qa` to 2.4% (the rest by weight), raise max_epochs of `qa` to 8.4, "
        "or lower the budget to 96B"
    )


def test_when_nothing_is_left_to_share_only_epochs_and_budget_are_offered() -> None:
    asked = [Supply("a", 1, 1, 3, 300), Supply("b", 1, 1, 3, 299)]
    with pytest.raises(UserError, match=r"^`a` has 300 tokens.*`b` has 299 tokens") as refusal:
        solve(asked, 5, 128)
    assert refusal.value.hint == "Raise max_epochs of `a` to 1.3, of `b` to 1.3, or lower the budget to 512"


def test_a_minimum_that_the_weight_does_not_reach_is_refused() -> None:
    asked = [Supply("qa", 5, 40, 10**6, 10**9, min_tokens=3 * 10**9), Supply("web", 95, 9, 10**6, 10**11)]
    with pytest.raises(
        UserError, match=r"`qa` has min_tokens 3B; 5% of 20B gives it 1B\. Set the share of `qa` to 15%"
    ):
        solve(asked, 20 * 10**9 // 8192, 8192)


@pytest.mark.parametrize(
    ("asked", "sequences", "says"),
    [
        ([Supply("a", 1, 1, 5, 500)], 0, "the budget holds no sequence of 64 tokens"),
        ([Supply("a", 1, 1, 5, 500), Supply("b", 1, 1, 0, 0)], 3, "`b` selects no document"),
    ],
)
def test_empty_budgets_and_selections_are_refused(asked: list[Supply], sequences: int, says: str) -> None:
    with pytest.raises(UserError, match=says):
        solve(asked, sequences, LENGTH)


def test_a_component_of_unknown_size_is_planned_without_a_limit() -> None:
    asked = [Supply("known", 1, 1, 10, 10_000), Supply("unknown", 3, 1, None, None, size="unknown")]
    rows = {row["component"]: row for row in solve(asked, 100, LENGTH).rows()}
    assert (rows["unknown"]["sequences"], rows["unknown"]["epochs"], rows["unknown"]["share_possible"]) == (75, None, 1)
    with pytest.raises(
        UserError, match=r"^`known` has 10K tokens; 25% of 64K needs 16K = 1\.6 epochs > max_epochs 1\."
    ):
        solve(asked, 1000, LENGTH)


@given(st.integers(0, 10**13))
def test_short_amounts_are_read_back_within_their_rounding(count: int) -> None:
    assert tokens(short(count)) == pytest.approx(count, rel=0.006)
    assert tokens(short(count, math.floor)) <= count <= tokens(short(count, math.ceil))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"components": []}, "components"),
        ({"components": [{"name": "a", "manifest": "toy@1", "weight": -1}]}, "greater than 0"),
        ({"components": [{"name": "a", "manifest": "toy@1", "wieght": 1}]}, "unknown field `components.0.wieght`"),
        ({"components": [{"name": "a"}]}, "give `manifest`; `known` and `declared` are for plans only"),
        ({"components": [{"name": "a", "manifest": "x@1", "format": "f"}]}, "component a: mixture has no format f"),
        ({"formats": {"f": "{poem}"}}, "template f names poem; a template may name text, question, response, answer"),
        ({"formats": {"f": "plain"}}, "template f names no field"),
        ({"formats": {"f": "{text!r}"}}, "a field is a name in braces and nothing more"),
        ({"formats": {"f": "{text"}}, "`formats`: expected '}'"),
        (
            {"components": [{"name": "a", "manifest": "x@1"}, {"name": "a", "manifest": "x@1"}]},
            "two components are called a",
        ),
        ({"budget": {"tokens": "1M", "sequences": 5}}, "give one of"),
        ({"budget": {"steps": 5}}, "`steps` and `batch` go together"),
        ({"budget": {"batch": 5}}, "give one of"),
        ({"budget": {"prompts": 5}}, "takes a budget in prompts"),
        ({"budget": None}, "a mixture needs budget"),
        ({"tokenizer": None, "sequence_length": None}, "a mixture needs sequence_length, tokenizer"),
        ({"kind": "prompts"}, "takes a budget in prompts"),
    ],
)
def test_a_wrong_recipe_gives_one_line(change: dict, says: str) -> None:
    plain = {
        "name": "m",
        "components": [{"name": "a", "manifest": "toy@1"}],
        "budget": {"tokens": "1M"},
        "sequence_length": 128,
        "tokenizer": "t",
    }
    with pytest.raises(UserError, match=re.escape(says)) as refusal:
        parse(plain | change, MixRecipe, "recipe.yaml")
    assert "\n" not in str(refusal.value)


def test_a_budget_comes_to_the_same_sequences_in_every_unit() -> None:
    def sequences(**budget: object) -> int:
        plain = {
            "name": "m",
            "components": [{"name": "a", "manifest": "t@1"}],
            "sequence_length": 128,
            "tokenizer": "t",
        }
        recipe = parse(plain | {"budget": budget}, MixRecipe, "recipe")
        assert recipe.budget
        return recipe.budget.count(128)

    assert sequences(tokens=128 * 640 + 127) == sequences(sequences=640) == sequences(steps=20, batch=32) == 640
    assert sequences(tokens=128 * 671, batch=32) == sequences(sequences=671, batch=32) == 640
    with pytest.raises(UserError, match=r"the budget of 31 sequences is smaller than one batch of 32\. Raise it to 32"):
        sequences(tokens=128 * 32 - 1, batch=32)

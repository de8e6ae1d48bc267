"""The published mixtures (arXiv 2506.20512): planned from declared sizes, they have the tables' tokens and passes."""

from pathlib import Path

import pytest

import octo
from manifests.errors import UserError
from manifests.recipe import load
from manifests.store import Store
from mixtures.config import GridRecipe, MixRecipe, load_mixes
from mixtures.mix import plan

RECIPES = Path(octo.__file__).parents[1] / "recipes" / "octothinker"
LENGTH, BATCH = 8192, 512

STABLE = {  # weight %, tokens of 200B in B, passes
    "web-pro-max": (72.5, 145.0, 1.96),
    "dclm": (10, 20.0, 0.005),
    "text-code": (10, 20.0, 0.40),
    "qa": (5, 10.0, 1.43),
    "translated-code": (1.25, 2.5, 0.35),
}
DECAY = {  # weight % of long, short and hybrid, passes of long at 20B where its size is known
    "web-pro": (55, 55, 55, 0.73),
    "dclm": (5, 5, 5, 0.00025),
    "instruct": (10, 10, 10, 2.5),
    "openr1": (15, 0, 10, None),
    "am-distilled": (15, 0, 0, None),
    "qa": (0, 2.5, 0, None),
    "openmathinstruct": (0, 17.5, 10, None),
    "numina": (0, 10, 10, None),
}


def planned(store: Store, name: str, *overrides: str) -> dict[str, dict]:
    recipe = load(RECIPES / f"{name}.yaml", MixRecipe, overrides)
    return {row["component"]: row for row in plan(store, recipe).rows()}


def test_the_stable_plan_is_the_published_table(store: Store) -> None:
    rows = planned(store, "stable", "budget={tokens: 200B}")
    assert set(rows) == set(STABLE)
    for name, (weight, billions, passes) in STABLE.items():  # without the 1.25 of code, which the others share
        assert rows[name]["share_wanted"] * 98.75 == pytest.approx(weight, rel=1e-4)
        assert rows[name]["tokens"] * 0.9875 == pytest.approx(billions * 1e9, abs=LENGTH)
        assert rows[name]["epochs"] * 0.9875 == pytest.approx(passes, abs=0.005)


@pytest.mark.parametrize(("place", "branch"), [(0, "long"), (1, "short"), (2, "hybrid")])
def test_the_decay_plans_are_the_published_table(store: Store, place: int, branch: str) -> None:
    rows = planned(store, f"decay-{branch}", "budget={tokens: 20B}")
    weights = {name: row[place] for name, row in DECAY.items() if row[place]}
    assert {name: pytest.approx(100 * row["share_wanted"]) for name, row in rows.items()} == weights
    for name, weight in weights.items():
        assert rows[name]["tokens"] == pytest.approx(weight * 0.2e9, abs=LENGTH)
        if passes := DECAY[name][3]:
            assert rows[name]["epochs"] == pytest.approx(passes, abs=0.005)
        if rows[name]["size"] == "unknown":
            assert rows[name]["available_tokens"] is None and rows[name]["epochs"] is None


@pytest.mark.parametrize(("name", "steps"), [("stable", 50_000), ("decay-long", 5_000), ("decay-short", 5_000)])
def test_the_true_budget_is_whole_steps(store: Store, name: str, steps: int) -> None:
    rows = planned(store, name)
    assert sum(row["sequences"] for row in rows.values()) == steps * BATCH
    assert sum(row["tokens"] for row in rows.values()) == steps * 4_194_304


def test_the_ablations_are_the_published_grid(store: Store) -> None:
    cells = {recipe.name: recipe for recipe in load_mixes(RECIPES / "ablations.yaml")}
    weights = {
        name.removeprefix("octothinker-ablation-"): {part.name: part.weight for part in recipe.components}
        for name, recipe in cells.items()
    }
    pilots = {
        f"pilot-{source}-{share}" for source in ("qa", "openr1", "openmathinstruct") for share in (10, 20, 30, 40)
    }
    mixes = {f"pilot-mix-{mix}" for mix in ("10-20", "15-15", "20-10")}
    assert set(weights) == {"W1", "W2", "W3", "Q1", "Q1b", "Q2", "I1", "I2", "B"} | pilots | mixes
    assert all(sum(parts.values()) == 100 for parts in weights.values())
    assert weights["I1"] == {"web-pro": 89, "qa": 10, "instruct": 1}
    for name, recipe in cells.items():
        billions = 100 if name.endswith("-B") else 10 if "pilot" in name else 20
        rows = plan(store, recipe).rows()
        total = sum(row["tokens"] for row in rows)
        assert billions * 1e9 - BATCH * LENGTH < total <= billions * 1e9 and total % (BATCH * LENGTH) == 0


def test_a_budget_beyond_a_source_names_the_nearest_choices(store: Store) -> None:
    with pytest.raises(UserError) as refusal:
        planned(store, "stable", "budget={tokens: 200B}", "components.3.max_epochs=1")
    assert refusal.value.what == "`qa` has 7B tokens; 5.06% of 200B needs 10.1B = 1.45 epochs > max_epochs 1"
    assert refusal.value.hint == (
        "Set the share of `qa` to 3.5% (the rest by weight), raise max_epochs of `qa` to 1.5, "
        "or lower the budget to 138B"
    )


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("cells.W1.weights.poetry=3", "cell W1 weighs poetry, which is not a source"),
        ("cells.W1.weights=3", "cells.W1.weights"),
        ("sources.web-pro.max_epoch=2", "unknown field `components.0.max_epoch`"),
    ],
)
def test_a_wrong_grid_gives_one_line(override: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as refusal:
        load_mixes(RECIPES / "ablations.yaml", [override])
    assert "\n" not in str(refusal.value)
    with pytest.raises(UserError, match="has no cell X7"):
        load(RECIPES / "ablations.yaml", GridRecipe).cell("X7")

"""A choice with a fixed list of names is decided in one place: a name that is added and forgotten there does nothing
silently."""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from evaluation.answers import Verdict
from evaluation.templates import TemplateName, render
from rl.config import Action, HalfPrecision, ObjectiveName, RewardName, Signal
from rl.rewards import reward
from rl.rollouts import METRICS
from rl.variants import objective_of
from rl.verl_config import _dtype
from training.config import (
    ArchitectureName,
    AttentionName,
    Precision,
    ScheduleRecipe,
    ShapeName,
    is_half,
    keeps_to_documents,
)
from training.models import ARCHITECTURES, architecture_of
from training.nanotron_config import _decay_style
from training.schedule import learning_rate

ROOT = Path(__file__).resolve().parents[1]
CHOICES: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "objective": (ObjectiveName, objective_of),
    "reward": (RewardName, lambda name: reward(Verdict.INCORRECT, name, "")),
    "template": (TemplateName, lambda name: render(name, "1 + 1?")),
    "shape": (ShapeName, lambda name: learning_rate(1, 2, 1.0, ScheduleRecipe.model_construct(shape=name))),
    "shape in nanotron": (ShapeName, _decay_style),
    "architecture": (ArchitectureName, architecture_of),
    "precision": (Precision, is_half),
    "precision in verl": (HalfPrecision, _dtype),
    "attention": (AttentionName, keeps_to_documents),
}
"""Field of a recipe → its names, and what decides by them."""


@pytest.mark.parametrize(("names", "decide"), CHOICES.values(), ids=CHOICES)
def test_every_name_is_decided_and_no_other(names: Any, decide: Callable[[Any], Any]):
    for name in get_args(names):
        decide(name)
    with pytest.raises(AssertionError, match="new_name"):
        decide("new_name")


FIELDS = {field.split()[0] for field in CHOICES}
PROGRAMS = [path for floor in ("training", "rl", "evaluation") for path in sorted(ROOT.glob(f"{floor}/*.py"))]


def compared(source: str) -> list[str]:
    """Comparisons of a closed choice with a string, which a new name slips through."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            named = {side.attr for side in sides if isinstance(side, ast.Attribute)}
            named |= {side.id for side in sides if isinstance(side, ast.Name)}
            has_text = any(isinstance(part, ast.Constant) and isinstance(part.value, str)
                           for side in sides for part in ast.walk(side))  # fmt: skip
            if named & FIELDS and has_text:
                found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_closed_choice_is_compared_with_a_string(path: Path):
    found = compared(path.read_text(encoding="utf-8"))
    assert found == [], "ask the one `match` that decides by this field, or add a property to its row"


def test_a_comparison_is_seen():
    assert compared("x = recipe.objective != 'dr_grpo'") == ["recipe.objective != 'dr_grpo'"]
    assert compared("y = precision in ('bfloat16',)") and not compared("z = kind == 'bfloat16'")


def test_what_an_alarm_may_watch_is_a_column():
    assert set(get_args(Signal)) <= set(METRICS)
    assert set(get_args(Action)) == {"warn", "stop", "fall_back"}


def test_transformers_types_are_those_of_the_rows():
    assert ARCHITECTURES == {"llama": None, "qwen2": "qwen2"}

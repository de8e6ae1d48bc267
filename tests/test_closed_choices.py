"""A choice with a fixed list of names is decided in one place: a name that is added and forgotten there does nothing
silently."""

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from typer.main import get_command

import rl.launch
import training.launch
from evaluation.grading.answers import Verdict
from evaluation.protocols.released import ProtocolName
from evaluation.protocols.templates import TemplateName, render
from evaluation.samplers.sampling import SamplerName
from manifests.catalog import MAIN_FAMILY
from manifests.exports.export import Format
from manifests.places.place import EnginePlace, PlaceName
from manifests.record import KINDS
from manifests.runs import RunKind
from octo.commands import app
from octo.commands.options import one_of
from octo.printing import RowsFormat
from octo.report.frame import NOUNS
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
PROGRAMS = [path for floor in ("training", "rl", "evaluation") for path in sorted(ROOT.glob(f"{floor}/**/*.py"))]


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


def test_every_kind_has_a_row():
    assert set(MAIN_FAMILY) == set(KINDS)
    assert set(NOUNS) == set(get_args(RunKind))


@pytest.mark.parametrize(
    ("verb", "option", "choices"),
    [
        ("curate run", "--on", PlaceName),
        ("train", "--on", EnginePlace),
        ("train", "--backend", training.launch.Backend),
        ("rl run", "--backend", rl.launch.Backend),
        ("eval", "--sampler", SamplerName),
        ("eval", "--protocol", ProtocolName),
        ("sql", "--format", RowsFormat),
        ("manifest export", "--format", Format),
    ],
)
def test_the_help_of_an_option_names_every_choice(verb: str, option: str, choices: Any):
    command = get_command(app)
    for word in verb.split():
        command = command.commands[word]
    (shown,) = [one.help for one in command.params if option in one.opts]
    assert all(re.search(rf"\b{name}\b", shown) for name in get_args(choices)), shown


def test_a_name_that_is_no_choice_makes_a_wrong_command_line():
    assert one_of("ray", PlaceName) == "ray"
    with pytest.raises(typer.BadParameter, match="'moon' is not one of local, slurm, ray"):
        one_of("moon", PlaceName)


def repeated(source: str) -> list[str]:
    """Collections of three strings or more that hold the names of a Literal, all of them, and are not that Literal."""
    tree = ast.parse(source)
    literals = [node.slice for node in ast.walk(tree)
                if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal"]  # fmt: skip
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple | ast.List | ast.Set) and node not in literals and len(node.elts) >= 2:
            names = frozenset(one.value for one in node.elts if isinstance(one, ast.Constant))
            if len(names) == len(node.elts) and names in LITERALS:
                found.append(ast.unparse(node))
    return found


def literals_of(source: str) -> set[frozenset[Any]]:
    return {
        frozenset(one.value for one in node.slice.elts if isinstance(one, ast.Constant))
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Subscript)
        and ast.unparse(node.value) == "Literal"
        and isinstance(node.slice, ast.Tuple)
    }


FLOORS = ("octo", "rl", "training", "mixtures", "curation", "evaluation", "manifests")
SOURCES = {path: path.read_text(encoding="utf-8") for floor in FLOORS for path in sorted(ROOT.glob(f"{floor}/**/*.py"))}
LITERALS = {names for source in SOURCES.values() for names in literals_of(source)}


def test_no_closed_choice_is_listed_twice():
    found = {str(path.relative_to(ROOT)): lists for path, source in SOURCES.items() if (lists := repeated(source))}
    assert found == {}, "take get_args of the Literal"


def test_a_list_of_a_choice_is_seen():
    assert repeated("x in ('slurm', 'ray', 'local')") and not repeated("x in ('slurm', 'ray', 'moon')")
    assert not repeated("PlaceName = Literal['local', 'slurm', 'ray']")


def test_what_an_alarm_may_watch_is_a_column():
    assert set(get_args(Signal)) <= set(METRICS)
    assert set(get_args(Action)) == {"warn", "stop", "fall_back"}


def test_transformers_types_are_those_of_the_rows():
    assert ARCHITECTURES == {"llama": None, "qwen2": "qwen2"}

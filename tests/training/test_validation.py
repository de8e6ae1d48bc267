"""Held-out loss on the way: which rows there are, that they change nothing, and what a run that is done still gives."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluation.config import LossRecipe
from evaluation.held_out.runs import checkpoints_of, evaluate_loss, plan
from manifests import catalog
from manifests.errors import UserError
from manifests.manifest import Manifest, resolve
from manifests.recipe import parse
from manifests.runs import RunDirectory
from manifests.store import Store
from mixtures.config import MixRecipe
from mixtures.mix import mix
from training.config import TrainRecipe
from training.launch import train

TOKENIZER = Path(__file__).parents[2] / "recipes" / "quickstart" / "tokenizer"
Recipes = Callable[..., TrainRecipe]
ON_THE_WAY = {"loss": ["hold_out", "toy@1"], "every": 4, "max_documents": 30}


def held_mix(store: Store, name: str, where: str = "true", **values) -> Manifest:
    """A mixture of `toy@1` that sets a tenth of it aside."""
    plain = {
        "name": name,
        "components": [{"name": "all", "manifest": "toy@1", "where": where, "max_epochs": 3}],
        "budget": {"sequences": 50},
        "sequence_length": 32,
        "tokenizer": str(TOKENIZER),
        "hold_out": {"share": 0.1},
    }
    return mix(store, parse(plain | values, MixRecipe, "recipe"))


@pytest.fixture(scope="module")
def home(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with `held@1`; tests work on copies of it."""
    folder = tmp_path_factory.mktemp("held") / "store"
    held_mix(Store(shutil.copytree(built, folder)), "held")
    return folder


@pytest.fixture
def held(home: Path, tmp_path: Path) -> tuple[Store, Manifest]:
    store = Store(shutil.copytree(home, tmp_path / "store"))
    return store, resolve(store, "held@1")


def whole(run: RunDirectory) -> list[dict]:
    """The rows of all texts."""
    table = run.table("losses_held_out")
    return [row for row in table.to_pylist() if row["slice"] == "all"] if table else []


def measured(run: RunDirectory, kind: str = "held_out") -> dict[int, float]:
    rows = [row for row in whole(run) if row["texts"] == kind]
    assert len({row["step"] for row in rows}) == len(rows), "a step was measured twice"
    return {row["step"]: row["bits_per_byte"] for row in rows}


def test_rows_on_the_way_are_those_of_the_checkpoints_and_change_nothing(held, recipe: Recipes, tmp_path):
    store, mixture = held
    other = Store(shutil.copytree(store.root, tmp_path / "other"))
    run = train(store, mixture, recipe(keep=0, validation=ON_THE_WAY))
    plain = train(other, resolve(other, "held@1"), recipe(keep=0))
    assert plain.id == run.id and not whole(plain)
    for table in ("steps", "consumption"):
        seconds = ["seconds"] if table == "steps" else []
        assert run.table(table).drop_columns(seconds).equals(plain.table(table).drop_columns(seconds))
    name = "checkpoints/10/model.safetensors"
    assert (run.path / name).read_bytes() == (plain.path / name).read_bytes()
    found = measured(run)
    assert list(found) == [0, 4, 5, 8, 10] == list(measured(run, "documents"))
    assert found[10] < found[0]
    assert [row["step"] for row in whole(run) if row["checkpoint"]] == [5, 5, 10, 10]
    rows = whole(run)
    assert {row["model"] for row in rows} == {run.id}
    assert {row["n_trained_on"] == 0 for row in rows if row["texts"] == "held_out"} == {True}
    assert all(row["n_trained_on"] > 0 for row in rows if row["texts"] == "documents")
    later = evaluate_loss(store, run, ["hold_out"], LossRecipe(max_documents=30), checkpoints_of(run, "all"))
    assert measured(later) == pytest.approx({5: found[5], 10: found[10]}, rel=1e-6)
    assert later.record["parent"] == run.id
    assert evaluate_loss(store, run, ["held@1"], LossRecipe(max_documents=30), [5, 10]).id == later.id
    sql = "SELECT count(DISTINCT run) AS n FROM losses_held_out WHERE model = $1 AND slice = 'role' AND name = 'qa'"
    assert catalog.query(store, sql, [run.id]).to_pylist() == [{"n": 2}]


def test_a_run_that_goes_on_has_the_rows_of_an_uninterrupted_one(held, recipe: Recipes, tmp_path, monkeypatch):
    store, mixture = held
    other = Store(shutil.copytree(store.root, tmp_path / "other"))
    asked = recipe(keep=0, validation=ON_THE_WAY | {"loss": ["hold_out"]})
    run = train(store, mixture, asked)
    from training import validation  # loads torch

    real, calls = validation.store_rows, []

    def dies(*arguments) -> None:
        real(*arguments)
        calls.append(1)
        if len(calls) in (2, 5):  # with the rows of step 4 stored, then with those of step 5 before its checkpoint
            raise KeyboardInterrupt

    monkeypatch.setattr(validation, "store_rows", dies)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train(other, resolve(other, "held@1"), asked)
    again = train(other, resolve(other, "held@1"), asked)
    assert again.id == run.id
    assert again.table("losses_held_out").equals(run.table("losses_held_out"))


def test_a_run_that_is_done_gives_the_rows_of_another_validation(held, recipe: Recipes, capsys):
    store, mixture = held
    first = train(store, mixture, recipe())
    assert not whole(first)
    run = train(store, mixture, recipe(validation=ON_THE_WAY | {"every": 3}))
    assert run.id == first.id and run.status == "done"
    assert list(measured(run)) == [0, 5, 10]
    assert f"3 steps of {run.id} have no held-out loss" in capsys.readouterr().err
    before = run.table("losses_held_out")
    assert train(store, mixture, recipe(validation=ON_THE_WAY)).table("losses_held_out").equals(before)
    assert capsys.readouterr().err == ""
    train(store, mixture, recipe(validation={"loss": ["hold_out"]}))
    assert len({row["digest"] for row in whole(run) if row["texts"] == "held_out"}) == 1  # 30 are all of them


def test_the_start_of_a_run_from_another_is_measured(held, recipe: Recipes):
    store, mixture = held
    first = train(store, mixture, recipe(validation={"loss": ["hold_out"]}))
    second = train(store, held_mix(store, "pages", "role = 'web'", budget={"sequences": 20}), recipe(
        model=None, stage="decay", validation={"loss": ["hold_out"]}), first)  # fmt: skip
    assert measured(second)[0] == pytest.approx(measured(first)[10], rel=1e-6)
    digests = {row["digest"] for run in (first, second) for row in whole(run)}
    assert len(digests) == 1, "mixtures of one corpus hold out other documents"


def test_what_an_earlier_run_held_out_is_measured_and_said_when_it_is_read(held, recipe: Recipes, capsys):
    store, mixture = held
    first = train(store, mixture, recipe())
    later = recipe(model=None, stage="all", steps=2, validation={"loss": ["hold_out"]})
    second = train(store, resolve(store, "mixture@1"), later, first)
    rows = [row for row in whole(second) if row["texts"] == "held_out"]
    assert [row["step"] for row in rows] == [0, 2] and {row["manifest"] for row in rows} == {mixture.id}
    assert all(row["n_trained_on"] > 0 for row in rows)
    assert "their loss is not held out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("validation", "said"),
    [
        ({"loss": ["nobody@1"]}, "no manifest nobody@1"),
        ({"loss": ["mixture@1"]}, "mixture@1 holds no document out"),
        ({"loss": ["hold_out", "held@1"]}, "two names mean the same texts"),
    ],
)
def test_what_cannot_be_measured_is_refused_at_the_launch(held, recipe: Recipes, validation, said):
    store, mixture = held
    with pytest.raises(UserError, match=said):
        train(store, mixture, recipe(validation=validation))
    assert not store.list("runs")


def test_hold_out_of_a_mixture_that_holds_nothing_out(held, recipe: Recipes):
    store, _ = held
    with pytest.raises(UserError, match="mixture@1 holds no document out"):
        train(store, resolve(store, "mixture@1"), recipe(validation={"loss": ["hold_out"]}))


def test_checkpoints_and_folders(held, recipe: Recipes, tmp_path):
    store, mixture = held
    run = train(store, mixture, recipe())
    assert checkpoints_of(run, "last") == [10] and checkpoints_of(run, "5") == [5]
    with pytest.raises(UserError, match=f"{run.id} has no checkpoint 7"):
        checkpoints_of(run, "7")
    folder = Path(shutil.copytree(run.checkpoint(10), tmp_path / "model"))
    found = evaluate_loss(store, folder, ["held@1"], LossRecipe(), checkpoints_of(folder, "last"))
    [row] = whole(found)
    assert (row["step"], row["model"], row["n_trained_on"], row["checkpoint"]) == (0, None, None, True)
    with pytest.raises(UserError, match="a model folder holds no document out"):
        evaluate_loss(store, folder, ["hold_out"], LossRecipe(), [0])
    [row] = plan(store, run, ["toy@1"], LossRecipe(), [5, 10])
    assert (row["documents"], row["checkpoints"]) == (120, 2)
